//! A master and a slave as values, with a name server: who refuses what, and how the slave follows
//! the master's tables. Damage, kills and mixed pairs are other files' business.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rocketmq::broker::startup::{Configuration, StartError, start};
use rocketmq::common::json::{FromJson, Json};
use rocketmq::namesrv::{Namesrv, NamesrvConfig};
use rocketmq::remoting::config::ServerConfig;
use rocketmq::remoting::protocol::admin_bodies::HaRuntimeInfo;
use rocketmq::remoting::protocol::bodies::KvTable;
use rocketmq::remoting::protocol::namesrv_headers::RegisterBrokerResponseHeader;
use rocketmq::remoting::protocol::{request_code as request, response_code as code};
use rocketmq::remoting::server::RunningServer;
use rocketmq::remoting::{Command, Connection, Processor, RemotingServer};
use rocketmq::store::config::BrokerRole;
use rocketmq::store::ha::FollowState;

use support::site::{LONG, Site};
use support::{TempDir, free_port, until};

/// Where a master and a slave live.
struct Pair {
    dir: TempDir,
    namesrv: Namesrv,
}

impl Pair {
    fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let path = |name: &str| dir.join(name).display().to_string();
        let config = NamesrvConfig {
            kv_config_path: path("kvConfig.json"),
            config_store_path: path("namesrv.properties"),
            ..NamesrvConfig::default()
        };
        let server = ServerConfig { listen_port: 0, ..ServerConfig::default() };
        let namesrv = Namesrv::start(config, server).expect("the name server starts");
        Self { dir, namesrv }
    }

    fn namesrv_addr(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv.local_addr().port())
    }

    fn folder(&self, who: &str) -> PathBuf {
        let folder = self.dir.join(who);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn master(&self) -> Site {
        self.master_with(|_| {})
    }

    fn master_with(&self, change: impl FnOnce(&mut Configuration)) -> Site {
        Site::new(&self.folder("master"), |configuration| {
            configuration.broker.namesrv_addr = self.namesrv_addr();
            change(configuration);
        })
    }

    fn slave(&self) -> Site {
        self.slave_with(|_| {})
    }

    fn slave_with(&self, change: impl FnOnce(&mut Configuration)) -> Site {
        Site::new(&self.folder("slave"), |configuration| {
            be_slave(configuration);
            configuration.broker.namesrv_addr = self.namesrv_addr();
            change(configuration);
        })
    }
}

fn be_slave(configuration: &mut Configuration) {
    configuration.store.broker_role = BrokerRole::Slave;
    configuration.broker.broker_id = 1;
}

fn make_topic(site: &Site, topic: &str, queues: &str) -> Command {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    site.call(request::UPDATE_AND_CREATE_TOPIC, &fields, b"")
}

fn commit(site: &Site, group: &str, queue: i32, offset: i64) {
    let fields = [
        ("consumerGroup", group),
        ("topic", "T"),
        ("queueId", &queue.to_string()),
        ("commitOffset", &offset.to_string()),
    ];
    site.must(request::UPDATE_CONSUMER_OFFSET, &fields, b"");
}

fn offset(site: &Site, group: &str, queue: i32) -> Option<i64> {
    site.broker.broker.consumer_offsets.get(group, "T", queue)
}

/// Waits until the master's tables are here.
fn until_synchronized(slave: &Site) {
    let began = rocketmq::common::clock::now_ms();
    until("the slave has heard its master since", LONG, || {
        let status = slave.broker.broker.replication.sync_status();
        (status.synchronized_ms > began && status.at_once).then_some(())
    });
}

/// Waits until all offsets of a group are so on a broker.
fn until_offset(what: &str, site: &Site, group: &str, wanted: &[(i32, i64)]) {
    until(what, LONG, || {
        wanted
            .iter()
            .all(|(queue, wanted)| offset(site, group, *queue) == Some(*wanted))
            .then_some(())
    });
}

