//! [`AllocateMappedFileService`]: makes the commit log's next file while the current one is being
//! written, and readies blocks and pages ahead of the write position, the further the faster that
//! moves. So an append waits neither for a file nor for page faults, and a full disk is an error and
//! not a signal. Where flushes are waited for, zeros are on the disk ahead instead (`write_ahead.rs`),
//! and a flush writes data and nothing else. While nothing is appended, another thread goes further
//! ahead (`pauses.rs`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::StoreConfig;
use super::disk;
use super::folder::{flush_folder, make_folder};
use super::mapped_file::{MappedFile, PAGE_BYTES, TransientStorePool};
use super::mapped_file_queue::file_name;
use super::pauses::Pauses;
use crate::common::config::Live;
use crate::common::os;
use crate::common::service_thread::{ServiceThread, Signal};

/// How long an append waits for its file.
const WAIT_FOR_FILE: Duration = Duration::from_millis(5000);
/// Bytes that are readied at once, and least that are ready ahead of the write position. Large enough
/// that the thread is rarely woken, small enough that a file which stays nearly empty costs little.
pub const POPULATE_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes that are ready ahead.
const MOST_POPULATED_BYTES: usize = 64 * 1024 * 1024;
/// As much is ready ahead as is appended in this time: so long may a commit of the file system's journal
/// keep whoever changes a file waiting, and this thread with it, before an append does so too.
const POPULATED_TIME: Duration = Duration::from_millis(250);
/// What waits for a processor is to have it before what readies pages for later.
const NICE: i32 = 5;
/// Blocks of a commit-log file are reserved in steps of that many bytes, ahead of the write
/// position: few calls and few extents, and a store that has little in it takes little of the disk.
const RESERVE_BYTES: usize = 64 * 1024 * 1024;
/// A folder whose disk is fuller gets no new files while another has room.
const FULL_DISK_RATIO: f64 = 0.85;

/// A file to be made.
#[derive(Clone, Copy, Debug)]
struct Order {
    start: i64,
    /// Whether an append waits for it.
    urgent: bool,
}

/// How far a file is ready to be appended to, or was ordered to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readied {
    /// Up to here.
    pub to: usize,
    /// An append that ends beyond this asks for more.
    pub enough_until: usize,
}

impl Readied {
    /// What a file has that was made in good time.
    pub const NEW_FILE: Self = Self { to: POPULATE_BYTES, enough_until: POPULATE_BYTES / 2 };

    /// Nothing behind `end`.
    pub fn nothing_after(end: usize) -> Self {
        Self { to: end, enough_until: end }
    }
}

/// A part of a file that is to be readied.
#[derive(Debug)]
struct Part {
    file: Arc<MappedFile>,
    from: usize,
    to: usize,
}

/// How fast appends come.
#[derive(Debug, Default)]
struct Pace {
    /// When it was asked last, and where the log ended then.
    last: Option<(Instant, i64)>,
}

impl Pace {
    /// Bytes that are to be ready ahead, when the log ends at `end`.
    fn lead(&mut self, now: Instant, end: i64) -> usize {
        let lead = self.last.replace((now, end)).map_or(0.0, |(then, begin)| {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            (end - begin) as f64 / seconds.max(1e-6) * POPULATED_TIME.as_secs_f64()
        });
        (lead as usize).clamp(POPULATE_BYTES, MOST_POPULATED_BYTES)
    }
}

/// What the thread and who takes files tell each other.
///
/// Invariant: a file that was taken is not made again, because its place would go to the new one, and
/// with that it would be deleted. So there is one order at a time, it is gone when the thread begins
/// with it, and who takes a file replaces it by that of the next one.
#[derive(Debug, Default)]
struct State {
    order: Option<Order>,
    /// Start of the file that is being made.
    making: Option<i64>,
    /// The file that is ready.
    ready: Option<Arc<MappedFile>>,
    /// Why the last file could not be made.
    error: Option<String>,
    populate: Option<Part>,
    pace: Pace,
    /// File that is appended to.
    appended: Option<Arc<MappedFile>>,
    /// Files that were rolled away from.
    rolled: Vec<Arc<MappedFile>>,
    /// Whether the last file could not be made; told once, not at every put.
    failing: bool,
    stopped: bool,
}

/// The allocation thread's shared half.
#[derive(Debug)]
pub struct AllocateMappedFileService {
    config: Arc<Live<StoreConfig>>,
    file_size: usize,
    pool: Option<TransientStorePool>,
    state: Mutex<State>,
    done: Condvar,
    signal: Arc<Signal>,
    thread: Mutex<Option<ServiceThread>>,
    pauses: Arc<Pauses>,
}

