//! A master and a slave, the official Java ones and ours, in turn on this machine: what double write
//! costs, how far a slave is behind, how fast an empty one fills.
//!
//! ```text
//! cargo bench --bench ha                 everything, the median of three rounds
//! cargo bench --bench ha -- --rounds 1   quicker
//! cargo bench --bench ha -- --only ours  without the Java brokers (or `--only java`)
//! cargo bench --bench ha -- --part lag   no more of it than this needs (or `--part sustained`)
//! ```
//!
//! All brokers have their default configuration but for ports, folders and roles, and that they do not
//! refuse what waited long. A figure says something only beside the other one of its row: both halves and the load share the machine.

mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use load::consume::{self, From, Reading, now_us};
use load::histogram::Histogram;
use load::paced::{self, Pace};
use load::produce::{self, Load, Outcome, Properties};
use load::table::{Better, MICROSECONDS, PROCESSOR, RATE, Table, Unit};
use load::target::Target;
use load::{arguments, cost, give_up, parsed, tap};
use rocketmq::common::command_line::{Arguments, OptionSpec};
use support::java_peer::Servers;
use support::pair::{Half, log_range, wait_until_equal};
use support::servers::{self, Server};
use support::{TempDir, until};

const TOPIC: &str = "Pair";
const QUEUES: i32 = 8;
const BODY: usize = 1024;
const WARM_UP: u64 = 200_000;
const JAVA_HEAP: &str = "-Xms512m -Xmx1g -XX:+UseG1GC -XX:MaxDirectMemorySize=1g";
/// A piece of work ends after so long, whatever it has done.
const LIMIT: Duration = Duration::from_secs(15);
/// How long is sent for the rates that last: long enough that nothing is left to be done later.
const SUSTAINED: Duration = Duration::from_secs(10);
/// How long the lag is looked at.
const LAG_SECONDS: u64 = 5;
/// Messages a second that are read at the slave.
const READ_PACE: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(120);

const SHARE: Unit = Unit { name: "%", better: Better::More, digits: 0 };
const BYTES: Unit = Unit { name: "MB/s", better: Better::More, digits: 0 };
const SECONDS: Unit = Unit { name: "s", better: Better::Less, digits: 1 };

const OPTIONS: [OptionSpec; 4] = [
    OptionSpec { short: 'h', long: "help", value: None, what: "Print help" },
    OptionSpec { short: 'r', long: "rounds", value: Some("arg"), what: "Rounds, Default: 3" },
    OptionSpec { short: 'o', long: "only", value: Some("java|ours"), what: "One of the two" },
    OptionSpec {
        short: 'p',
        long: "part",
        value: Some("lag|sustained"),
        what: "Only how far a slave is behind, or rates that last",
    },
];

fn main() {
    let given = Arguments::parse(&OPTIONS, arguments()).unwrap_or_else(|why| give_up(&why));
    if given.has("help") {
        print!("{}", rocketmq::common::command_line::usage("cargo bench --bench ha", &OPTIONS));
        return;
    }
    let rounds: usize = parsed("rounds", given.value("rounds"), 3);
    let only = given.value("only").map(str::trim);
    if only.is_some_and(|only| !["java", "ours"].contains(&only)) {
        give_up("--only takes java or ours");
    }
    let figures: fn(&Servers) -> Result<Vec<Row>, String> = match given.value("part") {
        None => figures,
        Some(part) if part.trim() == "lag" => lag_alone,
        Some(part) if part.trim() == "sustained" => |make| Ok(sustained(make)?.rows),
        Some(_) => give_up("--part takes lag or sustained"),
    };
    let table = measure(rounds, only, figures).unwrap_or_else(|why| give_up(&why));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "`cargo bench --bench ha -- --rounds {rounds}`, {cores} cores, bodies of {BODY} bytes\n"
    );
    print!("{}", table.markdown());
}

fn measure(
    rounds: usize,
    only: Option<&str>,
    figures: impl Fn(&Servers) -> Result<Vec<Row>, String>,
) -> Result<Table, String> {
    let mut table = Table::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let java = match only {
            Some("ours") => None,
            _ => Some(figures(&Servers::java("4.9.7")?)?),
        };
        let ours = if only == Some("java") { None } else { Some(figures(&Servers::Ours)?) };
        let figure = |rows: &Option<Vec<Row>>, at: usize| {
            rows.as_ref().map_or(f64::NAN, |rows| rows[at].figure)
        };
        for (at, row) in java.iter().chain(&ours).next().into_iter().flatten().enumerate() {
            table.add(&row.name, row.unit, [figure(&java, at), figure(&ours, at)]);
        }
    }
    Ok(table)
}

struct Row {
    name: String,
    unit: Unit,
    figure: f64,
}

