//! Finding the end of the commit log at a start, after a clean stop and after a crash.
//!
//! Records are read until something is none. What comes after it is cut off: a crash leaves a
//! half-written tail. But damage *inside* what was already certain is not a tail: when the
//! checkpoint says that later messages were on the disk, and later records can indeed be read,
//! cutting would lose good messages because of one bad one. The store then refuses to open, and
//! says where the damage is and what can be done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::checkpoint::StoreCheckpoint;
use super::commit_log::{CommitLog, LogEntry, MIN_RECORD_BYTES, read_entry};
use super::config::StoreConfig;
use super::consume_queue::BeforeRepair;
use super::dispatch::Dispatcher;
use super::mapped_file::MappedFile;
use super::message_store::StoreError;
use super::queue_table::QueueTable;
use super::torn::lost_page;
use crate::common::record::{MESSAGE_MAGIC, RecordView, read_record};

/// How often recovery tells how far it has come.
const PROGRESS_PERIOD: Duration = Duration::from_secs(2);

/// What recovery works on.
pub struct Recovery<'a> {
    /// Configuration.
    pub config: &'a StoreConfig,
    /// The log.
    pub log: &'a CommitLog,
    /// The queues, recovered.
    pub queues: &'a QueueTable,
    /// The checkpoint.
    pub checkpoint: &'a StoreCheckpoint,
    /// Gets the records whose units may be lost.
    pub dispatcher: &'a Dispatcher,
    /// Told before units are cut off that are made again.
    pub before_repair: &'a BeforeRepair<'a>,
    /// From where on the log may be in memory only, although the kernel takes it for written: a flush
    /// failed there.
    pub lost_from: Option<i64>,
}

/// Where reading ended.
#[derive(Default)]
struct End {
    offset: i64,
    /// Whether the last file that was read is closed by a blank record; it ends there.
    closed: bool,
    /// Why, if it was not the log's last record or a zero tail.
    damage: Option<String>,
    /// Store time of the last good record, ms; 0 without one.
    last_timestamp: i64,
}

/// What recovery came to.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    /// Something was cut off; that has to reach the disk before anything is appended.
    pub cut: bool,
    /// The first record that could not be dispatched, although the queues may have units of later ones.
    pub stuck_at: Option<i64>,
}

impl From<bool> for Recovered {
    fn from(cut: bool) -> Self {
        Self { cut, stuck_at: None }
    }
}

