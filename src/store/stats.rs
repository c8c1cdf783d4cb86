//! [`StoreStats`]: what the store counts, and how the runtime info tells it (Java's
//! StoreStatsService).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::clock::now_ms;
use crate::common::json::java_double;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;

/// One sample a second.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// Enough samples for a window of ten minutes.
const MAX_SAMPLES: usize = 601;
/// Windows of the rates, seconds.
const WINDOWS: [usize; 3] = [10, 60, 600];
/// Samples after which the distribution of put times begins anew.
const ROTATE_SAMPLES: u64 = 60;
/// Upper bounds (exclusive, but for the first) of the distribution, ms, and their labels.
const DISTRIBUTION: [(u64, &str); 13] = [
    (0, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1000, "[500ms~1s]"),
    (2000, "[1~2s]"),
    (3000, "[2~3s]"),
    (4000, "[3~4s]"),
    (5000, "[4~5s]"),
    (10_000, "[5~10s]"),
    (u64::MAX, "[10s~]"),
];
/// Steps of the latency buckets' upper bounds: up to which bound, in steps of what, ms.
const LATENCY_STEPS: [(u64, usize); 7] =
    [(20, 1), (50, 2), (100, 5), (200, 10), (500, 50), (1000, 100), (10_000, 1000)];

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    time_ms: i64,
    puts: u64,
    found: u64,
    missed: u64,
    transferred: u64,
}

/// Put times of one minute.
#[derive(Debug)]
struct Minute {
    /// Nearly all: those of less than a millisecond, which belong to the first of both below.
    at_once: AtomicU64,
    distribution: [AtomicU64; DISTRIBUTION.len()],
    latency: Vec<AtomicU64>,
}

impl Minute {
    fn new(buckets: usize) -> Self {
        let latency = (0..buckets).map(|_| AtomicU64::new(0)).collect();
        Self { at_once: AtomicU64::new(0), distribution: Default::default(), latency }
    }

    /// Reads and clears.
    fn take(&self) -> Previous {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let mut previous = Previous {
            distribution: self.distribution.iter().map(take).collect(),
            latency: self.latency.iter().map(take).collect(),
        };
        let at_once = take(&self.at_once);
        previous.distribution.iter_mut().take(1).for_each(|count| *count += at_once);
        previous.latency.iter_mut().take(1).for_each(|count| *count += at_once);
        previous
    }
}

/// The last completed minute.
#[derive(Debug, Default)]
struct Previous {
    distribution: Vec<u64>,
    latency: Vec<u64>,
}

/// The store's counters. Counting is a handful of relaxed additions.
#[derive(Debug)]
pub struct StoreStats {
    boot_timestamp: i64,
    puts: AtomicU64,
    put_bytes: AtomicU64,
    put_failed: AtomicU64,
    put_time_max: AtomicU64,
    get_time_max: AtomicU64,
    found: AtomicU64,
    missed: AtomicU64,
    transferred: AtomicU64,
    bounds: Vec<u64>,
    minute: Minute,
    previous: Mutex<Previous>,
    samples: Mutex<VecDeque<Sample>>,
}

impl Default for StoreStats {
    fn default() -> Self {
        let bounds = latency_bounds();
        Self {
            boot_timestamp: now_ms(),
            puts: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            put_failed: AtomicU64::new(0),
            put_time_max: AtomicU64::new(0),
            get_time_max: AtomicU64::new(0),
            found: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            transferred: AtomicU64::new(0),
            minute: Minute::new(bounds.len()),
            bounds,
            previous: Mutex::default(),
            samples: Mutex::default(),
        }
    }
}

/// Upper bounds of the latency buckets, ms, the last one open.
fn latency_bounds() -> Vec<u64> {
    let mut bounds = Vec::new();
    let mut from = 0;
    for (to, step) in LATENCY_STEPS {
        bounds.extend((from + step as u64..=to).step_by(step));
        from = to;
    }
    bounds.push(u64::MAX);
    bounds
}

impl StoreStats {
    /// Messages stored since the start.
    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    /// Messages read since the start.
    pub fn transferred(&self) -> u64 {
        self.transferred.load(Ordering::Relaxed)
    }

