//! What must hold of a ring, whatever goes wrong. Computed from what the rings deliver alone.
//! It never looks into a ring.
//! Called by the world for every delivery.

use std::collections::BTreeSet;
use std::sync::Arc;

use volery_proto::command::Value;
use volery_proto::ids::{Instance, Slot};

use super::super::RingError;

#[derive(Debug, Default)]
pub(super) struct Checker {
    /// What is decided, with the position before it.
    pub(super) chosen: Vec<(Arc<Value>, Slot)>,
    position: Slot,
    commands: BTreeSet<u64>,
    pub(super) failure: Option<String>,
}

impl Checker {
    pub(super) fn new() -> Checker {
        Checker::default()
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// A ring found its own invariant broken.
    pub(super) fn fatal(&mut self, error: &RingError) {
        self.fail(error.to_string());
    }

    /// A server delivers. Agreement: one value per instance, for ever. Order: every instance,
    /// once. Row 1: slots grow. A command is decided once.
    pub(super) fn decided(
        &mut self,
        expected: Instance,
        instance: Instance,
        position: Slot,
        value: &Arc<Value>,
    ) {
        if instance != expected {
            self.fail(format!("delivered {instance} where {expected} is next"));
        }
        let index = instance.0 as usize;
        if index > self.chosen.len() {
            self.fail(format!("{instance} is decided before what is below it"));
        } else if index < self.chosen.len() {
            let (chosen, at) = &self.chosen[index];
            if chosen != value {
                self.fail(format!("{instance} is decided twice: {chosen:?} and {value:?}"));
            } else if *at != position {
                self.fail(format!("{instance} is at {at} and at {position}"));
            }
        } else {
            self.choose(instance, position, value);
        }
    }

    fn choose(&mut self, instance: Instance, position: Slot, value: &Arc<Value>) {
        if position != self.position {
            let known = self.position;
            self.fail(format!("{instance} begins at {position}, not after {known}"));
        }
        let count = value.commands.len() as u64;
        self.position = match count {
            0 => position.max(value.start),
            _ => Slot(value.start.0.max(position.0 + 1) + count - 1),
        };
        for command in &value.commands {
            if !self.commands.insert(command.origin.sequence) {
                let sequence = command.origin.sequence;
                self.fail(format!("command {sequence} is decided twice"));
            }
        }
        self.chosen.push((Arc::clone(value), position));
    }
}
