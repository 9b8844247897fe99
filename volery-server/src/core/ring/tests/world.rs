//! A ring of several members in memory: a network, disks, clocks and a failure detector that all
//! misbehave, by a seed. It never repairs anything that the protocol should repair.
//! Driven by `churn.rs`; the checkers are in `checker.rs`.

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::ids::{Instance, RingId, ServerId, Slot};
use volery_proto::ring::decode_record;

use super::super::mutant::Mutant;
use super::super::{
    Effect, LEARNED_MAX, LogRecordBody, LogValues, Now, RecoveredRing, Ring, RingConfig,
    RingMessage,
};
use super::alone::command;
use super::checker::Checker;
use super::random::Random;

/// What happens to a server is noticed by the others within this time.
pub(super) const DETECT_US: u64 = 60_000;
pub(super) const RING: RingId = RingId(1);
const CLOCK: u64 = Slot::EPOCH_UNIX_US + 1_000_000_000;

/// Something that will happen.
#[derive(Debug)]
enum Event {
    Message { to: usize, from: usize, message: RingMessage },
    Synced { node: usize, life: u64, number: u64, length: usize },
    Install { node: usize, from: usize, instance: Instance },
    Detect { node: usize, other: usize, suspect: bool },
}

/// A server: what survives a crash, and what does not.
pub(super) struct Node {
    pub(super) ring: Option<Ring>,
    life: u64,
    log: Vec<Bytes>,
    synced: usize,
    snapshot: (Instance, Slot),
    /// The next instance that it must deliver.
    pub(super) cursor: Instance,
    clock: u64,
    held: Vec<(u64, usize, RingMessage)>,
    durable: u64,
    pub(super) lost: bool,
}

/// How much goes wrong.
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) double: u64,
    pub(super) delay_us: u64,
    pub(super) sync_us: u64,
}

pub(super) struct World {
    pub(super) time: u64,
    pub(super) random: Random,
    pub(super) nodes: Vec<Node>,
    pub(super) weather: Weather,
    /// Links that carry nothing, by direction.
    pub(super) cut: Vec<(usize, usize)>,
    pub(super) checker: Checker,
    /// How often somebody began to lead.
    pub(super) led: usize,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    sequence: u64,
    mutant: Option<Mutant>,
    observer: bool,
    window: usize,
    trace: bool,
}

fn server(node: usize) -> ServerId {
    ServerId(u8::try_from(node + 1).expect("few nodes"))
}

impl World {
    pub(super) fn new(seed: u64, members: usize, mutant: Option<Mutant>) -> World {
        let mut random = Random::new(seed);
        let weather = Weather {
            loss: [0, 0, 2, 10][random.below(4) as usize],
            double: random.below(5),
            delay_us: [500, 3_000, 20_000][random.below(3) as usize],
            sync_us: [200, 5_000, 30_000][random.below(3) as usize],
        };
        let observer = random.chance(30);
        let window = [1, 4, 8][random.below(3) as usize];
        let nodes = members + usize::from(observer);
        let mut world = World {
            time: 1,
            weather,
            nodes: Vec::new(),
            cut: Vec::new(),
            checker: Checker::new(),
            led: 0,
            events: BTreeMap::new(),
            count: 0,
            sequence: 0,
            mutant,
            observer,
            window,
            trace: std::env::var_os("RING_TRACE").is_some(),
            random,
        };
        for _ in 0..nodes {
            let clock = CLOCK + world.random.below(2_000_000);
            world.nodes.push(Node {
                ring: None,
                life: 0,
                log: Vec::new(),
                synced: 0,
                snapshot: (Instance(0), Slot(0)),
                cursor: Instance(0),
                clock,
                held: Vec::new(),
                durable: 0,
                lost: false,
            });
        }
        if world.random.chance(50) {
            // A new ring: nobody has a memory.
            (0..members).for_each(|node| world.nodes[node].lost = true);
        }
        (0..nodes).for_each(|node| world.start(node));
        world
    }

    pub(super) fn members(&self) -> usize {
        self.nodes.len() - usize::from(self.observer)
    }

    fn now(&self, node: usize) -> Now {
        Now { clock_us: self.nodes[node].clock + self.time, monotonic_us: self.time }
    }

    fn config(&mut self, node: usize) -> RingConfig {
        let members: Vec<_> = (0..self.members()).map(server).collect();
        let mut config = RingConfig::new(RING, server(node), members);
        if self.observer {
            config.observers = vec![server(self.members())];
        }
        config.window = self.window;
        config.keep_instances = 24;
        config.heartbeat_us = 20_000;
        config.election_us = 120_000;
        config.resend_us = 50_000;
        config.seed = self.random.next();
        config
    }

