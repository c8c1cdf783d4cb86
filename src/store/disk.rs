//! How full the disk under a folder is, as RocketMQ counts it.

use std::path::Path;

use super::fault;
use crate::common::os::{self, DiskSpace};

/// Above this no messages are taken, and files are deleted whether they have expired or not.
pub const WARNING_RATIO: f64 = 0.90;
/// Above this, files are deleted whether they have expired or not.
pub const CLEAN_FORCIBLY_RATIO: f64 = 0.85;

fn disk_space(folder: &Path) -> std::io::Result<DiskSpace> {
    fault::disk_space(folder).map_or_else(|| os::disk_space(folder), Ok)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    #[test]
    fn ratios_are_rounded_up_to_hundredths() {
        let folder = TempFolder::new("ratio");
        assert_eq!(used_ratio(&folder.path().join("missing")), -1.0);
        for (total, free, available, ratio) in [
            (1000, 250, 250, 0.75),
            (1000, 249, 249, 0.76),
            // What is reserved for root is neither used nor free.
            (1000, 300, 200, 0.78),
            (1000, 1000, 1000, 0.0),
            (1000, 0, 0, 1.0),
            (0, 0, 0, -1.0),
        ] {
            let _disk = fault::inject_space(folder.path(), DiskSpace { total, free, available });
            assert_eq!(used_ratio(folder.path()), ratio, "{total} {free} {available}");
            assert_eq!(free_bytes(folder.path()), Some(available));
        }
    }
}
