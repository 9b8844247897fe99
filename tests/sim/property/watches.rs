//! Watches.

use super::story::Story;
use crate::world::World;

pub(super) fn check(_: &World, _: &Story<'_>) -> Result<(), String> {
    Ok(())
}
