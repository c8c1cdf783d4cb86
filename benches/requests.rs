//! What the requests beside plain sends and pulls cost: filtered pulls, transactions, held pulls, delayed
//! and timed messages. Every figure is told beside the plain one of the same run.
//!
//! ```text
//! cargo bench --bench requests               everything
//! cargo bench --bench requests -- held       what begins with "held"
//! ```
//!
//! A broker of ours on a temporary folder; the load comes over raw connections from this process.

mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use load::consume::{self, From, Reading};
use load::histogram::Histogram;
use load::produce::{self, Load, Outcome, Properties};
use load::target::Target;
use load::{cost, give_up};
use support::servers::{Server, broker_at};
use support::wire::{code, frame, receive};
use support::{TempDir, free_port};

const QUEUES: i32 = 8;
const LIMIT: Duration = Duration::from_secs(60);

/// A broker, and what it is measured by.
struct Site {
    server: Server,
    _dir: TempDir,
}

impl Site {
    fn start() -> Self {
        let dir = TempDir::new("requests");
        let settings = [
            ("enablePropertyFilter", "true"),
            ("mappedFileSizeCommitLog", "1073741824"),
            ("waitTimeMillsInSendQueue", "10000"),
        ];
        let server = broker_at(dir.path(), free_port(), None, &settings);
        Self { server, _dir: dir }
    }

    fn target(&self, topic: &str, queues: i32) -> Target {
        self.server.wire().create_topic(topic, queues);
        Target { broker: self.server.addr(), topic: topic.to_owned(), queues }
    }

    fn cost(&self) -> cost::Cost {
        cost::of(self.server.process.pid()).unwrap_or_else(|| give_up("the broker ended"))
    }

    /// Sends; returns the outcome and the processor time a message, µs.
    fn send(
        &self,
        target: &Target,
        messages: u64,
        body: usize,
        properties: Properties,
    ) -> (Outcome, f64) {
        let load = Load {
            connections: 8,
            window: 32,
            body_bytes: body,
            messages,
            limit: LIMIT,
            properties,
        };
        let before = self.cost();
        let outcome = produce::run(target, &load, &produce::Tally::default());
        if outcome.failed > 0 {
            give_up("sends failed");
        }
        let cpu = cost::cpu_us_per_message(before, self.cost(), messages);
        (outcome, cpu)
    }
}

fn main() {
    let wanted = load::arguments().next().map(|word| word.to_string_lossy().into_owned());
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| name.starts_with(wanted));
    for (name, measure) in [
        ("filter", filtered as fn(&Site)),
        ("transaction", transactions),
        ("held", held_pulls),
        ("delayed", delayed),
        ("timed", timed),
    ] {
        if is_wanted(name) {
            measure(&Site::start());
        }
    }
}

