//! The order of a session's requests: when may the next one begin? DESIGN section 5, "session
//! pipelining". It answers nothing itself but refusals. Called by the front end's settle.

use bytes::Bytes;
use volery_proto::command::Operation;
use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::jute::{Jute, Reader};
use volery_proto::zk::{ErrorCode, OpCode, Request, RequestHeader};

use super::connection::{Connection, Item, Phase, Reply, State, Work};
use super::handshake::Opened;
use super::{CloseReason, FrontEnd, Replicas, Waiter};
use crate::core::executor::CommandOutcome;
use crate::core::mutation::mutated;
use crate::core::oracle::Destination;
use crate::core::types::{ConnId, Now};

/// One request as the client port decoded it.
#[derive(Clone, Debug)]
pub struct Received {
    /// As the client sent it.
    pub xid: i32,
    /// As the client sent it.
    pub opcode: i32,
    /// The body, or with what to refuse it and whether to close.
    pub body: Result<Request, (ErrorCode, bool)>,
}

/// Decodes a frame after the handshake. `None`: not even a header, the connection is closed.
#[must_use]
pub fn decode_request(frame: Bytes) -> Option<Received> {
    let mut r = Reader::new(frame);
    let RequestHeader { xid, opcode } = RequestHeader::read(&mut r).ok()?;
    let body = match Request::decode(opcode, r.rest()) {
        // Internal to the service: a client's would delete without asking an ACL.
        Ok(Some(Request::DeleteContainer(_)) | None) => Err((ErrorCode::Unimplemented, true)),
        Ok(Some(request)) => Ok(request),
        Err(_) => Err((ErrorCode::MarshallingError, false)),
    };
    Some(Received { xid, opcode, body })
}

impl Work {
    fn of(body: Result<Request, (ErrorCode, bool)>) -> Work {
        match body {
            Err((code, close)) => Work::Refuse { code, close },
            Ok(request) if request.is_write() => Work::Ordered(Operation::Write(request)),
            Ok(Request::Sync(path)) => Work::Ordered(Operation::Sync(path.path)),
            Ok(Request::CloseSession) => Work::Ordered(Operation::CloseSession),
            Ok(Request::Ping) => Work::Ping,
            Ok(Request::WhoAmI) => Work::WhoAmI,
            Ok(Request::Auth(packet)) => Work::Auth(packet),
            Ok(Request::Sasl(_)) => Work::Sasl,
            Ok(Request::Reconfig(_)) => {
                Work::Refuse { code: ErrorCode::ReconfigDisabled, close: false }
            }
            Ok(request) => Work::Read(request),
        }
    }
}

/// What the next request of a session has to wait for.
enum Turn {
    Now,
    Wait,
    /// For a replica of this partition.
    Reach(PartitionId),
}

impl Connection {
    /// Whether `work` may begin behind what has begun: a write to another ring waits for the
    /// session's earlier writes, a read for all of them, anything for a read that waits.
    fn turn(&self, work: &Work, replicas: &Replicas<'_>) -> Turn {
        match work {
            Work::Ordered(_) if self.reading && mutated!(WritesPassReads) => Turn::Now,
            _ if self.reading => Turn::Wait,
            Work::Ordered(operation) => {
                let destination = replicas.map().destination(operation);
                let together = self.ordered == 0 || self.ring == destination.ring();
                if !(together || mutated!(WritesDoNotWait)) {
                    return Turn::Wait;
                }
                // Its result would not come: nothing is numbered for a partition that is gone.
                let gone = match &destination {
                    Destination::One(one) => Some(*one).filter(|p| !replicas.is_reached(*p)),
                    Destination::Several(several) => {
                        several.iter().copied().find(|p| !replicas.is_reached(*p))
                    }
                    Destination::All => None,
                };
                gone.map_or(Turn::Now, Turn::Reach)
            }
            Work::Read(_) if self.ordered > 0 && !mutated!(ReadsPassWrites) => Turn::Wait,
            _ => Turn::Now,
        }
    }
}

