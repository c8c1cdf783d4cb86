//! The requests of tools and consumers over sockets, against a whole broker.
#![cfg(test)]

use std::sync::{Arc, Mutex, mpsc};

use crate::broker::testing::{LIMIT, TestBroker, wait_until};
use crate::common::json::{Json, Style};
use crate::remoting::command::Language;
use crate::remoting::config::ClientConfig;
use crate::remoting::server::Processor;
use crate::remoting::{Command, Connection, RemotingClient};

type Fields = &'static [(&'static str, &'static str)];

const QUEUE: Fields = &[("topic", "T"), ("queueId", "0")];
const TOPIC: Fields = &[
    ("topic", "New"),
    ("readQueueNums", "4"),
    ("writeQueueNums", "4"),
    ("perm", "6"),
    ("topicFilterType", "SINGLE_TAG"),
];

fn with(fields: Fields, changes: Fields) -> Vec<(&'static str, &'static str)> {
    let changed = |name: &str| changes.iter().any(|(other, _)| *other == name);
    fields.iter().filter(|(name, _)| !changed(name)).chain(changes).copied().collect()
}

#[test]
fn every_bad_request_is_told_what_is_wrong() {
    let broker = TestBroker::start();
    let cases: &[(i32, Fields, Fields, &str, i32, &str)] = &[
        (34, &[], &[], "", 1, "ends before a value"),
        (34, &[], &[], "[]", 1, "not an object"),
        (34, &[], &[], "{\"clientID\":", 1, "ends before"),
        (34, &[], &[], "{\"consumerDataSet\":null}", 1, "consumerDataSet is null"),
        (46, &[], &[], "{", 1, "ends before"),
        (38, &[], &[], "", 1, "consumerGroup is missing"),
        (38, &[("consumerGroup", "nobody")], &[], "", 1, "no consumer for this group, nobody"),
        (14, &[("topic", "T")], &[], "", 1, "queueId is missing"),
        (14, QUEUE, &[("consumerGroup", "g"), ("queueId", "x")], "", 1, "queueId is \"x\""),
        (15, QUEUE, &[("consumerGroup", "g")], "", 1, "commitOffset is missing"),
        (15, QUEUE, &[("consumerGroup", "g"), ("commitOffset", "1.5")], "", 1, "64-bit integer"),
        (17, TOPIC, &[("topic", " ")], "", 1, "blank"),
        (17, TOPIC, &[("topic", "a.b")], "", 1, "illegal characters"),
        (17, TOPIC, &[("topic", "TBW102")], "", 1, "conflict with system topic"),
        (17, TOPIC, &[("topic", "broker-a")], "", 1, "conflict with system topic"),
        (17, TOPIC, &[("readQueueNums", "2000000000")], "", 1, "it must be at most"),
        (17, TOPIC, &[("writeQueueNums", "2147483647")], "", 1, "writeQueueNums is 2147483647"),
        (17, TOPIC, &[("topicFilterType", "TAG")], "", 1, "SINGLE_TAG or MULTI_TAG"),
        (17, TOPIC, &[("perm", "rw")], "", 1, "perm is \"rw\""),
        (215, &[], &[], "", 1, "topic is missing"),
        (215, &[("topic", "SELF_TEST_TOPIC")], &[], "", 1, "conflict with system topic"),
        (202, &[("topic", "none")], &[], "", 17, "topic[none] not exist"),
        (303, &[("topic", "none"), ("group", "g")], &[], "", 17, "topic[none] not exist"),
        (200, &[], &[], "", 1, "ends before a value"),
        (200, &[], &[], "{}", 1, "no groupName"),
        (
            200,
            &[],
            &[],
            r#"{"groupName":"g","retryQueueNums":2000000000}"#,
            1,
            "it must be at most",
        ),
        (200, &[], &[], r#"{"groupName":"g","retryMaxTimes":"x"}"#, 1, "retryMaxTimes"),
        (207, &[], &[], "", 1, "groupName is missing"),
        (203, &[("consumerGroup", "g")], &[], "", 206, "the consumer group[g] not online"),
        (204, &[("producerGroup", "g")], &[], "", 1, "the producer group[g] not exist"),
        (25, &[], &[], "brokerPermission=x", 1, "brokerPermission=x"),
        (25, &[], &[], "brokerPermision=6", 1, "did you mean brokerPermission"),
        (25, &[], &[], "rocketmqHome=/", 16, "rocketmqHome"),
        (29, QUEUE, &[], "", 1, "timestamp is missing"),
        (30, &[("topic", "T")], &[], "", 1, "queueId is missing"),
        (31, QUEUE, &[("queueId", "")], "", 1, "queueId is \"\""),
        (32, &[], &[], "", 1, "topic is missing"),
        (41, &[], &[], "{\"mqSet\":1}", 1, "mqSet"),
        (42, &[], &[], "nonsense", 1, "JSON"),
        (50, &[], &[], "", 209, "aclEnable=false"),
        (51, &[], &[], "", 210, "aclEnable=false"),
        (52, &[], &[], "", 1, "aclEnable=false"),
        (53, &[], &[], "", 211, "aclEnable=false"),
        (208, &[], &[], "", 1, "consumerGroup is missing"),
        (222, &[("topic", "none"), ("group", "g")], &[], "", 1, "no topic in this broker"),
        (223, &[("topic", "T"), ("group", "g")], &[], "", 1, "No Any Consumer online"),
        (307, &[("consumerGroup", "g"), ("clientId", "c")], &[], "", 1, "<g> <c> not online"),
        (309, &[("consumerGroup", "g"), ("msgId", "x")], &[], "", 1, "no offset message id"),
        (315, &[("statsName", "X"), ("statsKey", "k")], &[], "", 1, "The stats <X> <k> not exist"),
        (321, QUEUE, &[("topic", "none")], "", 1, "0@none is not exist"),
        (323, &[("msgId", "7F")], &[], "", 1, "no offset message id"),
        (351, &[("topic", "none")], &[], "", 17, "No topic in this broker. topic: none"),
        (352, &[("topic", "T")], &[], "", 1, "group is missing"),
        (352, &[], &[], "", 3, "not supported"),
        (345, &[("topic", "T")], &[], "", 1, "group is missing"),
        (13, &[], &[], "", 3, " request type 13 not supported"),
        (-1, &[], &[], "", 3, " request type -1 not supported"),
    ];
    for (code, fields, changes, body, expected, remark) in cases {
        let answer = broker.call(*code, &with(fields, changes), *body);
        let said = answer.remark.clone().unwrap_or_default();
        assert_eq!(answer.code, *expected, "{code} {changes:?} {body}: {said}");
        assert!(said.contains(remark), "{code} {changes:?} {body}: {said}");
    }
    assert!(!broker.running.broker.topics.contains("New"));
}

#[test]
fn a_topic_is_made_described_and_deleted() {
    let broker = TestBroker::start();
    broker.make_topic("T", "2");
    broker.send("T", "1", "one");
    broker.settle();
    let stats = broker.ask(202, &[("topic", "T")], "");
    assert!(stats.starts_with(
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},{"brokerName":"broker-a","queueId":1,"topic":"T"}:{"lastUpdateTimestamp":1"#
    ), "{stats}");
    assert!(stats.ends_with(r#","maxOffset":1,"minOffset":0}}}"#), "{stats}");
    let units =
        broker.ask(321, &[("topic", "T"), ("queueId", "1"), ("index", "0"), ("count", "9")], "");
    assert!(
        units.starts_with(
            r#"{"maxQueueIndex":1,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":0,"#
        ),
        "{units}"
    );
    assert_eq!(
        broker.ask(351, &[("topic", "T"), ("lo", "true")], ""),
        r#"{"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":2}"#
    );
    let all = broker.call(21, &[], "");
    assert!(!all.fields.is_absent());
    assert!(String::from_utf8_lossy(all.body.as_bytes()).contains(
        r#""T":{"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":2}"#
    ));
    assert!(broker.file("topics.json").contains("\"T\":{"));
    broker.ask(215, &[("topic", "T")], "");
    broker.ask(215, &[("topic", "T")], "");
    assert_eq!(broker.call(202, &[("topic", "T")], "").code, 17);
    assert_eq!(broker.running.broker.store.max_offset("T", 1), 0, "its queues went with it");
}

#[test]
fn how_far_a_group_has_pulled_is_told_to_5() {
    let broker = TestBroker::start();
    broker.make_topic("T", "1");
    for _ in 0..5 {
        broker.send("T", "0", "x");
    }
    broker.settle();
    let position = [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0")];
    let pull = [("queueOffset", "0"), ("maxMsgNums", "3"), ("sysFlag", "4"), ("subscription", "*")];
    assert_eq!(broker.call(11, &[&position[..], &pull].concat(), "").code, 0);
    let committed = [&position[..], &[("commitOffset", "1")]].concat();
    broker.call(15, &committed, "");
    let asked_by = |version: i32| {
        let mut request = Command::request(208);
        request.version = version;
        position[..2].iter().for_each(|(name, value)| request.fields.push_str(name, value));
        let answer = broker.client.call(&broker.address(), request, LIMIT).unwrap();
        String::from_utf8(answer.body.into_bytes()).unwrap()
    };
    assert!(asked_by(479).contains(r#","pullOffset":3}"#), "{}", asked_by(479));
    assert!(!asked_by(409).contains("pullOffset"), "{}", asked_by(409));
    let committed = [&position[..], &[("commitOffset", "5")]].concat();
    broker.call(15, &committed, "");
    assert!(asked_by(479).contains(r#","pullOffset":5}"#), "at least what is committed");
}

/// A 5.x slave takes over the version of its master's offsets, too.
#[test]
fn offsets_have_a_version_for_slaves_of_5() {
    let broker = TestBroker::start();
    broker.make_topic("T", "1");
    let position = [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0")];
    broker.call(15, &[&position[..], &[("commitOffset", "1")]].concat(), "");
    let asked_by = |version: i32| {
        let mut request = Command::request(43);
        request.version = version;
        let answer = broker.client.call(&broker.address(), request, LIMIT).unwrap();
        String::from_utf8(answer.body.into_bytes()).unwrap()
    };
    assert!(asked_by(479).starts_with(r#"{"dataVersion":{"counter":1,"timestamp":"#));
    assert!(asked_by(479).ends_with(r#","offsetTable":{"T@G":{0:1}}}"#), "{}", asked_by(479));
    assert_eq!(asked_by(409), r#"{"offsetTable":{"T@G":{0:1}}}"#);
}

#[test]
fn positions_of_groups_are_told_as_java_tells_them() {
    let broker = TestBroker::start();
    broker.make_topic("T", "1");
    for _ in 0..5 {
        broker.send("T", "0", "x");
    }
    broker.settle();
    let group = |group: &'static str| [("consumerGroup", group), ("topic", "T"), ("queueId", "0")];
    assert_eq!(broker.call(14, &group("G"), "").fields.get("offset"), Some("0"), "starts at 0");
    let mut no_zero = group("G").to_vec();
    no_zero.push(("setZeroIfNotFound", "false"));
    assert_eq!(broker.call(14, &no_zero, "").code, 22);
    let mut commit = group("G").to_vec();
    commit.push(("commitOffset", "5"));
    let answer = broker.call(15, &commit, "");
    assert_eq!((answer.code, answer.fields.is_absent()), (0, false));
    assert_eq!(broker.call(14, &group("G"), "").fields.get("offset"), Some("5"));
    assert_eq!(broker.ask(43, &[], ""), r#"{"offsetTable":{"T@G":{0:5}}}"#);
    assert_eq!(broker.ask(45, &[], ""), r#"{"offsetTable":{}}"#);
    assert_eq!(broker.ask(343, &[("group", "G")], ""), r#"{"topicList":["T"]}"#);
    assert!(broker.ask(352, &[("group", "G")], "").contains(r#""groupName":"G""#));
    assert_eq!(
        broker.ask(345, &[("group", "G"), ("topic", "T")], ""),
        r#"{"group":"G","topic":"T"}"#
    );
    let stats = broker.ask(208, &[("consumerGroup", "G")], "");
    assert!(stats.starts_with(
        r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"brokerOffset":5,"consumerOffset":5,"lastTimestamp":1"#
    ), "{stats}");
    assert_eq!(
        broker.ask(208, &[("consumerGroup", "none")], ""),
        r#"{"consumeTps":0.0,"offsetTable":{}}"#
    );
    broker.ask(200, &[], r#"{"groupName":"G"}"#);
    let all = broker.ask(317, &[("isOrder", "false")], "");
    assert!(
        all.contains(r#"{"TOOLS_CONSUMER":[]}"#) && all.contains(r#"{"G":[{"consumeTps""#),
        "{all}"
    );
    assert!(all.ends_with(r#""totalDiff":0}"#), "{all}");
    assert_eq!(broker.ask(300, &[("topic", "T")], ""), r#"{"groupList":["G"]}"#);
    assert_eq!(
        broker.ask(308, &[("topic", "T"), ("compareGroup", "G")], ""),
        r#"{"correctionOffsets":{0:5}}"#
    );
    broker.ask(314, &[("srcGroup", "G"), ("destGroup", "H")], "");
    assert_eq!(broker.call(14, &group("H"), "").fields.get("offset"), Some("5"));
    broker.ask(207, &[("groupName", "G"), ("removeOffset", "true")], "");
    assert_eq!(broker.ask(43, &[], ""), r#"{"offsetTable":{"T@H":{0:5}}}"#);
}

#[test]
fn settings_are_told_and_changed() {
    let broker = TestBroker::start();
    let told = broker.call(26, &[], "");
    assert!(told.fields.get("version").is_some_and(|text| text.starts_with("{\"counter\":0,")));
    assert!(String::from_utf8_lossy(told.body.as_bytes()).contains("\nbrokerName=broker-a\n"));
    let before = broker.running.broker.topics.version().counter;
    broker.ask(25, &[], "brokerPermission=4\nbrokerClusterName=\u{e9}\n");
    assert_eq!(broker.running.broker.topics.version().counter, before + 1);
    let told = broker.ask(26, &[], "");
    assert!(
        told.contains("\nbrokerPermission=4\n") && told.contains("\nbrokerClusterName=\u{e9}\n")
    );
    assert_eq!(broker.file("broker.conf"), "brokerPermission=4\nbrokerClusterName=\\u00e9\n");
    let info = broker.ask(28, &[], "");
    for key in ["brokerVersionDesc", "putTps", "getTransferredTps", "commitLogDirCapacity"] {
        assert!(info.contains(&format!("\"{key}\":\"")), "{key}: {info}");
    }
}

/// A client whose requests from the broker are seen, and answered with a body.
struct Member {
    client: Arc<RemotingClient>,
    seen: mpsc::Receiver<Command>,
}

struct Answering {
    seen: Mutex<mpsc::Sender<Command>>,
    body: &'static str,
}

impl Processor for Answering {
    fn process(
        &self,
        _: &Arc<Connection>,
        request: Command,
    ) -> Result<Option<Command>, Box<dyn std::error::Error + Send + Sync>> {
        let _ = self.seen.lock().unwrap().send(request);
        Ok(Some(Command::response(0).with_body(self.body.as_bytes().to_vec())))
    }
}

impl Member {
    fn new(body: &'static str) -> Self {
        let client = RemotingClient::new(ClientConfig::default());
        let (sender, seen) = mpsc::channel();
        let answering = Arc::new(Answering { seen: Mutex::new(sender), body });
        for code in [40, 220, 221, 307, 309] {
            client.register(code, Arc::clone(&answering) as Arc<dyn Processor>);
        }
        Self { client, seen }
    }

    fn join(&self, broker: &TestBroker, client_id: &str, language: Language) {
        let body = format!(
            r#"{{"clientID":"{client_id}","consumerDataSet":[{{"groupName":"G","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{{"topic":"T","subString":"*","subVersion":1}}]}}],"producerDataSet":[{{"groupName":"P"}}]}}"#
        );
        let mut beat = Command::request(34).with_body(body);
        beat.language = language;
        let answer = self.client.call(&broker.address(), beat, LIMIT).unwrap();
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }

    /// The next request of that code; others are passed over.
    fn next(&self, code: i32) -> Command {
        loop {
            let request = self.seen.recv_timeout(LIMIT).unwrap();
            if request.code == code {
                return request;
            }
        }
    }

    fn has_seen_nothing(&self) -> bool {
        self.seen.try_recv().is_err()
    }
}

#[test]
fn members_are_listed_and_told_of_each_other() {
    let broker = TestBroker::start();
    let (a, b) = (Member::new(""), Member::new(""));
    a.join(&broker, "a", Language::JAVA);
    assert_eq!(a.next(40).fields.get("consumerGroup"), Some("G"));
    assert!(broker.running.broker.topics.contains("%RETRY%G"));
    a.join(&broker, "a", Language::JAVA);
    b.join(&broker, "b", Language::JAVA);
    a.next(40);
    b.next(40);
    assert_eq!(broker.ask(38, &[("consumerGroup", "G")], ""), r#"{"consumerIdList":["a","b"]}"#);
    let members = broker.ask(203, &[("consumerGroup", "G")], "");
    let members = Json::parse(members.as_bytes()).unwrap();
    assert_eq!(
        members.get("subscriptionTable").unwrap().write(Style::Fastjson),
        r#"{"T":{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"T"}}"#
    );
    assert_eq!(members.get("messageModel"), Some(&Json::Text("CLUSTERING".to_owned())));
    let producers = broker.ask(328, &[], "");
    assert!(
        producers.starts_with(
            r#"{"data":{"P":[{"clientId":"a","language":"JAVA","lastUpdateTimestamp":"#
        ),
        "{producers}"
    );
    assert!(producers.contains(r#""remoteIP":"/127.0.0.1:"#), "{producers}");
    b.client.shutdown();
    a.next(40);
    assert_eq!(broker.ask(38, &[("consumerGroup", "G")], ""), r#"{"consumerIdList":["a"]}"#);
    assert!(a.has_seen_nothing());
    let gone = broker.call_as(&a.client, 35, &[("clientID", "a"), ("consumerGroup", "G")], "");
    assert_eq!(gone.code, 0);
    assert_eq!(broker.call(38, &[("consumerGroup", "G")], "").code, 1);
}

#[test]
fn requests_are_passed_on_to_members() {
    let broker = TestBroker::start();
    broker.make_topic("T", "1");
    let id = broker.send("T", "0", "the body");
    broker.settle();
    let java = Member::new(
        r#"{"messageQueueTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:3}}"#,
    );
    let cpp = Member::new("");
    java.join(&broker, "java", Language::JAVA);
    cpp.join(&broker, "cpp", Language::from_name("CPP"));

    let to_java = [("consumerGroup", "G"), ("clientId", "java")];
    let running_info = broker.ask(307, &to_java, "");
    assert!(running_info.contains("messageQueueTable"), "the answer is passed back");
    assert_eq!(java.next(307).fields.get("clientId"), Some("java"));

    let mut directly = to_java.to_vec();
    directly.push(("msgId", &id));
    broker.ask(309, &directly, "");
    let passed_on = java.next(309);
    assert_eq!(passed_on.fields.get("brokerName"), Some("broker-a"));
    let record = String::from_utf8_lossy(passed_on.body.as_bytes()).into_owned();
    assert!(record.contains("the body"), "the stored message goes with it");

    let reset = [("topic", "T"), ("group", "G"), ("timestamp", "-1"), ("isForce", "true")];
    assert!(broker.call(222, &reset, "").remark.unwrap().contains("<G> not exist"), "no offset");
    let commit = [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "0")];
    broker.ask(15, &commit, "");
    let table = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:1}}"#;
    assert_eq!(broker.ask(222, &reset, ""), table);
    assert_eq!(java.next(220).body.as_bytes(), table.as_bytes());
    assert_eq!(
        String::from_utf8_lossy(cpp.next(220).body.as_bytes()),
        r#"{"offsetTable":[{"brokerName":"broker-a","offset":1,"queueId":0,"topic":"T"}]}"#
    );
    assert_eq!(
        broker.ask(223, &[("topic", "T"), ("group", "G"), ("clientAddr", "java")], ""),
        r#"{"consumerTable":{"java":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:3}},"messageQueueTable":{}}"#
    );
}

#[test]
fn ordered_queues_are_locked() {
    let broker = TestBroker::start();
    let body = |client: &str| {
        format!(
            r#"{{"clientId":"{client}","consumerGroup":"G","mqSet":[{{"brokerName":"broker-a","queueId":0,"topic":"T"}}]}}"#
        )
    };
    let granted = r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"T"}]}"#;
    assert_eq!(broker.ask(41, &[], body("a")), granted);
    assert_eq!(broker.ask(41, &[], body("b")), r#"{"lockOKMQSet":[]}"#);
    broker.ask(42, &[], body("a"));
    assert_eq!(broker.ask(41, &[], body("b")), granted);
}

#[test]
fn statistics_are_told_once_they_are_sampled() {
    let broker = TestBroker::start();
    broker.make_topic("T", "1");
    broker.send("T", "0", "x");
    let key = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "T")];
    wait_until("the send is counted", || broker.call(315, &key, "").code == 0);
    broker.running.broker.stats.sample(crate::broker::stats::Window::Minute, i64::MAX / 2);
    let figures = broker.ask(315, &key, "");
    // The broker's own samples of hour and day may have come before the send or after it.
    assert!(figures.starts_with(r#"{"statsDay":{"avgpt":"#), "{figures}");
    assert!(figures.contains(r#""statsMinute":{"avgpt":1.0,"sum":1,"tps":"#), "{figures}");
}
