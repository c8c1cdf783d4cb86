//! What brokers ask of a client: transaction checks, changes of a group, resets, running info,
//! direct consumption, replies.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use super::instance::{Instance, json_body, read_body};
use super::message::{Origin, ReceivedMessage};
use crate::common::clock::now_ms;
use crate::common::message::{Message, MessageExt};
use crate::common::properties::{self, Properties};
use crate::common::topic::retry_topic;
use crate::remoting::connection::Connection;
use crate::remoting::protocol::bodies::{ConsumerStatus, OffsetTable};
use crate::remoting::protocol::headers::{
    CheckTransactionStateRequestHeader, ConsumeMessageDirectlyRequestHeader,
    GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader, ReplyMessageRequestHeader,
    ResetOffsetRequestHeader,
};
use crate::remoting::protocol::{request_code, response_code};
use crate::remoting::{Command, Processor};

type Answer = Result<Option<Command>, Box<dyn Error + Send + Sync>>;

/// Answers the requests of brokers to one instance.
struct BrokerRequests {
    instance: Weak<Instance>,
}

/// Registers the requests that an instance answers.
pub(crate) fn register(instance: &Arc<Instance>) {
    let requests = Arc::new(BrokerRequests { instance: Arc::downgrade(instance) });
    for code in [
        request_code::CHECK_TRANSACTION_STATE,
        request_code::NOTIFY_CONSUMER_IDS_CHANGED,
        request_code::RESET_CONSUMER_CLIENT_OFFSET,
        request_code::GET_CONSUMER_STATUS_FROM_CLIENT,
        request_code::GET_CONSUMER_RUNNING_INFO,
        request_code::CONSUME_MESSAGE_DIRECTLY,
        request_code::PUSH_REPLY_MESSAGE_TO_CLIENT,
    ] {
        instance.remoting.register(code, Arc::<BrokerRequests>::clone(&requests));
    }
}

impl Processor for BrokerRequests {
    fn process(&self, connection: &Arc<Connection>, request: Command) -> Answer {
        let Some(instance) = self.instance.upgrade() else {
            return Ok(Some(failure("the client is shut down")));
        };
        match request.code {
            request_code::CHECK_TRANSACTION_STATE => {
                check_transaction(&instance, connection, request)
            }
            request_code::NOTIFY_CONSUMER_IDS_CHANGED => {
                instance.rebalance_soon();
                Ok(None)
            }
            request_code::RESET_CONSUMER_CLIENT_OFFSET => reset_offset(&instance, request),
            request_code::GET_CONSUMER_STATUS_FROM_CLIENT => consumer_status(&instance, request),
            request_code::GET_CONSUMER_RUNNING_INFO => running_info(&instance, request),
            request_code::CONSUME_MESSAGE_DIRECTLY => consume_directly(&instance, request),
            request_code::PUSH_REPLY_MESSAGE_TO_CLIENT => reply(&instance, request),
            code => Ok(Some(Command::failure(
                response_code::REQUEST_CODE_NOT_SUPPORTED,
                format!("a client does not serve the request code {code}"),
            ))),
        }
    }
}

fn failure(why: impl Into<String>) -> Command {
    Command::failure(response_code::SYSTEM_ERROR, why)
}

fn no_group(group: &str) -> Command {
    failure(format!("this client has no consumer of the group {group}"))
}

fn success(body: Vec<u8>) -> Answer {
    Ok(Some(Command::response(response_code::SUCCESS).with_body(body)))
}

/// The one message in a request's body.
fn message_of(
    instance: &Instance,
    request: Command,
    broker_name: &str,
    retry_topic: Option<String>,
) -> Result<ReceivedMessage, String> {
    let origin = Origin {
        broker_name: broker_name.into(),
        topic: "".into(),
        shown_topic: "".into(),
        namespace: instance.options.namespace.clone(),
        retry_topic: retry_topic.map(Into::into),
        min_offset: -1,
        max_offset: -1,
    };
    let messages = ReceivedMessage::read_all(request.body.into_bytes(), &origin);
    messages.into_iter().next().ok_or_else(|| "the body is no stored message".to_owned())
}

