//! Goal: a front end goes under the hello of its own start, however often and late hellos are
//! decided (what executors make of them is tested in the executor's world); linearizable reads
//! that wait in the same turn share a barrier, those that come later do not.

use volery_proto::ids::{PartitionId, Slot};
use volery_proto::zk::{ConnectRequest, OpCode, Request, WatchedPathRequest};

use super::*;
use crate::core::executor::{CommandOutcome, Partition};
use crate::core::merge::skip::{Demands, SkipPolicy};
use crate::core::oracle::PartitionMap;

const NOW: Now = Now { unix_us: 5_000_000, monotonic_us: 0 };

fn front_end() -> FrontEnd {
    let config = FrontEndConfig {
        server: ServerId(3),
        min_timeout_ms: 1000,
        max_timeout_ms: 10_000,
        tick_ms: 1000,
        digest_enabled: false,
        super_digest: None,
        flags: CommandFlags::default(),
        linearizable_reads: false,
        stale_us: 1 << 40,
        max_unsent: 1,
        max_events: 1,
    };
    FrontEnd::new(config, 3, 1)
}

fn hello(front_end: &mut FrontEnd) -> Origin {
    let proposals = front_end.take_proposals();
    let [(RingId::GLOBAL, command)] = &proposals[..] else { panic!("{proposals:?}") };
    assert_eq!(command.operation, Operation::Hello);
    command.origin
}

#[test]
fn a_front_end_goes_under_the_hello_of_its_own_start() {
    let mut front_end = front_end();
    front_end.begin(7, NOW);
    let own = hello(&mut front_end);
    assert_eq!(own.sequence, NOW.unix_us, "above the last start that is known");
    // An earlier start's, decided late: executors take it, and ours after it.
    front_end.hello_executed(Origin { sequence: 8, ..own }, Zxid(100), NOW);
    assert_eq!(front_end.incarnation(), None);
    // One whose clock was ahead: executors pass ours over, so there is another one.
    let ahead = Origin { sequence: NOW.unix_us + 10, ..own };
    front_end.hello_executed(ahead, Zxid(200), NOW);
    front_end.hello_executed(ahead, Zxid(200), NOW);
    let again = hello(&mut front_end);
    assert!(again.sequence > ahead.sequence);
    front_end.hello_executed(again, Zxid(300), NOW);
    front_end.hello_executed(again, Zxid(400), NOW);
    assert_eq!(front_end.incarnation(), Some(Zxid(300)), "the first decision counts");
    assert!(front_end.take_proposals().is_empty());
}

/// What is proposed once everything has settled.
fn settled(front_end: &mut FrontEnd) -> Vec<(RingId, Command)> {
    let map = Arc::new(PartitionMap::new(1, 2, &[], &[]));
    let partition = |id| Partition::new(PartitionId(id), map.clone(), 1);
    let mut partitions = [partition(1), partition(2)];
    let mut demands = Demands::new(SkipPolicy::default(), 2);
    let mut attachments = Attachments::default();
    let mut replicas = Replicas::new(&mut partitions, &mut attachments, &map, &mut demands);
    front_end.settle(&mut replicas, NOW);
    front_end.take_proposals()
}

#[test]
fn linearizable_reads_share_the_barrier_of_their_turn() {
    let mut front_end = front_end();
    front_end.config.linearizable_reads = true;
    front_end.config.max_unsent = 1 << 20;
    front_end.begin(0, NOW);
    let own = hello(&mut front_end);
    front_end.hello_executed(own, Zxid(1 << 10), NOW);
    front_end.level = None;
    let conns = [ConnId(1), ConnId(2)];
    for (conn, session) in conns.into_iter().zip(1..) {
        front_end.opened(conn, "127.0.0.1:1".parse().unwrap(), NOW);
        let handshake = Handshake { request: ConnectRequest::default(), entropy: [0; 16] };
        front_end.handshake(conn, handshake, Zxid::through(Slot::MAX), NOW);
        let (_, command) = settled(&mut front_end).pop().unwrap();
        let outcome = CommandOutcome::SessionOpened(SessionId(session));
        front_end.executed(command.origin, RingId::GLOBAL, Zxid(2 << 10), outcome);
    }
    let read = |front_end: &mut FrontEnd, conn, watch| {
        let request = Request::Exists(WatchedPathRequest { path: "/a".into(), watch });
        let opcode = OpCode::Exists as i32;
        front_end.requests(conn, vec![Received { xid: 1, opcode, body: Ok(request) }], NOW);
    };
    read(&mut front_end, conns[0], false);
    read(&mut front_end, conns[0], true);
    read(&mut front_end, conns[1], false);
    let barriers = settled(&mut front_end);
    let [(RingId::GLOBAL, barrier)] = &barriers[..] else { panic!("{barriers:?}") };
    assert!(matches!(barrier.operation, Operation::Sync(_)));
    assert!(settled(&mut front_end).is_empty(), "one is on its way");
    // This one comes when the barrier may be ordered already.
    read(&mut front_end, conns[1], false);
    let synced = CommandOutcome::Synced(bytes::Bytes::new());
    front_end.executed(barrier.origin, RingId::GLOBAL, Zxid(3 << 10), synced);
    assert!(settled(&mut front_end).is_empty(), "the reads wait for their replica");
    assert!(front_end.connections.values().all(|c| c.frontier == Zxid(3 << 10) && c.reading));
    let barrier = front_end.connections[&conns[1]].barrier;
    assert!(!front_end.connections[&conns[0]].queue.is_empty());
    assert_eq!(
        format!("{barrier:?}"),
        "Barrier { had: 1, asked: 1 }",
        "the last one needs another"
    );
}
