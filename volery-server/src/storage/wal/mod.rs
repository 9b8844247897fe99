//! The log: one per server for all its rings, one writer thread, one write and one sync for all
//! that is waiting. It never reads a payload, never retries a failed sync, never makes append wait.
//! Called by `node/`: the core's persist effects go in, the durable positions come back.
//!
//! ```text
//! append(batch, token) → queue → writer thread: one write, one fdatasync → on_durable(token, lsn)
//!                                      ↑ next segment, zero-filled and named
//!                                files thread: prepares segments, removes purged ones
//! ```
//!
//! The format of the files is in `format`, the rule for a bad end of the log in `scan`.

mod error;
mod files;
mod format;
mod memory;
pub mod recover;
mod scan;
mod segment;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use error::{AppendError, ReplayError, WalError};
pub use format::{Flaw, HEADER_BYTES, RECORD_HEADER_BYTES};
pub use memory::Memory;
pub use recover::{Cut, Record, Recovered};
pub use scan::SegmentEnd;
pub use tail::LogTail;
pub use writer::{WalHandle, WalStats};

/// Called by the writer thread when a write has become durable, with the token of the last append
/// in it and the lsn below which everything is durable. It must be quick: the log waits for it.
pub type OnDurable = Box<dyn Fn(u64, u64) + Send>;
/// Called by the writer thread after each sync: how long it took, and of how many records. As quick
/// as [`OnDurable`].
pub type OnSync = Box<dyn Fn(Duration, u64) + Send>;
/// Called once, when the log can no longer be written. Unless a test, it does not return.
pub type OnFatal = Box<dyn Fn(&WalError) + Send>;

/// The least and the largest size of a segment.
const SEGMENT_BYTES_MIN: u64 = segment::BLOCK_BYTES;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The largest limit for a record, far from what its length field can hold.
const RECORD_BYTES_MAX: usize = 1 << 30;
const _: () = assert!(SEGMENT_BYTES_MAX + RECORD_BYTES_MAX as u64 + 8192 < segment::FILE_BYTES_MAX);

/// How a log is to be kept.
pub struct WalOptions {
    /// Whose log this is: stands in every segment, so that directories are not mixed up.
    pub identity: u64,
    /// Bytes of a segment: a multiple of 4096. Larger records get a larger segment of their own.
    pub segment_bytes: u64,
    /// The largest payload that is accepted.
    pub record_bytes_max: usize,
    /// Whether a record is durable before it is reported. Without (ZooKeeper's `forceSync=no`) a
    /// power loss costs acknowledged records, and no sign of it is left; segments are still synced
    /// when they are full.
    pub sync: bool,
    /// A sync slower than this is worth a warning line.
    pub fsync_warning_threshold: Duration,
    /// Who measures the syncs: by default, nobody.
    pub on_sync: OnSync,
    /// What to do when the log cannot be written: by default, say why and end the process.
    pub on_fatal: OnFatal,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<writer::Faults>,
}

impl WalOptions {
    /// The defaults.
    pub fn new(identity: u64) -> Self {
        Self {
            identity,
            segment_bytes: 64 << 20,
            record_bytes_max: 64 << 20,
            sync: true,
            fsync_warning_threshold: Duration::from_millis(1000),
            on_sync: Box::new(|_, _| {}),
            on_fatal: Box::new(end_process),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    fn check(&self) -> Result<(), WalError> {
        let segments = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !segments.contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(segment::BLOCK_BYTES)
        {
            return Err(WalError::Options(
                "a segment has 4 KiB to 1 GiB, in whole multiples of 4 KiB",
            ));
        }
        if self.record_bytes_max > RECORD_BYTES_MAX {
            return Err(WalError::Options("a record has at most 1 GiB"));
        }
        Ok(())
    }
}

impl fmt::Debug for WalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalOptions")
            .field("identity", &self.identity)
            .field("segment_bytes", &self.segment_bytes)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("sync", &self.sync)
            .field("fsync_warning_threshold", &self.fsync_warning_threshold)
            .finish_non_exhaustive()
    }
}

/// After a failed sync nobody knows what is on the disk: going on would risk acknowledging what is
/// not. A new start reads what is really there.
fn end_process(error: &WalError) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(%error, "the log cannot be written any more; the server ends");
    } else {
        eprintln!("volery-server: the log cannot be written any more: {error}");
    }
    const EX_IOERR: i32 = 74;
    std::process::exit(EX_IOERR);
}

/// The log as a whole; all work is done through the handle that it opens.
#[derive(Debug)]
pub struct Wal;

impl Wal {
    /// Reads the log in `dir` record by record into `replay`, cuts a torn tail, and starts the
    /// writer behind the last record. Fails, changing nothing, where the log is damaged.
    pub fn open(
        dir: &Path,
        options: WalOptions,
        mut replay: impl FnMut(Record) -> Result<(), ReplayError>,
        on_durable: OnDurable,
    ) -> Result<(WalHandle, Recovered), WalError> {
        options.check()?;
        crate::storage::disk::create_dir(dir)?;
        segment::remove_unfinished(dir)?;
        let tail = recover::read_log(dir, options.identity, &mut replay)?;
        for unused in &tail.unused {
            crate::storage::disk::remove(unused)?;
        }
        let mut recovered = tail.recovered;
        recovered.memory = remember(dir, &recovered)?;
        let mut segments = tail.segments;
        let active = match tail.last {
            Some(last) => {
                if let Some(cut) = &recovered.cut {
                    report_cut(cut);
                }
                segment::Segment::reopen(last.path, last.first_lsn, last.offset, last.used)?
            }
            None => {
                segments.push(0);
                segment::Segment::create(dir, 0, options.identity, options.segment_bytes)?
            }
        };
        recovered.next_lsn = active.next_lsn();
        let handle = writer::start(dir, options, active, segments, on_durable)?;
        Ok((handle, recovered))
    }
}

/// Notes a loss of memory, before anything is cut or created. A cut counts for more than an empty
/// directory: a server that was new has since been able to acknowledge something.
fn remember(dir: &Path, recovered: &Recovered) -> Result<Memory, WalError> {
    let lost = match &recovered.cut {
        _ if recovered.was_empty => Memory::New,
        Some(cut) if cut.synced_record_may_be_lost => Memory::Cut,
        _ => return Ok(recovered.memory),
    };
    if recovered.memory == Memory::Cut || recovered.memory == lost {
        return Ok(recovered.memory);
    }
    lost.save(dir)?;
    Ok(lost)
}

fn report_cut(cut: &Cut) {
    let (file, offset, bytes) = (cut.file.display(), cut.offset, cut.bytes);
    if cut.synced_record_may_be_lost {
        tracing::warn!(
            %file, offset, bytes, flaw = %cut.flaw,
            "the log's end is torn: its last write is bad, may have been acknowledged, and is cut. \
             If this repeats, check the disk"
        );
    } else {
        tracing::info!(
            %file, offset, bytes, flaw = %cut.flaw,
            "cutting the log's last write, which a crash left unfinished; nothing synced is lost"
        );
    }
}
