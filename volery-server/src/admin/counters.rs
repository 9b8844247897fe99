//! Counts that the words print: packets, and the spread of latencies. Cells are lock-free and may
//! be written from any task; never knows what is counted. Used by the client port (one for the
//! server, one for each connection) and by `telemetry`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Count, sum, least and highest of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Of all.
    pub sum: u64,
    /// 0 where there is none.
    pub min: u64,
    /// 0 where there is none.
    pub max: u64,
}

impl Spread {
    /// The average in units of `unit`, as ZooKeeper prints it: up to four decimals, at least one.
    #[must_use]
    pub fn average(&self, unit: u64) -> String {
        let divisor = u128::from(self.count) * u128::from(unit);
        if divisor == 0 {
            return "0.0".to_owned();
        }
        let scaled = (u128::from(self.sum) * 10_000 + divisor / 2) / divisor;
        let text = format!("{}.{:04}", scaled / 10_000, scaled % 10_000);
        let short = text.trim_end_matches('0');
        if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
    }
}

/// A [`Spread`] that grows. Readers may see a value that is counted but not yet summed: these are
/// figures for people.
#[derive(Debug)]
pub struct SpreadCell {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for SpreadCell {
    fn default() -> SpreadCell {
        let zero = AtomicU64::default;
        SpreadCell { count: zero(), sum: zero(), min: AtomicU64::new(u64::MAX), max: zero() }
    }
}

impl SpreadCell {
    /// Takes one value.
    pub fn record(&self, value: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// What has been recorded.
    #[must_use]
    pub fn read(&self) -> Spread {
        let min = self.min.load(Ordering::Relaxed);
        Spread {
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
            min: if min == u64::MAX { 0 } else { min },
            max: self.max.load(Ordering::Relaxed),
        }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.sum.store(0, Ordering::Relaxed);
        self.min.store(u64::MAX, Ordering::Relaxed);
        self.max.store(0, Ordering::Relaxed);
    }
}

/// Traffic of a server or of a connection.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    latency_us: SpreadCell,
}

impl Traffic {
    /// A packet came in.
    pub fn on_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A packet went out: a reply or a watch event.
    pub fn on_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered so long after it came in.
    pub fn on_latency(&self, latency: Duration) {
        self.latency_us.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Packets in.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Packets out.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Latencies in microseconds.
    #[must_use]
    pub fn latency_us(&self) -> Spread {
        self.latency_us.read()
    }

    /// `srst` and `crst`.
    pub fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        self.latency_us.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_have_one_to_four_decimals() {
        let table = [
            (0, 0, 1, "0.0"),
            (21, 8, 1, "2.625"),
            (12, 3, 1, "4.0"),
            (2, 3, 1, "0.6667"),
            (1, 30_000, 1, "0.0"),
            (2625, 1, 1000, "2.625"),
            (1, 3, 1000, "0.0003"),
            (u64::MAX, 1, 1, "18446744073709551615.0"),
        ];
        for (sum, count, unit, expected) in table {
            assert_eq!(Spread { sum, count, min: 0, max: 0 }.average(unit), expected);
        }
    }

    #[test]
    fn traffic_counts_and_forgets() {
        let traffic = Traffic::default();
        traffic.on_received();
        traffic.on_sent();
        traffic.on_latency(Duration::from_millis(3));
        traffic.on_latency(Duration::from_millis(1));
        assert_eq!((traffic.received(), traffic.sent()), (1, 1));
        let expected = Spread { count: 2, sum: 4000, min: 1000, max: 3000 };
        assert_eq!(traffic.latency_us(), expected);
        traffic.reset();
        assert_eq!((traffic.received(), traffic.sent()), (0, 0));
        assert_eq!(traffic.latency_us(), Spread::default());
    }
}
