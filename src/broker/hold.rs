//! [`HeldPulls`]: pulls that found nothing and wait for a message (Java's PullRequestHoldService).
//! How a pull is executed, the first time and again, is [`pull`](super::pull)'s business.
//!
//! A held pull ends in one of three ways, each exact, unless its connection ends first:
//!
//! * a message arrives in its queue that its filter passes: the store tells, message by message;
//! * its time is up: one thread sleeps until the first deadline;
//! * the broker stops: it is answered as if its time were up.
//!
//! # No wake-up is lost
//!
//! A message may arrive after a pull has looked at its queue and before the pull stands here. So
//! whoever holds a pull looks at the end of the queue once more *afterwards* ([`HeldPulls::hold`]
//! does it) and takes the pull back when the queue has grown. The store, on the other side, makes
//! the message visible *before* it tells of it. Of the two, one sees the other: both sides have a
//! full fence between their write and their read.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::quick_hash::QuickMap;
use crate::common::service_thread::Signal;
use crate::common::sync::lock;
use crate::store::{Arrival, MessageFilter};

/// Pulls held at a time. One more is answered SYSTEM_BUSY at once.
pub const MAX_HELD_PULLS: usize = 100_000;

/// How long the thread sleeps when nothing is held; a new pull wakes it.
const IDLE_WAIT: Duration = Duration::from_secs(3600);

/// A pull that waits.
pub struct HeldPull<R> {
    /// The request, to be executed again. Nothing here looks into it.
    pub request: R,
    /// Topic.
    pub topic: Arc<str>,
    /// Queue.
    pub queue_id: i32,
    /// First offset that was not seen yet. It moves on over messages that the filter refuses, so
    /// that the second execution does not scan them again.
    pub offset: i64,
    /// What the consumer wants; `None` is everything.
    pub filter: Option<Arc<dyn MessageFilter>>,
    /// When it ends.
    pub deadline: Instant,
}

/// Pulls that one message ends on the thread that found out. Thousands may wait for it: the others are
/// left to the pool, and the messages behind it need not wait for them.
const ENDED_HERE: usize = 16;

/// Pulls that are looked at under one lock to find those that nobody waits for.
const LOOKED_AT_TOGETHER: usize = 1000;

/// Who executes a pull that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The thread that found out, if it may.
    ThisThread,
    /// The pool.
    Pool,
}

/// What is done with pulls that need not wait any longer. Runs on the thread that found out,
/// without any lock; must not block.
pub type Wake<R> = Box<dyn Fn(HeldPull<R>, By) + Send + Sync>;

/// Place of a pull in the order of deadlines; the number makes it unique.
type Deadline = (Instant, u64);

/// The pulls that wait in one queue, by their numbers: thousands may, and each must be found at once.
type Waiting<R> = BTreeMap<u64, Box<HeldPull<R>>>;
/// The same, of all queues of one topic.
type WaitingByQueue<R> = QuickMap<i32, Waiting<R>>;

struct Table<R> {
    /// Who waits where.
    queues: QuickMap<Arc<str>, WaitingByQueue<R>>,
    /// Who ends when. Has exactly the pulls of `queues`.
    deadlines: BTreeMap<Deadline, (Arc<str>, i32)>,
    next_id: u64,
    /// Until when the thread sleeps.
    sleeps_until: Option<Instant>,
    stopped: bool,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            queues: QuickMap::default(),
            deadlines: BTreeMap::new(),
            next_id: 0,
            sleeps_until: None,
            stopped: false,
        }
    }
}

impl<R> Table<R> {
    /// Takes the pulls out of a queue for which `wanted` says so.
    fn take(
        &mut self,
        topic: &str,
        queue_id: i32,
        mut wanted: impl FnMut(&mut HeldPull<R>) -> bool,
        out: &mut Vec<HeldPull<R>>,
    ) {
        let Some(waiting) = self.waiting(topic, queue_id) else { return };
        let wanted = waiting.iter_mut().filter_map(|(id, held)| wanted(held).then_some(*id));
        let wanted: Vec<u64> = wanted.collect();
        out.extend(wanted.into_iter().filter_map(|id| self.take_one(topic, queue_id, id)));
    }

