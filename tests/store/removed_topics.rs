//! Topics that are removed and begun again, while messages of the first life are still on their way: the
//! second life has its own numbers, and nobody's files but its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rocketmq::store::fault::{Operation, inject_delay};
use rocketmq::store::{NewMessage, PutOutcome};

use crate::folder::*;

const NAMES: &str = "INNER_MULTI_DISPATCH\u{1}Other";

/// Removes all topics.
fn remove_all(test: &TestStore) {
    test.store.clean_unused_topics(&|_| false, i64::MAX);
}

fn wait_until_dispatched(test: &TestStore) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while test.store.dispatch_behind_bytes() > 0 {
        assert!(Instant::now() < deadline, "{} bytes left", test.store.dispatch_behind_bytes());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn put_bodies(test: &TestStore, from: u8, count: u8) -> Vec<Vec<u8>> {
    let bodies: Vec<_> = (from..from + count).map(|number| vec![number]).collect();
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(test.put("Topic", 0, body, NAMES).queue_offset, number as i64);
    }
    bodies
}

#[test]
fn what_comes_late_is_no_message_of_the_second_life() {
    let folder = Folder::new("late-life");
    let keys = [("flushDiskType", "SYNC_FLUSH"), ("enableMultiDispatch", "true")];
    let test = TestStore::open(config(folder.path(), &keys));
    put_bodies(&test, 0, 5);
    test.arrivals.wait_for(10);
    let log = folder.path().join("commitlog");
    let slow = inject_delay(Operation::Flush, &log, Duration::from_secs(60));
    // In the log, and not dispatched before they are on the disk.
    let pending: Vec<_> = (0..5)
        .map(|number| {
            let body = [100 + number];
            let record = record("Topic", 0, &body, NAMES);
            test.store.put(&NewMessage { record, wait_store: true })
        })
        .collect();
    remove_all(&test);
    drop(slow);
    pending.into_iter().for_each(|put: PutOutcome| drop(put.wait()));
    let bodies = put_bodies(&test, 10, 20);
    wait_until_dispatched(&test);
    for topic in ["Topic", "Other"] {
        assert_eq!(test.bodies(topic, 0), bodies, "{topic}");
    }
    test.store.shutdown();
    let test = TestStore::open(config(folder.path(), &keys));
    assert_eq!(test.bodies("Topic", 0), bodies, "after a restart");
    assert_eq!(test.put("Topic", 0, b"next", "").queue_offset, 20);
}

#[test]
fn a_crash_keeps_the_lives_apart() {
    let folder = Folder::new("crashed-life");
    let keys = [("enableMultiDispatch", "true")];
    let test = TestStore::open(config(folder.path(), &keys));
    put_bodies(&test, 0, 5);
    test.arrivals.wait_for(10);
    remove_all(&test);
    let bodies = put_bodies(&test, 10, 3);
    test.arrivals.wait_for(16);
    let crashed = folder.copy("crashed-life-copy");
    drop(test);
    // No unit had reached the disk.
    std::fs::remove_dir_all(crashed.path().join("consumequeue")).unwrap();
    let test = TestStore::open(config(crashed.path(), &keys));
    for topic in ["Topic", "Other"] {
        assert_eq!(test.bodies(topic, 0), bodies, "{topic}");
    }
    assert_eq!(test.put("Topic", 0, b"next", "").queue_offset, 3);
}

/// The log has a number twice: that is no second life.
#[test]
fn a_crash_gives_up_no_queue_for_a_number_that_was_given_twice() {
    let folder = Folder::new("twice");
    let keys = [("enableMultiDispatch", "true")];
    let test = TestStore::open(config(folder.path(), &keys));
    let bodies = put_bodies(&test, 0, 5);
    test.arrivals.wait_for(10);
    let log = test.store.commit_log();
    let third = test.store.commit_log_offset("Topic", 0, 3);
    let mut again = log.record_at(third).unwrap().to_vec();
    let end = log.max_offset();
    again[28..36].copy_from_slice(&end.to_be_bytes());
    log.append_raw(end, &again).unwrap();
    let crashed = folder.copy("twice-copy");
    drop(test);
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(crashed.path().join("consumequeue")).unwrap();
        }
        let copy = crashed.copy("twice-open");
        let test = TestStore::open(config(copy.path(), &keys));
        for topic in ["Topic", "Other"] {
            assert_eq!(test.bodies(topic, 0), bodies, "{topic}, queues lost: {lost}");
        }
        assert_eq!(test.put("Topic", 0, b"next", "").queue_offset, 5);
    }
}

/// Removes the topic again and again while it is written to.
#[test]
fn a_topic_is_removed_under_load() {
    for ext in ["false", "true"] {
        let folder = Folder::new("removed");
        let keys = [
            ("enableConsumeQueueExt", ext),
            ("mappedFileSizeConsumeQueueExt", "1024"),
            ("mappedFileSizeConsumeQueue", "400"),
            ("flushIntervalConsumeQueue", "1"),
            ("flushConsumeQueueThoroughInterval", "1"),
        ];
        let test = TestStore::open(config(folder.path(), &keys));
        let ends = AtomicBool::new(false);
        let mut last = Vec::new();
        for _ in 0..150 {
            ends.store(false, Ordering::Release);
            std::thread::scope(|scope| {
                let remover = scope.spawn(|| {
                    remove_all(&test);
                    ends.store(true, Ordering::Release);
                });
                let mut number = 0_i64;
                let mut bodies = Vec::new();
                loop {
                    let last_round = ends.load(Ordering::Acquire);
                    let result = test.put("Topic", 0, &number.to_be_bytes(), "");
                    if result.queue_offset == 0 {
                        bodies.clear();
                    }
                    bodies.push(number.to_be_bytes().to_vec());
                    number += 1;
                    if last_round && bodies.len() > 30 {
                        break;
                    }
                }
                remover.join().unwrap();
                last = bodies;
            });
            wait_until_dispatched(&test);
            assert!(test.bodies("Topic", 0) == last, "ext {ext}");
        }
        test.store.shutdown();
        drop(test);
        let test = TestStore::open(config(folder.path(), &keys));
        assert!(test.bodies("Topic", 0) == last, "after a restart, ext {ext}");
    }
}
