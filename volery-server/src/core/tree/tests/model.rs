//! Goal: every answer of the tree equals a model's that is a sorted map of full paths.
//! Method: two partitions with borders in both directions take random valid changes; snapshots
//! of either are sliced in between, and loading one must give exactly the tree at its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use volery_proto::ids::Zxid;
use volery_proto::path;
use volery_proto::zk::Acl;

use super::super::{Loader, Tree, world};
use crate::core::types::{CONTAINER_OWNER, Change, Moment, NodeInfo, Owner, Part};

const NAMES: [&str; 4] = ["a", "b", "c", "d-with-a-longer-name"];

/// "b" begins a subtree of partition 1, "c" one of partition 0, which has the root.
fn partition_of(path: &str) -> usize {
    let last = path.split('/').rfind(|name| *name == "b" || *name == "c");
    usize::from(last == Some("b"))
}

#[derive(Clone, Debug)]
enum Op {
    Create { path: String, data: Option<Vec<u8>>, perms: i32, owner: i64 },
    Delete { path: String },
    SetData { path: String, data: Option<Vec<u8>> },
    SetAcl { path: String, perms: i32 },
    EndSession { session: i64 },
    Begin { partition: usize },
    Slice { partition: usize, nodes: usize },
    Abort { partition: usize },
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(0..NAMES.len(), 1..5)
        .prop_map(|names| names.iter().map(|n| format!("/{}", NAMES[*n])).collect())
}

fn any_data() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..20))
}

fn any_op() -> impl Strategy<Value = Op> {
    let owner = prop_oneof![
        3 => Just(0),
        2 => 1..4i64,
        1 => Just(CONTAINER_OWNER),
        1 => (1..50i64).prop_map(|ms| Owner::Ttl(ms).to_raw()),
    ];
    prop_oneof![
        8 => (any_path(), any_data(), 1..6i32, owner)
            .prop_map(|(path, data, perms, owner)| Op::Create { path, data, perms, owner }),
        3 => any_path().prop_map(|path| Op::Delete { path }),
        3 => (any_path(), any_data()).prop_map(|(path, data)| Op::SetData { path, data }),
        2 => (any_path(), 1..6i32).prop_map(|(path, perms)| Op::SetAcl { path, perms }),
        1 => (1..4i64).prop_map(|session| Op::EndSession { session }),
        2 => (0..2usize).prop_map(|partition| Op::Begin { partition }),
        4 => (0..2usize, 1..5usize).prop_map(|(partition, nodes)| Op::Slice { partition, nodes }),
        1 => (0..2usize).prop_map(|partition| Op::Abort { partition }),
    ]
}

#[derive(Clone, Debug)]
struct ModelNode {
    info: NodeInfo,
    data: Option<Vec<u8>>,
    last_change: Zxid,
}

/// A snapshot of one partition that is being taken.
struct Taking {
    digest: u64,
    counts: (usize, usize, usize, usize),
    loader: Loader,
}

struct World {
    nodes: BTreeMap<String, ModelNode>,
    trees: [Tree; 2],
    taking: [Option<Taking>; 2],
    zxid: u64,
}

fn counts(tree: &Tree) -> (usize, usize, usize, usize) {
    (tree.node_count(), tree.entry_count(), tree.ephemerals_count(), tree.data_size())
}

impl World {
    fn new() -> World {
        let info = NodeInfo {
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            pzxid: Zxid::ZERO,
            ctime_ms: 0,
            mtime_ms: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
            data_length: 0,
            num_children: 0,
            acl: world(31),
        };
        let root = ModelNode { info, data: Some(Vec::new()), last_change: Zxid::ZERO };
        World {
            nodes: BTreeMap::from([("/".to_owned(), root)]),
            trees: [Tree::new(true, 1), Tree::new(false, 2)],
            taking: [None, None],
            zxid: 0,
        }
    }

    fn children(&self, parent: &str) -> BTreeSet<&str> {
        self.nodes
            .keys()
            .filter(|other| *other != "/")
            .filter_map(|other| path::split(other))
            .filter(|(p, _)| *p == parent)
            .map(|(_, name)| name)
            .collect()
    }

