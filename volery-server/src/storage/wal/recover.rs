//! Reads the whole log at start, segment by segment, and finds the place where appending goes on.
//! It never changes a file, and never skips a record that it cannot read.
//! Called by `Wal::open`, which then cuts what is to be cut; usable alone to look at a log.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::{ReplayError, WalError};
use super::format::{self, Flaw, HEADER_BYTES};
use super::memory::Memory;
use super::scan::{self, SegmentEnd};
pub use super::scan::{ScanReport, scan_bytes};
use super::segment::{self, FILE_BYTES_MAX};
use crate::storage::disk::{self, DiskError, failed};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position: greater than that of every record before it.
    pub lsn: u64,
    /// The bytes as they were appended.
    pub payload: Bytes,
}

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Records handed over.
    pub records: u64,
    /// Where the oldest segment that is left starts; what is below has been purged. A caller that
    /// needs older records, judging by its snapshots, must not go on.
    pub first_lsn: u64,
    /// Every record is below this; the next one goes here or further on.
    pub next_lsn: u64,
    /// There was no segment at all: a new server, or one that has lost its memory.
    pub was_empty: bool,
    /// Whether this is everything that the server has acknowledged; anything but `Whole` stays so
    /// over restarts, until [`WalHandle::memory_restored`](super::WalHandle::memory_restored).
    pub memory: Memory,
    /// What was cut off the end, if anything.
    pub cut: Option<Cut>,
}

/// The end of the log that a crash left unfinished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// The offset in it from which everything is cut.
    pub offset: u64,
    /// Bytes cut that were not zero to the end.
    pub bytes: u64,
    /// What was wrong at the offset.
    pub flaw: Flaw,
    /// Whether an acknowledged record may have stood there (the rule is in `scan`). If so, an
    /// acceptor has lost a part of its memory, and must not vote before it has learned anew.
    pub synced_record_may_be_lost: bool,
}

/// Where the log ends, and what is to be done before appending there.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) recovered: Recovered,
    /// The segment to go on in; `None` in an empty directory.
    pub(super) last: Option<LastSegment>,
    /// First lsns of the segments that hold the log, the last included.
    pub(super) segments: Vec<u64>,
    /// Segments prepared and never used.
    pub(super) unused: Vec<PathBuf>,
}

/// The segment in which the log ends.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) path: PathBuf,
    pub(super) first_lsn: u64,
    /// Where the next record goes.
    pub(super) offset: u64,
    /// Up to here there are bytes to be overwritten with zeros.
    pub(super) used: u64,
}

/// Reads a log without changing it, handing over every record in order.
pub fn replay(
    dir: &Path,
    identity: u64,
    mut visit: impl FnMut(Record) -> Result<(), ReplayError>,
) -> Result<Recovered, WalError> {
    read_log(dir, identity, &mut visit).map(|tail| tail.recovered)
}

pub(super) fn read_log(
    dir: &Path,
    identity: u64,
    visit: &mut dyn FnMut(Record) -> Result<(), ReplayError>,
) -> Result<Tail, WalError> {
    let mut names: Vec<u64> =
        disk::names(dir)?.iter().filter_map(|name| segment::parse_name(name)).collect();
    names.sort_unstable();
    let mut tail = Tail {
        recovered: Recovered {
            records: 0,
            first_lsn: names.first().copied().unwrap_or(0),
            next_lsn: 0,
            was_empty: names.is_empty(),
            memory: Memory::load(dir)?,
            cut: None,
        },
        last: None,
        segments: Vec::new(),
        unused: Vec::new(),
    };
    let recent = names.len().saturating_sub(2);
    let mut expected: Option<u64> = None;
    for (index, &first_lsn) in names.iter().enumerate() {
        let path = dir.join(segment::file_name(first_lsn));
        if let (Some(next), Some(&before)) = (expected, tail.segments.last())
            && next != first_lsn
        {
            return Err(missing(dir, next, before));
        }
        let data = read_segment(&path, index >= recent)?;
        check_header(&data, &path, first_lsn, identity)?;
        if let Some(last) = &tail.last {
            // The log has ended before: only a segment that was prepared and not used may follow.
            if !scan::is_unused(&data) {
                let flaw = tail.recovered.cut.as_ref().map_or(Flaw::Unsealed, |cut| cut.flaw);
                return Err(damaged(&last.path, last.offset, flaw));
            }
            tail.unused.push(path);
            continue;
        }
        expected = tail.read_segment(&data, path, first_lsn, visit)?;
    }
    if let (Some(next), Some(&before), None) = (expected, tail.segments.last(), &tail.last) {
        return Err(missing(dir, next, before));
    }
    Ok(tail)
}

