//! The order of the service as its log says it: every command that ever was durable, by zxid.
//! Computed afresh from the records on disk; it uses neither the rings' nor the merge's code.
//! Fed by the disk, read by the model and the properties.

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::command::{Command, Value};
use volery_proto::ids::{RingId, Slot, Zxid};
use volery_proto::ring::decode_record;
use volery_proto::wire::log_record::Body;

/// A decided command.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) command: Command,
    pub(crate) time_ms: i64,
}

#[derive(Clone, Debug, Default)]
struct RingOrder {
    next: u64,
    position: u64,
}

/// Everything decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    rings: BTreeMap<u32, RingOrder>,
    pub(crate) commands: BTreeMap<Zxid, Decided>,
    /// The encoded records, those that were purged since included; checkpoints left out.
    pub(crate) records: Vec<Bytes>,
}

impl Ledger {
    /// A record has become durable.
    pub(crate) fn durable(&mut self, record: &Bytes) -> Result<(), String> {
        let decoded = decode_record(record.clone()).map_err(|e| e.to_string())?;
        let Some(Body::Accepted(accepted)) = decoded.body else {
            if let Some(Body::Promise(_)) = decoded.body {
                self.records.push(record.clone());
            }
            return Ok(());
        };
        self.records.push(record.clone());
        let ring = self.rings.entry(decoded.ring).or_default();
        if accepted.instance != ring.next {
            let (found, wanted) = (accepted.instance, ring.next);
            return Err(format!("ring {}: instance {found}, not {wanted}", decoded.ring));
        }
        ring.next += 1;
        let value = Value::decode(accepted.value).map_err(|e| e.to_string())?;
        if value.commands.is_empty() {
            ring.position = ring.position.max(value.start.0);
            return Ok(());
        }
        let first = value.start.0.max(ring.position + 1);
        for (slot, command) in (first..).zip(value.commands) {
            let zxid = Zxid::new(Slot(slot), RingId(decoded.ring as u16));
            let time_ms = value.time_ms as i64;
            self.commands.insert(zxid, Decided { command, time_ms });
            ring.position = slot;
        }
        Ok(())
    }

    /// The highest zxid on disk.
    pub(crate) fn highest(&self) -> Zxid {
        self.commands.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }
}
