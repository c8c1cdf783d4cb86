//! What a restart learns from: the file `config/timercheck`, and the counters of
//! `config/timermetrics`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::window::Entry;
use crate::common::atomic_file;
use crate::common::clock::now_ms;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::sync::lock;
use crate::json_body;
use crate::store::mapped_file::WordFile;
use crate::store::message_store::StoreError;

/// Bytes of the fields that 5.x knows.
const JAVA_BYTES: usize = 56;
/// Bytes of the file.
const FILE_BYTES: usize = 4096;

/// How far the timer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Slot that is being emptied; 0 in a new store, ms.
    pub read_ms: i64,
    /// End of the timer log that is on the disk.
    pub log_position: i64,
    /// Next offset of the timer topic's queue that comes to the wheel.
    pub queue_offset: i64,
    /// What of the slot is done.
    pub done: Option<Done>,
}

/// What is done of the slot that is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The last one that is done: all before it are.
    pub last: Entry,
    /// That goes for units before this end of the timer log.
    pub log_end: i64,
}

/// The file `config/timercheck`.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 8 | slot that is being emptied, ms |
/// | 8 | 8 | timer log is on the disk up to here |
/// | 16 | 8 | next queue offset that comes to the wheel |
/// | 24 | 8 | the same, of the master |
/// | 32 | 8 | version: state, 0 |
/// | 40 | 8 | version: time of the last change, ms |
/// | 48 | 8 | version: number of changes |
/// | 56 | 8 | ours, zero in 5.x: the slot to which the next three belong, ms |
/// | 64 | 8 | ours: what is due before is done, ms |
/// | 72 | 8 | ours: what is due just then is done up to this unit of the timer log |
/// | 80 | 8 | ours: that goes for units before this position |
/// | 88 | 4008 | zero |
#[derive(Debug)]
pub struct TimerCheckpoint {
    file: WordFile,
}

impl TimerCheckpoint {
    /// Opens the file, made with zeros if absent.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = WordFile::open(path, FILE_BYTES)
            .map_err(|error| StoreError::io("open", path, &error))?;
        file.reserve(FILE_BYTES).map_err(|error| StoreError::io("reserve", path, &error))?;
        Ok(Self { file })
    }

    /// What was written last.
    pub fn position(&self) -> Position {
        let word = |at| self.file.load_i64(at);
        let last = Entry { due_ms: word(64), position: word(72) };
        // A broker 5.x that had the store in between leaves another slot's words.
        let known = word(0) > 0 && word(56) == word(0);
        Position {
            read_ms: word(0),
            log_position: word(8),
            queue_offset: word(16),
            done: known.then(|| Done { last, log_end: word(80) }),
        }
    }

    /// The 56 bytes that 5.x knows, the answer to GET_TIMER_CHECK_POINT (60).
    pub fn java_bytes(&self) -> Vec<u8> {
        (0..JAVA_BYTES / 8).flat_map(|word| self.file.load_i64(word * 8).to_be_bytes()).collect()
    }

    /// Writes a position and forces it to the disk.
    pub fn write(&self, position: &Position) -> io::Result<()> {
        // Cleared first, and told last: what a crash leaves in between says nothing.
        self.file.store_i64(56, 0);
        self.file.store_i64(0, position.read_ms);
        self.file.store_i64(8, position.log_position);
        self.file.store_i64(16, position.queue_offset);
        self.file.store_i64(24, position.queue_offset);
        self.file.store_i64(40, now_ms());
        self.file.store_i64(48, self.file.load_i64(48).wrapping_add(1));
        if let Some(done) = &position.done {
            self.file.store_i64(64, done.last.due_ms);
            self.file.store_i64(72, done.last.position);
            self.file.store_i64(80, done.log_end);
            self.file.store_i64(56, position.read_ms);
        }
        self.file.flush()
    }
}

json_body! {
    /// Version of the metrics.
    pub struct MetricsVersion {
        /// Number of changes.
        pub counter: i64 => "counter",
        /// Unused, 0.
        pub state_version: i64 => "stateVersion",
        /// Time of the last change, ms.
        pub timestamp: i64 => "timestamp",
    }
}

json_body! {
    /// How many messages of a topic wait.
    pub struct Metric {
        /// Messages.
        pub count: i64 => "count",
        /// Time of the last change, ms.
        pub time_stamp: i64 => "timeStamp",
    }
}

json_body! {
    /// The file `config/timermetrics`.
    pub struct MetricsTable {
        /// Version.
        pub data_version: MetricsVersion => "dataVersion",
        /// By topic.
        pub timing_count: BTreeMap<String, Metric> => "timingCount",
    }
}

