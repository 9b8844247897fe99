//! No session hangs on a dead partition (DESIGN 6.5 and 7, ATTACKS row 24): what does not need it
//! is answered within a bound of its turn, whatever the session watches; and what several
//! partitions would have to do together is refused once it is known.

use std::collections::BTreeMap;

use volery_proto::ids::{PartitionId, Slot, Zxid};
use volery_proto::zk::{MultiOp, Request};

use super::story::{Op, Story};
use crate::history::What;
use crate::world::World;

/// Longer than that nothing takes that is not held up, beside the bound of the servers.
const PATIENCE_US: u64 = 600_000;

/// The turns of one connection: answers come in the order of requests.
#[derive(Debug, Default)]
struct Turns {
    /// Places in the history, and what was sent there.
    sent: Vec<(u64, usize)>,
    answered_us: u64,
}

pub(super) fn check(world: &World, story: &Story<'_>) -> Result<(), String> {
    let Some((ring, _, until_us)) = world.profile.mute else { return Ok(()) };
    let dead = PartitionId(ring.0);
    let mut turns: BTreeMap<u64, Turns> = BTreeMap::new();
    for (at, entry) in story.entries.iter().enumerate() {
        let turns = turns.entry(entry.conn).or_default();
        match &entry.what {
            What::Sent(_) => {
                let op = story.op_at.get(&at).copied();
                turns.sent.extend(op.map(|op| (entry.at_us, op)));
            }
            What::Reply { .. } | What::Lost => {
                if turns.sent.is_empty() {
                    continue;
                }
                let (sent_us, op) = turns.sent.remove(0);
                let op = &story.ops[op];
                let since_us = sent_us.max(turns.answered_us);
                let waited_us = entry.at_us.min(until_us).saturating_sub(since_us);
                let bound_us = world.profile.server.front_end.stale_us + PATIENCE_US;
                if waited_us > bound_us && !needs(world, op, sent_us, dead) {
                    return Err(format!("since {since_us} {op:?} has waited {waited_us} us"));
                }
                turns.answered_us = entry.at_us;
                if matches!(entry.what, What::Lost) {
                    turns.sent.clear();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a request has to wait for the dead partition.
fn needs(world: &World, op: &Op, sent_us: u64, dead: PartitionId) -> bool {
    let map = &world.profile.map;
    let owned = |path: &str| map.owner(path) == dead;
    match &op.request {
        Request::GetData(r) | Request::Exists(r) => owned(&r.path),
        Request::SetData(r) => owned(&r.path),
        Request::Multi(ops) => {
            let mut owners: Vec<PartitionId> = ops
                .iter()
                .filter_map(|op| match op {
                    MultiOp::SetData(r) => Some(map.owner(&r.path)),
                    _ => None,
                })
                .collect();
            owners.dedup();
            let (_, from_us, _) = world.profile.mute.unwrap_or_default();
            let known_us = from_us + world.profile.server.front_end.stale_us + PATIENCE_US;
            // Of a partition elsewhere nobody knows that it delivers nothing but who waits for it.
            let elsewhere = !world.profile.server.cluster.placement.is_empty();
            owners.contains(&dead) && (owners.len() == 1 || sent_us < known_us || elsewhere)
                // One that was asked for before holds the znodes.
                || !owners.contains(&dead)
        }
        // What was told last may be what this server's replica has not learned before the end.
        Request::SetWatches2(lists) => {
            let (_, from_us, _) = world.profile.mute.unwrap_or_default();
            let before_us = from_us.saturating_sub(PATIENCE_US / 2);
            let end = Slot::from_unix_us(world.machines[0].now(before_us).unix_us);
            Zxid(lists.relative_zxid.max(0) as u64).slot() >= end
        }
        Request::Ping => false,
        _ => true,
    }
}
