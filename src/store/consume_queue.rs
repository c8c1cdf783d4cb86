//! [`ConsumeQueue`]: the list of where the messages of one (topic, queue) lie in the commit log,
//! and its [`Unit`].
//!
//! Which records get a unit is the dispatcher's business (`dispatch.rs`); all queues together are
//! `queue_table.rs`.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::consume_queue_ext::{ConsumeQueueExt, is_ext_address};
use super::mapped_file::{Appender, MappedFile, PAGE_BYTES};
use super::mapped_file_queue::MappedFileQueue;
use super::message_store::StoreError;
use super::unit_file::UnitFile;

/// One entry of a consume queue.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 8 | commit-log offset of the record |
/// | 8 | 4 | bytes of the record |
/// | 12 | 8 | tags code |
///
/// The tags code is the Java hash of the tag, sign-extended, 0 without a tag; in the schedule
/// topic the time at which the message is due, ms; with extension files the address of the
/// extension unit (at most −2,147,483,649, which no hash is).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Commit-log offset of the record.
    pub offset: i64,
    /// Bytes of the record.
    pub size: i32,
    /// Tags code, due time or extension address.
    pub tags_code: i64,
}

impl Unit {
    /// Bytes of a unit.
    pub const BYTES: usize = 20;
    /// What stands before the first unit of a queue that starts in the middle of a file. It counts
    /// as a unit; its record does not exist.
    pub const BLANK: Self = Self { offset: 0, size: i32::MAX, tags_code: 0 };

    /// The bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// Reads the unit at the start of `bytes`; `None` if there are fewer than 20.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (tags_code, _) = rest.split_first_chunk()?;
        Some(Self {
            offset: i64::from_be_bytes(*offset),
            size: i32::from_be_bytes(*size),
            tags_code: i64::from_be_bytes(*tags_code),
        })
    }

    /// Whether something was written there: unwritten space is zero.
    pub fn is_valid(self) -> bool {
        self.offset >= 0 && self.size > 0
    }

    /// End of the record in the commit log.
    pub fn end(self) -> i64 {
        self.offset.saturating_add(i64::from(self.size))
    }
}

/// The queue of one topic and queue id.
///
/// Unit *i* lies at byte 20·*i* of a [`MappedFileQueue`] with files of `mappedFileSizeConsumeQueue`
/// bytes (300,000 units). A queue that starts late (on a slave, or after its commit-log files were
/// deleted) begins with a file that is filled with [`Unit::BLANK`] up to its first unit.
///
/// Invariants:
/// * one thread appends (dispatch); readers see whole units only;
/// * `max_physical` is the end of the last record that has a unit: whatever ends at or below it is
///   not added again, which makes dispatching twice harmless;
/// * `next_offset` is read and changed only under the commit log's append lock.
#[derive(Debug)]
pub struct ConsumeQueue {
    topic: Arc<str>,
    queue_id: i32,
    files: MappedFileQueue,
    tail: Mutex<Option<Appender>>,
    max_physical: AtomicI64,
    min_byte: AtomicI64,
    next_offset: AtomicI64,
    /// Where its first record lies, if puts have made the queue anew.
    first_record: AtomicI64,
    dirty: AtomicBool,
    removed: AtomicBool,
    gap_told: AtomicBool,
    bad_unit_told: AtomicBool,
    damaged: AtomicBool,
    ext: OnceLock<Box<ConsumeQueueExt>>,
}

/// Told, before units of a queue are cut off that dispatch then has to make again, the end of the last
/// record that keeps its unit, or −1. What it notes is on the disk when it returns: if the repair ends
/// half-way, the next start cannot see in the queue that there was one.
pub type BeforeRepair<'a> = dyn Fn(i64) -> Result<(), StoreError> + Sync + 'a;

/// What finding the end of a queue came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repair {
    /// Units in the middle were lost: dispatch has to make them again.
    pub damaged: bool,
    /// Something was there that is no unit of the queue, and was removed.
    pub cut: bool,
}

impl std::ops::BitOrAssign for Repair {
    fn bitor_assign(&mut self, other: Self) {
        self.damaged |= other.damaged;
        self.cut |= other.cut;
    }
}

