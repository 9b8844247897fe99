//! Single writes against a plain tree: the order of the checks, and what they change.

use volery_proto::command::CommandFlags;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::jute::Writer;
use volery_proto::zk::*;

use super::*;
use crate::core::test_tree::{TestTree, acl, identity, open};
use crate::core::types::{Moment, Owner};

const SESSION: i64 = 0x77;
const NOW: Moment = Moment { zxid: Zxid(500), time_ms: 9_000 };

fn context(identities: &[Id]) -> WriteContext<'_> {
    let flags = CommandFlags { extended_types: true, skip_acl: false };
    WriteContext { moment: NOW, session: SessionId(SESSION), identities, flags }
}

/// A tree with something for every check: `/a` open with child `/a/b`, `/e` ephemeral, `/ro`
/// without any permission but READ, `/c` an empty container, `/t` with a TTL of 100 ms.
fn tree() -> TestTree {
    let mut tree = TestTree::with(&["/a", "/a/b", "/zookeeper", "/zookeeper/quota"]);
    tree.add("/e", SESSION, open());
    tree.add("/ro", 0, vec![acl(perms::READ, "world:anyone")]);
    tree.add("/ro/x", 0, open());
    tree.add("/c", Owner::Container.to_raw(), open());
    tree.add("/t", Owner::Ttl(100).to_raw(), open());
    tree
}

fn create(path: &str, flags: i32) -> CreateRequest {
    CreateRequest { path: path.into(), data: None, acl: open(), flags }
}

fn ttl(path: &str, flags: i32, ttl: i64) -> Request {
    let acl = open();
    Request::CreateTtl(CreateTtlRequest { path: path.into(), data: None, acl, flags, ttl })
}

fn delete(path: &str, version: i32) -> Request {
    Request::Delete(DeleteRequest { path: path.into(), version })
}

fn set_data(path: &str, version: i32) -> Request {
    let data = Some(b"data".as_slice().into());
    Request::SetData(SetDataRequest { path: path.into(), data, version })
}

fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Request {
    Request::SetAcl(SetAclRequest { path: path.into(), acl, version })
}

fn code(request: &Request, identities: &[Id]) -> ErrorCode {
    let outcome = execute(request, &tree(), &context(identities));
    match outcome.reply {
        Ok(_) => ErrorCode::Ok,
        Err(code) => {
            assert_eq!(outcome.changes, []);
            code
        }
    }
}

/// Goal: 2.3, the order of a create's checks. Method: each line also fails a later check, or
/// none, so that a wrong order shows.
#[test]
fn create_checks_in_order() {
    use ErrorCode::*;
    let bad_acl = |path: &str| CreateRequest { acl: vec![], ..create(path, 0) };
    let table = [
        (create("/nope/x", 7), BadArguments),
        (create("/nope/x", -1), BadArguments),
        (create("/nope/x", 5), BadArguments),
        (bad_acl("noslash"), BadArguments),
        (bad_acl("/nope/\0"), BadArguments),
        (create("", 0), BadArguments),
        (bad_acl("/nope/x"), InvalidAcl),
        (create("/nope//x", 0), NoNode),
        (create("/nope/", 0), NoNode),
        (create("a/b", 0), NoNode),
        (create("/ro//x", 0), NoNode),
        (create("/ro/.", 0), NoAuth),
        (create("/ro/x", 0), NoAuth),
        (create("/a/..", 0), BadArguments),
        (create("/a/", 0), BadArguments),
        (create("//x", 0), BadArguments),
        (create("/a/\u{1}", 0), BadArguments),
        (create("/a/b", 0), NodeExists),
        (create("/", 0), NodeExists),
        (create("/e/x", 0), NoChildrenForEphemerals),
        (create("/e/", 0), BadArguments),
        (create("/c/x", 0), Ok),
        (create("/t/x", 0), Ok),
        (create("/a/", 2), Ok),
        (create("/", 2), Ok),
        (create("/zookeeper/quota/a", 0), Ok),
    ];
    for (request, expected) in table {
        assert_eq!(code(&Request::Create(request.clone()), &[]), expected, "{request:?}");
    }
    // The node exists before the parent is ephemeral.
    let mut tree = tree();
    tree.add("/e/old", 0, open());
    let request = Request::Create(create("/e/old", 0));
    assert_eq!(execute(&request, &tree, &context(&[])).reply, Err(NodeExists));
}

