//! A store directory with damage: it opens or says why not, and an open store goes on.
//!
//! The input is a list of changes to the files of a small store that was killed:
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | bit 7: cut the file at the position; bit 6: remove it; else write the bytes; bits 0 to 5: file |
//! | 2 | position |
//! | 1 | number of bytes, at most 31 |
//! | n | bytes |
#![no_main]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use rocketmq::common::config::{DynConfig, Live};
use rocketmq::common::record::RecordFields;
use rocketmq::store::{
    Arrival, ArrivalListener, MessageStore, NewMessage, PutResult, PutStatus, StoreConfig,
    StoreError,
};

struct Nobody;

impl ArrivalListener for Nobody {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}

fn config(root: &Path) -> StoreConfig {
    let mut config = StoreConfig::default();
    for (key, value) in [
        ("mappedFileSizeCommitLog", "4096"),
        ("mappedFileSizeConsumeQueue", "400"),
        ("enableConsumeQueueExt", "true"),
        ("mappedFileSizeConsumeQueueExt", "1024"),
        ("maxHashSlotNum", "10"),
        ("maxIndexNum", "40"),
        ("deleteWhen", "25"),
        ("timerWheelEnable", "false"),
        ("storePathRootDir", &root.to_string_lossy()),
    ] {
        assert!(config.set_key(key, value).is_ok_and(|known| known), "{key}");
    }
    config
}

fn put(store: &MessageStore, topic: &str, queue_id: i32, body: &[u8]) -> PutResult {
    let record = RecordFields {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: "KEYS\u{1}k\u{2}TAGS\u{1}t",
    };
    store.put(&NewMessage { record, wait_store: true }).wait()
}

fn wait_for(store: &MessageStore, topic: &str, end: i64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.max_offset(topic, 0) < end {
        assert!(Instant::now() < deadline, "the store goes on");
        std::thread::yield_now();
    }
}

fn open(root: &Path) -> Result<Arc<MessageStore>, StoreError> {
    let store = MessageStore::open(Arc::new(Live::new(config(root))), Arc::new(Nobody))?;
    store.start()?;
    Ok(store)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
    files.sort();
}

/// Relative paths and bytes of a small store that was killed.
fn template() -> &'static Vec<(PathBuf, Vec<u8>)> {
    static TEMPLATE: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let root = folder("template");
        let store = open(&root).expect("a new store");
        for number in 0..60 {
            let result = put(&store, "T", number % 2, &[number as u8; 60]);
            assert_eq!(result.status, PutStatus::PutOk);
        }
        wait_for(&store, "T", 30);
        let mut files = Vec::new();
        collect(&root, &mut files);
        let read = |path: PathBuf| {
            let bytes = std::fs::read(&path).expect("read");
            (path.strip_prefix(&root).expect("below it").to_owned(), bytes)
        };
        let files = files.into_iter().map(read).collect();
        store.shutdown();
        let _ = std::fs::remove_dir_all(&root);
        files
    })
}

fn folder(name: &str) -> PathBuf {
    let name = format!("rocketmq-fuzz-{}-{name}", std::process::id());
    let root = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&root);
    root
}

fn apply(root: &Path, mut changes: &[u8]) {
    let files = template();
    while let [what, high, low, count, rest @ ..] = changes {
        let path = root.join(&files[usize::from(what & 0x3F) % files.len()].0);
        let position = u64::from(u16::from_be_bytes([*high, *low]));
        let (bytes, rest) = rest.split_at(usize::from(count & 31).min(rest.len()));
        changes = rest;
        let Ok(file) = std::fs::File::options().write(true).open(&path) else { continue };
        let length = file.metadata().map_or(0, |meta| meta.len());
        let done = match what >> 6 {
            0b10 | 0b11 => file.set_len(position.min(length)),
            0b01 => std::fs::remove_file(&path),
            _ if position + bytes.len() as u64 <= length => file.write_all_at(bytes, position),
            _ => Ok(()),
        };
        done.expect("the change");
    }
}

fuzz_target!(|changes: &[u8]| {
    let root = folder("store");
    for (path, bytes) in template() {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("create");
        std::fs::write(path, bytes).expect("write");
    }
    apply(&root, changes);
    if let Ok(store) = open(&root) {
        for (topic, queues) in store.topics() {
            for queue in queues {
                for offset in (0..store.max_offset(&topic, queue).min(100)).step_by(3) {
                    store.get("g", &topic, queue, offset, 32, None);
                    store.store_timestamp(&topic, queue, offset);
                }
                store.offset_by_time(&topic, queue, 5);
            }
        }
        store.query("T", "k", 64, 0, i64::MAX);
        let result = put(&store, "Fresh", 0, b"goes on");
        assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
        wait_for(&store, "Fresh", result.queue_offset + 1);
        store.shutdown();
        drop(store);
        // After a clean stop recovery reads more of the log than after a crash, and may be the first to
        // see what was damaged.
        if let Err(error) = open(&root) {
            assert!(error.to_string().starts_with("the commit log is damaged at"), "{error}");
        }
    }
    let _ = std::fs::remove_dir_all(&root);
});