impl ConsumeQueue {
    /// A queue without files. `file_size` is a multiple of 20.
    pub fn new(topic: Arc<str>, queue_id: i32, folder: &Path, file_size: usize) -> Self {
        Self {
            topic,
            queue_id,
            files: MappedFileQueue::new(folder, file_size),
            tail: Mutex::new(None),
            max_physical: AtomicI64::new(-1),
            min_byte: AtomicI64::new(0),
            next_offset: AtomicI64::new(0),
            first_record: AtomicI64::new(0),
            dirty: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            gap_told: AtomicBool::new(false),
            bad_unit_told: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            ext: OnceLock::new(),
        }
    }

    /// Gives the queue extension files.
    pub fn set_ext(&self, ext: ConsumeQueueExt) {
        let _ = self.ext.set(Box::new(ext));
    }

    /// The extension files.
    pub fn ext(&self) -> Option<&ConsumeQueueExt> {
        self.ext.get().map(|ext| &**ext)
    }

    /// Topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Queue id.
    pub fn queue_id(&self) -> i32 {
        self.queue_id
    }

    /// Its files.
    pub fn files(&self) -> &MappedFileQueue {
        &self.files
    }

    /// Whether the queue was removed from the store; a put must look its queue up again then.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// The offset the next message gets. Only under the commit log's append lock.
    pub fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// Sets the offset of the next message. Only under the commit log's append lock.
    pub fn set_next_offset(&self, offset: i64) {
        self.next_offset.store(offset, Ordering::Relaxed);
    }

    /// Where the first record of the queue may lie. What is before it in the log belongs to a queue of
    /// the same name that was removed.
    pub fn first_record(&self) -> i64 {
        self.first_record.load(Ordering::Acquire)
    }

    /// Sets where the first record of the queue may lie; before that can be read from the log.
    pub fn set_first_record(&self, offset: i64) {
        self.first_record.store(offset, Ordering::Release);
    }

    /// First usable index.
    pub fn min_offset(&self) -> i64 {
        self.min_byte.load(Ordering::Acquire) / Unit::BYTES as i64
    }

    /// One past the last index.
    pub fn max_offset(&self) -> i64 {
        self.files.max_offset() / Unit::BYTES as i64
    }

    /// End of the last record that has a unit; −1 if none.
    pub fn max_physical(&self) -> i64 {
        self.max_physical.load(Ordering::Acquire)
    }

    /// Notes that units in the middle were lost and have to be dispatched again.
    pub fn set_damaged(&self) {
        log::warn!("queue {} of topic {} is damaged; repairing it", self.queue_id, self.topic);
        self.damaged.store(true, Ordering::Release);
    }

    /// Tells, once, that a unit does not name a record.
    pub fn tell_bad_unit(&self, index: i64, unit: Unit) {
        if !self.bad_unit_told.swap(true, Ordering::Relaxed) {
            log::error!(
                "queue {} of topic {}: unit {index} names {} bytes at {}, where no such record is; it is \
                 passed over, and so are others like it. `mqstore verify` finds them, `mqstore rebuild` \
                 makes the queues again",
                self.queue_id,
                self.topic,
                unit.size,
                unit.offset
            );
        }
    }

    /// Whether [`set_damaged`](Self::set_damaged) was called.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    fn lock_tail(&self) -> MutexGuard<'_, Option<Appender>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the files.
    pub fn load(&self) -> Result<(), StoreError> {
        self.files.load(&[])?;
        self.ext().map_or(Ok(()), ConsumeQueueExt::load)
    }

