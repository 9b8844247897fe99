//! setACL: the new ACL is checked before the znode is looked up; the version is aversion.
//! Fires no watch and moves neither mzxid nor pzxid; the tree keeps a hidden zxid for readers.
//! Called through `WriteOp::execute`; a multi cannot hold it.

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{Acl, ErrorCode, perms};

use super::node::{check_version, with_acl};
use super::reply::{Done, OpReply};
use super::{View, WriteContext};
use crate::core::auth::expand_acl;
use crate::core::types::Change;

pub(super) fn execute<V: View + ?Sized>(
    path: &ByteString,
    acl: &[Acl],
    version: i32,
    view: &V,
    context: &WriteContext<'_>,
) -> Result<Done, ErrorCode> {
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    let acl = expand_acl(acl, context.identities)?;
    let node = view.node(path).ok_or(ErrorCode::NoNode)?;
    context.check_acl(&node.acl, perms::ADMIN)?;
    check_version(version, node.aversion)?;
    let changed = with_acl(node, &acl);
    Ok(Done {
        reply: OpReply::SetAcl(changed.stat()),
        change: Some(Change::SetAcl { path: path.clone(), acl }),
    })
}
