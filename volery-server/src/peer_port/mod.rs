//! Sockets between servers: frames of bytes out to each peer, in order, on lanes that cannot block
//! one another; frames of bytes in. It knows no ring, no message and no consensus: a frame is a
//! kind and its bytes. Started by the node, which gives it the way to the core.
//!
//! ```text
//!   server 1                                              server 2
//!   PeerHandle::send ─► outbox ─► link (dials) ═ Control ═► inbound ─► PeerEvent::Frames
//!                       outbox ─► link (dials) ═ Ring ════► inbound ─►
//!                       outbox ─► link (dials) ═ Bulk ════► inbound ─►
//!   PeerEvent::Frames ◄─ inbound ◄═ Control, Ring, Bulk ═ links of server 2
//! ```
//!
//! A link carries frames one way: whoever dials, sends. So a server that does not read a lane
//! holds up that lane in that direction and nothing else (ATTACKS row 22). What is in a link's
//! outbox is bounded, and so is what the core has been handed and has not done with ([`Credit`]).
//!
//! Frames of a link arrive in order, and all of them up to some point. Behind that point they are
//! lost with the link, and both sides are told (`Disconnected`).

mod backoff;
mod counts;
mod hello;
mod inbound;
mod link;
mod listener;
mod outbox;
mod quiet;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use volery_proto::ids::ServerId;
use volery_proto::limits::{MAX_CONTRIBUTION_BYTES, MAX_LOG_RECORD};

pub use counts::{Count, PeerCounts};
pub use hello::{MapFingerprint, PROTOCOL_MAX, PROTOCOL_MIN, Refusal, RefusalReason};
pub use listener::{BindError, PeerPort};
pub use tls::{Pem, Tls, TlsError};

use outbox::{Outbox, Pushed};
use quiet::Quiet;

/// What kind of frames a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Heartbeats, decisions, contributions, pulls, touches, skip requests: never behind payload.
    Control,
    /// Payload of rings.
    Ring,
    /// Snapshots, and what a learner missed.
    Bulk,
}

impl Lane {
    /// Every lane, by number.
    pub const ALL: [Lane; 3] = [Lane::Control, Lane::Ring, Lane::Bulk];

    fn index(self) -> usize {
        match self {
            Lane::Control => 0,
            Lane::Ring => 1,
            Lane::Bulk => 2,
        }
    }
}

/// Which way the frames of a link go, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the peer: this server dialed.
    Out,
    /// From the peer.
    In,
}

/// What it is, and its bytes.
pub type Frame = (u8, Bytes);

/// What the port tells the core of. Events of one link come in order.
#[derive(Debug)]
pub enum PeerEvent {
    /// A link is there. Outwards: what is sent from now on goes to this start of the peer.
    Connected {
        /// Who.
        peer: ServerId,
        /// Which.
        lane: Lane,
        /// Which way.
        way: Way,
        /// Another number is another start of the peer's process.
        nonce: u64,
    },
    /// It is gone, with all that had not arrived. It is dialed again.
    Disconnected {
        /// Who.
        peer: ServerId,
        /// Which.
        lane: Lane,
        /// Which way.
        way: Way,
        /// Why.
        reason: End,
    },
    /// Frames, in order.
    Frames {
        /// Whose.
        peer: ServerId,
        /// On which lane.
        lane: Lane,
        /// What.
        frames: Vec<Frame>,
        /// To be dropped when the frames are done with.
        credit: Credit,
    },
}

/// Room that frames take up until this is dropped; while there is no more of it the link is not
/// read, and its sender has to wait.
#[derive(Debug)]
pub struct Credit(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The peer closed it.
    #[error("the peer closed it")]
    Closed,
    /// The system says so.
    #[error("{0}")]
    Broken(String),
    /// The peer took nothing for the time that its lane allows.
    #[error("the peer takes nothing")]
    Stuck,
    /// More was to be sent on the control lane than may wait.
    #[error("too much waits on the control lane")]
    Overflow,
    /// What came is no frame.
    #[error("{0}")]
    Malformed(&'static str),
    /// The peer dialed anew.
    #[error("the peer dialed anew")]
    Replaced,
    /// This server stops.
    #[error("this server stops")]
    Stopped,
}

/// What the port needs of the node.
pub trait Core: Send + Sync + 'static {
    /// Hands over an event; never waits.
    fn event(&self, event: PeerEvent);
}

