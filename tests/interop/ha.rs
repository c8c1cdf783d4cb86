//! Mixed pairs: the official Java broker as the slave of ours and as its master. After every restart
//! of either side both hold the same, byte by byte, and serve the same.
//!
//! `ROCKETMQ_TEST_SERVERS=4.9.7` makes both halves the official ones: that is how these tests
//! were tested.

use std::time::{Duration, Instant};

use crate::clients::say;
use crate::needed;
use crate::support::java_peer::Servers;
use crate::support::pair::{
    Half, TOPIC_NOT_EXIST, assert_same_logs, assert_same_queues, wait_until_equal,
};
use crate::support::servers::{self, Server};
use crate::support::traffic::{TOPICS, Traffic};
use crate::support::wire::{borrowed, code, send_fields};
use crate::support::{TempDir, until};

/// A Java slave says where it stands 5 s after it connected, connects again 5 s after a failure,
/// and learns a new master at its next registration, which may be 30 s away.
const CATCH_UP: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(120);

fn official() -> Option<Servers> {
    needed("the Java server 4.9.7", Servers::java("4.9.7"))
}

#[test]
fn java_slave_behind_our_master() {
    let Some(java) = official() else { return };
    Pair::start(&Servers::from_env(), &java, "SYNC_MASTER", "1048576").restarts();
}

#[test]
fn our_slave_behind_a_java_master() {
    let Some(java) = official() else { return };
    Pair::start(&java, &Servers::from_env(), "SYNC_MASTER", "1048576").restarts();
}

#[test]
fn java_slave_joins_late_with_segments_of_a_gigabyte() {
    let Some(java) = official() else { return };
    joins_late(&Servers::from_env(), &java);
}

#[test]
fn our_slave_joins_late_with_segments_of_a_gigabyte() {
    let Some(java) = official() else { return };
    joins_late(&java, &Servers::from_env());
}

/// A hundred files, most of them full of blank at their end.
#[test]
fn segments_of_64_kibibytes() {
    let Some(java) = official() else { return };
    let ours = Servers::from_env();
    for (master, slave) in [(&ours, &java), (&java, &ours)] {
        let mut pair = Pair::start(master, slave, "SYNC_MASTER", "65536");
        pair.wait_for_replication();
        pair.send(4_000);
        pair.compare("files of 64 KiB");
        pair.slave().process.kill();
        pair.join();
        pair.wait_for_replication();
        pair.send(3_000);
        pair.compare("files of 64 KiB, the slave was killed");
    }
}

/// With the default file size, tens of megabytes are there before there is a slave.
fn joins_late(master: &Servers, slave: &Servers) {
    let mut pair = Pair::lonely(master, slave, "ASYNC_MASTER", "1073741824");
    pair.send(30_000);
    pair.join();
    pair.compare("joined late");
    pair.send(10_000);
    pair.compare("went on");
}

/// A name server of ours and the two halves.
struct Pair {
    halves: [Half; 2],
    role: &'static str,
    segment: &'static str,
    namesrv: Server,
    master: Server,
    slave: Option<Server>,
    traffic: Traffic,
    _dir: TempDir,
}

impl Pair {
    /// A master, with the topics, that waits for its slave.
    fn lonely(
        master: &Servers,
        slave: &Servers,
        role: &'static str,
        segment: &'static str,
    ) -> Self {
        let dir = TempDir::new("interop-ha");
        let namesrv = servers::namesrv(dir.path());
        let halves = [Half::new(master, dir.join("master")), Half::new(slave, dir.join("slave"))];
        let more = more(segment);
        let master = halves[0].master(role, Some(&namesrv.addr()), &more);
        servers::wait_for_route(&namesrv.addr(), "TBW102");
        let traffic = Traffic::default();
        traffic.create_topics(&mut master.wire());
        Self { halves, role, segment, namesrv, master, slave: None, traffic, _dir: dir }
    }

    /// The same, with its slave, which has what was stored so far.
    fn start(master: &Servers, slave: &Servers, role: &'static str, segment: &'static str) -> Self {
        let mut pair = Self::lonely(master, slave, role, segment);
        pair.join();
        pair
    }

    fn join(&mut self) {
        self.slave = Some(self.halves[1].slave(Some(&self.namesrv.addr()), &more(self.segment)));
    }

    fn rejoin_master(&mut self) {
        let namesrv = self.namesrv.addr();
        self.master = self.halves[0].master(self.role, Some(&namesrv), &more(self.segment));
    }

    fn slave(&mut self) -> &mut Server {
        self.slave.as_mut().unwrap_or_else(|| panic!("there is a slave"))
    }

