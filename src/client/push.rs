//! The works of a push consumer: the pull loop, taking and giving up queues, giving messages back.
//!
//! One pull a queue is always under way. Its answer puts messages into the [`ProcessQueue`], hands
//! them to the [`concurrent`](super::concurrent) or [`orderly`](super::orderly) service, and starts
//! the next pull from the very same thread: the one that read the answer, if the consumer is
//! concurrent and nothing of the application looks at answers; else a callback thread. A pull that has to wait (cache full, error,
//! suspended) is started by the instance's `PullMessageSvc` later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::broker_calls::{DEFAULT_RECONSUME_TIMES, SendBack};
use super::concurrent::ConcurrentService;
use super::config::{ConsumerOptions, Deadline, MessageModel};
use super::error::ClientError;
use super::hooks::{self, AfterConsume, ConsumeCall, Consumed};
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::offset_store::Offsets;
use super::orderly::OrderlyService;
use super::process_queue::{Activity, ProcessQueue};
use super::pull::{Pull, PullResult, PullStatus};
use super::rebalance::{self, QueueOwner, QueueTable, Rules, first_offset};
use super::sender::Sender;
use super::stats::ConsumeStats;
use super::subscription::Subscriptions;
use super::trace::Tracer;
use crate::common::clock::now_ms;
use crate::common::compression::CompressionError;
use crate::common::properties;
use crate::common::scheduler::Scheduler;
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::{ConsumeDirectlyResult, ConsumerRunningInfo, MessageQueue};
use crate::remoting::protocol::heartbeat::{ConsumeType, ConsumerData, SubscriptionData};
use crate::remoting::protocol::response_code;

/// A queue that is full, or a consumer that is suspended, is looked at again after this.
const FULL_DELAY: Duration = Duration::from_millis(50);
/// See [`FULL_DELAY`].
const SUSPENDED_DELAY: Duration = Duration::from_secs(1);
/// Pause after a broker asked to slow down.
const FLOW_CONTROL_DELAY: Duration = Duration::from_millis(20);
/// How long queues that are given up wait for their orderly listeners before they stay for a round.
const GIVE_UP_WAIT: Duration = Duration::from_millis(500);
/// How long a reset waits for listeners.
const RESET_WAIT: Duration = Duration::from_secs(10);
/// How long a shutdown waits for a round of rebalancing that runs.
const ROUND_WAIT: Duration = Duration::from_secs(5);

/// How the listener is run.
pub(crate) enum Service {
    /// Messages in any order, on all threads.
    Concurrent(ConcurrentService),
    /// Messages of a queue one after the other.
    Orderly(OrderlyService),
}

impl Service {
    /// Threads that run the listener at most.
    pub fn threads(&self) -> usize {
        match self {
            Self::Concurrent(service) => service.threads(),
            Self::Orderly(service) => service.threads(),
        }
    }
}

/// What the threads of a push consumer share.
pub(crate) struct PushInner {
    pub options: ConsumerOptions,
    tracer: Option<Tracer>,
    pub instance: Arc<Instance>,
    pub offsets: Offsets,
    pub stats: ConsumeStats,
    pub scheduler: Arc<Scheduler>,
    pub subscriptions: Subscriptions,
    pub service: Service,
    /// Sends what could not be given back.
    pub sender: Sender,
    /// The group's own retry topic.
    pub retry_topic: Arc<str>,
    pub suspended: AtomicBool,
    queues: QueueTable,
    /// Rounds of rebalancing that run.
    rounds: Activity,
    /// One at a time changes which queues there are: a round, or who moves a queue to another offset.
    changing: Mutex<()>,
    /// A queue could not be taken in the last round.
    incomplete: AtomicBool,
    pub started_ms: i64,
    closed: AtomicBool,
    /// Limits of a queue's cache; those of a topic are divided among its queues.
    pub max_cached: AtomicUsize,
    /// See `max_cached`.
    pub max_cached_bytes: AtomicUsize,
    myself: Weak<Self>,
}

