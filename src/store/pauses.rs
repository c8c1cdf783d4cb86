//! [`Pauses`]: readies the commit log far ahead while nothing is appended.
//!
//! Under load, [`allocate`](super::allocate) readies a few megabytes ahead of the appends, and the load
//! pays for it: a new page of the page cache costs the kernel some 0.3 µs, and on a virtual machine whose
//! host has to find the memory first up to 14 µs, more than all that is done for a message. Loads
//! come in bursts, and between them the processors have nothing to do. So the bytes of the next burst are
//! readied then: eight times as many as were appended since the start, for a store that is hardly used
//! should cost nothing, up to `readyAheadMaxBytes`, and up to an eighth of the memory that is free or
//! could be.
//!
//! Pages that are ready are clean and unmapped: when memory is scarce they are the first to go, and a
//! broker's resident memory does not show them. Where flushes are waited for, zeros are written to the
//! disk instead, as [`MappedFile::write_ahead`] does under load; then at most 256 MiB.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::allocate::RESERVE_BYTES;
use super::config::StoreConfig;
use super::mapped_file::MappedFile;
use crate::common::os;

/// So long without an append is a pause.
pub(super) const PAUSE: Duration = Duration::from_millis(25);
/// Readied between two looks at whether the pause goes on: a few milliseconds of work.
const STEP_BYTES: i64 = 1024 * 1024;
/// Bytes readied for each that was appended.
const BURST_FACTOR: i64 = 8;
/// Most bytes of zeros that are on the disk ahead.
const MAX_ZEROS: i64 = 256 * 1024 * 1024;
/// So much of the memory that can be had is taken.
const SHARE_OF_MEMORY: u64 = 8;

/// What the allocation thread knows of the appends, and how far it is ahead of them. Offsets are the log's.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Where the first append was.
    begun: Option<i64>,
    /// The file that is appended to. One that was deleted is not kept.
    file: Weak<MappedFile>,
    /// Whether there was an append since the last pause was used to its end.
    wanted: bool,
    /// Where the appends were at the last look.
    seen: i64,
    /// What lies before this is ready.
    ready: i64,
}

impl Pauses {
    /// Appends go to `file`.
    pub fn appends_to(&mut self, file: &Arc<MappedFile>) {
        self.begun.get_or_insert(end_of(file));
        self.file = Arc::downgrade(file);
        self.wanted = true;
    }

    /// Whether the next pause has a use.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Readies step by step, until it is enough, or `is_over` says so or an append does. `spare` is the
    /// file that comes next. To be called at least a [`PAUSE`] after the last time.
    pub fn ready(
        &mut self,
        config: &StoreConfig,
        spare: Option<&MappedFile>,
        is_over: impl Fn() -> bool,
    ) {
        let Some(file) = self.file.upgrade().filter(|file| !file.is_full()) else {
            // Its successor announces itself.
            self.wanted = false;
            return;
        };
        let at = end_of(&file);
        if std::mem::replace(&mut self.seen, at) != at {
            return;
        }
        let goal = at.saturating_add(self.goal(at, config));
        self.ready = self.ready.max(at);
        while !is_over() && end_of(&file) == at {
            let mut files = [Some(&*file), spare].into_iter().flatten();
            let next = files.find(|file| (file.start()..file.end()).contains(&self.ready));
            let next = next.filter(|file| self.ready < goal && !file.has_write_buffer());
            let Some(next) = next else {
                self.wanted = false;
                return;
            };
            let to = goal.min(self.ready + STEP_BYTES).min(next.end());
            let within = |offset: i64| (offset - next.start()) as usize;
            if let Err(error) = ready(next, within(self.ready), within(to), config) {
                // It will come again, to the append that needs the pages.
                log::debug!("{} is not readied: {error}", next.path().display());
                self.wanted = false;
                return;
            }
            self.ready = to;
        }
    }

    /// How many bytes ahead of `at` are to be ready.
    fn goal(&self, at: i64, config: &StoreConfig) -> i64 {
        let appended = at.saturating_sub(self.begun.unwrap_or(at)).max(0);
        let memory = os::available_memory().unwrap_or(0) / SHARE_OF_MEMORY;
        let zeros = if config.is_flush_waited_for() { MAX_ZEROS } else { i64::MAX };
        let most = config.ready_ahead_max_bytes.min(zeros);
        appended.saturating_mul(BURST_FACTOR).min(most).min(i64::try_from(memory).unwrap_or(0))
    }
}

fn end_of(file: &MappedFile) -> i64 {
    file.start() + file.wrote() as i64
}

