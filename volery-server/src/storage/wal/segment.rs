//! One segment file: its name, its creation ahead of time, positioned writes and syncs.
//! It never reads records and never decides when to rotate.
//! Called by the writer (appends), the files thread (creation) and recovery (names, cutting).

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::{self, HEADER_BYTES};
use crate::storage::disk::{self, DiskError, failed, sync_dir, write_zeros};

/// Files grow and are placed in units of this.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// Larger files are refused when they are read: no segment with its largest record comes near.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 30;

const PREFIX: &str = "wal.";
const TEMP_NAME: &str = "wal.next.tmp";

/// The name of the segment that starts at this lsn.
pub(super) fn file_name(first_lsn: u64) -> String {
    format!("{PREFIX}{first_lsn:016x}")
}

/// The first lsn in a segment's name; `None` for the name of anything else.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let lsn = u64::from_str_radix(digits, 16).ok()?;
    (file_name(lsn) == name).then_some(lsn)
}

/// Removes what a crash left of a segment in preparation.
pub(super) fn remove_unfinished(dir: &Path) -> Result<(), DiskError> {
    let temp = dir.join(TEMP_NAME);
    if !temp.exists() {
        return Ok(());
    }
    tracing::info!(file = %temp.display(), "removing an unfinished log segment");
    crate::storage::disk::remove(&temp)
}

/// An open segment, with the place where the next write goes.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    pub(super) path: PathBuf,
    pub(super) first_lsn: u64,
    /// Bytes of the file; writes stay within.
    pub(super) capacity: u64,
    /// Offset of the next write.
    pub(super) offset: u64,
}

impl Segment {
    /// Creates a segment full of zeros. When it has its name, its content and name are durable.
    pub(super) fn create(
        dir: &Path,
        first_lsn: u64,
        identity: u64,
        capacity: u64,
    ) -> Result<Self, DiskError> {
        let temp = dir.join(TEMP_NAME);
        let path = dir.join(file_name(first_lsn));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temp)
            .map_err(failed("create", &temp))?;
        write_zeros(&file, &temp, 0, capacity)?;
        file.write_all_at(&format::encode_header(identity, first_lsn), 0)
            .map_err(failed("write", &temp))?;
        file.sync_all().map_err(failed("sync", &temp))?;
        fs::rename(&temp, &path).map_err(failed("rename", &temp))?;
        sync_dir(dir)?;
        Ok(Self { file, path, first_lsn, capacity, offset: HEADER_BYTES as u64 })
    }

    /// Opens an existing segment for appending at `offset`, after overwriting whatever stands
    /// between there and `used` with zeros, so that no stale record can come back.
    pub(super) fn reopen(
        path: PathBuf,
        first_lsn: u64,
        offset: u64,
        used: u64,
    ) -> Result<Self, DiskError> {
        let file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("look at", &path))?.len();
        let capacity = length.max(used).next_multiple_of(BLOCK_BYTES);
        write_zeros(&file, &path, offset, used)?;
        write_zeros(&file, &path, length, capacity)?;
        // Also makes durable what a killed process had written and not synced: the caller has
        // read it as a part of the log.
        file.sync_all().map_err(failed("sync", &path))?;
        Ok(Self { file, path, first_lsn, capacity, offset })
    }

    /// The lsn of the next write.
    pub(super) fn next_lsn(&self) -> u64 {
        self.first_lsn + self.offset
    }

    /// The first lsn of the segment after this one.
    pub(super) fn following(&self) -> u64 {
        self.first_lsn + self.capacity
    }

    /// Makes room for a record larger than a segment. Durable, so that a record never runs past
    /// the end of its file, whenever the power fails.
    pub(super) fn grow(&mut self, capacity: u64) -> Result<(), DiskError> {
        write_zeros(&self.file, &self.path, self.capacity, capacity)?;
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        self.capacity = capacity;
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        debug_assert!(self.offset + bytes.len() as u64 <= self.capacity);
        self.file.write_all_at(bytes, self.offset).map_err(failed("write", &self.path))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Of a synced segment that is not written any more.
    pub(super) fn forget_cached(&self) {
        disk::forget_cached(&self.file);
    }

    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(failed("sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_like_positions_and_nothing_else_is_one() {
        assert!(file_name(0x0fff) < file_name(0x1000));
        assert_eq!(parse_name(&file_name(0xdead_beef)), Some(0xdead_beef));
        for name in ["wal.10", "wal.next.tmp", "wal.00000000000000ZZ", "wal.+000000000000010", ""] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
