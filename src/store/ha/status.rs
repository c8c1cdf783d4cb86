//! What the replication tells about itself: [`HaStatus`], for administration and tests.

use std::net::SocketAddr;

/// The state of a store's replication at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaStatus {
    /// End of the own commit log.
    pub end: i64,
    /// Those who follow this log, in the order in which they came.
    pub slaves: Vec<SlaveStatus>,
    /// How many of them are close enough to be waited for.
    pub in_sync: usize,
    /// Puts that wait for a slave at the moment.
    pub waiting: usize,
    /// Whom this store follows; `None` on a master.
    pub following: Option<FollowStatus>,
}

/// One who follows this log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlaveStatus {
    /// Its end of the connection.
    pub address: SocketAddr,
    /// When it connected, ms since the epoch.
    pub connected_ms: i64,
    /// Up to where it says it has the log; `None` until it has said so of something it was sent.
    pub acked: Option<i64>,
    /// Up to where the log was sent to it.
    pub sent: i64,
    /// Bytes of the log it has not acknowledged.
    pub lag_bytes: i64,
    /// For how long the oldest message that it has not acknowledged has been stored, ms.
    pub lag_ms: i64,
    /// Whether it is close enough to be waited for (`haSlaveFallbehindMax`).
    pub in_sync: bool,
}

/// A slave's view of its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowStatus {
    /// Its replication address, as it was told; empty: nobody knows it.
    pub master: String,
    /// How it stands with it.
    pub state: FollowState,
    /// End of the own log: everything before it came whole and was checked.
    pub received: i64,
    /// The highest end of its log that the master has shown.
    pub master_end: i64,
    /// For how long nothing has come from the master, ms; it sends something every
    /// `haSendHeartbeatInterval`. 0 while not connected.
    pub silent_ms: i64,
}

impl FollowStatus {
    /// Bytes that are known to be missing.
    pub fn lag_bytes(&self) -> i64 {
        (self.master_end - self.received).max(0)
    }
}

/// How a slave stands with its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowState {
    /// No master is known.
    NoMaster,
    /// Not connected; why the last attempt failed, empty before the first one.
    Connecting(String),
    /// Connected; the end of the own log is being compared with the master's.
    Comparing,
    /// Connected; the own log is the beginning of the master's and follows it.
    Transferring,
    /// The two logs do not belong together. Nothing is appended; it is tried again now and then.
    Refused(Refusal),
}

/// Why a slave does not follow its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub kind: RefusalKind,
    /// End of the own log.
    pub own_end: i64,
    /// The master's offset that does not go with it: its end, its begin, or where bytes differ.
    pub master_offset: i64,
    /// The whole story, with the command that would put it right.
    pub text: String,
}

/// What is wrong between a slave and its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The own log goes beyond the master's end.
    Ahead,
    /// The master's log begins beyond the own end: what lies between is gone.
    Gap,
    /// The logs differ; the offset is that of the first record that does.
    Different {
        /// Offset of the first own record that is not the master's.
        first_differing: i64,
    },
    /// The files of the two have different sizes.
    FileSize,
    /// What the master sends at this offset is no record, again and again.
    Damaged,
}
