//! Lite pull and pull consumers.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq::client::{
    Assignment, ClientError, ConsumeFromWhere, LitePullConsumer, LitePullOptions, MessageModel,
    OffsetAt, PullConsumer, PullOptions, PullResult, PullStatus, Target,
};
use rocketmq::common::message::Message;

use crate::site::{Ledger, SOON, Site, patiently};
use crate::support::until;

fn options(site: &Site, group: &str) -> LitePullOptions {
    LitePullOptions::new(group)
        .client(site.client_options())
        .consume_from(ConsumeFromWhere::FirstOffset)
}

fn send(site: &Site, topic: &str, count: usize) {
    let producer = site.producer();
    for i in 0..count {
        producer.send(&Message::new(topic, format!("{i}"))).unwrap();
    }
}

fn poll_all(consumer: &LitePullConsumer, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    until(&format!("{count} polled messages"), SOON, || {
        let messages = consumer.poll_for(Duration::from_millis(200)).unwrap();
        all.extend(messages.iter().map(|message| message.message_id()));
        (all.len() >= count).then_some(())
    });
    all
}

#[test]
fn a_group_polls_commits_and_goes_on_where_it_was() {
    let site = Site::start("Polled", 4);
    send(&site, "Polled", 90);
    let consumer = options(&site, "pollers").auto_commit(false).start().unwrap();
    consumer.subscribe("Polled", "*").unwrap();
    let ids = poll_all(&consumer, 90);
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (90, 90));
    assert!(consumer.poll_for(Duration::from_millis(100)).unwrap().is_empty());
    patiently(|| consumer.commit_sync());
    consumer.shutdown();
    assert_eq!(consumer.poll().err(), Some(ClientError::NotRunning));

    send(&site, "Polled", 10);
    let consumer = options(&site, "pollers").start().unwrap();
    consumer.subscribe("Polled", "*").unwrap();
    assert_eq!(poll_all(&consumer, 10).len(), 10);
}

#[test]
fn assigned_queues_are_sought_paused_and_resumed() {
    let site = Site::start("Assigned", 2);
    let producer = site.producer();
    let queues = producer.queues("Assigned").unwrap();
    for i in 0..20 {
        let message = Message::new("Assigned", format!("{i}"));
        producer.send_to(&message, Target::Queue(&queues[0])).unwrap();
    }
    let consumer = options(&site, "assigned").start().unwrap();
    consumer.assign([queues[0].clone()], "*").unwrap();
    assert!(matches!(consumer.subscribe("Assigned", "*"), Err(ClientError::Invalid(_))));
    poll_all(&consumer, 20);
    consumer.seek(&queues[0], 15).unwrap();
    assert_eq!(poll_all(&consumer, 5).len(), 5);
    consumer.seek_to(&queues[0], OffsetAt::Min).unwrap();
    assert_eq!(poll_all(&consumer, 20).len(), 20);
    for wrong in [-1, 21] {
        assert!(matches!(consumer.seek(&queues[0], wrong), Err(ClientError::Invalid(_))));
    }
    assert!(matches!(consumer.seek(&queues[1], 0), Err(ClientError::Invalid(_))));
    consumer.pause(&queues[..1]);
    // The pull that is under way at the broker still brings one message.
    for i in 0..5 {
        producer
            .send_to(&Message::new("Assigned", format!("p{i}")), Target::Queue(&queues[0]))
            .unwrap();
    }
    consumer.resume(&queues[..1]);
    assert_eq!(poll_all(&consumer, 5).len(), 5);
}

