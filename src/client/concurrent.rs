//! `ConcurrentService`: runs a listener on all threads of the pool, messages in any order.
//!
//! Pulled messages are cut into batches and queued; *drainers* on the pool take batch after batch.
//! A drainer that takes one while more wait calls another, up to the pool's threads. So a fast
//! listener is run by few threads without a wake-up a message, and a slow one by all.
//!
//! Waking a thread costs more than consuming a pull's worth of messages. While a queue is *behind*
//! (the broker has more than the pull brought), nobody notices a moment more, and the next pulls are
//! on their way: then a drainer is called when `WORTH_A_CALL` batches wait, or after
//! `PATIENCE`. A consumer that keeps up has its messages at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::config::MAX_CONSUME_THREADS;
use super::message::ReceivedMessage;
use super::process_queue::ProcessQueue;
use super::push::{PushInner, Service};
use crate::common::clock::now_ms;
use crate::common::sync::{catch_panic, lock};
use crate::common::thread_pool::ThreadPool;
use crate::remoting::protocol::bodies::{ConsumeDirectlyResult, MessageQueue};

/// Messages that could neither be consumed nor given back are tried again after this.
const AGAIN_DELAY: Duration = Duration::from_secs(5);
/// Level at which messages are given back that were consumed for too long: 10 s.
const EXPIRED_DELAY_LEVEL: i32 = 3;
/// Messages of a queue that one round of expiry gives back.
const EXPIRED_PER_ROUND: usize = 16;

/// So many batches of queues that are behind are worth a call of a drainer.
const WORTH_A_CALL: usize = 8;
/// Fewer of them wait at most so long for a drainer that is awake.
const PATIENCE: Duration = Duration::from_millis(1);

/// What became of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumeResult {
    /// Consumed.
    Success,
    /// To be delivered again later (clustering), or dropped (broadcasting).
    Later,
}

/// What a listener is told, and may say, about the messages of a call.
///
/// ```
/// use rocketmq::client::{ConsumeResult, ConsumerOptions};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
/// # fn bill(_: &[u8]) -> bool { true }
///
/// let consumer = ConsumerOptions::new("billing")
///     .name_servers(names)
///     .consume_batch(32)
///     .subscribe("Orders", "*")
///     .start_concurrent(|messages, context| {
///         // What comes after the first failure is delivered again in 10 s, wherever it came from.
///         context.succeeded = messages.iter().take_while(|message| bill(message.body())).count();
///         context.delay_level = 3;
///         ConsumeResult::Success
///     })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ConcurrentContext<'a> {
    /// The queue that they came from (of a retried message: of the retry topic).
    pub queue: &'a MessageQueue,
    /// Delay level for messages that are given back; 0: the broker chooses; negative: straight to
    /// the dead-letter topic.
    pub delay_level: i32,
    /// How many of the messages, from the first, were consumed, when the result is
    /// [`ConsumeResult::Success`]; the others are given back.
    pub succeeded: usize,
}

/// A listener of messages in any order.
pub(crate) type ConcurrentListener =
    dyn Fn(&[ReceivedMessage], &mut ConcurrentContext<'_>) -> ConsumeResult + Send + Sync;

struct Batch {
    queue: Arc<ProcessQueue>,
    messages: Vec<ReceivedMessage>,
}

#[derive(Default)]
struct Pending {
    batches: VecDeque<Batch>,
    drainers: usize,
    /// More messages come soon: calls may wait.
    behind: bool,
    /// Somebody looks in a moment whether batches still wait.
    watched: bool,
    stopped: bool,
}

/// Whether a drainer is to be called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    No,
    Now,
    /// After [`PATIENCE`], if batches still wait.
    Later,
}

/// Runs the listener.
pub(crate) struct ConcurrentService {
    listener: Arc<ConcurrentListener>,
    pool: Arc<ThreadPool>,
    pending: Mutex<Pending>,
}

impl ConcurrentService {
    pub fn new(listener: Arc<ConcurrentListener>, threads: usize) -> Self {
        let pool = ThreadPool::new("ConsumeMsg_", threads, MAX_CONSUME_THREADS);
        Self { listener, pool, pending: Mutex::default() }
    }

    /// Threads that run the listener at most.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Changes their number.
    pub fn set_threads(&self, consumer: &Arc<PushInner>, threads: usize) {
        self.pool.set_threads(threads);
        // One more drainer is enough: it calls the next.
        let call = self.may_call(&mut lock(&self.pending));
        self.call(consumer, call);
    }

