//! [`MessageStore`]: the whole store behind one front. Here it is opened, started, stopped and
//! tells its state; puts are in `put.rs`, reads in `lookup.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::allocate::AllocateMappedFileService;
use super::checkpoint::StoreCheckpoint;
use super::clean;
use super::commit_log::CommitLog;
use super::config::StoreConfig;
use super::consume_queue::ConsumeQueue;
use super::disk;
use super::dispatch::{Dispatcher, FilterBits, ReputMessageService};
use super::flush::FlushService;
use super::flush_queues;
use super::folder::{flush_file_system, flush_folder, make_folder};
use super::index::IndexService;
use super::lock_watch;
use super::mapped_file::TransientStorePool;
use super::numbering;
use super::pending::PutTicket;
use super::queue_table::QueueTable;
use super::recovery::{Recovery, first_store_time};
use super::running_flags::RunningFlags;
use super::stats::StoreStats;
use crate::common::clock::now_ms;
use crate::common::config::Live;
use crate::common::json::java_double;
use crate::common::os;
use crate::common::service_thread::ServiceThread;
use crate::common::sync::lock;
use crate::common::topic::{LMQ_PREFIX, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_OP_HALF_TOPIC};

/// Name of the file that stands in the root while the store is open, and after a crash. Java's is
/// empty; here it may say from which offset on a failed flush lost the log.
const ABORT: &str = "abort";
/// What it says then, before the offset.
const LOST_FROM: &str = "flush failed at ";
/// A lock held for longer than this is taken for a clock that jumped.
const ABSURD_LOCK_MS: i64 = 10_000_000;
/// Memory of a machine that does not tell how much it has.
const ASSUMED_MEMORY: u64 = 24 << 30;
/// How long stopping waits for a thread.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// So many queues are removed together at least, while puts wait.
const REMOVED_TOGETHER: usize = 64;
/// How often starting tells how far dispatch has come.
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

/// Told of every dispatched message, by the reput thread and before that by who starts the store. Must
/// not block.
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
    /// Whether anybody follows the log. Who begins to later finds what was appended before.
    fn is_followed(&self) -> bool;

    /// There is more that may be copied: it was appended, or, in SYNC_FLUSH mode, flushed.
    fn appended(&self);

    /// Completes `ticket` when a slave has everything up to `end`, when it is late, or at once
    /// when no slave is close enough.
    fn wait_for(&self, end: i64, ticket: PutTicket);

    /// The store stops: nothing is taken from the log or appended to it any more.
    fn stop(&self);
}

/// The store.
///
/// Its parts and who uses them:
///
/// * `log` is written by puts and read by everybody; `allocator` makes its files;
/// * `flush` makes it durable, `reput` makes it visible in `queues` and in `index`;
/// * `checkpoint`, `abort` and `lock` are what the next start learns from.
pub struct MessageStore {
    pub(super) config: Arc<Live<StoreConfig>>,
    root: PathBuf,
    pub(super) log: Arc<CommitLog>,
    allocator: Arc<AllocateMappedFileService>,
    pub(super) queues: Arc<QueueTable>,
    pub(super) index: Arc<IndexService>,
    checkpoint: Arc<StoreCheckpoint>,
    dispatcher: Arc<Dispatcher>,
    pub(super) reput: Arc<ReputMessageService>,
    pub(super) flush: Arc<FlushService>,
    pub(super) flags: Arc<RunningFlags>,
    pub(super) stats: Arc<StoreStats>,
    pub(super) cleaner: Arc<clean::Cleaner>,
    pub(super) replicator: Arc<OnceLock<Arc<dyn Replicator>>>,
    /// Memory of the machine, bytes.
    pub(super) memory_bytes: u64,
    pub(super) serving: AtomicBool,
    stopped: AtomicBool,
    crashed: AtomicBool,
    threads: Mutex<Vec<ServiceThread>>,
    /// Holds the byte lock: closing any descriptor of the file would give it up.
    lock_file: Mutex<Option<File>>,
}

/// Whether the append lock has been held for so long that the page cache must be busy.
pub(super) fn is_too_long(held_ms: i64, config: &StoreConfig) -> bool {
    held_ms > 0 && held_ms > config.os_page_cache_busy_time_out_mills && held_ms < ABSURD_LOCK_MS
}

