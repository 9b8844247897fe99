//! The frontier (DESIGN sections 5 and 7; ATTACKS rows 6 to 11 and 14 to 16): sessions that read,
//! write, watch and move over two partitions and two servers.
//!
//! The actors are the real ones: `core::front_end` and `core::executor`, with the merge. Around
//! them are rings that order at once by clocks that differ, and values that arrive at each server
//! when they arrive: each ring by itself, and at a *prompt* server at once. A server is kept as
//! what it was given and built again for one thing more; states are the same where the front ends
//! print the same, the replicas have the same digests, and the clients were told the same.

mod client;
mod judge;
mod programs;
mod server;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

use stateright::{Model, Property};
use volery_proto::command::{Command, Operation, Value};
use volery_proto::ids::{PartitionId, RingId, Slot, Zxid};
use volery_proto::zk::{Acl, CreateRequest, Id, Request, perms};
use volery_server::core::front_end::ClientEffect;
use volery_server::core::mutation::{Mutation, plant};
use volery_server::core::oracle::PartitionMap;
use volery_server::core::types::ConnId;

use client::{Client, Do, Step, Told};
use judge::{Promise, Write, Writes};
use server::{Input, Outcome, Server};

const PARTITIONS: usize = 2;
/// One znode in each partition.
const PATHS: [&str; 2] = ["/p", "/q"];
/// Everything before this slot is the same in every state.
const BEGIN: Slot = Slot(40);

/// A small world and what its clients do.
#[derive(Clone, Debug)]
struct Frontier {
    rule: Option<Mutation>,
    /// Per client: where it begins, and what it does.
    clients: Vec<(usize, Vec<Step>)>,
    /// Servers that are never behind.
    prompt: [bool; 2],
    /// A ring of which the first server learns nothing any more.
    dead: Option<usize>,
    /// Whether the first server waits for so long that what is behind is stale, and how often.
    waits: u8,
    /// Servers have `reads=linearizable`.
    linearizable: bool,
    /// What the clocks of the rings' coordinators may show.
    clocks: [&'static [u64]; PARTITIONS + 1],
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Per ring.
    logs: Vec<Vec<Arc<Value>>>,
    /// Per ring: where it stands.
    positions: Vec<Slot>,
    servers: Vec<Server>,
    /// Per server and ring: commands on their way to the coordinator.
    sent: Vec<Vec<VecDeque<Command>>>,
    clients: Vec<Client>,
    conns: u64,
    waited: u8,
    /// Ordered, by zxid; they take effect once somebody executes them.
    ordered: BTreeMap<Zxid, Command>,
    writes: Writes,
    /// The highest zxid that any answer has shown.
    answered: Zxid,
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.key() == other.key()
    }
}

impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// A client takes its next step.
    Step { client: usize },
    /// A command reaches its coordinator, whose clock shows this.
    Order { server: usize, ring: usize, clock: u64 },
    /// An idle ring passes what others have ordered.
    Skip { ring: usize },
    /// A server learns the next value of a ring.
    Take { server: usize, ring: usize },
    /// The first server waits.
    Late,
}

impl State {
    /// What makes two states the same.
    fn key(&self) -> impl PartialEq + std::hash::Hash + '_ {
        let sent = self.sent.iter().flatten().flatten();
        let sent: Vec<_> = sent.map(|c| (c.origin, c.after, c.epoch)).collect();
        let logs: Vec<_> = self.ordered.iter().map(|(zxid, c)| (*zxid, c.origin)).collect();
        let lengths: Vec<_> = self.logs.iter().map(Vec::len).collect();
        let places = (lengths, &self.positions, &self.servers, &self.clients, &self.writes);
        (sent, logs, places, self.answered, self.waited)
    }
}

fn create(path: &str) -> Request {
    let id = Id { scheme: "world".into(), id: "anyone".into() };
    let acl = vec![Acl { perms: perms::ALL, id }];
    Request::Create(CreateRequest { path: path.into(), data: None, acl, flags: 0 })
}

static MAP: LazyLock<Arc<PartitionMap>> = LazyLock::new(|| {
    Arc::new(PartitionMap::new(1, PARTITIONS as u16, &[], &[(PartitionId(2), "/q".into())]))
});