/// What a push consumer is made of.
pub(crate) struct PushParts {
    pub options: ConsumerOptions,
    pub tracer: Option<Tracer>,
    pub instance: Arc<Instance>,
    pub offsets: Offsets,
    pub scheduler: Arc<Scheduler>,
    pub subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    pub service: Service,
    pub sender: Sender,
    pub retry_topic: Arc<str>,
}

/// The pulls of one queue: the next one, to be precise.
struct PullTurn {
    queue: Arc<ProcessQueue>,
    next_offset: i64,
}

impl PushInner {
    pub fn new(parts: PushParts) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            max_cached: AtomicUsize::new(parts.options.cached_messages_per_queue),
            max_cached_bytes: AtomicUsize::new(parts.options.cached_mib_per_queue << 20),
            options: parts.options,
            tracer: parts.tracer,
            instance: parts.instance,
            offsets: parts.offsets,
            stats: ConsumeStats::default(),
            scheduler: parts.scheduler,
            subscriptions: Subscriptions::new(parts.subscriptions),
            service: parts.service,
            sender: parts.sender,
            retry_topic: parts.retry_topic,
            suspended: AtomicBool::new(false),
            queues: QueueTable::default(),
            rounds: Activity::default(),
            changing: Mutex::default(),
            incomplete: AtomicBool::new(false),
            started_ms: now_ms(),
            closed: AtomicBool::new(false),
            myself: Weak::clone(myself),
        })
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn is_clustering(&self) -> bool {
        self.options.message_model == MessageModel::Clustering
    }

    pub fn queues(&self) -> &QueueTable {
        &self.queues
    }

    pub fn is_orderly(&self) -> bool {
        matches!(self.service, Service::Orderly(_))
    }

    /// Deliveries before the dead-letter topic.
    pub fn max_reconsume_times(&self) -> i32 {
        match self.options.max_reconsume_times {
            -1 if self.is_orderly() => i32::MAX,
            -1 => DEFAULT_RECONSUME_TIMES,
            times => times,
        }
    }

    // Pulling.

    fn pull_later(self: &Arc<Self>, turn: PullTurn, delay: Duration) {
        let pull = move |consumer: &Arc<Self>| consumer.pull(turn);
        self.instance.pull_later(Arc::downgrade(self), delay, pull);
    }

    /// Whether the queue must rest before it is pulled, and for how long.
    fn rest(&self, turn: &PullTurn) -> Option<Duration> {
        if self.suspended.load(Ordering::Acquire) {
            return Some(SUSPENDED_DELAY);
        }
        let load = turn.queue.load();
        let full = load.count > self.max_cached.load(Ordering::Relaxed)
            || load.bytes > self.max_cached_bytes.load(Ordering::Relaxed)
            || !self.is_orderly() && load.span > self.options.max_span;
        full.then_some(FULL_DELAY)
    }

    fn pull(self: &Arc<Self>, turn: PullTurn) {
        if turn.queue.is_dropped() || self.is_closed() {
            return;
        }
        turn.queue.touch_pull();
        if let Some(delay) = self.rest(&turn) {
            return self.pull_later(turn, delay);
        }
        let error_delay = self.options.pull_error_delay;
        if self.is_orderly() && self.is_clustering() && !turn.queue.is_locked() {
            return self.pull_later(turn, error_delay);
        }
        let Some(subscription) = self.subscriptions.get(&turn.queue.topic) else {
            return self.pull_later(turn, error_delay);
        };
        let commit = self.is_clustering().then(|| self.offsets.in_memory(&turn.queue.queue));
        let queue = Arc::clone(&turn.queue);
        let pull = Pull {
            group: &self.options.group,
            queue: &queue,
            offset: turn.next_offset,
            max_messages: self.options.pull_batch,
            commit: commit.flatten().filter(|offset| *offset > 0),
            suspend: Some(self.options.suspend_pull),
            timeout: self.options.pull_timeout,
            with_expression: self.options.post_subscription,
            lite: false,
            subscription: &subscription,
            retry_topic: self.is_clustering().then(|| Arc::clone(&self.retry_topic)),
            client: &self.options.client,
        };
        let (consumer, began) = (Arc::downgrade(self), Instant::now());
        let next_offset = turn.next_offset;
        let issued = pull.call_async(&self.instance, true, move |result| {
            if let Some(consumer) = consumer.upgrade() {
                consumer.pulled(turn, began, result);
            }
        });
        if let Err(error) = issued {
            log::warn!("{}: pull of {:?}: {error}", self.options.group, queue.queue);
            self.instance.update_routes_soon();
            self.pull_later(PullTurn { queue, next_offset }, error_delay);
        }
    }

    /// The next pull of a queue, from the thread that learned the outcome of the last one, unless it
    /// may have to wait.
    fn pull_on(self: &Arc<Self>, turn: PullTurn) {
        if Pull::is_ready(&self.instance, &self.options.client, &turn.queue) {
            self.pull(turn);
        } else {
            self.pull_later(turn, Duration::ZERO);
        }
    }

    fn pulled(
        self: &Arc<Self>,
        mut turn: PullTurn,
        began: Instant,
        result: Result<PullResult, ClientError>,
    ) {
        let mut result = match result {
            Ok(result) => result,
            Err(error) => return self.pull_failed(turn, &error),
        };
        turn.next_offset = result.next_offset;
        match result.status {
            PullStatus::Found if result.messages.is_empty() => self.pull_on(turn),
            PullStatus::Found => {
                let queue = &turn.queue;
                self.stats.pulled(&queue.topic, began.elapsed(), result.messages.len());
                let start = queue.put(&mut result.messages);
                let behind = result.next_offset < result.max_offset;
                match &self.service {
                    // What is in the cache already is being consumed already.
                    Service::Concurrent(_) if result.messages.is_empty() => {}
                    Service::Concurrent(service) => {
                        service.submit(self, queue, result.messages, behind);
                    }
                    Service::Orderly(service) if start => service.submit(self, queue),
                    Service::Orderly(_) => {}
                }
                if self.options.pull_interval.is_zero() {
                    self.pull_on(turn);
                } else {
                    self.pull_later(turn, self.options.pull_interval);
                }
            }
            PullStatus::NoNewMessage | PullStatus::NoMatch => {
                // At work: who drops the queue to move its offset waits until this is done.
                if let Some(_work) = turn.queue.work()
                    && turn.queue.is_empty()
                {
                    self.offsets.update(&turn.queue.queue, result.next_offset, true);
                }
                self.pull_on(turn);
            }
            PullStatus::OffsetIllegal => self.offset_illegal(&turn),
        }
    }

    fn pull_failed(self: &Arc<Self>, turn: PullTurn, error: &ClientError) {
        if turn.queue.is_dropped() || self.is_closed() {
            return;
        }
        let delay = match error {
            ClientError::Broker { code: response_code::FLOW_CONTROL, .. } => FLOW_CONTROL_DELAY,
            _ => self.options.pull_error_delay,
        };
        match error {
            // The broker restarted or dropped us: it is told of us again, not in half a minute.
            ClientError::Broker {
                code: response_code::SUBSCRIPTION_NOT_EXIST | response_code::SUBSCRIPTION_NOT_LATEST,
                ..
            } => {
                log::info!("{}: {:?}: {error}", self.options.group, turn.queue.queue);
                self.instance.heartbeat_soon(FULL_DELAY);
            }
            _ => {
                log::warn!("{}: {:?}: {error}", self.options.group, turn.queue.queue);
                if matches!(error, ClientError::Remoting(_)) {
                    self.instance.update_routes_soon();
                }
            }
        }
        self.pull_later(turn, delay);
    }

    /// The broker does not have the offset: the queue is taken anew at the offset that it has.
    fn offset_illegal(self: &Arc<Self>, turn: &PullTurn) {
        log::warn!(
            "{}: {:?}: the broker does not have the offset; going on at {}",
            self.options.group,
            turn.queue.queue,
            turn.next_offset
        );
        turn.queue.drop_queue();
        turn.queue.clear();
        let (consumer, offset) = (Arc::downgrade(self), turn.next_offset);
        let queue = Arc::clone(&turn.queue);
        self.scheduler.once("offset illegal", Duration::ZERO, move || {
            let Some(consumer) = consumer.upgrade() else { return };
            let changing = lock(&consumer.changing);
            // A round may have given it up meanwhile: its successor finds out by itself.
            let known = consumer.queues.get(&queue.queue);
            if known.is_some_and(|known| Arc::ptr_eq(&known, &queue)) {
                consumer.offsets.update(&queue.queue, offset, false);
                rebalance::remove(&*consumer, vec![queue]);
            }
            drop(changing);
            consumer.instance.rebalance_soon();
        });
    }

    fn pull_from(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let stored = self.offsets.stored(queue)?;
        let (from, time) = (self.options.consume_from, self.options.consume_timestamp);
        first_offset(&self.instance, stored, from, time, queue)
    }

    // Hooks.

    /// Tells the hooks that the listener is about to be called.
    pub fn before_listener(
        &self,
        queue: &MessageQueue,
        messages: &[ReceivedMessage],
    ) -> Vec<AfterConsume> {
        let hooks = &self.options.client.hooks;
        if hooks.is_empty() {
            return Vec::new();
        }
        hooks.consume(&ConsumeCall { group: &self.options.group, queue, messages })
    }

    /// Tells them what came of it.
    pub fn after_listener(&self, after: Vec<AfterConsume>, said: Option<bool>, began: Instant) {
        if !after.is_empty() {
            let consumed = Consumed::new(said, began.elapsed(), self.options.consume_timeout);
            hooks::consumed(after, &consumed);
        }
    }

    // Giving back.

    /// Why a message is not shown to the listener, but given back.
    pub fn withheld<'a>(&self, message: &'a ReceivedMessage) -> Option<&'a CompressionError> {
        if self.options.packed_bodies || !self.is_clustering() {
            return None;
        }
        message.unpack_error()
    }

    /// Gives a message back to the group: by the broker, else by an ordinary send to the retry
    /// topic.
    pub fn give_back(
        &self,
        message: &ReceivedMessage,
        delay_level: i32,
    ) -> Result<(), ClientError> {
        let max_reconsume_times = self.max_reconsume_times();
        let how = SendBack { group: &self.options.group, delay_level, max_reconsume_times };
        match self.instance.send_back(message, &how) {
            Ok(()) => Ok(()),
            Err(ClientError::NotRunning) => Err(ClientError::NotRunning),
            // A send would say that it is not packed.
            Err(error) if message.unpack_error().is_some() => Err(error),
            Err(error) => {
                let id = message.message_id();
                log::warn!("{}: {id} is sent, not given back: {error}", self.options.group);
                self.send_to_retry_topic(message, message.reconsume_times() + 1)
            }
        }
    }

    /// Sends a copy to the retry topic, as the broker would have stored it.
    pub fn send_to_retry_topic(
        &self,
        message: &ReceivedMessage,
        reconsume_times: i32,
    ) -> Result<(), ClientError> {
        let mut copy = message.to_message();
        copy.topic = self.retry_topic.to_string();
        let own = &mut copy.properties;
        if own.get(properties::ORIGIN_MESSAGE_ID).is_none() {
            own.set(properties::ORIGIN_MESSAGE_ID, message.offset_message_id());
        }
        own.set(properties::RETRY_TOPIC, self.options.client.namespace.wrap(message.topic()));
        own.set(properties::RECONSUME_TIME, reconsume_times.to_string());
        own.set(properties::MAX_RECONSUME_TIMES, self.max_reconsume_times().to_string());
        own.set(properties::DELAY, (3 + message.reconsume_times()).to_string());
        own.remove(properties::TRANSACTION_PREPARED);
        let prepared = self.sender.prepare(&copy)?;
        self.sender.send(&prepared, None, self.sender.options.send_timeout).map(drop)
    }

    // Rebalancing.

    fn rebalance_topic(&self, rules: &Rules<'_>, topic: &str) -> Vec<Arc<ProcessQueue>> {
        let Some((all, target)) = rules.target(topic) else { return Vec::new() };
        let (new, changed) = rebalance::apply(self, topic, &target);
        if changed && *topic != *self.retry_topic {
            let options = &self.options;
            let own = self.queues.names_of(topic);
            options.assignment_listener.tell(&options.client.namespace, topic, all, own);
        }
        if changed {
            log::info!(
                "{} {topic}: {} queues, {} of them new",
                self.options.group,
                target.len(),
                new.len()
            );
            self.subscriptions.touch(topic);
            self.divide_limits();
        }
        if changed { new } else { Vec::new() }
    }

    fn try_take(&self, queue: &MessageQueue) -> Option<Arc<ProcessQueue>> {
        if self.is_closed() {
            return None;
        }
        let needs_lock = self.is_orderly() && self.is_clustering();
        if needs_lock {
            match self.instance.lock_queues(&self.options.group, vec![queue.clone()]) {
                Ok(locked) if locked.contains(queue) => {}
                Ok(_) => return None,
                Err(error) => {
                    log::warn!("{}: lock of {queue:?}: {error}", self.options.group);
                    return None;
                }
            }
        }
        self.offsets.forget(queue);
        match self.pull_from(queue) {
            Ok(offset) => {
                let taken = ProcessQueue::new(queue.clone(), true);
                taken.start_offset.store(offset, Ordering::Relaxed);
                Some(Arc::new(taken))
            }
            Err(error) => {
                log::warn!("{}: first offset of {queue:?}: {error}", self.options.group);
                None
            }
        }
    }

    /// Gives up those of a topic's queues that are in the table, with all that they hold. The next round
    /// of rebalancing takes anew what it finds gone from the table.
    fn drop_cached(
        &self,
        topic: &str,
        among: &BTreeMap<MessageQueue, i64>,
    ) -> Vec<Arc<ProcessQueue>> {
        let mut queues = self.queues.of_topic(topic);
        queues.retain(|queue| among.contains_key(&queue.queue));
        for queue in &queues {
            queue.drop_queue();
            queue.clear();
        }
        queues
    }

    fn divide_limits(&self) {
        let queues = self.queues.len().max(1);
        let share = |of_topic: i64| (of_topic as usize / queues).max(1);
        if self.options.cached_messages_per_topic != -1 {
            let share = share(self.options.cached_messages_per_topic);
            self.max_cached.store(share, Ordering::Relaxed);
        }
        if self.options.cached_mib_per_topic != -1 {
            let share = share(self.options.cached_mib_per_topic);
            self.max_cached_bytes.store(share << 20, Ordering::Relaxed);
        }
    }

    /// Ends it: the service first, then offsets, then the group's membership. Idempotent.
    pub fn shutdown(self: &Arc<Self>) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // Whoever could still lock queues comes to an end before all are unlocked.
        self.scheduler.stop();
        self.rounds.wait_idle(ROUND_WAIT);
        match &self.service {
            Service::Concurrent(service) => service.stop(self.options.shutdown_wait),
            Service::Orderly(service) => service.stop(self.options.shutdown_wait),
        }
        // A failure is logged; what was consumed since comes again.
        let _ = self.offsets.persist_now(&self.queues.names());
        // After that: who gets a lock next asks at once where we were.
        if let Service::Orderly(service) = &self.service {
            service.unlock_all(self);
        }
        self.queues.drop_all();
        self.instance.remove_consumer(&self.options.group);
        self.instance.close();
        if let Some(tracer) = &self.tracer {
            tracer.stop();
        }
    }
}

