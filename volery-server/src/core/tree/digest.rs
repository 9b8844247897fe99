//! A digest of all that a partition holds, whatever the order and the slots it came to be in.
//! Never part of replicated state itself. Called by the simulation and by tests.

use xxhash_rust::xxh3::xxh3_64;

use super::Tree;
use super::node::{ENTRY, OWNED};

impl Tree {
    /// The wrapping sum of a hash per owned znode (path and every field) and per entry (path and
    /// raw owner): equal trees have equal digests. Takes time in proportion to the tree.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut words = Vec::new();
        let mut sum = 0u64;
        for (slot, _) in self.nodes.iter().filter(|(_, node)| node.has(OWNED | ENTRY)) {
            words.clear();
            self.describe(slot, &mut words);
            words.extend_from_slice(self.nodes.data(slot).unwrap_or_default());
            sum = sum.wrapping_add(xxh3_64(&words));
        }
        sum
    }

    fn describe(&self, slot: u32, out: &mut Vec<u8>) {
        let node = &self.nodes[slot];
        text(&self.path_of(slot), out);
        out.extend_from_slice(&self.owners.raw(node.owner).to_le_bytes());
        out.push(u8::from(node.has(OWNED)));
        if !node.has(OWNED) {
            return;
        }
        let extra = self.extra(slot);
        for word in [
            node.czxid,
            node.mzxid,
            self.pzxid(slot),
            extra.map_or(0, |extra| extra.acl_zxid),
            node.ctime_ms as u64,
            node.mtime_ms as u64,
            extra.map_or(0, |extra| extra.children.len() as u64),
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let (cversion, aversion) = extra.map_or((0, 0), |extra| (extra.cversion, extra.aversion));
        for word in [node.version, cversion, aversion] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let acl = self.acls.get(node.acl);
        out.extend_from_slice(&(acl.len() as u64).to_le_bytes());
        for entry in acl.iter() {
            out.extend_from_slice(&entry.perms.to_le_bytes());
            text(&entry.id.scheme, out);
            text(&entry.id.id, out);
        }
        out.push(u8::from(self.nodes.data(slot).is_some()));
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
}
