//! The other end of a peer's link: lets it in or refuses it, then cuts what comes into frames and
//! hands them up, no more than the core has room for. It sends nothing but the answer to the hello.
//! Started by `listener`, a task for each connection.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use volery_proto::ids::ServerId;

use super::hello::{Answer, Hello, HelloError, Refusal, RefusalReason};
use super::quiet::Whom;
use super::{Core, Credit, End, Lane, PeerEvent, Shared, Stream, Way, link, wire};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// What a frame takes up besides its body.
const FRAME_COST: usize = 64;
/// A refused dialer gets this long to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// One place for each peer and lane: a new connection takes it over from the old one.
#[derive(Debug)]
pub(super) struct Slots(BTreeMap<(ServerId, Lane), Slot>);

#[derive(Debug)]
struct Slot {
    /// Ends whoever has the place, or waits for it.
    holder: Mutex<CancellationToken>,
    /// Held from the `Connected` to the `Disconnected` of one connection.
    turn: tokio::sync::Mutex<()>,
    /// What the core may still be handed; of all connections on this place together.
    room: Arc<Semaphore>,
    room_bytes: u32,
}

impl Slots {
    pub(super) fn new(shared: &Shared) -> Slots {
        let place = |peer: ServerId, lane: Lane| {
            let room_bytes = shared.limits(lane).receive_bytes.clamp(1, u32::MAX as usize) as u32;
            let slot = Slot {
                holder: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
                room: Arc::new(Semaphore::new(room_bytes as usize)),
                room_bytes,
            };
            ((peer, lane), slot)
        };
        let peers = shared.options.peers.keys().copied();
        Slots(peers.flat_map(|peer| Lane::ALL.map(|lane| place(peer, lane))).collect())
    }
}

/// One connection that was accepted.
pub(super) struct Inbound<C> {
    pub(super) shared: Arc<Shared>,
    pub(super) core: Arc<C>,
    pub(super) slots: Arc<Slots>,
    pub(super) address: IpAddr,
    pub(super) stop: CancellationToken,
}

impl<C: Core> Inbound<C> {
    /// Serves the connection to its end. The permit is for its handshake.
    pub(super) async fn run(self, socket: TcpStream, handshake: OwnedSemaphorePermit) {
        link::prepare(&socket, None, self.shared.options.keep_alive);
        let patience = self.shared.options.limits.handshake;
        let come_in = tokio::select! {
            () = self.stop.cancelled() => return,
            come_in = timeout(patience, self.come_in(socket)) => come_in,
        };
        drop(handshake);
        match come_in {
            Ok(Ok((hello, lane, stream))) => self.take_place(&hello, lane, stream).await,
            Ok(Err(HelloError::Refused(_))) => {}
            // Gone before it said who it is: a port scan, a health check.
            Ok(Err(HelloError::Io(error))) => {
                tracing::debug!(address = %self.address, %error, "gone before its handshake");
            }
            Ok(Err(error)) => self.complain(&error.to_string()),
            Err(_) => tracing::debug!(address = %self.address, "silent instead of a handshake"),
        }
    }

    fn complain(&self, problem: &str) {
        let words = format!("a connection from {} is refused: {problem}", self.address);
        self.shared.quiet.say(Whom::Stranger(self.address), words);
    }

    /// The handshake: who it is, if it may come in.
    async fn come_in(
        &self,
        socket: TcpStream,
    ) -> Result<(Hello, Lane, Box<dyn Stream>), HelloError> {
        let options = &self.shared.options;
        let mut first = [0];
        socket.peek(&mut first).await?;
        // A TLS record begins so, and no hello does.
        let is_tls = first == [0x16];
        let mut certificate = None;
        let mut stream: Box<dyn Stream> = match &options.tls {
            Some(tls) if is_tls => {
                let stream = tls.accept(socket).await.map_err(HelloError::Tls)?;
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                certificate = shown.map(|shown| shown.clone().into_owned());
                Box::new(stream)
            }
            None if is_tls => {
                self.complain("it uses TLS, which is off here: peer.tls differs");
                let refusal = Refusal::new(RefusalReason::Tls, String::new());
                return Err(HelloError::Refused(refusal));
            }
            _ => Box::new(socket),
        };
        let hello = Hello::read(&mut *stream).await?;
        let checked = match options.tls.is_some() && !is_tls {
            true => {
                let (me, sender) = (options.me, hello.sender);
                let words = format!(
                    "server {me} demands TLS and server {sender} does not use it: peer.tls differs"
                );
                Err(Refusal::new(RefusalReason::Tls, words))
            }
            false => hello.check(options).and_then(|lane| {
                self.check_sender(&hello, certificate.as_ref())?;
                Ok(lane)
            }),
        };
        match checked {
            Ok(lane) => Ok((hello, lane, stream)),
            Err(refusal) => {
                self.refuse(&hello, &refusal, stream).await;
                Err(HelloError::Refused(refusal))
            }
        }
    }