    fn run(&mut self, op: Op) {
        self.zxid += 1;
        let at = Moment { zxid: Zxid(self.zxid), time_ms: self.zxid as i64 * 10 };
        match op {
            Op::Create { path, data, perms, owner } => {
                let (parent, _) = path::split(&path).unwrap();
                let fits = self.nodes.get(parent).is_some_and(|p| !is_session(p.info.owner));
                if fits && !self.nodes.contains_key(&path) {
                    let data = data.map(Into::into);
                    let acl = world(perms);
                    self.change(Change::Create { path: path.into(), data, acl, owner }, at);
                }
            }
            Op::Delete { path } => {
                if self.nodes.contains_key(&path) && self.children(&path).is_empty() {
                    self.change(Change::Delete { path: path.into() }, at);
                }
            }
            Op::SetData { path, data } if self.nodes.contains_key(&path) => {
                self.change(Change::SetData { path: path.into(), data: data.map(Into::into) }, at);
            }
            Op::SetAcl { path, perms } if self.nodes.contains_key(&path) => {
                self.change(Change::SetAcl { path: path.into(), acl: world(perms) }, at);
            }
            Op::SetData { .. } | Op::SetAcl { .. } => {}
            Op::EndSession { session } => self.end_session(session, at),
            Op::Begin { partition } if self.taking[partition].is_some() => {}
            Op::Begin { partition } => {
                let tree = &mut self.trees[partition];
                tree.begin_snapshot();
                let (digest, counts) = (tree.digest(), counts(tree));
                let loader = Loader::new(self.zxid);
                self.taking[partition] = Some(Taking { digest, counts, loader });
            }
            Op::Slice { partition, nodes } => self.slice(partition, nodes),
            Op::Abort { partition } => {
                self.trees[partition].abort_snapshot();
                self.taking[partition] = None;
            }
        }
    }

    fn end_session(&mut self, session: i64, at: Moment) {
        let mut halves = BTreeMap::new();
        for tree in &mut self.trees {
            let ends = tree.end_session_changes(session);
            assert!(ends.is_sorted_by(|a, b| a.0.path() < b.0.path()));
            for (change, part) in ends {
                tree.apply(&change, part, at).unwrap();
                let both = halves.entry(change.path().to_string()).or_insert((0, 0));
                *both = (both.0 + i32::from(part.node), both.1 + i32::from(part.entry));
            }
        }
        let expected: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.info.owner == session)
            .map(|(path, _)| path.clone())
            .collect();
        assert!(halves.values().all(|both| *both == (1, 1)));
        assert!(halves.into_keys().eq(expected.iter().cloned()));
        for path in expected {
            self.model_change(&Change::Delete { path: path.into() }, at);
        }
    }

    /// Every fourth loaded tree takes the place of the one it came from.
    fn slice(&mut self, partition: usize, nodes: usize) {
        let Some(mut taking) = self.taking[partition].take() else { return };
        let mut bytes = Vec::new();
        let done = self.trees[partition].snapshot_slice(nodes, &mut bytes);
        taking.loader.chunk(&bytes).unwrap();
        if !done {
            self.taking[partition] = Some(taking);
            return;
        }
        let loaded = taking.loader.finish().unwrap();
        assert_eq!(loaded.digest(), taking.digest);
        assert_eq!(counts(&loaded), taking.counts);
        if self.trees[partition].digest() == taking.digest && self.zxid.is_multiple_of(4) {
            self.trees[partition] = loaded;
        }
    }

    fn change(&mut self, change: Change, at: Moment) {
        let path = change.path().to_string();
        let (parent, _) = path::split(&path).unwrap();
        for (partition, tree) in self.trees.iter_mut().enumerate() {
            let node = partition_of(&path) == partition;
            let entry = path != "/" && partition_of(parent) == partition;
            tree.apply(&change, Part { node, entry }, at).unwrap();
        }
        self.model_change(&change, at);
    }

    fn model_change(&mut self, change: &Change, at: Moment) {
        let path = change.path().to_string();
        let (parent, _) = path::split(&path).unwrap();
        match change {
            Change::Create { data, acl, owner, .. } => {
                let above = self.nodes.get_mut(parent).unwrap();
                above.info.cversion += 1;
                above.info.num_children += 1;
                above.info.pzxid = at.zxid;
                above.last_change = at.zxid;
                let node = new_node(data.as_deref(), acl, *owner, at);
                self.nodes.insert(path, node);
            }
            Change::Delete { .. } => {
                self.nodes.remove(&path);
                let above = self.nodes.get_mut(parent).unwrap();
                above.info.num_children -= 1;
                above.info.pzxid = at.zxid;
                above.last_change = at.zxid;
            }
            Change::SetData { data, .. } => {
                let node = self.nodes.get_mut(&path).unwrap();
                node.data = data.as_ref().map(|d| d.to_vec());
                node.info.data_length = data.as_ref().map_or(0, |d| d.len()) as i32;
                node.info.version += 1;
                node.info.mzxid = at.zxid;
                node.info.mtime_ms = at.time_ms;
                node.last_change = at.zxid;
            }
            Change::SetAcl { acl, .. } => {
                let node = self.nodes.get_mut(&path).unwrap();
                node.info.acl = acl.clone();
                node.info.aversion += 1;
                node.last_change = at.zxid;
            }
        }
    }

    fn check(&self) {
        for (partition, tree) in self.trees.iter().enumerate() {
            let mine = || self.nodes.iter().filter(|(path, _)| partition_of(path) == partition);
            assert_eq!(tree.node_count(), mine().count());
            let size: usize =
                mine().map(|(p, n)| p.len() + n.data.as_ref().map_or(0, Vec::len)).sum();
            assert_eq!(tree.data_size(), size);
            let ephemerals = mine().filter(|(_, n)| is_session(n.info.owner)).count();
            assert_eq!(tree.ephemerals_count(), ephemerals);
            for session in 1..4 {
                let owned: Vec<&str> = mine()
                    .filter(|(_, n)| n.info.owner == session)
                    .map(|(path, _)| path.as_str())
                    .collect();
                assert!(tree.ephemerals(session).iter().eq(owned.iter().copied()));
                let listed = tree.sessions_with_ephemerals().any(|s| s == session);
                assert_eq!(listed, !owned.is_empty());
            }
            self.check_reaper(partition);
            let mut entries = 0;
            for (path, node) in &self.nodes {
                entries += usize::from(self.check_node(partition, path, node));
            }
            assert_eq!(tree.entry_count(), entries);
        }
    }

    /// Whether `path` is an entry of this partition.
    fn check_node(&self, partition: usize, path: &str, node: &ModelNode) -> bool {
        let tree = &self.trees[partition];
        let mine = partition_of(path) == partition;
        let (parent, _) = path::split(path).unwrap();
        let listed = path != "/" && partition_of(parent) == partition;
        assert_eq!(tree.has_entry(path), listed.then_some(node.info.owner));
        let pzxid = listed.then(|| self.nodes[parent].info.pzxid);
        assert_eq!(tree.parent_pzxid(path), pzxid);
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.nodes.keys().filter(|p| p.starts_with(&prefix) && *p != "/");
        let below = below.filter(|p| partition_of(p) == partition).count();
        assert_eq!(tree.descendants(path), below);
        let found = tree.get(path);
        assert_eq!(found.is_some(), mine);
        if let Some(found) = found {
            assert_eq!(found.info(), node.info);
            assert_eq!(found.data(), node.data.as_deref());
            assert_eq!(found.last_change(), node.last_change);
            assert_eq!(found.children().collect::<BTreeSet<_>>(), self.children(path));
        }
        listed && !mine
    }

    fn check_reaper(&self, partition: usize) {
        let now_ms = self.zxid as i64 * 10;
        let due = |node: &ModelNode| {
            let age_ms = now_ms - node.info.mtime_ms;
            node.info.num_children == 0
                && match Owner::from_raw(node.info.owner) {
                    Owner::Container => node.info.cversion > 0 || age_ms > 100,
                    Owner::Ttl(ttl_ms) => age_ms > ttl_ms,
                    _ => false,
                }
        };
        let mine = self.nodes.iter().filter(|(path, _)| partition_of(path) == partition);
        let expected: BTreeSet<&str> =
            mine.filter(|(_, node)| due(node)).map(|(path, _)| path.as_str()).collect();
        let found = self.trees[partition].reap_candidates(now_ms, 1000, 100);
        assert!(found.iter().map(|path| &**path).collect::<BTreeSet<_>>().eq(&expected));
    }
}

