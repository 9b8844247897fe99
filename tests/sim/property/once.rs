//! Exactly once (DESIGN 2.7): every command on disk is one request that a client sent, none is
//! there twice, and a session's commands stand in the order in which it sent them.

use std::collections::{BTreeMap, BTreeSet};

use volery_proto::command::Operation;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::zk::ErrorCode;

use super::story::{Op, Story};
use crate::model::Outcome;
use crate::world::World;

pub(super) fn check(world: &World, story: &Story<'_>) -> Result<(), String> {
    let mut of_session: BTreeMap<i64, Vec<&Op>> = BTreeMap::new();
    for op in story.ops.iter().filter(|op| op.ordered().is_some()) {
        of_session.entry(op.session).or_default().push(op);
    }
    let answered: BTreeSet<Zxid> = story.ops.iter().filter_map(Op::zxid).collect();
    let mut on_disk: BTreeMap<i64, Vec<Zxid>> = BTreeMap::new();
    for (zxid, decided) in &world.ledger.commands {
        let command = &decided.command;
        // A barrier of an older connection changes nothing, whenever it is ordered.
        let asked = match &command.operation {
            Operation::Write(_) => true,
            Operation::Sync(_) => answered.contains(zxid),
            _ => false,
        };
        // Of a session that has ended since, or was re-opened elsewhere: nothing happens.
        let effective = matches!(
            story.outcomes.get(zxid),
            Some(Outcome::Answer { err, .. }) if *err != ErrorCode::SessionExpired.code()
        );
        if asked && effective && command.session != SessionId(0) {
            on_disk.entry(command.session.0).or_default().push(*zxid);
        }
    }
    for (session, zxids) in on_disk {
        let ops = of_session.get(&session).map_or(&[][..], |ops| ops);
        session_once(world, &zxids, ops)?;
    }
    Ok(())
}

/// Every command stands for a request of its own, in the order of the requests.
fn session_once(world: &World, zxids: &[Zxid], ops: &[&Op]) -> Result<(), String> {
    let answered: BTreeSet<Zxid> = ops.iter().filter_map(|op| op.zxid()).collect();
    let mut left = zxids.iter().peekable();
    for op in ops {
        let Some(zxid) = left.peek() else { return Ok(()) };
        let Some(operation) = op.ordered() else { continue };
        let same = world
            .ledger
            .commands
            .get(*zxid)
            .is_some_and(|decided| decided.command.operation == operation);
        let its_own = match op.zxid() {
            Some(own) => own == **zxid,
            None => same && !answered.contains(*zxid),
        };
        if its_own {
            left.next();
        }
    }
    match left.next() {
        None => Ok(()),
        Some(zxid) => {
            let command = world.ledger.commands.get(zxid);
            Err(format!("{zxid} is nobody's request, or a second time: {command:?}"))
        }
    }
}