    /// Starts a server from its disk.
    pub(super) fn start(&mut self, node: usize) {
        let config = self.config(node);
        let n = &mut self.nodes[node];
        let mut recovered = RecoveredRing::new(RING);
        for record in &n.log {
            let body = decode_record(record.clone()).expect("a record").body.expect("a body");
            recovered.record(body).expect("a good record");
        }
        if n.lost {
            recovered.memory_new();
        }
        let mut ring = match Ring::new(config, recovered) {
            Ok(ring) => ring,
            Err(error) => return self.checker.fatal(&error),
        };
        ring.planted = self.mutant;
        if let Err(error) = ring.start_at(n.snapshot.0, n.snapshot.1) {
            return self.checker.fatal(&error);
        }
        n.cursor = ring.cursor().0;
        n.ring = Some(ring);
        n.life += 1;
        n.durable = 0;
        self.with(node, |ring, now, effects| ring.start(now, effects));
        self.detect(node, false);
    }

    /// A crash: what was not synced is gone, and what was written may be torn at any record.
    pub(super) fn crash(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if n.ring.take().is_none() {
            return;
        }
        let unsynced = (n.log.len() - n.synced) as u64;
        let kept = if self.random.chance(50) { 0 } else { self.random.below(unsynced + 1) };
        n.log.truncate(n.synced + kept as usize);
        n.synced = n.log.len();
        n.held.clear();
        n.life += 1;
        self.detect(node, true);
    }

    /// The disk of a crashed server is empty when it comes back.
    pub(super) fn lose_memory(&mut self, node: usize) {
        if node >= self.members() || self.nodes.iter().any(|n| n.lost) {
            return;
        }
        self.crash(node);
        let keep = self.random.chance(30);
        let n = &mut self.nodes[node];
        n.log.clear();
        n.synced = 0;
        n.lost = true;
        if !keep {
            n.snapshot = (Instance(0), Slot(0));
        }
    }

    /// Sooner or later the others hear that a server has gone, or is back.
    pub(super) fn detect(&mut self, other: usize, suspect: bool) {
        for node in (0..self.nodes.len()).filter(|&node| node != other) {
            let after = self.random.below(DETECT_US);
            self.after(after, Event::Detect { node, other, suspect });
        }
    }

    pub(super) fn suspect_wrongly(&mut self, node: usize, other: usize, for_us: u64) {
        self.after(0, Event::Detect { node, other, suspect: true });
        self.after(for_us, Event::Detect { node, other, suspect: false });
    }

    /// A snapshot becomes durable; then the log is trimmed where a majority has one.
    pub(super) fn snapshot(&mut self, node: usize) {
        let Some(ring) = self.nodes[node].ring.as_ref() else { return };
        self.nodes[node].snapshot = ring.cursor();
        let members = self.members();
        let mut all: Vec<_> = self.nodes[..members].iter().map(|n| n.snapshot).collect();
        all.sort_unstable();
        let (instance, position) = all[members - (members / 2 + 1)];
        let n = &mut self.nodes[node];
        let Some(ring) = n.ring.as_mut() else { return };
        ring.hold_from(n.snapshot.0);
        if n.synced < n.log.len() || instance > n.snapshot.0 {
            return;
        }
        if let Err(error) = ring.trim(instance, position) {
            return self.checker.fatal(&error);
        }
        n.log.extend(ring.checkpoint_records());
        n.log.retain(|record| match decode_record(record.clone()).expect("a record").body {
            Some(LogRecordBody::Accepted(a)) => a.instance >= instance.0,
            _ => true,
        });
        n.synced = n.log.len();
    }

    pub(super) fn jump_clock(&mut self, node: usize) {
        self.nodes[node].clock = CLOCK + self.random.below(3_000_000);
    }

