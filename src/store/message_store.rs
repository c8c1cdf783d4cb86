//! [`MessageStore`]: the whole store behind one front. What a put is checked for and turned into,
//! opening and stopping in order, and the questions others ask; the work is done by the files
//! named in [`crate::store`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::allocate::AllocateMappedFileService;
use super::checkpoint::StoreCheckpoint;
use super::clean;
use super::commit_log::{AppendError, Appended, CommitLog, EncodedRecords, MIN_RECORD_BYTES};
use super::config::{BrokerRole, StoreConfig};
use super::consume_queue::{ConsumeQueue, Unit};
use super::disk;
use super::dispatch::{Dispatcher, FilterBits, ReputMessageService};
use super::flush::FlushService;
use super::flush_queues;
use super::index::IndexService;
use super::mapped_file::TransientStorePool;
use super::message::*;
use super::pending::{Part, PutTicket};
use super::queue_table::QueueTable;
use super::read::{self, Get, RecordSlices};
use super::recovery::Recovery;
use super::running_flags::RunningFlags;
use super::stats::{StoreStats, java_double};
use crate::common::config::Live;
use crate::common::message::MessageExt;
use crate::common::os;
use crate::common::record::{RecordFields, encode_record, read_batch, read_record, record_size};
use crate::common::service_thread::ServiceThread;
use crate::common::shared_bytes::SharedBytes;
use crate::common::sync::lock;
use crate::common::sys_flag;
use crate::common::topic::{LMQ_PREFIX, SCHEDULE_TOPIC, TOPIC_MAX_LENGTH, TRANS_OP_HALF_TOPIC};

/// Longest properties text, bytes.
const MAX_PROPERTIES_BYTES: usize = 32_767;
/// What a record may be larger than the largest body.
const RECORD_OVERHEAD_BYTES: usize = 64 * 1024;
/// A lock held for longer than this is taken for a clock that jumped.
const ABSURD_LOCK_MS: i64 = 10_000_000;
/// Memory of a machine that does not tell how much it has.
const ASSUMED_MEMORY: u64 = 24 << 30;
/// Rounds of a query by key, each ending before the oldest message of the one before.
const QUERY_ROUNDS: usize = 3;
/// How long stopping waits for a thread.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long starting waits before it tells how far dispatch has come.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// Why the store does not open, start or write.
#[derive(Debug)]
pub struct StoreError(pub String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// A system call on a path that failed.
    pub(super) fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self(format!("cannot {what} {}: {error}", path.display()))
    }
}

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

/// Copies the log to slaves; told of puts that wait for one (SYNC_MASTER).
pub trait Replicator: Send + Sync {
    /// Something was appended.
    fn appended(&self);

    /// Completes `ticket` when a slave has everything up to `end`, when it is late, or at once
    /// when no slave is close enough.
    fn wait_for(&self, end: i64, ticket: PutTicket);
}

thread_local! {
    /// Where this thread encodes records, kept from put to put.
    static ENCODED: RefCell<EncodedRecords> = RefCell::default();
}

/// A thread's buffer that grew beyond this is given back after the put.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// The store.
///
/// Its parts and who uses them:
///
/// * `log` is written by puts and read by everybody; `allocator` makes its files;
/// * `flush` makes it durable, `reput` makes it visible in `queues` and in `index`;
/// * `checkpoint`, `abort` and `lock` are what the next start learns from.
pub struct MessageStore {
    config: Arc<Live<StoreConfig>>,
    root: PathBuf,
    log: Arc<CommitLog>,
    allocator: Arc<AllocateMappedFileService>,
    queues: Arc<QueueTable>,
    index: Arc<IndexService>,
    checkpoint: Arc<StoreCheckpoint>,
    dispatcher: Arc<Dispatcher>,
    reput: Arc<ReputMessageService>,
    flush: Arc<FlushService>,
    flags: Arc<RunningFlags>,
    stats: Arc<StoreStats>,
    cleaner: Arc<clean::Cleaner>,
    replicator: OnceLock<Arc<dyn Replicator>>,
    /// Memory of the machine, bytes.
    memory_bytes: u64,
    serving: AtomicBool,
    stopped: AtomicBool,
    threads: Mutex<Vec<ServiceThread>>,
    /// Holds the byte lock: closing any descriptor of the file would give it up.
    lock_file: Mutex<Option<File>>,
}

