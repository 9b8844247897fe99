//! What a read's reply shows of a znode, and what the model would have shown: comparable.
//! It knows no zxids and no order. Used by the properties of reads and watches.

use bytes::Bytes;
use volery_proto::jute::{Jute, Reader};
use volery_proto::zk::{
    Acl, GetAclResponse, GetChildren2Response, GetChildrenResponse, GetDataResponse, MultiResult,
    ReadOp, Request, Stat,
};

use crate::model::Node;

/// What a client was shown of one path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    Error(i32),
    Stat(Stat),
    Data(Option<Bytes>, Stat),
    Children(Vec<String>, Option<Stat>),
    Acl(Vec<Acl>, Stat),
}

fn sorted(names: Vec<bytestring::ByteString>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(|n| n.to_string()).collect();
    names.sort();
    names
}

impl Shown {
    /// Reads a reply; `None`: not a read of one path.
    pub(crate) fn of_reply(request: &Request, err: i32, body: &Bytes) -> Option<Shown> {
        let mut r = Reader::new(body.clone());
        let single = matches!(
            request,
            Request::Exists(_)
                | Request::GetData(_)
                | Request::GetChildren(_)
                | Request::GetChildren2(_)
                | Request::GetAcl(_)
        );
        if !single {
            return None;
        }
        if err != 0 {
            return Some(Shown::Error(err));
        }
        Some(match request {
            Request::Exists(_) => Shown::Stat(Stat::read(&mut r).ok()?),
            Request::GetData(_) => {
                let GetDataResponse { data, stat } = GetDataResponse::read(&mut r).ok()?;
                Shown::Data(data, stat)
            }
            Request::GetChildren(_) => {
                Shown::Children(sorted(GetChildrenResponse::read(&mut r).ok()?.children), None)
            }
            Request::GetChildren2(_) => {
                let GetChildren2Response { children, stat } =
                    GetChildren2Response::read(&mut r).ok()?;
                Shown::Children(sorted(children), Some(stat))
            }
            _ => {
                let GetAclResponse { acl, stat } = GetAclResponse::read(&mut r).ok()?;
                Shown::Acl(acl, stat)
            }
        })
    }

    /// Reads one result of a multiRead.
    pub(crate) fn of_result(result: MultiResult) -> Option<Shown> {
        Some(match result {
            MultiResult::Error(code) => Shown::Error(code.code()),
            MultiResult::GetData(r) => Shown::Data(r.data, r.stat),
            MultiResult::GetChildren(r) => Shown::Children(sorted(r.children), None),
            _ => return None,
        })
    }

    /// What this request would show of this state.
    pub(crate) fn of_model(request: &Request, node: Option<&Node>) -> Shown {
        let Some(node) = node else { return Shown::Error(-101) };
        let needed = if matches!(request, Request::GetAcl(_)) { 1 | 16 } else { 1 };
        if !node.permits(needed) {
            return Shown::Error(-102);
        }
        let children = || node.children.iter().cloned().collect();
        match request {
            Request::GetData(_) => Shown::Data(node.data.clone(), node.stat()),
            Request::GetChildren(_) => Shown::Children(children(), None),
            Request::GetChildren2(_) => Shown::Children(children(), Some(node.stat())),
            Request::GetAcl(_) => Shown::Acl(node.acl.clone(), node.stat()),
            _ => Shown::Stat(node.stat()),
        }
    }
}

/// The path of a read of one path.
pub(crate) fn path_of(request: &Request) -> Option<&str> {
    match request {
        Request::Exists(r)
        | Request::GetData(r)
        | Request::GetChildren(r)
        | Request::GetChildren2(r) => Some(&r.path),
        Request::GetAcl(r) => Some(&r.path),
        _ => None,
    }
}

/// One operation of a multiRead as a request of its own.
pub(crate) fn as_request(op: &ReadOp) -> Request {
    match op {
        ReadOp::GetData(r) => Request::GetData(r.clone()),
        ReadOp::GetChildren(r) => Request::GetChildren(r.clone()),
    }
}