    /// Hands commands to whoever believes to lead.
    pub(super) fn propose(&mut self) {
        for node in 0..self.members() {
            let count = 1 + self.random.below(4);
            let leads = self.nodes[node].ring.as_ref().is_some_and(Ring::is_coordinator);
            if leads {
                let first = self.sequence + 1;
                self.sequence += count;
                let commands = (first..first + count).map(|s| command(s, Default::default()));
                let commands = commands.collect();
                self.with(node, |ring, _, _| {
                    ring.propose(commands);
                });
            }
            if self.random.chance(10) {
                let through = Slot(1_000_000_000 + self.time + self.random.below(2_000_000));
                self.with(node, |ring, _, _| ring.request_skip(through));
            }
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.time + delay, self.count), event);
    }

    /// Runs one verb of a server's ring, then `flush`, and carries out the effects.
    fn with(&mut self, node: usize, verb: impl FnOnce(&mut Ring, Now, &mut Vec<Effect>)) {
        let now = self.now(node);
        let Some(ring) = self.nodes[node].ring.as_mut() else { return };
        let mut effects = Vec::new();
        verb(ring, now, &mut effects);
        ring.flush(now, &mut effects);
        let lost = ring.is_memory_lost();
        let before = self.nodes[node].log.len();
        let mut last = 0;
        for effect in effects {
            match effect {
                Effect::Append { record, number } => {
                    self.nodes[node].log.push(record);
                    last = number;
                }
                Effect::Send { to, message, after_durable } => {
                    let to = usize::from(to.0) - 1;
                    match after_durable.filter(|&number| number > self.nodes[node].durable) {
                        Some(number) => self.nodes[node].held.push((number, to, message)),
                        None => self.transmit(node, to, message),
                    }
                }
                Effect::Decided { instance, position, value } => {
                    let n = &mut self.nodes[node];
                    self.checker.decided(n.cursor, instance, position, &value);
                    n.cursor = Instance(instance.0 + 1);
                }
                Effect::ReadLog { to, instance } => self.read_log(node, to, instance),
                Effect::NeedsSnapshot { from, instance } => {
                    let from = usize::from(from.0) - 1;
                    self.after(20_000, Event::Install { node, from, instance });
                }
                Effect::Fatal(error) => self.checker.fatal(&error),
                Effect::BecameCoordinator { .. } => self.led += 1,
                Effect::SteppedDown { .. } => {}
            }
        }
        let n = &mut self.nodes[node];
        // A crash before this is durable would take it back: then two have lost their memory.
        n.lost &= lost || n.synced < n.log.len();
        let length = n.log.len();
        if length > before {
            let life = self.nodes[node].life;
            let delay = self.random.below(self.weather.sync_us);
            self.after(delay, Event::Synced { node, life, number: last, length });
        }
    }

    /// What is on disk of what a learner lacks.
    fn read_log(&mut self, node: usize, to: ServerId, instance: Instance) {
        let n = &mut self.nodes[node];
        let mut found = LogValues::new(instance);
        for record in &n.log[..n.synced] {
            let body = decode_record(record.clone()).expect("a record").body.expect("a body");
            assert!(found.record(body), "a good ballot");
        }
        let values = std::iter::from_fn(|| found.pop()).take(LEARNED_MAX).collect();
        let mut effects = Vec::new();
        if let Some(ring) = n.ring.as_mut() {
            ring.log_read(to, values, &mut effects);
        }
        for effect in effects {
            let Effect::Send { to, message, .. } = effect else { continue };
            self.transmit(node, usize::from(to.0) - 1, message);
        }
    }

    fn transmit(&mut self, from: usize, to: usize, message: RingMessage) {
        let wire = message.to_wire(RING);
        let message = RingMessage::from_wire(wire).expect("what was sent can be read");
        let copies = 1 + u64::from(self.random.chance(self.weather.double));
        for _ in 0..copies {
            if self.random.chance(self.weather.loss) || self.cut.contains(&(from, to)) {
                continue;
            }
            let tail = if self.random.chance(3) { 10 } else { 1 };
            let delay = 50 + self.random.below(self.weather.delay_us * tail);
            self.after(delay, Event::Message { to, from, message: message.clone() });
        }
    }

    /// Lets time pass until `until`.
    pub(super) fn run(&mut self, until: u64) {
        while self.checker.failure.is_none() {
            let event = self.events.first_key_value().map_or(u64::MAX, |((at, _), _)| *at);
            let deadlines = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(index, n)| Some((n.ring.as_ref()?.next_deadline()?, index)));
            let (tick, node) = deadlines.min().unwrap_or((u64::MAX, 0));
            if event.min(tick) > until {
                break;
            }
            if tick < event {
                self.time = (self.time + 1).max(tick);
                self.with(node, |ring, now, effects| ring.tick(now, effects));
            } else if let Some(((at, _), event)) = self.events.pop_first() {
                self.time = self.time.max(at);
                self.happen(event);
            }
        }
        self.time = self.time.max(until);
    }

    fn happen(&mut self, event: Event) {
        if self.trace {
            println!("{} {event:.200?}", self.time);
        }
        match event {
            Event::Message { to, from, message } => self.with(to, |ring, now, effects| {
                ring.handle_message(server(from), message, now, effects);
            }),
            Event::Synced { node, life, number, length } => {
                let n = &mut self.nodes[node];
                if n.life != life || number <= n.durable {
                    return;
                }
                n.synced = n.synced.max(length);
                n.durable = n.durable.max(number);
                let held = std::mem::take(&mut n.held);
                let durable = n.durable;
                let (ready, held): (Vec<_>, Vec<_>) =
                    held.into_iter().partition(|(number, ..)| *number <= durable);
                self.nodes[node].held = held;
                for (_, to, message) in ready {
                    self.transmit(node, to, message);
                }
                self.with(node, |ring, _, effects| ring.durable(durable, effects));
            }
            Event::Install { node, from, instance } => self.install(node, from, instance),
            Event::Detect { node, other, suspect } => self.with(node, |ring, now, effects| {
                if suspect {
                    ring.suspect(server(other), now, effects);
                } else {
                    ring.restored(server(other), now, effects);
                }
            }),
        }
    }

    fn install(&mut self, node: usize, from: usize, instance: Instance) {
        if let Some(ring) = self.nodes[from].ring.as_ref() {
            self.nodes[from].snapshot = ring.cursor();
        }
        let (at, position) = self.nodes[from].snapshot;
        let n = &mut self.nodes[node];
        if n.ring.is_some() && at >= instance && at > n.cursor {
            n.snapshot = (at, position);
            n.cursor = at;
            self.with(node, |ring, now, effects| ring.install(at, position, now, effects));
        }
    }
}
