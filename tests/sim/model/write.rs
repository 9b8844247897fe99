//! The writes of the model: ZooKeeper's checks in their order (ZOOKEEPER.md 2.3), one by one.
//! A multi runs on the map itself and is undone as a whole when an operation fails.

use bytes::Bytes;
use volery_proto::ids::Zxid;
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{
    Acl, Create2Response, CreateResponse, ErrorCode, MultiOp, MultiResult, Request,
};

use super::node::{CONTAINER, Node, TTL_MARK};
use super::timeline::{Fired, FiredKind};
use super::{Model, Outcome};

const READ: i32 = 1;
const WRITE: i32 = 2;
const CREATE: i32 = 4;
const DELETE: i32 = 8;
const ADMIN: i32 = 16;

/// Where a command runs.
#[derive(Clone, Copy)]
struct At {
    zxid: Zxid,
    time: i64,
    session: i64,
    op: u32,
}

/// A create, whatever its opcode.
struct Create<'a> {
    path: &'a str,
    data: &'a Option<Bytes>,
    acl: &'a [Acl],
    flags: i32,
    owner: i64,
    with_stat: bool,
}

fn parent_of(path: &str) -> Option<String> {
    let at = path.rfind('/')?;
    Some(if at == 0 { "/".to_owned() } else { path[..at].to_owned() })
}

fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

impl Model {
    pub(super) fn write(
        &mut self,
        zxid: Zxid,
        time: i64,
        session: i64,
        request: &Request,
    ) -> Outcome {
        let at = At { zxid, time, session, op: 0 };
        let mut w = Writer::new();
        let err = if let Request::Multi(ops) = request {
            MultiResult::write_all(&self.multi(at, ops), &mut w);
            0
        } else {
            match self.single(at, request) {
                Ok(result) => {
                    write_single(&result, &mut w);
                    0
                }
                Err(code) => code.code(),
            }
        };
        self.timeline.seal(zxid, &self.nodes);
        Outcome::Answer { err, body: w.finish() }
    }

