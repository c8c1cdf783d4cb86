//! Calls to brokers about messages: find, pull, send.

use std::time::Duration;

use super::{AdminClient, AdminResult, address_of, header_of, not_understood, refused, with};
use crate::client::{ClientError, SendStatus};
use crate::common::compression;
use crate::common::message::{Message, MessageExt};
use crate::common::properties::{self, Properties};
use crate::common::record::read_messages;
use crate::common::topic::AUTO_CREATE_TOPIC;
use crate::common::{clock, message_id, sys_flag};
use crate::remoting::command::Command;
use crate::remoting::protocol::admin_headers::{
    QueryMessageRequestHeader, ResumeCheckHalfMessageRequestHeader, UNIQUE_KEY_QUERY,
    ViewMessageRequestHeader,
};
use crate::remoting::protocol::bodies::{ConsumeDirectlyResult, MessageQueue};
use crate::remoting::protocol::headers::{
    ConsumeMessageDirectlyRequestHeader, PullMessageRequestHeader, PullMessageResponseHeader,
    SendMessageRequestHeaderV2, SendMessageResponseHeader,
};
use crate::remoting::protocol::{request_code, response_code};

/// Messages that QUERY_MESSAGE is asked for.
const QUERY_LIMIT: i32 = 64;
/// A compressed body may unpack to so many bytes; a larger one stays as it is.
const INFLATE_LIMIT: usize = 64 * 1024 * 1024;

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `SEND_OK`, `FLUSH_DISK_TIMEOUT`, `FLUSH_SLAVE_TIMEOUT` or `SLAVE_NOT_AVAILABLE`.
    pub status: &'static str,
    /// Unique key.
    pub message_id: String,
    /// Offset message id.
    pub offset_message_id: String,
    /// Where it lies.
    pub queue: MessageQueue,
    /// Index in the queue.
    pub queue_offset: i64,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// `FOUND`, `NO_NEW_MSG`, `NO_MATCHED_MSG` or `OFFSET_ILLEGAL`.
    pub status: PullStatus,
    /// Where to go on.
    pub next_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Next offset to be written.
    pub max_offset: i64,
    /// Messages, bodies unpacked.
    pub messages: Vec<MessageExt>,
}

/// The kinds of answers to a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages came.
    Found,
    /// Nothing lies at this offset yet.
    NoNewMessage,
    /// What lies here does not match the expression.
    NoMatchedMessage,
    /// The offset is outside of the queue.
    OffsetIllegal,
}

impl PullStatus {
    /// Java's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoNewMessage => "NO_NEW_MSG",
            Self::NoMatchedMessage => "NO_MATCHED_MSG",
            Self::OffsetIllegal => "OFFSET_ILLEGAL",
        }
    }
}

/// What is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFrom<'a> {
    /// Group that the broker counts it for.
    pub group: &'a str,
    /// Queue.
    pub queue: &'a MessageQueue,
    /// First offset wanted.
    pub offset: i64,
    /// Messages wanted at most.
    pub max_messages: i32,
    /// Tags, `a || b`, or `*`.
    pub expression: &'a str,
    /// How long the broker may hold the request when nothing is there; zero answers at once.
    pub hold: Duration,
}

