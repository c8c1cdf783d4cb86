//! Requests that a client answers and the broker only passes on (spec: admin 1.4, 1.5, 3).
//!
//! No thread of the broker waits for a client: the answer is passed on when it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::topics::queue;
use super::{answer, refuse};
use crate::broker::channels::ClientChannel;
use crate::broker::{Answer, Broker};
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::message_id::MessageId;
use crate::remoting::command::Language;
use crate::remoting::connection::ReplyTo;
use crate::remoting::header::HeaderError;
use crate::remoting::protocol::admin_bodies::{OffsetList, OffsetOfQueue};
use crate::remoting::protocol::bodies::{ConsumerStatus, OffsetTable};
use crate::remoting::protocol::headers::{
    ConsumeMessageDirectlyRequestHeader, GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader, ResetOffsetRequestHeader,
};
use crate::remoting::protocol::{request_code, response_code as code};
use crate::remoting::{Body, Command, Connection, RemotingError};

/// How long a client may take to answer a relayed request.
const RELAY_LIMIT: Duration = Duration::from_secs(10);
/// How long clients may take to say where they are.
const STATUS_LIMIT: Duration = Duration::from_secs(5);
/// First release that answers 307 and 309: V3_1_8_SNAPSHOT.
const FIRST_RELAY_VERSION: i32 = 62;
/// First release that understands 220 and 221: V3_0_7_SNAPSHOT.
const FIRST_RESET_VERSION: i32 = 28;

/// GET_CONSUMER_RUNNING_INFO.
pub fn running_info(
    broker: &Arc<Broker>,
    connection: &Arc<Connection>,
    request: Command,
) -> Answer {
    let header: GetConsumerRunningInfoRequestHeader = request.header()?;
    relay(broker, connection, request, &header.consumer_group, &header.client_id)
}

/// CONSUME_MESSAGE_DIRECTLY: the client gets the message with the request.
pub fn consume_directly(
    broker: &Arc<Broker>,
    connection: &Arc<Connection>,
    mut request: Command,
) -> Answer {
    let header: ConsumeMessageDirectlyRequestHeader = request.header()?;
    request.fields.set("brokerName", &broker.config.get().broker_name);
    let text = header.msg_id.ok_or(HeaderError::Missing("msgId"))?;
    let id: MessageId = text.parse()?;
    let Some(record) = broker.store.record_at(id.offset) else {
        return refuse(code::SYSTEM_ERROR, format!("no message here with the id {text}"));
    };
    request.body = Body::Shared(record);
    let client_id = header.client_id.unwrap_or_default();
    relay(broker, connection, request, &header.consumer_group, &client_id)
}

fn relay(
    broker: &Broker,
    connection: &Arc<Connection>,
    request: Command,
    group: &str,
    client_id: &str,
) -> Answer {
    let Some(client) = broker.consumers.member(group, client_id) else {
        return refuse(
            code::SYSTEM_ERROR,
            format!("The Consumer <{group}> <{client_id}> not online"),
        );
    };
    if client.version < FIRST_RELAY_VERSION {
        return refuse(
            code::SYSTEM_ERROR,
            format!(
                "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
                client.version
            ),
        );
    }
    let reply_to = ReplyTo::new(connection, &request);
    let mut passed_on = Command::request(request.code).with_body(request.body);
    passed_on.fields = request.fields;
    let who = format!("<{group}> <{client_id}>");
    client.connection.call_async(passed_on, RELAY_LIMIT, move |result| {
        reply_to.send(match result {
            Ok(answer) => Command {
                remark: answer.remark,
                fields: answer.fields,
                body: answer.body,
                ..Command::response(answer.code)
            },
            Err(error @ RemotingError::Timeout { .. }) => Command::failure(
                code::CONSUME_MSG_TIMEOUT,
                format!("consumer {who} Timeout: {error}"),
            ),
            Err(error) => Command::failure(
                code::SYSTEM_ERROR,
                format!("invoke consumer {who} Exception: {error}"),
            ),
        });
    })?;
    Ok(None)
}

