//! Calls to brokers that every kind of consumer makes: offsets, members of a group, locks of
//! queues, messages given back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::ClientError;
use super::instance::{Instance, broker_error, json_body, read_body};
use super::message::ReceivedMessage;
use crate::remoting::Command;
use crate::remoting::protocol::bodies::{
    CheckClientConfigBody, ConsumerList, LockBatchBody, LockBatchResult, MessageQueue,
};
use crate::remoting::protocol::headers::{
    ConsumerGroupHeader, ConsumerSendMsgBackRequestHeader, OffsetResponseHeader,
    QueryConsumerOffsetRequestHeader, QueueRequestHeader, SearchOffsetRequestHeader,
    UpdateConsumerOffsetRequestHeader,
};
use crate::remoting::protocol::heartbeat::SubscriptionData;
use crate::remoting::protocol::{request_code, response_code};

/// Limit of a query for an offset.
const OFFSET_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of a message given back.
const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of locking and unlocking queues.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Deliveries of a message before the dead-letter topic, by default.
pub(crate) const DEFAULT_RECONSUME_TIMES: i32 = 16;

/// Where to look up an offset of a queue.
///
/// ```
/// use rocketmq::client::{Message, OffsetAt, ProducerOptions};
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names).start()?;
/// let queue = producer.send(&Message::new("Orders", "one book"))?.queue;
/// let (first, end) = (producer.offset_at(&queue, OffsetAt::Min)?, producer.offset_at(&queue, OffsetAt::Max)?);
/// println!("{first} to {end}; since yesterday {}", {
///     let yesterday = rocketmq::common::clock::now_ms() - 86_400_000;
///     producer.offset_at(&queue, OffsetAt::Time(yesterday))?
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first message.
    Min,
    /// The next message to be written.
    Max,
    /// The first message stored at or after a time, ms.
    Time(i64),
}

/// How a message is given back to its group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendBack<'a> {
    /// Group.
    pub group: &'a str,
    /// 0: the broker chooses; negative: to the dead-letter topic; else that level.
    pub delay_level: i32,
    /// Deliveries before the dead-letter topic.
    pub max_reconsume_times: i32,
}

impl<'a> SendBack<'a> {
    /// With so many deliveries as in Java.
    pub fn by_default(group: &'a str, delay_level: i32) -> Self {
        Self { group, delay_level, max_reconsume_times: DEFAULT_RECONSUME_TIMES }
    }
}

fn read_offset(addr: &str, response: &Command) -> Result<i64, ClientError> {
    response
        .header::<OffsetResponseHeader>()
        .map(|header| header.offset)
        .map_err(|error| ClientError::Decode { addr: addr.to_owned(), reason: error.to_string() })
}

impl Instance {
    /// An offset of a queue, from its master.
    pub fn offset_at(
        self: &Arc<Self>,
        queue: &MessageQueue,
        at: OffsetAt,
    ) -> Result<i64, ClientError> {
        let addr = self.vip(self.master(&queue.broker_name, &queue.topic)?);
        let plain = |code| {
            Command::request(code).with_header(&QueueRequestHeader {
                topic: queue.topic.clone(),
                queue_id: queue.queue_id,
                broker_name: Some(queue.broker_name.clone()),
            })
        };
        let request = match at {
            OffsetAt::Min => plain(request_code::GET_MIN_OFFSET),
            OffsetAt::Max => plain(request_code::GET_MAX_OFFSET),
            OffsetAt::Time(timestamp) => Command::request(request_code::SEARCH_OFFSET_BY_TIMESTAMP)
                .with_header(&SearchOffsetRequestHeader {
                    topic: queue.topic.clone(),
                    queue_id: queue.queue_id,
                    timestamp,
                    broker_name: Some(queue.broker_name.clone()),
                }),
        };
        let response = self.call_ok(&addr, request, OFFSET_TIMEOUT)?;
        read_offset(&addr, &response)
    }

