//! [`TimerService`]: what comes in from the timer's topic, and what goes out when its time has come.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::checkpoint::{Done, Position, TimerCheckpoint, TimerMetrics};
use super::log::{TimerLog, Unit, topic_hash};
use super::wheel::Wheel;
use super::window::{Entry, LIMIT, Window};
use super::{SLOTS_TOTAL, Scale, recovery};
use crate::common::clock::now_ms;
use crate::common::properties::{
    Properties, REAL_QUEUE_ID, REAL_TOPIC, TIMER_DELETE_KEY, TIMER_DEQUEUE_MS, TIMER_ENQUEUE_MS,
    TIMER_ROLL_TIMES, UNIQUE_KEY, find,
};
use crate::common::record::{RecordFields, RecordView, read_record};
use crate::common::service_thread::Signal;
use crate::common::sync::lock;
use crate::common::topic::TIMER_TOPIC;
use crate::store::mapped_file::MappedSlice;
use crate::store::message::{NewMessage, PutResult, PutStatus};
use crate::store::message_store::{MessageStore, QueueUnit, StoreError};

/// Messages that come in, and messages that go out, before the other direction gets its turn.
const TURN: usize = 256;
/// Slots without messages that are passed in one turn.
const SLOTS_A_TURN: usize = 20_000;
/// Pause after something that failed, ms.
const RETRY_MS: i64 = 500;
/// How often the read time is written when nothing else changes.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(60);
/// How often old log files are looked for.
const CLEAN_PERIOD: Duration = Duration::from_secs(30);
/// Longest properties text, bytes.
const MAX_PROPERTIES_BYTES: usize = 32_767;

/// Told of every message that was delivered: topic, queue, what the store answered.
pub type Delivered = Box<dyn Fn(&str, i32, &PutResult) + Send + Sync>;

/// How far a master's timer is: what was in its topic before `queue_offset` and due at `done_ms`, or
/// before, is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// First message that had not come to the wheel.
    pub queue_offset: i64,
    /// The moment, ms.
    pub done_ms: i64,
    /// Counts turns in which messages came in or went out.
    pub changes: u64,
}

/// How far the timer is, as others see it.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    read_ms: i64,
    queue_offset: i64,
    /// What of the slot is done.
    done: Option<Done>,
    /// End of the commit log, with all that was delivered.
    commit_log_end: i64,
    /// Counts turns in which messages came in or went out.
    changes: u64,
    /// The last moment at which nothing was overdue.
    settled: Settled,
}

/// What only the thread `TimerMessage` works on.
#[derive(Debug, Default)]
struct Work {
    /// Begin of the slot that is being emptied, ms.
    read_ms: i64,
    /// Next offset of the timer topic's queue.
    queue_offset: i64,
    /// What is left of the slot; `None` before its chain is read.
    window: Option<Window>,
    /// What of the slot was done before the start, until its chain is read.
    done_before: Option<Done>,
    changes: u64,
    settled: Settled,
}

/// What only the thread `TimerFlush` works on.
#[derive(Debug)]
struct Flushing {
    /// What will be written when the commit log is on the disk up to there.
    waiting: Option<Progress>,
    written: Progress,
    written_at: Instant,
    cleaned_at: Instant,
}

/// What became of the soonest message.
enum Outcome {
    /// Delivered, rolled, deleted, or impossible to deliver.
    Done,
    /// The store does not take it now.
    Again,
}

/// The timer. [`turn`](Self::turn) is all it does; [`run`](Self::run) calls it at the right times.
pub struct TimerService {
    store: Arc<MessageStore>,
    scale: Scale,
    wheel: Wheel,
    log: TimerLog,
    checkpoint: TimerCheckpoint,
    metrics: TimerMetrics,
    signal: Arc<Signal>,
    work: Mutex<Work>,
    progress: Mutex<Progress>,
    flushing: Mutex<Flushing>,
    delivered: OnceLock<Delivered>,
    /// On a slave: how far its master is, if that is known. It takes in what the master took in, and
    /// delivers nothing.
    followed: Option<Mutex<Option<Settled>>>,
}

