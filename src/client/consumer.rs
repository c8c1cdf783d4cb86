//! [`PushConsumer`]: messages of a group's topics come to a listener.
//!
//! | thread | count | does |
//! |---|---|---|
//! | `ConsumeMsg_n` | up to `consume_threads` | the listener |
//! | `ConsumeSched` | 1 | retries, renewal of locks, expiry, samples |

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::broker_calls::OffsetAt;
use super::concurrent::{ConcurrentContext, ConcurrentService, ConsumeResult};
use super::config::{ConsumerOptions, MAX_CONSUME_THREADS, MessageModel, ProducerOptions};
use super::error::ClientError;
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::offset_store::Offsets;
use super::orderly::{OrderlyContext, OrderlyResult, OrderlyService};
use super::push::{PushInner, PushParts, Service};
use super::sender::{INNER_PRODUCER_GROUP, Sender};
use super::stats::SAMPLE_INTERVAL;
use super::subscription::Filter;
use super::trace::Tracer;
use super::validate::{check_range, check_topic};
use crate::common::scheduler::Scheduler;
use crate::common::topic::retry_topic;
use crate::remoting::protocol::bodies::MessageQueue;

/// A consumer whose messages come to a listener. Shut down when dropped.
///
/// ```
/// use rocketmq::client::{ConsumeResult, ConsumerOptions};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let consumer = ConsumerOptions::new("billing")
///     .name_servers(names)
///     .subscribe("Orders", "paid || refunded")
///     .start_concurrent(|messages, _context| {
///         for message in messages {
///             println!("{} {:?}", message.message_id(), message.body());
///         }
///         ConsumeResult::Success
///     })?;
/// # consumer.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PushConsumer {
    inner: Arc<PushInner>,
}

impl std::fmt::Debug for PushConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConsumer")
            .field("client_id", &self.client_id())
            .field("group", &self.inner.options.group)
            .finish()
    }
}

impl ConsumerOptions {
    /// Starts a consumer whose listener gets messages in any order, on several threads at once. A
    /// panic of the listener counts as [`ConsumeResult::Later`].
    pub fn start_concurrent(
        self,
        listener: impl Fn(&[ReceivedMessage], &mut ConcurrentContext<'_>) -> ConsumeResult
        + Send
        + Sync
        + 'static,
    ) -> Result<PushConsumer, ClientError> {
        let threads = self.consume_threads;
        PushConsumer::start(self, || {
            Service::Concurrent(ConcurrentService::new(Arc::new(listener), threads))
        })
    }

    /// Starts a consumer whose listener gets the messages of a queue in order, one call at a time.
    /// A panic of the listener counts as [`OrderlyResult::Suspend`].
    ///
    /// ```
    /// use rocketmq::client::{ConsumerOptions, OrderlyResult};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Steps", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let consumer = ConsumerOptions::new("ledger")
    ///     .name_servers(names)
    ///     .subscribe("Steps", "*")
    ///     .start_orderly(|messages, context| {
    ///         println!("{} of {:?}", messages.len(), context.queue);
    ///         OrderlyResult::Success
    ///     })?;
    /// # consumer.shutdown();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_orderly(
        self,
        listener: impl Fn(&[ReceivedMessage], &mut OrderlyContext<'_>) -> OrderlyResult
        + Send
        + Sync
        + 'static,
    ) -> Result<PushConsumer, ClientError> {
        let threads = self.consume_threads;
        PushConsumer::start(self, || {
            Service::Orderly(OrderlyService::new(Arc::new(listener), threads))
        })
    }
}

impl PushConsumer {
    fn start(
        mut options: ConsumerOptions,
        service: impl FnOnce() -> Service,
    ) -> Result<Self, ClientError> {
        options.client.enter_namespace(&mut options.group);
        options.check()?;
        let tracer = Tracer::attach(&mut options.client, &options.group, "CONSUME");
        let namespace = options.client.namespace.clone();
        let clustering = options.message_model == MessageModel::Clustering;
        let retry: Arc<str> = retry_topic(&options.group).into();
        let mut subscriptions = BTreeMap::new();
        for (topic, filter) in &options.subscriptions {
            let topic = namespace.wrap(topic);
            let subscription = Arc::new(filter.subscription(&topic)?);
            subscriptions.insert(topic.into_owned(), subscription);
        }
        if clustering {
            let own = Filter::all().subscription(&retry)?;
            subscriptions.insert(retry.to_string(), Arc::new(own));
        }
        let client_id = options.client.client_id(!clustering, false);
        let instance = Instance::open(&options.client, client_id, false)?;
        let started = Self::assemble(options, tracer, &instance, subscriptions, retry, service);
        match started {
            Ok(inner) => {
                let consumer = Self { inner };
                // On failure the drop shuts down what is there.
                consumer.join_group()?;
                Ok(consumer)
            }
            Err(error) => {
                instance.close();
                Err(error)
            }
        }
    }

