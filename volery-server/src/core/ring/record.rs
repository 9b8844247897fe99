//! The log records of a ring: how they are written, and what a start reads back from them.
//! Reads no file: the storage hands in the records of one ring in log order.
//! Called by the acceptor (write) and by the house at its start (recover).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::Value;
use volery_proto::ids::{Ballot, Instance, RingId, ServerId, Slot};
use volery_proto::ring::encode_record;
use volery_proto::wire;

use super::effect::RingError;
use super::store::{Held, Payload};

pub use wire::log_record::Body as LogRecordBody;

/// No slot is above: far above what a zxid can name, and far below an overflow.
const SLOT_MAX: u64 = 1 << 60;

/// An accepted value as a record, and the value's bytes as the record's tail: one buffer for both.
pub(super) fn accepted(
    ring: RingId,
    instance: Instance,
    ballot: Ballot,
    decided: Instance,
    value: Bytes,
) -> (Bytes, Bytes) {
    let length = value.len();
    let body = LogRecordBody::Accepted(wire::Accepted {
        instance: instance.0,
        ballot: ballot.to_u64(),
        decided: decided.0,
        value,
    });
    let record = encode(ring, body);
    // Fields are written in the order of their tags and `value` is the last one of the last.
    let tail = record.slice(record.len() - length..);
    (record, tail)
}

/// What an acceptor promised.
pub(super) fn promise(ring: RingId, ballot: Ballot, lost: bool, rejoins: &Rejoins) -> Bytes {
    let rejoins = rejoins_to_wire(rejoins);
    let body = LogRecordBody::Promise(wire::Promise { ballot: ballot.to_u64(), lost, rejoins });
    encode(ring, body)
}

/// Where the log begins.
pub(super) fn trim(ring: RingId, instance: Instance, position: Slot, ballot: Ballot) -> Bytes {
    let body = LogRecordBody::Trim(wire::Trim {
        instance: instance.0,
        position: position.0,
        ballot: ballot.to_u64(),
    });
    encode(ring, body)
}

fn encode(ring: RingId, body: LogRecordBody) -> Bytes {
    encode_record(&wire::LogRecord { ring: u32::from(ring.0), body: Some(body) })
}

/// Per member that lost its memory, the ballot from which its promises count again.
pub(super) type Rejoins = BTreeMap<ServerId, Ballot>;

pub(super) fn rejoins_to_wire(rejoins: &Rejoins) -> Vec<wire::Rejoin> {
    rejoins
        .iter()
        .map(|(server, ballot)| wire::Rejoin {
            server: u32::from(server.0),
            ballot: ballot.to_u64(),
        })
        .collect()
}

/// `None` where a field is out of its range.
pub(super) fn rejoins_from_wire(rejoins: &[wire::Rejoin]) -> Option<Rejoins> {
    rejoins
        .iter()
        .map(|r| Some((ServerId(u8::try_from(r.server).ok()?), Ballot::from_u64(r.ballot)?)))
        .collect()
}

/// What the log says of one ring.
#[derive(Debug, Default)]
pub struct RecoveredRing {
    pub(super) ring: RingId,
    pub(super) trim: (Instance, Slot),
    pub(super) promised: Ballot,
    pub(super) decided: Instance,
    pub(super) accepted: BTreeMap<Instance, Held>,
    pub(super) lost: bool,
    /// There was no log at all.
    new: bool,
    pub(super) rejoins: Rejoins,
    /// The next value to hand out, and the position before it.
    taken: (Instance, Slot),
    /// Bytes of values handed out that are kept for peers that lag.
    keep_bytes: usize,
    kept_bytes: usize,
}

impl RecoveredRing {
    /// Nothing in the log yet.
    #[must_use]
    pub fn new(ring: RingId) -> RecoveredRing {
        RecoveredRing { ring, ..RecoveredRing::default() }
    }

    /// Which ring.
    #[must_use]
    pub fn id(&self) -> RingId {
        self.ring
    }

    /// Decided values are kept for peers that lag: so many bytes of them.
    pub fn keep(&mut self, bytes: usize) {
        self.keep_bytes = bytes;
    }

    /// Where the values that were handed out end: the next instance, and the position before it.
    #[must_use]
    pub fn taken(&self) -> (Instance, Slot) {
        self.taken.max(self.trim)
    }

    /// The storage found an empty directory under a known id, or cut the log's tail where a
    /// synced record may have stood: the acceptor has lost its memory. DESIGN section 3.
    pub fn memory_lost(&mut self) {
        self.lost = true;
    }

