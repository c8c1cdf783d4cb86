//! [`Producer`]: sends messages, synchronously, asynchronously or without an answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::batch;
use super::config::ProducerOptions;
use super::error::ClientError;
use super::instance::{Instance, ProducerRole};
use super::message::ReceivedMessage;
use super::probe::Probe;
use super::sender::{SendResult, Sender, Target};
use super::trace::Tracer;
use super::validate::check_topic;
use crate::common::message::Message;
use crate::remoting::connection::Connection;
use crate::remoting::protocol::bodies::MessageQueue;
use crate::remoting::protocol::headers::CheckTransactionStateRequestHeader;

/// How long a shutdown waits for asynchronous sends on their way.
const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// Sends messages of a producer group. Shut down when dropped.
///
/// ```
/// use rocketmq::client::{Message, ProducerOptions, Target};
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("orders").name_servers(names).start()?;
/// let result = producer.send(&Message::new("Orders", "created").with_tag("new"))?;
/// println!("{} is in {:?}", result.message_id, result.queue);
/// producer.send_to(&Message::new("Orders", "paid"), Target::Key("order-17"))?;
/// producer.send_async(&Message::new("Orders", "sent"), |result| println!("{result:?}"))?;
/// producer.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Producer {
    inner: Arc<ProducerInner>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("client_id", &self.client_id())
            .field("group", &self.inner.sender.options.group)
            .finish()
    }
}

/// What the instance knows of a producer.
pub(crate) struct ProducerInner {
    pub sender: Arc<Sender>,
    pub checker: Option<super::transaction::Checker>,
    probe: Probe,
    tracer: Option<Tracer>,
    closed: AtomicBool,
}

impl ProducerRole for ProducerInner {
    fn check_transaction(
        self: Arc<Self>,
        connection: &Arc<Connection>,
        header: CheckTransactionStateRequestHeader,
        message: ReceivedMessage,
    ) {
        match &self.checker {
            Some(checker) => checker.submit(&self, connection, header, message),
            None => log::warn!(
                "{}: a broker asks about the half message {}, but this producer sends no \
                 transactions",
                self.sender.options.group,
                message.message_id()
            ),
        }
    }
}

impl ProducerInner {
    pub fn shutdown(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.sender.instance.lanes.wait_idle(FINISH_LIMIT);
            self.probe.stop();
            self.sender.instance.remove_producer(&self.sender.options.group);
            if let Some(checker) = &self.checker {
                checker.stop();
            }
            self.sender.instance.close();
            if let Some(tracer) = &self.tracer {
                tracer.stop();
            }
        }
    }

    /// The sender, while it may be used.
    pub fn sender(&self) -> Result<&Arc<Sender>, ClientError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ClientError::NotRunning);
        }
        Ok(&self.sender)
    }
}

impl ProducerOptions {
    /// Starts a producer: fails on illegal options, a group that this client id uses already, or
    /// no name server configured. That a name server or broker is down shows at the first send.
    pub fn start(self) -> Result<Producer, ClientError> {
        Producer::start(self, None)
    }
}

impl Producer {
    pub(crate) fn start(
        mut options: ProducerOptions,
        checker: Option<super::transaction::Checker>,
    ) -> Result<Self, ClientError> {
        options.client.enter_namespace(&mut options.group);
        options.check()?;
        let tracer = Tracer::attach(&mut options.client, &options.group, "PRODUCE");
        let client_id = options.client.client_id(false, false);
        let instance = Instance::open(&options.client, client_id, false)?;
        let group = options.group.clone();
        let sender = Arc::new(Sender::new(options, Arc::clone(&instance)));
        let started = Probe::start(&sender).and_then(|probe| {
            let closed = AtomicBool::new(false);
            let inner = Arc::new(ProducerInner { sender, checker, probe, tracer, closed });
            let role: Arc<dyn ProducerRole> = Arc::<ProducerInner>::clone(&inner);
            let role: Weak<dyn ProducerRole> = Arc::downgrade(&role);
            instance.add_producer(&group, role).inspect_err(|_| inner.probe.stop())?;
            Ok(Self { inner })
        });
        started.inspect_err(|_| instance.close())
    }

    pub(crate) fn inner(&self) -> &Arc<ProducerInner> {
        &self.inner
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.inner.sender.instance.client_id
    }

    /// Sends and waits until the broker stored the message; tries other brokers in between.
    pub fn send(&self, message: &Message) -> Result<SendResult, ClientError> {
        self.send_to(message, Target::InTurn)
    }

    /// Sends to a queue of choice. Other than in turn there is one attempt only, as another queue
    /// would break the order.
    pub fn send_to(&self, message: &Message, to: Target<'_>) -> Result<SendResult, ClientError> {
        self.send_within(message, to, self.inner.sender.options.send_timeout)
    }

