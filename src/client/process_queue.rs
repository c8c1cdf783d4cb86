//! [`ProcessQueue`]: what was pulled from one queue and is not yet consumed.
//!
//! It decides what offset may be committed: the smallest that is not finished. Messages leave it in
//! any order; the offset moves on only when the first one leaves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::ReceivedMessage;
use crate::common::clock::now_ms;
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::{MessageQueue, ProcessQueueInfo};

/// A lock of a queue at the broker is trusted so long without being renewed.
pub const LOCK_VALID: Duration = Duration::from_secs(30);
/// A queue that was not pulled for so long is given up and taken anew.
pub const PULL_EXPIRED: Duration = Duration::from_secs(120);

/// Messages of one queue between pull and commit.
///
/// Invariants:
/// - `waiting` is sorted by offset, without duplicates; its first and last entry are live;
/// - `taken` (orderly only) holds what the listener has and nobody committed, all before `waiting`;
/// - `count` and `bytes` are those of live messages in both.
#[derive(Debug)]
pub struct ProcessQueue {
    /// The queue.
    pub queue: MessageQueue,
    cache: Mutex<Cache>,
    dropped: AtomicBool,
    locked: AtomicBool,
    last_pull_ms: AtomicI64,
    last_consume_ms: AtomicI64,
    last_lock_ms: AtomicI64,
    /// The queue's broker and topic, shared with its messages.
    pub broker_name: Arc<str>,
    /// See `broker_name`.
    pub topic: Arc<str>,
    /// Listeners that run with messages of the queue.
    at_work: Activity,
    /// How often the queue could not be unlocked because its listener ran.
    pub try_unlock_times: AtomicI64,
    /// Where its first pull begins.
    pub start_offset: AtomicI64,
    /// Broker id that the broker suggested for the next pull.
    pub suggested_broker: AtomicI64,
}

#[derive(Debug, Default)]
struct Cache {
    waiting: VecDeque<Slot>,
    taken: VecDeque<ReceivedMessage>,
    count: usize,
    bytes: usize,
    /// One past the last offset that was put in.
    end_offset: i64,
    /// An orderly task drains the queue.
    draining: bool,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    /// `None`: finished out of turn.
    message: Option<ReceivedMessage>,
}

/// What a queue holds, for flow control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages.
    pub count: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
    /// Last offset minus first offset.
    pub span: i64,
}

impl Cache {
    /// Takes one in; `false` if it was there.
    fn insert(&mut self, message: &ReceivedMessage) -> bool {
        let offset = message.queue_offset();
        let slot = Slot { offset, message: Some(message.clone()) };
        if self.waiting.back().is_none_or(|last| last.offset < offset) {
            self.waiting.push_back(slot);
        } else {
            match self.waiting.binary_search_by_key(&offset, |slot| slot.offset) {
                Ok(_) => return false,
                Err(at) => self.waiting.insert(at, slot),
            }
        }
        self.count += 1;
        self.bytes += message.cached_bytes();
        self.end_offset = self.end_offset.max(offset.saturating_add(1));
        true
    }

    fn remove(&mut self, offset: i64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&offset, |slot| slot.offset)
            && let Some(message) = self.waiting[at].message.take()
        {
            self.forget(&message);
        }
    }

    fn forget(&mut self, message: &ReceivedMessage) {
        self.count -= 1;
        self.bytes = self.bytes.saturating_sub(message.cached_bytes());
    }

    /// Keeps the ends live.
    fn trim(&mut self) {
        while self.waiting.front().is_some_and(|slot| slot.message.is_none()) {
            self.waiting.pop_front();
        }
        while self.waiting.back().is_some_and(|slot| slot.message.is_none()) {
            self.waiting.pop_back();
        }
    }

    /// Puts taken messages back in front.
    fn give_back(&mut self, keep: usize) {
        while self.taken.len() > keep {
            if let Some(message) = self.taken.pop_back() {
                let offset = message.queue_offset();
                self.waiting.push_front(Slot { offset, message: Some(message) });
            }
        }
    }
}