impl TimerService {
    /// Opens the files under the store's root. `signal` wakes the thread that [`run`](Self::run)s:
    /// it is called when a message is visible in [`TIMER_TOPIC`].
    pub fn open(store: Arc<MessageStore>, signal: Arc<Signal>) -> Result<Self, StoreError> {
        let config = store.config();
        let root = config.root();
        let folder = root.join("config");
        std::fs::create_dir_all(&folder)
            .map_err(|error| StoreError::io("create", &folder, &error))?;
        let file_size = usize::try_from(config.mapped_file_size_timer_log).unwrap_or(0);
        let log = TimerLog::open(&root.join("timerlog"), file_size)?;
        let checkpoint = TimerCheckpoint::open(&folder.join("timercheck"))?;
        let mut scale = Scale::of(&config);
        let mut wheel = Wheel::open(&root.join("timerwheel"), scale.precision_ms)?;
        if log.end() > 0 {
            let in_use = recovery::precision_in_use(&log, &wheel, &checkpoint.position())
                .map_err(|error| StoreError::io("read", wheel.path(), &error))?;
            if let Some(width) = in_use.filter(|width| *width != scale.precision_ms) {
                log::warn!(
                    "timerPrecisionMs={} comes into force at a start when no timed message waits: \
                     those that wait are in slots of {width} ms",
                    config.timer_precision_ms
                );
                scale = Scale::with_precision(&config, width);
                wheel = wheel.with_precision(width);
            }
        }
        let now = Instant::now();
        Ok(Self {
            scale,
            wheel,
            log,
            checkpoint,
            metrics: TimerMetrics::load(&folder.join("timermetrics"))?,
            followed: config.is_slave().then(Mutex::default),
            store,
            signal,
            work: Mutex::default(),
            progress: Mutex::default(),
            flushing: Mutex::new(Flushing {
                waiting: None,
                written: Progress::default(),
                written_at: now,
                cleaned_at: now,
            }),
            delivered: OnceLock::new(),
        })
    }

    /// Sets what is told of deliveries; once, before the start.
    pub fn on_delivered(&self, delivered: Delivered) {
        let _ = self.delivered.set(delivered);
    }

    /// What wakes and stops the thread that runs [`run`](Self::run).
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// The scale of the wheel.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// The counters of what waits.
    pub fn metrics(&self) -> &TimerMetrics {
        &self.metrics
    }

    /// What stands in the checkpoint's file that 5.x knows, as its slaves get it.
    pub fn checkpoint_bytes(&self) -> Vec<u8> {
        self.checkpoint.java_bytes()
    }

    /// Messages in the slot that begins at `slot_ms`.
    pub fn slot_count(&self, slot_ms: i64) -> i32 {
        self.wheel.slot(slot_ms).map_or(0, |slot| slot.count)
    }

    /// Finds out where it was. The store has started: its queues have all that is in its log.
    pub fn recover(&self, now: i64) -> Result<(), StoreError> {
        let mut from = self.checkpoint.position();
        from.read_ms = match from.read_ms {
            // New, or a crash came before this was written: what the log has already waits since then.
            ..=0 => {
                let first = recovery::first_slot(&self.log, &self.scale);
                first.unwrap_or(now).min(self.scale.floor(now))
            }
            time => self.scale.floor(time),
        };
        let end = self.store.log.max_offset();
        let found = recovery::recover(&self.log, &self.wheel, &self.scale, &from, end)?;
        let last = found.last_record.and_then(|offset| self.record(offset));
        let after_last = last.and_then(|slice| {
            let record = read_record(&slice, false).ok()?;
            (record.topic == TIMER_TOPIC).then_some(record.queue_offset + 1)
        });
        let (min, max) =
            (self.store.min_offset(TIMER_TOPIC, 0), self.store.max_offset(TIMER_TOPIC, 0));
        let queue_offset = after_last.unwrap_or(from.queue_offset).clamp(min, max.max(min));
        let mut work = lock(&self.work);
        let done_before = from.done.filter(|done| done.log_end <= found.end);
        *work = Work { read_ms: from.read_ms, queue_offset, done_before, ..Work::default() };
        self.publish(&work);
        Ok(())
    }

    /// The thread `TimerMessage`: works until stopped.
    pub fn run(&self, signal: &Signal) {
        while !signal.stopped() {
            let next = self.turn(now_ms());
            let wait_ms = u64::try_from(next.saturating_sub(now_ms())).unwrap_or(0);
            if wait_ms > 0 && !signal.wait(Duration::from_millis(wait_ms)) {
                return;
            }
        }
    }

