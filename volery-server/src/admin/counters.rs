//! Spreads of values, as the words print them. Cells are lock-free and may be written from any
//! thread; never knows what is counted. Used by the status and by `telemetry`.

use std::sync::atomic::{AtomicU64, Ordering};

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
}
