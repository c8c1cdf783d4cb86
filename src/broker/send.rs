//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320).
//!
//! Read [`process`] from top to bottom; what the checks refuse, and in which order, is the
//! table at [`writable_topic`]. The answer of a send that waits for flush or replication is given by
//! whoever completes it; no thread waits.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::BrokerConfig;
use super::put_message::{self, Waiting, Wishes};
use super::recall::RecallHandle;
use super::timed::{self, Due};
use super::topics::SendRules;
use super::{Answer, Broker, FAQ, Refusal};
use crate::common::clock::now_ms;
use crate::common::message_id::MessageId;
use crate::common::properties::{self, CLUSTER, UNIQUE_KEY};
use crate::common::record::RecordFields;
use crate::common::sys_flag::TRANSACTION_MASK;
use crate::common::topic::{
    DLQ_PREFIX, PERM_READ, PERM_WRITE, RETRY_PREFIX, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_HALF_TOPIC,
    dlq_topic, is_written_by_broker_only, validate_topic,
};
use crate::remoting::connection::ReplyTo;
use crate::remoting::protocol::response_code as code;
use crate::remoting::protocol::send_header::SendHeader;
use crate::remoting::{Command, Connection};
use crate::store::message::{NewBatch, NewMessage, PutOutcome, PutResult, PutStatus};

/// Requests of at least this version may bring their own maximum of retries (V3_4_9).
pub const MAX_RECONSUME_TIMES_VERSION: i32 = 121;

/// Longest string form of properties, bytes.
const MAX_PROPERTIES_BYTES: usize = 32_767;

/// A send to a topic that exists waits for nothing: the store's put does not, in any mode. Making
/// a topic writes a file and tells the name servers.
pub fn is_short(broker: &Broker, request: &Command) -> bool {
    SendHeader::topic_of(request).is_some_and(|topic| broker.topics.send_rules(topic).is_some())
}

/// Why sends and send-backs are refused before they are queued; `None` if they are not.
pub fn rejects(broker: &Broker) -> Option<String> {
    let busy = broker.page_cache_busy.load(Ordering::Relaxed);
    busy.then(|| "the page cache is busy, start flow control for a while".to_owned())
}

/// Answers a send.
pub fn process(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let config = broker.config.of_thread();
    let header = SendHeader::read(&request)?;
    match put(broker, &config, connection, &request, &header) {
        Err(Failure::Refused(refusal)) => {
            let mut response = new_response(&config);
            refusal.write(&mut response);
            Ok(Some(response))
        }
        Err(Failure::Malformed(problem)) => Err(problem.into()),
        Ok((ref sent, PutOutcome::Done(ref result))) => {
            Ok(Some(acknowledgement(broker, &config, sent, result)))
        }
        Ok((sent, PutOutcome::Pending(pending))) => {
            let reply = ReplyTo::new(connection, &request);
            let (broker, sent) = (Arc::clone(broker), sent.into_owned());
            // The response is made where it is sent: a thread that frees what others have allocated,
            // for hundreds of them, waits for the allocator, and so do they.
            pending.on_complete(move |result| {
                let config = broker.config.of_thread();
                reply.send(acknowledgement(&broker, &config, &sent, &result));
            });
            Ok(None)
        }
    }
}

/// A response with what every answer to a send carries, success or not: clients read `MSG_REGION`
/// and `TRACE_ON` without looking whether they are there.
pub fn new_response(config: &BrokerConfig) -> Command {
    let mut response = Command::response(code::SUCCESS);
    response.fields.push_str("MSG_REGION", &config.region_id);
    response.fields.push_str("TRACE_ON", if config.trace_on { "true" } else { "false" });
    response
}

/// Where a message went: what its acknowledgement and the statistics need.
struct Sent<'a> {
    /// Topic it is stored under.
    topic: Cow<'a, str>,
    /// Queue it is stored in.
    stored_queue_id: i32,
    /// Queue that the producer is told.
    queue_id: i32,
    /// By what the producer may take a timed message back; few are.
    recall: Option<Box<RecallHandle>>,
}

impl Sent<'_> {
    fn into_owned(self) -> Sent<'static> {
        Sent { topic: Cow::Owned(self.topic.into_owned()), ..self }
    }
}

/// Why a send is not stored.
#[derive(Debug)]
pub enum Failure {
    /// Answered with the refusal's code, and what every answer to a send carries.
    Refused(Refusal),
    /// Answered as a request that cannot be understood.
    Malformed(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Malformed(problem)
    }
}

