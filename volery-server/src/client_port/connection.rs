//! One client's socket: cuts frames, decodes them, and writes what the core hands out. Reads no
//! more while too much of this client waits: its own socket slows it, and nobody else.
//! It decides nothing about requests. One task per connection, started by the listener.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use volery_proto::jute::frame::{Frame, Framer};
use volery_proto::jute::{Jute, Reader};
use volery_proto::limits::{MAX_CONNECTION_OUTSTANDING, MAX_CONNECTION_OUTSTANDING_BYTES};
use volery_proto::zk::ConnectRequest;

use super::listener::Limits;
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
enum End {
    /// The client went, or broke the protocol: nothing more to say to it.
    Gone,
    /// The core is through with it, and everything is written.
    Finished,
}

/// Requests that the core has and has not answered: they are many or large, never both.
#[derive(Debug, Default)]
struct Outstanding {
    /// The size of each, in order: replies come in the order of the requests.
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Outstanding {
    fn add(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    fn answered(&mut self, replies: usize) {
        let replies = replies.min(self.sizes.len());
        self.bytes -= self.sizes.drain(..replies).sum::<usize>();
    }

    fn has_room(&self) -> bool {
        self.sizes.len() < MAX_CONNECTION_OUTSTANDING
            && self.bytes < MAX_CONNECTION_OUTSTANDING_BYTES
    }
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
    pub(super) fn new(conn: ConnId, socket: TcpStream, core: Arc<C>, limits: Limits) -> Self {
        Connection {
            conn,
            socket,
            core,
            handle: Arc::new(ClientHandle::default()),
            framer: Framer { max: limits.max_frame, words: true },
            limits,
            input: BytesMut::new(),
            output: BytesMut::new(),
            outstanding: Outstanding::default(),
            written: 0,
            closing: false,
            deadline: Some(Instant::now() + limits.handshake),
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let Ok(peer) = self.socket.peer_addr() else { return };
        let handle = self.handle.clone();
        self.core.event(PortEvent::Opened { conn: self.conn, peer, handle });
        while self.turn().await.is_ok() {}
        self.core.event(PortEvent::Closed { conn: self.conn });
    }

    fn may_read(&self) -> bool {
        !self.closing && self.outstanding.has_room()
    }

    /// Waits for whatever comes next, and does it.
    async fn turn(&mut self) -> Result<(), End> {
        let handle = self.handle.clone();
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
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
            ready = self.socket.writable(), if !self.output.is_empty() => {
                ready.map_err(|_| End::Gone)?;
                self.write()?;
            }
            ready = self.socket.readable(), if self.may_read() => {
                ready.map_err(|_| End::Gone)?;
                self.read().await?;
            }
            () = tokio::time::sleep_until(deadline), if self.deadline.is_some() => {
                return Err(End::Gone);
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

    async fn read(&mut self) -> Result<(), End> {
        self.input.reserve(READ_BYTES);
        match self.socket.try_read_buf(&mut self.input) {
            Ok(0) => Err(End::Gone),
            Ok(_) => self.frames().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(End::Gone),
        }
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
                        None => end = Err(End::Gone),
                    }
                }
                Err(error) => {
                    tracing::debug!(conn = self.conn.0, %error, "closed for its frame length");
                    end = Err(End::Gone);
                }
            }
            if end.is_err() {
                break;
            }
        }
        if !requests.is_empty() {
            self.core.event(PortEvent::Requests { conn: self.conn, requests });
        }
        end
    }

    fn handshake(&mut self, frame: Bytes) -> Result<(), End> {
        let request = ConnectRequest::read(&mut Reader::new(frame)).map_err(|_| End::Gone)?;
        self.framer.words = false;
        self.deadline = None;
        let handshake = Handshake { request, entropy: self.core.entropy() };
        self.core.event(PortEvent::Handshake { conn: self.conn, handshake });
        Ok(())
    }

    /// Answers a four-letter word and ends; the client may have closed its side already.
    async fn word(&mut self, word: [u8; 4]) -> Result<(), End> {
        let answer = self.core.word(word).await;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outstanding_requests_are_many_or_large_never_both() {
        let mut outstanding = Outstanding::default();
        for _ in 0..MAX_CONNECTION_OUTSTANDING {
            assert!(outstanding.has_room());
            outstanding.add(8);
        }
        assert!(!outstanding.has_room());
        outstanding.answered(1);
        assert!(outstanding.has_room());
        outstanding.add(MAX_CONNECTION_OUTSTANDING_BYTES);
        assert!(!outstanding.has_room());
        // More answers than requests: the handshake's bytes count none, and nothing underflows.
        outstanding.answered(usize::MAX);
        assert_eq!((outstanding.bytes, outstanding.has_room()), (0, true));
    }
}
