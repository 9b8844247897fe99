//! The coordinator: turns what waits into values, as far as the window has room. DESIGN 3 and 4.
//! It never reserves slots ahead of its clock, and never drops a command silently.
//! Called by the ring's verbs; `flush` is called by the house after every batch of events.

use std::collections::VecDeque;
use std::sync::Arc;

use volery_proto::command::{Command, Value};
use volery_proto::ids::{Ballot, Instance, Slot};
use volery_proto::limits::{MAX_VALUE_BYTES, MAX_VALUE_COMMANDS};

use super::Ring;
use super::effect::{Effect, Now};
use super::store::Payload;
use super::weight::weight;

/// What a server keeps to lead a ring.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// The ballot it leads with.
    pub(super) ballot: Option<Ballot>,
    /// The next instance to propose.
    pub(super) next: Instance,
    /// The position after everything proposed.
    pub(super) proposed: Slot,
    /// Commands without an instance yet.
    pub(super) waiting: VecDeque<Command>,
    /// The highest slot that was asked for.
    pub(super) demanded: Slot,
    /// The instances of skips in flight.
    pub(super) skips: VecDeque<Instance>,
}

impl Ring {
    /// Proposes what waits: one value with all of it, or a skip that was asked for.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.failed {
            return;
        }
        while self.has_waiting() && self.can_propose() {
            let value = self.next_value(now);
            self.propose_value(value, effects);
        }
        let next = self.learner.next;
        let skips = &mut self.coordinator.skips;
        while skips.front().is_some_and(|&instance| instance < next) {
            skips.pop_front();
        }
        let start = self.coordinator.demanded;
        let room = self.coordinator.skips.len() < self.config.max_skips && self.can_propose();
        if room && start > self.proposed_position() {
            self.coordinator.skips.push_back(self.coordinator.next);
            let time_ms = now.clock_us / 1000;
            self.propose_value(Value { start, time_ms, commands: Vec::new() }, effects);
        }
    }

    /// Becomes the coordinator at a ballot that a majority has promised, with every instance that
    /// was open proposed already.
    pub(super) fn lead(&mut self, ballot: Ballot, effects: &mut Vec<Effect>) {
        let c = &mut self.coordinator;
        c.ballot = Some(ballot);
        c.next = c.next.max(self.learner.next);
        c.proposed = c.proposed.max(self.learner.position);
        c.skips.clear();
        effects.push(Effect::BecameCoordinator { ballot });
    }

    /// Takes a batch from the queue.
    fn next_value(&mut self, now: Now) -> Value {
        let waiting = &mut self.coordinator.waiting;
        let (mut count, mut bytes) = (0, 0);
        let mut start = Slot(0);
        for command in waiting.iter().take(MAX_VALUE_COMMANDS) {
            bytes += weight(command);
            if count > 0 && bytes > MAX_VALUE_BYTES {
                break;
            }
            count += 1;
            start = start.max(command.after.slot());
        }
        let commands = if count == waiting.len() {
            Vec::from(std::mem::take(waiting))
        } else {
            waiting.drain(..count).collect()
        };
        let above = start.max(self.proposed_position());
        let start = Slot::from_unix_us(now.clock_us).max(Slot(above.0 + 1));
        Value { start, time_ms: now.clock_us / 1000, commands }
    }

    /// Phase 2a for a new instance.
    fn propose_value(&mut self, value: Value, effects: &mut Vec<Effect>) {
        let Some(ballot) = self.coordinator.ballot else { return };
        let instance = self.coordinator.next;
        self.coordinator.next = Instance(instance.0 + 1);
        self.coordinator.proposed = value.end(self.proposed_position());
        let bytes = value.encode();
        let payload = Payload { value: Arc::new(value), bytes };
        self.accept_own(instance, ballot, payload, effects);
    }
}
