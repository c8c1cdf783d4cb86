//! [`LitePullConsumer`]: the application polls for messages; pulls run ahead of it.
//!
//! Either the group divides the queues ([`subscribe`](LitePullConsumer::subscribe)), or the
//! application names them ([`assign`](LitePullConsumer::assign)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::broker_calls::{OffsetAt, SendBack};
use super::config::{Deadline, LitePullOptions, MessageModel};
use super::error::ClientError;
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::namespace::Namespace;
use super::offset_store::Offsets;
use super::polling::{LiteInner, Mode, Ready};
use super::rebalance;
use super::subscription::Filter;
use super::trace::Tracer;
use super::validate::check_topic;
use crate::remoting::protocol::bodies::MessageQueue;

/// How long an iterator without a limit waits at a time.
const LOOK_AROUND: Duration = Duration::from_secs(60);

/// A consumer that is polled. Shut down when dropped.
///
/// ```
/// use rocketmq::client::LitePullOptions;
/// use std::time::Duration;
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let consumer = LitePullOptions::new("audit").name_servers(names).start()?;
/// consumer.subscribe("Orders", "*")?;
/// loop {
///     for message in consumer.poll_for(Duration::from_millis(10))? {
///         println!("{} {:?}", message.message_id(), message.body());
///     }
///     // Polled messages are committed by a later poll, or here:
///     consumer.commit_sync()?;
/// #   break;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LitePullConsumer {
    inner: Arc<LiteInner>,
}

impl std::fmt::Debug for LitePullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LitePullConsumer")
            .field("client_id", &self.client_id())
            .field("group", &self.inner.options.group)
            .finish()
    }
}

impl LitePullOptions {
    /// Starts a consumer without queues.
    pub fn start(mut self) -> Result<LitePullConsumer, ClientError> {
        self.client.enter_namespace(&mut self.group);
        self.check()?;
        let tracer = Tracer::attach(&mut self.client, &self.group, "CONSUME");
        let broadcasting = self.message_model == MessageModel::Broadcasting;
        let client_id = self.client.client_id(broadcasting, true);
        let instance = Instance::open(&self.client, client_id, true)?;
        let result = LitePullConsumer::assemble(self, tracer, &instance);
        if result.is_err() {
            instance.close();
        }
        result
    }
}

impl LitePullConsumer {
    fn assemble(
        options: LitePullOptions,
        tracer: Option<Tracer>,
        instance: &Arc<Instance>,
    ) -> Result<Self, ClientError> {
        let (group, model) = (options.group.clone(), options.message_model);
        let (chosen, directory) = (&options.offset_store, &options.offset_directory);
        let offsets = Offsets::new(chosen, model, &group, instance, directory)?;
        let inner = LiteInner::new(options, tracer, instance, offsets);
        let role: Arc<dyn ConsumerRole> = Arc::<LiteInner>::clone(&inner);
        instance.add_consumer(&group, Arc::downgrade(&role))?;
        Ok(Self { inner })
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.inner.instance.client_id
    }

    /// Joins the group for a topic: its members divide the queues.
    pub fn subscribe(&self, topic: &str, filter: impl Into<Filter>) -> Result<(), ClientError> {
        let inner = &self.inner;
        inner.check_open()?;
        let (topic, filter) = (self.namespace().wrap(topic), filter.into());
        filter.subscription(&topic)?;
        inner.settle_mode(Mode::Subscribe)?;
        match inner.instance.update_route(&topic) {
            Ok(_) | Err(ClientError::NoRoute { .. }) => {}
            Err(error) => return Err(error),
        }
        inner.subscriptions.add(&inner.instance, &inner.options.group, &topic, &filter)
    }

    /// Leaves the group for a topic.
    pub fn unsubscribe(&self, topic: &str) {
        let inner = &self.inner;
        let topic = self.namespace().wrap(topic);
        inner.subscriptions.remove(&topic);
        rebalance::remove(&**inner, inner.queues.of_topic(&topic));
    }

