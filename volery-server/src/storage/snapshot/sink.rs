//! The thread that writes snapshots while their partitions go on working.
//! It never makes the caller wait: a full queue gives the chunk back, an event says when to retry.
//! Called by the thread that runs the core; its events go back there.
//!
//! ```text
//! begin → chunk … chunk → finish → Finished { info, kept }
//!           ↓ SinkFull: keep the chunk    or → Failed { error } (its later chunks are dropped)
//!         Room → chunk …                 abort → nothing more
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use thiserror::Error;

use super::error::SnapshotError;
use super::list::{SnapshotInfo, purge};
use super::write::SnapshotWriter;

/// How snapshots are to be written.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Where to.
    pub dir: PathBuf,
    /// Snapshots kept of each partition, at least one.
    pub retain: usize,
    /// Bytes of chunks that may wait for the disk. One chunk is always taken when none waits.
    pub queue_bytes_max: u64,
}

impl SinkOptions {
    /// The defaults.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, retain: 3, queue_bytes_max: 2 << 20 }
    }
}

/// What the sink has to say.
#[derive(Debug)]
pub enum SnapshotEvent {
    /// After a [`SinkFull`]: there is room again.
    Room,
    /// A snapshot is durable.
    Finished {
        /// The snapshot.
        info: SnapshotInfo,
        /// All of its partition that are kept, newest first, itself included.
        kept: Vec<SnapshotInfo>,
    },
    /// A snapshot could not be written; nothing of it is left. Whoever began it tries again later.
    Failed {
        /// The partition.
        partition: u16,
        /// The zxid it was begun with.
        zxid: u64,
        /// Why.
        error: SnapshotError,
    },
}

/// Hears of events, on the sink's thread. It must be quick and must not wait for the core.
pub type OnEvent = Box<dyn Fn(SnapshotEvent) + Send>;

/// The queue is full; here is the chunk back. [`SnapshotEvent::Room`] follows.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the snapshot queue is full")]
pub struct SinkFull(pub Bytes);

enum Message {
    Begin { partition: u16, zxid: u64 },
    Chunk { partition: u16, payload: Bytes },
    Finish { partition: u16 },
    Abort { partition: u16 },
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicU64,
    /// A chunk has been given back since room was last announced.
    refused: AtomicBool,
}

/// Hands chunks to the thread that writes them. Any number of partitions may have a snapshot under
/// way, one each. Dropped, it waits for what is queued; a snapshot not finished is abandoned.
pub struct SnapshotSink {
    messages: Option<Sender<Message>>,
    waiting: Arc<Waiting>,
    queue_bytes_max: u64,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotSink {
    /// Starts the thread.
    pub fn start(options: SinkOptions, on_event: OnEvent) -> Result<Self, SnapshotError> {
        let (messages, queue) = channel();
        let waiting = Arc::new(Waiting::default());
        let queue_bytes_max = options.queue_bytes_max;
        let worker =
            Worker { options, on_event, waiting: Arc::clone(&waiting), open: BTreeMap::new() };
        let thread = Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || worker.run(queue))
            .map_err(SnapshotError::Thread)?;
        Ok(Self { messages: Some(messages), waiting, queue_bytes_max, thread: Some(thread) })
    }

    /// Begins a snapshot. One of the same partition that is under way is abandoned.
    pub fn begin(&self, partition: u16, zxid: u64) {
        self.send(Message::Begin { partition, zxid });
    }

    /// Adds a chunk to the partition's snapshot, unless too much is waiting already.
    pub fn chunk(&self, partition: u16, payload: Bytes) -> Result<(), SinkFull> {
        let bytes = payload.len() as u64;
        let fits = |waiting: u64| waiting == 0 || waiting + bytes <= self.queue_bytes_max;
        if !fits(self.waiting.bytes.load(Ordering::SeqCst)) {
            // Ask for the event first, then look again: the thread does it the other way round, so
            // one of the two sees the other.
            self.waiting.refused.store(true, Ordering::SeqCst);
            if !fits(self.waiting.bytes.load(Ordering::SeqCst)) {
                return Err(SinkFull(payload));
            }
        }
        self.waiting.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.send(Message::Chunk { partition, payload });
        Ok(())
    }

    /// Completes the partition's snapshot; an event says how that went.
    pub fn finish(&self, partition: u16) {
        self.send(Message::Finish { partition });
    }

    /// Abandons the partition's snapshot.
    pub fn abort(&self, partition: u16) {
        self.send(Message::Abort { partition });
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // The thread lives as long as the sender, short of a panic that it has reported.
            let _ = messages.send(message);
        }
    }
}

impl fmt::Debug for SnapshotSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotSink").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Drop for SnapshotSink {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the snapshot thread panicked");
        }
    }
}

struct Worker {
    options: SinkOptions,
    on_event: OnEvent,
    waiting: Arc<Waiting>,
    open: BTreeMap<u16, (u64, SnapshotWriter)>,
}

impl Worker {
    fn run(mut self, queue: Receiver<Message>) {
        for message in queue {
            match message {
                Message::Begin { partition, zxid } => self.begin(partition, zxid),
                Message::Chunk { partition, payload } => self.chunk(partition, &payload),
                Message::Finish { partition } => self.finish(partition),
                Message::Abort { partition } => {
                    self.open.remove(&partition);
                }
            }
        }
    }

    fn begin(&mut self, partition: u16, zxid: u64) {
        // The old one first: dropped later, it would remove the new one's file of the same name.
        self.open.remove(&partition);
        match SnapshotWriter::create(&self.options.dir, partition, zxid) {
            Ok(writer) => {
                self.open.insert(partition, (zxid, writer));
            }
            Err(error) => (self.on_event)(SnapshotEvent::Failed { partition, zxid, error }),
        }
    }

    fn chunk(&mut self, partition: u16, payload: &[u8]) {
        if let Some((zxid, writer)) = self.open.get_mut(&partition) {
            let zxid = *zxid;
            if let Err(error) = writer.write_chunk(payload) {
                self.open.remove(&partition);
                (self.on_event)(SnapshotEvent::Failed { partition, zxid, error });
            }
        }
        let bytes = payload.len() as u64;
        let before = self.waiting.bytes.fetch_sub(bytes, Ordering::SeqCst);
        // Half empty before it is called room: else every chunk would come with an event.
        let left = before - bytes;
        if left <= self.options.queue_bytes_max / 2
            && self.waiting.refused.swap(false, Ordering::SeqCst)
        {
            (self.on_event)(SnapshotEvent::Room);
        }
    }

    fn finish(&mut self, partition: u16) {
        // If it is not there, it has failed and was reported, or was never begun.
        let Some((zxid, writer)) = self.open.remove(&partition) else { return };
        let info = match writer.finish() {
            Ok(info) => info,
            Err(error) => {
                return (self.on_event)(SnapshotEvent::Failed { partition, zxid, error });
            }
        };
        let kept = purge(&self.options.dir, partition, self.options.retain);
        let kept = kept.unwrap_or_else(|error| {
            tracing::warn!(%error, partition, "cannot remove old snapshots; will try again");
            vec![info.clone()]
        });
        (self.on_event)(SnapshotEvent::Finished { info, kept });
    }
}
