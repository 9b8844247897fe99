//! From the front end's commands to one batch of the log: rings propose what waits, idle rings
//! skip along, and the reaper's deletes go the same way. Part of the server machine.

use bytestring::ByteString;
use volery_proto::command::Operation;
use volery_proto::ids::RingId;
use volery_proto::zk::{PathRequest, Request};

use super::{Appended, Effect, Server, ServerError};
use crate::core::executor::Scope;
use crate::core::mutation::mutated;
use crate::core::ring;
use crate::core::types::Now;

impl Server {
    /// Hands the front end's commands to their rings, lets every ring propose, and ends the
    /// batch of the log.
    pub(super) fn propose(&mut self, now: Now) -> Result<(), ServerError> {
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
        for partition in &self.partitions {
            if let Some((ring, slot)) = partition.wanted() {
                self.demands.wait_for(usize::from(ring.0), slot);
            }
        }
        for at in 0..self.rings.len() {
            if self.rings[at].has_waiting() {
                let before = self.rings[at].proposed_position();
                self.flush_ring(at, now)?;
                let after = self.rings[at].proposed_position();
                if after > before {
                    self.demands.proposed(at, after);
                }
            }
        }
        for at in 0..self.rings.len() {
            if self.rings[at].proposed_position() < self.demands.demanded(at) {
                let through = self.demands.target(at, now.slot());
                self.rings[at].request_skip(through);
                self.flush_ring(at, now)?;
            }
        }
        self.end_batch();
        Ok(())
    }

    fn flush_ring(&mut self, at: usize, now: Now) -> Result<(), ServerError> {
        let mut effects = Vec::new();
        self.rings[at].flush(ring_now(now), &mut effects);
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
        for partition in &self.partitions {
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

/// The time as a ring takes it.
pub(super) fn ring_now(now: Now) -> ring::Now {
    ring::Now { clock_us: now.unix_us, monotonic_us: now.monotonic_us }
}
