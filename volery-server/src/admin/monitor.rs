//! The lines of `mntr`: ZooKeeper's keys first, Volery's own after them. Computes nothing but
//! averages. Called by the four-letter words.

use std::fmt::{Display, Write as _};

use crate::admin::status::{Mode, ServerStats, ServerStatus, SummaryStatus};
use crate::admin::version::FULL_VERSION;

/// The answer to `mntr` of a server that serves.
pub(super) fn text(status: &ServerStatus) -> String {
    let mut lines = Lines(String::new());
    lines.add("version", FULL_VERSION);
    lines.add("server_state", status.stats.mode.word());
    ensemble(&mut lines, &status.stats);
    gauges(&mut lines, &status.stats);
    for (name, value) in &status.counters {
        if !name.starts_with("volery_") {
            lines.add(name, value);
        }
    }
    for summary in &status.summaries {
        if !summary.name.starts_with("volery_") {
            lines.summary(summary);
        }
    }
    own(&mut lines, status);
    lines.0
}

/// The keys that dashboards and alarms of an ensemble ask for.
fn ensemble(lines: &mut Lines, stats: &ServerStats) {
    let Some(ensemble) = &stats.ensemble else { return };
    let state = match stats.mode {
        Mode::Leader => "leading",
        Mode::Observer => "observing",
        _ => "following",
    };
    lines.add("peer_state", format_args!("{state} - broadcast"));
    lines.add("quorum_size", ensemble.quorum_size);
    if stats.mode == Mode::Leader {
        lines.add("learners", ensemble.followers + ensemble.observers);
        lines.add("synced_followers", ensemble.followers);
        lines.add("synced_observers", ensemble.observers);
    }
}

struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "zk_{name}\t{value}");
    }

    fn summary(&mut self, summary: &SummaryStatus) {
        let SummaryStatus { name, values, unit, quantiles } = summary;
        self.add(&format!("avg_{name}"), values.average(*unit));
        self.add(&format!("min_{name}"), values.min / unit);
        self.add(&format!("max_{name}"), values.max / unit);
        self.add(&format!("cnt_{name}"), values.count);
        self.add(&format!("sum_{name}"), values.sum / unit);
        for (label, value) in ["p50", "p95", "p99", "p999"].iter().zip(quantiles.iter().flatten()) {
            // ZooKeeper's are whole numbers.
            self.add(&format!("{label}_{name}"), value.round() as u64);
        }
    }
}

fn gauges(lines: &mut Lines, stats: &ServerStats) {
    lines.add("avg_latency", stats.latency_us.average(1000));
    lines.add("max_latency", stats.latency_us.max / 1000);
    lines.add("min_latency", stats.latency_us.min / 1000);
    lines.add("packets_received", stats.received);
    lines.add("packets_sent", stats.sent);
    lines.add("num_alive_connections", stats.num_alive_connections);
    lines.add("outstanding_requests", stats.outstanding);
    lines.add("znode_count", stats.znode_count);
    lines.add("watch_count", stats.watch_count);
    lines.add("ephemerals_count", stats.ephemerals_count);
    lines.add("approximate_data_size", stats.approximate_data_size);
    lines.add("global_sessions", stats.global_sessions);
    lines.add("local_sessions", 0);
    lines.add("open_file_descriptor_count", stats.open_file_descriptor_count);
    lines.add("max_file_descriptor_count", stats.max_file_descriptor_count);
    lines.add("uptime", stats.uptime_ms);
    lines.add("connection_drop_probability", "0.0");
    lines.add("last_client_response_size", stats.last_client_response_size);
    lines.add("max_client_response_size", stats.max_client_response_size);
    lines.add("min_client_response_size", stats.min_client_response_size);
    lines.add("auth_failed_count", stats.auth_failed_count);
    lines.add("outstanding_tls_handshake", 0);
    lines.add("non_mtls_remote_conn_count", 0);
    lines.add("non_mtls_local_conn_count", 0);
}

fn own(lines: &mut Lines, status: &ServerStatus) {
    for (name, value) in status.counters.iter().filter(|(name, _)| name.starts_with("volery_")) {
        lines.add(name, value);
    }
    for summary in status.summaries.iter().filter(|one| one.name.starts_with("volery_")) {
        lines.summary(summary);
    }
    lines.add("volery_partitions", status.stats.partitions.len());
    for one in &status.stats.partitions {
        let head = format!("volery_partition_{}", one.partition);
        lines.add(&format!("{head}_executed_zxid"), one.executed.0);
        lines.add(&format!("{head}_znode_count"), one.znode_count);
        lines.add(&format!("{head}_waiting_commands"), one.waiting_commands);
        lines.add(&format!("{head}_outbox_bytes"), one.outbox_bytes);
    }
    for one in &status.stats.rings {
        let head = format!("volery_ring_{}", one.ring);
        lines.add(&format!("{head}_decided_instance"), one.decided);
        lines.add(&format!("{head}_position_slot"), one.position);
        lines.add(&format!("{head}_in_flight"), one.in_flight);
        if let Some(coordinator) = one.coordinator {
            lines.add(&format!("{head}_coordinator"), coordinator);
        }
    }
}
