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

/// What is counted together: how often, and up to two values (spec: broker 10.1, admin 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Messages and bytes stored, by topic.
    TopicPut,
    /// Messages and bytes handed out, by `topic@group`.
    GroupGet,
    /// Time of pulls, ms, by `queueId@topic@group`, or `topic@group` without `enableDetailStat`.
    GroupGetLatency,
    /// Messages given back, by `topic@group`.
    SendBack,
    /// Messages and bytes stored in the schedule topic, by `topic@queueId`.
    QueuePut,
    /// Messages and bytes read from the schedule topic, by `topic@queueId@group`.
    QueueGet,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::TopicPut,
        Self::GroupGet,
        Self::GroupGetLatency,
        Self::SendBack,
        Self::QueuePut,
        Self::QueueGet,
    ];
}

/// Java's name of a statistic, and which value of which kind it is. The names that Java has besides
/// are never counted there either, but for [`BROKER_PUT`] and [`BROKER_GET`].
const NAMES: [(&str, Kind, usize); 10] = [
    ("TOPIC_PUT_NUMS", Kind::TopicPut, 0),
    ("TOPIC_PUT_SIZE", Kind::TopicPut, 1),
    ("GROUP_GET_NUMS", Kind::GroupGet, 0),
    ("GROUP_GET_SIZE", Kind::GroupGet, 1),
    ("GROUP_GET_LATENCY", Kind::GroupGetLatency, 0),
    ("SNDBCK_PUT_NUMS", Kind::SendBack, 0),
    ("QUEUE_PUT_NUMS", Kind::QueuePut, 0),
    ("QUEUE_PUT_SIZE", Kind::QueuePut, 1),
    ("QUEUE_GET_NUMS", Kind::QueueGet, 0),
    ("QUEUE_GET_SIZE", Kind::QueueGet, 1),
];

/// Messages stored, by the only cluster there is.
const BROKER_PUT: &str = "BROKER_PUT_NUMS";
/// Messages handed out, by the only cluster there is.
const BROKER_GET: &str = "BROKER_GET_NUMS";

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
    values: [i64; 2],
    times: i64,
}

#[derive(Debug, Default)]
struct Item {
    values: [AtomicI64; 2],
    times: AtomicI64,
    history: Mutex<[VecDeque<Sample>; 3]>,
}

impl Item {
    fn add(&self, values: [i64; 2], times: i64) {
        for (total, value) in self.values.iter().zip(values) {
            total.fetch_add(value, Ordering::Relaxed);
        }
        self.times.fetch_add(times, Ordering::Relaxed);
    }

    /// Adds to the first value alone, which is then not said to have been counted any times.
    fn add_uncounted(&self, value: i64) {
        self.values[0].fetch_add(value, Ordering::Relaxed);
    }

    fn sample(&self, window: Window, now_ms: i64) {
        let mut history = lock(&self.history);
        let samples = &mut history[window as usize];
        if samples.is_empty() {
            let at_ms = now_ms - window.period_ms();
            samples.push_back(Sample { at_ms, values: [0; 2], times: 0 });
        }
        if samples.len() == window.capacity() {
            samples.pop_front();
        }
        samples.push_back(Sample {
            at_ms: now_ms,
            values: [0, 1].map(|which| self.values[which].load(Ordering::Relaxed)),
            times: self.times.load(Ordering::Relaxed),
        });
    }

    fn view(&self, which: usize) -> BrokerStatsData {
        BrokerStatsData {
            stats_day: self.figures(which, Window::Day),
            stats_hour: self.figures(which, Window::Hour),
            stats_minute: self.figures(which, Window::Minute),
        }
    }

    /// What happened to a value within a window, as far as it was sampled.
    fn figures(&self, which: usize, window: Window) -> BrokerStatsItem {
        let history = lock(&self.history);
        let samples = &history[window as usize];
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
            return BrokerStatsItem::default();
        };
        let sum = last.values[which] - first.values[which];
        let times = last.times - first.times;
        let elapsed_ms = last.at_ms - first.at_ms;
        BrokerStatsItem {
            avgpt: if times > 0 { sum as f64 / times as f64 } else { 0.0 },
            sum,
            tps: if elapsed_ms > 0 { sum as f64 * 1000.0 / elapsed_ms as f64 } else { 0.0 },
        }
    }
}

type Set = RwLock<HashMap<Box<str>, Arc<Item>>>;