impl AllocateMappedFileService {
    /// A service without a thread yet.
    pub fn new(
        config: Arc<Live<StoreConfig>>,
        file_size: usize,
        pool: Option<TransientStorePool>,
    ) -> Self {
        let pauses = Arc::new(Pauses::new(Arc::clone(&config)));
        Self {
            pauses,
            config,
            file_size,
            pool,
            state: Mutex::default(),
            done: Condvar::new(),
            signal: Arc::default(),
            thread: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the threads.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        self.pauses.start()?;
        let service = Arc::clone(self);
        let thread =
            ServiceThread::spawn("AllocMappedFile", Arc::clone(&self.signal), move |signal| {
                os::set_priority(NICE);
                loop {
                    while service.work() {}
                    if !signal.wait_for_wakeup() {
                        break;
                    }
                }
            })?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Stops the threads and removes the spare file, so that a clean stop leaves none behind.
    pub fn stop(&self, limit: Duration) {
        self.pauses.stop(limit);
        self.lock().stopped = true;
        self.done.notify_all();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.stop(limit);
        }
        if let Some(spare) = self.lock().ready.take()
            && let Err(error) = spare.delete()
        {
            log::warn!("spare file {} was not removed: {error}", spare.path().display());
        }
    }

    /// Free buffers of the transient store pool; `i32::MAX` without a pool, as Java tells it.
    pub fn free_buffers(&self) -> i32 {
        self.pool.as_ref().map_or(i32::MAX, |pool| pool.available() as i32)
    }

    /// The file that starts at `start`, ready to be appended to; orders the one after it.
    ///
    /// # Errors
    /// Why there is none, in words: the disk is full, no buffer is free, the service stops, or it
    /// took longer than five seconds.
    pub fn take(&self, start: i64) -> Result<Arc<MappedFile>, String> {
        let deadline = Instant::now() + WAIT_FOR_FILE;
        let mut state = self.lock();
        state.error = None;
        loop {
            if let Some(ready) = state.ready.take_if(|ready| ready.start() == start) {
                state.order = Some(Order { start: ready.end(), urgent: false });
                drop(state);
                self.signal.wakeup();
                return Ok(ready);
            }
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.stopped {
                return Err("the store is shutting down".to_owned());
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(format!("commit-log file {start} was not ready within 5 s"));
            };
            let ordered = |order: &Order| order.urgent && order.start == start;
            if state.making != Some(start) && !state.order.as_ref().is_some_and(ordered) {
                self.check_pool()?;
                state.order = Some(Order { start, urgent: true });
                self.signal.wakeup();
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// With `fastFailIfNoBufferInStorePool`, no file is made while no buffer is free.
    fn check_pool(&self) -> Result<(), String> {
        let config = self.config.get();
        match &self.pool {
            Some(pool)
                if config.fast_fail_if_no_buffer_in_store_pool
                    && !config.is_slave()
                    && pool.available() == 0 =>
            {
                Err("no transient store buffer is free".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Tells that a file was rolled away from: from now on it is only read, and if it was warmed, the
    /// system may page it out again.
    pub fn rolled_away(&self, file: &Arc<MappedFile>) {
        self.lock().rolled.push(Arc::clone(file));
        self.signal.wakeup();
    }

    /// Has `file`, whose appends end at `end`, readied beyond what it was before.
    pub fn populate_ahead(&self, file: &Arc<MappedFile>, end: usize, before: Readied) -> Readied {
        let mut state = self.lock();
        let lead = state.pace.lead(Instant::now(), file.start() + end as i64);
        let to = end.saturating_add(lead).max(before.to);
        let left = state.populate.take().filter(|part| Arc::ptr_eq(&part.file, file));
        let from = left.map_or(before.to, |part| part.from).max(end);
        state.populate = Some(Part { file: Arc::clone(file), from, to });
        state.appended = Some(Arc::clone(file));
        drop(state);
        self.signal.wakeup();
        Readied { to, enough_until: end.saturating_add(lead / 2) }
    }

    /// Tells that `file` is appended to, though no page needs to be ready now.
    pub fn appends_to(&self, file: &Arc<MappedFile>) {
        self.lock().appended = Some(Arc::clone(file));
        self.signal.wakeup();
    }

    /// Does the most urgent piece of work; false if there is none.
    fn work(&self) -> bool {
        let appended = self.lock().appended.take();
        if let Some(file) = appended {
            self.pauses.appends_to(&file);
        }
        let rolled = std::mem::take(&mut self.lock().rolled);
        for file in rolled {
            file.read_ahead();
            if self.config.get().warm_maped_file_enable {
                file.unlock_from_memory();
            }
        }
        let (urgent, populate) = {
            let mut state = self.lock();
            if state.stopped {
                return false;
            }
            let urgent = state.order.take_if(|order| order.urgent);
            let populate = if urgent.is_none() { state.populate.take() } else { None };
            state.making = urgent.map(|order| order.start);
            (urgent, populate)
        };
        if let Some(part) = &populate {
            self.ready_part(part);
        }
        let order = urgent.or_else(|| {
            let mut state = self.lock();
            let order = state.order.take();
            state.making = order.map(|order| order.start);
            order
        });
        if let Some(order) = order {
            self.make(order.start);
        }
        order.is_some() || populate.is_some()
    }

    /// Readies the begin of a part, and leaves the rest for the next time.
    fn ready_part(&self, part: &Part) {
        let file = &part.file;
        let from = part.from.max(file.wrote());
        let to = part.to.min(from.saturating_add(POPULATE_BYTES));
        // An error will come again, to the append that needs the blocks.
        if from >= to
            || file.has_write_buffer()
            || file.assure_blocks(to.next_multiple_of(RESERVE_BYTES)).is_err()
            || !self.ready(file, from, to, &self.config.get())
        {
            return;
        }
        let rest = (to < part.to).then(|| Part { file: Arc::clone(file), from: to, to: part.to });
        match &mut self.lock().populate {
            Some(asked) if Arc::ptr_eq(&asked.file, file) => asked.from = asked.from.min(to),
            Some(_) => {}
            none => *none = rest,
        }
    }

    /// Readies a part of a file that has its blocks. Where flushes are waited for, appends do not go
    /// through the map. False: the disk refuses.
    fn ready(&self, file: &MappedFile, from: usize, to: usize, config: &StoreConfig) -> bool {
        let result = if !config.is_flush_waited_for() {
            let filled = file.fill_ahead(to);
            file.populate(from, to);
            filled
        } else if config.write_commit_log_ahead {
            file.write_ahead(to)
        } else {
            Ok(())
        };
        if let Err(error) = &result {
            log::warn!("{} is not written ahead: {error}", file.path().display());
        }
        result.is_ok()
    }

    /// Makes the file and puts it where [`take`](Self::take) finds it.
    fn make(&self, start: i64) {
        let outdated = self.lock().ready.take_if(|ready| ready.start() != start);
        if let Some(outdated) = outdated {
            let _ = outdated.delete();
        }
        let is_ready = self.lock().ready.is_some();
        let result = (!is_ready).then(|| self.make_file(start));
        let mut state = self.lock();
        state.making = None;
        match result {
            None => {}
            Some(Ok(file)) => {
                self.pauses.comes_next(&file);
                state.ready = Some(file);
                if std::mem::take(&mut state.failing) {
                    log::info!("commit-log files can be made again");
                }
            }
            Some(Err(reason)) => {
                if !state.failing {
                    log::error!("{reason}; puts fail from when it is needed until it can be made");
                }
                state.failing = true;
                state.error = Some(reason);
            }
        }
        drop(state);
        self.done.notify_all();
    }

    /// Readies and locks all pages of a new file. That marks them as changed: in SYNC_FLUSH, where a
    /// put would wait for all of them, they are forced to the disk piece by piece.
    fn warm(&self, file: &MappedFile, config: &StoreConfig) {
        if file.assure_blocks(self.file_size).is_err() {
            return;
        }
        let pages = config.flush_least_pages_when_warm_maped_file.max(1) as usize;
        let piece = if config.is_sync_flush() { pages * PAGE_BYTES } else { self.file_size };
        for from in (0..self.file_size).step_by(piece.max(PAGE_BYTES)) {
            let to = self.file_size.min(from + piece);
            if let Err(error) = file.fill_ahead(to) {
                log::debug!("{} is not filled ahead: {error}", file.path().display());
            }
            file.populate(from, to);
            if config.is_sync_flush()
                && let Err(error) = file.flush_part(from, to)
            {
                log::warn!("{} cannot be flushed while it is new: {error}", file.path().display());
            }
        }
        file.lock_in_memory();
    }

    fn make_file(&self, start: i64) -> Result<Arc<MappedFile>, String> {
        let config = self.config.get();
        let folder = folder_for(&config, start / self.file_size as i64);
        let path = folder.join(file_name(start));
        let failed = |what: &str, error: std::io::Error| {
            format!("commit-log file {} cannot be {what}: {error}", path.display())
        };
        make_folder(&folder).map_err(|error| failed("created", error))?;
        let file = MappedFile::create(&path, start, self.file_size)
            .map_err(|error| failed("created", error))?;
        // Its length, then its name: a file that is there after a power cut can be opened.
        let ready = file
            .assure_blocks(RESERVE_BYTES)
            .and_then(|()| file.flush_length())
            .and_then(|()| flush_folder(&folder))
            .map_err(|error| failed("given its blocks", error));
        if let Err(reason) = ready {
            let _ = file.delete();
            return Err(reason);
        }
        file.read_nothing_ahead();
        match self.pool.as_ref().and_then(TransientStorePool::borrow) {
            Some(buffer) if config.uses_transient_pool() => file.set_write_buffer(buffer),
            _ if config.warm_maped_file_enable => {
                self.warm(&file, &config);
            }
            _ => {
                self.ready(&file, 0, POPULATE_BYTES, &config);
            }
        }
        Ok(Arc::new(file))
    }
}

/// Folder of the commit log's file number `number`: the writable ones in turn, those on a full
/// disk only if all are.
fn folder_for(config: &StoreConfig, number: i64) -> PathBuf {
    let mut all = config.commit_log_folders();
    let read_only = config.read_only_commit_log_folders();
    let first = all[0].clone();
    all.retain(|folder| !read_only.contains(folder));
    all.sort();
    let roomy: Vec<&PathBuf> = all.iter().filter(|folder| !is_full(folder)).collect();
    let candidates = if roomy.is_empty() { all.iter().collect() } else { roomy };
    match candidates.len() {
        0 => first,
        count => candidates[(number.rem_euclid(count as i64)) as usize].clone(),
    }
}

fn is_full(folder: &Path) -> bool {
    disk::used_ratio(folder) > FULL_DISK_RATIO
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::store::StoreConfig;
    use crate::store::testing::TempFolder;

    /// Files are taken as fast as they are made, sometimes before they are ordered ahead and sometimes
    /// after: none is made twice, and none goes because its successor is made.
    fn service(folder: &TempFolder, file_size: usize) -> Arc<AllocateMappedFileService> {
        let config = StoreConfig {
            store_path_root_dir: folder.path().display().to_string(),
            mapped_file_size_commit_log: file_size as i64,
            ..StoreConfig::default()
        };
        let live = Arc::new(Live::new(config));
        let service = Arc::new(AllocateMappedFileService::new(live, file_size, None));
        service.start().unwrap();
        service
    }

    #[test]
    fn a_fast_log_has_more_ready_ahead() {
        let mut pace = Pace::default();
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        const MB: i64 = 1024 * 1024;
        assert_eq!(pace.lead(now, 100 * MB), POPULATE_BYTES, "nothing is known");
        assert_eq!(pace.lead(later(100), 110 * MB), 25 * MB as usize, "100 MB/s");
        assert_eq!(pace.lead(later(100), 120 * MB), MOST_POPULATED_BYTES, "no time has passed");
        assert_eq!(pace.lead(later(300), 110 * MB), POPULATE_BYTES, "an end was cut off");
        assert_eq!(pace.lead(later(9000), 120 * MB), POPULATE_BYTES, "a slow one");
    }

    #[test]
    fn a_part_is_readied_to_its_end() {
        const SIZE: usize = 40 * 1024 * 1024;
        let folder = TempFolder::new("part");
        let service = service(&folder, SIZE);
        let file = service.take(0).unwrap();
        file.appender().unwrap().append(&[1; 100]).unwrap();
        let asked = |end| service.populate_ahead(&file, end, Readied::NEW_FILE);
        let first = asked(100);
        assert!(first.to >= POPULATE_BYTES && first.enough_until < first.to);
        // As if it had been appended to within this moment.
        let second = asked(SIZE / 2);
        assert!(second.to > SIZE, "{second:?}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while file.reserved.load(Ordering::Acquire) < SIZE {
            assert!(Instant::now() < deadline, "the rest is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        service.stop(Duration::from_secs(60));
        assert_eq!(file.bytes(0, 100), Some(&[1; 100][..]));
    }

    #[test]
    fn what_was_taken_stays() {
        const FILES: i64 = 2000;
        // On a disk that takes long for each file, as many as there is time for.
        const LIMIT: Duration = Duration::from_secs(30);
        let started = Instant::now();
        let folder = TempFolder::new("taken");
        let service = service(&folder, PAGE_BYTES);
        let mut taken = Vec::new();
        for number in (0..FILES).take_while(|_| started.elapsed() < LIMIT) {
            let file = service.take(number * PAGE_BYTES as i64).unwrap();
            file.appender().unwrap().append(&number.to_be_bytes()).unwrap();
            service.populate_ahead(&file, 8, Readied::nothing_after(0));
            // A little later each time, for the thread to be anywhere.
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_nanos(number as u64 % 40 * 500) {}
            taken.push(file);
        }
        service.stop(Duration::from_secs(60));
        for (number, file) in taken.iter().enumerate() {
            let bytes = std::fs::read(file.path()).unwrap();
            assert_eq!(bytes[..8], number.to_be_bytes(), "{number}");
        }
        let files = std::fs::read_dir(taken[0].path().parent().unwrap()).unwrap();
        assert_eq!(files.count(), taken.len(), "the one ahead was removed");
    }
}
