//! The text of the four-letter word `conf`: ZooKeeper's lines in its order, then Volery's own.
//! Reads no file: the sizes of the directories are handed in. Called by `admin`.

use std::fmt::Write as _;

use super::{Config, Durability};

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
        line("jute.maxbuffer", &self.max_frame_bytes);
        line("partitions", &self.map.partitions);
        line("partition.spread", &self.map.spread.join(","));
        for (partition, prefixes) in self.prefixes_by_partition() {
            line(&format!("partition.{partition}.prefixes"), &prefixes.join(","));
        }
        line("ring.window", &self.ring_window);
        line("durability", &self.durability.text());
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
