//! One link: dials a peer for a lane, introduces this server, and writes what waits in the outbox;
//! dials again when the link is gone. It reads nothing but the answer to its hello. Started by the
//! listener's `run`, a task for each peer and lane.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use volery_proto::ids::ServerId;

use super::backoff::Backoff;
use super::hello::{self, Hello, HelloError, Refusal};
use super::outbox::{Batch, Outbox};
use super::quiet::Whom;
use super::{Core, End, Lane, PeerEvent, Shared, Stream, Way};

/// Why a peer cannot be had at present.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("{0}")]
    Connect(io::Error),
    #[error("it does not answer")]
    Silent,
    #[error("{0}")]
    Handshake(HelloError),
    #[error("it refuses: {0}")]
    Refused(Refusal),
}

fn tls_failed(error: io::Error) -> DialError {
    DialError::Handshake(HelloError::Tls(error))
}

/// The writing end towards one peer on one lane.
pub(super) struct Link<C> {
    pub(super) shared: Arc<Shared>,
    pub(super) core: Arc<C>,
    pub(super) peer: ServerId,
    pub(super) lane: Lane,
    pub(super) stop: CancellationToken,
}

impl<C: Core> Link<C> {
    /// Keeps the link up until the port stops.
    pub(super) async fn run(self) {
        let limits = &self.shared.options.limits;
        let seed = self.shared.options.nonce
            ^ u64::from(self.peer.0) << 32
            ^ (self.lane.index() as u64) << 40;
        let mut backoff = Backoff::new(limits.backoff_min, limits.backoff_max, seed);
        let mut is_first = true;
        while !self.stop.is_cancelled() {
            let dialed = tokio::select! {
                () = self.stop.cancelled() => return,
                dialed = timeout(limits.handshake, self.dial()) => dialed,
            };
            match dialed.unwrap_or(Err(DialError::Silent)) {
                Ok((stream, nonce)) => {
                    backoff.reset();
                    self.shared.counts.reconnects.add(usize::from(!is_first));
                    is_first = false;
                    self.shared.quiet.over(Whom::Dialed(self.peer));
                    self.serve(stream, nonce).await;
                }
                Err(error) => self.complain(&error),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    fn complain(&self, error: &DialError) {
        let (peer, me) = (self.peer, self.shared.options.me);
        let words = match self.shared.options.peers.get(&peer) {
            Some((host, port)) => format!("server {peer} at {host}:{port}: {error}"),
            None => format!("server {peer}: {error}"),
        };
        let words = format!("server {me} cannot connect to {words}");
        self.shared.quiet.say(Whom::Dialed(peer), words);
    }

    async fn dial(&self) -> Result<(Box<dyn Stream>, u64), DialError> {
        let options = &self.shared.options;
        // The links are made of the peers' table.
        let Some((host, port)) = options.peers.get(&self.peer) else {
            return Err(DialError::Connect(io::ErrorKind::AddrNotAvailable.into()));
        };
        let socket = connect(host, *port, options.limits.connect).await?;
        let patience = self.shared.limits(self.lane).patience;
        prepare(&socket, Some(patience), options.keep_alive);
        let mut stream: Box<dyn Stream> = match &options.tls {
            None => Box::new(socket),
            Some(tls) => Box::new(tls.connect(host, socket).await.map_err(tls_failed)?),
        };
        let hello = Hello::of(options, self.peer, self.lane);
        match hello::introduce(&mut *stream, &hello).await {
            Ok(nonce) => Ok((stream, nonce)),
            Err(HelloError::Refused(refusal)) => Err(DialError::Refused(refusal)),
            // In TLS 1.3 the dialer is done before its own certificate has been looked at.
            Err(HelloError::Io(error)) if options.tls.is_some() => Err(tls_failed(error)),
            Err(error) => Err(DialError::Handshake(error)),
        }
    }

    fn outbox(&self) -> Option<&Outbox> {
        let outboxes = self.shared.outboxes.get(&self.peer)?;
        Some(&outboxes[self.lane.index()])
    }

    /// Writes until the link ends, and tells the core of its begin and its end.
    async fn serve(&self, stream: Box<dyn Stream>, nonce: u64) {
        let Some(outbox) = self.outbox() else { return };
        let (peer, lane, way) = (self.peer, self.lane, Way::Out);
        outbox.open();
        tracing::debug!(%peer, %lane, "connected");
        self.core.event(PeerEvent::Connected { peer, lane, way, nonce });
        let reason = tokio::select! {
            () = self.stop.cancelled() => End::Stopped,
            () = outbox.overflow() => End::Overflow,
            end = self.write(stream, outbox) => end,
        };
        self.shared.counts.frames_dropped.add(outbox.close());
        match reason {
            End::Overflow | End::Stuck => {
                tracing::warn!(%peer, %lane, %reason, "the link to a server is given up");
            }
            _ => tracing::debug!(%peer, %lane, %reason, "disconnected"),
        }
        self.core.event(PeerEvent::Disconnected { peer, lane, way, reason });
    }

    async fn write(&self, stream: Box<dyn Stream>, outbox: &Outbox) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let patience = self.shared.limits(self.lane).patience;
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut => End::Stuck,
            _ => End::Broken(error.to_string()),
        };
        // The peer never says anything more: whatever is read is the end.
        let gone = async {
            match reader.read(&mut [0]).await {
                Ok(0) => End::Closed,
                Ok(_) => End::Malformed("the peer sent against the direction of the link"),
                Err(error) => broken(error),
            }
        };
        let writing = async {
            let mut batch = Batch::default();
            loop {
                outbox.take(&mut batch).await;
                while batch.has_remaining() {
                    match timeout(patience, writer.write_buf(&mut batch)).await {
                        Ok(Ok(0)) => return End::Closed,
                        Ok(Ok(bytes)) => self.shared.counts.bytes_sent.add(bytes),
                        Ok(Err(error)) => return broken(error),
                        Err(_) => return End::Stuck,
                    }
                }
                match timeout(patience, writer.flush()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return broken(error),
                    Err(_) => return End::Stuck,
                }
            }
        };
        tokio::select! {
            end = gone => end,
            end = writing => end,
        }
    }
}

/// Connects to the first address of the name that answers. The name is asked for each time: a
/// server may have moved.
async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, DialError> {
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(DialError::Resolve)?;
    let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut failure = DialError::Connect(none);
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => failure = DialError::Connect(error),
            Err(_) => failure = DialError::Silent,
        }
    }
    Err(failure)
}

/// Small frames leave at once, and a machine that vanished is found by what it does not
/// acknowledge, long before the socket's buffer is full.
pub(super) fn prepare(socket: &TcpStream, patience: Option<Duration>, keep_alive: bool) {
    let options = SockRef::from(socket);
    let result = socket.set_nodelay(true).and_then(|()| {
        if keep_alive {
            options.set_tcp_keepalive(&TcpKeepalive::new())?;
        }
        match patience {
            Some(_) => options.set_tcp_user_timeout(patience),
            None => Ok(()),
        }
    });
    if let Err(error) = result {
        tracing::debug!(%error, "a socket option was refused");
    }
}
