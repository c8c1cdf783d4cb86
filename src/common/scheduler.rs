//! [`Scheduler`]: fixed-rate and delayed tasks on one thread, cancellable.
//!
//! For duties of milliseconds: persisting a table, sampling a counter, a heartbeat. What can take
//! long has a [`ServiceThread`] of its own, or it delays all others.

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clock::NEVER;
use super::service_thread::{ServiceThread, Signal};
use super::sync::{catch_panic, lock};

/// How long [`Scheduler::stop`] waits for the task that runs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// One thread that runs tasks at their time. A panic in a task is logged and the task goes on.
/// Dropping the scheduler stops it without waiting.
#[derive(Debug)]
pub struct Scheduler {
    queue: Arc<Mutex<Queue>>,
    signal: Arc<Signal>,
    thread: ServiceThread,
}

/// A scheduled task; dropping it does not cancel it.
#[derive(Clone, Debug)]
pub struct Scheduled {
    cancelled: Arc<AtomicBool>,
}

impl Scheduled {
    /// The task does not start again. It is forgotten at its time.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
}

/// What waits for its time, the next one on top.
#[derive(Debug, Default)]
struct Queue {
    heap: BinaryHeap<Entry>,
    /// Entries so far: of those due at the same instant the first scheduled runs first.
    count: u64,
}

struct Entry {
    due: Instant,
    number: u64,
    /// `None` runs once.
    period: Option<Duration>,
    what: String,
    cancelled: Arc<AtomicBool>,
    task: Box<dyn FnMut() + Send>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("what", &self.what).field("due", &self.due).finish()
    }
}

/// The greatest entry is the earliest: `BinaryHeap` has its maximum on top.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Order {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl Scheduler {
    /// Starts the thread.
    pub fn new(name: &str) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Mutex::new(Queue::default()));
        let signal = Arc::new(Signal::default());
        let its_queue = queue.clone();
        let thread =
            ServiceThread::spawn(name, signal.clone(), move |signal| run(&its_queue, signal))?;
        Ok(Arc::new(Self { queue, signal, thread }))
    }

    /// Runs `task` after `initial`, then every `period` (a late run does not pile up: what was
    /// missed meanwhile is skipped).
    pub fn at_fixed_rate(
        &self,
        what: &str,
        initial: Duration,
        period: Duration,
        task: impl FnMut() + Send + 'static,
    ) -> Scheduled {
        // A period of nothing would be a busy loop.
        let period = period.clamp(Duration::from_millis(1), NEVER);
        self.push(what, initial, Some(period), Box::new(task))
    }

    /// Runs `task` once after `delay`.
    pub fn once(
        &self,
        what: &str,
        delay: Duration,
        task: impl FnOnce() + Send + 'static,
    ) -> Scheduled {
        let mut task = Some(task);
        let run_once = move || {
            if let Some(task) = task.take() {
                task();
            }
        };
        self.push(what, delay, None, Box::new(run_once))
    }

    fn push(
        &self,
        what: &str,
        delay: Duration,
        period: Option<Duration>,
        task: Box<dyn FnMut() + Send>,
    ) -> Scheduled {
        let due = Instant::now() + delay.min(NEVER);
        let cancelled = Arc::new(AtomicBool::new(false));
        let scheduled = Scheduled { cancelled: cancelled.clone() };
        let mut queue = lock(&self.queue);
        queue.count += 1;
        let number = queue.count;
        queue.heap.push(Entry { due, number, period, what: what.to_owned(), cancelled, task });
        let is_next = queue.heap.peek().is_some_and(|next| next.number == number);
        drop(queue);
        if is_next {
            self.signal.wakeup();
        }
        scheduled
    }

    /// No further task starts; waits for the one that runs, at most 10 s. A task may stop its own
    /// scheduler; that does not wait.
    pub fn stop(&self) {
        self.thread.stop(STOP_LIMIT);
        // What the tasks hold is let go, outside the lock: a task may own something of ours.
        let forgotten = std::mem::take(&mut lock(&self.queue).heap);
        drop(forgotten);
    }
}

