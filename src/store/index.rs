//! The index: where the messages with a key lie. [`IndexFile`] is one file of it,
//! [`IndexService`] all of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::checkpoint::StoreCheckpoint;
use super::config::StoreConfig;
use super::folder::{flush_folder, make_folder};
use super::mapped_file::{Word, WordFile};
use super::message_store::StoreError;
use crate::common::checksum::{java_hash, java_hash_on};
use crate::common::clock::now_ms;
use crate::common::os::LocalTime;
use crate::common::record::RecordView;
use crate::common::sync::lock;

const HEADER_BYTES: usize = 40;
const SLOT_BYTES: usize = 4;
const ENTRY_BYTES: usize = 20;
/// Blocks reserved at once for entries.
const RESERVE_BYTES: usize = 1024 * 1024;

const BEGIN_TIME: usize = 0;
const END_TIME: usize = 8;
const BEGIN_OFFSET: usize = 16;
const END_OFFSET: usize = 24;
const USED_SLOTS: usize = 32;
const COUNT: usize = 36;

/// Hash of `topic#key`: the Java hash made positive.
pub fn key_hash(topic: &str, key: &str) -> i32 {
    let hash = java_hash_on(java_hash(topic).wrapping_mul(31).wrapping_add(i32::from(b'#')), key);
    // The smallest integer has no positive counterpart.
    hash.checked_abs().unwrap_or(0)
}

/// The keys under which a record is found: its unique key, then the words of its property `KEYS`.
pub fn keys<'a>(unique: Option<&'a str>, words: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let words = words.into_iter().flat_map(|words| words.split(' '));
    unique.into_iter().chain(words.filter(|word| !word.is_empty()))
}

/// Bytes of an index file.
pub fn file_bytes(slots: usize, entries: usize) -> usize {
    HEADER_BYTES + slots * SLOT_BYTES + entries * ENTRY_BYTES
}

/// One index file: a hash table of chains, newest entry first.
///
/// | at | bytes | field of the header |
/// |---|---|---|
/// | 0 | 8 | store time of the first entry's message, ms |
/// | 8 | 8 | store time of the last entry's message, ms |
/// | 16 | 8 | commit-log offset of the first entry's message |
/// | 24 | 8 | commit-log offset of the last entry's message |
/// | 32 | 4 | hash slots in use |
/// | 36 | 4 | number of the next entry; entries count from 1 |
///
/// Then `maxHashSlotNum` slots of 4 bytes, the number of the newest entry of each chain (0: empty);
/// then `maxIndexNum` entries:
///
/// | at | bytes | field of an entry |
/// |---|---|---|
/// | 0 | 4 | hash of `topic#key` |
/// | 4 | 8 | commit-log offset |
/// | 12 | 4 | seconds since the header's first time |
/// | 16 | 4 | number of the previous entry of the chain, 0 at its end |
///
/// Readers walk chains while entries are added: an entry is complete before the slot names it.
#[derive(Debug)]
pub struct IndexFile {
    words: WordFile,
    slots: usize,
    entries: usize,
    adding: Mutex<()>,
    /// Whether all of a full file is on the disk.
    flushed: AtomicBool,
    /// Whether a flush failed: a later success tells nothing about what that one lost.
    flush_failed: AtomicBool,
}

/// What is put into the index for one key of one message.
#[derive(Clone, Copy, Debug)]
pub struct IndexEntry {
    /// Hash of topic and key.
    pub hash: i32,
    /// Commit-log offset of the message.
    pub offset: i64,
    /// Its store time, ms.
    pub store_timestamp: i64,
}