#[test]
fn a_slave_without_an_id_says_what_it_needs() {
    let mut configuration = Configuration::default();
    configuration.store.broker_role = BrokerRole::Slave;
    match start(configuration).map(|_| ()) {
        Err(StartError::Config(problems)) => assert_eq!(
            problems,
            ["brokerRole is SLAVE and brokerId is 0: a slave needs a brokerId above 0"]
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_master_has_the_id_0_whatever_it_is_told() {
    let dir = TempDir::new("ha-id");
    let site = Site::new(dir.path(), |configuration| configuration.broker.broker_id = 7);
    assert_eq!(site.broker.broker.config.get().broker_id, 0);
    let store = site.broker.broker.store.config();
    assert_eq!(store.ha_listen_port, i32::from(site.broker.main_addr().port()) + 1);
}

#[test]
fn a_slave_refuses_what_is_its_masters() {
    let pair = Pair::new("ha-refusals");
    let slave = pair.slave();
    let call = |code: i32, fields: &[(&str, &str)], body: &str| {
        let answer = slave.call(code, fields, body.as_bytes());
        (answer.code, answer.remark.unwrap_or_default())
    };
    let send = [
        ("a", "p"),
        ("b", "TBW102"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
    ];
    assert_eq!(call(request::SEND_MESSAGE_V2, &send, "x").0, code::SERVICE_NOT_AVAILABLE);
    assert_eq!(make_topic(&slave, "T", "4").code, code::SYSTEM_ERROR);
    let master = "please execute it from master broker";
    let group = r#"{"groupName":"g"}"#;
    for (request, fields, body) in [
        (request::DELETE_TOPIC_IN_BROKER, [("topic", "T")], ""),
        (request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, [("x", "")], group),
        (request::DELETE_SUBSCRIPTIONGROUP, [("groupName", "g")], ""),
    ] {
        let (code, remark) = call(request, &fields, body);
        assert_eq!(code, code::SYSTEM_ERROR);
        assert!(remark.contains(master), "{remark}");
    }
    let end = [
        ("producerGroup", "p"),
        ("tranStateTableOffset", "0"),
        ("commitLogOffset", "0"),
        ("commitOrRollback", "8"),
    ];
    assert_eq!(call(request::END_TRANSACTION, &end, "").0, code::SLAVE_NOT_AVAILABLE);
    // What it serves.
    assert_eq!(slave.pull("TBW102", 0, "*", 0).code, code::PULL_NOT_FOUND);
    assert_eq!(call(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")], "").0, 0);
    assert_eq!(call(request::GET_BROKER_RUNTIME_INFO, &[], "").0, 0);
    let heartbeat =
        r#"{"clientID":"c","producerDataSet":[{"groupName":"p"}],"consumerDataSet":[]}"#;
    assert_eq!(call(request::HEART_BEAT, &[], heartbeat).0, 0);
    // It does not deliver.
    // Other tests of this process have masters; only what no broker of this kind has can be told.
    // A thread names itself when it first runs.
    until("the slave has its thread", LONG, || {
        let threads = std::fs::read_dir("/proc/self/task").expect("threads");
        let mut names =
            threads.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.any(|name| name.trim() == "SlaveSync").then_some(())
    });
}

#[test]
fn tables_follow_at_once() {
    let pair = Pair::new("ha-tables");
    let master = pair.master();
    let slave = pair.slave();
    let its = &slave.broker.broker;
    assert_eq!(make_topic(&master, "T", "3").code, code::SUCCESS);
    until("the topic is on the slave", LONG, || {
        its.topics.get("T").filter(|topic| topic.read_queue_nums == 3).map(|_| ())
    });
    assert_eq!(its.topics.version(), master.broker.broker.topics.version());
    let group = r#"{"groupName":"g","retryMaxTimes":5}"#;
    master.must(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group.as_bytes());
    until("the group is on the slave", LONG, || {
        its.subscription_groups.get("g").filter(|group| group.retry_max_times == 5).map(|_| ())
    });
    for queue in 0..3 {
        commit(&master, "g", queue, i64::from(queue) * 10);
    }
    until_offset("the offsets are on the slave", &slave, "g", &[(0, 0), (1, 10), (2, 20)]);
    commit(&master, "g", 1, 7);
    until_offset("a smaller offset too", &slave, "g", &[(1, 7)]);
    // A slave of Java's asks every ten seconds: for these it would take minutes.
    let began = Instant::now();
    for number in 0..20 {
        commit(&master, "g", 1, 100 + number);
        until_offset("the next offset too", &slave, "g", &[(1, 100 + number)]);
    }
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    let remove = [("groupName", "g"), ("removeOffset", "true")];
    master.must(request::DELETE_SUBSCRIPTIONGROUP, &remove, b"");
    until("the group is gone", LONG, || {
        (its.subscription_groups.get("g").is_none() && offset(&slave, "g", 0).is_none())
            .then_some(())
    });
    master.must(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], b"");
    until("the topic is gone", LONG, || its.topics.get("T").is_none().then_some(()));
    drop(slave);
    // It is all in the slave's files.
    let topics = std::fs::read_to_string(pair.dir.join("slave/store/config/topics.json"));
    assert_eq!(topics.expect("a file"), master.broker.broker.topics.encode());
}

#[test]
fn filters_follow_and_are_born_where_they_arrive() {
    let pair = Pair::new("ha-filters");
    let sql = |configuration: &mut Configuration| {
        configuration.broker.enable_property_filter = true;
        configuration.broker.enable_calc_filter_bit_map = true;
    };
    let master = pair.master_with(sql);
    let slave = pair.slave_with(sql);
    let heartbeat = r#"{"clientID":"c","producerDataSet":[],"consumerDataSet":[{"groupName":"g",
        "consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY",
        "messageModel":"CLUSTERING","unitMode":false,"subscriptionDataSet":[{"topic":"T",
        "subString":"a > 5","expressionType":"SQL92","subVersion":17,"tagsSet":[],"codeSet":[]}]}]}"#;
    master.must(request::HEART_BEAT, &[], heartbeat.as_bytes());
    let own = &master.broker.broker.consumer_filters;
    let filter = own.get("T", "g").expect("the master has it");
    let copy = until("the filter is on the slave", LONG, || {
        slave.broker.broker.consumer_filters.get("T", "g")
    });
    assert_eq!(copy.client_version, 17);
    assert!(copy.born_ms >= filter.born_ms);
}

/// What the offsets of a pair go through while one of the two is away.
#[test]
fn what_was_committed_to_the_slave_is_not_lost() {
    let pair = Pair::new("ha-offsets");
    let master = pair.master();
    assert_eq!(make_topic(&master, "T", "2").code, code::SUCCESS);
    for body in 0..50 {
        master.send("T", &[], &body.to_string());
    }
    master.messages("T", 32);
    let slave = pair.slave();
    commit(&master, "g", 0, 10);
    commit(&master, "h", 0, 10);
    commit(&master, "gone", 0, 10);
    until_offset("the slave knows", &slave, "gone", &[(0, 10)]);
    drop(master);
    // The master is away; consumers go on with the slave.
    commit(&slave, "g", 0, 40);
    commit(&slave, "new", 0, 5);
    commit(&slave, "beyond", 0, 1000);
    // A restart of the slave forgets none of it.
    drop(slave);
    let slave = pair.slave();
    assert_eq!(offset(&slave, "g", 0), Some(40));
    let master = pair.master();
    // Before the slave is heard of, operators are.
    commit(&master, "h", 0, 3);
    master.must(
        request::DELETE_SUBSCRIPTIONGROUP,
        &[("groupName", "gone"), ("removeOffset", "true")],
        b"",
    );
    until_synchronized(&slave);
    until_offset("the master takes it over", &master, "g", &[(0, 40)]);
    until_offset("also what it never knew", &master, "new", &[(0, 5)]);
    until_offset("what the master set is not undone", &slave, "h", &[(0, 3)]);
    until("what it removed stays away", LONG, || offset(&slave, "gone", 0).is_none().then_some(()));
    assert_eq!(offset(&master, "gone", 0), None);
    assert_eq!(offset(&master, "beyond", 0), None, "that was another log");
    assert_eq!((offset(&slave, "g", 0), offset(&master, "h", 0)), (Some(40), Some(3)));
    // A reset is the last word, however often both are started again.
    commit(&master, "g", 0, 1);
    until_offset("the reset is on the slave", &slave, "g", &[(0, 1)]);
    drop((slave, master));
    let slave = pair.slave();
    let master = pair.master();
    until_offset("nothing comes back", &slave, "new", &[(0, 5)]);
    until_synchronized(&slave);
    for (site, who) in [(&master, "master"), (&slave, "slave")] {
        assert_eq!(offset(site, "g", 0), Some(1), "{who}");
        assert_eq!(offset(site, "gone", 0), None, "{who}");
    }
}

#[test]
fn a_commit_to_the_slave_reaches_the_master_that_is_there() {
    let pair = Pair::new("ha-stray");
    let master = pair.master();
    make_topic(&master, "T", "1");
    for body in 0..9 {
        master.send("T", &[], &body.to_string());
    }
    master.messages("T", 9);
    let slave = pair.slave();
    until_synchronized(&slave);
    commit(&slave, "g", 0, 4);
    until_offset("a client with an old route is heard", &master, "g", &[(0, 4)]);
    commit(&master, "g", 0, 2);
    until_offset("the last word counts", &slave, "g", &[(0, 2)]);
    assert_eq!(offset(&master, "g", 0), Some(2));
}

#[test]
fn a_master_that_moves_is_followed() {
    let pair = Pair::new("ha-move");
    let master = pair.master();
    let slave = pair.slave();
    until_synchronized(&slave);
    let before = slave.broker.broker.replication.sync_status().master;
    assert_eq!(before, master.addr);
    drop(master);
    // A free port, so most likely another one.
    let master = pair.master();
    make_topic(&master, "moved", "1");
    until("the slave follows", LONG, || slave.broker.broker.topics.get("moved").map(|_| ()));
    assert_eq!(slave.broker.broker.replication.sync_status().master, master.addr);
}

/// Where a broker serves by IPv6, its slaves find it by that too.
#[test]
fn a_master_is_followed_by_ipv6() {
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        return support::skipped("replication by IPv6", &error.to_string());
    }
    let pair = Pair::new("ha-ipv6");
    let master = pair.master_with(|configuration| {
        configuration.broker.broker_ip1 = "::1".to_owned();
        configuration.broker.broker_ip2 = "::1".to_owned();
    });
    let slave = pair.slave();
    master.send("T", &[], "one");
    until_copied(&master, &slave);
    assert!(slave.broker.broker.store.commit_log_max_offset() > 0);
    let status = master.broker.broker.replication.status().expect("it has started");
    assert!(status.slaves.iter().all(|slave| slave.address.is_ipv6()), "{:?}", status.slaves);
}

/// A name server that has not heard of a change of roles says so, or a configuration does.
#[test]
fn a_slave_does_not_follow_itself() {
    let pair = Pair::new("ha-itself");
    let master = pair.master();
    let slave = pair.slave();
    let its = &slave.broker.broker;
    let text = format!("haMasterAddress={}", its.ha_address());
    slave.must(request::UPDATE_BROKER_CONFIG, &[], text.as_bytes());
    let following = || its.replication.status().and_then(|status| status.following);
    until("it says whom it was told to follow", LONG, || match following()?.state {
        FollowState::Connecting(why) if why.contains("own replication port") => Some(()),
        _ => None,
    });
    assert!(its.replication.status().expect("it has started").slaves.is_empty());
    slave.must(request::UPDATE_BROKER_CONFIG, &[], b"haMasterAddress=");
    master.send("T", &[], "one");
    until_copied(&master, &slave);
}

/// A master that knows Java's requests only.
#[derive(Default)]
struct JavaMaster {
    /// Where it says that its log ends.
    log_end: AtomicI64,
    /// How far it says that level 2 is delivered.
    delivered: AtomicI64,
    /// How far it has told that in this round, and in the last one that it told to its end.
    telling: AtomicI64,
    told: AtomicI64,
}

impl JavaMaster {
    /// At a port with a free one behind it, as its slaves expect.
    fn start(self: &Arc<Self>) -> RunningServer {
        let config = ServerConfig { listen_port: 0, ..ServerConfig::default() };
        let mut server = RemotingServer::new("Java", config);
        let pool = rocketmq::common::thread_pool::ThreadPool::new("Java_", 2, 100);
        server.register_default(Arc::clone(self) as Arc<dyn Processor>, pool);
        server.start().expect("it listens")
    }
}

impl Processor for JavaMaster {
    fn process(
        &self,
        _: &Arc<Connection>,
        asked: Command,
    ) -> Result<Option<Command>, Box<dyn std::error::Error + Send + Sync>> {
        let version = r#""dataVersion":{"counter":3,"stateVersion":0,"timestamp":5}"#;
        let body = match asked.code {
            request::GET_ALL_TOPIC_CONFIG => format!(
                r#"{{{version},"topicConfigTable":{{"J":{{"order":false,"perm":6,"readQueueNums":2,
                "topicFilterType":"SINGLE_TAG","topicName":"J","topicSysFlag":0,"writeQueueNums":2}}}}}}"#
            ),
            request::GET_ALL_CONSUMER_OFFSET => r#"{"offsetTable":{"T@g":{0:3}}}"#.to_owned(),
            request::GET_ALL_DELAY_OFFSET => {
                let delivered = self.delivered.load(Ordering::SeqCst);
                self.telling.store(delivered, Ordering::SeqCst);
                format!(r#"{{"offsetTable":{{2:{delivered}}}}}"#)
            }
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
                format!(r#"{{{version},"subscriptionGroupTable":{{"j":{{"groupName":"j"}}}}}}"#)
            }
            request::GET_BROKER_RUNTIME_INFO => {
                self.told.store(self.telling.load(Ordering::SeqCst), Ordering::SeqCst);
                let end = self.log_end.load(Ordering::SeqCst);
                format!(r#"{{"table":{{"commitLogMaxOffset":"{end}"}}}}"#)
            }
            other => {
                let remark = format!(" request type {other} not supported");
                return Ok(Some(Command::failure(code::REQUEST_CODE_NOT_SUPPORTED, remark)));
            }
        };
        Ok(Some(Command::response(code::SUCCESS).with_body(body)))
    }
}

