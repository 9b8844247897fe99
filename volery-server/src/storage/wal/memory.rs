//! Remembers, over restarts, that the log may not hold all that this server once acknowledged.
//! It never decides what follows: an acceptor without its memory must learn before it votes.
//! Called when the log is opened (set), and by the log's handle once all is learned (cleared).
//!
//! A cut destroys its own evidence, and an empty directory is empty only once: without this mark a
//! second restart would find a log in perfect order and vote with half a memory.

use std::fs;
use std::io;
use std::path::Path;

use crate::storage::disk::{self, DiskError, failed};

const NAME: &str = "wal.memory";

/// Whether the log holds everything that this server has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It does.
    Whole,
    /// The directory was empty: a new server, or one whose disk was replaced.
    New,
    /// A write that may have been acknowledged had gone bad, and was cut.
    Cut,
}

impl Memory {
    pub(super) fn load(dir: &Path) -> Result<Self, DiskError> {
        let path = dir.join(NAME);
        match fs::read(&path) {
            Ok(content) if content.starts_with(b"new") => Ok(Self::New),
            // Whatever else stands there: the careful reading.
            Ok(_) => Ok(Self::Cut),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Whole),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    pub(super) fn save(self, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(NAME);
        let content = match self {
            Self::Whole => return disk::remove(&path),
            Self::New => "new\n",
            Self::Cut => "cut\n",
        };
        disk::write_atomically(&path, content.as_bytes())
    }
}
