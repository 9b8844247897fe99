//! What a server asks for that is too far behind, and what it makes of the answers.

use volery_proto::command::{Command, CommandFlags, Operation, Origin, Value};
use volery_proto::ids::{PartitionId, SessionId, Slot};

use super::tests::config;
use super::*;
use crate::core::oracle::PartitionMap;
use crate::core::ring::Proposed;

const TWO: ServerId = ServerId(2);
const THREE: ServerId = ServerId(3);

/// Server 1 of three, with three partitions.
struct Behind {
    server: Server,
    now_us: u64,
}

impl Behind {
    fn new() -> Behind {
        let map = Arc::new(PartitionMap::new(1, 3, &[], &[]));
        let mut config = config(map.clone());
        config.cluster = ClusterConfig::of([1, 2, 3].map(ServerId).to_vec());
        let ids = [1, 2, 3].map(PartitionId);
        let partitions = ids.map(|id| Partition::new(id, map.clone(), 7)).into_iter().collect();
        let rings = (0..4).map(|ring| RecoveredRing::new(RingId(ring))).collect();
        let recovered = Recovered { partitions, rings, totals: ServerTotals::default() };
        let now = Now { unix_us: Slot::EPOCH_UNIX_US, monotonic_us: 0 };
        let server = Server::recover(config, recovered, now).expect("an empty log");
        Behind { server, now_us: 0 }
    }

    /// Time passes; what it asks whom for, and whether it starts anew.
    fn pass(&mut self, ms: u64) -> (Vec<(ServerId, Vec<u16>)>, bool) {
        self.now_us += ms * 1000;
        // The others live, or it would not matter whom it asks.
        for from in [TWO, THREE] {
            let message = PeerMessage::Touched { number: 0 };
            self.input(Input::Peer { from, message });
        }
        let (mut asked, mut anew) = (Vec::new(), false);
        for effect in self.server.flush(self.now()).expect("it works") {
            match effect {
                Effect::Send { to, message: PeerMessage::Fetch(partitions) } => {
                    asked.push((to, partitions.iter().map(|id| id.0).collect()));
                }
                Effect::Restart => anew = true,
                _ => {}
            }
        }
        (asked, anew)
    }

    fn now(&self) -> Now {
        Now { unix_us: Slot::EPOCH_UNIX_US + self.now_us, monotonic_us: self.now_us }
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.server.handle(input, now).expect("it works");
    }

    /// A server has forgotten what a ring lacks here.
    fn lacks(&mut self, ring: u16, from: ServerId) {
        let (base, decided) = (Instance(5000), Instance(9000));
        let message = RingMessage::Learned { values: Vec::new(), base, decided };
        self.input(Input::Peer { from, message: PeerMessage::Ring(RingId(ring), message) });
    }

    fn received(&mut self, partition: u16) {
        self.input(Input::SnapshotReceived { partition: PartitionId(partition) });
    }
}

fn nothing() -> (Vec<(ServerId, Vec<u16>)>, bool) {
    (Vec::new(), false)
}

#[test]
fn a_ring_that_lags_needs_the_snapshots_of_those_who_learn_from_it() {
    let mut behind = Behind::new();
    behind.lacks(2, THREE);
    assert_eq!(behind.pass(1), nothing(), "the other rings will say soon what they lack");
    assert_eq!(behind.pass(200), (vec![(THREE, vec![2])], false));
    behind.received(2);
    assert_eq!(behind.pass(1), (vec![], true));

    let mut behind = Behind::new();
    behind.lacks(0, TWO);
    behind.lacks(1, TWO);
    behind.pass(1);
    assert_eq!(behind.pass(200), (vec![(TWO, vec![1, 2, 3])], false));
    behind.received(3);
    behind.received(1);
    assert_eq!(behind.pass(2000), (vec![(TWO, vec![2])], false));
    behind.received(2);
    assert_eq!(behind.pass(1), (vec![], true));
}

#[test]
fn who_does_not_send_is_asked_twice_and_then_another_one() {
    let mut behind = Behind::new();
    let mut asked = Vec::new();
    for _ in 0..6 {
        behind.lacks(1, TWO);
        asked.extend(behind.pass(2000).0);
    }
    let whom: Vec<u8> = asked.iter().map(|(to, _)| to.0).collect();
    assert_eq!(whom, [2, 2, 3, 3, 2]);
}

/// The transfer takes an hour: nobody is asked as long as something arrives.
#[test]
fn while_a_snapshot_arrives_nobody_is_asked() {
    let mut behind = Behind::new();
    behind.lacks(1, TWO);
    behind.pass(1);
    assert_eq!(behind.pass(200).0, [(TWO, vec![1])]);
    for _ in 0..3600 {
        behind.input(Input::SnapshotsArriving { from: THREE });
        assert_eq!(behind.pass(1000), nothing());
        behind.lacks(1, TWO);
    }
    // It broke off: whoever sent it is asked for the rest.
    assert_eq!(behind.pass(2000).0, [(THREE, vec![1])]);
    // It was damaged: another one, after a pause.
    behind.input(Input::SnapshotsRefused { from: THREE });
    behind.lacks(1, TWO);
    assert_eq!(behind.pass(2000), nothing());
    assert_eq!(behind.pass(8000).0, [(TWO, vec![1])]);
}

/// A peer that was silent is back, and has in memory what is lacking.
#[test]
fn what_no_ring_lacks_any_more_is_not_asked_for_for_ever() {
    let mut behind = Behind::new();
    behind.lacks(1, TWO);
    behind.pass(1);
    let asked = (0..20).filter(|_| !behind.pass(2000).0.is_empty()).count();
    assert_eq!(asked, usize::from(transfer::ASKED_MAX));
    assert_eq!(behind.pass(60_000), nothing());
}

