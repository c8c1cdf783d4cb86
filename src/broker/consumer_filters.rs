//! [`ConsumerFilters`]: the SQL92 filters that consumer groups registered by their heartbeats,
//! persisted in `consumerFilter.json`. What an expression means is [`crate::filter`]'s business,
//! how a pull uses one is [`filter`](super::filter)'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::config::BrokerConfig;
use super::config_file::ConfigFile;
use super::filter::is_tag_type;
use super::slave_sync::news::Listener;
use crate::common::clock::now_ms;
use crate::common::config::Live;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::record::RecordView;
use crate::filter::{BloomFilter, CompileCache, Dialect, Expression, SQL92, bloom};
use crate::json_body;
use crate::remoting::protocol::heartbeat::SubscriptionData;
use crate::store::dispatch::FilterBits;

/// Most filters, and most bytes of their expressions together; the longest dead ones make room.
const MAX_FILTERS: usize = 10_000;
const MAX_EXPRESSION_BYTES: usize = 16 << 20;
/// Whoever is alive in a file is taken for dead since so long when it is loaded, ms.
const DEAD_BEFORE_LOAD_MS: i64 = 30_000;

json_body! {
    /// `consumerFilter.json` (spec: store 11.7).
    struct FilterTable {
        /// By topic.
        filter_data_by_topic: BTreeMap<String, TopicFilters> => "filterDataByTopic",
    }
}

json_body! {
    /// The filters of a topic in the file.
    struct TopicFilters {
        /// By group.
        group_filter_data: BTreeMap<String, FilterData> => "groupFilterData",
        /// Topic.
        topic: String => "topic",
    }
}

json_body! {
    /// A filter in the file.
    struct FilterData {
        /// Its bits.
        bloom_filter_data: BloomFilterData => "bloomFilterData",
        /// Registered, ms.
        born_time: i64 => "bornTime",
        /// Version of the subscription.
        client_version: i64 => "clientVersion",
        /// Group.
        consumer_group: String => "consumerGroup",
        /// `deadTime` ≥ `bornTime`; not read.
        dead: bool => "dead",
        /// Given up, ms; 0 while alive.
        dead_time: i64 => "deadTime",
        /// Expression.
        expression: String => "expression",
        /// SQL92.
        expression_type: String => "expressionType",
        /// Topic.
        topic: String => "topic",
    }
}

json_body! {
    /// The bits of a filter in the file.
    struct BloomFilterData {
        /// Bits of a bit map.
        bit_num: u32 => "bitNum",
        /// Those of the group.
        bit_pos: Vec<u32> => "bitPos",
    }
}

/// The filter of a group for a topic. Never changed: a new one takes its place.
///
/// Dead ones (no member of the group is online, or none subscribes to the topic any more) are still
/// evaluated at dispatch, so that their bits can be trusted when the group comes back.
#[derive(Clone, Debug)]
pub struct ConsumerFilter {
    group: Box<str>,
    topic: Box<str>,
    text: Box<str>,
    /// Compiled.
    pub expression: Arc<Expression>,
    /// Its bits in the bit map of a message.
    pub positions: Arc<[u32]>,
    /// Bit maps of messages stored *later* than this have its bits, ms.
    pub born_ms: i64,
    dead_ms: i64,
    /// Version of the subscription it is from.
    pub client_version: i64,
}

impl ConsumerFilter {
    fn is_dead(&self) -> bool {
        self.dead_ms >= self.born_ms
    }

    fn encode(&self, bits: u32) -> FilterData {
        FilterData {
            bloom_filter_data: BloomFilterData { bit_num: bits, bit_pos: self.positions.to_vec() },
            born_time: self.born_ms,
            client_version: self.client_version,
            consumer_group: self.group.to_string(),
            dead: self.is_dead(),
            dead_time: self.dead_ms,
            expression: self.text.to_string(),
            expression_type: SQL92.to_owned(),
            topic: self.topic.to_string(),
        }
    }
}

