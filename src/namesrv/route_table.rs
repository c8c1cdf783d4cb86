//! [`RouteTable`]: who serves which topic. Pure data: no socket, no clock, no thread; every method
//! that depends on time takes `now`.
//!
//! Decoding a registration is in [`registration`](super::registration), answering requests in
//! [`processor`](super::processor).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::topic::{PERM_READ, PERM_WRITE};
use crate::remoting::protocol::bodies::{
    BrokerData, ClusterInfo, DataVersion, QueueData, TopicConfig, TopicRouteData,
};

/// A broker that was silent for so long is removed (`BROKER_CHANNEL_EXPIRED_TIME`). Brokers
/// register every 10 to 60 seconds, so this tolerates a few lost registrations.
pub const BROKER_EXPIRY: Duration = Duration::from_secs(120);

/// Broker addresses that are kept at most: the largest clusters known have hundreds.
pub const MAX_BROKERS: usize = 10_000;

/// Queue records (one for each topic on each broker) that are kept at most, about 100 MB.
pub const MAX_QUEUE_RECORDS: usize = 1_000_000;

/// New topics of a registration that the log names: a restart brings thousands.
const TOPICS_NAMED: usize = 20;

/// Topic flag: a unit topic.
pub const SYS_FLAG_UNIT: i32 = 1;
/// Topic flag: a topic with unit subscription.
pub const SYS_FLAG_UNIT_SUB: i32 = 2;

/// Which connection a broker registered over; [`Connection::id`](crate::remoting::connection::Connection::id).
pub type ConnectionId = u64;

/// Queues of one topic on one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queues {
    /// Shared with the other topics of the broker: a table of 10,000 topics holds each name once.
    broker_name: Arc<str>,
    read: i32,
    write: i32,
    perm: i32,
    sys_flag: i32,
}

/// What is known of a broker that registered lately.
#[derive(Debug)]
struct LiveBroker {
    last_seen: Instant,
    data_version: DataVersion,
    connection: ConnectionId,
    ha_server_addr: Option<String>,
    filter_servers: Vec<String>,
}

/// One registration, decoded.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Cluster.
    pub cluster: String,
    /// Broker name.
    pub broker_name: String,
    /// Address for clients; the broker's identity among live brokers.
    pub broker_addr: String,
    /// 0 is the master.
    pub broker_id: i64,
    /// Address for slaves.
    pub ha_server_addr: Option<String>,
    /// Where it came from.
    pub connection: ConnectionId,
    /// Version of `topics`.
    pub data_version: DataVersion,
    /// All topics of the broker, or the one that changed.
    pub topics: Vec<TopicConfig>,
    /// The version may be that of a later table than `topics`: a broker of 5.x copies its table
    /// before it reads the version.
    pub may_lack_topics: bool,
    /// Its filter servers; `None` leaves them as they were.
    pub filter_servers: Option<Vec<String>>,
}

/// What a slave learns from its registration; empty for a master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterOf {
    /// Address for replication.
    pub ha_server_addr: Option<String>,
    /// Address of the master.
    pub master_addr: Option<String>,
}

/// The table would grow past its limit; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFull {
    /// See [`MAX_BROKERS`].
    Brokers,
    /// See [`MAX_QUEUE_RECORDS`].
    QueueRecords,
}

impl fmt::Display for TableFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brokers => write!(f, "more than {MAX_BROKERS} brokers"),
            Self::QueueRecords => {
                write!(f, "more than {MAX_QUEUE_RECORDS} topics over all brokers")
            }
        }
    }
}

impl std::error::Error for TableFull {}

