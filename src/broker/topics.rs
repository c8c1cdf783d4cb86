//! [`Topics`]: the topics of this broker, those made at start, by administrators and on the first
//! send. Persisted in `topics.json`; name servers are told by [`registration`](super::registration).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::config::BrokerConfig;
use super::config_file::ConfigFile;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::topic::{self, PERM_INHERIT, PERM_READ, PERM_WRITE};
use crate::remoting::protocol::bodies::{DataVersion, TopicConfig, TopicConfigTable};

/// Bit of `topicSysFlag`: the topic belongs to a unit.
pub const SYS_FLAG_UNIT: i32 = 1;
/// Bit of `topicSysFlag`: the topic is subscribed to from other units.
pub const SYS_FLAG_UNIT_SUB: i32 = 2;

const READ_WRITE: i32 = PERM_READ | PERM_WRITE;

/// The topics of a broker.
///
/// * A lookup costs a read lock and a reference count; nothing is allocated.
/// * Every change advances [`DataVersion`]; name servers compare it to see whether they are up to
///   date, so a change without a new version would never reach them.
/// * Every change is in `topics.json` when the call that made it returns.
#[derive(Debug)]
pub struct Topics {
    table: RwLock<Table>,
    /// The system's own: never made or deleted by administrators.
    system: BTreeSet<String>,
    max_topics: usize,
    file: ConfigFile,
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
    topics: HashMap<String, Arc<TopicConfig>>,
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
            table: RwLock::new(Table { version: DataVersion::now(), topics }),
            system,
            max_topics: config.max_topics,
            file: ConfigFile::new(root, "topics.json"),
            created: OnceLock::new(),
        }
    }

    /// Overlays what `topics.json` says.
    pub fn load(&self) -> Result<(), String> {
        if let Some(loaded) = self.file.load(decode)? {
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
        self.read().topics.get(topic).cloned()
    }

    /// Whether the topic is configured here.
    pub fn contains(&self, topic: &str) -> bool {
        self.read().topics.contains_key(topic)
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
        self.write().version.next();
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
        mut table: std::sync::RwLockWriteGuard<'_, Table>,
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
        table.version.next();
        drop(table);
        self.persist();
        if let Some(created) = self.created.get() {
            (created.0)();
        }
        Some(topic)
    }

    /// Makes or replaces a topic as an administrator asks. `Err` says why not.
    pub fn put(&self, topic: TopicConfig) -> Result<(), String> {
        let mut table = self.write();
        if table.topics.len() >= self.max_topics && !table.topics.contains_key(&topic.topic_name) {
            return Err(format!("this broker has maxTopics={} topics already", self.max_topics));
        }
        table.topics.insert(topic.topic_name.clone(), Arc::new(topic));
        table.version.next();
        drop(table);
        self.persist();
        Ok(())
    }

    /// Deletes a topic. Returns whether it was there.
    pub fn delete(&self, name: &str) -> bool {
        let mut table = self.write();
        let found = table.topics.remove(name).is_some();
        if found {
            table.version.next();
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
            table.version.next();
            drop(table);
            self.persist();
        }
    }

    /// The text of `topics.json`.
    pub fn encode(&self) -> String {
        self.snapshot().to_json().write(Style::Pretty)
    }

    /// Writes `topics.json` up to the latest change.
    fn persist(&self) {
        self.file.save_or_warn(self.version().counter, || {
            let snapshot = self.snapshot();
            (snapshot.data_version.counter, snapshot.to_json().write(Style::Pretty))
        });
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `topics.json`.
fn decode(text: &str) -> Result<TopicConfigTable, String> {
    Json::parse(text.as_bytes())
        .and_then(|json| TopicConfigTable::from_json(&json))
        .map_err(|error| error.to_string())
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
