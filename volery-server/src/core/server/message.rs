//! What servers say to each other, which lane it takes, and the same as bytes.
//! Decides nothing: a message whose fields are out of their range is refused, not interpreted.
//! Used by the server machine; the peer port carries the bytes.

use bytes::Bytes;
use volery_proto::command::{Command, ValueError};
use volery_proto::ids::{Instance, PartitionId, RingId, SessionId, Slot, Zxid};
use volery_proto::peer::{self, PeerDecodeError};
use volery_proto::wire;
use wire::peer_message::Body;

use super::attach_message::{Attach, Attached, AttachmentId};
use super::snapshots::Covered;
use crate::core::merge::Cursor;
use crate::core::ring::RingMessage;

/// The lanes between two servers: what is in one never waits for another. Within a lane the order
/// is kept while the link holds; anything may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Small and urgent: never behind payload or its back-pressure (ATTACKS row 22).
    Control,
    /// Payload of the rings and of front ends, and the votes that follow it.
    Ring,
    /// Catching up.
    Bulk,
}

/// A message between two servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Of one ring.
    Ring(RingId, RingMessage),
    /// For a ring's coordinator, from a front end.
    Commands {
        /// Which ring.
        ring: RingId,
        /// They begin with the oldest that the sender does not know executed.
        again: bool,
        /// In the order of their numbers.
        commands: Vec<Command>,
    },
    /// These rings are to pass these slots: somebody waits.
    Demands(Vec<(RingId, Slot)>),
    /// What do these partitions contribute to this command?
    Pull {
        /// The command.
        zxid: Zxid,
        /// Whose contributions are missing.
        partitions: Vec<PartitionId>,
    },
    /// A contribution.
    Given {
        /// To this command.
        zxid: Zxid,
        /// Of this partition.
        partition: PartitionId,
        /// Encoded.
        contribution: Bytes,
    },
    /// Sessions that were heard and not yet acknowledged. Even none at all asks for the answer.
    Touches {
        /// Ascending.
        number: u64,
        /// Which.
        sessions: Vec<SessionId>,
    },
    /// The answer of ring 0's coordinator.
    Touched {
        /// Of the message that it counted.
        number: u64,
    },
    /// The sender lives.
    Heartbeat {
        /// Its clock, Unix microseconds.
        clock_us: u64,
        /// The highest slot that it knows of.
        position: Slot,
    },
    /// Heartbeats of coordinators, or the answers to them, of many rings at once.
    Beats(Vec<(RingId, RingMessage)>),
    /// From where the sender would start again, by its durable snapshots, with each partition.
    Floor(Vec<Covered>),
    /// The sender is too far behind: it needs the receiver's snapshots of these partitions.
    Fetch(Vec<PartitionId>),
    /// For a replica, from a front end elsewhere.
    Attach(Attach),
    /// For a front end, from the replica that it is attached to.
    Attached(Attached),
    /// The receiver is not attached here.
    Detached {
        /// To which partition.
        partition: PartitionId,
        /// As the front end numbered it.
        number: AttachmentId,
    },
}