    /// Sends with another limit than the options'.
    ///
    /// ```
    /// # use rocketmq::client::{Message, ProducerOptions, Target};
    /// # use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # let names = site.name_servers();
    /// # let producer = ProducerOptions::new("shop").name_servers(names).start()?;
    /// let limit = Duration::from_secs(10);
    /// producer.send_within(&Message::new("Orders", "one book"), Target::InTurn, limit)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_within(
        &self,
        message: &Message,
        to: Target<'_>,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let sender = self.inner.sender()?;
        let prepared = sender.prepare(message)?;
        let queue = sender.fixed_queue(message, to)?;
        sender.send(&prepared, queue, timeout)
    }

    /// Sends several messages of one topic in one request. All are stored, or none.
    ///
    /// ```
    /// use rocketmq::client::{Message, ProducerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # let names = site.name_servers();
    ///
    /// let producer = ProducerOptions::new("shop").name_servers(names).start()?;
    /// let batch = ["one", "two", "three"].map(|body| Message::new("Orders", body));
    /// let result = producer.send_batch(&batch)?;
    /// assert_eq!(result.message_id.split(',').count(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_batch(&self, messages: &[Message]) -> Result<SendResult, ClientError> {
        self.send_batch_to(messages, Target::InTurn)
    }

    /// The same, to a queue of choice: a selector chooses by the first message.
    ///
    /// ```
    /// use rocketmq::client::{Message, ProducerOptions, Target};
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let options = ProducerOptions::new("shop").name_servers(names);
    /// # let options = options.send_timeout(Duration::from_secs(60));
    /// let producer = options.start()?;
    /// let batch = ["one", "two"].map(|body| Message::new("Orders", body));
    /// let result = producer.send_batch_to(&batch, Target::Key("customer-5"))?;
    /// let queue = Target::Queue(&result.queue);
    /// producer.send_batch_within(&batch, queue, Duration::from_secs(10))?;
    /// # let (to, outcomes) = std::sync::mpsc::channel();
    /// # let told = to.clone();
    /// producer.send_batch_async_to(&batch, queue, move |result| {
    ///     println!("{result:?}");
    /// #   let _ = told.send(result.is_ok());
    /// })?;
    /// producer.send_batch_async(&batch, move |result| {
    ///     println!("{result:?}");
    /// #   let _ = to.send(result.is_ok());
    /// })?;
    /// # assert!(outcomes.iter().all(|is_ok| is_ok));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_batch_to(
        &self,
        messages: &[Message],
        to: Target<'_>,
    ) -> Result<SendResult, ClientError> {
        self.send_batch_within(messages, to, self.inner.sender.options.send_timeout)
    }

    /// The same with another limit than the options'.
    pub fn send_batch_within(
        &self,
        messages: &[Message],
        to: Target<'_>,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let sender = self.inner.sender()?;
        let prepared = sender.prepare_batch(messages)?;
        let queue = messages.first().map(|first| sender.fixed_queue(first, to));
        sender.send(&prepared, queue.transpose()?.flatten(), timeout)
    }

    /// Sends a list of any length as batches of at most `max_bytes` (a broker takes 4 MiB).
    /// Returns the results of the batches that were stored, and the failure that ended it.
    ///
    /// ```
    /// # use rocketmq::client::{Message, ProducerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # let producer = ProducerOptions::new("p").name_servers(site.name_servers()).start()?;
    /// let lines: Vec<_> = (0..1000).map(|n| Message::new("Lines", format!("line {n}"))).collect();
    /// let (stored, failure) = producer.send_batches(&lines, 32 * 1024);
    /// assert_eq!(failure, None);
    /// println!("{} batches", stored.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_batches(
        &self,
        messages: &[Message],
        max_bytes: usize,
    ) -> (Vec<SendResult>, Option<ClientError>) {
        let mut results = Vec::new();
        for batch in batch::split(messages, max_bytes) {
            match self.send_batch(batch) {
                Ok(result) => results.push(result),
                Err(error) => return (results, Some(error)),
            }
        }
        (results, None)
    }

    /// Starts a send and returns. `done` learns the outcome exactly once, on a callback thread,
    /// unless this call fails. The first send of a topic asks for its route, and the first to a
    /// broker connects: both on the caller's thread.
    ///
    /// ```
    /// use rocketmq::client::{Message, ProducerOptions};
    /// use std::sync::mpsc::channel;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # let names = site.name_servers();
    ///
    /// let options = ProducerOptions::new("shop").name_servers(names);
    /// # let options = options.send_timeout(std::time::Duration::from_secs(60));
    /// let producer = options.start()?;
    /// let (to, outcomes) = channel();
    /// for number in 0..100 {
    ///     let to = to.clone();
    ///     // Waits only when too many are on their way.
    ///     producer.send_async(&Message::new("Orders", format!("{number}")), move |result| {
    ///         let _ = to.send(result);
    ///     })?;
    /// }
    /// assert_eq!(outcomes.iter().take(100).filter(Result::is_ok).count(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_async(
        &self,
        message: &Message,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        self.send_async_to(message, Target::InTurn, done)
    }

    /// The same, to a queue of choice.
    ///
    /// ```
    /// use rocketmq::client::{Message, ProducerOptions, Target};
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let options = ProducerOptions::new("shop").name_servers(names);
    /// # let options = options.send_timeout(Duration::from_secs(60));
    /// let producer = options.start()?;
    /// # let (to, outcomes) = std::sync::mpsc::channel();
    /// # let told = to.clone();
    /// let message = Message::new("Orders", "one book");
    /// producer.send_async_to(&message, Target::Key("customer-5"), move |result| {
    ///     println!("{result:?}");
    /// #   let _ = told.send(result.is_ok());
    /// })?;
    /// let limit = Duration::from_secs(10);
    /// producer.send_async_within(&message, Target::Random, limit, move |result| {
    ///     println!("{result:?}");
    /// #   let _ = to.send(result.is_ok());
    /// })?;
    /// producer.send_oneway_to(&message, Target::Key("customer-5"))?;
    /// # assert!(outcomes.iter().all(|is_ok| is_ok));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_async_to(
        &self,
        message: &Message,
        to: Target<'_>,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        self.send_async_within(message, to, self.inner.sender.options.send_timeout, done)
    }

    /// The same with another limit than the options'.
    pub fn send_async_within(
        &self,
        message: &Message,
        to: Target<'_>,
        timeout: Duration,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let sender = self.inner.sender()?;
        let prepared = sender.prepare(message)?;
        let queue = sender.fixed_queue(message, to)?;
        sender.send_async(prepared, queue, timeout, done)
    }

    /// Starts a send of several messages in one request.
    pub fn send_batch_async(
        &self,
        messages: &[Message],
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        self.send_batch_async_to(messages, Target::InTurn, done)
    }

    /// The same, to a queue of choice: a selector chooses by the first message.
    pub fn send_batch_async_to(
        &self,
        messages: &[Message],
        to: Target<'_>,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let sender = self.inner.sender()?;
        let prepared = sender.prepare_batch(messages)?;
        let queue = messages.first().map(|first| sender.fixed_queue(first, to));
        let queue = queue.transpose()?.flatten();
        sender.send_async(prepared, queue, sender.options.send_timeout, done)
    }

    /// Sends without an answer: fast, and nobody knows whether it arrived.
    ///
    /// ```
    /// # use rocketmq::client::{Message, ProducerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # let names = site.name_servers();
    /// # let producer = ProducerOptions::new("shop").name_servers(names).start()?;
    /// producer.send_oneway(&Message::new("Metrics", "17"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_oneway(&self, message: &Message) -> Result<(), ClientError> {
        self.send_oneway_to(message, Target::InTurn)
    }

    /// The same, to a queue of choice.
    pub fn send_oneway_to(&self, message: &Message, to: Target<'_>) -> Result<(), ClientError> {
        let sender = self.inner.sender()?;
        let prepared = sender.prepare(message)?;
        let queue = sender.fixed_queue(message, to)?;
        sender.send_oneway(&prepared, queue, sender.options.send_timeout)
    }

    /// The queues of a topic, as the name server knows them now.
    ///
    /// ```
    /// # use rocketmq::client::ProducerOptions;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 4)?;
    /// # let names = site.name_servers();
    /// # let producer = ProducerOptions::new("shop").name_servers(names).start()?;
    /// assert_eq!(producer.queues("Orders")?.len(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let sender = self.inner.sender()?;
        let namespace = &sender.options.client.namespace;
        let topic = namespace.wrap(topic);
        check_topic(&topic)?;
        sender.instance.update_route(&topic)?;
        sender.route(&topic).map(|route| namespace.unwrap_queues(route.publish.clone()))
    }

    /// An offset of a queue.
    pub fn offset_at(
        &self,
        queue: &MessageQueue,
        at: super::broker_calls::OffsetAt,
    ) -> Result<i64, ClientError> {
        let sender = self.inner.sender()?;
        let queue = sender.options.client.namespace.wrap_queue(queue);
        sender.instance.offset_at(&queue, at)
    }

    /// Takes no more sends, waits for asynchronous ones on their way (3 s at most; what is left
    /// fails), leaves the brokers and stops all threads. Idempotent.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
