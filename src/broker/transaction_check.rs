//! The thread that asks producers about half messages that nobody ended (Java's
//! TransactionalMessageCheckService).
//!
//! Two queues are read side by side: that of half messages, and that of their ends. A half message
//! whose end is found is done. One without an end that is old enough is put back at the end of its
//! queue, with one more check counted, and its producer is asked about that copy. With the copy is
//! written down, among the ends, that the first is done: a broker that dies forgets the last seconds of
//! how far it had read, and would make a copy of everything there again, and at last as many commits.
//! One that was checked too often, or is older than the store keeps messages, is given up: a copy goes to
//! `TRANS_CHECK_MAX_TIME_TOPIC`.
//!
//! How far both queues are read is kept like a consumer's offsets, under the group
//! `CID_RMQ_SYS_TRANS`. The ends' offset only moves over ends whose half messages are passed: an end
//! that is read again is harmless, one that is forgotten would commit twice.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::ended_transactions::REMEMBERED;
use super::put_message;
use super::records::for_each_record;
use super::send::is_stored;
use super::transactions::{ENDED_TAG, HalfProperties, PUT_BACK, put_back_message};
use crate::common::clock::now_ms;
use crate::common::message_id::MessageId;
use crate::common::properties::{
    CHECK_IMMUNITY_TIME, PRODUCER_GROUP, TAGS, TRANSACTION_CHECK_TIMES, UNIQUE_KEY, WAIT,
    find as find_property,
};
use crate::common::record::{RecordFields, RecordView, encode_record, patch_record};
use crate::common::service_thread::Signal;
use crate::common::topic::{
    PERM_READ, PERM_WRITE, TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC,
};
use crate::remoting::Command;
use crate::remoting::protocol::headers::CheckTransactionStateRequestHeader;
use crate::remoting::protocol::request_code::CHECK_TRANSACTION_STATE;
use crate::store::message::{NewMessage, PutResult, PutStatus};
use crate::store::{GetMessageResult, GetMessageStatus};

/// The group whose offsets tell how far both queues are read.
const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// Property of a copy: the queue offset of the first half message, which its end may name.
const FIRST_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Ends read at a time.
const ENDS_AT_A_TIME: i32 = 32;
/// Longest time for one queue in one pass, ms.
const QUEUE_BUDGET_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// The thread `TransactionCheck`: one pass every `transactionCheckInterval`, until stopped.
pub fn run(broker: &Arc<Broker>, signal: &Signal) {
    let interval = broker.config.get().transaction_check_interval;
    let interval = Duration::from_millis(u64::try_from(interval).unwrap_or(0).max(1));
    while signal.wait(interval) {
        check_all(broker, signal);
    }
}

/// Reads the ends that are written down and whose half messages are not passed yet, before anybody can
/// end one of them once more; and which of them are copies of which.
pub fn remember_ends(broker: &Broker) {
    let ends = &broker.ended_transactions;
    let known = broker.consumer_offsets.get(GROUP, TRANS_OP_HALF_TOPIC, 0).unwrap_or(0);
    let mut ended = Vec::new();
    let mut put_back = HashMap::new();
    for_each_since(broker, TRANS_OP_HALF_TOPIC, known, |end| {
        if find_property(end.properties, PUT_BACK).is_none() {
            ended.extend(named_by(end.body));
        } else {
            put_back.extend(named_by(end.body).into_iter().map(|half| (end.physical_offset, half)));
        }
    });
    if !put_back.is_empty() {
        // A copy ends where the message begins that says what it is a copy of.
        for_each_since(broker, TRANS_HALF_TOPIC, 0, |copy| {
            let its_end = copy.physical_offset + i64::from(copy.total_size);
            if let Some(half) = put_back.get(&its_end) {
                ends.copied((0, *half), (0, copy.queue_offset));
            }
        });
    }
    ended.into_iter().for_each(|half| ends.found((0, half)));
}

