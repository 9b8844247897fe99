//! The node: builds the rooms out of the configuration, lets them run, and ends them in order.
//! It alone knows all rooms. Called by `main`.

mod clock;
mod drive;
mod queue;
mod recover;
mod status;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use volery_proto::command::CommandFlags;

use crate::admin::environment::Environment;
use crate::admin::status::{Needs, ServerStatus};
use crate::admin::words;
use crate::client_port::{Core, Limits, Listener, ListenerOptions, PortEvent};
use crate::config::{Config, Durability, partition_map};
use crate::core::front_end::FrontEndConfig;
use crate::core::merge::skip::SkipPolicy;
use crate::core::oracle::PartitionMap;
use crate::core::server::{ReaperConfig, Server, ServerConfig};
use crate::storage::meta::DataDir;
use crate::storage::snapshot::{SinkOptions, SnapshotSink};
use crate::storage::wal::{Memory, Wal, WalOptions};
use clock::Clock;
use drive::{Drive, Event, Latency};
use queue::Queue;
use status::Asked;

/// How long a client may take for its handshake, as ZooKeeper's sessionless connections.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that may wait for one client's socket before its requests wait too.
const MAX_UNSENT: usize = 8 << 20;
/// Events that may wait for one client before it is closed.
const MAX_EVENTS: usize = 1 << 20;

/// The way from the ports to the drive thread.
struct Door {
    queue: Arc<Queue<Event>>,
    config: Arc<Config>,
    environment: Environment,
}

impl Door {
    async fn ask(&self, needs: Needs) -> ServerStatus {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Event::Ask(Box::new(Asked { needs, reply })));
        // Without an answer the drive thread is gone: not serving.
        let mut status = answer.await.unwrap_or_default();
        if needs.directories {
            status.directories = directories(&self.config);
        }
        status
    }
}

impl Core for Door {
    fn event(&self, event: PortEvent) {
        self.queue.push(Event::Port(event));
    }

    async fn word(&self, word: [u8; 4]) -> String {
        let status = self.ask(words::needs(word)).await;
        let answer = words::answer(word, &self.config, &self.environment, &status);
        if let Some(reset) = answer.reset {
            self.queue.push(Event::Reset(reset));
        }
        answer.text
    }

    fn entropy(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // A guessable password is worse than no session.
            tracing::error!(%error, "the system gives no random bytes; the server ends");
            std::process::exit(71);
        }
        bytes
    }
}

fn directories(config: &Config) -> crate::config::DirectorySizes {
    fn size(dir: &std::path::Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => size(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            })
            .sum()
    }
    crate::config::DirectorySizes {
        data_bytes: size(&config.data_dir),
        log_bytes: size(&config.data_log_dir.join("wal")),
    }
}

