//! What the peer port counts since the start. One addition for each read or write of a socket, the
//! rest only where something goes wrong. Read by the node for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// So many by now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of all links.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Bytes from peers.
    pub bytes_received: Count,
    /// Bytes to peers.
    pub bytes_sent: Count,
    /// Frames to peers that were dropped: no link, or no room on it.
    pub frames_dropped: Count,
    /// Links that had to be made again.
    pub reconnects: Count,
}
