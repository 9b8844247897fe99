//! Two servers' threads, stepped by hand over a link that can break: what arrives is what was sent,
//! whoever starts anew in between, and nothing damaged takes its place.

#![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::node::clock::Clock;
use crate::storage::snapshot::{self, SnapshotWriter};

const SENDER: ServerId = ServerId(2);
const OTHER: ServerId = ServerId(3);
const RECEIVER: ServerId = ServerId(1);

type Wire = Arc<Mutex<VecDeque<(u8, Bytes)>>>;

fn onto(wire: &Wire) -> Put {
    let wire = wire.clone();
    Box::new(move |_, kind, body| {
        wire.lock().push_back((kind, body));
        true
    })
}

/// A server that sends.
struct Source {
    id: ServerId,
    dir: TempDir,
    sending: Sending,
    out: Wire,
}

impl Source {
    fn new(id: ServerId) -> Source {
        let (dir, out) = (tempfile::tempdir().unwrap(), Wire::default());
        let sending = Source::start(dir.path(), &out);
        Source { id, dir, sending, out }
    }

    fn start(dir: &Path, out: &Wire) -> Sending {
        let pace = Arc::new(Pace::new(1 << 40, Clock::new()));
        Sending::new(dir.to_path_buf(), onto(out), Box::new(|_| {}), pace, Clock::new())
    }

    fn restart(&mut self) {
        self.out.lock().clear();
        self.sending = Source::start(self.dir.path(), &self.out);
    }

    fn snapshot(&self, partition: u16, zxid: u64, megabytes: u8) -> Vec<u8> {
        let mut writer = SnapshotWriter::create(self.dir.path(), partition, zxid).unwrap();
        for n in 0..megabytes {
            writer.write_chunk(&vec![n; 1 << 20]).unwrap();
        }
        fs::read(writer.finish().unwrap().path).unwrap()
    }
}

/// A server that is behind.
struct Sink {
    dir: TempDir,
    receiving: Receiving,
    out: Wire,
    told: Arc<Mutex<Vec<TransferEvent>>>,
    now: Duration,
    /// Pieces that came.
    pieces: usize,
}

impl Sink {
    fn new() -> Sink {
        let (dir, out) = (tempfile::tempdir().unwrap(), Wire::default());
        let told = Arc::default();
        let receiving = Sink::start(dir.path(), &out, &told);
        Sink { dir, receiving, out, told, now: Duration::from_secs(1), pieces: 0 }
    }

    fn start(dir: &Path, out: &Wire, told: &Arc<Mutex<Vec<TransferEvent>>>) -> Receiving {
        let told = told.clone();
        let tell: Tell = Box::new(move |event| told.lock().push(event));
        Receiving::new(
            dir.to_path_buf(),
            (1..=4).map(PartitionId).collect(),
            onto(out),
            tell,
            Clock::new(),
        )
    }

    fn restart(&mut self) {
        self.out.lock().clear();
        self.receiving = Sink::start(self.dir.path(), &self.out, &self.told);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// What the machine would hear, the many words that something arrives left out.
    fn told(&self) -> Vec<TransferEvent> {
        let arriving = |event: &TransferEvent| matches!(event, TransferEvent::Arriving(_));
        self.told.lock().drain(..).filter(|event| !arriving(event)).collect()
    }

    /// The machine of this server asks, and that of the other answers.
    fn fetch(&mut self, source: &mut Source, partitions: &[u16]) {
        let partitions = partitions.iter().map(|id| PartitionId(*id)).collect();
        source.sending.job(Job::Offer { to: RECEIVER, partitions });
    }

    /// Frames go to and fro until so many pieces came, or nothing moves any more.
    fn exchange(&mut self, source: &mut Source, pieces: usize) {
        let goal = self.pieces + pieces;
        loop {
            let mut moved = false;
            let arrived: Vec<_> = source.out.lock().drain(..).collect();
            for (kind, body) in arrived {
                assert_eq!(kind, SNAPSHOT);
                let before = self.out.lock().len();
                self.receiving.part(source.id, body, self.now);
                self.pieces += 1;
                moved |= self.out.lock().len() > before;
            }
            let wanted: Vec<_> = self.out.lock().drain(..).collect();
            for (kind, body) in wanted {
                assert_eq!(kind, WANT);
                source.sending.job(Job::Want { peer: RECEIVER, body, credit: None });
            }
            if self.pieces >= goal {
                return;
            }
            if source.sending.is_busy() {
                source.sending.piece();
                moved = true;
            }
            if !moved && source.out.lock().is_empty() {
                return;
            }
        }
    }

    fn has(&self, partition: u16, zxid: u64) -> Option<Vec<u8>> {
        fs::read(snapshot::path_of(self.dir.path(), partition, zxid)).ok()
    }

    fn parts(&self) -> usize {
        fs::read_dir(self.dir.path().join("received")).map_or(0, Iterator::count)
    }
}

fn received(partition: u16) -> TransferEvent {
    TransferEvent::Received(PartitionId(partition))
}

#[test]
fn what_is_asked_for_arrives_one_after_the_other() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    let (one, three) = (source.snapshot(1, 0x10, 9), source.snapshot(3, 0x30, 1));
    source.snapshot(3, 0x20, 2);
    sink.fetch(&mut source, &[1, 3]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!(sink.told(), [received(1), received(3)]);
    assert_eq!((sink.has(1, 0x10), sink.has(3, 0x30)), (Some(one), Some(three)));
    assert_eq!((sink.has(3, 0x20), sink.parts()), (None, 0));
    // Asked once more, as a question may cross the answer: nothing is sent twice.
    let pieces = sink.pieces;
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!((sink.told(), sink.pieces), (vec![], pieces + 1));
}

/// The machine asks every two seconds as long as it lacks something. A transfer that takes longer
/// must not begin anew each time, or a large tree never arrives.
#[test]
fn a_question_that_is_repeated_does_not_begin_a_transfer_anew() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    let whole = source.snapshot(1, 0x10, 20);
    let pieces = whole.len().div_ceil(256 << 10);
    sink.fetch(&mut source, &[1]);
    for _ in 0..pieces {
        // The offer, and one piece.
        sink.exchange(&mut source, 2);
        sink.wait(1);
        sink.fetch(&mut source, &[1]);
    }
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x10)), (vec![received(1)], Some(whole)));
    // An offer for each question, and each piece once but for those of the ranges' ends.
    assert!(sink.pieces <= 2 * pieces + 10, "{} of {pieces}", sink.pieces);
}

