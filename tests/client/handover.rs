//! Queues that change hands at the worst moment: while a listener is busy, a lock is renewed, an offset is
//! moved, an application looks for its place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rocketmq::client::{
    ConsumeFromWhere, ConsumeResult, Interceptor, LitePullConsumer, LitePullOptions, MessageQueue,
    OffsetAt, OffsetStore, OrderlyResult, PushConsumer, StoreError, Target,
};
use rocketmq::common::message::Message;
use rocketmq::remoting::Command;

use crate::site::{Ledger, SOON, Site};
use crate::support::until;

const QUERY_CONSUMER_OFFSET: i32 = 14;
const GET_CONSUMER_LIST: i32 = 38;
const LOCK_BATCH_MQ: i32 = 41;
const UNLOCK_BATCH_MQ: i32 = 42;

/// Opened once; whoever waits for it goes on then, or after half a minute.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn pass(&self, limit: Duration) {
        let began = std::time::Instant::now();
        while !self.is_open() && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn on(thread: &str) -> bool {
    std::thread::current().name() == Some(thread)
}

fn queues_of(consumer: &PushConsumer, topic: &str) -> usize {
    consumer.queues().iter().filter(|queue| queue.topic == topic).count()
}

fn fill(site: &Site, topic: &str, queues: i32, each: usize) {
    let producer = site.producer();
    for queue in producer.queues(topic).unwrap().iter().take(queues as usize) {
        let mut end = 0;
        for i in 0..each {
            let message = Message::new(topic, format!("{i}"));
            end = producer.send_to(&message, Target::Queue(queue)).unwrap().queue_offset + 1;
        }
        until("what was sent can be read", SOON, || {
            (producer.offset_at(queue, OffsetAt::Max).unwrap() >= end).then_some(())
        });
    }
}

#[test]
fn what_an_ordered_listener_is_at_while_its_queue_goes_is_not_consumed_again() {
    let site = Site::start("Handed", 2);
    fill(&site, "Handed", 2, 3);
    let (ledger, gate) = (Ledger::default(), Gate::default());
    let member = || {
        let (notes, gate) = (ledger.clone(), gate.clone());
        site.consumer_options("handed").subscribe("Handed", "*").start_orderly(
            move |messages, _| {
                notes.note(messages);
                gate.pass(SOON);
                OrderlyResult::Success
            },
        )
    };
    let first = member().unwrap();
    until("both listeners are busy", SOON, || (ledger.deliveries() == 2).then_some(()));
    let second = member().unwrap();
    until("a queue is given up", SOON, || (queues_of(&first, "Handed") == 1).then_some(()));
    gate.open();
    ledger.wait_for(6);
    until("the other queue is taken", SOON, || (queues_of(&second, "Handed") == 1).then_some(()));
    first.shutdown();
    second.shutdown();
    assert_eq!(ledger.deliveries(), 6);
}

/// A store in memory, shared by members.
type Table = Arc<Mutex<BTreeMap<MessageQueue, i64>>>;

fn store(table: &Table) -> impl OffsetStore + use<> {
    let (reads, writes) = (Arc::clone(table), Arc::clone(table));
    let read = move |_: &str, queue: &MessageQueue| -> Result<Option<i64>, StoreError> {
        Ok(reads.lock().unwrap().get(queue).copied())
    };
    let write = move |_: &str, offsets: &[(MessageQueue, i64)]| -> Result<(), StoreError> {
        writes.lock().unwrap().extend(offsets.iter().cloned());
        Ok(())
    };
    (read, write)
}

