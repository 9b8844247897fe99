//! Sessions live while their clients are heard, and no longer (ZOOKEEPER.md 2.7): nobody is
//! expired before its time-out has passed in silence, and whoever is silent ends.

use std::collections::BTreeMap;

use super::story::Story;
use crate::history::What;
use crate::world::World;

/// Beyond the time-out: a tick, the closing's way through ring 0, a slow disk.
const GRACE_US: u64 = 3_000_000;

/// Whoever was silent for longer than its time-out may be given up until its return is counted.
fn returns_late(world: &World) -> u64 {
    let lease_us = u64::from(world.profile.server.front_end.min_timeout_ms) * 500;
    if world.profile.alone() { 0 } else { lease_us }
}

/// A server that cannot tell ring 0's coordinator of its clients keeps them for half of the least
/// time-out, and the coordinator may have missed the last ping before that.
fn early(world: &World, timeout_us: u64) -> u64 {
    let lease_us = u64::from(world.profile.server.front_end.min_timeout_ms) * 500;
    if world.profile.alone() { 0 } else { timeout_us / 4 + lease_us }
}

pub(super) fn check(world: &World, story: &Story<'_>) -> Result<(), String> {
    let mut heard: BTreeMap<i64, u64> = BTreeMap::new();
    let mut timeouts: BTreeMap<i64, u64> = BTreeMap::new();
    let mut tried: BTreeMap<i64, u64> = BTreeMap::new();
    let mut returned: BTreeMap<i64, u64> = BTreeMap::new();
    let mut recovered = 0;
    for entry in story.entries {
        let session = story.sessions.get(&entry.conn).copied();
        match (&entry.what, session) {
            (What::Recovered, _) => recovered = entry.at_us,
            (What::Connected(response), Some(session)) => {
                let granted = response.timeout_ms as u64 * 1000;
                let least = timeouts.entry(session).or_insert(granted);
                *least = granted.min(*least);
                heard.insert(session, entry.at_us);
            }
            (What::Connecting(request), _) => {
                tried.insert(request.session, entry.at_us);
                // Granted perhaps, though the answer may be lost.
                let wanted = request.timeout_ms as u64 * 1000;
                if let Some(least) = timeouts.get_mut(&request.session) {
                    *least = wanted.clamp(100_000, *least);
                }
            }
            (What::Heard, Some(session)) => {
                let before = heard.insert(session, entry.at_us).unwrap_or(entry.at_us);
                let timeout = timeouts.get(&session).copied().unwrap_or_default();
                if entry.at_us > before + timeout {
                    returned.insert(session, entry.at_us);
                }
            }
            (What::Expiring(id), _) => {
                let (Some(heard), Some(timeout)) = (heard.get(&id.0), timeouts.get(&id.0)) else {
                    continue;
                };
                // The client hears of its session a little later than the session begins.
                let counted = if world.profile.alone() { recovered } else { 0 };
                let since = (*heard).max(counted).min(entry.at_us);
                let late = 2 * (20 + world.profile.network_us) + 1000;
                let back = returned
                    .get(&id.0)
                    .is_some_and(|back| entry.at_us <= back + returns_late(world));
                if !back && entry.at_us + late + early(world, *timeout) < since + timeout {
                    let at = entry.at_us;
                    return Err(format!("{id:?} expires at {at}, heard at {since} of {timeout}"));
                }
            }
            _ => {}
        }
    }
    let end = world.now_us;
    let longest = u64::from(world.profile.server.front_end.max_timeout_ms) * 1000;
    for session in story.model.sessions.keys() {
        let owned = world.clients.iter().any(|c| c.session == *session);
        // Nobody ever heard of it: its creation's answer was lost.
        let Some(last) = tried.get(session).max(heard.get(session)) else { continue };
        let last = (*last).max(recovered);
        if !owned && end > last + longest + GRACE_US {
            return Err(format!("session {session:#x} was last heard at {last} and still lives"));
        }
    }
    Ok(())
}
