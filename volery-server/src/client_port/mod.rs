//! Clients' sockets: bytes in, decoded requests to the core; bytes from the core, out.
//! It knows no session and no znode. Started by the node, which gives it the way to the core.

mod connection;
mod counts;
mod listener;
mod outstanding;
mod sparse;

pub use connection::{ClientHandle, Outgoing};
pub use counts::{Count, PortCounts};
pub use listener::{Limits, ListenError, Listener, ListenerOptions};

use std::net::SocketAddr;
use std::sync::Arc;

use crate::core::front_end::{Handshake, Received};
use crate::core::types::ConnId;

/// What the port tells the core of.
#[derive(Debug)]
pub enum PortEvent {
    /// A client connected; bytes for it go through the handle.
    Opened {
        /// Its number from now on.
        conn: ConnId,
        /// Its address.
        peer: SocketAddr,
        /// The way back.
        handle: Arc<ClientHandle>,
    },
    /// Its first frame.
    Handshake {
        /// Whose.
        conn: ConnId,
        /// What.
        handshake: Handshake,
    },
    /// Requests, in order.
    Requests {
        /// Whose.
        conn: ConnId,
        /// In order.
        requests: Vec<Received>,
    },
    /// Bytes reached its socket.
    Written {
        /// Whose.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// It is gone.
    Closed {
        /// Who.
        conn: ConnId,
        /// The core was through with it, and everything is written.
        finished: bool,
    },
}

/// What the port needs of the node.
pub trait Core: Send + Sync + 'static {
    /// Hands over an event; never waits.
    fn event(&self, event: PortEvent);
    /// Where the port counts.
    fn counts(&self) -> &PortCounts;
    /// The answer to a four-letter word that came on this connection.
    fn word(&self, conn: ConnId, word: [u8; 4]) -> impl Future<Output = String> + Send;
    /// Random bytes, for a session's password.
    fn entropy(&self) -> [u8; 16];
}