#[test]
fn a_member_that_leaves_writes_its_offsets_before_it_unlocks() {
    let site = Site::start("Left", 1);
    fill(&site, "Left", 1, 5);
    let (table, leaving, unlocked): (Table, Gate, Gate) = Default::default();
    let (reads, writes) = (Arc::clone(&table), Arc::clone(&table));
    let (leaves, was_unlocked, addr) = (leaving.clone(), unlocked.clone(), site.broker.addr());
    let read = move |_: &str, queue: &MessageQueue| -> Result<Option<i64>, StoreError> {
        Ok(reads.lock().unwrap().get(queue).copied())
    };
    let write = move |_: &str, offsets: &[(MessageQueue, i64)]| -> Result<(), StoreError> {
        if leaves.is_open() {
            let body = br#"{"clientId":"another","consumerGroup":"left","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"Left"}]}"#;
            let answer = crate::support::wire::Wire::connect(&addr).must(LOCK_BATCH_MQ, &[], body);
            if String::from_utf8_lossy(&answer.body).contains("queueId") {
                was_unlocked.open();
            }
        }
        writes.lock().unwrap().extend(offsets.iter().cloned());
        Ok(())
    };
    let ledger = Ledger::default();
    let notes = ledger.clone();
    let consumer = site
        .consumer_options("left")
        .offset_store((read, write))
        .subscribe("Left", "*")
        .start_orderly(move |messages, _| {
            notes.note(messages);
            OrderlyResult::Success
        })
        .unwrap();
    ledger.wait_for(5);
    leaving.open();
    consumer.shutdown();
    assert_eq!(table.lock().unwrap().values().max(), Some(&5));
    assert!(!unlocked.is_open(), "another member could have begun at an old offset");
}

#[test]
fn what_comes_after_a_group_was_there_is_not_missed() {
    let site = Site::start("Since", 1);
    fill(&site, "Since", 1, 5);
    let table: Table = Arc::default();
    let member = |ledger: &Ledger| {
        site.consumer_options("since")
            .consume_from(ConsumeFromWhere::LastOffset)
            .offset_store(store(&table))
            .subscribe("Since", "*")
            .start_concurrent(ledger.listener())
            .unwrap()
    };
    let ledger = Ledger::default();
    let first = member(&ledger);
    until("the queue", SOON, || (queues_of(&first, "Since") == 1).then_some(()));
    first.shutdown();
    fill(&site, "Since", 1, 1);
    let second = member(&ledger);
    ledger.wait_for(1);
    second.shutdown();
}

/// Holds the first renewal of locks until a queue was unlocked, if that can be; and who wants a queue after
/// that until it was renewed.
#[derive(Default)]
struct HoldsRenewal {
    held: Gate,
    unlocked: Gate,
    renewed: Gate,
}

impl Interceptor for HoldsRenewal {
    fn before_request(&self, _: &str, request: &mut Command) {
        if request.code != LOCK_BATCH_MQ {
            return;
        }
        if on("ConsumeSched") && !self.held.is_open() {
            self.held.open();
            self.unlocked.pass(Duration::from_secs(3));
        } else if on("RebalanceSvc") && self.held.is_open() {
            self.renewed.pass(SOON);
        }
    }

    fn after_response(&self, _: &str, code: i32, _: &Command) {
        match code {
            UNLOCK_BATCH_MQ => self.unlocked.open(),
            LOCK_BATCH_MQ if on("ConsumeSched") => self.renewed.open(),
            _ => {}
        }
    }
}

#[test]
fn a_renewal_of_locks_does_not_overtake_the_unlocking() {
    let site = Site::start("Renewed", 2);
    let holds = Arc::new(HoldsRenewal::default());
    let member = || {
        site.consumer_options("renewed")
            .interceptor(Arc::clone(&holds))
            .subscribe("Renewed", "*")
            .start_orderly(|_, _| OrderlyResult::Success)
            .unwrap()
    };
    let first = member();
    until("two queues", SOON, || (queues_of(&first, "Renewed") == 2).then_some(()));
    until("a renewal", SOON, || holds.held.is_open().then_some(()));
    let second = member();
    // A lock that nobody renews is void after a minute.
    until("the share of the second", Duration::from_secs(55), || {
        (queues_of(&second, "Renewed") == 1).then_some(())
    });
}

/// Holds a round of rebalancing once.
#[derive(Default)]
struct HoldsRound {
    armed: AtomicBool,
    held: Gate,
    goes: Gate,
    asked: AtomicUsize,
}

