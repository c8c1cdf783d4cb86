//! SYNC_FLUSH: how many messages one flush makes durable, and how close that comes to what the disk
//! could do if nothing but flushing took time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rocketmq::common::os::allocate;
use rocketmq::common::record::record_size;
use rocketmq::store::FlushDiskType;

use super::{TOPIC, fields, open, percent, put, report};

/// Rounds of the disk alone and of the store, in turn.
const ROUNDS: usize = 3;
/// Messages of one thread in a round.
const MESSAGES: usize = 500;
/// Flushes of the disk alone in a round.
const FLUSHES: usize = 500;

/// Measures.
pub fn run(base: &Path) {
    let body = [7; 1024];
    let record = vec![7; record_size(&fields(TOPIC, 0, &body))];
    for waiters in [1, 8, 64] {
        super::empty(base);
        let (store, _) = open(base, |config| config.flush_disk_type = FlushDiskType::SyncFlush);
        put(&store, waiters, waiters, waiters * 50, &body);
        let (mut disk, mut rate, mut flushes) = (0.0, 0.0, 0);
        for _ in 0..ROUNDS {
            disk += disk_alone(base, &record.repeat(waiters)) / ROUNDS as f64;
            let before = store.flush_total();
            let (time, _) = put(&store, waiters, waiters, waiters * MESSAGES, &body);
            flushes += store.flush_total() - before;
            rate += (waiters * MESSAGES) as f64 / time.as_secs_f64() / ROUNDS as f64;
            report(&format!("put 1024 B, SYNC_FLUSH, {waiters} wait"), waiters * MESSAGES, time);
        }
        println!(
            "{waiters} wait: {:.1} messages a flush, {rate:.0} messages/s; fdatasync alone {disk:.0}/s, \
             times {waiters}: {}",
            (waiters * MESSAGES * ROUNDS) as f64 / flushes as f64,
            percent(rate, disk * waiters as f64)
        );
        store.shutdown();
    }
}

/// How often a second the disk takes `bytes` appended to a file with reserved blocks.
fn disk_alone(base: &Path, bytes: &[u8]) -> f64 {
    let path = base.join("alone");
    let file = File::create(&path).expect("create");
    allocate(&file, (bytes.len() * FLUSHES) as u64).expect("allocate");
    let started = Instant::now();
    for number in 0..FLUSHES {
        file.write_all_at(bytes, (number * bytes.len()) as u64).expect("write");
        file.sync_data().expect("fdatasync");
    }
    let rate = FLUSHES as f64 / started.elapsed().as_secs_f64();
    std::fs::remove_file(&path).expect("remove");
    rate
}
