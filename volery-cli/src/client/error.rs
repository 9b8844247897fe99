//! What can go wrong between a command and the service, said so that a person can act on it.
//! It never hides a ZooKeeper code: every server error keeps its name.
//! Called by everything in the client, and by `output` to print errors and pick the exit code.

use std::fmt;
use std::io;

use volery_proto::jute::DecodeError;
use volery_proto::zk::ErrorCode;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The server answered with an error code.
    #[error("{}", describe(*.code, .path))]
    Server {
        /// As the protocol has it; ZooKeeper may know codes that we do not.
        code: i32,
        /// The znode that the request named.
        path: String,
    },
    /// No server of the list took the connection.
    #[error("cannot connect: {}", Attempts(.0))]
    Connect(Vec<Attempt>),
    /// The connection broke while the request was on its way: it may or may not have been done.
    #[error("connection to {address} lost ({reason}); the request may or may not have been done")]
    ConnectionLost {
        /// Of the server.
        address: String,
        /// What the socket said.
        reason: String,
    },
    /// The service has given the session up.
    #[error("session 0x{0:x} expired")]
    SessionExpired(i64),
    /// The server refused the credentials.
    #[error("authentication failed")]
    AuthFailed,
    /// The server said something that is not ZooKeeper's protocol.
    #[error("{address} does not speak ZooKeeper's protocol: {reason}")]
    Protocol {
        /// Of the server.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// The servers do not answer this four-letter word.
    #[error("{servers}: {word} is not in 4lw.commands.whitelist")]
    WordRefused {
        /// Who does not.
        servers: String,
        /// Which.
        word: String,
    },
    /// The client was closed before the request was sent.
    #[error("the client is closed")]
    Closed,
}

/// One server that did not take the connection, and why.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) address: String,
    pub(crate) reason: io::Error,
}

impl Attempt {
    /// Whether it may go better soon: somebody is there, who hangs, or serves nobody now.
    pub(crate) fn may_pass(&self) -> bool {
        use io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof};
        matches!(self.reason.kind(), TimedOut | UnexpectedEof | ConnectionReset)
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Attempt { address, reason }) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            match reason.kind() {
                io::ErrorKind::ConnectionRefused => {
                    write!(f, "{separator}{address}: connection refused")?;
                }
                _ => write!(f, "{separator}{address}: {reason}")?,
            }
        }
        Ok(())
    }
}

impl ClientError {
    /// A body that does not decode.
    pub(crate) fn decode(address: &str, error: &DecodeError) -> ClientError {
        ClientError::Protocol { address: address.to_owned(), reason: error.to_string() }
    }

    /// The server's error code, if that is what it is.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Server { code, .. } => ErrorCode::from_i32(*code),
            _ => None,
        }
    }

    /// Name of the error for scripts: ZooKeeper's own where it has one.
    pub(crate) fn name(&self) -> String {
        match self {
            ClientError::Server { code, .. } => name_of(*code),
            ClientError::Connect(_) => "CANNOTCONNECT".into(),
            ClientError::ConnectionLost { .. } => "CONNECTIONLOSS".into(),
            ClientError::SessionExpired(_) => "SESSIONEXPIRED".into(),
            ClientError::AuthFailed => "AUTHFAILED".into(),
            ClientError::Protocol { .. } => "PROTOCOL".into(),
            ClientError::WordRefused { .. } => "WORDREFUSED".into(),
            ClientError::Closed => "CLOSED".into(),
        }
    }
}

/// ZooKeeper's name of a code: its Java constant without underscores.
pub(crate) fn name_of(code: i32) -> String {
    match ErrorCode::from_i32(code) {
        Some(known) => format!("{known:?}").to_uppercase(),
        None => format!("ERROR{code}"),
    }
}

fn describe(code: i32, path: &str) -> String {
    let Some(known) = ErrorCode::from_i32(code) else {
        return format!("unknown error {code} for {path}");
    };
    match known {
        ErrorCode::NoNode => format!("no such znode {path}"),
        ErrorCode::NodeExists => format!("the znode {path} exists already"),
        ErrorCode::NotEmpty => format!("{path} has children"),
        ErrorCode::BadVersion => format!("{path} has another version"),
        ErrorCode::NoAuth => format!("the ACL does not allow this on {path}"),
        ErrorCode::InvalidAcl => format!("the ACL given for {path} is not valid"),
        ErrorCode::NoChildrenForEphemerals => {
            format!("{path}: its parent is ephemeral and has no children")
        }
        ErrorCode::BadArguments => format!("the server refuses these arguments for {path}"),
        ErrorCode::QuotaExceeded => format!("{path} would exceed a quota"),
        ErrorCode::Unimplemented => {
            format!("the server does not have this operation, or has it off ({path})")
        }
        ErrorCode::SessionExpired => "the session expired".into(),
        ErrorCode::AuthFailed => "authentication failed".into(),
        ErrorCode::ThrottledOp => "the server is throttling requests".into(),
        ErrorCode::NotReadOnly => "the server is in read-only mode".into(),
        ErrorCode::RuntimeInconsistency => format!("{path}: not tried"),
        other => format!("{} for {path}", name_of(other.code())),
    }
}
