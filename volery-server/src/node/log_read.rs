//! The thread that reads the log of the running server for others that are further behind than its
//! memory reaches. It sends nothing: what it finds goes back to the machine, which answers. It
//! remembers for each of them where in the log it stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use volery_proto::ids::{Instance, RingId, ServerId};
use volery_proto::limits::MAX_VALUE_BYTES;
use volery_proto::ring::decode_record;

use super::clock::{Clock, Progress};
use super::transfer::Pace;
use crate::core::ring::{LEARNED_MAX, LogValues, Proposed};
use crate::storage::wal::LogTail;

/// Who asks for nothing for so long has caught up.
const IDLE: Duration = Duration::from_secs(30);

/// What the machine wants to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) ring: RingId,
    pub(super) from: Instance,
    pub(super) to: ServerId,
    pub(super) below_lsn: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ring: RingId,
    pub(super) to: ServerId,
    pub(super) values: Vec<Proposed>,
}

/// Tells the machine.
pub(super) type Tell = Box<dyn Fn(Found) + Send>;

/// One ring, read for one server.
#[derive(Debug)]
struct Stream {
    values: LogValues,
    /// Where to read on; at first, where the log begins.
    position: Option<u64>,
    /// What was found last: it may have been lost.
    last: Vec<Proposed>,
    used_at: Duration,
    sent: u64,
    progress: Progress,
}

/// The thread's state.
pub(super) struct LogReading {
    dir: PathBuf,
    identity: u64,
    pace: Arc<Pace>,
    tell: Tell,
    clock: Clock,
    streams: BTreeMap<(RingId, ServerId), Stream>,
}

impl LogReading {
    pub(super) fn new(
        dir: PathBuf,
        identity: u64,
        pace: Arc<Pace>,
        tell: Tell,
        clock: Clock,
    ) -> LogReading {
        LogReading { dir, identity, pace, tell, clock, streams: BTreeMap::new() }
    }

    /// Works until nobody can ask for anything any more.
    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        for job in jobs {
            let now = self.clock.elapsed();
            self.streams.retain(|_, stream| now < stream.used_at + IDLE);
            // Where it stopped may have been purged since: then once more from the beginning.
            let values = self.read(&job).or_else(|_| self.read(&job)).unwrap_or_else(|error| {
                let Job { ring, to, .. } = job;
                tracing::warn!(%ring, %to, error, "cannot read the log for a server that is behind");
                Vec::new()
            });
            let bytes: usize = values.iter().map(|proposed| proposed.value.len()).sum();
            self.pace.wait(bytes as u64);
            (self.tell)(Found { ring: job.ring, to: job.to, values });
        }
    }

    fn read(&mut self, job: &Job) -> Result<Vec<Proposed>, String> {
        let Job { ring, from, to, below_lsn } = *job;
        let mut stream = match self.streams.remove(&(ring, to)) {
            Some(stream) if stream.values.next() == from => stream,
            Some(stream) if stream.last.first().is_some_and(|first| first.instance == from) => {
                let again = stream.last.clone();
                self.streams.insert((ring, to), stream);
                return Ok(again);
            }
            _ => {
                tracing::info!(%to, %ring, %from, "reading the log for a server that is behind");
                Stream::new(from, self.clock)
            }
        };
        let found = self.find(&mut stream, ring, below_lsn)?;
        stream.used_at = self.clock.elapsed();
        stream.sent += found.len() as u64;
        stream.last.clone_from(&found);
        if stream.progress.due() {
            let values = stream.sent;
            tracing::info!(%to, %ring, %from, values, "reading the log for a server that is behind");
        }
        self.streams.insert((ring, to), stream);
        Ok(found)
    }

    /// As many values as one answer takes.
    fn find(
        &self,
        stream: &mut Stream,
        ring: RingId,
        below_lsn: u64,
    ) -> Result<Vec<Proposed>, String> {
        let tail = LogTail::open(&self.dir, self.identity, stream.position);
        let mut tail = tail.map_err(|error| error.to_string())?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < LEARNED_MAX && bytes < MAX_VALUE_BYTES {
            if let Some(proposed) = stream.values.pop() {
                bytes += proposed.value.len();
                found.push(proposed);
                continue;
            }
            let Some(record) = tail.next(below_lsn).map_err(|error| error.to_string())? else {
                break;
            };
            let record = decode_record(record.payload).map_err(|error| error.to_string())?;
            let (of, body) = (record.ring, record.body.ok_or("a record without content")?);
            if of == u32::from(ring.0) && !stream.values.record(body) {
                return Err("a damaged ballot".to_owned());
            }
            if stream.values.has_gap() {
                return Err(format!("the log no longer holds instance {}", stream.values.next()));
            }
        }
        stream.position = Some(tail.position());
        Ok(found)
    }
}

