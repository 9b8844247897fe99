//! From the data directory to a running machine: snapshots, then the log.
//! It changes nothing but a torn tail. Called by the node at the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use volery_proto::ids::{PartitionId, RingId};
use volery_proto::wire;

use super::clock::{Clock, Progress};
use crate::core::executor::{self, Partition};
use crate::core::oracle::PartitionMap;
use crate::core::server::{Recovered, Replay};
use crate::storage::meta::DataDir;
use crate::storage::snapshot::{self, SnapshotReader};

/// Why a server cannot start from its data directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoverError {
    /// A snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotError),
    /// It can be read, and is not what it should be.
    #[error(
        "{file}: {error}. Move the file away: the server then starts from the snapshot before it"
    )]
    Content {
        /// Which.
        file: String,
        /// What is wrong.
        error: executor::SnapshotError,
    },
}

impl From<executor::SnapshotError> for RecoverError {
    fn from(error: executor::SnapshotError) -> Self {
        RecoverError::Content { file: String::new(), error }
    }
}

/// Loads the newest snapshot of each of these partitions, several at a time.
pub(super) fn load_partitions(
    dir: &DataDir,
    held: &[PartitionId],
    map: &Arc<PartitionMap>,
    hash_seed: u64,
    clock: Clock,
) -> Result<Vec<Partition>, RecoverError> {
    let snapshots = dir.snapshot_dir();
    snapshot::remove_unfinished(&snapshots)?;
    // Partitions need nothing of each other: each thread takes the next one.
    let loaded: Vec<_> = held.iter().map(|id| (*id, Mutex::new(None))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((id, place)) = loaded.get(next.fetch_add(1, Ordering::Relaxed)) {
            *place.lock() = Some(load_partition(&snapshots, *id, map, hash_seed, clock));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(loaded.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    loaded.into_iter().filter_map(|(_, place)| place.into_inner()).collect()
}

fn load_partition(
    snapshots: &std::path::Path,
    id: PartitionId,
    map: &Arc<PartitionMap>,
    hash_seed: u64,
    clock: Clock,
) -> Result<Partition, RecoverError> {
    let Some(newest) = snapshot::list(snapshots, id.0)?.into_iter().next() else {
        return Ok(Partition::new(id, map.clone(), hash_seed));
    };
    let mut reader = SnapshotReader::open(&newest.path)?;
    let mut progress = Progress::new(clock);
    let mut read = 0;
    let next = || -> Result<Option<Bytes>, RecoverError> {
        let chunk = reader.next_chunk()?;
        read += chunk.as_ref().map_or(0, Bytes::len) as u64;
        if progress.due() {
            tracing::info!(partition = id.0, bytes = read, of = newest.bytes, "loading a snapshot");
        }
        Ok(chunk)
    };
    let partition =
        Partition::load(id, map.clone(), hash_seed, next).map_err(|error| match error {
            RecoverError::Content { error, .. } => {
                RecoverError::Content { file: newest.path.display().to_string(), error }
            }
            other => other,
        })?;
    tracing::debug!(
        partition = id.0,
        zxid = %partition.delivered(),
        znodes = partition.tree().node_count(),
        "snapshot loaded"
    );
    Ok(partition)
}

/// The clock is read once in so many records.
const RECORDS_BETWEEN_LOOKS: u64 = 1024;

/// Hands the log's records to the replay.
pub(super) struct LogReader {
    replay: Replay,
    pub(super) records: u64,
    progress: Progress,
}

impl LogReader {
    /// Goes on from these replicas.
    /// `keep`: bytes of decided values that are kept for servers that lag.
    pub(super) fn new(partitions: Vec<Partition>, keep: Option<usize>, clock: Clock) -> LogReader {
        let mut replay = Replay::new(partitions);
        if let Some(keep) = keep {
            replay = replay.keeping(keep);
        }
        LogReader { replay, records: 0, progress: Progress::new(clock) }
    }

    /// Takes the next record.
    pub(super) fn record(
        &mut self,
        payload: Bytes,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let record = wire::LogRecord::decode(payload)?;
        let body = record.body.ok_or("a record without content")?;
        let ring = RingId(u16::try_from(record.ring)?);
        self.records += 1;
        if self.records.is_multiple_of(RECORDS_BETWEEN_LOOKS) && self.progress.due() {
            tracing::info!(records = self.records, "reading the log");
        }
        let replayed = self.replay.record(ring, body);
        Ok(replayed.ok_or_else(|| format!("no partition on this server has ring {ring}"))??)
    }

    pub(super) fn finish(self) -> Recovered {
        self.replay.finish()
    }
}
