//! How long a link waits before it dials again: twice as long each time, and never the same as the
//! others, so that servers do not dial in step. It sleeps not. Called by `link`.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    chance: u64,
}

impl Backoff {
    /// `seed` is another one for each link.
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff { min, max, next: min, chance: seed | 1 }
    }

    /// The link was there.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// From half of the present interval to all of it; at first 50 ms, at last 2 s.
    pub(super) fn next(&mut self) -> Duration {
        // xorshift64: enough to be out of step.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let interval = self.next;
        self.next = (interval * 2).min(self.max);
        let half = u64::try_from(interval.as_micros() / 2).unwrap_or(u64::MAX);
        interval - Duration::from_micros(self.chance % half.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_highest_and_begin_anew() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(min, max, 7);
        let mut interval = min;
        for _ in 0..20 {
            let found = backoff.next();
            assert!(found > interval / 2 && found <= interval, "{found:?} of {interval:?}");
            interval = (interval * 2).min(max);
        }
        assert_eq!(interval, max);
        backoff.reset();
        assert!(backoff.next() <= min);
        let other = Backoff::new(min, max, 8).next();
        assert_ne!(other, Backoff::new(min, max, 18).next());
    }
}