/// Reads a queue from an offset on; as much of its end as is remembered.
fn for_each_since(
    broker: &Broker,
    topic: &str,
    from: i64,
    mut use_it: impl FnMut(&RecordView<'_>),
) {
    let max = broker.store.max_offset(topic, 0);
    let min = broker.store.min_offset(topic, 0);
    let mut at = from.max(min).max(max - REMEMBERED as i64);
    while at < max {
        let found = broker.store.get(GROUP, topic, 0, at, ENDS_AT_A_TIME, None);
        let Some(found) = found.filter(|found| found.next_begin_offset > at) else { return };
        at = found.next_begin_offset;
        if let Some(records) = found.records {
            for_each_record(&*records, |record| {
                use_it(record);
                ControlFlow::Continue(())
            });
        }
    }
}

/// The half messages that an end names. Brokers of 5.x name several, each followed by a comma.
fn named_by(body: &[u8]) -> Vec<i64> {
    let body = String::from_utf8_lossy(body);
    body.split(',').filter_map(|text| text.trim().parse().ok()).collect()
}

fn check_all(broker: &Broker, signal: &Signal) {
    let half = broker.topics.get_or_create(TRANS_HALF_TOPIC, 1, PERM_READ | PERM_WRITE, 0);
    for queue_id in 0..half.map_or(0, |topic| topic.read_queue_nums) {
        if let Some(mut pass) = Pass::start(broker, queue_id) {
            pass.run(signal);
        }
    }
}

/// One pass over one queue of half messages.
struct Pass<'a> {
    broker: &'a Broker,
    queue_id: i32,
    started_ms: i64,
    /// Where the half messages stood at the start.
    first_half: i64,
    /// Where the ends stood at the start.
    first_end: i64,
    /// Half message to the end that names it.
    ended: HashMap<i64, i64>,
    /// End to the half messages that it names and that are not passed yet.
    open_ends: HashMap<i64, usize>,
    /// Ends all of whose half messages are passed.
    closed_ends: Vec<i64>,
    /// The ends that were read last.
    page: Page,
    /// Half messages whose producer could not be asked, and why the last of them.
    unasked: usize,
    why_unasked: String,
}

/// What the last reading of ends found.
struct Page {
    /// Where the next reading begins.
    next: i64,
    /// When the last of them was written, ms; `None` if there was none.
    last_born_ms: Option<i64>,
}

/// What is done after a half message was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Look at the next.
    Next,
    /// Look at the same again: more ends were read.
    Again,
    /// The pass is over; what follows is too young, or the store does not take copies.
    Stop,
}

impl<'a> Pass<'a> {
    fn start(broker: &'a Broker, queue_id: i32) -> Option<Self> {
        let offset_of = |topic| {
            let known = broker.consumer_offsets.get(GROUP, topic, queue_id);
            known
                .filter(|offset| *offset >= 0)
                .unwrap_or_else(|| broker.store.min_offset(topic, queue_id))
        };
        let (first_half, first_end) = (offset_of(TRANS_HALF_TOPIC), offset_of(TRANS_OP_HALF_TOPIC));
        let mut pass = Self {
            broker,
            queue_id,
            started_ms: now_ms(),
            first_half,
            first_end,
            ended: HashMap::new(),
            open_ends: HashMap::new(),
            closed_ends: Vec::new(),
            page: Page { next: first_end, last_born_ms: None },
            unasked: 0,
            why_unasked: String::new(),
        };
        (pass.first_half >= 0 && pass.first_end >= 0 && pass.read_ends()).then_some(pass)
    }

    fn run(&mut self, signal: &Signal) {
        let mut at = self.first_half;
        while now_ms() - self.started_ms <= QUEUE_BUDGET_MS && !signal.stopped() {
            if self.pass_ended(at) {
                at += 1;
                continue;
            }
            let found = self.read(TRANS_HALF_TOPIC, at, 1);
            let Some(found) = found else { break };
            match found.status {
                GetMessageStatus::Found => {}
                GetMessageStatus::NoMessageInQueue | GetMessageStatus::OffsetOverflowOne => break,
                _ if found.next_begin_offset == at => break,
                _ => {
                    at = found.next_begin_offset;
                    continue;
                }
            }
            let Some(records) = found.records else { break };
            let mut step = Step::Stop;
            for_each_record(&*records, |half| {
                step = self.examine(half);
                ControlFlow::Break(())
            });
            match step {
                Step::Next => at += 1,
                Step::Again => {}
                Step::Stop => break,
            }
        }
        self.commit_offsets(at);
        if self.unasked > 0 {
            log::warn!(
                "{} half messages are undecided and nobody could be asked about them: {}; the next \
                 pass tries again",
                self.unasked,
                self.why_unasked
            );
        }
    }

