//! The clocks, read here and nowhere else; the core is handed the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    /// Since the start of the process.
    pub(super) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX),
            monotonic_us: u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// Between two lines about how far something has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Says when something long is worth a line again.
#[derive(Debug)]
pub(super) struct Progress {
    clock: Clock,
    next: Duration,
}

impl Progress {
    pub(super) fn new(clock: Clock) -> Progress {
        Progress { clock, next: clock.elapsed() + PROGRESS_INTERVAL }
    }

    /// Whether a line is due; only once.
    pub(super) fn due(&mut self) -> bool {
        let now = self.clock.elapsed();
        let due = now >= self.next;
        if due {
            self.next = now + PROGRESS_INTERVAL;
        }
        due
    }
}
