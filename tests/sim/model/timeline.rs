//! Every state that a znode was ever in, and every change that a watch can fire for.
//! It judges nothing. Written by the model, read by the properties.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use volery_proto::ids::Zxid;

use super::Node;

/// What happened to a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FiredKind {
    Created = 1,
    Deleted = 2,
    DataChanged = 3,
    ChildrenChanged = 4,
}

/// A change that watches fire for.
#[derive(Clone, Debug)]
pub(crate) struct Fired {
    pub(crate) zxid: Zxid,
    pub(crate) kind: FiredKind,
    pub(crate) path: String,
    /// Whether the world may read what the event is filtered by.
    pub(crate) readable: bool,
}

/// A state of a znode from `since` until the next one; `None`: it was not there.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) since: Zxid,
    pub(crate) node: Option<Rc<Node>>,
}

/// The history of the tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    versions: BTreeMap<String, Vec<Version>>,
    pub(crate) fired: Vec<Fired>,
    by_path: BTreeMap<String, Vec<usize>>,
    touched: BTreeSet<String>,
}

/// A state and where it ends.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) since: Zxid,
    pub(crate) until: Zxid,
    pub(crate) node: Option<Rc<Node>>,
}

impl Timeline {
    pub(crate) fn record(&mut self, zxid: Zxid, path: &str, node: Option<&Node>) {
        let versions = self
            .versions
            .entry(path.to_owned())
            .or_insert_with(|| vec![Version { since: Zxid::ZERO, node: None }]);
        let node = node.map(|n| Rc::new(n.clone()));
        match versions.last_mut() {
            Some(last) if last.since == zxid => last.node = node,
            _ => versions.push(Version { since: zxid, node }),
        }
    }

    /// A znode changed within the command that runs.
    pub(crate) fn touch(&mut self, path: &str) {
        if !self.touched.contains(path) {
            self.touched.insert(path.to_owned());
        }
    }

    /// The command is through: its changes become visible at once.
    pub(crate) fn seal(&mut self, zxid: Zxid, nodes: &BTreeMap<String, Node>) {
        for path in std::mem::take(&mut self.touched) {
            self.record(zxid, &path, nodes.get(&path));
        }
    }

    /// Drops what a failed multi touched.
    pub(crate) fn forget(&mut self) {
        self.touched.clear();
    }

    pub(crate) fn fire(&mut self, fired: Fired) {
        self.by_path.entry(fired.path.clone()).or_default().push(self.fired.len());
        self.fired.push(fired);
    }

    /// Takes back what a failed multi fired.
    pub(crate) fn unfire(&mut self, length: usize) {
        while self.fired.len() > length {
            if let Some(fired) = self.fired.pop()
                && let Some(of_path) = self.by_path.get_mut(&fired.path)
            {
                of_path.pop();
            }
        }
    }

    /// The changes of one path, in order.
    pub(crate) fn fired_at(&self, path: &str) -> impl Iterator<Item = &Fired> {
        self.by_path.get(path).into_iter().flatten().map(|i| &self.fired[*i])
    }

    /// The states of a path that are visible somewhere from `low` to `high`.
    pub(crate) fn spans(&self, path: &str, low: Zxid, high: Zxid) -> Vec<Span> {
        let Some(versions) = self.versions.get(path) else {
            return vec![Span { since: Zxid::ZERO, until: Zxid(u64::MAX), node: None }];
        };
        let from = versions.partition_point(|v| v.since <= low).saturating_sub(1);
        let mut spans = Vec::new();
        for (at, version) in versions.iter().enumerate().skip(from) {
            if version.since > high {
                break;
            }
            let until = versions.get(at + 1).map_or(Zxid(u64::MAX), |v| v.since);
            spans.push(Span { since: version.since, until, node: version.node.clone() });
        }
        spans
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.versions.keys()
    }
}
