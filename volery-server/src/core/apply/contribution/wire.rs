//! A contribution's bytes between servers and in the outbox.
//! Never trusts a length: what is longer than any command can need is refused.
//! Called by the executor's exchange.

use bytes::Bytes;
use bytestring::ByteString;
use prost::Message as _;
use volery_proto::ids::Zxid;
use volery_proto::limits::MAX_CONTRIBUTION_BYTES;
use volery_proto::wire;

use super::Contribution;
use crate::core::auth;
use crate::core::types::NodeInfo;

/// Bytes of another server that are not a contribution.
#[derive(Debug, thiserror::Error)]
pub enum ContributionError {
    /// Longer than any command can need.
    #[error("a contribution of {0} bytes is longer than any command can need")]
    Length(usize),
    /// Not the protobuf message.
    #[error("not a contribution: {0}")]
    Protobuf(#[from] prost::DecodeError),
}

impl Contribution {
    /// Its bytes. ACLs must be cut down, as `contribute` makes them.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let nodes = self.nodes.iter().map(|(path, node)| wire::ContributedNode {
            path: path.to_string(),
            state: node.as_ref().map(to_wire),
        });
        let entries = self
            .exists
            .iter()
            .map(|(path, &exists)| wire::ContributedEntry { path: path.to_string(), exists });
        let message = wire::Contribution {
            last_time_ms: self.last_time_ms,
            nodes: nodes.collect(),
            entries: entries.collect(),
        };
        message.encode_to_vec().into()
    }

    /// The inverse of [`Contribution::encode`].
    ///
    /// # Errors
    /// The bytes are not a contribution.
    pub fn decode(bytes: Bytes) -> Result<Contribution, ContributionError> {
        if bytes.len() > MAX_CONTRIBUTION_BYTES {
            return Err(ContributionError::Length(bytes.len()));
        }
        let message = wire::Contribution::decode(bytes)?;
        let nodes = message.nodes.into_iter();
        let entries = message.entries.into_iter();
        Ok(Contribution {
            last_time_ms: message.last_time_ms,
            nodes: nodes.map(|n| (ByteString::from(n.path), n.state.map(from_wire))).collect(),
            exists: entries.map(|e| (ByteString::from(e.path), e.exists)).collect(),
        })
    }
}

fn to_wire(node: &NodeInfo) -> wire::NodeState {
    wire::NodeState {
        czxid: node.czxid.0,
        mzxid: node.mzxid.0,
        pzxid: node.pzxid.0,
        ctime_ms: node.ctime_ms,
        mtime_ms: node.mtime_ms,
        version: node.version,
        cversion: node.cversion,
        aversion: node.aversion,
        owner: node.owner,
        data_length: node.data_length,
        num_children: node.num_children,
        // After `reduce` there is one entry, for everybody, or none.
        granted: auth::granted(&node.acl, &[]),
    }
}

fn from_wire(state: wire::NodeState) -> NodeInfo {
    NodeInfo {
        czxid: Zxid(state.czxid),
        mzxid: Zxid(state.mzxid),
        pzxid: Zxid(state.pzxid),
        ctime_ms: state.ctime_ms,
        mtime_ms: state.mtime_ms,
        version: state.version,
        cversion: state.cversion,
        aversion: state.aversion,
        owner: state.owner,
        data_length: state.data_length,
        num_children: state.num_children,
        acl: state.granted.map(auth::world_acl).into_iter().collect::<Vec<_>>().into(),
    }
}
