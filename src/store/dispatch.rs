//! From the commit log to the queues: [`Dispatcher`], what one record leads to, and
//! [`ReputMessageService`], the thread that takes every new record there.
//!
//! Recovery uses the dispatcher too, for the records whose units may have been lost.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::checkpoint::StoreCheckpoint;
use super::commit_log::{CommitLog, LogEntry, read_entry};
use super::config::StoreConfig;
use super::consume_queue::{ConsumeQueue, Unit};
use super::delay_levels::DelayLevels;
use super::index::IndexService;
use super::message::ExtUnit;
use super::message_store::{Arrival, ArrivalListener};
use super::queue_table::QueueTable;
use super::recovery::find_record;
use super::running_flags::{Flag, RunningFlags};
use super::stats::StoreStats;
use crate::common::checksum::tags_code;
use crate::common::config::Live;
use crate::common::properties;
use crate::common::record::{RecordError, RecordView, read_record};
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::common::sys_flag;
use crate::common::topic::{LMQ_PREFIX, SCHEDULE_TOPIC};

/// Records that become visible before who waits for them is told: a batch arrives together, and a
/// long backlog does not keep anybody waiting for its end.
const TOLD_TOGETHER: usize = 256;
/// Messages that come closer together than this are a stream: the thread lets them gather instead of
/// being woken for each, because a wake-up costs its sender more than the append.
const STREAM_INTERVAL: Duration = Duration::from_micros(50);
/// How long it lets them gather.
const GATHER_PAUSE: Duration = Duration::from_micros(100);
/// Pause before a unit that could not be written is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Tries after which the store takes no more messages until the unit can be written.
const TRIES_BEFORE_REFUSING: u32 = 30;
/// Largest offset that a message can have in its queue. A damaged record may claim any: no CRC covers
/// this field.
pub(super) const MAX_QUEUE_OFFSET: i64 = i64::MAX / (2 * Unit::BYTES as i64);
/// How long stopping waits for dispatch to catch up and end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Queues of a message that goes into several, separated by commas.
pub const MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Its offsets in them.
pub const MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";

/// Computes the filter bits of a message (the broker's, with `enableCalcFilterBitMap`).
pub trait FilterBits: Send + Sync {
    /// The bit map for the extension unit; `None` without one.
    fn bit_map(&self, record: &RecordView<'_>) -> Option<Vec<u8>>;
}

/// Turns records into consume-queue units and index entries.
pub struct Dispatcher {
    queues: Arc<QueueTable>,
    index: Arc<IndexService>,
    checkpoint: Arc<StoreCheckpoint>,
    delay_levels: DelayLevels,
    filter_bits: OnceLock<Arc<dyn FilterBits>>,
}

/// Tags code of the unit of a record with those tags: their hash, in the schedule topic its due time.
fn unit_tags_code(record: &RecordView<'_>, tags: Option<&str>, levels: &DelayLevels) -> i64 {
    if record.topic == SCHEDULE_TOPIC
        && let Some(level) = properties::find(record.properties, properties::DELAY)
        && let Ok(level) = level.parse()
        && let Some(due) = levels.due_time(level, record.store_timestamp)
    {
        return due;
    }
    tags_code(tags)
}

/// The further queues that a message names, separated by commas; blanks alone are none.
pub fn multi_queue_names(properties: &str) -> Option<&str> {
    properties::find(properties, MULTI_DISPATCH).filter(|names| !names.trim().is_empty())
}

/// Queue id of a message in the further queue `name`: light message queues have only queue 0.
pub fn multi_queue_id(config: &StoreConfig, name: &str, queue_id: i32) -> i32 {
    if config.enable_lmq && name.starts_with(LMQ_PREFIX) { 0 } else { queue_id }
}

impl Dispatcher {
    /// A dispatcher into those tables.
    pub fn new(
        queues: Arc<QueueTable>,
        index: Arc<IndexService>,
        checkpoint: Arc<StoreCheckpoint>,
        delay_levels: DelayLevels,
    ) -> Self {
        let filter_bits = OnceLock::new();
        Self { queues, index, checkpoint, delay_levels, filter_bits }
    }