/// Goal: which flags and opcodes make which owner (2.3, quirks).
#[test]
fn create_flags_and_owners() {
    type Make = fn(CreateRequest) -> Request;
    let table: [(Make, i32, Owner, &str); 10] = [
        (Request::Create, 0, Owner::None, "/a/n"),
        (Request::Create, 1, Owner::Session(SESSION), "/a/n"),
        (Request::Create, 2, Owner::None, "/a/n0000000001"),
        (Request::Create2, 3, Owner::Session(SESSION), "/a/n0000000001"),
        (Request::Create, 4, Owner::None, "/a/n"),
        (Request::Create2, 4, Owner::None, "/a/n"),
        (Request::CreateContainer, 4, Owner::Container, "/a/n"),
        (Request::CreateContainer, 0, Owner::Container, "/a/n"),
        (Request::CreateContainer, 1, Owner::Container, "/a/n"),
        (Request::CreateContainer, 2, Owner::Container, "/a/n0000000001"),
    ];
    for (make, flags, owner, name) in table {
        check_created(&make(create("/a/n", flags)), owner, name);
    }
    check_created(&ttl("/a/n", 5, 7), Owner::Ttl(7), "/a/n");
    check_created(&ttl("/a/n", 6, (1 << 40) - 1), Owner::Ttl((1 << 40) - 1), "/a/n0000000001");
}

fn check_created(request: &Request, wanted: Owner, name: &str) {
    let outcome = execute(request, &tree(), &context(&[]));
    let [(0, Change::Create { path, owner, .. })] = &outcome.changes[..] else {
        panic!("{request:?}: {outcome:?}")
    };
    assert_eq!((Owner::from_raw(*owner), path.as_ref() as &str), (wanted, name), "{request:?}");
    match outcome.reply {
        Ok(WriteReply::Path(path)) => assert_eq!(path, name),
        Ok(WriteReply::PathStat(path, stat)) => {
            assert_eq!(path, name);
            let session = if wanted == Owner::Session(SESSION) { SESSION } else { 0 };
            assert_eq!((stat.czxid, stat.ctime, stat.ephemeral_owner), (500, 9_000, session));
        }
        other => panic!("{other:?}"),
    }
}

/// Goal: what the front end refuses before it proposes, and that execution agrees.
#[test]
fn precheck_flags() {
    use ErrorCode::*;
    let container = |flags| Request::CreateContainer(create("/a/n", flags));
    let plain = |flags| Request::Create(create("/a/n", flags));
    let table = [
        (plain(6), true, Err(BadArguments)),
        (plain(5), false, Err(Unimplemented)),
        (plain(7), false, Err(BadArguments)),
        (container(5), true, Err(BadArguments)),
        (container(3), true, Result::Ok(())),
        (ttl("/a/n", 5, 1), false, Err(Unimplemented)),
        (ttl("/a/n", 5, 0), true, Err(BadArguments)),
        (ttl("/a/n", 5, 1 << 40), true, Err(BadArguments)),
        (ttl("/a/n", 0, 5), true, Err(BadArguments)),
        (ttl("/a/n", 0, -1), true, Err(BadArguments)),
        (ttl("/a/n", 9, 5), false, Err(BadArguments)),
        (ttl("/a/n", 6, 1), true, Result::Ok(())),
        (delete("", 0), true, Result::Ok(())),
    ];
    for (request, extended_types, expected) in table {
        assert_eq!(precheck(&request, extended_types), expected, "{request:?}");
        let flags = CommandFlags { extended_types, skip_acl: false };
        let executed = execute(&request, &tree(), &WriteContext { flags, ..context(&[]) });
        if let Err(code) = expected {
            assert_eq!(executed.reply, Err(code), "{request:?}");
        }
    }
    let reaper = Request::DeleteContainer(PathRequest { path: "/c".into() });
    assert_eq!(precheck(&reaper, true), Err(Unimplemented));
}

#[test]
fn delete_checks_in_order() {
    use ErrorCode::*;
    let table = [
        ("noslash", -1, BadArguments),
        ("", -1, BadArguments),
        ("/a/\0", -1, BadArguments),
        ("/", -1, BadArguments),
        ("/zookeeper", -1, BadArguments),
        ("/zookeeper/quota", -1, BadArguments),
        ("/zookeeper/config", -1, BadArguments),
        ("/nope/x", -1, NoNode),
        ("/ro/nope", -1, NoAuth),
        ("/ro/x", 9, NoAuth),
        ("/a/nope", 9, NoNode),
        ("/a/", -1, NoNode),
        ("/a", 9, BadVersion),
        ("/a", 0, NotEmpty),
        ("/a/b", 0, Ok),
        // The znode's own ACL and its ephemeral owner do not matter.
        ("/e", -1, Ok),
    ];
    for (path, version, expected) in table {
        assert_eq!(code(&delete(path, version), &[]), expected, "{path}");
    }
    assert_eq!(code(&delete("/ro/x", -1), &[identity("super:")]), Ok);
}

#[test]
fn set_data_and_set_acl_check_in_order() {
    use ErrorCode::*;
    for (path, version, expected) in [
        ("/nope/", -1, BadArguments),
        ("/nope", -1, NoNode),
        ("/ro", 9, NoAuth),
        ("/a", 9, BadVersion),
        ("/a", 0, Ok),
        ("/a", -1, Ok),
    ] {
        assert_eq!(code(&set_data(path, version), &[]), expected, "{path}");
    }
    for (path, acl, version, expected) in [
        ("/nope/", vec![], -1, BadArguments),
        ("/nope", vec![], -1, InvalidAcl),
        ("/nope", open(), -1, NoNode),
        ("/ro", open(), 9, NoAuth),
        ("/a", open(), 9, BadVersion),
        ("/a", open(), 0, Ok),
    ] {
        assert_eq!(code(&set_acl(path, acl, version), &[]), expected, "{path}");
    }
}

