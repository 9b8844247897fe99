//! The commands that a partition has delivered and not executed: multi-partition ones that wait
//! for contributions, and what has to stay behind them. All others pass. DESIGN section 6, point 5.
//! It executes nothing and reads no tree. Called by the partition replica and by its snapshots.
//!
//! **Which commands pass.** A command's `Footprint` follows from its paths alone. Two commands
//! *conflict* if one changes a unit that the other touches. A command that conflicts with one set
//! aside is set aside too, behind it; all that conflict execute in the order of their zxids. So
//! every unit sees the same changes in the same order at every replica, whenever contributions
//! arrive, and the state, the replies and the contributions are those of executing one command
//! after the other. What a command uses besides znodes is fixed when it is *delivered*: its
//! number, its session's verdict (ring 0 alone writes both), its time, the partition's last time
//! and last write. Contributions are made on the command's turn, when its units are as they
//! should be, and never before: a later command that conflicts with one set aside contributes
//! once that is through.
//!
//! **Nobody waits for ever but for a partition that is gone.** A command waits for lower zxids
//! here and for contributions, which wait for lower zxids there: the lowest of all can go on. The
//! bound below only stops *delivering*; all that then waits is lower than what is not delivered.
//!
//! **Reads.** What a read sees of a znode is its state before the first command set aside that
//! changes it. A read whose frontier is below that command may see this, and has observed
//! nothing above it; any other waits. See `Scope` and `Partition::shows`.
//!
//! **The end of a session** does not wait (see `ending`): only the znodes that conflict do, as
//! items of their own, numbered from 1 behind the closing's zxid.

mod footprint;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::{PartitionId, SessionId, Zxid};

use super::exchange::Contributions;
use crate::core::apply::{Contribution, TouchKind, touches};
use crate::core::merge::Delivery;
use crate::core::mutation::mutated;
use footprint::{ASPECTS, Aspect, stems};

pub use footprint::Scope;
pub(super) use footprint::{Footprint, Removal};

/// More commands than this are not set aside: then nothing is delivered until one is through.
/// Front ends refuse commands to a partition that is gone long before.
const MAX: usize = 1024;

/// Place in the order: the zxid, and 0 for a command, or which part of a session's end.
pub(super) type Place = (Zxid, u32);

/// What waits.
#[derive(Debug)]
pub(super) enum Work {
    /// A write of this partition alone.
    Alone(Delivery),
    /// A write of several partitions.
    Exchange {
        delivery: Delivery,
        /// The other partitions that it addresses.
        others: Vec<PartitionId>,
        /// Whether this partition has said what it knows.
        contributed: bool,
        given: Contributions,
    },
    /// Ephemerals of a session that has ended.
    Ending { session: SessionId, removals: Vec<Removal> },
}

/// One command, or a part of a session's end.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) work: Work,
    /// Fixed when it was delivered, Unix milliseconds.
    pub(super) time_ms: i64,
    footprint: Footprint,
    /// Conflicts with items before it, unit by unit.
    blockers: usize,
}

impl Item {
    pub(super) fn new(work: Work, time_ms: i64, footprint: Footprint) -> Item {
        Item { work, time_ms, footprint, blockers: 0 }
    }

    /// Whether there is something to do for it once nothing is before it.
    fn can_go_on(&self) -> bool {
        match &self.work {
            Work::Alone(_) | Work::Ending { .. } => true,
            Work::Exchange { contributed, others, given, .. } => {
                !contributed || others.iter().all(|p| given.contains_key(p))
            }
        }
    }

    /// The znodes that it may yet create for a session.
    pub(super) fn ephemerals_of(&self, session: SessionId) -> Vec<Removal> {
        let (Work::Alone(delivery) | Work::Exchange { delivery, .. }) = &self.work else {
            return Vec::new();
        };
        let command = delivery.command();
        let volery_proto::command::Operation::Write(request) = &command.operation else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if command.session == session {
            touches(request, &mut |touch| match touch.kind {
                TouchKind::Create { ephemeral: true, sequential: true } => {
                    found.push(Removal::numbered(touch.path.clone()));
                }
                TouchKind::Create { ephemeral: true, sequential: false } => {
                    found.push(Removal::of(touch.path.clone()));
                }
                _ => {}
            });
        }
        found
    }
}

/// Who touches a unit, in order, and whether alone.
type Queue = Vec<(Place, bool)>;

/// Everything set aside.
#[derive(Debug)]
pub(super) struct SetAside {
    items: BTreeMap<Place, Item>,
    units: [BTreeMap<ByteString, Queue>; ASPECTS],
    /// Those that can go on.
    ready: BTreeSet<Place>,
    max: usize,
}

impl Default for SetAside {
    fn default() -> SetAside {
        let units = std::array::from_fn(|_| BTreeMap::new());
        SetAside { items: BTreeMap::new(), units, ready: BTreeSet::new(), max: MAX }
    }
}

