//! The message store: mapped files, the commit log, consume queues, index, flush, recovery.
//! Knows no remoting frame.

pub mod config;
pub mod delay_levels;
pub mod message;
pub mod message_store;

pub use config::{FlushDiskType, StoreConfig};
pub use message::{
    GetMessageResult, GetMessageStatus, MessageFilter, NewBatch, NewMessage, PutOutcome, PutResult,
    PutStatus, QueryResult,
};
pub use message_store::{Arrival, ArrivalListener, MessageStore, QueueUnit, StoreError};
