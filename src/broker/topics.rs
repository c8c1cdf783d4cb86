//! [`Topics`]: the topics of this broker, those made at start, by administrators and on the first
//! send. Persisted in `topics.json`; name servers are told by [`registration`](super::registration).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::config::BrokerConfig;
use super::config_file::ConfigFile;
use super::slave_sync::news::Listener;
use crate::common::json::{Style, ToJson};
use crate::common::quick_hash::QuickMap;
use crate::common::recent::{Recent, Version};
use crate::common::sys_flag;
use crate::common::topic::{self, PERM_INHERIT, PERM_READ, PERM_WRITE};
use crate::remoting::protocol::bodies::{DataVersion, TopicConfig, TopicConfigTable};

/// Bit of `topicSysFlag`: the topic belongs to a unit.
pub const SYS_FLAG_UNIT: i32 = 1;
/// Bit of `topicSysFlag`: the topic is subscribed to from other units.
pub const SYS_FLAG_UNIT_SUB: i32 = 2;

const READ_WRITE: i32 = PERM_READ | PERM_WRITE;

/// What a send looks at of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRules {
    /// Clients may send to a topic of that name at all.
    pub is_open: bool,
    /// The topic is ordered.
    pub order: bool,
    /// Queues that a send may name.
    pub queues: i32,
    /// Queues that the broker chooses from.
    pub write_queues: i32,
    /// What is added to the message's system flag.
    pub sys_flag: i32,
}

impl SendRules {
    /// Those of a topic.
    pub fn of(topic: &TopicConfig) -> Self {
        let name = &*topic.topic_name;
        let multi_tags = topic.topic_filter_type == "MULTI_TAG";
        Self {
            is_open: topic::validate_topic(name).is_ok() && !topic::is_written_by_broker_only(name),
            order: topic.order,
            queues: topic.write_queue_nums.max(topic.read_queue_nums),
            write_queues: topic.write_queue_nums,
            sys_flag: if multi_tags { sys_flag::MULTI_TAGS } else { 0 },
        }
    }
}

thread_local! {
    static RECENT: RefCell<Recent<SendRules>> = const { RefCell::new(Recent::new()) };
}

/// The topics of a broker.
///
/// * A lookup costs a read lock and a reference count, that of a send not even these; nothing is
///   allocated.
/// * Every change advances [`DataVersion`]; name servers compare it to see whether they are up to
///   date, so a change without a new version would never reach them.
/// * Every change is in `topics.json` when the call that made it returns.
#[derive(Debug)]
pub struct Topics {
    table: RwLock<Table>,
    /// Of the table; not what name servers and slaves compare.
    recent: Version,
    /// The system's own: never made or deleted by administrators.
    system: BTreeSet<String>,
    max_topics: usize,
    file: ConfigFile,
    /// Who tells slaves.
    pub news: Listener,
    /// `enableLmq`: every `%LMQ%…` is a topic with one queue, and none stands in the table.
    light: bool,
    /// Told when a send, a heartbeat or the broker itself made a topic.
    created: OnceLock<Created>,
}

struct Created(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Created {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Created")
    }
}

#[derive(Debug)]
struct Table {
    version: DataVersion,
    /// Number of changes: the version of a slave's table is its master's, and may go back.
    changes: i64,
    topics: QuickMap<String, Arc<TopicConfig>>,
}

impl Table {
    fn changed(&mut self) {
        self.version.next();
        self.changes += 1;
    }
}

impl Topics {
    /// The topics of a new broker (spec: broker 6.10), to be persisted under `root`.
    pub fn new(config: &BrokerConfig, root: &Path) -> Self {
        let boot = boot_topics(config);
        let mut system: BTreeSet<String> = topic::SYSTEM_TOPICS.map(str::to_owned).into();
        system.extend(boot.iter().map(|topic| topic.topic_name.clone()));
        let topics =
            boot.into_iter().map(|topic| (topic.topic_name.clone(), Arc::new(topic))).collect();
        Self {
            table: RwLock::new(Table { version: DataVersion::now(), changes: 0, topics }),
            recent: Version::default(),
            system,
            max_topics: config.max_topics,
            file: ConfigFile::new(root, "topics.json"),
            news: Listener::default(),
            created: OnceLock::new(),
            light: false,
        }
    }

    /// The same, with `enableLmq`.
    pub fn with_light_queues(self) -> Self {
        Self { light: true, ..self }
    }

    fn is_light(&self, topic: &str) -> bool {
        self.light && topic::is_light(topic)
    }

