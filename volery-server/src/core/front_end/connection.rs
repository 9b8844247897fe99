//! One client connection: its session, its requests in order, what it may be told.
//! Plain state; the rules are in `order`, `serve` and `release`. Used by the front end only.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use volery_proto::command::Operation;
use volery_proto::ids::{PartitionId, RingId, SessionId, Zxid};
use volery_proto::zk::{AuthPacket, ErrorCode, Id, Request};

use crate::core::oracle::Destination;
use crate::core::types::ConnId;
use crate::core::watch::{EventType, Rank};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No handshake yet.
    New,
    /// The session's command is on its way; requests wait.
    Opening {
        /// Whether the handshake had the readOnly field.
        read_only: bool,
    },
    /// Requests are served.
    Open,
    /// Closed as soon as what was written is out; nothing more is served.
    Closing,
}

/// What a request asks of the front end.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Goes through a ring.
    Ordered(Operation),
    /// Runs at a replica.
    Read(Request),
    /// Answered here, once it is its turn.
    Ping,
    /// Identities of the connection.
    WhoAmI,
    /// Authenticate.
    Auth(AuthPacket),
    /// No SASL is configured: an empty answer.
    Sasl,
    /// Answered with this error; the connection is closed where it says so.
    Refuse { code: ErrorCode, close: bool },
}

/// A reply that waits for its turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// What the session has seen once it has this reply.
    pub(super) zxid: Zxid,
    /// Auth and SASL replies show 0 instead.
    pub(super) hide_zxid: bool,
    /// 0: the body follows.
    pub(super) err: i32,
    /// Encoded.
    pub(super) body: Bytes,
    /// Whole frames that go out before it (events of setWatches).
    pub(super) before: Bytes,
    /// Held until the clock has passed its slot: a write.
    pub(super) by_clock: bool,
    /// The connection ends with it.
    pub(super) close: bool,
}

/// How far a request is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not begun.
    Queued(Work),
    /// Proposed; its result will come.
    Ordered,
    /// A read that waits for replicas, with the parts read so far.
    Reading(Box<super::parts::Parts>),
    /// Answered, not yet sent.
    Done(Reply),
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) xid: i32,
    pub(super) opcode: i32,
    pub(super) arrived_us: u64,
    pub(super) state: State,
    /// Where it is outstanding, for the release rule.
    pub(super) destination: Option<Destination>,
    /// A barrier: wherever it is executed first here, it is answered.
    pub(super) barrier: bool,
}

/// The order of a session's events: by zxid, then as ZooKeeper orders those of one command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventKey {
    pub(super) zxid: Zxid,
    pub(super) rank: Rank,
    pub(super) path: ByteString,
}

/// Counters of one connection, for `cons`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionStats {
    /// Requests received.
    pub received: u64,
    /// Replies and events sent.
    pub sent: u64,
    /// Opcode of the last reply.
    pub last_opcode: Option<i32>,
    /// Last xid and zxid answered.
    pub last_xid: i64,
    /// Its zxid.
    pub last_zxid: Zxid,
    /// When the last reply left, monotonic microseconds.
    pub last_reply_us: u64,
    /// Latencies in microseconds: last, least, most, sum and number.
    pub last_us: u64,
    /// Least.
    pub min_us: u64,
    /// Most.
    pub max_us: u64,
    /// Sum.
    pub sum_us: u64,
    /// Number.
    pub count: u64,
}

impl ConnectionStats {
    pub(super) fn latency(&mut self, us: u64) {
        self.min_us = if self.count == 0 { us } else { self.min_us.min(us) };
        self.max_us = self.max_us.max(us);
        self.last_us = us;
        self.sum_us += us;
        self.count += 1;
    }
}

