//! A session as a task: pipelines calls, pings, hands out events, and moves to another server
//! with the same id and password when its connection breaks, within the session time-out.
//! It never interprets a body except a watch event's. Started by `Client::connect`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use volery_proto::jute::{DecodeError, Jute, Reader, Writer};
use volery_proto::zk::{
    AuthPacket, OpCode, ReplyHeader, Request, RequestHeader, SetWatches2, WatcherEvent,
};

use super::ClientOptions;
use super::connection::{Connection, Credentials, next_frame};
use super::error::{Attempt, ClientError};
use super::watch::{Event, EventKind, Registry};

/// Calls on their way to one server at most.
const MAX_PENDING: usize = 4096;
/// Bytes that wait for the socket before more calls are taken.
const MAX_OUTPUT: usize = 1 << 20;
/// Pause between two rounds over the servers.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How long one of several servers may take to answer in the first turn.
const FIRST_LIMIT: Duration = Duration::from_secs(1);
/// How long any may take, however little time is left.
const LEAST_LIMIT: Duration = Duration::from_millis(200);

const XID_NOTIFICATION: i32 = -1;
const XID_PING: i32 = -2;
const XID_AUTH: i32 = -4;
const XID_SET_WATCHES: i32 = -8;

/// A request with the place where its answer goes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Result<Reply, ClientError>>,
}

/// A reply, whatever its error code.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) err: i32,
    pub(crate) body: Bytes,
    pub(crate) address: Arc<str>,
}

/// Why a session took its last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Closed,
    Expired,
    AuthFailed,
}

/// How serving one connection ended.
enum Outcome {
    Over(Ended),
    Lost(io::Error),
}

/// The task's state.
pub(super) struct Session {
    pub(super) options: ClientOptions,
    pub(super) credentials: Credentials,
    pub(super) timeout: Duration,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) ended: Arc<OnceLock<Ended>>,
    watches: Registry,
    /// Sent and not answered, in order.
    pending: VecDeque<(i32, Call)>,
    /// To be sent first: reads that a broken connection left without an answer.
    again: VecDeque<Call>,
    next_xid: i32,
    heard: Instant,
    next_host: usize,
}

impl Session {
    pub(super) fn new(
        options: ClientOptions,
        calls: mpsc::Receiver<Call>,
        events: mpsc::Sender<Event>,
        ended: Arc<OnceLock<Ended>>,
    ) -> Session {
        Session {
            timeout: options.timeout,
            options,
            credentials: Credentials::default(),
            calls,
            events,
            ended,
            watches: Registry::default(),
            pending: VecDeque::new(),
            again: VecDeque::new(),
            next_xid: 1,
            heard: Instant::now(),
            next_host: 0,
        }
    }

    /// Opens the session: tries the servers in turn until one takes it or the time-out is over.
    /// Where nobody is there at all, one turn is enough.
    pub(super) async fn connect(&mut self) -> Result<Connection, ClientError> {
        let deadline = Instant::now() + self.options.timeout;
        let mut limit = self.first_limit();
        loop {
            let attempts = match self.turn(limit, deadline).await {
                Err(ClientError::Connect(attempts)) => attempts,
                done => return done,
            };
            let hope = attempts.iter().any(Attempt::may_pass);
            if !hope || Instant::now() + RECONNECT_PAUSE >= deadline {
                return Err(ClientError::Connect(attempts));
            }
            sleep(RECONNECT_PAUSE).await;
            limit *= 2;
        }
    }

    /// A server that hangs must not hold up a client that knows others.
    fn first_limit(&self) -> Duration {
        match self.options.servers.hosts.len() {
            1 => self.timeout,
            _ => FIRST_LIMIT,
        }
    }

    /// Tries every server once, from the one after the last, each for `limit` at most.
    async fn turn(
        &mut self,
        limit: Duration,
        deadline: Instant,
    ) -> Result<Connection, ClientError> {
        let hosts = self.options.servers.hosts.clone();
        let mut attempts = Vec::new();
        for _ in 0..hosts.len() {
            let host = &hosts[self.next_host % hosts.len()];
            self.next_host += 1;
            let wanted = self.options.timeout;
            let left = deadline.saturating_duration_since(Instant::now()).max(LEAST_LIMIT);
            match Connection::open(host, &self.credentials, wanted, limit.min(left)).await {
                Ok(connection) => return self.accept(connection),
                Err(reason) => attempts.push(Attempt { address: host.clone(), reason }),
            }
        }
        Err(ClientError::Connect(attempts))
    }

