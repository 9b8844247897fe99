//! The snapshots' tests: what is written comes back, and nothing damaged passes for whole.

#![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel, sync_channel};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn write(dir: &Path, partition: u16, zxid: u64, chunks: &[&[u8]]) -> PathBuf {
    let mut writer = SnapshotWriter::create(dir, partition, zxid).unwrap();
    for chunk in chunks {
        writer.write_chunk(chunk).unwrap();
    }
    writer.finish().unwrap().path
}

fn read(path: &Path) -> Result<Vec<Bytes>, SnapshotError> {
    let mut reader = SnapshotReader::open(path)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn zxids(dir: &Path, partition: u16) -> Vec<u64> {
    list(dir, partition).unwrap().iter().map(|info| info.zxid).collect()
}

#[test]
fn chunks_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let chunks: [&[u8]; 4] = [b"one", b"", &[7; 300_000], b"four"];
    let path = write(dir.path(), 5, 0x1234_5678, &chunks);
    assert_eq!(path.file_name().unwrap(), "snapshot.5.0000000012345678");
    let reader = SnapshotReader::open(&path).unwrap();
    assert_eq!((reader.partition(), reader.zxid()), (5, 0x1234_5678));
    assert_eq!(read(&path).unwrap(), chunks);
    assert_eq!(SnapshotReader::verify(&path).unwrap(), 4);
    let empty = write(dir.path(), 5, 1, &[]);
    assert!(read(&empty).unwrap().is_empty());
}

#[test]
fn the_newest_comes_first_and_partitions_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    for (partition, zxid) in [(1, 0x20), (1, 0xff00), (2, 0x30), (1, 0x100), (12, 0x40)] {
        write(dir.path(), partition, zxid, &[b"state"]);
    }
    assert_eq!(zxids(dir.path(), 1), [0xff00, 0x100, 0x20]);
    let left = purge(dir.path(), 1, 2).unwrap();
    assert_eq!(left.len(), 2);
    assert_eq!(zxids(dir.path(), 1), [0xff00, 0x100]);
    purge(dir.path(), 1, 0).unwrap();
    assert_eq!((zxids(dir.path(), 1), zxids(dir.path(), 2)), (vec![0xff00], vec![0x30]));
    assert_eq!(zxids(&dir.path().join("nowhere"), 1), [0; 0]);
}

#[test]
fn every_flipped_bit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), 1, 2, &[b"first", b"second"]);
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut data = whole.clone();
        data[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, data).unwrap();
        assert!(read(&path).is_err(), "bit {bit}");
    }
}

#[test]
fn a_damaged_chunk_is_named_by_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), 1, 2, &[b"first", b"second"]);
    let mut data = fs::read(&path).unwrap();
    let second = 32 + 8 + 5;
    data[second + 9] ^= 1;
    fs::write(&path, data).unwrap();
    let mut reader = SnapshotReader::open(&path).unwrap();
    assert_eq!(reader.next_chunk().unwrap().unwrap(), "first");
    let message = reader.next_chunk().unwrap_err().to_string();
    for part in ["snapshot.1.0000000000000002 at offset 45", "checksum", "move the file away"] {
        assert!(message.contains(part), "{message}");
    }
    // It is still listed: to skip it is not this room's decision.
    assert_eq!(zxids(dir.path(), 1), [2]);
}

#[test]
fn a_file_cut_short_or_grown_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), 1, 2, &[b"first", b"second"]);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(read(&path), Err(SnapshotError::Damaged { .. })), "{length} bytes");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    let error = read(&path).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { flaw: Flaw::Trailing, .. }), "{error}");
}

#[test]
fn a_renamed_snapshot_and_one_of_a_newer_version_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), 1, 2, &[b"state"]);
    let renamed = dir.path().join(list::file_name(3, 2));
    fs::rename(&path, &renamed).unwrap();
    assert!(matches!(read(&renamed), Err(SnapshotError::Misnamed { partition: 1, .. })));
    let mut data = fs::read(&renamed).unwrap();
    data[8] = 2;
    fs::write(&path, data).unwrap();
    assert!(matches!(read(&path), Err(SnapshotError::NewerFormat { found: 2, .. })));
}

