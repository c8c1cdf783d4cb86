//! [`BrokerStats`]: what passed through the broker, by topic, group and queue: the figures behind
//! VIEW_BROKER_STATS_DATA (315), the consume TPS of consume statistics, and `stats.log`.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::config::BrokerConfig;
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
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
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
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
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
    /// Bytes that a group is behind, by `queueId@topic@group`.
    fall_behind_bytes: RwLock<HashMap<Box<str>, AtomicI64>>,
    /// Milliseconds that a group is behind, by `queueId@topic@group`.
    fall_behind_ms: RwLock<HashMap<Box<str>, AtomicI64>>,
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
            fall_behind_bytes: RwLock::default(),
            fall_behind_ms: RwLock::default(),
            items: AtomicUsize::new(0),
            max_items: config.max_stats_items,
            cluster: config.broker_cluster_name.clone(),
            detailed: config.enable_detail_stat,
        }
    }

    /// A stored send: `messages` of a topic with `bytes` in the log.
    pub fn put(&self, topic: &str, messages: i64, bytes: i64) {
        self.add(Counted::TopicPutNums, topic, messages, 1);
        self.add(Counted::TopicPutSize, topic, bytes, 1);
        self.add(Counted::BrokerPutNums, &self.cluster, messages, 0);
    }

    /// A send-back that waits in the schedule topic: counted by topic, not for the broker.
    pub fn put_topic_only(&self, topic: &str, messages: i64, bytes: i64) {
        self.add(Counted::TopicPutNums, topic, messages, 1);
        self.add(Counted::TopicPutSize, topic, bytes, 1);
    }

    /// A write to a queue of the schedule topic.
    pub fn put_queue(&self, topic: &str, queue_id: i32, messages: i64, bytes: i64) {
        if self.detailed {
            with_key(format_args!("{topic}@{queue_id}"), |key| {
                self.add(Counted::QueuePutNums, key, messages, 1);
                self.add(Counted::QueuePutSize, key, bytes, 1);
            });
        }
    }

    /// A pull that found `messages` with `bytes`.
    pub fn get(&self, group: &str, topic: &str, messages: i64, bytes: i64) {
        self.get_group_only(group, topic, messages, bytes);
        self.add(Counted::BrokerGetNums, &self.cluster, messages, 0);
    }

    /// A read inside the broker (delay delivery) on behalf of a group.
    pub fn get_group_only(&self, group: &str, topic: &str, messages: i64, bytes: i64) {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Counted::GroupGetNums, key, messages, 1);
            self.add(Counted::GroupGetSize, key, bytes, 1);
        });
    }

    /// A read of a queue of the schedule topic.
    pub fn get_queue(&self, group: &str, topic: &str, queue_id: i32, messages: i64, bytes: i64) {
        if self.detailed {
            with_key(format_args!("{topic}@{queue_id}@{group}"), |key| {
                self.add(Counted::QueueGetNums, key, messages, 1);
                self.add(Counted::QueueGetSize, key, bytes, 1);
            });
        }
    }

    /// How long a successful pull took.
    pub fn get_latency(&self, group: &str, topic: &str, queue_id: i32, took_ms: i64) {
        if self.detailed {
            with_key(format_args!("{queue_id}@{topic}@{group}"), |key| {
                self.add(Counted::GroupGetLatency, key, took_ms, 1);
            });
        } else {
            with_key(format_args!("{topic}@{group}"), |key| {
                self.add(Counted::GroupGetLatency, key, took_ms, 1);
            });
        }
    }

    /// A message given back.
    pub fn send_back(&self, group: &str, topic: &str) {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Counted::SndbckPutNums, key, 1, 1);
        });
    }

    /// How far the last read of a queue was behind the end of the log.
    pub fn fall_behind_bytes(&self, group: &str, topic: &str, queue_id: i32, bytes: i64) {
        self.set_moment(&self.fall_behind_bytes, group, topic, queue_id, bytes);
    }

    /// How old the data of the last read of a queue was.
    pub fn fall_behind_ms(&self, group: &str, topic: &str, queue_id: i32, ms: i64) {
        self.set_moment(&self.fall_behind_ms, group, topic, queue_id, ms);
    }

    /// Groups that are more than `threshold` bytes behind on some queue, and by how much.
    pub fn groups_behind(&self, threshold: i64) -> Vec<(String, i64)> {
        let moments = self.fall_behind_bytes.read().unwrap_or_else(PoisonError::into_inner);
        moments
            .iter()
            .map(|(key, value)| (key, value.load(Ordering::Relaxed)))
            .filter(|(_, bytes)| *bytes > threshold)
            .filter_map(|(key, bytes)| Some((key.splitn(3, '@').nth(2)?.to_owned(), bytes)))
            .collect()
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
        self.forget(|counted, key| match counted {
            Some(Counted::TopicPutNums | Counted::TopicPutSize) => key == topic,
            Some(Counted::BrokerPutNums | Counted::BrokerGetNums) => false,
            Some(Counted::GroupGetLatency) | None => {
                key.split('@').nth(1) == Some(topic) || key.split('@').next() == Some(topic)
            }
            Some(_) => key.split('@').next() == Some(topic),
        });
    }

    /// Forgets a deleted group.
    pub fn forget_group(&self, group: &str) {
        self.forget(|counted, key| match counted {
            Some(
                Counted::TopicPutNums
                | Counted::TopicPutSize
                | Counted::BrokerPutNums
                | Counted::BrokerGetNums
                | Counted::QueuePutNums
                | Counted::QueuePutSize,
            ) => false,
            _ => key.rsplit_once('@').is_some_and(|(_, last)| last == group),
        });
    }

    /// Removes the items that `gone` names; of moments it is asked with `None`.
    fn forget(&self, gone: impl Fn(Option<Counted>, &str) -> bool) {
        let mut removed = 0;
        for (counted, set) in Counted::ALL.into_iter().zip(&self.counted) {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            let before = set.len();
            set.retain(|key, _| !gone(Some(counted), key));
            removed += before - set.len();
        }
        for set in [&self.fall_behind_bytes, &self.fall_behind_ms] {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            let before = set.len();
            set.retain(|key, _| !gone(None, key));
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

    fn set_moment(
        &self,
        set: &RwLock<HashMap<Box<str>, AtomicI64>>,
        group: &str,
        topic: &str,
        queue_id: i32,
        value: i64,
    ) {
        with_key(format_args!("{queue_id}@{topic}@{group}"), |key| {
            if let Some(moment) = set.read().unwrap_or_else(PoisonError::into_inner).get(key) {
                moment.store(value, Ordering::Relaxed);
                return;
            }
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            if set.contains_key(key) || self.may_add() {
                set.insert(key.into(), AtomicI64::new(value));
            }
        });
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
        stats.put("T", 10, 1000);
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
            stats.get("g", "T", 2, 100);
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
                stats.put(topic, 1, 1);
                stats.get(group, topic, 1, 1);
                stats.get_latency(group, topic, 3, 1);
                stats.fall_behind_bytes(group, topic, 3, 100);
            }
        }
        stats.forget_topic("T");
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "T"), None);
        assert_eq!(stats.view("GROUP_GET_LATENCY", "3@T@g"), None);
        assert!(stats.view("TOPIC_PUT_NUMS", "TT").is_some());
        stats.forget_group("g");
        assert_eq!(stats.view("GROUP_GET_NUMS", "TT@g"), None);
        assert!(stats.view("GROUP_GET_NUMS", "TT@gg").is_some());
        assert_eq!(stats.groups_behind(99), [("gg".to_owned(), 100)]);
        assert_eq!(stats.groups_behind(100), []);
    }

    #[test]
    fn keys_past_the_limit_are_not_counted() {
        let stats = stats();
        for n in 0..1000 {
            stats.put(&format!("T{n}"), 1, 1);
        }
        assert_eq!(stats.items.load(Ordering::Relaxed), 100);
        stats.put("T0", 1, 1);
        stats.sample(Window::Minute, 0);
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "T0").unwrap().stats_minute.sum, 2);
    }
}
