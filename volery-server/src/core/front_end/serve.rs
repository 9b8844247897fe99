//! Requests that no ring orders: reads at replicas, watches, authentication. A read runs where
//! the partition is executed through the session's frontier, and raises it by what it observed.
//! It never writes. Called by `order` when a request's turn has come. DESIGN section 7.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{
    AddWatchRequest, AuthPacket, ErrorCode, GetAllChildrenNumberResponse, GetEphemeralsResponse,
    MultiHeader, MultiResult, OpCode, ReadOp, ReplyHeader, Request, WatcherEvent, WhoAmIResponse,
};

use super::connection::{Connection, Reply, State};
use super::stale::Stale;
use super::{FrontEnd, Replicas};
use crate::core::auth;
use crate::core::executor::{Again, Client, Scope, WatchList};
use crate::core::mutation::mutated;
use crate::core::oracle::Destination;
use crate::core::types::ConnId;
use crate::core::watch;

/// A read in parts: each at its own partition, in order, each at the frontier that the one
/// before left. Most have one part.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    request: Request,
    steps: Vec<(PartitionId, Step)>,
    next: usize,
    body: BytesMut,
    /// Frames of events that go out before the reply.
    before: BytesMut,
    /// getAllChildrenNumber so far.
    number: i32,
    /// getEphemerals so far.
    paths: Vec<ByteString>,
    /// How often the replicas may still be waited for all together.
    rounds: u32,
    /// What they are waited for now.
    target: Zxid,
}

/// After so many rounds a read over several partitions no longer waits until all its replicas
/// are level: writers that never pause must not keep it waiting.
const LEVEL_ROUNDS: u32 = 64;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The whole request.
    Whole,
    /// One operation of a multiRead.
    Op(usize),
    /// A partition's share of getAllChildrenNumber; the first also checks the znode.
    Count,
    /// A partition's share of getEphemerals.
    Ephemerals,
    /// addWatch.
    AddWatch,
    /// One path of a setWatches.
    Again(WatchList, usize),
}

impl Parts {
    fn plan(request: Request, replicas: &Replicas<'_>) -> Parts {
        let map = replicas.map();
        let steps = match &request {
            Request::Exists(r)
            | Request::GetData(r)
            | Request::GetChildren(r)
            | Request::GetChildren2(r) => vec![(map.owner(&r.path), Step::Whole)],
            Request::GetAcl(r) => vec![(map.owner(&r.path), Step::Whole)],
            Request::GetAllChildrenNumber(r) => {
                let owner = map.owner(&r.path);
                let others = map.owners_below(&r.path).into_iter().filter(|p| *p != owner);
                std::iter::once(owner).chain(others).map(|p| (p, Step::Count)).collect()
            }
            Request::GetEphemerals(_) => map.partitions().map(|p| (p, Step::Ephemerals)).collect(),
            Request::MultiRead(ops) => {
                let owners = ops.iter().map(|op| map.owner(op.path()));
                owners.enumerate().map(|(i, owner)| (owner, Step::Op(i))).collect()
            }
            Request::AddWatch(AddWatchRequest { path, mode }) => {
                let owners =
                    if *mode == 1 { map.owners_below(path) } else { vec![map.owner(path)] };
                owners.into_iter().map(|p| (p, Step::AddWatch)).collect()
            }
            Request::SetWatches2(lists) => WatchList::ALL
                .into_iter()
                .flat_map(|list| {
                    let paths = list.of(lists).iter().enumerate();
                    paths.flat_map(move |(i, path)| {
                        let owners = match list {
                            WatchList::Recursive => map.owners_below(path),
                            _ => vec![map.owner(path)],
                        };
                        owners.into_iter().map(move |p| (p, Step::Again(list, i)))
                    })
                })
                .collect(),
            _ => Vec::new(),
        };
        Parts {
            request,
            steps,
            next: 0,
            body: BytesMut::new(),
            before: BytesMut::new(),
            number: 0,
            paths: Vec::new(),
            rounds: LEVEL_ROUNDS,
            target: Zxid::ZERO,
        }
    }

