//! Firing: which connections a change concerns, once each, and which watches it uses up.
//! Never fires for a half of a change that another partition owns; never looks at the tree.
//! Called by the replica for every change it applies, in order.

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{Acl, perms};

use super::event::{Event, EventType, Rank};
use super::modes::Modes;
use super::table::WatchTable;
use crate::core::auth;
use crate::core::mutation::mutated;
use crate::core::types::{Change, ConnId, Part};

/// A change, as one of its owners fires it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// By the znode's owner.
    Created,
    /// By the znode's owner.
    Deleted,
    /// By the znode's owner.
    DataChanged,
    /// By the owner of the znode whose children changed.
    ChildrenChanged,
}

/// Where the ACLs come from that events are filtered by; asked only if somebody watches.
pub trait AclSource {
    /// The changed znode's: the new one, the removed one.
    fn node(&self) -> &[Acl];
    /// Its parent's.
    fn parent(&self) -> &[Acl];
}

/// Both known beforehand.
impl AclSource for (&[Acl], &[Acl]) {
    fn node(&self) -> &[Acl] {
        self.0
    }
    fn parent(&self) -> &[Acl] {
        self.1
    }
}

impl WatchTable {
    /// Fires all that a change concerns in a partition that owns `part` of it: for create and
    /// delete the znode's watches first, then the parent's. setACL fires nothing.
    pub fn fire_change(
        &mut self,
        operation: u32,
        change: &Change,
        part: Part,
        acls: &impl AclSource,
        events: &mut Vec<Event>,
    ) {
        if self.is_empty() {
            return;
        }
        let path = change.path();
        let (fired, in_parent) = match change {
            Change::Create { .. } => (Fired::Created, true),
            Change::Delete { .. } => (Fired::Deleted, true),
            Change::SetData { .. } => (Fired::DataChanged, false),
            Change::SetAcl { .. } => return,
        };
        if part.node {
            self.fire(operation, fired, path, || acls.node(), events);
        }
        if part.entry
            && in_parent
            && let Some(parent) = path::parent_of(path)
        {
            self.fire(operation, Fired::ChildrenChanged, &parent, || acls.parent(), events);
        }
    }

    /// Fires the watches on `path`, and of those above it the recursive ones. Every connection
    /// that may READ by `acl` gets one event at most; whoever may not loses a one-shot all the
    /// same.
    pub fn fire<'a>(
        &mut self,
        operation: u32,
        fired: Fired,
        path: &ByteString,
        acl: impl FnOnce() -> &'a [Acl],
        events: &mut Vec<Event>,
    ) {
        if self.is_empty() {
            return;
        }
        let hit = match fired {
            Fired::Created | Fired::DataChanged => {
                self.data_pass(path).into_iter().map(|conn| (conn, 0)).collect()
            }
            Fired::Deleted => {
                let data = self.data_pass(path);
                let child = self.take(path, Modes::CHILD_TABLE, Modes::CHILD);
                let child = child.into_iter().filter(|conn| data.binary_search(conn).is_err());
                let child: Vec<ConnId> = child.collect();
                let data = data.into_iter().map(|conn| (conn, 0));
                data.chain(child.into_iter().map(|conn| (conn, 1))).collect()
            }
            Fired::ChildrenChanged => {
                let child = self.take(path, Modes::CHILD_TABLE, Modes::CHILD);
                child.into_iter().map(|conn| (conn, 2)).collect::<Vec<_>>()
            }
        };
        if hit.is_empty() {
            return;
        }
        let acl = acl();
        let kind = match fired {
            Fired::Created => EventType::NodeCreated,
            Fired::Deleted => EventType::NodeDeleted,
            Fired::DataChanged => EventType::NodeDataChanged,
            Fired::ChildrenChanged => EventType::NodeChildrenChanged,
        };
        for (conn, step) in hit {
            if self.skip_acl || auth::permits(acl, perms::READ, self.identities(conn)) {
                let rank = Rank { operation, step };
                events.push(Event { conn, kind, path: path.clone(), rank });
            }
        }
    }

    /// The data watches on the path and the recursive ones on it and above; sorted, each
    /// connection once.
    fn data_pass(&mut self, path: &ByteString) -> Vec<ConnId> {
        let mut hit = self.take(path, Modes::DATA_TABLE, Modes::DATA);
        if self.recursive == 0 {
            return hit;
        }
        let own = hit.len();
        let mut below: &str = path;
        while below != "/"
            && let Some((above, _)) = path::split(below)
        {
            let watchers = self.paths.get(above).into_iter().flatten();
            let recursive = watchers.filter(|(_, modes)| modes.intersects(Modes::RECURSIVE));
            hit.extend(recursive.map(|(conn, _)| *conn));
            below = above;
        }
        if hit.len() > own {
            hit.sort_unstable();
            hit.dedup();
        }
        hit
    }

    /// The connections with one of `wanted` on the path, in order; `once` is used up.
    fn take(&mut self, path: &str, wanted: Modes, once: Modes) -> Vec<ConnId> {
        let Some(watchers) = self.paths.get(path) else { return Vec::new() };
        let hit = watchers.iter().filter(|(_, modes)| modes.intersects(wanted));
        let hit: Vec<(ConnId, Modes)> = hit.copied().collect();
        for (conn, modes) in &hit {
            let once = if mutated!(OneShotsStay) { Modes::NONE } else { once };
            self.replace(path, *conn, *modes, modes.without(once));
        }
        hit.into_iter().map(|(conn, _)| conn).collect()
    }
}
