//! The pace at which a server sends to those that are behind: so many bytes a second, whoever gets
//! them. It sends nothing. Shared by the threads that do.

use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::node::clock::Clock;

/// Pieces of a second: no piece that is sent at once takes longer.
const PIECES_A_SECOND: u64 = 16;
/// The longest piece.
const PIECE_BYTES_MAX: u64 = 256 << 10;

/// So many bytes a second.
#[derive(Debug)]
pub(in crate::node) struct Pace {
    bytes_per_second: u64,
    clock: Clock,
    /// When the next piece may go.
    next: Mutex<Duration>,
}

impl Pace {
    pub(in crate::node) fn new(bytes_per_second: u64, clock: Clock) -> Pace {
        Pace { bytes_per_second: bytes_per_second.max(1), clock, next: Mutex::default() }
    }

    /// The longest piece that is sent at once.
    pub(super) fn piece_bytes(&self) -> u64 {
        (self.bytes_per_second / PIECES_A_SECOND).clamp(1, PIECE_BYTES_MAX)
    }

    /// Waits until so many more bytes may go.
    pub(in crate::node) fn wait(&self, bytes: u64) {
        let pause = self.pause(bytes, self.clock.elapsed());
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }

    fn pause(&self, bytes: u64, now: Duration) -> Duration {
        let mut next = self.next.lock();
        let begin = now.max(*next);
        let takes_us = bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        *next = begin + Duration::from_micros(takes_us);
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_takes_so_many_bytes_and_no_more_however_idle_it_was_before() {
        let pace = Pace::new(1_000_000, Clock::new());
        let at = Duration::from_millis;
        assert_eq!(pace.pause(250_000, at(5_000)), at(0));
        assert_eq!(pace.pause(250_000, at(5_000)), at(250));
        assert_eq!(pace.pause(500_000, at(5_100)), at(400));
        assert_eq!(pace.pause(1, at(5_900)), at(100));
        assert_eq!(pace.piece_bytes(), 62_500);
    }
}
