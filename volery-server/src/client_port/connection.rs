//! One client's socket: cuts frames, decodes them, and writes what the core hands out. Reads no
//! more while too much of this client waits: its own socket slows it, and nobody else.
//! It decides nothing about requests. One task per connection, started by the listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::Notify;
use tokio::time::Instant;
use volery_proto::jute::frame::{Frame, Framer};
use volery_proto::jute::{Jute, Reader};
use volery_proto::zk::ConnectRequest;

use super::listener::Limits;
use super::outstanding::{Crowd, Outstanding};
use super::{Core, PortEvent};
use crate::core::front_end::{Handshake, decode_request};
use crate::core::types::ConnId;

/// Bytes that are read at once.
const READ_BYTES: usize = 32 << 10;
/// The core is told of written bytes in steps of this size.
const WRITTEN_STEP: usize = 1 << 20;

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: BytesMut,
    replies: usize,
    closing: bool,
}

/// The way from the core to a client's socket.
#[derive(Debug, Default)]
pub struct ClientHandle {
    outgoing: Mutex<Outgoing>,
    wake: Notify,
}

impl ClientHandle {
    /// Adds bytes that answer `replies` requests; never waits.
    pub fn send(&self, bytes: BytesMut, replies: usize) {
        let mut outgoing = self.outgoing.lock();
        if outgoing.bytes.is_empty() {
            outgoing.bytes = bytes;
        } else {
            outgoing.bytes.unsplit(bytes);
        }
        outgoing.replies += replies;
        drop(outgoing);
        self.wake.notify_one();
    }

    /// Closes once everything sent before is written.
    pub fn close(&self) {
        self.outgoing.lock().closing = true;
        self.wake.notify_one();
    }

    fn take(&self) -> Outgoing {
        let mut outgoing = self.outgoing.lock();
        let closing = outgoing.closing;
        Outgoing { closing, ..std::mem::take(&mut *outgoing) }
    }
}

/// Why a connection's task ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The client went.
    Gone,
    /// The client broke the protocol: nothing more to say to it.
    Broken(&'static str),
    /// Nothing came that asked for a session.
    Silent,
    /// The core is through with it, but the client does not take what is left.
    Stuck,
    /// The core is through with it, and everything is written.
    Finished,
}

/// Waits for bytes, and reads them. That they did not fill the buffer tells that there are no
/// more, without a call to ask; room is made only once there are some.
async fn read(mut socket: ReadHalf<'_>, input: &mut BytesMut) -> io::Result<usize> {
    socket.readable().await?;
    input.reserve(READ_BYTES);
    socket.read_buf(input).await
}

/// One connection.
pub(super) struct Connection<C> {
    conn: ConnId,
    socket: TcpStream,
    core: Arc<C>,
    handle: Arc<ClientHandle>,
    framer: Framer,
    limits: Limits,
    input: BytesMut,
    output: BytesMut,
    outstanding: Outstanding,
    written: usize,
    closing: bool,
    /// For the handshake; later, once it is closing, for the client to take what is left.
    deadline: Option<Instant>,
}

