//! Random operations against a model: whatever happens, every queue serves exactly what was put
//! into it, in order.

use std::collections::BTreeMap;

use rocketmq::common::record::{BatchEntry, encode_batch_entry};
use rocketmq::store::{NewBatch, PutStatus};

use crate::folder::*;

/// A small generator of numbers (xorshift), the same for the same seed.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed * 2 + 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

type Model = BTreeMap<(String, i32), Vec<Vec<u8>>>;

/// One run: some hundred operations on a store with tiny files.
fn run(seed: u64, operations: usize, more: &[(&str, &str)]) {
    let mut numbers = Numbers::new(seed);
    let mut folder = Folder::new("model");
    let mut test = TestStore::open(config(folder.path(), more));
    let mut model = Model::new();
    let mut dispatched = 0;
    for _ in 0..operations {
        let topic = format!("Topic{}", numbers.below(3));
        let queue = numbers.below(4) as i32;
        match numbers.below(100) {
            0..70 => {
                let body = vec![numbers.below(256) as u8; numbers.below(4000) as usize];
                let result = test.put(&topic, queue, &body, "TAGS\u{1}t");
                assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
                let bodies = model.entry((topic, queue)).or_default();
                assert_eq!(result.queue_offset, bodies.len() as i64);
                bodies.push(body);
                dispatched += 1;
            }
            70..90 => {
                let count = numbers.below(20) + 1;
                let bodies: Vec<_> = (0..count)
                    .map(|number| vec![number as u8; numbers.below(800) as usize])
                    .collect();
                put_batch(&test, &topic, queue, &bodies);
                model.entry((topic, queue)).or_default().extend(bodies);
                dispatched += count as usize;
            }
            90..96 => {
                test.arrivals.wait_for(dispatched);
                check(&test, &model);
            }
            96..98 => {
                test.store.shutdown();
                drop(test);
                test = TestStore::open(config(folder.path(), more));
                dispatched = 0;
                check(&test, &model);
            }
            _ => {
                // A crash: what the files hold at this moment is all there is.
                test.arrivals.wait_for(dispatched);
                let copy = folder.copy("model-crash");
                test.store.shutdown();
                drop(test);
                folder = copy;
                test = TestStore::open(config(folder.path(), more));
                dispatched = 0;
                check(&test, &model);
            }
        }
    }
    test.arrivals.wait_for(dispatched);
    check(&test, &model);
}

fn put_batch(test: &TestStore, topic: &str, queue: i32, bodies: &[Vec<u8>]) {
    let mut encoded = Vec::new();
    for body in bodies {
        encode_batch_entry(
            &BatchEntry { flag: 0, body, properties: "KEYS\u{1}b".into() },
            &mut encoded,
        );
    }
    let batch =
        NewBatch { record: record(topic, queue, &encoded, "CLUSTER\u{1}c"), wait_store: true };
    let result = test.store.put_batch(&batch).unwrap().wait();
    assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
    assert_eq!(result.messages as usize, bodies.len());
}

fn check(test: &TestStore, model: &Model) {
    for ((topic, queue), bodies) in model {
        let found = test.bodies(topic, *queue);
        let differs = found.iter().zip(bodies).position(|(found, put)| found != put);
        assert_eq!((found.len(), differs), (bodies.len(), None), "{topic} {queue}");
        let offset = bodies.len() as i64 - 1;
        let place = test.store.commit_log_offset(topic, *queue, offset);
        let message = test.store.look_message_by_offset(place).unwrap();
        assert_eq!(message.queue_offset, offset);
        let time = test.store.store_timestamp(topic, *queue, offset);
        assert_eq!(time, message.store_timestamp);
        assert!(test.store.offset_by_time(topic, *queue, time) <= offset);
        assert_eq!(test.store.offset_by_time(topic, *queue, 0), 0);
    }
}

#[test]
fn asynchronous_flush() {
    (1..4).for_each(|seed| run(seed, 1000, &[]));
}

#[test]
fn synchronous_flush() {
    run(11, 200, &[("flushDiskType", "SYNC_FLUSH")]);
}

#[test]
fn transient_store_pool() {
    let more = [("transientStorePoolEnable", "true"), ("commitIntervalCommitLog", "1")];
    run(21, 600, &more);
}

#[test]
fn extension_files() {
    run(31, 600, &[("enableConsumeQueueExt", "true"), ("mappedFileSizeConsumeQueueExt", "1024")]);
}
