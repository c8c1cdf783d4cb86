//! The message store: one log of all messages, and what is built from it to find them again.
//! Knows no remoting frame.
//!
//! A put encodes its record outside any lock, takes the append lock to be given its queue offset,
//! commit-log offset and store time, and copies the record into the mapped log
//! ([`commit_log`]). The dispatch thread reads the log behind it and adds a 20-byte unit to the
//! message's [`consume_queue`] and entries to the [`index`] ([`dispatch`]); then the message is
//! visible. A pull reads units in place and answers with slices of the mapped log ([`read`]).
//!
//! The log is the truth: consume queues and index can be built from it again. So only the log is
//! flushed with care ([`flush`]), and after a crash the log's end is found first ([`recovery`]).
//!
//! | thread | duty | file |
//! |---|---|---|
//! | `AllocMappedFile` | next commit-log file and ready pages ahead of the writer | [`allocate`] |
//! | `ReputMessage` | dispatch | [`dispatch`] |
//! | `FlushRealTime` | flush by the clock (ASYNC_FLUSH) | [`flush`] |
//! | `CommitRealTime` | write buffers to the files (transient store pool) | [`flush`] |
//! | `GroupCommit` | flush for all that wait (SYNC_FLUSH) | [`flush`] |
//! | `FlushDiskWatch` | deadlines of those that wait | [`flush`] |
//! | `FlushConsumeQ` | flush of consume queues and checkpoint | [`flush_queues`] |
//! | `CleanStore` | deletes old files, watches the disk | [`clean`] |
//! | `StoreStats` | one sample a second | [`stats`] |
//! | `TimerMessage`, `TimerFlush` | timed messages, on masters | [`timer`] |
//! | `AcceptSocket`, `ReadSocket`, `WriteSocket`, `GroupTransfer`, `HAClient` | replication | [`ha`] |
//!
//! Invariants:
//!
//! * the order of queue offsets, commit-log offsets and store times is one order;
//! * a message is acknowledged as stored durably only after a flush that reported success; after
//!   a failed one nothing is acknowledged any more;
//! * in SYNC_FLUSH mode nothing is visible before it is on the disk;
//! * what is read from the disk is checked for its length before it is used; damage never
//!   panics.
//!
//! Reading order: [`mapped_file`] (the only raw memory), [`mapped_file_queue`], [`commit_log`],
//! [`consume_queue`], [`dispatch`], [`read`], [`flush`], [`checkpoint`], [`recovery`], [`clean`],
//! [`message_store`], the front, and [`ha`], the copies of the log on other machines.

pub mod allocate;
pub mod checkpoint;
pub mod clean;
pub mod commit_log;
pub mod config;
pub mod consume_queue;
pub mod consume_queue_ext;
pub mod delay_levels;
pub mod disk;
pub mod dispatch;
pub mod fault;
pub mod flush;
pub mod flush_queues;
pub mod ha;
pub mod index;
pub mod inspect;
pub mod lock_watch;
mod lookup;
#[allow(unsafe_code)]
pub mod mapped_file;
pub mod mapped_file_queue;
pub mod message;
pub mod message_store;
pub mod pending;
mod put;
pub mod queue_table;
pub mod read;
pub mod recovery;
pub mod running_flags;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod timer;
pub mod truncate;
pub mod unit_file;

pub use config::{FlushDiskType, StoreConfig};
pub use message::{
    GetMessageResult, GetMessageStatus, MessageFilter, NewBatch, NewMessage, PutOutcome, PutResult,
    PutStatus, QueryResult,
};
pub use message_store::{Arrival, ArrivalListener, MessageStore, QueueUnit, StoreError};
