//! From what the rooms have counted to metrics. It counts nothing itself, and runs only when
//! somebody asks. Called by the drive loop and by the door.

use rustix::process::{Resource, getrlimit};

use crate::admin::status::ServerStats;
use crate::client_port::PortCounts;
use crate::core::server::Server;
use crate::peer_port::PeerCounts;
use crate::storage::wal::WalStats;
use crate::telemetry::Metrics;

/// Sets the counters to what was counted; runs on the drive thread.
pub(super) fn counters(metrics: &Metrics, server: &Server, log: WalStats, port: &PortCounts) {
    let counters = &metrics.counters;
    let clients = server.front_end().totals();
    counters.connection_request_count.absolute(clients.connection_requests);
    counters.response_bytes.absolute(clients.response_bytes);
    counters.watch_bytes.absolute(clients.watch_bytes);
    counters.commit_count.absolute(clients.executed);
    counters.volery_single_partition_commands.absolute(clients.single_partition);
    counters.volery_multi_partition_commands.absolute(clients.multi_partition);
    let rings = server.totals();
    counters.volery_ring_values.absolute(rings.values);
    counters.volery_ring_skips.absolute(rings.skips);
    counters.volery_ring_batched_commands.absolute(rings.commands);
    counters.volery_partition_commands.absolute(rings.partition_commands);
    counters.volery_unheld_commands.absolute(rings.unheld_commands);
    counters.volery_log_bytes.absolute(log.bytes);
    counters.bytes_received_count.absolute(port.bytes_received.get());
    counters.connection_rejected.absolute(port.rejected.get());
    counters.connection_drop_count.absolute(port.dropped.get() + clients.drops);
    counters.sessionless_connections_expired.absolute(port.sessionless.get());
    counters.large_requests_rejected.absolute(port.large_requests.get());
}

/// What goes to and comes from other servers.
pub(super) fn peers(metrics: &Metrics, peers: &PeerCounts) {
    let counters = &metrics.counters;
    counters.volery_peer_bytes_received.absolute(peers.bytes_received.get());
    counters.volery_peer_bytes_sent.absolute(peers.bytes_sent.get());
    counters.volery_peer_frames_dropped.absolute(peers.frames_dropped.get());
    counters.volery_peer_reconnects.absolute(peers.reconnects.get());
}

/// Open files, and how many there may be.
pub(super) fn files(stats: &mut ServerStats) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    stats.open_file_descriptor_count = open as u64;
    stats.max_file_descriptor_count = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
}