impl Interceptor for HoldsRound {
    fn before_request(&self, _: &str, request: &mut Command) {
        if !on("RebalanceSvc") {
            return;
        }
        if request.code == GET_CONSUMER_LIST && self.armed.swap(false, Ordering::SeqCst) {
            self.held.open();
            self.goes.pass(SOON);
        }
        if request.code == QUERY_CONSUMER_OFFSET && self.goes.is_open() {
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_round_of_rebalancing_does_not_undo_a_reset() {
    let site = Site::start("Again", 1);
    fill(&site, "Again", 1, 3);
    let (ledger, gate, holds) = (Ledger::default(), Gate::default(), Arc::<HoldsRound>::default());
    let (notes, busy) = (ledger.clone(), gate.clone());
    let consumer = site
        .consumer_options("again")
        .interceptor(Arc::clone(&holds))
        .subscribe("Again", "*")
        .start_concurrent(move |messages, _| {
            notes.note(messages);
            if messages[0].body() == b"2" {
                busy.pass(SOON);
            }
            ConsumeResult::Success
        })
        .unwrap();
    until("the listener is busy", SOON, || (ledger.deliveries() == 3).then_some(()));
    holds.armed.store(true, Ordering::SeqCst);
    consumer.resume();
    until("a round runs", SOON, || holds.held.is_open().then_some(()));
    consumer.reset_to_time(0).unwrap();
    holds.goes.open();
    until("the round takes the queue", SOON, || {
        (holds.asked.load(Ordering::SeqCst) > 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    gate.open();
    until("all messages again", SOON, || {
        ledger.bodies().values().all(|times| times.len() >= 2).then_some(())
    });
    consumer.shutdown();
}

fn lite(site: &Site, group: &str) -> LitePullOptions {
    LitePullOptions::new(group)
        .client(site.client_options())
        .consume_from(ConsumeFromWhere::FirstOffset)
}

#[test]
fn what_comes_after_a_group_was_there_to_poll_is_not_missed() {
    let site = Site::start("Polls", 1);
    fill(&site, "Polls", 1, 5);
    let table: Table = Arc::default();
    let member = || {
        let options = lite(&site, "polls").consume_from(ConsumeFromWhere::LastOffset);
        let consumer = options.offset_store(store(&table)).start().unwrap();
        consumer.subscribe("Polls", "*").unwrap();
        consumer
    };
    let first = member();
    let queue = until("the queue", SOON, || first.assignment().pop());
    until("its place", SOON, || first.committed(&queue).unwrap());
    first.shutdown();
    fill(&site, "Polls", 1, 1);
    let second = member();
    until("the message", SOON, || {
        second.poll_for(Duration::from_millis(100)).unwrap().pop().map(drop)
    });
}

#[test]
fn who_seeks_when_told_of_a_queue_reads_from_there_alone() {
    let site = Site::start("Sought", 1);
    fill(&site, "Sought", 1, 20);
    let myself: Arc<OnceLock<LitePullConsumer>> = Arc::default();
    let known = Arc::clone(&myself);
    let consumer = lite(&site, "sought").on_assignment(move |now| {
        let consumer = known.get().unwrap();
        now.own.iter().for_each(|queue| consumer.seek(queue, 15).unwrap());
    });
    let consumer = consumer.start().unwrap();
    myself.set(consumer).unwrap();
    let consumer = myself.get().unwrap();
    consumer.subscribe("Sought", "*").unwrap();
    let mut offsets = Vec::new();
    until("five messages", SOON, || {
        let some = consumer.poll_for(Duration::from_millis(100)).unwrap();
        offsets.extend(some.iter().map(|message| message.queue_offset()));
        (offsets.len() >= 5).then_some(())
    });
    for _ in 0..5 {
        let some = consumer.poll_for(Duration::from_millis(100)).unwrap();
        offsets.extend(some.iter().map(|message| message.queue_offset()));
    }
    offsets.sort_unstable();
    assert_eq!(offsets, [15, 16, 17, 18, 19]);
    consumer.shutdown();
}

#[test]
fn an_iteration_goes_on_where_a_seek_leads() {
    let site = Site::start("Iterated", 1);
    fill(&site, "Iterated", 1, 10);
    let consumer = lite(&site, "iterated").start().unwrap();
    consumer.subscribe("Iterated", "*").unwrap();
    let mut messages = consumer.messages().until_idle_for(SOON);
    let mut next = || messages.next().unwrap().unwrap().queue_offset();
    assert_eq!([next(), next(), next()], [0, 1, 2]);
    consumer.seek(&consumer.assignment()[0], 0).unwrap();
    assert_eq!([next(), next()], [0, 1]);
}
