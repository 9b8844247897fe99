//! What goes into a ring beside its messages, and what comes out: settings, time, effects, errors.
//! Holds no state and decides nothing.
//! Used by everything in this room, and by the house that drives it.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::{Command, Value, ValueError};
use volery_proto::ids::{Ballot, Instance, RingId, ServerId, Slot};

use super::message::RingMessage;

/// The time, handed in with every event that may need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Unix microseconds; may jump.
    pub clock_us: u64,
    /// Microseconds since some moment; never goes back. Deadlines are in it.
    pub monotonic_us: u64,
}

/// The settings of one ring.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Which ring.
    pub ring: RingId,
    /// This server.
    pub me: ServerId,
    /// The acceptors, the same list on every server.
    pub members: Vec<ServerId>,
    /// Servers that learn and do not vote.
    pub observers: Vec<ServerId>,
    /// Instances in flight at most.
    pub window: usize,
    /// Skips among them at most.
    pub max_skips: usize,
    /// Decided instances kept in memory for those who lag.
    pub keep_instances: usize,
    /// Bytes of decided instances kept in memory at most.
    pub keep_bytes: usize,
    /// A coordinator shows that it is alive this often.
    pub heartbeat_us: u64,
    /// A coordinator that is silent for so long has failed.
    pub election_us: u64,
    /// What is undecided after so long is sent again.
    pub resend_us: u64,
    /// Spreads the time-outs; different on every server and at every start.
    pub seed: u64,
}

impl RingConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(ring: RingId, me: ServerId, members: Vec<ServerId>) -> RingConfig {
        let alone = members.len() == 1;
        RingConfig {
            ring,
            me,
            members,
            observers: Vec::new(),
            window: 64,
            max_skips: 1,
            keep_instances: if alone { 64 } else { 8192 },
            keep_bytes: if alone { 1 << 20 } else { 64 << 20 },
            heartbeat_us: 50_000,
            election_us: 400_000,
            resend_us: 200_000,
            seed: 0,
        }
    }
}

/// What a ring wants done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append to the log and sync soon; then call `durable` with this number or a later one.
    Append {
        /// An encoded `LogRecord`.
        record: Bytes,
        /// From 1, dense, per ring.
        number: u64,
    },
    /// Send to another server.
    Send {
        /// Never this server.
        to: ServerId,
        /// What.
        message: RingMessage,
        /// Not before this append is durable.
        after_durable: Option<u64>,
    },
    /// The next decided value, each instance once and in order.
    Decided {
        /// Dense.
        instance: Instance,
        /// The ring's position before it: its effective start follows from the two.
        position: Slot,
        /// What was decided.
        value: Arc<Value>,
    },
    /// This server is now the coordinator: what is proposed from now on is ordered.
    BecameCoordinator {
        /// Its ballot.
        ballot: Ballot,
    },
    /// This server no longer coordinates. The commands that were waiting come back, unproposed.
    SteppedDown {
        /// Whom to ask now, if known.
        coordinator: Option<ServerId>,
        /// In the order of `propose`.
        unproposed: Vec<Command>,
    },
    /// Too far behind to catch up by values: fetch a snapshot whose cursor is at `instance` or
    /// later, then call `install`.
    NeedsSnapshot {
        /// Who has forgotten what is missing here.
        from: ServerId,
        /// The least cursor that helps.
        instance: Instance,
    },
    /// Read decided values from the log, from `instance` on; then `log_read`.
    ReadLog {
        /// Who lacks them.
        to: ServerId,
        /// Below what memory holds; the log holds it.
        instance: Instance,
    },
    /// An invariant is broken: the process must end, and say this.
    Fatal(RingError),
}

/// An invariant of a ring is broken, or its log makes no sense. Ends the process.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RingError {
    /// Two values for one decided instance.
    #[error("ring {ring}: instance {instance} decided twice, with different values")]
    Disagreement {
        /// Where.
        ring: RingId,
        /// Which.
        instance: Instance,
    },
    /// A value in the log or in a message does not decode.
    #[error("ring {ring}: the value of instance {instance} does not decode: {error}")]
    Value {
        /// Where.
        ring: RingId,
        /// Which.
        instance: Instance,
        /// Why.
        error: Arc<ValueError>,
    },
    /// Where the log and a snapshot meet, they contradict each other.
    #[error("ring {ring}: {what} at instance {instance}")]
    Broken {
        /// Where.
        ring: RingId,
        /// Which.
        instance: Instance,
        /// What is wrong.
        what: &'static str,
    },
}
