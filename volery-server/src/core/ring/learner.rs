//! The learner: delivers decided values in instance order, each once, and keeps the position.
//! It never delivers a payload of an older ballot than the decided one.
//! Called by the ring's verbs after anything that may have decided something.

use volery_proto::command::Value;
use volery_proto::ids::{Ballot, Instance, ServerId, Slot};
use volery_proto::limits::MAX_VALUE_BYTES;

use super::Ring;
use super::effect::{Effect, Now};
use super::message::{Proposed, RingMessage};
use super::mutant::Mutant;
use super::record;
use super::store::{Held, Payload};

/// Values in one answer to a learner that lags.
pub const LEARNED_MAX: usize = 256;

/// The cursor of a learner, and what it knows to be missing.
#[derive(Debug)]
pub(super) struct Learner {
    /// The next instance to deliver; everything below is decided.
    pub(super) next: Instance,
    /// The ring's position before `next`.
    pub(super) position: Slot,
    /// Where the log begins.
    pub(super) trim: (Instance, Slot),
    /// The log does not say so yet.
    pub(super) cut: bool,
    /// Somebody has this many decided instances.
    known: Instance,
    /// Who said so.
    source: Option<ServerId>,
    /// When to ask for what is missing, in monotonic time.
    pub(super) ask_at: Option<u64>,
    /// Every second question goes to somebody else.
    asked: u64,
}

impl Learner {
    pub(super) fn new(trim: (Instance, Slot)) -> Learner {
        Learner {
            next: trim.0,
            position: trim.1,
            trim,
            cut: false,
            known: trim.0,
            source: None,
            ask_at: None,
            asked: 0,
        }
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

    /// Whether something is known to be decided and not delivered here.
    pub(super) fn lags(&self) -> bool {
        self.next < self.known
    }
}

impl Ring {
    /// Delivers every decided value at the cursor.
    pub(super) fn deliver(&mut self, effects: &mut Vec<Effect>) {
        let before = self.learner.next;
        while let Some(cell) = self.store.get(self.learner.next) {
            let (Some(decided), Some(held)) = (cell.decided, cell.held.as_ref()) else { break };
            if held.ballot < decided && !self.mutant(Mutant::AnyBallot) {
                break;
            }
            let value = held.payload.value.clone();
            let (instance, position) = (self.learner.next, self.learner.position);
            let end = self.end_of(&value, position);
            if let Err(error) = self.check_position(instance, position, end) {
                return self.fail(error, effects);
            }
            self.learner.next = Instance(instance.0 + 1);
            self.learner.position = end;
            effects.push(Effect::Decided { instance, position, value });
        }
        if self.learner.next > before {
            self.learner.ask_at = None;
            self.forget();
        }
    }

    /// Where a value ends. The effective start is computed from the decided sequence.
    fn end_of(&self, value: &Value, position: Slot) -> Slot {
        if self.mutant(Mutant::StartAsWritten) && !value.commands.is_empty() {
            return Slot(value.start.0 + value.commands.len() as u64 - 1);
        }
        value.end(position)
    }

    /// A decision names (instance, ballot); the payload is here, on its way, or asked for later.
    pub(super) fn on_decision(
        &mut self,
        from: ServerId,
        instance: Instance,
        ballot: Ballot,
        effects: &mut Vec<Effect>,
    ) {
        self.note_decided(Instance(instance.0.saturating_add(1)), Some(from));
        if instance < self.learner.next || self.is_too_far(instance) {
            return;
        }
        if let Some(cell) = self.store.entry(instance) {
            // Decided at one ballot is decided at all later ones: the lowest known says most.
            cell.decided = Some(cell.decided.map_or(ballot, |known| known.min(ballot)));
        }
        self.deliver(effects);
    }

    /// Somebody has `decided` decided instances.
    pub(super) fn note_decided(&mut self, decided: Instance, from: Option<ServerId>) {
        if decided > self.learner.known {
            self.learner.known = decided;
            self.learner.source = from;
        }
    }

