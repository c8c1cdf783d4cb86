//! [`CommitLog`]: all messages of all topics, one after another. Appending and point reads.
//!
//! Not here: flushing (`flush.rs`), finding the end after a crash (`recovery.rs`), deleting old
//! files (`clean.rs`).

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::allocate::{AllocateMappedFileService, POPULATE_BYTES, Readied};
use super::config::StoreConfig;
use super::consume_queue::ConsumeQueue;
use super::mapped_file::{Appender, MappedSlice};
use super::mapped_file_queue::MappedFileQueue;
use super::message_store::StoreError;
use crate::common::clock::now_ms;
use crate::common::config::Live;
use crate::common::record::{
    BLANK_MAGIC, MESSAGE_MAGIC, PHYSICAL_OFFSET_POSITION, QUEUE_OFFSET_POSITION, RecordError,
    RecordFields, RecordView, SYS_FLAG_POSITION, encode_record, patch_record, read_record,
};
use crate::common::sync::lock;
use crate::common::sys_flag;

/// Bytes that stay free at the end of a file for the blank record that closes it.
pub const END_OF_FILE_BYTES: usize = 8;
/// Replicated bytes are written in blocks when so many come together where no page is ready, and not
/// through the map.
const BLOCK_BYTES: usize = 64 * 1024;
/// Smallest record: no body, no topic, no properties.
pub const MIN_RECORD_BYTES: usize = 91;

/// Records encoded one after another, ready to be appended together.
#[derive(Debug, Default)]
pub struct EncodedRecords {
    /// The records. Queue offset, physical offset and store time are filled in by the append.
    pub bytes: Vec<u8>,
    /// End of each record in `bytes`.
    pub ends: Vec<usize>,
}

impl EncodedRecords {
    /// Takes everything out, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Encodes one more.
    pub fn push(&mut self, record: &RecordFields<'_>) {
        encode_record(record, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Fills in what an append decides: the queue offsets grow by `step`, but for that of the last
    /// record if that is of another queue.
    fn patch(
        &mut self,
        mut queue_offset: i64,
        step: i64,
        of_last: Option<i64>,
        physical_offset: i64,
        store_timestamp: i64,
    ) {
        let mut start = 0;
        for &end in &self.ends {
            if end == self.bytes.len() {
                queue_offset = of_last.unwrap_or(queue_offset);
            }
            let record = &mut self.bytes[start..end];
            patch_record(record, queue_offset, physical_offset + start as i64, store_timestamp);
            queue_offset += step;
            start = end;
        }
    }
}

/// Encodes a record under the append lock. `Err`: why not, in words.
pub type LateEncode<'a> = dyn Fn(&mut EncodedRecords) -> Result<(), String> + 'a;

/// Which queues appended records belong to.
pub struct AppendTarget<'a> {
    /// The queue whose offsets they get.
    pub queue: &'a ConsumeQueue,
    /// Whether they take offsets; if not (half messages and rollbacks) theirs are 0.
    pub counted: bool,
    /// Further queues that each get one offset, for a message that goes into several.
    pub also: &'a [Arc<ConsumeQueue>],
    /// The queue of the last record, if that is another one.
    pub last: Option<&'a ConsumeQueue>,
    /// Encodes the record, if its content depends on offsets that are known only under the lock.
    pub encode: Option<&'a LateEncode<'a>>,
}

/// Where records went.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    /// Queue offset of the first one.
    pub queue_offset: i64,
    /// Commit-log offset of the first one.
    pub offset: i64,
    /// Commit-log offset after the last one.
    pub end: i64,
    /// Their store time, ms.
    pub store_timestamp: i64,
}

/// Why records were not appended.
#[derive(Debug)]
pub enum AppendError {
    /// The queue was removed meanwhile: look it up again.
    QueueRemoved,
    /// The store stops: [`CommitLog::close`].
    Closed,
    /// More bytes than a file holds.
    TooLarge,
    /// No file to append to; why.
    NoFile(String),
    /// The append failed; why.
    Failed(String),
}

/// What is at an offset.
#[derive(Debug)]
pub enum LogEntry<'a> {
    /// A message record.
    Record(RecordView<'a>),
    /// The blank record that closes a file: the log goes on in the next one.
    EndOfFile,
    /// No record.
    Bad(RecordError),
}

