//! A znode tree for tests: a sorted map of whole paths, or the part of it that one partition owns.
//! Slow and plain on purpose; panics where an operation asks for what the partition cannot know.
//! Called by the tests of `apply`, `read` and `watch`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::path;
use volery_proto::zk::{Acl, Id, Stat, perms};

use super::apply::{View, next_version};
use super::auth::world_acl;
use super::read::{ReadNode, ReadView};
use super::types::{Change, Moment, NodeInfo, Owner};

/// One znode.
#[derive(Clone, Debug)]
pub(crate) struct TestNode {
    pub(crate) info: NodeInfo,
    pub(crate) data: Option<Bytes>,
    pub(crate) acl_zxid: Zxid,
    names: Vec<String>,
}

/// A whole tree.
#[derive(Clone, Debug)]
pub(crate) struct TestTree {
    pub(crate) nodes: BTreeMap<String, TestNode>,
}

pub(crate) fn acl(perms: i32, id: &str) -> Acl {
    Acl { perms, id: identity(id) }
}

/// `scheme:id`, as the tools write it.
pub(crate) fn identity(text: &str) -> Id {
    let (scheme, id) = text.split_once(':').unwrap_or((text, ""));
    Id { scheme: scheme.into(), id: id.into() }
}

pub(crate) fn open() -> Vec<Acl> {
    vec![world_acl(perms::ALL)]
}

impl TestTree {
    /// A root that everybody may change, and these znodes under it, all made at zxid 1.
    pub(crate) fn with(paths: &[&str]) -> TestTree {
        let root = TestNode::new(open().into(), 0, None, Moment { zxid: Zxid::ZERO, time_ms: 0 });
        let mut tree = TestTree { nodes: BTreeMap::from([("/".to_owned(), root)]) };
        paths.iter().for_each(|path| tree.add(path, 0, open()));
        tree
    }

    pub(crate) fn add(&mut self, path: &str, owner: i64, acl: Vec<Acl>) {
        let at = Moment { zxid: Zxid(1), time_ms: 1 };
        let (path, acl) = (path.into(), acl.into());
        self.apply(&Change::Create { path, data: None, acl, owner }, at);
    }

    pub(crate) fn info(&mut self, path: &str) -> &mut NodeInfo {
        &mut self.nodes.get_mut(path).expect("the test made it").info
    }

    pub(crate) fn apply(&mut self, change: &Change, at: Moment) {
        let path = change.path().to_string();
        let (parent, name) = path::split(&path).expect("checked");
        match change {
            Change::Create { data, acl, owner, .. } => {
                let node = TestNode::new(acl.clone(), *owner, data.clone(), at);
                assert!(self.nodes.insert(path.clone(), node).is_none(), "{path} exists");
                let parent = self.nodes.get_mut(parent).expect("the parent exists");
                parent.names.push(name.to_owned());
                parent.info.cversion = parent.info.cversion.wrapping_add(1);
                parent.info.pzxid = at.zxid;
                parent.info.num_children += 1;
            }
            Change::Delete { .. } => {
                let gone = self.nodes.remove(&path).expect("the znode exists");
                assert!(gone.names.is_empty(), "{path} has children");
                let parent = self.nodes.get_mut(parent).expect("the parent exists");
                parent.names.retain(|n| n != name);
                parent.info.pzxid = at.zxid;
                parent.info.num_children -= 1;
            }
            Change::SetData { data, .. } => {
                let node = self.nodes.get_mut(&path).expect("the znode exists");
                node.data = data.clone();
                node.info.data_length = data.as_ref().map_or(0, |d| d.len() as i32);
                node.info.version = next_version(node.info.version);
                node.info.mzxid = at.zxid;
                node.info.mtime_ms = at.time_ms;
            }
            Change::SetAcl { acl, .. } => {
                let node = self.nodes.get_mut(&path).expect("the znode exists");
                node.info.acl = acl.clone();
                node.info.aversion = next_version(node.info.aversion);
                node.acl_zxid = at.zxid;
            }
        }
    }
}

impl TestNode {
    fn new(acl: Arc<[Acl]>, owner: i64, data: Option<Bytes>, at: Moment) -> TestNode {
        let info = NodeInfo {
            czxid: at.zxid,
            mzxid: at.zxid,
            pzxid: at.zxid,
            ctime_ms: at.time_ms,
            mtime_ms: at.time_ms,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner,
            data_length: data.as_ref().map_or(0, |d| d.len() as i32),
            num_children: 0,
            acl,
        };
        TestNode { info, data, acl_zxid: Zxid::ZERO, names: Vec::new() }
    }
}

impl View for TestTree {
    fn node(&self, path: &str) -> Option<NodeInfo> {
        self.nodes.get(path).map(|node| node.info.clone())
    }
    fn exists(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }
}

/// The part of a tree that one partition owns.
pub(crate) struct PartTree<'a> {
    pub(crate) whole: &'a TestTree,
    pub(crate) owns: &'a dyn Fn(&str) -> bool,
}

impl View for PartTree<'_> {
    fn node(&self, path: &str) -> Option<NodeInfo> {
        assert!((self.owns)(path), "asked for {path:?} of another partition");
        self.whole.node(path)
    }
    fn exists(&self, path: &str) -> bool {
        let (parent, _) = path::split(path).expect("checked");
        assert!((self.owns)(path) || (self.owns)(parent), "asked for foreign {path:?}");
        self.whole.exists(path)
    }
}

impl<'a> ReadNode<'a> for &'a TestNode {
    fn stat(&self) -> Stat {
        self.info.stat()
    }
    fn data(&self) -> Option<&'a [u8]> {
        self.data.as_deref()
    }
    fn acl(&self) -> &'a Arc<[Acl]> {
        &self.info.acl
    }
    fn children(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().map(String::as_str)
    }
    fn num_children(&self) -> usize {
        self.names.len()
    }
    fn last_change(&self) -> Zxid {
        self.info.mzxid.max(self.info.pzxid).max(self.acl_zxid)
    }
}

impl ReadView for TestTree {
    type Node<'a> = &'a TestNode;

    fn get(&self, path: &str) -> Option<&TestNode> {
        self.nodes.get(path)
    }
    fn parent_pzxid(&self, path: &str) -> Option<Zxid> {
        let (parent, _) = path::split(path)?;
        self.nodes.get(parent).map(|node| node.info.pzxid)
    }
    fn descendants(&self, path: &str) -> usize {
        let below = if path == "/" { path.to_owned() } else { format!("{path}/") };
        self.nodes.keys().filter(|p| p.starts_with(&below) && *p != path).count()
    }
    fn ephemerals(&self, session: SessionId) -> Vec<ByteString> {
        let owner = Owner::Session(session.0).to_raw();
        let mine = self.nodes.iter().filter(|(_, node)| node.info.owner == owner);
        mine.map(|(path, _)| path.as_str().into()).collect()
    }
}
