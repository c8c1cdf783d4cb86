//! Keys that Java reads each time it uses them: a change has its effect in the running store.
//! (Those of cleaning are tested beside `clean.rs`, those of pulls beside `read.rs`.)

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq::common::config::{ConfigStruct, Live};
use rocketmq::store::fault::{Fault, Flushed, watch_flushes};
use rocketmq::store::{NewMessage, PutOutcome, PutStatus, StoreConfig};

use crate::folder::*;

/// Never, for a test.
const HOUR: &str = "3600000";
/// How long nothing is seen to happen.
const QUIET: Duration = Duration::from_millis(120);

struct Site {
    folder: Folder,
    live: Arc<Live<StoreConfig>>,
    test: TestStore,
}

impl Site {
    fn open(keys: &[(&str, &str)]) -> Self {
        let folder = Folder::new("live");
        let live = Arc::new(Live::new(config(folder.path(), keys)));
        let test = TestStore::open_live(&live).unwrap();
        Self { folder, live, test }
    }

    fn set(&self, key: &str, value: &str) {
        self.live.update(|config| assert!(config.set(key, value).unwrap(), "{key}"));
    }

    fn put(&self, bytes: usize) {
        assert_eq!(self.test.put("Topic", 0, &vec![7; bytes], "").status, PutStatus::PutOk);
    }

    fn unflushed(&self) -> i64 {
        let flushed: i64 = self.test.store.runtime_info()["flushedOffset"].parse().unwrap();
        self.test.store.commit_log_max_offset() - flushed
    }

    /// Lets no flush of the commit log begin while the gate is held.
    fn gate(&self) -> (Arc<Mutex<()>>, Fault) {
        let gate = Arc::new(Mutex::new(()));
        let passed = Arc::clone(&gate);
        let watcher = move |_: &Path, _: &Flushed| -> Box<dyn FnOnce()> {
            drop(passed.lock());
            Box::new(|| {})
        };
        (gate, watch_flushes(&self.folder.path().join("commitlog"), Arc::new(watcher)))
    }

    /// Counts flushes below a part of the store.
    fn flushes(&self, below: &str) -> (Arc<AtomicUsize>, Fault) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let watcher = move |_: &Path, what: &Flushed| -> Box<dyn FnOnce()> {
            let bytes = matches!(what, Flushed::Bytes(_));
            counted.fetch_add(usize::from(bytes), Ordering::Relaxed);
            Box::new(|| {})
        };
        (count, watch_flushes(&self.folder.path().join(below), Arc::new(watcher)))
    }
}

