//! The consumer benchmark, with the options and report lines of Java's `benchmark/consumer.sh`, and
//! beyond them the broker's processor time and memory when given its process id.
//!
//! ```text
//! cargo bench --bench consumer -- -n 127.0.0.1:9876 -t Bench -q 1000000 --pid 4711
//! ```
//!
//! It pulls over raw connections (`-w` of them at most, a queue belongs to one) and stores its
//! progress; there is no listener that could fail, so Java's `-r` is refused, and so are trace and
//! ACL. Without `-n` it starts a broker of its own and fills it first.

mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use load::consume::{From, Reading, Tally, run};
use load::target::Target;
use load::{cost, every_second, give_up, option, parsed, produce};
use rocketmq::common::clock::now_ms;
use rocketmq::common::command_line::OptionSpec;

const OPTIONS: [OptionSpec; 10] = [
    option('w', "threadCount", "Connections, Default: 20"),
    option('g', "group", "Consumer group name, Default: benchmark_consumer"),
    option('p', "groupPrefixEnable", "Whether a number is appended to the group, Default: true"),
    option('f', "filterType", "TAG, SQL92"),
    option('e', "expression", "filter expression content file path.ie: ./test/expr"),
    option('r', "failRate", "Refused unless 0: nothing is processed that could fail"),
    option('m', "msgTraceEnable", "Refused unless false"),
    option('a', "aclEnable", "Refused unless false"),
    option('q', "messageQuantity", "Messages to read, Default: 0, running forever"),
    option('b', "batch", "Messages a pull asks for, Default: 32"),
];

fn main() {
    let Some(given) = load::given("consumer", &OPTIONS) else { return };
    let text = |name: &str| given.value(name).map(str::trim);
    if parsed("failRate", text("failRate"), 0.0) > 0.0
        || parsed("msgTraceEnable", text("msgTraceEnable"), false)
        || parsed("aclEnable", text("aclEnable"), false)
    {
        give_up(
            "failRate, msgTraceEnable and aclEnable need a client; this pulls over raw connections",
        );
    }
    let topic = load::topic(text("topic"), text("namesrvAddr"));
    let suffix = parsed("groupPrefixEnable", text("groupPrefixEnable"), true);
    let mut group = text("group").unwrap_or("benchmark_consumer").to_owned();
    if suffix {
        group.push_str(&format!("_{}", now_ms() % 100));
    }
    let expression = text("expression").map(|file| {
        let content = std::fs::read_to_string(file);
        content.unwrap_or_else(|error| give_up(&format!("--expression {file}: {error}")))
    });
    let filter = text("filterType").zip(expression);
    println!(
        "topic: {topic}, threadCount {}, group: {group}, suffix: {suffix}, filterType: {}, \
         expression: {}, msgTraceEnable: false, aclEnable: false",
        text("threadCount").unwrap_or("20"),
        text("filterType").unwrap_or("null"),
        text("expression").unwrap_or("null")
    );
    if let Some((_, expression)) = &filter {
        println!("Expression: {expression}");
    }
    let (expression_type, expression) = match filter {
        None => ("TAG".to_owned(), "*".to_owned()),
        Some((kind, text)) if kind == "TAG" || kind == "SQL92" => (kind.to_owned(), text),
        Some((kind, _)) => give_up(&format!("Not support filter type! {kind}")),
    };
    let mut reading = Reading {
        group,
        connections: parsed("threadCount", text("threadCount"), 20),
        batch: parsed("batch", text("batch"), 32),
        expression_type,
        expression,
        from: From::Stored,
        messages: parsed("messageQuantity", text("messageQuantity"), 0),
        idle_limit: Duration::MAX,
    };
    let complete = match text("namesrvAddr") {
        Some(names) => {
            let pid = text("pid").map(|pid| parsed("pid", Some(pid), 0));
            measure(&Target::from_name_server(names, &topic), &reading, pid)
        }
        None => {
            let dir = support::TempDir::new("bench");
            let broker = support::servers::broker_at(dir.path(), support::free_port(), None, &[]);
            broker.wire().create_topic(&topic, 8);
            let target = Target { broker: broker.addr(), topic, queues: 8 };
            reading.messages = if reading.messages == 0 { 300_000 } else { reading.messages };
            fill(&target, reading.messages);
            measure(&target, &reading, Some(broker.process.pid()))
        }
    };
    if !complete {
        std::process::exit(1);
    }
}

/// Something to read: messages of 1 KiB.
fn fill(target: &Target, messages: u64) {
    let load = produce::Load {
        connections: 8,
        window: 64,
        body_bytes: 1024,
        messages,
        limit: Duration::from_secs(120),
        properties: produce::Properties::default(),
    };
    produce::run(target, &load, &produce::Tally::default());
}

/// Reads and reports; whether every pull was answered.
fn measure(target: &Target, reading: &Reading, pid: Option<u32>) -> bool {
    let tally = Tally::default();
    let over = AtomicBool::new(false);
    let before = pid.and_then(cost::of);
    let begin = Instant::now();
    println!("Consumer Started.");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let snapshot = || Snapshot::of(&tally);
            every_second(
                || over.load(Relaxed),
                snapshot,
                |first, last| {
                    println!("Current Time: {} {}", now_ms(), last.since(first, &tally));
                },
            );
        });
        run(target, reading, &tally, false);
        over.store(true, Relaxed);
    });
    let took = begin.elapsed().as_secs_f64();
    let received = tally.received.load(Relaxed);
    println!(
        "[Complete] Received: {received} TPS: {:.0} MB/s: {:.1} Pulls: {} FAIL: {}",
        received as f64 / took,
        tally.bytes.load(Relaxed) as f64 / took / 1e6,
        tally.pulls.load(Relaxed),
        tally.failed.load(Relaxed)
    );
    if let Some(line) = cost::line(before, pid, received) {
        println!("{line}");
    }
    tally.failed.load(Relaxed) == 0
}

/// The counters at a moment.
struct Snapshot {
    at_ms: i64,
    received: u64,
    born_ms: i64,
    stored_ms: i64,
    failed: u64,
}

impl Snapshot {
    fn of(tally: &Tally) -> Self {
        Self {
            at_ms: now_ms(),
            received: tally.received.load(Relaxed),
            born_ms: tally.born_ms.load(Relaxed),
            stored_ms: tally.stored_ms.load(Relaxed),
            failed: tally.failed.load(Relaxed),
        }
    }

    /// The report's figures; the longest times begin anew with it.
    fn since(&self, first: &Self, tally: &Tally) -> String {
        let received = self.received - first.received;
        let mean = |sum: i64| sum as f64 / received.max(1) as f64;
        format!(
            "TPS: {:.0} FAIL: {} AVG(B2C) RT(ms): {:7.3} AVG(S2C) RT(ms): {:7.3} \
             MAX(B2C) RT(ms): {} MAX(S2C) RT(ms): {}",
            received as f64 * 1000.0 / (self.at_ms - first.at_ms).max(1) as f64,
            self.failed - first.failed,
            mean(self.born_ms - first.born_ms),
            mean(self.stored_ms - first.stored_ms),
            tally.born_max_ms.swap(0, Relaxed),
            tally.stored_max_ms.swap(0, Relaxed)
        )
    }
}