    /// Overlays what `topics.json` says.
    pub fn load(&self) -> Result<(), String> {
        if let Some(loaded) = self.file.load::<TopicConfigTable>()? {
            let mut table = self.write();
            table.version = loaded.data_version;
            table.topics.extend(
                loaded.topic_config_table.into_iter().map(|(name, topic)| (name, Arc::new(topic))),
            );
        }
        Ok(())
    }

    /// Sets what is told when a topic was made on use; once, at start.
    pub fn on_created(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.created.set(Created(Box::new(told)));
    }

    /// The configuration of a topic.
    pub fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        if self.is_light(topic) {
            return Some(Arc::new(plain_topic(topic, 1)));
        }
        self.read().topics.get(topic).cloned()
    }

    /// What a send to a topic looks at: as this thread found it last, if that is still so.
    pub fn send_rules(&self, topic: &str) -> Option<SendRules> {
        if self.is_light(topic) {
            return Some(SendRules::of(&plain_topic(topic, 1)));
        }
        RECENT.with_borrow_mut(|recent| {
            let find = || self.read().topics.get(topic).map(|topic| SendRules::of(topic));
            recent.get(&self.recent, topic, find).copied()
        })
    }

    /// Whether the topic is configured here.
    pub fn contains(&self, topic: &str) -> bool {
        self.is_light(topic) || self.read().topics.contains_key(topic)
    }

    /// Whether administrators must leave the topic alone.
    pub fn is_system(&self, topic: &str) -> bool {
        self.system.contains(topic) || topic::is_system_topic(topic)
    }

    /// The system's own topics.
    pub fn system_topics(&self) -> &BTreeSet<String> {
        &self.system
    }

    /// Names of all topics.
    pub fn names(&self) -> Vec<String> {
        self.read().topics.keys().cloned().collect()
    }

    /// All topics and their version, as name servers, slaves and tools get them.
    pub fn snapshot(&self) -> TopicConfigTable {
        let table = self.read();
        TopicConfigTable {
            data_version: table.version.clone(),
            topic_config_table: table
                .topics
                .iter()
                .map(|(name, topic)| (name.clone(), (**topic).clone()))
                .collect(),
        }
    }

    /// Version of the table.
    pub fn version(&self) -> DataVersion {
        self.read().version.clone()
    }

    /// A new version without a change (the broker's permission changed).
    pub fn bump_version(&self) {
        self.write().changed();
        self.persist();
    }

    /// Makes a topic on its first send, from the template that the client names (spec: broker 4.3).
    /// `None`: it is not made, and the log says why.
    pub fn create_on_send(
        &self,
        config: &BrokerConfig,
        name: &str,
        template_name: &str,
        client_queue_nums: i32,
        sys_flag: i32,
    ) -> Option<Arc<TopicConfig>> {
        let mut table = self.write();
        if let Some(topic) = table.topics.get(name) {
            return Some(Arc::clone(topic));
        }
        let mut template = Arc::clone(table.topics.get(template_name)?);
        if template_name == topic::AUTO_CREATE_TOPIC
            && !config.auto_create_topic_enable
            && template.perm & PERM_INHERIT != 0
        {
            template = Arc::new(TopicConfig { perm: READ_WRITE, ..(*template).clone() });
            table.topics.insert(template_name.to_owned(), Arc::clone(&template));
        }
        if template.perm & PERM_INHERIT == 0 {
            log::warn!("topic {name} is not made: its template {template_name} is not inherited");
            return None;
        }
        let queues = client_queue_nums.min(template.write_queue_nums).max(0);
        let topic = TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: template.perm & !PERM_INHERIT,
            topic_filter_type: template.topic_filter_type.clone(),
            topic_sys_flag: sys_flag,
            order: false,
        };
        self.insert_created(table, topic)
    }

    /// The topic, made with `queues` and `perm` if it is missing: retry, dead-letter and
    /// transaction topics (spec: broker 4.12, 6.1, 7.6).
    pub fn get_or_create(
        &self,
        name: &str,
        queues: i32,
        perm: i32,
        sys_flag: i32,
    ) -> Option<Arc<TopicConfig>> {
        if let Some(topic) = self.get(name) {
            return Some(topic);
        }
        let table = self.write();
        if let Some(topic) = table.topics.get(name) {
            return Some(Arc::clone(topic));
        }
        let topic = TopicConfig { perm, topic_sys_flag: sys_flag, ..plain_topic(name, queues) };
        self.insert_created(table, topic)
    }

    fn insert_created(
        &self,
        mut table: Changing<'_>,
        topic: TopicConfig,
    ) -> Option<Arc<TopicConfig>> {
        if table.topics.len() >= self.max_topics {
            log::warn!(
                "topic {} is not made: maxTopics={} reached",
                topic.topic_name,
                self.max_topics
            );
            return None;
        }
        log::info!(
            "topic {} made with {} queues, perm {}",
            topic.topic_name,
            topic.write_queue_nums,
            topic.perm
        );
        let topic = Arc::new(topic);
        table.topics.insert(topic.topic_name.clone(), Arc::clone(&topic));
        table.changed();
        drop(table);
        self.persist();
        if let Some(created) = self.created.get() {
            (created.0)();
        }
        Some(topic)
    }

    /// Makes or replaces a topic as an administrator asks. `Err` says why not.
    pub fn put(&self, topic: TopicConfig) -> Result<(), String> {
        if self.is_light(&topic.topic_name) {
            return Ok(());
        }
        let mut table = self.write();
        if table.topics.len() >= self.max_topics && !table.topics.contains_key(&topic.topic_name) {
            return Err(format!("this broker has maxTopics={} topics already", self.max_topics));
        }
        table.topics.insert(topic.topic_name.clone(), Arc::new(topic));
        table.changed();
        drop(table);
        self.persist();
        Ok(())
    }

    /// Deletes a topic. Returns whether it was there.
    pub fn delete(&self, name: &str) -> bool {
        let mut table = self.write();
        let found = table.topics.remove(name).is_some();
        if found {
            table.changed();
            drop(table);
            self.persist();
        }
        found
    }

    /// Marks exactly the topics of the name servers' order table as ordered.
    pub fn set_order_topics(&self, ordered: &BTreeMap<String, String>) {
        let mut table = self.write();
        let mut changed = false;
        for (name, topic) in &mut table.topics {
            let order = ordered.contains_key(name);
            if topic.order != order {
                *topic = Arc::new(TopicConfig { order, ..(**topic).clone() });
                changed = true;
            }
        }
        if changed {
            table.changed();
            drop(table);
            self.persist();
        }
    }

    /// The text of `topics.json`.
    pub fn encode(&self) -> String {
        self.snapshot().to_json().write(Style::Pretty)
    }

    /// Takes over a master's table, if it is another one. Returns the topics that have gone with it.
    pub fn replace_by(&self, theirs: TopicConfigTable) -> BTreeSet<String> {
        let mut table = self.write();
        if table.version == theirs.data_version {
            return BTreeSet::new();
        }
        let theirs_topics = theirs.topic_config_table;
        let gone = table.topics.keys().filter(|topic| !theirs_topics.contains_key(*topic));
        let gone = gone.cloned().collect();
        table.version = theirs.data_version;
        table.changes += 1;
        table.topics =
            theirs_topics.into_iter().map(|(name, topic)| (name, Arc::new(topic))).collect();
        drop(table);
        self.persist();
        gone
    }

    /// Writes `topics.json` up to the latest change.
    fn persist(&self) {
        let changes = self.read().changes;
        self.file.save_or_warn(changes, || {
            let changes = self.read().changes;
            (changes, self.encode())
        });
        self.news.tell();
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Changing<'_> {
        let table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        Changing { table, recent: &self.recent }
    }
}