impl FrontEnd {
    /// Requests of a client arrived.
    pub fn requests(&mut self, conn: ConnId, requests: Vec<Received>, now: Now) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if matches!(connection.phase, Phase::New | Phase::Closing) {
            return;
        }
        let count = requests.len() as u64;
        connection.stats.received += count;
        self.counters.received += count;
        self.counters.outstanding += count;
        for Received { xid, opcode, body } in requests {
            connection.queue.push_back(Item {
                xid,
                opcode,
                arrived_us: now.monotonic_us,
                state: State::Queued(Work::of(body)),
                destination: None,
                barrier: false,
            });
        }
        if connection.phase == Phase::Open {
            let session = connection.session;
            self.expiry.touch(session, now.monotonic_ms());
            if let Some(shared) = &mut self.shared {
                shared.touched.insert(session);
            }
        }
        self.mark(conn);
    }

    /// Begins every request of a connection whose turn it is.
    pub(super) fn pump(&mut self, conn: ConnId, replicas: &mut Replicas<'_>, now: Now) {
        if self.connections.get(&conn).is_some_and(|connection| connection.reading) {
            self.resume(conn, replicas);
        }
        while let Some(connection) = self.connections.get_mut(&conn) {
            if connection.phase != Phase::Open
                || connection.unsent + connection.out.len() > self.config.max_unsent
            {
                return;
            }
            let at = connection.begun;
            let Some(item) = connection.queue.get(at) else { return };
            let State::Queued(work) = &item.state else { return };
            connection.stuck = match connection.turn(work, replicas) {
                Turn::Now => None,
                Turn::Wait => return,
                Turn::Reach(partition) => Some(partition),
            };
            if connection.stuck.is_some() {
                self.blocked.push(conn);
                return;
            }
            let number = connection.first + at as u64;
            if self.config.linearizable_reads && connection.lacks_barrier(number, work) {
                return self.ask_barrier(conn, number);
            }
            connection.begun += 1;
            // The state was matched just above.
            let state = std::mem::replace(&mut connection.queue[at].state, State::Ordered);
            if let State::Queued(work) = state {
                self.begin_request(conn, number, work, replicas);
            }
            self.release(conn, replicas, now);
        }
    }

    fn begin_request(
        &mut self,
        conn: ConnId,
        number: u64,
        work: Work,
        replicas: &mut Replicas<'_>,
    ) {
        match work {
            Work::Ordered(operation) => self.order(conn, number, operation, replicas),
            Work::Read(request) => self.read(conn, number, request, replicas),
            Work::Ping => self.answer(conn, number, Reply::default()),
            Work::WhoAmI => self.who_am_i(conn, number),
            Work::Auth(packet) => self.authenticate(conn, number, &packet, replicas),
            Work::Sasl => {
                let body = Bytes::from_static(&[0xff; 4]); // a null buffer
                self.answer(conn, number, Reply { body, hide_zxid: true, ..Reply::default() });
            }
            Work::Refuse { code, close } => {
                self.answer(conn, number, Reply { err: code.code(), close, ..Reply::default() });
            }
        }
    }

    /// Numbers an ordered request and hands it to its ring.
    fn order(
        &mut self,
        conn: ConnId,
        number: u64,
        operation: Operation,
        replicas: &mut Replicas<'_>,
    ) {
        if let Operation::Write(request) = &operation {
            let checked = crate::core::apply::precheck(request, self.config.flags.extended_types);
            if let Err(code) = checked {
                self.answer(conn, number, Reply { err: code.code(), ..Reply::default() });
                return;
            }
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let destination = replicas.map().destination(&operation);
        if self.stale.refuses(&destination) {
            let err = ErrorCode::OperationTimeout.code();
            return self.answer(conn, number, Reply { err, ..Reply::default() });
        }
        let ring = destination.ring();
        match &destination {
            Destination::One(_) => self.totals.single_partition += 1,
            Destination::Several(_) => self.totals.multi_partition += 1,
            Destination::All => {}
        }
        connection.ring = ring;
        connection.ordered += 1;
        let (session, epoch) = (connection.session, connection.epoch);
        let after = if mutated!(AfterForgets) { epoch } else { connection.frontier };
        let identities = connection.identities.clone();
        // A barrier is answered by its own place in the order, wherever that is executed first.
        let barrier = matches!(operation, Operation::Sync(_));
        if let Some(item) = connection.item_mut(number) {
            item.destination = (!barrier).then_some(destination);
            item.barrier = barrier;
        }
        let mut command = self.command(session, epoch, after, operation);
        command.identities = identities;
        self.propose(ring, Waiter::Request(conn, number), command);
    }

    /// A numbered command of this incarnation was executed by one of its partitions; the first
    /// to say so counts, all say the same.
    pub fn executed(
        &mut self,
        origin: volery_proto::command::Origin,
        ring: volery_proto::ids::RingId,
        zxid: Zxid,
        outcome: CommandOutcome,
    ) {
        if origin.server != self.config.server || Some(origin.incarnation) != self.incarnation {
            return;
        }
        let waiter = self.numberings[usize::from(ring.0)].take(origin.sequence);
        self.totals.executed += u64::from(waiter.is_some());
        match waiter {
            None | Some(Waiter::Nobody) => {}
            Some(Waiter::Handshake(conn)) => {
                let opened = match outcome {
                    CommandOutcome::SessionOpened(session) => Opened::Session(session),
                    _ => Opened::Unknown,
                };
                self.session_result(conn, zxid, &opened);
            }
            Some(Waiter::Barrier(conns)) => self.barrier_passed(conns, zxid),
            Some(Waiter::Request(conn, number)) => {
                self.request_result(conn, number, zxid, outcome);
            }
        }
    }

    fn request_result(&mut self, conn: ConnId, number: u64, zxid: Zxid, outcome: CommandOutcome) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.ordered -= 1;
        connection.observe(zxid);
        let reply = Reply { zxid, by_clock: true, ..Reply::default() };
        let reply = match outcome {
            CommandOutcome::Write(Ok(body)) => Reply { body, ..reply },
            CommandOutcome::Synced(body) => Reply { body, ..reply },
            // The session lives at another connection: closed without a reply.
            CommandOutcome::Write(Err(ErrorCode::SessionMoved)) => {
                return self.close(conn, CloseReason::SessionMoved);
            }
            CommandOutcome::Write(Err(code)) => Reply { err: code.code(), ..reply },
            CommandOutcome::SessionClosed => Reply { close: true, ..reply },
            CommandOutcome::SessionOpened(_) | CommandOutcome::SessionUnknown => reply,
        };
        self.answer(conn, number, reply);
        self.mark(conn);
    }

    /// Puts a reply in its place. A reply without a zxid of its own shows what the session has
    /// seen so far.
    pub(super) fn answer(&mut self, conn: ConnId, number: u64, mut reply: Reply) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if reply.zxid == Zxid::ZERO && !reply.hide_zxid {
            reply.zxid = connection.frontier;
        }
        if let Some(item) = connection.item_mut(number) {
            item.state = State::Done(reply);
        }
    }
}

/// Whether this opcode is counted as a write in the latencies.
#[must_use]
pub(super) fn is_update(opcode: i32) -> bool {
    matches!(
        OpCode::from_i32(opcode),
        Some(
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Multi
                | OpCode::CloseSession
        )
    )
}
