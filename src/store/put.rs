//! Putting messages: what is checked, how a record is made, where it is appended, and what its
//! acknowledgement waits for.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::commit_log::{AppendError, AppendTarget, Appended, EncodedRecords};
use super::config::{BrokerRole, StoreConfig};
use super::consume_queue::ConsumeQueue;
use super::dispatch::{MULTI_QUEUE_OFFSET, is_counted, multi_queue_id, multi_queue_names};
use super::message::*;
use super::message_store::{MessageStore, StoreError, is_too_long};
use super::pending::{Part, PutTime};
use crate::common::clock::now_ms;
use crate::common::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use crate::common::record::{RecordFields, read_batch, record_size};
use crate::common::sys_flag;
use crate::common::together::at_end;
use crate::common::topic::TOPIC_MAX_LENGTH;

/// Longest properties text, bytes.
const MAX_PROPERTIES_BYTES: usize = 32_767;
/// What a record may be larger than the largest body.
const RECORD_OVERHEAD_BYTES: usize = 64 * 1024;

thread_local! {
    /// Where this thread encodes records, kept from put to put.
    static ENCODED: RefCell<EncodedRecords> = RefCell::default();
}

/// A thread's buffer that grew beyond this is given back after the put.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

impl MessageStore {
    /// Stores a message. Never waits for flush or replication.
    pub fn put(&self, message: &NewMessage<'_>) -> PutOutcome {
        self.put_with(message, None)
    }

    /// Stores a message and, right behind it and with nothing between them, another one of another
    /// queue: both are stored or none is.
    pub fn put_with(
        &self,
        message: &NewMessage<'_>,
        behind: Option<&RecordFields<'_>>,
    ) -> PutOutcome {
        let started_ms = now_ms();
        let config = self.config.of_thread();
        if let Err(refused) = self.check_put(&message.record, &config, started_ms) {
            return PutOutcome::Done(refused);
        }
        if let Err(refused) = check_sizes(&message.record, config.max_message_size) {
            return PutOutcome::Done(refused);
        }
        let names = if config.enable_multi_dispatch {
            multi_queue_names(message.record.properties)
        } else {
            None
        };
        with_buffer(|records| {
            if names.is_none() {
                records.push(&message.record);
                behind.into_iter().for_each(|behind| records.push(behind));
            }
            let (record, wait) = (&message.record, message.wait_store);
            let put = Put { record, behind, names, wait, started_ms };
            self.append(&put, records, &config)
        })
    }

    /// Stores a batch. A malformed batch is `Err`.
    pub fn put_batch(&self, batch: &NewBatch<'_>) -> Result<PutOutcome, StoreError> {
        let started_ms = now_ms();
        let shared = &batch.record;
        let config = self.config.of_thread();
        if let Err(refused) = self.check_put(shared, &config, started_ms) {
            return Ok(PutOutcome::Done(refused));
        }
        let refuse =
            |status, reason: &str| Ok(PutOutcome::Done(refused(status, reason.to_owned())));
        if shared.sys_flag & sys_flag::TRANSACTION_MASK != 0 {
            return refuse(PutStatus::MessageIllegal, "a batch cannot be a transaction");
        }
        if shared.body.len() > config.max_message_size.max(0) as usize {
            return refuse(PutStatus::MessageIllegal, "the batch is larger than maxMessageSize");
        }
        let entries = read_batch(shared.body)
            .map_err(|error| StoreError(format!("the batch cannot be read: {error}")))?;
        if entries.is_empty() {
            return refuse(PutStatus::MessageIllegal, "the batch is empty");
        }
        let mut properties = String::new();
        with_buffer(|records| {
            for entry in &entries {
                join_properties(&mut properties, &entry.properties, shared.properties);
                let record = RecordFields {
                    flag: entry.flag,
                    body: entry.body,
                    properties: &properties,
                    prepared_transaction_offset: 0,
                    ..shared.clone()
                };
                if let Err(refused) = check_sizes(&record, config.max_message_size) {
                    return Ok(PutOutcome::Done(refused));
                }
                records.push(&record);
            }
            let wait = batch.wait_store;
            let put = Put { record: shared, behind: None, names: None, wait, started_ms };
            Ok(self.append(&put, records, &config))
        })
    }

