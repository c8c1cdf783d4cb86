//! [`ThreadPool`]: a named pool with a bounded queue that knows its depth and its head's age.
//!
//! A pool is a limit, a queue, a name and counters. Its threads run what waits in the queue, but
//! somebody else, a connection's reader, may run a short task itself while a [`Permit`] is free
//! and nothing waits: the limit holds either way, and a hand-over between threads is saved.
//!
//! # How the limit is kept
//!
//! `running` counts permits: those of pool threads that run a task and those of readers. A permit
//! is taken by a compare-and-swap, so that a reader needs no lock for a frame. Everything else, the
//! queue and who sleeps, is under one lock.
//!
//! The danger is a task that waits while nobody is left to take it. Whoever *queues* a task first
//! makes `waiting` say so and then looks whether a permit is free; whoever *returns* a permit first
//! returns it and then looks at `waiting` (both sequentially consistent). One of the two sees the
//! other, takes the lock and calls a thread: see `Shared::call_threads`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sync::{catch_panic, lock};

/// Something to run.
pub trait Task: Send + 'static {
    /// Runs it. A panic is caught by the pool and logged; a task that owes somebody an answer
    /// catches its own.
    fn run(self: Box<Self>);

    /// Told instead of `run` when the pool gives it up: removed from the queue after `waited`, by
    /// fast failure or because the pool stops. `queue_len` is what still waits.
    fn shed(self: Box<Self>, _reason: Shed, _waited: Duration, _queue_len: usize) {}

    /// Requests in this task, for the depth of the queue; at least 1.
    fn requests(&self) -> usize {
        1
    }
}

impl<F: FnOnce() + Send + 'static> Task for F {
    fn run(self: Box<Self>) {
        (*self)();
    }
}

/// Why a waiting task is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// It waited longer than its queue's limit: `[TIMEOUT_CLEAN_QUEUE]`.
    TooOld,
    /// The page cache is busy: `[PCBUSY_CLEAN_QUEUE]`.
    PageCacheBusy,
    /// The queue is full: `[OVERLOAD]`. For whoever gets its task back from
    /// [`ThreadPool::submit`] ([`ThreadPool::refusal`]); the pool itself never says it.
    Refused,
    /// The pool stops.
    Stopping,
}

/// A pool of at most `threads` threads, started as tasks need them.
///
/// Dropping it is [`ThreadPool::stop`] without waiting: what runs runs on, what waits is shed.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

/// The right to run one task of the pool on the caller's thread.
#[derive(Debug)]
#[must_use = "the permit ends when it is dropped"]
pub struct Permit<'a> {
    shared: &'a Arc<Shared>,
}

/// What pool, permits and threads share.
#[derive(Debug)]
struct Shared {
    name: String,
    /// Changed under the lock, read without.
    threads: AtomicUsize,
    /// Permits given to readers stop at this number.
    readers: usize,
    capacity: usize,
    /// When the pool was made: ages are kept as nanoseconds since then.
    epoch: Instant,
    /// Permits given out, at most the larger of `threads` and `readers`.
    running: AtomicUsize,
    /// Requests in the queue. Changed under the lock, read without.
    waiting: AtomicUsize,
    /// When the head of the queue was queued, ns since `epoch`. Changed under the lock.
    head_since: AtomicU64,
    /// The pool takes nothing more. Set under the lock.
    stopping: AtomicBool,
    state: Mutex<State>,
    /// Where threads without a task sleep.
    work: Condvar,
    /// Told when a permit returns or a thread ends while the pool stops.
    quiet: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    /// Threads that live.
    started: usize,
    /// Threads that sleep on `work`.
    asleep: usize,
    /// Of those, how many have been called and have not woken yet.
    called: usize,
    /// Names given to threads so far.
    names: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("tasks", &self.queue.len())
            .field("started", &self.started)
            .field("asleep", &self.asleep)
            .finish()
    }
}

/// A task in the queue.
struct Waiting {
    task: Box<dyn Task>,
    requests: usize,
    /// ns since the pool's epoch.
    since: u64,
}