impl ProcessQueue {
    /// An empty one; `locked` says that the broker granted the lock just now.
    pub fn new(queue: MessageQueue, locked: bool) -> Self {
        let now = now_ms();
        Self {
            broker_name: queue.broker_name.as_str().into(),
            topic: queue.topic.as_str().into(),
            queue,
            cache: Mutex::default(),
            dropped: AtomicBool::new(false),
            locked: AtomicBool::new(locked),
            last_pull_ms: AtomicI64::new(now),
            last_consume_ms: AtomicI64::new(now),
            last_lock_ms: AtomicI64::new(now),
            at_work: Activity::default(),
            try_unlock_times: AtomicI64::new(0),
            start_offset: AtomicI64::new(0),
            suggested_broker: AtomicI64::new(super::route::MASTER_ID),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }

    /// Takes pulled messages in; leaves those in the list that were not there yet. Returns whether an
    /// orderly task must be started for the queue.
    pub fn put(&self, messages: &mut Vec<ReceivedMessage>) -> bool {
        let mut cache = self.cache();
        messages.retain(|message| cache.insert(message));
        let start = !cache.waiting.is_empty() && !cache.draining;
        cache.draining |= start;
        start
    }

    /// Removes finished messages. Returns the offset that may be committed: the first that is not
    /// finished, or `None` when there was nothing.
    pub fn remove(&self, messages: &[ReceivedMessage]) -> Option<i64> {
        self.last_consume_ms.store(now_ms(), Ordering::Relaxed);
        let mut cache = self.cache();
        if cache.waiting.is_empty() {
            return None;
        }
        for message in messages {
            cache.remove(message.queue_offset());
        }
        cache.trim();
        Some(cache.waiting.front().map_or(cache.end_offset, |slot| slot.offset))
    }

    /// Whether a message is still in the cache.
    pub fn contains(&self, message: &ReceivedMessage) -> bool {
        let cache = self.cache();
        let at = cache.waiting.binary_search_by_key(&message.queue_offset(), |slot| slot.offset);
        at.is_ok_and(|at| cache.waiting[at].message.is_some())
    }

    /// The first message that is not finished.
    pub fn first(&self) -> Option<ReceivedMessage> {
        self.cache().waiting.front().and_then(|slot| slot.message.clone())
    }

    /// Orderly: the next messages for the listener. When there are none the draining task ends, and
    /// the next [`put`](Self::put) asks for a new one.
    pub fn take(&self, limit: usize) -> Vec<ReceivedMessage> {
        self.last_consume_ms.store(now_ms(), Ordering::Relaxed);
        let mut cache = self.cache();
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(slot) = cache.waiting.pop_front()
        {
            taken.extend(slot.message);
        }
        cache.taken.extend(taken.iter().cloned());
        if taken.is_empty() {
            cache.draining = false;
        }
        taken
    }

    /// Orderly: everything taken is done. Returns the offset to commit, if there was anything.
    pub fn commit(&self) -> Option<i64> {
        let mut cache = self.cache();
        let taken = std::mem::take(&mut cache.taken);
        for message in &taken {
            cache.forget(message);
        }
        taken.back().map(|last| last.queue_offset().saturating_add(1))
    }

    /// Orderly: messages taken that are not committed.
    pub fn taken(&self) -> usize {
        self.cache().taken.len()
    }

    /// Orderly: everything taken waits again.
    pub fn roll_back(&self) {
        self.cache().give_back(0);
    }

    /// Orderly: the last `count` messages taken wait again.
    pub fn make_again(&self, count: usize) {
        let mut cache = self.cache();
        let keep = cache.taken.len().saturating_sub(count);
        cache.give_back(keep);
    }

    /// Forgets all messages.
    pub fn clear(&self) {
        *self.cache() = Cache::default();
    }

    /// What it holds.
    pub fn load(&self) -> Load {
        let cache = self.cache();
        let span = match (cache.waiting.front(), cache.waiting.back()) {
            (Some(first), Some(last)) => last.offset.saturating_sub(first.offset),
            _ => 0,
        };
        Load { count: cache.count, bytes: cache.bytes, span }
    }

    /// Holds nothing, not even taken messages.
    pub fn is_empty(&self) -> bool {
        self.cache().count == 0
    }

    /// Given up: results of its messages are ignored from now on.
    pub fn drop_queue(&self) {
        self.dropped.store(true, Ordering::SeqCst);
    }

    /// Whether it was given up.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    /// The broker granted (or did not grant) the lock of the queue.
    pub fn set_locked(&self, locked: bool) {
        if locked {
            self.last_lock_ms.store(now_ms(), Ordering::Relaxed);
        }
        self.locked.store(locked, Ordering::Release);
    }

    /// Whether the lock is held, however old.
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    /// Whether the lock is held and was renewed lately.
    pub fn lock_is_valid(&self) -> bool {
        let age = now_ms() - self.last_lock_ms.load(Ordering::Relaxed);
        self.is_locked() && age <= LOCK_VALID.as_millis() as i64
    }

    /// A pull begins now.
    pub fn touch_pull(&self) {
        self.last_pull_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Was not pulled for too long.
    pub fn pull_expired(&self) -> bool {
        now_ms() - self.last_pull_ms.load(Ordering::Relaxed) > PULL_EXPIRED.as_millis() as i64
    }

    /// A listener runs with messages of the queue until the result is dropped; `None` if the queue
    /// was given up.
    pub fn work(&self) -> Option<Active<'_>> {
        let work = self.at_work.begin();
        // Seen after the count went up: whoever drops the queue and then waits sees either.
        (!self.is_dropped()).then_some(work)
    }

    /// Waits until no listener runs, `limit` at most; `true` if so. After
    /// [`drop_queue`](Self::drop_queue) none starts any more.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        self.at_work.wait_idle(limit)
    }

