//! How many bytes a command will take in a value, roughly: enough to bound a batch before it is
//! encoded. Encodes nothing and allocates nothing.
//! Called by the coordinator when it takes commands from its queue, and by who sends it some.

use volery_proto::command::{Command, Operation};
use volery_proto::zk::{Acl, MultiOp, Request};

/// The numbers of a command, and the framing of its strings.
const FIXED: usize = 96;

/// Bytes of one command in a value, give or take the length prefixes.
#[must_use]
pub fn weight(command: &Command) -> usize {
    let identities: usize =
        command.identities.iter().map(|id| id.scheme.len() + id.id.len() + 8).sum();
    let body = match &command.operation {
        Operation::Write(request) => request_weight(request),
        Operation::CreateSession { password, .. } | Operation::ReopenSession { password, .. } => {
            password.len()
        }
        Operation::Noop | Operation::Hello | Operation::CloseSession => 0,
        Operation::Sync(path) => path.len(),
    };
    FIXED + identities + body
}

fn request_weight(request: &Request) -> usize {
    match request {
        Request::Create(r) | Request::Create2(r) | Request::CreateContainer(r) => {
            r.path.len() + data(r.data.as_ref()) + acls(&r.acl)
        }
        Request::CreateTtl(r) => r.path.len() + data(r.data.as_ref()) + acls(&r.acl),
        Request::Delete(r) => r.path.len(),
        Request::SetData(r) => r.path.len() + data(r.data.as_ref()),
        Request::SetAcl(r) => r.path.len() + acls(&r.acl),
        Request::Multi(ops) => ops.iter().map(op_weight).sum(),
        // Rare writes with small bodies.
        _ => 1024,
    }
}

fn op_weight(op: &MultiOp) -> usize {
    let body = match op {
        MultiOp::Create(r) | MultiOp::Create2(r) | MultiOp::CreateContainer(r) => {
            r.path.len() + data(r.data.as_ref()) + acls(&r.acl)
        }
        MultiOp::CreateTtl(r) => r.path.len() + data(r.data.as_ref()) + acls(&r.acl),
        MultiOp::Delete(r) => r.path.len(),
        MultiOp::SetData(r) => r.path.len() + data(r.data.as_ref()),
        MultiOp::Check(r) => r.path.len(),
    };
    body + 32
}

fn data(data: Option<&bytes::Bytes>) -> usize {
    data.map_or(0, bytes::Bytes::len)
}

fn acls(acls: &[Acl]) -> usize {
    acls.iter().map(|acl| acl.id.scheme.len() + acl.id.id.len() + 12).sum()
}