impl ThreadPool {
    /// `name` is the prefix of thread names (`SendMessageThread_`); `capacity` is in requests.
    pub fn new(name: &str, threads: usize, capacity: usize) -> Arc<Self> {
        Self::with_readers(name, threads, capacity, threads)
    }

    /// A pool that gives readers permits until `readers` tasks run. More than `threads` are worth
    /// it for tasks that never wait: a reader that the system has set aside keeps its permit, and
    /// whoever finds none pays for a hand-over.
    pub fn with_readers(name: &str, threads: usize, capacity: usize, readers: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                threads: AtomicUsize::new(threads.max(1)),
                readers: readers.max(1),
                capacity,
                epoch: Instant::now(),
                running: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
                head_since: AtomicU64::new(0),
                stopping: AtomicBool::new(false),
                state: Mutex::default(),
                work: Condvar::new(),
                quiet: Condvar::new(),
            }),
        })
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How many threads it may have.
    pub fn threads(&self) -> usize {
        self.shared.threads()
    }

    /// Changes how many threads it may have, at least 1. Further ones are started when there is work
    /// for them; surplus ones end when what they run is done.
    pub fn set_threads(&self, threads: usize) {
        let shared = &self.shared;
        let threads = threads.max(1);
        let state = lock(&shared.state);
        let before = shared.threads.swap(threads, Ordering::SeqCst);
        drop(state);
        for _ in before..threads {
            shared.call_threads(lock(&shared.state));
        }
        // Those that sleep see whether they are still wanted.
        shared.work.notify_all();
    }

    /// Queues a task; gives it back when the queue is full or the pool stopped.
    ///
    /// A task of several requests is taken when at least one of them still has room: the queue is
    /// beyond its limit by less than one task.
    pub fn submit(self: &Arc<Self>, task: Box<dyn Task>) -> Result<(), Box<dyn Task>> {
        let shared = &self.shared;
        let requests = task.requests().max(1);
        let since = shared.now();
        let mut state = lock(&shared.state);
        let waiting = shared.waiting.load(Ordering::Relaxed);
        if waiting >= shared.capacity || shared.stopping.load(Ordering::Relaxed) {
            return Err(task);
        }
        state.queue.push_back(Waiting { task, requests, since });
        shared.note_queue(&state, waiting + requests);
        shared.call_threads(state);
        Ok(())
    }

    /// Why [`submit`](Self::submit) gave a task back.
    pub fn refusal(&self) -> Shed {
        if self.shared.stopping.load(Ordering::Relaxed) { Shed::Stopping } else { Shed::Refused }
    }

    /// A permit when fewer than `readers` tasks run and nothing waits. Costs two atomic operations.
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        let shared = &self.shared;
        let refused =
            shared.waiting.load(Ordering::Relaxed) > 0 || shared.stopping.load(Ordering::Relaxed);
        if refused || !shared.take_permit(shared.readers) { None } else { Some(Permit { shared }) }
    }

    /// Requests that wait.
    pub fn queue_len(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Requests that the queue still takes.
    pub fn remaining_capacity(&self) -> usize {
        self.shared.capacity.saturating_sub(self.queue_len())
    }

    /// Tasks that run now, on pool threads and under permits.
    pub fn running(&self) -> usize {
        self.shared.running.load(Ordering::Relaxed)
    }

    /// How long the head of the queue has waited; zero when nothing waits.
    pub fn head_age(&self) -> Duration {
        let since = self.shared.head_since.load(Ordering::Relaxed);
        match self.queue_len() {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.shared.now().saturating_sub(since)),
        }
    }

    /// Gives up tasks at the head that waited at least `older_than`, at most `limit` of them, and
    /// calls their [`Task::shed`]. Returns how many.
    pub fn shed(&self, older_than: Duration, reason: Shed, limit: usize) -> usize {
        let shared = &self.shared;
        if self.queue_len() == 0 || self.head_age() < older_than {
            return 0;
        }
        let mut state = lock(&shared.state);
        let now = shared.now();
        let age = |task: &Waiting| Duration::from_nanos(now.saturating_sub(task.since));
        let count = state.queue.iter().take(limit).take_while(|task| age(task) >= older_than);
        let count = count.count();
        let given_up: Vec<Waiting> = state.queue.drain(..count).collect();
        let mut left = shared.waiting.load(Ordering::Relaxed);
        let removed: usize = given_up.iter().map(|waiting| waiting.requests).sum();
        shared.note_queue(&state, left - removed);
        if shared.stopping.load(Ordering::Relaxed) {
            shared.work.notify_all();
        }
        drop(state);
        for waiting in given_up {
            left = left.saturating_sub(waiting.requests);
            let waited = age(&waiting);
            catch_panic(&shared.name, || waiting.task.shed(reason, waited, left));
        }
        count
    }

    /// Takes nothing more, runs what waits until `limit` has passed, sheds the rest. Waits, within
    /// the same limit, for the tasks that run; one that takes longer is left behind and logged. May
    /// be called again, and by a task of the pool, for which it does not wait.
    pub fn stop(&self, limit: Duration) {
        let shared = &self.shared;
        // A pool thread that stops its own pool holds a permit and will not end meanwhile.
        let own = usize::from(CURRENT.with(|current| current.get() == Arc::as_ptr(shared)));
        let deadline = Instant::now().checked_add(limit);
        let mut state = lock(&shared.state);
        shared.stopping.store(true, Ordering::SeqCst);
        shared.work.notify_all();
        let busy = |state: &State| {
            !state.queue.is_empty()
                || state.started > own
                || shared.running.load(Ordering::SeqCst) > own
        };
        while busy(&state) {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => break,
                None => shared.quiet.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let result = shared.quiet.wait_timeout(state, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        drop(state);
        let shed = self.shed(Duration::ZERO, Shed::Stopping, usize::MAX);
        let running = shared.running.load(Ordering::SeqCst).saturating_sub(own);
        if shed + running > 0 {
            log::warn!("{} stops: {shed} tasks given up, {running} still run", shared.name);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        let state = lock(&self.shared.state);
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.work.notify_all();
        drop(state);
        self.shed(Duration::ZERO, Shed::Stopping, usize::MAX);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.shared.return_permit();
    }
}

thread_local! {
    /// The pool whose thread this is, to know a task that stops its own pool.
    static CURRENT: std::cell::Cell<*const Shared> = const { std::cell::Cell::new(std::ptr::null()) };
}

impl Shared {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn take_permit(&self, limit: usize) -> bool {
        let more = |running: usize| (running < limit).then_some(running + 1);
        self.running.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    fn return_permit(self: &Arc<Self>) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        let waiting = self.waiting.load(Ordering::SeqCst) > 0;
        if waiting || self.stopping.load(Ordering::SeqCst) {
            let state = lock(&self.state);
            self.quiet.notify_all();
            self.call_threads(state);
        }
    }

    fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }

    /// Makes the unlocked copies follow the queue, in which `requests` are left.
    fn note_queue(&self, state: &State, requests: usize) {
        self.waiting.store(requests, Ordering::SeqCst);
        if let Some(head) = state.queue.front() {
            self.head_since.store(head.since, Ordering::Relaxed);
        }
    }

    /// Wakes or starts one thread if a task waits, a permit is free, and nobody is on the way.
    ///
    /// One is enough: it is called for each task that is queued and for each permit that returns.
    fn call_threads(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let permits = self.threads().saturating_sub(self.running.load(Ordering::SeqCst));
        if state.called >= state.queue.len().min(permits) {
            return;
        }
        if state.asleep > state.called {
            state.called += 1;
            drop(state);
            self.work.notify_one();
        } else if state.started < self.threads() {
            state.started += 1;
            state.names += 1;
            let name = format!("{}{}", self.name, state.names);
            drop(state);
            let shared = self.clone();
            let spawned = std::thread::Builder::new().name(name).spawn(move || shared.work());
            if let Err(error) = spawned {
                // The task stays in the queue: the next call tries again, and fast failure answers
                // it if there is none in time.
                log::error!("cannot start a thread of {}: {error}", self.name);
                lock(&self.state).started -= 1;
            }
        }
    }

    /// A pool thread: runs what waits, sleeps when nothing does, ends when the pool stops.
    fn work(self: &Arc<Self>) {
        CURRENT.with(|current| current.set(Arc::as_ptr(self)));
        let mut state = lock(&self.state);
        loop {
            if !state.queue.is_empty() && self.take_permit(self.threads()) {
                if let Some(waiting) = state.queue.pop_front() {
                    let left = self.waiting.load(Ordering::Relaxed) - waiting.requests;
                    self.note_queue(&state, left);
                    drop(state);
                    catch_panic(&self.name, || waiting.task.run());
                    state = lock(&self.state);
                }
                // Under the lock nobody needs to be called: this thread looks at the queue next.
                self.running.fetch_sub(1, Ordering::SeqCst);
                // Telling nobody would be a system call for each task.
                if self.stopping.load(Ordering::SeqCst) {
                    self.quiet.notify_all();
                }
                continue;
            }
            if state.queue.is_empty() && self.stopping.load(Ordering::SeqCst) {
                state.started -= 1;
                self.quiet.notify_all();
                self.work.notify_all(); // Others sleep because there was no permit.
                return;
            }
            if state.started > self.threads() {
                // Too many since the limit was lowered. What waits is taken by those that run.
                state.started -= 1;
                self.quiet.notify_all();
                return;
            }
            state.asleep += 1;
            while state.called == 0
                && state.started <= self.threads()
                && !(self.stopping.load(Ordering::SeqCst) && state.queue.is_empty())
            {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.called = state.called.saturating_sub(1);
            state.asleep -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    fn boxed(task: impl FnOnce() + Send + 'static) -> Box<dyn Task> {
        Box::new(task)
    }

    fn submit(pool: &Arc<ThreadPool>, task: impl FnOnce() + Send + 'static) {
        assert!(pool.submit(boxed(task)).is_ok());
    }

    /// A task of a known size that tells how it ended.
    struct Told {
        requests: usize,
        events: mpsc::Sender<String>,
    }

    impl Task for Told {
        fn run(self: Box<Self>) {
            let _ = self.events.send(format!("run {}", self.requests));
        }

        fn shed(self: Box<Self>, reason: Shed, _waited: Duration, queue_len: usize) {
            let _ = self.events.send(format!("{reason:?} {} left {queue_len}", self.requests));
        }

        fn requests(&self) -> usize {
            self.requests
        }
    }

    /// Occupies one thread of the pool until the returned sender is dropped.
    fn occupy(pool: &Arc<ThreadPool>) -> mpsc::Sender<()> {
        let (release, wait) = mpsc::channel::<()>();
        let (started, start) = mpsc::channel();
        submit(pool, move || {
            let _ = started.send(());
            let _ = wait.recv_timeout(LONG);
        });
        start.recv_timeout(LONG).unwrap();
        release
    }

    #[test]
    fn runs_tasks_in_order_on_named_threads() {
        let pool = ThreadPool::new("Pool_", 1, 100);
        let (sender, receiver) = mpsc::channel();
        for number in 0..10 {
            let sender = sender.clone();
            submit(&pool, move || {
                let _ = sender.send((number, std::thread::current().name().map(str::to_owned)));
            });
        }
        for number in 0..10 {
            let expected = (number, Some("Pool_1".to_owned()));
            assert_eq!(receiver.recv_timeout(LONG), Ok(expected));
        }
    }

    #[test]
    fn the_number_of_threads_may_change() {
        let pool = ThreadPool::new("Pool_", 1, 100);
        let count = |wanted: usize| {
            let deadline = Instant::now() + LONG;
            while lock(&pool.shared.state).started != wanted {
                assert!(Instant::now() < deadline, "{pool:?}, not {wanted}");
                std::thread::yield_now();
            }
        };
        let (sender, started) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..4 {
            let (sender, wait) = (sender.clone(), wait.clone());
            submit(&pool, move || {
                let _ = sender.send(());
                let _ = lock(&wait).recv_timeout(LONG);
            });
        }
        started.recv_timeout(LONG).unwrap();
        assert_eq!((pool.queue_len(), pool.threads()), (3, 1));
        pool.set_threads(4);
        (0..3).for_each(|_| started.recv_timeout(LONG).unwrap());
        count(4);
        pool.set_threads(2);
        (0..4).for_each(|_| release.send(()).unwrap());
        count(2);
        // Those that sleep leave at once, and the last one goes on working.
        pool.set_threads(0);
        count(1);
        submit(&pool, move || {
            let _ = sender.send(());
        });
        started.recv_timeout(LONG).unwrap();
        pool.stop(LONG);
    }

    #[test]
    fn a_panic_does_not_cost_a_thread() {
        let pool = ThreadPool::new("Pool_", 1, 100);
        submit(&pool, || panic!("on purpose"));
        let (sender, receiver) = mpsc::channel();
        submit(&pool, move || {
            let _ = sender.send(());
        });
        assert_eq!(receiver.recv_timeout(LONG), Ok(()));
    }

    #[test]
    fn a_full_queue_gives_the_task_back() {
        let pool = ThreadPool::new("Pool_", 1, 3);
        let release = occupy(&pool);
        let (events, _told) = mpsc::channel();
        assert_eq!((pool.queue_len(), pool.remaining_capacity(), pool.running()), (0, 3, 1));
        assert!(pool.submit(Box::new(Told { requests: 2, events: events.clone() })).is_ok());
        assert_eq!((pool.queue_len(), pool.remaining_capacity()), (2, 1));
        assert!(pool.submit(Box::new(Told { requests: 2, events: events.clone() })).is_ok());
        assert_eq!((pool.queue_len(), pool.remaining_capacity()), (4, 0));
        let refused = pool.submit(Box::new(Told { requests: 7, events }));
        assert_eq!(refused.err().map(|task| task.requests()), Some(7));
        assert!(pool.head_age() > Duration::ZERO);
        drop(release);
        pool.stop(LONG);
        assert_eq!((pool.queue_len(), pool.head_age()), (0, Duration::ZERO));
    }

    #[test]
    fn permits_count_against_the_threads() {
        let pool = ThreadPool::new("Pool_", 2, 10);
        let first = pool.try_permit().unwrap();
        let second = pool.try_permit().unwrap();
        assert!(pool.try_permit().is_none());
        let (sender, receiver) = mpsc::channel();
        submit(&pool, move || {
            let _ = sender.send(());
        });
        assert_eq!(pool.queue_len(), 1, "no permit is free for a thread");
        assert!(receiver.try_recv().is_err());
        drop(first);
        assert_eq!(receiver.recv_timeout(LONG), Ok(()));
        drop(second);
        pool.stop(LONG);
        assert!(pool.try_permit().is_none(), "a stopped pool runs nothing");
    }

    #[test]
    fn no_permit_overtakes_what_waits() {
        let pool = ThreadPool::new("Pool_", 1, 10);
        let permit = pool.try_permit().unwrap();
        submit(&pool, || ());
        drop(permit);
        // Either the task still waits, or it has run and the permit is free.
        let deadline = Instant::now() + LONG;
        let permit = loop {
            match pool.try_permit() {
                Some(permit) => break permit,
                None => assert!(Instant::now() < deadline),
            }
        };
        assert_eq!(pool.queue_len(), 0);
        drop(permit);
    }

    #[test]
    fn sheds_the_old_ones_from_the_head() {
        let pool = ThreadPool::new("Pool_", 1, 100);
        let release = occupy(&pool);
        let (events, told) = mpsc::channel();
        for requests in [1, 2, 4] {
            let events = events.clone();
            assert!(pool.submit(Box::new(Told { requests, events })).is_ok());
        }
        assert_eq!(pool.shed(LONG, Shed::TooOld, 10), 0);
        assert_eq!(pool.shed(Duration::ZERO, Shed::TooOld, 2), 2);
        assert_eq!(told.try_recv().unwrap(), "TooOld 1 left 6");
        assert_eq!(told.try_recv().unwrap(), "TooOld 2 left 4");
        assert_eq!(pool.queue_len(), 4);
        let waited = pool.head_age();
        while pool.head_age() <= waited {}
        assert_eq!(pool.shed(waited, Shed::PageCacheBusy, 10), 1);
        assert_eq!(told.try_recv().unwrap(), "PageCacheBusy 4 left 0");
        drop(release);
    }

    #[test]
    fn stop_runs_what_waits() {
        let pool = ThreadPool::new("Pool_", 2, 100);
        let release = occupy(&pool);
        let (events, told) = mpsc::channel();
        let permit = pool.try_permit().unwrap();
        assert!(pool.submit(Box::new(Told { requests: 1, events: events.clone() })).is_ok());
        drop(permit);
        drop(release);
        pool.stop(LONG);
        assert_eq!(told.try_recv().unwrap(), "run 1");
        assert!(pool.submit(Box::new(Told { requests: 2, events })).is_err());
        assert_eq!(pool.running(), 0);
    }

    #[test]
    fn stop_gives_up_what_does_not_end_in_time() {
        let pool = ThreadPool::new("Pool_", 1, 100);
        let release = occupy(&pool);
        let (events, told) = mpsc::channel();
        assert!(pool.submit(Box::new(Told { requests: 3, events })).is_ok());
        pool.stop(Duration::from_millis(10));
        assert_eq!(told.try_recv().unwrap(), "Stopping 3 left 0");
        drop(release);
        pool.stop(LONG);
        assert_eq!(pool.running(), 0);
    }

    #[test]
    fn a_task_may_stop_its_own_pool() {
        let pool = ThreadPool::new("Pool_", 1, 100);
        let (sender, receiver) = mpsc::channel();
        let its_pool = pool.clone();
        submit(&pool, move || {
            its_pool.stop(LONG);
            let _ = sender.send(());
        });
        assert_eq!(receiver.recv_timeout(LONG / 2), Ok(()));
    }

    #[test]
    fn dropping_the_pool_ends_its_threads() {
        let pool = ThreadPool::new("Pool_", 3, 100);
        let release = occupy(&pool);
        let (events, told) = mpsc::channel();
        let shared = pool.shared.clone();
        let permits = (pool.try_permit(), pool.try_permit());
        assert!(pool.submit(Box::new(Told { requests: 1, events })).is_ok());
        drop(permits);
        assert_eq!(told.recv_timeout(LONG).unwrap(), "run 1");
        drop(pool);
        drop(release);
        let result =
            shared.quiet.wait_timeout_while(lock(&shared.state), LONG, |state| state.started > 0);
        assert!(!result.unwrap().1.timed_out());
    }

    /// Readers with permits and tasks in the queue at once: never more than `threads` at a time,
    /// and nothing is forgotten.
    #[test]
    fn the_limit_holds_and_nothing_is_forgotten() {
        const THREADS: usize = 3;
        const ROUNDS: usize = 3_000;
        let pool = ThreadPool::new("Pool_", THREADS, usize::MAX);
        let running = Arc::new(AtomicUsize::new(0));
        let ran = Arc::new(AtomicUsize::new(0));
        let work = {
            let (running, ran) = (running.clone(), ran.clone());
            move || {
                assert!(running.fetch_add(1, Ordering::SeqCst) < THREADS);
                std::hint::spin_loop();
                running.fetch_sub(1, Ordering::SeqCst);
                ran.fetch_add(1, Ordering::SeqCst);
            }
        };
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (pool, work) = (pool.clone(), work.clone());
                std::thread::spawn(move || {
                    for round in 0..ROUNDS {
                        match pool.try_permit() {
                            Some(_permit) => work(),
                            None => submit(&pool, work.clone()),
                        }
                        if round % 7 == 0 {
                            submit(&pool, work.clone());
                        }
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let deadline = Instant::now() + LONG;
        let expected = 4 * (ROUNDS + ROUNDS.div_ceil(7));
        while ran.load(Ordering::SeqCst) < expected {
            assert!(Instant::now() < deadline, "{pool:?}");
            std::thread::yield_now();
        }
        pool.stop(LONG);
        assert_eq!(ran.load(Ordering::SeqCst), expected);
    }
}
