//! Starts while what the log has cannot be dispatched: the store serves what there is, and every message
//! gets the number that nobody has.

use std::time::{Duration, Instant};

use rocketmq::common::record::RecordFields;
use rocketmq::common::sys_flag;
use rocketmq::store::fault::{Fault, Operation, inject};
use rocketmq::store::{NewMessage, PutResult, PutStatus};

use crate::folder::*;

const NAMES: &str = "INNER_MULTI_DISPATCH\u{1}Other,%LMQ%light,Other";
const KEYS: [(&str, &str); 2] = [("enableMultiDispatch", "true"), ("enableLmq", "true")];

/// No consume queue gets a block.
fn no_queues(folder: &Folder) -> Fault {
    inject(Operation::Allocate, &folder.path().join("consumequeue"), libc::ENOSPC)
}

/// After an orderly stop the consume queues are lost, and cannot be made again.
fn without_queues(test: TestStore, folder: &Folder) -> Fault {
    test.store.shutdown();
    drop(test);
    std::fs::remove_dir_all(folder.path().join("consumequeue")).unwrap();
    no_queues(folder)
}

fn wait_until_dispatched(test: &TestStore) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while test.store.dispatch_behind_bytes() > 0 {
        assert!(Instant::now() < deadline, "{} bytes left", test.store.dispatch_behind_bytes());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn put_flagged(test: &TestStore, sys_flag: i32, body: &[u8]) -> PutResult {
    let record = RecordFields { sys_flag, ..record("Topic", 0, body, "") };
    test.store.put(&NewMessage { record, wait_store: true }).wait()
}

fn numbers(test: &TestStore, topic: &str, queue_id: i32) -> Vec<i64> {
    let mut numbers = Vec::new();
    let result = test.get(topic, queue_id, 0);
    each_record(&result, |record| numbers.push(record.queue_offset));
    numbers
}

#[test]
fn numbers_go_on_behind_what_is_not_dispatched() {
    for mode in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let folder = Folder::new("stuck");
        let keys = [KEYS[0], KEYS[1], ("flushDiskType", mode)];
        let test = TestStore::open(config(folder.path(), &keys));
        test.put("Topic", 0, b"a", NAMES);
        put_flagged(&test, sys_flag::TRANSACTION_PREPARED, b"half");
        put_flagged(&test, sys_flag::TRANSACTION_COMMIT, b"b");
        put_flagged(&test, sys_flag::TRANSACTION_ROLLBACK, b"no");
        test.put("Topic", 1, b"c", NAMES);
        // More than one file of the log.
        (0..20).for_each(|_| drop(test.put("Large", 0, &[7; 9000], "")));
        let fault = without_queues(test, &folder);

        let test = TestStore::open(config(folder.path(), &keys));
        assert!(test.store.dispatch_behind_bytes() > 0, "nothing can be dispatched");
        for (topic, queue_id, number) in
            [("Topic", 0, 2), ("Topic", 1, 1), ("Large", 0, 20), ("Other", 1, 1), ("New", 0, 0)]
        {
            let result = test.put(topic, queue_id, b"later", "");
            assert_eq!((result.status, result.queue_offset), (PutStatus::PutOk, number), "{topic}");
        }
        assert_eq!(test.put("%LMQ%light", 0, b"later", "").queue_offset, 2);
        drop(fault);
        wait_until_dispatched(&test);
        assert_eq!(test.bodies("Topic", 0), [&b"a"[..], b"b", b"later"], "{mode}");
        assert_eq!(test.bodies("Topic", 1), [&b"c"[..], b"later"]);
        assert_eq!(test.bodies("Other", 0), [b"a"]);
        assert_eq!(test.bodies("Other", 1), [&b"c"[..], b"later"]);
        assert_eq!(test.bodies("%LMQ%light", 0), [&b"a"[..], b"c", b"later"]);
        assert_eq!(test.bodies("Large", 0).len(), 21);
        assert_eq!(numbers(&test, "Topic", 0), [0, 1, 2]);
    }
}

