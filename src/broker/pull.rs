//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361): checks, the look at the queue, and the answer,
//! whose body is the records as they lie in the commit log. A pull that finds nothing is given to
//! [`hold`](super::hold), which gives it back to [`run_again`].

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::config::BrokerConfig;
use super::filter::{self, RetryFilter, SqlFilter, TagFilter, expressions_disabled};
use super::hold::{By, HeldPull, Hold, Wake};
use super::{Answer, Broker, FAQ, Refusal};
use crate::common::clock::now_ms;
use crate::common::json::{Style, ToJson};
use crate::common::properties::{KEYS, TAGS};
use crate::common::record::RecordFields;
use crate::common::sys_flag::{
    PULL_CLASS_FILTER, PULL_COMMIT_OFFSET, PULL_SUBSCRIPTION, PULL_SUSPEND,
};
use crate::common::thread_pool::{Shed, Task};
use crate::common::topic::{OFFSET_MOVED_EVENT, PERM_READ, RETRY_PREFIX};
use crate::remoting::connection::ReplyTo;
use crate::remoting::header::{FieldType, HeaderError};
use crate::remoting::protocol::bodies::{
    MessageQueue, OffsetMovedEvent, SubscriptionGroupConfig, TopicConfig,
};
use crate::remoting::protocol::heartbeat::MessageModel;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Body, Command, Connection, Fields};
use crate::store::config::BrokerRole;
use crate::store::message::NewMessage;
use crate::store::{GetMessageResult, GetMessageStatus, MessageFilter};

/// Longest time a pull is held, whatever its sender asks for.
const MAX_SUSPENSION: Duration = Duration::from_secs(24 * 3600);

/// Longest time a pull of what is not there yet is held. On a slave it is on its way, mostly; if not,
/// the client is told to ask the master, and without one it asks again at once. On a master it may be
/// in the log and not in its queue yet; if it is still so, the client asks again.
const AHEAD: Duration = Duration::from_secs(1);

/// The header of a pull, borrowed from the request: the same fields as
/// [`PullMessageRequestHeader`](crate::remoting::protocol::headers::PullMessageRequestHeader), read
/// in one pass without a copy. Java does without the three numbers that need not be there, so they
/// are 0 then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PullHeader<'a> {
    group: &'a str,
    topic: &'a str,
    queue_id: i32,
    offset: i64,
    max_messages: i32,
    sys_flag: i32,
    commit_offset: i64,
    suspend_timeout_ms: i64,
    subscription: Option<&'a str>,
    sub_version: i64,
    expression_type: Option<&'a str>,
}

const NAMES: [&str; 11] = [
    "consumerGroup",
    "topic",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
];

