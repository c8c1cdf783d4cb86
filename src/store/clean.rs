//! Deleting what is old: [`Cleaner`] removes expired commit-log files, then the consume-queue and
//! index files that only refer to them, and stops writing before the disk is full.
//!
//! A file is deleted by unlinking it. Who still reads it keeps it until it is done, so there is
//! nothing to force and nothing to retry.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::commit_log::CommitLog;
use super::config::StoreConfig;
use super::disk::{self, CLEAN_FORCIBLY_RATIO, WARNING_RATIO};
use super::index::IndexService;
use super::mapped_file::MappedFile;
use super::queue_table::QueueTable;
use super::running_flags::{Flag, RunningFlags};
use crate::common::clock::now_ms;
use crate::common::config::Live;
use crate::common::os::LocalTime;
use crate::common::service_thread::{ServiceThread, Signal};

/// Most files deleted in one round.
const MAX_FILES_A_ROUND: usize = 10;
/// Rounds that a manual request lasts.
const MANUAL_ROUNDS: u32 = 20;
/// Time from the start to the first round of deletion.
const FIRST_ROUND: Duration = Duration::from_secs(60);
/// Time from the start to the first look at the disk.
const FIRST_DISK_CHECK: Duration = Duration::from_secs(1);
/// Period of looking at the disk.
const DISK_CHECK_PERIOD: Duration = Duration::from_secs(10);

/// Queues named in one warning; a topic may have thousands.
const QUEUES_TOLD: usize = 8;

/// Knows how far groups have consumed, so that deleting what they have not is told.
pub trait ConsumedOffsets: Send + Sync {
    /// The groups that consume a queue, and the next offset that each wants.
    fn of_queue(&self, topic: &str, queue_id: i32) -> Vec<(String, i64)>;
}

/// A group and a topic that it consumes.
type GroupTopic = (String, Arc<str>);

/// What groups lose in a round: by group and topic, the queues with the number of messages.
#[derive(Debug, Default)]
struct Losses(BTreeMap<GroupTopic, Vec<(i32, i64)>>);

impl Losses {
    /// The messages of a queue from `before` to `after` are gone.
    fn add(
        &mut self,
        topic: &Arc<str>,
        queue_id: i32,
        before: i64,
        after: i64,
        group: String,
        wanted: i64,
    ) {
        let lost = after - wanted.max(before);
        if lost > 0 {
            self.0.entry((group, Arc::clone(topic))).or_default().push((queue_id, lost));
        }
    }

    /// One line a group and topic.
    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|((group, topic), queues)| {
            let total: i64 = queues.iter().map(|(_, lost)| lost).sum();
            let named = queues.iter().take(QUEUES_TOLD);
            let mut places: Vec<_> =
                named.map(|(queue, lost)| format!("{lost} of queue {queue}")).collect();
            if let Some(more) = queues.len().checked_sub(QUEUES_TOLD).filter(|more| *more > 0) {
                places.push(format!("the rest of {more} more queues"));
            }
            format!(
                "group {group} has lost {total} messages of topic {topic} that it had not consumed: \
                 {}; their commit-log files were deleted",
                places.join(", ")
            )
        })
    }
}

/// The cleaning thread's shared half.
pub struct Cleaner {
    config: Arc<Live<StoreConfig>>,
    log: Arc<CommitLog>,
    queues: Arc<QueueTable>,
    index: Arc<IndexService>,
    flags: Arc<RunningFlags>,
    consumed: OnceLock<Arc<dyn ConsumedOffsets>>,
    manual_rounds: AtomicU32,
    /// First commit-log offset when queues and index were cleaned last.
    cleaned_below: AtomicI64,
}

/// Why files are deleted in a round, and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trigger {
    /// Expired files go.
    expired: bool,
    /// The oldest files go, expired or not.
    at_once: bool,
}

impl Cleaner {
    /// A cleaner without a thread yet.
    pub fn new(
        config: Arc<Live<StoreConfig>>,
        log: Arc<CommitLog>,
        queues: Arc<QueueTable>,
        index: Arc<IndexService>,
        flags: Arc<RunningFlags>,
    ) -> Self {
        Self {
            config,
            log,
            queues,
            index,
            flags,
            consumed: OnceLock::new(),
            manual_rounds: AtomicU32::new(0),
            cleaned_below: AtomicI64::new(0),
        }
    }

