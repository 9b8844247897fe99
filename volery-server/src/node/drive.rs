//! The drive loop: one thread that owns the machine. Takes everything that happened, hands it in
//! with the time, and carries out what comes back. It decides nothing.
//!
//! ```text
//! queue (port, log, snapshots) → Server::handle … → Server::flush → log, sockets, snapshot sink
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use volery_proto::ids::{PartitionId, ServerId};

use super::clock::Clock;
use super::log_read::{self, Found};
use super::measure;
use super::peers;
use super::queue::Queue;
use super::status::Asked;
use super::transfer::{Job, TransferEvent};
use crate::admin::words::Reset;
use crate::client_port::{ClientHandle, PortCounts, PortEvent};
use crate::core::front_end::ClientEffect;
use crate::core::server::{Effect, Input, PeerMessage, Server, ServerError};
use crate::core::types::{ConnId, Now};
use crate::peer_port::{Credit, PeerHandle};
use crate::storage::snapshot::{SinkFull, SnapshotEvent, SnapshotSink};
use crate::storage::wal::{AppendError, WalError, WalHandle};
use crate::telemetry::Metrics;

/// What the drive thread is told of.
#[derive(Debug)]
pub(super) enum Event {
    Port(PortEvent),
    Durable {
        token: u64,
        lsn: u64,
    },
    Snapshot(SnapshotEvent),
    /// Another server says something.
    Peer {
        peer: ServerId,
        messages: Vec<Bytes>,
        /// Given back once they are handed in.
        credit: Arc<Credit>,
    },
    /// The control link to another server came or went.
    PeerLink {
        peer: ServerId,
        up: bool,
    },
    /// Of another server's snapshots.
    Transfer(TransferEvent),
    /// What the log holds for another server.
    LogRead(log_read::Found),
    /// Somebody wants to know how things are.
    Ask(Box<Asked>),
    Reset(Reset),
    /// Tell when clients can be served.
    WhenServing(oneshot::Sender<()>),
    /// Finish what is under way and end.
    Stop,
}

