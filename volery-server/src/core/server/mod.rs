//! One whole server as a pure machine: rings, replicas and front end put together. Inputs come
//! one by one with the time; `flush` then says what is to be written, sent and closed.
//! It does no I/O. Called by the node's drive loop, and by the simulation: the same code.
//!
//! ```text
//! client input → front end → ring (propose) → Append ⇢ Durable → ring (decide) → replicas
//!              ← front end ← results and events ←──────────────────────────────┘
//! ```

mod propose;
mod replay;
mod snapshots;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::Value;
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, SessionId, Zxid};

use crate::core::executor::{ExecutorError, Output, Partition};
use crate::core::front_end::{
    ClientEffect, FrontEnd, FrontEndConfig, Handshake, Received, Replicas,
};
use crate::core::merge::Cursor;
use crate::core::merge::skip::{Demands, SkipPolicy};
use crate::core::mutation::mutated;
use crate::core::oracle::PartitionMap;
use crate::core::ring::{self, RecoveredRing, Ring, RingConfig, RingError};
use crate::core::types::{ConnId, Now};
use snapshots::{Cycle, Floor};

pub use replay::Replay;

/// What of the configuration concerns the machine.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// This server.
    pub server: ServerId,
    /// The partition map.
    pub map: Arc<PartitionMap>,
    /// Clients and sessions.
    pub front_end: FrontEndConfig,
    /// How idle rings follow busy ones.
    pub skip: SkipPolicy,
    /// Instances in flight in each ring.
    pub window: usize,
    /// Spreads hash tables; no replicated state depends on it.
    pub hash_seed: u64,
    /// Commands after which snapshots are due; more where there are very many znodes.
    pub snapshot_every: u64,
    /// Snapshots of each partition that the storage keeps: the log reaches back to the oldest.
    pub snapshots_kept: usize,
    /// When empty containers and old TTL znodes go.
    pub reaper: ReaperConfig,
}

/// The reaper of containers and TTL znodes. ZOOKEEPER.md 2.8.
#[derive(Clone, Copy, Debug)]
pub struct ReaperConfig {
    /// Between two looks, in milliseconds; 0 is off.
    pub interval_ms: u64,
    /// Deletes of one look.
    pub max: usize,
    /// A container that never had a child goes after this, in milliseconds; 0: never.
    pub never_used_ms: i64,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A client connected.
    Opened {
        /// Its number from now on.
        conn: ConnId,
        /// Its address.
        peer: SocketAddr,
    },
    /// Its first frame.
    Handshake {
        /// Whose.
        conn: ConnId,
        /// What.
        handshake: Handshake,
    },
    /// Frames behind it.
    Requests {
        /// Whose.
        conn: ConnId,
        /// In order.
        requests: Vec<Received>,
    },
    /// Bytes handed out were written to its socket.
    Written {
        /// Whose.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// It is gone.
    Closed {
        /// Who.
        conn: ConnId,
    },
    /// Every append up to this token is on disk.
    Durable {
        /// Of the last of them.
        token: u64,
        /// The log's end behind it.
        lsn: u64,
    },
    /// A partition's snapshot is durable.
    SnapshotDurable {
        /// Whose.
        partition: PartitionId,
    },
    /// A partition's snapshot was given up (the reason is logged where it happened).
    SnapshotFailed {
        /// Whose.
        partition: PartitionId,
    },
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Append to the log in one batch; then `Durable` with this token or a later one.
    Append {
        /// Encoded log records.
        records: Vec<Bytes>,
        /// Ascending.
        token: u64,
    },
    /// For a client.
    Client(ClientEffect),
    /// A partition's snapshot begins.
    SnapshotBegin {
        /// Whose.
        partition: PartitionId,
        /// The position that it shows.
        zxid: Zxid,
    },
    /// Its next chunk.
    SnapshotChunk {
        /// Whose.
        partition: PartitionId,
        /// Opaque.
        chunk: Bytes,
    },
    /// It is complete.
    SnapshotFinish {
        /// Whose.
        partition: PartitionId,
    },
    /// Everything below is in durable snapshots.
    PurgeLog {
        /// A position in the log.
        below_lsn: u64,
    },
    /// A session was silent for its time-out (to be logged).
    Expiring {
        /// Which.
        session: SessionId,
    },
}

/// An invariant is broken: the process ends with this message.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// In a ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// In a replica.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A ring of one server wants something of another.
    #[error("ring {0} has one member and wants to send to another")]
    Alone(RingId),
}