impl SetAside {
    /// With another bound; with 1, a command that waits holds everything behind it.
    #[cfg(test)]
    pub(super) fn bounded(max: usize) -> SetAside {
        SetAside { max, ..SetAside::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing more may be delivered.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.max || (mutated!(HoldsEverything) && !self.items.is_empty())
    }

    /// The lowest zxid that waits.
    pub(super) fn oldest(&self) -> Option<Zxid> {
        self.items.first_key_value().map(|((zxid, _), _)| *zxid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &Item)> {
        self.items.iter()
    }

    /// Where it conflicts with what waits with a lower zxid, once for each unit. The parts of one
    /// session's end may go in any order.
    fn conflicts(&self, zxid: Zxid, footprint: &Footprint) -> impl Iterator<Item = Place> {
        footprint.units.iter().flat_map(move |unit| {
            let queue = self.units[unit.aspect as usize].get(&unit.path);
            let queue = queue.into_iter().flatten();
            let conflict =
                move |(at, alone): &&(Place, bool)| at.0 < zxid && (*alone || unit.alone);
            queue.filter(conflict).map(|(at, _)| *at)
        })
    }

    /// Whether it has to wait for anything.
    pub(super) fn blocks(&self, zxid: Zxid, footprint: &Footprint) -> bool {
        self.conflicts(zxid, footprint).next().is_some()
    }

    /// What it has to wait for.
    pub(super) fn blockers(&self, zxid: Zxid, footprint: &Footprint) -> Vec<Place> {
        let mut places: Vec<Place> = self.conflicts(zxid, footprint).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Sets aside, behind all that is there. Places come in ascending order.
    pub(super) fn insert(&mut self, place: Place, mut item: Item) {
        item.blockers = self.conflicts(place.0, &item.footprint).count();
        for unit in &item.footprint.units {
            let queue = self.units[unit.aspect as usize].entry(unit.path.clone()).or_default();
            queue.push((place, unit.alone));
        }
        if item.blockers == 0 && item.can_go_on() {
            self.ready.insert(place);
        }
        self.items.insert(place, item);
    }

    /// The first that can go on; each is named once, until something new comes to it.
    pub(super) fn next_ready(&mut self) -> Option<Place> {
        self.ready.pop_first()
    }

    /// The write of several partitions at this place, if it has not contributed yet.
    pub(super) fn silent(&self, place: Place) -> Option<(&Delivery, &[PartitionId], i64)> {
        let item = self.items.get(&place)?;
        match &item.work {
            Work::Exchange { delivery, others, contributed: false, .. } => {
                Some((delivery, others, item.time_ms))
            }
            _ => None,
        }
    }

    /// It has contributed. Returns whether it can go on.
    pub(super) fn contributed(&mut self, place: Place) -> bool {
        let Some(item) = self.items.get_mut(&place) else { return false };
        if let Work::Exchange { contributed, .. } = &mut item.work {
            *contributed = true;
        }
        item.can_go_on()
    }

    /// Another partition's contribution. Returns whether somebody waits here with that zxid.
    pub(super) fn give(&mut self, zxid: Zxid, from: PartitionId, what: &Arc<Contribution>) -> bool {
        let place = (zxid, 0);
        let Some(item) = self.items.get_mut(&place) else { return false };
        if let Work::Exchange { others, given, .. } = &mut item.work
            && others.contains(&from)
        {
            // The first counts; all replicas of a partition say the same.
            given.entry(from).or_insert_with(|| what.clone());
            if item.blockers == 0 && item.can_go_on() {
                self.ready.insert(place);
            }
        }
        true
    }

    /// Takes one out that executes now; those that waited for nothing else can go on.
    pub(super) fn take(&mut self, place: Place) -> Option<Item> {
        let item = self.items.remove(&place)?;
        for unit in &item.footprint.units {
            let units = &mut self.units[unit.aspect as usize];
            let Some(queue) = units.get_mut(&unit.path) else { continue };
            queue.retain(|(other, _)| *other != place);
            let conflict = |(at, alone): &&(Place, bool)| at.0 > place.0 && (*alone || unit.alone);
            for (other, _) in queue.iter().filter(conflict) {
                let Some(later) = self.items.get_mut(other) else { continue };
                later.blockers = later.blockers.saturating_sub(1);
                if later.blockers == 0 && later.can_go_on() {
                    self.ready.insert(*other);
                }
            }
            if queue.is_empty() {
                units.remove(&unit.path);
            }
        }
        Some(item)
    }

    /// Commands that have contributed and lack others' contributions, and whose.
    pub(super) fn lacking(&self) -> impl Iterator<Item = (Zxid, Vec<PartitionId>)> {
        self.items.iter().filter_map(|((zxid, _), item)| match &item.work {
            Work::Exchange { others, contributed: true, given, .. } => {
                let lacking = others.iter().copied().filter(|p| !given.contains_key(p));
                Some((*zxid, lacking.collect()))
            }
            _ => None,
        })
    }

    /// The first that may change something in a read's scope.
    pub(super) fn first_in(&self, scope: Scope<'_>) -> Option<Zxid> {
        if self.items.is_empty() || mutated!(ReadsPassSetAside) {
            return None;
        }
        let first = |queue: &Queue| queue.iter().find(|(_, alone)| *alone).map(|(at, _)| at.0);
        let znodes = &self.units[Aspect::Znode as usize];
        let numbered = &self.units[Aspect::Numbered as usize];
        let path = match scope {
            Scope::Everything => return self.oldest(),
            Scope::Znode(path) | Scope::Subtree(path) => path,
        };
        let by_number = stems(path).filter_map(|stem| numbered.get(stem));
        let own = znodes.get(path).into_iter().chain(by_number).filter_map(first).min();
        let Scope::Subtree(_) = scope else { return own };
        let prefix = if path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
        let below = |units: &BTreeMap<ByteString, Queue>| {
            units
                .range::<str, _>((Bound::Included(&prefix[..]), Bound::Unbounded))
                .take_while(|(path, _)| path.starts_with(&prefix[..]))
                .filter_map(|(_, queue)| first(queue))
                .min()
        };
        own.into_iter().chain(below(znodes)).chain(below(numbered)).min()
    }
}
