//! Power cuts: what had not been flushed reaches the disk page by page, in any order or not at all.
//! Whatever that leaves, every queue serves what it served before, up to some message that is not
//! older than the last flush; the store goes on, and nothing that was lost comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rocketmq::store::PutStatus;

use crate::folder::*;
use crate::model::Numbers;

const PAGE: usize = 4096;
const LOG_FILE: i64 = 65_536;

/// A message that was put: where its record ends, and its body.
struct Sent {
    end: i64,
    body: Vec<u8>,
}

type Model = BTreeMap<(String, i32), Vec<Sent>>;

/// Consume-queue files of several pages, and nothing but the disk's own moments of flushing.
fn settings(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut keys = vec![
        ("mappedFileSizeConsumeQueue", "20000"),
        ("flushConsumeQueueLeastPages", "1000"),
        ("flushConsumeQueueThoroughInterval", "3600000"),
        ("flushIntervalCommitLog", "20"),
    ];
    keys.extend(more);
    keys
}

/// Paths of all files below a folder, relative to it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fn collect(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder.join(below)) else { return };
        for entry in entries {
            let path = below.join(entry.unwrap().file_name());
            if folder.join(&path).is_dir() {
                collect(folder, &path, found);
            } else {
                found.insert(path);
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(folder, Path::new(""), &mut found);
    found
}

/// A folder with what a power cut leaves: `before` is what was on the disk for certain, `now` what
/// the process saw. Of the commit log everything below `flushed` is certain.
fn power_cut(before: &Path, now: &Path, flushed: i64, numbers: &mut Numbers) -> Folder {
    let left = Folder::new("power-cut");
    let mut lost_names = BTreeSet::new();
    for path in files(now) {
        let new = std::fs::read(now.join(&path)).unwrap();
        let target = left.path().join(&path);
        let folder = path.parent().unwrap().to_owned();
        let bytes = if path.starts_with("commitlog") {
            let start: i64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let certain = (flushed - start).clamp(0, LOG_FILE) as usize;
            let mut old = vec![0; new.len()];
            old[..certain].copy_from_slice(&new[..certain]);
            mix(&old, &new, numbers)
        } else if path.starts_with("consumequeue") || path.starts_with("index") {
            let old = std::fs::read(before.join(&path));
            // The names of new files are lost too, the last ones first.
            if old.is_err() && (lost_names.contains(&folder) || numbers.below(8) == 0) {
                lost_names.insert(folder);
                continue;
            }
            mix(&old.unwrap_or_else(|_| vec![0; new.len()]), &new, numbers)
        } else {
            new
        };
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
    left
}

/// Each page as it was, or as it is; how many are lost is itself a matter of luck.
fn mix(old: &[u8], new: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let chance = numbers.below(4);
    let pages = old.chunks(PAGE).zip(new.chunks(PAGE));
    let chosen = pages.flat_map(|(old, new)| if numbers.below(4) < chance { old } else { new });
    chosen.copied().collect()
}

/// Everything that is served was put there, in order, and nothing is missing that was certain.
/// Forgets what is gone.
fn check(test: &TestStore, model: &mut Model, certain: i64) {
    let end = test.store.commit_log_max_offset();
    for ((topic, queue), sent) in model {
        let found = test.bodies(topic, *queue);
        let kept = sent.iter().take_while(|message| message.end <= end).count();
        assert_eq!(found.len(), kept, "{topic} {queue}: the log ends at {end}");
        let differs = found.iter().zip(&*sent).position(|(found, sent)| *found != sent.body);
        assert_eq!(differs, None, "{topic} {queue}");
        assert!(sent.get(kept).is_none_or(|lost| lost.end > certain), "{topic} {queue}");
        sent.truncate(kept);
    }
}

/// Whether opening the store removed anything that `left` has. The store then forces everything to
/// the disk, so that it does not come back.
fn was_cut(left: &Path, opened: &Path) -> bool {
    let log_and_queues =
        |path: &PathBuf| !path.starts_with("index") && path.components().count() > 1;
    files(left).into_iter().filter(log_and_queues).any(|path| {
        let old = std::fs::read(left.join(&path)).unwrap();
        let new = std::fs::read(opened.join(&path)).unwrap_or_default();
        new.len() < old.len() || old.iter().zip(&new).any(|(old, new)| *old != 0 && old != new)
    })
}

fn flushed(test: &TestStore) -> i64 {
    test.store.runtime_info()["flushedOffset"].parse().unwrap()
}

fn run(seed: u64, more: &[(&'static str, &'static str)]) {
    let mut numbers = Numbers::new(seed);
    let keys = settings(more);
    let mut model = Model::new();
    let mut folder = Folder::new("power");
    // What is on the disk for certain, but for the log below what was flushed.
    let mut before = Folder::new("power-before");
    let mut certain: i64 = 0;
    for _ in 0..12 {
        let found = folder.copy("power-found");
        let test = TestStore::open(config(folder.path(), &keys));
        if was_cut(found.path(), folder.path()) {
            before = folder.copy("power-before");
        }
        check(&test, &mut model, certain);
        let mut dispatched = 0;
        for _ in 0..numbers.below(400) {
            let topic = format!("Topic{}", numbers.below(2));
            let queue = numbers.below(2) as i32;
            let body = vec![numbers.below(256) as u8; numbers.below(300) as usize];
            let result = test.put(&topic, queue, &body, "KEYS\u{1}k");
            assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
            let end = result.commit_log_offset + i64::from(result.wrote_bytes);
            let sent = model.entry((topic, queue)).or_default();
            assert_eq!(result.queue_offset, sent.len() as i64, "nothing lost comes back");
            sent.push(Sent { end, body });
            dispatched += 1;
        }
        match numbers.below(4) {
            0 => {
                test.arrivals.wait_for(dispatched);
                test.store.shutdown();
                certain = test.store.commit_log_max_offset();
                drop(test);
                before = folder.copy("power-before");
            }
            1 => {
                // The process dies, the machine lives on: nothing becomes more certain.
                test.arrivals.wait_for(dispatched);
                let copy = folder.copy("power");
                certain = certain.max(flushed(&test));
                drop(test);
                folder = copy;
            }
            _ => {
                // In this order: flushing goes on meanwhile, and the checkpoint tells of it.
                let now = folder.copy("power-now");
                certain = certain.max(flushed(&test));
                drop(test);
                folder = power_cut(before.path(), now.path(), certain, &mut numbers);
                before = folder.copy("power-before");
            }
        }
    }
}

#[test]
fn asynchronous_flush() {
    (1..6).for_each(|seed| run(seed, &[]));
}

#[test]
fn synchronous_flush() {
    (1..4).for_each(|seed| run(seed, &[("flushDiskType", "SYNC_FLUSH")]));
}

#[test]
fn extension_files() {
    let more = [("enableConsumeQueueExt", "true"), ("mappedFileSizeConsumeQueueExt", "8192")];
    (21..24).for_each(|seed| run(seed, &more));
}

/// After a crash of the process nothing is taken for flushed that may be in memory only.
#[test]
fn what_a_crashed_process_wrote_is_flushed_again() {
    for (mode, at_once) in [("ASYNC_FLUSH", false), ("SYNC_FLUSH", true)] {
        let folder = Folder::new("unflushed");
        let keys = [("flushDiskType", mode), ("flushIntervalCommitLog", "3600000")];
        let test = TestStore::open(config(folder.path(), &keys));
        test.put("Topic", 0, b"x", "");
        test.arrivals.wait_for(1);
        let copy = folder.copy("unflushed-copy");
        drop(test);
        let test = TestStore::open(config(copy.path(), &keys));
        let end = test.store.commit_log_max_offset();
        assert_eq!(flushed(&test), if at_once { end } else { 0 }, "{mode}");
        test.store.shutdown();
        let test = TestStore::open(config(copy.path(), &keys));
        assert_eq!(flushed(&test), end, "after a clean stop, {mode}");
    }
}
