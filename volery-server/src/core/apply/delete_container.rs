//! deleteContainer: the reaper's delete of an empty container or an expired TTL znode.
//! Trusts nothing that the reaper saw: between its look and this turn a client may have come.
//! Called through `WriteOp::execute`; no client may send it.

use bytestring::ByteString;
use volery_proto::zk::ErrorCode;

use super::delete::check_form;
use super::reply::{Done, OpReply};
use super::{View, WriteContext};
use crate::core::types::{Change, NodeInfo, Owner};

/// A container that never had a child is at least this old, whatever the reaper's setting: it
/// may have been deleted and created again since the reaper looked.
const NEVER_USED_MS_MIN: i64 = 1_000;

pub(super) fn execute<V: View + ?Sized>(
    path: &ByteString,
    view: &V,
    context: &WriteContext<'_>,
) -> Result<Done, ErrorCode> {
    check_form(path)?;
    let node = view.node(path).ok_or(ErrorCode::NoNode)?;
    if node.num_children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    if !is_due(&node, context.moment.time_ms) {
        return Err(ErrorCode::BadVersion);
    }
    Ok(Done { reply: OpReply::Deleted, change: Some(Change::Delete { path: path.clone() }) })
}

fn is_due(node: &NodeInfo, now_ms: i64) -> bool {
    let age_ms = now_ms.saturating_sub(node.mtime_ms);
    match Owner::from_raw(node.owner) {
        Owner::Container => node.cversion != 0 || age_ms >= NEVER_USED_MS_MIN,
        Owner::Ttl(ttl_ms) => age_ms > ttl_ms,
        Owner::None | Owner::Session(_) => false,
    }
}