impl AdminClient {
    /// The message at a position of the commit log (33).
    ///
    /// ```
    /// use rocketmq::client::Message;
    /// use rocketmq::client::admin::{AdminClient, PullFrom, PullStatus, address_of};
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// let admin = AdminClient::new(names);
    /// let route = admin.route("Orders")?;
    /// let broker = address_of(&route.broker_datas[0]).ok_or("no address")?;
    /// let queue = admin.topic_stats(broker, "Orders")?.offset_table.into_keys().next().ok_or("none")?;
    /// let sent = admin.send(broker, &queue, "shop", &Message::new("Orders", "one book"))?;
    /// assert_eq!(sent.status, "SEND_OK");
    /// let from = PullFrom {
    ///     group: "audit",
    ///     queue: &queue,
    ///     offset: sent.queue_offset,
    ///     max_messages: 32,
    ///     expression: "*",
    ///     hold: Duration::from_secs(30),
    /// };
    /// let pulled = admin.pull(broker, &from)?;
    /// assert_eq!((pulled.status, pulled.messages.len()), (PullStatus::Found, 1));
    /// let message = admin.view_message(broker, pulled.messages[0].commit_log_offset)?;
    /// assert_eq!(message.message.body, b"one book");
    /// // A member of a group that is online consumes it at once, and tells what came of it.
    /// let id = &sent.offset_message_id;
    /// assert!(admin.consume_directly(broker, "billing", "10.0.0.9@1#1", id).is_err(), "it is not");
    /// // A half message whose transaction was checked too often is checked again.
    /// assert!(admin.resume_check(broker, id).is_err(), "it is none");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn view_message(&self, addr: &str, offset: i64) -> AdminResult<MessageExt> {
        let request = with(request_code::VIEW_MESSAGE_BY_ID, &ViewMessageRequestHeader { offset });
        let mut messages = messages_of(addr, &self.call(addr, request)?)?;
        messages.pop().ok_or_else(|| ClientError::Decode {
            addr: addr.to_owned(),
            reason: "the answer holds no message".to_owned(),
        })
    }

    /// Messages of a topic by key, or by unique key, from all brokers (12). Brokers that fail are
    /// passed over, unless all do.
    pub fn query_messages(
        &self,
        topic: &str,
        key: &str,
        is_unique_key: bool,
    ) -> AdminResult<Vec<MessageExt>> {
        let header = QueryMessageRequestHeader {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num: QUERY_LIMIT,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
        };
        let mut request = with(request_code::QUERY_MESSAGE, &header);
        request.fields.push_str(UNIQUE_KEY_QUERY, if is_unique_key { "true" } else { "false" });
        let matches = |message: &MessageExt| {
            message.message.topic == topic
                && if is_unique_key {
                    message.message_id() == key
                } else {
                    message.message.keys().is_some_and(|keys| keys.split(' ').any(|k| k == key))
                }
        };
        let mut found = Vec::new();
        let mut failure = None;
        let mut answered = false;
        for addr in self.route(topic)?.broker_datas.iter().filter_map(address_of) {
            match self.call_within(addr, request.clone(), self.long_limit()) {
                Ok(answer) => {
                    answered = true;
                    found.extend(messages_of(addr, &answer)?.into_iter().filter(matches));
                }
                Err(ClientError::Broker { code: response_code::QUERY_NOT_FOUND, .. }) => {
                    answered = true;
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(found),
        }
    }

    /// Has a client consume a message at once (309).
    pub fn consume_directly(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        offset_message_id: &str,
    ) -> AdminResult<ConsumeDirectlyResult> {
        let header = ConsumeMessageDirectlyRequestHeader {
            consumer_group: group.to_owned(),
            client_id: Some(client_id.to_owned()),
            msg_id: Some(offset_message_id.to_owned()),
            broker_name: None,
        };
        self.ask_within(
            addr,
            with(request_code::CONSUME_MESSAGE_DIRECTLY, &header),
            self.long_limit(),
        )
    }

    /// Has a half message that was given up checked again from the start (323).
    pub fn resume_check(&self, addr: &str, offset_message_id: &str) -> AdminResult<()> {
        let header =
            ResumeCheckHalfMessageRequestHeader { msg_id: Some(offset_message_id.to_owned()) };
        self.call(addr, with(request_code::RESUME_CHECK_HALF_MESSAGE, &header)).map(drop)
    }

    /// Pulls messages (11). The subscription travels along, so the group need not be online.
    pub fn pull(&self, addr: &str, from: &PullFrom<'_>) -> AdminResult<Pulled> {
        let mut sys_flag = sys_flag::PULL_SUBSCRIPTION;
        if !from.hold.is_zero() {
            sys_flag |= sys_flag::PULL_SUSPEND;
        }
        let header = PullMessageRequestHeader {
            consumer_group: from.group.to_owned(),
            topic: from.queue.topic.clone(),
            queue_id: from.queue.queue_id,
            queue_offset: from.offset,
            max_msg_nums: from.max_messages,
            sys_flag,
            commit_offset: 0,
            suspend_timeout_millis: from.hold.as_millis() as i64,
            subscription: Some(from.expression.to_owned()),
            sub_version: clock::now_ms(),
            expression_type: Some("TAG".to_owned()),
            broker_name: Some(from.queue.broker_name.clone()),
        };
        let request = with(request_code::PULL_MESSAGE, &header);
        let answer = self.call_any_code(addr, request, self.limit + from.hold)?;
        let status = match answer.code {
            response_code::SUCCESS => PullStatus::Found,
            response_code::PULL_NOT_FOUND => PullStatus::NoNewMessage,
            response_code::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
            response_code::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
            _ => return Err(refused(addr, answer)),
        };
        let header: PullMessageResponseHeader = header_of(addr, &answer)?;
        let messages = match status {
            PullStatus::Found => messages_of(addr, &answer)?,
            _ => Vec::new(),
        };
        Ok(Pulled {
            status,
            next_offset: header.next_begin_offset,
            min_offset: header.min_offset,
            max_offset: header.max_offset,
            messages,
        })
    }

    /// Sends a message to a queue (310). A message without a unique key gets one.
    pub fn send(
        &self,
        addr: &str,
        queue: &MessageQueue,
        group: &str,
        message: &Message,
    ) -> AdminResult<Sent> {
        let mut properties: Properties = message.properties.clone();
        let message_id = match properties.get(properties::UNIQUE_KEY) {
            Some(key) => key.to_owned(),
            None => {
                let key = message_id::unique_key();
                properties.set(properties::UNIQUE_KEY, key.clone());
                key
            }
        };
        let header = SendMessageRequestHeaderV2 {
            producer_group: group.to_owned(),
            topic: queue.topic.clone(),
            default_topic: AUTO_CREATE_TOPIC.to_owned(),
            default_topic_queue_nums: 4,
            queue_id: queue.queue_id,
            sys_flag: 0,
            born_timestamp: clock::now_ms(),
            flag: message.flag,
            properties: Some(properties.encode()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: Some(queue.broker_name.clone()),
        };
        let request = with(request_code::SEND_MESSAGE_V2, &header).with_body(message.body.clone());
        let answer = self.call_any_code(addr, request, self.limit)?;
        let Some(status) = SendStatus::of_code(answer.code) else {
            return Err(refused(addr, answer));
        };
        let header: SendMessageResponseHeader = header_of(addr, &answer)?;
        Ok(Sent {
            status: status.name(),
            message_id,
            offset_message_id: header.msg_id,
            queue: MessageQueue { queue_id: header.queue_id, ..queue.clone() },
            queue_offset: header.queue_offset,
        })
    }
}

/// The messages of a body, their own bodies unpacked.
fn messages_of(addr: &str, answer: &Command) -> AdminResult<Vec<MessageExt>> {
    let mut messages =
        read_messages(answer.body.as_bytes()).map_err(|error| not_understood(addr, error))?;
    messages.iter_mut().for_each(unpack);
    Ok(messages)
}

/// Unpacks a compressed body; what cannot be unpacked stays as it is.
fn unpack(message: &mut MessageExt) {
    let body = &message.message.body;
    if let Ok(Some(plain)) = compression::decompress(message.sys_flag, body, INFLATE_LIMIT) {
        message.message.body = plain;
    }
}
