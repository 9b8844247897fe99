//! The server's configuration: zoo.cfg, `-D` flags in the environment, `myid`; typed and checked,
//! with warnings for what has no effect. Never logs, opens no socket, makes no directory. Read
//! once by `main`, then handed to every room as plain data.

mod cluster;
mod conf_text;
mod error;
mod jvm_flags;
pub mod keys;
mod known;
pub mod partition_map;
mod peer_tls;
pub mod placement;
pub mod properties;
mod read;
mod read_cluster;
mod server_line;
mod values;
mod whitelist;

use std::fmt;
use std::path::{Path, PathBuf};

use volery_proto::ids::ServerId;

pub use cluster::{Cluster, ClusterId, GLOBAL_ACCEPTORS_MAX, Member, PeerTls, PemFile};
pub use conf_text::DirectorySizes;
pub use error::{ConfigError, Place};
pub use whitelist::Whitelist;

use crate::core::oracle::rules::MapRules;

/// Everything that can be configured, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// From `myid`, else from the one server line, else 1.
    pub server_id: ServerId,
    /// The cluster it belongs to; `None` where it is on its own.
    pub cluster: Option<Cluster>,
    /// Where the state lives.
    pub data_dir: PathBuf,
    /// Where the log lives.
    pub data_log_dir: PathBuf,
    /// The client port.
    pub client: ClientPort,
    /// Milliseconds of a tick.
    pub tick_time_ms: i32,
    /// Least session timeout that a client gets, in milliseconds.
    pub min_session_timeout_ms: i32,
    /// Highest session timeout that a client gets.
    pub max_session_timeout_ms: i32,
    /// Four-letter words that are answered.
    pub whitelist: Whitelist,
    /// `jute.maxbuffer`: the longest request, in bytes.
    pub max_frame_bytes: usize,
    /// Requests in work before client sockets are no longer read.
    pub global_outstanding_limit: usize,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Whether TTL znodes may be created.
    pub extended_types_enabled: bool,
    /// Whether acknowledged means on disk.
    pub durability: Durability,
    /// `reads=linearizable`: every read waits for a barrier.
    pub linearizable_reads: bool,
    /// Log, snapshots, disk.
    pub storage: StorageConfig,
    /// The reaper of containers and TTL znodes.
    pub container: ContainerConfig,
    /// Where /metrics is served.
    pub metrics: MetricsConfig,
    /// Rules of the partition map.
    pub map: MapRules,
    /// Proposals of one ring that may be under way.
    pub ring_window: usize,
    /// Whether idle rings skip along with those that the same server leads.
    pub skip_along: bool,
    /// Microseconds by which ring 0's skips run ahead.
    pub skip_ahead_us: u64,
    /// Bytes a second that this server sends to others that are behind.
    pub transfer_bytes_per_second: u64,
    /// Keep-alive of the connections between servers.
    pub tcp_keep_alive: bool,
    /// The log of messages.
    pub log: LogConfig,
}

/// The client port and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPort {
    /// Host name or address; `None` is every address of the machine.
    pub address: Option<String>,
    /// 0 takes any free port.
    pub port: u16,
    /// Connections that may wait to be accepted; `None` leaves it to the system.
    pub listen_backlog: Option<u32>,
    /// Connections of one address; 0 is any number.
    pub max_per_address: u32,
    /// Connections altogether; 0 is any number.
    pub max_connections: u32,
    /// TCP keep-alive.
    pub keep_alive: bool,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The user whom no ACL stops.
    pub super_digest: Option<SuperDigest>,
    /// Whether the digest scheme is offered.
    pub digest_enabled: bool,
    /// No ACL is checked.
    pub skip_acl: bool,
}

/// `user:base64(sha1(user:password))`. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SuperDigest(pub String);

impl fmt::Debug for SuperDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuperDigest(hidden)")
    }
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk at a majority.
    Sync,
    /// Written, not yet on disk: lost when machines fail.
    Async,
}

/// Log and snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// A sync that takes longer is logged, in milliseconds.
    pub fsync_warning_threshold_ms: u64,
    /// Commands between two snapshots.
    pub snap_count: u64,
    /// Bytes that a log segment reserves.
    pub preallocate_bytes: u64,
    /// Snapshots that are kept.
    pub snap_retain_count: usize,
}

/// The reaper of containers and TTL znodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Between two looks, in milliseconds.
    pub check_interval_ms: u64,
    /// Deletes in a minute.
    pub max_per_minute: u64,
    /// Age at which a container that never had children goes; 0 is never.
    pub max_never_used_interval_ms: u64,
}

/// Where /metrics is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Host name or address.
    pub host: String,
    /// 0 is off.
    pub port: u16,
}

/// The log of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Lines of text or of JSON.
    pub format: LogFormat,
    /// A level's name in lower case.
    pub level: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What the environment says; filled by `main`, so that tests need none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `SERVER_JVMFLAGS`.
    pub server_jvmflags: String,
    /// `JVMFLAGS`; it wins over `SERVER_JVMFLAGS`, the file over both.
    pub jvmflags: String,
}

impl Flags {
    /// Of this process. What is not Unicode is passed over.
    #[must_use]
    pub fn from_env() -> Flags {
        let read = |name| std::env::var(name).unwrap_or_default();
        Flags { server_jvmflags: read("SERVER_JVMFLAGS"), jvmflags: read("JVMFLAGS") }
    }
}

/// A configuration and what is to be logged about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One line each, with its place: `zoo.cfg:12: enforceQuota has no effect in Volery yet`.
    pub warnings: Vec<String>,
}

/// Data directory where there is no configuration file at all.
pub const DEFAULT_DATA_DIR: &str = "./volery-data";

/// How files are read: tests have none.
type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// Reads the file (if there is one), `myid`, and the files that it names.
///
/// # Errors
/// A file that cannot be read, or the first value that is wrong.
pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Loaded, ConfigError> {
    let text = match file {
        Some(path) => Some((
            path.display().to_string(),
            std::fs::read(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        )),
        None => None,
    };
    let text = text.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    read::read(text, flags, &|path| std::fs::read(path))
}

/// Reads a configuration without touching a file: `file` is (name, content), or `None` for the
/// defaults. Every other file, `myid` too, counts as missing.
///
/// # Errors
/// The first value that is wrong.
pub fn parse(file: Option<(&str, &[u8])>, flags: &Flags) -> Result<Loaded, ConfigError> {
    read::read(file, flags, &|_| Err(std::io::ErrorKind::NotFound.into()))
}

fn my_id(path: &Path, bytes: &[u8]) -> Result<ServerId, ConfigError> {
    let text = String::from_utf8_lossy(bytes);
    let id = text.trim().parse::<u8>().ok().filter(|id| (1..=254).contains(id));
    // Only the beginning is shown: the file may be anything.
    let shown = || text.trim().chars().take(40).collect();
    id.map(ServerId).ok_or_else(|| ConfigError::BadMyId { path: path.to_owned(), text: shown() })
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