    fn accept(&mut self, connection: Connection) -> Result<Connection, ClientError> {
        let granted = &connection.granted;
        if granted.timeout_ms <= 0 {
            return Err(ClientError::SessionExpired(self.credentials.session));
        }
        self.timeout = Duration::from_millis(granted.timeout_ms as u64);
        self.credentials.session = granted.session;
        self.credentials.password = granted.password.clone().unwrap_or_default();
        self.heard = Instant::now();
        Ok(connection)
    }

    /// Serves calls until the session ends.
    pub(super) async fn run(mut self, mut connection: Connection) {
        let ended = loop {
            let address = connection.address.clone();
            let reason = match self.serve(connection).await {
                Outcome::Over(ended) => break ended,
                Outcome::Lost(reason) => reason,
            };
            self.keep_reads(&address, &reason);
            self.emit(Event::Disconnected { address }).await;
            match self.reconnect().await {
                Ok(next) => connection = next,
                Err(ended) => break ended,
            }
            self.emit(Event::Reconnected { address: connection.address.clone() }).await;
        };
        if ended == Ended::Expired {
            self.emit(Event::Expired).await;
        }
        let _ = self.ended.set(ended);
        self.calls.close();
        let sent = std::mem::take(&mut self.pending).into_iter().map(|(_, call)| call);
        for call in sent.chain(std::mem::take(&mut self.again)) {
            let _ = call.reply.send(Err(self.end_error(ended)));
        }
        while let Ok(call) = self.calls.try_recv() {
            let _ = call.reply.send(Err(self.end_error(ended)));
        }
    }

    fn end_error(&self, ended: Ended) -> ClientError {
        end_error(ended, self.credentials.session)
    }

    /// Reads are sent again; nobody can tell whether the writes were done.
    fn keep_reads(&mut self, address: &str, reason: &io::Error) {
        for (_, call) in std::mem::take(&mut self.pending) {
            if call.request.is_write() || call.request.opcode() == OpCode::CloseSession {
                let _ = call.reply.send(Err(ClientError::ConnectionLost {
                    address: address.to_owned(),
                    reason: reason.to_string(),
                }));
            } else {
                self.again.push_back(call);
            }
        }
    }

    async fn reconnect(&mut self) -> Result<Connection, Ended> {
        let deadline = self.heard + self.timeout;
        let mut limit = self.first_limit();
        loop {
            let turn = self.turn(limit, deadline).await;
            limit *= 2;
            match turn {
                Ok(connection) => return Ok(connection),
                Err(ClientError::SessionExpired(_)) => return Err(Ended::Expired),
                Err(_) if self.calls.is_closed() => return Err(Ended::Closed),
                Err(_) if Instant::now() >= deadline => return Err(Ended::Expired),
                Err(_) => sleep(RECONNECT_PAUSE).await,
            }
        }
    }

    async fn emit(&self, event: Event) {
        // A full stream stops the session on purpose: nothing here grows without bound.
        let _ = self.events.send(event).await;
    }

    async fn serve(&mut self, connection: Connection) -> Outcome {
        let Connection { address, mut stream, mut input, .. } = connection;
        let address: Arc<str> = address.into();
        let (mut reader, mut writer) = stream.split();
        let mut out = self.preamble();
        let mut sent = Instant::now();
        loop {
            loop {
                match next_frame(&mut input) {
                    Ok(Some(frame)) => match self.on_frame(frame, &address).await {
                        Ok(None) => {}
                        Ok(Some(ended)) => return Outcome::Over(ended),
                        Err(error) => return Outcome::Lost(io::Error::other(error)),
                    },
                    Ok(None) => break,
                    Err(error) => return Outcome::Lost(error),
                }
            }
            let dead = self.heard + self.timeout * 2 / 3;
            let ping = sent + self.timeout / 3;
            let room = self.pending.len() < MAX_PENDING && out.len() < MAX_OUTPUT;
            tokio::select! {
                call = self.calls.recv(), if room => match call {
                    Some(call) => self.take_calls(call, &mut out),
                    None => return Outcome::Over(Ended::Closed),
                },
                read = reader.read_buf(&mut input) => match read {
                    Ok(0) => return Outcome::Lost(io::Error::other("closed by the server")),
                    Ok(_) => self.heard = Instant::now(),
                    Err(error) => return Outcome::Lost(error),
                },
                written = writer.write_buf(&mut out), if !out.is_empty() => match written {
                    Ok(_) => sent = Instant::now(),
                    Err(error) => return Outcome::Lost(error),
                },
                () = sleep_until(dead.min(ping)) => {
                    if Instant::now() >= dead {
                        return Outcome::Lost(io::Error::other("the server is silent"));
                    }
                    encode(XID_PING, &Request::Ping, &mut out);
                    sent = Instant::now();
                }
            }
        }
    }

