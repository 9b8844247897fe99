//! The data directory itself: who may use it, whose it is, and small text files in it.
//! It never reads the log or a snapshot, and never repairs an identity that does not fit.
//! Called by `node/` before anything else in storage is opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::disk::{self, DiskError, failed};

/// The version of the directory's layout that this code writes.
pub const FORMAT: u32 = 1;
/// Longer text files are not ours.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;

const LOCK_NAME: &str = "lock";
const IDENTITY_NAME: &str = "identity";
/// A data directory without an identity may hold these and nothing else: the lock, and what the
/// operator or the file system puts there.
const HARMLESS: [&str; 4] = [LOCK_NAME, "lost+found", "myid", "identity.tmp"];

/// The data directory cannot be used.
#[derive(Debug, Error)]
pub enum MetaError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process holds the directory.
    #[error(
        "{} is in use by another server, process {pid}. Stop that one first, or give this one \
         directories of its own (dataDir, dataLogDir)", dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, as it wrote it down.
        pid: String,
    },
    /// The directory belongs to another server of the cluster, or to another cluster.
    #[error(
        "{} belongs to {what} {found}, but this is {what} {expected}. Check dataDir and the \
         server's id; a server must never run with the directory of another", file.display()
    )]
    Foreign {
        /// The identity file.
        file: PathBuf,
        /// "server" or "cluster".
        what: &'static str,
        /// What the file says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// The directory was written by a newer version of this program.
    #[error(
        "{} has format {found}; this version of volery-server knows up to {FORMAT}. Start the \
         newer version that wrote it, or restore a backup from before the upgrade", file.display()
    )]
    NewerFormat {
        /// The identity file.
        file: PathBuf,
        /// The format in it.
        found: u32,
    },
    /// The file is not what it should be.
    #[error("{} line {line}: {what}. Restore the file from a backup", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// There is data, and nobody knows whose.
    #[error(
        "{} holds {found} but no identity file. Restore the file from a backup; or, if this is a \
         new server, give it an empty directory", dir.display()
    )]
    NoIdentity {
        /// The directory.
        dir: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// The operating system gave no random numbers.
    #[error("cannot make a cluster id: {0}")]
    Random(getrandom::Error),
}

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The version of the directory's layout.
    pub format: u32,
    /// The server's id in the configuration.
    pub server_id: u64,
    /// The cluster's random id.
    pub cluster_id: u64,
    /// When the directory was first used, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Identity {
    /// One number for [`WalOptions::identity`](super::wal::WalOptions::identity).
    pub fn log_identity(&self) -> u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.cluster_id.to_le_bytes());
        bytes[8..].copy_from_slice(&self.server_id.to_le_bytes());
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    fn to_text(self) -> String {
        let Self { format, server_id, cluster_id, created_ms } = self;
        format!(
            "format={format}\nserver={server_id}\ncluster={cluster_id:#018x}\n\
             created_ms={created_ms}\n"
        )
    }

    fn from_text(text: &str, file: &Path) -> Result<Self, MetaError> {
        let malformed =
            |line, what: String| MetaError::Malformed { file: file.to_path_buf(), line, what };
        let lines = || text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let number = |key: &str| {
            let (index, value) = lines()
                .find_map(|(index, line)| {
                    let (name, value) = line.split_once('=')?;
                    (name.trim() == key).then_some((index, value.trim()))
                })
                .ok_or_else(|| malformed(0, format!("there is no line '{key}='")))?;
            let parsed = match value.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => value.parse(),
            };
            parsed.map_err(|_| malformed(index + 1, format!("'{value}' is not a number")))
        };
        // First of all: a newer format may have lost or renamed the other lines.
        let format = u32::try_from(number("format")?).unwrap_or(u32::MAX);
        if format > FORMAT {
            return Err(MetaError::NewerFormat { file: file.to_path_buf(), found: format });
        }
        for (index, line) in lines() {
            if !line.starts_with('#') && !line.contains('=') {
                return Err(malformed(index + 1, format!("'{line}' is not key=value")));
            }
        }
        Ok(Self {
            format,
            server_id: number("server")?,
            cluster_id: number("cluster")?,
            created_ms: number("created_ms")?,
        })
    }
}

