//! What the members of a ring say to each other, and the same as a message of the wire.
//! Decides nothing: a message whose fields are out of their range is refused, not interpreted.
//! Used by this room's state machine, and by the peer port for the bytes.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{Ballot, Instance, RingId, ServerId, Slot};
use volery_proto::wire;

use super::record::{Rejoins, rejoins_from_wire, rejoins_to_wire};

/// A value proposed for an instance at a ballot, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Which.
    pub instance: Instance,
    /// At which ballot.
    pub ballot: Ballot,
    /// An encoded value.
    pub value: Bytes,
}

/// A message between two servers of one ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingMessage {
    /// Phase 1a, for every instance from `decided` on. A trial asks whether the promise would be
    /// given, and binds nobody: so a healthy coordinator is not disturbed.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The candidate's number of decided instances.
        decided: Instance,
        /// Only a question.
        trial: bool,
        /// The coordinator at this ballot asked the candidate to take over: it is not disturbed.
        /// The least ballot, which nobody leads with: none did.
        yielded: Ballot,
    },
    /// Phase 1b.
    Promise(Box<Promise>),
    /// Not accepted: the sender has promised this higher ballot.
    Refuse {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The one it lost against.
        promised: Ballot,
    },
    /// Phase 2, with the payload; forwarded at once along the path.
    Accept {
        /// Which instance at which ballot.
        proposed: Proposed,
        /// The live ring, coordinator first.
        path: Arc<[ServerId]>,
    },
    /// Phase 2: these servers have accepted the payload of (instance, ballot) durably.
    Votes {
        /// Which.
        instance: Instance,
        /// At which ballot.
        ballot: Ballot,
        /// Who.
        votes: Vec<ServerId>,
        /// The live ring, coordinator first.
        path: Arc<[ServerId]>,
    },
    /// A majority has accepted the payload of (instance, ballot).
    Decision {
        /// Which.
        instance: Instance,
        /// At which ballot.
        ballot: Ballot,
    },
    /// Asks for decided values from `instance` on.
    CatchUp {
        /// The first that is missing.
        instance: Instance,
    },
    /// Decided values. Empty where the sender has forgotten what was asked for.
    Learned {
        /// In order, each decided (at its ballot).
        values: Vec<Proposed>,
        /// The sender forgot everything below.
        base: Instance,
        /// The sender's number of decided instances.
        decided: Instance,
    },
    /// A coordinator lives.
    Heartbeat {
        /// Its ballot.
        ballot: Ballot,
        /// Its number of decided instances.
        decided: Instance,
    },
    /// The answer to a heartbeat.
    Alive {
        /// The ballot that it answers.
        ballot: Ballot,
        /// The sender's number of decided instances.
        decided: Instance,
    },
    /// The coordinator at this ballot asks the member that the ring prefers to take over.
    TakeOver {
        /// Its ballot.
        ballot: Ballot,
    },
    /// A member without memory asks the others to promise `ballot` and to tell what they know; the
    /// first time with a trial, to find out how high the ballot must be.
    Rejoin {
        /// Above everything heard.
        ballot: Ballot,
        /// Only a question.
        trial: bool,
    },
    /// The answer: everything that the sender has accepted is below `end`.
    Rejoined {
        /// The ballot that it answers.
        ballot: Ballot,
        /// What the sender has promised, this ballot included unless it was a trial.
        promised: Ballot,
        /// One above its highest accepted instance.
        end: Instance,
        /// As it was asked.
        trial: bool,
    },
    /// The answer of a member that has no memory itself: its directory was empty as well.
    New {
        /// The ballot that it answers.
        ballot: Ballot,
        /// As it was asked.
        trial: bool,
    },
}

impl RingMessage {
    /// Whether it only says that somebody lives and how far that one is.
    #[must_use]
    pub fn is_beat(&self) -> bool {
        matches!(self, RingMessage::Heartbeat { .. } | RingMessage::Alive { .. })
    }
}