#[test]
fn a_master_of_javas_is_followed_by_its_own_requests() {
    let pair = Pair::new("ha-java");
    let java = Arc::new(JavaMaster { delivered: AtomicI64::new(8), ..JavaMaster::default() });
    let server = java.start();
    let ha = format!("127.0.0.1:{}", server.local_addr().port() + 1);
    let slave = pair.slave_with(|configuration| {
        configuration.broker.namesrv_addr = String::new();
        configuration.store.ha_master_address = ha;
    });
    let its = &slave.broker.broker;
    commit(&slave, "g", 0, 99);
    commit(&slave, "own", 0, 1);
    until("its tables are here", LONG, || {
        (its.topics.get("J").is_some() && its.subscription_groups.get("j").is_some()).then_some(())
    });
    // As in Java: the master's offset replaces the own one, others stay.
    until("its offsets", LONG, || (offset(&slave, "g", 0) == Some(3)).then_some(()));
    assert_eq!(offset(&slave, "own", 0), Some(1));
    until("its delay offsets", LONG, || {
        (its.delay.offsets() == BTreeMap::from([(2, 8)])).then_some(())
    });
    until("a round without a problem", LONG, || {
        let status = its.replication.sync_status();
        (!status.at_once && status.problem.is_none()).then_some(())
    });
}

