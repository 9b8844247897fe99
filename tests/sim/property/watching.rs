//! The watches that one connection holds as its client must think of them, and the events that
//! they allow and demand. Used by the property of watches.

use std::collections::BTreeMap;

use volery_proto::ids::Zxid;
use volery_proto::zk::WatcherEvent;

use crate::model::{Fired, FiredKind, Span, Timeline};

/// The ways to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Data,
    Child,
    Persistent,
    Recursive,
}

/// A watch.
pub(crate) type Key = (Class, String);

impl Class {
    fn hears(self, kind: FiredKind) -> bool {
        match self {
            Class::Data | Class::Recursive => kind != FiredKind::ChildrenChanged,
            Class::Child => matches!(kind, FiredKind::Deleted | FiredKind::ChildrenChanged),
            Class::Persistent => true,
        }
    }
}

/// The first event that a one-shot can have: `None`: none, or one that may not be read.
type First = Option<(Zxid, FiredKind)>;

/// A lasting watch: registered between `low` and `high`, removed not after `until`.
#[derive(Clone, Debug)]
struct Lasting {
    low: Zxid,
    high: Zxid,
    removed: Option<Zxid>,
}

/// The watches of one connection.
pub(crate) struct Held<'a> {
    timeline: &'a Timeline,
    one_shots: BTreeMap<Key, Vec<First>>,
    /// One-shots that were removed, or registered again: they may still have fired before.
    fading: Vec<(Key, Vec<First>)>,
    lasting: BTreeMap<Key, Vec<Lasting>>,
    /// Events told, by change.
    heard: BTreeMap<(Zxid, FiredKind, String), usize>,
    told: Zxid,
    /// Events of a setWatches, before its reply.
    pub(crate) immediate: Vec<WatcherEvent>,
}

fn kind_of(number: i32) -> Result<FiredKind, String> {
    Ok(match number {
        1 => FiredKind::Created,
        2 => FiredKind::Deleted,
        3 => FiredKind::DataChanged,
        4 => FiredKind::ChildrenChanged,
        _ => return Err(format!("event type {number}")),
    })
}

fn covers(watched: &str, path: &str) -> bool {
    watched == "/" || path == watched || path.starts_with(&format!("{watched}/"))
}