    /// Reads exactly these queues, whoever else reads them.
    ///
    /// ```
    /// use rocketmq::client::{LitePullOptions, Message, OffsetAt, ProducerOptions};
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 1)?;
    /// # let names = site.name_servers();
    ///
    /// let producer = ProducerOptions::new("shop").name_servers(names.as_str()).start()?;
    /// producer.send_batch(&["one", "two", "three"].map(|body| Message::new("Orders", body)))?;
    /// let consumer = LitePullOptions::new("audit").name_servers(names).start()?;
    /// let queues = consumer.queues("Orders")?;
    /// consumer.assign(queues.clone(), "*")?;
    /// # while consumer.offset_at(&queues[0], OffsetAt::Max)? < 3 {}
    /// consumer.seek_to(&queues[0], OffsetAt::Min)?;
    /// let first = consumer.messages().next().ok_or("it was shut down")??;
    /// assert_eq!(first.body(), b"one");
    /// consumer.seek(&queues[0], 2)?;
    /// let last = consumer.messages().next().ok_or("it was shut down")??;
    /// assert_eq!(last.body(), b"three");
    /// consumer.pause(&queues); // Until `resume`.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign(
        &self,
        queues: impl IntoIterator<Item = MessageQueue>,
        filter: impl Into<Filter>,
    ) -> Result<(), ClientError> {
        let inner = &self.inner;
        inner.check_open()?;
        let wire = |queue: MessageQueue| self.namespace().wrap_queue(&queue).into_owned();
        let wanted: BTreeSet<_> = queues.into_iter().map(wire).collect();
        if wanted.is_empty() {
            return Err(ClientError::Invalid("no queues to assign".into()));
        }
        let filter = filter.into();
        let mut chosen = BTreeMap::new();
        for queue in &wanted {
            if !chosen.contains_key(&queue.topic) {
                let subscription = filter.subscription(&queue.topic)?;
                chosen.insert(queue.topic.clone(), Arc::new(subscription));
            }
        }
        inner.settle_mode(Mode::Assign)?;
        inner.subscriptions.replace(chosen);
        inner.assign(&wanted);
        Ok(())
    }

    /// The queues that the consumer has now.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.namespace().unwrap_queues(self.inner.queues.names())
    }

    fn namespace(&self) -> &Namespace {
        &self.inner.options.client.namespace
    }

    /// Waits for messages, `poll_timeout` at most, and returns those of one pull; empty if there
    /// are none.
    pub fn poll(&self) -> Result<Vec<ReceivedMessage>, ClientError> {
        self.inner.poll(self.inner.options.poll_timeout)
    }

    /// The same with another limit.
    pub fn poll_for(&self, timeout: Duration) -> Result<Vec<ReceivedMessage>, ClientError> {
        self.inner.poll(timeout)
    }

    /// The messages that come, one after the other, without an end while the consumer runs: for
    /// scripts. The iterator waits for what is not there yet.
    ///
    /// A message is committed when the one after it was asked for, at `auto_commit_interval`, or by
    /// [`commit_sync`](Self::commit_sync). Messages that were pulled and not handed out when the
    /// iterator is dropped are polled next.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeFromWhere, LitePullOptions, Message, ProducerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 1)?;
    /// # let names = site.name_servers();
    ///
    /// let producer = ProducerOptions::new("shop").name_servers(names.as_str()).start()?;
    /// for body in ["one", "two", "three"] {
    ///     producer.send(&Message::new("Orders", body))?;
    /// }
    /// let consumer = LitePullOptions::new("audit")
    ///     .name_servers(names)
    ///     .consume_from(ConsumeFromWhere::FirstOffset)
    ///     .start()?;
    /// consumer.subscribe("Orders", "*")?;
    /// for message in consumer.messages().take(3) {
    ///     println!("{}", String::from_utf8_lossy(message?.body()));
    /// }
    /// consumer.commit_sync()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn messages(&self) -> Messages<'_> {
        Messages { consumer: self, batch: None, idle_limit: None }
    }

    /// Commits all messages that were polled, in memory; brokers are told at intervals.
    pub fn commit(&self) {
        self.inner.commit();
    }

    /// Commits all messages that were polled, and waits until brokers were told. After an error they
    /// are told again at intervals.
    pub fn commit_sync(&self) -> Result<(), ClientError> {
        self.inner.check_open()?;
        self.inner.commit();
        self.inner.offsets.persist_now(&self.inner.queues.names())
    }

    /// Commits the messages of these queues that were polled, and waits until brokers were told.
    ///
    /// ```
    /// # use rocketmq::client::LitePullOptions;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// # let consumer = LitePullOptions::new("audit").name_servers(names).start()?;
    /// # consumer.assign(consumer.queues("Orders")?, "*")?;
    /// for message in consumer.poll_for(std::time::Duration::from_millis(10))? {
    ///     println!("{:?}", message.body());
    /// }
    /// consumer.commit_queues(&consumer.assignment())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_queues(&self, queues: &[MessageQueue]) -> Result<(), ClientError> {
        let wire: Vec<_> =
            queues.iter().map(|queue| self.namespace().wrap_queue(queue).into_owned()).collect();
        self.inner.check_open()?;
        for queue in &wire {
            let state = self.inner.state(queue)?;
            self.inner.commit_one(&state);
        }
        self.inner.offsets.persist_now(&wire)
    }

    /// Commits these offsets, each that of the first message that is not consumed yet, and waits until
    /// brokers were told. What is polled next does not change by it; a later commit of what was polled
    /// overwrites it.
    ///
    /// ```
    /// use rocketmq::client::{LitePullOptions, OffsetAt};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 1)?;
    /// # let names = site.name_servers();
    ///
    /// let consumer = LitePullOptions::new("audit").name_servers(names).auto_commit(false).start()?;
    /// let queues = consumer.queues("Orders")?;
    /// consumer.assign(queues.clone(), "*")?;
    /// let end = consumer.offset_at(&queues[0], OffsetAt::Max)?;
    /// consumer.commit_offsets([(queues[0].clone(), end)])?;
    /// assert_eq!(consumer.committed(&queues[0])?, Some(end));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (MessageQueue, i64)>,
    ) -> Result<(), ClientError> {
        let inner = &self.inner;
        inner.check_open()?;
        let mut queues = Vec::new();
        for (queue, offset) in offsets {
            let queue = self.namespace().wrap_queue(&queue).into_owned();
            inner.state(&queue)?;
            if offset < 0 {
                return Err(ClientError::Invalid(format!("{offset} is no offset of {queue:?}")));
            }
            queues.push((queue, offset));
        }
        for (queue, offset) in &queues {
            inner.offsets.update(queue, *offset, false);
        }
        let queues: Vec<_> = queues.into_iter().map(|(queue, _)| queue).collect();
        inner.offsets.persist_now(&queues)
    }

    /// Gives a message back to the group: it comes again after a delay (level 0: the broker chooses;
    /// negative: to the dead-letter topic) in the group's retry topic, which has to be
    /// [subscribed](Self::subscribe) to.
    ///
    /// ```
    /// use rocketmq::client::LitePullOptions;
    /// use rocketmq::common::topic::retry_topic;
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let consumer = LitePullOptions::new("audit").name_servers(names).start()?;
    /// consumer.subscribe("Orders", "*")?;
    /// consumer.subscribe(&retry_topic("audit"), "*")?;
    /// for message in consumer.poll_for(Duration::from_millis(10))? {
    ///     if message.body().is_empty() {
    ///         consumer.send_back(&message, 0)?;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_back(
        &self,
        message: &ReceivedMessage,
        delay_level: i32,
    ) -> Result<(), ClientError> {
        self.inner.check_open()?;
        let group = &self.inner.options.group;
        self.inner.instance.send_back(message, &SendBack::by_default(group, delay_level))
    }

    /// The committed offset of a queue; `None` if there is none.
    pub fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        self.inner.check_open()?;
        self.inner.offsets.known(&self.namespace().wrap_queue(queue))
    }

    /// Goes on at an offset of a queue.
    pub fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        self.inner.seek(&self.namespace().wrap_queue(queue), offset)
    }

    /// Goes on at the first message of a queue, at its end, or at a time.
    pub fn seek_to(&self, queue: &MessageQueue, at: OffsetAt) -> Result<(), ClientError> {
        let offset = self.offset_at(queue, at)?;
        self.seek(queue, offset)
    }

    /// An offset of a queue.
    pub fn offset_at(&self, queue: &MessageQueue, at: OffsetAt) -> Result<i64, ClientError> {
        self.inner.check_open()?;
        self.inner.instance.offset_at(&self.namespace().wrap_queue(queue), at)
    }

    /// Pulls nothing more from these queues. What is cached is still polled.
    pub fn pause(&self, queues: &[MessageQueue]) {
        self.set_paused(queues, true);
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self, queues: &[MessageQueue]) {
        self.set_paused(queues, false);
    }

    fn set_paused(&self, queues: &[MessageQueue], paused: bool) {
        let wire = queues.iter().map(|queue| self.namespace().wrap_queue(queue));
        for state in wire.filter_map(|queue| self.inner.state(&queue).ok()) {
            state.paused.store(paused, Ordering::Release);
        }
    }

    /// The queues of a topic, as the name server knows them now.
    pub fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        self.inner.check_open()?;
        let topic = self.namespace().wrap(topic);
        self.inner.instance.update_route(&topic)?;
        let queues = self.inner.instance.subscribe_queues(&topic)?;
        Ok(self.namespace().unwrap_queues(queues))
    }

    /// Tells `listener` whenever the queues of a topic are others than before, on a thread of its own
    /// that looks every [`topic_check_interval`](super::LitePullOptions::topic_check_interval): for
    /// who [assigns](Self::assign) queues to itself. There is one listener a topic, the last one.
    ///
    /// ```
    /// use rocketmq::client::LitePullOptions;
    /// use std::sync::Arc;
    /// # use std::sync::mpsc::channel;
    /// # use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// # let (to, news) = channel();
    ///
    /// let options = LitePullOptions::new("audit").name_servers(names);
    /// # let options = options.topic_check_interval(Duration::from_millis(100));
    /// let consumer = Arc::new(options.start()?);
    /// consumer.assign(consumer.queues("Orders")?, "*")?;
    /// let weak = Arc::downgrade(&consumer);
    /// consumer.on_topic_change("Orders", move |_topic, queues| {
    ///     if let Some(consumer) = weak.upgrade() {
    ///         let assigned = consumer.assign(queues.to_vec(), "*");
    ///         println!("{} queues: {assigned:?}", queues.len());
    ///     }
    /// #   let _ = to.send(queues.len());
    /// })?;
    /// # site.create_topic("Orders", 3)?;
    /// # assert_eq!(news.recv()?, 3);
    /// # assert_eq!(consumer.assignment().len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_topic_change(
        &self,
        topic: &str,
        listener: impl Fn(&str, &[MessageQueue]) + Send + Sync + 'static,
    ) -> Result<(), ClientError> {
        self.inner.check_open()?;
        let topic = self.namespace().wrap(topic);
        check_topic(&topic)?;
        self.inner.watch.add(&self.inner.instance, &topic, Arc::new(listener))
    }

    /// Replaces the list of name servers.
    pub fn set_name_servers(&self, list: impl Into<super::config::NameServerList>) {
        self.inner.instance.set_name_servers(list.into().0);
    }

    /// Persists offsets, leaves the group and stops all threads. Idempotent.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