    /// Queues pulled messages; `behind` says that more of them come soon.
    pub fn submit(
        &self,
        consumer: &Arc<PushInner>,
        queue: &Arc<ProcessQueue>,
        mut messages: Vec<ReceivedMessage>,
        behind: bool,
    ) {
        let size = consumer.options.consume_batch;
        let call = {
            let mut pending = lock(&self.pending);
            if pending.stopped {
                return;
            }
            while messages.len() > size {
                let rest = messages.split_off(size);
                let batch = Batch { queue: Arc::clone(queue), messages };
                pending.batches.push_back(batch);
                messages = rest;
            }
            pending.batches.push_back(Batch { queue: Arc::clone(queue), messages });
            pending.behind = behind;
            self.may_call(&mut pending)
        };
        self.call(consumer, call);
    }

    /// Whether one more drainer has work, which is counted in then.
    fn may_call(&self, pending: &mut Pending) -> Call {
        let waiting = pending.batches.len();
        if waiting == 0 || pending.drainers >= self.threads() {
            return Call::No;
        }
        if pending.behind && waiting < WORTH_A_CALL {
            let watched = std::mem::replace(&mut pending.watched, true);
            return if watched { Call::No } else { Call::Later };
        }
        pending.drainers += 1;
        Call::Now
    }

    fn call(&self, consumer: &Arc<PushInner>, call: Call) {
        match call {
            Call::No => {}
            Call::Now => self.call_drainer(consumer),
            Call::Later => {
                let weak = Arc::downgrade(consumer);
                consumer.scheduler.once("consume what waits", PATIENCE, move || {
                    if let Some(consumer) = weak.upgrade()
                        && let Service::Concurrent(service) = &consumer.service
                    {
                        service.end_of_patience(&consumer);
                    }
                });
            }
        }
    }

    /// Batches have waited long enough, if any do.
    fn end_of_patience(&self, consumer: &Arc<PushInner>) {
        let call = {
            let mut pending = lock(&self.pending);
            pending.watched = false;
            pending.behind = false;
            self.may_call(&mut pending)
        };
        self.call(consumer, call);
    }

    fn call_drainer(&self, consumer: &Arc<PushInner>) {
        let weak = Arc::downgrade(consumer);
        let task = Box::new(move || {
            if let Some(consumer) = weak.upgrade()
                && let Service::Concurrent(service) = &consumer.service
            {
                service.drain(&consumer);
            }
        });
        if self.pool.submit(task).is_err() {
            lock(&self.pending).drainers -= 1;
        }
    }

    fn drain(&self, consumer: &Arc<PushInner>) {
        loop {
            let (batch, call) = {
                let mut pending = lock(&self.pending);
                let surplus = pending.drainers > self.threads();
                let batch = if surplus { None } else { pending.batches.pop_front() };
                let Some(batch) = batch else {
                    pending.drainers -= 1;
                    return;
                };
                let call = self.may_call(&mut pending);
                (batch, call)
            };
            self.call(consumer, call);
            // A panic of the listener is caught where it is called; this one would be a bug of
            // ours, and must not cost a drainer.
            catch_panic("consume", || self.consume(consumer, batch));
        }
    }

    fn consume(&self, consumer: &Arc<PushInner>, batch: Batch) {
        let Batch { queue, mut messages } = batch;
        let Some(_work) = queue.work() else { return };
        if messages.iter().any(|message| consumer.withheld(message).is_some()) {
            messages = self.give_back_packed(consumer, &queue, messages);
            if messages.is_empty() {
                return;
            }
        }
        let now = now_ms();
        for message in &messages {
            message.begin_consume(now);
        }
        let mut context =
            ConcurrentContext { queue: &queue.queue, delay_level: 0, succeeded: usize::MAX };
        let after = consumer.before_listener(&queue.queue, &messages);
        let began = Instant::now();
        let result = catch_panic("the listener", || (self.listener)(&messages, &mut context));
        let said = result.map(|result| result == ConsumeResult::Success);
        consumer.after_listener(after, said, began);
        let succeeded = match result {
            Some(ConsumeResult::Success) => context.succeeded.min(messages.len()),
            Some(ConsumeResult::Later) | None => 0,
        };
        let failed = messages.len() - succeeded;
        consumer.stats.consumed(&queue.topic, began.elapsed(), succeeded, failed);
        let level = context.delay_level;
        self.finish(consumer, &queue, messages, succeeded, level);
    }

    /// Gives back what cannot be unpacked, and leaves the rest.
    fn give_back_packed(
        &self,
        consumer: &Arc<PushInner>,
        queue: &Arc<ProcessQueue>,
        messages: Vec<ReceivedMessage>,
    ) -> Vec<ReceivedMessage> {
        let (packed, rest): (Vec<_>, _) =
            messages.into_iter().partition(|message| consumer.withheld(message).is_some());
        for message in &packed {
            if let Some(error) = consumer.withheld(message) {
                let (group, id) = (&consumer.options.group, message.message_id());
                log::error!("{group}: {id} is given back: {error}");
            }
        }
        consumer.stats.consumed(&queue.topic, Duration::ZERO, 0, packed.len());
        self.finish(consumer, queue, packed, 0, 0);
        rest
    }

