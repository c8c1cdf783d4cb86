//! [`MessageStore`]: the whole store behind one front.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::StoreConfig;
use super::message::*;
use crate::common::config::Live;
use crate::common::message::MessageExt;

/// Why the store does not open, start or write.
#[derive(Debug)]
pub struct StoreError(pub String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// A message became visible in a queue.
pub struct Arrival<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// One past the message's offset.
    pub next_offset: i64,
    /// Tags code of the unit.
    pub tags_code: i64,
    /// Store time, ms.
    pub store_timestamp: i64,
    /// The record.
    pub record: &'a [u8],
}

/// Told of every dispatched message, by the reput thread. Must not block.
pub trait ArrivalListener: Send + Sync {
    /// A message is visible now.
    fn arrived(&self, arrival: &Arrival<'_>);
}

/// A unit of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueUnit {
    /// Commit-log offset of the record.
    pub commit_log_offset: i64,
    /// Bytes of the record.
    pub size: i32,
    /// Tags code.
    pub tags_code: i64,
}

/// The store.
pub struct MessageStore {
    // owner: store
    _private: (),
}

impl MessageStore {
    /// Loads and recovers the store under `config.store_path_root_dir`. Takes the lock.
    pub fn open(
        _config: Arc<Live<StoreConfig>>,
        _listener: Arc<dyn ArrivalListener>,
    ) -> Result<Arc<Self>, StoreError> {
        todo!("owner: store")
    }

    /// Dispatches what recovery left, then serves.
    pub fn start(&self) -> Result<(), StoreError> {
        todo!("owner: store")
    }

    /// Stops orderly: drain, flush, persist, remove `abort`. Idempotent.
    pub fn shutdown(&self) {
        todo!("owner: store")
    }

    /// Stores a message. Never waits for flush or replication.
    pub fn put(&self, _message: &NewMessage<'_>) -> PutOutcome {
        todo!("owner: store")
    }

    /// Stores a batch. A malformed batch is `Err`.
    pub fn put_batch(&self, _batch: &NewBatch<'_>) -> Result<PutOutcome, StoreError> {
        todo!("owner: store")
    }

    /// Reads from a queue. `None`: the store is shut down or not readable.
    pub fn get(
        &self,
        _group: &str,
        _topic: &str,
        _queue_id: i32,
        _offset: i64,
        _max_messages: i32,
        _filter: Option<&dyn MessageFilter>,
    ) -> Option<GetMessageResult> {
        todo!("owner: store")
    }

    /// Whether a read at `offset` finds its records in memory (so that a reader thread may do it).
    pub fn is_in_memory(&self, _topic: &str, _queue_id: i32, _offset: i64) -> bool {
        todo!("owner: store")
    }

    /// One past the last offset of a queue; 0 if unknown.
    pub fn max_offset(&self, _topic: &str, _queue_id: i32) -> i64 {
        todo!("owner: store")
    }

    /// First offset of a queue; 0 if unknown.
    pub fn min_offset(&self, _topic: &str, _queue_id: i32) -> i64 {
        todo!("owner: store")
    }

    /// Commit-log offset of a queue's message; 0 if absent.
    pub fn commit_log_offset(&self, _topic: &str, _queue_id: i32, _offset: i64) -> i64 {
        todo!("owner: store")
    }

    /// Offset of the first message at or after a time (store 3.10).
    pub fn offset_by_time(&self, _topic: &str, _queue_id: i32, _timestamp: i64) -> i64 {
        todo!("owner: store")
    }

    /// Store time of a queue's message; -1 if absent.
    pub fn store_timestamp(&self, _topic: &str, _queue_id: i32, _offset: i64) -> i64 {
        todo!("owner: store")
    }

    /// Store time of a queue's first message; -1 if none.
    pub fn earliest_store_timestamp(&self, _topic: &str, _queue_id: i32) -> i64 {
        todo!("owner: store")
    }

    /// A record by its commit-log offset, as it lies.
    pub fn record_at(
        &self,
        _commit_log_offset: i64,
    ) -> Option<Arc<dyn crate::common::shared_bytes::SharedBytes>> {
        todo!("owner: store")
    }

    /// A message by its commit-log offset, decoded; the body stays as stored.
    pub fn look_message_by_offset(&self, _commit_log_offset: i64) -> Option<MessageExt> {
        todo!("owner: store")
    }

    /// Messages by key and time range.
    pub fn query(
        &self,
        _topic: &str,
        _key: &str,
        _max: i32,
        _begin: i64,
        _end: i64,
    ) -> QueryResult {
        todo!("owner: store")
    }

    /// Whether the message at `offset` of the queue is beyond the memory budget.
    pub fn is_on_disk(&self, _topic: &str, _queue_id: i32, _offset: i64) -> bool {
        todo!("owner: store")
    }

    /// Removes the queues of topics that are not `known`. Returns how many topics.
    pub fn clean_unused_topics(&self, _known: &dyn Fn(&str) -> bool) -> usize {
        todo!("owner: store")
    }

    /// Whether the append lock has been held for too long.
    pub fn is_os_page_cache_busy(&self) -> bool {
        todo!("owner: store")
    }

    /// Statistics and state for the runtime info answer, by Java's key.
    pub fn runtime_info(&self) -> BTreeMap<String, String> {
        todo!("owner: store")
    }

    /// First offset of the commit log.
    pub fn commit_log_min_offset(&self) -> i64 {
        todo!("owner: store")
    }

    /// End of the commit log.
    pub fn commit_log_max_offset(&self) -> i64 {
        todo!("owner: store")
    }

    /// Bytes not dispatched yet.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        todo!("owner: store")
    }

    /// Configuration.
    pub fn config(&self) -> Arc<StoreConfig> {
        todo!("owner: store")
    }

    /// Messages appended since the start; a batch counts its messages.
    pub fn put_total(&self) -> i64 {
        todo!("owner: store")
    }

    /// Messages handed out since the start.
    pub fn get_total(&self) -> i64 {
        todo!("owner: store")
    }

    /// Removes queues whose last message is no longer in the commit log.
    pub fn clean_expired_consume_queues(&self) {
        todo!("owner: store")
    }

    /// The next rounds of cleaning delete expired commit-log files at any hour.
    pub fn delete_expired_files_now(&self) {
        todo!("owner: store")
    }

    /// Units of a queue from `index` on, at most `max`, at most to the end of a file; `None` if
    /// the store does not know the queue.
    pub fn queue_units(
        &self,
        _topic: &str,
        _queue_id: i32,
        _index: i64,
        _max: usize,
    ) -> Option<Vec<QueueUnit>> {
        todo!("owner: store")
    }

    /// Topics with queues, and their queue ids.
    pub fn topics(&self) -> BTreeMap<String, Vec<i32>> {
        todo!("owner: store")
    }
}
