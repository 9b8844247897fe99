//! The text of the four-letter word `conf`: ZooKeeper's lines in its order, then Volery's own.
//! Reads no file: the sizes of the directories are handed in. Called by `admin`.

use std::fmt::{Display, Write as _};

use volery_proto::ids::ServerId;

use super::cluster::list;
use super::{Cluster, Config, Durability};

/// Bytes in the two directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectorySizes {
    /// Of the data directory.
    pub data_bytes: u64,
    /// Of the log's directory.
    pub log_bytes: u64,
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, key: &str, value: &dyn Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{key}={value}");
    }
}

impl Config {
    /// The answer to `conf`.
    #[must_use]
    pub fn to_conf_text(&self, sizes: DirectorySizes) -> String {
        let mut lines = Lines::default();
        lines.add("clientPort", &self.client.port);
        lines.add("secureClientPort", &-1);
        lines.add("dataDir", &self.data_dir.display());
        lines.add("dataDirSize", &sizes.data_bytes);
        lines.add("dataLogDir", &self.data_log_dir.display());
        lines.add("dataLogSize", &sizes.log_bytes);
        lines.add("tickTime", &self.tick_time_ms);
        lines.add("maxClientCnxns", &self.client.max_per_address);
        lines.add("minSessionTimeout", &self.min_session_timeout_ms);
        lines.add("maxSessionTimeout", &self.max_session_timeout_ms);
        lines.add("clientPortListenBacklog", &self.client.listen_backlog.map_or(-1, i64::from));
        lines.add("serverId", &self.server_id);
        if let Some(cluster) = &self.cluster {
            cluster.conf_lines(self.server_id, &mut lines);
            lines.add("transfer.bytesPerSecond", &self.transfer_bytes_per_second);
        }
        lines.add("jute.maxbuffer", &self.max_frame_bytes);
        lines.add("partitions", &self.map.partitions);
        lines.add("partition.spread", &self.map.spread.join(","));
        for (partition, prefixes) in self.prefixes_by_partition() {
            lines.add(&format!("partition.{partition}.prefixes"), &prefixes.join(","));
        }
        lines.add("ring.window", &self.ring_window);
        lines.add("skip.along", &self.skip_along);
        lines.add("skip.aheadUs", &self.skip_ahead_us);
        lines.add("durability", &self.durability.text());
        lines.add("reads", if self.linearizable_reads { &"linearizable" } else { &"local" });
        lines.0
    }

    fn prefixes_by_partition(&self) -> std::collections::BTreeMap<u16, Vec<&str>> {
        let mut by_partition = std::collections::BTreeMap::<u16, Vec<&str>>::new();
        for (partition, prefix) in &self.map.prefixes {
            by_partition.entry(partition.0).or_default().push(prefix);
        }
        by_partition
    }
}

impl Cluster {
    /// ZooKeeper's lines of an ensemble, then where Volery has put the partitions.
    fn conf_lines(&self, me: ServerId, lines: &mut Lines) {
        lines.add("initLimit", &self.init_limit);
        lines.add("syncLimit", &self.sync_limit);
        lines.add("electionAlg", &3);
        if let Some(member) = self.servers.get(&me) {
            lines.add("electionPort", &member.election_port);
            lines.add("quorumPort", &member.peer_port);
            lines.add("peerType", &u8::from(member.is_observer));
        }
        // As ZooKeeper prints its quorum verifier; the version moves with `reconfig` alone.
        lines.0 += "membership: \n";
        for (id, member) in &self.servers {
            lines.add(&format!("server.{id}"), &member.value());
        }
        lines.add("version", &0);
        lines.add("clusterId", &format_args!("{:#018x}", self.id.number));
        lines.add("ring.0.servers", &list(&self.global_acceptors));
        let placed = self.placement.iter().filter(|(_, hosts)| hosts.len() < self.servers.len());
        for (partition, servers) in placed {
            lines.add(&format!("partition.{partition}.servers"), &list(servers));
        }
        lines.add("peer.tls", &self.tls.is_some());
    }
}

impl Durability {
    /// As it is configured.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Async => "async",
        }
    }
}
