//! Every request that clients and tools send to a broker, in every malformed variant: a field missing, of
//! the wrong type, out of range; a topic, group, queue, message or transaction that is not there; an
//! expression that does not compile. Each is answered with RocketMQ's code, and with a remark that names
//! what is wrong and says what would be right.

mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rocketmq::broker::startup::{Configuration, RunningBroker, start};
use rocketmq::remoting::config::{ClientConfig, ServerConfig};
use rocketmq::remoting::{Command, RemotingClient};

use support::TempDir;

const LONG: Duration = Duration::from_secs(60);
/// For requests that are not answered.
const SHORT: Duration = Duration::from_millis(300);

const OK: i32 = 0;
const ERROR: i32 = 1;

struct Site {
    broker: RunningBroker,
    client: Arc<RemotingClient>,
    addr: String,
    _dir: TempDir,
}

type Fields<'a> = Vec<(&'a str, String)>;

impl Site {
    /// A broker with the topic `T` of two queues, which has two messages, SQL92, and nothing made on use.
    fn new() -> Self {
        let dir = TempDir::new("bad-requests");
        let mut configuration = Configuration {
            server: ServerConfig { listen_port: 0, ..ServerConfig::default() },
            file: Some(dir.path().join("broker.conf")),
            ..Configuration::default()
        };
        let broker = &mut configuration.broker;
        broker.broker_ip1 = "127.0.0.1".to_owned();
        broker.broker_name = "broker-a".to_owned();
        broker.namesrv_addr = String::new();
        broker.enable_property_filter = true;
        broker.auto_create_topic_enable = false;
        broker.auto_create_subscription_group = false;
        broker.broker_fast_failure_enable = false;
        let store = &mut configuration.store;
        store.store_path_root_dir = dir.path().join("store").display().to_string();
        store.mapped_file_size_commit_log = 4 << 20;
        store.disk_max_used_space_ratio = 95;
        // A send that is late because the machine is busy is no malformed one.
        store.os_page_cache_busy_time_out_mills = 60_000;
        let broker = start(configuration).expect("the broker starts");
        let addr = format!("127.0.0.1:{}", broker.main_addr().port());
        let site =
            Self { broker, client: RemotingClient::new(ClientConfig::default()), addr, _dir: dir };
        site.prepare();
        site
    }

    fn prepare(&self) {
        for topic in ["T", "RO"] {
            let mut fields = all(TOPIC);
            set(&mut fields, "topic", topic);
            set(&mut fields, "perm", if topic == "RO" { "2" } else { "6" });
            assert_eq!(self.call(17, &fields, "").expect("an answer").code, OK);
        }
        for group in ["g", "stopped"] {
            let body = format!(r#"{{"groupName":"{group}","consumeEnable":{}}}"#, group == "g");
            assert_eq!(self.call(200, &Vec::new(), &body).expect("an answer").code, OK);
        }
        for _ in 0..2 {
            assert_eq!(self.call(310, &all(SEND), "x").expect("an answer").code, OK);
        }
        support::until("both are there", LONG, || {
            (self.broker.broker.store.max_offset("T", 1) == 2).then_some(())
        });
    }

    fn call_within(
        &self,
        code: i32,
        fields: &Fields<'_>,
        body: &str,
        limit: Duration,
    ) -> Option<Command> {
        let mut request = Command::request(code).with_body(body.as_bytes().to_vec());
        fields.iter().for_each(|(name, value)| request.fields.push_str(name, value));
        self.client.call(&self.addr, request, limit).ok()
    }

    fn call(&self, code: i32, fields: &Fields<'_>, body: &str) -> Option<Command> {
        self.call_within(code, fields, body, LONG)
    }
}

/// How a field is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any text.
    Text,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
}
use Kind::{Int, Long, Text};

/// A field of a well-made request: name, kind, value, whether the request fails without it. (What
/// Java does without, this broker does without too, and an unreadable value is then an absent one.)
type Field = (&'static str, Kind, &'static str, bool);

