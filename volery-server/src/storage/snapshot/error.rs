//! What can go wrong with a snapshot: which file, where in it, and what the operator is to do.
//! Nothing here decides anything; whether an older snapshot will do is for the caller to say.
//! Returned by reading and writing; carried by the sink's events.

use std::path::PathBuf;

use thiserror::Error;

use super::format::{CHUNK_BYTES_MAX, Flaw, VERSION};
use crate::storage::DiskError;

/// A snapshot cannot be written or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not what was written.
    #[error(
        "the snapshot is damaged: {} at offset {offset}: {flaw}. Check the disk. Then move the \
         file away: the server starts from the snapshot before it, and the log reaches back to \
         the oldest that is kept", file.display()
    )]
    Damaged {
        /// The snapshot.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
    },
    /// The snapshot was written by a newer version of this program.
    #[error(
        "{} has snapshot format {found}; this version of volery-server reads up to {VERSION}. \
         Start the newer version that wrote it", file.display()
    )]
    NewerFormat {
        /// The snapshot.
        file: PathBuf,
        /// The version in it.
        found: u32,
    },
    /// The file's name and its header disagree.
    #[error(
        "{} holds the snapshot of partition {partition} at zxid {zxid:#x}, not what its name says. \
         Give it back its name, or move it away", file.display()
    )]
    Misnamed {
        /// The snapshot.
        file: PathBuf,
        /// The partition in its header.
        partition: u16,
        /// The zxid in its header.
        zxid: u64,
    },
    /// The caller made a chunk that the reader would refuse.
    #[error("a snapshot chunk of {0} bytes is over the limit of {CHUNK_BYTES_MAX}")]
    ChunkTooLarge(usize),
    /// A thread could not be started.
    #[error("cannot start the snapshot thread: {0}")]
    Thread(std::io::Error),
}