/// The last file of one queue is lost; the others have their units.
#[test]
fn only_what_waits_counts() {
    let folder = Folder::new("stuck-some");
    let keys = [("mappedFileSizeConsumeQueue", "100")];
    let test = TestStore::open(config(folder.path(), &keys));
    let put = |test: &TestStore, topic: &str, number: u8| {
        let result = test.put(topic, 0, &[number], "");
        assert_eq!(result.queue_offset, i64::from(number), "{topic}: {}", result.reason);
    };
    (0..5).for_each(|number| put(&test, "Cut", number));
    (0..8).for_each(|number| put(&test, "Whole", number));
    (5..7).for_each(|number| put(&test, "Cut", number));
    test.store.shutdown();
    drop(test);
    let queue = folder.path().join("consumequeue/Cut/0");
    std::fs::remove_file(queue.join(format!("{:020}", 100))).unwrap();
    let fault = inject(Operation::Allocate, &queue, libc::ENOSPC);
    let test = TestStore::open(config(folder.path(), &keys));
    (7..9).for_each(|number| put(&test, "Cut", number));
    (8..10).for_each(|number| put(&test, "Whole", number));
    drop(fault);
    wait_until_dispatched(&test);
    assert_eq!(test.bodies("Cut", 0).concat(), Vec::from_iter(0..9));
    assert_eq!(test.bodies("Whole", 0).concat(), Vec::from_iter(0..10));
}

#[test]
fn a_topic_that_was_begun_again_waits_with_its_second_life() {
    let folder = Folder::new("stuck-life");
    let test = TestStore::open(config(folder.path(), &KEYS));
    let put = |test: &TestStore, body: &[u8]| test.put("Topic", 0, body, NAMES).queue_offset;
    (0..5).for_each(|number| assert_eq!(put(&test, &[number]), i64::from(number)));
    for life in [10, 20] {
        test.store.clean_unused_topics(&|_| false, i64::MAX);
        (0..3).for_each(|number| assert_eq!(put(&test, &[life + number]), i64::from(number)));
    }
    let fault = without_queues(test, &folder);
    let test = TestStore::open(config(folder.path(), &KEYS));
    assert_eq!(put(&test, &[23]), 3);
    drop(fault);
    wait_until_dispatched(&test);
    for topic in ["Topic", "Other"] {
        assert_eq!(test.bodies(topic, 0).concat(), [20, 21, 22, 23], "{topic}");
    }
    test.store.shutdown();
    drop(test);
    let test = TestStore::open(config(folder.path(), &KEYS));
    assert_eq!(put(&test, &[24]), 4);
}

/// It was stuck when it stopped, or when it crashed, and is so after the start.
#[test]
fn a_store_that_was_stuck_opens_and_serves_what_there_is() {
    for orderly in [true, false] {
        let folder = Folder::new("stuck-again");
        let test = TestStore::open(config(folder.path(), &[]));
        (0..3).for_each(|number| drop(test.put("Topic", 0, &[number], "")));
        test.arrivals.wait_for(3);
        let fault =
            inject(Operation::Allocate, &folder.path().join("consumequeue/Late"), libc::ENOSPC);
        for number in 0..3 {
            test.put("Late", 0, &[number], "");
            test.put("Topic", 0, &[3 + number], "");
        }
        let crashed = if orderly {
            test.store.shutdown();
            folder
        } else {
            folder.copy("stuck-crashed")
        };
        drop((test, fault));
        assert!(crashed.path().join("abort").exists());
        let late = crashed.path().join("consumequeue/Late");
        let fault = inject(Operation::Allocate, &late, libc::ENOSPC);
        let test = TestStore::open(config(crashed.path(), &[]));
        assert_eq!(test.bodies("Topic", 0).concat(), [0, 1, 2], "what comes later waits");
        assert_eq!(test.put("Topic", 0, &[6], "").queue_offset, 6);
        assert_eq!(test.put("Late", 0, &[3], "").queue_offset, 3);
        drop(fault);
        wait_until_dispatched(&test);
        assert_eq!(test.bodies("Topic", 0).concat(), Vec::from_iter(0..7), "orderly: {orderly}");
        assert_eq!(test.bodies("Late", 0).concat(), [0, 1, 2, 3]);
    }
}
