//! Reading records that the store gives out as they lie in the commit log.

use std::io::IoSlice;

use crate::common::record::{RecordView, read_record};
use crate::common::shared_bytes::SharedBytes;
use crate::store::MessageStore;

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

/// Calls `look` with the record at a commit-log offset; `None` if there is none.
pub fn with_record<R>(
    store: &MessageStore,
    commit_log_offset: i64,
    look: impl FnOnce(&RecordView<'_>) -> R,
) -> Option<R> {
    let record = store.record_at(commit_log_offset)?;
    let mut look = Some(look);
    let mut result = None;
    for_each_record(&*record, |view| {
        result = look.take().map(|look| look(view));
        std::ops::ControlFlow::Break(())
    });
    result
}
