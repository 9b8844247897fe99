//! What a start makes of a log that a crash, a bad disk or a careless hand has left.

use super::*;

/// A log with three writes in one segment, the last one of two records.
fn three_writes(dir: &Path) -> (PathBuf, Vec<u64>) {
    let mut log = Log::open(dir).unwrap();
    let ends =
        vec![log.write(&[b"first"]), log.write(&[b"second"]), log.write(&[b"third", b"fourth"])];
    drop(log);
    (segments(dir)[0].clone(), ends)
}

fn expect_damage(dir: &Path, file: &Path, at: u64) {
    match Log::open(dir).map(|log| log.replayed) {
        Err(WalError::Damaged { file: found, offset, .. }) => {
            assert_eq!((found.as_path(), offset), (file, at));
        }
        other => panic!("expected damage at {at}, got {other:?}"),
    }
}

#[test]
fn a_tail_torn_at_any_byte_leaves_exactly_the_writes_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ends) = three_writes(dir.path());
    let whole = fs::read(&file).unwrap();
    let end = ends[2] as usize;
    for torn_at in ends[1] as usize..end {
        let mut torn = whole.clone();
        torn[torn_at..end].fill(0);
        fs::write(&file, &torn).unwrap();
        let log = Log::open(dir.path()).unwrap();
        // The last bytes of a record are padding and payload: 'fourth' ends two bytes before `end`.
        let kept = match torn_at {
            at if at >= end - 2 => 4,
            at if at >= ends[1] as usize + 16 + 5 => 3,
            _ => 2,
        };
        let all: [&[u8]; 4] = [b"first", b"second", b"third", b"fourth"];
        assert_eq!(log.payloads(), all[..kept], "torn at {torn_at}");
        assert_eq!(log.wal.stats().writes, 0);
    }
}

#[test]
fn a_missing_sector_is_an_unfinished_write_and_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    log.wal.memory_restored().unwrap();
    let kept = log.write(&[b"kept"]) as usize;
    log.write(&[&[1; 1500], b"whole, but of the same write"]);
    drop(log);
    let file = segments(dir.path())[0].clone();
    let mut data = fs::read(&file).unwrap();
    data[1024..1536].fill(0);
    fs::write(&file, &data).unwrap();

    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.payloads(), [b"kept"]);
    let cut = log.recovered.cut.clone().unwrap();
    assert_eq!((cut.offset, cut.flaw), (kept as u64, Flaw::Checksum));
    assert!(!cut.synced_record_may_be_lost);
    assert_eq!(log.recovered.memory, Memory::Whole);
    // The sector with the record's own header missing.
    data[..512].copy_from_slice(&fs::read(&file).unwrap()[..512]);
    drop(log);
    fs::write(&file, &data).unwrap();
    let cut = Log::open(dir.path()).unwrap().recovered.cut.unwrap();
    assert_eq!((cut.flaw, cut.synced_record_may_be_lost), (Flaw::Hole, false));
}

#[test]
fn a_bad_last_write_with_all_sectors_there_costs_the_memory_until_it_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ends) = three_writes(dir.path());
    Log::open(dir.path()).unwrap().wal.memory_restored().unwrap();
    flip(&file, ends[1] as usize + 17);
    let log = Log::open(dir.path()).unwrap();
    let cut = log.recovered.cut.clone().unwrap();
    assert_eq!((cut.offset, cut.bytes), (ends[1], ends[2] - 2 - ends[1]));
    assert!(cut.synced_record_may_be_lost);
    assert_eq!(log.recovered.memory, Memory::Cut);
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!((log.recovered.cut.clone(), log.recovered.memory), (None, Memory::Cut));
    log.wal.memory_restored().unwrap();
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().recovered.memory, Memory::Whole);
}

#[test]
fn an_empty_directory_is_a_lost_memory_until_it_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Log::open(dir.path()).unwrap().recovered.memory, Memory::New);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!((log.recovered.was_empty, log.recovered.memory), (false, Memory::New));
}

/// A new server has promised and accepted, and its log goes bad before it was told to have a
/// memory: then it has forgotten something, and is no longer one that never knew anything.
#[test]
fn a_cut_of_what_a_new_server_synced_is_more_than_an_empty_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ends) = three_writes(dir.path());
    assert_eq!(Log::open(dir.path()).unwrap().recovered.memory, Memory::New);
    flip(&file, ends[1] as usize + 17);
    let log = Log::open(dir.path()).unwrap();
    assert!(log.recovered.cut.as_ref().unwrap().synced_record_may_be_lost);
    assert_eq!(log.recovered.memory, Memory::Cut);
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!((log.recovered.cut.clone(), log.recovered.memory), (None, Memory::Cut));
    drop(log);
    // Whoever empties the directory by hand and leaves the mark has not made it new.
    segments(dir.path()).iter().for_each(|file| fs::remove_file(file).unwrap());
    let log = Log::open(dir.path()).unwrap();
    assert_eq!((log.recovered.was_empty, log.recovered.memory), (true, Memory::Cut));
}

