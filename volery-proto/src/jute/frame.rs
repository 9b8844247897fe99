//! Cuts a byte stream into frames; tells four-letter words apart before the handshake.

use bytes::{Buf, Bytes, BytesMut};

/// What a client's stream holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One message, without its length.
    Message(Bytes),
    /// A four-letter word, sent raw instead of a first frame.
    Word([u8; 4]),
}

/// The stream is not ZooKeeper's protocol: the connection is closed without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame length {length} is not within 0..={max}")]
pub struct FrameError {
    /// As the client sent it.
    pub length: i32,
    /// `jute.maxbuffer`.
    pub max: usize,
}

/// Bytes of room that are made for the rest of a frame of which little has come.
const RESERVE_MIN: usize = 4096;

/// Cuts frames. Lengths are checked before anything is allocated by them.
#[derive(Clone, Copy, Debug)]
pub struct Framer {
    /// Longest frame (`jute.maxbuffer`), in bytes.
    pub max: usize,
    /// Whether the four bytes may be a word: true until the handshake.
    pub words: bool,
}

impl Framer {
    /// The next frame of `buffer`, or `None` until more bytes are there.
    ///
    /// # Errors
    /// The length is negative or above the maximum.
    pub fn next(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(head) = buffer.first_chunk::<4>().copied() else { return Ok(None) };
        if self.words && crate::zk::is_four_letter_word(head) {
            buffer.advance(4);
            return Ok(Some(Frame::Word(head)));
        }
        let length = i32::from_be_bytes(head);
        let len = usize::try_from(length)
            .ok()
            .filter(|&len| len <= self.max)
            .ok_or(FrameError { length, max: self.max })?;
        if buffer.len() < 4 + len {
            // The length is only a claim: room for as much again as has come, so that a frame in
            // many pieces is moved a few times, and four bytes cost no megabyte.
            let missing = 4 + len - buffer.len();
            buffer.reserve(missing.min(buffer.len().max(RESERVE_MIN)));
            return Ok(None);
        }
        buffer.advance(4);
        Ok(Some(Frame::Message(buffer.split_to(len).freeze())))
    }
}
