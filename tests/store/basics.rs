//! Put and get, stop and open again, with files so small that everything rolls.

use std::sync::Arc;

use rocketmq::common::checksum::tags_code;
use rocketmq::common::config::Live;
use rocketmq::common::record::RecordFields;
use rocketmq::common::sys_flag;
use rocketmq::store::message::ExtUnit;
use rocketmq::store::{GetMessageStatus, MessageFilter, MessageStore, NewMessage, PutStatus};

use crate::folder::*;

#[test]
fn what_is_put_is_got_also_after_a_stop() {
    let folder = Folder::new("basics");
    let body = |number: usize| vec![number as u8; number * 7 % 3000];
    let count = 500;
    {
        let test = TestStore::open(config(folder.path(), &[]));
        for number in 0..count {
            let queue = (number % 3) as i32;
            let result = test.put("Topic", queue, &body(number), "TAGS\u{1}a\u{2}KEYS\u{1}k1 k2");
            assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
            assert_eq!(result.queue_offset, (number / 3) as i64);
        }
        test.arrivals.wait_for(count);
        for queue in 0..3 {
            let expected: Vec<_> = (queue..count).step_by(3).map(body).collect();
            assert!(test.bodies("Topic", queue as i32) == expected);
        }
        test.store.shutdown();
        assert!(!folder.path().join("abort").exists());
    }
    let test = TestStore::open(config(folder.path(), &[]));
    for queue in 0..3 {
        let expected: Vec<_> = (queue..count).step_by(3).map(body).collect();
        assert!(test.bodies("Topic", queue as i32) == expected);
    }
    let result = test.put("Topic", 0, b"more", "");
    assert_eq!(result.queue_offset, count.div_ceil(3) as i64);
    test.arrivals.wait_for(1);
    assert_eq!(test.bodies("Topic", 0).last().unwrap(), b"more");
    let end = test.store.max_offset("Topic", 0);
    assert_eq!(test.get("Topic", 0, end).status, GetMessageStatus::OffsetOverflowOne);
    assert_eq!(test.get("Topic", 0, end + 1).status, GetMessageStatus::OffsetOverflowBadly);
    assert_eq!(test.get("Topic", 9, 0).status, GetMessageStatus::NoMessageInQueue);
}

#[test]
fn a_synchronous_put_is_acknowledged_when_it_is_flushed() {
    let folder = Folder::new("sync");
    let test = TestStore::open(config(folder.path(), &[("flushDiskType", "SYNC_FLUSH")]));
    for _ in 0..50 {
        let result = test.put("Topic", 0, &[7; 5000], "");
        assert_eq!(result.status, PutStatus::PutOk);
        let flushed: i64 = test.store.runtime_info()["flushedOffset"].parse().unwrap();
        assert!(flushed >= result.commit_log_offset + i64::from(result.wrote_bytes));
    }
    test.arrivals.wait_for(50);
    assert_eq!(test.bodies("Topic", 0).len(), 50);
}

#[test]
fn two_messages_of_two_queues_are_stored_together() {
    let folder = Folder::new("together");
    let both = |store: &MessageStore, behind: &RecordFields<'_>| {
        let record = record("Topic", 0, b"first", "TAGS\u{1}a");
        store.put_with(&NewMessage { record, wait_store: true }, Some(behind)).wait()
    };
    let behind = record("Other", 1, b"second", "");
    {
        let test = TestStore::open(config(folder.path(), &[]));
        test.put("Other", 1, b"zeroth", "");
        // Enough to roll to the next file some times.
        for number in 0..300 {
            let result = both(&test.store, &behind);
            assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
            assert_eq!((result.queue_offset, result.messages), (number, 2));
            let end = result.commit_log_offset + i64::from(result.wrote_bytes);
            assert_eq!(end, test.store.commit_log_max_offset(), "both lie at the end");
        }
        let same_queue = record("Topic", 0, b"second", "");
        let refused = both(&test.store, &same_queue);
        assert_eq!(refused.status, PutStatus::MessageIllegal, "{}", refused.reason);
        test.arrivals.wait_for(601);
        test.store.shutdown();
    }
    let test = TestStore::open(config(folder.path(), &[]));
    assert_eq!(test.bodies("Topic", 0), vec![b"first".to_vec(); 300]);
    let others = test.bodies("Other", 1);
    assert_eq!((others.len(), &*others[0], &*others[300]), (301, &b"zeroth"[..], &b"second"[..]));
}