    /// Takes one pull out.
    fn take_one(&mut self, topic: &str, queue_id: i32, id: u64) -> Option<HeldPull<R>> {
        let held = self.waiting(topic, queue_id)?.remove(&id)?;
        self.deadlines.remove(&(held.deadline, id));
        self.forget_if_empty(topic, queue_id);
        Some(*held)
    }

    fn waiting(&mut self, topic: &str, queue_id: i32) -> Option<&mut Waiting<R>> {
        self.queues.get_mut(topic)?.get_mut(&queue_id)
    }

    fn forget_if_empty(&mut self, topic: &str, queue_id: i32) {
        let Some(queues) = self.queues.get_mut(topic) else { return };
        if queues.get(&queue_id).is_some_and(BTreeMap::is_empty) {
            queues.remove(&queue_id);
        }
        if queues.is_empty() {
            self.queues.remove(topic);
        }
    }
}

/// Pulls that wait, by topic and queue.
///
/// Invariants:
///
/// * every pull stands in one queue's list and in the order of deadlines, or in neither;
/// * `count` is their number; it is raised before the end of the queue is looked at again.
pub struct HeldPulls<R> {
    table: Mutex<Table<R>>,
    count: AtomicUsize,
    signal: Arc<Signal>,
    wake: Wake<R>,
}

impl<R> std::fmt::Debug for HeldPulls<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldPulls").field("count", &self.len()).finish_non_exhaustive()
    }
}

/// What became of a pull that was to be held.
pub enum Hold<R> {
    /// It waits; the answer comes later.
    Held,
    /// The queue has grown meanwhile: execute it at once.
    Grown(HeldPull<R>),
    /// Too many wait, or the broker stops.
    Refused(HeldPull<R>),
}

impl<R> HeldPulls<R> {
    /// Nothing waits yet. `wake` gets every pull that ends.
    pub fn new(wake: Wake<R>) -> Self {
        Self { table: Mutex::default(), count: AtomicUsize::new(0), signal: Arc::default(), wake }
    }

    /// Number of pulls that wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What wakes and stops the thread that runs [`run`](Self::run).
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Holds a pull. `end_of_queue` tells one past the last visible offset of its queue.
    pub fn hold(&self, held: HeldPull<R>, end_of_queue: impl FnOnce() -> i64) -> Hold<R> {
        let (topic, queue_id, offset) = (Arc::clone(&held.topic), held.queue_id, held.offset);
        let mut table = lock(&self.table);
        if table.stopped || table.deadlines.len() >= MAX_HELD_PULLS {
            return Hold::Refused(held);
        }
        let id = table.next_id;
        table.next_id += 1;
        let deadline = held.deadline;
        table.deadlines.insert((deadline, id), (Arc::clone(&topic), queue_id));
        table
            .queues
            .entry(Arc::clone(&topic))
            .or_default()
            .entry(queue_id)
            .or_default()
            .insert(id, Box::new(held));
        self.count.store(table.deadlines.len(), Ordering::SeqCst);
        let too_late = table.sleeps_until.is_some_and(|until| deadline < until);
        if too_late {
            table.sleeps_until = Some(deadline);
        }
        drop(table);
        if too_late {
            self.signal.wakeup();
        }
        fence(Ordering::SeqCst);
        if end_of_queue() <= offset {
            return Hold::Held;
        }
        let mut table = lock(&self.table);
        let taken = table.take_one(&topic, queue_id, id);
        self.count.store(table.deadlines.len(), Ordering::SeqCst);
        taken.map_or(Hold::Held, Hold::Grown)
    }

    fn take(
        &self,
        topic: &str,
        queue_id: i32,
        wanted: impl FnMut(&mut HeldPull<R>) -> bool,
        out: &mut Vec<HeldPull<R>>,
    ) {
        let mut table = lock(&self.table);
        table.take(topic, queue_id, wanted, out);
        self.count.store(table.deadlines.len(), Ordering::SeqCst);
    }

