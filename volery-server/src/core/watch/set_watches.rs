//! setWatches and setWatches2: what a client missed while it was away, and what it still watches.
//! A read like any other: the caller runs it at or above the frontier. No ACL filters it.
//! Called by the replica, with the part of the lists whose paths are its partition's.

use bytestring::ByteString;
use volery_proto::ids::Zxid;
use volery_proto::zk::{SetWatches, SetWatches2, Stat};

use super::event::EventType;
use super::kind::WatchKind;
use super::table::WatchTable;
use crate::core::read::{ReadNode, ReadView};
use crate::core::types::ConnId;

/// An event that is sent before the reply, with header zxid -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImmediateEvent {
    /// Position of its path in the lists as given, one after the other: the parts that several
    /// partitions answer are merged by it.
    pub index: u32,
    /// What happened.
    pub kind: EventType,
    /// To which znode.
    pub path: ByteString,
}

/// What a setWatches came to; the rest of its lists is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetWatchesOutcome {
    /// In list order.
    pub events: Vec<ImmediateEvent>,
    /// The frontier rises to this.
    pub observed: Zxid,
}

/// A setWatches is a setWatches2 without persistent watches.
#[must_use]
pub fn widen(lists: SetWatches) -> SetWatches2 {
    let SetWatches { relative_zxid, data, exist, child } = lists;
    SetWatches2 { relative_zxid, data, exist, child, ..SetWatches2::default() }
}

/// Sends what was missed and registers the rest, by the table of ZOOKEEPER.md 2.5.
pub fn set_watches<V: ReadView>(
    table: &mut WatchTable,
    conn: ConnId,
    lists: &SetWatches2,
    view: &V,
    last_write: Zxid,
) -> SetWatchesOutcome {
    let mut outcome = SetWatchesOutcome::default();
    let mut index = 0;
    let mut evaluate = |paths: &[ByteString], kind, missed: &dyn Fn(Option<&Stat>) -> Missed| {
        for path in paths {
            let stat = view.get(path).map(|node| node.stat());
            let Missed { event, observed } = missed(stat.as_ref());
            outcome.observed = outcome.observed.max(observed.unwrap_or(last_write));
            match event {
                Some(kind) => {
                    outcome.events.push(ImmediateEvent { index, kind, path: path.clone() });
                }
                None => table.add(path, conn, kind),
            }
            index += 1;
        }
    };
    let since = lists.relative_zxid;
    evaluate(&lists.data, WatchKind::Data, &|stat| missed_data(stat, since));
    evaluate(&lists.exist, WatchKind::Data, &missed_creation);
    evaluate(&lists.child, WatchKind::Child, &|stat| missed_children(stat, since));
    for path in &lists.persistent {
        table.add(path, conn, WatchKind::Persistent);
    }
    for path in &lists.recursive {
        table.add(path, conn, WatchKind::Recursive);
    }
    outcome
}

/// What a client missed of one znode.
struct Missed {
    event: Option<EventType>,
    /// `None`: the znode is not there, and the partition's last write stands for that.
    observed: Option<Zxid>,
}

fn missed_data(stat: Option<&Stat>, since: i64) -> Missed {
    let Some(stat) = stat else { return Missed::deleted() };
    let changed = stat.mzxid > since;
    Missed {
        event: changed.then_some(EventType::NodeDataChanged),
        observed: Some(zxid(stat.mzxid)),
    }
}

fn missed_creation(stat: Option<&Stat>) -> Missed {
    Missed {
        event: stat.map(|_| EventType::NodeCreated),
        observed: stat.map(|stat| zxid(stat.mzxid)),
    }
}

fn missed_children(stat: Option<&Stat>, since: i64) -> Missed {
    let Some(stat) = stat else { return Missed::deleted() };
    let changed = stat.pzxid > since;
    Missed {
        event: changed.then_some(EventType::NodeChildrenChanged),
        observed: Some(zxid(stat.pzxid)),
    }
}

impl Missed {
    fn deleted() -> Missed {
        Missed { event: Some(EventType::NodeDeleted), observed: None }
    }
}

fn zxid(raw: i64) -> Zxid {
    // Zxids are 63 bits wide.
    Zxid(raw as u64)
}