/// What is counted since the start, the replayed log included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTotals {
    /// Values that were decided, skips left out.
    pub values: u64,
    /// Skips that were decided.
    pub skips: u64,
    /// Commands in those values.
    pub commands: u64,
}

impl ServerTotals {
    fn decided(&mut self, value: &Value) {
        let skip = value.commands.is_empty();
        self.skips += u64::from(skip);
        self.values += u64::from(!skip);
        self.commands += value.commands.len() as u64;
    }
}

/// What recovery found of one server.
#[derive(Debug, Default)]
pub struct Recovered {
    /// From the snapshots; partitions 1, 2, …; empty ones where there is none.
    pub partitions: Vec<Partition>,
    /// From the log; rings 0, 1, ….
    pub rings: Vec<RecoveredRing>,
    /// What the replay of the log has counted.
    pub totals: ServerTotals,
}

/// A batch of the log that is not yet durable.
#[derive(Debug)]
struct Appended {
    token: u64,
    /// The last append number of each ring in it.
    numbers: Vec<(usize, u64)>,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    rings: Vec<Ring>,
    partitions: Vec<Partition>,
    front_end: FrontEnd,
    /// Whether the log is replayed and this incarnation's own hello is on its way.
    began: bool,
    demands: Demands,
    appended: VecDeque<Appended>,
    next_token: u64,
    /// Records and numbers of the batch that grows.
    batch: Vec<Bytes>,
    batch_numbers: Vec<(usize, u64)>,
    effects: Vec<Effect>,
    durable_lsn: u64,
    next_reap_us: u64,
    cycle: Cycle,
    /// The last cycles, oldest first; forgotten at a start, which only keeps the log longer.
    floors: VecDeque<Floor>,
    totals: ServerTotals,
}

/// Where each ring is read on from: below, everything is in the snapshots of these replicas.
#[must_use]
pub fn cursors(partitions: &[Partition]) -> Vec<Cursor> {
    let global = partitions.iter().map(|p| p.cursors().0).min_by_key(|c| c.instance);
    let own = partitions.iter().map(|p| p.cursors().1);
    std::iter::once(global.unwrap_or_default()).chain(own).collect()
}

/// A decided value and its instance.
type Decided = (Instance, Arc<Value>);

/// A replica that replays a command finds the contributions in the outboxes of those that are
/// past it. Returns whether it got any.
fn pull_contributions(partitions: &mut [Partition], at: usize) -> bool {
    let lacks: Vec<_> = partitions[at]
        .lacks()
        .flat_map(|(zxid, lacking)| lacking.into_iter().map(move |from| (zxid, from)))
        .collect();
    let mut got = false;
    for (zxid, from) in lacks {
        let other = &partitions[usize::from(from.0) - 1];
        #[cfg_attr(not(feature = "mutants"), allow(unused_mut))]
        let mut given = other.contributed(zxid);
        #[cfg(feature = "mutants")]
        if given.is_none() && mutated!(EarlyAnswer) {
            given = other.peek(&partitions[at], zxid);
        }
        if let Some(given) = given {
            partitions[at].contribution(zxid, from, given);
            got = true;
        }
    }
    got
}

impl Server {
    /// Puts a server together from what recovery found, and replays the log.
    ///
    /// # Errors
    /// Log and snapshots do not fit together.
    pub fn recover(
        config: ServerConfig,
        recovered: Recovered,
        now: Now,
    ) -> Result<Server, ServerError> {
        let Recovered { partitions, rings: logs, totals } = recovered;
        let count = partitions.len();
        let mut rings = Vec::with_capacity(logs.len());
        for (at, log) in logs.into_iter().enumerate() {
            let mut ring_config =
                RingConfig::new(RingId(at as u16), config.server, vec![config.server]);
            ring_config.window = config.window;
            ring_config.max_skips = config.window;
            rings.push(Ring::new(ring_config, log)?);
        }
        let mut server = Server {
            front_end: FrontEnd::new(config.front_end.clone(), rings.len(), config.map.version()),
            began: false,
            demands: Demands::new(config.skip, count as u16),
            rings,
            partitions,
            appended: VecDeque::new(),
            next_token: 1,
            batch: Vec::new(),
            batch_numbers: Vec::new(),
            effects: Vec::new(),
            durable_lsn: 0,
            next_reap_us: 0,
            cycle: Cycle::Idle,
            floors: VecDeque::new(),
            totals,
            config,
        };
        if server.config.front_end.flags.skip_acl {
            server.partitions.iter_mut().for_each(Partition::skip_acl);
        }
        server.replay(now)?;
        Ok(server)
    }

