//! The few file operations every part of storage needs, with errors that name the file.
//! It never retries: after a failed write or sync the page cache may lie, so the caller must stop.
//! Called by the log, the snapshots and the identity of the data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// An operation of the operating system on a file or a directory failed.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
pub struct DiskError {
    /// What was attempted, as a verb.
    pub doing: &'static str,
    /// The file or directory it was attempted on.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Whether the disk, or this user's share of it, is used up.
    pub fn is_disk_full(&self) -> bool {
        disk_is_full(&self.source)
    }
}

fn disk_is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What the operator can do about it, where that is known.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if disk_is_full(error) => {
            " (the disk is full: make room on it or move the directory to a larger one, then start \
             the server again; nothing acknowledged has been lost)"
        }
        io::ErrorKind::PermissionDenied => {
            " (give the server's user the right to read and write there)"
        }
        io::ErrorKind::ReadOnlyFilesystem => " (the file system is mounted read-only)",
        _ => "",
    }
}

/// Names the operation and the file of a failed call.
pub(super) fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| DiskError { doing, path: path.to_path_buf(), source }
}

/// Makes the names in a directory durable: creations, renames, removals.
pub(super) fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(failed("sync the directory", dir))
}

/// Creates a directory, and those above it, so that it survives a power loss.
pub(super) fn create_dir(dir: &Path) -> Result<(), DiskError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    fs::create_dir(dir)
        .or_else(|error| if dir.is_dir() { Ok(()) } else { Err(error) })
        .map_err(failed("create the directory", dir))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_dir(parent),
        None => sync_dir(Path::new(".")),
    }
}

/// The names in a directory that are valid UTF-8 (all of ours are), in no particular order.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list the directory", dir))? {
        let entry = entry.map_err(failed("list the directory", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Replaces a file in one step: after a crash there is the old content or the new, never a mix.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), DiskError> {
    let mut temp = path.as_os_str().to_os_string();
    temp.push(".tmp");
    let temp = PathBuf::from(temp);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temp)
        .map_err(failed("create", &temp))?;
    file.write_all(content).map_err(failed("write", &temp))?;
    file.sync_all().map_err(failed("sync", &temp))?;
    fs::rename(&temp, path).map_err(failed("rename", &temp))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file and makes that durable; a file that is gone already is no error.
pub(super) fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => sync_dir(path.parent().unwrap_or(Path::new("."))),
    }
}

/// Writes zeros over a range, a piece at a time, each synced before the next: a burst of dirty
/// pages would hold up the fsync that a client waits for.
pub(super) fn write_zeros(file: &File, path: &Path, from: u64, to: u64) -> Result<(), DiskError> {
    const PIECE_BYTES: u64 = 1 << 20;
    let zeros = vec![0_u8; PIECE_BYTES.min(to.saturating_sub(from)) as usize];
    let mut at = from;
    while at < to {
        let piece = PIECE_BYTES.min(to - at);
        file.write_all_at(&zeros[..piece as usize], at).map_err(failed("write", path))?;
        file.sync_data().map_err(failed("sync", path))?;
        at += piece;
    }
    Ok(())
}

/// Tells the system that what is synced of a file will not be read soon: the log and snapshots of
/// a busy server would otherwise push everything else out of the page cache. Only advice.
pub(super) fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]
    use super::*;

    #[test]
    fn a_full_disk_is_said_plainly() {
        let error = failed("write", Path::new("/data/wal"))(io::ErrorKind::StorageFull.into());
        assert!(error.is_disk_full());
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert!(error.to_string().contains("/data/wal"), "{error}");
    }

    #[test]
    fn replacing_a_file_leaves_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        create_dir(path.parent().unwrap()).unwrap();
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()).unwrap(), ["file"]);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
