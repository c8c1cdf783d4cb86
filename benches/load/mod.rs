//! What the load programs share: pipelined requests over raw connections ([`produce`], [`consume`]),
//! so that the client's own cost is small and the same for every broker; latencies ([`histogram`]);
//! what the broker's process cost ([`cost`]); a slave that only looks ([`tap`]).
// Each load program compiles this folder and uses its own part of it.
#![allow(dead_code)]

pub mod consume;
pub mod cost;
pub mod histogram;
pub mod paced;
pub mod produce;
pub mod table;
pub mod tap;
pub mod target;

use std::time::{Duration, Instant};

use rocketmq::common::command_line::{Arguments, OptionSpec, usage};

/// Snapshots that a report looks back over, one a second.
pub const SNAPSHOTS: usize = 10;

/// Calls `snapshot` every second and `report` every ten, with the oldest and the newest of the last
/// ten snapshots, until `over` says so.
pub fn every_second<T>(
    over: impl Fn() -> bool,
    mut snapshot: impl FnMut() -> T,
    mut report: impl FnMut(&T, &T),
) {
    let mut recent = std::collections::VecDeque::new();
    let begin = Instant::now();
    for second in 1_u32.. {
        let next = begin + Duration::from_secs(1) * second;
        while Instant::now() < next {
            if over() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20).min(next - Instant::now().min(next)));
        }
        recent.push_back(snapshot());
        if recent.len() > SNAPSHOTS {
            recent.pop_front();
        }
        if second.is_multiple_of(SNAPSHOTS as u32)
            && let (Some(first), Some(last)) = (recent.front(), recent.back())
        {
            report(first, last);
        }
    }
}

/// An option that takes a value.
pub const fn option(short: char, long: &'static str, what: &'static str) -> OptionSpec {
    OptionSpec { short, long, value: Some("arg"), what }
}

/// The first options of every load program: help, name servers, topic, the broker's process.
pub const COMMON: [OptionSpec; 4] = [
    OptionSpec { short: 'h', long: "help", value: None, what: "Print help" },
    option('n', "namesrvAddr", "Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'"),
    option('t', "topic", "Topic name, Default: BenchmarkTest; without -n OwnBenchmark"),
    option('P', "pid", "The broker's process id: its cost is told, too"),
];

/// Parses the arguments of a load program by its own options and the common ones; prints the help if
/// that is asked for, and `None`.
pub fn given(program: &str, own: &[OptionSpec]) -> Option<Arguments> {
    let options: Vec<OptionSpec> = COMMON.iter().chain(own).copied().collect();
    let given = Arguments::parse(&options, arguments()).unwrap_or_else(|why| give_up(&why));
    if given.has("help") {
        print!("{}", usage(&format!("cargo bench --bench {program} -- [options]"), &options));
        return None;
    }
    Some(given)
}

/// Arguments after the program's name, without the words that cargo adds.
pub fn arguments() -> impl Iterator<Item = std::ffi::OsString> {
    std::env::args_os().skip(1).filter(|word| word != "--bench")
}

/// Prints a sentence and ends with status 1.
pub fn give_up(sentence: &str) -> ! {
    eprintln!("{sentence}");
    std::process::exit(1);
}

/// The value of an option as a number or so; its default when it was not given.
pub fn parsed<T: std::str::FromStr>(name: &str, value: Option<&str>, default: T) -> T {
    match value {
        None => default,
        Some(text) => text
            .trim()
            .parse()
            .unwrap_or_else(|_| give_up(&format!("--{name} {text}: not what it takes"))),
    }
}

/// The topic to use. Java's default is a system topic that every broker has (with 1024 queues) and
/// nobody can create; on a broker of our own it is one that we make.
pub fn topic(given: Option<&str>, name_servers: Option<&str>) -> String {
    let default = if name_servers.is_some() { "BenchmarkTest" } else { "OwnBenchmark" };
    given.map_or(default, str::trim).to_owned()
}
