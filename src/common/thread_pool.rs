//! [`ThreadPool`]: a named pool with a bounded queue that knows its depth and its head's age.
//!
//! A pool is a limit, a queue, a name and counters. Its threads run what waits in the queue, but
//! somebody else, a connection's reader, may run a short task itself while a [`Permit`] is free
//! and nothing waits: the limit holds either way, and a hand-over between threads is saved.

use std::sync::Arc;
use std::time::Duration;

/// Something to run.
pub trait Task: Send + 'static {
    /// Runs it. A panic is caught by the pool and logged; a task that owes somebody an answer
    /// catches its own.
    fn run(self: Box<Self>);

    /// Told instead of `run` when the pool gives it up: removed from the queue after `waited`, by
    /// fast failure or because the pool stops. `queue_len` is what still waits.
    fn shed(self: Box<Self>, _reason: Shed, _waited: Duration, _queue_len: usize) {}

    /// Requests in this task, for the depth of the queue.
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
    /// The pool stops.
    Stopping,
}

/// A pool of at most `threads` threads, started as tasks need them.
#[derive(Debug)]
pub struct ThreadPool {
    // owner: common
    _private: (),
}

/// The right to run one task of the pool on the caller's thread.
#[derive(Debug)]
pub struct Permit<'a> {
    _pool: &'a ThreadPool,
}

impl ThreadPool {
    /// `name` is the prefix of thread names (`SendMessageThread_`); `capacity` is in requests.
    pub fn new(_name: &str, _threads: usize, _capacity: usize) -> Arc<Self> {
        todo!("owner: common")
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        todo!("owner: common")
    }

    /// Queues a task; gives it back when the queue is full or the pool stopped.
    pub fn submit(self: &Arc<Self>, _task: Box<dyn Task>) -> Result<(), Box<dyn Task>> {
        todo!("owner: common")
    }

    /// A permit when fewer than `threads` tasks run and nothing waits.
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        todo!("owner: common")
    }

    /// Requests that wait.
    pub fn queue_len(&self) -> usize {
        todo!("owner: common")
    }

    /// Requests that the queue still takes.
    pub fn remaining_capacity(&self) -> usize {
        todo!("owner: common")
    }

    /// How long the head of the queue has waited; zero when nothing waits.
    pub fn head_age(&self) -> Duration {
        todo!("owner: common")
    }

    /// Gives up tasks at the head that waited at least `older_than`, at most `limit` of them, and
    /// calls their [`Task::shed`]. Returns how many.
    pub fn shed(&self, _older_than: Duration, _reason: Shed, _limit: usize) -> usize {
        todo!("owner: common")
    }

    /// Takes nothing more, runs what waits until `limit` has passed, sheds the rest, joins.
    pub fn stop(&self, _limit: Duration) {
        todo!("owner: common")
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        todo!("owner: common")
    }
}
