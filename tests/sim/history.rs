//! What the clients of a history did and saw, in the order of (virtual) time.
//! It judges nothing: the properties do. Written by the world, read by the properties.

use bytes::Bytes;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::zk::{ConnectRequest, ConnectResponse, ReplyHeader, Request, WatcherEvent};

/// One thing that a client did or saw.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "fields that only a failure's story shows")]
pub(crate) enum What {
    /// A handshake left.
    Connecting(ConnectRequest),
    /// Its answer came.
    Connected(ConnectResponse),
    /// A request left.
    Sent(Request),
    /// A reply came. `upper`: the highest zxid that was on disk when it left the server.
    Reply { header: ReplyHeader, body: Bytes, upper: Zxid },
    /// A watch event came.
    Event { zxid: i64, event: WatcherEvent },
    /// The connection is gone for the client: what is unanswered is unknown.
    Lost,
    /// A server crashed.
    Crash(usize),
    /// The server said that it expires this session.
    Expiring(SessionId),
    /// The server heard this connection.
    Heard,
    /// A server is up again.
    Recovered,
    /// The server executed everything: all that is below `upper` was to be told.
    Quiet,
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Monotonic microseconds.
    pub(crate) at_us: u64,
    /// The connection; 0 where none is concerned.
    pub(crate) conn: u64,
    /// What.
    pub(crate) what: What,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    /// Whether to print entries as they come.
    pub(crate) trace: bool,
}

impl History {
    pub(crate) fn push(&mut self, at_us: u64, conn: u64, what: What) {
        if self.trace && !matches!(what, What::Heard) {
            println!("{at_us:>9} conn {conn:<3} {what:?}");
        }
        self.entries.push(Entry { at_us, conn, what });
    }
}