/// The filters of a broker (spec: broker 6.7).
///
/// A heartbeat brings each subscription with a version, the time at which the client made it:
///
/// | known filter | what happens |
/// |---|---|
/// | none | it is compiled and registered |
/// | of a later version | nothing |
/// | of the same version | it lives again if it was dead |
/// | earlier, same expression | it takes the version, and lives |
/// | earlier, another expression | it is replaced, or removed if the new one does not compile |
///
/// * A filter is born under the lock that makes it visible to dispatch: a message that is stored
///   in a later millisecond is dispatched with it.
/// * Groups and topics come from outside: the number of filters and the bytes of their expressions
///   are bounded.
#[derive(Debug)]
pub struct ConsumerFilters {
    table: RwLock<Table>,
    bloom: BloomFilter,
    dialect: Dialect,
    compiled: CompileCache,
    /// Number of changes.
    changes: AtomicI64,
    /// Who tells slaves.
    pub news: Listener,
    file: ConfigFile,
}

#[derive(Debug, Default)]
struct Table {
    /// Topic, then group.
    topics: HashMap<Box<str>, BTreeMap<Box<str>, Arc<ConsumerFilter>>>,
    /// The topics of each group in `topics`.
    groups: HashMap<Box<str>, BTreeSet<Box<str>>>,
    filters: usize,
    expression_bytes: usize,
}

impl Table {
    fn get(&self, topic: &str, group: &str) -> Option<&Arc<ConsumerFilter>> {
        self.topics.get(topic)?.get(group)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ConsumerFilter>> {
        self.topics.values().flat_map(BTreeMap::values)
    }

    /// Puts a filter in the place of what is there. False if there is no room for it.
    fn put(&mut self, filter: ConsumerFilter) -> bool {
        self.remove(&filter.topic, &filter.group);
        while self.filters >= MAX_FILTERS
            || self.expression_bytes + filter.text.len() > MAX_EXPRESSION_BYTES
        {
            let dead = self.all().filter(|filter| filter.is_dead());
            let Some(oldest) = dead.min_by_key(|filter| filter.dead_ms).cloned() else {
                return false;
            };
            self.remove(&oldest.topic, &oldest.group);
        }
        self.filters += 1;
        self.expression_bytes += filter.text.len();
        self.groups.entry(filter.group.clone()).or_default().insert(filter.topic.clone());
        let topic = self.topics.entry(filter.topic.clone()).or_default();
        topic.insert(filter.group.clone(), Arc::new(filter));
        true
    }

    fn remove(&mut self, topic: &str, group: &str) -> bool {
        let Some(groups) = self.topics.get_mut(topic) else { return false };
        let Some(filter) = groups.remove(group) else { return false };
        if groups.is_empty() {
            self.topics.remove(topic);
        }
        if let Some(topics) = self.groups.get_mut(group) {
            topics.remove(topic);
            if topics.is_empty() {
                self.groups.remove(group);
            }
        }
        self.filters -= 1;
        self.expression_bytes -= filter.text.len();
        true
    }

    /// Changes a filter that is there.
    fn change(&mut self, topic: &str, group: &str, change: impl FnOnce(&mut ConsumerFilter)) {
        let groups = self.topics.get_mut(topic);
        if let Some(filter) = groups.and_then(|groups| groups.get_mut(group)) {
            change(Arc::make_mut(filter));
        }
    }

    /// Marks the living filters of a group as dead, but for those of some topics.
    fn give_up(&mut self, group: &str, now_ms: i64, kept: impl Fn(&str) -> bool) -> bool {
        let mut changed = false;
        for topic in self.groups.get(group).cloned().unwrap_or_default() {
            let dead = self.get(&topic, group).is_none_or(|filter| filter.is_dead());
            if !dead && !kept(&topic) {
                log::info!("the filter of {group} for {topic} is not used any more");
                self.change(&topic, group, |filter| filter.dead_ms = now_ms.max(filter.born_ms));
                changed = true;
            }
        }
        changed
    }
}

impl ConsumerFilters {
    /// No filters, to be persisted under `root`. The error says which key is wrong.
    pub fn new(config: &BrokerConfig, root: &Path) -> Result<Self, String> {
        Ok(Self {
            table: RwLock::default(),
            bloom: BloomFilter::new(
                config.max_error_rate_of_bloom_filter,
                config.expect_consumer_num_use_filter,
            )?,
            dialect: match config.enable_filter_string_operators {
                true => Dialect::V5,
                false => Dialect::V4,
            },
            compiled: CompileCache::new(),
            changes: AtomicI64::new(0),
            news: Listener::default(),
            file: ConfigFile::new(root, "consumerFilter.json"),
        })
    }

