//! [`PullConsumer`]: pulls of single queues, one call each. Offsets and queues are the caller's
//! business.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::broker_calls::{OffsetAt, SendBack};
use super::config::{ClientOptions, MessageModel, PullOptions};
use super::error::ClientError;
use super::hooks::{self, ConsumeCall, Consumed};
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::namespace::Namespace;
use super::offset_store::Offsets;
use super::process_queue::ProcessQueue;
use super::pull::{Pull, PullResult};
use super::rebalance::{self, QueueOwner, QueueTable, Rules};
use super::subscription::{Filter, Subscriptions};
use super::trace::Tracer;
use super::validate::check_topic;
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
/// that it joined, or that a [`PullSchedule`](super::pull_schedule::PullSchedule) registered.
pub(super) struct PullRole {
    pub group: String,
    started_ms: i64,
    instance: Arc<Instance>,
    pub subscriptions: Subscriptions,
    pub queues: QueueTable,
    options: PullOptions,
    offsets: Offsets,
    /// Told of queues that were taken.
    pub taken: Mutex<Option<TakenFn>>,
}

impl PullOptions {
    /// Starts a consumer.
    pub fn start(mut self) -> Result<PullConsumer, ClientError> {
        self.client.enter_namespace(&mut self.group);
        self.check()?;
        let tracer = Tracer::attach(&mut self.client, &self.group, "CONSUME");
        let broadcasting = self.message_model == MessageModel::Broadcasting;
        let client_id = self.client.client_id(broadcasting, true);
        let instance = Instance::open(&self.client, client_id, true)?;
        let result = PullConsumer::assemble(self, tracer, &instance);
        if result.is_err() {
            instance.close();
        }
        result
    }
}

impl PullRole {
    fn tell_hooks(&self, queue: &MessageQueue, result: &PullResult) {
        let hooks = &self.options.client.hooks;
        if !hooks.is_empty() && !result.messages.is_empty() {
            let (group, messages) = (&*self.group, &*result.messages);
            let after = hooks.consume(&ConsumeCall { group, queue, messages });
            hooks::consumed(after, &Consumed::new(Some(true), Duration::ZERO, Duration::MAX));
        }
    }
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
            message_model: Some(self.options.message_model),
            subscription_data_set: self.subscriptions.all(),
            unit_mode: self.options.client.unit_mode,
        }
    }

    fn topics(&self) -> Vec<String> {
        self.subscriptions.topics()
    }

    fn rebalance(&self) {
        let rules = Rules {
            instance: &self.instance,
            group: &self.group,
            model: self.options.message_model,
            strategy: &self.options.strategy,
        };
        for topic in self.topics() {
            let Some((all, target)) = rules.target(&topic) else { continue };
            let (new, changed) = rebalance::apply(self, &topic, &target);
            if changed {
                let options = &self.options;
                let own = self.queues.names_of(&topic);
                options.assignment_listener.tell(&options.client.namespace, &topic, all, own);
            }
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
    tracer: Option<Tracer>,
    instance: Arc<Instance>,
    /// Where each queue was suggested to be read from.
    queues: Mutex<BTreeMap<MessageQueue, Arc<ProcessQueue>>>,
    closed: AtomicBool,
}

impl std::fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullConsumer")
            .field("client_id", &self.client_id())
            .field("group", &self.role.group)
            .finish()
    }
}

impl PullConsumer {
    /// Starts a consumer of a group; [`PullOptions::start`] with no more than this.
    pub fn start(group: &str, options: ClientOptions) -> Result<Self, ClientError> {
        PullOptions::new(group).client(options).start()
    }

    fn assemble(
        options: PullOptions,
        tracer: Option<Tracer>,
        instance: &Arc<Instance>,
    ) -> Result<Self, ClientError> {
        let (group, model) = (options.group.clone(), options.message_model);
        let (chosen, directory) = (&options.offset_store, &options.offset_directory);
        let role = Arc::new(PullRole {
            group: group.clone(),
            started_ms: now_ms(),
            instance: Arc::clone(instance),
            subscriptions: Subscriptions::default(),
            queues: QueueTable::default(),
            offsets: Offsets::new(chosen, model, &group, instance, directory)?,
            options,
            taken: Mutex::default(),
        });
        let shared: Arc<dyn ConsumerRole> = Arc::<PullRole>::clone(&role);
        instance.add_consumer(&group, Arc::downgrade(&shared))?;
        let instance = Arc::clone(instance);
        let (queues, closed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { role, tracer, instance, queues, closed })
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.instance.client_id
    }

