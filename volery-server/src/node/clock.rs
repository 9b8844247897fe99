//! The clocks, read here and nowhere else; the core is handed the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::types::Now;

/// The process's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX),
            monotonic_us: u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}
