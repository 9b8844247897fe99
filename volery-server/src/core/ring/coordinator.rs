//! The coordinator: turns what waits into values, as far as the window has room, and sees them
//! through. DESIGN sections 3 and 4.
//! It never reserves slots ahead of its clock, and never drops a command silently.
//! Called by the ring's verbs; `flush` is called by the house after every batch of events.

use crate::core::mutation::mutated;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use volery_proto::command::{Command, Value};
use volery_proto::ids::{Ballot, Instance, ServerId, Slot};
use volery_proto::limits::{MAX_VALUE_BYTES, MAX_VALUE_COMMANDS};

use super::Ring;
use super::effect::{Effect, Now};
use super::message::{Proposed, RingMessage};
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
    /// The live ring.
    pub(super) path: Option<Arc<[ServerId]>>,
    /// Left out of the path: suspects, and those that are not up to date yet.
    pub(super) out: BTreeSet<ServerId>,
    /// When each member was last heard.
    pub(super) heard: BTreeMap<ServerId, u64>,
    /// When to send a heartbeat.
    pub(super) heartbeat_at: u64,
    /// When to ask the member that the ring prefers to take over.
    pub(super) hand_over_at: u64,
    /// It has been asked: its ballot is not contested.
    pub(super) yields: bool,
    /// When to send again what is undecided, unless something is decided before.
    pub(super) resend_at: u64,
    /// The cursor when `resend_at` was set.
    pub(super) resend_from: Instance,
    /// How often it was sent again since.
    pub(super) resends: u32,
}

/// A coordinator asks the preferred member to take over once both have been well for so many
/// election time-outs: long enough that a server which comes and goes does not move rings about.
const HAND_OVER_AFTER: u64 = 5;

/// When to beat next, one interval from now at most: all rings of a server do so at once, and one
/// message carries the beats of all.
#[must_use]
pub fn next_beat(now_us: u64, interval_us: u64) -> u64 {
    let interval_us = interval_us.max(1);
    (now_us / interval_us + 1).saturating_mul(interval_us)
}

