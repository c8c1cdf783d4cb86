//! Reading from a queue: what a pull gets, and from which units.

use std::io::IoSlice;
use std::sync::Arc;

use super::commit_log::{CommitLog, store_time};
use super::config::StoreConfig;
use super::consume_queue::{ConsumeQueue, Unit};
use super::consume_queue_ext::is_ext_address;
use super::mapped_file::MappedSlice;
use super::message::{GetMessageResult, GetMessageStatus, MessageFilter};
use crate::common::shared_bytes::SharedBytes;

/// Units looked at by one pull, at least, in bytes.
const LEAST_UNIT_BYTES: i64 = 16_000;

/// Records of a pull: slices of the mapped commit log, adjacent ones merged.
#[derive(Debug, Default)]
pub struct RecordSlices {
    slices: Vec<MappedSlice>,
    bytes: usize,
}

impl RecordSlices {
    /// One piece.
    pub fn single(slice: MappedSlice) -> Self {
        Self { bytes: slice.len(), slices: vec![slice] }
    }

    /// Adds a record.
    pub fn push(&mut self, slice: MappedSlice) {
        self.bytes += slice.len();
        self.slices.push(slice);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

impl SharedBytes for RecordSlices {
    fn len(&self) -> usize {
        self.bytes
    }

    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        out.extend(self.slices.iter().map(|slice| IoSlice::new(slice)));
    }
}

/// What a pull asks for.
pub struct Get<'a> {
    /// First queue offset.
    pub offset: i64,
    /// Most messages.
    pub max_messages: i32,
    /// Which ones; all without it.
    pub filter: Option<&'a dyn MessageFilter>,
    /// Distance from the log's end within which records count as in memory, bytes.
    pub memory_bytes: i64,
}

/// Limits of one pull that is in memory or on the disk.
fn batch_limits(config: &StoreConfig, on_disk: bool) -> (usize, u32) {
    let (bytes, count) = if on_disk {
        (config.max_transfer_bytes_on_message_in_disk, config.max_transfer_count_on_message_in_disk)
    } else {
        (
            config.max_transfer_bytes_on_message_in_memory,
            config.max_transfer_count_on_message_in_memory,
        )
    };
    (bytes.max(0) as usize, count.max(0) as u32)
}

/// An answer without messages.
pub fn nothing(
    status: GetMessageStatus,
    next_begin_offset: i64,
    min_offset: i64,
    max_offset: i64,
) -> GetMessageResult {
    GetMessageResult {
        status,
        next_begin_offset,
        min_offset,
        max_offset,
        count: 0,
        bytes: 0,
        records: None,
        last_store_timestamp: 0,
        behind_bytes: None,
        suggest_pulling_from_slave: false,
    }
}

/// What a queue answers to a pull (Java's `DefaultMessageStore.getMessage`).
pub fn get(
    log: &CommitLog,
    queue: Option<&ConsumeQueue>,
    config: &StoreConfig,
    get: &Get<'_>,
) -> GetMessageResult {
    let (min, max) = queue.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
    // A slave does not correct a consumer's offset: it may only lag behind its master.
    let correct = |offset: i64| {
        if config.is_slave() && !config.offset_check_in_slave { get.offset } else { offset }
    };
    let none = |status, next| nothing(status, next, min, max);
    let Some(queue) = queue.filter(|_| max > 0) else {
        return none(GetMessageStatus::NoMessageInQueue, correct(0));
    };
    if get.offset < min {
        return none(GetMessageStatus::OffsetTooSmall, correct(min));
    }
    if get.offset == max {
        return none(GetMessageStatus::OffsetOverflowOne, get.offset);
    }
    if get.offset > max {
        return none(GetMessageStatus::OffsetOverflowBadly, correct(max));
    }
    let unreadable =
        || none(GetMessageStatus::OffsetFoundNull, correct(queue.roll_next_file(get.offset)));
    let Some((file, at)) = queue.locate(get.offset) else { return unreadable() };
    let limit = LEAST_UNIT_BYTES.max(i64::from(get.max_messages.max(0)) * Unit::BYTES as i64);
    let length = (file.readable() - at).min(limit as usize) / Unit::BYTES * Unit::BYTES;
    let Some(units) = file.bytes(at, length) else { return unreadable() };
    let mut batch = Batch::new(log, queue, config, get);
    let mut examined = 0;
    for unit in units.chunks_exact(Unit::BYTES).filter_map(Unit::decode) {
        if !batch.take(unit) {
            break;
        }
        examined += 1;
    }
    let lag = batch.log_end - batch.last_offset;
    let mut result = batch.finish(min, max);
    result.next_begin_offset = get.offset + examined;
    result.behind_bytes = Some(lag);
    result.suggest_pulling_from_slave = lag > get.memory_bytes;
    result
}

