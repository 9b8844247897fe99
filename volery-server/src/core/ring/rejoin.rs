//! An acceptor that lost its memory: how it comes to vote again. DESIGN section 3, ATTACKS row 4.
//! Until then it learns, forwards, and neither promises nor votes.
//! Called by the ring's verbs and by time.
//!
//! Three steps. (1) Ask how high the others' promises are. (2) Have a majority of the *others*
//! promise a ballot R above them, and hear up to where they have accepted: whatever this member
//! once voted for was accepted by one of them at a ballot below R, and no vote that is still under
//! way can decide anything any more. (3) Learn everything below the highest of these ends, then
//! vote. Promises that it gave before are void from R on: those who promised R say so in theirs.
//!
//! A new ring has no member with a memory. Where *all* others answer, and those with a memory have
//! accepted nothing and the rest had empty directories too, there is nothing to remember. All must
//! answer: two empty disks of three tell a new ring from an old one by the third's memory alone.
//! Where a majority loses its disks and the rest has accepted nothing, what that majority decided
//! is lost, and nobody can know: that is beyond what a ring bears.

use std::collections::BTreeMap;

use volery_proto::ids::{Ballot, Instance, ServerId};

use super::Ring;
use super::effect::{Effect, Now};
use super::message::RingMessage;

/// Where a member without memory stands.
#[derive(Debug, Default)]
pub(super) struct Rejoin {
    /// What is asked to be promised; none yet: the first step.
    ballot: Option<Ballot>,
    /// Answers of this step: what was promised, and the end of what was accepted.
    answers: BTreeMap<ServerId, Answer>,
    /// The last step: everything below must be learned.
    end: Option<Instance>,
    /// When to ask again.
    pub(super) ask_at: Option<u64>,
}

/// What another member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What it has promised, and the end of what it has accepted.
    Knows(Ballot, Instance),
    /// It had an empty directory.
    IsNew,
}

impl Ring {
    /// Asks the others, or finishes.
    pub(super) fn rejoin(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.acceptor.lost || !self.layout.is_member() || self.layout.alone() {
            return;
        }
        if let Some(end) = self.rejoin.end {
            self.note_decided(end, None);
            if self.learner.next >= end {
                self.rejoin_done(now, effects);
            }
            return;
        }
        if self.rejoin.ask_at.is_some_and(|at| now.monotonic_us < at) {
            return;
        }
        self.rejoin.ask_at = Some(now.monotonic_us + self.config.resend_us);
        let trial = self.rejoin.ballot.is_none();
        let ballot = self.rejoin.ballot.unwrap_or_default();
        for to in self.layout.others() {
            self.send(to, RingMessage::Rejoin { ballot, trial }, effects);
        }
    }

    /// A member without memory asks.
    pub(super) fn on_rejoin(
        &mut self,
        from: ServerId,
        (ballot, trial): (Ballot, bool),
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if self.acceptor.new && self.learner.next == Instance(0) {
            return self.send(from, RingMessage::New { ballot, trial }, effects);
        }
        if !self.may_vote() || !(trial || ballot.server == from) {
            return;
        }
        if !trial && ballot > self.acceptor.promised {
            self.acceptor.rejoins.insert(from, ballot);
            self.promise_own(ballot, effects);
            let leads = self.is_coordinator();
            self.yield_to(ballot, effects);
            if leads {
                self.campaign(false, Ballot::default(), now, effects);
            }
        }
        let kept = self.acceptor.rejoins.get(&from) == Some(&ballot);
        let message = RingMessage::Rejoined {
            ballot,
            promised: self.acceptor.promised,
            end: self.store.end().max(self.learner.next),
            trial: trial || !kept,
        };
        let after_durable = self.all_durable();
        effects.push(Effect::Send { to: from, message, after_durable });
    }

    /// An answer.
    pub(super) fn on_rejoined(
        &mut self,
        from: ServerId,
        (ballot, trial): (Ballot, bool),
        answer: Answer,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.acceptor.lost || self.rejoin.end.is_some() || self.layout.bit(from) == 0 {
            return;
        }
        let asked = self.rejoin.ballot;
        if trial == asked.is_some() || ballot != asked.unwrap_or_default() {
            // Somebody has promised more meanwhile: begin again.
            if trial && asked == Some(ballot) {
                self.rejoin = Rejoin::default();
            }
            return;
        }
        self.rejoin.answers.insert(from, answer);
        let told = self.rejoin.answers.values().filter_map(|answer| match answer {
            Answer::Knows(promised, end) => Some((*promised, *end)),
            Answer::IsNew => None,
        });
        let answers: Vec<_> = told.collect();
        let nothing = self.acceptor.new && answers.iter().all(|(_, end)| *end == Instance(0));
        let all = self.layout.others().all(|other| self.rejoin.answers.contains_key(&other));
        if !(self.layout.is_majority_of_others(answers.len()) || nothing && all) {
            return;
        }
        self.rejoin.answers.clear();
        self.rejoin.ask_at = None;
        if trial {
            let own = (self.acceptor.promised, Instance(0));
            let highest = answers.into_iter().fold(own, |highest, answer| highest.max(answer)).0;
            let round = highest.round.saturating_add(1);
            self.rejoin.ballot = Some(Ballot { round, server: self.config.me });
        } else {
            self.rejoin.end = answers.into_iter().map(|(_, end)| end).max().or(Some(Instance(0)));
        }
        self.rejoin(now, effects);
    }

    fn rejoin_done(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(ballot) = self.rejoin.ballot else { return };
        self.rejoin = Rejoin::default();
        self.acceptor.lost = false;
        self.acceptor.new = false;
        self.acceptor.rejoins.insert(self.config.me, ballot);
        self.promise_own(ballot, effects);
        self.rearm(self.config.election_us, now);
    }
}
