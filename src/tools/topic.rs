//! Topics: create, change, delete, list, and where they are.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{Call, time_with_ms};
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, flag, one_of, optional, required};
use crate::client::admin::{address_of, addresses_of_cluster};
use crate::client::allocate::{AllocateStrategy, Division};
use crate::common::json::{Json, ToJson};
use crate::common::topic::{DLQ_PREFIX, PERM_READ, PERM_WRITE, RETRY_PREFIX};
use crate::namesrv::kv_config::ORDER_TOPIC_CONFIG;
use crate::remoting::protocol::bodies::{ClusterInfo, MessageQueue, TopicConfig, TopicRouteData};

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "updateTopic",
        purpose: "Update or create topic",
        options: &[
            one_of('b', "brokerAddr", "create topic to which broker"),
            one_of('c', "clusterName", "create topic to which cluster"),
            required('t', "topic", "topic name"),
            optional('r', "readQueueNums", "set read queue nums (8)"),
            optional('w', "writeQueueNums", "set write queue nums (8)"),
            optional('p', "perm", "set topic's permission (2|4|6), intro[2:W 4:R; 6:RW]"),
            optional('o', "order", "set topic's order (true|false)"),
            optional('u', "unit", "is unit topic (true|false)"),
            optional('s', "hasUnitSub", "has unit sub (true|false)"),
        ],
        run: update_topic,
    },
    SubCommand {
        name: "deleteTopic",
        purpose: "Delete topic from broker and NameServer",
        options: &[
            required('t', "topic", "topic name"),
            required('c', "clusterName", "delete topic from which cluster"),
        ],
        run: delete_topic,
    },
    SubCommand {
        name: "updateTopicPerm",
        purpose: "Update topic perm",
        options: &[
            one_of('b', "brokerAddr", "update topic on which broker"),
            one_of('c', "clusterName", "update topic on which cluster"),
            required('t', "topic", "topic name"),
            required('p', "perm", "set topic's permission (2|4|6), intro[2:W; 4:R; 6:RW]"),
        ],
        run: update_topic_perm,
    },
    SubCommand {
        name: "topicRoute",
        purpose: "Examine topic route info",
        options: &[required('t', "topic", "topic name"), flag('l', "list", "use list format")],
        run: topic_route,
    },
    SubCommand {
        name: "topicStatus",
        purpose: "Examine topic Status info",
        options: &[required('t', "topic", "topic name")],
        run: topic_status,
    },
    SubCommand {
        name: "topicClusterList",
        purpose: "Get cluster info for topic",
        options: &[required('t', "topic", "topic name")],
        run: topic_cluster_list,
    },
    SubCommand {
        name: "topicList",
        purpose: "Fetch all topic list from name server",
        options: &[flag('c', "clusterModel", "clusterModel")],
        run: topic_list,
    },
    SubCommand {
        name: "updateOrderConf",
        purpose: "Create or update or delete order conf",
        options: &[
            required('t', "topic", "topic name"),
            required('m', "method", "option type [eg. put|get|delete]"),
            optional('v', "orderConf", "set order conf [eg. brokerName1:num;brokerName2:num]"),
        ],
        run: update_order_conf,
    },
    SubCommand {
        name: "allocateMQ",
        purpose: "Allocate MQ",
        options: &[
            required('t', "topic", "topic name"),
            required('i', "ipList", "ipList, separated by commas"),
        ],
        run: allocate_queues,
    },
];

fn update_topic(call: &mut Call<'_>) -> ToolResult {
    let order = call.truth("order", false);
    let flag_bit = |long: &str, bit: i32| if call.truth(long, false) { bit } else { 0 };
    let config = TopicConfig {
        topic_name: call.required("topic")?,
        read_queue_nums: call.number("readQueueNums", 8)?,
        write_queue_nums: call.number("writeQueueNums", 8)?,
        perm: call.number("perm", PERM_READ | PERM_WRITE)?,
        topic_sys_flag: flag_bit("unit", 1) | flag_bit("hasUnitSub", 2),
        order,
        ..TopicConfig::default()
    };
    for addr in call.brokers(true)? {
        call.admin.create_topic(&addr, &config)?;
        call.out.say(format_args!("create topic to {addr} success."))?;
    }
    if order {
        put_order_conf(call, &config)?;
    }
    if call.out.is_json() {
        call.out.value(&config.to_json())?;
    } else {
        call.out.decorate(describe(&config))?;
    }
    Ok(())
}