    /// What a step looks at.
    fn scope(&self, step: Step) -> Scope<'_> {
        match (step, &self.request) {
            (Step::Op(i), Request::MultiRead(ops)) => {
                ops.get(i).map_or(Scope::Everything, |op| Scope::Znode(op.path()))
            }
            (Step::Count, Request::GetAllChildrenNumber(r)) => Scope::Subtree(&r.path),
            (Step::AddWatch, Request::AddWatch(r)) if r.mode == 1 => Scope::Subtree(&r.path),
            (Step::AddWatch, Request::AddWatch(r)) => Scope::Znode(&r.path),
            (Step::Again(list, i), Request::SetWatches2(lists)) => match list.of(lists).get(i) {
                Some(path) if list == WatchList::Recursive => Scope::Subtree(path),
                Some(path) => Scope::Znode(path),
                None => Scope::Everything,
            },
            (_, Request::Exists(r) | Request::GetData(r)) => Scope::Znode(&r.path),
            (_, Request::GetChildren(r) | Request::GetChildren2(r)) => Scope::Znode(&r.path),
            (_, Request::GetAcl(r)) => Scope::Znode(&r.path),
            _ => Scope::Everything,
        }
    }

    /// The first replica that is behind what any of the parts could show. A read of several
    /// parts runs in one go once there is none: in between, an event could tell the client
    /// of a change that an earlier part has not seen, or a later part show more than the told
    /// events. `None`: it may run.
    fn behind(&mut self, frontier: Zxid, replicas: &mut Replicas<'_>) -> Option<PartitionId> {
        let apart = mutated!(PartsApart)
            || mutated!(FrontierIgnored)
            || (self.watches_again() && mutated!(SetWatchesAnywhere));
        if self.next > 0 || self.rounds == 0 || apart || self.steps.len() < 2 {
            return None;
        }
        let first = self.steps.first()?.0;
        let one = self.steps.iter().all(|(p, _)| *p == first);
        if one && replicas.partition(first).set_aside() == 0 {
            return None;
        }
        let all = |replicas: &mut Replicas<'_>, target| {
            let mut steps = self.steps.iter();
            let behind = steps.find(|(p, s)| !replicas.partition(*p).shows(self.scope(*s), target));
            behind.map(|(p, _)| *p)
        };
        if let Some(behind) = all(replicas, self.target) {
            return Some(behind);
        }
        let shown = self.steps.iter().map(|(p, _)| replicas.partition(*p).last_write());
        let target = shown.fold(frontier, Zxid::max);
        let behind = all(replicas, target);
        self.rounds -= 1;
        self.target = target;
        behind
    }

    fn watches_again(&self) -> bool {
        matches!(self.steps.first(), Some((_, Step::Again(..))))
    }

    fn partitions(&self) -> Destination {
        let mut partitions: Vec<PartitionId> = self.steps.iter().map(|(p, _)| *p).collect();
        partitions.sort_unstable();
        partitions.dedup();
        match partitions[..] {
            [one] => Destination::One(one),
            _ => Destination::Several(partitions),
        }
    }

    /// Runs every part whose replica is far enough. `Ok`: all are through, with this error code;
    /// `Err`: the next one waits for this partition.
    fn run(
        &mut self,
        connection: &mut Connection,
        skip_acl: bool,
        replicas: &mut Replicas<'_>,
        stale: &Stale,
    ) -> Result<i32, PartitionId> {
        if let Some(behind) = self.behind(connection.frontier, replicas)
            && !(self.watches_again() && stale.stays_behind(behind))
        {
            return Err(behind);
        }
        while let Some((partition, step)) = self.steps.get(self.next).copied() {
            let anywhere = mutated!(FrontierIgnored)
                || (mutated!(SetWatchesAnywhere) && matches!(step, Step::Again(..)));
            let frontier = match &self.request {
                // A client that comes back must not hang where its watches are: it finds all of
                // their events from what it was told on, and that was held (ATTACKS row 24).
                Request::SetWatches2(lists) if stale.stays_behind(partition) => {
                    connection.frontier.min(Zxid(lists.relative_zxid.max(0) as u64))
                }
                _ => connection.frontier,
            };
            let replica = replicas.partition(partition);
            if !replica.shows(self.scope(step), frontier) && !anywhere {
                return Err(partition);
            }
            self.next += 1;
            let err = self.step(connection, skip_acl, partition, step, replicas);
            if err != 0 {
                return Ok(err);
            }
        }
        self.finish();
        Ok(0)
    }

    fn step(
        &mut self,
        connection: &mut Connection,
        skip_acl: bool,
        partition: PartitionId,
        step: Step,
        replicas: &mut Replicas<'_>,
    ) -> i32 {
        let client = Client {
            conn: connection.id,
            session: connection.session,
            identities: &connection.identities,
            skip_acl,
        };
        let replica = replicas.partition(partition);
        let served = match (step, &self.request) {
            (Step::Op(i), Request::MultiRead(ops)) => {
                let Some(op) = ops.get(i) else { return 0 };
                let served = read_op(op, |request, w| replica.read(&client, request, w));
                self.body.extend_from_slice(&served.0);
                connection.observe(served.1);
                return 0;
            }
            (Step::Count, Request::GetAllChildrenNumber(r)) => {
                let (count, served) = replica.count_below(&client, &r.path, self.next == 1);
                self.number = self.number.saturating_add(count);
                served
            }
            (Step::Ephemerals, Request::GetEphemerals(r)) => {
                let (paths, served) = replica.ephemerals(&client, r.prefix.as_deref());
                self.paths.extend(paths);
                served
            }
            (Step::AddWatch, Request::AddWatch(r)) => replica.add_watch(&client, &r.path, r.mode),
            (Step::Again(list, i), Request::SetWatches2(lists)) => {
                let Some(path) = list.of(lists).get(i) else { return 0 };
                let Again { event, served } =
                    replica.watch_again(&client, list, path, Zxid(lists.relative_zxid as u64));
                if let Some(event) = event {
                    let mut w = Writer::append_to(std::mem::take(&mut self.before));
                    write_event(&mut w, -1, &event.to_wire(path));
                    self.before = w.into_inner();
                }
                served
            }
            (_, request) => {
                let mut w = Writer::append_to(std::mem::take(&mut self.body));
                let served = replica.read(&client, request, &mut w);
                self.body = w.into_inner();
                served
            }
        };
        if !mutated!(ReadsForget) {
            connection.observe(served.observed);
        }
        if served.watching {
            connection.watches_at(partition);
        }
        served.err
    }

    /// What follows the last part.
    fn finish(&mut self) {
        let mut w = Writer::append_to(std::mem::take(&mut self.body));
        match &self.request {
            Request::MultiRead(_) => MultiResult::write_all(&[], &mut w),
            Request::GetAllChildrenNumber(_) => {
                GetAllChildrenNumberResponse { number: self.number }.write(&mut w);
            }
            Request::GetEphemerals(_) => {
                let mut ephemerals = std::mem::take(&mut self.paths);
                // Not by partition: which partition holds what is nobody's business.
                ephemerals.sort_unstable();
                GetEphemeralsResponse { ephemerals }.write(&mut w);
            }
            // addWatch's reply has a body: the error code once more.
            Request::AddWatch(_) => w.int(0),
            _ => {}
        }
        self.body = w.into_inner();
    }
}