    /// What tools are told of it.
    pub fn info(&self, commit_offset: i64) -> ProcessQueueInfo {
        let cache = self.cache();
        let offset = |slot: Option<&Slot>| slot.map_or(0, |slot| slot.offset);
        let taken = |message: Option<&ReceivedMessage>| message.map_or(0, |m| m.queue_offset());
        ProcessQueueInfo {
            cached_msg_count: (cache.count - cache.taken.len()) as i32,
            cached_msg_max_offset: offset(cache.waiting.back()),
            cached_msg_min_offset: offset(cache.waiting.front()),
            cached_msg_size_in_mib: (cache.bytes >> 20) as i32,
            commit_offset,
            dropped: self.is_dropped(),
            last_consume_timestamp: self.last_consume_ms.load(Ordering::Relaxed),
            last_lock_timestamp: self.last_lock_ms.load(Ordering::Relaxed),
            last_pull_timestamp: self.last_pull_ms.load(Ordering::Relaxed),
            locked: self.is_locked(),
            transaction_msg_count: cache.taken.len() as i32,
            transaction_msg_max_offset: taken(cache.taken.back()),
            transaction_msg_min_offset: taken(cache.taken.front()),
            try_unlock_times: self.try_unlock_times.load(Ordering::Relaxed),
        }
    }
}

/// How many of something run, to be waited for.
#[derive(Debug, Default)]
pub struct Activity {
    state: Mutex<ActivityState>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct ActivityState {
    running: usize,
    waiters: usize,
}

/// One that runs; it ends with this.
#[derive(Debug)]
pub struct Active<'a>(&'a Activity);

impl Activity {
    /// One begins.
    pub fn begin(&self) -> Active<'_> {
        lock(&self.state).running += 1;
        Active(self)
    }

    /// Waits until none runs, `limit` at most; `true` if so.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        let mut state = lock(&self.state);
        state.waiters += 1;
        let waited = self.ended.wait_timeout_while(state, limit, |state| state.running > 0);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiters -= 1;
        state.running == 0
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.running -= 1;
        // Telling nobody would be a system call too.
        if state.running == 0 && state.waiters > 0 {
            self.0.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{origin, record};
    use super::*;

    fn messages(offsets: impl IntoIterator<Item = i64>) -> Vec<ReceivedMessage> {
        let body =
            offsets.into_iter().flat_map(|offset| record("T", offset, "", b"12345", 0)).collect();
        ReceivedMessage::read_all(body, &origin("T"))
    }

    fn queue() -> ProcessQueue {
        ProcessQueue::new(MessageQueue::default(), true)
    }

    #[test]
    fn the_commit_offset_is_the_first_unfinished() {
        let queue = queue();
        let all = messages(10..15);
        assert!(queue.put(&mut all.clone()));
        assert_eq!(queue.load(), Load { count: 5, bytes: 25, span: 4 });
        assert_eq!(queue.remove(&all[1..3]), Some(10));
        assert_eq!(queue.remove(&all[4..]), Some(10));
        assert_eq!(queue.load(), Load { count: 2, bytes: 10, span: 3 });
        assert!(queue.contains(&all[3]) && !queue.contains(&all[1]));
        assert_eq!(queue.remove(&all[..1]), Some(13));
        assert_eq!(queue.remove(&all[3..4]), Some(15));
        assert_eq!(queue.remove(&all), None);
        assert_eq!(queue.load(), Load::default());
    }

    #[test]
    fn a_message_pulled_twice_is_held_once() {
        let queue = queue();
        queue.put(&mut messages([3, 5]));
        let mut again = messages([4, 5, 3]);
        queue.put(&mut again);
        assert_eq!(again.iter().map(|m| m.queue_offset()).collect::<Vec<_>>(), [4]);
        assert_eq!(queue.load(), Load { count: 3, bytes: 15, span: 2 });
    }

    #[test]
    fn orderly_takes_commits_and_gives_back() {
        let queue = queue();
        let all = messages(0..5);
        assert!(queue.put(&mut all[..4].to_vec()));
        assert!(!queue.put(&mut all[4..].to_vec()), "a task drains it already");
        assert_eq!(queue.take(2).len(), 2);
        assert_eq!(queue.commit(), Some(2));
        assert_eq!(queue.take(2).len(), 2);
        let next = queue.take(1);
        assert_eq!(next[0].queue_offset(), 4);
        queue.make_again(1);
        assert_eq!(queue.info(2).transaction_msg_count, 2);
        assert_eq!(queue.take(1)[0].queue_offset(), 4);
        queue.roll_back();
        assert_eq!(queue.take(9).iter().map(|m| m.queue_offset()).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((queue.commit(), queue.commit()), (Some(5), None));
        assert!(queue.is_empty());
        assert!(queue.take(1).is_empty());
        assert!(queue.put(&mut messages([5])), "the task ended, a new one is asked for");
    }

    #[test]
    fn a_lock_ages() {
        let queue = queue();
        assert!(queue.lock_is_valid());
        queue.last_lock_ms.store(now_ms() - 31_000, Ordering::Relaxed);
        assert!(queue.is_locked() && !queue.lock_is_valid());
        queue.set_locked(true);
        assert!(queue.lock_is_valid());
        queue.set_locked(false);
        assert!(!queue.lock_is_valid());
    }
}
