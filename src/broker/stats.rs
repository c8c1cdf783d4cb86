//! [`BrokerStats`]: what passed through the broker, by topic, group and queue: the figures behind
//! VIEW_BROKER_STATS_DATA (315), the consume TPS of consume statistics, and `stats.log`.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::config::BrokerConfig;
use crate::common::sync::lock;
use crate::common::topic::SCHEDULE_TOPIC;
use crate::remoting::protocol::admin_bodies::{BrokerStatsData, BrokerStatsItem};

/// A statistic that counts; its [name](Counted::name) is Java's (spec: broker 10.1, admin 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Messages stored, by topic.
    TopicPutNums,
    /// Bytes stored, by topic.
    TopicPutSize,
    /// Messages handed out, by `topic@group`.
    GroupGetNums,
    /// Bytes handed out, by `topic@group`.
    GroupGetSize,
    /// Time of pulls, ms, by `queueId@topic@group`, or `topic@group` without `enableDetailStat`.
    GroupGetLatency,
    /// Messages given back, by `topic@group`.
    SndbckPutNums,
    /// Messages stored, by cluster.
    BrokerPutNums,
    /// Messages handed out, by cluster.
    BrokerGetNums,
    /// Messages stored, by `topic@queueId`; only of the schedule topic.
    QueuePutNums,
    /// Bytes stored, by `topic@queueId`; only of the schedule topic.
    QueuePutSize,
    /// Messages handed out, by `topic@queueId@group`; only of the schedule topic.
    QueueGetNums,
    /// Bytes handed out, by `topic@queueId@group`; only of the schedule topic.
    QueueGetSize,
}

impl Counted {
    const ALL: [Self; 12] = [
        Self::TopicPutNums,
        Self::TopicPutSize,
        Self::GroupGetNums,
        Self::GroupGetSize,
        Self::GroupGetLatency,
        Self::SndbckPutNums,
        Self::BrokerPutNums,
        Self::BrokerGetNums,
        Self::QueuePutNums,
        Self::QueuePutSize,
        Self::QueueGetNums,
        Self::QueueGetSize,
    ];

    /// The name in requests and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopicPutNums => "TOPIC_PUT_NUMS",
            Self::TopicPutSize => "TOPIC_PUT_SIZE",
            Self::GroupGetNums => "GROUP_GET_NUMS",
            Self::GroupGetSize => "GROUP_GET_SIZE",
            Self::GroupGetLatency => "GROUP_GET_LATENCY",
            Self::SndbckPutNums => "SNDBCK_PUT_NUMS",
            Self::BrokerPutNums => "BROKER_PUT_NUMS",
            Self::BrokerGetNums => "BROKER_GET_NUMS",
            Self::QueuePutNums => "QUEUE_PUT_NUMS",
            Self::QueuePutSize => "QUEUE_PUT_SIZE",
            Self::QueueGetNums => "QUEUE_GET_NUMS",
            Self::QueueGetSize => "QUEUE_GET_SIZE",
        }
    }
}

/// A length of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Up to a minute: sampled every 10 s.
    Minute,
    /// Up to an hour: sampled every 10 min.
    Hour,
    /// Up to a day: sampled every hour.
    Day,
}

impl Window {
    /// Time between samples, ms.
    pub fn period_ms(self) -> i64 {
        match self {
            Self::Minute => 10_000,
            Self::Hour => 600_000,
            Self::Day => 3_600_000,
        }
    }

    /// Samples that are kept.
    fn capacity(self) -> usize {
        match self {
            Self::Minute | Self::Hour => 7,
            Self::Day => 25,
        }
    }
}

/// Running totals at a time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: i64,
    value: i64,
    times: i64,
}

/// What happened within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Difference of the totals.
    pub sum: i64,
    /// Sum a second.
    pub tps: f64,
    /// Sum for each time it was counted.
    pub average: f64,
    /// How often it was counted.
    pub times: i64,
}