/// Who serves which topic (Java's `RouteInfoManager`).
///
/// | table | key | value |
/// |---|---|---|
/// | `topics` | topic | queues on each broker name, sorted by broker name |
/// | `brokers` | broker name | cluster, and the addresses by broker id |
/// | `clusters` | cluster | broker names |
/// | `live` | broker address | when last seen, version of its topics, connection, HA address, filter servers |
///
/// Invariants:
///
/// * a broker name in `brokers` has at least one address, and stands in at least one cluster;
/// * an address stands under one id of one broker name (a slave that becomes master moves);
/// * a topic in `topics` has at least one broker; its brokers were in `brokers` when they registered
///   it, and go with the last address of their name;
/// * only masters bring topics, and only with a version that differs from the one known: a
///   periodic registration costs a look-up. (Of a broker of 5.x also topics that are not known: it
///   may have told the version of a table with a topic and the table without it.)
///
/// A registration never takes topics away: a broker may send just the topic that changed.
#[derive(Debug, Default)]
pub struct RouteTable {
    topics: HashMap<String, Vec<Queues>>,
    brokers: BTreeMap<String, BrokerData>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    live: HashMap<String, LiveBroker>,
    queue_records: usize,
    generation: u64,
}

impl RouteTable {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Grows with every change of a route; the same number means the same routes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes a registration in (REGISTER_BROKER).
    pub fn register(&mut self, what: Registration, now: Instant) -> Result<MasterOf, TableFull> {
        let Registration { cluster, broker_name, broker_addr, broker_id, .. } = &what;
        if !self.live.contains_key(broker_addr) && self.live.len() >= MAX_BROKERS {
            return Err(TableFull::Brokers);
        }
        if self.queue_records + what.topics.len() > MAX_QUEUE_RECORDS
            && self.queue_records + self.new_records(&what) > MAX_QUEUE_RECORDS
        {
            return Err(TableFull::QueueRecords);
        }

        if !self.clusters.get(cluster).is_some_and(|names| names.contains(broker_name)) {
            self.clusters.entry(cluster.clone()).or_default().insert(broker_name.clone());
        }
        let is_new = self.put_address(cluster, broker_name, *broker_id, broker_addr);
        let version_differs =
            self.live.get(broker_addr).is_none_or(|known| known.data_version != what.data_version);
        if *broker_id == 0 {
            let replaces = is_new || version_differs;
            let adds = what.may_lack_topics;
            let is_news = |config: &&TopicConfig| {
                replaces || (adds && !self.has_queues(&config.topic_name, broker_name))
            };
            let told: Vec<&TopicConfig> = what.topics.iter().filter(is_news).collect();
            self.put_topics(broker_name, &told);
        }
        let master =
            if *broker_id == 0 { MasterOf::default() } else { self.master_of(broker_name) };
        let known = self.live.remove(broker_addr).map(|known| known.filter_servers);
        let known = known.unwrap_or_default();
        let filter_servers = what.filter_servers.unwrap_or_else(|| known.clone());
        if filter_servers != known {
            self.generation += 1;
        }
        self.live.insert(
            what.broker_addr,
            LiveBroker {
                last_seen: now,
                data_version: what.data_version,
                connection: what.connection,
                ha_server_addr: what.ha_server_addr,
                filter_servers,
            },
        );
        Ok(master)
    }

    /// How many queue records a registration would add.
    fn new_records(&self, what: &Registration) -> usize {
        let is_known =
            |config: &&TopicConfig| self.has_queues(&config.topic_name, &what.broker_name);
        what.topics.len() - what.topics.iter().filter(is_known).count()
    }

    /// Whether it is known that a broker has queues of a topic.
    fn has_queues(&self, topic: &str, broker_name: &str) -> bool {
        self.topics.get(topic).is_some_and(|on_brokers| {
            on_brokers.binary_search_by(|known| (*known.broker_name).cmp(broker_name)).is_ok()
        })
    }

