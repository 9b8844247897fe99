//! The invariants of a ring, checked always: one crashed server is better than two histories.
//! Changes nothing. A broken one is an error that ends the process.
//! Called wherever something is learned, delivered, trimmed or recovered.

use volery_proto::ids::{Instance, Slot};

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

    /// A snapshot's cursor agrees with the log.
    pub(super) fn check_cursor(&self, instance: Instance, position: Slot) -> Result<(), RingError> {
        if instance < self.learner.next {
            return Err(self.broken(instance, "the log begins above the snapshot"));
        }
        let (mut at, mut known) = (self.learner.next, self.learner.position);
        while at < instance {
            let Some(cell) = self.store.get(at) else { return Ok(()) };
            let (Some(held), Some(_)) = (&cell.held, cell.decided) else { return Ok(()) };
            known = held.payload.value.end(known);
            at.0 += 1;
        }
        if known != position {
            return Err(self.broken(instance, "log and snapshot disagree on the position"));
        }
        Ok(())
    }
}
