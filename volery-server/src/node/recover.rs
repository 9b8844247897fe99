//! From the data directory to a running machine: snapshots, then the log.
//! It changes nothing but a torn tail. Called by the node at the start.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use volery_proto::ids::{PartitionId, RingId};
use volery_proto::wire;

use crate::core::executor::{self, Partition};
use crate::core::merge::Cursor;
use crate::core::oracle::PartitionMap;
use crate::core::ring::RecoveredRing;
use crate::core::server::{Recovered, cursors};
use crate::storage::meta::DataDir;
use crate::storage::snapshot::{self, SnapshotReader};

/// Why a server cannot start from its data directory.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotError),
    /// It can be read, and is not what it should be.
    #[error("{file}: {error}; move the file away to start from an older snapshot or the log")]
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

/// Loads the newest snapshot of every partition.
pub(super) fn load_partitions(
    dir: &DataDir,
    map: &Arc<PartitionMap>,
    hash_seed: u64,
) -> Result<Vec<Partition>, RecoverError> {
    let snapshots = dir.snapshot_dir();
    snapshot::remove_unfinished(&snapshots)?;
    map.partitions().map(|id| load_partition(&snapshots, id, map, hash_seed)).collect()
}

fn load_partition(
    snapshots: &std::path::Path,
    id: PartitionId,
    map: &Arc<PartitionMap>,
    hash_seed: u64,
) -> Result<Partition, RecoverError> {
    let Some(newest) = snapshot::list(snapshots, id.0)?.into_iter().next() else {
        return Ok(Partition::new(id, map.clone(), hash_seed));
    };
    let mut reader = SnapshotReader::open(&newest.path)?;
    let next = || -> Result<Option<Bytes>, RecoverError> { Ok(reader.next_chunk()?) };
    let partition =
        Partition::load(id, map.clone(), hash_seed, next).map_err(|error| match error {
            RecoverError::Content { error, .. } => {
                RecoverError::Content { file: newest.path.display().to_string(), error }
            }
            other => other,
        })?;
    tracing::info!(
        partition = id.0,
        zxid = %partition.position(),
        znodes = partition.tree().node_count(),
        "snapshot loaded"
    );
    Ok(partition)
}

/// Gathers what the log says of each ring.
pub(super) struct LogReader {
    rings: Vec<RecoveredRing>,
    pub(super) records: u64,
}

impl LogReader {
    /// Reads what the snapshots of these replicas do not cover.
    pub(super) fn new(partitions: &[Partition]) -> LogReader {
        let ring = |(at, cursor): (usize, Cursor)| {
            let mut ring = RecoveredRing::new(RingId(at as u16));
            ring.covered_below(cursor.instance, cursor.position);
            ring
        };
        LogReader {
            rings: cursors(partitions).into_iter().enumerate().map(ring).collect(),
            records: 0,
        }
    }

    /// Takes the next record.
    pub(super) fn record(
        &mut self,
        payload: Bytes,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let record = wire::LogRecord::decode(payload)?;
        let ring = usize::try_from(record.ring)?;
        let ring = self
            .rings
            .get_mut(ring)
            .ok_or_else(|| format!("a record of ring {ring}, which the partition map has not"))?;
        self.records += 1;
        ring.record(record.body.ok_or("a record without content")?)?;
        Ok(())
    }

    pub(super) fn finish(self, partitions: Vec<Partition>) -> Recovered {
        Recovered { partitions, rings: self.rings }
    }
}