/// Pulls of everything, and with filters that let everything or nothing pass.
fn filtered(site: &Site) {
    const MESSAGES: u64 = 400_000;
    let target = site.target("Filtered", QUEUES);
    let properties = Properties { tags: 1, user_bytes: 30, ..Properties::default() };
    site.send(&target, MESSAGES, 1024, properties);
    // The first reading is a warm-up.
    let cases = [
        ("warm-up", "TAG", "*", true),
        ("everything", "TAG", "*", true),
        ("tag, all match", "TAG", "tag0", true),
        ("tags, all match", "TAG", "tag0 || tag1 || tag2", true),
        ("SQL92, all match", "SQL92", "prop0 = 'hello0' AND TAGS IN ('tag0', 'tag1')", true),
        ("everything again", "TAG", "*", true),
        ("tag, none matches", "TAG", "other", false),
        ("SQL92, none matches", "SQL92", "prop0 = 'other'", false),
    ];
    let mut plain = 0.0_f64;
    for (name, kind, expression, matches) in cases {
        let reading = Reading {
            group: "requests".to_owned(),
            connections: QUEUES as usize,
            batch: 32,
            expression_type: kind.to_owned(),
            expression: expression.to_owned(),
            from: From::Beginning,
            messages: if matches { MESSAGES } else { 0 },
            idle_limit: if matches { Duration::from_secs(5) } else { Duration::from_secs(2) },
        };
        let (tally, before, begin) = (consume::Tally::default(), site.cost(), Instant::now());
        if matches {
            consume::run(&target, &reading, &tally, false);
            let (took, received) = (begin.elapsed().as_secs_f64(), tally.received.load(Relaxed));
            let cpu = cost::cpu_us_per_message(before, site.cost(), received);
            let rate = received as f64 / took;
            if name == "everything" {
                plain = rate;
            }
            let share = if plain > 0.0 { 100.0 * rate / plain } else { 100.0 };
            println!("filter, {name}: {rate:.0} messages/s ({share:.0} %), {cpu:.2} µs each");
        } else {
            let took = pass_over(&target, kind, expression);
            let cpu = cost::cpu_us_per_message(before, site.cost(), MESSAGES);
            let rate = MESSAGES as f64 / took.as_secs_f64();
            println!("filter, {name}: {rate:.0} messages/s passed over, {cpu:.2} µs each");
        }
    }
}

/// Pulls until the end of each queue; how long that takes when nothing matches.
fn pass_over(target: &Target, kind: &str, expression: &str) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for queue in 0..target.queues {
            scope.spawn(move || {
                let mut wire = support::wire::Wire::connect(&target.broker);
                let end = wire.max_offset(&target.topic, queue);
                let (queue, mut offset) = (queue.to_string(), 0);
                while offset < end {
                    let reply = wire.call(
                        code::PULL,
                        &[
                            ("consumerGroup", "requests"),
                            ("topic", &target.topic),
                            ("queueId", &queue),
                            ("queueOffset", &offset.to_string()),
                            ("maxMsgNums", "32"),
                            ("sysFlag", "4"),
                            ("commitOffset", "0"),
                            ("suspendTimeoutMillis", "0"),
                            ("subscription", expression),
                            ("subVersion", "0"),
                            ("expressionType", kind),
                        ],
                        b"",
                    );
                    let next = reply.number("nextBeginOffset").unwrap_or(0);
                    if next <= offset {
                        give_up(&format!("no progress: {}", reply.header));
                    }
                    offset = next;
                }
            });
        }
    });
    begin.elapsed()
}

/// Half messages and their commits, beside plain sends over as many connections with as many in flight.
/// What either costs depends on the pages of memory that the machine happens to give, so both are
/// measured in every round, in both orders, and the medians are compared.
fn transactions(site: &Site) {
    const MESSAGES: u64 = 100_000;
    const ROUNDS: usize = 6;
    let target = site.target("Transactions", QUEUES);
    let plain = Properties::default();
    let half = Properties { transaction: true, ..Properties::default() };
    stored_per_second(site, &target, MESSAGES, &plain);
    stored_per_second(site, &target, MESSAGES, &half);
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for which in [round % 2, (round + 1) % 2] {
            let (name, properties) = [("plain", &plain), ("transaction", &half)][which];
            let before = site.cost();
            let rate = stored_per_second(site, &target, MESSAGES, properties);
            let cpu = cost::cpu_us_per_message(before, site.cost(), MESSAGES);
            println!("transaction, round {}, {name}: {rate:.0}/s, {cpu:.2} µs each", round + 1);
            rates[which].push(rate);
        }
    }
    let [plain, half] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        (rates[(ROUNDS - 1) / 2] + rates[ROUNDS / 2]) / 2.0
    });
    println!(
        "transaction: {half:.0}/s committed, plain {plain:.0}/s ({:.0} %), medians of {ROUNDS} rounds",
        100.0 * half / plain
    );
}

