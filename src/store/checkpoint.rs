//! [`StoreCheckpoint`]: the `checkpoint` file, which tells recovery how far the disk is certain.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::fault;
use super::mapped_file::WordFile;
use super::message_store::StoreError;
use crate::common::sync::lock;

/// Bytes of the file.
const FILE_BYTES: usize = 4096;
/// Recovery begins that much before what the checkpoint says, ms.
const MARGIN_MS: i64 = 3000;

/// The `checkpoint` file.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 8 | store time of the last message whose record is on the disk, ms |
/// | 8 | 8 | store time of the last message whose consume-queue unit is on the disk, ms |
/// | 16 | 8 | store time of the last message in a full index file that is on the disk, ms |
/// | 24 | 8 | master's flushed offset (5.x; left as found) |
/// | 32 | 8 | confirmed offset (5.x; left as found) |
/// | 40 | 4056 | zero |
///
/// The three times live in memory and go to the file when it is flushed.
///
/// Invariants:
/// * a time is stored here only after what it vouches for was forced to the disk, without an error;
/// * it was read before that flush began, so that it vouches for nothing that came later.
#[derive(Debug)]
pub struct StoreCheckpoint {
    file: WordFile,
    margin_ms: i64,
    /// Held while the times go to the file.
    writing: Mutex<()>,
    /// Held by who flushes consume queues.
    flushing_queues: Mutex<()>,
    /// Store time of the last message whose record is on the disk, ms.
    pub physical: AtomicI64,
    /// Store time of the last message whose consume-queue unit is on the disk, ms.
    pub logics: AtomicI64,
    /// Store time of the last message that was dispatched, ms: what `logics` becomes when the
    /// consume queues have been flushed. Not in the file.
    pub dispatched: AtomicI64,
    /// Store time of the last message of a full, flushed index file, ms.
    pub index: AtomicI64,
}

impl StoreCheckpoint {
    /// Opens the file, made with zeros if absent.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = WordFile::open(path, FILE_BYTES)
            .map_err(|error| StoreError::io("open", path, &error))?;
        file.reserve(FILE_BYTES).map_err(|error| StoreError::io("reserve", path, &error))?;
        Ok(Self {
            physical: AtomicI64::new(file.load_i64(0)),
            logics: AtomicI64::new(file.load_i64(8)),
            index: AtomicI64::new(file.load_i64(16)),
            dispatched: AtomicI64::new(file.load_i64(8)),
            file,
            margin_ms: fault::margin_ms(path).unwrap_or(MARGIN_MS),
            writing: Mutex::new(()),
            flushing_queues: Mutex::new(()),
        })
    }

    /// Messages stored up to then have record and unit on the disk, ms.
    pub fn min_timestamp(&self) -> i64 {
        let physical = self.physical.load(Ordering::Acquire);
        self.before(physical.min(self.logics.load(Ordering::Acquire)))
    }

    /// The same, and their index entries too.
    pub fn min_timestamp_with_index(&self) -> i64 {
        // Later messages of the same millisecond may be in the next index file.
        self.min_timestamp().min(self.before(self.index.load(Ordering::Acquire)))
    }

    fn before(&self, time: i64) -> i64 {
        time.saturating_sub(self.margin_ms).max(0)
    }

    /// Whether the clock went back by more than the margin since the file was written. Its times
    /// would then vouch for messages that came after it: it has to be written again soon.
    pub fn is_ahead(&self) -> bool {
        let logics = self.logics.load(Ordering::Acquire);
        self.dispatched.load(Ordering::Acquire) < logics.saturating_sub(self.margin_ms)
    }

    /// Vouches for no unit of a message stored at `time`, ms, or later; on the disk when it returns.
    ///
    /// # Errors
    /// The disk's.
    pub fn vouch_before(&self, time: i64) -> std::io::Result<()> {
        let before = time.saturating_sub(1).max(0);
        self.dispatched.fetch_min(before, Ordering::AcqRel);
        if self.logics.fetch_min(before, Ordering::AcqRel) > before { self.flush() } else { Ok(()) }
    }

    /// The right to flush consume queues and to tell it in `logics`.
    pub fn lock_logics(&self) -> MutexGuard<'_, ()> {
        lock(&self.flushing_queues)
    }

    /// Writes the times and forces them to the disk.
    pub fn flush(&self) -> std::io::Result<()> {
        let _writing = lock(&self.writing);
        self.file.store_i64(0, self.physical.load(Ordering::Acquire));
        self.file.store_i64(8, self.logics.load(Ordering::Acquire));
        self.file.store_i64(16, self.index.load(Ordering::Acquire));
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_newer_versions_stay() {
        let folder = crate::store::testing::TempFolder::new("checkpoint");
        let path = folder.path().join("checkpoint");
        let mut bytes = vec![0u8; FILE_BYTES];
        bytes[24..40].copy_from_slice(&[7; 16]);
        std::fs::write(&path, &bytes).unwrap();
        let checkpoint = StoreCheckpoint::open(&path).unwrap();
        checkpoint.physical.store(0x1A1_FB43_3BB7, Ordering::Release);
        checkpoint.logics.store(5000, Ordering::Release);
        checkpoint.flush().unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written[..8], [0, 0, 0x01, 0xA1, 0xFB, 0x43, 0x3B, 0xB7]);
        assert_eq!(written[8..16], [0, 0, 0, 0, 0, 0, 0x13, 0x88]);
        assert_eq!(written[24..40], [7; 16]);
        assert_eq!(checkpoint.min_timestamp(), 2000);
    }

    #[test]
    fn a_clock_that_goes_back_is_noticed() {
        let folder = crate::store::testing::TempFolder::new("checkpoint-clock");
        let checkpoint = StoreCheckpoint::open(&folder.path().join("checkpoint")).unwrap();
        assert!(!checkpoint.is_ahead());
        checkpoint.logics.store(100_000, Ordering::Release);
        for (dispatched, ahead) in [(100_000, false), (97_000, false), (96_999, true)] {
            checkpoint.dispatched.store(dispatched, Ordering::Release);
            assert_eq!(checkpoint.is_ahead(), ahead, "{dispatched}");
        }
    }
}
