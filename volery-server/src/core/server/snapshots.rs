//! The snapshot cycle: one partition after the other, in slices between commands; once all are
//! durable, the rings and the log are trimmed. Part of the server machine. DESIGN section 8.

use bytes::Bytes;
use volery_proto::ids::{Instance, PartitionId, Zxid};

use super::{Effect, Server, ServerError};
use crate::core::executor::Partition;
use crate::core::merge::Cursor;
use crate::core::mutation::mutated;
use crate::core::ring::Ring;

/// Znodes that a snapshot may write for each command since the one before.
const ZNODES_A_COMMAND: u64 = 4;
/// Znodes of one slice: some tens of microseconds.
const SLICE_NODES: usize = 256;

/// Where a snapshot would resume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    global: Cursor,
    own: Cursor,
    position: Zxid,
}

/// What one whole cycle covers.
#[derive(Debug)]
pub(super) struct Floor {
    /// Where each ring would be read on from.
    cursors: Vec<Cursor>,
    /// Every partition's snapshot has executed at least this.
    least: Zxid,
    /// The log's durable end when the cycle began.
    lsn: u64,
}

/// A cycle over all partitions.
#[derive(Debug)]
pub(super) struct Running {
    /// The log's durable end, and how far each ring was decided, when the cycle began.
    lsn: u64,
    decided: Vec<Instance>,
    began: Vec<Began>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next partition's snapshot may begin.
    Next,
    /// Slices of the last one begun are written.
    Slices,
    /// It is complete; the disk has still to say so.
    Sync,
    /// All are durable; the checkpoint has this token.
    Checkpoint(u64),
}

#[derive(Debug)]
pub(super) enum Cycle {
    Idle,
    Running(Running),
}

impl Server {
    /// Whether `snapshot_step` has something to do now.
    #[must_use]
    pub fn snapshot_due(&self) -> bool {
        match &self.cycle {
            // A snapshot costs as much as there are znodes, a replay as there are commands: with
            // many znodes snapshots are rarer, or a busy server would write little else.
            Cycle::Idle => {
                let commands: u64 = self.partitions.iter().map(Partition::since_snapshot).sum();
                let znodes: usize = self.partitions.iter().map(|p| p.tree().node_count()).sum();
                commands >= self.config.snapshot_every.max(znodes as u64 / ZNODES_A_COMMAND)
            }
            Cycle::Running(running) => match running.step {
                Step::Next | Step::Slices => true,
                Step::Sync => false,
                Step::Checkpoint(token) => {
                    self.appended.front().is_none_or(|batch| batch.token > token)
                }
            },
        }
    }

    /// Begins a cycle now, due or not, unless one is running.
    pub fn begin_snapshots(&mut self) {
        if let Cycle::Idle = self.cycle {
            self.cycle = Cycle::Running(Running {
                lsn: self.durable_lsn,
                decided: self.rings.iter().map(|ring| ring.cursor().0).collect(),
                began: Vec::new(),
                step: Step::Next,
            });
        }
    }

    /// Whether a cycle is running.
    #[must_use]
    pub fn snapshots_running(&self) -> bool {
        matches!(self.cycle, Cycle::Running(_))
    }

    /// One small step of the cycle; call it between batches while `snapshot_due`.
    ///
    /// # Errors
    /// An invariant is broken: the process must end.
    pub fn snapshot_step(&mut self) -> Result<Vec<Effect>, ServerError> {
        self.begin_snapshots();
        let Cycle::Running(running) = &mut self.cycle else { return Ok(Vec::new()) };
        match running.step {
            Step::Next => {
                let at = running.began.len();
                if at == self.partitions.len() {
                    self.trim()?;
                    return Ok(std::mem::take(&mut self.effects));
                }
                let partition = &mut self.partitions[at];
                let (global, own) = partition.cursors();
                // What is set aside may still ask for contributions from here on.
                let position = partition.position();
                running.began.push(Began { global, own, position });
                running.step = Step::Slices;
                let (zxid, chunks) = (partition.delivered(), partition.begin_snapshot());
                let partition = partition.id();
                self.effects.push(Effect::SnapshotBegin { partition, zxid });
                let chunks =
                    chunks.into_iter().map(|chunk| Effect::SnapshotChunk { partition, chunk });
                self.effects.extend(chunks);
            }
            Step::Slices => {
                let partition = &mut self.partitions[running.began.len() - 1];
                let mut chunk = Vec::new();
                let done = partition.snapshot_slice(SLICE_NODES, &mut chunk);
                let partition = partition.id();
                if !chunk.is_empty() {
                    let chunk = Bytes::from(chunk);
                    self.effects.push(Effect::SnapshotChunk { partition, chunk });
                }
                if done {
                    running.step = Step::Sync;
                    self.effects.push(Effect::SnapshotFinish { partition });
                }
            }
            Step::Sync => {}
            Step::Checkpoint(_) => {
                let below_lsn = running.lsn;
                self.effects.push(Effect::PurgeLog { below_lsn });
                self.cycle = Cycle::Idle;
            }
        }
        Ok(std::mem::take(&mut self.effects))
    }

    pub(super) fn snapshot_durable(&mut self, partition: PartitionId) {
        if let Cycle::Running(running) = &mut self.cycle
            && running.step == Step::Sync
            && running.began.len() == usize::from(partition.0)
        {
            running.step = Step::Next;
        }
    }

    pub(super) fn snapshot_failed(&mut self, partition: PartitionId) {
        self.partitions[usize::from(partition.0) - 1].abort_snapshot();
        self.cycle = Cycle::Idle;
    }

    /// Every partition has a durable snapshot: what is below the oldest that are kept may leave
    /// the rings, the outboxes and the log. A server can start from any snapshot that is kept.
    fn trim(&mut self) -> Result<(), ServerError> {
        let Cycle::Running(running) = &mut self.cycle else { return Ok(()) };
        let global = running.began.iter().map(|b| b.global).min_by_key(|c| c.instance);
        let own = running.began.iter().map(|b| b.own);
        let cursors: Vec<Cursor> = global.into_iter().chain(own).collect();
        let least = running.began.iter().map(|b| b.position).min().unwrap_or_default();
        // What was decided when the cycle began is in the snapshots, unless a replica lagged.
        if running.decided.iter().zip(&cursors).all(|(d, c)| *d <= c.instance) {
            self.floors.push_back(Floor { cursors, least, lsn: running.lsn });
        }
        let kept = if mutated!(TrimmedAtNewest) { 1 } else { self.config.snapshots_kept };
        if self.floors.len() > kept {
            self.floors.pop_front();
        }
        let full = self.floors.len() == kept;
        let Some(floor) = self.floors.front().filter(|_| full) else {
            self.cycle = Cycle::Idle;
            return Ok(());
        };
        for (ring, cursor) in self.rings.iter_mut().zip(&floor.cursors) {
            ring.trim(cursor.instance, cursor.position)?;
        }
        for partition in &mut self.partitions {
            partition.trim_outbox(floor.least);
        }
        running.lsn = floor.lsn;
        running.step = Step::Checkpoint(self.next_token);
        self.batch.extend(self.rings.iter().flat_map(Ring::checkpoint_records));
        self.end_batch();
        Ok(())
    }
}