/// Its log is some messages ahead as a rule when it tells its tables: what waits for them does not wait
/// for the next round, which is ten seconds away.
#[test]
fn what_a_java_master_told_counts_as_soon_as_the_log_has_come() {
    let pair = Pair::new("ha-java-late");
    let java = Arc::new(JavaMaster { delivered: AtomicI64::new(8), ..JavaMaster::default() });
    let server = java.start();
    let end = |site: &Site| site.broker.broker.store.commit_log_max_offset();
    // The log comes from one of ours.
    let master = pair.master();
    master.send("T", &[], "first");
    let slave = pair.slave_with(|configuration| configuration.broker.namesrv_addr = String::new());
    let its = &slave.broker.broker;
    let told = RegisterBrokerResponseHeader {
        ha_server_addr: Some(master.broker.broker.ha_address()),
        master_addr: Some(format!("127.0.0.1:{}", server.local_addr().port())),
    };
    its.replication.told(its, told);
    let until_delivered = |offset: i64| {
        until("its delay offsets", LONG, || {
            (its.delay.offsets() == BTreeMap::from([(2, offset)])).then_some(())
        });
    };
    until_delivered(8);
    // On a busy machine one or another may take as long as the next round is away.
    let mut delivered = 8;
    until("news of the log within five seconds", LONG, || {
        until("the log", LONG, || (end(&slave) == end(&master)).then_some(()));
        // First, so that no round tells of the delivery and of the log as it was.
        java.log_end.store(end(&master) + 1, Ordering::SeqCst);
        delivered += 1;
        java.delivered.store(delivered, Ordering::SeqCst);
        until("a round that tells it", LONG, || {
            (java.told.load(Ordering::SeqCst) == delivered).then_some(())
        });
        std::thread::sleep(Duration::from_millis(500));
        let before = BTreeMap::from([(2, delivered - 1)]);
        assert_eq!(its.delay.offsets(), before, "the log has not come");
        let begin = Instant::now();
        master.send("T", &[], "next");
        until_delivered(delivered);
        (begin.elapsed() < Duration::from_secs(5)).then_some(())
    });
}