/// Phase 1b: what an acceptor tells a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The candidate's ballot.
    pub ballot: Ballot,
    /// Only the answer to a question.
    pub trial: bool,
    /// Where the sender's memory begins, and the ring's position there.
    pub trim: (Instance, Slot),
    /// Everything below is decided; `values` does not repeat it.
    pub decided: Instance,
    /// What the sender accepted from `decided` on, highest ballot each.
    pub values: Vec<Proposed>,
    /// From which ballot the promises of members that lost their memory count again.
    pub rejoins: Rejoins,
    /// The same for the sender itself.
    pub rejoined: Ballot,
}

mod kind {
    pub(super) const PREPARE: u32 = 1;
    pub(super) const PROMISE: u32 = 2;
    pub(super) const REFUSE: u32 = 3;
    pub(super) const ACCEPT: u32 = 4;
    pub(super) const VOTES: u32 = 5;
    pub(super) const DECISION: u32 = 6;
    pub(super) const CATCH_UP: u32 = 7;
    pub(super) const LEARNED: u32 = 8;
    pub(super) const HEARTBEAT: u32 = 9;
    pub(super) const ALIVE: u32 = 10;
    pub(super) const REJOIN: u32 = 11;
    pub(super) const REJOINED: u32 = 12;
    pub(super) const NEW: u32 = 13;
    pub(super) const TAKE_OVER: u32 = 14;
}

impl RingMessage {
    /// As a message of the wire.
    #[must_use]
    pub fn to_wire(&self, ring: RingId) -> wire::RingMessage {
        let mut m = wire::RingMessage { ring: u32::from(ring.0), ..Default::default() };
        match self {
            RingMessage::Prepare { ballot, decided, trial, yielded } => {
                m.kind = kind::PREPARE;
                (m.ballot, m.decided, m.flag) = (ballot.to_u64(), decided.0, *trial);
                m.promised = yielded.to_u64();
            }
            RingMessage::Promise(promise) => promise.write(&mut m),
            RingMessage::Refuse { ballot, promised } => {
                m.kind = kind::REFUSE;
                (m.ballot, m.promised) = (ballot.to_u64(), promised.to_u64());
            }
            RingMessage::Accept { proposed, path } => {
                m.kind = kind::ACCEPT;
                (m.instance, m.ballot) = (proposed.instance.0, proposed.ballot.to_u64());
                (m.value, m.path) = (proposed.value.clone(), servers_to_wire(path));
            }
            RingMessage::Votes { instance, ballot, votes, path } => {
                m.kind = kind::VOTES;
                (m.instance, m.ballot) = (instance.0, ballot.to_u64());
                (m.votes, m.path) = (servers_to_wire(votes), servers_to_wire(path));
            }
            RingMessage::Decision { instance, ballot } => {
                m.kind = kind::DECISION;
                (m.instance, m.ballot) = (instance.0, ballot.to_u64());
            }
            RingMessage::CatchUp { instance } => {
                (m.kind, m.instance) = (kind::CATCH_UP, instance.0);
            }
            RingMessage::Learned { values, base, decided } => {
                m.kind = kind::LEARNED;
                (m.values, m.trim_instance) = (values_to_wire(values), base.0);
                m.decided = decided.0;
            }
            RingMessage::Heartbeat { ballot, decided } => {
                (m.kind, m.ballot, m.decided) = (kind::HEARTBEAT, ballot.to_u64(), decided.0);
            }
            RingMessage::Alive { ballot, decided } => {
                (m.kind, m.ballot, m.decided) = (kind::ALIVE, ballot.to_u64(), decided.0);
            }
            RingMessage::TakeOver { ballot } => {
                (m.kind, m.ballot) = (kind::TAKE_OVER, ballot.to_u64());
            }
            RingMessage::Rejoin { ballot, trial } => {
                (m.kind, m.ballot, m.flag) = (kind::REJOIN, ballot.to_u64(), *trial);
            }
            RingMessage::Rejoined { ballot, promised, end, trial } => {
                m.kind = kind::REJOINED;
                (m.ballot, m.promised) = (ballot.to_u64(), promised.to_u64());
                (m.instance, m.flag) = (end.0, *trial);
            }
            RingMessage::New { ballot, trial } => {
                (m.kind, m.ballot, m.flag) = (kind::NEW, ballot.to_u64(), *trial);
            }
        }
        m
    }