    /// Takes in what has come, and delivers what is due at `now`. Returns when there is something to
    /// do again, ms; before that only if something comes.
    pub fn turn(&self, now: i64) -> i64 {
        let mut work = lock(&self.work);
        let (come_in, next_out) = match &self.followed {
            Some(master) => {
                let master = *lock(master);
                (self.follow_to(&mut work, master), Ok(i64::MAX))
            }
            None => {
                let come_in = self.take_in(&mut work, now);
                (come_in, self.deliver_due(&mut work, now))
            }
        };
        self.publish(&work);
        drop(work);
        let later = |what: &str, error: io::Error| {
            log::error!("timed messages cannot be {what}: {error}; tried again in {RETRY_MS} ms");
            now + RETRY_MS
        };
        let next_in = match come_in {
            Ok(true) => now,
            Ok(false) => i64::MAX,
            Err(error) => later("taken in", error),
        };
        next_in.min(next_out.unwrap_or_else(|error| later("delivered", error)))
    }

    fn publish(&self, work: &Work) {
        *lock(&self.progress) = Progress {
            read_ms: work.read_ms,
            queue_offset: work.queue_offset,
            done: match &work.window {
                Some(window) => window.done(self.log.end()),
                None => work.done_before,
            },
            // What a write buffer holds is not even in the file yet.
            commit_log_end: self.store.log.files().wrote_offset(),
            changes: work.changes,
            settled: Settled { changes: work.changes, ..work.settled },
        };
    }

    /// How far a master is, for its slaves.
    pub fn settled(&self) -> Settled {
        lock(&self.progress).settled
    }

    /// Tells a slave how far its master is. The own log has everything by which it came so far.
    pub fn follow(&self, master: Settled) {
        if let Some(followed) = &self.followed {
            *lock(followed) = Some(master);
            self.signal.wakeup();
        }
    }

    /// A slave's turn: takes in what its master has taken in, so that it can go on where the master
    /// was if it is started as one. Returns whether there is more.
    fn follow_to(&self, work: &mut Work, master: Option<Settled>) -> io::Result<bool> {
        let Some(master) = master else { return Ok(false) };
        let left = master.queue_offset - work.queue_offset;
        let count = TURN.min(usize::try_from(left).unwrap_or(0));
        if count > 0 {
            let from = work.queue_offset;
            self.take_in_units(work, count, |timer, work, record, due| {
                timer.unit_of_slave(record, due, work.read_ms)
            })?;
            if work.queue_offset > from && work.queue_offset < master.queue_offset {
                return Ok(true);
            }
        }
        let read_ms = self.scale.floor(master.done_ms);
        if work.queue_offset >= master.queue_offset && read_ms >= work.read_ms {
            let last = Entry { due_ms: master.done_ms, position: i64::MAX };
            work.read_ms = read_ms;
            work.done_before = Some(Done { last, log_end: self.log.end() });
            work.changes += 1;
        }
        Ok(false)
    }

    /// The unit of a message on a slave. Nothing is put before the slot that precedes the one at work:
    /// what belongs there was delivered, or rolled, by the master.
    fn unit_of_slave(&self, record: &RecordView<'_>, due: i64, read_ms: i64) -> Unit {
        let write_ms = self.scale.floor(record.store_timestamp);
        let unit = self.unit_for(record, due, write_ms, i64::MIN);
        let oldest = read_ms - self.scale.precision_ms;
        if unit.moment() >= oldest {
            return unit;
        }
        Unit { write_ms: oldest, delay_ms: 0, ..unit }
    }

    fn record(&self, commit_log_offset: i64) -> Option<MappedSlice> {
        self.store.log.record_at(commit_log_offset)
    }

    /// Takes in the next messages of the timer's topic. Returns whether there are more.
    fn take_in(&self, work: &mut Work, now: i64) -> io::Result<bool> {
        // After a long stop the wheel is emptied first: new messages would get the slots of old ones.
        if now - work.read_ms > SLOTS_TOTAL * self.scale.precision_ms {
            return Ok(false);
        }
        let write_ms = self.scale.floor(now);
        self.take_in_units(work, TURN, |timer, work, record, due| {
            timer.unit_for(record, due, write_ms, work.read_ms)
        })
    }

