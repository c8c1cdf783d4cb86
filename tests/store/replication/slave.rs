//! A slave, as its master sees it, and what becomes of what it is sent.

use rocketmq::store::PutStatus;

use super::*;

#[test]
fn a_slave_follows_over_several_files_and_restarts() {
    let master = Node::master(&[]);
    for size in 0..400 {
        master.put(size * 7 % 3000);
    }
    let mut slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    assert_same(&master, &slave);
    assert_eq!(slave.state(), FollowState::Transferring);
    assert_eq!(slave.put(1).status, PutStatus::ServiceNotAvailable);
    for _ in 0..3 {
        let folder = slave.stop();
        for size in 0..100 {
            master.put(size * 20);
        }
        slave = Node::slave_with(folder, master.address(), &[]);
        slave.wait_for(&master);
        assert_same(&master, &slave);
        assert!(slave.test.arrivals.count() > 0, "who waits on a slave is told");
    }
    let end = master.end();
    wait_until("those before are gone", || master.status().slaves.len() == 1);
    let status = master.status();
    assert_eq!((status.slaves[0].sent, status.slaves[0].lag_bytes), (end, 0));
    assert_eq!(slave.status().following.unwrap().lag_bytes(), 0);
}

#[test]
fn a_slave_killed_at_any_byte_goes_on() {
    let master = Node::master(&[]);
    for _ in 0..150 {
        master.put(900);
    }
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    let killed = slave.folder.copy("killed");
    drop(slave);
    let file = killed.path().join("commitlog/00000000000000131072");
    for cut in [0, 1, 500, 5003] {
        let folder = killed.copy("cut");
        let file = folder.path().join(file.strip_prefix(killed.path()).unwrap());
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[cut..].fill(0);
        std::fs::write(&file, bytes).unwrap();
        let slave = Node::slave_with(folder, master.address(), &[]);
        slave.wait_for(&master);
        assert_same(&master, &slave);
    }
}

#[test]
fn an_empty_slave_takes_the_last_file_as_java_does() {
    let master = Node::master(&[]);
    while master.end() < 140_000 {
        master.put(5000);
    }
    let keys = [("syncFromLastFile", "true")];
    let slave = Node::slave_with(Folder::new("ha-last"), master.address(), &keys);
    slave.wait_for(&master);
    assert_eq!(slave.test.store.commit_log_min_offset(), 131_072);
    assert_same(&master, &slave);
}

/// The master's log begins later, and it says so when it is asked for what is gone.
#[test]
fn an_empty_slave_takes_what_there_still_is() {
    let master = Node::master(&[]);
    while master.end() < 200_000 {
        master.put(3000);
    }
    delete_first_files(&master, 2);
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    assert!(slave.test.store.commit_log_min_offset() > 0);
    assert_same(&master, &slave);
}

/// It was killed when its log's first file was made and nothing was in it yet. What it follows now begins
/// before that.
#[test]
fn an_empty_file_binds_a_slave_to_no_offset() {
    let master = Node::master(&[]);
    while master.end() < 140_000 {
        master.put(3000);
    }
    let folder = Folder::new("ha-empty-file");
    std::fs::create_dir(folder.path().join("commitlog")).unwrap();
    let file = folder.path().join("commitlog").join(format!("{:020}", 10 * 65_536));
    std::fs::write(file, vec![0; 65_536]).unwrap();
    let keys = [("slaveAckAfterFlush", "true"), ("flushIntervalCommitLog", "1")];
    let slave = Node::slave_with(folder, master.address(), &keys);
    slave.wait_for(&master);
    assert_same(&master, &slave);
    let flushed = || slave.test.store.runtime_info()["flushedOffset"].parse() == Ok(slave.end());
    wait_until("it is on the disk", flushed);
}

#[test]
fn an_empty_slave_waits_for_an_empty_master() {
    for from_last in ["true", "false"] {
        let master = Node::master(&[]);
        let keys = [("syncFromLastFile", from_last)];
        let slave = Node::slave_with(Folder::new("ha-both"), master.address(), &keys);
        wait_until("connected", || master.status().slaves.len() == 1);
        master.put(100);
        slave.wait_for(&master);
        assert_same(&master, &slave);
    }
}

