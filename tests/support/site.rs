//! [`Site`]: a broker as a value, in the process of the test, and a client of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rocketmq::broker::startup::{Configuration, RunningBroker, start};
use rocketmq::common::message::MessageExt;
use rocketmq::common::record::read_messages;
use rocketmq::remoting::config::{ClientConfig, ServerConfig};
use rocketmq::remoting::protocol::{request_code as request, response_code as code};
use rocketmq::remoting::{Command, RemotingClient};

use super::until;

/// Longer than anything takes.
pub const LONG: Duration = Duration::from_secs(60);

/// A broker and a client of it.
pub struct Site {
    /// The broker.
    pub broker: RunningBroker,
    /// Calls it.
    pub client: Arc<RemotingClient>,
    /// Its address.
    pub addr: String,
}

impl Site {
    /// Starts one with its store and files in `dir`, a free port and no name server, unless `change` says
    /// otherwise.
    pub fn new(dir: &Path, change: impl FnOnce(&mut Configuration)) -> Self {
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
        // A send that is late because the machine is busy is no refusal.
        configuration.broker.broker_fast_failure_enable = false;
        configuration.store.os_page_cache_busy_time_out_mills = 60_000;
        configuration.store.sync_flush_timeout = 60_000;
        change(&mut configuration);
        let broker = start(configuration).expect("the broker starts");
        let addr = format!("127.0.0.1:{}", broker.main_addr().port());
        Self { broker, client: RemotingClient::new(ClientConfig::default()), addr }
    }

    /// An answer to a request.
    pub fn call(&self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Command {
        let mut request = Command::request(code).with_body(body.to_vec());
        fields.iter().for_each(|(name, value)| request.fields.push_str(name, value));
        self.client.call(&self.addr, request, LONG).expect("an answer")
    }

    /// An answer that says success.
    pub fn must(&self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Command {
        let answer = self.call(code, fields, body);
        assert_eq!(answer.code, code::SUCCESS, "{fields:?}: {:?}", answer.remark);
        answer
    }

    /// Sends a message to queue 0 of a topic; it must be stored.
    pub fn send(&self, topic: &str, properties: &[(&str, &str)], body: &str) -> Command {
        // A broker waits for its next file no longer than Java's does; a busy disk may take longer.
        let answer = until("a file to write to", LONG, || {
            let answer = self.try_send(topic, properties, body);
            let remark = answer.remark.as_deref().unwrap_or_default();
            (!remark.contains("was not ready within")).then_some(answer)
        });
        assert_eq!(answer.code, code::SUCCESS, "{properties:?}: {:?}", answer.remark);
        answer
    }

    /// Sends a message to queue 0 of a topic; whatever the answer is.
    pub fn try_send(&self, topic: &str, properties: &[(&str, &str)], body: &str) -> Command {
        let pairs = properties.iter().map(|(name, value)| format!("{name}\u{1}{value}"));
        let text = pairs.collect::<Vec<_>>().join("\u{2}");
        let fields = [
            ("a", "producers"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", &rocketmq::common::clock::now_ms().to_string()),
            ("h", "0"),
            ("i", &text),
        ];
        self.call(request::SEND_MESSAGE_V2, &fields, body.as_bytes())
    }

    /// A pull that is held for `suspend_ms`; 0 does not ask for it.
    pub fn pull(&self, topic: &str, offset: i64, tags: &str, suspend_ms: u64) -> Command {
        let fields = [
            ("consumerGroup", "consumers"),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", "32"),
            ("sysFlag", if suspend_ms > 0 { "6" } else { "4" }),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &suspend_ms.to_string()),
            ("subscription", tags),
            ("subVersion", "0"),
        ];
        self.call(request::PULL_MESSAGE, &fields, b"")
    }

    /// The messages of a topic, as soon as there are so many.
    pub fn messages(&self, topic: &str, count: usize) -> Vec<MessageExt> {
        until(&format!("{count} messages in {topic}"), LONG, || {
            let answer = self.pull(topic, 0, "*", 0);
            (answer.code == code::SUCCESS).then_some(())?;
            let messages = read_messages(answer.body.as_bytes()).expect("records");
            (messages.len() >= count).then_some(messages)
        })
    }
}
