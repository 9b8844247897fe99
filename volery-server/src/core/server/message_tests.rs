//! What servers say to each other is read as it was said, and nonsense is refused. Whole servers
//! are tested by the simulation.

#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::prelude::*;
use volery_proto::command::{Command, CommandFlags, Operation, Origin};
use volery_proto::ids::{Ballot, Instance, PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::peer;
use volery_proto::wire::{self, peer_message::Body};
use volery_proto::zk::{DeleteRequest, Id, Request};

use super::{Lane, PeerMessage};
use crate::core::merge::Cursor;
use crate::core::ring::{Promise, Proposed, RingMessage};

fn ring() -> impl Strategy<Value = RingId> {
    (0..RingId::COUNT).prop_map(RingId)
}

fn partition() -> impl Strategy<Value = PartitionId> {
    (1..RingId::COUNT).prop_map(PartitionId)
}

fn slot() -> impl Strategy<Value = Slot> {
    (0..=Slot::MAX.0).prop_map(Slot)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (any::<u32>(), any::<u8>()).prop_map(|(round, s)| Ballot { round, server: ServerId(s) })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn proposed() -> impl Strategy<Value = Proposed> {
    (any::<u64>(), ballot(), bytes()).prop_map(|(i, ballot, value)| Proposed {
        instance: Instance(i),
        ballot,
        value,
    })
}

fn ring_message() -> impl Strategy<Value = RingMessage> {
    let path = || vec(any::<u8>().prop_map(ServerId), 0..6);
    let promise = (ballot(), any::<bool>(), any::<u64>(), slot(), vec(proposed(), 0..3), ballot());
    prop_oneof![
        (proposed(), path())
            .prop_map(|(proposed, path)| { RingMessage::Accept { proposed, path: path.into() } }),
        (any::<u64>(), ballot(), path(), path()).prop_map(|(i, ballot, votes, path)| {
            RingMessage::Votes { instance: Instance(i), ballot, votes, path: path.into() }
        }),
        (any::<u64>(), ballot())
            .prop_map(|(i, ballot)| RingMessage::Decision { instance: Instance(i), ballot }),
        (vec(proposed(), 0..3), any::<u64>(), any::<u64>()).prop_map(|(values, base, decided)| {
            let (base, decided) = (Instance(base), Instance(decided));
            RingMessage::Learned { values, base, decided }
        }),
        promise.prop_map(|(ballot, trial, trim, position, values, rejoined)| {
            RingMessage::Promise(Box::new(Promise {
                ballot,
                trial,
                trim: (Instance(trim), position),
                decided: Instance(trim),
                values,
                rejoins: [(ServerId(3), rejoined)].into(),
                rejoined,
            }))
        }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let identity = || any::<(String, String)>();
    let operation = prop_oneof![
        Just(Operation::Hello),
        Just(Operation::CloseSession),
        any::<String>().prop_map(|path| Operation::Sync(path.into())),
        (bytes(), any::<u32>()).prop_map(|(password, timeout_ms)| {
            Operation::CreateSession { password, timeout_ms }
        }),
        (any::<String>(), any::<i32>()).prop_map(|(path, version)| {
            Operation::Write(Request::Delete(DeleteRequest { path: path.into(), version }))
        }),
    ];
    let origin = (any::<u8>(), any::<u64>(), any::<u64>());
    (origin, any::<i64>(), any::<(u64, u64, u32)>(), vec(identity(), 0..3), operation).prop_map(
        |((server, incarnation, sequence), session, (epoch, after, map_version), ids, op)| {
            let ids = ids.into_iter();
            let id = |(a, b): (String, String)| Id { scheme: ByteString::from(a), id: b.into() };
            Command {
                origin: Origin {
                    server: ServerId(server),
                    incarnation: Zxid(incarnation),
                    sequence,
                },
                session: SessionId(session),
                epoch: Zxid(epoch),
                identities: ids.map(id).collect(),
                after: Zxid(after),
                map_version,
                flags: CommandFlags::default(),
                operation: op,
            }
        },
    )
}

fn message() -> impl Strategy<Value = PeerMessage> {
    let cursor = (any::<u64>(), slot(), any::<u64>()).prop_map(|(i, position, index)| Cursor {
        instance: Instance(i),
        position,
        index,
    });
    prop_oneof![
        (ring(), ring_message()).prop_map(|(ring, message)| PeerMessage::Ring(ring, message)),
        (ring(), any::<bool>(), vec(command(), 0..4)).prop_map(|(ring, again, commands)| {
            PeerMessage::Commands { ring, again, commands }
        }),
        vec((ring(), slot()), 0..4).prop_map(PeerMessage::Demands),
        (any::<u64>(), vec(partition(), 0..4))
            .prop_map(|(z, partitions)| PeerMessage::Pull { zxid: Zxid(z), partitions }),
        (any::<u64>(), partition(), bytes()).prop_map(|(z, partition, contribution)| {
            PeerMessage::Given { zxid: Zxid(z), partition, contribution }
        }),
        (any::<u64>(), vec(any::<i64>().prop_map(SessionId), 0..4))
            .prop_map(|(number, sessions)| PeerMessage::Touches { number, sessions }),
        any::<u64>().prop_map(|number| PeerMessage::Touched { number }),
        (any::<u64>(), slot())
            .prop_map(|(clock_us, position)| PeerMessage::Heartbeat { clock_us, position }),
        (vec(cursor, 0..4), any::<u64>())
            .prop_map(|(cursors, least)| PeerMessage::Floor { cursors, least: Zxid(least) }),
        vec(partition(), 0..4).prop_map(PeerMessage::Fetch),
        vec((ring(), any::<u64>(), any::<bool>()), 0..4).prop_map(|beats| {
            let beat = |(ring, decided, asks)| {
                let (ballot, decided) = (Ballot::default(), Instance(decided));
                let answer = RingMessage::Alive { ballot, decided };
                let beat = RingMessage::Heartbeat { ballot, decided };
                (ring, if asks { beat } else { answer })
            };
            PeerMessage::Beats(beats.into_iter().map(beat).collect())
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_said_is_read(message in message()) {
        prop_assert_eq!(PeerMessage::decode(message.encode()).unwrap(), message);
    }

    /// Cut or changed anywhere, a message is read as some other one or refused: nothing panics.
    #[test]
    fn damage_is_no_panic(message in message(), at in any::<usize>(), to in any::<u8>()) {
        let mut bytes = message.encode().to_vec();
        if !bytes.is_empty() {
            let at = at % bytes.len();
            let _ = PeerMessage::decode(Bytes::copy_from_slice(&bytes[..at]));
            bytes[at] = to;
            let _ = PeerMessage::decode(bytes.into());
        }
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let refused = |body| PeerMessage::decode(peer::encode(&wire::PeerMessage { body })).is_err();
    let commands = |ring| wire::Commands { ring, ..wire::Commands::default() };
    assert!(refused(None));
    assert!(refused(Some(Body::Commands(commands(u32::from(RingId::COUNT))))));
    assert!(!refused(Some(Body::Commands(commands(3)))));
    let demands = |rings: Vec<u32>, slots: Vec<u64>| Body::Demands(wire::Demands { rings, slots });
    assert!(refused(Some(demands(vec![1, 2], vec![5]))));
    assert!(refused(Some(demands(vec![1], vec![Slot::MAX.0 + 1]))));
    assert!(refused(Some(Body::Pull(wire::Pull { zxid: 1, partitions: vec![0] }))));
    assert!(refused(Some(Body::Ring(wire::RingMessage { kind: 99, ..Default::default() }))));
}

/// ATTACKS row 22: nothing that others wait for stands behind payload.
#[test]
fn payload_has_its_own_lane() {
    let given =
        PeerMessage::Given { zxid: Zxid(1), partition: PartitionId(1), contribution: Bytes::new() };
    for urgent in [given, PeerMessage::Demands(Vec::new()), PeerMessage::Touched { number: 1 }] {
        assert_eq!(urgent.lane(), Lane::Control);
    }
    let commands = PeerMessage::Commands { ring: RingId(1), again: false, commands: Vec::new() };
    assert_eq!(commands.lane(), Lane::Ring);
}