    /// Finds the end. After a clean stop that is the end of the last file's units; after a crash
    /// the first invalid unit of the last three files, because any page may be missing, and of those
    /// before them as far as they refer to records at `certain_below` and beyond: for what lies below
    /// the checkpoint vouches.
    ///
    /// When units follow the end, one in the middle is damaged, and dispatch has to go back to
    /// [`max_physical`](Self::max_physical) to make it and its successors again.
    pub fn recover(
        &self,
        clean_exit: bool,
        certain_below: i64,
        before_repair: &BeforeRepair<'_>,
    ) -> Result<Repair, StoreError> {
        let files = self.files.snapshot();
        let first = self.first_uncertain(&files, clean_exit, certain_below)?;
        let mut end = files.first().map_or(0, |file| file.start());
        let mut last_tags_code = None;
        let mut repair = Repair::default();
        if let Some(before) = first.checked_sub(1).map(|before| &files[before]) {
            let last = UnitFile::open(before.path(), before.size()).and_then(|units| units.last());
            let last = last.map_err(|error| StoreError::io("read", before.path(), &error))?;
            self.max_physical.store(last.map_or(-1, Unit::end), Ordering::Release);
        }
        for file in &files[first..] {
            let is_last = files.last().is_some_and(|last| Arc::ptr_eq(last, file));
            let failed = |error| StoreError::io("read", file.path(), &error);
            let units = UnitFile::open(file.path(), file.size()).map_err(failed)?;
            let found = match (clean_exit, is_last) {
                (true, false) => units.up_to(file.size()),
                (true, true) => units
                    .count_before(units.capacity(), Unit::is_valid)
                    .and_then(|count| units.up_to(count * Unit::BYTES)),
                (false, _) => units.scan(|_| true),
            };
            let mut found = found.map_err(failed)?;
            if !clean_exit && found.ends_torn(certain_below) {
                found = units.up_to(found.position - Unit::BYTES).map_err(failed)?;
            }
            end = file.start() + found.position as i64;
            if let Some(physical) = found.last_end {
                self.max_physical.store(physical, Ordering::Release);
            }
            last_tags_code = found.last_tags_code.or(last_tags_code);
            if found.position < file.size() {
                repair.damaged = !is_last || units.units_follow(found.position, |_| true);
                break;
            }
        }
        if repair.damaged {
            before_repair(self.max_physical())?;
        }
        if clean_exit {
            self.files.set_end(end)?;
        } else {
            // Pages reach a disk out of order: units behind a lost page would be taken for the
            // queue's again when later ones end where they begin.
            repair.cut = self.files.truncate(end)?;
        }
        if let Some(ext) = self.ext() {
            let recovered = ext.recover(last_tags_code)?;
            repair.cut |= recovered.cut;
            if let Some(first_lost) = recovered.first_lost {
                // Their extension units would be those of later messages.
                let kept =
                    |unit: Unit| !is_ext_address(unit.tags_code) || unit.tags_code < first_lost;
                repair.damaged = true;
                repair |= self.truncate_where(kept, true, before_repair)?;
            }
        }
        if !clean_exit && !files.is_empty() {
            // What the process that crashed had written may be in memory only.
            self.files.forget_flushed(first);
            self.ext().iter().for_each(|ext| ext.forget_flushed());
            self.set_dirty();
        }
        Ok(repair)
    }

    /// Number of the first file that recovery has to look at.
    fn first_uncertain(
        &self,
        files: &[Arc<MappedFile>],
        clean_exit: bool,
        certain_below: i64,
    ) -> Result<usize, StoreError> {
        let mut first = files.len().saturating_sub(3);
        while !clean_exit && first > 0 {
            let file = &files[first - 1];
            let last = UnitFile::open(file.path(), file.size()).and_then(|units| units.last());
            let last = last.map_err(|error| StoreError::io("read", file.path(), &error))?;
            if last.is_some_and(|unit| unit.end() <= certain_below) {
                break;
            }
            first -= 1;
        }
        Ok(first)
    }

    /// Removes the units of records at or beyond `physical_end`.
    ///
    /// (Java accepts the first unit of a file unseen, and so leaves a zero unit in an empty file;
    /// here an unwritten unit ends the queue wherever it stands.)
    ///
    /// It is damaged if units of earlier records were cut off too, because a damaged one stood before
    /// them; see [`recover`](Self::recover).
    pub fn truncate_after(
        &self,
        physical_end: i64,
        before_repair: &BeforeRepair<'_>,
    ) -> Result<Repair, StoreError> {
        self.truncate_where(|unit| unit.end() <= physical_end, false, before_repair)
    }

    /// Removes the first unit that is not to be `kept`, and all behind it; `is_repair` if they are made
    /// again, in any case.
    fn truncate_where(
        &self,
        kept: impl Fn(Unit) -> bool,
        is_repair: bool,
        before_repair: &BeforeRepair<'_>,
    ) -> Result<Repair, StoreError> {
        let mut repair = Repair { damaged: is_repair, cut: false };
        let mut tail = self.lock_tail();
        *tail = None;
        self.max_physical.store(-1, Ordering::Release);
        while let Some(last) = self.files.last() {
            let failed = |error| StoreError::io("read", last.path(), &error);
            let units = UnitFile::open(last.path(), last.size()).map_err(failed)?;
            let found = units.scan(|unit| unit == Unit::BLANK || kept(unit)).map_err(failed)?;
            repair.damaged |= units.units_follow(found.position, &kept);
            if repair.damaged {
                before_repair(found.last_end.unwrap_or(-1))?;
            }
            if found.position == 0 && self.files.len() > 1 {
                self.files.delete_last()?;
                repair.cut = true;
                continue;
            }
            if let Some(end) = found.last_end {
                self.max_physical.store(end, Ordering::Release);
            }
            if found.position < last.wrote() {
                repair.cut |= self.files.truncate(last.start() + found.position as i64)?;
            }
            break;
        }
        Ok(repair)
    }

