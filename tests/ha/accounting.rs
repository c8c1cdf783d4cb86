//! The master is killed under load and everything it stored is deleted: what it had acknowledged is
//! on its slave. Then the slave is the master, and an empty one becomes its slave.

use std::time::Instant;

use crate::site::{
    LOAD, SOON, Site, assert_equal, send, wait_for_acknowledgement, wait_for_dispatch,
    wait_for_topic,
};
use crate::support::ledger::{Book, Sending};
use crate::support::pair::{log_range, reported_lag};
use crate::support::servers::Server;
use crate::support::until;
use crate::support::wire::code;

/// After so many rounds the stores begin anew, so that they stay small.
const GENERATION: u32 = 10;

fn rounds() -> u32 {
    std::env::var("ROCKETMQ_HA_ROUNDS").map_or(100, |rounds| {
        rounds.parse().unwrap_or_else(|error| panic!("ROCKETMQ_HA_ROUNDS={rounds}: {error}"))
    })
}

#[test]
fn what_a_lost_master_acknowledged_is_on_its_slave() {
    let site = Site::new("ha-accounting");
    let begin = Instant::now();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let mut acknowledged = 0;
    for round in 0..rounds() {
        let (here, there) = ((round % 2) as usize, (1 - round % 2) as usize);
        let fresh = round.is_multiple_of(GENERATION);
        if fresh {
            site.halves[here].delete_store();
            book = Book::new(LOAD.topic, LOAD.queues);
        }
        let mut master = site.master(here, "SYNC_MASTER", &[]);
        if fresh {
            master.wire().create_topic(LOAD.topic, LOAD.queues);
        } else {
            // What the slave of the last round has, now that it was itself stopped or killed.
            book.verify_new(&mut master.wire());
        }
        site.halves[there].delete_store();
        let mut slave = site.slave(there, &[]);
        wait_for_acknowledgement(&master, SOON);
        wait_for_topic(&slave);

        let sending = Sending::start(&master.addr(), LOAD, round);
        sending.wait_for(1 + u64::from(round) * 7919 % 1500, SOON);
        if round % 5 == 4 {
            slave.process.kill();
            master.process.kill();
            acknowledged += book.enter(sending.join());
            continue;
        }
        master.process.kill();
        acknowledged += book.enter(sending.join());
        wait_for_dispatch(&slave);
        book.verify_new(&mut slave.wire());
        book.verify_from_the_start(&mut slave.wire());
        slave.process.stop(SOON);
    }
    eprintln!(
        "{} rounds, {acknowledged} acknowledged messages, none lost, {:.1?}",
        rounds(),
        begin.elapsed()
    );
    assert!(acknowledged > 100 * rounds() as usize, "{acknowledged} messages are no load");
}

/// An ASYNC_MASTER promises nothing about its slave, but it tells how far that is behind.
#[test]
fn an_asynchronous_master_loses_no_more_than_the_lag_it_reported() {
    let site = Site::new("ha-lag");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    // A slave that stands still is not given up before its lag was looked at.
    let mut master = site.master(0, "ASYNC_MASTER", &[("haHousekeepingInterval", "120000")]);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    let slave = site.slave(1, &[]);
    wait_for_topic(&slave);
    send(&master, &mut book, 0, 2000);
    assert_equal(&master, &slave, &mut book);
    let mut wire = master.wire();
    until("the lag is gone", SOON, || (reported_lag(&mut wire) == Some(0)).then_some(()));

    // More than the buffers of two sockets hold.
    slave.process.signal("STOP");
    send(&master, &mut book, 1, 40_000);
    let (_, end) = log_range(&mut wire).unwrap_or_default();
    let lag = until("a lag is reported", SOON, || reported_lag(&mut wire).filter(|&lag| lag > 0));
    drop(wire);
    master.process.kill();
    slave.process.signal("CONT");
    let got = settled_end(&slave);
    let lost = book.losses(&mut slave.wire());
    eprintln!("lag {lag} bytes; {} bytes, {} messages lost", end - got, lost.len());
    assert!(end - got <= lag, "{} bytes are lost, {lag} were reported", end - got);
    assert!(!lost.is_empty(), "a stopped slave has everything: this test tests nothing");
}

/// The same while everything runs, with a figure that is a little old: what was acknowledged since
/// counts as well.
#[test]
fn a_running_asynchronous_pair_loses_no_more_than_its_lag() {
    let site = Site::new("ha-async");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let mut lost = 0;
    for round in 0..10 {
        let mut master = site.master(0, "ASYNC_MASTER", &[]);
        if round == 0 {
            master.wire().create_topic(LOAD.topic, LOAD.queues);
        }
        let slave = site.slave(1, &[]);
        wait_for_topic(&slave);
        let mut wire = master.wire();
        let sending = Sending::start(&master.addr(), LOAD, round);
        sending.wait_for(500, SOON);
        let before = until("a lag is reported", SOON, || {
            let (_, end) = log_range(&mut wire)?;
            Some(end - reported_lag(&mut wire)?)
        });
        master.process.kill();
        book.enter(sending.join());
        let got = settled_end(&slave);
        assert!(got >= before, "the slave ends at {got}, {before} was reported");
        lost += book.losses(&mut slave.wire()).len();
        // The slave's log is what is left; its master begins again with a copy of it.
        drop(slave);
        site.halves[0].delete_store();
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .args([&site.halves[1].dir, &site.halves[0].dir])
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "copy of the store");
    }
    eprintln!("{lost} acknowledged messages were lost in 10 rounds");
}

/// The end of a slave's log once its master is gone and everything in its buffers is taken: the
/// connection's end comes behind all of it.
fn settled_end(slave: &Server) -> i64 {
    let mut wire = slave.wire();
    until("the slave knows that its master is gone", SOON, || {
        let told = wire.try_call(code::RUNTIME_INFO, &[], b"").ok()?.body;
        let told = String::from_utf8_lossy(&told).into_owned();
        (told.contains("\"haState\"") && !told.contains("\"haState\":\"transferring")).then_some(())
    });
    wait_for_dispatch(slave);
    log_range(&mut wire).unwrap_or_else(|| panic!("the slave does not tell its log's end")).1
}
