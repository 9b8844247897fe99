//! What one session of the measured load sends: which request next, on which znode.
//! It knows neither connections nor results.
//! Called by `load`.

use bytes::Bytes;
use clap::ValueEnum;
use volery_proto::zk::{
    Acl, CreateRequest, DeleteRequest, Id, MultiOp, Request, SetDataRequest, WatchedPathRequest,
    perms,
};

use super::pump::Kind;
use super::template::{FIRST, SECOND, Template};

/// What the load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Op {
    /// setData
    Set,
    /// getData
    Get,
    /// exists
    Exists,
    /// getData, and setData as --write-percent says
    Mixed,
    /// create, a new name each time
    Create,
    /// create and delete in turn; each counts
    CreateDelete,
    /// multi of two setData in one root
    Multi1,
    /// multi of two setData in two roots
    Multi2,
    /// open and close of a session, on a connection of its own
    Session,
}

/// Name of a top-level directory.
pub(super) fn root_path(root: usize) -> String {
    format!("/bench-{root}")
}

/// The path of a prepared znode, with a place for its number.
pub(super) fn node_path(root: usize, number: &str) -> String {
    format!("{}/n-{number}", root_path(root))
}

/// World may do everything: the load measures no ACL.
pub(super) fn open_acl() -> Vec<Acl> {
    let id = Id { scheme: "world".into(), id: "anyone".into() };
    vec![Acl { perms: perms::ALL, id }]
}

/// A persistent create.
pub(super) fn create(path: &str, data: Bytes) -> CreateRequest {
    CreateRequest { path: path.into(), data: Some(data), acl: open_acl(), flags: 0 }
}

/// setData of any version.
pub(super) fn set(path: &str, data: Bytes) -> SetDataRequest {
    SetDataRequest { path: path.into(), data: Some(data), version: -1 }
}

/// `size` bytes that do not compress, the same in every run. None of them looks like a
/// placeholder of a template: all have their high bit set.
pub(super) fn payload(size: usize) -> Bytes {
    let mut random = Random::new(7);
    (0..size).map(|_| 0x80 | (random.next() >> 32) as u8).collect()
}

/// xorshift64*: cheap, and the same in every run.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// What the sessions' plans have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) op: Op,
    pub(super) size: usize,
    pub(super) roots: usize,
    /// Prepared znodes of each root.
    pub(super) per_root: u32,
    pub(super) write_percent: u32,
    /// Share of multis over two roots among setData.
    pub(super) multi_percent: u32,
    /// Every session uses all roots.
    pub(super) cross: bool,
}

/// The requests of one session.
#[derive(Debug)]
pub(super) struct Plan {
    /// (first, second) by root; the second where the operation alternates.
    templates: Vec<[Template; 2]>,
    shape: Shape,
    random: Random,
    /// Next new name.
    counter: u32,
    /// The next of a pair is its second.
    second: bool,
    root: usize,
}

impl Plan {
    pub(super) fn new(shape: &Shape, session: usize) -> Plan {
        let data = payload(shape.size);
        let roots: Vec<usize> = match shape.cross {
            true => (0..shape.roots).collect(),
            false => vec![session % shape.roots],
        };
        let templates = roots.iter().map(|&root| templates(shape, root, session, &data)).collect();
        Plan {
            templates,
            shape: shape.clone(),
            random: Random::new(session as u64 + 1),
            counter: 0,
            second: false,
            root: 0,
        }
    }

    /// Appends the next request.
    pub(super) fn append(&mut self, xid: i32, out: &mut Vec<u8>) -> Kind {
        if self.templates.len() > 1 && !self.second {
            self.root = self.random.below(self.templates.len() as u32) as usize;
        }
        let write = Kind { write: true, multi: false };
        let multi = Kind { write: true, multi: true };
        let op = self.shape.op;
        let (which, first, second, kind) = match op {
            Op::Set if self.chance(self.shape.multi_percent) => (1, self.any(), self.any(), multi),
            Op::Set | Op::Session => (0, self.any(), 0, write),
            Op::Get | Op::Exists => (0, self.any(), 0, Kind::default()),
            Op::Mixed if self.chance(self.shape.write_percent) => (0, self.any(), 0, write),
            Op::Mixed => (1, self.any(), 0, Kind::default()),
            Op::Create => (0, self.new_name(), 0, write),
            Op::CreateDelete if self.second => {
                self.second = false;
                (1, self.counter, 0, write)
            }
            Op::CreateDelete => {
                self.second = true;
                (0, self.new_name(), 0, write)
            }
            Op::Multi1 | Op::Multi2 => (0, self.any(), self.any(), multi),
        };
        self.templates[self.root][which].append(out, xid, first, second);
        kind
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.random.below(100) < percent
    }