    /// What was put back in this pass is on the disk before it is passed: a power cut would take it.
    fn commit_offsets(&mut self, half: i64) {
        let offsets = &self.broker.consumer_offsets;
        if half != self.first_half && !self.broker.store.assure() {
            return;
        }
        if half != self.first_half {
            offsets.commit(GROUP, TRANS_HALF_TOPIC, self.queue_id, half);
        }
        self.closed_ends.sort_unstable();
        let mut end = self.first_end;
        for closed in &self.closed_ends {
            if *closed == end {
                end += 1;
            }
        }
        if end != self.first_end {
            offsets.commit(GROUP, TRANS_OP_HALF_TOPIC, self.queue_id, end);
        }
    }

    fn read(&self, topic: &str, offset: i64, max: i32) -> Option<GetMessageResult> {
        let found = self.broker.store.get(GROUP, topic, self.queue_id, offset, max, None)?;
        let stats = &self.broker.stats;
        if self.broker.store.config().disk_fall_recorded && found.behind_bytes.is_some() {
            let stored_ms = found.last_store_timestamp;
            let behind_ms = (stored_ms > 0).then(|| now_ms() - stored_ms);
            stats.behind(GROUP, topic, self.queue_id, found.behind_bytes, behind_ms);
        }
        if found.count > 0 {
            stats.checked(GROUP, topic, found.count, found.bytes);
        }
        Some(found)
    }

    /// Whether the half message has ended; its end is then used up.
    fn pass_ended(&mut self, half: i64) -> bool {
        match self.ended.remove(&half) {
            Some(end) => {
                self.close_one(end);
                true
            }
            // Its end may name another copy of it.
            None => self.broker.ended_transactions.has_ended((self.queue_id, half)),
        }
    }

    /// Reads the next ends. `false`: the store does not give anything out.
    fn read_ends(&mut self) -> bool {
        self.page.last_born_ms = None;
        let Some(found) = self.read(TRANS_OP_HALF_TOPIC, self.page.next, ENDS_AT_A_TIME) else {
            return false;
        };
        match found.status {
            GetMessageStatus::Found => {
                if let Some(records) = found.records {
                    for_each_record(&*records, |end| {
                        self.note_end(end);
                        ControlFlow::Continue(())
                    });
                }
                self.page.next = found.next_begin_offset;
            }
            GetMessageStatus::NoMessageInQueue | GetMessageStatus::OffsetOverflowOne => {}
            // The offset is of messages that were deleted, or of another store.
            _ => {
                let offset = found.next_begin_offset;
                self.broker.consumer_offsets.commit(
                    GROUP,
                    TRANS_OP_HALF_TOPIC,
                    self.queue_id,
                    offset,
                );
                self.page.next = offset;
                self.first_end = offset;
            }
        }
        true
    }

    fn note_end(&mut self, end: &RecordView<'_>) {
        self.page.last_born_ms = Some(end.born_timestamp);
        if find_property(end.properties, TAGS) != Some(ENDED_TAG) {
            log::warn!("a message at {} of {TRANS_OP_HALF_TOPIC} is no end", end.physical_offset);
        }
        let named = named_by(end.body).into_iter();
        if find_property(end.properties, PUT_BACK).is_none() {
            let ends = &self.broker.ended_transactions;
            named.clone().for_each(|half| ends.found((self.queue_id, half)));
        }
        let open: Vec<i64> = named.filter(|half| *half >= self.first_half).collect();
        if open.is_empty() {
            self.closed_ends.push(end.queue_offset);
            return;
        }
        self.open_ends.insert(end.queue_offset, open.len());
        for half in open {
            // A half message that two ends name is passed once: the other end is then closed.
            if let Some(other) = self.ended.insert(half, end.queue_offset) {
                self.ended.insert(half, other);
                self.close_one(end.queue_offset);
            }
        }
    }

    fn close_one(&mut self, end: i64) {
        if let Some(open) = self.open_ends.get_mut(&end) {
            *open -= 1;
            if *open == 0 {
                self.open_ends.remove(&end);
                self.closed_ends.push(end);
            }
        }
    }

