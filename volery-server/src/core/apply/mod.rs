//! What a write does: the checks of ZooKeeper in their order, then the reply and the changes.
//! Never changes a tree itself: it reads a `View` and hands back `Change`s, all or none of them.
//! Called by the executor on a command's turn; `precheck` by the front end before it proposes.

mod check;
mod contribution;
mod create;
mod delete;
mod delete_container;
mod multi;
mod node;
mod op;
mod overlay;
mod reply;
mod set_acl;
mod set_data;
mod touch;

#[cfg(test)]
mod border_tests;
#[cfg(test)]
mod multi_tests;
#[cfg(test)]
mod tests;

use volery_proto::command::CommandFlags;
use volery_proto::ids::SessionId;
use volery_proto::zk::{Acl, ErrorCode, Id, Request};

use super::auth;
use super::types::{Change, Moment, NodeInfo};

pub use contribution::{ContributedView, Contribution, ContributionError, contribute};
pub use node::next_version;
pub use reply::WriteReply;
pub use touch::{Touch, TouchKind, touches};

use op::WriteOp;

/// The znodes that a write may ask about.
///
/// Paths are compared as they are: one that no znode can have (`/a/`, ``, `a`) is absent.
pub trait View {
    /// All of the znode but its data and its children's names.
    fn node(&self, path: &str) -> Option<NodeInfo>;

    /// Whether the znode exists; its parent's child list may answer.
    fn exists(&self, path: &str) -> bool;
}

/// What a write's checks know besides the tree: all of it from the command itself.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'a> {
    /// The command's zxid and time.
    pub moment: Moment,
    /// The client's session; it owns the ephemerals that are created.
    pub session: SessionId,
    /// What the connection has proved.
    pub identities: &'a [Id],
    /// The front end's settings.
    pub flags: CommandFlags,
}

impl WriteContext<'_> {
    fn check_acl(&self, acl: &[Acl], needed: i32) -> Result<(), ErrorCode> {
        if self.flags.skip_acl || auth::permits(acl, needed, self.identities) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// To the client. A failed multi is an `Ok` of error results, as on the wire.
    pub reply: Result<WriteReply, ErrorCode>,
    /// To the tree, in order, each with the index of its operation; none where the write failed.
    pub changes: Vec<(u32, Change)>,
}

/// The checks that need neither session nor tree; the front end answers their errors at once.
///
/// # Errors
/// The create's flags or TTL are not valid, or a client sent the reaper's own request.
pub fn precheck(request: &Request, extended_types: bool) -> Result<(), ErrorCode> {
    match request {
        Request::DeleteContainer(_) => Err(ErrorCode::Unimplemented),
        // Operations of a multi have their own results, hence their own errors.
        Request::Multi(_) => Ok(()),
        _ => match WriteOp::of_request(request) {
            Some(WriteOp::Create(create)) => create.check_flags(extended_types),
            _ => Ok(()),
        },
    }
}

/// Executes a write against `view`. The same request, view and context give the same outcome.
pub fn execute<V: View + ?Sized>(
    request: &Request,
    view: &V,
    context: &WriteContext<'_>,
) -> Outcome {
    if let Request::Multi(ops) = request {
        return multi::execute(ops, view, context);
    }
    let Some(op) = WriteOp::of_request(request) else {
        return Outcome { reply: Err(ErrorCode::Unimplemented), changes: Vec::new() };
    };
    match op.execute(view, context) {
        Ok(done) => Outcome {
            reply: Ok(done.reply.into_reply()),
            changes: done.change.into_iter().map(|change| (0, change)).collect(),
        },
        Err(code) => Outcome { reply: Err(code), changes: Vec::new() },
    }
}

/// The outcome of a write that its session forbids: a multi says it in its results.
#[must_use]
pub fn refuse(request: &Request, code: ErrorCode) -> Outcome {
    match request {
        Request::Multi(ops) => multi::failed(ops.len(), 0, code),
        _ => Outcome { reply: Err(code), changes: Vec::new() },
    }
}