/// Goal: the Stats that setData and setACL answer, and aversion as setACL's version.
#[test]
fn changed_stats() {
    let mut tree = tree();
    tree.info("/a").version = 4;
    tree.info("/a").aversion = 6;
    let before = tree.info("/a").stat();
    let after = Stat { version: 5, mzxid: 500, mtime: 9_000, data_length: 4, ..before.clone() };
    let outcome = execute(&set_data("/a", 4), &tree, &context(&[]));
    assert_eq!(outcome.reply, Ok(WriteReply::Stat(after)));
    let outcome = execute(&set_acl("/a", open(), 6), &tree, &context(&[]));
    assert_eq!(outcome.reply, Ok(WriteReply::Stat(Stat { aversion: 7, ..before })));
    // The step that would give -1 gives 0.
    assert_eq!([-2, 0, i32::MAX].map(next_version), [0, 1, i32::MIN]);
}

/// Goal: skipACL, and that the number of a sequential znode wraps as Java's does.
#[test]
fn skip_acl_and_wrapped_numbers() {
    let skip = CommandFlags { extended_types: false, skip_acl: true };
    let unchecked = WriteContext { flags: skip, ..context(&[]) };
    assert!(execute(&delete("/ro/x", -1), &tree(), &unchecked).reply.is_ok());
    for (cversion, name) in [
        (0, "/a/n-0000000000"),
        (i32::MAX, "/a/n-2147483647"),
        (i32::MIN, "/a/n--2147483648"),
        (-7, "/a/n--000000007"),
    ] {
        let mut tree = tree();
        tree.info("/a").cversion = cversion;
        let outcome = execute(&Request::Create(create("/a/n-", 2)), &tree, &context(&[]));
        assert_eq!(outcome.reply, Ok(WriteReply::Path(name.into())));
    }
}

/// Goal: the reaper's conditions are checked again (2.8). Time is 9000 ms, all was made at 1 ms.
#[test]
fn delete_container_checks() {
    use ErrorCode::*;
    let mut tree = tree();
    tree.add("/full", Owner::Container.to_raw(), open());
    tree.add("/full/x", 0, open());
    tree.add("/fresh", Owner::Container.to_raw(), open());
    tree.info("/fresh").mtime_ms = 8_900;
    tree.add("/young", Owner::Ttl(100).to_raw(), open());
    tree.info("/young").mtime_ms = 8_900;
    for (path, expected) in [
        ("/zookeeper", Err(BadArguments)),
        ("/nope", Err(NoNode)),
        ("/full", Err(NotEmpty)),
        ("/e", Err(BadVersion)),
        ("/a/b", Err(BadVersion)),
        ("/young", Err(BadVersion)),
        ("/fresh", Err(BadVersion)),
        ("/t", Result::Ok(WriteReply::None)),
        ("/c", Result::Ok(WriteReply::None)),
    ] {
        let request = Request::DeleteContainer(PathRequest { path: path.into() });
        assert_eq!(execute(&request, &tree, &context(&[])).reply, expected, "{path}");
    }
    // Once used, an empty container goes at any age.
    tree.info("/fresh").cversion = 1;
    let request = Request::DeleteContainer(PathRequest { path: "/fresh".into() });
    assert!(execute(&request, &tree, &context(&[])).reply.is_ok());
}

/// Goal: the bodies on the wire. Method: they read back as the records of the protocol.
#[test]
fn bodies() {
    let stat = Stat { czxid: 1, version: 2, ..Stat::default() };
    for (reply, length) in [
        (WriteReply::None, 0),
        (WriteReply::Path("/a".into()), 6),
        (WriteReply::Stat(stat.clone()), 68),
        (WriteReply::PathStat("/a".into(), stat), 74),
        (WriteReply::Multi(vec![]), 9),
        (WriteReply::Multi(vec![MultiResult::Error(ErrorCode::Ok)]), 9 + 4 + 9),
    ] {
        let mut w = Writer::new();
        reply.write_body(&mut w);
        assert_eq!(w.len(), length, "{reply:?}");
    }
}

/// Goal: reads are not executed, and a refused multi says why in its first result.
#[test]
fn refusals() {
    let read = Request::Exists(WatchedPathRequest { path: "/a".into(), watch: false });
    assert_eq!(execute(&read, &tree(), &context(&[])).reply, Err(ErrorCode::Unimplemented));
    let expired = ErrorCode::SessionExpired;
    assert_eq!(refuse(&delete("/a", -1), expired).reply, Err(expired));
    let op = MultiOp::Delete(DeleteRequest { path: "/a".into(), version: -1 });
    let refused = refuse(&Request::Multi(vec![op.clone(), op]), expired).reply;
    let results = [expired, ErrorCode::RuntimeInconsistency].map(MultiResult::Error);
    assert_eq!(refused, Ok(WriteReply::Multi(results.to_vec())));
}
