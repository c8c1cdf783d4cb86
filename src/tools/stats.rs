//! Figures over time: throughput and lag of everything, and how long sends take.

use std::time::{Duration, Instant};

use super::call::{Call, time_in_seconds};
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, flag, optional};
use crate::client::admin::address_of;
use crate::common::clock;
use crate::common::message::Message;
use crate::common::topic::{DLQ_PREFIX, RETRY_PREFIX};
use crate::remoting::protocol::admin_bodies::BrokerStatsItem;
use crate::remoting::protocol::bodies::{ClusterInfo, MessageQueue, TopicRouteData};

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "statsAll",
        purpose: "Topic and Consumer tps stats",
        options: &[
            flag('a', "activeTopic", "print active topic only"),
            optional('t', "topic", "print select topic only"),
        ],
        run: stats_all,
    },
    SubCommand {
        name: "clusterRT",
        purpose: "List All clusters Message Send RT",
        options: &[
            optional('a', "amount", "message amount (100)"),
            optional('s', "size", "message size (128 Byte)"),
            optional('c', "cluster", "cluster name, all clusters unless given"),
            optional('p', "printAsTlog", "print as tlog (false)"),
            optional('m', "machineRoom", "machine room name (noname)"),
            optional('i', "interval", "print interval (10 seconds)"),
            optional('r', "rounds", "end after so many rounds (never)"),
        ],
        run: cluster_send_times,
    },
];

const STATS_COLUMNS: [Column; 7] = [
    Column::left("#Topic", "topic", 64),
    Column::left("#Consumer Group", "consumerGroup", 64).gap(1),
    Column::right("#Accumulation", "accumulation", 12).gap(1).number(),
    Column::right("#InTPS", "inTps", 11).gap(1).number(),
    Column::right("#OutTPS", "outTps", 11).gap(1).number(),
    Column::right("#InMsg24Hour", "inMsg24Hour", 14).gap(1).number(),
    Column::right("#OutMsg24Hour", "outMsg24Hour", 14).gap(0).number(),
];

fn stats_all(call: &mut Call<'_>) -> ToolResult {
    let topics = match call.text("topic") {
        Some(topic) => vec![topic],
        None => call.admin.topic_list()?,
    };
    call.out.header(&STATS_COLUMNS)?;
    for topic in topics {
        if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
            continue;
        }
        if let Some(route) = call.attempt(&topic, |admin| admin.route(&topic)) {
            print_topic_stats(call, &topic, &route)?;
        }
    }
    Ok(())
}

fn print_topic_stats(call: &mut Call<'_>, topic: &str, route: &TopicRouteData) -> ToolResult {
    let Some(addr) = route.broker_datas.first().and_then(address_of) else { return Ok(()) };
    let groups = call.attempt(topic, |admin| admin.groups_of_topic(addr, topic));
    let Some(groups) = groups else { return Ok(()) };
    let (in_tps, in_day) = sum_stats(call, route, "TOPIC_PUT_NUMS", topic);
    let in_tps = format!("{in_tps:.2}");
    let only_active = call.has("activeTopic");
    if groups.is_empty() && !(only_active && in_day == 0) {
        let cells: [&dyn std::fmt::Display; 7] =
            [&topic, &"", &0, &in_tps, &"", &in_day, &"NO_CONSUMER"];
        call.out.row(&STATS_COLUMNS, &cells)?;
    }
    for group in groups {
        let (out_tps, out_day) =
            sum_stats(call, route, "GROUP_GET_NUMS", &format!("{topic}@{group}"));
        if only_active && in_day == 0 && out_day == 0 {
            continue;
        }
        let mut behind = 0;
        for addr in route.broker_datas.iter().filter_map(address_of) {
            // Brokers where the group never was count as nothing.
            let stats = call.admin.consume_stats(addr, &group, Some(topic)).unwrap_or_default();
            let progress = stats.offset_table.values();
            behind += progress.map(|p| p.broker_offset - p.consumer_offset).sum::<i64>();
        }
        let (behind, out_tps) = (behind.max(0), format!("{out_tps:.2}"));
        let cells: [&dyn std::fmt::Display; 7] =
            [&topic, &group, &behind, &in_tps, &out_tps, &in_day, &out_day];
        call.out.row(&STATS_COLUMNS, &cells)?;
    }
    Ok(())
}

