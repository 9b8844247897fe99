//! A read in parts: each at the replica of its own partition, here or elsewhere; most have one.
//! It touches no znode and answers nobody. Used by `serve`.
//!
//! **Several parts show one state.** Each is run at the session's frontier or above, and says what
//! it observed and through which zxid it shows everything. If one has observed more than another
//! shows, the other is read again: between the two an event may have told the client of a change
//! that the other has missed. What comes out is how all of it was at one moment of the order.
//!
//! **A part that registers a watch is run once.** Until all parts are through, the session is told
//! of no event, and the reply says no more than that everything is told through the least of what
//! the parts show: whatever fires above that comes after the reply.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::jute::{Jute, Reader, Writer};
use volery_proto::zk::{
    AddWatchRequest, ErrorCode, GetAllChildrenNumberResponse, GetEphemeralsResponse, MultiHeader,
    MultiResult, OpCode, ReadOp, Request, SetWatches2, WatchedPathRequest,
};

use super::Replicas;
use super::connection::Connection;
use super::replicas::Asked;
use super::serve::write_event;
use super::stale::Stale;
use crate::core::executor::{Answer, Client, WatchList, path_again};
use crate::core::mutation::mutated;
use crate::core::oracle::{Destination, PartitionMap};
use crate::core::watch::EventType;

/// So often parts are read again for the sake of others: writers that never pause must not keep a
/// read waiting. Then each part is as it was when it was read.
const ROUNDS: u32 = 64;

/// One part.
#[derive(Clone, Debug)]
struct Part {
    partition: PartitionId,
    request: Request,
    /// See `Partition::ask`.
    whole: bool,
    /// It was asked for elsewhere with this number.
    asked: Option<u64>,
    answer: Option<Answer>,
}

/// How the reply is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The one part's body is the reply's.
    Plain,
    Multi,
    Count,
    Ephemerals,
    AddWatch,
    SetWatches,
    /// checkWatches, removeWatches.
    Found,
}

/// A read that has begun.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    kind: Kind,
    parts: Vec<Part>,
    /// A part registers a watch.
    watches: bool,
    rounds: u32,
    /// What some part shows, all have to.
    target: Zxid,
}

/// What a read came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// 0, or the error code.
    pub(super) err: i32,
    pub(super) body: Bytes,
    /// Frames of events that go out before the reply.
    pub(super) before: Bytes,
    /// Everything is told through here, if it is below the frontier.
    pub(super) through: Option<Zxid>,
}

fn part(partition: PartitionId, request: Request) -> Part {
    Part { partition, request, whole: true, asked: None, answer: None }
}

/// One operation of a multiRead; its watch flag is ignored.
fn of_multi(op: &ReadOp) -> Request {
    let plain = |r: &WatchedPathRequest| WatchedPathRequest { path: r.path.clone(), watch: false };
    match op {
        ReadOp::GetChildren(r) => Request::GetChildren(plain(r)),
        ReadOp::GetData(r) => Request::GetData(plain(r)),
    }
}

/// One path of a setWatches.
fn of_lists(list: WatchList, path: &ByteString, relative_zxid: i64) -> Request {
    let mut one = SetWatches2 { relative_zxid, ..SetWatches2::default() };
    let paths = match list {
        WatchList::Data => &mut one.data,
        WatchList::Exist => &mut one.exist,
        WatchList::Child => &mut one.child,
        WatchList::Persistent => &mut one.persistent,
        WatchList::Recursive => &mut one.recursive,
    };
    paths.push(path.clone());
    Request::SetWatches2(one)
}

fn again(map: &PartitionMap, lists: &SetWatches2) -> Vec<Part> {
    let mut parts = Vec::new();
    for list in WatchList::ALL {
        for path in list.of(lists) {
            let owners = match list {
                WatchList::Recursive => map.owners_below(path),
                _ => vec![map.owner(path)],
            };
            let request = of_lists(list, path, lists.relative_zxid);
            parts.extend(owners.into_iter().map(|owner| part(owner, request.clone())));
        }
    }
    parts
}