/// One operation of a multiRead: its own result or error, and what it observed.
fn read_op(
    op: &ReadOp,
    read: impl FnOnce(&Request, &mut Writer) -> crate::core::executor::Served,
) -> (BytesMut, Zxid) {
    let (opcode, mut path) = match op {
        ReadOp::GetChildren(r) => (OpCode::GetChildren, r.clone()),
        ReadOp::GetData(r) => (OpCode::GetData, r.clone()),
    };
    path.watch = false;
    let request = match opcode {
        OpCode::GetChildren => Request::GetChildren(path),
        _ => Request::GetData(path),
    };
    let mut w = Writer::new();
    MultiHeader { opcode: opcode as i32, done: false, err: 0 }.write(&mut w);
    let served = read(&request, &mut w);
    if served.err != 0 {
        w = Writer::new();
        MultiHeader { opcode: OpCode::Error as i32, done: false, err: served.err }.write(&mut w);
        w.int(served.err);
    }
    (w.into_inner(), served.observed)
}

/// ZooKeeper keeps the root under a second key, the empty path, and plain look-ups find it there;
/// a watch on that key never fires.
fn root_of_nothing(mut request: Request) -> Request {
    let root = |path: &mut ByteString| {
        let is_empty = path.is_empty();
        if is_empty {
            *path = ByteString::from_static("/");
        }
        is_empty
    };
    match &mut request {
        Request::Exists(r)
        | Request::GetData(r)
        | Request::GetChildren(r)
        | Request::GetChildren2(r) => r.watch &= !root(&mut r.path),
        Request::GetAcl(r) | Request::GetAllChildrenNumber(r) => {
            root(&mut r.path);
        }
        Request::MultiRead(ops) => {
            for op in ops {
                let (ReadOp::GetChildren(r) | ReadOp::GetData(r)) = op;
                root(&mut r.path);
            }
        }
        _ => {}
    }
    request
}

/// Writes an event's frame.
pub(super) fn write_event(w: &mut Writer, zxid: i64, event: &WatcherEvent) {
    w.frame(|w| {
        ReplyHeader { xid: -1, zxid, err: 0 }.write(w);
        event.write(w);
    });
}

