//! Push consumers: retries and dead letters, order, members that come and go, broadcasting,
//! offsets.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq::client::admin::AdminClient;
use rocketmq::client::offset_store::StoreError;
use rocketmq::client::{
    ClientError, ConsumeFromWhere, ConsumeResult, Filter, LitePullOptions, MessageModel,
    MessageQueue, OrderlyResult, Producer, PullConsumer, Target,
};
use rocketmq::common::clock::now_ms;
use rocketmq::common::message::Message;

use crate::site::{Ledger, SOON, Site};
use crate::support::wire::{borrowed, code, send_fields};
use crate::support::{StopAtEnd, until};

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

/// Where the broker knows a group to be in a queue; below 0 if it knows nothing.
fn committed(site: &Site, group: &str, topic: &str, queue: i32) -> i64 {
    let of = [("consumerGroup", group), ("topic", topic), ("queueId", &queue.to_string())];
    site.broker.wire().call(QUERY_CONSUMER_OFFSET, &of, b"").number("offset").unwrap_or(-1)
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
        let offset = |queue: i32| committed(&site, "sharing", "Shared", queue);
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
    let total = Cell::new(100);
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
        // A consumer that stops waits two seconds for its commit; a busy broker may take longer.
        until("the broker knows the offsets", SOON, || {
            let known: i64 = (0..3).map(|queue| committed(&site, group, "Kept", queue)).sum();
            (known == total.get()).then_some(())
        });
    };
    run("first", ConsumeFromWhere::FirstOffset, 100);
    run("since", ConsumeFromWhere::Timestamp, 100);
    send_many(&producer, "Kept", 50);
    total.set(150);
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
        .cached_messages_per_queue(40)
        .consume_threads(2)
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
        let stopping = StopAtEnd(&stop);
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
        drop(stopping);
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

#[test]
fn the_number_of_consume_threads_changes_while_messages_come() {
    let site = Site::start("Resized", 4);
    let ledger = Ledger::default();
    let notes = ledger.clone();
    let (running, most): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let hold = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&hold);
    let consumer = site
        .consumer_options("resized")
        .consume_threads(1)
        .subscribe("Resized", "*")
        .start_concurrent(move |messages, _| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            while held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            notes.note(messages);
            now.fetch_sub(1, Ordering::SeqCst);
            ConsumeResult::Success
        })
        .unwrap();
    let producer = site.producer();
    let sent = send_many(&producer, "Resized", 1000);
    until("messages come", SOON, || (ledger.distinct() > 20).then_some(()));
    assert_eq!(most.load(Ordering::SeqCst), 1);
    hold.store(true, Ordering::SeqCst);
    consumer.set_consume_threads(8).unwrap();
    until("eight at a time", SOON, || (most.load(Ordering::SeqCst) == 8).then_some(()));
    hold.store(false, Ordering::SeqCst);
    consumer.set_consume_threads(2).unwrap();
    assert!(consumer.set_consume_threads(1001).is_err());
    ledger.wait_for(1000);
    // Whoever began under the old number is done: these never run more than two at a time.
    until("no listener runs", SOON, || (running.load(Ordering::SeqCst) == 0).then_some(()));
    most.store(0, Ordering::SeqCst);
    let more = send_many(&producer, "Resized", 60);
    ledger.wait_for(1060);
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
    let all: BTreeSet<_> = sent.union(&more).cloned().collect();
    assert_eq!(ledger.bodies().into_keys().collect::<BTreeSet<_>>(), all);
    let admin = AdminClient::new(vec![site.names()]).limit(SOON);
    let (addr, id) = (site.broker.addr(), consumer.client_id());
    let info = admin.consumer_running_info(&addr, "resized", id, false);
    assert_eq!(info.unwrap().properties["PROP_THREADPOOL_CORE_SIZE"], "2");
}

#[test]
fn offsets_are_read_from_and_written_to_a_store_of_ones_own() {
    type Table = Arc<Mutex<BTreeMap<(String, MessageQueue), i64>>>;
    let site = Site::start("Stored", 3);
    let producer = site.producer();
    let table: Table = Arc::default();
    let store = |table: &Table| {
        let (reads, writes) = (Arc::clone(table), Arc::clone(table));
        (
            move |group: &str, queue: &MessageQueue| -> Result<_, StoreError> {
                Ok(reads.lock().unwrap().get(&(group.to_owned(), queue.clone())).copied())
            },
            move |group: &str, offsets: &[(MessageQueue, i64)]| -> Result<(), StoreError> {
                let of_group = |(queue, offset): &(MessageQueue, i64)| {
                    ((group.to_owned(), queue.clone()), *offset)
                };
                writes.lock().unwrap().extend(offsets.iter().map(of_group));
                Ok(())
            },
        )
    };
    let total = |table: &Table, group: &str| -> i64 {
        let table = table.lock().unwrap();
        let own = |name: &(String, MessageQueue)| name.0 == group && name.1.topic == "Stored";
        table.iter().filter(|(name, _)| own(name)).map(|(_, offset)| offset).sum()
    };
    send_many(&producer, "Stored", 50);
    for expected in [50, 0, 20] {
        if expected == 20 {
            send_many(&producer, "Stored", 20);
        }
        let ledger = Ledger::default();
        let consumer = site
            .consumer_options("stored")
            .offset_store(store(&table))
            .subscribe("Stored", "*")
            .start_concurrent(ledger.listener())
            .unwrap();
        until("the queues", SOON, || (consumer.queues().len() >= 3).then_some(()));
        ledger.wait_for(expected);
        consumer.shutdown();
        assert_eq!(ledger.deliveries(), expected);
    }
    assert_eq!(total(&table, "stored"), 70);

    // One store may serve several groups, and a pull consumer.
    let lite = LitePullOptions::new("stored-lite")
        .client(site.client_options())
        .consume_from(ConsumeFromWhere::FirstOffset)
        .offset_store(store(&table))
        .start()
        .unwrap();
    lite.subscribe("Stored", "*").unwrap();
    let mut count = 0;
    until("all", SOON, || {
        count += lite.poll_for(Duration::from_millis(100)).unwrap().len();
        (count == 70).then_some(())
    });
    lite.commit_sync().unwrap();
    assert_eq!(total(&table, "stored-lite"), 70);
    let queue = lite.assignment().remove(0);
    lite.commit_offsets([(queue.clone(), 1)]).unwrap();
    assert_eq!(lite.committed(&queue), Ok(Some(1)));
    lite.commit_queues(std::slice::from_ref(&queue)).unwrap();
    assert_eq!(total(&table, "stored-lite"), 70);
    assert!(lite.commit_offsets([(queue, -1)]).is_err());

    // A store that fails: the consumer does not begin anywhere else, and goes on when it works again.
    let broken = Arc::new(AtomicBool::new(true));
    let (fails, ledger) = (Arc::clone(&broken), Ledger::default());
    let (read, write) = store(&table);
    let consumer = site
        .consumer_options("stored-late")
        .offset_store((
            move |group: &str, queue: &MessageQueue| -> Result<_, StoreError> {
                if fails.load(Ordering::SeqCst) { Err("down".into()) } else { read(group, queue) }
            },
            write,
        ))
        .subscribe("Stored", "*")
        .start_concurrent(ledger.listener())
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((ledger.distinct(), consumer.queues().len()), (0, 0));
    broken.store(false, Ordering::SeqCst);
    ledger.wait_for(70);
}

