//! What a front end and the replica that it is attached to say to each other, as messages of the
//! wire. A field that is out of its range refuses the message. Decides nothing.
//! Used by `message`.

use std::sync::Arc;

use volery_proto::ids::{Ballot, PartitionId, SessionId, Zxid};
use volery_proto::jute::Writer;
use volery_proto::wire::{self, ask, told};
use volery_proto::zk::{ErrorCode, Id, Request};

use super::message::{PeerMessageError, partition_id};
use super::stream::Batch;
use crate::core::executor::Answer;
use crate::core::front_end::{Ask, AskRead, Told};
use crate::core::types::ConnId;
use crate::core::watch::{Event, EventType, Rank};

/// Which attachment of a front end to a partition: none has the number of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachmentId {
    /// Tells starts of the front end's process apart.
    pub start: u64,
    /// Counts within one.
    pub count: u64,
}

/// From the front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// To which partition.
    pub partition: PartitionId,
    /// Which attachment.
    pub number: AttachmentId,
    /// What is said.
    pub batch: Batch<Ask>,
}

/// From the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Of which partition.
    pub partition: PartitionId,
    /// Which attachment.
    pub number: AttachmentId,
    /// What is said.
    pub batch: Batch<Told>,
}

type Result<T> = std::result::Result<T, PeerMessageError>;

fn identities_to_wire(identities: &[Id]) -> Vec<wire::Identity> {
    let identity =
        |id: &Id| wire::Identity { scheme: id.scheme.to_string(), id: id.id.to_string() };
    identities.iter().map(identity).collect()
}

fn identities(raw: Vec<wire::Identity>) -> Arc<[Id]> {
    raw.into_iter().map(|id| Id { scheme: id.scheme.into(), id: id.id.into() }).collect()
}

impl Attach {
    pub(super) fn to_wire(&self) -> wire::Attach {
        let asks = self.batch.items.iter();
        wire::Attach {
            partition: u32::from(self.partition.0),
            start: self.number.start,
            number: self.number.count,
            first: self.batch.first,
            seen: self.batch.seen,
            asks: asks.map(|ask| wire::Ask { body: Some(ask_to_wire(ask)) }).collect(),
        }
    }

    pub(super) fn from_wire(raw: wire::Attach) -> Result<Attach> {
        let items = raw.asks.into_iter().map(|raw| match raw.body {
            Some(body) => ask_from_wire(body),
            None => Err(PeerMessageError::Field("ask")),
        });
        Ok(Attach {
            partition: partition_id(raw.partition)?,
            number: AttachmentId { start: raw.start, count: raw.number },
            batch: Batch { first: raw.first, seen: raw.seen, items: items.collect::<Result<_>>()? },
        })
    }
}

impl Attached {
    pub(super) fn to_wire(&self) -> wire::Attached {
        let told = self.batch.items.iter();
        wire::Attached {
            partition: u32::from(self.partition.0),
            start: self.number.start,
            number: self.number.count,
            first: self.batch.first,
            seen: self.batch.seen,
            told: told.map(|told| wire::Told { body: Some(told_to_wire(told)) }).collect(),
        }
    }

    pub(super) fn from_wire(raw: wire::Attached) -> Result<Attached> {
        let items = raw.told.into_iter().map(|raw| match raw.body {
            Some(body) => told_from_wire(body),
            None => Err(PeerMessageError::Field("told")),
        });
        Ok(Attached {
            partition: partition_id(raw.partition)?,
            number: AttachmentId { start: raw.start, count: raw.number },
            batch: Batch { first: raw.first, seen: raw.seen, items: items.collect::<Result<_>>()? },
        })
    }
}

fn ask_to_wire(ask: &Ask) -> ask::Body {
    match ask {
        Ask::Open { incarnation } => {
            ask::Body::Open(wire::AttachOpen { incarnation: incarnation.0 })
        }
        Ask::Read(read) => {
            let mut w = Writer::new();
            read.request.write_body(&mut w);
            ask::Body::Read(wire::AskRead {
                conn: read.conn.0,
                ask: read.ask,
                session: read.session.0,
                identities: identities_to_wire(&read.identities),
                skip_acl: read.skip_acl,
                frontier: read.frontier.0,
                whole: read.whole,
                opcode: read.request.opcode() as i32,
                body: w.finish(),
            })
        }
        Ask::Identities { conn, identities } => ask::Body::Identities(wire::AskIdentities {
            conn: conn.0,
            identities: identities_to_wire(identities),
        }),
        Ask::Gone(conn) => ask::Body::Gone(conn.0),
        Ask::Want(zxid) => ask::Body::Want(zxid.0),
    }
}