/// Rate of the last minute and count of the last day, over the masters of a route.
fn sum_stats(call: &Call<'_>, route: &TopicRouteData, name: &str, key: &str) -> (f64, i64) {
    let masters = route.broker_datas.iter().filter_map(|broker| broker.broker_addrs.get(&0));
    masters
        .map(|addr| stats_of(call, addr, name, key))
        .fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Rate of the last minute and count of the last day on a broker. A statistic that it does not
/// keep yet counts as zero.
pub(super) fn stats_of(call: &Call<'_>, addr: &str, name: &str, key: &str) -> (f64, i64) {
    let stats = call.admin.broker_stats(addr, name, key).unwrap_or_default();
    let longest = longest_window([stats.stats_day, stats.stats_hour, stats.stats_minute.clone()]);
    (stats.stats_minute.tps, longest.sum)
}

/// The first window that counted something: a day is only complete after a day.
fn longest_window(windows: [BrokerStatsItem; 3]) -> BrokerStatsItem {
    windows.into_iter().find(|window| window.sum > 0).unwrap_or_default()
}

const TIME_COLUMNS: [Column; 5] = [
    Column::left("#Cluster Name", "clusterName", 24),
    Column::left("#Broker Name", "brokerName", 24),
    Column::left("#RT", "rtMs", 8).number(),
    Column::left("#successCount", "successCount", 16).number(),
    Column::left("#failCount", "failCount", 16).gap(0).number(),
];

/// Sends to the topic that is named like a broker, round after round.
fn cluster_send_times(call: &mut Call<'_>) -> ToolResult {
    let as_log = call.truth("printAsTlog", false);
    let interval = Duration::from_secs(call.number("interval", 10)?);
    let mut rounds: u64 = call.number("rounds", u64::MAX)?;
    let body = vec![b'a'; call.number("size", 128)?];
    let amount: usize = call.number("amount", 100)?;
    let info = call.admin.cluster_info()?;
    let brokers = chosen_brokers(call, &info)?;
    if !as_log {
        call.out.header(&TIME_COLUMNS)?;
    }
    let group = clock::now_ms().to_string();
    loop {
        for (cluster, name, addr) in &brokers {
            let queue =
                MessageQueue { broker_name: name.clone(), queue_id: 0, topic: name.clone() };
            let message = Message::new(name.clone(), body.clone());
            let (mut times, mut failures) = (Vec::new(), 0);
            for _ in 0..amount {
                let begin = Instant::now();
                match call.admin.send(addr, &queue, &group, &message) {
                    Ok(_) => times.push(begin.elapsed().as_secs_f64() * 1000.0),
                    Err(_) => failures += 1,
                }
            }
            // The first send also connects.
            let counted = times.get(1..).unwrap_or_default();
            let average = counted.iter().sum::<f64>() / counted.len().max(1) as f64;
            if as_log {
                let room = call.text("machineRoom").unwrap_or_else(|| "noname".to_owned());
                let now = time_in_seconds(clock::now_ms());
                call.out.say(format_args!("{now}|{room}|{cluster}|{name}|{average:.0}"))?;
            } else {
                let (average, successes) = (format!("{average:.2}"), times.len());
                let cells: [&dyn std::fmt::Display; 5] =
                    [cluster, name, &average, &successes, &failures];
                call.out.row(&TIME_COLUMNS, &cells)?;
            }
        }
        call.out.flush()?;
        rounds -= 1;
        if rounds == 0 {
            return Ok(());
        }
        std::thread::sleep(interval);
    }
}

/// Cluster, name and master of the brokers to probe.
fn chosen_brokers(
    call: &Call<'_>,
    info: &ClusterInfo,
) -> Result<Vec<(String, String, String)>, ToolError> {
    let wanted = call.text("cluster");
    let mut brokers = Vec::new();
    for (cluster, names) in &info.cluster_addr_table {
        if wanted.as_ref().is_some_and(|wanted| wanted != cluster) {
            continue;
        }
        for name in names {
            let broker = info.broker_addr_table.get(name);
            if let Some(master) = broker.and_then(|broker| broker.broker_addrs.get(&0)) {
                brokers.push((cluster.clone(), name.clone(), master.clone()));
            }
        }
    }
    match (brokers.is_empty(), wanted) {
        (true, Some(cluster)) => Err(ToolError::Failed(format!("cluster [{cluster}] not exist"))),
        (true, None) => Err(ToolError::Failed("there is no broker".to_owned())),
        _ => Ok(brokers),
    }
}
