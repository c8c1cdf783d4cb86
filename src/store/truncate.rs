//! Cutting the end off a commit log that no broker uses: [`truncate`]. What a slave needs whose log
//! went on differently from its master's; nothing ever does it by itself.

use std::ops::ControlFlow;

use super::folder::flush_file_system;
use super::inspect::{LogItem, StoreFolder};
use super::mapped_file_queue::MappedFileQueue;
use super::message_store::StoreError;

/// What a cut takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The log's end now.
    pub end: i64,
    /// Its end after the cut; with nothing left, its begin.
    pub new_end: i64,
    /// Messages that lie between.
    pub messages: u64,
}

/// Cuts the commit log of the store at `position`, if `really`; tells what that takes
/// away in any case. A position up to the log's begin takes everything. Consume queues follow at
/// the next start, whose recovery finds the log's end.
///
/// # Errors
/// Its log does not go so far, no record begins at `position`, or the disk's.
pub fn truncate(store: &StoreFolder, position: i64, really: bool) -> Result<Cut, StoreError> {
    let (begin, end) = (store.log_begin(), store.log_end());
    if begin < 0 || position >= end {
        let root = store.root().display();
        return Err(StoreError(format!(
            "the commit log of {root} ends at {end}, there is nothing to cut at {position}"
        )));
    }
    let size = store.log_file_size() as i64;
    let from = if position <= begin { begin } else { position - position.rem_euclid(size) };
    let (mut messages, mut before, mut after) = (0, None, None);
    store.visit_log(from, |item| {
        let (offset, is_message) = match item {
            LogItem::Record(record) => (record.physical_offset, true),
            LogItem::Blank { offset, .. } | LogItem::Damage { offset, .. } => (*offset, false),
        };
        if offset < position {
            before = Some(offset);
        } else {
            after = after.or(Some(offset));
            messages += u64::from(is_message);
        }
        ControlFlow::Continue(())
    });
    if position > begin && after != Some(position) {
        let told = |offset: Option<i64>| offset.map_or("none".to_owned(), |at| at.to_string());
        return Err(StoreError(format!(
            "no record begins at {position}: the one before it is at {}, the one after it at {}",
            told(before),
            told(after)
        )));
    }
    let cut = Cut { end, new_end: position.max(begin), messages };
    if !really {
        return Ok(cut);
    }
    let (first, more) = store.log_folders().split_at(1);
    let files = MappedFileQueue::new(&first[0], size as usize);
    files.load(more)?;
    if position <= begin {
        while !files.is_empty() {
            files.delete_last()?;
        }
    } else {
        files.truncate(position)?;
    }
    for folder in store.log_folders().iter().filter(|folder| folder.is_dir()) {
        flush_file_system(folder).map_err(|error| StoreError::io("flush", folder, &error))?;
    }
    Ok(cut)
}
