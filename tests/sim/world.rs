//! The world of a history: one server, its disk, its clients, the network between them, and the
//! faults. Virtual time; events one after the other; everything follows from the seed.
//! It judges nothing but what ends a history at once. Used by the tests.

use std::collections::BTreeMap;

use volery_proto::ids::PartitionId;
use volery_server::core::server::{Input, Server};

use crate::client::Client;
use crate::disk::Disk;
use crate::history::{History, What};
use crate::machine::{self, Clock};
use crate::network::{Connection, ToServer};
use crate::prng::Prng;
use crate::profile::Profile;
use crate::workload::Workload;

/// What happens at some moment.
#[derive(Debug)]
pub(crate) enum Event {
    ToServer(u64, ToServer),
    ToClient(u64, Option<bytes::BytesMut>, volery_proto::ids::Zxid),
    /// The server takes what has arrived.
    Wake,
    /// Of this life of the server.
    Synced(u64),
    SnapshotSynced(u64, PartitionId),
    Written(u64, u64, usize),
    Client(usize),
    Fault(Fault),
    Restart,
    SlowDiskEnds,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Crash,
    Connection,
    Clock,
    SlowDisk,
    Silent,
}

/// After this long the faults stop, whatever is left to do.
const FAULTS_END_US: u64 = 20_000_000;
/// And then everything must be done within this.
const QUIET_US: u64 = 60_000_000;

/// All of it.
pub(crate) struct World {
    pub(crate) prng: Prng,
    pub(crate) profile: Profile,
    pub(crate) clock: Clock,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) server: Option<Server>,
    pub(crate) life: u64,
    pub(crate) inbox: Vec<Input>,
    pub(crate) wake_at: Option<u64>,
    pub(crate) disk: Disk,
    pub(crate) slow_disk: bool,
    pub(crate) clients: Vec<Client>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) next_conn: u64,
    pub(crate) workload: Workload,
    pub(crate) history: History,
    /// The faults have stopped.
    pub(crate) quiet: bool,
    pub(crate) crashes: u64,
}

impl World {
    pub(crate) fn new(mut prng: Prng, profile: Profile, trace: bool) -> World {
        let clients = (0..profile.clients).map(|_| Client::new(profile.requests)).collect();
        let offset = prng.below(1_000_000) as i64;
        World {
            prng,
            clock: Clock { now_us: 0, offset_us: offset },
            queue: BTreeMap::new(),
            next_event: 0,
            server: None,
            life: 0,
            inbox: Vec::new(),
            wake_at: None,
            disk: Disk::new(profile.server.snapshots_kept),
            slow_disk: false,
            clients,
            connections: BTreeMap::new(),
            next_conn: 1,
            workload: Workload::default(),
            history: History { trace, ..History::default() },
            quiet: false,
            crashes: 0,
            profile,
        }
    }

