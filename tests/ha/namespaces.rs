//! Partitions as networks make them: packets vanish, and nobody is told. Master, slave and name
//! server are in network namespaces of their own behind a router; the test is a fourth end of it.
//!
//! Needs root and iproute2; is skipped, and says so, where it may not make namespaces. Where the
//! kernel has `netem`, the line between master and slave also delays and loses packets.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::site::{
    FLUSH_SLAVE_TIMEOUT, KEYS, LOAD, SLAVE_NOT_AVAILABLE, SOON, assert_equal, probe, send,
    wait_for_acknowledgement, wait_for_topic,
};
use crate::support::ledger::{Book, Sending};
use crate::support::servers::{self, Place, Server};
use crate::support::{TempDir, free_port, skipped};

/// Who is connected to the router, by their number.
const TEST: usize = 0;
const MASTER: usize = 1;
const SLAVE: usize = 2;
const NAMESRV: usize = 3;

/// A lost packet is sent again within a second or so: nobody is given up for that.
const OWN_KEYS: [(&str, &str); 2] = [("slaveTimeout", "3000"), ("haHousekeepingInterval", "8000")];

/// A router with four ends. Everything goes away with it.
struct Network {
    /// Part of every name.
    id: u32,
}

impl Network {
    fn new() -> Result<Self, String> {
        let network = Self { id: std::process::id() % 30_000 };
        network.build()?;
        Ok(network)
    }

