//! Liveness of sessions, as ring 0's coordinator tracks it: who was not heard for its time-out.
//! Not replicated: a new coordinator gives every session a full fresh time-out. It only names
//! the sessions; the closing is a command. Called by the front end, which asks it for names only
//! where its server coordinates ring 0. ZooKeeper's ExpiryQueue.

use std::collections::{BTreeMap, BTreeSet};

use volery_proto::ids::{SessionId, Zxid};

use crate::core::mutation::mutated;

/// What is known of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its epoch: the closing carries it.
    pub epoch: Zxid,
    /// Negotiated time-out.
    pub timeout_ms: u32,
    /// When it expires, monotonic milliseconds.
    pub deadline_ms: u64,
    /// Under which deadline it is queued; an earlier one is corrected when it comes up.
    queued_ms: u64,
}

/// The sessions and their deadlines.
#[derive(Debug)]
pub struct Expiry {
    /// Deadlines are rounded up to this, as ZooKeeper's buckets are.
    tick_ms: u64,
    /// What it may take until a client that was heard elsewhere is known here to be.
    grace_ms: u64,
    sessions: BTreeMap<SessionId, Tracked>,
    queue: BTreeSet<(u64, SessionId)>,
}

impl Expiry {
    /// No session yet; `tick_ms` is the width of a bucket.
    #[must_use]
    pub fn new(tick_ms: u64) -> Expiry {
        let tick_ms = tick_ms.max(1);
        Expiry { tick_ms, grace_ms: 0, sessions: BTreeMap::new(), queue: BTreeSet::new() }
    }

    /// Clients are heard elsewhere too, and it may take so long until that is known.
    pub fn allow(&mut self, grace_ms: u64) {
        self.grace_ms = grace_ms;
    }

    fn deadline(&self, now_ms: u64, timeout_ms: u32) -> u64 {
        let timeout_ms = if mutated!(ExpiresEarly) { timeout_ms / 4 } else { timeout_ms };
        (now_ms + u64::from(timeout_ms) + self.grace_ms).next_multiple_of(self.tick_ms)
    }

    /// A session was opened or re-opened.
    pub fn track(&mut self, id: SessionId, epoch: Zxid, timeout_ms: u32, now_ms: u64) {
        self.forget(id);
        let deadline_ms = self.deadline(now_ms, timeout_ms);
        self.queue.insert((deadline_ms, id));
        let tracked = Tracked { epoch, timeout_ms, deadline_ms, queued_ms: deadline_ms };
        self.sessions.insert(id, tracked);
    }

    /// Its client was heard.
    pub fn touch(&mut self, id: SessionId, now_ms: u64) {
        let Some(timeout_ms) = self.sessions.get(&id).map(|tracked| tracked.timeout_ms) else {
            return;
        };
        let deadline_ms = self.deadline(now_ms, timeout_ms);
        if let Some(tracked) = self.sessions.get_mut(&id) {
            tracked.deadline_ms = deadline_ms;
        }
    }

    /// Every session gets a full fresh time-out: whoever counted before may have heard more.
    pub fn refresh(&mut self, now_ms: u64) {
        if mutated!(StaleSessions) {
            return;
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.touch(id, now_ms);
        }
    }

    /// It ended.
    pub fn forget(&mut self, id: SessionId) {
        if let Some(tracked) = self.sessions.remove(&id) {
            self.queue.remove(&(tracked.queued_ms, id));
        }
    }

    /// The sessions whose time is over. Each is named again a tick later until it is forgotten:
    /// the closing may have been lost.
    pub fn expired(&mut self, now_ms: u64) -> Vec<(SessionId, Zxid)> {
        let mut expired = Vec::new();
        while let Some(&(at, id)) = self.queue.first().filter(|(at, _)| *at <= now_ms) {
            self.queue.remove(&(at, id));
            // Queued sessions are tracked: forget() removes both.
            let Some(tracked) = self.sessions.get_mut(&id) else { continue };
            if tracked.deadline_ms <= now_ms {
                expired.push((id, tracked.epoch));
                tracked.queued_ms = now_ms + self.tick_ms.max(1000);
            } else {
                tracked.queued_ms = tracked.deadline_ms;
            }
            self.queue.insert((tracked.queued_ms, id));
        }
        expired
    }

    /// When to look again, monotonic milliseconds.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// What is known of a session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Tracked> {
        self.sessions.get(&id)
    }

    /// All sessions by deadline bucket, for `dump`.
    #[must_use]
    pub fn buckets(&self) -> BTreeMap<u64, Vec<SessionId>> {
        let mut buckets: BTreeMap<u64, Vec<SessionId>> = BTreeMap::new();
        for (id, tracked) in &self.sessions {
            buckets.entry(tracked.deadline_ms).or_default().push(*id);
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_session_lives_and_a_silent_one_expires_within_a_tick() {
        let mut expiry = Expiry::new(100);
        let (a, b) = (SessionId(1), SessionId(2));
        expiry.track(a, Zxid(10), 1000, 0);
        expiry.track(b, Zxid(11), 1000, 0);
        expiry.touch(b, 950);
        assert_eq!(expiry.expired(999), []);
        assert_eq!(expiry.expired(1000), [(a, Zxid(10))]);
        expiry.forget(a);
        assert_eq!(expiry.expired(1999), []);
        assert_eq!(expiry.expired(2000), [(b, Zxid(11))]);
        assert_eq!(expiry.expired(2000), [], "named once");
        assert_eq!(expiry.expired(9000), [(b, Zxid(11))], "and again while it is not forgotten");
    }
}
