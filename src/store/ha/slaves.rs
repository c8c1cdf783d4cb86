//! [`Slaves`]: all who follow this log. Who is let in, who is woken, and up to where how many of
//! them have it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::complaints::Complaints;
use super::connection::SlaveConnection;
use super::group_transfer::{GroupTransfer, Standing};
use super::status::SlaveStatus;
use crate::common::clock::now_ms;
use crate::common::config::Live;
use crate::common::sync::{catch_panic, lock};
use crate::store::commit_log::{CommitLog, store_time};
use crate::store::config::StoreConfig;
use crate::store::dispatch::ReputMessageService;
use crate::store::pending::PutTicket;
use crate::store::recovery::find_record;

/// Connections at a time, with those that have not said anything yet.
const MAX_CONNECTIONS: usize = 128;
/// How long stopping lets slaves that keep up take the last messages.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// How often it looks whether they have.
const DRAIN_STEP: Duration = Duration::from_millis(2);

/// All who follow this log.
///
/// The port is open to everybody, so a connection counts for nothing before it has sent a report
/// that is possible. When [`MAX_CONNECTIONS`] are open, a newcomer takes the place of the oldest of
/// those that have said nothing, from the address that has most of them; or else of those that have
/// acknowledged nothing of what they were sent. A real slave does soon, and stays.
pub struct Slaves {
    pub(super) log: Arc<CommitLog>,
    pub(super) config: Arc<Live<StoreConfig>>,
    reput: Arc<ReputMessageService>,
    pub(super) group: GroupTransfer,
    complaints: Complaints,
    /// Everybody, in the order of coming.
    all: Mutex<Vec<Arc<SlaveConnection>>>,
    /// Told when somebody leaves.
    left: Condvar,
    /// Those whose reports are believed.
    following: RwLock<Vec<Arc<SlaveConnection>>>,
    /// How many those are: a put of a master without slaves asks for nothing else.
    following_count: AtomicUsize,
    stopped: AtomicBool,
}

