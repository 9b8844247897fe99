//! What a read answers, what it thereby observes, and which watch it sets (ZOOKEEPER.md 2.4).
//! Never waits and never registers: the caller runs it at a position at or above the frontier.
//! Called by the partition's replica for its own clients and for attached servers.

mod access;
mod counts;
mod nodes;
mod reply;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::zk::{Acl, ErrorCode, Id, MultiResult, ReadOp, Request, Stat};

use super::watch::WatchKind;

pub use reply::ReadReply;

/// The znodes of one partition, as reads see them.
pub trait ReadView {
    /// A znode, borrowed.
    type Node<'a>: ReadNode<'a>
    where
        Self: 'a;

    /// The znode, if this partition owns it and it exists.
    fn get(&self, path: &str) -> Option<Self::Node<'_>>;

    /// pzxid of the path's parent, where this partition owns that and it exists.
    fn parent_pzxid(&self, path: &str) -> Option<Zxid>;

    /// How many of this partition's znodes lie below the path, itself not counted; the path
    /// itself may be another partition's.
    fn descendants(&self, path: &str) -> usize;

    /// The session's ephemerals among this partition's znodes.
    fn ephemerals(&self, session: SessionId) -> Vec<ByteString>;
}

/// A znode, as reads see it.
pub trait ReadNode<'a>: Copy {
    /// Its Stat.
    fn stat(&self) -> Stat;
    /// Its data; null and empty differ.
    fn data(&self) -> Option<&'a [u8]>;
    /// Its ACL.
    fn acl(&self) -> &'a Arc<[Acl]>;
    /// The names of its children, those at a border included, in any deterministic order.
    fn children(&self) -> impl Iterator<Item = &'a str>;
    /// How many there are.
    fn num_children(&self) -> usize;
    /// max(mzxid, pzxid, zxid of its last setACL).
    fn last_change(&self) -> Zxid;
}

/// What a read's checks know besides the tree.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    /// The client's session.
    pub session: SessionId,
    /// What the connection has proved.
    pub identities: &'a [Id],
    /// `skipACL`: no ACL is checked, no digest is masked.
    pub skip_acl: bool,
    /// The last write that this partition has executed.
    pub last_write: Zxid,
}

/// What a read came to.
#[derive(Clone, Debug)]
pub struct ReadOutcome<'a, N> {
    /// To the client.
    pub reply: Result<ReadReply<'a, N>, ErrorCode>,
    /// The frontier rises to this (DESIGN section 7, read rule).
    pub observed: Zxid,
    /// To be registered for the request's path before anything else executes.
    pub watch: Option<WatchKind>,
}

impl<N> ReadOutcome<'_, N> {
    /// Nothing was looked at.
    fn refused<'a>(code: ErrorCode) -> ReadOutcome<'a, N> {
        ReadOutcome { reply: Err(code), observed: Zxid::ZERO, watch: None }
    }

    /// Something was looked at, and the whole partition's last write stands for it.
    fn failed<'a>(code: ErrorCode, observed: Zxid) -> ReadOutcome<'a, N> {
        ReadOutcome { reply: Err(code), observed, watch: None }
    }

    fn answered(reply: ReadReply<'_, N>, observed: Zxid) -> ReadOutcome<'_, N> {
        ReadOutcome { reply: Ok(reply), observed, watch: None }
    }
}

/// Answers a read. Of getEphemerals and of a count it answers this partition's part, of a
/// multiRead the whole, as if all its paths were this partition's; see [`read_op`].
pub fn read<'a, V: ReadView>(
    request: &Request,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    match request {
        Request::Exists(r) => nodes::exists(&r.path, r.watch, view, context),
        Request::GetData(r) => nodes::get_data(&r.path, r.watch, view, context),
        Request::GetChildren(r) => nodes::get_children(r, false, view, context),
        Request::GetChildren2(r) => nodes::get_children(r, true, view, context),
        Request::GetAcl(r) => nodes::get_acl(&r.path, view, context),
        Request::GetAllChildrenNumber(r) => counts::all_children(&r.path, view, context),
        Request::GetEphemerals(r) => counts::ephemerals(r.prefix.as_deref(), view, context),
        Request::MultiRead(ops) => read_ops(ops, view, context),
        _ => ReadOutcome::refused(ErrorCode::Unimplemented),
    }
}

/// Answers one operation of a multiRead; its watch flag is ignored.
pub fn read_op<'a, V: ReadView>(
    op: &ReadOp,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    let outcome = match op {
        ReadOp::GetData(r) => nodes::get_data(&r.path, false, view, context),
        ReadOp::GetChildren(r) => nodes::get_children(r, false, view, context),
    };
    ReadOutcome { watch: None, ..outcome }
}

/// The part of a count that a partition adds which does not own the path but znodes below it.
/// The path's owner checks whether the path exists and may be read.
pub fn count_below<'a, V: ReadView>(
    path: &str,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    counts::below(path, view, context)
}

fn read_ops<'a, V: ReadView>(
    ops: &[ReadOp],
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    let mut observed = Zxid::ZERO;
    let results = ops
        .iter()
        .map(|op| {
            let outcome = read_op(op, view, context);
            observed = observed.max(outcome.observed);
            outcome.reply.map_or_else(MultiResult::Error, |reply| reply.to_multi_result())
        })
        .collect();
    ReadOutcome::answered(ReadReply::Multi(results), observed)
}
