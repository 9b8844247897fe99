//! Forgetting: what the log may drop, and what memory keeps for those who lag.
//! It never forgets what is not both decided and delivered here.
//! `trim` is called by the house once a majority of replicas has a durable snapshot.

use bytes::Bytes;
use volery_proto::ids::{Instance, Slot};

use super::Ring;
use super::effect::{Effect, RingError};
use super::record;

impl Ring {
    /// Everything below `instance` may leave the log; `position` is the ring's position there.
    ///
    /// # Errors
    /// It was not delivered here yet: trimming it would lose it.
    pub fn trim(&mut self, instance: Instance, position: Slot) -> Result<(), RingError> {
        if instance <= self.learner.trim.0 {
            return Ok(());
        }
        if instance > self.learner.next {
            return Err(self.broken(instance, "a trim above the learner's cursor"));
        }
        self.learner.trim = (instance, position);
        self.store.forget_below(instance);
        Ok(())
    }

    /// Where the log begins: everything below may be gone.
    #[must_use]
    pub fn trimmed(&self) -> (Instance, Slot) {
        self.learner.trim
    }

    /// The records that must be written to the log's head before its older segments are purged.
    #[must_use]
    pub fn checkpoint_records(&self) -> Vec<Bytes> {
        let (ring, a) = (self.config.ring, &self.acceptor);
        let (instance, position) = self.learner.trim;
        vec![
            record::trim(ring, instance, position, a.promised),
            record::promise(ring, a.promised, a.lost, &a.rejoins),
        ]
    }

    /// What this server has of the values below a snapshot's cursor may have gaps: its log begins
    /// at the cursor, and it tells nobody what was below.
    pub(super) fn cut_at(&mut self, instance: Instance, position: Slot) {
        if instance > self.learner.trim.0 {
            self.learner.trim = (instance, position);
            self.learner.cut = true;
            self.store.forget_below(instance);
        }
    }

    /// Logs such a cut, before anything that says that all below it is decided.
    pub(super) fn log_cut(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.learner.cut) && self.layout.is_member() {
            let (instance, position) = self.learner.trim;
            let promised = self.acceptor.promised;
            let record = record::trim(self.config.ring, instance, position, promised);
            self.append(record, effects);
        }
    }

    /// This server has a durable snapshot with a cursor at `instance`: who gets it reads on here,
    /// so everything from there on stays in memory, as long as there is room.
    pub fn hold_from(&mut self, instance: Instance) {
        self.hold_from = self.hold_from.max(instance);
    }

    /// Bounds the memory for delivered values.
    pub(super) fn forget(&mut self) {
        let keep = self.learner.next.0.saturating_sub(self.config.keep_instances as u64);
        self.store.forget_below(Instance(keep).min(self.hold_from));
        while self.store.bytes() > self.config.keep_bytes && self.store.base() < self.learner.next {
            self.store.forget_below(Instance(self.store.base().0 + 1));
        }
    }
}
