//! The start: reads the data directory and puts the machine together, with a line in the log and a
//! time for each phase. It serves nobody. Called by the node, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use volery_proto::command::CommandFlags;

use super::clock::Clock;
use super::drive::{self, Drive, Event, Peering};
use super::queue::Queue;
use super::recover::{self, LogReader};
use super::{MAX_EVENTS, MAX_UNSENT};
use crate::client_port::PortCounts;
use crate::config::{Config, Durability, partition_map, placement};
use crate::core::front_end::FrontEndConfig;
use crate::core::merge::skip::SkipPolicy;
use crate::core::oracle::PartitionMap;
use crate::core::server::{ClusterConfig, ReaperConfig, Server, ServerConfig};
use crate::storage::meta::DataDir;
use crate::storage::snapshot::{SinkOptions, SnapshotSink};
use crate::storage::wal::{Memory, Wal, WalHandle, WalOptions};
use crate::telemetry::Metrics;

/// What the rooms share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) queue: Arc<Queue<Event>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) counts: Arc<PortCounts>,
}

/// Reads the data directory and puts the machine together.
pub(super) fn start(
    config: &Config,
    shared: &Shared,
    peers: Option<Peering>,
) -> anyhow::Result<(Drive, DataDir)> {
    let server_id = u64::from(config.server_id.0);
    // A computed id changes with the server lines: then it says nothing of the directory.
    let id = config.cluster.as_ref().map(|cluster| cluster.id).filter(|id| id.is_configured);
    let id = id.map(|id| id.number);
    let dir = DataDir::open(&config.data_dir, &config.data_log_dir, server_id, id)?;
    partition_map::check_or_write(&config.data_dir, &config.map)?;
    if let Some(cluster) = &config.cluster {
        placement::check_or_write(&config.data_dir, cluster, config.server_id)?;
    }
    tracing::info!(
        data = %config.data_dir.display(),
        log = %config.data_log_dir.display(),
        server = server_id,
        "data directory opened"
    );
    let (server, log, lost) = load(config, &dir, shared)?;
    let events = shared.queue.clone();
    let mut options = SinkOptions::new(dir.snapshot_dir());
    options.retain = config.storage.snap_retain_count;
    let sink =
        SnapshotSink::start(options, Box::new(move |event| events.push(Event::Snapshot(event))))?;
    let drive = Drive {
        server,
        clock: shared.clock,
        queue: shared.queue.clone(),
        log,
        sink,
        clients: HashMap::new(),
        stalled: None,
        finish_stalled: false,
        waiting_for_service: Vec::new(),
        stop_at_us: None,
        snapshot_began_us: 0,
        metrics: shared.metrics.clone(),
        counts: shared.counts.clone(),
        peers,
        memory: if lost { drive::Memory::Lost } else { drive::Memory::Whole },
        last_token: 0,
    };
    Ok((drive, dir))
}

/// Snapshots, then the log, then what the log adds to them. Also whether there is no memory of what
/// this server may have accepted.
fn load(
    config: &Config,
    dir: &DataDir,
    shared: &Shared,
) -> anyhow::Result<(Server, WalHandle, bool)> {
    let map = Arc::new(PartitionMap::from_rules(1, &config.map));
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("no random bytes: {error}"))?;
    let hash_seed = u64::from_le_bytes(seed);
    let (clock, times) = (shared.clock, &shared.metrics.summaries);
    let begin = clock.elapsed();

    let machine_config = server_config(config, &map, hash_seed);
    let cluster = &machine_config.cluster;
    let held: Vec<_> = map.partitions().filter(|p| cluster.holds(config.server_id, *p)).collect();
    let partitions = recover::load_partitions(dir, &held, &map, hash_seed, clock)?;
    let znodes: usize = partitions.iter().map(|partition| partition.tree().node_count()).sum();
    let loaded = clock.elapsed();
    let took = loaded.saturating_sub(begin);
    times.startup_snap_load_time.record_time(took);
    tracing::info!(
        partitions = partitions.len(),
        znodes,
        took_ms = millis(took),
        "snapshots loaded"
    );

    let keep = config.cluster.as_ref().map(|_| machine_config.cluster.keep.1);
    let mut reader = LogReader::new(partitions, keep, clock);
    let (log, memory) = open_log(config, dir, shared, &mut reader)?;
    let took = clock.elapsed().saturating_sub(loaded);
    tracing::info!(records = reader.records, took_ms = millis(took), "log read and replayed");

    let mut recovered = reader.finish();
    let lost = memory != Memory::Whole && config.cluster.is_some();
    match memory {
        // A ring of one has nobody to learn from: what is here is all there is.
        _ if !lost => {}
        Memory::New => recovered.memory_new(),
        _ => recovered.memory_lost(),
    }
    if lost {
        tracing::info!(?memory, "this server has no memory: it votes once it has asked the others");
    }
    let server = Server::recover(machine_config, recovered, clock.now())
        .context("the log and the snapshots do not fit together")?;
    let commands = server.totals().commands;
    let replayed = clock.elapsed();
    times.startup_txns_load_time.record_time(replayed.saturating_sub(loaded));
    times.startup_txns_loaded.record_count(commands);
    times.dbinittime.record_time(replayed.saturating_sub(begin));
    let took = replayed.saturating_sub(loaded).saturating_sub(took);
    let position = server.position();
    tracing::info!(commands, %position, took_ms = millis(took), "state complete");
    Ok((server, log, lost))
}

