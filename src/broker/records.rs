//! Reading records that the store gives out as they lie in the commit log.

use std::io::IoSlice;

use crate::common::record::{RecordView, read_record};
use crate::common::shared_bytes::SharedBytes;

/// Calls `each` with every record, in order, until it says to stop. A record that cannot be read
/// ends it too; the store checked them when they became visible.
pub fn for_each_record(
    records: &dyn SharedBytes,
    mut each: impl FnMut(&RecordView<'_>) -> std::ops::ControlFlow<()>,
) {
    let mut slices: Vec<IoSlice<'_>> = Vec::new();
    records.slices(&mut slices);
    for slice in &slices {
        let mut rest: &[u8] = slice;
        while !rest.is_empty() {
            let view = match read_record(rest, false) {
                Ok(view) => view,
                Err(error) => {
                    log::error!("a record given out by the store cannot be read: {error}");
                    return;
                }
            };
            if each(&view).is_break() {
                return;
            }
            rest = rest.get(view.total_size as usize..).unwrap_or_default();
        }
    }
}