    /// Both stop in turn, in order and not; after each, what was sent meanwhile and then is on both.
    fn restarts(&mut self) {
        // SEND_OK of a SYNC_MASTER says that the slave has it.
        self.wait_for_replication();
        self.send(4_000);
        self.compare("first");
        self.slave().process.stop(STOP);
        self.join();
        self.wait_for_replication();
        self.send(3_000);
        self.compare("the slave was restarted");
        self.master.process.stop(STOP);
        self.rejoin_master();
        self.wait_for_replication();
        self.send(3_000);
        self.compare("the master was restarted");
        self.slave().process.kill();
        self.join();
        self.wait_for_replication();
        self.send(2_000);
        self.compare("the slave was killed");
        self.wait_until_deliveries_are_noted();
        self.master.process.kill();
        self.rejoin_master();
        self.wait_for_replication();
        self.send(2_000);
        self.compare("the master was killed");
        self.compare_tables();
    }

    /// A master that is killed delivers again what it had not yet noted as delivered.
    fn wait_until_deliveries_are_noted(&self) {
        let mut wire = self.master.wire();
        // Levels 1 and 2 of the traffic.
        let ends = [0, 1].map(|queue| wire.max_offset("SCHEDULE_TOPIC_XXXX", queue));
        let noted = format!("{{1:{},2:{}}}", ends[0], ends[1]);
        until("all deliveries are noted", CATCH_UP, || {
            delays(&self.master).filter(|text| text.contains(&noted))
        });
    }

    /// How far groups have read, and how far delayed messages are delivered, is on the slave too,
    /// after the ten seconds that it may take.
    fn compare_tables(&mut self) {
        let slave = self.slave.as_ref().unwrap_or_else(|| panic!("there is a slave"));
        let (mut to_master, mut to_slave) = (self.master.wire(), slave.wire());
        let place = [("consumerGroup", "readers"), ("topic", TOPICS[0]), ("queueId", "2")];
        to_master.must(code::COMMIT_OFFSET, &[&place[..], &[("commitOffset", "77")]].concat(), b"");
        until("the slave has the offset", CATCH_UP, || {
            let reply = to_slave.call(code::CONSUMER_OFFSET, &place, b"");
            (reply.code() == 0 && reply.number("offset") == Some(77)).then_some(())
        });
        let same = until("both have delivered the same", CATCH_UP, || {
            delays(&self.master).filter(|ours| Some(ours) == delays(slave).as_ref())
        });
        assert!(same.contains("\"offsetTable\":{1:"), "{same}");
    }

    /// Waits until a message is acknowledged by the slave too, which takes a Java half a while after
    /// each start.
    fn wait_for_replication(&mut self) {
        let mut wire = self.master.wire();
        wire.create_topic("Probe", 1);
        until("the slave acknowledges", CATCH_UP, || {
            let fields = send_fields("Probe", 0, "probe");
            (wire.call(code::SEND, &borrowed(&fields), b"probe").code() == 0).then_some(())
        });
    }

    fn send(&mut self, plain: u32) {
        let mut wire = self.master.wire();
        self.traffic.send(&mut wire, plain, 1500);
        self.traffic.wait_for_delivery(&mut wire);
    }

    fn compare(&mut self, when: &str) {
        let begin = Instant::now();
        let slave = self.slave.as_ref().unwrap_or_else(|| panic!("there is a slave"));
        let range = wait_until_equal(&self.master, slave, CATCH_UP);
        // The slave learns of topics every 10 s.
        for topic in TOPICS {
            let mut wire = slave.wire();
            until(&format!("the slave knows {topic}"), CATCH_UP, || {
                (wire.pull(topic, 0, 0).code() != TOPIC_NOT_EXIST).then_some(())
            });
        }
        let bytes = assert_same_logs(&self.master, slave, range);
        let messages = assert_same_queues(&self.master, slave);
        say(&format!(
            "{when}: {bytes} bytes of commit log and {messages} messages are the same, \
             {:.1?} after the last send",
            begin.elapsed()
        ));
    }
}

/// How far a broker has delivered delayed messages, as it noted it.
fn delays(server: &Server) -> Option<String> {
    let file = server.home.join("store/config/delayOffset.json");
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.split_whitespace().collect())
}

/// Keys of both halves.
fn more(segment: &str) -> [(&str, &str); 7] {
    [
        ("flushDelayOffsetInterval", "1000"),
        // A send that is late on a busy machine is no refusal.
        ("brokerFastFailureEnable", "false"),
        ("mappedFileSizeCommitLog", segment),
        ("mappedFileSizeConsumeQueue", "20000"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
        ("slaveTimeout", "20000"),
    ]
}
