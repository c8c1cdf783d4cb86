//! Put and get, stop and open again, with files so small that everything rolls.

use rocketmq::store::{GetMessageStatus, PutStatus};

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
