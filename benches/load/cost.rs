//! What a process took from the machine, as the kernel tells it.

use std::time::{Duration, Instant};

/// Processes that take less than a tenth of a processor for so long have settled.
const SETTLE_STEP: Duration = Duration::from_millis(500);
/// They are measured all the same after so long.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// Processor time and memory of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Processor time, all threads, user and system. The kernel counts in steps of 10 ms.
    pub cpu: Duration,
    /// Memory of its own, not the page cache's, KiB.
    pub anonymous_kib: u64,
}

/// What process `pid` took so far; `None` when there is no such process.
pub fn of(pid: u32) -> Option<Cost> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; fields are counted after it.
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon"))?;
    let anonymous_kib = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Cost { cpu: Duration::from_millis(ticks * 10), anonymous_kib })
}

/// Waits until processes have done what the work before left to be done later: the one that is measured next
/// has the machine for itself.
pub fn settle(pids: impl IntoIterator<Item = u32>) {
    let pids: Vec<u32> = pids.into_iter().collect();
    let taken =
        || -> Duration { pids.iter().filter_map(|pid| of(*pid)).map(|cost| cost.cpu).sum() };
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut before = taken();
    while Instant::now() < deadline {
        std::thread::sleep(SETTLE_STEP);
        let now = taken();
        if now.saturating_sub(before) < SETTLE_STEP / 10 {
            return;
        }
        before = now;
    }
    eprintln!("the brokers did not settle within {} s", SETTLE_LIMIT.as_secs());
}

/// Processor time for each message between two moments, microseconds.
pub fn cpu_us_per_message(before: Cost, after: Cost, messages: u64) -> f64 {
    after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / messages.max(1) as f64
}

/// The line that the load programs print when they were given the broker's process id.
pub fn line(before: Option<Cost>, pid: Option<u32>, messages: u64) -> Option<String> {
    let (before, after) = (before?, of(pid?)?);
    Some(format!(
        "Broker: {:.2} µs of processor time a message, {} KiB of memory",
        cpu_us_per_message(before, after, messages),
        after.anonymous_kib
    ))
}
