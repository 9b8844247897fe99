//! The text of the four-letter word `conf`: ZooKeeper's lines in its order, then Volery's own.
//! Reads no file: the sizes of the directories are handed in. Called by `admin`.

use std::fmt::Write as _;

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

impl Config {
    /// The answer to `conf`.
    #[must_use]
    pub fn to_conf_text(&self, sizes: DirectorySizes) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{key}={value}");
        };
        line("clientPort", &self.client.port);
        line("secureClientPort", &-1);
        line("dataDir", &self.data_dir.display());
        line("dataDirSize", &sizes.data_bytes);
        line("dataLogDir", &self.data_log_dir.display());
        line("dataLogSize", &sizes.log_bytes);
        line("tickTime", &self.tick_time_ms);
        line("maxClientCnxns", &self.client.max_per_address);
        line("minSessionTimeout", &self.min_session_timeout_ms);
        line("maxSessionTimeout", &self.max_session_timeout_ms);
        line("clientPortListenBacklog", &self.client.listen_backlog.map_or(-1, i64::from));
        line("serverId", &self.server_id);
        if let Some(cluster) = &self.cluster {
            cluster.conf_lines(self.server_id, &mut line);
            line("transfer.bytesPerSecond", &self.transfer_bytes_per_second);
        }
        line("jute.maxbuffer", &self.max_frame_bytes);
        line("partitions", &self.map.partitions);
        line("partition.spread", &self.map.spread.join(","));
        for (partition, prefixes) in self.prefixes_by_partition() {
            line(&format!("partition.{partition}.prefixes"), &prefixes.join(","));
        }
        line("ring.window", &self.ring_window);
        line("skip.along", &self.skip_along);
        line("skip.aheadUs", &self.skip_ahead_us);
        line("durability", &self.durability.text());
        line("reads", if self.linearizable_reads { &"linearizable" } else { &"local" });
        text
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
    fn conf_lines(&self, me: ServerId, line: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
        line("initLimit", &self.init_limit);
        line("syncLimit", &self.sync_limit);
        line("electionAlg", &3);
        if let Some(member) = self.servers.get(&me) {
            line("electionPort", &member.election_port);
            line("quorumPort", &member.peer_port);
            line("peerType", &u8::from(member.is_observer));
        }
        for (id, member) in &self.servers {
            line(&format!("server.{id}"), &member.value());
        }
        line("clusterId", &format_args!("{:#018x}", self.id.number));
        line("ring.0.servers", &list(&self.global_acceptors));
        let placed = self.placement.iter().filter(|(_, hosts)| hosts.len() < self.servers.len());
        for (partition, servers) in placed {
            line(&format!("partition.{partition}.servers"), &list(servers));
        }
        line("peer.tls", &self.tls.is_some());
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
