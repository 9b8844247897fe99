//! The snapshot cycle: one partition after the other, in slices between commands; once all are
//! durable, the rings and the log are trimmed. Part of the server machine. DESIGN section 8.

use bytes::Bytes;
use volery_proto::ids::{Instance, PartitionId, ServerId, Zxid};

use super::{Effect, PeerMessage, Server, ServerError, find};
use crate::core::executor::Partition;
use crate::core::merge::Cursor;
use crate::core::mutation::mutated;
use crate::core::ring::Ring;

/// Znodes that a snapshot may write for each command since the one before.
const ZNODES_A_COMMAND: u64 = 4;
/// Znodes of one slice: some tens of microseconds.
const SLICE_NODES: usize = 256;

/// While another server gets a snapshot the next cycle waits for so many times as many commands:
/// the cycles would remove the snapshot before the other server has all of it, and what follows on
/// it from log and outboxes. What this costs in disk, in memory and at a start is bounded so.
const SENDING_FACTOR: u64 = 16;

/// Cycles that are remembered while no majority has any.
const FLOORS_MAX: usize = 64;

/// Where the snapshot of a partition would be read on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Which partition.
    pub partition: PartitionId,
    /// In ring 0.
    pub global: Cursor,
    /// In its own ring.
    pub own: Cursor,
    /// Nothing below may still ask for contributions.
    pub position: Zxid,
}

/// An end of the log, and one above everything that each ring had accepted by then: where all of
/// that is in snapshots, the log below is of no use any more.
#[derive(Debug, Default)]
pub(super) struct Mark {
    lsn: u64,
    ends: Vec<Instance>,
}

/// What one whole cycle covers.
#[derive(Debug)]
pub(super) struct Floor {
    /// Of each partition that is here.
    parts: Vec<Covered>,
    /// Nothing below is needed to go on from there.
    lsn: u64,
}

impl Floor {
    /// Where each ring that is here would be read on from.
    fn cursors(&self) -> Vec<Cursor> {
        let global = self.parts.iter().map(|part| part.global).min_by_key(|c| c.instance);
        global.into_iter().chain(self.parts.iter().map(|part| part.own)).collect()
    }

    /// Every partition's snapshot has executed at least this.
    fn least(&self) -> Zxid {
        self.parts.iter().map(|part| part.position).min().unwrap_or_default()
    }

    /// Whether another server's snapshot of a partition needs nothing below this floor: no value
    /// of ring 0 or of the partition's own ring, and no contribution to what it has to execute.
    fn is_behind(&self, other: &Covered) -> bool {
        let below = |own: &Covered| own.own.instance <= other.own.instance;
        let own = self.parts.iter().find(|part| part.partition == other.partition);
        let global = self.cursors().first().is_none_or(|c| c.instance <= other.global.instance);
        global && own.is_none_or(below) && self.least() <= other.position
    }
}