    /// Sets who computes filter bits; once.
    pub fn set_filter_bits(&self, filter_bits: Arc<dyn FilterBits>) {
        let _ = self.filter_bits.set(filter_bits);
    }

    /// The delay of each level.
    pub fn delay_levels(&self) -> &DelayLevels {
        &self.delay_levels
    }

    /// Gives the record its unit and its index entries; returns the unit's tags code, `None` for a
    /// record that has no unit (half messages and rollbacks). Harmless when done before.
    ///
    /// # Errors
    /// The disk's; nothing is then left half done that doing it again would not complete.
    pub fn dispatch(
        &self,
        record: &RecordView<'_>,
        config: &StoreConfig,
    ) -> io::Result<Option<i64>> {
        let visible = is_counted(record.sys_flag);
        let (mut tags, mut unique, mut words) = (None, None, None);
        for segment in properties::segments(record.properties) {
            match segment.pair {
                Some((properties::TAGS, value)) => tags = Some(value),
                Some((properties::UNIQUE_KEY, value)) => unique = Some(value),
                Some((properties::KEYS, value)) => words = Some(value),
                _ => {}
            }
        }
        let code = if visible { self.add_unit(record, tags, config)? } else { None };
        let rolls_back =
            record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK;
        if !rolls_back && config.message_index_enable {
            self.index.add(record, unique, words)?;
        }
        Ok(code)
    }

    /// Makes a record number `number` of a queue, by the unit that `unit_in` makes for it. Returns whether
    /// the record belongs there.
    ///
    /// A queue may have been removed and begun again, with numbers from 0. What the log has of the removed
    /// one does not belong into the new one, and neither keeps the other's units. On a slave that shows in a
    /// later record with an earlier number; a master that recovers its own log waits for number 0, and
    /// gives up no queue because of a number that was given twice.
    fn add_to(
        &self,
        record: &RecordView<'_>,
        config: &StoreConfig,
        (topic, queue_id, number): (&str, i32, i64),
        unit_in: impl Fn(&ConsumeQueue) -> io::Result<Unit>,
    ) -> io::Result<bool> {
        let end = record.physical_offset + i64::from(record.total_size);
        loop {
            let queue = match self.queues.of_thread(topic, queue_id) {
                Ok(queue) => queue,
                Err(error) => {
                    log::error!("the message at {} has no queue: {error}", record.physical_offset);
                    return Ok(false);
                }
            };
            if record.physical_offset < queue.first_record() {
                return Ok(false);
            }
            let is_new = end > queue.max_physical();
            let may_begin_anew = config.is_slave() || (number == 0 && !self.queues.takes_puts());
            if is_new && number < queue.max_offset() && may_begin_anew {
                log::info!("queue {queue_id} of topic {topic} begins again with message {number}");
                let is_it = |other: &ConsumeQueue| std::ptr::eq(other, &**queue);
                self.queues.remove(is_it, 1);
            } else if !is_new || queue.append(unit_in(&queue)?, number)? {
                return Ok(true);
            }
        }
    }

