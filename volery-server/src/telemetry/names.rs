//! Every metric's name, once, with its meaning: ZooKeeper's names where it has one, `volery_`
//! before the rest. A field is called as its metric is. Measures nothing. Used by the registry
//! beside it; rooms reach the handles through [`super::Metrics`].

use metrics::{
    Counter, Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge,
};

use super::metrics::{Summary, Unit};

macro_rules! counters {
    ($($name:ident: $meaning:literal),* $(,)?) => {
        /// Handles of the counters, which are set to what the rooms have counted.
        #[derive(Debug)]
        pub struct Counters { $(#[doc = $meaning] pub $name: Counter),* }

        impl Counters {
            /// Their names.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Registers them with the recorder in force.
            pub(super) fn register() -> Counters {
                $(describe_counter!(stringify!($name), $meaning);)*
                Counters { $($name: counter!(stringify!($name))),* }
            }
        }
    };
}

macro_rules! gauges {
    ($($name:ident: $meaning:literal),* $(,)?) => {
        /// Handles of the gauges, which are set from a `ServerStats`.
        #[derive(Debug)]
        pub(super) struct Gauges { $(#[doc = $meaning] pub(super) $name: Gauge),* }

        impl Gauges {
            /// Registers them with the recorder in force.
            pub(super) fn register() -> Gauges {
                $(describe_gauge!(stringify!($name), $meaning);)*
                Gauges { $($name: gauge!(stringify!($name))),* }
            }

            /// Their names.
            #[cfg(test)]
            pub(super) const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
        }
    };
}

macro_rules! summaries {
    ($($name:ident: $unit:ident, $advanced:literal, $meaning:literal),* $(,)?) => {
        /// Handles of the summaries.
        #[derive(Debug)]
        pub struct Summaries { $(#[doc = $meaning] pub $name: Summary),* }

        impl Summaries {
            /// Registers them with the recorder in force.
            pub(super) fn register() -> Summaries {
                $(describe_histogram!(stringify!($name), $meaning);)*
                Summaries { $($name: Summary::register(stringify!($name), Unit::$unit)),* }
            }

            /// Each with its name, and whether `mntr` prints its quantiles.
            pub(super) fn all(&self) -> Vec<(&'static str, bool, &Summary)> {
                vec![$((stringify!($name), $advanced, &self.$name)),*]
            }
        }
    };
}

counters! {
    bytes_received_count: "Bytes of requests",
    response_bytes: "Bytes of replies",
    watch_bytes: "Bytes of watch events",
    connection_request_count: "Connections that asked for a session",
    connection_rejected: "Connections refused, too many being open",
    connection_drop_count: "Connections closed by the server",
    stale_sessions_expired: "Sessions that timed out",
    sessionless_connections_expired: "Connections that never asked for a session",
    large_requests_rejected: "Requests above jute.maxbuffer",
    commit_count: "Commands of this server that were executed",
    snapshot_error_count: "Snapshots that failed",
    volery_single_partition_commands: "Writes of clients that one partition executes",
    volery_multi_partition_commands: "Writes of clients that several partitions execute together",
    volery_ring_values: "Values decided, skips left out",
    volery_ring_skips: "Skips decided",
    volery_ring_batched_commands: "Commands in decided values",
    volery_partition_commands: "Commands of partitions' rings that were decided",
    volery_unheld_commands: "Those that ring 0 had passed already, so that nothing held them up",
    volery_log_bytes: "Bytes written to the log",
    volery_peer_bytes_received: "Bytes from other servers",
    volery_peer_bytes_sent: "Bytes to other servers",
    volery_peer_frames_dropped: "Frames to other servers that were dropped",
    volery_peer_reconnects: "Links to other servers that were made again",
}

gauges! {
    avg_latency: "Average latency of requests, ms",
    min_latency: "Least latency of requests, ms",
    max_latency: "Highest latency of requests, ms",
    packets_received: "Packets from clients",
    packets_sent: "Packets to clients",
    num_alive_connections: "Open client connections",
    outstanding_requests: "Requests in work",
    znode_count: "Znodes",
    watch_count: "Watches",
    ephemerals_count: "Ephemeral znodes",
    approximate_data_size: "Bytes of paths and data",
    global_sessions: "Open sessions",
    open_file_descriptor_count: "Open files and sockets",
    max_file_descriptor_count: "Files and sockets that may be open",
    uptime: "Since the start, ms",
    auth_failed_count: "Failed authentications",
    last_client_response_size: "Bytes of the last reply",
    min_client_response_size: "Bytes of the shortest reply",
    max_client_response_size: "Bytes of the longest reply",
    quorum_size: "Servers that vote, 0 where there is one server",
    learners: "At the leader: other servers that can be sent to",
    synced_followers: "At the leader: those of them that vote",
    volery_partitions: "Partitions hosted here",
    volery_connected_peers: "Other servers that can be sent to",
}

summaries! {
    readlatency: Millis, true, "Latency of reads, ms",
    updatelatency: Millis, true, "Latency of writes, ms",
    fsynctime: Millis, false, "One sync of the log, ms",
    snapshottime: Millis, false, "One snapshot, ms",
    dbinittime: Millis, false, "Reading the state at the start, ms",
    startup_snap_load_time: Millis, false, "Reading the snapshot at the start, ms",
    startup_txns_load_time: Millis, false, "Reading the log at the start, ms",
    startup_txns_loaded: Count, false, "Commands read from the log at the start",
    sync_processor_batch_size: Count, false, "Records in one sync of the log",
}

/// Gauges of one hosted partition, with label `partition`.
pub(super) const PARTITION_EXECUTED: &str = "volery_partition_executed_zxid";
pub(super) const PARTITION_ZNODES: &str = "volery_partition_znode_count";
pub(super) const PARTITION_WAITING: &str = "volery_partition_waiting_commands";
pub(super) const PARTITION_OUTBOX: &str = "volery_partition_outbox_bytes";
/// Gauges of one ring, with label `ring`.
pub(super) const RING_DECIDED: &str = "volery_ring_decided_instance";
pub(super) const RING_POSITION: &str = "volery_ring_position_slot";
pub(super) const RING_IN_FLIGHT: &str = "volery_ring_in_flight";
pub(super) const RING_COORDINATOR: &str = "volery_ring_coordinator";

/// Describes the gauges with labels, which are registered as they appear.
pub(super) fn describe_labelled() {
    describe_gauge!(PARTITION_EXECUTED, "Executed position");
    describe_gauge!(PARTITION_ZNODES, "Znodes of the partition");
    describe_gauge!(PARTITION_WAITING, "Commands set aside that wait for other partitions");
    describe_gauge!(PARTITION_OUTBOX, "Bytes kept for partitions that may still ask for them");
    describe_gauge!(RING_DECIDED, "Highest instance known decided without a gap");
    describe_gauge!(RING_POSITION, "Slot that the ring has reached");
    describe_gauge!(RING_IN_FLIGHT, "Proposals under way");
    describe_gauge!(RING_COORDINATOR, "This server's id where it coordinates the ring, or 0");
}
