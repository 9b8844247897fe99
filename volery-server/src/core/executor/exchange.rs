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

/// The exchange of one partition.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    early: BTreeMap<Zxid, Contributions>,
    /// Replicated state (left out of digests): whoever replays a command asks for it again.
    /// Encoded: it is kept for long, and must not hold on to the buffers that requests came in.
    pub(super) outbox: BTreeMap<Zxid, Bytes>,
}

impl Exchange {
    /// For a command that is not delivered yet. The first counts; all replicas of a partition
    /// say the same.
    pub(super) fn receive(&mut self, zxid: Zxid, from: PartitionId, given: Arc<Contribution>) {
        self.early.entry(zxid).or_default().entry(from).or_insert(given);
    }

    /// What came early for a command that is delivered now; for older ones nobody will ask.
    pub(super) fn take_early(&mut self, zxid: Zxid) -> Contributions {
        if self.early.is_empty() {
            return Contributions::new();
        }
        let later = self.early.split_off(&Zxid(zxid.0 + 1));
        let mut now = std::mem::replace(&mut self.early, later);
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

    pub(super) fn trim(&mut self, below: Zxid) {
        self.outbox = self.outbox.split_off(&below);
    }
}