fn soon(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn not_yet(what: &str, condition: impl Fn() -> bool) {
    std::thread::sleep(QUIET);
    assert!(!condition(), "{what}");
}

#[test]
fn the_period_of_the_flush() {
    let site = Site::open(&[("flushIntervalCommitLog", "5"), ("flushCommitLogLeastPages", "0")]);
    site.put(10);
    soon("flushed every 5 ms", || site.unflushed() == 0);
    site.set("flushIntervalCommitLog", HOUR);
    // When the wait that was under way has ended.
    soon("nothing is flushed", || {
        site.put(10);
        std::thread::sleep(QUIET);
        site.unflushed() > 0
    });
}

#[test]
fn what_is_worth_a_flush_and_when_everything_is() {
    let keys = [
        ("flushIntervalCommitLog", "5"),
        ("flushCommitLogLeastPages", "1000"),
        ("flushCommitLogThoroughInterval", HOUR),
    ];
    let site = Site::open(&keys);
    site.put(10);
    not_yet("too little was flushed", || site.unflushed() == 0);
    site.set("flushCommitLogLeastPages", "2");
    not_yet("less than two pages were flushed", || site.unflushed() == 0);
    site.put(9000);
    soon("two pages are flushed", || site.unflushed() == 0);
    site.put(10);
    not_yet("too little was flushed", || site.unflushed() == 0);
    site.set("flushCommitLogThoroughInterval", "1");
    soon("however little it is", || site.unflushed() == 0);
}

#[test]
fn a_flush_by_the_clock_or_after_a_put() {
    let keys = [
        ("flushIntervalCommitLog", HOUR),
        ("flushCommitLogLeastPages", "0"),
        ("flushCommitLogTimed", "false"),
    ];
    let site = Site::open(&keys);
    site.put(10);
    soon("a put wakes the flush", || site.unflushed() == 0);
    site.set("flushCommitLogTimed", "true");
    site.put(10);
    not_yet("a put woke the flush", || site.unflushed() == 0);
    site.set("flushCommitLogTimed", "false");
    site.put(10);
    soon("a put wakes the flush again", || site.unflushed() == 0);
}

#[test]
fn consume_queues() {
    let keys = [
        ("flushIntervalConsumeQueue", "5"),
        ("flushConsumeQueueLeastPages", "1000"),
        ("flushConsumeQueueThoroughInterval", HOUR),
        ("mappedFileSizeConsumeQueue", "60000"),
    ];
    let site = Site::open(&keys);
    let (queues, _watching) = site.flushes("consumequeue");
    let (checkpoint, _also) = site.flushes("checkpoint");
    let units = |count: usize| {
        let before = site.test.arrivals.count();
        (0..count).for_each(|_| site.put(10));
        site.test.arrivals.wait_for(before + count);
    };
    let flushed = || queues.swap(0, Ordering::Relaxed) > 0;
    units(210);
    not_yet("too little was flushed", flushed);
    site.set("flushConsumeQueueLeastPages", "1");
    soon("a page is flushed", flushed);
    units(10);
    not_yet("less than a page was flushed", flushed);
    assert_eq!(checkpoint.load(Ordering::Relaxed), 0);
    site.set("flushConsumeQueueThoroughInterval", "1");
    soon("however little it is", flushed);
    soon("the checkpoint too", || checkpoint.load(Ordering::Relaxed) > 0);
    site.set("flushIntervalConsumeQueue", HOUR);
    // When the wait that was under way has ended.
    soon("nothing is flushed", || {
        flushed();
        units(1);
        std::thread::sleep(QUIET);
        !flushed()
    });
}

#[test]
fn the_transient_store_pool() {
    let keys = [
        ("transientStorePoolEnable", "true"),
        ("transientStorePoolSize", "2"),
        ("commitIntervalCommitLog", "5"),
        ("commitCommitLogLeastPages", "1000"),
        ("commitCommitLogThoroughInterval", HOUR),
    ];
    let site = Site::open(&keys);
    let committed = || site.test.store.uncommitted_bytes() == 0;
    site.put(10);
    not_yet("too little was committed", committed);
    site.set("commitCommitLogLeastPages", "1");
    not_yet("less than a page was committed", committed);
    site.put(5000);
    soon("a page is committed", committed);
    site.put(10);
    not_yet("too little was committed", committed);
    site.set("commitCommitLogThoroughInterval", "1");
    soon("however little it is", committed);
}

#[test]
fn how_long_a_put_waits_for_the_disk() {
    let site = Site::open(&[("flushDiskType", "SYNC_FLUSH"), ("syncFlushTimeout", "60000")]);
    site.put(10);
    let (gate, _watching) = site.gate();
    let closed = gate.lock().unwrap();
    let message = NewMessage { record: record("Topic", 0, b"x", ""), wait_store: true };
    let PutOutcome::Pending(before) = site.test.store.put(&message) else {
        panic!("not waited for")
    };
    site.set("syncFlushTimeout", "1");
    let began = Instant::now();
    let late = site.test.put("Topic", 0, b"x", "");
    assert_eq!(late.status, PutStatus::FlushDiskTimeout, "{}", late.reason);
    assert_eq!(before.wait().status, PutStatus::FlushDiskTimeout);
    assert!(began.elapsed() < Duration::from_secs(30), "nor who waits since before");
    drop(closed);
    site.set("syncFlushTimeout", "60000");
    site.put(10);
}

#[test]
fn whether_messages_are_seen_before_they_are_flushed() {
    let site = Site::open(&[("flushDiskType", "SYNC_FLUSH")]);
    site.put(10);
    site.test.arrivals.wait_for(1);
    let (gate, _watching) = site.gate();
    let closed = gate.lock().unwrap();
    let put = || {
        let record = record("Topic", 0, b"x", "");
        drop(site.test.store.put(&NewMessage { record, wait_store: true }));
    };
    put();
    not_yet("seen before it was flushed", || site.test.arrivals.count() > 1);
    site.set("dispatchUnflushed", "true");
    put();
    soon("seen at once", || site.test.arrivals.count() > 1);
    drop(closed);
    site.test.arrivals.wait_for(3);
}

#[test]
fn what_goes_into_the_index_and_what_comes_out() {
    let site = Site::open(&[]);
    let put = |key: &str| {
        let before = site.test.arrivals.count();
        site.test.put("Topic", 0, b"x", &format!("KEYS\u{1}{key}"));
        site.test.arrivals.wait_for(before + 1);
    };
    let found = |key: &str| site.test.store.query("Topic", key, 99, 0, i64::MAX).count;
    put("a");
    site.set("messageIndexEnable", "false");
    put("b");
    site.set("messageIndexEnable", "true");
    (0..4).for_each(|_| put("c"));
    assert_eq!(["a", "b", "c"].map(found), [1, 0, 4]);
    site.set("maxMsgsNumBatch", "3");
    assert_eq!(found("c"), 3);
}

#[test]
fn how_many_light_queues_are_read() {
    let site = Site::open(&[("enableLmq", "true"), ("enableMultiDispatch", "true")]);
    for name in ["%LMQ%a", "%LMQ%b"] {
        site.test.put(name, 0, b"x", "");
    }
    site.test.arrivals.wait_for(2);
    let read = || site.test.store.get("g", "%LMQ%a", 0, 0, 9, None).is_some();
    assert!(read());
    site.set("maxLmqConsumeQueueNum", "1");
    assert!(!read());
    site.set("maxLmqConsumeQueueNum", "2");
    assert!(read());
}

#[test]
fn the_duplication_mode_stops_dispatch() {
    let site = Site::open(&[]);
    site.put(10);
    site.test.arrivals.wait_for(1);
    site.set("duplicationEnable", "true");
    // A round of dispatching that had begun takes what it finds, and is the last one.
    let mut count = 1;
    for _ in 0..2 {
        site.put(10);
        std::thread::sleep(QUIET);
        count += 1;
        if site.test.arrivals.count() < count {
            break;
        }
    }
    assert!(site.test.arrivals.count() < count, "dispatched");
    site.set("duplicationEnable", "false");
    site.put(10);
    site.test.arrivals.wait_for(count + 1);
}

#[test]
fn which_folders_get_new_log_files() {
    let folder = Folder::new("live-paths");
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    let list = paths.each_ref().map(|path| path.to_str().unwrap()).join(",");
    let site = Site::open(&[("storePathCommitLog", &list)]);
    let files = |path: &Path| std::fs::read_dir(path).map_or(0, Iterator::count);
    // A file is made ahead of its use: the change holds for the one after it.
    let fill = || (0..24).for_each(|_| site.put(30_000));
    fill();
    let counts = paths.each_ref().map(|path| files(path));
    assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
    site.set("readOnlyCommitLogStorePaths", paths[0].to_str().unwrap());
    fill();
    let later = paths.each_ref().map(|path| files(path));
    assert!(later[0] <= counts[0] + 1 && later[1] >= counts[1] + 10, "{counts:?} {later:?}");
    site.test.store.shutdown();
}

/// A new file is warmed by making its pages ready; in SYNC_FLUSH they are forced to the disk piece by
/// piece, so that the first put into it does not wait for all of them.
#[test]
fn warm_files_and_the_pages_between_two_flushes() {
    let keys = [
        ("flushDiskType", "SYNC_FLUSH"),
        ("warmMapedFileEnable", "false"),
        ("writeCommitLogAhead", "false"),
    ];
    let site = Site::open(&keys);
    let seen: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let watcher = move |path: &Path, what: &Flushed| -> Box<dyn FnOnce()> {
        if let Flushed::Bytes(range) | Flushed::Zeros(range) = what {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            noted.lock().unwrap().push((name, range.len()));
        }
        Box::new(|| {})
    };
    let _watching = watch_flushes(&site.folder.path().join("commitlog"), Arc::new(watcher));
    // Pieces of whole pages: puts of less than one flush none.
    let pieces = |file: i64| {
        let name = format!("{:020}", file * 65_536);
        let seen = seen.lock().unwrap();
        seen.iter()
            .filter(|(of, bytes)| *of == name && *bytes >= 4096)
            .map(|(_, bytes)| bytes / 4096)
            .collect::<Vec<_>>()
    };
    site.put(10);
    site.set("warmMapedFileEnable", "true");
    site.set("flushLeastPagesWhenWarmMapedFile", "4");
    let put_until = |offset: i64| {
        while site.test.store.commit_log_max_offset() < offset {
            site.put(2000);
        }
    };
    // File 1 is made when file 0 is taken, file 2 when file 1 is, and so on.
    put_until(65_536 * 2 + 1);
    soon("file 3 is warm", || pieces(3) == [4; 4]);
    site.set("flushLeastPagesWhenWarmMapedFile", "8");
    put_until(65_536 * 4 + 1);
    soon("file 5 is warm", || pieces(5) == [8; 2]);
    site.set("warmMapedFileEnable", "false");
    put_until(65_536 * 7 + 1);
    assert!(pieces(7).is_empty(), "{:?}", pieces(7));
    // Its first page is there as soon as the file is.
    site.set("writeCommitLogAhead", "true");
    put_until(65_536 * 9 + 1);
    assert_eq!(pieces(9), [15], "zeros");
}
