//! One write operation, whether it stands alone or in a multi: the common form that is executed.
//! Borrows from the request and copies nothing; decides only what the opcode itself decides.
//! Called by `execute`, `multi` and `contribute`.

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::zk::{Acl, CreateRequest, ErrorCode, MultiOp, Request};

use super::reply::Done;
use super::{View, WriteContext, check, create, delete, delete_container, set_acl, set_data};

/// A write.
#[derive(Clone, Copy, Debug)]
pub(super) enum WriteOp<'a> {
    Create(CreateOp<'a>),
    Delete { path: &'a ByteString, version: i32 },
    DeleteContainer { path: &'a ByteString },
    SetData { path: &'a ByteString, data: &'a Option<Bytes>, version: i32 },
    SetAcl { path: &'a ByteString, acl: &'a [Acl], version: i32 },
    Check { path: &'a ByteString, version: i32 },
}

/// Which opcode a create came with; flags mean different things to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreateKind {
    /// create and create2.
    Plain,
    /// createContainer: a container, whatever the flags.
    Container,
    /// createTTL, with the time to live in milliseconds.
    Ttl(i64),
}

/// A create of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct CreateOp<'a> {
    pub(super) path: &'a ByteString,
    pub(super) data: &'a Option<Bytes>,
    pub(super) acl: &'a [Acl],
    pub(super) flags: i32,
    pub(super) kind: CreateKind,
    /// The reply holds a Stat.
    pub(super) with_stat: bool,
}

impl<'a> WriteOp<'a> {
    /// The operation of a single request; `None`: not a write, or a multi.
    pub(super) fn of_request(request: &'a Request) -> Option<WriteOp<'a>> {
        Some(match request {
            Request::Create(r) => create_op(r, CreateKind::Plain, false),
            Request::Create2(r) => create_op(r, CreateKind::Plain, true),
            Request::CreateContainer(r) => create_op(r, CreateKind::Container, true),
            Request::CreateTtl(r) => WriteOp::Create(CreateOp {
                path: &r.path,
                data: &r.data,
                acl: &r.acl,
                flags: r.flags,
                kind: CreateKind::Ttl(r.ttl),
                with_stat: true,
            }),
            Request::Delete(r) => WriteOp::Delete { path: &r.path, version: r.version },
            Request::DeleteContainer(r) => WriteOp::DeleteContainer { path: &r.path },
            Request::SetData(r) => {
                WriteOp::SetData { path: &r.path, data: &r.data, version: r.version }
            }
            Request::SetAcl(r) => {
                WriteOp::SetAcl { path: &r.path, acl: &r.acl, version: r.version }
            }
            _ => return None,
        })
    }

    /// The operation of one element of a multi; the codec has already inferred its kind.
    pub(super) fn of_multi(op: &'a MultiOp) -> WriteOp<'a> {
        match op {
            MultiOp::Create(r) => create_op(r, CreateKind::Plain, false),
            MultiOp::Create2(r) => create_op(r, CreateKind::Plain, true),
            MultiOp::CreateContainer(r) => create_op(r, CreateKind::Container, true),
            MultiOp::CreateTtl(r) => WriteOp::Create(CreateOp {
                path: &r.path,
                data: &r.data,
                acl: &r.acl,
                flags: r.flags,
                kind: CreateKind::Ttl(r.ttl),
                with_stat: true,
            }),
            MultiOp::Delete(r) => WriteOp::Delete { path: &r.path, version: r.version },
            MultiOp::SetData(r) => {
                WriteOp::SetData { path: &r.path, data: &r.data, version: r.version }
            }
            MultiOp::Check(r) => WriteOp::Check { path: &r.path, version: r.version },
        }
    }

    /// The znode it names, as the client sent it.
    pub(super) fn path(&self) -> &'a ByteString {
        match self {
            WriteOp::Create(create) => create.path,
            WriteOp::Delete { path, .. }
            | WriteOp::DeleteContainer { path }
            | WriteOp::SetData { path, .. }
            | WriteOp::SetAcl { path, .. }
            | WriteOp::Check { path, .. } => path,
        }
    }

    /// Runs its checks in ZooKeeper's order.
    pub(super) fn execute<V: View + ?Sized>(
        &self,
        view: &V,
        context: &WriteContext<'_>,
    ) -> Result<Done, ErrorCode> {
        match *self {
            WriteOp::Create(create) => create::execute(&create, view, context),
            WriteOp::Delete { path, version } => delete::execute(path, version, view, context),
            WriteOp::DeleteContainer { path } => delete_container::execute(path, view, context),
            WriteOp::SetData { path, data, version } => {
                set_data::execute(path, data, version, view, context)
            }
            WriteOp::SetAcl { path, acl, version } => {
                set_acl::execute(path, acl, version, view, context)
            }
            WriteOp::Check { path, version } => check::execute(path, version, view, context),
        }
    }
}

fn create_op(request: &CreateRequest, kind: CreateKind, with_stat: bool) -> WriteOp<'_> {
    WriteOp::Create(CreateOp {
        path: &request.path,
        data: &request.data,
        acl: &request.acl,
        flags: request.flags,
        kind,
        with_stat,
    })
}