    /// As `memory_lost`, where the directory was empty: so it is, too, at the first start of a new
    /// ring. Its members find out together; see `rejoin`. The storage says so until all rings
    /// have found out; of those that have, the log knows, since it was durable before they voted.
    pub fn memory_new(&mut self) {
        if self.lost || self.promised == Ballot::default() {
            self.lost = true;
            self.new = true;
        }
    }

    /// There is no other acceptor: what is here is all that anybody remembers.
    pub(in crate::core) fn memory_whole(&mut self) {
        (self.lost, self.new) = (false, false);
    }

    /// Nothing has ever been accepted or promised, as far as the log knows.
    pub(super) fn is_new(&self) -> bool {
        let nothing = self.accepted.is_empty() && self.taken() == Default::default();
        self.new && nothing && self.promised == Ballot::default()
    }

    /// A snapshot covers what is below: records of it are passed over. Call it first.
    pub fn covered_below(&mut self, instance: Instance, position: Slot) {
        self.trim = self.trim.max((instance, position));
        self.taken = self.taken.max(self.trim);
        self.decided = self.decided.max(instance);
    }

    /// Hands out the values known decided, in order and once; but for those that are kept they
    /// count as trimmed from here. The log holds the decided value of every instance below its
    /// mark, see `accepted`.
    pub fn take_decided(&mut self) -> Vec<(Instance, Arc<Value>)> {
        let mut decided = Vec::new();
        self.taken = self.taken();
        while self.taken.0 < self.decided {
            let Some(held) = self.accepted.get(&self.taken.0) else { break };
            let value = held.payload.value.clone();
            self.kept_bytes += held.payload.bytes.len();
            decided.push((self.taken.0, value.clone()));
            self.taken = (Instance(self.taken.0.0 + 1), value.end(self.taken.1));
            self.let_go();
        }
        decided
    }

    /// Forgets what is handed out and no longer to be kept.
    fn let_go(&mut self) {
        while self.trim.0 < self.taken.0 && self.kept_bytes > self.keep_bytes {
            let Some(held) = self.accepted.remove(&self.trim.0) else { return };
            self.kept_bytes = self.kept_bytes.saturating_sub(held.payload.bytes.len());
            let end = held.payload.value.end(self.trim.1);
            self.trim = (Instance(self.trim.0.0 + 1), end);
        }
    }

    /// Takes one record, in log order.
    ///
    /// # Errors
    /// The record makes no sense: the log is damaged, or of another version.
    pub fn record(&mut self, body: LogRecordBody) -> Result<(), RingError> {
        match body {
            LogRecordBody::Accepted(accepted) => self.accepted(accepted),
            LogRecordBody::Promise(promise) => {
                self.promised = self.promised.max(self.ballot(promise.ballot)?);
                self.lost = promise.lost;
                self.rejoins = rejoins_from_wire(&promise.rejoins)
                    .ok_or_else(|| self.broken("a damaged rejoin in the log"))?;
                Ok(())
            }
            LogRecordBody::Trim(trim) => {
                self.promised = self.promised.max(self.ballot(trim.ballot)?);
                if trim.instance >= self.trim.0.0 {
                    self.trim = (Instance(trim.instance), Slot(trim.position));
                    self.accepted = self.accepted.split_off(&self.trim.0);
                    self.decided = self.decided.max(self.trim.0);
                }
                Ok(())
            }
        }
    }

    fn accepted(&mut self, record: wire::Accepted) -> Result<(), RingError> {
        let instance = Instance(record.instance);
        let ballot = self.ballot(record.ballot)?;
        self.promised = self.promised.max(ballot);
        self.decided = self.decided.max(Instance(record.decided));
        let stale = self.accepted.get(&instance).is_some_and(|held| held.ballot > ballot);
        if instance < self.trim.0 || stale {
            return Ok(());
        }
        let payload = decode(self.ring, instance, record.value)?;
        self.accepted.insert(instance, Held { ballot, payload, logged: true });
        Ok(())
    }

    fn ballot(&self, raw: u64) -> Result<Ballot, RingError> {
        Ballot::from_u64(raw).ok_or_else(|| self.broken("a damaged ballot in the log"))
    }

    fn broken(&self, what: &'static str) -> RingError {
        RingError::Broken { ring: self.ring, instance: self.decided, what }
    }
}

/// Decodes a value that came from the log or from another server.
pub(super) fn decode(ring: RingId, instance: Instance, bytes: Bytes) -> Result<Payload, RingError> {
    match Value::decode(bytes.clone()) {
        Ok(value) if value.start.0 > SLOT_MAX => {
            Err(RingError::Broken { ring, instance, what: "a slot beyond the last one" })
        }
        Ok(value) => Ok(Payload { value: Arc::new(value), bytes }),
        Err(error) => Err(RingError::Value { ring, instance, error: Arc::new(error) }),
    }
}
