//! Reads the records of one segment out of its bytes, and judges what the end of it looks like.
//! It never touches a file, never panics on any bytes, and allocates nothing.
//! Called by recovery for every segment at start, and by the fuzzer with anything at all.
//!
//! **The rule for a bad end.** The writer syncs each write before it begins the next one, and the
//! first record of a write says so (its after-sync flag). Hence:
//!
//! - A whole record with that flag *behind* a bad spot proves that the bad spot was once synced:
//!   it is **damage**, and nothing is cut.
//! - Otherwise the bad spot belongs to the last write, which may never have been synced: it is a
//!   **torn tail**, and everything from it on is cut, whole records of the same write included:
//!   a write is acknowledged as one.
//! - A power loss leaves whole sectors unwritten, and segments are filled with zeros beforehand. So
//!   where a sector of the bad record is missing (all zeros), the write did not finish, and no
//!   synced record can have stood there. Where every sector is there and the checksum is still
//!   wrong, the write may well have been synced and gone bad later: a synced record may be lost.
//!   (A synced record whose payload holds a sector of zeros, gone bad in the very last write, is
//!   mistaken for an unfinished one. Nothing in the file could tell them apart.)
//!
//! Without syncs (`sync = false`) only the first record of a segment, and the first after a start,
//! have the flag: the log ends at the first bad spot behind the last of these.

use super::format::{self, Decoded, FLAG_AFTER_SYNC, FLAG_SEAL, Flaw, HEADER_BYTES};

/// What a disk writes whole or not at all. Larger physical sectors are multiples of it.
const SECTOR_BYTES: usize = 512;

/// How the records of a segment end. Offsets count from the start of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Records up to `end`, then zeros: records may be appended there.
    Open {
        /// The offset behind the last record.
        end: usize,
    },
    /// Closed by its writer, which went on in the segment that starts at `next`.
    Sealed {
        /// The first lsn of the following segment.
        next: u64,
    },
    /// The last write did not arrive as a whole.
    Torn {
        /// The offset of the first bad record: where to cut.
        at: usize,
        /// What is wrong there.
        flaw: Flaw,
        /// Bytes up to the last one that is not zero: what a cut destroys.
        bytes: usize,
        /// Whether what is cut may once have been synced, and thus acknowledged.
        synced_record_may_be_lost: bool,
    },
    /// Synced records have gone bad.
    Damaged {
        /// The offset of the first bad record.
        at: usize,
        /// What is wrong there.
        flaw: Flaw,
        /// The offset of a whole record behind it, which proves that it is damage.
        later: usize,
    },
}

/// What [`scan_bytes`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanReport {
    /// The lsn of the first byte, from the header.
    pub first_lsn: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes of payload in them.
    pub payload_bytes: u64,
    /// How the records end.
    pub end: SegmentEnd,
}

/// Scans arbitrary bytes as a segment, header included: the same code as recovery's.
pub fn scan_bytes(data: &[u8]) -> Result<ScanReport, Flaw> {
    let first_lsn = format::decode_header(data)?.first_lsn;
    let (mut records, mut payload_bytes) = (0, 0);
    let end = scan_records(data, first_lsn, |_, payload| {
        records += 1;
        payload_bytes += payload.len() as u64;
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(end) = end;
    Ok(ScanReport { first_lsn, records, payload_bytes, end })
}

/// Hands each record (lsn, payload) to `visit` in order, and says how they end.
pub(super) fn scan_records<E>(
    data: &[u8],
    first_lsn: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<SegmentEnd, E> {
    let mut at = HEADER_BYTES;
    loop {
        let flaw = match format::decode_record(data, at, first_lsn) {
            Decoded::Record { flags, payload, .. } if flags & FLAG_SEAL != 0 => {
                match format::decode_seal(payload) {
                    Ok(next) => return Ok(SegmentEnd::Sealed { next }),
                    Err(flaw) => flaw,
                }
            }
            Decoded::Record { payload, size, .. } => {
                visit(first_lsn + at as u64, payload)?;
                at += size;
                continue;
            }
            Decoded::End if used_bytes(data, at) == 0 => {
                return Ok(SegmentEnd::Open { end: at });
            }
            Decoded::End => Flaw::Hole,
            Decoded::Bad(flaw) => flaw,
        };
        return Ok(judge(data, at, first_lsn, flaw));
    }
}

/// Torn or damaged: the rule at the top of this file.
fn judge(data: &[u8], at: usize, first_lsn: u64, flaw: Flaw) -> SegmentEnd {
    match later_write(data, at, first_lsn) {
        Some(later) => SegmentEnd::Damaged { at, flaw, later },
        None => SegmentEnd::Torn {
            at,
            flaw,
            bytes: used_bytes(data, at),
            synced_record_may_be_lost: !never_finished(data, at, flaw),
        },
    }
}

/// The offset of a whole record behind `at` that was written after everything before it was synced.
fn later_write(data: &[u8], at: usize, first_lsn: u64) -> Option<usize> {
    let used = at + used_bytes(data, at);
    (at + 8..used).step_by(8).find(|&offset| {
        format::may_be_record(data, offset, first_lsn)
            && matches!(
                format::decode_record(data, offset, first_lsn),
                Decoded::Record { flags, .. } if flags & FLAG_AFTER_SYNC != 0
            )
    })
}

/// Whether the bad record shows that its write did not reach the disk as a whole.
fn never_finished(data: &[u8], at: usize, flaw: Flaw) -> bool {
    match flaw {
        // The sector with the header is missing, a later one of the same write is there.
        Flaw::Hole => true,
        // Length in one sector, tag in the next, and that one is missing.
        Flaw::Position(0) => (at + 8).is_multiple_of(SECTOR_BYTES),
        Flaw::Checksum => {
            let length = data[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let end = data.len().min(at.saturating_add(length as usize));
            (at.next_multiple_of(SECTOR_BYTES)..end)
                .step_by(SECTOR_BYTES)
                .any(|sector| is_zero(&data[sector..data.len().min(sector + SECTOR_BYTES)]))
        }
        _ => false,
    }
}

/// Bytes from `at` to the last one that is not zero.
fn used_bytes(data: &[u8], at: usize) -> usize {
    let rest = data.get(at..).unwrap_or_default();
    // Whole blocks first: comparing 4 KiB at a time is as fast as memory.
    const BLOCK: usize = 4096;
    let mut used = rest.len();
    while used >= BLOCK && is_zero(&rest[used - BLOCK..used]) {
        used -= BLOCK;
    }
    rest[..used].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// Whether nothing stands behind the header: a segment prepared and never used.
pub(super) fn is_unused(data: &[u8]) -> bool {
    used_bytes(data, HEADER_BYTES) == 0
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}