impl MessageStore {
    /// Loads and recovers the store under `config.store_path_root_dir`. Takes the lock.
    pub fn open(
        config: Arc<Live<StoreConfig>>,
        listener: Arc<dyn ArrivalListener>,
    ) -> Result<Arc<Self>, StoreError> {
        let snapshot = config.get();
        let root = snapshot.root();
        make_folder(&root).map_err(|error| StoreError::io("create", &root, &error))?;
        let lock_file = take_lock(&root)?;
        let delay_levels = super::delay_levels::DelayLevels::parse(&snapshot.message_delay_level)
            .map_err(StoreError)?;
        let allocator = Arc::new(new_allocator(&config, &snapshot)?);
        let log = Arc::new(CommitLog::new(Arc::clone(&config), Arc::clone(&allocator))?);
        let queues = Arc::new(QueueTable::new(&snapshot));
        let checkpoint = Arc::new(StoreCheckpoint::open(&root.join("checkpoint"))?);
        let index = Arc::new(IndexService::new(&snapshot, Arc::clone(&checkpoint)));
        let dispatcher = Arc::new(Dispatcher::new(
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
        let replicator: Arc<OnceLock<Arc<dyn Replicator>>> = Arc::default();
        let wake_reput = Arc::clone(reput.signal());
        // Weakly: the replicator flushes.
        let wake_replicator = Arc::downgrade(&replicator);
        let abort = root.join(ABORT);
        let flush = Arc::new(FlushService::new(
            Arc::clone(&config),
            Arc::clone(&log),
            Arc::clone(&checkpoint),
            Arc::clone(&flags),
            move |lost_from| note_lost_from(&abort, lost_from),
            move || {
                wake_reput.wakeup();
                if let Some(replicator) = wake_replicator.upgrade()
                    && let Some(replicator) = replicator.get()
                {
                    replicator.appended();
                }
            },
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
            replicator,
            serving: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            threads: Mutex::default(),
            lock_file: Mutex::new(Some(lock_file)),
        });
        store.load(&snapshot)?;
        Ok(store)
    }

    /// Loads all files and finds their ends.
    fn load(&self, config: &StoreConfig) -> Result<(), StoreError> {
        let clean_exit = !self.abort_path().exists();
        self.crashed.store(!clean_exit, Ordering::Release);
        self.log.load()?;
        self.queues.load()?;
        self.index.load(clean_exit)?;
        let before_repair = |from| self.before_repair(from);
        let recovery = Recovery {
            config,
            log: &self.log,
            queues: &self.queues,
            checkpoint: &self.checkpoint,
            dispatcher: &self.dispatcher,
            before_repair: &before_repair,
            lost_from: read_lost_from(&self.abort_path()),
        };
        let certain_below = recovery.certain_below();
        let cut = AtomicBool::new(false);
        self.queues.visit_all(|queue| {
            let repair = queue.recover(clean_exit, certain_below, &before_repair)?;
            cut.fetch_or(repair.cut, Ordering::Relaxed);
            if repair.damaged {
                queue.set_damaged();
            }
            Ok(())
        })?;
        let recovered = if clean_exit { recovery.normal()? } else { recovery.abnormal()? };
        self.index
            .truncate(self.log.max_offset())
            .map_err(|error| StoreError(format!("the index cannot be cut: {error}")))?;
        if recovered.cut || cut.into_inner() {
            // Else a power cut after later appends could bring back what was cut off.
            let mut folders = config.commit_log_folders();
            folders.push(self.queues.folder().to_owned());
            for folder in folders.iter().filter(|folder| folder.exists()) {
                flush_file_system(folder)
                    .map_err(|error| StoreError::io("force to the disk", folder, &error))?;
            }
        }
        let min = self.log.min_offset();
        self.queues.visit_all(|queue| {
            queue.correct_min_offset(min);
            Ok(())
        })?;
        self.reput.set_position(self.dispatch_begin(recovered.stuck_at));
        Ok(())
    }

    /// Notes that units of records from the commit-log offset `from` on are to be made. If this start ends
    /// before they are, or power fails before they are on the disk, the next one has to make them, although
    /// the store was stopped cleanly before and the checkpoint vouched for them.
    fn before_repair(&self, from: i64) -> Result<(), StoreError> {
        let files = self.log.files().snapshot();
        // The first one may not be the earliest: clocks go back.
        let later = files.iter().filter(|file| file.end() > from);
        let time = later.filter_map(|file| first_store_time(file)).min().unwrap_or(0);
        let abort = self.abort_path();
        let vouched = self.checkpoint.vouch_before(time);
        let noted = vouched.and_then(|()| if abort.exists() { Ok(()) } else { self.make_abort() });
        noted.map_err(|error| StoreError::io("note in", &self.root, &error))
    }

    /// Makes the abort file, on the disk when this returns.
    fn make_abort(&self) -> std::io::Result<()> {
        File::create(self.abort_path())
            .and_then(|file| file.sync_all())
            .and_then(|()| flush_folder(&self.root))
    }

    fn abort_path(&self) -> PathBuf {
        self.root.join(ABORT)
    }

    /// Dispatches what recovery left, then serves.
    pub fn start(&self) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| StoreError(format!("the store cannot start: {error}"));
        if self.reput.behind_bytes() > 0 {
            self.before_repair(self.reput.position())?;
        }
        self.dispatch_what_is_left();
        self.log.with_append_lock(|| {
            numbering::set_next_offsets(&self.queues, &self.reput, &self.config.get());
        });
        self.allocator.start().map_err(failed)?;
        self.reput.start().map_err(failed)?;
        self.flush.start().map_err(failed)?;
        let queues = flush_queues::start(
            Arc::clone(&self.config),
            Arc::clone(&self.queues),
            Arc::clone(&self.checkpoint),
        );
        // It must be on the disk before anything is appended, else a power cut looks like a clean stop.
        // What an earlier run noted in it is done.
        self.make_abort().map_err(|error| StoreError::io("create", &self.abort_path(), &error))?;
        lock(&self.threads).extend([
            queues.map_err(failed)?,
            self.stats.start(self.lock_watch()).map_err(failed)?,
            self.cleaner.start().map_err(failed)?,
        ]);
        self.serving.store(true, Ordering::Release);
        Ok(())
    }

    /// What `debugLockEnable` asks for, once a second.
    fn lock_watch(&self) -> impl Fn() + Send + 'static {
        let (config, log) = (Arc::clone(&self.config), Arc::clone(&self.log));
        move || {
            if config.get().debug_lock_enable
                && let Err(error) = lock_watch::look(&log, &lock_watch::folder())
            {
                log::warn!("what holds the append lock cannot be told: {error}");
            }
        }
    }

