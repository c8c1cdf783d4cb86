//! What a slave knows besides messages: topics, groups, and how far groups have read.

use std::time::{Duration, Instant};

use crate::site::{KEYS, LOAD, SOON, Site, send, wait_for_acknowledgement, wait_for_topic};
use crate::support::ledger::Book;
use crate::support::pair::{TOPIC_NOT_EXIST, assert_same_queues, wait_until_equal};
use crate::support::proxy::Proxy;
use crate::support::until;
use crate::support::wire::{Wire, borrowed, code, send_fields};

fn stored(wire: &mut Wire, group: &str, queue: i32) -> Option<i64> {
    let queue = queue.to_string();
    let fields = [("consumerGroup", group), ("topic", LOAD.topic), ("queueId", queue.as_str())];
    let reply = wire.call(code::CONSUMER_OFFSET, &fields, b"");
    reply.number("offset").filter(|_| reply.code() == 0)
}

fn commit(wire: &mut Wire, group: &str, queue: i32, offset: i64) {
    let fields = [
        ("consumerGroup", group),
        ("topic", LOAD.topic),
        ("queueId", &queue.to_string()),
        ("commitOffset", &offset.to_string()),
    ];
    wire.must(code::COMMIT_OFFSET, &fields, b"");
}

/// Java's slaves ask every ten seconds, and would need two minutes for these changes one after another;
/// between two of ours it takes no time. The machine may be busy.
#[test]
fn what_changes_is_on_the_slave_at_once() {
    const TOPICS: i64 = 6;
    let site = Site::new("ha-metadata");
    let [master, slave] = site.pair();
    let (mut from, mut to) = (master.wire(), slave.wire());
    let begin = Instant::now();
    for number in 0..TOPICS {
        let topic = format!("Made{number}");
        from.create_topic(&topic, 3);
        until("the topic is on the slave", SOON, || {
            (to.pull(&topic, 2, 0).code() != TOPIC_NOT_EXIST).then_some(())
        });
        commit(&mut from, "readers", 1, 100 + number);
        until("the offset is on the slave", SOON, || {
            (stored(&mut to, "readers", 1) == Some(100 + number)).then_some(())
        });
    }
    assert!(begin.elapsed() < SOON, "{} changes in {:.1?}", 2 * TOPICS, begin.elapsed());
}

/// Consumers go on at the slave while the master is away. What they read there they need not read
/// again when it returns.
#[test]
fn progress_made_at_the_slave_is_kept() {
    let site = Site::new("ha-progress");
    let [mut master, slave] = site.pair();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 400);
    commit(&mut master.wire(), "readers", 0, 10);
    commit(&mut master.wire(), "others", 0, 20);
    let mut to_slave = slave.wire();
    until("the offset is on the slave", SOON, || {
        (stored(&mut to_slave, "others", 0) == Some(20)).then_some(())
    });
    master.process.stop(SOON);
    commit(&mut to_slave, "readers", 0, 30);
    let master = site.master(0, "SYNC_MASTER", &[]);
    wait_for_acknowledgement(&master, SOON);
    wait_for_topic(&slave);
    let mut to_master = master.wire();
    until("the master takes it over", SOON, || {
        (stored(&mut to_master, "readers", 0) == Some(30)).then_some(())
    });
    assert_eq!(stored(&mut to_slave, "readers", 0), Some(30));
    // From now on the master's is what counts, also when it goes back.
    commit(&mut to_master, "readers", 0, 5);
    until("the slave follows", SOON, || {
        (stored(&mut to_slave, "readers", 0) == Some(5)).then_some(())
    });
    assert_eq!(stored(&mut to_master, "readers", 0), Some(5));
    assert_eq!(stored(&mut to_master, "others", 0), Some(20));
}

/// The log is often ahead of the tables. A slave that becomes the master in between has all that was
/// acknowledged of a topic that it has not heard of; its own slave, which knows the topic, keeps it.
#[test]
fn a_topic_that_the_new_master_has_not_heard_of_keeps_its_messages() {
    let site = Site::new("ha-unheard");
    let mut master = site.master(0, "SYNC_MASTER", &[]);
    // Its log comes through a relay; it is told no place to ask for tables.
    let relay = Proxy::to(&site.halves[0].ha_addr());
    let addr = relay.addr();
    let keys = [&KEYS[..], &[("haMasterAddress", addr.as_str())]].concat();
    let mut slave = site.halves[1].slave(None, &keys);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    wait_for_acknowledgement(&master, SOON);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 200);
    assert_eq!(slave.wire().pull(LOAD.topic, 0, 0).code(), TOPIC_NOT_EXIST);
    master.process.kill();
    slave.process.stop(SOON);
    let mut master = site.master(1, "SYNC_MASTER", &[]);
    let slave = site.slave(0, &[]);
    wait_for_acknowledgement(&master, SOON);
    let mut to_slave = slave.wire();
    until("the slave has the master's topics", SOON, || {
        (to_slave.pull(LOAD.topic, 0, 0).code() == TOPIC_NOT_EXIST).then_some(())
    });
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    wait_for_topic(&slave);
    send(&master, &mut book, 1, 200);
    book.verify_new(&mut master.wire());
    wait_until_equal(&master, &slave, SOON);
    assert_same_queues(&master, &slave);
    book.verify_from_the_start(&mut slave.wire());
    // The roles change back.
    master.process.stop(SOON);
    drop(slave);
    let master = site.master(0, "SYNC_MASTER", &[]);
    book.verify_from_the_start(&mut master.wire());
}

/// What a master delivers with `transientStorePoolEnable` lies in a buffer of its process for a while. Its
/// slave must not know it for delivered before it has it.
#[test]
fn a_delivery_that_was_in_a_write_buffer_is_made_by_the_next_master() {
    let site = Site::new("ha-buffered");
    // What is in the buffers stays there for seconds.
    let slow = [
        ("transientStorePoolEnable", "true"),
        ("transientStorePoolSize", "3"),
        ("commitCommitLogLeastPages", "1000000"),
        ("commitCommitLogThoroughInterval", "4000"),
        ("slaveTimeout", "20000"),
        ("haHousekeepingInterval", "20000"),
    ];
    let [mut master, mut slave] = site.pair_with(&slow, &[]);
    let mut fields = send_fields(LOAD.topic, 0, "later");
    fields[8].1.push_str("\u{2}DELAY\u{1}1");
    let mut wire = master.wire();
    // Acknowledged when it was committed, and delivered right after that: it was due before.
    wire.must(code::SEND, &borrowed(&fields), b"later");
    // Time to tell the slave of it, too early; nothing else shows that it was made.
    std::thread::sleep(Duration::from_millis(1500));
    master.process.kill();
    slave.process.stop(SOON);
    let master = site.master(1, "ASYNC_MASTER", &[]);
    let mut wire = master.wire();
    until("it is delivered", SOON, || (wire.max_offset(LOAD.topic, 0) > 0).then_some(()));
}
