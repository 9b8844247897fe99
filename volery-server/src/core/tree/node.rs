//! One znode in memory: 64 bytes inline, a piece of the slab for name and data, an extra record
//! for the few that have (had) children or a setACL. Never links to other nodes but its parent.
//! Used by every part of the tree.

use super::arena::{Cell, NONE};
use super::children::Children;
use super::slab::Piece;

/// Longest name in bytes; above any frame (`MAX_FRAME_CEILING`), so no client can reach it.
pub(super) const NAME_MAX: usize = (1 << NAME_BITS) - 1;

const NAME_BITS: u32 = 25;
const NAME_MASK: u32 = (1 << NAME_BITS) - 1;

/// A znode of this partition.
pub(super) const OWNED: u32 = 1 << 31;
/// A child of an owned znode that belongs to another partition.
pub(super) const ENTRY: u32 = 1 << 30;
/// The data is null, which is not the same as empty.
pub(super) const NULL: u32 = 1 << 29;

/// A slot of the tree. Neither OWNED nor ENTRY: a connector on the way to something local.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) czxid: u64,
    pub(super) mzxid: u64,
    pub(super) ctime_ms: i64,
    pub(super) mtime_ms: i64,
    /// The name, then the data.
    bytes: Piece,
    /// Length of the name, and the flags.
    head: u32,
    pub(super) version: i32,
    /// In the ACL table; `NONE` unless owned.
    pub(super) acl: u32,
    /// In the table of owners.
    pub(super) owner: u32,
    /// `NONE` for the root.
    pub(super) parent: u32,
    /// In the arena of extras; `NONE` where there is none.
    pub(super) extra: u32,
}

/// What only some nodes have. Without it: pzxid = czxid, the rest 0, no children.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub(super) pzxid: u64,
    /// Zxid of the last setACL: not in the Stat, but a change that reads must not go back over.
    pub(super) acl_zxid: u64,
    /// Raw: creates of children, ever.
    pub(super) cversion: i32,
    pub(super) aversion: i32,
    pub(super) children: Children,
}

const _: () = assert!(size_of::<Cell<Node>>() == 64);
const _: () = assert!(size_of::<Cell<Extra>>() <= 72);

impl Node {
    /// A node with these flags, its name and data in `bytes`, everything else zero.
    pub(super) fn new(flags: u32, parent: u32, bytes: Piece, name_len: usize, null: bool) -> Node {
        let mut node = Node {
            czxid: 0,
            mzxid: 0,
            ctime_ms: 0,
            mtime_ms: 0,
            bytes,
            head: flags,
            version: 0,
            acl: NONE,
            owner: 0,
            parent,
            extra: NONE,
        };
        node.set_bytes(bytes, name_len, null);
        node
    }

    pub(super) fn set_bytes(&mut self, bytes: Piece, name_len: usize, null: bool) {
        let flags = self.head & !(NAME_MASK | NULL);
        self.bytes = bytes;
        self.head = flags | name_len as u32 & NAME_MASK | if null { NULL } else { 0 };
    }

    pub(super) fn has(&self, flags: u32) -> bool {
        self.head & flags != 0
    }

    /// Whether it is neither owned nor an entry.
    pub(super) fn is_connector(&self) -> bool {
        !self.has(OWNED | ENTRY)
    }

    pub(super) fn piece(&self) -> Piece {
        self.bytes
    }

    pub(super) fn name_len(&self) -> usize {
        (self.head & NAME_MASK) as usize
    }

    pub(super) fn data_len(&self) -> usize {
        self.bytes.len() - self.name_len()
    }
}
