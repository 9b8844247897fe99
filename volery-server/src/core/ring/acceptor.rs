//! The acceptor: promises, accepts, and votes once its log is durable. Paxos Phase 1b and 2b.
//! It never votes for what a crash could still take away, and keeps no membership state.
//! Called by the ring's verbs; what it must remember leaves as `Append` effects.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{Ballot, Instance, ServerId};

use super::Ring;
use super::effect::{Effect, Now};
use super::layout::next_on;
use super::message::{Promise, Proposed, RingMessage};
use super::mutant::Mutant;
use super::record::{self, RecoveredRing, Rejoins};
use super::store::{Held, Payload};

/// How far above its cursor an acceptor accepts: bounds its memory.
const AHEAD_MAX: u64 = 1 << 16;

/// What an acceptor remembers beside the accepted values.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// Nothing below is accepted.
    pub(super) promised: Ballot,
    /// It has lost its memory and does not vote.
    pub(super) lost: bool,
    /// Lost, and perhaps there was none: its directory was empty.
    pub(super) new: bool,
    /// From which ballot the promises of members that lost their memory count again.
    pub(super) rejoins: Rejoins,
    /// The number of the last append.
    pub(super) appended: u64,
    /// The appends up to this number are synced.
    pub(super) durable: u64,
    /// Accepted, not yet synced: (append, instance, ballot).
    pub(super) unsynced: VecDeque<(u64, Instance, Ballot)>,
}

impl Acceptor {
    pub(super) fn new(recovered: &RecoveredRing) -> Acceptor {
        Acceptor {
            promised: recovered.promised,
            lost: recovered.lost,
            new: recovered.lost && recovered.is_new(),
            rejoins: recovered.rejoins.clone(),
            appended: 0,
            durable: 0,
            unsynced: VecDeque::new(),
        }
    }
}

impl Ring {
    /// Whether this server's promises and votes count.
    pub(super) fn may_vote(&self) -> bool {
        self.layout.is_member() && !self.acceptor.lost
    }

    /// A ballot of this server above everything it has promised.
    pub(super) fn next_ballot(&self) -> Ballot {
        let round = self.acceptor.promised.round.saturating_add(1);
        Ballot { round, server: self.config.me }
    }

    /// Appends a record; returns its number.
    pub(super) fn append(&mut self, record: Bytes, effects: &mut Vec<Effect>) -> u64 {
        self.acceptor.appended += 1;
        let number = self.acceptor.appended;
        effects.push(Effect::Append { record, number });
        number
    }

    /// What a message that rests on everything accepted so far must wait for.
    pub(super) fn all_durable(&self) -> Option<u64> {
        let wait = self.acceptor.appended > self.acceptor.durable;
        (wait && !self.mutant(Mutant::EarlyVote)).then_some(self.acceptor.appended)
    }

    /// Promises a ballot and logs it; returns the append that the promise waits for.
    pub(super) fn promise_own(&mut self, ballot: Ballot, effects: &mut Vec<Effect>) -> u64 {
        self.acceptor.promised = self.acceptor.promised.max(ballot);
        let a = &self.acceptor;
        let record = record::promise(self.config.ring, a.promised, a.lost, &a.rejoins);
        self.append(record, effects)
    }

    /// Phase 1b. A healthy coordinator is not disturbed: whoever hears it promises nobody else.
    pub(super) fn on_prepare(
        &mut self,
        from: ServerId,
        (ballot, trial): (Ballot, bool),
        yielded: Ballot,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let disturbs =
            self.follows_another(from, now) && self.leader().is_none_or(|leads| leads > yielded);
        if !self.may_vote() || ballot.server != from || disturbs {
            return;
        }
        let promised = self.acceptor.promised;
        if ballot < promised {
            let message = RingMessage::Refuse { ballot, promised };
            return self.send(from, message, effects);
        }
        if !trial && ballot > promised {
            self.promise_own(ballot, effects);
            self.yield_to(ballot, effects);
        }
        let promise = Promise {
            ballot,
            trial,
            trim: self.learner.trim,
            decided: self.learner.next,
            values: if trial { Vec::new() } else { self.open_values() },
            rejoins: self.acceptor.rejoins.clone(),
            rejoined: self.rejoined(),
        };
        let message = RingMessage::Promise(Box::new(promise));
        let after_durable = self.all_durable();
        effects.push(Effect::Send { to: from, message, after_durable });
    }

