//! Reads the log of a running server, from its beginning or from where an earlier reading stopped,
//! while it is written and purged. It keeps a window of one segment in memory, and reads nothing
//! that is not known to be durable. Called by the thread that serves servers which are behind.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::WalError;
use super::format::{self, Decoded, FLAG_SEAL, HEADER_BYTES, RECORD_HEADER_BYTES};
use super::recover::{Record, check_header, damaged};
use super::segment;
use crate::storage::disk::{self, failed};

/// Bytes that are read at once, if a record is not longer.
const WINDOW_BYTES: usize = 256 << 10;

/// A reader of the log.
#[derive(Debug)]
pub struct LogTail {
    dir: PathBuf,
    identity: u64,
    segment: File,
    path: PathBuf,
    first_lsn: u64,
    /// Bytes of the segment from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
    /// Of the next record, in the segment.
    offset: u64,
}

impl LogTail {
    /// Begins at this position, where a record must begin, or at the oldest record that is left.
    ///
    /// # Errors
    /// There is no such position any more, or a file cannot be read.
    pub fn open(dir: &Path, identity: u64, from: Option<u64>) -> Result<LogTail, WalError> {
        let names = disk::names(dir)?;
        let firsts = names.iter().filter_map(|name| segment::parse_name(name));
        let first_lsn = match from {
            None => firsts.min(),
            Some(from) => firsts.filter(|first| *first <= from).max(),
        };
        let first_lsn = first_lsn.unwrap_or(from.unwrap_or_default());
        let (segment, path) = open_segment(dir, identity, first_lsn)?;
        let offset = from.map_or(HEADER_BYTES as u64, |from| from - first_lsn);
        let (dir, window) = (dir.to_path_buf(), Vec::new());
        Ok(LogTail { dir, identity, segment, path, first_lsn, window, window_at: 0, offset })
    }

    /// The position of the next record.
    pub fn position(&self) -> u64 {
        self.first_lsn + self.offset
    }

    /// The next record; `None` at `below`, behind which nothing need be durable.
    ///
    /// # Errors
    /// The log is damaged, or the next segment has been purged.
    pub fn next(&mut self, below: u64) -> Result<Option<Record>, WalError> {
        loop {
            let lsn = self.position();
            if lsn >= below {
                return Ok(None);
            }
            let head = self.window(RECORD_HEADER_BYTES)?;
            let length = head.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
            // A length that lies is longer than the file, and is found there.
            let data = self.window(length as usize)?;
            match format::decode_record(data, 0, lsn) {
                Decoded::Record { flags, payload, .. } if flags & FLAG_SEAL != 0 => {
                    let next = format::decode_seal(payload);
                    let next = next.map_err(|flaw| damaged(&self.path, self.offset, flaw))?;
                    (self.segment, self.path) = open_segment(&self.dir, self.identity, next)?;
                    (self.first_lsn, self.offset) = (next, HEADER_BYTES as u64);
                    self.window.clear();
                }
                Decoded::Record { payload, size, .. } => {
                    let payload = Bytes::copy_from_slice(payload);
                    self.offset += size as u64;
                    return Ok(Some(Record { lsn, payload }));
                }
                Decoded::End => return Ok(None),
                Decoded::Bad(flaw) => return Err(damaged(&self.path, self.offset, flaw)),
            }
        }
    }

    /// Bytes of the segment from `offset` on: so many, or as many as there are.
    fn window(&mut self, bytes: usize) -> Result<&[u8], WalError> {
        let end = self.window_at + self.window.len() as u64;
        let there = self.window_at <= self.offset && self.offset + bytes as u64 <= end;
        if !there {
            let length = self.segment.metadata().map_err(failed("look at", &self.path))?.len();
            let left = length.saturating_sub(self.offset);
            let wanted = left.min(bytes.max(WINDOW_BYTES) as u64) as usize;
            self.window.clear();
            self.window.resize(wanted, 0);
            let read = self.segment.read_exact_at(&mut self.window, self.offset);
            read.map_err(failed("read", &self.path))?;
            self.window_at = self.offset;
        }
        let at = (self.offset - self.window_at) as usize;
        Ok(self.window.get(at..).unwrap_or_default())
    }
}

fn open_segment(dir: &Path, identity: u64, first_lsn: u64) -> Result<(File, PathBuf), WalError> {
    let path = dir.join(segment::file_name(first_lsn));
    let mut file = File::open(&path).map_err(failed("open", &path))?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(failed("read", &path))?;
    check_header(&header, &path, first_lsn, identity)?;
    Ok((file, path))
}
