//! RECALL_MESSAGE (370): a timed message is taken back before its time, as producers of 5.x ask for
//! it by the handle that the answer to their send brought.
//!
//! Nothing in the wheel is removed. A second message, due at the same time, says that the first is not
//! to be delivered; [`store::timer`](crate::store::timer) finds both in one slot.

use std::sync::Arc;

use super::put_message::{self, Wishes};
use super::send::{is_stored, put_status_answer};
use super::{Answer, Broker, Refusal, timed};
use crate::common::base64;
use crate::common::clock::now_ms;
use crate::common::properties::{
    BORN_TIMESTAMP, PRODUCER_GROUP, TAGS, TIMER_DELETE_KEY, TIMER_DELIVER_MS, UNIQUE_KEY,
};
use crate::common::record::RecordFields;
use crate::common::topic::PERM_WRITE;
use crate::remoting::protocol::headers::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};
use crate::store::config::BrokerRole;
use crate::store::message::NewMessage;

/// First word of a handle.
const VERSION: &str = "v1";
/// Tag and body of a message that deletes another: those of 5.x.
const RECALL_TAG: &str = "_RECALL_TAG_";
const RECALL_BODY: &[u8] = b"0";

/// What a producer needs to take a timed message back: `v1 topic broker time uniqueKey`, separated by
/// blanks, in Base64 for links.
///
/// The time is when the message is due, ms. (5.x writes one millisecond past the begin of its slot; so
/// there a message can be recalled up to the begin of its last second only.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    /// Topic that the message was sent to.
    pub topic: String,
    /// Broker that has it.
    pub broker_name: String,
    /// When it is due, ms.
    pub due_ms: i64,
    /// Its unique key.
    pub unique_key: String,
}

impl RecallHandle {
    /// The text that travels.
    pub fn encode(&self) -> String {
        let Self { topic, broker_name, due_ms, unique_key } = self;
        base64::encode_url(
            format!("{VERSION} {topic} {broker_name} {due_ms} {unique_key}").as_bytes(),
        )
    }

    /// Reads a handle; `None` if the text is none. A time that is no number is one that is past.
    pub fn decode(text: &str) -> Option<Self> {
        let plain = String::from_utf8(base64::decode_url(text)?).ok()?;
        let mut words = plain.split(' ').map(str::to_owned);
        let version = words.next()?;
        let handle = Self {
            topic: words.next()?,
            broker_name: words.next()?,
            due_ms: words.next()?.parse().unwrap_or(-1),
            unique_key: words.next()?,
        };
        (version == VERSION).then_some(handle)
    }
}

/// Answers RECALL_MESSAGE. Refused are, in this order:
///
/// | what | code |
/// |---|---|
/// | any recall, with `recallMessageEnable=false` | 16 |
/// | a recall on a slave | 11 |
/// | before `startAcceptSendRequestTimeStamp`; broker not writable and `allowRecallWhenBrokerNotWriteable=false` | 14 |
/// | an unknown topic | 17 |
/// | no handle; one of another topic or broker; a time that is past or beyond `timerMaxDelaySec` | 604 |
pub fn process(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let header: RecallMessageRequestHeader = request.header()?;
    let mut response = Command::response(code::SUCCESS);
    response.fields.push_str("MSG_REGION", &broker.config.get().region_id);
    match recall(broker, connection, &header) {
        Ok(unique_key) => {
            response =
                response.with_header(&RecallMessageResponseHeader { msg_id: Some(unique_key) });
        }
        Err(refusal) => refusal.write(&mut response),
    }
    Ok(Some(response))
}

