//! Groups and clusters in motion: brokers that die, members that come and go all the time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq::client::{ConsumeResult, OrderlyResult, PushConsumer, Target};
use rocketmq::common::message::Message;

use crate::site::{Ledger, SOON, Site, wait_for_file};
use crate::support::java_peer::Servers;
use crate::support::{StopAtEnd, free_port, until};

#[test]
fn sends_go_to_the_broker_that_is_left() {
    let mut site = Site::start("Twice", 4);
    let names = site.names();
    let more = [("brokerName", "broker-b")];
    let folder = site.dir.join("second");
    let second = Servers::from_env().broker_at(&folder, free_port(), Some(&names), &more);
    wait_for_file(&second);
    second.wire().create_topic("Twice", 4);
    // Only failures count: the machine may be busy.
    let penalties = vec![(Duration::from_secs(30), Duration::from_secs(600))];
    let options = site.producer_options().avoid_slow_brokers(true).latency_penalties(penalties);
    let producer = options.start().unwrap();
    until("both brokers in the route", SOON, || {
        (producer.queues("Twice").ok()?.len() == 8).then_some(())
    });
    let message = Message::new("Twice", "x");
    let brokers: BTreeSet<_> =
        (0..8).map(|_| producer.send(&message).unwrap().queue.broker_name).collect();
    assert_eq!(brokers.len(), 2);
    site.broker.process.kill();
    let (to, outcomes) = channel();
    for i in 0..100 {
        let result = producer.send(&message).unwrap_or_else(|error| panic!("send {i}: {error}"));
        assert_eq!(result.queue.broker_name, "broker-b");
        let to = to.clone();
        producer.send_async(&message, move |result| drop(to.send(result))).unwrap();
    }
    for i in 0..100 {
        let result = outcomes.recv_timeout(SOON).unwrap();
        let result = result.unwrap_or_else(|error| panic!("asynchronous send {i}: {error}"));
        assert_eq!(result.queue.broker_name, "broker-b");
    }
}

#[test]
fn name_servers_that_come_and_go_and_a_topic_that_grows() {
    let site = Site::start("Growing", 2);
    let make = Servers::from_env();
    let mut second = make.namesrv(&site.dir.join("second"));
    // The broker knows one of them only: the other one is a name server that has just started.
    let names = format!("{};{}", second.addr(), site.names());
    let often = Duration::from_millis(300);
    let mut options = site.producer_options().name_servers(names.as_str());
    (options.client.route_interval, options.client.api_timeout) = (often, often);
    let producer = options.start().unwrap();
    let ledger = Ledger::default();
    let notes = ledger.clone();
    let mut options = site.consumer_options("growing").name_servers(names.as_str());
    options.client.route_interval = often;
    let consumer = options.subscribe("Growing", "*").start_concurrent(move |messages, _| {
        notes.note(messages);
        ConsumeResult::Success
    });
    let consumer = consumer.unwrap();
    let message = Message::new("Growing", "x");
    let send = |count: usize| {
        for _ in 0..count {
            until("a send", SOON, || producer.send(&message).ok());
        }
    };
    send(20);
    ledger.wait_for(20);
    // The topic grows: sends and pulls follow.
    site.broker.wire().create_topic("Growing", 6);
    let has = |count: usize| {
        let queues = consumer.queues();
        (queues.iter().filter(|queue| queue.topic == "Growing").count() == count).then_some(())
    };
    until("six queues are consumed", SOON, || has(6));
    until("six queues are sent to", SOON, || {
        let queues: BTreeSet<_> =
            (0..12).map(|_| producer.send(&message).unwrap().queue.queue_id).collect();
        (queues.len() == 6).then_some(())
    });
    // All name servers are gone: what is known is enough.
    second.process.kill();
    site.namesrv.process.signal("STOP");
    let before = ledger.distinct();
    send(20);
    until("sends without a name server arrive", SOON, || {
        (ledger.distinct() >= before + 20).then_some(())
    });
    site.namesrv.process.signal("CONT");
    site.create_topic("Later", 1);
    until("a new topic is found", SOON, || producer.send(&Message::new("Later", "x")).ok());
    consumer.shutdown();
}

/// Starts and stops members of a group until `stop`, and leaves two of them.
fn churn(start: &(dyn Fn(usize) -> PushConsumer + Sync), stop: &AtomicBool) -> Vec<PushConsumer> {
    let mut members = vec![start(0)];
    let mut number = 1;
    while !stop.load(Ordering::Acquire) {
        members.push(start(number));
        number += 1;
        if members.len() > 3 {
            members.remove(number % 3).shutdown();
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    members.truncate(2);
    members
}

#[test]
fn members_that_come_and_go_lose_nothing_and_never_share_an_ordered_queue() {
    const FOR: Duration = Duration::from_secs(4);
    let site = Site::start("Churn", 6);
    let (concurrent, ordered) = (Ledger::default(), Ledger::default());
    let start_concurrent = |number: usize| {
        let notes = concurrent.clone();
        site.consumer_options("churn-concurrent")
            .instance_name(format!("c{number}"))
            .subscribe("Churn", "*")
            .start_concurrent(move |messages, _| {
                notes.note(messages);
                ConsumeResult::Success
            })
            .unwrap()
    };
    let busy: Arc<Mutex<BTreeSet<i32>>> = Arc::default();
    let overlaps = Arc::new(AtomicUsize::new(0));
    let start_orderly = |number: usize| {
        let (notes, busy) = (ordered.clone(), Arc::clone(&busy));
        let overlaps = Arc::clone(&overlaps);
        site.consumer_options("churn-orderly")
            .instance_name(format!("o{number}"))
            .subscribe("Churn", "*")
            .start_orderly(move |messages, context| {
                let queue = context.queue.queue_id;
                if !busy.lock().unwrap().insert(queue) {
                    overlaps.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_micros(200));
                busy.lock().unwrap().remove(&queue);
                notes.note(messages);
                OrderlyResult::Success
            })
            .unwrap()
    };
    let producer = site.producer();
    let stop = AtomicBool::new(false);
    let mut sent = BTreeSet::new();
    std::thread::scope(|scope| {
        let stopping = StopAtEnd(&stop);
        let some = scope.spawn(|| churn(&start_concurrent, &stop));
        let others = scope.spawn(|| churn(&start_orderly, &stop));
        let began = Instant::now();
        while began.elapsed() < FOR {
            let key = sent.len().to_string();
            let message = Message::new("Churn", key.as_str());
            sent.insert(producer.send_to(&message, Target::Key(&key)).unwrap().message_id);
        }
        drop(stopping);
        let members = (some.join().unwrap(), others.join().unwrap());
        for (ledger, what) in [(&concurrent, "concurrent"), (&ordered, "orderly")] {
            until(&format!("{what}: {} messages", sent.len()), SOON, || {
                (ledger.distinct() == sent.len()).then_some(())
            });
            assert!(ledger.bodies().into_keys().eq(sent.iter().cloned()), "{what}");
        }
        drop(members);
    });
    assert_eq!(overlaps.load(Ordering::SeqCst), 0, "two members had an ordered queue at once");
}