#[test]
fn after_a_cut_no_stale_byte_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ends) = three_writes(dir.path());
    flip(&file, ends[1] as usize + 17);
    let mut log = Log::open(dir.path()).unwrap();
    let data = fs::read(&file).unwrap();
    assert!(data[ends[1] as usize..].iter().all(|&byte| byte == 0));
    log.write(&[b"third again"]);
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.payloads(), [&b"first"[..], b"second", b"third again"]);
    assert_eq!(log.recovered.cut, None);
}

#[test]
fn a_flipped_bit_before_the_last_write_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ends) = three_writes(dir.path());
    let whole = fs::read(&file).unwrap();
    let starts = [HEADER_BYTES as u64, ends[0]];
    for offset in HEADER_BYTES..ends[1] as usize - 2 {
        flip(&file, offset);
        let record = starts.into_iter().rfind(|&start| start <= offset as u64).unwrap();
        let padding = (ends[0] as usize - 3..ends[0] as usize).contains(&offset);
        if !padding {
            expect_damage(dir.path(), &file, record);
        }
        fs::write(&file, &whole).unwrap();
    }
    flip(&file, HEADER_BYTES + 20);
    let message = Log::open(dir.path()).err().unwrap().to_string();
    for part in ["wal.0000000000000000 at offset 64", "checksum does not match", "from a backup"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_flipped_bit_in_an_earlier_segment_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), &[&[1; 3000], &[2; 3000], &[3; 3000]]);
    let files = segments(dir.path());
    let whole = fs::read(&files[0]).unwrap();
    flip(&files[0], 100);
    expect_damage(dir.path(), &files[0], 64);
    // The mark that closes it.
    fs::write(&files[0], &whole).unwrap();
    flip(&files[0], 64 + 16 + 3000 + 16);
    expect_damage(dir.path(), &files[0], 64 + 16 + 3000);
    fs::write(&files[0], &whole).unwrap();
    flip(&files[1], 30);
    expect_damage(dir.path(), &files[1], 0);
    flip(&files[1], 30);
    assert_eq!(Log::open(dir.path()).unwrap().replayed.len(), 3);
}

#[test]
fn an_earlier_segment_without_its_end_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), &[&[1; 3000], &[2; 3000]]);
    let first = segments(dir.path())[0].clone();
    let mut data = fs::read(&first).unwrap();
    data[64 + 3016..].fill(0);
    fs::write(&first, &data).unwrap();
    expect_damage(dir.path(), &first, 64 + 3016);
    fs::write(&first, &data[..2000]).unwrap();
    expect_damage(dir.path(), &first, 64);
}

#[test]
fn a_missing_segment_stops_the_start_whether_in_the_middle_or_last() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), &[&[1; 3000], &[2; 3000], &[3; 3000]]);
    let files = segments(dir.path());
    let spare = tempfile::tempdir().unwrap();
    for gone in [&files[1..2], &files[2..]] {
        for file in gone {
            fs::rename(file, spare.path().join(file.file_name().unwrap())).unwrap();
        }
        match Log::open(dir.path()).map(|log| log.replayed) {
            Err(WalError::MissingSegment { expected, .. }) => assert_eq!(expected, gone[0]),
            other => panic!("expected a missing segment, got {other:?}"),
        }
        for file in gone {
            fs::rename(spare.path().join(file.file_name().unwrap()), file).unwrap();
        }
    }
    assert_eq!(Log::open(dir.path()).unwrap().replayed.len(), 3);
}

#[test]
fn a_log_of_another_server_or_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), &[b"record"]);
    let other = WalOptions { segment_bytes: 4096, ..WalOptions::new(IDENTITY + 1) };
    assert!(matches!(Log::open_with(dir.path(), other), Err(WalError::Foreign { .. })));
    let file = segments(dir.path())[0].clone();
    let mut data = fs::read(&file).unwrap();
    data[8] = 2;
    fs::write(&file, data).unwrap();
    let refused = Log::open(dir.path()).err().unwrap();
    assert!(matches!(refused, WalError::NewerFormat { found: 2, .. }), "{refused}");
}

#[test]
fn a_refused_record_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), &[b"good", b"bad"]);
    let refuse = |record: Record| match record.payload.as_ref() {
        b"bad" => Err("no such command".into()),
        _ => Ok(()),
    };
    let error = recover::replay(dir.path(), IDENTITY, refuse).unwrap_err().to_string();
    assert!(error.contains("at offset 88") && error.contains("no such command"), "{error}");
}

#[test]
fn a_segment_left_in_preparation_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("wal.next.tmp"), b"half").unwrap();
    write_log(dir.path(), &[b"record"]);
    assert!(!dir.path().join("wal.next.tmp").exists());
    assert_eq!(Log::open(dir.path()).unwrap().payloads(), [b"record"]);
}
