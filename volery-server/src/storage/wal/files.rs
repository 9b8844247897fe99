//! The thread beside the writer that creates the next segment ahead of time and removes old ones.
//! It never touches the segment in use, and never removes one out of order.
//! Called by the writer (prepare) and by the log's handle (purge).

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::WalError;
use super::segment::{self, Segment};
use crate::storage::disk;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Create the segment that starts here; `full` is done with, and is read at a start only.
    Prepare { first_lsn: u64, full: Option<Segment> },
    /// Remove the segments whose records are all below.
    Purge { below: u64 },
}

/// First lsns of the segments that hold the log, oldest first; the last one is being written.
#[derive(Debug, Clone)]
pub(super) struct SegmentList(Arc<Mutex<Vec<u64>>>);

impl SegmentList {
    pub(super) fn new(segments: Vec<u64>) -> Self {
        Self(Arc::new(Mutex::new(segments)))
    }

    pub(super) fn push(&self, first_lsn: u64) {
        self.lock().push(first_lsn);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The oldest segment, if another one starts at or before `below`.
    fn oldest_below(&self, below: u64) -> Option<u64> {
        match self.lock().as_slice() {
            [oldest, second, ..] if *second <= below => Some(*oldest),
            _ => None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        // A list of numbers is whole whatever happened to the thread that held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's state.
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) identity: u64,
    pub(super) segment_bytes: u64,
    pub(super) segments: SegmentList,
    pub(super) prepared: SyncSender<Result<Segment, WalError>>,
}

impl Files {
    /// Works until everyone who could ask for something has gone.
    pub(super) fn run(self, jobs: Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Prepare { first_lsn, full } => {
                    full.iter().for_each(Segment::forget_cached);
                    let bytes = self.segment_bytes;
                    let result = Segment::create(&self.dir, first_lsn, self.identity, bytes);
                    if let Err(error) = &result {
                        tracing::warn!(%error, "cannot prepare the log's next segment");
                    }
                    // The writer has gone: the log is being closed.
                    let _ = self.prepared.send(result.map_err(WalError::from));
                }
                Job::Purge { below } => self.purge(below),
            }
        }
    }

    /// Oldest first, each removal durable before the next: what is left is always one sequence.
    fn purge(&self, below: u64) {
        while let Some(first_lsn) = self.segments.oldest_below(below) {
            let path = self.dir.join(segment::file_name(first_lsn));
            if let Err(error) = disk::remove(&path) {
                tracing::warn!(%error, "cannot remove an old log segment; will try again");
                return;
            }
            tracing::debug!(file = %path.display(), "removed an old log segment");
            self.segments.lock().remove(0);
        }
    }
}
