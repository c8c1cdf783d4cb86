//! Looking at a store that no broker uses: [`StoreFolder`]. Nothing is written. What `mqstore`
//! prints comes from here, and so do the dumps of the store's own tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::commit_log::{LogEntry, read_entry};
use super::config::StoreConfig;
use super::consume_queue::Unit;
use super::consume_queue_ext::{ConsumeQueueExt, is_ext_address};
use super::index::IndexHeader;
use super::mapped_file::MappedFile;
use super::mapped_file_queue::MappedFileQueue;
use super::message_store::StoreError;
use super::recovery::find_record;
use crate::common::checksum::tags_code;
use crate::common::os;
use crate::common::properties;
use crate::common::record::RecordView;
use crate::common::sys_flag;
use crate::common::topic::SCHEDULE_TOPIC;

/// A stretch of the commit log.
#[derive(Debug)]
pub enum LogItem<'a> {
    /// A message.
    Record(RecordView<'a>),
    /// The blank record that closes a file, and its padding.
    Blank {
        /// Where it begins.
        offset: i64,
        /// Where the next file begins.
        next: i64,
    },
    /// Bytes that are no record.
    Damage {
        /// Where they begin.
        offset: i64,
        /// The file, and the position in it.
        place: String,
        /// What is wrong.
        reason: String,
        /// Where the next whole record begins; `None` if none follows.
        next: Option<i64>,
    },
}

/// Something that does not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: file and position, or queue and offset.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// What a check of the whole store came to.
#[derive(Debug, Default)]
pub struct Verified {
    /// Whole records.
    pub records: u64,
    /// Consume-queue units.
    pub units: u64,
    /// Index entries.
    pub index_entries: u64,
    /// Whether the index was checked; if not, its files have another shape than configured.
    pub index_checked: bool,
    /// How many problems there are.
    pub problems: u64,
}

/// A store's folder, opened for reading.
pub struct StoreFolder {
    root: PathBuf,
    log_folders: Vec<PathBuf>,
    log: Option<MappedFileQueue>,
    /// Hash slots and entries of an index file, as configured.
    index_shape: [usize; 2],
    /// Holds the byte lock; `None` in a store without lock file.
    _lock: Option<File>,
}

/// What [`take_read_lock`] found.
fn take_read_lock(root: &Path) -> Result<Option<File>, StoreError> {
    let path = root.join("lock");
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", &path, &error)),
    };
    match os::lock_bytes(&file, 0, 1) {
        Ok(true) => Ok(Some(file)),
        Ok(false) => Err(StoreError(format!(
            "{} is locked: a broker uses this store; stop it, or work on a copy",
            path.display()
        ))),
        Err(error) => Err(StoreError::io("lock", &path, &error)),
    }
}

