//! Watches (DESIGN 2.4 and 7): an event comes before any reply with the same or a later zxid;
//! none is lost, doubled or made up; a one-shot fires once; setWatches tells what was missed and
//! registers the rest. What the history leaves open (the exact place of a registration) is held
//! as bounds: between them an event may come, above them it must.

use std::collections::BTreeMap;

use volery_proto::ids::Zxid;
use volery_proto::zk::{Request, SetWatches2, WatcherEvent};

use super::reads;
use super::session::floors;
use super::story::{Answer, Op, Story};
use super::watching::{Class, Held, Key};
use crate::history::What;
use crate::model::Span;
use crate::world::World;

pub(super) fn check(_: &World, story: &Story<'_>) -> Result<(), String> {
    let floors = floors(story)?;
    let mut held: BTreeMap<u64, Held<'_>> = BTreeMap::new();
    for (at, entry) in story.entries.iter().enumerate() {
        let conn = entry.conn;

        let here = held.entry(conn).or_insert_with(|| Held::new(&story.model.timeline));
        let told = match &entry.what {
            What::Event { zxid, event } => here.event(*zxid, event),
            What::Reply { .. } => {
                let Some(index) = story.op_at.get(&at) else { continue };
                let low = floors.before.get(index).copied().unwrap_or_default();
                reply(here, story, &story.ops[*index], low)
            }
            _ => Ok(()),
        };
        told.map_err(|what| format!("conn {conn} at {}: {what}", entry.at_us))?;
    }
    Ok(())
}

fn reply(here: &mut Held<'_>, story: &Story<'_>, op: &Op, low: Zxid) -> Result<(), String> {
    let Some(answer) = &op.answer else { return Ok(()) };
    let told = Zxid(answer.header.zxid as u64);
    here.told(told).map_err(|what| format!("{what}\n  and now {op:?}"))?;
    let err = answer.header.err;
    let bounds = (low, answer.upper);
    match &op.request {
        Request::Exists(r) if r.watch && (err == 0 || err == -101) => {
            once(here, story, op, answer, (Class::Data, &r.path), low)
        }
        Request::GetData(r) if r.watch && err == 0 => {
            once(here, story, op, answer, (Class::Data, &r.path), low)
        }
        Request::GetChildren(r) | Request::GetChildren2(r) if r.watch && err == 0 => {
            once(here, story, op, answer, (Class::Child, &r.path), low)
        }
        Request::AddWatch(r) if err == 0 => {
            let class = if r.mode == 1 { Class::Recursive } else { Class::Persistent };
            here.always((class, r.path.to_string()), bounds);
            Ok(())
        }
        Request::RemoveWatches(r) if err == 0 || err == -121 => {
            here.remove(&r.path, r.watcher_type, answer.upper);
            Ok(())
        }
        Request::SetWatches2(lists) if err == 0 => {
            // Where the partition stays behind it is served from what the client was told on.
            let since = Zxid(lists.relative_zxid.max(0) as u64);
            let low = if story.told_is_held { low.min(since) } else { low };
            again(here, story, lists, (low, answer.upper))
        }
        _ => Ok(()),
    }
}

/// A read has registered a one-shot.
fn once(
    here: &mut Held<'_>,
    story: &Story<'_>,
    op: &Op,
    answer: &Answer,
    (class, path): (Class, &str),
    low: Zxid,
) -> Result<(), String> {
    let spans = reads::matching(&story.model.timeline, &op.request, answer, low);
    here.once((class, path.to_owned()), &spans.unwrap_or_default());
    Ok(())
}

/// What a setWatches does for a path in one state: an event now, or a registration.
fn missed(class: Class, exist: bool, span: &Span, since: i64) -> Option<i32> {
    match (class, &span.node) {
        (_, None) if exist => None,
        (_, None) => Some(2),
        (_, Some(_)) if exist => Some(1),
        (Class::Child, Some(node)) => (node.pzxid > since).then_some(4),
        (_, Some(node)) => (node.mzxid > since).then_some(3),
    }
}

/// A client came back: what it was told at once must be what it missed.
fn again(
    here: &mut Held<'_>,
    story: &Story<'_>,
    lists: &SetWatches2,
    (low, high): (Zxid, Zxid),
) -> Result<(), String> {
    let mut now = std::mem::take(&mut here.immediate);
    let one_shots = [
        (Class::Data, false, &lists.data),
        (Class::Data, true, &lists.exist),
        (Class::Child, false, &lists.child),
    ];
    let mut open: Vec<(Key, Vec<Span>, Vec<Option<i32>>)> = Vec::new();
    for (class, exist, paths) in one_shots {
        for path in paths {
            let spans = story.model.timeline.spans(path, low, high);
            let since = lists.relative_zxid;
            let outcomes = spans.iter().map(|s| missed(class, exist, s, since)).collect();
            open.push(((class, path.to_string()), spans, outcomes));
        }
    }
    // Those that leave no choice first: they say which of the events are whose.
    open.sort_by_key(|(_, _, outcomes)| outcomes.iter().any(|o| *o != outcomes[0]));
    for (key, spans, outcomes) in open {
        let due = outcomes.iter().flatten().find_map(|kind| {
            now.iter().position(|e: &WatcherEvent| e.path == *key.1 && e.event_type == *kind)
        });
        if let Some(at) = due {
            now.remove(at);
            continue;
        }
        let unchanged = spans.iter().zip(&outcomes).filter(|(_, o)| o.is_none());
        let unchanged: Vec<Span> = unchanged.map(|(span, _)| span.clone()).collect();
        if unchanged.is_empty() {
            return Err(format!("lost over a reconnect: {key:?} in {lists:?}: {spans:?}"));
        }
        here.once(key, &unchanged);
    }
    for path in &lists.persistent {
        here.always((Class::Persistent, path.to_string()), (low, high));
    }
    for path in &lists.recursive {
        here.always((Class::Recursive, path.to_string()), (low, high));
    }
    match now.first() {
        None => Ok(()),
        Some(event) => Err(format!("{event:?} at once, for no reason: {lists:?}")),
    }
}
