//! Recovery gives the same state whatever it starts from (DESIGN 8): the newest snapshots, any
//! mixture of those that are kept, or the whole log; and at the end it is the model's.

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::ids::PartitionId;
use volery_server::core::server::Server;

use crate::disk::Snapshot;
use crate::machine::{digests, start};
use crate::model::Model;
use crate::world::World;

/// The server that has just started, against others from the same disk.
pub(crate) fn check(world: &mut World, server: &Server) -> Result<(), String> {
    let prng = &mut world.prng;
    let mixture = world.machines[0].disk.snapshots(|kept| prng.below(kept as u64) as usize);
    let wanted = digests(server);
    compare_whole(world, &wanted, "the whole log")?;
    compare(world, &wanted, world.machines[0].disk.records(), &mixture, "older snapshots")
}

fn compare_whole(world: &World, wanted: &[u64], from: &str) -> Result<(), String> {
    compare(world, wanted, world.machines[0].disk.records.iter(), &BTreeMap::new(), from)
}

fn compare<'a>(
    world: &World,
    wanted: &[u64],
    records: impl Iterator<Item = &'a Bytes>,
    snapshots: &BTreeMap<PartitionId, Snapshot>,
    from: &str,
) -> Result<(), String> {
    let config = &world.profile.server;
    let now = world.machines[0].now(world.now_us);
    let again = start(config, records, snapshots, false, now)
        .map_err(|error| format!("{error}, from {from}"))?;
    let found = digests(&again);
    if found == wanted {
        return Ok(());
    }
    Err(format!("replay: digests {found:x?} from {from}, {wanted:x?} at the start"))
}

/// At the end: every live server is what the model says, and one alone is what its log says.
pub(super) fn check_end(world: &World, model: &Model) -> Result<(), String> {
    for machine in &world.machines {
        let server = machine.server.as_ref().ok_or("a server is down")?;
        if world.profile.alone() {
            let wanted = digests(server);
            compare_whole(world, &wanted, "the whole log at the end")?;
            let oldest = machine.disk.snapshots(|kept| kept);
            let records = machine.disk.records();
            compare(world, &wanted, records, &oldest, "the oldest snapshots at the end")?;
        }
        check_state(world, server, model)?;
    }
    Ok(())
}

fn check_state(world: &World, server: &Server, model: &Model) -> Result<(), String> {
    let mut count = 0;
    for partition in server.partitions() {
        count += partition.tree().node_count();
        let sessions: Vec<i64> = partition.sessions().iter().map(|(id, _)| id.0).collect();
        let wanted: Vec<i64> = model.sessions.keys().copied().collect();
        if sessions != wanted {
            return Err(format!("sessions {sessions:?}, the model has {wanted:?}"));
        }
    }
    let mut elsewhere = 0;
    for (path, node) in &model.nodes {
        let owner = world.profile.map.owner(path);
        let here = server.partitions().iter().find(|partition| partition.id() == owner);
        let Some(partition) = here else {
            elsewhere += 1;
            continue;
        };
        let tree = partition.tree();
        let Some(found) = tree.get(path) else { return Err(format!("{path} is not there")) };
        let mut children: Vec<&str> = found.children().collect();
        children.sort_unstable();
        let same = found.stat() == node.stat()
            && found.data() == node.data.as_deref()
            && found.acl()[..] == node.acl[..]
            && children.iter().eq(node.children.iter());
        if !same {
            return Err(format!("{path} is {:?} {children:?}, not {node:?}", found.stat()));
        }
    }
    if count + elsewhere != model.nodes.len() {
        let wanted = model.nodes.len() - elsewhere;
        return Err(format!("{count} znodes, the model has {wanted}"));
    }
    Ok(())
}
