//! Finds the containers and TTL znodes whose time is over, without looking at any other znode.
//! Never deletes one: that is a command, which checks again. Called by the reaper of the house.

use std::collections::BTreeSet;

use bytestring::ByteString;

use super::Tree;
use super::node::OWNED;
use super::owners::NOBODY;
use crate::core::types::{CONTAINER_OWNER, Owner};

/// Owned TTL znodes by (when their TTL ends if nobody sets their data again, slot).
pub(super) type TtlEnds = BTreeSet<(i64, u32)>;

impl Tree {
    /// Up to `max` znodes that should be deleted: containers whose children are all gone,
    /// containers that had none for more than `never_used_ms` (0: never), then TTL znodes without
    /// children and without a setData for more than their TTL, those that ended first in front.
    #[must_use]
    pub fn reap_candidates(&self, now_ms: i64, max: usize, never_used_ms: i64) -> Vec<ByteString> {
        let is_due = |slot: &u32| {
            let node = &self.nodes[*slot];
            let age_ms = now_ms.saturating_sub(node.mtime_ms);
            let used = self.extra(*slot).is_some_and(|extra| extra.cversion > 0);
            node.has(OWNED) && (used || (never_used_ms > 0 && age_ms > never_used_ms))
        };
        let containers = self.owners.slots(CONTAINER_OWNER).filter(is_due);
        let ended = self.ttl_ends.range(..(now_ms, 0)).map(|(_, slot)| *slot);
        let is_empty = |slot: &u32| self.extra(*slot).is_none_or(|e| e.children.is_empty());
        let due = containers.chain(ended).filter(is_empty).take(max);
        due.map(|slot| self.path_of(slot).into()).collect()
    }

    /// To be called when a TTL znode has come to be, or has a new mtime.
    pub(super) fn schedule(&mut self, slot: u32) {
        if let Some(end) = self.ttl_end(slot) {
            self.ttl_ends.insert(end);
        }
    }

    /// To be called before a TTL znode goes, or gets a new mtime.
    pub(super) fn unschedule(&mut self, slot: u32) {
        if let Some(end) = self.ttl_end(slot) {
            self.ttl_ends.remove(&end);
        }
    }

    fn ttl_end(&self, slot: u32) -> Option<(i64, u32)> {
        let node = &self.nodes[slot];
        if node.owner == NOBODY || !node.has(OWNED) {
            return None;
        }
        match Owner::from_raw(self.owners.raw(node.owner)) {
            Owner::Ttl(ttl_ms) if ttl_ms != 0 => Some((node.mtime_ms.saturating_add(ttl_ms), slot)),
            _ => None,
        }
    }
}
