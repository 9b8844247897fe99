//! What each change makes of a znode's metadata (ZOOKEEPER.md 2.1), and the version check.
//! Pure arithmetic on `NodeInfo`; the tree does the same to what it stores.
//! Called by the operations for the Stat they answer, and by the overlay of a multi.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::zk::{Acl, ErrorCode};

use crate::core::types::{Moment, NodeInfo};

/// A version that a client wants, -1 for any, against the one that is there.
pub(super) fn check_version(wanted: i32, current: i32) -> Result<(), ErrorCode> {
    if wanted == -1 || wanted == current { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// The version after `version`. -1 is left out, as no client could name it.
#[must_use]
pub fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}

fn data_length(data: &Option<Bytes>) -> i32 {
    // A frame's length is an int, so its data's is too.
    data.as_ref().map_or(0, |d| i32::try_from(d.len()).unwrap_or(i32::MAX))
}

/// A new znode.
pub(super) fn created(data: &Option<Bytes>, acl: &Arc<[Acl]>, owner: i64, at: Moment) -> NodeInfo {
    NodeInfo {
        czxid: at.zxid,
        mzxid: at.zxid,
        pzxid: at.zxid,
        ctime_ms: at.time_ms,
        mtime_ms: at.time_ms,
        version: 0,
        cversion: 0,
        aversion: 0,
        owner,
        data_length: data_length(data),
        num_children: 0,
        acl: acl.clone(),
    }
}

/// A parent after a child's create.
pub(super) fn with_child(mut parent: NodeInfo, at: Moment) -> NodeInfo {
    parent.cversion = parent.cversion.wrapping_add(1);
    parent.num_children = parent.num_children.saturating_add(1);
    parent.pzxid = at.zxid;
    parent
}

/// A parent after a child's delete.
pub(super) fn without_child(mut parent: NodeInfo, at: Moment) -> NodeInfo {
    parent.num_children = parent.num_children.saturating_sub(1);
    parent.pzxid = at.zxid;
    parent
}

/// A znode after setData.
pub(super) fn with_data(mut node: NodeInfo, data: &Option<Bytes>, at: Moment) -> NodeInfo {
    node.version = next_version(node.version);
    node.mzxid = at.zxid;
    // A write that several partitions share may have set it by a clock that is ahead.
    node.mtime_ms = node.mtime_ms.max(at.time_ms);
    node.data_length = data_length(data);
    node
}

/// A znode after setACL.
pub(super) fn with_acl(mut node: NodeInfo, acl: &Arc<[Acl]>) -> NodeInfo {
    node.aversion = next_version(node.aversion);
    node.acl = acl.clone();
    node
}
