//! The log read back at a start, record by record: what is known decided executes at once, so
//! that memory holds the state and not the log. It writes nothing and answers nobody.
//! Called by the node; what it leaves goes into `Server::recover`.

use volery_proto::ids::RingId;

use super::{Recovered, ServerError, ServerTotals, cursors, pull_contributions};
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
            .enumerate()
            .map(|(at, cursor)| {
                let mut ring = RecoveredRing::new(RingId(at as u16));
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

    /// Takes the next record of a ring; `None` where the partition map has no such ring.
    ///
    /// # Errors
    /// The log contradicts itself or the snapshots.
    pub fn record(&mut self, ring: RingId, body: LogRecordBody) -> Option<Result<(), ServerError>> {
        let recovered = self.rings.get_mut(usize::from(ring.0))?;
        if let Err(error) = recovered.record(body) {
            return Some(Err(error.into()));
        }
        let decided = recovered.take_decided();
        Some(self.execute(ring, decided))
    }

    fn execute(&mut self, ring: RingId, decided: Vec<super::Decided>) -> Result<(), ServerError> {
        if decided.is_empty() {
            return Ok(());
        }
        for (_, value) in &decided {
            self.totals.decided(value);
        }
        let learners = match ring {
            RingId::GLOBAL => &mut self.partitions[..],
            RingId(own) => std::slice::from_mut(&mut self.partitions[usize::from(own) - 1]),
        };
        for partition in learners {
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
