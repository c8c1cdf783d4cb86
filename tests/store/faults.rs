//! What a full or broken disk does: errors are told, nothing is acknowledged that is not there,
//! and the store goes on when the disk does.

use std::time::{Duration, Instant};

use rocketmq::common::record::RecordFields;
use rocketmq::common::sys_flag;
use rocketmq::store::fault::{Operation, inject, inject_delay};
use rocketmq::store::running_flags::Flag;
use rocketmq::store::{NewMessage, PutStatus, StoreConfig};

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

/// There is room for the blank record that closes the log's file, but not for the rest of the file: it is
/// not closed, and what still fits in is no less stored than all before it.
#[test]
fn a_file_that_cannot_be_closed_is_open() {
    const FILE: usize = 66 << 20;
    let folder = Folder::new("not-closed");
    let size = FILE.to_string();
    let keys = [("mappedFileSizeCommitLog", size.as_str()), ("maxMessageSize", size.as_str())];
    let test = TestStore::open(config(folder.path(), &keys));
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
    let full = inject(Operation::Allocate, &folder.path().join("commitlog"), libc::ENOSPC);
    let large = vec![0; FILE - 150];
    assert_ne!(test.put("Topic", 0, &large, "").status, PutStatus::PutOk);
    assert_eq!(test.put("Topic", 0, b"2", "").status, PutStatus::PutOk);
    wait_until("it is seen", || test.bodies("Topic", 0) == [b"1", b"2"]);
    drop(full);
    assert_eq!(test.put("Topic", 0, &large, "").status, PutStatus::PutOk);
    wait_until("all are seen", || test.store.max_offset("Topic", 0) == 3);
    test.store.shutdown();
    drop(test);
    let test = TestStore::open(config(folder.path(), &keys));
    assert_eq!(test.bodies("Topic", 0)[..2], [b"1", b"2"]);
    assert_eq!(test.store.max_offset("Topic", 0), 3);
}

/// The kernel tells of a lost page once. What is in memory then looks as if it were on the disk, also to
/// the process that opens the store next.
#[test]
fn what_a_failed_flush_lost_is_written_again_by_the_next_start() {
    for mode in ["SYNC_FLUSH", "ASYNC_FLUSH"] {
        let folder = Folder::new("flush-again");
        let keys = [("flushDiskType", mode), ("flushIntervalCommitLog", "1")];
        let test = TestStore::open(config(folder.path(), &keys));
        assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
        let flushed = || test.store.runtime_info()["flushedOffset"].parse::<i64>().unwrap();
        wait_until("the first message is flushed", || {
            flushed() == test.store.commit_log_max_offset() || mode == "ASYNC_FLUSH"
        });
        let fault = inject(Operation::Flush, &folder.path().join("commitlog"), libc::EIO);
        let before = flushed();
        test.put("Topic", 0, b"2", "");
        test.store.shutdown();
        // Of the first message a flush may have been under way.
        let certain = flushed();
        assert!(certain == before || mode == "ASYNC_FLUSH", "{certain}, not {before}");
        assert!(certain < test.store.commit_log_max_offset(), "{mode}");
        drop((test, fault));
        let abort = folder.path().join("abort");
        let noted = std::fs::read_to_string(&abort).unwrap();
        assert_eq!(noted, format!("flush failed at {certain}\n"), "{mode}");
        let log = folder.path().join("commitlog/00000000000000000000");
        let log = std::fs::File::options().write(true).open(log).unwrap();
        log.set_modified(std::time::UNIX_EPOCH).unwrap();
        let test = TestStore::open(config(folder.path(), &keys));
        let modified = log.metadata().unwrap().modified().unwrap();
        assert_ne!(modified, std::time::UNIX_EPOCH, "{mode}: nothing was written");
        assert_eq!(test.bodies("Topic", 0), [b"1", b"2"]);
        assert_eq!(std::fs::read_to_string(&abort).unwrap(), "");
        test.store.shutdown();
        assert!(!abort.exists());
    }
}

/// Zeros that cannot be written ahead are missed by nobody.
#[test]
fn puts_do_without_zeros_ahead() {
    let folder = Folder::new("zeros");
    let fault = inject(Operation::WriteAhead, &folder.path().join("commitlog"), libc::EIO);
    let test = TestStore::open(config(folder.path(), &SYNC));
    let bodies: Vec<Vec<u8>> = (0..200).map(|number| vec![number; 1000]).collect();
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(test.put("Topic", 0, body, "").status, PutStatus::PutOk, "{number}");
    }
    test.arrivals.wait_for(bodies.len());
    drop(fault);
    assert_eq!(test.put("Topic", 0, b"last", "").status, PutStatus::PutOk);
    drop(test);
    let test = TestStore::open(config(folder.path(), &SYNC));
    assert_eq!(test.bodies("Topic", 0).len(), bodies.len() + 1);
    assert_eq!(test.bodies("Topic", 0)[..bodies.len()], bodies);
    test.store.shutdown();
}

