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

/// Most files deleted in one round; what is beyond `maxStoreBytes` goes without such a bound.
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
                    let _told = cleaner.round(signal);
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

    /// Takes no more messages while a disk is nearly full; they are taken again when it has room.
    /// Returns the used shares of the disks of the commit log and of the consume queues.
    fn check_disk(&self) -> (f64, f64) {
        let ratios = (self.log_ratio(), disk::used_ratio(self.queues.folder()));
        let full = ratios.0.max(ratios.1) > WARNING_RATIO;
        if self.flags.set(Flag::DiskFull, full) {
            let log_is_full = ratios.0 >= ratios.1;
            let folder = if log_is_full { self.log.folder() } else { self.queues.folder() };
            let (folder, percent) = (folder.display(), ratios.0.max(ratios.1) * 100.0);
            if full {
                log::error!("the disk of {folder} is {percent:.0}% full: no messages are taken");
            } else {
                log::info!("the disk of {folder} has room again: messages are taken");
            }
        }
        ratios
    }

    /// One round: commit log, then what refers to it. Returns what groups lose.
    fn round(&self, signal: &Signal) -> Losses {
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
        self.clean_below_log_start(&config, signal)
    }

    /// What the disks' fullness asks for. A log's disk of which nothing can be told counts as full
    /// enough for expired files to go.
    fn space_trigger(&self, config: &StoreConfig) -> Trigger {
        let limit = f64::from(config.disk_max_used_space_ratio.clamp(10, 95)) / 100.0;
        let (log_ratio, queue_ratio) = self.check_disk();
        let highest = log_ratio.max(queue_ratio);
        let expired = highest > limit || log_ratio < 0.0;
        Trigger { expired, at_once: highest > CLEAN_FORCIBLY_RATIO }
    }

    /// Whether the log's disk has less room than `minFreeBytes`.
    fn lacks_room(&self, config: &StoreConfig) -> bool {
        let free = disk::free_bytes(self.log.folder());
        config.min_free_bytes > 0 && free.is_some_and(|free| free < config.min_free_bytes as u64)
    }

    /// Deletes commit-log files. A round is bounded, since a disk may give the room of unlinked files
    /// back late, and what is young must not go for that. The log's own size is known: small
    /// files that fill faster than rounds come are deleted until what the round found fits.
    fn clean_log(&self, config: &StoreConfig, trigger: Trigger, signal: &Signal) {
        let kept_ms = i64::from(config.file_reserved_time.max(0)) * 3_600_000;
        let end = self.log.max_offset();
        for number in 1.. {
            let in_bound = number <= MAX_FILES_A_ROUND;
            let bytes = end - self.log.min_offset().max(0);
            let too_large = config.max_store_bytes > 0 && bytes > config.max_store_bytes;
            if !in_bound && !too_large {
                return;
            }
            let Some(first) = self.log.files().first() else { return };
            let forced = trigger.at_once || too_large || self.lacks_room(config);
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
            let pauses = pause > 0 && (in_bound || number % MAX_FILES_A_ROUND == 0);
            if pauses && !signal.wait(Duration::from_millis(pause)) {
                return;
            }
        }
    }

    /// Deletes consume-queue and index files that only refer to what is gone. Tells, and returns, what
    /// groups lose.
    fn clean_below_log_start(&self, config: &StoreConfig, signal: &Signal) -> Losses {
        let mut losses = Losses::default();
        let min = self.log.min_offset();
        if min <= self.cleaned_below.swap(min, Ordering::AcqRel) {
            return losses;
        }
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
        losses
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
    use std::fs::FileTimes;
    use std::time::SystemTime;

    use super::*;
    use crate::common::os::DiskSpace;
    use crate::store::fault::{Fault, Operation, inject, inject_space};
    use crate::store::message_store::MessageStore;
    use crate::store::testing::{TempFolder, open, put, put_all};
    use crate::store::{GetMessageStatus, PutStatus};

    /// A store with 20 files of 1000 bytes, two messages each, in one queue. On a disk that is empty.
    fn filled(folder: &TempFolder) -> (Arc<MessageStore>, Fault) {
        let disk = usage(folder, 0);
        let store = open(folder, |config| {
            config.mapped_file_size_commit_log = 1000;
            config.mapped_file_size_consume_queue = 100;
            config.delete_when = "99".to_owned();
            config.delete_commit_log_files_interval = 0;
            config.delete_consume_queue_files_interval = 0;
            config.clean_file_forcibly_enable = false;
        });
        put_all(&store, "T", 40, |_| vec![7; 350]);
        (store, disk)
    }

    /// The store's disk is so full, percent.
    fn usage(folder: &TempFolder, percent: u64) -> Fault {
        let free = 100 - percent;
        inject_space(folder.path(), DiskSpace { total: 100, free, available: free })
    }

    fn put_one(store: &MessageStore) -> PutStatus {
        put(store, "U", b"x").status
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
        let (store, _disk) = filled(&folder);
        let groups = Arc::new(Groups(Default::default()));
        store.set_consumed_offsets(Arc::clone(&groups) as Arc<dyn ConsumedOffsets>);
        let round = || store.cleaner.round(&Signal::default()).lines().collect::<Vec<_>>();
        assert!(round().is_empty() && groups.0.lock().unwrap().is_empty(), "nothing has gone");
        let told = |count: i64, of: i64| {
            format!(
                "group slow has lost {count} messages of topic T that it had not consumed: {of} of \
                 queue 0; their commit-log files were deleted"
            )
        };
        // Messages 0 to 19 go, then 20 to 29.
        for limit in [10_000, 5_000] {
            set(&store, |config| config.max_store_bytes = limit);
            assert_eq!(round(), [told(10, 10)]);
        }
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
        let (store, _disk) = filled(&folder);
        let signal = Signal::default();
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 0, "nothing has expired");
        let held = store.get("g", "T", 0, 0, 1, None).unwrap();
        set(&store, |config| config.max_store_bytes = 5000);
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 15_000, "in one round, however many files");
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
        let (store, _disk) = filled(&folder);
        let signal = Signal::default();
        set(&store, |config| config.file_reserved_time = 0);
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 0, "it is not the hour");
        store.delete_expired_files_now();
        (0..3).for_each(|_| drop(store.cleaner.round(&signal)));
        assert_eq!(store.commit_log_min_offset(), 19_000);
        assert_eq!(store.max_offset("T", 0), 40);
    }

    #[test]
    fn a_manual_demand_lasts_twenty_rounds() {
        let folder = TempFolder::new("clean-manual");
        let (store, _disk) = filled(&folder);
        store.delete_expired_files_now();
        (0..19).for_each(|_| drop(store.cleaner.round(&Signal::default())));
        assert_eq!(store.commit_log_min_offset(), 0, "nothing has expired");
        set(&store, |config| config.file_reserved_time = 0);
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 10_000, "the twentieth");
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 10_000);
        // All hours of the day are the hour.
        let hours: Vec<_> = (0..24).map(|hour| format!("{hour:02}")).collect();
        set(&store, |config| config.delete_when = hours.join(";"));
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 19_000);
    }

    #[test]
    fn files_expire_by_their_last_write_and_a_young_one_keeps_those_behind_it() {
        let folder = TempFolder::new("clean-mtime");
        let (store, _disk) = filled(&folder);
        for number in [0, 1, 2, 4, 5] {
            let file = folder.path().join(format!("commitlog/{:020}", number * 1000));
            let hours = if number == 2 { 71 } else { 73 };
            let time = SystemTime::now() - Duration::from_secs(hours * 3600);
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        }
        store.delete_expired_files_now();
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 2_000);
        set(&store, |config| config.file_reserved_time = 70);
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 3_000, "read in every round");
    }

    /// What a round does at each fullness: how far files are deleted, and whether messages are taken.
    #[test]
    fn the_levels_of_a_disk() {
        const KEPT: i64 = 0;
        const TEN: i64 = 10_000;
        struct Row(u64, i32, i32, bool, i64, bool);
        for (number, Row(percent, limit, reserved_hours, forcibly, begins, writable)) in [
            Row(0, 75, 0, true, KEPT, true),
            Row(75, 75, 0, true, KEPT, true),
            Row(76, 75, 0, true, TEN, true),
            Row(76, 75, 72, true, KEPT, true),
            Row(85, 75, 72, true, KEPT, true),
            Row(86, 75, 72, true, TEN, true),
            Row(86, 75, 72, false, KEPT, true),
            Row(86, 75, 0, false, TEN, true),
            Row(90, 75, 72, true, TEN, true),
            Row(91, 75, 72, true, TEN, false),
            Row(91, 75, 72, false, KEPT, false),
            // The limit counts from 10 to 95.
            Row(10, 5, 0, false, KEPT, true),
            Row(11, 5, 0, false, TEN, true),
            Row(95, 99, 0, false, KEPT, false),
            Row(96, 99, 0, false, TEN, false),
            // 85 is more than a limit above it.
            Row(86, 95, 72, true, TEN, true),
        ]
        .into_iter()
        .enumerate()
        {
            let folder = TempFolder::new("clean-levels");
            let (store, _disk) = filled(&folder);
            set(&store, |config| {
                config.disk_max_used_space_ratio = limit;
                config.file_reserved_time = reserved_hours;
                config.clean_file_forcibly_enable = forcibly;
            });
            let disk = usage(&folder, percent);
            store.cleaner.round(&Signal::default());
            assert_eq!(store.commit_log_min_offset(), begins, "row {number}: {percent}%");
            let expected = if writable { PutStatus::PutOk } else { PutStatus::ServiceNotAvailable };
            assert_eq!(put_one(&store), expected, "row {number}: {percent}%");
            drop(disk);
            store.cleaner.check_disk();
            assert_eq!(put_one(&store), PutStatus::PutOk, "row {number}: there is room again");
        }
    }

    #[test]
    fn the_disk_of_the_consume_queues_counts_too() {
        let folder = TempFolder::new("clean-queues");
        let (store, _disk) = filled(&folder);
        set(&store, |config| config.file_reserved_time = 0);
        let at = |percent: u64| {
            let free = 100 - percent;
            let space = DiskSpace { total: 100, free, available: free };
            inject_space(&folder.path().join("consumequeue"), space)
        };
        for (percent, begins, writable) in [(75, 0, true), (91, 10_000, false), (50, 10_000, true)]
        {
            let _queues = at(percent);
            set(&store, |config| config.disk_max_used_space_ratio = 75);
            store.cleaner.round(&Signal::default());
            assert_eq!(store.commit_log_min_offset(), begins, "{percent}%");
            assert_eq!(put_one(&store) == PutStatus::PutOk, writable, "{percent}%");
        }
    }

    /// The log may have folders on several disks: it has room as long as one of them has.
    #[test]
    fn the_emptiest_disk_of_the_log_counts() {
        let folder = TempFolder::new("clean-disks");
        let _disk = usage(&folder, 0);
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let store = open(&folder, |config| {
            config.store_path_commit_log =
                paths.each_ref().map(|path| path.to_str().unwrap()).join(",");
        });
        let full = DiskSpace { total: 100, free: 5, available: 5 };
        let _first = inject_space(&paths[0], full);
        store.cleaner.check_disk();
        assert_eq!(put_one(&store), PutStatus::PutOk);
        let second = inject_space(&paths[1], full);
        store.cleaner.check_disk();
        assert_eq!(put_one(&store), PutStatus::ServiceNotAvailable);
        drop(second);
        store.cleaner.check_disk();
        assert_eq!(put_one(&store), PutStatus::PutOk);
    }

    #[test]
    fn deletions_are_paced_and_end_with_the_store() {
        let folder = TempFolder::new("clean-pace");
        let (store, _disk) = filled(&folder);
        set(&store, |config| {
            config.file_reserved_time = 0;
            config.delete_commit_log_files_interval = 20;
        });
        store.delete_expired_files_now();
        let begin = Instant::now();
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 10_000);
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
        set(&store, |config| config.delete_commit_log_files_interval = 3_600_000);
        let signal = Signal::default();
        signal.stop();
        store.cleaner.round(&signal);
        assert_eq!(store.commit_log_min_offset(), 11_000, "told to stop, it does not wait an hour");
        // After a queue of which files went, too.
        set(&store, |config| {
            config.delete_commit_log_files_interval = 0;
            config.delete_consume_queue_files_interval = 60;
        });
        let begin = Instant::now();
        store.cleaner.round(&Signal::default());
        assert!(begin.elapsed() >= Duration::from_millis(60), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_file_that_cannot_be_removed_ends_the_round_and_goes_later() {
        let folder = TempFolder::new("clean-stuck");
        let (store, _disk) = filled(&folder);
        set(&store, |config| config.max_store_bytes = 5000);
        let log = folder.path().join("commitlog");
        let fault = inject(Operation::Remove, &log, libc::EACCES);
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 0);
        drop(fault);
        store.cleaner.round(&Signal::default());
        assert_eq!(store.commit_log_min_offset(), 15_000);
    }

    #[test]
    fn a_demand_for_free_bytes_that_cannot_be_met_keeps_the_last_file() {
        let folder = TempFolder::new("clean-free");
        let (store, _disk) = filled(&folder);
        set(&store, |config| config.min_free_bytes = i64::MAX);
        (0..5).for_each(|_| drop(store.cleaner.round(&Signal::default())));
        assert_eq!(store.commit_log_min_offset(), 19_000);
    }

    #[test]
    fn free_bytes_are_kept_free() {
        let folder = TempFolder::new("clean-free-limit");
        let (store, _disk) = filled(&folder);
        set(&store, |config| config.min_free_bytes = 1_000_000);
        let at = |available| {
            inject_space(folder.path(), DiskSpace { total: 9_000_000, free: 2_000_000, available })
        };
        for (available, begins) in [(1_000_000, 0), (999_999, 10_000), (1_000_001, 10_000)] {
            let _disk = at(available);
            store.cleaner.round(&Signal::default());
            assert_eq!(store.commit_log_min_offset(), begins, "{available} bytes free");
        }
    }
}
