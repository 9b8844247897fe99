//! The bytes of all znodes of a partition, names and data, in pages of equally sized pieces.
//! Never moves a piece and knows nothing of what it holds; an allocator with its header and its
//! rounding would cost every znode a tenth more. Called by every part of the tree.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

const LEN_BITS: u32 = 26;
const CELL_BITS: u32 = 12;
/// Sizes of pieces are multiples of this.
const STEP: usize = 4;
const CELL_MIN: usize = 4 * STEP;
/// What is larger has a page of its own.
const CELL_MAX: usize = 1024;
/// The first page of a size; most trees have many sizes and few pieces of most.
const FIRST_PAGE_BYTES: usize = 4 << 10;
/// Not a power of two: an allocator has no room for the last of those beside its own header.
const PAGE_BYTES: usize = 56 << 10;
/// Ends the list of free cells.
const NO_CELL: u16 = u16::MAX;

/// Longest piece in bytes: a name and data that came in one frame.
pub(super) const PIECE_MAX: usize = (1 << LEN_BITS) - 1;

const _: () = assert!(PIECE_MAX >= volery_proto::limits::MAX_FRAME_CEILING);
const _: () = assert!(PAGE_BYTES / CELL_MIN <= 1 << CELL_BITS);

/// Names a piece: its page (from 1), its cell there, its length in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece(NonZeroU64);

impl Piece {
    fn new(page: usize, cell: u16, len: usize) -> Option<Piece> {
        let page = (page as u64 + 1) << (CELL_BITS + LEN_BITS);
        NonZeroU64::new(page | u64::from(cell) << LEN_BITS | len as u64).map(Piece)
    }

    pub(super) fn len(self) -> usize {
        self.0.get() as usize & PIECE_MAX
    }

    fn page(self) -> usize {
        (self.0.get() >> (CELL_BITS + LEN_BITS)) as usize - 1
    }

    fn cell(self) -> u16 {
        (self.0.get() >> LEN_BITS) as u16 & ((1 << CELL_BITS) - 1)
    }
}

#[derive(Debug)]
struct Page {
    bytes: Box<[u8]>,
    /// Of its cells.
    size: u32,
    /// First of the cells that were freed; each holds the number of the next.
    free: u16,
    /// Cells from here on were never used.
    fresh: u16,
    used: u16,
}

impl Page {
    fn new(bytes: usize, size: usize) -> Page {
        let bytes = vec![0; bytes].into_boxed_slice();
        Page { bytes, size: size as u32, free: NO_CELL, fresh: 0, used: 0 }
    }

    fn cells(&self) -> usize {
        self.bytes.len() / self.size as usize
    }

    fn is_full(&self) -> bool {
        usize::from(self.used) == self.cells()
    }

    /// Takes a cell of a page that is not full.
    fn take(&mut self) -> u16 {
        self.used += 1;
        if self.free == NO_CELL {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let cell = self.free;
        let at = usize::from(cell) * self.size as usize;
        self.free = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        cell
    }

    fn give_back(&mut self, cell: u16) {
        let at = usize::from(cell) * self.size as usize;
        self.bytes[at..at + 2].copy_from_slice(&self.free.to_le_bytes());
        self.free = cell;
        self.used -= 1;
    }
}

/// Pages with room, of one size of cells.
#[derive(Debug, Default)]
struct Class {
    roomy: BTreeSet<u32>,
    pages: usize,
}

/// All pieces of a tree.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pages: Vec<Option<Page>>,
    /// Numbers of pages that were dropped.
    dropped: Vec<u32>,
    /// By cell size in steps.
    classes: Vec<Class>,
}

/// The size of the cell for so many bytes.
fn cell_size(len: usize) -> usize {
    if len > CELL_MAX { len } else { len.next_multiple_of(STEP).max(CELL_MIN) }
}

impl Slab {
    /// Stores two byte strings, of `PIECE_MAX` bytes at most together, as one piece; `None` where
    /// all page numbers are taken.
    pub(super) fn put(&mut self, first: &[u8], second: &[u8]) -> Option<Piece> {
        let piece = self.room(first.len() + second.len())?;
        let into = self.get_mut(piece);
        into[..first.len()].copy_from_slice(first);
        into[first.len()..].copy_from_slice(second);
        Some(piece)
    }

    pub(super) fn get(&self, piece: Piece) -> &[u8] {
        // A piece lives in one node, which gives it up when it is removed: its page is there.
        let Some(Some(page)) = self.pages.get(piece.page()) else { return &[] };
        let at = usize::from(piece.cell()) * page.size as usize;
        &page.bytes[at..at + piece.len()]
    }

