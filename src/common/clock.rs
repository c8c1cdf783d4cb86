//! Wall-clock milliseconds, the unit of every timestamp on the wire and on disk.

use super::os;

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    os::wall_clock_ms()
}
