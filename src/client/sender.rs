//! `Sender`: how a message gets to a broker: checks, encoding, choice of queue, attempts.
//!
//! Producers send through it, and consumers when they have to give a message back by an ordinary
//! send.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch;
use super::config::{Deadline, ProducerOptions};
use super::error::{Attempt, ClientError};
use super::fault::LatencyFaults;
use super::hooks::{self, AfterSend, SendAttempt, SendMode, kind_of};
use super::instance::{Instance, broker_error};
use super::namespace::Namespace;
use super::route::{TopicRoute, random_start};
use super::validate::{check_message, check_properties_length, check_topic};
use crate::common::checksum::java_hash;
use crate::common::clock::now_ms;
use crate::common::message::Message;
use crate::common::message_id::unique_key;
use crate::common::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use crate::common::shared_bytes::SharedBytes;
use crate::common::topic::RETRY_PREFIX;
use crate::common::{properties, sys_flag};
use crate::remoting::protocol::bodies::MessageQueue;
use crate::remoting::protocol::headers::SendMessageResponseHeader;
use crate::remoting::protocol::{request_code, response_code};
use crate::remoting::{Body, Command, Fields};

pub(crate) const INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";
/// Bodies up to this size are copied into each attempt's frame; larger ones are shared.
const COPY_LIMIT: usize = 4096;

/// Bytes of the properties that a send adds: the unique key, `WAIT`.
const ADDED_BYTES: usize = 96;
/// Fields of a send, and bytes of their names and values without the properties.
const FIELDS: usize = 14;
/// See [`FIELDS`].
const FIELD_BYTES: usize = 128;

/// How well a message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// Stored as the broker's configuration demands.
    Ok,
    /// Stored; the synchronous flush took too long.
    FlushDiskTimeout,
    /// Stored; the synchronous replication took too long.
    FlushSlaveTimeout,
    /// Stored; there is no slave to replicate to.
    SlaveNotAvailable,
}

impl SendStatus {
    /// What the code of an answer says of a message that is stored; `None`: it is not.
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        match code {
            response_code::SUCCESS => Some(Self::Ok),
            response_code::FLUSH_DISK_TIMEOUT => Some(Self::FlushDiskTimeout),
            response_code::FLUSH_SLAVE_TIMEOUT => Some(Self::FlushSlaveTimeout),
            response_code::SLAVE_NOT_AVAILABLE => Some(Self::SlaveNotAvailable),
            _ => None,
        }
    }

    /// Java's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "SEND_OK",
            Self::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            Self::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            Self::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        }
    }
}

/// Where a message was stored.
///
/// ```
/// use rocketmq::client::{Message, ProducerOptions, SendStatus};
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names).start()?;
/// let result = producer.send(&Message::new("Orders", "one book"))?;
/// // Anything else is stored as well, but not flushed or replicated in time.
/// assert_eq!(result.status, SendStatus::Ok);
/// println!("{} at {} of {:?}", result.message_id, result.queue_offset, result.queue);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// How well.
    pub status: SendStatus,
    /// Unique key; of a batch, the keys joined with `,`.
    pub message_id: String,
    /// The broker's message id; of a batch, the ids joined with `,`.
    pub offset_message_id: String,
    /// Queue.
    pub queue: MessageQueue,
    /// Offset in the queue; of a batch, of its first message.
    pub queue_offset: i64,
    /// Set by brokers other than 4.9's.
    pub transaction_id: Option<String>,
    /// Region of the broker.
    pub region_id: String,
    /// Whether the broker wants the message traced.
    pub trace_on: bool,
}