    /// Appends the unit of the message with that queue offset. False: the queue was removed.
    ///
    /// # Errors
    /// The disk's: no next file, or no blocks for the unit.
    pub fn append(&self, unit: Unit, queue_offset: i64) -> io::Result<bool> {
        if unit.end() <= self.max_physical.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let expected = queue_offset.saturating_mul(Unit::BYTES as i64);
        let mut tail = self.lock_tail();
        // Asked under the lock: another queue may have the names of its files since.
        if self.is_removed() {
            return Ok(false);
        }
        // A full disk, or a crash, may have left a part of the blank units before the first one.
        let is_first = self.max_physical() < 0 && self.files.len() <= 1;
        if is_first && self.files.last().is_some_and(|file| !file.contains(expected)) {
            *tail = None;
            self.files.delete_last().map_err(io::Error::other)?;
        }
        let appender = self.tail_for(&mut tail, expected)?;
        let end = appender.file().start() + appender.file().wrote() as i64;
        if queue_offset != 0 {
            if expected < end {
                return Ok(true);
            }
            if is_first {
                let blanks = (expected - end) as usize / Unit::BYTES;
                self.min_byte.store(expected, Ordering::Release);
                appender.append(&Unit::BLANK.encode().repeat(blanks))?;
            } else if expected > end && !self.gap_told.swap(true, Ordering::Relaxed) {
                log::error!(
                    "queue {} of topic {}: message {queue_offset} follows unit {}; the units \
                     between are missing",
                    self.queue_id,
                    self.topic,
                    end / Unit::BYTES as i64
                );
            }
        }
        appender.append(&unit.encode())?;
        self.max_physical.store(unit.end(), Ordering::Release);
        self.dirty.store(true, Ordering::Release);
        Ok(true)
    }

