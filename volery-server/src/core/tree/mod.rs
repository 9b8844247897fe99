//! The znodes of one partition: a tree of slots with its counters, indexes, digest and snapshots.
//! Never decides whether a change may happen; knows no session, permission, watch, ring or map.
//! Called by the executor (checks, apply), by reads, by the reaper and by snapshots.
//!
//! Every path starts at "/", whoever owns it. A slot is *owned* (a znode of this partition), an
//! *entry* (a child of an owned znode, itself owned elsewhere: its name and raw owner only), or a
//! *connector* (neither: on the way to something local, and gone with it). Znodes of this
//! partition may lie below entries and connectors, but a connector never lies directly below an
//! owned znode: that znode lists all its children.

mod acl_table;
mod apply;
mod arena;
mod children;
mod digest;
mod load;
mod node;
mod nodes;
mod owners;
mod reaper;
mod slab;
mod snapshot;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by its panic.
mod tests;
mod view;

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::Zxid;
use volery_proto::path;
use volery_proto::zk::{Acl, Id, perms};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::load::{LoadError, Loader};
pub use self::view::NodeRef;

use self::acl_table::AclTable;
use self::arena::{Arena, NONE};
use self::node::{Extra, OWNED};
use self::nodes::Nodes;
use self::owners::Owners;
use self::reaper::TtlEnds;
use self::snapshot::Snapshot;
use super::types::{Change, Owner, Part};

/// A change that the checks should never have let through: the invariants are broken, and the
/// process must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct TreeError {
    /// The znode that was to change.
    pub path: ByteString,
    /// What is wrong.
    pub reason: &'static str,
}

/// The znodes of one partition.
#[derive(Debug)]
pub struct Tree {
    nodes: Nodes,
    extras: Arena<Extra>,
    acls: AclTable,
    owners: Owners,
    ttl_ends: TtlEnds,
    root: u32,
    hash_seed: u64,
    /// Owned znodes.
    node_count: usize,
    entry_count: usize,
    data_size: usize,
    snapshot: Option<Box<Snapshot>>,
}

impl Tree {
    /// A tree without znodes; where it owns "/", with an empty "/" that all may do all with.
    /// `hash_seed` defends the hash tables against chosen names; replies may depend on it (order
    /// of children), replicated state does not.
    #[must_use]
    pub fn new(owns_root: bool, hash_seed: u64) -> Tree {
        let mut tree = Tree::without_root(hash_seed);
        let (flags, data) = if owns_root { (OWNED, Some(&b""[..])) } else { (0, None) };
        if let Some(slot) = tree.nodes.insert(flags, NONE, b"", data) {
            tree.root = slot;
        }
        if owns_root {
            tree.nodes[tree.root].acl = tree.acls.acquire(&world(perms::ALL));
            tree.node_count = 1;
            tree.data_size = 1;
        }
        tree
    }

    fn without_root(hash_seed: u64) -> Tree {
        Tree {
            nodes: Nodes::new(),
            extras: Arena::new(),
            acls: AclTable::new(hash_seed),
            owners: Owners::default(),
            ttl_ends: TtlEnds::new(),
            root: NONE,
            hash_seed,
            node_count: 0,
            entry_count: 0,
            data_size: 0,
            snapshot: None,
        }
    }

    /// The tree that a new service starts with. The partition of "/" has "/", "/zookeeper",
    /// "/zookeeper/quota" and "/zookeeper/config", with ZooKeeper's quirks: raw cversions of 0 in
    /// spite of the children, aversion -1 at the configuration; the others have nothing.
    ///
    /// # Errors
    /// Never: the names are new.
    pub fn fresh(owns_root: bool, hash_seed: u64) -> Result<Tree, TreeError> {
        let mut tree = Tree::new(owns_root, hash_seed);
        if owns_root {
            tree.install("/zookeeper", perms::ALL)?;
            tree.install("/zookeeper/quota", perms::ALL)?;
            let config = tree.install("/zookeeper/config", perms::READ)?;
            tree.extra_mut(config)?.aversion = -1;
        }
        Ok(tree)
    }

    fn find(&self, path: &str) -> Option<u32> {
        let names = path.strip_prefix('/')?;
        if names.is_empty() {
            return Some(self.root);
        }
        names.split('/').try_fold(self.root, |slot, name| self.child(slot, name))
    }

    fn find_owned(&self, path: &str) -> Option<u32> {
        self.find(path).filter(|slot| self.nodes[*slot].has(OWNED))
    }