impl Tail {
    /// Takes in one more segment. Returns the first lsn of the one that must follow, if any must.
    fn read_segment(
        &mut self,
        data: &[u8],
        path: PathBuf,
        first_lsn: u64,
        visit: &mut dyn FnMut(Record) -> Result<(), ReplayError>,
    ) -> Result<Option<u64>, WalError> {
        self.segments.push(first_lsn);
        let records = &mut self.recovered.records;
        let end = scan::scan_records(data, first_lsn, |lsn, payload| {
            *records += 1;
            visit(Record { lsn, payload: Bytes::copy_from_slice(payload) }).map_err(|source| {
                WalError::Refused { file: path.clone(), offset: lsn - first_lsn, source }
            })
        })?;
        let (offset, used) = match end {
            SegmentEnd::Sealed { next } => return Ok(Some(next)),
            SegmentEnd::Damaged { at, flaw, .. } => return Err(damaged(&path, at as u64, flaw)),
            SegmentEnd::Open { end } => (end as u64, end as u64),
            SegmentEnd::Torn { at, flaw, bytes, synced_record_may_be_lost } => {
                let (offset, bytes) = (at as u64, bytes as u64);
                let file = path.clone();
                self.recovered.cut =
                    Some(Cut { file, offset, bytes, flaw, synced_record_may_be_lost });
                (offset, offset + bytes)
            }
        };
        self.recovered.next_lsn = first_lsn + offset;
        self.last = Some(LastSegment { path, first_lsn, offset, used });
        Ok(None)
    }
}

fn read_segment(path: &Path, recent: bool) -> Result<Vec<u8>, WalError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    if recent {
        // What a failed sync left in the page cache looks like a part of the file and is on no
        // disk. Write back what can be, then read what the disk has.
        file.sync_data().map_err(failed("sync", path))?;
        if let Err(error) = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed) {
            tracing::debug!(file = %path.display(), %error, "cannot drop cached pages");
        }
    }
    let length = file.metadata().map_err(failed("look at", path))?.len();
    if length > FILE_BYTES_MAX {
        return Err(damaged(path, 0, Flaw::TooLarge));
    }
    let mut data = Vec::with_capacity(length as usize);
    file.read_to_end(&mut data).map_err(|source| DiskError {
        doing: "read",
        path: path.to_path_buf(),
        source,
    })?;
    Ok(data)
}

pub(super) fn check_header(
    data: &[u8],
    path: &Path,
    first_lsn: u64,
    identity: u64,
) -> Result<(), WalError> {
    let header = format::decode_header(data).map_err(|flaw| damaged(path, 0, flaw))?;
    if header.version > format::VERSION {
        return Err(WalError::NewerFormat { file: path.to_path_buf(), found: header.version });
    }
    if header.identity != identity {
        let file = path.to_path_buf();
        return Err(WalError::Foreign { file, found: header.identity, expected: identity });
    }
    if header.first_lsn != first_lsn {
        return Err(damaged(path, 0, Flaw::FirstLsn(header.first_lsn)));
    }
    debug_assert!(data.len() >= HEADER_BYTES);
    Ok(())
}

pub(super) fn damaged(path: &Path, offset: u64, flaw: Flaw) -> WalError {
    WalError::Damaged { file: path.to_path_buf(), offset, flaw }
}

fn missing(dir: &Path, expected: u64, after: u64) -> WalError {
    WalError::MissingSegment {
        expected: dir.join(segment::file_name(expected)),
        after: dir.join(segment::file_name(after)),
    }
}