impl Ring {
    /// Proposes what waits: one value with all of it, or a skip that was asked for.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.seen = now;
        if self.failed {
            return;
        }
        if self.is_coordinator() && self.coordinator.next < self.learner.next {
            // Others have decided what was never proposed here: somebody else leads.
            self.step_down(effects);
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

    /// Becomes the coordinator at a ballot that a majority has promised.
    pub(super) fn lead(&mut self, ballot: Ballot, now: Now, effects: &mut Vec<Effect>) {
        let heard = self.layout.others().map(|member| (member, now.monotonic_us)).collect();
        let c = &mut self.coordinator;
        c.ballot = Some(ballot);
        c.next = self.learner.next;
        c.proposed = self.learner.position;
        c.skips.clear();
        c.out.clone_from(&self.suspects);
        c.heard = heard;
        c.heartbeat_at = now.monotonic_us;
        c.hand_over_at = now.monotonic_us + HAND_OVER_AFTER * self.config.election_us;
        c.yields = false;
        c.resend_at = now.monotonic_us + self.config.resend_us;
        c.resend_from = self.learner.next;
        c.resends = 0;
        self.renew_path();
        effects.push(Effect::BecameCoordinator { ballot });
    }

    /// Stops leading; what waits goes back to whoever sent it.
    pub(super) fn step_down(&mut self, effects: &mut Vec<Effect>) {
        if self.coordinator.ballot.take().is_some() {
            let unproposed = std::mem::take(&mut self.coordinator.waiting).into();
            let coordinator = self.coordinator_hint();
            effects.push(Effect::SteppedDown { coordinator, unproposed });
            self.rearm(self.config.election_us, self.seen);
        }
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
        let clock = Slot::from_unix_us(now.clock_us);
        let start = if mutated!(SlotsGoBack) { clock } else { clock.max(Slot(above.0 + 1)) };
        Value { start, time_ms: now.clock_us / 1000, commands }
    }

    /// Phase 2a for the next instance.
    fn propose_value(&mut self, value: Value, effects: &mut Vec<Effect>) {
        self.propose_payload(Payload::new(value), effects);
    }

    /// Phase 2a for the next instance, with a value that is encoded already.
    pub(super) fn propose_payload(&mut self, payload: Payload, effects: &mut Vec<Effect>) {
        let Some(ballot) = self.coordinator.ballot else { return };
        let instance = self.coordinator.next;
        self.coordinator.next = Instance(instance.0 + 1);
        self.coordinator.proposed = payload.value.end(self.proposed_position());
        if let Some(path) = self.coordinator.path.clone() {
            if let Some(&next) = path.get(1) {
                let value = payload.bytes.clone();
                let proposed = Proposed { instance, ballot, value };
                let message = RingMessage::Accept { proposed, path: Arc::clone(&path) };
                self.send(next, message, effects);
            }
            if let Some(cell) = self.store.entry(instance) {
                cell.path = Some(path);
            }
        }
        self.accept_own(instance, ballot, payload, effects);
    }

    /// Chooses the path anew.
    pub(super) fn renew_path(&mut self) {
        let path = self.layout.path(&self.coordinator.out);
        self.coordinator.path = (path.len() > 1).then_some(path);
    }

    /// Leaves a server out of the path and sends what is undecided along the new one.
    pub(super) fn leave_out(&mut self, server: ServerId, effects: &mut Vec<Effect>) {
        if self.is_coordinator() && self.coordinator.out.insert(server) {
            self.renew_path();
            self.resend(false, effects);
        }
    }

    /// A member or observer answered a heartbeat: it re-enters the path once it is up to date.
    pub(super) fn on_alive(&mut self, from: ServerId, ballot: Ballot, decided: Instance, now: Now) {
        self.note_decided(decided, Some(from));
        if self.coordinator.ballot != Some(ballot) {
            return;
        }
        self.coordinator.heard.insert(from, now.monotonic_us);
        let close = decided.0.saturating_add(self.config.window as u64) >= self.learner.next.0;
        if close && !self.suspects.contains(&from) && self.coordinator.out.remove(&from) {
            self.renew_path();
            if self.layout.preferred() == Some(from) {
                self.coordinator.hand_over_at =
                    now.monotonic_us + HAND_OVER_AFTER * self.config.election_us;
            }
        }
    }

    /// What a coordinator does as time passes.
    pub(super) fn lead_on(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(ballot) = self.coordinator.ballot else { return };
        if self.layout.alone() && self.config.observers.is_empty() {
            return;
        }
        let time = now.monotonic_us;
        if time >= self.coordinator.heartbeat_at {
            self.coordinator.heartbeat_at = next_beat(time, self.config.heartbeat_us);
            let decided = self.learner.next;
            for to in self.layout.audience() {
                self.send(to, RingMessage::Heartbeat { ballot, decided }, effects);
            }
        }
        if !self.hears_majority(time) {
            return self.step_down(effects);
        }
        let silent = |at: &u64| at + self.config.election_us < time;
        let heard = self.coordinator.heard.iter();
        let silent: Vec<_> =
            heard.filter(|(_, at)| silent(at)).map(|(&server, _)| server).collect();
        for server in silent {
            self.leave_out(server, effects);
        }
        self.hand_over(ballot, time, effects);
        if self.learner.next > self.coordinator.resend_from {
            self.coordinator.resend_from = self.learner.next;
            self.coordinator.resend_at = time + self.config.resend_us;
            self.coordinator.resends = 0;
        } else if time >= self.coordinator.resend_at {
            self.coordinator.resend_at = time + self.config.resend_us;
            self.coordinator.resends += 1;
            // Along the path first; then to each member directly, whatever link is broken.
            self.resend(self.coordinator.resends.is_multiple_of(2), effects);
        }
    }

    /// Asks the preferred member to take over, so that coordinators spread over the servers again
    /// after failures. It steps down when that member's ballot comes; until then nothing stops.
    fn hand_over(&mut self, ballot: Ballot, time: u64, effects: &mut Vec<Effect>) {
        if time < self.coordinator.hand_over_at {
            return;
        }
        self.coordinator.hand_over_at = time + HAND_OVER_AFTER * self.config.election_us;
        let out = &self.coordinator.out;
        let other = |to: &ServerId| *to != self.config.me && !out.contains(to);
        if let Some(to) = self.layout.preferred().filter(other) {
            self.coordinator.yields = true;
            self.send(to, RingMessage::TakeOver { ballot }, effects);
        }
    }

    /// A coordinator that no longer hears a majority stops, so that others may lead.
    fn hears_majority(&self, time: u64) -> bool {
        let since = time.saturating_sub(self.config.election_us * 2);
        let heard = self.coordinator.heard.iter().filter(|&(_, &at)| at >= since);
        let bits = heard.fold(self.layout.my_bit(), |bits, (&s, _)| bits | self.layout.bit(s));
        self.layout.is_quorum(bits)
    }

    /// Sends again what is undecided.
    fn resend(&mut self, directly: bool, effects: &mut Vec<Effect>) {
        let Some(ballot) = self.coordinator.ballot else { return };
        let Some(path) = self.coordinator.path.clone() else { return };
        let paths: Vec<Arc<[ServerId]>> = if directly {
            self.layout.audience().map(|other| Arc::from([self.config.me, other])).collect()
        } else {
            vec![path]
        };
        let mut instance = self.learner.next;
        while instance < self.coordinator.next {
            let cell = self.store.get_mut(instance);
            let held = cell.and_then(|cell| cell.held.clone());
            if let Some(held) = held.filter(|held| held.ballot == ballot) {
                for path in &paths {
                    let value = held.payload.bytes.clone();
                    let proposed = Proposed { instance, ballot, value };
                    self.resend_along(path, proposed, effects);
                }
            }
            instance.0 += 1;
        }
    }

    fn resend_along(
        &mut self,
        path: &Arc<[ServerId]>,
        proposed: Proposed,
        effects: &mut Vec<Effect>,
    ) {
        let Some(&to) = path.get(1) else { return };
        let (instance, ballot) = (proposed.instance, proposed.ballot);
        self.send(to, RingMessage::Accept { proposed, path: Arc::clone(path) }, effects);
        let Some(cell) = self.store.get_mut(instance) else { return };
        cell.path = Some(Arc::clone(path));
        let votes = self.layout.servers(cell.votes);
        if !votes.is_empty() {
            let path = Arc::clone(path);
            self.send(to, RingMessage::Votes { instance, ballot, votes, path }, effects);
        }
    }
}