/// Checks a handle and stores the message that deletes. Returns its unique key, which is that of
/// the one it deletes.
fn recall(
    broker: &Broker,
    connection: &Connection,
    header: &RecallMessageRequestHeader,
) -> Result<String, Refusal> {
    let handle = check(broker, header)?;
    let topic = &*handle.topic;
    let (born, due) = (now_ms(), handle.due_ms.to_string());
    let (born_text, deletes) = (born.to_string(), format!("{topic}+{}", handle.unique_key));
    let mut own = vec![
        (TAGS, RECALL_TAG),
        (TIMER_DELETE_KEY, &deletes),
        (UNIQUE_KEY, &handle.unique_key),
        (TIMER_DELIVER_MS, &due),
        (BORN_TIMESTAMP, &born_text),
    ];
    let group = header.producer_group.as_deref().unwrap_or_default();
    if !group.is_empty() {
        own.push((PRODUCER_GROUP, group));
    }
    let properties = put_message::rewrite("", &[], &own);
    let wishes = Wishes::of(&properties);
    let waiting = timed::waiting_again(broker, &wishes, 0)?;
    let placed = put_message::place_again(topic, 0, 0, &properties, &wishes, waiting)
        .map_err(|problem| Refusal::new(code::SYSTEM_ERROR, problem))?;
    let message = NewMessage {
        record: RecordFields {
            topic: &placed.topic,
            queue_id: placed.queue_id,
            flag: 0,
            sys_flag: placed.sys_flag,
            born_timestamp: born,
            born_host: connection.peer_addr(),
            store_host: broker.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: RECALL_BODY,
            properties: &placed.properties,
        },
        wait_store: wishes.waits(),
    };
    let result = broker.store.put(&message).wait();
    if !is_stored(result.status) {
        let (_, why) = put_status_answer(broker, &result);
        let why = why.unwrap_or_default();
        let remark = format!("recall failed, execute error: {why}");
        return Err(Refusal::new(code::SYSTEM_ERROR, remark));
    }
    broker.stats.put(&placed.topic, placed.queue_id, result.messages, result.wrote_bytes);
    Ok(handle.unique_key)
}