/// All that is measured of one maker's pairs.
fn figures(make: &Servers) -> Result<Vec<Row>, String> {
    let lasting = sustained(make)?;
    let mut rows = Vec::new();
    let mut row = |name: &str, unit: Unit, figure: f64| {
        rows.push(Row { name: name.to_owned(), unit, figure });
    };
    let pairs = [Pair::start(make, "ASYNC_MASTER"), Pair::start(make, "SYNC_MASTER")];
    for pair in &pairs {
        pair.send(8, 32, WARM_UP)?;
    }
    for (connections, window, messages) in [(64, 1, 200_000), (4, 64, 400_000)] {
        let mut rates = Vec::new();
        for (pair, name) in pairs.iter().zip(["asynchronous", "synchronous double write"]) {
            settle(&pairs);
            let before = pair.costs();
            let outcome = pair.send(connections, window, messages)?;
            let cpu: f64 = before
                .iter()
                .zip(pair.costs())
                .map(|(before, after)| cost::cpu_us_per_message(*before, after, messages))
                .sum();
            row(&format!("{name}, {connections} × {window}: messages"), RATE, outcome.per_second());
            let both =
                format!("{name}, {connections} × {window}: processor a message, both brokers");
            row(&both, PROCESSOR, cpu);
            let p99 = outcome.latency.quantile_us(0.99) as f64;
            row(&format!("{name}, {connections} × {window}: p99"), MICROSECONDS, p99);
            rates.push(outcome.per_second());
        }
        let share = 100.0 * rates[1] / rates[0];
        row(&format!("double write of asynchronous, {connections} × {window}"), SHARE, share);
    }
    let fastest = lasting.fastest;
    lasting.rows.into_iter().for_each(|last| row(&last.name, last.unit, last.figure));
    let mut p50s = Vec::new();
    for (pair, name) in pairs.iter().zip(["asynchronous", "synchronous double write"]) {
        settle(&pairs);
        let p50 = pair.send(1, 1, 30_000)?.latency.quantile_us(0.5) as f64;
        row(&format!("{name}, 1 × 1: p50"), MICROSECONDS, p50);
        p50s.push(p50);
    }
    row("added by double write, 1 × 1: p50", MICROSECONDS, p50s[1] - p50s[0]);

    let [pair, synchronous] = pairs;
    drop(synchronous);
    let read = pair.read_at_the_slave()?;
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let name = format!("read at the slave, {READ_PACE}/s: {what} from the send");
        row(&name, MICROSECONDS, read.quantile_us(share) as f64);
    }
    let lonely = pair.without_slave();
    rows.extend(lonely.lag_at_half(fastest)?);
    let mut row = |name: &str, unit: Unit, figure: f64| {
        rows.push(Row { name: name.to_owned(), unit, figure });
    };
    let (rate, took) = lonely.catch_up()?;
    row("an empty slave fills", BYTES, rate / 1e6);
    row("an empty slave is there, after its start", SECONDS, took.as_secs_f64());
    Ok(rows)
}

/// Rates that last.
struct Sustained {
    rows: Vec<Row>,
    /// Messages a second, asynchronous, with the most in flight.
    fastest: f64,
}

/// Sends for so long that what is left to be done later has to be done, too.
fn sustained(make: &Servers) -> Result<Sustained, String> {
    let pairs = [Pair::start(make, "ASYNC_MASTER"), Pair::start(make, "SYNC_MASTER")];
    for pair in &pairs {
        pair.send(8, 32, WARM_UP)?;
    }
    let seconds = SUSTAINED.as_secs();
    let (mut rows, mut fastest) = (Vec::new(), 0.0);
    for (connections, window) in [(64, 1), (4, 64)] {
        let mut rates = Vec::new();
        for (pair, name) in pairs.iter().zip(["asynchronous", "synchronous double write"]) {
            settle(&pairs);
            let rate = pair.send_for(SUSTAINED, connections, window)?.per_second();
            let name = format!("{name}, {connections} × {window}, {seconds} s: messages");
            rows.push(Row { name, unit: RATE, figure: rate });
            rates.push(rate);
        }
        rows.push(Row {
            name: format!("double write of asynchronous, {connections} × {window}, {seconds} s"),
            unit: SHARE,
            figure: 100.0 * rates[1] / rates[0],
        });
        fastest = rates[0];
    }
    Ok(Sustained { rows, fastest })
}

/// Waits until all brokers have done what the work before left to be done later.
fn settle(pairs: &[Pair]) {
    cost::settle(pairs.iter().flat_map(Pair::pids));
}