/// Bodies packed in a way that nobody knows: as they would be without the feature that they need.
#[test]
fn what_cannot_be_unpacked_is_neither_lost_nor_shown_nor_in_the_way() {
    const UNKNOWN: i32 = 0x401;
    let site = Site::start("Packed", 1);
    let mut wire = site.broker.wire();
    for number in 0..9 {
        let mut fields = send_fields("Packed", 0, &format!("k{number}"));
        let packed = number % 3 == 1;
        let flag = fields.iter_mut().find(|(name, _)| *name == "f").unwrap();
        flag.1 = if packed { UNKNOWN.to_string() } else { "0".to_owned() };
        wire.must(code::SEND, &borrowed(&fields), format!("body {number}").as_bytes());
    }
    let dead = |admin: &PullConsumer, group: &str| {
        let queues = admin.queues(&format!("%DLQ%{group}")).unwrap_or_default();
        let pull = |queue| admin.pull(queue, "*", 0, 32, None).map(|result| result.messages);
        queues.iter().filter_map(|queue| pull(queue).ok()).flatten().collect::<Vec<_>>()
    };
    let check_dead = |group: &str| {
        let admin = PullConsumer::start(&format!("{group}-looks"), site.client_options()).unwrap();
        let dead = || Some(dead(&admin, group)).filter(|dead| dead.len() == 3);
        let dead = until("the dead letters", SOON, dead);
        for message in dead {
            assert!(message.stored_body().starts_with(b"body "), "as they were");
            assert_eq!(message.facts().sys_flag & 0x701, UNKNOWN, "{message:?}");
            assert!(message.unpack_error().unwrap().to_string().contains("number 4"));
        }
    };

    let ledger = Ledger::default();
    let orderly = ledger.clone();
    let consumer = site
        .consumer_options("packed-orderly")
        .consume_batch(4)
        .subscribe("Packed", "*")
        .start_orderly(move |messages, _| {
            orderly.note(messages);
            OrderlyResult::Success
        })
        .unwrap();
    ledger.wait_for(6);
    check_dead("packed-orderly");
    consumer.shutdown();
    // A consumer that stops waits two seconds for its commit; a busy broker may take longer.
    let until_committed = |group: &str| {
        until(&format!("{group}: the queue went on to its end"), SOON, || {
            (committed(&site, group, "Packed", 0) == 9).then_some(())
        });
    };
    until_committed("packed-orderly");

    let ledger = Ledger::default();
    let consumer = site
        .consumer_options("packed")
        .consume_batch(4)
        .max_reconsume_times(0)
        .subscribe("Packed", "*")
        .start_concurrent(ledger.listener())
        .unwrap();
    ledger.wait_for(6);
    check_dead("packed");
    consumer.shutdown();
    until_committed("packed");
    assert_eq!(ledger.distinct(), 6);

    // Who asks for it gets everything, and so does everybody in broadcasting.
    for model in [MessageModel::Clustering, MessageModel::Broadcasting] {
        let ledger = Ledger::default();
        let _consumer = site
            .consumer_options("packed-shown")
            .message_model(model)
            .packed_bodies(model == MessageModel::Clustering)
            .subscribe("Packed", "*")
            .start_concurrent(ledger.listener())
            .unwrap();
        ledger.wait_for(9);
    }
}

#[test]
fn a_topic_that_its_first_message_makes_is_consumed_soon() {
    let site = Site::start("Known", 1);
    let ledger = Ledger::default();
    let mut options = site.consumer_options("early").subscribe("MadeLater", "*");
    // Not by the periodic update.
    options.client.route_interval = Duration::from_secs(3600);
    let consumer = options.start_concurrent(ledger.listener()).unwrap();
    site.producer().send(&Message::new("MadeLater", "first")).unwrap();
    ledger.wait_for(1);
    consumer.shutdown();
}
