//! Brokers: state, configuration, cleaning.

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, one_of, optional, required};
use crate::client::admin::addresses_of_cluster;
use crate::common::json::{Style, ToJson};
use crate::common::property_text;
use crate::remoting::protocol::request_code;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "brokerStatus",
        purpose: "Fetch broker runtime status data",
        options: &[
            one_of('b', "brokerAddr", "Broker address"),
            one_of('c', "clusterName", "which cluster"),
        ],
        run: broker_status,
    },
    SubCommand {
        name: "updateBrokerConfig",
        purpose: "Update broker's config",
        options: &[
            one_of('b', "brokerAddr", "update which broker"),
            one_of('c', "clusterName", "update which cluster"),
            required('k', "key", "config key"),
            required('v', "value", "config value"),
        ],
        run: update_broker_config,
    },
    SubCommand {
        name: "getBrokerConfig",
        purpose: "Get broker config by cluster or special broker",
        options: &[
            one_of('b', "brokerAddr", "get which broker"),
            one_of('c', "clusterName", "get which cluster"),
        ],
        run: get_broker_config,
    },
    SubCommand {
        name: "cleanExpiredCQ",
        purpose: "Clean expired ConsumeQueue on broker",
        options: CLEAN_OPTIONS,
        run: |call| clean(call, request_code::CLEAN_EXPIRED_CONSUMEQUEUE),
    },
    SubCommand {
        name: "cleanUnusedTopic",
        purpose: "Clean unused topic on broker",
        options: CLEAN_OPTIONS,
        run: |call| clean(call, request_code::CLEAN_UNUSED_TOPIC),
    },
    SubCommand {
        name: "deleteExpiredCommitLog",
        purpose: "Delete expired CommitLog files",
        options: CLEAN_OPTIONS,
        run: |call| clean(call, request_code::DELETE_EXPIRED_COMMITLOG),
    },
    SubCommand {
        name: "queryCq",
        purpose: "Query cq command",
        options: &[
            required('t', "topic", "topic name"),
            required('q', "queue", "queue num, ie. 1"),
            required('i', "index", "start queue index"),
            optional('c', "count", "how many (10)"),
            optional('b', "broker", "broker addr"),
            optional('g', "consumer", "consumer group"),
        ],
        run: query_consume_queue,
    },
];

const CLEAN_OPTIONS: &[super::ToolOption] =
    &[optional('b', "brokerAddr", "Broker address"), optional('c', "cluster", "cluster name")];

const STATUS_COLUMNS: [Column; 3] = [
    Column::left("", "addr", 24).gap(1),
    Column::left("", "key", 32).gap(0),
    Column::left("", "value", 0).gap(0),
];

fn broker_status(call: &mut Call<'_>) -> ToolResult {
    let with_addr = call.has("clusterName");
    for addr in call.brokers(false)? {
        let Some(table) = call.attempt(&addr, |admin| admin.runtime_info(&addr)) else { continue };
        for (key, value) in table {
            if with_addr || call.out.is_json() {
                let value = if call.out.is_json() { value } else { format!(": {value}") };
                call.out.row(&STATUS_COLUMNS, &[&addr, &key, &value])?;
            } else {
                call.out.decorate(format_args!("{key:32}: {value}"))?;
            }
        }
    }
    Ok(())
}

fn update_broker_config(call: &mut Call<'_>) -> ToolResult {
    let (key, value) = (call.required("key")?, call.required("value")?);
    let lines = property_text::print([(key.as_str(), value)]);
    for addr in call.brokers(true)? {
        if call.attempt(&addr, |admin| admin.update_broker_config(&addr, &lines)).is_some() {
            call.out.say(format_args!("update broker config success, {addr}"))?;
        }
    }
    Ok(())
}