/// The data directory, held by this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    data: PathBuf,
    log: PathBuf,
    identity: Identity,
    fresh: bool,
    _locks: Vec<File>,
}

impl DataDir {
    /// Takes hold of `dataDir` and `dataLogDir` (which may be one and the same), creating them
    /// where needed, and checks or writes the identity. Without a `cluster_id`, a new directory
    /// gets a random one, and an old one is taken as it is.
    pub fn open(
        data: &Path,
        log: &Path,
        server_id: u64,
        cluster_id: Option<u64>,
    ) -> Result<Self, MetaError> {
        disk::create_dir(data)?;
        disk::create_dir(log)?;
        let same = fs::canonicalize(data).map_err(failed("look at", data))?
            == fs::canonicalize(log).map_err(failed("look at", log))?;
        let mut locks = vec![lock(data)?];
        if !same {
            locks.push(lock(log)?);
        }
        let file = data.join(IDENTITY_NAME);
        let (identity, fresh) = match read_text(&file)? {
            Some(text) => (Identity::from_text(&text, &file)?, false),
            None => (create_identity(data, log, server_id, cluster_id)?, true),
        };
        check("server", identity.server_id, server_id, &file)?;
        check("cluster", identity.cluster_id, cluster_id.unwrap_or(identity.cluster_id), &file)?;
        Ok(Self {
            data: data.to_path_buf(),
            log: log.to_path_buf(),
            identity,
            fresh,
            _locks: locks,
        })
    }

    /// Whose directory it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it had never been used before.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Where the log goes.
    pub fn wal_dir(&self) -> PathBuf {
        self.log.join("wal")
    }

    /// Where the snapshots go.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.data.join("snapshots")
    }

    /// Where the partition map is kept, to be used with [`read_text`] and [`write_text`].
    pub fn partition_map_file(&self) -> PathBuf {
        self.data.join("partition.map")
    }
}

/// Reads a small text file; `None` if there is none.
pub fn read_text(path: &Path) -> Result<Option<String>, MetaError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("open", path))?,
    };
    let malformed = |what: String| MetaError::Malformed { file: path.to_path_buf(), line: 0, what };
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(malformed(format!("it is over {TEXT_BYTES_MAX} bytes long")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| malformed("it is not UTF-8 text".to_owned()))
}

/// Replaces a small text file in one durable step.
pub fn write_text(path: &Path, text: &str) -> Result<(), MetaError> {
    Ok(disk::write_atomically(path, text.as_bytes())?)
}

