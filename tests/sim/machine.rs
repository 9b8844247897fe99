//! A server under test, its clock, its disk, and how it starts from what that holds.
//! The same calls in the same order as the node's drive loop. Used by the world.

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::ids::{PartitionId, RingId, Slot};
use volery_proto::ring::decode_record;
use volery_server::core::executor::{Partition, SnapshotError};
use volery_server::core::ring::LogRecordBody;
use volery_server::core::server::{Input, Replay, Server, ServerConfig};
use volery_server::core::types::Now;

use crate::disk::{Disk, Snapshot};

/// The wall clock shows this at the start, in Unix microseconds.
const START_UNIX_US: u64 = Slot::EPOCH_UNIX_US + 1_000_000_000_000;

/// One machine of the world.
pub(crate) struct Machine {
    pub(crate) config: ServerConfig,
    pub(crate) server: Option<Server>,
    /// Raised by every end of the process.
    pub(crate) life: u64,
    pub(crate) inbox: Vec<Input>,
    pub(crate) wake_at: Option<u64>,
    pub(crate) disk: Disk,
    pub(crate) slow_disk: bool,
    /// Its disk is empty, at first or because it was wiped, and it does not know yet what it has
    /// promised: the mark that the storage keeps until it does.
    pub(crate) lost: bool,
    /// What its wall clock is off by, and how fast that grows, in millionths.
    pub(crate) offset_us: i64,
    pub(crate) drift: i64,
    pub(crate) steps: u64,
}

impl Machine {
    pub(crate) fn new(config: ServerConfig, offset_us: i64, drift: i64) -> Self {
        let cluster = &config.cluster;
        Machine {
            disk: Disk::new(config.snapshots_kept),
            lost: cluster.members.len() > 1 && cluster.members.contains(&config.server),
            config,
            server: None,
            life: 0,
            inbox: Vec::new(),
            wake_at: None,
            slow_disk: false,
            offset_us,
            drift,
            steps: 0,
        }
    }

    /// What its clocks show at this moment of the world.
    pub(crate) fn now(&self, now_us: u64) -> Now {
        let drifted = now_us as i64 / 1000 * self.drift / 1000;
        Now {
            unix_us: (START_UNIX_US + now_us).saturating_add_signed(self.offset_us + drifted),
            monotonic_us: now_us,
        }
    }
}

fn load(
    config: &ServerConfig,
    id: PartitionId,
    snapshot: Option<&Snapshot>,
) -> Result<Partition, SnapshotError> {
    let (map, seed) = (config.map.clone(), config.hash_seed);
    let Some(snapshot) = snapshot else { return Ok(Partition::new(id, map, seed)) };
    let mut chunks = snapshot.chunks.iter().cloned();
    Partition::load(id, map, seed, || Ok::<_, SnapshotError>(chunks.next()))
}

fn body(record: &Bytes) -> Option<LogRecordBody> {
    decode_record(record.clone()).ok().and_then(|r| r.body)
}

/// Starts a server from these records and snapshots, as the node does.
pub(crate) fn start<'a>(
    config: &ServerConfig,
    records: impl Iterator<Item = &'a Bytes>,
    snapshots: &BTreeMap<PartitionId, Snapshot>,
    lost: bool,
    now: Now,
) -> Result<Server, String> {
    let held = config.map.partitions().filter(|id| config.cluster.holds(config.server, *id));
    let loaded = held.map(|id| load(config, id, snapshots.get(&id)));
    let loaded = loaded.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let mut replay = Replay::new(loaded);
    if config.cluster.members.len() > 1 {
        replay = replay.keeping(config.cluster.keep.1);
    }
    for record in records {
        let Some(body) = body(record) else { return Err("a record without a body".into()) };
        let ring = RingId(Disk::ring_of(record) as u16);
        replay.record(ring, body).ok_or("a ring that is not there")?.map_err(|e| e.to_string())?;
    }
    let mut recovered = replay.finish();
    if lost {
        recovered.memory_new();
    }
    Server::recover(config.clone(), recovered, now).map_err(|e| format!("recovery: {e}"))
}

/// The digests of all partitions.
pub(crate) fn digests(server: &Server) -> Vec<u64> {
    server.partitions().iter().map(Partition::digest).collect()
}
