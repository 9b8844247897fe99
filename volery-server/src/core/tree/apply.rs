//! Applies decided changes: ZooKeeper's effects on the znode and on its parent, half by half.
//! Never checks what a client may do; refuses only what breaks the tree itself.
//! Called by the executor, once per change, in the order of the command's operations.

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::Acl;

use super::arena::NONE;
use super::node::{ENTRY, Extra, NAME_MAX, OWNED};
use super::{Tree, TreeError, world};
use crate::core::types::{Change, Moment, Part};

type Done<T = ()> = Result<T, &'static str>;

const FULL: &str = "the tree has no slot left";

impl Tree {
    /// Applies the halves of `change` that `part` gives to this partition; with neither half,
    /// nothing.
    ///
    /// # Errors
    /// The change is impossible here, so an invariant is broken: the caller ends the process.
    /// The tree is then not to be used any more.
    pub fn apply(&mut self, change: &Change, part: Part, at: Moment) -> Result<(), TreeError> {
        let done = match change {
            Change::Create { path, data, acl, owner } => {
                let data = data.as_deref();
                self.create(path, &New { data, acl, owner: *owner }, part, at).map(drop)
            }
            Change::Delete { path } => self.delete(path, part, at),
            Change::SetData { path, data } if part.node => self.set_data(path, data.as_deref(), at),
            Change::SetAcl { path, acl } if part.node => self.set_acl(path, acl, at),
            Change::SetData { .. } | Change::SetAcl { .. } => Ok(()),
        };
        done.map_err(|reason| TreeError { path: change.path().clone(), reason })
    }

    /// A znode of the fresh tree: no trace of its create anywhere.
    pub(super) fn install(&mut self, path: &str, perms: i32) -> Result<u32, TreeError> {
        let acl = world(perms);
        let new = New { data: Some(b""), acl: &acl, owner: 0 };
        let parent = path::split(path).and_then(|(parent, _)| self.find_owned(parent));
        self.create(path, &new, Part::WHOLE, Moment { zxid: Default::default(), time_ms: 0 })
            .and_then(|slot| {
                self.extra_for(parent.ok_or(NO_PARENT)?)?.cversion = 0;
                Ok(slot)
            })
            .map_err(|reason| TreeError { path: ByteString::from(path), reason })
    }

    /// The extra record of a node that an error would name as the root: only for fresh trees.
    pub(super) fn extra_mut(&mut self, slot: u32) -> Result<&mut Extra, TreeError> {
        let path = ByteString::from_static("/");
        self.extra_for(slot).map_err(|reason| TreeError { path, reason })
    }

    fn create(&mut self, path: &str, new: &New<'_>, part: Part, at: Moment) -> Done<u32> {
        if part == (Part { node: false, entry: false }) {
            return Ok(NONE);
        }
        let (parent_path, name) = path::split(path).ok_or("a path starts with /")?;
        // A path that starts with two slashes splits into "/" and a name as well.
        if name.is_empty() || name.len() > NAME_MAX || path.starts_with("//") {
            return Err("a name is empty or too long");
        }
        let parent = self.parent_for_create(parent_path, part)?;
        if let Some(slot) = self.child(parent, name) {
            return Err(match self.nodes[slot].is_connector() {
                true => "created above znodes that exist",
                false => "created, but it exists",
            });
        }
        let data = new.data.filter(|_| part.node);
        let flag = if part.node { OWNED } else { ENTRY };
        let slot = self.link(flag, parent, name, data)?;
        if part.node {
            let node = &mut self.nodes[slot];
            node.czxid = at.zxid.0;
            node.mzxid = at.zxid.0;
            node.ctime_ms = at.time_ms;
            node.mtime_ms = at.time_ms;
            node.acl = self.acls.acquire(new.acl);
            self.node_count += 1;
            self.data_size += path.len() + data.map_or(0, <[u8]>::len);
        } else {
            self.entry_count += 1;
        }
        self.nodes[slot].owner = self.owners.attach(new.owner, slot, part.node);
        self.schedule(slot);
        if part.entry {
            self.before_change(parent);
            let extra = self.extra_for(parent)?;
            extra.cversion = extra.cversion.wrapping_add(1);
            extra.pzxid = at.zxid.0;
        }
        Ok(slot)
    }

    /// The parent, or the connector that stands for it.
    fn parent_for_create(&mut self, path: &str, part: Part) -> Done<u32> {
        if part.entry {
            return self.find_owned(path).ok_or(NO_PARENT);
        }
        let names = path.strip_prefix('/').ok_or("a path starts with /")?;
        let mut at = self.root;
        for name in names.split('/').filter(|_| !names.is_empty()) {
            at = match self.child(at, name) {
                Some(child) => child,
                None if self.nodes[at].has(OWNED) => return Err("an ancestor is not there"),
                None if name.is_empty() || name.len() > NAME_MAX => {
                    return Err("the name of an ancestor is empty or too long");
                }
                None => self.link(0, at, name, None)?,
            };
        }
        match self.nodes[at].has(OWNED) {
            true => Err("its entry belongs to this partition, and would be missing"),
            false => Ok(at),
        }
    }

