//! A slave's store: it is fed the bytes of a master's log in pieces of any size.

use std::time::{Duration, Instant};

use rocketmq::store::PutStatus;

use crate::folder::*;

/// Feeds `slave` with all of `master`'s log from where it stands, in pieces of `piece` bytes.
fn replicate(master: &TestStore, slave: &TestStore, piece: usize) {
    let (from, to) = (master.store.commit_log(), slave.store.commit_log());
    loop {
        let offset = to.max_offset();
        if offset >= from.max_offset() {
            break;
        }
        let bytes = from.slice_from(offset).unwrap();
        to.append_raw(offset, &bytes[..bytes.len().min(piece)]).unwrap();
        slave.store.wake_dispatch();
    }
}

fn wait_for_units(slave: &TestStore, topic: &str, units: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while slave.store.max_offset(topic, 0) < units {
        assert!(Instant::now() < deadline, "{} units", slave.store.max_offset(topic, 0));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn pieces_of_any_size_become_the_same_store() {
    let folder = Folder::new("master");
    let master = TestStore::open(config(folder.path(), &[]));
    for number in 0..300usize {
        let result = master.put("Topic", 0, &vec![number as u8; number * 5], "KEYS\u{1}k");
        assert_eq!(result.status, PutStatus::PutOk);
    }
    master.arrivals.wait_for(300);
    let expected = master.bodies("Topic", 0);
    for piece in [70, 1000, 32_768] {
        let folder = Folder::new("slave");
        let role = [("brokerRole", "SLAVE")];
        let slave = TestStore::open(config(folder.path(), &role));
        assert_eq!(slave.put("Topic", 0, b"x", "").status, PutStatus::ServiceNotAvailable);
        replicate(&master, &slave, piece);
        wait_for_units(&slave, "Topic", 300);
        assert!(slave.bodies("Topic", 0) == expected);
        slave.arrivals.wait_for(300);
        let wrong = slave.store.commit_log().append_raw(5, b"abc").unwrap_err().to_string();
        assert!(wrong.contains("begin at 5"), "{wrong}");
        slave.store.shutdown();
        drop(slave);
        let slave = TestStore::open(config(folder.path(), &role));
        assert!(slave.bodies("Topic", 0) == expected);
    }
}

#[test]
fn a_slave_may_begin_in_the_middle_of_a_file() {
    let folder = Folder::new("late-master");
    let master = TestStore::open(config(folder.path(), &[]));
    let offsets: Vec<i64> =
        (0..500).map(|_| master.put("Topic", 0, &[1; 300], "").commit_log_offset).collect();
    master.arrivals.wait_for(500);
    let slave_folder = Folder::new("late-slave");
    let slave = TestStore::open(config(slave_folder.path(), &[("brokerRole", "SLAVE")]));
    let log = slave.store.commit_log();
    let bytes = master.store.commit_log().slice_from(offsets[300]).unwrap();
    log.append_raw(offsets[300], &bytes).unwrap();
    replicate(&master, &slave, 5000);
    assert_eq!(log.max_offset(), master.store.commit_log_max_offset());
}
