//! The children of one node: a hash table of slot numbers, keyed by names that live in the nodes.
//! Never stores a name; never rehashes more than a part of a big directory at once.
//! Called by the tree's walk, by apply and by the loader.

use hashbrown::HashTable;

/// More children than this are spread over tables that grow one by one, each in little time.
const SPLIT_ABOVE: usize = 16 << 10;
const TABLES: usize = 256;

#[derive(Debug)]
enum Tables {
    One(HashTable<u32>),
    Many(Box<[HashTable<u32>]>),
}

/// Slots of children. The order of iteration depends on the hash seed and the history alone.
#[derive(Debug)]
pub(super) struct Children {
    len: u32,
    tables: Tables,
}

impl Default for Children {
    fn default() -> Children {
        Children { len: 0, tables: Tables::One(HashTable::new()) }
    }
}

impl Children {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The child with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = match &self.tables {
            Tables::One(table) => table,
            Tables::Many(tables) => tables.get(table_of(hash))?,
        };
        table.find(hash, |slot| is_it(*slot)).copied()
    }

    /// Adds a child that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, hasher: impl Fn(u32) -> u64) {
        if self.len() == SPLIT_ABOVE {
            self.split(SPLIT_ABOVE, &hasher);
        }
        self.len += 1;
        self.table_mut(hash).insert_unique(hash, slot, |slot| hasher(*slot));
    }

    /// Removes a child, and gives memory back where much of it is idle.
    pub(super) fn remove(&mut self, hash: u64, slot: u32, hasher: impl Fn(u32) -> u64) {
        let table = self.table_mut(hash);
        let Ok(found) = table.find_entry(hash, |other| *other == slot) else { return };
        found.remove();
        if table.is_empty() || (table.capacity() > 64 && table.len() * 8 < table.capacity()) {
            table.shrink_to(table.len() * 2, |slot| hasher(*slot));
        }
        self.len -= 1;
        if self.len == 0 {
            self.tables = Tables::One(HashTable::new());
        }
    }

    /// Makes room for `count` children, where all of them are known beforehand.
    pub(super) fn reserve(&mut self, count: usize, hasher: impl Fn(u32) -> u64) {
        if count > SPLIT_ABOVE {
            self.split(count, &hasher);
        } else if let Tables::One(table) = &mut self.tables {
            table.reserve(count, |slot| hasher(*slot));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let tables = match &self.tables {
            Tables::One(table) => std::slice::from_ref(table),
            Tables::Many(tables) => tables,
        };
        tables.iter().flat_map(|table| table.iter().copied())
    }

    fn table_mut(&mut self, hash: u64) -> &mut HashTable<u32> {
        match &mut self.tables {
            Tables::One(table) => table,
            // `table_of` is below TABLES.
            Tables::Many(tables) => &mut tables[table_of(hash)],
        }
    }

    fn split(&mut self, expected: usize, hasher: &impl Fn(u32) -> u64) {
        let Tables::One(one) = &mut self.tables else { return };
        let one = std::mem::take(one);
        let mut tables: Box<[HashTable<u32>]> =
            (0..TABLES).map(|_| HashTable::with_capacity(expected / TABLES)).collect();
        for slot in one {
            let hash = hasher(slot);
            tables[table_of(hash)].insert_unique(hash, slot, |slot| hasher(*slot));
        }
        self.tables = Tables::Many(tables);
    }
}

/// From bits in the middle: hashbrown takes its own from both ends.
fn table_of(hash: u64) -> usize {
    (hash >> 36) as usize % TABLES
}