    fn examine(&mut self, half: &RecordView<'_>) -> Step {
        let config = self.broker.config.get();
        let now = now_ms();
        let age = now - half.born_timestamp;
        let own_immunity = find_property(half.properties, CHECK_IMMUNITY_TIME);
        if own_immunity.is_some() && self.first_has_ended(half) {
            return Step::Next;
        }
        let checks: i32 = find_property(half.properties, TRANSACTION_CHECK_TIMES)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let kept_ms = i64::from(self.broker.store.config().file_reserved_time) * HOUR_MS;
        if checks >= config.transaction_check_max || age > kept_ms {
            return self.give_up(half, checks);
        }
        if half.store_timestamp >= self.started_ms {
            return Step::Stop;
        }
        let timeout = config.transaction_time_out;
        let immunity = own_immunity.map_or(timeout, |text| {
            let seconds = text.parse::<i64>().ok().filter(|seconds| *seconds != -1);
            seconds.map_or(timeout, |seconds| seconds.saturating_mul(1000))
        });
        if own_immunity.is_some() {
            if age < immunity && self.postpone(half) {
                return Step::Next;
            }
        } else if (0..immunity).contains(&age) {
            return Step::Stop;
        }
        let ask = match self.page.last_born_ms {
            None => age > immunity,
            Some(born) => born - self.started_ms > timeout,
        };
        if ask || age <= -1 {
            return self.ask(half, checks + 1);
        }
        let had_ends = self.page.last_born_ms.is_some();
        if had_ends && self.read_ends() { Step::Again } else { Step::Stop }
    }

    /// Whether a half message is a copy of one that was postponed, and that has ended: its producer
    /// knows no other than the first.
    fn first_has_ended(&mut self, half: &RecordView<'_>) -> bool {
        let first = find_property(half.properties, FIRST_QUEUE_OFFSET);
        first.and_then(|text| text.parse().ok()).is_some_and(|first| self.pass_ended(first))
    }

    /// Puts a half message that may not be asked about yet back at the end of its queue.
    fn postpone(&mut self, half: &RecordView<'_>) -> bool {
        let copy = match find_property(half.properties, FIRST_QUEUE_OFFSET) {
            None => {
                let first = half.queue_offset.to_string();
                let properties =
                    put_message::rewrite(half.properties, &[], &[(FIRST_QUEUE_OFFSET, &first)]);
                self.put_back(half, &properties, None)
            }
            Some(text) if text.parse::<i64>().is_err() => None,
            Some(_) => self.put_back(half, half.properties, None),
        };
        if let Some(copy) = &copy {
            self.note_copy(half, copy);
        }
        copy.is_some()
    }

    fn note_copy(&self, half: &RecordView<'_>, copy: &PutResult) {
        let place = |offset| (self.queue_id, offset);
        let (old, new) = (place(half.queue_offset), place(copy.queue_offset));
        self.broker.ended_transactions.copied(old, new);
    }

    /// Puts a half message back with one more check counted, and asks its producer about the copy.
    fn ask(&mut self, half: &RecordView<'_>, checks: i32) -> Step {
        let checks = checks.to_string();
        let properties =
            put_message::rewrite(half.properties, &[], &[(TRANSACTION_CHECK_TIMES, &checks)]);
        let first = half.queue_offset.to_string();
        let done = put_back_message(self.broker, self.queue_id, &first);
        match self.put_back(half, &properties, Some(&done)) {
            Some(copy) => {
                self.note_copy(half, &copy);
                if let Err(problem) = send_check(self.broker, half, &properties, &copy) {
                    self.unasked += 1;
                    self.why_unasked = problem;
                }
                Step::Next
            }
            None => Step::Stop,
        }
    }

    /// Stores a copy at the end of the queue, and `done` right behind it.
    fn put_back(
        &self,
        half: &RecordView<'_>,
        properties: &str,
        done: Option<&RecordFields<'_>>,
    ) -> Option<PutResult> {
        let message = NewMessage {
            record: RecordFields {
                flag: 0,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                ..fields(half, half.topic, half.queue_id, properties)
            },
            wait_store: false,
        };
        let result = self.broker.store.put_with(&message, done).wait();
        if is_stored(result.status) {
            return Some(result);
        }
        log::error!(
            "the half message at {} could not be put back: {}; tried again in the next pass",
            half.physical_offset,
            result.status.name()
        );
        None
    }

