//! Push consumers: retries and dead letters, order, members that come and go, broadcasting,
//! offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq::client::{
    ClientError, ConsumeFromWhere, ConsumeResult, Filter, MessageModel, OrderlyResult, Producer,
    Target,
};
use rocketmq::common::clock::now_ms;
use rocketmq::common::message::Message;

use crate::site::{Ledger, SOON, Site};
use crate::support::until;

const QUERY_CONSUMER_OFFSET: i32 = 14;

fn send_many(producer: &Producer, topic: &str, count: usize) -> BTreeSet<String> {
    let list: Vec<_> =
        (0..count).map(|i| Message::new(topic, format!("{topic} {i}").into_bytes())).collect();
    let mut ids = BTreeSet::new();
    // Small batches, so that all queues get some.
    for batch in list.chunks(7) {
        let result = producer.send_batch(batch).unwrap();
        ids.extend(result.message_id.split(',').map(str::to_owned));
    }
    assert_eq!(ids.len(), count);
    ids
}

#[test]
fn a_failed_message_comes_again_and_at_last_goes_to_the_dead_letters() {
    let site = Site::start("Fragile", 2);
    let seen: Arc<Mutex<BTreeMap<String, Vec<i32>>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let consumer = site
        .consumer_options("fragile")
        .subscribe("Fragile", "*")
        .max_reconsume_times(2)
        .start_concurrent(move |messages, context| {
            let message = &messages[0];
            assert_eq!(message.topic(), "Fragile", "retries show the original topic");
            {
                let mut seen = notes.lock().unwrap();
                seen.entry(message.message_id()).or_default().push(message.reconsume_times());
            }
            context.delay_level = 1;
            match message.tag() {
                Some("never") => ConsumeResult::Later,
                Some("panics") if message.reconsume_times() == 0 => panic!("on purpose"),
                Some("once") if message.reconsume_times() == 0 => ConsumeResult::Later,
                _ => ConsumeResult::Success,
            }
        })
        .unwrap();
    let producer = site.producer();
    let send =
        |tag: &str| producer.send(&Message::new("Fragile", "x").with_tag(tag)).unwrap().message_id;
    let (never, once, fine) = (send("never"), send("once"), send("fine"));
    let panics = send("panics");
    let expected: BTreeMap<_, Vec<i32>> =
        [(&never, vec![0, 1, 2]), (&once, vec![0, 1]), (&fine, vec![0])].into();
    until("all attempts", SOON, || {
        let seen = seen.lock().unwrap();
        expected.iter().all(|(id, times)| seen.get(*id) == Some(times)).then_some(())
    });
    // A panic has no say about the delay: 10 s.
    until("the retry after a panic", SOON, || {
        (seen.lock().unwrap().get(&panics)? == &[0, 1]).then_some(())
    });
    let dead = until("a dead letter", SOON, || {
        let reply = site.broker.wire().pull("%DLQ%fragile", 0, 0);
        (reply.code() == 0).then(|| reply.body.clone())
    });
    let text = String::from_utf8_lossy(&dead);
    assert!(text.contains(&never) && text.contains("RETRY_TOPIC"), "{text}");
    consumer.shutdown();
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn orderly_queues_keep_their_order_through_failures_and_changes_of_members() {
    let site = Site::start("Ordered", 4);
    let producer = site.producer();
    const KEYS: usize = 16;
    const EACH: usize = 40;

    #[derive(Default)]
    struct Seen {
        /// Deliveries by key, in order.
        by_key: BTreeMap<String, Vec<usize>>,
        busy: BTreeSet<i32>,
        overlaps: usize,
    }
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let start = |name: &str| {
        let (seen, calls) = (Arc::clone(&seen), AtomicUsize::new(0));
        site.consumer_options("ordered")
            .instance_name(name)
            .subscribe("Ordered", "*")
            .suspend_time(Duration::from_millis(10))
            .start_orderly(move |messages, context| {
                let queue = context.queue.queue_id;
                if !seen.lock().unwrap().busy.insert(queue) {
                    seen.lock().unwrap().overlaps += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
                let fails = calls.fetch_add(1, Ordering::Relaxed) % 10 == 5;
                let mut seen = seen.lock().unwrap();
                if !fails {
                    for message in messages {
                        let text = String::from_utf8_lossy(message.body()).into_owned();
                        let (key, number) = text.split_once(' ').unwrap();
                        let deliveries = seen.by_key.entry(key.to_owned()).or_default();
                        deliveries.push(number.parse().unwrap());
                    }
                }
                seen.busy.remove(&queue);
                if fails { OrderlyResult::Suspend } else { OrderlyResult::Success }
            })
            .unwrap()
    };
    let one = start("one");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..EACH {
                for key in 0..KEYS {
                    let message = Message::new("Ordered", format!("k{key} {number}"));
                    producer.send_to(&message, Target::Key(&format!("k{key}"))).unwrap();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            done.store(true, Ordering::Release);
        });
        // A second member comes while messages flow, takes its share, and the first one leaves.
        until("the first member has all queues", SOON, || (one.queues().len() == 5).then_some(()));
        let two = start("two");
        until("the second member has its share", SOON, || {
            let share = |queues: Vec<rocketmq::client::MessageQueue>| {
                queues.iter().filter(|queue| queue.topic == "Ordered").count()
            };
            (share(one.queues()) == 2 && share(two.queues()) == 2).then_some(())
        });
        one.shutdown();
        until("everything", SOON, || {
            let all = seen.lock().unwrap();
            let whole = |numbers: &Vec<usize>| numbers.contains(&(EACH - 1));
            (done.load(Ordering::Acquire)
                && all.by_key.len() == KEYS
                && all.by_key.values().all(whole))
            .then_some(())
        });
        two.shutdown();
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen.overlaps, 0, "two listeners had a queue at the same time");
    for (key, numbers) in &seen.by_key {
        // What a member had consumed but not yet committed may come again to the next one, in
        // order; nothing is skipped.
        let mut next = 0;
        for &number in numbers {
            assert!(number <= next, "{key}: {number} came before {next}: {numbers:?}");
            next = next.max(number + 1);
        }
        assert_eq!(next, EACH, "{key}");
    }
}

#[test]
fn members_share_a_topic_and_take_over_from_one_another() {
    let site = Site::start("Shared", 8);
    let ledger = Ledger::default();
    let start = |name: &str| {
        let notes = ledger.clone();
        site.consumer_options("sharing")
            .instance_name(name)
            .subscribe("Shared", "*")
            .start_concurrent(move |messages, _| {
                notes.note(messages);
                ConsumeResult::Success
            })
            .unwrap()
    };
    let members = [start("a"), start("b"), start("c")];
    let shares = || -> Vec<usize> {
        let of_topic = |m: &rocketmq::client::PushConsumer| {
            m.queues().iter().filter(|queue| queue.topic == "Shared").count()
        };
        members.iter().map(of_topic).collect()
    };
    until("the division of 8 queues among 3", SOON, || (shares() == [3, 3, 2]).then_some(()));
    let producer = site.producer();
    let mut sent = send_many(&producer, "Shared", 700);
    ledger.wait_for(700);
    assert_eq!(ledger.deliveries(), 700, "settled members deliver once");
    // A queue that changes hands begins where the broker knows the group to be.
    until("the broker knows the offsets", SOON, || {
        let mut wire = site.broker.wire();
        let offset = |queue: i32| {
            let queue = queue.to_string();
            let of = [("consumerGroup", "sharing"), ("topic", "Shared"), ("queueId", &queue)];
            wire.must(QUERY_CONSUMER_OFFSET, &of, b"").number("offset").unwrap()
        };
        ((0..8).map(offset).sum::<i64>() == 700).then_some(())
    });
    members[0].shutdown();
    until("two members have everything", SOON, || (shares() == [0, 4, 4]).then_some(()));
    sent.extend(send_many(&producer, "Shared", 300));
    ledger.wait_for(1000);
    assert_eq!(ledger.bodies().into_keys().collect::<BTreeSet<_>>(), sent);
    assert_eq!(ledger.deliveries(), 1000, "a member that leaves commits what it consumed");
}

#[test]
fn offsets_survive_a_restart_and_new_groups_begin_where_they_say() {
    let site = Site::start("Kept", 3);
    let producer = site.producer();
    send_many(&producer, "Kept", 100);
    let run = |group: &str, from, expected: usize| {
        let ledger = Ledger::default();
        let notes = ledger.clone();
        let consumer = site
            .consumer_options(group)
            .consume_from(from)
            .consume_timestamp(now_ms() - 3_600_000)
            .subscribe("Kept", "*")
            .start_concurrent(move |messages, _| {
                notes.note(messages);
                ConsumeResult::Success
            })
            .unwrap();
        ledger.wait_for(expected);
        consumer.shutdown();
        assert_eq!(ledger.deliveries(), expected, "{group}");
    };
    run("first", ConsumeFromWhere::FirstOffset, 100);
    run("since", ConsumeFromWhere::Timestamp, 100);
    send_many(&producer, "Kept", 50);
    run("first", ConsumeFromWhere::FirstOffset, 50);
    run("since", ConsumeFromWhere::Timestamp, 50);
}

#[test]
fn broadcasting_gives_everything_to_everybody_and_remembers() {
    let site = Site::start("News", 2);
    let producer = site.producer();
    let start = |name: &str, ledger: &Ledger| {
        let notes = ledger.clone();
        site.consumer_options("readers")
            .instance_name(name)
            .message_model(MessageModel::Broadcasting)
            .subscribe("News", "*")
            .start_concurrent(move |messages, _| {
                notes.note(messages);
                ConsumeResult::Success
            })
            .unwrap()
    };
    let ledgers = [Ledger::default(), Ledger::default()];
    let members = [start("r1", &ledgers[0]), start("r2", &ledgers[1])];
    send_many(&producer, "News", 60);
    for ledger in &ledgers {
        ledger.wait_for(60);
        assert_eq!(ledger.deliveries(), 60);
    }
    members[0].shutdown();
    send_many(&producer, "News", 10);
    ledgers[1].wait_for(70);
    let again = Ledger::default();
    let member = start("r1", &again);
    again.wait_for(10);
    member.shutdown();
    assert_eq!(again.deliveries(), 10, "the file remembers");
}

#[test]
fn tags_choose_messages_and_subscriptions_change_while_running() {
    let site = Site::start("Tagged", 2);
    site.create_topic("Other", 2);
    let ledger = Ledger::default();
    let consumer = site
        .consumer_options("choosy")
        .subscribe("Tagged", "Aa || c")
        .start_concurrent(ledger.listener())
        .unwrap();
    let producer = site.producer();
    let send = |topic: &str, tag: &str| {
        producer.send(&Message::new(topic, tag).with_tag(tag)).unwrap().message_id
    };
    // "BB" has the Java hash of "Aa": only the client can tell them apart.
    let wanted: BTreeSet<_> = [send("Tagged", "Aa"), send("Tagged", "c")].into();
    send("Tagged", "BB");
    send("Tagged", "b");
    let last = send("Tagged", "c");
    let other = send("Other", "x");
    ledger.wait_for(3);
    assert!(wanted.iter().chain([&last]).all(|id| ledger.bodies().contains_key(id)));
    consumer.subscribe("Other", Filter::all()).unwrap();
    ledger.wait_for(4);
    assert!(ledger.bodies().contains_key(&other));
    consumer.unsubscribe("Other");
    until("the queues of the topic are given up", SOON, || {
        consumer.queues().iter().all(|queue| queue.topic != "Other").then_some(())
    });
    consumer.suspend();
    consumer.shutdown();
    let refused = consumer.subscribe("Other", Filter::all());
    assert_eq!(refused, Err(ClientError::NotRunning));
}

#[test]
fn a_slow_listener_stops_the_pulls_not_the_consumer() {
    let site = Site::start("Slow", 1);
    let producer = site.producer();
    send_many(&producer, "Slow", 500);
    let ledger = Ledger::default();
    let (notes, gate) = (ledger.clone(), Arc::new(AtomicBool::new(false)));
    let closed = Arc::clone(&gate);
    let consumer = site
        .consumer_options("slow")
        .subscribe("Slow", "*")
        .cached_messages_per_queue(40usize)
        .consume_threads(2usize)
        .start_concurrent(move |messages, _| {
            while !closed.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
            notes.note(messages);
            ConsumeResult::Success
        })
        .unwrap();
    until("the queue is taken", SOON, || (!consumer.queues().is_empty()).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ledger.deliveries(), 0);
    gate.store(true, Ordering::Release);
    ledger.wait_for(500);
    consumer.shutdown();
    assert_eq!(ledger.deliveries(), 500);
}

#[test]
fn a_broker_that_crashes_and_comes_back_loses_nobody() {
    let mut site = Site::start("Crashing", 4);
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let ledger = Ledger::default();
    let concurrent = site
        .consumer_options("crash-concurrent")
        .subscribe("Crashing", "*")
        .start_concurrent(ledger.listener())
        .unwrap();
    let ordered = Ledger::default();
    let notes = ordered.clone();
    let orderly = site
        .consumer_options("crash-orderly")
        .subscribe("Crashing", "*")
        .start_orderly(move |messages, _| {
            notes.note(messages);
            OrderlyResult::Success
        })
        .unwrap();
    let producer = site.producer_options().send_timeout(Duration::from_secs(2)).start().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                match producer.send(&Message::new("Crashing", "x")) {
                    Ok(result) => drop(acknowledged.lock().unwrap().insert(result.message_id)),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        let more = |count: usize| {
            let before = acknowledged.lock().unwrap().len();
            until("more acknowledged sends", SOON, || {
                (acknowledged.lock().unwrap().len() >= before + count).then_some(())
            });
        };
        for _ in 0..2 {
            more(200);
            site.broker.process.kill();
            site.restart_broker();
            more(200);
        }
        stop.store(true, Ordering::Release);
    });
    for ledger in [&ledger, &ordered] {
        until("everything acknowledged", SOON, || {
            let bodies = ledger.bodies();
            acknowledged.lock().unwrap().iter().all(|id| bodies.contains_key(id)).then_some(())
        });
    }
    concurrent.shutdown();
    orderly.shutdown();
}
