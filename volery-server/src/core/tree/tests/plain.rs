//! Single cases: the fresh tree's quirks, what is refused, big directories.

use bytestring::ByteString;
use proptest::prelude::*;
use volery_proto::ids::Zxid;
use volery_proto::zk::perms;

use super::super::{Loader, Tree, world};
use crate::core::types::{Change, Moment, Part};

const NODE: Part = Part { node: true, entry: false };
const ENTRY: Part = Part { node: false, entry: true };

fn at(zxid: u64) -> Moment {
    Moment { zxid: Zxid(zxid), time_ms: zxid as i64 }
}

fn create(path: &str) -> Change {
    owned_by(path, 0)
}

fn owned_by(path: &str, owner: i64) -> Change {
    Change::Create { path: path.into(), data: Some("x".into()), acl: world(31), owner }
}

fn delete(path: &str) -> Change {
    Change::Delete { path: path.into() }
}

#[test]
fn the_fresh_tree_has_zookeepers_quirks() {
    let tree = Tree::fresh(true, 0).unwrap();
    let stat = |path: &str| {
        let stat = tree.get(path).unwrap().stat();
        assert_eq!((stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime), (0, 0, 0, 0, 0));
        (stat.version, stat.cversion, stat.aversion, stat.num_children)
    };
    assert_eq!(stat("/"), (0, -1, 0, 1));
    assert_eq!(stat("/zookeeper"), (0, -2, 0, 2));
    assert_eq!(stat("/zookeeper/quota"), (0, 0, 0, 0));
    assert_eq!(stat("/zookeeper/config"), (0, 0, -1, 0));
    assert_eq!(tree.get("/zookeeper/config").unwrap().acl()[0].perms, perms::READ);
    assert_eq!(tree.get("/zookeeper/quota").unwrap().acl()[0].perms, perms::ALL);
    assert_eq!(tree.node_count(), 4);
    let paths = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
    assert_eq!(tree.data_size(), paths.iter().map(|path| path.len()).sum::<usize>());
    let other = Tree::fresh(false, 0).unwrap();
    assert_eq!((other.node_count(), other.get("/").is_none()), (0, true));
}

#[test]
fn odd_paths_name_nothing() {
    let tree = Tree::fresh(true, 0).unwrap();
    for path in ["", "zookeeper", "//", "/zookeeper/", "//zookeeper", "/zookeeper//quota", "/x"] {
        assert!(tree.get(path).is_none(), "{path:?}");
        assert_eq!(tree.has_entry(path), None, "{path:?}");
    }
    assert_eq!(tree.parent_pzxid("/"), None);
    assert_eq!(tree.parent_pzxid("/x"), Some(Zxid(0)));
    assert_eq!(tree.parent_pzxid("/x/y"), None);
}

#[test]
fn impossible_changes_are_refused() {
    let set = Change::SetData { path: "/x".into(), data: None };
    let set_acl = Change::SetAcl { path: "/x".into(), acl: world(1) };
    for (change, part) in [
        (create("/zookeeper"), Part::WHOLE),
        (create("/x/y"), Part::WHOLE),
        (create("/x/y"), NODE),
        (create("/x"), NODE),
        (create("/"), Part::WHOLE),
        (create(""), Part::WHOLE),
        (create("x"), Part::WHOLE),
        (create("//x"), Part::WHOLE),
        (create("/zookeeper/"), Part::WHOLE),
        (create("/border/a//b"), NODE),
        (create("/border"), ENTRY),
        (delete("/"), NODE),
        (delete("/x"), Part::WHOLE),
        (delete("/zookeeper"), Part::WHOLE),
        (delete("/zookeeper/quota"), NODE),
        (delete("/border"), ENTRY),
        (delete("/border/far/here"), Part::WHOLE),
        (set, Part::WHOLE),
        (set_acl, Part::WHOLE),
    ] {
        let mut tree = Tree::fresh(true, 0).unwrap();
        tree.apply(&create("/border"), ENTRY, at(1)).unwrap();
        tree.apply(&create("/border/far/here"), NODE, at(2)).unwrap();
        let error = tree.apply(&change, part, at(3)).expect_err(&format!("{change:?} {part:?}"));
        assert_eq!(error.path, *change.path());
    }
    let mut tree = Tree::fresh(true, 0).unwrap();
    tree.apply(&create("/x"), Part { node: false, entry: false }, at(1)).unwrap();
    assert!(tree.get("/x").is_none());
}