    /// Asks for what is missing, if something is.
    pub(super) fn ask(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.learner.lags() {
            self.learner.ask_at = None;
            return;
        }
        self.learner.asked += 1;
        self.learner.ask_at = Some(now.monotonic_us + self.config.resend_us / 2);
        let others: Vec<ServerId> = self.layout.others().collect();
        let turn = usize::try_from(self.learner.asked / 2).unwrap_or(0) % others.len().max(1);
        let other = others.get(turn).copied();
        let source = if self.learner.asked % 2 == 1 { self.learner.source } else { None };
        if let Some(to) = source.or(other) {
            self.send(to, RingMessage::CatchUp { instance: self.learner.next }, effects);
        }
    }

    /// Answers a learner that lags: from memory, else from the log. Of the log it is told at once
    /// that there is more than memory holds.
    pub(super) fn on_catch_up(
        &self,
        from: ServerId,
        instance: Instance,
        effects: &mut Vec<Effect>,
    ) {
        let mut values = Vec::new();
        let (mut at, mut bytes) = (instance, 0);
        while at < self.learner.next && values.len() < LEARNED_MAX {
            let Some(held) = self.store.get(at).and_then(|cell| cell.held.as_ref()) else { break };
            bytes += held.payload.bytes.len();
            if bytes > MAX_VALUE_BYTES && !values.is_empty() {
                break;
            }
            let value = held.payload.bytes.clone();
            values.push(Proposed { instance: at, ballot: held.ballot, value });
            at.0 += 1;
        }
        let (base, decided) = (self.kept_from(), self.learner.next);
        if base <= instance && instance < self.store.base() {
            effects.push(Effect::ReadLog { to: from, instance });
        }
        self.send(from, RingMessage::Learned { values, base, decided }, effects);
    }

    /// What the log holds for a learner that lags, in order; nothing, if it could not be read:
    /// then there is only what memory holds, and beyond it snapshots.
    pub fn log_read(&mut self, to: ServerId, values: Vec<Proposed>, effects: &mut Vec<Effect>) {
        let base = if values.is_empty() { self.store.base() } else { self.kept_from() };
        let decided = self.learner.next;
        self.send(to, RingMessage::Learned { values, base, decided }, effects);
    }

    /// Decided values arrive.
    pub(super) fn on_learned(
        &mut self,
        from: ServerId,
        values: Vec<Proposed>,
        (base, decided): (Instance, Instance),
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let before = self.learner.next;
        for proposed in values {
            if proposed.instance >= self.learner.next && !self.is_too_far(proposed.instance) {
                self.learn(proposed, effects);
            }
        }
        self.deliver(effects);
        self.note_decided(decided, Some(from));
        if base > self.learner.next && self.learner.next == before {
            // Whoever cannot learn what was decided must not hold up those who wait for more.
            self.step_down(effects);
            effects.push(Effect::NeedsSnapshot { from, instance: base });
        } else if self.learner.next > before {
            // Whoever helps is asked for more.
            self.learner.asked = 0;
            self.learner.source = Some(from);
            self.ask(now, effects);
        }
    }

    /// One decided value. An acceptor logs what it did not accept itself: then its own log says
    /// of every instance below its mark what was decided.
    fn learn(&mut self, proposed: Proposed, effects: &mut Vec<Effect>) {
        let Proposed { instance, ballot, value } = proposed;
        if let Err(error) = self.check_learned(instance, ballot, &value) {
            return self.fail(error, effects);
        }
        let held = self.store.get(instance).and_then(|cell| cell.held.as_ref());
        let member = self.layout.is_member();
        let enough = held.is_some_and(|held| held.ballot >= ballot && (held.logged || !member));
        if !enough {
            let Ok(payload) = record::decode(self.config.ring, instance, value) else { return };
            self.put(instance, ballot, payload, effects);
        }
        if let Some(cell) = self.store.entry(instance) {
            cell.decided = Some(cell.decided.map_or(ballot, |known| known.min(ballot)));
        }
    }

    fn put(
        &mut self,
        instance: Instance,
        ballot: Ballot,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) {
        if self.layout.is_member() {
            self.log_value(instance, ballot, payload, effects);
        } else {
            self.store.hold(instance, Held { ballot, payload, logged: false });
        }
    }
}
