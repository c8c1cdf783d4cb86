//! The store alone, without a network: what a put costs, and whether it stays so when there are many
//! queues, many messages or a crash behind it.
//!
//! `cargo bench --bench store -- [PART...] [FOLDER/]`
//!
//! | part | what is measured |
//! |---|---|
//! | `append` | puts and pulls, and how a put compares with copying the record into a mapped file |
//! | `group` | SYNC_FLUSH: messages a flush, and how the rate compares with the disk's own |
//! | `queues` | 8 queues and 20,000: rates, memory, start |
//! | `recovery` | opening a store of 4 GiB after a kill and after a clean stop |
//! | `backlog` | rates with 20 million messages stored and with none |
//!
//! Without a part: `append` and `group`. A word with a slash is the folder that is used; it should be
//! on the disk that is meant, with 8 GB free. The default is the system's temporary folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq::common::config::Live;
use rocketmq::common::record::RecordFields;
use rocketmq::store::{Arrival, ArrivalListener, MessageStore, NewMessage, PutStatus, StoreConfig};

mod append;
mod backlog;
mod group;
mod queues;
mod recovery;

/// Topic of all messages.
const TOPIC: &str = "BenchmarkTest";
/// Properties as a Java producer sends them.
const PROPERTIES: &str = "UNIQ_KEY\u{1}7F00000100002A9F0000000000000000\u{2}TAGS\u{1}TagA";

struct Nobody;

impl ArrivalListener for Nobody {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}

fn fields<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> RecordFields<'a> {
    RecordFields {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: ([10, 0, 0, 1], 1234).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: PROPERTIES,
    }
}

fn report(what: &str, messages: usize, time: Duration) {
    let nanos = time.as_nanos() as f64 / messages as f64;
    println!("{what:<56} {:>10.0}/s {nanos:>8.0} ns", 1e9 / nanos);
}

/// A share in percent.
fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", part / whole * 100.0)
}

/// Opens and starts a store; also says how long that took.
fn open(root: &Path, change: impl FnOnce(&mut StoreConfig)) -> (Arc<MessageStore>, Duration) {
    let mut config = StoreConfig {
        store_path_root_dir: root.to_string_lossy().into_owned(),
        disk_max_used_space_ratio: 95,
        ..StoreConfig::default()
    };
    change(&mut config);
    let started = Instant::now();
    let store = MessageStore::open(Arc::new(Live::new(config)), Arc::new(Nobody)).expect("open");
    store.start().expect("start");
    (store, started.elapsed())
}

/// An empty folder.
fn empty(root: &Path) {
    let _ = std::fs::remove_dir_all(root);
}

/// Processor time of the calling thread, as Linux counts it: what a put costs, however busy the
/// machine is otherwise.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// [`put_to`] the queues of one topic.
fn put(
    store: &MessageStore,
    threads: usize,
    queues: usize,
    messages: usize,
    body: &[u8],
) -> (Duration, Duration) {
    put_to(store, threads, queues, messages, body, &|queue| (TOPIC, queue as i32))
}

/// Puts `messages` from `threads` threads, thread *t* to the queues *t*, *t* + `threads`, … below
/// `queues` in turn, of which `place` tells topic and id; returns the time it took, and the processor
/// time of all these threads.
fn put_to<'a>(
    store: &MessageStore,
    threads: usize,
    queues: usize,
    messages: usize,
    body: &[u8],
    place: &(dyn Fn(usize) -> (&'a str, i32) + Sync),
) -> (Duration, Duration) {
    let started = Instant::now();
    let put_all = |thread: usize| {
        let before = thread_cpu();
        let own = (thread..queues.max(threads)).step_by(threads);
        for queue in own.cycle().take(messages / threads) {
            let (topic, queue_id) = place(queue);
            let record = fields(topic, queue_id, body);
            let message = NewMessage { record, wait_store: true };
            let result = store.put(&message).wait();
            assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
        }
        thread_cpu().saturating_sub(before)
    };
    let put_all = &put_all;
    let cpu = std::thread::scope(|scope| {
        let start = |thread| scope.spawn(move || put_all(thread));
        let threads: Vec<_> = (0..threads).map(start).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    (started.elapsed(), cpu)
}

/// Pulls up to `limit` messages of a queue from `offset` on, 32 at a time; returns how many.
fn get(store: &MessageStore, queue: i32, mut offset: i64, limit: usize) -> usize {
    let mut count = 0;
    while count < limit {
        match store.get("bench", TOPIC, queue, offset, 32, None) {
            Some(result) if result.count > 0 => {
                count += result.count as usize;
                offset = result.next_begin_offset;
            }
            _ => break,
        }
    }
    count
}

fn wait_for_dispatch(store: &MessageStore) {
    while store.dispatch_behind_bytes() > 0 {
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn main() {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let (folders, parts): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.contains('/'));
    let base = folders.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let base = base.join("rocketmq-store-bench");
    let mut parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
    if parts.is_empty() {
        parts = vec!["append", "group"];
    }
    for part in parts {
        empty(&base);
        match part {
            "append" => append::run(&base),
            "group" => group::run(&base),
            "queues" => queues::run(&base),
            "recovery" => recovery::run(&base),
            "backlog" => backlog::run(&base),
            // What the measurement of recovery starts, to kill it.
            recovery::FILL => return recovery::fill(&base),
            other => panic!("there is no part {other:?}"),
        }
        empty(&base);
    }
}
