//! Contributions (DESIGN section 6; ATTACKS rows 5, 18 and 23): partitions that merge ring 0 and
//! their own ring, and commands over several of them that wait for all contributions.
//!
//! The actors are the real replicas, `core::executor::Partition` with its merge. Around them is as
//! little as possible: rings that order at once, with clocks that differ; values and contributions
//! that arrive in any order, late or never (what is lost is pulled); replicas that start anew from
//! a snapshot. A state keeps what each replica took, and builds it again to take one thing more;
//! states are the same where the replicas have taken the same and have the same digest.

mod replica;
mod worlds;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use stateright::{Model, Property};
use volery_proto::command::{Command, Operation, Origin, Value};
use volery_proto::ids::{PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::jute::Reader;
use volery_proto::zk::{Acl, CreateRequest, Id, MultiResult, Request, perms};
use volery_server::core::executor::{CommandOutcome, Partition};
use volery_server::core::mutation::{Mutation, plant};
use volery_server::core::oracle::{Destination, PartitionMap};

use replica::{Known, Living, Replica, Step};

/// Everything before this slot is the same in every state: the front end's hello, the znodes.
const BEGIN: u64 = 9;
const PATHS: [&str; 4] = ["/p", "/o", "/q", "/r"];

/// A command that somebody will ask for.
#[derive(Clone, Debug)]
struct Plan {
    request: Request,
    /// What the clock of the coordinator shows.
    clocks: &'static [u64],
    /// Nobody asks for it before this one is answered.
    after: Option<usize>,
    /// It may not succeed: it would have seen the later of two writes, and not the earlier.
    must_fail: bool,
}

#[derive(Clone, Debug)]
struct Contributions {
    rule: Option<Mutation>,
    /// Row 18: contributions are given by whoever has not delivered the command.
    early: bool,
    map: Arc<PartitionMap>,
    /// Per ring: the values that are the same in every state.
    setup: Vec<Vec<Arc<Value>>>,
    /// Whose replicas there are.
    replicas: Vec<PartitionId>,
    plans: Vec<Plan>,
    /// One that never gets anything.
    dead: Option<usize>,
    restarts: u8,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Per ring: slots, and the plan ordered there, if it is no skip.
    logs: Vec<Vec<(Slot, Option<usize>)>>,
    /// Per plan.
    zxids: Vec<Option<Zxid>>,
    replicas: Vec<Replica>,
    snapshots: u8,
    restarts: u8,
    disagreed: bool,
    /// What the first replica came to.
    outcomes: BTreeMap<Zxid, CommandOutcome>,
}

impl State {
    fn faults(&self) -> (u8, u8) {
        (self.snapshots, self.restarts)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        (&self.logs, &self.replicas, self.faults())
            == (&other.logs, &other.replicas, other.faults())
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.logs, &self.replicas, self.faults(), self.disagreed).hash(state);
        self.outcomes.keys().for_each(|zxid| zxid.hash(state));
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Order { plan: usize, clock: u64 },
    Skip { ring: usize },
    Take { replica: usize, ring: usize },
    Give { to: usize, from: usize, zxid: Zxid },
    Snapshot { replica: usize },
    Restart { replica: usize },
}

fn create(path: &str) -> Request {
    let id = Id { scheme: "world".into(), id: "anyone".into() };
    let acl = vec![Acl { perms: perms::ALL, id }];
    Request::Create(CreateRequest { path: path.into(), data: None, acl, flags: 0 })
}

fn succeeded(outcome: &CommandOutcome) -> bool {
    let CommandOutcome::Write(Ok(body)) = outcome else { return false };
    let results = MultiResult::read_all(&mut Reader::new(body.clone())).unwrap_or_default();
    !results.iter().any(|result| matches!(result, MultiResult::Error(_)))
}

impl Contributions {
    /// A world of so many partitions, each with a replica; no faults.
    fn new(partitions: u16, plans: Vec<Plan>) -> Contributions {
        let own = [(PartitionId(2), "/q".to_owned()), (PartitionId(3), "/r".to_owned())];
        let own = &own[..usize::from(partitions) - 1];
        let map = Arc::new(PartitionMap::new(1, partitions, &[], own));
        let mut setup: Vec<Vec<Arc<Value>>> = vec![Vec::new(); usize::from(partitions) + 1];
        setup[0].push(command(None, 1, 1));
        for path in &PATHS[..usize::from(partitions) + 1] {
            let request = create(path);
            let ring = map.destination_of_write(&request).ring();
            let log = &mut setup[usize::from(ring.0)];
            let sequence = 1 + log.len() as u64 - u64::from(ring == RingId::GLOBAL);
            log.push(command(Some(request), 3 + sequence, sequence));
        }
        setup.iter_mut().for_each(|log| log.push(skip(Slot(BEGIN))));
        let replicas = (1..=partitions).map(PartitionId).collect();
        let (rule, early, dead, restarts) = (None, false, None, 0);
        Contributions { rule, early, map, setup, replicas, plans, dead, restarts }
    }

    fn destination(&self, plan: usize) -> Destination {
        self.map.destination_of_write(&self.plans[plan].request)
    }

    /// The n-th value of a ring: first what is the same in every state.
    fn value(&self, state: &State, ring: RingId, at: usize) -> Option<Arc<Value>> {
        let setup = &self.setup[usize::from(ring.0)];
        if let Some(value) = setup.get(at) {
            return Some(value.clone());
        }
        let log = &state.logs[usize::from(ring.0)];
        let at = at - setup.len();
        let (begin, plan) = *log.get(at)?;
        let Some(plan) = plan else { return Some(skip(begin)) };
        let numbered = |value: &&Arc<Value>| {
            value.commands.first().is_some_and(|command| command.operation != Operation::Hello)
        };
        let before = setup.iter().filter(numbered).count()
            + log[..at].iter().filter(|(_, plan)| plan.is_some()).count();
        Some(command(Some(self.plans[plan].request.clone()), begin.0, before as u64 + 1))
    }

    fn revive(&self, replica: usize) -> Living<'_> {
        let id = self.replicas[replica];
        let partition = Partition::new(id, self.map.clone(), 7);
        let known = Known::default();
        Living { model: self, id, partition, known, chunks: Vec::new(), outcomes: Vec::new() }
    }

    /// The replica as its steps have made it.
    fn living(&self, state: &State, replica: usize) -> Living<'_> {
        let mut living = self.revive(replica);
        state.replicas[replica].steps.iter().for_each(|step| living.step(state, step));
        living.outcomes.clear();
        living
    }

    /// A replica takes one step more.
    fn go_on(&self, state: &mut State, replica: usize, step: Step) {
        let mut living = self.living(state, replica);
        living.step(state, &step);
        let Living { partition, mut known, outcomes, .. } = living;
        known.digest = partition.digest();
        known.position = partition.position();
        known.set_aside = partition.set_aside();
        let zxids = state.zxids.iter().flatten();
        known.contributed =
            zxids.copied().filter(|z| partition.contributed(*z).is_some()).collect();
        for (zxid, outcome) in outcomes {
            let first = state.outcomes.entry(zxid).or_insert_with(|| outcome.clone());
            state.disagreed |= *first != outcome;
        }
        let at = &mut state.replicas[replica];
        at.lacks = partition.lacks().collect();
        at.known = known;
        at.steps.push(step);
    }

    /// The highest slot that anything was ordered at.
    fn highest(&self, state: &State) -> Slot {
        let zxids = state.zxids.iter().flatten();
        zxids.map(|zxid| zxid.slot()).max().unwrap_or(Slot(BEGIN))
    }

    fn position(state: &State, ring: usize) -> Slot {
        state.logs[ring].last().map_or(Slot(BEGIN), |(slot, _)| *slot)
    }

    /// What moves things on; restarts do not count.
    fn progress(&self, state: &State) -> Vec<Action> {
        plant(self.rule);
        let mut actions = Vec::new();
        for (plan, p) in self.plans.iter().enumerate() {
            let answered = |z: &Zxid| state.outcomes.contains_key(z);
            let may = p.after.is_none_or(|a| state.zxids[a].as_ref().is_some_and(answered));
            if state.zxids[plan].is_none() && may {
                let clocks = p.clocks.iter();
                actions.extend(clocks.map(|clock| Action::Order { plan, clock: *clock }));
            }
        }
        let highest = self.highest(state);
        let behind = (0..state.logs.len()).filter(|r| Self::position(state, *r) < highest);
        actions.extend(behind.map(|ring| Action::Skip { ring }));
        for (replica, r) in state.replicas.iter().enumerate() {
            if self.dead == Some(replica) {
                continue;
            }
            for ring in 0..2 {
                let id = [RingId::GLOBAL, self.replicas[replica].ring()][ring];
                if self.value(state, id, r.known.taken[ring]).is_some() {
                    actions.push(Action::Take { replica, ring });
                }
            }
            self.gifts(state, replica, &mut actions);
        }
        actions
    }

    fn gifts(&self, state: &State, to: usize, actions: &mut Vec<Action>) {
        let known = &state.replicas[to].known;
        for (from, other) in state.replicas.iter().enumerate() {
            let id = self.replicas[from];
            if id == self.replicas[to] {
                continue;
            }
            let addressed = |zxid: &Zxid| {
                let plan = state.zxids.iter().position(|z| z.as_ref() == Some(zxid));
                plan.is_some_and(|plan| self.destination(plan).includes(self.replicas[to]))
            };
            let is_new =
                |zxid: &Zxid| !known.given.contains(&(*zxid, id)) && !known.executed.contains(zxid);
            let given = other.known.contributed.iter().filter(|z| is_new(z) && addressed(z));
            actions.extend(given.map(|zxid| Action::Give { to, from, zxid: *zxid }));
            if self.early {
                let lacks = state.replicas[to].lacks.iter();
                let lacks = lacks.filter(|(z, ids)| ids.contains(&id) && is_new(z));
                let early = lacks.filter(|(z, _)| !other.known.contributed.contains(z));
                actions.extend(early.map(|(zxid, _)| Action::Give { to, from, zxid: *zxid }));
            }
        }
    }

    /// Whether every live replica has executed what does not need the dead.
    fn done(&self, state: &State) -> bool {
        let dead = self.dead.map(|dead| self.replicas[dead]);
        state.zxids.iter().enumerate().all(|(plan, zxid)| {
            let destination = self.destination(plan);
            if dead.is_some_and(|dead| destination.includes(dead)) {
                return true;
            }
            let Some(zxid) = zxid else { return false };
            self.replicas.iter().zip(&state.replicas).enumerate().all(|(at, (id, replica))| {
                self.dead == Some(at)
                    || !destination.includes(*id)
                    || replica.known.executed.contains(zxid)
            })
        })
    }
}