fn lock(dir: &Path) -> Result<File, MetaError> {
    let path = dir.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
            return Err(MetaError::Locked { dir: dir.to_path_buf(), pid });
        }
        Err(error) => return Err(failed("lock", &path)(error.into()).into()),
    }
    file.set_len(0).map_err(failed("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("write", &path))?;
    Ok(file)
}

fn create_identity(
    data: &Path,
    log: &Path,
    server_id: u64,
    cluster_id: Option<u64>,
) -> Result<Identity, MetaError> {
    for dir in [data, log] {
        // The snapshots, the log, the map, or the directory of something else altogether.
        let found = disk::names(dir)?.into_iter().find(|name| {
            !HARMLESS.contains(&name.as_str()) && data.join(name) != log && log.join(name) != data
        });
        if let Some(found) = found {
            return Err(MetaError::NoIdentity { dir: dir.to_path_buf(), found });
        }
    }
    let cluster_id = match cluster_id {
        Some(given) => given,
        None => getrandom::u64().map_err(MetaError::Random)?,
    };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let created_ms = since_1970.as_millis() as u64;
    let identity = Identity { format: FORMAT, server_id, cluster_id, created_ms };
    write_text(&data.join(IDENTITY_NAME), &identity.to_text())?;
    Ok(identity)
}

fn check(what: &'static str, found: u64, expected: u64, file: &Path) -> Result<(), MetaError> {
    if found == expected {
        return Ok(());
    }
    let show = |id: u64| if what == "cluster" { format!("{id:#018x}") } else { id.to_string() };
    let (file, found, expected) = (file.to_path_buf(), show(found), show(expected));
    Err(MetaError::Foreign { file, what, found, expected })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]
    use super::*;

    fn open(dir: &Path) -> Result<DataDir, MetaError> {
        DataDir::open(&dir.join("data"), &dir.join("log"), 3, None)
    }

    #[test]
    fn the_identity_stays_and_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        let identity = first.identity();
        assert!(first.is_fresh());
        assert_eq!((identity.server_id, identity.format), (3, FORMAT));
        drop(first);
        let again = open(dir.path()).unwrap();
        assert_eq!((again.identity(), again.is_fresh()), (identity, false));
        drop(again);
        let data = dir.path().join("data");
        for (server, cluster) in [(4, None), (3, Some(identity.cluster_id ^ 1))] {
            let error = DataDir::open(&data, &data, server, cluster).unwrap_err();
            assert!(matches!(error, MetaError::Foreign { .. }), "{error}");
        }
        assert!(DataDir::open(&data, &data, 3, Some(identity.cluster_id)).is_ok());
    }

    #[test]
    fn a_second_server_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path()).unwrap();
        let error = open(dir.path()).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(error.to_string().contains(&format!("in use by another server, process {pid}.")));
        // Only the log's directory in common.
        let (other, log) = (dir.path().join("other"), dir.path().join("log"));
        let error = DataDir::open(&other, &log, 3, None).unwrap_err();
        assert!(matches!(&error, MetaError::Locked { dir, .. } if *dir == log), "{error}");
        drop(held);
        open(dir.path()).unwrap();
    }

    #[test]
    fn one_directory_for_both_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        drop(DataDir::open(dir.path(), dir.path(), 1, Some(9)).unwrap());
        drop(DataDir::open(dir.path(), &log, 1, Some(9)).unwrap());
        let nested = tempfile::tempdir().unwrap();
        let opened = DataDir::open(nested.path(), &nested.path().join("log"), 1, None).unwrap();
        assert!(opened.is_fresh());
        assert_eq!(opened.wal_dir(), nested.path().join("log/wal"));
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        write_text(&dir.path().join("data/identity"), "format=2\nowner=me\n").unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, MetaError::NewerFormat { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_spoilt_identity_is_named_by_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let file = dir.path().join("data/identity");
        for (text, said) in [
            ("format=1\nserver=x\n", "line 2: 'x' is not a number"),
            ("format=1\nserver=3\n", "line 0: there is no line 'cluster='"),
            ("format=1\nnonsense\n", "line 2: 'nonsense' is not key=value"),
        ] {
            write_text(&file, text).unwrap();
            let error = open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn data_without_an_identity_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path()).unwrap();
        fs::create_dir(opened.wal_dir()).unwrap();
        drop(opened);
        fs::remove_file(dir.path().join("data/identity")).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(&error, MetaError::NoIdentity { found, .. } if found == "wal"), "{error}");
    }

    #[test]
    fn text_files_are_replaced_and_may_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        let map = open(dir.path()).unwrap().partition_map_file();
        assert_eq!(read_text(&map).unwrap(), None);
        write_text(&map, "/kafka=2\n").unwrap();
        assert_eq!(read_text(&map).unwrap().as_deref(), Some("/kafka=2\n"));
        fs::write(&map, [0xff]).unwrap();
        assert!(matches!(read_text(&map), Err(MetaError::Malformed { .. })));
    }
}
