//! Appending: order, grouping, rotation, large records, purge, failures of the disk.

use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn records_come_back_in_order_at_growing_positions() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    assert!(log.recovered.was_empty);
    let end = log.write(&[b"one", b"", b"three"]);
    drop(log);

    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.payloads(), [&b"one"[..], b"", b"three"]);
    assert!(log.replayed.is_sorted_by(|a, b| a.lsn < b.lsn));
    assert_eq!((log.recovered.next_lsn, log.recovered.records), (end, 3));
    assert_eq!((log.recovered.cut.clone(), log.recovered.was_empty), (None, false));
}

#[test]
fn a_log_goes_on_through_many_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..6_u8 {
        let mut log = Log::open(dir.path()).unwrap();
        assert_eq!(log.payloads(), written);
        for size in [0, 1, 700, 1500, 4000, 9] {
            written.push(vec![round + 1; size]);
            log.write(&[written.last().unwrap()]);
        }
    }
    assert!(segments(dir.path()).len() > 6, "{:?}", segments(dir.path()));
}

#[test]
fn one_batch_may_fill_several_segments() {
    let dir = tempfile::tempdir().unwrap();
    let payloads: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; 1000]).collect();
    let batch: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    Log::open(dir.path()).unwrap().write(&batch);
    assert_eq!(Log::open(dir.path()).unwrap().payloads(), batch);
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let large = vec![7_u8; 3 * 4096 + 5];
    write_log(dir.path(), &[b"before", &large, b"after"]);
    write_log(dir.path(), &[&large, &large]);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.payloads(), [b"before", &large[..], b"after", &large, &large]);
}

#[test]
fn a_record_over_the_limit_is_refused_and_nothing_of_its_batch_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log =
        Log::open_with(dir.path(), WalOptions { record_bytes_max: 10, ..small() }).unwrap();
    let batch = vec![Bytes::from_static(b"fits"), Bytes::from_static(b"eleven byte")];
    let refused = AppendError::TooLarge { bytes: 11, max: 10 };
    assert_eq!(log.wal.append(batch, 1), Err(refused));
    log.write(&[b"ten bytes!"]);
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().payloads(), [b"ten bytes!"]);
}

/// Holds the writer in its callback, so that what is appended meanwhile must share one write.
#[test]
fn all_that_waits_shares_one_write_and_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (entered_in, entered) = sync_channel(0);
    let (release, gate) = sync_channel::<()>(0);
    let on_durable = move |token, _lsn| {
        entered_in.send(token).unwrap();
        gate.recv().unwrap();
    };
    let options = WalOptions::new(IDENTITY);
    let options = WalOptions { segment_bytes: 1 << 20, ..options };
    let (wal, _) = Wal::open(dir.path(), options, |_| Ok(()), Box::new(on_durable)).unwrap();
    wal.append(vec![Bytes::from_static(b"first")], 1).unwrap();
    assert_eq!(entered.recv().unwrap(), 1);
    for token in 2..=100 {
        wal.append(vec![Bytes::from_static(b"waits")], token).unwrap();
    }
    assert_eq!(wal.queued_bytes(), 99 * 5);
    release.send(()).unwrap();
    assert_eq!(entered.recv().unwrap(), 100);
    assert_eq!((wal.stats().writes, wal.stats().syncs), (2, 2));
    assert_eq!(wal.queued_bytes(), 0);
    release.send(()).unwrap();
}

#[test]
fn each_sync_is_told_with_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let on_sync = Box::new(move |_: std::time::Duration, records| tell.send(records).unwrap());
    let options = WalOptions { on_sync, ..small() };
    let mut log = Log::open_with(dir.path(), options).unwrap();
    log.write(&[b"one", b"two"]);
    log.write(&[b"three"]);
    drop(log);
    assert_eq!(told.iter().collect::<Vec<u64>>(), [2, 1]);
}

#[test]
fn an_empty_batch_is_reported_in_its_turn_without_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    let end = log.write(&[b"record"]);
    assert_eq!(log.write(&[]), end);
    assert_eq!(log.wal.stats().syncs, 1);
}

#[test]
fn without_sync_the_disk_is_only_synced_when_a_segment_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open_with(dir.path(), WalOptions { sync: false, ..small() }).unwrap();
    log.write(&[&[1; 1000]]);
    log.write(&[&[2; 1000]]);
    assert_eq!(log.wal.stats().syncs, 0);
    log.write(&[&[3; 3000]]);
    assert_eq!(log.wal.stats().syncs, 1);
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().replayed.len(), 3);
}