    /// Stores a copy where operators find it. A message that can never be stored there does not keep
    /// those behind it waiting.
    fn give_up(&self, half: &RecordView<'_>, checks: i32) -> Step {
        log::warn!(
            "the half message at {} of producer group {} is given up after {checks} checks; a copy \
             goes to {TRANS_CHECK_MAX_TIME_TOPIC}",
            half.physical_offset,
            find_property(half.properties, PRODUCER_GROUP).unwrap_or("(none)")
        );
        let topic = TRANS_CHECK_MAX_TIME_TOPIC;
        self.broker.topics.get_or_create(topic, 1, PERM_READ | PERM_WRITE, 0);
        let message =
            NewMessage { record: fields(half, topic, 0, half.properties), wait_store: false };
        let result = self.broker.store.put(&message).wait();
        match result.status {
            status if is_stored(status) => Step::Next,
            status @ (PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded) => {
                log::error!("the copy cannot be stored: {}", status.name());
                Step::Next
            }
            status => {
                let again = "tried again in the next pass";
                log::error!("the copy could not be stored: {}; {again}", status.name());
                Step::Stop
            }
        }
    }
}

/// A record's parts, for another topic and with other properties.
pub(super) fn fields<'a>(
    record: &RecordView<'a>,
    topic: &'a str,
    queue_id: i32,
    properties: &'a str,
) -> RecordFields<'a> {
    RecordFields {
        topic,
        queue_id,
        prepared_transaction_offset: record.prepared_transaction_offset,
        properties,
        ..record.again()
    }
}

