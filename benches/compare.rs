//! Runs the same work against the official Java broker and against ours, in turn on this machine,
//! and prints the figures and their ratios as a markdown table.
//!
//! ```text
//! cargo bench --bench compare                 everything, the median of three rounds
//! cargo bench --bench compare -- --rounds 1   quicker
//! ```
//!
//! Both brokers run all the time, one of them idle; each piece of work is done with one and then
//! with the other before the next, and not before both have done what the work before left to be done
//! later. Both have their default configuration but for ports and folders.
//! The Java broker is warmed up with 300,000 messages. A figure says something only beside the
//! other one of its row.

mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use load::consume::{self, From, Reading};
use load::histogram::Histogram;
use load::paced::{self, Pace};
use load::produce::{self, Load, Outcome, Properties};
use load::table::{MEMORY, MICROSECONDS, MILLISECONDS, PROCESSOR, RATE, Table};
use load::target::Target;
use load::{arguments, cost, give_up, parsed};
use rocketmq::common::command_line::{Arguments, OptionSpec};
use support::java_peer::Servers;
use support::servers::Server;
use support::{TempDir, free_port};

const TOPIC: &str = "Compare";
const QUEUES: i32 = 8;
const BODY: usize = 1024;
const WARM_UP: u64 = 300_000;
const JAVA_HEAP: &str = "-Xms1g -Xmx2g -XX:+UseG1GC -XX:MaxDirectMemorySize=1g";
/// A piece of work ends after so long, whatever it has done.
const LIMIT: Duration = Duration::from_secs(15);
/// How long is sent for the rates that last.
const LASTING: Duration = Duration::from_secs(10);
/// End-to-end: messages a second, and for how long.
const PACE: u64 = 10_000;
const PACED_SECONDS: u64 = 10;

const OPTIONS: [OptionSpec; 2] = [
    OptionSpec { short: 'h', long: "help", value: None, what: "Print help" },
    OptionSpec { short: 'r', long: "rounds", value: Some("arg"), what: "Rounds, Default: 3" },
];

fn main() {
    let given = Arguments::parse(&OPTIONS, arguments()).unwrap_or_else(|why| give_up(&why));
    if given.has("help") {
        print!(
            "{}",
            rocketmq::common::command_line::usage("cargo bench --bench compare", &OPTIONS)
        );
        return;
    }
    let rounds: usize = parsed("rounds", given.value("rounds"), 3);
    // The brokers end with `compare`, before the program does.
    let table = compare(rounds).unwrap_or_else(|why| give_up(&why));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "`cargo bench --bench compare -- --rounds {rounds}`, {cores} cores, bodies of {BODY} bytes\n"
    );
    print!("{}", table.markdown());
}

fn compare(rounds: usize) -> Result<Table, String> {
    let makes = [Servers::java("4.9.7")?, Servers::Ours];
    let mut table = Table::default();
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let sides = makes.each_ref().map(|make| Side::start(make, flush));
        let async_flush = flush == "ASYNC_FLUSH";
        if async_flush {
            let started = sides.each_ref().map(|side| side.started.as_secs_f64() * 1e3);
            table.add("start to ready", MILLISECONDS, started);
            table.add("memory of its own after the start", MEMORY, both(&sides, Side::memory)?);
        }
        both(&sides, |side| side.send(8, 32, if async_flush { WARM_UP } else { 20_000 }))?;
        for round in 0..rounds {
            eprintln!("{flush}, round {} of {rounds}", round + 1);
            sending(&mut table, &sides, flush)?;
            if async_flush {
                special_sends(&mut table, &sides)?;
                reading(&mut table, &sides)?;
                end_to_end(&mut table, &sides)?;
                lasting(&mut table, &sides)?;
            }
        }
        if async_flush {
            table.add("memory of its own after all that", MEMORY, both(&sides, Side::memory)?);
        }
    }
    Ok(table)
}

/// Does the same with one broker and then with the other, when both have nothing else to do.
fn both<T>(sides: &[Side; 2], work: impl Fn(&Side) -> Result<T, String>) -> Result<[T; 2], String> {
    let settle = || cost::settle(sides.iter().map(|side| side.server.process.pid()));
    let [java, ours] = sides;
    settle();
    let java = work(java)?;
    settle();
    Ok([java, work(ours)?])
}