impl Recovery<'_> {
    /// After a clean stop: checks the last three files, each by a thread, because every file begins
    /// with a record.
    pub fn normal(&self) -> Result<Recovered, StoreError> {
        let files = self.log.files().snapshot();
        if files.is_empty() {
            return self.empty().map(Recovered::from);
        }
        let max_physical = self.queues.max_physical();
        let last = &files[files.len().saturating_sub(3)..];
        let ends: Vec<_> = std::thread::scope(|scope| {
            let read =
                |file| scope.spawn(move || self.read(std::slice::from_ref(file), i64::MAX, |_| ()));
            let threads: Vec<_> = last.iter().map(read).collect();
            let panicked =
                |_| Err(StoreError("a thread that read the commit log panicked".to_owned()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        let mut end = End::default();
        for found in ends {
            let found = found?;
            let last_timestamp = found.last_timestamp.max(end.last_timestamp);
            end = End { last_timestamp, ..found };
            if !end.closed {
                break;
            }
        }
        let cut = self.cut(&files, &end)?;
        let cut = if max_physical >= end.offset { self.cut_queues(end.offset)? | cut } else { cut };
        Ok(Recovered::from(cut))
    }

    /// After a crash: from the last file that is certain in every respect, every record is
    /// dispatched again.
    pub fn abnormal(&self) -> Result<Recovered, StoreError> {
        let files = self.log.files().snapshot();
        if files.is_empty() {
            return self.empty().map(Recovered::from);
        }
        let max_physical = self.queues.max_physical();
        // Without any unit the queues were lost, or taken away to be built again.
        let has_queues = max_physical >= 0;
        let first = self.first_uncertain(&files).min(self.first_damaged(&files));
        let first = if has_queues { first } else { 0 };
        let mut count = 0u64;
        log::info!(
            "the store was not stopped cleanly; recovering {} of {} commit-log files from {}",
            files.len() - first,
            files.len(),
            files[first].path().display()
        );
        let mut stuck_at = None;
        let certain = self.checkpoint.physical.load(Ordering::Acquire);
        let end = self.read(&files[first..], certain, |record| {
            count += 1;
            if stuck_at.is_none()
                && let Err(error) = self.dispatcher.dispatch(record, self.config)
            {
                // A disk may be full, and have room again soon. Until then what is there is served.
                let offset = record.physical_offset;
                log::error!("the message at {offset} cannot be dispatched: {error}");
                stuck_at = Some(offset);
            }
        })?;
        log::info!("recovered {count} messages; the commit log ends at {}", end.offset);
        let mut cut = self.cut(&files, &end)?;
        if max_physical >= end.offset {
            cut |= self.cut_queues(end.offset)?;
        }
        self.distrust(files[first].start())?;
        Ok(Recovered { cut, stuck_at })
    }

    /// Number of the last file of which all that lies before it is certain in every respect.
    fn first_uncertain(&self, files: &[Arc<MappedFile>]) -> usize {
        files.iter().rposition(|file| self.is_certain(file)).unwrap_or(0)
    }

    /// Number of the file from which on a queue has lost units, although all that lies before the
    /// [uncertain](Self::first_uncertain) ones should have them. A queue takes units only in order: what
    /// it lacks has to be dispatched before what follows.
    fn first_damaged(&self, files: &[Arc<MappedFile>]) -> usize {
        let queues = self.queues.snapshot();
        let damaged = queues.iter().filter(|queue| queue.is_damaged());
        damaged.map(|queue| queue.max_physical()).min().map_or(usize::MAX, |end| {
            files.iter().rposition(|file| file.start() <= end).unwrap_or(0)
        })
    }

    /// Records before this offset are on the disk, with their units, whatever a crash took.
    pub fn certain_below(&self) -> i64 {
        let files = self.log.files().snapshot();
        files.get(self.first_uncertain(&files)).map_or(0, |file| file.start())
    }

    /// What the process that crashed had not flushed may still be in memory only: its flush is made
    /// up for. In SYNC_FLUSH that is little, and done before anything of it is visible; else the
    /// flush thread does it.
    fn distrust(&self, from: i64) -> Result<(), StoreError> {
        if let Some(lost_from) = self.lost_from {
            log::warn!(
                "a flush failed at {lost_from}: what the log has from there on is written again"
            );
            self.log.write_again(lost_from).map_err(|error| {
                StoreError::io("write what a failed flush lost:", self.log.folder(), &error)
            })?;
        }
        self.log.forget_flushed(from);
        if self.config.is_sync_flush() {
            self.log.flush(0).map_err(|error| {
                StoreError::io("force what was recovered to the disk:", self.log.folder(), &error)
            })?;
        }
        Ok(())
    }

    /// Without a commit log there is nothing that consume queues could refer to.
    fn empty(&self) -> Result<bool, StoreError> {
        self.queues.remove(|_| true, usize::MAX);
        self.log.truncate(0)
    }

    /// Whether a file's first message is older than all that is certain.
    fn is_certain(&self, file: &MappedFile) -> bool {
        let safe = self.config.message_index_enable && self.config.message_index_safe;
        let limit = if safe {
            self.checkpoint.min_timestamp_with_index()
        } else {
            self.checkpoint.min_timestamp()
        };
        first_store_time(file).is_some_and(|time| time <= limit)
    }

    /// Reads records until there is none. Those that were stored before `whole_before`, ms, are known
    /// to have lost nothing.
    fn read(
        &self,
        files: &[Arc<MappedFile>],
        whole_before: i64,
        mut visit: impl FnMut(&RecordView<'_>),
    ) -> Result<End, StoreError> {
        let mut end =
            End { offset: files.first().map_or(0, |file| file.start()), ..End::default() };
        let mut progress = Progress::new(files);
        for file in files {
            let bytes = file
                .bytes_from(0)
                .ok_or_else(|| StoreError(format!("{} cannot be read", file.path().display())))?;
            let mut at = 0;
            end.offset = file.start();
            end.closed = false;
            loop {
                match read_entry(&bytes[at..], self.config.check_crc_on_recover) {
                    LogEntry::Record(record) if record.physical_offset == end.offset => {
                        if record.store_timestamp >= whole_before
                            && let Some(page) = lost_page(bytes, at, &record)
                        {
                            end.damage = Some(format!(
                                "the record's topic or properties lack what begins at position {page} \
                                 of the file"
                            ));
                            return Ok(end);
                        }
                        visit(&record);
                        end.last_timestamp = record.store_timestamp;
                        progress.reached(end.offset);
                        at += record.total_size as usize;
                        end.offset = file.start() + at as i64;
                    }
                    LogEntry::Record(record) => {
                        // A leftover of an earlier life of these bytes, or a copied file.
                        end.damage = Some(format!("a record of offset {}", record.physical_offset));
                        return Ok(end);
                    }
                    // The blank is part of the log, also if nothing follows: slaves may have it, and
                    // what is appended next must not stand where they have the blank.
                    LogEntry::EndOfFile => {
                        end.closed = true;
                        end.offset = file.end();
                        break;
                    }
                    LogEntry::Bad(error) => {
                        let tail = &bytes[at..bytes.len().min(at + MIN_RECORD_BYTES)];
                        if tail.iter().any(|byte| *byte != 0) {
                            end.damage = Some(error.to_string());
                        }
                        return Ok(end);
                    }
                }
            }
        }
        Ok(end)
    }

    /// Makes `end` the log's end. Returns whether anything followed.
    fn cut(&self, files: &[Arc<MappedFile>], end: &End) -> Result<bool, StoreError> {
        let certain = self.checkpoint.physical.load(Ordering::Acquire);
        if end.last_timestamp < certain
            && let Some(later) = find_record(files, end.offset)
        {
            self.refuse_or_warn(files, end, later)?;
        } else if let Some(damage) = &end.damage {
            log::warn!(
                "commit log at {}: {damage}; the log is cut there, nothing that was certain follows",
                end.offset
            );
        }
        self.log.truncate(end.offset)
    }

    /// Damage in the middle of the log.
    fn refuse_or_warn(
        &self,
        files: &[Arc<MappedFile>],
        end: &End,
        later: i64,
    ) -> Result<(), StoreError> {
        let file = files.iter().find(|file| file.start() <= end.offset && end.offset < file.end());
        let place = file.map_or_else(String::new, |file| {
            format!("{} at position {}", file.path().display(), end.offset - file.start())
        });
        let damage = end.damage.as_deref().unwrap_or("unwritten bytes");
        let what = format!(
            "the commit log is damaged at offset {} ({place}): {damage}; messages stored later were \
             on the disk, the next readable one is at {later}",
            end.offset
        );
        if self.config.truncate_damaged_log {
            log::error!("{what}; truncateDamagedLog=true: what follows the damage is given up");
            return Ok(());
        }
        Err(StoreError(format!(
            "{what}. Put the file back from a slave or a backup; or give up everything from offset \
             {offset} on with `mqstore truncate {root} -p {offset}`, which tells how many messages that \
             is before it does it (truncateDamagedLog=true does the same at the start); \
             `mqstore cat {root} -p {later}` shows what would be lost",
            offset = end.offset,
            root = self.config.mqstore_words()
        )))
    }

    fn cut_queues(&self, end: i64) -> Result<bool, StoreError> {
        let cut = AtomicBool::new(false);
        self.queues.visit_all(|queue| {
            let repair = queue.truncate_after(end, self.before_repair)?;
            cut.fetch_or(repair.cut, Ordering::Relaxed);
            if repair.damaged {
                queue.set_damaged();
            }
            Ok(())
        })?;
        Ok(cut.into_inner())
    }
}

/// Store time of a log file's first message, ms.
pub fn first_store_time(file: &MappedFile) -> Option<i64> {
    match read_entry(file.bytes_from(0)?, false) {
        LogEntry::Record(record) => Some(record.store_timestamp).filter(|time| *time != 0),
        _ => None,
    }
}

/// Tells how far reading has come, now and then.
struct Progress {
    begin: i64,
    end: i64,
    records: u64,
    told: Instant,
}

impl Progress {
    fn new(files: &[Arc<MappedFile>]) -> Self {
        let begin = files.first().map_or(0, |file| file.start());
        let end = files.last().map_or(0, |file| file.end());
        Self { begin, end, records: 0, told: Instant::now() }
    }

    fn reached(&mut self, offset: i64) {
        self.records += 1;
        // The clock is asked rarely: a record takes less than a microsecond.
        if self.records.is_multiple_of(4096) && self.told.elapsed() >= PROGRESS_PERIOD {
            self.told = Instant::now();
            log::info!(
                "recovering: {} of at most {} MiB read, {} messages",
                (offset - self.begin) >> 20,
                (self.end - self.begin) >> 20,
                self.records
            );
        }
    }
}

/// The first whole record beyond `offset`, CRC included.
pub fn find_record(files: &[Arc<MappedFile>], offset: i64) -> Option<i64> {
    let magic = MESSAGE_MAGIC.to_be_bytes();
    for file in files.iter().filter(|file| file.end() > offset) {
        let bytes = file.bytes_from(0)?;
        let mut at = usize::try_from(offset + 1 - file.start()).unwrap_or(0);
        while let Some(found) = bytes.get(at + 4..).and_then(|rest| find_bytes(rest, magic)) {
            at += found;
            if let Ok(record) = read_record(&bytes[at..], true)
                && record.physical_offset == file.start() + at as i64
            {
                return Some(record.physical_offset);
            }
            at += 1;
        }
    }
    None
}

/// Position of the first occurrence of four bytes, skipping zero stretches quickly.
fn find_bytes(bytes: &[u8], wanted: [u8; 4]) -> Option<usize> {
    let mut at = 0;
    while at + 4 <= bytes.len() {
        if bytes[at] == wanted[0] && bytes[at..at + 4] == wanted {
            return Some(at);
        }
        at += 1;
    }
    None
}
