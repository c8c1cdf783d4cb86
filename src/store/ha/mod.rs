//! Replication of the commit log from a master to its slaves: [`HaService`]. Wire-compatible with
//! Java 4.9 in both directions; topics, groups and offsets are the broker's business.
//!
//! A slave is a store whose log is a copy of another one's, byte for byte: offsets, ids and times
//! of its messages are the master's. Consume queues and index are not copied, the slave's own
//! dispatch builds them from the log. So all that is to be replicated is a file that grows at its
//! end, and all that can go wrong is that two files which should be one are not.
//!
//! # The protocol
//!
//! Plain TCP to the master's `haListenPort`, no handshake (`wire.rs` has the bytes):
//!
//! | direction | message | meaning |
//! |---|---|---|
//! | slave → master | report: offset | "I have the log up to here"; the first one also: "send it from here" |
//! | master → slave | frame: offset, size, bytes | a piece of the log, cut anywhere, within one file |
//! | master → slave | frame of size 0 | heartbeat: "this is where the next piece will begin" |
//!
//! A first report of 0 asks for the master's *last* file: so Java begins with an empty slave. What
//! ours add is within these rules, and a Java peer notices nothing of it:
//!
//! * *The overlap.* Our slave asks not for its end but for the begin of its last records (about 64
//!   KiB before), and compares what comes with what it has before it appends anything. If it
//!   differs, it looks for the first record that does (`compare.rs`), and stops.
//! * *The byte 0.* Offset 0 cannot be asked for, so a slave that wants everything asks for offset 1
//!   and supplies the first byte: the highest one of a record's size, which is 0.
//! * *The end, told at once.* Our master sends a heartbeat as soon as a slave has everything, not
//!   only after 5 s; and to a slave that asks for what it has not got, a heartbeat with its own end
//!   or begin before it hangs up. (A Java slave logs both offsets then; Java's master lets it wait
//!   for ever, and where its log ends is asked of its broker.)
//! * *Reports at once*, after connecting (Java's slave waits 5 s) and after every append.
//!
//! How a connect ends, from the slave's side, with own end *E*, master's log *b..e*:
//!
//! | the two logs | what the slave sees | what it does |
//! |---|---|---|
//! | the same up to *E*, *E* ≤ *e* | its last records, then more | follows |
//! | *E* > *e*, the same up to *e* | a heartbeat before its own end | stops: [`RefusalKind::Ahead`] |
//! | *E* > *e*, they differ before *e* | the same, or other bytes | looks for the place, stops: [`RefusalKind::Different`] |
//! | they differ somewhere | other bytes in the overlap | looks for the place, stops: [`RefusalKind::Different`] |
//! | *E* < *b* | a frame from *b*, or nothing (Java) | stops: [`RefusalKind::Gap`] |
//! | files of different sizes | a record or a file that ends elsewhere | stops: [`RefusalKind::FileSize`] |
//! | *E* = 0 | | begins at *b* (`syncFromLastFile=false`) or at the last file |
//!
//! Stopping means: one error line with both offsets and the command that would put it right, the
//! same in [`HaStatus`], and a look every ten seconds whether somebody has. Nothing is cut by
//! itself, and nothing is appended that does not fit.
//!
//! # Threads
//!
//! | thread | where | duty | file |
//! |---|---|---|---|
//! | `AcceptSocket` | everywhere | accepts slaves (a slave may have some of its own) | `accept.rs` |
//! | `ReadSocket` | one a connection | reports; completes the puts that they cover | `connection.rs` |
//! | `WriteSocket` | one a slave | sends the mapped log, where that takes time | `connection.rs` |
//! | `GroupTransfer` | everywhere | answers puts that have waited for too long | `group_transfer.rs` |
//! | `HAClient` | slaves | follows the master | `client.rs`, `session.rs` |
//!
//! Who has put a message sends it, unless an acknowledgement of what was sent before is awaited (for a
//! millisecond at most): then what comes meanwhile goes together, sent by who reads that. So a single
//! put is on its way at once, and under load every stage works once for many. What takes longer, the
//! socket being full or 64 KiB or more being there, is the writer's.
//!
//! # What is promised
//!
//! * A put on a SYNC_MASTER is answered SEND_OK when as many *connected* slaves as it needs
//!   (`inSyncReplicas` − 1, at least one) have reported the end of its record; FLUSH_SLAVE_TIMEOUT
//!   after `slaveTimeout`; SLAVE_NOT_AVAILABLE at once when not so many are within
//!   `haSlaveFallbehindMax`. When the last slave leaves, those who wait go on waiting to their
//!   deadline: it may be back by then.
//! * A report is believed up to what was sent on its connection. The first one asks for something, up
//!   to the log's end, and tells how far behind the slave may be; it acknowledges nothing: the slave's
//!   log may be another one. Who has not reported does not count. Where several are needed,
//!   nor does what was said on an older connection from the address of a new one, until more is said on
//!   it: the slave may be the same, and has not closed it.
//! * A slave reports whole, checked records that are in its log; with `slaveAckAfterFlush`, on its
//!   disk. What has left the log's end on a slave is never damaged by the way (`assembler.rs`).
//! * A master in SYNC_FLUSH mode sends only what is on its disk. So a power cut there never leaves a
//!   slave ahead of its master; in ASYNC_FLUSH mode it may.
//! * A stopping master gives slaves that keep up a second to take what they lack.
//! * Whoever connects and is no slave costs a thread for at most ten seconds, of at most 128; log
//!   lines about strangers are one a minute of each kind and address.
//!
//! Reading order: `wire.rs`, `connection.rs`, `slaves.rs`, `group_transfer.rs`; then `assembler.rs`,
//! `session.rs`, `compare.rs`, `client.rs`.

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

/// Asks the master for the first offset of its commit log (−1: the log is empty) and its end, which its
/// broker tells in its runtime info. `None`: it does not answer.
pub type MasterRange = Box<dyn Fn() -> Option<(i64, i64)> + Send + Sync>;

/// What the replication is started with, besides the store's own configuration.
pub struct HaOptions {
    /// Where slaves are listened for; port 0 picks one. `[::]` takes IPv4 too.
    pub listen: SocketAddr,
    /// A slave's master, `host:port` of its replication port; `None`: told later.
    pub master: Option<String>,
    /// Where the log of a Java master begins, for an empty slave with `syncFromLastFile=false`, and
    /// where it ends, for one that is ahead: only this way that is known. Called on the HA client's
    /// thread.
    pub master_range: Option<MasterRange>,
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
                options.master_range,
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
    fn is_followed(&self) -> bool {
        self.slaves.is_anybody_there()
    }

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
