//! What a full or broken disk does: errors are told, nothing is acknowledged that is not there,
//! and the store goes on when the disk does.

use std::time::{Duration, Instant};

use rocketmq::store::fault::{Operation, inject, inject_delay};
use rocketmq::store::{PutStatus, StoreConfig};

use crate::folder::*;

const SYNC: [(&str, &str); 1] = [("flushDiskType", "SYNC_FLUSH")];

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_failed_flush_is_never_acknowledged() {
    let folder = Folder::new("flush");
    let test = TestStore::open(config(folder.path(), &SYNC));
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
    test.arrivals.wait_for(1);
    let fault = inject(Operation::Flush, &folder.path().join("commitlog"), libc::EIO);
    assert_eq!(test.put("Topic", 0, b"2", "").status, PutStatus::ServiceNotAvailable);
    drop(fault);
    // The kernel would now report success; the bytes may be gone all the same.
    let result = test.put("Topic", 0, b"3", "");
    assert_eq!(result.status, PutStatus::ServiceNotAvailable);
    assert!(result.reason.contains("flush"), "{}", result.reason);
    assert!(test.store.runtime_info()["notWritable"].contains("flush"));
    assert_eq!(test.bodies("Topic", 0), [b"1"], "what is not on the disk is not visible");
    test.store.shutdown();
    assert!(folder.path().join("abort").exists());
}

#[test]
fn an_asynchronous_flush_that_fails_stops_the_store_too() {
    let folder = Folder::new("async-flush");
    let more = [("flushIntervalCommitLog", "1"), ("flushCommitLogLeastPages", "0")];
    let test = TestStore::open(config(folder.path(), &more));
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
    let _fault = inject(Operation::Flush, &folder.path().join("commitlog"), libc::EIO);
    wait_until("writing stops", || {
        test.put("Topic", 0, b"2", "").status == PutStatus::ServiceNotAvailable
    });
}

#[test]
fn a_full_disk_refuses_the_put_and_no_more() {
    let folder = Folder::new("full");
    let test = TestStore::open(config(folder.path(), &[]));
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
    let fault = inject(Operation::Allocate, &folder.path().join("commitlog"), libc::ENOSPC);
    let mut stored = 1;
    let refused = loop {
        let result = test.put("Topic", 0, &[7; 9000], "");
        if result.status != PutStatus::PutOk {
            break result;
        }
        stored += 1;
        assert!(stored < 30, "three files of 64 KiB hold no more");
    };
    assert_eq!(refused.status, PutStatus::CreateMappedFileFailed);
    assert!(refused.reason.contains("No space left"), "{}", refused.reason);
    assert!(refused.reason.contains("commitlog/"), "{}", refused.reason);
    drop(fault);
    assert_eq!(test.put("Topic", 0, b"2", "").status, PutStatus::PutOk);
    test.arrivals.wait_for(stored + 1);
    assert_eq!(test.bodies("Topic", 0).len(), stored + 1);
}

#[test]
fn a_consume_queue_that_cannot_grow_holds_dispatch_until_it_can() {
    let folder = Folder::new("queue-full");
    let test = TestStore::open(config(folder.path(), &[]));
    let fault = inject(Operation::Allocate, &folder.path().join("consumequeue"), libc::ENOSPC);
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
    wait_until("dispatch is held", || test.store.dispatch_behind_bytes() > 0);
    assert_eq!(test.bodies("Topic", 0).len(), 0);
    drop(fault);
    test.arrivals.wait_for(1);
    assert_eq!(test.bodies("Topic", 0), [b"1"]);
}

#[test]
fn a_disk_that_takes_nothing_at_the_start_is_told() {
    let folder = Folder::new("start");
    let _fault = inject(Operation::Create, &folder.path().join("checkpoint"), libc::EACCES);
    let error = TestStore::try_open(config(folder.path(), &[])).err().unwrap().to_string();
    assert!(error.contains("checkpoint") && error.contains("Permission denied"), "{error}");
}

#[test]
fn a_late_flush_is_told_to_who_waits() {
    let folder = Folder::new("late");
    let mut late: StoreConfig = config(folder.path(), &SYNC);
    late.sync_flush_timeout = 50;
    let test = TestStore::open(late);
    // The file's making is flushed too, but nobody waits for that with a deadline.
    assert_ne!(test.put("Topic", 0, b"1", "").status, PutStatus::ServiceNotAvailable);
    test.arrivals.wait_for(1);
    let log = folder.path().join("commitlog");
    let slow = inject_delay(Operation::Flush, &log, Duration::from_millis(400));
    let result = test.put("Topic", 0, b"2", "");
    assert_eq!(result.status, PutStatus::FlushDiskTimeout, "{}", result.reason);
    assert_eq!(result.queue_offset, 1, "it is stored all the same");
    drop(slow);
    test.arrivals.wait_for(2);
    assert_eq!(test.bodies("Topic", 0), [b"1", b"2"]);
}

#[test]
fn puts_that_race_with_the_stop_all_end() {
    let folder = Folder::new("stop-race");
    let test = TestStore::open(config(folder.path(), &SYNC));
    let mut acknowledged = std::thread::scope(|scope| {
        let put = || {
            let mut acknowledged = Vec::new();
            loop {
                let result = test.put("Topic", 0, b"x", "");
                match result.status {
                    PutStatus::PutOk => acknowledged.push(result.queue_offset),
                    PutStatus::UnknownError => {}
                    _ => return acknowledged,
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(put)).collect();
        test.arrivals.wait_for(50);
        test.store.shutdown();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    acknowledged.sort_unstable();
    drop(test);
    let test = TestStore::open(config(folder.path(), &SYNC));
    let end = test.store.max_offset("Topic", 0);
    assert!(acknowledged.last().is_some_and(|last| *last < end));
    assert_eq!(test.bodies("Topic", 0).len() as i64, end);
}
