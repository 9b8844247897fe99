//! What servers say to each other is read as it was said, and nonsense is refused. Whole servers
//! are tested by the simulation.

#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::prelude::*;
use volery_proto::command::{Command, CommandFlags, Operation, Origin};
use volery_proto::ids::{Ballot, Instance, PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::peer;
use volery_proto::wire::{self, peer_message::Body};
use volery_proto::zk::{DeleteRequest, ErrorCode, Id, Request, WatchedPathRequest};

use super::{Attach, Attached, AttachmentId, Batch, Covered, Lane, PeerMessage};
use crate::core::executor::Answer;
use crate::core::front_end::{Ask, AskRead, Told};
use crate::core::merge::Cursor;
use crate::core::ring::{Promise, Proposed, RingMessage};
use crate::core::types::ConnId;
use crate::core::watch::{Event, EventType, Rank};

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

fn number() -> impl Strategy<Value = AttachmentId> {
    any::<(u64, u64)>().prop_map(|(start, count)| AttachmentId { start, count })
}

fn batch<T: std::fmt::Debug + Clone>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Batch<T>> {
    let batch = (any::<(u64, u64)>(), vec(item, 0..3));
    batch.prop_map(|((first, seen), items)| Batch { first, seen, items })
}

fn identities() -> impl Strategy<Value = Arc<[Id]>> {
    vec(any::<(String, String)>(), 0..3).prop_map(|ids| {
        let id = |(scheme, id): (String, String)| Id { scheme: scheme.into(), id: id.into() };
        ids.into_iter().map(id).collect()
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let read = (any::<(u64, u64, i64, u64)>(), identities(), any::<(bool, bool, bool)>());
    prop_oneof![
        any::<u64>().prop_map(|zxid| Ask::Open { incarnation: Zxid(zxid) }),
        (read, any::<String>()).prop_map(|((numbers, identities, flags), path)| {
            let (conn, ask, session, frontier) = numbers;
            let (skip_acl, whole, watch) = flags;
            Ask::Read(Box::new(AskRead {
                conn: ConnId(conn),
                ask,
                session: SessionId(session),
                identities,
                skip_acl,
                frontier: Zxid(frontier),
                whole,
                request: Request::Exists(WatchedPathRequest { path: path.into(), watch }),
            }))
        }),
        (any::<u64>(), identities())
            .prop_map(|(conn, identities)| Ask::Identities { conn: ConnId(conn), identities }),
        any::<u64>().prop_map(|conn| Ask::Gone(ConnId(conn))),
        any::<u64>().prop_map(|zxid| Ask::Want(Zxid(zxid))),
    ]
}

fn told() -> impl Strategy<Value = Told> {
    let numbers = any::<(u64, u64, u64)>();
    prop_oneof![
        any::<u64>().prop_map(Told::Began),
        (numbers, bytes(), any::<bool>()).prop_map(|((zxid, sequence, _), body, fails)| {
            let reply = if fails { Err(ErrorCode::NoNode) } else { Ok(body) };
            Told::Executed { zxid: Zxid(zxid), sequence, reply }
        }),
        (numbers, 1..=4, any::<(u32, u8, String, bool)>()).prop_map(
            |((zxid, conn, _), kind, r)| {
                let (operation, step, path, holds) = r;
                let kind = EventType::from_number(kind).unwrap();
                let rank = Rank { operation, step };
                let event = Event { conn: ConnId(conn), kind, path: path.into(), rank };
                Told::Event { zxid: Zxid(zxid), event, holds }
            }
        ),
        (numbers, bytes(), any::<(i32, u64, bool, i32)>()).prop_map(|((a, b, c), body, r)| {
            let (err, through, holds, number) = r;
            let (observed, through) = (Zxid(c), Zxid(through));
            let answer = Answer { err, observed, through, holds, number, body };
            Told::Answer { conn: ConnId(a), ask: b, answer }
        }),
        (any::<(u64, u64)>(), proptest::option::of(ballot())).prop_map(|((d, e), leader)| {
            let leader = leader.filter(|ballot| ballot.to_u64() != 0);
            Told::Position { delivered: Zxid(d), executed: Zxid(e), leader }
        }),
    ]
}

fn message() -> impl Strategy<Value = PeerMessage> {
    let cursor = || {
        (any::<u64>(), slot(), any::<u64>()).prop_map(|(i, position, index)| Cursor {
            instance: Instance(i),
            position,
            index,
        })
    };
    let covered =
        (partition(), cursor(), cursor(), any::<u64>()).prop_map(|(partition, g, o, p)| Covered {
            partition,
            global: g,
            own: o,
            position: Zxid(p),
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
        vec(covered, 0..4).prop_map(PeerMessage::Floor),
        vec(partition(), 0..4).prop_map(PeerMessage::Fetch),
        (partition(), number(), batch(ask())).prop_map(|(partition, number, batch)| {
            PeerMessage::Attach(Attach { partition, number, batch })
        }),
        (partition(), number(), batch(told())).prop_map(|(partition, number, batch)| {
            PeerMessage::Attached(Attached { partition, number, batch })
        }),
        (partition(), number())
            .prop_map(|(partition, number)| PeerMessage::Detached { partition, number }),
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