    /// The appender of the last file, of a new one if that is full or missing.
    fn tail_for<'a>(
        &self,
        tail: &'a mut Option<Appender>,
        expected: i64,
    ) -> io::Result<&'a mut Appender> {
        if tail.as_ref().is_some_and(|appender| appender.room() == 0) {
            *tail = None;
        }
        let appender = match tail.take() {
            Some(appender) => appender,
            None => {
                let size = self.files.file_size() as i64;
                let file = match self.files.last() {
                    Some(last) if !last.is_full() => last,
                    Some(full) => self.files.create(full.end())?,
                    None => self.files.create(expected - expected % size)?,
                };
                // There may be 20,000 such files, with a few kilobytes in each.
                file.read_nothing_ahead();
                file.appender().ok_or_else(|| {
                    io::Error::other(format!("{} has another appender", file.path().display()))
                })?
            }
        };
        Ok(tail.insert(appender))
    }

    /// The file and position of unit `index`, if the queue has it.
    pub fn locate(&self, index: i64) -> Option<(Arc<MappedFile>, usize)> {
        let byte = index.checked_mul(Unit::BYTES as i64)?;
        if byte < self.min_byte.load(Ordering::Acquire) {
            return None;
        }
        let file = self.files.find(byte)?;
        let at = (byte - file.start()) as usize;
        (at + Unit::BYTES <= file.readable()).then_some((file, at))
    }

    /// Unit `index`.
    pub fn unit(&self, index: i64) -> Option<Unit> {
        let (file, at) = self.locate(index)?;
        Unit::decode(file.bytes(at, Unit::BYTES)?)
    }

    /// First index of the file after the one that holds `index`.
    pub fn roll_next_file(&self, index: i64) -> i64 {
        let units = (self.files.file_size() / Unit::BYTES) as i64;
        index.saturating_add(units - index.rem_euclid(units))
    }

    /// Sets the first usable unit: the first one of the first file whose record is not below
    /// `min_physical`.
    pub fn correct_min_offset(&self, min_physical: i64) {
        let Some(first) = self.files.first() else { return };
        let count = first.readable() / Unit::BYTES;
        let gone = UnitFile::open(first.path(), first.size()).and_then(|units| {
            units.count_before(count, |unit| {
                unit == Unit::BLANK || (unit.is_valid() && unit.offset < min_physical)
            })
        });
        let position = match gone {
            Ok(gone) if gone < count => gone * Unit::BYTES,
            // Everything in the first file is gone, or it cannot be read: stay where it begins.
            _ => return self.raise_min(first.start()),
        };
        self.raise_min(first.start() + position as i64);
        if let Some(ext) = self.ext()
            && let Some(unit) = first.bytes(position, Unit::BYTES).and_then(Unit::decode)
        {
            ext.delete_before(unit.tags_code);
        }
    }

    /// The first usable byte only grows; it is at least where the first file begins.
    fn raise_min(&self, byte: i64) {
        self.min_byte.fetch_max(byte, Ordering::AcqRel);
    }

    /// Deletes the files whose last record lies below `min_physical`, never the last file. Returns
    /// how many.
    pub fn delete_expired(&self, min_physical: i64) -> usize {
        let mut deleted = 0;
        while let Some(first) = self.files.first() {
            let last_unit = first
                .bytes(first.size() - Unit::BYTES, Unit::BYTES)
                .and_then(Unit::decode)
                .filter(|unit| unit.offset < min_physical);
            if last_unit.is_none() {
                break;
            }
            match self.files.delete_first(&first) {
                Ok(true) => deleted += 1,
                Ok(false) => break,
                Err(error) => {
                    log::warn!("{} was not removed: {error}", first.path().display());
                    break;
                }
            }
        }
        self.correct_min_offset(min_physical);
        deleted
    }

    /// Whether something was added since the last flush.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Takes what was added as about to be flushed: its files, each with how far it is filled.
    pub fn take_unflushed(&self) -> Vec<(Arc<MappedFile>, usize)> {
        // Cleared before flushing: a unit appended meanwhile sets it again.
        self.dirty.store(false, Ordering::Release);
        self.files.take_new_names();
        let mut files = self.files.unflushed();
        files.extend(self.ext().map(ConsumeQueueExt::take_unflushed).unwrap_or_default());
        files
    }

    /// Notes that a flush of all together failed.
    pub fn set_unflushed(&self) {
        self.files.set_new_names();
        self.ext().iter().for_each(|ext| ext.set_new_names());
        self.set_dirty();
    }

    /// Notes that there is something to flush.
    pub fn set_dirty(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Whether so much was added since the last flush that it is worth one: at least `least_pages`
    /// pages (0: anything), or a file's end.
    pub fn is_worth_flushing(&self, least_pages: usize) -> bool {
        let files = self.files.snapshot();
        let pending = |file: &MappedFile| file.readable() - file.flushed();
        let total: usize = files.iter().map(|file| pending(file)).sum();
        let rolled = files.iter().rev().skip(1).any(|file| pending(file) > 0);
        rolled || total / PAGE_BYTES >= least_pages
    }

    /// Forces what was added to the disk, and the names of new files.
    pub fn flush(&self) -> io::Result<()> {
        // Cleared before flushing: a unit appended meanwhile sets it again.
        self.dirty.store(false, Ordering::Release);
        let files = self.files.unflushed();
        let flushed = files
            .iter()
            .try_for_each(|(file, _)| file.flush().map(drop))
            .and_then(|()| self.files.flush_names())
            .and_then(|()| self.ext().map_or(Ok(()), ConsumeQueueExt::flush));
        match flushed {
            // Its folder went with it.
            Err(_) if self.is_removed() => Ok(()),
            flushed => flushed.inspect_err(|_| self.set_dirty()),
        }
    }

    /// End of the last record in the queue; `None` for an empty queue.
    pub fn last_record_end(&self) -> Option<i64> {
        self.unit(self.max_offset() - 1).map(Unit::end)
    }

    /// Marks the queue as gone, so that who holds it looks it up again, and deletes its files.
    pub fn destroy(&self) {
        self.removed.store(true, Ordering::Release);
        *self.lock_tail() = None;
        self.files.destroy();
        if let Some(ext) = self.ext() {
            ext.destroy();
        }
    }

    /// Index of the message stored nearest to `timestamp` (ties: the earlier one); 0 for a queue
    /// without files. `store_time` tells a record's store time, `None` if it is gone.
    ///
    /// The file is chosen by the store time of its last unit. (Java 4.9 takes the file's
    /// modification time, which a copy of the folder changes.)
    pub fn offset_by_time(
        &self,
        timestamp: i64,
        min_physical: i64,
        store_time: impl Fn(Unit) -> Option<i64>,
    ) -> i64 {
        let files = self.files.snapshot();
        let time_at = |file: &MappedFile, at: usize| {
            let unit = file.bytes(at, Unit::BYTES).and_then(Unit::decode)?;
            if unit.offset < min_physical { None } else { store_time(unit) }
        };
        let Some(file) = files
            .iter()
            .find(|file| {
                let last = file.readable().saturating_sub(Unit::BYTES);
                time_at(file, last).is_some_and(|time| time >= timestamp)
            })
            .or(files.last())
        else {
            return 0;
        };
        let low = (self.min_byte.load(Ordering::Acquire) - file.start()).max(0);
        let low = low / Unit::BYTES as i64;
        let base = file.start() / Unit::BYTES as i64;
        let high = file.readable() as i64 / Unit::BYTES as i64 - 1;
        let nearest = nearest_in_time(low, high, timestamp, |index| {
            time_at(file, index as usize * Unit::BYTES)
        });
        (base + nearest).max(0)
    }
}