    /// The inverse; `None` where a field is out of its range.
    #[must_use]
    pub fn from_wire(m: wire::RingMessage) -> Option<RingMessage> {
        let ballot = Ballot::from_u64(m.ballot)?;
        let (instance, decided) = (Instance(m.instance), Instance(m.decided));
        Some(match m.kind {
            kind::PREPARE => RingMessage::Prepare {
                ballot,
                decided,
                trial: m.flag,
                yielded: Ballot::from_u64(m.promised)?,
            },
            kind::PROMISE => RingMessage::Promise(Box::new(Promise::read(m)?)),
            kind::REFUSE => RingMessage::Refuse { ballot, promised: Ballot::from_u64(m.promised)? },
            kind::ACCEPT => RingMessage::Accept {
                proposed: Proposed { instance, ballot, value: m.value },
                path: servers_from_wire(&m.path).into(),
            },
            kind::VOTES => RingMessage::Votes {
                instance,
                ballot,
                votes: servers_from_wire(&m.votes),
                path: servers_from_wire(&m.path).into(),
            },
            kind::DECISION => RingMessage::Decision { instance, ballot },
            kind::CATCH_UP => RingMessage::CatchUp { instance },
            kind::LEARNED => RingMessage::Learned {
                values: values_from_wire(m.values)?,
                base: Instance(m.trim_instance),
                decided,
            },
            kind::HEARTBEAT => RingMessage::Heartbeat { ballot, decided },
            kind::ALIVE => RingMessage::Alive { ballot, decided },
            kind::TAKE_OVER => RingMessage::TakeOver { ballot },
            kind::REJOIN => RingMessage::Rejoin { ballot, trial: m.flag },
            kind::REJOINED => RingMessage::Rejoined {
                ballot,
                promised: Ballot::from_u64(m.promised)?,
                end: instance,
                trial: m.flag,
            },
            kind::NEW => RingMessage::New { ballot, trial: m.flag },
            _ => return None,
        })
    }
}

impl Promise {
    fn write(&self, m: &mut wire::RingMessage) {
        m.kind = kind::PROMISE;
        (m.ballot, m.flag) = (self.ballot.to_u64(), self.trial);
        (m.trim_instance, m.trim_position) = (self.trim.0.0, self.trim.1.0);
        m.decided = self.decided.0;
        m.values = values_to_wire(&self.values);
        m.rejoins = rejoins_to_wire(&self.rejoins);
        m.promised = self.rejoined.to_u64();
    }

    fn read(m: wire::RingMessage) -> Option<Promise> {
        Some(Promise {
            ballot: Ballot::from_u64(m.ballot)?,
            trial: m.flag,
            trim: (Instance(m.trim_instance), Slot(m.trim_position)),
            decided: Instance(m.decided),
            values: values_from_wire(m.values)?,
            rejoins: rejoins_from_wire(&m.rejoins)?,
            rejoined: Ballot::from_u64(m.promised)?,
        })
    }
}

fn servers_to_wire(servers: &[ServerId]) -> Bytes {
    servers.iter().map(|server| server.0).collect()
}

fn servers_from_wire(servers: &[u8]) -> Vec<ServerId> {
    servers.iter().map(|&server| ServerId(server)).collect()
}

fn values_to_wire(values: &[Proposed]) -> Vec<wire::Proposed> {
    values
        .iter()
        .map(|p| wire::Proposed {
            instance: p.instance.0,
            ballot: p.ballot.to_u64(),
            value: p.value.clone(),
        })
        .collect()
}

fn values_from_wire(values: Vec<wire::Proposed>) -> Option<Vec<Proposed>> {
    values
        .into_iter()
        .map(|p| {
            let ballot = Ballot::from_u64(p.ballot)?;
            Some(Proposed { instance: Instance(p.instance), ballot, value: p.value })
        })
        .collect()
}
