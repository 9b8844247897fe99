//! A client as ZooKeeper's own: a session that outlives its connections, requests in order,
//! watches that it registers again. It touches no server: it says what it sends.
//! Driven by the world.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use volery_proto::jute::{Jute, Reader, Writer};
use volery_proto::zk::{
    ConnectRequest, ConnectResponse, ReplyHeader, Request, RequestHeader, SetWatches2, WatcherEvent,
};

/// A lastZxidSeen that no client can have from this service (ATTACKS row 20).
pub(crate) const LIE: i64 = i64::MAX;
pub(crate) const XID_EVENT: i32 = -1;
pub(crate) const XID_PING: i32 = -2;
pub(crate) const XID_SET_WATCHES: i32 = -8;

/// The watches that a client means to hold.
#[derive(Clone, Debug, Default)]
struct Held {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

/// One client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) session: i64,
    password: Bytes,
    pub(crate) timeout_us: u64,
    /// 0: none.
    pub(crate) conn: u64,
    pub(crate) open: bool,
    xid: i32,
    pub(crate) outstanding: VecDeque<(i32, Request)>,
    pub(crate) script: VecDeque<Request>,
    pub(crate) left: usize,
    last_zxid: i64,
    held: Held,
    pub(crate) silent_until_us: u64,
    pub(crate) last_sent_us: u64,
    /// It said closeSession: nothing follows on this connection.
    pub(crate) closing: bool,
    /// When it looks next at what it could do.
    pub(crate) turn_at_us: Option<u64>,
    /// Its last words are said.
    pub(crate) finished: bool,
}

/// What a client sees in one frame.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Connected(ConnectResponse),
    Reply(ReplyHeader, Bytes),
    Event(i64, WatcherEvent),
}

fn strings(of: &BTreeSet<String>) -> Vec<bytestring::ByteString> {
    of.iter().map(|s| s.as_str().into()).collect()
}

/// The frame of a request.
pub(crate) fn encode(xid: i32, request: &Request) -> Bytes {
    let mut w = Writer::new();
    RequestHeader { xid, opcode: request.opcode() as i32 }.write(&mut w);
    request.write_body(&mut w);
    w.finish()
}

/// Cuts what the server sent into frames.
pub(crate) fn frames(mut bytes: BytesMut) -> Result<Vec<Bytes>, String> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Some(head) = bytes.first_chunk::<4>() else { return Err("half a frame".into()) };
        let length = u32::from_be_bytes(*head) as usize;
        if bytes.len() < 4 + length {
            return Err("a frame is cut".into());
        }
        frames.push(bytes.split_to(4 + length).freeze().slice(4..));
    }
    Ok(frames)
}

impl Client {
    /// A client with so many requests to send.
    pub(crate) fn new(left: usize) -> Client {
        Client { left, ..Client::default() }
    }

    /// The handshake for a new connection.
    pub(crate) fn handshake(&mut self, conn: u64, timeout_ms: i32) -> ConnectRequest {
        self.conn = conn;
        self.open = false;
        self.closing = false;
        self.outstanding.clear();
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms,
            session: self.session,
            password: Some(self.password.clone()),
            read_only: Some(false),
        }
    }

    /// Forgets the session.
    pub(crate) fn forget(&mut self) {
        self.session = 0;
        self.password = Bytes::new();
        self.last_zxid = 0;
        self.held = Held::default();
    }

    /// The connection is gone; requests without an answer are unknown.
    pub(crate) fn lost(&mut self) {
        if self.closing {
            self.forget();
        }
        self.conn = 0;
        self.open = false;
        self.outstanding.clear();
    }

    /// Gives a request its xid.
    pub(crate) fn send(&mut self, request: Request) -> (i32, Request) {
        let xid = match request {
            Request::Ping => XID_PING,
            Request::SetWatches2(_) => XID_SET_WATCHES,
            _ => {
                self.xid += 1;
                self.xid
            }
        };
        self.closing |= matches!(request, Request::CloseSession);
        self.outstanding.push_back((xid, request.clone()));
        (xid, request)
    }

    /// Reads a frame.
    pub(crate) fn receive(&mut self, frame: Bytes) -> Result<Seen, String> {
        let mut r = Reader::new(frame);
        if !self.open {
            let response = ConnectResponse::read(&mut r).map_err(|e| e.to_string())?;
            self.connected(&response);
            return Ok(Seen::Connected(response));
        }
        let header = ReplyHeader::read(&mut r).map_err(|e| e.to_string())?;
        if header.xid == XID_EVENT {
            let event = WatcherEvent::read(&mut r).map_err(|e| e.to_string())?;
            self.fired(&event);
            return Ok(Seen::Event(header.zxid, event));
        }
        let Some((xid, request)) = self.outstanding.pop_front() else {
            return Err(format!("a reply that nobody waits for: {header:?}"));
        };
        if xid != header.xid {
            return Err(format!("reply to {} where {xid} was due", header.xid));
        }
        if header.zxid > 0 {
            self.last_zxid = self.last_zxid.max(header.zxid);
        }
        self.answered(&request, header.err);
        Ok(Seen::Reply(header, r.rest()))
    }

    fn connected(&mut self, response: &ConnectResponse) {
        if response.timeout_ms == 0 {
            self.forget();
            return;
        }
        self.open = true;
        self.session = response.session;
        self.password = response.password.clone().unwrap_or_default();
        self.timeout_us = response.timeout_ms as u64 * 1000;
    }

    fn answered(&mut self, request: &Request, err: i32) {
        let held = &mut self.held;
        match request {
            Request::Exists(r) if r.watch && err == 0 => held.data.insert(r.path.to_string()),
            Request::Exists(r) if r.watch && err == -101 => held.exist.insert(r.path.to_string()),
            Request::GetData(r) if r.watch && err == 0 => held.data.insert(r.path.to_string()),
            Request::GetChildren(r) | Request::GetChildren2(r) if r.watch && err == 0 => {
                held.child.insert(r.path.to_string())
            }
            Request::AddWatch(r) if err == 0 => match r.mode {
                1 => held.recursive.insert(r.path.to_string()),
                _ => held.persistent.insert(r.path.to_string()),
            },
            Request::RemoveWatches(r) if err == 0 => {
                let path: &str = &r.path;
                let (kind, all) = (r.watcher_type, r.watcher_type == 3);
                for (number, paths) in [
                    (1, &mut held.child),
                    (2, &mut held.data),
                    (2, &mut held.exist),
                    (4, &mut held.persistent),
                    (5, &mut held.recursive),
                ] {
                    if all || kind == number {
                        paths.remove(path);
                    }
                }
                true
            }
            Request::CloseSession => {
                self.forget();
                true
            }
            _ => false,
        };
    }

    fn fired(&mut self, event: &WatcherEvent) {
        let path: &str = &event.path;
        if event.event_type != 4 {
            self.held.data.remove(path);
            self.held.exist.remove(path);
        }
        if event.event_type == 2 || event.event_type == 4 {
            self.held.child.remove(path);
        }
    }

    /// What to register again after a reconnect, if anything.
    pub(crate) fn set_watches(&self) -> Option<Request> {
        let held = &self.held;
        let lists = SetWatches2 {
            relative_zxid: self.last_zxid,
            data: strings(&held.data),
            exist: strings(&held.exist),
            child: strings(&held.child),
            persistent: strings(&held.persistent),
            recursive: strings(&held.recursive),
        };
        let empty = SetWatches2 { relative_zxid: self.last_zxid, ..SetWatches2::default() };
        (lists != empty).then_some(Request::SetWatches2(lists))
    }
}
