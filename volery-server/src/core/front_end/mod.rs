//! The front end: owns this server's client connections and sessions, numbers their commands,
//! and decides what may be sent when. It executes nothing and looks at no znode.
//! Called by the server machine; replicas are reached through [`Replicas`]. DESIGN 2, 5, 7.
//!
//! ```text
//! requests → order (may it begin?) → serve (propose, or read at a replica) → results
//!          → release (may the client see it?) → bytes
//! ```

mod attachment;
mod barrier;
mod connection;
mod elsewhere;
mod handshake;
mod level;
mod numbering;
mod order;
mod parts;
mod release;
mod replicas;
mod serve;
mod shared;
mod stale;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by its panic.
mod tests;
mod totals;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use volery_proto::command::{Command, CommandFlags, Operation, Origin};
use volery_proto::ids::{RingId, ServerId, SessionId, Zxid};
use volery_proto::zk::Id;

use crate::core::session::expiry::Expiry;
use crate::core::types::{ConnId, Now};
use crate::core::watch;
use connection::{Connection, EventKey, Phase};
use level::Level;
use numbering::{Numbering, Waiter};
use shared::Shared;
use stale::Stale;

pub use attachment::{Ask, AskRead, Attachments, Told};
pub use connection::ConnectionStats;
pub use handshake::Handshake;
pub use order::{Received, decode_request};
pub use replicas::Replicas;
pub use totals::{CloseReason, ResponseSizes, Totals};

/// What of the configuration concerns the front end.
#[derive(Clone, Debug)]
pub struct FrontEndConfig {
    /// This server.
    pub server: ServerId,
    /// Least session time-out that is granted.
    pub min_timeout_ms: u32,
    /// Greatest session time-out that is granted.
    pub max_timeout_ms: u32,
    /// Width of an expiry bucket.
    pub tick_ms: u64,
    /// Whether clients may authenticate by digest.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`.
    pub super_digest: Option<String>,
    /// What goes into every command.
    pub flags: CommandFlags,
    /// Every read waits for a barrier first (`reads=linearizable`).
    pub linearizable_reads: bool,
    /// A partition that is waited for and does not move for so long, while others do, is stale.
    pub stale_us: u64,
    /// Bytes that may wait for one client's socket; above it, its requests wait.
    pub max_unsent: usize,
    /// Events that may wait for one client; above it, it is closed.
    pub max_events: usize,
}

/// What the front end wants done for a client.
#[derive(Debug)]
pub enum ClientEffect {
    /// Write these bytes; they hold `replies` answers to requests.
    Send {
        /// To whom.
        conn: ConnId,
        /// Whole frames.
        bytes: BytesMut,
        /// How many requests they answer.
        replies: u32,
    },
    /// Close once everything sent before is written.
    Close {
        /// Whom.
        conn: ConnId,
        /// Its session, if it has one (to be logged).
        session: SessionId,
        /// Why (to be logged).
        reason: CloseReason,
    },
    /// A session was opened or taken up again by this client (to be logged).
    Established {
        /// Whose.
        conn: ConnId,
        /// Which.
        session: SessionId,
    },
}

/// The front end of one server.
#[derive(Debug)]
pub struct FrontEnd {
    config: FrontEndConfig,
    /// Zxid of this incarnation's hello, once it is executed.
    incarnation: Option<Zxid>,
    /// The number of this start, in its hello.
    start: u64,
    /// Indexed by ring.
    numberings: Vec<Numbering>,
    connections: BTreeMap<ConnId, Connection>,
    /// Which connection serves a session here.
    sessions: BTreeMap<SessionId, ConnId>,
    expiry: Expiry,
    /// Where sessions are counted by one server for all.
    shared: Option<Shared>,
    /// Clients are not served for now.
    cut_off: bool,
    /// Until all replicas have come as far as the hello no clients are taken.
    level: Option<Level>,
    map_version: u32,
    no_identities: Arc<[Id]>,
    /// Commands for the rings, in order.
    proposals: Vec<(RingId, Command)>,
    effects: Vec<ClientEffect>,
    /// Connections to close, behind everything that is sent.
    closes: Vec<(ConnId, CloseReason)>,
    /// Connections to look at once the batch is through.
    dirty: Vec<ConnId>,
    /// Connections whose read or release waits for a replica, or for the clock.
    blocked: Vec<ConnId>,
    /// Connections whose next read waits for the barrier of this turn.
    barriers: Vec<ConnId>,
    stale: Stale,
    /// When a reply that the clock holds may go, monotonic microseconds.
    clock_deadline_us: Option<u64>,
    session_counter: u16,
    counters: Counters,
    totals: Totals,
    /// Latencies since they were last taken: (is it an update, microseconds).
    latencies: Vec<(bool, u64)>,
}

