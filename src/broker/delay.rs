//! Delayed messages (Java's ScheduleMessageService): they lie in `SCHEDULE_TOPIC_XXXX`, one queue a
//! level, and are stored again under their real topic when their time has come. How they get there
//! is told in [`put_message`](super::put_message).
//!
//! Within a level all delays are equal, so a queue's first message is due first: one thread looks
//! at the heads of all levels, delivers what is due, and sleeps until the earliest head is. When a
//! level is empty, the next arrival in its queue wakes it. No queue is polled, and a message is
//! delivered at its millisecond.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};
use std::time::Duration;

use super::Broker;
use super::config_file::ConfigFile;
use super::records::for_each_record;
use super::slave_sync::news::Listener;
use crate::common::clock::now_ms;
use crate::common::json::{Style, ToJson};
use crate::common::properties::{REAL_QUEUE_ID, REAL_TOPIC, find as find_property};
use crate::common::record::{RecordFields, RecordView};
use crate::common::service_thread::Signal;
use crate::common::together::together;
use crate::common::topic::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use crate::json_body;
use crate::store::delay_levels::DelayLevels;
use crate::store::message::{NewMessage, PutStatus};
use crate::store::{Arrival, GetMessageStatus, MessageStore};

/// The group under which deliveries are counted.
const GROUP: &str = "SCHEDULE_CONSUMER";
/// Messages read at a time.
const BATCH: i32 = 32;
/// Batches of one level before the other levels get their turn.
const BATCHES_A_TURN: usize = 32;
/// Pause after a delivery that the store refused.
const RETRY_MS: i64 = 100;
/// Sleeps no longer, though nothing may be due for hours: the clock may be set, and it stands still for
/// who sleeps while the machine does.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause when the store gives nothing out, or a message cannot be stored at all.
const LONG_RETRY_MS: i64 = 10_000;

json_body! {
    /// `delayOffset.json`: the next queue offset of each level.
    pub struct DelayOffsetTable {
        /// Level to offset.
        pub offset_table: BTreeMap<i32, i64> => "offsetTable",
    }
}

/// The state of delayed delivery.
#[derive(Debug)]
pub struct DelayedMessages {
    levels: DelayLevels,
    /// Next offset to deliver, by level − 1.
    offsets: Box<[AtomicI64]>,
    /// The level's queue has been read to its end; an arrival must wake the thread.
    drained: Box<[AtomicBool]>,
    changes: AtomicI64,
    signal: Arc<Signal>,
    /// Who tells slaves.
    pub news: Listener,
    file: ConfigFile,
}

/// When a level is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// At this time, ms.
    At(i64),
    /// When a message arrives in its queue.
    OnArrival,
}

impl DelayedMessages {
    /// All levels at their start, to be persisted under `root`.
    pub fn new(levels: DelayLevels, root: &Path) -> Self {
        let count = usize::try_from(levels.max_level()).unwrap_or(0);
        Self {
            levels,
            offsets: (0..count).map(|_| AtomicI64::new(0)).collect(),
            drained: (0..count).map(|_| AtomicBool::new(false)).collect(),
            changes: AtomicI64::new(0),
            signal: Arc::default(),
            news: Listener::default(),
            file: ConfigFile::new(root, "delayOffset.json"),
        }
    }

    /// The delay table.
    pub fn levels(&self) -> &DelayLevels {
        &self.levels
    }