#[test]
fn single_pulls_say_what_they_found() {
    let site = Site::start("Single", 1);
    send(&site, "Single", 12);
    let consumer = PullConsumer::start("single", site.client_options()).unwrap();
    let queue = consumer.queues("Single").unwrap().remove(0);
    // What is acknowledged is visible a moment later.
    until("the messages", SOON, || {
        (consumer.offset_at(&queue, OffsetAt::Max) == Ok(12)).then_some(())
    });
    let found = consumer.pull(&queue, "*", 2, 5, None).unwrap();
    assert_eq!((found.status, found.messages.len()), (PullStatus::Found, 5));
    assert_eq!((found.next_offset, found.min_offset, found.max_offset), (7, 0, 12));
    let none = consumer.pull(&queue, "*", 12, 5, None).unwrap();
    assert_eq!((none.status, none.next_offset), (PullStatus::NoNewMessage, 12));
    let beyond = consumer.pull(&queue, "*", 1000, 5, None).unwrap();
    assert_eq!((beyond.status, beyond.next_offset), (PullStatus::OffsetIllegal, 12));
    let unwanted = consumer.pull(&queue, "no-such-tag", 0, 5, None).unwrap();
    assert_eq!(unwanted.status, PullStatus::NoMatch);
    assert!(matches!(consumer.pull(&queue, "*", -1, 5, None), Err(ClientError::Invalid(_))));
    patiently(|| consumer.commit(&queue, 7));
    assert_eq!(consumer.committed(&queue), Ok(Some(7)));
    consumer.shutdown();
    assert_eq!(consumer.committed(&queue), Err(ClientError::NotRunning));
}

#[test]
fn listeners_are_told_of_queues_and_pull_consumers_divide_them() {
    let site = Site::start("Divided", 4);
    let told: Arc<Mutex<Vec<(String, usize, usize)>>> = Arc::default();
    let notes = Arc::clone(&told);
    let note = move |now: &Assignment<'_>| {
        notes.lock().unwrap().push((now.topic.to_owned(), now.own.len(), now.all.len()));
    };
    let last = || told.lock().unwrap().last().cloned();
    let now = |own| move || (last() == Some(("Divided".to_owned(), own, 4))).then_some(());
    let lite = options(&site, "divided").on_assignment(note.clone()).start().unwrap();
    lite.subscribe("Divided", "*").unwrap();
    until("all queues", SOON, now(4));
    let second = options(&site, "divided").start().unwrap();
    second.subscribe("Divided", "*").unwrap();
    until("half of them", SOON, now(2));
    drop((lite, second));

    let ledger = Ledger::default();
    let push = site
        .consumer_options("divided-push")
        .on_assignment(note.clone())
        .subscribe("Divided", "*")
        .start_concurrent(ledger.listener())
        .unwrap();
    until("all queues", SOON, now(4));
    assert_eq!(push.topic_queues("Divided").unwrap().len(), 4);
    drop(push);

    // A pull consumer joins when it is told to; in broadcasting it has all, and offsets of its own.
    let pulls = |name: &str, model| {
        let options = PullOptions::new("divided-pull").client(site.client_options());
        let options = options.instance_name(name).message_model(model);
        options.offset_directory(site.dir.join(name)).on_assignment(note.clone()).start().unwrap()
    };
    let pair = [pulls("a", MessageModel::Clustering), pulls("b", MessageModel::Clustering)];
    assert!(pair[0].assignment().is_empty());
    pair.iter().for_each(|consumer| consumer.join("Divided").unwrap());
    let shares = || [pair[0].assignment().len(), pair[1].assignment().len()];
    until("two shares", SOON, || (shares() == [2, 2]).then_some(()));
    pair[0].leave("Divided");
    until("nothing is left", SOON, || pair[0].assignment().is_empty().then_some(()));
    drop(pair);
    send(&site, "Divided", 8);
    let alone = pulls("c", MessageModel::Broadcasting);
    alone.join("Divided").unwrap();
    until("all queues", SOON, || (alone.assignment().len() == 4).then_some(()));
    let queue = alone.assignment().remove(0);
    let (to, came) = channel();
    let pulled = move |result: Result<PullResult, ClientError>| drop(to.send(result));
    alone.pull_async(&queue, "*", 0, 32, Some(SOON), pulled).unwrap();
    let result = came.recv_timeout(SOON).unwrap().unwrap();
    assert_eq!((result.status, result.messages.is_empty()), (PullStatus::Found, false));
    patiently(|| alone.commit(&queue, result.next_offset));
    assert_eq!(alone.committed(&queue), Ok(Some(result.next_offset)));
    let clustering = pulls("d", MessageModel::Clustering);
    let told = clustering.committed(&queue).unwrap();
    assert_ne!(told, Some(result.next_offset), "the broker knows nothing of it");
}
