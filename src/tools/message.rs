//! Messages: find and show them, by id, key or offset; print queues.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::call::{Call, time_with_ms};
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::ClientError;
use crate::client::admin::{PullFrom, address_of};
use crate::common::json::Json;
use crate::common::message::MessageExt;
use crate::common::message_id::MessageId;
use crate::remoting::protocol::bodies::{MessageQueue, TopicRouteData};
use crate::remoting::protocol::response_code;

/// Group of all pulls of the tool.
pub(super) const TOOLS_GROUP: &str = "TOOLS_CONSUMER";

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "queryMsgById",
        purpose: "Query Message by Id",
        options: &[
            required('i', "msgId", "Offset message id; several are separated by commas"),
            optional('g', "consumerGroup", "consumer group name"),
            optional('d', "clientId", "The consumer's client id"),
            optional('s', "sendMessage", "resend message (true)"),
        ],
        run: query_by_id,
    },
    SubCommand {
        name: "queryMsgByKey",
        purpose: "Query Message by Key",
        options: &[required('t', "topic", "topic name"), required('k', "msgKey", "Message Key")],
        run: query_by_key,
    },
    SubCommand {
        name: "queryMsgByUniqueKey",
        purpose: "Query Message by Unique key",
        options: &[
            required('i', "msgId", "Message Id"),
            required('t', "topic", "The topic of msg"),
            optional('g', "consumerGroup", "consumer group name"),
            optional('d', "clientId", "The consumer's client id"),
            flag('a', "showAll", "Print all message"),
        ],
        run: query_by_unique_key,
    },
    SubCommand {
        name: "queryMsgByOffset",
        purpose: "Query Message by offset",
        options: &[
            required('t', "topic", "topic name"),
            required('b', "brokerName", "Broker Name"),
            required('i', "queueId", "Queue Id"),
            required('o', "offset", "Queue Offset"),
        ],
        run: query_by_offset,
    },
];

fn query_by_id(call: &mut Call<'_>) -> ToolResult {
    for id in call.required("msgId")?.split(',').map(str::trim) {
        let place: MessageId = id.parse().map_err(ToolError::Usage)?;
        let addr = place.host.to_string();
        if let (Some(group), Some(client)) = (call.text("consumerGroup"), call.text("clientId")) {
            push_to_client(call, &addr, &group, &client, id)?;
            continue;
        }
        let message = call.admin.view_message(&addr, place.offset)?;
        if call.truth("sendMessage", false) {
            resend(call, id, &message)?;
        } else {
            show(call, &message, Some(id), "")?;
        }
    }
    Ok(())
}

/// Has a member of a group consume a message right now.
fn push_to_client(
    call: &mut Call<'_>,
    addr: &str,
    group: &str,
    client: &str,
    offset_id: &str,
) -> ToolResult {
    let result = call.admin.consume_directly(addr, group, client, offset_id)?;
    call.out.say(format_args!(
        "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, \
         spentTimeMills={}]",
        result.order,
        result.auto_commit,
        result.consume_result.as_deref().unwrap_or("null"),
        result.remark.as_deref().unwrap_or("null"),
        result.spent_time_millis
    ))?;
    Ok(())
}

/// Sends a copy of a message to its topic.
fn resend(call: &mut Call<'_>, id: &str, message: &MessageExt) -> ToolResult {
    call.out.say(format_args!("prepare resend msg. originalMsgId={id}"))?;
    let route = call.admin.route(&message.message.topic)?;
    let addr = route.broker_datas.iter().find_map(|broker| {
        let master = broker.broker_addrs.get(&0)?;
        Some((broker.broker_name.clone(), master.clone()))
    });
    let Some((broker_name, addr)) = addr else {
        return Err(ToolError::Failed("no broker of the topic has a master".to_owned()));
    };
    let topic = message.message.topic.clone();
    let queue = MessageQueue { broker_name, queue_id: message.queue_id, topic };
    let sent = call.admin.send(&addr, &queue, "ReSendMsgById", &message.message)?;
    super::produce::print_sent(call, &sent)
}