fn ask_from_wire(raw: ask::Body) -> Result<Ask> {
    Ok(match raw {
        ask::Body::Open(open) => Ask::Open { incarnation: Zxid(open.incarnation) },
        ask::Body::Read(read) => {
            let request = Request::decode(read.opcode, read.body);
            let request = request.ok().flatten().ok_or(PeerMessageError::Field("read"))?;
            Ask::Read(Box::new(AskRead {
                conn: ConnId(read.conn),
                ask: read.ask,
                session: SessionId(read.session),
                identities: identities(read.identities),
                skip_acl: read.skip_acl,
                frontier: Zxid(read.frontier),
                whole: read.whole,
                request,
            }))
        }
        ask::Body::Identities(raw) => {
            Ask::Identities { conn: ConnId(raw.conn), identities: identities(raw.identities) }
        }
        ask::Body::Gone(conn) => Ask::Gone(ConnId(conn)),
        ask::Body::Want(zxid) => Ask::Want(Zxid(zxid)),
    })
}

fn told_to_wire(told: &Told) -> told::Body {
    match told {
        Told::Began(through) => told::Body::Began(*through),
        Told::Executed { zxid, sequence, reply } => {
            let (err, body) = match reply {
                Ok(body) => (0, body.clone()),
                Err(code) => (code.code(), Default::default()),
            };
            let (zxid, sequence) = (zxid.0, *sequence);
            told::Body::Executed(wire::ToldExecuted { zxid, sequence, err, body })
        }
        Told::Event { zxid, event, holds } => told::Body::Event(wire::ToldEvent {
            conn: event.conn.0,
            zxid: zxid.0,
            kind: event.kind as u32,
            operation: event.rank.operation,
            step: u32::from(event.rank.step),
            path: event.path.to_string(),
            holds: *holds,
        }),
        Told::Answer { conn, ask, answer } => told::Body::Answer(wire::ToldAnswer {
            conn: conn.0,
            ask: *ask,
            err: answer.err,
            observed: answer.observed.0,
            through: answer.through.0,
            holds: answer.holds,
            number: answer.number,
            body: answer.body.clone(),
        }),
        Told::Position { delivered, executed, leader } => {
            told::Body::Position(wire::ToldPosition {
                delivered: delivered.0,
                executed: executed.0,
                leader: leader.map_or(0, Ballot::to_u64),
            })
        }
    }
}

fn told_from_wire(raw: told::Body) -> Result<Told> {
    let field = PeerMessageError::Field;
    Ok(match raw {
        told::Body::Began(through) => Told::Began(through),
        told::Body::Executed(raw) => {
            let reply = match raw.err {
                0 => Ok(raw.body),
                err => Err(ErrorCode::from_i32(err).ok_or(field("err"))?),
            };
            Told::Executed { zxid: Zxid(raw.zxid), sequence: raw.sequence, reply }
        }
        told::Body::Event(raw) => {
            let kind = i32::try_from(raw.kind).ok().and_then(EventType::from_number);
            let step = u8::try_from(raw.step).map_err(|_| field("step"))?;
            let event = Event {
                conn: ConnId(raw.conn),
                kind: kind.ok_or(field("kind"))?,
                path: raw.path.into(),
                rank: Rank { operation: raw.operation, step },
            };
            Told::Event { zxid: Zxid(raw.zxid), event, holds: raw.holds }
        }
        told::Body::Answer(raw) => {
            let answer = Answer {
                err: raw.err,
                observed: Zxid(raw.observed),
                through: Zxid(raw.through),
                holds: raw.holds,
                number: raw.number,
                body: raw.body,
            };
            Told::Answer { conn: ConnId(raw.conn), ask: raw.ask, answer }
        }
        told::Body::Position(raw) => Told::Position {
            delivered: Zxid(raw.delivered),
            executed: Zxid(raw.executed),
            leader: match raw.leader {
                0 => None,
                ballot => Some(Ballot::from_u64(ballot).ok_or(field("leader"))?),
            },
        },
    })
}
