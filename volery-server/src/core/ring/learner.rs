//! The learner: delivers decided values in instance order, each once, and keeps the position.
//! It never delivers a payload of another ballot than the decided one (or a later).
//! Called by the ring's verbs after anything that may have decided something.

use volery_proto::ids::{Instance, Slot};

use super::Ring;
use super::effect::Effect;

/// The cursor of a learner.
#[derive(Debug)]
pub(super) struct Learner {
    /// The next instance to deliver; everything below is decided.
    pub(super) next: Instance,
    /// The ring's position before `next`.
    pub(super) position: Slot,
    /// Where the log begins.
    pub(super) trim: (Instance, Slot),
}

impl Learner {
    pub(super) fn new(trim: (Instance, Slot)) -> Learner {
        Learner { next: trim.0, position: trim.1, trim }
    }

    /// Moves to a cursor ahead; false where it is not ahead.
    pub(super) fn jump(&mut self, instance: Instance, position: Slot) -> bool {
        let ahead = instance > self.next;
        if ahead {
            self.next = instance;
            self.position = position;
        }
        ahead
    }
}

impl Ring {
    /// Delivers every decided value at the cursor.
    pub(super) fn deliver(&mut self, effects: &mut Vec<Effect>) {
        let before = self.learner.next;
        while let Some(cell) = self.store.get(self.learner.next) {
            let (Some(decided), Some(held)) = (cell.decided, cell.held.as_ref()) else { break };
            if held.ballot < decided {
                break;
            }
            let value = held.payload.value.clone();
            let (instance, position) = (self.learner.next, self.learner.position);
            let end = value.end(position);
            if let Err(error) = self.check_position(instance, position, end) {
                return self.fail(error, effects);
            }
            self.learner.next = Instance(instance.0 + 1);
            self.learner.position = end;
            effects.push(Effect::Decided { instance, position, value });
        }
        if self.learner.next > before {
            self.forget();
        }
    }
}
