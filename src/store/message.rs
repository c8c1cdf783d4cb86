//! What goes into the store and what comes out of it.

use std::net::SocketAddr;
use std::sync::Arc;

pub use super::pending::PendingPut;
use crate::common::record::RecordFields;
use crate::common::shared_bytes::SharedBytes;

/// A message to be stored (Java's MessageExtBrokerInner): final, after delay and half-message
/// rewriting, which are the broker's.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// Everything of the record but offsets and store time.
    pub record: RecordFields<'a>,
    /// Wait for flush and replication where the mode asks for it (property `WAIT`).
    pub wait_store: bool,
}

/// A batch to be stored: consecutive queue offsets, contiguous in one commit-log file.
#[derive(Clone, Debug)]
pub struct NewBatch<'a> {
    /// What all share; `body` is the encoded batch (`common::record::read_batch`), `properties` are
    /// appended to each entry's own.
    pub record: RecordFields<'a>,
    /// Wait for flush and replication where the mode asks for it.
    pub wait_store: bool,
}

/// Java's PutMessageStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutStatus {
    /// Stored, and flushed and replicated if demanded.
    PutOk,
    /// Stored; the synchronous flush was late.
    FlushDiskTimeout,
    /// Stored; the slave's acknowledgement was late.
    FlushSlaveTimeout,
    /// Stored; no slave close enough.
    SlaveNotAvailable,
    /// Not stored: not running, a slave, disk full, or a failed flush.
    ServiceNotAvailable,
    /// Not stored: no next file.
    CreateMappedFileFailed,
    /// Not stored: topic, body or properties over a limit; batch with delay or transaction bits.
    MessageIllegal,
    /// Not stored: properties over 32767 bytes.
    PropertiesSizeExceeded,
    /// Not stored: the append lock has been held for over a second.
    OsPageCacheBusy,
    /// Not stored, or not known.
    UnknownError,
}

impl PutStatus {
    /// Java's name, the remark of a send-back that was not stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::PutOk => "PUT_OK",
            Self::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            Self::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            Self::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
            Self::ServiceNotAvailable => "SERVICE_NOT_AVAILABLE",
            Self::CreateMappedFileFailed => "CREATE_MAPEDFILE_FAILED",
            Self::MessageIllegal => "MESSAGE_ILLEGAL",
            Self::PropertiesSizeExceeded => "PROPERTIES_SIZE_EXCEEDED",
            Self::OsPageCacheBusy => "OS_PAGECACHE_BUSY",
            Self::UnknownError => "UNKNOWN_ERROR",
        }
    }
}

/// What became of a put.
#[derive(Clone, Debug)]
pub struct PutResult {
    /// Status.
    pub status: PutStatus,
    /// Queue offset of the (first) message.
    pub queue_offset: i64,
    /// Commit-log offset of the (first) message.
    pub commit_log_offset: i64,
    /// Commit-log offsets of all messages of a batch; empty for a single message.
    pub batch_offsets: Vec<i64>,
    /// Bytes written.
    pub wrote_bytes: u32,
    /// Number of messages.
    pub messages: u32,
    /// Store time, ms.
    pub store_timestamp: i64,
    /// Why it failed, in words for a person; empty when stored.
    pub reason: String,
}

/// A put is either done or waits for flush or replication.
pub enum PutOutcome {
    /// The result.
    Done(PutResult),
    /// The result comes later.
    Pending(PendingPut),
}

impl PutOutcome {
    /// Waits if need be.
    pub fn wait(self) -> PutResult {
        match self {
            Self::Done(result) => result,
            Self::Pending(pending) => pending.wait(),
        }
    }
}

/// Java's GetMessageStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetMessageStatus {
    /// Messages.
    Found,
    /// There are messages; none matched.
    NoMatchedMessage,
    /// The messages are being deleted.
    MessageWasRemoving,
    /// The unit could not be read.
    OffsetFoundNull,
    /// Far beyond the end.
    OffsetOverflowBadly,
    /// Exactly at the end.
    OffsetOverflowOne,
    /// Before the start.
    OffsetTooSmall,
    /// No such queue.
    NoMatchedLogicQueue,
    /// The queue is empty.
    NoMessageInQueue,
}

impl GetMessageStatus {
    /// Java's name, the remark of a pull response.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        }
    }
}

/// What a pull gets.
pub struct GetMessageResult {
    /// Status.
    pub status: GetMessageStatus,
    /// Where to go on.
    pub next_begin_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// One past the last offset of the queue.
    pub max_offset: i64,
    /// Number of messages.
    pub count: u32,
    /// Their bytes in total.
    pub bytes: usize,
    /// The records, as they lie in the commit log; `None` without messages.
    pub records: Option<Arc<dyn SharedBytes>>,
    /// Store time of the last record, ms; 0 without messages.
    pub last_store_timestamp: i64,
    /// How far the last record that was looked at is behind the log's end, bytes; `None` if the offset
    /// was out of range.
    pub behind_bytes: Option<i64>,
    /// The reader lags by more than memory holds.
    pub suggest_pulling_from_slave: bool,
}

/// Decides which messages a pull gets.
pub trait MessageFilter: Send + Sync {
    /// By the consume-queue unit alone. `None`: the tags code is not known.
    fn matches_queue(&self, tags_code: Option<i64>, ext: Option<&ExtUnit>) -> bool;

    /// By the record. Only asked if [`needs_record`](Self::needs_record).
    fn matches_record(&self, _record: &[u8]) -> bool {
        true
    }

    /// Whether records are looked at.
    fn needs_record(&self) -> bool {
        false
    }
}

/// A unit of the consume-queue extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtUnit {
    /// Tags code.
    pub tags_code: i64,
    /// Store time, ms.
    pub store_timestamp: i64,
    /// Bloom bits of the groups whose expression matched.
    pub bit_map: Vec<u8>,
}

/// Answer to a query by key.
#[derive(Default)]
pub struct QueryResult {
    /// Records, oldest first.
    pub records: Option<Arc<dyn SharedBytes>>,
    /// Number of records.
    pub count: u32,
    /// Newest index file's end time, ms.
    pub index_last_update_timestamp: i64,
    /// Newest index file's end offset.
    pub index_last_update_phy_offset: i64,
}

/// Addresses of a message's hosts that are not known yet.
pub const UNKNOWN_HOST: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
