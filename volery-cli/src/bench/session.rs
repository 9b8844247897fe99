//! One session of the measured load, from its connection to its end, over broken connections too.
//! It chooses no request and prints nothing.
//! Called by `load`; `fill` opens its sessions here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout, timeout_at};
use volery_proto::zk::Request;

use super::load::Load;
use super::plan::Plan;
use super::pump::{Kind, Next, OnTheWay, Source, pump};
use super::stats::{Sample, Stats, Window};
use crate::client::connection::{Connection, Credentials};
use crate::client::session::encode;

/// How long the last answers may take after the window.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause before a broken session tries the next server.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
/// How long it waits for that server at first; a quarter longer each time. A server that does not
/// serve may take connections and leave them without an answer.
const REOPEN_PATIENCE: Duration = Duration::from_millis(100);
/// A request that is due is sent at the timer's next tick; so much is not the server's doing.
const TIMER: Duration = Duration::from_millis(2);

/// A new session.
pub(super) async fn open_new(host: &str, limit: Duration) -> std::io::Result<Connection> {
    Connection::open(host, &Credentials::default(), limit, limit).await
}

/// Ends the session and waits for the server's word.
pub(super) async fn close(connection: &mut Connection) -> std::io::Result<()> {
    let mut out = BytesMut::new();
    encode(i32::MAX, &Request::CloseSession, &mut out);
    connection.stream.write_all(&out).await?;
    match connection.stream.read_buf(&mut connection.input).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// When requests are due where the load has a fixed rate.
#[derive(Debug)]
struct Pace {
    next: Instant,
    interval: Duration,
}

/// The source of one session's requests.
pub(super) struct SessionLoad {
    session: usize,
    /// Index of the server it is connected to.
    host: usize,
    plan: Plan,
    stats: Rc<RefCell<Stats>>,
    window: Window,
    pace: Option<Pace>,
    sampled: bool,
}

impl SessionLoad {
    pub(super) fn new(
        load: &Load,
        session: usize,
        stats: Rc<RefCell<Stats>>,
        window: Window,
    ) -> SessionLoad {
        let pace = load.rate.map(|rate| {
            // The sessions take turns.
            let turn = Duration::from_secs(1) / rate;
            let next = Instant::now() + turn * session as u32;
            Pace { next, interval: turn * load.sessions as u32 }
        });
        SessionLoad {
            session,
            host: session % load.hosts.len(),
            plan: Plan::new(&load.shape, session),
            stats,
            window,
            pace,
            sampled: load.samples,
        }
    }

    /// Requests were left without an answer. Those of the warm-up do not count.
    fn lost(&mut self, count: u64) {
        if Instant::now() >= self.window.start {
            self.stats.borrow_mut().lost += count;
        }
    }
}

impl Source for SessionLoad {
    fn next(&mut self, xid: i32, now: Instant, out: &mut Vec<u8>) -> Next {
        if now >= self.window.end {
            return Next::Dry;
        }
        let mut since = now;
        if let Some(pace) = &mut self.pace {
            if now < pace.next {
                return Next::Wait(pace.next.min(self.window.end));
            }
            // What is late because earlier answers are has waited since it was due.
            if now - pace.next > TIMER {
                since = pace.next;
            }
            pace.next += pace.interval;
        }
        Next::Sent { kind: self.plan.append(xid, out), since }
    }

    fn answered(&mut self, kind: Kind, sent: Instant, now: Instant, code: i32) {
        let Some(second) = self.window.second(now) else { return };
        let latency = now - sent;
        let mut stats = self.stats.borrow_mut();
        stats.answered(kind, latency, second, code);
        if self.sampled {
            let (session, host) = (self.session, self.host);
            stats.samples.push(Sample { at: now, latency, session, host, code });
        }
    }
}

/// Keeps one session busy to the end of the window. Where its connection breaks, it goes on at
/// the next server; as a new session if that is gone.
pub(super) async fn run(load: Arc<Load>, connection: Connection, mut source: SessionLoad) {
    let granted = &connection.granted;
    let mut credentials = Credentials {
        session: granted.session,
        password: granted.password.clone().unwrap_or_default(),
        last_zxid: 0,
    };
    let mut connection = Some(connection);
    let mut on_the_way = OnTheWay::default();
    let mut patience = REOPEN_PATIENCE;
    let end = source.window.end;
    loop {
        if let Some(open) = &mut connection {
            let work = pump(open, load.outstanding, &mut source, &mut on_the_way);
            if let Ok(Ok(())) = timeout_at((end + DRAIN).into(), work).await {
                break;
            }
            source.lost(on_the_way.len() as u64);
            patience = REOPEN_PATIENCE;
        }
        if Instant::now() >= end {
            return;
        }
        sleep(REOPEN_PAUSE).await;
        source.host = (source.host + 1) % load.hosts.len();
        let host = &load.hosts[source.host];
        connection = Connection::open(host, &credentials, load.timeout, patience).await.ok();
        patience = (patience * 5 / 4).min(load.timeout);
        if connection.as_ref().is_some_and(|open| open.granted.timeout_ms == 0) {
            (connection, credentials) = (None, Credentials::default());
        } else if let Some(open) = &connection {
            credentials.session = open.granted.session;
            credentials.password = open.granted.password.clone().unwrap_or_default();
        }
    }
    if let Some(mut connection) = connection {
        let _ = timeout(DRAIN, close(&mut connection)).await;
    }
}

/// Opens and closes sessions, one after the other.
pub(super) async fn open_and_close(load: Arc<Load>, mut source: SessionLoad) {
    let kind = Kind { write: true, multi: false };
    let host = &load.hosts[source.host];
    while Instant::now() < source.window.end {
        let begun = Instant::now();
        let done = async {
            let mut connection = open_new(host, load.timeout).await?;
            close(&mut connection).await
        };
        if done.await.is_ok() {
            source.answered(kind, begun, Instant::now(), 0);
        } else {
            source.lost(1);
            sleep(REOPEN_PAUSE).await;
        }
    }
}