    pub(crate) fn at(&mut self, delay_us: u64, event: Event) {
        let at = self.clock.now_us + delay_us;
        self.queue.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    pub(crate) fn record(&mut self, conn: u64, what: What) {
        self.history.push(self.clock.now_us, conn, what);
    }

    /// Runs until everything is answered; the error says what ended it before.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.restart()?;
        for client in 0..self.clients.len() {
            let delay = self.prng.below(2_000);
            self.turn_in(client, delay);
        }
        for fault in [Fault::Crash, Fault::Connection, Fault::Clock, Fault::SlowDisk, Fault::Silent]
        {
            self.schedule_fault(fault);
        }
        let mut quiet_at = None;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.clock.now_us = at;
            self.happen(event)?;
            if quiet_at.is_none() && self.may_stop_faults() {
                self.stop_faults()?;
                quiet_at = Some(self.clock.now_us);
            }
            if let Some(since) = quiet_at {
                if self.is_done() {
                    self.record(0, What::Quiet);
                    return Ok(());
                }
                if self.clock.now_us > since + QUIET_US {
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
        self.clock.now_us > FAULTS_END_US
            || self.clients.iter().all(|c| c.left == 0 && c.outstanding.is_empty())
    }

    fn stop_faults(&mut self) -> Result<(), String> {
        self.quiet = true;
        self.slow_disk = false;
        if self.server.is_none() {
            self.restart()?;
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
            && !self.disk.has_pending()
            && self.inbox.is_empty()
            && self.connections.values().all(|c| c.to_client_pending == 0)
    }

    fn left(&self) -> String {
        let waiting = self.clients.iter().map(|c| (c.conn, c.open, &c.outstanding));
        format!("{:?}", waiting.collect::<Vec<_>>())
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToServer(conn, packet) => self.arrive(conn, packet),
            Event::ToClient(conn, bytes, upper) => self.deliver(conn, bytes, upper)?,
            Event::Wake => {
                if self.wake_at == Some(self.clock.now_us) {
                    self.wake_at = None;
                    self.step()?;
                }
            }
            Event::Synced(life) if life == self.life && self.server.is_some() => {
                if let Some((token, lsn)) = self.disk.end_sync()? {
                    self.input(Input::Durable { token, lsn });
                }
                self.begin_sync();
            }
            Event::SnapshotSynced(life, partition) if life == self.life => {
                self.snapshot_synced(partition);
            }
            Event::Written(life, conn, bytes) if life == self.life => {
                let conn = volery_server::core::types::ConnId(conn);
                self.input(Input::Written { conn, bytes });
            }
            Event::Synced(_) | Event::SnapshotSynced(..) | Event::Written(..) => {}
            Event::Client(client) => {
                if self.clients[client].turn_at_us == Some(self.clock.now_us) {
                    self.clients[client].turn_at_us = None;
                    self.client_turn(client);
                }
            }
            Event::Fault(fault) => self.fault(fault)?,
            Event::Restart => {
                if self.server.is_none() {
                    self.restart()?;
                }
            }
            Event::SlowDiskEnds => self.slow_disk = false,
        }
        Ok(())
    }

    fn snapshot_synced(&mut self, partition: PartitionId) {
        if self.server.is_none() {
            return;
        }
        let fails = self.prng.permille(self.profile.faults.snapshot_permille) && !self.quiet;
        if fails {
            self.disk.snapshot_fail(partition);
            self.input(Input::SnapshotFailed { partition });
        } else if self.disk.snapshot_durable(partition) {
            self.input(Input::SnapshotDurable { partition });
        }
    }

    /// Something for the server, taken at its next step.
    pub(crate) fn input(&mut self, input: Input) {
        self.inbox.push(input);
        let delay = self.prng.delay(1, 1 + self.profile.wake_us);
        self.wake_in(delay);
    }

    pub(crate) fn wake_in(&mut self, delay_us: u64) {
        let at = self.clock.now_us + delay_us;
        if self.wake_at.is_none_or(|earlier| at < earlier) {
            self.wake_at = Some(at);
            self.at(delay_us, Event::Wake);
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
            Fault::Crash => self.crash()?,
            Fault::Connection => {
                let client = self.prng.below(self.clients.len() as u64) as usize;
                self.lose_connection(client);
            }
            Fault::Clock => {
                let far = *self.prng.pick(&[500, 20_000, 3_000_000]);
                let by = self.prng.below(far) as i64;
                let back = self.profile.clock_back && self.prng.permille(500);
                self.clock.offset_us += if back { -by } else { by };
            }
            Fault::SlowDisk => {
                self.slow_disk = true;
                let delay = self.prng.range(1_000, 150_000);
                self.at(delay, Event::SlowDiskEnds);
            }
            Fault::Silent => {
                let client = self.prng.below(self.clients.len() as u64) as usize;
                let until = self.clock.now_us + self.prng.range(1_000, 1_500_000);
                self.clients[client].silent_until_us = until;
            }
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        if self.server.take().is_none() {
            return Ok(());
        }
        self.record(0, What::Crash);
        self.crashes += 1;
        self.life += 1;
        self.inbox.clear();
        self.wake_at = None;
        self.disk.crash(&mut self.prng)?;
        self.server_is_gone();
        let delay = self.prng.delay(100, 100_000);
        self.at(delay, Event::Restart);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), String> {
        let mut config = self.profile.server.clone();
        config.hash_seed = self.prng.next();
        let now = self.clock.now();
        let (records, count) = (self.disk.records(), self.profile.partitions);
        let snapshots = self.disk.snapshots(|_| 0);
        let server = machine::start(&config, count, records, &snapshots, now)?;
        crate::property::replay::check(self, &server)?;
        self.server = Some(server);
        self.record(0, What::Recovered);
        self.wake_in(1);
        Ok(())
    }
}