/// What another server sent makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum PeerMessageError {
    /// Not a message.
    #[error(transparent)]
    Decode(#[from] PeerDecodeError),
    /// A command inside is none.
    #[error(transparent)]
    Command(#[from] ValueError),
    /// A field is out of its range.
    #[error("{0} is out of range in a message of a peer")]
    Field(&'static str),
}

pub(super) fn ring_id(raw: u32) -> Result<RingId, PeerMessageError> {
    let ring = u16::try_from(raw).ok().filter(|&ring| ring < RingId::COUNT);
    ring.map(RingId).ok_or(PeerMessageError::Field("ring"))
}

pub(super) fn partition_id(raw: u32) -> Result<PartitionId, PeerMessageError> {
    match ring_id(raw)? {
        RingId(0) => Err(PeerMessageError::Field("partition")),
        RingId(partition) => Ok(PartitionId(partition)),
    }
}

fn slot(raw: u64) -> Result<Slot, PeerMessageError> {
    let in_range = raw <= Slot::MAX.0;
    in_range.then_some(Slot(raw)).ok_or(PeerMessageError::Field("slot"))
}

impl PeerMessage {
    /// Which lane it takes.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            // A vote without its payload says nothing: they keep their order.
            PeerMessage::Ring(_, RingMessage::Accept { .. } | RingMessage::Votes { .. })
            | PeerMessage::Ring(_, RingMessage::Promise(_))
            | PeerMessage::Commands { .. }
            | PeerMessage::Attach(_)
            | PeerMessage::Attached(_) => Lane::Ring,
            PeerMessage::Ring(_, RingMessage::Learned { .. }) => Lane::Bulk,
            _ => Lane::Control,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let raw = |ring: RingId| u32::from(ring.0);
        let body = match self {
            PeerMessage::Ring(ring, message) => Body::Ring(message.to_wire(*ring)),
            PeerMessage::Commands { ring, again, commands } => Body::Commands(wire::Commands {
                ring: raw(*ring),
                again: *again,
                commands: commands.iter().map(Command::to_wire).collect(),
            }),
            PeerMessage::Demands(demands) => Body::Demands(wire::Demands {
                rings: demands.iter().map(|(ring, _)| raw(*ring)).collect(),
                slots: demands.iter().map(|(_, slot)| slot.0).collect(),
            }),
            PeerMessage::Pull { zxid, partitions } => Body::Pull(wire::Pull {
                zxid: zxid.0,
                partitions: partitions.iter().map(|p| u32::from(p.0)).collect(),
            }),
            PeerMessage::Given { zxid, partition, contribution } => Body::Given(wire::Given {
                zxid: zxid.0,
                partition: u32::from(partition.0),
                contribution: contribution.clone(),
            }),
            PeerMessage::Touches { number, sessions } => Body::Touches(wire::Touches {
                number: *number,
                sessions: sessions.iter().map(|session| session.0).collect(),
            }),
            PeerMessage::Touched { number } => Body::Touched(wire::Touched { number: *number }),
            PeerMessage::Heartbeat { clock_us, position } => {
                Body::Heartbeat(wire::Heartbeat { clock_us: *clock_us, position: position.0 })
            }
            PeerMessage::Beats(beats) => Body::Beats(wire::Beats {
                rings: beats.iter().map(|(ring, beat)| beat.to_wire(*ring)).collect(),
            }),
            PeerMessage::Floor(parts) => {
                Body::Floor(wire::Floor { parts: parts.iter().map(covered_to_wire).collect() })
            }
            PeerMessage::Fetch(partitions) => Body::Fetch(wire::Fetch {
                partitions: partitions.iter().map(|p| u32::from(p.0)).collect(),
            }),
            PeerMessage::Attach(attach) => Body::Attach(attach.to_wire()),
            PeerMessage::Attached(attached) => Body::Attached(attached.to_wire()),
            PeerMessage::Detached { partition, number } => Body::Detached(wire::Detached {
                partition: u32::from(partition.0),
                start: number.start,
                number: number.count,
            }),
        };
        peer::encode(&wire::PeerMessage { body: Some(body) })
    }

    /// The inverse of [`PeerMessage::encode`]; payload inside is a slice of `bytes`.
    ///
    /// # Errors
    /// The bytes are not a message, or a field is out of its range.
    pub fn decode(bytes: Bytes) -> Result<PeerMessage, PeerMessageError> {
        let body = peer::decode(bytes)?.body.ok_or(PeerMessageError::Field("body"))?;
        Ok(match body {
            Body::Ring(message) => {
                let ring = ring_id(message.ring)?;
                let message = RingMessage::from_wire(message);
                PeerMessage::Ring(ring, message.ok_or(PeerMessageError::Field("ring message"))?)
            }
            Body::Commands(m) => {
                let commands = m.commands.into_iter().map(Command::from_wire);
                let commands = commands.collect::<Result<Vec<_>, _>>()?;
                PeerMessage::Commands { ring: ring_id(m.ring)?, again: m.again, commands }
            }
            Body::Demands(m) => {
                if m.rings.len() != m.slots.len() {
                    return Err(PeerMessageError::Field("slots"));
                }
                let demands = m.rings.into_iter().zip(m.slots);
                let demands = demands.map(|(ring, raw)| Ok((ring_id(ring)?, slot(raw)?)));
                PeerMessage::Demands(demands.collect::<Result<_, PeerMessageError>>()?)
            }
            Body::Pull(m) => {
                let partitions = m.partitions.into_iter().map(partition_id);
                let partitions = partitions.collect::<Result<_, _>>()?;
                PeerMessage::Pull { zxid: Zxid(m.zxid), partitions }
            }
            Body::Given(m) => PeerMessage::Given {
                zxid: Zxid(m.zxid),
                partition: partition_id(m.partition)?,
                contribution: m.contribution,
            },
            Body::Touches(m) => {
                let sessions = m.sessions.into_iter().map(SessionId).collect();
                PeerMessage::Touches { number: m.number, sessions }
            }
            Body::Touched(m) => PeerMessage::Touched { number: m.number },
            Body::Heartbeat(m) => {
                PeerMessage::Heartbeat { clock_us: m.clock_us, position: slot(m.position)? }
            }
            Body::Beats(m) => {
                let beats = m.rings.into_iter().map(|message| {
                    let ring = ring_id(message.ring)?;
                    let beat = RingMessage::from_wire(message).filter(RingMessage::is_beat);
                    Ok((ring, beat.ok_or(PeerMessageError::Field("beat"))?))
                });
                PeerMessage::Beats(beats.collect::<Result<_, PeerMessageError>>()?)
            }
            Body::Floor(m) => {
                let parts = m.parts.into_iter().map(covered);
                PeerMessage::Floor(parts.collect::<Result<_, _>>()?)
            }
            Body::Fetch(m) => {
                let partitions = m.partitions.into_iter().map(partition_id);
                PeerMessage::Fetch(partitions.collect::<Result<_, _>>()?)
            }
            Body::Attach(m) => PeerMessage::Attach(Attach::from_wire(m)?),
            Body::Attached(m) => PeerMessage::Attached(Attached::from_wire(m)?),
            Body::Detached(m) => PeerMessage::Detached {
                partition: partition_id(m.partition)?,
                number: AttachmentId { start: m.start, count: m.number },
            },
        })
    }
}

fn covered_to_wire(covered: &Covered) -> wire::Covered {
    let to_wire = |cursor: &Cursor| wire::Cursor {
        instance: cursor.instance.0,
        position: cursor.position.0,
        index: cursor.index,
    };
    wire::Covered {
        partition: u32::from(covered.partition.0),
        global: Some(to_wire(&covered.global)),
        own: Some(to_wire(&covered.own)),
        position: covered.position.0,
    }
}

fn covered(raw: wire::Covered) -> Result<Covered, PeerMessageError> {
    let cursor = |raw: Option<wire::Cursor>| -> Result<Cursor, PeerMessageError> {
        let wire::Cursor { instance, position, index } = raw.unwrap_or_default();
        Ok(Cursor { instance: Instance(instance), position: slot(position)?, index })
    };
    Ok(Covered {
        partition: partition_id(raw.partition)?,
        global: cursor(raw.global)?,
        own: cursor(raw.own)?,
        position: Zxid(raw.position),
    })
}