/// Runs a server until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot start, or an invariant broke.
pub fn run(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("client-port")
        .max_blocking_threads(4)
        .build()
        .context("cannot start the runtime")?;
    // The port first: a second server on it must not touch the data.
    let listener = runtime.block_on(async { listen(&config) })?;
    let queue = Arc::new(Queue::new());
    let (drive, _dir) = start(&config, &queue)?;
    let (ended, end) = oneshot::channel();
    let driver = std::thread::Builder::new()
        .name("drive".to_owned())
        .spawn(move || {
            // The receiver waits for this to the end.
            let _ = ended.send(drive.run());
        })
        .context("cannot start the drive thread")?;
    let result = runtime.block_on(serve(&config, listener, &queue, end));
    runtime.shutdown_timeout(Duration::from_secs(1));
    driver.join().map_err(|_| anyhow!("the drive thread panicked"))?;
    result
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

/// Reads the data directory and puts the machine together.
fn start(config: &Config, queue: &Arc<Queue<Event>>) -> anyhow::Result<(Drive, DataDir)> {
    let clock = Clock::new();
    let server_id = u64::from(config.server_id.0);
    let dir = DataDir::open(&config.data_dir, &config.data_log_dir, server_id, None)?;
    partition_map::check_or_write(&config.data_dir, &config.map)?;
    let map = Arc::new(PartitionMap::from_rules(1, &config.map));
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("no random bytes: {error}"))?;
    let hash_seed = u64::from_le_bytes(seed);
    let partitions = recover::load_partitions(&dir, &map, hash_seed)?;
    let mut reader = recover::LogReader::new(&partitions);
    let mut options = WalOptions::new(dir.identity().log_identity());
    options.sync = config.durability == Durability::Sync;
    options.segment_bytes = config.storage.preallocate_bytes;
    options.fsync_warning_threshold =
        Duration::from_millis(config.storage.fsync_warning_threshold_ms);
    let completions = queue.clone();
    let (log, found) = Wal::open(
        &dir.wal_dir(),
        options,
        |record| reader.record(record.payload),
        Box::new(move |token, lsn| completions.push(Event::Durable { token, lsn })),
    )?;
    if found.memory != Memory::Whole {
        if found.cut.as_ref().is_some_and(|cut| cut.synced_record_may_be_lost) {
            tracing::warn!("the log's end was torn: the last writes before the crash may be lost");
        }
        // A ring of one has nobody to learn from: what is here is all there is.
        log.memory_restored()?;
    }
    let records = reader.records;
    let server_config = server_config(config, &map, hash_seed);
    let server = Server::recover(server_config, reader.finish(partitions), clock.now())
        .context("the log and the snapshots do not fit together")?;
    tracing::info!(records, position = %server.position(), "log replayed");
    let events = queue.clone();
    let mut options = SinkOptions::new(dir.snapshot_dir());
    options.retain = config.storage.snap_retain_count;
    let sink =
        SnapshotSink::start(options, Box::new(move |event| events.push(Event::Snapshot(event))))?;
    let drive = Drive {
        server,
        clock,
        queue: queue.clone(),
        log,
        sink,
        clients: HashMap::new(),
        stalled: None,
        finish_stalled: false,
        waiting_for_service: Vec::new(),
        stop_at_us: None,
        latency: Latency {
            read: metrics::histogram!("readlatency"),
            update: metrics::histogram!("updatelatency"),
        },
    };
    Ok((drive, dir))
}

fn server_config(config: &Config, map: &Arc<PartitionMap>, hash_seed: u64) -> ServerConfig {
    let millis = |value: i32| u32::try_from(value).unwrap_or(0);
    ServerConfig {
        server: config.server_id,
        map: map.clone(),
        front_end: FrontEndConfig {
            server: config.server_id,
            min_timeout_ms: millis(config.min_session_timeout_ms),
            max_timeout_ms: millis(config.max_session_timeout_ms),
            tick_ms: u64::from(millis(config.tick_time_ms)),
            digest_enabled: config.auth.digest_enabled,
            super_digest: config.auth.super_digest.as_ref().map(|digest| digest.0.clone()),
            flags: CommandFlags {
                extended_types: config.extended_types_enabled,
                skip_acl: config.auth.skip_acl,
            },
            max_unsent: MAX_UNSENT,
            max_events: MAX_EVENTS,
        },
        skip: SkipPolicy::default(),
        window: config.ring_window,
        hash_seed,
        snapshot_every: config.storage.snap_count,
        reaper: ReaperConfig {
            interval_ms: config.container.check_interval_ms,
            max: usize::try_from(config.container.max_per_minute).unwrap_or(usize::MAX),
            never_used_ms: config.container.max_never_used_interval_ms as i64,
        },
    }
}

/// Serves clients until a signal, or until the drive thread ends.
async fn serve(
    config: &Arc<Config>,
    listener: Listener,
    queue: &Arc<Queue<Event>>,
    mut end: oneshot::Receiver<Result<(), drive::DriveError>>,
) -> anyhow::Result<()> {
    let door = Arc::new(Door {
        queue: queue.clone(),
        config: config.clone(),
        environment: Environment::read(),
    });
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (tell, serving) = oneshot::channel();
    queue.push(Event::WhenServing(tell));
    let address = listener.local_addr()?;
    tasks.spawn(listener.run(door, stop.clone(), tasks.clone()));
    if serving.await.is_ok() {
        tracing::info!(%address, partitions = config.map.partitions, "serving clients");
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        result = tokio::signal::ctrl_c() => {
            result?;
            tracing::info!("interrupted: stopping");
        }
        result = &mut end => {
            result.map_err(|_| anyhow!("the drive thread panicked"))??;
            bail!("the drive thread ended");
        }
    }
    stop.cancel();
    queue.push(Event::Stop);
    end.await.map_err(|_| anyhow!("the drive thread panicked"))??;
    tasks.close();
    // What was handed to the sockets gets a moment to leave.
    let _ = tokio::time::timeout(Duration::from_millis(500), tasks.wait()).await;
    tracing::info!("stopped");
    Ok(())
}