/// The table while it is changed; threads do not trust what they found in it any more afterwards.
struct Changing<'a> {
    table: RwLockWriteGuard<'a, Table>,
    recent: &'a Version,
}

impl Deref for Changing<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.table
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.recent.changed();
    }
}

fn plain_topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..TopicConfig::default()
    }
}

/// The topics that a broker has from its first start on, in Java's order.
fn boot_topics(config: &BrokerConfig) -> Vec<TopicConfig> {
    let template = |name: &str, queues, inherited| TopicConfig {
        perm: PERM_INHERIT | if inherited { READ_WRITE } else { 0 },
        ..plain_topic(name, queues)
    };
    let cluster = &config.broker_cluster_name;
    let mut topics = vec![plain_topic(topic::SELF_TEST_TOPIC, 1)];
    if config.auto_create_topic_enable {
        topics.push(template(topic::AUTO_CREATE_TOPIC, config.default_topic_queue_nums, true));
    }
    topics.push(plain_topic(topic::BENCHMARK_TOPIC, 1024));
    topics.push(template(cluster, 16, config.cluster_topic_enable));
    topics.push(template(&config.broker_name, 1, config.broker_topic_enable));
    topics.push(plain_topic(topic::OFFSET_MOVED_EVENT, 1));
    topics.push(plain_topic(topic::SCHEDULE_TOPIC, 18));
    if config.trace_topic_enable {
        topics.push(plain_topic(&config.msg_trace_topic_name, 1));
    }
    topics.push(plain_topic(&format!("{cluster}{}", topic::REPLY_TOPIC_SUFFIX), 1));
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Folder;

    fn config() -> BrokerConfig {
        BrokerConfig { broker_name: "broker-a".to_owned(), ..BrokerConfig::default() }
    }

    fn shape(topics: &Topics, name: &str) -> Option<(i32, i32)> {
        topics.get(name).map(|topic| {
            assert_eq!(topic.read_queue_nums, topic.write_queue_nums, "{name}");
            (topic.write_queue_nums, topic.perm)
        })
    }

    #[test]
    fn a_send_sees_every_change_of_its_topic() {
        let folder = Folder::new();
        let topics = Topics::new(&config(), folder.path());
        assert_eq!(topics.send_rules("T"), None);
        for queues in [4, 8] {
            topics.put(plain_topic("T", queues)).unwrap();
            for _ in 0..2 {
                let rules = topics.send_rules("T").unwrap();
                assert_eq!(
                    (rules.queues, rules.write_queues, rules.order),
                    (queues, queues, false)
                );
                assert!(rules.is_open && rules.sys_flag == 0);
            }
        }
        topics.set_order_topics(&BTreeMap::from([("T".to_owned(), String::new())]));
        assert!(topics.send_rules("T").unwrap().order);
        assert!(!topics.send_rules("SCHEDULE_TOPIC_XXXX").unwrap().is_open);
        assert!(topics.delete("T"));
        assert_eq!(topics.send_rules("T"), None);
    }

    #[test]
    fn a_new_broker_has_the_topics_of_java() {
        let folder = Folder::new();
        let topics = Topics::new(&config(), folder.path());
        topics.load().unwrap();
        let expected = [
            ("SELF_TEST_TOPIC", 1, 6),
            ("TBW102", 8, 7),
            ("BenchmarkTest", 1024, 6),
            ("DefaultCluster", 16, 7),
            ("broker-a", 1, 7),
            ("OFFSET_MOVED_EVENT", 1, 6),
            ("SCHEDULE_TOPIC_XXXX", 18, 6),
            ("DefaultCluster_REPLY_TOPIC", 1, 6),
        ];
        for (name, queues, perm) in expected {
            assert_eq!(shape(&topics, name), Some((queues, perm)), "{name}");
            assert!(topics.is_system(name), "{name}");
        }
        assert_eq!(topics.names().len(), expected.len());
        assert!(topics.is_system("rmq_sys_anything") && topics.is_system("RMQ_SYS_TRACE_TOPIC"));
        assert!(!topics.is_system("T"));
        assert!(!folder.path().exists(), "nothing is written until something changes");
    }

    #[test]
    fn the_switches_change_the_topics_at_boot() {
        let folder = Folder::new();
        let config = BrokerConfig {
            auto_create_topic_enable: false,
            cluster_topic_enable: false,
            broker_topic_enable: false,
            trace_topic_enable: true,
            msg_trace_topic_name: "traces".to_owned(),
            ..config()
        };
        let topics = Topics::new(&config, folder.path());
        assert_eq!(shape(&topics, "TBW102"), None);
        assert_eq!(shape(&topics, "DefaultCluster"), Some((16, 1)));
        assert_eq!(shape(&topics, "broker-a"), Some((1, 1)));
        assert_eq!(shape(&topics, "traces"), Some((1, 6)));
        assert!(topics.is_system("traces"));
    }

    #[test]
    fn a_first_send_makes_a_topic_from_its_template() {
        let folder = Folder::new();
        let topics = Topics::new(&config(), folder.path());
        let config = config();
        let made = |name: &str, template: &str, queues: i32| {
            topics.create_on_send(&config, name, template, queues, 0);
            shape(&topics, name)
        };
        let before = topics.version().counter;
        assert_eq!(made("four", "TBW102", 4), Some((4, 6)));
        assert_eq!(made("most", "TBW102", 100), Some((8, 6)), "the template's queues are the most");
        assert_eq!(made("none", "TBW102", -3), Some((0, 6)));
        assert_eq!(made("by-cluster", "DefaultCluster", 16), Some((16, 6)));
        assert_eq!(made("unknown", "no-such-template", 4), None);
        assert_eq!(made("plain", "BenchmarkTest", 4), None, "not inherited");
        assert_eq!(made("four", "TBW102", 8), Some((4, 6)), "it is there already");
        assert_eq!(topics.version().counter, before + 4);
    }

    #[test]
    fn switching_automatic_creation_off_ends_the_template() {
        let folder = Folder::new();
        let topics = Topics::new(&config(), folder.path());
        let off = BrokerConfig { auto_create_topic_enable: false, ..config() };
        assert!(topics.create_on_send(&off, "T", "TBW102", 4, 0).is_none());
        assert_eq!(shape(&topics, "TBW102"), Some((8, 6)));
        assert!(topics.create_on_send(&config(), "T", "TBW102", 4, 0).is_none(), "as Java");
    }

    #[test]
    fn what_is_made_is_told_and_counted_and_bounded() {
        let folder = Folder::new();
        let config = BrokerConfig { max_topics: 10, ..config() };
        let topics = Topics::new(&config, folder.path());
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let its_told = Arc::clone(&told);
        topics.on_created(move || {
            its_told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        for _ in 0..2 {
            assert!(topics.get_or_create("%RETRY%g", 1, 6, SYS_FLAG_UNIT_SUB).is_some());
        }
        assert_eq!(topics.get("%RETRY%g").unwrap().topic_sys_flag, SYS_FLAG_UNIT_SUB);
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(topics.get_or_create("tenth", 1, 6, 0).is_some());
        assert!(topics.get_or_create("eleventh", 1, 6, 0).is_none());
        assert!(topics.put(plain_topic("eleventh", 1)).unwrap_err().contains("maxTopics=10"));
        assert!(topics.put(plain_topic("tenth", 2)).is_ok(), "replacing one needs no room");
        assert!(topics.delete("tenth") && !topics.delete("tenth"));
        assert!(topics.put(plain_topic("eleventh", 1)).is_ok());
    }

    #[test]
    fn the_file_is_javas() {
        let folder = Folder::new();
        let config = BrokerConfig { broker_cluster_name: "c".to_owned(), ..config() };
        let topics = Topics::new(&config, folder.path());
        for name in topics.names() {
            topics.delete(&name);
        }
        topics.put(TopicConfig { order: true, ..plain_topic("TopicTest", 8) }).unwrap();
        let DataVersion { counter, timestamp } = topics.version();
        let expected = format!(
            "{{\n\t\"dataVersion\":{{\n\t\t\"counter\":{counter},\n\t\t\"timestamp\":{timestamp}\n\t}},\n\t\"topicConfigTable\":{{\n\t\t\"TopicTest\":{{\n\t\t\t\"order\":true,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"TopicTest\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":8\n\t\t}}\n\t}}\n}}"
        );
        assert_eq!(folder.read("topics.json"), expected);
        let again = Topics::new(&config, folder.path());
        again.load().unwrap();
        assert_eq!(again.version(), topics.version());
        assert!(again.get("TopicTest").unwrap().order);
        assert_eq!(shape(&again, "TBW102"), Some((8, 7)), "the boot topics are there again");
    }

    #[test]
    fn a_file_of_5_is_understood_and_a_damaged_one_refused() {
        let folder = Folder::new();
        folder.write(
            "topics.json",
            r#"{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":1},"topicConfigTable":{"TBW102":{"attributes":{},"order":false,"perm":3,"readQueueNums":5,"topicFilterType":"SINGLE_TAG","topicName":"TBW102","topicSysFlag":0,"writeQueueNums":5}}}"#,
        );
        let topics = Topics::new(&config(), folder.path());
        topics.load().unwrap();
        assert_eq!(topics.version(), DataVersion { counter: 7, timestamp: 1 });
        assert_eq!(shape(&topics, "TBW102"), Some((5, 3)), "the file wins");
        folder.write("topics.json", "{\"dataVersion\":");
        let problem = Topics::new(&config(), folder.path()).load().unwrap_err();
        assert!(problem.contains("topics.json"), "{problem}");
    }

    #[test]
    fn the_order_table_marks_exactly_its_topics() {
        let folder = Folder::new();
        let topics = Topics::new(&config(), folder.path());
        topics.put(TopicConfig { order: true, ..plain_topic("was", 1) }).unwrap();
        topics.put(plain_topic("becomes", 1)).unwrap();
        let before = topics.version().counter;
        let table = BTreeMap::from([("becomes".to_owned(), "broker-a:1".to_owned())]);
        topics.set_order_topics(&table);
        assert!(!topics.get("was").unwrap().order && topics.get("becomes").unwrap().order);
        assert_eq!(topics.version().counter, before + 1);
        topics.set_order_topics(&table);
        assert_eq!(topics.version().counter, before + 1, "nothing changed");
    }
}
