//! What the sessions of the model were promised (DESIGN section 2, rules 2 to 4), judged by what
//! each client was told, in order, and by the zxids of the writes that took effect.

use std::collections::BTreeMap;

use volery_proto::ids::Zxid;

use super::client::{Client, Do, Step, Told};

/// A write that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Write {
    pub(super) path: String,
    /// The client and the step; `None`: the model's own.
    pub(super) by: Option<(usize, usize)>,
}

/// By their place in the one order of all writes.
pub(super) type Writes = BTreeMap<Zxid, Write>;

/// The first write of a znode above a zxid.
fn next(writes: &Writes, path: &str, after: Zxid) -> Option<Zxid> {
    let mut later = writes.range(Zxid(after.0 + 1)..);
    later.find(|(_, write)| write.path == path).map(|(zxid, _)| *zxid)
}

/// What else is promised, or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// Reads are linearizable.
    pub(super) linearizable: bool,
    /// Events may pass what is still to be answered in a partition that stays behind.
    pub(super) passes: bool,
}

/// There is one order of all writes, the zxid order, and no session goes back in it, whatever it
/// does (rows 6 to 11); after a sync it sees what had been answered before, to anybody (row 14).
/// Where reads are linearizable, so does every read.
pub(super) fn session_order(
    (me, client, steps): (usize, &Client, &[Step]),
    writes: &Writes,
    promise: Promise,
) -> bool {
    let mut moves = (0..steps.len()).filter(|step| steps[*step].what == Do::Move);
    let mut low = Zxid::ZERO;
    let mut heard = Zxid::ZERO;
    let mut answered = 0;
    for told in &client.told {
        match told {
            Told::Event { zxid, .. } => heard = heard.max(zxid.unwrap_or_default()),
            Told::Moved => {
                // What was under way and took effect, did so between what came before and after.
                let until = moves.next().unwrap_or(steps.len());
                let lost = (answered..until).filter_map(|step| own(writes, me, step));
                for zxid in lost.collect::<Vec<_>>() {
                    if zxid <= low {
                        return false;
                    }
                    low = zxid;
                }
            }
            Told::Reply { step, shown, err, .. } => {
                answered = step + 1;
                match steps[*step].what {
                    Do::Read(path) | Do::Watch(path) => {
                        low = low.max(heard).max(*shown);
                        if promise.linearizable {
                            low = low.max(client.floors[*step]);
                        }
                        if next(writes, path, *shown).is_some_and(|next| next <= low) {
                            return false;
                        }
                    }
                    Do::Write(_) if *err == 0 => {
                        let Some(zxid) = own(writes, me, *step) else { return false };
                        if zxid <= low || (zxid < heard && !promise.passes) {
                            return false;
                        }
                        low = zxid;
                    }
                    Do::Sync(_) => low = low.max(client.floors[*step]),
                    Do::Write(_) | Do::Move => {}
                }
            }
        }
    }
    true
}

/// Where a client's write took effect.
pub(super) fn own(writes: &Writes, me: usize, step: usize) -> Option<Zxid> {
    let mut all = writes.iter();
    all.find(|(_, write)| write.by == Some((me, step))).map(|(zxid, _)| *zxid)
}

/// Every change is told once, and before any result with the same or a later zxid (rows 15, 16).
/// At the `end` nothing is still to come.
pub(super) fn watches(client: &Client, steps: &[Step], writes: &Writes, end: bool) -> bool {
    let mut held: Vec<(&str, Zxid)> = Vec::new();
    for told in &client.told {
        match told {
            Told::Event { path, zxid } => {
                let Some(at) = held.iter().position(|(watched, _)| watched == path) else {
                    return false;
                };
                let (_, since) = held.swap_remove(at);
                let due = next(writes, path, since);
                if due.is_none() || zxid.is_some_and(|zxid| Some(zxid) != due) {
                    return false;
                }
            }
            Told::Reply { step, header, shown, .. } => {
                let late = |(path, since): &(&str, Zxid)| {
                    next(writes, path, *since).is_some_and(|due| due <= *header)
                };
                if held.iter().any(late) {
                    return false;
                }
                if let Do::Watch(path) = steps[*step].what {
                    held.push((path, *shown));
                }
            }
            Told::Moved => {}
        }
    }
    !end || held.iter().all(|(path, since)| next(writes, path, *since).is_none())
}