    fn build(&self) -> Result<(), String> {
        let router = self.router();
        ip(&["netns", "add", &router])?;
        ip(&["-n", &router, "link", "set", "lo", "up"])?;
        run("ip", &["netns", "exec", &router, "sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        for end in [TEST, MASTER, SLAVE, NAMESRV] {
            let (inner, outer) = (format!("mq{}i{end}", self.id), format!("mq{}o{end}", self.id));
            ip(&["link", "add", &inner, "type", "veth", "peer", "name", &outer, "netns", &router])?;
            let gateway = self.address(end, 1);
            ip(&["-n", &router, "addr", "add", &format!("{gateway}/30"), "dev", &outer])?;
            ip(&["-n", &router, "link", "set", &outer, "up"])?;
            let address = format!("{}/30", self.address(end, 2));
            if end == TEST {
                ip(&["addr", "add", &address, "dev", &inner])?;
                ip(&["link", "set", &inner, "up"])?;
                ip(&["route", "add", &self.all(), "via", &gateway])?;
                continue;
            }
            let name = self.name(end);
            ip(&["netns", "add", &name])?;
            ip(&["link", "set", &inner, "netns", &name])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "addr", "add", &address, "dev", &inner])?;
            ip(&["-n", &name, "link", "set", &inner, "up"])?;
            ip(&["-n", &name, "route", "add", "default", "via", &gateway])?;
        }
        Ok(())
    }

    fn router(&self) -> String {
        format!("mq{}r", self.id)
    }

    fn name(&self, end: usize) -> String {
        format!("mq{}n{end}", self.id)
    }

    /// In the block that is set aside for tests of networks (RFC 2544).
    fn address(&self, end: usize, host: usize) -> String {
        format!("198.18.{}.{}", self.id % 250, end * 4 + host)
    }

    fn all(&self) -> String {
        format!("198.18.{}.0/24", self.id % 250)
    }

    /// No packet passes between two ends any more, or passes again.
    fn partition(&self, one: usize, other: usize, apart: bool) {
        let action = if apart { "add" } else { "del" };
        for (from, to) in [(one, other), (other, one)] {
            let (from, to) = (self.address(from, 2), self.address(to, 2));
            let router = self.router();
            let rule = ["-n", &router, "rule", action, "from", &from, "to", &to, "blackhole"];
            ip(&rule).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// Delay and loss on the line of one end; `Err` where the kernel cannot.
    fn spoil(&self, end: usize, how: &[&str]) -> Result<(), String> {
        let (router, device) = (self.router(), format!("mq{}o{end}", self.id));
        let start = ["-n", &router, "qdisc", "replace", "dev", &device, "root", "netem"];
        run("tc", &[&start, how].concat())
    }

    fn run<T>(&self, end: usize, start: impl FnOnce(&Place<'_>) -> T) -> T {
        let (name, host) = (self.name(end), self.address(end, 2));
        start(&Place { host: &host, prefix: &["ip", "netns", "exec", &name], env: &[] })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = [self.router(), self.name(MASTER), self.name(SLAVE), self.name(NAMESRV)];
        for name in names {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    run("ip", words)
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|error| format!("{program} (of iproute2): {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {}: {said}", words.join(" ")))
}

/// The three servers in their namespaces. Dropped in this order: processes first.
struct Cluster {
    master: Server,
    slave: Server,
    namesrv: Server,
    network: Network,
    _dir: TempDir,
}

impl Cluster {
    fn start() -> Result<Self, String> {
        let network = Network::new()?;
        let dir = TempDir::new("ha-namespaces");
        let namesrv = network.run(NAMESRV, |place| servers::namesrv_in(place, dir.path()));
        let broker = |end: usize, role: &[(&str, &str)]| {
            network.run(end, |place| {
                let home = dir.join(format!("broker{end}"));
                let own = [("brokerIP1", place.host), ("brokerIP2", place.host)];
                let keys = [&KEYS[..], &OWN_KEYS, &own, role].concat();
                servers::broker_in(place, &home, free_port(), Some(&namesrv.addr()), &keys)
            })
        };
        let master = broker(MASTER, &[("brokerRole", "SYNC_MASTER")]);
        servers::wait_for_broker(&namesrv.addr(), &master.addr());
        master.wire().create_topic(LOAD.topic, LOAD.queues);
        let role = [("brokerRole", "SLAVE"), ("brokerId", "1"), ("slaveReadEnable", "true")];
        let slave = broker(SLAVE, &role);
        wait_for_acknowledgement(&master, SOON);
        wait_for_topic(&slave);
        Ok(Self { master, slave, namesrv, network, _dir: dir })
    }
}

#[test]
fn partitions_heal() {
    let cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(why) => return skipped("partitions in network namespaces", &why),
    };
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&cluster.master, &mut book, 0, 500);
    master_from_slave(&cluster, &mut book);
    brokers_from_name_server(&cluster, &mut book);
    client_from_master(&cluster, &mut book);
    bad_line(&cluster, &mut book);
    assert_equal(&cluster.master, &cluster.slave, &mut book);
}

fn master_from_slave(cluster: &Cluster, book: &mut Book) {
    cluster.network.partition(MASTER, SLAVE, true);
    let (begin, mut refused) = (Instant::now(), Vec::new());
    let mut wire = cluster.master.wire();
    while !refused.ends_with(&[SLAVE_NOT_AVAILABLE; 100]) {
        assert!(begin.elapsed() < SOON, "the slave is not given up: {:?}", refused.first());
        refused.push(probe(&mut wire));
    }
    refused.dedup();
    assert_eq!(refused, [FLUSH_SLAVE_TIMEOUT, SLAVE_NOT_AVAILABLE]);
    cluster.network.partition(MASTER, SLAVE, false);
    let took = wait_for_acknowledgement(&cluster.master, SOON);
    eprintln!("master and slave apart: recovered after {took:.1?}");
    send(&cluster.master, book, 1, 300);
}

/// Nobody who sends notices.
fn brokers_from_name_server(cluster: &Cluster, book: &mut Book) {
    for broker in [MASTER, SLAVE] {
        cluster.network.partition(broker, NAMESRV, true);
    }
    // A topic is made when it is registered, or could not be in registerBrokerTimeoutMills, 6 s.
    let creating = std::thread::spawn({
        let mut wire = cluster.master.wire();
        move || wire.create_topic("Apart", 1)
    });
    for round in 2..6 {
        let begin = Instant::now();
        send(&cluster.master, book, round, 300);
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        std::thread::sleep(Duration::from_secs(1));
    }
    creating.join().unwrap_or_else(|_| panic!("the topic could not be made"));
    for broker in [MASTER, SLAVE] {
        cluster.network.partition(broker, NAMESRV, false);
    }
    let begin = Instant::now();
    servers::wait_for_route(&cluster.namesrv.addr(), "Apart");
    eprintln!("brokers and name server apart: registered after {:.1?}", begin.elapsed());
}

/// Who sends hears nothing; what was acknowledged before is there, and the pair does not mind.
fn client_from_master(cluster: &Cluster, book: &mut Book) {
    let sending = Sending::start(&cluster.master.addr(), LOAD, 6);
    sending.wait_for(300, SOON);
    cluster.network.partition(TEST, MASTER, true);
    std::thread::sleep(Duration::from_secs(2));
    let before = sending.acknowledged();
    cluster.network.partition(TEST, MASTER, false);
    let begin = Instant::now();
    sending.wait_for(before + 100, SOON);
    eprintln!("client and master apart: answered after {:.1?}", begin.elapsed());
    sending.stop();
    book.enter(sending.join());
}

fn bad_line(cluster: &Cluster, book: &mut Book) {
    if let Err(why) = cluster.network.spoil(SLAVE, &["delay", "20ms", "5ms", "loss", "2%"]) {
        return skipped("a line that delays and loses", &why);
    }
    let begin = Instant::now();
    send(&cluster.master, book, 7, 1000);
    eprintln!("20 ms and 2 % loss: 1000 messages in {:.1?}", begin.elapsed());
    cluster.network.spoil(SLAVE, &["delay", "0ms"]).unwrap_or_else(|why| panic!("{why}"));
    assert!(book.refused().len() < 300, "{} refused", book.refused().len());
}