/// The messages of a pull while they are gathered.
struct Batch<'a> {
    log: &'a CommitLog,
    queue: &'a ConsumeQueue,
    get: &'a Get<'a>,
    log_end: i64,
    memory_limits: (usize, u32),
    disk_limits: (usize, u32),
    status: GetMessageStatus,
    slices: Vec<MappedSlice>,
    bytes: usize,
    count: u32,
    last_offset: i64,
    /// Records before this commit-log offset are gone.
    skip_until: Option<i64>,
    last_record_start: usize,
}

impl<'a> Batch<'a> {
    fn new(
        log: &'a CommitLog,
        queue: &'a ConsumeQueue,
        config: &StoreConfig,
        get: &'a Get<'a>,
    ) -> Self {
        Self {
            log,
            queue,
            get,
            log_end: log.max_offset(),
            memory_limits: batch_limits(config, false),
            disk_limits: batch_limits(config, true),
            status: GetMessageStatus::NoMatchedMessage,
            slices: Vec::new(),
            bytes: 0,
            count: 0,
            last_offset: 0,
            skip_until: None,
            last_record_start: 0,
        }
    }

    /// Takes, filters out or passes over the record of a unit; false when the batch is full.
    fn take(&mut self, unit: Unit) -> bool {
        self.last_offset = unit.offset;
        if self.skip_until.is_some_and(|offset| unit.offset < offset) {
            return true;
        }
        let size = usize::try_from(unit.size).unwrap_or(0);
        if self.is_full(unit.offset, size) {
            return false;
        }
        if !self.matches_queue(unit) {
            return true;
        }
        if !self.collect(unit.offset, size) {
            if self.count == 0 {
                self.status = GetMessageStatus::MessageWasRemoving;
            }
            self.skip_until = Some(self.log.roll_next_file(unit.offset));
            return true;
        }
        self.skip_until = None;
        true
    }

    fn is_full(&self, offset: i64, size: usize) -> bool {
        if self.count == 0 {
            return false;
        }
        let on_disk = self.log_end - offset > self.get.memory_bytes;
        let (bytes, count) = if on_disk { self.disk_limits } else { self.memory_limits };
        i64::from(self.count) >= i64::from(self.get.max_messages)
            || self.bytes + size > bytes
            || self.count >= count
    }

    fn matches_queue(&mut self, unit: Unit) -> bool {
        let Some(filter) = self.get.filter else { return true };
        let matches = if is_ext_address(unit.tags_code) {
            let ext = self.queue.ext().and_then(|ext| ext.get(unit.tags_code));
            filter.matches_queue(ext.as_ref().map(|ext| ext.tags_code), ext.as_ref())
        } else {
            filter.matches_queue(Some(unit.tags_code), None)
        };
        if !matches && self.count == 0 {
            self.status = GetMessageStatus::NoMatchedMessage;
        }
        matches
    }

    /// Collects the record if the filter wants it; false if it is gone.
    fn collect(&mut self, offset: i64, size: usize) -> bool {
        // Most records lie in the file of the one before, many right behind it.
        let same_file = match self.slices.last_mut() {
            Some(last) if last.file().start() <= offset && offset < last.file().end() => {
                let at = (offset - last.file().start()) as usize;
                let Some(record) = last.file().bytes(at, size) else { return false };
                if !wanted(self.get.filter, record) {
                    return true;
                }
                if last.extend(at, size) {
                    self.count_record(size);
                    return true;
                }
                last.file().slice(at, size)
            }
            _ => None,
        };
        let Some(slice) = same_file.or_else(|| self.log.slice(offset, size)) else { return false };
        if wanted(self.get.filter, &slice) {
            self.slices.push(slice);
            self.count_record(size);
        } else if self.count == 0 {
            self.status = GetMessageStatus::NoMatchedMessage;
        }
        true
    }

    fn count_record(&mut self, size: usize) {
        self.last_record_start = size;
        self.bytes += size;
        self.count += 1;
        self.status = GetMessageStatus::Found;
    }

    fn finish(self, min: i64, max: i64) -> GetMessageResult {
        let mut result = nothing(self.status, 0, min, max);
        if let Some(last) = self.slices.last() {
            let start = last.len().saturating_sub(self.last_record_start);
            result.last_store_timestamp = last.get(start..).and_then(store_time).unwrap_or(0);
            result.records =
                Some(Arc::new(RecordSlices { slices: self.slices, bytes: self.bytes }));
        }
        result.count = self.count;
        result.bytes = self.bytes;
        result
    }
}

fn wanted(filter: Option<&dyn MessageFilter>, record: &[u8]) -> bool {
    filter.is_none_or(|filter| !filter.needs_record() || filter.matches_record(record))
}