/// How far a slave is behind, at half of the rate that lasts, and nothing else.
fn lag_alone(make: &Servers) -> Result<Vec<Row>, String> {
    let pair = Pair::start(make, "ASYNC_MASTER");
    pair.send(8, 32, WARM_UP)?;
    let rate = pair.send_for(SUSTAINED, 4, 64)?.per_second();
    pair.without_slave().lag_at_half(rate)
}

/// A name server, a master and perhaps a slave.
struct Pair {
    make: Servers,
    target: Target,
    master: Server,
    slave: Option<Server>,
    ha_addr: String,
    namesrv: Server,
    dir: TempDir,
}

impl Pair {
    fn start(make: &Servers, role: &str) -> Self {
        let dir = TempDir::new("bench-ha");
        let namesrv = servers::namesrv(dir.path());
        let half = Half::new(make, dir.join("master")).with_java_heap(JAVA_HEAP);
        let master = half.master(role, Some(&namesrv.addr()), &KEYS);
        servers::wait_for_broker(&namesrv.addr(), &master.addr());
        master.wire().create_topic(TOPIC, QUEUES);
        let target = Target { broker: master.addr(), topic: TOPIC.to_owned(), queues: QUEUES };
        let mut pair = Self {
            make: make.clone(),
            target,
            slave: None,
            ha_addr: half.ha_addr(),
            master,
            namesrv,
            dir,
        };
        pair.slave = Some(pair.add_slave("slave"));
        wait_until_sends_succeed(&pair.target);
        pair
    }

    fn add_slave(&self, name: &str) -> Server {
        let half = Half::new(&self.make, self.dir.join(name)).with_java_heap(JAVA_HEAP);
        half.slave(Some(&self.namesrv.addr()), &KEYS)
    }

    /// What each of the two has taken from the machine.
    fn costs(&self) -> Vec<cost::Cost> {
        self.pids().into_iter().filter_map(cost::of).collect()
    }

    fn pids(&self) -> Vec<u32> {
        let both = [Some(&self.master), self.slave.as_ref()];
        both.into_iter().flatten().map(|server| server.process.pid()).collect()
    }

    fn without_slave(mut self) -> Self {
        self.slave = None;
        self
    }

    /// Sends, and waits until the slave has it, so that nothing is left for what follows.
    fn send(&self, connections: usize, window: usize, messages: u64) -> Result<Outcome, String> {
        self.send_load(connections, window, messages, LIMIT)
    }

    /// The same for so long.
    fn send_for(
        &self,
        limit: Duration,
        connections: usize,
        window: usize,
    ) -> Result<Outcome, String> {
        self.send_load(connections, window, 0, limit)
    }

    fn send_load(
        &self,
        connections: usize,
        window: usize,
        messages: u64,
        limit: Duration,
    ) -> Result<Outcome, String> {
        let properties = Properties::default();
        let load = Load { connections, window, body_bytes: BODY, messages, limit, properties };
        let outcome = produce::run(&self.target, &load, &produce::Tally::default());
        if outcome.failed > 0 {
            return Err(format!("{} sends to {} failed", outcome.failed, self.target.broker));
        }
        if let Some(slave) = &self.slave {
            wait_until_equal(&self.master, slave, PATIENCE);
        }
        Ok(outcome)
    }

