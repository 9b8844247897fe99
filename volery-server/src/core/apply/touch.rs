//! What a write works on, from its request alone: which paths, and what may happen to them.
//! Never looks at a tree: it names what the checks could read and the changes could write.
//! Called by the executor, to tell which commands must keep their order.

use bytestring::ByteString;
use volery_proto::zk::Request;

use super::op::{CreateKind, WriteOp};

/// One operation of a write.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'a> {
    /// As the client sent it; of a sequential create, without its number.
    pub path: &'a ByteString,
    /// What may happen there.
    pub kind: TouchKind,
}

/// What an operation may do to its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchKind {
    /// It may come: the znode and its parent change.
    Create {
        /// A number follows the path.
        sequential: bool,
        /// It would belong to the session.
        ephemeral: bool,
    },
    /// It may go: the znode and its parent change.
    Delete,
    /// Its data or ACL may change.
    Set,
    /// It is only looked at.
    Check,
}

/// Calls `each` with every operation of a write, in order.
pub fn touches<'a>(request: &'a Request, each: &mut dyn FnMut(Touch<'a>)) {
    match request {
        Request::Multi(ops) => ops.iter().for_each(|op| each(WriteOp::of_multi(op).touch())),
        _ => {
            if let Some(op) = WriteOp::of_request(request) {
                each(op.touch());
            }
        }
    }
}

impl<'a> WriteOp<'a> {
    fn touch(&self) -> Touch<'a> {
        let kind = match self {
            WriteOp::Create(create) => TouchKind::Create {
                sequential: create.is_sequential(),
                ephemeral: create.kind == CreateKind::Plain && matches!(create.flags, 1 | 3),
            },
            WriteOp::Delete { .. } | WriteOp::DeleteContainer { .. } => TouchKind::Delete,
            WriteOp::SetData { .. } | WriteOp::SetAcl { .. } => TouchKind::Set,
            WriteOp::Check { .. } => TouchKind::Check,
        };
        Touch { path: self.path(), kind }
    }
}