impl<'a> Held<'a> {
    pub(crate) fn new(timeline: &'a Timeline) -> Held<'a> {
        Held {
            timeline,
            one_shots: BTreeMap::new(),
            fading: Vec::new(),
            lasting: BTreeMap::new(),
            heard: BTreeMap::new(),
            told: Zxid::ZERO,
            immediate: Vec::new(),
        }
    }

    /// A one-shot is registered in one of these states.
    pub(crate) fn once(&mut self, key: Key, spans: &[Span]) {
        let firsts = spans.iter().map(|span| self.first(&key, span.until)).collect();
        if let Some(before) = self.one_shots.insert(key.clone(), firsts) {
            self.fading.push((key, before));
        }
    }

    fn first(&self, (class, path): &Key, from: Zxid) -> First {
        let mut after = self.timeline.fired_at(path).filter(|f| f.zxid >= from);
        let fired = after.find(|f| class.hears(f.kind))?;
        fired.readable.then_some((fired.zxid, fired.kind))
    }

    /// A lasting watch is registered.
    pub(crate) fn always(&mut self, key: Key, (low, high): (Zxid, Zxid)) {
        let registered = self.lasting.entry(key).or_default();
        if registered.last().is_none_or(|l| l.removed.is_some()) {
            registered.push(Lasting { low, high, removed: None });
        }
    }

    /// Watches of this type on this path are removed, if there were any.
    pub(crate) fn remove(&mut self, path: &str, watcher_type: i32, upper: Zxid) {
        for (number, class) in
            [(1, Class::Child), (2, Class::Data), (4, Class::Persistent), (5, Class::Recursive)]
        {
            if watcher_type != number && watcher_type != 3 {
                continue;
            }
            let key = (class, path.to_owned());
            if let Some(firsts) = self.one_shots.remove(&key) {
                self.fading.push((key.clone(), firsts));
            }
            for lasting in self.lasting.get_mut(&key).into_iter().flatten() {
                lasting.removed.get_or_insert(upper);
            }
        }
    }

    /// An event has come.
    pub(crate) fn event(&mut self, zxid: i64, event: &WatcherEvent) -> Result<(), String> {
        if zxid == -1 {
            self.immediate.push(event.clone());
            return Ok(());
        }
        let zxid = Zxid(zxid as u64);
        let (kind, path) = (kind_of(event.event_type)?, event.path.to_string());
        if zxid <= self.told {
            return Err(format!("late: {kind:?} {path} of {zxid} after a reply of {}", self.told));
        }
        let changes = self.timeline.fired_at(&path).filter(|f| f.zxid == zxid && f.kind == kind);
        let count = changes.count();
        let heard = self.heard.entry((zxid, kind, path.clone())).or_default();
        *heard += 1;
        if *heard > count {
            let heard = *heard;
            return Err(format!("{kind:?} {path} of {zxid}: heard {heard} times, was {count}"));
        }
        if self.justified(zxid, kind, &path) {
            return Ok(());
        }
        Err(format!("made up: {kind:?} {path} of {zxid}; held {:?}", self.one_shots))
    }

    /// Whether a watch allows the event; one-shots are used up by it.
    fn justified(&mut self, zxid: Zxid, kind: FiredKind, path: &str) -> bool {
        let mut found = false;
        for class in [Class::Data, Class::Child] {
            let key = (class, path.to_owned());
            let fits = |firsts: &Vec<First>| firsts.contains(&Some((zxid, kind)));
            if self.one_shots.get(&key).is_some_and(fits) {
                self.one_shots.remove(&key);
                found = true;
            }
            let before = self.fading.len();
            self.fading.retain(|(k, firsts)| *k != key || !fits(firsts));
            found |= self.fading.len() < before;
        }
        found
            || self.lasting.iter().any(|((class, watched), registered)| {
                let here = match class {
                    Class::Recursive => covers(watched, path),
                    _ => watched == path,
                };
                let open = |l: &Lasting| l.low < zxid && l.removed.is_none_or(|r| zxid <= r);
                here && class.hears(kind) && registered.iter().any(open)
            })
    }

    /// A reply says that every event up to `zxid` was told.
    pub(crate) fn told(&mut self, zxid: Zxid) -> Result<(), String> {
        for (key, firsts) in &self.one_shots {
            let due = |first: &First| first.is_some_and(|(at, _)| at <= zxid);
            if !firsts.is_empty() && firsts.iter().all(due) {
                return Err(format!("lost: {key:?} {firsts:?}, a reply shows {zxid}"));
            }
        }
        let from = self.timeline.fired.partition_point(|f| f.zxid <= self.told);
        for fired in self.timeline.fired[from..].iter().take_while(|f| f.zxid <= zxid) {
            self.demanded(fired, zxid)?;
        }
        self.told = self.told.max(zxid);
        Ok(())
    }

    /// Whether a change that a lasting watch concerns was told as often as it happened.
    fn demanded(&self, fired: &Fired, told: Zxid) -> Result<(), String> {
        let demanding = self.lasting.iter().find(|((class, watched), registered)| {
            let here = match class {
                Class::Recursive => covers(watched, &fired.path),
                _ => *watched == fired.path,
            };
            let sure = |l: &Lasting| l.high < fired.zxid && l.removed.is_none();
            here && class.hears(fired.kind) && registered.iter().any(sure)
        });
        let Some((key, registered)) = demanding else { return Ok(()) };
        let same = |f: &&Fired| f.zxid == fired.zxid && f.kind == fired.kind && f.readable;
        let wanted = self.timeline.fired_at(&fired.path).filter(same).count();
        let key_heard = (fired.zxid, fired.kind, fired.path.clone());
        let heard = self.heard.get(&key_heard).copied().unwrap_or_default();
        if heard >= wanted {
            return Ok(());
        }
        Err(format!(
            "lost: {fired:?}, told {heard} of {wanted}, a reply shows {told}; \
             {key:?} {registered:?}"
        ))
    }
}