impl Frontier {
    fn give(&self, state: &mut State, server: usize, input: Input) {
        let me = server::Me { id: server as u8 + 1, linearizable: self.linearizable };
        let outcome = state.servers[server].give(me, &MAP, input);
        let Outcome { proposals, effects, executed } = outcome;
        for (ring, command) in proposals {
            state.sent[server][usize::from(ring.0)].push_back(command);
        }
        for (zxid, _) in executed.into_iter().filter(|(_, effective)| *effective) {
            if let Some((path, by)) = state.ordered.get(&zxid).and_then(written) {
                state.writes.insert(zxid, Write { path, by });
            }
        }
        for effect in effects {
            self.effect(state, effect);
        }
    }

    fn effect(&self, state: &mut State, effect: ClientEffect) {
        let find = |conn: ConnId| state.clients.iter().position(|client| client.conn == conn);
        match effect {
            ClientEffect::Send { conn, bytes, .. } => {
                let Some(at) = find(conn) else { return };
                for frame in server::frames(bytes) {
                    let client = &mut state.clients[at];
                    let asks = client.hear(frame, &self.clients[at].1);
                    if let Some(Told::Reply { step, shown, .. }) = client.told.last() {
                        let zxid = match self.clients[at].1[*step].what {
                            Do::Read(_) | Do::Watch(_) => *shown,
                            _ => judge::own(&state.writes, at, *step).unwrap_or_default(),
                        };
                        state.answered = state.answered.max(zxid);
                    }
                    if let Some(request) = asks {
                        let server = client.server;
                        self.give(state, server, Input::Requests(conn, vec![request]));
                    }
                }
            }
            ClientEffect::Close { conn, .. } => {
                if let Some(at) = find(conn) {
                    state.clients[at].lost = true;
                }
            }
            ClientEffect::Established { .. } => {}
        }
    }

    fn connect(&self, state: &mut State, client: usize, server: usize) {
        state.conns += 1;
        let conn = ConnId(state.conns);
        let request = state.clients[client].connect(server, conn);
        self.give(state, server, Input::Open(conn, request));
    }

    /// A ring decides one value more.
    fn decide(&self, state: &mut State, ring: usize, start: Slot, command: Option<Command>) {
        let value = Value { start, time_ms: start.0, commands: command.into_iter().collect() };
        if let Some(command) = value.commands.first() {
            let slot = value.effective_start(state.positions[ring]);
            state.ordered.insert(Zxid::new(slot, RingId(ring as u16)), command.clone());
        }
        state.positions[ring] = value.end(state.positions[ring]);
        state.logs[ring].push(Arc::new(value));
        for server in (0..2).filter(|server| self.prompt[*server]) {
            for ring in 0..=PARTITIONS {
                while self.take(state, server, ring) {}
            }
        }
    }

    fn take(&self, state: &mut State, server: usize, ring: usize) -> bool {
        let at = state.servers[server].taken[ring];
        let Some(value) = state.logs[ring].get(at).cloned() else { return false };
        self.give(state, server, Input::Decided(ring, value));
        true
    }

    fn order(&self, state: &mut State, server: usize, ring: usize, clock: u64) {
        let Some(command) = state.sent[server][ring].pop_front() else { return };
        let above = command.after.slot().max(state.positions[ring]);
        self.decide(state, ring, Slot(clock.max(above.0 + 1)), Some(command));
    }

    /// Everything that is under way comes to its end.
    fn settle(&self, state: &mut State) {
        loop {
            let mut more = false;
            for server in 0..2 {
                for ring in 0..=PARTITIONS {
                    while !state.sent[server][ring].is_empty() {
                        self.order(state, server, ring, 1);
                        more = true;
                    }
                }
            }
            let highest = state.positions.iter().max().copied().unwrap_or_default();
            for ring in 0..=PARTITIONS {
                if state.positions[ring] < highest {
                    self.decide(state, ring, highest, None);
                }
                for server in 0..2 {
                    while self.take(state, server, ring) {
                        more = true;
                    }
                }
            }
            if !more {
                return;
            }
        }
    }

    fn behind(state: &State) -> impl Iterator<Item = usize> {
        let highest = state.ordered.keys().map(|zxid| zxid.slot()).max().unwrap_or(BEGIN);
        (0..=PARTITIONS).filter(move |ring| state.positions[*ring] < highest)
    }
}

