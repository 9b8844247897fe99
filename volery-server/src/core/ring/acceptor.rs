//! The acceptor: promises, accepts, and votes once its log is durable. Paxos Phase 1b and 2b.
//! It never votes for what a crash could still take away, and keeps no membership state.
//! Called by the ring's verbs; what it must remember leaves as `Append` effects.

use std::collections::VecDeque;

use bytes::Bytes;
use volery_proto::ids::{Ballot, Instance};

use super::Ring;
use super::effect::Effect;
use super::record::{self, RecoveredRing, Rejoins};
use super::store::{Held, Payload};

/// What an acceptor remembers beside the accepted values.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// Nothing below is accepted.
    pub(super) promised: Ballot,
    /// It has lost its memory and does not vote.
    pub(super) lost: bool,
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
            rejoins: recovered.rejoins.clone(),
            appended: 0,
            durable: 0,
            unsynced: VecDeque::new(),
        }
    }
}

impl Ring {
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

    /// Promises a ballot and logs it; returns the append that the promise waits for.
    pub(super) fn promise_own(&mut self, ballot: Ballot, effects: &mut Vec<Effect>) -> u64 {
        self.acceptor.promised = ballot;
        let a = &self.acceptor;
        let record = record::promise(self.config.ring, ballot, a.lost, &a.rejoins);
        self.append(record, effects)
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
        self.store.hold(instance, Held { ballot, payload, number, logged: true });
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

    /// Adds votes to an instance; a majority decides it.
    fn count_votes(
        &mut self,
        instance: Instance,
        ballot: Ballot,
        votes: u64,
        _effects: &mut Vec<Effect>,
    ) {
        let Some(cell) = self.store.get_mut(instance) else { return };
        if cell.held.as_ref().is_none_or(|held| held.ballot != ballot) {
            return;
        }
        cell.votes |= votes;
        if cell.decided.is_none() && self.layout.is_quorum(cell.votes) {
            cell.decided = Some(ballot);
        }
    }
}
