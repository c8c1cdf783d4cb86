//! What the store's own tests share: temporary folders, stores and messages.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::message_store::{Arrival, ArrivalListener, MessageStore};
use super::{NewMessage, PutResult, PutStatus, StoreConfig};
use crate::common::config::Live;
use crate::common::record::RecordFields;

/// A folder that is removed when this is dropped.
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// A new empty folder.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir()
            .join(format!("rocketmq-store-{}-{number}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Nobody;

impl ArrivalListener for Nobody {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}

/// Opens and starts a store with a small index in `folder`.
pub fn open(folder: &TempFolder, change: impl FnOnce(&mut StoreConfig)) -> Arc<MessageStore> {
    let mut config = StoreConfig {
        store_path_root_dir: folder.path().to_str().unwrap().to_owned(),
        mapped_file_size_commit_log: 65_536,
        max_hash_slot_num: 10,
        max_index_num: 9,
        disk_max_used_space_ratio: 95,
        // A put that is late because the machine or its disk is busy is no refusal.
        os_page_cache_busy_time_out_mills: 60_000,
        sync_flush_timeout: 60_000,
        ..StoreConfig::default()
    };
    change(&mut config);
    let store = MessageStore::open(Arc::new(Live::new(config)), Arc::new(Nobody)).unwrap();
    store.start().unwrap();
    store
}

/// What a record of a plain message in queue 0 has.
pub fn fields<'a>(topic: &'a str, body: &'a [u8], properties: &'a str) -> RecordFields<'a> {
    RecordFields {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
    }
}

/// Stores a message in queue 0 of a topic.
pub fn put(store: &MessageStore, topic: &str, body: &[u8]) -> PutResult {
    let record = fields(topic, body, "KEYS\u{1}k");
    store.put(&NewMessage { record, wait_store: true }).wait()
}

/// Stores messages in queue 0 of a topic, and waits until they are visible.
pub fn put_all(store: &MessageStore, topic: &str, count: i64, body: impl Fn(i64) -> Vec<u8>) {
    let end = store.max_offset(topic, 0) + count;
    for number in 0..count {
        assert_eq!(put(store, topic, &body(number)).status, PutStatus::PutOk);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.max_offset(topic, 0) < end {
        assert!(Instant::now() < deadline, "{topic} is not dispatched up to {end}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
