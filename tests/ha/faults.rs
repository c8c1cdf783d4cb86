//! What networks and machines do to a pair that answers: during the fault nothing that is not on the
//! slave is acknowledged and every send is answered in bounded time; after it the pair is itself
//! again within a bound, and both logs are equal.

use std::time::{Duration, Instant};

use crate::site::{
    FLUSH_SLAVE_TIMEOUT, LOAD, PATIENT, SLAVE_NOT_AVAILABLE, SOON, Site, assert_equal, probe, send,
    wait_for_acknowledgement, wait_for_topic,
};
use crate::support::ledger::{Book, Load, Sending};
use crate::support::pair::{log_range, wait_until_equal};
use crate::support::proxy::Proxy;
use crate::support::servers::Server;
use crate::support::until;
use crate::support::wire::{Wire, borrowed, code, send_fields};

/// Longest answer of a master whose slave does not: `slaveTimeout` of these sites is a second, and the
/// machine may be busy.
const ANSWER: Duration = Duration::from_secs(20);

/// Sends one message at a time while something is wrong, until `over`; every answer comes in time.
/// How many were acknowledged, and the codes of the others.
fn send_through(wire: &mut Wire, over: impl Fn(&[i32]) -> bool) -> (usize, Vec<i32>) {
    let (mut acknowledged, mut refused) = (0, Vec::new());
    while !over(&refused) {
        let begin = Instant::now();
        match probe(wire) {
            0 => acknowledged += 1,
            other => refused.push(other),
        }
        assert!(begin.elapsed() < ANSWER, "an answer after {:?}", begin.elapsed());
    }
    refused.dedup();
    (acknowledged, refused)
}

#[test]
fn a_cut_connection_is_made_again() {
    let site = Site::new("ha-cut");
    let ([master, slave], proxy) = site.pair_through_proxy();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    for round in 0..5 {
        let sending = Sending::start(&master.addr(), LOAD, round);
        sending.wait_for(300, SOON);
        proxy.cut();
        let took = wait_for_acknowledgement(&master, SOON);
        sending.wait_for(sending.acknowledged() + 100, SOON);
        sending.stop();
        book.enter(sending.join());
        eprintln!("cut: recovered after {took:.1?}");
    }
    assert_equal(&master, &slave, &mut book);
}

#[test]
fn a_connection_may_end_at_any_byte() {
    let site = Site::new("ha-truncate");
    let ([master, slave], proxy) = site.pair_through_proxy();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    for (round, bytes) in [1, 11, 12, 13, 20, 100, 1000, 40_000, 70_001].into_iter().enumerate() {
        proxy.cut_after(bytes);
        send(&master, &mut book, round as u32, 200);
        until(&format!("a cut after {bytes} bytes"), SOON, || proxy.has_cut().then_some(()));
    }
    assert_equal(&master, &slave, &mut book);
}

/// The cable of the old connection is pulled: neither end is told. Each must find out by itself.
#[test]
fn a_half_open_connection_is_given_up_by_both() {
    let site = Site::new("ha-half-open");
    let ([master, slave], proxy) = site.pair_through_proxy();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 500);
    proxy.forget_open_ones();
    // haHousekeepingInterval is 1.5 s here.
    let took = wait_for_acknowledgement(&master, SOON);
    eprintln!("half open: recovered after {took:.1?}");
    send(&master, &mut book, 1, 500);
    assert_equal(&master, &slave, &mut book);
}

#[test]
fn a_partition_is_told_and_heals() {
    let site = Site::new("ha-partition");
    // So long the master waits for a report before it gives the connection up.
    let ([master, slave], proxy) =
        site.pair_through_proxy_with(&[("haHousekeepingInterval", "6000")]);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 500);
    proxy.hold(true);
    let begin = Instant::now();
    let (acknowledged, refused) = send_through(&mut master.wire(), |refused| {
        assert!(begin.elapsed() < SOON, "the connection is not given up: {:?}", refused.first());
        refused.ends_with(&[SLAVE_NOT_AVAILABLE; 100])
    });
    assert_eq!(acknowledged, 0, "acknowledged without a slave");
    // While the connection seems to live it is waited for; then there is none.
    assert_eq!(refused, [FLUSH_SLAVE_TIMEOUT, SLAVE_NOT_AVAILABLE]);
    proxy.hold(false);
    let took = wait_for_acknowledgement(&master, SOON);
    eprintln!("partition: recovered after {took:.1?}");
    send(&master, &mut book, 1, 500);
    assert_equal(&master, &slave, &mut book);
}

