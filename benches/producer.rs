//! The producer benchmark, with the options and report lines of Java's `benchmark/producer.sh`, and
//! beyond them percentiles, and the broker's processor time and memory when given its process id.
//!
//! ```text
//! cargo bench --bench producer -- -n 127.0.0.1:9876 -t Bench -w 64 -s 1024 -q 300000 --pid 4711
//! ```
//!
//! A thread of Java's is a connection here; `-y true` is one connection with many requests in
//! flight, `--window` says how many. Without `-n` it starts a broker of its own.

mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use load::produce::{Load, Properties, Tally, run};
use load::target::Target;
use load::{cost, every_second, option, parsed};
use rocketmq::common::clock::now_ms;
use rocketmq::common::command_line::OptionSpec;
use rocketmq::common::os::LocalTime;

const OPTIONS: [OptionSpec; 11] = [
    option('w', "threadCount", "Connections, one request in flight each. Default: 64"),
    option('s', "messageSize", "Message Size, Default: 128"),
    option('k', "keyEnable", "Message Key Enable, Default: false"),
    option('l', "tagCount", "Tag count, Default: 0"),
    option('p', "propertySize", "Bytes of user properties, Default: 0"),
    option('q', "messageQuantity", "Send message quantity, Default: 0, running forever"),
    option('d', "delayEnable", "Delay message Enable, Default: false"),
    option('e', "delayLevel", "Delay message level, Default: 1"),
    option('y', "asyncEnable", "One connection with many requests in flight, Default: false"),
    option('W', "window", "Requests in flight on a connection, Default: 1; with -y 256"),
    option('T', "seconds", "Longest time to send for, Default: no limit"),
];

fn main() {
    let Some(given) = load::given("producer", &OPTIONS) else { return };
    let text = |name: &str| given.value(name);
    let flag = |name: &str| parsed(name, text(name), false);
    let topic = load::topic(text("topic"), text("namesrvAddr"));
    let pipelined = flag("asyncEnable");
    let mut load = Load {
        connections: if pipelined { 1 } else { parsed("threadCount", text("threadCount"), 64) },
        window: parsed("window", text("window"), if pipelined { 256 } else { 1 }).max(1),
        body_bytes: parsed("messageSize", text("messageSize"), 128),
        messages: parsed("messageQuantity", text("messageQuantity"), 0),
        limit: text("seconds").map_or(Duration::MAX / 4, |seconds| {
            Duration::from_secs(parsed("seconds", Some(seconds), 0))
        }),
        properties: Properties {
            key: flag("keyEnable"),
            tags: parsed("tagCount", text("tagCount"), 0),
            user_bytes: parsed("propertySize", text("propertySize"), 0),
            delay_level: if flag("delayEnable") {
                parsed("delayLevel", text("delayLevel"), 1)
            } else {
                0
            },
            ..Properties::default()
        },
    };
    let mut pid = text("pid").map(|pid| parsed("pid", Some(pid), 0));
    let own = text("namesrvAddr").is_none().then(|| {
        load.messages = if load.messages == 0 { 300_000 } else { load.messages };
        OwnBroker::start(&topic)
    });
    let target = match (&own, text("namesrvAddr")) {
        (Some(own), _) => {
            pid = Some(own.broker.process.pid());
            Target { broker: own.broker.addr(), topic: topic.clone(), queues: 8 }
        }
        (None, names) => Target::from_name_server(names.unwrap_or_default(), &topic),
    };
    println!(
        "topic: {topic} threadCount: {} messageSize: {} keyEnable: {} propertySize: {} tagCount: {} \
         traceEnable: false aclEnable: false messageQuantity: {}\n\
         delayEnable: {} delayLevel: {}\nasyncEnable: {pipelined}",
        load.connections,
        load.body_bytes,
        load.properties.key,
        load.properties.user_bytes,
        load.properties.tags,
        load.messages,
        load.properties.delay_level > 0,
        load.properties.delay_level.max(1),
    );
    let complete = measure(&target, &load, pid);
    // A broker of our own ends before the program does.
    drop(own);
    if !complete {
        std::process::exit(1);
    }
}

/// A broker of this package for one run.
struct OwnBroker {
    broker: support::servers::Server,
    _dir: support::TempDir,
}

impl OwnBroker {
    fn start(topic: &str) -> Self {
        let dir = support::TempDir::new("bench");
        let broker = support::servers::broker_at(dir.path(), support::free_port(), None, &[]);
        broker.wire().create_topic(topic, 8);
        Self { broker, _dir: dir }
    }
}

/// Sends the load and reports; whether everything was acknowledged.
fn measure(target: &Target, load: &Load, pid: Option<u32>) -> bool {
    let tally = Tally::default();
    let over = AtomicBool::new(false);
    let before = pid.and_then(cost::of);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let snapshot = || Snapshot::of(&tally);
            every_second(
                || over.load(Relaxed),
                snapshot,
                |first, last| {
                    println!("Current Time: {} {}", human_time(), last.since(first));
                },
            );
        });
        let outcome = run(target, load, &tally);
        over.store(true, Relaxed);
        outcome
    });
    println!(
        "[Complete] Send Total: {} Send TPS: {:.0} Max RT(ms): {} Average RT(ms): {:7.3} \
         Send Failed: {} Response Failed: {}",
        outcome.latency.len() + tally.send_failed.load(Relaxed),
        outcome.per_second(),
        outcome.latency.max_us() / 1000,
        outcome.latency.mean_us() / 1000.0,
        tally.send_failed.load(Relaxed),
        tally.response_failed.load(Relaxed),
    );
    println!("Latency: {}", outcome.latency.summary());
    if let Some(line) = cost::line(before, pid, outcome.latency.len()) {
        println!("{line}");
    }
    outcome.failed == 0
}

/// The counters at a moment.
struct Snapshot {
    at_ms: i64,
    sent: u64,
    sum_us: u64,
    max_us: u64,
    send_failed: u64,
    response_failed: u64,
}

impl Snapshot {
    fn of(tally: &Tally) -> Self {
        Self {
            at_ms: now_ms(),
            sent: tally.sent.load(Relaxed),
            sum_us: tally.sum_us.load(Relaxed),
            max_us: tally.max_us.load(Relaxed),
            send_failed: tally.send_failed.load(Relaxed),
            response_failed: tally.response_failed.load(Relaxed),
        }
    }

    fn since(&self, first: &Self) -> String {
        let sent = self.sent - first.sent;
        format!(
            "Send TPS: {:.0} Max RT(ms): {} Average RT(ms): {:7.3} Send Failed: {} Response Failed: {}",
            sent as f64 * 1000.0 / (self.at_ms - first.at_ms).max(1) as f64,
            self.max_us / 1000,
            (self.sum_us - first.sum_us) as f64 / 1000.0 / sent.max(1) as f64,
            self.send_failed,
            self.response_failed
        )
    }
}

/// `2023-11-15 06:13:20,123`, local time.
fn human_time() -> String {
    let t = LocalTime::from_epoch_ms(now_ms());
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
        t.year, t.month, t.day, t.hour, t.minute, t.second, t.millisecond
    )
}