    fn finish(
        &self,
        consumer: &Arc<PushInner>,
        queue: &Arc<ProcessQueue>,
        mut messages: Vec<ReceivedMessage>,
        succeeded: usize,
        delay_level: i32,
    ) {
        if queue.is_dropped() {
            return;
        }
        let mut again = Vec::new();
        if succeeded < messages.len() {
            let group = &consumer.options.group;
            for message in messages.split_off(succeeded) {
                if !consumer.is_clustering() {
                    let id = message.message_id();
                    log::warn!("{group}: {id} is dropped: broadcasting has no retry");
                    messages.push(message);
                    continue;
                }
                // What expired meanwhile was given back by the cleaning.
                if !queue.contains(&message) {
                    continue;
                }
                match consumer.give_back(&message, delay_level) {
                    Ok(()) => messages.push(message),
                    Err(error) => {
                        log::warn!("{group}: {} is kept: {error}", message.message_id());
                        message.add_reconsume_time();
                        again.push(message);
                    }
                }
            }
        }
        if let Some(offset) = queue.remove(&messages)
            && !queue.is_dropped()
        {
            consumer.offsets.update(&queue.queue, offset, true);
        }
        if !again.is_empty() {
            let (weak, queue) = (Arc::downgrade(consumer), Arc::clone(queue));
            consumer.scheduler.once("consume again", AGAIN_DELAY, move || {
                if let Some(consumer) = weak.upgrade()
                    && let Service::Concurrent(service) = &consumer.service
                {
                    service.submit(&consumer, &queue, again, false);
                }
            });
        }
    }

    /// Gives messages to the listener on this thread, and does nothing else with them.
    pub fn consume_directly(&self, messages: &[ReceivedMessage]) -> ConsumeDirectlyResult {
        let queue = MessageQueue {
            broker_name: messages[0].broker_name().to_owned(),
            queue_id: messages[0].facts().queue_id,
            topic: messages[0].topic().to_owned(),
        };
        let mut context =
            ConcurrentContext { queue: &queue, delay_level: 0, succeeded: usize::MAX };
        let result = catch_panic("the listener", || (self.listener)(messages, &mut context));
        let name = match result {
            Some(ConsumeResult::Success) => "CR_SUCCESS",
            Some(ConsumeResult::Later) => "CR_LATER",
            None => "CR_THROW_EXCEPTION",
        };
        ConsumeDirectlyResult {
            auto_commit: true,
            consume_result: Some(name.to_owned()),
            order: false,
            remark: result.is_none().then(|| "the listener panicked".to_owned()),
            spent_time_millis: 0,
        }
    }

    /// Takes nothing more, and waits for listeners that run.
    pub fn stop(&self, limit: Duration) {
        {
            let mut pending = lock(&self.pending);
            pending.stopped = true;
            pending.batches.clear();
        }
        self.pool.stop(limit);
    }
}

/// Gives back what was consumed for too long, so that it does not hold up the offset for ever.
pub(crate) fn expire(consumer: &Arc<PushInner>) {
    let timeout = consumer.options.consume_timeout.as_millis() as i64;
    for queue in consumer.queues().all() {
        for _ in 0..EXPIRED_PER_ROUND {
            let Some(first) = queue.first() else { break };
            let began = first.consume_began_ms();
            if began == 0 || now_ms() - began < timeout || queue.is_dropped() {
                break;
            }
            let id = first.message_id();
            match consumer.give_back(&first, EXPIRED_DELAY_LEVEL) {
                Ok(()) => {
                    log::warn!("{}: {id} was consumed for too long", consumer.options.group);
                    queue.remove(&[first]);
                }
                Err(error) => {
                    log::warn!("{}: {id} is not given back: {error}", consumer.options.group);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_batches_of_a_queue_that_is_behind_wait_a_moment_for_a_drainer() {
        let service = ConcurrentService::new(Arc::new(|_, _| ConsumeResult::Success), 2);
        let queue = Arc::new(ProcessQueue::new(MessageQueue::default(), true));
        let mut pending = Pending { behind: true, ..Pending::default() };
        assert!(service.may_call(&mut pending) == Call::No, "nothing waits");
        let add = |pending: &mut Pending| {
            pending.batches.push_back(Batch { queue: Arc::clone(&queue), messages: Vec::new() });
            service.may_call(pending)
        };
        assert!(add(&mut pending) == Call::Later);
        while pending.batches.len() < WORTH_A_CALL - 1 {
            assert!(add(&mut pending) == Call::No, "somebody looks soon");
        }
        assert!(add(&mut pending) == Call::Now, "many wait");
        pending.behind = false;
        assert!(add(&mut pending) == Call::Now, "the queue keeps up");
        assert!(add(&mut pending) == Call::No, "all drainers are there");
        assert_eq!(pending.drainers, 2);
    }
}