#[test]
fn a_double_write_without_a_slave_says_so_at_once() {
    let dir = TempDir::new("ha-alone");
    let site = Site::new(dir.path(), |configuration| {
        configuration.store.broker_role = BrokerRole::SyncMaster;
        configuration.store.slave_timeout = 30_000;
    });
    let send = |properties: &str| {
        let fields = [
            ("a", "p"),
            ("b", "T"),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
        ];
        site.call(request::SEND_MESSAGE_V2, &fields, b"x")
    };
    let began = Instant::now();
    let alone = send("");
    assert_eq!(alone.code, code::SLAVE_NOT_AVAILABLE);
    assert!(began.elapsed() < Duration::from_secs(30), "it did not wait for slaveTimeout");
    assert_eq!(alone.fields.get("queueOffset"), Some("0"), "it is stored all the same");
    assert_eq!(send("WAIT\u{1}false").code, code::SUCCESS, "who does not wait is not told");
    assert_eq!(site.messages("T", 2).len(), 2);
}

/// Where consumers are told to read, on a broker that says they are far behind or not.
#[test]
fn the_suggestion_is_javas() {
    let dir = TempDir::new("ha-suggestion");
    let site = Site::new(dir.path(), |_| {});
    let group = r#"{"groupName":"consumers","brokerId":0,"whichBrokerWhenConsumeSlowly":3}"#;
    site.must(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group.as_bytes());
    for body in ["one", "two"] {
        site.send("T", &[], body);
    }
    site.messages("T", 2);
    let set = |text: &str| site.must(request::UPDATE_BROKER_CONFIG, &[], text.as_bytes());
    let suggested = || {
        let answer = site.pull("T", 0, "*", 0);
        answer.fields.get("suggestWhichBrokerId").expect("a suggestion").to_owned()
    };
    assert_eq!(suggested(), "0");
    set("slaveReadEnable=true");
    assert_eq!(suggested(), "0", "what it wants is in memory");
    // Nothing is taken for memory: whoever is behind at all is too far behind.
    set("accessMessageInMemoryMaxRatio=0");
    let fields = [
        ("consumerGroup", "consumers"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "1"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    let answer = site.must(request::PULL_MESSAGE, &fields, b"");
    assert_eq!(answer.fields.get("suggestWhichBrokerId"), Some("3"));
    set("slaveReadEnable=false");
    let answer = site.must(request::PULL_MESSAGE, &fields, b"");
    assert_eq!(answer.fields.get("suggestWhichBrokerId"), Some("0"));
}

/// `consumerOffset.json` is Java's byte for byte as long as there is no slave.
#[test]
fn stamps_stand_in_the_file_only_beside_a_slave() {
    let pair = Pair::new("ha-file");
    let master = pair.master();
    commit(&master, "g", 0, 1);
    let file = |who: &str| {
        let path = pair.dir.join(who).join("store/config/consumerOffset.json");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    drop(master);
    assert_eq!(file("master"), "{\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:1\n\t\t}\n\t}\n}");
    let master = pair.master();
    let slave = pair.slave();
    until_synchronized(&slave);
    until_offset("it is on the slave", &slave, "g", &[(0, 1)]);
    drop((slave, master));
    for who in ["master", "slave"] {
        let text = file(who);
        assert!(text.contains("\"stampTable\""), "{who}: {text}");
        assert!(text.contains("\"T@g\":{0:1"), "{who}: {text}");
    }
}

/// Waits until a slave has all of its master's log, and has dispatched it.
fn until_copied(master: &Site, slave: &Site) {
    let (master, slave) = (&master.broker.broker.store, &slave.broker.broker.store);
    until("the log is on the slave", LONG, || {
        (slave.commit_log_max_offset() == master.commit_log_max_offset()
            && slave.dispatch_behind_bytes() == 0)
            .then_some(())
    });
}

fn texts(site: &Site, topic: &str, count: usize) -> Vec<String> {
    let messages = site.messages(topic, count);
    messages.into_iter().map(|m| String::from_utf8(m.message.body).expect("text")).collect()
}

fn sorted(texts: &[String]) -> Vec<String> {
    let mut texts = texts.to_vec();
    texts.sort();
    texts
}

#[test]
fn a_pull_that_a_slave_holds_is_woken_by_replication() {
    let pair = Pair::new("ha-hold");
    let master = pair.master();
    make_topic(&master, "T", "1");
    let slave = pair.slave();
    let its = &slave.broker.broker;
    until("the topic is on the slave", LONG, || its.topics.get("T").map(|_| ()));
    master.send("T", &[], "first");
    assert_eq!(texts(&slave, "T", 1), ["first"]);
    // Java's slaves look every five seconds. On a busy machine one or another may take as long here.
    let mut offset = 0;
    until("a pull that is woken within two seconds", LONG, || {
        offset += 1;
        let (answer, took) = std::thread::scope(|scope| {
            let held = scope.spawn(|| slave.pull("T", offset, "*", 30_000));
            until("the pull is held", LONG, || (its.held_pulls.len() == 1).then_some(()));
            let began = Instant::now();
            master.send("T", &[], "next");
            (held.join().expect("the pull"), began.elapsed())
        });
        assert_eq!(answer.code, code::SUCCESS);
        assert_eq!(answer.fields.get("nextBeginOffset"), Some(&*(offset + 1).to_string()));
        (took < Duration::from_secs(2)).then_some(())
    });
}

/// A consumer that is ahead of the slave's log (it read from the master, or the master died before all
/// was copied) waits a little; in Java it asks again at once, as fast as it can.
#[test]
fn a_pull_ahead_of_the_slave_waits_for_the_log() {
    let pair = Pair::new("ha-pull-ahead");
    let master = pair.master();
    make_topic(&master, "T", "1");
    let slave = pair.slave();
    master.send("T", &[], "first");
    assert_eq!(texts(&slave, "T", 1), ["first"]);
    let began = Instant::now();
    let answer = slave.pull("T", 3, "*", 15_000);
    assert_eq!(answer.code, code::PULL_RETRY_IMMEDIATELY);
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("3"));
    assert_eq!(answer.fields.get("suggestWhichBrokerId"), Some("0"));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(950) && waited < LONG, "{waited:?}");
    let its = &slave.broker.broker;
    let began = Instant::now();
    let answer = std::thread::scope(|scope| {
        let held = scope.spawn(|| slave.pull("T", 2, "*", 15_000));
        until("the pull is held", LONG, || {
            (its.held_pulls.len() == 1 || held.is_finished()).then_some(())
        });
        for body in ["second", "third"] {
            master.send("T", &[], body);
        }
        held.join().expect("the pull")
    });
    // Woken, unless this machine took longer than it was held for.
    if began.elapsed() < Duration::from_millis(900) {
        assert_eq!((answer.code, answer.fields.get("nextBeginOffset")), (code::SUCCESS, Some("3")));
    }
}

#[test]
fn a_double_write_is_acknowledged_by_the_slave() {
    let pair = Pair::new("ha-sync");
    let master = pair.master_with(|configuration| {
        configuration.store.broker_role = BrokerRole::SyncMaster;
        configuration.store.slave_timeout = 30_000;
        configuration.store.ha_housekeeping_interval = 60_000;
    });
    let slave = pair.slave();
    let ha = || master.broker.broker.replication.status().expect("it has started");
    until("the slave is in sync", LONG, || (ha().in_sync == 1).then_some(()));
    for body in 0..20 {
        // `send` insists on SEND_OK.
        let sent = master.send("T", &[], &body.to_string());
        let id = sent.fields.get("msgId").expect("an id");
        let offset = i64::from_str_radix(&id[16..], 16).expect("hexadecimal");
        let end = slave.broker.broker.store.commit_log_max_offset();
        assert!(end > offset, "acknowledged at {offset}, the slave is at {end}");
    }
    let status = ha();
    assert_eq!(status.slaves.len(), 1);
    drop(slave);
    until("it is known that the slave has gone", LONG, || ha().slaves.is_empty().then_some(()));
}

/// A slave that is started as a master goes on where the master was: what was delivered is not
/// delivered again, what was not is.
#[test]
fn a_slave_that_becomes_the_master_delivers_what_is_left() {
    // What is due later must not be due before the slave is alone, however busy the machine is.
    assert!([9, 25, 55].into_iter().any(delivers_what_is_left), "nothing was left");
}

/// Delivers a part of what is due soon and in so many seconds, and makes the slave the master before the
/// rest is due. Returns whether there was time for that.
fn delivers_what_is_left(later_seconds: i64) -> bool {
    let pair = Pair::new("ha-promotion");
    let levels = |configuration: &mut Configuration| {
        configuration.store.message_delay_level = format!("1s 5s {}s", later_seconds + 1);
    };
    let master = pair.master_with(levels);
    make_topic(&master, "T", "1");
    let slave = pair.slave_with(levels);
    master.send("T", &[("DELAY", "1")], "soon, by level");
    master.send("T", &[("TIMER_DELAY_MS", "300")], "soon, by time");
    let due_ms = rocketmq::common::clock::now_ms() + later_seconds * 1000;
    master.send("T", &[("DELAY", "3")], "later, by level");
    let delay = (later_seconds * 1000).to_string();
    master.send("T", &[("TIMER_DELAY_MS", &delay)], "later, by time");
    let mut soon = texts(&master, "T", 2);
    let delivered_ms = rocketmq::common::clock::now_ms();
    soon.truncate(2);
    assert_eq!(sorted(&soon), ["soon, by level", "soon, by time"]);
    until_copied(&master, &slave);
    let its = &slave.broker.broker;
    until("the delay offsets are on the slave", LONG, || {
        (its.delay.offsets().get(&1) == Some(&1)).then_some(())
    });
    // Beyond the slot, a second, of the one that came by its time.
    until("the slave's timer has come as far", LONG, || {
        let own = its.timer.as_ref()?;
        (own.behind_messages() == 0 && own.read_ms() > delivered_ms).then_some(())
    });
    assert_eq!(texts(&slave, "T", 2)[..2], soon, "a slave delivers nothing itself");
    drop(slave);
    if rocketmq::common::clock::now_ms() >= due_ms {
        return false;
    }
    drop(master);
    let promoted = pair.slave_with(|configuration| {
        levels(configuration);
        configuration.store.broker_role = BrokerRole::AsyncMaster;
    });
    assert_eq!(promoted.broker.broker.config.get().broker_id, 0);
    let all = sorted(&texts(&promoted, "T", 4));
    let expected = ["later, by level", "later, by time", "soon, by level", "soon, by time"];
    assert_eq!(all, expected);
    // Whatever would be delivered twice would be there by now: both are past.
    promoted.send("T", &[], "last");
    assert_eq!(texts(&promoted, "T", 5).last().map(String::as_str), Some("last"));
    true
}

/// A master that was started with an empty disk must not empty the slave that still has everything.
#[test]
fn an_empty_master_does_not_take_the_slaves_tables() {
    let pair = Pair::new("ha-empty");
    // It comes back on this port, which nobody may have taken meanwhile.
    let port = free_port();
    let master = pair.master_with(|configuration| configuration.server.listen_port = port);
    make_topic(&master, "T", "1");
    let slave = pair.slave();
    master.send("T", &[], "kept");
    until_copied(&master, &slave);
    until_synchronized(&slave);
    commit(&master, "g", 0, 1);
    until_offset("the slave has all", &slave, "g", &[(0, 1)]);
    drop(master);
    std::fs::remove_dir_all(pair.dir.join("master/store")).expect("the disk is lost");
    let empty = pair.master_with(|configuration| configuration.server.listen_port = port);
    let status = || slave.broker.broker.replication.status().and_then(|status| status.following);
    until("the slave says what is wrong", LONG, || match status()?.state {
        FollowState::Refused(refusal) => Some(refusal),
        _ => None,
    });
    until("and leaves the tables alone", LONG, || {
        let problem = slave.broker.broker.replication.sync_status().problem?;
        problem.contains("its log is not followed (stopped: ").then_some(())
    });
    assert!(slave.broker.broker.topics.get("T").is_some());
    assert_eq!(texts(&slave, "T", 1), ["kept"]);
    assert_eq!(offset(&slave, "g", 0), Some(1));
    assert_eq!(offset(&empty, "g", 0), None, "nor does the slave write into another log's tables");
}

/// However fast a topic is deleted and made again, a slave shows the new messages in the old places.
#[test]
fn a_topic_that_is_made_again_begins_anew_on_the_slave() {
    let pair = Pair::new("ha-anew");
    let master = pair.master();
    let slave = pair.slave();
    make_topic(&master, "T", "1");
    for body in ["one", "two", "three"] {
        master.send("T", &[], body);
    }
    until("the topic is on the slave", LONG, || slave.broker.broker.topics.get("T").map(|_| ()));
    assert_eq!(texts(&slave, "T", 3).len(), 3);
    master.must(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], b"");
    make_topic(&master, "T", "1");
    master.send("T", &[], "first");
    master.send("T", &[], "second");
    assert_eq!(texts(&master, "T", 2), ["first", "second"]);
    until_copied(&master, &slave);
    until("the slave serves the same", LONG, || {
        let answer = slave.pull("T", 0, "*", 0);
        (answer.code == code::SUCCESS).then_some(())?;
        (answer.fields.get("maxOffset") == Some("2")).then_some(())
    });
    assert_eq!(texts(&slave, "T", 2), ["first", "second"]);
}

