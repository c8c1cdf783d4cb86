//! `OrderlyService`: runs a listener on the messages of a queue one after the other.
//!
//! A queue is locked for this client at its broker, and the lock renewed; without a fresh lock
//! nothing is consumed, so that two members never have a queue at the same time. One task a queue
//! drains its cache; messages leave the cache when they are committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::message::ReceivedMessage;
use super::process_queue::ProcessQueue;
use super::push::{PushInner, Service};
use crate::common::clock::now_ms;
use crate::common::compression::CompressionError;
use crate::common::sync::{catch_panic, lock};
use crate::common::thread_pool::ThreadPool;
use crate::remoting::protocol::bodies::{ConsumeDirectlyResult, MessageQueue};

/// How often locks are renewed.
pub(crate) const LOCK_INTERVAL: Duration = Duration::from_secs(20);
/// A queue yields its thread after so long.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// Pause after which a queue goes on that yielded, or got its lock.
const YIELD_DELAY: Duration = Duration::from_millis(10);
/// Pause after which a queue without a lock asks for it.
const LOCK_DELAY: Duration = Duration::from_millis(100);
/// Pause after which a queue whose lock was refused goes on.
const REFUSED_DELAY: Duration = Duration::from_secs(3);
/// Delay level with which a broker sends a message to the dead-letter topic at once.
const TO_DEAD_LETTERS: i32 = -1;
/// Tasks that may wait: one a queue.
const TASK_LIMIT: usize = 1 << 20;

/// What became of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderlyResult {
    /// Consumed; committed, unless `auto_commit` was switched off.
    Success,
    /// Deliver them again, after the queue has rested.
    Suspend,
    /// Everything since the last commit is done (without `auto_commit`).
    Commit,
    /// Deliver everything since the last commit again (without `auto_commit`).
    Rollback,
}

/// What a listener is told, and may say, about the messages of a call.
///
/// ```
/// use rocketmq::client::{ConsumerOptions, OrderlyResult};
/// use std::time::Duration;
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Steps", 2)?;
/// # let names = site.name_servers();
/// # fn book(_: &[u8]) -> bool { true }
///
/// let consumer = ConsumerOptions::new("ledger")
///     .name_servers(names)
///     .subscribe("Steps", "*")
///     .start_orderly(|messages, context| match messages.iter().all(|m| book(m.body())) {
///         true => OrderlyResult::Success,
///         false => {
///             // The queue waits; nothing in it overtakes.
///             context.suspend_time = Some(Duration::from_secs(3));
///             OrderlyResult::Suspend
///         }
///     })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OrderlyContext<'a> {
    /// The queue that they came from.
    pub queue: &'a MessageQueue,
    /// Success commits at once (the default).
    pub auto_commit: bool,
    /// How long the queue rests after [`OrderlyResult::Suspend`]; by default the option's.
    pub suspend_time: Option<Duration>,
}