impl<'a> PullHeader<'a> {
    fn read(fields: &'a Fields) -> Result<Self, HeaderError> {
        let mut values: [Option<&'a str>; 11] = [None; 11];
        for (name, value) in fields.iter() {
            if let Some(at) = NAMES.iter().position(|known| *known == name) {
                values[at] = Some(value);
            }
        }
        let text = |at: usize| values[at].ok_or(HeaderError::Missing(NAMES[at]));
        let int = |at: usize| i32::read(values[at], NAMES[at]);
        // They may be absent, but not unreadable, as in Java.
        let optional = |at: usize| {
            values[at].map_or(Ok(None), |text| i64::read(Some(text), NAMES[at]).map(Some))
        };
        Ok(Self {
            group: text(0)?,
            topic: text(1)?,
            queue_id: int(2)?,
            offset: i64::read(values[3], NAMES[3])?,
            max_messages: int(4)?,
            sys_flag: int(5)?,
            commit_offset: optional(6)?.unwrap_or(0),
            suspend_timeout_ms: optional(7)?.unwrap_or(0),
            subscription: values[8],
            sub_version: optional(9)?.unwrap_or(0),
            expression_type: values[10],
        })
    }

    fn has(&self, bit: i32) -> bool {
        self.sys_flag & bit != 0
    }
}

/// A pull whose group and topic are known here and whose data is in memory waits for nothing.
pub fn is_short(broker: &Broker, request: &Command) -> bool {
    let Ok(header) = PullHeader::read(&request.fields) else { return true };
    broker.subscription_groups.get(header.group).is_some()
        && broker.store.is_in_memory(header.topic, header.queue_id, header.offset)
}

/// Answers a pull, or holds it.
pub fn process(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let reply = ReplyTo::new(connection, &request);
    execute(broker, reply, request, None)
}

/// A pull request that is held, with the place where its answer goes.
pub struct Suspended {
    request: Command,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// End of the log when it came, if its offset was beyond a queue that was behind the log; else 0.
    log_end: i64,
}

/// Where a held pull goes on.
#[derive(Clone, Copy)]
struct Resumed {
    /// Offset it has come to.
    offset: i64,
    /// [`Suspended::log_end`].
    log_end: i64,
}

/// Executes a held pull again, from the offset it has come to. It is answered whatever it finds,
/// and commits no offset a second time.
pub fn run_again(broker: &Arc<Broker>, held: HeldPull<Suspended>) {
    let Suspended { request, reply, log_end } = held.request;
    if reply.connection().is_closed() {
        return;
    }
    let resumed = Resumed { offset: held.offset, log_end };
    match execute(broker, reply.clone(), request, Some(resumed)) {
        Ok(Some(response)) => reply.send(response),
        Ok(None) => {}
        Err(error) => reply.send(Command::failure(code::SYSTEM_ERROR, error.to_string())),
    }
}

/// What becomes of a held pull that ends: the thread that found out executes it, while a permit of
/// the pull pool is free (its data has just been written, so it waits for nothing), unless it has
/// enough to do; else the pool does.
pub fn waker(late: Arc<OnceLock<Weak<Broker>>>) -> Wake<Suspended> {
    Box::new(move |held, by| {
        let Some(broker) = late.get().and_then(Weak::upgrade) else { return };
        let pool = Arc::clone(&broker.pools.pull);
        if by == By::ThisThread
            && let Some(_permit) = pool.try_permit()
        {
            run_again(&broker, held);
        } else if let Err(task) = pool.submit(Box::new(EndedPull { broker, held })) {
            task.shed(pool.refusal(), Duration::ZERO, pool.queue_len());
        }
    })
}

/// A held pull on its way through the pull pool.
struct EndedPull {
    broker: Arc<Broker>,
    held: HeldPull<Suspended>,
}

impl Task for EndedPull {
    fn run(self: Box<Self>) {
        run_again(&self.broker, self.held);
    }