#[test]
fn a_master_that_moves_is_followed() {
    let master = Node::master(&[]);
    master.put(100);
    let slave = Node::slave_of("127.0.0.1:1".to_owned());
    wait_until("not reached", || matches!(slave.state(), FollowState::Connecting(_)));
    slave.ha.set_master(Some(&master.address()));
    slave.wait_for(&master);
    let copy = Node::open(master.folder.copy("moved"), &[], None);
    slave.ha.set_master(Some(&copy.address()));
    wait_until("the old one is left", || master.status().slaves.is_empty());
    copy.put(200);
    slave.wait_for(&copy);
    assert_same(&copy, &slave);
    slave.ha.set_master(None);
    wait_until("nobody is followed", || slave.state() == FollowState::NoMaster);
    assert!(copy.status().slaves.is_empty() || copy.end() == slave.end());
}

#[test]
fn a_slave_of_a_slave() {
    let master = Node::master(&[]);
    let middle = Node::slave_of(master.address());
    let last = Node::slave_of(middle.address());
    for size in 0..200 {
        master.put(size * 11);
    }
    last.wait_for(&middle);
    wait_until("all of it", || last.end() == master.end());
    assert_same(&master, &last);
}

#[test]
fn an_acknowledgement_can_mean_the_disk() {
    let master = Node::master(&[("brokerRole", "SYNC_MASTER"), ("slaveTimeout", "20000")]);
    master.put(10);
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let keys = [("slaveAckAfterFlush", "true"), ("flushDiskType", flush)];
        let slave = Node::slave_with(Folder::new("ha-disk"), master.address(), &keys);
        slave.wait_for(&master);
        for _ in 0..20 {
            let put = master.put(500);
            assert_eq!(put.status, PutStatus::PutOk);
            let end = put.commit_log_offset + i64::from(put.wrote_bytes);
            assert!(slave.test.store.commit_log().flushed_offset() >= end);
        }
        drop(slave);
        wait_until("gone", || master.status().slaves.is_empty());
    }
}

/// What the slave has in memory only, because its disk refused it, its next connection finds in the log.
#[test]
fn what_could_not_be_flushed_is_never_acknowledged() {
    use rocketmq::store::fault::{Operation, inject};
    let master = Node::master(&[("brokerRole", "SYNC_MASTER"), ("slaveTimeout", "2000")]);
    master.put(10);
    let keys = [("slaveAckAfterFlush", "true"), ("flushIntervalCommitLog", "3600000")];
    let slave = Node::slave_with(Folder::new("ha-failed-flush"), master.address(), &keys);
    slave.wait_for(&master);
    wait_until("it is waited for", || master.put(10).status == PutStatus::PutOk);
    let _broken = inject(Operation::Flush, &slave.folder.path().join("commitlog"), libc::EIO);
    let status = master.put(500).status;
    // Its connection may end before the put has begun to wait.
    let unacknowledged = [PutStatus::FlushSlaveTimeout, PutStatus::SlaveNotAvailable];
    assert!(unacknowledged.contains(&status), "{status:?}");
    wait_until("it has it, in memory", || slave.end() == master.end());
}

/// The disk of the slave: what it does not take is not acknowledged, and fetched when it does.
#[test]
fn a_refusing_disk_is_no_end() {
    use rocketmq::store::fault::{Operation, inject};
    let master = Node::master(&[]);
    for _ in 0..20 {
        master.put(900);
    }
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    let full = inject(Operation::Allocate, slave.folder.path(), libc::ENOSPC);
    for _ in 0..200 {
        master.put(900);
    }
    wait_until(
        "it is noticed",
        || matches!(slave.state(), FollowState::Connecting(reason) if reason.contains("append")),
    );
    assert!(master.status().slaves.iter().all(|one| one.acked < Some(master.end())));
    drop(full);
    slave.wait_for(&master);
    assert_same(&master, &slave);
}

/// What a Java master would send, byte for byte.
#[test]
fn reports_come_at_once_and_after_every_append() {
    let origin = Node::master(&[]);
    for _ in 0..20 {
        origin.put(100);
    }
    let log = log_bytes(&origin, 0);
    let master = RawMaster::listen();
    // No report comes because of the time. (Java's first one comes after five seconds.)
    let keys = [("syncFromLastFile", "true"), ("haSendHeartbeatInterval", "3600000")];
    let slave = Node::slave_with(Folder::new("ha-java"), master.address(), &keys);
    let mut stream = master.accept();
    assert_eq!(read_report(&mut stream), 0);
    send_frame(&mut stream, 0, &log[..1000]);
    let whole = read_report(&mut stream);
    assert!(whole > 500 && whole <= 1000, "only whole messages are acknowledged: {whole}");
    assert_eq!(slave.end(), whole);
    send_frame(&mut stream, 1000, &log[1000..]);
    while read_report(&mut stream) < log.len() as i64 {}
    // Heartbeats are taken, reports go on when nothing happens.
    slave.set("haSendHeartbeatInterval", "200");
    send_frame(&mut stream, log.len() as i64, &[]);
    assert_eq!(read_report(&mut stream), log.len() as i64);
    slave.set("haSendHeartbeatInterval", "3600000");
    // A reconnect asks for a little of what is there, to compare it.
    drop(stream);
    let mut stream = master.accept();
    let request = read_report(&mut stream);
    assert_eq!(request, 1, "0 would mean the last file");
    send_frame(&mut stream, 1, &log[1..]);
    while read_report(&mut stream) < log.len() as i64 {}
    assert!(log_bytes(&slave, 0) == log);
}