    /// Sets who knows what groups have consumed; once.
    pub fn set_consumed_offsets(&self, consumed: Arc<dyn ConsumedOffsets>) {
        let _ = self.consumed.set(consumed);
    }

    /// Deletes expired files in the next rounds, whatever the hour.
    pub fn delete_manually(&self) {
        self.manual_rounds.store(MANUAL_ROUNDS, Ordering::Release);
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>) -> io::Result<ServiceThread> {
        let cleaner = Arc::clone(self);
        ServiceThread::spawn("CleanStore", Arc::new(Signal::default()), move |signal| {
            let mut next_clean = Instant::now() + FIRST_ROUND;
            let mut next_check = Instant::now() + FIRST_DISK_CHECK;
            let until = |moment: Instant| moment.saturating_duration_since(Instant::now());
            while signal.wait(until(next_clean.min(next_check))) {
                if until(next_check).is_zero() {
                    cleaner.check_disk();
                    next_check = Instant::now() + DISK_CHECK_PERIOD;
                }
                if until(next_clean).is_zero() {
                    cleaner.round(signal);
                    let period = cleaner.config.get().clean_resource_interval.max(100);
                    next_clean = Instant::now() + Duration::from_millis(period as u64);
                }
            }
        })
    }

    /// Least used share of the disks of the commit log.
    fn log_ratio(&self) -> f64 {
        let folders = self.config.get().commit_log_folders();
        folders.iter().map(|folder| disk::used_ratio(folder)).fold(f64::MAX, f64::min)
    }

    /// Takes no more messages while the disk is nearly full.
    fn check_disk(&self) {
        let ratio = self.log_ratio();
        self.set_disk_full(ratio > WARNING_RATIO, ratio);
    }

    fn set_disk_full(&self, full: bool, ratio: f64) {
        if !self.flags.set(Flag::DiskFull, full) {
            return;
        }
        let folder = self.log.folder().display();
        if full {
            log::error!(
                "the disk of {folder} is {:.0}% full: no messages are taken",
                ratio * 100.0
            );
        } else {
            log::info!("the disk of {folder} has room again: messages are taken");
        }
    }

    /// One round: commit log, then what refers to it.
    pub fn round(&self, signal: &Signal) {
        let config = self.config.get();
        let manual = self
            .manual_rounds
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |rounds| rounds.checked_sub(1))
            .is_ok();
        let space = self.space_trigger(&config);
        let expired = manual || space.expired || is_delete_hour(&config.delete_when, now_ms());
        let trigger =
            Trigger { expired, at_once: space.at_once && config.clean_file_forcibly_enable };
        self.clean_log(&config, trigger, signal);
        self.clean_below_log_start(&config, signal);
    }

    /// What the disks' fullness asks for; stops writing above the warning level.
    fn space_trigger(&self, config: &StoreConfig) -> Trigger {
        let limit = f64::from(config.disk_max_used_space_ratio.clamp(10, 95)) / 100.0;
        let log_ratio = self.log_ratio();
        self.set_disk_full(log_ratio > WARNING_RATIO, log_ratio);
        let queue_ratio = disk::used_ratio(self.queues.folder());
        let highest = log_ratio.max(queue_ratio);
        Trigger { expired: highest > limit, at_once: highest > CLEAN_FORCIBLY_RATIO }
    }

    /// Whether the log is over a limit that has nothing to do with age.
    fn is_over_limit(&self, config: &StoreConfig) -> bool {
        let bytes = self.log.max_offset() - self.log.min_offset().max(0);
        let free = disk::free_bytes(self.log.folder());
        (config.max_store_bytes > 0 && bytes > config.max_store_bytes)
            || (config.min_free_bytes > 0
                && free.is_some_and(|free| free < config.min_free_bytes as u64))
    }

    fn clean_log(&self, config: &StoreConfig, trigger: Trigger, signal: &Signal) {
        let kept_ms = i64::from(config.file_reserved_time.max(0)) * 3_600_000;
        for _ in 0..MAX_FILES_A_ROUND {
            let Some(first) = self.log.files().first() else { return };
            let forced = trigger.at_once || self.is_over_limit(config);
            let old = || modified_ms(&first).is_some_and(|time| time + kept_ms <= now_ms());
            let goes = forced || (trigger.expired && old());
            if !goes {
                return;
            }
            match self.log.files().delete_first(&first) {
                Ok(true) => log::info!("deleted commit-log file {}", first.path().display()),
                Ok(false) => return,
                Err(error) => {
                    log::error!("{} was not removed: {error}", first.path().display());
                    return;
                }
            }
            let pause = config.delete_commit_log_files_interval.max(0) as u64;
            if pause > 0 && !signal.wait(Duration::from_millis(pause)) {
                return;
            }
        }
    }

    /// Deletes consume-queue and index files that only refer to what is gone.
    fn clean_below_log_start(&self, config: &StoreConfig, signal: &Signal) {
        let min = self.log.min_offset();
        if min <= self.cleaned_below.swap(min, Ordering::AcqRel) {
            return;
        }
        let mut losses = Losses::default();
        for queue in self.queues.snapshot() {
            let before = queue.min_offset();
            let deleted = queue.delete_expired(min);
            let after = queue.min_offset();
            if let Some(consumed) = self.consumed.get().filter(|_| after > before) {
                for (group, wanted) in consumed.of_queue(queue.topic(), queue.queue_id()) {
                    losses.add(queue.topic(), queue.queue_id(), before, after, group, wanted);
                }
            }
            let pause = config.delete_consume_queue_files_interval.max(0) as u64;
            if deleted > 0 && pause > 0 && !signal.wait(Duration::from_millis(pause)) {
                break;
            }
        }
        losses.lines().for_each(|line| log::warn!("{line}"));
        self.index.delete_expired(min);
    }
}

