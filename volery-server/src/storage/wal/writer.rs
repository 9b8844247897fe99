//! The writer thread: takes all that is queued, writes it at once, syncs once, reports once.
//! It never reorders, never reports what is not durable, never goes on after an error.
//! Called through [`WalHandle`], by the thread that runs the core.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::{AppendError, WalError};
use super::files::{Files, Job, SegmentList};
use super::format::{self, FLAG_AFTER_SYNC, FLAG_SEAL, HEADER_BYTES, SEAL_BYTES};
use super::memory::Memory;
use super::segment::{BLOCK_BYTES, Segment};
use super::{OnDurable, OnFatal, OnSync, WalOptions};
use crate::storage::disk::DiskError;

/// The write buffer's memory that is kept from one write to the next.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// Puts records into the log. Cheap to clone; the last one to go closes the log.
#[derive(Debug, Clone)]
pub struct WalHandle(Arc<Owner>);

/// What the log has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalStats {
    /// Writes to a segment.
    pub writes: u64,
    /// Syncs of a segment.
    pub syncs: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// Segments on disk that hold the log.
    pub segments: usize,
}

impl WalHandle {
    /// Queues records behind all queued before, and returns at once. When they are durable, the
    /// callback given at open hears of this token, or of a later one. An empty batch is durable
    /// when all before it are. The queue has no bound of its own: the caller looks at
    /// [`queued_bytes`](Self::queued_bytes) and holds its clients back.
    pub fn append(&self, batch: Vec<Bytes>, token: u64) -> Result<(), AppendError> {
        let max = self.0.record_bytes_max;
        if let Some(record) = batch.iter().find(|record| record.len() > max) {
            return Err(AppendError::TooLarge { bytes: record.len(), max });
        }
        let bytes = batch.iter().map(|record| record.len() as u64).sum();
        let mut queue = self.0.shared.lock();
        if queue.closed {
            return Err(AppendError::Closed);
        }
        queue.appends.push(Append { batch, token });
        self.0.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        drop(queue);
        self.0.shared.wake.notify_one();
        Ok(())
    }

    /// Bytes of payload appended and not yet durable.
    pub fn queued_bytes(&self) -> u64 {
        self.0.shared.queued_bytes.load(Ordering::Relaxed)
    }

    /// Lets go of the segments whose records are all below this lsn, in the background. The segment
    /// in use stays.
    pub fn purge_below(&self, lsn: u64) {
        if let Some(jobs) = &*lock(&self.0.jobs) {
            // The thread is gone only when the log has failed or is closed: then nothing is purged.
            let _ = jobs.send(Job::Purge { below: lsn });
        }
    }

    /// Notes that this server has learned from the others whatever its log had lost (see
    /// [`Memory`](super::Memory)). Everything learned must be durable. Waits for the disk.
    pub fn memory_restored(&self) -> Result<(), WalError> {
        Ok(Memory::Whole.save(&self.0.dir)?)
    }

    /// Counts since the log was opened.
    pub fn stats(&self) -> WalStats {
        let shared = &self.0.shared;
        WalStats {
            writes: shared.writes.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            segments: self.0.segments.len(),
        }
    }

    /// Takes no more appends, waits until what is queued is durable and reported, ends the threads.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Ends the threads with the last handle.
#[derive(Debug)]
struct Owner {
    dir: PathBuf,
    shared: Arc<Shared>,
    record_bytes_max: usize,
    segments: SegmentList,
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Owner {
    fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        *lock(&self.jobs) = None;
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A callback may hold the last handle: no thread can wait for its own end.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Append {
    batch: Vec<Bytes>,
    token: u64,
}

#[derive(Debug, Default)]
struct Queue {
    appends: Vec<Append>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    queued_bytes: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Waits for work and takes all of it; `None` when the log is closed and the queue is empty.
    fn take(&self, into: &mut Vec<Append>) -> Option<()> {
        let idle = |queue: &mut Queue| queue.appends.is_empty() && !queue.closed;
        let mut queue =
            self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.appends, into);
        (!into.is_empty()).then_some(())
    }
}

/// The data behind each of our locks is whole at every moment: a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the threads behind a segment that is open for appending.
pub(super) fn start(
    dir: &Path,
    options: WalOptions,
    active: Segment,
    segments: Vec<u64>,
    on_durable: OnDurable,
) -> Result<WalHandle, WalError> {
    let (jobs, job_queue) = channel();
    let (prepared_in, prepared) = sync_channel(1);
    let segments = SegmentList::new(segments);
    let shared = Arc::new(Shared::default());
    let files = Files {
        dir: dir.to_path_buf(),
        identity: options.identity,
        segment_bytes: options.segment_bytes,
        segments: segments.clone(),
        prepared: prepared_in,
    };
    let writer = Writer {
        shared: Arc::clone(&shared),
        segments: segments.clone(),
        jobs: jobs.clone(),
        prepared,
        active,
        buffer: Vec::new(),
        all_synced: true,
        sync: options.sync,
        fsync_warning_threshold: options.fsync_warning_threshold,
        unsynced_records: 0,
        on_durable,
        on_sync: options.on_sync,
        #[cfg(test)]
        faults: options.faults,
    };
    writer.prepare_next(None)?;
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        Builder::new().name(name.to_owned()).spawn(body).map_err(WalError::Thread)
    };
    let on_fatal = options.on_fatal;
    let threads = vec![
        spawn("wal-files", Box::new(move || files.run(job_queue)))?,
        spawn("wal-writer", Box::new(move || writer.run(&on_fatal)))?,
    ];
    let record_bytes_max = options.record_bytes_max;
    let owner = Owner {
        dir: dir.to_path_buf(),
        shared,
        record_bytes_max,
        segments,
        jobs: Mutex::new(Some(jobs)),
        threads: Mutex::new(threads),
    };
    Ok(WalHandle(Arc::new(owner)))
}

struct Writer {
    shared: Arc<Shared>,
    segments: SegmentList,
    jobs: Sender<Job>,
    prepared: Receiver<Result<Segment, WalError>>,
    active: Segment,
    /// Records encoded for the active segment and not yet written.
    buffer: Vec<u8>,
    /// Everything written so far has been synced.
    all_synced: bool,
    sync: bool,
    fsync_warning_threshold: Duration,
    /// Records encoded since the last sync.
    unsynced_records: u64,
    on_durable: OnDurable,
    on_sync: OnSync,
    #[cfg(test)]
    faults: Arc<Faults>,
}

impl Writer {
    fn run(mut self, on_fatal: &OnFatal) {
        let mut appends = Vec::new();
        while self.shared.take(&mut appends).is_some() {
            if let Err(error) = self.write_all(&mut appends) {
                self.shared.lock().closed = true;
                on_fatal(&error);
                return;
            }
        }
    }