/// A listener of messages in order.
pub(crate) type OrderlyListener =
    dyn Fn(&[ReceivedMessage], &mut OrderlyContext<'_>) -> OrderlyResult + Send + Sync;

/// Runs the listener.
pub(crate) struct OrderlyService {
    listener: Arc<OrderlyListener>,
    pool: Arc<ThreadPool>,
    /// Held while a broker is asked to lock or unlock queues: a renewal that is under way must not overtake
    /// the unlocking of a queue that is given up, or nobody could have it until the lock is too old.
    asking: Mutex<()>,
}

/// What a task does after a call of the listener.
enum Next {
    GoOn,
    Rest(Duration),
}

impl OrderlyService {
    pub fn new(listener: Arc<OrderlyListener>, threads: usize) -> Self {
        let pool = ThreadPool::new("ConsumeMsg_", threads, TASK_LIMIT);
        Self { listener, pool, asking: Mutex::default() }
    }

    /// Threads that run the listener at most.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Changes their number.
    pub fn set_threads(&self, threads: usize) {
        self.pool.set_threads(threads);
    }

    /// Starts the task of a queue.
    pub fn submit(&self, consumer: &Arc<PushInner>, queue: &Arc<ProcessQueue>) {
        let (weak, queue) = (Arc::downgrade(consumer), Arc::clone(queue));
        // Refused only by a pool that stops.
        let _ = self.pool.submit(Box::new(move || {
            if let Some(consumer) = weak.upgrade()
                && let Service::Orderly(service) = &consumer.service
            {
                catch_panic("consume", || service.drain(&consumer, &queue));
            }
        }));
    }

    fn submit_later(&self, consumer: &Arc<PushInner>, queue: &Arc<ProcessQueue>, delay: Duration) {
        let (weak, queue) = (Arc::downgrade(consumer), Arc::clone(queue));
        consumer.scheduler.once("consume", delay, move || {
            if let Some(consumer) = weak.upgrade()
                && let Service::Orderly(service) = &consumer.service
            {
                service.submit(&consumer, &queue);
            }
        });
    }

    /// Asks for the lock of a queue after `delay`, then goes on.
    fn lock_later(&self, consumer: &Arc<PushInner>, queue: &Arc<ProcessQueue>, delay: Duration) {
        let (weak, queue) = (Arc::downgrade(consumer), Arc::clone(queue));
        consumer.scheduler.once("lock", delay, move || {
            if let Some(consumer) = weak.upgrade()
                && let Service::Orderly(service) = &consumer.service
                && !queue.is_dropped()
            {
                let locked = service.lock_one(&consumer, &queue);
                let delay = if locked { YIELD_DELAY } else { REFUSED_DELAY };
                service.submit_later(&consumer, &queue, delay);
            }
        });
    }

    /// Consumes a queue until it is empty, given up, unlocked, suspended, or its time is over.
    fn drain(&self, consumer: &Arc<PushInner>, queue: &Arc<ProcessQueue>) {
        let needs_lock = consumer.is_clustering();
        let began = Instant::now();
        loop {
            if consumer.is_closed() {
                return;
            }
            if needs_lock && !queue.lock_is_valid() {
                return self.lock_later(consumer, queue, LOCK_DELAY);
            }
            if began.elapsed() > RUN_LIMIT {
                return self.submit_later(consumer, queue, YIELD_DELAY);
            }
            // Given up: whoever has the queue next consumes the rest.
            let Some(_work) = queue.work() else { return };
            let mut messages = queue.take(consumer.options.consume_batch);
            if messages.iter().any(|message| consumer.withheld(message).is_some()) {
                // What cannot be unpacked is not shown: one by one up to there.
                queue.make_again(messages.len());
                messages = queue.take(1);
            }
            let Some(first) = messages.first() else { return };
            let next = match consumer.withheld(first) {
                Some(error) => bury(consumer, queue, first, error),
                None => self.consume(consumer, queue, &messages),
            };
            if let Next::Rest(delay) = next {
                return self.submit_later(consumer, queue, delay);
            }
        }
    }

    fn consume(
        &self,
        consumer: &Arc<PushInner>,
        queue: &Arc<ProcessQueue>,
        messages: &[ReceivedMessage],
    ) -> Next {
        let now = now_ms();
        for message in messages {
            message.begin_consume(now);
        }
        let mut context =
            OrderlyContext { queue: &queue.queue, auto_commit: true, suspend_time: None };
        let after = consumer.before_listener(&queue.queue, messages);
        let began = Instant::now();
        let result = catch_panic("the listener", || (self.listener)(messages, &mut context));
        let is_success = |said| matches!(said, OrderlyResult::Success | OrderlyResult::Commit);
        consumer.after_listener(after, result.map(is_success), began);
        let result = result.unwrap_or(OrderlyResult::Suspend);
        let failed = if result == OrderlyResult::Suspend { messages.len() } else { 0 };
        let succeeded = messages.len() - failed;
        consumer.stats.consumed(&queue.topic, began.elapsed(), succeeded, failed);
        let suspend = context.suspend_time.unwrap_or(consumer.options.suspend_time);
        let suspend = suspend.clamp(Duration::from_millis(10), Duration::from_secs(30));
        let commit = || {
            commit(consumer, queue);
            Next::GoOn
        };
        match (context.auto_commit, result) {
            (true, OrderlyResult::Success | OrderlyResult::Commit | OrderlyResult::Rollback)
            | (false, OrderlyResult::Commit) => {
                if context.auto_commit && result == OrderlyResult::Rollback {
                    log::warn!("a listener rolls back, but commits automatically: committed");
                }
                commit()
            }
            (false, OrderlyResult::Success) => Next::GoOn,
            (false, OrderlyResult::Rollback) => {
                queue.roll_back();
                Next::Rest(suspend)
            }
            (auto_commit, OrderlyResult::Suspend) => {
                if must_repeat(consumer, messages) {
                    queue.make_again(messages.len());
                    Next::Rest(suspend)
                } else if auto_commit {
                    commit()
                } else {
                    Next::GoOn
                }
            }
        }
    }

    /// Gives messages to the listener on this thread, and does nothing else with them.
    pub fn consume_directly(&self, messages: &[ReceivedMessage]) -> ConsumeDirectlyResult {
        let queue = MessageQueue {
            broker_name: messages[0].broker_name().to_owned(),
            queue_id: messages[0].facts().queue_id,
            topic: messages[0].topic().to_owned(),
        };
        let mut context = OrderlyContext { queue: &queue, auto_commit: true, suspend_time: None };
        let result = catch_panic("the listener", || (self.listener)(messages, &mut context));
        let name = match result {
            Some(OrderlyResult::Success) => "CR_SUCCESS",
            Some(OrderlyResult::Suspend) => "CR_LATER",
            Some(OrderlyResult::Commit) => "CR_COMMIT",
            Some(OrderlyResult::Rollback) => "CR_ROLLBACK",
            None => "CR_THROW_EXCEPTION",
        };
        ConsumeDirectlyResult {
            auto_commit: context.auto_commit,
            consume_result: Some(name.to_owned()),
            order: true,
            remark: result.is_none().then(|| "the listener panicked".to_owned()),
            spent_time_millis: 0,
        }
    }

    /// Takes nothing more, and waits for listeners that run.
    pub fn stop(&self, limit: Duration) {
        self.pool.stop(limit);
    }

    /// Unlocks all queues, whose offsets are written.
    pub fn unlock_all(&self, consumer: &PushInner) {
        let queues = consumer.queues().all();
        for queue in &queues {
            queue.set_locked(false);
        }
        self.unlock(consumer, &queues);
    }

    /// Unlocks queues at their brokers, if they are locked there.
    pub fn unlock(&self, consumer: &PushInner, queues: &[Arc<ProcessQueue>]) {
        if !consumer.is_clustering() {
            return;
        }
        let _asking = lock(&self.asking);
        for names in by_broker(queues.iter().map(|queue| queue.queue.clone())) {
            let group = &consumer.options.group;
            let broker_name = names[0].broker_name.clone();
            if let Err(error) = consumer.instance.unlock_queues(group, names) {
                log::warn!("{group}: unlock at {broker_name}: {error}");
            }
        }
    }

    fn lock_one(&self, consumer: &PushInner, queue: &ProcessQueue) -> bool {
        let group = &consumer.options.group;
        let _asking = lock(&self.asking);
        if !is_held(queue) {
            return false;
        }
        match consumer.instance.lock_queues(group, vec![queue.queue.clone()]) {
            Ok(locked) => {
                queue.set_locked(locked.contains(&queue.queue));
                queue.is_locked()
            }
            Err(error) => {
                log::warn!("{group}: lock of {:?}: {error}", queue.queue);
                false
            }
        }
    }

    /// Renews the locks of all queues. When a broker does not answer they stay as they are, and age.
    fn renew(&self, consumer: &PushInner) {
        let group = &consumer.options.group;
        let _asking = lock(&self.asking);
        let mut queues = consumer.queues().all();
        queues.retain(|queue| is_held(queue));
        for names in by_broker(queues.iter().map(|queue| queue.queue.clone())) {
            match consumer.instance.lock_queues(group, names.clone()) {
                Ok(locked) => {
                    for queue in queues.iter().filter(|queue| names.contains(&queue.queue)) {
                        queue.set_locked(locked.contains(&queue.queue));
                    }
                }
                Err(error) => log::warn!("{group}: locks at {}: {error}", names[0].broker_name),
            }
        }
    }
}

/// Renews the locks of all queues.
pub(crate) fn renew_locks(consumer: &Arc<PushInner>) {
    if let Service::Orderly(service) = &consumer.service {
        service.renew(consumer);
    }
}

/// Whether nobody else may have a queue: it is ours, or given up while its listener runs on.
fn is_held(queue: &ProcessQueue) -> bool {
    !queue.is_dropped() || !queue.wait_idle(Duration::ZERO)
}

/// Notes that everything taken is done. It counts also if the queue is being given up: that waits for the
/// listener, and tells the broker after it.
fn commit(consumer: &PushInner, queue: &ProcessQueue) {
    if let Some(offset) = queue.commit() {
        consumer.offsets.update(&queue.queue, offset, false);
    }
}

/// Sends a message that cannot be unpacked to the dead-letter topic, as it is: it would hold up its
/// queue for ever. The broker does it, who keeps what says how it is packed.
fn bury(
    consumer: &PushInner,
    queue: &ProcessQueue,
    message: &ReceivedMessage,
    error: &CompressionError,
) -> Next {
    let (group, id) = (&consumer.options.group, message.message_id());
    if let Err(failure) = consumer.give_back(message, TO_DEAD_LETTERS) {
        log::warn!("{group}: {id} is kept: {failure}");
        queue.make_again(1);
        return Next::Rest(consumer.options.suspend_time);
    }
    log::error!("{group}: {id} is sent to the dead letters: {error}");
    consumer.stats.consumed(&queue.topic, Duration::ZERO, 0, 1);
    // With others that were not committed yet, it is committed with them.
    if queue.taken() == 1 {
        commit(consumer, queue);
    }
    Next::GoOn
}

/// Whether messages are consumed again. Those that were tried often enough go to the dead-letter
/// topic instead, by way of the retry topic.
fn must_repeat(consumer: &PushInner, messages: &[ReceivedMessage]) -> bool {
    let max = consumer.max_reconsume_times();
    let mut repeat = false;
    for message in messages {
        let times = message.reconsume_times();
        if times >= max {
            let sent = match message.unpack_error() {
                None => consumer.send_to_retry_topic(message, times),
                Some(_) => consumer.give_back(message, TO_DEAD_LETTERS),
            };
            match sent {
                Ok(()) => continue,
                Err(error) => {
                    let group = &consumer.options.group;
                    log::warn!("{group}: {} is kept: {error}", message.message_id());
                }
            }
        }
        message.add_reconsume_time();
        repeat = true;
    }
    repeat
}

fn by_broker(queues: impl IntoIterator<Item = MessageQueue>) -> Vec<Vec<MessageQueue>> {
    let mut table: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        table.entry(queue.broker_name.clone()).or_default().push(queue);
    }
    table.into_values().collect()
}
