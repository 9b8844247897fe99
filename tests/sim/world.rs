//! The world of a history: servers, their disks, their clients, the network between them, and the
//! faults. Virtual time; events one after the other; everything follows from the seed.
//! It judges nothing but what ends a history at once. Used by the tests.

use std::collections::{BTreeMap, BTreeSet};

use volery_proto::ids::PartitionId;
use volery_server::core::executor::Partition;
use volery_server::core::server::{Input, Lane};

use crate::client::Client;
use crate::disk::Snapshot;
use crate::history::{History, What};
use crate::ledger::Ledger;
use crate::machine::{self, Machine};
use crate::network::{Connection, ToServer};
use crate::prng::Prng;
use crate::profile::Profile;
use crate::step::Come;
use crate::workload::Workload;

/// What happens at some moment.
#[derive(Debug)]
pub(crate) enum Event {
    ToServer(u64, ToServer),
    ToClient(u64, Option<bytes::BytesMut>, volery_proto::ids::Zxid),
    /// A server takes what has arrived.
    Wake(usize),
    /// Of this life of a server.
    Synced(usize, u64),
    SnapshotSynced(usize, u64, PartitionId),
    /// Something of another server, or of the links to others.
    Peer(usize, u64, Input),
    /// Another server's snapshot of a partition arrives as a whole.
    Snapshot(usize, u64, PartitionId, Snapshot),
    Written(usize, u64, u64, usize),
    Client(usize),
    Fault(Fault),
    Restart(usize),
    SlowDiskEnds(usize),
    CutEnds(BTreeSet<(usize, usize)>),
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Crash,
    Connection,
    Clock,
    SlowDisk,
    Silent,
    Cut,
    Wipe,
    Lie,
}

impl Fault {
    const ALL: [Fault; 8] = [
        Fault::Crash,
        Fault::Connection,
        Fault::Clock,
        Fault::SlowDisk,
        Fault::Silent,
        Fault::Cut,
        Fault::Wipe,
        Fault::Lie,
    ];
}

/// After this long the faults stop, whatever is left to do.
const FAULTS_END_US: u64 = 20_000_000;
/// And then everything must be done within this.
const QUIET_US: u64 = 60_000_000;

/// All of it.
pub(crate) struct World {
    pub(crate) prng: Prng,
    pub(crate) profile: Profile,
    pub(crate) now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) ledger: Ledger,
    pub(crate) clients: Vec<Client>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) next_conn: u64,
    /// Between servers: what is cut, and what was sent last.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) links: BTreeMap<(usize, usize, Lane), u64>,
    /// Digests of replicas by what they have executed: all servers say the same.
    pub(crate) digests: BTreeMap<(PartitionId, Come), u64>,
    /// The highest that any clock has shown, and that the median of all has.
    pub(crate) clock_most_us: u64,
    pub(crate) median_most_us: u64,
    pub(crate) workload: Workload,
    pub(crate) history: History,
    /// The faults have stopped.
    pub(crate) quiet: bool,
    pub(crate) crashes: u64,
}

impl World {
    pub(crate) fn new(mut prng: Prng, profile: Profile, trace: bool) -> World {
        let clients = (0..profile.clients).map(|_| Client::new(profile.requests)).collect();
        let configs = profile.servers();
        let machines: Vec<Machine> = configs
            .into_iter()
            .map(|config| {
                let offset = prng.below(profile.skew_us) as i64;
                let drift = if profile.alone() { 0 } else { prng.below(400) as i64 - 200 };
                Machine::new(config, offset, drift)
            })
            .collect();
        World {
            prng,
            now_us: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            ledger: Ledger::new(&machines),
            machines,
            clients,
            connections: BTreeMap::new(),
            next_conn: 1,
            cuts: BTreeSet::new(),
            links: BTreeMap::new(),
            digests: BTreeMap::new(),
            clock_most_us: 0,
            median_most_us: 0,
            workload: Workload::default(),
            history: History { trace, ..History::default() },
            quiet: false,
            crashes: 0,
            profile,
        }
    }