    /// A consumer that waits at the slave for what is sent to the master.
    fn read_at_the_slave(&self) -> Result<Histogram, String> {
        const TOPIC: &str = "Read";
        let slave = self.slave.as_ref().ok_or("there is no slave")?;
        self.master.wire().create_topic(TOPIC, 1);
        let mut wire = slave.wire();
        until("the slave knows the topic", PATIENCE, || {
            (wire.pull(TOPIC, 0, 0).code() != support::pair::TOPIC_NOT_EXIST).then_some(())
        });
        let at =
            |server: &Server| Target { broker: server.addr(), topic: TOPIC.to_owned(), queues: 1 };
        let total = READ_PACE * LAG_SECONDS;
        let reading = Reading {
            group: "bench".to_owned(),
            connections: 1,
            batch: 32,
            expression_type: "TAG".to_owned(),
            expression: "*".to_owned(),
            from: From::End,
            messages: total,
            idle_limit: Duration::from_secs(20),
        };
        let (from, to) = (at(&self.master), at(slave));
        let tally = consume::Tally::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| consume::run(&to, &reading, &tally, true));
            until("the reader waits", PATIENCE, || {
                (tally.started.load(Relaxed) == 1).then_some(())
            });
            let pace = Pace { per_second: READ_PACE, total, connections: 1, body_bytes: BODY };
            paced::send(&from, pace, &|_| ()).map_err(|e| format!("{}: {e}", from.broker))?;
            let latency = reader.join().unwrap_or_default();
            let came = latency.len();
            if came < total {
                return Err(format!("{came} of {total} messages came from {}", to.broker));
            }
            Ok(latency)
        })
    }

    /// [How far](Self::lag) a slave is behind at half of the rate `fastest`.
    fn lag_at_half(&self, fastest: f64) -> Result<Vec<Row>, String> {
        let [since_send, since_answer] = self.lag((fastest / 2.0) as u64)?;
        let mut rows = Vec::new();
        for (from, histogram) in [("answer", since_answer), ("send", since_send)] {
            for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
                rows.push(Row {
                    name: format!("lag at half of the lasting rate: {what} from the {from}"),
                    unit: MICROSECONDS,
                    figure: histogram.quantile_us(share) as f64,
                });
            }
        }
        Ok(rows)
    }

    /// How long after their sending, and after their answer, messages arrive at a slave that does
    /// nothing but look, at `per_second` messages.
    fn lag(&self, per_second: u64) -> Result<[Histogram; 2], String> {
        let total = per_second * LAG_SECONDS;
        let times = || -> Vec<AtomicU64> { (0..total).map(|_| AtomicU64::new(0)).collect() };
        let (sent, answered, arrived) = (times(), times(), times());
        let over = AtomicBool::new(false);
        let (_, end) = log_range(&mut self.master.wire()).ok_or("no runtime info")?;
        let outcome = std::thread::scope(|scope| {
            let tap = scope.spawn(|| {
                tap::follow(&self.ha_addr, end, &over, &|number, sent_us, now| {
                    let at = number as usize;
                    if let (Some(sent), Some(arrived)) = (sent.get(at), arrived.get(at)) {
                        sent.store(sent_us, Relaxed);
                        arrived.store(now, Relaxed);
                    }
                })
            });
            std::thread::sleep(Duration::from_millis(300));
            let pace = Pace { per_second, total, connections: 4, body_bytes: BODY };
            let paced = paced::send(&self.target, pace, &|number| {
                if let Some(time) = answered.get(number as usize) {
                    time.store(now_us(), Relaxed);
                }
            });
            let all = || arrived.iter().all(|time| time.load(Relaxed) > 0);
            let deadline = Instant::now() + PATIENCE;
            while paced.is_ok() && !all() && Instant::now() < deadline && !tap.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
            }
            over.store(true, Relaxed);
            let tapped = tap.join().unwrap_or(Ok(()));
            paced.and(tapped).map_err(|e| format!("lag of {}: {e}", self.target.broker))
        });
        outcome?;
        let mut histograms = [Histogram::default(), Histogram::default()];
        for number in 0..total as usize {
            let came = arrived[number].load(Relaxed);
            if came == 0 {
                return Err(format!("message {number} of {total} did not come to the tap"));
            }
            for (histogram, from) in histograms.iter_mut().zip([&sent, &answered]) {
                let from = from[number].load(Relaxed);
                histogram.add(Duration::from_micros(came.saturating_sub(from)));
            }
        }
        Ok(histograms)
    }

    /// Bytes a second from the first byte to the last, and the time from the start of an empty
    /// slave until it has all: the master's last file, which is at least half full.
    fn catch_up(&self) -> Result<(f64, Duration), String> {
        while log_range(&mut self.master.wire()).ok_or("no runtime info")?.1 % FILE < FILE / 2 {
            self.send(8, 32, WARM_UP)?;
        }
        let begin = Instant::now();
        let slave = self.add_slave("empty");
        let mut wire = slave.wire();
        let (_, end) = log_range(&mut self.master.wire()).ok_or("no runtime info")?;
        let mut first: Option<(Instant, i64)> = None;
        loop {
            if let Some((from, at)) = log_range(&mut wire) {
                if at > from && first.is_none() {
                    first = Some((Instant::now(), at));
                }
                if at >= end {
                    break;
                }
            }
            if begin.elapsed() > PATIENCE {
                return Err("the empty slave did not fill".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let (since, at) = first.ok_or("the slave was full before anybody looked")?;
        Ok(((end - at) as f64 / since.elapsed().as_secs_f64(), begin.elapsed()))
    }
}

/// Bytes of a commit-log file.
const FILE: i64 = 1 << 30;
/// Keys of both halves.
const KEYS: [(&str, &str); 2] = [
    ("mappedFileSizeCommitLog", "1073741824"),
    // A send that is late on a busy machine is no refusal.
    ("brokerFastFailureEnable", "false"),
];

fn wait_until_sends_succeed(target: &Target) {
    use support::wire::{Wire, borrowed, code, send_fields};
    let mut wire = Wire::connect(&target.broker);
    until("a send succeeds", PATIENCE, || {
        let fields = send_fields(TOPIC, 0, "probe");
        (wire.call(code::SEND, &borrowed(&fields), b"probe").code() == 0).then_some(())
    });
}
