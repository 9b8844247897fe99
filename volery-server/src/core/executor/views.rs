//! The tree as writes, reads and watches see it. Only passes on: the tree knows none of them.
//! Used by the replica.

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::path;
use volery_proto::zk::{Acl, Stat};

use crate::core::apply::View;
use crate::core::read::{ReadNode, ReadView};
use crate::core::tree::{NodeRef, Tree};
use crate::core::types::{Change, NodeInfo};
use crate::core::watch::AclSource;

impl View for Tree {
    fn node(&self, path: &str) -> Option<NodeInfo> {
        self.get(path).map(|node| node.info())
    }

    fn exists(&self, path: &str) -> bool {
        self.has_entry(path).is_some() || self.get(path).is_some()
    }
}

impl ReadView for Tree {
    type Node<'a> = NodeRef<'a>;

    fn get(&self, path: &str) -> Option<NodeRef<'_>> {
        Tree::get(self, path)
    }

    fn parent_pzxid(&self, path: &str) -> Option<Zxid> {
        Tree::parent_pzxid(self, path)
    }

    fn descendants(&self, path: &str) -> usize {
        Tree::descendants(self, path)
    }

    fn ephemerals(&self, session: SessionId) -> Vec<ByteString> {
        Tree::ephemerals(self, session.0)
    }
}

impl<'a> ReadNode<'a> for NodeRef<'a> {
    fn stat(&self) -> Stat {
        NodeRef::stat(self)
    }

    fn data(&self) -> Option<&'a [u8]> {
        NodeRef::data(self)
    }

    fn acl(&self) -> &'a Arc<[Acl]> {
        NodeRef::acl(self)
    }

    fn children(&self) -> impl Iterator<Item = &'a str> {
        NodeRef::children(self)
    }

    fn num_children(&self) -> usize {
        NodeRef::num_children(self)
    }

    fn last_change(&self) -> Zxid {
        NodeRef::last_change(self)
    }
}

/// The ACLs that the events of a change are filtered by.
pub(super) struct ChangeAcls<'a> {
    pub(super) tree: &'a Tree,
    pub(super) change: &'a Change,
}

impl ChangeAcls<'_> {
    fn of(&self, path: &str) -> &[Acl] {
        self.tree.get(path).map_or(&[], |node| &node.acl()[..])
    }
}

impl AclSource for ChangeAcls<'_> {
    fn node(&self) -> &[Acl] {
        self.of(self.change.path())
    }

    fn parent(&self) -> &[Acl] {
        path::split(self.change.path()).map_or(&[], |(parent, _)| self.of(parent))
    }
}
