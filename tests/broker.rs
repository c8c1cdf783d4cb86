//! A broker as a value: started on a free port in a folder of its own, used over the wire, dropped.
//! What the files of `src/broker` do one by one is tested beside them; here they work together.

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rocketmq::broker::startup::{Configuration, start};
use rocketmq::common::message::MessageExt;
use rocketmq::common::record::read_messages;
use rocketmq::remoting::protocol::{request_code as request, response_code as code};
use rocketmq::remoting::{Command, Connection, Processor};

use support::site::{LONG, Site};
use support::{TempDir, until};

fn text(message: &MessageExt) -> &str {
    std::str::from_utf8(&message.message.body).expect("text")
}

fn property<'a>(message: &'a MessageExt, name: &str) -> Option<&'a str> {
    message.message.properties.get(name)
}

#[test]
fn a_held_pull_is_woken_by_the_message_it_wants() {
    let dir = TempDir::new("hold");
    let site = Site::new(dir.path(), |_| {});
    site.send("T", &[("TAGS", "other")], "first");
    site.messages("T", 1);
    let began = Instant::now();
    let answer = std::thread::scope(|scope| {
        let held = scope.spawn(|| site.pull("T", 1, "wanted", 50_000));
        until("the pull is held", LONG, || {
            (site.broker.broker.held_pulls.len() == 1).then_some(())
        });
        site.send("T", &[("TAGS", "other")], "second");
        assert_eq!(site.broker.broker.held_pulls.len(), 1, "the wrong tag wakes nobody");
        site.send("T", &[("TAGS", "wanted")], "third");
        held.join().expect("the pull")
    });
    assert!(began.elapsed() < Duration::from_secs(50), "it was woken, it did not expire");
    assert_eq!(answer.code, code::SUCCESS);
    let messages = read_messages(answer.body.as_bytes()).expect("records");
    assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), ["third"]);
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("3"));
}

#[test]
fn a_held_pull_expires_with_not_found() {
    let dir = TempDir::new("expire");
    let site = Site::new(dir.path(), |_| {});
    site.send("T", &[], "only");
    site.messages("T", 1);
    // Java's 5-second steps are not ours. On a busy machine one may take longer for other reasons.
    until("a pull that expires in less than 4 s", LONG, || {
        let began = Instant::now();
        let answer = site.pull("T", 1, "*", 300);
        assert_eq!(answer.code, code::PULL_NOT_FOUND);
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("1"));
        assert!(began.elapsed() >= Duration::from_millis(300));
        (began.elapsed() < Duration::from_secs(4)).then_some(())
    });
}

#[test]
fn a_delayed_message_comes_at_its_time_with_all_its_properties() {
    let dir = TempDir::new("delay");
    let site = Site::new(dir.path(), |_| {});
    site.send("T", &[], "now");
    let began = Instant::now();
    let sent = site.send("T", &[("DELAY", "1"), ("TAGS", "A")], "later");
    assert_eq!(sent.fields.get("queueId"), Some("0"));
    let messages = site.messages("T", 2);
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    assert_eq!(text(&messages[0]), "now");
    assert_eq!(text(&messages[1]), "later");
    let kept = ["DELAY", "REAL_TOPIC", "REAL_QID"].map(|name| property(&messages[1], name));
    assert_eq!(kept, [Some("1"), Some("T"), Some("0")]);
    until("the level's progress", LONG, || {
        (site.broker.broker.delay.offsets().get(&1) == Some(&1)).then_some(())
    });
}