    fn assemble(
        options: ConsumerOptions,
        tracer: Option<Tracer>,
        instance: &Arc<Instance>,
        subscriptions: BTreeMap<
            String,
            Arc<crate::remoting::protocol::heartbeat::SubscriptionData>,
        >,
        retry_topic: Arc<str>,
        service: impl FnOnce() -> Service,
    ) -> Result<Arc<PushInner>, ClientError> {
        let (group, model) = (options.group.clone(), options.message_model);
        let (chosen, directory) = (&options.offset_store, &options.offset_directory);
        let offsets = Offsets::new(chosen, model, &group, instance, directory)?;
        let scheduler = Scheduler::new("ConsumeSched")
            .map_err(|error| ClientError::Io(format!("no thread: {error}")))?;
        let inner_producer = ProducerOptions {
            client: options.client.clone(),
            group: INNER_PRODUCER_GROUP.to_owned(),
            ..ProducerOptions::default()
        };
        let inner = PushInner::new(PushParts {
            options,
            tracer,
            instance: Arc::clone(instance),
            offsets,
            scheduler,
            subscriptions,
            service: service(),
            sender: Sender::new(inner_producer, Arc::clone(instance)),
            retry_topic,
        });
        let role: Arc<dyn ConsumerRole> = Arc::<PushInner>::clone(&inner);
        instance.add_consumer(&group, Arc::downgrade(&role))?;
        Ok(inner)
    }

    /// Routes, expressions, heartbeat, first division of queues, timers.
    fn join_group(&self) -> Result<(), ClientError> {
        let inner = &self.inner;
        for topic in inner.topics() {
            match inner.instance.update_route(&topic) {
                Ok(_) | Err(ClientError::NoRoute { .. }) => {}
                // A consumer may start before its servers: it tries again at intervals.
                Err(error) => log::warn!("{}: route of {topic}: {error}", inner.options.group),
            }
        }
        for subscription in inner.data().subscription_data_set {
            if Filter::needs_check(&subscription) {
                inner.instance.check_expression(&inner.options.group, &subscription)?;
            }
        }
        let every = |what: &str, first: Duration, period: Duration, duty: fn(&Arc<PushInner>)| {
            let consumer: Weak<PushInner> = Arc::downgrade(inner);
            inner.scheduler.at_fixed_rate(what, first, period, move || {
                if let Some(consumer) = consumer.upgrade() {
                    duty(&consumer);
                }
            });
        };
        every("samples", SAMPLE_INTERVAL, SAMPLE_INTERVAL, |consumer| consumer.stats.sample());
        let timeout = inner.options.consume_timeout;
        match &inner.service {
            Service::Concurrent(_) => every("expiry", timeout, timeout, super::concurrent::expire),
            Service::Orderly(_) if inner.is_clustering() => {
                let interval = super::orderly::LOCK_INTERVAL;
                every("locks", Duration::from_secs(1), interval, super::orderly::renew_locks);
            }
            Service::Orderly(_) => {}
        }
        inner.instance.heartbeat();
        inner.instance.rebalance_soon();
        inner.instance.look_for_missing();
        Ok(())
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.inner.instance.client_id
    }

    /// Adds or changes a subscription while running. All members of the group must do the same.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeResult, ConsumerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # site.create_topic("Bills", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let options = ConsumerOptions::new("billing").name_servers(names).subscribe("Orders", "*");
    /// let consumer = options.start_concurrent(|_, _| ConsumeResult::Success)?;
    /// consumer.subscribe("Bills", "*")?;
    /// consumer.suspend(); // Nothing more is pulled.
    /// consumer.resume();
    /// consumer.unsubscribe("Bills");
    /// consumer.reset_to_time(0)?; // Everything again.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self, topic: &str, filter: impl Into<Filter>) -> Result<(), ClientError> {
        let inner = &self.inner;
        if inner.is_closed() {
            return Err(ClientError::NotRunning);
        }
        let topic = inner.options.client.namespace.wrap(topic);
        check_topic(&topic)?;
        inner.instance.update_route(&topic)?;
        let group = &inner.options.group;
        inner.subscriptions.add(&inner.instance, group, &topic, &filter.into())
    }

