//! Pages of equally sized cells that are named by a 32-bit slot number and never move.
//! Never shrinks a page, but drops one that is empty; knows nothing of what it holds.
//! Called by every part of the tree that stores nodes or their extras.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// A slot number that names nothing.
pub(super) const NONE: u32 = u32::MAX;

const PAGE_BITS: u32 = 8;
const PAGE: u32 = 1 << PAGE_BITS;
/// The last page is left out, so that `NONE` never names a cell.
const PAGES_MAX: u32 = (NONE >> PAGE_BITS) - 1;

#[derive(Debug)]
pub(super) enum Cell<T> {
    /// The next free cell of the same page.
    Free(u32),
    Used(T),
}

#[derive(Debug)]
struct Page<T> {
    /// Grows to `PAGE` cells and no further; allocated at once.
    cells: Vec<Cell<T>>,
    /// First of the page's free cells.
    free: u32,
    live: u32,
}

/// The pages, and which of them have room.
#[derive(Debug)]
pub(super) struct Arena<T> {
    pages: Vec<Option<Page<T>>>,
    /// Pages with a free cell. The lowest is filled first.
    roomy: BTreeSet<u32>,
    /// Numbers of pages that were dropped.
    dropped: BTreeSet<u32>,
    live: usize,
}

impl<T> Arena<T> {
    pub(super) fn new() -> Arena<T> {
        Arena { pages: Vec::new(), roomy: BTreeSet::new(), dropped: BTreeSet::new(), live: 0 }
    }

    /// Cells in use.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Every slot in use is below this.
    pub(super) fn end(&self) -> u32 {
        (self.pages.len() as u32) << PAGE_BITS
    }

    /// Where the page after the one of `slot` starts.
    pub(super) fn next_page(slot: u32) -> u32 {
        ((slot >> PAGE_BITS) + 1) << PAGE_BITS
    }

    /// Whether a slot in use may follow in the page of `slot`, itself included.
    pub(super) fn page_goes_on(&self, slot: u32) -> bool {
        let page = self.pages.get((slot >> PAGE_BITS) as usize).and_then(Option::as_ref);
        page.is_some_and(|page| ((slot & (PAGE - 1)) as usize) < page.cells.len())
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let page = self.pages.get((slot >> PAGE_BITS) as usize)?.as_ref()?;
        match page.cells.get((slot & (PAGE - 1)) as usize)? {
            Cell::Used(value) => Some(value),
            Cell::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let page = self.pages.get_mut((slot >> PAGE_BITS) as usize)?.as_mut()?;
        match page.cells.get_mut((slot & (PAGE - 1)) as usize)? {
            Cell::Used(value) => Some(value),
            Cell::Free(_) => None,
        }
    }

    /// Stores `value`; `None` where all slot numbers are taken.
    pub(super) fn insert(&mut self, value: T) -> Option<u32> {
        let number = match self.roomy.first() {
            Some(number) => *number,
            None => self.admit_page()?,
        };
        let page = self.pages.get_mut(number as usize)?.get_or_insert_with(|| Page {
            cells: Vec::with_capacity(PAGE as usize),
            free: NONE,
            live: 0,
        });
        let at = if page.free == NONE {
            page.cells.push(Cell::Used(value));
            page.cells.len() as u32 - 1
        } else {
            let at = page.free;
            let cell = page.cells.get_mut(at as usize)?;
            if let Cell::Free(next) = *cell {
                page.free = next;
            }
            *cell = Cell::Used(value);
            at
        };
        page.live += 1;
        self.live += 1;
        if page.live == PAGE {
            self.roomy.remove(&number);
        }
        Some((number << PAGE_BITS) | at)
    }

    fn admit_page(&mut self) -> Option<u32> {
        let number = match self.dropped.pop_first() {
            Some(number) => number,
            None => {
                let number = u32::try_from(self.pages.len()).ok().filter(|n| *n < PAGES_MAX)?;
                self.pages.push(None);
                number
            }
        };
        self.roomy.insert(number);
        Some(number)
    }

    /// Empties a slot; its number is reused.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let number = slot >> PAGE_BITS;
        let at = slot & (PAGE - 1);
        let holder = self.pages.get_mut(number as usize)?;
        let page = holder.as_mut()?;
        let cell = page.cells.get_mut(at as usize)?;
        if matches!(cell, Cell::Free(_)) {
            return None;
        }
        let old = std::mem::replace(cell, Cell::Free(page.free));
        page.free = at;
        page.live -= 1;
        self.live -= 1;
        self.roomy.insert(number);
        // An empty page goes, unless it is the only one with room: the next insert wants one.
        if page.live == 0 && self.roomy.len() > 1 {
            *holder = None;
            self.roomy.remove(&number);
            self.dropped.insert(number);
        }
        match old {
            Cell::Used(value) => Some(value),
            Cell::Free(_) => None,
        }
    }

    /// All slots in use, in order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.pages.iter().enumerate().flat_map(|(number, page)| {
            let cells = page.as_ref().map_or(&[][..], |page| &page.cells[..]);
            cells.iter().enumerate().filter_map(move |(at, cell)| match cell {
                Cell::Used(value) => Some((((number as u32) << PAGE_BITS) | at as u32, value)),
                Cell::Free(_) => None,
            })
        })
    }
}

/// Links between slots are the tree's own: a link to an empty slot is a broken invariant, and
/// the process must not go on with it.
impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        // Cannot fail: only slots in use are linked; the loader checks every link it makes.
        self.get(slot).expect("a link of the tree names an empty slot")
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        // As for `index`.
        self.get_mut(slot).expect("a link of the tree names an empty slot")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by its panic.
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_empty_pages_dropped() {
        let mut arena = Arena::new();
        let slots: Vec<u32> = (0..5000u32).map(|i| arena.insert(Box::new(i)).unwrap()).collect();
        assert_eq!(arena.len(), 5000);
        assert_eq!(
            arena.iter().map(|(_, v)| **v).collect::<Vec<_>>(),
            (0..5000).collect::<Vec<_>>()
        );
        assert_eq!(arena.remove(slots[7]), Some(Box::new(7)));
        assert_eq!(arena.remove(slots[7]), None);
        assert_eq!(arena.insert(Box::new(7)), Some(slots[7]));
        for slot in &slots {
            assert!(arena.remove(*slot).is_some());
        }
        assert_eq!(arena.pages.iter().flatten().count(), 1);
        assert_eq!(arena.get(3), None);
        assert_eq!(arena.get(NONE), None);
    }
}