    /// Puts an address in its place. Returns whether the id had no address before.
    fn put_address(&mut self, cluster: &str, name: &str, id: i64, addr: &str) -> bool {
        if self
            .brokers
            .get(name)
            .and_then(|broker| broker.broker_addrs.get(&id))
            .is_some_and(|a| a == addr)
        {
            return false;
        }
        self.generation += 1;
        let broker = self.brokers.entry(name.to_owned()).or_insert_with(|| BrokerData {
            broker_addrs: BTreeMap::new(),
            broker_name: name.to_owned(),
            cluster: cluster.to_owned(),
        });
        broker.broker_addrs.retain(|&known_id, known| {
            let moved = known_id != id && known == addr;
            if moved {
                log::info!("broker {name}: {addr} was id {known_id} and is now id {id}");
            }
            !moved
        });
        match broker.broker_addrs.insert(id, addr.to_owned()) {
            Some(before) => {
                log::warn!("broker {name}, id {id}: {addr} takes the place of {before}");
                false
            }
            None => {
                log::info!("broker {name}, id {id} of cluster {cluster} registered at {addr}");
                true
            }
        }
    }

    /// Adds or replaces the queues of `topics` on a broker.
    fn put_topics(&mut self, broker_name: &str, topics: &[&TopicConfig]) {
        if topics.is_empty() {
            return;
        }
        self.generation += 1;
        let broker_name: Arc<str> = broker_name.into();
        let mut new = Vec::new();
        for config in topics {
            let queues = Queues {
                broker_name: Arc::clone(&broker_name),
                read: config.read_queue_nums,
                write: config.write_queue_nums,
                perm: config.perm,
                sys_flag: config.topic_sys_flag,
            };
            if !self.topics.contains_key(&config.topic_name) {
                new.push(config.topic_name.as_str());
                self.topics.insert(config.topic_name.clone(), Vec::with_capacity(1));
            }
            let Some(on_brokers) = self.topics.get_mut(&config.topic_name) else { continue };
            match on_brokers.binary_search_by(|known| known.broker_name.cmp(&broker_name)) {
                Ok(at) => on_brokers[at] = queues,
                Err(at) => {
                    on_brokers.insert(at, queues);
                    self.queue_records += 1;
                }
            }
        }
        if !new.is_empty() {
            let named = new[..new.len().min(TOPICS_NAMED)].join(", ");
            log::info!("broker {broker_name} brings {} new topics: {named}", new.len());
        }
    }

    /// The live master of a broker name, as its slaves are told.
    fn master_of(&self, broker_name: &str) -> MasterOf {
        let master = self.brokers.get(broker_name).and_then(|broker| broker.broker_addrs.get(&0));
        match master.and_then(|addr| Some((addr, self.live.get(addr)?))) {
            Some((addr, live)) => MasterOf {
                ha_server_addr: live.ha_server_addr.clone(),
                master_addr: Some(addr.clone()),
            },
            None => MasterOf::default(),
        }
    }

    /// Compares a broker's version of its topics with the one known (QUERY_DATA_VERSION). The same
    /// version counts as a sign of life. Returns the version known.
    pub fn query_data_version(
        &mut self,
        broker_addr: &str,
        sent: &DataVersion,
        now: Instant,
    ) -> Option<DataVersion> {
        let live = self.live.get_mut(broker_addr)?;
        if live.data_version == *sent {
            live.last_seen = now;
        }
        Some(live.data_version.clone())
    }

    /// A broker says goodbye (UNREGISTER_BROKER). An id that another address has taken since then
    /// stays.
    pub fn unregister(&mut self, broker_name: &str, broker_addr: &str, broker_id: i64) {
        if self.live.remove(broker_addr).is_some_and(|known| !known.filter_servers.is_empty()) {
            self.generation += 1;
        }
        let Some(broker) = self.brokers.get_mut(broker_name) else { return };
        if broker.broker_addrs.get(&broker_id).is_some_and(|addr| addr == broker_addr) {
            broker.broker_addrs.remove(&broker_id);
            self.generation += 1;
            log::info!("broker {broker_name}, id {broker_id} at {broker_addr} unregistered");
            self.forget_if_empty(broker_name);
        }
    }

    /// Whether some broker registered last over this connection.
    pub fn has_broker_of(&self, connection: ConnectionId) -> bool {
        self.live.values().any(|live| live.connection == connection)
    }