/// Whether the hour is one of those in `deleteWhen`.
fn is_delete_hour(delete_when: &str, now_ms: i64) -> bool {
    let hour = LocalTime::from_epoch_ms(now_ms).hour;
    delete_when.split(';').any(|word| word.trim().parse() == Ok(hour))
}

/// When the file was written last, ms.
fn modified_ms(file: &MappedFile) -> Option<i64> {
    let modified = std::fs::metadata(file.path()).and_then(|meta| meta.modified()).ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::record::RecordFields;
    use crate::store::message_store::{Arrival, ArrivalListener, MessageStore};
    use crate::store::testing::TempFolder;
    use crate::store::{GetMessageStatus, NewMessage, PutStatus};

    struct Nobody;

    impl ArrivalListener for Nobody {
        fn arrived(&self, _arrival: &Arrival<'_>) {}
    }

    /// A store with 20 files of 1000 bytes, two messages each, in one queue.
    fn filled(folder: &TempFolder) -> Arc<MessageStore> {
        let config = StoreConfig {
            store_path_root_dir: folder.path().to_str().unwrap().to_owned(),
            mapped_file_size_commit_log: 1000,
            mapped_file_size_consume_queue: 100,
            max_hash_slot_num: 10,
            max_index_num: 9,
            delete_when: "99".to_owned(),
            disk_max_used_space_ratio: 95,
            delete_commit_log_files_interval: 0,
            delete_consume_queue_files_interval: 0,
            clean_file_forcibly_enable: false,
            ..StoreConfig::default()
        };
        let store = MessageStore::open(Arc::new(Live::new(config)), Arc::new(Nobody)).unwrap();
        store.start().unwrap();
        for _ in 0..40 {
            let record = RecordFields {
                topic: "T",
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: ([127, 0, 0, 1], 1).into(),
                store_host: ([127, 0, 0, 1], 2).into(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &[7; 350],
                properties: "KEYS\u{1}k",
            };
            let result = store.put(&NewMessage { record, wait_store: true }).wait();
            assert_eq!(result.status, PutStatus::PutOk);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while store.max_offset("T", 0) < 40 {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        store
    }

    #[test]
    fn who_loses_what_is_told() {
        let mut losses = Losses::default();
        let topic: Arc<str> = "T".into();
        losses.add(&topic, 0, 10, 20, "slow".to_owned(), 13);
        losses.add(&topic, 1, 10, 20, "slow".to_owned(), 0);
        losses.add(&topic, 1, 10, 20, "fast".to_owned(), 20);
        let told: Vec<_> = losses.lines().collect();
        let expected = "group slow has lost 17 messages of topic T that it had not consumed: 7 of \
                        queue 0, 10 of queue 1; their commit-log files were deleted";
        assert_eq!(told, [expected]);
        (0..9).for_each(|queue| losses.add(&topic, queue, 0, 1, "many".to_owned(), 0));
        assert!(
            losses.lines().next().unwrap().contains("1 of queue 7, the rest of 1 more queues;")
        );
    }

    /// A group that has consumed 35 messages, and one that has consumed 10.
    struct Groups(std::sync::Mutex<Vec<String>>);

    impl ConsumedOffsets for Groups {
        fn of_queue(&self, topic: &str, queue_id: i32) -> Vec<(String, i64)> {
            self.0.lock().unwrap().push(format!("{topic} {queue_id}"));
            vec![("fast".to_owned(), 35), ("slow".to_owned(), 10)]
        }
    }

    #[test]
    fn groups_are_asked_about_when_messages_go() {
        let folder = TempFolder::new("clean-groups");
        let store = filled(&folder);
        let groups = Arc::new(Groups(Default::default()));
        store.set_consumed_offsets(Arc::clone(&groups) as Arc<dyn ConsumedOffsets>);
        store.cleaner.round(&Signal::default());
        assert!(groups.0.lock().unwrap().is_empty(), "nothing has gone");
        set(&store, |config| config.max_store_bytes = 5000);
        (0..2).for_each(|_| store.cleaner.round(&Signal::default()));
        assert_eq!(*groups.0.lock().unwrap(), ["T 0", "T 0"], "in each of two rounds");
    }

    fn set(store: &MessageStore, change: impl FnOnce(&mut StoreConfig)) {
        store.config.update(change);
    }

    #[test]
    fn delete_hours() {
        let now = now_ms();
        let hour = LocalTime::from_epoch_ms(now).hour;
        assert!(is_delete_hour(&format!("99;{hour:02}"), now));
        assert!(!is_delete_hour("99; x;", now));
    }

    #[test]
    fn a_limit_of_bytes_deletes_the_oldest_and_what_refers_to_it() {
        let folder = TempFolder::new("clean-bytes");
        let store = filled(&folder);
        let signal = Signal::default();
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 0, "nothing has expired");
        let held = store.get("g", "T", 0, 0, 1, None).unwrap();
        set(&store, |config| config.max_store_bytes = 5000);
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 10_000, "ten files a round");
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 15_000);
        assert_eq!((store.min_offset("T", 0), store.max_offset("T", 0)), (30, 40));
        let files = std::fs::read_dir(folder.path().join("consumequeue/T/0")).unwrap().count();
        assert_eq!(files, 2, "units 30 to 39 are two files of five");
        let result = store.get("g", "T", 0, 0, 1, None).unwrap();
        assert_eq!(result.status, GetMessageStatus::OffsetTooSmall);
        assert_eq!(result.next_begin_offset, 30);
        assert_eq!(store.query("T", "k", 64, 0, i64::MAX).count, 10);
        // A reader keeps what it has, deleted or not.
        let mut slices = Vec::new();
        let records = held.records.unwrap();
        records.slices(&mut slices);
        assert!(crate::common::record::read_record(&slices[0], true).is_ok());
    }

    #[test]
    fn expired_files_go_in_their_hour_or_on_demand_but_never_the_last() {
        let folder = TempFolder::new("clean-time");
        let store = filled(&folder);
        let signal = Signal::default();
        set(&store, |config| config.file_reserved_time = 0);
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 0, "it is not the hour");
        store.delete_expired_files_now();
        (0..3).for_each(|_| store.cleaner.round(&signal));
        assert_eq!(store.commit_log_min_offset(), 19_000);
        assert_eq!(store.max_offset("T", 0), 40);
    }

    #[test]
    fn a_demand_for_free_bytes_that_cannot_be_met_keeps_the_last_file() {
        let folder = TempFolder::new("clean-free");
        let store = filled(&folder);
        set(&store, |config| config.min_free_bytes = i64::MAX);
        (0..5).for_each(|_| store.cleaner.round(&Signal::default()));
        assert_eq!(store.commit_log_min_offset(), 19_000);
    }
}
