//! The tree as a multi's next operation sees it: the view below, and the changes so far above.
//! Never writes through: a multi that fails just drops its overlay.
//! Called by `multi` only.

use std::collections::BTreeMap;

use bytestring::ByteString;
use volery_proto::path;

use super::{View, node};
use crate::core::types::{Change, Moment, NodeInfo};

/// A view with changes on top.
pub(super) struct Overlay<'a, V: ?Sized> {
    base: &'a V,
    moment: Moment,
    /// What changed; `None`: deleted.
    nodes: BTreeMap<ByteString, Option<NodeInfo>>,
}

impl<'a, V: View + ?Sized> Overlay<'a, V> {
    pub(super) fn new(base: &'a V, moment: Moment) -> Overlay<'a, V> {
        Overlay { base, moment, nodes: BTreeMap::new() }
    }

    /// Puts a change on top; its checks have passed.
    pub(super) fn apply(&mut self, change: &Change) {
        let path = change.path();
        match change {
            Change::Create { data, acl, owner, .. } => {
                let created = node::created(data, acl, *owner, self.moment);
                self.nodes.insert(path.clone(), Some(created));
                self.update_parent(path, node::with_child);
            }
            Change::Delete { .. } => {
                self.nodes.insert(path.clone(), None);
                self.update_parent(path, node::without_child);
            }
            Change::SetData { data, .. } => {
                let moment = self.moment;
                self.update(path.clone(), |node| node::with_data(node, data, moment));
            }
            Change::SetAcl { acl, .. } => {
                self.update(path.clone(), |node| node::with_acl(node, acl));
            }
        }
    }

    fn update_parent(&mut self, path: &ByteString, make: fn(NodeInfo, Moment) -> NodeInfo) {
        if let Some(parent) = path::parent_of(path) {
            let moment = self.moment;
            self.update(parent, |node| make(node, moment));
        }
    }

    fn update(&mut self, path: ByteString, make: impl FnOnce(NodeInfo) -> NodeInfo) {
        if let Some(node) = self.node(&path) {
            self.nodes.insert(path, Some(make(node)));
        }
    }
}

impl<V: View + ?Sized> View for Overlay<'_, V> {
    fn node(&self, path: &str) -> Option<NodeInfo> {
        match self.nodes.get(path) {
            Some(changed) => changed.clone(),
            None => self.base.node(path),
        }
    }

    fn exists(&self, path: &str) -> bool {
        match self.nodes.get(path) {
            Some(changed) => changed.is_some(),
            None => self.base.exists(path),
        }
    }
}