    /// Ends a subscription: its queues are given up soon, with their offsets persisted.
    pub fn unsubscribe(&self, topic: &str) {
        let inner = &self.inner;
        inner.subscriptions.remove(&inner.options.client.namespace.wrap(topic));
        inner.instance.rebalance_soon();
    }

    /// Pulls nothing more until [`resume`](Self::resume). What is cached is still consumed.
    pub fn suspend(&self) {
        self.inner.suspended.store(true, Ordering::Release);
    }

    /// Goes on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.inner.suspended.store(false, Ordering::Release);
        self.inner.instance.rebalance_soon();
    }

    /// How many threads run the listener at most.
    pub fn consume_threads(&self) -> usize {
        self.inner.service.threads()
    }

    /// Changes how many threads run the listener at most, 1 to 1000. Calls that run are not
    /// interrupted: with fewer threads, surplus ones end when their listener returns.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeResult, ConsumerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 1)?;
    /// # let names = site.name_servers();
    ///
    /// let options = ConsumerOptions::new("billing").name_servers(names).subscribe("Orders", "*");
    /// let consumer = options.start_concurrent(|_, _| ConsumeResult::Success)?;
    /// assert_eq!(consumer.consume_threads(), 20);
    /// consumer.set_consume_threads(64)?;
    /// assert!(consumer.set_consume_threads(0).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_consume_threads(&self, threads: usize) -> Result<(), ClientError> {
        check_range("consume_threads", threads as i64, 1..=MAX_CONSUME_THREADS as i64)?;
        match &self.inner.service {
            Service::Concurrent(service) => service.set_threads(&self.inner, threads),
            Service::Orderly(service) => service.set_threads(threads),
        }
        Ok(())
    }

    /// Gives a message back to the group: delivered again after a delay (level 0: the broker
    /// chooses; negative: to the dead-letter topic).
    ///
    /// ```
    /// use rocketmq::client::{ConsumeResult, ConsumerOptions};
    /// use std::sync::mpsc::channel;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let (to, later) = channel();
    /// let options = ConsumerOptions::new("billing").name_servers(names).subscribe("Orders", "*");
    /// let consumer = options.start_concurrent(move |messages, _| {
    ///     // Taken over: what becomes of them is decided elsewhere.
    ///     messages.iter().for_each(|message| drop(to.send(message.clone())));
    ///     ConsumeResult::Success
    /// })?;
    /// println!("{} queues in all", consumer.topic_queues("Orders")?.len());
    /// for message in later.try_iter() {
    ///     consumer.send_back(&message, 3)?; // It comes again in 10 s.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_back(
        &self,
        message: &ReceivedMessage,
        delay_level: i32,
    ) -> Result<(), ClientError> {
        if self.inner.is_closed() {
            return Err(ClientError::NotRunning);
        }
        self.inner.give_back(message, delay_level)
    }

    /// The queues that this member has now.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.inner.options.client.namespace.unwrap_queues(self.wire_queues())
    }

    /// All queues of a topic, as the name server knows them now.
    pub fn topic_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let inner = &self.inner;
        if inner.is_closed() {
            return Err(ClientError::NotRunning);
        }
        let namespace = &inner.options.client.namespace;
        let topic = namespace.wrap(topic);
        inner.instance.update_route(&topic)?;
        Ok(namespace.unwrap_queues(inner.instance.subscribe_queues(&topic)?))
    }

    /// Those that this member has, as they are on the wire.
    fn wire_queues(&self) -> Vec<MessageQueue> {
        let queues = self.inner.queues().all();
        queues.iter().filter(|q| !q.is_dropped()).map(|q| q.queue.clone()).collect()
    }

    /// Starts over at the messages stored at `timestamp` (ms) or later, in the queues that this
    /// member has. Other members do the same for theirs.
    pub fn reset_to_time(&self, timestamp: i64) -> Result<(), ClientError> {
        let mut by_topic: BTreeMap<String, BTreeMap<MessageQueue, i64>> = BTreeMap::new();
        for queue in self.wire_queues() {
            let offset = self.inner.instance.offset_at(&queue, OffsetAt::Time(timestamp))?;
            by_topic.entry(queue.topic.clone()).or_default().insert(queue, offset);
        }
        for (topic, offsets) in by_topic {
            Arc::clone(&self.inner).reset_offsets(&topic, offsets);
        }
        Ok(())
    }

    /// Leaves the group: waits for listeners that run (`shutdown_wait` at most), persists offsets,
    /// gives up locks, and stops all threads. Idempotent.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