/// The statistics of a broker.
///
/// * Counting a known key is a read lock, a hash and three atomic additions; keys of several parts
///   are put together in a buffer of the thread, so nothing is allocated.
/// * Items are made when first counted and stay, up to `maxStatsItems` of all sets together.
/// * Someone calls [`sample`](Self::sample) at each period of each [`Window`].
#[derive(Debug)]
pub struct BrokerStats {
    sets: [Set; Kind::ALL.len()],
    broker_put: Item,
    broker_get: Item,
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
            sets: Default::default(),
            broker_put: Item::default(),
            broker_get: Item::default(),
            items: AtomicUsize::new(0),
            max_items: config.max_stats_items,
            cluster: config.broker_cluster_name.clone(),
            detailed: config.enable_detail_stat,
        }
    }

    /// A stored send of `messages` with `bytes` in the log.
    pub fn put(&self, topic: &str, queue_id: i32, messages: u32, bytes: u32) {
        self.put_for_topic(topic, queue_id, messages, bytes);
        self.broker_put.add_uncounted(messages.into());
    }

    /// A send-back that waits in the schedule topic: counted by topic, not for the broker.
    pub fn put_for_topic(&self, topic: &str, queue_id: i32, messages: u32, bytes: u32) {
        let values = [messages.into(), bytes.into()];
        self.add(Kind::TopicPut, topic, values, 1);
        if self.detailed && topic == SCHEDULE_TOPIC {
            with_key(format_args!("{topic}@{queue_id}"), |key| {
                self.add(Kind::QueuePut, key, values, 1);
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
            self.add(Kind::GroupGet, by_group, [messages.into(), bytes as i64], 1);
            let latency_key = if self.detailed { key } else { by_group };
            self.add(Kind::GroupGetLatency, latency_key, [took_ms, 0], 1);
        });
        self.broker_get.add_uncounted(messages.into());
    }

    /// A delayed message that was read to be delivered, on behalf of the group of the delay
    /// service.
    pub fn delayed_read(&self, group: &str, queue_id: i32, messages: u32, bytes: u32) {
        let values = [messages.into(), bytes.into()];
        with_key(format_args!("{SCHEDULE_TOPIC}@{group}"), |key| {
            self.add(Kind::GroupGet, key, values, 1);
        });
        if self.detailed {
            with_key(format_args!("{SCHEDULE_TOPIC}@{queue_id}@{group}"), |key| {
                self.add(Kind::QueueGet, key, values, 1);
            });
        }
    }

    /// A message given back.
    pub fn sent_back(&self, group: &str, topic: &str) {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Kind::SendBack, key, [1, 0], 1);
        });
    }

    /// Messages a second that a group got of a topic within the last minute.
    pub fn group_get_tps(&self, group: &str, topic: &str) -> f64 {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.item(Kind::GroupGet, key).map_or(0.0, |item| item.figures(0, Window::Minute).tps)
        })
    }

    /// The figures of a statistic, as VIEW_BROKER_STATS_DATA answers them.
    pub fn view(&self, name: &str, key: &str) -> Option<BrokerStatsData> {
        let of_broker = |item: &Item| {
            let counted = key == self.cluster && item.values[0].load(Ordering::Relaxed) > 0;
            counted.then(|| item.view(0))
        };
        match name {
            BROKER_PUT => of_broker(&self.broker_put),
            BROKER_GET => of_broker(&self.broker_get),
            _ => {
                let (_, kind, which) = NAMES.into_iter().find(|(known, ..)| *known == name)?;
                Some(self.item(kind, key)?.view(which))
            }
        }
    }

    /// Takes a sample of everything for a window; called at start and at each of its periods.
    pub fn sample(&self, window: Window, now_ms: i64) {
        for set in &self.sets {
            for item in set.read().unwrap_or_else(PoisonError::into_inner).values() {
                item.sample(window, now_ms);
            }
        }
        self.broker_put.sample(window, now_ms);
        self.broker_get.sample(window, now_ms);
    }

    /// Forgets a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        self.forget(|kind, key| {
            let mut parts = key.split('@');
            match kind {
                Kind::GroupGetLatency if self.detailed => parts.nth(1) == Some(topic),
                _ => parts.next() == Some(topic),
            }
        });
    }

    /// Forgets a deleted group.
    pub fn forget_group(&self, group: &str) {
        self.forget(|kind, key| match kind {
            Kind::TopicPut | Kind::QueuePut => false,
            _ => key.rsplit_once('@').is_some_and(|(_, last)| last == group),
        });
    }

    /// Removes the items that `gone` names.
    fn forget(&self, gone: impl Fn(Kind, &str) -> bool) {
        for (kind, set) in Kind::ALL.into_iter().zip(&self.sets) {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            let before = set.len();
            set.retain(|key, _| !gone(kind, key));
            self.items.fetch_sub(before - set.len(), Ordering::Relaxed);
        }
    }

    fn item(&self, kind: Kind, key: &str) -> Option<Arc<Item>> {
        let set = self.sets[kind as usize].read().unwrap_or_else(PoisonError::into_inner);
        set.get(key).cloned()
    }

    fn add(&self, kind: Kind, key: &str, values: [i64; 2], times: i64) {
        let set = &self.sets[kind as usize];
        if let Some(item) = set.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            item.add(values, times);
            return;
        }
        let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
        if set.contains_key(key) || self.may_add() {
            set.entry(key.into()).or_default().add(values, times);
        }
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