/// Reads what begins at the start of `bytes`.
pub fn read_entry(bytes: &[u8], verify_crc: bool) -> LogEntry<'_> {
    if bytes.get(4..8) == Some(&BLANK_MAGIC.to_be_bytes()) {
        return LogEntry::EndOfFile;
    }
    match read_record(bytes, verify_crc) {
        Ok(record) => LogEntry::Record(record),
        Err(error) => LogEntry::Bad(error),
    }
}

/// What the append lock guards.
#[derive(Debug, Default)]
struct Appending {
    appender: Option<Appender>,
    /// How far the active file is ready.
    readied: Readied,
}

/// The commit log.
///
/// Records (layout: [`crate::common::record`]) lie one after another in files of
/// `mappedFileSizeCommitLog` bytes. A record never crosses a file's end: when it does not leave at
/// least 8 bytes, the file is closed with a blank record and the record goes to the next file.
///
/// | bytes | field of the blank record |
/// |---|---|
/// | 4 | bytes to the end of the file, these included |
/// | 4 | magic `0xCBD43194` |
/// | n | whatever is there |
///
/// Invariants:
/// * queue offset, commit-log offset and store time of a record are chosen under one lock, so all
///   three grow in log order;
/// * `flushed ≤ readable ≤ appended`; below `flushed` everything is on the disk;
/// * after a failed flush nothing more is appended.
#[derive(Debug)]
pub struct CommitLog {
    config: Arc<Live<StoreConfig>>,
    files: MappedFileQueue,
    allocator: Arc<AllocateMappedFileService>,
    appending: Mutex<Appending>,
    /// Whether puts wait for the disk.
    sync: bool,
    /// When the holder of the append lock took it, ms; 0 while it is free.
    lock_begin: AtomicI64,
    pub(super) flushed: AtomicI64,
    pub(super) flushing: Mutex<()>,
    pub(super) failed: AtomicBool,
    /// Whether nothing is appended any more; changed under the append lock.
    closed: AtomicBool,
    /// Store time of the last appended message, ms.
    last_store_timestamp: AtomicI64,
}

impl CommitLog {
    /// An unloaded log.
    pub fn new(
        config: Arc<Live<StoreConfig>>,
        allocator: Arc<AllocateMappedFileService>,
    ) -> Result<Self, StoreError> {
        let snapshot = config.get();
        let smallest = (MIN_RECORD_BYTES + END_OF_FILE_BYTES) as i64;
        let size = snapshot.mapped_file_size_commit_log;
        if size < smallest {
            return Err(StoreError(format!(
                "mappedFileSizeCommitLog={size} is too small for a record; at least {smallest}"
            )));
        }
        let folder = &snapshot.commit_log_folders()[0];
        Ok(Self {
            files: MappedFileQueue::new(folder, size as usize),
            sync: snapshot.is_sync_flush(),
            config,
            allocator,
            appending: Mutex::default(),
            lock_begin: AtomicI64::new(0),
            flushed: AtomicI64::new(0),
            flushing: Mutex::new(()),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            last_store_timestamp: AtomicI64::new(0),
        })
    }

    /// Loads the files of all its folders.
    pub fn load(&self) -> Result<(), StoreError> {
        self.files.load(&self.config.get().all_commit_log_folders()[1..])
    }

    /// Its files.
    pub fn files(&self) -> &MappedFileQueue {
        &self.files
    }

    /// First offset; −1 without files.
    pub fn min_offset(&self) -> i64 {
        self.files.min_offset().unwrap_or(-1)
    }

    /// End of what readers see.
    pub fn max_offset(&self) -> i64 {
        self.files.max_offset()
    }

