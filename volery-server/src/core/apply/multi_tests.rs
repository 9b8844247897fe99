//! Multis: the order of the results, and how one failure undoes all.

use volery_proto::command::CommandFlags;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::zk::*;

use super::*;
use crate::core::test_tree::{TestTree, acl, open};
use crate::core::types::{Moment, Owner};

const NOW: Moment = Moment { zxid: Zxid(500), time_ms: 9_000 };

/// `create /a`, `create2 /a`, `seq /a/n-`, `container /c`, `ttl /t 5`, `delete /a 3`, `set /a 3`,
/// `check /a 3`, `eph /e`.
fn op(text: &str) -> MultiOp {
    let words: Vec<&str> = text.split(' ').collect();
    let path: bytestring::ByteString = words[1].into();
    let number = words.get(2).map_or(-1, |w| w.parse::<i32>().expect("a number"));
    let create = |flags| CreateRequest { path: path.clone(), data: None, acl: open(), flags };
    let path = path.clone();
    match words[0] {
        "create" => MultiOp::Create(create(0)),
        "eph" => MultiOp::Create(create(1)),
        "seq" => MultiOp::Create(create(2)),
        "create2" => MultiOp::Create2(create(0)),
        "container" => MultiOp::CreateContainer(create(4)),
        "ttl" => MultiOp::CreateTtl(CreateTtlRequest {
            path,
            data: None,
            acl: open(),
            flags: 5,
            ttl: i64::from(number),
        }),
        "delete" => MultiOp::Delete(DeleteRequest { path, version: number }),
        "set" => MultiOp::SetData(SetDataRequest { path, data: None, version: number }),
        "check" => MultiOp::Check(CheckVersionRequest { path, version: number }),
        other => panic!("{other}"),
    }
}

fn run(tree: &TestTree, ops: &[&str]) -> (Vec<MultiResult>, Vec<(u32, Change)>) {
    let flags = CommandFlags { extended_types: true, skip_acl: false };
    let context = WriteContext { moment: NOW, session: SessionId(7), identities: &[], flags };
    let request = Request::Multi(ops.iter().map(|text| op(text)).collect());
    let outcome = execute(&request, tree, &context);
    match outcome.reply {
        Ok(WriteReply::Multi(results)) => (results, outcome.changes),
        other => panic!("{other:?}"),
    }
}

/// A result in short: the created path, the Stat's (version, cversion, children), or the code.
fn show(result: &MultiResult) -> String {
    let stat = |s: &Stat| format!("v{} c{} n{}", s.version, s.cversion, s.num_children);
    match result {
        MultiResult::Create(r) => format!("create {}", r.path),
        MultiResult::Create2(r) => format!("create2 {} {}", r.path, stat(&r.stat)),
        MultiResult::Delete => "delete".to_owned(),
        MultiResult::SetData(s) => format!("set {}", stat(s)),
        MultiResult::Check => "check".to_owned(),
        MultiResult::Error(code) => format!("{}", code.code()),
        other => format!("{other:?}"),
    }
}

