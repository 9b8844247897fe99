//! What a partition tells the others about a command's read set, and the view it adds up to.
//! Depends on local state alone and never fails, so no partition ever waits to contribute.
//! Called by the executor's exchange, before and for `execute`.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{Id, Request};

use super::View;
use super::op::{CreateOp, WriteOp};
use crate::core::auth;
use crate::core::types::NodeInfo;

pub use wire::ContributionError;

/// The part of a command's read set that one partition owns. A path that no partition
/// contributes is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution {
    /// The partition's last time, Unix milliseconds; the caller fills it in.
    pub last_time_ms: i64,
    /// Znodes, or their absence. Their ACLs are cut down to what they grant to the command's
    /// identities: a contribution's size depends on the command, not on what clients stored.
    pub nodes: BTreeMap<ByteString, Option<NodeInfo>>,
    /// Whether the names that creates may take stand in their parents' child lists.
    pub exists: BTreeMap<ByteString, bool>,
}

impl Contribution {
    /// About how many bytes it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let paths = self.nodes.keys().chain(self.exists.keys());
        64 + paths.map(|path| 128 + path.len()).sum::<usize>()
    }
}

/// Collects what `view` knows of the request's read set: the target and the parent of each
/// operation where `owns_node` says that the path is this partition's, and for a create whether
/// the name it will take is in the child list of a parent that is.
pub fn contribute<V: View + ?Sized>(
    request: &Request,
    view: &V,
    identities: &[Id],
    owns_node: &dyn Fn(&str) -> bool,
) -> Contribution {
    let mut collector = Collector {
        view,
        identities,
        owns_node,
        contribution: Contribution::default(),
        creates: BTreeMap::new(),
    };
    match request {
        Request::Multi(ops) => {
            ops.iter().for_each(|op| collector.add(&WriteOp::of_multi(op)));
        }
        _ => {
            if let Some(op) = WriteOp::of_request(request) {
                collector.add(&op);
            }
        }
    }
    collector.contribution
}

struct Collector<'a, V: ?Sized> {
    view: &'a V,
    identities: &'a [Id],
    owns_node: &'a dyn Fn(&str) -> bool,
    contribution: Contribution,
    /// How many creates so far, by parent.
    creates: BTreeMap<ByteString, i32>,
}

impl<V: View + ?Sized> Collector<'_, V> {
    fn add(&mut self, op: &WriteOp<'_>) {
        let path = op.path();
        match op {
            WriteOp::Create(create) => {
                if let Some(parent) = path::parent_of(path) {
                    self.add_node(&parent);
                    self.add_name(create, parent);
                }
            }
            WriteOp::Delete { .. } | WriteOp::DeleteContainer { .. } => {
                if let Some(parent) = path::parent_of(path) {
                    self.add_node(&parent);
                }
                self.add_node(path);
            }
            WriteOp::SetData { .. } | WriteOp::SetAcl { .. } | WriteOp::Check { .. } => {
                self.add_node(path);
            }
        }
    }

    fn add_node(&mut self, path: &ByteString) {
        if !self.contribution.nodes.contains_key(path) && (self.owns_node)(path) {
            let node = self.view.node(path).map(|node| reduce(node, self.identities));
            self.contribution.nodes.insert(path.clone(), node);
        }
    }

    /// The name that a create takes is known here: every earlier create under the same parent
    /// has raised the raw cversion by one, or else the multi has failed before this operation,
    /// or the parent was deleted and created again, and then the overlay alone knows its children.
    fn add_name(&mut self, create: &CreateOp<'_>, parent_path: ByteString) {
        if !(self.owns_node)(&parent_path) {
            return;
        }
        let parent = self.contribution.nodes.get(&parent_path).and_then(Option::as_ref);
        let count = self.creates.entry(parent_path).or_insert(0);
        let earlier = *count;
        *count = earlier.wrapping_add(1);
        let cversion = parent.map_or(0, |parent| parent.cversion);
        let name = create.final_path(cversion.wrapping_add(earlier));
        if !self.contribution.exists.contains_key(&name) {
            let exists = parent.is_some() && self.view.exists(&name);
            self.contribution.exists.insert(name, exists);
        }
    }
}

/// The znode with an ACL of at most one entry that grants these identities the same.
fn reduce(mut node: NodeInfo, identities: &[Id]) -> NodeInfo {
    if let Some(perms) = auth::granted(&node.acl, identities) {
        node.acl = Arc::from([auth::world_acl(perms)]);
    }
    node
}

/// The tree as one partition sees it during a multi-partition command: its own paths from its
/// own state, the others from what their owners contributed.
pub struct ContributedView<'a, V: ?Sized> {
    /// This partition's state.
    pub local: &'a V,
    /// Whether a path is this partition's.
    pub owns_node: &'a dyn Fn(&str) -> bool,
    /// What the other partitions contributed.
    pub contributions: &'a [&'a Contribution],
}

impl<V: View + ?Sized> View for ContributedView<'_, V> {
    fn node(&self, path: &str) -> Option<NodeInfo> {
        if (self.owns_node)(path) {
            return self.local.node(path);
        }
        self.contributions.iter().find_map(|c| c.nodes.get(path)).cloned().flatten()
    }

    /// The parent's child list decides where it is known, here as in every other partition of
    /// the command.
    fn exists(&self, path: &str) -> bool {
        let owns_parent = path::split(path).is_some_and(|(parent, _)| (self.owns_node)(parent));
        if owns_parent {
            return self.local.exists(path);
        }
        match self.contributions.iter().find_map(|c| c.exists.get(path)) {
            Some(exists) => *exists,
            None => self.node(path).is_some(),
        }
    }
}
