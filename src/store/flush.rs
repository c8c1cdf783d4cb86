//! Forcing what was appended to the disk: [`FlushService`], with the thread that flushes by the
//! clock (FlushRealTimeService) or for those who wait (GroupCommitService), the watcher of their
//! deadlines, and the thread that commits the transient store pool (CommitRealTimeService).
//!
//! Consume queues are flushed by `flush_queues.rs`.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::checkpoint::StoreCheckpoint;
use super::commit_log::CommitLog;
use super::config::StoreConfig;
use super::mapped_file::PAGE_BYTES;
use super::message::PutStatus;
use super::pending::PutTicket;
use super::running_flags::{Flag, RunningFlags};
use crate::common::config::Live;
use crate::common::os;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::{catch_panic, lock};
use crate::common::together::together;

/// How long the group commit waits without being called. Every append calls it; this is for what
/// others may have left.
const GROUP_COMMIT_IDLE: Duration = Duration::from_millis(500);
/// So many answers are given by a thread of their own; with fewer the next flush would begin before
/// their senders are back, and serve only a part of them.
const MANY_ANSWERS: usize = 100;
/// Groups that wait to be answered at most; the next flush waits then.
const MAX_UNANSWERED: usize = 16;
/// How long stopping waits for a thread.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// A flush that takes longer is told in the log.
const SLOW_FLUSH: Duration = Duration::from_millis(500);

impl CommitLog {
    /// Forces everything readable to the disk, if it is at least `least_pages` pages (0: any
    /// byte), and returns up to where the disk is certain.
    ///
    /// # Errors
    /// The disk's, once; the log then counts as failed, because what the kernel could not write it
    /// takes for written the next time.
    pub fn flush(&self, least_pages: usize) -> io::Result<i64> {
        let _flushing = lock(&self.flushing);
        let from = self.flushed_offset();
        if self.has_failed() {
            return Err(io::Error::other("an earlier flush failed"));
        }
        let pending = usize::try_from(self.max_offset() - from).unwrap_or(0);
        if pending == 0 || pending / PAGE_BYTES < least_pages {
            return Ok(from);
        }
        for file in self.files().snapshot().iter().filter(|file| file.end() > from) {
            match file.flush() {
                Ok(to) => {
                    self.flushed.fetch_max(file.start() + to as i64, Ordering::AcqRel);
                    if to < file.size() {
                        // What follows is not contiguous with it (write buffers).
                        break;
                    }
                }
                Err(error) => {
                    self.failed.store(true, Ordering::Release);
                    return Err(error);
                }
            }
        }
        Ok(self.flushed_offset())
    }

    /// Takes nothing from `from` on, which is a file's begin, for flushed.
    pub fn forget_flushed(&self, from: i64) {
        let files = self.files().snapshot();
        files.iter().filter(|file| file.start() >= from).for_each(|file| file.forget_flushed());
        self.flushed.store(from.min(self.max_offset()), Ordering::Release);
    }

    /// What the write buffers hold that is not in the files yet.
    pub fn uncommitted_bytes(&self) -> usize {
        usize::try_from(self.files().wrote_offset() - self.max_offset()).unwrap_or(0)
    }

    /// Moves what the write buffers hold into the files.
    pub fn commit(&self, least_pages: usize) -> io::Result<bool> {
        let pending = self.uncommitted_bytes();
        if pending == 0 || pending / PAGE_BYTES < least_pages {
            return Ok(false);
        }
        for file in self.files().snapshot().iter().filter(|file| file.readable() < file.wrote()) {
            file.commit()?;
        }
        Ok(true)
    }
}

/// A put that waits for the disk.
struct Request {
    end: i64,
    deadline: Instant,
    ticket: PutTicket,
}

impl Request {
    /// After a flush that works or not, and reached `flushed`.
    fn complete(self, works: bool, flushed: i64) {
        if self.end <= flushed {
            self.ticket.complete(PutStatus::PutOk, "");
        } else if works {
            self.ticket.complete(PutStatus::FlushDiskTimeout, "the flush did not reach it");
        } else {
            self.ticket.complete(PutStatus::ServiceNotAvailable, "the flush failed");
        }
    }
}

/// Requests that one flush has served.
struct Served {
    requests: Vec<Request>,
    works: bool,
    flushed: i64,
}

impl Served {
    fn answer(self) {
        let Self { requests, works, flushed } = self;
        together(|| requests.into_iter().for_each(|request| request.complete(works, flushed)));
    }
}

