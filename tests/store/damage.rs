//! Every file of a store, damaged at every byte that has a meaning, and cut at lengths: nothing panics,
//! no message is served that was not put there, and what a start refuses names the file.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rocketmq::store::PutStatus;

use crate::folder::*;

const COUNT: usize = 8;
const KEYS: [(&str, &str); 6] = [
    ("mappedFileSizeCommitLog", "4096"),
    ("mappedFileSizeConsumeQueue", "100"),
    ("enableConsumeQueueExt", "true"),
    ("mappedFileSizeConsumeQueueExt", "1024"),
    ("maxHashSlotNum", "5"),
    ("maxIndexNum", "8"),
];

fn body(number: usize) -> Vec<u8> {
    format!("body of message {number}").into_bytes()
}

/// A small store, stopped or not.
fn store(clean: bool) -> Folder {
    let folder = Folder::new("damage");
    let test = TestStore::open(config(folder.path(), &KEYS));
    for number in 0..COUNT {
        test.put("Topic", number as i32 % 2, &body(number), "KEYS\u{1}k\u{2}TAGS\u{1}t");
    }
    test.arrivals.wait_for(COUNT);
    if clean {
        test.store.shutdown();
    }
    folder.copy("damage-template")
}

/// Files below a part of the store, each with the number of bytes up to the last that is not zero.
fn files(root: &Path, below: &str) -> Vec<(PathBuf, usize)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    let part = root.join(below);
    if part.is_dir() {
        collect(&part, &mut found)
    } else {
        found.push(part)
    }
    found.sort();
    let used = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    };
    found.into_iter().map(|path| (path.clone(), used(&path))).collect()
}

/// Opens the store after damage in `part` of it. What it serves was put there, in this order; and it
/// goes on.
fn check(folder: &Folder, part: &str, what: &str) {
    let test = match TestStore::try_open(config(folder.path(), &KEYS)) {
        Ok(test) => test,
        Err(error) => {
            let error = error.to_string();
            return assert!(error.contains(part), "{what}: {error}");
        }
    };
    for queue in 0..2 {
        // Of a record itself only sizes, offset and body are protected: it may claim another queue.
        let queues = if part == "commitlog" { 0..2 } else { queue..queue + 1 };
        let put: Vec<_> = queues.flat_map(|queue| (queue..COUNT).step_by(2).map(body)).collect();
        let mut last = None;
        for found in test.bodies("Topic", queue as i32) {
            let at = put.iter().position(|put| *put == found);
            assert!(at.is_some(), "{what}: {:?}", String::from_utf8_lossy(&found));
            assert!(part == "commitlog" || at > last, "{what}: {at:?} after {last:?}");
            last = at;
        }
        test.store.offset_by_time("Topic", queue as i32, i64::MAX);
    }
    test.store.query("Topic", "k", 64, 0, i64::MAX);
    let before = test.arrivals.count();
    let result = test.put("Fresh", 0, b"goes on", "KEYS\u{1}k");
    assert_eq!(result.status, PutStatus::PutOk, "{what}: {}", result.reason);
    test.arrivals.wait_for(before + 1);
    assert_eq!(test.bodies("Fresh", 0), [b"goes on"], "{what}");
}

/// Flips every byte of the files of a part up to the last that is not zero and four more, as far as
/// they lie in `range`, and cuts the files at some lengths. After a stop or a crash, or both.
fn damage(part: &str, range: Range<u64>, after: &[(bool, usize)]) {
    for &(clean, step) in after {
        let template = store(clean);
        for (path, used) in files(template.path(), part) {
            let name = path.strip_prefix(template.path()).unwrap();
            let size = path.metadata().unwrap().len();
            let range = range.start..range.end.min(used as u64 + 4).min(size);
            for at in range.step_by(step) {
                let copy = template.copy("damage-copy");
                let file = OpenOptions::new().read(true).write(true).open(copy.path().join(name));
                let file = file.unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                byte[0] ^= [0x80, 0xFF, 0x01, 0x10][at as usize % 4];
                file.write_all_at(&byte, at).unwrap();
                let what = format!("byte {at} of {}, clean: {clean}", name.display());
                check(&copy, part, &what);
            }
            let lengths = [0, 1, 19, 39, used as u64 / 2, used as u64, size.saturating_sub(1)];
            for length in lengths.into_iter().filter(|length| *length < size) {
                let copy = template.copy("damage-copy");
                let file = OpenOptions::new().write(true).open(copy.path().join(name)).unwrap();
                file.set_len(length).unwrap();
                let what = format!("{length} bytes of {}, clean: {clean}", name.display());
                check(&copy, part, &what);
            }
        }
    }
}

const ALL: Range<u64> = 0..u64::MAX;

#[test]
fn every_byte_of_the_commit_log() {
    // All bytes of a record, and the first ones of the next: one is like the other.
    damage("commitlog", 260..420, &[(false, 1), (true, 3)]);
}

#[test]
fn every_byte_of_a_consume_queue() {
    damage("consumequeue", ALL, &[(false, 1), (true, 3)]);
}

#[test]
fn every_byte_of_the_extension_files() {
    damage("consumequeue_ext", ALL, &[(false, 1), (true, 3)]);
}

#[test]
fn every_byte_of_the_index() {
    // After a crash it is made again.
    damage("index", ALL, &[(true, 1)]);
}

#[test]
fn every_byte_of_the_checkpoint() {
    damage("checkpoint", ALL, &[(false, 1), (true, 3)]);
}