/// Frames that cannot be: the connection ends, the log stays as it is.
#[test]
fn impossible_frames_change_nothing() {
    let origin = Node::master(&[]);
    for _ in 0..10 {
        origin.put(100);
    }
    let log = log_bytes(&origin, 0);
    let end = log.len() as i64;
    let master = RawMaster::listen();
    let keys = [("haSendHeartbeatInterval", "3600000")];
    let slave = Node::slave_with(Folder::new("ha-slave"), master.address(), &keys);
    let frames: [(i64, i32); 7] =
        [(end, -1), (end, i32::MAX), (end, i32::MIN), (end, 70_000), (end + 8, 8), (-5, 8), (0, 8)];
    for (offset, size) in frames {
        let mut stream = master.accept();
        let request = read_report(&mut stream);
        assert_eq!(request, 1);
        send_frame(&mut stream, 1, &log[1..]);
        while read_report(&mut stream) < end {}
        stream.write_all(&offset.to_be_bytes()).unwrap();
        stream.write_all(&size.to_be_bytes()).unwrap();
        let mut rest = [0; 8];
        assert!(!matches!(stream.read(&mut rest), Ok(count) if count > 0), "{offset} {size}");
        assert_eq!(slave.end(), end);
    }
    wait_until("all messages", || slave.test.store.max_offset("Topic", 0) == 10);
}

/// A flipped byte on the way: noticed before it is in the log, and fetched again.
#[test]
fn damage_on_the_way_is_fetched_again() {
    let origin = Node::master(&[]);
    for _ in 0..30 {
        origin.put(100);
    }
    let log = log_bytes(&origin, 0);
    let record = log.len() / 30;
    let master = RawMaster::listen();
    let slave = Node::slave_of(master.address());
    for at in [20 * record, 20 * record + 5, 20 * record + 30, 21 * record - 30] {
        let mut stream = master.accept();
        let request = read_report(&mut stream) as usize;
        let mut damaged = log.clone();
        damaged[at] ^= 1;
        send_frame(&mut stream, request as i64, &damaged[request..]);
        // It takes what is good before it, and hangs up.
        let mut reports = Vec::new();
        let _ = stream.read_to_end(&mut reports);
        assert_eq!(slave.end(), 20 * record as i64, "{at}");
    }
    let mut stream = master.accept();
    let request = read_report(&mut stream);
    send_frame(&mut stream, request, &log[request as usize..]);
    while read_report(&mut stream) < log.len() as i64 {}
    assert!(log_bytes(&slave, 0) == log);
    wait_until("all messages", || slave.test.store.max_offset("Topic", 0) == 30);
}

#[test]
fn damage_that_stays_is_told() {
    let origin = Node::master(&[]);
    for _ in 0..30 {
        origin.put(100);
    }
    let mut log = log_bytes(&origin, 0);
    let record = log.len() / 30;
    log[20 * record + 4] ^= 1;
    let master = RawMaster::listen();
    let slave = Node::slave_of(master.address());
    let sender = std::thread::spawn(move || {
        for _ in 0..5 {
            let mut stream = master.accept();
            let request = read_report(&mut stream);
            send_frame(&mut stream, request, &log[request as usize..]);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let refusal = slave.wait_for_refusal();
    assert_eq!(refusal.kind, rocketmq::store::ha::RefusalKind::Damaged);
    assert_eq!(refusal.master_offset, 20 * record as i64);
    sender.join().unwrap();
}

#[test]
fn a_silent_master_is_left() {
    let master = RawMaster::listen();
    let keys = [("haHousekeepingInterval", "1200")];
    let _slave = Node::slave_with(Folder::new("ha-silent"), master.address(), &keys);
    let mut first = master.accept();
    read_report(&mut first);
    let began = Instant::now();
    let mut second = master.accept();
    read_report(&mut second);
    assert!(began.elapsed() < LONG);
}