/// Goal: later operations see earlier ones; results are exact. Method: operations and, behind
/// the arrow, their results.
#[test]
fn later_operations_see_earlier_ones() {
    let table: &[&[(&str, &str)]] = &[
        &[],
        &[("create /p", "create /p"), ("create /p/c", "create /p/c")],
        &[("create2 /p", "create2 /p v0 c0 n0"), ("set /p 0", "set v1 c0 n0")],
        &[("delete /a", "delete"), ("create2 /a", "create2 /a v0 c0 n0")],
        &[("seq /a/n-", "create /a/n-0000000000"), ("seq /a/n-", "create /a/n-0000000001")],
        &[("create /a/x", "create /a/x"), ("seq /a/n-", "create /a/n-0000000001")],
        &[
            ("create /a/x", "create /a/x"),
            ("delete /a/x", "delete"),
            ("set /a", "set v1 c2 n0"),
            ("seq /a/", "create /a/0000000001"),
            ("set /a 1", "set v2 c3 n1"),
        ],
        &[("set /a 0", "set v1 c0 n0"), ("check /a 1", "check"), ("delete /a 1", "delete")],
        &[("container /c", "create2 /c v0 c0 n0"), ("ttl /t 5", "create2 /t v0 c0 n0")],
        &[("seq /n-", "create /n-0000000002"), ("check /n-0000000002 0", "check")],
        // The new /a counts from 0 again.
        &[
            ("seq /a/n-", "create /a/n-0000000000"),
            ("delete /a/n-0000000000", "delete"),
            ("delete /a", "delete"),
            ("create /a", "create /a"),
            ("seq /a/n-", "create /a/n-0000000000"),
        ],
    ];
    for story in table {
        let (ops, wanted): (Vec<&str>, Vec<&str>) = story.iter().copied().unzip();
        let tree = TestTree::with(&["/a", "/b"]);
        let (results, changes) = run(&tree, &ops);
        assert_eq!(results.iter().map(show).collect::<Vec<_>>(), wanted);
        let writes = (0u32..).zip(&ops).filter(|(_, op)| !op.starts_with("check"));
        let indices: Vec<u32> = writes.map(|(index, _)| index).collect();
        assert_eq!(changes.iter().map(|(index, _)| *index).collect::<Vec<_>>(), indices);
        let mut applied = tree.clone();
        changes.iter().for_each(|(_, change)| applied.apply(change, NOW));
    }
}

/// Goal: trap 3. 0 before the operation that failed, its own code, -2 behind; no change.
#[test]
fn a_failed_multi_says_where() {
    let table: &[&[(&str, &str)]] = &[
        &[("create /a", "-110")],
        &[("create /x", "0"), ("delete /nope", "-101"), ("create /y", "-2"), ("set /a", "-2")],
        &[("check /a 1", "-103"), ("create /x", "-2")],
        &[("create /x", "0"), ("delete /x", "0"), ("set /x", "-101")],
        &[("create /a/x", "0"), ("delete /a", "-111")],
        &[("delete /a", "0"), ("create /a/x", "-101")],
        &[("eph /e", "0"), ("create /e/x", "-108")],
        &[("set /ro", "-102")],
        &[("ttl /t 0", "-8")],
        &[("check /a/ 1", "-8")],
        &[("create /x", "0"), ("create /x", "-110")],
    ];
    for story in table {
        let (ops, wanted): (Vec<&str>, Vec<&str>) = story.iter().copied().unzip();
        let mut tree = TestTree::with(&["/a"]);
        tree.add("/ro", 0, vec![acl(perms::READ, "world:anyone")]);
        let (results, changes) = run(&tree, &ops);
        assert_eq!(results.iter().map(show).collect::<Vec<_>>(), wanted);
        assert_eq!(changes, []);
    }
}

/// Goal: in a multi too, TTL needs extended types, and the owners are those of single creates.
#[test]
fn kinds_of_creates() {
    let tree = TestTree::with(&[]);
    let (_, changes) = run(&tree, &["container /c", "ttl /t 5", "eph /e", "create /p"]);
    let owners = changes.iter().map(|(_, change)| match change {
        Change::Create { owner, .. } => Owner::from_raw(*owner),
        other => panic!("{other:?}"),
    });
    let wanted = [Owner::Container, Owner::Ttl(5), Owner::Session(7), Owner::None];
    assert_eq!(owners.collect::<Vec<_>>(), wanted);
    let flags = CommandFlags::default();
    let context = WriteContext { moment: NOW, session: SessionId(7), identities: &[], flags };
    let outcome = execute(&Request::Multi(vec![op("ttl /t 5")]), &tree, &context);
    let results = vec![MultiResult::Error(ErrorCode::Unimplemented)];
    assert_eq!(outcome.reply, Ok(WriteReply::Multi(results)));
}