impl MessageStore {
    /// Loads and recovers the store under `config.store_path_root_dir`. Takes the lock.
    pub fn open(
        config: Arc<Live<StoreConfig>>,
        listener: Arc<dyn ArrivalListener>,
    ) -> Result<Arc<Self>, StoreError> {
        let snapshot = config.get();
        let root = snapshot.root();
        std::fs::create_dir_all(&root).map_err(|error| StoreError::io("create", &root, &error))?;
        let lock_file = take_lock(&root)?;
        let delay_levels = super::delay_levels::DelayLevels::parse(&snapshot.message_delay_level)
            .map_err(StoreError)?;
        let file_size = snapshot.mapped_file_size_commit_log.max(0) as usize;
        let pool = if snapshot.uses_transient_pool() {
            let count = snapshot.transient_store_pool_size.max(0) as usize;
            let pool = TransientStorePool::new(count, file_size);
            Some(pool.map_err(|error| StoreError(format!("transient store pool: {error}")))?)
        } else {
            None
        };
        let allocator =
            Arc::new(AllocateMappedFileService::new(Arc::clone(&config), file_size, pool));
        let log = Arc::new(CommitLog::new(Arc::clone(&config), Arc::clone(&allocator))?);
        let queues = Arc::new(QueueTable::new(&snapshot));
        let checkpoint = Arc::new(StoreCheckpoint::open(&root.join("checkpoint"))?);
        let index = Arc::new(IndexService::new(&snapshot, Arc::clone(&checkpoint)));
        let dispatcher = Arc::new(Dispatcher::new(
            Arc::clone(&config),
            Arc::clone(&queues),
            Arc::clone(&index),
            Arc::clone(&checkpoint),
            delay_levels,
        ));
        let flags = Arc::new(RunningFlags::default());
        let stats = Arc::new(StoreStats::default());
        let reput = Arc::new(ReputMessageService::new(
            Arc::clone(&config),
            Arc::clone(&log),
            Arc::clone(&dispatcher),
            listener,
            Arc::clone(&flags),
            Arc::clone(&stats),
        ));
        let wake_reput = Arc::clone(reput.signal());
        let flush = Arc::new(FlushService::new(
            Arc::clone(&config),
            Arc::clone(&log),
            Arc::clone(&checkpoint),
            Arc::clone(&flags),
            move || wake_reput.wakeup(),
        ));
        let cleaner = Arc::new(clean::Cleaner::new(
            Arc::clone(&config),
            Arc::clone(&log),
            Arc::clone(&queues),
            Arc::clone(&index),
            Arc::clone(&flags),
        ));
        let store = Arc::new(Self {
            memory_bytes: os::physical_memory().unwrap_or(ASSUMED_MEMORY),
            config,
            root,
            log,
            allocator,
            queues,
            index,
            checkpoint,
            dispatcher,
            reput,
            flush,
            flags,
            stats,
            cleaner,
            replicator: OnceLock::new(),
            serving: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            threads: Mutex::default(),
            lock_file: Mutex::new(Some(lock_file)),
        });
        store.load(&snapshot)?;
        Ok(store)
    }

    /// Loads all files and finds their ends.
    fn load(&self, config: &StoreConfig) -> Result<(), StoreError> {
        let clean_exit = !self.abort_path().exists();
        self.log.load()?;
        self.queues.load()?;
        self.index.load(clean_exit)?;
        self.queues.snapshot().iter().try_for_each(|queue| queue.recover())?;
        let recovery = Recovery {
            config,
            log: &self.log,
            queues: &self.queues,
            checkpoint: &self.checkpoint,
            dispatcher: &self.dispatcher,
        };
        if clean_exit {
            recovery.normal()?
        } else {
            recovery.abnormal()?
        }
        self.rebuild_offset_table();
        Ok(())
    }