    /// Counts stored messages.
    pub fn count_put(&self, messages: u64, bytes: usize) {
        self.puts.fetch_add(messages, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a put that failed in the commit log.
    pub fn count_failed_put(&self) {
        self.put_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the time of a put that began then, ms.
    pub fn count_put_time(&self, started_ms: i64) {
        self.count_put_ms(u64::try_from(now_ms() - started_ms).unwrap_or(0));
    }

    fn count_put_ms(&self, ms: u64) {
        if ms == 0 {
            self.minute.at_once.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (range, bucket) = self.places(ms);
        self.minute.distribution[range].fetch_add(1, Ordering::Relaxed);
        self.minute.latency[bucket].fetch_add(1, Ordering::Relaxed);
        if ms > self.put_time_max.load(Ordering::Relaxed) {
            self.put_time_max.fetch_max(ms, Ordering::Relaxed);
        }
    }

    /// Where a put time of at least a millisecond is counted.
    fn places(&self, ms: u64) -> (usize, usize) {
        let later = DISTRIBUTION.iter().skip(1).position(|(bound, _)| ms < *bound);
        let bucket = self.bounds.partition_point(|bound| *bound < ms).min(self.bounds.len() - 1);
        (later.map_or(0, |at| at + 1), bucket)
    }

    /// Counts a read: how many messages it got, and its time.
    pub fn count_get(&self, messages: u32, time: Duration) {
        if messages > 0 {
            self.found.fetch_add(1, Ordering::Relaxed);
            self.transferred.fetch_add(u64::from(messages), Ordering::Relaxed);
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        let ms = time.as_millis() as u64;
        if ms > self.get_time_max.load(Ordering::Relaxed) {
            self.get_time_max.fetch_max(ms, Ordering::Relaxed);
        }
    }

    /// Starts the sampling thread, which calls `each_second` too.
    pub fn start(
        self: &Arc<Self>,
        each_second: impl Fn() + Send + 'static,
    ) -> std::io::Result<ServiceThread> {
        let stats = Arc::clone(self);
        let signal = Arc::new(Signal::default());
        ServiceThread::spawn("StoreStats", signal, move |signal| {
            let mut number = 0;
            while signal.wait(SAMPLE_PERIOD) {
                number += 1;
                stats.sample(now_ms());
                each_second();
                if number % ROTATE_SAMPLES == 0 {
                    stats.rotate();
                }
            }
        })
    }

    fn sample(&self, time_ms: i64) {
        let mut samples = lock(&self.samples);
        if samples.len() >= MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample {
            time_ms,
            puts: self.puts.load(Ordering::Relaxed),
            found: self.found.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            transferred: self.transferred.load(Ordering::Relaxed),
        });
    }

    /// A minute is over.
    fn rotate(&self) {
        let previous = self.minute.take();
        let busy = previous.distribution.iter().sum::<u64>() > 0;
        *lock(&self.previous) = previous;
        if busy {
            log::info!(
                "puts/s {}, reads with messages/s {}, reads without/s {}, messages read/s {}; put \
                 times {}",
                self.rate(60, |sample| sample.puts),
                self.rate(60, |sample| sample.found),
                self.rate(60, |sample| sample.missed),
                self.rate(60, |sample| sample.transferred),
                self.distribution_text()
            );
        }
    }

    /// Change of a counter per second over a window; empty with too few samples.
    fn rate(&self, seconds: usize, counter: impl Fn(&Sample) -> u64) -> String {
        self.rate_value(seconds, counter).map_or_else(String::new, java_double)
    }

    fn rate_value(&self, seconds: usize, counter: impl Fn(&Sample) -> u64) -> Option<f64> {
        let samples = lock(&self.samples);
        let last = samples.back()?;
        let first = samples.get(samples.len().checked_sub(seconds + 1)?)?;
        let time_ms = (last.time_ms - first.time_ms).max(1) as f64;
        Some(counter(last).saturating_sub(counter(first)) as f64 / time_ms * 1000.0)
    }

    fn rates(&self, counter: impl Fn(&Sample) -> u64) -> String {
        WINDOWS.map(|seconds| self.rate(seconds, &counter)).join(" ")
    }

    fn distribution_text(&self) -> String {
        let previous = lock(&self.previous);
        if previous.distribution.is_empty() {
            return "null".to_owned();
        }
        let pairs = DISTRIBUTION.iter().zip(&previous.distribution);
        pairs.map(|((_, label), count)| format!("{label}:{count} ")).collect()
    }

    /// A percentile of the previous minute's put times, ms.
    fn percentile(&self, share: f64) -> f64 {
        let previous = lock(&self.previous);
        let total: u64 = previous.latency.iter().sum();
        let index = (total as f64 * share) as u64;
        let mut passed = 0;
        let mut lower = 0;
        for (count, bound) in previous.latency.iter().zip(&self.bounds) {
            if index <= passed + count {
                if *count == 0 || *bound == u64::MAX {
                    return lower as f64;
                }
                let within = (index - passed) as f64 / *count as f64;
                return lower as f64 + (bound - lower) as f64 * within;
            }
            passed += count;
            lower = *bound;
        }
        0.0
    }

    /// The keys of the runtime info answer.
    pub fn runtime_info(&self) -> BTreeMap<String, String> {
        let puts = self.puts.load(Ordering::Relaxed).max(1);
        let put_bytes = self.put_bytes.load(Ordering::Relaxed);
        let total = WINDOWS.map(|seconds| {
            let rate = self.rate_value(seconds, |sample| sample.found + sample.missed);
            java_double(rate.unwrap_or(0.0))
        });
        let pairs = [
            ("bootTimestamp", self.boot_timestamp.to_string()),
            ("runtime", self.running_time()),
            ("putMessageEntireTimeMax", self.put_time_max.load(Ordering::Relaxed).to_string()),
            ("getMessageEntireTimeMax", self.get_time_max.load(Ordering::Relaxed).to_string()),
            ("putMessageTimesTotal", puts.to_string()),
            ("putMessageFailedTimes", self.put_failed.load(Ordering::Relaxed).to_string()),
            ("putMessageSizeTotal", put_bytes.to_string()),
            ("putMessageDistributeTime", self.distribution_text()),
            ("putMessageAverageSize", java_double(put_bytes as f64 / puts as f64)),
            ("dispatchMaxBuffer", "0".to_owned()),
            ("putTps", self.rates(|sample| sample.puts)),
            ("getFoundTps", self.rates(|sample| sample.found)),
            ("getMissTps", self.rates(|sample| sample.missed)),
            ("getTransferedTps", self.rates(|sample| sample.transferred)),
            ("getTotalTps", total.join(" ")),
            ("putLatency99", format!("{:.2}", self.percentile(0.99))),
            ("putLatency999", format!("{:.2}", self.percentile(0.999))),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn running_time(&self) -> String {
        let seconds = (now_ms() - self.boot_timestamp).max(0) / 1000;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_bounds_are_javas() {
        let bounds = latency_bounds();
        assert_eq!(bounds.len(), 20 + 15 + 10 + 10 + 6 + 5 + 9 + 1);
        assert_eq!(bounds[..3], [1, 2, 3]);
        assert_eq!(bounds[20], 22);
        assert_eq!(bounds[bounds.len() - 2], 10_000);
    }

    #[test]
    fn rates_need_their_window() {
        let stats = StoreStats::default();
        for second in 0..=10 {
            stats.count_put(50, 100);
            stats.sample(second * 1000);
        }
        let info = stats.runtime_info();
        assert_eq!(info["putTps"], "50.0  ");
        assert_eq!(info["getTotalTps"], "0.0 0.0 0.0");
        assert_eq!(info["putMessageTimesTotal"], "550");
        assert_eq!(info["putMessageAverageSize"], "2.0");
        assert_eq!(info["putMessageDistributeTime"], "null");
        stats.count_put_ms(3);
        stats.rotate();
        assert!(
            stats.runtime_info()["putMessageDistributeTime"].starts_with("[<=0ms]:0 [0~10ms]:1 ")
        );
        assert_eq!(stats.runtime_info()["putLatency99"], "0.00");
        stats.count_put_time(now_ms() - 3);
        assert!(stats.runtime_info()["putMessageEntireTimeMax"].parse::<u64>().unwrap() >= 3);
    }
}
