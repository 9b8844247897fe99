//! The snapshots in a directory: their names, which there are, which are too many.
//! It never opens a snapshot: what is listed may still turn out damaged when it is read.
//! Called at start (which to read), and after each snapshot (which to remove).

use std::fs;
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use crate::storage::disk::{self, failed};

const PREFIX: &str = "snapshot.";
pub(super) const TEMP_SUFFIX: &str = ".tmp";

/// One snapshot on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The partition.
    pub partition: u16,
    /// The zxid up to which everything is in it.
    pub zxid: u64,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

pub(super) fn file_name(partition: u16, zxid: u64) -> String {
    format!("{PREFIX}{partition}.{zxid:016x}")
}

pub(super) fn parse_name(name: &str) -> Option<(u16, u64)> {
    let (partition, zxid) = name.strip_prefix(PREFIX)?.split_once('.')?;
    let parsed = (partition.parse().ok()?, u64::from_str_radix(zxid, 16).ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// The snapshots of a partition, newest first. A directory that does not exist has none.
pub fn list(dir: &Path, partition: u16) -> Result<Vec<SnapshotInfo>, SnapshotError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for name in disk::names(dir)? {
        if let Some((of, zxid)) = parse_name(&name)
            && of == partition
        {
            let path = dir.join(name);
            let bytes = fs::metadata(&path).map_err(failed("look at", &path))?.len();
            found.push(SnapshotInfo { partition, zxid, path, bytes });
        }
    }
    found.sort_unstable_by_key(|info| std::cmp::Reverse(info.zxid));
    Ok(found)
}

/// Removes all but the newest snapshots of a partition, oldest first. At least one stays.
/// Returns those that are left, newest first.
pub fn purge(dir: &Path, partition: u16, keep: usize) -> Result<Vec<SnapshotInfo>, SnapshotError> {
    let mut left = list(dir, partition)?;
    while left.len() > keep.max(1) {
        if let Some(oldest) = left.last() {
            disk::remove(&oldest.path)?;
            tracing::debug!(file = %oldest.path.display(), "removed an old snapshot");
        }
        left.pop();
    }
    Ok(left)
}

/// Where a snapshot stands if it is there.
pub fn path_of(dir: &Path, partition: u16, zxid: u64) -> PathBuf {
    dir.join(file_name(partition, zxid))
}

/// Puts a finished snapshot from another directory of the same file system among those of `dir`.
pub fn adopt(info: &SnapshotInfo, dir: &Path) -> Result<(), SnapshotError> {
    let place = dir.join(file_name(info.partition, info.zxid));
    fs::rename(&info.path, &place).map_err(failed("rename", &info.path))?;
    Ok(disk::sync_dir(dir)?)
}

/// Removes what a crash left of snapshots in the making.
pub fn remove_unfinished(dir: &Path) -> Result<(), SnapshotError> {
    if !dir.exists() {
        return Ok(());
    }
    for name in disk::names(dir)? {
        if name.strip_suffix(TEMP_SUFFIX).and_then(parse_name).is_some() {
            let path = dir.join(name);
            tracing::info!(file = %path.display(), "removing an unfinished snapshot");
            disk::remove(&path)?;
        }
    }
    Ok(())
}
