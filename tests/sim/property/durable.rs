//! Acknowledged means durable (DESIGN 2.6): every write that a client got a reply to is on disk,
//! under the zxid that the reply shows, and is the client's own.

use super::story::Story;
use crate::world::World;

pub(super) fn check(world: &World, story: &Story<'_>) -> Result<(), String> {
    for op in &story.ops {
        let (Some(operation), Some(zxid)) = (op.ordered(), op.zxid()) else { continue };
        let Some(decided) = world.ledger.commands.get(&zxid) else {
            return Err(format!("{op:?} was answered with {zxid}, which is not on disk"));
        };
        let command = &decided.command;
        if command.session.0 != op.session || command.operation != operation {
            return Err(format!("{op:?} was answered with {zxid}, which is {command:?}"));
        }
    }
    Ok(())
}
