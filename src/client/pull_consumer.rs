//! [`PullConsumer`]: pulls of single queues, one call each. Offsets and queues are the caller's
//! business.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::allocate::AllocateStrategy;
use super::broker_calls::{OffsetAt, SendBack};
use super::config::{ClientOptions, MessageModel};
use super::error::ClientError;
use super::hooks::{self, ConsumeCall, Consumed};
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::namespace::Namespace;
use super::process_queue::ProcessQueue;
use super::pull::{Pull, PullResult};
use super::rebalance::{self, QueueOwner, QueueTable, Rules};
use super::subscription::{Filter, Subscriptions};
use super::validate::check_group;
use crate::common::clock::now_ms;
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::{ConsumerRunningInfo, MessageQueue};
use crate::remoting::protocol::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData};

/// Limit of a pull that does not wait for messages.
const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a waiting pull's answer may take beyond what the broker was allowed to hold it.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// Told of a queue that was taken.
type TakenFn = Box<dyn Fn(Arc<ProcessQueue>) + Send>;

/// What the instance knows of a pull consumer. It takes part in the division of queues for the topics
/// that a [`PullSchedule`](super::pull_schedule::PullSchedule) registered, and for no others.
pub(super) struct PullRole {
    pub group: String,
    started_ms: i64,
    instance: Arc<Instance>,
    pub subscriptions: Subscriptions,
    pub queues: QueueTable,
    strategy: AllocateStrategy,
    /// Told of queues that were taken.
    pub taken: Mutex<Option<TakenFn>>,
}

impl QueueOwner for PullRole {
    fn queues(&self) -> &QueueTable {
        &self.queues
    }

    fn take(&self, queue: &MessageQueue) -> Option<Arc<ProcessQueue>> {
        Some(Arc::new(ProcessQueue::new(queue.clone(), true)))
    }

    fn give_up(&self, queues: Vec<Arc<ProcessQueue>>) -> Vec<Arc<ProcessQueue>> {
        queues
    }

    fn heals_itself(&self) -> bool {
        false
    }
}

impl ConsumerRole for PullRole {
    fn data(&self) -> ConsumerData {
        ConsumerData {
            consume_from_where: Some(ConsumeFromWhere::LastOffset),
            consume_type: Some(ConsumeType::Actively),
            group_name: Some(self.group.clone()),
            message_model: Some(MessageModel::Clustering),
            subscription_data_set: self.subscriptions.all(),
            unit_mode: false,
        }
    }

    fn topics(&self) -> Vec<String> {
        self.subscriptions.topics()
    }

    fn rebalance(&self) {
        let rules = Rules {
            instance: &self.instance,
            group: &self.group,
            model: MessageModel::Clustering,
            strategy: &self.strategy,
        };
        for topic in self.topics() {
            let Some((_, target)) = rules.target(&topic) else { continue };
            let (new, _) = rebalance::apply(self, &topic, &target);
            if let Some(taken) = &*lock(&self.taken) {
                new.into_iter().for_each(taken);
            }
        }
    }

    fn persist_offsets(&self) {}

    fn reset_offsets(self: Arc<Self>, topic: &str, _offsets: BTreeMap<MessageQueue, i64>) {
        log::info!("{} {topic}: a pull consumer is not reset", self.group);
    }

    fn offsets(&self, _topic: &str) -> BTreeMap<MessageQueue, i64> {
        BTreeMap::new()
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        let properties = [
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
            ("PROP_CONSUME_TYPE", ConsumeType::Actively.name().to_owned()),
            ("PROP_CONSUMEORDERLY", "false".to_owned()),
            ("PROP_THREADPOOL_CORE_SIZE", "0".to_owned()),
        ];
        let properties = properties.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        ConsumerRunningInfo { properties, ..ConsumerRunningInfo::default() }
    }
}

/// Pulls queues by hand. Shut down when dropped.
///
/// ```
/// use rocketmq::client::{ClientOptions, OffsetAt, PullConsumer};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let options = ClientOptions::default().name_servers(names);
/// let consumer = PullConsumer::start("export", options)?;
/// for queue in consumer.queues("Orders")? {
///     let mut offset = consumer.offset_at(&queue, OffsetAt::Min)?;
///     let end = consumer.offset_at(&queue, OffsetAt::Max)?;
///     while offset < end {
///         let result = consumer.pull(&queue, "*", offset, 32, None)?;
///         offset = result.next_offset;
///     }
///     consumer.commit(&queue, offset)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PullConsumer {
    pub(super) role: Arc<PullRole>,
    instance: Arc<Instance>,
    /// Where each queue was suggested to be read from.
    queues: Mutex<BTreeMap<MessageQueue, Arc<ProcessQueue>>>,
    closed: AtomicBool,
}