#[test]
fn what_is_not_finished_is_never_listed_and_goes_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SnapshotWriter::create(dir.path(), 1, 2).unwrap();
    writer.write_chunk(b"state").unwrap();
    assert_eq!(zxids(dir.path(), 1), [0; 0]);
    // As a killed process leaves it.
    std::mem::forget(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    remove_unfinished(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // An abandoned one cleans up by itself.
    drop(SnapshotWriter::create(dir.path(), 1, 2).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn sink(options: SinkOptions) -> (SnapshotSink, Receiver<SnapshotEvent>) {
    let (report, events) = channel();
    let on_event = move |event| {
        let _ = report.send(event);
    };
    (SnapshotSink::start(options, Box::new(on_event)).unwrap(), events)
}

#[test]
fn the_sink_writes_several_partitions_side_by_side_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let options = SinkOptions { retain: 2, ..SinkOptions::new(dir.path().join("snapshots")) };
    let snapshots = options.dir.clone();
    let (sink, events) = sink(options);
    for zxid in 1..=3 {
        for partition in [1, 2] {
            sink.begin(partition, zxid);
        }
        for partition in [1, 2] {
            sink.chunk(partition, Bytes::from(format!("{partition} at {zxid}"))).unwrap();
        }
        sink.finish(2);
        sink.finish(1);
    }
    sink.begin(1, 4);
    sink.chunk(1, Bytes::from_static(b"given up")).unwrap();
    sink.abort(1);
    sink.finish(1);
    drop(sink);
    let events: Vec<SnapshotEvent> = events.iter().collect();
    assert_eq!(events.len(), 6, "{events:?}");
    match &events[5] {
        SnapshotEvent::Finished { info, kept } => {
            assert_eq!((info.partition, info.zxid), (1, 3));
            assert_eq!(kept.iter().map(|info| info.zxid).collect::<Vec<_>>(), [3, 2]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((zxids(&snapshots, 1), zxids(&snapshots, 2)), (vec![3, 2], vec![3, 2]));
    let newest = &list(&snapshots, 2).unwrap()[0];
    assert_eq!(read(&newest.path).unwrap(), ["2 at 3"]);
}

/// The thread is held in its first event, so the queue fills up for certain.
#[test]
fn a_full_queue_gives_the_chunk_back_and_says_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (report, events) = sync_channel(0);
    let on_event = move |event| report.send(event).unwrap();
    let options = SinkOptions { queue_bytes_max: 10, ..SinkOptions::new(dir.path().into()) };
    let sink = SnapshotSink::start(options, Box::new(on_event)).unwrap();
    sink.begin(1, 1);
    sink.finish(1);
    sink.begin(1, 2);
    sink.chunk(1, Bytes::from_static(b"12345678")).unwrap();
    let refused = sink.chunk(1, Bytes::from_static(b"three")).unwrap_err();
    assert_eq!(refused.0, "three");
    assert!(matches!(events.recv().unwrap(), SnapshotEvent::Finished { .. }));
    assert!(matches!(events.recv().unwrap(), SnapshotEvent::Room));
    sink.chunk(1, refused.0).unwrap();
    sink.finish(1);
    assert!(matches!(events.recv().unwrap(), SnapshotEvent::Finished { .. }));
    assert_eq!(read(&list(dir.path(), 1).unwrap()[0].path).unwrap(), ["12345678", "three"]);
}

#[test]
fn a_snapshot_that_cannot_be_written_is_reported_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, events) = sink(SinkOptions::new(dir.path().into()));
    sink.begin(1, 7);
    sink.chunk(1, Bytes::from(vec![0; CHUNK_BYTES_MAX + 1])).unwrap();
    let _ = sink.chunk(1, Bytes::from_static(b"dropped"));
    sink.finish(1);
    drop(sink);
    let events: Vec<SnapshotEvent> = events.iter().collect();
    let failed = |event: &SnapshotEvent| {
        matches!(event, SnapshotEvent::Failed { partition: 1, zxid: 7, .. })
    };
    assert!(events.iter().any(failed), "{events:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_chunks_come_back_and_any_changed_byte_is_found(
        chunks in vec(vec(any::<u8>(), 0..200), 0..8),
        place in any::<prop::sample::Index>(),
        wrong in 1_u8..,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let path = write(dir.path(), 1, 2, &chunks);
        prop_assert_eq!(read(&path).unwrap(), chunks);
        let mut data = fs::read(&path).unwrap();
        let at = place.index(data.len());
        data[at] ^= wrong;
        fs::write(&path, data).unwrap();
        prop_assert!(read(&path).is_err());
    }

    #[test]
    fn arbitrary_bytes_behind_a_header_are_read_without_a_panic(
        bytes in vec(any::<u8>(), 0..512),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anything");
        fs::write(&path, [&format::encode_header(1, 2)[..], &bytes].concat()).unwrap();
        prop_assert!(read(&path).is_err());
        fs::write(&path, &bytes).unwrap();
        prop_assert!(read(&path).is_err());
    }
}