#[test]
fn closing_writes_what_is_queued_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for token in 1..=50 {
        log.wal.append(vec![Bytes::from(vec![token as u8; 300])], token).unwrap();
    }
    log.wal.close();
    assert_eq!(log.durable.try_iter().last().unwrap().0, 50);
    assert_eq!(log.wal.append(vec![Bytes::new()], 51), Err(AppendError::Closed));
    assert_eq!(Log::open(dir.path()).unwrap().replayed.len(), 50);
}

#[test]
fn purging_removes_whole_segments_below_and_never_the_active_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    let ends: Vec<u64> = (0..5_u8).map(|n| log.write(&[&[n; 3000]])).collect();
    assert_eq!(log.wal.stats().segments, 5);
    // Inside the third: only the two before it go.
    log.wal.purge_below(ends[2] - 8);
    log.wal.close();
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.payloads(), [[2; 3000], [3; 3000], [4; 3000]]);
    assert_eq!(log.recovered.first_lsn, 2 * 4096);
    log.wal.purge_below(u64::MAX);
    log.wal.close();
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.payloads(), [[4; 3000]]);
}

/// Opens a log whose disk fails as told; returns what the fatal hook said.
fn fail_with(switch: impl Fn(&writer::Faults)) -> (Vec<Record>, String) {
    let dir = tempfile::tempdir().unwrap();
    let (said_in, said) = channel();
    let faults = Arc::<writer::Faults>::default();
    let said_in = Mutex::new(said_in);
    let options = WalOptions {
        on_fatal: Box::new(move |error| {
            said_in.lock().unwrap().send(error.to_string()).unwrap();
        }),
        faults: Arc::clone(&faults),
        ..small()
    };
    let mut log = Log::open_with(dir.path(), options).unwrap();
    log.write(&[b"before"]);
    switch(&faults);
    log.wal.append(vec![Bytes::from_static(b"after")], 2).unwrap();
    let message = said.recv().unwrap();
    assert_eq!(log.wal.append(vec![Bytes::from_static(b"later")], 3), Err(AppendError::Closed));
    log.wal.close();
    assert_eq!(log.durable.try_recv().ok(), None, "a failed write was reported as durable");
    drop(log);
    (Log::open(dir.path()).unwrap().replayed, message)
}

#[test]
fn after_a_failed_sync_nothing_is_reported_or_accepted() {
    let (_, message) = fail_with(|faults| faults.fail_syncs.store(true, Ordering::SeqCst));
    assert!(message.starts_with("cannot sync "), "{message}");
}

#[test]
fn a_full_disk_ends_the_log_with_advice() {
    let (replayed, message) = fail_with(|faults| faults.fail_writes.store(true, Ordering::SeqCst));
    assert!(message.contains("the disk is full: make room"), "{message}");
    assert_eq!(replayed.len(), 1);
}

/// A directory under the name of the third segment makes its preparation fail.
#[test]
fn a_segment_that_cannot_be_prepared_is_tried_again_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (said_in, said) = channel();
    let said_in = Mutex::new(said_in);
    let on_fatal: OnFatal = Box::new(move |error| {
        said_in.lock().unwrap().send(error.to_string()).unwrap();
    });
    let mut log = Log::open_with(dir.path(), WalOptions { on_fatal, ..small() }).unwrap();
    let in_the_way = |number: u64| dir.path().join(segment::file_name(number * 4096));
    fs::create_dir(in_the_way(2)).unwrap();
    log.write(&[&[0; 3000]]);
    log.write(&[&[1; 3000]]);
    fs::remove_dir(in_the_way(2)).unwrap();
    log.write(&[&[2; 3000]]);

    fs::create_dir(in_the_way(4)).unwrap();
    log.write(&[&[3; 3000]]);
    log.wal.append(vec![Bytes::from(vec![4; 3000])], 99).unwrap();
    let message = said.recv().unwrap();
    assert!(message.starts_with("cannot rename "), "{message}");
    drop(log);
    fs::remove_dir(in_the_way(4)).unwrap();
    assert_eq!(Log::open(dir.path()).unwrap().replayed.len(), 4);
}

#[test]
fn impossible_options_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for segment_bytes in [0, 4095, 5000, 2 << 30] {
        let options = WalOptions { segment_bytes, ..small() };
        assert!(matches!(Log::open_with(dir.path(), options), Err(WalError::Options(_))));
    }
}
