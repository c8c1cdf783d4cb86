//! The works of a lite pull consumer: pulls that run ahead, batches that wait to be polled.
//!
//! Each queue has one pull under way; its answers wait as batches until a poll hands them out. A
//! seek starts a new *generation* of the queue: what an older one brings is discarded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use super::broker_calls::OffsetAt;
use super::config::{Deadline, LitePullOptions};
use super::error::ClientError;
use super::hooks::{self, ConsumeCall, Consumed};
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::offset_store::Offsets;
use super::process_queue::ProcessQueue;
use super::pull::{Pull, PullResult, PullStatus};
use super::rebalance::{self, QueueOwner, QueueTable, Rules, first_offset};
use super::subscription::Subscriptions;
use super::topic_watch::TopicWatch;
use super::trace::Tracer;
use crate::common::clock::{deadline_after, now_ms};
use crate::common::sync::lock;
use crate::common::topic::retry_topic;
use crate::remoting::protocol::bodies::{ConsumerRunningInfo, MessageQueue};
use crate::remoting::protocol::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData};
use crate::remoting::protocol::response_code;

/// A queue whose cache is full is looked at again after this.
const FULL_DELAY: Duration = Duration::from_millis(50);
/// A paused queue is looked at again after this.
const PAUSED_DELAY: Duration = Duration::from_secs(1);
/// Pause after the first offset could not be found out.
const OFFSET_DELAY: Duration = Duration::from_secs(3);
/// Pause after a broker asked to slow down.
const FLOW_CONTROL_DELAY: Duration = Duration::from_millis(20);
/// Automatic commits are not made more often.
const LEAST_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Who decides which queues the consumer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Undecided,
    Subscribe,
    Assign,
}

/// One queue of the consumer.
pub(crate) struct QueueState {
    process: Arc<ProcessQueue>,
    pub paused: AtomicBool,
    generation: AtomicU64,
    /// One past the last message that was handed out; -1 before the first.
    consumed: Mutex<Option<i64>>,
}

/// Messages that wait to be polled.
pub(crate) struct Ready {
    state: Arc<QueueState>,
    generation: u64,
    pub messages: VecDeque<ReceivedMessage>,
}

impl Ready {
    /// Its queue was given up, or is read from elsewhere.
    pub fn is_over(&self) -> bool {
        self.state.process.is_dropped()
            || self.state.generation.load(Ordering::Acquire) != self.generation
    }
}

/// The next pull of a queue.
struct Turn {
    state: Arc<QueueState>,
    generation: u64,
    /// `None`: to be found out.
    next_offset: Option<i64>,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.state.process.is_dropped()
            || self.state.generation.load(Ordering::Acquire) != self.generation
    }
}

/// What the threads of a lite pull consumer share.
pub(crate) struct LiteInner {
    pub options: LitePullOptions,
    tracer: Option<Tracer>,
    pub instance: Arc<Instance>,
    pub offsets: Offsets,
    /// The group's own: its messages show the topic that they were first sent to.
    retry_topic: Arc<str>,
    mode: Mutex<Mode>,
    pub subscriptions: Subscriptions,
    pub queues: QueueTable,
    states: RwLock<BTreeMap<MessageQueue, Arc<QueueState>>>,
    ready: Mutex<VecDeque<Ready>>,
    arrived: Condvar,
    /// Messages in `ready`.
    cached: AtomicUsize,
    next_commit: Mutex<Instant>,
    pub watch: TopicWatch,
    started_ms: i64,
    closed: AtomicBool,
    myself: Weak<Self>,
}