    /// The shape of the bit maps.
    pub fn bloom(&self) -> &BloomFilter {
        &self.bloom
    }

    /// Compiles an expression of a type. The error says where it is wrong.
    pub fn compile(&self, kind: &str, text: &str) -> Result<Arc<Expression>, String> {
        if kind != SQL92 {
            return Err(format!("the expression type {kind:.60} is not known, expected {SQL92}"));
        }
        self.compiled.compile(text, self.dialect).map_err(|error| error.to_string())
    }

    /// The filter of a group for a topic.
    pub fn get(&self, topic: &str, group: &str) -> Option<Arc<ConsumerFilter>> {
        self.read().get(topic, group).cloned()
    }

    /// A heartbeat told what a group subscribes to.
    pub fn register(&self, group: &str, subscriptions: &[SubscriptionData]) {
        self.register_at(group, subscriptions, now_ms);
    }

    fn register_at(&self, group: &str, heard: &[SubscriptionData], clock: impl Fn() -> i64) {
        let filtered = |heard: &&SubscriptionData| {
            !is_tag_type(heard.expression_type.as_deref())
                && heard.sub_string.as_deref().is_some_and(|text| !text.is_empty())
        };
        for subscription in heard.iter().filter(filtered) {
            if is_news(self.read().get(&subscription.topic, group), subscription) {
                self.take(group, subscription, &clock);
            }
        }
        let is_heard =
            |topic: &str| heard.iter().filter(filtered).any(|heard| heard.topic == topic);
        let gone = |table: &Table| {
            let topics = table.groups.get(group);
            topics.is_some_and(|topics| topics.iter().any(|topic| !is_heard(topic)))
        };
        if gone(&self.read()) && self.write().give_up(group, clock(), is_heard) {
            self.changed();
        }
    }

    /// Takes over a subscription, by the table on the type.
    fn take(&self, group: &str, heard: &SubscriptionData, clock: impl Fn() -> i64) {
        let topic = heard.topic.as_str();
        let kind = heard.expression_type.as_deref().unwrap_or_default();
        let text = heard.sub_string.as_deref().unwrap_or_default();
        // Before the lock, for which dispatch waits.
        let compiled = self.compile(kind, text);
        let positions: Arc<[u32]> = self.bloom.positions(group, topic).into();
        let mut table = self.write();
        let known = table.get(topic, group);
        if !is_news(known, heard) {
            return;
        }
        let same = |known: &Arc<ConsumerFilter>| {
            known.client_version == heard.sub_version || *known.text == *text && kind == SQL92
        };
        if known.is_some_and(same) {
            table.change(topic, group, |filter| {
                filter.client_version = heard.sub_version;
                filter.dead_ms = 0;
            });
            self.changed();
            return;
        }
        match compiled {
            Ok(expression) => {
                if let Some((line, column)) = expression.ignored() {
                    log::warn!(
                        "the filter of {group} for {topic} ends before line {line}, column \
                         {column}, the rest is ignored: {text:.200}"
                    );
                }
                let filter = ConsumerFilter {
                    group: group.into(),
                    topic: topic.into(),
                    text: text.into(),
                    expression,
                    positions,
                    born_ms: clock(),
                    dead_ms: 0,
                    client_version: heard.sub_version,
                };
                if table.put(filter) {
                    log::info!("{group} filters {topic} by {text:.200}");
                } else {
                    log::warn!(
                        "the filter of {group} for {topic} is not kept: there are {} of {} bytes",
                        table.filters,
                        table.expression_bytes
                    );
                }
            }
            Err(problem) => {
                table.remove(topic, group);
                log::warn!("{group} cannot filter {topic} by \"{text:.200}\": {problem}");
            }
        }
        self.changed();
    }

