//! Fuzzers of everything that is read from a disk: a segment of the log, a snapshot of a partition.
//! No bytes may make the readers panic, and what they accept they must write and read back alike.
//! Called by the fuzz targets and by `tests/fuzzers.rs` of the server crate.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::zk::{Acl, Id, perms};
use volery_server::core::executor::{Partition, SnapshotError};
use volery_server::core::oracle::PartitionMap;
use volery_server::core::tree::{Loader, Tree};
use volery_server::core::types::{Change, Moment, Part};
use volery_server::storage::wal::recover::scan_bytes;
use volery_server::storage::wal::{HEADER_BYTES, SegmentEnd, Wal, WalOptions};

/// A segment of the log.
pub fn log(data: &[u8]) {
    let Ok(report) = scan_bytes(data) else { return };
    assert!(report.payload_bytes <= data.len() as u64);
    let end = match report.end {
        SegmentEnd::Open { end } => end,
        SegmentEnd::Sealed { .. } => return,
        SegmentEnd::Torn { at, .. } | SegmentEnd::Damaged { at, .. } => at,
    };
    assert!((HEADER_BYTES..=data.len()).contains(&end));
    // What recovery would leave of it: the same records, and a proper end.
    let mut cut = data.to_vec();
    cut[end..].fill(0);
    let again = scan_bytes(&cut).expect("the header is the same");
    assert_eq!((again.records, again.end), (report.records, SegmentEnd::Open { end }));
}

/// Segments with one and with several writes, as inputs of [`log`].
///
/// # Panics
/// There is no room for temporary files.
#[must_use]
pub fn log_seeds() -> Vec<Vec<u8>> {
    let records: [&[u8]; 4] = [b"", b"record", &[7; 600], &[0; 1100]];
    let segments = (1..=records.len()).map(|count| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = WalOptions { segment_bytes: 4096, ..WalOptions::new(1) };
        let (log, _) = Wal::open(dir.path(), options, |_| Ok(()), Box::new(|_, _| {}))
            .expect("an empty log opens");
        for (token, record) in records[..count].iter().enumerate() {
            log.append(vec![Bytes::from_static(record)], token as u64).expect("it is open");
        }
        log.close();
        let files = std::fs::read_dir(dir.path()).expect("the log's directory");
        let contents = files.map(|file| std::fs::read(file.expect("a file").path()));
        let contents = contents.map(|content| content.expect("a readable file"));
        let is_used = |content: &Vec<u8>| scan_bytes(content).is_ok_and(|r| r.records > 0);
        // Before the directory goes.
        contents.filter(is_used).collect::<Vec<_>>()
    });
    segments.flatten().collect()
}

/// A tree's snapshot alone, or, after an odd first byte, a partition's: the length of its head in
/// two bytes, head, tree.
pub fn snapshot(data: &[u8]) {
    match data.split_first() {
        Some((kind, rest)) if kind % 2 == 1 => partition(rest),
        Some((_, rest)) => tree(rest),
        None => {}
    }
}

fn tree(data: &[u8]) {
    let mut loader = Loader::new(1);
    let taken = loader.chunk(data);
    let loaded = loader.finish();
    assert!(taken.is_ok() || loaded.is_err());
    let Ok(mut tree) = loaded else { return };
    let mut loader = Loader::new(2);
    tree.begin_snapshot();
    loop {
        let mut slice = Vec::new();
        let last = tree.snapshot_slice(3, &mut slice);
        loader.chunk(&slice).expect("its own chunk");
        if last {
            break;
        }
    }
    let again = loader.finish().expect("its own snapshot");
    assert_eq!((again.digest(), again.node_count()), (tree.digest(), tree.node_count()));
    assert_eq!(again.data_size(), tree.data_size());
}

const PARTITION: PartitionId = PartitionId(1);

fn load(chunks: Vec<Bytes>) -> Result<Partition, SnapshotError> {
    let map = Arc::new(PartitionMap::new(1, 2, &["/a/*".to_owned()], &[]));
    let mut chunks = chunks.into_iter();
    Partition::load(PARTITION, map, 3, || Ok(chunks.next()))
}

fn partition(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((head, tree)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else {
        return;
    };
    let chunks = [head, tree].map(Bytes::copy_from_slice).to_vec();
    let Ok(mut partition) = load(chunks) else { return };
    let again = load(chunks_of(&mut partition)).expect("its own snapshot");
    assert_eq!(again.digest(), partition.digest());
}

fn chunks_of(partition: &mut Partition) -> Vec<Bytes> {
    let mut chunks = partition.begin_snapshot();
    loop {
        let mut slice = Vec::new();
        let last = partition.snapshot_slice(10, &mut slice);
        chunks.push(slice.into());
        if last {
            return chunks;
        }
    }
}

/// Trees and partitions, empty and with all kinds of nodes, as inputs of [`snapshot`].
///
/// # Panics
/// The tree refuses what it should take.
#[must_use]
pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let map = Arc::new(PartitionMap::new(1, 2, &[], &[]));
    let chunks = chunks_of(&mut Partition::new(PARTITION, map, 3));
    let head = chunks[0].len() as u16;
    let partition = [&[1][..], &head.to_le_bytes(), &chunks.concat()].concat();
    let trees = [Tree::new(true, 1), Tree::new(false, 1), planted(true), planted(false)];
    let trees = trees.map(|mut tree| {
        let mut bytes = vec![0];
        tree.begin_snapshot();
        while !tree.snapshot_slice(usize::MAX, &mut bytes) {}
        bytes
    });
    trees.into_iter().chain([partition]).collect()
}

/// A tree with owned nodes, entries and connectors, owners, data and ACLs.
fn planted(owns_root: bool) -> Tree {
    let mut tree = Tree::fresh(owns_root, 1).expect("a fresh tree");
    let acl = |id: &str| -> Arc<[Acl]> {
        Arc::from([Acl { perms: perms::ALL, id: Id { scheme: "digest".into(), id: id.into() } }])
    };
    let node = Part { node: true, entry: false };
    let whole = if owns_root { Part::WHOLE } else { node };
    let entry = Part { node: false, entry: true };
    let nodes = [("/a", 0, whole), ("/a/eph", 77, Part::WHOLE), ("/a/ttl", TTL, Part::WHOLE)];
    let below = [("/a/far", 0, entry), ("/a/far/x", 0, node)];
    let border = owns_root.then_some(("/b", 0, entry));
    let nodes = nodes.into_iter().chain(below).chain(border).chain([("/b/c/d", 0, node)]);
    for (number, (path, owner, part)) in nodes.enumerate() {
        let at = Moment { zxid: Zxid(number as u64 + 5), time_ms: 1_700_000_000_000 };
        let data = (number % 2 == 0).then(|| Bytes::from(path));
        let change = Change::Create { path: path.into(), data, acl: acl(path), owner };
        tree.apply(&change, part, at).expect(path);
    }
    let at = Moment { zxid: Zxid(99), time_ms: 1_700_000_000_001 };
    let set = Change::SetData { path: "/a".into(), data: Some(Bytes::new()) };
    tree.apply(&set, node, at).expect("/a is there");
    tree
}

/// The raw owner of a znode that lives for a second.
const TTL: i64 = 0xff00_0000_0000_03e8_u64 as i64;
