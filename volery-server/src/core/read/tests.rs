//! Reads against a plain tree: what they answer and what they observe.

use volery_proto::ids::{SessionId, Zxid};
use volery_proto::jute::{Jute, Reader, Writer};
use volery_proto::zk::*;

use super::*;
use crate::core::test_tree::{TestNode, TestTree, acl, identity, open};
use crate::core::types::{Change, Moment};

const LAST_WRITE: Zxid = Zxid(900);

/// `/a` (changed at 50) with children; `/no` without READ; `/admin` for ADMIN only; `/acl`, whose
/// ACL was last changed at 70.
fn tree() -> TestTree {
    let mut tree = TestTree::with(&["/a", "/a/x", "/a/y", "/acl", "/ab"]);
    let at = |zxid| Moment { zxid: Zxid(zxid), time_ms: 5 };
    let data = Some("hello".into());
    tree.apply(&Change::SetData { path: "/a".into(), data }, at(50));
    tree.apply(&Change::SetAcl { path: "/acl".into(), acl: open().into() }, at(70));
    tree.add("/no", 0, vec![acl(perms::WRITE, "world:anyone")]);
    tree.add("/admin", 0, vec![acl(perms::ADMIN, "world:anyone"), acl(1, "digest:u:secret")]);
    tree.add("/read", 0, vec![acl(perms::READ, "world:anyone"), acl(1, "digest:u:secret")]);
    tree.add("/a/e", 7, open());
    tree.add("/ab/e", 7, open());
    tree.add("/ab/f", 8, open());
    tree
}

fn context(identities: &[Id]) -> ReadContext<'_> {
    ReadContext { session: SessionId(7), identities, skip_acl: false, last_write: LAST_WRITE }
}

fn watched(path: &str) -> WatchedPathRequest {
    WatchedPathRequest { path: path.into(), watch: true }
}

fn path(path: &str) -> PathRequest {
    PathRequest { path: path.into() }
}

/// Goal: order of checks, what is observed, and which watch is set (2.4, DESIGN section 7).
#[test]
fn checks_observations_and_watches() {
    use ErrorCode::*;
    use WatchKind::{Child, Data};
    let parent = tree().nodes["/"].info.pzxid.0;
    let table = [
        (Request::Exists(watched("/nope\0")), BadArguments, 0, None),
        (Request::Exists(watched("/a")), Ok, 50, Some(Data)),
        (Request::Exists(watched("/acl")), Ok, 70, Some(Data)),
        (Request::Exists(watched("/nope")), NoNode, parent, Some(Data)),
        (Request::Exists(watched("/nope/x")), NoNode, 900, Some(Data)),
        (Request::Exists(watched("bad")), NoNode, 900, Some(Data)),
        (Request::Exists(watched("/no")), NoAuth, 900, None),
        (Request::GetData(watched("/a")), Ok, 50, Some(Data)),
        (Request::GetData(watched("/nope")), NoNode, parent, None),
        (Request::GetData(watched("/nope\0/x")), NoNode, 900, None),
        (Request::GetData(watched("/no")), NoAuth, 900, None),
        (Request::GetChildren(watched("/a")), Ok, 50, Some(Child)),
        (Request::GetChildren2(watched("/acl")), Ok, 70, Some(Child)),
        (Request::GetChildren2(watched("/no")), NoAuth, 900, None),
        (Request::GetChildren(watched("/nope")), NoNode, parent, None),
        (Request::GetAcl(path("/nope")), NoNode, parent, None),
        (Request::GetAcl(path("/no")), NoAuth, 900, None),
        (Request::GetAcl(path("/admin")), Ok, 1, None),
        (Request::GetAcl(path("/read")), Ok, 1, None),
        (Request::GetAllChildrenNumber(path("/a")), Ok, 900, None),
        (Request::GetAllChildrenNumber(path("/no")), NoAuth, 900, None),
        (Request::GetAllChildrenNumber(path("/nope")), NoNode, parent, None),
        (Request::GetEphemerals(GetEphemeralsRequest { prefix: None }), Ok, 900, None),
        (Request::Ping, Unimplemented, 0, None),
    ];
    let tree = tree();
    for (request, code, observed, watch) in table {
        let outcome = read(&request, &tree, &context(&[]));
        let got = outcome.reply.err().unwrap_or(Ok);
        assert_eq!(
            (got, outcome.observed.0, outcome.watch),
            (code, observed, watch),
            "{request:?}"
        );
    }
    let unwatched = WatchedPathRequest { watch: false, ..watched("/nope") };
    assert_eq!(read(&Request::Exists(unwatched), &tree, &context(&[])).watch, None);
    let skip = ReadContext { skip_acl: true, ..context(&[]) };
    assert!(read(&Request::GetData(watched("/no")), &tree, &skip).reply.is_ok());
}

fn body(request: &Request, identities: &[Id]) -> Reader {
    let tree = tree();
    let outcome = read(request, &tree, &context(identities));
    let mut w = Writer::new();
    outcome.reply.expect("it is there").write_body(&mut w);
    Reader::new(w.finish())
}