impl StoreFolder {
    /// Opens the store under `root`, with everything where it is by default.
    ///
    /// # Errors
    /// Those of [`configured`](Self::configured).
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = root.to_string_lossy().into_owned();
        Self::configured(&StoreConfig { store_path_root_dir: root, ..StoreConfig::default() })
    }

    /// Opens the store whose paths `config` tells. File sizes are taken from the files, but for the
    /// index: no file of it says how many slots it has.
    ///
    /// # Errors
    /// A broker uses it, or files do not belong together.
    pub fn configured(config: &StoreConfig) -> Result<Self, StoreError> {
        let root = config.root();
        if !root.is_dir() {
            return Err(StoreError(format!("{} is no folder", root.display())));
        }
        let lock = take_read_lock(&root)?;
        let log_folders = config.all_commit_log_folders();
        let log = MappedFileQueue::read_only(&log_folders)?;
        let index_shape = [config.max_hash_slot_num, config.max_index_num];
        let index_shape = index_shape.map(|count| count.max(1) as usize);
        Ok(Self { root, log_folders, log, index_shape, _lock: lock })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folders of its commit log.
    pub fn log_folders(&self) -> &[PathBuf] {
        &self.log_folders
    }

    /// Bytes of a commit-log file; 0 without files.
    pub fn log_file_size(&self) -> usize {
        self.log.as_ref().map_or(0, MappedFileQueue::file_size)
    }

    /// First offset of the commit log; −1 without files.
    pub fn log_begin(&self) -> i64 {
        self.log.as_ref().and_then(MappedFileQueue::min_offset).unwrap_or(-1)
    }

    /// End of the commit log: only its last files are read. 0 without files.
    pub fn log_end(&self) -> i64 {
        let files = self.log.as_ref().map(MappedFileQueue::snapshot).unwrap_or_default();
        let mut ends = files.iter().rev().map(|file| {
            let end = self.visit_log(file.start(), |_| ControlFlow::Continue(()));
            (file.start(), end)
        });
        // A file in which nothing begins is a spare one.
        ends.find(|(start, end)| end > start).map_or(0, |(_, end)| end)
    }

    /// Visits the commit log from `from` on (which must be a record's begin, or before the log's)
    /// until `visit` breaks or nothing follows. Returns the end of what was read.
    pub fn visit_log(
        &self,
        from: i64,
        mut visit: impl FnMut(&LogItem<'_>) -> ControlFlow<()>,
    ) -> i64 {
        let Some(log) = &self.log else { return 0 };
        let files = log.snapshot();
        let mut offset = from.max(self.log_begin());
        while let Some(file) = log.find(offset) {
            let position = (offset - file.start()) as usize;
            let Some(bytes) = file.bytes_from(position) else { break };
            let damage = |reason: String| {
                let next = find_record(&files, offset);
                let place = format!("{} at position {position}", file.path().display());
                (LogItem::Damage { offset, place, reason, next }, next)
            };
            let (item, next) = match read_entry(bytes, true) {
                LogEntry::Record(record) if record.physical_offset == offset => {
                    let next = offset + i64::from(record.total_size);
                    (LogItem::Record(record), Some(next))
                }
                LogEntry::Record(record) => {
                    damage(format!("a record that belongs at offset {}", record.physical_offset))
                }
                LogEntry::EndOfFile => {
                    let next = file.end();
                    // The blank record of the last file is not part of the log.
                    (LogItem::Blank { offset, next }, Some(next))
                }
                LogEntry::Bad(_) if bytes.iter().take(8).all(|byte| *byte == 0) => {
                    match damage("unwritten bytes".to_owned()) {
                        (_, None) => return offset,
                        found => found,
                    }
                }
                LogEntry::Bad(error) => damage(error.to_string()),
            };
            if visit(&item).is_break() {
                return offset;
            }
            match next {
                Some(next) => offset = next,
                None => break,
            }
        }
        offset
    }

    /// The record at `offset`, if there is a whole one.
    pub fn with_record<R>(
        &self,
        offset: i64,
        read: impl FnOnce(&RecordView<'_>) -> R,
    ) -> Option<R> {
        let file = self.log.as_ref()?.find(offset)?;
        let bytes = file.bytes_from((offset - file.start()) as usize)?;
        match read_entry(bytes, true) {
            LogEntry::Record(record) if record.physical_offset == offset => Some(read(&record)),
            _ => None,
        }
    }

    /// Bytes of a consume-queue file; `None` without files.
    pub fn queue_file_size(&self) -> Result<Option<usize>, StoreError> {
        for (topic, queue_ids) in self.queues()? {
            for queue_id in queue_ids {
                if let Some(files) = self.units(&topic, queue_id)?.files {
                    return Ok(Some(files.file_size()));
                }
            }
        }
        Ok(None)
    }

    /// Bytes of a consume-queue extension file; `None` without files.
    pub fn ext_file_size(&self) -> Result<Option<usize>, StoreError> {
        for (topic, queue_ids) in self.queues()? {
            for queue_id in queue_ids {
                if let Some(ext) = self.units(&topic, queue_id)?.ext {
                    return Ok(Some(ext.file_size()));
                }
            }
        }
        Ok(None)
    }

    /// What is wrong with the configured shape of index files: the name and bytes of a file that has
    /// another size, and the bytes that the configuration would give it. `None` if all fit.
    pub fn foreign_index_file(&self) -> Result<Option<(PathBuf, u64, u64)>, StoreError> {
        let [slots, entries] = self.index_shape;
        let expected = super::index::file_bytes(slots, entries) as u64;
        for (name, _) in self.index_files()? {
            let path = self.root.join("index").join(name);
            let bytes = std::fs::metadata(&path)
                .map_err(|error| StoreError::io("read", &path, &error))?
                .len();
            if bytes != expected {
                return Ok(Some((path, bytes, expected)));
            }
        }
        Ok(None)
    }

    /// Topics and their queue ids.
    pub fn queues(&self) -> Result<BTreeMap<String, Vec<i32>>, StoreError> {
        super::queue_table::list_queues(&self.root.join("consumequeue"))
    }

    /// The units of a queue.
    pub fn units(&self, topic: &str, queue_id: i32) -> Result<QueueUnits, StoreError> {
        let place = Path::new(topic).join(queue_id.to_string());
        let folder = self.root.join("consumequeue").join(&place);
        let files = MappedFileQueue::read_only(&[folder])?;
        let ext_folder = self.root.join("consumequeue_ext").join(&place);
        let ext = ConsumeQueueExt::read_only(&ext_folder)?;
        Ok(QueueUnits { files, ext })
    }

    /// Headers of the index files, oldest first, with their names.
    pub fn index_files(&self) -> Result<Vec<(String, IndexHeader)>, StoreError> {
        super::index::read_headers(&self.root.join("index"))
    }

    /// The first three times of the checkpoint: log, consume queues, index; ms.
    pub fn checkpoint(&self) -> Option<[i64; 3]> {
        let bytes = std::fs::read(self.root.join("checkpoint")).ok()?;
        let time = |at: usize| Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some([time(0)?, time(8)?, time(16)?])
    }

    /// Whether the store was stopped cleanly.
    pub fn is_clean(&self) -> bool {
        !self.root.join("abort").exists()
    }

    /// Checks the whole store: every record whole, every record with its unit, every unit with its
    /// record, every index entry in its chain and with a record that has its key. Tells each problem
    /// as it is found.
    pub fn verify(&self, mut tell: impl FnMut(&Problem)) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        let mut problems = 0u64;
        let mut report = |place: String, what: String| {
            problems += 1;
            tell(&Problem { place, what });
        };
        let mut open: BTreeMap<(String, i32), QueueUnits> = BTreeMap::new();
        for (topic, queue_ids) in self.queues()? {
            for queue_id in queue_ids {
                let units = self.units(&topic, queue_id)?;
                open.insert((topic.clone(), queue_id), units);
            }
        }
        let mut records = 0;
        let mut begin = None;
        let end = self.visit_log(0, |item| {
            match item {
                LogItem::Record(record) => {
                    records += 1;
                    begin.get_or_insert(record.physical_offset);
                    if let Some(what) = self.check_unit(record, &open) {
                        let place = format!("commit log at {}", record.physical_offset);
                        report(place, what);
                    }
                }
                LogItem::Damage { place, reason, next, .. } => {
                    let next = next.map_or_else(
                        || "nothing readable follows".to_owned(),
                        |next| format!("the next whole record is at {next}"),
                    );
                    report(place.clone(), format!("{reason}; {next}"));
                }
                LogItem::Blank { .. } => {}
            }
            ControlFlow::Continue(())
        });
        verified.records = records;
        for ((topic, queue_id), units) in &open {
            for (index, unit) in units.iter() {
                verified.units += 1;
                let place = format!("topic {topic} queue {queue_id} unit {index}");
                if let Some(what) = self.check_record_of(unit, topic, *queue_id, index, end) {
                    report(place, what);
                }
            }
        }
        verified.index_checked = self.foreign_index_file()?.is_none();
        for (name, header) in self.index_files()? {
            verified.index_entries += u64::from(header.count.saturating_sub(1));
            if verified.index_checked {
                self.check_index(&name, end, &mut report)?;
            }
        }
        verified.problems = problems;
        Ok(verified)
    }

    /// Checks one index file.
    fn check_index(
        &self,
        name: &str,
        log_end: i64,
        mut report: impl FnMut(String, String),
    ) -> Result<(), StoreError> {
        let path = self.root.join("index").join(name);
        let [slots, entries] = self.index_shape;
        let file = MappedFile::read_only(&path, 0, super::index::file_bytes(slots, entries));
        let bytes = file.bytes_from(0);
        let bytes =
            bytes.ok_or_else(|| StoreError(format!("{} cannot be read", path.display())))?;
        let wrong_record = |hash: i32, offset: i64| {
            if offset < self.log_begin() {
                return None; // Its record has been deleted with its file.
            }
            if offset >= log_end {
                return Some(format!("its record at {offset} lies beyond the log's end {log_end}"));
            }
            match self.with_record(offset, |record| has_key_with(record, hash)) {
                Some(true) => None,
                Some(false) => Some(format!("the record at {offset} has no such key")),
                None => Some(format!("there is no whole record at {offset}")),
            }
        };
        super::index::check_file(bytes, slots, wrong_record, |place, what| {
            report(format!("{} {place}", path.display()), what);
        });
        Ok(())
    }

    /// What is wrong with the unit of a record; `None` if it is right, or the record has none.
    fn check_unit(
        &self,
        record: &RecordView<'_>,
        open: &BTreeMap<(String, i32), QueueUnits>,
    ) -> Option<String> {
        let kind = record.sys_flag & sys_flag::TRANSACTION_MASK;
        if kind != sys_flag::TRANSACTION_NOT && kind != sys_flag::TRANSACTION_COMMIT {
            return None;
        }
        let name = format!(
            "topic {} queue {} unit {}",
            record.topic, record.queue_id, record.queue_offset
        );
        let key = (record.topic.to_owned(), record.queue_id);
        let Some(units) = open.get(&key) else {
            return Some(format!("{name} is missing: there is no such queue"));
        };
        let Some(unit) = units.get(record.queue_offset) else {
            return Some(format!("{name} is missing"));
        };
        if unit.offset != record.physical_offset || unit.size as u32 != record.total_size {
            return Some(format!(
                "{name} is {} bytes at {}, the record has {}",
                unit.size, unit.offset, record.total_size
            ));
        }
        let expected = tags_code(properties::find(record.properties, properties::TAGS));
        let found = units.plain_tags_code(unit);
        // In the schedule topic it is the time the message is due.
        if record.topic != SCHEDULE_TOPIC && found.is_some_and(|found| found != expected) {
            return Some(format!("{name} has tags code {}, expected {expected}", found?));
        }
        None
    }

    fn check_record_of(
        &self,
        unit: Unit,
        topic: &str,
        queue_id: i32,
        index: i64,
        end: i64,
    ) -> Option<String> {
        if unit == Unit::BLANK || unit.offset < self.log_begin() {
            return None; // Its record has been deleted with its file.
        }
        if unit.end() > end {
            return Some(format!("its record at {} lies beyond the log's end {end}", unit.offset));
        }
        let matches = self.with_record(unit.offset, |record| {
            record.topic == topic && record.queue_id == queue_id && record.queue_offset == index
        });
        match matches {
            Some(true) => None,
            // Light message queues share the record of another queue.
            Some(false) if topic.starts_with(crate::common::topic::LMQ_PREFIX) => None,
            Some(false) => Some(format!("the record at {} belongs elsewhere", unit.offset)),
            None => Some(format!("there is no whole record at {}", unit.offset)),
        }
    }
}

/// Whether one of a record's keys has that hash.
fn has_key_with(record: &RecordView<'_>, hash: i32) -> bool {
    let names = [properties::UNIQUE_KEY, properties::KEYS];
    let [unique, words] = properties::find_each(record.properties, names);
    super::index::keys(unique, words).any(|key| super::index::key_hash(record.topic, key) == hash)
}

/// The units of one queue.
pub struct QueueUnits {
    files: Option<MappedFileQueue>,
    ext: Option<ConsumeQueueExt>,
}

impl QueueUnits {
    /// Unit `index`, if something was written there.
    pub fn get(&self, index: i64) -> Option<Unit> {
        let byte = index.checked_mul(Unit::BYTES as i64)?;
        let file = self.files.as_ref()?.find(byte)?;
        let bytes = file.bytes((byte - file.start()) as usize, Unit::BYTES)?;
        Unit::decode(bytes).filter(|unit| unit.is_valid())
    }

    /// First index of the first file.
    pub fn first(&self) -> i64 {
        let byte = self.files.as_ref().and_then(MappedFileQueue::min_offset).unwrap_or(0);
        byte / Unit::BYTES as i64
    }

    /// All units with their indexes, to the first that was not written.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Unit)> + '_ {
        (self.first()..).map_while(|index| Some((index, self.get(index)?)))
    }

    /// Tags code of a unit, looked up if it is the address of an extension unit.
    pub fn plain_tags_code(&self, unit: Unit) -> Option<i64> {
        if is_ext_address(unit.tags_code) {
            self.ext.as_ref()?.get(unit.tags_code).map(|ext| ext.tags_code)
        } else {
            Some(unit.tags_code)
        }
    }
}
