//! [`LitePullConsumer`]: the application polls for messages; pulls run ahead of it.
//!
//! Either the group divides the queues ([`subscribe`](LitePullConsumer::subscribe)), or the
//! application names them ([`assign`](LitePullConsumer::assign)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::broker_calls::OffsetAt;
use super::config::{LitePullOptions, MessageModel};
use super::error::ClientError;
use super::instance::{ConsumerRole, Instance};
use super::message::ReceivedMessage;
use super::namespace::Namespace;
use super::offset_store::OffsetStore;
use super::polling::{LiteInner, Mode};
use super::rebalance;
use super::subscription::Filter;
use crate::remoting::protocol::bodies::MessageQueue;

/// A consumer that is polled. Shut down when dropped.
///
/// ```no_run
/// use rocketmq::client::LitePullOptions;
///
/// let consumer = LitePullOptions::new("audit").name_servers("127.0.0.1:9876").start()?;
/// consumer.subscribe("Orders", "*")?;
/// loop {
///     for message in consumer.poll()? {
///         println!("{} {:?}", message.message_id(), message.body());
///     }
///     // Polled messages are committed by a later poll, or here:
///     consumer.commit_sync()?;
/// #   break;
/// }
/// # Ok::<(), rocketmq::client::ClientError>(())
/// ```
pub struct LitePullConsumer {
    inner: Arc<LiteInner>,
}

impl LitePullOptions {
    /// Starts a consumer without queues.
    pub fn start(mut self) -> Result<LitePullConsumer, ClientError> {
        self.client.enter_namespace(&mut self.group);
        self.check()?;
        let broadcasting = self.message_model == MessageModel::Broadcasting;
        let client_id = self.client.client_id(broadcasting, true);
        let instance = Instance::open(&self.client, client_id, true)?;
        let result = LitePullConsumer::assemble(self, &instance);
        if result.is_err() {
            instance.close();
        }
        result
    }
}

impl LitePullConsumer {
    fn assemble(options: LitePullOptions, instance: &Arc<Instance>) -> Result<Self, ClientError> {
        let (group, model) = (options.group.clone(), options.message_model);
        let offsets = OffsetStore::of_model(model, &group, instance, &options.offset_directory)?;
        let inner = LiteInner::new(options, instance, offsets);
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

    /// Commits all messages that were polled, in memory; brokers are told at intervals.
    pub fn commit(&self) {
        self.inner.commit();
    }

    /// Commits all messages that were polled, and waits until brokers were told.
    pub fn commit_sync(&self) -> Result<(), ClientError> {
        self.inner.check_open()?;
        self.inner.commit();
        self.inner.offsets.persist_now(&self.inner.queues.names());
        Ok(())
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

    /// Replaces the list of name servers.
    pub fn set_name_servers(&self, list: impl Into<super::config::NameServerList>) {
        self.inner.instance.set_name_servers(list.into().0);
    }

    /// Persists offsets, leaves the group and stops all threads. Idempotent.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Drop for LitePullConsumer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
