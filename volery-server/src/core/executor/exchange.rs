//! Contributions: those that came before their command, and the outbox of those given. Both are
//! kept by zxid and apply to that command alone. No time-out ever changes a result. DESIGN
//! section 6. What comes later goes to the command itself, which is set aside by then.
//! Called by the partition replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{PartitionId, Zxid};

use crate::core::apply::Contribution;

/// Contributions by the partition that gave them.
pub(super) type Contributions = BTreeMap<PartitionId, Arc<Contribution>>;

/// Commands for which contributions are kept before they are delivered; what is beyond is asked
/// for again.
const EARLY_MAX: usize = 4096;
/// Weight of such contributions, about bytes.
const EARLY_WEIGHT_MAX: usize = 64 << 20;

/// The exchange of one partition.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    early: BTreeMap<Zxid, Contributions>,
    early_weight: usize,
    /// Replicated state (left out of digests): whoever replays a command asks for it again.
    /// Encoded: it is kept for long, and must not hold on to the buffers that requests came in.
    pub(super) outbox: BTreeMap<Zxid, Bytes>,
}

impl Exchange {
    /// For a command that is not delivered yet. The first counts; all replicas of a partition
    /// say the same.
    pub(super) fn receive(&mut self, zxid: Zxid, from: PartitionId, given: Arc<Contribution>) {
        let weight = given.weight();
        let here = self.early.entry(zxid).or_default();
        if here.contains_key(&from) {
            return;
        }
        here.insert(from, given);
        self.early_weight += weight;
        // What is needed first stays.
        while self.early.len() > EARLY_MAX || self.early_weight > EARLY_WEIGHT_MAX {
            let Some((_, last)) = self.early.pop_last() else { return };
            self.lighten(&last);
        }
    }

    fn lighten(&mut self, gone: &Contributions) {
        let weight: usize = gone.values().map(|given| given.weight()).sum();
        self.early_weight = self.early_weight.saturating_sub(weight);
    }

    /// What came early for a command that is delivered now; for older ones nobody will ask.
    pub(super) fn take_early(&mut self, zxid: Zxid) -> Contributions {
        if self.early.is_empty() {
            return Contributions::new();
        }
        let later = self.early.split_off(&Zxid(zxid.0 + 1));
        let mut now = std::mem::replace(&mut self.early, later);
        now.values().for_each(|gone| self.lighten(gone));
        now.remove(&zxid).unwrap_or_default()
    }

    pub(super) fn give(&mut self, zxid: Zxid, contribution: Bytes) {
        self.outbox.insert(zxid, contribution);
    }

    /// For one that replays the command. What was encoded here decodes here.
    pub(super) fn contributed(&self, zxid: Zxid) -> Option<Arc<Contribution>> {
        let given = self.outbox.get(&zxid)?;
        Contribution::decode(given.clone()).ok().map(Arc::new)
    }

    /// Bytes in the outbox.
    pub(super) fn kept_bytes(&self) -> usize {
        self.outbox.values().map(Bytes::len).sum()
    }

    pub(super) fn trim(&mut self, below: Zxid) {
        self.outbox = self.outbox.split_off(&below);
    }
}