impl LiteInner {
    pub fn new(
        options: LitePullOptions,
        tracer: Option<Tracer>,
        instance: &Arc<Instance>,
        offsets: Offsets,
    ) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            retry_topic: retry_topic(&options.group).into(),
            watch: TopicWatch::new(options.topic_check_interval),
            options,
            tracer,
            instance: Arc::clone(instance),
            offsets,
            mode: Mutex::new(Mode::Undecided),
            subscriptions: Subscriptions::default(),
            queues: QueueTable::default(),
            states: RwLock::default(),
            ready: Mutex::default(),
            arrived: Condvar::new(),
            cached: AtomicUsize::new(0),
            next_commit: Mutex::new(Instant::now()),
            started_ms: now_ms(),
            closed: AtomicBool::new(false),
            myself: Weak::clone(myself),
        })
    }

    pub fn check_open(&self) -> Result<(), ClientError> {
        if self.closed.load(Ordering::Acquire) { Err(ClientError::NotRunning) } else { Ok(()) }
    }

    pub fn settle_mode(&self, wanted: Mode) -> Result<(), ClientError> {
        let mut mode = lock(&self.mode);
        if *mode != Mode::Undecided && *mode != wanted {
            return Err(ClientError::Invalid(
                "a lite pull consumer either subscribes or assigns, not both".into(),
            ));
        }
        *mode = wanted;
        Ok(())
    }

    pub fn state(&self, queue: &MessageQueue) -> Result<Arc<QueueState>, ClientError> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        states.get(queue).cloned().ok_or_else(|| {
            ClientError::Invalid(format!("{queue:?} is not assigned to this consumer"))
        })
    }

    fn all_states(&self) -> Vec<Arc<QueueState>> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        states.values().cloned().collect()
    }

    // Pulling.

    /// Begins to pull a queue that was taken, unless the application has sought another place in it by now: it
    /// may while it is told of the queue.
    fn start_first_turn(&self, state: &Arc<QueueState>) {
        let turn = Turn { state: Arc::clone(state), generation: 0, next_offset: None };
        self.pull_later(turn, Duration::ZERO);
    }

    fn pull_later(&self, turn: Turn, delay: Duration) {
        let pull = move |consumer: &Arc<Self>| consumer.pull(turn);
        self.instance.pull_later(Weak::clone(&self.myself), delay, pull);
    }

    fn rest(&self, state: &QueueState) -> Option<Duration> {
        if state.paused.load(Ordering::Acquire) {
            return Some(PAUSED_DELAY);
        }
        let load = state.process.load();
        let options = &self.options;
        let full = self.cached.load(Ordering::Relaxed) > options.cached_messages
            || load.count > options.cached_messages_per_queue
            || load.bytes >> 20 > options.cached_mib_per_queue
            || load.span > options.max_span;
        full.then_some(FULL_DELAY)
    }

    fn pull_from(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let (from, time) = (self.options.consume_from, self.options.consume_timestamp);
        let first = first_offset(&self.instance, self.offsets.known(queue)?, from, time, queue)?;
        if self.options.auto_commit {
            // What comes from here on is the group's, also if this member goes before it has polled any.
            self.offsets.update(queue, first, true);
        }
        Ok(first)
    }

    fn pull(&self, turn: Turn) {
        if turn.is_over() || self.closed.load(Ordering::Acquire) {
            return;
        }
        let process = Arc::clone(&turn.state.process);
        process.touch_pull();
        if let Some(delay) = self.rest(&turn.state) {
            return self.pull_later(turn, delay);
        }
        let offset = match turn.next_offset.map_or_else(|| self.pull_from(&process.queue), Ok) {
            Ok(offset) => offset,
            Err(error) => {
                log::warn!("{}: first offset of {:?}: {error}", self.options.group, process.queue);
                return self.pull_later(turn, OFFSET_DELAY);
            }
        };
        let Some(subscription) = self.subscriptions.get(&process.topic) else {
            return self.pull_later(turn, self.options.pull_error_delay);
        };
        let pull = Pull {
            group: &self.options.group,
            queue: &process,
            offset,
            max_messages: self.options.pull_batch,
            commit: None,
            suspend: Some(self.options.suspend_pull),
            timeout: self.options.pull_timeout,
            with_expression: true,
            lite: true,
            subscription: &subscription,
            retry_topic: Some(Arc::clone(&self.retry_topic)),
            client: &self.options.client,
        };
        let again = Turn {
            state: Arc::clone(&turn.state),
            generation: turn.generation,
            next_offset: Some(offset),
        };
        let consumer = Weak::clone(&self.myself);
        let issued = pull.call_async(&self.instance, false, move |result| {
            if let Some(consumer) = consumer.upgrade() {
                consumer.pulled(turn, offset, result);
            }
        });
        if let Err(error) = issued {
            log::warn!("{}: pull of {:?}: {error}", self.options.group, process.queue);
            self.pull_later(again, self.options.pull_error_delay);
        }
    }

    fn pulled(&self, mut turn: Turn, offset: i64, result: Result<PullResult, ClientError>) {
        if turn.is_over() {
            return;
        }
        turn.next_offset = Some(offset);
        let mut result = match result {
            Ok(result) => result,
            Err(error) => {
                log::warn!("{}: {:?}: {error}", self.options.group, turn.state.process.queue);
                let busy =
                    matches!(error, ClientError::Broker { code: response_code::FLOW_CONTROL, .. });
                let delay = if busy { FLOW_CONTROL_DELAY } else { self.options.pull_error_delay };
                return self.pull_later(turn, delay);
            }
        };
        turn.next_offset = Some(result.next_offset);
        if result.status == PullStatus::OffsetIllegal {
            log::warn!(
                "{}: {:?}: the broker does not have the offset {offset}; going on at {}",
                self.options.group,
                turn.state.process.queue,
                result.next_offset
            );
        }
        if !result.messages.is_empty() {
            let mut ready = lock(&self.ready);
            // Checked again under the lock that a seek takes, so that nothing old comes after it.
            if turn.is_over() {
                return;
            }
            turn.state.process.put(&mut result.messages);
            if !result.messages.is_empty() {
                self.cached.fetch_add(result.messages.len(), Ordering::Relaxed);
                ready.push_back(Ready {
                    state: Arc::clone(&turn.state),
                    generation: turn.generation,
                    messages: result.messages.into(),
                });
                self.arrived.notify_one();
            }
        }
        self.pull(turn);
    }

    // Polling and committing.

    pub fn poll(&self, timeout: Duration) -> Result<Vec<ReceivedMessage>, ClientError> {
        self.commit_if_due()?;
        let Some(mut batch) = self.next_batch(timeout)? else { return Ok(Vec::new()) };
        let messages: Vec<_> = std::mem::take(&mut batch.messages).into();
        self.hand_out(&batch, &messages);
        Ok(messages)
    }

    /// What was handed out before this call counts as consumed: commits it when it is time to.
    pub fn commit_if_due(&self) -> Result<(), ClientError> {
        self.check_open()?;
        if self.options.auto_commit {
            let mut next = lock(&self.next_commit);
            if Instant::now() >= *next {
                self.commit();
                let interval = self.options.auto_commit_interval.max(LEAST_COMMIT_INTERVAL);
                *next = deadline_after(interval);
            }
        }
        Ok(())
    }

    /// The messages of one pull, as soon as there are any; `None` after `timeout`.
    pub fn next_batch(&self, timeout: Duration) -> Result<Option<Ready>, ClientError> {
        let deadline = Deadline::after(timeout);
        let mut ready = lock(&self.ready);
        loop {
            while let Some(batch) = ready.pop_front() {
                self.cached.fetch_sub(batch.messages.len(), Ordering::Relaxed);
                if !batch.is_over() {
                    return Ok(Some(batch));
                }
            }
            let Some(left) = deadline.left() else { return Ok(None) };
            self.check_open()?;
            let waited = self.arrived.wait_timeout(ready, left);
            ready = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Messages of a batch go to the application: a later commit covers them.
    pub fn hand_out(&self, batch: &Ready, messages: &[ReceivedMessage]) {
        let state = &batch.state;
        {
            // A seek takes this lock too: where it goes is not overwritten by where we were.
            let _ready = lock(&self.ready);
            if batch.is_over() {
                return;
            }
            if let Some(offset) = state.process.remove(messages) {
                *lock(&state.consumed) = Some(offset);
            }
        }
        let hooks = &self.options.client.hooks;
        if !hooks.is_empty() {
            let (group, queue) = (&*self.options.group, &state.process.queue);
            let after = hooks.consume(&ConsumeCall { group, queue, messages });
            let consumed = Consumed::new(Some(true), Duration::ZERO, Duration::MAX);
            hooks::consumed(after, &consumed);
        }
    }

    /// Puts the rest of a batch back, to be polled next.
    pub fn put_back(&self, batch: Ready) {
        if !batch.messages.is_empty() && !batch.is_over() {
            let mut ready = lock(&self.ready);
            self.cached.fetch_add(batch.messages.len(), Ordering::Relaxed);
            ready.push_front(batch);
            self.arrived.notify_one();
        }
    }

    pub fn commit(&self) {
        for state in self.all_states() {
            self.commit_one(&state);
        }
    }

    /// The same for one queue.
    pub fn commit_one(&self, state: &QueueState) {
        let consumed = *lock(&state.consumed);
        if let Some(offset) = consumed
            && !state.process.is_dropped()
        {
            self.offsets.update(&state.process.queue, offset, false);
        }
    }

    pub fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        self.check_open()?;
        let state = self.state(queue)?;
        let min = self.instance.offset_at(queue, OffsetAt::Min)?;
        let max = self.instance.offset_at(queue, OffsetAt::Max)?;
        if !(min..=max).contains(&offset) {
            return Err(ClientError::Invalid(format!(
                "the offset {offset} is not between {min} and {max} of {queue:?}"
            )));
        }
        let mut ready = lock(&self.ready);
        let generation = state.generation.fetch_add(1, Ordering::AcqRel) + 1;
        state.process.clear();
        self.discard(&mut ready, |batch| Arc::ptr_eq(&batch.state, &state));
        *lock(&state.consumed) = Some(offset);
        drop(ready);
        self.pull_later(Turn { state, generation, next_offset: Some(offset) }, Duration::ZERO);
        Ok(())
    }

    fn discard(&self, ready: &mut VecDeque<Ready>, unwanted: impl Fn(&Ready) -> bool) {
        ready.retain(|batch| {
            let gone = unwanted(batch);
            if gone {
                self.cached.fetch_sub(batch.messages.len(), Ordering::Relaxed);
            }
            !gone
        });
    }

    fn add_state(&self, process: &Arc<ProcessQueue>) -> Arc<QueueState> {
        let state = Arc::new(QueueState {
            process: Arc::clone(process),
            paused: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            consumed: Mutex::default(),
        });
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        states.insert(process.queue.clone(), Arc::clone(&state));
        state
    }

    pub fn assign(&self, wanted: &BTreeSet<MessageQueue>) {
        let lost = self.queues.all();
        let lost = lost.into_iter().filter(|queue| !wanted.contains(&queue.queue));
        rebalance::remove(self, lost.collect());
        for queue in wanted {
            if self.queues.get(queue).is_none() {
                let process = Arc::new(ProcessQueue::new(queue.clone(), true));
                let state = self.add_state(&process);
                self.queues.insert(process);
                self.start_first_turn(&state);
            }
        }
    }

    pub fn shutdown(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // Whoever saw it open a moment ago sleeps by now.
        drop(lock(&self.ready));
        self.arrived.notify_all();
        self.watch.stop();
        // A failure is logged; what was consumed since comes again.
        let _ = self.offsets.persist_now(&self.queues.names());
        self.queues.drop_all();
        self.instance.remove_consumer(&self.options.group);
        self.instance.close();
        if let Some(tracer) = &self.tracer {
            tracer.stop();
        }
    }
}

