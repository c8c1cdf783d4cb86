//! [`ServiceThread`]: a named thread with a wake-up, an interval and an orderly stop. Every
//! background duty of every role is one.
//!
//! A service is a loop around its [`Signal`]:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use rocketmq::common::service_thread::{ServiceThread, Signal};
//!
//! let signal = Arc::new(Signal::default());
//! let service = ServiceThread::spawn("Example", signal.clone(), |signal| {
//!     while signal.wait(Duration::from_secs(10)) {
//!         // The duty: every ten seconds, and whenever somebody calls `wakeup`.
//!     }
//!     // What is to be done at the end.
//! })?;
//! signal.wakeup();
//! assert!(service.stop(Duration::from_secs(5)));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sync::{catch_panic, lock};
use super::together::at_end;

/// The loop works, and nobody has called.
const AWAKE: u8 = 0;
/// Somebody has called since the loop last asked.
const CALLED: u8 = 1;
/// The loop sleeps on the condition variable.
const ASLEEP: u8 = 2;

/// What a service's loop sees of its thread: wait, be woken, be told to stop.
///
/// A wake-up that arrives while the loop works is not lost: the next wait returns at once. Several
/// wake-ups during one round are one.
///
/// Waking a loop that is awake is one atomic exchange, no lock and no system call: the commit log
/// wakes its dispatcher after every append. The exchange also publishes what the caller wrote
/// before it, so a loop that looks at its work after [`Signal::wait`] sees it.
///
/// Invariants:
/// * only one thread waits on a signal;
/// * the state becomes `ASLEEP` only under the lock, which the sleeper gives up only by sleeping:
///   whoever finds `ASLEEP` and then takes the lock finds somebody to notify.
#[derive(Debug, Default)]
pub struct Signal {
    state: AtomicU8,
    stopped: AtomicBool,
    lock: Mutex<()>,
    condition: Condvar,
}

impl Signal {
    /// Waits up to `limit`, or until woken or stopped. Returns whether the service goes on.
    pub fn wait(&self, limit: Duration) -> bool {
        // A limit beyond what the clock can tell is no limit.
        self.sleep(Instant::now().checked_add(limit));
        !self.stopped()
    }

    /// Waits until woken or stopped. Returns whether the service goes on.
    pub fn wait_for_wakeup(&self) -> bool {
        self.sleep(None);
        !self.stopped()
    }

