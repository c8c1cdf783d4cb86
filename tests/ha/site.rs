//! [`Site`]: a name server and two brokers of one name; and what tests ask of them.

use std::time::{Duration, Instant};

use crate::support::java_peer::Servers;
use crate::support::ledger::{Book, Load, Sending};
use crate::support::pair::{
    Half, TOPIC_NOT_EXIST, assert_same_logs, assert_same_queues, runtime_number, wait_until_equal,
};
use crate::support::proxy::Proxy;
use crate::support::servers::{self, Server};
use crate::support::wire::{Wire, borrowed, code, send_fields};
use crate::support::{TempDir, until};

/// What the tests send, unless they say otherwise.
pub const LOAD: Load =
    Load { topic: "Pair", queues: 4, connections: 8, window: 16, messages: 100_000 };
/// A wait for something that takes milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);
/// Answer to a put that no slave could be asked about.
pub const SLAVE_NOT_AVAILABLE: i32 = 11;
/// Answer to a put that the slaves did not acknowledge in `slaveTimeout`.
pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;

/// Keys of both brokers: files are small, so that every boundary is met, and what takes seconds by
/// default takes less.
pub const KEYS: [(&str, &str); 9] = [
    ("mappedFileSizeCommitLog", "1048576"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "1000"),
    ("maxIndexNum", "4000"),
    ("brokerFastFailureEnable", "false"),
    ("syncFromLastFile", "false"),
    ("slaveTimeout", "1000"),
    ("haSendHeartbeatInterval", "300"),
    ("haHousekeepingInterval", "1500"),
];

/// For tests in which nothing may be refused: a machine that stands still for a second or two is no
/// slave that has gone.
pub const PATIENT: [(&str, &str); 2] =
    [("slaveTimeout", "20000"), ("haHousekeepingInterval", "20000")];

/// A name server and two brokers that may be master and slave, or slave and master.
pub struct Site {
    /// Everything's folder.
    pub dir: TempDir,
    /// Name server.
    pub namesrv: Server,
    /// The brokers.
    pub halves: [Half; 2],
}

impl Site {
    /// The name server runs; the brokers do not yet.
    pub fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let namesrv = servers::namesrv(dir.path());
        let halves = ["a", "b"].map(|half| Half::new(&Servers::Ours, dir.join(half)));
        Self { dir, namesrv, halves }
    }

    /// Starts one of the brokers as a master, and waits until the name server knows it.
    pub fn master(&self, half: usize, role: &str, more: &[(&str, &str)]) -> Server {
        let namesrv = self.namesrv.addr();
        let server = self.halves[half].master(role, Some(&namesrv), &[&KEYS, more].concat());
        servers::wait_for_broker(&namesrv, &server.addr());
        server
    }

    /// Starts one of the brokers as a slave.
    pub fn slave(&self, half: usize, more: &[(&str, &str)]) -> Server {
        self.halves[half].slave(Some(&self.namesrv.addr()), &[&KEYS, more].concat())
    }

    /// A SYNC_MASTER with the topic of [`LOAD`], and a slave that acknowledges and knows the topic.
    pub fn pair(&self) -> [Server; 2] {
        self.pair_with(&[], &[])
    }

    /// The same, with more keys for each.
    pub fn pair_with(
        &self,
        master_keys: &[(&str, &str)],
        slave_keys: &[(&str, &str)],
    ) -> [Server; 2] {
        let master = self.master(0, "SYNC_MASTER", master_keys);
        master.wire().create_topic(LOAD.topic, LOAD.queues);
        let slave = self.slave(1, slave_keys);
        wait_for_acknowledgement(&master, SOON);
        wait_for_topic(&slave);
        [master, slave]
    }

    /// The same, with a relay between the slave and the replication port of the master.
    pub fn pair_through_proxy(&self) -> ([Server; 2], Proxy) {
        self.pair_through_proxy_with(&[])
    }

    /// The same, with more keys for both.
    pub fn pair_through_proxy_with(&self, keys: &[(&str, &str)]) -> ([Server; 2], Proxy) {
        let proxy = Proxy::to(&self.halves[0].ha_addr());
        let addr = proxy.addr();
        let slave_keys = [keys, &[("haMasterAddress", addr.as_str())]].concat();
        (self.pair_with(keys, &slave_keys), proxy)
    }
}

/// Waits until the slave knows the topic of [`LOAD`].
pub fn wait_for_topic(slave: &Server) {
    let mut wire = slave.wire();
    until("the slave knows the topic", SOON, || {
        (wire.pull(LOAD.topic, 0, 0).code() != TOPIC_NOT_EXIST).then_some(())
    });
}

/// Code of the answer to one message, outside of all accounting.
pub fn probe(wire: &mut Wire) -> i32 {
    let fields = send_fields("Probe", 0, "probe");
    wire.call(code::SEND, &borrowed(&fields), b"probe").code()
}

/// Waits until a message is acknowledged with SEND_OK; how long it took.
pub fn wait_for_acknowledgement(master: &Server, limit: Duration) -> Duration {
    let begin = Instant::now();
    let mut wire = master.wire();
    until("the slave acknowledges", limit, || (probe(&mut wire) == 0).then_some(()));
    begin.elapsed()
}

/// Waits until a broker has dispatched all of its log.
pub fn wait_for_dispatch(server: &Server) {
    let mut wire = server.wire();
    until("everything is dispatched", SOON, || {
        (runtime_number(&mut wire, "dispatchBehindBytes")? == 0).then_some(())
    });
}

/// Sends until so many are acknowledged, then waits for the rest; enters it in the book.
pub fn send(master: &Server, book: &mut Book, round: u32, messages: u64) {
    let sending = Sending::start(&master.addr(), LOAD, round);
    sending.wait_for(messages, SOON);
    sending.stop();
    book.enter(sending.join());
}

/// Both have everything that is in the book, byte by byte.
pub fn assert_equal(master: &Server, slave: &Server, book: &mut Book) {
    let range = wait_until_equal(master, slave, SOON);
    wait_for_dispatch(master);
    wait_for_dispatch(slave);
    book.verify_new(&mut master.wire());
    book.verify_from_the_start(&mut slave.wire());
    assert_same_logs(master, slave, range);
    assert_same_queues(master, slave);
}

/// What a broker wrote into its log file.
pub fn log_of(server: &Server) -> String {
    let logs = server.home.join("logs/rocketmqlogs/broker.log");
    std::fs::read_to_string(&logs).unwrap_or_else(|_| server.process.output())
}
