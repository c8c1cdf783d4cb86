//! Clients come and go: HEART_BEAT (34), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46), closed
//! connections and those that fell silent; and the word to the members of a consumer group that it
//! changed.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::channels::ClientChannel;
use super::{Answer, Broker, filter, success_with_fields};
use crate::common::clock::now_ms;
use crate::common::json::{FromJson, Json};
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::common::topic::{PERM_READ, PERM_WRITE, retry_topic};
use crate::remoting::protocol::bodies::CheckClientConfigBody;
use crate::remoting::protocol::headers::ConsumerGroupHeader;
use crate::remoting::protocol::heartbeat::{ConsumerData, HeartbeatData};
use crate::remoting::protocol::{request_code, response_code as code};
use crate::remoting::{Command, Connection};

/// A client that sent no heartbeat for so long is gone, ms: four of its heartbeats.
pub const CLIENT_EXPIRY_MS: i64 = 120_000;

/// Longest group name, characters: what the official clients allow.
const GROUP_MAX_LENGTH: usize = 255;

/// HEART_BEAT: everything a client is a member of (spec: broker 6.1).
pub fn heartbeat(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let json = Json::parse(request.body.as_bytes())?;
    let data = HeartbeatData::from_json(&json)?;
    if let Some(problem) = consumers_problem(&json, &data) {
        return Ok(Some(Command::failure(code::SYSTEM_ERROR, problem)));
    }
    let problem = producers_problem(&json, &data);
    let client = ClientChannel::new(
        Arc::clone(connection),
        data.client_id.unwrap_or_default(),
        request.language,
        request.version,
        now_ms(),
    );
    for consumer in &data.consumer_data_set {
        register_consumer(broker, consumer, &client);
    }
    // As in Java, where the consumers are in their groups before anybody looks at the producers: some
    // client may write null for no producers, and not mind the answer.
    let groups = data.producer_data_set.iter().filter_map(|data| data.group_name.as_deref());
    for group in groups.filter(|group| problem.is_none() && usable_group(group, &client)) {
        broker.producers.register(group, &client);
    }
    if connection.is_closed() {
        // Its end was told while it was made a member of something.
        connection_closed(broker, connection);
    }
    Ok(Some(match problem {
        Some(problem) => Command::failure(code::SYSTEM_ERROR, problem),
        None => Command::response(code::SUCCESS),
    }))
}

/// What Java's handler stumbles over among the consumers: a set that is there but null, groups of
/// nothing.
fn consumers_problem(json: &Json, data: &HeartbeatData) -> Option<String> {
    if *json == Json::Null {
        return Some("the heartbeat is null, expected an object".to_owned());
    }
    let nameless = data.consumer_data_set.iter().any(|consumer| consumer.group_name.is_none());
    set_problem(json, "consumerDataSet", nameless)
}

/// The same of the producers, which need a client id besides.
fn producers_problem(json: &Json, data: &HeartbeatData) -> Option<String> {
    let nameless = data.producer_data_set.iter().any(|producer| producer.group_name.is_none());
    set_problem(json, "producerDataSet", nameless).or_else(|| {
        let is_anonymous = data.client_id.is_none() && !data.producer_data_set.is_empty();
        is_anonymous.then(|| "the heartbeat has no clientID".to_owned())
    })
}

fn set_problem(json: &Json, set: &str, nameless: bool) -> Option<String> {
    match json.get(set) {
        Some(Json::Null) => Some(format!("the heartbeat's {set} is null, expected an array")),
        Some(Json::Array(items)) if items.contains(&Json::Null) => {
            Some(format!("the heartbeat's {set} contains null"))
        }
        _ => nameless.then(|| "the heartbeat has a group without groupName".to_owned()),
    }
}

fn usable_group(group: &str, client: &ClientChannel) -> bool {
    let usable = !group.is_empty() && group.chars().count() <= GROUP_MAX_LENGTH;
    if !usable {
        log::warn!(
            "heartbeat of {}: a group name of {} bytes is passed over, expected 1 to {GROUP_MAX_LENGTH} characters",
            client.client_id,
            group.len()
        );
    }
    usable
}

fn register_consumer(broker: &Broker, consumer: &ConsumerData, client: &Arc<ClientChannel>) {
    let Some(group) = consumer.group_name.as_deref() else { return };
    if !usable_group(group, client) {
        return;
    }
    let group_config = broker.subscription_groups.find_or_create(&broker.config.get(), group);
    if let Some(group_config) = &group_config {
        let sys_flag = if consumer.unit_mode { super::topics::SYS_FLAG_UNIT_SUB } else { 0 };
        broker.topics.get_or_create(
            &retry_topic(group),
            group_config.retry_queue_nums,
            PERM_READ | PERM_WRITE,
            sys_flag,
        );
    }
    let changed = broker.consumers.register(consumer, client);
    broker.consumer_filters.register(group, &consumer.subscription_data_set);
    if changed && group_config.is_none_or(|config| config.notify_consumer_ids_changed_enable) {
        broker.member_changes.note(group);
    }
}

