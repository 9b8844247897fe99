//! The facts that words and metrics are made of, as plain data. Knows neither where they come from
//! nor how they are printed. Filled by `node`, each part only where [`Needs`] asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::zk::OpCode;

use crate::admin::counters::Spread;
use crate::config::DirectorySizes;

/// Which of the costly parts of a [`ServerStatus`] an answer is made of; the others may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// [`ServerStatus::connections`].
    pub connections: bool,
    /// [`ServerStatus::sessions`] and [`ServerStatus::ephemerals`].
    pub sessions: bool,
    /// [`ServerStatus::watches`].
    pub watches: bool,
    /// [`ServerStatus::directories`].
    pub directories: bool,
    /// [`ServerStatus::counters`] and [`ServerStatus::summaries`].
    pub metrics: bool,
}

/// All that can be asked of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerStatus {
    /// The numbers; always filled.
    pub stats: ServerStats,
    /// Open client connections, the one that asks included.
    pub connections: Vec<ConnectionStatus>,
    /// Open sessions.
    pub sessions: Vec<SessionStatus>,
    /// Paths of ephemerals by owner.
    pub ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    /// Who watches a path's data (child watches are left out, as in ZooKeeper).
    pub watches: BTreeMap<String, BTreeSet<SessionId>>,
    /// Bytes on disk.
    pub directories: DirectorySizes,
    /// Counters by their names in `telemetry::names`.
    pub counters: Vec<(&'static str, u64)>,
    /// Summaries by their names in `telemetry::names`.
    pub summaries: Vec<SummaryStatus>,
}

/// Whether the server answers requests, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Starting, or cut off.
    #[default]
    NotServing,
    /// All by itself.
    Standalone,
    /// One of several, and it coordinates ring 0: what comes closest to ZooKeeper's leader.
    Leader,
    /// One of several.
    Follower,
    /// One of several, and it votes nowhere.
    Observer,
}

impl Mode {
    /// As ZooKeeper writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Mode::NotServing => "leaderelection",
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
        }
    }
}

/// The numbers of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerStats {
    /// Whether it serves.
    pub mode: Mode,
    /// Latency of requests in microseconds, since the start or `srst`.
    pub latency_us: Spread,
    /// Packets in.
    pub received: u64,
    /// Packets out.
    pub sent: u64,
    /// Open client connections.
    pub num_alive_connections: u64,
    /// Requests in work.
    pub outstanding: u64,
    /// The highest zxid that is executed here.
    pub last_zxid: Zxid,
    /// Znodes.
    pub znode_count: u64,
    /// Watches of data and children.
    pub watch_count: u64,
    /// Ephemerals.
    pub ephemerals_count: u64,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Open sessions.
    pub global_sessions: u64,
    /// Since the start.
    pub uptime_ms: u64,
    /// Open files and sockets of the process.
    pub open_file_descriptor_count: u64,
    /// As many as it may have.
    pub max_file_descriptor_count: u64,
    /// Failed authentications.
    pub auth_failed_count: u64,
    /// Bytes of replies: of the last one.
    pub last_client_response_size: u64,
    /// Of the shortest one.
    pub min_client_response_size: u64,
    /// Of the longest one.
    pub max_client_response_size: u64,
    /// Other servers that can be sent to.
    pub connected_peers: u64,
    /// What ZooKeeper says of an ensemble; `None` where there is one server.
    pub ensemble: Option<Ensemble>,
    /// The partitions that this server hosts.
    pub partitions: Vec<PartitionStats>,
    /// The rings that this server learns.
    pub rings: Vec<RingStats>,
}

/// What ZooKeeper says of an ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ensemble {
    /// Servers that vote.
    pub quorum_size: u64,
    /// Others of them that can be sent to.
    pub followers: u64,
    /// Observers that can be sent to.
    pub observers: u64,
}

/// One hosted partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Which.
    pub partition: PartitionId,
    /// Executed position.
    pub executed: Zxid,
    /// Znodes it owns.
    pub znode_count: u64,
    /// Commands set aside that wait for other partitions.
    pub waiting_commands: u64,
    /// Bytes kept for other partitions that may still ask what this one contributed. They grow
    /// while some partition has no majority.
    pub outbox_bytes: u64,
}

/// One ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Which.
    pub ring: RingId,
    /// The highest instance that is known decided without a gap.
    pub decided: Instance,
    /// The position it has reached.
    pub position: Slot,
    /// Proposals under way, where this server coordinates it.
    pub in_flight: u64,
    /// This server, where it coordinates the ring.
    pub coordinator: Option<ServerId>,
}

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// The client's address.
    pub remote: SocketAddr,
    /// What is waited for: 1 readable, 4 writable, 0 the connection of a four-letter word.
    pub interest_ops: u8,
    /// Requests that wait for their replies.
    pub queued: u64,
    /// Packets in.
    pub received: u64,
    /// Packets out.
    pub sent: u64,
    /// When it is closed if it stays silent, Unix milliseconds.
    pub expires_unix_ms: u64,
    /// What is known once a session is established.
    pub session: Option<ConnectionSession>,
}

/// The session of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSession {
    /// Which.
    pub id: SessionId,
    /// The last request that was answered.
    pub last_op: Option<OpCode>,
    /// When the connection was made, Unix milliseconds.
    pub established_unix_ms: u64,
    /// Negotiated.
    pub timeout_ms: i32,
    /// xid of the last request; negative for pings and their like.
    pub last_cxid: i64,
    /// Header zxid of the last reply, -1 without one.
    pub last_zxid: i64,
    /// When it was sent, in milliseconds of a clock that never goes back.
    pub last_response_ms: u64,
    /// Of the last request, in microseconds.
    pub last_latency_us: u64,
    /// Of all since the start or `crst`.
    pub latency_us: Spread,
}

/// One open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Which.
    pub id: SessionId,
    /// When it ends if nothing comes, Unix milliseconds.
    pub expires_unix_ms: u64,
}

/// One summary since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryStatus {
    /// Its name in `telemetry::names`.
    pub name: &'static str,
    /// Recorded values, in `1/unit`s of what is printed.
    pub values: Spread,
    /// 1000 where microseconds are recorded and milliseconds printed.
    pub unit: u64,
    /// 0.5, 0.95, 0.99 and 0.999, in what is printed.
    pub quantiles: Option<[f64; 4]>,
}