#[test]
fn whoever_starts_anew_or_loses_the_link_the_rest_follows() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    let whole = source.snapshot(2, 0x10, 30);
    let pieces = whole.len().div_ceil(256 << 10);
    sink.fetch(&mut source, &[2]);
    sink.exchange(&mut source, 40);
    sink.restart();
    sink.fetch(&mut source, &[2]);
    sink.exchange(&mut source, 40);
    source.restart();
    sink.wait(3);
    sink.fetch(&mut source, &[2]);
    sink.exchange(&mut source, 20);
    // The link: what was on its way is lost, in both directions.
    source.out.lock().clear();
    sink.out.lock().clear();
    sink.wait(3);
    sink.fetch(&mut source, &[2]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(2, 0x10)), (vec![received(2)], Some(whole)));
    // Of what had arrived nothing came twice.
    assert!(sink.pieces < pieces + 30, "{} of {pieces}", sink.pieces);
}

#[test]
fn a_snapshot_that_is_no_longer_kept_is_read_to_its_end() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    let whole = source.snapshot(1, 0x10, 12);
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, 5);
    for zxid in [0x20, 0x30, 0x40] {
        source.snapshot(1, zxid, 1);
    }
    snapshot::purge(source.dir.path(), 1, 3).unwrap();
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x10)), (vec![received(1)], Some(whole)));
}

/// A busy server has a newer one each time that it is asked, and a server that starts anew asks
/// any: if the transfer began anew, a large one would never come to its end.
#[test]
fn whatever_is_newer_and_whoever_offers_it_the_rest_follows() {
    let (mut source, mut other) = (Source::new(SENDER), Source::new(OTHER));
    let mut sink = Sink::new();
    let whole = source.snapshot(1, 0x10, 20);
    let pieces = whole.len().div_ceil(256 << 10);
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, 30);
    source.snapshot(1, 0x20, 20);
    other.snapshot(1, 0x30, 20);
    sink.restart();
    // The other one offers, and is asked for nothing.
    sink.fetch(&mut other, &[1]);
    let offer = other.out.lock().pop_front().unwrap().1;
    sink.receiving.part(OTHER, offer.clone(), sink.now);
    sink.exchange(&mut source, 20);
    // The sender starts anew and has not heard what is wanted: each offer is cause to say it again.
    source.restart();
    sink.out.lock().clear();
    sink.wait(3);
    sink.receiving.part(OTHER, offer, sink.now);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x10)), (vec![received(1)], Some(whole)));
    assert!(sink.pieces < pieces + 20, "{} of {pieces}", sink.pieces);
    assert!(!other.sending.is_busy());
}

/// What has begun to arrive is waited for, and not for ever.
#[test]
fn what_is_there_of_a_server_that_is_away_is_given_up_for_another_ones() {
    let (mut dead, mut alive, mut sink) = (Source::new(SENDER), Source::new(OTHER), Sink::new());
    dead.snapshot(1, 0x10, 12);
    let (one, two) = (alive.snapshot(1, 0x18, 3), alive.snapshot(2, 0x28, 1));
    sink.fetch(&mut dead, &[1]);
    sink.exchange(&mut dead, 5);
    sink.restart();
    for _ in 0..4 {
        sink.fetch(&mut alive, &[1, 2]);
        // What it wants of the dead one is lost.
        for (_, offer) in alive.out.lock().drain(..).collect::<Vec<_>>() {
            sink.receiving.part(OTHER, offer, sink.now);
        }
        assert_eq!(sink.told(), []);
        sink.out.lock().clear();
        sink.wait(3);
    }
    sink.fetch(&mut alive, &[1, 2]);
    sink.exchange(&mut alive, usize::MAX / 2);
    assert_eq!(sink.told(), [received(1), received(2)]);
    assert_eq!((sink.has(1, 0x18), sink.has(2, 0x28)), (Some(one), Some(two)));
    assert_eq!(sink.parts(), 0);
}