/// UNREGISTER_CLIENT: a client leaves a producer group, a consumer group, or both.
pub fn unregister(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    // The connection tells who it is; the header's clientID is not needed. C++ names the group that
    // is not meant with an empty text.
    let group = |name| request.fields.get(name).filter(|group| !group.is_empty());
    if let Some(group) = group("producerGroup") {
        broker.producers.unregister(group, connection);
    }
    if let Some(group) = group("consumerGroup") {
        let config = broker.subscription_groups.find_or_create(&broker.config.get(), group);
        let is_told = config.is_none_or(|config| config.notify_consumer_ids_changed_enable);
        if broker.consumers.unregister(group, connection) && is_told {
            broker.member_changes.note(group);
        }
    }
    Ok(Some(success_with_fields()))
}

/// CHECK_CLIENT_CONFIG: whether this broker can filter as the subscription asks.
pub fn check_config(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let success = Ok(Some(Command::response(code::SUCCESS)));
    let body = CheckClientConfigBody::from_json(&Json::parse(request.body.as_bytes())?)?;
    let Some(subscription) = body.subscription_data else { return success };
    let kind = subscription.expression_type.as_deref();
    if filter::is_tag_type(kind) {
        return success;
    }
    let kind = kind.unwrap_or_default();
    if !broker.config.get().enable_property_filter {
        return Ok(Some(filter::expressions_disabled(kind).response()));
    }
    let text = subscription.sub_string.as_deref().unwrap_or_default();
    match broker.consumer_filters.compile(kind, text) {
        Ok(_) => success,
        Err(problem) => Ok(Some(Command::failure(code::SUBSCRIPTION_PARSE_FAILED, problem))),
    }
}

/// What becomes of the tables when a connection ends.
pub fn connection_closed(broker: &Broker, connection: &Connection) {
    broker.producers.closed(connection);
    for group in broker.consumers.closed(connection) {
        // The group's own switch is not asked here, as in Java.
        broker.member_changes.note(&group);
    }
}

/// Removes clients that fell silent and closes their connections (spec: broker 6.5), and what is kept
/// for those that are gone; every 10 s.
pub fn expire_silent_clients(broker: &Broker) {
    let before_ms = now_ms() - CLIENT_EXPIRY_MS;
    let mut silent = broker.producers.expire(before_ms);
    silent.extend(broker.consumers.expire(before_ms));
    for client in silent {
        log::warn!(
            "{} at {} sent no heartbeat for {} s and is gone",
            client.client_id,
            client.connection.peer_addr(),
            CLIENT_EXPIRY_MS / 1000
        );
        client.connection.close("no heartbeat");
    }
    broker.queue_locks.forget_expired(now_ms());
    broker.held_pulls.forget(|pull| pull.reply.connection().is_closed());
}

/// Consumer groups whose members must be told that they changed (40).
///
/// One thread tells them, so that no heartbeat waits while a group of thousands is told; changes
/// of a group that come while it is being told are told together.
#[derive(Debug, Default)]
pub struct MemberChanges {
    groups: Mutex<HashSet<String>>,
    signal: Arc<Signal>,
}

impl MemberChanges {
    /// The members of the group are to be told.
    pub fn note(&self, group: &str) {
        let fresh = lock(&self.groups).insert(group.to_owned());
        if fresh {
            self.signal.wakeup();
        }
    }

    /// Starts the thread that tells.
    pub fn start(broker: &Arc<Broker>) -> io::Result<ServiceThread> {
        let its_broker = Arc::clone(broker);
        ServiceThread::spawn(
            "NotifyConsumer",
            Arc::clone(&broker.member_changes.signal),
            move |signal| {
                while signal.wait(Duration::from_secs(60)) {
                    let groups = std::mem::take(&mut *lock(&its_broker.member_changes.groups));
                    if its_broker.config.get().notify_consumer_ids_changed_enable {
                        groups.iter().for_each(|group| tell_members(&its_broker, group));
                    }
                }
            },
        )
    }
}

/// Tells every member of a group, the one that caused it too. Who cannot be told finds out when
/// it rebalances by itself, every 20 s.
fn tell_members(broker: &Broker, group: &str) {
    let Some(found) = broker.consumers.get(group) else { return };
    let header = ConsumerGroupHeader { consumer_group: group.to_owned() };
    for member in found.members() {
        let request =
            Command::request(request_code::NOTIFY_CONSUMER_IDS_CHANGED).with_header(&header);
        if let Err(error) = member.connection.oneway(request) {
            log::warn!("{} is not told that {group} changed: {error}", member.client_id);
        }
    }
}
