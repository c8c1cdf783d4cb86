//! Slaves that come back: behind their master, beyond its end, with the log of another one, with
//! nothing; several at once; and a master that comes back somewhere else.

use std::path::Path;
use std::time::Duration;

use crate::site::{
    KEYS, LOAD, PATIENT, SLAVE_NOT_AVAILABLE, SOON, Site, assert_equal, log_of, probe, send,
    wait_for_acknowledgement, wait_for_dispatch, wait_for_topic,
};
use crate::support::java_peer::Servers;
use crate::support::ledger::Book;
use crate::support::pair::{
    Half, assert_same_logs, assert_same_queues, log_range, wait_until_equal,
};
use crate::support::servers::{self, Server};
use crate::support::traffic::Traffic;
use crate::support::{free_port, until};

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "copy of {}", from.display());
}

/// The slave says in its log why it does not follow, with these words; it appends nothing, the
/// master counts on nobody. What it said.
fn assert_refuses(master: &Server, slave: &Server, words: &[&str]) -> String {
    let line = until(&format!("the slave says {words:?}"), SOON, || {
        let log = log_of(slave);
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        log.lines().find(has_all).map(str::to_owned)
    });
    eprintln!("{line}");
    let mut wire = slave.wire();
    let before = log_range(&mut wire).unwrap_or_default();
    let mut to_master = master.wire();
    // Its connection may be ending still; who waits for it then is answered late.
    until("the master counts on nobody", SOON, || {
        (probe(&mut to_master) == SLAVE_NOT_AVAILABLE).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(probe(&mut to_master), SLAVE_NOT_AVAILABLE);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(log_range(&mut wire).unwrap_or_default(), before, "the slave's log moved");
    line
}

/// Does with the slave stopped what its line says.
fn follow_advice(slave: &mut Server, line: &str) {
    slave.process.stop(SOON);
    let command = line.rsplit("stopped: ").next().unwrap_or_default();
    let words = std::process::Command::new("sh")
        .args(["-c", &format!(r#"printf '%s\n' {command}"#)])
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"))
        .stdout;
    let words = String::from_utf8_lossy(&words).into_owned();
    let mut words = words.lines();
    let name = words.next().unwrap_or_default();
    let mut program = servers::command(name, &slave.home);
    let output = program.args(words).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command}: {said}");
}

#[test]
fn a_slave_beyond_its_master_stops_and_says_so() {
    let site = Site::new("ha-ahead");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let [mut master, mut slave] = site.pair();
    send(&master, &mut book, 0, 500);
    master.process.stop(SOON);
    copy(&site.halves[0].dir, &site.dir.join("older"));
    master = site.master(0, "SYNC_MASTER", &[]);
    wait_for_acknowledgement(&master, SOON);
    send(&master, &mut book, 1, 500);
    assert_equal(&master, &slave, &mut book);
    let (_, ahead) = log_range(&mut slave.wire()).unwrap_or_default();
    slave.process.stop(SOON);
    master.process.stop(SOON);
    // The disk of the master was put back from a copy.
    site.halves[0].delete_store();
    copy(&site.dir.join("older"), &site.halves[0].dir);
    let master = site.master(0, "SYNC_MASTER", &[]);
    let (_, end) = log_range(&mut master.wire()).unwrap_or_default();
    let mut slave = site.slave(1, &[]);
    let line = assert_refuses(&master, &slave, &[&ahead.to_string(), &end.to_string()]);
    // The probes went to the master alone: meanwhile the two logs differ.
    follow_advice(&mut slave, &line);
    let slave = site.slave(1, &[]);
    wait_for_acknowledgement(&master, SOON);
    let range = wait_until_equal(&master, &slave, SOON);
    wait_for_topic(&slave);
    wait_for_dispatch(&slave);
    assert_same_logs(&master, &slave, range);
    assert_same_queues(&master, &slave);
}

/// The last records of the slave all lie beyond the master's end, and yet the logs part before it: no
/// record of the slave need begin where the master's log ends.
#[test]
fn a_slave_far_beyond_a_master_of_another_log_says_where_they_differ() {
    let site = Site::new("ha-far-ahead");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let [mut master, mut slave] = site.pair();
    send(&master, &mut book, 0, 500);
    assert_equal(&master, &slave, &mut book);
    let (_, common) = log_range(&mut slave.wire()).unwrap_or_default();
    slave.process.stop(SOON);
    master.process.stop(SOON);
    // Each goes on by itself, the slave much farther.
    let mut master = site.master(1, "ASYNC_MASTER", &[]);
    send(&master, &mut Book::new(LOAD.topic, LOAD.queues), 1, 1500);
    master.process.stop(SOON);
    let master = site.master(0, "SYNC_MASTER", &[]);
    for _ in 0..3 {
        assert_eq!(probe(&mut master.wire()), SLAVE_NOT_AVAILABLE);
    }
    let mut slave = site.slave(1, &[]);
    let line = assert_refuses(&master, &slave, &["differ from the", &format!(" {common} on")]);
    follow_advice(&mut slave, &line);
    let slave = site.slave(1, &[]);
    wait_for_acknowledgement(&master, SOON);
    wait_for_topic(&slave);
    assert_equal(&master, &slave, &mut book);
}

#[test]
fn a_slave_of_another_log_stops_and_says_where_they_differ() {
    let site = Site::new("ha-different");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let [mut master, mut slave] = site.pair();
    send(&master, &mut book, 0, 500);
    assert_equal(&master, &slave, &mut book);
    let (_, end) = log_range(&mut slave.wire()).unwrap_or_default();
    slave.process.stop(SOON);
    master.process.kill();
    site.halves[0].delete_store();
    let master = site.master(0, "ASYNC_MASTER", &[]);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    let mut other = Book::new(LOAD.topic, LOAD.queues);
    // Beyond the slave's end, so that only the bytes tell.
    while log_range(&mut master.wire()).unwrap_or_default().1 <= end {
        let round = other.rounds() + 1;
        send(&master, &mut other, round, 1500);
    }
    drop(master);
    let master = site.master(0, "SYNC_MASTER", &[]);
    let mut slave = site.slave(1, &[]);
    let line = assert_refuses(&master, &slave, &[&end.to_string(), "differ from the"]);
    follow_advice(&mut slave, &line);
    let slave = site.slave(1, &[]);
    wait_for_acknowledgement(&master, SOON);
    wait_for_topic(&slave);
    assert_equal(&master, &slave, &mut other);
}

/// The command names where the log lies, if it is not where it is by default, and a shell takes it.
#[test]
fn the_command_finds_a_log_that_lies_elsewhere() {
    let site = Site::new("ha-elsewhere");
    let elsewhere = site.dir.join("another disk").display().to_string();
    let keys = [("storePathCommitLog", elsewhere.as_str())];
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let [master, mut slave] = site.pair_with(&[], &keys);
    send(&master, &mut book, 0, 100);
    wait_until_equal(&master, &slave, SOON);
    let (_, end) = log_range(&mut master.wire()).unwrap_or_default();
    slave.process.stop(SOON);
    let mut alone = site.master(1, "ASYNC_MASTER", &keys);
    send(&alone, &mut Book::new(LOAD.topic, LOAD.queues), 1, 100);
    alone.process.stop(SOON);
    let mut slave = site.slave(1, &keys);
    let line = assert_refuses(&master, &slave, &[&format!("-p {end} -y")]);
    follow_advice(&mut slave, &line);
    let slave = site.slave(1, &keys);
    wait_for_acknowledgement(&master, SOON);
    wait_until_equal(&master, &slave, SOON);
    wait_for_dispatch(&slave);
    book.verify_new(&mut master.wire());
    book.verify_from_the_start(&mut slave.wire());
}

#[test]
fn files_of_another_size_are_refused() {
    let site = Site::new("ha-sizes");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let [master, slave] = site.pair();
    send(&master, &mut book, 0, 2000);
    assert_equal(&master, &slave, &mut book);
    drop(slave);
    site.halves[1].delete_store();
    let slave = site.slave(1, &[("mappedFileSizeCommitLog", "2097152")]);
    assert_refuses(&master, &slave, &["mappedFileSizeCommitLog"]);
}

#[test]
fn an_empty_slave_may_begin_with_the_last_file() {
    let site = Site::new("ha-last-file");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let master = site.master(0, "ASYNC_MASTER", &[]);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 8000);
    let (_, end) = log_range(&mut master.wire()).unwrap_or_default();
    let slave = site.slave(1, &[("syncFromLastFile", "true")]);
    wait_for_topic(&slave);
    let range = wait_until_equal(&master, &slave, SOON);
    assert_eq!(range.0, end - end % (1 << 20), "the begin of the last file");
    wait_for_dispatch(&slave);
    assert_same_logs(&master, &slave, range);
    assert!(assert_same_queues(&master, &slave) > 0);
}

/// `inSyncReplicas=3`: one slave is not enough, two are; and each has everything.
#[test]
fn two_slaves_are_two_copies() {
    let site = Site::new("ha-three");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let master = site.master(0, "SYNC_MASTER", &[("inSyncReplicas", "3")]);
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    let first = site.slave(1, &[]);
    wait_for_topic(&first);
    assert_ne!(probe(&mut master.wire()), 0, "acknowledged with one copy too few");
    wait_until_equal(&master, &first, SOON);
    assert_ne!(probe(&mut master.wire()), 0, "acknowledged with one copy too few");
    let second = Half::new(&Servers::Ours, site.dir.join("c"));
    let namesrv = site.namesrv.addr();
    let second = second.slave(Some(&namesrv), &[&KEYS[..], &[("brokerId", "2")]].concat());
    wait_for_acknowledgement(&master, SOON);
    send(&master, &mut book, 0, 500);
    wait_for_topic(&second);
    assert_equal(&master, &first, &mut book);
    assert_equal(&master, &second, &mut book);
    drop(first);
    let mut wire = master.wire();
    until("one copy too few", SOON, || (probe(&mut wire) == SLAVE_NOT_AVAILABLE).then_some(()));
}

/// Delayed messages and open transactions wait on the master; it is lost with its disk, and the slave,
/// started as the master, delivers them.
#[test]
fn a_slave_that_becomes_the_master_delivers_what_waited() {
    let site = Site::new("ha-promoted");
    let [mut master, mut slave] = site.pair_with(&PATIENT, &PATIENT);
    let mut traffic = Traffic::default();
    traffic.create_topics(&mut master.wire());
    traffic.send(&mut master.wire(), 1000, 1500);
    wait_until_equal(&master, &slave, SOON);
    master.process.kill();
    site.halves[0].delete_store();
    slave.process.stop(SOON);
    let master = site.master(1, "SYNC_MASTER", &[]);
    traffic.wait_for_delivery_after_a_crash(&mut master.wire());
    // And it has a slave again.
    let slave = site.slave(0, &[]);
    wait_for_acknowledgement(&master, SOON);
    wait_for_topic(&slave);
    let range = wait_until_equal(&master, &slave, SOON);
    wait_for_dispatch(&slave);
    assert_same_logs(&master, &slave, range);
    assert_same_queues(&master, &slave);
}

/// What is still in the buffers of a transient pool does not leave; what is committed does.
#[test]
fn a_master_with_a_transient_pool_is_followed() {
    let site = Site::new("ha-pool");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let keys = [
        ("transientStorePoolEnable", "true"),
        ("transientStorePoolSize", "3"),
        ("commitIntervalCommitLog", "20"),
    ];
    let [master, slave] = site.pair_with(&[&keys[..], &PATIENT].concat(), &PATIENT);
    send(&master, &mut book, 0, 5000);
    assert_equal(&master, &slave, &mut book);
    assert!(book.refused().is_empty(), "refused: {:?}", book.refused().first());
}

#[test]
fn a_master_that_moves_is_followed() {
    let mut site = Site::new("ha-moves");
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let [mut master, slave] = site.pair_with(&[], &[("registerNameServerPeriod", "10000")]);
    send(&master, &mut book, 0, 500);
    master.process.stop(SOON);
    site.halves[0].port = free_port();
    let master = site.master(0, "SYNC_MASTER", &[]);
    // The slave asks the name server every ten seconds.
    let took = wait_for_acknowledgement(&master, SOON);
    eprintln!("moved: followed after {took:.1?}");
    send(&master, &mut book, 1, 500);
    assert_equal(&master, &slave, &mut book);
}
