//! [`BrokerStats`]: what passed through the broker, by topic, group and queue: the figures behind
//! VIEW_BROKER_STATS_DATA (315), the consume TPS of consume statistics, and `stats.log`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::config::BrokerConfig;
use crate::common::logging::STATISTICS;
use crate::common::quick_hash::QuickMap;
use crate::common::recent::{Recent, Version};
use crate::common::sync::lock;
use crate::common::topic::{self, SCHEDULE_TOPIC};
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
    /// Not sums, but what was measured last: bytes and ms that a reader is behind, by
    /// `queueId@topic@group`.
    GroupGetFall,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::TopicPut,
        Self::GroupGet,
        Self::GroupGetLatency,
        Self::SendBack,
        Self::QueuePut,
        Self::QueueGet,
        Self::GroupGetFall,
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

/// The names of what was measured last. They are in the log only, as in Java.
const MOMENTS: [&str; 2] = ["GROUP_GET_FALL_SIZE", "GROUP_GET_FALL_TIME"];

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

    /// Java's name, in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Minute => "Minute",
            Self::Hour => "Hour",
            Self::Day => "Day",
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

    /// Replaces what was measured anew.
    fn measured(&self, values: [Option<i64>; 2]) {
        for (last, value) in self.values.iter().zip(values) {
            if let Some(value) = value {
                last.store(value, Ordering::Relaxed);
            }
        }
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

    /// How often something was counted within a window.
    fn times(&self, window: Window) -> i64 {
        let history = lock(&self.history);
        let samples = &history[window as usize];
        match (samples.front(), samples.back()) {
            (Some(first), Some(last)) => last.times - first.times,
            _ => 0,
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

/// A line of the log of statistics. Times are averaged, not summed.
fn line(
    name: &str,
    key: &str,
    is_time: bool,
    window: Window,
    figures: &BrokerStatsItem,
    times: i64,
) -> String {
    let BrokerStatsItem { avgpt, sum, tps } = figures;
    let window = window.name();
    if is_time {
        return format!("[{name}] [{key}] Stats In One {window}, TIMES: {times} AVGRT: {avgpt:.2}");
    }
    format!("[{name}] [{key}] Stats In One {window}, SUM: {sum} TPS: {tps:.2} AVGPT: {avgpt:.2}")
}

/// The items of a kind, by key.
#[derive(Debug, Default)]
struct Set {
    items: RwLock<QuickMap<Box<str>, Arc<Item>>>,
    version: Version,
}

impl Set {
    fn read(&self) -> RwLockReadGuard<'_, QuickMap<Box<str>, Arc<Item>>> {
        self.items.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The statistics of a broker.
///
/// * Counting what the thread counted lately is three atomic additions, else a read lock and a hash
///   before; keys of several parts are put together in a buffer of the thread, so nothing is
///   allocated.
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
    /// `enableLmq`: what concerns light message queues is counted together.
    light: bool,
}

thread_local! {
    static KEY: RefCell<String> = const { RefCell::new(String::new()) };
    static RECENT: RefCell<Recent<Arc<Item>>> = const { RefCell::new(Recent::new()) };
}

/// Runs `use_key` with a key put together in the thread's buffer.
fn with_key<R>(parts: std::fmt::Arguments<'_>, use_key: impl FnOnce(&str) -> R) -> R {
    KEY.with_borrow_mut(|key| {
        key.clear();
        let _ = key.write_fmt(parts);
        use_key(key)
    })
}

/// The same with `queueId@topic@group`, of which every pull needs two: put together without the
/// general formatting, which took three times as long.
fn with_queue_key<R>(
    queue_id: i32,
    topic: &str,
    group: &str,
    use_key: impl FnOnce(&str) -> R,
) -> R {
    KEY.with_borrow_mut(|key| {
        key.clear();
        match queue_id {
            0..=9 => key.push(char::from(b'0' + queue_id as u8)),
            _ => {
                let _ = write!(key, "{queue_id}");
            }
        }
        for part in ["@", topic, "@", group] {
            key.push_str(part);
        }
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
            light: false,
        }
    }

    /// The same, with `enableLmq`.
    pub fn with_light_queues(self) -> Self {
        Self { light: true, ..self }
    }

    /// The name under which a topic or a group is counted: of light message queues there are too
    /// many.
    fn counted<'a>(&self, name: &'a str) -> &'a str {
        if self.light && topic::is_light(name) { topic::LMQ_PREFIX } else { name }
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

    /// A pull that found `messages` with `bytes`, and how long it took if that is recorded.
    pub fn pulled(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        messages: u32,
        bytes: usize,
        took: Option<Duration>,
    ) {
        let (group, topic) = (self.counted(group), self.counted(topic));
        with_queue_key(queue_id, topic, group, |key| {
            let by_group = &key[key.len() - topic.len() - 1 - group.len()..];
            self.add(Kind::GroupGet, by_group, [messages.into(), bytes as i64], 1);
            if let Some(took) = took {
                let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
                let latency_key = if self.detailed { key } else { by_group };
                self.add(Kind::GroupGetLatency, latency_key, [took_ms, 0], 1);
            }
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

    /// A read for the transaction checks.
    pub fn checked(&self, group: &str, topic: &str, messages: u32, bytes: usize) {
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Kind::GroupGet, key, [messages.into(), bytes as i64], 1);
        });
        self.broker_get.add_uncounted(messages.into());
    }

    /// How far a reader is behind: bytes after each look at the queue, ms after each that found
    /// something.
    pub fn behind(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        bytes: Option<i64>,
        ms: Option<i64>,
    ) {
        let (group, topic) = (self.counted(group), self.counted(topic));
        with_queue_key(queue_id, topic, group, |key| {
            self.with_item(Kind::GroupGetFall, key, |item| item.measured([bytes, ms]));
        });
    }

    /// Of each group that read something, on which topic it was farthest from the log's end, and by how
    /// many bytes, at its last reads.
    pub fn farthest_behind(&self) -> BTreeMap<String, (String, i64)> {
        let mut farthest: BTreeMap<String, (String, i64)> = BTreeMap::new();
        for (key, item) in self.items_of(Kind::GroupGetFall) {
            let mut parts = key.splitn(3, '@').skip(1);
            let (Some(topic), Some(group)) = (parts.next(), parts.next()) else { continue };
            let bytes = item.values[0].load(Ordering::Relaxed);
            let known = farthest.entry(group.to_owned()).or_default();
            if known.1 < bytes {
                *known = (topic.to_owned(), bytes);
            }
        }
        farthest
    }

    /// A message given back.
    pub fn sent_back(&self, group: &str, topic: &str) {
        let (group, topic) = (self.counted(group), self.counted(topic));
        with_key(format_args!("{topic}@{group}"), |key| {
            self.add(Kind::SendBack, key, [1, 0], 1);
        });
    }

    /// Messages a second that a group got of a topic within the last minute.
    pub fn group_get_tps(&self, group: &str, topic: &str) -> f64 {
        let (group, topic) = (self.counted(group), self.counted(topic));
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
            for item in set.read().values() {
                item.sample(window, now_ms);
            }
        }
        self.broker_put.sample(window, now_ms);
        self.broker_get.sample(window, now_ms);
    }

    /// Writes the figures of a window to the log of statistics, a line for each name and key, as Java
    /// does: `[TOPIC_PUT_NUMS] [T] Stats In One Minute, SUM: 10 TPS: 0.17 AVGPT: 1.00`.
    pub fn log(&self, window: Window) {
        self.lines(window, &mut |line| log::info!(target: STATISTICS, "{line}"));
    }

    fn lines(&self, window: Window, write: &mut dyn FnMut(String)) {
        for (name, kind, which) in NAMES {
            for (key, item) in self.items_of(kind) {
                let (figures, times) = (item.figures(which, window), item.times(window));
                write(line(name, &key, kind == Kind::GroupGetLatency, window, &figures, times));
            }
        }
        for (name, item) in [(BROKER_PUT, &self.broker_put), (BROKER_GET, &self.broker_get)] {
            if item.values[0].load(Ordering::Relaxed) > 0 {
                write(line(name, &self.cluster, false, window, &item.figures(0, window), 0));
            }
        }
    }

    /// Writes what was measured last: `[GROUP_GET_FALL_TIME] [0@T@g] Stats Every 5 Minutes, Value: 12`.
    pub fn log_moments(&self) {
        self.moments(&mut |line| log::info!(target: STATISTICS, "{line}"));
    }

    fn moments(&self, write: &mut dyn FnMut(String)) {
        for (which, name) in MOMENTS.into_iter().enumerate() {
            for (key, item) in self.items_of(Kind::GroupGetFall) {
                let value = item.values[which].load(Ordering::Relaxed);
                write(format!("[{name}] [{key}] Stats Every 5 Minutes, Value: {value}"));
            }
        }
    }

    /// The items of a set, by key. No lock is held while they are written somewhere.
    fn items_of(&self, kind: Kind) -> BTreeMap<Box<str>, Arc<Item>> {
        let set = self.sets[kind as usize].read();
        set.iter().map(|(key, item)| (key.clone(), Arc::clone(item))).collect()
    }

    /// Forgets a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        self.forget(|kind, key| {
            let mut parts = key.split('@');
            match kind {
                Kind::GroupGetLatency if self.detailed => parts.nth(1) == Some(topic),
                Kind::GroupGetFall => parts.nth(1) == Some(topic),
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
            let mut items = set.items.write().unwrap_or_else(PoisonError::into_inner);
            let before = items.len();
            items.retain(|key, _| !gone(kind, key));
            set.version.changed();
            self.items.fetch_sub(before - items.len(), Ordering::Relaxed);
        }
    }

    fn item(&self, kind: Kind, key: &str) -> Option<Arc<Item>> {
        self.sets[kind as usize].read().get(key).cloned()
    }

    fn add(&self, kind: Kind, key: &str, values: [i64; 2], times: i64) {
        self.with_item(kind, key, |item| item.add(values, times));
    }

    /// Does something with an item, which is made if there is room.
    fn with_item(&self, kind: Kind, key: &str, change: impl FnOnce(&Item)) {
        let set = &self.sets[kind as usize];
        RECENT.with_borrow_mut(|recent| {
            recent.get(&set.version, key, || self.find_or_make(set, key)).map(|item| change(item))
        });
    }

    fn find_or_make(&self, set: &Set, key: &str) -> Option<Arc<Item>> {
        if let Some(item) = set.read().get(key) {
            return Some(Arc::clone(item));
        }
        let mut items = set.items.write().unwrap_or_else(PoisonError::into_inner);
        let known = items.contains_key(key);
        (known || self.may_add()).then(|| Arc::clone(items.entry(key.into()).or_default()))
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
            stats.pulled("g", "T", 0, 2, 100, Some(Duration::ZERO));
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
                stats.pulled(group, topic, 3, 1, 1, Some(Duration::from_millis(5)));
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
    fn lines_are_written_as_java_writes_them() {
        let stats = stats();
        stats.put("T", 0, 10, 1000);
        stats.pulled("g", "T", 0, 4, 400, Some(Duration::from_millis(6)));
        stats.checked("CID_RMQ_SYS_TRANS", "RMQ_SYS_TRANS_HALF_TOPIC", 1, 100);
        stats.behind("g", "T", 0, Some(77), Some(5));
        stats.behind("g", "T", 0, Some(0), None);
        stats.sample(Window::Minute, 0);
        let mut lines = Vec::new();
        stats.lines(Window::Minute, &mut |line| lines.push(line));
        assert_eq!(
            lines,
            [
                "[TOPIC_PUT_NUMS] [T] Stats In One Minute, SUM: 10 TPS: 1.00 AVGPT: 10.00",
                "[TOPIC_PUT_SIZE] [T] Stats In One Minute, SUM: 1000 TPS: 100.00 AVGPT: 1000.00",
                "[GROUP_GET_NUMS] [RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS] Stats In One Minute, SUM: 1 TPS: 0.10 AVGPT: 1.00",
                "[GROUP_GET_NUMS] [T@g] Stats In One Minute, SUM: 4 TPS: 0.40 AVGPT: 4.00",
                "[GROUP_GET_SIZE] [RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS] Stats In One Minute, SUM: 100 TPS: 10.00 AVGPT: 100.00",
                "[GROUP_GET_SIZE] [T@g] Stats In One Minute, SUM: 400 TPS: 40.00 AVGPT: 400.00",
                "[GROUP_GET_LATENCY] [0@T@g] Stats In One Minute, TIMES: 1 AVGRT: 6.00",
                "[BROKER_PUT_NUMS] [DefaultCluster] Stats In One Minute, SUM: 10 TPS: 1.00 AVGPT: 0.00",
                "[BROKER_GET_NUMS] [DefaultCluster] Stats In One Minute, SUM: 5 TPS: 0.50 AVGPT: 0.00",
            ]
        );
        let mut moments = Vec::new();
        stats.moments(&mut |line| moments.push(line));
        assert_eq!(
            moments,
            [
                "[GROUP_GET_FALL_SIZE] [0@T@g] Stats Every 5 Minutes, Value: 0",
                "[GROUP_GET_FALL_TIME] [0@T@g] Stats Every 5 Minutes, Value: 5",
            ]
        );
    }

    #[test]
    fn light_queues_are_counted_together() {
        let stats = stats().with_light_queues();
        for topic in ["%LMQ%1", "%LMQ%2"] {
            stats.pulled("%LMQ%g", topic, 0, 1, 1, None);
            stats.behind("%LMQ%g", topic, 0, Some(1), None);
        }
        stats.sample(Window::Minute, 0);
        assert_eq!(stats.view("GROUP_GET_NUMS", "%LMQ%@%LMQ%").unwrap().stats_minute.sum, 2);
        assert!(stats.group_get_tps("%LMQ%other", "%LMQ%3") > 0.0);
        assert_eq!(stats.items.load(Ordering::Relaxed), 2);
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