/// It is gone, and its reader has started anew: then the newest is taken, from its beginning.
#[test]
fn a_snapshot_that_is_gone_is_replaced_by_the_next() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    source.snapshot(1, 0x10, 12);
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, 5);
    let newer = source.snapshot(1, 0x20, 2);
    snapshot::purge(source.dir.path(), 1, 1).unwrap();
    source.restart();
    sink.wait(3);
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x20)), (vec![received(1)], Some(newer)));
    assert_eq!((sink.has(1, 0x10), sink.parts()), (None, 0));
}

#[test]
fn a_silent_server_is_given_up_for_another_one() {
    let (mut dead, mut alive, mut sink) = (Source::new(SENDER), Source::new(OTHER), Sink::new());
    dead.snapshot(1, 0x10, 12);
    let whole = alive.snapshot(1, 0x18, 3);
    sink.fetch(&mut dead, &[1]);
    sink.exchange(&mut dead, 5);
    // A short silence is none.
    sink.wait(4);
    sink.fetch(&mut alive, &[1]);
    sink.exchange(&mut alive, usize::MAX / 2);
    assert_eq!(sink.told(), []);
    sink.wait(8);
    sink.fetch(&mut alive, &[1]);
    sink.exchange(&mut alive, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x18)), (vec![received(1)], Some(whole)));
}

#[test]
fn what_is_damaged_takes_no_place() {
    let (mut bad, mut good, mut sink) = (Source::new(SENDER), Source::new(OTHER), Sink::new());
    bad.snapshot(1, 0x10, 3);
    let whole = good.snapshot(1, 0x10, 3);
    // On the sender's disk: only the whole file shows it.
    let path = snapshot::path_of(bad.dir.path(), 1, 0x10);
    let mut data = fs::read(&path).unwrap();
    data[1_500_000] ^= 1;
    fs::write(&path, data).unwrap();
    sink.fetch(&mut bad, &[1]);
    sink.exchange(&mut bad, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x10)), (vec![TransferEvent::Refused(SENDER)], None));
    sink.fetch(&mut good, &[1]);
    sink.exchange(&mut good, 4);
    // On the way: the piece is asked for again.
    good.sending.piece();
    let (kind, body) = good.out.lock().pop_front().unwrap();
    let mut body = body.to_vec();
    *body.last_mut().unwrap() ^= 1;
    good.out.lock().push_back((kind, body.into()));
    sink.exchange(&mut good, usize::MAX / 2);
    assert_eq!((sink.told(), sink.has(1, 0x10)), (vec![received(1)], Some(whole)));
}

#[test]
fn a_disk_that_takes_nothing_is_said_and_leaves_nothing() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    source.snapshot(1, 0x10, 3);
    // Where the parts should go stands a file.
    fs::write(sink.dir.path().join("received"), b"").unwrap();
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!(sink.told(), [TransferEvent::Refused(SENDER)]);
    fs::remove_file(sink.dir.path().join("received")).unwrap();
    sink.fetch(&mut source, &[1]);
    sink.exchange(&mut source, usize::MAX / 2);
    assert_eq!(sink.told(), [received(1)]);
}

#[test]
fn nonsense_is_dropped() {
    let (mut source, mut sink) = (Source::new(SENDER), Sink::new());
    source.snapshot(1, 0x10, 1);
    sink.receiving.part(SENDER, Bytes::from_static(b"\xff\xff\xff"), sink.now);
    sink.receiving.part(SENDER, Bytes::new(), sink.now);
    for partition in [0, 5, 70_000] {
        let offer = volery_proto::wire::SnapshotOffer { partition, zxid: 1, bytes: 9 };
        let body = volery_proto::wire::snapshot_frame::Body::Offer(offer);
        let frame = volery_proto::wire::SnapshotFrame { body: Some(body) };
        let bytes = prost::Message::encode_to_vec(&frame);
        sink.receiving.part(SENDER, bytes.into(), sink.now);
    }
    assert!(sink.out.lock().is_empty());
    for (zxid, offset, bytes) in [(0x10, u64::MAX, u64::MAX), (0x99, 0, 10)] {
        let want = volery_proto::wire::SnapshotWant { partition: 1, zxid, offset, bytes };
        let body = prost::Message::encode_to_vec(&want).into();
        source.sending.job(Job::Want { peer: RECEIVER, body, credit: None });
    }
    // It says that it has no such snapshot, which is of no interest to who has not asked.
    assert!(!source.sending.is_busy());
    for (_, body) in source.out.lock().drain(..).collect::<Vec<_>>() {
        sink.receiving.part(SENDER, body, sink.now);
    }
    assert!(sink.out.lock().is_empty());
}
