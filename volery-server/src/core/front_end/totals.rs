//! What the front end counts since the start, and why it closes connections. Plain numbers and
//! names: decides nothing. Filled by the front end, read by the node for metrics and its log.

/// Counts that only grow; `srst` does not touch them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Handshakes: connections that asked for a session.
    pub connection_requests: u64,
    /// Connections that the server closed though their clients had not asked for it.
    pub drops: u64,
    /// Failed authentications.
    pub auth_failures: u64,
    /// Bytes of replies, without their lengths.
    pub response_bytes: u64,
    /// Bytes of watch events, without their lengths.
    pub watch_bytes: u64,
    /// Writes of clients that one partition executes.
    pub single_partition: u64,
    /// Writes of clients that several partitions execute together.
    pub multi_partition: u64,
    /// Commands of this server that were executed.
    pub executed: u64,
}

/// Bytes of replies since the start or `srst`, without their lengths; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseSizes {
    /// Of the last one.
    pub last: u64,
    /// Of the shortest one.
    pub min: u64,
    /// Of the longest one.
    pub max: u64,
}

impl ResponseSizes {
    pub(super) fn record(&mut self, bytes: u64) {
        self.min = if self.max == 0 { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
        self.last = bytes;
    }
}

/// Why the front end closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed its session.
    Asked,
    /// A reply was the last one: authentication failed, or a request was not understood.
    Refused,
    /// The session expired, or was closed from elsewhere.
    SessionEnded,
    /// The session lives at another connection by now.
    SessionMoved,
    /// The client wanted to go on with a session that there is not, or with a wrong password.
    SessionUnknown,
    /// The handshake came twice, or before clients are served.
    NotServed,
    /// Nobody counts any more that this server hears its clients: they are to find another.
    CutOff,
    /// The client has seen more than this service: it comes from another one.
    Ahead,
    /// The client does not read its events.
    TooManyEvents,
    /// The replica on another server that served it is lost, or none is found.
    ReplicaLost,
}

impl CloseReason {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Asked => "the client closed its session",
            CloseReason::Refused => "a request was refused, the connection with it",
            CloseReason::SessionEnded => "the session ended",
            CloseReason::SessionMoved => "the session moved to another connection",
            CloseReason::SessionUnknown => "no such session, or a wrong password",
            CloseReason::CutOff => "this server has lost contact with the others",
            CloseReason::NotServed => "the handshake came twice, or before clients are served",
            CloseReason::Ahead => "the client has seen a zxid that this service has not reached",
            CloseReason::ReplicaLost => {
                "no replica, or another one, answers for a partition that is not on this server"
            }
            CloseReason::TooManyEvents => "too many events wait for the client",
        }
    }
}