/// Puts the queues of a new order topic into the order table: of one broker beside what is there,
/// of a cluster instead of it.
fn put_order_conf(call: &mut Call<'_>, config: &TopicConfig) -> ToolResult {
    let topic = &config.topic_name;
    let info = call.admin.cluster_info()?;
    let entry = |name: &str| (name.to_owned(), config.write_queue_nums.to_string());
    let (kind, entries) = match (call.text("brokerAddr"), call.text("clusterName")) {
        (Some(addr), _) => {
            let name = broker_name_of(&info, &addr)?;
            let before = call.admin.get_kv(ORDER_TOPIC_CONFIG, topic)?.unwrap_or_default();
            let mut entries: BTreeMap<_, _> = before
                .split(';')
                .filter_map(|entry| entry.split_once(':'))
                .map(|(name, queues)| (name.to_owned(), queues.to_owned()))
                .collect();
            entries.extend([entry(&name)]);
            ("broker", entries)
        }
        (None, Some(cluster)) => {
            let names = info.cluster_addr_table.get(&cluster).into_iter().flatten();
            ("cluster", names.map(|name| entry(name)).collect())
        }
        (None, None) => return Ok(()),
    };
    let entries: Vec<_> = entries.iter().map(|(name, queues)| format!("{name}:{queues}")).collect();
    let value = entries.join(";");
    call.admin.put_kv(ORDER_TOPIC_CONFIG, topic, &value)?;
    call.out.say(format_args!("set {kind} orderConf. isOrder=true, orderConf=[{value}]"))?;
    Ok(())
}

fn broker_name_of(info: &ClusterInfo, addr: &str) -> Result<String, ToolError> {
    let mut brokers = info.broker_addr_table.values();
    brokers
        .find(|broker| broker.broker_addrs.values().any(|known| known == addr))
        .map(|broker| broker.broker_name.clone())
        .ok_or_else(|| ToolError::Failed(format!("no broker has registered at {addr}")))
}

fn describe(config: &TopicConfig) -> String {
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, \
         topicFilterType={}, topicSysFlag={}, order={}]",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        describe_perm(config.perm),
        config.topic_filter_type,
        config.topic_sys_flag,
        config.order
    )
}

/// Three letters, `RWX`, each `-` if its bit is missing.
fn describe_perm(perm: i32) -> String {
    [(4, 'R'), (2, 'W'), (1, 'X')]
        .map(|(bit, letter)| if perm & bit != 0 { letter } else { '-' })
        .iter()
        .collect()
}

fn delete_topic(call: &mut Call<'_>) -> ToolResult {
    let (topic, cluster) = (call.required("topic")?, call.required("clusterName")?);
    let info = call.admin.cluster_info()?;
    delete_everywhere(call, &info, &cluster, &topic)
}

/// Deletes a topic on the masters of a cluster, then at every name server.
pub(super) fn delete_everywhere(
    call: &mut Call<'_>,
    info: &ClusterInfo,
    cluster: &str,
    topic: &str,
) -> ToolResult {
    for addr in addresses_of_cluster(info, cluster, true)? {
        call.admin.delete_topic(&addr, topic)?;
    }
    call.out.say(format_args!("delete topic [{topic}] from cluster [{cluster}] success."))?;
    for name_server in call.name_servers()? {
        call.admin.delete_topic_in_name_server(&name_server, topic, Some(cluster))?;
    }
    call.out.say(format_args!("delete topic [{topic}] from NameServer success."))?;
    Ok(())
}

