//! A session ends: its ephemerals of this partition go at once, without asking any other, so that
//! no partition that is gone holds up a lock elsewhere. DESIGN section 6, point 4.
//! It never waits as a whole. Called on the closing's delivery, and on the turn of what was left.
//!
//! Commands set aside have lower zxids than the closing, so what they touch is not yet as it was
//! at the closing's place in the order. Hence, with exactly the state of executing in order:
//!
//! - A znode that none of them touches goes at once.
//! - One that conflicts goes on its turn behind them, still at the closing's zxid, if it then
//!   still is there and the session's: somebody may have deleted it, and another created it.
//! - A command of this session that waits may yet create ephemerals. Its paths (of a sequential
//!   create, the prefix) are set aside behind it, so that what it creates goes as it would have,
//!   and whoever comes later to these paths finds them as they should be.
//!
//! These are items of the closing's zxid, one for all that wait for the same. The session itself
//! is gone from the table at once, and its closing is answered.

use std::collections::BTreeMap;

use volery_proto::ids::{SessionId, Zxid};

use super::set_aside::{Footprint, Item, Place, Removal, Work};
use super::{ExecutorError, Output, Partition};
use crate::core::merge::Delivery;
use crate::core::mutation::mutated;
use crate::core::types::{Change, Moment, Part};

/// Bits of an event's rank that count the znodes of one item.
const RANK_BITS: u32 = 20;

impl Partition {
    /// The closing is delivered.
    pub(super) fn end_session(
        &mut self,
        delivery: &Delivery,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let command = delivery.command();
        let session = command.session;
        if !self.sessions.close(session, command.epoch) {
            return Ok(());
        }
        let time_ms = self.fix_moment(delivery);
        let mut changes = self.tree.end_session_changes(session.0);
        if !self.aside.is_empty() {
            let later = self.later_removals(delivery, &mut changes);
            for (part, removals) in (1..).zip(later.into_values()) {
                let footprint = Footprint::of_removals(&removals);
                let item = Item::new(Work::Ending { session, removals }, time_ms, footprint);
                self.aside.insert((delivery.zxid, part), item);
            }
        }
        self.remove_ephemerals((delivery.zxid, 0), &changes, time_ms, out)?;
        out.push(Output::SessionEnded { session });
        Ok(())
    }

    /// Takes out of `changes` what conflicts with the commands set aside, and adds what these may
    /// yet create; by what it has to wait for.
    fn later_removals(
        &self,
        closing: &Delivery,
        changes: &mut Vec<(Change, Part)>,
    ) -> BTreeMap<Vec<Place>, Vec<Removal>> {
        let session = closing.command().session;
        let mut later: BTreeMap<Vec<Place>, Vec<Removal>> = BTreeMap::new();
        let mut add = |removal: Removal| {
            let footprint = Footprint::of_removals(std::slice::from_ref(&removal));
            let blockers = self.aside.blockers(closing.zxid, &footprint);
            let waits = !blockers.is_empty();
            if waits {
                later.entry(blockers).or_default().push(removal);
            }
            waits
        };
        changes.retain(|(change, _)| !add(Removal::of(change.path().clone())));
        if !mutated!(EndingForgotten) {
            let coming = self.aside.iter().flat_map(|(_, item)| item.ephemerals_of(session));
            for removal in coming.filter(|removal| self.may_hold(removal)) {
                add(removal);
            }
        }
        later
    }

    /// Whether the znode or its entry would be here.
    fn may_hold(&self, removal: &Removal) -> bool {
        let path = removal.path();
        self.map.entry_owner(path) == self.id || self.map.owner(&removal.example()) == self.id
    }

    /// The turn of an item that was left.
    pub(super) fn end_later(
        &mut self,
        at: (Zxid, u32),
        session: SessionId,
        removals: &[Removal],
        time_ms: i64,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let mut changes = self.tree.end_session_changes(session.0);
        changes.retain(|(change, _)| removals.iter().any(|r| r.covers(change.path())));
        self.remove_ephemerals(at, &changes, time_ms, out)
    }

    fn remove_ephemerals(
        &mut self,
        (zxid, part): (Zxid, u32),
        changes: &[(Change, Part)],
        time_ms: i64,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        for (index, (change, halves)) in (0u32..).zip(changes) {
            // Ranks only tell events of one zxid apart; each item has its own.
            let rank = (part << RANK_BITS) | index.min((1 << RANK_BITS) - 1);
            self.change(rank, change, *halves, Moment { zxid, time_ms }, out)?;
        }
        Ok(())
    }
}