const TOPIC: &[Field] = &[
    ("topic", Text, "Made", true),
    ("readQueueNums", Int, "2", true),
    ("writeQueueNums", Int, "2", true),
    ("perm", Int, "6", true),
    ("topicFilterType", Text, "SINGLE_TAG", true),
    ("topicSysFlag", Int, "0", false),
];
const SEND: &[Field] = &[
    ("a", Text, "p", false),
    ("b", Text, "T", true),
    ("c", Text, "TBW102", false),
    ("d", Int, "4", false),
    ("e", Int, "1", true),
    ("f", Int, "0", true),
    ("g", Long, "1700000000000", true),
    ("h", Int, "0", true),
    ("j", Int, "0", false),
    ("l", Int, "16", false),
];
const SEND_V1: &[Field] = &[
    ("producerGroup", Text, "p", false),
    ("topic", Text, "T", true),
    ("defaultTopic", Text, "TBW102", false),
    ("queueId", Int, "1", true),
    ("sysFlag", Int, "0", true),
    ("bornTimestamp", Long, "1700000000000", true),
    ("flag", Int, "0", true),
];
const PULL: &[Field] = &[
    ("consumerGroup", Text, "g", true),
    ("topic", Text, "T", true),
    ("queueId", Int, "1", true),
    ("queueOffset", Long, "0", true),
    ("maxMsgNums", Int, "32", true),
    ("sysFlag", Int, "4", true),
    ("commitOffset", Long, "0", false),
    ("suspendTimeoutMillis", Long, "0", false),
    ("subscription", Text, "*", false),
    ("subVersion", Long, "0", false),
];
const QUEUE: &[Field] = &[("topic", Text, "T", true), ("queueId", Int, "1", true)];
const OFFSET: &[Field] =
    &[("consumerGroup", Text, "g", false), ("topic", Text, "T", true), ("queueId", Int, "1", true)];
const COMMIT: &[Field] = &[
    ("consumerGroup", Text, "g", false),
    ("topic", Text, "T", false),
    ("queueId", Int, "1", true),
    ("commitOffset", Long, "1", true),
];
const SEARCH: &[Field] =
    &[("topic", Text, "T", true), ("queueId", Int, "1", true), ("timestamp", Long, "0", true)];
const QUERY: &[Field] = &[
    ("topic", Text, "T", false),
    ("key", Text, "k", false),
    ("maxNum", Int, "32", true),
    ("beginTimestamp", Long, "0", true),
    ("endTimestamp", Long, "4000000000000", true),
];
const BACK: &[Field] =
    &[("group", Text, "g", true), ("offset", Long, "0", true), ("delayLevel", Int, "3", true)];
const END: &[Field] = &[
    ("producerGroup", Text, "p", true),
    ("tranStateTableOffset", Long, "0", true),
    ("commitLogOffset", Long, "0", true),
    ("commitOrRollback", Int, "8", true),
];
const CONSUME_QUEUE: &[Field] = &[
    ("topic", Text, "T", true),
    ("queueId", Int, "1", false),
    ("index", Long, "0", false),
    ("count", Int, "2", false),
];
const RESET: &[Field] =
    &[("topic", Text, "T", true), ("group", Text, "g", true), ("timestamp", Long, "-1", false)];
const RUNNING: &[Field] = &[("consumerGroup", Text, "g", true), ("clientId", Text, "c", true)];
const DIRECTLY: &[Field] = &[("consumerGroup", Text, "g", true), ("msgId", Text, "x", true)];
const RECALL: &[Field] = &[("topic", Text, "T", true), ("recallHandle", Text, "x", false)];
const STATISTICS: &[Field] = &[("statsName", Text, "X", true), ("statsKey", Text, "T", true)];
const OF_TOPIC: &[Field] = &[("topic", Text, "T", true)];
const OF_CONSUMERS: &[Field] = &[("consumerGroup", Text, "g", true)];
const OF_PRODUCERS: &[Field] = &[("producerGroup", Text, "p", true)];
const OF_GROUP: &[Field] = &[("groupName", Text, "nobody", true)];
const TOPIC_AND_GROUP: &[Field] = &[("topic", Text, "T", true), ("group", Text, "g", true)];
const TIME_SPAN: &[Field] = &[("topic", Text, "T", true), ("group", Text, "g", false)];
const CONFIG_OF_TOPIC: &[Field] = &[("topic", Text, "T", true), ("lo", Text, "true", false)];
const MESSAGE: &[Field] = &[("offset", Long, "0", true)];

/// Each request with its fields.
const REQUESTS: &[(i32, &[Field])] = &[
    (10, SEND_V1),
    (11, PULL),
    (361, PULL),
    (12, QUERY),
    (14, OFFSET),
    (15, COMMIT),
    (17, TOPIC),
    (29, SEARCH),
    (30, QUEUE),
    (31, QUEUE),
    (32, QUEUE),
    (33, MESSAGE),
    (36, BACK),
    (37, END),
    (38, OF_CONSUMERS),
    (202, OF_TOPIC),
    (203, OF_CONSUMERS),
    (204, OF_PRODUCERS),
    (207, OF_GROUP),
    (215, OF_TOPIC),
    (222, RESET),
    (300, OF_TOPIC),
    (303, TIME_SPAN),
    (307, RUNNING),
    (309, DIRECTLY),
    (310, SEND),
    (315, STATISTICS),
    (321, CONSUME_QUEUE),
    (324, SEND_V1),
    (325, SEND),
    (345, TOPIC_AND_GROUP),
    (351, CONFIG_OF_TOPIC),
    (370, RECALL),
];