    /// A message is visible: ends the pulls of its queue that want it.
    pub fn arrived(&self, arrival: &Arrival<'_>) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut ended = Vec::new();
        let wants = |held: &mut HeldPull<R>| {
            if arrival.next_offset <= held.offset {
                return false;
            }
            let wanted = held.filter.as_deref().is_none_or(|filter| {
                filter.matches_queue(Some(arrival.tags_code), None)
                    && (!filter.needs_record() || filter.matches_record(arrival.record))
            });
            if !wanted && arrival.next_offset == held.offset + 1 {
                held.offset = arrival.next_offset;
            }
            wanted
        };
        self.take(arrival.topic, arrival.queue_id, wants, &mut ended);
        for (number, held) in ended.into_iter().enumerate() {
            (self.wake)(held, if number < ENDED_HERE { By::ThisThread } else { By::Pool });
        }
    }

    /// The thread `PullRequestHold`: ends pulls whose time is up, until stopped; then all.
    pub fn run(&self, signal: &Signal) {
        loop {
            let now = Instant::now();
            let (ended, until) = self.take_due(now);
            ended.into_iter().for_each(|held| (self.wake)(held, By::ThisThread));
            if !signal.wait(until.saturating_duration_since(Instant::now())) {
                break;
            }
        }
        for held in self.stop() {
            (self.wake)(held, By::ThisThread);
        }
    }

    /// Drops the pulls of whom nobody waits for an answer, some at a time: arrivals need not wait until
    /// all are looked at. What a pull keeps, a connection above all, would else be kept until its
    /// time is up.
    pub fn forget(&self, nobody_waits: impl Fn(&R) -> bool) {
        let mut after = Bound::Unbounded;
        loop {
            let mut table = lock(&self.table);
            let some = table.deadlines.range((after, Bound::Unbounded)).take(LOOKED_AT_TOGETHER);
            let some: Vec<_> = some.map(|(at, place)| (*at, place.clone())).collect();
            let Some(&(last, _)) = some.last() else { return };
            after = Bound::Excluded(last);
            let mut gone = Vec::new();
            for ((_, id), (topic, queue_id)) in some {
                let held = table.waiting(&topic, queue_id).and_then(|waiting| waiting.get(&id));
                if held.is_some_and(|held| nobody_waits(&held.request)) {
                    gone.extend(table.take_one(&topic, queue_id, id));
                }
            }
            self.count.store(table.deadlines.len(), Ordering::SeqCst);
            drop(table);
        }
    }

    /// Takes what is due at `now`; tells when to look again.
    fn take_due(&self, now: Instant) -> (Vec<HeldPull<R>>, Instant) {
        let mut table = lock(&self.table);
        let mut ended = Vec::new();
        let until = loop {
            let Some((&(deadline, id), (topic, queue_id))) = table.deadlines.first_key_value()
            else {
                break now + IDLE_WAIT;
            };
            if deadline > now {
                break deadline;
            }
            let (topic, queue_id) = (Arc::clone(topic), *queue_id);
            ended.extend(table.take_one(&topic, queue_id, id));
            // Both tables agree, so this removes nothing; it keeps the loop finite if they did not.
            table.deadlines.remove(&(deadline, id));
        };
        table.sleeps_until = Some(until);
        self.count.store(table.deadlines.len(), Ordering::SeqCst);
        (ended, until)
    }

