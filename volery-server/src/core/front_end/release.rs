//! What may a client be told, and in which order? Replies in the order of their requests, events
//! by zxid between them, nothing before every partition that could still have something older
//! for this session is executed through it. DESIGN section 7, "release rule".

use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{OpCode, ReplyHeader};

use super::connection::{Connection, Phase, State};
use super::serve::write_event;
use super::stale::Stale;
use super::{CloseReason, FrontEnd, Replicas, order};
use crate::core::mutation::mutated;
use crate::core::oracle::Destination;
use crate::core::types::{ConnId, Now};

/// A reply waits this long at most for the clock to pass its slot, in microseconds: slots that
/// once ran ahead must not slow the service down.
const CLOCK_WAIT_US: u64 = 5000;

/// A frame's length before it does not count as a part of it.
const FRAME_LENGTH: usize = 4;

/// What stops a message.
enum Held {
    /// It goes out, and the told position rises to this at most.
    No(Zxid),
    /// A replica is behind; the demand for it is made.
    Replica,
    /// Until this clock time (slot).
    Clock(u64),
}

impl Connection {
    /// Whether a message with `zxid` may go out.
    fn held(
        &mut self,
        (zxid, by_clock): (Zxid, bool),
        replicas: &mut Replicas<'_>,
        stale: &mut Stale,
        now: Now,
    ) -> Held {
        let ahead = zxid.slot().0.saturating_sub(now.slot().0);
        if by_clock && ahead > 0 && ahead <= CLOCK_WAIT_US {
            return Held::Clock(ahead);
        }
        if zxid <= replicas.least_position() || mutated!(NoReleaseRule) {
            return Held::No(zxid);
        }
        let conn = self.id;
        self.watched.retain(|partition| replicas.may_hold(*partition, conn));
        let mut behind = Vec::new();
        for partition in &self.watched {
            if replicas.position(*partition) < zxid {
                behind.push(*partition);
            }
        }
        let begun = if mutated!(OutstandingForgotten) { 0 } else { self.begun };
        for item in self.queue.iter().take(begun) {
            // Its result is known once anything here is past it; what happens elsewhere may be
            // known before.
            if item.barrier && matches!(item.state, State::Ordered) {
                behind.extend(replicas.ahead_here().filter(|(_, at)| *at < zxid).map(|(id, _)| id));
            }
            // An answered command has no result below it that is still to come, whatever other
            // commands are set aside where it ran; but a closing is answered once all have it.
            let done = matches!(item.state, State::Done(_));
            let is_behind = |p: &PartitionId| match done {
                true => replicas.is_reached(*p) && replicas.delivered(*p) < zxid,
                false => replicas.position(*p) < zxid,
            };
            match &item.destination {
                None => {}
                Some(Destination::One(p)) => behind.extend(Some(*p).filter(is_behind)),
                Some(Destination::Several(several)) => {
                    behind.extend(several.iter().copied().filter(is_behind));
                }
                Some(Destination::All) => {
                    let reached = replicas.map().partitions().filter(|p| replicas.is_reached(*p));
                    behind.extend(reached.filter(is_behind));
                }
            }
        }
        for partition in &behind {
            replicas.wait_for(*partition, zxid);
            stale.wanted(*partition);
        }
        if behind.iter().any(|partition| !stale.stays_behind(*partition)) {
            return Held::Replica;
        }
        // What is behind has told everything up to where it is: that much may be said, so that
        // whoever comes back with it finds every event (ATTACKS row 24).
        let told = behind.iter().map(|partition| replicas.position(*partition));
        Held::No(told.fold(zxid, if mutated!(ToldNotHeld) { Zxid::max } else { Zxid::min }))
    }

    /// The zxid of the next message, whether it is an event, and whether the clock may hold it.
    fn next_message(&self) -> Option<(Zxid, bool, bool)> {
        let reply = match self.queue.front().map(|item| &item.state) {
            Some(State::Done(reply)) => Some((reply.zxid, reply.by_clock)),
            _ => None,
        };
        let event = self.events.first_key_value().map(|(key, _)| key.zxid);
        match (event, reply) {
            // Events of one zxid go before the reply: the writer hears of its own write first.
            (Some(event), Some((zxid, by_clock)))
                if event > zxid || mutated!(EventsAfterReplies) =>
            {
                Some((zxid, false, by_clock))
            }
            (Some(event), _) => Some((event, true, false)),
            (None, Some((zxid, by_clock))) => Some((zxid, false, by_clock)),
            (None, None) => None,
        }
    }

    /// Returns its bytes.
    fn send_event(&mut self) -> u64 {
        let Some((key, event)) = self.events.pop_first() else { return 0 };
        let before = self.out.len() + FRAME_LENGTH;
        self.observe(key.zxid);
        let mut w = Writer::append_to(std::mem::take(&mut self.out));
        write_event(&mut w, key.zxid.as_i64(), &event.to_wire(&key.path));
        self.out = w.into_inner();
        self.stats.sent += 1;
        (self.out.len() - before) as u64
    }
}

impl FrontEnd {
    /// Writes out everything that a client may be told by now.
    pub(super) fn release(&mut self, conn: ConnId, replicas: &mut Replicas<'_>, now: Now) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        while connection.phase == Phase::Open {
            let Some((zxid, is_event, by_clock)) = connection.next_message() else { return };
            if is_event && connection.holds_events() {
                return;
            }
            let message = (zxid, by_clock);
            let told = match connection.held(message, replicas, &mut self.stale, now) {
                Held::No(told) => told,
                Held::Replica => {
                    self.blocked.push(conn);
                    return;
                }
                Held::Clock(ahead) => {
                    let at = now.monotonic_us + ahead;
                    let deadline = self.clock_deadline_us.get_or_insert(at);
                    *deadline = (*deadline).min(at);
                    self.blocked.push(conn);
                    return;
                }
            };
            if is_event {
                self.totals.watch_bytes += connection.send_event();
                self.counters.sent += 1;
                continue;
            }
            let Some(item) = connection.queue.pop_front() else { return };
            connection.first += 1;
            connection.begun -= 1;
            let State::Done(reply) = item.state else { return };
            connection.told = connection.told.max(told);
            let zxid = if reply.hide_zxid { 0 } else { connection.told.as_i64() };
            let before = connection.out.len() + reply.before.len() + FRAME_LENGTH;
            let mut w = Writer::append_to(std::mem::take(&mut connection.out));
            // ZooKeeper hard-wires the ping's xid; every client sends it that way.
            w.raw(&reply.before);
            w.frame(|w| {
                ReplyHeader { xid: item.xid, zxid, err: reply.err }.write(w);
                w.raw(&reply.body);
            });
            connection.out = w.into_inner();
            let bytes = (connection.out.len() - before) as u64;
            connection.replies += 1;
            let latency = now.monotonic_us.saturating_sub(item.arrived_us);
            let stats = &mut connection.stats;
            stats.sent += 1;
            stats.last_opcode = Some(item.opcode);
            stats.last_xid = i64::from(item.xid);
            stats.last_zxid = reply.zxid;
            stats.last_reply_us = now.monotonic_us;
            stats.latency(latency);
            self.counters.sent += 1;
            self.counters.outstanding -= 1;
            self.counters.latency.latency(latency);
            self.counters.responses.record(bytes);
            self.totals.response_bytes += bytes;
            self.latencies.push((order::is_update(item.opcode), latency));
            if reply.close {
                let asked = item.opcode == OpCode::CloseSession as i32;
                let reason = if asked { CloseReason::Asked } else { CloseReason::Refused };
                return self.close(conn, reason);
            }
        }
    }
}
