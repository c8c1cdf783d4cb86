//! [`TimerLog`]: the files of `timerlog/`, one [`Unit`] for each time a message came to the wheel.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::common::sync::lock;
use crate::store::folder::flush_folder;
use crate::store::mapped_file::Appender;
use crate::store::mapped_file_queue::MappedFileQueue;
use crate::store::message_store::StoreError;

/// Magic of the blank that ends a file.
const BLANK_MAGIC: i32 = 0xCBD4_3194_u32 as i32;
/// Bytes of that blank.
const BLANK_BYTES: usize = 16;

/// Bit of a unit's kind: always set.
const ORDINARY: i32 = 1;
/// Bit of a unit's kind: it is put back under the timer's topic, not delivered.
const ROLL: i32 = 2;
/// Bit of a unit's kind: its message deletes another one.
const DELETE: i32 = 4;
/// Bits that a unit's kind may have.
const KNOWN_BITS: i32 = 0xF;

/// A message in a slot.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 4 | 52, the unit's size |
/// | 4 | 8 | position of the slot's unit before; −1 for the first |
/// | 12 | 4 | kind: 1, plus 2 if it is to be rolled, plus 4 if it deletes a message |
/// | 16 | 8 | when it was written, rounded down to the precision, ms |
/// | 24 | 4 | delay from then; see [`moment`](Self::moment), ms |
/// | 28 | 8 | commit-log offset of the record |
/// | 36 | 4 | bytes of the record |
/// | 40 | 4 | Java's hash of the real topic |
/// | 44 | 8 | reserved, 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The slot's unit before; −1 for the first.
    pub previous: i64,
    /// It is put back under the timer's topic when its slot comes.
    pub rolls: bool,
    /// Its message deletes another one.
    pub deletes: bool,
    /// When it was written, rounded down to the precision, ms.
    pub write_ms: i64,
    /// Delay from then, ms.
    pub delay_ms: i32,
    /// Commit-log offset of the record.
    pub record_offset: i64,
    /// Bytes of the record.
    pub record_size: i32,
    /// Java's hash of the real topic.
    pub topic_hash: i32,
}

impl Unit {
    /// Bytes of a unit.
    pub const BYTES: usize = 52;

    /// One less than when the message is due, or when its slot begins; rounded down it is in either
    /// case the slot's begin. ms.
    pub fn moment(&self) -> i64 {
        self.write_ms.saturating_add(i64::from(self.delay_ms))
    }

    fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let kind =
            ORDINARY | if self.rolls { ROLL } else { 0 } | if self.deletes { DELETE } else { 0 };
        bytes[..4].copy_from_slice(&(Self::BYTES as i32).to_be_bytes());
        bytes[4..12].copy_from_slice(&self.previous.to_be_bytes());
        bytes[12..16].copy_from_slice(&kind.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.write_ms.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.delay_ms.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.record_offset.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.record_size.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.topic_hash.to_be_bytes());
        bytes
    }

    /// `None` if the bytes are no unit.
    fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let int = |at: usize| {
            i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let long = |at: usize| (i64::from(int(at)) << 32) | i64::from(int(at + 4) as u32);
        let kind = int(12);
        let unit = Self {
            previous: long(4),
            rolls: kind & ROLL != 0,
            deletes: kind & DELETE != 0,
            write_ms: long(16),
            delay_ms: int(24),
            record_offset: long(28),
            record_size: int(36),
            topic_hash: int(40),
        };
        (int(0) == Self::BYTES as i32 && kind & !KNOWN_BITS == 0 && unit.record_offset >= 0)
            .then_some(unit)
    }
}

