//! Writes the tree as it was at one moment, slice by slice, while it goes on changing.
//! Never writes a file and never checks sums; the house does both. Called between commands.
//!
//! Slots are scanned in order of their numbers. One that is about to change before the scan has
//! reached it gives its record first, into a side buffer that the next slice takes along; one
//! that is filled after the beginning is marked as done. So every record tells the beginning.

use std::collections::VecDeque;

use super::Tree;
use super::acl_table::AclTable;
use super::arena::Arena;
use super::node::{ENTRY, NULL, Node, OWNED};

pub(super) const MAGIC: [u8; 8] = *b"VOLTREE\x01";

/// First byte of a record.
pub(super) mod tag {
    pub(in super::super) const ACL: u8 = 1;
    pub(in super::super) const NODE: u8 = 2;
    pub(in super::super) const END: u8 = 3;
}

/// Second byte of a node's record: which fields follow.
pub(super) mod has {
    pub(in super::super) const OWNED: u8 = 1;
    pub(in super::super) const ENTRY: u8 = 2;
    pub(in super::super) const DATA: u8 = 4;
    pub(in super::super) const OWNER: u8 = 8;
    pub(in super::super) const EXTRA: u8 = 16;
    pub(in super::super) const MODIFIED: u8 = 32;
    pub(in super::super) const ALL: u8 = 63;
}

/// A slice ends early once it has this many bytes: data may be large, and whoever stores slices
/// takes none of any size.
const SLICE_BYTES_MAX: usize = 4 << 20;

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Slots at or above it did not exist at the beginning.
    end: u32,
    /// Slots below it are done.
    cursor: u32,
    /// One bit per slot below `end`: done before the cursor came.
    done: Vec<u64>,
    /// Records that could not wait for the next slice, in the order of slices that they fill: a
    /// slice may be long in coming, while the disk takes no more.
    side: VecDeque<Vec<u8>>,
    /// By ACL number: written. A number in use at the beginning keeps its ACL until the last
    /// record that names it is written, and later ACLs are in no record: once is enough.
    acls: Vec<bool>,
    records: u64,
}

impl Snapshot {
    fn is_pending(&self, slot: u32) -> bool {
        let word = self.done.get(slot as usize / 64).copied().unwrap_or(u64::MAX);
        self.cursor <= slot && slot < self.end && word & (1 << (slot % 64)) == 0
    }

    fn set_done(&mut self, slot: u32) {
        if let Some(word) = self.done.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Where the next record that cannot wait goes.
    fn take_side(&mut self) -> Vec<u8> {
        self.side.pop_back_if(|last| last.len() < SLICE_BYTES_MAX).unwrap_or_default()
    }

    /// Writes the ACL's record unless the file has it already.
    fn note_acl(&mut self, id: u32, acls: &AclTable, out: &mut Vec<u8>) {
        let at = id as usize;
        if self.acls.len() <= at {
            self.acls.resize(at + 1, false);
        }
        if std::mem::replace(&mut self.acls[at], true) {
            return;
        }
        let acl = acls.get(id);
        out.push(tag::ACL);
        put_u32(out, id);
        put_u32(out, acl.len() as u32);
        for entry in acl.iter() {
            put_u32(out, entry.perms as u32);
            put_bytes(out, entry.id.scheme.as_bytes());
            put_bytes(out, entry.id.id.as_bytes());
        }
    }
}

impl Tree {
    /// Begins a snapshot of the tree as it is now. One that was running is dropped.
    pub fn begin_snapshot(&mut self) {
        let end = self.nodes.end();
        let mut header = MAGIC.to_vec();
        header.push(u8::from(self.nodes[self.root].has(OWNED)));
        let side = VecDeque::from([header]);
        let done = vec![0; (end as usize).div_ceil(64)];
        let snapshot = Snapshot { end, cursor: 0, done, side, acls: Vec::new(), records: 0 };
        self.snapshot = Some(Box::new(snapshot));
    }

