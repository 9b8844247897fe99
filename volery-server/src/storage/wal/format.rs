//! The bytes of the log: a segment's header and its records, written and read.
//! It never touches a file, never panics on bytes from one, and allocates nothing when reading.
//! Called by the writer (to encode), by recovery and the fuzzer (to decode).
//!
//! A segment: a header of 64 bytes, records, zeros to its end. All numbers are little-endian.
//!
//! ```text
//! header   magic 8 | version u32 | crc32c u32 | identity u64 | first lsn u64 | zeros
//! record   length u32 | crc32c u32 | tag u64 | payload | zeros up to the next multiple of 8
//! ```
//!
//! A record's lsn is the first lsn of its segment plus its offset in the file, so it is a multiple
//! of 8, and the tag is that lsn with flags in its low bits. `length` counts the record's header,
//! so zero can only mean the end. The checksum covers length, tag and payload.

use thiserror::Error;

/// Bytes before a segment's first record.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 16;
/// Bytes of the record that closes a segment; a segment keeps room for it.
pub(super) const SEAL_BYTES: usize = RECORD_HEADER_BYTES + 8;
/// The version of the format that this code writes.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"VOLERYWL";
const ALIGN: usize = 8;
const FLAGS_MASK: u64 = ALIGN as u64 - 1;

/// Everything before this record was synced when it was written.
pub(super) const FLAG_AFTER_SYNC: u64 = 1;
/// The segment ends here; the payload is the first lsn of the next one.
pub(super) const FLAG_SEAL: u64 = 2;

const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGN) && SEAL_BYTES.is_multiple_of(ALIGN));

/// What is wrong with the bytes at some offset of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The file does not start as a log segment does.
    #[error("this is not a log segment (wrong magic or shorter than a header)")]
    NotASegment,
    /// The header's own checksum does not match.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// The first lsn in the header is impossible, or is not the one in the file's name.
    #[error("the header names first position {0:#x}, which does not fit the file")]
    FirstLsn(u64),
    /// Zeros where a record must be, and something behind them.
    #[error("a record is missing: zeros, and data behind them")]
    Hole,
    /// A length that no record has.
    #[error("a record has the impossible length {0}")]
    Length(u32),
    /// A record longer than what is left of the file.
    #[error("a record of {0} bytes runs past the end of the file")]
    PastEnd(u32),
    /// The record says that it belongs elsewhere.
    #[error("a record says that its position is {0:#x}")]
    Position(u64),
    /// The checksum of a record does not match.
    #[error("a record's checksum does not match")]
    Checksum,
    /// The mark that closes a segment does not hold a position.
    #[error("the mark that closes the segment is malformed")]
    Seal,
    /// Later segments hold records, and this one was never closed.
    #[error("the segment ends without its closing mark, but later segments hold records")]
    Unsealed,
    /// A file too large to have been written by this server.
    #[error("the file is larger than any segment")]
    TooLarge,
}

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The version of the format; the rest is only meaningful for a version that we know.
    pub(super) version: u32,
    /// The identity of the server whose log this is.
    pub(super) identity: u64,
    /// The lsn of the first byte of the file.
    pub(super) first_lsn: u64,
}

/// Encodes a segment's header.
pub(super) fn encode_header(identity: u64, first_lsn: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0_u8; HEADER_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&identity.to_le_bytes());
    bytes[24..32].copy_from_slice(&first_lsn.to_le_bytes());
    let crc = header_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes a segment's header. A newer version is returned as it is: its layout is unknown here.
pub(super) fn decode_header(data: &[u8]) -> Result<Header, Flaw> {
    let bytes = data.first_chunk::<HEADER_BYTES>().ok_or(Flaw::NotASegment)?;
    if bytes[0..8] != MAGIC {
        return Err(Flaw::NotASegment);
    }
    let header = Header {
        version: u32_at(bytes, 8),
        identity: u64_at(bytes, 16),
        first_lsn: u64_at(bytes, 24),
    };
    if header.version > VERSION {
        return Ok(header);
    }
    if u32_at(bytes, 12) != header_crc(bytes) {
        return Err(Flaw::HeaderChecksum);
    }
    // Half of the number space is left free, so that no position within a file can overflow.
    if header.first_lsn & FLAGS_MASK != 0 || header.first_lsn > i64::MAX as u64 {
        return Err(Flaw::FirstLsn(header.first_lsn));
    }
    Ok(header)
}

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// Bytes that a record with such a payload takes in the file.
pub(super) fn record_bytes(payload_len: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_len).next_multiple_of(ALIGN)
}