impl QueueOwner for PushInner {
    fn queues(&self) -> &QueueTable {
        &self.queues
    }

    fn take(&self, queue: &MessageQueue) -> Option<Arc<ProcessQueue>> {
        let taken = self.try_take(queue);
        if taken.is_none() {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        taken
    }

    fn give_up(&self, queues: Vec<Arc<ProcessQueue>>) -> Vec<Arc<ProcessQueue>> {
        let deadline = Deadline::after(GIVE_UP_WAIT);
        let idle = |queue: &Arc<ProcessQueue>| {
            let left = deadline.left().unwrap_or_default();
            let idle = !self.is_orderly() || queue.wait_idle(left);
            if !idle {
                queue.try_unlock_times.fetch_add(1, Ordering::Relaxed);
            }
            idle
        };
        let gone: Vec<_> = queues.into_iter().filter(idle).collect();
        rebalance::settle(&self.offsets, &gone);
        if let Service::Orderly(service) = &self.service {
            service.unlock(self, &gone);
        }
        gone
    }
}

impl ConsumerRole for PushInner {
    fn data(&self) -> ConsumerData {
        ConsumerData {
            consume_from_where: Some(self.options.consume_from),
            consume_type: Some(ConsumeType::Passively),
            group_name: Some(self.options.group.clone()),
            message_model: Some(self.options.message_model),
            subscription_data_set: self.subscriptions.all(),
            unit_mode: self.options.client.unit_mode,
        }
    }