    fn any(&mut self) -> u32 {
        self.random.below(self.shape.per_root)
    }

    fn new_name(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }
}

fn templates(shape: &Shape, root: usize, session: usize, data: &Bytes) -> [Template; 2] {
    let node = node_path(root, FIRST);
    // The process is part of the name, so that several runs and generators go together.
    let own = format!("{}/c-{:x}-{session}-{FIRST}", root_path(root), std::process::id());
    let read = || WatchedPathRequest { path: node.as_str().into(), watch: false };
    let other_root = if shape.op == Op::Multi1 { root } else { (root + 1) % shape.roots };
    let multi = || {
        let other = set(&node_path(other_root, SECOND), data.clone());
        Request::Multi(vec![MultiOp::SetData(set(&node, data.clone())), MultiOp::SetData(other)])
    };
    let requests = match shape.op {
        Op::Get => [Request::GetData(read()), Request::GetData(read())],
        Op::Exists => [Request::Exists(read()), Request::Exists(read())],
        Op::Set => [Request::SetData(set(&node, data.clone())), multi()],
        Op::Mixed | Op::Session => {
            [Request::SetData(set(&node, data.clone())), Request::GetData(read())]
        }
        Op::Create | Op::CreateDelete => [
            Request::Create(create(&own, data.clone())),
            Request::Delete(DeleteRequest { path: own.as_str().into(), version: -1 }),
        ],
        Op::Multi1 | Op::Multi2 => [multi(), multi()],
    };
    requests.map(|request| Template::new(&request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use volery_proto::jute::Reader;

    fn sent(op: Op, cross: bool) -> Vec<Request> {
        sent_with(op, cross, 0)
    }

    fn sent_with(op: Op, cross: bool, multi_percent: u32) -> Vec<Request> {
        let (size, roots, per_root, write_percent) = (5, 3, 10, 50);
        let shape = Shape { op, size, roots, per_root, write_percent, multi_percent, cross };
        let mut plan = Plan::new(&shape, 1);
        let decode = |_| {
            let mut out = Vec::new();
            plan.append(1, &mut out);
            let opcode = Reader::new(out[8..].to_vec().into()).int().expect("opcode");
            Request::decode(opcode, out[12..].to_vec().into()).expect("body").expect("known")
        };
        (0..200).map(decode).collect()
    }

    #[test]
    fn sessions_keep_to_their_root_unless_told() {
        let roots = |cross| {
            let paths = sent(Op::Set, cross).into_iter().map(|request| match request {
                Request::SetData(set) => set.path.split('/').nth(1).expect("a root").to_owned(),
                other => panic!("{other:?}"),
            });
            paths.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(roots(false).len(), 1);
        assert_eq!(roots(true).len(), 3);
    }

    #[test]
    fn every_create_is_deleted() {
        let requests = sent(Op::CreateDelete, true);
        for pair in requests.chunks(2) {
            let [Request::Create(create), Request::Delete(delete)] = pair else {
                panic!("{pair:?}")
            };
            assert_eq!(create.path, delete.path);
        }
    }

    #[test]
    fn multis_touch_one_root_or_two() {
        for (op, same) in [(Op::Multi1, true), (Op::Multi2, false)] {
            for request in sent(op, false) {
                let Request::Multi(ops) = request else { panic!("{request:?}") };
                let root = |i: usize| ops[i].path().split('/').nth(1).map(str::to_owned);
                assert_eq!(root(0) == root(1), same);
            }
        }
    }

    #[test]
    fn multis_have_their_share() {
        let requests = sent_with(Op::Set, false, 20);
        let multis = requests.iter().filter(|r| matches!(r, Request::Multi(_))).count();
        assert!((20..60).contains(&multis), "{multis} of 200");
        assert!(sent(Op::Set, false).iter().all(|r| matches!(r, Request::SetData(_))));
    }

    #[test]
    fn mixed_has_both() {
        let requests = sent(Op::Mixed, false);
        let writes = requests.iter().filter(|request| request.is_write()).count();
        assert!((60..140).contains(&writes), "{writes}");
    }
}
