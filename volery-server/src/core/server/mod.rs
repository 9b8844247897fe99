//! One whole server as a pure machine: rings, replicas and front end put together. Inputs come
//! one by one with the time; `flush` then says what is to be written, sent and closed.
//! It does no I/O. Called by the node's drive loop, and by the simulation: the same code.
//!
//! ```text
//! client input → front end → ring (propose) → Append ⇢ Durable → ring (decide) → replicas
//!              ← front end ← results and events ←──────────────────────────────┘
//! ```

mod attach;
mod attach_message;
mod forward;
mod guests;
mod io;
mod message;
#[cfg(test)]
mod message_tests;
mod peers;
mod propose;
mod recover;
mod replay;
mod snapshots;
mod stream;
#[cfg(test)]
mod tests;
mod touches;
mod transfer;
#[cfg(test)]
mod transfer_tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::Value;
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, Zxid};

use crate::core::executor::{Output, Partition};
use crate::core::front_end::{Attachments, FrontEnd, Replicas};
use crate::core::merge::Cursor;
use crate::core::merge::skip::Demands;
use crate::core::mutation::mutated;
use crate::core::ring::{self, RecoveredRing, Ring, RingMessage};
use crate::core::types::Now;
use attach::Links;
use forward::{Intake, Outgoing};
use guests::Guests;
use peers::Peers;
use snapshots::{Cycle, Floor, Mark};
use touches::Touches;
use transfer::Transfer;

pub use attach_message::{Attach, Attached, AttachmentId};
pub use io::{ClusterConfig, Effect, Input, Membership, ReaperConfig, ServerConfig, ServerError};
pub use message::{Lane, PeerMessage, PeerMessageError};
pub use replay::Replay;
pub use snapshots::Covered;
pub use stream::Batch;

/// What is counted since the start, the replayed log included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTotals {
    /// Values that were decided, skips left out.
    pub values: u64,
    /// Skips that were decided.
    pub skips: u64,
    /// Commands in those values.
    pub commands: u64,
    /// Commands of the partitions' rings that this server has seen decided since it began.
    pub partition_commands: u64,
    /// Those among them that ring 0 had passed already: nothing held them up.
    pub unheld_commands: u64,
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
    /// From the snapshots, ascending; empty ones where there is none.
    pub partitions: Vec<Partition>,
    /// From the log: ring 0, and those of the partitions.
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
    /// Ring 0, then those of the partitions that are here, ascending.
    rings: Vec<Ring>,
    /// Those that are here, ascending: the ring of each stands one place behind its own.
    partitions: Vec<Partition>,
    front_end: FrontEnd,
    /// Whether the log is replayed and this incarnation's own hello is on its way.
    began: bool,
    demands: Demands,
    peers: Peers,
    /// As `rings`: messages that wait for an append, by its number.
    held: Vec<VecDeque<(u64, ServerId, RingMessage)>>,
    /// By ring, those of all partitions: this front end's commands, until they are executed.
    outgoing: Vec<Outgoing>,
    /// As `rings`: what this server took from other front ends since it coordinates.
    intake: Vec<Intake>,
    touches: Touches,
    transfer: Transfer,
    /// The partitions that are not here, as the front end sees them; and the ways to them.
    attachments: Attachments,
    links: Links,
    /// Front ends elsewhere that are attached here.
    guests: Guests,
    appended: VecDeque<Appended>,
    next_token: u64,
    /// Records and numbers of the batch that grows.
    batch: Vec<Bytes>,
    batch_numbers: Vec<(usize, u64)>,
    effects: Vec<Effect>,
    durable_lsn: u64,
    next_reap_us: u64,
    cycle: Cycle,
    /// Ends of the log and what was accepted by then, oldest first.
    marks: VecDeque<Mark>,
    /// The last cycles, oldest first; forgotten at a start, which only keeps the log longer.
    floors: VecDeque<Floor>,
    totals: ServerTotals,
}

/// Where each ring is read on from: below, everything is in the snapshots of these replicas.
#[must_use]
pub fn cursors(partitions: &[Partition]) -> Vec<(RingId, Cursor)> {
    let global = partitions.iter().map(|p| p.cursors().0).min_by_key(|c| c.instance);
    let own = partitions.iter().map(|p| (p.id().ring(), p.cursors().1));
    std::iter::once((RingId::GLOBAL, global.unwrap_or_default())).chain(own).collect()
}

/// The replicas that learn the ring at this place: ring 0 is for all.
fn learners(partitions: &mut [Partition], at: usize) -> &mut [Partition] {
    if at == 0 { partitions } else { std::slice::from_mut(&mut partitions[at - 1]) }
}