#[derive(Default)]
struct Requests {
    /// In the order of their deadlines: nobody waits longer than who came later, also when
    /// `syncFlushTimeout` becomes shorter meanwhile.
    waiting: VecDeque<Request>,
    /// How many requests ever left the front of `waiting`.
    gone: u64,
    /// When the watcher looks again by itself; `None`: not before it is called.
    looks_at: Option<Instant>,
    /// The flush thread waits for so many; see [`Gathering`].
    wanted: usize,
    /// Whether nobody flushes any more.
    closed: bool,
}

/// How long the group commit lets requests gather before it flushes.
///
/// Who was served puts the next message a moment later. A flush that begins at once leaves them out,
/// and the senders fall into two halves that each wait for two flushes. So the next flush waits until
/// as many are there as were there together before, for up to one and a half times as long as a flush
/// takes: twice as long after a round in which they came, half as long after one in which they did not.
struct Gathering {
    /// How many are to come.
    wanted: usize,
    /// How long the last flush took.
    flush: Duration,
    /// What part of it is waited, in 1/64.
    share: u32,
}

impl Gathering {
    const SHARES: u32 = 64;
    /// Least and largest share.
    const LIMITS: (u32, u32) = (1, Self::SHARES * 3 / 2);
    const LONGEST: Duration = Duration::from_millis(2);

    fn limit(&self) -> Duration {
        (self.flush * self.share / Self::SHARES).min(Self::LONGEST)
    }

    fn ended(&mut self, complete: bool) {
        let share = if complete { self.share * 2 } else { self.share / 2 };
        self.share = share.clamp(Self::LIMITS.0, Self::LIMITS.1);
    }
}

/// The commit log's flushing.
pub struct FlushService {
    config: Arc<Live<StoreConfig>>,
    log: Arc<CommitLog>,
    checkpoint: Arc<StoreCheckpoint>,
    flags: Arc<RunningFlags>,
    /// Called when a flush failed, with the offset from which on nothing is certain.
    after_failure: Box<dyn Fn(i64) + Send + Sync>,
    /// Called after every flush that moved the flushed offset.
    after_flush: Box<dyn Fn() + Send + Sync>,
    sync: bool,
    pooled: bool,
    requests: Mutex<Requests>,
    /// Flushes that moved the flushed offset.
    count: AtomicU64,
    flush_signal: Arc<Signal>,
    watch_signal: Arc<Signal>,
    commit_signal: Arc<Signal>,
    threads: Mutex<Vec<ServiceThread>>,
}

impl FlushService {
    /// A service without threads yet. The mode is the configuration's at this moment.
    pub fn new(
        config: Arc<Live<StoreConfig>>,
        log: Arc<CommitLog>,
        checkpoint: Arc<StoreCheckpoint>,
        flags: Arc<RunningFlags>,
        after_failure: impl Fn(i64) + Send + Sync + 'static,
        after_flush: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let snapshot = config.get();
        Self {
            sync: snapshot.is_sync_flush(),
            pooled: snapshot.uses_transient_pool(),
            config,
            log,
            checkpoint,
            flags,
            after_failure: Box::new(after_failure),
            after_flush: Box::new(after_flush),
            requests: Mutex::default(),
            count: AtomicU64::new(0),
            flush_signal: Arc::default(),
            watch_signal: Arc::default(),
            commit_signal: Arc::default(),
            threads: Mutex::default(),
        }
    }

    /// Whether puts wait for the disk.
    pub fn is_sync(&self) -> bool {
        self.sync
    }

