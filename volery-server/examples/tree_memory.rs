//! What a big tree costs: memory per znode (the growth of the process), time per operation,
//! snapshot and load.
//!
//! `cargo run --release --example tree_memory [znodes] [directories] [raw owner]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::ids::Zxid;
use volery_proto::zk::{Acl, Id, perms};
use volery_server::core::tree::{Loader, Tree};
use volery_server::core::types::{Change, Moment, Part};

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn argument(position: usize, default: usize) -> usize {
    std::env::args().nth(position).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn at(zxid: usize) -> Moment {
    Moment { zxid: Zxid(zxid as u64), time_ms: 1_700_000_000_000 + zxid as i64 }
}

/// 30-character names, spread over the directories.
fn path_of(i: usize, directories: usize) -> ByteString {
    format!("/d{}/a-name-of-30-char-{i:011}", i % directories).into()
}

struct Bench {
    znodes: usize,
    directories: usize,
}

impl Bench {
    fn report(&self, what: &str, took: Duration, longest: Duration) {
        let each = took.as_nanos() as f64 / self.znodes as f64;
        println!("{what:<10} {each:>8.0} ns each, the longest {longest:?}");
    }

    /// Runs `step` for every znode in an order that no cache likes.
    fn each(&self, what: &str, mut step: impl FnMut(usize, ByteString) -> Duration) {
        let (mut took, mut longest) = (Duration::ZERO, Duration::ZERO);
        for i in 0..self.znodes {
            let i = (i as u64 * 7_368_787 % self.znodes as u64) as usize;
            let one = step(i, path_of(i, self.directories));
            took += one;
            longest = longest.max(one);
        }
        self.report(what, took, longest);
    }
}

fn apply(tree: &mut Tree, change: &Change, zxid: usize) -> Duration {
    let start = Instant::now();
    if let Err(error) = tree.apply(change, Part::WHOLE, at(zxid)) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    start.elapsed()
}

fn main() {
    let znodes = argument(1, 1_000_000).clamp(1, 20_000_000);
    let directories = argument(2, 1).clamp(1, znodes);
    let owner = argument(3, 0) as i64;
    let bench = Bench { znodes, directories };
    println!("{znodes} znodes in {directories} directories, names of 30 and data of 100 bytes");

    let id = Id { scheme: "world".into(), id: "anyone".into() };
    let acl: Arc<[Acl]> = Arc::new([Acl { perms: perms::ALL, id }]);
    let data = Some(Bytes::from(vec![7; 100]));
    let before = resident();
    let mut tree = Tree::new(true, 42);
    for i in 0..directories {
        let path = format!("/d{i}").into();
        apply(&mut tree, &Change::Create { path, data: None, acl: acl.clone(), owner: 0 }, i);
    }
    let (mut took, mut longest) = (Duration::ZERO, Duration::ZERO);
    for i in 0..znodes {
        let path = path_of(i, directories);
        let change = Change::Create { path, data: data.clone(), acl: acl.clone(), owner };
        let one = apply(&mut tree, &change, i);
        took += one;
        longest = longest.max(one);
    }
    let each = resident().saturating_sub(before) as f64 / (znodes + directories) as f64;
    println!("memory     {each:>8.1} B a znode");
    bench.report("create", took, longest);
    bench.each("get", |_, path| {
        let start = Instant::now();
        let found = tree
            .get(&path)
            .map(|node| node.stat().czxid + node.data().map_or(0, |d| d.len() as i64));
        std::hint::black_box(found);
        start.elapsed()
    });
    bench.each("setData", |i, path| {
        let data = Some(Bytes::from(vec![8; 100]));
        apply(&mut tree, &Change::SetData { path, data }, znodes + i)
    });
    snapshot(&mut tree);
    bench.each("delete", |i, path| apply(&mut tree, &Change::Delete { path }, 2 * znodes + i));
}

fn snapshot(tree: &mut Tree) {
    let start = Instant::now();
    let digest = tree.digest();
    println!("digest     {:>8.0?}", start.elapsed());
    let start = Instant::now();
    tree.begin_snapshot();
    println!("begin      {:>8.0?}", start.elapsed());
    let (mut chunks, mut longest) = (Vec::new(), Duration::ZERO);
    loop {
        let one = Instant::now();
        let mut chunk = Vec::with_capacity(1 << 20);
        let done = tree.snapshot_slice(1000, &mut chunk);
        longest = longest.max(one.elapsed());
        chunks.push(chunk);
        if done {
            break;
        }
    }
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    let took = start.elapsed();
    println!("snapshot   {took:>8.0?}, {bytes} B, the longest slice {longest:?}");
    let before = resident();
    let start = Instant::now();
    let mut loader = Loader::new(43);
    let taken = chunks.iter().try_for_each(|chunk| loader.chunk(chunk));
    let loaded = taken.and_then(|()| loader.finish());
    let took = start.elapsed();
    match loaded {
        Ok(loaded) if loaded.digest() == digest => {
            let each = resident().saturating_sub(before) as f64 / loaded.node_count() as f64;
            println!("load       {took:>8.0?}, {each:.1} B a znode");
        }
        Ok(_) => println!("load       another tree came out"),
        Err(error) => println!("load       {error}"),
    }
}