/// Where a partition stands among those that are here.
fn find(partitions: &[Partition], id: PartitionId) -> Option<usize> {
    partitions.binary_search_by_key(&id, Partition::id).ok()
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
        let Some(other) = find(partitions, from) else { continue };
        let other = &partitions[other];
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
    /// Takes one input. Nothing leaves before `flush`.
    ///
    /// # Errors
    /// An invariant is broken: the process must end.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), ServerError> {
        match input {
            Input::Opened { conn, peer } => self.front_end.opened(conn, peer, now),
            Input::Handshake { conn, handshake } => {
                let known = self.known(now);
                self.front_end.handshake(conn, handshake, known, now);
            }
            Input::Requests { conn, requests } => self.front_end.requests(conn, requests, now),
            Input::Written { conn, bytes } => self.front_end.written(conn, bytes),
            Input::Closed { conn } => {
                let mut replicas = Replicas::new(
                    &mut self.partitions,
                    &mut self.attachments,
                    &self.config.map,
                    &mut self.demands,
                );
                self.front_end.closed(conn, &mut replicas);
            }
            Input::Durable { token, lsn } => self.durable(token, lsn)?,
            Input::SnapshotDurable { partition } => self.snapshot_durable(partition),
            Input::SnapshotFailed { partition } => self.snapshot_failed(partition),
            Input::Peer { from, message } => self.peer(from, message, now)?,
            Input::PeerUp { peer } => self.peer_up(peer, now),
            Input::PeerDown { peer } => self.peer_down(peer, now)?,
            Input::LogRead { ring, to, values } => self.log_read(ring, to, values)?,
            Input::SnapshotsArriving { from } => self.snapshots_arriving(from, now),
            Input::SnapshotsSending => self.snapshots_sending(now),
            Input::SnapshotSent => self.snapshot_sent(),
            Input::SnapshotReceived { partition } => self.snapshot_received(partition),
            Input::SnapshotsRefused { from } => self.snapshots_refused(from, now),
        }
        Ok(())
    }

    /// Above everything that any client can have been shown. In a cluster others may have come
    /// further since they were heard: a client's claim is believed a little beyond.
    fn known(&self, now: Now) -> Zxid {
        match self.peers.alone() {
            true => Zxid::through(self.known_slot()),
            false => Zxid::through(self.slot_limit(now)),
        }
    }

    fn durable(&mut self, token: u64, lsn: u64) -> Result<(), ServerError> {
        self.durable_lsn = self.durable_lsn.max(lsn);
        while self.appended.front().is_some_and(|batch| batch.token <= token) {
            let Some(batch) = self.appended.pop_front() else { break };
            for (ring, number) in batch.numbers {
                let mut effects = Vec::new();
                self.rings[ring].durable(number, &mut effects);
                self.ring_effects(ring, effects)?;
                self.release(ring, number);
            }
        }
        Ok(())
    }

    /// Sends what waited for an append that is durable now.
    fn release(&mut self, at: usize, number: u64) {
        while self.held[at].front().is_some_and(|(waits, ..)| *waits <= number) {
            let Some((_, to, message)) = self.held[at].pop_front() else { return };
            self.send_ring(self.ring_id(at), to, message);
        }
    }

    /// Which ring stands at this place.
    fn ring_id(&self, at: usize) -> RingId {
        match at.checked_sub(1) {
            None => RingId::GLOBAL,
            Some(partition) => self.partitions[partition].id().ring(),
        }
    }

    /// Where a ring stands here; `None`: this server does not learn it.
    fn place(&self, ring: RingId) -> Option<usize> {
        match ring {
            RingId::GLOBAL => Some(0),
            RingId(own) => find(&self.partitions, PartitionId(own)).map(|at| at + 1),
        }
    }

    fn ring_effects(&mut self, at: usize, effects: Vec<ring::Effect>) -> Result<(), ServerError> {
        let ring = self.ring_id(at);
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
                ring::Effect::Decided { instance, position, value } => {
                    self.totals.decided(&value);
                    if at > 0 && self.began {
                        let commands = value.commands.len() as u64;
                        let is_passed = self.rings[0].position() >= value.end(position);
                        self.totals.partition_commands += commands;
                        self.totals.unheld_commands += if is_passed { commands } else { 0 };
                    }
                    for partition in learners(&mut self.partitions, at) {
                        partition.decided(ring, instance, &value)?;
                    }
                }
                ring::Effect::Fatal(error) => return Err(error.into()),
                ring::Effect::Send { to, message, after_durable } => match after_durable {
                    // Appends become durable in order, and so do these wait in order.
                    Some(number) if !mutated!(VoteBeforeSync) => {
                        self.held[at].push_back((number, to, message));
                    }
                    _ => self.send_ring(ring, to, message),
                },
                ring::Effect::BecameCoordinator { .. } => {
                    self.intake[at].clear();
                    if ring == RingId::GLOBAL {
                        self.front_end.lead_sessions(true);
                    }
                }
                // What waited unproposed is still with the front ends that sent it.
                ring::Effect::SteppedDown { .. } => {
                    self.outgoing[usize::from(ring.0)].stepped_down();
                    if ring == RingId::GLOBAL {
                        self.front_end.lead_sessions(false);
                    }
                }
                ring::Effect::ReadLog { to, instance } => self.read_log(ring, to, instance),
                ring::Effect::NeedsSnapshot { from, instance } => {
                    self.cannot_catch_up(at, from, instance);
                }
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
                    self.output(at, output, now);
                }
                more |= pull_contributions(&mut self.partitions, at);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// What comes of executing at the replica at this place.
    fn output(&mut self, at: usize, output: Output, now: Now) {
        match output {
            Output::Contribute { zxid, from, to, contribution } => {
                self.give(zxid, from, &to, &contribution);
            }
            Output::Executed { origin, ring, zxid, outcome } => {
                self.tell_executed(at, origin, zxid, &outcome);
                if self.front_end.is_own(origin) {
                    let due_us = now.monotonic_us + self.config.cluster.resend_us;
                    self.outgoing[usize::from(ring.0)].executed(origin.sequence, due_us);
                }
                self.front_end.executed(origin, ring, zxid, outcome);
            }
            Output::Hello { origin, zxid } => {
                if origin.server == self.config.server
                    && self.began
                    && self.front_end.hello_executed(origin, zxid, now)
                {
                    self.outgoing.iter_mut().for_each(Outgoing::restart);
                }
            }
            Output::Event { zxid, event } => {
                if !self.tell_event(at, zxid, &event) {
                    self.front_end.event(zxid, event);
                }
            }
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
        if !self.peers.alone() {
            self.pass_time(now)?;
        }
        self.execute(now)?;
        if !self.peers.alone() {
            self.touch(now);
            self.fetch(now);
            self.attach(now);
        }
        for session in self.front_end.expire(now) {
            self.effects.push(Effect::Expiring { session });
        }
        self.reap(now);
        let mut replicas = Replicas::new(
            &mut self.partitions,
            &mut self.attachments,
            &self.config.map,
            &mut self.demands,
        );
        let effects = self.front_end.settle(&mut replicas, now);
        self.effects.extend(effects.into_iter().map(Effect::Client));
        if !self.peers.alone() {
            self.serve_guests(now);
            self.say(now);
        }
        self.propose(now)?;
        self.send_beats();
        Ok(std::mem::take(&mut self.effects))
    }

    /// When `flush` is to be called without an input, monotonic microseconds.
    #[must_use]
    pub fn next_deadline_us(&self) -> Option<u64> {
        let reap = (self.config.reaper.interval_ms > 0).then_some(self.next_reap_us);
        let own = self.front_end.next_deadline_us().into_iter().chain(reap).min();
        if self.peers.alone() {
            return own;
        }
        let peers = self.peers_deadline_us().into_iter().chain(self.forward_deadline_us());
        let demands = self.demands.next_deadline_us().into_iter().chain(self.fetch_deadline_us());
        let others = self.attach_deadline_us().into_iter().chain(self.guests_deadline_us());
        let others = others.chain([self.touch_deadline_us()]);
        own.into_iter().chain(peers).chain(demands).chain(others).min()
    }

    /// Whether this server has lost its memory and does not vote yet.
    #[must_use]
    pub fn is_memory_lost(&self) -> bool {
        self.rings.iter().any(Ring::is_memory_lost)
    }

    /// Whether clients are served: not while nobody has a majority, or this server is cut off.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.front_end.takes_clients()
    }

    /// What it is among the others.
    #[must_use]
    pub fn membership(&self) -> Membership {
        match self.config.cluster.members.contains(&self.config.server) {
            _ if self.peers.alone() => Membership::Alone,
            true => Membership::Member,
            false => Membership::Observer,
        }
    }

    /// The servers that vote, this one included if it does.
    #[must_use]
    pub fn voters(&self) -> &[ServerId] {
        &self.config.cluster.members
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

    /// The replicas that are here, ascending.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The rings that are learned here: ring 0, and those of the partitions that are here.
    pub fn rings(&self) -> impl Iterator<Item = (RingId, &Ring)> {
        self.rings.iter().enumerate().map(|(at, ring)| (self.ring_id(at), ring))
    }

    /// Everything up to here is executed in every partition that is here.
    #[must_use]
    pub fn position(&self) -> Zxid {
        self.partitions.iter().map(Partition::position).min().unwrap_or_default()
    }
}
