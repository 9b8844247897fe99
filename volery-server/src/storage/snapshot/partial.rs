//! A snapshot of another server that arrives piece by piece: it is kept over restarts, so that the
//! rest can follow later, and becomes a snapshot once all of it is there and has been checked.
//! It trusts nothing that it has not checked. Called by the thread that receives snapshots.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use super::list::{SnapshotInfo, adopt, list};
use super::read::SnapshotReader;
use crate::storage::disk::{self, failed};

const PREFIX: &str = "part.";
/// Synced every so many bytes: a burst of dirty pages would hold up the log's syncs.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// What is there of a snapshot. Its file's name says whose and which it is.
#[derive(Debug)]
pub struct PartialSnapshot {
    file: File,
    info: SnapshotInfo,
    have: u64,
    unsynced_bytes: u64,
}

impl PartialSnapshot {
    /// Goes on with what `dir` has of this snapshot of this server, or begins it. What it has of
    /// other snapshots of the partition is removed.
    ///
    /// # Errors
    /// A file operation failed.
    pub fn open(
        dir: &Path,
        server: u8,
        (partition, zxid): (u16, u64),
        bytes: u64,
    ) -> Result<PartialSnapshot, SnapshotError> {
        disk::create_dir(dir)?;
        let of_partition = format!("{PREFIX}{partition}.");
        let name = format!("{of_partition}{server}.{zxid:016x}.{bytes}");
        for other in disk::names(dir)? {
            if other.starts_with(&of_partition) && other != name {
                disk::remove(&dir.join(other))?;
            }
        }
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path).map_err(failed("open", &path))?;
        let mut have = file.metadata().map_err(failed("look at", &path))?.len();
        if have > bytes {
            file.set_len(0).map_err(failed("empty", &path))?;
            have = 0;
        }
        let info = SnapshotInfo { partition, zxid, path, bytes };
        Ok(PartialSnapshot { file, info, have, unsynced_bytes: 0 })
    }

    /// What `dir` has of a snapshot of the partition: of which server, of which zxid, and how long
    /// it would be.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn find(dir: &Path, partition: u16) -> Result<Option<(u8, u64, u64)>, SnapshotError> {
        if !dir.exists() {
            return Ok(None);
        }
        let of_partition = format!("{PREFIX}{partition}.");
        let parse = |name: &String| {
            let mut fields = name.strip_prefix(&of_partition)?.split('.');
            let server = fields.next()?.parse().ok()?;
            let zxid = u64::from_str_radix(fields.next()?, 16).ok()?;
            Some((server, zxid, fields.next()?.parse().ok()?))
        };
        for name in disk::names(dir)? {
            let path = dir.join(&name);
            if let Some(found) = parse(&name)
                && fs::metadata(&path).map_err(failed("look at", &path))?.len() > 0
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Which it is, and how long it will be.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Bytes that are there, from the beginning.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.have >= self.info.bytes
    }

    /// Adds what follows.
    ///
    /// # Errors
    /// A file operation failed.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.file.write_all(piece).map_err(failed("write", &self.info.path))?;
        self.have += piece.len() as u64;
        self.unsynced_bytes += piece.len() as u64;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.file.sync_data().map_err(failed("sync", &self.info.path))?;
            disk::forget_cached(&self.file);
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// Checks every byte and puts it among the snapshots of `dir`, on the same file system, unless
    /// there is a newer one. A damaged one is gone afterwards.
    ///
    /// # Errors
    /// It is damaged, or a file operation failed.
    pub fn install(self, dir: &Path) -> Result<(), SnapshotError> {
        let path = &self.info.path;
        self.file.sync_all().map_err(failed("sync", path))?;
        if let Err(error) = self.check() {
            disk::remove(path)?;
            return Err(error);
        }
        let own = list(dir, self.info.partition)?;
        // Of two that are equally new the one that came helps: what is here did not.
        if own.first().is_some_and(|own| own.zxid > self.info.zxid) {
            return Ok(disk::remove(path)?);
        }
        adopt(&self.info, dir)
    }

    fn check(&self) -> Result<(), SnapshotError> {
        let mut reader = SnapshotReader::open(&self.info.path)?;
        let found = (reader.partition(), reader.zxid());
        if found != (self.info.partition, self.info.zxid) {
            let (partition, zxid) = found;
            return Err(SnapshotError::Misnamed { file: self.info.path.clone(), partition, zxid });
        }
        while reader.next_chunk()?.is_some() {}
        Ok(())
    }

    /// Gives it up, and the room that it takes.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.info.path) {
            let file: PathBuf = self.info.path;
            tracing::warn!(file = %file.display(), %error, "cannot remove a part of a snapshot");
        }
    }
}
