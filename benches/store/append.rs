//! What a put costs beside the one thing it cannot do without: copying the record into the map.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq::common::record::record_size;
use rocketmq::store::mapped_file::MappedFile;

use super::{TOPIC, empty, fields, get, open, percent, put, report, wait_for_dispatch};

/// Most messages of one measurement, and most bytes.
const MESSAGES: usize = 1_000_000;
const BYTES: usize = 3 << 30;
/// Bytes of the file that records are copied into.
const FILE_BYTES: usize = 1 << 30;

/// Measures.
pub fn run(base: &Path) {
    for body_bytes in [128, 1024, 65_536] {
        let body = vec![7; body_bytes];
        let record = vec![7; record_size(&fields(TOPIC, 0, &body))];
        empty(base);
        let ready = copy(base, &record, true);
        let untouched = copy(base, &record, false);
        report(&format!("copy {body_bytes} B, pages ready"), 1, ready);
        report(&format!("copy {body_bytes} B, pages not touched before"), 1, untouched);
        for threads in [1, 8] {
            empty(base);
            let messages = MESSAGES.min(BYTES / body_bytes);
            let (store, _) = open(base, |_| {});
            put(&store, threads, threads, messages / 50, &body);
            let (time, cpu) = put(&store, threads, threads, messages, &body);
            let what = format!("put {body_bytes} B, {threads} threads");
            report(&format!("{what} (dispatch beside it)"), messages, time);
            let one = time.as_secs_f64() / messages as f64;
            println!(
                "{what:<56} {:>10} ns of processor; rate {} of copying, {} of copying to new pages",
                cpu.as_nanos() / messages as u128,
                percent(ready.as_secs_f64(), one),
                percent(untouched.as_secs_f64(), one),
            );
            wait_for_dispatch(&store);
            let started = Instant::now();
            let count = (0..threads as i32).map(|queue| get(&store, queue, 0, usize::MAX)).sum();
            report(&format!("get {body_bytes} B, 32 a pull"), count, started.elapsed());
            store.shutdown();
            if body_bytes == 128 && threads == 1 {
                dispatch_again(base, messages + messages / 50);
            }
        }
    }
}

/// Time of appending one record to a mapped file, whose pages are made beforehand or not.
fn copy(base: &Path, record: &[u8], ready: bool) -> Duration {
    std::fs::create_dir_all(base).expect("folder");
    let path = base.join("copy");
    let file = Arc::new(MappedFile::create(&path, 0, FILE_BYTES).expect("create"));
    file.reserve(FILE_BYTES).expect("reserve");
    if ready {
        file.populate(0, FILE_BYTES);
    }
    let mut appender = file.appender().expect("the only appender");
    let count = (FILE_BYTES / record.len()).min(MESSAGES);
    let started = Instant::now();
    for _ in 0..count {
        appender.append(record).expect("append");
    }
    let time = started.elapsed() / count as u32;
    file.delete().expect("delete");
    time
}

/// Builds queues and index of a store again.
fn dispatch_again(base: &Path, messages: usize) {
    for with_index in [true, false] {
        let _ = std::fs::remove_dir_all(base.join("consumequeue"));
        let _ = std::fs::remove_dir_all(base.join("index"));
        let (store, time) = open(base, |config| config.message_index_enable = with_index);
        let what = if with_index { "dispatch with index" } else { "dispatch without index" };
        report(what, messages, time);
        store.shutdown();
    }
}