    /// The next offset of each queue follows its last unit, and its first usable unit is one whose
    /// record is still there.
    fn rebuild_offset_table(&self) {
        let min = self.log.min_offset();
        self.log.with_append_lock(|| {
            for queue in self.queues.snapshot() {
                queue.set_next_offset(queue.max_offset());
                queue.correct_min_offset(min);
            }
        });
    }

    fn abort_path(&self) -> PathBuf {
        self.root.join("abort")
    }

    /// Dispatches what recovery left, then serves.
    pub fn start(&self) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| StoreError(format!("the store cannot start: {error}"));
        let from = self.queues.max_physical().max(self.log.min_offset()).max(0);
        self.reput.set_position(from);
        self.allocator.start().map_err(failed)?;
        if let Some(last) = self.log.files().last()
            && let Err(error) = last.reserve(last.size())
        {
            log::warn!("{} cannot be given all its blocks: {error}", last.path().display());
        }
        self.reput.start().map_err(failed)?;
        self.wait_for_dispatch(from);
        self.rebuild_offset_table();
        self.flush.start().map_err(failed)?;
        let queues = flush_queues::start(
            Arc::clone(&self.config),
            Arc::clone(&self.queues),
            Arc::clone(&self.checkpoint),
        );
        let abort = self.abort_path();
        File::create(&abort).map_err(|error| StoreError::io("create", &abort, &error))?;
        lock(&self.threads).extend([
            queues.map_err(failed)?,
            self.stats.start().map_err(failed)?,
            self.cleaner.start().map_err(failed)?,
        ]);
        self.serving.store(true, Ordering::Release);
        Ok(())
    }

    /// Nothing is served before the queues have everything that is in the log.
    fn wait_for_dispatch(&self, from: i64) {
        let mut told = Instant::now();
        self.reput.signal().wakeup();
        while self.reput.behind_bytes() > 0 && !self.config.get().duplication_enable {
            if self.reput.is_blocked() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
            if told.elapsed() >= PROGRESS_PERIOD {
                told = Instant::now();
                let done = self.reput.position() - from;
                log::info!(
                    "building consume queues: {} of {} MiB of the commit log done",
                    done >> 20,
                    (done + self.reput.behind_bytes()) >> 20
                );
            }
        }
    }

    /// Stops orderly: drain, flush, persist, remove `abort`. Idempotent.
    pub fn shutdown(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        let served = self.serving.swap(false, Ordering::AcqRel);
        for thread in lock(&self.threads).drain(..).rev() {
            thread.stop(STOP_LIMIT);
        }
        self.flush.stop();
        let caught_up = self.reput.stop();
        flush_queues::flush_queues(&self.queues, &self.checkpoint, 0);
        self.allocator.stop(STOP_LIMIT);
        let clean = served
            && caught_up
            && !self.log.has_failed()
            && self.log.flushed_offset() >= self.log.max_offset();
        if clean {
            if let Err(error) = std::fs::remove_file(self.abort_path()) {
                log::warn!("{} was not removed: {error}", self.abort_path().display());
            }
        } else if served {
            log::warn!("the store was not stopped cleanly; the next start recovers it");
        }
        *lock(&self.lock_file) = None;
    }

    /// Sets who copies the log to slaves; once, before the start.
    pub fn set_replicator(&self, replicator: Arc<dyn Replicator>) {
        let _ = self.replicator.set(replicator);
    }

    /// Sets who computes the filter bits of messages; once, before the start.
    pub fn set_filter_bits(&self, filter_bits: Arc<dyn FilterBits>) {
        self.dispatcher.set_filter_bits(filter_bits);
    }

    /// The commit log, for replication.
    pub fn commit_log(&self) -> &Arc<CommitLog> {
        &self.log
    }

    /// What wakes dispatch, for replication.
    pub fn wake_dispatch(&self) {
        self.reput.signal().wakeup();
        self.flush.appended();
    }

    /// Stores a message. Never waits for flush or replication.
    pub fn put(&self, message: &NewMessage<'_>) -> PutOutcome {
        let started = Instant::now();
        if let Err(refused) = self.check_put(&message.record) {
            return PutOutcome::Done(refused);
        }
        let config = self.config.get();
        if let Err(refused) = check_sizes(&message.record, config.max_message_size) {
            return PutOutcome::Done(refused);
        }
        with_buffer(|records| {
            encode_record(&message.record, &mut records.bytes);
            records.ends.push(records.bytes.len());
            self.append(&message.record, records, message.wait_store, &config, started)
        })
    }

    /// Stores a batch. A malformed batch is `Err`.
    pub fn put_batch(&self, batch: &NewBatch<'_>) -> Result<PutOutcome, StoreError> {
        let started = Instant::now();
        let shared = &batch.record;
        if let Err(refused) = self.check_put(shared) {
            return Ok(PutOutcome::Done(refused));
        }
        let config = self.config.get();
        let refuse =
            |status, reason: &str| Ok(PutOutcome::Done(refused(status, reason.to_owned())));
        if shared.sys_flag & sys_flag::TRANSACTION_MASK != 0 {
            return refuse(PutStatus::MessageIllegal, "a batch cannot be a transaction");
        }
        if shared.body.len() > config.max_message_size.max(0) as usize {
            return refuse(PutStatus::MessageIllegal, "the batch is larger than maxMessageSize");
        }
        let entries = read_batch(shared.body)
            .map_err(|error| StoreError(format!("the batch cannot be read: {error}")))?;
        if entries.is_empty() {
            return refuse(PutStatus::MessageIllegal, "the batch is empty");
        }
        let mut properties = String::new();
        with_buffer(|records| {
            for entry in &entries {
                join_properties(&mut properties, entry.properties, shared.properties);
                let record = RecordFields {
                    flag: entry.flag,
                    body: entry.body,
                    properties: &properties,
                    prepared_transaction_offset: 0,
                    ..shared.clone()
                };
                if let Err(refused) = check_sizes(&record, config.max_message_size) {
                    return Ok(PutOutcome::Done(refused));
                }
                encode_record(&record, &mut records.bytes);
                records.ends.push(records.bytes.len());
            }
            Ok(self.append(shared, records, batch.wait_store, &config, started))
        })
    }

    /// Whether the store takes messages, and this topic's name is short enough.
    fn check_put(&self, record: &RecordFields<'_>) -> Result<(), PutResult> {
        let unavailable =
            |reason: &str| Err(refused(PutStatus::ServiceNotAvailable, reason.to_owned()));
        if !self.serving.load(Ordering::Acquire) {
            return unavailable("the store is not running");
        }
        if self.config.get().broker_role == BrokerRole::Slave {
            return unavailable("a slave takes no messages");
        }
        if let Err(reason) = self.flags.check_writable() {
            return unavailable(reason);
        }
        if self.is_os_page_cache_busy() {
            let reason =
                format!("the append lock has been held for {} ms", self.log.lock_held_ms());
            return Err(refused(PutStatus::OsPageCacheBusy, reason));
        }
        if record.topic.len() > TOPIC_MAX_LENGTH {
            let reason = format!(
                "the topic has {} characters, the longest allowed is {TOPIC_MAX_LENGTH}",
                record.topic.len()
            );
            return Err(refused(PutStatus::MessageIllegal, reason));
        }
        Ok(())
    }

    fn append(
        &self,
        record: &RecordFields<'_>,
        records: &mut EncodedRecords,
        wait_store: bool,
        config: &StoreConfig,
        started: Instant,
    ) -> PutOutcome {
        let kind = record.sys_flag & sys_flag::TRANSACTION_MASK;
        let counted = matches!(kind, sys_flag::TRANSACTION_NOT | sys_flag::TRANSACTION_COMMIT);
        let appended = match self.append_to_queue(record, records, counted) {
            Ok(appended) => appended,
            Err(refused) => {
                self.stats.count_failed_put();
                return PutOutcome::Done(refused);
            }
        };
        self.reput.signal().wakeup();
        self.stats.count_put(records.ends.len() as u64, records.bytes.len());
        self.stats.count_put_time(started.elapsed());
        let result = stored(&appended, records);
        self.wait_or_done(result, appended.end, wait_store, config)
    }

    /// Appends, looking the queue up again if it is removed meanwhile.
    fn append_to_queue(
        &self,
        record: &RecordFields<'_>,
        records: &mut EncodedRecords,
        counted: bool,
    ) -> Result<Appended, PutResult> {
        loop {
            let queue = self
                .queues
                .find_or_create(record.topic, record.queue_id)
                .map_err(|error| refused(PutStatus::MessageIllegal, error.0))?;
            let (status, reason) = match self.log.append(records, &queue, counted) {
                Ok(appended) => return Ok(appended),
                Err(AppendError::QueueRemoved) => continue,
                Err(AppendError::TooLarge) => (
                    PutStatus::MessageIllegal,
                    format!("{} bytes do not fit into one commit-log file", records.bytes.len()),
                ),
                Err(AppendError::NoFile(reason)) => (PutStatus::CreateMappedFileFailed, reason),
                Err(AppendError::Failed(reason)) => (PutStatus::UnknownError, reason),
            };
            return Err(refused(status, reason));
        }
    }

    /// Arranges what the acknowledgement waits for.
    fn wait_or_done(
        &self,
        result: PutResult,
        end: i64,
        wait_store: bool,
        config: &StoreConfig,
    ) -> PutOutcome {
        let flush = self.flush.is_sync() && wait_store;
        let replica = config.broker_role == BrokerRole::SyncMaster && wait_store;
        let replicator = self.replicator.get();
        let without_slave = |ticket: PutTicket| {
            ticket.complete(PutStatus::SlaveNotAvailable, "this broker has no replication");
        };
        let to_slave = |ticket: PutTicket| match replicator {
            Some(replicator) => replicator.wait_for(end, ticket),
            None => without_slave(ticket),
        };
        if !flush {
            self.flush.appended();
        }
        if let Some(replicator) = replicator {
            replicator.appended();
        }
        match (flush, replica) {
            (false, false) => PutOutcome::Done(result),
            (true, false) => {
                let (pending, [ticket]) = PendingPut::new(result, [Part::Flush]);
                self.flush.wait_for(end, ticket);
                PutOutcome::Pending(pending)
            }
            (false, true) => {
                let (pending, [ticket]) = PendingPut::new(result, [Part::Replica]);
                to_slave(ticket);
                PutOutcome::Pending(pending)
            }
            (true, true) => {
                let parts = [Part::Flush, Part::Replica];
                let (pending, [flush_ticket, replica_ticket]) = PendingPut::new(result, parts);
                to_slave(replica_ticket);
                self.flush.wait_for(end, flush_ticket);
                PutOutcome::Pending(pending)
            }
        }
    }

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
        if !self.serving.load(Ordering::Acquire) || !self.flags.is_readable() {
            return None;
        }
        let started = Instant::now();
        let config = self.config.get();
        let queue = self.queues.find(topic, queue_id);
        let memory_bytes = self.memory_budget(&config);
        let get = Get { offset, max_messages, filter, memory_bytes };
        let result = read::get(&self.log, queue.as_deref(), &config, &get);
        self.stats.count_get(result.count, started.elapsed());
        Some(result)
    }

    /// Distance from the log's end within which records count as in memory, bytes.
    fn memory_budget(&self, config: &StoreConfig) -> i64 {
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
        first.and_then(|record| super::commit_log::store_time(&record)).unwrap_or(-1)
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
        let slice = self.log.record_at(commit_log_offset)?;
        let record = read_record(&slice, false).ok()?;
        (record.physical_offset == commit_log_offset).then(|| record.to_message())
    }

    /// Messages by key and time range.
    pub fn query(&self, topic: &str, key: &str, max: i32, begin: i64, end: i64) -> QueryResult {
        let max = max.min(self.config.get().max_msgs_num_batch).max(0) as usize;
        let mut result = QueryResult::default();
        let mut records = RecordSlices::default();
        let mut last = end;
        for _ in 0..QUERY_ROUNDS {
            let mut answer = self.index.query(topic, key, max, begin, last);
            result.index_last_update_timestamp = answer.last_update_timestamp;
            result.index_last_update_phy_offset = answer.last_update_offset;
            if answer.offsets.is_empty() {
                break;
            }
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
        self.unit(topic, queue_id, offset).is_some_and(|unit| {
            self.log.max_offset() - unit.offset > self.memory_budget(&self.config.get())
        })
    }

    /// Removes the queues of topics that are not `known`. Returns how many topics.
    pub fn clean_unused_topics(&self, known: &dyn Fn(&str) -> bool) -> usize {
        let kept = |topic: &str| {
            topic == SCHEDULE_TOPIC
                || topic == TRANS_OP_HALF_TOPIC
                || topic.starts_with(LMQ_PREFIX)
                || known(topic)
        };
        self.remove_queues(|queue| !kept(queue.topic()))
    }

    /// Removes queues whose last message is no longer in the commit log.
    pub fn clean_expired_consume_queues(&self) {
        let min = self.log.min_offset();
        self.remove_queues(|queue| {
            **queue.topic() != *SCHEDULE_TOPIC
                && queue.last_record_end().is_some_and(|end| end < min)
        });
    }

    fn remove_queues(&self, gone: impl Fn(&ConsumeQueue) -> bool) -> usize {
        // Under the append lock: no put may take an offset of a queue that is going.
        let removed = self.log.with_append_lock(|| {
            let removed = self.queues.remove(gone);
            removed.iter().for_each(|queue| queue.mark_removed());
            removed
        });
        let mut topics: Vec<&str> = removed.iter().map(|queue| &**queue.topic()).collect();
        topics.dedup();
        for queue in &removed {
            log::info!("removing queue {} of topic {}", queue.queue_id(), queue.topic());
            queue.destroy();
        }
        topics.len()
    }

    /// The next rounds of cleaning delete expired commit-log files at any hour.
    pub fn delete_expired_files_now(&self) {
        self.cleaner.delete_manually();
    }

    /// Whether the append lock has been held for too long.
    pub fn is_os_page_cache_busy(&self) -> bool {
        let held = self.log.lock_held_ms();
        held > self.config.get().os_page_cache_busy_time_out_mills && held < ABSURD_LOCK_MS
    }

    /// Whether the transient store pool is used and has no free buffer: puts would stall.
    pub fn is_transient_pool_deficient(&self) -> bool {
        self.allocator.free_buffers() == 0
    }

    /// For how long the append lock has been held, ms; 0 while it is free.
    pub fn lock_held_ms(&self) -> i64 {
        self.log.lock_held_ms()
    }

    /// Statistics and state for the runtime info answer, by Java's key.
    pub fn runtime_info(&self) -> BTreeMap<String, String> {
        let mut info = self.stats.runtime_info();
        let mut put = |key: &str, value: String| {
            info.insert(key.to_owned(), value);
        };
        let config = self.config.get();
        let mut lowest = f64::MAX;
        for folder in config.commit_log_folders() {
            let ratio = disk::used_ratio(&folder);
            lowest = lowest.min(ratio);
            put(&format!("commitLogDiskRatio_{}", folder.display()), java_double(ratio));
        }
        put("commitLogDiskRatio", java_double(lowest));
        put("consumeQueueDiskRatio", java_double(disk::used_ratio(self.queues.folder())));
        put("commitLogMinOffset", self.log.min_offset().to_string());
        put("commitLogMaxOffset", self.log.max_offset().to_string());
        put("dispatchBehindBytes", self.dispatch_behind_bytes().to_string());
        put("pageCacheLockTimeMills", self.log.lock_held_ms().to_string());
        put("earliestMessageTimeStamp", self.earliest_message_time().to_string());
        put("remainTransientStoreBufferNumbs", self.allocator.free_buffers().to_string());
        put("flushedOffset", self.log.flushed_offset().to_string());
        if let Err(reason) = self.flags.check_writable() {
            put("notWritable", reason.to_owned());
        }
        info
    }

    /// First offset of the commit log.
    pub fn commit_log_min_offset(&self) -> i64 {
        self.log.min_offset()
    }

    /// End of the commit log.
    pub fn commit_log_max_offset(&self) -> i64 {
        self.log.max_offset()
    }

    /// Bytes not dispatched yet.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        self.reput.behind_bytes()
    }

    /// Configuration.
    pub fn config(&self) -> Arc<StoreConfig> {
        self.config.get()
    }

    /// Messages appended since the start; a batch counts its messages.
    pub fn put_total(&self) -> i64 {
        self.stats.puts() as i64
    }

    /// Messages handed out since the start.
    pub fn get_total(&self) -> i64 {
        self.stats.transferred() as i64
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

    /// Topics with queues, and their queue ids.
    pub fn topics(&self) -> BTreeMap<String, Vec<i32>> {
        self.queues.topics()
    }

    /// Running flags, for the tools that switch reading and writing.
    pub fn flags(&self) -> &RunningFlags {
        &self.flags
    }
}

