//! The nodes of a tree by slot, together with their bytes: names and data live in a slab.
//! Never looks at links between nodes, nor at what may follow what. Called by every part of the
//! tree.

use std::ops::{Index, IndexMut};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::arena::Arena;
use super::node::{NULL, Node};
use super::slab::{PIECE_MAX, Slab};

/// Cells of nodes, and their bytes.
#[derive(Debug)]
pub(super) struct Nodes {
    cells: Arena<Node>,
    bytes: Slab,
}

impl Nodes {
    pub(super) fn new() -> Nodes {
        Nodes { cells: Arena::new(), bytes: Slab::default() }
    }

    /// Stores a node with these flags, name and data, everything else zero; `None` where there is
    /// no room for one more.
    pub(super) fn insert(
        &mut self,
        flags: u32,
        parent: u32,
        name: &[u8],
        data: Option<&[u8]>,
    ) -> Option<u32> {
        let tail = data.unwrap_or_default();
        if name.len() + tail.len() > PIECE_MAX {
            return None;
        }
        let piece = self.bytes.put(name, tail)?;
        self.cells.insert(Node::new(flags, parent, piece, name.len(), data.is_none()))
    }

    /// Empties a slot and gives what stood there; its bytes are gone.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Node> {
        let node = self.cells.remove(slot)?;
        self.bytes.remove(node.piece());
        Some(node)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Node> {
        self.cells.get(slot)
    }

    pub(super) fn name(&self, slot: u32) -> &[u8] {
        let node = &self[slot];
        &self.bytes.get(node.piece())[..node.name_len()]
    }

    /// The name is UTF-8: it came from a path, or the loader has checked it.
    pub(super) fn name_str(&self, slot: u32) -> &str {
        str::from_utf8(self.name(slot)).unwrap_or_default()
    }

    pub(super) fn name_hash(&self, slot: u32, seed: u64) -> u64 {
        xxh3_64_with_seed(self.name(slot), seed)
    }

    /// Null and empty differ.
    pub(super) fn data(&self, slot: u32) -> Option<&[u8]> {
        let node = &self[slot];
        if node.has(NULL) { None } else { Some(&self.bytes.get(node.piece())[node.name_len()..]) }
    }

    /// Whether there was room for it.
    pub(super) fn set_data(&mut self, slot: u32, data: Option<&[u8]>) -> bool {
        let node = &self.cells[slot];
        let (name_len, tail) = (node.name_len(), data.unwrap_or_default());
        if name_len + tail.len() > PIECE_MAX {
            return false;
        }
        let Some(piece) = self.bytes.replace(node.piece(), name_len, tail) else { return false };
        self.cells[slot].set_bytes(piece, name_len, data.is_none());
        true
    }

    /// Nodes there are.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Every slot in use is below this.
    pub(super) fn end(&self) -> u32 {
        self.cells.end()
    }

    /// Whether a slot in use may follow in the page of `slot`, itself included.
    pub(super) fn page_goes_on(&self, slot: u32) -> bool {
        self.cells.page_goes_on(slot)
    }

    /// All slots in use, in order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Node)> {
        self.cells.iter()
    }
}

impl Index<u32> for Nodes {
    type Output = Node;

    fn index(&self, slot: u32) -> &Node {
        &self.cells[slot]
    }
}

impl IndexMut<u32> for Nodes {
    fn index_mut(&mut self, slot: u32) -> &mut Node {
        &mut self.cells[slot]
    }
}