    fn sleep(&self, deadline: Option<Instant>) {
        // Only the swap reads what callers wrote before they called, also if they called long ago.
        if self.state.swap(AWAKE, Ordering::AcqRel) == CALLED || self.stopped() {
            return;
        }
        let mut guard = lock(&self.lock);
        let fell_asleep =
            self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        while fell_asleep.is_ok() && self.state.load(Ordering::Acquire) == ASLEEP {
            guard = match deadline {
                None => self.condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let result = self.condition.wait_timeout(guard, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Wakes the loop. Cheap when it is already awake.
    pub fn wakeup(&self) {
        if self.call() {
            self.notify();
        }
    }

    /// The same at the end of what this thread does [`together`](super::together): waking a thread
    /// costs more than most requests, and whoever waits for an answer should not wait for that too.
    pub fn wakeup_at_end(self: &Arc<Self>) {
        if self.call() {
            let signal = Arc::clone(self);
            at_end(move || signal.notify());
        }
    }

    /// Whether the loop sleeps; this is then the only call that finds it so.
    fn call(&self) -> bool {
        self.state.swap(CALLED, Ordering::AcqRel) == ASLEEP
    }

    fn notify(&self) {
        drop(lock(&self.lock));
        self.condition.notify_all();
    }

    /// Tells the service to stop, and wakes it. [`ServiceThread::stop`] also waits for it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wakeup();
    }

    /// Whether the service was told to stop.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Whether a thread has ended, to be waited for with a limit: `JoinHandle::join` has none.
#[derive(Debug, Default)]
struct Ended {
    ended: Mutex<bool>,
    condition: Condvar,
}

impl Ended {
    fn tell(&self) {
        *lock(&self.ended) = true;
        self.condition.notify_all();
    }

    fn wait(&self, limit: Duration) -> bool {
        let result = self.condition.wait_timeout_while(lock(&self.ended), limit, |ended| !*ended);
        *result.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A running service. Dropping it tells the service to stop and does not wait for it.
#[derive(Debug)]
#[must_use = "the service stops when this is dropped"]
pub struct ServiceThread {
    signal: Arc<Signal>,
    ended: Arc<Ended>,
    handle: JoinHandle<()>,
}

impl ServiceThread {
    /// Starts `body` on a thread of that name (at most 15 bytes show in `top -H`). `body` returns
    /// when [`Signal::wait`] says so; a panic in it is logged.
    pub fn spawn(
        name: &str,
        signal: Arc<Signal>,
        body: impl FnOnce(&Signal) + Send + 'static,
    ) -> std::io::Result<Self> {
        let ended = Arc::new(Ended::default());
        let (its_name, its_signal, its_ended) = (name.to_owned(), signal.clone(), ended.clone());
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            catch_panic(&its_name, || body(&its_signal));
            its_ended.tell();
        })?;
        Ok(Self { signal, ended, handle })
    }

    /// Tells the service to stop, wakes it, and waits for its end (at most `limit`). Idempotent.
    /// Returns whether it ended in time. A service that stops itself does not wait for itself.
    pub fn stop(&self, limit: Duration) -> bool {
        self.signal.stop();
        if self.handle.thread().id() == std::thread::current().id() {
            return false;
        }
        let in_time = self.ended.wait(limit);
        if !in_time {
            let name = self.handle.thread().name().unwrap_or_default();
            log::warn!("{name} did not stop within {} ms, going on without it", limit.as_millis());
        }
        in_time
    }
}

impl Drop for ServiceThread {
    fn drop(&mut self) {
        self.signal.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_wakeup_before_the_wait_is_not_lost() {
        let signal = Signal::default();
        signal.wakeup();
        signal.wakeup();
        let started = Instant::now();
        assert!(signal.wait(LONG));
        assert!(started.elapsed() < LONG);
        assert!(signal.wait(Duration::from_millis(1)), "two calls are one wake-up");
        assert!(signal.wait(Duration::ZERO));
    }

    #[test]
    fn waits_as_long_as_it_is_told() {
        let signal = Signal::default();
        let started = Instant::now();
        assert!(signal.wait(Duration::from_millis(30)));
        assert!(started.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn stop_ends_every_wait() {
        let signal = Signal::default();
        signal.stop();
        assert!(!signal.wait(Duration::MAX));
        assert!(!signal.wait_for_wakeup());
        assert!(signal.stopped());
    }

    /// Ping-pong over two signals: a single lost wake-up makes it hang until the limit.
    #[test]
    fn no_wakeup_is_lost() {
        let (ping, pong) = (Arc::new(Signal::default()), Arc::new(Signal::default()));
        let count = Arc::new(AtomicUsize::new(0));
        let (its_pong, its_count) = (pong.clone(), count.clone());
        let service = ServiceThread::spawn("PingPong", ping.clone(), move |ping| {
            while ping.wait_for_wakeup() {
                its_count.fetch_add(1, Ordering::Relaxed);
                its_pong.wakeup();
            }
        })
        .unwrap();
        for round in 1..=10_000 {
            ping.wakeup();
            let waiting = Instant::now();
            assert!(pong.wait(LONG));
            assert!(waiting.elapsed() < LONG, "round {round}");
            assert_eq!(count.load(Ordering::Relaxed), round);
        }
        assert!(service.stop(LONG));
        assert!(service.stop(Duration::ZERO), "stopping again is nothing");
    }

    #[test]
    fn many_callers_and_everything_is_seen() {
        let signal = Arc::new(Signal::default());
        let work = Arc::new(AtomicUsize::new(0));
        let (done, ended) = mpsc::channel();
        let its_work = work.clone();
        let service = ServiceThread::spawn("Sum", signal.clone(), move |signal| {
            let mut seen = 0;
            while seen < 40_000 && signal.wait_for_wakeup() {
                seen += its_work.swap(0, Ordering::Relaxed);
            }
            let _ = done.send(seen);
        })
        .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        work.fetch_add(1, Ordering::Relaxed);
                        signal.wakeup();
                    }
                });
            }
        });
        assert_eq!(ended.recv_timeout(LONG), Ok(40_000));
        assert!(service.stop(LONG));
    }

    #[test]
    fn a_panic_ends_the_service_and_not_the_process() {
        let service =
            ServiceThread::spawn("Panics", Arc::default(), |_| panic!("on purpose")).unwrap();
        assert!(service.stop(LONG));
    }

    #[test]
    fn a_service_that_does_not_listen_is_left_behind() {
        let (release, wait) = mpsc::channel::<()>();
        let service = ServiceThread::spawn("Deaf", Arc::default(), move |_| {
            let _ = wait.recv_timeout(LONG);
        })
        .unwrap();
        assert!(!service.stop(Duration::from_millis(10)));
        drop(release);
        assert!(service.stop(LONG));
    }
}
