//! The front end's side of attachments: for each partition that is not on this server one replica
//! elsewhere is chosen, heard in order, and given up when its server is silent or has forgotten.
//! It serves nobody: the front end does. Part of the server machine. DESIGN section 7.

use std::collections::BTreeMap;

use volery_proto::command::Origin;
use volery_proto::ids::{PartitionId, ServerId};

use super::attach_message::{Attach, Attached, AttachmentId};
use super::message::PeerMessage;
use super::stream::Stream;
use super::{Server, find};
use crate::core::executor::CommandOutcome;
use crate::core::front_end::{Ask, Attachments, Told};
use crate::core::oracle::PartitionMap;
use crate::core::types::Now;

/// A replica that does not begin to answer within so many resends is given up; one that refuses,
/// after a part of one.
const RESENDS_TO_BEGIN: u64 = 4;

/// A replica that is asked for nothing hears of this front end after so many resends.
const RESENDS_A_PROBE: u64 = 4;

/// Requests for a partition that no replica answers for wait for so many resends.
const RESENDS_TO_WAIT: u64 = 10;

/// The way to the replica that serves one partition.
#[derive(Debug)]
struct Link {
    to: Option<ServerId>,
    stream: Stream<Ask>,
    /// How many there were: another one is chosen each time.
    count: u64,
    /// When it is given up, unless it has begun to answer.
    begin_us: u64,
    /// When those that wait for an answer are closed, unless one has begun.
    wait_us: u64,
    /// When it is asked whether it still knows this front end: its process may have begun anew,
    /// and all that is awaited of it are events.
    probe_us: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    of: BTreeMap<PartitionId, Link>,
}

impl Links {
    /// The partitions of the map that are not here, none reached yet.
    pub(super) fn new(attachments: &Attachments, now: Now) -> Links {
        let (begin_us, wait_us, probe_us) = (now.monotonic_us, now.monotonic_us, 0);
        let link = |partition| {
            let stream = Stream::new();
            (partition, Link { to: None, stream, count: 0, begin_us, wait_us, probe_us })
        };
        Links { of: attachments.partitions().map(link).collect() }
    }
}

/// The partitions that are not among these.
pub(super) fn others(
    map: &PartitionMap,
    here: &[crate::core::executor::Partition],
) -> Vec<PartitionId> {
    map.partitions().filter(|partition| find(here, *partition).is_none()).collect()
}

impl Server {
    fn attachment(&self, count: u64) -> AttachmentId {
        AttachmentId { start: self.config.cluster.seed, count }
    }

    /// Looks for replicas where none answers.
    pub(super) fn attach(&mut self, now: Now) {
        let Some(incarnation) = self.front_end.incarnation() else { return };
        for partition in self.attachments.partitions() {
            if self.attachments.is_up(partition) {
                continue;
            }
            let next = self.next_replica(partition);
            let resend_us = self.config.cluster.resend_us;
            let Some(link) = self.links.of.get_mut(&partition) else { continue };
            if now.monotonic_us >= link.begin_us {
                link.to = None;
            }
            if link.to.is_none()
                && let Some(to) = next
            {
                link.count += 1;
                link.to = Some(to);
                link.stream = Stream::new();
                link.stream.say(Ask::Open { incarnation }, 0);
                link.begin_us = now.monotonic_us + RESENDS_TO_BEGIN * resend_us;
            }
            if now.monotonic_us >= link.wait_us {
                self.lose(partition, now);
            }
        }
    }

    /// Whom to try next for a partition.
    fn next_replica(&self, partition: PartitionId) -> Option<ServerId> {
        let count = self.links.of.get(&partition)?.count;
        let holders = self.config.cluster.holders(partition);
        let live: Vec<ServerId> = holders.filter(|server| self.peers.lives(*server)).collect();
        // Not all front ends at the same one.
        let first = u64::from(self.config.server.0) + u64::from(partition.0);
        let turn = (first + count).checked_rem(live.len() as u64)?;
        live.get(turn as usize).copied()
    }

    /// No replica answers for a partition, or none any more: whoever depends on one is closed.
    fn lose(&mut self, partition: PartitionId, now: Now) {
        let Some(link) = self.links.of.get_mut(&partition) else { return };
        link.wait_us = now.monotonic_us + RESENDS_TO_WAIT * self.config.cluster.resend_us;
        self.attachments.end(partition);
        let partitions = &self.partitions;
        self.front_end.replica_lost(partition, &|p| find(partitions, p).is_some());
    }

    /// Another replica is looked for at once.
    fn leave(&mut self, partition: PartitionId, now: Now) {
        if let Some(link) = self.links.of.get_mut(&partition) {
            link.to = None;
        }
        if self.attachments.is_up(partition) {
            self.lose(partition, now);
        }
    }