impl IndexFile {
    /// Opens or creates the file. A next-entry number that no file can have becomes 1, as in Java.
    pub fn open(path: &Path, slots: usize, entries: usize) -> io::Result<Self> {
        let words = WordFile::open(path, file_bytes(slots, entries))?;
        Ok(Self {
            words,
            slots,
            entries,
            adding: Mutex::new(()),
            flushed: AtomicBool::new(false),
            flush_failed: AtomicBool::new(false),
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.words.path()
    }

    /// Store time of the first entry's message, ms.
    pub fn begin_time(&self) -> i64 {
        self.words.load_i64(BEGIN_TIME)
    }

    /// Store time of the last entry's message, ms.
    pub fn end_time(&self) -> i64 {
        self.words.load_i64(END_TIME)
    }

    /// Commit-log offset of the last entry's message.
    pub fn end_offset(&self) -> i64 {
        self.words.load_i64(END_OFFSET)
    }

    /// Number of the next entry, from 1.
    pub fn count(&self) -> usize {
        let count = self.words.load(COUNT) as i32;
        usize::try_from(count).unwrap_or(0).clamp(1, self.entries.max(1))
    }

    /// Whether no entry fits any more.
    pub fn is_full(&self) -> bool {
        self.count() >= self.entries
    }

    /// A rolled file takes up the end of its predecessor.
    fn inherit(&self, previous: &Self) -> io::Result<()> {
        self.words.reserve(HEADER_BYTES)?;
        let (offset, time) = (previous.end_offset(), previous.end_time());
        if offset > 0 {
            self.words.store_i64(BEGIN_OFFSET, offset);
            self.words.store_i64(END_OFFSET, offset);
        }
        if time > 0 {
            self.words.store_i64(BEGIN_TIME, time);
            self.words.store_i64(END_TIME, time);
        }
        Ok(())
    }

    fn slot_at(&self, hash: i32) -> usize {
        HEADER_BYTES + (hash as usize % self.slots) * SLOT_BYTES
    }

    fn entry_at(&self, number: usize) -> usize {
        HEADER_BYTES + self.slots * SLOT_BYTES + number * ENTRY_BYTES
    }

    /// Adds an entry; false if the file is full.
    pub fn add(&self, entry: IndexEntry) -> io::Result<bool> {
        let _adding = lock(&self.adding);
        let number = self.count();
        if number >= self.entries {
            return Ok(false);
        }
        let at = self.entry_at(number);
        self.words.reserve((at + ENTRY_BYTES).next_multiple_of(RESERVE_BYTES))?;
        let header = self.words.part::<{ HEADER_BYTES / 4 }>(0);
        let slot = self.words.part::<1>(self.slot_at(entry.hash));
        let (Some(header), Some([slot]), Some(place)) = (header, slot, self.words.part::<5>(at))
        else {
            return Ok(false);
        };
        let previous = usize::try_from(slot.load() as i32)
            .ok()
            .filter(|previous| *previous <= number)
            .unwrap_or(0);
        let begin = Word::load_i64(header, BEGIN_TIME);
        let seconds = if begin <= 0 { 0 } else { (entry.store_timestamp - begin) / 1000 };
        let [hash, offset_high, offset_low, time, chain] = place;
        hash.store(entry.hash as u32);
        offset_high.store((entry.offset >> 32) as u32);
        offset_low.store(entry.offset as u32);
        time.store(seconds.clamp(0, i64::from(i32::MAX)) as u32);
        chain.store(previous as u32);
        slot.store(number as u32);
        if number <= 1 {
            Word::store_i64(header, BEGIN_OFFSET, entry.offset);
            Word::store_i64(header, BEGIN_TIME, entry.store_timestamp);
        }
        if previous == 0 {
            header[USED_SLOTS / 4].store(header[USED_SLOTS / 4].load().wrapping_add(1));
        }
        header[COUNT / 4].store(number as u32 + 1);
        Word::store_i64(header, END_OFFSET, entry.offset);
        Word::store_i64(header, END_TIME, entry.store_timestamp);
        Ok(true)
    }

    /// Forgets the entries of messages at `log_end` and beyond; returns whether any entry is left.
    fn truncate(&self, log_end: i64) -> io::Result<bool> {
        let _adding = lock(&self.adding);
        self.words.reserve(self.entry_at(self.count()))?;
        let offset = |number: usize| self.words.load_i64(self.entry_at(number) + 4);
        // Entries stand in the order of their messages.
        let mut kept = self.count();
        while kept > 1 && offset(kept - 1) >= log_end {
            kept -= 1;
        }
        for slot in 0..self.slots {
            let at = HEADER_BYTES + slot * SLOT_BYTES;
            let mut number = self.words.load(at) as usize;
            while number >= kept {
                let previous = self.words.load(self.entry_at(number) + 16) as usize;
                // A damaged chain ends here.
                number = if previous < number { previous } else { 0 };
            }
            if number != self.words.load(at) as usize {
                self.words.store(at, number as u32);
            }
        }
        self.words.store(COUNT, kept as u32);
        if kept > 1 {
            let last = self.entry_at(kept - 1);
            let seconds = i64::from(self.words.load(last + 12));
            self.words.store_i64(END_OFFSET, offset(kept - 1));
            self.words.store_i64(END_TIME, self.begin_time().saturating_add(seconds * 1000 + 999));
        }
        Ok(kept > 1)
    }

    /// Adds the offsets of messages with `hash` stored in `begin..=end` to `found`, newest first,
    /// up to `max` in all.
    pub fn find(&self, hash: i32, begin: i64, end: i64, max: usize, found: &mut Vec<i64>) {
        let (file_begin, file_end) = (self.begin_time(), self.end_time());
        if file_begin > end || file_end < begin {
            return;
        }
        let count = self.count();
        let mut number = self.words.load(self.slot_at(hash)) as usize;
        // A chain is never longer than the file has entries, whatever a damaged file says.
        for _ in 0..count {
            if number == 0 || number > count || count <= 1 || found.len() >= max {
                return;
            }
            let at = self.entry_at(number);
            let seconds = self.words.load(at + 12) as i32;
            if seconds < 0 {
                return;
            }
            let time = file_begin.saturating_add(i64::from(seconds) * 1000);
            if self.words.load(at) as i32 == hash && begin <= time && time <= end {
                found.push(self.words.load_i64(at + 4));
            }
            let previous = self.words.load(at + 16) as usize;
            if previous == number || time < begin {
                return;
            }
            number = previous;
        }
    }

    /// Forces the file to the disk.
    ///
    /// # Errors
    /// The disk's, from then on.
    pub fn flush(&self) -> io::Result<()> {
        if self.flush_failed.load(Ordering::Acquire) {
            let path = self.path().display();
            return Err(io::Error::other(format!("an earlier flush of {path} failed")));
        }
        self.words.flush().inspect_err(|_| self.flush_failed.store(true, Ordering::Release))
    }
}

/// Answer to a query of the index.
#[derive(Debug, Default)]
pub struct IndexAnswer {
    /// Commit-log offsets; hash collisions are among them.
    pub offsets: Vec<i64>,
    /// Store time of the newest entry's message, ms.
    pub last_update_timestamp: i64,
    /// Commit-log offset of the newest entry's message.
    pub last_update_offset: i64,
}

/// All index files, oldest first. Files are named by the local time of their creation,
/// `yyyyMMddHHmmssSSS`.
#[derive(Debug)]
pub struct IndexService {
    folder: PathBuf,
    slots: usize,
    entries: usize,
    checkpoint: Arc<StoreCheckpoint>,
    files: RwLock<Vec<Arc<IndexFile>>>,
    /// Held while full files are flushed.
    flushing: Arc<Mutex<()>>,
}

impl IndexService {
    /// The index of the store that `config` describes, not loaded.
    pub fn new(config: &StoreConfig, checkpoint: Arc<StoreCheckpoint>) -> Self {
        Self {
            folder: config.root().join("index"),
            slots: config.max_hash_slot_num.max(1) as usize,
            entries: config.max_index_num.max(2) as usize,
            checkpoint,
            files: RwLock::default(),
            flushing: Arc::default(),
        }
    }

    /// Loads the files. After a crash those are deleted for which the checkpoint does not vouch: whose
    /// newest entry is later, and those that are not full; recovery adds their entries again.
    pub fn load(&self, clean_exit: bool) -> Result<(), StoreError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("list", &self.folder, &error)),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.parse::<u64>().is_err() {
                log::warn!("{} is no index file and is skipped", path.display());
                continue;
            }
            let file = match IndexFile::open(&path, self.slots, self.entries) {
                Ok(file) => file,
                Err(error) => {
                    return Err(StoreError(format!(
                        "{error}; maxHashSlotNum and maxIndexNum must be those the store was \
                         written with (the index may be deleted: queries by key then only find \
                         newer messages)"
                    )));
                }
            };
            let certain = self.checkpoint.index.load(Ordering::Acquire);
            if !clean_exit && (file.end_time() > certain || !file.is_full()) {
                std::fs::remove_file(&path)
                    .map_err(|error| StoreError::io("remove", &path, &error))?;
                continue;
            }
            files.push(Arc::new(file));
        }
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(())
    }

    /// All files as they are now.
    pub fn snapshot(&self) -> Vec<Arc<IndexFile>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last(&self) -> Option<Arc<IndexFile>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Adds the [`keys`] of a record. A record before the newest entry's is skipped, so that
    /// dispatching twice is harmless.
    pub fn add(
        &self,
        record: &RecordView<'_>,
        unique: Option<&str>,
        words: Option<&str>,
    ) -> io::Result<()> {
        if unique.is_none() && words.is_none() {
            return Ok(());
        }
        let mut file = self.last();
        if file.as_ref().is_some_and(|file| record.physical_offset < file.end_offset()) {
            return Ok(());
        }
        let mut add = |key: &str| {
            let entry = IndexEntry {
                hash: key_hash(record.topic, key),
                offset: record.physical_offset,
                store_timestamp: record.store_timestamp,
            };
            let added = match &file {
                Some(file) => file.add(entry)?,
                None => false,
            };
            if !added {
                let next = self.roll(file.as_ref())?;
                next.add(entry)?;
                file = Some(next);
            }
            Ok(())
        };
        match (unique, words) {
            // What nearly every message has.
            (Some(unique), None) => add(unique),
            _ => keys(unique, words).try_for_each(add),
        }
    }

    /// Makes the next file; the full one goes to the disk meanwhile.
    fn roll(&self, full: Option<&Arc<IndexFile>>) -> io::Result<Arc<IndexFile>> {
        make_folder(&self.folder)?;
        let mut time = now_ms();
        let path = loop {
            let path = self.folder.join(file_name(time));
            if !path.exists() {
                break path;
            }
            time += 1;
        };
        let made = IndexFile::open(&path, self.slots, self.entries).and_then(|file| {
            // Slots are written anywhere: all of their blocks must be there.
            file.words.reserve(file.entry_at(0))?;
            Ok(file)
        });
        let file = made.inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
        if let Some(full) = full {
            file.inherit(full)?;
            let (files, folder) = (self.snapshot(), self.folder.clone());
            let (flushing, checkpoint) = (Arc::clone(&self.flushing), Arc::clone(&self.checkpoint));
            std::thread::Builder::new().name("FlushIndexFile".to_owned()).spawn(move || {
                let _flushing = lock(&flushing);
                if let Err(error) = flush_files(&files, &folder, &checkpoint) {
                    log::error!(
                        "the index in {} cannot be forced to the disk: {error}; after a crash it is \
                         built again",
                        folder.display()
                    );
                }
            })?;
        }
        let file = Arc::new(file);
        self.files.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&file));
        Ok(file)
    }

    /// Forces everything to the disk, at an orderly stop: the next start trusts it.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&self) -> io::Result<()> {
        let _flushing = lock(&self.flushing);
        flush_files(&self.snapshot(), &self.folder, &self.checkpoint)
    }

    /// Offsets of messages with that topic and key stored in `begin..=end`, at most `max`.
    pub fn query(&self, topic: &str, key: &str, max: usize, begin: i64, end: i64) -> IndexAnswer {
        let hash = key_hash(topic, key);
        let files = self.snapshot();
        let mut answer = IndexAnswer::default();
        if let Some(newest) = files.last() {
            answer.last_update_timestamp = newest.end_time();
            answer.last_update_offset = newest.end_offset();
        }
        for file in files.iter().rev() {
            file.find(hash, begin, end, max, &mut answer.offsets);
            if file.begin_time() < begin || answer.offsets.len() >= max {
                break;
            }
        }
        answer
    }

    /// Deletes leading files whose messages all lie below `min_physical`, never the last.
    pub fn delete_expired(&self, min_physical: i64) -> usize {
        let expired: Vec<_> = {
            let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
            let all_but_last = files.iter().take(files.len().saturating_sub(1));
            let expired = all_but_last.take_while(|file| file.end_offset() < min_physical).count();
            files.drain(..expired).collect()
        };
        // Dispatch and queries go on meanwhile.
        for file in &expired {
            if let Err(error) = std::fs::remove_file(file.path()) {
                log::warn!("{} was not removed: {error}", file.path().display());
            }
        }
        expired.len()
    }

    /// Forgets the messages at `log_end` and beyond, which were cut off: their offsets will be those of
    /// others.
    ///
    /// # Errors
    /// The disk's.
    pub fn truncate(&self, log_end: i64) -> io::Result<()> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut cut = false;
        while let Some(last) = files.last().filter(|last| last.end_offset() >= log_end) {
            cut = true;
            if last.truncate(log_end)? {
                break;
            }
            std::fs::remove_file(last.path())?;
            files.pop();
        }
        if !cut {
            return Ok(());
        }
        // What is not full is built again after a crash, and so must not be vouched for any more.
        let certain = files.iter().rev().find(|file| file.is_full());
        let certain = certain.map_or(0, |file| file.end_time());
        self.checkpoint.index.fetch_min(certain, Ordering::AcqRel);
        self.checkpoint.flush()
    }

    /// Removes all files: the index is built again.
    pub fn destroy(&self) {
        let paths: BTreeSet<PathBuf> =
            self.snapshot().iter().map(|file| file.path().to_owned()).collect();
        self.files.write().unwrap_or_else(PoisonError::into_inner).clear();
        for path in paths {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Checks the chains and entries of a file, given all its bytes: every entry is in the chain of its
/// slot, exactly once, behind no older one, and `wrong_record` (hash, commit-log offset) has nothing
/// to say about it. `tell` is called with place and reason.
pub fn check_file(
    bytes: &[u8],
    slots: usize,
    wrong_record: impl Fn(i32, i64) -> Option<String>,
    mut tell: impl FnMut(String, String),
) {
    let word = |at: usize| {
        bytes.get(at..at + 4).and_then(|bytes| Some(i32::from_be_bytes(bytes.try_into().ok()?)))
    };
    let most = (bytes.len() - file_bytes(slots, 0).min(bytes.len())) / ENTRY_BYTES;
    let count = word(COUNT).and_then(|count| usize::try_from(count).ok()).unwrap_or(0).max(1);
    if count > most.max(1) {
        return tell("header".to_owned(), format!("{count} entries do not fit into the file"));
    }
    let mut seen = vec![false; count];
    for slot in 0..slots {
        let mut newer = count;
        let mut number = word(HEADER_BYTES + slot * SLOT_BYTES).unwrap_or(0) as usize;
        while number != 0 {
            if number >= newer {
                tell(
                    format!("slot {slot}"),
                    format!("entry {number} follows in the chain of {newer}"),
                );
                break;
            }
            let at = file_bytes(slots, number);
            let (Some(hash), Some(previous)) = (word(at), word(at + 16)) else { break };
            if std::mem::replace(&mut seen[number], true) {
                tell(format!("entry {number}"), "it is in two chains".to_owned());
                break;
            }
            if hash as usize % slots != slot {
                tell(
                    format!("entry {number}"),
                    format!("its hash {hash} does not belong to slot {slot}"),
                );
            }
            let offset = bytes.get(at + 4..at + 12).and_then(|bytes| bytes.try_into().ok());
            if let Some(what) = wrong_record(hash, offset.map_or(-1, i64::from_be_bytes)) {
                tell(format!("entry {number}"), what);
            }
            (newer, number) = (number, previous as usize);
        }
    }
    let lost = seen.iter().skip(1).filter(|seen| !**seen).count();
    if lost > 0 {
        tell("chains".to_owned(), format!("{lost} of {} entries are in none", count - 1));
    }
}

/// Header of an index file, read from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    /// Store time of the first entry's message, ms.
    pub begin_time: i64,
    /// Store time of the last entry's message, ms.
    pub end_time: i64,
    /// Commit-log offset of the first entry's message.
    pub begin_offset: i64,
    /// Commit-log offset of the last entry's message.
    pub end_offset: i64,
    /// Hash slots in use.
    pub used_slots: u32,
    /// Number of the next entry.
    pub count: u32,
}

/// Headers of all index files of a folder, oldest first, with their names.
pub fn read_headers(folder: &Path) -> Result<Vec<(String, IndexHeader)>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder, &error)),
    };
    let mut headers = Vec::new();
    for entry in entries.flatten() {
        let mut bytes = [0; HEADER_BYTES];
        let read = File::open(entry.path()).and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(|error| StoreError::io("read", &entry.path(), &error))?;
        let long = |at: usize| {
            bytes[at..].first_chunk().map_or(0, |bytes: &[u8; 8]| i64::from_be_bytes(*bytes))
        };
        let header = IndexHeader {
            begin_time: long(BEGIN_TIME),
            end_time: long(END_TIME),
            begin_offset: long(BEGIN_OFFSET),
            end_offset: long(END_OFFSET),
            used_slots: (long(USED_SLOTS) >> 32) as u32,
            count: long(USED_SLOTS) as u32,
        };
        headers.push((entry.file_name().to_string_lossy().into_owned(), header));
    }
    headers.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(headers)
}

