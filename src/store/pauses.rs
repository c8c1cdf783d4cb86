//! [`Pauses`]: readies the commit log far ahead while nothing is appended. Its thread, `ReadyAhead`, has the
//! lowest priority: it takes processor time that nobody else wants.
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
//! disk instead, as [`MappedFile::write_ahead`] does under load; then at most 256 MiB, and at most an
//! eighth of what is free on the disk: they take room, and for a nearly full disk puts are refused.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::config::StoreConfig;
use super::disk;
use super::mapped_file::MappedFile;
use crate::common::config::Live;
use crate::common::os;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;

/// The lowest priority.
const NICE: i32 = 19;
/// So long without an append is a pause.
const PAUSE: Duration = Duration::from_millis(25);
/// Readied between two looks at whether the pause goes on: a few milliseconds of work.
const STEP_BYTES: i64 = 1024 * 1024;
/// Bytes readied for each that was appended.
const BURST_FACTOR: i64 = 8;
/// Most bytes of zeros that are on the disk ahead.
const MAX_ZEROS: i64 = 256 * 1024 * 1024;
/// So much of the memory that can be had is taken, or of the disk.
const SHARE: u64 = 8;

/// The thread's shared half.
#[derive(Debug)]
pub(super) struct Pauses {
    config: Arc<Live<StoreConfig>>,
    /// Bytes of memory that can be had.
    memory: fn() -> Option<u64>,
    files: Mutex<Files>,
    signal: Arc<Signal>,
    thread: Mutex<Option<ServiceThread>>,
}

/// What is known of the appends. A file that is deleted is not kept.
#[derive(Debug, Default)]
struct Files {
    /// The file that is appended to.
    active: Weak<MappedFile>,
    /// The one after it.
    spare: Weak<MappedFile>,
    /// Where the first append was.
    begun: Option<i64>,
    /// Whether there was an append since the last pause was used to its end.
    wanted: bool,
}

/// How far the thread has got. Offsets are the log's.
#[derive(Debug, Default)]
struct Progress {
    /// Where the appends were at the last look.
    seen: i64,
    /// What lies before this is ready.
    ready: i64,
}