impl<C: Core> Connection<C> {
    pub(super) fn new(
        conn: ConnId,
        socket: TcpStream,
        core: Arc<C>,
        crowd: Arc<Crowd>,
        limits: Limits,
    ) -> Self {
        Connection {
            conn,
            socket,
            core,
            handle: Arc::new(ClientHandle::default()),
            framer: Framer { max: limits.max_frame, words: true },
            limits,
            input: BytesMut::new(),
            output: BytesMut::new(),
            outstanding: Outstanding::new(crowd),
            written: 0,
            closing: false,
            deadline: Some(Instant::now() + limits.handshake),
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self, mut peer: SocketAddr) {
        // The port listens on both families: an IPv4 client is to be shown as one.
        peer.set_ip(peer.ip().to_canonical());
        let handle = self.handle.clone();
        self.core.event(PortEvent::Opened { conn: self.conn, peer, handle });
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        let finished = matches!(end, End::Finished);
        self.core.event(PortEvent::Closed { conn: self.conn, finished });
        let conn = self.conn.0;
        match end {
            End::Gone => tracing::debug!(conn, %peer, "the client is gone"),
            End::Stuck => tracing::debug!(conn, %peer, "closed: the client does not read"),
            End::Finished => tracing::debug!(conn, %peer, "closed"),
            End::Broken(reason) => {
                self.core.counts().dropped.add(1);
                tracing::debug!(conn, %peer, reason, "closed: the client broke the protocol");
            }
            End::Silent => {
                self.core.counts().dropped.add(1);
                self.core.counts().sessionless.add(1);
                tracing::debug!(conn, %peer, "closed: the client did not ask for a session");
            }
        }
    }

    fn may_read(&self) -> bool {
        !self.closing && self.outstanding.has_room()
    }

    /// Waits for whatever comes next, and does it.
    async fn turn(&mut self) -> Result<(), End> {
        let handle = self.handle.clone();
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        let may_read = self.may_read();
        let (reader, writer) = self.socket.split();
        tokio::select! {
            () = handle.wake.notified() => {
                let outgoing = handle.take();
                self.outstanding.answered(outgoing.replies);
                if outgoing.closing && !self.closing {
                    self.closing = true;
                    // A client that takes nothing must not hold the connection for ever.
                    self.deadline = Some(Instant::now() + self.limits.handshake);
                }
                if self.output.is_empty() {
                    self.output = outgoing.bytes;
                } else {
                    self.output.unsplit(outgoing.bytes);
                }
                self.write()?;
                // Frames may have waited for replies to go.
                self.frames().await?;
            }
            ready = writer.writable(), if !self.output.is_empty() => {
                ready.map_err(|_| End::Gone)?;
                self.write()?;
            }
            read = read(reader, &mut self.input), if may_read => match read {
                Ok(0) | Err(_) => return Err(End::Gone),
                Ok(bytes) => {
                    self.core.counts().bytes_received.add(bytes);
                    self.frames().await?;
                }
            },
            () = tokio::time::sleep_until(deadline), if self.deadline.is_some() => {
                return Err(if self.closing { End::Stuck } else { End::Silent });
            }
        }
        if self.closing && self.output.is_empty() { Err(End::Finished) } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), End> {
        while !self.output.is_empty() {
            match self.socket.try_write(&self.output) {
                Ok(n) => {
                    self.output.advance(n);
                    self.written += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(End::Gone),
            }
        }
        if self.written >= WRITTEN_STEP {
            let bytes = std::mem::take(&mut self.written);
            self.core.event(PortEvent::Written { conn: self.conn, bytes });
        }
        Ok(())
    }

    /// Cuts and decodes what is there, and hands it to the core in one piece.
    async fn frames(&mut self) -> Result<(), End> {
        let mut requests = Vec::new();
        let mut end = Ok(());
        while self.may_read() {
            match self.framer.next(&mut self.input) {
                Ok(None) => break,
                Ok(Some(Frame::Word(word))) => return self.word(word).await,
                Ok(Some(Frame::Message(frame))) if self.framer.words => self.handshake(frame)?,
                Ok(Some(Frame::Message(frame))) => {
                    let bytes = frame.len();
                    match decode_request(frame) {
                        Some(request) => {
                            self.outstanding.add(bytes);
                            requests.push(request);
                        }
                        None => end = Err(End::Broken("a request without a whole header")),
                    }
                }
                Err(error) => {
                    tracing::debug!(conn = self.conn.0, %error, "a frame is refused");
                    let too_large = usize::try_from(error.length).is_ok();
                    self.core.counts().large_requests.add(usize::from(too_large));
                    end = Err(End::Broken("the length of a frame"));
                }
            }
            if end.is_err() {
                break;
            }
        }
        if !requests.is_empty() {
            self.outstanding.handed_over();
            self.core.event(PortEvent::Requests { conn: self.conn, requests });
        }
        end
    }

    fn handshake(&mut self, frame: Bytes) -> Result<(), End> {
        let request = ConnectRequest::read(&mut Reader::new(frame))
            .map_err(|_| End::Broken("a handshake that is none"))?;
        self.framer.words = false;
        self.deadline = None;
        let handshake = Handshake { request, entropy: self.core.entropy() };
        self.core.event(PortEvent::Handshake { conn: self.conn, handshake });
        Ok(())
    }

    /// Answers a four-letter word and ends; the client may have closed its side already.
    async fn word(&mut self, word: [u8; 4]) -> Result<(), End> {
        if &word == b"stmk" {
            self.trace_mask().await;
        }
        let answer = self.core.word(self.conn, word).await;
        self.output.extend_from_slice(answer.as_bytes());
        let patience = self.limits.handshake;
        let all = async {
            while !self.output.is_empty() {
                self.socket.writable().await.map_err(|_| End::Gone)?;
                self.write()?;
            }
            Ok(())
        };
        match tokio::time::timeout(patience, all).await {
            Ok(result) => result.and(Err(End::Finished)),
            Err(_) => Err(End::Gone),
        }
    }

    /// The eight bytes behind `stmk`. There are no trace masks to set; but bytes left unread would
    /// reset the connection before its answer is read.
    async fn trace_mask(&mut self) {
        let mask = async {
            while self.input.len() < 8 {
                if !matches!(self.socket.read_buf(&mut self.input).await, Ok(more) if more > 0) {
                    break;
                }
            }
        };
        // A client that sends none gets its answer all the same.
        let _ = tokio::time::timeout(self.limits.handshake, mask).await;
    }
}
