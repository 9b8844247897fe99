//! Recovery gives the same state whatever it starts from (DESIGN 8): the newest snapshots, older
//! ones in any mixture that a crash can leave, or the whole log; and at the end it is the model's.

use std::collections::BTreeMap;

use volery_proto::ids::PartitionId;
use volery_server::core::server::Server;

use crate::disk::Snapshot;
use crate::machine::{digests, start};
use crate::model::Model;
use crate::world::World;

/// The server that has just started, against others from the same disk.
pub(crate) fn check(world: &mut World, server: &Server) -> Result<(), String> {
    let mut mixture = world.disk.snapshots.clone();
    for (partition, older) in &world.disk.older {
        if world.prng.permille(500) {
            mixture.insert(*partition, older.clone());
        }
    }
    let wanted = digests(server);
    compare(world, &wanted, &BTreeMap::new(), "the whole log")?;
    if !mixture.is_empty() && world.crashes > 0 {
        compare(world, &wanted, &mixture, "older snapshots")?;
    }
    Ok(())
}

fn compare(
    world: &World,
    wanted: &[u64],
    snapshots: &BTreeMap<PartitionId, Snapshot>,
    from: &str,
) -> Result<(), String> {
    let (config, count) = (&world.profile.server, world.profile.partitions);
    let records = world.disk.ledger.records.iter();
    let again = start(config, count, records, snapshots, world.clock.now())?;
    let found = digests(&again);
    if found == wanted {
        return Ok(());
    }
    Err(format!("replay: digests {found:x?} from {from}, {wanted:x?} at the start"))
}

/// At the end: the live server is what its log says, and what the model says.
pub(super) fn check_end(world: &World, model: &Model) -> Result<(), String> {
    let server = world.server.as_ref().ok_or("the server is down")?;
    compare(world, &digests(server), &BTreeMap::new(), "the whole log at the end")?;
    let mut count = 0;
    for partition in server.partitions() {
        count += partition.tree().node_count();
        let sessions: Vec<i64> = partition.sessions().iter().map(|(id, _)| id.0).collect();
        let wanted: Vec<i64> = model.sessions.keys().copied().collect();
        if sessions != wanted {
            return Err(format!("sessions {sessions:?}, the model has {wanted:?}"));
        }
    }
    for (path, node) in &model.nodes {
        let owner = world.profile.map.owner(path);
        let tree = server.partitions()[usize::from(owner.0) - 1].tree();
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
    if count != model.nodes.len() {
        return Err(format!("{count} znodes, the model has {}", model.nodes.len()));
    }
    Ok(())
}