impl Pauses {
    /// One without a thread yet.
    pub fn new(config: Arc<Live<StoreConfig>>) -> Self {
        Self {
            config,
            memory: os::available_memory,
            files: Mutex::default(),
            signal: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let pauses = Arc::clone(self);
        let thread = ServiceThread::spawn("ReadyAhead", Arc::clone(&self.signal), move |signal| {
            os::set_priority(NICE);
            let mut progress = Progress::default();
            loop {
                let goes_on = match pauses.is_wanted() {
                    true => signal.wait(PAUSE),
                    false => signal.wait_for_wakeup(),
                };
                if !goes_on {
                    break;
                }
                pauses.look(&mut progress, || signal.stopped());
            }
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Stops the thread.
    pub fn stop(&self, limit: Duration) {
        if let Some(thread) = lock(&self.thread).take() {
            thread.stop(limit);
        }
    }

    /// Appends go to `file`.
    pub fn appends_to(&self, file: &Arc<MappedFile>) {
        let mut files = lock(&self.files);
        files.begun.get_or_insert(end_of(file));
        files.active = Arc::downgrade(file);
        if !std::mem::replace(&mut files.wanted, true) {
            drop(files);
            self.signal.wakeup();
        }
    }

    /// `file` is the one after that.
    pub fn comes_next(&self, file: &Arc<MappedFile>) {
        lock(&self.files).spare = Arc::downgrade(file);
    }

    /// Whether the next pause has a use.
    fn is_wanted(&self) -> bool {
        lock(&self.files).wanted
    }

    /// Readies step by step, if there was no append since the last look, until it is enough, or an append
    /// or `is_over` ends it.
    fn look(&self, progress: &mut Progress, is_over: impl Fn() -> bool) {
        let config = self.config.get();
        let (active, begun) = {
            let files = lock(&self.files);
            (files.active.upgrade(), files.begun)
        };
        let active = active.filter(|file| !file.is_full());
        let Some(active) = active else {
            // Its successor announces itself.
            return self.has_enough();
        };
        let at = end_of(&active);
        if std::mem::replace(&mut progress.seen, at) != at {
            return;
        }
        let memory = (self.memory)().unwrap_or(0) / SHARE;
        let goal = at.saturating_add(goal(at - begun.unwrap_or(at), memory, &config));
        progress.ready = progress.ready.max(at);
        while !is_over() && end_of(&active) == at {
            let spare = lock(&self.files).spare.upgrade();
            let mut files = [Some(&active), spare.as_ref()].into_iter().flatten();
            let next = files.find(|file| (file.start()..file.end()).contains(&progress.ready));
            let goal = next.map_or(goal, |next| goal.min(at.saturating_add(room(next, &config))));
            let next = next.filter(|file| progress.ready < goal && !file.has_write_buffer());
            let Some(next) = next else { return self.has_enough() };
            let to = goal.min(progress.ready + STEP_BYTES).min(next.end());
            let within = |offset: i64| (offset - next.start()) as usize;
            if let Err(error) = ready(next, within(progress.ready), within(to), &config) {
                // It will come again, to the append that needs the pages.
                log::debug!("{} is not readied: {error}", next.path().display());
                return self.has_enough();
            }
            progress.ready = to;
        }
    }

    fn has_enough(&self) {
        lock(&self.files).wanted = false;
    }
}

/// How many bytes are to be ready after so many were appended, in no more memory than that.
fn goal(appended: i64, memory: u64, config: &StoreConfig) -> i64 {
    let zeros = if config.is_flush_waited_for() { MAX_ZEROS } else { i64::MAX };
    let most = config.ready_ahead_max_bytes.min(zeros).min(i64::try_from(memory).unwrap_or(0));
    appended.max(0).saturating_mul(BURST_FACTOR).min(most)
}

fn end_of(file: &MappedFile) -> i64 {
    file.start() + file.wrote() as i64
}

/// Bytes that may be taken ahead on the disk of `file`.
fn room(file: &MappedFile, config: &StoreConfig) -> i64 {
    if !config.is_flush_waited_for() {
        // What is only read takes none.
        return i64::MAX;
    }
    let free = file.path().parent().and_then(disk::free_bytes).unwrap_or(0);
    i64::try_from(free / SHARE).unwrap_or(i64::MAX)
}

fn ready(file: &MappedFile, from: usize, to: usize, config: &StoreConfig) -> io::Result<()> {
    if !config.is_flush_waited_for() {
        file.bring_into_memory(from, to)
    } else if config.write_commit_log_ahead {
        file.assure_blocks(to)?;
        file.write_ahead(to)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::store::config::FlushDiskType;
    use crate::store::fault;
    use crate::store::testing::TempFolder;

    const SIZE: usize = 8 * 1024 * 1024;

    fn file(folder: &TempFolder, number: usize) -> Arc<MappedFile> {
        let path = folder.path().join(number.to_string());
        Arc::new(MappedFile::create(&path, (number * SIZE) as i64, SIZE).unwrap())
    }

    fn pauses(config: &StoreConfig) -> Arc<Pauses> {
        let pauses = Pauses::new(Arc::new(Live::new(config.clone())));
        // Whatever this machine has at the moment.
        Arc::new(Pauses { memory: || Some(1 << 30), ..pauses })
    }

    /// Appends, and looks twice without anything between. How far that got.
    fn after_a_burst(
        config: &StoreConfig,
        appended: usize,
        spare: Option<&Arc<MappedFile>>,
    ) -> i64 {
        let folder = TempFolder::new("pause");
        let file = file(&folder, 1);
        let (pauses, mut progress) = (pauses(config), Progress::default());
        pauses.appends_to(&file);
        if let Some(spare) = spare {
            pauses.comes_next(spare);
        }
        file.appender().unwrap().append(&vec![1; appended]).unwrap();
        pauses.look(&mut progress, || false);
        assert!(pauses.is_wanted() && progress.ready == 0, "not a pause yet");
        pauses.look(&mut progress, || false);
        assert!(!pauses.is_wanted());
        progress.ready - file.start()
    }

    #[test]
    fn a_burst_is_prepared_for_another_eight_times_as_large() {
        let config = StoreConfig::default();
        assert_eq!(after_a_burst(&config, 300_000, None), 2_700_000);
        assert_eq!(after_a_burst(&config, 3_000_000, None), SIZE as i64, "there is no other file");
        let folder = TempFolder::new("spare");
        let spare = file(&folder, 2);
        assert_eq!(after_a_burst(&config, 1_500_000, Some(&spare)), 13_500_000);
        let bounded = StoreConfig { ready_ahead_max_bytes: 1_000_000, ..config.clone() };
        assert_eq!(after_a_burst(&bounded, 300_000, None), 1_300_000);
        let off = StoreConfig { ready_ahead_max_bytes: 0, ..config.clone() };
        assert_eq!(after_a_burst(&off, 300_000, None), 300_000);
        assert_eq!(goal(300_000, 100_000, &config), 100_000, "all the memory that may be had");
        assert!(os::available_memory().is_some());
    }

    #[test]
    fn a_pause_ends_with_the_next_append_and_goes_on_after_it() {
        let folder = TempFolder::new("ends");
        let file = file(&folder, 0);
        let (pauses, mut progress) = (pauses(&StoreConfig::default()), Progress::default());
        let mut appender = file.appender().unwrap();
        pauses.appends_to(&file);
        appender.append(&[1; 500_000]).unwrap();
        pauses.look(&mut progress, || false);
        let looks = Cell::new(0);
        pauses.look(&mut progress, || looks.replace(looks.get() + 1) == 2);
        assert_eq!((progress.ready, pauses.is_wanted()), (500_000 + 2 * STEP_BYTES, true));
        appender.append(&[1; 500_000]).unwrap();
        pauses.look(&mut progress, || false);
        assert_eq!(progress.ready, 500_000 + 2 * STEP_BYTES);
        pauses.look(&mut progress, || false);
        assert_eq!(progress.ready, SIZE as i64);
    }

    #[test]
    fn zeros_are_written_where_flushes_are_waited_for() {
        let folder = TempFolder::new("zeros");
        let file = file(&folder, 0);
        let config =
            StoreConfig { flush_disk_type: FlushDiskType::SyncFlush, ..StoreConfig::default() };
        let (pauses, mut progress) = (pauses(&config), Progress::default());
        pauses.appends_to(&file);
        file.appender().unwrap().write(&[1; 100_000]).unwrap();
        pauses.look(&mut progress, || false);
        pauses.look(&mut progress, || false);
        assert_eq!(progress.ready, 900_000);
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(bytes[..100_000].iter().all(|byte| *byte == 1));
        assert!(bytes[100_000..].iter().all(|byte| *byte == 0));
        assert!(file.path().metadata().unwrap().blocks() * 512 >= 900_000);
    }

    #[test]
    fn zeros_leave_room_on_the_disk() {
        let folder = TempFolder::new("small");
        let file = file(&folder, 0);
        file.appender().unwrap().write(&[1; 1_000_000]).unwrap();
        let space = os::DiskSpace { total: 100_000_000, free: 4_800_000, available: 4_000_000 };
        let _small = fault::inject_space(folder.path(), space);
        let rows =
            [(FlushDiskType::SyncFlush, 1_500_000), (FlushDiskType::AsyncFlush, SIZE as i64)];
        for (flush_disk_type, ready) in rows {
            let config = StoreConfig { flush_disk_type, ..StoreConfig::default() };
            let (pauses, mut progress) = (pauses(&config), Progress::default());
            pauses.appends_to(&file);
            lock(&pauses.files).begun = Some(0);
            pauses.look(&mut progress, || false);
            pauses.look(&mut progress, || false);
            assert_eq!((progress.ready, pauses.is_wanted()), (ready, false));
            let blocks = file.path().metadata().unwrap().blocks();
            assert!(blocks * 512 < 2_500_000, "{blocks}");
        }
    }

    #[test]
    fn a_full_or_deleted_file_has_no_pauses() {
        let folder = TempFolder::new("gone");
        let full = file(&folder, 0);
        let (pauses, mut progress) = (pauses(&StoreConfig::default()), Progress::default());
        pauses.appends_to(&full);
        full.appender().unwrap().append(&vec![1; SIZE]).unwrap();
        pauses.look(&mut progress, || false);
        assert!(!pauses.is_wanted());
        pauses.appends_to(&full);
        drop(full);
        pauses.look(&mut progress, || false);
        assert!(!pauses.is_wanted());
    }

    #[test]
    fn the_thread_uses_a_pause() {
        let folder = TempFolder::new("thread");
        let file = file(&folder, 0);
        let pauses = pauses(&StoreConfig::default());
        pauses.start().unwrap();
        pauses.appends_to(&file);
        file.appender().unwrap().append(&[1; 500_000]).unwrap();
        let begun = std::time::Instant::now();
        while pauses.is_wanted() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        pauses.stop(Duration::from_secs(60));
    }
}