#[test]
fn what_is_given_back_comes_again_and_ends_in_the_dead_letter_topic() {
    let dir = TempDir::new("back");
    let site = Site::new(dir.path(), |_| {});
    site.send("T", &[("KEYS", "k")], "indigestible");
    let first = site.messages("T", 1).remove(0);
    let give_back = |message: &MessageExt, level: &str| {
        let fields = [
            ("group", "consumers"),
            ("offset", &message.commit_log_offset.to_string()),
            ("delayLevel", level),
        ];
        site.must(request::CONSUMER_SEND_MSG_BACK, &fields, b"");
    };
    give_back(&first, "1");
    let again = site.messages("%RETRY%consumers", 1).remove(0);
    assert_eq!((text(&again), again.reconsume_times), ("indigestible", 1));
    assert_eq!(property(&again, "RETRY_TOPIC"), Some("T"));
    assert_eq!(property(&again, "ORIGIN_MESSAGE_ID"), Some(&*first.offset_message_id()));
    assert_eq!(property(&again, "KEYS"), Some("k"));
    give_back(&again, "-1");
    let dead = site.messages("%DLQ%consumers", 1).remove(0);
    assert_eq!((text(&dead), dead.reconsume_times), ("indigestible", 2));
    assert_eq!(property(&dead, "ORIGIN_MESSAGE_ID"), Some(&*first.offset_message_id()));
}

/// Hands requests of the broker to the test, and answers them with success.
struct Ask(Sender<Command>);

impl Processor for Ask {
    fn process(
        &self,
        _connection: &Arc<Connection>,
        request: Command,
    ) -> Result<Option<Command>, Box<dyn std::error::Error + Send + Sync>> {
        self.0.send(request)?;
        Ok(Some(Command::response(code::SUCCESS)))
    }
}

/// Makes the client a producer of the group `producers` that tells the test of requests `code`.
fn listen(site: &Site, code: i32) -> Receiver<Command> {
    let (sender, receiver) = channel();
    site.client.register(code, Arc::new(Ask(sender)));
    let heartbeat =
        br#"{"clientID":"me","consumerDataSet":[],"producerDataSet":[{"groupName":"producers"}]}"#;
    site.must(request::HEART_BEAT, &[], heartbeat);
    receiver
}

fn end(site: &Site, offset: &str, queue_offset: &str, how: &str) -> Command {
    let fields = [
        ("producerGroup", "producers"),
        ("tranStateTableOffset", queue_offset),
        ("commitLogOffset", offset),
        ("commitOrRollback", how),
        ("msgId", "u"),
    ];
    site.call(request::END_TRANSACTION, &fields, b"")
}

#[test]
fn half_messages_are_seen_when_committed_and_asked_about_when_not() {
    let dir = TempDir::new("transactions");
    let site = Site::new(dir.path(), |configuration| {
        configuration.broker.transaction_check_interval = 100;
        configuration.broker.transaction_time_out = 1;
    });
    let asked = listen(&site, request::CHECK_TRANSACTION_STATE);
    let half = [("TRAN_MSG", "true"), ("PGROUP", "producers"), ("UNIQ_KEY", "u")];
    let sent = site.send("T", &half, "forgotten");
    assert_eq!(sent.fields.get("queueId"), Some("0"));
    // Nobody ends it, so the producer is asked about a copy of it.
    let check = asked.recv_timeout(LONG).expect("a question");
    let field = |name: &str| check.fields.get(name).expect(name).to_owned();
    assert_eq!(field("transactionId"), "u");
    let body = read_messages(check.body.as_bytes()).expect("a record").remove(0);
    assert_eq!((text(&body), &*body.message.topic), ("forgotten", "T"));
    assert_eq!(property(&body, "TRANSACTION_CHECK_TIMES"), Some("1"));
    let (offset, queue_offset) = (field("commitLogOffset"), field("tranStateTableOffset"));
    assert_eq!(end(&site, &offset, "77", "8").code, code::SYSTEM_ERROR, "another one's offset");
    assert_eq!(end(&site, &offset, &queue_offset, "9").code, code::SYSTEM_ERROR, "neither nor");
    assert_eq!(end(&site, &offset, &queue_offset, "8").code, code::SUCCESS);
    let committed = site.messages("T", 1).remove(0);
    assert_eq!(text(&committed), "forgotten");
    assert_eq!(committed.prepared_transaction_offset.to_string(), offset);
    assert_eq!(committed.sys_flag & 0xC, 8);
    assert_eq!(property(&committed, "TRAN_MSG"), Some("true"));
}