#[test]
fn a_stop_that_cannot_flush_queues_or_index_is_not_a_clean_one() {
    for part in ["consumequeue", "index", "checkpoint"] {
        let folder = Folder::new("stop-flush");
        let test = TestStore::open(config(folder.path(), &[]));
        assert_eq!(test.put("Topic", 0, b"1", "KEYS\u{1}k").status, PutStatus::PutOk);
        test.arrivals.wait_for(1);
        let fault = inject(Operation::Flush, &folder.path().join(part), libc::EIO);
        test.store.shutdown();
        drop((test, fault));
        assert!(folder.path().join("abort").exists(), "{part}");
        let test = TestStore::open(config(folder.path(), &[]));
        assert_eq!(test.bodies("Topic", 0), [b"1"]);
        assert_eq!(test.store.query("Topic", "k", 9, 0, i64::MAX).count, 1);
    }
}

/// A flush of consume queues that failed is tried again, and their pages are written again for it: of a
/// few queues each for itself, of many with all of their disk.
#[test]
fn a_consume_queue_is_vouched_for_after_a_flush_that_works() {
    for queues in [1, 300] {
        let folder = Folder::new("queue-flush");
        let keys = [
            ("flushIntervalConsumeQueue", "1"),
            ("flushConsumeQueueThoroughInterval", "1"),
            ("mappedFileSizeConsumeQueue", "20000"),
        ];
        let test = TestStore::open(config(folder.path(), &keys));
        let logics = || {
            let bytes = std::fs::read(folder.path().join("checkpoint")).unwrap();
            i64::from_be_bytes(*bytes[8..].first_chunk().unwrap())
        };
        let fault = inject(Operation::Flush, &folder.path().join("consumequeue"), libc::EIO);
        for queue in 0..queues {
            assert_eq!(test.put("Topic", queue, b"1", "").status, PutStatus::PutOk);
        }
        test.arrivals.wait_for(queues as usize);
        let stored = test.store.store_timestamp("Topic", queues - 1, 0);
        let queue = folder.path().join("consumequeue/Topic/0/00000000000000000000");
        let long_ago = std::time::UNIX_EPOCH;
        // Of the flushes that fail all but the first write the page. A round that was under way when the
        // file's time was set can be taken for the next one, but not twice.
        for _ in 0..3 {
            let file = std::fs::File::options().write(true).open(&queue).unwrap();
            file.set_modified(long_ago).unwrap();
            wait_until(&format!("the first of {queues} queues is written again"), || {
                file.metadata().unwrap().modified().unwrap() != long_ago
            });
        }
        assert!(logics() < stored, "it was not flushed");
        drop(fault);
        wait_until("the checkpoint vouches for the unit", || logics() >= stored);
        test.store.shutdown();
    }
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

/// What dispatch was held by needs no unit: a half message, which only has keys.
#[test]
fn messages_are_taken_again_after_whatever_held_dispatch() {
    let folder = Folder::new("index-full");
    let test = TestStore::open(config(folder.path(), &[]));
    let fault = inject(Operation::Create, &folder.path().join("index"), libc::ENOSPC);
    let sys_flag = sys_flag::TRANSACTION_PREPARED;
    let half = RecordFields { sys_flag, ..record("Topic", 0, b"half", "KEYS\u{1}k") };
    test.store.put(&NewMessage { record: half, wait_store: true }).wait();
    wait_until("dispatch is held", || test.store.dispatch_behind_bytes() > 0);
    // As it is after half a minute.
    test.store.flags().set(Flag::WriteLogicsQueueError, true);
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::ServiceNotAvailable);
    drop(fault);
    wait_until("messages are taken", || test.put("Topic", 0, b"1", "").status == PutStatus::PutOk);
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
    let slow = inject_delay(Operation::Flush, &log, Duration::from_secs(60));
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

/// A put finds the store serving, and appends when that has stopped: it is refused, or what it appended
/// is on the disk.
#[test]
fn nothing_is_appended_after_the_last_flush() {
    let folder = Folder::new("late-put");
    let test = TestStore::open(config(folder.path(), &[]));
    assert_eq!(test.put("Topic", 0, b"1", "").status, PutStatus::PutOk);
    let result = std::thread::scope(|scope| {
        let (log, put) = (test.store.commit_log(), || test.put("New", 0, b"2", ""));
        let (put, stop) = log.with_append_lock(|| {
            let put = scope.spawn(put);
            // Its queue is made when it has been let in.
            wait_until("the put waits", || test.store.topics().contains_key("New"));
            let stop = scope.spawn(|| test.store.shutdown());
            let deadline = Instant::now() + Duration::from_millis(500);
            while !stop.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            (put, stop)
        });
        stop.join().unwrap();
        put.join().unwrap()
    });
    let flushed: i64 = test.store.runtime_info()["flushedOffset"].parse().unwrap();
    assert_eq!(flushed, test.store.commit_log_max_offset(), "{:?}", result.status);
}
