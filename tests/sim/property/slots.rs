//! Slots stay with the clocks (DESIGN 4, ATTACKS rows 20 and 21): no message and no single clock
//! moves the service's time, and rings do not pull each other.

use volery_proto::ids::Slot;

use super::story::Story;
use crate::world::World;

/// What a demand may be above every clock; and what it takes to hear the clocks.
const DEMANDED_US: u64 = 10_000_000;
const HEARD_US: u64 = 100_000;

pub(super) fn check(world: &World, _: &Story<'_>) -> Result<(), String> {
    let profile = &world.profile;
    if profile.alone() {
        return Ok(());
    }
    let reached = world.ledger.highest().slot();
    let commands = world.ledger.commands.len() as u64 + profile.server.skip.global_ahead;
    let above = |clock_us: u64, bound_us: u64| {
        let most = Slot::from_unix_us(clock_us + bound_us).0 + commands;
        (reached.0 > most).then(|| format!("slot {reached}, though no clock allows above {most}"))
    };
    let faults = &profile.faults;
    let heard = faults.cut_us + faults.crash_us + faults.wipe_us + profile.net.loss_permille == 0;
    let lead_us = profile.server.cluster.clock_lead_us + HEARD_US;
    let broken = above(world.clock_most_us, DEMANDED_US)
        .or_else(|| above(world.median_most_us, lead_us).filter(|_| heard && faults.lie_us == 0));
    broken.map_or(Ok(()), Err)
}
