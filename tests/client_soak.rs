//! A client that runs for long while everything around it comes and goes: nothing is lost, nothing
//! comes twice but as a redelivery, and neither memory nor threads nor descriptors grow. Alone in its
//! process, since it counts them.
//!
//! Ten seconds by default; `ROCKETMQ_SOAK_MINUTES=10 cargo test --test client_soak -- --nocapture` for
//! longer. `ROCKETMQ_TEST_SERVERS=4.9.7` runs it against the official servers.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq::client::{
    ConsumeFromWhere, ConsumeResult, ConsumerOptions, OrderlyResult, Producer, ProducerOptions,
    PushConsumer, ReceivedMessage,
};
use rocketmq::common::message::Message;
use rocketmq::common::os;

use support::java_peer::Servers;
use support::servers::{Server, wait_for_route};
use support::{StopAtEnd, TempDir, free_port, until};

const TOPIC: &str = "Soak";
/// Longest wait for what was sent to come.
const SETTLE: Duration = Duration::from_secs(120);
/// Bytes of anonymous memory by which the second half of a run may end above the first.
const MEMORY_SLACK: u64 = 8 << 20;
/// Pause between sends: the aim is time, not a full disk.
const PAUSE: Duration = Duration::from_millis(1);
/// How long it is remembered what came, at least.
const REMEMBERED: Duration = Duration::from_secs(30);

/// What a listener's panic says.
const LISTENER_FAILS: &str = "a listener that fails";

/// Two name servers and a broker.
struct World {
    dir: TempDir,
    make: Servers,
    namesrvs: Vec<Server>,
    names: String,
    broker: Server,
}

impl World {
    fn start() -> Self {
        let (dir, make) = (TempDir::new("soak"), Servers::from_env());
        let folders = [dir.join("one"), dir.join("two")];
        let namesrvs: Vec<_> = folders.iter().map(|folder| make.namesrv(folder)).collect();
        let names = namesrvs.iter().map(Server::addr).collect::<Vec<_>>().join(";");
        let broker = make.broker_at(dir.path(), free_port(), Some(&names), &Self::settings());
        broker.wire().create_topic(TOPIC, 6);
        namesrvs.iter().for_each(|namesrv| wait_for_route(&namesrv.addr(), TOPIC));
        Self { dir, make, namesrvs, names, broker }
    }

    fn settings() -> [(&'static str, &'static str); 2] {
        [("messageDelayLevel", "1s 1s 1s 1s 1s 1s"), ("registerNameServerPeriod", "10000")]
    }

    /// Kills the broker and starts it again in its folder.
    fn restart_broker(&mut self) {
        self.broker.process.kill();
        let (port, names) = (self.broker.port, self.names.clone());
        let more = Self::settings();
        self.broker = self.make.broker_at(self.dir.path(), port, Some(&names), &more);
    }
}

/// What was acknowledged, and how often each message came.
#[derive(Default)]
struct Account {
    sent: Mutex<Vec<String>>,
    came: Mutex<Came>,
    /// Deliveries of messages that came before, not marked as given back: allowed after crashes.
    again: AtomicU64,
    deliveries: AtomicU64,
}

/// How often messages came, those of the last minute or so: a message may come before its sender
/// learns that it was stored, and nobody needs to remember all for ever.
#[derive(Default)]
struct Came {
    new: HashMap<String, u32>,
    old: HashMap<String, u32>,
    since: Option<Instant>,
}

impl Came {
    fn note(&mut self, id: String) -> u32 {
        let before = self.old.get(&id).copied().unwrap_or(0);
        let times = self.new.entry(id).or_insert(before);
        *times += 1;
        *times
    }

    fn has(&self, id: &str) -> bool {
        self.new.contains_key(id) || self.old.contains_key(id)
    }

    fn forget_old(&mut self) {
        if self.since.get_or_insert_with(Instant::now).elapsed() > REMEMBERED {
            self.since = Some(Instant::now());
            self.old = std::mem::take(&mut self.new);
        }
    }
}