    fn shed(self: Box<Self>, reason: Shed, waited: Duration, queue_len: usize) {
        let tag = match reason {
            Shed::TooOld => "[TIMEOUT_CLEAN_QUEUE]",
            Shed::PageCacheBusy => "[PCBUSY_CLEAN_QUEUE]",
            Shed::Refused | Shed::Stopping => "[OVERLOAD]",
        };
        let remark = format!(
            "{tag}broker busy, start flow control for a while, period in queue: {}ms, size of queue: {queue_len}",
            waited.as_millis()
        );
        self.held.request.reply.send(Command::failure(code::SYSTEM_BUSY, remark));
    }
}

/// What the checks found out.
struct Plan {
    group: Arc<SubscriptionGroupConfig>,
    /// `None` wants everything.
    filter: Option<Arc<dyn MessageFilter>>,
}

fn execute(
    broker: &Arc<Broker>,
    reply: ReplyTo,
    request: Command,
    resumed: Option<Resumed>,
) -> Answer {
    let began = Instant::now();
    let config = broker.config.of_thread();
    let header = match PullHeader::read(&request.fields) {
        Ok(header) => header,
        Err(error) => return malformed(broker, &config, &request.fields, error),
    };
    let resumed_at = resumed.map(|resumed| resumed.offset);
    let plan = match check(broker, &config, &header) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Some(refusal.response())),
    };
    let store = broker.store.config();
    let is_slave = store.is_slave();
    if resumed_at.is_none() && header.has(PULL_COMMIT_OFFSET) && !is_slave {
        broker.consumer_offsets.commit(
            header.group,
            header.topic,
            header.queue_id,
            header.commit_offset,
        );
    }
    let offset = resumed_at.unwrap_or(header.offset);
    let found = broker.store.get(
        header.group,
        header.topic,
        header.queue_id,
        offset,
        header.max_messages.max(1),
        plan.filter.as_deref(),
    );
    let Some(mut found) = found else {
        return Ok(Some(Command::failure(
            code::SYSTEM_ERROR,
            "the store cannot be read: it is shutting down or its files are damaged",
        )));
    };
    let next = found.next_begin_offset;
    broker.pulled_offsets.note(header.group, header.topic, header.queue_id, next);
    if store.disk_fall_recorded && found.behind_bytes.is_some() {
        let (group, topic) = (header.group, header.topic);
        let bytes = found.behind_bytes;
        let ms = found.last_store_timestamp;
        let ms = (ms > 0 && config.transfer_msg_by_heap).then(|| now_ms() - ms);
        broker.stats.behind(group, topic, header.queue_id, bytes, ms);
    }
    // Its messages went by while it was held, and it wanted none of them.
    let passed = resumed_at.is_some_and(|resumed_at| resumed_at > header.offset);
    if passed && found.status == GetMessageStatus::OffsetOverflowOne {
        found.status = GetMessageStatus::NoMatchedMessage;
    }
    let mut answer = response_code(found.status, offset);
    let wanted = suspension(&config, header.suspend_timeout_ms);
    let is_ahead = answer == code::PULL_OFFSET_MOVED && offset > found.max_offset;
    let mut log_end = 0;
    let held_for = if is_ahead && is_slave {
        (!store.offset_check_in_slave).then(|| wanted.min(AHEAD))
    } else if is_ahead && header.has(PULL_SUSPEND) {
        log_end = resumed.map_or_else(|| broker.store.commit_log_max_offset(), |was| was.log_end);
        end_is_late(broker, &header, offset, log_end).then(|| {
            answer = code::PULL_NOT_FOUND;
            found.next_begin_offset = offset;
            wanted.min(AHEAD)
        })
    } else {
        (answer == code::PULL_NOT_FOUND).then_some(wanted)
    };
    if let Some(held_for) = held_for.filter(|_| resumed_at.is_none() && header.has(PULL_SUSPEND)) {
        let held = HeldPull {
            topic: header.topic.into(),
            queue_id: header.queue_id,
            offset,
            filter: plan.filter,
            deadline: began + held_for,
            request: Suspended { request, reply, log_end },
        };
        return hold(broker, held);
    }
    Ok(Some(respond(broker, &config, &header, &plan, found, answer, began)))
}

/// Whether an offset beyond the end of its queue may be a good one: not all that the log had when the
/// pull came was in the queues when it looked. A slave may have it in its own before, and whoever got
/// it there asks its master for what follows.
fn end_is_late(broker: &Broker, header: &PullHeader<'_>, offset: i64, log_end: i64) -> bool {
    let store = &broker.store;
    // In this order: what was late at the look may be there by now.
    let dispatched = store.commit_log_max_offset() - store.dispatch_behind_bytes();
    dispatched < log_end || store.max_offset(header.topic, header.queue_id) >= offset
}

/// Holds a pull; executes it at once if its queue has grown meanwhile.
fn hold(broker: &Arc<Broker>, held: HeldPull<Suspended>) -> Answer {
    let (topic, queue_id) = (Arc::clone(&held.topic), held.queue_id);
    match broker.held_pulls.hold(held, || broker.store.max_offset(&topic, queue_id)) {
        Hold::Held => Ok(None),
        Hold::Grown(held) => {
            let Suspended { request, reply, log_end } = held.request;
            execute(broker, reply, request, Some(Resumed { offset: held.offset, log_end }))
        }
        Hold::Refused(_) => Ok(Some(Command::failure(
            code::SYSTEM_BUSY,
            "too many pulls are held by this broker, or it is stopping; try again later",
        ))),
    }
}

fn suspension(config: &BrokerConfig, wanted_ms: i64) -> Duration {
    let ms = if config.long_polling_enable { wanted_ms } else { config.short_polling_time_mills };
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(MAX_SUSPENSION)
}

/// Answers a pull whose header is not what it should be. One that lacks a field is refused for the
/// broker, its group or its topic first, as in Java.
fn malformed(
    broker: &Broker,
    config: &BrokerConfig,
    fields: &Fields,
    error: HeaderError,
) -> Answer {
    if matches!(error, HeaderError::Missing(_)) {
        let (group, topic) = (fields.get(NAMES[0]), fields.get(NAMES[1]));
        // Nobody gets as far as the topic without the flags.
        let topic = topic.filter(|_| fields.get(NAMES[5]).is_some());
        let checked = match group {
            Some(group) => check_group(broker, config, group)
                .and_then(|_| topic.map_or(Ok(()), |topic| check_topic(broker, topic).map(drop))),
            None => check_broker(config),
        };
        if let Err(refusal) = checked {
            return Ok(Some(refusal.response()));
        }
    }
    Err(error.into())
}

