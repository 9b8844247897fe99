//! delete: DELETE on the parent decides; the znode's own ACL and owner do not matter.
//! Never validates the path in full, as ZooKeeper does not: a bad one is simply not there.
//! Called through `WriteOp::execute`.

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{ErrorCode, perms};

use super::node::check_version;
use super::reply::{Done, OpReply};
use super::{View, WriteContext};
use crate::core::types::Change;

/// The znodes that every tree has.
const UNDELETABLE: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// The form that a path to delete must have; gives its parent.
pub(super) fn check_form(path: &str) -> Result<&str, ErrorCode> {
    match path::split(path) {
        Some((parent, _)) if !path.contains('\0') && !UNDELETABLE.contains(&path) => Ok(parent),
        _ => Err(ErrorCode::BadArguments),
    }
}

pub(super) fn execute<V: View + ?Sized>(
    path: &ByteString,
    version: i32,
    view: &V,
    context: &WriteContext<'_>,
) -> Result<Done, ErrorCode> {
    let parent_path = check_form(path)?;
    let parent = view.node(parent_path).ok_or(ErrorCode::NoNode)?;
    context.check_acl(&parent.acl, perms::DELETE)?;
    let node = view.node(path).ok_or(ErrorCode::NoNode)?;
    check_version(version, node.version)?;
    if node.num_children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    Ok(Done { reply: OpReply::Deleted, change: Some(Change::Delete { path: path.clone() }) })
}
