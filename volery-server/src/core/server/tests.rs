//! What the machine does with replicas that are not equally far.

use volery_proto::command::{Command, CommandFlags, Operation, Origin};
use volery_proto::ids::{Ballot, PartitionId, SessionId, Slot};
use volery_proto::zk::{DeleteRequest, Request};

use super::*;
use crate::core::front_end::FrontEndConfig;
use crate::core::merge::skip::SkipPolicy;
use crate::core::oracle::PartitionMap;

const NOW: Now = Now { unix_us: Slot::EPOCH_UNIX_US + 1_000_000, monotonic_us: 0 };

pub(super) fn config(map: Arc<PartitionMap>) -> ServerConfig {
    ServerConfig {
        server: ServerId(1),
        map,
        front_end: FrontEndConfig {
            server: ServerId(1),
            min_timeout_ms: 100,
            max_timeout_ms: 1000,
            tick_ms: 10,
            digest_enabled: false,
            super_digest: None,
            flags: CommandFlags::default(),
            linearizable_reads: false,
            stale_us: 1_000_000,
            max_unsent: 1000,
            max_events: 1000,
        },
        skip: SkipPolicy::default(),
        window: 1,
        hash_seed: 7,
        snapshot_every: 1000,
        snapshots_kept: 3,
        reaper: ReaperConfig { interval_ms: 0, max: 0, never_used_ms: 0 },
        cluster: ClusterConfig::alone(ServerId(1)),
    }
}

/// A command at a border, which partitions 1 and 2 execute together.
fn command() -> Value {
    let request = Request::Delete(DeleteRequest { path: "/b".into(), version: -1 });
    let command = Command {
        origin: Origin { sequence: 1, ..Origin::default() },
        session: SessionId(0),
        epoch: Zxid::ZERO,
        identities: Arc::new([]),
        after: Zxid::ZERO,
        map_version: 1,
        flags: CommandFlags::default(),
        operation: Operation::Write(request),
    };
    Value { start: Slot(1), time_ms: 5, commands: vec![command] }
}

/// Goal: a replica that waits for what another has in its outbox goes on at once, even if nothing
/// else happens: the contribution that was pulled is cause enough for another pass.
#[test]
fn a_pulled_contribution_is_executed_without_another_input() {
    let map = Arc::new(PartitionMap::new(1, 2, &[], &[(PartitionId(2), "/b".into())]));
    let mut partitions = [1, 2].map(|id| Partition::new(PartitionId(id), map.clone(), 7));
    let command = Arc::new(command());
    let skip = Arc::new(Value { start: Slot(1), ..Value::default() });
    let mut given = Vec::new();
    for partition in &mut partitions {
        let own = partition.id().ring();
        partition.decided(RingId::GLOBAL, Instance(0), &command).expect("the first");
        partition.decided(own, Instance(0), &skip).expect("the first");
        partition.advance(&mut given).expect("no invariant breaks");
    }
    // Partition 2 is told what partition 1 contributed, and is done; partition 1 is told nothing.
    let [Output::Contribute { zxid, from, contribution, .. }, _] = &given[..] else {
        panic!("both contribute: {given:?}");
    };
    partitions[1].contribution(*zxid, *from, contribution.clone());
    partitions[1].advance(&mut Vec::new()).expect("no invariant breaks");
    assert_eq!(partitions[1].lacks().next(), None);
    assert_eq!(partitions[0].lacks().next(), Some((*zxid, vec![PartitionId(2)])));

    let rings = (0..=2).map(|ring| RecoveredRing::new(RingId(ring))).collect();
    let partitions = partitions.into_iter().collect();
    let recovered = Recovered { partitions, rings, ..Recovered::default() };
    let server = Server::recover(config(map), recovered, NOW).expect("it starts");
    assert_eq!(server.partitions()[0].lacks().next(), None);
    assert_eq!(server.position(), Zxid::through(Slot(1)));
}

/// Goal: messages of a dead coordinator that were still under way when its links broke do not bring
/// it back to life: the next one stands as soon as if there had been none.
#[test]
fn stragglers_of_a_dead_coordinator_do_not_delay_the_next_one() {
    let (me, dead) = (ServerId(2), ServerId(1));
    let map = Arc::new(PartitionMap::new(1, 1, &[], &[]));
    let cluster = ClusterConfig::of(vec![dead, me, ServerId(3)]);
    let (suspect_us, step_us) = (cluster.suspect_us, cluster.heartbeat_us / 10);
    let config = ServerConfig { server: me, cluster, ..config(map.clone()) };
    let recovered = Recovered {
        partitions: vec![Partition::new(PartitionId(1), map, 7)],
        rings: vec![RecoveredRing::new(RingId(0)), RecoveredRing::new(RingId(1))],
        ..Recovered::default()
    };
    let mut server = Server::recover(config, recovered, NOW).expect("it starts");
    let ballot = Ballot { round: 1, server: dead };
    let heartbeat = RingMessage::Heartbeat { ballot, decided: Instance(0) };
    let led = PeerMessage::Ring(RingId::GLOBAL, heartbeat.clone());
    server.handle(Input::Peer { from: dead, message: led }, NOW).expect("no invariant breaks");
    server.handle(Input::PeerDown { peer: dead }, NOW).expect("no invariant breaks");
    let late = PeerMessage::Ring(RingId::GLOBAL, heartbeat);
    server.handle(Input::Peer { from: dead, message: late }, NOW).expect("no invariant breaks");
    let stands = |effect: &Effect| {
        let Effect::Send { message: PeerMessage::Ring(ring, message), .. } = effect else {
            return false;
        };
        *ring == RingId::GLOBAL && matches!(message, RingMessage::Prepare { .. })
    };
    // First in line, it stands within a quarter of the time that a silent coordinator is given.
    let mut stood_us = None;
    for monotonic_us in (0..2 * suspect_us).step_by(step_us as usize) {
        let now = Now { unix_us: NOW.unix_us + monotonic_us, monotonic_us };
        if server.flush(now).expect("no invariant breaks").iter().any(stands) {
            stood_us.get_or_insert(monotonic_us);
        }
    }
    let stood_us = stood_us.expect("it stands");
    assert!(stood_us < suspect_us, "after {stood_us} µs");
}
