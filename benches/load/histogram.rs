//! [`Histogram`]: many durations in little memory.

use std::time::Duration;

/// Steps within a power of two: an error of at most one part in 64.
const STEPS: u64 = 64;

/// Counts of durations in microseconds, exact below 64 µs and in steps of 1/64 above.
///
/// | bucket | holds |
/// |---|---|
/// | 0 … 63 | exactly that many µs |
/// | 64·k + s | from (64 + s)·2^(k-1) µs on |
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let us = duration.as_micros() as u64;
        let bucket = bucket(us);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// The microseconds that a share (0 to 1) of them did not exceed.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_edge(bucket).min(self.max_us);
            }
        }
        self.max_us
    }

    /// Mean, microseconds.
    pub fn mean_us(&self) -> f64 {
        self.sum_us as f64 / self.total.max(1) as f64
    }

    /// Longest, microseconds.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// `p50 12 µs, p99 80 µs, p99.9 310 µs, longest 1200 µs`.
    pub fn summary(&self) -> String {
        format!(
            "p50 {} µs, p99 {} µs, p99.9 {} µs, longest {} µs",
            self.quantile_us(0.5),
            self.quantile_us(0.99),
            self.quantile_us(0.999),
            self.max_us
        )
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let power = u64::from(us.ilog2() - STEPS.ilog2());
    (STEPS * (power + 1) + (us >> power) - STEPS) as usize
}

fn lower_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS { bucket } else { (STEPS + bucket % STEPS) << (bucket / STEPS - 1) }
}
