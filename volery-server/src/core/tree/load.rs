//! Builds a tree from the chunks of a snapshot, in which nodes stand in any order.
//! Trusts no byte: every length, number and link is checked before it is used; nothing is
//! allocated beyond what the chunks themselves hold. Called at start and on a peer's snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use volery_proto::zk::{Acl, Id};

use super::Tree;
use super::arena::NONE;
use super::node::{ENTRY, Extra, NAME_MAX, Node, OWNED};
use super::snapshot::{MAGIC, has, tag};

/// Why a snapshot of a tree was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree's snapshot, chunk {chunk}, byte {at}: {reason}")]
pub struct LoadError {
    /// Which chunk, from 0.
    pub chunk: usize,
    /// Where in the chunk.
    pub at: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// A tree being loaded.
#[derive(Debug)]
pub struct Loader {
    tree: Tree,
    owns_root: Option<bool>,
    /// ACL number of the file → of the tree, which holds a reference for it.
    acls: BTreeMap<u32, u32>,
    /// Slots as (of the file, of the tree), keyed by the first.
    slots: HashTable<(u32, u32)>,
    records: u64,
    ended: bool,
    chunks: usize,
    failed: Option<LoadError>,
}

type Parsed<T = ()> = Result<T, &'static str>;

impl Loader {
    /// Nothing loaded yet. For `hash_seed` see [`Tree::new`]; it need not be the writer's.
    #[must_use]
    pub fn new(hash_seed: u64) -> Loader {
        Loader {
            tree: Tree::without_root(hash_seed),
            owns_root: None,
            acls: BTreeMap::new(),
            slots: HashTable::new(),
            records: 0,
            ended: false,
            chunks: 0,
            failed: None,
        }
    }

    /// Takes the next chunk: the bytes of one slice, or of several one after the other.
    ///
    /// # Errors
    /// What is wrong with it; the loader then gives the same error for ever.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut input = Input { all: bytes, at: 0 };
        let chunk = self.chunks;
        self.chunks += 1;
        self.records(&mut input).map_err(|reason| {
            let error = LoadError { chunk, at: input.at, reason };
            self.failed = Some(error.clone());
            error
        })
    }

