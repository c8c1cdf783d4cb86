//! Light message queues through a whole broker: one message in many queues, each with its own offsets
//! and its own waiting consumers.

use std::time::Instant;

use super::testing::{LIMIT, TestBroker, wait_until};
use crate::common::record::read_messages;
use crate::remoting::Command;

fn broker() -> TestBroker {
    TestBroker::start_with(|configuration| {
        configuration.store.enable_lmq = true;
        configuration.store.enable_multi_dispatch = true;
    })
}

fn send(broker: &TestBroker, topic: &str, body: &str, queues: &str) -> Command {
    let properties = format!("INNER_MULTI_DISPATCH\u{1}{queues}");
    let fields = [
        ("a", "p"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "1"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", if queues.is_empty() { "" } else { &properties }),
    ];
    broker.call(310, &fields, body)
}

fn pull(broker: &TestBroker, topic: &str, queue: &str, offset: &str, wait_ms: &str) -> Command {
    let fields = [
        ("consumerGroup", "%LMQ%g"),
        ("topic", topic),
        ("queueId", queue),
        ("queueOffset", offset),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("suspendTimeoutMillis", wait_ms),
        ("subscription", "*"),
    ];
    broker.call(11, &fields, "")
}

fn bodies(answer: &Command) -> Vec<String> {
    let messages = read_messages(answer.body.as_bytes()).unwrap_or_default();
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.message.body).into_owned())
        .collect()
}

#[test]
fn one_message_lies_in_all_queues_that_it_names() {
    let broker = broker();
    broker.make_topic("T", "4");
    assert_eq!(send(&broker, "T", "both", "%LMQ%a,%LMQ%b").code, 0);
    assert_eq!(send(&broker, "T", "second", "%LMQ%b").code, 0);
    assert_eq!(send(&broker, "%LMQ%b", "direct", "").code, 1, "a light queue has queue 0 only");
    broker.settle();
    assert_eq!(bodies(&pull(&broker, "T", "1", "0", "0")), ["both", "second"]);
    assert_eq!(bodies(&pull(&broker, "%LMQ%a", "0", "0", "0")), ["both"]);
    let b = pull(&broker, "%LMQ%b", "0", "0", "0");
    assert_eq!(bodies(&b), ["both", "second"]);
    assert_eq!(b.fields.get("nextBeginOffset"), Some("2"));
    assert_eq!(pull(&broker, "%LMQ%b", "1", "0", "0").code, 1);
    let told = [("topic", "%LMQ%b"), ("queueId", "0")];
    assert_eq!(broker.call(30, &told, "").fields.get("offset"), Some("2"));
    let topics = &broker.running.broker.topics;
    assert!(topics.names().iter().all(|name| !name.starts_with("%LMQ%")), "nobody is told of them");
    let groups = broker.running.broker.subscription_groups.names();
    assert!(groups.iter().all(|name| !name.starts_with("%LMQ%")));
}

#[test]
fn a_waiting_consumer_of_a_light_queue_is_woken_by_its_message_only() {
    let broker = broker();
    broker.make_topic("T", "4");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pull(&broker, "%LMQ%a", "0", "0", "60000"));
        let held = &broker.running.broker.held_pulls;
        wait_until("the pull is held", || held.len() == 1);
        assert_eq!(send(&broker, "T", "for another", "%LMQ%b").code, 0);
        broker.settle();
        assert_eq!(held.len(), 1);
        assert_eq!(send(&broker, "T", "for both", "%LMQ%b,%LMQ%a").code, 0);
        assert_eq!(bodies(&waits.join().unwrap()), ["for both"]);
    });
    assert!(began.elapsed() < LIMIT);
}

#[test]
fn offsets_of_light_groups_have_their_own_file() {
    let broker = broker();
    let commit =
        [("consumerGroup", "%LMQ%g"), ("topic", "%LMQ%a"), ("queueId", "0"), ("commitOffset", "5")];
    broker.ask(15, &commit, "");
    assert_eq!(
        broker.ask(43, &[], ""),
        r#"{"lmqOffsetTable":{"%LMQ%a@%LMQ%g":5},"offsetTable":{}}"#
    );
    broker.running.broker.consumer_offsets.persist().unwrap();
    assert!(broker.file("lmqConsumerOffset.json").contains("\"%LMQ%a@%LMQ%g\":5"));
}
