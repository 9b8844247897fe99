//! What goes into the machine and what comes out: settings, inputs, effects, errors.
//! Holds no state and decides nothing.
//! Used by the server machine, and by whoever drives it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, SessionId, Zxid};

use super::message::PeerMessage;
use crate::core::executor::ExecutorError;
use crate::core::front_end::{ClientEffect, FrontEndConfig, Handshake, Received};
use crate::core::merge::skip::SkipPolicy;
use crate::core::oracle::PartitionMap;
use crate::core::ring::{Proposed, RingError};
use crate::core::types::ConnId;

/// What of the configuration concerns the machine.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// This server.
    pub server: ServerId,
    /// The partition map.
    pub map: Arc<PartitionMap>,
    /// Clients and sessions.
    pub front_end: FrontEndConfig,
    /// How idle rings follow busy ones.
    pub skip: SkipPolicy,
    /// Instances in flight in each ring.
    pub window: usize,
    /// Spreads hash tables; no replicated state depends on it.
    pub hash_seed: u64,
    /// Commands after which snapshots are due; more where there are very many znodes.
    pub snapshot_every: u64,
    /// Snapshots of each partition that the storage keeps: the log reaches back to the oldest.
    pub snapshots_kept: usize,
    /// When empty containers and old TTL znodes go.
    pub reaper: ReaperConfig,
    /// The other servers.
    pub cluster: ClusterConfig,
}

/// What concerns the servers together. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The servers that vote where they hold something, ascending; the same list on every server.
    pub members: Vec<ServerId>,
    /// Servers that learn and do not vote.
    pub observers: Vec<ServerId>,
    /// The servers that hold a partition, ascending; one that is not here is on all servers.
    pub placement: BTreeMap<PartitionId, Vec<ServerId>>,
    /// The acceptors of ring 0, which everybody learns; `None`: all members.
    pub global: Option<Vec<ServerId>>,
    /// Servers say so often that they live.
    pub heartbeat_us: u64,
    /// A server that is silent for so long is suspected.
    pub suspect_us: u64,
    /// A coordinator that is silent for so long has failed, whoever else is heard.
    pub election_us: u64,
    /// What has led to nothing after so long is sent again.
    pub resend_us: u64,
    /// A replica that is held up by another ring asks for a skip after so long; the coordinator
    /// that proposed the command has asked at once.
    pub demand_us: u64,
    /// A clock counts at most by so much above the median of all.
    pub clock_lead_us: u64,
    /// Slots that somebody demands are at most so far above every clock and position known.
    pub demand_lead_us: u64,
    /// Skips in flight in each ring.
    pub max_skips: usize,
    /// Decided values of each ring that are kept for servers that lag, in number and in bytes.
    pub keep: (usize, usize),
    /// Spreads time-outs, and tells this start of the server from others.
    pub seed: u64,
}

impl ClusterConfig {
    /// A server that is its whole service.
    #[must_use]
    pub fn alone(server: ServerId) -> ClusterConfig {
        ClusterConfig::of(vec![server])
    }

    /// These servers, with the usual settings.
    #[must_use]
    pub fn of(members: Vec<ServerId>) -> ClusterConfig {
        ClusterConfig {
            members,
            observers: Vec::new(),
            placement: BTreeMap::new(),
            global: None,
            heartbeat_us: 50_000,
            suspect_us: 250_000,
            election_us: 400_000,
            resend_us: 200_000,
            demand_us: 5_000,
            clock_lead_us: 100_000,
            demand_lead_us: 10_000_000,
            max_skips: 8,
            keep: (8192, 64 << 20),
            seed: 0,
        }
    }

    /// Every server.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        let observers = self.observers.iter().filter(|id| !self.members.contains(id));
        self.members.iter().chain(observers).copied()
    }

    /// Whether a server has a replica of a partition.
    #[must_use]
    pub fn holds(&self, server: ServerId, partition: PartitionId) -> bool {
        self.placement.get(&partition).is_none_or(|servers| servers.contains(&server))
    }

    /// The servers that have a replica of a partition.
    pub fn holders(&self, partition: PartitionId) -> impl Iterator<Item = ServerId> + '_ {
        self.servers().filter(move |server| self.holds(*server, partition))
    }

    /// The acceptors of a ring, and those that only learn it.
    #[must_use]
    pub fn ring(&self, ring: RingId) -> (Vec<ServerId>, Vec<ServerId>) {
        let votes = |server: &ServerId| match (&self.global, ring) {
            (Some(acceptors), RingId::GLOBAL) => acceptors.contains(server),
            _ => self.members.contains(server),
        };
        let learns =
            |server: &ServerId| ring == RingId::GLOBAL || self.holds(*server, PartitionId(ring.0));
        self.servers().filter(learns).partition(votes)
    }
}

