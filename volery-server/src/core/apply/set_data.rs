//! setData: WRITE on the znode, then its version.
//! Never reads the old data. Quotas would be checked between the two.
//! Called through `WriteOp::execute`.

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{ErrorCode, perms};

use super::node::{check_version, with_data};
use super::reply::{Done, OpReply};
use super::{View, WriteContext};
use crate::core::types::Change;

pub(super) fn execute<V: View + ?Sized>(
    path: &ByteString,
    data: &Option<Bytes>,
    version: i32,
    view: &V,
    context: &WriteContext<'_>,
) -> Result<Done, ErrorCode> {
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    let node = view.node(path).ok_or(ErrorCode::NoNode)?;
    context.check_acl(&node.acl, perms::WRITE)?;
    check_version(version, node.version)?;
    let changed = with_data(node, data, context.moment);
    Ok(Done {
        reply: OpReply::SetData(changed.stat()),
        change: Some(Change::SetData { path: path.clone(), data: data.clone() }),
    })
}