/// How many messages wait, by topic. For people: nothing is decided by it.
#[derive(Debug)]
pub struct TimerMetrics {
    path: PathBuf,
    table: Mutex<MetricsTable>,
}

impl TimerMetrics {
    /// Reads the file, if there is one.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let table = atomic_file::load(path, |text| {
            Json::parse(text.as_bytes())
                .and_then(|json| MetricsTable::from_json(&json))
                .map_err(|error| error.to_string())
        });
        let table = table.map_err(StoreError)?.unwrap_or_default();
        Ok(Self { path: path.to_owned(), table: Mutex::new(table) })
    }

    /// So many more messages of a topic wait.
    pub fn add(&self, topic: &str, change: i64) {
        let now = now_ms();
        let mut table = lock(&self.table);
        table.data_version.counter += 1;
        table.data_version.timestamp = now;
        match table.timing_count.get_mut(topic) {
            Some(metric) => {
                metric.count = (metric.count + change).max(0);
                metric.time_stamp = now;
            }
            None => {
                let metric = Metric { count: change.max(0), time_stamp: now };
                table.timing_count.insert(topic.to_owned(), metric);
            }
        }
    }

    /// How many messages of a topic wait.
    pub fn waiting(&self, topic: &str) -> i64 {
        lock(&self.table).timing_count.get(topic).map_or(0, |metric| metric.count)
    }

    /// Takes over a master's counters.
    pub fn replace_by(&self, text: &str) -> Result<(), String> {
        let table = Json::parse(text.as_bytes()).and_then(|json| MetricsTable::from_json(&json));
        *lock(&self.table) = table.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        lock(&self.table).to_json().write(Style::Fastjson)
    }

    /// Writes the file; one that says the same already is left alone.
    pub fn persist(&self) -> io::Result<()> {
        atomic_file::write(&self.path, self.encode().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    #[test]
    fn the_checkpoint_is_as_java_writes_it() {
        let folder = TempFolder::new("timercheck");
        let path = folder.path().join("timercheck");
        let checkpoint = TimerCheckpoint::open(&path).unwrap();
        assert_eq!(checkpoint.position(), Position::default());
        let position = Position {
            read_ms: 0x01A1_FDCE_DCB8,
            log_position: 0xC64,
            queue_offset: 0x3D,
            done: None,
        };
        let done = Done { last: Entry { due_ms: 0x01A1_FDCE_DCB9, position: 52 }, log_end: 104 };
        let with_done = Position { done: Some(done), ..position };
        checkpoint.write(&with_done).unwrap();
        assert_eq!(checkpoint.position(), with_done);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[56..64], bytes[..8]);
        assert_eq!(bytes[64..72], [0, 0, 0x01, 0xA1, 0xFD, 0xCE, 0xDC, 0xB9]);
        assert_eq!((bytes[79], bytes[87]), (52, 104));
        checkpoint.write(&position).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 4096);
        #[rustfmt::skip]
        let golden = [
            0, 0, 0x01, 0xA1, 0xFD, 0xCE, 0xDC, 0xB8, 0, 0, 0, 0, 0, 0, 0x0C, 0x64,
            0, 0, 0, 0, 0, 0, 0, 0x3D, 0, 0, 0, 0, 0, 0, 0, 0x3D,
            0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes[..40], golden);
        assert_eq!(bytes[48..64], [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        drop(checkpoint);
        assert_eq!(TimerCheckpoint::open(&path).unwrap().position(), position);
    }

    #[test]
    fn metrics_are_read_as_java_writes_them() {
        let folder = TempFolder::new("timermetrics");
        let path = folder.path().join("timermetrics");
        let java = r#"{"dataVersion":{"counter":65,"stateVersion":0,"timestamp":1795259536117},"timingCount":{"TimedB":{"count":10,"timeStamp":1795259530297},"Timed":{"count":45,"timeStamp":1795259536117}}}"#;
        std::fs::write(&path, java).unwrap();
        let metrics = TimerMetrics::load(&path).unwrap();
        assert_eq!((metrics.waiting("Timed"), metrics.waiting("TimedB")), (45, 10));
        metrics.add("Timed", -1);
        metrics.add("New", 1);
        metrics.persist().unwrap();
        let again = TimerMetrics::load(&path).unwrap();
        assert_eq!((again.waiting("Timed"), again.waiting("New")), (44, 1));
        assert!(again.encode().starts_with(r#"{"dataVersion":{"counter":67,"stateVersion":0,"#));
    }
}
