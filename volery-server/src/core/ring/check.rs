//! The invariants of a ring, checked always: one crashed server is better than two histories.
//! Changes nothing. A broken one is an error that ends the process.
//! Called wherever something is learned, delivered, trimmed or recovered.

use bytes::Bytes;
use volery_proto::ids::{Ballot, Instance, Slot};

use super::Ring;
use super::effect::RingError;

impl Ring {
    pub(super) fn broken(&self, instance: Instance, what: &'static str) -> RingError {
        RingError::Broken { ring: self.config.ring, instance, what }
    }

    /// Slots never go back. ATTACKS row 1.
    pub(super) fn check_position(
        &self,
        instance: Instance,
        position: Slot,
        end: Slot,
    ) -> Result<(), RingError> {
        if end < position {
            return Err(self.broken(instance, "the position went back"));
        }
        Ok(())
    }

    /// A payload at a ballot not below the decided one is the decided payload.
    pub(super) fn check_agreement(
        &self,
        instance: Instance,
        ballot: Ballot,
        value: &Bytes,
    ) -> Result<(), RingError> {
        let Some(cell) = self.store.get(instance) else { return Ok(()) };
        let (Some(decided), Some(held)) = (cell.decided, cell.held.as_ref()) else { return Ok(()) };
        let both = held.ballot >= decided && ballot >= decided;
        self.agree(instance, !both || held.payload.bytes == *value)
    }

    /// A value decided at `ballot` is the payload of that ballot and of all later ones.
    pub(super) fn check_learned(
        &self,
        instance: Instance,
        ballot: Ballot,
        value: &Bytes,
    ) -> Result<(), RingError> {
        self.check_agreement(instance, ballot, value)?;
        let held = self.store.get(instance).and_then(|cell| cell.held.as_ref());
        let other = held.is_some_and(|h| h.ballot >= ballot && h.payload.bytes != *value);
        self.agree(instance, !other)
    }

    fn agree(&self, instance: Instance, agreed: bool) -> Result<(), RingError> {
        let ring = self.config.ring;
        if agreed { Ok(()) } else { Err(RingError::Disagreement { ring, instance }) }
    }

    /// A ring of one has every instance of its log, without a gap.
    pub(super) fn check_recovered(&self) -> Result<(), RingError> {
        let mut instance = self.store.base();
        while self.layout.alone() && instance < self.store.end() {
            if self.store.get(instance).is_none_or(|cell| cell.held.is_none()) {
                return Err(self.broken(instance, "the log has a gap"));
            }
            instance.0 += 1;
        }
        Ok(())
    }

    /// A snapshot's cursor agrees with the log; false: the log does not reach it without a gap.
    pub(super) fn check_cursor(
        &self,
        instance: Instance,
        position: Slot,
    ) -> Result<bool, RingError> {
        if instance < self.learner.next {
            return Err(self.broken(instance, "the log begins above the snapshot"));
        }
        let (mut at, mut known) = (self.learner.next, self.learner.position);
        while at < instance {
            let Some(cell) = self.store.get(at) else { return Ok(false) };
            let (Some(held), Some(_)) = (&cell.held, cell.decided) else { return Ok(false) };
            known = held.payload.value.end(known);
            at.0 += 1;
        }
        if known != position {
            return Err(self.broken(instance, "log and snapshot disagree on the position"));
        }
        Ok(true)
    }
}
