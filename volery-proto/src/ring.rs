//! Bytes of the log records and of the messages between the members of a ring.

use bytes::Bytes;
use prost::Message;

use crate::wire;

/// A record of the log, or a ring message, that does not decode.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not a ring's record or message: {0}")]
pub struct RingDecodeError(#[from] prost::DecodeError);

/// The bytes of a log record.
#[must_use]
pub fn encode_record(record: &wire::LogRecord) -> Bytes {
    record.encode_to_vec().into()
}

/// The inverse of [`encode_record`]; the value inside is a slice of `bytes`.
///
/// # Errors
/// The bytes are not a record.
pub fn decode_record(bytes: Bytes) -> Result<wire::LogRecord, RingDecodeError> {
    Ok(wire::LogRecord::decode(bytes)?)
}

/// The bytes of a message between the members of a ring.
#[must_use]
pub fn encode_message(message: &wire::RingMessage) -> Bytes {
    message.encode_to_vec().into()
}

/// The inverse of [`encode_message`]; the values inside are slices of `bytes`.
///
/// # Errors
/// The bytes are not a message.
pub fn decode_message(bytes: Bytes) -> Result<wire::RingMessage, RingDecodeError> {
    Ok(wire::RingMessage::decode(bytes)?)
}