    /// Whether the store takes messages, and this topic's name is short enough.
    fn check_put(
        &self,
        record: &RecordFields<'_>,
        config: &StoreConfig,
        now_ms: i64,
    ) -> Result<(), PutResult> {
        let unavailable =
            |reason: &str| Err(refused(PutStatus::ServiceNotAvailable, reason.to_owned()));
        if !self.serving.load(Ordering::Acquire) {
            return unavailable("the store is not running");
        }
        if config.is_slave() {
            return unavailable("a slave takes no messages");
        }
        if let Err(reason) = self.flags.check_writable() {
            return unavailable(reason);
        }
        let held_ms = self.log.lock_held_ms(now_ms);
        if is_too_long(held_ms, config) {
            let reason = format!("the append lock has been held for {held_ms} ms");
            return Err(refused(PutStatus::OsPageCacheBusy, reason));
        }
        if record.topic.len() > TOPIC_MAX_LENGTH {
            let reason = format!(
                "the topic has {} characters, the longest allowed is {TOPIC_MAX_LENGTH}",
                record.topic.len()
            );
            return Err(refused(PutStatus::MessageIllegal, reason));
        }
        Ok(())
    }

    fn append(
        &self,
        put: &Put<'_>,
        records: &mut EncodedRecords,
        config: &StoreConfig,
    ) -> PutOutcome {
        let appended = match self.append_to_queue(put, records, config) {
            Ok(appended) => appended,
            Err(refused) => {
                self.stats.count_failed_put();
                return PutOutcome::Done(refused);
            }
        };
        self.stats.count_put(records.ends.len() as u64, records.bytes.len());
        let outcome = self.wait_or_done(put, stored(&appended, records), appended.end, config);
        // Last: nobody's answer waits for it.
        if self.reput.sees_unflushed(config) {
            self.reput.signal().wakeup_at_end();
        }
        outcome
    }

    /// Appends, looking the queues up again if one is removed meanwhile.
    fn append_to_queue(
        &self,
        put: &Put<'_>,
        records: &mut EncodedRecords,
        config: &StoreConfig,
    ) -> Result<Appended, PutResult> {
        let illegal = |error: StoreError| refused(PutStatus::MessageIllegal, error.0);
        let find = |topic: &str, queue_id: i32| {
            self.queues.find_or_create(topic, queue_id).map_err(illegal)
        };
        let record = put.record;
        loop {
            let queue = self.queues.of_thread(record.topic, record.queue_id).map_err(illegal)?;
            let mut also = Vec::new();
            if let Some(names) = put.names {
                for name in names.split(',') {
                    also.push(find(name, multi_queue_id(config, name, record.queue_id))?);
                }
            }
            let last = put.behind.map(|behind| find(behind.topic, behind.queue_id)).transpose()?;
            if let Some(last) = &last
                && also.iter().chain([&*queue]).any(|queue| Arc::ptr_eq(queue, last))
            {
                let reason = format!("a message of topic {} cannot go there", last.topic());
                return Err(refused(PutStatus::MessageIllegal, reason));
            }
            let late = |records: &mut EncodedRecords| {
                encode_with_offsets(record, &also, records)?;
                put.behind.into_iter().for_each(|behind| records.push(behind));
                Ok(())
            };
            let target = AppendTarget {
                queue: &queue,
                counted: is_counted(record.sys_flag),
                also: &also,
                last: last.as_deref(),
                encode: put.names.is_some().then_some(&late),
            };
            let (status, reason) = match self.log.append(records, &target) {
                Ok(appended) => return Ok(appended),
                Err(AppendError::QueueRemoved) => continue,
                Err(AppendError::Closed) => {
                    (PutStatus::ServiceNotAvailable, "the store is shutting down".to_owned())
                }
                Err(AppendError::TooLarge) => (
                    PutStatus::MessageIllegal,
                    format!("{} bytes do not fit into one commit-log file", records.bytes.len()),
                ),
                Err(AppendError::NoFile(reason)) => (PutStatus::CreateMappedFileFailed, reason),
                Err(AppendError::Failed(reason)) => (PutStatus::UnknownError, reason),
            };
            return Err(refused(status, reason));
        }
    }

    /// Arranges what the acknowledgement waits for.
    fn wait_or_done(
        &self,
        put: &Put<'_>,
        result: PutResult,
        end: i64,
        config: &StoreConfig,
    ) -> PutOutcome {
        let flush = self.flush.is_sync() && put.wait;
        let replica = config.broker_role == BrokerRole::SyncMaster && put.wait;
        let replicator = self.replicator.get();
        if !flush {
            self.flush.appended(config);
        }
        // In SYNC_FLUSH mode only what was flushed is replicated: the flush tells.
        if let Some(replicator) = replicator
            && (!self.flush.is_sync() || config.dispatch_unflushed)
            && replicator.is_followed()
        {
            // After the answers to what came with it: one frame takes all of it.
            let replicator = Arc::clone(replicator);
            at_end(move || replicator.appended());
        }
        if !flush && !replica {
            self.stats.count_put_time(put.started_ms);
            return PutOutcome::Done(result);
        }
        let parts: &[Part] = match (flush, replica) {
            (true, true) => &[Part::Flush, Part::Replica],
            (true, false) => &[Part::Flush],
            _ => &[Part::Replica],
        };
        let time = PutTime { stats: Arc::clone(&self.stats), started_ms: put.started_ms };
        let (pending, tickets) = PendingPut::new(result, parts, time);
        for ticket in tickets {
            match (ticket.part(), replicator) {
                (Part::Flush, _) => self.flush.wait_for(end, ticket, config),
                (Part::Replica, Some(replicator)) => replicator.wait_for(end, ticket),
                (Part::Replica, None) => {
                    ticket.complete(PutStatus::SlaveNotAvailable, "there is no replication");
                }
            }
        }
        PutOutcome::Pending(pending)
    }
}