#[derive(Debug, Default)]
struct Item {
    value: AtomicI64,
    times: AtomicI64,
    history: Mutex<[VecDeque<Sample>; 3]>,
}

impl Item {
    fn add(&self, value: i64, times: i64) {
        self.value.fetch_add(value, Ordering::Relaxed);
        self.times.fetch_add(times, Ordering::Relaxed);
    }

    fn sample(&self, window: Window, now_ms: i64) {
        let mut history = lock(&self.history);
        let samples = &mut history[window as usize];
        if samples.is_empty() {
            samples.push_back(Sample { at_ms: now_ms - window.period_ms(), value: 0, times: 0 });
        }
        if samples.len() == window.capacity() {
            samples.pop_front();
        }
        samples.push_back(Sample {
            at_ms: now_ms,
            value: self.value.load(Ordering::Relaxed),
            times: self.times.load(Ordering::Relaxed),
        });
    }

    fn figures(&self, window: Window) -> Figures {
        let history = lock(&self.history);
        let samples = &history[window as usize];
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
            return Figures::default();
        };
        let sum = last.value - first.value;
        let times = last.times - first.times;
        let elapsed_ms = last.at_ms - first.at_ms;
        Figures {
            sum,
            tps: if elapsed_ms > 0 { sum as f64 * 1000.0 / elapsed_ms as f64 } else { 0.0 },
            average: if times > 0 { sum as f64 / times as f64 } else { 0.0 },
            times,
        }
    }
}

type Set = RwLock<HashMap<Box<str>, Arc<Item>>>;

/// The statistics of a broker.
///
/// * Counting a known key is a read lock, a hash and two atomic additions; keys of several parts
///   are put together in a buffer of the thread, so nothing is allocated.
/// * Items are made when first counted and stay, up to `maxStatsItems` of all sets together.
/// * Someone calls [`sample`](Self::sample) at each period of each [`Window`].
#[derive(Debug)]
pub struct BrokerStats {
    counted: [Set; Counted::ALL.len()],
    items: AtomicUsize,
    max_items: usize,
    cluster: String,
    /// Whether statistics by queue are kept.
    detailed: bool,
}

