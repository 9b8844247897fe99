//! Which sessions were heard, for ring 0's coordinator, who alone expires any; and what follows
//! where it does not answer: clients are dropped, so that they move. DESIGN 7, ATTACKS row 25.
//! It closes no session. Part of the server machine.

use std::collections::{BTreeSet, VecDeque};

use volery_proto::ids::{ServerId, SessionId};

use super::Server;
use super::message::PeerMessage;
use crate::core::front_end::FrontEndConfig;
use crate::core::mutation::mutated;
use crate::core::types::Now;

/// Messages while clients are kept without an answer.
const TOUCHES_A_LEASE: u64 = 4;

/// A message that is not acknowledged.
#[derive(Debug)]
struct Sent {
    number: u64,
    at_us: u64,
    sessions: BTreeSet<SessionId>,
}

/// What this server tells ring 0's coordinator.
#[derive(Debug)]
pub(super) struct Touches {
    /// Without an answer for so long, clients are dropped: half of the least time-out, so that
    /// they have the other half to find another server.
    lease_us: u64,
    due_us: u64,
    number: u64,
    sent: VecDeque<Sent>,
    /// Everything heard before this is counted.
    counted_us: u64,
}

impl Touches {
    pub(super) fn new(front_end: &FrontEndConfig, now: Now) -> Touches {
        let lease_us = u64::from(front_end.min_timeout_ms) * 1000 / 2;
        let (due_us, counted_us) = (now.monotonic_us, now.monotonic_us);
        Touches { lease_us, due_us, number: 0, sent: VecDeque::new(), counted_us }
    }

    /// How late a touch may be: two messages, if one is lost.
    pub(super) fn late_ms(&self) -> u64 {
        self.lease_us / TOUCHES_A_LEASE * 2 / 1000
    }

    /// The coordinator has counted a message, and with it all before: each repeats them.
    pub(super) fn counted(&mut self, number: u64) {
        while self.sent.front().is_some_and(|sent| sent.number <= number) {
            if let Some(sent) = self.sent.pop_front() {
                self.counted_us = sent.at_us;
            }
        }
    }

    fn lost(&self, now: Now) -> bool {
        now.monotonic_us > self.counted_us + self.lease_us
    }
}

impl Server {
    /// Tells ring 0's coordinator what was heard, and drops clients where nobody counts it.
    pub(super) fn touch(&mut self, now: Now) {
        let leads = self.rings[0].is_coordinator();
        if leads {
            for sent in std::mem::take(&mut self.touches.sent) {
                self.front_end.touch_sessions(sent.sessions, now);
            }
            self.touches.counted_us = now.monotonic_us;
        }
        if now.monotonic_us >= self.touches.due_us {
            self.touches.due_us = now.monotonic_us + self.touches.lease_us / TOUCHES_A_LEASE;
            let sessions = self.front_end.take_touched();
            if !leads {
                self.tell_touches(sessions, now);
            }
        }
        let lost = self.touches.lost(now) && !mutated!(UncountedTouches);
        self.front_end.cut_off(lost);
    }

    fn tell_touches(&mut self, sessions: BTreeSet<SessionId>, now: Now) {
        let touches = &mut self.touches;
        // Whoever is not counted for so long has been dropped.
        let old = |sent: &Sent| sent.at_us + 2 * touches.lease_us < now.monotonic_us;
        while touches.sent.front().is_some_and(old) {
            touches.sent.pop_front();
        }
        touches.number += 1;
        let number = touches.number;
        touches.sent.push_back(Sent { number, at_us: now.monotonic_us, sessions });
        let all: BTreeSet<SessionId> =
            touches.sent.iter().flat_map(|sent| sent.sessions.iter().copied()).collect();
        if let Some(to) = self.rings[0].coordinator_hint() {
            let sessions = all.into_iter().collect();
            self.send(to, PeerMessage::Touches { number, sessions });
        }
    }

    /// Another server's sessions were heard: only ring 0's coordinator counts them.
    pub(super) fn count_touches(
        &mut self,
        from: ServerId,
        number: u64,
        sessions: &[SessionId],
        now: Now,
    ) {
        if self.rings[0].is_coordinator() {
            self.front_end.touch_sessions(sessions.iter().copied(), now);
            self.send(from, PeerMessage::Touched { number });
        }
    }

    /// When `touch` has something to do.
    pub(super) fn touch_deadline_us(&self) -> u64 {
        self.touches.due_us
    }
}
