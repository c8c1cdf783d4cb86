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
//! | `AllocMappedFile` | next commit-log file; ahead of the writer, ready pages or (SYNC_FLUSH) written zeros | [`allocate`], `write_ahead` |
//! | `ReadyAhead` | the same far ahead while nothing is appended | `pauses` |
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
//! # What is on the disk when power fails
//!
//! Until it is flushed, any page of a file may be there or not, and so may a new name. The order in
//! which things are flushed, and what is told only after it:
//!
//! 1. A commit-log file: its length and blocks, then its name and those of new folders above it, before
//!    the first append ([`allocate`]). So a flush of its bytes is all that a put has to wait for. Where one
//!    waits, zeros are on the disk before them (`write_ahead`); they promise nothing, and a log that ends in
//!    them looks like one that ends in a hole.
//! 2. The `abort` file, before the first append: a power cut never looks like an orderly stop.
//! 3. The log's bytes; then the flushed offset moves, the puts that wait are acknowledged, and (in
//!    SYNC_FLUSH) consumers and slaves see the messages.
//! 4. Consume queues, then the names of their new files, then the extension files; then the checkpoint
//!    vouches for units up to the store time of the last message that was dispatched before this flush
//!    began. Units may be on the disk before their records: recovery cuts them off where the log ends.
//! 5. Full index files, oldest first, and their names; then the checkpoint vouches for them.
//! 6. At an orderly stop: the log, the queues, the checkpoint, the index; only then `abort` is removed. Nobody
//!    waits for that to be durable: if it comes back, the next start recovers more than it has to.
//! 7. Deleted files: the folder after each one, so that none comes back behind a gap.
//!
//! What follows from it after a crash: records before the last commit-log file that begins before the
//! checkpoint's times (less three seconds, for a clock that is set back a little; a larger step back has the
//! checkpoint written anew) are there with their units, and recovery reads, and dispatches again, what comes
//! after. What it cuts off is made zero and forced to the disk before anything is appended, or it
//! could come back behind later records. What the process that died had written and not flushed counts as
//! not flushed. A record of which only pages with topic or properties are lost is found by their zeros
//! (`torn`): no checksum covers them.
//!
//! What cannot be dispatched, because a disk is full, waits in the log, also over a start: the store serves
//! what there is, and puts go on with the numbers behind those that wait (`numbering`).
//!
//! A flush that fails has lost its pages, although they are still in memory and the kernel takes them for
//! written. The commit log is then closed, and `abort` tells the next start from where on to write it
//! again; a queue's pages are written again before its next flush; the index is not vouched for any more.
//!
//! `tests/store/disk.rs` is a model of a disk that keeps exactly that much.
//!
//! Reading order: [`mapped_file`] (the only raw memory; blocks and zeros ahead of the appends are in
//! `write_ahead` and `pauses`), [`mapped_file_queue`], [`folder`] (names made durable), [`commit_log`],
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
pub mod folder;
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
mod numbering;
mod pauses;
pub mod pending;
mod put;
pub mod queue_table;
pub mod read;
pub mod recovery;
pub mod running_flags;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod timer;
mod torn;
pub mod truncate;
pub mod unit_file;
mod write_ahead;

pub use config::{FlushDiskType, StoreConfig};
pub use message::{
    GetMessageResult, GetMessageStatus, MessageFilter, NewBatch, NewMessage, PutOutcome, PutResult,
    PutStatus, QueryResult,
};
pub use message_store::{Arrival, ArrivalListener, MessageStore, QueueUnit, StoreError};