fn new_node(data: Option<&[u8]>, acl: &Arc<[Acl]>, owner: i64, at: Moment) -> ModelNode {
    let info = NodeInfo {
        czxid: at.zxid,
        mzxid: at.zxid,
        pzxid: at.zxid,
        ctime_ms: at.time_ms,
        mtime_ms: at.time_ms,
        version: 0,
        cversion: 0,
        aversion: 0,
        owner,
        data_length: data.map_or(0, <[u8]>::len) as i32,
        num_children: 0,
        acl: acl.clone(),
    };
    ModelNode { info, data: data.map(<[u8]>::to_vec), last_change: at.zxid }
}

fn is_session(raw: i64) -> bool {
    matches!(Owner::from_raw(raw), Owner::Session(_))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn agrees_with_the_model(ops in prop::collection::vec(any_op(), 1..150)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
            world.check();
        }
        for path in world.nodes.keys().cloned().collect::<Vec<_>>().into_iter().rev() {
            if path != "/" {
                world.run(Op::Delete { path });
            }
        }
        world.check();
        // Without znodes nothing is left of connectors and extras but the roots'.
        prop_assert_eq!(world.trees[0].nodes.len(), 1);
        prop_assert_eq!(world.trees[0].ttl_ends.len() + world.trees[1].ttl_ends.len(), 0);
        prop_assert_eq!(world.trees[1].nodes.len(), 1);
        prop_assert_eq!(world.trees[1].extras.len(), 0);
    }

    #[test]
    fn damaged_snapshots_never_panic(
        ops in prop::collection::vec(any_op(), 1..60),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        let tree = &mut world.trees[0];
        tree.begin_snapshot();
        let mut bytes = Vec::new();
        while !tree.snapshot_slice(100, &mut bytes) {}
        let mut loader = Loader::new(3);
        if loader.chunk(&bytes[..cut.index(bytes.len())]).is_ok() {
            prop_assert!(loader.finish().is_err());
        }
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut loader = Loader::new(3);
        let taken = loader.chunk(&bytes);
        let finished = loader.finish();
        prop_assert!(taken.is_ok() || finished.is_err());
        // What loads is a tree: every walk ends.
        if let Ok(tree) = finished {
            let _ = tree.digest();
            prop_assert!(tree.descendants("/") <= tree.node_count());
        }
    }
}
