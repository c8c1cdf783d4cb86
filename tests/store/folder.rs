//! What the tests share: temporary folders, stores with small files, messages.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rocketmq::common::config::{ConfigStruct, Live};
use rocketmq::common::record::{RecordFields, RecordView, read_record};
use rocketmq::store::{
    Arrival, ArrivalListener, GetMessageResult, MessageStore, NewMessage, PutResult, StoreConfig,
    StoreError,
};

/// Says that a test cannot be made on this machine, and why.
pub fn skipped(what: &str, why: &str) {
    use std::io::Write;
    // Around the harness, which would swallow it.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what}: {why} ***\n");
}

/// A folder that is removed when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A new empty folder.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir()
            .join(format!("rocketmq-store-test-{}-{number}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A copy with everything in it, as a crash would leave it.
    pub fn copy(&self, name: &str) -> Self {
        let copy = Self::new(name);
        copy_folder(&self.0, &copy.0);
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Small files, so that every boundary is met; `more` are further keys.
pub fn config(root: &Path, more: &[(&str, &str)]) -> StoreConfig {
    let mut config = StoreConfig::default();
    let small = [
        ("mappedFileSizeCommitLog", "65536"),
        ("mappedFileSizeConsumeQueue", "2000"),
        ("maxHashSlotNum", "100"),
        ("maxIndexNum", "400"),
        ("diskMaxUsedSpaceRatio", "95"),
        ("deleteWhen", "25"),
        // A put that is late because the machine or its disk is busy is no refusal.
        ("osPageCacheBusyTimeOutMills", "60000"),
        ("syncFlushTimeout", "60000"),
    ];
    for (key, value) in small.iter().chain(more) {
        assert!(config.set(key, value).unwrap(), "{key}");
    }
    config.store_path_root_dir = root.to_str().unwrap().to_owned();
    config
}

/// Counts what became visible.
#[derive(Default)]
pub struct Arrivals {
    count: Mutex<usize>,
    more: Condvar,
}

impl Arrivals {
    /// How many messages became visible.
    pub fn count(&self) -> usize {
        *self.count.lock().unwrap()
    }

    /// Waits until so many messages are visible.
    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = self.count.lock().unwrap();
        while *seen < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} messages visible", *seen);
            seen = self.more.wait_timeout(seen, left).unwrap().0;
        }
    }
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, _arrival: &Arrival<'_>) {
        *self.count.lock().unwrap() += 1;
        self.more.notify_all();
    }
}

/// A store and what became visible in it.
pub struct TestStore {
    pub store: Arc<MessageStore>,
    pub arrivals: Arc<Arrivals>,
}

impl TestStore {
    /// Opens and starts a store.
    pub fn open(config: StoreConfig) -> Self {
        Self::try_open(config).unwrap()
    }

    /// Opens and starts a store, or says why not.
    pub fn try_open(config: StoreConfig) -> Result<Self, StoreError> {
        Self::open_live(&Arc::new(Live::new(config)))
    }

    /// The same with a configuration that may be changed while it runs.
    pub fn open_live(config: &Arc<Live<StoreConfig>>) -> Result<Self, StoreError> {
        let arrivals = Arc::new(Arrivals::default());
        let store = MessageStore::open(Arc::clone(config), arrivals.clone())?;
        store.start()?;
        Ok(Self { store, arrivals })
    }

    /// Stores a message and waits for the result.
    pub fn put(&self, topic: &str, queue_id: i32, body: &[u8], properties: &str) -> PutResult {
        let message =
            NewMessage { record: record(topic, queue_id, body, properties), wait_store: true };
        self.store.put(&message).wait()
    }

    /// Reads up to 32 messages.
    pub fn get(&self, topic: &str, queue_id: i32, offset: i64) -> GetMessageResult {
        self.store.get("group", topic, queue_id, offset, 32, None).unwrap()
    }

    /// All bodies of a queue from its first message on.
    pub fn bodies(&self, topic: &str, queue_id: i32) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        self.each(topic, queue_id, |record| bodies.push(record.body.to_vec()));
        bodies
    }

    /// Visits all records of a queue from its first message on.
    pub fn each(&self, topic: &str, queue_id: i32, mut visit: impl FnMut(&RecordView<'_>)) {
        let mut offset = self.store.min_offset(topic, queue_id);
        while offset < self.store.max_offset(topic, queue_id) {
            let result = self.get(topic, queue_id, offset);
            each_record(&result, &mut visit);
            assert!(result.next_begin_offset > offset, "{:?} at {offset}", result.status);
            offset = result.next_begin_offset;
        }
    }
}

/// Visits the records of a result.
pub fn each_record(result: &GetMessageResult, mut visit: impl FnMut(&RecordView<'_>)) {
    let Some(records) = &result.records else { return };
    let mut slices = Vec::new();
    records.slices(&mut slices);
    for slice in slices {
        let mut bytes = &slice[..];
        while !bytes.is_empty() {
            let record = read_record(bytes, true).unwrap();
            visit(&record);
            bytes = &bytes[record.total_size as usize..];
        }
    }
}

/// Fields of a plain message.
pub fn record<'a>(
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
        born_host: "10.0.0.1:1234".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
    }
}