fn check_broker(config: &BrokerConfig) -> Result<(), Refusal> {
    if config.broker_permission & PERM_READ == 0 {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("the broker[{}] pulling message is forbidden", config.broker_ip1),
        ));
    }
    Ok(())
}

/// The group of a pull, if it may consume here.
fn check_group(
    broker: &Broker,
    config: &BrokerConfig,
    name: &str,
) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
    check_broker(config)?;
    let group = broker.subscription_groups.find_or_create(config, name).ok_or_else(|| {
        Refusal::new(
            code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group [{name}] does not exist, {FAQ}"),
        )
    })?;
    if !group.consume_enable {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("subscription group no permission, {name}"),
        ));
    }
    Ok(group)
}

/// The topic of a pull, if it may be read.
fn check_topic(broker: &Broker, name: &str) -> Result<Arc<TopicConfig>, Refusal> {
    let topic = broker.topics.get(name).ok_or_else(|| {
        Refusal::new(
            code::TOPIC_NOT_EXIST,
            format!("topic[{name}] not exist, apply first please! {FAQ}"),
        )
    })?;
    if topic.perm & PERM_READ == 0 {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("the topic[{name}] pulling message is forbidden"),
        ));
    }
    Ok(topic)
}

/// Refuses a pull, in the order of spec broker 5.1, or tells what it may get.
fn check(broker: &Broker, config: &BrokerConfig, header: &PullHeader<'_>) -> Result<Plan, Refusal> {
    let group = check_group(broker, config, header.group)?;
    let topic = check_topic(broker, header.topic)?;
    if !(0..topic.read_queue_nums).contains(&header.queue_id) {
        return Err(Refusal::new(
            code::SYSTEM_ERROR,
            format!(
                "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer group: {}",
                header.queue_id, header.topic, topic.read_queue_nums, header.group
            ),
        ));
    }
    let filter = if header.has(PULL_SUBSCRIPTION) {
        inline_filter(broker, config, header)?
    } else {
        heartbeat_filter(broker, config, &group, header)?
    };
    let filter = match header.topic.strip_prefix(RETRY_PREFIX) {
        Some(retried) if config.filter_support_retry && !header.has(PULL_CLASS_FILTER) => {
            let filters = Arc::clone(&broker.consumer_filters);
            Some(Arc::new(RetryFilter { inner: filter, group: retried.into(), filters }) as _)
        }
        _ => filter,
    };
    Ok(Plan { group, filter })
}

/// What a pull wants; `None` wants everything.
type Wanted = Result<Option<Arc<dyn MessageFilter>>, Refusal>;

/// The filter of a subscription in the request itself.
///
/// An expression that does not compile is refused, as one in a heartbeat is. (In Java it lets
/// everything pass.)
fn inline_filter(broker: &Broker, config: &BrokerConfig, header: &PullHeader<'_>) -> Wanted {
    let parse_failed = |problem: String| {
        Refusal::new(
            code::SUBSCRIPTION_PARSE_FAILED,
            format!("parse the consumer's subscription failed: {problem}"),
        )
    };
    match header.expression_type {
        None | Some(filter::TAG) => {
            Ok(TagFilter::parse(header.subscription).map_err(parse_failed)?.for_pull())
        }
        Some(kind) => {
            let text = header.subscription.unwrap_or_default();
            if text.is_empty() {
                return Err(parse_failed("the expression is empty".to_owned()));
            }
            if kind.is_empty() {
                let everything = text == filter::EVERYTHING;
                return Ok(if everything { None } else { TagFilter::nothing().for_pull() });
            }
            if !config.enable_property_filter {
                return Err(expressions_disabled(kind));
            }
            let expression = broker.consumer_filters.compile(kind, text).map_err(parse_failed)?;
            Ok(Some(Arc::new(SqlFilter::of_expression(expression))))
        }
    }
}