    /// End of what is on the disk.
    pub fn flushed_offset(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Whether a flush has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Store time of the last appended message, ms; 0 before the first.
    pub fn last_store_timestamp(&self) -> i64 {
        self.last_store_timestamp.load(Ordering::Acquire)
    }

    /// Tells the store time of a replicated message: appending its bytes did not look at it.
    pub fn note_store_timestamp(&self, timestamp: i64) {
        self.last_store_timestamp.store(timestamp, Ordering::Release);
    }

    /// For how long the append lock has been held at that time, ms; 0 while it is free.
    pub fn lock_held_ms(&self, now_ms: i64) -> i64 {
        match self.lock_begin.load(Ordering::Relaxed) {
            0 => 0,
            begin => (now_ms - begin).max(0),
        }
    }

    /// Makes it look as if the append lock had been taken then, ms; 0: as if it were free.
    #[cfg(test)]
    pub(super) fn pretend_held_since(&self, begin: i64) {
        self.lock_begin.store(begin, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Appending> {
        self.appending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` under the append lock: changes to queue offsets happen there.
    pub fn with_append_lock<R>(&self, change: impl FnOnce() -> R) -> R {
        let _appending = self.lock();
        change()
    }

    /// Ends appending: after this has returned nothing is appended any more, whoever is about to.
    pub fn close(&self) {
        self.with_append_lock(|| self.closed.store(true, Ordering::Release));
    }

    /// Appends records to the log.
    pub fn append(
        &self,
        records: &mut EncodedRecords,
        target: &AppendTarget<'_>,
    ) -> Result<Appended, AppendError> {
        let mut appending = self.lock();
        let now = now_ms();
        self.lock_begin.store(now, Ordering::Relaxed);
        let result = self.append_locked(&mut appending, records, target, now);
        self.lock_begin.store(0, Ordering::Relaxed);
        result
    }

    fn append_locked(
        &self,
        appending: &mut Appending,
        records: &mut EncodedRecords,
        target: &AppendTarget<'_>,
        now: i64,
    ) -> Result<Appended, AppendError> {
        let queue = target.queue;
        let mut others = target.also.iter().map(|queue| &**queue).chain(target.last);
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        if queue.is_removed() || others.any(|queue| queue.is_removed()) {
            return Err(AppendError::QueueRemoved);
        }
        if let Some(encode) = target.encode {
            records.clear();
            encode(records).map_err(AppendError::Failed)?;
        }
        if records.bytes.len() + END_OF_FILE_BYTES > self.files.file_size() {
            return Err(AppendError::TooLarge);
        }
        self.make_room(appending, records.bytes.len())?;
        let Some(appender) = appending.appender.as_mut() else {
            return Err(AppendError::NoFile("the commit log has no active file".to_owned()));
        };
        let file_start = appender.file().start();
        let offset = file_start + (appender.file().size() - appender.room()) as i64;
        let own = (records.ends.len() - usize::from(target.last.is_some())) as i64;
        let queue_offset = if target.counted { queue.next_offset() } else { 0 };
        let step = i64::from(target.counted);
        let of_last = target.last.map(|queue| queue.next_offset());
        // Asked before any is changed: a queue may be named twice.
        let of_others: Vec<i64> = target.also.iter().map(|queue| queue.next_offset()).collect();
        records.patch(queue_offset, step, of_last, offset, now);
        let numbered = target.counted.then_some(queue).into_iter();
        let others = target.also.iter().map(|queue| &**queue).chain(target.last);
        for begun in numbered.chain(others).filter(|queue| queue.next_offset() == 0) {
            begun.set_first_record(offset);
        }
        let bytes = &records.bytes;
        let at = if self.sync { appender.write(bytes) } else { appender.append(bytes) }
            .map_err(|error| AppendError::Failed(format!("the append failed: {error}")))?;
        let end_at = at + records.bytes.len();
        if end_at > appending.readied.enough_until {
            appending.readied =
                self.allocator.populate_ahead(appender.file(), end_at, appending.readied);
        }
        if target.counted {
            queue.set_next_offset(queue_offset + own);
            for (queue, number) in target.also.iter().zip(of_others) {
                queue.set_next_offset(number + 1);
            }
        }
        if let Some(last) = target.last {
            last.set_next_offset(last.next_offset() + 1);
        }
        self.last_store_timestamp.store(now, Ordering::Release);
        Ok(Appended { queue_offset, offset, end: file_start + end_at as i64, store_timestamp: now })
    }

    /// Sees to it that `bytes` and a blank record fit into the active file.
    fn make_room(&self, appending: &mut Appending, bytes: usize) -> Result<(), AppendError> {
        if appending.appender.is_none()
            && let Some(last) = self.files.last().filter(|last| !last.is_full())
        {
            appending.readied = Readied::nothing_after(last.wrote());
            appending.appender = last.appender();
        }
        if let Some(appender) = appending.appender.as_mut() {
            if bytes + END_OF_FILE_BYTES <= appender.room() {
                return Ok(());
            }
            close_file(appender).map_err(|error| {
                AppendError::Failed(format!("the commit-log file cannot be closed: {error}"))
            })?;
            self.allocator.rolled_away(appender.file());
            appending.appender = None;
        }
        let start = self.files.last().map_or(0, |last| last.end());
        let file = self.allocator.take(start).map_err(AppendError::NoFile)?;
        appending.readied = Readied::NEW_FILE;
        appending.appender = file.appender();
        self.files.push(file);
        Ok(())
    }

    /// Appends bytes of a master's log as they are, blank records and their padding included.
    /// `offset` must be the log's end.
    ///
    /// # Errors
    /// Nothing of what did not fit is appended; the end then tells how far it got.
    pub fn append_raw(&self, offset: i64, mut bytes: &[u8]) -> Result<(), StoreError> {
        let mut appending = self.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError("the store stops".to_owned()));
        }
        let end = self.files.wrote_offset();
        if end != offset && self.files.len() == 1 && self.files.min_offset() == Some(end) {
            // A file in which nothing stands yet binds nobody to its offset.
            *appending = Appending::default();
            let _flushing = lock(&self.flushing);
            self.files.delete_last()?;
            self.flushed.store(offset, Ordering::Release);
        }
        if self.files.is_empty() {
            self.start_at(&mut appending, offset)?;
        } else if end != offset {
            return Err(StoreError(format!(
                "replicated bytes begin at {offset}, but the commit log ends at {end}"
            )));
        }
        while !bytes.is_empty() {
            if appending.appender.as_ref().is_none_or(|appender| appender.room() == 0) {
                if let Some(full) = appending.appender.take() {
                    self.allocator.rolled_away(full.file());
                }
                let active = self.files.last().filter(|last| !last.is_full());
                if active.is_none() {
                    let start = self.files.last().map_or(offset, |last| last.end());
                    self.start_at(&mut appending, start)?;
                } else {
                    let wrote = active.as_ref().map_or(0, |file| file.wrote());
                    appending.readied = Readied::nothing_after(wrote);
                    appending.appender = active.and_then(|file| file.appender());
                }
            }
            let readied = appending.readied;
            let Some(appender) = appending.appender.as_mut() else {
                return Err(StoreError("the commit log has no active file".to_owned()));
            };
            let (now, later) = bytes.split_at(bytes.len().min(appender.room()));
            let failed =
                |error: io::Error| StoreError(format!("replicated bytes not appended: {error}"));
            let waited_for = self.config.get().is_flush_waited_for();
            // A page that is ready needs no system call, and no lock that whoever readies the next
            // ones holds most of the time.
            let is_large = now.len() >= BLOCK_BYTES && !appender.is_reserved(now.len());
            let in_blocks = is_large && !waited_for;
            let at = match (waited_for, in_blocks) {
                (true, _) => appender.write(now),
                (false, true) => appender.append_block(now),
                (false, false) => appender.append(now),
            };
            let at = at.map_err(failed)?;
            let end_at = at + now.len();
            if in_blocks {
                // A block needs no page that is ready, but is quicker where there is one.
                if at / POPULATE_BYTES != end_at / POPULATE_BYTES {
                    self.allocator.appends_to(appender.file());
                }
                if end_at > readied.to {
                    appending.readied = Readied::nothing_after(end_at);
                }
            } else if end_at > readied.enough_until {
                appending.readied = self.allocator.populate_ahead(appender.file(), end_at, readied);
            }
            bytes = later;
        }
        Ok(())
    }

    /// Makes the file that holds `offset` and begins there: the part before it stays zero.
    fn start_at(&self, appending: &mut Appending, offset: i64) -> Result<(), StoreError> {
        let within = offset.rem_euclid(self.files.file_size() as i64);
        let file = self.allocator.take(offset - within).map_err(StoreError)?;
        appending.readied = Readied::NEW_FILE;
        appending.appender = file.appender();
        self.files.push(file);
        if let Some(appender) = appending.appender.as_mut()
            && within > 0
        {
            appender
                .skip(within as usize)
                .map_err(|error| StoreError(format!("the first file cannot begin: {error}")))?;
        }
        Ok(())
    }

    /// Cuts the log at `offset`: what lies beyond is forgotten. Returns whether anything was there.
    pub fn truncate(&self, offset: i64) -> Result<bool, StoreError> {
        let mut appending = self.lock();
        *appending = Appending::default();
        let changed = self.files.truncate(offset)?;
        self.flushed.store(offset, Ordering::Release);
        Ok(changed)
    }

    /// Writes what it has from `offset` on over itself: see
    /// [`MappedFile::write_again`](super::mapped_file::MappedFile::write_again).
    ///
    /// # Errors
    /// The disk's.
    pub fn write_again(&self, offset: i64) -> io::Result<()> {
        for file in self.files.snapshot().iter().filter(|file| file.end() > offset) {
            let from = usize::try_from(offset - file.start()).unwrap_or(0);
            file.write_again(from.min(file.readable()), file.readable())?;
        }
        Ok(())
    }

    /// `size` bytes at `offset`, if they lie in one file and are visible.
    pub fn slice(&self, offset: i64, size: usize) -> Option<MappedSlice> {
        let file = self.files.find(offset)?;
        file.slice((offset - file.start()) as usize, size)
    }

    /// What is visible of the file that holds `offset`, from there on.
    pub fn slice_from(&self, offset: i64) -> Option<MappedSlice> {
        let file = self.files.find(offset)?;
        let at = (offset - file.start()) as usize;
        file.slice(at, file.readable().checked_sub(at).filter(|len| *len > 0)?)
    }

    /// The record at `offset`, by its size field; its content is not checked.
    pub fn record_at(&self, offset: i64) -> Option<MappedSlice> {
        let size = self.slice(offset, 4)?;
        let size = u32::from_be_bytes(*size.first_chunk()?) as usize;
        if size < MIN_RECORD_BYTES { None } else { self.slice(offset, size) }
    }

    /// Whether a record, or the blank that closes a file, begins at `offset`, where `bytes` are.
    pub fn is_entry(&self, offset: i64, bytes: &[u8]) -> bool {
        match read_entry(bytes, false) {
            LogEntry::Record(record) => record.physical_offset == offset,
            LogEntry::EndOfFile => true,
            LogEntry::Bad(_) => false,
        }
    }

    /// Store time of the record at `offset`, ms.
    pub fn store_time(&self, offset: i64, size: i32) -> Option<i64> {
        store_time(&self.slice(offset, usize::try_from(size).ok()?)?)
    }

    /// First offset of the file after the one that holds `offset`.
    pub fn roll_next_file(&self, offset: i64) -> i64 {
        let size = self.files.file_size() as i64;
        offset.saturating_add(size - offset.rem_euclid(size))
    }

    /// Folder of the (first path of the) log.
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }
}

/// Closes the active file with a blank record; on a full disk not at all: nobody reads what is behind a
/// blank in its file.
fn close_file(appender: &mut Appender) -> io::Result<()> {
    appender.file().reserve(appender.file().size())?;
    let room = appender.room();
    if room >= END_OF_FILE_BYTES {
        let mut blank = [0; END_OF_FILE_BYTES];
        blank[..4].copy_from_slice(&(room as u32).to_be_bytes());
        blank[4..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
        appender.append(&blank)?;
    }
    appender.skip_to_end()
}

/// Store time of a record, ms, without reading the rest of it.
pub fn store_time(record: &[u8]) -> Option<i64> {
    let flags = record.get(SYS_FLAG_POSITION..SYS_FLAG_POSITION + 4)?;
    let flags = i32::from_be_bytes(flags.try_into().ok()?);
    let at = if flags & sys_flag::BORN_HOST_V6 == 0 { 56 } else { 68 };
    Some(i64::from_be_bytes(record.get(at..at + 8)?.try_into().ok()?))
}

/// Whether these bytes are the record at `offset`, as far as its first fields tell.
pub fn is_record_at(record: &[u8], offset: i64) -> bool {
    let number = |at: usize| record.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
    number(0).map(|bytes| u32::from_be_bytes(*bytes) as usize) == Some(record.len())
        && number(4).map(|bytes| u32::from_be_bytes(*bytes)) == Some(MESSAGE_MAGIC)
        && claimed_offsets(record).is_some_and(|(_, claimed)| claimed == offset)
}

/// Queue offset and commit-log offset that a record claims, without reading the rest of it.
pub fn claimed_offsets(record: &[u8]) -> Option<(i64, i64)> {
    let field = |at: usize| Some(i64::from_be_bytes(record.get(at..at + 8)?.try_into().ok()?));
    Some((field(QUEUE_OFFSET_POSITION)?, field(PHYSICAL_OFFSET_POSITION)?))
}
