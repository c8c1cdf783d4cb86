//! The cluster: all brokers with their load.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolResult, flag, optional};
use crate::common::clock;
use crate::remoting::protocol::bodies::ClusterInfo;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[SubCommand {
    name: "clusterList",
    purpose: "List cluster infos",
    options: &[
        flag('m', "moreStats", "Print more stats"),
        optional('i', "interval", "specify intervals numbers, it is in seconds"),
        optional('c', "clusterName", "only this cluster"),
    ],
    run: cluster_list,
}];

type Table = BTreeMap<String, String>;

fn cluster_list(call: &mut Call<'_>) -> ToolResult {
    let interval = call.optional_number::<u64>("interval")?;
    loop {
        let info = call.admin.cluster_info()?;
        if call.has("moreStats") {
            print_totals(call, &info)?;
        } else {
            print_load(call, &info)?;
        }
        call.out.flush()?;
        let Some(seconds) = interval else { return Ok(()) };
        call.out.decorate("")?;
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

/// Every broker: cluster, name, id, address.
fn brokers(call: &Call<'_>, info: &ClusterInfo) -> Vec<(String, String, i64, String)> {
    let wanted = call.text("clusterName");
    let mut brokers = Vec::new();
    for (cluster, names) in &info.cluster_addr_table {
        if wanted.as_ref().is_some_and(|wanted| wanted != cluster) {
            continue;
        }
        let mut names: Vec<_> = names.iter().collect();
        names.sort();
        for name in names {
            let addrs = info.broker_addr_table.get(name).map(|broker| &broker.broker_addrs);
            for (id, addr) in addrs.into_iter().flatten() {
                brokers.push((cluster.clone(), name.clone(), *id, addr.clone()));
            }
        }
    }
    brokers
}

const LOAD_COLUMNS: [Column; 12] = [
    Column::left("#Cluster Name", "clusterName", 16),
    Column::left("#Broker Name", "brokerName", 22),
    Column::left("#BID", "brokerId", 4).number(),
    Column::left("#Addr", "addr", 22).gap(1),
    Column::left("#Version", "version", 16).gap(1),
    Column::right("#InTPS(LOAD)", "inTps", 19).gap(1),
    Column::right("#OutTPS(LOAD)", "outTps", 19).gap(1),
    Column::right("#PCWait(ms)", "pageCacheWaitMs", 10).gap(1).number(),
    Column::right("#Hour", "hours", 5).gap(1).number(),
    Column::right("#SPACE", "space", 6).gap(2).number(),
    Column::left("#Role", "role", 12),
    Column::left("#Replication", "replication", 0).gap(0),
];

fn print_load(call: &mut Call<'_>, info: &ClusterInfo) -> ToolResult {
    call.out.header(&LOAD_COLUMNS)?;
    for (cluster, name, id, addr) in brokers(call, info) {
        // A broker that does not answer still gets its row.
        let table = call.attempt(&addr, |admin| admin.runtime_info(&addr)).unwrap_or_default();
        let text = |key: &str| table.get(key).map_or("", String::as_str);
        let input = tps_cell(&table, &["putTps"], "send");
        let output = tps_cell(&table, &["getTransferedTps", "getTransferredTps"], "pull");
        let earliest: i64 = text("earliestMessageTimeStamp").parse().unwrap_or(0);
        let hours = match earliest {
            time if time > 0 => (clock::now_ms() - time) as f64 / 3_600_000.0,
            _ => 0.0,
        };
        let space: f64 = text("commitLogDiskRatio").parse().unwrap_or(0.0);
        let (hours, space) = (format!("{hours:.2}"), format!("{space:.4}"));
        let wait = text("pageCacheLockTimeMills");
        let replication = replication(&table);
        let cells: [&dyn std::fmt::Display; 12] = [
            &cluster,
            &name,
            &id,
            &addr,
            &text("brokerVersionDesc"),
            &input,
            &output,
            &wait,
            &hours,
            &space,
            &text("brokerRole"),
            &replication,
        ];
        call.out.row(&LOAD_COLUMNS, &cells)?;
    }
    Ok(())
}

/// How a broker of ours stands with the others of its name (two columns that Java's tool does not
/// have): a master's slaves with their lag, a slave with its master.
fn replication(table: &Table) -> String {
    let figure = |line: &str, name: &str| {
        let mut words = line.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(key, _)| *key == name).map_or("?", |(_, value)| value).to_owned()
    };
    if let Some(state) = table.get("haState") {
        let lag = table.get("haLagBytes").map_or("?", String::as_str);
        return match state.as_str() {
            "transferring" => {
                format!("{lag} B behind {}", table.get("haMaster").map_or("?", String::as_str))
            }
            other => other.to_owned(),
        };
    }
    let slaves = table.iter().filter_map(|(key, line)| Some((key.strip_prefix("haSlave_")?, line)));
    let slaves = slaves.map(|(addr, line)| {
        format!("{addr} {} B, {} ms", figure(line, "lagBytes"), figure(line, "lagMs"))
    });
    let slaves: Vec<String> = slaves.collect();
    match (slaves.len(), table.contains_key("haSlaves")) {
        (0, true) => "no slaves".to_owned(),
        (0, false) => String::new(),
        (1, _) => format!("1 slave: {}", slaves[0]),
        (count, _) => format!("{count} slaves: {}", slaves.join("; ")),
    }
}

/// The rate of the last ten seconds, then depth and head wait of the pool that serves it.
fn tps_cell(table: &Table, keys: &[&str], pool: &str) -> String {
    let windows = keys.iter().find_map(|key| table.get(*key));
    let first = windows.and_then(|windows| windows.split_whitespace().next());
    let tps: f64 = first.and_then(|tps| tps.parse().ok()).unwrap_or(0.0);
    let figure = |key: String| table.get(&key).cloned().unwrap_or_else(|| "0".to_owned());
    let depth = figure(format!("{pool}ThreadPoolQueueSize"));
    let wait = figure(format!("{pool}ThreadPoolQueueHeadWaitTimeMills"));
    format!("{tps:9.2}({depth},{wait}ms)")
}

const TOTAL_COLUMNS: [Column; 6] = [
    Column::left("#Cluster Name", "clusterName", 16),
    Column::left("#Broker Name", "brokerName", 32).gap(1),
    Column::right("#InTotalYest", "inTotalYesterday", 14).gap(1).number(),
    Column::right("#OutTotalYest", "outTotalYesterday", 14).gap(1).number(),
    Column::right("#InTotalToday", "inTotalToday", 14).gap(1).number(),
    Column::right("#OutTotalToday", "outTotalToday", 14).gap(0).number(),
];

fn print_totals(call: &mut Call<'_>, info: &ClusterInfo) -> ToolResult {
    call.out.header(&TOTAL_COLUMNS)?;
    for (cluster, name, _, addr) in brokers(call, info) {
        let table = call.attempt(&addr, |admin| admin.runtime_info(&addr)).unwrap_or_default();
        let total = |kind: &str, when: &str| -> i64 {
            table.get(&format!("msg{kind}Total{when}")).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let yesterday = |kind| total(kind, "TodayMorning") - total(kind, "YesterdayMorning");
        let today = |kind| total(kind, "TodayNow") - total(kind, "TodayMorning");
        let (in_yesterday, out_yesterday) = (yesterday("Put"), yesterday("Get"));
        let (in_today, out_today) = (today("Put"), today("Get"));
        let cells: [&dyn std::fmt::Display; 6] =
            [&cluster, &name, &in_yesterday, &out_yesterday, &in_today, &out_today];
        call.out.row(&TOTAL_COLUMNS, &cells)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_and_slaves() {
        let table = |entries: &[(&str, &str)]| -> Table {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(replication(&Table::new()), "", "Java says nothing");
        assert_eq!(replication(&table(&[("haSlaves", "0")])), "no slaves");
        let slave = "lagBytes=7 lagMs=3 acknowledged=1 sent=8 inSync=true";
        let one = table(&[("haSlaves", "1"), ("haSlave_10.0.0.2:9", slave)]);
        assert_eq!(replication(&one), "1 slave: 10.0.0.2:9 7 B, 3 ms");
        let entries = [("haState", "transferring"), ("haLagBytes", "5"), ("haMaster", "m:1")];
        assert_eq!(replication(&table(&entries)), "5 B behind m:1");
        assert_eq!(replication(&table(&[("haState", "comparing")])), "comparing");
    }

    #[test]
    fn a_rate_and_its_pool() {
        let entries = [
            ("putTps", "1234.567 3.0 2.0"),
            ("sendThreadPoolQueueSize", "2"),
            ("sendThreadPoolQueueHeadWaitTimeMills", "15"),
        ];
        let table = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(tps_cell(&table, &["putTps"], "send"), "  1234.57(2,15ms)");
        assert_eq!(tps_cell(&Table::new(), &["putTps"], "send"), "     0.00(0,0ms)");
    }
}
