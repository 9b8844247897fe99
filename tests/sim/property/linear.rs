//! Linearizable reads, where the servers are asked for them (DESIGN section 2): a read shows no
//! state that was over before it was sent, as far as anybody could know: by the answer to a write,
//! by what another read has shown, by an event, to whatever session.

use std::collections::BTreeMap;

use volery_proto::ids::Zxid;
use volery_proto::zk::Request;

use super::reads;
use super::story::Story;
use crate::history::What;
use crate::world::World;

pub(super) fn check(world: &World, story: &Story<'_>) -> Result<(), String> {
    if !world.profile.server.front_end.linearizable_reads {
        return Ok(());
    }
    let mut known = Zxid::ZERO;
    let mut floors: BTreeMap<usize, Zxid> = BTreeMap::new();
    for (at, entry) in story.entries.iter().enumerate() {
        match &entry.what {
            What::Sent(_) => {
                floors.extend(story.op_at.get(&at).map(|op| (*op, known)));
            }
            What::Reply { header, .. } => {
                let Some(index) = story.op_at.get(&at) else { continue };
                let (op, floor) = (&story.ops[*index], floors.remove(index).unwrap_or_default());
                // It only sets watches again.
                if op.ordered().is_none() && !matches!(op.request, Request::SetWatches2(_)) {
                    reads::observed(&story.model.timeline, op, floor)?;
                }
                known = known.max(Zxid(header.zxid as u64));
            }
            What::Event { zxid, .. } if *zxid > 0 => known = known.max(Zxid(*zxid as u64)),
            _ => {}
        }
    }
    Ok(())
}