    /// Holds nothing any more and gives all back.
    fn stop(&self) -> Vec<HeldPull<R>> {
        let mut table = lock(&self.table);
        table.stopped = true;
        table.deadlines.clear();
        self.count.store(0, Ordering::SeqCst);
        let queues = std::mem::take(&mut table.queues);
        queues
            .into_values()
            .flat_map(QuickMap::into_values)
            .flat_map(BTreeMap::into_values)
            .map(|held| *held)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::client_manage::expire_silent_clients;
    use crate::broker::filter::TagFilter;
    use crate::broker::testing::{TestBroker, wait_until};
    use crate::common::checksum::tags_code;
    use crate::common::service_thread::ServiceThread;
    use crate::remoting::config::ClientConfig;
    use crate::remoting::protocol::request_code;
    use crate::remoting::{Command, RemotingClient};
    use std::sync::atomic::AtomicI64;
    use std::sync::mpsc::{Receiver, channel};

    const LONG: Duration = Duration::from_secs(60);

    fn table() -> (Arc<HeldPulls<&'static str>>, Receiver<HeldPull<&'static str>>) {
        let (ended, receiver) = channel();
        let wake = move |held, _| {
            let _ = ended.send(held);
        };
        (Arc::new(HeldPulls::new(Box::new(wake))), receiver)
    }

    fn pull(request: &'static str, offset: i64, wait: Duration) -> HeldPull<&'static str> {
        let deadline = Instant::now() + wait;
        HeldPull { request, topic: "T".into(), queue_id: 1, offset, filter: None, deadline }
    }

    fn arrival(next_offset: i64, tag: &str) -> Arrival<'static> {
        let tags_code = tags_code(Some(tag));
        let (topic, record) = ("T", &[][..]);
        Arrival { topic, queue_id: 1, next_offset, tags_code, store_timestamp: 0, record }
    }

    #[test]
    fn an_arrival_ends_the_pulls_of_its_queue_that_it_is_new_for() {
        let (held, ended) = table();
        for (request, offset) in [("at the end", 5), ("ahead", 9)] {
            assert!(matches!(held.hold(pull(request, offset, LONG), || 5), Hold::Held));
        }
        held.arrived(&Arrival { queue_id: 2, ..arrival(6, "A") });
        held.arrived(&Arrival { topic: "U", ..arrival(6, "A") });
        assert!(ended.try_recv().is_err());
        held.arrived(&arrival(6, "A"));
        assert_eq!(ended.try_recv().unwrap().request, "at the end");
        assert!(ended.try_recv().is_err());
        assert_eq!(held.len(), 1);
    }

    /// Each is found by its number: looking through all of them for each would take minutes.
    #[test]
    fn very_many_pulls_of_one_queue_end_together() {
        let (held, ended) = table();
        let began = Instant::now();
        let many = MAX_HELD_PULLS / 2;
        for _ in 0..many {
            held.hold(pull("p", 5, Duration::from_secs(1)), || 5);
        }
        let (due, _) = held.take_due(began + Duration::from_secs(3600));
        assert_eq!(due.len(), many);
        assert!(held.is_empty() && ended.try_recv().is_err());
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    }

    #[test]
    fn of_many_pulls_that_one_message_ends_most_are_left_to_the_pool() {
        let (ended, receiver) = channel();
        let wake = move |_: HeldPull<&'static str>, by| {
            let _ = ended.send(by);
        };
        let held = HeldPulls::new(Box::new(wake));
        for _ in 0..3 * ENDED_HERE {
            held.hold(pull("p", 5, LONG), || 5);
        }
        held.arrived(&arrival(6, "A"));
        let by: Vec<By> = receiver.try_iter().collect();
        assert_eq!(by.len(), 3 * ENDED_HERE);
        assert_eq!(by.iter().filter(|by| **by == By::ThisThread).count(), ENDED_HERE);
    }

    #[test]
    fn messages_that_the_filter_refuses_are_passed_over_once() {
        let (held, ended) = table();
        let filter = Arc::new(TagFilter::parse(Some("A")).unwrap());
        let wants_a = HeldPull { filter: Some(filter), ..pull("p", 5, LONG) };
        assert!(matches!(held.hold(wants_a, || 5), Hold::Held));
        for next_offset in 6..=8 {
            held.arrived(&arrival(next_offset, "B"));
        }
        assert!(ended.try_recv().is_err());
        held.arrived(&arrival(9, "A"));
        assert_eq!(ended.try_recv().unwrap().offset, 8);
    }

