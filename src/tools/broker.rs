//! Brokers: state, configuration, cleaning.

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, one_of, optional, required};
use crate::client::admin::addresses_of_cluster;
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