    /// From which ballot this server's promises count.
    pub(super) fn rejoined(&self) -> Ballot {
        self.acceptor.rejoins.get(&self.config.me).copied().unwrap_or_default()
    }

    /// Everything accepted and not known to be decided.
    pub(super) fn open_values(&self) -> Vec<Proposed> {
        let mut values = Vec::new();
        let mut instance = self.learner.next.max(self.store.base());
        while instance < self.store.end() {
            let held = self.store.get(instance).and_then(|cell| cell.held.as_ref());
            if let Some(held) = held.filter(|held| held.logged) {
                let value = held.payload.bytes.clone();
                values.push(Proposed { instance, ballot: held.ballot, value });
            }
            instance.0 += 1;
        }
        values
    }

    /// Phase 2: the payload arrives. It is forwarded at once; the vote waits for the disk.
    pub(super) fn on_accept(
        &mut self,
        proposed: Proposed,
        path: Arc<[ServerId]>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Proposed { instance, ballot, .. } = proposed;
        if let Some(next) = next_on(&path, self.config.me) {
            let message =
                RingMessage::Accept { proposed: proposed.clone(), path: Arc::clone(&path) };
            self.send(next, message, effects);
        }
        if ballot < self.acceptor.promised && self.may_vote() {
            let promised = self.acceptor.promised;
            return self.send(ballot.server, RingMessage::Refuse { ballot, promised }, effects);
        }
        self.follow(ballot, now, effects);
        if instance < self.store.base() {
            let decided = self.learner.next;
            return self.send(ballot.server, RingMessage::Alive { ballot, decided }, effects);
        }
        if self.is_too_far(instance) {
            return self.note_decided(Instance(0), Some(ballot.server));
        }
        self.take_payload(proposed, path, effects);
    }

    fn take_payload(
        &mut self,
        proposed: Proposed,
        path: Arc<[ServerId]>,
        effects: &mut Vec<Effect>,
    ) {
        let Proposed { instance, ballot, value } = proposed;
        let may_vote = self.may_vote();
        let Some(cell) = self.store.entry(instance) else { return };
        if cell.decided.is_some_and(|decided| ballot < decided) {
            return;
        }
        cell.path = Some(path);
        let same = cell.held.as_ref().filter(|held| held.ballot == ballot);
        if same.is_some_and(|held| held.logged || !may_vote) {
            return self.vote_again(instance, ballot, effects);
        }
        if let Err(error) = self.check_agreement(instance, ballot, &value) {
            return self.fail(error, effects);
        }
        if self.holds_later(instance, ballot) {
            return;
        }
        let Ok(payload) = record::decode(self.config.ring, instance, value) else { return };
        if may_vote {
            self.accept_own(instance, ballot, payload, effects);
        } else {
            self.store.hold(instance, Held { ballot, payload, logged: false });
        }
        self.deliver(effects);
    }

    fn holds_later(&self, instance: Instance, ballot: Ballot) -> bool {
        let held = self.store.get(instance).and_then(|cell| cell.held.as_ref());
        held.is_some_and(|held| held.ballot > ballot)
    }

    pub(super) fn is_too_far(&self, instance: Instance) -> bool {
        instance.0 >= self.learner.next.0.saturating_add(AHEAD_MAX)
    }

    /// Accepts a payload at a ballot that is not below the promise, and logs it.
    pub(super) fn accept_own(
        &mut self,
        instance: Instance,
        ballot: Ballot,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) {
        self.acceptor.promised = self.acceptor.promised.max(ballot);
        let number = self.log_value(instance, ballot, payload, effects);
        self.acceptor.unsynced.push_back((number, instance, ballot));
        if self.mutant(Mutant::EarlyVote) {
            let mine = self.layout.my_bit();
            self.count_votes(instance, ballot, mine, effects);
        }
    }