/// CHECK_TRANSACTION_STATE (39) to one producer of the group, which answers END_TRANSACTION with
/// the offsets of the copy. The error says why nobody was asked.
fn send_check(
    broker: &Broker,
    half: &RecordView<'_>,
    properties: &str,
    copy: &PutResult,
) -> Result<(), String> {
    let group = find_property(properties, PRODUCER_GROUP).unwrap_or_default();
    let (topic, queue_id) = HalfProperties::of(half).real_target()?;
    let nobody = || format!("no producer of group \"{group}\" is online");
    let producer = broker.producers.pick(group).ok_or_else(nobody)?;
    // As the producer gets it from Java: putting the copy back has left its mark.
    let as_told = put_message::rewrite(properties, &[], &[(WAIT, "false")]);
    let record = RecordFields {
        flag: 0,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        ..fields(half, topic, queue_id, &as_told)
    };
    let mut body = Vec::new();
    encode_record(&record, &mut body);
    patch_record(&mut body, copy.queue_offset, copy.commit_log_offset, copy.store_timestamp);
    let unique_key = find_property(properties, UNIQUE_KEY).map(str::to_owned);
    let id = MessageId { host: half.store_host, offset: copy.commit_log_offset };
    let header = CheckTransactionStateRequestHeader {
        tran_state_table_offset: copy.queue_offset,
        commit_log_offset: copy.commit_log_offset,
        msg_id: unique_key.clone(),
        transaction_id: unique_key,
        offset_msg_id: Some(id.to_string()),
        broker_name: None,
    };
    let request = Command::request(CHECK_TRANSACTION_STATE).with_header(&header).with_body(body);
    let sent = producer.connection.oneway(request);
    sent.map_err(|error| format!("{}: {error}", producer.client_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{TestBroker, wait_until};
    use crate::store::config::BrokerRole;

    const HALF_FLAG: &str = "4";
    const COMMIT: &str = "8";

    /// Stores a half message that may be asked about at once.
    fn half(broker: &TestBroker) {
        half_born(broker, now_ms() - HOUR_MS, "");
    }

    fn half_born(broker: &TestBroker, born_ms: i64, more: &str) {
        let born = born_ms.to_string();
        let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg{more}");
        let fields = [
            ("a", "pg"),
            ("b", "T"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", HALF_FLAG),
            ("g", &born),
            ("h", "0"),
            ("i", &properties),
        ];
        assert_eq!(broker.call(310, &fields, "x").code, 0);
        broker.settle();
    }

    /// One pass over the half messages; returns how many were ever there.
    fn pass(broker: &TestBroker) -> i64 {
        let now = now_ms();
        wait_until("the clock goes on", || now_ms() > now);
        check_all(&broker.running.broker, &Signal::default());
        broker.settle();
        broker.running.broker.store.max_offset(TRANS_HALF_TOPIC, 0)
    }

    fn commit(broker: &TestBroker, offset: i64) -> i32 {
        let store = &broker.running.broker.store;
        let found = store.get(GROUP, TRANS_HALF_TOPIC, 0, offset, 1, None).unwrap();
        let mut position = String::new();
        for_each_record(&*found.records.unwrap(), |half| {
            position = half.physical_offset.to_string();
            ControlFlow::Break(())
        });
        broker.end_transaction(&position, &offset.to_string(), COMMIT)
    }

    #[test]
    fn a_broker_that_forgot_how_far_it_was_puts_nothing_back_twice() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        broker.send("T", "0", "first");
        half(&broker);
        assert_eq!(pass(&broker), 2);
        assert_eq!(pass(&broker), 3);
        let offsets = &broker.running.broker.consumer_offsets;
        assert_eq!(offsets.get(GROUP, TRANS_HALF_TOPIC, 0), Some(2));
        // As after kill -9: what was committed since the table was written last is lost.
        offsets.commit(GROUP, TRANS_HALF_TOPIC, 0, 0);
        offsets.commit(GROUP, TRANS_OP_HALF_TOPIC, 0, 0);
        let broker = broker.restart();
        assert_eq!(pass(&broker), 4, "only the last copy is put back");
        for offset in [3, 0, 1, 2] {
            assert_eq!(commit(&broker, offset), 0);
        }
        assert_eq!(broker.running.broker.store.max_offset("T", 0), 2, "committed once");
        assert_eq!(pass(&broker), 4, "nothing is left to ask about");
    }

    #[test]
    fn what_was_put_back_has_not_ended_after_a_restart_either() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        broker.send("T", "0", "first");
        half(&broker);
        assert_eq!(pass(&broker), 2, "its producer is asked about a copy");
        let broker = broker.restart();
        // The producer has been busy since it sent the first, and knows of no copy.
        assert_eq!(commit(&broker, 0), 0);
        assert_eq!(broker.running.broker.store.max_offset("T", 0), 2, "committed");
        assert_eq!(commit(&broker, 1), 0);
        assert_eq!(broker.running.broker.store.max_offset("T", 0), 2, "once");
        assert_eq!(pass(&broker), 2, "nothing is left to ask about");
    }

    /// Ends a half message that was postponed, and looks at its copy when that may be asked about.
    fn end_what_was_postponed(between: fn(TestBroker) -> TestBroker) -> TestBroker {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        broker.send("T", "0", "first");
        let born = now_ms();
        half_born(&broker, born, "\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}5");
        assert_eq!(pass(&broker), 2, "postponed");
        assert_eq!(commit(&broker, 0), 0);
        let broker = between(broker);
        wait_until("its immunity is over", || now_ms() > born + 5000);
        assert_eq!(pass(&broker), 2, "nothing is left to ask about");
        assert_eq!(broker.running.broker.store.max_offset("T", 0), 2, "committed");
        broker
    }

    #[test]
    fn a_producer_is_not_asked_about_what_was_postponed_and_has_ended() {
        let broker = end_what_was_postponed(|broker| broker);
        assert_eq!(commit(&broker, 1), 0);
        assert_eq!(broker.running.broker.store.max_offset("T", 0), 2, "committed once");
    }

    #[test]
    fn a_producer_is_not_asked_about_what_had_ended_before_a_restart() {
        end_what_was_postponed(TestBroker::restart);
    }

    #[test]
    fn what_is_given_up_is_passed_when_its_copy_is_stored() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        half(&broker);
        let settings = &broker.running.broker.settings;
        settings.broker.update(|config| config.transaction_check_max = 0);
        let copies = || broker.running.broker.store.max_offset(TRANS_CHECK_MAX_TIME_TOPIC, 0);
        let role = settings.store.get().broker_role;
        // A store that takes nothing.
        settings.store.update(|config| config.broker_role = BrokerRole::Slave);
        pass(&broker);
        assert_eq!(copies(), 0);
        settings.store.update(|config| config.broker_role = role);
        pass(&broker);
        assert_eq!(copies(), 1);
        pass(&broker);
        assert_eq!(copies(), 1, "once");
    }
}
