//! Accepts clients, within the limits per address and altogether. It reads nothing.
//! Started by the node; each connection becomes a task of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Core;
use super::connection::Connection;
use super::outstanding::Crowd;
use super::sparse::Sparse;
use crate::core::types::ConnId;

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `jute.maxbuffer`.
    pub max_frame: usize,
    /// How long a client may take for its handshake.
    pub handshake: Duration,
}

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Where.
    pub address: SocketAddr,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Connections of one address; 0 is any number.
    pub max_per_address: u32,
    /// Connections altogether; 0 is any number.
    pub max_connections: u32,
    /// Requests of all connections; above it, those that wait for an answer are not read.
    pub max_outstanding: usize,
    /// TCP keep-alive.
    pub keep_alive: bool,
    /// Limits of each.
    pub limits: Limits,
}

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
    hint: &'static str,
}

/// The client port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: ListenerOptions,
}

#[derive(Debug, Default)]
struct Counts {
    by_address: DashMap<IpAddr, u32>,
    all: AtomicU32,
}

/// Counts one connection until it is dropped.
struct Counted {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Counts {
    /// Counts one more.
    ///
    /// # Errors
    /// The name of the limit that it is above.
    fn add(
        self: &Arc<Counts>,
        address: IpAddr,
        options: &ListenerOptions,
    ) -> Result<Counted, &'static str> {
        let over = |count: u32, max: u32| max > 0 && count > max;
        let all = self.all.fetch_add(1, Ordering::Relaxed) + 1;
        let here = {
            let mut here = self.by_address.entry(address).or_insert(0);
            *here += 1;
            *here
        };
        let counted = Counted { counts: self.clone(), address };
        if over(all, options.max_connections) {
            return Err("maxCnxns");
        }
        if over(here, options.max_per_address) {
            return Err("maxClientCnxns");
        }
        Ok(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        let left = self.counts.by_address.get_mut(&self.address).map(|mut here| {
            *here -= 1;
            *here
        });
        if left == Some(0) {
            self.counts.by_address.remove_if(&self.address, |_, count| *count == 0);
        }
    }
}

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// Somebody else has it, or it is not ours to take.
    pub fn bind(options: ListenerOptions) -> Result<Listener, ListenError> {
        let address = options.address;
        let bind = || -> std::io::Result<TcpListener> {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            socket.set_nonblocking(true)?;
            // What is accepted inherits both.
            socket.set_tcp_nodelay(true)?;
            if options.keep_alive {
                socket.set_tcp_keepalive(&TcpKeepalive::new())?;
            }
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
            TcpListener::from_std(socket.into())
        };
        match bind() {
            Ok(socket) => Ok(Listener { socket, options }),
            Err(source) => {
                let hint = match source.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        "; another server has this port: stop it, or set another clientPort"
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        "; set a clientPort above 1023, or run with the right to take this one"
                    }
                    _ => "",
                };
                Err(ListenError { address, source, hint })
            }
        }
    }

    /// The address that was taken.
    ///
    /// # Errors
    /// The socket is not usable.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until it is told to stop.
    pub async fn run<C: Core>(self, core: Arc<C>, stop: CancellationToken, tasks: TaskTracker) {
        let counts = Arc::new(Counts::default());
        let crowd = Arc::new(Crowd::new(self.options.max_outstanding));
        let numbers = AtomicU64::new(1);
        let mut refusals = Sparse::new(Instant::now());
        let mut failures = Sparse::new(Instant::now());
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
                () = until(refusals.due()) => {
                    let left_out = refusals.told(Instant::now());
                    tracing::warn!(left_out, "too many connections: more were refused");
                    continue;
                }
            };
            match accepted {
                Ok((socket, peer)) => match counts.add(peer.ip(), &self.options) {
                    Ok(counted) => {
                        let conn = ConnId(numbers.fetch_add(1, Ordering::Relaxed));
                        let (core, crowd) = (core.clone(), crowd.clone());
                        let limits = self.options.limits;
                        let connection = Connection::new(conn, socket, core, crowd, limits);
                        tasks.spawn(async move {
                            connection.run(peer).await;
                            drop(counted);
                        });
                    }
                    Err(limit) => {
                        core.counts().rejected.add(1);
                        if let Some(left_out) = refusals.happened(Instant::now()) {
                            tracing::warn!(%peer, limit, left_out, "too many connections: refused");
                        }
                    }
                },
                Err(error) => {
                    if let Some(left_out) = failures.happened(Instant::now()) {
                        tracing::warn!(%error, left_out, "cannot accept a connection");
                    }
                    // Out of file descriptors, most likely: give some the time to be closed.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Waits for this moment; for ever, if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