/// Checks a send, makes the message final and stores it.
fn put<'a>(
    broker: &Broker,
    config: &BrokerConfig,
    connection: &Connection,
    request: &Command,
    header: &SendHeader<'a>,
) -> Result<(Sent<'a>, PutOutcome), Failure> {
    let rules = writable_topic(broker, config, header, connection)?;
    let queue_id = choose_queue(header.queue_id, rules.write_queues)?;
    let mut message = NewMessage {
        record: RecordFields {
            topic: header.topic,
            queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag | rules.sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: connection.peer_addr(),
            store_host: broker.store_host,
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body: request.body.as_bytes(),
            properties: header.properties,
        },
        wait_store: true,
    };
    if header.batch {
        let outcome = put_batch(broker, config, message.record)?;
        let topic = Cow::Borrowed(header.topic);
        return Ok((Sent { topic, stored_queue_id: queue_id, queue_id, recall: None }, outcome));
    }
    let (topic, target_queue) = match dead_letter(broker, config, header, request.version)? {
        Some(dead_letter_topic) => {
            let rules = broker.topics.send_rules(&dead_letter_topic);
            message.record.sys_flag = header.sys_flag | rules.map_or(0, |rules| rules.sys_flag);
            (Cow::Owned(dead_letter_topic), 0)
        }
        None => (Cow::Borrowed(header.topic), queue_id),
    };
    let wishes = Wishes::of(header.properties);
    if wishes.is_half() && config.reject_transaction_message {
        let broker = &config.broker_ip1;
        let problem = format!("the broker[{broker}] sending transaction message is forbidden");
        return Err(Refusal::new(code::NO_PERMISSION, problem).into());
    }
    let waiting = Waiting {
        max_level: broker.delay.levels().max_level(),
        due: timed::due(broker, &wishes, message.record.sys_flag)?,
    };
    let placed = put_message::place(
        &topic,
        target_queue,
        message.record.sys_flag,
        header.properties,
        &wishes,
        &config.broker_cluster_name,
        waiting,
    )?;
    message.record.topic = &placed.topic;
    message.record.queue_id = placed.queue_id;
    message.record.sys_flag = placed.sys_flag;
    message.record.properties = &placed.properties;
    message.wait_store = wishes.waits();
    let outcome = broker.store.put(&message);
    put_message::recycle(placed.properties);
    let stored_queue_id = placed.queue_id;
    let topic = match placed.topic {
        Cow::Borrowed(SCHEDULE_TOPIC) => Cow::Borrowed(SCHEDULE_TOPIC),
        Cow::Borrowed(TRANS_HALF_TOPIC) => Cow::Borrowed(TRANS_HALF_TOPIC),
        Cow::Borrowed(TIMER_TOPIC) => Cow::Borrowed(TIMER_TOPIC),
        _ => topic,
    };
    let recall = waiting.due.filter(|_| *topic == *TIMER_TOPIC);
    let recall = recall.and_then(|due| recall_handle(config, header, due));
    Ok((Sent { topic, stored_queue_id, queue_id, recall }, outcome))
}

/// What the producer of a timed message is given to take it back: one of a retry topic is not its
/// own, and one without a unique key cannot be told from others.
fn recall_handle(
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    due: Due,
) -> Option<Box<RecallHandle>> {
    let unique_key = properties::find(header.properties, UNIQUE_KEY)?;
    let handle = || RecallHandle {
        topic: header.topic.to_owned(),
        broker_name: config.broker_name.clone(),
        due_ms: due.deliver_ms,
        unique_key: unique_key.to_owned(),
    };
    (!header.topic.starts_with(RETRY_PREFIX)).then(|| Box::new(handle()))
}

/// Stores a batch: what the header's properties say is added to each of its messages, `WAIT` too.
fn put_batch(
    broker: &Broker,
    config: &BrokerConfig,
    record: RecordFields<'_>,
) -> Result<PutOutcome, Failure> {
    let wishes = Wishes::of(record.properties);
    // One with a transaction's bits is refused by the store, whatever else is wrong.
    if record.sys_flag & TRANSACTION_MASK == 0 && wishes.delay_level()? > 0 {
        let problem = "a batch cannot be delayed; put the delay level on single messages";
        return Err(Refusal::new(code::MESSAGE_ILLEGAL, problem).into());
    }
    if timed::due(broker, &wishes, record.sys_flag)?.is_some() {
        let problem = "a batch cannot be timed; put the time on single messages";
        return Err(Refusal::new(code::MESSAGE_ILLEGAL, problem).into());
    }
    if record.body.is_empty() {
        return Err("the batch has no messages".to_owned().into());
    }
    let cluster = [(CLUSTER, config.broker_cluster_name.as_str())];
    let properties = put_message::rewrite(record.properties, &[], &cluster);
    if properties.len() > MAX_PROPERTIES_BYTES {
        let length = properties.len();
        return Err(format!(
            "the properties that all messages of the batch share have {length} bytes, with \
             CLUSTER; at most {MAX_PROPERTIES_BYTES} are allowed"
        )
        .into());
    }
    let batch = NewBatch {
        record: RecordFields { properties: &properties, ..record },
        wait_store: wishes.waits(),
    };
    let stored = broker.store.put_batch(&batch);
    stored.map_err(|error| Failure::Malformed(format!("the body is not a batch: {error}")))
}

