//! create, create2, createContainer, createTTL: ZOOKEEPER.md 2.3 from the flags on.
//! Never looks at data or at names of children: the parent's raw cversion gives the number.
//! Called through `WriteOp::execute`.

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::{ErrorCode, perms};

use super::op::{CreateKind, CreateOp};
use super::reply::{Done, OpReply};
use super::{View, WriteContext, node};
use crate::core::auth::expand_acl;
use crate::core::types::{Change, NodeInfo, Owner, TTL_MAX_MS};

const EPHEMERAL: i32 = 1;
const EPHEMERAL_SEQUENTIAL: i32 = 3;
const TTL: i32 = 5;
const TTL_SEQUENTIAL: i32 = 6;
const FLAGS_MAX: i32 = 6;

impl CreateOp<'_> {
    /// Whether the parent's number is appended to the path.
    pub(super) fn is_sequential(&self) -> bool {
        matches!(self.flags, 2 | EPHEMERAL_SEQUENTIAL | TTL_SEQUENTIAL)
    }

    /// Checks 2 to 4: flags known, TTL switched on, time to live in range.
    pub(super) fn check_flags(&self, extended_types: bool) -> Result<(), ErrorCode> {
        if !(0..=FLAGS_MAX).contains(&self.flags) {
            return Err(ErrorCode::BadArguments);
        }
        let ttl_flags = matches!(self.flags, TTL | TTL_SEQUENTIAL);
        if ttl_flags && !extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let valid = match self.kind {
            // Java accepts other flags with a negative ttl, and then fails to apply them.
            CreateKind::Ttl(ttl) => ttl_flags && (1..=TTL_MAX_MS).contains(&ttl),
            CreateKind::Plain | CreateKind::Container => !ttl_flags,
        };
        if valid { Ok(()) } else { Err(ErrorCode::BadArguments) }
    }

    fn owner(&self, context: &WriteContext<'_>) -> Owner {
        match (self.kind, self.flags) {
            (CreateKind::Container, _) => Owner::Container,
            (CreateKind::Ttl(ms), _) => Owner::Ttl(ms),
            (CreateKind::Plain, EPHEMERAL | EPHEMERAL_SEQUENTIAL) => {
                Owner::Session(context.session.0)
            }
            // Flags 4 at the top level too: a plain persistent znode.
            (CreateKind::Plain, _) => Owner::None,
        }
    }

    /// The path of the new znode under a parent of this raw cversion.
    pub(super) fn final_path(&self, parent_cversion: i32) -> ByteString {
        if self.is_sequential() {
            format!("{}{}", self.path, path::sequence_suffix(parent_cversion)).into()
        } else {
            self.path.clone()
        }
    }
}

pub(super) fn execute<V: View + ?Sized>(
    create: &CreateOp<'_>,
    view: &V,
    context: &WriteContext<'_>,
) -> Result<Done, ErrorCode> {
    create.check_flags(context.flags.extended_types)?;
    let (parent_path, _) = path::split(create.path).ok_or(ErrorCode::BadArguments)?;
    if create.path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    let acl = expand_acl(create.acl, context.identities)?;
    let parent = view.node(parent_path).ok_or(ErrorCode::NoNode)?;
    context.check_acl(&parent.acl, perms::CREATE)?;
    let path = create.final_path(parent.cversion);
    path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
    if view.exists(&path) {
        return Err(ErrorCode::NodeExists);
    }
    if is_ephemeral(&parent) {
        return Err(ErrorCode::NoChildrenForEphemerals);
    }
    let owner = create.owner(context).to_raw();
    let data = create.data.clone();
    let reply = if create.with_stat {
        let created = node::created(&data, &acl, owner, context.moment);
        OpReply::PathStat(path.clone(), created.stat())
    } else {
        OpReply::Path(path.clone())
    };
    Ok(Done { reply, change: Some(Change::Create { path, data, acl, owner }) })
}

fn is_ephemeral(node: &NodeInfo) -> bool {
    matches!(Owner::from_raw(node.owner), Owner::Session(_))
}