    /// A server is silent.
    pub(super) fn part_from(&mut self, server: ServerId, now: Now) {
        let lost = self.links.of.iter().filter(|(_, link)| link.to == Some(server));
        for partition in lost.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            self.leave(partition, now);
        }
        self.dismiss(server);
    }

    fn is_current(&self, from: ServerId, partition: PartitionId, number: AttachmentId) -> bool {
        let link = self.links.of.get(&partition);
        link.is_some_and(|link| link.to == Some(from) && self.attachment(link.count) == number)
    }

    /// A replica knows nothing of this front end, or a front end nothing of a replica here.
    pub(super) fn detached(
        &mut self,
        from: ServerId,
        partition: PartitionId,
        number: AttachmentId,
        now: Now,
    ) {
        if !self.is_current(from, partition, number) {
            return self.dismiss_numbered((partition, from), number);
        }
        if self.attachments.is_up(partition) {
            return self.leave(partition, now);
        }
        // It does not serve yet: another one is tried, but not at once.
        let pause_us = self.config.cluster.resend_us / RESENDS_TO_BEGIN;
        if let Some(link) = self.links.of.get_mut(&partition) {
            link.begin_us = link.begin_us.min(now.monotonic_us + pause_us);
        }
    }

    /// A replica says something.
    pub(super) fn attached(&mut self, from: ServerId, attached: Attached, now: Now) {
        let Attached { partition, number, batch } = attached;
        if !self.is_current(from, partition, number) {
            // It was left, or this process began behind it.
            return self.send(from, PeerMessage::Detached { partition, number });
        }
        let Some(link) = self.links.of.get_mut(&partition) else { return };
        let news = link.stream.take(batch, now.monotonic_us, self.config.cluster.resend_us);
        for told in news {
            self.told(partition, told, now);
        }
    }

    fn told(&mut self, partition: PartitionId, told: Told, now: Now) {
        match told {
            Told::Began(through) => {
                self.attachments.begin(partition);
                self.executed_elsewhere(usize::from(partition.0), through, now);
                self.front_end.replica_begins(partition, through);
            }
            Told::Executed { zxid, sequence, reply } => {
                let incarnation = self.front_end.incarnation().unwrap_or_default();
                let origin = Origin { server: self.config.server, incarnation, sequence };
                let ring = zxid.ring();
                if usize::from(ring.0) < self.outgoing.len() {
                    self.executed_elsewhere(usize::from(ring.0), sequence, now);
                    let outcome = CommandOutcome::Write(reply);
                    self.front_end.executed(origin, ring, zxid, outcome);
                }
            }
            Told::Event { zxid, event, holds } => {
                self.front_end.event_elsewhere(partition, zxid, event, holds);
            }
            Told::Answer { conn, ask, answer } => {
                self.front_end.answered(partition, conn, ask, answer);
            }
            Told::Position { delivered, executed, leader } => {
                self.attachments.position(partition, (delivered, executed), leader);
            }
        }
    }

    /// Commands of this front end were executed where this server sees it by attachment alone.
    fn executed_elsewhere(&mut self, ring: usize, through: u64, now: Now) {
        let due_us = now.monotonic_us + self.config.cluster.resend_us;
        self.outgoing[ring].executed(through, due_us);
    }

    /// Says what the front end has to say.
    pub(super) fn say(&mut self, now: Now) {
        let resend_us = self.config.cluster.resend_us;
        for partition in self.attachments.partitions() {
            let Some(link) = self.links.of.get_mut(&partition) else { continue };
            let asks = self.attachments.take_asks(partition);
            let Some(to) = link.to else { continue };
            for ask in asks {
                link.stream.say(ask, 0);
            }
            let number = AttachmentId { start: self.config.cluster.seed, count: link.count };
            let mut messages = Vec::new();
            while let Some(batch) = link.stream.next(now.monotonic_us, resend_us) {
                messages.push(PeerMessage::Attach(Attach { partition, number, batch }));
            }
            let probe = messages.is_empty() && now.monotonic_us >= link.probe_us;
            if probe && self.attachments.is_up(partition) {
                let batch = link.stream.probe();
                messages.push(PeerMessage::Attach(Attach { partition, number, batch }));
            }
            if !messages.is_empty() {
                link.probe_us = now.monotonic_us + RESENDS_A_PROBE * resend_us;
            }
            for message in messages {
                self.send(to, message);
            }
        }
    }

    /// When `attach` or `say` has something to do.
    pub(super) fn attach_deadline_us(&self) -> Option<u64> {
        let links = self.links.of.iter().map(|(partition, link)| {
            let up = self.attachments.is_up(*partition);
            let begin = link.to.map(|_| link.begin_us).filter(|_| !up);
            let wait = (!up).then_some(link.wait_us);
            let said = link.stream.deadline_us().filter(|_| link.to.is_some());
            let probe = up.then_some(link.probe_us);
            begin.into_iter().chain(wait).chain(said).chain(probe).min()
        });
        links.flatten().min().filter(|_| self.front_end.serving())
    }
}
