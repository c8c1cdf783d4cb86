//! Replication of the commit log from a master to its slaves: [`HaService`].

mod accept;
mod assembler;
mod client;
mod compare;
mod complaints;
mod connection;
mod group_transfer;
mod session;
mod slaves;
pub mod status;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use status::{FollowState, FollowStatus, HaStatus, Refusal, RefusalKind, SlaveStatus};

use self::accept::AcceptSocketService;
use self::client::HaClient;
use self::slaves::Slaves;
use super::message_store::{MessageStore, Replicator, StoreError};
use super::pending::PutTicket;
use crate::common::service_thread::ServiceThread;
use crate::common::sync::lock;

/// How long stopping waits for all threads together.
const STOP_LIMIT: Duration = Duration::from_secs(7);

/// Asks the master of that replication address for the first offset of its commit log (its broker
/// tells it in its runtime info; −1: the log is empty). `None`: it does not answer.
pub type MasterBegin = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// What the replication is started with, besides the store's own configuration.
pub struct HaOptions {
    /// Where slaves are listened for; port 0 picks one. `[::]` takes IPv4 too.
    pub listen: SocketAddr,
    /// A slave's master, `host:port` of its replication port; `None`: told later.
    pub master: Option<String>,
    /// For an empty slave with `syncFromLastFile=false` behind a Java master that has deleted
    /// files: only this way the first offset is known. Called on the HA client's thread.
    pub master_begin: Option<MasterBegin>,
}

/// Replication of a store's commit log, as master, as slave, or as both: a slave may have slaves.
pub struct HaService {
    slaves: Arc<Slaves>,
    /// On a slave.
    client: Option<Arc<HaClient>>,
    port: u16,
    running: Mutex<Option<Running>>,
}

struct Running {
    accept: AcceptSocketService,
    group_transfer: ServiceThread,
    client: Option<ServiceThread>,
}

impl HaService {
    /// Listens, starts the threads, and becomes the store's replicator. The store must be started.
    ///
    /// # Errors
    /// The port is taken, or a thread cannot be started.
    pub fn start(store: &Arc<MessageStore>, options: HaOptions) -> Result<Arc<Self>, StoreError> {
        let (log, config) = (Arc::clone(&store.log), Arc::clone(&store.config));
        let slaves = Arc::new(Slaves::new(log.clone(), config.clone(), Arc::clone(&store.reput)));
        let client = store.config().is_slave().then(|| {
            Arc::new(HaClient::new(
                log,
                config,
                Arc::clone(&store.flush),
                Arc::clone(&store.reput),
                Arc::clone(&slaves),
                options.master,
                options.master_begin,
            ))
        });
        let failed = |error: std::io::Error| {
            StoreError(format!(
                "replication cannot start at port {}: {error} (a broker takes haListenPort, which \
                 is listenPort+1)",
                options.listen.port()
            ))
        };
        let accept =
            AcceptSocketService::start(options.listen, Arc::clone(&slaves)).map_err(failed)?;
        let port = accept.port();
        let its_slaves = Arc::clone(&slaves);
        let group_transfer =
            ServiceThread::spawn("GroupTransfer", slaves.group.signal(), move |signal| {
                its_slaves.group.run(signal);
            })
            .map_err(failed)?;
        let follow = |client: &Arc<HaClient>| {
            let its_client = Arc::clone(client);
            ServiceThread::spawn("HAClient", client.signal(), move |signal| its_client.run(signal))
        };
        let thread = client.as_ref().map(follow).transpose().map_err(failed)?;
        let running = Running { accept, group_transfer, client: thread };
        let service = Arc::new(Self { slaves, client, port, running: Mutex::new(Some(running)) });
        store.set_replicator(Arc::clone(&service) as Arc<dyn Replicator>);
        Ok(service)
    }

    /// The address of the master's replication port, `host:port`, as configured or as the name
    /// server said. A changed one drops the connection and follows the new one. Without effect on
    /// a master.
    pub fn set_master(&self, address: Option<&str>) {
        if let Some(client) = &self.client {
            client.set_master(address);
        }
    }

    /// How replication stands.
    pub fn status(&self) -> HaStatus {
        let end = self.slaves.log.max_offset();
        HaStatus {
            end,
            slaves: self.slaves.status(),
            in_sync: self.slaves.standing(end).in_sync,
            waiting: self.slaves.group.len(),
            following: self.client.as_ref().map(|client| client.status()),
        }
    }

    /// The port that slaves connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets slaves that keep up take the last messages (at most a second), then ends all
    /// connections and threads. Who still waits for a slave is answered FLUSH_SLAVE_TIMEOUT.
    /// Idempotent; the store's stop does it too.
    pub fn stop(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        running.accept.stop(STOP_LIMIT);
        if let (Some(client), Some(thread)) = (&self.client, &running.client) {
            client.signal().stop();
            client.interrupt();
            thread.stop(STOP_LIMIT);
        }
        self.slaves.stop(STOP_LIMIT);
        running.group_transfer.stop(STOP_LIMIT);
    }
}

impl Drop for HaService {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Replicator for HaService {
    fn appended(&self) {
        self.slaves.appended();
    }

    fn wait_for(&self, end: i64, ticket: PutTicket) {
        self.slaves.wait_for(end, ticket);
    }

    fn stop(&self) {
        Self::stop(self);
    }
}
