//! A slave's disk that is full, or slow. The slave runs in the process of the test, where calls of
//! its store can be made to fail; the master is a process.

use std::time::{Duration, Instant};

use rocketmq::common::config::ConfigStruct;
use rocketmq::store::fault::{Operation, inject, inject_delay};
use rocketmq::store::ha::FollowState;

use crate::site::{KEYS, LOAD, PATIENT, SOON, Site, probe, send, wait_for_acknowledgement};
use crate::support::ledger::{Book, Load, Sending};
use crate::support::pair::{TOPIC_NOT_EXIST, log_range};
use crate::support::site::Site as InProcess;
use crate::support::until;
use crate::support::wire::Wire;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A SYNC_MASTER with the topic, and a slave of it in this process.
fn pair(
    site: &Site,
    master_keys: &[(&str, &str)],
    slave_keys: &[(&str, &str)],
) -> (crate::support::servers::Server, InProcess) {
    let master = site.master(0, "SYNC_MASTER", master_keys);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    let ha_addr = site.halves[0].ha_addr();
    let role = [("brokerRole", "SLAVE"), ("haMasterAddress", ha_addr.as_str())];
    let slave = InProcess::new(&site.dir.join("slave"), |configuration| {
        configuration.broker.broker_id = 1;
        for (key, value) in [&KEYS, &role[..], slave_keys].concat() {
            let set = configuration.store.set(key, value);
            assert!(set.is_ok(), "{key}={value}: {set:?}");
        }
    });
    wait_for_acknowledgement(&master, SOON);
    (master, slave)
}

/// The slave has all that is in the book.
fn verify(master: &Wire, slave: &InProcess, book: &mut Book) {
    let _ = master;
    let mut wire = Wire::connect(&slave.addr);
    until("the slave knows the topic", SOON, || {
        (wire.pull(LOAD.topic, 0, 0).code() != TOPIC_NOT_EXIST).then_some(())
    });
    book.verify_new(&mut wire);
}

#[test]
fn a_slave_whose_disk_is_full_waits_for_room() {
    let site = Site::new("ha-full");
    let (master, slave) = pair(&site, &[], &[]);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 200);
    let below = site.dir.join("slave");
    let faults = [Operation::Allocate, Operation::Create].map(|what| inject(what, &below, ENOSPC));
    // More than the file in use and the one that is ready hold.
    let load = Load { messages: 1500, ..LOAD };
    let sending = Sending::start(&master.addr(), load, 1);
    let mut wire = Wire::connect(&slave.addr);
    let mut to_master = master.wire();
    // Within a file a small piece may find blocks where a large one did not; beyond its end none does.
    until("the slave's disk has no room for another file", SOON, || {
        let following = slave.broker.broker.replication.status()?.following?;
        let no_file = |why: &String| why.contains("commit-log file") && why.contains("created");
        matches!(&following.state, FollowState::Connecting(why) if no_file(why)).then_some(())
    });
    assert_ne!(probe(&mut to_master), 0, "acknowledged without room on the slave");
    drop(faults);
    let took = wait_for_acknowledgement(&master, SOON);
    eprintln!("full: recovered after {took:.1?}");
    sending.stop();
    book.enter(sending.join());
    send(&master, &mut book, 2, 200);
    let end = log_range(&mut to_master).unwrap_or_default().1;
    until("the slave has everything", SOON, || (log_range(&mut wire)?.1 == end).then_some(()));
    slave_dispatched(&slave);
    verify(&to_master, &slave, &mut book);
}

fn slave_dispatched(slave: &InProcess) {
    until("everything is dispatched", SOON, || {
        (slave.broker.broker.store.dispatch_behind_bytes() == 0).then_some(())
    });
}

#[test]
fn an_acknowledgement_can_mean_on_the_slaves_disk() {
    const SLOW: Duration = Duration::from_millis(300);
    for (key, waits) in [("false", false), ("true", true)] {
        let site = Site::new("ha-flush");
        let own = [("slaveAckAfterFlush", key), ("flushIntervalCommitLog", "20")];
        let (master, slave) = pair(&site, &PATIENT, &[&PATIENT[..], &own].concat());
        let slow = inject_delay(Operation::Flush, &site.dir.join("slave"), SLOW);
        let mut wire = master.wire();
        // The first may meet a flush that had begun before.
        probe(&mut wire);
        let mut probe_takes = || {
            let begin = Instant::now();
            assert_eq!(probe(&mut wire), 0);
            begin.elapsed()
        };
        if waits {
            let took = probe_takes();
            assert!(took >= SLOW, "slaveAckAfterFlush={key}: {took:?}");
        } else {
            // On a busy machine one or another may take as long for other reasons.
            until("an acknowledgement before the flush", SOON, || {
                (probe_takes() < SLOW).then_some(())
            });
        }
        drop(slow);
        drop(slave);
    }
}

#[test]
fn what_the_slave_cannot_flush_is_not_acknowledged() {
    let site = Site::new("ha-broken");
    let (master, slave) = pair(&site, &[], &[("slaveAckAfterFlush", "true")]);
    let broken = inject(Operation::Flush, &site.dir.join("slave"), EIO);
    let mut wire = master.wire();
    probe(&mut wire);
    for _ in 0..3 {
        assert_ne!(probe(&mut wire), 0, "acknowledged, and not on the slave's disk");
    }
    drop(broken);
    drop(slave);
}