    /// What wakes and stops the thread that runs [`run`].
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Reads `delayOffset.json` and moves every offset into its queue.
    pub fn load(&self, store: &MessageStore) -> Result<(), String> {
        let loaded = self.file.load::<DelayOffsetTable>()?;
        let loaded = loaded.map(|table| table.offset_table).unwrap_or_default();
        for (level, slot) in (1..).zip(&self.offsets) {
            if let Some(offset) = loaded.get(&level) {
                let queue = level - 1;
                let (min, max) = (
                    store.min_offset(SCHEDULE_TOPIC, queue),
                    store.max_offset(SCHEDULE_TOPIC, queue),
                );
                slot.store((*offset).clamp(min, max.max(min)), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Level and next offset of all levels that ever delivered.
    pub fn offsets(&self) -> BTreeMap<i32, i64> {
        let offsets = self.offsets.iter().map(|offset| offset.load(Ordering::Relaxed));
        (1..).zip(offsets).filter(|(_, offset)| *offset > 0).collect()
    }

    /// The text of `delayOffset.json`.
    pub fn encode(&self) -> String {
        DelayOffsetTable { offset_table: self.offsets() }.to_json().write(Style::Pretty)
    }

    /// Writes `delayOffset.json` if anything was delivered since, but not before that is on the disk where
    /// puts wait for it: a power cut would take it, and what was delivered would be passed over.
    pub fn persist(&self, store: &MessageStore) {
        let (change, text) = (self.changes.load(Ordering::Acquire), self.encode());
        if change > 0 && store.assure() {
            self.file.save_or_warn(change, || (change, text));
        }
    }

    /// A message is visible: wakes the thread if it waits for one in this queue.
    pub fn arrived(&self, arrival: &Arrival<'_>) {
        if arrival.topic != SCHEDULE_TOPIC {
            return;
        }
        fence(Ordering::SeqCst);
        let drained = usize::try_from(arrival.queue_id).ok().and_then(|at| self.drained.get(at));
        if drained.is_some_and(|drained| {
            drained.load(Ordering::SeqCst) && drained.swap(false, Ordering::SeqCst)
        }) {
            self.signal.wakeup();
        }
    }

    fn set_offset(&self, level: i32, offset: i64) {
        if let Some(slot) = self.offsets.get((level - 1) as usize) {
            slot.store(offset, Ordering::Relaxed);
            self.changes.fetch_add(1, Ordering::Release);
            self.news.tell();
        }
    }

    /// Number of changes.
    pub fn changes(&self) -> i64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Takes over how far the master has delivered. A slave delivers nothing itself; it goes on here
    /// when it is started as a master.
    pub fn replace_by(&self, offsets: &BTreeMap<i32, i64>) {
        for (level, offset) in offsets {
            let slot = usize::try_from(level - 1).ok().and_then(|at| self.offsets.get(at));
            if slot.is_some_and(|slot| slot.load(Ordering::Relaxed) != *offset) {
                self.set_offset(*level, *offset);
            }
        }
    }
}

/// The thread `ScheduleMessage`: delivers until stopped.
pub fn run(broker: &Broker, signal: &Signal) {
    let delay = &broker.delay;
    let mut next: Vec<Next> = delay.offsets.iter().map(|_| Next::At(0)).collect();
    loop {
        let now = now_ms();
        for (level, next) in (1..).zip(&mut next) {
            let due = match *next {
                Next::At(time) => time <= now,
                Next::OnArrival => !delay.drained[(level - 1) as usize].load(Ordering::SeqCst),
            };
            if due && !signal.stopped() {
                *next = deliver_due(broker, level, signal);
            }
        }
        let earliest = next.iter().filter_map(|next| match next {
            Next::At(time) => Some(*time),
            Next::OnArrival => None,
        });
        let goes_on = match earliest.min() {
            None => signal.wait_for_wakeup(),
            Some(time) => {
                let wait_ms = u64::try_from(time - now_ms()).unwrap_or(0);
                signal.wait(Duration::from_millis(wait_ms).min(LONGEST_SLEEP))
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// Delivers what is due of one level.
fn deliver_due(broker: &Broker, level: i32, signal: &Signal) -> Next {
    let delay = &broker.delay;
    let queue_id = level - 1;
    let mut offset = delay.offsets[queue_id as usize].load(Ordering::Relaxed);
    for _ in 0..BATCHES_A_TURN {
        let found = broker.store.get(GROUP, SCHEDULE_TOPIC, queue_id, offset, BATCH, None);
        let Some(found) = found else { return Next::At(now_ms() + LONG_RETRY_MS) };
        match found.status {
            GetMessageStatus::Found => {
                let Some(records) = found.records else {
                    return Next::At(now_ms() + LONG_RETRY_MS);
                };
                let mut wait = None;
                let mut deliver = |record: &RecordView<'_>| {
                    if signal.stopped() {
                        wait = Some(Next::At(now_ms()));
                        return ControlFlow::Break(());
                    }
                    match deliver_if_due(broker, level, record) {
                        Ok(()) => {
                            offset = record.queue_offset + 1;
                            delay.set_offset(level, offset);
                            ControlFlow::Continue(())
                        }
                        Err(next) => {
                            wait = Some(next);
                            ControlFlow::Break(())
                        }
                    }
                };
                // One wake-up of the dispatch thread for all of them.
                together(|| for_each_record(&*records, &mut deliver));
                if let Some(next) = wait {
                    return next;
                }
            }
            GetMessageStatus::NoMessageInQueue
            | GetMessageStatus::NoMatchedLogicQueue
            | GetMessageStatus::OffsetOverflowOne => {
                let drained = &delay.drained[queue_id as usize];
                drained.store(true, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if broker.store.max_offset(SCHEDULE_TOPIC, queue_id) <= offset {
                    return Next::OnArrival;
                }
                drained.store(false, Ordering::SeqCst);
            }
            status if found.next_begin_offset == offset => {
                log::warn!("{SCHEDULE_TOPIC}-{queue_id} gives {} at {offset}", status.name());
                return Next::At(now_ms() + LONG_RETRY_MS);
            }
            _ => {
                // Messages that were deleted, or an offset from another store.
                offset = found.next_begin_offset;
                delay.set_offset(level, offset);
            }
        }
    }
    Next::At(now_ms())
}

/// Stores a message under its real topic if its time has come. `Err` tells when to try again.
fn deliver_if_due(broker: &Broker, level: i32, record: &RecordView<'_>) -> Result<(), Next> {
    let now = now_ms();
    let due = broker.delay.levels.due_time(level, record.store_timestamp).unwrap_or(now);
    // A message from the future means that the clock was set back: it is delivered at once.
    if record.store_timestamp <= now && due > now {
        return Err(Next::At(due));
    }
    let real_topic = find_property(record.properties, REAL_TOPIC);
    let real_queue =
        find_property(record.properties, REAL_QUEUE_ID).and_then(|text| text.parse().ok());
    let (Some(topic), Some(queue_id)) = (real_topic, real_queue) else {
        log::error!(
            "the delayed message at {} says no {REAL_TOPIC} and {REAL_QUEUE_ID}; it is left out",
            record.physical_offset
        );
        return Ok(());
    };
    if topic == TRANS_HALF_TOPIC {
        log::error!(
            "the delayed message at {} is a half message, which has no delay; it is left out",
            record.physical_offset
        );
        return Ok(());
    }
    let message = NewMessage {
        record: RecordFields { topic, queue_id, ..record.again() },
        wait_store: false,
    };
    let result = broker.store.put(&message).wait();
    match result.status {
        PutStatus::PutOk => {}
        PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
            log::error!(
                "the delayed message at {} for {topic} cannot be stored: {}; tried again in {} s",
                record.physical_offset,
                result.reason,
                LONG_RETRY_MS / 1000
            );
            return Err(Next::At(now_ms() + LONG_RETRY_MS));
        }
        _ => return Err(Next::At(now_ms() + RETRY_MS)),
    }
    if broker.store.config().enable_schedule_message_stats {
        broker.stats.delayed_read(GROUP, level - 1, 1, record.total_size);
        broker.stats.put(topic, queue_id, result.messages, result.wrote_bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::TestBroker;
    use crate::store::config::FlushDiskType;
    use crate::store::fault::{Operation, inject};
    use crate::store::testing::fields;

    #[test]
    fn what_is_not_on_the_disk_is_not_told_as_delivered() {
        let test = TestBroker::start_with(|configuration| {
            configuration.store.flush_disk_type = FlushDiskType::SyncFlush;
        });
        let broker = &test.running.broker;
        let delivered = |offset| {
            broker.delay.set_offset(1, offset);
            broker.delay.persist(&broker.store);
            test.file("delayOffset.json").contains(&format!("1:{offset}"))
        };
        let put = |wait_store| {
            let record = fields("T", b"x", "");
            let put = broker.store.put(&NewMessage { record, wait_store }).wait();
            assert_eq!(put.status, PutStatus::PutOk, "{}", put.reason);
        };
        put(true);
        assert!(delivered(5));
        let log = broker.store.commit_log().folder().to_owned();
        let _broken = inject(Operation::Flush, &log, libc::EIO);
        put(false);
        assert!(!delivered(6));
    }
}