    /// What every connection begins with: credentials, watches, reads to do again.
    fn preamble(&mut self) -> BytesMut {
        let mut out = BytesMut::with_capacity(16 << 10);
        for (scheme, data) in &self.options.auth {
            let auth = Some(Bytes::copy_from_slice(data.as_bytes()));
            let packet = AuthPacket { auth_type: 0, scheme: scheme.as_str().into(), auth };
            encode(XID_AUTH, &Request::Auth(packet), &mut out);
        }
        let watches: Option<SetWatches2> = self.watches.set_watches(self.credentials.last_zxid);
        if let Some(watches) = watches {
            encode(XID_SET_WATCHES, &Request::SetWatches2(watches), &mut out);
        }
        for call in std::mem::take(&mut self.again) {
            self.send(call, &mut out);
        }
        out
    }

    fn take_calls(&mut self, first: Call, out: &mut BytesMut) {
        self.send(first, out);
        while self.pending.len() < MAX_PENDING && out.len() < MAX_OUTPUT {
            let Ok(call) = self.calls.try_recv() else { return };
            self.send(call, out);
        }
    }

    fn send(&mut self, call: Call, out: &mut BytesMut) {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        encode(xid, &call.request, out);
        self.pending.push_back((xid, call));
    }

    async fn on_frame(
        &mut self,
        frame: Bytes,
        address: &Arc<str>,
    ) -> Result<Option<Ended>, DecodeError> {
        let mut r = Reader::new(frame);
        let header = ReplyHeader::read(&mut r)?;
        if header.xid == XID_NOTIFICATION {
            let event = WatcherEvent::read(&mut r)?;
            let kind = EventKind::from_i32(event.event_type);
            let path = strip(&self.options.servers.chroot, &event.path);
            self.emit(Event::Fired { kind, path, zxid: header.zxid }).await;
            return Ok(None);
        }
        self.credentials.last_zxid = self.credentials.last_zxid.max(header.zxid);
        match header.xid {
            XID_PING | XID_SET_WATCHES => return Ok(None),
            XID_AUTH => return Ok((header.err != 0).then_some(Ended::AuthFailed)),
            _ => {}
        }
        let Some((_, call)) = self.pending.pop_front_if(|(xid, _)| *xid == header.xid) else {
            return Err(DecodeError::Value(header.xid, "the xid that is due"));
        };
        if let (Request::AddWatch(watch), 0) = (&call.request, header.err) {
            self.watches.add(watch.path.clone(), watch.mode);
        }
        let closing = call.request.opcode() == OpCode::CloseSession;
        let reply = Reply { err: header.err, body: r.rest(), address: Arc::clone(address) };
        let _ = call.reply.send(Ok(reply));
        Ok(closing.then_some(Ended::Closed))
    }
}

/// The error of a call that a finished session can no longer take.
pub(super) fn end_error(ended: Ended, session: i64) -> ClientError {
    match ended {
        Ended::Closed => ClientError::Closed,
        Ended::Expired => ClientError::SessionExpired(session),
        Ended::AuthFailed => ClientError::AuthFailed,
    }
}

/// Appends one request as a frame.
pub(crate) fn encode(xid: i32, request: &Request, out: &mut BytesMut) {
    let mut w = Writer::append_to(std::mem::take(out));
    w.frame(|w| {
        RequestHeader { xid, opcode: request.opcode() as i32 }.write(w);
        request.write_body(w);
    });
    *out = w.into_inner();
}

/// A path as the user sees it, below the chroot.
pub(super) fn strip(chroot: &str, path: &str) -> String {
    match path.strip_prefix(chroot) {
        Some("") => "/".to_owned(),
        Some(rest) if rest.starts_with('/') => rest.to_owned(),
        _ => path.to_owned(),
    }
}