impl Parts {
    /// Which replicas have to be asked for what.
    pub(super) fn plan(request: Request, map: &PartitionMap) -> Parts {
        let mut watches = false;
        let below = |path: &str, request: &Request| -> Vec<Part> {
            map.owners_below(path).into_iter().map(|p| part(p, request.clone())).collect()
        };
        let (kind, parts) = match &request {
            Request::Exists(r)
            | Request::GetData(r)
            | Request::GetChildren(r)
            | Request::GetChildren2(r) => {
                watches = r.watch;
                (Kind::Plain, vec![part(map.owner(&r.path), request)])
            }
            Request::GetAcl(r) => (Kind::Plain, vec![part(map.owner(&r.path), request)]),
            Request::GetAllChildrenNumber(r) => {
                let owner = map.owner(&r.path);
                let others = map.owners_below(&r.path).into_iter().filter(|p| *p != owner);
                let others = others.map(|p| Part { whole: false, ..part(p, request.clone()) });
                (Kind::Count, std::iter::once(part(owner, request.clone())).chain(others).collect())
            }
            Request::GetEphemerals(_) => {
                let all = map.partitions().map(|p| part(p, request.clone()));
                (Kind::Ephemerals, all.collect())
            }
            Request::MultiRead(ops) => {
                let ops = ops.iter().map(|op| part(map.owner(op.path()), of_multi(op)));
                (Kind::Multi, ops.collect())
            }
            Request::AddWatch(AddWatchRequest { path, mode }) => {
                watches = true;
                let all = if *mode == 1 {
                    below(path, &request)
                } else {
                    vec![part(map.owner(path), request)]
                };
                (Kind::AddWatch, all)
            }
            Request::SetWatches2(lists) => {
                watches = true;
                (Kind::SetWatches, again(map, lists))
            }
            Request::CheckWatches(r) | Request::RemoveWatches(r) => {
                (Kind::Found, below(&r.path, &request))
            }
            _ => (Kind::Plain, Vec::new()),
        };
        Parts { kind, parts, watches, rounds: ROUNDS, target: Zxid::ZERO }
    }

    /// Asks for whatever has no answer yet. Whether all is there, and may be shown.
    pub(super) fn run(
        &mut self,
        connection: &mut Connection,
        skip_acl: bool,
        replicas: &mut Replicas<'_>,
        stale: &mut Stale,
    ) -> bool {
        let anywhere = mutated!(FrontierIgnored)
            || (mutated!(SetWatchesAnywhere) && self.kind == Kind::SetWatches);
        loop {
            let frontier = connection.frontier.max(self.target);
            let frontier = if anywhere { Zxid::ZERO } else { frontier };
            if !self.ask(frontier, connection, skip_acl, replicas, stale) {
                return false;
            }
            let level = self.watches || anywhere || self.kind == Kind::Found;
            if level || !self.renew(frontier) {
                return true;
            }
        }
    }

    fn ask(
        &mut self,
        frontier: Zxid,
        connection: &mut Connection,
        skip_acl: bool,
        replicas: &mut Replicas<'_>,
        stale: &mut Stale,
    ) -> bool {
        let client = Client {
            conn: connection.id,
            session: connection.session,
            identities: &Arc::clone(&connection.identities),
            skip_acl,
        };
        for part in &mut self.parts {
            if part.answer.is_some() || part.asked.is_some() {
                continue;
            }
            let id = part.partition;
            let frontier = match &part.request {
                // A client that comes back must not hang where its watches are: it finds all of
                // their events from what it was told on, and that was held (ATTACKS row 24). Asked
                // once only, so not before it is known which.
                Request::SetWatches2(lists) if stale.stays_behind(id) => {
                    frontier.min(Zxid(lists.relative_zxid.max(0) as u64))
                }
                Request::SetWatches2(_) if replicas.delivered(id) < frontier => {
                    replicas.wait_for(id, frontier);
                    stale.wanted(id);
                    continue;
                }
                _ => frontier,
            };
            match replicas.ask(id, &client, (&part.request, part.whole), frontier) {
                Asked::Now(answer) => {
                    connection.holds(id, answer.holds);
                    part.answer = Some(answer);
                }
                Asked::Later(number) => {
                    connection.asks(id);
                    part.asked = Some(number);
                }
                Asked::Behind => {
                    replicas.wait_for(id, frontier);
                    stale.wanted(id);
                }
            }
        }
        self.parts.iter().all(|part| part.answer.is_some())
    }

