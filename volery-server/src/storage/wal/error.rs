//! What can go wrong with the log: which file, where in it, and what the operator is to do.
//! Nothing here decides anything; a bad spot is judged in `scan` and `recover`.
//! Returned by opening the log and by appending; handed to the fatal hook when the writer fails.

use std::path::PathBuf;

use thiserror::Error;

use super::format::{Flaw, VERSION};
use crate::storage::DiskError;

/// The caller's own reason for refusing a record during recovery.
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

/// The log cannot be opened, or can no longer be written.
#[derive(Debug, Error)]
pub enum WalError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Records that were synced cannot be read any more.
    #[error(
        "the log is damaged: {} at offset {offset}: {flaw}. This is not the torn end that a crash \
         leaves, so the server does not start with what is left of it. Check the disk. Then \
         restore the whole data directory from a backup: one server alone has nobody to learn \
         from", file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// The offset of the first bad byte's record in that file.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
    },
    /// A segment between others, or the one that the last names as its successor, is not there.
    #[error(
        "a segment of the log is missing: {} is needed ({} leads to it). Put it back, or \
         restore the whole data directory from a backup: one server alone has nobody to learn \
         from",
        expected.display(), after.display()
    )]
    MissingSegment {
        /// The file that should be there.
        expected: PathBuf,
        /// The segment before it.
        after: PathBuf,
    },
    /// The segment was written by another server.
    #[error(
        "{} belongs to another server or cluster (identity {found:#018x}, here {expected:#018x}). \
         Check dataDir and dataLogDir in the configuration", file.display()
    )]
    Foreign {
        /// The segment.
        file: PathBuf,
        /// The identity in it.
        found: u64,
        /// This server's.
        expected: u64,
    },
    /// The segment was written by a newer version of this program.
    #[error(
        "{} has log format {found}; this version of volery-server reads up to {VERSION}. Start the \
         newer version that wrote it", file.display()
    )]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// The version in it.
        found: u32,
    },
    /// The caller refused a record.
    #[error("{} at offset {offset}: the record is whole but was refused: {source}", file.display())]
    Refused {
        /// The segment.
        file: PathBuf,
        /// The record's offset in that file.
        offset: u64,
        /// The caller's reason.
        source: ReplayError,
    },
    /// The options contradict each other.
    #[error("log options: {0}")]
    Options(&'static str),
    /// A thread could not be started.
    #[error("cannot start the log's thread: {0}")]
    Thread(std::io::Error),
    /// The thread that prepares segments has ended before its time.
    #[error("the thread that prepares log segments has ended unexpectedly")]
    FilesThreadGone,
}

/// A batch was not taken. Nothing of it will be written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// One of the records is over the limit.
    #[error("a record of {bytes} bytes is over the log's limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The log has been closed, or its writer has failed.
    #[error("the log is closed")]
    Closed,
}