    /// The offset that a broker has for a group; `None` if it has none. Any other failure is an
    /// error, so that a group never starts over because of it (Java 4.9 takes every refusal for
    /// "none").
    pub fn query_consumer_offset(
        self: &Arc<Self>,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        let addr = self.vip(self.reader(queue, super::route::MASTER_ID)?.0);
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
        };
        let request = Command::request(request_code::QUERY_CONSUMER_OFFSET).with_header(&header);
        let response = self.call(&addr, request, OFFSET_TIMEOUT)?;
        match response.code {
            response_code::SUCCESS => {
                // A JavaScript client stores -1 for "none".
                read_offset(&addr, &response).map(|offset| (offset >= 0).then_some(offset))
            }
            response_code::QUERY_NOT_FOUND => Ok(None),
            _ => Err(broker_error(&addr, response)),
        }
    }

    /// The request that tells a broker the offset of a group, and where it goes.
    pub fn offset_update(
        self: &Arc<Self>,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(String, Command), ClientError> {
        let addr = self.vip(self.reader(queue, super::route::MASTER_ID)?.0);
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset: offset,
            broker_name: Some(queue.broker_name.clone()),
        };
        Ok((addr, Command::request(request_code::UPDATE_CONSUMER_OFFSET).with_header(&header)))
    }

    /// Client ids of the members of a group that consumes `topic`.
    pub fn members(self: &Arc<Self>, group: &str, topic: &str) -> Result<Vec<String>, ClientError> {
        let any_broker = |instance: &Arc<Self>| {
            let route = instance.route(topic)?;
            route.any_broker().map(str::to_owned)
        };
        let addr = match any_broker(self) {
            Some(addr) => addr,
            None => {
                self.update_route(topic)?;
                any_broker(self).ok_or_else(|| ClientError::NoRoute { topic: topic.to_owned() })?
            }
        };
        let header = ConsumerGroupHeader { consumer_group: group.to_owned() };
        let request =
            Command::request(request_code::GET_CONSUMER_LIST_BY_GROUP).with_header(&header);
        let addr = self.vip(addr);
        let response = self.call_ok(&addr, request, self.options.api_timeout)?;
        read_body::<ConsumerList>(&addr, &response).map(|list| list.consumer_id_list)
    }

    fn lock_body(&self, group: &str, queues: Vec<MessageQueue>) -> Vec<u8> {
        json_body(&LockBatchBody {
            client_id: Some(self.client_id.clone()),
            consumer_group: Some(group.to_owned()),
            mq_set: queues,
        })
    }

    /// Locks queues of one broker for this client. Returns those that it holds now.
    pub fn lock_queues(
        self: &Arc<Self>,
        group: &str,
        queues: Vec<MessageQueue>,
    ) -> Result<BTreeSet<MessageQueue>, ClientError> {
        let Some(first) = queues.first() else { return Ok(BTreeSet::new()) };
        let addr = self.vip(self.master(&first.broker_name, &first.topic)?);
        let request =
            Command::request(request_code::LOCK_BATCH_MQ).with_body(self.lock_body(group, queues));
        let response = self.call_ok(&addr, request, LOCK_TIMEOUT)?;
        let result: LockBatchResult = read_body(&addr, &response)?;
        Ok(result.lock_ok_mq_set.into_iter().collect())
    }

    /// Unlocks queues of one broker.
    pub fn unlock_queues(
        self: &Arc<Self>,
        group: &str,
        queues: Vec<MessageQueue>,
    ) -> Result<(), ClientError> {
        let Some(first) = queues.first() else { return Ok(()) };
        let addr = self.vip(self.master(&first.broker_name, &first.topic)?);
        let request = Command::request(request_code::UNLOCK_BATCH_MQ)
            .with_body(self.lock_body(group, queues));
        self.call_ok(&addr, request, LOCK_TIMEOUT).map(drop)
    }

    /// Gives a message back to its group, to be delivered again after a delay.
    pub fn send_back(
        self: &Arc<Self>,
        message: &ReceivedMessage,
        how: &SendBack<'_>,
    ) -> Result<(), ClientError> {
        let facts = message.facts();
        let topic = self.options.namespace.wrap(message.topic());
        let addr = if message.broker_name().is_empty() {
            facts.store_host.to_string()
        } else {
            self.master(message.broker_name(), &topic)?
        };
        let header = ConsumerSendMsgBackRequestHeader {
            offset: Some(facts.commit_log_offset),
            group: how.group.to_owned(),
            delay_level: Some(how.delay_level),
            origin_msg_id: Some(message.message_id()),
            origin_topic: Some(topic.into_owned()),
            unit_mode: Some(self.options.unit_mode),
            max_reconsume_times: Some(how.max_reconsume_times),
            broker_name: Some(message.broker_name().to_owned()),
        };
        let request = Command::request(request_code::CONSUMER_SEND_MSG_BACK).with_header(&header);
        self.call_ok(&self.vip(addr), request, SEND_BACK_TIMEOUT).map(drop)
    }

    /// Lets a broker of the topic check an expression.
    pub fn check_expression(
        &self,
        group: &str,
        subscription: &SubscriptionData,
    ) -> Result<(), ClientError> {
        let topic = &subscription.topic;
        let addr = self.route(topic).and_then(|route| route.any_broker().map(str::to_owned));
        let addr = addr.ok_or_else(|| ClientError::NoRoute { topic: topic.clone() })?;
        let body = CheckClientConfigBody {
            client_id: Some(self.client_id.clone()),
            group: Some(group.to_owned()),
            subscription_data: Some(subscription.clone()),
        };
        let request =
            Command::request(request_code::CHECK_CLIENT_CONFIG).with_body(json_body(&body));
        self.call_ok(&self.vip(addr), request, self.options.api_timeout).map(drop)
    }
}
