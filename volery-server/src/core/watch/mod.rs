//! The watches that the connections of one server hold in one partition, and what fires them.
//! Never orders events between partitions and never sends: the release rule is the front end's.
//! Called by the replica when reads register, when changes are applied, when connections end.

mod event;
mod fire;
mod kind;
mod list;
mod modes;
mod set_watches;
mod table;

#[cfg(test)]
mod tests;

pub use event::{Event, EventType, Rank};
pub use fire::{AclSource, Fired};
pub use kind::{WatchKind, WatcherType, added_kind};
pub use list::Summary;
pub use set_watches::{ImmediateEvent, SetWatchesOutcome, set_watches, widen};
pub use table::WatchTable;