    fn replay(&mut self, now: Now) -> Result<(), ServerError> {
        for (at, cursor) in cursors(&self.partitions).into_iter().enumerate() {
            // What the replay has executed or queued already is not delivered again.
            let (instance, position) =
                self.rings[at].trimmed().max((cursor.instance, cursor.position));
            self.rings[at].start_at(instance, position)?;
            let mut effects = Vec::new();
            self.rings[at].start(propose::ring_now(now), &mut effects);
            self.ring_effects(at, effects)?;
        }
        self.execute(now)?;
        let sessions: Vec<_> = self.partitions.first().map_or_else(Vec::new, |partition| {
            let all = partition.sessions().iter();
            all.map(|(id, s)| (id, s.epoch, s.timeout_ms)).collect()
        });
        for (session, epoch, timeout_ms) in sessions {
            self.front_end.session_opened(session, epoch, timeout_ms, now);
        }
        self.next_reap_us = now.monotonic_us + self.config.reaper.interval_ms * 1000;
        self.began = true;
        let last = self.partitions.iter().map(|p| p.last_start(self.config.server)).max();
        self.front_end.begin(last.unwrap_or_default(), now);
        Ok(())
    }

    /// Takes one input. Nothing leaves before `flush`.
    ///
    /// # Errors
    /// An invariant is broken: the process must end.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), ServerError> {
        match input {
            Input::Opened { conn, peer } => self.front_end.opened(conn, peer, now),
            Input::Handshake { conn, handshake } => {
                let known = self.known();
                self.front_end.handshake(conn, handshake, known, now);
            }
            Input::Requests { conn, requests } => self.front_end.requests(conn, requests, now),
            Input::Written { conn, bytes } => self.front_end.written(conn, bytes),
            Input::Closed { conn } => {
                let mut replicas =
                    Replicas::new(&mut self.partitions, &self.config.map, &mut self.demands);
                self.front_end.closed(conn, &mut replicas);
            }
            Input::Durable { token, lsn } => self.durable(token, lsn)?,
            Input::SnapshotDurable { partition } => self.snapshot_durable(partition),
            Input::SnapshotFailed { partition } => self.snapshot_failed(partition),
        }
        Ok(())
    }

    /// Above everything that any client can have been shown.
    fn known(&self) -> Zxid {
        let slot = self.rings.iter().map(Ring::proposed_position).max().unwrap_or_default();
        Zxid::through(slot)
    }

    fn durable(&mut self, token: u64, lsn: u64) -> Result<(), ServerError> {
        self.durable_lsn = self.durable_lsn.max(lsn);
        while self.appended.front().is_some_and(|batch| batch.token <= token) {
            let Some(batch) = self.appended.pop_front() else { break };
            for (ring, number) in batch.numbers {
                let mut effects = Vec::new();
                self.rings[ring].durable(number, &mut effects);
                self.ring_effects(ring, effects)?;
            }
        }
        Ok(())
    }

    fn ring_effects(&mut self, at: usize, effects: Vec<ring::Effect>) -> Result<(), ServerError> {
        let ring = RingId(at as u16);
        for effect in effects {
            match effect {
                ring::Effect::Append { record, number } => {
                    self.batch.push(record);
                    if mutated!(VoteBeforeSync) {
                        let mut effects = Vec::new();
                        self.rings[at].durable(number, &mut effects);
                        self.ring_effects(at, effects)?;
                    }
                    match self.batch_numbers.last_mut() {
                        Some((last, n)) if *last == at => *n = number,
                        _ => self.batch_numbers.push((at, number)),
                    }
                }
                ring::Effect::Decided { instance, value, .. } => {
                    self.totals.decided(&value);
                    let learners = if at == 0 {
                        &mut self.partitions[..]
                    } else {
                        std::slice::from_mut(&mut self.partitions[at - 1])
                    };
                    for partition in learners {
                        partition.decided(ring, instance, &value)?;
                    }
                }
                ring::Effect::Fatal(error) => return Err(error.into()),
                ring::Effect::BecameCoordinator { .. } => {}
                ring::Effect::Send { .. }
                | ring::Effect::SteppedDown { .. }
                | ring::Effect::NeedsSnapshot { .. } => return Err(ServerError::Alone(ring)),
            }
        }
        Ok(())
    }

    /// Executes everything that is decided, exchanging contributions between the replicas.
    fn execute(&mut self, now: Now) -> Result<(), ServerError> {
        let mut outputs = Vec::new();
        loop {
            let mut more = false;
            for at in 0..self.partitions.len() {
                self.partitions[at].advance(&mut outputs)?;
                more |= !outputs.is_empty();
                for output in outputs.drain(..) {
                    self.output(output, now);
                }
                more |= pull_contributions(&mut self.partitions, at);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn output(&mut self, output: Output, now: Now) {
        match output {
            // Co-located replicas hand their contributions over in memory.
            Output::Contribute { zxid, from, to, contribution } => {
                for to in to {
                    let replica = &mut self.partitions[usize::from(to.0) - 1];
                    replica.contribution(zxid, from, contribution.clone());
                }
            }
            Output::Executed { origin, ring, zxid, outcome } => {
                self.front_end.executed(origin, ring, zxid, outcome);
            }
            Output::Hello { origin, zxid } => {
                if origin.server == self.config.server && self.began {
                    self.front_end.hello_executed(origin, zxid, now);
                }
            }
            Output::Event { zxid, event } => self.front_end.event(zxid, event),
            Output::SessionOpened { session, epoch, timeout_ms } => {
                self.front_end.session_opened(session, epoch, timeout_ms, now);
            }
            Output::SessionEnded { session } => self.front_end.session_ended(session),
        }
    }

    /// Does everything that the inputs made possible, and says what is to be done outside.
    ///
    /// # Errors
    /// An invariant is broken: the process must end.
    pub fn flush(&mut self, now: Now) -> Result<Vec<Effect>, ServerError> {
        self.execute(now)?;
        for session in self.front_end.expire(now) {
            self.effects.push(Effect::Expiring { session });
        }
        self.reap(now);
        let mut replicas = Replicas::new(&mut self.partitions, &self.config.map, &mut self.demands);
        let effects = self.front_end.settle(&mut replicas, now);
        self.effects.extend(effects.into_iter().map(Effect::Client));
        self.propose(now)?;
        Ok(std::mem::take(&mut self.effects))
    }

    /// When `flush` is to be called without an input, monotonic microseconds.
    #[must_use]
    pub fn next_deadline_us(&self) -> Option<u64> {
        let reap = (self.config.reaper.interval_ms > 0).then_some(self.next_reap_us);
        self.front_end.next_deadline_us().into_iter().chain(reap).min()
    }

    /// Whether clients are served.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.front_end.serving()
    }

    /// This server.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.config.server
    }

    /// Whether nothing that was asked for is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.appended.is_empty() && self.front_end.counters().outstanding == 0
    }

    /// What was counted since the start.
    #[must_use]
    pub fn totals(&self) -> ServerTotals {
        self.totals
    }

    /// The front end, for the status words.
    #[must_use]
    pub fn front_end(&self) -> &FrontEnd {
        &self.front_end
    }

    /// The front end, to count words, to reset its counters and to take its latencies.
    pub fn front_end_mut(&mut self) -> &mut FrontEnd {
        &mut self.front_end
    }

    /// The replicas.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The rings.
    #[must_use]
    pub fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// Everything up to here is executed in every partition.
    #[must_use]
    pub fn position(&self) -> Zxid {
        self.partitions.iter().map(Partition::position).min().unwrap_or_default()
    }
}