    /// Gives up the filters of groups of which nobody is online.
    pub fn give_up_offline(&self, is_online: impl Fn(&str) -> bool) {
        let groups: Vec<_> = self.read().groups.keys().cloned().collect();
        for group in groups.iter().filter(|group| !is_online(group)) {
            if self.write().give_up(group, now_ms(), |_| false) {
                self.changed();
            }
        }
    }

    /// The bit map of a message: the bits of all groups that it passes for. `None` if nobody
    /// filters its topic.
    pub fn bit_map(&self, topic: &str, properties: &str) -> Option<Vec<u8>> {
        let table = self.read();
        let filters = table.topics.get(topic)?;
        let mut bit_map = vec![0; self.bloom.bytes()];
        for filter in filters.values() {
            if filter.expression.passes(properties) {
                bloom::set(&mut bit_map, &filter.positions);
            }
        }
        Some(bit_map)
    }

    /// Replaces the table by what `consumerFilter.json` says.
    ///
    /// If the bits of any filter are not those of the configured bloom filter, the bit maps on the
    /// disk are not either, and nothing is taken over. All filters are dead until their groups are
    /// heard of.
    pub fn load(&self) -> Result<(), String> {
        let Some(loaded) = self.file.load::<FilterTable>()? else { return Ok(()) };
        let last_seen_ms = now_ms() - DEAD_BEFORE_LOAD_MS;
        let mut table = Table::default();
        for (topic, filters) in loaded.filter_data_by_topic {
            for (group, data) in filters.group_filter_data {
                let positions = self.bloom.positions(&group, &topic);
                let bits = &data.bloom_filter_data;
                if bits.bit_num != self.bloom.bits() || bits.bit_pos != positions {
                    log::warn!(
                        "consumerFilter.json is left out: it has {group} on {topic} with bits {:?} \
                         of {}, which expectConsumerNumUseFilter and maxErrorRateOfBloomFilter \
                         make {positions:?} of {}",
                        bits.bit_pos,
                        bits.bit_num,
                        self.bloom.bits()
                    );
                    return Ok(());
                }
                let expression = match self.compile(&data.expression_type, &data.expression) {
                    Ok(expression) => expression,
                    Err(problem) => {
                        log::warn!(
                            "consumerFilter.json: \"{:.200}\" of {group} on {topic} is left out: \
                             {problem}",
                            data.expression
                        );
                        continue;
                    }
                };
                let dead_ms = match data.dead_time {
                    0 => last_seen_ms.max(data.born_time),
                    dead_ms => dead_ms,
                };
                table.put(ConsumerFilter {
                    group: group.into(),
                    topic: topic.as_str().into(),
                    text: data.expression.into(),
                    expression,
                    positions: positions.into(),
                    born_ms: data.born_time,
                    dead_ms,
                    client_version: data.client_version,
                });
            }
        }
        *self.write() = table;
        Ok(())
    }

    /// Forgets filters that are dead for `clean_span_ms`, and writes the file after a change.
    pub fn persist(&self, clean_span_ms: i64) -> std::io::Result<()> {
        self.forget_dead_since(now_ms().saturating_sub(clean_span_ms));
        let change = self.changes.load(Ordering::Acquire);
        if change == 0 {
            return Ok(());
        }
        self.file.save(change, || {
            let change = self.changes.load(Ordering::Acquire);
            (change, self.snapshot().to_json().write(Style::Pretty))
        })
    }

    fn forget_dead_since(&self, before_ms: i64) {
        let is_over = |filter: &ConsumerFilter| filter.is_dead() && filter.dead_ms <= before_ms;
        let over: Vec<_> = self.read().all().filter(|filter| is_over(filter)).cloned().collect();
        for filter in over {
            let mut table = self.write();
            if table.get(&filter.topic, &filter.group).is_some_and(|known| is_over(known)) {
                log::info!("the filter of {} for {} is forgotten", filter.group, filter.topic);
                table.remove(&filter.topic, &filter.group);
                self.changed();
            }
        }
    }

