//! The watches of one connection on one path: a set of four bits.
//! A one-shot and a persistent watch are different bits, so they add up and go one by one.
//! Called by the table.

use super::kind::{WatchKind, WatcherType};

/// A set of watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes(u8);

impl Modes {
    pub(super) const NONE: Modes = Modes(0);
    pub(super) const DATA: Modes = Modes(1);
    pub(super) const CHILD: Modes = Modes(2);
    pub(super) const PERSISTENT: Modes = Modes(4);
    pub(super) const RECURSIVE: Modes = Modes(8);
    /// What ZooKeeper keeps in its data table.
    pub(super) const DATA_TABLE: Modes = Modes(1 | 4 | 8);
    /// What ZooKeeper keeps in its child table.
    pub(super) const CHILD_TABLE: Modes = Modes(2 | 4);

    pub(super) fn of_kind(kind: WatchKind) -> Modes {
        match kind {
            WatchKind::Data => Modes::DATA,
            WatchKind::Child => Modes::CHILD,
            WatchKind::Persistent => Modes::PERSISTENT,
            WatchKind::Recursive => Modes::RECURSIVE,
        }
    }

    pub(super) fn of_type(watcher_type: WatcherType) -> Modes {
        match watcher_type {
            WatcherType::Children => Modes::CHILD,
            WatcherType::Data => Modes::DATA,
            WatcherType::Any => Modes(15),
            WatcherType::Persistent => Modes::PERSISTENT,
            WatcherType::Recursive => Modes::RECURSIVE,
        }
    }

    pub(super) fn intersects(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn with(self, other: Modes) -> Modes {
        Modes(self.0 | other.0)
    }

    pub(super) fn without(self, other: Modes) -> Modes {
        Modes(self.0 & !other.0)
    }

    /// How often ZooKeeper counts it: once for each of its tables.
    pub(super) fn tables(self) -> usize {
        usize::from(self.intersects(Modes::DATA_TABLE))
            + usize::from(self.intersects(Modes::CHILD_TABLE))
    }
}
