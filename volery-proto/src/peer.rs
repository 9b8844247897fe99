//! Bytes of the messages between servers.

use bytes::Bytes;
use prost::Message;

use crate::limits::MAX_PEER_MESSAGE;
use crate::wire;

/// What another server sent is not a message.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerDecodeError {
    /// Not the protobuf message.
    #[error("not a message of a peer: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// Longer than any message can be.
    #[error("a peer's message of {0} bytes is too long")]
    Length(usize),
}

/// The bytes of a message.
#[must_use]
pub fn encode(message: &wire::PeerMessage) -> Bytes {
    message.encode_to_vec().into()
}

/// The inverse of [`encode`]; values and contributions inside are slices of `bytes`.
///
/// # Errors
/// The bytes are not a message.
pub fn decode(bytes: Bytes) -> Result<wire::PeerMessage, PeerDecodeError> {
    if bytes.len() > MAX_PEER_MESSAGE {
        return Err(PeerDecodeError::Length(bytes.len()));
    }
    Ok(wire::PeerMessage::decode(bytes)?)
}
