//! [`Replication`]: a broker's part in a set of a master and its slaves: who the master is, and what
//! operators are told about it. The log is copied by [`store::ha`](crate::store::ha), the tables by
//! [`slave_sync`](super::slave_sync).
//!
//! # Who the master is
//!
//! | what a slave knows | log from | tables from |
//! |---|---|---|
//! | `haMasterAddress` | there, always | what a name server says; until one has said anything, the port before it |
//! | else | what the name servers say with every registration: `haServerAddr` | `masterAddr` |
//!
//! A name server says nothing while the master is not registered. The last known address is kept
//! then: it is where the master is expected back.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::Broker;
use super::ha_info::Speeds;
use super::slave_sync::SyncStatus;
use super::slave_sync::news::News;
use crate::common::json::{FromJson, Json};
use crate::common::sync::lock;
use crate::remoting::Command;
use crate::remoting::protocol::bodies::KvTable;
use crate::remoting::protocol::namesrv_headers::RegisterBrokerResponseHeader;
use crate::remoting::protocol::request_code;
use crate::store::ha::{HaOptions, HaService, HaStatus};
use crate::store::{StoreConfig, StoreError};

/// Shortest `haMasterAddress` that Java takes for one.
const SHORTEST_ADDRESS: usize = 6;
/// Limit of the question where the master's log begins.
const LIMIT: Duration = Duration::from_secs(3);

/// See the [module](self).
pub struct Replication {
    ha: OnceLock<Arc<HaService>>,
    told: Mutex<Told>,
    /// Wakes the thread that copies tables: `SlaveSync` of a slave, `SlaveFeed` of a master.
    pub news: Arc<News>,
    sync: Mutex<SyncStatus>,
    /// How fast the log is copied.
    pub(super) speeds: Speeds,
}

/// What name servers said last.
#[derive(Debug, Default)]
struct Told {
    ha_addr: Option<String>,
    master_addr: Option<String>,
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replication").field("told", &self.told).finish_non_exhaustive()
    }
}

/// The configured address, if there is one.
fn pinned(config: &StoreConfig) -> Option<&str> {
    let address = config.ha_master_address.trim();
    (address.len() >= SHORTEST_ADDRESS).then_some(address)
}

impl Replication {
    /// Not started.
    pub fn new(news: Arc<News>) -> Self {
        Self {
            ha: OnceLock::new(),
            told: Mutex::default(),
            news,
            sync: Mutex::default(),
            speeds: Speeds::default(),
        }
    }

    /// Starts copying the log. The store has been started.
    pub fn start(broker: &Arc<Broker>) -> Result<(), StoreError> {
        let config = broker.store.config();
        let port = u16::try_from(config.ha_listen_port)
            .map_err(|_| StoreError(format!("haListenPort is {}", config.ha_listen_port)))?;
        let its_broker = Arc::downgrade(broker);
        let options = HaOptions {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            master: pinned(&config).map(str::to_owned).filter(|_| config.is_slave()),
            master_range: Some(Box::new(move || range_of_master(&*its_broker.upgrade()?))),
        };
        let ha = HaService::start(&broker.store, options)?;
        let _ = broker.replication.ha.set(ha);
        Ok(())
    }

    /// A name server has answered a registration: on a slave, with its master's addresses if that is
    /// registered.
    pub fn told(&self, broker: &Broker, answer: RegisterBrokerResponseHeader) {
        let config = broker.store.config();
        if !config.is_slave() {
            return;
        }
        let given = |address: Option<String>| address.filter(|address| !address.is_empty());
        let (ha_addr, master_addr) = (given(answer.ha_server_addr), given(answer.master_addr));
        let mut told = lock(&self.told);
        if ha_addr.is_some() && told.ha_addr != ha_addr {
            if let Some(ha) = self.ha.get().filter(|_| pinned(&config).is_none()) {
                ha.set_master(ha_addr.as_deref());
            }
            told.ha_addr = ha_addr;
        }
        if master_addr.is_some() && told.master_addr != master_addr {
            told.master_addr = master_addr;
            drop(told);
            self.news.signal().wakeup();
        }
    }

    /// The configured address of the master has changed.
    pub fn configured(&self, broker: &Broker) {
        let config = broker.store.config();
        let told = lock(&self.told).ha_addr.clone();
        let address = pinned(&config).map(str::to_owned).or(told);
        if let Some(ha) = self.ha.get().filter(|_| config.is_slave()) {
            ha.set_master(address.as_deref());
        }
        self.news.signal().wakeup();
    }

    /// Where a slave's master serves, if that is known, and is not this broker.
    pub fn master_addr(&self, broker: &Broker) -> Option<String> {
        let told = lock(&self.told).master_addr.clone();
        let master = told.or_else(|| {
            let config = broker.store.config();
            let (host, port) = pinned(&config)?.rsplit_once(':')?;
            Some(format!("{host}:{}", port.parse::<u16>().ok()?.checked_sub(1)?))
        });
        master.filter(|master| *master != broker.address())
    }

    /// How the log is copied; `None` before the start.
    pub fn status(&self) -> Option<HaStatus> {
        self.ha.get().map(|ha| ha.status())
    }

    /// How the tables are copied, on a slave.
    pub fn sync_status(&self) -> SyncStatus {
        lock(&self.sync).clone()
    }

    /// Tells how the tables are copied.
    pub(super) fn set_sync_status(&self, status: SyncStatus) {
        *lock(&self.sync) = status;
    }

    /// Stops copying the log.
    pub fn stop(&self) {
        if let Some(ha) = self.ha.get() {
            ha.stop();
        }
    }
}

/// Begin and end of the master's log, which it tells in its runtime info.
fn range_of_master(broker: &Broker) -> Option<(i64, i64)> {
    let master = broker.replication.master_addr(broker)?;
    let request = Command::request(request_code::GET_BROKER_RUNTIME_INFO);
    let answer = broker.registration.client().call(&master, request, LIMIT).ok()?;
    let json = Json::parse(answer.body.as_bytes()).ok()?;
    let table = KvTable::from_json(&json).ok()?.table;
    let number = |key: &str| table.get(key)?.parse().ok();
    Some((number("commitLogMinOffset")?, number("commitLogMaxOffset")?))
}
