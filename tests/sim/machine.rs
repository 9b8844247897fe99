//! The server under test, its clocks, and how it starts from what a disk holds.
//! The same calls in the same order as the node's drive loop. Used by the world.

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::ids::{PartitionId, RingId, Slot};
use volery_proto::ring::decode_record;
use volery_server::core::executor::{Partition, SnapshotError};
use volery_server::core::ring::LogRecordBody;
use volery_server::core::server::{Replay, Server, ServerConfig};
use volery_server::core::types::Now;

use crate::disk::{Disk, Snapshot};

/// The wall clock shows this at the start, in Unix microseconds.
const START_UNIX_US: u64 = Slot::EPOCH_UNIX_US + 1_000_000_000_000;

/// The clocks of the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Microseconds since the start; never goes back.
    pub(crate) now_us: u64,
    /// What the wall clock is off by.
    pub(crate) offset_us: i64,
}

impl Clock {
    pub(crate) fn now(&self) -> Now {
        Now {
            unix_us: (START_UNIX_US + self.now_us).saturating_add_signed(self.offset_us),
            monotonic_us: self.now_us,
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

/// Starts a server from these records and snapshots.
pub(crate) fn start<'a>(
    config: &ServerConfig,
    partitions: u16,
    records: impl Iterator<Item = &'a Bytes>,
    snapshots: &BTreeMap<PartitionId, Snapshot>,
    now: Now,
) -> Result<Server, String> {
    let loaded = (1..=partitions).map(|id| {
        let id = PartitionId(id);
        load(config, id, snapshots.get(&id)).map_err(|e| e.to_string())
    });
    let mut replay = Replay::new(loaded.collect::<Result<_, _>>()?);
    for record in records {
        let Some(body) = body(record) else { return Err("a record without a body".into()) };
        let replayed = replay.record(RingId(Disk::ring_of(record) as u16), body);
        replayed.ok_or("a record of no ring")?.map_err(|e| format!("replay: {e}"))?;
    }
    Server::recover(config.clone(), replay.finish(), now).map_err(|e| format!("recovery: {e}"))
}

/// The digests of all partitions.
pub(crate) fn digests(server: &Server) -> Vec<u64> {
    server.partitions().iter().map(Partition::digest).collect()
}