    /// Gives up the answers that miss something which the session has seen by now, or that other
    /// parts show. Whether there are any.
    fn renew(&mut self, frontier: Zxid) -> bool {
        if self.rounds == 0 || (self.parts.len() > 1 && mutated!(PartsApart)) {
            return false;
        }
        let observed = self.parts.iter().filter_map(|part| part.answer.as_ref());
        let target = observed.map(|answer| answer.observed).fold(frontier, Zxid::max);
        self.target = target;
        let mut any = false;
        for part in &mut self.parts {
            let old = part.answer.as_ref().is_some_and(|answer| answer.through < target);
            if old && !(part.asked.is_some() && mutated!(AnswersOutdated)) {
                (part.answer, part.asked, any) = (None, None, true);
            }
        }
        self.rounds -= u32::from(any);
        any
    }

    /// An answer from elsewhere. Whether it was waited for.
    pub(super) fn answered(&mut self, number: u64, answer: Answer) -> bool {
        let mut waiting = self.parts.iter_mut().filter(|part| part.answer.is_none());
        let part = waiting.find(|part| part.asked == Some(number));
        part.map(|part| part.answer = Some(answer)).is_some()
    }

    /// A watch may be registered by now, whose events are not to pass the reply.
    pub(super) fn holds_events(&self) -> bool {
        let begun = |part: &Part| part.asked.is_some() || part.answer.is_some();
        self.watches && self.parts.iter().any(begun) && !mutated!(EventsPassReads)
    }

    /// Whether anything is to be asked again: not only answers are waited for.
    pub(super) fn is_behind(&self) -> bool {
        self.parts.iter().any(|part| part.asked.is_none() && part.answer.is_none())
    }