impl Slaves {
    /// Nobody yet.
    pub fn new(
        log: Arc<CommitLog>,
        config: Arc<Live<StoreConfig>>,
        reput: Arc<ReputMessageService>,
    ) -> Self {
        Self {
            log,
            config,
            reput,
            group: GroupTransfer::default(),
            complaints: Complaints::default(),
            all: Mutex::default(),
            left: Condvar::new(),
            following: RwLock::default(),
            following_count: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// End of what slaves may be sent: what consumers may see. In SYNC_FLUSH mode that is on the
    /// disk, so that a master which loses power never finds a slave ahead of itself.
    pub fn limit(&self, config: &StoreConfig) -> i64 {
        self.reput.limit(config)
    }

    /// Where Java begins with an empty slave.
    pub fn begin_of_last_file(&self) -> i64 {
        self.log.files().last().map_or(0, |file| file.start())
    }

    /// Lets a newcomer in, if there is room.
    pub fn admit(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let silence = self.config.get().ha_housekeeping_interval.max(1) as u64;
        let prepared = socket
            .set_nodelay(true)
            .and_then(|()| socket.set_write_timeout(Some(Duration::from_millis(silence))));
        if prepared.is_err() {
            return;
        }
        let connection = Arc::new(SlaveConnection::new(socket, peer));
        {
            let mut all = lock(&self.all);
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            if all.len() >= MAX_CONNECTIONS {
                let Some(victim) = least_wanted(&all) else {
                    drop(all);
                    let what = format!("replication: {peer} refused, {MAX_CONNECTIONS} follow");
                    self.complaints.tell(log::Level::Warn, "refused", peer.ip(), &what);
                    return;
                };
                let victim = all.remove(victim);
                victim.close("it acknowledged nothing, and others want to connect");
            }
            all.push(Arc::clone(&connection));
        }
        let (slaves, its_connection) = (Arc::clone(self), Arc::clone(&connection));
        let reader = std::thread::Builder::new().name("ReadSocket".to_owned()).spawn(move || {
            let reason = catch_panic("ReadSocket", || its_connection.run(&slaves));
            slaves.gone(&its_connection, &reason.unwrap_or_else(|| "a fault of ours".to_owned()));
        });
        if let Err(error) = reader {
            self.gone(&connection, &format!("no thread can be started: {error}"));
        }
    }

    /// A connection's first report was believed.
    pub fn joined(&self, connection: &Arc<SlaveConnection>) {
        let mut following = self.following.write().unwrap_or_else(PoisonError::into_inner);
        let same = following.iter().filter(|other| other.peer.ip() == connection.peer.ip());
        same.for_each(|other| other.doubt());
        following.push(Arc::clone(connection));
        self.following_count.store(following.len(), Ordering::SeqCst);
        drop(following);
        let peer = connection.peer;
        let what = format!(
            "replication: slave {peer} follows from {}, the log ends at {}",
            connection.sent().unwrap_or(0),
            self.log.max_offset()
        );
        self.complaints.tell(log::Level::Info, "follows", peer.ip(), &what);
    }

    /// A connection has ended.
    fn gone(&self, connection: &Arc<SlaveConnection>, reason: &str) {
        let mut following = self.following.write().unwrap_or_else(PoisonError::into_inner);
        following.retain(|other| !Arc::ptr_eq(other, connection));
        self.following_count.store(following.len(), Ordering::SeqCst);
        drop(following);
        let peer = connection.peer;
        let (kind, what) = match (connection.follows(), connection.acked()) {
            (true, Some(acked)) => ("left", format!("slave {peer} left, it has {acked}: {reason}")),
            (true, None) => ("left", format!("slave {peer} left, empty: {reason}")),
            (false, _) => ("no slave", format!("{peer} is no slave: {reason}")),
        };
        if !self.stopped.load(Ordering::Acquire) {
            let what = format!("replication: {what}");
            self.complaints.tell(log::Level::Warn, kind, peer.ip(), &what);
        }
        lock(&self.all).retain(|other| !Arc::ptr_eq(other, connection));
        self.left.notify_all();
    }

    /// Whether anybody follows.
    pub fn is_anybody_there(&self) -> bool {
        // An append is published before this is read; a slave that joins is published before it
        // looks at the log's end. One of the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.following_count.load(Ordering::SeqCst) > 0
    }

    /// Something may be sent that could not before.
    pub fn appended(&self) {
        if !self.is_anybody_there() {
            return;
        }
        let following = self.following.read().unwrap_or_else(PoisonError::into_inner);
        following.iter().for_each(|connection| connection.push(self));
    }

    /// How the slaves stand when the log ends at `end`.
    pub fn standing(&self, end: i64) -> Standing {
        let config = self.config.get();
        let near = i64::from(config.ha_slave_fallbehind_max);
        let needed = usize::try_from(config.in_sync_replicas.saturating_sub(1)).unwrap_or(0).max(1);
        let following = self.following.read().unwrap_or_else(PoisonError::into_inner);
        let in_sync = following.iter().filter_map(|slave| slave.acked());
        let in_sync = in_sync.filter(|acked| end - acked < near).count();
        // Of a slave that has two connections, one counts.
        let counts = |slave: &&Arc<SlaveConnection>| needed == 1 || !slave.is_doubted();
        let acked = following.iter().filter(counts).filter_map(|slave| slave.confirmed());
        let mut acked: Vec<i64> = acked.collect();
        drop(following);
        acked.sort_unstable_by(|one, other| other.cmp(one));
        Standing { in_sync, needed, acked: acked.get(needed - 1).copied().unwrap_or(-1) }
    }

    /// Somebody acknowledged something.
    pub fn acknowledged(&self) {
        self.group.acknowledged(|| self.standing(0).acked);
    }

    /// Completes `ticket` when enough slaves have the log up to `end`.
    pub fn wait_for(&self, end: i64, ticket: PutTicket) {
        let timeout = Duration::from_millis(self.config.get().slave_timeout.max(0) as u64);
        let log_end = self.log.max_offset();
        self.group.wait_for(end, ticket, timeout, log_end, |end| self.standing(end));
    }

    /// How each of them stands.
    pub fn status(&self) -> Vec<SlaveStatus> {
        let end = self.log.max_offset();
        let near = i64::from(self.config.get().ha_slave_fallbehind_max);
        let following = self.following.read().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |slave: &Arc<SlaveConnection>| {
            let sent = slave.sent().unwrap_or(0);
            let acked = slave.acked();
            let has = acked.unwrap_or(sent.min(self.log.min_offset().max(0)));
            let lag_bytes = (end - has).max(0);
            SlaveStatus {
                address: slave.peer,
                connected_ms: slave.connected_ms,
                acked,
                sent,
                lag_bytes,
                lag_ms: if lag_bytes > 0 { self.age_at(has) } else { 0 },
                in_sync: acked.is_some() && lag_bytes < near,
            }
        };
        following.iter().map(of).collect()
    }

    /// For how long the first message at or after `offset` has been stored, ms.
    fn age_at(&self, offset: i64) -> i64 {
        let files: Vec<_> = self.log.files().find(offset).into_iter().collect();
        let record = find_record(&files, offset - 1).and_then(|at| self.log.record_at(at));
        let stored = record.and_then(|record| store_time(&record));
        stored.map_or(0, |stored| (now_ms() - stored).max(0))
    }

    /// Lets those that keep up take what they lack, then ends all connections.
    pub fn stop(&self, limit: Duration) {
        let began = Instant::now();
        let end = self.limit(&self.config.get());
        while self.is_anybody_about_to_have(end) && began.elapsed() < DRAIN_LIMIT {
            std::thread::sleep(DRAIN_STEP);
        }
        self.stopped.store(true, Ordering::Release);
        self.group.close();
        let mut all = lock(&self.all);
        all.iter().for_each(|connection| connection.close("the broker stops"));
        while !all.is_empty() {
            let Some(left) = limit.checked_sub(began.elapsed()) else {
                log::warn!("replication: {} connections did not end in time", all.len());
                return;
            };
            all = self.left.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_anybody_about_to_have(&self, end: i64) -> bool {
        let near = i64::from(self.config.get().ha_slave_fallbehind_max);
        let following = self.following.read().unwrap_or_else(PoisonError::into_inner);
        let mut acked = following.iter().filter_map(|slave| slave.acked());
        acked.any(|acked| acked < end && end - acked < near)
    }
}

/// Of those that have said nothing, or else acknowledged nothing, the oldest one from the address that
/// has most of them.
fn least_wanted(all: &[Arc<SlaveConnection>]) -> Option<usize> {
    let oldest = |is_unwanted: fn(&SlaveConnection) -> bool| {
        let unwanted = all.iter().enumerate().filter(|(_, connection)| is_unwanted(connection));
        let unwanted: Vec<(usize, IpAddr)> =
            unwanted.map(|(index, connection)| (index, connection.peer.ip())).collect();
        let count = |ip: IpAddr| unwanted.iter().filter(|(_, other)| *other == ip).count();
        // `max_by_key` takes the last of equals: so go through them from the youngest.
        unwanted.iter().rev().max_by_key(|(_, ip)| count(*ip)).map(|(index, _)| *index)
    };
    oldest(|one| !one.follows()).or_else(|| oldest(|one| one.confirmed().is_none()))
}