const KEY_COLUMNS: [Column; 3] = [
    Column::left("#Message ID", "msgId", 50).gap(1),
    Column::right("#QID", "queueId", 4).gap(1).number(),
    Column::right("#Offset", "offset", 40).gap(0).number(),
];

fn query_by_key(call: &mut Call<'_>) -> ToolResult {
    let (topic, key) = (call.required("topic")?, call.required("msgKey")?);
    let messages = call.admin.query_messages(&topic, &key, false)?;
    if messages.is_empty() {
        return Err(not_found());
    }
    call.out.header(&KEY_COLUMNS)?;
    for message in messages {
        let id = message.message_id();
        call.out.row(&KEY_COLUMNS, &[&id, &message.queue_id, &message.queue_offset])?;
    }
    Ok(())
}

fn not_found() -> ToolError {
    ToolError::Failed("query message by key finished, but no message.".to_owned())
}

fn query_by_unique_key(call: &mut Call<'_>) -> ToolResult {
    let (topic, id) = (call.required("topic")?, call.required("msgId")?);
    let mut messages = call.admin.query_messages(&topic, &id, true)?;
    messages.sort_by_key(|message| message.store_timestamp);
    let Some(first) = messages.first() else { return Err(not_found()) };
    if let (Some(group), Some(client)) = (call.text("consumerGroup"), call.text("clientId")) {
        let addr = first.store_host.to_string();
        return push_to_client(call, &addr, &group, &client, &first.offset_message_id());
    }
    let shown = if call.has("showAll") { messages.len() } else { 1 };
    for (index, message) in messages.iter().take(shown).enumerate() {
        let ending = if index == 0 { String::new() } else { format!("_{index}") };
        show(call, message, None, &ending)?;
    }
    Ok(())
}

fn query_by_offset(call: &mut Call<'_>) -> ToolResult {
    let queue = MessageQueue {
        broker_name: call.required("brokerName")?,
        queue_id: call.number("queueId", 0)?,
        topic: call.required("topic")?,
    };
    let route = call.admin.route(&queue.topic)?;
    let addr = address_in(&route, &queue.broker_name)?;
    let from = PullFrom {
        group: TOOLS_GROUP,
        queue: &queue,
        offset: call.number("offset", 0)?,
        max_messages: 1,
        expression: "*",
        hold: Duration::ZERO,
    };
    for message in call.admin.pull(addr, &from)?.messages {
        let id = message.offset_message_id();
        show(call, &message, Some(&id), "")?;
    }
    Ok(())
}

/// The address of a broker in a route.
pub(super) fn address_in<'r>(
    route: &'r TopicRouteData,
    broker_name: &str,
) -> Result<&'r str, ToolError> {
    let broker = route.broker_datas.iter().find(|broker| broker.broker_name == broker_name);
    broker.and_then(address_of).ok_or_else(|| {
        let known: Vec<_> = route.broker_datas.iter().map(|b| b.broker_name.as_str()).collect();
        ToolError::Failed(format!(
            "broker \"{broker_name}\" does not serve this topic, but {} do",
            known.join(", ")
        ))
    })
}