/// A broker under comparison.
struct Side {
    server: Server,
    target: Target,
    started: Duration,
    _dir: TempDir,
}

impl Side {
    fn start(make: &Servers, flush: &str) -> Self {
        let dir = TempDir::new("compare");
        let settings = [("flushDiskType", flush), ("mappedFileSizeCommitLog", "1073741824")];
        let begin = Instant::now();
        let server = make.broker_with(dir.path(), free_port(), None, JAVA_HEAP, &settings);
        // Ready is who answers, not who listens.
        server.wire().create_topic(TOPIC, QUEUES);
        let started = begin.elapsed();
        let target = Target { broker: server.addr(), topic: TOPIC.to_owned(), queues: QUEUES };
        Self { server, target, started, _dir: dir }
    }

    fn cost(&self) -> Result<cost::Cost, String> {
        let ended = || format!("the broker at {} ended", self.target.broker);
        cost::of(self.server.process.pid()).ok_or_else(ended)
    }

    fn memory(&self) -> Result<f64, String> {
        Ok(self.cost()?.anonymous_kib as f64 / 1024.0)
    }

    /// Processor time for each of `messages` since `before`, µs.
    fn cpu_since(&self, before: cost::Cost, messages: u64) -> Result<f64, String> {
        Ok(cost::cpu_us_per_message(before, self.cost()?, messages))
    }

    fn send(
        &self,
        connections: usize,
        window: usize,
        messages: u64,
    ) -> Result<(Outcome, f64), String> {
        self.send_with(connections, window, messages, Properties::default())
    }

    /// The same, with what the properties ask for.
    fn send_with(
        &self,
        connections: usize,
        window: usize,
        messages: u64,
        properties: Properties,
    ) -> Result<(Outcome, f64), String> {
        self.send_load(Load {
            connections,
            window,
            body_bytes: BODY,
            messages,
            limit: LIMIT,
            properties,
        })
    }

    fn send_load(&self, load: Load) -> Result<(Outcome, f64), String> {
        let before = self.cost()?;
        let outcome = produce::run(&self.target, &load, &produce::Tally::default());
        if outcome.failed > 0 {
            return Err(format!("{} sends to {} failed", outcome.failed, self.target.broker));
        }
        let cpu = self.cpu_since(before, outcome.latency.len())?;
        Ok((outcome, cpu))
    }
}

/// Messages of 1 KiB over 64 connections with one in flight, over 4 with 64, and over one with one.
fn sending(table: &mut Table, sides: &[Side; 2], flush: &str) -> Result<(), String> {
    let work: &[(usize, usize, u64)] = match flush {
        "ASYNC_FLUSH" => &[(64, 1, 300_000), (4, 64, 600_000), (1, 1, 30_000)],
        _ => &[(64, 1, 60_000), (4, 64, 100_000)],
    };
    for &(connections, window, messages) in work {
        let name = format!("{flush}, {connections} × {window}");
        let outcomes = both(sides, |side| side.send(connections, window, messages))?;
        let figure = |read: fn(&(Outcome, f64)) -> f64| outcomes.each_ref().map(read);
        table.add(&format!("{name}: messages"), RATE, figure(|o| o.0.per_second()));
        let p50 = figure(|o| o.0.latency.quantile_us(0.5) as f64);
        table.add(&format!("{name}: p50"), MICROSECONDS, p50);
        let p99 = figure(|o| o.0.latency.quantile_us(0.99) as f64);
        table.add(&format!("{name}: p99"), MICROSECONDS, p99);
        table.add(&format!("{name}: processor a message"), PROCESSOR, figure(|o| o.1));
    }
    Ok(())
}

/// The same for so long that nothing is left to be done later.
fn lasting(table: &mut Table, sides: &[Side; 2]) -> Result<(), String> {
    for (connections, window) in [(64, 1), (4, 64)] {
        let outcomes = both(sides, |side| {
            side.send_load(Load {
                connections,
                window,
                body_bytes: BODY,
                messages: 0,
                limit: LASTING,
                properties: Properties::default(),
            })
        })?;
        let name = format!("ASYNC_FLUSH, {connections} × {window}, {} s", LASTING.as_secs());
        let rates = outcomes.each_ref().map(|o| o.0.per_second());
        table.add(&format!("{name}: messages"), RATE, rates);
        table.add(&format!("{name}: processor a message"), PROCESSOR, outcomes.map(|o| o.1));
    }
    Ok(())
}

