//! Transactions, the part that clients see: END_TRANSACTION (37). Half messages whose producer says
//! nothing are [`transaction_check`](super::transaction_check)'s business.
//!
//! A half message lies in `RMQ_SYS_TRANS_HALF_TOPIC`, where no consumer reads. Its end is written
//! down in `RMQ_SYS_TRANS_OP_HALF_TOPIC`, as a message whose body is the half message's queue offset:
//! nothing in the log is ever changed or removed. A commit stores the message once more, under its
//! real topic, and its end right behind it, with one append: what makes the one durable makes the
//! other durable, and a commit that was answered is not asked about again. Of several ends of one
//! half message the first counts ([`ended_transactions`](super::ended_transactions)).

use std::sync::Arc;

use super::ended_transactions::{Begin, End};
use super::put_message::{self, Wishes};
use super::send::{is_stored, put_status_answer};
use super::{Answer, Broker, Refusal, timed};
use crate::common::clock::now_ms;
use crate::common::properties::{PRODUCER_GROUP, REAL_QUEUE_ID, REAL_TOPIC, find_each};
use crate::common::record::{RecordFields, RecordView};
use crate::common::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_MASK, TRANSACTION_ROLLBACK};
use crate::common::topic::{TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use crate::remoting::header::{FieldType, HeaderError};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection, Fields};
use crate::store::config::BrokerRole;
use crate::store::message::NewMessage;

/// The tag of a message that says that a half message has ended.
pub const ENDED_TAG: &str = "d";
/// All properties of such a message: `WAIT` and `TAGS`.
const END_PROPERTIES: &str = "WAIT\u{1}true\u{2}TAGS\u{1}d";
/// Property of a message that says that a half message is done for another reason: a copy of it was put
/// back behind it, which has not ended.
pub(super) const PUT_BACK: &str = "TRAN_PUT_BACK";
/// All properties of that one.
const PUT_BACK_PROPERTIES: &str = "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}TRAN_PUT_BACK\u{1}true";

const COMMIT_LOG_OFFSET: &str = "commitLogOffset";

/// The header of END_TRANSACTION, as far as the broker looks at it, borrowed from the request (whole:
/// [`EndTransactionRequestHeader`](crate::remoting::protocol::headers::EndTransactionRequestHeader)).
struct EndHeader<'a> {
    producer_group: &'a str,
    tran_state_table_offset: i64,
    commit_log_offset: i64,
    commit_or_rollback: i32,
}

impl<'a> EndHeader<'a> {
    fn read(fields: &'a Fields) -> Result<Self, HeaderError> {
        let long = |name| i64::read(fields.get(name), name);
        let group = "producerGroup";
        Ok(Self {
            producer_group: fields.get(group).ok_or(HeaderError::Missing(group))?,
            tran_state_table_offset: long("tranStateTableOffset")?,
            commit_log_offset: long(COMMIT_LOG_OFFSET)?,
            commit_or_rollback: i32::read(fields.get("commitOrRollback"), "commitOrRollback")?,
        })
    }
}

/// Ending a transaction whose half message was just written waits for nothing, where puts do not.
pub fn is_short(broker: &Broker, request: &Command) -> bool {
    let store = broker.store.config();
    let offset = request.fields.get(COMMIT_LOG_OFFSET).and_then(|text| text.parse().ok());
    store.broker_role == BrokerRole::AsyncMaster
        && !store.is_sync_flush()
        && offset.is_some_and(|offset| broker.store.is_record_in_memory(offset))
}