/// A message as JSON; a body that is not UTF-8 is given in hexadecimal.
pub(super) fn to_json(message: &MessageExt, broker_name: Option<&str>) -> Json {
    let text = |value: &str| Json::Text(value.to_owned());
    let number = Json::Int;
    let properties = message.message.properties.iter();
    let properties = properties.map(|(name, value)| (text(name), text(value))).collect();
    let (body_name, body) = match std::str::from_utf8(&message.message.body) {
        Ok(body) => ("body", text(body)),
        Err(_) => ("bodyHex", Json::Text(hex(&message.message.body))),
    };
    Json::object([
        ("topic", text(&message.message.topic)),
        ("brokerName", broker_name.map_or(Json::Null, text)),
        ("queueId", number(message.queue_id.into())),
        ("queueOffset", number(message.queue_offset)),
        ("msgId", Json::Text(message.message_id())),
        ("offsetMsgId", Json::Text(message.offset_message_id())),
        ("bornTimestamp", number(message.born_timestamp)),
        ("bornHost", Json::Text(message.born_host.to_string())),
        ("storeTimestamp", number(message.store_timestamp)),
        ("storeHost", Json::Text(message.store_host.to_string())),
        ("reconsumeTimes", number(message.reconsume_times.into())),
        ("sysFlag", number(message.sys_flag.into())),
        ("flag", number(message.message.flag.into())),
        ("properties", Json::Object(properties)),
        (body_name, body),
    ])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Java's text of the properties: `{K=V, K=V}`.
pub(super) fn properties_text(message: &MessageExt) -> String {
    let pairs: Vec<_> =
        message.message.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Prints everything about a message, puts its body into a file, and says which groups have
/// consumed it.
fn show(
    call: &mut Call<'_>,
    message: &MessageExt,
    offset_id: Option<&str>,
    ending: &str,
) -> ToolResult {
    if call.out.is_json() {
        return Ok(call.out.value(&to_json(message, None))?);
    }
    let path = write_body(message, ending)?;
    let or_null = |text: Option<&str>| format!("[{}]", text.unwrap_or("null"));
    let mut lines = Vec::new();
    lines.extend(offset_id.map(|id| ("OffsetID:", id.to_owned())));
    lines.extend([
        ("Topic:", message.message.topic.clone()),
        ("Tags:", or_null(message.message.tag())),
        ("Keys:", or_null(message.message.keys())),
        ("Queue ID:", message.queue_id.to_string()),
        ("Queue Offset:", message.queue_offset.to_string()),
        ("CommitLog Offset:", message.commit_log_offset.to_string()),
        ("Reconsume Times:", message.reconsume_times.to_string()),
        ("Born Timestamp:", time_with_ms(message.born_timestamp)),
        ("Store Timestamp:", time_with_ms(message.store_timestamp)),
        ("Born Host:", message.born_host.to_string()),
        ("Store Host:", message.store_host.to_string()),
        ("System Flag:", message.sys_flag.to_string()),
        ("Properties:", properties_text(message)),
        ("Message Body Path:", path.display().to_string()),
    ]);
    for (label, value) in lines {
        call.out.decorate(format_args!("{label:20} {value}"))?;
    }
    print_tracks(call, message)
}

/// Puts the body into `/tmp/rocketmq/msgbodys/<message id>`, as Java's tool does.
fn write_body(message: &MessageExt, ending: &str) -> Result<PathBuf, ToolError> {
    let directory = PathBuf::from("/tmp/rocketmq/msgbodys");
    // The id comes from whoever sent the message: it must not lead elsewhere.
    let id: String = message.message_id().chars().filter(char::is_ascii_alphanumeric).collect();
    let path = directory.join(format!("{id}{ending}"));
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&path, &message.message.body))
        .map_err(|error| ToolError::Failed(format!("{}: {error}", path.display())))?;
    Ok(path)
}

fn print_tracks(call: &mut Call<'_>, message: &MessageExt) -> ToolResult {
    let topic = &message.message.topic;
    let route = call.admin.route(topic)?;
    let groups = match route.broker_datas.first().and_then(address_of) {
        Some(addr) => call.admin.groups_of_topic(addr, topic)?,
        None => Vec::new(),
    };
    call.out.decorate("\n")?;
    if groups.is_empty() {
        call.out.decorate("WARN: No Consumer")?;
    }
    for group in groups {
        let (kind, problem) = match call.admin.track(message, &group) {
            Ok(track) => (track.name(), "null".to_owned()),
            Err(ClientError::Broker { code, remark, .. }) => {
                let is_offline = code == response_code::CONSUMER_NOT_ONLINE;
                let kind = if is_offline { "NOT_ONLINE" } else { "UNKNOWN" };
                (kind, format!("CODE:{code} DESC:{remark}"))
            }
            Err(error) => ("UNKNOWN", error.to_string()),
        };
        call.out.decorate(format_args!(
            "MessageTrack [consumerGroup={group}, trackType={kind}, exceptionDesc={problem}]"
        ))?;
    }
    Ok(())
}