    /// Where dispatch begins: behind the last record that has a unit, or, if a queue has lost units
    /// in its middle, behind its last one, and not behind where recovery could not go on. (Adding units
    /// twice is harmless.)
    fn dispatch_begin(&self, stuck_at: Option<i64>) -> i64 {
        let queues = self.queues.snapshot();
        let damaged = queues.iter().filter(|queue| queue.is_damaged());
        let repair = damaged.map(|queue| queue.max_physical()).min().unwrap_or(i64::MAX);
        let repair = repair.min(stuck_at.unwrap_or(i64::MAX));
        let begin = self.queues.max_physical().min(repair).min(self.log.max_offset());
        let begin = begin.max(self.log.min_offset()).max(0);
        // A damaged unit may name any place; files begin with a record.
        match self.log.slice_from(begin).map(|bytes| self.log.is_entry(begin, &bytes)) {
            Some(false) => self.log.files().find(begin).map_or(begin, |file| file.start()),
            _ => begin,
        }
    }

    /// Nothing is served before the queues have everything that is in the log, but for what cannot be
    /// dispatched at the moment: that the thread tries again, while consumers get what there is.
    fn dispatch_what_is_left(&self) {
        let from = self.reput.position();
        let mut told = Instant::now();
        self.reput.catch_up(|| {
            if told.elapsed() >= PROGRESS_PERIOD {
                told = Instant::now();
                let done = self.reput.position() - from;
                log::info!(
                    "building consume queues: {} of {} MiB of the commit log done",
                    done >> 20,
                    (done + self.reput.behind_bytes()) >> 20
                );
            }
        });
        let behind = self.reput.behind_bytes();
        if behind > 0 {
            log::error!(
                "{behind} bytes of the commit log from {} on cannot be dispatched at the moment",
                self.reput.position()
            );
        }
    }

