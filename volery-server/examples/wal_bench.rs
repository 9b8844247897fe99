//! Measures the log: durable appends of 256 bytes a second, with 1, 16 and 64 of them in flight.
//! It never touches a server's data: it works in a temporary directory, below the one given.
//! Run by hand: `cargo run --release -p volery-server --example wal_bench [DIRECTORY]`

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use volery_server::storage::wal::{Wal, WalOptions, WalStats, recover};

const IDENTITY: u64 = 1;
const RECORD_BYTES: usize = 256;
const DURATION: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Figures {
    appends_per_s: f64,
    p50: Duration,
    p99: Duration,
    max: Duration,
    stats: WalStats,
}

fn main() -> Outcome<()> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("wal-bench-{}", std::process::id()));
    println!("in flight  appends/s  p50 ms  p99 ms  max ms  appends/sync  segments  recovery");
    for in_flight in [1, 16, 64] {
        let outcome = measure(&dir, in_flight);
        let recovery = measure_recovery(&dir);
        std::fs::remove_dir_all(&dir)?;
        let (recovered_records, recovered_in) = recovery?;
        let Figures { appends_per_s, p50, p99, max, stats } = outcome?;
        let per_sync = appends_per_s * DURATION.as_secs_f64() / stats.syncs as f64;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{in_flight:9}  {appends_per_s:9.0}  {:6.3}  {:6.3}  {:6.2}  {per_sync:12.1}  {:8}  \
             {recovered_records} records in {:.0} ms",
            ms(p50),
            ms(p99),
            ms(max),
            stats.segments,
            ms(recovered_in)
        );
    }
    Ok(())
}

/// Reads the log back, as a start does.
fn measure_recovery(dir: &Path) -> Outcome<(u64, Duration)> {
    let begin = Instant::now();
    let recovered = recover::replay(dir, IDENTITY, |_| Ok(()))?;
    Ok((recovered.records, begin.elapsed()))
}

/// As many writers as are in flight: each appends its next record when its last one is durable.
fn measure(dir: &Path, in_flight: u64) -> Outcome<Figures> {
    let (report, durable) = channel();
    let on_durable = move |token, _lsn| {
        // The receiver goes when the time is up.
        let _ = report.send(token);
    };
    let (wal, _) = Wal::open(dir, WalOptions::new(IDENTITY), |_| Ok(()), Box::new(on_durable))?;
    let record = Bytes::from(vec![0xA5; RECORD_BYTES]);
    let mut started = Vec::new();
    let mut latencies = Vec::new();
    let begin = Instant::now();
    let mut done = 0;
    while begin.elapsed() < DURATION {
        while (started.len() as u64) < done + in_flight {
            started.push(Instant::now());
            wal.append(vec![record.clone()], started.len() as u64)?;
        }
        let token: u64 = durable.recv()?;
        latencies.extend((done..token).map(|index| started[index as usize].elapsed()));
        done = token;
    }
    let took = begin.elapsed();
    wal.close();
    latencies.sort_unstable();
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Ok(Figures {
        appends_per_s: latencies.len() as f64 / took.as_secs_f64(),
        p50: quantile(0.5),
        p99: quantile(0.99),
        max: quantile(1.0),
        stats: wal.stats(),
    })
}