/// The filter of the subscription that the group's heartbeats brought.
fn heartbeat_filter(
    broker: &Broker,
    config: &BrokerConfig,
    group_config: &SubscriptionGroupConfig,
    header: &PullHeader<'_>,
) -> Wanted {
    let not_exist = |what: &str| {
        Refusal::new(code::SUBSCRIPTION_NOT_EXIST, format!("the consumer's {what} not exist{FAQ}"))
    };
    let group = broker.consumers.get(header.group).ok_or_else(|| not_exist("group info"))?;
    let broadcasting = group.profile().message_model == Some(MessageModel::Broadcasting);
    if broadcasting && !group_config.consume_broadcast_enable {
        return Err(Refusal::new(
            code::NO_PERMISSION,
            format!("the consumer group[{}] can not consume by broadcast way", header.group),
        ));
    }
    let subscription = group.subscription(header.topic).ok_or_else(|| not_exist("subscription"))?;
    if subscription.sub_version < header.sub_version {
        return Err(Refusal::new(
            code::SUBSCRIPTION_NOT_LATEST,
            format!(
                "the consumer's subscription not latest: the request has version {}, the last heartbeat {}",
                header.sub_version, subscription.sub_version
            ),
        ));
    }
    let kind = subscription.expression_type.as_deref();
    if filter::is_tag_type(kind) {
        return Ok(TagFilter::of_subscription(&subscription).for_pull());
    }
    let Some(registered) = broker.consumer_filters.get(header.topic, header.group) else {
        return Err(Refusal::new(
            code::FILTER_DATA_NOT_EXIST,
            format!(
                "the broker has no filter of group {} for topic {}: its expression \"{}\" may be wrong",
                header.group,
                header.topic,
                subscription.sub_string.as_deref().unwrap_or_default()
            ),
        ));
    };
    if registered.client_version < header.sub_version {
        return Err(Refusal::new(
            code::FILTER_DATA_NOT_LATEST,
            format!(
                "the consumer's filter not latest: the request has version {}, the last heartbeat {}",
                header.sub_version, registered.client_version
            ),
        ));
    }
    if !config.enable_property_filter {
        return Err(expressions_disabled(kind.unwrap_or_default()));
    }
    Ok(Some(Arc::new(SqlFilter::registered(broker, &registered))))
}

/// Code for the status of a look at a queue (spec: broker 5.5).
fn response_code(status: GetMessageStatus, offset: i64) -> i32 {
    match status {
        GetMessageStatus::Found => code::SUCCESS,
        GetMessageStatus::MessageWasRemoving | GetMessageStatus::NoMatchedMessage => {
            code::PULL_RETRY_IMMEDIATELY
        }
        GetMessageStatus::NoMatchedLogicQueue | GetMessageStatus::NoMessageInQueue
            if offset != 0 =>
        {
            code::PULL_OFFSET_MOVED
        }
        GetMessageStatus::NoMatchedLogicQueue
        | GetMessageStatus::NoMessageInQueue
        | GetMessageStatus::OffsetFoundNull
        | GetMessageStatus::OffsetOverflowOne => code::PULL_NOT_FOUND,
        GetMessageStatus::OffsetOverflowBadly | GetMessageStatus::OffsetTooSmall => {
            code::PULL_OFFSET_MOVED
        }
    }
}

/// The answer, with the records as they lie in the log.
fn respond(
    broker: &Broker,
    config: &BrokerConfig,
    header: &PullHeader<'_>,
    plan: &Plan,
    found: GetMessageResult,
    mut answer: i32,
    began: Instant,
) -> Command {
    let mut next_offset = found.next_begin_offset;
    let mut suggested = match (config.slave_read_enable, found.suggest_pulling_from_slave) {
        (false, _) => 0,
        (true, true) => plan.group.which_broker_when_consume_slowly,
        (true, false) => plan.group.broker_id,
    };
    if answer == code::PULL_OFFSET_MOVED {
        let store = broker.store.config();
        if store.broker_role == BrokerRole::Slave && !store.offset_check_in_slave {
            answer = code::PULL_RETRY_IMMEDIATELY;
            suggested = plan.group.broker_id;
            next_offset = header.offset;
        } else {
            note_offset_moved(broker, config, header, next_offset);
        }
    }
    let mut response = Command::response(answer);
    response.remark = Some(found.status.name().to_owned());
    response.fields.push_int("suggestWhichBrokerId", suggested);
    response.fields.push_int("nextBeginOffset", next_offset);
    response.fields.push_int("minOffset", found.min_offset);
    response.fields.push_int("maxOffset", found.max_offset);
    if answer == code::SUCCESS {
        broker.stats.pulled(
            header.group,
            header.topic,
            header.queue_id,
            found.count,
            found.bytes,
            config.transfer_msg_by_heap.then(|| began.elapsed()),
        );
        if let Some(records) = found.records {
            response.body = Body::Shared(records);
        }
    }
    response
}