    #[test]
    fn a_queue_that_has_grown_gives_the_pull_back() {
        let (held, _ended) = table();
        assert!(matches!(held.hold(pull("p", 5, LONG), || 6), Hold::Grown(_)));
        assert!(held.is_empty());
    }

    #[test]
    fn deadlines_are_kept_in_order_and_a_stop_gives_all_back() {
        let (held, ended) = table();
        let began = Instant::now();
        for (request, ms) in [("last", 3_600_000), ("second", 300), ("first", 20)] {
            let deadline = began + Duration::from_millis(ms);
            held.hold(HeldPull { deadline, ..pull(request, 0, LONG) }, || 0);
        }
        let (its, signal) = (held.clone(), held.signal());
        let thread = ServiceThread::spawn("Hold", signal, move |signal| its.run(signal)).unwrap();
        assert_eq!(ended.recv_timeout(LONG).unwrap().request, "first");
        assert!(began.elapsed() >= Duration::from_millis(20));
        assert_eq!(ended.recv_timeout(LONG).unwrap().request, "second");
        assert!(began.elapsed() >= Duration::from_millis(300));
        // The thread sleeps until the last one's time, unless it is told of an earlier one.
        held.hold(pull("third", 0, Duration::from_millis(20)), || 0);
        assert_eq!(ended.recv_timeout(LONG).unwrap().request, "third");
        assert!(thread.stop(LONG));
        assert_eq!(ended.recv_timeout(LONG).unwrap().request, "last");
        assert!(matches!(held.hold(pull("late", 0, LONG), || 0), Hold::Refused(_)));
    }

    /// A writer and a reader race: each message must end the pull for it, by an arrival or by the
    /// second look at the queue. One lost wake-up hangs until the limit.
    #[test]
    fn no_wakeup_is_lost() {
        const MESSAGES: i64 = 20_000;
        let (held, ended) = table();
        let end = AtomicI64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for next in 1..=MESSAGES {
                    end.store(next, Ordering::Release);
                    held.arrived(&arrival(next, "A"));
                }
            });
            let mut offset = 0;
            while offset < MESSAGES {
                let hold = held.hold(pull("p", offset, LONG), || end.load(Ordering::Acquire));
                if matches!(hold, Hold::Held) {
                    ended.recv_timeout(LONG).expect("an arrival was lost");
                }
                offset = end.load(Ordering::Acquire);
            }
        });
        assert!(held.is_empty());
    }

    #[test]
    fn pulls_that_nobody_waits_for_are_dropped_and_the_others_stay() {
        let (held, ended) = table();
        for number in 0..3 * LOOKED_AT_TOGETHER {
            held.hold(pull(if number % 3 == 0 { "stays" } else { "goes" }, 5, LONG), || 5);
        }
        held.forget(|request| *request == "goes");
        assert_eq!(held.len(), LOOKED_AT_TOGETHER);
        held.arrived(&arrival(6, "A"));
        assert!(held.is_empty());
        assert_eq!(ended.try_iter().filter(|pull| pull.request == "stays").count(), 1000);
    }

    #[test]
    fn a_pull_does_not_outlive_its_connection() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        let consumer = RemotingClient::new(ClientConfig::default());
        let mut pull = Command::request(request_code::PULL_MESSAGE);
        for (name, value) in [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "1"),
            ("sysFlag", "6"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "86400000"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ] {
            pull.fields.push_str(name, value);
        }
        consumer.call_async(&broker.address(), pull, LONG, |_| {}).unwrap();
        let held = &broker.running.broker.held_pulls;
        wait_until("the pull is held", || held.len() == 1);
        expire_silent_clients(&broker.running.broker);
        assert_eq!(held.len(), 1, "its consumer waits");
        consumer.shutdown();
        wait_until("the pull is gone", || {
            expire_silent_clients(&broker.running.broker);
            held.is_empty()
        });
    }
}