impl Account {
    fn note(&self, message: &ReceivedMessage) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let times = self.came.lock().unwrap().note(message.message_id());
        if times > 1 && message.reconsume_times() == 0 {
            self.again.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets what is settled, so that the account itself does not grow: what was sent and came.
    fn settle(&self) -> usize {
        let mut sent = self.sent.lock().unwrap();
        let mut came = self.came.lock().unwrap();
        let before = sent.len();
        sent.retain(|id| !came.has(id));
        came.forget_old();
        before - sent.len()
    }
}

fn member(world: &World, account: &Arc<Account>, number: u64) -> PushConsumer {
    let account = Arc::clone(account);
    let options = ConsumerOptions::new("soak-concurrent")
        .name_servers(world.names.as_str())
        .instance_name(format!("soak-{number}"))
        .consume_from(ConsumeFromWhere::FirstOffset)
        .consume_threads(4)
        .subscribe(TOPIC, "*");
    let calls = AtomicU64::new(0);
    options
        .start_concurrent(move |messages, _| {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            // Slow now and then; failing now and then, by word and by panic.
            match call % 1000 {
                100 => std::thread::sleep(Duration::from_millis(200)),
                300 => return ConsumeResult::Later,
                600 => std::panic::panic_any(LISTENER_FAILS),
                _ => {}
            }
            messages.iter().for_each(|message| account.note(message));
            ConsumeResult::Success
        })
        .unwrap()
}

fn send_until(stop: &AtomicBool, producer: &Producer, accounts: &[Arc<Account>; 2]) {
    let mut number = 0u64;
    while !stop.load(Ordering::Acquire) {
        number += 1;
        let size = if number.is_multiple_of(500) { 20_000 } else { 100 };
        let message = Message::new(TOPIC, vec![b'x'; size]).with_keys(format!("k{number}"));
        if number.is_multiple_of(3) {
            let accounts = accounts.clone();
            let told = move |result: Result<rocketmq::client::SendResult, _>| {
                if let Ok(result) = result {
                    let note =
                        |a: &Arc<Account>| a.sent.lock().unwrap().push(result.message_id.clone());
                    accounts.iter().for_each(note);
                }
            };
            // No room while the broker is away is no loss: nobody was promised anything.
            let _ = producer.send_async(&message, told);
        } else if let Ok(result) = producer.send(&message) {
            let note = |a: &Arc<Account>| a.sent.lock().unwrap().push(result.message_id.clone());
            accounts.iter().for_each(note);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Threads and descriptors of this process.
fn held() -> (usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count);
    (count("/proc/self/task"), count("/proc/self/fd"))
}

#[test]
fn nothing_is_lost_and_nothing_grows() {
    let minutes =
        std::env::var("ROCKETMQ_SOAK_MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
    let length = minutes.map_or(Duration::from_secs(10), |m| Duration::from_secs_f64(m * 60.0));
    // What threads that come and go have freed would stay spread over a heap for each of them: up to
    // 32 heaps that only fill up within ten minutes look like growth.
    os::limit_allocator_arenas(2);
    // The trace of a panic that is wanted takes memory for good: the tables of symbols.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&LISTENER_FAILS) {
            print(panic);
        }
    }));
    let mut world = World::start();
    let before = held();
    let accounts: [Arc<Account>; 2] = Default::default();
    let producer = ProducerOptions::new("soak-producers")
        .name_servers(world.names.as_str())
        .send_timeout(Duration::from_secs(2))
        .start()
        .unwrap();
    let notes = Arc::clone(&accounts[1]);
    let orderly = ConsumerOptions::new("soak-orderly")
        .name_servers(world.names.as_str())
        .consume_from(ConsumeFromWhere::FirstOffset)
        .consume_batch(8)
        .subscribe(TOPIC, "*")
        .start_orderly(move |messages, _| {
            messages.iter().for_each(|message| notes.note(message));
            OrderlyResult::Success
        })
        .unwrap();
    let mut members = vec![member(&world, &accounts[0], 0), member(&world, &accounts[0], 1)];
    let stop = AtomicBool::new(false);
    let (mut samples, mut round, mut settled) = (Vec::new(), 0u64, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| send_until(&stop, &producer, &accounts));
        let stopping = StopAtEnd(&stop);
        let began = Instant::now();
        let step = (length / 12).clamp(Duration::from_millis(800), Duration::from_secs(10));
        // Twice everything, on the slowest disk.
        while began.elapsed() < length || round < 8 {
            std::thread::sleep(step);
            round += 1;
            // One thing a round: a member goes and one comes, a name server stands still, the
            // broker dies, nothing.
            match round % 4 {
                0 => {
                    let old = members.remove(0);
                    members.push(member(&world, &accounts[0], round + 1));
                    old.shutdown();
                }
                1 => {
                    let at = (round / 4) as usize % 2;
                    world.namesrvs[at].process.signal("STOP");
                    std::thread::sleep(step / 2);
                    world.namesrvs[at].process.signal("CONT");
                }
                2 => world.restart_broker(),
                _ => {}
            }
            settled += accounts[0].settle();
            accounts[1].settle();
            samples.push((os::anonymous_memory().unwrap_or(0), held()));
        }
        drop(stopping);
    });
    for account in &accounts {
        until("everything that was acknowledged", SETTLE, || {
            settled += account.settle();
            account.sent.lock().unwrap().is_empty().then_some(())
        });
    }
    let deliveries = accounts[0].deliveries.load(Ordering::Relaxed);
    let again = accounts[0].again.load(Ordering::Relaxed);
    println!(
        "{:.0} s: {settled} settled, {deliveries} deliveries, {again} of them again without having \
         been given back; memory {:?} KiB",
        length.as_secs_f64(),
        samples.iter().map(|sample| sample.0 >> 10).collect::<Vec<_>>()
    );
    assert!(settled > 0);
    // A broker that is killed forgets the offsets of the last five seconds, and was told of them every
    // five seconds: whoever takes a queue over reads those ten again. Nothing else comes twice.
    let takeovers = (round / 2 + 1) as f64;
    let allowed = takeovers * 10.0 * deliveries as f64 / length.as_secs_f64();
    assert!(again as f64 <= allowed, "{again} of {deliveries} came again");
    let most = |half: &[(u64, (usize, usize))]| {
        let top =
            |value: fn(&(u64, (usize, usize))) -> u64| half.iter().map(value).max().unwrap_or(0);
        (top(|s| s.0), top(|s| s.1.0 as u64), top(|s| s.1.1 as u64))
    };
    let (early, late) = samples.split_at(samples.len() / 2);
    let ((memory, threads, files), now) = (most(early), most(late));
    assert!(now.0 <= memory + MEMORY_SLACK, "memory grew from {memory} to {}", now.0);
    // Members that come and go overlap for a moment.
    assert!(now.1 <= threads + 20, "threads grew from {threads} to {}", now.1);
    assert!(now.2 <= files + 10, "descriptors grew from {files} to {}", now.2);
    members.iter().for_each(PushConsumer::shutdown);
    orderly.shutdown();
    producer.shutdown();
    drop((members, orderly, producer));
    until("threads and descriptors are given back", SETTLE, || {
        let now = held();
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
}
