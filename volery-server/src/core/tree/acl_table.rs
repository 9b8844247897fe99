//! ACLs, each stored once however many znodes have it, with counts of references.
//! Knows nothing of what an ACL means. Called by apply, the views and the snapshots.

use std::sync::Arc;

use bytestring::ByteString;
use hashbrown::HashTable;
use volery_proto::zk::{Acl, Id};
use xxhash_rust::xxh3::xxh3_64_with_seed;

#[derive(Debug)]
struct Held {
    acl: Arc<[Acl]>,
    hash: u64,
    refs: u32,
}

/// Number → ACL, and back.
#[derive(Debug)]
pub(super) struct AclTable {
    held: Vec<Option<Held>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    seed: u64,
}

impl AclTable {
    pub(super) fn new(seed: u64) -> AclTable {
        let (held, free, index) = (Vec::new(), Vec::new(), HashTable::new());
        AclTable { held, free, index, seed }
    }

    /// The number of this ACL, with one more reference to it.
    pub(super) fn acquire(&mut self, acl: &Arc<[Acl]>) -> u32 {
        let hash = self.hash(acl);
        let found = self.index.find(hash, |id| {
            self.held.get(*id as usize).and_then(Option::as_ref).is_some_and(|h| h.acl == *acl)
        });
        if let Some(&id) = found {
            self.retain(id);
            return id;
        }
        let new = Some(Held { acl: copy(acl), hash, refs: 1 });
        let id = match self.free.pop() {
            Some(id) => {
                self.held[id as usize] = new;
                id
            }
            None => {
                self.held.push(new);
                self.held.len() as u32 - 1
            }
        };
        let held = &self.held;
        self.index.insert_unique(hash, id, |id| held[*id as usize].as_ref().map_or(0, |h| h.hash));
        id
    }

    /// One more reference to an ACL that is held.
    pub(super) fn retain(&mut self, id: u32) {
        if let Some(held) = self.held.get_mut(id as usize).and_then(Option::as_mut) {
            held.refs += 1;
        }
    }

    /// One reference less; the last one frees it.
    pub(super) fn release(&mut self, id: u32) {
        let Some(place) = self.held.get_mut(id as usize) else { return };
        let Some(held) = place else { return };
        held.refs -= 1;
        if held.refs == 0 {
            if let Ok(entry) = self.index.find_entry(held.hash, |other| *other == id) {
                entry.remove();
            }
            *place = None;
            self.free.push(id);
        }
    }

    /// The ACL of a number in use.
    pub(super) fn get(&self, id: u32) -> &Arc<[Acl]> {
        let held = self.held.get(id as usize).and_then(Option::as_ref);
        // Cannot fail: every owned node holds a reference to the number it names.
        &held.expect("an owned node names an ACL that is not held").acl
    }

    fn hash(&self, acl: &[Acl]) -> u64 {
        acl.iter().fold(self.seed, |hash, entry| {
            let hash = xxh3_64_with_seed(entry.id.id.as_bytes(), hash);
            let hash = xxh3_64_with_seed(entry.id.scheme.as_bytes(), hash);
            hash.wrapping_add(entry.perms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }
}

/// A copy in memory of its own: the client's would keep the buffer that its request came in.
fn copy(acl: &[Acl]) -> Arc<[Acl]> {
    let copy = |text: &ByteString| ByteString::from(text.as_ref() as &str);
    let entries = acl.iter().map(|Acl { perms, id }| Acl {
        perms: *perms,
        id: Id { scheme: copy(&id.scheme), id: copy(&id.id) },
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(perms: i32) -> Arc<[Acl]> {
        Arc::new([Acl { perms, id: Id { scheme: "world".into(), id: "anyone".into() } }])
    }

    #[test]
    fn equal_acls_share_a_number_until_the_last_goes() {
        let mut table = AclTable::new(1);
        let first = table.acquire(&acl(31));
        assert_eq!(table.acquire(&acl(31)), first);
        let second = table.acquire(&acl(1));
        assert_ne!(first, second);
        table.release(first);
        assert_eq!(table.get(first)[0].perms, 31);
        table.release(first);
        assert_eq!(table.acquire(&acl(3)), first);
        assert_eq!(table.get(first)[0].perms, 3);
        assert_eq!(table.index.len(), 2);
    }
}
