//! Replication: how a master's slaves, or a slave, stand (`haStatus` of 5.x).

use std::time::Duration;

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolResult, one_of, optional};
use crate::common::os::LocalTime;
use crate::remoting::protocol::admin_bodies::{HaClientInfo, HaRuntimeInfo};

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[SubCommand {
    name: "haStatus",
    purpose: "Fetch ha runtime status data",
    options: &[
        one_of('b', "brokerAddr", "which broker to fetch"),
        one_of('c', "clusterName", "which cluster"),
        optional('i', "interval", "the interval(second) of get info"),
    ],
    run: ha_status,
}];

fn ha_status(call: &mut Call<'_>) -> ToolResult {
    let interval = call.optional_number::<u64>("interval")?;
    loop {
        for addr in call.brokers(false)? {
            if let Some(info) = call.attempt(&addr, |admin| admin.ha_status(&addr)) {
                print(call, &addr, &info)?;
            }
        }
        call.out.flush()?;
        let Some(seconds) = interval else { return Ok(()) };
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

const SLAVE_COLUMNS: [Column; 7] = [
    Column::left("#SlaveAddr", "addr", 32),
    Column::left("#SlaveAckOffset", "slaveAckOffset", 16).gap(1).number(),
    Column::right("#Diff", "diff", 16).gap(1).number(),
    Column::right("#TransferSpeed(KB/s)", "transferSpeedKb", 16).gap(1).number(),
    Column::right("#Status", "status", 16).gap(1),
    Column::right("#TransferFromWhere", "transferFromWhere", 16).gap(1).number(),
    Column::right("#Lag(ms)", "lagMs", 10).gap(0).number(),
];

fn print(call: &mut Call<'_>, addr: &str, info: &HaRuntimeInfo) -> ToolResult {
    if !info.master {
        return print_follower(call, &info.ha_client_runtime_info);
    }
    call.out.decorate(format_args!("\n#MasterAddr\t{addr}"))?;
    let end = info.master_commit_log_max_offset;
    call.out.decorate(format_args!("#MasterCommitLogMaxOffset\t{end}"))?;
    call.out.decorate(format_args!("#SlaveNum\t{}", info.ha_connection_info.len()))?;
    call.out.decorate(format_args!("#InSyncSlaveNum\t{}", info.in_sync_slave_nums))?;
    call.out.header(&SLAVE_COLUMNS)?;
    for slave in &info.ha_connection_info {
        let speed = kilobytes(slave.transferred_byte_in_second);
        let status = if slave.in_sync { "OK" } else { "Fall Behind" };
        let cells: [&dyn std::fmt::Display; 7] = [
            &slave.addr,
            &slave.slave_ack_offset,
            &slave.diff,
            &speed,
            &status,
            &slave.transfer_from_where,
            &slave.lag_ms,
        ];
        call.out.row(&SLAVE_COLUMNS, &cells)?;
    }
    Ok(())
}

const FOLLOWER_COLUMNS: [Column; 2] =
    [Column::left("", "key", 0).gap(0), Column::left("", "value", 0).gap(0)];

fn print_follower(call: &mut Call<'_>, info: &HaClientInfo) -> ToolResult {
    let rows: [(&str, String); 6] = [
        ("MasterAddr", info.master_addr.clone()),
        ("CommitLogMaxOffset", info.max_offset.to_string()),
        ("TransferSpeed(KB/s)", kilobytes(info.transferred_byte_in_second)),
        ("LastReadTime", time(info.last_read_timestamp)),
        ("LastWriteTime", time(info.last_write_timestamp)),
        ("MasterFlushOffset", info.master_flush_offset.to_string()),
    ];
    call.out.decorate("")?;
    for (key, value) in rows {
        if call.out.is_json() {
            call.out.row(&FOLLOWER_COLUMNS, &[&key, &value])?;
        } else {
            call.out.decorate(format_args!("#{key}\t{value}"))?;
        }
    }
    Ok(())
}

fn kilobytes(bytes: i64) -> String {
    format!("{:.2}", bytes as f64 / 1024.0)
}

/// `yyyyMMddHHmmss`, as Java prints it.
fn time(ms: i64) -> String {
    let LocalTime { year, month, day, hour, minute, second, .. } = LocalTime::from_epoch_ms(ms);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}