/// Whether the request may take back what it names.
fn check(broker: &Broker, header: &RecallMessageRequestHeader) -> Result<RecallHandle, Refusal> {
    let config = broker.config.get();
    let store = broker.store.config();
    if !config.recall_message_enable {
        let problem = "recall failed, operation is forbidden; recallMessageEnable=true allows it";
        return Err(Refusal::new(code::NO_PERMISSION, problem));
    }
    if store.broker_role == BrokerRole::Slave {
        let problem = "recall failed, broker service not available: this broker is a slave";
        return Err(Refusal::new(code::SLAVE_NOT_AVAILABLE, problem));
    }
    let now = now_ms();
    let writable = config.broker_permission & PERM_WRITE != 0;
    if now < config.start_accept_send_request_time_stamp
        || (!writable && !config.allow_recall_when_broker_not_writeable)
    {
        let problem = "recall failed, broker service not available: it takes no messages now";
        return Err(Refusal::new(code::SERVICE_NOT_AVAILABLE, problem));
    }
    if !broker.topics.contains(&header.topic) {
        let problem = format!("recall failed, the topic[{}] not exist", header.topic);
        return Err(Refusal::new(code::TOPIC_NOT_EXIST, problem));
    }
    let illegal =
        |problem: &str| Refusal::new(code::ILLEGAL_OPERATION, format!("recall failed, {problem}"));
    let handle = RecallHandle::decode(&header.recall_handle).ok_or_else(|| {
        illegal("recall handle is invalid: it is the recallHandle of the answer to the send")
    })?;
    if handle.topic != header.topic {
        return Err(illegal(&format!("topic not match: the handle is of {}", handle.topic)));
    }
    if handle.broker_name != config.broker_name {
        let theirs = &handle.broker_name;
        return Err(illegal(&format!("broker service not available: the message is on {theirs}")));
    }
    let left_ms = handle.due_ms.saturating_sub(now);
    let most_ms = i64::from(store.timer_max_delay_sec) * 1000;
    if left_ms <= 0 || left_ms >= most_ms {
        return Err(illegal(&format!(
            "timestamp invalid: the message is due in {left_ms} ms, expected 1 to {most_ms}"
        )));
    }
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{TestBroker, wait_until};
    use crate::common::topic::TIMER_TOPIC;
    use crate::remoting::protocol::request_code::RECALL_MESSAGE;

    fn handle() -> RecallHandle {
        RecallHandle {
            topic: "T".to_owned(),
            broker_name: "broker-a".to_owned(),
            due_ms: 1_700_000_000_001,
            unique_key: "7F000001".to_owned(),
        }
    }

    #[test]
    fn a_handle_is_that_of_5_x() {
        let text = handle().encode();
        assert_eq!(text, "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAxIDdGMDAwMDAx");
        assert_eq!(RecallHandle::decode(&text), Some(handle()));
        for bad in ["", "?", "djEgVA==", &base64::encode_url(b"v2 T b 1 k")] {
            assert_eq!(RecallHandle::decode(bad), None, "{bad}");
        }
        let soon = base64::encode_url(b"v1 T b soon k");
        assert_eq!(RecallHandle::decode(&soon).unwrap().due_ms, -1);
    }

    fn timed_send(broker: &TestBroker, key: &str, delay_ms: i64) -> String {
        let properties = format!("UNIQ_KEY\u{1}{key}\u{2}TIMER_DELAY_MS\u{1}{delay_ms}");
        let sent = broker.send_with("T", "0", &properties, key);
        sent.fields.get("recallHandle").expect("a timed message has a handle").to_owned()
    }

    #[test]
    fn what_is_recalled_is_not_delivered_and_what_is_not_is() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        let gone = timed_send(&broker, "gone", 700);
        timed_send(&broker, "stays", 700);
        let recalled = broker.call(RECALL_MESSAGE, &[("topic", "T"), ("recallHandle", &gone)], "");
        assert_eq!(recalled.code, code::SUCCESS, "{:?}", recalled.remark);
        assert_eq!(recalled.fields.get("msgId"), Some("gone"));
        let store = &broker.running.broker.store;
        wait_until("the other is delivered", || store.max_offset("T", 0) > 0);
        // Both were due at the same time, and the first would have come first.
        let offset = store.commit_log_offset("T", 0, 0);
        assert_eq!(store.look_message_by_offset(offset).unwrap().message.body, b"stays"[..]);
        let later = timed_send(&broker, "later", 300);
        wait_until("a third is delivered", || store.max_offset("T", 0) > 1);
        assert_eq!(store.max_offset("T", 0), 2);
        assert_eq!(store.max_offset(TIMER_TOPIC, 0), 4);
        let late = broker.call(RECALL_MESSAGE, &[("topic", "T"), ("recallHandle", &later)], "");
        assert_eq!(late.code, code::ILLEGAL_OPERATION, "its time has passed");
    }

    #[test]
    fn a_recall_that_makes_no_sense_is_told_why() {
        let broker = TestBroker::start();
        broker.make_topic("T", "1");
        broker.make_topic("U", "1");
        let good = timed_send(&broker, "k", 60_000);
        let elsewhere = RecallHandle { broker_name: "other".to_owned(), ..handle() }.encode();
        let far = RecallHandle { due_ms: now_ms() + 400_000_000, ..handle() }.encode();
        for (fields, answer, word) in [
            (vec![("recallHandle", &*good)], code::SYSTEM_ERROR, "topic"),
            (vec![("topic", "T")], code::ILLEGAL_OPERATION, "recallHandle"),
            (vec![("topic", "none"), ("recallHandle", &good)], code::TOPIC_NOT_EXIST, "none"),
            (vec![("topic", "T"), ("recallHandle", "x")], code::ILLEGAL_OPERATION, "handle"),
            (vec![("topic", "U"), ("recallHandle", &good)], code::ILLEGAL_OPERATION, "topic"),
            (vec![("topic", "T"), ("recallHandle", &elsewhere)], code::ILLEGAL_OPERATION, "other"),
            (vec![("topic", "T"), ("recallHandle", &far)], code::ILLEGAL_OPERATION, "expected"),
        ] {
            let told = broker.call(RECALL_MESSAGE, &fields, "");
            let remark = told.remark.unwrap_or_default();
            assert_eq!(told.code, answer, "{fields:?}: {remark}");
            assert!(remark.contains(word), "{fields:?}: {remark}");
        }
        let off = "recallMessageEnable=false";
        broker.ask(25, &[], off);
        let told = broker.call(RECALL_MESSAGE, &[("topic", "T"), ("recallHandle", &good)], "");
        assert_eq!(told.code, code::NO_PERMISSION);
    }
}
