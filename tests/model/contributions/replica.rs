//! One replica of the model: what it did, what there is to know of it, and the real partition that
//! its steps make.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{Instance, PartitionId, RingId, Slot, Zxid};
use volery_server::core::apply::Contribution;
use volery_server::core::executor::{CommandOutcome, Output, Partition, SnapshotError};

use super::{BEGIN, Contributions, State};

/// What a replica did.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Took the next value of ring 0 or of its own ring.
    Value(usize),
    Given(Zxid, PartitionId, Arc<Contribution>),
    Snapshot,
    /// Started anew from its last snapshot.
    Restart,
}

/// What there is to know of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) taken: [usize; 2],
    pub(super) given: BTreeSet<(Zxid, PartitionId)>,
    pub(super) executed: BTreeSet<Zxid>,
    pub(super) digest: u64,
    pub(super) position: Zxid,
    pub(super) set_aside: usize,
    /// What its snapshot has: taken, executed, and the digest.
    pub(super) snapshot: Option<([usize; 2], BTreeSet<Zxid>, u64)>,
    pub(super) contributed: BTreeSet<Zxid>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) steps: Vec<Step>,
    pub(super) known: Known,
    pub(super) lacks: Vec<(Zxid, Vec<PartitionId>)>,
}

impl PartialEq for Replica {
    fn eq(&self, other: &Replica) -> bool {
        self.known == other.known
    }
}

impl Hash for Replica {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.known.hash(state);
    }
}

/// A replica that is alive, while it takes its steps.
pub(super) struct Living<'a> {
    pub(super) model: &'a Contributions,
    pub(super) id: PartitionId,
    pub(super) partition: Partition,
    pub(super) known: Known,
    pub(super) chunks: Vec<Bytes>,
    pub(super) outcomes: Vec<(Zxid, CommandOutcome)>,
}

impl Living<'_> {
    pub(super) fn step(&mut self, state: &State, step: &Step) {
        match step {
            Step::Value(which) => {
                let ring = [RingId::GLOBAL, self.id.ring()][*which];
                let at = self.known.taken[*which];
                if let Some(value) = self.model.value(state, ring, at) {
                    let taken = self.partition.decided(ring, Instance(at as u64), &value);
                    taken.expect("values come in order");
                    self.known.taken[*which] += 1;
                }
            }
            Step::Given(zxid, from, contribution) => {
                self.known.given.insert((*zxid, *from));
                self.partition.contribution(*zxid, *from, contribution.clone());
            }
            Step::Snapshot => {
                self.chunks = self.partition.begin_snapshot();
                let mut last = false;
                while !last {
                    let mut chunk = Vec::new();
                    last = self.partition.snapshot_slice(100, &mut chunk);
                    self.chunks.push(chunk.into());
                }
                let Known { taken, executed, .. } = &self.known;
                let digest = self.partition.digest();
                self.known.snapshot = Some((*taken, executed.clone(), digest));
            }
            Step::Restart => self.restart(),
        }
        let mut outputs = Vec::new();
        self.partition.advance(&mut outputs).expect("no invariant is broken");
        for output in outputs {
            if let Output::Executed { zxid, outcome, .. } = output
                && zxid.slot() > Slot(BEGIN)
            {
                self.known.executed.insert(zxid);
                self.outcomes.push((zxid, outcome));
            }
        }
    }

    fn restart(&mut self) {
        let mut chunks = self.chunks.clone().into_iter();
        let map = self.model.map.clone();
        let loaded: Result<_, SnapshotError> =
            Partition::load(self.id, map, 8, || Ok(chunks.next()));
        self.partition = loaded.expect("a snapshot loads");
        let (global, own) = self.partition.cursors();
        self.known.taken = [global.instance.0 as usize, own.instance.0 as usize];
        self.known.given.clear();
        let executed = self.known.snapshot.as_ref().map(|(_, executed, _)| executed.clone());
        self.known.executed = executed.unwrap_or_default();
    }
}
