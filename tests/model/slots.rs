//! Slots and failover (DESIGN sections 3 and 4; ATTACKS rows 1 and 3): acceptors, ballots and
//! coordinators that may stop at any moment, messages that may come at any moment or never.
//!
//! An abstraction: the ring itself has deadlines, questions before candidacies, paths and
//! catch-up, whose interleavings no checker gets through; its random worlds are in core/ring. What
//! is real here is `Value`, whose `effective_start` and `end` make slots out of what is decided.
//! A message is never consumed: a vote that was possible once stays possible until a promise
//! forbids it, so every order, loss and repetition is among the states.

use std::sync::Arc;

use stateright::{Model, Property};
use volery_proto::command::{Command, Operation, Origin, Value};
use volery_proto::ids::{SessionId, Slot, Zxid};

const ACCEPTORS: usize = 3;
const QUORUM: u32 = 2;

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Row 1: a value begins at max(its start, position + 1).
    EffectiveStart,
    /// Phase 1: the value accepted at the highest ballot is proposed again.
    HighestBallot,
    /// Phase 1: a coordinator proposes again what it hears of.
    Reproposal,
    /// An acceptor accepts nothing below its promise.
    Promise,
    /// Row 3: a promise carries the trim point; nobody proposes below the highest of its quorum.
    TrimPoint,
    /// A majority is counted against all acceptors, not against a live path that may have shrunk
    /// to one.
    Majority,
}

#[derive(Clone, Debug)]
struct Slots {
    without: Without,
    /// Per ballot: the clock of its coordinator.
    clocks: Vec<u16>,
    instances: usize,
    /// Values that may be trimmed.
    trims: u8,
}

/// What is proposed: where it wants to begin, and with how many commands; 0: it fills a hole.
type Proposal = (u16, u8);

