//! Commands on their way to the coordinators: every front end's own server sends them, in the
//! order of their numbers, and again until they are executed here. DESIGN sections 3 and 5.
//! A numbered command is never withdrawn; executors drop duplicates and ignore what comes too
//! early. Part of the server machine.

use std::collections::{BTreeMap, VecDeque};

use volery_proto::command::{Command, Operation};
use volery_proto::ids::{Ballot, PartitionId, RingId, ServerId, Zxid};
use volery_proto::limits::{
    MAX_FORWARDED, MAX_FORWARDED_BYTES, MAX_RING_WAITING, MAX_VALUE_BYTES, MAX_VALUE_COMMANDS,
};

use super::message::PeerMessage;
use super::{Server, ServerError};
use crate::core::mutation::mutated;
use crate::core::ring;
use crate::core::types::Now;

/// What this server's front end has given to one ring and has not seen executed.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queue: VecDeque<Command>,
    /// The number of `queue[0]`; a hello has none and stands first.
    first: u64,
    /// How many of `queue` the coordinator has been sent, and how many bytes they are.
    sent: usize,
    sent_bytes: usize,
    /// Whom, and with which ballot it leads.
    to: Option<Ballot>,
    /// When they are sent again unless one is executed before.
    due_us: u64,
}

/// What is sent next.
struct Batch {
    to: ServerId,
    again: bool,
    commands: Vec<Command>,
}

impl Outgoing {
    fn push(&mut self, command: Command) {
        self.queue.push_back(command);
    }

    /// Everything through this number is executed here.
    pub(super) fn executed(&mut self, sequence: u64, due_us: u64) {
        while self.first <= sequence {
            let Some(command) = self.queue.pop_front() else { return };
            self.first += 1;
            self.due_us = due_us;
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_bytes = self.sent_bytes.saturating_sub(ring::weight(&command));
            }
        }
    }

    /// A new numbering begins: nothing of the old one executes any more.
    pub(super) fn restart(&mut self) {
        *self = Outgoing { first: 1, ..Outgoing::default() };
    }

    /// This server stops coordinating: what waited with it is to be sent anew.
    pub(super) fn stepped_down(&mut self) {
        self.to = None;
    }

    fn next(&mut self, me: ServerId, leader: Ballot, now_us: u64, due_us: u64) -> Option<Batch> {
        let local = leader.server == me;
        let late = self.sent > 0 && !local && now_us >= self.due_us;
        let changed = self.to != Some(leader);
        if changed || late {
            (self.to, self.sent, self.sent_bytes) = (Some(leader), 0, 0);
        }
        let again = self.sent == 0;
        let (mut commands, mut bytes) = (Vec::new(), 0);
        for command in self.queue.iter().skip(self.sent) {
            let full = self.sent + commands.len() >= MAX_FORWARDED
                || self.sent_bytes + bytes >= MAX_FORWARDED_BYTES;
            let enough = commands.len() == MAX_VALUE_COMMANDS || bytes >= MAX_VALUE_BYTES;
            if enough || (full && !local) {
                break;
            }
            bytes += ring::weight(command);
            commands.push(command.clone());
        }
        if commands.is_empty() {
            return None;
        }
        if again {
            self.due_us = due_us;
        }
        self.sent += commands.len();
        self.sent_bytes += bytes;
        Some(Batch { to: leader.server, again, commands })
    }

    fn deadline_us(&self, me: ServerId) -> Option<u64> {
        let remote = self.to.is_some_and(|leader| leader.server != me);
        (remote && self.sent > 0).then_some(self.due_us)
    }
}

/// Per front end: its incarnation, and the last number that this coordinator took of it.
pub(super) type Intake = BTreeMap<ServerId, (Zxid, u64)>;

impl Server {
    /// Takes what the front end wants ordered, and sends what is due.
    pub(super) fn forward(&mut self, now: Now) -> Result<(), ServerError> {
        for (ring, command) in self.front_end.take_proposals() {
            self.outgoing[usize::from(ring.0)].push(command);
        }
        let (me, now_us) = (self.config.server, now.monotonic_us);
        let due_us = now_us + self.config.cluster.resend_us;
        // Of ring 0's commands that address no partition here nobody here says that they were
        // executed; but they were counted.
        if let (false, Some(incarnation)) =
            (self.attachments.is_empty(), self.front_end.incarnation())
        {
            let first = self.partitions.first();
            let counted = first.map_or(0, |p| p.last_numbers(me, incarnation).0);
            self.outgoing[usize::from(RingId::GLOBAL.0)].executed(counted, due_us);
        }
        for ring in (0..self.outgoing.len()).map(|ring| RingId(ring as u16)) {
            let Some(leader) = self.leader(ring) else { continue };
            let outgoing = usize::from(ring.0);
            while let Some(batch) = self.outgoing[outgoing].next(me, leader, now_us, due_us) {
                let Batch { to, again, commands } = batch;
                if to != me {
                    self.send(to, PeerMessage::Commands { ring, again, commands });
                } else if !self.place(ring).is_some_and(|at| self.rings[at].propose(commands)) {
                    return Err(ServerError::Alone(ring));
                }
            }
        }
        Ok(())
    }

    /// Who seems to coordinate a ring; one that is not learned here is known by attachment.
    fn leader(&self, ring: RingId) -> Option<Ballot> {
        match self.place(ring) {
            Some(at) => self.rings[at].leader(),
            None => {
                let leader = self.attachments.leader(PartitionId(ring.0))?;
                (leader.server != self.config.server).then_some(leader)
            }
        }
    }

    /// Commands of another server's front end. What this ring's coordinator has taken already,
    /// and what comes too early, is dropped; so is all of it where somebody else leads: the front
    /// end sends it again.
    pub(super) fn take_commands(
        &mut self,
        from: ServerId,
        ring: RingId,
        again: bool,
        commands: Vec<Command>,
        now: Now,
    ) {
        let (Some(at), limit) = (self.place(ring), self.slot_limit(now)) else { return };
        let ring = &self.rings[at];
        let room = ring.is_coordinator() && ring.waiting() + commands.len() <= MAX_RING_WAITING;
        let sound = |c: &Command| {
            c.origin.server == from && (c.after.slot() <= limit || mutated!(AnyAfter))
        };
        if !room || !commands.iter().all(sound) {
            return;
        }
        let mut taken = Vec::with_capacity(commands.len());
        for (index, command) in commands.into_iter().enumerate() {
            let origin = command.origin;
            if command.operation == Operation::Hello {
                taken.push(command);
                continue;
            }
            if again && index == 0 {
                let before = origin.sequence.saturating_sub(1);
                self.intake[at].insert(from, (origin.incarnation, before));
            }
            let last = self.intake[at].get_mut(&from);
            let next = last.filter(|(incarnation, last)| {
                *incarnation == origin.incarnation && origin.sequence == *last + 1
            });
            if let Some((_, last)) = next {
                *last = origin.sequence;
                taken.push(command);
            }
        }
        if !taken.is_empty() {
            // It coordinates: that was asked above.
            self.rings[at].propose(taken);
        }
    }

    /// When `forward` has something to do.
    pub(super) fn forward_deadline_us(&self) -> Option<u64> {
        let me = self.config.server;
        self.outgoing.iter().filter_map(|outgoing| outgoing.deadline_us(me)).min()
    }
}
