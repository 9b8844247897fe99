//! The node: builds the rooms out of the configuration, lets them run, and ends them in order.
//! It alone knows all rooms. Called by `main`.

mod clock;
mod door;
mod drive;
mod log_read;
mod measure;
mod peers;
mod queue;
mod recover;
mod start;
mod status;
mod transfer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use volery_proto::ids::PartitionId;

use crate::client_port::{Limits, Listener, ListenerOptions, PortCounts};
use crate::config::Config;
use crate::core::executor::Partition;
use crate::peer_port::{PeerHandle, PeerPort};
use crate::storage::meta::DataDir;
use crate::telemetry::{Endpoint, Metrics};
use clock::Clock;
use door::Door;
use drive::{DriveError, Event, Peering};
use log_read::LogReading;
use peers::PeerDoor;
use queue::Queue;
use start::Shared;
use transfer::{Job, Pace, Part, Receiving, Sending, Tell};

/// How long a client may take for its handshake, as ZooKeeper's sessionless connections.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long clients wait in the backlog of a server that does not serve yet. A server alone is
/// ready sooner; one that waits for others lets its clients go on to them, and answers words.
const SERVICE_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that may wait for one client's socket before its requests wait too.
const MAX_UNSENT: usize = 8 << 20;
/// Events that may wait for one client before it is closed.
const MAX_EVENTS: usize = 1 << 20;

/// What listens.
struct Ports {
    clients: Listener,
    metrics: Option<Endpoint>,
    peers: Option<PeerPort>,
}

/// The process is to start anew, as after a crash: another server's snapshots are on its disk.
#[derive(Debug, thiserror::Error)]
#[error("this server was too far behind and starts anew from another one's snapshots")]
pub struct StartAnew;

/// Runs a server until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot start, or an invariant broke.
pub fn run(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let shared = Shared {
        clock: Clock::new(),
        queue: Arc::new(Queue::new()),
        metrics: Arc::new(Metrics::new().context("cannot set the metrics up")?),
        counts: Arc::new(PortCounts::default()),
    };
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| anyhow!("no random bytes: {error}"))?;
    let nonce = u64::from_le_bytes(nonce);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("client-port")
        .max_blocking_threads(4)
        .build()
        .context("cannot start the runtime")?;
    // The ports first: a second server on them must not touch the data.
    let ports = runtime.block_on(async {
        anyhow::Ok(Ports {
            clients: listen(&config)?,
            metrics: Endpoint::bind(&config.metrics).await?,
            peers: peers::bind(&config, nonce)?,
        })
    })?;
    let port = ports.peers.as_ref().map(PeerPort::handle);
    let ((parts, received), (jobs, asked)) = (mpsc::channel(), mpsc::channel());
    let (log, wanted) = mpsc::channel();
    let peering = port.clone().map(|port| Peering { port, jobs: jobs.clone(), log });
    let (drive, dir) = start::start(&config, &shared, peering)?;
    if let Some(port) = port {
        let held = drive.server.partitions().iter().map(Partition::id).collect();
        let work = Work { received, asked, wanted, held };
        transfers(&config, &shared, &dir, &port, work)?;
    }
    let (ended, end) = oneshot::channel();
    let driver = std::thread::Builder::new()
        .name("drive".to_owned())
        .spawn(move || {
            // The receiver waits for this to the end.
            let _ = ended.send(drive.run());
        })
        .context("cannot start the drive thread")?;
    let result = runtime.block_on(serve(&config, ports, &shared, (parts, jobs), end));
    runtime.shutdown_timeout(Duration::from_secs(1));
    driver.join().map_err(|_| anyhow!("the drive thread panicked"))?;
    result
}

/// What comes to the threads that help servers to catch up.
struct Work {
    received: mpsc::Receiver<Part>,
    asked: mpsc::Receiver<Job>,
    wanted: mpsc::Receiver<log_read::Job>,
    /// The partitions that are here.
    held: BTreeSet<PartitionId>,
}

/// Starts the threads that receive and send snapshots, and read the log for others.
fn transfers(
    config: &Config,
    shared: &Shared,
    dir: &DataDir,
    port: &PeerHandle,
    Work { received, asked, wanted, held }: Work,
) -> anyhow::Result<()> {
    let clock = shared.clock;
    let tell = || -> Tell {
        let queue = shared.queue.clone();
        Box::new(move |event| queue.push(Event::Transfer(event)))
    };
    let snapshots = dir.snapshot_dir();
    let receiving = Receiving::new(snapshots.clone(), held, peers::bulk(port), tell(), clock);
    let pace = Arc::new(Pace::new(config.transfer_bytes_per_second, clock));
    let sending = Sending::new(snapshots, peers::bulk(port), tell(), pace.clone(), clock);
    let queue = shared.queue.clone();
    let tell: log_read::Tell = Box::new(move |found| queue.push(Event::LogRead(found)));
    let identity = dir.identity().log_identity();
    let reading = LogReading::new(dir.wal_dir(), identity, pace, tell, clock);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("snapshot-receive")
        .spawn(move || receiving.run(&received))
        .and_then(|_| thread("snapshot-send").spawn(move || sending.run(&asked)))
        .and_then(|_| thread("log-read").spawn(move || reading.run(&wanted)))
        .context("cannot start the threads that help other servers to catch up")?;
    Ok(())
}

