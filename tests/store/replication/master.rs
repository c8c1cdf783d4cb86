//! A master, as its slaves see it, and what its puts wait for.

use rocketmq::store::PutStatus;

use super::*;

const SYNC: (&str, &str) = ("brokerRole", "SYNC_MASTER");
/// A slave that takes long has not failed: the machine may stand still for a while.
const PATIENT: (&str, &str) = ("slaveTimeout", "60000");

#[test]
fn the_log_is_sent_in_frames_that_java_reads() {
    let master = Node::master(&[("haTransferBatchSize", "1024")]);
    for _ in 0..100 {
        master.put(900);
    }
    let mut slave = RawSlave::connect(&master);
    slave.report(1);
    let (mut log, mut frames) = (vec![0], 0);
    while (log.len() as i64) < master.end() {
        let (offset, body) = slave.data();
        assert_eq!(offset, log.len() as i64);
        assert!(body.len() <= 1024);
        let file = |offset: i64| offset / 65_536;
        assert_eq!(file(offset), file(offset + body.len() as i64 - 1), "never across a file's end");
        log.extend(body);
        frames += 1;
    }
    assert!(frames > 90 && log == log_bytes(&master, 0));
    let (offset, body) = slave.frame();
    assert_eq!((offset, body.len()), (master.end(), 0), "a heartbeat tells the end");
    // What is appended later comes at once: at a tick of five seconds these would take minutes.
    let began = Instant::now();
    for _ in 0..40 {
        let put = master.put(10);
        let (offset, body) = slave.data();
        assert_eq!((offset, body.len() as i64), (put.commit_log_offset, master.end() - offset));
        slave.report(master.end());
    }
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[test]
fn an_empty_slave_begins_with_the_last_file() {
    let master = Node::master(&[]);
    while master.end() < 140_000 {
        master.put(5000);
    }
    let mut slave = RawSlave::connect(&master);
    slave.report(0);
    assert_eq!(slave.data().0, 131_072);
}

#[test]
fn heartbeats_keep_an_idle_connection() {
    let master = Node::master(&[("haSendHeartbeatInterval", "50")]);
    master.put(10);
    let mut slave = RawSlave::connect(&master);
    slave.report(master.end());
    for _ in 0..3 {
        assert_eq!(slave.frame(), (master.end(), Vec::new()));
    }
}

#[test]
fn nothing_is_sent_before_a_report() {
    let master = Node::master(&[]);
    master.put(10);
    let mut slave = RawSlave::connect(&master);
    slave.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    slave.0.write_all(&[0; 7]).unwrap();
    assert!(slave.0.read(&mut [0]).is_err());
    slave.0.set_read_timeout(Some(LONG)).unwrap();
    slave.0.write_all(&[0]).unwrap();
    assert_eq!(slave.data().0, 0);
}

#[test]
fn a_put_waits_for_a_slave_and_no_other() {
    let master = Node::master(&[SYNC, ("slaveTimeout", "400")]);
    assert_eq!(master.put(10).status, PutStatus::SlaveNotAvailable);
    // Who merely holds the port open is no slave.
    let silent = TcpStream::connect(master.address()).unwrap();
    assert_eq!(master.put(10).status, PutStatus::SlaveNotAvailable);
    // Nor is one that has nothing and says so.
    let mut empty = RawSlave::connect(&master);
    empty.report(0);
    empty.data();
    assert_eq!(master.put(10).status, PutStatus::SlaveNotAvailable);
    drop((silent, empty));

    let mut slave = RawSlave::connect(&master);
    slave.report(master.end());
    wait_until("the slave is in sync", || master.status().in_sync == 1);
    let began = Instant::now();
    assert_eq!(master.put(10).status, PutStatus::FlushSlaveTimeout);
    assert!(began.elapsed() >= Duration::from_millis(400));
    wait_until("nobody waits", || master.status().waiting == 0);
}

#[test]
fn an_acknowledgement_completes_what_it_covers_while_later_puts_wait() {
    let master = Node::master(&[SYNC, ("slaveTimeout", "60000")]);
    master.put(10);
    let mut slave = RawSlave::connect(&master);
    slave.report(master.end());
    wait_until("the slave is in sync", || master.status().in_sync == 1);
    let first = put_later(&master, 10);
    let end_of_first = master.end();
    let second = put_later(&master, 10);
    wait_until("both are sent", || master.status().slaves[0].sent == master.end());
    slave.report(end_of_first);
    assert_eq!(first.wait().status, PutStatus::PutOk);
    assert_eq!(master.status().waiting, 1);
    slave.report(master.end());
    assert_eq!(second.wait().status, PutStatus::PutOk);
    assert_eq!(master.status().waiting, 0);
}

#[test]
fn invented_reports_are_not_believed() {
    let master = Node::master(&[SYNC, ("slaveTimeout", "300")]);
    master.put(10);
    // Beyond the log's end, and below nothing.
    for report in [master.end() + 1, i64::MAX, -1, i64::MIN] {
        let mut liar = RawSlave::connect(&master);
        liar.report(report);
        assert!(liar.is_closed(), "{report}");
    }
    // Beyond what was sent on this connection.
    let mut liar = RawSlave::connect(&master);
    liar.report(master.end());
    wait_until("it counts", || master.status().in_sync == 1);
    liar.report(master.end() + 500);
    assert!(liar.is_closed());
    wait_until("it counts no more", || master.status().in_sync == 0);
    assert_eq!(master.put(1000).status, PutStatus::SlaveNotAvailable);
}

/// Where a slave asks to begin it need not have the log, not even if that is the end of it: its own may be
/// another one of that length. What it takes of what it is sent, it has.
#[test]
fn what_a_slave_asks_for_acknowledges_nothing() {
    let master = Node::master(&[SYNC, PATIENT]);
    master.put(10);
    let mut stalled = RawSlave::connect(&master);
    stalled.report(master.end());
    wait_until("it is waited for", || master.status().in_sync == 1);
    let put = put_later(&master, 10);
    let begin = master.end();
    let mut other = RawSlave::connect(&master);
    other.report(begin);
    assert_eq!(other.frame(), (begin, Vec::new()), "a heartbeat: it has been heard");
    assert_eq!(master.status().in_sync, 2);
    // Said again, it is no more than said.
    other.report(begin);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(master.status().waiting, 1, "acknowledged by one that was sent nothing");
    let next = put_later(&master, 10);
    other.data();
    other.report(master.end());
    assert_eq!([put, next].map(|put| put.wait().status), [PutStatus::PutOk; 2]);
    drop(stalled);
}

/// What a slave acknowledged that has left says nothing about those that stay.
#[test]
fn acknowledgements_are_those_of_connected_slaves() {
    let master = Node::master(&[SYNC, PATIENT, ("haSlaveFallbehindMax", "5000")]);
    for _ in 0..10 {
        master.put(1000);
    }
    let mut stalled = RawSlave::connect(&master);
    stalled.report(master.end());
    let mut good = RawSlave::connect(&master);
    good.report(master.end());
    wait_until("both count", || master.status().in_sync == 2);
    let put = put_later(&master, 2000);
    good.data();
    good.report(master.end());
    assert_eq!(put.wait().status, PutStatus::PutOk);
    drop(good);
    wait_until("one is left", || master.status().slaves.len() == 1);
    master.set("slaveTimeout", "500");
    assert_eq!(master.put(2000).status, PutStatus::FlushSlaveTimeout);
    // Now it has fallen behind too far to be waited for.
    assert_eq!(master.put(2000).status, PutStatus::SlaveNotAvailable);
    let status = master.status();
    assert!(!status.slaves[0].in_sync && status.slaves[0].lag_bytes > 5000);
    assert!(status.slaves[0].lag_ms >= 500, "the oldest that it lacks waited so long in vain");
    drop(stalled);
}

#[test]
fn as_many_slaves_as_were_asked_for() {
    let master = Node::master(&[SYNC, PATIENT, ("inSyncReplicas", "3")]);
    master.put(10);
    let mut slaves = [RawSlave::connect(&master), RawSlave::connect(&master)];
    slaves[0].report(master.end());
    wait_until("one counts", || master.status().in_sync == 1);
    assert_eq!(master.put(10).status, PutStatus::SlaveNotAvailable);
    // Less than one is one.
    master.set("inSyncReplicas", &i32::MIN.to_string());
    let put = put_later(&master, 10);
    let end = master.end();
    wait_until("sent", || master.status().slaves[0].sent == end);
    slaves[0].report(end);
    assert_eq!(put.wait().status, PutStatus::PutOk);
    master.set("inSyncReplicas", "3");
    slaves[1].report(master.end());
    wait_until("two count", || master.status().in_sync == 2);
    let one = put_later(&master, 10);
    let end_of_one = master.end();
    let both = put_later(&master, 10);
    let end = master.end();
    wait_until("sent", || master.status().slaves.iter().all(|slave| slave.sent == end));
    slaves[0].report(end);
    slaves[1].report(end_of_one);
    assert_eq!(one.wait().status, PutStatus::PutOk);
    assert_eq!(master.status().waiting, 1, "one slave has not got it");
    master.test.store.shutdown();
    assert_eq!(both.wait().status, PutStatus::FlushSlaveTimeout);
}

/// A slave that was cut off connects again, and its master has not heard of the end of its old connection.
#[test]
fn a_slave_with_two_connections_counts_once() {
    let master = Node::master(&[SYNC, PATIENT, ("inSyncReplicas", "3")]);
    master.put(10);
    let mut cut_off = RawSlave::connect(&master);
    cut_off.report(master.end());
    let mut other = RawSlave::connect(&master);
    other.report(master.end());
    wait_until("two count", || master.status().in_sync == 2);
    let begin = master.end();
    let put = put_later(&master, 10);
    let end = master.end();
    wait_until("sent", || master.status().slaves.iter().all(|slave| slave.sent == end));
    cut_off.report(end);
    wait_until("heard", || master.status().slaves.iter().any(|slave| slave.acked == Some(end)));
    let mut again = RawSlave::connect(&master);
    again.report(begin);
    again.data();
    again.report(end);
    wait_until("heard", || {
        let slaves = master.status().slaves;
        slaves.iter().filter(|slave| slave.acked == Some(end)).count() == 2
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(master.status().waiting, 1, "only one slave has it");
    other.report(end);
    assert_eq!(put.wait().status, PutStatus::PutOk);
}

#[test]
fn who_waits_when_the_broker_stops_is_told() {
    let master = Node::master(&[SYNC, ("slaveTimeout", "120000")]);
    master.put(10);
    let mut slave = RawSlave::connect(&master);
    slave.report(master.end());
    wait_until("it counts", || master.status().in_sync == 1);
    let put = put_later(&master, 10);
    let began = Instant::now();
    master.test.store.shutdown();
    assert_eq!(put.wait().status, PutStatus::FlushSlaveTimeout);
    assert!(began.elapsed() < LONG);
}

/// Who puts, who reads acknowledgements and the writer leave sending to each other; none of them may leave
/// it to one that does not come. No heartbeat wakes the writer here, so what nobody sends stays.
#[test]
fn nothing_is_left_unsent() {
    const SENDERS: usize = 4;
    const PUTS: usize = 200;
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let keys =
            [SYNC, PATIENT, ("haSendHeartbeatInterval", "3600000"), ("flushDiskType", flush)];
        let master = Node::master(&[&keys[..], &[("inSyncReplicas", "3")]].concat());
        master.put(10);
        let mut slaves = [RawSlave::connect(&master), RawSlave::connect(&master)];
        slaves.iter_mut().for_each(|slave| slave.report(master.end()));
        wait_until("both count", || master.status().in_sync == 2);
        std::thread::scope(|scope| {
            let ended = slaves.each_ref().map(|slave| slave.0.try_clone().unwrap());
            for mut slave in slaves {
                scope.spawn(move || {
                    let mut header = [0; 12];
                    while slave.0.read_exact(&mut header).is_ok() {
                        let offset = i64::from_be_bytes(header[..8].try_into().unwrap());
                        let size = i32::from_be_bytes(header[8..].try_into().unwrap());
                        let mut body = vec![0; size as usize];
                        slave.0.read_exact(&mut body).unwrap();
                        slave.report(offset + i64::from(size));
                    }
                });
            }
            let senders = [(); SENDERS].map(|()| {
                scope.spawn(|| {
                    for number in 0..PUTS {
                        assert_eq!(master.put(number % 300).status, PutStatus::PutOk, "{number}");
                        for _ in 0..number % 7 * 500 {
                            std::hint::spin_loop();
                        }
                    }
                })
            });
            let all = senders.map(|sender| sender.join());
            ended.iter().for_each(|slave| drop(slave.shutdown(std::net::Shutdown::Both)));
            all.into_iter().for_each(|sender| sender.unwrap());
        });
    }
}

/// In SYNC_FLUSH mode a slave never has what a power cut takes from its master.
#[test]
fn only_what_is_flushed_is_sent() {
    let master = Node::master(&[("flushDiskType", "SYNC_FLUSH")]);
    let mut slave = RawSlave::connect(&master);
    slave.report(0);
    for _ in 0..20 {
        let put = master.put(100);
        assert_eq!(put.status, PutStatus::PutOk);
        let (offset, body) = slave.data();
        assert_eq!(offset, put.commit_log_offset);
        let flushed = master.test.store.commit_log().flushed_offset();
        assert!(offset + body.len() as i64 <= flushed);
    }
}