    fn child(&self, slot: u32, name: &str) -> Option<u32> {
        let extra = self.extras.get(self.nodes[slot].extra)?;
        let hash = self.hash(name.as_bytes());
        extra.children.find(hash, |child| self.nodes.name(child) == name.as_bytes())
    }

    fn hash(&self, name: &[u8]) -> u64 {
        xxh3_64_with_seed(name, self.hash_seed)
    }

    fn extra(&self, slot: u32) -> Option<&Extra> {
        self.extras.get(self.nodes[slot].extra)
    }

    fn path_of(&self, slot: u32) -> String {
        let mut names = Vec::new();
        let mut at = slot;
        while at != self.root {
            names.push(self.nodes.name_str(at));
            at = self.nodes[at].parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        let mut path = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    /// The znode at `path`, if it belongs to this partition.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<NodeRef<'_>> {
        self.find_owned(path).map(|slot| NodeRef::new(self, slot))
    }

    /// The raw owner of the child at `path`, if the parent belongs to this partition and lists
    /// the child, whosever it is.
    #[must_use]
    pub fn has_entry(&self, path: &str) -> Option<i64> {
        let child = &self.nodes[self.find(path)?];
        let parent = self.nodes.get(child.parent)?;
        parent.has(OWNED).then(|| self.owners.raw(child.owner))
    }

    /// The pzxid of the parent of `path`, if the parent belongs to this partition.
    #[must_use]
    pub fn parent_pzxid(&self, path: &str) -> Option<Zxid> {
        let (parent, _) = path::split(path).filter(|_| path != "/")?;
        self.find_owned(parent).map(|slot| Zxid(self.pzxid(slot)))
    }

    fn pzxid(&self, slot: u32) -> u64 {
        self.extra(slot).map_or(self.nodes[slot].czxid, |extra| extra.pzxid)
    }

    /// How many znodes of this partition lie below `path`, itself left out. Takes time in
    /// proportion to the answer.
    #[must_use]
    pub fn descendants(&self, path: &str) -> usize {
        let mut count = 0;
        let mut open: Vec<u32> = self.find(path).into_iter().collect();
        while let Some(slot) = open.pop() {
            let Some(extra) = self.extra(slot) else { continue };
            for child in extra.children.iter() {
                let node = &self.nodes[child];
                count += usize::from(node.has(OWNED));
                if node.extra != NONE {
                    open.push(child);
                }
            }
        }
        count
    }

    /// Paths of this partition's znodes that the session owns, sorted.
    #[must_use]
    pub fn ephemerals(&self, session: i64) -> Vec<ByteString> {
        let slots = self.session_slots(session).filter(|slot| self.nodes[*slot].has(OWNED));
        let mut paths: Vec<ByteString> = slots.map(|slot| self.path_of(slot).into()).collect();
        paths.sort_unstable();
        paths
    }

    /// Sessions that own znodes of this partition, in ascending order.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = i64> {
        self.owners.sessions()
    }

    /// What the end of a session deletes here, halves at a border included, sorted by path.
    #[must_use]
    pub fn end_session_changes(&self, session: i64) -> Vec<(Change, Part)> {
        let mut ends: Vec<(ByteString, Part)> = self
            .session_slots(session)
            .map(|slot| (self.path_of(slot).into(), self.part_of(slot)))
            .collect();
        ends.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        ends.into_iter().map(|(path, part)| (Change::Delete { path }, part)).collect()
    }

    fn session_slots(&self, session: i64) -> impl Iterator<Item = u32> {
        let is_session = matches!(Owner::from_raw(session), Owner::Session(_));
        is_session.then(|| self.owners.slots(session)).into_iter().flatten()
    }

    /// Which halves of a child are here.
    fn part_of(&self, slot: u32) -> Part {
        let node = &self.nodes[slot];
        let listed = self.nodes.get(node.parent).is_some_and(|parent| parent.has(OWNED));
        Part { node: node.has(OWNED), entry: listed }
    }

    /// Znodes of this partition.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.node_count
    }

    /// Children that are listed here and belong to other partitions.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// Znodes of this partition that belong to a session.
    #[must_use]
    pub fn ephemerals_count(&self) -> usize {
        self.owners.ephemerals()
    }

    /// Bytes of the paths and data of this partition's znodes.
    #[must_use]
    pub fn data_size(&self) -> usize {
        self.data_size
    }
}

fn world(perms: i32) -> Arc<[Acl]> {
    Arc::new([Acl { perms, id: Id { scheme: "world".into(), id: "anyone".into() } }])
}
