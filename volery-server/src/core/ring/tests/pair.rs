//! Single events against one member of three: what seeds of the simulation once found.

use std::sync::Arc;

use volery_proto::command::Value;
use volery_proto::ids::{Ballot, Instance, RingId, ServerId, Slot};
use volery_proto::ring::decode_record;

use super::super::{Effect, Now, Proposed, RecoveredRing, Ring, RingConfig, RingMessage};
use super::alone::command;

const RING: RingId = RingId(0);
const LEADER: ServerId = ServerId(1);
const ME: ServerId = ServerId(2);
const BALLOT: Ballot = Ballot { round: 3, server: LEADER };

fn at(monotonic_us: u64) -> Now {
    Now { clock_us: Slot::EPOCH_UNIX_US + monotonic_us, monotonic_us }
}

fn config() -> RingConfig {
    RingConfig::new(RING, ME, vec![LEADER, ME, ServerId(3)])
}

fn accept(instance: u64) -> RingMessage {
    let commands = vec![command(instance, Default::default())];
    let value = Value { start: Slot(100 + instance), time_ms: 0, commands }.encode();
    let proposed = Proposed { instance: Instance(instance), ballot: BALLOT, value };
    RingMessage::Accept { proposed, path: Arc::from([LEADER, ME, ServerId(3)]) }
}

fn votes_sent(effects: &[Effect]) -> Vec<Vec<ServerId>> {
    let votes = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: RingMessage::Votes { votes, .. }, .. } => Some(votes.clone()),
        _ => None,
    });
    votes.collect()
}

/// Goal: an acceptor forwards at once, votes when its log is durable, and after a restart votes
/// again for what its log holds (seed 282 was stuck without).
#[test]
fn votes_when_durable_and_again_after_a_restart() {
    let mut ring = Ring::new(config(), RecoveredRing::new(RING)).expect("an empty log");
    let mut effects = Vec::new();
    ring.start(at(1), &mut effects);
    ring.handle_message(LEADER, accept(0), at(2), &mut effects);
    let forwarded = effects.iter().any(|effect| match effect {
        Effect::Send { to, message: RingMessage::Accept { .. }, .. } => *to == ServerId(3),
        _ => false,
    });
    assert!(forwarded && votes_sent(&effects).is_empty());
    let mut recovered = RecoveredRing::new(RING);
    let mut number = 0;
    for effect in &effects {
        if let Effect::Append { record, number: this } = effect {
            let body = decode_record(record.clone()).expect("a record").body.expect("a body");
            recovered.record(body).expect("a good record");
            number = *this;
        }
    }
    effects.clear();
    ring.durable(number, &mut effects);
    assert_eq!(votes_sent(&effects), vec![vec![ME]]);

    let mut ring = Ring::new(config(), recovered).expect("a good log");
    effects.clear();
    ring.start(at(1), &mut effects);
    ring.handle_message(LEADER, accept(0), at(2), &mut effects);
    assert_eq!(votes_sent(&effects), vec![vec![ME]]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Append { .. })));
}

/// Goal: two votes of three decide; the one that sees them says so, and delivers.
#[test]
fn a_majority_decides() {
    let mut ring = Ring::new(config(), RecoveredRing::new(RING)).expect("an empty log");
    let mut effects = Vec::new();
    ring.start(at(1), &mut effects);
    ring.handle_message(LEADER, accept(0), at(2), &mut effects);
    let votes = RingMessage::Votes {
        instance: Instance(0),
        ballot: BALLOT,
        votes: vec![LEADER],
        path: Arc::from([LEADER, ME, ServerId(3)]),
    };
    ring.handle_message(LEADER, votes, at(3), &mut effects);
    assert_eq!(ring.position(), Slot(0));
    effects.clear();
    ring.durable(1, &mut effects);
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message: RingMessage::Decision { .. }, .. } => Some(*to),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), vec![LEADER, ServerId(3)]);
    assert_eq!(ring.position(), Slot(100));
}