    fn topics(&self) -> Vec<String> {
        self.subscriptions.topics()
    }

    fn rebalance(&self) {
        let Some(consumer) = self.myself.upgrade() else { return };
        let _round = self.rounds.begin();
        if self.is_closed() || self.suspended.load(Ordering::Acquire) {
            return;
        }
        // Who changes them now asks for a round when he is done.
        let Ok(_changing) = self.changing.try_lock() else { return };
        self.incomplete.store(false, Ordering::Relaxed);
        let rules = Rules {
            instance: &self.instance,
            group: &self.options.group,
            model: self.options.message_model,
            strategy: &self.options.strategy,
        };
        let topics = self.topics();
        let mut new = Vec::new();
        for topic in &topics {
            if !self.is_closed() {
                new.extend(self.rebalance_topic(&rules, topic));
            }
        }
        let orphans = self.queues.all();
        let orphans = orphans.into_iter().filter(|queue| !topics.contains(&queue.queue.topic));
        let changed = rebalance::remove(self, orphans.collect()) || !new.is_empty();
        if changed {
            // Before the first pull, or the broker would find its subscription too old.
            self.instance.heartbeat();
        }
        for queue in new {
            let next_offset = queue.start_offset.load(Ordering::Relaxed);
            // What comes from here on is the group's, also if this member goes before it has consumed any.
            self.offsets.update(&queue.queue, next_offset, true);
            let turn = PullTurn { queue, next_offset };
            consumer.pull_later(turn, Duration::ZERO);
        }
        let unfinished = self.queues.all().iter().any(|queue| queue.is_dropped());
        if unfinished || self.incomplete.load(Ordering::Relaxed) {
            let instance = Arc::downgrade(&self.instance);
            self.scheduler.once("rebalance", SUSPENDED_DELAY, move || {
                if let Some(instance) = instance.upgrade() {
                    instance.rebalance_soon();
                }
            });
        }
    }

