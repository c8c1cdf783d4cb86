//! Every way of sending, and that each message arrives once, where and as it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::time::Duration;

use rocketmq::client::{
    ClientError, ConsumeResult, SendStatus, Target, TransactionState, reply_to,
};
use rocketmq::common::message::Message;

use crate::site::{Ledger, SOON, Site};
use crate::support::until;

#[test]
fn every_way_of_sending_delivers_once() {
    let site = Site::start("Ways", 4);
    let ledger = Ledger::default();
    let consumer = site
        .consumer_options("ways")
        .subscribe("Ways", "*")
        .start_concurrent(ledger.listener())
        .unwrap();

    let producer = site.producer();
    let mut sent: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for i in 0..50 {
        let body = format!("sync {i}").into_bytes();
        let result = producer.send(&Message::new("Ways", body.clone()).with_tag("t")).unwrap();
        assert_eq!(result.status, SendStatus::Ok);
        sent.insert(result.message_id, body);
    }
    let (to, outcomes) = channel();
    for i in 0..200 {
        let (to, body) = (to.clone(), format!("async {i}").into_bytes());
        let message = Message::new("Ways", body.clone());
        producer.send_async(&message, move |result| drop(to.send((result, body)))).unwrap();
    }
    for _ in 0..200 {
        let (result, body) = outcomes.recv_timeout(SOON).unwrap();
        sent.insert(result.unwrap().message_id, body);
    }
    for i in 0..20 {
        let id = format!("oneway-{i}");
        let message = Message::new("Ways", "oneway").with_property("UNIQ_KEY", id.as_str());
        producer.send_oneway(&message).unwrap();
        sent.insert(id, b"oneway".to_vec());
    }
    // A body that is compressed on its way.
    let large = "compress me ".repeat(10_000).into_bytes();
    let result = producer.send(&Message::new("Ways", large.clone())).unwrap();
    sent.insert(result.message_id, large);
    // Batches of a size.
    let list: Vec<_> =
        (0..100).map(|i| Message::new("Ways", format!("batch {i}").into_bytes())).collect();
    let (results, error) = producer.send_batches(&list, 2000);
    assert_eq!(error, None);
    assert!(results.len() > 2, "{} batches", results.len());
    let ids: Vec<_> = results.iter().flat_map(|result| result.message_id.split(',')).collect();
    assert_eq!(ids.len(), 100);
    for (id, message) in ids.iter().zip(&list) {
        sent.insert((*id).to_owned(), message.body.clone());
    }

    ledger.wait_for(sent.len());
    for (id, bodies) in ledger.bodies() {
        assert_eq!(bodies, [sent[&id].clone()], "{id}");
    }
    consumer.shutdown();
    producer.shutdown();
    assert_eq!(producer.send(&Message::new("Ways", "late")), Err(ClientError::NotRunning));
}

#[test]
fn targets_choose_queues() {
    let site = Site::start("Targets", 8);
    let producer = site.producer();
    let queues = producer.queues("Targets").unwrap();
    assert_eq!(queues.len(), 8);
    let message = Message::new("Targets", "x");
    for key in ["order-1", "order-2", "中文"] {
        let to: BTreeSet<_> = (0..3)
            .map(|_| producer.send_to(&message, Target::Key(key)).unwrap().queue.queue_id)
            .collect();
        assert_eq!(to.len(), 1, "{key}: {to:?}");
    }
    // Java: |"order-1".hashCode() % 8| with the hash -1207111310.
    let result = producer.send_to(&message, Target::Key("order-1")).unwrap();
    assert_eq!(result.queue.queue_id, 1_207_111_310 % 8);
    let result = producer.send_to(&message, Target::Queue(&queues[5])).unwrap();
    assert_eq!(result.queue, queues[5]);
    let last = |queues: &[_], _: &Message| queues.len() - 1;
    assert_eq!(producer.send_to(&message, Target::Select(&last)).unwrap().queue, queues[7]);
    let beyond = |queues: &[_], _: &Message| queues.len();
    assert!(matches!(
        producer.send_to(&message, Target::Select(&beyond)),
        Err(ClientError::Invalid(_))
    ));
    // In turn, all queues are used.
    let used: BTreeSet<_> =
        (0..8).map(|_| producer.send(&message).unwrap().queue.queue_id).collect();
    assert_eq!(used.len(), 8);
}