fn decoded<T: Jute>(request: &Request, identities: &[Id]) -> T {
    let mut r = body(request, identities);
    let value = T::read(&mut r).expect("the body is the record");
    assert_eq!(r.remaining(), 0);
    value
}

/// Goal: the bodies on the wire. Method: they read back as the records of the protocol.
#[test]
fn bodies() {
    let stat = tree().nodes["/a"].info.stat();
    let exists: Stat = decoded(&Request::Exists(watched("/a")), &[]);
    assert_eq!(exists, stat);
    let data: GetDataResponse = decoded(&Request::GetData(watched("/a")), &[]);
    assert_eq!(data, GetDataResponse { data: Some("hello".into()), stat: stat.clone() });
    let null: GetDataResponse = decoded(&Request::GetData(watched("/ab")), &[]);
    assert_eq!(null.data, None);
    let names: Vec<bytestring::ByteString> = ["x", "y", "e"].map(Into::into).to_vec();
    let children: GetChildrenResponse = decoded(&Request::GetChildren(watched("/a")), &[]);
    assert_eq!(children.children, names);
    let children: GetChildren2Response = decoded(&Request::GetChildren2(watched("/a")), &[]);
    assert_eq!(children, GetChildren2Response { children: names, stat });
    let count: GetAllChildrenNumberResponse =
        decoded(&Request::GetAllChildrenNumber(path("/")), &[]);
    assert_eq!(count.number as usize, tree().nodes.len() - 1);
}

/// Goal: trap 18. Without ADMIN no digest is shown; without READ, ADMIN suffices.
#[test]
fn digests_are_masked() {
    let ids = |path: &str, identities: &[Id]| -> Vec<String> {
        let request = Request::GetAcl(PathRequest { path: path.into() });
        let got: GetAclResponse = decoded(&request, identities);
        got.acl.iter().map(|a| format!("{}:{}", a.id.scheme, a.id.id)).collect()
    };
    assert_eq!(ids("/read", &[]), ["world:anyone", "digest:u:x"]);
    assert_eq!(ids("/read", &[identity("super:")]), ["world:anyone", "digest:u:secret"]);
    assert_eq!(ids("/admin", &[]), ["world:anyone", "digest:u:secret"]);
}

/// Goal: the prefix of getEphemerals is plain text, and blank or `/` means all.
#[test]
fn ephemerals_by_prefix() {
    let table: [(Option<&str>, &[&str]); 7] = [
        (None, &["/a/e", "/ab/e"]),
        (Some(""), &["/a/e", "/ab/e"]),
        (Some("  "), &["/a/e", "/ab/e"]),
        (Some(" / "), &["/a/e", "/ab/e"]),
        (Some("/a"), &["/a/e", "/ab/e"]),
        (Some("/a/"), &["/a/e"]),
        (Some("/x"), &[]),
    ];
    for (prefix, wanted) in table {
        let prefix = prefix.map(Into::into);
        let request = Request::GetEphemerals(GetEphemeralsRequest { prefix });
        let got: GetEphemeralsResponse = decoded(&request, &[]);
        assert_eq!(got.ephemerals, wanted);
    }
}

/// Goal: a multiRead is not all or nothing, sets no watch, and observes the highest.
#[test]
fn multi_reads() {
    let ops = ["/a", "/nope", "/no"].map(watched).map(ReadOp::GetData);
    let ops: Vec<ReadOp> = ops.into_iter().chain([ReadOp::GetChildren(watched("/a"))]).collect();
    let tree = tree();
    let outcome = read(&Request::MultiRead(ops.clone()), &tree, &context(&[]));
    assert_eq!((outcome.observed, outcome.watch), (LAST_WRITE, None));
    let part = read_op(&ops[0], &tree, &context(&[]));
    assert_eq!((part.observed, part.watch), (Zxid(50), None));
    let mut r = body(&Request::MultiRead(ops), &[]);
    let results = MultiResult::read_all(&mut r).expect("the body is a multi's");
    let data = Some("hello".into());
    let stat = tree.nodes["/a"].info.stat();
    let children = ["x", "y", "e"].map(Into::into).to_vec();
    let wanted = [
        MultiResult::GetData(GetDataResponse { data, stat }),
        MultiResult::Error(ErrorCode::NoNode),
        MultiResult::Error(ErrorCode::NoAuth),
        MultiResult::GetChildren(GetChildrenResponse { children }),
    ];
    assert_eq!(results, wanted);
}

/// Goal: a partition that owns only znodes below the path still adds its part.
#[test]
fn counts_below_a_foreign_path() {
    let tree = tree();
    let outcome: ReadOutcome<'_, &TestNode> = count_below("/a", &tree, &context(&[]));
    assert_eq!(outcome.observed, LAST_WRITE);
    assert!(matches!(outcome.reply, Ok(ReadReply::Number(3))));
}