/// Offsets come at once, the log may be behind: what the new master stores next must not get offsets
/// that a group has passed.
#[test]
fn a_group_that_was_ahead_of_the_new_masters_log_misses_nothing() {
    let pair = Pair::new("ha-ahead");
    let master = pair.master();
    make_topic(&master, "T", "2");
    let slave = pair.slave();
    for body in ["one", "two"] {
        master.send("T", &[], body);
    }
    until_copied(&master, &slave);
    // As if two messages more had been consumed there, and had not come here before it died.
    commit(&master, "consumers", 0, 4);
    // And one message of a queue of which nothing has come.
    commit(&master, "consumers", 1, 1);
    until_offset("the offsets are on the slave", &slave, "consumers", &[(0, 4), (1, 1)]);
    drop((slave, master));
    let promoted = pair.slave_with(|configuration| {
        configuration.store.broker_role = BrokerRole::AsyncMaster;
    });
    assert_eq!([0, 1].map(|queue| offset(&promoted, "consumers", queue)), [Some(2), Some(0)]);
    promoted.send("T", &[], "three");
    let from = offset(&promoted, "consumers", 0).expect("an offset");
    let next = until("the group gets it", LONG, || {
        let answer = promoted.pull("T", from, "*", 0);
        (answer.code == code::SUCCESS).then_some(answer)
    });
    assert_eq!(next.fields.get("nextBeginOffset"), Some("3"));
}