impl PullConsumer {
    /// Starts a consumer of a group.
    pub fn start(group: &str, options: ClientOptions) -> Result<Self, ClientError> {
        Self::with_strategy(group, options, AllocateStrategy::default())
    }

    pub(super) fn with_strategy(
        group: &str,
        mut options: ClientOptions,
        strategy: AllocateStrategy,
    ) -> Result<Self, ClientError> {
        let mut group = group.to_owned();
        options.enter_namespace(&mut group);
        check_group(&group)?;
        let instance = Instance::open(&options, options.client_id(false, true), true)?;
        let role = Arc::new(PullRole {
            group: group.clone(),
            started_ms: now_ms(),
            instance: Arc::clone(&instance),
            subscriptions: Subscriptions::default(),
            queues: QueueTable::default(),
            strategy,
            taken: Mutex::default(),
        });
        let shared: Arc<dyn ConsumerRole> = Arc::<PullRole>::clone(&role);
        if let Err(error) = instance.add_consumer(&group, Arc::downgrade(&shared)) {
            instance.close();
            return Err(error);
        }
        Ok(Self { role, instance, queues: Mutex::default(), closed: AtomicBool::new(false) })
    }

    pub(super) fn instance(&self) -> Result<&Arc<Instance>, ClientError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ClientError::NotRunning);
        }
        Ok(&self.instance)
    }

    /// The queues of a topic, as the name server knows them now.
    pub fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let instance = self.instance()?;
        let topic = self.namespace().wrap(topic);
        instance.update_route(&topic)?;
        Ok(self.namespace().unwrap_queues(instance.subscribe_queues(&topic)?))
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.instance.options.namespace
    }

    /// Pulls at most `max` messages from `offset`. With `wait` the broker may hold the request so
    /// long when there is nothing new.
    pub fn pull(
        &self,
        queue: &MessageQueue,
        filter: impl Into<Filter>,
        offset: i64,
        max: i32,
        wait: Option<Duration>,
    ) -> Result<PullResult, ClientError> {
        let instance = self.instance()?;
        if offset < 0 || max <= 0 {
            return Err(ClientError::Invalid(format!(
                "a pull needs an offset from 0 and a number from 1, not {offset} and {max}"
            )));
        }
        let queue = &*self.namespace().wrap_queue(queue);
        let subscription = Arc::new(filter.into().subscription(&queue.topic)?);
        let process = {
            let mut queues = lock(&self.queues);
            let fresh = || Arc::new(ProcessQueue::new(queue.clone(), true));
            Arc::clone(queues.entry(queue.clone()).or_insert_with(fresh))
        };
        let pull = Pull {
            group: &self.role.group,
            queue: &process,
            offset,
            max_messages: max,
            commit: None,
            suspend: wait,
            timeout: wait.map_or(PULL_TIMEOUT, |wait| wait.saturating_add(ANSWER_MARGIN)),
            with_expression: true,
            lite: false,
            subscription: &subscription,
            retry_topic: None,
            client: &instance.options,
        };
        let result = pull.call(instance)?;
        let hooks = &instance.options.hooks;
        if !hooks.is_empty() && !result.messages.is_empty() {
            let (group, messages) = (&*self.role.group, &*result.messages);
            let after = hooks.consume(&ConsumeCall { group, queue, messages });
            hooks::consumed(after, &Consumed::new(Some(true), Duration::ZERO, Duration::MAX));
        }
        Ok(result)
    }

    /// An offset of a queue.
    pub fn offset_at(&self, queue: &MessageQueue, at: OffsetAt) -> Result<i64, ClientError> {
        self.instance()?.offset_at(&self.namespace().wrap_queue(queue), at)
    }

    /// The group's offset at the broker; `None` if it has none.
    pub fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        let queue = self.namespace().wrap_queue(queue);
        self.instance()?.query_consumer_offset(&self.role.group, &queue)
    }

    /// Tells the broker the group's offset, and waits until it knows.
    pub fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        let instance = self.instance()?;
        let queue = self.namespace().wrap_queue(queue);
        let (addr, request) = instance.offset_update(&self.role.group, &queue, offset)?;
        instance.call_ok(&addr, request, instance.options.api_timeout).map(drop)
    }

    /// Gives a message back to the group: delivered again after a delay (level 0: the broker
    /// chooses; negative: to the dead-letter topic).
    pub fn send_back(
        &self,
        message: &ReceivedMessage,
        delay_level: i32,
    ) -> Result<(), ClientError> {
        let group = &self.role.group;
        self.instance()?.send_back(message, &SendBack::by_default(group, delay_level))
    }

    /// Leaves the group and stops all threads. Idempotent.
    pub fn shutdown(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.instance.remove_consumer(&self.role.group);
            self.instance.close();
        }
    }
}

impl Drop for PullConsumer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
