//! What a process took from the machine, as the kernel tells it.

use std::time::Duration;

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