    /// Logs a payload and holds it in memory.
    pub(super) fn log_value(
        &mut self,
        instance: Instance,
        ballot: Ballot,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        let decided = self.learner.next;
        let Payload { value, bytes } = payload;
        let (record, bytes) = record::accepted(self.config.ring, instance, ballot, decided, bytes);
        let number = self.append(record, effects);
        let payload = Payload { value, bytes };
        let held = Held { ballot, payload, logged: true };
        self.store.hold(instance, held);
        number
    }

    /// Counts the own votes that have become durable.
    pub(super) fn count_durable(&mut self, effects: &mut Vec<Effect>) {
        let mine = self.layout.my_bit();
        while let Some(&(number, instance, ballot)) = self.acceptor.unsynced.front() {
            if number > self.acceptor.durable {
                break;
            }
            self.acceptor.unsynced.pop_front();
            self.count_votes(instance, ballot, mine, effects);
        }
        self.deliver(effects);
    }

    /// Votes of others arrive along the path.
    pub(super) fn on_votes(
        &mut self,
        (instance, ballot): (Instance, Ballot),
        votes: &[ServerId],
        path: Arc<[ServerId]>,
        effects: &mut Vec<Effect>,
    ) {
        let votes = self.layout.bits(votes);
        let Some(cell) = self.store.get_mut(instance) else { return };
        cell.path = Some(path);
        self.count_votes(instance, ballot, votes, effects);
        self.deliver(effects);
    }

    /// Adds votes to an instance: the first acceptor that sees a majority announces the decision,
    /// the others pass on what they know.
    fn count_votes(
        &mut self,
        instance: Instance,
        ballot: Ballot,
        votes: u64,
        effects: &mut Vec<Effect>,
    ) {
        let (mine, may_vote) = (self.layout.my_bit(), self.may_vote());
        let any_ballot = self.mutant(Mutant::AnyBallot);
        let path_quorum = self.mutant(Mutant::PathQuorum);
        let Some(cell) = self.store.get_mut(instance) else { return };
        let Some(held) = cell.held.as_ref() else { return };
        if held.ballot != ballot && !any_ballot {
            return;
        }
        let before = cell.votes;
        cell.votes |= votes;
        if cell.decided.is_some() || cell.votes == before {
            return;
        }
        let length = cell.path.as_ref().map_or(1, |path| path.len());
        let enough = path_quorum && cell.votes.count_ones() as usize > length / 2;
        if self.layout.is_quorum(cell.votes) || enough {
            cell.decided = Some(ballot);
            return self.announce(instance, ballot, effects);
        }
        // Before its own vote is durable an acceptor keeps the others' and sends them with it.
        if cell.votes & mine != 0 || !may_vote || !held.logged {
            self.pass_votes(instance, ballot, effects);
        }
    }

    fn announce(&mut self, instance: Instance, ballot: Ballot, effects: &mut Vec<Effect>) {
        if self.layout.alone() && self.config.observers.is_empty() {
            return;
        }
        for to in self.layout.audience() {
            self.send(to, RingMessage::Decision { instance, ballot }, effects);
        }
    }

    fn pass_votes(&mut self, instance: Instance, ballot: Ballot, effects: &mut Vec<Effect>) {
        let Some(cell) = self.store.get(instance) else { return };
        let Some(path) = cell.path.clone() else { return };
        let Some(next) = self.layout.next_voter(&path) else { return };
        let votes = self.layout.servers(cell.votes);
        self.send(next, RingMessage::Votes { instance, ballot, votes, path }, effects);
    }

    /// The coordinator sent again what is accepted here already.
    fn vote_again(&mut self, instance: Instance, ballot: Ballot, effects: &mut Vec<Effect>) {
        let Some(cell) = self.store.get(instance) else { return };
        if let Some(decided) = cell.decided {
            let message = RingMessage::Decision { instance, ballot: decided };
            self.send(ballot.server, message, effects);
        } else if cell.votes != 0 {
            self.pass_votes(instance, ballot, effects);
        }
    }

    /// Sends, unless it is to this server itself.
    pub(super) fn send(&self, to: ServerId, message: RingMessage, effects: &mut Vec<Effect>) {
        if to != self.config.me {
            effects.push(Effect::Send { to, message, after_durable: None });
        }
    }
}
