//! Groups: create, change, delete, who is in them, how far they are.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{Call, time_in_seconds};
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, one_of, optional, required, topic};
use crate::client::admin::{address_of, addresses_of_cluster};
use crate::common::json::{Json, ToJson};
use crate::common::topic::{RETRY_PREFIX, dlq_topic, retry_topic};
use crate::remoting::protocol::admin_bodies::{ConnectionInfo, ConsumeStats, OffsetWrapper};
use crate::remoting::protocol::bodies::{MessageQueue, SubscriptionGroupConfig};
use crate::remoting::protocol::heartbeat::ConsumeType;
use crate::remoting::protocol::version;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "updateSubGroup",
        purpose: "Update or create subscription group",
        options: &[
            one_of('b', "brokerAddr", "create subscription group to which broker"),
            one_of('c', "clusterName", "create subscription group to which cluster"),
            required('g', "groupName", "consumer group name"),
            optional('s', "consumeEnable", "consume enable (true)"),
            optional('m', "consumeFromMinEnable", "from min offset (false)"),
            optional('d', "consumeBroadcastEnable", "broadcast (false)"),
            optional('q', "retryQueueNums", "retry queue nums (1)"),
            optional('r', "retryMaxTimes", "retry max times (16)"),
            optional('i', "brokerId", "consumer from which broker id (0)"),
            optional(
                'w',
                "whichBrokerWhenConsumeSlowly",
                "which broker id when consume slowly (1)",
            ),
            optional('a', "notifyConsumerIdsChanged", "notify consumerId changed (true)"),
        ],
        run: update_group,
    },
    SubCommand {
        name: "deleteSubGroup",
        purpose: "Delete subscription group from broker",
        options: &[
            one_of('b', "brokerAddr", "delete subscription group from which broker"),
            one_of('c', "clusterName", "delete subscription group from which cluster"),
            required('g', "groupName", "subscription group name"),
            optional('r', "removeOffset", "remove offset (false)"),
        ],
        run: delete_group,
    },
    SubCommand {
        name: "getConsumerConfig",
        purpose: "Get consumer config by subscription group name",
        options: &[required('g', "groupName", "subscription group name")],
        run: get_consumer_config,
    },
    SubCommand {
        name: "producerConnection",
        purpose: "Query producer's socket connection and client version",
        options: &[
            required('g', "producerGroup", "producer group name"),
            required('t', "topic", "topic name"),
        ],
        run: producer_connection,
    },
    SubCommand {
        name: "producer",
        purpose: "Query producer's instances, connection, status, etc.",
        options: &[required('b', "broker", "broker address")],
        run: producers,
    },
    SubCommand {
        name: "consumerConnection",
        purpose: "Query consumer's socket connection, client version and subscription",
        options: &[
            required('g', "consumerGroup", "consumer group name"),
            optional('b', "brokerAddr", "broker address"),
        ],
        run: consumer_connection,
    },
    SubCommand {
        name: "consumerProgress",
        purpose: "Query consumers's progress, speed",
        options: &[
            optional('g', "groupName", "consumer group name"),
            optional('s', "showClientIP", "Show Client IP per Queue (false)"),
        ],
        run: consumer_progress,
    },
    SubCommand {
        name: "brokerConsumeStats",
        purpose: "Fetch broker consume stats data",
        options: &[
            required('b', "brokerAddr", "Broker address"),
            optional('t', "timeoutMillis", "request timeout Millis (50000)"),
            optional('l', "level", "threshold of print diff (0)"),
            optional('o', "order", "order topic (false)"),
        ],
        run: broker_consume_stats,
    },
];

fn update_group(call: &mut Call<'_>) -> ToolResult {
    let config = SubscriptionGroupConfig {
        broker_id: call.number("brokerId", 0)?,
        consume_broadcast_enable: call.truth("consumeBroadcastEnable", false),
        consume_enable: call.truth("consumeEnable", true),
        consume_from_min_enable: call.truth("consumeFromMinEnable", false),
        group_name: call.required("groupName")?,
        notify_consumer_ids_changed_enable: call.truth("notifyConsumerIdsChanged", true),
        retry_max_times: call.number("retryMaxTimes", 16)?,
        retry_queue_nums: call.number("retryQueueNums", 1)?,
        which_broker_when_consume_slowly: call.number("whichBrokerWhenConsumeSlowly", 1)?,
    };
    for addr in call.brokers(true)? {
        if call.attempt(&addr, |admin| admin.create_group(&addr, &config)).is_some() {
            call.out.say(format_args!("create subscription group to {addr} success."))?;
        }
    }
    if call.out.is_json() {
        call.out.value(&config.to_json())?;
    } else {
        call.out.decorate(describe(&config))?;
    }
    Ok(())
}