fn update_topic_perm(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    let perm = call.number("perm", 0)?;
    let route = call.admin.route(&topic)?;
    for addr in call.brokers(true)? {
        let on_broker = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_addrs.get(&0) == Some(&addr))
            .and_then(|b| route.queue_datas.iter().find(|q| q.broker_name == b.broker_name));
        let Some(queues) = on_broker else {
            let problem = format!("{addr} is not the master of a broker with topic {topic}");
            return Err(ToolError::Failed(problem));
        };
        if queues.perm == perm {
            call.out.say("new perm equals to the old one!")?;
            continue;
        }
        let config = TopicConfig {
            topic_name: topic.clone(),
            read_queue_nums: queues.read_queue_nums,
            write_queue_nums: queues.write_queue_nums,
            perm,
            topic_sys_flag: queues.topic_sys_flag,
            ..TopicConfig::default()
        };
        call.admin.create_topic(&addr, &config)?;
        let old = queues.perm;
        call.out.say(format_args!("update topic perm from {old} to {perm} in {addr} success."))?;
        call.out.decorate(format_args!("{}.", describe(&config)))?;
    }
    Ok(())
}

const ROUTE_COLUMNS: [Column; 6] = [
    Column::left("#ClusterName", "clusterName", 45).gap(1),
    Column::left("#BrokerName", "brokerName", 32).gap(1),
    Column::left("#BrokerAddrs", "brokerAddrs", 50).gap(1),
    Column::left("#ReadQueue", "readQueue", 10).gap(1).number(),
    Column::left("#WriteQueue", "writeQueue", 11).gap(1).number(),
    Column::left("#Perm", "perm", 5).gap(0).number(),
];

fn topic_route(call: &mut Call<'_>) -> ToolResult {
    let route = call.admin.route(&call.required("topic")?)?;
    if !call.has("list") {
        return Ok(call.out.value(&route.to_json())?);
    }
    call.out.header(&ROUTE_COLUMNS)?;
    let (mut reads, mut writes) = (0, 0);
    for broker in &route.broker_datas {
        let queues = route.queue_datas.iter().find(|q| q.broker_name == broker.broker_name);
        let (read, write, perm) =
            queues.map_or((0, 0, 0), |q| (q.read_queue_nums, q.write_queue_nums, q.perm));
        let addrs: Vec<_> =
            broker.broker_addrs.iter().map(|(id, addr)| format!("{id}={addr}")).collect();
        let addrs = format!("{{{}}}", addrs.join(", "));
        let name = &broker.broker_name;
        call.out.row(&ROUTE_COLUMNS, &[&broker.cluster, name, &addrs, &read, &write, &perm])?;
        reads += read;
        writes += write;
    }
    call.out.decorate("-".repeat(158))?;
    if !call.out.is_json() {
        let brokers = route.broker_datas.len();
        call.out.row(&ROUTE_COLUMNS, &[&"Total:", &brokers, &"", &reads, &writes, &""])?;
    }
    Ok(())
}

const STATUS_COLUMNS: [Column; 5] = [
    Column::left("#Broker Name", "brokerName", 32).cut(),
    Column::left("#QID", "queueId", 4).number(),
    Column::left("#Min Offset", "minOffset", 20).number(),
    Column::left("#Max Offset", "maxOffset", 20).gap(4).number(),
    Column::left("#Last Updated", "lastUpdated", 0).gap(0),
];

fn topic_status(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    let mut queues = BTreeMap::new();
    for addr in call.admin.route(&topic)?.broker_datas.iter().filter_map(address_of) {
        queues.extend(call.admin.topic_stats(addr, &topic)?.offset_table);
    }
    if queues.is_empty() {
        return Err(ToolError::Failed("Not found the topic stats info".to_owned()));
    }
    call.out.header(&STATUS_COLUMNS)?;
    for (queue, extent) in queues {
        let updated = match extent.last_update_timestamp {
            time if time > 0 => time_with_ms(time),
            _ => String::new(),
        };
        let (min, max) = (extent.min_offset, extent.max_offset);
        let cells =
            [&queue.broker_name as _, &queue.queue_id as _, &min as _, &max as _, &updated as _];
        call.out.row(&STATUS_COLUMNS, &cells)?;
    }
    Ok(())
}

fn topic_cluster_list(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    for cluster in call.admin.clusters_of_topic(&topic)? {
        call.out.row(&[Column::left("", "clusterName", 0)], &[&cluster])?;
    }
    Ok(())
}

