//! The properties of a history, one file each, and the story that they read: the history put
//! together with what the model says of every command on disk.

mod durable;
mod expiry;
mod linear;
mod once;
mod order;
mod reads;
pub(crate) mod replay;
mod session;
mod shown;
mod slots;
mod story;
mod waiting;
mod watches;
mod watching;

use crate::world::World;
use story::Story;

/// A broken property.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) property: &'static str,
    pub(crate) what: String,
}

type Check = fn(&World, &Story<'_>) -> Result<(), String>;

/// In this order; the first one that is broken is told.
const CHECKS: [(&str, Check); 9] = [
    ("durability", durable::check),
    ("order of writes", order::check),
    ("session guarantees", session::check),
    ("linearizable reads", linear::check),
    ("exactly once", once::check),
    ("watches", watches::check),
    ("expiry", expiry::check),
    ("slots", slots::check),
    ("waiting", waiting::check),
];

/// Checks a history that ran to its end.
pub(crate) fn check(world: &World) -> Result<(), Broken> {
    let broken = |property| move |what| Broken { property, what };
    let story = Story::tell(world).map_err(broken("story"))?;
    for (property, check) in CHECKS {
        check(world, &story).map_err(broken(property))?;
    }
    replay::check_end(world, &story.model).map_err(broken("state"))
}