/// Which queue a message goes to.
///
/// ```
/// use rocketmq::client::{Message, MessageQueue, ProducerOptions, Target};
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names).start()?;
/// let message = Message::new("Orders", "one book");
/// // What has one key stays in order.
/// let one = producer.send_to(&message, Target::Key("customer-5"))?;
/// let two = producer.send_to(&message, Target::Key("customer-5"))?;
/// assert_eq!(one.queue, two.queue);
/// let last = |queues: &[MessageQueue], _: &Message| queues.len() - 1;
/// producer.send_to(&message, Target::Select(&last))?;
/// producer.send_to(&message, Target::Queue(&one.queue))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default)]
pub enum Target<'a> {
    /// All in turn; retries go to another broker.
    #[default]
    InTurn,
    /// This one.
    Queue(&'a MessageQueue),
    /// Any.
    Random,
    /// The same one for the same key (Java's `SelectMessageQueueByHash` of a string), so that the
    /// messages of a key stay in order.
    Key(&'a str),
    /// The one at the position that the function returns for the topic's queues.
    Select(&'a dyn Fn(&[MessageQueue], &Message) -> usize),
}

/// The queue of an attempt: one in turn is where it stands in its route, which costs no copy.
#[derive(Debug)]
pub(super) enum Place {
    Named(MessageQueue),
    InRoute(Arc<TopicRoute>, usize),
}

impl std::ops::Deref for Place {
    type Target = MessageQueue;

    fn deref(&self) -> &MessageQueue {
        match self {
            Self::Named(queue) => queue,
            Self::InRoute(route, at) => &route.publish[*at],
        }
    }
}

/// A message as it goes into requests, however many attempts it takes.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub topic: String,
    flag: i32,
    sys_flag: i32,
    properties: String,
    pub(super) body: Payload,
    pub message_id: String,
    reconsume_times: i32,
    max_reconsume_times: Option<i32>,
    code: i32,
}

#[derive(Debug)]
pub(super) enum Payload {
    Small(Vec<u8>),
    Large(Arc<LargeBody>),
}

#[derive(Debug)]
pub(super) struct LargeBody(Vec<u8>);

impl SharedBytes for LargeBody {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn slices<'a>(&'a self, out: &mut Vec<std::io::IoSlice<'a>>) {
        out.push(std::io::IoSlice::new(&self.0));
    }
}

impl Payload {
    fn new(bytes: Vec<u8>) -> Self {
        if bytes.len() <= COPY_LIMIT {
            Self::Small(bytes)
        } else {
            Self::Large(Arc::new(LargeBody(bytes)))
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(bytes) => bytes.0.len(),
        }
    }

    fn to_body(&self) -> Body {
        match self {
            Self::Small(bytes) => Body::Bytes(bytes.clone()),
            Self::Large(bytes) => Body::Shared(Arc::<LargeBody>::clone(bytes)),
        }
    }
}

fn is_reply(message: &Message) -> bool {
    message.properties.get(properties::MESSAGE_TYPE) == Some("reply")
}

/// Sends for a group, through an instance.
pub(crate) struct Sender {
    pub options: ProducerOptions,
    pub instance: Arc<Instance>,
    pub faults: LatencyFaults,
}

impl Sender {
    pub fn new(options: ProducerOptions, instance: Arc<Instance>) -> Self {
        let mut faults = LatencyFaults::new(options.latency_penalties.clone());
        if options.probe_brokers {
            faults = faults.until_reached();
        }
        Self { options, instance, faults }
    }

    fn namespace(&self) -> &Namespace {
        &self.options.client.namespace
    }

