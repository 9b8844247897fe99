//! The measured load: threads with many sessions each, all kept busy through one time window.
//! It prepares no znodes and prints nothing.
//! Called by `bench::run`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::task::{JoinSet, LocalSet};

use super::plan::{Op, Shape};
use super::process::{cpu_time, resident, sum};
use super::session::{SessionLoad, open_and_close, open_new, run as run_session};
use super::stats::{Stats, Window};
use crate::client::connection::Connection;

/// Handshakes at once while the sessions open.
const OPENING: usize = 32;

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) shape: Shape,
    pub(super) hosts: Vec<String>,
    pub(super) sessions: usize,
    pub(super) outstanding: usize,
    pub(super) threads: usize,
    /// Requests a second of all sessions together; `None`: as many as are answered.
    pub(super) rate: Option<u32>,
    /// Every answer is kept.
    pub(super) samples: bool,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
    /// Processes whose CPU and memory are measured; several make one figure.
    pub(super) servers: Vec<u32>,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) stats: Stats,
    pub(super) client_cpu: Duration,
    pub(super) server_cpu: Option<Duration>,
    pub(super) server_resident: Option<u64>,
}

/// Where the threads wait for each other.
struct Gate {
    /// All sessions are open, or somebody failed.
    ready: Barrier,
    window: OnceLock<Window>,
    go: Barrier,
}

/// Runs the load. It fails where nothing was answered at all: that is no measurement.
pub(super) fn run(load: &Load) -> anyhow::Result<Measured> {
    let gate = Arc::new(Gate {
        ready: Barrier::new(load.threads + 1),
        window: OnceLock::new(),
        go: Barrier::new(load.threads + 1),
    });
    let load = Arc::new(load.clone());
    let threads: Vec<_> = (0..load.threads)
        .map(|number| {
            let (load, gate) = (Arc::clone(&load), Arc::clone(&gate));
            thread::spawn(move || run_thread(&load, number, &gate))
        })
        .collect();
    gate.ready.wait();
    let start = Instant::now() + load.warmup;
    let _ = gate.window.set(Window { start, end: start + load.duration });
    gate.go.wait();
    let sampled = sample(&load, start);
    let mut stats = Stats::new();
    for thread in threads {
        let result = thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?;
        stats.merge(&result?);
    }
    let (client_cpu, server_cpu, server_resident) = sampled?;
    if stats.operations() == 0 && stats.errors.is_empty() {
        let (hosts, lost) = (load.hosts.join(","), stats.lost);
        return Err(anyhow!(
            "{hosts} answered nothing in the measured time ({lost} requests lost)"
        ));
    }
    Ok(Measured { stats, client_cpu, server_cpu, server_resident })
}

type Sample = (Duration, Option<Duration>, Option<u64>);

/// CPU time within the window, and the server's memory at its end.
fn sample(load: &Load, start: Instant) -> anyhow::Result<Sample> {
    let client = std::process::id();
    let server_time = || sum(&load.servers, cpu_time);
    thread::sleep(start.saturating_duration_since(Instant::now()));
    let (client_before, server_before) = (cpu_time(client)?, server_time()?);
    thread::sleep((start + load.duration).saturating_duration_since(Instant::now()));
    let (client_after, server_after) = (cpu_time(client)?, server_time()?);
    let server_cpu = server_after.zip(server_before).map(|(after, before)| after - before);
    let server_resident = sum(&load.servers, resident)?;
    Ok((client_after - client_before, server_cpu, server_resident))
}

fn run_thread(load: &Arc<Load>, number: usize, gate: &Gate) -> anyhow::Result<Stats> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let opened = match &runtime {
        Ok(runtime) => runtime.block_on(open_sessions(load, number)),
        Err(error) => Err(anyhow!("cannot start a runtime: {error}")),
    };
    // Everybody passes both gates, also those that failed: nobody waits for ever.
    gate.ready.wait();
    gate.go.wait();
    let (runtime, sessions) = (runtime?, opened?);
    let window = *gate.window.get().context("the window is not set")?;
    let stats = Rc::new(RefCell::new(Stats::new()));
    let tasks = LocalSet::new();
    for (session, connection) in sessions {
        let source = SessionLoad::new(load, session, Rc::clone(&stats), window);
        let load = Arc::clone(load);
        match connection {
            Some(connection) => tasks.spawn_local(run_session(load, connection, source)),
            None => tasks.spawn_local(open_and_close(load, source)),
        };
    }
    runtime.block_on(tasks);
    Ok(Rc::try_unwrap(stats).map_err(|_| anyhow!("a session still runs"))?.into_inner())
}

type Opened = (usize, Option<Connection>);

/// Opens this thread's sessions. A load of sessions opens its own.
async fn open_sessions(load: &Arc<Load>, thread: usize) -> anyhow::Result<Vec<Opened>> {
    let mine = (thread..load.sessions).step_by(load.threads);
    if load.shape.op == Op::Session {
        return Ok(mine.map(|session| (session, None)).collect());
    }
    let (mut opened, mut opening) = (Vec::new(), JoinSet::new());
    for session in mine {
        if opening.len() >= OPENING {
            opened.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        let load = Arc::clone(load);
        opening.spawn(async move {
            let host = &load.hosts[session % load.hosts.len()];
            let connection = open_new(host, load.timeout).await;
            let connection = connection.with_context(|| format!("cannot connect to {host}"))?;
            anyhow::Ok((session, Some(connection)))
        });
    }
    while let Some(one) = opening.join_next().await {
        opened.push(one??);
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_at_all_is_an_error() {
        let shape = Shape {
            op: Op::Session,
            size: 1,
            roots: 1,
            per_root: 1,
            write_percent: 0,
            multi_percent: 0,
            cross: false,
        };
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound");
        drop(taken);
        let load = Load {
            shape,
            hosts: vec![address.to_string()],
            sessions: 2,
            outstanding: 1,
            threads: 1,
            rate: None,
            samples: false,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(50),
            timeout: Duration::from_secs(1),
            servers: Vec::new(),
        };
        let error = run(&load).expect_err("nobody listens").to_string();
        assert!(error.starts_with(&load.hosts[0]) && error.contains("answered nothing"), "{error}");
    }
}