    /// Where it waits.
    pub(super) fn destination(&self) -> Destination {
        let mut partitions: Vec<PartitionId> = self.parts.iter().map(|p| p.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        match partitions[..] {
            [one] => Destination::One(one),
            _ => Destination::Several(partitions),
        }
    }

    /// Whether it has asked, or has to ask, a partition for what it lacks.
    pub(super) fn waits_for(&self, partition: PartitionId) -> bool {
        self.parts.iter().any(|part| part.partition == partition && part.answer.is_none())
    }

    /// Puts the reply together, and raises the frontier by what it shows.
    pub(super) fn finish(self, connection: &mut Connection) -> Outcome {
        let Parts { kind, mut parts, watches, .. } = self;
        if kind == Kind::Plain {
            return match parts.pop().and_then(|part| part.answer) {
                Some(answer) => plain(answer, connection),
                None => Outcome { err: ErrorCode::Unimplemented.code(), ..Outcome::default() },
            };
        }
        let answers: Vec<(Request, Answer)> =
            parts.into_iter().filter_map(|part| Some((part.request, part.answer?))).collect();
        let before = connection.frontier;
        if !mutated!(ReadsForget) {
            answers.iter().for_each(|(_, answer)| connection.observe(answer.observed));
        }
        let through = answers.iter().map(|(_, answer)| answer.through).min();
        let through = through.filter(|_| watches).map(|through| through.max(before));
        Outcome { through, ..assemble(kind, &answers) }
    }
}

/// What one replica said is the reply.
fn plain(answer: Answer, connection: &mut Connection) -> Outcome {
    let Answer { err, observed, body, .. } = answer;
    if !mutated!(ReadsForget) {
        connection.observe(observed);
    }
    let body = if err == 0 { body } else { Bytes::new() };
    Outcome { err, body, ..Outcome::default() }
}

/// By far the most reads are of one znode that is here, and may be read now: nothing is planned
/// for them. `None`: this is not such a read.
pub(super) fn at_once(
    request: &Request,
    connection: &mut Connection,
    skip_acl: bool,
    replicas: &mut Replicas<'_>,
) -> Option<Outcome> {
    let path = match request {
        Request::Exists(r)
        | Request::GetData(r)
        | Request::GetChildren(r)
        | Request::GetChildren2(r) => &r.path,
        Request::GetAcl(r) => &r.path,
        _ => return None,
    };
    let partition = replicas.map().owner(path);
    let frontier = if mutated!(FrontierIgnored) { Zxid::ZERO } else { connection.frontier };
    let client = Client {
        conn: connection.id,
        session: connection.session,
        identities: &connection.identities,
        skip_acl,
    };
    let answer = replicas.ask_here(partition, &client, request, frontier)?;
    connection.holds(partition, answer.holds);
    Some(plain(answer, connection))
}

fn assemble(kind: Kind, answers: &[(Request, Answer)]) -> Outcome {
    let mut w = Writer::new();
    match kind {
        Kind::Plain => {}
        Kind::Multi => {
            answers.iter().for_each(|(request, answer)| write_op(request, answer, &mut w));
            MultiResult::write_all(&[], &mut w);
        }
        Kind::Count => {
            // The first owns the path and has checked it.
            if let Some(err) = answers.first().map(|(_, a)| a.err).filter(|err| *err != 0) {
                return Outcome { err, ..Outcome::default() };
            }
            let number = answers.iter().fold(0i32, |sum, (_, a)| sum.saturating_add(a.number));
            GetAllChildrenNumberResponse { number }.write(&mut w);
        }
        Kind::Ephemerals => {
            let shares = answers.iter().filter_map(|(_, answer)| {
                GetEphemeralsResponse::read(&mut Reader::new(answer.body.clone())).ok()
            });
            let mut ephemerals: Vec<_> = shares.flat_map(|share| share.ephemerals).collect();
            // Not by partition: which partition holds what is nobody's business.
            ephemerals.sort_unstable();
            GetEphemeralsResponse { ephemerals }.write(&mut w);
        }
        // addWatch's reply has a body: the error code once more.
        Kind::AddWatch => w.int(0),
        Kind::SetWatches => {
            let mut before = Writer::append_to(BytesMut::new());
            for (request, answer) in answers {
                let Request::SetWatches2(lists) = request else { continue };
                let event = EventType::from_number(answer.number);
                if let (Some(event), Some((_, path))) = (event, path_again(lists)) {
                    write_event(&mut before, -1, &event.to_wire(path));
                }
            }
            return Outcome { before: before.finish(), ..Outcome::default() };
        }
        Kind::Found => {
            let found = answers.iter().any(|(_, answer)| answer.number != 0);
            let err = if found { 0 } else { ErrorCode::NoWatcher.code() };
            return Outcome { err, ..Outcome::default() };
        }
    }
    Outcome { body: w.finish(), ..Outcome::default() }
}

/// One operation of a multiRead: its own result or error.
fn write_op(request: &Request, answer: &Answer, w: &mut Writer) {
    let opcode = match answer.err {
        0 => request.opcode() as i32,
        _ => OpCode::Error as i32,
    };
    MultiHeader { opcode, done: false, err: answer.err }.write(w);
    if answer.err == 0 { w.raw(&answer.body) } else { w.int(answer.err) }
}