impl FrontEnd {
    /// Begins a read.
    pub(super) fn read(
        &mut self,
        conn: ConnId,
        number: u64,
        request: Request,
        replicas: &mut Replicas<'_>,
    ) {
        let request = match root_of_nothing(request) {
            Request::SetWatches(lists) => Request::SetWatches2(watch::widen(lists)),
            Request::AddWatch(ref r) if !(0..=1).contains(&r.mode) => {
                return self.refuse(conn, number, ErrorCode::MarshallingError);
            }
            Request::CheckWatches(r) | Request::RemoveWatches(r)
                if !(1..=5).contains(&r.watcher_type) =>
            {
                return self.refuse(conn, number, ErrorCode::MarshallingError);
            }
            Request::CheckWatches(r) => {
                let found = replicas
                    .map()
                    .owners_below(&r.path)
                    .into_iter()
                    .any(|p| replicas.partition(p).has_watch(conn, &r.path, r.watcher_type));
                return self.watcher_found(conn, number, found);
            }
            Request::RemoveWatches(r) => {
                let mut found = false;
                for p in replicas.map().owners_below(&r.path) {
                    found |= replicas.partition(p).remove_watch(conn, &r.path, r.watcher_type);
                }
                return self.watcher_found(conn, number, found);
            }
            request => request,
        };
        let parts = Parts::plan(request, replicas);
        self.run(conn, number, parts, replicas);
    }

    fn refuse(&mut self, conn: ConnId, number: u64, code: ErrorCode) {
        self.answer(conn, number, Reply { err: code.code(), ..Reply::default() });
    }

    fn watcher_found(&mut self, conn: ConnId, number: u64, found: bool) {
        let err = if found { 0 } else { ErrorCode::NoWatcher.code() };
        self.answer(conn, number, Reply { err, ..Reply::default() });
    }

    fn run(&mut self, conn: ConnId, number: u64, mut parts: Parts, replicas: &mut Replicas<'_>) {
        let skip_acl = self.config.flags.skip_acl;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        match parts.run(connection, skip_acl, replicas, &self.stale) {
            Ok(err) => {
                connection.reading = false;
                let zxid = connection.frontier;
                let (body, before) = match err {
                    0 => (parts.body.freeze(), parts.before.freeze()),
                    _ => (Bytes::new(), Bytes::new()),
                };
                self.answer(conn, number, Reply { zxid, err, body, before, ..Reply::default() });
            }
            Err(partition) => {
                replicas.wait_for(partition, connection.frontier.max(parts.target));
                self.stale.wanted(partition);
                connection.reading = true;
                let destination = parts.partitions();
                if let Some(item) = connection.item_mut(number) {
                    item.destination = Some(destination);
                    item.state = State::Reading(Box::new(parts));
                }
                self.blocked.push(conn);
            }
        }
    }

    /// Goes on with the read that waits, if its replica has come far enough.
    pub(super) fn resume(&mut self, conn: ConnId, replicas: &mut Replicas<'_>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        // Only the last one begun can wait: nothing begins behind it.
        let Some(at) = connection.begun.checked_sub(1) else { return };
        let number = connection.first + at as u64;
        let Some(item) = connection.queue.get_mut(at) else { return };
        if let State::Reading(parts) = std::mem::replace(&mut item.state, State::Ordered) {
            self.run(conn, number, *parts, replicas);
        }
    }

    pub(super) fn who_am_i(&mut self, conn: ConnId, number: u64) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut w = Writer::new();
        WhoAmIResponse { infos: auth::client_infos(&connection.identities) }.write(&mut w);
        self.answer(conn, number, Reply { body: w.finish(), ..Reply::default() });
    }

    /// An auth packet: the connection's identities grow, or it ends.
    pub(super) fn authenticate(
        &mut self,
        conn: ConnId,
        number: u64,
        packet: &AuthPacket,
        replicas: &mut Replicas<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let reply = Reply { hide_zxid: true, ..Reply::default() };
        let address = connection.peer.ip().to_canonical().to_string();
        let config = auth::AuthConfig {
            digest_enabled: self.config.digest_enabled,
            super_digest: self.config.super_digest.as_deref(),
            remote_address: &address,
        };
        let reply = match auth::authenticate(packet, &config) {
            Ok(ids) => {
                let mut identities = connection.identities.to_vec();
                for id in ids {
                    if !identities.contains(&id) {
                        identities.push(id);
                    }
                }
                connection.identities = Arc::from(identities);
                for partition in &connection.watched {
                    let identities = connection.identities.clone();
                    replicas.partition(*partition).set_identities(conn, identities);
                }
                reply
            }
            Err(code) => {
                self.totals.auth_failures += 1;
                Reply { err: code.code(), close: true, ..reply }
            }
        };
        self.answer(conn, number, reply);
    }
}