    fn get_mut(&mut self, piece: Piece) -> &mut [u8] {
        let Some(Some(page)) = self.pages.get_mut(piece.page()) else { return &mut [] };
        let at = usize::from(piece.cell()) * page.size as usize;
        &mut page.bytes[at..at + piece.len()]
    }

    /// Keeps the first `keep` bytes of a piece and replaces what is behind; gives its new name.
    pub(super) fn replace(&mut self, piece: Piece, keep: usize, tail: &[u8]) -> Option<Piece> {
        let len = keep + tail.len();
        let new = match cell_size(len) == cell_size(piece.len()) {
            true => Piece::new(piece.page(), piece.cell(), len)?,
            false => {
                let head = self.get(piece)[..keep].to_vec();
                self.remove(piece);
                let new = self.room(len)?;
                self.get_mut(new)[..keep].copy_from_slice(&head);
                new
            }
        };
        self.get_mut(new)[keep..].copy_from_slice(tail);
        Some(new)
    }

    pub(super) fn remove(&mut self, piece: Piece) {
        let number = piece.page();
        let Some(holder) = self.pages.get_mut(number) else { return };
        let Some(page) = holder else { return };
        page.give_back(piece.cell());
        let (used, size) = (page.used, page.size as usize);
        let class = self.classes.get_mut(size / STEP).filter(|_| size <= CELL_MAX);
        // An empty page goes, unless it is the only one with room: the next piece wants one.
        let goes = match class {
            None => true,
            Some(class) => {
                class.roomy.insert(number as u32);
                let goes = used == 0 && class.roomy.len() > 1;
                if goes {
                    class.roomy.remove(&(number as u32));
                    class.pages -= 1;
                }
                goes
            }
        };
        if goes {
            *holder = None;
            self.dropped.push(number as u32);
        }
    }

    fn room(&mut self, len: usize) -> Option<Piece> {
        let size = cell_size(len);
        if size > CELL_MAX {
            let mut page = Page::new(size, size);
            let cell = page.take();
            let number = self.admit(page)?;
            return Piece::new(number as usize, cell, len);
        }
        if self.classes.len() <= size / STEP {
            self.classes.resize_with(size / STEP + 1, Class::default);
        }
        let number = match self.classes[size / STEP].roomy.first() {
            Some(number) => *number,
            None => {
                let class = &mut self.classes[size / STEP];
                class.pages += 1;
                let bytes = if class.pages == 1 { FIRST_PAGE_BYTES } else { PAGE_BYTES };
                let number = self.admit(Page::new(bytes / size * size, size))?;
                self.classes[size / STEP].roomy.insert(number);
                number
            }
        };
        let page = self.pages.get_mut(number as usize)?.as_mut()?;
        let cell = page.take();
        if page.is_full() {
            self.classes[size / STEP].roomy.remove(&number);
        }
        Piece::new(number as usize, cell, len)
    }

    /// Gives a page its number.
    fn admit(&mut self, page: Page) -> Option<u32> {
        if let Some(number) = self.dropped.pop() {
            self.pages[number as usize] = Some(page);
            return Some(number);
        }
        let number = self.pages.len();
        // As many as a piece can name.
        if number + 1 >= 1 << (64 - CELL_BITS - LEN_BITS) {
            return None;
        }
        self.pages.push(Some(page));
        Some(number as u32)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by its panic.
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is put, replaced and removed: every piece keeps its bytes, and an empty slab
        /// keeps one page of a size at most.
        #[test]
        fn pieces_keep_their_bytes(
            steps in prop::collection::vec((0..4u8, 0..1100usize, any::<u8>()), 1..300),
        ) {
            let mut slab = Slab::default();
            let mut held: Vec<(Piece, Vec<u8>)> = Vec::new();
            for (what, len, byte) in steps {
                let at = len % held.len().max(1);
                match what {
                    0 if !held.is_empty() => slab.remove(held.swap_remove(at).0),
                    1 if !held.is_empty() => {
                        let (piece, bytes) = &mut held[at];
                        let keep = bytes.len() / 2;
                        let tail = vec![byte; len];
                        *piece = slab.replace(*piece, keep, &tail).unwrap();
                        bytes.truncate(keep);
                        bytes.extend(tail);
                    }
                    _ => {
                        let bytes = vec![byte; len];
                        let (name, data) = bytes.split_at(len / 3);
                        held.push((slab.put(name, data).unwrap(), bytes));
                    }
                }
                for (piece, bytes) in &held {
                    prop_assert_eq!(slab.get(*piece), &bytes[..]);
                }
            }
            for (piece, _) in held {
                slab.remove(piece);
            }
            let sizes: Vec<u32> = slab.pages.iter().flatten().map(|page| page.size).collect();
            let distinct: BTreeSet<u32> = sizes.iter().copied().collect();
            prop_assert_eq!(sizes.len(), distinct.len());
        }
    }
}
