//! Watch events as a stream, and the persistent watches to register again after a reconnect.
//! It does no I/O.
//! Called by the session (which fills it) and by the watch command (which drains it).

use std::collections::BTreeSet;

use bytestring::ByteString;
use volery_proto::zk::SetWatches2;

/// What the stream of a session carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A watch fired.
    Fired {
        /// What happened.
        kind: EventKind,
        /// The znode, below the chroot.
        path: String,
        /// Of the transaction; -1 where the server does not say (before ZooKeeper 3.9).
        zxid: i64,
    },
    /// The connection broke; watches may miss events until `Reconnected`.
    Disconnected {
        /// Of the server that went.
        address: String,
    },
    /// The session goes on at this server, its watches are registered again.
    Reconnected {
        /// Of the server.
        address: String,
    },
    /// The session ended, and the stream with it.
    Expired,
}

/// Kind of a fired watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Created,
    Deleted,
    DataChanged,
    ChildrenChanged,
    /// A number that ZooKeeper's servers do not send.
    Other(i32),
}

impl EventKind {
    /// From the wire.
    pub(crate) fn from_i32(kind: i32) -> EventKind {
        match kind {
            1 => EventKind::Created,
            2 => EventKind::Deleted,
            3 => EventKind::DataChanged,
            4 => EventKind::ChildrenChanged,
            other => EventKind::Other(other),
        }
    }

    /// For people and scripts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EventKind::Created => "created",
            EventKind::Deleted => "deleted",
            EventKind::DataChanged => "data-changed",
            EventKind::ChildrenChanged => "children-changed",
            EventKind::Other(_) => "other",
        }
    }
}

/// How a persistent watch sees the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchMode {
    /// The znode and its list of children.
    Persistent = 0,
    /// The znode and all below it.
    Recursive = 1,
}

/// The watches of a session, with full paths.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    persistent: BTreeSet<ByteString>,
    recursive: BTreeSet<ByteString>,
}

impl Registry {
    /// Notes a watch that the server took.
    pub(crate) fn add(&mut self, path: ByteString, mode: i32) {
        let set = if mode == WatchMode::Recursive as i32 {
            &mut self.recursive
        } else {
            &mut self.persistent
        };
        set.insert(path);
    }

    /// The request that registers all of them again; `None` where there is none.
    pub(crate) fn set_watches(&self, last_zxid: i64) -> Option<SetWatches2> {
        if self.persistent.is_empty() && self.recursive.is_empty() {
            return None;
        }
        Some(SetWatches2 {
            relative_zxid: last_zxid,
            persistent: self.persistent.iter().cloned().collect(),
            recursive: self.recursive.iter().cloned().collect(),
            ..SetWatches2::default()
        })
    }
}
