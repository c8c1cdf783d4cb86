//! What a broker says about its replication: keys of the runtime info (28), and the answer to
//! GET_BROKER_HA_STATUS (907), which tools of 5.x ask for and our `mqadmin haStatus` too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

use super::Broker;
use crate::common::clock::now_ms;
use crate::common::config::ConfigValue;
use crate::common::sync::lock;
use crate::remoting::protocol::admin_bodies::{HaClientInfo, HaConnectionInfo, HaRuntimeInfo};
use crate::store::ha::{FollowState, HaStatus, SlaveStatus};

/// Speeds since somebody last asked for them.
#[derive(Debug, Default)]
pub struct Speeds {
    /// Who is sent how much: when, and the offset then.
    last: Mutex<BTreeMap<Option<SocketAddr>, (Instant, i64)>>,
}

impl Speeds {
    /// Bytes a second since the previous call for this peer (`None`: the master); 0 the first time.
    fn since_last(&self, peer: Option<SocketAddr>, offset: i64) -> i64 {
        let now = Instant::now();
        let before = lock(&self.last).insert(peer, (now, offset));
        let Some((at, before)) = before else { return 0 };
        let ms = now.duration_since(at).as_millis().max(1);
        i64::try_from(i128::from(offset - before).max(0) * 1000 / ms as i128).unwrap_or(i64::MAX)
    }

    /// Forgets peers that are gone.
    fn keep(&self, peers: &[SlaveStatus]) {
        lock(&self.last).retain(|peer, _| {
            peer.is_none_or(|peer| peers.iter().any(|known| known.address == peer))
        });
    }
}

/// The keys of the runtime info that tell how replication stands.
///
/// | key | on | value |
/// |---|---|---|
/// | `brokerRole` | all | as configured |
/// | `haSlaves`, `haSlavesInSync`, `haWaitingPuts` | masters | slaves connected; of them those that are waited for; puts that wait for one |
/// | `haSlave_ADDRESS` | masters | `lagBytes=… lagMs=… acknowledged=… sent=… inSync=…` |
/// | `haMaster`, `haState` | slaves | the master's replication address, and how the slave stands with it |
/// | `haLagBytes`, `haSilentMs` | slaves | bytes that are known to be missing; for how long the master has been silent |
/// | `tablesMaster`, `tablesState`, `tablesAgeMs` | slaves | the same for topics, groups and offsets |
pub fn describe(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let mut put = |key: &str, value: String| {
        table.insert(key.to_owned(), value);
    };
    put("brokerRole", broker.store.config().broker_role.print());
    let Some(status) = broker.replication.status() else { return };
    match &status.following {
        None => describe_slaves(&status, &mut put),
        Some(following) => {
            put("haMaster", following.master.clone());
            put("haState", state(&following.state));
            put("haLagBytes", following.lag_bytes().to_string());
            put("haSilentMs", following.silent_ms.to_string());
            let tables = broker.replication.sync_status();
            put(
                "tablesState",
                match (&tables.problem, tables.synchronized_ms) {
                    (Some(problem), _) => format!("tried again: {problem}"),
                    (None, 0) => "not yet".to_owned(),
                    (None, _) if tables.at_once => "followed at once".to_owned(),
                    (None, _) => "followed every 10 s".to_owned(),
                },
            );
            put("tablesMaster", tables.master);
            if tables.synchronized_ms > 0 {
                put("tablesAgeMs", (now_ms() - tables.synchronized_ms).max(0).to_string());
            }
        }
    }
}

fn describe_slaves(status: &HaStatus, put: &mut impl FnMut(&str, String)) {
    put("haSlaves", status.slaves.len().to_string());
    put("haSlavesInSync", status.in_sync.to_string());
    put("haWaitingPuts", status.waiting.to_string());
    for slave in &status.slaves {
        let acknowledged = slave.acked.map_or_else(|| "none".to_owned(), |acked| acked.to_string());
        put(
            &format!("haSlave_{}", slave.address),
            format!(
                "lagBytes={} lagMs={} acknowledged={acknowledged} sent={} inSync={}",
                slave.lag_bytes, slave.lag_ms, slave.sent, slave.in_sync
            ),
        );
    }
}

/// How a slave stands with its master, in words.
pub(super) fn state(state: &FollowState) -> String {
    match state {
        FollowState::NoMaster => "no master is known".to_owned(),
        FollowState::Connecting(problem) if problem.is_empty() => "connecting".to_owned(),
        FollowState::Connecting(problem) => format!("connecting: {problem}"),
        FollowState::Comparing => "comparing".to_owned(),
        FollowState::Transferring => "transferring".to_owned(),
        FollowState::Refused(refusal) => format!("stopped: {}", refusal.text),
    }
}

/// The answer to GET_BROKER_HA_STATUS; `None` before replication has started.
pub fn runtime_info(broker: &Broker) -> Option<HaRuntimeInfo> {
    let status = broker.replication.status()?;
    let speeds = &broker.replication.speeds;
    speeds.keep(&status.slaves);
    let connection = |slave: &SlaveStatus| HaConnectionInfo {
        addr: slave.address.to_string(),
        diff: slave.lag_bytes,
        in_sync: slave.in_sync,
        lag_ms: slave.lag_ms,
        slave_ack_offset: slave.acked.unwrap_or(-1),
        transfer_from_where: slave.sent,
        transferred_byte_in_second: speeds.since_last(Some(slave.address), slave.sent),
    };
    let ha_client_runtime_info = status.following.as_ref().map(|following| {
        let heard_ms = now_ms() - following.silent_ms;
        let connected =
            matches!(following.state, FollowState::Comparing | FollowState::Transferring);
        HaClientInfo {
            activated: connected,
            last_read_timestamp: if connected { heard_ms } else { 0 },
            last_write_timestamp: if connected { heard_ms } else { 0 },
            master_addr: following.master.clone(),
            master_flush_offset: following.master_end,
            max_offset: following.received,
            transferred_byte_in_second: speeds.since_last(None, following.received),
        }
    });
    Some(HaRuntimeInfo {
        ha_client_runtime_info: ha_client_runtime_info.clone().unwrap_or_default(),
        ha_connection_info: status.slaves.iter().map(connection).collect(),
        in_sync_slave_nums: i32::try_from(status.in_sync).unwrap_or(i32::MAX),
        master: status.following.is_none(),
        master_commit_log_max_offset: status.end,
    })
}
