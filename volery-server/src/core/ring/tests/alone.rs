//! A ring of one member: propose, append, durable, decide; recovery; trim.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::{Command, CommandFlags, Operation, Origin, Value};
use volery_proto::ids::{Instance, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::ring::decode_record;

use super::super::{Effect, Now, RecoveredRing, Ring, RingConfig};

const ME: ServerId = ServerId(1);
const SECOND: u64 = 1_000_000;

fn at(seconds: u64) -> Now {
    Now { clock_us: Slot::EPOCH_UNIX_US + seconds * SECOND, monotonic_us: seconds * SECOND }
}

pub(super) fn command(sequence: u64, after: Zxid) -> Command {
    Command {
        origin: Origin { server: ME, incarnation: Zxid(1), sequence },
        session: SessionId(7),
        epoch: Zxid(1),
        identities: Arc::from([]),
        after,
        map_version: 1,
        flags: CommandFlags::default(),
        operation: Operation::Noop,
    }
}

fn commands(sequences: std::ops::Range<u64>) -> Vec<Command> {
    sequences.map(|sequence| command(sequence, Zxid::ZERO)).collect()
}

/// A ring with its log: what was appended, and how much of it is synced.
struct World {
    ring: Ring,
    log: Vec<Bytes>,
    decided: Vec<(Instance, Slot, Arc<Value>)>,
}

impl World {
    fn new(log: Vec<Bytes>, cursor: Option<(Instance, Slot)>, window: usize) -> World {
        let mut recovered = RecoveredRing::new(RingId(1));
        for record in &log {
            let body = decode_record(record.clone()).expect("a record").body.expect("a body");
            recovered.record(body).expect("a good record");
        }
        let mut config = RingConfig::new(RingId(1), ME, vec![ME]);
        config.window = window;
        let mut ring = Ring::new(config, recovered).expect("a good log");
        if let Some((instance, position)) = cursor {
            ring.start_at(instance, position).expect("a good cursor");
        }
        let mut world = World { ring, log, decided: Vec::new() };
        let mut effects = Vec::new();
        world.ring.start(at(0), &mut effects);
        world.take(effects);
        world
    }

    fn take(&mut self, effects: Vec<Effect>) -> u64 {
        let mut last = 0;
        for effect in effects {
            match effect {
                Effect::Append { record, number } => {
                    self.log.push(record);
                    last = number;
                }
                Effect::Decided { instance, position, value } => {
                    self.decided.push((instance, position, value));
                }
                Effect::BecameCoordinator { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        last
    }

    fn flush(&mut self, now: Now) -> u64 {
        let mut effects = Vec::new();
        self.ring.flush(now, &mut effects);
        self.take(effects)
    }

    fn durable(&mut self, number: u64) {
        let mut effects = Vec::new();
        self.ring.durable(number, &mut effects);
        self.take(effects);
    }

    fn one(&mut self, sequence: u64, seconds: u64) {
        assert!(self.ring.propose(commands(sequence..sequence + 1)));
        let number = self.flush(at(seconds));
        self.durable(number);
    }
}

/// Goal: nothing is decided before its append is durable; then all of it is, in order.
#[test]
fn decides_what_is_durable() {
    let mut w = World::new(Vec::new(), None, 8);
    assert!(w.ring.is_coordinator());
    assert!(w.ring.propose(commands(1..4)));
    let number = w.flush(at(5));
    assert_eq!(w.ring.in_flight(), 1);
    assert!(w.decided.is_empty());
    assert_eq!(w.ring.proposed_position(), Slot(5 * SECOND + 2));
    w.durable(number - 1);
    assert!(w.decided.is_empty());
    w.durable(number);
    assert_eq!(w.decided.len(), 1);
    let (instance, position, value) = &w.decided[0];
    assert_eq!((*instance, *position), (Instance(0), Slot(0)));
    assert_eq!(value.start, Slot(5 * SECOND));
    assert_eq!(value.commands, commands(1..4));
    assert_eq!(w.ring.position(), Slot(5 * SECOND + 2));
    assert_eq!(w.ring.in_flight(), 0);
}

/// Goal: the start is above the clock, the position and every `after`.
#[test]
fn start_is_above_everything() {
    let mut w = World::new(Vec::new(), None, 8);
    w.one(1, 5);
    w.ring.propose(commands(2..3));
    w.flush(at(4)); // The clock jumped back.
    assert_eq!(w.ring.proposed_position(), Slot(5 * SECOND + 1));
    let after = Zxid::new(Slot(9 * SECOND), RingId(3));
    w.ring.propose(vec![command(3, Zxid::ZERO), command(4, after)]);
    w.flush(at(6));
    assert_eq!(w.ring.proposed_position(), Slot(9 * SECOND + 2));
}

/// Goal: the window bounds what is in flight, and nothing that waits is lost.
#[test]
fn window_holds_back() {
    let mut w = World::new(Vec::new(), None, 2);
    w.ring.propose(commands(1..2));
    w.flush(at(1));
    w.ring.propose(commands(2..3));
    let second = w.flush(at(1));
    w.ring.propose(commands(3..4));
    w.ring.propose(commands(4..5));
    w.flush(at(1));
    assert!(w.ring.has_waiting() && !w.ring.can_propose());
    w.durable(second);
    let third = w.flush(at(2));
    assert!(!w.ring.has_waiting());
    w.durable(third);
    let all: Vec<_> = w.decided.iter().flat_map(|(.., value)| value.commands.clone()).collect();
    assert_eq!(all, commands(1..5));
    assert_eq!(w.decided.len(), 3);
}

/// Goal: a demand becomes one skip, and one that is already passed none.
#[test]
fn skips_on_demand() {
    let mut w = World::new(Vec::new(), None, 8);
    w.ring.request_skip(Slot(3 * SECOND));
    let first = w.flush(at(1));
    assert_eq!(w.ring.proposed_position(), Slot(3 * SECOND));
    w.ring.request_skip(Slot(4 * SECOND));
    assert_eq!(w.flush(at(1)), 0, "one skip in flight");
    w.durable(first);
    let second = w.flush(at(1));
    w.durable(second);
    assert_eq!(w.ring.position(), Slot(4 * SECOND));
    w.ring.request_skip(Slot(SECOND));
    assert_eq!(w.flush(at(1)), 0);
    w.one(1, 1);
    assert_eq!(w.ring.position(), Slot(4 * SECOND + 1));
}

/// Goal: any prefix of the log that a crash leaves recovers to a prefix of what was decided, and
/// every record that was durable is delivered again.
#[test]
fn recovers_any_prefix() {
    let mut w = World::new(Vec::new(), None, 8);
    for sequence in 1..10 {
        w.one(sequence, sequence);
    }
    for length in 0..=w.log.len() {
        let r = World::new(w.log[..length].to_vec(), None, 8);
        assert_eq!(r.decided[..], w.decided[..length.saturating_sub(1)]);
        assert!(length == 0 || r.ring.promised() > w.ring.promised());
    }
}

/// Goal: a snapshot's cursor is where delivery begins, and a wrong one is refused.
#[test]
fn starts_at_a_cursor() {
    let mut w = World::new(Vec::new(), None, 8);
    for sequence in 1..10 {
        w.one(sequence, sequence);
    }
    let cursor = (w.decided[4].0, w.decided[4].1);
    let mut r = World::new(w.log.clone(), Some(cursor), 8);
    assert_eq!(r.decided[..], w.decided[4..]);
    r.one(10, 1);
    assert_eq!(r.ring.position(), Slot(9 * SECOND + 1));
    let mut recovered = RecoveredRing::new(RingId(1));
    for record in &w.log {
        recovered
            .record(decode_record(record.clone()).expect("good").body.expect("good"))
            .expect("good");
    }
    let mut ring = Ring::new(RingConfig::new(RingId(1), ME, vec![ME]), recovered).expect("good");
    assert!(ring.start_at(cursor.0, Slot(cursor.1.0 + 1)).is_err());
}

/// Goal: after a trim the checkpoint records and the rest of the log are enough.
#[test]
fn recovers_after_a_trim() {
    let mut w = World::new(Vec::new(), None, 8);
    for sequence in 1..10 {
        w.one(sequence, sequence);
    }
    let (instance, position, _) = w.decided[6].clone();
    assert!(w.ring.trim(Instance(10), Slot(1)).is_err());
    w.ring.trim(instance, position).expect("good");
    let promised = w.ring.promised();
    w.log.extend(w.ring.checkpoint_records());
    w.one(10, 10);
    for purged in 0..8 {
        let mut r = World::new(w.log[purged..].to_vec(), Some((instance, position)), 8);
        assert_eq!(r.decided[..], w.decided[6..]);
        assert!(r.ring.promised() > promised);
        r.one(11, 11);
        assert_eq!(r.ring.position(), Slot(11 * SECOND));
    }
}

/// Goal: memory is bounded without a trim.
#[test]
fn memory_is_bounded() {
    let mut w = World::new(Vec::new(), None, 8);
    for sequence in 1..1000 {
        w.one(sequence, sequence);
    }
    assert!(w.ring.store.end().0 - w.ring.store.base().0 <= 64);
    assert_eq!(w.decided.len(), 999);
}
