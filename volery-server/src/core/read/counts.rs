//! getAllChildrenNumber and getEphemerals: one partition's part of each.
//! Never adds parts up: the front end does, in order, with the frontier rising.
//! Called by `read` and `count_below`.

use volery_proto::zk::perms;

use super::access::find;
use super::{ReadContext, ReadOutcome, ReadReply, ReadView};

pub(super) fn all_children<'a, V: ReadView>(
    path: &str,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    match find(path, perms::READ, view, context) {
        Ok(_) => below(path, view, context),
        Err((code, observed)) => ReadOutcome::failed(code, observed),
    }
}

pub(super) fn below<'a, V: ReadView>(
    path: &str,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    let number = i32::try_from(view.descendants(path)).unwrap_or(i32::MAX);
    ReadOutcome::answered(ReadReply::Number(number), context.last_write)
}

/// The prefix is plain text: `/a` takes `/ab` too.
pub(super) fn ephemerals<'a, V: ReadView>(
    prefix: Option<&str>,
    view: &'a V,
    context: &ReadContext<'_>,
) -> ReadOutcome<'a, V::Node<'a>> {
    let mut paths = view.ephemerals(context.session);
    match prefix {
        None => {}
        Some(prefix) if matches!(prefix.trim(), "" | "/") => {}
        Some(prefix) => paths.retain(|path| path.starts_with(prefix)),
    }
    ReadOutcome::answered(ReadReply::Paths(paths), context.last_write)
}
