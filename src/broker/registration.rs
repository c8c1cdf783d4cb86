//! [`Registration`]: tells the name servers which topics this broker has: at start, every
//! `registerNameServerPeriod`, and when a topic is made.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Broker;
use super::config::split_name_servers;
use crate::common::checksum::crc32;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::common::topic::{PERM_READ, PERM_WRITE};
use crate::remoting::protocol::bodies::{
    DataVersion, KvTable, RegisterBrokerBody, TopicConfig, TopicConfigTable,
};
use crate::remoting::protocol::namesrv_headers::{
    BrokerIdentityHeader, QueryDataVersionResponseHeader, RegisterBrokerRequestHeader,
    RegisterBrokerResponseHeader,
};
use crate::remoting::protocol::{request_code, response_code as code};
use crate::remoting::{Command, RemotingClient, RemotingError};

/// How often a name server that failed is tried again: it may only just be starting.
const RETRY: Duration = Duration::from_secs(2);
/// Longest that a request that made a topic waits until the name servers know of it.
const NEWS_LIMIT: Duration = Duration::from_millis(500);
/// Limit of UNREGISTER_BROKER at stop, for all name servers together.
const UNREGISTER_LIMIT: Duration = Duration::from_secs(3);

/// Registration with the name servers (spec: broker 9.1 to 9.4).
///
/// Each name server has a thread of its own, so one that does not answer keeps the news from
/// nobody else. A request that makes a topic (a send, a heartbeat) is answered when they know of it: its
/// client may look for the route next, and does not look again for 30 s. It waits for no more than
/// half a second, and not for name servers that failed the last time. What happens is counted in
/// *rounds*: whoever has news starts one; each thread registers the whole topic table, as it is
/// then, for the latest round it knows of. News that come meanwhile are one more round, not one
/// each.
///
/// The answer that comes first in a round gives the table of ordered topics. A slave's master is where
/// the first answer says that says anything: a name server may know the slave before the master.
pub struct Registration {
    client: Arc<RemotingClient>,
    rounds: Mutex<Rounds>,
    /// Told when a thread has finished a round.
    finished: Condvar,
    /// Latest round whose order table was taken.
    applied: AtomicU64,
    /// Latest round in which a name server said where the master is.
    master_told: AtomicU64,
    links: Mutex<Vec<Link>>,
    /// What an address server said, for a configuration without a list.
    found: Mutex<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    /// The latest round.
    latest: u64,
    /// The latest round that does not ask first whether anything changed.
    forced: u64,
}

/// A name server and the thread that registers with it.
struct Link {
    shared: Arc<LinkState>,
    thread: ServiceThread,
}

struct LinkState {
    addr: String,
    signal: Arc<Signal>,
    /// Latest round that it has finished, well or not.
    finished: AtomicU64,
    /// Whether the last attempt failed: a failure is told once, and so is its end.
    failing: AtomicBool,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("rounds", &self.rounds).finish_non_exhaustive()
    }
}

