//! The table: path → connections and their modes, and connection → paths for its end.
//! One table stands for ZooKeeper's two: the modes tell which of them an entry would be in.
//! Called by the replica; fired by `fire`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::zk::Id;

use super::kind::{WatchKind, WatcherType};
use super::modes::Modes;
use crate::core::types::ConnId;

/// The watches in one partition of the connections of one server.
#[derive(Debug, Default)]
pub struct WatchTable {
    /// Sorted by connection; never an empty list, never empty modes.
    pub(super) paths: BTreeMap<ByteString, Vec<(ConnId, Modes)>>,
    pub(super) connections: BTreeMap<ConnId, BTreeSet<ByteString>>,
    identities: BTreeMap<ConnId, Arc<[Id]>>,
    pub(super) skip_acl: bool,
    /// Recursive registrations: without any, firing looks at no ancestor.
    pub(super) recursive: usize,
    watches: usize,
}

impl WatchTable {
    /// An empty table. `skip_acl`: events are not filtered.
    #[must_use]
    pub fn new(skip_acl: bool) -> WatchTable {
        WatchTable { skip_acl, ..WatchTable::default() }
    }

    /// Registers a watch; it adds to those that the connection has on the path.
    pub fn add(&mut self, path: &str, conn: ConnId, kind: WatchKind) {
        let before = self.modes(path, conn);
        let after = before.with(Modes::of_kind(kind));
        if before == after {
            return;
        }
        if before == Modes::NONE {
            self.add_path(path, conn);
        }
        let Some(watchers) = self.paths.get_mut(path) else { return };
        match watchers.binary_search_by_key(&conn, |(c, _)| *c) {
            Ok(at) => watchers[at].1 = after,
            Err(at) => watchers.insert(at, (conn, after)),
        }
        self.count(before, after);
    }

    /// Makes both indexes know the pair. They share one copy of the path, which is not the
    /// client's: that one would keep the whole frame in memory.
    fn add_path(&mut self, path: &str, conn: ConnId) {
        let key = match self.paths.get_key_value(path) {
            Some((key, _)) => key.clone(),
            None => {
                let key = ByteString::from(path);
                self.paths.insert(key.clone(), Vec::new());
                key
            }
        };
        self.connections.entry(conn).or_default().insert(key);
    }

    /// Removes the connection's watches of this type on the path; whether there were any.
    pub fn remove(&mut self, path: &str, conn: ConnId, watcher_type: WatcherType) -> bool {
        let before = self.modes(path, conn);
        let after = before.without(Modes::of_type(watcher_type));
        self.replace(path, conn, before, after);
        before != after
    }

    /// Whether the connection has watches of this type on the path.
    #[must_use]
    pub fn contains(&self, path: &str, conn: ConnId, watcher_type: WatcherType) -> bool {
        self.modes(path, conn).intersects(Modes::of_type(watcher_type))
    }

    /// The connection ends, with its watches and identities.
    pub fn remove_connection(&mut self, conn: ConnId) {
        self.identities.remove(&conn);
        for path in self.connections.remove(&conn).unwrap_or_default() {
            let before = self.modes(&path, conn);
            self.set_modes(&path, conn, Modes::NONE);
            self.count(before, Modes::NONE);
        }
    }

    /// What the connection has proved; its events are filtered by it from now on.
    pub fn set_identities(&mut self, conn: ConnId, identities: Arc<[Id]>) {
        self.identities.insert(conn, identities);
    }

    pub(super) fn identities(&self, conn: ConnId) -> &[Id] {
        self.identities.get(&conn).map_or(&[], |identities| identities)
    }

    /// Whether the connection watches anything.
    #[must_use]
    pub fn holds(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// Whether nobody watches anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// As ZooKeeper counts: a persistent watch stands in both of its tables.
    #[must_use]
    pub fn watch_count(&self) -> usize {
        self.watches
    }

    /// How many paths are watched.
    #[must_use]
    pub fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// How many connections watch.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    fn modes(&self, path: &str, conn: ConnId) -> Modes {
        let Some(watchers) = self.paths.get(path) else { return Modes::NONE };
        match watchers.binary_search_by_key(&conn, |(c, _)| *c) {
            Ok(at) => watchers[at].1,
            Err(_) => Modes::NONE,
        }
    }

    /// Takes an entry from `before` to `after`, which is part of it.
    pub(super) fn replace(&mut self, path: &str, conn: ConnId, before: Modes, after: Modes) {
        if before == after {
            return;
        }
        self.set_modes(path, conn, after);
        if after == Modes::NONE
            && let Some(paths) = self.connections.get_mut(&conn)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.connections.remove(&conn);
            }
        }
        self.count(before, after);
    }

    /// Sets the modes of an entry that is there; drops what becomes empty.
    fn set_modes(&mut self, path: &str, conn: ConnId, modes: Modes) {
        let Some(watchers) = self.paths.get_mut(path) else { return };
        let Ok(at) = watchers.binary_search_by_key(&conn, |(c, _)| *c) else { return };
        if modes == Modes::NONE {
            watchers.remove(at);
            if watchers.is_empty() {
                self.paths.remove(path);
            }
        } else {
            watchers[at].1 = modes;
        }
    }

    fn count(&mut self, before: Modes, after: Modes) {
        self.watches = self.watches + after.tables() - before.tables();
        let recursive = |modes: Modes| usize::from(modes.intersects(Modes::RECURSIVE));
        self.recursive = self.recursive + recursive(after) - recursive(before);
    }
}
