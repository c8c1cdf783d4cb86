//! CONSUMER_SEND_MSG_BACK (36): a consumer could not digest a message and wants it again later.
//!
//! The message is stored once more, in the group's retry topic, delayed by the level that its
//! number of failures says; after the last one it goes to the dead-letter topic, which nobody reads
//! unasked.

use std::sync::Arc;

use super::config::BrokerConfig;
use super::put_message::{self, Wishes};
use super::send::{MAX_RECONSUME_TIMES_VERSION, dead_letter_topic, random_queue};
use super::{Answer, Broker, Refusal, timed, topics};
use crate::common::message_id::MessageId;
use crate::common::properties::{
    DELAY, ORIGIN_MESSAGE_ID, RETRY_TOPIC, WAIT, find as find_property,
};
use crate::common::record::{RecordFields, RecordView};
use crate::common::topic::{PERM_READ, PERM_WRITE, SCHEDULE_TOPIC, TOPIC_MAX_LENGTH, retry_topic};
use crate::remoting::connection::ReplyTo;
use crate::remoting::header::FieldType;
use crate::remoting::protocol::bodies::SubscriptionGroupConfig;
use crate::remoting::protocol::headers::ConsumerSendMsgBackRequestHeader;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};
use crate::store::message::{NewMessage, PutOutcome, PutResult, PutStatus};

/// The delay level of a first failure, when the consumer leaves it to the broker: 10 seconds.
const FIRST_DELAY_LEVEL: i32 = 3;

/// Answers a send-back.
pub fn process(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let header: ConsumerSendMsgBackRequestHeader = request.header()?;
    let config = broker.config.get();
    let group = match check(broker, &config, &header.group) {
        Ok(group) => group,
        Err(refusal) => return Ok(Some(refusal.response())),
    };
    if group.retry_queue_nums <= 0 {
        // The group wants no retries: the message is dropped, which is what it asked for.
        return Ok(Some(Command::response(code::SUCCESS)));
    }
    // The retry topic comes first: it is there, and has its say, also if the message is not.
    let retry = match retry_target(broker, &group, &header) {
        Ok(retry) => retry,
        Err(refusal) => return Ok(Some(refusal.response())),
    };
    // Only here, as in Java: a group that is refused is refused for that.
    let offset = i64::read(request.fields.get("offset"), "offset")?;
    let delay_level = i32::read(request.fields.get("delayLevel"), "delayLevel")?;
    let stored = broker.store.with_record(offset, |record| {
        store_again(broker, &group, (&header, delay_level), retry, request.version, record)
    });
    let stored = stored.unwrap_or_else(|| {
        Err(Refusal::new(code::SYSTEM_ERROR, format!("look message by offset failed, {offset}")))
    });
    match stored {
        Err(refusal) => Ok(Some(refusal.response())),
        Ok((again, PutOutcome::Done(result))) => {
            Ok(Some(respond(broker, &header.group, &again, &result)))
        }
        Ok((again, PutOutcome::Pending(pending))) => {
            let reply = ReplyTo::new(connection, &request);
            let broker = Arc::clone(broker);
            pending.on_complete(move |result| {
                reply.send(respond(&broker, &header.group, &again, &result));
            });
            Ok(None)
        }
    }
}

fn check(
    broker: &Broker,
    config: &BrokerConfig,
    group: &str,
) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
    let found = broker
        .subscription_groups
        .find_or_create(config, group)
        .ok_or_else(|| Refusal::group_not_exist(group))?;
    if config.broker_permission & PERM_WRITE == 0 {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("the broker[{}] sending message is forbidden", config.broker_ip1),
        ));
    }
    Ok(found)
}

/// What the statistics need of a message that was given back.
struct Again {
    /// Topic under which it was sent at first.
    original_topic: String,
    /// Queue of the delay topic, if it waits there.
    delay_queue: Option<i32>,
}

