//! From the front end's commands to one batch of the log: rings propose what waits, idle rings
//! skip along, and the reaper's deletes go the same way. Part of the server machine.

use std::collections::BTreeMap;

use bytestring::ByteString;
use volery_proto::command::Operation;
use volery_proto::ids::{RingId, ServerId, Slot};
use volery_proto::zk::{PathRequest, Request};

use super::{Appended, Effect, PeerMessage, Server, ServerError};
use crate::core::executor::{Partition, Scope};
use crate::core::mutation::mutated;
use crate::core::types::Now;

impl Server {
    /// Hands the front end's commands to their rings, lets every ring that is led here propose,
    /// asks the others' coordinators, and ends the batch of the log.
    pub(super) fn propose(&mut self, now: Now) -> Result<(), ServerError> {
        if self.peers.alone() {
            self.propose_own()?;
        } else {
            self.forward(now)?;
        }
        self.note_waiting(now);
        for at in 0..self.rings.len() {
            if self.rings[at].has_waiting() {
                let before = self.rings[at].proposed_position();
                self.flush_ring(at, now)?;
                let after = self.rings[at].proposed_position();
                if after > before {
                    self.demands.proposed(self.number(at), after);
                }
            }
        }
        let clock = Slot::from_unix_us(self.ring_now(now).clock_us);
        for at in 0..self.rings.len() {
            let (led, ring) = (self.rings[at].is_coordinator(), self.number(at));
            if led && self.rings[at].proposed_position() < self.demands.demanded(ring) {
                let through = self.demands.target(ring, clock);
                self.rings[at].request_skip(through);
                self.flush_ring(at, now)?;
            }
        }
        self.demand(now);
        self.end_batch();
        Ok(())
    }

    /// The number of the ring at this place.
    fn number(&self, at: usize) -> usize {
        usize::from(self.ring_id(at).0)
    }

    /// A server alone coordinates all its rings.
    fn propose_own(&mut self) -> Result<(), ServerError> {
        let mut waiting = vec![Vec::new(); self.rings.len()];
        for (ring, command) in self.front_end.take_proposals() {
            let numbered = command.operation != Operation::Hello;
            if numbered && (mutated!(ProposedTwice) || mutated!(NoDuplicateTable)) {
                waiting[usize::from(ring.0)].push(command.clone());
            }
            waiting[usize::from(ring.0)].push(command);
        }
        for (at, commands) in waiting.into_iter().enumerate() {
            if !commands.is_empty() && !self.rings[at].propose(commands) {
                return Err(ServerError::Alone(RingId(at as u16)));
            }
        }
        Ok(())
    }

    /// Replicas that are held up by a ring need it to pass.
    fn note_waiting(&mut self, now: Now) {
        let wanted = self.partitions.iter().filter_map(Partition::wanted);
        if self.peers.alone() {
            for (ring, slot) in wanted {
                self.demands.wait_for(usize::from(ring.0), slot);
            }
            return;
        }
        let mut slots = vec![Slot(0); self.outgoing.len()];
        for (ring, slot) in wanted {
            let highest = &mut slots[usize::from(ring.0)];
            *highest = slot.max(*highest);
        }
        for at in 0..self.rings.len() {
            let patience_us = match self.rings[at].is_coordinator() {
                true => 0,
                false => self.config.cluster.demand_us,
            };
            let ring = self.number(at);
            self.demands.held_up(ring, slots[ring], now.monotonic_us, patience_us);
        }
    }

    /// Asks coordinators elsewhere to pass what is needed here, one message for each server.
    fn demand(&mut self, now: Now) {
        if self.peers.alone() {
            return;
        }
        let again_us = now.monotonic_us + self.config.cluster.resend_us / 4;
        let mut asked: BTreeMap<ServerId, Vec<(RingId, Slot)>> = BTreeMap::new();
        for (at, ring) in self.rings.iter().enumerate() {
            let to = ring.coordinator_hint().filter(|to| *to != self.config.server);
            let (id, position) = (self.ring_id(at), ring.position());
            let at = usize::from(id.0);
            let slot = self.demands.ask(at, (to, position), now.monotonic_us, again_us);
            if let (Some(to), Some(slot)) = (to, slot) {
                asked.entry(to).or_default().push((id, slot));
            }
        }
        // Of a ring that is not learned here nobody knows how far it is: it is asked once, and
        // those who learn it see to the rest.
        for partition in self.attachments.partitions() {
            let slot = self.demands.take(usize::from(partition.0));
            let leader = self.attachments.leader(partition);
            if let (Some(slot), Some(leader)) = (slot, leader) {
                asked.entry(leader.server).or_default().push((partition.ring(), slot));
            }
        }
        asked.remove(&self.config.server);
        for (to, demands) in asked {
            self.send(to, PeerMessage::Demands(demands));
        }
    }

    fn flush_ring(&mut self, at: usize, now: Now) -> Result<(), ServerError> {
        let mut effects = Vec::new();
        let ring_now = self.ring_now(now);
        self.rings[at].flush(ring_now, &mut effects);
        self.ring_effects(at, effects)
    }

    /// Hands the records that gathered to the log, in one batch.
    pub(super) fn end_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        let numbers = std::mem::take(&mut self.batch_numbers);
        self.appended.push_back(Appended { token, numbers });
        let records = std::mem::take(&mut self.batch);
        self.effects.push(Effect::Append { records, token });
    }

    /// Proposes the deletes of containers and TTL znodes whose time has come; their conditions
    /// are checked again when they execute.
    pub(super) fn reap(&mut self, now: Now) {
        let config = self.config.reaper;
        let due = config.interval_ms > 0 && now.monotonic_us >= self.next_reap_us;
        if !due || !self.front_end.serving() {
            return;
        }
        self.next_reap_us = now.monotonic_us + config.interval_ms * 1000;
        let mut paths: Vec<ByteString> = Vec::new();
        for (partition, ring) in self.partitions.iter().zip(&self.rings[1..]) {
            // Where several could, one does: who coordinates the partition's ring.
            if !ring.is_coordinator() {
                continue;
            }
            let left = config.max.saturating_sub(paths.len());
            let tree = partition.tree();
            let due = tree.reap_candidates(now.unix_ms(), left, config.never_used_ms);
            // Where a command is set aside, the delete would be too, once more at every look.
            let at = partition.delivered();
            paths.extend(due.into_iter().filter(|path| partition.shows(Scope::Znode(path), at)));
        }
        for path in paths {
            let request = Request::DeleteContainer(PathRequest { path });
            let ring = self.config.map.destination_of_write(&request).ring();
            self.front_end.propose_own(ring, Operation::Write(request));
        }
    }
}