/// Messages with one tag.
struct Tag(&'static str);

impl MessageFilter for Tag {
    fn matches_queue(&self, code: Option<i64>, _ext: Option<&ExtUnit>) -> bool {
        code.is_none_or(|code| code as i32 == tags_code(Some(self.0)) as i32)
    }
}

/// Records whose body is long.
struct LongBody;

impl MessageFilter for LongBody {
    fn matches_queue(&self, _code: Option<i64>, _ext: Option<&ExtUnit>) -> bool {
        true
    }

    fn matches_record(&self, record: &[u8]) -> bool {
        record.len() > 200
    }

    fn needs_record(&self) -> bool {
        true
    }
}

#[test]
fn pulls_filter_and_move_on() {
    let folder = Folder::new("filter");
    let test = TestStore::open(config(folder.path(), &[]));
    for number in 0..90 {
        let tag = if number % 3 == 0 { "TAGS\u{1}a" } else { "TAGS\u{1}b" };
        test.put("Topic", 0, &vec![0; if number == 50 { 300 } else { 10 }], tag);
    }
    test.arrivals.wait_for(90);
    let get = |offset, filter| test.store.get("g", "Topic", 0, offset, 32, Some(filter)).unwrap();
    let result = get(0, &Tag("a"));
    assert_eq!((result.status, result.count), (GetMessageStatus::Found, 30));
    assert_eq!(result.next_begin_offset, 90, "what does not match is passed over");
    let result = get(1, &Tag("nothing"));
    assert_eq!(result.status, GetMessageStatus::NoMatchedMessage);
    assert!(result.records.is_none() && result.next_begin_offset == 90);
    let result = get(0, &LongBody);
    let mut offsets = Vec::new();
    each_record(&result, |record| offsets.push(record.queue_offset));
    assert_eq!(offsets, [50]);
    assert_eq!(result.last_store_timestamp, test.store.store_timestamp("Topic", 0, 50));
}

#[test]
fn a_pull_has_limits_in_memory_and_on_disk() {
    let folder = Folder::new("limits");
    let live =
        Arc::new(Live::new(config(folder.path(), &[("mappedFileSizeCommitLog", "1048576")])));
    let arrivals = Arc::new(Arrivals::default());
    let store = MessageStore::open(live.clone(), arrivals.clone()).unwrap();
    store.start().unwrap();
    let test = TestStore { store, arrivals };
    (0..60).for_each(|_| drop(test.put("Topic", 0, &[7; 10_000], "")));
    test.arrivals.wait_for(60);
    assert_eq!(test.get("Topic", 0, 0).count, 25, "262,144 bytes");
    assert!(test.store.is_in_memory("Topic", 0, 0));
    live.update(|config| config.max_transfer_count_on_message_in_memory = 4);
    assert_eq!(test.get("Topic", 0, 0).count, 4);
    // No memory at all: everything but the log's very end is on the disk.
    live.update(|config| config.access_message_in_memory_max_ratio = 0);
    let result = test.get("Topic", 0, 0);
    assert_eq!(result.count, 6, "65,536 bytes");
    assert!(result.suggest_pulling_from_slave && test.store.is_on_disk("Topic", 0, 0));
    live.update(|config| config.max_transfer_bytes_on_message_in_disk = 1);
    assert_eq!(test.get("Topic", 0, 0).count, 1, "one message passes whatever its size");
}

#[test]
fn what_cannot_be_stored_is_refused_with_a_reason() {
    let folder = Folder::new("refused");
    let live = Arc::new(Live::new(config(folder.path(), &[])));
    let arrivals = Arc::new(Arrivals::default());
    let store = MessageStore::open(live.clone(), arrivals.clone()).unwrap();
    let early = TestStore { store: store.clone(), arrivals: arrivals.clone() };
    assert_eq!(early.put("Topic", 0, b"x", "").status, PutStatus::ServiceNotAvailable);
    store.start().unwrap();
    let check = |topic: &str, body: &[u8], properties: &str, status, word: &str| {
        let result = early.put(topic, 0, body, properties);
        assert_eq!(result.status, status, "{}", result.reason);
        assert!(result.reason.contains(word), "{}", result.reason);
    };
    check(&"t".repeat(128), b"x", "", PutStatus::MessageIllegal, "127");
    check("../../etc", b"x", "", PutStatus::MessageIllegal, "folder");
    check("Topic", &[0; 70_000], "", PutStatus::MessageIllegal, "one commit-log file");
    let long = "x".repeat(32_768);
    check("Topic", b"x", &long, PutStatus::PropertiesSizeExceeded, "32767");
    live.update(|config| config.max_message_size = 100);
    check("Topic", &[0; 101], "", PutStatus::MessageIllegal, "maxMessageSize is 100");
    assert_eq!(early.put("Topic", 0, &[0; 100], "").status, PutStatus::PutOk);
    store.shutdown();
    check("Topic", b"x", "", PutStatus::ServiceNotAvailable, "not running");
}

#[test]
fn half_messages_take_no_offset_and_are_not_seen() {
    let folder = Folder::new("half");
    let test = TestStore::open(config(folder.path(), &[]));
    for (flags, offset) in [
        (sys_flag::TRANSACTION_NOT, 0),
        (sys_flag::TRANSACTION_PREPARED, 0),
        (sys_flag::TRANSACTION_ROLLBACK, 0),
        (sys_flag::TRANSACTION_COMMIT, 1),
    ] {
        let record = RecordFields { sys_flag: flags, ..record("Topic", 0, b"x", "KEYS\u{1}k") };
        let result = test.store.put(&NewMessage { record, wait_store: true }).wait();
        assert_eq!((result.status, result.queue_offset), (PutStatus::PutOk, offset));
    }
    test.arrivals.wait_for(2);
    assert_eq!(test.bodies("Topic", 0).len(), 2);
    assert_eq!(test.store.query("Topic", "k", 9, 0, i64::MAX).count, 3, "all but the rollback");
}

#[test]
fn one_message_in_several_queues() {
    let folder = Folder::new("multi");
    let more = [("enableMultiDispatch", "true"), ("enableLmq", "true")];
    let names = "INNER_MULTI_DISPATCH\u{1}%LMQ%a,Other";
    {
        let test = TestStore::open(config(folder.path(), &more));
        test.put("%LMQ%a", 0, b"0", "");
        test.put("Topic", 3, b"1", names);
        test.put("Topic", 3, b"2", names);
        test.arrivals.wait_for(1 + 2 * 3);
        assert_eq!(test.bodies("%LMQ%a", 0), [b"0", b"1", b"2"]);
        assert_eq!(test.bodies("Other", 3), [b"1", b"2"]);
        assert_eq!(test.bodies("Topic", 3), [b"1", b"2"]);
        test.store.shutdown();
    }
    let test = TestStore::open(config(folder.path(), &more));
    test.put("Topic", 3, b"3", names);
    test.arrivals.wait_for(3);
    assert_eq!(test.bodies("%LMQ%a", 0), [b"0", b"1", b"2", b"3"]);
    let message = test.store.look_message_by_offset(test.store.commit_log_offset("Other", 3, 2));
    let offsets = message.unwrap().message.properties;
    assert_eq!(offsets.get("INNER_MULTI_QUEUE_OFFSET"), Some("3,2"));
}

#[test]
fn a_queue_that_is_named_twice_gets_the_message_once() {
    let folder = Folder::new("multi-twice");
    let test = TestStore::open(config(folder.path(), &[("enableMultiDispatch", "true")]));
    let names = "INNER_MULTI_DISPATCH\u{1}Other,Topic,Other";
    for number in 0..3_u8 {
        let result = test.put("Topic", 3, &[number], names);
        assert_eq!(result.queue_offset, i64::from(number));
        let message = test.store.look_message_by_offset(result.commit_log_offset);
        let offsets = message.unwrap().message.properties;
        let expected = format!("{number},{number},{number}");
        assert_eq!(offsets.get("INNER_MULTI_QUEUE_OFFSET"), Some(&*expected));
    }
    test.arrivals.wait_for(3 * 4);
    for topic in ["Topic", "Other"] {
        assert_eq!(test.bodies(topic, 3), [[0], [1], [2]]);
    }
}

#[test]
fn a_removed_topic_begins_anew() {
    let folder = Folder::new("removed");
    let test = TestStore::open(config(folder.path(), &[]));
    (0..10).for_each(|_| drop(test.put("Old", 0, b"x", "")));
    test.put("Kept", 0, b"x", "");
    test.arrivals.wait_for(11);
    assert_eq!(test.store.clean_unused_topics(&|topic| topic == "Kept", i64::MAX), 1);
    assert!(!folder.path().join("consumequeue/Old/0").exists());
    assert_eq!(test.store.topics().into_keys().collect::<Vec<_>>(), ["Kept"]);
    assert_eq!(test.put("Old", 0, b"new", "").queue_offset, 0);
    test.arrivals.wait_for(12);
    assert_eq!(test.bodies("Old", 0), [b"new"]);
}

#[test]
fn many_threads_get_one_order() {
    let folder = Folder::new("threads");
    let test = TestStore::open(config(folder.path(), &[]));
    let put = || test.put("Topic", 0, &[1; 200], "").queue_offset;
    let mut offsets: Vec<i64> = std::thread::scope(|scope| {
        let start = |_| scope.spawn(|| (0..250).map(|_| put()).collect::<Vec<_>>());
        let threads: Vec<_> = (0..8).map(start).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    offsets.sort_unstable();
    assert!(offsets == (0..2000).collect::<Vec<_>>());
    test.arrivals.wait_for(2000);
    let mut last = (-1, -1, 0);
    let mut offset = 0;
    while offset < 2000 {
        let result = test.get("Topic", 0, offset);
        each_record(&result, |record| {
            let next = (record.queue_offset, record.physical_offset, record.store_timestamp);
            assert!(next.0 == last.0 + 1 && next.1 > last.1 && next.2 >= last.2);
            last = next;
        });
        offset = result.next_begin_offset;
    }
}
