//! Two masters with a slave each, and official clients that send and receive all the time while one
//! of the masters is killed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::clients::{Client, Consumer, Got, Outcome, Prepared, say};
use crate::prepared;
use crate::support::java_peer::Servers;
use crate::support::pair::{Half, TOPIC_NOT_EXIST, log_range, reported_lag};
use crate::support::servers::{self, Server};
use crate::support::wire::{borrowed, code, send_fields};
use crate::support::{TempDir, until};

const TOPIC: &str = "Cluster";
const QUEUES: i32 = 4;
/// Messages that each producer sends.
const COUNT: u32 = 8_000;
/// Acknowledgements that each producer has seen when the master is killed.
const BEFORE: usize = 1_500;
/// A JVM on a busy machine takes its time.
const STARTED: Duration = Duration::from_secs(240);
/// Clients look for new routes every 30 s, and the message that was on its way is tried again.
const FOUND_OUT: Duration = Duration::from_secs(300);

/// A master that is gone with its disk has lost nothing that it acknowledged.
#[test]
fn a_synchronous_cluster_loses_a_master_and_its_disk() {
    let Some([java, go]) = prepared([Client::Java498, Client::Go]) else { return };
    let mut cluster = Cluster::start("SYNC_MASTER");
    let acknowledged = cluster.send_while(&[&java, &go], |cluster| {
        cluster.masters[0].process.kill();
        cluster.halves[0].delete_store();
    });
    cluster.receive_all(&acknowledged);
}

/// An asynchronous slave may lack the last messages. They are at most what was told before, and they
/// are there when the master is back.
#[test]
fn an_asynchronous_cluster_lacks_no_more_than_its_lag_until_the_master_is_back() {
    let Some([java, go]) = prepared([Client::Java498, Client::Go]) else { return };
    let mut cluster = Cluster::start("ASYNC_MASTER");
    let mut had = 0;
    let acknowledged = cluster.send_while(&[&java, &go], |cluster| {
        let mut wire = cluster.masters[0].wire();
        had = until("the lag is told", STARTED, || {
            let (_, end) = log_range(&mut wire)?;
            Some(end - reported_lag(&mut wire)?)
        });
        cluster.masters[0].process.kill();
    });
    let (_, got) = log_range(&mut cluster.slaves[0].wire()).unwrap_or_default();
    assert!(got >= had, "the slave's log ends at {got}, {had} was told");
    cluster.masters[0] = cluster.start_master(0);
    cluster.receive_all(&acknowledged);
}

/// A key that was acknowledged, and length and digest of its body.
type Acknowledged = BTreeMap<String, String>;

/// A name server, two masters and their slaves, and a group of consumers of each language.
struct Cluster {
    role: &'static str,
    masters: Vec<Server>,
    slaves: Vec<Server>,
    halves: [Half; 4],
    namesrv: Server,
    groups: Vec<Group>,
    dir: TempDir,
}

/// Acknowledged, failed, and whether the producer was in the midst of it.
type Counts = [AtomicUsize; 3];

struct Group {
    name: String,
    deliveries: Receiver<Got>,
    members: Vec<Consumer>,
}

