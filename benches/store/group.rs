//! SYNC_FLUSH: how many messages one flush makes durable, and how close that comes to what the disk
//! could do if nothing but flushing took time.
//!
//! Nobody waits as a thread: as in the broker, a completion lets its sender put the next message, on
//! one of a few threads that serve many senders.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rocketmq::common::os::allocate;
use rocketmq::common::record::record_size;
use rocketmq::store::{FlushDiskType, MessageStore, NewMessage, PutOutcome, PutResult, PutStatus};

use super::{TOPIC, fields, open, percent, report};

/// Rounds of the disk alone and of the store, in turn.
const ROUNDS: usize = 5;
/// Messages of one sender in a round.
const MESSAGES: usize = 500;
/// Flushes of the disk alone in a round.
const FLUSHES: usize = 300;
/// Threads that put for all senders.
const THREADS: usize = 4;

/// Measures.
pub fn run(base: &Path) {
    let body = [7; 1024];
    let record = vec![7; record_size(&fields(TOPIC, 0, &body))];
    for senders in [1, 8, 64] {
        super::empty(base);
        let (store, _) = open(base, |config| config.flush_disk_type = FlushDiskType::SyncFlush);
        put_in_flight(&store, senders, senders * 50, &body);
        let (mut disk, mut written, mut rate, mut flushes) = (0.0, 0.0, 0.0, 0);
        for _ in 0..ROUNDS {
            disk += disk_alone(base, &record.repeat(senders), false) / ROUNDS as f64;
            written += disk_alone(base, &record.repeat(senders), true) / ROUNDS as f64;
            let before = store.flush_total();
            let time = put_in_flight(&store, senders, senders * MESSAGES, &body);
            flushes += store.flush_total() - before;
            rate += (senders * MESSAGES) as f64 / time.as_secs_f64() / ROUNDS as f64;
            report(
                &format!("put 1024 B, SYNC_FLUSH, {senders} in flight"),
                senders * MESSAGES,
                time,
            );
        }
        println!(
            "{senders} in flight: {:.1} messages a flush, {rate:.0} messages/s; fdatasync alone \
             {disk:.0}/s, times {senders}: {}; behind blocks that were written once {written:.0}/s: {}",
            (senders * MESSAGES * ROUNDS) as f64 / flushes as f64,
            percent(rate, disk * senders as f64),
            percent(rate, written * senders as f64)
        );
        store.shutdown();
    }
}

/// Puts `messages` from so many senders, each of which has one on its way; returns the time it took.
fn put_in_flight(store: &MessageStore, senders: usize, messages: usize, body: &[u8]) -> Duration {
    let started = Instant::now();
    let threads = senders.min(THREADS);
    let put_all = |thread: usize| {
        let own: Vec<usize> = (thread..senders).step_by(threads).collect();
        let (completed, next) = mpsc::channel();
        let check = |result: &PutResult| {
            assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
        };
        let put = |sender: usize| {
            let message =
                NewMessage { record: fields(TOPIC, sender as i32, body), wait_store: true };
            let completed = completed.clone();
            let done = move |result| completed.send((sender, result)).expect("somebody waits");
            match store.put(&message) {
                PutOutcome::Done(result) => done(result),
                PutOutcome::Pending(pending) => pending.on_complete(done),
            }
        };
        let mut left = messages / senders * own.len();
        own.iter().for_each(|sender| put(*sender));
        let mut to_put = left - own.len();
        while left > 0 {
            let (sender, result) = next.recv().expect("every put is completed");
            check(&result);
            left -= 1;
            if to_put > 0 {
                to_put -= 1;
                put(sender);
            }
        }
    };
    let put_all = &put_all;
    std::thread::scope(|scope| {
        (0..threads).for_each(|thread| drop(scope.spawn(move || put_all(thread))));
    });
    started.elapsed()
}

/// How often a second the disk takes `bytes` appended to a file with reserved blocks; or with blocks
/// that have been written.
fn disk_alone(base: &Path, bytes: &[u8], written: bool) -> f64 {
    let path = base.join("alone");
    let file = File::create(&path).expect("create");
    let all = bytes.len() * FLUSHES;
    allocate(&file, all as u64).expect("allocate");
    if written {
        let zeros = vec![0; 64 * 1024];
        for at in (0..all).step_by(zeros.len()) {
            file.write_all_at(&zeros[..zeros.len().min(all - at)], at as u64).expect("write");
        }
    }
    file.sync_all().expect("fsync");
    let started = Instant::now();
    for number in 0..FLUSHES {
        file.write_all_at(bytes, (number * bytes.len()) as u64).expect("write");
        file.sync_data().expect("fdatasync");
    }
    let rate = FLUSHES as f64 / started.elapsed().as_secs_f64();
    std::fs::remove_file(&path).expect("remove");
    rate
}
