//! Writes jute primitives to a growing buffer.

use bytes::{BufMut, Bytes, BytesMut};

/// Appends jute values.
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Goes on at the end of `out`.
    #[must_use]
    pub fn append_to(out: BytesMut) -> Writer {
        Writer { out }
    }

    /// What was written.
    #[must_use]
    pub fn into_inner(self) -> BytesMut {
        self.out
    }

    /// What was written, frozen.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// A 4-byte integer.
    pub fn int(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// An 8-byte integer.
    pub fn long(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// One byte.
    pub fn boolean(&mut self, value: bool) {
        self.out.put_u8(u8::from(value));
    }

    /// Length and bytes; null is length -1.
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.int(bytes.len() as i32);
                self.out.put_slice(bytes);
            }
        }
    }

    /// Bytes that are encoded already.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.put_slice(encoded);
    }

    /// A string.
    pub fn ustring(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// Writes one frame: `fill` writes its content, the length goes in front.
    pub fn frame(&mut self, fill: impl FnOnce(&mut Writer)) {
        let at = self.out.len();
        self.int(0);
        fill(self);
        let len = (self.out.len() - at - 4) as u32;
        self.out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
}
