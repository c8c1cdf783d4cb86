//! The questions others ask the store: pulls, offsets, times, single messages, queries by key.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::commit_log;
use super::config::StoreConfig;
use super::consume_queue::{ConsumeQueue, Unit};
use super::message::*;
use super::message_store::{MessageStore, QueueUnit};
use super::read::{self, Get, RecordSlices};
use crate::common::message::MessageExt;
use crate::common::record::{RecordView, read_record};
use crate::common::shared_bytes::SharedBytes;
use crate::common::topic::LMQ_PREFIX;

/// Rounds of a query by key, each ending before the oldest message of the one before.
const QUERY_ROUNDS: usize = 3;

impl MessageStore {
    /// Reads from a queue. `None`: the store is shut down or not readable.
    pub fn get(
        &self,
        _group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_messages: i32,
        filter: Option<&dyn MessageFilter>,
    ) -> Option<GetMessageResult> {
        let config = self.config.of_thread();
        let too_many_light_queues = topic.starts_with(LMQ_PREFIX)
            && config.enable_lmq
            && config.enable_multi_dispatch
            && self.queues.light_queues() > config.max_lmq_consume_queue_num.max(0) as usize;
        if !self.serving.load(Ordering::Acquire)
            || !self.flags.is_readable()
            || too_many_light_queues
        {
            return None;
        }
        let started = Instant::now();
        let queue = self.queues.find(topic, queue_id);
        let memory_bytes = self.memory_budget(&config);
        let get = Get { offset, max_messages, filter, memory_bytes };
        let result = read::get(&self.log, queue.as_deref(), &config, &get);
        self.stats.count_get(result.count, started.elapsed());
        Some(result)
    }

    /// Distance from the log's end within which records count as in memory, bytes.
    pub(super) fn memory_budget(&self, config: &StoreConfig) -> i64 {
        let share = config.access_message_in_memory_max_ratio.clamp(0, 100) as u64;
        (self.memory_bytes / 100 * share) as i64
    }

    fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        self.queues.find(topic, queue_id)
    }

    fn unit(&self, topic: &str, queue_id: i32, offset: i64) -> Option<Unit> {
        self.queue(topic, queue_id)?.unit(offset)
    }

    /// Whether a read at `offset` finds its records in memory (so that a reader thread may do it).
    pub fn is_in_memory(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        !self.is_on_disk(topic, queue_id, offset)
    }

    /// One past the last offset of a queue; 0 if unknown.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.queue(topic, queue_id).map_or(0, |queue| queue.max_offset())
    }

    /// First offset of a queue; 0 if unknown.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.queue(topic, queue_id).map_or(0, |queue| queue.min_offset())
    }

    /// Commit-log offset of a queue's message; 0 if absent.
    pub fn commit_log_offset(&self, topic: &str, queue_id: i32, offset: i64) -> i64 {
        self.unit(topic, queue_id, offset).map_or(0, |unit| unit.offset)
    }

    /// Offset of the first message at or after a time (store 3.10).
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp: i64) -> i64 {
        self.queue(topic, queue_id).map_or(0, |queue| {
            queue.offset_by_time(timestamp, self.log.min_offset(), |unit| {
                self.log.store_time(unit.offset, unit.size)
            })
        })
    }

    /// Store time of a queue's message; -1 if absent.
    pub fn store_timestamp(&self, topic: &str, queue_id: i32, offset: i64) -> i64 {
        self.unit(topic, queue_id, offset)
            .and_then(|unit| self.log.store_time(unit.offset, unit.size))
            .unwrap_or(-1)
    }

    /// Store time of a queue's first message; -1 if none.
    pub fn earliest_store_timestamp(&self, topic: &str, queue_id: i32) -> i64 {
        self.store_timestamp(topic, queue_id, self.min_offset(topic, queue_id))
    }

    /// Store time of the log's first message, ms; -1 if none.
    pub fn earliest_message_time(&self) -> i64 {
        let first = self.log.record_at(self.log.min_offset());
        first.and_then(|record| commit_log::store_time(&record)).unwrap_or(-1)
    }

    /// Calls `look` with the record at a commit-log offset; `None` if there is none: the offset may be
    /// anybody's guess.
    pub fn with_record<R>(
        &self,
        commit_log_offset: i64,
        look: impl FnOnce(&RecordView<'_>) -> R,
    ) -> Option<R> {
        let slice = self.log.record_at(commit_log_offset)?;
        let record = read_record(&slice, false).ok()?;
        (record.physical_offset == commit_log_offset).then(|| look(&record))
    }

    /// A record by its commit-log offset, as it lies.
    pub fn record_at(&self, commit_log_offset: i64) -> Option<Arc<dyn SharedBytes>> {
        let slice = self.log.record_at(commit_log_offset)?;
        // Only what is a record at that place goes out: the offset may be anybody's guess.
        let record = read_record(&slice, false).ok()?;
        (record.physical_offset == commit_log_offset)
            .then(|| Arc::new(RecordSlices::single(slice)) as Arc<dyn SharedBytes>)
    }

    /// A message by its commit-log offset, decoded; the body stays as stored.
    pub fn look_message_by_offset(&self, commit_log_offset: i64) -> Option<MessageExt> {
        self.with_record(commit_log_offset, |record| record.to_message())
    }

    /// Messages by key and time range.
    pub fn query(&self, topic: &str, key: &str, max: i32, begin: i64, end: i64) -> QueryResult {
        let max = max.min(self.config.get().max_msgs_num_batch).max(0) as usize;
        let mut result = QueryResult::default();
        let mut records = RecordSlices::default();
        let mut last = end;
        for _ in 0..QUERY_ROUNDS {
            let mut answer = self.index.query(topic, key, max, begin, last);
            if answer.offsets.is_empty() {
                break;
            }
            // As Java: an answer without messages does not tell how far the index reaches.
            result.index_last_update_timestamp = answer.last_update_timestamp;
            result.index_last_update_phy_offset = answer.last_update_offset;
            answer.offsets.sort_unstable();
            for (number, offset) in answer.offsets.into_iter().enumerate() {
                let Some(slice) = self.log.record_at(offset) else { continue };
                let Ok(record) = read_record(&slice, false) else { continue };
                if number == 0 {
                    last = record.store_timestamp;
                }
                records.push(slice.clone());
                result.count += 1;
            }
            if !records.is_empty() || last < begin {
                break;
            }
        }
        if !records.is_empty() {
            result.records = Some(Arc::new(records));
        }
        result
    }

    /// Whether the message at `offset` of the queue is beyond the memory budget.
    pub fn is_on_disk(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        let unit = self.unit(topic, queue_id, offset);
        unit.is_some_and(|unit| !self.is_record_in_memory(unit.offset))
    }

    /// Whether a commit-log offset is within the memory budget.
    pub fn is_record_in_memory(&self, commit_log_offset: i64) -> bool {
        let distance = self.log.max_offset().saturating_sub(commit_log_offset);
        distance <= self.memory_budget(&self.config.of_thread())
    }

    /// The extension of a unit, found by its tags code; `None` if it has none.
    pub fn unit_extension(&self, topic: &str, queue_id: i32, tags_code: i64) -> Option<ExtUnit> {
        self.queue(topic, queue_id)?.ext()?.get(tags_code)
    }

    /// Units of a queue from `index` on, at most `max`, at most to the end of a file; `None` if
    /// the store does not know the queue.
    pub fn queue_units(
        &self,
        topic: &str,
        queue_id: i32,
        index: i64,
        max: usize,
    ) -> Option<Vec<QueueUnit>> {
        let queue = self.queue(topic, queue_id)?;
        let Some((file, at)) = queue.locate(index) else { return Some(Vec::new()) };
        let units = file.bytes_from(at).unwrap_or_default().chunks_exact(Unit::BYTES);
        let units = units.take(max).filter_map(Unit::decode).map(|unit| QueueUnit {
            commit_log_offset: unit.offset,
            size: unit.size,
            tags_code: unit.tags_code,
        });
        Some(units.collect())
    }
}