#[test]
fn the_version_steps_over_minus_one() {
    let mut tree = Tree::new(true, 0);
    tree.apply(&create("/x"), Part::WHOLE, at(1)).unwrap();
    let slot = tree.find("/x").unwrap();
    tree.nodes[slot].version = -2;
    let set = Change::SetData { path: "/x".into(), data: None };
    tree.apply(&set, Part::WHOLE, at(2)).unwrap();
    let node = tree.get("/x").unwrap();
    assert_eq!((node.info().version, node.data(), node.info().data_length), (0, None, 0));
}

#[test]
fn the_end_of_a_session_removes_both_halves_without_an_exchange() {
    let (mut above, mut below) = (Tree::new(true, 0), Tree::new(false, 0));
    above.apply(&owned_by("/e", 7), ENTRY, at(1)).unwrap();
    below.apply(&owned_by("/e", 7), NODE, at(1)).unwrap();
    above.apply(&owned_by("/here", 7), Part::WHOLE, at(2)).unwrap();
    assert_eq!(above.ephemerals(7), [ByteString::from("/here")]);
    assert_eq!(below.ephemerals(7), [ByteString::from("/e")]);
    let ends = above.end_session_changes(7);
    assert_eq!(ends, [(delete("/e"), ENTRY), (delete("/here"), Part::WHOLE)]);
    assert_eq!(below.end_session_changes(7), [(delete("/e"), NODE)]);
    for (change, part) in ends {
        above.apply(&change, part, at(3)).unwrap();
    }
    let root = above.get("/").unwrap().info();
    assert_eq!((root.pzxid, root.cversion, root.num_children), (Zxid(3), 2, 0));
    assert_eq!(above.end_session_changes(7), []);
}

/// All of a tree of large znodes changes while no slice is taken: who stores slices takes none of
/// any size, and snapshots of a busy server failed.
#[test]
fn slices_are_small_whatever_changes_between_them() {
    let mut tree = Tree::new(true, 0);
    let paths: Vec<String> = (0..300).map(|n| format!("/n{n}")).collect();
    let set = |path: &String, byte: u8| Change::SetData {
        path: path.as_str().into(),
        data: Some(vec![byte; 100_000].into()),
    };
    for (n, path) in paths.iter().enumerate() {
        tree.apply(&create(path), Part { node: true, entry: true }, at(2 * n as u64 + 1)).unwrap();
        tree.apply(&set(path, 1), NODE, at(2 * n as u64 + 2)).unwrap();
    }
    let digest = tree.digest();
    tree.begin_snapshot();
    let (mut loader, mut slices) = (Loader::new(0), 0);
    loop {
        if slices == 2 {
            for (n, path) in paths.iter().enumerate() {
                tree.apply(&set(path, 2), NODE, at(1000 + n as u64)).unwrap();
            }
        }
        let mut slice = Vec::new();
        let done = tree.snapshot_slice(256, &mut slice);
        assert!(slice.len() < 5 << 20, "{} bytes", slice.len());
        loader.chunk(&slice).unwrap();
        slices += 1;
        if done {
            break;
        }
    }
    assert_eq!(loader.finish().unwrap().digest(), digest);
}

#[test]
fn a_big_directory_splits_and_gives_its_memory_back() {
    const COUNT: usize = 40_000;
    let mut tree = Tree::new(true, 5);
    for i in 0..COUNT {
        tree.apply(&create(&format!("/n{i}")), Part::WHOLE, at(i as u64 + 1)).unwrap();
    }
    assert_eq!(tree.get("/").unwrap().children().count(), COUNT);
    tree.begin_snapshot();
    let digest = tree.digest();
    let mut loader = Loader::new(9);
    for i in 0..COUNT {
        let path = format!("/n{i}");
        assert!(tree.get(&path).is_some());
        tree.apply(&delete(&path), Part::WHOLE, at((COUNT + i + 1) as u64)).unwrap();
        if i % 100 == 0 {
            let mut chunk = Vec::new();
            tree.snapshot_slice(37, &mut chunk);
            loader.chunk(&chunk).unwrap();
        }
    }
    assert_eq!((tree.node_count(), tree.data_size()), (1, 1));
    let mut chunk = Vec::new();
    while !tree.snapshot_slice(1000, &mut chunk) {}
    loader.chunk(&chunk).unwrap();
    let loaded = loader.finish().unwrap();
    assert_eq!(loaded.digest(), digest);
    assert_eq!(loaded.get("/").unwrap().children().count(), COUNT);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = super::super::snapshot::MAGIC.to_vec();
        bytes.extend_from_slice(&noise);
        let mut loader = Loader::new(0);
        let taken = loader.chunk(&bytes);
        prop_assert!(taken.is_err() || loader.finish().is_err());
    }
}