/// Counters over all connections, for `srvr` and `mntr`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Requests received.
    pub received: u64,
    /// Replies and events sent.
    pub sent: u64,
    /// Latencies of requests: number, sum, least and most, microseconds.
    pub latency: ConnectionStats,
    /// Requests that wait in this server.
    pub outstanding: u64,
    /// Bytes of replies.
    pub responses: ResponseSizes,
}

impl FrontEnd {
    /// A front end for a service of `rings` rings, ring 0 included.
    #[must_use]
    pub fn new(config: FrontEndConfig, rings: usize, map_version: u32) -> FrontEnd {
        FrontEnd {
            expiry: Expiry::new(config.tick_ms),
            shared: None,
            stale: Stale::new(config.stale_us),
            cut_off: false,
            level: None,
            config,
            incarnation: None,
            start: 0,
            numberings: (0..rings).map(|_| Numbering::default()).collect(),
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            map_version,
            no_identities: Arc::new([]),
            proposals: Vec::new(),
            effects: Vec::new(),
            closes: Vec::new(),
            dirty: Vec::new(),
            blocked: Vec::new(),
            barriers: Vec::new(),
            clock_deadline_us: None,
            session_counter: 0,
            counters: Counters::default(),
            totals: Totals::default(),
            latencies: Vec::new(),
        }
    }

    /// Proposes the hello that makes this incarnation of the server known to every partition.
    /// `last` is the number of the last start that is known of this server: each start has a
    /// higher one, and a hello takes effect once, in this order.
    pub fn begin(&mut self, last: u64, now: Now) {
        self.start = now.unix_us.max(last.saturating_add(1));
        let command = Command {
            origin: Origin {
                server: self.config.server,
                incarnation: Zxid::ZERO,
                sequence: self.start,
            },
            session: SessionId(0),
            epoch: Zxid::ZERO,
            identities: self.no_identities.clone(),
            after: Zxid::ZERO,
            map_version: self.map_version,
            flags: self.config.flags,
            operation: Operation::Hello,
        };
        self.proposals.push((RingId::GLOBAL, command));
    }