/// The messages of a consumer, one after the other; see [`LitePullConsumer::messages`].
///
/// ```
/// use rocketmq::client::{LitePullOptions, Messages};
/// use std::time::Duration;
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let consumer = LitePullOptions::new("audit").name_servers(&names).start()?;
/// consumer.subscribe("Orders", "*")?;
/// // For a script that drains what is there.
/// let messages: Messages<'_> = consumer.messages().until_idle_for(Duration::from_millis(200));
/// for message in messages {
///     println!("{}", message?.text());
/// }
/// consumer.set_name_servers(&names);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Messages<'a> {
    consumer: &'a LitePullConsumer,
    batch: Option<Ready>,
    idle_limit: Option<Duration>,
}

impl Messages<'_> {
    /// Ends when nothing came for so long.
    #[must_use]
    pub fn until_idle_for(mut self, limit: Duration) -> Self {
        self.idle_limit = Some(limit);
        self
    }

    fn next_message(&mut self) -> Result<Option<ReceivedMessage>, ClientError> {
        let inner = &self.consumer.inner;
        inner.commit_if_due()?;
        // What is left of a queue that was given up, or sought in, is not handed out any more.
        if self.batch.as_ref().is_none_or(|batch| batch.messages.is_empty() || batch.is_over()) {
            let deadline = self.idle_limit.map(Deadline::after);
            self.batch = loop {
                let wait = deadline.map_or(Some(LOOK_AROUND), |deadline| deadline.left());
                let Some(wait) = wait else { return Ok(None) };
                if let Some(batch) = inner.next_batch(wait)? {
                    break Some(batch);
                }
            };
        }
        let Some(batch) = &mut self.batch else { return Ok(None) };
        let message = batch.messages.pop_front();
        if let Some(message) = &message {
            inner.hand_out(batch, std::slice::from_ref(message));
        }
        Ok(message)
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<ReceivedMessage, ClientError>;

    /// The next message. `None` when nothing came for long enough, or the consumer was shut down.
    fn next(&mut self) -> Option<Self::Item> {
        match self.next_message() {
            Err(ClientError::NotRunning) => None,
            outcome => outcome.transpose(),
        }
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.consumer.inner.put_back(batch);
        }
    }
}

impl Drop for LitePullConsumer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
