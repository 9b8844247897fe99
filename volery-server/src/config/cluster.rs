//! What the configuration says of a cluster: its servers, where its partitions live, who votes,
//! and how servers prove to one another who they are. Plain data, checked when it was read; it
//! resolves no name. Made by `read_cluster`, read by the node.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use volery_proto::ids::{PartitionId, RingId, ServerId};

/// Several servers that form one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Which cluster it is: servers of another one are refused.
    pub id: ClusterId,
    /// All servers, this one included.
    pub servers: BTreeMap<ServerId, Member>,
    /// The servers that hold a replica of each partition, in ascending order. Every partition is
    /// there, and has a participant among its servers.
    pub placement: BTreeMap<PartitionId, Vec<ServerId>>,
    /// The acceptors of ring 0: participants, ascending, five at most.
    pub global_acceptors: Vec<ServerId>,
    /// `quorumListenOnAllIPs`: the peer port listens on every address, not on its own line's.
    pub listen_on_all: bool,
    /// How connections between servers are guarded; `None`: not at all.
    pub tls: Option<PeerTls>,
    /// ZooKeeper's `initLimit` in ticks, for `conf` alone.
    pub init_limit: u32,
    /// ZooKeeper's `syncLimit` in ticks, for `conf` alone.
    pub sync_limit: u32,
}

/// The acceptors that ring 0 has where nothing else is configured: more would only be slower.
pub const GLOBAL_ACCEPTORS_MAX: usize = 5;

/// Which cluster a server belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId {
    /// Equal at all servers of the cluster.
    pub number: u64,
    /// From `clusterId`. Otherwise it is computed from the server lines, and changes with them:
    /// then it says who may connect, but must not be compared with what a directory was made for.
    pub is_configured: bool,
}

/// One server of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name or address where the others reach it.
    pub host: String,
    /// Its peer port: ZooKeeper's quorum port.
    pub peer_port: u16,
    /// ZooKeeper's election port. Unused: one port carries everything.
    pub election_port: u16,
    /// It votes nowhere.
    pub is_observer: bool,
    /// Address and port of its client part, if its line has one.
    pub client: Option<(Option<String>, u16)>,
}

impl Cluster {
    /// The configured acceptors of a ring, ascending; a majority is counted against them. Empty
    /// for a ring that is not there.
    #[must_use]
    pub fn acceptors(&self, ring: RingId) -> Vec<ServerId> {
        if ring == RingId::GLOBAL {
            return self.global_acceptors.clone();
        }
        let hosts = self.placement.get(&PartitionId(ring.0)).map_or(&[][..], Vec::as_slice);
        hosts.iter().copied().filter(|id| self.votes(*id)).collect()
    }

    /// Who votes and who holds what, line by line, the same at all servers that are configured
    /// alike. Servers compare it, with the rules of the map, before they talk: two that count
    /// majorities against different acceptors would decide twice.
    #[must_use]
    pub fn layout(&self) -> String {
        let mut text = format!("ring.0.servers={}\n", list(&self.global_acceptors));
        for (partition, servers) in &self.placement {
            text += &format!("partition.{partition}.servers={}\n", list(servers));
        }
        let observers = self.servers.keys().copied().filter(|id| !self.votes(*id));
        text += &format!("observers={}\n", list(&observers.collect::<Vec<_>>()));
        text
    }

    /// Whether a server is a participant.
    #[must_use]
    pub fn votes(&self, server: ServerId) -> bool {
        self.servers.get(&server).is_some_and(|member| !member.is_observer)
    }
}

impl Member {
    /// `host:peerPort`, for a resolver.
    #[must_use]
    pub fn peer_address(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.peer_port)
    }

    /// The value of its line, as `/zookeeper/config` and `conf` write it.
    #[must_use]
    pub fn value(&self) -> String {
        let role = if self.is_observer { "observer" } else { "participant" };
        let (host, ports) = (bracketed(&self.host), (self.peer_port, self.election_port));
        let client = match &self.client {
            Some((Some(address), port)) => format!(";{}:{port}", bracketed(address)),
            Some((None, port)) => format!(";0.0.0.0:{port}"),
            None => String::new(),
        };
        format!("{host}:{}:{}:{role}{client}", ports.0, ports.1)
    }
}

/// Ids separated by commas.
pub(super) fn list(servers: &[ServerId]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// An IPv6 address in its brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// TLS between servers, with proof of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// This server's certificate, and those between it and the authority.
    pub cert: PemFile,
    /// Its private key.
    pub key: PemFile,
    /// The authorities whose certificates are believed.
    pub ca: PemFile,
    /// The certificate of a server that is dialed must name its host.
    pub verify_host: bool,
}

/// A file in PEM, as it was at the start. `Debug` shows its path alone: it may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Its name, for messages.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PemFile({})", self.path.display())
    }
}
