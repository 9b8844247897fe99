//! check: a version check in a multi; READ on the znode.
//! Changes nothing: it can only fail the multi.
//! Called through `WriteOp::execute`.

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{ErrorCode, perms};

use super::node::check_version;
use super::reply::{Done, OpReply};
use super::{View, WriteContext};

pub(super) fn execute<V: View + ?Sized>(
    path: &ByteString,
    version: i32,
    view: &V,
    context: &WriteContext<'_>,
) -> Result<Done, ErrorCode> {
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    let node = view.node(path).ok_or(ErrorCode::NoNode)?;
    context.check_acl(&node.acl, perms::READ)?;
    check_version(version, node.version)?;
    Ok(Done { reply: OpReply::Checked, change: None })
}