/// Limits of a lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Longest body of a frame, in bytes; the same at both ends.
    pub max_frame: usize,
    /// Bytes that may wait for the socket; a frame alone always may.
    pub send_bytes: usize,
    /// Bytes that the core may have been handed and not be done with.
    pub receive_bytes: usize,
    /// A peer that takes nothing for so long is given up.
    pub patience: Duration,
}

/// Limits of the port.
#[derive(Clone, Copy, Debug)]
pub struct PeerLimits {
    /// By number of the lane.
    pub lanes: [LaneLimits; 3],
    /// For connecting to one address. The system sends the first packet again after one, three
    /// and seven seconds: a new attempt finds a network that is mended sooner.
    pub connect: Duration,
    /// For connecting and the handshake together.
    pub handshake: Duration,
    /// Between two attempts, at first.
    pub backoff_min: Duration,
    /// And later.
    pub backoff_max: Duration,
}

impl Default for PeerLimits {
    fn default() -> PeerLimits {
        let patience = Duration::from_secs(5);
        let lane = |max_frame, send_bytes, receive_bytes, patience| LaneLimits {
            max_frame,
            send_bytes,
            receive_bytes,
            patience,
        };
        // Room for what a message has around its payload.
        const AROUND: usize = 64 << 10;
        PeerLimits {
            lanes: [
                lane(MAX_CONTRIBUTION_BYTES + AROUND, 256 << 20, 64 << 20, patience),
                lane(MAX_LOG_RECORD + AROUND, 64 << 20, 64 << 20, patience),
                // Whoever writes a snapshot to its disk is slow, not dead.
                lane(MAX_LOG_RECORD + AROUND, 64 << 20, 64 << 20, 6 * patience),
            ],
            connect: Duration::from_secs(1),
            handshake: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// How to talk to the other servers.
#[derive(Clone, Debug)]
pub struct PeerPortOptions {
    /// Who this is.
    pub me: ServerId,
    /// Another number at each start of the process.
    pub nonce: u64,
    /// Which cluster.
    pub cluster: u64,
    /// What all servers of the cluster must agree on.
    pub map: MapFingerprint,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The other servers: host (a name or an address, without brackets) and port.
    pub peers: BTreeMap<ServerId, (String, u16)>,
    /// Guarded by TLS, or not at all.
    pub tls: Option<Tls>,
    /// TCP keep-alive.
    pub keep_alive: bool,
    /// Limits.
    pub limits: PeerLimits,
}

/// What all tasks of the port share.
#[derive(Debug)]
struct Shared {
    options: PeerPortOptions,
    counts: PeerCounts,
    quiet: Quiet,
    outboxes: BTreeMap<ServerId, [Outbox; 3]>,
}

impl Shared {
    fn limits(&self, lane: Lane) -> &LaneLimits {
        &self.options.limits.lanes[lane.index()]
    }
}

/// The way to the other servers. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct PeerHandle(Arc<Shared>);

impl PeerHandle {
    /// Puts a frame onto a link; never waits. False if it was dropped, which is counted: there is
    /// no such link now, or no room on it. Where there is no room on the control lane, its link is
    /// closed as well, so that the peer cannot miss one frame and take the next.
    pub fn send(&self, peer: ServerId, lane: Lane, kind: u8, body: Bytes) -> bool {
        let Some(outboxes) = self.0.outboxes.get(&peer) else { return false };
        let bytes = body.len();
        let pushed = outboxes[lane.index()].push(kind, body);
        if pushed == Pushed::TooLong {
            tracing::error!(%peer, ?lane, kind, bytes, "a frame is longer than its lane allows");
        }
        if pushed != Pushed::Queued {
            self.0.counts.frames_dropped.add(1);
        }
        pushed == Pushed::Queued
    }

    /// Peers that can be sent control frames now.
    #[must_use]
    pub fn connected(&self) -> Vec<ServerId> {
        let open = |lanes: &[Outbox; 3]| lanes[Lane::Control.index()].is_open();
        let all = self.0.outboxes.iter();
        all.filter(|(_, lanes)| open(lanes)).map(|(peer, _)| *peer).collect()
    }

    /// What keeps servers from each other at present, a sentence each.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.0.quiet.present()
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> &PeerCounts {
        &self.0.counts
    }
}

/// A connection, plain or guarded.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests;