/// The disk of the log may not be mounted: what groups had read is not forgotten for that.
#[test]
fn a_master_without_any_log_keeps_the_offsets_of_groups() {
    let pair = Pair::new("ha-nothing");
    let master = pair.master();
    make_topic(&master, "T", "1");
    let slave = pair.slave();
    commit(&master, "consumers", 0, 4);
    until_offset("the offset is on the slave", &slave, "consumers", &[(0, 4)]);
    drop((slave, master));
    let promoted = pair.slave_with(|configuration| {
        configuration.store.broker_role = BrokerRole::AsyncMaster;
    });
    assert_eq!(offset(&promoted, "consumers", 0), Some(4));
}

#[test]
fn a_running_broker_keeps_its_role_and_follows_its_configured_master() {
    let pair = Pair::new("ha-update");
    let master = pair.master_with(|configuration| {
        configuration.store.slave_timeout = 30_000;
        configuration.store.ha_housekeeping_interval = 60_000;
    });
    let slave = pair.slave();
    until_copied(&master, &slave);
    let update =
        |site: &Site, text: &str| site.call(request::UPDATE_BROKER_CONFIG, &[], text.as_bytes());
    for (site, text) in
        [(&master, "brokerRole=SLAVE\nbrokerId=1"), (&slave, "brokerRole=SYNC_MASTER")]
    {
        let refused = update(site, text);
        assert_eq!(refused.code, code::SYSTEM_ERROR);
        assert!(refused.remark.expect("why").contains("only a restart"));
    }
    assert_eq!(update(&master, "brokerRole=SYNC_MASTER").code, code::SUCCESS);
    master.send("T", &[], "on both");
    assert_eq!(update(&slave, "haMasterAddress=127.0.0.1:1").code, code::SUCCESS);
    let following = || slave.broker.broker.replication.status().and_then(|status| status.following);
    until("the slave follows elsewhere", LONG, || {
        following().filter(|following| following.master == "127.0.0.1:1").map(|_| ())
    });
    assert_eq!(update(&slave, "haMasterAddress=").code, code::SUCCESS);
    until("and comes back", LONG, || {
        following().filter(|following| following.state == FollowState::Transferring).map(|_| ())
    });
}