    fn multi(&mut self, at: At, ops: &[MultiOp]) -> Vec<MultiResult> {
        let before = self.nodes.clone();
        let fired = self.timeline.fired.len();
        let mut results = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            match self.op(At { op: index as u32, ..at }, op) {
                Ok(result) => results.push(result),
                Err(code) => {
                    self.nodes = before;
                    self.timeline.unfire(fired);
                    self.timeline.forget();
                    let error = |i: usize| match i.cmp(&index) {
                        std::cmp::Ordering::Less => ErrorCode::Ok,
                        std::cmp::Ordering::Equal => code,
                        std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
                    };
                    return (0..ops.len()).map(|i| MultiResult::Error(error(i))).collect();
                }
            }
        }
        results
    }

    fn op(&mut self, at: At, op: &MultiOp) -> Result<MultiResult, ErrorCode> {
        match op {
            MultiOp::Create(r) => self.single(at, &Request::Create(r.clone())),
            MultiOp::Create2(r) => self.single(at, &Request::Create2(r.clone())),
            MultiOp::CreateContainer(r) => self.single(at, &Request::CreateContainer(r.clone())),
            MultiOp::CreateTtl(r) => self.single(at, &Request::CreateTtl(r.clone())),
            MultiOp::Delete(r) => self.single(at, &Request::Delete(r.clone())),
            MultiOp::SetData(r) => self.single(at, &Request::SetData(r.clone())),
            MultiOp::Check(r) => {
                let node = self.nodes.get(r.path.as_ref() as &str).ok_or(ErrorCode::NoNode)?;
                check(node.permits(READ), ErrorCode::NoAuth)?;
                check(r.version == -1 || r.version == node.version, ErrorCode::BadVersion)?;
                Ok(MultiResult::Check)
            }
        }
    }

    fn single(&mut self, at: At, request: &Request) -> Result<MultiResult, ErrorCode> {
        let plain = |flags: i32| if flags == 1 || flags == 3 { at.session } else { 0 };
        match request {
            Request::Create(r) | Request::Create2(r) | Request::CreateContainer(r) => {
                let container = matches!(request, Request::CreateContainer(_));
                let create = Create {
                    path: &r.path,
                    data: &r.data,
                    acl: &r.acl,
                    flags: r.flags,
                    owner: if container { CONTAINER } else { plain(r.flags) },
                    with_stat: !matches!(request, Request::Create(_)),
                };
                self.create(at, &create)
            }
            Request::CreateTtl(r) => {
                let create = Create {
                    path: &r.path,
                    data: &r.data,
                    acl: &r.acl,
                    flags: r.flags,
                    owner: TTL_MARK | r.ttl,
                    with_stat: true,
                };
                self.create(at, &create)
            }
            Request::Delete(r) => self.delete(at, &r.path, r.version),
            Request::DeleteContainer(r) => self.reap(at, &r.path),
            Request::SetData(r) => {
                let node = self.nodes.get_mut(r.path.as_ref() as &str).ok_or(ErrorCode::NoNode)?;
                check(node.permits(WRITE), ErrorCode::NoAuth)?;
                check(r.version == -1 || r.version == node.version, ErrorCode::BadVersion)?;
                node.data = r.data.clone();
                node.version += 1;
                node.mzxid = at.zxid.as_i64();
                node.mtime = node.mtime.max(at.time);
                let (stat, readable) = (node.stat(), node.permits(READ));
                self.changed(at, FiredKind::DataChanged, &r.path, readable);
                Ok(MultiResult::SetData(stat))
            }
            Request::SetAcl(r) => {
                let node = self.nodes.get_mut(r.path.as_ref() as &str).ok_or(ErrorCode::NoNode)?;
                check(node.permits(ADMIN), ErrorCode::NoAuth)?;
                check(r.version == -1 || r.version == node.aversion, ErrorCode::BadVersion)?;
                node.acl = r.acl.clone();
                node.aversion += 1;
                let stat = node.stat();
                self.timeline.touch(&r.path);
                Ok(MultiResult::SetData(stat))
            }
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    fn create(&mut self, at: At, create: &Create<'_>) -> Result<MultiResult, ErrorCode> {
        let above = parent_of(create.path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.nodes.get(&above).ok_or(ErrorCode::NoNode)?;
        check(parent.permits(CREATE), ErrorCode::NoAuth)?;
        let path = match create.flags {
            2 | 3 | 6 => format!("{}{:010}", create.path, parent.creates),
            _ => create.path.to_owned(),
        };
        check(!self.nodes.contains_key(&path), ErrorCode::NodeExists)?;
        check(!parent.is_ephemeral(), ErrorCode::NoChildrenForEphemerals)?;
        let zxid = at.zxid.as_i64();
        let node = Node {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: at.time,
            mtime: at.time,
            version: 0,
            creates: 0,
            aversion: 0,
            owner: create.owner,
            data: create.data.clone(),
            acl: create.acl.to_vec(),
            children: Default::default(),
        };
        let (stat, readable) = (node.stat(), node.permits(READ));
        self.nodes.insert(path.clone(), node);
        self.changed(at, FiredKind::Created, &path, readable);
        self.child_changed(at, &above, &path, true);
        let path = path.into();
        Ok(match create.with_stat {
            true => MultiResult::Create2(Create2Response { path, stat }),
            false => MultiResult::Create(CreateResponse { path }),
        })
    }

    fn delete(&mut self, at: At, path: &str, version: i32) -> Result<MultiResult, ErrorCode> {
        let above = parent_of(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.nodes.get(&above).ok_or(ErrorCode::NoNode)?;
        check(parent.permits(DELETE), ErrorCode::NoAuth)?;
        let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
        check(version == -1 || version == node.version, ErrorCode::BadVersion)?;
        check(node.children.is_empty(), ErrorCode::NotEmpty)?;
        self.remove(at.zxid, at.op, path);
        Ok(MultiResult::Delete)
    }

    fn reap(&mut self, at: At, path: &str) -> Result<MultiResult, ErrorCode> {
        let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
        check(node.children.is_empty(), ErrorCode::NotEmpty)?;
        let age = at.time - node.mtime;
        let due = match node.owner {
            CONTAINER => node.creates != 0 || age >= 1000,
            owner if owner & TTL_MARK == TTL_MARK => age > owner & !TTL_MARK,
            _ => false,
        };
        check(due, ErrorCode::BadVersion)?;
        self.remove(at.zxid, at.op, path);
        Ok(MultiResult::Delete)
    }

    /// A znode goes; its checks have passed.
    pub(super) fn remove(&mut self, zxid: Zxid, op: u32, path: &str) {
        let at = At { zxid, time: 0, session: 0, op };
        let readable = self.nodes.remove(path).is_some_and(|node| node.permits(READ));
        self.changed(at, FiredKind::Deleted, path, readable);
        if let Some(above) = parent_of(path) {
            self.child_changed(at, &above, path, false);
        }
    }

    fn child_changed(&mut self, at: At, above: &str, path: &str, created: bool) {
        let Some(parent) = self.nodes.get_mut(above) else { return };
        if created {
            parent.creates += 1;
            parent.children.insert(name_of(path));
        } else {
            parent.children.remove(&name_of(path));
        }
        parent.pzxid = at.zxid.as_i64();
        let readable = parent.permits(READ);
        self.changed(at, FiredKind::ChildrenChanged, above, readable);
    }

    fn changed(&mut self, at: At, kind: FiredKind, path: &str, readable: bool) {
        self.timeline.touch(path);
        self.timeline.fire(Fired { zxid: at.zxid, kind, path: path.to_owned(), readable });
    }
}

fn check(passed: bool, code: ErrorCode) -> Result<(), ErrorCode> {
    if passed { Ok(()) } else { Err(code) }
}

fn write_single(result: &MultiResult, w: &mut Writer) {
    match result {
        MultiResult::Create(r) => r.write(w),
        MultiResult::Create2(r) => r.write(w),
        MultiResult::SetData(stat) => stat.write(w),
        _ => {}
    }
}
