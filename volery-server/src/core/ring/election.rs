//! Who coordinates: ranked, randomised, and stable. Paxos Phase 1a, run once for all instances.
//! A candidate asks before it disturbs anybody, and never proposes where its quorum has forgotten.
//! Called by the ring's verbs and by time.

use std::collections::BTreeMap;

use volery_proto::command::Value;
use volery_proto::ids::{Ballot, Instance, ServerId};

use super::Ring;
use super::effect::{Effect, Now};
use super::message::{Promise, Proposed, RingMessage};
use super::mutant::Mutant;
use super::record;
use super::store::Payload;

/// What a server knows of who leads, and its own candidacy.
#[derive(Debug)]
pub(super) struct Election {
    /// The highest ballot that was heard leading.
    leader: Ballot,
    /// The highest round that was heard of.
    round: u32,
    /// When it was last heard.
    heard_at: Option<u64>,
    /// When this server stands, unless it hears a leader before.
    pub(super) stand_at: Option<u64>,
    /// It stands.
    campaign: Option<Campaign>,
    random: u64,
}

#[derive(Debug)]
struct Campaign {
    ballot: Ballot,
    trial: bool,
    /// The append of the own promise.
    own: u64,
    promises: BTreeMap<ServerId, Promise>,
}

impl Election {
    pub(super) fn new(seed: u64, me: ServerId) -> Election {
        let random = seed ^ (u64::from(me.0) << 56);
        Election {
            leader: Ballot::default(),
            round: 0,
            heard_at: None,
            stand_at: None,
            campaign: None,
            random,
        }
    }

    /// Splitmix64.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }
}

impl Ring {
    /// Who seems to coordinate this ring.
    #[must_use]
    pub fn coordinator_hint(&self) -> Option<ServerId> {
        match self.coordinator.ballot {
            Some(_) => Some(self.config.me),
            None => self.election.heard_at.map(|_| self.election.leader.server),
        }
    }

    /// The ballot of who seems to coordinate this ring.
    #[must_use]
    pub fn leader(&self) -> Option<Ballot> {
        let heard = self.election.heard_at.map(|_| self.election.leader);
        self.coordinator.ballot.or(heard)
    }

    /// Sets the time to stand: by rank, spread at random.
    pub(super) fn rearm(&mut self, after_us: u64, now: Now) {
        if self.layout.alone() || !self.may_vote() {
            self.election.stand_at = None;
            return;
        }
        let step = self.config.election_us / 4;
        let rank = self.layout.rank(&self.suspects) * step;
        let spread = self.election.random(step);
        self.election.stand_at = Some(now.monotonic_us + after_us + rank + spread);
    }

    /// A coordinator at this ballot lives.
    pub(super) fn follow(&mut self, ballot: Ballot, now: Now, effects: &mut Vec<Effect>) {
        if ballot < self.election.leader || ballot.server == self.config.me {
            return;
        }
        self.election.leader = ballot;
        self.election.heard_at = Some(now.monotonic_us);
        if !self.suspects.contains(&ballot.server) {
            self.rearm(self.config.election_us, now);
        }
        self.yield_to(ballot, effects);
    }

    /// A higher ballot is about: this server neither leads nor stands any longer.
    pub(super) fn yield_to(&mut self, ballot: Ballot, effects: &mut Vec<Effect>) {
        if self.coordinator.ballot.is_some_and(|own| own < ballot) {
            self.step_down(effects);
        }
        if self.election.campaign.as_ref().is_some_and(|own| own.ballot < ballot) {
            self.election.campaign = None;
        }
    }

    /// Whether this server hears a healthy coordinator other than `candidate`.
    pub(super) fn follows_another(&self, candidate: ServerId, now: Now) -> bool {
        if self.is_coordinator() {
            return true;
        }
        let leader = self.election.leader.server;
        let since = now.monotonic_us.saturating_sub(self.config.election_us);
        let healthy = self.election.heard_at.is_some_and(|at| at >= since);
        healthy && leader != candidate && !self.suspects.contains(&leader)
    }

    /// The failure detector suspects the one who leads: stand soon.
    pub(super) fn leader_suspected(&mut self, now: Now) {
        self.rearm(0, now);
    }

    /// Whether this server was last seen leading.
    pub(super) fn is_leader(&self, server: ServerId) -> bool {
        self.election.heard_at.is_some() && self.election.leader.server == server
    }

    /// Stands if it is time.
    pub(super) fn stand(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.election.stand_at.is_some_and(|at| now.monotonic_us >= at) {
            if self.is_coordinator() {
                self.election.stand_at = None;
            } else {
                self.campaign(true, Ballot::default(), now, effects);
            }
        }
    }

    /// The coordinator asks this member, whom the ring prefers, to lead.
    pub(super) fn take_over(
        &mut self,
        from: ServerId,
        ballot: Ballot,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if ballot.server == from && self.leader() == Some(ballot) && !self.is_coordinator() {
            self.campaign(false, ballot, now, effects);
        }
    }