/// Java's `String.hashCode` of a topic.
pub fn topic_hash(topic: &str) -> i32 {
    topic
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The log: a queue of mapped files of units.
///
/// A file of which less than 68 bytes are left ends in a blank, `remaining: i32`, `0: i64`,
/// `0xCBD43194: i32`, and the next unit begins the next file. Appended by one thread.
#[derive(Debug)]
pub struct TimerLog {
    files: MappedFileQueue,
    appender: Mutex<Option<Appender>>,
}

impl TimerLog {
    /// Opens the log; all of its bytes are taken as written until [`set_end`](Self::set_end).
    pub fn open(folder: &Path, file_size: usize) -> Result<Self, StoreError> {
        if file_size < Unit::BYTES + BLANK_BYTES {
            return Err(StoreError(format!(
                "mappedFileSizeTimerLog is {file_size}, at least {} are needed",
                Unit::BYTES + BLANK_BYTES
            )));
        }
        let files = MappedFileQueue::new(folder, file_size);
        files.load(&[])?;
        Ok(Self { files, appender: Mutex::default() })
    }

    /// Begin of the oldest file.
    pub fn start(&self) -> i64 {
        self.files.min_offset().unwrap_or(0)
    }

    /// Where the next unit goes, but for a blank.
    pub fn end(&self) -> i64 {
        self.files.max_offset()
    }

    /// Bytes of each file.
    pub fn file_size(&self) -> i64 {
        self.files.file_size() as i64
    }

    /// The unit at a position; `None` if there is none, or it is no longer there.
    pub fn unit(&self, position: i64) -> Option<Unit> {
        let file = self.files.find(position)?;
        let bytes = file.bytes((position - file.start()) as usize, Unit::BYTES)?;
        Unit::decode(bytes.first_chunk()?)
    }

    /// Where the unit that follows a position is, if it fits into a file: the position itself, or
    /// the begin of the next file.
    pub fn place_from(&self, position: i64) -> i64 {
        let size = self.file_size();
        let left = size - position.rem_euclid(size);
        let fits = left >= (Unit::BYTES + BLANK_BYTES) as i64;
        if fits { position } else { position + left }
    }

    /// Appends a unit and returns its position.
    pub fn append(&self, unit: &Unit) -> io::Result<i64> {
        let mut slot = lock(&self.appender);
        if slot.is_none() {
            *slot = self.files.last().and_then(|file| file.appender());
        }
        let mut appender = match slot.take() {
            Some(appender) if appender.room() >= Unit::BYTES + BLANK_BYTES => appender,
            full => self.next_file(full)?,
        };
        let at = appender.append(&unit.encode());
        let position = at.map(|at| appender.file().start() + at as i64);
        *slot = Some(appender);
        position
    }

    fn next_file(&self, full: Option<Appender>) -> io::Result<Appender> {
        if let Some(mut full) = full {
            let room = full.room();
            if room >= BLANK_BYTES {
                let mut blank = [0; BLANK_BYTES];
                blank[..4].copy_from_slice(&(room as i32).to_be_bytes());
                blank[12..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
                full.append(&blank)?;
            }
            full.skip_to_end()?;
        }
        let start = self.files.last().map_or(0, |last| last.end());
        let file = self.files.create(start)?;
        flush_folder(self.files.folder())?;
        file.appender().ok_or_else(|| io::Error::other("the new timer log file is in use"))
    }

    /// Cuts everything from `position` on.
    pub fn set_end(&self, position: i64) -> Result<(), StoreError> {
        *lock(&self.appender) = None;
        let changed = self.files.truncate(position)?;
        if let Some(last) = self.files.last().filter(|_| changed) {
            // Else a power cut could bring back, behind later units, what was cut off.
            last.flush_part(last.wrote(), last.size())
                .map_err(|error| StoreError::io("force to the disk", last.path(), &error))?;
        }
        Ok(())
    }

    /// Forces what was appended to the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.files.snapshot().iter().try_for_each(|file| file.flush().map(drop))
    }

    /// Deletes the oldest files while their last units' records are before `commit_log_min`.
    pub fn delete_before(&self, commit_log_min: i64) {
        let last_unit = (self.file_size() - (Unit::BYTES + BLANK_BYTES) as i64)
            / Unit::BYTES as i64
            * Unit::BYTES as i64;
        while let Some(first) = self.files.first()
            && self
                .unit(first.start() + last_unit)
                .is_some_and(|unit| unit.record_offset < commit_log_min)
        {
            match self.files.delete_first(&first) {
                Ok(true) => log::info!("deleted timer-log file {}", first.path().display()),
                Ok(false) => return,
                Err(error) => {
                    log::error!("{} was not removed: {error}", first.path().display());
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    fn unit(number: i64) -> Unit {
        Unit {
            previous: number - 1,
            rolls: true,
            deletes: true,
            write_ms: 1_795_259_530_000,
            delay_ms: 172_800_000,
            record_offset: 20_807 + number,
            record_size: 433,
            topic_hash: topic_hash("Timed"),
        }
    }

    #[test]
    fn a_unit_is_as_java_writes_it() {
        // Unit 56 of a log of a broker 5.3.3.
        let written = Unit { previous: 2860, ..unit(0) };
        #[rustfmt::skip]
        let golden = [
            0, 0, 0, 0x34,
            0, 0, 0, 0, 0, 0, 0x0B, 0x2C,
            0, 0, 0, 7,
            0, 0, 1, 0xA1, 0xFD, 0xCE, 0x7B, 0x10,
            0x0A, 0x4C, 0xB8, 0,
            0, 0, 0, 0, 0, 0, 0x51, 0x47,
            0, 0, 1, 0xB1,
            4, 0xD1, 0x17, 0x17,
            0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(written.encode(), golden);
        assert_eq!(Unit::decode(&golden), Some(written));
        assert_eq!(topic_hash("TimedB"), -1_789_801_461);
        let mut bad = golden;
        bad[15] = 0x17;
        assert_eq!(Unit::decode(&bad), None);
        assert_eq!(Unit::decode(&[0; 52]), None);
    }

    #[test]
    fn a_file_ends_in_a_blank_and_goes_when_its_records_are_gone() {
        let folder = TempFolder::new("timerlog");
        let path = folder.path().join("timerlog");
        let log = TimerLog::open(&path, 200).unwrap();
        // 52, 104, then 96 are left: one more fits, and leaves 44.
        let places: Vec<_> = (0..7).map(|number| log.append(&unit(number)).unwrap()).collect();
        assert_eq!(places, [0, 52, 104, 200, 252, 304, 400]);
        assert_eq!(log.place_from(156), 200);
        assert_eq!(log.unit(304), Some(unit(5)));
        assert_eq!(log.unit(156), None);
        let bytes = std::fs::read(path.join("00000000000000000000")).unwrap();
        assert_eq!(bytes[156..172], [0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 0, 0xCB, 0xD4, 0x31, 0x94]);
        log.delete_before(20_807 + 2);
        assert_eq!(log.start(), 0);
        log.delete_before(20_807 + 3);
        assert_eq!((log.start(), log.end()), (200, 452));
        log.delete_before(i64::MAX);
        assert_eq!(log.start(), 400, "the last file stays");
    }
}
