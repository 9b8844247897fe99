//! Decided values read back from the log of a running server, for a learner that lags further than
//! memory reaches. It decides by the log alone: whoever asked knows that they are decided.
//! Fed with the records of one ring in log order by whoever reads the disk.

use std::collections::BTreeMap;

use volery_proto::ids::{Ballot, Instance};

use super::message::Proposed;
use super::record::LogRecordBody;

/// The decided values of one ring from some instance on.
#[derive(Debug)]
pub struct LogValues {
    next: Instance,
    /// Everything below is decided, and stands in the records that were taken.
    decided: Instance,
    accepted: BTreeMap<Instance, Proposed>,
}

impl LogValues {
    /// From `instance` on; the log must be read from a place that is before it.
    #[must_use]
    pub fn new(instance: Instance) -> LogValues {
        LogValues { next: instance, decided: instance, accepted: BTreeMap::new() }
    }

    /// The instance that `pop` gives next.
    #[must_use]
    pub fn next(&self) -> Instance {
        self.next
    }

    /// Takes the next record. The log holds the decided value of every instance below the mark of
    /// a record before that record, at the highest ballot of all that it holds for the instance.
    /// False: its ballot makes no sense.
    #[must_use]
    pub fn record(&mut self, body: LogRecordBody) -> bool {
        let LogRecordBody::Accepted(record) = body else { return true };
        self.decided = self.decided.max(Instance(record.decided));
        let instance = Instance(record.instance);
        let Some(ballot) = Ballot::from_u64(record.ballot) else { return false };
        let stale = self.accepted.get(&instance).is_some_and(|known| known.ballot > ballot);
        if instance >= self.next && !stale {
            let value = record.value;
            self.accepted.insert(instance, Proposed { instance, ballot, value });
        }
        true
    }

    /// Whether the log, as far as it was read, lacks the next value although it is decided: then
    /// the reading began too late.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.next < self.decided && !self.accepted.contains_key(&self.next)
    }

    /// The next decided value. `None`: more of the log must be read, or it has a gap.
    pub fn pop(&mut self) -> Option<Proposed> {
        if self.next >= self.decided {
            return None;
        }
        let proposed = self.accepted.remove(&self.next)?;
        self.next = Instance(self.next.0 + 1);
        Some(proposed)
    }
}