fn listen(config: &Config) -> anyhow::Result<Listener> {
    let port = config.client.port;
    let address = match &config.client.address {
        None => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        Some(host) => (host.as_str(), port)
            .to_socket_addrs()
            .with_context(|| format!("clientPortAddress: cannot resolve {host}"))?
            .next()
            .ok_or_else(|| anyhow!("clientPortAddress: {host} has no address"))?,
    };
    let mut options = ListenerOptions {
        address,
        backlog: config.client.listen_backlog.unwrap_or(1024),
        max_per_address: config.client.max_per_address,
        max_connections: config.client.max_connections,
        max_outstanding: config.global_outstanding_limit,
        keep_alive: config.client.keep_alive,
        limits: Limits { max_frame: config.max_frame_bytes, handshake: HANDSHAKE_TIMEOUT },
    };
    match Listener::bind(options.clone()) {
        // A machine without IPv6.
        Err(_) if config.client.address.is_none() && !has_ipv6() => {
            options.address = SocketAddr::from(([0, 0, 0, 0], port));
            Ok(Listener::bind(options)?)
        }
        bound => Ok(bound?),
    }
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// How the drive thread ended, if it did.
type End = oneshot::Receiver<Result<(), DriveError>>;

/// Serves clients until a signal, or until the drive thread ends.
async fn serve(
    config: &Arc<Config>,
    ports: Ports,
    shared: &Shared,
    (parts, jobs): (mpsc::Sender<Part>, mpsc::Sender<Job>),
    mut end: End,
) -> anyhow::Result<()> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let door = Arc::new(Door::new(config.clone(), shared));
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let metrics = shared.metrics.clone();
    let upkeep = stop.clone();
    tasks.spawn(async move { metrics.upkeep(upkeep).await });
    if let Some(endpoint) = ports.metrics {
        tracing::info!(address = %endpoint.local_addr()?, "metrics at /metrics");
        tasks.spawn(endpoint.serve(door.clone(), stop.clone()));
    }
    if let Some(port) = ports.peers {
        let address = port.local_addr()?;
        tracing::info!(%address, server = config.server_id.0, "listening for other servers");
        let door = PeerDoor { queue: shared.queue.clone(), parts, jobs };
        tasks.spawn(port.run(Arc::new(door), stop.clone(), tasks.clone()));
    }
    let address = ports.clients.local_addr()?;
    let (tell, mut serving) = oneshot::channel();
    shared.queue.push(Event::WhenServing(tell));
    let partitions = config.map.partitions;
    let clients = ports.clients.run(door, stop.clone(), tasks.clone());
    let accepting = tasks.clone();
    let announce = async move {
        // Until then clients wait in the backlog: accepted earlier, they would be turned away.
        let soon = tokio::time::timeout(SERVICE_PATIENCE, &mut serving).await;
        accepting.spawn(clients);
        let told = match soon {
            Ok(told) => told,
            Err(_) => {
                tracing::info!("not serving yet; four-letter words are answered");
                serving.await
            }
        };
        if told.is_ok() {
            let took_ms = shared.clock.elapsed().as_millis() as u64;
            tracing::info!(%address, partitions, took_ms, "serving clients");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = announce => {}
        name = first(&mut signals) => tracing::info!("{name}: stopping"),
        result = &mut end => {
            match result.map_err(|_| anyhow!("the drive thread panicked"))? {
                Err(DriveError::Restart) => return Err(StartAnew.into()),
                result => result?,
            }
            bail!("the drive thread ended");
        }
    }
    stop.cancel();
    shared.queue.push(Event::Stop);
    stopped(end.await.map_err(|_| anyhow!("the drive thread panicked"))?)?;
    tasks.close();
    // What was handed to the sockets gets a moment to leave.
    let _ = tokio::time::timeout(Duration::from_millis(500), tasks.wait()).await;
    tracing::info!(uptime_s = shared.clock.elapsed().as_secs(), "stopped");
    Ok(())
}

/// How a stop that was asked for ended. Snapshots of another server that arrived just then are no
/// failure: the next start begins with them.
fn stopped(result: Result<(), DriveError>) -> Result<(), DriveError> {
    match result {
        Err(DriveError::Restart) => Ok(()),
        result => result,
    }
}

/// Waits for a signal to stop.
async fn first([terminate, interrupt]: &mut [Signal; 2]) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
