//! A decided sequence of commands, made by a seed: one value after the other, each of one ring,
//! with every zxid known beforehand. Few paths, on both sides of random borders, so that commands
//! meet; several clocks; sessions that come and go; hellos and commands decided twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::command::{Command, CommandFlags, Operation, Origin, Value};
use volery_proto::ids::{PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::zk::{
    Acl, CheckVersionRequest, CreateRequest, DeleteRequest, Id, MultiOp, PathRequest, Request,
    SetAclRequest, SetDataRequest, perms,
};

use crate::core::oracle::PartitionMap;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What is written and read.
pub(super) const PATHS: [&str; 16] = [
    "/a",
    "/b",
    "/c",
    "/a/x",
    "/a/y",
    "/a/x/1",
    "/a/x/2",
    "/a/x/1/d",
    "/a/x/1/d/e",
    "/b/l",
    "/b/l/k",
    "/b/l/n-0000000000",
    "/b/l/n-0000000001",
    "/a/n-0000000002",
    "/b/l/n-0000000001/z",
    "/c/m",
];

const PREFIXES: [&str; 5] = ["/b/l/n-", "/a/n-", "/a/x/1/n-", "/b/l/", "/n-"];

/// One value of one ring.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) zxid: Zxid,
    pub(super) value: Arc<Value>,
    /// Whether it is to take part: not a duplicate and not fenced.
    pub(super) counts: bool,
}

impl Step {
    pub(super) fn command(&self) -> &Command {
        &self.value.commands[0]
    }
}

/// Everything that is decided.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) map: Arc<PartitionMap>,
    pub(super) partitions: u16,
    pub(super) steps: Vec<Step>,
}

pub(super) struct Maker {
    random: Random,
    map: Arc<PartitionMap>,
    partitions: u16,
    slot: u64,
    incarnation: Zxid,
    start: u64,
    sequences: BTreeMap<RingId, u64>,
    /// Milliseconds by which each ring's clock is ahead.
    skew: Vec<u64>,
    /// Live ones, with their epochs.
    sessions: Vec<(SessionId, Zxid)>,
    next_session: i64,
    steps: Vec<Step>,
}

impl Script {
    pub(super) fn new(seed: u64) -> Script {
        let mut random = Random::new(seed);
        let partitions = 2 + random.below(4) as u16;
        let map = Arc::new(random_map(&mut random, partitions));
        let mut maker = Maker::new(map, partitions, random);
        maker.hello(10);
        maker.open_session();
        maker.open_session();
        let count = 20 + maker.random.below(100);
        while maker.steps.len() < count {
            maker.step();
        }
        maker.finish()
    }

    /// The value of a ring's instance; where another ring has a command, a skip past it.
    pub(super) fn value(&self, ring: RingId, instance: usize) -> Option<Arc<Value>> {
        value(&self.steps, ring, instance)
    }
}

fn value(steps: &[Step], ring: RingId, instance: usize) -> Option<Arc<Value>> {
    let step = steps.get(instance)?;
    if step.zxid.ring() == ring {
        return Some(step.value.clone());
    }
    let (start, time_ms) = (step.zxid.slot(), step.value.time_ms);
    Some(Arc::new(Value { start, time_ms, commands: Vec::new() }))
}

fn random_map(random: &mut Random, partitions: u16) -> PartitionMap {
    let mut spread = Vec::new();
    for pattern in ["/*", "/a/*", "/b/l/*", "/a/x/*"] {
        if random.chance(35) {
            spread.push(pattern.to_owned());
        }
    }
    let mut prefixes = Vec::new();
    for prefix in ["/a", "/b", "/a/x", "/a/x/1", "/a/x/1/d", "/b/l"] {
        if random.chance(45) {
            let partition = PartitionId(1 + random.below(partitions.into()) as u16);
            prefixes.push((partition, prefix.to_owned()));
        }
    }
    PartitionMap::new(1, partitions, &spread, &prefixes)
}