/// Appends a record to the buffer. The caller has checked the length against the limit.
pub(super) fn encode_record(buffer: &mut Vec<u8>, lsn: u64, flags: u64, payload: &[u8]) {
    debug_assert!(lsn & FLAGS_MASK == 0 && flags <= FLAGS_MASK);
    let length = (RECORD_HEADER_BYTES + payload.len()) as u32;
    let tag = lsn | flags;
    buffer.reserve(record_bytes(payload.len()));
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&record_crc(length, tag, payload).to_le_bytes());
    buffer.extend_from_slice(&tag.to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
}

fn record_crc(length: u32, tag: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &tag.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded<'a> {
    /// A whole record; the next one starts `size` bytes on.
    Record { flags: u64, payload: &'a [u8], size: usize },
    /// A zero length, or the end of the file.
    End,
    /// Something else.
    Bad(Flaw),
}

/// Decodes the record at an offset of a segment.
pub(super) fn decode_record(data: &[u8], offset: usize, first_lsn: u64) -> Decoded<'_> {
    let rest = data.get(offset..).unwrap_or_default();
    let Some(head) = rest.first_chunk::<RECORD_HEADER_BYTES>() else { return Decoded::End };
    let (length, crc, tag) = (u32_at(head, 0), u32_at(head, 4), u64_at(head, 8));
    if length == 0 {
        return Decoded::End;
    }
    let Some(payload_len) = (length as usize).checked_sub(RECORD_HEADER_BYTES) else {
        return Decoded::Bad(Flaw::Length(length));
    };
    if tag & !FLAGS_MASK != first_lsn.wrapping_add(offset as u64) {
        return Decoded::Bad(Flaw::Position(tag));
    }
    let Some(payload) = rest.get(RECORD_HEADER_BYTES..length as usize) else {
        return Decoded::Bad(Flaw::PastEnd(length));
    };
    if record_crc(length, tag, payload) != crc {
        return Decoded::Bad(Flaw::Checksum);
    }
    Decoded::Record { flags: tag & FLAGS_MASK, payload, size: record_bytes(payload_len) }
}

/// Whether the tag at this offset names this very position: a cheap first test for a record.
pub(super) fn may_be_record(data: &[u8], offset: usize, first_lsn: u64) -> bool {
    data.get(offset + 8..offset + RECORD_HEADER_BYTES)
        .is_some_and(|tag| u64_at(tag, 0) & !FLAGS_MASK == first_lsn.wrapping_add(offset as u64))
}

/// The next segment's first lsn, from the payload of the record that closes one.
pub(super) fn decode_seal(payload: &[u8]) -> Result<u64, Flaw> {
    payload.try_into().map(u64::from_le_bytes).map_err(|_| Flaw::Seal)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]
    use super::*;

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        let mut bytes = encode_header(0x0102, 4096).to_vec();
        encode_record(&mut bytes, 4096 + 64, FLAG_AFTER_SYNC, b"hello");
        assert_eq!(&bytes[..12], b"VOLERYWL\x01\0\0\0");
        assert_eq!(&bytes[16..32], b"\x02\x01\0\0\0\0\0\0\0\x10\0\0\0\0\0\0");
        assert_eq!(&bytes[64..68], [21, 0, 0, 0]);
        assert_eq!(&bytes[72..], b"\x41\x10\0\0\0\0\0\0hello\0\0\0");
        assert_eq!(crc32c::crc32c(&bytes), 0x29E6_E81E);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_record_is_seen() {
        let mut bytes = encode_header(7, 0).to_vec();
        encode_record(&mut bytes, 64, 0, b"payload");
        for bit in 64 * 8..(64 + RECORD_HEADER_BYTES + 7) * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode_record(&bad, 64, 0), Decoded::Bad(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_header_is_read_back_and_its_flaws_are_named() {
        let good = encode_header(7, 8192);
        let header = decode_header(&good).unwrap();
        assert_eq!((header.identity, header.first_lsn), (7, 8192));
        let mut bad = good;
        bad[20] ^= 1;
        assert_eq!(decode_header(&bad), Err(Flaw::HeaderChecksum));
        assert_eq!(decode_header(&good[..63]), Err(Flaw::NotASegment));
        assert_eq!(decode_header(&encode_header(7, 3)), Err(Flaw::FirstLsn(3)));
        let mut newer = good;
        newer[8] = 2;
        assert_eq!(decode_header(&newer).unwrap().version, 2);
    }
}