fn ready(file: &MappedFile, from: usize, to: usize, config: &StoreConfig) -> io::Result<()> {
    if !config.is_flush_waited_for() {
        file.bring_into_memory(from, to)
    } else if config.write_commit_log_ahead {
        file.assure_blocks(to.next_multiple_of(RESERVE_BYTES))?;
        file.write_ahead(to)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::store::testing::TempFolder;

    const SIZE: usize = 8 * 1024 * 1024;

    fn file(folder: &TempFolder, number: usize) -> Arc<MappedFile> {
        let path = folder.path().join(number.to_string());
        Arc::new(MappedFile::create(&path, (number * SIZE) as i64, SIZE).unwrap())
    }

    /// Appends, and looks twice without anything between.
    fn pause(config: &StoreConfig, appended: usize, spare: Option<&MappedFile>) -> Pauses {
        let folder = TempFolder::new("pause");
        let file = file(&folder, 1);
        let mut pauses = Pauses::default();
        pauses.appends_to(&file);
        file.appender().unwrap().append(&vec![1; appended]).unwrap();
        pauses.ready(config, spare, || false);
        assert!(pauses.is_wanted() && pauses.ready == 0, "not a pause yet");
        pauses.ready(config, spare, || false);
        assert!(!pauses.is_wanted());
        pauses.ready -= file.start();
        pauses
    }

    #[test]
    fn a_burst_is_prepared_for_another_eight_times_as_large() {
        let config = StoreConfig::default();
        assert_eq!(pause(&config, 300_000, None).ready, 2_700_000);
        assert_eq!(pause(&config, 3_000_000, None).ready, SIZE as i64, "there is no other file");
        let folder = TempFolder::new("spare");
        let spare = file(&folder, 2);
        assert_eq!(pause(&config, 1_500_000, Some(&spare)).ready, 13_500_000);
        let bounded = StoreConfig { ready_ahead_max_bytes: 1_000_000, ..config.clone() };
        assert_eq!(pause(&bounded, 300_000, None).ready, 1_300_000);
        let off = StoreConfig { ready_ahead_max_bytes: 0, ..config };
        assert_eq!(pause(&off, 300_000, None).ready, 300_000);
    }

    #[test]
    fn it_ends_with_the_next_append_and_goes_on_after_it() {
        let folder = TempFolder::new("ends");
        let file = file(&folder, 0);
        let config = StoreConfig::default();
        let mut appender = file.appender().unwrap();
        let mut pauses = Pauses::default();
        pauses.appends_to(&file);
        appender.append(&[1; 500_000]).unwrap();
        pauses.ready(&config, None, || false);
        let looks = Cell::new(0);
        pauses.ready(&config, None, || looks.replace(looks.get() + 1) == 2);
        assert_eq!((pauses.ready, pauses.is_wanted()), (500_000 + 2 * STEP_BYTES, true));
        appender.append(&[1; 500_000]).unwrap();
        pauses.ready(&config, None, || false);
        assert_eq!(pauses.ready, 500_000 + 2 * STEP_BYTES);
        pauses.ready(&config, None, || false);
        assert_eq!(pauses.ready, SIZE as i64);
    }

    #[test]
    fn zeros_are_written_where_flushes_are_waited_for() {
        let folder = TempFolder::new("zeros");
        let file = file(&folder, 0);
        let config = StoreConfig {
            flush_disk_type: crate::store::config::FlushDiskType::SyncFlush,
            ..StoreConfig::default()
        };
        let mut pauses = Pauses::default();
        pauses.appends_to(&file);
        file.appender().unwrap().write(&[1; 100_000]).unwrap();
        pauses.ready(&config, None, || false);
        pauses.ready(&config, None, || false);
        assert_eq!(pauses.ready, 900_000);
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(bytes[..100_000].iter().all(|byte| *byte == 1));
        assert!(bytes[100_000..].iter().all(|byte| *byte == 0));
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.path().metadata().unwrap());
        assert!(blocks * 512 >= 900_000, "{blocks}");
    }

    #[test]
    fn a_full_or_deleted_file_has_no_pauses() {
        let folder = TempFolder::new("gone");
        let full = file(&folder, 0);
        let mut pauses = Pauses::default();
        pauses.appends_to(&full);
        full.appender().unwrap().append(&vec![1; SIZE]).unwrap();
        pauses.ready(&StoreConfig::default(), None, || false);
        assert!(!pauses.is_wanted());
        pauses.appends_to(&full);
        drop(full);
        pauses.ready(&StoreConfig::default(), None, || false);
        assert!(!pauses.is_wanted());
    }
}