/// What an acceptor has accepted, per instance: the ballot.
type Accepted = Vec<Option<u8>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Promise {
    trim: u8,
    accepted: Accepted,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Acceptor {
    promised: u8,
    accepted: Accepted,
    /// Everything below is decided, in a snapshot, and forgotten.
    trim: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Coordinator {
    /// The acceptors that have promised, until they are a quorum.
    promises: Vec<(usize, Promise)>,
    /// What it proposes, per instance; empty: it does not lead. `None`: not its to propose, it
    /// begins behind a snapshot.
    proposals: Vec<Option<Proposal>>,
    /// Per instance: who has voted.
    votes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    acceptors: Vec<Acceptor>,
    /// Per ballot.
    coordinators: Vec<Coordinator>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// With the last promise that it needs a coordinator leads. It proposes at once all that it
    /// ever will: what nobody votes for is as if it had not been proposed.
    Promise {
        ballot: u8,
        acceptor: usize,
    },
    Vote {
        ballot: u8,
        instance: usize,
        acceptor: usize,
    },
    Trim {
        acceptor: usize,
    },
}

fn value((start, commands): Proposal) -> Value {
    let command = Command {
        origin: Origin::default(),
        session: SessionId(0),
        epoch: Zxid::ZERO,
        identities: Arc::new([]),
        after: Zxid::ZERO,
        map_version: 1,
        flags: Default::default(),
        operation: Operation::Noop,
    };
    let start = Slot(u64::from(start));
    Value { start, time_ms: 0, commands: vec![command; usize::from(commands)] }
}

impl Slots {
    /// Where a value begins and ends behind `position`.
    fn span(&self, proposal: Proposal, position: Slot) -> (Slot, Slot) {
        let value = value(proposal);
        if self.without == Without::EffectiveStart && proposal.1 > 0 {
            return (value.start, Slot(value.start.0 + u64::from(proposal.1) - 1));
        }
        (value.effective_start(position), value.end(position))
    }

    /// The values that a majority has ever voted for, per instance: one, if all is well.
    fn chosen(&self, state: &State, instance: usize) -> Vec<Proposal> {
        let mut chosen = Vec::new();
        for coordinator in &state.coordinators {
            let votes = coordinator.votes[instance].count_ones();
            let enough = votes >= if self.without == Without::Majority { 1 } else { QUORUM };
            let proposal = coordinator.proposals.get(instance).copied().flatten();
            if let Some(proposal) = proposal.filter(|_| enough)
                && !chosen.contains(&proposal)
            {
                chosen.push(proposal);
            }
        }
        chosen
    }

    /// The decided values up to the first gap.
    fn decided(&self, state: &State) -> Vec<Proposal> {
        (0..self.instances).map_while(|i| self.chosen(state, i).first().copied()).collect()
    }

    /// A quorum has promised: what is open is proposed again, holes are filled, and new values
    /// follow.
    fn lead(&self, state: &mut State, ballot: u8) {
        let at = usize::from(ballot);
        let promises = std::mem::take(&mut state.coordinators[at].promises);
        let trimmed = promises.iter().map(|(_, p)| usize::from(p.trim)).max().unwrap_or(0);
        // A snapshot of whoever has trimmed most: the ring goes on behind it.
        let from = if self.without == Without::TrimPoint { 0 } else { trimmed };
        let mut open: Vec<Option<u8>> = vec![None; self.instances];
        for (_, promise) in promises.iter().filter(|_| self.without != Without::Reproposal) {
            for (known, accepted) in open.iter_mut().zip(&promise.accepted) {
                let later = match self.without {
                    Without::HighestBallot => accepted.is_some(),
                    _ => accepted > known,
                };
                *known = if later { *accepted } else { *known };
            }
        }
        let end = open.iter().rposition(Option::is_some).map_or(from, |last| last + 1);
        let below = self.decided(state).into_iter().take(from);
        let mut position = below.fold(Slot(0), |at, proposal| self.span(proposal, at).1);
        let mut proposals = vec![None; self.instances];
        for instance in from..self.instances {
            let again = open[instance].and_then(|b| {
                state.coordinators[usize::from(b)].proposals.get(instance).copied().flatten()
            });
            let start = self.clocks[at].max(position.0 as u16 + 1);
            let proposal = match again {
                Some(proposal) => proposal,
                None if instance < end => (0, 0),
                None => (start, 1 + ballot % 2),
            };
            proposals[instance] = Some(proposal);
            position = self.span(proposal, position).1;
        }
        state.coordinators[at].proposals = proposals;
    }
}

impl Model for Slots {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let acceptor = Acceptor { accepted: vec![None; self.instances], ..Acceptor::default() };
        let coordinator = Coordinator { votes: vec![0; self.instances], ..Coordinator::default() };
        let mut state = State {
            acceptors: vec![acceptor; ACCEPTORS],
            coordinators: vec![coordinator; self.clocks.len()],
        };
        // The first ballot is everybody's from the beginning.
        self.lead(&mut state, 0);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (ballot, coordinator) in (0u8..).zip(&state.coordinators) {
            let is_candidate = coordinator.proposals.is_empty();
            for (acceptor, a) in state.acceptors.iter().enumerate() {
                let promised = coordinator.promises.iter().any(|(who, _)| *who == acceptor);
                if is_candidate && a.promised <= ballot && !promised {
                    actions.push(Action::Promise { ballot, acceptor });
                }
                let allowed = a.promised <= ballot || self.without == Without::Promise;
                for (instance, proposal) in coordinator.proposals.iter().enumerate() {
                    let voted = coordinator.votes[instance] & (1 << acceptor) != 0;
                    let may = proposal.is_some() && usize::from(a.trim) <= instance;
                    if allowed && may && !voted {
                        actions.push(Action::Vote { ballot, instance, acceptor });
                    }
                }
            }
        }
        let decided = self.decided(state).len();
        for (acceptor, a) in state.acceptors.iter().enumerate() {
            if a.trim < self.trims && usize::from(a.trim) < decided {
                actions.push(Action::Trim { acceptor });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Promise { ballot, acceptor } => {
                let a = &mut state.acceptors[acceptor];
                a.promised = a.promised.max(ballot);
                let promise = Promise { trim: a.trim, accepted: a.accepted.clone() };
                let promises = &mut state.coordinators[usize::from(ballot)].promises;
                promises.push((acceptor, promise));
                if promises.len() == QUORUM as usize {
                    self.lead(&mut state, ballot);
                }
            }
            Action::Vote { ballot, instance, acceptor } => {
                let a = &mut state.acceptors[acceptor];
                a.promised = a.promised.max(ballot);
                a.accepted[instance] = a.accepted[instance].max(Some(ballot));
                state.coordinators[usize::from(ballot)].votes[instance] |= 1 << acceptor;
            }
            Action::Trim { acceptor } => {
                let a = &mut state.acceptors[acceptor];
                a.accepted[usize::from(a.trim)] = None;
                a.trim += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one value per instance", |model: &Slots, state: &State| {
                (0..model.instances).all(|instance| model.chosen(state, instance).len() <= 1)
            }),
            Property::always("slots never go back", |model: &Slots, state: &State| {
                let mut position = Slot(0);
                model.decided(state).into_iter().all(|proposal| {
                    let (start, end) = model.span(proposal, position);
                    let forward = end >= position && (proposal.1 == 0 || start > position);
                    position = end;
                    forward
                })
            }),
        ]
    }
}

/// Three ballots over two instances, and clocks that differ: the coordinator in the middle runs
/// ahead, the last one behind.
fn failing_over(without: Without) -> Slots {
    Slots { without, clocks: vec![100, 1000, 50], instances: 2, trims: 0 }
}

/// Two ballots, and acceptors that forget what is decided.
fn trimming(without: Without) -> Slots {
    Slots { without, clocks: vec![100, 50], instances: 2, trims: 2 }
}

fn holds(model: Slots) {
    let (ballots, instances, trims) = (model.clocks.len(), model.instances, model.trims);
    let name = format!("slots: {ballots} ballots, {instances} instances, {trims} trims");
    super::holds(&name, model);
}

#[test]
fn slots_never_go_back_and_an_instance_has_one_value() {
    holds(failing_over(Without::Nothing));
    holds(trimming(Without::Nothing));
    if super::large() {
        holds(Slots { trims: 1, ..failing_over(Without::Nothing) });
        holds(Slots { instances: 3, ..trimming(Without::Nothing) });
    }
}

#[test]
fn every_rule_of_slots_and_failover_is_needed() {
    let cases = [
        failing_over(Without::EffectiveStart),
        failing_over(Without::HighestBallot),
        failing_over(Without::Reproposal),
        failing_over(Without::Promise),
        failing_over(Without::Majority),
        trimming(Without::TrimPoint),
    ];
    for model in cases {
        super::fails(&format!("slots without {:?}", model.without), model);
    }
}