/// The topic of a send, made if need be. Refused, in this order:
///
/// | what | code |
/// |---|---|
/// | sends before `startAcceptSendRequestTimeStamp` | 1 |
/// | broker not writable and topic ordered | 16 |
/// | illegal name | 1 |
/// | a system topic that the broker alone writes | 16 |
/// | unknown and not to be made | 17 |
/// | unknown, and no word of its template or its queues | 1, as what cannot be understood |
/// | queue beyond the topic's | 1 |
///
/// A topic's own permission is not looked at: clients see it in the route.
pub fn writable_topic(
    broker: &Broker,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    connection: &Connection,
) -> Result<SendRules, Failure> {
    let start = config.start_accept_send_request_time_stamp;
    if start > 0 && now_ms() < start {
        return Err(Refusal::new(
            code::SYSTEM_ERROR,
            format!("broker unable to service, until {start} ms since 1970"),
        )
        .into());
    }
    let topic = header.topic;
    let known = broker.topics.send_rules(topic);
    if config.broker_permission & PERM_WRITE == 0 && known.is_some_and(|rules| rules.order) {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("the broker[{}] sending message is forbidden", config.broker_ip1),
        )
        .into());
    }
    if !known.is_some_and(|rules| rules.is_open) {
        check_name(topic)?;
    }
    let rules = match known {
        Some(rules) => rules,
        None => make_topic(broker, config, header)?.ok_or_else(|| {
            Refusal::new(
                code::TOPIC_NOT_EXIST,
                format!("topic[{topic}] not exist, apply first please!{FAQ}"),
            )
        })?,
    };
    if header.queue_id >= rules.queues {
        return Err(Refusal::new(
            code::SYSTEM_ERROR,
            format!(
                "request queueId[{}] is illegal, topic {topic} has queues 0 to {}, producer: {}",
                header.queue_id,
                rules.queues - 1,
                connection.peer_addr()
            ),
        )
        .into());
    }
    Ok(rules)
}

/// Whether clients may send to a topic of that name, be it there or not.
fn check_name(topic: &str) -> Result<(), Refusal> {
    validate_topic(topic).map_err(|problem| Refusal::new(code::SYSTEM_ERROR, problem))?;
    if is_written_by_broker_only(topic) {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("Sending message to topic[{topic}] is forbidden."),
        ));
    }
    Ok(())
}

fn make_topic(
    broker: &Broker,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
) -> Result<Option<SendRules>, Failure> {
    let (Some(template), Some(queues)) = (header.default_topic, header.default_topic_queue_nums)
    else {
        let problem = "the topic is not there, and the header does not say how to make it";
        return Err(Failure::Malformed(format!("{problem}: defaultTopic, defaultTopicQueueNums")));
    };
    let is_retry = header.topic.starts_with(RETRY_PREFIX);
    let sys_flag = match (header.unit_mode, is_retry) {
        (false, _) => 0,
        (true, false) => super::topics::SYS_FLAG_UNIT,
        (true, true) => super::topics::SYS_FLAG_UNIT_SUB,
    };
    let made = broker.topics.create_on_send(config, header.topic, template, queues, sys_flag);
    let made = match made {
        None if is_retry => {
            broker.topics.get_or_create(header.topic, 1, PERM_READ | PERM_WRITE, sys_flag)
        }
        made => made,
    };
    Ok(made.map(|topic| SendRules::of(&topic)))
}

/// The queue of a message: the producer's, or any of the topic's.
fn choose_queue(wanted: i32, write_queue_nums: i32) -> Result<i32, String> {
    if wanted >= 0 {
        return Ok(wanted);
    }
    random_queue(write_queue_nums).ok_or_else(|| "the topic has no queue to write to".to_owned())
}

/// Any queue of `queues`, a negative number of them being as good as a positive one; `None` if there
/// is none.
pub fn random_queue(queues: i32) -> Option<i32> {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let queues = Some(u64::from(queues.unsigned_abs())).filter(|queues| *queues > 0)?;
    // A counter, scattered by the finalizer of splitmix64: cheap, and no two threads wait.
    let mut x = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    i32::try_from((x ^ (x >> 31)) % queues).ok()
}