fn get_broker_config(call: &mut Call<'_>) -> ToolResult {
    if let Some(addr) = call.text("brokerAddr") {
        return print_config(call, &addr, &format!("============{addr}============"));
    }
    let cluster = call.required("clusterName")?;
    let info = call.admin.cluster_info()?;
    let names = info
        .cluster_addr_table
        .get(&cluster)
        .ok_or_else(|| ToolError::Failed(format!("there is no cluster \"{cluster}\"")))?;
    for broker in names.iter().filter_map(|name| info.broker_addr_table.get(name)) {
        let master = broker.broker_addrs.get(&0).map_or("none", String::as_str);
        for (id, addr) in &broker.broker_addrs {
            let banner = match id {
                0 => format!("============Master: {addr}============"),
                _ => format!("============My Master: {master}=====Slave: {addr}============"),
            };
            print_config(call, addr, &banner)?;
        }
    }
    Ok(())
}

fn print_config(call: &mut Call<'_>, addr: &str, banner: &str) -> ToolResult {
    call.out.decorate(banner)?;
    let Some(lines) = call.attempt(addr, |admin| admin.broker_config(addr)) else { return Ok(()) };
    call.print_properties(addr, &lines)?;
    call.out.decorate("")?;
    Ok(())
}

/// Sends one of the requests that only have a code to a broker, a cluster, or all clusters.
fn clean(call: &mut Call<'_>, code: i32) -> ToolResult {
    let addrs = match call.text("brokerAddr") {
        Some(addr) => vec![addr],
        None => {
            let info = call.admin.cluster_info()?;
            let clusters = match call.text("cluster") {
                Some(cluster) => vec![cluster],
                None => info.cluster_addr_table.keys().cloned().collect(),
            };
            let mut addrs = Vec::new();
            for cluster in clusters {
                addrs.extend(addresses_of_cluster(&info, &cluster, false)?);
            }
            addrs
        }
    };
    if addrs.is_empty() {
        return Err(ToolError::Failed("false: there is no broker".to_owned()));
    }
    for addr in addrs {
        call.attempt(&addr, |admin| admin.trigger(&addr, code));
    }
    if call.warnings() == 0 {
        call.out.say("success")?;
    }
    Ok(())
}

/// Prints entries of a consume queue.
fn query_consume_queue(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    let queue_id = call.number("queue", 0)?;
    let range = (call.number("index", 0)?, call.number("count", 10)?);
    let addr = match call.text("broker") {
        Some(addr) => addr,
        None => {
            let route = call.admin.route(&topic)?;
            let mut masters = route.broker_datas.iter().filter_map(|b| b.broker_addrs.get(&0));
            masters.next().cloned().ok_or_else(|| {
                ToolError::Failed(format!("no broker of topic {topic} has a master"))
            })?
        }
    };
    let group = call.text("consumer");
    let found = call.admin.consume_queue(&addr, (&topic, queue_id), range, group.as_deref())?;
    if call.out.is_json() {
        return Ok(call.out.value(&found.to_json())?);
    }
    let separator = "=".repeat(38);
    if let Some(subscription) = &found.subscription_data {
        let text = subscription.to_json().write(Style::Pretty);
        call.out.decorate(format_args!("Subscription data: \n{text}\n{separator}"))?;
    }
    if let Some(filter) = &found.filter_data {
        call.out.decorate(format_args!("Filter data: \n{filter}\n{separator}"))?;
    }
    let (max, min) = (found.max_queue_index, found.min_queue_index);
    call.out.decorate(format_args!("Queue data: \nmax: {max}, min: {min}\n{separator}"))?;
    for (index, entry) in (range.0..).zip(found.queue_data.unwrap_or_default()) {
        let quoted = |text: &Option<String>| format!("'{}'", text.as_deref().unwrap_or("null"));
        call.out.decorate(format_args!(
            "idx: {index}\nConsumeQueueData{{physicOffset={}, physicSize={}, tagsCode={}, \
             extendDataJson={}, bitMap={}, eval={}, msg={}}}\n{separator}",
            entry.physic_offset,
            entry.physic_size,
            entry.tags_code,
            quoted(&entry.extend_data_json),
            quoted(&entry.bit_map),
            entry.eval,
            quoted(&entry.msg)
        ))?;
    }
    Ok(())
}