#[test]
fn a_topic_that_does_not_exist_is_made_with_the_first_message() {
    let site = Site::with("Known", 1, &[("autoCreateTopicEnable", "true")]);
    let producer = site.producer();
    let result = producer.send(&Message::new("MadeNow", "first")).unwrap();
    assert_eq!(result.queue_offset, 0);
    until("the new topic is registered", SOON, || {
        producer.queues("MadeNow").ok().filter(|queues| queues.len() == 4)
    });
}

#[test]
fn transactions_commit_roll_back_and_are_asked_for() {
    let checks = [("transactionCheckInterval", "1000"), ("transactionTimeOut", "500")];
    let site = Site::with("Payments", 2, &checks);
    let ledger = Ledger::default();
    let notes = ledger.clone();
    let consumer = site
        .consumer_options("bookkeeping")
        .subscribe("Payments", "*")
        .start_concurrent(move |messages, _| {
            assert!(messages.iter().all(|m| m.transaction_id().is_some()));
            notes.note(messages);
            ConsumeResult::Success
        })
        .unwrap();
    let producer = site
        .producer_options()
        .start_transactional(|message| match message.keys() {
            Some("kept") => TransactionState::Commit,
            _ => TransactionState::Rollback,
        })
        .unwrap();
    let send = |body: &str, key: &str, state| {
        let message = Message::new("Payments", body).with_keys(key);
        let mut seen = None;
        let result = producer
            .send_in_transaction(&message, |id| {
                seen = Some(id.to_owned());
                state
            })
            .unwrap();
        assert_eq!((seen, result.state), (Some(result.send.message_id), state));
    };
    // A busy machine may take so long that its producer is asked about it.
    send("committed", "kept", TransactionState::Commit);
    send("rolled back", "-", TransactionState::Rollback);
    send("asked, kept", "kept", TransactionState::Unknown);
    send("asked, not kept", "-", TransactionState::Unknown);
    ledger.wait_for(2);
    let bodies: BTreeSet<_> = ledger.bodies().into_values().flatten().collect();
    assert_eq!(bodies, [b"committed".to_vec(), b"asked, kept".to_vec()].into());
    consumer.shutdown();
}

#[test]
fn requests_find_their_replies() {
    let site = Site::start("Questions", 2);
    let answering = site.producer_options().group("answering").start().unwrap();
    let answering = std::sync::Arc::new(answering);
    let responder = std::sync::Arc::clone(&answering);
    let consumer = site
        .consumer_options("responders")
        .subscribe("Questions", "*")
        .start_concurrent(move |messages, _| {
            for message in messages {
                if message.tag() != Some("silence") {
                    let body = [b"re: ", message.body()].concat();
                    responder.send(&reply_to(message, body).unwrap()).unwrap();
                }
            }
            ConsumeResult::Success
        })
        .unwrap();
    let producer = site.producer();
    for i in 0..5 {
        let question = Message::new("Questions", format!("{i}"));
        let reply = producer.request(&question, SOON).unwrap();
        assert_eq!(reply.body(), format!("re: {i}").as_bytes());
    }
    let silence = Message::new("Questions", "?").with_tag("silence");
    // Long enough to send it, so that the answer is what is missing.
    let error = producer.request(&silence, Duration::from_secs(5)).unwrap_err();
    assert!(matches!(error, ClientError::RequestTimeout { .. }), "{error}");
    consumer.shutdown();
    answering.shutdown();
}

#[test]
fn a_limit_that_nobody_lives_to_see_is_no_limit() {
    let site = Site::start("Unlimited", 1);
    let (producer, message) = (site.producer(), Message::new("Unlimited", "x"));
    producer.send_within(&message, Target::InTurn, Duration::MAX).unwrap();
    let (to, outcomes) = channel();
    let told = move |result| drop(to.send(result));
    producer.send_async_within(&message, Target::InTurn, Duration::MAX, told).unwrap();
    outcomes.recv_timeout(SOON).unwrap().unwrap();
    let (to, replies) = channel();
    let replied = move |result| drop(to.send(result));
    producer.request_async(&message, Duration::MAX, replied).unwrap();
    producer.shutdown();
    assert_eq!(replies.recv_timeout(SOON).unwrap().err(), Some(ClientError::NotRunning));
}