    /// A connection ended: the brokers that registered last over it are gone. One that registered
    /// again over another connection stays. Returns the addresses removed.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<String> {
        self.remove_live(|live| live.connection == connection)
            .into_iter()
            .map(|(addr, _)| addr)
            .collect()
    }

    /// Removes the brokers that were silent for longer than [`BROKER_EXPIRY`]. Returns their
    /// addresses and the connections over which they registered.
    pub fn expire(&mut self, now: Instant) -> Vec<(String, ConnectionId)> {
        self.remove_live(|live| now.saturating_duration_since(live.last_seen) > BROKER_EXPIRY)
    }

    fn remove_live(&mut self, gone: impl Fn(&LiveBroker) -> bool) -> Vec<(String, ConnectionId)> {
        let removed: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| gone(live))
            .map(|(addr, live)| (addr.clone(), live.connection))
            .collect();
        for (addr, _) in &removed {
            self.live.remove(addr);
            self.remove_address(addr);
        }
        removed
    }

    /// Removes an address wherever it stands.
    fn remove_address(&mut self, addr: &str) {
        let mut names = Vec::new();
        for (name, broker) in &mut self.brokers {
            let before = broker.broker_addrs.len();
            broker.broker_addrs.retain(|_, known| known != addr);
            if broker.broker_addrs.len() != before {
                names.push(name.clone());
            }
        }
        for name in names {
            self.generation += 1;
            self.forget_if_empty(&name);
        }
    }

    /// A broker name without addresses goes, from its clusters and from all topics.
    fn forget_if_empty(&mut self, broker_name: &str) {
        if self.brokers.get(broker_name).is_none_or(|broker| !broker.broker_addrs.is_empty()) {
            return;
        }
        self.brokers.remove(broker_name);
        self.clusters.retain(|_, names| {
            names.remove(broker_name);
            !names.is_empty()
        });
        self.retain_queues(|_, queues| &*queues.broker_name != broker_name);
    }

    /// Keeps queue records; topics without any go.
    fn retain_queues(&mut self, keep: impl Fn(&str, &Queues) -> bool) {
        let mut records = 0;
        self.topics.retain(|topic, on_brokers| {
            on_brokers.retain(|queues| keep(topic, queues));
            records += on_brokers.len();
            !on_brokers.is_empty()
        });
        self.queue_records = records;
        self.generation += 1;
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster (DELETE_TOPIC_IN_NAMESRV). A
    /// broker that still has it brings it back with its next change.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(on_brokers) = self.topics.get_mut(topic) else { return };
        let before = on_brokers.len();
        match cluster {
            None => on_brokers.clear(),
            Some(cluster) => {
                let names = self.clusters.get(cluster);
                on_brokers.retain(|queues| {
                    !names.is_some_and(|names| names.contains(&*queues.broker_name))
                });
            }
        }
        self.queue_records -= before - on_brokers.len();
        self.generation += 1;
        if on_brokers.is_empty() {
            self.topics.remove(topic);
            log::info!("topic {topic} deleted");
        }
    }

    /// Takes the write bit from all queues of a broker (WIPE_WRITE_PERM_OF_BROKER), until it
    /// registers with another version. Returns how many topics it has.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_perm(broker_name, |perm| perm & !PERM_WRITE)
    }

    /// Makes all queues of a broker readable and writable (ADD_WRITE_PERM_OF_BROKER). Returns how
    /// many topics it has.
    pub fn add_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_perm(broker_name, |_| PERM_READ | PERM_WRITE)
    }

    fn change_perm(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> usize {
        let mut topics = 0;
        for queues in self.topics.values_mut().flatten() {
            if &*queues.broker_name == broker_name {
                queues.perm = change(queues.perm);
                topics += 1;
            }
        }
        self.generation += 1;
        topics
    }

    /// The route of a topic (GET_ROUTEINFO_BY_TOPIC), without order configuration.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let on_brokers = self.topics.get(topic)?;
        let broker_datas: Vec<_> = on_brokers
            .iter()
            .filter_map(|queues| self.brokers.get(&*queues.broker_name).cloned())
            .collect();
        if broker_datas.is_empty() {
            return None;
        }
        let queue_datas = on_brokers
            .iter()
            .map(|queues| QueueData {
                broker_name: queues.broker_name.to_string(),
                perm: queues.perm,
                read_queue_nums: queues.read,
                topic_sys_flag: queues.sys_flag,
                write_queue_nums: queues.write,
            })
            .collect();
        let addresses = broker_datas.iter().flat_map(|broker| broker.broker_addrs.values());
        let filter_server_table = addresses
            .filter_map(|addr| Some((addr.clone(), self.live.get(addr)?.filter_servers.clone())))
            .filter(|(_, servers)| !servers.is_empty())
            .collect();
        Some(TopicRouteData {
            broker_datas,
            queue_datas,
            filter_server_table,
            ..TopicRouteData::default()
        })
    }

    /// All brokers and clusters (GET_BROKER_CLUSTER_INFO).
    pub fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: self
                .clusters
                .iter()
                .map(|(cluster, names)| (cluster.clone(), names.iter().cloned().collect()))
                .collect(),
        }
    }

    /// All topics, sorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics_where(|_| true)
    }

    /// Topics with a broker of `cluster`, sorted; none for an unknown cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let Some(names) = self.clusters.get(cluster) else { return Vec::new() };
        self.topics_where(|on_brokers| {
            on_brokers.iter().any(|queues| names.contains(&*queues.broker_name))
        })
    }

    /// Topics whose flags, on their first broker, have all bits of `set` and none of `clear`.
    pub fn topics_by_flag(&self, set: i32, clear: i32) -> Vec<String> {
        self.topics_where(|on_brokers| {
            on_brokers
                .first()
                .is_some_and(|queues| queues.sys_flag & set == set && queues.sys_flag & clear == 0)
        })
    }

    fn topics_where(&self, wanted: impl Fn(&[Queues]) -> bool) -> Vec<String> {
        let mut topics: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, on_brokers)| wanted(on_brokers))
            .map(|(topic, _)| topic.clone())
            .collect();
        topics.sort_unstable();
        topics
    }

    /// Names that are topics of the system's own: clusters and brokers. With them the address of
    /// some broker, for a client that knows none.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let names: BTreeSet<_> =
            self.clusters.keys().chain(self.clusters.values().flatten()).collect();
        let some_addr =
            self.brokers.values().find_map(|broker| broker.broker_addrs.values().next());
        (names.into_iter().cloned().collect(), some_addr.cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, perm: i32) -> TopicConfig {
        TopicConfig { topic_name: name.to_owned(), perm, ..TopicConfig::default() }
    }

    fn broker(name: &str, id: i64, addr: &str, counter: i64, topics: &[&str]) -> Registration {
        Registration {
            cluster: "c".to_owned(),
            broker_name: name.to_owned(),
            broker_addr: addr.to_owned(),
            broker_id: id,
            ha_server_addr: Some(format!("ha-{addr}")),
            connection: 1,
            data_version: DataVersion { counter, timestamp: 7 },
            topics: topics.iter().map(|name| topic(name, 6)).collect(),
            may_lack_topics: false,
            filter_servers: None,
        }
    }

    fn register(table: &mut RouteTable, what: Registration) -> MasterOf {
        table.register(what, Instant::now()).unwrap()
    }

    /// `broker:id=addr,…` for each broker of a topic's route.
    fn shown(table: &RouteTable, topic: &str) -> String {
        let Some(route) = table.route(topic) else { return "none".to_owned() };
        let brokers: Vec<_> = route
            .broker_datas
            .iter()
            .map(|b| {
                let addrs: Vec<_> =
                    b.broker_addrs.iter().map(|(id, addr)| format!("{id}={addr}")).collect();
                format!("{}:{}", b.broker_name, addrs.join(","))
            })
            .collect();
        brokers.join(" ")
    }

    #[test]
    fn topics_come_with_a_new_version_and_only_from_masters() {
        let mut table = RouteTable::new();
        register(&mut table, broker("a", 0, "h:1", 1, &["t1"]));
        register(&mut table, broker("a", 0, "h:1", 1, &["t2"]));
        assert_eq!(shown(&table, "t2"), "none", "the version is known");
        register(&mut table, broker("a", 0, "h:1", 2, &["t2"]));
        assert_eq!(table.topics(), ["t1", "t2"], "topics missing from a registration stay");
        register(&mut table, broker("a", 1, "h:2", 1, &["t3"]));
        assert_eq!(shown(&table, "t3"), "none", "a slave brings no topics");
        assert_eq!(shown(&table, "t1"), "a:0=h:1,1=h:2");
        let generation = table.generation();
        register(&mut table, broker("a", 0, "h:1", 2, &["t2"]));
        assert_eq!(table.generation(), generation, "a periodic registration changes no route");
    }

    #[test]
    fn a_topic_that_was_missing_beside_its_version_comes_later() {
        let mut table = RouteTable::new();
        let tell = |table: &mut RouteTable, id, addr, topics: &[&str]| {
            let told = broker("a", id, addr, 2, topics);
            register(table, Registration { may_lack_topics: true, ..told });
        };
        tell(&mut table, 0, "h:1", &["t1"]);
        tell(&mut table, 0, "h:1", &["t2"]);
        assert_eq!(shown(&table, "t2"), "a:0=h:1");
        table.wipe_write_perm("a");
        let generation = table.generation();
        tell(&mut table, 0, "h:1", &["t1", "t2"]);
        assert_eq!(table.generation(), generation, "what is known stays as it is");
        tell(&mut table, 1, "h:2", &["t3"]);
        assert_eq!(shown(&table, "t3"), "none", "a slave brings no topics");
        assert_eq!(table.queue_records, 2);
    }

    #[test]
    fn a_slave_learns_its_live_master() {
        let mut table = RouteTable::new();
        assert_eq!(register(&mut table, broker("a", 1, "h:2", 1, &[])), MasterOf::default());
        assert_eq!(register(&mut table, broker("a", 0, "h:1", 1, &[])), MasterOf::default());
        let master = register(&mut table, broker("a", 1, "h:2", 1, &[]));
        assert_eq!(master.master_addr.as_deref(), Some("h:1"));
        assert_eq!(master.ha_server_addr.as_deref(), Some("ha-h:1"));
    }

    #[test]
    fn filter_servers_stand_in_routes_until_the_broker_is_without() {
        let mut table = RouteTable::new();
        let with = |servers: Option<&[&str]>| Registration {
            filter_servers: servers.map(|list| list.iter().map(|&s| s.to_owned()).collect()),
            ..broker("a", 0, "h:1", 1, &["t"])
        };
        let shown = |table: &RouteTable| table.route("t").unwrap().filter_server_table;
        register(&mut table, with(Some(&["f:1", "f:2"])));
        let generation = table.generation();
        register(&mut table, with(None));
        assert_eq!(table.generation(), generation);
        assert_eq!(shown(&table)["h:1"], ["f:1", "f:2"]);
        register(&mut table, with(Some(&[])));
        assert!(table.generation() > generation && shown(&table).is_empty());
    }

    #[test]
    fn an_address_has_one_id() {
        let mut table = RouteTable::new();
        register(&mut table, broker("a", 1, "h:1", 1, &[]));
        register(&mut table, broker("a", 0, "h:1", 1, &["t"]));
        assert_eq!(shown(&table, "t"), "a:0=h:1", "the version is known, but the id is new");
        register(&mut table, broker("a", 0, "h:9", 1, &["t"]));
        assert_eq!(shown(&table, "t"), "a:0=h:9");
        table.unregister("a", "h:1", 0);
        assert_eq!(shown(&table, "t"), "a:0=h:9", "a goodbye of the old address comes late");
    }

    #[test]
    fn the_last_address_takes_the_name_everywhere() {
        let mut table = RouteTable::new();
        register(&mut table, broker("a", 0, "h:1", 1, &["t1", "t2"]));
        register(&mut table, broker("a", 1, "h:2", 1, &[]));
        register(&mut table, broker("b", 0, "h:3", 1, &["t2"]));
        table.unregister("a", "h:1", 0);
        assert_eq!(shown(&table, "t1"), "a:1=h:2", "a slave alone still serves");
        table.unregister("a", "h:2", 1);
        assert_eq!(table.topics(), ["t2"]);
        assert_eq!(shown(&table, "t2"), "b:0=h:3");
        assert_eq!(table.queue_records, 1);
        assert_eq!(table.cluster_info().cluster_addr_table["c"], ["b"]);
    }

    #[test]
    fn silence_and_a_closed_connection_remove() {
        let mut table = RouteTable::new();
        let start = Instant::now();
        table.register(broker("a", 0, "h:1", 1, &["t"]), start).unwrap();
        let other = Registration { connection: 2, ..broker("b", 0, "h:2", 1, &["t"]) };
        table.register(other, start).unwrap();
        let same_version = DataVersion { counter: 1, timestamp: 7 };
        table.query_data_version("h:2", &same_version, start + Duration::from_secs(60));
        assert!(table.expire(start + BROKER_EXPIRY).is_empty());
        let later = start + BROKER_EXPIRY + Duration::from_millis(1);
        assert_eq!(table.expire(later), [("h:1".to_owned(), 1)]);
        assert_eq!(shown(&table, "t"), "b:0=h:2");
        assert!(table.connection_closed(1).is_empty());
        assert_eq!(table.connection_closed(2), ["h:2"]);
        assert!(table.topics().is_empty());
    }

    #[test]
    fn an_outdated_connection_removes_nothing() {
        let mut table = RouteTable::new();
        register(&mut table, broker("a", 0, "h:1", 1, &["t"]));
        register(&mut table, Registration { connection: 2, ..broker("a", 0, "h:1", 1, &["t"]) });
        assert!(table.connection_closed(1).is_empty());
        assert_eq!(shown(&table, "t"), "a:0=h:1");
    }

    #[test]
    fn permissions_last_until_the_next_version() {
        let mut table = RouteTable::new();
        let perm = |table: &RouteTable| table.route("t").unwrap().queue_datas[0].perm;
        let first = Registration { topics: vec![topic("t", 7)], ..broker("a", 0, "h:1", 1, &[]) };
        register(&mut table, first.clone());
        assert_eq!((table.wipe_write_perm("a"), perm(&table)), (1, 5));
        register(&mut table, first);
        assert_eq!(perm(&table), 5);
        assert_eq!((table.add_write_perm("a"), perm(&table)), (1, 6));
        assert_eq!(table.wipe_write_perm("unknown"), 0);
    }

    #[test]
    fn lists() {
        let mut table = RouteTable::new();
        let flagged = (0..4)
            .map(|flag| TopicConfig { topic_sys_flag: flag, ..topic(&format!("t{flag}"), 6) })
            .collect();
        register(&mut table, Registration { topics: flagged, ..broker("a", 0, "h:1", 1, &[]) });
        let other = Registration { cluster: "d".to_owned(), ..broker("b", 0, "h:2", 1, &["t0"]) };
        register(&mut table, other);
        assert_eq!(table.topics_by_flag(SYS_FLAG_UNIT, 0), ["t1", "t3"]);
        assert_eq!(table.topics_by_flag(SYS_FLAG_UNIT_SUB, 0), ["t2", "t3"]);
        assert_eq!(table.topics_by_flag(SYS_FLAG_UNIT_SUB, SYS_FLAG_UNIT), ["t2"]);
        assert_eq!(table.topics_of_cluster("d"), ["t0"]);
        assert!(table.topics_of_cluster("none").is_empty());
        let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(table.system_topics(), (names, Some("h:1".to_owned())));
        table.delete_topic("t0", Some("c"));
        assert_eq!(shown(&table, "t0"), "b:0=h:2");
        table.delete_topic("t0", None);
        assert_eq!(shown(&table, "t0"), "none");
        assert_eq!(table.queue_records, 3);
    }
}
