//! One client of the model: what it does, step by step, and everything that it is told, in order.
//! It moves to another server with its session, and registers its watches again, as clients do.

use std::collections::VecDeque;

use bytes::Bytes;
use volery_proto::ids::Zxid;
use volery_proto::jute::{Jute, Reader};
use volery_proto::zk::{
    ConnectRequest, ConnectResponse, ErrorCode, GetDataResponse, PathRequest, ReplyHeader, Request,
    SetDataRequest, SetWatches2, WatchedPathRequest, WatcherEvent,
};
use volery_server::core::front_end::Received;
use volery_server::core::types::ConnId;

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Do {
    Read(&'static str),
    /// And leaves a watch.
    Watch(&'static str),
    Write(&'static str),
    Sync(&'static str),
    /// Its connection breaks, and it comes back at the other server.
    Move,
}

/// A step, and whether it waits for the answers of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Step {
    pub(super) what: Do,
    pub(super) waits: bool,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// The answer to this step, the zxid in its header, and that of the znode's last change.
    Reply { step: usize, header: Zxid, shown: Zxid, err: i32 },
    /// Of a change; without a zxid it was missed, and is told when the client comes back.
    Event { path: String, zxid: Option<Zxid> },
    /// It has moved; what was not answered by then is unknown.
    Moved,
}

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Step(usize),
    SetWatches,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) server: usize,
    /// None after a move that is not through.
    pub(super) conn: ConnId,
    open: bool,
    /// The connection is gone for good.
    pub(super) lost: bool,
    session: i64,
    password: Bytes,
    last_zxid: i64,
    /// Steps begun.
    pub(super) at: usize,
    asked: VecDeque<Asked>,
    /// Watches that it means to hold.
    watches: Vec<&'static str>,
    pub(super) told: Vec<Told>,
    /// Per step begun: the highest zxid that anybody had been answered with by then.
    pub(super) floors: Vec<Zxid>,
}

impl Client {
    pub(super) fn idle(&self) -> bool {
        self.open && self.asked.is_empty()
    }

    /// Whether the step may begin.
    pub(super) fn may(&self, step: Step) -> bool {
        self.open && !self.lost && (self.asked.is_empty() || !step.waits)
    }

    /// A connection to this server: its handshake.
    pub(super) fn connect(&mut self, server: usize, conn: ConnId) -> ConnectRequest {
        if self.session != 0 {
            self.told.push(Told::Moved);
        }
        (self.server, self.conn, self.open) = (server, conn, false);
        self.asked.clear();
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: 1000,
            session: self.session,
            password: Some(self.password.clone()),
            read_only: None,
        }
    }

    /// The request of the next step; the data of a write says whose it is.
    pub(super) fn ask(&mut self, me: usize, what: Do, floor: Zxid) -> Received {
        let step = self.at;
        self.at += 1;
        self.floors.push(floor);
        self.asked.push_back(Asked::Step(step));
        let read =
            |path: &str, watch| Request::GetData(WatchedPathRequest { path: path.into(), watch });
        let request = match what {
            Do::Read(path) => read(path, false),
            Do::Watch(path) => read(path, true),
            Do::Write(path) => {
                let data = Some(Bytes::from(vec![me as u8, step as u8]));
                Request::SetData(SetDataRequest { path: path.into(), data, version: -1 })
            }
            Do::Sync(path) => Request::Sync(PathRequest { path: path.into() }),
            Do::Move => Request::Ping,
        };
        received(step as i32 + 1, request)
    }

    /// What the server says; the answer is what the client asks at once.
    pub(super) fn hear(&mut self, frame: Bytes, steps: &[Step]) -> Option<Received> {
        let mut r = Reader::new(frame);
        if !self.open {
            let response = ConnectResponse::read(&mut r).expect("a connect response");
            self.open = response.timeout_ms != 0;
            self.lost = !self.open;
            self.session = response.session;
            self.password = response.password.unwrap_or_default();
            return self.set_watches();
        }
        let header = ReplyHeader::read(&mut r).expect("a reply header");
        if header.xid == -1 {
            let event = WatcherEvent::read(&mut r).expect("an event");
            self.watches.retain(|path| **path != *event.path);
            let zxid = u64::try_from(header.zxid).ok().map(Zxid);
            self.told.push(Told::Event { path: event.path.to_string(), zxid });
            return None;
        }
        self.last_zxid = self.last_zxid.max(header.zxid);
        let Some(Asked::Step(step)) = self.asked.pop_front() else { return None };
        let header_zxid = Zxid(header.zxid as u64);
        let what = steps[step].what;
        let shown = match what {
            Do::Read(_) | Do::Watch(_) if header.err == 0 => {
                let response = GetDataResponse::read(&mut r).expect("data");
                Zxid(response.stat.mzxid as u64)
            }
            _ => header_zxid,
        };
        if let Do::Watch(path) = what {
            self.watches.push(path);
        }
        self.told.push(Told::Reply { step, header: header_zxid, shown, err: header.err });
        None
    }

    fn set_watches(&mut self) -> Option<Received> {
        if self.lost || self.watches.is_empty() {
            return None;
        }
        self.asked.push_back(Asked::SetWatches);
        let data = self.watches.iter().map(|path| (*path).into()).collect();
        let lists = SetWatches2 { relative_zxid: self.last_zxid, data, ..SetWatches2::default() };
        Some(received(-8, Request::SetWatches2(lists)))
    }
}

fn received(xid: i32, request: Request) -> Received {
    let body: Result<_, (ErrorCode, bool)> = Ok(request.clone());
    Received { xid, opcode: request.opcode() as i32, body }
}