impl Drop for MessageStore {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Runs `body` with this thread's empty buffer.
fn with_buffer<R>(body: impl FnOnce(&mut EncodedRecords) -> R) -> R {
    ENCODED.with_borrow_mut(|records| {
        records.clear();
        let result = body(records);
        if records.bytes.capacity() > KEPT_BUFFER_BYTES {
            *records = EncodedRecords::default();
        }
        result
    })
}

/// The result of a put that stored nothing.
fn refused(status: PutStatus, reason: String) -> PutResult {
    PutResult {
        status,
        queue_offset: 0,
        commit_log_offset: 0,
        batch_offsets: Vec::new(),
        wrote_bytes: 0,
        messages: 0,
        store_timestamp: 0,
        reason,
    }
}

/// The result of a put that stored something.
fn stored(appended: &Appended, records: &EncodedRecords) -> PutResult {
    let mut batch_offsets = Vec::new();
    if records.ends.len() > 1 {
        let starts = std::iter::once(0).chain(records.ends.iter().copied());
        let starts = starts.take(records.ends.len());
        batch_offsets.extend(starts.map(|start| appended.offset + start as i64));
    }
    PutResult {
        status: PutStatus::PutOk,
        queue_offset: appended.queue_offset,
        commit_log_offset: appended.offset,
        batch_offsets,
        wrote_bytes: records.bytes.len() as u32,
        messages: records.ends.len() as u32,
        store_timestamp: appended.store_timestamp,
        reason: String::new(),
    }
}

/// Limits of one message.
fn check_sizes(record: &RecordFields<'_>, max_message_size: i32) -> Result<(), PutResult> {
    let max = max_message_size.max(0) as usize;
    let properties = record.properties.len();
    if properties > MAX_PROPERTIES_BYTES {
        let reason =
            format!("the properties have {properties} bytes, the most is {MAX_PROPERTIES_BYTES}");
        return Err(refused(PutStatus::PropertiesSizeExceeded, reason));
    }
    let size = record_size(record);
    if record.body.len() > max || size > max + RECORD_OVERHEAD_BYTES {
        let reason = format!(
            "the body has {} bytes, the record {size}; maxMessageSize is {max}",
            record.body.len()
        );
        return Err(refused(PutStatus::MessageIllegal, reason));
    }
    debug_assert!(size >= MIN_RECORD_BYTES);
    Ok(())
}

/// The stored properties of a batch's message: its own, then the batch's.
fn join_properties(joined: &mut String, own: &str, shared: &str) {
    const SEPARATOR: char = crate::common::properties::PROPERTY_SEPARATOR;
    joined.clear();
    joined.push_str(own);
    if !own.is_empty() && !shared.is_empty() && !own.ends_with(SEPARATOR) {
        joined.push(SEPARATOR);
    }
    joined.push_str(shared);
}

/// Takes the lock that keeps a second broker, ours or Java's, out of the store.
fn take_lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let failed = |what, error: std::io::Error| StoreError::io(what, &path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed("open", error))?;
    if !os::lock_bytes(&file, 0, 1).map_err(|error| failed("lock", error))? {
        return Err(StoreError(format!(
            "{} is locked: another broker uses this store; stop it, or give this one its own \
             storePathRootDir",
            path.display()
        )));
    }
    file.write_all(b"lock")
        .and_then(|()| file.sync_all())
        .map_err(|error| failed("write", error))?;
    Ok(file)
}
