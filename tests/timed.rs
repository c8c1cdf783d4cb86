//! Timed messages through a whole broker: asked for over the wire, delivered at their millisecond.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rocketmq::broker::startup::{Configuration, RunningBroker, start};
use rocketmq::common::clock::now_ms;
use rocketmq::common::message::MessageExt;
use rocketmq::common::record::read_messages;
use rocketmq::remoting::config::{ClientConfig, ServerConfig};
use rocketmq::remoting::protocol::{request_code as request, response_code as code};
use rocketmq::remoting::{Command, RemotingClient};

use support::{TempDir, until};

const LONG: Duration = Duration::from_secs(20);

/// A broker and a client of it.
struct Site {
    broker: RunningBroker,
    client: Arc<RemotingClient>,
    addr: String,
}

impl Site {
    fn new(dir: &Path, change: impl FnOnce(&mut Configuration)) -> Self {
        let mut configuration = Configuration {
            server: ServerConfig { listen_port: 0, ..ServerConfig::default() },
            ..Configuration::default()
        };
        configuration.broker.broker_ip1 = "127.0.0.1".to_owned();
        configuration.broker.broker_name = "broker-a".to_owned();
        configuration.broker.namesrv_addr = String::new();
        configuration.file = Some(dir.join("broker.conf"));
        configuration.store.store_path_root_dir = dir.join("store").display().to_string();
        configuration.store.mapped_file_size_commit_log = 16 << 20;
        configuration.store.mapped_file_size_consume_queue = 20_000;
        configuration.store.mapped_file_size_timer_log = 10_000;
        configuration.store.disk_max_used_space_ratio = 95;
        change(&mut configuration);
        let broker = start(configuration).expect("the broker starts");
        let addr = format!("127.0.0.1:{}", broker.main_addr().port());
        Self { broker, client: RemotingClient::new(ClientConfig::default()), addr }
    }

    /// Sends a message with properties `name=value`, separated by blanks.
    fn send(&self, properties: &str, body: &str) -> Command {
        let text = properties.replace('=', "\u{1}").replace(' ', "\u{2}");
        let born = now_ms().to_string();
        let fields = [
            ("a", "producers"),
            ("b", "T"),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", &*born),
            ("h", "0"),
            ("i", &*text),
        ];
        let mut request =
            Command::request(request::SEND_MESSAGE_V2).with_body(body.as_bytes().to_vec());
        fields.iter().for_each(|(name, value)| request.fields.push_str(name, value));
        self.client.call(&self.addr, request, LONG).expect("an answer")
    }

    fn must_send(&self, properties: &str, body: &str) {
        let answer = self.send(properties, body);
        assert_eq!(answer.code, code::SUCCESS, "{properties}: {:?}", answer.remark);
        assert_eq!(answer.fields.get("queueId"), Some("0"));
    }

    fn pull(&self) -> Vec<MessageExt> {
        let fields = [
            ("consumerGroup", "consumers"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        let mut request = Command::request(request::PULL_MESSAGE);
        fields.iter().for_each(|(name, value)| request.fields.push_str(name, value));
        let answer = self.client.call(&self.addr, request, LONG).expect("an answer");
        match answer.code {
            code::SUCCESS => read_messages(answer.body.as_bytes()).expect("records"),
            _ => Vec::new(),
        }
    }

    /// The messages of the topic, as soon as there are so many.
    fn messages(&self, count: usize) -> Vec<MessageExt> {
        until(&format!("{count} messages"), LONG, || {
            let messages = self.pull();
            (messages.len() >= count).then_some(messages)
        })
    }
}

fn bodies(messages: &[MessageExt]) -> Vec<String> {
    let text = |message: &MessageExt| String::from_utf8(message.message.body.to_vec());
    messages.iter().map(|message| text(message).expect("text")).collect()
}

/// By how much a message came after its time; a negative number would be too early.
fn late_ms(message: &MessageExt) -> i64 {
    let due = message.message.properties.get("TIMER_DELIVER_MS").expect("a time");
    message.store_timestamp - due.parse::<i64>().expect("a number")
}

#[test]
fn each_way_of_asking_is_answered_at_its_millisecond() {
    let dir = TempDir::new("timed");
    let site = Site::new(dir.path(), |_| {});
    let now = now_ms();
    site.must_send("TIMER_DELAY_SEC=2 KEYS=k", "d");
    site.must_send(&format!("__STARTDELIVERTIME={}", now + 1501), "c");
    site.must_send(&format!("TIMER_DELIVER_MS={}", now + 1203), "b");
    site.must_send("TIMER_DELAY_MS=237 TAGS=A", "a");
    site.must_send(&format!("TIMER_DELIVER_MS={}", now - 1), "past");
    assert_eq!(bodies(&site.messages(1))[0], "past");
    let messages = site.messages(5);
    assert_eq!(bodies(&messages), ["past", "a", "b", "c", "d"]);
    let mut late: Vec<_> = messages[1..].iter().map(late_ms).collect();
    late.sort();
    // A slot is a second: without the exact time half of them would be late by half of it.
    assert!(late[0] >= 0 && late[1] < 250, "late by {late:?} ms");
    let properties = &messages[1].message.properties;
    assert_eq!(properties.get("REAL_TOPIC"), Some("T"));
    assert_eq!(properties.get("TIMER_DELAY_MS"), Some("237"));
    assert!(properties.get("TIMER_ENQUEUE_MS").is_some());
    assert!(properties.get("TIMER_OUT_MS").is_some());
}

#[test]
fn a_timed_message_can_be_recalled() {
    let dir = TempDir::new("timed-recall");
    let site = Site::new(dir.path(), |_| {});
    let due = now_ms() + 1500;
    site.must_send(&format!("TIMER_DELIVER_MS={due} UNIQ_KEY=one"), "recalled");
    site.must_send(&format!("TIMER_DELIVER_MS={due} UNIQ_KEY=two"), "kept");
    site.must_send(&format!("TIMER_DELIVER_MS={due} TIMER_DEL_UNIQKEY=T+one"), "0");
    site.must_send(&format!("TIMER_DELIVER_MS={}", due + 100), "after");
    assert_eq!(bodies(&site.messages(2)), ["kept", "after"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = TempDir::new("timed-refused");
    let site = Site::new(dir.path(), |_| {});
    let refused = |properties: &str| site.send(properties, "x").code;
    assert_eq!(refused("TIMER_DELAY_SEC=259201"), code::MESSAGE_ILLEGAL);
    assert_eq!(refused("TIMER_DELAY_MS=soon"), code::MESSAGE_ILLEGAL);
    assert_eq!(refused("TIMER_DELIVER_MS=5 TIMER_DEL_UNIQKEY=T+k"), code::MESSAGE_ILLEGAL);
    drop(site);
    let off = Site::new(&dir.path().join("off"), |config| config.store.timer_wheel_enable = false);
    assert_eq!(off.send("TIMER_DELAY_MS=5", "x").code, code::SYSTEM_ERROR);
    off.must_send("TAGS=A", "plain");
}

#[test]
fn a_restart_in_between_changes_nothing() {
    let dir = TempDir::new("timed-restart");
    let due = now_ms() + 1000;
    {
        let site = Site::new(dir.path(), |_| {});
        for number in 0..10 {
            site.must_send(&format!("TIMER_DELIVER_MS={}", due + number * 200), "x");
        }
        site.messages(3);
        site.broker.shutdown();
    }
    let site = Site::new(dir.path(), |_| {});
    let messages = site.messages(10);
    assert!(messages.iter().all(|message| late_ms(message) >= 0), "nothing is early");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(site.pull().len(), 10, "nothing comes twice");
}