    /// Phase 1a; first as a question, unless a coordinator yields.
    pub(super) fn campaign(
        &mut self,
        trial: bool,
        yielded: Ballot,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        // Whoever still hears a coordinator that is suspected here may notice a moment later: the
        // question, which disturbs nobody, is asked again soon.
        let early = trial && self.suspects.contains(&self.election.leader.server);
        self.rearm(self.config.election_us / if early { 4 } else { 1 }, now);
        if !self.may_vote() {
            return;
        }
        let heard = self.election.leader.round.max(self.election.round);
        let round = heard.max(self.acceptor.promised.round);
        let ballot = Ballot { round: round.saturating_add(1), server: self.config.me };
        let own = if trial { 0 } else { self.promise_own(ballot, effects) };
        self.election.campaign = Some(Campaign { ballot, trial, own, promises: BTreeMap::new() });
        let decided = self.learner.next;
        let after_durable = if trial { None } else { self.all_durable() };
        for to in self.layout.others() {
            let message = RingMessage::Prepare { ballot, decided, trial, yielded };
            effects.push(Effect::Send { to, message, after_durable });
        }
    }

    /// Somebody has promised a higher ballot.
    pub(super) fn on_refuse(
        &mut self,
        ballot: Ballot,
        promised: Ballot,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if promised <= ballot {
            return;
        }
        // A higher round is taken next time, even if nobody leads with the one that was promised.
        self.election.round = self.election.round.max(promised.round);
        if self.coordinator.ballot == Some(ballot) {
            // Whom it has asked to take over is not contested, though others hear of it first.
            let yields =
                self.coordinator.yields && Some(promised.server) == self.layout.preferred();
            self.step_down(effects);
            if !yields {
                self.campaign(false, Ballot::default(), now, effects);
            }
        } else if self.election.campaign.as_ref().is_some_and(|own| own.ballot == ballot) {
            self.election.campaign = None;
            self.rearm(0, now);
        }
    }

    /// Phase 1b arrives.
    pub(super) fn on_promise(&mut self, from: ServerId, promise: Promise) {
        self.note_decided(promise.decided, Some(from));
        let campaign = self.election.campaign.as_mut();
        let same = |own: &&mut Campaign| own.ballot == promise.ballot && own.trial == promise.trial;
        if let Some(campaign) = campaign.filter(same) {
            campaign.promises.insert(from, promise);
        }
    }

    /// Goes on with a candidacy if a majority has answered and nothing is missing.
    pub(super) fn conclude(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(campaign) = self.election.campaign.as_ref() else { return };
        let own = campaign.trial || campaign.own <= self.acceptor.durable;
        let counted = self.counted(campaign);
        let bits = counted.iter().fold(0, |bits, &(server, _)| bits | self.layout.bit(server));
        let own = own || self.mutant(Mutant::EarlyVote);
        if !own || !self.layout.is_quorum(bits | self.layout.my_bit()) {
            return;
        }
        if !self.mutant(Mutant::NoTrimPoint) {
            let forgotten = counted.iter().max_by_key(|(_, promise)| promise.trim.0);
            if let Some(&(from, promise)) = forgotten.filter(|f| f.1.trim.0 > self.learner.next) {
                let instance = promise.trim.0;
                self.election.campaign = None;
                effects.push(Effect::NeedsSnapshot { from, instance });
                return;
            }
            if counted.iter().any(|(_, promise)| promise.decided > self.learner.next) {
                // Learned first; then this is called again.
                return self.ask_soon(now, effects);
            }
        }
        if campaign.trial {
            return self.campaign(false, Ballot::default(), now, effects);
        }
        let promises = counted.into_iter().map(|(_, promise)| promise.clone()).collect();
        self.win(promises, now, effects);
    }

    /// The promises that count: those given before a member lost its memory are void.
    fn counted<'a>(&self, campaign: &'a Campaign) -> Vec<(ServerId, &'a Promise)> {
        let void = |server: ServerId, promise: &Promise| {
            let others = campaign.promises.values().map(|other| &other.rejoins);
            let known = others.chain(std::iter::once(&self.acceptor.rejoins));
            known.filter_map(|r| r.get(&server)).any(|&since| promise.rejoined < since)
        };
        let all = campaign.promises.iter().map(|(&server, promise)| (server, promise));
        all.filter(|&(server, promise)| !void(server, promise)).collect()
    }

    fn ask_soon(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.learner.ask_at.is_none() {
            self.ask(now, effects);
        }
    }

    /// A majority has promised: every open instance is proposed again with the value accepted at
    /// the highest ballot, and holes are filled with values that move nothing.
    fn win(&mut self, promises: Vec<Promise>, now: Now, effects: &mut Vec<Effect>) {
        let Some(campaign) = self.election.campaign.take() else { return };
        let mut open: BTreeMap<Instance, Proposed> = BTreeMap::new();
        let own = self.open_values();
        for proposed in own.into_iter().chain(promises.into_iter().flat_map(|p| p.values)) {
            let at = proposed.instance;
            let known = open.get(&at).is_some_and(|known| known.ballot >= proposed.ballot);
            let open_here = at >= self.learner.next && !self.is_too_far(at);
            if open_here && (!known || self.mutant(Mutant::AnyAccepted)) {
                open.insert(at, proposed);
            }
        }
        self.election.stand_at = None;
        self.lead(campaign.ballot, now, effects);
        let end = open.keys().next_back().map_or(0, |last| last.0 + 1);
        while self.coordinator.next.0 < end {
            let instance = self.coordinator.next;
            let payload = match open.remove(&instance) {
                Some(proposed) => record::decode(self.config.ring, instance, proposed.value),
                None => Ok(Payload::new(Value::default())),
            };
            match payload {
                Ok(payload) => self.propose_payload(payload, effects),
                Err(error) => return self.fail(error, effects),
            }
        }
        self.deliver(effects);
        self.lead_on(now, effects);
    }
}
