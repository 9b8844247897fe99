//! What the port counts since the start: what never reaches the core. One addition for each read
//! of a socket, the rest only where something goes wrong. Read by the node for metrics.

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

/// Counts of all connections.
#[derive(Debug, Default)]
pub struct PortCounts {
    /// Bytes that clients sent.
    pub bytes_received: Count,
    /// Connections refused, too many being open.
    pub rejected: Count,
    /// Connections closed by the port: a broken protocol, or silence before the handshake.
    pub dropped: Count,
    /// Those of them that were silent.
    pub sessionless: Count,
    /// Those of them whose request was above `jute.maxbuffer`.
    pub large_requests: Count,
}