    fn snapshot(&self) -> FilterTable {
        let mut by_topic: BTreeMap<String, TopicFilters> = BTreeMap::new();
        for filter in self.read().all() {
            let topic = by_topic.entry(filter.topic.to_string()).or_default();
            topic.topic = filter.topic.to_string();
            let data = filter.encode(self.bloom.bits());
            topic.group_filter_data.insert(filter.group.to_string(), data);
        }
        FilterTable { filter_data_by_topic: by_topic }
    }

    /// The filter of a group for a topic as it stands in the file.
    pub fn describe(&self, topic: &str, group: &str) -> Option<String> {
        let filter = self.get(topic, group)?;
        Some(filter.encode(self.bloom.bits()).to_json().write(Style::Pretty))
    }

    /// Number of changes.
    pub fn changes(&self) -> i64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All filters, as a slave gets them.
    pub fn encode(&self) -> String {
        self.snapshot().to_json().write(Style::Fastjson)
    }

    /// Takes over a master's filters that are unknown here, or known in an earlier version.
    ///
    /// They are born here and now, and later than `newest_ms`, the store time of the last message
    /// that was dispatched: no bit map before has their bits.
    pub fn learn(&self, text: &str, newest_ms: i64) -> Result<(), String> {
        let theirs = Json::parse(text.as_bytes()).and_then(|json| FilterTable::from_json(&json));
        let theirs = theirs.map_err(|error| error.to_string())?;
        let filters = theirs.filter_data_by_topic.into_values();
        for data in filters.flat_map(|topic| topic.group_filter_data.into_values()) {
            let heard = SubscriptionData {
                topic: data.topic,
                sub_string: Some(data.expression),
                expression_type: Some(data.expression_type),
                sub_version: data.client_version,
                ..SubscriptionData::default()
            };
            let known = self.get(&heard.topic, &data.consumer_group);
            if known.is_none_or(|known| known.client_version < heard.sub_version) {
                self.take(&data.consumer_group, &heard, || now_ms().max(newest_ms));
            }
        }
        Ok(())
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.news.tell();
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a subscription changes anything about the filter that is known.
fn is_news(known: Option<&Arc<ConsumerFilter>>, heard: &SubscriptionData) -> bool {
    known.is_none_or(|known| {
        heard.sub_version > known.client_version
            || heard.sub_version == known.client_version && known.is_dead()
    })
}

/// Computes the bit maps of messages at dispatch, while `enableCalcFilterBitMap` says so.
pub struct DispatchBits {
    /// The filters.
    pub filters: Arc<ConsumerFilters>,
    /// Keys of the broker.
    pub config: Arc<Live<BrokerConfig>>,
}

impl FilterBits for DispatchBits {
    fn bit_map(&self, record: &RecordView<'_>) -> Option<Vec<u8>> {
        if !self.config.get().enable_calc_filter_bit_map {
            return None;
        }
        self.filters.bit_map(record.topic, record.properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Folder;
    use std::cell::Cell;

    const HOUR: i64 = 3_600_000;

    fn filters(folder: &Folder) -> ConsumerFilters {
        ConsumerFilters::new(&BrokerConfig::default(), folder.path()).unwrap()
    }

    fn sql(topic: &str, text: &str, sub_version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: topic.to_owned(),
            expression_type: Some(SQL92.to_owned()),
            sub_string: Some(text.to_owned()),
            sub_version,
            ..SubscriptionData::default()
        }
    }

    /// Born, dead since, version, text of a filter.
    fn state(filters: &ConsumerFilters, topic: &str) -> Option<(i64, i64, i64, String)> {
        let filter = filters.get(topic, "g")?;
        Some((filter.born_ms, filter.dead_ms, filter.client_version, filter.text.to_string()))
    }

    #[test]
    fn heartbeats_bring_filters() {
        let folder = Folder::new();
        let filters = filters(&folder);
        let now = Cell::new(100);
        let beat = |heard: &[SubscriptionData]| {
            filters.register_at("g", heard, || now.get());
            now.set(now.get() + 1);
        };
        let expect = |born, dead, version, text: &str| {
            assert_eq!(state(&filters, "T"), Some((born, dead, version, text.to_owned())));
        };
        beat(&[sql("T", "a >", 1), sql("T", "", 1), SubscriptionData::default()]);
        assert_eq!(filters.read().filters, 0, "neither a text that does not compile, nor tags");
        beat(&[SubscriptionData { expression_type: Some("LUA".into()), ..sql("T", "a > 1", 1) }]);
        assert_eq!(filters.read().filters, 0, "nor a type that nobody knows");
        beat(&[sql("T", "a > 1", 5), sql("U", "b = 1", 5)]);
        expect(102, 0, 5, "a > 1");
        beat(&[sql("T", "a > 2", 5), sql("U", "b = 1", 5)]);
        beat(&[sql("T", "a > 2", 4), sql("U", "b = 1", 5)]);
        expect(102, 0, 5, "a > 1");
        beat(&[sql("U", "b = 1", 5)]);
        expect(102, 105, 5, "a > 1");
        beat(&[sql("T", "a > 2", 4), sql("U", "b = 1", 5)]);
        expect(102, 105, 5, "a > 1");
        beat(&[sql("T", "a > 1", 5)]);
        expect(102, 0, 5, "a > 1");
        assert_eq!(state(&filters, "U").unwrap().1, 107);
        beat(&[sql("T", "a > 1", 6)]);
        expect(102, 0, 6, "a > 1");
        beat(&[sql("T", "a > 2", 7)]);
        expect(109, 0, 7, "a > 2");
        beat(&[sql("T", "a >", 8)]);
        assert_eq!(state(&filters, "T"), None, "the old one is not what the group wants");
        beat(&[sql("T", "a > 1", 3)]);
        expect(111, 0, 3, "a > 1");
        filters.give_up_offline(|group| group == "g");
        expect(111, 0, 3, "a > 1");
        filters.give_up_offline(|_| false);
        assert!(state(&filters, "T").unwrap().1 > 111);
    }

    #[test]
    fn the_file_is_javas() {
        let folder = Folder::new();
        let saved = filters(&folder);
        saved.persist(HOUR).unwrap();
        assert!(!folder.path().exists(), "nothing to write");
        saved.register_at("CID_A", &[sql("TopicTest", "a > 1", 7)], || 1_700_000_000_000);
        saved.persist(HOUR).unwrap();
        let expected = r#"{
	"filterDataByTopic":{
		"TopicTest":{
			"groupFilterData":{
				"CID_A":{
					"bloomFilterData":{
						"bitNum":112,
						"bitPos":[20,68,27]
					},
					"bornTime":1700000000000,
					"clientVersion":7,
					"consumerGroup":"CID_A",
					"dead":false,
					"deadTime":0,
					"expression":"a > 1",
					"expressionType":"SQL92",
					"topic":"TopicTest"
				}
			},
			"topic":"TopicTest"
		}
	}
}"#;
        assert_eq!(folder.read("consumerFilter.json"), expected);

        let loaded = filters(&folder);
        loaded.load().unwrap();
        let filter = loaded.get("TopicTest", "CID_A").unwrap();
        assert!((now_ms() - DEAD_BEFORE_LOAD_MS - filter.dead_ms).abs() < 20_000);
        assert_eq!((filter.born_ms, filter.client_version), (1_700_000_000_000, 7));
        assert!(filter.expression.passes("a\u{1}2"));
        loaded.register("CID_A", &[sql("TopicTest", "a > 1", 7)]);
        assert!(!loaded.get("TopicTest", "CID_A").unwrap().is_dead());

        // Dead for longer than the span: forgotten.
        loaded.register("CID_A", &[]);
        loaded.persist(HOUR).unwrap();
        assert!(folder.read("consumerFilter.json").contains("\"dead\":true"));
        loaded.persist(-1).unwrap();
        assert_eq!(folder.read("consumerFilter.json"), "{\n\t\"filterDataByTopic\":{}\n}");
    }

    #[test]
    fn the_operators_of_5_are_understood_on_request() {
        let folder = Folder::new();
        let passes = |enable_filter_string_operators| {
            let config = BrokerConfig { enable_filter_string_operators, ..BrokerConfig::default() };
            let filters = ConsumerFilters::new(&config, folder.path()).unwrap();
            filters.compile(SQL92, "a CONTAINS 'b'").unwrap().passes("a\u{1}abc")
        };
        assert!(passes(true) && !passes(false));
    }

    #[test]
    fn files_are_taken_over_or_not() {
        let folder = Folder::new();
        let file = |bits: &str, expression: &str, dead: i64| {
            format!(
                r#"{{"filterDataByTopic":{{"TopicTest":{{"groupFilterData":{{
                "CID_A":{{"bloomFilterData":{{"bitNum":112,"bitPos":[20,68,27]}},"bornTime":5,
                    "expression":"a = 1","expressionType":"SQL92","deadTime":{dead}}},
                "CID_B":{{"bloomFilterData":{bits},"bornTime":6,
                    "expression":"{expression}","expressionType":"SQL92"}}}}}}}}}}"#
            )
        };
        for (bits, expression, expected) in [
            ("{\"bitNum\":112,\"bitPos\":[15,79,81]}", "a = 2", 2),
            ("{\"bitNum\":112,\"bitPos\":[15,79,81]}", "a = ", 1),
            ("{\"bitNum\":216,\"bitPos\":[15,79,81]}", "a = 2", 0),
            ("{\"bitNum\":112,\"bitPos\":[15,79]}", "a = 2", 0),
            ("null", "a = 2", 0),
        ] {
            folder.write("consumerFilter.json", &file(bits, expression, 9));
            let filters = filters(&folder);
            filters.load().unwrap();
            assert_eq!(filters.read().filters, expected, "{bits} {expression}");
            if expected > 0 {
                assert_eq!(filters.get("TopicTest", "CID_A").unwrap().dead_ms, 9);
            }
        }
    }

    #[test]
    fn bit_maps_have_the_bits_of_all_that_want_the_message() {
        let folder = Folder::new();
        let filters = filters(&folder);
        filters.register("CID_A", &[sql("TopicTest", "a > 1", 1)]);
        filters.register("CID_B", &[sql("TopicTest", "b = 'x'", 1)]);
        filters.register("CID_A", &[]);
        let bits = |properties: &str| filters.bit_map("TopicTest", properties).unwrap();
        let (a, b) = ([20, 68, 27], [15, 79, 81]);
        let both = bits("a\u{1}5\u{2}b\u{1}x");
        assert!(bloom::has_all(&both, &a) && bloom::has_all(&both, &b), "dead ones count");
        assert_eq!(both.iter().map(|byte| byte.count_ones()).sum::<u32>(), 6);
        let one = bits("a\u{1}what\u{2}b\u{1}x");
        assert!(!bloom::has_all(&one, &a) && bloom::has_all(&one, &b), "a failure is no match");
        assert_eq!(bits(""), [0; 14]);
        assert_eq!(filters.bit_map("Other", "a\u{1}5"), None);
    }

    #[test]
    fn the_number_of_filters_is_bounded() {
        let mut table = Table::default();
        let expression = Arc::new(crate::filter::compile("a = 1", Dialect::V4).unwrap());
        let filter = |topic: usize, dead_ms: i64, bytes: usize| ConsumerFilter {
            group: "g".into(),
            topic: topic.to_string().into(),
            text: "x".repeat(bytes).into(),
            expression: Arc::clone(&expression),
            positions: [].into(),
            born_ms: 1,
            dead_ms,
            client_version: 1,
        };
        let first = MAX_FILTERS - 2;
        for topic in 0..first {
            assert!(table.put(filter(topic, 0, 10)));
        }
        assert!(table.put(filter(first, 9, 10)) && table.put(filter(first + 1, 8, 10)));
        assert!(table.put(filter(first + 2, 0, 10)));
        assert!(table.get(&(first + 1).to_string(), "g").is_none(), "the longest dead goes");
        assert!(table.put(filter(first, 0, 10)), "in its own place");
        assert!(!table.put(filter(first + 3, 0, 10)), "no room");
        assert!(!table.put(filter(0, 0, MAX_EXPRESSION_BYTES)));
        assert_eq!(table.all().count(), table.filters);
        assert_eq!(table.expression_bytes, table.filters * 10);
    }
}