impl QueueOwner for LiteInner {
    fn queues(&self) -> &QueueTable {
        &self.queues
    }

    fn take(&self, queue: &MessageQueue) -> Option<Arc<ProcessQueue>> {
        self.offsets.forget(queue);
        let process = Arc::new(ProcessQueue::new(queue.clone(), true));
        self.add_state(&process);
        Some(process)
    }

    fn give_up(&self, queues: Vec<Arc<ProcessQueue>>) -> Vec<Arc<ProcessQueue>> {
        rebalance::settle(&self.offsets, &queues);
        let is_lost = |process: &Arc<ProcessQueue>| queues.iter().any(|q| Arc::ptr_eq(q, process));
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        states.retain(|_, state| !is_lost(&state.process));
        drop(states);
        self.discard(&mut lock(&self.ready), |batch| is_lost(&batch.state.process));
        queues
    }
}

impl ConsumerRole for LiteInner {
    fn data(&self) -> ConsumerData {
        let subscribes = *lock(&self.mode) == Mode::Subscribe;
        ConsumerData {
            consume_from_where: Some(ConsumeFromWhere::LastOffset),
            consume_type: Some(ConsumeType::Actively),
            group_name: Some(self.options.group.clone()),
            message_model: Some(self.options.message_model),
            subscription_data_set: if subscribes { self.subscriptions.all() } else { Vec::new() },
            unit_mode: self.options.client.unit_mode,
        }
    }