/// Binary search in `low..=high` for the index whose time is nearest to `timestamp`; indexes
/// without a time count as earlier than everything. −1 if no index has one.
fn nearest_in_time(
    mut low: i64,
    mut high: i64,
    timestamp: i64,
    time_of: impl Fn(i64) -> Option<i64>,
) -> i64 {
    let (mut left, mut right) = (None, None);
    while low <= high {
        let middle = low + (high - low) / 2;
        match time_of(middle) {
            None => low = middle + 1,
            Some(time) if time == timestamp => return middle,
            Some(time) if time > timestamp => {
                right = Some((middle, time));
                high = middle - 1;
            }
            Some(time) => {
                left = Some((middle, time));
                low = middle + 1;
            }
        }
    }
    match (left, right) {
        (Some((index, before)), Some((_, after))) if timestamp - before <= after - timestamp => {
            index
        }
        (_, Some((index, _))) => index,
        (Some((index, _)), None) => index,
        (None, None) => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    fn queue(folder: &TempFolder, file_units: usize) -> ConsumeQueue {
        ConsumeQueue::new("T".into(), 0, &folder.path().join("0"), file_units * Unit::BYTES)
    }

    fn unit(number: i64) -> Unit {
        Unit { offset: number * 100, size: 100, tags_code: number }
    }

    #[test]
    fn bytes_of_a_unit() {
        let unit = Unit { offset: 0, size: 122, tags_code: 2_598_919 };
        let bytes = unit.encode();
        assert_eq!(bytes[..8], [0; 8]);
        assert_eq!(bytes[8..], [0, 0, 0, 0x7A, 0, 0, 0, 0, 0, 0x27, 0xA8, 0x07]);
        assert_eq!(Unit::decode(&bytes), Some(unit));
        assert_eq!(Unit::decode(&bytes[..19]), None);
        assert_eq!(Unit::BLANK.encode()[8..12], [0x7F, 0xFF, 0xFF, 0xFF]);
        assert!(!Unit::decode(&[0; 20]).unwrap().is_valid());
    }

    #[test]
    fn rolls_is_loaded_and_adds_nothing_twice() {
        let folder = TempFolder::new("queue");
        let first = queue(&folder, 10);
        for number in 0..25 {
            first.append(unit(number), number).unwrap();
            first.append(unit(number), number).unwrap();
        }
        assert_eq!((first.max_offset(), first.files().len()), (25, 3));
        assert_eq!(first.max_physical(), 2500);
        let second = queue(&folder, 10);
        second.load().unwrap();
        second.recover(false, 0, &|_| Ok(())).unwrap();
        assert_eq!((second.max_offset(), second.max_physical()), (25, 2500));
        second.append(unit(25), 25).unwrap();
        assert_eq!(second.unit(25), Some(unit(25)));
        assert_eq!(second.unit(26), None);
        second.truncate_after(1900, &|_| Ok(())).unwrap();
        assert_eq!((second.max_offset(), second.max_physical()), (19, 1900));
        second.truncate_after(1000, &|_| Ok(())).unwrap();
        assert_eq!((second.max_offset(), second.files().len()), (10, 1));
        second.append(unit(10), 10).unwrap();
        assert_eq!(second.max_offset(), 11);
        second.truncate_after(0, &|_| Ok(())).unwrap();
        assert_eq!(second.max_offset(), 0);
    }

    #[test]
    fn a_late_start_is_filled_with_blank_units() {
        let folder = TempFolder::new("late");
        let late = queue(&folder, 10);
        late.append(unit(57), 57).unwrap();
        assert_eq!((late.min_offset(), late.max_offset()), (57, 58));
        assert_eq!(late.unit(56), None, "blank units are not served");
        let bytes = std::fs::read(folder.path().join("0").join(format!("{:020}", 1000))).unwrap();
        assert_eq!(bytes[120..140], Unit::BLANK.encode());
        assert_eq!(bytes[140..160], unit(57).encode());
        let again = queue(&folder, 10);
        again.load().unwrap();
        again.recover(true, 0, &|_| Ok(())).unwrap();
        again.correct_min_offset(0);
        assert_eq!((again.min_offset(), again.max_offset()), (57, 58));
        assert_eq!(again.max_physical(), 5800);
    }

    #[test]
    fn a_late_start_is_filled_again_after_a_crash() {
        let folder = TempFolder::new("late-crash");
        queue(&folder, 1000).append(unit(900), 900).unwrap();
        let path = folder.path().join("0").join(format!("{:020}", 0));
        // Power was cut: all of the blank units are lost, those of a page, those of later pages.
        for lost in [0..20_000, 4096..8192, 12_288..20_000] {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[lost].fill(0);
            std::fs::write(&path, bytes).unwrap();
            let again = queue(&folder, 1000);
            again.load().unwrap();
            again.recover(false, 0, &|_| Ok(())).unwrap();
            again.append(unit(900), 900).unwrap();
            again.append(unit(901), 901).unwrap();
            assert_eq!((again.min_offset(), again.max_offset()), (900, 902));
            assert_eq!((again.unit(900), again.unit(901)), (Some(unit(900)), Some(unit(901))));
        }
        // It begins later still: what another master has is all there is.
        let later = queue(&folder, 1000);
        later.load().unwrap();
        later.truncate_after(0, &|_| Ok(())).unwrap();
        later.append(unit(2100), 2100).unwrap();
        assert_eq!((later.min_offset(), later.unit(2100)), (2100, Some(unit(2100))));
    }

    #[test]
    fn expired_files_go_and_the_first_offset_follows() {
        let folder = TempFolder::new("expired");
        let queue = queue(&folder, 10);
        (0..35).for_each(|number| assert!(queue.append(unit(number), number).unwrap()));
        assert_eq!(queue.delete_expired(2250), 2);
        assert_eq!((queue.min_offset(), queue.max_offset()), (23, 35));
        assert_eq!(queue.delete_expired(1_000_000), 1, "the last file stays");
        assert_eq!(queue.min_offset(), 30);
    }

    /// Who flushes has found it before it was removed: the others are flushed, and vouched for.
    #[test]
    fn a_removed_queue_has_nothing_to_flush() {
        let folder = TempFolder::new("removed-flush");
        let queue = queue(&folder, 10);
        queue.append(unit(0), 0).unwrap();
        queue.destroy();
        queue.flush().unwrap();
    }

    #[test]
    fn offsets_by_time() {
        let folder = TempFolder::new("time");
        let queue = queue(&folder, 4);
        assert_eq!(queue.offset_by_time(5, 0, |_| None), 0, "without files");
        (0..10).for_each(|number| assert!(queue.append(unit(number), number).unwrap()));
        // Store times 0, 10, 20, ...
        let find = |time, min| queue.offset_by_time(time, min, |unit| Some(unit.offset / 10));
        for (time, index) in [(-5, 0), (0, 0), (4, 0), (5, 0), (6, 1), (30, 3), (35, 4), (95, 9)] {
            assert_eq!(find(time, 0), index, "{time}");
        }
        assert_eq!(find(0, 250), 3, "the first whose record is still there");
    }
}
