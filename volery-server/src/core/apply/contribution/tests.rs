//! Contributions: what a partition tells the others, and nothing more.

use volery_proto::zk::*;

use super::*;
use crate::core::test_tree::{TestTree, acl, identity, open};

fn sequential(path: &str) -> MultiOp {
    MultiOp::Create(CreateRequest { path: path.into(), data: None, acl: open(), flags: 2 })
}

fn delete(path: &str) -> MultiOp {
    MultiOp::Delete(DeleteRequest { path: path.into(), version: -1 })
}

fn names(contribution: &Contribution) -> Vec<(&str, bool)> {
    contribution.exists.iter().map(|(path, exists)| (path.as_ref(), *exists)).collect()
}

/// Goal: a sequential create's name is foreseen, one number for each create before it.
#[test]
fn names_of_sequential_creates() {
    let mut tree = TestTree::with(&["/a", "/a/n-0000000003", "/b"]);
    tree.info("/a").cversion = 2;
    let ops = ["/a/n-", "/a/n-", "/b/n-", "/a/n-", "/new/n-"].map(sequential).to_vec();
    let all = contribute(&Request::Multi(ops.clone()), &tree, &[], &|_| true);
    let wanted = [
        ("/a/n-0000000002", false),
        ("/a/n-0000000003", true),
        ("/a/n-0000000004", false),
        ("/b/n-0000000000", false),
        ("/new/n-0000000000", false),
    ];
    assert_eq!(names(&all), wanted);
    // Only the owner of the parent says so, and all are silent on what they do not own.
    let child = contribute(&Request::Multi(ops), &tree, &[], &|path| path.len() > 3);
    assert_eq!(names(&child), [("/new/n-0000000000", false)]);
    assert_eq!(child.nodes.into_iter().collect::<Vec<_>>(), [("/new".into(), None)]);
}

/// Goal: the read set of a delete is the znode and its parent; absence is said, too.
#[test]
fn nodes_of_a_delete() {
    let tree = TestTree::with(&["/a"]);
    let ops = vec![delete("/a/x"), delete("/a")];
    let contribution = contribute(&Request::Multi(ops), &tree, &[], &|_| true);
    let nodes = contribution.nodes.iter().map(|(p, n)| (p.as_ref(), n.is_some()));
    assert_eq!(nodes.collect::<Vec<(&str, bool)>>(), [("/", true), ("/a", true), ("/a/x", false)]);
    assert_eq!(contribution.exists.len(), 0);
}

/// Goal: ACLs travel as what they grant to this client, and survive the bytes.
#[test]
fn acls_are_cut_down() {
    let mut tree = TestTree::with(&[]);
    let long = (0..100).map(|n| acl(perms::ALL, &format!("digest:u{n}:h")));
    tree.add("/a", 0, long.chain([acl(perms::READ, "world:anyone")]).collect());
    tree.add("/open", 0, vec![]);
    let ops = vec![delete("/a"), delete("/open")];
    let request = Request::Multi(ops);
    for (who, granted) in [("digest:u7:h", perms::ALL), ("digest:other:h", perms::READ)] {
        let sent = contribute(&request, &tree, &[identity(who)], &|_| true);
        let received = Contribution::decode(sent.encode()).expect("it was just encoded");
        assert_eq!(received, sent);
        let acl_of = |path| received.nodes[path].as_ref().map(|node| node.acl.to_vec());
        assert_eq!(acl_of("/a"), Some(vec![auth::world_acl(granted)]));
        assert_eq!(acl_of("/open"), Some(vec![]));
        assert!(sent.encode().len() < 300);
    }
}

#[test]
fn damaged_bytes_are_errors() {
    let tree = TestTree::with(&["/a"]);
    let request = Request::Multi(vec![delete("/a")]);
    let mut sent = contribute(&request, &tree, &[], &|_| true);
    sent.last_time_ms = -5;
    let bytes = sent.encode();
    assert_eq!(Contribution::decode(bytes.clone()).ok(), Some(sent));
    for end in 1..bytes.len() {
        // Some prefixes are whole messages; none may panic.
        let _ = Contribution::decode(bytes.slice(..end));
    }
    assert!(Contribution::decode("\u{ff}not protobuf".into()).is_err());
}