fn store_again(
    broker: &Broker,
    group: &SubscriptionGroupConfig,
    (header, delay_level): (&ConsumerSendMsgBackRequestHeader, i32),
    (retry, retry_queue): (String, i32),
    version: i32,
    record: &RecordView<'_>,
) -> Result<(Again, PutOutcome), Refusal> {
    let limit = header
        .max_reconsume_times
        .filter(|_| version >= MAX_RECONSUME_TIMES_VERSION)
        .unwrap_or(group.retry_max_times);
    let given_up = record.reconsume_times >= limit || delay_level < 0;
    let (topic, queue_id, level) = if given_up {
        (dead_letter_topic(broker, &header.group)?, 0, 0)
    } else {
        let chosen = FIRST_DELAY_LEVEL.saturating_add(record.reconsume_times);
        let level = if delay_level == 0 { chosen } else { delay_level };
        (retry, retry_queue, level)
    };
    if topic.len() > TOPIC_MAX_LENGTH {
        // It would wait in the delay topic, which has a short name, and could never leave it.
        return Err(Refusal::new(code::SYSTEM_ERROR, PutStatus::MessageIllegal.name()));
    }
    let original_topic = find_property(record.properties, RETRY_TOPIC).unwrap_or(record.topic);
    let own_id = MessageId { host: record.store_host, offset: record.physical_offset }.to_string();
    let original_id = find_property(record.properties, ORIGIN_MESSAGE_ID)
        .filter(|id| !id.trim().is_empty())
        .unwrap_or(&own_id);
    let properties = put_message::rewrite(
        record.properties,
        &[],
        &[
            (RETRY_TOPIC, original_topic),
            (ORIGIN_MESSAGE_ID, original_id),
            (DELAY, &level.to_string()),
            (WAIT, "false"),
        ],
    );
    let wishes = Wishes::of(&properties);
    let (sys_flag, text) = (record.sys_flag, &*properties);
    let waiting = timed::waiting_again(broker, &wishes, sys_flag)?;
    let placed = put_message::place_again(&topic, queue_id, sys_flag, text, &wishes, waiting)
        .map_err(|problem| Refusal::new(code::SYSTEM_ERROR, problem))?;
    let message = NewMessage {
        record: RecordFields {
            topic: &placed.topic,
            queue_id: placed.queue_id,
            sys_flag: placed.sys_flag,
            reconsume_times: record.reconsume_times.saturating_add(1),
            properties: &placed.properties,
            ..record.again()
        },
        wait_store: false,
    };
    let again = Again {
        original_topic: original_topic.to_owned(),
        delay_queue: (placed.topic == SCHEDULE_TOPIC).then_some(placed.queue_id),
    };
    Ok((again, broker.store.put(&message)))
}

/// The group's retry topic, made if need be, and one of its queues.
fn retry_target(
    broker: &Broker,
    group: &SubscriptionGroupConfig,
    header: &ConsumerSendMsgBackRequestHeader,
) -> Result<(String, i32), Refusal> {
    let topic = retry_topic(&header.group);
    let unit = header.unit_mode.unwrap_or(false);
    let sys_flag = if unit { topics::SYS_FLAG_UNIT_SUB } else { 0 };
    let queues = group.retry_queue_nums;
    let config = broker
        .topics
        .get_or_create(&topic, queues, PERM_READ | PERM_WRITE, sys_flag)
        .ok_or_else(|| Refusal::new(code::SYSTEM_ERROR, format!("topic[{topic}] not exist")))?;
    if config.perm & PERM_WRITE == 0 {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("the topic[{topic}] sending message is forbidden"),
        ));
    }
    Ok((topic, random_queue(queues).unwrap_or(0)))
}

fn respond(broker: &Broker, group: &str, again: &Again, result: &PutResult) -> Command {
    if result.status != PutStatus::PutOk {
        return Command::failure(code::SYSTEM_ERROR, result.status.name());
    }
    broker.stats.sent_back(group, &again.original_topic);
    if let Some(queue_id) = again.delay_queue {
        let (messages, bytes) = (result.messages, result.wrote_bytes);
        broker.stats.put_for_topic(SCHEDULE_TOPIC, queue_id, messages, bytes);
    }
    Command::response(code::SUCCESS)
}