/// Sends that ask for more than to be stored: with one of three tags, delayed by two hours, and half
/// messages each of which is committed.
fn special_sends(table: &mut Table, sides: &[Side; 2]) -> Result<(), String> {
    for (name, properties) in [
        ("tagged", Properties { tags: 3, ..Properties::default() }),
        ("delayed", Properties { delay_level: 18, ..Properties::default() }),
        ("transactional", Properties { transaction: true, ..Properties::default() }),
    ] {
        let outcomes = both(sides, |side| side.send_with(8, 8, 100_000, properties.clone()))?;
        let name = format!("{name} sends, 8 × 8");
        table.add(&format!("{name}: messages"), RATE, [0, 1].map(|i| outcomes[i].0.per_second()));
        table.add(
            &format!("{name}: processor a message"),
            PROCESSOR,
            [0, 1].map(|i| outcomes[i].1),
        );
    }
    Ok(())
}

/// Everything that is stored, 32 messages a pull, a connection for each of 8 queues.
fn reading(table: &mut Table, sides: &[Side; 2]) -> Result<(), String> {
    let outcomes = both(sides, |side| {
        let reading = Reading {
            group: "compare".to_owned(),
            connections: QUEUES as usize,
            batch: 32,
            expression_type: "TAG".to_owned(),
            expression: "*".to_owned(),
            from: From::Beginning,
            messages: 900_000,
            idle_limit: Duration::from_secs(2),
        };
        let (tally, before, begin) = (consume::Tally::default(), side.cost()?, Instant::now());
        consume::run(&side.target, &reading, &tally, false);
        let (took, received) = (begin.elapsed().as_secs_f64(), tally.received.load(Relaxed));
        if tally.failed.load(Relaxed) > 0 || received < reading.messages {
            return Err(format!("only {received} messages came from {}", side.target.broker));
        }
        Ok((received as f64 / took, side.cpu_since(before, received)?))
    })?;
    let name = "pull 32, 8 queues";
    table.add(&format!("{name}: messages"), RATE, outcomes.map(|o| o.0));
    table.add(&format!("{name}: processor a message"), PROCESSOR, outcomes.map(|o| o.1));
    Ok(())
}

/// A paced sender and a waiting consumer: from just before a send to the arrival.
fn end_to_end(table: &mut Table, sides: &[Side; 2]) -> Result<(), String> {
    let outcomes = both(sides, |side| {
        let before = side.cost()?;
        let latency = paced(side)?;
        let cpu = side.cpu_since(before, latency.len())?;
        Ok((latency, cpu))
    })?;
    let name = format!("end to end at {PACE}/s");
    for (what, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let figures = outcomes.each_ref().map(|o| o.0.quantile_us(share) as f64);
        table.add(&format!("{name}: {what}"), MICROSECONDS, figures);
    }
    table.add(&format!("{name}: processor a message"), PROCESSOR, outcomes.map(|o| o.1));
    Ok(())
}

fn paced(side: &Side) -> Result<Histogram, String> {
    const TOPIC: &str = "Paced";
    side.server.wire().create_topic(TOPIC, 1);
    let target = Target { broker: side.target.broker.clone(), topic: TOPIC.to_owned(), queues: 1 };
    let total = PACE * PACED_SECONDS;
    let reading = Reading {
        group: "paced".to_owned(),
        connections: 1,
        batch: 32,
        expression_type: "TAG".to_owned(),
        expression: "*".to_owned(),
        from: From::End,
        messages: total,
        idle_limit: Duration::from_secs(5),
    };
    let tally = consume::Tally::default();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| consume::run(&target, &reading, &tally, true));
        support::until("the reader waits", Duration::from_secs(10), || {
            (tally.started.load(Relaxed) == 1).then_some(())
        });
        let pace = Pace { per_second: PACE, total, connections: 1, body_bytes: BODY };
        let sent = paced::send(&target, pace, &|_| ());
        let sent = sent.map_err(|e| format!("{}: {e}", target.broker));
        let latency = reader.join().unwrap_or_default();
        sent?;
        if latency.len() < total {
            let came = latency.len();
            return Err(format!("{came} of {total} messages came from {}", target.broker));
        }
        Ok(latency)
    })
}
