//! The log read back at a start, record by record: what is known decided executes at once, so
//! that memory holds the state and not the log. It writes nothing and answers nobody.
//! Called by the node; what it leaves goes into `Server::recover`.

use volery_proto::ids::{PartitionId, RingId};

use super::{Recovered, ServerError, ServerTotals, cursors, find, learners, pull_contributions};
use crate::core::executor::Partition;
use crate::core::ring::{LogRecordBody, RecoveredRing};

/// A recovery under way.
#[derive(Debug)]
pub struct Replay {
    partitions: Vec<Partition>,
    rings: Vec<RecoveredRing>,
    totals: ServerTotals,
}

impl Replay {
    /// Goes on from the snapshots of these replicas (or from nothing).
    #[must_use]
    pub fn new(partitions: Vec<Partition>) -> Replay {
        let rings = cursors(&partitions)
            .into_iter()
            .map(|(ring, cursor)| {
                let mut ring = RecoveredRing::new(ring);
                ring.covered_below(cursor.instance, cursor.position);
                ring
            })
            .collect();
        Replay { partitions, rings, totals: ServerTotals::default() }
    }

    /// Keeps the decided values behind the snapshots for servers that lag: so many bytes of each
    /// ring.
    #[must_use]
    pub fn keeping(mut self, bytes: usize) -> Replay {
        self.rings.iter_mut().for_each(|ring| ring.keep(bytes));
        self
    }

    /// Takes the next record of a ring; `None` where no partition that is here has such a ring.
    ///
    /// # Errors
    /// The log contradicts itself or the snapshots.
    pub fn record(&mut self, ring: RingId, body: LogRecordBody) -> Option<Result<(), ServerError>> {
        let at = match ring {
            RingId::GLOBAL => 0,
            RingId(own) => find(&self.partitions, PartitionId(own))? + 1,
        };
        let recovered = &mut self.rings[at];
        if let Err(error) = recovered.record(body) {
            return Some(Err(error.into()));
        }
        let decided = recovered.take_decided();
        Some(self.execute((at, ring), decided))
    }

    fn execute(
        &mut self,
        (at, ring): (usize, RingId),
        decided: Vec<super::Decided>,
    ) -> Result<(), ServerError> {
        if decided.is_empty() {
            return Ok(());
        }
        for (_, value) in &decided {
            self.totals.decided(value);
        }
        for partition in learners(&mut self.partitions, at) {
            for (instance, value) in &decided {
                partition.decided(ring, *instance, value)?;
            }
        }
        let mut outputs = Vec::new();
        loop {
            let mut more = false;
            for at in 0..self.partitions.len() {
                self.partitions[at].advance(&mut outputs)?;
                more |= !outputs.is_empty();
                // Nobody waits for results, and nobody watches.
                outputs.clear();
                more |= pull_contributions(&mut self.partitions, at);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// What `Server::recover` goes on from.
    #[must_use]
    pub fn finish(self) -> Recovered {
        Recovered { partitions: self.partitions, rings: self.rings, totals: self.totals }
    }
}