/// Name of an index file made at that moment.
fn file_name(time_ms: i64) -> String {
    let time = LocalTime::from_epoch_ms(time_ms);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
        time.year, time.month, time.day, time.hour, time.minute, time.second, time.millisecond
    )
}

/// Forces files to the disk, oldest first, and tells the checkpoint which full ones are there: it
/// vouches for all files up to a time, so that nothing is told of one behind another that failed.
fn flush_files(
    files: &[Arc<IndexFile>],
    folder: &Path,
    checkpoint: &StoreCheckpoint,
) -> io::Result<()> {
    let unflushed = files.iter().filter(|file| !file.flushed.load(Ordering::Acquire));
    let mut certain = None;
    for file in unflushed {
        let full = file.is_full();
        file.flush()?;
        if full {
            file.flushed.store(true, Ordering::Release);
            certain = Some(file.end_time());
        }
    }
    if !files.is_empty() {
        flush_folder(folder)?;
    }
    if let Some(time) = certain {
        checkpoint.index.fetch_max(time, Ordering::AcqRel);
        checkpoint.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(key_hash("TopicTest", "k1"), 2_746_024);
        assert_eq!(key_hash("SCHEDULE_TOPIC_XXXX", "k2"), 1_975_252_914);
    }

    #[test]
    fn bytes_of_a_file() {
        let folder = TempFolder::new("index");
        let path = folder.path().join("20231114231320000");
        let file = IndexFile::open(&path, 10, 4).unwrap();
        let (first, second) = (0x1A1_FB43_3BB7, 0x1A1_FB43_3BC4);
        let entry = |hash, offset, store_timestamp| IndexEntry { hash, offset, store_timestamp };
        assert!(file.add(entry(2_746_024, 0, first)).unwrap());
        assert!(file.add(entry(1_975_252_914, 0x7A, second)).unwrap());
        file.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 40 + 4 * 10 + 20 * 4);
        assert_eq!(
            hex(&bytes[..40]),
            "000001A1FB433BB7000001A1FB433BC40000000000000000000000000000007A0000000100000003"
        );
        // Both hashes end in 4: one chain, its newest entry first.
        assert_eq!(hex(&bytes[40 + 16..40 + 20]), "00000002");
        assert_eq!(hex(&bytes[80..100]), "00".repeat(20), "entry 0 is never used");
        assert_eq!(
            hex(&bytes[100..120]),
            "0029E6A8000000000000000000000000".to_owned() + "00000000"
        );
        assert_eq!(hex(&bytes[120..140]), "75BBF7B2000000000000007A0000000000000001");
        assert!(file.add(entry(1, 200, second)).unwrap());
        assert!(!file.add(entry(1, 300, second)).unwrap(), "a file holds one entry less");
    }

    #[test]
    fn finds_newest_first_within_the_time_and_survives_damage() {
        let folder = TempFolder::new("index-find");
        let path = folder.path().join("20231114231320000");
        let file = IndexFile::open(&path, 3, 100).unwrap();
        for number in 0..30 {
            let store_timestamp = 1_000_000 + number * 1000;
            file.add(IndexEntry { hash: (number % 6) as i32, offset: number, store_timestamp })
                .unwrap();
        }
        let find = |hash, begin, end, max| {
            let mut found = Vec::new();
            file.find(hash, begin, end, max, &mut found);
            found
        };
        assert_eq!(find(1, 0, i64::MAX, 64), [25, 19, 13, 7, 1]);
        assert_eq!(find(1, 0, i64::MAX, 2), [25, 19]);
        assert_eq!(find(1, 1_007_000, 1_019_000, 64), [19, 13, 7]);
        assert_eq!(find(1, 0, 999_999, 64), []);
        // Chains that bite their own tail, or point anywhere, end.
        for value in [5u32, 24, 99, u32::MAX] {
            for number in 1..=30 {
                file.words.store(file.entry_at(number) + 16, value);
            }
            assert!(find(1, 0, i64::MAX, 64).len() <= 31);
        }
    }
}
