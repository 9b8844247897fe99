//! What is set aside, in a snapshot: the commands themselves, with what was fixed when they were
//! delivered and the contributions that have come. What follows from the command is left out.
//! Called by the replica's snapshots.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::command::{Operation, Value};
use volery_proto::ids::{PartitionId, SessionId, Zxid};
use volery_proto::wire;

use super::{Footprint, Item, Place, Removal, SetAside, Work};
use crate::core::apply::Contribution;
use crate::core::executor::SnapshotError;
use crate::core::merge::Delivery;
use crate::core::oracle::{Destination, PartitionMap};

impl SetAside {
    /// Everything, in order.
    pub(in super::super) fn to_wire(&self) -> Vec<wire::SetAsideItem> {
        self.items.iter().map(|(place, item)| item_to_wire(*place, item)).collect()
    }

    /// One item, behind those before it. `outbox` says whether this partition has contributed.
    pub(in super::super) fn restore(
        &mut self,
        item: wire::SetAsideItem,
        own: PartitionId,
        map: &PartitionMap,
        outbox: &dyn Fn(Zxid) -> bool,
    ) -> Result<(), SnapshotError> {
        let place = (Zxid(item.zxid), item.part);
        let last = self.items.last_key_value().map_or((Zxid::ZERO, u32::MAX), |(last, _)| *last);
        if place <= last {
            return Err(SnapshotError::Field("order of what is set aside"));
        }
        let (work, footprint) = if item.part > 0 {
            let removals: Vec<Removal> = item.removals.into_iter().map(removal).collect();
            let footprint = Footprint::of_removals(&removals);
            (Work::Ending { session: SessionId(item.session), removals }, footprint)
        } else {
            let contributed = outbox(place.0);
            write(place.0, item.value, item.given, contributed, own, map)?
        };
        self.insert(place, Item::new(work, item.time_ms, footprint));
        Ok(())
    }
}

fn item_to_wire((zxid, part): Place, item: &Item) -> wire::SetAsideItem {
    let mut to = wire::SetAsideItem {
        zxid: zxid.0,
        part,
        time_ms: item.time_ms,
        ..wire::SetAsideItem::default()
    };
    match &item.work {
        Work::Alone(delivery) => to.value = value(delivery),
        Work::Exchange { delivery, given, .. } => {
            to.value = value(delivery);
            to.given = given
                .iter()
                .map(|(from, what)| wire::GivenContribution {
                    from: u32::from(from.0),
                    contribution: what.encode(),
                })
                .collect();
        }
        Work::Ending { session, removals } => {
            to.session = session.0;
            to.removals = removals
                .iter()
                .map(|r| wire::Removal { path: r.path.to_string(), sequential: r.sequential })
                .collect();
        }
    }
    to
}

fn value(delivery: &Delivery) -> Bytes {
    let commands = vec![delivery.command().clone()];
    Value { start: delivery.zxid.slot(), time_ms: delivery.time_ms, commands }.encode()
}

fn removal(from: wire::Removal) -> Removal {
    Removal { path: ByteString::from(from.path), sequential: from.sequential }
}

fn write(
    zxid: Zxid,
    bytes: Bytes,
    given: Vec<wire::GivenContribution>,
    contributed: bool,
    own: PartitionId,
    map: &PartitionMap,
) -> Result<(Work, Footprint), SnapshotError> {
    const WHAT: SnapshotError = SnapshotError::Field("command set aside");
    // A copy: what is cut out of a chunk would hold on to all of it.
    let value = Value::decode(Bytes::copy_from_slice(&bytes)).map_err(|_| WHAT)?;
    let time_ms = value.time_ms;
    let command = value.commands.into_iter().next().ok_or(WHAT)?;
    let Operation::Write(request) = &command.operation else { return Err(WHAT) };
    let footprint = Footprint::of_write(request);
    let others = match map.destination(&command.operation) {
        Destination::Several(all) => all.into_iter().filter(|p| *p != own).collect(),
        _ => Vec::new(),
    };
    let delivery = Delivery::again(zxid, time_ms, command);
    if others.is_empty() {
        return Ok((Work::Alone(delivery), footprint));
    }
    let given = given
        .into_iter()
        .map(|given| {
            let from = u16::try_from(given.from).map_err(|_| WHAT)?;
            let bytes = Bytes::copy_from_slice(&given.contribution);
            let contribution = Contribution::decode(bytes).map_err(|_| WHAT)?;
            Ok((PartitionId(from), Arc::new(contribution)))
        })
        .collect::<Result<_, SnapshotError>>()?;
    Ok((Work::Exchange { delivery, others, contributed, given }, footprint))
}
