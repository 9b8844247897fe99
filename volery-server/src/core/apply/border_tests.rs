//! Goal: the heart of S-SMR. Every partition of a command, with its own part of the tree and the
//! contributions of the others, comes to the outcome that one whole tree would.
//! Method: random trees, random maps (any path may belong to any partition), random multis over
//! few names so that they meet; a part of the tree panics when asked for what is not its own.

use proptest::prelude::*;
use volery_proto::command::CommandFlags;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::path;
use volery_proto::zk::*;

use super::*;
use crate::core::test_tree::{PartTree, TestTree, acl, identity, open};
use crate::core::types::Moment;

const PATHS: [&str; 18] = [
    "/",
    "/a",
    "/b",
    "/a/a",
    "/a/b",
    "/b/a",
    "/a/a/a",
    "/a/a/n-",
    "/a/n-",
    "/n-",
    "/a/",
    "/n-0000000002",
    "/a/n-0000000000",
    "/a/n-0000000001",
    "/a/n-0000000002",
    "//a",
    "x",
    "",
];

/// The map: any path to any of the partitions. As the oracle does, it leaves a sequence number
/// aside, so that a sequential znode's partition is known before its name.
fn owner(path: &str, seed: u64, partitions: u64) -> u64 {
    let stem = match path.len().checked_sub(10).and_then(|at| path.split_at_checked(at)) {
        Some((stem, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => path,
    };
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    (stem.bytes().fold(seed | 1, mix) >> 17) % partitions
}

fn ids(user: u8) -> Vec<Id> {
    match user {
        0 => vec![],
        1 => vec![identity("digest:u:h")],
        2 => vec![identity("ip:10.0.0.1"), identity("digest:v:h")],
        _ => vec![identity("super:")],
    }
}

fn acls(which: u8) -> Vec<Acl> {
    match which {
        0 => vec![acl(perms::READ, "world:anyone"), acl(perms::ALL, "digest:u:h")],
        1 => vec![acl(perms::CREATE, "ip:10.0.0.0/8"), acl(perms::DELETE, "digest:v:h")],
        2 => vec![acl(perms::ALL, "auth:")],
        _ => open(),
    }
}

#[derive(Clone, Copy, Debug)]
struct Spec {
    kind: u8,
    path: usize,
    flags: i32,
    acl: u8,
    version: i32,
}

fn spec() -> impl Strategy<Value = Spec> {
    let version = prop_oneof![4 => Just(-1), 2 => Just(0), 1 => Just(1)];
    (0u8..8, 0..PATHS.len(), 0i32..4, 0u8..12, version)
        .prop_map(|(kind, path, flags, acl, version)| Spec { kind, path, flags, acl, version })
}

impl Spec {
    fn create(self) -> CreateRequest {
        let (path, acl) = (PATHS[self.path].into(), acls(self.acl));
        CreateRequest { path, data: Some("d".into()), acl, flags: self.flags }
    }

    fn op(self) -> MultiOp {
        let (path, version) = (PATHS[self.path].into(), self.version);
        match self.kind {
            0 | 1 => MultiOp::Create(self.create()),
            2 => MultiOp::Create2(self.create()),
            3 => MultiOp::CreateContainer(self.create()),
            4 | 5 => MultiOp::Delete(DeleteRequest { path, version }),
            6 => MultiOp::SetData(SetDataRequest { path, data: None, version }),
            _ => MultiOp::Check(CheckVersionRequest { path, version }),
        }
    }

    fn request(self) -> Request {
        let path = PATHS[self.path].into();
        match self.op() {
            MultiOp::Create(r) => Request::Create(r),
            MultiOp::Create2(r) => Request::Create2(r),
            MultiOp::CreateContainer(r) => Request::CreateContainer(r),
            MultiOp::Delete(r) => Request::Delete(r),
            MultiOp::SetData(r) => Request::SetData(r),
            MultiOp::Check(_) if self.flags == 0 => Request::DeleteContainer(PathRequest { path }),
            _ => {
                let (acl, version) = (acls(self.acl), self.version);
                Request::SetAcl(SetAclRequest { path, acl, version })
            }
        }
    }
}

fn context(identities: &[Id], zxid: u64) -> WriteContext<'_> {
    let moment = Moment { zxid: Zxid(zxid), time_ms: zxid as i64 * 10 };
    let flags = CommandFlags { extended_types: true, skip_acl: false };
    WriteContext { moment, session: SessionId(7), identities, flags }
}

/// Executes in every partition and compares with the whole; gives the outcome.
fn agree(tree: &TestTree, request: &Request, user: u8, zxid: u64, map: (u64, u64)) -> Outcome {
    let identities = ids(user);
    let context = context(&identities, zxid);
    let whole = execute(request, tree, &context);
    let (seed, partitions) = map;
    let contributions: Vec<Contribution> = (0..partitions)
        .map(|p| {
            let owns = |path: &str| owner(path, seed, partitions) == p;
            let part = PartTree { whole: tree, owns: &owns };
            let bytes = contribute(request, &part, &identities, &owns).encode();
            Contribution::decode(bytes).expect("it was just encoded")
        })
        .collect();
    for p in 0..partitions {
        let owns = |path: &str| owner(path, seed, partitions) == p;
        let local = PartTree { whole: tree, owns: &owns };
        let others = (0u64..).zip(&contributions).filter(|(q, _)| *q != p);
        let others: Vec<&Contribution> = others.map(|(_, c)| c).collect();
        let view = ContributedView { local: &local, owns_node: &owns, contributions: &others };
        let outcome = execute(request, &view, &context);
        assert_eq!(outcome, whole, "partition {p} of {partitions}, {request:?}");
    }
    whole
}

/// Makes the random tree with the operations themselves; most of them fail, some fit.
fn grow(seeds: &[Spec]) -> TestTree {
    let mut tree = TestTree::with(&["/a", "/a/a"]);
    for (zxid, seed) in (2u64..).zip(seeds) {
        let identities = ids(seed.acl);
        let outcome = execute(&seed.request(), &tree, &context(&identities, zxid));
        let at = context(&[], zxid).moment;
        outcome.changes.iter().for_each(|(_, change)| tree.apply(change, at));
    }
    tree
}

/// Whether a multi changed something: the test must not be about failures only.
fn succeeded(outcome: &Outcome) -> bool {
    !outcome.changes.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn partitions_agree_with_the_whole_tree(
        seeds in prop::collection::vec(spec(), 0..12),
        multis in prop::collection::vec(prop::collection::vec(spec(), 1..7), 1..5),
        singles in prop::collection::vec(spec(), 0..5),
        user in 0u8..4,
        map in (any::<u64>(), 1u64..5),
    ) {
        let mut tree = grow(&seeds);
        let multis = multis.into_iter().map(|m| m.into_iter().map(Spec::op).collect());
        let requests = multis.map(Request::Multi).chain(singles.into_iter().map(Spec::request));
        for (zxid, request) in (100u64..).zip(requests) {
            let outcome = agree(&tree, &request, user, zxid, map);
            let at = context(&[], zxid).moment;
            outcome.changes.iter().for_each(|(_, change)| tree.apply(change, at));
            check_counts(&tree);
        }
    }

    /// Longer multis that mostly succeed: creates under few parents, sequential ones among them.
    #[test]
    fn long_multis_agree(
        seeds in prop::collection::vec(spec(), 0..12),
        // The ops that fail alone are left out one by one, so that the whole may succeed.
        specs in prop::collection::vec(spec(), 1..40),
        map in (any::<u64>(), 2u64..5),
    ) {
        let tree = grow(&seeds);
        let mut ops: Vec<MultiOp> = Vec::new();
        for spec in specs {
            ops.push(spec.op());
            let identities = ids(3);
            let tried = execute(&Request::Multi(ops.clone()), &tree, &context(&identities, 100));
            if let Ok(WriteReply::Multi(results)) = tried.reply
                && let Some(MultiResult::Error(_)) = results.last()
            {
                ops.pop();
            }
        }
        let request = Request::Multi(ops.clone());
        let outcome = agree(&tree, &request, 3, 100, map);
        let writes = ops.iter().any(|op| !matches!(op, MultiOp::Check(_)));
        prop_assert_eq!(succeeded(&outcome), writes);
        let mut after = tree.clone();
        let at = context(&[], 100).moment;
        outcome.changes.iter().for_each(|(_, change)| after.apply(change, at));
        check_counts(&after);
    }
}

/// A name that a sequential create under `/a` may meet.
fn numbered(number: i32) -> String {
    format!("/a/n-{number:010}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None,
        ..ProptestConfig::default() })]

    /// Sequential creates that meet names which are there already, some of them only after other
    /// creates, deletes and new starts of the parent in the same multi.
    #[test]
    fn sequential_creates_agree(
        taken in prop::collection::btree_set(0i32..6, 0..3),
        cversion in -1i32..4,
        steps in prop::collection::vec((0u8..8, 0i32..6), 1..8),
        map in (any::<u64>(), 2u64..5),
    ) {
        let mut tree = TestTree::with(&["/a", "/b"]);
        taken.iter().for_each(|number| tree.add(&numbered(*number), 0, open()));
        tree.info("/a").cversion = cversion;
        let create = |path: &str, flags| {
            let (path, acl) = (path.into(), open());
            MultiOp::Create(CreateRequest { path, data: None, acl, flags })
        };
        let delete = |path: &str| {
            MultiOp::Delete(DeleteRequest { path: path.into(), version: -1 })
        };
        let ops = steps.into_iter().flat_map(|(kind, number)| match kind {
            0 => vec![delete(&numbered(number))],
            1 => vec![create(&numbered(number), 0)],
            2 => vec![create("/b/n-", 2)],
            3 => vec![delete("/a"), create("/a", 0)],
            _ => vec![create("/a/n-", 2)],
        });
        agree(&tree, &Request::Multi(ops.collect()), 0, 100, map);
    }
}

/// The overlay's metadata is what the tree really has: the Stats answered along the way depend
/// on it, and so does every later number.
fn check_counts(tree: &TestTree) {
    for (path, node) in &tree.nodes {
        let children = tree
            .nodes
            .keys()
            .filter(|p| *p != "/" && path::split(p).is_some_and(|(parent, _)| parent == path));
        assert_eq!(node.info.num_children as usize, children.count(), "{path}");
    }
}