/// Answers END_TRANSACTION.
pub fn process(broker: &Arc<Broker>, _connection: &Arc<Connection>, request: Command) -> Answer {
    if broker.store.config().broker_role == BrokerRole::Slave {
        return Ok(Some(Command::failure(
            code::SLAVE_NOT_AVAILABLE,
            "this broker is a slave; the end of a transaction belongs to its master",
        )));
    }
    let header = EndHeader::read(&request.fields)?;
    let commits = match header.commit_or_rollback {
        TRANSACTION_COMMIT => true,
        TRANSACTION_ROLLBACK => false,
        // The producer does not know yet. It will be asked again.
        0 => return Ok(None),
        other => {
            let problem = format!(
                "the header field commitOrRollback is {other}, expected 8 (commit), 12 (roll back) \
                 or 0 (unknown)"
            );
            return Err(problem.into());
        }
    };
    let ended = broker.store.with_record(header.commit_log_offset, |half| {
        let properties = HalfProperties::of(half);
        check(&header, half, &properties)?;
        end(broker, half, &properties, commits, header.producer_group)
    });
    let ended = ended.unwrap_or_else(|| {
        Err(Refusal::new(
            code::SYSTEM_ERROR,
            format!(
                "there is no half message at the commit-log offset {}",
                header.commit_log_offset
            ),
        ))
    });
    Ok(Some(match ended {
        Ok(()) => Command::response(code::SUCCESS),
        Err(refusal) => refusal.response(),
    }))
}

/// Carries an end out, if it is the first.
fn end(
    broker: &Broker,
    half: &RecordView<'_>,
    properties: &HalfProperties<'_>,
    commits: bool,
    group: &str,
) -> Result<(), Refusal> {
    let place = (half.queue_id, half.queue_offset);
    let how = if commits { End::Commit } else { End::Rollback };
    let ends = &broker.ended_transactions;
    match ends.begin(place, how, group) {
        Begin::First => {}
        Begin::Ended => return Ok(()),
        Begin::Busy => {
            let problem = "this half message is just being ended by another request";
            return Err(Refusal::new(code::SYSTEM_BUSY, problem));
        }
    }
    let body = half.queue_offset.to_string();
    let end = end_message(broker, half.queue_id, &body, END_PROPERTIES);
    if !commits {
        ends.finish(place, how);
        write_down_rollback(broker, end);
        return Ok(());
    }
    let committed = commit(broker, half, properties, &end);
    match committed {
        Ok(()) => ends.finish(place, how),
        Err(_) => ends.give_up(place),
    }
    committed
}

/// Whether the request means this half message.
fn check(
    header: &EndHeader<'_>,
    half: &RecordView<'_>,
    properties: &HalfProperties<'_>,
) -> Result<(), Refusal> {
    let problem = if half.topic != TRANS_HALF_TOPIC {
        "the message is not a half message"
    } else if properties.group != Some(header.producer_group) {
        "the producer group is not the half message's"
    } else if half.queue_offset != header.tran_state_table_offset {
        "the transaction state table offset is not the half message's"
    } else if half.physical_offset != header.commit_log_offset {
        "the commit log offset is not the half message's"
    } else {
        return Ok(());
    };
    Err(Refusal::new(code::SYSTEM_ERROR, problem))
}

/// What a half message's properties say about its transaction.
pub struct HalfProperties<'a> {
    group: Option<&'a str>,
    topic: Option<&'a str>,
    queue_id: Option<&'a str>,
}

impl<'a> HalfProperties<'a> {
    /// Reads them.
    pub fn of(half: &RecordView<'a>) -> Self {
        let names = [PRODUCER_GROUP, REAL_TOPIC, REAL_QUEUE_ID];
        let [group, topic, queue_id] = find_each(half.properties, names);
        Self { group, topic, queue_id }
    }

    /// Topic and queue that the message is meant for.
    pub fn real_target(&self) -> Result<(&'a str, i32), String> {
        let topic =
            self.topic.ok_or_else(|| format!("the half message has no property {REAL_TOPIC}"))?;
        let queue = self.queue_id.unwrap_or_default();
        let queue_id = queue.parse().map_err(|_| {
            format!(
                "the half message's property {REAL_QUEUE_ID} is \"{queue}\", expected an integer"
            )
        })?;
        Ok((topic, queue_id))
    }
}

