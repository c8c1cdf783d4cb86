//! The store's hot paths alone: append, dispatch and read, without a network.
//!
//! `cargo bench --bench store [-- <folder>]`. The folder should be on the disk that is meant;
//! the default is the system's temporary folder. Each line is a rate and the time of one message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq::common::config::Live;
use rocketmq::common::record::RecordFields;
use rocketmq::store::{
    Arrival, ArrivalListener, FlushDiskType, MessageStore, NewMessage, PutStatus, StoreConfig,
};

/// Messages of one measurement.
const MESSAGES: usize = 1_000_000;

struct Nobody;

impl ArrivalListener for Nobody {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}

fn fields<'a>(
    topic: &'a str,
    queue_id: i32,
    body: &'a [u8],
    properties: &'a str,
) -> RecordFields<'a> {
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
        properties,
    }
}

fn report(what: &str, messages: usize, time: Duration) {
    let nanos = time.as_nanos() as f64 / messages as f64;
    println!("{what:<48} {:>10.0}/s {nanos:>8.0} ns", 1e9 / nanos);
}

fn open(root: &std::path::Path, change: impl FnOnce(&mut StoreConfig)) -> Arc<MessageStore> {
    let mut config = StoreConfig {
        store_path_root_dir: root.to_string_lossy().into_owned(),
        disk_max_used_space_ratio: 95,
        ..StoreConfig::default()
    };
    change(&mut config);
    MessageStore::open(Arc::new(Live::new(config)), Arc::new(Nobody)).expect("open")
}

/// Processor time of the calling thread, as Linux counts it: what a put costs, however busy the
/// machine is otherwise.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// Puts `messages` from `threads` threads, each to its own queue; the time it took, and the
/// processor time of all these threads.
fn put(
    store: &Arc<MessageStore>,
    threads: usize,
    messages: usize,
    body: &[u8],
    properties: &str,
) -> (Duration, Duration) {
    let started = Instant::now();
    let put_all = |thread: usize| {
        let before = thread_cpu();
        for _ in 0..messages / threads {
            let record = fields("BenchmarkTest", thread as i32, body, properties);
            let result = store.put(&NewMessage { record, wait_store: true }).wait();
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

/// Reads every queue to its end.
fn get_all(store: &MessageStore, queues: usize) -> usize {
    let mut count = 0;
    for queue in 0..queues as i32 {
        let mut offset = 0;
        while let Some(result) = store.get("bench", "BenchmarkTest", queue, offset, 32, None) {
            if result.count == 0 {
                break;
            }
            count += result.count as usize;
            offset = result.next_begin_offset;
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
    let folder = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let base = folder.map_or_else(std::env::temp_dir, PathBuf::from).join("rocketmq-store-bench");
    let properties = "UNIQ_KEY\u{1}7F00000100002A9F0000000000000000\u{2}TAGS\u{1}TagA";
    for (body_bytes, threads) in [(128, 1), (128, 8), (1024, 1), (1024, 8)] {
        let _ = std::fs::remove_dir_all(&base);
        let store = open(&base, |_| {});
        store.start().expect("start");
        let body = vec![7; body_bytes];
        put(&store, threads, 20_000, &body, properties);
        let (time, cpu) = put(&store, threads, MESSAGES, &body, properties);
        let what = format!("put {body_bytes} B, {threads} threads");
        report(&format!("{what} (dispatch beside it)"), MESSAGES, time);
        println!("{what:<48} {:>20} ns of processor", cpu.as_nanos() / MESSAGES as u128);
        wait_for_dispatch(&store);
        let started = Instant::now();
        let count = get_all(&store, threads);
        report(&format!("get {body_bytes} B, 32 a pull"), count, started.elapsed());
        store.shutdown();
        drop(store);
        if body_bytes == 128 && threads == 1 {
            for with_index in [true, false] {
                let _ = std::fs::remove_dir_all(base.join("consumequeue"));
                let _ = std::fs::remove_dir_all(base.join("index"));
                let store = open(&base, |config| config.message_index_enable = with_index);
                let started = Instant::now();
                store.start().expect("start");
                let what =
                    if with_index { "dispatch with index" } else { "dispatch without index" };
                report(what, MESSAGES + 20_000, started.elapsed());
                store.shutdown();
            }
        }
    }
    let _ = std::fs::remove_dir_all(&base);
    let store = open(&base, |config| config.flush_disk_type = FlushDiskType::SyncFlush);
    store.start().expect("start");
    for threads in [1, 8, 64] {
        let messages = threads * 500;
        let (time, _) = put(&store, threads, messages, &[7; 1024], properties);
        report(&format!("put 1024 B, {threads} threads, SYNC_FLUSH"), messages, time);
    }
    store.shutdown();
    let _ = std::fs::remove_dir_all(&base);
}