impl Registration {
    /// Without name servers, until [`refresh`](Self::refresh).
    pub fn new(client: Arc<RemotingClient>) -> Self {
        Self {
            client,
            rounds: Mutex::default(),
            finished: Condvar::new(),
            applied: AtomicU64::new(0),
            master_told: AtomicU64::new(0),
            links: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// What calls name servers, and a slave's master.
    pub fn client(&self) -> &Arc<RemotingClient> {
        &self.client
    }

    /// Takes over a list that an address server told.
    pub fn found(&self, broker: &Arc<Broker>, list: &str) -> io::Result<()> {
        list.clone_into(&mut lock(&self.found));
        self.refresh(broker)
    }

    /// Takes over the list of name servers from the configuration: starts threads for new ones,
    /// stops those of the others.
    pub fn refresh(&self, broker: &Arc<Broker>) -> io::Result<()> {
        // Before the list is read: of two at a time the one with the newer list comes last.
        let mut links = lock(&self.links);
        let config = broker.config.get();
        let found = lock(&self.found).clone();
        let list = if config.namesrv_addr.is_empty() { &found } else { &config.namesrv_addr };
        let wanted: Vec<&str> = split_name_servers(list).collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            links.drain(..).partition(|link| wanted.contains(&link.shared.addr.as_str()));
        *links = kept;
        for link in gone {
            log::info!("name server {} is no longer configured", link.shared.addr);
            link.thread.stop(Duration::ZERO);
        }
        for addr in wanted {
            if !links.iter().any(|link| link.shared.addr == addr) {
                links.push(Link::start(addr.to_owned(), broker)?);
            }
        }
        Ok(())
    }

    /// Starts a round. `forced`: without asking the name servers first what they know.
    pub fn trigger(&self, forced: bool) -> u64 {
        let round = {
            let mut rounds = lock(&self.rounds);
            rounds.latest += 1;
            if forced {
                rounds.forced = rounds.latest;
            }
            rounds.latest
        };
        for link in lock(&self.links).iter() {
            link.shared.signal.wakeup();
        }
        round
    }

    /// Starts a round and waits until every name server has answered or failed, at most `limit`.
    pub fn register_and_wait(&self, limit: Duration) {
        self.register_with(limit, |_| true);
    }

    /// Tells of a topic that a client's request made, and waits shortly for those name servers that
    /// can be expected to answer.
    pub fn register_news(&self) {
        self.register_with(NEWS_LIMIT, |link| !link.failing.load(Ordering::Relaxed));
    }

    fn register_with(&self, limit: Duration, awaited: impl Fn(&LinkState) -> bool) {
        let round = self.trigger(true);
        let deadline = Instant::now() + limit;
        let mut links: Vec<_> =
            lock(&self.links).iter().map(|link| Arc::clone(&link.shared)).collect();
        links.retain(|link| awaited(link));
        let mut rounds = lock(&self.rounds);
        while links.iter().any(|link| link.finished.load(Ordering::Acquire) < round) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.finished.wait_timeout(rounds, left);
            rounds = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stops the threads and takes this broker out of all name servers, which go on in parallel.
    pub fn unregister(&self, broker: &Broker) {
        let links = std::mem::take(&mut *lock(&self.links));
        let deadline = Instant::now() + UNREGISTER_LIMIT;
        std::thread::scope(|scope| {
            for link in &links {
                let named = std::thread::Builder::new().name("Unregister".to_owned());
                let left = move || deadline.saturating_duration_since(Instant::now());
                let spawned = named.spawn_scoped(scope, move || {
                    link.thread.stop(left());
                    self.unregister_from(&link.shared.addr, broker, left());
                });
                if let Err(error) = spawned {
                    log::warn!("not unregistered from {}: {error}", link.shared.addr);
                }
            }
        });
    }

    fn unregister_from(&self, addr: &str, broker: &Broker, limit: Duration) {
        let request =
            Command::request(request_code::UNREGISTER_BROKER).with_header(&identity(broker));
        if let Err(problem) = succeeded(self.client.call(addr, request, limit)) {
            log::warn!(
                "not unregistered from name server {addr}: {problem}; it forgets this broker by itself"
            );
        }
    }
}

impl Link {
    fn start(addr: String, broker: &Arc<Broker>) -> io::Result<Self> {
        let shared = Arc::new(LinkState {
            addr,
            signal: Arc::default(),
            finished: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let (its_shared, its_broker) = (Arc::clone(&shared), Arc::downgrade(broker));
        let thread =
            ServiceThread::spawn("RegisterBroker", Arc::clone(&shared.signal), move |signal| {
                let goes_on = || match its_shared.failing.load(Ordering::Relaxed) {
                    true => signal.wait(RETRY),
                    false => signal.wait_for_wakeup(),
                };
                while goes_on() && its_shared.catch_up(&its_broker) {}
            })?;
        shared.signal.wakeup();
        Ok(Self { shared, thread })
    }
}

impl LinkState {
    /// Registers until no round is newer, once more if the last attempt failed. Returns whether the
    /// broker still exists.
    fn catch_up(&self, broker: &Weak<Broker>) -> bool {
        let Some(broker) = broker.upgrade() else { return false };
        let registration = &broker.registration;
        let mut again = self.failing.load(Ordering::Relaxed);
        loop {
            let rounds = *lock(&registration.rounds);
            let finished = self.finished.load(Ordering::Acquire);
            if (rounds.latest <= finished && !again) || self.signal.stopped() {
                return true;
            }
            let result = self.register(&broker, rounds, again || rounds.forced > finished);
            again = false;
            match (&result, self.failing.swap(result.is_err(), Ordering::Relaxed)) {
                (Err(problem), false) => log::warn!(
                    "not registered with name server {}: {problem}; tried again every {} s",
                    self.addr,
                    RETRY.as_secs()
                ),
                (Ok(()), true) => log::info!("registered with name server {} again", self.addr),
                _ => {}
            }
            let _rounds = lock(&registration.rounds);
            self.finished.store(rounds.latest, Ordering::Release);
            registration.finished.notify_all();
        }
    }

    fn register(&self, broker: &Broker, rounds: Rounds, forced: bool) -> Result<(), String> {
        let config = broker.config.get();
        let limit = Duration::from_millis(config.register_broker_timeout_mills.max(1) as u64);
        let client = &broker.registration.client;
        let topics = topics_to_register(broker);
        if !forced && !self.has_changed(broker, &topics.data_version, limit) {
            return Ok(());
        }
        let (body, compressed) = if config.compressed_register {
            (compress(&topics), true)
        } else {
            let body = RegisterBrokerBody {
                filter_server_list: Vec::new(),
                topic_config_serialize_wrapper: topics,
            };
            (body.to_json().write(Style::Fastjson).into_bytes(), false)
        };
        let BrokerIdentityHeader { broker_name, broker_addr, cluster_name, broker_id } =
            identity(broker);
        let header = RegisterBrokerRequestHeader {
            broker_name,
            broker_addr,
            cluster_name,
            ha_server_addr: Some(broker.ha_address()),
            broker_id,
            compressed,
            body_crc32: (crc32(&body) & 0x7FFF_FFFF) as i32,
        };
        let request =
            Command::request(request_code::REGISTER_BROKER).with_header(&header).with_body(body);
        let answer = succeeded(client.call(&self.addr, request, limit))?;
        let is_first =
            broker.registration.applied.fetch_max(rounds.latest, Ordering::AcqRel) < rounds.latest;
        let registration = &broker.registration;
        if let Ok(header) = answer.header::<RegisterBrokerResponseHeader>()
            && (header.master_addr.is_some() || header.ha_server_addr.is_some())
            && registration.master_told.fetch_max(rounds.latest, Ordering::AcqRel) < rounds.latest
        {
            broker.replication.told(broker, header);
        }
        if is_first && !answer.body.is_empty() {
            let table = Json::parse(answer.body.as_bytes())
                .and_then(|json| KvTable::from_json(&json))
                .map_err(|error| format!("its table of ordered topics is not readable: {error}"))?;
            broker.topics.set_order_topics(&table.table);
        }
        Ok(())
    }

    /// QUERY_DATA_VERSION; a name server that cannot say counts as one that knows too little.
    fn has_changed(&self, broker: &Broker, version: &DataVersion, limit: Duration) -> bool {
        let request = Command::request(request_code::QUERY_DATA_VERSION)
            .with_header(&identity(broker))
            .with_body(version.to_json().write(Style::Fastjson));
        succeeded(broker.registration.client.call(&self.addr, request, limit))
            .ok()
            .and_then(|answer| answer.header::<QueryDataVersionResponseHeader>().ok())
            .is_none_or(|answer| answer.changed)
    }
}

fn succeeded(result: Result<Command, RemotingError>) -> Result<Command, String> {
    match result {
        Ok(answer) if answer.code == code::SUCCESS => Ok(answer),
        Ok(answer) => {
            Err(format!("it answered {} {}", answer.code, answer.remark.unwrap_or_default()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn identity(broker: &Broker) -> BrokerIdentityHeader {
    let config = broker.config.get();
    BrokerIdentityHeader {
        broker_name: config.broker_name.clone(),
        broker_addr: broker.address(),
        cluster_name: config.broker_cluster_name.clone(),
        broker_id: config.broker_id,
    }
}

/// The topic table as name servers get it: of a broker that may not be read or written, every
/// topic has the broker's permission.
fn topics_to_register(broker: &Broker) -> TopicConfigTable {
    let permission = broker.config.get().broker_permission;
    let mut table = broker.topics.snapshot();
    if permission & (PERM_READ | PERM_WRITE) != PERM_READ | PERM_WRITE {
        for topic in table.topic_config_table.values_mut() {
            *topic = TopicConfig {
                topic_name: std::mem::take(&mut topic.topic_name),
                read_queue_nums: topic.read_queue_nums,
                write_queue_nums: topic.write_queue_nums,
                perm: permission,
                ..TopicConfig::default()
            };
        }
    }
    table
}

/// The compressed form of a registration: one zlib stream of blocks, each after its length (i32,
/// big-endian).
///
/// | # | content |
/// |---|---|
/// | 1 | block: data version, JSON |
/// | 2 | i32: number of topics |
/// | 3 | for each topic a block: `name readQueues writeQueues perm filterType`, single blanks |
/// | 4 | block: filter servers, JSON array, always empty |
fn compress(topics: &TopicConfigTable) -> Vec<u8> {
    fn block(stream: &mut Vec<u8>, text: &str) {
        stream.extend((text.len() as i32).to_be_bytes());
        stream.extend(text.as_bytes());
    }
    let mut stream = Vec::new();
    block(&mut stream, &topics.data_version.to_json().write(Style::Fastjson));
    stream.extend((topics.topic_config_table.len() as i32).to_be_bytes());
    for topic in topics.topic_config_table.values() {
        let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, .. } = topic;
        let kind = &topic.topic_filter_type;
        block(
            &mut stream,
            &format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {kind}"),
        );
    }
    block(&mut stream, "[]");
    miniz_oxide::deflate::compress_to_vec_zlib(&stream, 9)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::broker::testing::{Folder, LIMIT, TestBroker, wait_until};
    use crate::namesrv::{Namesrv, NamesrvConfig};
    use crate::remoting::config::{ClientConfig, ServerConfig};
    use crate::remoting::protocol::bodies::TopicRouteData;

    struct NameServer {
        server: Namesrv,
        client: Arc<RemotingClient>,
        _folder: Folder,
    }

    impl NameServer {
        fn start() -> Self {
            let folder = Folder::new();
            let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
            let config = NamesrvConfig {
                kv_config_path: path("kvConfig.json"),
                config_store_path: path("namesrv.properties"),
                ..NamesrvConfig::default()
            };
            let server_config = ServerConfig { listen_port: 0, ..ServerConfig::default() };
            let server = Namesrv::start(config, server_config).unwrap();
            Self { server, client: RemotingClient::new(ClientConfig::default()), _folder: folder }
        }

        fn addr(&self) -> String {
            format!("127.0.0.1:{}", self.server.local_addr().port())
        }

        fn call(&self, code: i32, fields: &[(&str, &str)]) -> Command {
            let mut request = Command::request(code);
            for (name, value) in fields {
                request.fields.push_str(name, value);
            }
            self.client.call(&self.addr(), request, LIMIT).unwrap()
        }

        fn route(&self, topic: &str) -> Option<TopicRouteData> {
            let answer = self.call(request_code::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]);
            if answer.code != code::SUCCESS {
                return None;
            }
            let json = Json::parse(answer.body.as_bytes()).unwrap();
            Some(TopicRouteData::from_json(&json).unwrap())
        }
    }

    fn broker_with(addrs: &str) -> TestBroker {
        broker_that_waits(addrs, 20_000)
    }

    fn broker_that_waits(addrs: &str, register_timeout_ms: i32) -> TestBroker {
        TestBroker::start_with(|configuration| {
            configuration.broker.namesrv_addr = addrs.to_owned();
            configuration.broker.register_broker_timeout_mills = register_timeout_ms;
        })
    }

    #[test]
    fn every_name_server_knows_what_is_here_and_forgets_it_at_the_end() {
        let (one, two) = (NameServer::start(), NameServer::start());
        let broker = broker_with(&format!("{};{}", one.addr(), two.addr()));
        for server in [&one, &two] {
            let route = server.route("broker-a").expect("registered before the start returns");
            assert_eq!(route.broker_datas[0].broker_addrs[&0], broker.address());
        }
        broker.make_topic("T", "3");
        for server in [&one, &two] {
            let route = server.route("T").expect("registered before the answer");
            assert_eq!(route.queue_datas[0].write_queue_nums, 3);
        }
        let mut topics = (1..).map(|number| format!("by-itself-{number}"));
        wait_until("a topic is known before the send that made it is answered", || {
            let (topic, began) = (topics.next().unwrap(), Instant::now());
            broker.send(&topic, "0", "x");
            // On a busy machine one or another may have waited in vain.
            let in_vain = began.elapsed() >= NEWS_LIMIT;
            let known = [&one, &two].iter().all(|server| server.route(&topic).is_some());
            assert!(known || in_vain, "{topic}: known before the send is answered");
            known && !in_vain
        });
        broker.ask(25, &[], "brokerPermission=4");
        wait_until("the broker's permission is told", || {
            one.route("T").is_some_and(|route| route.queue_datas[0].perm == 4)
        });
        drop(broker);
        // A broker that stops waits three seconds for it.
        wait_until("it is forgotten", || [&one, &two].iter().all(|s| s.route("T").is_none()));
    }

    #[test]
    fn an_unreachable_name_server_delays_nobody() {
        let good = NameServer::start();
        // It accepts connections and never says a word.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let addrs = format!("127.0.0.1:1;{};{}", silent.local_addr().unwrap(), good.addr());
        let broker = broker_that_waits(&addrs, 500);
        wait_until("the good one knows it", || good.route("broker-a").is_some());
        broker.running.broker.settings.update("registerBrokerTimeoutMills=60000").unwrap();
        broker.running.broker.registration.trigger(true);
        for topic in ["first", "second"] {
            let began = Instant::now();
            broker.send(topic, "0", "x");
            wait_until("the topic is known", || good.route(topic).is_some());
            assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
        }
    }

    #[test]
    fn the_newest_list_of_name_servers_counts_whoever_takes_it_over() {
        let broker = TestBroker::start();
        let broker = &broker.running.broker;
        let registration = &broker.registration;
        let over = AtomicBool::new(false);
        let mut wrong = 0;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        registration.refresh(broker).unwrap();
                    }
                });
            }
            for round in 0..2000 {
                let addr = format!("127.0.0.1:{}", 1 + round % 2);
                broker.config.update(|config| config.namesrv_addr = addr.clone());
                registration.refresh(broker).unwrap();
                let links = lock(&registration.links);
                wrong += usize::from(!links.iter().all(|link| link.shared.addr == addr));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(wrong, 0, "lists that were taken over and given up again");
    }

    #[test]
    fn a_name_server_that_comes_back_is_told_again() {
        let server = NameServer::start();
        let addr = server.addr();
        let broker = broker_with(&addr);
        drop(server);
        broker.running.broker.registration.register_and_wait(LIMIT);
        let again = NameServer::start();
        let other = again.addr();
        broker.ask(25, &[], format!("namesrvAddr={other}"));
        wait_until("the new name server is told", || again.route("broker-a").is_some());
    }

    #[test]
    fn ordered_topics_come_from_the_name_server() {
        let server = NameServer::start();
        let broker = broker_with(&server.addr());
        broker.make_topic("T", "1");
        let table = ("namespace", "ORDER_TOPIC_CONFIG");
        let entry = [table, ("key", "T"), ("value", "broker-a:1")];
        server.call(request_code::PUT_KV_CONFIG, &entry);
        broker.running.broker.registration.register_and_wait(LIMIT);
        assert!(broker.running.broker.topics.get("T").unwrap().order);
        server.call(request_code::DELETE_KV_CONFIG, &entry[..2]);
        let other = [table, ("key", "other"), ("value", "broker-a:1")];
        server.call(request_code::PUT_KV_CONFIG, &other);
        broker.running.broker.registration.register_and_wait(LIMIT);
        assert!(!broker.running.broker.topics.get("T").unwrap().order);
    }

    #[test]
    fn unforced_rounds_and_the_compressed_form() {
        let server = NameServer::start();
        let broker = broker_with(&server.addr());
        let its = &broker.running.broker;
        its.settings.update("compressedRegister=true\nforceRegister=false").unwrap();
        its.topics.get_or_create("T", 5, 6, 0);
        wait_until("the compressed form is understood", || {
            server.route("T").is_some_and(|route| route.queue_datas[0].read_queue_nums == 5)
        });
        let version = its.topics.version();
        let link = LinkState {
            addr: server.addr(),
            signal: Arc::default(),
            finished: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        };
        assert!(!link.has_changed(its, &version, LIMIT));
        assert!(link.has_changed(its, &DataVersion { counter: -1, ..version }, LIMIT));
    }
}