#[test]
fn a_refused_connection_is_tried_again() {
    let site = Site::new("ha-refused");
    let ([master, slave], proxy) = site.pair_through_proxy();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 100);
    proxy.refuse(true);
    let before = proxy.connections();
    let mut wire = master.wire();
    until("no slave is there", SOON, || (probe(&mut wire) == SLAVE_NOT_AVAILABLE).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let tries = proxy.connections() - before;
    proxy.refuse(false);
    let took = wait_for_acknowledgement(&master, SOON);
    eprintln!("refused: recovered after {took:.1?}, {tries} connections meanwhile");
    send(&master, &mut book, 1, 100);
    assert_equal(&master, &slave, &mut book);
}

#[test]
fn a_slow_line_delays_and_loses_nothing() {
    let site = Site::new("ha-delay");
    let ([master, slave], proxy) = site.pair_through_proxy_with(&PATIENT);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    proxy.delay(Duration::from_millis(40));
    let begin = Instant::now();
    assert_eq!(probe(&mut master.wire()), 0);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(80), "acknowledged after {took:?}, the line takes 80 ms");
    // Who does not ask for the slave does not wait for it: nothing at all comes through.
    proxy.hold(true);
    let mut fields = send_fields("Probe", 0, "nowait");
    fields[8].1 = fields[8].1.replace("WAIT\u{1}true", "WAIT\u{1}false");
    master.wire().must(code::SEND, &borrowed(&fields), b"nowait");
    proxy.hold(false);
    send(&master, &mut book, 0, 500);
    proxy.delay(Duration::ZERO);
    assert_equal(&master, &slave, &mut book);
}

/// A flipped bit, in every kind of place where it can be told: the header that goes before the
/// bytes, and of a record its size, its magic number, its checksum, its offset and its body.
#[test]
fn a_flipped_bit_is_fetched_again() {
    let site = Site::new("ha-corrupt");
    let proxy = Proxy::to(&site.halves[0].ha_addr());
    // A heartbeat, or a connection that is made again, would move the flip to a place that no checksum of
    // a record covers.
    let still = ("haHousekeepingInterval", "10000");
    let quiet = [("haSendHeartbeatInterval", "15000"), still];
    let [master, slave] = site.pair_with(&quiet, &[("haMasterAddress", &proxy.addr()), still]);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let header = [0, 3, 7, 8, 9, 11];
    let record = [0, 3, 4, 8, 11, 28, 35, 84, 88, 95].map(|at| 12 + at);
    for (round, at) in header.into_iter().chain(record).enumerate() {
        until("the line is still", SOON, || {
            let before = proxy.bytes_down();
            std::thread::sleep(Duration::from_millis(30));
            (before == proxy.bytes_down()).then_some(())
        });
        proxy.corrupt_after(at);
        send(&master, &mut book, round as u32, 50);
        until("a flipped bit", SOON, || proxy.has_corrupted().then_some(()));
        wait_for_acknowledgement(&master, SOON);
    }
    assert_equal(&master, &slave, &mut book);
}

#[test]
fn a_stopped_slave_delays_only_those_who_wait_for_it() {
    let site = Site::new("ha-sigstop");
    let [master, slave] = site.pair_with(&PATIENT, &PATIENT);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 500);
    slave.process.signal("STOP");
    // Many wait for the slave; each send of who does not is answered while they wait.
    let waiting = Load { messages: 16, ..LOAD };
    let sending = Sending::start(&master.addr(), waiting, 1);
    let mut wire = master.wire();
    let mut fields = send_fields("Probe", 0, "nowait");
    fields[8].1 = fields[8].1.replace("WAIT\u{1}true", "WAIT\u{1}false");
    for _ in 0..200 {
        wire.must(code::SEND, &borrowed(&fields), b"nowait");
    }
    assert_eq!(sending.acknowledged(), 0, "acknowledged by a stopped slave");
    assert!(sending.goes_on(), "200 messages took as long as the wait for the slave, 20 s");
    slave.process.signal("CONT");
    let took = wait_for_acknowledgement(&master, SOON);
    book.enter(sending.join());
    eprintln!("stopped: recovered after {took:.1?}");
    send(&master, &mut book, 2, 500);
    assert_equal(&master, &slave, &mut book);
}