/// A message sent to a retry topic for the last time goes to the group's dead-letter topic, which
/// is made if need be. `None`: it stays where it was sent to.
fn dead_letter(
    broker: &Broker,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    version: i32,
) -> Result<Option<String>, Refusal> {
    let Some(group) = header.topic.strip_prefix(RETRY_PREFIX) else { return Ok(None) };
    let Some(group_config) = broker.subscription_groups.find_or_create(config, group) else {
        return Err(Refusal::group_not_exist(group));
    };
    let limit = header
        .max_reconsume_times
        .filter(|_| version >= MAX_RECONSUME_TIMES_VERSION)
        .unwrap_or(group_config.retry_max_times);
    if header.reconsume_times < limit {
        return Ok(None);
    }
    dead_letter_topic(broker, group).map(Some)
}

/// The name of a group's dead-letter topic, which exists when this returns.
pub fn dead_letter_topic(broker: &Broker, group: &str) -> Result<String, Refusal> {
    let topic = dlq_topic(group);
    debug_assert!(topic.starts_with(DLQ_PREFIX));
    match broker.topics.get_or_create(&topic, 1, PERM_READ | PERM_WRITE, 0) {
        Some(_) => Ok(topic),
        None => Err(Refusal::new(code::SYSTEM_ERROR, format!("topic[{topic}] not exist"))),
    }
}

/// The response to a put, which is counted.
fn acknowledgement(
    broker: &Broker,
    config: &BrokerConfig,
    sent: &Sent<'_>,
    result: &PutResult,
) -> Command {
    let mut response = new_response(config);
    (response.code, response.remark) = put_status_answer(broker, result);
    if !is_stored(result.status) {
        return response;
    }
    broker.stats.put(&sent.topic, sent.stored_queue_id, result.messages, result.wrote_bytes);
    if result.batch_offsets.is_empty() {
        let id = MessageId { host: broker.store_host, offset: result.commit_log_offset };
        response.fields.push_str("msgId", id.digits().as_str());
    } else {
        response.fields.push_str("msgId", &offset_message_ids(broker, result));
    }
    response.fields.push_int("queueId", sent.queue_id.into());
    response.fields.push_int("queueOffset", result.queue_offset);
    if let Some(recall) = &sent.recall {
        response.fields.push_str("recallHandle", &recall.encode());
    }
    response
}

/// The offset message id of a put; of a batch, the ids joined by commas.
pub fn offset_message_ids(broker: &Broker, result: &PutResult) -> String {
    let id = |offset| MessageId { host: broker.store_host, offset }.to_string();
    if result.batch_offsets.is_empty() {
        return id(result.commit_log_offset);
    }
    let ids: Vec<_> = result.batch_offsets.iter().map(|offset| id(*offset)).collect();
    ids.join(",")
}

/// Whether the message is in the log, whatever else was wished for.
pub fn is_stored(status: PutStatus) -> bool {
    matches!(
        status,
        PutStatus::PutOk
            | PutStatus::FlushDiskTimeout
            | PutStatus::FlushSlaveTimeout
            | PutStatus::SlaveNotAvailable
    )
}

/// Code and remark for what became of a put (spec: broker 4.10).
pub fn put_status_answer(broker: &Broker, result: &PutResult) -> (i32, Option<String>) {
    let because = |text: &str| {
        let reason = &result.reason;
        Some(if reason.is_empty() { text.to_owned() } else { format!("{text} {reason}") })
    };
    match result.status {
        PutStatus::PutOk => (code::SUCCESS, None),
        PutStatus::FlushDiskTimeout => (code::FLUSH_DISK_TIMEOUT, None),
        PutStatus::FlushSlaveTimeout => (code::FLUSH_SLAVE_TIMEOUT, None),
        PutStatus::SlaveNotAvailable => (code::SLAVE_NOT_AVAILABLE, None),
        PutStatus::CreateMappedFileFailed => {
            (code::SYSTEM_ERROR, because("create mapped file failed, server is busy or broken."))
        }
        PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
            let limit = broker.store.config().max_message_size;
            let text = format!(
                "the message is illegal, maybe msg body or properties length not matched. \
                 msg body length limit {limit}B, msg properties length limit 32KB."
            );
            (code::MESSAGE_ILLEGAL, because(&text))
        }
        PutStatus::ServiceNotAvailable => (
            code::SERVICE_NOT_AVAILABLE,
            because("service not available now. It may be caused by one of the following reasons:"),
        ),
        PutStatus::OsPageCacheBusy => (
            code::SYSTEM_ERROR,
            because("[PC_SYNCHRONIZED]broker busy, start flow control for a while"),
        ),
        PutStatus::UnknownError => (code::SYSTEM_ERROR, because("UNKNOWN_ERROR")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_queues_are_in_range_and_differ() {
        let drawn: std::collections::BTreeSet<_> =
            (0..200).map(|_| random_queue(8).unwrap()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        assert_eq!(random_queue(0), None);
        assert_eq!(random_queue(-1), Some(0));
    }
}