impl Cluster {
    fn start(role: &'static str) -> Self {
        let dir = TempDir::new("interop-failover");
        let namesrv = servers::namesrv(dir.path());
        // ROCKETMQ_TEST_SERVERS=4.9.7 shows what a cluster of the official ones does.
        let make = Servers::from_env();
        let halves = ["a", "b", "a-s", "b-s"].map(|name| Half::new(&make, dir.join(name)));
        let (masters, slaves, groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut cluster = Self { role, masters, slaves, halves, namesrv, groups, dir };
        cluster.masters = (0..2).map(|half| cluster.start_master(half)).collect();
        for master in &cluster.masters {
            master.wire().create_topic(TOPIC, QUEUES);
        }
        cluster.slaves = (0..2).map(|half| cluster.start_slave(half)).collect();
        for (master, slave) in cluster.masters.iter().zip(&cluster.slaves) {
            let (mut to_master, mut to_slave) = (master.wire(), slave.wire());
            until("the pair is one", STARTED, || {
                let probe = send_fields("Probe", 0, "probe");
                let sent = to_master.call(code::SEND, &borrowed(&probe), b"probe").code() == 0;
                let ends = (log_range(&mut to_master)?.1, log_range(&mut to_slave)?.1);
                let known = to_slave.pull(TOPIC, 0, 0).code() != TOPIC_NOT_EXIST;
                (sent && known && ends.0 == ends.1).then_some(())
            });
        }
        cluster
    }

    fn start_master(&self, half: usize) -> Server {
        let namesrv = self.namesrv.addr();
        let server = self.halves[half].master(self.role, Some(&namesrv), &keys(half));
        servers::wait_for_broker(&namesrv, &server.addr());
        server
    }

    fn start_slave(&self, half: usize) -> Server {
        self.halves[2 + half].slave(Some(&self.namesrv.addr()), &keys(half))
    }

    /// Every client sends and every client's group receives, while `what` happens. Returns what was
    /// acknowledged.
    fn send_while(&mut self, clients: &[&Prepared], what: impl FnOnce(&mut Self)) -> Acknowledged {
        let namesrv = self.namesrv.addr();
        for client in clients {
            let (to, deliveries) = channel();
            let name = format!("Failover_{:?}", client.client);
            let place = [namesrv.as_str(), TOPIC, &name];
            let members = (0..2)
                .map(|member| client.consume(self.dir.path(), place, member, to.clone()))
                .collect();
            self.groups.push(Group { name, deliveries, members });
        }
        let acknowledged = Mutex::new(Acknowledged::new());
        let counts: Vec<Counts> = clients.iter().map(|_| Default::default()).collect();
        let dir = self.dir.path().to_owned();
        // Who is fast waits until everybody is in the midst of it, and then until the deed is done.
        let (ready, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let senders: Vec<_> = clients
                .iter()
                .zip(&counts)
                .zip(11..)
                .map(|((client, counts), seed)| {
                    let (acknowledged, dir, namesrv) = (&acknowledged, &dir, &namesrv);
                    let (ready, done) = (&ready, &done);
                    scope.spawn(move || {
                        let language = format!("{:?}", client.client);
                        client.produce_anyway(dir, [namesrv, TOPIC], [COUNT, seed, 3], |outcome| {
                            note(outcome, &language, counts, acknowledged);
                            if counts[0].load(Relaxed) == BEFORE && counts[2].swap(1, Relaxed) == 0
                            {
                                ready.fetch_add(1, Relaxed);
                                until("the master is killed", STARTED, || {
                                    done.load(Relaxed).then_some(())
                                });
                            }
                        });
                    })
                })
                .collect();
            until("all producers are in the midst of it", STARTED, || {
                (ready.load(Relaxed) == clients.len()).then_some(())
            });
            let killed = Instant::now();
            what(self);
            done.store(true, Relaxed);
            for sender in senders {
                sender.join().unwrap_or_else(|_| panic!("a producer failed"));
            }
            for (client, counts) in clients.iter().zip(&counts) {
                let [acknowledged, failed, _] = counts.each_ref().map(|count| count.load(Relaxed));
                say(&format!(
                    "{:?}: {BEFORE} messages acknowledged before the kill, {} after it, {failed} \
                     failed, done {:.1?} after it",
                    client.client,
                    acknowledged - BEFORE,
                    killed.elapsed()
                ));
                assert!(acknowledged > 2 * BEFORE, "{:?} did not go on", client.client);
            }
        });
        acknowledged.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Every group gets everything that was acknowledged, as it was sent.
    fn receive_all(&mut self, acknowledged: &Acknowledged) {
        let begin = Instant::now();
        for group in self.groups.drain(..) {
            let mut missing = acknowledged.clone();
            let mut deliveries = 0_usize;
            while !missing.is_empty() {
                let left = FOUND_OUT.saturating_sub(begin.elapsed());
                let Ok(got) = group.deliveries.recv_timeout(left) else {
                    let some: Vec<_> = missing.keys().take(5).collect();
                    let (lost, all) = (missing.len(), acknowledged.len());
                    panic!("{}: {lost} of {all} did not arrive: {some:?}", group.name);
                };
                deliveries += 1;
                if let Some(body) = missing.remove(&got.key) {
                    assert_eq!(got.body, body, "{}: {got:?}", group.name);
                }
            }
            say(&format!(
                "{}: {} acknowledged messages all received, {deliveries} deliveries, {:.1?}",
                group.name,
                acknowledged.len(),
                begin.elapsed()
            ));
            for member in group.members {
                member.close();
            }
        }
    }
}

fn note(outcome: Outcome, language: &str, counts: &Counts, acknowledged: &Mutex<Acknowledged>) {
    match outcome {
        Outcome::Acknowledged(key, body) => {
            counts[0].fetch_add(1, Relaxed);
            let mut all = acknowledged.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            all.insert(key, body);
        }
        Outcome::Failed(key, why) => {
            if counts[1].fetch_add(1, Relaxed) == 0 {
                say(&format!("{language}: the first failure: {key}: {why}"));
            }
        }
        Outcome::Done => {}
    }
}

/// Keys of one broker name's two brokers.
fn keys(half: usize) -> [(&'static str, &'static str); 3] {
    [
        ("brokerName", ["broker-a", "broker-b"][half]),
        ("brokerFastFailureEnable", "false"),
        ("slaveTimeout", "1000"),
    ]
}