    fn add_unit(
        &self,
        record: &RecordView<'_>,
        tags: Option<&str>,
        config: &StoreConfig,
    ) -> io::Result<Option<i64>> {
        if !(0..=MAX_QUEUE_OFFSET).contains(&record.queue_offset) {
            log::error!(
                "the message at {} says that it is number {} of its queue; it gets no place there",
                record.physical_offset,
                record.queue_offset
            );
            return Ok(None);
        }
        let code = unit_tags_code(record, tags, &self.delay_levels);
        let (offset, size) = (record.physical_offset, record.total_size as i32);
        let unit = Unit { offset, size, tags_code: code };
        let place = (record.topic, record.queue_id, record.queue_offset);
        let belongs = self.add_to(record, config, place, |queue| {
            let Some(ext) = queue.ext() else { return Ok(unit) };
            let bit_map = self.filter_bits.get().and_then(|bits| bits.bit_map(record));
            let ext_unit = ExtUnit {
                tags_code: code,
                store_timestamp: record.store_timestamp,
                bit_map: bit_map.unwrap_or_default(),
            };
            Ok(Unit { tags_code: ext.append(&ext_unit)?.unwrap_or(code), ..unit })
        })?;
        for_each_multi_queue(record, config, |topic, queue_id, offset| {
            self.add_to(record, config, (topic, queue_id, offset), |_| Ok(unit)).map(drop)
        })?;
        // Last: what is dispatched has all of its units.
        self.checkpoint.dispatched.store(record.store_timestamp, Ordering::Release);
        Ok(belongs.then_some(code))
    }
}

/// Whether a record takes an offset in its queue: half messages and rollbacks do not.
pub fn is_counted(flags: i32) -> bool {
    matches!(
        flags & sys_flag::TRANSACTION_MASK,
        sys_flag::TRANSACTION_NOT | sys_flag::TRANSACTION_COMMIT
    )
}

/// Visits the further queues of a message that goes into several: topic, queue id, offset.
pub(super) fn for_each_multi_queue(
    record: &RecordView<'_>,
    config: &StoreConfig,
    mut visit: impl FnMut(&str, i32, i64) -> io::Result<()>,
) -> io::Result<()> {
    if !config.enable_multi_dispatch {
        return Ok(());
    }
    let Some(names) = multi_queue_names(record.properties) else {
        return Ok(());
    };
    let offsets = properties::find(record.properties, MULTI_QUEUE_OFFSET).unwrap_or_default();
    if names.split(',').count() != offsets.split(',').count() {
        log::error!(
            "message at {}: {names:?} and {offsets:?} do not belong together; it goes into none \
             of these queues",
            record.physical_offset
        );
        return Ok(());
    }
    for (name, offset) in names.split(',').zip(offsets.split(',')) {
        if let Ok(offset) = offset.parse()
            && (0..=MAX_QUEUE_OFFSET).contains(&offset)
        {
            visit(name, multi_queue_id(config, name, record.queue_id), offset)?;
        }
    }
    Ok(())
}

/// What a round of dispatching came to.
enum Round {
    /// So many records were dispatched.
    Moved(u32),
    /// There is nothing to dispatch.
    Idle,
    /// The record cannot be dispatched at the moment.
    Stuck,
}

/// What stands at a place of the log.
enum Place<'a> {
    Record(RecordView<'a>),
    /// Nothing that is dispatched; it goes on there.
    Next(i64),
    /// What has not come yet.
    End,
}

/// The dispatch thread's shared half.
///
/// It waits on a signal that every append gives, not on a clock: a message is visible as soon as
/// it is dispatched. In SYNC_FLUSH mode it goes up to what is on the disk, so that nobody consumes
/// a message that a power cut takes back (`dispatchUnflushed` switches that off).
pub struct ReputMessageService {
    config: Arc<Live<StoreConfig>>,
    log: Arc<CommitLog>,
    dispatcher: Arc<Dispatcher>,
    listener: Arc<dyn ArrivalListener>,
    flags: Arc<RunningFlags>,
    stats: Arc<StoreStats>,
    sync: bool,
    position: AtomicI64,
    signal: Arc<Signal>,
    thread: Mutex<Option<ServiceThread>>,
}

impl ReputMessageService {
    /// A service without a thread yet.
    pub fn new(
        config: Arc<Live<StoreConfig>>,
        log: Arc<CommitLog>,
        dispatcher: Arc<Dispatcher>,
        listener: Arc<dyn ArrivalListener>,
        flags: Arc<RunningFlags>,
        stats: Arc<StoreStats>,
    ) -> Self {
        let sync = config.get().is_sync_flush();
        Self {
            config,
            log,
            dispatcher,
            listener,
            flags,
            stats,
            sync,
            position: AtomicI64::new(0),
            signal: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Where dispatch goes on.
    pub fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    /// Sets where dispatch goes on; before the start, or when the log was cut.
    pub fn set_position(&self, offset: i64) {
        self.position.store(offset, Ordering::Release);
    }

    /// Bytes not dispatched yet.
    pub fn behind_bytes(&self) -> i64 {
        (self.log.max_offset() - self.position()).max(0)
    }

    /// Dispatches on the caller's thread until there is nothing left, or a record that cannot be
    /// dispatched at the moment; `told` is called now and then. Only before the thread is started.
    pub fn catch_up(&self, mut told: impl FnMut()) {
        while let Round::Moved(_) = self.round() {
            told();
        }
    }

    /// What wakes it.
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let service = Arc::clone(self);
        let thread =
            ServiceThread::spawn("ReputMessage", Arc::clone(&self.signal), move |signal| {
                service.run(signal);
            })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Stops the thread after it has dispatched what there is. Returns whether it caught up.
    pub fn stop(&self) -> bool {
        if let Some(thread) = lock(&self.thread).take() {
            thread.stop(STOP_LIMIT);
        }
        self.position() >= self.limit(&self.config.get())
    }

    /// End of what may be dispatched, and sent to slaves.
    pub(super) fn limit(&self, config: &StoreConfig) -> i64 {
        let end = self.log.max_offset();
        if self.sees_unflushed(config) { end } else { end.min(self.log.flushed_offset()) }
    }

    /// Whether there is something to dispatch after an append, and not only after a flush.
    pub(super) fn sees_unflushed(&self, config: &StoreConfig) -> bool {
        !self.sync || config.dispatch_unflushed
    }

    fn run(&self, signal: &Signal) {
        let mut failures = 0;
        // When it last had nothing to do, and the records dispatched since.
        let (mut idle_at, mut records) = (Instant::now(), 0);
        loop {
            let round = self.round();
            // Also when nothing is left: what held dispatch may have been deleted.
            if !matches!(round, Round::Stuck) && self.flags.has(Flag::WriteLogicsQueueError) {
                self.flags.set(Flag::WriteLogicsQueueError, false);
            }
            match round {
                Round::Moved(count) => {
                    failures = 0;
                    records = count.saturating_add(records);
                }
                Round::Idle if signal.stopped() => return,
                Round::Idle => {
                    let before = std::mem::replace(&mut idle_at, Instant::now());
                    if STREAM_INTERVAL * std::mem::take(&mut records) <= idle_at - before {
                        signal.wait_for_wakeup();
                    } else {
                        std::thread::sleep(GATHER_PAUSE);
                    }
                }
                Round::Stuck => {
                    failures += 1;
                    if failures == TRIES_BEFORE_REFUSING {
                        self.flags.set(Flag::WriteLogicsQueueError, true);
                    }
                    if signal.stopped() || !signal.wait(RETRY_PAUSE) {
                        return;
                    }
                }
            }
        }
    }

    /// Where dispatch goes on: files may have been deleted meanwhile.
    fn begin_of_round(&self) -> i64 {
        let (position, min) = (self.position(), self.log.min_offset());
        if position < min {
            log::warn!("dispatch stood at {position}, before the commit log's begin {min}");
            self.set_position(min);
        }
        position.max(min)
    }

    /// Dispatches what is visible of one file.
    fn round(&self) -> Round {
        let config = self.config.get();
        if config.duplication_enable {
            return Round::Idle;
        }
        let mut position = self.begin_of_round();
        let limit = self.limit(&config);
        let Some(visible) = (position < limit).then(|| self.log.slice_from(position)).flatten()
        else {
            return Round::Idle;
        };
        let bytes = &visible[..visible.len().min((limit - position) as usize)];
        let start = position;
        let (mut records, mut end) = (0, None);
        let mut arrivals = Vec::new();
        loop {
            let rest = &bytes[((position - start) as usize).min(bytes.len())..];
            if rest.is_empty() {
                break;
            }
            match self.place(&config, rest, position) {
                Place::Record(record) => match self.dispatch(&record, &config) {
                    Ok(tags_code) => {
                        position += i64::from(record.total_size);
                        records += 1;
                        if let Some(tags_code) = tags_code {
                            arrivals.push(Arrival {
                                topic: record.topic,
                                queue_id: record.queue_id,
                                next_offset: record.queue_offset + 1,
                                tags_code,
                                store_timestamp: record.store_timestamp,
                                record: &rest[..record.total_size as usize],
                            });
                        }
                        if arrivals.len() >= TOLD_TOGETHER {
                            self.tell(&mut arrivals, &config);
                        }
                    }
                    Err(error) => {
                        log::error!(
                            "the message at {position} cannot be dispatched: {error}; tried again \
                             in {} s",
                            RETRY_PAUSE.as_secs()
                        );
                        end = Some(Round::Stuck);
                        break;
                    }
                },
                Place::Next(next) => position = next,
                Place::End => {
                    end = Some(Round::Idle);
                    break;
                }
            }
            self.position.store(position, Ordering::Release);
        }
        self.position.store(position, Ordering::Release);
        self.tell(&mut arrivals, &config);
        end.unwrap_or(Round::Moved(records))
    }

    /// What stands at `position`, where `rest` begins.
    // Every message passes here, and its view is large.
    #[inline(always)]
    fn place<'a>(&self, config: &StoreConfig, rest: &'a [u8], position: i64) -> Place<'a> {
        match read_entry(rest, false) {
            LogEntry::Record(record) if record.physical_offset != position => {
                let claimed = record.physical_offset;
                log::error!("the record at {position} says it is at {claimed}; passed over");
                Place::Next(position + i64::from(record.total_size))
            }
            LogEntry::Record(record) => Place::Record(record),
            LogEntry::EndOfFile => Place::Next(self.log.roll_next_file(position)),
            LogEntry::Bad(error) => {
                let next = after_bad(config, &self.log, &error, position, rest.len());
                next.map_or(Place::End, Place::Next)
            }
        }
    }