/// INVOKE_BROKER_TO_RESET_OFFSET: tells the members of a group to go to the offsets of a time.
/// The broker's own table changes when they commit.
pub fn reset_offset(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let header: ResetOffsetRequestHeader = request.header()?;
    let ResetOffsetRequestHeader { topic, group, timestamp, is_force } = &header;
    let Some(config) = broker.topics.get(topic) else {
        return refuse(
            code::SYSTEM_ERROR,
            format!("[reset-offset] reset offset failed, no topic in this broker. topic={topic}"),
        );
    };
    let mut table = OffsetTable::default();
    for queue_id in 0..config.write_queue_nums {
        let committed = broker.consumer_offsets.get(group, topic, queue_id);
        let Some(committed) = committed.filter(|offset| *offset != -1) else {
            return refuse(code::SYSTEM_ERROR, format!("THe consumer group <{group}> not exist"));
        };
        let target = if *timestamp == -1 {
            broker.store.max_offset(topic, queue_id)
        } else {
            broker.store.offset_by_time(topic, queue_id, *timestamp)
        };
        let target = target.max(0);
        let offset = if *is_force || target < committed { target } else { committed };
        table.offset_table.insert(queue(broker, topic, queue_id), offset);
    }
    let Some(online) = broker.consumers.get(group) else {
        return refuse(
            code::CONSUMER_NOT_ONLINE,
            format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {timestamp}"
            ),
        );
    };
    let members = online.members();
    if let Some(old) = members.iter().find(|client| client.version < FIRST_RESET_VERSION) {
        return refuse(code::SYSTEM_ERROR, too_old(old));
    }
    broker.consumer_offsets.expect_reset(group, topic);
    let to_client = ResetOffsetRequestHeader { is_force: false, ..header.clone() };
    for client in &members {
        let request = Command::request(request_code::RESET_CONSUMER_CLIENT_OFFSET)
            .with_header(&to_client)
            .with_body(offsets_for(client, &table));
        match client.connection.oneway(request) {
            Ok(()) => log::info!("{} of {group} is told to reset {topic}", client.client_id),
            Err(error) => log::warn!("{} is not told to reset {topic}: {error}", client.client_id),
        }
    }
    answer(&table)
}

fn too_old(client: &ClientChannel) -> String {
    format!(
        "the client does not support this feature. version={}, client={}",
        client.version, client.client_id
    )
}

/// The offsets in the form that the client's language reads: C++ a list, the others a table.
fn offsets_for(client: &ClientChannel, table: &OffsetTable) -> String {
    if client.language != Language::from_name("CPP") {
        return table.to_json().write(Style::Fastjson);
    }
    let entries = table.offset_table.iter().map(|(queue, offset)| OffsetOfQueue {
        broker_name: queue.broker_name.clone(),
        offset: *offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    });
    OffsetList { offset_table: entries.collect() }.to_json().write(Style::Fastjson)
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS: asks all members of a group, or one, where they are. Who
/// does not answer is left out.
pub fn consumer_status(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let header: GetConsumerStatusRequestHeader = request.header()?;
    let members = broker.consumers.get(&header.group).map(|group| group.members());
    let Some(mut members) = members.filter(|members| !members.is_empty()) else {
        return refuse(
            code::SYSTEM_ERROR,
            format!("No Any Consumer online in the consumer group: [{}]", header.group),
        );
    };
    if let Some(old) = members.iter().find(|client| client.version < FIRST_RESET_VERSION) {
        return refuse(code::SYSTEM_ERROR, too_old(old));
    }
    if let Some(wanted) = header.client_addr.as_deref().filter(|wanted| !wanted.trim().is_empty()) {
        members.retain(|client| client.client_id == wanted);
    }
    let (answered, answers) = mpsc::channel();
    for client in &members {
        let request = Command::request(request_code::GET_CONSUMER_STATUS_FROM_CLIENT).with_header(
            &GetConsumerStatusRequestHeader {
                topic: header.topic.clone(),
                group: header.group.clone(),
                client_addr: None,
            },
        );
        let (answered, client_id) = (answered.clone(), client.client_id.clone());
        let called = client.connection.call_async(request, STATUS_LIMIT, move |result| {
            let _ = answered.send((client_id, result));
        });
        if let Err(error) = called {
            log::warn!("{} is not asked where it is: {error}", client.client_id);
        }
    }
    drop(answered);
    answer(&ConsumerStatus {
        consumer_table: collect_status(&answers),
        ..ConsumerStatus::default()
    })
}

type StatusAnswer = (String, Result<Command, RemotingError>);

fn collect_status(
    answers: &mpsc::Receiver<StatusAnswer>,
) -> BTreeMap<String, BTreeMap<crate::remoting::protocol::bodies::MessageQueue, i64>> {
    let deadline = Instant::now() + STATUS_LIMIT;
    let mut table = BTreeMap::new();
    while let Ok((client_id, result)) =
        answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        let status = result.map_err(|error| error.to_string()).and_then(|answer| {
            Json::parse(answer.body.as_bytes())
                .and_then(|json| ConsumerStatus::from_json(&json))
                .map_err(|error| error.to_string())
        });
        match status {
            Ok(status) => {
                table.insert(client_id, status.message_queue_table);
            }
            Err(problem) => log::warn!("{client_id} does not say where it is: {problem}"),
        }
    }
    table
}