/// What a command writes, and for whom.
fn written(command: &Command) -> Option<(String, Option<(usize, usize)>)> {
    let Operation::Write(request) = &command.operation else { return None };
    match request {
        Request::Create(r) => Some((r.path.to_string(), None)),
        Request::SetData(r) => {
            let by = r.data.as_deref().and_then(|data| data.first_chunk::<2>());
            let by = by.map(|[client, step]| (usize::from(*client), usize::from(*step)));
            Some((r.path.to_string(), by))
        }
        _ => None,
    }
}

impl Model for Frontier {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        plant(None);
        let mut state = State {
            logs: vec![Vec::new(); PARTITIONS + 1],
            positions: vec![Slot(0); PARTITIONS + 1],
            servers: vec![Server::default(); 2],
            sent: vec![vec![VecDeque::new(); PARTITIONS + 1]; 2],
            clients: vec![Client::default(); self.clients.len()],
            ..State::default()
        };
        for server in 0..2 {
            self.give(&mut state, server, Input::Begin);
        }
        self.settle(&mut state);
        for path in PATHS {
            self.give(&mut state, 0, Input::Create(create(path)));
        }
        for (client, (server, _)) in self.clients.iter().enumerate() {
            self.connect(&mut state, client, *server);
        }
        self.settle(&mut state);
        for ring in 0..=PARTITIONS {
            assert!(state.positions[ring] < BEGIN, "{:?}", state.positions);
            self.decide(&mut state, ring, BEGIN, None);
        }
        self.settle(&mut state);
        assert!(state.clients.iter().all(Client::idle), "{:?}", state.clients);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (client, c) in state.clients.iter().enumerate() {
            let step = self.clients[client].1.get(c.at);
            if step.is_some_and(|step| c.may(*step)) {
                actions.push(Action::Step { client });
            }
        }
        for server in 0..2 {
            for ring in 0..=PARTITIONS {
                if !state.sent[server][ring].is_empty() {
                    let clocks = self.clocks[ring].iter();
                    actions.extend(clocks.map(|c| Action::Order { server, ring, clock: *c }));
                }
                let dead = server == 0 && self.dead == Some(ring);
                if state.servers[server].taken[ring] < state.logs[ring].len() && !dead {
                    actions.push(Action::Take { server, ring });
                }
            }
        }
        actions.extend(Self::behind(state).map(|ring| Action::Skip { ring }));
        // At any moment, and as often as it takes where nothing else is left.
        let more = actions.is_empty() && self.waits > 0 && state.waited < 6;
        if state.waited < self.waits || more {
            actions.push(Action::Late);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        plant(self.rule);
        let mut state = last.clone();
        match action {
            Action::Step { client } => {
                let step = self.clients[client].1[last.clients[client].at];
                let (server, conn) = (last.clients[client].server, last.clients[client].conn);
                if step.what == Do::Move {
                    state.clients[client].at += 1;
                    state.clients[client].floors.push(Zxid::ZERO);
                    self.give(&mut state, server, Input::Closed(conn));
                    self.connect(&mut state, client, 1 - server);
                } else {
                    let request = state.clients[client].ask(client, step.what, last.answered);
                    self.give(&mut state, server, Input::Requests(conn, vec![request]));
                }
            }
            Action::Order { server, ring, clock } => self.order(&mut state, server, ring, clock),
            Action::Skip { ring } => {
                let highest = last.ordered.keys().map(|zxid| zxid.slot()).max()?;
                self.decide(&mut state, ring, highest, None);
            }
            Action::Take { server, ring } => {
                self.take(&mut state, server, ring);
            }
            Action::Late => {
                state.waited += 1;
                self.give(&mut state, 0, Input::Late);
            }
        }
        plant(None);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("session order", |model: &Frontier, state: &State| {
                let promise = Promise { linearizable: model.linearizable, passes: model.waits > 0 };
                let clients = state.clients.iter().zip(&model.clients).enumerate();
                clients.into_iter().all(|(me, (client, (_, steps)))| {
                    judge::session_order((me, client, steps), &state.writes, promise)
                })
            }),
            Property::always("watches", |model: &Frontier, state: &State| {
                let mut left = Vec::new();
                model.actions(state, &mut left);
                state.clients.iter().zip(&model.clients).all(|(client, (_, steps))| {
                    let end = left.is_empty() && !client.lost;
                    judge::watches(client, steps, &state.writes, end)
                })
            }),
            Property::always("nothing waits for ever", |model: &Frontier, state: &State| {
                let mut left = Vec::new();
                model.actions(state, &mut left);
                !left.is_empty() || state.clients.iter().all(|c| c.lost || c.idle())
            }),
        ]
    }
}