    pub(crate) fn at(&mut self, delay_us: u64, event: Event) {
        let at = self.now_us + delay_us;
        self.queue.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    pub(crate) fn record(&mut self, conn: u64, what: What) {
        self.history.push(self.now_us, conn, what);
    }

    /// Runs until everything is answered; the error says what ended it before.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for server in 0..self.machines.len() {
            self.restart(server)?;
        }
        for client in 0..self.clients.len() {
            let delay = self.prng.below(2_000);
            self.turn_in(client, delay);
        }
        for fault in Fault::ALL {
            self.schedule_fault(fault);
        }
        let mut quiet_at = None;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now_us = at;
            self.happen(event)?;
            if quiet_at.is_none() && self.may_stop_faults() {
                self.stop_faults()?;
                quiet_at = Some(self.now_us);
            }
            if let Some(since) = quiet_at {
                if self.is_done() {
                    self.record(0, What::Quiet);
                    return Ok(());
                }
                if self.now_us > since + QUIET_US {
                    return Err(format!(
                        "liveness: not done long after the faults: {}",
                        self.left()
                    ));
                }
            }
        }
        Err("nothing happens any more".into())
    }

    fn may_stop_faults(&self) -> bool {
        self.now_us > FAULTS_END_US
            || self.clients.iter().all(|c| c.left == 0 && c.outstanding.is_empty())
    }

    fn stop_faults(&mut self) -> Result<(), String> {
        self.quiet = true;
        self.cuts.clear();
        for server in 0..self.machines.len() {
            self.machines[server].slow_disk = false;
            if self.machines[server].server.is_none() {
                self.restart(server)?;
            }
        }
        // One alone that lives was heard all the time: counting anew from here would call its
        // expiries early (seed 7013294396058767).
        if !self.profile.alone() {
            self.record(0, What::Recovered);
        }
        for client in &mut self.clients {
            client.silent_until_us = 0;
            client.left = 0;
            client.script = Workload::last_words().into();
        }
        for client in 0..self.clients.len() {
            self.turn_in(client, 1);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(|c| c.finished && c.outstanding.is_empty())
            && self.connections.values().all(|c| c.to_client_pending == 0)
            && self.machines.iter().all(|m| self.has_all(m))
    }

    /// Whether a server has executed everything that there is.
    fn has_all(&self, machine: &Machine) -> bool {
        let Some(server) = &machine.server else { return false };
        let alone = self.profile.alone();
        let idle = !machine.disk.has_pending() && machine.inbox.is_empty();
        let all = |p: &Partition| p.position() >= self.ledger.highest_of(p.id());
        if alone { idle } else { server.partitions().iter().all(all) }
    }

    fn left(&self) -> String {
        let waits = |c: &&Client| !c.outstanding.is_empty() || !c.finished;
        let waiting = self.clients.iter().filter(waits);
        let waiting: Vec<_> = waiting.map(|c| (c.conn, c.open, c.outstanding.front())).collect();
        let mut text = format!("waiting {waiting:?}, highest {}", self.ledger.highest());
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(server) = &machine.server else { continue };
            text +=
                &format!("\n  server {at}, serving {}, lost {}:", server.serving(), machine.lost);
            for (id, ring) in server.rings() {
                let (cursor, leads) = (ring.cursor(), ring.is_coordinator());
                let (lost, base) = (ring.is_memory_lost(), ring.kept_from());
                let hint = ring.coordinator_hint();
                text += &format!("\n    ring {id}: {cursor:?} {leads} {hint:?} {lost} {base}");
            }
            for p in server.partitions() {
                let lacks: Vec<_> = p.lacks().take(3).collect();
                let (wanted, cursors) = (p.wanted(), p.cursors());
                let (id, position, delivered) = (p.id(), p.position(), p.delivered());
                text += &format!("\n    partition {id}: {position} {delivered} {wanted:?}");
                text += &format!(" {lacks:?} {cursors:?}");
            }
        }
        text
    }

    fn lives(&self, server: usize, life: u64) -> bool {
        self.machines[server].life == life && self.machines[server].server.is_some()
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToServer(conn, packet) => self.arrive(conn, packet),
            Event::ToClient(conn, bytes, upper) => self.deliver(conn, bytes, upper)?,
            Event::Wake(server) => {
                if self.machines[server].wake_at == Some(self.now_us) {
                    self.machines[server].wake_at = None;
                    self.step(server)?;
                }
            }
            Event::Synced(server, life) if self.lives(server, life) => {
                let synced = self.machines[server].disk.end_sync();
                self.tell_ledger(server)?;
                if let Some((token, lsn)) = synced {
                    self.input(server, Input::Durable { token, lsn });
                }
                self.begin_sync(server);
            }
            Event::SnapshotSynced(server, life, partition) if self.lives(server, life) => {
                self.snapshot_synced(server, partition);
            }
            Event::Written(server, life, conn, bytes) if self.lives(server, life) => {
                let conn = volery_server::core::types::ConnId(conn);
                self.input(server, Input::Written { conn, bytes });
            }
            Event::Peer(server, life, input) if self.lives(server, life) => {
                self.input(server, input);
            }
            Event::Snapshot(server, life, partition, snapshot) if self.lives(server, life) => {
                self.machines[server].disk.receive(partition, snapshot);
                self.input(server, Input::SnapshotReceived { partition });
            }
            Event::Synced(..)
            | Event::SnapshotSynced(..)
            | Event::Written(..)
            | Event::Peer(..)
            | Event::Snapshot(..) => {}
            Event::Client(client) => {
                if self.clients[client].turn_at_us == Some(self.now_us) {
                    self.clients[client].turn_at_us = None;
                    self.client_turn(client);
                }
            }
            Event::Fault(fault) => self.fault(fault)?,
            Event::Restart(server) => {
                if self.machines[server].server.is_none() {
                    self.restart(server)?;
                }
            }
            Event::SlowDiskEnds(server) => self.machines[server].slow_disk = false,
            Event::CutEnds(cuts) => self.cuts.retain(|cut| !cuts.contains(cut)),
        }
        Ok(())
    }

    /// What became durable at a server is told to the ledger.
    fn tell_ledger(&mut self, server: usize) -> Result<(), String> {
        for record in std::mem::take(&mut self.machines[server].disk.fresh) {
            self.ledger.durable(server, &record)?;
        }
        Ok(())
    }

    fn snapshot_synced(&mut self, server: usize, partition: PartitionId) {
        let fails = self.prng.permille(self.profile.faults.snapshot_permille) && !self.quiet;
        if fails {
            self.machines[server].disk.snapshot_fail(partition);
            self.input(server, Input::SnapshotFailed { partition });
        } else if self.machines[server].disk.snapshot_durable(partition) {
            self.input(server, Input::SnapshotDurable { partition });
        }
    }

    /// Something for a server, taken at its next step.
    pub(crate) fn input(&mut self, server: usize, input: Input) {
        self.machines[server].inbox.push(input);
        let delay = self.prng.delay(1, 1 + self.profile.wake_us);
        self.wake_in(server, delay);
    }

    pub(crate) fn wake_in(&mut self, server: usize, delay_us: u64) {
        let at = self.now_us + delay_us;
        let wake_at = &mut self.machines[server].wake_at;
        if wake_at.is_none_or(|earlier| at < earlier) {
            *wake_at = Some(at);
            self.at(delay_us, Event::Wake(server));
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        let faults = &self.profile.faults;
        let every = match fault {
            Fault::Crash => faults.crash_us,
            Fault::Connection => faults.connection_us,
            Fault::Clock => faults.clock_us,
            Fault::SlowDisk => faults.slow_disk_us,
            Fault::Silent => faults.silent_us,
            Fault::Cut => faults.cut_us,
            Fault::Wipe => faults.wipe_us,
            Fault::Lie => faults.lie_us,
        };
        if every > 0 {
            let delay = self.prng.range(1, 2 * every);
            self.at(delay, Event::Fault(fault));
        }
    }

    fn fault(&mut self, fault: Fault) -> Result<(), String> {
        if self.quiet {
            return Ok(());
        }
        self.schedule_fault(fault);
        match fault {
            Fault::Crash => {
                let server = self.some_server();
                self.crash(server)?;
            }
            Fault::Connection => {
                let client = self.prng.below(self.clients.len() as u64) as usize;
                self.lose_connection(client);
            }
            Fault::Clock => {
                let far = *self.prng.pick(&[500, 20_000, 3_000_000]);
                let by = self.prng.below(far) as i64;
                let back = self.profile.clock_back && self.prng.permille(500);
                let server = self.some_server();
                self.machines[server].offset_us += if back { -by } else { by };
            }
            Fault::SlowDisk => {
                let server = self.some_server();
                self.machines[server].slow_disk = true;
                let delay = self.prng.range(1_000, 150_000);
                self.at(delay, Event::SlowDiskEnds(server));
            }
            Fault::Silent => {
                let client = self.prng.below(self.clients.len() as u64) as usize;
                let longest = if self.profile.alone() { 1_500_000 } else { 4_000_000 };
                let until = self.now_us + self.prng.range(1_000, longest);
                self.clients[client].silent_until_us = until;
            }
            Fault::Cut => self.cut(),
            Fault::Lie => self.lie(),
            Fault::Wipe => {
                let server = self.some_server();
                if self.machines.iter().all(|m| !m.lost && m.server.is_some()) {
                    self.crash(server)?;
                    self.machines[server].disk.wipe();
                    self.machines[server].lost = true;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn some_server(&mut self) -> usize {
        match self.machines.len() {
            1 => 0,
            n => self.prng.below(n as u64) as usize,
        }
    }

    /// The network between servers breaks somewhere, in one direction or both.
    fn cut(&mut self) {
        let (one, other) = (self.some_server(), self.some_server());
        let all = 0..self.machines.len();
        let cuts: BTreeSet<(usize, usize)> = match self.prng.below(4) {
            0 => [(one, other)].into(),
            1 => [(one, other), (other, one)].into(),
            2 => all.map(|to| (one, to)).collect(),
            _ => all.flat_map(|to| [(one, to), (to, one)]).collect(),
        };
        self.cuts.extend(cuts.iter().copied());
        if self.prng.permille(300) {
            for (from, to) in &cuts {
                self.hint(*to, *from, false);
            }
        }
        let delay = self.prng.delay(10_000, 2_000_000);
        self.at(delay, Event::CutEnds(cuts));
    }

    /// The process of a server dies.
    pub(crate) fn crash(&mut self, server: usize) -> Result<(), String> {
        let machine = &mut self.machines[server];
        if machine.server.take().is_none() {
            return Ok(());
        }
        machine.life += 1;
        machine.inbox.clear();
        machine.wake_at = None;
        machine.disk.crash(&mut self.prng);
        self.record(0, What::Crash(server));
        self.crashes += 1;
        self.tell_ledger(server)?;
        self.server_is_gone(server);
        let longest = if self.profile.alone() { 100_000 } else { 600_000 };
        let delay = self.prng.delay(100, longest);
        self.at(delay, Event::Restart(server));
        for other in (0..self.machines.len()).filter(|other| *other != server) {
            if self.prng.permille(600) {
                self.hint(other, server, false);
            }
        }
        Ok(())
    }

    /// A server hears of a link to another.
    fn hint(&mut self, server: usize, other: usize, up: bool) {
        if server == other {
            return;
        }
        let peer = self.machines[other].config.server;
        let input = if up { Input::PeerUp { peer } } else { Input::PeerDown { peer } };
        let delay = self.prng.delay(100, 20_000);
        self.at(delay, Event::Peer(server, self.machines[server].life, input));
    }

    fn restart(&mut self, server: usize) -> Result<(), String> {
        let mut config = self.machines[server].config.clone();
        config.hash_seed = self.prng.next();
        config.cluster.seed = config.hash_seed;
        let machine = &self.machines[server];
        let now = machine.now(self.now_us);
        let records = machine.disk.records();
        let snapshots = machine.disk.snapshots(|_| 0);
        let started = machine::start(&config, records, &snapshots, machine.lost, now);
        let started = started.map_err(|e| format!("server {server}: {e}"))?;
        if self.profile.alone() {
            crate::property::replay::check(self, &started)?;
        }
        self.machines[server].server = Some(started);
        self.record(0, What::Recovered);
        self.wake_in(server, 1);
        for other in (0..self.machines.len()).filter(|other| *other != server) {
            self.hint(other, server, true);
            self.hint(server, other, true);
        }
        Ok(())
    }
}
