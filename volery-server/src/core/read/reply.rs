//! What a read answers, borrowed from the tree, and how the wire writes it.
//! Copies data and names once, into the writer; holds no header.
//! Called by `read` to build it, by the replica to send it.

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{Acl, ErrorCode, GetChildrenResponse, GetDataResponse, MultiResult, Stat};

use super::ReadNode;
use crate::core::auth::mask_digest;

/// The body of a read's reply.
#[derive(Clone, Debug)]
pub enum ReadReply<'a, N> {
    /// exists.
    Stat(Stat),
    /// getData.
    Data {
        /// Null and empty differ.
        data: Option<&'a [u8]>,
        /// Its Stat.
        stat: Stat,
    },
    /// getChildren, and getChildren2 with the Stat.
    Children {
        /// Whose children.
        node: N,
        /// getChildren2.
        with_stat: bool,
    },
    /// getACL.
    Acl {
        /// As it is stored.
        acl: &'a [Acl],
        /// The client sees no digest.
        masked: bool,
        /// Its Stat.
        stat: Stat,
    },
    /// getAllChildrenNumber.
    Number(i32),
    /// getEphemerals.
    Paths(Vec<ByteString>),
    /// multiRead: one result for each operation.
    Multi(Vec<MultiResult>),
}

impl<'a, N: ReadNode<'a>> ReadReply<'a, N> {
    /// Appends the body.
    pub fn write_body(&self, w: &mut Writer) {
        match self {
            ReadReply::Stat(stat) => stat.write(w),
            ReadReply::Data { data, stat } => {
                w.buffer(*data);
                stat.write(w);
            }
            ReadReply::Children { node, with_stat } => {
                w.int(count(node.num_children()));
                node.children().for_each(|name| w.ustring(name));
                if *with_stat {
                    node.stat().write(w);
                }
            }
            ReadReply::Acl { acl, masked, stat } => {
                w.int(count(acl.len()));
                for entry in *acl {
                    if *masked { mask_digest(entry).write(w) } else { entry.write(w) }
                }
                stat.write(w);
            }
            ReadReply::Number(number) => w.int(*number),
            ReadReply::Paths(paths) => {
                w.int(count(paths.len()));
                paths.iter().for_each(|path| w.ustring(path));
            }
            ReadReply::Multi(results) => MultiResult::write_all(results, w),
        }
    }

    /// Owned, as one result of a multiRead. Only getData and getChildren can stand in one; of
    /// the others it makes an error result.
    #[must_use]
    pub fn to_multi_result(&self) -> MultiResult {
        match self {
            ReadReply::Data { data, stat } => MultiResult::GetData(GetDataResponse {
                data: data.map(Bytes::copy_from_slice),
                stat: stat.clone(),
            }),
            ReadReply::Children { node, .. } => {
                let children = node.children().map(ByteString::from).collect();
                MultiResult::GetChildren(GetChildrenResponse { children })
            }
            _ => MultiResult::Error(ErrorCode::RuntimeInconsistency),
        }
    }
}

fn count(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}