/// A slave that is connected, but `haSlaveFallbehindMax` bytes behind, is nobody to wait for.
#[test]
fn a_slave_far_behind_is_not_waited_for() {
    let site = Site::new("ha-behind");
    let keys = [("haSlaveFallbehindMax", "200000"), ("haHousekeepingInterval", "60000")];
    let [master, slave] = site.pair_with(&keys, &[]);
    slave.process.signal("STOP");
    let mut wire = master.wire();
    assert_eq!(probe(&mut wire), FLUSH_SLAVE_TIMEOUT);
    let (begin, load) = (Instant::now(), Load { messages: 100, ..LOAD });
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    book.enter(Sending::start(&master.addr(), load, 0).join());
    assert!(book.refused().contains(&SLAVE_NOT_AVAILABLE), "only {:?}", book.refused().first());
    eprintln!("far behind: 800 messages refused within {:.1?}", begin.elapsed());
    // Not FLUSH_SLAVE_TIMEOUT, which would be the answer to who waited.
    assert_eq!(probe(&mut wire), SLAVE_NOT_AVAILABLE);
    slave.process.signal("CONT");
    wait_for_acknowledgement(&master, SOON);
    send(&master, &mut book, 1, 200);
    assert_equal(&master, &slave, &mut book);
}

/// An empty slave fetches a log of many files and is killed again and again on the way.
#[test]
fn a_slave_that_is_killed_while_it_fetches_goes_on() {
    let site = Site::new("ha-slave-killed");
    let (master, mut book) = filled_master(&site);
    // So slow that there is time to kill: 64 KiB in 5 ms.
    let proxy = Proxy::to(&site.halves[0].ha_addr());
    proxy.delay(Duration::from_millis(5));
    let addr = proxy.addr();
    let keys = [("haMasterAddress", addr.as_str())];
    for part in 1..=4 {
        let mut slave = site.slave(1, &keys);
        let mut wire = slave.wire();
        let (_, end) = log_range(&mut master.wire()).unwrap_or_default();
        until("a part is there", SOON, || (log_range(&mut wire)?.1 > end * part / 6).then_some(()));
        slave.process.kill();
    }
    proxy.delay(Duration::ZERO);
    let slave = site.slave(1, &keys);
    wait_for_topic(&slave);
    assert_equal(&master, &slave, &mut book);
}

/// The same, and it is the master that is killed.
#[test]
fn a_master_that_is_killed_while_it_sends_goes_on() {
    let site = Site::new("ha-master-killed");
    let (mut master, mut book) = filled_master(&site);
    let proxy = Proxy::to(&site.halves[0].ha_addr());
    proxy.delay(Duration::from_millis(5));
    let addr = proxy.addr();
    let slave = site.slave(1, &[("haMasterAddress", &addr)]);
    let mut wire = slave.wire();
    let (_, end) = log_range(&mut master.wire()).unwrap_or_default();
    for part in 1..=4 {
        until("a part is there", SOON, || (log_range(&mut wire)?.1 > end * part / 6).then_some(()));
        master.process.kill();
        master = site.master(0, "ASYNC_MASTER", &[]);
    }
    proxy.delay(Duration::ZERO);
    wait_for_topic(&slave);
    assert_equal(&master, &slave, &mut book);
}

fn filled_master(site: &Site) -> (Server, Book) {
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let master = site.master(0, "ASYNC_MASTER", &[]);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 25_000);
    (master, book)
}

/// Both die at once, come back, and go on.
#[test]
fn both_die_and_come_back() {
    both_die("ASYNC_FLUSH");
}

/// The same, with every message on both disks before it is acknowledged.
#[test]
fn both_die_and_come_back_with_their_disks() {
    both_die("SYNC_FLUSH");
}

fn both_die(flush: &str) {
    let site = Site::new("ha-both");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let master_keys = [("flushDiskType", flush)];
    let after_flush = (flush == "SYNC_FLUSH").to_string();
    let slave_keys = [("flushDiskType", flush), ("slaveAckAfterFlush", after_flush.as_str())];
    let [mut master, mut slave] = site.pair_with(&master_keys, &slave_keys);
    for round in 0..4 {
        let sending = Sending::start(&master.addr(), LOAD, round);
        sending.wait_for(700, SOON);
        if round % 2 == 0 {
            master.process.kill();
            slave.process.kill();
        } else {
            slave.process.kill();
            master.process.kill();
        }
        book.enter(sending.join());
        slave = site.slave(1, &slave_keys);
        master = site.master(0, "SYNC_MASTER", &master_keys);
        let took = wait_for_acknowledgement(&master, SOON);
        eprintln!("both died: acknowledged again {took:.1?} after the master's start");
        wait_until_equal(&master, &slave, SOON);
    }
    assert_equal(&master, &slave, &mut book);
}