#[test]
fn a_transaction_that_is_rolled_back_is_never_seen() {
    let dir = TempDir::new("rollback");
    let site = Site::new(dir.path(), |configuration| {
        configuration.broker.transaction_check_interval = 50;
        configuration.broker.transaction_time_out = 1;
    });
    let half = [("TRAN_MSG", "true"), ("PGROUP", "producers"), ("UNIQ_KEY", "u")];
    let sent = site.send("T", &half, "regretted");
    let id = sent.fields.get("msgId").expect("msgId");
    let offset = i64::from_str_radix(&id[16..], 16).expect("hexadecimal").to_string();
    let queue_offset = sent.fields.get("queueOffset").expect("queueOffset");
    assert_eq!(end(&site, &offset, queue_offset, "12").code, code::SUCCESS);
    // The checker passes both queues: the half message and its end are done with.
    until("the end is noticed", LONG, || {
        let offsets = &site.broker.broker.consumer_offsets;
        let of = |topic| offsets.get("CID_RMQ_SYS_TRANS", topic, 0);
        (of("RMQ_SYS_TRANS_HALF_TOPIC")? >= 1 && of("RMQ_SYS_TRANS_OP_HALF_TOPIC")? >= 1)
            .then_some(())
    });
    assert_eq!(site.broker.broker.store.max_offset("T", 0), 0);
}

#[test]
fn a_reply_is_pushed_to_the_client_that_waits() {
    let dir = TempDir::new("reply");
    let site = Site::new(dir.path(), |_| {});
    let pushed = listen(&site, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
    let topic = "DefaultCluster_REPLY_TOPIC";
    let reply = |client: &str| {
        let properties = format!("CORRELATION_ID\u{1}c\u{2}REPLY_TO_CLIENT\u{1}{client}");
        let fields = [
            ("a", "repliers"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &properties),
        ];
        site.call(request::SEND_REPLY_MESSAGE_V2, &fields, b"answer")
    };
    let answer = reply("me");
    assert_eq!(answer.code, code::SUCCESS, "{:?}", answer.remark);
    let push = pushed.recv_timeout(LONG).expect("the reply");
    assert_eq!(push.body.as_bytes(), b"answer");
    assert!(push.fields.get("properties").expect("properties").contains("PUSH_REPLY_TIME\u{1}"));
    assert_eq!(reply("nobody").code, code::SYSTEM_ERROR);
    assert_eq!(site.messages(topic, 2).len(), 2, "both are stored");
}

#[test]
fn a_restart_goes_on_where_the_broker_stopped() {
    let dir = TempDir::new("restart");
    let site = Site::new(dir.path(), |_| {});
    for body in ["one", "two"] {
        site.send("T", &[], body);
    }
    site.messages("T", 2);
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
    site.must(request::UPDATE_CONSUMER_OFFSET, &commit, b"");
    let began = Instant::now();
    site.broker.shutdown();
    site.broker.shutdown();
    assert!(began.elapsed() < LONG);
    assert!(!dir.path().join("store/abort").exists(), "an orderly stop leaves no mark");
    drop(site);
    let site = Site::new(dir.path(), |_| {});
    let found = site.messages("T", 2);
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["one", "two"]);
    let offset = site.must(request::QUERY_CONSUMER_OFFSET, &commit[..3], b"");
    assert_eq!(offset.fields.get("offset"), Some("1"));
    let answer = site.send("T", &[], "three");
    assert_eq!(answer.fields.get("queueOffset"), Some("2"));
}

#[test]
fn a_port_that_is_taken_is_said_and_leaves_the_store_closed() {
    let dir = TempDir::new("ports");
    let first = Site::new(&dir.path().join("a"), |_| {});
    let port = first.broker.main_addr().port();
    let mut second = Configuration::default();
    second.broker.namesrv_addr = String::new();
    second.server.listen_port = port;
    second.store.store_path_root_dir = dir.path().join("b").display().to_string();
    second.store.mapped_file_size_commit_log = 16 << 20;
    let problem = start(second).err().expect("a refusal").to_string();
    // It is the port for slaves that is looked at first.
    assert!(problem.contains(&format!("port {}: ", port + 1)), "{problem}");
    assert!(problem.contains("listenPort+1"), "{problem}");
    assert!(!dir.path().join("b/abort").exists());
}
