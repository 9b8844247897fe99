//! Writes one snapshot: into a temporary file, which gets its name when all of it is on disk.
//! It never leaves a half-written file under a snapshot's name, nor a temporary one unless killed.
//! Called by the sink's thread, and by whoever receives a snapshot from a peer.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use super::format::{self, CHUNK_BYTES_MAX, Totals};
use super::list::{SnapshotInfo, TEMP_SUFFIX, file_name};
use crate::storage::disk::{self, failed, sync_dir};

/// Synced every so many bytes: a burst of dirty pages would hold up the log's syncs.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// A snapshot in the making. Dropped before `finish`, it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotWriter {
    file: BufWriter<File>,
    dir: PathBuf,
    temp: PathBuf,
    partition: u16,
    zxid: u64,
    totals: Totals,
    unsynced_bytes: u64,
    finished: bool,
}

impl SnapshotWriter {
    /// Begins a snapshot of everything in the partition up to a zxid.
    pub fn create(dir: &Path, partition: u16, zxid: u64) -> Result<Self, SnapshotError> {
        disk::create_dir(dir)?;
        let temp = dir.join(file_name(partition, zxid) + TEMP_SUFFIX);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temp)
            .map_err(failed("create", &temp))?;
        let mut writer = Self {
            file: BufWriter::with_capacity(256 << 10, file),
            dir: dir.to_path_buf(),
            temp,
            partition,
            zxid,
            totals: Totals::default(),
            unsynced_bytes: 0,
            finished: false,
        };
        writer.put(&format::encode_header(partition, zxid))?;
        Ok(writer)
    }

    /// Adds a chunk behind those before.
    pub fn write_chunk(&mut self, payload: &[u8]) -> Result<(), SnapshotError> {
        if payload.len() > CHUNK_BYTES_MAX {
            return Err(SnapshotError::ChunkTooLarge(payload.len()));
        }
        let crc = format::chunk_crc(self.totals.chunks, payload);
        self.put(&format::encode_chunk_header(payload.len(), crc))?;
        self.put(payload)?;
        self.totals.add(payload.len(), crc);
        self.unsynced_bytes += payload.len() as u64;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.file.flush().map_err(failed("write", &self.temp))?;
            self.file.get_ref().sync_data().map_err(failed("sync", &self.temp))?;
            disk::forget_cached(self.file.get_ref());
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// Completes the snapshot: when this returns, it is durable and under its name.
    pub fn finish(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let footer = format::encode_footer(&self.totals);
        self.put(&footer)?;
        self.file.flush().map_err(failed("write", &self.temp))?;
        self.file.get_ref().sync_all().map_err(failed("sync", &self.temp))?;
        disk::forget_cached(self.file.get_ref());
        let path = self.dir.join(file_name(self.partition, self.zxid));
        fs::rename(&self.temp, &path).map_err(failed("rename", &self.temp))?;
        self.finished = true;
        sync_dir(&self.dir)?;
        let bytes = fs::metadata(&path).map_err(failed("look at", &path))?.len();
        Ok(SnapshotInfo { partition: self.partition, zxid: self.zxid, path, bytes })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        Ok(self.file.write_all(bytes).map_err(failed("write", &self.temp))?)
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.temp)
        {
            let file = self.temp.display();
            tracing::warn!(%file, %error, "cannot remove an abandoned snapshot; a start does");
        }
    }
}
