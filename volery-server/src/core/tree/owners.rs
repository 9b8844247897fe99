//! Raw owners and the slots that have them: sessions and their ephemerals, containers, TTL znodes.
//! Never reads a node; never decides what to delete. Called by apply, the loader and the views.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::types::Owner;

/// The number of "no owner".
pub(super) const NOBODY: u32 = 0;

#[derive(Debug)]
struct Holding {
    raw: i64,
    /// Of the slots, those that are znodes of this partition.
    owned: usize,
    slots: BTreeSet<u32>,
}

/// Number → raw owner and its slots.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Number `n` is at `n - 1`.
    holdings: Vec<Option<Holding>>,
    free: Vec<u32>,
    by_raw: BTreeMap<i64, u32>,
    ephemerals: usize,
}

impl Owners {
    /// Gives `slot` to the raw owner, whose number is returned.
    pub(super) fn attach(&mut self, raw: i64, slot: u32, owned: bool) -> u32 {
        if raw == 0 {
            return NOBODY;
        }
        let number = match self.by_raw.get(&raw) {
            Some(number) => *number,
            None => self.admit(raw),
        };
        if let Some(holding) = self.holding_mut(number) {
            holding.slots.insert(slot);
            holding.owned += usize::from(owned);
        }
        if owned && matches!(Owner::from_raw(raw), Owner::Session(_)) {
            self.ephemerals += 1;
        }
        number
    }

    fn admit(&mut self, raw: i64) -> u32 {
        let new = Some(Holding { raw, owned: 0, slots: BTreeSet::new() });
        let number = match self.free.pop() {
            Some(number) => {
                self.holdings[number as usize - 1] = new;
                number
            }
            None => {
                self.holdings.push(new);
                self.holdings.len() as u32
            }
        };
        self.by_raw.insert(raw, number);
        number
    }

    /// Takes `slot` from the owner of this number.
    pub(super) fn detach(&mut self, number: u32, slot: u32, owned: bool) {
        let Some(holding) = self.holding_mut(number) else { return };
        holding.slots.remove(&slot);
        holding.owned -= usize::from(owned);
        let (raw, empty) = (holding.raw, holding.slots.is_empty());
        if owned && matches!(Owner::from_raw(raw), Owner::Session(_)) {
            self.ephemerals -= 1;
        }
        if empty {
            self.by_raw.remove(&raw);
            self.holdings[number as usize - 1] = None;
            self.free.push(number);
        }
    }

    /// The raw owner of a number; 0 for none.
    pub(super) fn raw(&self, number: u32) -> i64 {
        let at = (number as usize).wrapping_sub(1);
        self.holdings.get(at).and_then(Option::as_ref).map_or(0, |holding| holding.raw)
    }

    /// Owned slots whose owner is a session.
    pub(super) fn ephemerals(&self) -> usize {
        self.ephemerals
    }

    /// The slots of a raw owner, entries included.
    pub(super) fn slots(&self, raw: i64) -> impl Iterator<Item = u32> {
        let holding = self.by_raw.get(&raw).and_then(|number| self.holding(*number));
        holding.into_iter().flat_map(|holding| holding.slots.iter().copied())
    }

    /// Sessions that own a znode of this partition, in ascending order.
    pub(super) fn sessions(&self) -> impl Iterator<Item = i64> {
        self.by_raw
            .iter()
            .filter(|(raw, _)| matches!(Owner::from_raw(**raw), Owner::Session(_)))
            .filter(|(_, number)| self.holding(**number).is_some_and(|h| h.owned > 0))
            .map(|(raw, _)| *raw)
    }

    fn holding(&self, number: u32) -> Option<&Holding> {
        self.holdings.get((number as usize).wrapping_sub(1))?.as_ref()
    }

    fn holding_mut(&mut self, number: u32) -> Option<&mut Holding> {
        self.holdings.get_mut((number as usize).wrapping_sub(1))?.as_mut()
    }
}