    /// The tree, once all chunks were taken.
    ///
    /// # Errors
    /// The snapshot is not complete, or its nodes do not form a tree.
    pub fn finish(mut self) -> Result<Tree, LoadError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.assemble() {
            Ok(()) => Ok(self.tree),
            Err(reason) => Err(LoadError { chunk: self.chunks, at: 0, reason }),
        }
    }

    fn records(&mut self, input: &mut Input<'_>) -> Parsed {
        if self.owns_root.is_none() && !input.is_empty() {
            if input.take(MAGIC.len())? != MAGIC {
                return Err("this is not a snapshot of a tree, or of another version");
            }
            self.owns_root = Some(match input.u8()? {
                0 => false,
                1 => true,
                _ => return Err("the header has an unknown flag"),
            });
        }
        while !input.is_empty() {
            if self.ended {
                return Err("bytes follow the end");
            }
            match input.u8()? {
                tag::ACL => self.acl(input)?,
                tag::NODE => self.node(input)?,
                tag::END if input.u64()? == self.records => self.ended = true,
                tag::END => return Err("nodes are missing"),
                _ => return Err("unknown kind of record"),
            }
        }
        Ok(())
    }

    fn acl(&mut self, input: &mut Input<'_>) -> Parsed {
        let id = input.u32()?;
        let count = input.u32()?;
        let mut acl = Vec::new();
        for _ in 0..count {
            let perms = input.u32()? as i32;
            let scheme = input.text()?.into();
            let id = input.text()?.into();
            acl.push(Acl { perms, id: Id { scheme, id } });
        }
        let acl: Arc<[Acl]> = acl.into();
        let number = self.tree.acls.acquire(&acl);
        match self.acls.insert(id, number) {
            None => Ok(()),
            Some(_) => Err("two ACLs have one number"),
        }
    }

    fn node(&mut self, input: &mut Input<'_>) -> Parsed {
        let bits = input.u8()?;
        let is = |bit: u8| bits & bit != 0;
        let owned_only = has::DATA | has::EXTRA | has::MODIFIED;
        if bits & !has::ALL != 0
            || bits & (has::OWNED | has::ENTRY) == has::OWNED | has::ENTRY
            || (!is(has::OWNED) && is(owned_only))
            || (!is(has::OWNED | has::ENTRY) && is(has::OWNER))
        {
            return Err("a node has fields that do not go together");
        }
        let slot_of_file = input.u32()?;
        let parent = input.u32()?;
        let name = input.text()?;
        let is_root = parent == NONE;
        let owns_root = self.owns_root == Some(true);
        if is_root != name.is_empty() || name.contains('/') || name.len() > NAME_MAX {
            return Err("a node has an impossible name");
        }
        if is_root && (is(has::ENTRY) || is(has::OWNED) != owns_root || self.tree.root != NONE) {
            return Err("the root does not fit the header, or is there twice");
        }
        let raw_owner = if is(has::OWNER) { input.u64()? as i64 } else { 0 };
        if is(has::OWNER) && raw_owner == 0 {
            return Err("an owner is zero");
        }
        let fields = Fields::read(bits, input)?;
        let data = if is(has::DATA) { Some(input.bytes()?) } else { None };
        let flag = if is(has::OWNED) { OWNED } else { 0 } | if is(has::ENTRY) { ENTRY } else { 0 };
        let slot = self.tree.nodes.insert(flag, parent, name.as_bytes(), data).ok_or(FULL)?;
        let node = &mut self.tree.nodes[slot];
        fields.fill(node);
        if is(has::OWNED) {
            node.acl =
                *self.acls.get(&fields.acl).ok_or("a node names an ACL that is not there")?;
            self.tree.acls.retain(node.acl);
            self.tree.node_count += 1;
        } else if is(has::ENTRY) {
            self.tree.entry_count += 1;
        }
        if let Some(extra) = fields.extra {
            node.extra = self.tree.extras.insert(extra).ok_or(FULL)?;
        }
        self.tree.nodes[slot].owner = self.tree.owners.attach(raw_owner, slot, is(has::OWNED));
        self.tree.schedule(slot);
        if is_root {
            self.tree.root = slot;
        }
        self.note_slot(slot_of_file, slot)
    }

    fn note_slot(&mut self, of_file: u32, slot: u32) -> Parsed {
        let seed = self.tree.hash_seed;
        let hash = slot_hash(of_file, seed);
        if self.slots.find(hash, |(other, _)| *other == of_file).is_some() {
            return Err("two nodes have one slot");
        }
        self.slots.insert_unique(hash, (of_file, slot), |(other, _)| slot_hash(*other, seed));
        self.records += 1;
        Ok(())
    }

    fn assemble(&mut self) -> Parsed {
        if !self.ended || self.tree.root == NONE {
            return Err("the snapshot is not complete");
        }
        for id in std::mem::take(&mut self.acls).into_values() {
            self.tree.acls.release(id);
        }
        let slots: Vec<u32> = self.tree.nodes.iter().map(|(slot, _)| slot).collect();
        let counts = self.resolve_parents(&slots)?;
        let root = self.tree.root;
        for slot in slots.into_iter().filter(|slot| *slot != root) {
            self.tree.adopt(slot, &counts)?;
        }
        self.tree.check_reach()
    }

    /// Turns the parents' slots from the file's into the tree's, and counts children by slot.
    fn resolve_parents(&mut self, slots: &[u32]) -> Parsed<Vec<u32>> {
        let seed = self.tree.hash_seed;
        let mut counts = vec![0u32; self.tree.nodes.end() as usize];
        for slot in slots.iter().copied().filter(|slot| *slot != self.tree.root) {
            let of_file = self.tree.nodes[slot].parent;
            let found = self.slots.find(slot_hash(of_file, seed), |(other, _)| *other == of_file);
            let (_, parent) = *found.ok_or("a node's parent is not there")?;
            self.tree.nodes[slot].parent = parent;
            counts[parent as usize] += 1;
        }
        self.slots = HashTable::new();
        Ok(counts)
    }
}