#[test]
fn operators_see_both_sides() {
    let pair = Pair::new("ha-status");
    let master = pair.master();
    let slave = pair.slave();
    until_copied(&master, &slave);
    until_synchronized(&slave);
    let table = |site: &Site| {
        let answer = site.must(request::GET_BROKER_RUNTIME_INFO, &[], b"");
        let json = Json::parse(answer.body.as_bytes()).expect("JSON");
        KvTable::from_json(&json).expect("a table").table
    };
    let of_master = until("the master knows its slave, which has all", LONG, || {
        let table = Some(table(&master)).filter(|table| table["haSlaves"] == "1")?;
        let lag = table.iter().find(|(key, _)| key.starts_with("haSlave_")).expect("a slave").1;
        lag.contains("lagBytes=0 lagMs=0").then_some(table)
    });
    assert_eq!(of_master["brokerRole"], "ASYNC_MASTER");
    let of_slave = until("the slave says that it has all", LONG, || {
        let table = table(&slave);
        let keys = ["brokerRole", "haState", "haLagBytes", "tablesState"];
        let expected = ["SLAVE", "transferring", "0", "followed at once"];
        (keys.map(|key| &*table[key]) == expected).then_some(table)
    });
    assert_eq!(of_slave["tablesMaster"], master.addr);
    let info = |site: &Site| {
        let answer = site.must(request::GET_BROKER_HA_STATUS, &[("brokerAddr", "")], b"");
        HaRuntimeInfo::from_json(&Json::parse(answer.body.as_bytes()).expect("JSON"))
            .expect("an answer")
    };
    let (of_master, of_slave) = (info(&master), info(&slave));
    assert!(of_master.master && !of_slave.master);
    assert_eq!(of_master.in_sync_slave_nums, 1);
    assert!(of_slave.ha_client_runtime_info.activated);
    drop(slave);
    drop(master);
}