    /// Takes in so many messages; `unit_for` makes their units, whose place in the chain is not known
    /// yet.
    fn take_in_units(
        &self,
        work: &mut Work,
        count: usize,
        unit_for: impl Fn(&Self, &Work, &RecordView<'_>, i64) -> Unit,
    ) -> io::Result<bool> {
        let units = self.store.queue_units(TIMER_TOPIC, 0, work.queue_offset, count);
        let units = units.unwrap_or_default();
        if units.is_empty() {
            let min = self.store.min_offset(TIMER_TOPIC, 0);
            let skipped = work.queue_offset < min;
            if skipped {
                log::warn!(
                    "{TIMER_TOPIC}-0 begins at {min}: the messages from {} on were deleted before \
                     they came to the timer",
                    work.queue_offset
                );
                work.queue_offset = min;
            }
            return Ok(skipped);
        }
        for unit in units {
            self.take_in_one(work, &unit, &unit_for)?;
            work.queue_offset += 1;
            work.changes += 1;
        }
        Ok(work.queue_offset < self.store.max_offset(TIMER_TOPIC, 0))
    }

    /// Gives a message its unit and its slot. A message that says no time is left out.
    fn take_in_one(
        &self,
        work: &mut Work,
        queued: &QueueUnit,
        unit_for: impl Fn(&Self, &Work, &RecordView<'_>, i64) -> Unit,
    ) -> io::Result<()> {
        let offset = queued.commit_log_offset;
        let Some(slice) = self.record(offset) else {
            log::warn!("the timed message at {offset} is no longer in the commit log");
            return Ok(());
        };
        let record = read_record(&slice, false).ok().filter(|record| record.topic == TIMER_TOPIC);
        let due = record.as_ref().and_then(|record| self.scale.due_of(record.properties));
        let (Some(record), Some(due)) = (record, due) else {
            log::error!("the message of {TIMER_TOPIC} at {offset} says no time; it is left out");
            return Ok(());
        };
        let unit = unit_for(self, work, &record, due);
        let time = self.scale.floor(unit.moment());
        let slot = self.wheel.slot(time)?;
        let unit = Unit { previous: slot.last, ..unit };
        let position = self.log.append(&unit)?;
        self.wheel.put(&slot.with(position, unit.deletes && !unit.rolls))?;
        if time == work.read_ms
            && let Some(window) = &mut work.window
        {
            match deleted_key(&unit, &record) {
                Some(key) => window.delete(key),
                None => window.add(Entry { due_ms: due, position }, LIMIT),
            }
        }
        // A slave gets its master's counters.
        if self.followed.is_none() && find(record.properties, TIMER_ROLL_TIMES).is_none() {
            let topic = find(record.properties, REAL_TOPIC).unwrap_or_default();
            self.metrics.add(topic, if unit.deletes { -1 } else { 1 });
        }
        Ok(())
    }

    /// The unit of a message; its place in the chain is not known yet.
    fn unit_for(&self, record: &RecordView<'_>, due: i64, write_ms: i64, read_ms: i64) -> Unit {
        let Scale { precision_ms, roll_window_slots } = self.scale;
        let slot = self.scale.slot_of(due);
        let window_ms = roll_window_slots * precision_ms;
        let away = slot - write_ms;
        let rolls = away >= window_ms;
        let moment = if rolls {
            // Not so that only a little is left to wait after the roll.
            let half = away - window_ms < roll_window_slots / 3 * precision_ms;
            write_ms + if half { roll_window_slots / 2 * precision_ms } else { window_ms }
        } else if slot < read_ms {
            // Its slot is over. It goes into the one at work, and its record says when it was due.
            read_ms
        } else {
            due - 1
        };
        let topic = find(record.properties, REAL_TOPIC).unwrap_or_default();
        Unit {
            previous: -1,
            rolls,
            deletes: find(record.properties, TIMER_DELETE_KEY).is_some(),
            write_ms,
            delay_ms: (moment - write_ms).clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            record_offset: record.physical_offset,
            record_size: record.total_size as i32,
            topic_hash: topic_hash(topic),
        }
    }

    /// Delivers what is due. Returns when there is something to do again.
    fn deliver_due(&self, work: &mut Work, now: i64) -> io::Result<i64> {
        let mut left = TURN;
        for _ in 0..SLOTS_A_TURN {
            let window = match &mut work.window {
                Some(window) => window,
                empty => {
                    let mut window = Window::resumed(work.done_before.take());
                    self.read_chain(work.read_ms, &mut window, true)?;
                    empty.insert(window)
                }
            };
            loop {
                while let Some(first) = window.first() {
                    if first.due_ms > now {
                        self.settle(work, now);
                        return Ok(first.due_ms);
                    }
                    if left == 0 {
                        return Ok(now);
                    }
                    if let Outcome::Again = self.deliver(&first, window, now) {
                        return Ok(now + RETRY_MS);
                    }
                    window.finish_first();
                    work.changes += 1;
                    left -= 1;
                }
                if !window.take_spilled() {
                    break;
                }
                self.read_chain(work.read_ms, window, false)?;
            }
            let next = work.read_ms + self.scale.precision_ms;
            if now < next {
                self.settle(work, now);
                return Ok(next);
            }
            work.read_ms = next;
            work.window = None;
        }
        Ok(now)
    }

    /// Nothing is overdue.
    fn settle(&self, work: &mut Work, now: i64) {
        work.settled =
            Settled { queue_offset: work.queue_offset, done_ms: now, changes: work.changes };
    }

    /// Reads the chain of a slot into the window; `first` time also what is deleted in it.
    fn read_chain(&self, time: i64, window: &mut Window, first: bool) -> io::Result<()> {
        let mut position = self.wheel.slot(time)?.last;
        while position >= 0 {
            let unit = self.log.unit(position).filter(|unit| unit.previous < position);
            let Some(unit) = unit.filter(|unit| self.scale.floor(unit.moment()) == time) else {
                log::error!("the chain of the timer's slot {time} is broken at {position}");
                break;
            };
            if unit.deletes && !unit.rolls {
                if first && let Some(slice) = self.record(unit.record_offset) {
                    let record = read_record(&slice, false).ok();
                    let key = record.as_ref().and_then(|record| deleted_key(&unit, record));
                    key.into_iter().for_each(|key| window.delete(key));
                }
            } else if let Some(due_ms) = self.due(&unit, time) {
                let entry = Entry { due_ms, position };
                if !window.is_done(&entry) {
                    window.add(entry, LIMIT);
                }
            }
            position = unit.previous;
        }
        Ok(())
    }

    /// When a unit of the slot at `time` is due; `None` if its record is gone.
    fn due(&self, unit: &Unit, time: i64) -> Option<i64> {
        if unit.rolls {
            return Some(time);
        }
        if unit.moment() != time {
            return Some(unit.moment() + 1);
        }
        let slice = self.record(unit.record_offset);
        let due = slice.and_then(|slice| {
            let record = read_record(&slice, false).ok()?;
            self.scale.due_of(record.properties).filter(|_| record.topic == TIMER_TOPIC)
        });
        if due.is_none() {
            log::error!(
                "the timed message at {} is no longer in the commit log; it is lost",
                unit.record_offset
            );
        }
        due
    }

    /// Stores a message under its real topic, or once more under the timer's.
    fn deliver(&self, entry: &Entry, window: &Window, now: i64) -> Outcome {
        let Some(unit) = self.log.unit(entry.position) else { return Outcome::Done };
        let offset = unit.record_offset;
        let slice = self.record(offset);
        let record = slice.as_ref().and_then(|slice| read_record(slice, false).ok());
        let Some(record) = record.filter(|record| record.topic == TIMER_TOPIC) else {
            log::error!("the timed message at {offset} is no longer in the commit log; it is lost");
            return Outcome::Done;
        };
        let real_topic = find(record.properties, REAL_TOPIC);
        let real_queue = find(record.properties, REAL_QUEUE_ID).and_then(|text| text.parse().ok());
        let (Some(real_topic), Some(real_queue)) = (real_topic, real_queue) else {
            log::error!(
                "the timed message at {offset} says no {REAL_TOPIC} and {REAL_QUEUE_ID}; it is \
                 left out"
            );
            return Outcome::Done;
        };
        if !unit.rolls
            && find(record.properties, UNIQUE_KEY)
                .is_some_and(|key| window.is_deleted(real_topic, key))
        {
            return Outcome::Done;
        }
        let (topic, queue_id) =
            if unit.rolls { (TIMER_TOPIC, 0) } else { (real_topic, real_queue) };
        let properties = kept_properties(record.properties, &unit, now);
        let message = NewMessage {
            record: RecordFields { topic, queue_id, properties: &properties, ..record.again() },
            wait_store: false,
        };
        let result = self.store.put(&message).wait();
        match result.status {
            PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
                log::error!(
                    "the timed message at {offset} for {real_topic} cannot be stored: {}; it is \
                     left out",
                    result.reason
                );
            }
            PutStatus::PutOk
            | PutStatus::FlushDiskTimeout
            | PutStatus::FlushSlaveTimeout
            | PutStatus::SlaveNotAvailable => {
                if let Some(delivered) = self.delivered.get() {
                    delivered(topic, queue_id, &result);
                }
            }
            _ => return Outcome::Again,
        }
        if !unit.rolls {
            self.metrics.add(real_topic, -1);
        }
        Outcome::Done
    }

    /// The thread `TimerFlush`: works until stopped.
    pub fn run_flush(&self, signal: &Signal) {
        loop {
            let interval = self.store.config().timer_flush_interval_ms.max(10);
            if !signal.wait(Duration::from_millis(interval.unsigned_abs().into())) {
                return;
            }
            self.flush_or_warn();
        }
    }

    fn flush_or_warn(&self) {
        if let Err(error) = self.flush() {
            log::error!("the timer's files cannot be forced to the disk: {error}; tried again");
        }
    }

    /// Forces log and wheel to the disk and writes the checkpoint, if something has changed, and if
    /// what was delivered is on the disk.
    pub fn flush(&self) -> io::Result<()> {
        let mut flushing = lock(&self.flushing);
        if flushing.cleaned_at.elapsed() >= CLEAN_PERIOD {
            flushing.cleaned_at = Instant::now();
            self.log.delete_before(self.store.log.min_offset());
        }
        let now = *lock(&self.progress);
        let written = flushing.written;
        let changed = now.changes != written.changes
            || (now.read_ms != written.read_ms && flushing.written_at.elapsed() >= IDLE_CHECKPOINT);
        if flushing.waiting.is_none() && changed {
            flushing.waiting = Some(now);
        }
        let flushed = self.store.log.flushed_offset();
        let Some(ready) = flushing.waiting.filter(|ready| flushed >= ready.commit_log_end) else {
            return Ok(());
        };
        let log_position = self.log.end();
        self.log.flush()?;
        self.wheel.flush()?;
        self.checkpoint.write(&Position {
            read_ms: ready.read_ms,
            log_position,
            queue_offset: ready.queue_offset,
            done: ready.done,
        })?;
        flushing.waiting = None;
        flushing.written = ready;
        flushing.written_at = Instant::now();
        self.metrics.persist()
    }

    /// Writes what is left to write. The threads have ended, and the store has been stopped.
    pub fn close(&self) {
        let mut flushing = lock(&self.flushing);
        let mut last = *lock(&self.progress);
        last.changes = flushing.written.changes.wrapping_add(1);
        flushing.waiting = Some(last);
        drop(flushing);
        self.flush_or_warn();
    }

    /// Where the wheel is.
    pub fn wheel_path(&self) -> &Path {
        self.wheel.path()
    }

    /// Begin of the slot that is being emptied, ms.
    pub fn read_ms(&self) -> i64 {
        lock(&self.progress).read_ms
    }

    /// Messages in the timer's topic that have not come to the wheel yet.
    pub fn behind_messages(&self) -> i64 {
        self.store.max_offset(TIMER_TOPIC, 0) - lock(&self.progress).queue_offset
    }
}

/// The key that a message deletes, if it does nothing else.
fn deleted_key<'a>(unit: &Unit, record: &RecordView<'a>) -> Option<&'a str> {
    if !unit.deletes || unit.rolls {
        return None;
    }
    find(record.properties, TIMER_DELETE_KEY)
}

/// The properties of a message that leaves the wheel: with what the wheel did to it, if there is
/// room.
fn kept_properties(properties: &str, unit: &Unit, now: i64) -> String {
    let mut kept = Properties::parse(properties);
    kept.set(TIMER_ENQUEUE_MS, unit.write_ms.to_string());
    if unit.rolls {
        let times: i32 = kept.get(TIMER_ROLL_TIMES).and_then(|text| text.parse().ok()).unwrap_or(0);
        kept.set(TIMER_ROLL_TIMES, times.saturating_add(1).to_string());
    }
    kept.set(TIMER_DEQUEUE_MS, now.to_string());
    let text = kept.encode();
    if text.len() > MAX_PROPERTIES_BYTES { properties.to_owned() } else { text }
}