/// A cycle over all partitions.
#[derive(Debug)]
pub(super) struct Running {
    /// Below, the log goes once it is over.
    lsn: u64,
    began: Vec<Covered>,
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
                let due = self.config.snapshot_every.max(znodes as u64 / ZNODES_A_COMMAND);
                let is_sending = self.transfer.sending_until_us.is_some();
                commands >= if is_sending { due.saturating_mul(SENDING_FACTOR) } else { due }
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
            // Alone, what is durable is decided; with others, what is accepted may not be yet.
            let alone = self.peers.alone();
            let end = |ring: &Ring| if alone { ring.cursor().0 } else { ring.end() };
            let ends = self.rings.iter().map(end).collect();
            self.marks.push_back(Mark { lsn: self.durable_lsn, ends });
            self.cycle = Cycle::Running(Running { lsn: 0, began: Vec::new(), step: Step::Next });
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
                let id = partition.id();
                running.began.push(Covered { partition: id, global, own, position });
                running.step = Step::Slices;
                let (zxid, chunks) = (partition.delivered(), partition.begin_snapshot());
                let partition = id;
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
            && running.began.last().is_some_and(|last| last.partition == partition)
        {
            running.step = Step::Next;
        }
    }

    pub(super) fn snapshot_failed(&mut self, partition: PartitionId) {
        if let Some(at) = find(&self.partitions, partition) {
            self.partitions[at].abort_snapshot();
        }
        self.cycle = Cycle::Idle;
    }

    /// Every partition has a durable snapshot: what is below the oldest that are kept, and below
    /// what a majority has, may leave the rings, the outboxes and the log. A server can start
    /// from any snapshot that is kept.
    fn trim(&mut self) -> Result<(), ServerError> {
        let Cycle::Running(running) = &mut self.cycle else { return Ok(()) };
        let mut floor = Floor { parts: running.began.clone(), lsn: 0 };
        let cursors = floor.cursors();
        floor.lsn = self.lsn_below(&cursors);
        for (ring, cursor) in self.rings.iter_mut().zip(&cursors) {
            ring.hold_from(cursor.instance);
        }
        self.floors.push_back(floor);
        self.tell_floor(None);
        self.transfer.log_failed = false;
        self.serve_fetchers();
        let Some(at) = self.floor_of_majority() else {
            if self.floors.len() > FLOORS_MAX {
                // Nobody else has snapshots; the log is kept from the oldest on.
                self.floors.remove(1);
            }
            self.cycle = Cycle::Idle;
            return Ok(());
        };
        self.floors.drain(..at);
        let floor = &self.floors[0];
        for (ring, cursor) in self.rings.iter_mut().zip(floor.cursors()) {
            ring.trim(cursor.instance, cursor.position)?;
        }
        for partition in &mut self.partitions {
            partition.trim_outbox(floor.least());
        }
        if let Cycle::Running(running) = &mut self.cycle {
            running.lsn = floor.lsn;
            running.step = Step::Checkpoint(self.next_token);
        }
        self.batch.extend(self.rings.iter().flat_map(Ring::checkpoint_records));
        self.end_batch();
        Ok(())
    }

    /// The highest end of the log below which everything is below these cursors.
    fn lsn_below(&mut self, cursors: &[Cursor]) -> u64 {
        let below = |mark: &Mark| mark.ends.iter().zip(cursors).all(|(e, c)| *e <= c.instance);
        let count = self.marks.iter().take_while(|mark| below(mark)).count();
        self.marks.drain(..count.saturating_sub(1));
        self.marks.front().filter(|mark| below(mark)).map_or(0, |mark| mark.lsn)
    }

    /// The last of the own floors, those of kept snapshots left out, that a majority of the voting
    /// replicas of *every* partition has reached: all of them learn ring 0, and any may still ask
    /// for contributions. A dead replica holds nothing.
    fn floor_of_majority(&self) -> Option<usize> {
        let kept = if mutated!(TrimmedAtNewest) { 1 } else { self.config.snapshots_kept };
        let candidates = (self.floors.len() + 1).checked_sub(kept)?;
        let partitions: Vec<PartitionId> = self.config.map.partitions().collect();
        let reached = |floor: &Floor| {
            let by_majority = |partition: &PartitionId| self.is_reached(floor, *partition);
            match mutated!(OwnFloors) {
                true => self.partitions.iter().all(|own| by_majority(&own.id())),
                false => partitions.iter().all(by_majority),
            }
        };
        (0..candidates).rev().find(|at| reached(&self.floors[*at]))
    }

    /// Whether a majority of a partition's voting replicas needs nothing below this floor.
    fn is_reached(&self, floor: &Floor, partition: PartitionId) -> bool {
        let (voters, _) = self.config.cluster.ring(partition.ring());
        let reached = |server: &&ServerId| {
            // The server itself has reached all of its own.
            **server == self.config.server
                || self.peers.floor(**server, partition).is_some_and(|told| floor.is_behind(told))
        };
        voters.iter().filter(reached).count() > voters.len() / 2
    }

    /// Whether there are snapshots behind which everything is still to be had here.
    pub(super) fn holds_newest(&self) -> bool {
        let from = |ring: &Ring| match self.transfer.log_failed {
            true => ring.memory_from(),
            false => ring.kept_from(),
        };
        let holds = |floor: &Floor| {
            let mut rings = self.rings.iter().zip(floor.cursors());
            rings.all(|(ring, cursor)| from(ring) <= cursor.instance)
        };
        self.floors.back().is_some_and(holds)
    }

    /// Says from where this server would start again.
    pub(super) fn tell_floor(&mut self, to: Option<ServerId>) {
        let Some(floor) = self.floors.back() else { return };
        let message = PeerMessage::Floor(floor.parts.clone());
        let others = self.peers.others.iter().map(|peer| peer.id);
        for to in others.filter(|id| to.is_none_or(|to| to == *id)).collect::<Vec<_>>() {
            self.send(to, message.clone());
        }
    }
}