/// Names and values in Java's order.
fn settings(config: &SubscriptionGroupConfig) -> [(&'static str, String); 9] {
    [
        ("groupName", config.group_name.clone()),
        ("consumeEnable", config.consume_enable.to_string()),
        ("consumeFromMinEnable", config.consume_from_min_enable.to_string()),
        ("consumeBroadcastEnable", config.consume_broadcast_enable.to_string()),
        ("retryQueueNums", config.retry_queue_nums.to_string()),
        ("retryMaxTimes", config.retry_max_times.to_string()),
        ("brokerId", config.broker_id.to_string()),
        ("whichBrokerWhenConsumeSlowly", config.which_broker_when_consume_slowly.to_string()),
        ("notifyConsumerIdsChangedEnable", config.notify_consumer_ids_changed_enable.to_string()),
    ]
}

fn describe(config: &SubscriptionGroupConfig) -> String {
    let settings = settings(config).map(|(name, value)| format!("{name}={value}"));
    format!("SubscriptionGroupConfig [{}]", settings.join(", "))
}

fn delete_group(call: &mut Call<'_>) -> ToolResult {
    let group = call.required("groupName")?;
    let remove_offset = call.truth("removeOffset", false);
    if let Some(addr) = call.text("brokerAddr") {
        call.admin.delete_group(&addr, &group, remove_offset)?;
        call.out.say(format_args!(
            "delete subscription group [{group}] from broker [{addr}] success."
        ))?;
        return Ok(());
    }
    let cluster = call.required("clusterName")?;
    let info = call.admin.cluster_info()?;
    for addr in addresses_of_cluster(&info, &cluster, true)? {
        call.admin.delete_group(&addr, &group, remove_offset)?;
        call.out.say(format_args!(
            "delete subscription group [{group}] from broker [{addr}] in cluster [{cluster}] success."
        ))?;
    }
    for topic in [retry_topic(&group), dlq_topic(&group)] {
        topic::delete_everywhere(call, &info, &cluster, &topic)?;
    }
    Ok(())
}

fn get_consumer_config(call: &mut Call<'_>) -> ToolResult {
    let group = call.required("groupName")?;
    let info = call.admin.cluster_info()?;
    for (cluster, names) in &info.cluster_addr_table {
        for name in names {
            let broker = info.broker_addr_table.get(name);
            let Some(addr) = broker.and_then(address_of) else { continue };
            let Some(table) = call.attempt(addr, |admin| admin.group_configs(addr)) else {
                continue;
            };
            let Some(config) = table.subscription_group_table.get(&group) else { continue };
            if call.out.is_json() {
                let text = |value: &str| Json::Text(value.to_owned());
                let config = config.to_json();
                let members =
                    [("cluster", text(cluster)), ("brokerName", text(name)), ("config", config)];
                call.out.object(members)?;
                continue;
            }
            let line = "=".repeat(29);
            call.out.decorate(format_args!("{line}{cluster}:{name}{line}"))?;
            for (name, value) in settings(config) {
                call.out.decorate(format_args!("{name:40}=  {value}"))?;
            }
        }
    }
    Ok(())
}

const PRODUCER_COLUMNS: [Column; 5] = [
    Column::left("", "index", 4),
    Column::left("", "clientId", 32).gap(1),
    Column::left("", "clientAddr", 22).gap(1),
    Column::left("", "language", 8).gap(1),
    Column::left("", "version", 0).gap(0),
];

fn producer_connection(call: &mut Call<'_>) -> ToolResult {
    let (group, topic) = (call.required("producerGroup")?, call.required("topic")?);
    let clients = call.admin.producer_connection_of_group(&group, &topic)?.connection_set;
    if clients.is_empty() {
        return Err(ToolError::Failed("Not found the producer group connection".to_owned()));
    }
    for (index, client) in (1..).zip(clients) {
        let index = format!("{index:04}");
        let (language, version) = (language(&client), version::name(client.version));
        let (id, addr) = (client.client_id, client.client_addr);
        call.out.row(&PRODUCER_COLUMNS, &[&index, &id, &addr, &language, &version])?;
    }
    Ok(())
}

fn language(client: &ConnectionInfo) -> String {
    client.language.clone().unwrap_or_default()
}

fn producers(call: &mut Call<'_>) -> ToolResult {
    let table = call.admin.producers(&call.required("broker")?)?;
    for (group, clients) in table.data {
        if clients.is_empty() {
            call.out.decorate(format_args!("producer group ({group}) instances are empty"))?;
        }
        for client in clients {
            if call.out.is_json() {
                let group = Json::Text(group.clone());
                call.out.object([("group", group), ("client", client.to_json())])?;
                continue;
            }
            call.out.decorate(format_args!(
                "producer group ({group}) instance : clientId={},remoteIP={}, language={}, \
                 version={}, lastUpdateTimestamp={}",
                client.client_id,
                client.remote_ip,
                client.language.unwrap_or_default(),
                client.version,
                client.last_update_timestamp
            ))?;
        }
    }
    Ok(())
}

const CLIENT_COLUMNS: [Column; 4] = [
    Column::left("#ClientId", "clientId", 36).gap(1),
    Column::left("#ClientAddr", "clientAddr", 22).gap(1),
    Column::left("#Language", "language", 10).gap(1),
    Column::left("#Version", "version", 0).gap(0),
];

const SUBSCRIPTION_COLUMNS: [Column; 2] = [
    Column::left("#Topic", "topic", 20).gap(1),
    Column::left("#SubExpression", "subExpression", 0).gap(0),
];

fn consumer_connection(call: &mut Call<'_>) -> ToolResult {
    let group = call.required("consumerGroup")?;
    let found = match call.text("brokerAddr") {
        Some(addr) => call.admin.consumer_connection(&addr, &group)?,
        None => call.admin.consumer_connection_of_group(&group)?,
    };
    if call.out.is_json() {
        return Ok(call.out.value(&found.to_json())?);
    }
    call.out.header(&CLIENT_COLUMNS)?;
    for client in &found.connection_set {
        let (language, version) = (language(client), version::name(client.version));
        let (id, addr) = (&client.client_id, &client.client_addr);
        call.out.row(&CLIENT_COLUMNS, &[id, addr, &language, &version])?;
    }
    call.out.decorate("\nBelow is subscription:")?;
    call.out.header(&SUBSCRIPTION_COLUMNS)?;
    for subscription in found.subscription_table.values() {
        let expression = subscription.sub_string.as_deref().unwrap_or_default();
        call.out.row(&SUBSCRIPTION_COLUMNS, &[&subscription.topic, &expression])?;
    }
    call.out.decorate("")?;
    let or_none = |name: Option<&'static str>| name.unwrap_or("null");
    let kind = or_none(found.consume_type.map(|kind| kind.name()));
    let model = or_none(found.message_model.map(|model| model.name()));
    let start = or_none(found.consume_from_where.map(|start| start.name()));
    call.out.decorate(format_args!("ConsumeType: {kind}"))?;
    call.out.decorate(format_args!("MessageModel: {model}"))?;
    call.out.decorate(format_args!("ConsumeFromWhere: {start}"))?;
    Ok(())
}

const PROGRESS_COLUMNS: [Column; 7] = [
    Column::left("#Topic", "topic", 64).cut(),
    Column::left("#Broker Name", "brokerName", 32).cut(),
    Column::left("#QID", "queueId", 4).number(),
    Column::left("#Broker Offset", "brokerOffset", 20).number(),
    Column::left("#Consumer Offset", "consumerOffset", 20).number(),
    Column::left("#Diff", "diff", 20).number(),
    Column::left("#LastTime", "lastTime", 0).gap(0),
];

const CLIENT_IP: Column = Column::left("#Client IP", "clientIp", 20);

/// The columns with that of clients before the difference, if asked for.
fn progress_columns(with_client: bool) -> Vec<Column> {
    let mut columns = PROGRESS_COLUMNS.to_vec();
    if with_client {
        columns.insert(5, CLIENT_IP);
    }
    columns
}

fn consumer_progress(call: &mut Call<'_>) -> ToolResult {
    let Some(group) = call.text("groupName") else { return overview(call) };
    let stats = call.admin.consume_stats_of_group(&group)?;
    if stats.offset_table.is_empty() {
        return Err(ToolError::Failed(format!(
            "Not found the consumer group consume stats: group {group} has no offsets; maybe it \
             has not consumed any message"
        )));
    }
    let clients = match call.truth("showClientIP", false) {
        true => Some(clients_of_queues(call, &group)?),
        false => None,
    };
    let columns = progress_columns(clients.is_some());
    call.out.header(&columns)?;
    for (queue, progress) in &stats.offset_table {
        let client = clients
            .as_ref()
            .map(|clients| clients.get(queue).cloned().unwrap_or_else(|| "N/A".to_owned()));
        print_progress(call, &columns, queue, progress, client)?;
    }
    call.out.decorate(format_args!("\nConsume TPS: {:.2}", stats.consume_tps))?;
    call.out.decorate(format_args!("Diff Total: {}", total_diff(&stats)))?;
    Ok(())
}

fn total_diff(stats: &ConsumeStats) -> i64 {
    stats.offset_table.values().map(|p| p.broker_offset - p.consumer_offset).sum()
}

fn print_progress(
    call: &mut Call<'_>,
    columns: &[Column],
    queue: &MessageQueue,
    progress: &OffsetWrapper,
    client: Option<String>,
) -> ToolResult {
    let diff = progress.broker_offset - progress.consumer_offset;
    let last = match progress.last_timestamp {
        0 => "N/A".to_owned(),
        time => time_in_seconds(time),
    };
    let mut cells: Vec<&dyn std::fmt::Display> = vec![
        &queue.topic,
        &queue.broker_name,
        &queue.queue_id,
        &progress.broker_offset,
        &progress.consumer_offset,
        &diff,
        &last,
    ];
    if let Some(client) = &client {
        cells.insert(5, client);
    }
    Ok(call.out.row(columns, &cells)?)
}

/// Which client of the group has which queue, as the clients say.
fn clients_of_queues(
    call: &mut Call<'_>,
    group: &str,
) -> Result<BTreeMap<MessageQueue, String>, ToolError> {
    let route = call.admin.route(&retry_topic(group))?;
    let relay = route.broker_datas.iter().find_map(address_of).unwrap_or_default();
    let mut clients = BTreeMap::new();
    for client in call.admin.consumer_connection_of_group(group)?.connection_set {
        let id = &client.client_id;
        let asked = call.attempt(id, |admin| admin.consumer_running_info(relay, group, id, false));
        let address = id.split('@').next().unwrap_or_default();
        for queue in asked.into_iter().flat_map(|info| info.mq_table.into_keys()) {
            clients.insert(queue, address.to_owned());
        }
    }
    Ok(clients)
}

const OVERVIEW_COLUMNS: [Column; 7] = [
    Column::left("#Group", "group", 64),
    Column::left("#Count", "count", 6).number(),
    Column::left("#Version", "version", 24).gap(1),
    Column::left("#Type", "type", 5),
    Column::left("#Model", "model", 14),
    Column::left("#TPS", "tps", 7).number(),
    Column::left("#Diff Total", "diffTotal", 0).gap(0).number(),
];

/// A line for each group that has a retry topic.
fn overview(call: &mut Call<'_>) -> ToolResult {
    call.out.header(&OVERVIEW_COLUMNS)?;
    for topic in call.admin.topic_list()? {
        let Some(group) = topic.strip_prefix(RETRY_PREFIX) else { continue };
        // A group without offsets or members is nothing unusual: its row says so.
        let stats = call.admin.consume_stats_of_group(group).unwrap_or_default();
        let members = call.admin.consumer_connection_of_group(group).unwrap_or_default();
        let count = members.connection_set.len();
        let oldest = members.connection_set.iter().map(|client| client.version).min();
        let version = oldest.map_or_else(|| "OFFLINE".to_owned(), version::name);
        let (kind, model) = match members.consume_type {
            Some(ConsumeType::Actively) => ("PULL", ""),
            Some(ConsumeType::Passively) => {
                ("PUSH", members.message_model.map_or("", |model| model.name()))
            }
            None => ("", ""),
        };
        let (tps, diff) = (stats.consume_tps as i64, total_diff(&stats));
        let cells: [&dyn std::fmt::Display; 7] =
            [&group, &count, &version, &kind, &model, &tps, &diff];
        call.out.row(&OVERVIEW_COLUMNS, &cells)?;
    }
    Ok(())
}

fn broker_consume_stats(call: &mut Call<'_>) -> ToolResult {
    let addr = call.required("brokerAddr")?;
    let limit = Duration::from_millis(call.number("timeoutMillis", 50_000)?);
    let level: i64 = call.number("level", 0)?;
    let found = call.admin.consume_stats_of_broker(&addr, call.truth("order", false), limit)?;
    let mut columns = PROGRESS_COLUMNS.to_vec();
    columns.insert(1, Column::left("#Group", "group", 64));
    call.out.header(&columns)?;
    for (group, lists) in found.consume_stats_list.iter().flatten() {
        let queues: BTreeMap<_, _> = lists.iter().flat_map(|stats| &stats.offset_table).collect();
        for (queue, progress) in queues {
            let diff = progress.broker_offset - progress.consumer_offset;
            if diff < level || progress.last_timestamp <= 0 {
                continue;
            }
            let last = time_in_seconds(progress.last_timestamp);
            let cells: [&dyn std::fmt::Display; 8] = [
                &queue.topic,
                group,
                &queue.broker_name,
                &queue.queue_id,
                &progress.broker_offset,
                &progress.consumer_offset,
                &diff,
                &last,
            ];
            call.out.row(&columns, &cells)?;
        }
    }
    call.out.decorate(format_args!("\nDiff Total: {}", found.total_diff))?;
    Ok(())
}