    /// Takes part in the division of a topic's queues among the members of the group: those that are
    /// this member's show in [`assignment`](Self::assignment), and are told to the listener of
    /// [`on_assignment`](PullOptions::on_assignment). Pulls are not limited to them.
    ///
    /// ```
    /// use rocketmq::client::PullOptions;
    /// # use std::sync::mpsc::channel;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// # let (to, told) = channel();
    ///
    /// let consumer = PullOptions::new("export")
    ///     .name_servers(names)
    ///     .on_assignment(move |now| {
    ///         println!("now to be read: {:?}", now.own);
    /// #       let _ = to.send(now.own.len());
    ///     })
    ///     .start()?;
    /// consumer.join("Orders")?;
    /// # assert_eq!(told.recv()?, 2);
    /// # assert_eq!(consumer.assignment().len(), 2);
    /// consumer.leave("Orders");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(&self, topic: &str) -> Result<(), ClientError> {
        let instance = self.instance()?;
        let topic = self.namespace().wrap(topic);
        check_topic(&topic)?;
        instance.update_route(&topic)?;
        self.role.subscriptions.add(instance, &self.role.group, &topic, &Filter::all())
    }

    /// Ends [`join`](Self::join).
    pub fn leave(&self, topic: &str) {
        let topic = self.namespace().wrap(topic);
        self.role.subscriptions.remove(&topic);
        rebalance::remove(&*self.role, self.role.queues.of_topic(&topic));
    }

    /// The queues of joined topics that this member has now.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.namespace().unwrap_queues(self.role.queues.names())
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
        let result = self.prepare(queue, filter.into(), offset, max, wait, |instance, pull| {
            pull.call(instance)
        })?;
        self.role.tell_hooks(&self.namespace().wrap_queue(queue), &result);
        Ok(result)
    }

    /// Starts a pull and returns. `done` learns the outcome exactly once, on a callback thread,
    /// unless this call fails.
    ///
    /// ```
    /// use rocketmq::client::{ClientOptions, PullConsumer};
    /// # use std::sync::mpsc::channel;
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 1)?;
    /// # let names = site.name_servers();
    ///
    /// let consumer = PullConsumer::start("export", ClientOptions::default().name_servers(names))?;
    /// # let (to, told) = channel();
    /// for queue in consumer.queues("Orders")? {
    /// #   let to = to.clone();
    ///     consumer.pull_async(&queue, "*", 0, 32, Some(Duration::from_millis(50)), move |result| {
    ///         println!("{result:?}");
    /// #       let _ = to.send(result.is_ok());
    ///     })?;
    /// }
    /// # assert!(told.recv()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pull_async(
        &self,
        queue: &MessageQueue,
        filter: impl Into<Filter>,
        offset: i64,
        max: i32,
        wait: Option<Duration>,
        done: impl FnOnce(Result<PullResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let (role, name) =
            (Arc::clone(&self.role), self.namespace().wrap_queue(queue).into_owned());
        self.prepare(queue, filter.into(), offset, max, wait, |instance, pull| {
            pull.call_async(instance, false, move |result| {
                if let Ok(result) = &result {
                    role.tell_hooks(&name, result);
                }
                done(result);
            })
        })
    }

    fn prepare<R>(
        &self,
        queue: &MessageQueue,
        filter: Filter,
        offset: i64,
        max: i32,
        wait: Option<Duration>,
        issue: impl FnOnce(&Arc<Instance>, &Pull<'_>) -> Result<R, ClientError>,
    ) -> Result<R, ClientError> {
        let instance = self.instance()?;
        if offset < 0 || max <= 0 {
            return Err(ClientError::Invalid(format!(
                "a pull needs an offset from 0 and a number from 1, not {offset} and {max}"
            )));
        }
        let queue = &*self.namespace().wrap_queue(queue);
        let subscription = Arc::new(filter.subscription(&queue.topic)?);
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
        issue(instance, &pull)
    }

    /// An offset of a queue.
    pub fn offset_at(&self, queue: &MessageQueue, at: OffsetAt) -> Result<i64, ClientError> {
        self.instance()?.offset_at(&self.namespace().wrap_queue(queue), at)
    }

    /// The group's offset in its store; `None` if it has none.
    pub fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        self.instance()?;
        self.role.offsets.stored(&self.namespace().wrap_queue(queue))
    }

    /// Stores the group's offset; by default tells the broker, and waits until it knows.
    pub fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        self.instance()?;
        let queue = self.namespace().wrap_queue(queue).into_owned();
        self.role.offsets.update(&queue, offset, false);
        self.role.offsets.persist_now(&[queue])
    }

    /// Gives a message back to the group: delivered again after a delay (level 0: the broker
    /// chooses; negative: to the dead-letter topic).
    ///
    /// ```
    /// use rocketmq::client::{ClientOptions, PullConsumer};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let consumer = PullConsumer::start("export", ClientOptions::default().name_servers(names))?;
    /// for queue in consumer.queues("Orders")? {
    ///     for message in consumer.pull(&queue, "*", 0, 32, None)?.messages {
    ///         consumer.send_back(&message, 0)?; // To the group's retry topic.
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_back(
        &self,
        message: &ReceivedMessage,
        delay_level: i32,
    ) -> Result<(), ClientError> {
        let max_reconsume_times = self.role.options.max_reconsume_times;
        let how = SendBack { group: &self.role.group, delay_level, max_reconsume_times };
        self.instance()?.send_back(message, &how)
    }

    /// Leaves the group and stops all threads. Idempotent.
    pub fn shutdown(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.instance.remove_consumer(&self.role.group);
            self.instance.close();
            if let Some(tracer) = &self.tracer {
                tracer.stop();
            }
        }
    }
}

impl Drop for PullConsumer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