/// The scheduler's thread.
fn run(queue: &Mutex<Queue>, signal: &Signal) {
    while !signal.stopped() {
        let now = Instant::now();
        let mut waiting = lock(queue);
        let due = match waiting.heap.peek() {
            None => {
                drop(waiting);
                signal.wait_for_wakeup();
                continue;
            }
            Some(next) => next.due,
        };
        if due > now {
            drop(waiting);
            signal.wait(due - now);
            continue;
        }
        let entry = waiting.heap.pop();
        drop(waiting);
        if let Some(again) = entry.and_then(run_entry) {
            lock(queue).heap.push(again);
        }
    }
}

/// Runs a task whose time has come; returns it with its next time if it has one.
fn run_entry(mut entry: Entry) -> Option<Entry> {
    if entry.cancelled.load(Ordering::Acquire) {
        return None;
    }
    catch_panic(&entry.what, &mut entry.task);
    let period = entry.period?;
    let now = Instant::now();
    entry.due += period;
    if entry.due <= now {
        let missed = (now - entry.due).as_nanos() / period.as_nanos() + 1;
        entry.due += period.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX)).min(NEVER);
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    /// Schedules tasks that send their delay; how long that took.
    fn schedule(scheduler: &Scheduler, sender: &mpsc::Sender<u64>, delays: [u64; 4]) -> Duration {
        let begin = Instant::now();
        for delay in delays {
            let sender = sender.clone();
            scheduler.once("report", Duration::from_millis(delay), move || {
                let _ = sender.send(delay);
            });
        }
        begin.elapsed()
    }

    #[test]
    fn runs_in_the_order_of_time() {
        // Where a processor was so long in coming that the later ones fell due later, once more.
        let (_scheduler, receiver) = loop {
            let scheduler = Scheduler::new("Test").unwrap();
            let (sender, receiver) = mpsc::channel();
            let took = schedule(&scheduler, &sender, [1600, 1, 800, 800]);
            if took < Duration::from_millis(700) {
                break (scheduler, receiver);
            }
        };
        let order: Vec<u64> = (0..4).map(|_| receiver.recv_timeout(LONG).unwrap()).collect();
        assert_eq!(order, [1, 800, 800, 1600]);
    }

    #[test]
    fn repeats_until_cancelled_and_survives_a_panic() {
        let scheduler = Scheduler::new("Test").unwrap();
        let (sender, receiver) = mpsc::channel();
        let mut round = 0;
        let every = Duration::from_millis(1);
        let scheduled = scheduler.at_fixed_rate("count", Duration::ZERO, every, move || {
            round += 1;
            let _ = sender.send(round);
            assert_ne!(round, 2, "a panic on purpose");
        });
        assert_eq!((0..5).map(|_| receiver.recv_timeout(LONG).unwrap()).max(), Some(5));
        scheduled.cancel();
        // The cancelled task is dropped at its next time, and its sender with it.
        while receiver.recv_timeout(LONG).is_ok() {}
        assert_eq!(receiver.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_late_task_skips_what_it_missed() {
        let period = Duration::from_secs(1000);
        let late = Duration::from_secs(3500);
        let due = Instant::now().checked_sub(late).unwrap();
        let entry = Entry {
            due,
            number: 1,
            period: Some(period),
            what: String::new(),
            cancelled: Arc::default(),
            task: Box::new(|| ()),
        };
        assert_eq!(run_entry(entry).unwrap().due, due + 4 * period);
    }

    #[test]
    fn stop_waits_for_the_task_and_drops_the_rest() {
        let scheduler = Scheduler::new("Test").unwrap();
        let (sender, receiver) = mpsc::channel();
        let never = sender.clone();
        scheduler.once("never", Duration::MAX, move || {
            let _ = never.send("never");
        });
        let (started, start) = mpsc::channel();
        scheduler.once("slow", Duration::ZERO, move || {
            let _ = started.send(());
            std::thread::sleep(Duration::from_millis(30));
            let _ = sender.send("slow");
        });
        start.recv_timeout(LONG).unwrap();
        scheduler.stop();
        assert_eq!(receiver.try_recv(), Ok("slow"));
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