/// Why the drive loop ended by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    /// An invariant is broken.
    #[error("an invariant is broken; nothing more is acknowledged: {0}")]
    Broken(#[from] ServerError),
    /// The log takes nothing more.
    #[error("the log takes nothing more: {0}")]
    Log(#[from] AppendError),
    /// The loss of memory is mended, and that cannot be noted.
    #[error("cannot note that this server remembers again: {0}")]
    Memory(#[from] WalError),
    /// Another server's snapshots are on this disk: the process is to start anew.
    #[error("this server was too far behind and starts anew from another one's snapshots")]
    Restart,
}

/// How long a stop waits for what is under way.
const STOP_PATIENCE_US: u64 = 2_000_000;

pub(super) struct Drive {
    pub(super) server: Server,
    pub(super) clock: Clock,
    pub(super) queue: Arc<Queue<Event>>,
    pub(super) log: WalHandle,
    pub(super) sink: SnapshotSink,
    pub(super) clients: HashMap<ConnId, Arc<ClientHandle>>,
    /// A chunk that the sink had no room for.
    pub(super) stalled: Option<(PartitionId, Bytes)>,
    /// Behind it the snapshot is complete.
    pub(super) finish_stalled: bool,
    pub(super) waiting_for_service: Vec<oneshot::Sender<()>>,
    pub(super) stop_at_us: Option<u64>,
    /// When the last snapshot began.
    pub(super) snapshot_began_us: u64,
    pub(super) metrics: Arc<Metrics>,
    pub(super) counts: Arc<PortCounts>,
    /// The other servers, if there are any.
    pub(super) peers: Option<Peering>,
    /// Whether the machine began without its memory, and what must be durable to forget that.
    pub(super) memory: Memory,
    /// Of the last append.
    pub(super) last_token: u64,
}

/// What the drive loop needs to talk to other servers.
pub(super) struct Peering {
    pub(super) port: PeerHandle,
    /// To the thread that sends snapshots.
    pub(super) jobs: Sender<Job>,
    /// To the thread that reads the log.
    pub(super) log: Sender<log_read::Job>,
}

/// What is known of the acceptors' memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// All there.
    Whole,
    /// Gone; the rings learn.
    Lost,
    /// Learned; it counts once this append is durable.
    Learned(u64),
}

impl Drive {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> Result<(), DriveError> {
        let mut events = Vec::new();
        loop {
            self.queue.take(&mut events, self.timeout());
            let now = self.clock.now();
            for event in events.drain(..) {
                self.event(event, now)?;
            }
            let effects = self.server.flush(now)?;
            self.carry_out(effects)?;
            self.after_batch();
            if self.server.snapshot_due() && self.stalled.is_none() {
                let effects = self.server.snapshot_step()?;
                self.carry_out(effects)?;
            }
            if let Some(at) = self.stop_at_us {
                if self.server.is_idle() {
                    break;
                }
                if now.monotonic_us >= at {
                    let outstanding = self.server.front_end().counters().outstanding;
                    tracing::warn!(outstanding, "stopping with requests under way");
                    break;
                }
            }
        }
        for client in self.clients.values() {
            client.close();
        }
        self.log.close();
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if self.server.snapshot_due() && self.stalled.is_none() {
            return Some(Duration::ZERO);
        }
        if self.stop_at_us.is_some() {
            return Some(Duration::from_millis(10));
        }
        let deadline = self.server.next_deadline_us()?;
        Some(Duration::from_micros(deadline.saturating_sub(self.clock.now().monotonic_us)))
    }

    fn event(&mut self, event: Event, now: Now) -> Result<(), DriveError> {
        let input = match event {
            Event::Port(PortEvent::Opened { conn, peer, handle }) => {
                self.clients.insert(conn, handle);
                Input::Opened { conn, peer }
            }
            Event::Port(PortEvent::Handshake { conn, handshake }) => {
                Input::Handshake { conn, handshake }
            }
            Event::Port(PortEvent::Requests { conn, requests }) => {
                Input::Requests { conn, requests }
            }
            Event::Port(PortEvent::Written { conn, bytes }) => Input::Written { conn, bytes },
            Event::Port(PortEvent::Closed { conn, .. }) => {
                self.clients.remove(&conn);
                Input::Closed { conn }
            }
            Event::Durable { token, lsn } => {
                self.remember(token)?;
                Input::Durable { token, lsn }
            }
            Event::Peer { peer, messages, credit } => {
                self.peer(peer, messages, now)?;
                drop(credit);
                return Ok(());
            }
            Event::PeerLink { peer, up: true } => Input::PeerUp { peer },
            Event::PeerLink { peer, up: false } => Input::PeerDown { peer },
            Event::LogRead(Found { ring, to, values }) => Input::LogRead { ring, to, values },
            Event::Transfer(TransferEvent::Arriving(from)) => Input::SnapshotsArriving { from },
            Event::Transfer(TransferEvent::Sending) => Input::SnapshotsSending,
            Event::Transfer(TransferEvent::Sent) => Input::SnapshotSent,
            Event::Transfer(TransferEvent::Received(partition)) => {
                Input::SnapshotReceived { partition }
            }
            Event::Transfer(TransferEvent::Refused(from)) => Input::SnapshotsRefused { from },
            Event::Snapshot(event) => match self.snapshot(event, now)? {
                Some(input) => input,
                None => return Ok(()),
            },
            Event::Ask(asked) => {
                self.asked(*asked, now);
                return Ok(());
            }
            Event::Reset(Reset::Server) => {
                self.server.front_end_mut().reset_counters();
                return Ok(());
            }
            Event::Reset(Reset::Connections) => {
                self.server.front_end_mut().reset_connections();
                return Ok(());
            }
            Event::WhenServing(tell) => {
                self.waiting_for_service.push(tell);
                return Ok(());
            }
            Event::Stop => {
                self.stop_at_us.get_or_insert(now.monotonic_us + STOP_PATIENCE_US);
                return Ok(());
            }
        };
        Ok(self.server.handle(input, now)?)
    }

    /// How far the snapshot sink is.
    fn snapshot(&mut self, event: SnapshotEvent, now: Now) -> Result<Option<Input>, DriveError> {
        Ok(Some(match event {
            SnapshotEvent::Room => {
                self.unstall()?;
                return Ok(None);
            }
            SnapshotEvent::Finished { info, .. } => {
                let us = now.monotonic_us.saturating_sub(self.snapshot_began_us);
                self.metrics.summaries.snapshottime.record_time(Duration::from_micros(us));
                tracing::info!(
                    partition = info.partition,
                    bytes = info.bytes,
                    took_ms = us / 1000,
                    "snapshot written"
                );
                Input::SnapshotDurable { partition: PartitionId(info.partition) }
            }
            SnapshotEvent::Failed { partition, error, .. } => {
                tracing::error!(partition, %error, "a snapshot failed; it is tried again later");
                self.metrics.counters.snapshot_error_count.increment(1);
                self.stalled = None;
                Input::SnapshotFailed { partition: PartitionId(partition) }
            }
        }))
    }

    /// Another server says something.
    fn peer(&mut self, from: ServerId, messages: Vec<Bytes>, now: Now) -> Result<(), ServerError> {
        for message in messages {
            match PeerMessage::decode(message) {
                Ok(message) => self.server.handle(Input::Peer { from, message }, now)?,
                Err(error) => tracing::warn!(peer = %from, %error, "a message is dropped"),
            }
        }
        Ok(())
    }

    /// An append is durable: perhaps the one behind which this server has a memory again.
    fn remember(&mut self, token: u64) -> Result<(), DriveError> {
        if matches!(self.memory, Memory::Learned(last) if last <= token) {
            self.log.memory_restored()?;
            self.memory = Memory::Whole;
            tracing::info!("this server has a memory again, and votes");
        }
        Ok(())
    }

    fn asked(&mut self, asked: Asked, now: Now) {
        if let Some(conn) = asked.word {
            self.server.front_end_mut().word(conn);
        }
        if asked.needs.metrics {
            let log = self.log.stats();
            measure::counters(&self.metrics, &self.server, log, &self.counts);
            if let Some(peers) = &self.peers {
                measure::peers(&self.metrics, peers.port.counts());
            }
        }
        let connected = self.peers.as_ref().map(|peers| peers.port.connected());
        asked.answer(&self.server, &connected.unwrap_or_default(), now);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), DriveError> {
        let mut expired = 0;
        for effect in effects {
            match effect {
                Effect::Append { records, token } => {
                    self.last_token = token;
                    self.log.append(records, token)?;
                }
                Effect::Client(ClientEffect::Send { conn, bytes, replies }) => {
                    if let Some(client) = self.clients.get(&conn) {
                        client.send(bytes, replies as usize);
                    }
                }
                Effect::Client(ClientEffect::Established { conn, session }) => {
                    tracing::debug!(conn = conn.0, %session, "session established");
                }
                Effect::Client(ClientEffect::Close { conn, session, reason }) => {
                    let reason = reason.as_str();
                    tracing::debug!(conn = conn.0, %session, reason, "closing a connection");
                    if let Some(client) = self.clients.get(&conn) {
                        client.close();
                    }
                }
                Effect::SnapshotBegin { partition, zxid } => {
                    self.snapshot_began_us = self.clock.now().monotonic_us;
                    self.sink.begin(partition.0, zxid.0);
                }
                Effect::SnapshotChunk { partition, chunk } => self.chunk(partition, chunk),
                Effect::SnapshotFinish { partition } => match self.stalled {
                    // The stalled chunk goes first; see `unstall`.
                    Some(_) => self.finish_stalled = true,
                    None => self.sink.finish(partition.0),
                },
                Effect::PurgeLog { below_lsn } => self.log.purge_below(below_lsn),
                Effect::Send { to, message } => {
                    if let Some(peers) = &self.peers {
                        let lane = peers::lane(message.lane());
                        // What is lost is said again.
                        peers.port.send(to, lane, peers::MESSAGE, message.encode());
                    }
                }
                Effect::ReadLog { ring, from, to, below_lsn } => {
                    if let Some(peers) = &self.peers {
                        // The thread ends with the process.
                        let _ = peers.log.send(log_read::Job { ring, from, to, below_lsn });
                    }
                }
                Effect::SendSnapshots { to, partitions } => {
                    if let Some(peers) = &self.peers {
                        // Without the thread there is nothing to offer; it ends with the process.
                        let _ = peers.jobs.send(Job::Offer { to, partitions });
                    }
                }
                Effect::Restart => return Err(DriveError::Restart),
                Effect::Expiring { session } => {
                    tracing::debug!(%session, "session expired: it was silent for its time-out");
                    expired += 1;
                }
            }
        }
        if expired > 0 {
            // Expiry goes by ticks: this is a line a tick at most, however many sessions end.
            self.metrics.counters.stale_sessions_expired.increment(expired);
            tracing::info!(sessions = expired, "sessions expired");
        }
        Ok(())
    }

    fn chunk(&mut self, partition: PartitionId, chunk: Bytes) {
        if let Err(SinkFull(chunk)) = self.sink.chunk(partition.0, chunk) {
            self.stalled = Some((partition, chunk));
        }
    }

    fn unstall(&mut self) -> Result<(), DriveError> {
        if let Some((partition, chunk)) = self.stalled.take() {
            self.chunk(partition, chunk);
            if self.stalled.is_none() && std::mem::take(&mut self.finish_stalled) {
                self.sink.finish(partition.0);
            }
        }
        Ok(())
    }

    fn after_batch(&mut self) {
        if self.memory == Memory::Lost && !self.server.is_memory_lost() {
            self.memory = Memory::Learned(self.last_token);
        }
        let summaries = &self.metrics.summaries;
        for (is_update, us) in self.server.front_end_mut().take_latencies() {
            let summary = if is_update { &summaries.updatelatency } else { &summaries.readlatency };
            summary.record_time(Duration::from_micros(us));
        }
        if self.server.serving() {
            for tell in self.waiting_for_service.drain(..) {
                // Whoever asked may have gone.
                let _ = tell.send(());
            }
        }
    }
}
