//! What the sessions of one thread saw within the measured window.
//! It never looks at the clock: times come with every answer.
//! Called by `load`; merged and printed by `report`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::pump::Kind;

/// Longest latency that is told apart.
const LATENCY_MAX_US: u64 = 120_000_000;

/// Answers of the measured window.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    pub(super) reads: Histogram<u64>,
    pub(super) writes: Histogram<u64>,
    /// By code.
    pub(super) errors: BTreeMap<i32, u64>,
    /// Requests without an answer: the connection broke, or the server was too late.
    pub(super) lost: u64,
    /// Successful operations of each second.
    pub(super) per_second: Vec<u64>,
    /// Every answer, where they were asked for.
    pub(super) samples: Vec<Sample>,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it came.
    pub(super) at: Instant,
    pub(super) latency: Duration,
    pub(super) session: usize,
    /// Index of the server that gave it.
    pub(super) host: usize,
    pub(super) code: i32,
}

impl Stats {
    pub(super) fn new() -> Stats {
        let histogram = || {
            let made = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
            made.unwrap_or_else(|error| unreachable!("constant bounds: {error}"))
        };
        Stats {
            reads: histogram(),
            writes: histogram(),
            errors: BTreeMap::new(),
            lost: 0,
            per_second: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Notes one answer.
    pub(super) fn answered(&mut self, kind: Kind, latency: Duration, second: usize, code: i32) {
        if code != 0 {
            *self.errors.entry(code).or_default() += 1;
            return;
        }
        let histogram = if kind.write { &mut self.writes } else { &mut self.reads };
        histogram.saturating_record(latency.as_micros() as u64);
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        self.per_second[second] += 1;
    }

    /// Adds another thread's.
    pub(super) fn merge(&mut self, other: &Stats) {
        self.reads += &other.reads;
        self.writes += &other.writes;
        self.lost += other.lost;
        self.samples.extend_from_slice(&other.samples);
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        let seconds = self.per_second.len().max(other.per_second.len());
        self.per_second.resize(seconds, 0);
        for (sum, count) in self.per_second.iter_mut().zip(&other.per_second) {
            *sum += count;
        }
    }

    /// Successful operations.
    pub(super) fn operations(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// Of reads and writes together.
    pub(super) fn latencies(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        all += &self.writes;
        all
    }
}

/// When answers count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

impl Window {
    /// Which second of the window it is; `None` outside.
    pub(super) fn second(&self, now: Instant) -> Option<usize> {
        let since = now.checked_duration_since(self.start)?;
        (now < self.end).then_some(since.as_secs() as usize)
    }
}
