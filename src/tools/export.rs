//! Exports: what a cluster holds and how it is set, as JSON files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::call::Call;
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::admin::addresses_of_cluster;
use crate::common::clock;
use crate::common::config::PropertyFile;
use crate::common::json::{Json, Style, ToJson};
use crate::common::topic::{DLQ_PREFIX, RETRY_PREFIX};
use crate::remoting::protocol::bodies::{SubscriptionGroupConfig, TopicConfig};

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "exportMetadata",
        purpose: "Export metadata",
        options: &[
            optional('c', "clusterName", "choose a cluster to export"),
            optional('b', "brokerAddr", "choose a broker to export"),
            optional('f', "filePath", "export metadata.json path (/tmp/rocketmq/export)"),
            flag('t', "topic", "only export topic metadata"),
            flag('g', "subscriptionGroup", "only export subscriptionGroup metadata"),
            flag('s', "specialTopic", "need retryTopic and dlqTopic"),
        ],
        run: export_metadata,
    },
    SubCommand {
        name: "exportConfigs",
        purpose: "Export configs",
        options: &[
            required('c', "clusterName", "choose a cluster to export"),
            optional('f', "filePath", "export configs.json path (/tmp/rocketmq/export)"),
        ],
        run: export_configs,
    },
];

/// The groups that every broker has from its first start.
const SYSTEM_GROUPS: [&str; 13] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
    "CID_RMQ_SYS_TRANS",
];

/// Settings that tell how a broker is meant to be used.
const CONFIG_KEYS: [&str; 16] = [
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

type Topics = BTreeMap<String, TopicConfig>;
type Groups = BTreeMap<String, SubscriptionGroupConfig>;

fn export_metadata(call: &mut Call<'_>) -> ToolResult {
    let (topics_only, groups_only) = (call.has("topic"), call.has("subscriptionGroup"));
    if let Some(addr) = call.text("brokerAddr") {
        if topics_only {
            let mut table = call.admin.topic_configs(&addr)?;
            table.topic_config_table = user_topics(call, &addr, table.topic_config_table)?;
            return write(call, "topic.json", &table.to_json());
        }
        if groups_only {
            let mut table = call.admin.group_configs(&addr)?;
            table.subscription_group_table.retain(|name, _| is_user_group(name));
            return write(call, "subscriptionGroup.json", &table.to_json());
        }
        return Err(ToolError::Usage("with -b, say what to export with -t or -g".to_owned()));
    }
    let cluster = call.text("clusterName");
    let Some(cluster) = cluster else {
        return Err(ToolError::Usage("give one of -b, -c".to_owned()));
    };
    let (mut topics, mut groups) = (Topics::new(), Groups::new());
    for addr in addresses_of_cluster(&call.admin.cluster_info()?, &cluster, true)? {
        if !groups_only {
            let table = call.admin.topic_configs(&addr)?.topic_config_table;
            add_topics(&mut topics, user_topics(call, &addr, table)?);
        }
        if !topics_only {
            add_groups(&mut groups, call.admin.group_configs(&addr)?.subscription_group_table);
        }
    }
    let (topics, groups) = (topics.to_json(), groups.to_json());
    let time = ("exportTime", Json::Int(clock::now_ms()));
    let topics = ("topicConfigTable", topics);
    let groups = ("subscriptionGroupTable", groups);
    match (topics_only, groups_only) {
        (true, _) => write(call, "topic.json", &Json::object([topics, time])),
        (_, true) => write(call, "subscriptionGroup.json", &Json::object([groups, time])),
        _ => write(call, "metadata.json", &Json::object([topics, groups, time])),
    }
}

/// Without the system's own topics, and without those of retries unless asked for.
fn user_topics(call: &Call<'_>, addr: &str, mut topics: Topics) -> Result<Topics, ToolError> {
    let system = call.admin.system_topics(addr)?;
    let with_retries = call.has("specialTopic");
    topics.retain(|topic, _| {
        let of_retries = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
        !system.contains(topic) && (with_retries || !of_retries)
    });
    Ok(topics)
}

fn is_user_group(name: &str) -> bool {
    !name.starts_with("CID_RMQ_SYS_") && !SYSTEM_GROUPS.contains(&name)
}

/// Topics of several masters: their queues add up.
fn add_topics(all: &mut Topics, more: Topics) {
    for (name, config) in more {
        match all.get_mut(&name) {
            Some(known) => {
                known.read_queue_nums += config.read_queue_nums;
                known.write_queue_nums += config.write_queue_nums;
            }
            None => {
                all.insert(name, config);
            }
        }
    }
}

/// Groups of several masters: their retry queues add up.
fn add_groups(all: &mut Groups, more: Groups) {
    for (name, config) in more.into_iter().filter(|(name, _)| is_user_group(name)) {
        match all.get_mut(&name) {
            Some(known) => known.retry_queue_nums += config.retry_queue_nums,
            None => {
                all.insert(name, config);
            }
        }
    }
}

fn export_configs(call: &mut Call<'_>) -> ToolResult {
    let cluster = call.required("clusterName")?;
    let info = call.admin.cluster_info()?;
    let all = addresses_of_cluster(&info, &cluster, false)?;
    let masters = addresses_of_cluster(&info, &cluster, true)?;
    let text = |value: &str| Json::Text(value.to_owned());
    let mut brokers = Vec::new();
    for addr in &masters {
        let entries = PropertyFile::parse(&call.admin.broker_config(addr)?).entries;
        let value = |key: &str| entries.iter().find(|entry| entry.key == key);
        let known = CONFIG_KEYS.iter().filter_map(|key| Some((*key, value(key)?)));
        let settings = Json::object(known.map(|(key, entry)| (key, text(&entry.value))));
        let name = value("brokerName").map_or(addr.as_str(), |entry| entry.value.as_str());
        brokers.push((text(name), settings));
    }
    let count = |count: usize| Json::Int(count as i64);
    let scale = Json::object([
        ("masterBrokerSize", count(masters.len())),
        ("namesrvSize", count(call.admin.name_servers().len())),
        ("slaveBrokerSize", count(all.len() - masters.len())),
    ]);
    let configs = Json::object([("brokerConfigs", Json::Object(brokers)), ("clusterScale", scale)]);
    write(call, "configs.json", &configs)
}

/// Writes a file below `-f` and says where.
fn write(call: &mut Call<'_>, name: &str, value: &Json) -> ToolResult {
    let directory = call.text("filePath").unwrap_or_else(|| "/tmp/rocketmq/export".to_owned());
    let path = PathBuf::from(directory).join(name);
    crate::common::atomic_file::write(&path, value.write(Style::Pretty).as_bytes())
        .map_err(|error| ToolError::Failed(format!("{}: {error}", path.display())))?;
    call.out.say(format_args!("export {} success", path.display()))?;
    Ok(())
}