/// One put on its way.
struct Put<'a> {
    /// The record, or what the records of a batch share.
    record: &'a RecordFields<'a>,
    /// What is stored right behind it.
    behind: Option<&'a RecordFields<'a>>,
    /// Further queues that get the message, separated by commas.
    names: Option<&'a str>,
    /// Wait for flush and replication where the mode asks for it.
    wait: bool,
    started_ms: i64,
}

/// Encodes a message that goes into several queues: its offsets in the further ones, known only
/// under the append lock, are one of its properties.
fn encode_with_offsets(
    record: &RecordFields<'_>,
    also: &[Arc<ConsumeQueue>],
    records: &mut EncodedRecords,
) -> Result<(), String> {
    let offsets: Vec<String> = also.iter().map(|queue| queue.next_offset().to_string()).collect();
    let offsets = format!("{MULTI_QUEUE_OFFSET}{NAME_VALUE_SEPARATOR}{}", offsets.join(","));
    let mut text = String::new();
    join_properties(&mut text, record.properties, &offsets);
    if text.len() > MAX_PROPERTIES_BYTES {
        return Err(format!("with its queue offsets the properties have {} bytes", text.len()));
    }
    records.push(&RecordFields { properties: &text, ..record.clone() });
    Ok(())
}

/// Runs `body` with this thread's empty buffer.
fn with_buffer<R>(body: impl FnOnce(&mut EncodedRecords) -> R) -> R {
    ENCODED.with_borrow_mut(|records| {
        records.clear();
        let result = body(records);
        if records.bytes.capacity() > KEPT_BUFFER_BYTES {
            *records = EncodedRecords::default();
        }
        result
    })
}

/// The result of a put that stored nothing.
fn refused(status: PutStatus, reason: String) -> PutResult {
    PutResult {
        status,
        queue_offset: 0,
        commit_log_offset: 0,
        batch_offsets: Vec::new(),
        wrote_bytes: 0,
        messages: 0,
        store_timestamp: 0,
        reason,
    }
}

/// The result of a put that stored something.
fn stored(appended: &Appended, records: &EncodedRecords) -> PutResult {
    let mut batch_offsets = Vec::new();
    if records.ends.len() > 1 {
        let starts = std::iter::once(0).chain(records.ends.iter().copied());
        let starts = starts.take(records.ends.len());
        batch_offsets.extend(starts.map(|start| appended.offset + start as i64));
    }
    PutResult {
        status: PutStatus::PutOk,
        queue_offset: appended.queue_offset,
        commit_log_offset: appended.offset,
        batch_offsets,
        wrote_bytes: records.bytes.len() as u32,
        messages: records.ends.len() as u32,
        store_timestamp: appended.store_timestamp,
        reason: String::new(),
    }
}

/// Limits of one message.
fn check_sizes(record: &RecordFields<'_>, max_message_size: i32) -> Result<(), PutResult> {
    let max = max_message_size.max(0) as usize;
    let properties = record.properties.len();
    if properties > MAX_PROPERTIES_BYTES {
        let reason =
            format!("the properties have {properties} bytes, the most is {MAX_PROPERTIES_BYTES}");
        return Err(refused(PutStatus::PropertiesSizeExceeded, reason));
    }
    let size = record_size(record);
    if record.body.len() > max || size > max + RECORD_OVERHEAD_BYTES {
        let reason = format!(
            "the body has {} bytes, the record {size}; maxMessageSize is {max}",
            record.body.len()
        );
        return Err(refused(PutStatus::MessageIllegal, reason));
    }
    Ok(())
}

/// Two property texts one after another.
fn join_properties(joined: &mut String, own: &str, more: &str) {
    joined.clear();
    joined.push_str(own);
    if !own.is_empty() && !more.is_empty() && !own.ends_with(PROPERTY_SEPARATOR) {
        joined.push(PROPERTY_SEPARATOR);
    }
    joined.push_str(more);
}