    /// The topic of a message on the wire. Those that answer requests have no namespace: the reply
    /// topic is the cluster's.
    fn topic_of<'a>(&self, message: &'a Message) -> Cow<'a, str> {
        if self.namespace().name().is_some() && is_reply(message) {
            return message.topic.as_str().into();
        }
        self.namespace().wrap(&message.topic)
    }

    /// Checks a message and works out what all attempts have in common.
    pub fn prepare(&self, message: &Message) -> Result<Prepared, ClientError> {
        let topic = self.topic_of(message);
        check_message(&topic, message, self.options.max_message_bytes)?;
        let own = &message.properties;
        let mut text = own.encode_with_room(ADDED_BYTES);
        let mut add = |name: &str, value: &str| {
            if !text.is_empty() {
                text.push(PROPERTY_SEPARATOR);
            }
            text.push_str(name);
            text.push(NAME_VALUE_SEPARATOR);
            text.push_str(value);
        };
        let message_id = match own.get(properties::UNIQUE_KEY) {
            Some(id) => id.to_owned(),
            None => {
                let id = unique_key();
                add(properties::UNIQUE_KEY, &id);
                id
            }
        };
        if own.get(properties::WAIT).is_none() {
            add(properties::WAIT, "true");
        }
        if let Some(name) = self.namespace().name() {
            add(properties::INSTANCE_ID, name);
        }
        check_properties_length(&text)?;
        let is_true = |name| own.get(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let mut flags = 0;
        if is_true(properties::TRANSACTION_PREPARED) {
            flags |= sys_flag::TRANSACTION_PREPARED;
        }
        let (mut reconsume_times, mut max_reconsume_times) = (0, None);
        if message.topic.starts_with(RETRY_PREFIX) {
            let number = |name| own.get(name).and_then(|text| text.parse().ok());
            reconsume_times = number(properties::RECONSUME_TIME).unwrap_or(0);
            max_reconsume_times = number(properties::MAX_RECONSUME_TIMES);
        }
        let body = if message.body.len() >= self.options.compress_over {
            flags |= sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB;
            let level = self.options.compress_level;
            miniz_oxide::deflate::compress_to_vec_zlib(&message.body, level)
        } else {
            message.body.clone()
        };
        Ok(Prepared {
            topic: topic.into_owned(),
            flag: message.flag,
            sys_flag: flags,
            properties: text,
            body: Payload::new(body),
            message_id,
            reconsume_times,
            max_reconsume_times,
            code: if is_reply(message) {
                request_code::SEND_REPLY_MESSAGE_V2
            } else {
                request_code::SEND_MESSAGE_V2
            },
        })
    }

    /// The same for a batch.
    pub fn prepare_batch(&self, messages: &[Message]) -> Result<Prepared, ClientError> {
        let batch = batch::encode(messages, self.options.max_message_bytes, self.namespace())?;
        Ok(Prepared {
            topic: batch.topic,
            flag: 0,
            sys_flag: 0,
            properties: batch.properties.encode(),
            body: Payload::new(batch.body),
            message_id: batch.message_ids,
            reconsume_times: 0,
            max_reconsume_times: None,
            code: request_code::SEND_BATCH_MESSAGE,
        })
    }

    pub(super) fn request(&self, prepared: &Prepared, queue: &MessageQueue) -> Command {
        let mut request = Command::request(prepared.code);
        let names = self.options.group.len()
            + self.options.create_topic_key.len()
            + prepared.topic.len()
            + queue.broker_name.len();
        let bytes = FIELD_BYTES + names + prepared.properties.len();
        request.fields = Fields::with_capacity(FIELDS, bytes);
        // The fields of `SendMessageRequestHeaderV2`, without a copy of each text.
        let fields = &mut request.fields;
        fields.push_str("a", &self.options.group);
        fields.push_str("b", &prepared.topic);
        fields.push_str("c", &self.options.create_topic_key);
        fields.push_int("d", self.options.default_topic_queues.into());
        fields.push_int("e", queue.queue_id.into());
        fields.push_int("f", prepared.sys_flag.into());
        fields.push_int("g", now_ms());
        fields.push_int("h", prepared.flag.into());
        fields.push_str("i", &prepared.properties);
        fields.push_int("j", prepared.reconsume_times.into());
        fields.push_str("k", if self.options.client.unit_mode { "true" } else { "false" });
        if let Some(times) = prepared.max_reconsume_times {
            fields.push_int("l", times.into());
        }
        let is_batch = prepared.code == request_code::SEND_BATCH_MESSAGE;
        fields.push_str("m", if is_batch { "true" } else { "false" });
        fields.push_str("n", &queue.broker_name);
        request.with_body(prepared.body.to_body())
    }

    /// The route of a topic that is to be written.
    pub fn route(&self, topic: &str) -> Result<Arc<TopicRoute>, ClientError> {
        let topic = self.namespace().wrap(topic);
        check_topic(&topic)?;
        self.instance.publish_route(
            &topic,
            &self.options.create_topic_key,
            self.options.default_topic_queues,
        )
    }

    pub(super) fn next_queue(&self, route: &Arc<TopicRoute>, last: Option<&str>) -> Option<Place> {
        if self.options.avoid_slow_brokers {
            route.next_fit_queue(&self.faults).map(Place::Named)
        } else {
            route.next_place(last).map(|at| Place::InRoute(Arc::clone(route), at))
        }
    }

    /// The queue that a target names; `None` leaves the choice to each attempt.
    pub fn fixed_queue(
        &self,
        message: &Message,
        target: Target<'_>,
    ) -> Result<Option<MessageQueue>, ClientError> {
        let topic = self.topic_of(message);
        if let Target::Queue(queue) = target {
            let queue = self.namespace().wrap_queue(queue);
            if queue.topic != topic {
                return Err(ClientError::Invalid(format!(
                    "the message is for {topic}, the queue of {}",
                    queue.topic
                )));
            }
            return Ok(Some(queue.into_owned()));
        }
        if matches!(target, Target::InTurn) {
            return Ok(None);
        }
        let route = self.route(&topic)?;
        let queues = &route.publish;
        let at = match target {
            Target::Key(key) => {
                let rest = i64::from(java_hash(key)) % (queues.len().max(1) as i64);
                rest.unsigned_abs() as usize
            }
            Target::Select(select) if self.namespace().name().is_some() => {
                select(&self.namespace().unwrap_queues(queues.clone()), message)
            }
            Target::Select(select) => select(queues, message),
            Target::Random | Target::InTurn | Target::Queue(_) => {
                random_start() % queues.len().max(1)
            }
        };
        queues.get(at).cloned().map(Some).ok_or_else(|| {
            ClientError::Invalid(format!(
                "the selector chose the queue at {at} of {}, which has {}",
                message.topic,
                queues.len()
            ))
        })
    }

    pub(super) fn read_result(
        &self,
        message_id: String,
        queue: MessageQueue,
        addr: &str,
        response: Command,
    ) -> Result<SendResult, ClientError> {
        let Some(status) = SendStatus::of_code(response.code) else {
            return Err(broker_error(addr, response));
        };
        let header: SendMessageResponseHeader = response.header().map_err(|error| {
            ClientError::Decode { addr: addr.to_owned(), reason: error.to_string() }
        })?;
        let region = response.fields.get("MSG_REGION").unwrap_or("DefaultRegion");
        Ok(SendResult {
            status,
            message_id,
            offset_message_id: header.msg_id,
            queue: self
                .namespace()
                .unwrap_queue(MessageQueue { queue_id: header.queue_id, ..queue }),
            queue_offset: header.queue_offset,
            transaction_id: header.transaction_id,
            region_id: region.to_owned(),
            trace_on: response.fields.get("TRACE_ON") != Some("false"),
        })
    }

    /// Tells the hooks of an attempt.
    pub(super) fn tell_hooks(
        &self,
        prepared: &Prepared,
        queue: &MessageQueue,
        broker_addr: &str,
        mode: SendMode,
    ) -> Result<Vec<AfterSend>, ClientError> {
        let hooks = &self.options.client.hooks;
        if hooks.is_empty() {
            return Ok(Vec::new());
        }
        hooks.send(&SendAttempt {
            group: &self.options.group,
            queue,
            broker_addr,
            message_id: &prepared.message_id,
            properties: &prepared.properties,
            body_bytes: prepared.body.len(),
            kind: kind_of(&prepared.properties),
            mode,
        })
    }

    /// One attempt.
    fn attempt(
        &self,
        prepared: &Prepared,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let addr = self.instance.vip(self.instance.master(&queue.broker_name, &queue.topic)?);
        let after = self.tell_hooks(prepared, queue, &addr, SendMode::Sync)?;
        let response = self.instance.call(&addr, self.request(prepared, queue), timeout);
        let result = response.and_then(|response| {
            self.read_result(prepared.message_id.clone(), queue.clone(), &addr, response)
        });
        hooks::sent(after, Some(&result));
        result
    }

    fn may_retry(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Broker { code, .. } => self.options.retry_codes.contains(code),
            ClientError::NotRunning | ClientError::Invalid(_) => false,
            _ => true,
        }
    }

    /// Sends and waits: to the queue once, or in turn with retries.
    pub fn send(
        &self,
        prepared: &Prepared,
        queue: Option<MessageQueue>,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let deadline = Deadline::after(timeout);
        let tries = if queue.is_some() { 1 } else { 1 + self.options.retries };
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut stored = None;
        let mut timed_out = false;
        for attempt in 1..=tries {
            let queue = match &queue {
                Some(queue) => Place::Named(queue.clone()),
                None => {
                    let route = self.route(&prepared.topic)?;
                    let last = attempts.last().map(|attempt| attempt.broker_name.as_str());
                    match self.next_queue(&route, last) {
                        Some(queue) => queue,
                        None => break,
                    }
                }
            };
            let Some(mut left) = deadline.left() else {
                timed_out = true;
                break;
            };
            if attempt < tries
                && let Some(limit) = self.options.attempt_timeout
            {
                left = left.min(limit);
            }
            let began = Instant::now();
            let result = self.attempt(prepared, &queue, left);
            let failed =
                result.as_ref().is_err_and(|error| !matches!(error, ClientError::Invalid(_)));
            self.note(&queue.broker_name, began, failed);
            match result {
                Ok(result) => {
                    let again = result.status != SendStatus::Ok && self.options.retry_when_not_ok;
                    stored = Some(result);
                    if !again {
                        break;
                    }
                }
                Err(error) => {
                    let again = self.may_retry(&error);
                    if matches!(error, ClientError::Remoting(_)) {
                        self.instance.update_routes_soon();
                    }
                    let broker_name = queue.broker_name.clone();
                    attempts.push(Attempt { broker_name, error: Box::new(error) });
                    if !again {
                        break;
                    }
                }
            }
        }
        stored.ok_or_else(|| self.failed(&prepared.topic, attempts, &deadline, timed_out))
    }

    pub(super) fn note(&self, broker_name: &str, began: Instant, failed: bool) {
        if self.options.avoid_slow_brokers {
            self.faults.record(broker_name, began.elapsed(), failed);
        }
    }

    pub(super) fn failed(
        &self,
        topic: &str,
        attempts: Vec<Attempt>,
        deadline: &Deadline,
        timed_out: bool,
    ) -> ClientError {
        if attempts.iter().any(|attempt| *attempt.error == ClientError::NotRunning) {
            return ClientError::NotRunning;
        }
        ClientError::SendFailed {
            topic: topic.to_owned(),
            timed_out: timed_out || deadline.left().is_none(),
            elapsed: deadline.elapsed(),
            attempts,
        }
    }

    /// The queue that was named, else the next one in turn.
    pub(super) fn first_place(
        &self,
        topic: &str,
        queue: Option<MessageQueue>,
    ) -> Result<Place, ClientError> {
        match queue {
            Some(queue) => Ok(Place::Named(queue)),
            None => self
                .next_queue(&self.route(topic)?, None)
                .ok_or_else(|| ClientError::NoRoute { topic: topic.to_owned() }),
        }
    }

    /// Sends without waiting for an answer: only local failures are known.
    pub fn send_oneway(
        &self,
        prepared: &Prepared,
        queue: Option<MessageQueue>,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let queue = self.first_place(&prepared.topic, queue)?;
        let addr = self.instance.vip(self.instance.master(&queue.broker_name, &queue.topic)?);
        let after = self.tell_hooks(prepared, &queue, &addr, SendMode::Oneway)?;
        let issued = self.instance.oneway(&addr, self.request(prepared, &queue), timeout);
        hooks::sent(after, None);
        issued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientOptions;
    use crate::remoting::protocol::headers::SendMessageRequestHeaderV2;

    fn sender(options: ProducerOptions) -> Sender {
        let client = ClientOptions::default().name_servers("127.0.0.1:1");
        let instance = Instance::open(&client, client.client_id(false, false), false).unwrap();
        Sender::new(options, instance)
    }

    #[test]
    fn a_request_has_the_declared_header() {
        let sender = sender(ProducerOptions::new("g").compress_over(100));
        let queue = MessageQueue { broker_name: "b".into(), queue_id: 3, topic: "T".into() };
        let message = Message::new("T", vec![b'x'; 200]).with_tag("a");
        let prepared = sender.prepare(&message).unwrap();
        let request = sender.request(&prepared, &queue);
        let header: SendMessageRequestHeaderV2 = request.header().unwrap();
        let mut again = Command::request(310).with_header(&header);
        again.body = request.body.clone();
        assert_eq!(request.fields, again.fields, "same fields, same order");
        assert_eq!((header.queue_id, header.sys_flag, header.batch), (3, 0x301, Some(false)));
        let text = header.properties.unwrap();
        let id = prepared.message_id;
        assert_eq!(text, format!("TAGS\u{1}a\u{2}UNIQ_KEY\u{1}{id}\u{2}WAIT\u{1}true"));
        assert!(request.body.len() < 200);
        sender.instance.close();
    }

    #[test]
    fn retries_carry_their_count_and_replies_their_code() {
        let sender = sender(ProducerOptions::new("g"));
        let retry = Message::new("%RETRY%c", "x")
            .with_property(properties::RECONSUME_TIME, "3")
            .with_property(properties::MAX_RECONSUME_TIMES, "16");
        let prepared = sender.prepare(&retry).unwrap();
        for _ in 0..2 {
            let request = sender.request(&prepared, &MessageQueue::default());
            let header: SendMessageRequestHeaderV2 = request.header().unwrap();
            assert_eq!((header.reconsume_times, header.max_reconsume_times), (Some(3), Some(16)));
        }
        let reply = Message::new("c_REPLY_TOPIC", "x").with_property("MSG_TYPE", "reply");
        let prepared = sender.prepare(&reply).unwrap();
        assert_eq!(prepared.code, request_code::SEND_REPLY_MESSAGE_V2);
        let batch = sender.prepare_batch(&[Message::new("T", "x")]).unwrap();
        let request = sender.request(&batch, &MessageQueue::default());
        assert_eq!((request.code, request.fields.get("m")), (320, Some("true")));
        sender.instance.close();
    }
}