fn skip(start: Slot) -> Arc<Value> {
    Arc::new(Value { start, time_ms: 0, commands: Vec::new() })
}

fn command(request: Option<Request>, slot: u64, sequence: u64) -> Arc<Value> {
    let incarnation = Zxid::new(Slot(1), RingId::GLOBAL);
    let incarnation = if request.is_some() { incarnation } else { Zxid::ZERO };
    let command = Command {
        origin: Origin { server: ServerId(1), incarnation, sequence },
        session: SessionId(0),
        epoch: Zxid::ZERO,
        identities: Arc::new([]),
        after: Zxid::ZERO,
        map_version: 1,
        flags: Default::default(),
        operation: request.map_or(Operation::Hello, Operation::Write),
    };
    Arc::new(Value { start: Slot(slot), time_ms: slot, commands: vec![command] })
}

impl Model for Contributions {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        plant(None);
        let mut state = State {
            logs: vec![Vec::new(); self.setup.len()],
            zxids: vec![None; self.plans.len()],
            replicas: vec![Replica::default(); self.replicas.len()],
            ..State::default()
        };
        for _ in 0..20 {
            for replica in 0..self.replicas.len() {
                let ids = [RingId::GLOBAL, self.replicas[replica].ring()];
                let taken = state.replicas[replica].known.taken;
                if let Some(which) =
                    (0..2).find(|which| self.value(&state, ids[*which], taken[*which]).is_some())
                {
                    self.go_on(&mut state, replica, Step::Value(which));
                }
            }
            self.exchange(&mut state);
        }
        for replica in 0..self.replicas.len() {
            self.go_on(&mut state, replica, Step::Snapshot);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        *actions = self.progress(state);
        for replica in 0..self.replicas.len() {
            if state.snapshots < self.restarts {
                actions.push(Action::Snapshot { replica });
            }
            if state.restarts < self.restarts {
                actions.push(Action::Restart { replica });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        plant(self.rule);
        let mut state = last.clone();
        match action {
            Action::Order { plan, clock } => {
                let ring = self.destination(plan).ring();
                let position = Self::position(last, usize::from(ring.0));
                let slot = Slot(clock.max(position.0 + 1));
                state.logs[usize::from(ring.0)].push((slot, Some(plan)));
                state.zxids[plan] = Some(Zxid::new(slot, ring));
            }
            Action::Skip { ring } => {
                let highest = self.highest(last);
                state.logs[ring].push((highest, None));
            }
            Action::Take { replica, ring } => {
                self.go_on(&mut state, replica, Step::Value(ring));
            }
            Action::Give { to, from, zxid } => {
                let giver = self.living(last, from).partition;
                let early = || giver.peek(&self.living(last, to).partition, zxid);
                let given = giver.contributed(zxid).or_else(early);
                self.go_on(&mut state, to, Step::Given(zxid, giver.id(), given?));
            }
            Action::Snapshot { replica } => {
                let known = &last.replicas[replica].known;
                if known.snapshot.as_ref().is_some_and(|(taken, ..)| *taken == known.taken) {
                    return None;
                }
                self.go_on(&mut state, replica, Step::Snapshot);
                state.snapshots += 1;
            }
            Action::Restart { replica } => {
                self.go_on(&mut state, replica, Step::Restart);
                state.restarts += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("all come to the same", |_: &Contributions, state: &State| {
                !state.disagreed
            }),
            Property::always("real time", |model: &Contributions, state: &State| {
                model.plans.iter().zip(&state.zxids).filter(|(p, _)| p.must_fail).all(|(_, z)| {
                    let outcome = z.as_ref().and_then(|zxid| state.outcomes.get(zxid));
                    !outcome.is_some_and(succeeded)
                })
            }),
            Property::always("nothing waits for ever", |model: &Contributions, state: &State| {
                model.done(state) || !model.progress(state).is_empty()
            }),
        ]
    }
}

impl Contributions {
    /// Before anything is checked: everybody gets all there is.
    fn exchange(&self, state: &mut State) {
        for to in 0..self.replicas.len() {
            for (zxid, lacking) in state.replicas[to].lacks.clone() {
                for from in
                    (0..self.replicas.len()).filter(|f| lacking.contains(&self.replicas[*f]))
                {
                    let given = self.living(state, from).partition.contributed(zxid);
                    if let Some(given) = given {
                        let id = self.replicas[from];
                        self.go_on(state, to, Step::Given(zxid, id, given));
                    }
                }
            }
        }
    }
}