    fn delete(&mut self, path: &str, part: Part, at: Moment) -> Done {
        if part == (Part { node: false, entry: false }) {
            return Ok(());
        }
        let slot = self.find(path).ok_or("deleted, but it is not there")?;
        let node = &self.nodes[slot];
        if slot == self.root {
            return Err("the root is never deleted");
        }
        if self.extra(slot).is_some_and(|extra| !extra.children.is_empty()) {
            return Err("deleted, but something lies below it");
        }
        if self.part_of(slot) != part {
            return Err("deleted with other halves than are here");
        }
        let parent = node.parent;
        if part.node {
            self.node_count -= 1;
            self.data_size -= path.len() + node.data_len();
        } else {
            self.entry_count -= 1;
        }
        self.unlink(slot)?;
        if part.entry {
            self.before_change(parent);
            self.extra_for(parent)?.pzxid = at.zxid.0;
        } else {
            self.prune(parent)?;
        }
        Ok(())
    }

    fn set_data(&mut self, path: &str, data: Option<&[u8]>, at: Moment) -> Done {
        let slot = self.find_owned(path).ok_or("its data is set, but it is not there")?;
        self.before_change(slot);
        self.unschedule(slot);
        self.data_size -= self.nodes[slot].data_len();
        if !self.nodes.set_data(slot, data) {
            return Err(FULL);
        }
        let node = &mut self.nodes[slot];
        self.data_size += node.data_len();
        // As ZooKeeper 3.10: -1 is what "any version" is called, so the count steps over it.
        node.version = match node.version.wrapping_add(1) {
            -1 => 0,
            version => version,
        };
        // No znode's time goes back (ATTACKS row 27), whichever partition's clock set it.
        node.mtime_ms = node.mtime_ms.max(at.time_ms);
        node.mzxid = at.zxid.0;
        self.schedule(slot);
        Ok(())
    }

    fn set_acl(&mut self, path: &str, acl: &Arc<[Acl]>, at: Moment) -> Done {
        let slot = self.find_owned(path).ok_or("its ACL is set, but it is not there")?;
        self.before_change(slot);
        let new = self.acls.acquire(acl);
        let old = std::mem::replace(&mut self.nodes[slot].acl, new);
        self.acls.release(old);
        let extra = self.extra_for(slot)?;
        extra.aversion = extra.aversion.wrapping_add(1);
        extra.acl_zxid = at.zxid.0;
        Ok(())
    }

    /// Puts a new node into the arena and into the children of its parent.
    fn link(&mut self, flags: u32, parent: u32, name: &str, data: Option<&[u8]>) -> Done<u32> {
        let hash = self.hash(name.as_bytes());
        let extra = self.extra_number(parent)?;
        let slot = self.nodes.insert(flags, parent, name.as_bytes(), data).ok_or(FULL)?;
        self.after_insert(slot);
        let (nodes, seed) = (&self.nodes, self.hash_seed);
        let children = &mut self.extras[extra].children;
        children.insert(hash, slot, |slot| nodes.name_hash(slot, seed));
        Ok(slot)
    }

    /// The inverse of `link`, for a node without children.
    fn unlink(&mut self, slot: u32) -> Done {
        self.before_change(slot);
        self.unschedule(slot);
        let parent = self.nodes[slot].parent;
        let hash = self.nodes.name_hash(slot, self.hash_seed);
        let extra = self.extra_number(parent)?;
        let (nodes, seed) = (&self.nodes, self.hash_seed);
        let children = &mut self.extras[extra].children;
        children.remove(hash, slot, |slot| nodes.name_hash(slot, seed));
        let Some(node) = self.nodes.remove(slot) else { return Err("its slot is empty") };
        self.extras.remove(node.extra);
        self.owners.detach(node.owner, slot, node.has(OWNED));
        if node.has(OWNED) {
            self.acls.release(node.acl);
        }
        Ok(())
    }

    /// Nothing lies below a connector any more: it goes, and so do those above it.
    fn prune(&mut self, from: u32) -> Done {
        let mut at = from;
        while self.extra(at).is_none_or(|extra| extra.children.is_empty()) {
            let node = &mut self.nodes[at];
            if node.has(OWNED) {
                break;
            }
            let (extra, parent) = (std::mem::replace(&mut node.extra, NONE), node.parent);
            self.extras.remove(extra);
            if at == self.root || self.nodes[at].has(ENTRY) {
                break;
            }
            self.unlink(at)?;
            at = parent;
        }
        Ok(())
    }

    fn extra_for(&mut self, slot: u32) -> Done<&mut Extra> {
        let number = self.extra_number(slot)?;
        Ok(&mut self.extras[number])
    }

    /// The number of a node's extra record, made if there is none.
    fn extra_number(&mut self, slot: u32) -> Done<u32> {
        let node = &mut self.nodes[slot];
        if node.extra == NONE {
            let new = Extra { pzxid: node.czxid, ..Extra::default() };
            node.extra = self.extras.insert(new).ok_or(FULL)?;
        }
        Ok(node.extra)
    }
}

const NO_PARENT: &str = "its parent is not there, or belongs to another partition";

/// What a create brings.
struct New<'a> {
    data: Option<&'a [u8]>,
    acl: &'a Arc<[Acl]>,
    owner: i64,
}