/// Leaves a message in OFFSET_MOVED_EVENT that a group's offset was out of range, for whoever
/// watches that topic. A failure is logged only; the pull is answered either way.
fn note_offset_moved(
    broker: &Broker,
    config: &BrokerConfig,
    header: &PullHeader<'_>,
    new_offset: i64,
) {
    log::warn!(
        "{} pulled {}-{} at offset {}, which is out of range; it is told to go on at {new_offset}",
        header.group,
        header.topic,
        header.queue_id,
        header.offset
    );
    let queue = MessageQueue {
        broker_name: config.broker_name.clone(),
        queue_id: header.queue_id,
        topic: header.topic.to_owned(),
    };
    let body = OffsetMovedEvent {
        consumer_group: header.group.to_owned(),
        message_queue: queue,
        offset_new: new_offset,
        offset_request: header.offset,
    };
    let properties =
        super::put_message::rewrite("", &[], &[(TAGS, header.group), (KEYS, header.group)]);
    let body = body.to_json().write(Style::Fastjson);
    let message = NewMessage {
        record: RecordFields {
            topic: OFFSET_MOVED_EVENT,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms(),
            born_host: broker.store_host,
            store_host: broker.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            properties: &properties,
        },
        wait_store: false,
    };
    broker.store.put(&message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{TestBroker, wait_until};
    use crate::store::fault::{Operation, inject};

    const WAKEABLE: Duration = Duration::from_millis(900);

    fn pull(test: &TestBroker, offset: &str) -> Command {
        let fields = [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", offset),
            ("maxMsgNums", "32"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "15000"),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("sysFlag", "6"),
        ];
        test.call(11, &fields, "")
    }

    /// A slave has a message in its queue before the master has it in its own; whoever got it there
    /// asks the master for what follows.
    #[test]
    fn a_pull_ahead_of_the_queue_waits_for_what_is_in_the_log() {
        let test = TestBroker::start();
        test.make_topic("T", "1");
        let store = &test.running.broker.store;
        let queues = store.commit_log().folder().with_file_name("consumequeue");
        let late = inject(Operation::Allocate, &queues, libc::ENOSPC);
        test.send("T", "0", "first");
        wait_until("the message is in no queue", || store.dispatch_behind_bytes() > 0);
        let began = Instant::now();
        let answer = std::thread::scope(|scope| {
            let pulling = scope.spawn(|| pull(&test, "1"));
            let held = || test.running.broker.held_pulls.len() == 1;
            wait_until("the pull is held", || held() || pulling.is_finished());
            drop(late);
            test.settle();
            test.send("T", "0", "second");
            pulling.join().unwrap()
        });
        let took = began.elapsed();
        assert_ne!(answer.code, code::PULL_OFFSET_MOVED, "after {took:?}");
        if took < WAKEABLE {
            let next = answer.fields.get("nextBeginOffset");
            assert_eq!((answer.code, next), (code::SUCCESS, Some("2")));
        }
        // One that is beyond all that there is waits for nothing.
        test.settle();
        let began = Instant::now();
        let answer = pull(&test, "7");
        assert_eq!(answer.code, code::PULL_OFFSET_MOVED);
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("2"));
        assert!(began.elapsed() < AHEAD, "{:?}", began.elapsed());
    }

    /// Producers of 4.9 try another broker after this code, but not after "busy".
    #[test]
    fn a_stopping_broker_does_not_call_itself_busy() {
        let test = TestBroker::start();
        test.make_topic("T", "1");
        test.running.broker.pools.send.stop(Duration::from_secs(10));
        let fields = [("a", "p"), ("b", "T"), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0")];
        let more = [("g", "1700000000000"), ("h", "0")];
        let answer = test.call(310, &[fields.as_slice(), &more].concat(), "x");
        assert_eq!(answer.code, code::SYSTEM_ERROR, "{:?}", answer.remark);
    }
}
