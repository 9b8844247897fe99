//! Events with a sender or a time: which part of the ring each goes to, and what is due when.
//! Decides nothing itself. A message of somebody who has no part in the ring is dropped.
//! Called by the house for every message, tick and change of the failure detector.

use volery_proto::ids::ServerId;

use super::Ring;
use super::effect::{Effect, Now};
use super::message::RingMessage;
use super::rejoin::Answer;

impl Ring {
    /// A message of another server arrives. `from` is who proved to be at the other end.
    pub fn handle_message(
        &mut self,
        from: ServerId,
        message: RingMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if self.failed || from == self.config.me {
            return;
        }
        self.seen = now;
        let learns = matches!(message, RingMessage::CatchUp { .. } | RingMessage::Alive { .. });
        if self.layout.bit(from) != 0 || learns {
            self.dispatch(from, message, now, effects);
            self.go_on(now, effects);
        }
    }

    fn dispatch(
        &mut self,
        from: ServerId,
        message: RingMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match message {
            RingMessage::Prepare { ballot, trial, yielded, .. } => {
                self.on_prepare(from, (ballot, trial), yielded, now, effects);
            }
            RingMessage::Promise(promise) => self.on_promise(from, *promise),
            RingMessage::Refuse { ballot, promised } => {
                self.on_refuse(ballot, promised, now, effects);
            }
            RingMessage::Accept { proposed, path } => {
                self.on_accept(proposed, path, now, effects);
            }
            RingMessage::Votes { instance, ballot, votes, path } => {
                self.on_votes((instance, ballot), &votes, path, effects);
            }
            RingMessage::Decision { instance, ballot } => {
                self.on_decision(from, instance, ballot, effects);
            }
            RingMessage::CatchUp { instance } => self.on_catch_up(from, instance, effects),
            RingMessage::Learned { values, base, decided } => {
                self.on_learned(from, values, (base, decided), now, effects);
            }
            RingMessage::Heartbeat { ballot, decided } => {
                self.note_decided(decided, Some(from));
                let promised = self.acceptor.promised;
                let message = if ballot < promised && self.may_vote() {
                    RingMessage::Refuse { ballot, promised }
                } else {
                    self.follow(ballot, now, effects);
                    RingMessage::Alive { ballot, decided: self.learner.next }
                };
                self.send(from, message, effects);
            }
            RingMessage::Alive { ballot, decided } => self.on_alive(from, ballot, decided, now),
            RingMessage::TakeOver { ballot } => self.take_over(from, ballot, now, effects),
            RingMessage::Rejoin { ballot, trial } => {
                self.on_rejoin(from, (ballot, trial), now, effects);
            }
            RingMessage::Rejoined { ballot, promised, end, trial } => {
                self.on_rejoined(from, (ballot, trial), Answer::Knows(promised, end), now, effects);
            }
            RingMessage::New { ballot, trial } => {
                self.on_rejoined(from, (ballot, trial), Answer::IsNew, now, effects);
            }
        }
    }

    /// Time passes. To be called at `next_deadline`, or every few milliseconds.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.failed {
            return;
        }
        self.seen = now;
        self.stand(now, effects);
        self.lead_on(now, effects);
        if self.learner.ask_at.is_some_and(|at| now.monotonic_us >= at) {
            self.ask(now, effects);
        }
        self.go_on(now, effects);
    }

    /// What may have become possible by any event.
    pub(super) fn go_on(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.conclude(now, effects);
        self.rejoin(now, effects);
        if self.learner.lags() && self.learner.ask_at.is_none() {
            // What is on its way already is not asked for.
            self.learner.ask_at = Some(now.monotonic_us + self.config.resend_us / 8);
        }
    }

    /// The failure detector suspects a server.
    pub fn suspect(&mut self, server: ServerId, now: Now, effects: &mut Vec<Effect>) {
        self.seen = now;
        if self.failed || server == self.config.me || !self.suspects.insert(server) {
            return;
        }
        self.leave_out(server, effects);
        if self.is_leader(server) && !self.is_coordinator() {
            self.leader_suspected(now);
        }
    }

    /// The failure detector hears a server again. It re-enters the path when it is up to date.
    pub fn restored(&mut self, server: ServerId, now: Now, _effects: &mut Vec<Effect>) {
        self.seen = now;
        if self.suspects.remove(&server) && self.is_leader(server) && !self.is_coordinator() {
            self.rearm(self.config.election_us, now);
        }
    }

    /// When `tick` has something to do, in monotonic microseconds. `None`: only events matter.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let lead = self.is_coordinator() && self.coordinator.path.is_some();
        let c = &self.coordinator;
        let heartbeat = lead.then_some(c.heartbeat_at);
        let resend = (lead && self.in_flight() > 0).then_some(c.resend_at);
        let rejoin = if self.acceptor.lost { self.rejoin.ask_at } else { None };
        [heartbeat, resend, rejoin, self.election.stand_at, self.learner.ask_at]
            .into_iter()
            .flatten()
            .min()
    }
}
