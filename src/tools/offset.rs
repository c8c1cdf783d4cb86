//! Offsets of groups: back to a time, on to the end, over to another group.

use std::collections::BTreeMap;

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::ClientError;
use crate::client::admin::address_of;
use crate::remoting::protocol::bodies::TopicRouteData;
use crate::remoting::protocol::headers::ResetOffsetRequestHeader;
use crate::remoting::protocol::response_code;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "resetOffsetByTime",
        purpose: "Reset consumer offset by timestamp(without client restart)",
        options: &[
            required('g', "group", "set the consumer group"),
            required('t', "topic", "set the topic"),
            required(
                's',
                "timestamp",
                "set the timestamp[now|currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
            ),
            optional('f', "force", "set the force rollback by timestamp switch[true|false]"),
            flag('c', "cplus", "accepted, without effect: every broker tells C++ clients apart"),
        ],
        run: reset_offset_by_time,
    },
    SubCommand {
        name: "skipAccumulatedMessage",
        purpose: "Skip all messages that are accumulated (not consumed) currently",
        options: &[
            required('g', "group", "set the consumer group"),
            required('t', "topic", "set the topic"),
            optional('f', "force", "set the force rollback by timestamp switch[true|false]"),
        ],
        run: skip_accumulated_message,
    },
    SubCommand {
        name: "cloneGroupOffset",
        purpose: "Clone offset from other group",
        options: &[
            required('s', "srcGroup", "set source consumer group"),
            required('d', "destGroup", "set destination consumer group"),
            required('t', "topic", "set the topic"),
            optional('o', "offline", "accepted, without effect"),
        ],
        run: clone_group_offset,
    },
];

/// The end of a queue, in place of a time.
const TO_THE_END: i64 = -1;

/// What is to be reset, and to when.
struct Reset {
    group: String,
    topic: String,
    /// ms, or [`TO_THE_END`].
    timestamp: i64,
    /// Forward too, not only back.
    force: bool,
}

fn reset_offset_by_time(call: &mut Call<'_>) -> ToolResult {
    let given = call.required("timestamp")?;
    let timestamp =
        if given == "now" { TO_THE_END } else { call.time("timestamp")?.unwrap_or(TO_THE_END) };
    let reset = reset_of(call, timestamp)?;
    let Reset { group, topic, force, .. } = &reset;
    call.out.decorate(format_args!(
        "rollback consumer offset by specified group[{group}], topic[{topic}], force[{force}], \
         timestamp(string)[{given}], timestamp(long)[{timestamp}]"
    ))?;
    run_reset(call, &reset)
}

fn skip_accumulated_message(call: &mut Call<'_>) -> ToolResult {
    let reset = reset_of(call, TO_THE_END)?;
    run_reset(call, &reset)
}

fn reset_of(call: &Call<'_>, timestamp: i64) -> Result<Reset, ToolError> {
    Ok(Reset {
        group: call.required("group")?,
        topic: call.required("topic")?,
        timestamp,
        force: call.truth("force", true),
    })
}

/// Through the online members of the group; if there is none, in the brokers' tables.
fn run_reset(call: &mut Call<'_>, reset: &Reset) -> ToolResult {
    let route = call.admin.route(&reset.topic)?;
    match through_members(call, reset, &route) {
        Err(ToolError::Client(ClientError::Broker {
            code: response_code::CONSUMER_NOT_ONLINE,
            ..
        })) => in_tables(call, reset),
        outcome => outcome,
    }
}

const NEW_COLUMNS: [Column; 3] = [
    Column::left("#brokerName", "brokerName", 40),
    Column::left("#queueId", "queueId", 40).number(),
    Column::left("#offset", "offset", 40).gap(0).number(),
];

fn through_members(call: &mut Call<'_>, reset: &Reset, route: &TopicRouteData) -> ToolResult {
    let header = ResetOffsetRequestHeader {
        topic: reset.topic.clone(),
        group: reset.group.clone(),
        timestamp: reset.timestamp,
        is_force: reset.force,
    };
    let mut offsets = BTreeMap::new();
    for addr in route.broker_datas.iter().filter_map(address_of) {
        offsets.extend(call.admin.reset_offset(addr, &header)?);
    }
    call.out.header(&NEW_COLUMNS)?;
    for (queue, offset) in offsets {
        call.out.row(&NEW_COLUMNS, &[&queue.broker_name, &queue.queue_id, &offset])?;
    }
    Ok(())
}

const OLD_COLUMNS: [Column; 6] = [
    Column::left("#brokerName", "brokerName", 20),
    Column::left("#queueId", "queueId", 20).number(),
    Column::left("#brokerOffset", "brokerOffset", 20).number(),
    Column::left("#consumerOffset", "consumerOffset", 20).number(),
    Column::left("#timestampOffset", "timestampOffset", 20).number(),
    Column::left("#rollbackOffset", "rollbackOffset", 20).gap(0).number(),
];

fn in_tables(call: &mut Call<'_>, reset: &Reset) -> ToolResult {
    call.out.header(&OLD_COLUMNS)?;
    let time = Some(reset.timestamp).filter(|time| *time != TO_THE_END);
    for done in call.admin.reset_offline(&reset.group, &reset.topic, time, reset.force)? {
        let cells: [&dyn std::fmt::Display; 6] = [
            &done.queue.broker_name,
            &done.queue.queue_id,
            &done.broker_offset,
            &done.consumer_offset,
            &done.target,
            &done.offset,
        ];
        call.out.row(&OLD_COLUMNS, &cells)?;
    }
    Ok(())
}

/// Copies the offsets of all topics of a group, on the brokers of the topic named.
fn clone_group_offset(call: &mut Call<'_>) -> ToolResult {
    let (source, target) = (call.required("srcGroup")?, call.required("destGroup")?);
    let topic = call.required("topic")?;
    let stats = call.admin.consume_stats_of_group(&source)?;
    let route = call.admin.route(&topic)?;
    for (queue, progress) in &stats.offset_table {
        let mut brokers = route.broker_datas.iter();
        let broker = brokers.find(|broker| broker.broker_name == queue.broker_name);
        let Some(addr) = broker.and_then(address_of) else {
            let problem = format!("broker {} does not serve topic {topic}", queue.broker_name);
            return Err(ToolError::Failed(problem));
        };
        if progress.consumer_offset >= 0 {
            let offset = progress.consumer_offset;
            call.admin.update_consumer_offset(addr, &target, queue, offset)?;
        }
    }
    call.out.say(format_args!(
        "clone group offset success. srcGroup[{source}], destGroup=[{target}], topic[{topic}]"
    ))?;
    Ok(())
}
