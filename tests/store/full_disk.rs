//! A disk that really is full: a small file system of the test's own, filled, freed and filled again.
//! The faults of `faults.rs` are injected; here the kernel itself refuses, and would kill the process
//! for writing to a mapped page without a block.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rocketmq::broker::config::BrokerConfig;
use rocketmq::broker::consumer_offsets::ConsumerOffsets;
use rocketmq::common::os::DiskSpace;
use rocketmq::store::PutStatus;
use rocketmq::store::fault::inject_space;
use rocketmq::store::inspect::StoreFolder;

use crate::folder::*;
use crate::timer::{START, Timed};

/// Bytes of a file of the log.
const LOG_FILE: i64 = 262_144;
/// Tells the child process where the small file system is mounted.
const CHILD: &str = "ROCKETMQ_STORE_SMALL_DISK";
/// Mounts it, in name spaces of its own that need no rights, and runs the rest of the words there.
const MOUNT: &str = r#"mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@""#;

fn in_small_disk(folder: &Path, words: &[&str]) -> std::io::Result<std::process::Output> {
    let command = ["-rm", "sh", "-c", MOUNT];
    Command::new("unshare").args(command).arg(folder).args(words).env(CHILD, folder).output()
}

#[test]
fn everything_is_refused_and_nothing_is_lost() {
    let folder = Folder::new("small-disk");
    let allowed = in_small_disk(folder.path(), &["true"]);
    if !allowed.is_ok_and(|output| output.status.success()) {
        let why = "this system lets nobody mount a tmpfs in a name space (unshare -rm)";
        return skipped("a disk that is full", why);
    }
    let own = std::env::current_exe().unwrap();
    let words = [own.to_str().unwrap(), "--exact", "full_disk::child", "--nocapture"];
    let output = in_small_disk(folder.path(), &words).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{text}");
}

/// Leaves no free block.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
    assert!(file.write_all(&[1]).is_err() || file.sync_all().is_err());
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn child() {
    let Some(disk) = std::env::var_os(CHILD) else { return };
    let disk = Path::new(&disk);
    let (root, ballast) = (disk.join("store"), disk.join("ballast"));
    let log_file = LOG_FILE.to_string();
    let keys = [
        ("mappedFileSizeCommitLog", log_file.as_str()),
        ("mappedFileSizeConsumeQueue", "40000"),
        ("cleanFileForciblyEnable", "false"),
    ];
    let timed = Timed::open(&root, &keys, START);
    let offsets = ConsumerOffsets::new(&BrokerConfig::default(), &root);
    offsets.commit("group", "Long", 0, 1);
    offsets.persist().unwrap();
    let saved = std::fs::read(root.join("config/consumerOffset.json")).unwrap();
    let test = &timed.test;
    let mut sent = Vec::new();
    for round in 0..2 {
        // Something is in every file, then no block is left.
        sent.extend(put(test, "Long", 20, 50).0);
        timed.put(&format!("timed{round}"), START + 5000 * (round + 1), "");
        // The log's next file may have been asked for in vain: all small messages fit into this one.
        while LOG_FILE - test.store.commit_log_max_offset() % LOG_FILE < 150_000 {
            sent.extend(put(test, "Large", 1, 9000).0);
        }
        // The look at the disk now and then sees nothing of it: whatever writes has to find out.
        let unseen = inject_space(disk, DiskSpace { total: 100, free: 100, available: 100 });
        fill(&ballast);

        // The open log file has its blocks; units beyond the first page of a queue have none, and
        // messages are taken until the dispatcher finds that out, and for long.
        let (stored, refused) = put(test, "Long", 400, 50);
        sent.extend(stored);
        if let Some((status, reason)) = refused {
            assert_eq!(status, PutStatus::ServiceNotAvailable, "{reason}");
            assert!(reason.contains("consume queue"), "the log has room: {reason}");
        }
        wait_until("dispatch is held", || test.store.dispatch_behind_bytes() > 0);
        drop(unseen);
        offsets.commit("group", "Long", 0, 7 + round);
        let error = offsets.persist().unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
        // A timed message goes nowhere, but stays.
        timed.timer.turn(START + 5000 * (round + 1));
        let (stored, refused) = put(test, "Large", 200, 9000);
        sent.extend(stored);
        let (status, reason) = refused.expect("nothing fits any more");
        let told = [PutStatus::CreateMappedFileFailed, PutStatus::ServiceNotAvailable];
        assert!(told.contains(&status), "{status:?}: {reason}");
        assert!(!reason.is_empty());
        assert!(
            round > 0 || std::fs::read(root.join("config/consumerOffset.json")).unwrap() == saved
        );

        // There is room again: the store takes messages by itself, and everything is there.
        std::fs::remove_file(&ballast).unwrap();
        wait_until("messages are taken again", || {
            test.put("Again", 0, b"x", "").status == PutStatus::PutOk
        });
        wait_until("dispatch goes on", || test.store.dispatch_behind_bytes() == 0);
        offsets.persist().unwrap();
        let due = timed.at(START + 5000 * (round + 1));
        assert_eq!(due.len() as i64, round + 1, "{due:?}");
        check(test, &sent);
    }
    timed.stop();
    verify_with_holes(&root, disk);
    let test = TestStore::open(config(&root, &keys));
    check(&test, &sent);
    let loaded = ConsumerOffsets::new(&BrokerConfig::default(), &root);
    loaded.load().unwrap();
    assert_eq!(loaded.get("group", "Long", 0), Some(8));
}

/// Looks at a store whose log has a hole behind its end, as most have, when no block is left for it.
fn verify_with_holes(root: &Path, disk: &Path) {
    let store = StoreFolder::open(root).unwrap();
    let end = store.log_end();
    let name = format!("commitlog/{:020}", end - end % LOG_FILE);
    drop(store);
    let log = File::options().write(true).open(root.join(name)).unwrap();
    log.set_len((end % LOG_FILE) as u64).unwrap();
    log.set_len(LOG_FILE as u64).unwrap();
    let ballast = disk.join("ballast");
    fill(&ballast);
    let store = StoreFolder::open(root).unwrap();
    let verified = store.verify(|problem| panic!("{problem:?}")).unwrap();
    assert!(verified.records > 0);
    std::fs::remove_file(&ballast).unwrap();
}

/// Topic and body of messages that were acknowledged, and why the first other one was not.
type Puts = (Vec<(String, Vec<u8>)>, Option<(PutStatus, String)>);

/// Puts up to `count` messages, until one is refused.
fn put(test: &TestStore, topic: &str, count: usize, bytes: usize) -> Puts {
    let mut stored = Vec::new();
    for number in 0..count {
        let body = vec![number as u8; bytes];
        let result = test.put(topic, 0, &body, "KEYS\u{1}k");
        if result.status != PutStatus::PutOk {
            return (stored, Some((result.status, result.reason)));
        }
        stored.push((topic.to_owned(), body));
    }
    (stored, None)
}

fn check(test: &TestStore, sent: &[(String, Vec<u8>)]) {
    for topic in ["Long", "Large"] {
        let sent = sent.iter().filter(|(to, _)| to == topic).map(|(_, body)| body);
        assert!(test.bodies(topic, 0).iter().eq(sent), "{topic}");
    }
}
