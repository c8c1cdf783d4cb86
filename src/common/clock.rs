//! Wall-clock milliseconds, the unit of every timestamp on the wire and on disk; and deadlines.

use std::time::{Duration, Instant};

use super::os;

/// A limit that nobody lives to see; what is added to the clock is cut to it.
pub const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    os::wall_clock_ms()
}

/// When a limit that begins now is over, also one that is beyond what the clock can tell.
pub fn deadline_after(limit: Duration) -> Instant {
    Instant::now() + limit.min(NEVER)
}