thread_local! {
    static KEY: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `use_key` with a key put together in the thread's buffer.
fn with_key<R>(parts: std::fmt::Arguments<'_>, use_key: impl FnOnce(&str) -> R) -> R {
    KEY.with_borrow_mut(|key| {
        key.clear();
        let _ = key.write_fmt(parts);
        use_key(key)
    })
}

impl BrokerStats {
    /// Nothing counted yet.
    pub fn new(config: &BrokerConfig) -> Self {
        Self {
            counted: Default::default(),
            items: AtomicUsize::new(0),
            max_items: config.max_stats_items,
            cluster: config.broker_cluster_name.clone(),
            detailed: config.enable_detail_stat,
        }
    }

    /// A stored send of `messages` with `bytes` in the log.
    pub fn put(&self, topic: &str, queue_id: i32, messages: u32, bytes: u32) {
        self.put_for_topic(topic, queue_id, messages, bytes);
        self.add(Counted::BrokerPutNums, &self.cluster, messages.into(), 0);
    }

    /// A send-back that waits in the schedule topic: counted by topic, not for the broker.
    pub fn put_for_topic(&self, topic: &str, queue_id: i32, messages: u32, bytes: u32) {
        self.add(Counted::TopicPutNums, topic, messages.into(), 1);
        self.add(Counted::TopicPutSize, topic, bytes.into(), 1);
        if self.detailed && topic == SCHEDULE_TOPIC {
            with_key(format_args!("{topic}@{queue_id}"), |key| {
                self.add(Counted::QueuePutNums, key, messages.into(), 1);
                self.add(Counted::QueuePutSize, key, bytes.into(), 1);
            });
        }
    }

    /// A pull that found `messages` with `bytes` and took so long.
    pub fn pulled(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        messages: u32,
        bytes: usize,
        took: Duration,
    ) {
        let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        with_key(format_args!("{queue_id}@{topic}@{group}"), |key| {
            let by_group = &key[key.len() - topic.len() - 1 - group.len()..];
            self.add(Counted::GroupGetNums, by_group, messages.into(), 1);
            self.add(Counted::GroupGetSize, by_group, bytes as i64, 1);
            let latency_key = if self.detailed { key } else { by_group };
            self.add(Counted::GroupGetLatency, latency_key, took_ms, 1);
        });
        self.add(Counted::BrokerGetNums, &self.cluster, messages.into(), 0);
    }

    /// A delayed message that was read to be delivered, on behalf of the group of the delay
    /// service.
    pub fn delayed_read(&self, group: &str, queue_id: i32, messages: u32, bytes: u32) {
        let topic = SCHEDULE_TOPIC;
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Counted::GroupGetNums, key, messages.into(), 1);
            self.add(Counted::GroupGetSize, key, bytes.into(), 1);
        });
        if self.detailed {
            with_key(format_args!("{topic}@{queue_id}@{group}"), |key| {
                self.add(Counted::QueueGetNums, key, messages.into(), 1);
                self.add(Counted::QueueGetSize, key, bytes.into(), 1);
            });
        }
    }

    /// A message given back.
    pub fn sent_back(&self, group: &str, topic: &str) {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Counted::SndbckPutNums, key, 1, 1);
        });
    }

    /// Messages a second that a group got of a topic within the last minute.
    pub fn group_get_tps(&self, group: &str, topic: &str) -> f64 {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.item(Counted::GroupGetNums, key)
                .map_or(0.0, |item| item.figures(Window::Minute).tps)
        })
    }

    /// The figures of a statistic, as VIEW_BROKER_STATS_DATA answers them.
    pub fn view(&self, name: &str, key: &str) -> Option<BrokerStatsData> {
        let counted = Counted::ALL.into_iter().find(|counted| counted.name() == name)?;
        let item = self.item(counted, key)?;
        let figures = |window| {
            let Figures { sum, tps, average, .. } = item.figures(window);
            BrokerStatsItem { avgpt: average, sum, tps }
        };
        Some(BrokerStatsData {
            stats_day: figures(Window::Day),
            stats_hour: figures(Window::Hour),
            stats_minute: figures(Window::Minute),
        })
    }

    /// Takes a sample of everything for a window; called at start and at each of its periods.
    pub fn sample(&self, window: Window, now_ms: i64) {
        for set in &self.counted {
            for item in set.read().unwrap_or_else(PoisonError::into_inner).values() {
                item.sample(window, now_ms);
            }
        }
    }

    /// Forgets a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        self.forget(|counted, key| {
            let mut parts = key.split('@');
            match counted {
                Counted::BrokerPutNums | Counted::BrokerGetNums => false,
                Counted::GroupGetLatency if self.detailed => parts.nth(1) == Some(topic),
                _ => parts.next() == Some(topic),
            }
        });
    }

    /// Forgets a deleted group.
    pub fn forget_group(&self, group: &str) {
        self.forget(|counted, key| match counted {
            Counted::GroupGetNums
            | Counted::GroupGetSize
            | Counted::GroupGetLatency
            | Counted::SndbckPutNums
            | Counted::QueueGetNums
            | Counted::QueueGetSize => key.rsplit_once('@').is_some_and(|(_, last)| last == group),
            _ => false,
        });
    }

    /// Removes the items that `gone` names.
    fn forget(&self, gone: impl Fn(Counted, &str) -> bool) {
        let mut removed = 0;
        for (counted, set) in Counted::ALL.into_iter().zip(&self.counted) {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            let before = set.len();
            set.retain(|key, _| !gone(counted, key));
            removed += before - set.len();
        }
        self.items.fetch_sub(removed, Ordering::Relaxed);
    }

    fn item(&self, counted: Counted, key: &str) -> Option<Arc<Item>> {
        let set = self.counted[counted as usize].read().unwrap_or_else(PoisonError::into_inner);
        set.get(key).cloned()
    }

    fn add(&self, counted: Counted, key: &str, value: i64, times: i64) {
        let set = &self.counted[counted as usize];
        if let Some(item) = set.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            item.add(value, times);
            return;
        }
        let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
        if !set.contains_key(key) && !self.may_add() {
            return;
        }
        set.entry(key.into()).or_default().add(value, times);
    }

    /// Counts one more item, if the limit allows it. Past it new keys are not counted: statistics
    /// are the first thing to do without.
    fn may_add(&self) -> bool {
        let added = self.items.fetch_add(1, Ordering::Relaxed);
        if added < self.max_items {
            return true;
        }
        self.items.fetch_sub(1, Ordering::Relaxed);
        if added == self.max_items {
            log::debug!("maxStatsItems={} reached: new keys are not counted", self.max_items);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> BrokerStats {
        BrokerStats::new(&BrokerConfig { max_stats_items: 100, ..BrokerConfig::default() })
    }

    #[test]
    fn the_first_sample_counts_from_one_period_before() {
        let stats = stats();
        stats.put("T", 0, 10, 1000);
        assert_eq!(
            stats.view("TOPIC_PUT_NUMS", "T"),
            Some(BrokerStatsData::default()),
            "counted, but not sampled"
        );
        stats.sample(Window::Minute, 50_000);
        let view = stats.view("TOPIC_PUT_NUMS", "T").unwrap();
        assert_eq!(view.stats_minute, BrokerStatsItem { avgpt: 10.0, sum: 10, tps: 1.0 });
        assert_eq!(view.stats_hour, BrokerStatsItem::default());
        let broker = stats.view("BROKER_PUT_NUMS", "DefaultCluster").unwrap();
        assert_eq!(broker.stats_minute, BrokerStatsItem { avgpt: 0.0, sum: 10, tps: 1.0 });
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "other"), None);
        assert_eq!(stats.view("GROUP_GET_FALL_SIZE", "T"), None);
    }

    #[test]
    fn a_window_covers_its_last_samples_only() {
        let stats = stats();
        for tick in 0..20 {
            stats.pulled("g", "T", 0, 2, 100, Duration::ZERO);
            stats.sample(Window::Minute, tick * 10_000);
        }
        let minute = stats.view("GROUP_GET_NUMS", "T@g").unwrap().stats_minute;
        assert_eq!(minute, BrokerStatsItem { avgpt: 2.0, sum: 12, tps: 0.2 });
        assert!((stats.group_get_tps("g", "T") - 0.2).abs() < 1e-9);
        assert!(stats.group_get_tps("h", "T").abs() < 1e-9);
    }

    #[test]
    fn deleted_topics_and_groups_are_forgotten() {
        let stats = stats();
        for topic in ["T", "TT"] {
            for group in ["g", "gg"] {
                stats.put(topic, 0, 1, 1);
                stats.pulled(group, topic, 3, 1, 1, Duration::from_millis(5));
            }
        }
        stats.forget_topic("T");
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "T"), None);
        assert_eq!(stats.view("GROUP_GET_LATENCY", "3@T@g"), None);
        assert!(stats.view("TOPIC_PUT_NUMS", "TT").is_some());
        stats.forget_group("g");
        assert_eq!(stats.view("GROUP_GET_NUMS", "TT@g"), None);
        assert!(stats.view("GROUP_GET_NUMS", "TT@gg").is_some());
        assert!(stats.view("GROUP_GET_LATENCY", "3@TT@gg").is_some());
    }

    #[test]
    fn keys_past_the_limit_are_not_counted() {
        let stats = stats();
        for n in 0..1000 {
            stats.put(&format!("T{n}"), 0, 1, 1);
        }
        assert_eq!(stats.items.load(Ordering::Relaxed), 100);
        stats.put("T0", 0, 1, 1);
        stats.sample(Window::Minute, 0);
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "T0").unwrap().stats_minute.sum, 2);
    }
}