fn all(fields: &[Field]) -> Fields<'static> {
    fields.iter().map(|(name, _, value, _)| (*name, (*value).to_owned())).collect()
}

fn set<'a>(fields: &mut Fields<'a>, name: &'a str, value: &str) {
    match fields.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => value.clone_into(old),
        None => fields.push((name, value.to_owned())),
    }
}

#[test]
fn a_field_that_is_missing_or_unreadable_is_named_with_what_would_be_right() {
    let site = Site::new();
    let mut wrong = String::new();
    let mut check = |code: i32, what: String, fields: &Fields<'_>, words: &[&str]| {
        let Some(answer) = site.call(code, fields, "x") else {
            let _ = writeln!(wrong, "{code} {what}: no answer");
            return;
        };
        let remark = answer.remark.unwrap_or_default();
        if answer.code != ERROR || !words.iter().all(|word| remark.contains(word)) {
            let _ = writeln!(wrong, "{code} {what}: {} {remark}", answer.code);
        }
    };
    for (code, fields) in REQUESTS {
        for (name, kind, _, required) in *fields {
            // Without a topic, the topic is what is wrong with a send.
            let is_topic_of_send = matches!((code, *name), (10 | 324, "topic") | (310 | 325, "b"));
            if *required && !is_topic_of_send {
                let mut without = all(fields);
                without.retain(|(known, _)| known != name);
                check(*code, format!("without {name}"), &without, &[name, "missing"]);
            }
            let odd: &[&str] = match kind {
                Text => &[],
                Int => &["", "one", "1.5", " 1", "0x1", "2147483648", "99999999999999999999"],
                Long => &["", "one", "1.5", "9223372036854775808"],
            };
            for value in odd.iter().filter(|_| *required) {
                let mut with = all(fields);
                set(&mut with, name, value);
                let quoted = format!("\"{value}\"");
                check(*code, format!("{name}={value:?}"), &with, &[name, &quoted, "integer"]);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is changed in a well-made request; a value that is `-` takes the field away.
type Changes = &'static [(&'static str, &'static str)];

const SQL: Changes = &[("expressionType", "SQL92")];
/// `DELAY=x`, as properties are written.
const DELAY_X: &str = "DELAY\u{1}x";
const TIMER_X: &str = "TIMER_DELAY_MS\u{1}x";
const TIMER_FAR: &str = "TIMER_DELAY_SEC\u{1}999999";
const BATCH_DELAY: &str = "DELAY\u{1}3";

/// Request, its fields, what is changed, body; code, and what the remark says.
type Row = (i32, &'static [Field], Changes, &'static str, i32, &'static [&'static str]);

const ROWS: &[Row] = &[
    // Sends.
    (310, SEND, &[("b", "none")], "x", 17, &["topic[none] not exist, apply first"]),
    (
        10,
        SEND_V1,
        &[("topic", "none"), ("defaultTopicQueueNums", "4")],
        "x",
        17,
        &["topic[none] not exist"],
    ),
    (10, SEND_V1, &[("topic", "none")], "x", 1, &["how to make it", "defaultTopicQueueNums"]),
    (310, SEND, &[("b", "-")], "x", 1, &["blank"]),
    (310, SEND, &[("b", "a b")], "x", 1, &["illegal characters, allowing only"]),
    (310, SEND, &[("b", "SCHEDULE_TOPIC_XXXX")], "x", 16, &["is forbidden"]),
    (310, SEND, &[("b", "RMQ_SYS_TRANS_HALF_TOPIC")], "x", 16, &["is forbidden"]),
    (310, SEND, &[("e", "2")], "x", 1, &["queueId[2] is illegal", "queues 0 to 1"]),
    (310, SEND, &[("i", DELAY_X)], "x", 1, &["DELAY is \"x\"", "expected an integer"]),
    (310, SEND, &[("i", TIMER_X)], "x", 13, &["TIMER_DELAY_MS is \"x\"", "an integer"]),
    (310, SEND, &[("i", TIMER_FAR)], "x", 13, &["timerMaxDelaySec allows 259200"]),
    (310, SEND, &[("b", "%RETRY%nobody"), ("e", "0")], "x", 26, &["group not exist, nobody"]),
    (320, SEND, &[("m", "true")], "xyz", 1, &["the body is not a batch"]),
    (320, SEND, &[("m", "true")], "", 1, &["the batch has no messages"]),
    (320, SEND, &[("m", "true"), ("i", BATCH_DELAY)], "x", 13, &["cannot be delayed", "single"]),
    (324, SEND_V1, &[("queueId", "0")], "x", 1, &["REPLY_TO_CLIENT"]),
    (325, SEND, &[("e", "0"), ("i", "REPLY_TO_CLIENT\u{1}nobody")], "x", 1, &["nobody"]),
    // Back to the broker.
    (36, BACK, &[("group", "nobody")], "", 26, &["group not exist, nobody"]),
    (36, BACK, &[("offset", "7")], "", 1, &["7"]),
    (36, BACK, &[("offset", "-1")], "", 1, &["-1"]),
    (36, BACK, &[("offset", "99999999999")], "", 1, &["99999999999"]),
    // Ends of transactions.
    (37, END, &[("commitOrRollback", "4")], "", 1, &["is 4, expected 8 (commit), 12"]),
    (37, END, &[("commitLogOffset", "99999")], "", 1, &["no half message", "99999"]),
    (37, END, &[("commitLogOffset", "-1")], "", 1, &["no half message", "-1"]),
    (37, END, &[], "", 1, &["not a half message"]),
    // Pulls.
    (11, PULL, &[("consumerGroup", "nobody")], "", 26, &["[nobody] does not exist"]),
    (11, PULL, &[("consumerGroup", "stopped")], "", 16, &["no permission, stopped"]),
    (11, PULL, &[("topic", "none")], "", 17, &["topic[none] not exist, apply first"]),
    (11, PULL, &[("topic", "RO")], "", 16, &["the topic[RO] pulling message is forbidden"]),
    (11, PULL, &[("queueId", "2")], "", 1, &["queueId[2] is illegal", "readQueueNums:[2]"]),
    (11, PULL, &[("queueId", "-1")], "", 1, &["queueId[-1] is illegal"]),
    (11, PULL, &[("sysFlag", "0")], "", 24, &["group info not exist"]),
    (11, PULL, &[("subscription", "||")], "", 23, &["parse the consumer's subscription failed"]),
    (11, PULL, &[("expressionType", "SQL92"), ("subscription", "")], "", 23, &["empty"]),
    (11, PULL, &[("expressionType", "SQL92"), ("subscription", "a >")], "", 23, &["column 4"]),
    (11, PULL, &[("expressionType", "GROOVY"), ("subscription", "a")], "", 23, &["GROOVY"]),
    (11, PULL, &[("queueOffset", "3")], "", 21, &["OFFSET_OVERFLOW_BADLY"]),
    (11, PULL, &[("queueOffset", "9223372036854775807")], "", 21, &["OFFSET_OVERFLOW_BADLY"]),
    (11, PULL, &[("queueOffset", "-1")], "", 21, &["OFFSET_TOO_SMALL"]),
    // Looking up.
    (12, QUERY, &[("maxNum", "-1")], "", 1, &["maxNum is -1, expected at least 0"]),
    (12, QUERY, &[("key", "none")], "", 22, &["can not find message"]),
    (33, MESSAGE, &[("offset", "5")], "", 1, &["5"]),
    (33, MESSAGE, &[("offset", "-1")], "", 1, &["-1"]),
    (33, MESSAGE, &[("offset", "9223372036854775807")], "", 1, &["9223372036854775807"]),
    (321, CONSUME_QUEUE, &[("topic", "none")], "", 1, &["1@none is not exist"]),
    // Members and groups.
    (38, OF_CONSUMERS, &[], "", 1, &["no consumer for this group, g"]),
    (203, OF_CONSUMERS, &[], "", 206, &["the consumer group[g] not online"]),
    (204, OF_PRODUCERS, &[], "", 1, &["the producer group[p] not exist"]),
    (222, RESET, &[("topic", "none")], "", 1, &["no topic in this broker. topic=none"]),
    (222, RESET, &[], "", 1, &["consumer group <g> not exist"]),
    (303, TIME_SPAN, &[("topic", "none")], "", 17, &["topic[none] not exist"]),
    (307, RUNNING, &[], "", 1, &["<g> <c> not online"]),
    (309, DIRECTLY, &[], "", 1, &["no offset message id"]),
    (315, STATISTICS, &[], "", 1, &["The stats <X> <T> not exist"]),
    (351, CONFIG_OF_TOPIC, &[("topic", "none")], "", 17, &["No topic in this broker"]),
    // Recalls.
    (370, RECALL, &[], "", 604, &["recall handle is invalid", "recallHandle of the answer"]),
    (370, RECALL, &[("recallHandle", "-")], "", 604, &["recall handle is invalid"]),
    (370, RECALL, &[("topic", "none")], "", 17, &["the topic[none] not exist"]),
    // Bodies.
    (34, &[], &[], "", 1, &["ends before a value"]),
    (34, &[], &[], "[]", 1, &["not an object"]),
    (34, &[], &[], "{\"clientID\":", 1, &["ends before"]),
    (46, &[], &[], "{", 1, &["ends before"]),
    (41, &[], &[], "{\"mqSet\":1}", 1, &["mqSet"]),
    (42, &[], &[], "nonsense", 1, &["JSON"]),
    (200, &[], &[], "{}", 1, &["no groupName"]),
    // Nobody's.
    (13, &[], &[], "", 3, &[" request type 13 not supported"]),
    (400, &[], &[], "", 3, &[" request type 400 not supported"]),
    (200_050, &[], &[], "", 3, &[" request type 200050 not supported"]),
];

#[test]
fn what_is_not_there_or_not_allowed_is_answered_with_its_code_and_why() {
    let site = Site::new();
    let mut wrong = String::new();
    for (code, fields, changes, body, expected, words) in ROWS {
        let mut sent = all(fields);
        for (name, value) in *changes {
            match *value {
                "-" => sent.retain(|(known, _)| known != name),
                value => set(&mut sent, name, value),
            }
        }
        let answer = site.call(*code, &sent, body).expect("an answer");
        let remark = answer.remark.unwrap_or_default();
        if answer.code != *expected || !words.iter().all(|word| remark.contains(word)) {
            let _ = writeln!(wrong, "{code} {changes:?} {body:?}: {} {remark}", answer.code);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // None of all that left anything behind.
    assert_eq!(site.broker.broker.store.max_offset("T", 1), 2);
}

/// The expression of a subscription that does not compile is pointed at.
#[test]
fn an_illegal_expression_is_told_with_its_column() {
    let site = Site::new();
    for (expression, column) in
        [("a >", 4), ("a = 1 AND", 10), ("a ? 1", 3), ("a BETWEEN 5 AND 1", 1)]
    {
        let mut fields = all(PULL);
        SQL.iter().for_each(|(name, value)| set(&mut fields, name, value));
        set(&mut fields, "subscription", expression);
        let pulled = site.call(11, &fields, "").expect("an answer");
        let body = format!(
            r#"{{"clientId":"c","group":"g","subscriptionData":{{"topic":"T","subString":"{expression}","expressionType":"SQL92"}}}}"#
        );
        let checked = site.call(46, &Vec::new(), &body).expect("an answer");
        for answer in [pulled, checked] {
            let remark = answer.remark.unwrap_or_default();
            assert_eq!(answer.code, 23, "{expression}: {remark}");
            let told = remark.contains(&format!("column {column}"));
            assert!(told, "{expression}: {remark}");
        }
    }
}

/// Neither a transaction of somebody else nor one that is undecided is ended.
#[test]
fn a_foreign_or_undecided_end_of_a_transaction_changes_nothing() {
    let site = Site::new();
    let mut send = all(SEND);
    set(&mut send, "i", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p");
    let sent = site.call(310, &send, "half").expect("an answer");
    let id = sent.fields.get("msgId").expect("an id").to_owned();
    let log_offset = i64::from_str_radix(&id[16..], 16).expect("an offset").to_string();
    let mut end = all(END);
    set(&mut end, "commitLogOffset", &log_offset);
    for (name, value, word) in [
        ("producerGroup", "other", "producer group"),
        ("tranStateTableOffset", "5", "state table offset"),
    ] {
        let mut foreign = end.clone();
        set(&mut foreign, name, value);
        let answer = site.call(37, &foreign, "").expect("an answer");
        let remark = answer.remark.unwrap_or_default();
        assert_eq!(answer.code, ERROR, "{remark}");
        assert!(remark.contains(word), "{remark}");
    }
    let mut undecided = end.clone();
    set(&mut undecided, "commitOrRollback", "0");
    assert!(site.call_within(37, &undecided, "", SHORT).is_none(), "it is not answered");
    assert_eq!(site.broker.broker.store.max_offset("T", 1), 2);
    assert_eq!(site.call(37, &end, "").expect("an answer").code, OK);
    support::until("it is delivered", LONG, || {
        (site.broker.broker.store.max_offset("T", 1) == 3).then_some(())
    });
}
