//! The bytes of a snapshot's header, chunks and footer.
//! It never touches a file, and never panics on bytes from one.
//! Called by the writer (to encode) and the reader (to decode).

use thiserror::Error;

/// The largest chunk. Much smaller ones are better: a chunk is what the core makes in one go.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 32;
/// Length and checksum, before a chunk's payload.
pub(super) const CHUNK_HEADER_BYTES: usize = 8;
/// The whole footer, its mark and checksum included.
pub(super) const FOOTER_BYTES: usize = 28;
/// Stands where a chunk's length would.
pub(super) const FOOTER_MARK: u32 = u32::MAX;
const _: () = assert!(CHUNK_BYTES_MAX < FOOTER_MARK as usize);

const MAGIC: [u8; 8] = *b"VOLERYSN";

/// What is wrong with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The file does not start as a snapshot does.
    #[error("this is not a snapshot (wrong magic or shorter than a header)")]
    NotASnapshot,
    /// The header's checksum does not match.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// A chunk longer than any.
    #[error("a chunk has the impossible length {0}")]
    Length(u32),
    /// A chunk's checksum does not match.
    #[error("a chunk's checksum does not match")]
    Checksum,
    /// The footer's checksum does not match.
    #[error("the footer's checksum does not match")]
    FooterChecksum,
    /// The footer counts other chunks than are there.
    #[error("the footer counts chunks or bytes that are not those of the file")]
    Counts,
    /// The file ends too early.
    #[error("the file ends before its footer does")]
    Truncated,
    /// The file ends too late.
    #[error("there is data behind the footer")]
    Trailing,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) partition: u16,
    pub(super) zxid: u64,
}

/// What the footer says: counted while writing, and again while reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) sum: u32,
}

impl Totals {
    /// Counts one more chunk.
    pub(super) fn add(&mut self, payload_len: usize, crc: u32) {
        self.chunks += 1;
        self.bytes += payload_len as u64;
        self.sum = crc32c::crc32c_append(self.sum, &crc.to_le_bytes());
    }
}

pub(super) fn encode_header(partition: u16, zxid: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&zxid.to_le_bytes());
    bytes[24..26].copy_from_slice(&partition.to_le_bytes());
    let crc = header_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A newer version is returned as it is: the rest of its header is unknown here.
pub(super) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Result<Header, Flaw> {
    if bytes[0..8] != MAGIC {
        return Err(Flaw::NotASnapshot);
    }
    let header = Header {
        version: u32_at(bytes, 8),
        partition: u16::from_le_bytes([bytes[24], bytes[25]]),
        zxid: u64_at(bytes, 16),
    };
    if header.version <= VERSION && u32_at(bytes, 12) != header_crc(bytes) {
        return Err(Flaw::HeaderChecksum);
    }
    Ok(header)
}

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// The checksum knows the chunk's number, so that chunks cannot change places.
pub(super) fn chunk_crc(number: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

pub(super) fn encode_chunk_header(payload_len: usize, crc: u32) -> [u8; CHUNK_HEADER_BYTES] {
    let mut bytes = [0; CHUNK_HEADER_BYTES];
    bytes[..4].copy_from_slice(&(payload_len as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Length (or the footer's mark) and checksum.
pub(super) fn decode_chunk_header(bytes: &[u8; CHUNK_HEADER_BYTES]) -> (u32, u32) {
    (u32_at(bytes, 0), u32_at(bytes, 4))
}

pub(super) fn encode_footer(totals: &Totals) -> [u8; FOOTER_BYTES] {
    let mut bytes = [0; FOOTER_BYTES];
    bytes[0..4].copy_from_slice(&FOOTER_MARK.to_le_bytes());
    bytes[8..16].copy_from_slice(&totals.chunks.to_le_bytes());
    bytes[16..24].copy_from_slice(&totals.bytes.to_le_bytes());
    bytes[24..28].copy_from_slice(&totals.sum.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The footer behind its mark and checksum.
pub(super) fn decode_footer(
    crc: u32,
    bytes: &[u8; FOOTER_BYTES - CHUNK_HEADER_BYTES],
) -> Result<Totals, Flaw> {
    if crc32c::crc32c(bytes) != crc {
        return Err(Flaw::FooterChecksum);
    }
    Ok(Totals { chunks: u64_at(bytes, 0), bytes: u64_at(bytes, 8), sum: u32_at(bytes, 16) })
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