/// Goal: messages of strangers, and values that do not decode, change nothing.
#[test]
fn nonsense_is_dropped() {
    let mut ring = Ring::new(config(), RecoveredRing::new(RING)).expect("an empty log");
    let mut effects = Vec::new();
    ring.start(at(1), &mut effects);
    effects.clear();
    ring.handle_message(ServerId(9), accept(0), at(2), &mut effects);
    assert!(effects.is_empty());
    let proposed =
        Proposed { instance: Instance(0), ballot: BALLOT, value: b"\xff\xff"[..].into() };
    let path = Arc::from([LEADER, ME]);
    ring.handle_message(LEADER, RingMessage::Accept { proposed, path }, at(2), &mut effects);
    let far = Proposed { instance: Instance(u64::MAX), ballot: BALLOT, value: Default::default() };
    let path = Arc::from([]);
    ring.handle_message(LEADER, RingMessage::Accept { proposed: far, path }, at(2), &mut effects);
    let decision = RingMessage::Decision { instance: Instance(u64::MAX), ballot: BALLOT };
    ring.handle_message(LEADER, decision, at(2), &mut effects);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Append { .. } | Effect::Fatal(_))));
}

/// Goal: members of a new ring find out that there is nothing to remember, and that only: where
/// another has accepted anything, two empty directories of three are a loss.
#[test]
fn an_empty_directory_counts_as_new_only_if_all_agree() {
    for (end, votes) in [(0, true), (1, false)] {
        let mut recovered = RecoveredRing::new(RING);
        recovered.memory_new();
        let mut ring = Ring::new(config(), recovered).expect("an empty log");
        let mut effects = Vec::new();
        ring.start(at(1), &mut effects);
        let mut ballot = Ballot::default();
        for trial in [true, false] {
            let new = RingMessage::New { ballot, trial };
            ring.handle_message(ServerId(3), new, at(2), &mut effects);
            assert!(ring.is_memory_lost());
            effects.clear();
            let (promised, end) = (BALLOT.max(ballot), Instance(end));
            let knows = RingMessage::Rejoined { ballot, promised, end, trial };
            ring.handle_message(LEADER, knows, at(2), &mut effects);
            let asked = effects.iter().find_map(|effect| match effect {
                Effect::Send { message: RingMessage::Rejoin { ballot, .. }, .. } => Some(*ballot),
                _ => None,
            });
            assert_eq!(asked.is_some(), votes && trial);
            ballot = asked.unwrap_or_default();
        }
        assert_eq!(ring.is_memory_lost(), !votes);
    }
}

/// Goal: who suspects the coordinator a moment before the others do, and is not answered, asks
/// again before a silent coordinator would be given up.
#[test]
fn a_question_that_came_too_early_is_asked_again_soon() {
    let mut ring = Ring::new(config(), RecoveredRing::new(RING)).expect("an empty log");
    let mut effects = Vec::new();
    ring.start(at(0), &mut effects);
    let heartbeat = RingMessage::Heartbeat { ballot: BALLOT, decided: Instance(0) };
    ring.handle_message(LEADER, heartbeat, at(0), &mut effects);
    ring.suspect(LEADER, at(0), &mut effects);
    effects.clear();
    for ms in 0..config().election_us / 1000 {
        ring.tick(at(ms * 1000), &mut effects);
    }
    let asked = effects.iter().filter(|effect| match effect {
        Effect::Send { to, message: RingMessage::Prepare { trial, .. }, .. } => {
            *to == ServerId(3) && *trial
        }
        _ => false,
    });
    assert!(asked.count() >= 2);
}

/// Goal: a new ring whose servers all die as it founds itself goes on where it was. What the log
/// says of a member's return is durable before its first vote, so it counts, although the storage
/// still says that the directory was empty.
#[test]
fn a_member_that_has_returned_stays_whatever_the_storage_remembers() {
    let mut recovered = RecoveredRing::new(RING);
    recovered.memory_new();
    let mut ring = Ring::new(config(), recovered).expect("an empty log");
    let mut effects = Vec::new();
    ring.start(at(1), &mut effects);
    for ballot in [Ballot::default(), Ballot { round: 1, server: ME }] {
        for from in [LEADER, ServerId(3)] {
            let new = RingMessage::New { ballot, trial: ballot == Ballot::default() };
            ring.handle_message(from, new, at(2), &mut effects);
        }
    }
    assert!(!ring.is_memory_lost());
    for (records, lost) in [(0, true), (1, true), (2, false)] {
        let appends = effects.iter().filter_map(|effect| match effect {
            Effect::Append { record, .. } => Some(record.clone()),
            _ => None,
        });
        let mut recovered = RecoveredRing::new(RING);
        for record in appends.take(records) {
            let body = decode_record(record).expect("a record").body.expect("a body");
            recovered.record(body).expect("a good record");
        }
        recovered.memory_new();
        let again = Ring::new(config(), recovered).expect("a good log");
        assert_eq!(again.is_memory_lost(), lost, "{records} records");
    }
}
