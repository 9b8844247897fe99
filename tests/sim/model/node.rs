//! A znode of the model, and what each kind of read shows of it.
//! Used by the model, and by the properties to compare reads.

use std::collections::BTreeSet;

use bytes::Bytes;
use volery_proto::zk::{Acl, Id, Stat};

/// Raw owner of a container, and the mark of a TTL znode.
pub(crate) const CONTAINER: i64 = i64::MIN;
pub(crate) const TTL_MARK: i64 = 0xff << 56;

/// All of a znode.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    /// Creates of children, ever.
    pub(crate) creates: i32,
    pub(crate) aversion: i32,
    pub(crate) owner: i64,
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Vec<Acl>,
    pub(crate) children: BTreeSet<String>,
}

pub(crate) fn world(perms: i32) -> Vec<Acl> {
    vec![Acl { perms, id: Id { scheme: "world".into(), id: "anyone".into() } }]
}

impl Node {
    /// A znode of a fresh tree.
    pub(crate) fn fresh(children: &[&str], config: bool) -> Node {
        Node {
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            creates: 0,
            aversion: if config { -1 } else { 0 },
            owner: 0,
            data: Some(Bytes::new()),
            acl: world(if config { 1 } else { 31 }),
            children: children.iter().map(|c| (*c).to_owned()).collect(),
        }
    }

    pub(crate) fn permits(&self, needed: i32) -> bool {
        // All entries of this workload are of the world.
        self.acl.iter().any(|entry| entry.perms & needed != 0)
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.owner != 0 && self.owner != CONTAINER && self.owner & TTL_MARK != TTL_MARK
    }

    pub(crate) fn stat(&self) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: 2 * self.creates - self.children.len() as i32,
            aversion: self.aversion,
            ephemeral_owner: if self.is_ephemeral() { self.owner } else { 0 },
            data_length: self.data.as_ref().map_or(0, |d| d.len() as i32),
            num_children: self.children.len() as i32,
            pzxid: self.pzxid,
        }
    }
}