impl Stream {
    fn new(from: Instance, clock: Clock) -> Stream {
        Stream {
            values: LogValues::new(from),
            position: None,
            last: Vec::new(),
            used_at: clock.elapsed(),
            sent: 0,
            progress: Progress::new(clock),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};

    use bytes::Bytes;
    use volery_proto::ids::Ballot;
    use volery_proto::ring::encode_record;
    use volery_proto::wire;
    use volery_proto::wire::log_record::Body;

    use super::*;
    use crate::storage::wal::{Wal, WalHandle, WalOptions};

    const TO: ServerId = ServerId(3);

    fn open(dir: &Path) -> (WalHandle, Receiver<u64>) {
        let mut options = WalOptions::new(7);
        options.segment_bytes = 64 << 10;
        let (durable, ends) = channel();
        let on_durable = Box::new(move |_, lsn| {
            let _ = durable.send(lsn);
        });
        (Wal::open(dir, options, |_| Ok(()), on_durable).unwrap().0, ends)
    }

    fn accepted(ring: u32, instance: u64, round: u32, decided: u64, value: Vec<u8>) -> Bytes {
        let ballot = Ballot { round, server: ServerId(1) }.to_u64();
        let value = value.into();
        let body = Body::Accepted(wire::Accepted { instance, ballot, decided, value });
        encode_record(&wire::LogRecord { ring, body: Some(body) })
    }

    fn value(ring: u32, instance: u64) -> Vec<u8> {
        vec![(u64::from(ring) * 7 + instance) as u8; 1000]
    }

    fn reading(dir: &Path) -> LogReading {
        let pace = Arc::new(Pace::new(1 << 40, Clock::new()));
        LogReading::new(dir.to_path_buf(), 7, pace, Box::new(|_| {}), Clock::new())
    }

    /// What a server gets that goes on asking.
    fn all(reading: &mut LogReading, ring: u16, from: u64, below_lsn: u64) -> Vec<Proposed> {
        let mut all: Vec<Proposed> = Vec::new();
        loop {
            let from = Instance(from + all.len() as u64);
            let job = Job { ring: RingId(ring), from, to: TO, below_lsn };
            let found = reading.read(&job).unwrap();
            assert_eq!(reading.read(&job).unwrap(), found, "what is lost is had again");
            if found.is_empty() {
                return all;
            }
            all.extend(found);
        }
    }

    /// Two rings share a log of many segments; some instances were accepted twice, at first with
    /// what was not chosen.
    #[test]
    fn each_ring_is_read_on_its_own_from_any_instance_up_to_what_is_known_decided() {
        let dir = tempfile::tempdir().unwrap();
        let (log, ends) = open(dir.path());
        let mut end = 0;
        for instance in 0..1000_u64 {
            let decided = instance.saturating_sub(3);
            let batch = vec![
                accepted(0, instance, 1, decided, b"not chosen".to_vec()),
                accepted(0, instance, 2, decided, value(0, instance)),
                accepted(1, instance, 1, decided, value(1, instance)),
            ];
            log.append(batch, instance).unwrap();
            end = ends.recv().unwrap();
        }
        let mut reading = reading(dir.path());
        for (ring, from) in [(0_u16, 0), (1, 0), (0, 701), (1, 990)] {
            let found = all(&mut reading, ring, from, end);
            let whole = found.iter().zip(from..).all(|(found, instance)| {
                found.instance == Instance(instance) && found.value == value(ring.into(), instance)
            });
            assert!(whole && found.len() as u64 == 996 - from, "{ring} {from}: {}", found.len());
        }
        // Only what is durable, while it grows.
        let middle = end / 2;
        let job =
            |below_lsn| Job { ring: RingId(1), from: Instance(5), to: ServerId(9), below_lsn };
        assert!(reading.read(&job(0)).unwrap().is_empty());
        let some = reading.read(&job(middle)).unwrap();
        assert_eq!(some.first().map(|first| first.instance), Some(Instance(5)));
    }

    #[test]
    fn what_is_purged_is_not_to_be_had_and_the_rest_is() {
        let dir = tempfile::tempdir().unwrap();
        let (log, ends) = open(dir.path());
        let mut lsns = Vec::new();
        for instance in 0..400 {
            let record = accepted(0, instance, 1, instance, value(0, instance));
            log.append(vec![record], instance).unwrap();
            lsns.push(ends.recv().unwrap());
        }
        let mut reading = reading(dir.path());
        let end = lsns[399];
        let job = |from| Job { ring: RingId(0), from: Instance(from), to: TO, below_lsn: end };
        assert_eq!(reading.read(&job(10)).unwrap().len(), LEARNED_MAX);
        log.purge_below(lsns[300]);
        log.close();
        // It goes on where it was.
        assert_eq!(reading.read(&job(10 + LEARNED_MAX as u64)).unwrap().len(), 399 - 266);
        assert!(reading.read(&job(20)).is_err());
        assert_eq!(reading.read(&job(350)).unwrap().len(), 49);
    }
}