    /// Flushes since the start that had something to do.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Starts the threads of the mode.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let mut threads = lock(&self.threads);
        let service = Arc::clone(self);
        if self.sync {
            threads.push(ServiceThread::spawn(
                "GroupCommit",
                Arc::clone(&self.flush_signal),
                move |signal| service.run_group_commit(signal),
            )?);
            let service = Arc::clone(self);
            threads.push(ServiceThread::spawn(
                "FlushDiskWatch",
                Arc::clone(&self.watch_signal),
                move |signal| service.run_watcher(signal),
            )?);
            return Ok(());
        }
        threads.push(ServiceThread::spawn(
            "FlushRealTime",
            Arc::clone(&self.flush_signal),
            move |signal| service.run_real_time(signal),
        )?);
        if self.pooled {
            let service = Arc::clone(self);
            threads.push(ServiceThread::spawn(
                "CommitRealTime",
                Arc::clone(&self.commit_signal),
                move |signal| service.run_commit(signal),
            )?);
        }
        Ok(())
    }

    /// Commits and flushes everything, then stops the threads.
    pub fn stop(&self) {
        self.commit(0);
        self.flush(0);
        // Last started, first stopped: the committer before the flusher, the watcher before the
        // group commit.
        for thread in lock(&self.threads).drain(..).rev() {
            thread.stop(STOP_LIMIT);
        }
        self.commit(0);
        self.flush(0);
        // Who still waits is told that it is not known; so is who comes later.
        let left = {
            let mut requests = lock(&self.requests);
            requests.closed = true;
            std::mem::take(&mut requests.waiting)
        };
        drop(left);
    }

    /// Tells that something was appended for which nobody waits.
    pub fn appended(&self, config: &StoreConfig) {
        if self.pooled {
            self.commit_signal.wakeup();
        } else if self.sync || !config.flush_commit_log_timed {
            self.flush_signal.wakeup();
        }
    }

    /// Completes `ticket` when the disk has everything up to `end`, or when it is late.
    pub fn wait_for(&self, end: i64, ticket: PutTicket, config: &StoreConfig) {
        let timeout = Duration::from_millis(config.sync_flush_timeout.max(0) as u64);
        let mut requests = lock(&self.requests);
        if requests.closed {
            drop(requests);
            return ticket.complete(PutStatus::UnknownError, "the store is shutting down");
        }
        let deadline = Instant::now() + timeout;
        let before = requests.waiting.iter_mut().rev();
        let longer = before.take_while(|before| before.deadline > deadline);
        longer.for_each(|before| before.deadline = deadline);
        requests.waiting.push_back(Request { end, deadline, ticket });
        let count = requests.waiting.len();
        let enough = count >= requests.wanted;
        let too_late = requests.looks_at.is_none_or(|looks_at| looks_at > deadline);
        if too_late {
            requests.looks_at = Some(deadline);
        }
        drop(requests);
        if enough {
            self.flush_signal.wakeup();
        }
        if too_late {
            self.watch_signal.wakeup();
        }
    }

    /// Forces everything to the disk now. Returns whether the disk took it.
    pub(super) fn flush_now(&self) -> bool {
        self.flush(0)
    }

    /// Moves what the write buffers hold into the files now. Returns whether that worked.
    pub(super) fn commit_now(&self) -> bool {
        self.commit(0).is_some()
    }

    /// Commits; whether something was moved. `None`: it failed, which is told.
    fn commit(&self, least_pages: usize) -> Option<bool> {
        match self.log.commit(least_pages) {
            Ok(moved) => {
                if moved {
                    self.flush_signal.wakeup();
                    (self.after_flush)();
                }
                Some(moved)
            }
            Err(error) => {
                log::error!("what the transient store pool holds cannot be committed: {error}");
                None
            }
        }
    }

    /// Flushes, keeps the checkpoint, and switches writing off if the disk refuses.
    fn flush(&self, least_pages: usize) -> bool {
        let before = self.log.flushed_offset();
        let timestamp = self.log.last_store_timestamp();
        let wrote = self.log.files().wrote_offset();
        let started = Instant::now();
        let flushed = match self.log.flush(least_pages) {
            Ok(flushed) => flushed,
            Err(error) => {
                if self.flags.set(Flag::FlushFailed, true) {
                    log::error!(
                        "the commit log in {} cannot be forced to the disk: {error}; it is certain \
                         up to offset {before}. No messages are taken until the store is restarted",
                        self.log.folder().display()
                    );
                    (self.after_failure)(self.log.flushed_offset());
                }
                return false;
            }
        };
        if started.elapsed() > SLOW_FLUSH {
            let bytes = flushed - before;
            log::info!("flushing {bytes} bytes took {} ms", started.elapsed().as_millis());
        }
        if timestamp > 0 && flushed >= wrote {
            self.checkpoint.physical.store(timestamp, Ordering::Release);
        }
        if flushed > before {
            self.count.fetch_add(1, Ordering::Relaxed);
            (self.after_flush)();
        }
        true
    }

    fn run_real_time(&self, signal: &Signal) {
        let mut last_thorough = Instant::now();
        loop {
            let config = self.config.get();
            let interval = Duration::from_millis(config.flush_interval_commit_log.max(1) as u64);
            if !signal.wait(interval) {
                return;
            }
            let thorough =
                Duration::from_millis(config.flush_commit_log_thorough_interval.max(0) as u64);
            let mut pages = config.flush_commit_log_least_pages.max(0) as usize;
            if last_thorough.elapsed() >= thorough {
                last_thorough = Instant::now();
                pages = 0;
            }
            self.flush(pages);
        }
    }

    fn run_commit(&self, signal: &Signal) {
        let mut last_commit = Instant::now();
        loop {
            let config = self.config.get();
            let thorough =
                Duration::from_millis(config.commit_commit_log_thorough_interval.max(0) as u64);
            let mut pages = config.commit_commit_log_least_pages.max(0) as usize;
            if last_commit.elapsed() >= thorough {
                pages = 0;
            }
            if self.commit(pages) == Some(true) {
                last_commit = Instant::now();
            }
            let interval = Duration::from_millis(config.commit_interval_commit_log.max(1) as u64);
            if !signal.wait(interval) {
                return;
            }
        }
    }

    /// One flush for all that wait; those who come meanwhile are served by the next one.
    fn run_group_commit(&self, signal: &Signal) {
        os::set_priority(os::WAITED_FOR);
        let mut gathering =
            Gathering { wanted: 0, flush: Duration::ZERO, share: Gathering::LIMITS.1 };
        // Many answers take about as long as a flush: another thread gives them meanwhile.
        let (answer, served) = mpsc::sync_channel::<Served>(MAX_UNANSWERED);
        thread::scope(|scope| {
            let answering = thread::Builder::new().name("GroupAnswer".to_owned());
            let answering = answering.spawn_scoped(scope, move || {
                os::set_priority(os::WAITED_FOR);
                for served in served {
                    catch_panic("GroupAnswer", || served.answer());
                }
            });
            let answer = answering.is_ok().then_some(answer);
            let round = |gathering: &mut Gathering| {
                let served = self.commit_group(gathering);
                let aside = answer.as_ref().filter(|_| served.requests.len() >= MANY_ANSWERS);
                let Some(aside) = aside else { return served.answer() };
                if let Err(mpsc::SendError(served)) = aside.send(served) {
                    served.answer();
                }
            };
            while signal.wait(GROUP_COMMIT_IDLE) {
                self.gather(&mut gathering, signal);
                round(&mut gathering);
            }
            round(&mut gathering);
        });
    }

    /// Lets requests gather, if some wait already.
    fn gather(&self, gathering: &mut Gathering, signal: &Signal) {
        {
            let mut requests = lock(&self.requests);
            if requests.waiting.is_empty() || requests.waiting.len() >= gathering.wanted {
                return;
            }
            requests.wanted = gathering.wanted;
        }
        let deadline = Instant::now() + gathering.limit();
        let mut complete = false;
        while !complete
            && let Some(left) = deadline.checked_duration_since(Instant::now())
            && signal.wait(left)
        {
            complete = lock(&self.requests).waiting.len() >= gathering.wanted;
        }
        lock(&self.requests).wanted = 0;
        gathering.ended(complete);
    }

    fn commit_group(&self, gathering: &mut Gathering) -> Served {
        let known = {
            let requests = lock(&self.requests);
            requests.gone + requests.waiting.len() as u64
        };
        let started = Instant::now();
        let works = self.flush(0);
        gathering.flush = started.elapsed();
        let flushed = self.log.flushed_offset();
        let requests = {
            let mut requests = lock(&self.requests);
            let mut count = known.saturating_sub(requests.gone) as usize;
            // Those who came while the flush was under way and are covered by it.
            if works {
                let later = requests.waiting.iter().skip(count);
                count += later.take_while(|request| request.end <= flushed).count();
            }
            requests.gone += count as u64;
            gathering.wanted = requests.waiting.len();
            requests.waiting.drain(..count).collect()
        };
        Served { requests, works, flushed }
    }

    /// Completes those whose deadline passes while a flush takes long.
    fn run_watcher(&self, signal: &Signal) {
        loop {
            let next = {
                let mut requests = lock(&self.requests);
                let now = Instant::now();
                let count = requests.waiting.partition_point(|request| request.deadline <= now);
                requests.gone += count as u64;
                let late: Vec<Request> = requests.waiting.drain(..count).collect();
                let next = requests.waiting.front().map(|request| request.deadline);
                requests.looks_at = next;
                drop(requests);
                for request in late {
                    request.ticket.complete(PutStatus::FlushDiskTimeout, "the flush took too long");
                }
                next
            };
            let goes_on = match next {
                Some(deadline) => signal.wait(deadline.saturating_duration_since(Instant::now())),
                None => signal.wait_for_wakeup(),
            };
            if !goes_on {
                return;
            }
        }
    }
}