fn open_log(
    config: &Config,
    dir: &DataDir,
    shared: &Shared,
    reader: &mut LogReader,
) -> anyhow::Result<(WalHandle, Memory)> {
    let mut options = WalOptions::new(dir.identity().log_identity());
    options.sync = config.durability == Durability::Sync;
    options.segment_bytes = config.storage.preallocate_bytes;
    options.fsync_warning_threshold =
        Duration::from_millis(config.storage.fsync_warning_threshold_ms);
    let metrics = shared.metrics.clone();
    options.on_sync = Box::new(move |took, records| {
        metrics.summaries.fsynctime.record_time(took);
        metrics.summaries.sync_processor_batch_size.record_count(records);
    });
    let completions = shared.queue.clone();
    let (log, found) = Wal::open(
        &dir.wal_dir(),
        options,
        |record| reader.record(record.payload),
        Box::new(move |token, lsn| completions.push(Event::Durable { token, lsn })),
    )?;
    if found.memory != Memory::Whole && config.cluster.is_none() {
        log.memory_restored()?;
    }
    Ok((log, found.memory))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn server_config(config: &Config, map: &Arc<PartitionMap>, hash_seed: u64) -> ServerConfig {
    let millis = |value: i32| u32::try_from(value).unwrap_or(0);
    ServerConfig {
        server: config.server_id,
        map: map.clone(),
        front_end: FrontEndConfig {
            server: config.server_id,
            min_timeout_ms: millis(config.min_session_timeout_ms),
            max_timeout_ms: millis(config.max_session_timeout_ms),
            tick_ms: u64::from(millis(config.tick_time_ms)),
            digest_enabled: config.auth.digest_enabled,
            super_digest: config.auth.super_digest.as_ref().map(|digest| digest.0.clone()),
            flags: CommandFlags {
                extended_types: config.extended_types_enabled,
                skip_acl: config.auth.skip_acl,
            },
            linearizable_reads: config.linearizable_reads,
            // Within the time in which the least patient client wants to hear something.
            stale_us: u64::from(millis(config.min_session_timeout_ms)) * 1000 / 3,
            max_unsent: MAX_UNSENT,
            max_events: MAX_EVENTS,
        },
        skip: SkipPolicy { together: config.skip_along, global_ahead: config.skip_ahead_us },
        window: config.ring_window,
        hash_seed,
        snapshot_every: config.storage.snap_count,
        snapshots_kept: config.storage.snap_retain_count.max(1),
        reaper: ReaperConfig {
            interval_ms: config.container.check_interval_ms,
            max: usize::try_from(config.container.max_per_minute).unwrap_or(usize::MAX),
            never_used_ms: config.container.max_never_used_interval_ms as i64,
        },
        cluster: cluster_config(config, hash_seed),
    }
}

fn cluster_config(config: &Config, seed: u64) -> ClusterConfig {
    let Some(cluster) = &config.cluster else {
        return ClusterConfig { seed, ..ClusterConfig::alone(config.server_id) };
    };
    let (members, observers) =
        cluster.servers.keys().copied().partition(|server| cluster.votes(*server));
    let (placement, global) = (cluster.placement.clone(), Some(cluster.global_acceptors.clone()));
    ClusterConfig { seed, observers, placement, global, ..ClusterConfig::of(members) }
}