/// What a server is among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// There are no others.
    Alone,
    /// It votes.
    Member,
    /// It learns.
    Observer,
}

/// The reaper of containers and TTL znodes. ZOOKEEPER.md 2.8.
#[derive(Clone, Copy, Debug)]
pub struct ReaperConfig {
    /// Between two looks, in milliseconds; 0 is off.
    pub interval_ms: u64,
    /// Deletes of one look.
    pub max: usize,
    /// A container that never had a child goes after this, in milliseconds; 0: never.
    pub never_used_ms: i64,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A client connected.
    Opened {
        /// Its number from now on.
        conn: ConnId,
        /// Its address.
        peer: SocketAddr,
    },
    /// Its first frame.
    Handshake {
        /// Whose.
        conn: ConnId,
        /// What.
        handshake: Handshake,
    },
    /// Frames behind it.
    Requests {
        /// Whose.
        conn: ConnId,
        /// In order.
        requests: Vec<Received>,
    },
    /// Bytes handed out were written to its socket.
    Written {
        /// Whose.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// It is gone.
    Closed {
        /// Who.
        conn: ConnId,
    },
    /// Every append up to this token is on disk.
    Durable {
        /// Of the last of them.
        token: u64,
        /// The log's end behind it.
        lsn: u64,
    },
    /// A partition's snapshot is durable.
    SnapshotDurable {
        /// Whose.
        partition: PartitionId,
    },
    /// A partition's snapshot was given up (the reason is logged where it happened).
    SnapshotFailed {
        /// Whose.
        partition: PartitionId,
    },
    /// Another server says something.
    Peer {
        /// Who proved to be at the other end.
        from: ServerId,
        /// What.
        message: PeerMessage,
    },
    /// A link to another server is up: a hint.
    PeerUp {
        /// Which.
        peer: ServerId,
    },
    /// A link to another server broke: a hint.
    PeerDown {
        /// Which.
        peer: ServerId,
    },
    /// Parts of another server's snapshots arrive: there is no need to ask anybody.
    SnapshotsArriving {
        /// Whose.
        from: ServerId,
    },
    /// Another server's snapshot of a partition is here, complete, durable and in its place.
    SnapshotReceived {
        /// Whose.
        partition: PartitionId,
    },
    /// Another server is getting snapshots of this one.
    SnapshotsSending,
    /// One of them is there.
    SnapshotSent,
    /// What the log holds for another server, after `ReadLog`.
    LogRead {
        /// Of which ring.
        ring: RingId,
        /// For whom.
        to: ServerId,
        /// From the instance on that was asked for, in order; nothing if that is not to be had.
        values: Vec<Proposed>,
    },
    /// What another server sent is damaged, or cannot be kept (the reason is logged where it
    /// happened).
    SnapshotsRefused {
        /// Whose.
        from: ServerId,
    },
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Append to the log in one batch; then `Durable` with this token or a later one.
    Append {
        /// Encoded log records.
        records: Vec<Bytes>,
        /// Ascending.
        token: u64,
    },
    /// For a client.
    Client(ClientEffect),
    /// A partition's snapshot begins.
    SnapshotBegin {
        /// Whose.
        partition: PartitionId,
        /// The position that it shows.
        zxid: Zxid,
    },
    /// Its next chunk.
    SnapshotChunk {
        /// Whose.
        partition: PartitionId,
        /// Opaque.
        chunk: Bytes,
    },
    /// It is complete.
    SnapshotFinish {
        /// Whose.
        partition: PartitionId,
    },
    /// Everything below is in durable snapshots.
    PurgeLog {
        /// A position in the log.
        below_lsn: u64,
    },
    /// For another server. It may be lost; whatever matters is said again.
    Send {
        /// Never this server.
        to: ServerId,
        /// What.
        message: PeerMessage,
    },
    /// Read decided values of a ring from the log, as many as fit a message; then `LogRead`.
    ReadLog {
        /// Which.
        ring: RingId,
        /// The first instance that is wanted.
        from: Instance,
        /// For whom: who goes on where it stopped is read on from there.
        to: ServerId,
        /// Only what is below this position is durable.
        below_lsn: u64,
    },
    /// Offer another server the newest snapshots, as they are on disk. Said again as long as it
    /// asks: what is on its way already goes on.
    SendSnapshots {
        /// To whom.
        to: ServerId,
        /// Of which partitions.
        partitions: Vec<PartitionId>,
    },
    /// Snapshots of other servers are in the place of this server's: the machine is to be put
    /// together anew from the disk, as after a crash.
    Restart,
    /// A session was silent for its time-out (to be logged).
    Expiring {
        /// Which.
        session: SessionId,
    },
}

/// An invariant is broken: the process ends with this message.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// In a ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// In a replica.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A ring of one server does not coordinate itself.
    #[error("ring {0} has one member, which does not coordinate it")]
    Alone(RingId),
}
