//! Writes are linearizable (DESIGN 2.1): every reply is what the dumb model says at that zxid,
//! and zxid order follows real time: within a ring, through ring 0, and everywhere where there is
//! one server and its clock does not go back.

use std::collections::BTreeMap;

use volery_proto::ids::{RingId, Zxid};
use volery_proto::zk::Request;

use super::story::{Op, Story};
use crate::history::What;
use crate::model::Outcome;
use crate::world::World;

/// What was acknowledged before a request left.
#[derive(Clone, Debug, Default)]
struct Floor {
    rings: BTreeMap<RingId, Zxid>,
    all: Zxid,
}

pub(super) fn check(world: &World, story: &Story<'_>) -> Result<(), String> {
    let mut known = Floor::default();
    let mut floors: BTreeMap<usize, Floor> = BTreeMap::new();
    for (at, entry) in story.entries.iter().enumerate() {
        let Some(index) = story.op_at.get(&at) else { continue };
        let op = &story.ops[*index];
        if op.ordered().is_none() {
            continue;
        }
        match &entry.what {
            What::Sent(_) => {
                floors.insert(*index, known.clone());
            }
            What::Reply { .. } => {
                let Some(zxid) = op.zxid() else { continue };
                result(story, op, zxid)?;
                if let Some(floor) = floors.remove(index) {
                    real_time(world, op, zxid, &floor)?;
                }
                known.all = known.all.max(zxid);
                let ring = known.rings.entry(zxid.ring()).or_default();
                *ring = (*ring).max(zxid);
            }
            _ => {}
        }
    }
    Ok(())
}

fn result(story: &Story<'_>, op: &Op, zxid: Zxid) -> Result<(), String> {
    let Some(answer) = &op.answer else { return Ok(()) };
    let got = Outcome::Answer { err: answer.header.err, body: answer.body.clone() };
    match story.outcomes.get(&zxid) {
        Some(outcome) if *outcome == got => Ok(()),
        outcome => Err(format!("{op:?}\n  the model says {outcome:?}")),
    }
}

fn real_time(world: &World, op: &Op, zxid: Zxid, floor: &Floor) -> Result<(), String> {
    let ring = zxid.ring();
    let in_ring = floor.rings.get(&ring).copied().unwrap_or_default();
    // A sync is a barrier for everything, whatever its path.
    let barrier = ring == RingId::GLOBAL || matches!(op.request, Request::Sync(_));
    let by_clock = barrier || (world.profile.alone() && !world.profile.clock_back);
    let least = if by_clock { floor.all } else { in_ring };
    if zxid > least {
        return Ok(());
    }
    Err(format!("{op:?} has {zxid}, but {least} was acknowledged before it was sent"))
}
