//! Something that many clients can cause, told in the log once a second at most, with the number
//! of those left out. It logs nothing itself and reads no clock. Used by the listener.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the next line may be written, and what it has to make up for.
#[derive(Debug)]
pub(super) struct Sparse {
    next: Instant,
    left_out: u64,
}

impl Sparse {
    pub(super) fn new(now: Instant) -> Sparse {
        Sparse { next: now, left_out: 0 }
    }

    /// It happened. `Some`: it is to be told now, and so many were not told since the last line.
    pub(super) fn happened(&mut self, now: Instant) -> Option<u64> {
        if now < self.next {
            self.left_out += 1;
            return None;
        }
        Some(self.told(now))
    }

    /// When those left out are to be told, even if it happens no more; `None`: there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.left_out > 0).then_some(self.next)
    }

    /// A line is written now; returns how many were left out since the last.
    pub(super) fn told(&mut self, now: Instant) -> u64 {
        self.next = now + INTERVAL;
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_nobody_is_forgotten() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut sparse = Sparse::new(start);
        assert_eq!((sparse.happened(at(0)), sparse.due()), (Some(0), None));
        assert_eq!([1, 500, 999].map(|ms| sparse.happened(at(ms))), [None; 3]);
        assert_eq!(sparse.due(), Some(at(1000)));
        assert_eq!(sparse.happened(at(1000)), Some(3));
        assert_eq!((sparse.happened(at(1500)), sparse.due()), (None, Some(at(2000))));
        // Nothing happens any more.
        assert_eq!((sparse.told(at(2000)), sparse.due()), (1, None));
        assert_eq!(sparse.happened(at(2001)), None);
    }
}
