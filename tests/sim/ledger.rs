//! The order of the service as its logs say it: a value is chosen once a majority of the servers
//! has it on disk at one ballot, and every command of it gets its zxid. Computed afresh from the
//! records on disk; it uses neither the rings' nor the merge's code. It judges agreement: no two
//! values for one instance. Fed by the disks, read by the model and the properties.

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::command::{Command, Value};
use volery_proto::ids::{PartitionId, RingId, Slot, Zxid};
use volery_proto::ring::decode_record;
use volery_proto::wire::log_record::Body;

use crate::machine::Machine;

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
    /// By instance: what was accepted at each ballot, and by whom, a bit each.
    accepted: BTreeMap<u64, Vec<(u64, Bytes, u64)>>,
    chosen: BTreeMap<u64, Bytes>,
}

/// Everything decided.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// By ring: its acceptors, a bit each.
    acceptors: BTreeMap<u32, u64>,
    rings: BTreeMap<u32, RingOrder>,
    pub(crate) commands: BTreeMap<Zxid, Decided>,
}

impl Ledger {
    /// Of a service of these servers.
    pub(crate) fn new(machines: &[Machine]) -> Ledger {
        let config = &machines[0].config;
        let bits = |ring: RingId| {
            let (voters, _) = config.cluster.ring(ring);
            let votes = |machine: &Machine| voters.contains(&machine.config.server);
            let bits = machines.iter().enumerate().filter(|(_, machine)| votes(machine));
            (u32::from(ring.0), bits.fold(0, |bits, (at, _)| bits | 1 << at))
        };
        let partitions = config.map.partitions().map(PartitionId::ring);
        let acceptors = std::iter::once(RingId::GLOBAL).chain(partitions).map(bits).collect();
        Ledger { acceptors, rings: BTreeMap::new(), commands: BTreeMap::new() }
    }

    /// A record has become durable at a server.
    pub(crate) fn durable(&mut self, server: usize, record: &Bytes) -> Result<(), String> {
        let decoded = decode_record(record.clone()).map_err(|e| e.to_string())?;
        let Some(Body::Accepted(accepted)) = decoded.body else { return Ok(()) };
        let (instance, value) = (accepted.instance, accepted.value);
        let ring = self.rings.entry(decoded.ring).or_default();
        let at = format!("ring {}, instance {instance}", decoded.ring);
        let ballots = ring.accepted.entry(instance).or_default();
        let known = ballots.iter().position(|(ballot, ..)| *ballot == accepted.ballot);
        let index = known.unwrap_or_else(|| {
            ballots.push((accepted.ballot, value.clone(), 0));
            ballots.len() - 1
        });
        let (ballot, first, servers) = &mut ballots[index];
        if *first != value {
            return Err(format!("agreement: {at} has two values at ballot {ballot}"));
        }
        let acceptors = self.acceptors.get(&decoded.ring).copied().unwrap_or_default();
        if acceptors & 1 << server == 0 {
            return Err(format!("agreement: server {server} votes in {at}, and is no acceptor"));
        }
        *servers |= 1 << server;
        if servers.count_ones() <= acceptors.count_ones() / 2 {
            return Ok(());
        }
        match ring.chosen.get(&instance) {
            Some(other) if *other != value => {
                return Err(format!("agreement: {at} is decided twice, with different values"));
            }
            Some(_) => return Ok(()),
            None => ring.chosen.insert(instance, value),
        };
        self.advance(decoded.ring)
    }

    /// Gives the commands of a ring their zxids, as far as it is decided without a gap.
    fn advance(&mut self, ring_id: u32) -> Result<(), String> {
        let ring = self.rings.entry(ring_id).or_default();
        while let Some(value) = ring.chosen.get(&ring.next) {
            ring.next += 1;
            let value = Value::decode(value.clone()).map_err(|e| e.to_string())?;
            if value.commands.is_empty() {
                ring.position = ring.position.max(value.start.0);
                continue;
            }
            let first = value.start.0.max(ring.position + 1);
            for (slot, command) in (first..).zip(value.commands) {
                let zxid = Zxid::new(Slot(slot), RingId(ring_id as u16));
                let time_ms = value.time_ms as i64;
                self.commands.insert(zxid, Decided { command, time_ms });
                ring.position = slot;
            }
        }
        Ok(())
    }

    /// The highest zxid that concerns a partition.
    pub(crate) fn highest_of(&self, partition: PartitionId) -> Zxid {
        let concerns = |zxid: &&Zxid| zxid.ring().0 == 0 || zxid.ring() == partition.ring();
        self.commands.keys().rev().find(concerns).copied().unwrap_or_default()
    }

    /// The highest zxid that is decided.
    pub(crate) fn highest(&self) -> Zxid {
        self.commands.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }
}