impl Maker {
    pub(super) fn new(map: Arc<PartitionMap>, partitions: u16, mut random: Random) -> Maker {
        let skew = (0..=partitions).map(|_| random.next() % 3000).collect();
        Maker {
            random,
            map,
            partitions,
            slot: 1000,
            incarnation: Zxid::ZERO,
            start: 0,
            sequences: BTreeMap::new(),
            skew,
            sessions: Vec::new(),
            next_session: 1,
            steps: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Script {
        Script { map: self.map, partitions: self.partitions, steps: self.steps }
    }

    /// As of the script so far.
    pub(super) fn value(&self, ring: RingId, instance: usize) -> Option<Arc<Value>> {
        value(&self.steps, ring, instance)
    }

    fn push(&mut self, ring: RingId, command: Command, counts: bool) {
        self.slot += 1 + self.random.next() % 3;
        let zxid = Zxid::new(Slot(self.slot), ring);
        let time_ms = 1_000_000 + self.slot + self.skew[usize::from(ring.0)];
        let value = Value { start: Slot(self.slot), time_ms, commands: vec![command] };
        self.steps.push(Step { zxid, value: Arc::new(value), counts });
    }

    fn command(&self, origin: Origin, session: (SessionId, Zxid), operation: Operation) -> Command {
        Command {
            origin,
            session: session.0,
            epoch: session.1,
            identities: Arc::new([]),
            after: Zxid::ZERO,
            map_version: 1,
            flags: CommandFlags { extended_types: true, skip_acl: false },
            operation,
        }
    }

    /// A numbered command; returns its zxid.
    pub(super) fn numbered(&mut self, session: (SessionId, Zxid), operation: Operation) -> Zxid {
        let ring = self.map.destination(&operation).ring();
        let last = self.sequences.entry(ring).or_default();
        *last += 1;
        let (sequence, incarnation) = (*last, self.incarnation);
        let origin = Origin { server: ServerId(1), incarnation, sequence };
        let command = self.command(origin, session, operation);
        self.push(ring, command, true);
        self.steps.last().unwrap().zxid
    }

    pub(super) fn hello(&mut self, start: u64) {
        let origin = Origin { server: ServerId(1), incarnation: Zxid::ZERO, sequence: start };
        let command = self.command(origin, Default::default(), Operation::Hello);
        let counts = start > self.start;
        self.push(RingId::GLOBAL, command, counts);
        if counts {
            self.start = start;
            self.incarnation = self.steps.last().unwrap().zxid;
            self.sequences.clear();
        }
    }

    pub(super) fn open_session(&mut self) -> (SessionId, Zxid) {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let password = "p".into();
        let open = Operation::CreateSession { password, timeout_ms: 1000 };
        let epoch = self.numbered((id, Zxid::ZERO), open);
        self.sessions.push((id, epoch));
        (id, epoch)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=1 => {
                let start = self.start - self.random.below(3).min(self.start as usize) as u64;
                self.hello(start);
            }
            2 => self.hello(self.start + 1),
            3..=4 => self.again(),
            5..=6 => {
                self.open_session();
            }
            7..=12 => self.close(),
            13..=14 => {
                let at = self.random.below(self.sessions.len());
                let Some(&(id, _)) = self.sessions.get(at) else { return };
                let password = if self.random.chance(80) { "p" } else { "wrong" };
                let reopen = Operation::ReopenSession { password: password.into(), timeout_ms: 9 };
                let epoch = self.numbered((id, Zxid::ZERO), reopen);
                if password == "p" {
                    self.sessions[at].1 = epoch;
                }
            }
            15 => {
                self.numbered(Default::default(), Operation::Sync("/a".into()));
            }
            16..=18 => {
                let path = self.path();
                let delete = Request::DeleteContainer(PathRequest { path });
                self.numbered(Default::default(), Operation::Write(delete));
            }
            _ => self.write(),
        }
    }

    /// An old command once more: known by its number, or fenced.
    fn again(&mut self) {
        let old = self.random.below(self.steps.len());
        let (ring, command) = (self.steps[old].zxid.ring(), self.steps[old].command().clone());
        if command.operation != Operation::Hello {
            self.push(ring, command, false);
        }
    }

    fn close(&mut self) {
        let at = self.random.below(self.sessions.len());
        let Some(&(id, epoch)) = self.sessions.get(at) else {
            self.open_session();
            return;
        };
        if self.random.chance(15) {
            self.numbered((id, Zxid(epoch.0 - 1)), Operation::CloseSession);
            return;
        }
        self.numbered((id, epoch), Operation::CloseSession);
        // Some go on to write.
        if self.random.chance(80) {
            self.sessions.remove(at);
        }
    }

    fn write(&mut self) {
        let at = self.random.below(self.sessions.len());
        let Some(&(id, mut epoch)) = self.sessions.get(at) else {
            self.open_session();
            return;
        };
        if self.random.chance(4) {
            epoch = Zxid(epoch.0 - 1);
        }
        let request = if self.random.chance(35) {
            let count = 1 + self.random.below(4);
            Request::Multi((0..count).map(|_| self.multi_op()).collect())
        } else {
            self.single()
        };
        self.numbered((id, epoch), Operation::Write(request));
    }

    fn path(&mut self) -> ByteString {
        // Those near the root more often, or nothing lies below them.
        let bound = if self.random.chance(50) { 5 } else { PATHS.len() };
        ByteString::from(PATHS[self.random.below(bound)])
    }

    fn create(&mut self) -> CreateRequest {
        let flags = *self.random.pick(&[0, 0, 0, 0, 1, 1, 2, 3]);
        let path = match flags {
            2 | 3 => ByteString::from(*self.random.pick(&PREFIXES)),
            _ => self.path(),
        };
        let data = self.random.chance(80).then(|| "d".into());
        CreateRequest { path, data, acl: vec![self.acl()], flags }
    }

    fn acl(&mut self) -> Acl {
        let all = self.random.chance(95);
        let perms = if all { perms::ALL } else { self.random.below(32) as i32 };
        Acl { perms, id: Id { scheme: "world".into(), id: "anyone".into() } }
    }

    fn version(&mut self) -> i32 {
        if self.random.chance(85) { -1 } else { self.random.below(3) as i32 }
    }

    fn multi_op(&mut self) -> MultiOp {
        let (path, version) = (self.path(), self.version());
        match self.random.below(10) {
            0..=2 => MultiOp::Create(self.create()),
            3 => MultiOp::CreateContainer(CreateRequest { flags: 4, ..self.create() }),
            4..=5 => MultiOp::Delete(DeleteRequest { path, version }),
            6..=7 => MultiOp::SetData(SetDataRequest { path, data: None, version }),
            _ => MultiOp::Check(CheckVersionRequest { path, version }),
        }
    }

    fn single(&mut self) -> Request {
        let (path, version) = (self.path(), self.version());
        match self.random.below(20) {
            0..=7 => Request::Create(self.create()),
            8..=9 => Request::Create2(self.create()),
            10 => Request::CreateContainer(self.create()),
            11..=13 => Request::Delete(DeleteRequest { path, version }),
            14 => Request::SetAcl(SetAclRequest { path, acl: vec![self.acl()], version }),
            _ => Request::SetData(SetDataRequest { path, data: Some("e".into()), version }),
        }
    }
}
