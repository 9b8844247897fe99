//! Reads jute primitives from a frame; buffers and strings share the frame's memory.

use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// Why a record did not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record goes on past the end of the frame.
    #[error("the record ends {missing} bytes early")]
    Short {
        /// Bytes that were wanted and not there.
        missing: usize,
    },
    /// A length or count is negative (and not -1) or larger than its frame.
    #[error("length {0} is out of range")]
    Length(i32),
    /// A path is null where there has to be one.
    #[error("the path is null")]
    NullPath,
    /// A multi holds an operation or flags that it may not.
    #[error("a multi may not hold operation type {0}")]
    MultiType(i32),
    /// A watch mode, a watcher type or the like that does not exist.
    #[error("{0} is not a known value of {1}")]
    Value(i32, &'static str),
}

/// A cursor over one frame.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// All bytes not yet read.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    fn need(&self, n: usize) -> Result<(), DecodeError> {
        match n.checked_sub(self.bytes.len()) {
            Some(missing) if missing > 0 => Err(DecodeError::Short { missing }),
            _ => Ok(()),
        }
    }

    /// A 4-byte integer.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        self.need(4)?;
        Ok(self.bytes.get_i32())
    }

    /// An 8-byte integer.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        self.need(8)?;
        Ok(self.bytes.get_i64())
    }

    /// One byte; anything but 0 is true.
    ///
    /// # Errors
    /// No byte is left.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        self.need(1)?;
        Ok(self.bytes.get_u8() != 0)
    }

    /// Length and bytes; length -1 is null.
    ///
    /// # Errors
    /// The length is negative otherwise, or larger than what is left.
    pub fn buffer(&mut self) -> Result<Option<Bytes>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            n => {
                let len = usize::try_from(n).map_err(|_| DecodeError::Length(n))?;
                self.need(len)?;
                Ok(Some(self.bytes.split_to(len)))
            }
        }
    }

    /// A string. As in Java, bytes that are not UTF-8 become U+FFFD instead of an error, and
    /// surrogate pairs written as two 3-byte sequences (CESU-8) are joined.
    ///
    /// # Errors
    /// As for [`Reader::buffer`].
    pub fn ustring(&mut self) -> Result<Option<ByteString>, DecodeError> {
        let Some(bytes) = self.buffer()? else { return Ok(None) };
        Ok(Some(match ByteString::try_from(bytes.clone()) {
            Ok(string) => string,
            Err(_) => decode_lenient(&bytes).into(),
        }))
    }

    /// Refuses a null string, without reading it: what comes next is a path.
    ///
    /// # Errors
    /// It is null.
    pub fn expect_path(&self) -> Result<(), DecodeError> {
        if self.bytes.starts_with(&[0xff; 4]) { Err(DecodeError::NullPath) } else { Ok(()) }
    }

    /// The count of a vector; null counts as 0.
    ///
    /// # Errors
    /// The count is negative otherwise, or more than one element a byte.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        match self.int()? {
            -1 => Ok(0),
            n => match usize::try_from(n) {
                Ok(count) if count <= self.remaining() => Ok(count),
                _ => Err(DecodeError::Length(n)),
            },
        }
    }

    /// Items to make room for at once. A count is only a claim: at first no more memory is taken
    /// than the unread bytes take themselves.
    pub(super) fn capacity_for<T>(&self, count: usize) -> usize {
        count.min(self.remaining() / size_of::<T>().max(1))
    }
}

fn decode_lenient(bytes: &[u8]) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        if let [0xed, b @ 0xa0..=0xbf, c @ 0x80..=0xbf, tail @ ..] = rest {
            units.push(0xd000 | (u16::from(b & 0x3f) << 6) | u16::from(c & 0x3f));
            rest = tail;
            continue;
        }
        let end = (1..rest.len()).find(|&i| rest[i] == 0xed).unwrap_or(rest.len());
        units.extend(String::from_utf8_lossy(&rest[..end]).encode_utf16());
        rest = &rest[end..];
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zk::Acl;

    #[test]
    fn a_claimed_count_reserves_no_more_than_the_frame() {
        for length in [0, 1, 100, 1 << 20] {
            let reader = Reader::new(vec![0; length].into());
            for count in [0, 1, length, usize::MAX] {
                let items = reader.capacity_for::<Acl>(count);
                assert!(items <= count && items * size_of::<Acl>() <= length);
            }
        }
    }
}
