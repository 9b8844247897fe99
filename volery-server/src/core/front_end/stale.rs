//! Which partitions have been waited for too long: their replica here does not move though others
//! do, as when they have no majority, or the commands they wait with need one that has none. No
//! session hangs for them: new commands over several partitions are refused at once, and messages
//! pass what such a partition may still have to tell (ATTACKS row 24). It waits for nothing itself.
//! Called by the front end at every settle. DESIGN sections 6.5 and 7.

use volery_proto::ids::{PartitionId, Zxid};

use super::Replicas;
use crate::core::mutation::mutated;
use crate::core::oracle::Destination;
use crate::core::types::Now;

/// How far a replica is, and since when it is waited for without moving, monotonic microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    at: Zxid,
    since_us: u64,
}

impl Place {
    fn look(&mut self, at: Zxid, waited: bool, now_us: u64) {
        if at > self.at || !waited {
            *self = Place { at, since_us: now_us };
        }
    }
}

/// One partition.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    delivered: Place,
    executed: Place,
    /// A message or a read waits for it.
    wanted: bool,
}

/// What is known of all partitions.
#[derive(Debug)]
pub(super) struct Stale {
    bound_us: u64,
    now_us: u64,
    /// Partitions 1, 2, …
    partitions: Vec<Progress>,
}

impl Stale {
    pub(super) fn new(bound_us: u64) -> Stale {
        Stale { bound_us, now_us: 0, partitions: Vec::new() }
    }

    /// Looks at all replicas. Only who is waited for can be late: idle rings stand still for long.
    pub(super) fn look(&mut self, replicas: &Replicas<'_>, now: Now) {
        self.now_us = now.monotonic_us;
        let map = replicas.map();
        self.partitions.resize_with(map.partitions().count(), Progress::default);
        for (id, progress) in map.partitions().zip(&mut self.partitions) {
            let (delivered, executed) = (replicas.delivered(id), replicas.position(id));
            let waited = std::mem::take(&mut progress.wanted) || replicas.is_held_up(id);
            progress.delivered.look(delivered, waited, self.now_us);
            progress.executed.look(executed, waited || executed < delivered, self.now_us);
        }
    }

    /// A message or a read waits for this partition.
    pub(super) fn wanted(&mut self, id: PartitionId) {
        if let Some(progress) = self.partitions.get_mut(usize::from(id.0) - 1) {
            progress.wanted = true;
        }
    }

    fn is_late(&self, id: PartitionId, place: impl Fn(&Progress) -> Place) -> bool {
        let Some(own) = self.partitions.get(usize::from(id.0) - 1).map(&place) else {
            return false;
        };
        // Whoever waits with a command of its own has delivered more itself.
        let furthest = self.partitions.iter().map(|progress| progress.delivered.at).max();
        own.since_us + self.bound_us <= self.now_us && furthest > Some(own.at)
    }

    /// Whether a partition delivers nothing any more: new commands would only wait in it.
    pub(super) fn delivers_nothing(&self, id: PartitionId) -> bool {
        self.is_late(id, |progress| progress.delivered)
    }

    /// Whether a partition stays behind for long: nobody waits for its events any more.
    pub(super) fn stays_behind(&self, id: PartitionId) -> bool {
        self.is_late(id, |progress| progress.executed) && !mutated!(WaitsForTheDead)
    }

    /// Whether a command is not to be asked for: it would wait, and others with it.
    pub(super) fn refuses(&self, destination: &Destination) -> bool {
        match destination {
            Destination::Several(partitions) => {
                partitions.iter().any(|id| self.delivers_nothing(*id)) && !mutated!(AsksTheDead)
            }
            Destination::One(_) | Destination::All => false,
        }
    }

    /// When a partition that is waited for will be late, monotonic microseconds.
    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        let places = self.partitions.iter().filter(|progress| progress.wanted);
        let due = places.map(|progress| progress.executed.since_us + self.bound_us);
        due.filter(|due| *due > self.now_us).min()
    }
}