    /// Appends the next records to `out`, a chunk for the loader: what has changed since the last
    /// slice, and up to `max_nodes` more (fewer where they are large). True once all is written,
    /// and where no snapshot is running.
    pub fn snapshot_slice(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool {
        let Some(mut snapshot) = self.snapshot.take() else { return true };
        let out_max = out.len().saturating_add(SLICE_BYTES_MAX);
        out.append(&mut snapshot.side.pop_front().unwrap_or_default());
        if !snapshot.side.is_empty() {
            // Before the scan goes on: its records may name ACLs that stand in there.
            self.snapshot = Some(snapshot);
            return false;
        }
        let mut left = max_nodes.max(1);
        while left > 0 && snapshot.cursor < snapshot.end && out.len() < out_max {
            let slot = snapshot.cursor;
            if !self.nodes.page_goes_on(slot) {
                snapshot.cursor = Arena::<Node>::next_page(slot);
                continue;
            }
            if snapshot.is_pending(slot) && self.nodes.get(slot).is_some() {
                self.write_record(&mut snapshot, slot, out);
            }
            left -= 1;
            snapshot.cursor = slot + 1;
        }
        if snapshot.cursor < snapshot.end {
            self.snapshot = Some(snapshot);
            return false;
        }
        out.push(tag::END);
        put_u64(out, snapshot.records);
        true
    }

    /// Whether a snapshot has begun and not ended.
    #[must_use]
    pub fn snapshot_is_running(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Drops the snapshot that is running, if any.
    pub fn abort_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// To be called before a slot's own record changes or goes; its children may change freely.
    pub(super) fn before_change(&mut self, slot: u32) {
        let Some(mut snapshot) = self.snapshot.take() else { return };
        if snapshot.is_pending(slot) {
            let mut side = snapshot.take_side();
            self.write_record(&mut snapshot, slot, &mut side);
            snapshot.side.push_back(side);
            snapshot.set_done(slot);
        }
        self.snapshot = Some(snapshot);
    }

    /// To be called after a slot has been filled: it is not in the snapshot.
    pub(super) fn after_insert(&mut self, slot: u32) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.set_done(slot);
        }
    }

    fn write_record(&self, snapshot: &mut Snapshot, slot: u32, out: &mut Vec<u8>) {
        let node = &self.nodes[slot];
        let owned = node.has(OWNED);
        if owned {
            snapshot.note_acl(node.acl, &self.acls, out);
        }
        snapshot.records += 1;
        let raw_owner = self.owners.raw(node.owner);
        let extra = self.extra(slot).filter(|_| owned);
        let modified =
            node.mzxid != node.czxid || node.mtime_ms != node.ctime_ms || node.version != 0;
        let mut bits = 0;
        for (bit, present) in [
            (has::OWNED, owned),
            (has::ENTRY, node.has(ENTRY)),
            (has::DATA, owned && !node.has(NULL)),
            (has::OWNER, raw_owner != 0),
            (has::EXTRA, extra.is_some()),
            (has::MODIFIED, owned && modified),
        ] {
            bits |= if present { bit } else { 0 };
        }
        out.extend_from_slice(&[tag::NODE, bits]);
        put_u32(out, slot);
        put_u32(out, node.parent);
        put_bytes(out, self.nodes.name(slot));
        if raw_owner != 0 {
            put_u64(out, raw_owner as u64);
        }
        if owned {
            put_u64(out, node.czxid);
            put_u64(out, node.ctime_ms as u64);
            put_u32(out, node.acl);
        }
        if owned && modified {
            put_u64(out, node.mzxid);
            put_u64(out, node.mtime_ms as u64);
            put_u32(out, node.version as u32);
        }
        if let Some(extra) = extra {
            put_u64(out, extra.pzxid);
            put_u64(out, extra.acl_zxid);
            put_u32(out, extra.cversion as u32);
            put_u32(out, extra.aversion as u32);
        }
        if bits & has::DATA != 0 {
            put_bytes(out, self.nodes.data(slot).unwrap_or_default());
        }
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_u32(out, value.len() as u32);
    out.extend_from_slice(value);
}
