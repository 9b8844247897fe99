//! Snapshots on their way between servers. It decides nothing: the machines ask and answer; here
//! are the disk, the pieces and the pace. Two threads of the node, one that sends and one that
//! receives.
//!
//! ```text
//! machine ─ Fetch(partitions) ──────────────────────────────────► machine
//! receive ◄──────────── offer: partition, zxid, bytes ─────────── send ◄─ SendSnapshots
//!    │ ──────────────── want: zxid, offset, bytes ──────────────►  │
//!    │ ◄─────────────── piece, piece, … ──────────────────────────  │   so many bytes a second
//!    │ ──────────────── want: the next range ───────────────────►  │ ─► SnapshotsSending
//!    └─► all there, checked, in its place ─► SnapshotReceived
//! ```
//!
//! Whoever receives says what it wants: the sender keeps nothing but an open file, and either may
//! start anew at any time. What is there stays on the disk, under a name that says whose and which
//! it is; the machine asks again as long as it lacks something, is offered a snapshot again, and
//! the rest of what is there follows, whoever offers and whatever is newer: a large snapshot that
//! began anew each time would never arrive. Only when its sender says that it is gone, or nothing
//! for long, the new one is taken.

mod pace;
mod receive;
mod send;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use volery_proto::ids::{PartitionId, ServerId};

pub(super) use pace::Pace;
pub(super) use receive::{Part, Receiving};
pub(super) use send::{Job, Sending};

/// An offer, or a piece: for whoever receives.
pub(super) const SNAPSHOT: u8 = 2;
/// What is wanted: for whoever sends.
pub(super) const WANT: u8 = 3;

/// Puts a frame of a kind onto the bulk lane to a server; false where it is lost.
pub(super) type Put = Box<dyn Fn(ServerId, u8, Bytes) -> bool + Send>;

/// What the machine is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TransferEvent {
    /// A snapshot of this server is arriving.
    Arriving(ServerId),
    /// The snapshot of this partition is in its place.
    Received(PartitionId),
    /// What this server sent cannot be used.
    Refused(ServerId),
    /// A server is getting a snapshot of this one.
    Sending,
    /// It has all of it.
    Sent,
}

/// Tells the machine.
pub(super) type Tell = Box<dyn Fn(TransferEvent) + Send>;
