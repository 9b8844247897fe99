//! `volery bench`: the load generator behind every figure, against Volery and ZooKeeper alike.
//! It uses the raw protocol, so that its own CPU per operation stays far below the server's.
//! Called by `main`.

mod fill;
mod load;
mod plan;
mod process;
mod pump;
mod report;
mod samples;
mod session;
mod stats;
mod template;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use volery_proto::zk::ErrorCode;

use crate::args::duration;
use crate::client::walk::delete_all;
use crate::client::{Client, ClientOptions};
use crate::output::{Output, Usage};
use load::Load;
use plan::{Op, Shape, root_path};

/// Generate load and measure it, or fill the service with znodes.
#[derive(Args, Debug)]
#[command(after_help = "\
It works below /bench-0, /bench-1, ... and prepares its znodes itself. Latency is from the moment a
request is handed to the socket to its reply, so with many outstanding requests it holds their
queueing. Sessions are spread over the hosts of --server; where a connection breaks, the session
goes on at the next of them. CPU figures cover the measured window.

Examples:
  volery bench --op set
  volery bench --op mixed --write-percent 10 --sessions 64 --outstanding 16 --size 1024
  volery --json bench --op get --duration 30s --server-pid 4711
  volery bench --op multi2 --roots 4
  volery bench --op set --roots 4 --multi-percent 10
  volery -s zk1:2181,zk2:2181 bench --op set --rate 1000 --samples answers.csv
  volery bench --fill 1000000 --roots 8 --dirs 100
  volery bench --cleanup")]
pub(crate) struct Arguments {
    /// The operation; without it and without --cleanup: set.
    #[arg(long, value_enum)]
    op: Option<Op>,
    /// Sessions, each with a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: u32,
    /// Requests that each session keeps on the way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    outstanding: u32,
    /// Bytes of data.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// How long to measure.
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long to run before that.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Prepared znodes, spread over the roots.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    paths: u32,
    /// Top-level directories /bench-0, /bench-1, ...; each session chooses one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    roots: u32,
    /// Every session uses all roots.
    #[arg(long)]
    cross: bool,
    /// Share of setData in --op mixed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    write_percent: u32,
    /// Share of multis of two setData in two roots in --op set.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    multi_percent: u32,
    /// Requests a second of all sessions together, instead of as many as are answered. Latency is
    /// then from the moment a request is due.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Write every answer of the measured time to this file, as lines of CSV.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Process of the server on this machine: its CPU per operation and memory are measured too.
    /// The processes of a cluster, separated by commas, are added up.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// No load: create this many znodes with names of 30 characters.
    #[arg(long, value_name = "ZNODES",
        value_parser = clap::value_parser!(u32).range(1..=99_999_999))]
    fill: Option<u32>,
    /// Directories of each root for --fill.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    dirs: u32,
    /// Delete /bench-*: after the load, or at once where neither --op nor --fill is given.
    #[arg(long)]
    cleanup: bool,
}

/// Runs what the arguments ask for.
pub(crate) fn run(a: &Arguments, options: &ClientOptions, output: &Output) -> anyhow::Result<()> {
    let op = a.op.unwrap_or(Op::Set);
    if (op == Op::Multi2 || a.multi_percent > 0) && a.roots < 2 {
        return Err(Usage("multis over two roots need --roots 2 or more".into()).into());
    }
    if a.multi_percent > 0 && op != Op::Set {
        return Err(Usage("--multi-percent goes with --op set".into()).into());
    }
    if !options.servers.chroot.is_empty() {
        return Err(Usage("bench works without a chroot".into()).into());
    }
    let load = plan_load(a, op, options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (a.fill, a.cleanup && a.op.is_none()) {
        (Some(count), _) => runtime.block_on(run_fill(a, &load, count, output))?,
        (None, true) => {}
        (None, false) => {
            let nodes = !matches!(op, Op::Create | Op::CreateDelete | Op::Session);
            if op != Op::Session {
                output.note(format_args!("preparing {} znodes", if nodes { a.paths } else { 0 }));
                runtime.block_on(fill::prepare(&load, nodes))?;
            }
            output.note(format_args!(
                "{:?}: {} sessions, {} outstanding each; warm-up {}, then {}",
                op,
                a.sessions,
                a.outstanding,
                humantime::format_duration(a.warmup),
                humantime::format_duration(a.duration)
            ));
            let measured = load::run(&load)?;
            if let Some(path) = &a.samples {
                let written = samples::write(path, &measured.stats.samples);
                written.with_context(|| format!("cannot write {}", path.display()))?;
            }
            report::print(&load, &measured, output)?;
            output.flush()?;
        }
    }
    if a.cleanup {
        runtime.block_on(clean_up(options, output))?;
    }
    Ok(())
}

fn plan_load(a: &Arguments, op: Op, options: &ClientOptions) -> Load {
    Load {
        shape: Shape {
            op,
            size: a.size,
            roots: a.roots as usize,
            per_root: a.paths.div_ceil(a.roots),
            write_percent: a.write_percent,
            multi_percent: a.multi_percent,
            cross: a.cross,
        },
        hosts: options.servers.hosts.clone(),
        sessions: a.sessions as usize,
        outstanding: a.outstanding as usize,
        threads: a.threads.min(a.sessions) as usize,
        rate: a.rate,
        samples: a.samples.is_some(),
        warmup: a.warmup,
        duration: a.duration,
        timeout: options.timeout,
        servers: a.server_pid.clone(),
    }
}

async fn run_fill(a: &Arguments, load: &Load, count: u32, output: &Output) -> anyhow::Result<()> {
    let resident = || process::sum(&a.server_pid, process::resident);
    let before = resident()?;
    output.note(format_args!(
        "creating {count} znodes of {} bytes under {} roots with {} directories each",
        a.size, a.roots, a.dirs
    ));
    fill::prepare(load, false).await?;
    let begun = Instant::now();
    let there_before = fill::fill(load, count, a.dirs as usize).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let rate = f64::from(count) / seconds;
    let after = resident()?;
    if output.json {
        output.document(&json!({
            "fill": count,
            "existedBefore": there_before,
            "seconds": seconds,
            "createsPerSecond": rate.round(),
            "serverResidentBytesBefore": before,
            "serverResidentBytes": after,
        }))?;
        return Ok(());
    }
    output.line(format_args!("{count} znodes in {seconds:.1} s: {rate:.0} a second"))?;
    if there_before > 0 {
        output.note(format_args!("{there_before} of them were there before"));
    }
    if let (Some(before), Some(after)) = (before, after) {
        let per_node = after.saturating_sub(before) / u64::from(count);
        output.line(format_args!(
            "server memory {} MiB, before {} MiB: {per_node} bytes a znode",
            after >> 20,
            before >> 20
        ))?;
    }
    Ok(())
}

/// Deletes every /bench-N, whatever the number of roots was.
async fn clean_up(options: &ClientOptions, output: &Output) -> anyhow::Result<()> {
    let (client, events) = Client::connect(options.clone()).await?;
    drop(events);
    for name in client.children("/").await?.children {
        let number = name.strip_prefix("bench-").and_then(|n| n.parse::<usize>().ok());
        let Some(number) = number else { continue };
        let path = root_path(number);
        output.note(format_args!("deleting {path}"));
        let report = |done, of| output.progress(|| format!("{done} of {of} znodes deleted"));
        match delete_all(&client, &path, report).await {
            Err(error) if error.code() != Some(ErrorCode::NoNode) => return Err(error.into()),
            _ => {}
        }
    }
    client.close().await?;
    Ok(())
}
