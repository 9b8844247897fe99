//! The peer port itself: takes the address, starts a link for each peer and lane, and accepts the
//! links of the others. It reads nothing. Made and run by the node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::inbound::{Inbound, Slots};
use super::link::Link;
use super::outbox::Outbox;
use super::quiet::Quiet;
use super::{Core, Lane, PeerCounts, PeerHandle, PeerPortOptions, Shared};

/// Handshakes under way at once; whoever comes then is turned away and dials again.
const HANDSHAKES_MAX: usize = 256;

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for other servers on {address}: {source}{hint}")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
    hint: &'static str,
}

/// The peer port.
#[derive(Debug)]
pub struct PeerPort {
    socket: TcpListener,
    pub(super) shared: Arc<Shared>,
}

impl PeerPort {
    /// Takes the port. Must be called within a runtime.
    ///
    /// # Errors
    /// Somebody else has it, or the address is not this machine's.
    pub fn bind(options: PeerPortOptions) -> Result<PeerPort, BindError> {
        let address = options.listen;
        let bind = || -> std::io::Result<TcpListener> {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(1024)?;
            TcpListener::from_std(socket.into())
        };
        let socket = bind().map_err(|source| {
            let hint = match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "; another process has this port: stop it, or change the first port of this \
                     server's line"
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "; the host of this server's line is not this machine: see to the line and to \
                     myid, or set quorumListenOnAllIPs=true"
                }
                _ => "",
            };
            BindError { address, source, hint }
        })?;
        let outbox = |lane: Lane| Outbox::new(lane, &options.limits.lanes[lane.index()]);
        let outboxes: BTreeMap<_, _> =
            options.peers.keys().map(|peer| (*peer, Lane::ALL.map(outbox))).collect();
        let (counts, quiet) = (PeerCounts::default(), Quiet::default());
        Ok(PeerPort { socket, shared: Arc::new(Shared { options, counts, quiet, outboxes }) })
    }

    /// The address that was taken.
    ///
    /// # Errors
    /// The socket is not usable.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The way to the peers.
    #[must_use]
    pub fn handle(&self) -> PeerHandle {
        PeerHandle(self.shared.clone())
    }

    /// Dials and accepts until it is told to stop. All tasks end soon after.
    pub async fn run<C: Core>(self, core: Arc<C>, stop: CancellationToken, tasks: TaskTracker) {
        let peers = self.shared.options.peers.keys().copied();
        for (peer, lane) in peers.flat_map(|peer| Lane::ALL.map(|lane| (peer, lane))) {
            let (shared, core, stop) = (self.shared.clone(), core.clone(), stop.clone());
            tasks.spawn(Link { shared, core, peer, lane, stop }.run());
        }
        let slots = Arc::new(Slots::new(&self.shared));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, address)) => {
                    let Ok(handshake) = handshakes.clone().try_acquire_owned() else {
                        tracing::debug!(%address, "too many handshakes: turned away");
                        continue;
                    };
                    let inbound = Inbound {
                        shared: self.shared.clone(),
                        core: core.clone(),
                        slots: slots.clone(),
                        address: address.ip().to_canonical(),
                        stop: stop.clone(),
                    };
                    tasks.spawn(inbound.run(socket, handshake));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give some the time to be closed.
                    tracing::warn!(%error, "cannot accept a connection of a server");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}