/// Sends messages, and commits half messages; how many a second, until consumers can get the last.
fn stored_per_second(site: &Site, target: &Target, messages: u64, properties: &Properties) -> f64 {
    let mut wire = site.server.wire();
    let mut stored =
        || -> i64 { (0..target.queues).map(|queue| wire.max_offset(&target.topic, queue)).sum() };
    let before = stored();
    let begin = Instant::now();
    site.send(target, messages, 1024, properties.clone());
    support::until("all are stored", LIMIT, || {
        (stored() - before >= messages as i64).then_some(())
    });
    messages as f64 / begin.elapsed().as_secs_f64()
}

/// Ten thousand pulls that wait, on a hundred connections.
fn held_pulls(site: &Site) {
    const CONNECTIONS: usize = 100;
    const HOLDS_EACH: usize = 100;
    const IDLE: Duration = Duration::from_secs(10);
    let queues = (CONNECTIONS * HOLDS_EACH / 10) as i32;
    let target = site.target("Held", queues);
    let empty = site.cost();
    let sockets: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|number| {
            let mut socket = TcpStream::connect(&target.broker).expect("a connection");
            socket.set_nodelay(true).expect("a socket");
            let frames: Vec<u8> = (0..HOLDS_EACH)
                .flat_map(|at| hold_frame(&target, ((number * HOLDS_EACH + at) as i32) % queues, 0))
                .collect();
            socket.write_all(&frames).expect("pulls");
            socket
        })
        .collect();
    let held = CONNECTIONS * HOLDS_EACH;
    support::until("all are held", LIMIT, || (held_now(site) == held as i64).then_some(()));
    let before = site.cost();
    std::thread::sleep(IDLE);
    let after = site.cost();
    let share = (after.cpu - before.cpu).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let memory = (after.anonymous_kib - empty.anonymous_kib) * 1024 / held as u64;
    println!("held: {held} pulls cost {share:.2} % of a core, {memory} bytes each");
    let latency = wake(&target, sockets);
    for share in [0.5, 0.99, 1.0] {
        println!("held: woken within {} µs at {share}", latency.quantile_us(share));
    }
}