fn check_transaction(
    instance: &Arc<Instance>,
    connection: &Arc<Connection>,
    request: Command,
) -> Answer {
    let header: CheckTransactionStateRequestHeader = request.header()?;
    let broker_name = header.broker_name.clone().unwrap_or_default();
    let message = message_of(instance, request, &broker_name, None)?;
    let group = message.property(properties::PRODUCER_GROUP).unwrap_or_default();
    match instance.producer(group) {
        Some(producer) => producer.check_transaction(connection, header, message.clone()),
        None => log::warn!("a transaction check for the group {group:?}, which is not here"),
    }
    Ok(None)
}

fn reset_offset(instance: &Arc<Instance>, request: Command) -> Answer {
    let header: ResetOffsetRequestHeader = request.header()?;
    let table: OffsetTable = read_body("the broker", &request)?;
    log::info!("{} {}: reset to {} offsets", header.group, header.topic, table.offset_table.len());
    if let Some(consumer) = instance.consumer(&header.group) {
        consumer.reset_offsets(&header.topic, table.offset_table);
    }
    Ok(None)
}

fn consumer_status(instance: &Arc<Instance>, request: Command) -> Answer {
    let header: GetConsumerStatusRequestHeader = request.header()?;
    let consumer = instance.consumer(&header.group);
    let message_queue_table =
        consumer.map(|consumer| consumer.offsets(&header.topic)).unwrap_or_default();
    success(json_body(&ConsumerStatus { message_queue_table, ..ConsumerStatus::default() }))
}

fn running_info(instance: &Arc<Instance>, request: Command) -> Answer {
    let header: GetConsumerRunningInfoRequestHeader = request.header()?;
    let Some(consumer) = instance.consumer(&header.consumer_group) else {
        return Ok(Some(no_group(&header.consumer_group)));
    };
    let mut info = consumer.running_info();
    let servers = instance.name_servers().iter().map(|addr| format!("{addr};")).collect();
    info.properties.insert("PROP_NAMESERVER_ADDR".into(), servers);
    info.properties.insert("PROP_CLIENT_VERSION".into(), "V4_9_8".into());
    if header.jstack_enable {
        info.jstack = Some("threads of a native client have no stacks to show".into());
    }
    success(json_body(&info))
}

fn consume_directly(instance: &Arc<Instance>, request: Command) -> Answer {
    let header: ConsumeMessageDirectlyRequestHeader = request.header()?;
    let Some(consumer) = instance.consumer(&header.consumer_group) else {
        return Ok(Some(no_group(&header.consumer_group)));
    };
    let retry = Some(retry_topic(&header.consumer_group));
    let broker_name = header.broker_name.unwrap_or_default();
    let message = message_of(instance, request, &broker_name, retry)?;
    match consumer.consume_directly(message) {
        Some(result) => success(json_body(&result)),
        None => Ok(Some(failure("the consumer has no listener"))),
    }
}

fn reply(instance: &Arc<Instance>, request: Command) -> Answer {
    let header: ReplyMessageRequestHeader = request.header()?;
    let host = |text: &str| {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        text.trim_start_matches('/').parse().unwrap_or(unknown)
    };
    let mut own = Properties::parse(header.properties.as_deref().unwrap_or_default());
    own.set(properties::ARRIVE_TIME, now_ms().to_string());
    let id = own.get(properties::CORRELATION_ID).unwrap_or_default().to_owned();
    let body = request.body.into_bytes();
    let topic = instance.options.namespace.unwrap(&header.topic).into_owned();
    let message = MessageExt {
        message: Message { topic, flag: header.flag, properties: own, body },
        queue_id: header.queue_id,
        store_size: 0,
        queue_offset: 0,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: host(&header.born_host),
        store_timestamp: header.store_timestamp,
        store_host: host(&header.store_host),
        commit_log_offset: 0,
        body_crc: 0,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
    };
    if !instance.replies.complete(&id, Ok(ReceivedMessage::from_message(message, ""))) {
        log::warn!("a reply to the request {id}, for which nobody waits (any more)");
    }
    Ok(Some(Command::response(response_code::SUCCESS)))
}
