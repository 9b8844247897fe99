//! What others see of a znode: a borrowed reference with everything that checks and reads want.
//! Changes nothing and allocates nothing but what it returns. Called by the executor and by reads.

use std::sync::Arc;

use volery_proto::ids::Zxid;
use volery_proto::zk::{Acl, Stat};

use super::Tree;
use super::node::{Extra, Node};
use crate::core::mutation::mutated;
use crate::core::types::NodeInfo;

/// A znode of this partition.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'a> {
    tree: &'a Tree,
    slot: u32,
    node: &'a Node,
    extra: Option<&'a Extra>,
}

impl<'a> NodeRef<'a> {
    pub(super) fn new(tree: &'a Tree, slot: u32) -> NodeRef<'a> {
        NodeRef { tree, slot, node: &tree.nodes[slot], extra: tree.extra(slot) }
    }

    /// All but the data and the children's names.
    #[must_use]
    pub fn info(&self) -> NodeInfo {
        NodeInfo {
            czxid: Zxid(self.node.czxid),
            mzxid: Zxid(self.node.mzxid),
            pzxid: self.pzxid(),
            ctime_ms: self.node.ctime_ms,
            mtime_ms: self.node.mtime_ms,
            version: self.node.version,
            cversion: self.extra.map_or(0, |extra| extra.cversion),
            aversion: self.extra.map_or(0, |extra| extra.aversion),
            owner: self.owner(),
            data_length: i32::try_from(self.node.data_len()).unwrap_or(i32::MAX),
            num_children: i32::try_from(self.num_children()).unwrap_or(i32::MAX),
            acl: self.acl().clone(),
        }
    }

    /// As clients see it.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.info().stat()
    }

    /// Null and empty differ.
    #[must_use]
    pub fn data(&self) -> Option<&'a [u8]> {
        self.tree.nodes.data(self.slot)
    }

    /// Its ACL, expanded.
    #[must_use]
    pub fn acl(&self) -> &'a Arc<[Acl]> {
        self.tree.acls.get(self.node.acl)
    }

    /// Its raw owner, see [`crate::core::types::Owner`].
    #[must_use]
    pub fn owner(&self) -> i64 {
        self.tree.owners.raw(self.node.owner)
    }

    /// Names of its children, those owned elsewhere included. Their order depends only on the
    /// tree's hash seed, the history of this replica and its snapshots: never let it reach
    /// replicated state.
    pub fn children(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let tree = self.tree;
        let slots = self.extra.into_iter().flat_map(|extra| extra.children.iter());
        slots.map(move |slot| tree.nodes.name_str(slot))
    }

    /// How many children it has, those owned elsewhere included.
    #[must_use]
    pub fn num_children(&self) -> usize {
        self.extra.map_or(0, |extra| extra.children.len())
    }

    /// Zxid of the last change of anything that a read of it returns, its ACL included.
    #[must_use]
    pub fn last_change(&self) -> Zxid {
        let acl = self.extra.map_or(0, |extra| extra.acl_zxid);
        let acl = if mutated!(AclUnobserved) { 0 } else { acl };
        Zxid(self.node.mzxid.max(acl)).max(self.pzxid())
    }

    fn pzxid(&self) -> Zxid {
        Zxid(self.extra.map_or(self.node.czxid, |extra| extra.pzxid))
    }
}