impl Tree {
    /// Makes a loaded node a child of its parent.
    fn adopt(&mut self, slot: u32, counts: &[u32]) -> Parsed {
        let node = &self.nodes[slot];
        let parent = node.parent;
        let listed = self.nodes[parent].has(OWNED);
        if (node.has(ENTRY) && !listed) || (node.is_connector() && listed) {
            return Err("an entry or a connector stands where it cannot");
        }
        if node.is_connector() && counts.get(slot as usize) == Some(&0) {
            return Err("a connector leads nowhere");
        }
        let hash = self.nodes.name_hash(slot, self.hash_seed);
        let (nodes, seed) = (&self.nodes, self.hash_seed);
        let hasher = |slot: u32| nodes.name_hash(slot, seed);
        let number = match nodes[parent].extra {
            NONE => {
                let new = Extra { pzxid: nodes[parent].czxid, ..Extra::default() };
                self.extras.insert(new).ok_or(FULL)?
            }
            number => number,
        };
        let children = &mut self.extras[number].children;
        if children.is_empty() {
            children.reserve(counts.get(parent as usize).map_or(0, |n| *n as usize), hasher);
        }
        if children.find(hash, |other| nodes.name(other) == nodes.name(slot)).is_some() {
            return Err("two children have one name");
        }
        children.insert(hash, slot, hasher);
        self.nodes[parent].extra = number;
        Ok(())
    }

    /// Every node hangs below the root, so there is no cycle; sums the sizes on the way.
    fn check_reach(&mut self) -> Parsed {
        let mut reached = 0;
        let mut size = 0;
        let mut open = vec![(self.root, 0usize)];
        while let Some((slot, path_len)) = open.pop() {
            let node = &self.nodes[slot];
            reached += 1;
            if node.has(OWNED) {
                size += path_len.max(1) + node.data_len();
            }
            let Some(extra) = self.extra(slot) else { continue };
            for child in extra.children.iter() {
                open.push((child, path_len + 1 + self.nodes[child].name_len()));
            }
        }
        self.data_size = size;
        if reached == self.nodes.len() { Ok(()) } else { Err("some nodes are not below the root") }
    }
}

const FULL: &str = "there are more nodes than slots";

fn slot_hash(slot: u32, seed: u64) -> u64 {
    let mixed = (u64::from(slot) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The numbers of a node's record.
#[derive(Default)]
struct Fields {
    czxid: u64,
    mzxid: u64,
    ctime_ms: i64,
    mtime_ms: i64,
    version: i32,
    acl: u32,
    extra: Option<Extra>,
}

impl Fields {
    fn read(bits: u8, input: &mut Input<'_>) -> Parsed<Fields> {
        let mut fields = Fields::default();
        if bits & has::OWNED != 0 {
            fields.czxid = input.u64()?;
            fields.ctime_ms = input.u64()? as i64;
            fields.acl = input.u32()?;
            fields.mzxid = fields.czxid;
            fields.mtime_ms = fields.ctime_ms;
        }
        if bits & has::MODIFIED != 0 {
            fields.mzxid = input.u64()?;
            fields.mtime_ms = input.u64()? as i64;
            fields.version = input.u32()? as i32;
        }
        if bits & has::EXTRA != 0 {
            let mut extra = Extra { pzxid: input.u64()?, ..Extra::default() };
            extra.acl_zxid = input.u64()?;
            extra.cversion = input.u32()? as i32;
            extra.aversion = input.u32()? as i32;
            fields.extra = Some(extra);
        }
        Ok(fields)
    }

    fn fill(&self, node: &mut Node) {
        node.czxid = self.czxid;
        node.mzxid = self.mzxid;
        node.ctime_ms = self.ctime_ms;
        node.mtime_ms = self.mtime_ms;
        node.version = self.version;
    }
}

/// A cursor over one chunk.
struct Input<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.at == self.all.len()
    }

    fn take(&mut self, len: usize) -> Parsed<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or("a length is absurd")?;
        let taken = self.all.get(self.at..end).ok_or("a record ends early")?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| "a record ends early")
    }

    fn u8(&mut self) -> Parsed<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Parsed<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Parsed<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    fn text(&mut self) -> Parsed<&'a str> {
        str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8")
    }
}