/// Stores a half message under its real topic, with all properties of the half message: clients
/// need `TRAN_MSG` and the rest. Its end is written down with it.
fn commit(
    broker: &Broker,
    half: &RecordView<'_>,
    properties: &HalfProperties<'_>,
    end: &RecordFields<'_>,
) -> Result<(), Refusal> {
    let refused = |problem| Refusal::new(code::SYSTEM_ERROR, problem);
    let (topic, queue_id) = properties.real_target().map_err(refused)?;
    let sys_flag = (half.sys_flag & !TRANSACTION_MASK) | TRANSACTION_COMMIT;
    let wishes = Wishes::of(half.properties);
    let waiting = timed::waiting_again(broker, &wishes, sys_flag)?;
    let placed =
        put_message::place_again(topic, queue_id, sys_flag, half.properties, &wishes, waiting)
            .map_err(refused)?;
    let message = NewMessage {
        record: RecordFields {
            topic: &placed.topic,
            queue_id: placed.queue_id,
            sys_flag: placed.sys_flag,
            prepared_transaction_offset: half.physical_offset,
            properties: &placed.properties,
            ..half.again()
        },
        wait_store: wishes.waits(),
    };
    let result = broker.store.put_with(&message, Some(end)).wait();
    if is_stored(result.status) {
        return Ok(());
    }
    let (answer, remark) = put_status_answer(broker, &result);
    Err(Refusal::new(answer, remark.unwrap_or_default()))
}

/// The message that says that a copy of a half message lies behind it; `body` is its queue offset.
pub(super) fn put_back_message<'a>(
    broker: &Broker,
    queue_id: i32,
    body: &'a str,
) -> RecordFields<'a> {
    end_message(broker, queue_id, body, PUT_BACK_PROPERTIES)
}

/// The message that says that a half message has ended; `body` is its queue offset.
fn end_message<'a>(
    broker: &Broker,
    queue_id: i32,
    body: &'a str,
    properties: &'a str,
) -> RecordFields<'a> {
    RecordFields {
        topic: TRANS_OP_HALF_TOPIC,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now_ms(),
        born_host: broker.store_host,
        store_host: broker.store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        properties,
    }
}

/// Writes down that a half message has ended without being committed. A failure is logged only: the
/// producer will be asked once more, and the end written down then.
fn write_down_rollback(broker: &Broker, end: RecordFields<'_>) {
    let result = broker.store.put(&NewMessage { record: end, wait_store: false }).wait();
    if !is_stored(result.status) {
        log::error!(
            "the end of a rolled back half message could not be written down: {}; its producer \
             will be asked again",
            result.status.name()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::TestBroker;

    const COMMIT: &str = "8";
    const ROLLBACK: &str = "12";

    /// Sends a half message; returns what its end is told by.
    fn half(broker: &TestBroker) -> [String; 2] {
        let fields = [
            ("a", "pg"),
            ("b", "T"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", "4"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg"),
        ];
        let sent = broker.call(310, &fields, "x");
        assert_eq!(sent.code, 0, "{:?}", sent.remark);
        let id: crate::common::message_id::MessageId =
            sent.fields.get("msgId").unwrap().parse().unwrap();
        [id.offset.to_string(), sent.fields.get("queueOffset").unwrap().to_owned()]
    }

    fn end(broker: &TestBroker, [log_offset, table_offset]: &[String; 2], how: &str) -> i32 {
        broker.end_transaction(log_offset, table_offset, how)
    }

    #[test]
    fn of_several_ends_the_first_counts_also_after_a_restart() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        // Offset 0 of the log would be that of a half message that nothing is before.
        broker.send("T", "0", "first");
        let delivered = |broker: &TestBroker| broker.running.broker.store.max_offset("T", 0);
        let (kept, dropped) = (half(&broker), half(&broker));
        assert_eq!(end(&broker, &kept, COMMIT), 0);
        assert_eq!(end(&broker, &kept, COMMIT), 0);
        assert_eq!(end(&broker, &kept, ROLLBACK), 0);
        assert_eq!(end(&broker, &dropped, ROLLBACK), 0);
        assert_eq!(end(&broker, &dropped, COMMIT), 0);
        assert_eq!(delivered(&broker), 2);
        assert_eq!(broker.running.broker.ended_transactions.contradicted(), 2);
        assert_eq!(broker.running.broker.store.max_offset(TRANS_OP_HALF_TOPIC, 0), 2);
        let broker = broker.restart();
        assert_eq!(end(&broker, &kept, COMMIT), 0);
        assert_eq!(end(&broker, &dropped, COMMIT), 0);
        assert_eq!(delivered(&broker), 2);
        assert_eq!(end(&broker, &half(&broker), COMMIT), 0);
        assert_eq!(delivered(&broker), 3);
    }
}