    /// Whether clients are served: the hello is executed.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.incarnation.is_some()
    }

    /// Whether clients are taken: they are served, by replicas that have caught up, and somebody
    /// counts that they are heard.
    #[must_use]
    pub fn takes_clients(&self) -> bool {
        self.serving() && self.level.is_none() && !self.cut_off
    }

    /// A snapshot arrives for replicas that are behind: until they begin with it, nothing else
    /// moves.
    pub fn snapshots_arriving(&mut self, now: Now) {
        if let Some(level) = &mut self.level {
            level.moved(now);
        }
    }

    /// A hello of this server was executed. That of an earlier start, ordered late and with a
    /// clock that was ahead, makes ours a duplicate: it is said again. Returns whether a numbering
    /// begins with it.
    pub fn hello_executed(&mut self, origin: Origin, zxid: Zxid, now: Now) -> bool {
        if origin.sequence == self.start {
            let begins = self.incarnation.is_none();
            self.incarnation.get_or_insert(zxid);
            if begins {
                self.level = Some(Level::new(zxid, now));
            }
            return begins;
        }
        if origin.sequence > self.start && self.incarnation.is_none() {
            self.begin(origin.sequence, now);
        }
        false
    }

    /// Whether this incarnation numbered it.
    #[must_use]
    pub fn is_own(&self, origin: Origin) -> bool {
        origin.server == self.config.server && Some(origin.incarnation) == self.incarnation
    }

    /// This incarnation, if it is known.
    #[must_use]
    pub fn incarnation(&self) -> Option<Zxid> {
        self.incarnation
    }

    /// A client connected.
    pub fn opened(&mut self, conn: ConnId, peer: SocketAddr, now: Now) {
        let connection = Connection::new(conn, peer, now.unix_ms());
        self.connections.insert(conn, connection);
    }

    /// A client's connection is gone. What it asked for and was not proposed is forgotten, but
    /// for the end of its session.
    pub fn closed(&mut self, conn: ConnId, replicas: &mut Replicas<'_>) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        self.counters.outstanding -= connection.queue.len() as u64;
        for partition in connection.watched.iter().chain(&connection.known) {
            replicas.drop_connection(*partition, conn);
        }
        if self.sessions.get(&connection.session) == Some(&conn) {
            self.sessions.remove(&connection.session);
            let asked_to_close = connection.queue.iter().skip(connection.begun).any(|item| {
                matches!(
                    &item.state,
                    connection::State::Queued(connection::Work::Ordered(Operation::CloseSession))
                )
            });
            if asked_to_close {
                self.close_session(connection.session, connection.epoch, connection.frontier);
            }
        }
    }

    /// Some of the bytes handed out are on their way to the client.
    pub fn written(&mut self, conn: ConnId, bytes: usize) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            let was = connection.unsent;
            connection.unsent = was.saturating_sub(bytes);
            if was > self.config.max_unsent && connection.unsent <= self.config.max_unsent {
                self.mark(conn);
            }
        }
    }

    /// Numbers a command and hands it to its ring.
    fn propose(&mut self, ring: RingId, waiter: Waiter, mut command: Command) {
        let incarnation = self.incarnation.unwrap_or_default();
        let sequence = self.numberings[usize::from(ring.0)].next(waiter);
        command.origin = Origin { server: self.config.server, incarnation, sequence };
        // Every partition delivers the hello first: ring 0 alone says which incarnations count.
        command.after = command.after.max(incarnation);
        self.proposals.push((ring, command));
    }

    fn command(&self, session: SessionId, epoch: Zxid, after: Zxid, op: Operation) -> Command {
        Command {
            origin: Origin::default(),
            session,
            epoch,
            identities: self.no_identities.clone(),
            after,
            map_version: self.map_version,
            flags: self.config.flags,
            operation: op,
        }
    }

    /// A write that no client asked for: the reaper's deletes.
    pub fn propose_own(&mut self, ring: RingId, operation: Operation) {
        let command = self.command(SessionId(0), Zxid::ZERO, Zxid::ZERO, operation);
        self.propose(ring, Waiter::Nobody, command);
    }

    fn close_session(&mut self, session: SessionId, epoch: Zxid, after: Zxid) {
        let command = self.command(session, epoch, after.max(epoch), Operation::CloseSession);
        self.propose(RingId::GLOBAL, Waiter::Nobody, command);
    }

    /// Proposes the closing of the sessions that were not heard for their time-out. Returns them.
    pub fn expire(&mut self, now: Now) -> Vec<SessionId> {
        if !self.serving() || !self.counts_sessions(now) {
            return Vec::new();
        }
        let expired = self.expiry.expired(now.monotonic_ms());
        for (session, epoch) in &expired {
            self.close_session(*session, *epoch, Zxid::ZERO);
        }
        expired.into_iter().map(|(session, _)| session).collect()
    }

    /// A session was opened or re-opened somewhere: its time begins.
    pub fn session_opened(&mut self, session: SessionId, epoch: Zxid, timeout_ms: u32, now: Now) {
        self.expiry.track(session, epoch, timeout_ms, now.monotonic_ms());
        // It has moved, perhaps to another server: an older connection serves it no more.
        let old = self.sessions.get(&session).copied();
        let old = old.filter(|conn| self.connections.get(conn).is_some_and(|c| c.epoch < epoch));
        if let Some(conn) = old.filter(|_| self.shared.is_some()) {
            self.close(conn, CloseReason::SessionMoved);
        }
    }

    /// A session ended: its connection, unless it asked for it itself, is closed.
    pub fn session_ended(&mut self, session: SessionId) {
        self.expiry.forget(session);
        let Some(conn) = self.sessions.get(&session).copied() else { return };
        let Some(connection) = self.connections.get(&conn) else { return };
        let own = connection
            .queue
            .iter()
            .any(|item| item.opcode == volery_proto::zk::OpCode::CloseSession as i32);
        if !own {
            self.close(conn, CloseReason::SessionEnded);
        }
    }

    /// A watch fired for a connection.
    pub fn event(&mut self, zxid: Zxid, event: watch::Event) {
        let conn = event.conn;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if connection.events.len() >= self.config.max_events {
            self.close(conn, CloseReason::TooManyEvents);
            return;
        }
        let key = EventKey { zxid, rank: event.rank, path: event.path };
        connection.events.insert(key, event.kind);
        self.mark(conn);
    }

    /// Puts a connection on the list of those to look at after the batch.
    fn mark(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(conn);
        }
    }

    /// Commands that wait for their rings.
    pub fn take_proposals(&mut self) -> Vec<(RingId, Command)> {
        std::mem::take(&mut self.proposals)
    }

    /// Looks at every connection that something happened to, and hands out what may be sent.
    pub fn settle(&mut self, replicas: &mut Replicas<'_>, now: Now) -> Vec<ClientEffect> {
        let blocked = std::mem::take(&mut self.blocked);
        for conn in blocked {
            self.mark(conn);
        }
        self.clock_deadline_us = None;
        self.stale.look(replicas, now);
        let positions = replicas.map().partitions().map(|id| replicas.position(id));
        self.level.take_if(|level| !level.awaits(positions, now));
        for conn in std::mem::take(&mut self.dirty) {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.dirty = false;
                self.pump(conn, replicas, now);
                self.release(conn, replicas, now);
                self.flush(conn);
            }
        }
        self.propose_barrier();
        for (conn, reason) in std::mem::take(&mut self.closes) {
            let session = self.connections.get(&conn).map(|c| c.session).unwrap_or_default();
            self.effects.push(ClientEffect::Close { conn, session, reason });
        }
        std::mem::take(&mut self.effects)
    }

    /// Serves a connection no more, and closes it behind everything that was sent.
    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            if std::mem::replace(&mut connection.phase, Phase::Closing) == Phase::Closing {
                return;
            }
            self.totals.drops += u64::from(reason != CloseReason::Asked);
            self.closes.push((conn, reason));
        }
    }

    fn close_all(&mut self, reason: CloseReason) {
        let open = self.connections.values().filter(|c| c.phase != Phase::New).map(|c| c.id);
        for conn in open.collect::<Vec<_>>() {
            self.close(conn, reason);
        }
    }

    fn flush(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if !connection.out.is_empty() {
            let bytes = connection.out.split();
            connection.unsent += bytes.len();
            let replies = std::mem::take(&mut connection.replies);
            self.effects.push(ClientEffect::Send { conn, bytes, replies });
        }
    }

    /// When something is to be done without an input, monotonic microseconds.
    #[must_use]
    pub fn next_deadline_us(&self) -> Option<u64> {
        let expiry = self.expiry.next_deadline_ms().filter(|_| self.leads_sessions());
        let expiry = expiry.map(|ms| ms.saturating_mul(1000));
        let level = self.level.as_ref().map(Level::deadline_us);
        let others = [self.clock_deadline_us, self.stale.next_deadline_us(), level];
        expiry.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Latencies since the last call: (is it an update, microseconds).
    pub fn take_latencies(&mut self) -> Vec<(bool, u64)> {
        std::mem::take(&mut self.latencies)
    }

    /// Counters over all connections.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What was counted since the start.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// A four-letter word came on a connection: a packet like any other.
    pub fn word(&mut self, conn: ConnId) {
        self.packet(conn);
    }

    /// Counts a packet that is not a request.
    fn packet(&mut self, conn: ConnId) {
        self.counters.received += 1;
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.stats.received += 1;
        }
    }

    /// Open connections.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Every connection, for the status words.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionView> + '_ {
        self.connections.values().map(|c| ConnectionView {
            peer: c.peer,
            session: c.session,
            timeout_ms: c.timeout_ms,
            queued: c.queue.len(),
            established_unix_ms: c.established_unix_ms,
            stats: c.stats,
            conn: c.id,
        })
    }

    /// Sessions by expiry bucket (monotonic milliseconds), for `dump`.
    #[must_use]
    pub fn expiry_buckets(&self) -> BTreeMap<u64, Vec<SessionId>> {
        self.expiry.buckets()
    }

    /// `srst`.
    pub fn reset_counters(&mut self) {
        let outstanding = self.counters.outstanding;
        self.counters = Counters { outstanding, ..Counters::default() };
    }

    /// `crst`.
    pub fn reset_connections(&mut self) {
        for connection in self.connections.values_mut() {
            connection.stats = ConnectionStats::default();
        }
    }
}

/// One connection as the status words show it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its number here.
    pub conn: ConnId,
    /// The client's address.
    pub peer: SocketAddr,
    /// Its session, 0 before the handshake.
    pub session: SessionId,
    /// Negotiated.
    pub timeout_ms: u32,
    /// Requests that wait.
    pub queued: usize,
    /// When it was accepted, Unix milliseconds.
    pub established_unix_ms: i64,
    /// Its counters.
    pub stats: ConnectionStats,
}

/// Sixteen bytes of zeros: the password of no session.
fn no_password() -> Bytes {
    Bytes::from_static(&[0; 16])
}