    /// One group: everything that was queued when the disk became free.
    fn write_all(&mut self, appends: &mut Vec<Append>) -> Result<(), WalError> {
        let mut bytes = 0;
        let mut last_token = 0;
        for append in appends.drain(..) {
            for payload in &append.batch {
                self.put(payload)?;
                bytes += payload.len() as u64;
            }
            last_token = append.token;
        }
        self.flush(self.sync)?;
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        (self.on_durable)(last_token, self.active.next_lsn());
        Ok(())
    }

    fn put(&mut self, payload: &[u8]) -> Result<(), WalError> {
        let needed = (format::record_bytes(payload.len()) + SEAL_BYTES) as u64;
        if self.active.offset + self.buffer.len() as u64 + needed > self.active.capacity {
            self.rotate(needed)?;
        }
        self.encode(0, payload);
        self.unsynced_records += 1;
        Ok(())
    }

    fn encode(&mut self, flags: u64, payload: &[u8]) {
        let first = self.buffer.is_empty() && self.all_synced;
        let flags = if first { flags | FLAG_AFTER_SYNC } else { flags };
        let lsn = self.active.next_lsn() + self.buffer.len() as u64;
        format::encode_record(&mut self.buffer, lsn, flags, payload);
    }

    /// Closes the active segment and goes on in the prepared one. In this order, whatever the
    /// options: the next one is durable, then the mark that leads to it, then records in it.
    fn rotate(&mut self, needed: u64) -> Result<(), WalError> {
        let mut next = self.take_prepared()?;
        self.encode(FLAG_SEAL, &next.first_lsn.to_le_bytes());
        self.flush(true)?;
        let room = HEADER_BYTES as u64 + needed;
        if room > next.capacity {
            next.grow(room.next_multiple_of(BLOCK_BYTES))?;
        }
        self.segments.push(next.first_lsn);
        let full = std::mem::replace(&mut self.active, next);
        self.prepare_next(Some(full))
    }

    fn prepare_next(&self, full: Option<Segment>) -> Result<(), WalError> {
        let job = Job::Prepare { first_lsn: self.active.following(), full };
        self.jobs.send(job).map_err(|_| WalError::FilesThreadGone)
    }

    /// The next segment; waits if it is still being made. If making it failed, there may be room on
    /// the disk by now: one more try.
    fn take_prepared(&self) -> Result<Segment, WalError> {
        match self.prepared.recv() {
            Ok(Ok(segment)) => Ok(segment),
            Ok(Err(_)) => {
                self.prepare_next(None)?;
                self.prepared.recv().map_err(|_| WalError::FilesThreadGone)?
            }
            Err(_) => Err(WalError::FilesThreadGone),
        }
    }

    fn flush(&mut self, sync: bool) -> Result<(), DiskError> {
        if !self.buffer.is_empty() {
            #[cfg(test)]
            self.faults.on_write(&self.active.path)?;
            self.active.write(&self.buffer)?;
            self.all_synced = false;
            self.shared.writes.fetch_add(1, Ordering::Relaxed);
            self.shared.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
        if sync && !self.all_synced {
            self.sync_active()?;
        }
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), DiskError> {
        #[cfg(test)]
        self.faults.on_sync(&self.active.path)?;
        let start = Instant::now();
        self.active.sync()?;
        let took = start.elapsed();
        self.all_synced = true;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        (self.on_sync)(took, std::mem::take(&mut self.unsynced_records));
        if took > self.fsync_warning_threshold {
            tracing::warn!(
                file = %self.active.path.display(),
                took_ms = took.as_millis() as u64,
                "a sync of the log was slow; every write of the service waits for it. Check what \
                 else uses this disk"
            );
        }
        Ok(())
    }
}

/// Makes the disk fail on purpose.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) fail_writes: std::sync::atomic::AtomicBool,
    pub(crate) fail_syncs: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
impl Faults {
    fn on_write(&self, path: &Path) -> Result<(), DiskError> {
        let kind = std::io::ErrorKind::StorageFull;
        Self::fail("write", path, &self.fail_writes, kind.into())
    }

    fn on_sync(&self, path: &Path) -> Result<(), DiskError> {
        let error = std::io::Error::other("input/output error");
        Self::fail("sync", path, &self.fail_syncs, error)
    }

    fn fail(
        doing: &'static str,
        path: &Path,
        switch: &std::sync::atomic::AtomicBool,
        source: std::io::Error,
    ) -> Result<(), DiskError> {
        match switch.load(Ordering::SeqCst) {
            true => Err(DiskError { doing, path: path.to_path_buf(), source }),
            false => Ok(()),
        }
    }
}
