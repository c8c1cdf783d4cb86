//! [`ConsumeStats`]: rates of a consumer by topic, over the last minute and the last hour.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use crate::common::clock::now_ms;
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::ConsumeStatus;

/// How often a sample is taken.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Samples of the last minute: seven make six intervals.
const MINUTE_SAMPLES: usize = 7;
/// Of so many samples one is kept for the hour.
const SAMPLES_PER_HOUR_SAMPLE: u64 = 60;

/// A sum and how often it was added to.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    sum: i64,
    times: i64,
}

impl Counter {
    fn add(&mut self, value: i64) {
        self.sum += value;
        self.times += 1;
    }

    fn since(self, then: Self) -> Self {
        Self { sum: self.sum - then.sum, times: self.times - then.times }
    }

    fn average(self) -> f64 {
        if self.times == 0 { 0.0 } else { self.sum as f64 / self.times as f64 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    at_ms: i64,
    pull_ms: Counter,
    pulled: Counter,
    consume_ms: Counter,
    consumed: Counter,
    failed: Counter,
}

#[derive(Debug, Default)]
struct Topic {
    now: Counters,
    minute: VecDeque<Counters>,
    hour: VecDeque<Counters>,
}

/// Counters of a consumer by the topic of the queue.
#[derive(Debug, Default)]
pub(crate) struct ConsumeStats(Mutex<(BTreeMap<String, Topic>, u64)>);

impl ConsumeStats {
    fn with(&self, topic: &str, change: impl FnOnce(&mut Counters)) {
        let mut state = lock(&self.0);
        if !state.0.contains_key(topic) {
            let mut fresh = Topic::default();
            let zero = Counters { at_ms: now_ms(), ..Counters::default() };
            fresh.minute.push_back(zero);
            fresh.hour.push_back(zero);
            state.0.insert(topic.to_owned(), fresh);
        }
        if let Some(topic) = state.0.get_mut(topic) {
            change(&mut topic.now);
        }
    }

    /// A pull found messages.
    pub fn pulled(&self, topic: &str, took: Duration, messages: usize) {
        self.with(topic, |counters| {
            counters.pull_ms.add(took.as_millis() as i64);
            counters.pulled.add(messages as i64);
        });
    }

    /// The listener ran.
    pub fn consumed(&self, topic: &str, took: Duration, succeeded: usize, failed: usize) {
        self.with(topic, |counters| {
            counters.consume_ms.add(took.as_millis() as i64);
            counters.consumed.add(succeeded as i64);
            counters.failed.add(failed as i64);
        });
    }

    /// Takes a sample; called every [`SAMPLE_INTERVAL`].
    pub fn sample(&self) {
        let mut state = lock(&self.0);
        state.1 += 1;
        let hourly = state.1.is_multiple_of(SAMPLES_PER_HOUR_SAMPLE);
        for topic in state.0.values_mut() {
            topic.now.at_ms = now_ms();
            let keep = |samples: &mut VecDeque<Counters>| {
                samples.push_back(topic.now);
                if samples.len() > MINUTE_SAMPLES {
                    samples.pop_front();
                }
            };
            keep(&mut topic.minute);
            if hourly {
                keep(&mut topic.hour);
            }
        }
    }

    /// Rates by topic.
    pub fn status(&self) -> BTreeMap<String, ConsumeStatus> {
        let state = lock(&self.0);
        state.0.iter().map(|(name, topic)| (name.clone(), topic.status())).collect()
    }
}

impl Topic {
    fn status(&self) -> ConsumeStatus {
        let now = Counters { at_ms: now_ms(), ..self.now };
        let minute = self.minute.front().copied().unwrap_or_default();
        let hour = self.hour.front().copied().unwrap_or_default();
        let seconds = ((now.at_ms - minute.at_ms).max(1)) as f64 / 1000.0;
        let per_second = |now: Counter, then: Counter| now.since(then).sum as f64 / seconds;
        let consume_rt = match now.consume_ms.since(minute.consume_ms) {
            Counter { sum: 0, .. } => now.consume_ms.since(hour.consume_ms),
            recent => recent,
        };
        ConsumeStatus {
            consume_failed_msgs: now.failed.since(hour.failed).sum,
            consume_failed_tps: per_second(now.failed, minute.failed),
            consume_ok_tps: per_second(now.consumed, minute.consumed),
            consume_rt: consume_rt.average(),
            pull_rt: now.pull_ms.since(minute.pull_ms).average(),
            pull_tps: per_second(now.pulled, minute.pulled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_forget_what_is_old() {
        let stats = ConsumeStats::default();
        stats.pulled("T", Duration::from_millis(4), 32);
        stats.pulled("T", Duration::from_millis(6), 32);
        stats.consumed("T", Duration::from_millis(3), 30, 2);
        let status = &stats.status()["T"];
        assert_eq!((status.pull_rt, status.consume_rt, status.consume_failed_msgs), (5.0, 3.0, 2));
        assert!(status.consume_ok_tps > 0.0);
        for _ in 0..MINUTE_SAMPLES {
            stats.sample();
        }
        let status = &stats.status()["T"];
        assert_eq!((status.pull_rt, status.consume_ok_tps), (0.0, 0.0));
        assert_eq!((status.consume_rt, status.consume_failed_msgs), (3.0, 2), "the last hour's");
    }
}
