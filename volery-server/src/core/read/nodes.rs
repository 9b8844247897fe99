//! exists, getData, getChildren, getChildren2, getACL.
//! Never copies data or names: the reply borrows the znode until it is written.
//! Called by `read` and `read_op`.

use volery_proto::zk::{ErrorCode, WatchedPathRequest, perms};

use super::access::find;
use super::{ReadContext, ReadNode, ReadOutcome, ReadReply, ReadView};
use crate::core::watch::WatchKind;

pub(super) fn exists<'a, V: ReadView>(
    path: &str,
    watch: bool,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    if path.contains('\0') {
        return ReadOutcome::refused(ErrorCode::BadArguments);
    }
    let mut outcome = match find(path, perms::READ, view, context) {
        Ok(node) => ReadOutcome::answered(ReadReply::Stat(node.stat()), node.last_change()),
        Err((code, observed)) => ReadOutcome::failed(code, observed),
    };
    // Alone among the reads it watches for what is not there yet.
    if watch && !matches!(outcome.reply, Err(ErrorCode::NoAuth)) {
        outcome.watch = Some(WatchKind::Data);
    }
    outcome
}

pub(super) fn get_data<'a, V: ReadView>(
    path: &str,
    watch: bool,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    let node = match find(path, perms::READ, view, context) {
        Ok(node) => node,
        Err((code, observed)) => return ReadOutcome::failed(code, observed),
    };
    let reply = ReadReply::Data { data: node.data(), stat: node.stat() };
    let watch = watch.then_some(WatchKind::Data);
    ReadOutcome { watch, ..ReadOutcome::answered(reply, node.last_change()) }
}

pub(super) fn get_children<'a, V: ReadView>(
    request: &WatchedPathRequest,
    with_stat: bool,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    let node = match find(&request.path, perms::READ, view, context) {
        Ok(node) => node,
        Err((code, observed)) => return ReadOutcome::failed(code, observed),
    };
    let reply = ReadReply::Children { node, with_stat };
    let watch = request.watch.then_some(WatchKind::Child);
    ReadOutcome { watch, ..ReadOutcome::answered(reply, node.last_change()) }
}

pub(super) fn get_acl<'a, V: ReadView>(
    path: &str,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    match find(path, perms::READ | perms::ADMIN, view, context) {
        Ok(node) => {
            let masked = !context.permits(node.acl(), perms::ADMIN);
            let reply = ReadReply::Acl { acl: node.acl(), masked, stat: node.stat() };
            ReadOutcome::answered(reply, node.last_change())
        }
        Err((code, observed)) => ReadOutcome::failed(code, observed),
    }
}
