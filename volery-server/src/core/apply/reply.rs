//! What a write answers, alone or as one result of a multi, and how the wire writes it.
//! Holds no header: err and zxid are the front end's.
//! Called by `apply` to build it, by the front end to send it.

use bytestring::ByteString;
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{Create2Response, CreateResponse, MultiResult, Stat};

use crate::core::types::Change;

/// The body of a write's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteReply {
    /// create.
    Path(ByteString),
    /// create2, createContainer, createTTL.
    PathStat(ByteString, Stat),
    /// setData, setACL.
    Stat(Stat),
    /// delete, deleteContainer.
    None,
    /// multi: one result for each operation, of a failed one too.
    Multi(Vec<MultiResult>),
}

impl WriteReply {
    /// Appends the body.
    pub fn write_body(&self, w: &mut Writer) {
        match self {
            WriteReply::Path(path) => path.write(w),
            WriteReply::PathStat(path, stat) => {
                path.write(w);
                stat.write(w);
            }
            WriteReply::Stat(stat) => stat.write(w),
            WriteReply::None => {}
            WriteReply::Multi(results) => MultiResult::write_all(results, w),
        }
    }
}

/// An operation whose checks have passed.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) reply: OpReply,
    pub(super) change: Option<Change>,
}

/// The result of one operation.
#[derive(Clone, Debug)]
pub(super) enum OpReply {
    Path(ByteString),
    PathStat(ByteString, Stat),
    Deleted,
    SetData(Stat),
    SetAcl(Stat),
    Checked,
}

impl OpReply {
    /// As the reply of a single request.
    pub(super) fn into_reply(self) -> WriteReply {
        match self {
            OpReply::Path(path) => WriteReply::Path(path),
            OpReply::PathStat(path, stat) => WriteReply::PathStat(path, stat),
            OpReply::SetData(stat) | OpReply::SetAcl(stat) => WriteReply::Stat(stat),
            OpReply::Deleted | OpReply::Checked => WriteReply::None,
        }
    }

    /// As one result of a multi. All creates that answer a Stat have the type of create2.
    pub(super) fn into_multi_result(self) -> MultiResult {
        match self {
            OpReply::Path(path) => MultiResult::Create(CreateResponse { path }),
            OpReply::PathStat(path, stat) => MultiResult::Create2(Create2Response { path, stat }),
            // A multi cannot hold a setACL; its result would look like setData's.
            OpReply::SetData(stat) | OpReply::SetAcl(stat) => MultiResult::SetData(stat),
            OpReply::Deleted => MultiResult::Delete,
            OpReply::Checked => MultiResult::Check,
        }
    }
}