    fn persist_offsets(&self) {
        self.offsets.persist_only(&self.queues.names());
    }

    fn reset_offsets(self: Arc<Self>, topic: &str, offsets: BTreeMap<MessageQueue, i64>) {
        let before = self.drop_cached(topic, &offsets);
        let (consumer, topic) = (Arc::downgrade(&self), topic.to_owned());
        self.scheduler.once("reset offsets", Duration::ZERO, move || {
            let Some(consumer) = consumer.upgrade() else { return };
            let changing = lock(&consumer.changing);
            // Again: a round that ran just then has taken them anew, where they were before.
            let queues = consumer.drop_cached(&topic, &offsets);
            let deadline = Deadline::after(RESET_WAIT);
            for queue in before.iter().chain(&queues) {
                queue.wait_idle(deadline.left().unwrap_or_default());
            }
            for queue in &queues {
                consumer.offsets.update(&queue.queue, offsets[&queue.queue], false);
            }
            rebalance::remove(&*consumer, queues);
            drop(changing);
            consumer.instance.rebalance_soon();
        });
    }

    fn offsets(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        self.offsets.snapshot(topic)
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        self.describe()
    }

    fn consume_directly(&self, message: ReceivedMessage) -> Option<ConsumeDirectlyResult> {
        let began = Instant::now();
        if let Some(error) = self.withheld(&message) {
            return Some(ConsumeDirectlyResult {
                auto_commit: true,
                consume_result: Some("CR_LATER".to_owned()),
                order: self.is_orderly(),
                remark: Some(error.to_string()),
                spent_time_millis: 0,
            });
        }
        let messages = [message];
        let mut result = match &self.service {
            Service::Concurrent(service) => service.consume_directly(&messages),
            Service::Orderly(service) => service.consume_directly(&messages),
        };
        result.spent_time_millis = began.elapsed().as_millis() as i64;
        Some(result)
    }
}