fn hold_frame(target: &Target, queue: i32, offset: i64) -> Vec<u8> {
    let fields = [
        ("consumerGroup", "requests"),
        ("topic", &target.topic),
        ("queueId", &queue.to_string()),
        ("queueOffset", &offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "600000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    frame(code::PULL, queue, &fields, b"")
}

fn held_now(site: &Site) -> i64 {
    let reply = site.server.wire().call(code::RUNTIME_INFO, &[], b"");
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    let at = body.find("\"heldPulls\":\"").map(|at| at + 13);
    at.and_then(|at| body[at..].split('"').next()?.parse().ok()).unwrap_or(-1)
}

/// Sends a message to each queue, one after another, and measures until each of the ten that wait
/// there has it.
fn wake(target: &Target, sockets: Vec<TcpStream>) -> Histogram {
    let (woken, arrivals) = std::sync::mpsc::channel();
    for socket in sockets {
        let woken = woken.clone();
        std::thread::spawn(move || {
            let mut answers = BufReader::new(socket);
            while let Ok(reply) = receive(&mut answers) {
                if woken.send((reply.opaque(), Instant::now())).is_err() {
                    return;
                }
            }
        });
    }
    let mut wire = support::wire::Wire::connect(&target.broker);
    let mut latency = Histogram::default();
    for queue in 0..target.queues {
        let fields = support::wire::send_fields(&target.topic, queue, "wake");
        let sent = Instant::now();
        wire.must(code::SEND, &support::wire::borrowed(&fields), b"wake up");
        for _ in 0..10 {
            let (of_queue, arrived) = arrivals.recv_timeout(LIMIT).expect("a pull is not woken");
            assert_eq!(of_queue, queue, "another queue's pull is woken");
            latency.add(arrived - sent);
        }
    }
    latency
}

/// Messages of one delay level: how late they are, at idle and with many that wait.
fn delayed(site: &Site) {
    let level_1 = Properties { delay_level: 1, ..Properties::default() };
    let far = Properties { delay_level: 18, ..Properties::default() };
    let waiting = site.target("Waiting", QUEUES);
    for (name, backlog) in [("at idle", 0), ("with a million that wait", 1_000_000)] {
        if backlog > 0 {
            site.send(&waiting, backlog, 32, far.clone());
        }
        let target = site.target(if backlog > 0 { "DelayedBusy" } else { "Delayed" }, QUEUES);
        let late = lateness(site, &target, 20, 1000, level_1.clone());
        println!("delayed {name}: at most {late} ms late");
    }
    let level_3 = Properties { delay_level: 3, ..Properties::default() };
    for (name, topic, delay_ms, properties) in [
        ("a million, delivered while others are sent", "DelayedMany", 1000, level_1),
        ("a million, delivered when all are sent", "DelayedLater", 10_000, level_3),
    ] {
        let target = site.target(topic, QUEUES);
        let began = Instant::now();
        let before = site.cost();
        let late = lateness(site, &target, 1_000_000, delay_ms, properties);
        let cpu = cost::cpu_us_per_message(before, site.cost(), 1_000_000);
        println!(
            "delayed, {name}: at most {late} ms late, {:.1} s in all, {cpu:.2} µs each",
            began.elapsed().as_secs_f64()
        );
    }
}

/// Sends so many delayed messages and reads them; by how much the latest came too late, ms.
fn lateness(
    site: &Site,
    target: &Target,
    messages: u64,
    delay_ms: i64,
    properties: Properties,
) -> i64 {
    let reading = Reading {
        group: "delayed".to_owned(),
        connections: QUEUES as usize,
        batch: 32,
        expression_type: "TAG".to_owned(),
        expression: "*".to_owned(),
        from: From::Beginning,
        messages,
        idle_limit: Duration::from_secs(20),
    };
    let tally = consume::Tally::default();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| consume::run(target, &reading, &tally, false));
        site.send(target, messages, 32, properties);
        if reader.join().is_err() || tally.received.load(Relaxed) < messages {
            give_up("delayed messages are missing");
        }
    });
    // From birth to the reader, so sending and pulling are in it, too.
    tally.born_max_ms.load(Relaxed) - delay_ms
}

/// A million timed messages that wait: memory, and how late one is meanwhile.
fn timed(site: &Site) {
    const MESSAGES: u64 = 1_000_000;
    let target = site.target("Timed", QUEUES);
    let soon = Properties { timed_ms: 1000, ..Properties::default() };
    let late = lateness(site, &target, 20, 1000, soon.clone());
    println!("timed, at idle: at most {late} ms late");
    let before = site.cost();
    let far = Properties { timed_ms: 3_600_000, ..Properties::default() };
    let (outcome, _) = site.send(&site.target("TimedFar", QUEUES), MESSAGES, 32, far);
    let behind = || {
        let reply = site.server.wire().call(code::RUNTIME_INFO, &[], b"");
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        let at = body.find("\"timerOffsetBehind\":\"").map(|at| at + 21);
        at.and_then(|at| body[at..].split('"').next()?.parse::<i64>().ok()).unwrap_or(0)
    };
    support::until("all are in the wheel", LIMIT, || (behind() == 0).then_some(()));
    let after = site.cost();
    println!(
        "timed, a million that wait: {:.0}/s, {} KiB of memory, {:.2} µs each",
        outcome.per_second(),
        after.anonymous_kib.saturating_sub(before.anonymous_kib),
        cost::cpu_us_per_message(before, after, MESSAGES)
    );
    let target = site.target("TimedBusy", QUEUES);
    let late = lateness(site, &target, 20, 1000, soon);
    println!("timed, with a million that wait: at most {late} ms late");
}