    /// Visits the records that are not dispatched yet, in the order in which they will be.
    pub fn visit_left(&self, config: &StoreConfig, mut visit: impl FnMut(&RecordView<'_>)) {
        let mut position = self.position();
        while let Some(bytes) = self.log.slice_from(position) {
            let start = position;
            let end = start + bytes.len() as i64;
            while position < end {
                match self.place(config, &bytes[(position - start) as usize..], position) {
                    Place::Record(record) => {
                        visit(&record);
                        position += i64::from(record.total_size);
                    }
                    Place::Next(next) => position = next,
                    Place::End => return,
                }
            }
        }
    }

    /// Makes a record visible in its queues. Returns its tags code if anybody is to be told.
    fn dispatch(&self, record: &RecordView<'_>, config: &StoreConfig) -> io::Result<Option<i64>> {
        let Some(tags_code) = self.dispatcher.dispatch(record, config)? else {
            return Ok(None);
        };
        if config.is_slave() {
            self.log.note_store_timestamp(record.store_timestamp);
            self.stats.count_put(1, record.total_size as usize);
        }
        Ok(Some(tags_code))
    }

    /// Tells who waits that records are visible.
    fn tell(&self, arrivals: &mut Vec<Arrival<'_>>, config: &StoreConfig) {
        for arrival in arrivals.drain(..) {
            self.listener.arrived(&arrival);
            if config.enable_multi_dispatch
                && let Ok(record) = read_record(arrival.record, false)
            {
                let told = for_each_multi_queue(&record, config, |topic, queue_id, offset| {
                    let next_offset = offset + 1;
                    self.listener.arrived(&Arrival { topic, queue_id, next_offset, ..arrival });
                    Ok(())
                });
                if let Err(error) = told {
                    log::error!("who waits for the message at {}: {error}", record.physical_offset);
                }
            }
        }
    }
}

/// Where to go on after bytes that are no record; `None`: wait. On a slave an incomplete record at
/// the end is normal, the rest of it is on its way. On a master it is damage: dispatch goes on with
/// the next whole record, or waits at the end of what is visible of the file.
fn after_bad(
    config: &StoreConfig,
    log: &CommitLog,
    error: &RecordError,
    position: i64,
    bytes: usize,
) -> Option<i64> {
    if config.is_slave() {
        return None;
    }
    let end = position + bytes as i64;
    let next = find_record(&log.files().snapshot(), position).map_or(end, |next| next.min(end));
    log::error!("commit log at {position}: {error}; dispatch goes on at {next}");
    Some(next)
}