/// A client connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) peer: SocketAddr,
    /// Unix milliseconds, for `cons`.
    pub(super) established_unix_ms: i64,
    pub(super) phase: Phase,
    pub(super) session: SessionId,
    pub(super) epoch: Zxid,
    pub(super) timeout_ms: u32,
    pub(super) password: Bytes,
    pub(super) identities: Arc<[Id]>,
    /// The highest zxid that the session has observed: its reads wait for it, its writes are
    /// ordered after it. DESIGN section 7.
    pub(super) frontier: Zxid,
    /// The highest zxid that a reply has shown the client.
    pub(super) told: Zxid,
    pub(super) queue: VecDeque<Item>,
    /// The number of `queue[0]`.
    pub(super) first: u64,
    /// How many of `queue` have begun.
    pub(super) begun: usize,
    /// Ordered requests without a result, and the ring they are in.
    pub(super) ordered: usize,
    pub(super) ring: RingId,
    /// Whether a read waits.
    pub(super) reading: bool,
    pub(super) barrier: super::barrier::Barrier,
    pub(super) events: BTreeMap<EventKey, EventType>,
    /// Partitions where it (may) hold watches.
    pub(super) watched: Vec<PartitionId>,
    /// Partitions elsewhere whose replicas know of it.
    pub(super) known: Vec<PartitionId>,
    /// The partition that its next request needs, and no replica of which is reached.
    pub(super) stuck: Option<PartitionId>,
    pub(super) out: BytesMut,
    /// Replies within `out`.
    pub(super) replies: u32,
    /// Bytes handed out and not yet written to the socket.
    pub(super) unsent: usize,
    /// Whether it is on the list of those to look at after the batch.
    pub(super) dirty: bool,
    pub(super) stats: ConnectionStats,
}

impl Connection {
    pub(super) fn new(id: ConnId, peer: SocketAddr, unix_ms: i64) -> Self {
        // At accept the client has one identity: its address.
        let ip = Id { scheme: "ip".into(), id: peer.ip().to_canonical().to_string().into() };
        Connection {
            id,
            peer,
            established_unix_ms: unix_ms,
            phase: Phase::New,
            session: SessionId(0),
            epoch: Zxid::ZERO,
            timeout_ms: 0,
            password: Bytes::new(),
            identities: Arc::new([ip]),
            frontier: Zxid::ZERO,
            told: Zxid::ZERO,
            queue: VecDeque::new(),
            first: 0,
            begun: 0,
            ordered: 0,
            ring: RingId::GLOBAL,
            reading: false,
            barrier: super::barrier::Barrier::default(),
            events: BTreeMap::new(),
            watched: Vec::new(),
            known: Vec::new(),
            stuck: None,
            out: BytesMut::new(),
            replies: 0,
            unsent: 0,
            dirty: false,
            stats: ConnectionStats::default(),
        }
    }

    /// The request with this number, if it still waits.
    pub(super) fn item_mut(&mut self, number: u64) -> Option<&mut Item> {
        self.queue.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The last request that has begun: only that one can be a read that waits, as nothing begins
    /// behind it.
    pub(super) fn last_begun(&mut self) -> Option<&mut Item> {
        self.queue.get_mut(self.begun.checked_sub(1)?)
    }

    /// Whether it reads what sets a watch: until that is through it is told of no event.
    pub(super) fn holds_events(&self) -> bool {
        let last = self.begun.checked_sub(1).and_then(|at| self.queue.get(at));
        match last.map(|item| &item.state) {
            Some(State::Reading(parts)) => parts.holds_events(),
            _ => false,
        }
    }

    /// Raises the frontier; it never falls.
    pub(super) fn observe(&mut self, zxid: Zxid) {
        self.frontier = self.frontier.max(zxid);
    }

    /// It holds watches there, or holds none any more.
    pub(super) fn holds(&mut self, partition: PartitionId, holds: bool) {
        let at = self.watched.iter().position(|watched| *watched == partition);
        match (at, holds) {
            (None, true) => self.watched.push(partition),
            (Some(at), false) => {
                self.watched.swap_remove(at);
            }
            _ => {}
        }
    }

    /// A replica elsewhere knows of it from now on.
    pub(super) fn asks(&mut self, partition: PartitionId) {
        if !self.known.contains(&partition) {
            self.known.push(partition);
        }
    }
}
