//! Exports: what a cluster holds and how it is set, as JSON files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::call::Call;
use super::stats::stats_of;
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::admin::addresses_of_cluster;
use crate::common::clock;
use crate::common::config::PropertyFile;
use crate::common::json::{Json, Style, ToJson};
use crate::common::topic::{DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use crate::remoting::protocol::bodies::{SubscriptionGroupConfig, TopicConfig};
use crate::remoting::protocol::version;

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
    SubCommand {
        name: "exportMetrics",
        purpose: "Export metrics",
        options: &[
            required('c', "clusterName", "choose a cluster to export"),
            optional('f', "filePath", "export metrics.json path (/tmp/rocketmq/export)"),
        ],
        run: export_metrics,
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

/// The load of a broker, or of all together: four kinds of traffic.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    normal_in: (f64, i64),
    normal_out: (f64, i64),
    delayed: (f64, i64),
    transactions: (f64, i64),
}

impl Load {
    fn kinds(&self) -> [(&'static str, (f64, i64)); 4] {
        [
            ("normalOneDayInNum", self.normal_in),
            ("normalOneDayOutNum", self.normal_out),
            ("scheduleOneDayInNum", self.delayed),
            ("transOneDayInNum", self.transactions),
        ]
    }

    fn add(&mut self, other: &Self) {
        let sum = |one: &mut (f64, i64), more: (f64, i64)| *one = (one.0 + more.0, one.1 + more.1);
        sum(&mut self.normal_in, other.normal_in);
        sum(&mut self.normal_out, other.normal_out);
        sum(&mut self.delayed, other.delayed);
        sum(&mut self.transactions, other.transactions);
    }

    /// Messages of a day.
    fn counts(&self) -> Json {
        Json::object(self.kinds().map(|(name, (_, count))| (name, Json::Int(count))))
    }

    /// Messages a second, under these names.
    fn rates(&self, names: [&'static str; 4]) -> Json {
        let rates = self.kinds().map(|(_, (rate, _))| Json::Float(rate));
        Json::object(names.into_iter().zip(rates))
    }
}

fn export_metrics(call: &mut Call<'_>) -> ToolResult {
    let cluster = call.required("clusterName")?;
    let masters = addresses_of_cluster(&call.admin.cluster_info()?, &cluster, true)?;
    let mut total = Load::default();
    let mut reports = Vec::new();
    for addr in &masters {
        let entries = PropertyFile::parse(&call.admin.broker_config(addr)?).entries;
        let setting = |key: &str| {
            entries.iter().find(|entry| entry.key == key).map_or("", |entry| entry.value.as_str())
        };
        let load = load_of(call, addr)?;
        total.add(&load);
        let cpus = Json::Text(setting("clientCallbackExecutorThreads").to_owned());
        let report = Json::object([
            ("runtimeEnv", Json::object([("cpuNum", cpus)])),
            ("runtimeQuota", quota_of(call, addr, &load)?),
            ("runtimeVersion", versions_of(call, addr)?),
        ]);
        reports.push((Json::Text(setting("brokerName").to_owned()), report));
    }
    let names = ["totalNormalInTps", "totalNormalOutTps", "totalScheduleInTps", "totalTransInTps"];
    let totals =
        Json::object([("totalOneDayNum", total.counts()), ("totalTps", total.rates(names))]);
    let metrics = Json::object([("evaluateReport", Json::Object(reports)), ("totalData", totals)]);
    write(call, "metrics.json", &metrics)
}

fn load_of(call: &Call<'_>, addr: &str) -> Result<Load, ToolError> {
    let runtime = call.admin.runtime_info(addr)?;
    let number = |key: &str| -> i64 {
        runtime.get(key).and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let rate = |key: &str| -> f64 {
        let windows = runtime.get(key).map_or("", String::as_str);
        windows.split_whitespace().next().and_then(|tps| tps.parse().ok()).unwrap_or_default()
    };
    let of_yesterday = |kind: &str| {
        number(&format!("msg{kind}TotalTodayMorning"))
            - number(&format!("msg{kind}TotalYesterdayMorning"))
    };
    Ok(Load {
        normal_in: (rate("putTps"), of_yesterday("Put")),
        normal_out: (rate("getTransferedTps"), of_yesterday("Get")),
        delayed: stats_of(call, addr, "TOPIC_PUT_NUMS", SCHEDULE_TOPIC),
        transactions: stats_of(call, addr, "TOPIC_PUT_NUMS", TRANS_HALF_TOPIC),
    })
}

fn quota_of(call: &Call<'_>, addr: &str, load: &Load) -> Result<Json, ToolError> {
    let runtime = call.admin.runtime_info(addr)?;
    let text = |key: &str| runtime.get(key).map_or(Json::Null, |text| Json::Text(text.clone()));
    let topics = user_topics(call, addr, call.admin.topic_configs(addr)?.topic_config_table)?;
    let groups = call.admin.group_configs(addr)?.subscription_group_table;
    let count = |count: usize| Json::Int(count as i64);
    let ratios = ["commitLogDiskRatio", "consumeQueueDiskRatio"];
    Ok(Json::object([
        ("diskRatio", Json::object(ratios.map(|key| (key, text(key))))),
        ("groupSize", count(groups.keys().filter(|name| is_user_group(name)).count())),
        ("messageAverageSize", text("putMessageAverageSize")),
        ("oneDayNum", load.counts()),
        ("topicSize", count(topics.len())),
        ("tps", load.rates(["normalInTps", "normalOutTps", "scheduleInTps", "transInTps"])),
    ]))
}

/// The broker's release, and language and release of the clients of its groups.
fn versions_of(call: &Call<'_>, addr: &str) -> Result<Json, ToolError> {
    let mut clients = BTreeSet::new();
    for group in call.admin.group_configs(addr)?.subscription_group_table.into_keys() {
        // Groups that nobody consumes in right now have no connection: that is nothing unusual.
        let members = call.admin.consumer_connection(addr, &group).unwrap_or_default();
        for member in members.connection_set {
            let language = member.language.unwrap_or_default();
            clients.insert(format!("{language}%{}", version::name(member.version)));
        }
    }
    let runtime = call.admin.runtime_info(addr)?;
    let release = runtime.get("brokerVersionDesc").cloned().map_or(Json::Null, Json::Text);
    Ok(Json::object([
        ("clientInfo", Json::Array(clients.into_iter().map(Json::Text).collect())),
        ("rocketmqVersion", release),
    ]))
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