/// Of two servers one has forgotten what is lacking here, and the other one has it in its log. The
/// snapshot that the first one sends arrives when nobody needs it any more.
#[test]
fn who_comes_further_without_a_snapshot_does_not_start_anew() {
    let begin = |rings: &[u16]| {
        let mut behind = Behind::new();
        rings.iter().for_each(|ring| behind.lacks(*ring, TWO));
        behind.pass(1);
        assert_eq!(behind.pass(200).0, [(TWO, rings.to_vec())]);
        for (ring, value) in [(0, command(6)), (1, command(5))] {
            behind.server.partitions[0].decided(RingId(ring), Instance(0), &value).expect("next");
        }
        behind.server.partitions[0].advance(&mut Vec::new()).expect("it works");
        behind
    };
    let mut behind = begin(&[1]);
    behind.received(1);
    assert_eq!(behind.pass(2000), nothing());
    // The other one still needs its own, and waits for nothing else.
    let mut behind = begin(&[1, 2]);
    behind.received(2);
    assert!(behind.pass(1).1);
}

/// The next ones would take its place before the other server has all of it, and what follows on it
/// would go from the log; but a server that never comes to an end holds up nothing for ever.
#[test]
fn while_a_snapshot_is_sent_the_next_ones_wait_within_bounds() {
    let begin = |commands: u64, sending: bool, ms: u64| {
        let mut behind = Behind::new();
        let every = behind.server.config.snapshot_every;
        for n in 0..commands * every {
            behind.server.partitions[0].decided(RingId(1), Instance(n), &command(n)).expect("next");
        }
        let skip = Value { start: Slot(1 << 40), ..Value::default() };
        let global = Instance(0);
        behind.server.partitions[0].decided(RingId(0), global, &skip.into()).expect("next");
        behind.server.partitions[0].advance(&mut Vec::new()).expect("it works");
        if sending {
            behind.input(Input::SnapshotsSending);
        }
        behind.pass(ms);
        behind
    };
    let due = |commands, sending, ms| begin(commands, sending, ms).server.snapshot_due();
    assert!(!due(0, false, 1) && due(1, false, 1));
    assert!(!due(1, true, 1) && !due(15, true, 50_000), "it may start anew and go on");
    assert!(due(1, true, 60_000), "nothing was asked for in a minute");
    assert!(due(16, true, 1), "this is as much as a start is to replay");
    let mut behind = begin(1, true, 1);
    behind.input(Input::SnapshotSent);
    assert!(behind.server.snapshot_due(), "should it not suffice, the next one is needed");
}

/// A command that its partition passes over.
fn command(slot: u64) -> Arc<Value> {
    let command = Command {
        origin: Origin { sequence: 5, ..Origin::default() },
        session: SessionId(0),
        epoch: Zxid::ZERO,
        identities: Arc::new([]),
        after: Zxid::ZERO,
        map_version: 1,
        flags: CommandFlags::default(),
        operation: Operation::CloseSession,
    };
    Arc::new(Value { start: Slot(slot + 1), time_ms: 5, commands: vec![command] })
}

/// A snapshot helps only with what is behind it. Where the log does not have that, one that is
/// older than memory would be sent again and again.
#[test]
fn after_the_log_has_failed_only_memory_counts_until_there_are_new_snapshots() {
    let mut behind = Behind::new();
    assert!(!behind.server.transfer.log_failed);
    behind.input(Input::LogRead { ring: RingId(1), to: TWO, values: Vec::new() });
    assert!(behind.server.transfer.log_failed);
    let partitions = vec![PartitionId(2)];
    behind.input(Input::Peer { from: TWO, message: PeerMessage::Fetch(partitions.clone()) });
    let mut sent = Vec::new();
    for _ in 0..100 {
        let mut effects = behind.server.flush(behind.now()).expect("it works");
        effects.extend(behind.server.snapshot_step().expect("it works"));
        for effect in effects {
            match effect {
                Effect::SnapshotFinish { partition } => {
                    behind.input(Input::SnapshotDurable { partition });
                }
                Effect::SendSnapshots { to, partitions } => sent.push((to, partitions)),
                _ => {}
            }
        }
        if !sent.is_empty() {
            break;
        }
    }
    assert_eq!(sent, [(TWO, partitions)]);
    assert!(!behind.server.transfer.log_failed);
}

#[test]
fn the_log_is_read_once_at_a_time_for_each_server_and_ring() {
    let mut behind = Behind::new();
    let read = |behind: &mut Behind, ring: u16, to: ServerId| {
        behind.server.read_log(RingId(ring), to, Instance(3));
        let effects = behind.server.flush(behind.now()).expect("it works");
        effects.iter().filter(|effect| matches!(effect, Effect::ReadLog { .. })).count()
    };
    assert_eq!((read(&mut behind, 1, TWO), read(&mut behind, 1, TWO)), (1, 0));
    assert_eq!((read(&mut behind, 1, THREE), read(&mut behind, 2, TWO)), (1, 1));
    let value = Value::default().encode();
    let values = vec![Proposed { instance: Instance(3), ballot: Default::default(), value }];
    behind.input(Input::LogRead { ring: RingId(1), to: TWO, values: values.clone() });
    let effects = behind.server.flush(behind.now()).expect("it works");
    let told = effects.into_iter().find_map(|effect| match effect {
        Effect::Send { to: TWO, message: PeerMessage::Ring(RingId(1), message) } => Some(message),
        _ => None,
    });
    let (base, decided) = (Instance(0), Instance(0));
    assert_eq!(told, Some(RingMessage::Learned { values, base, decided }));
    assert_eq!(read(&mut behind, 1, TWO), 1);
}
