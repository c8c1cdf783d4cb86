//! `ConcurrentService`: runs a listener on all threads of the pool, messages in any order.
//!
//! Pulled messages are cut into batches and queued; *drainers* on the pool take batch after batch.
//! A drainer that takes one while more wait calls another, up to the pool's threads. So a fast
//! listener is run by few threads without a wake-up a message, and a slow one by all.

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
///     .consume_batch(32usize)
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
    stopped: bool,
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
        if self.may_call(&mut lock(&self.pending)) {
            self.call_drainer(consumer);
        }
    }

    /// Queues pulled messages.
    pub fn submit(
        &self,
        consumer: &Arc<PushInner>,
        queue: &Arc<ProcessQueue>,
        mut messages: Vec<ReceivedMessage>,
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
            self.may_call(&mut pending)
        };
        if call {
            self.call_drainer(consumer);
        }
    }

    /// Counts one more drainer in, if there is work and room for it.
    fn may_call(&self, pending: &mut Pending) -> bool {
        let call = !pending.batches.is_empty() && pending.drainers < self.threads();
        pending.drainers += usize::from(call);
        call
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
            if call {
                self.call_drainer(consumer);
            }
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
                    service.submit(&consumer, &queue, again);
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