    fn topics(&self) -> Vec<String> {
        self.subscriptions.topics()
    }

    fn rebalance(&self) {
        if self.closed.load(Ordering::Acquire) || *lock(&self.mode) != Mode::Subscribe {
            return;
        }
        let rules = Rules {
            instance: &self.instance,
            group: &self.options.group,
            model: self.options.message_model,
            strategy: &self.options.strategy,
        };
        let topics = self.topics();
        for topic in &topics {
            let Some((all, target)) = rules.target(topic) else { continue };
            let (new, changed) = rebalance::apply(self, topic, &target);
            if changed {
                let options = &self.options;
                let own = self.queues.names_of(topic);
                options.assignment_listener.tell(&options.client.namespace, topic, all, own);
            }
            for process in new {
                if let Ok(state) = self.state(&process.queue) {
                    self.start_first_turn(&state);
                }
            }
        }
        let orphans = self.queues.all();
        let orphans = orphans.into_iter().filter(|queue| !topics.contains(&queue.queue.topic));
        rebalance::remove(self, orphans.collect());
    }

    fn persist_offsets(&self) {
        self.offsets.persist_only(&self.queues.names());
    }

    fn reset_offsets(self: Arc<Self>, topic: &str, _offsets: BTreeMap<MessageQueue, i64>) {
        log::info!("{} {topic}: a pull consumer is not reset; it seeks", self.options.group);
    }

    fn offsets(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        self.offsets.snapshot(topic)
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        let info = |state: Arc<QueueState>| {
            let commit = self.offsets.known(&state.process.queue).ok().flatten();
            (state.process.queue.clone(), state.process.info(commit.unwrap_or(-1)))
        };
        let properties = [
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
            ("PROP_CONSUME_TYPE", ConsumeType::Actively.name().to_owned()),
            ("PROP_CONSUMEORDERLY", "false".to_owned()),
            ("PROP_THREADPOOL_CORE_SIZE", "0".to_owned()),
            ("consumerGroup", self.options.group.clone()),
            ("pullBatchSize", self.options.pull_batch.to_string()),
        ];
        let mut subscription_set = self.data().subscription_data_set;
        subscription_set.sort_by(|a, b| (&a.topic, &a.sub_string).cmp(&(&b.topic, &b.sub_string)));
        ConsumerRunningInfo {
            mq_table: self.all_states().into_iter().map(info).collect(),
            properties: properties.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            subscription_set,
            ..ConsumerRunningInfo::default()
        }
    }
}