    /// The id that the dialer claims is that of a host, and its certificate must be for that host.
    fn check_sender(
        &self,
        hello: &Hello,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<(), Refusal> {
        let options = &self.shared.options;
        let (Some(tls), Some((host, _))) = (&options.tls, options.peers.get(&hello.sender)) else {
            return Ok(());
        };
        if tls.is_for_host(certificate, host) {
            return Ok(());
        }
        let sender = hello.sender;
        let words = format!(
            "the certificate is not for {host}, the host of server {sender} in the server lines: \
             give it one that names {host}, or set ssl.quorum.hostnameVerification=false at all \
             servers"
        );
        Err(Refusal::new(RefusalReason::Certificate, words))
    }

    /// Says why, and gives the dialer time to read it: a socket that is closed with bytes unread
    /// takes back what it sent.
    async fn refuse(&self, hello: &Hello, refusal: &Refusal, mut stream: Box<dyn Stream>) {
        // Whoever is not in the server lines might claim any id.
        let whom = match self.shared.options.peers.contains_key(&hello.sender) {
            true => Whom::Dialing(hello.sender),
            false => Whom::Stranger(self.address),
        };
        let (sender, address) = (hello.sender, self.address);
        let words = format!("server {sender} from {address} is refused: {refusal}");
        self.shared.quiet.say(whom, words);
        let (server, nonce) = (self.shared.options.me, self.shared.options.nonce);
        let answer = Answer { server, nonce, refusal: Some(refusal.clone()) }.encode();
        let farewell = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            let mut rest = [0; 1024];
            for _ in 0..64 {
                if stream.read(&mut rest).await? == 0 {
                    break;
                }
            }
            std::io::Result::Ok(())
        };
        // It has been told, or is gone: either will do.
        let _ = timeout(LINGER, farewell).await;
    }

    /// Takes over the place of the peer's link, and reads to the end.
    async fn take_place(&self, hello: &Hello, lane: Lane, mut stream: Box<dyn Stream>) {
        let (peer, way) = (hello.sender, Way::In);
        let Some(slot) = self.slots.0.get(&(peer, lane)) else { return };
        let held = self.stop.child_token();
        std::mem::replace(&mut *slot.holder.lock(), held.clone()).cancel();
        let _turn = slot.turn.lock().await;
        if held.is_cancelled() {
            return;
        }
        let (server, nonce) = (self.shared.options.me, self.shared.options.nonce);
        let welcome = Answer { server, nonce, refusal: None }.encode();
        let welcoming = async {
            stream.write_all(&welcome).await?;
            stream.flush().await
        };
        let patience = self.shared.options.limits.handshake;
        if !matches!(timeout(patience, welcoming).await, Ok(Ok(()))) {
            return;
        }
        self.shared.quiet.over(Whom::Dialing(peer));
        self.core.event(PeerEvent::Connected { peer, lane, way, nonce: hello.nonce });
        let reason = tokio::select! {
            () = held.cancelled() => {
                if self.stop.is_cancelled() { End::Stopped } else { End::Replaced }
            }
            end = self.read(peer, lane, slot, stream) => end,
        };
        match &reason {
            End::Malformed(problem) => {
                tracing::warn!(%peer, %lane, problem, "a server sends what it may not: closed");
            }
            _ => tracing::debug!(%peer, %lane, %reason, "a server's link ended"),
        }
        self.core.event(PeerEvent::Disconnected { peer, lane, way, reason });
    }

    async fn read(
        &self,
        peer: ServerId,
        lane: Lane,
        slot: &Slot,
        mut stream: Box<dyn Stream>,
    ) -> End {
        let max_frame = self.shared.limits(lane).max_frame;
        let mut buffer = BytesMut::new();
        let mut lacking = 0;
        loop {
            buffer.reserve(room_for(lacking, buffer.len()));
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return End::Closed,
                Ok(bytes) => self.shared.counts.bytes_received.add(bytes),
                Err(error) => return End::Broken(error.to_string()),
            }
            let cut = match wire::cut(&mut buffer, max_frame) {
                Ok(cut) => cut,
                Err(problem) => return End::Malformed(problem),
            };
            lacking = cut.lacking;
            if cut.frames.is_empty() {
                continue;
            }
            let frames = cut.frames;
            let bytes: usize = frames.iter().map(|(_, body)| body.len() + FRAME_COST).sum();
            // What is above all of the room waits until the core has nothing else.
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(slot.room_bytes);
            let Ok(room) = slot.room.clone().acquire_many_owned(bytes).await else {
                return End::Stopped;
            };
            let credit = Credit(room);
            self.core.event(PeerEvent::Frames { peer, lane, frames, credit });
        }
    }
}

/// How much room is made for what is to be read: never more than as much again as has come, since
/// a length alone deserves none.
fn room_for(lacking: usize, there: usize) -> usize {
    lacking.min(there).max(READ_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_alone_makes_no_room() {
        assert_eq!(room_for(0, 0), READ_BYTES);
        assert_eq!(room_for(64 << 20, 4), READ_BYTES);
        assert_eq!(room_for(64 << 20, 1 << 20), 1 << 20);
        assert_eq!(room_for(100 << 10, 1 << 20), 100 << 10);
    }
}