/// Clusters that contain a broker of the route.
fn clusters_of(info: &ClusterInfo, route: &TopicRouteData) -> BTreeSet<String> {
    let has_broker = |names: &Vec<String>| {
        route.broker_datas.iter().any(|broker| names.contains(&broker.broker_name))
    };
    let clusters = info.cluster_addr_table.iter().filter(|(_, names)| has_broker(names));
    clusters.map(|(cluster, _)| cluster.clone()).collect()
}

const CLUSTER_MODEL_COLUMNS: [Column; 3] = [
    Column::left("#Cluster Name", "clusterName", 20).cut(),
    Column::left("#Topic", "topic", 64).cut(),
    Column::left("#Consumer Group", "consumerGroup", 64).cut(),
];

fn topic_list(call: &mut Call<'_>) -> ToolResult {
    let topics = call.admin.topic_list()?;
    if !call.has("clusterModel") {
        for topic in topics {
            call.out.row(&[Column::left("", "topic", 0)], &[&topic])?;
        }
        return Ok(());
    }
    let info = call.admin.cluster_info()?;
    call.out.header(&CLUSTER_MODEL_COLUMNS)?;
    for topic in topics {
        if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
            continue;
        }
        let (mut cluster, mut groups) = (String::new(), Vec::new());
        if let Some(route) = call.attempt(&topic, |admin| admin.route(&topic)) {
            cluster = clusters_of(&info, &route).into_iter().collect::<Vec<_>>().join(",");
            if let Some(addr) = route.broker_datas.first().and_then(address_of) {
                groups = call
                    .attempt(&topic, |admin| admin.groups_of_topic(addr, &topic))
                    .unwrap_or_default();
            }
        }
        if groups.is_empty() {
            groups.push(String::new());
        }
        for group in groups {
            call.out.row(&CLUSTER_MODEL_COLUMNS, &[&cluster, &topic, &group])?;
        }
    }
    Ok(())
}

fn update_order_conf(call: &mut Call<'_>) -> ToolResult {
    let (topic, method) = (call.required("topic")?, call.required("method")?);
    match method.as_str() {
        "get" => {
            let conf = call.admin.get_kv(ORDER_TOPIC_CONFIG, &topic)?.ok_or_else(|| {
                ToolError::Failed(format!("topic {topic} has no order configuration"))
            })?;
            if call.out.is_json() {
                let text = |value: String| Json::Text(value);
                return Ok(call.out.object([("topic", text(topic)), ("orderConf", text(conf))])?);
            }
            call.out
                .say(format_args!("get orderConf success. topic=[{topic}], orderConf=[{conf}] "))?;
        }
        "put" => {
            let conf = call.text("orderConf").ok_or_else(|| {
                ToolError::Usage("please set orderConf with option -v.".to_owned())
            })?;
            call.admin.put_kv(ORDER_TOPIC_CONFIG, &topic, &conf)?;
            call.out.say(format_args!(
                "update orderConf success. topic=[{topic}], orderConf=[{conf}]"
            ))?;
        }
        "delete" => {
            call.admin.delete_kv(ORDER_TOPIC_CONFIG, &topic)?;
            call.out.say(format_args!("delete orderConf success. topic=[{topic}]"))?;
        }
        other => {
            let problem = format!("--method is \"{other}\", expected put, get or delete");
            return Err(ToolError::Usage(problem));
        }
    }
    Ok(())
}

/// Shows which of several clients would get which queues.
fn allocate_queues(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    let clients = call.required("ipList")?;
    let clients: Vec<String> = clients.split(',').map(|client| client.trim().to_owned()).collect();
    let route = call.admin.route(&topic)?;
    let mut queues = Vec::new();
    for data in route.queue_datas.iter().filter(|data| data.perm & PERM_READ != 0) {
        queues.extend((0..data.read_queue_nums).map(|queue_id| MessageQueue {
            broker_name: data.broker_name.clone(),
            queue_id,
            topic: topic.clone(),
        }));
    }
    let mut shares: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for client in &clients {
        let division =
            Division { group: "", client_id: client, queues: &queues, members: &clients };
        let share = AllocateStrategy::Averagely.allocate(&division).map_err(ToolError::Failed)?;
        shares.insert(client.clone(), share);
    }
    let result = Json::object([("result", shares.to_json())]);
    Ok(call.out.line(&result)?)
}
