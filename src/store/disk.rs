//! How full the disk under a folder is, as RocketMQ counts it.

use std::path::Path;

use crate::common::os::disk_space;

/// Above this no messages are taken, and files are deleted whether they have expired or not.
pub const WARNING_RATIO: f64 = 0.90;
/// Above this, files are deleted whether they have expired or not.
pub const CLEAN_FORCIBLY_RATIO: f64 = 0.85;

/// Used share of the disk under `folder`, rounded up to hundredths; −1 if it cannot be told (the
/// folder does not exist). What is reserved for root counts neither as used nor as free.
pub fn used_ratio(folder: &Path) -> f64 {
    let Ok(space) = disk_space(folder) else { return -1.0 };
    let used = space.total.saturating_sub(space.free);
    let all = used + space.available;
    if all == 0 {
        return -1.0;
    }
    (u128::from(used) * 100).div_ceil(u128::from(all)) as f64 / 100.0
}

/// Bytes that can still be written under `folder`; `None` if it cannot be told.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    disk_space(folder).ok().map(|space| space.available)
}