    /// Stops orderly: drain, flush, persist, remove `abort`. Idempotent.
    pub fn shutdown(&self) {
        self.shutdown_with(|| {});
    }

    /// [`shutdown`](Self::shutdown), with something that is done when all that was put is on the
    /// disk and nobody else can open the store yet.
    pub fn shutdown_with(&self, last: impl FnOnce()) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        let served = self.serving.swap(false, Ordering::AcqRel);
        if let Some(replicator) = self.replicator.get() {
            replicator.stop();
        }
        for thread in lock(&self.threads).drain(..).rev() {
            thread.stop(STOP_LIMIT);
        }
        // A put may have found the store serving and append only now: what is flushed next must be all.
        self.log.close();
        self.flush.stop();
        let caught_up = self.reput.stop();
        let queues_flushed = flush_queues::flush_queues(&self.queues, &self.checkpoint, 0);
        let index_flushed = self.index.flush();
        if let Err(error) = &index_flushed {
            log::error!("the index cannot be forced to the disk: {error}");
        }
        self.allocator.stop(STOP_LIMIT);
        let clean = served
            && caught_up
            && queues_flushed
            && index_flushed.is_ok()
            && !self.log.has_failed()
            && self.log.flushed_offset() >= self.log.max_offset();
        if clean {
            if let Err(error) = std::fs::remove_file(self.abort_path()) {
                log::warn!("{} was not removed: {error}", self.abort_path().display());
            }
        } else if served {
            log::warn!("the store was not stopped cleanly; the next start recovers it");
        }
        last();
        *lock(&self.lock_file) = None;
    }

    /// Sets who copies the log to slaves; once.
    pub fn set_replicator(&self, replicator: Arc<dyn Replicator>) {
        let _ = self.replicator.set(replicator);
    }

    /// Sets who computes the filter bits of messages; once, before the start.
    pub fn set_filter_bits(&self, filter_bits: Arc<dyn FilterBits>) {
        self.dispatcher.set_filter_bits(filter_bits);
    }

    /// Sets who knows what groups have consumed: what they lose when files are deleted is told. Once.
    pub fn set_consumed_offsets(&self, consumed: Arc<dyn clean::ConsumedOffsets>) {
        self.cleaner.set_consumed_offsets(consumed);
    }

    /// Takes what was put, also without waiting for it, to where it is when it is acknowledged: to the disk
    /// where puts wait for that (SYNC_FLUSH), else out of this process (transient store pool). Returns
    /// whether that worked.
    pub fn assure(&self) -> bool {
        if self.flush.is_sync() { self.flush.flush_now() } else { self.flush.commit_now() }
    }

    /// The commit log, for replication.
    pub fn commit_log(&self) -> &Arc<CommitLog> {
        &self.log
    }

    /// What wakes dispatch, for replication.
    pub fn wake_dispatch(&self) {
        self.reput.signal().wakeup();
        self.flush.appended(&self.config.get());
    }

    /// Removes the queues of topics that are not `known`, but for those with messages behind `up_to` in
    /// the log. Returns how many topics.
    pub fn clean_unused_topics(&self, known: &dyn Fn(&str) -> bool, up_to: i64) -> usize {
        let kept = |topic: &str| {
            topic == SCHEDULE_TOPIC
                || topic == TIMER_TOPIC
                || topic == TRANS_OP_HALF_TOPIC
                || topic.starts_with(LMQ_PREFIX)
                || known(topic)
        };
        self.remove_queues(|queue| queue.max_physical() <= up_to && !kept(queue.topic()))
    }

    /// Removes the queues of one topic.
    pub fn remove_topic(&self, topic: &str) {
        self.remove_queues(|queue| **queue.topic() == *topic);
    }

    /// Removes queues whose last message is no longer in the commit log.
    pub fn clean_expired_consume_queues(&self) {
        let min = self.log.min_offset();
        self.remove_queues(|queue| {
            ![SCHEDULE_TOPIC, TIMER_TOPIC].contains(&&**queue.topic())
                && queue.last_record_end().is_some_and(|end| end < min)
                // A message that has its number has not come to the queue yet.
                && queue.next_offset() <= queue.max_offset()
        });
    }

    fn remove_queues(&self, gone: impl Fn(&ConsumeQueue) -> bool) -> usize {
        let mut topics = BTreeSet::new();
        loop {
            // Under the append lock: no put may take an offset of a queue that is going.
            let remove = || self.queues.remove(&gone, REMOVED_TOGETHER);
            let removed = self.log.with_append_lock(remove);
            for queue in &removed {
                log::info!("removed queue {} of topic {}", queue.queue_id(), queue.topic());
                topics.insert(Arc::clone(queue.topic()));
            }
            if removed.len() < REMOVED_TOGETHER {
                return topics.len();
            }
        }
    }

    /// The next rounds of cleaning delete expired commit-log files at any hour.
    pub fn delete_expired_files_now(&self) {
        self.cleaner.delete_manually();
    }

    /// Whether the append lock has been held for too long.
    pub fn is_os_page_cache_busy(&self) -> bool {
        is_too_long(self.log.lock_held_ms(now_ms()), &self.config.get())
    }

    /// Whether the transient store pool is used and has no free buffer: puts would stall.
    pub fn is_transient_pool_deficient(&self) -> bool {
        self.allocator.free_buffers() == 0
    }

    /// For how long the append lock has been held, ms; 0 while it is free.
    pub fn lock_held_ms(&self) -> i64 {
        self.log.lock_held_ms(now_ms())
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
        put("pageCacheLockTimeMills", self.lock_held_ms().to_string());
        put("earliestMessageTimeStamp", self.earliest_message_time().to_string());
        put("remainTransientStoreBufferNumbs", self.allocator.free_buffers().to_string());
        put("flushedOffset", self.log.flushed_offset().to_string());
        if let Err(reason) = self.flags.check_writable() {
            put("notWritable", reason.to_owned());
        }
        info
    }

    /// Whether the store was not stopped cleanly before it was opened: its log may have lost its end.
    pub fn had_crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    /// First offset of the commit log.
    pub fn commit_log_min_offset(&self) -> i64 {
        self.log.min_offset()
    }

    /// End of the commit log.
    pub fn commit_log_max_offset(&self) -> i64 {
        self.log.max_offset()
    }

    /// End of the commit log with what is in write buffers and not in its files yet (transient store pool).
    pub fn commit_log_wrote_offset(&self) -> i64 {
        self.log.files().wrote_offset()
    }

    /// Bytes in write buffers that are not in the files yet (transient store pool).
    pub fn uncommitted_bytes(&self) -> usize {
        self.log.uncommitted_bytes()
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

    /// Flushes of the commit log since the start.
    pub fn flush_total(&self) -> u64 {
        self.flush.count()
    }

    /// Messages handed out since the start.
    pub fn get_total(&self) -> i64 {
        self.stats.transferred() as i64
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

/// The allocation service, with the transient store pool if that is used.
fn new_allocator(
    config: &Arc<Live<StoreConfig>>,
    snapshot: &StoreConfig,
) -> Result<AllocateMappedFileService, StoreError> {
    let file_size = snapshot.mapped_file_size_commit_log.max(0) as usize;
    let pool = if snapshot.uses_transient_pool() {
        let count = snapshot.transient_store_pool_size.max(0) as usize;
        let pool = TransientStorePool::new(count, file_size);
        Some(pool.map_err(|error| StoreError(format!("transient store pool: {error}")))?)
    } else {
        None
    };
    Ok(AllocateMappedFileService::new(Arc::clone(config), file_size, pool))
}

/// Notes that what the log has from an offset on may be in memory and not on the disk, although the
/// kernel takes it for written: it reports the failure of a flush once. The next start writes it again.
fn note_lost_from(abort: &Path, offset: i64) {
    if let Err(error) = std::fs::write(abort, format!("{LOST_FROM}{offset}\n")) {
        log::error!(
            "{} cannot be written: {error}; before the store is opened again the machine should be \
             restarted, so that it does not take for stored what is in memory only",
            abort.display()
        );
    }
}

/// What [`note_lost_from`] noted.
fn read_lost_from(abort: &Path) -> Option<i64> {
    std::fs::read_to_string(abort).ok()?.strip_prefix(LOST_FROM)?.trim().parse().ok()
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
