//! Crashes and damage: what was whole is served, what was cut is forgotten, damage in the middle is
//! refused, and nothing panics whatever the bytes are.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rocketmq::common::config::Live;
use rocketmq::store::fault::{Operation, inject, inject_margin};
use rocketmq::store::{Arrival, ArrivalListener, MessageStore, PutStatus};

use crate::folder::*;

const TOPIC: &str = "Topic";

/// A store with `count` messages of growing size, as a crash leaves it: not stopped.
fn crashed(name: &str, count: usize, more: &[(&str, &str)]) -> (Folder, Vec<(i64, i64)>) {
    let folder = Folder::new(name);
    let test = TestStore::open(config(folder.path(), more));
    let mut places = Vec::new();
    for number in 0..count {
        let result =
            test.put(TOPIC, (number % 2) as i32, &body(number), "KEYS\u{1}k\u{2}TAGS\u{1}t");
        assert_eq!(result.status, PutStatus::PutOk);
        places.push((result.commit_log_offset, i64::from(result.wrote_bytes)));
    }
    test.arrivals.wait_for(count);
    (folder.copy("copy"), places)
}

fn body(number: usize) -> Vec<u8> {
    vec![number as u8; 20 + number % 50]
}

/// Overwrites bytes of the log.
fn write_log(root: &Path, offset: i64, bytes: &[u8]) {
    let size = 65_536;
    let path = root.join("commitlog").join(format!("{:020}", offset / size * size));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, (offset % size) as u64).unwrap();
}

fn read_log(root: &Path, offset: i64, bytes: i64) -> Vec<u8> {
    let size = 65_536;
    let path = root.join("commitlog").join(format!("{:020}", offset / size * size));
    let mut buffer = vec![0; bytes as usize];
    std::fs::File::open(path).unwrap().read_exact_at(&mut buffer, (offset % size) as u64).unwrap();
    buffer
}

/// The store serves the first `count` messages, and takes more.
fn check_serves(test: &TestStore, count: usize) {
    for queue in 0..2 {
        let expected: Vec<_> = (queue..count).step_by(2).map(body).collect();
        assert!(test.bodies(TOPIC, queue as i32) == expected, "queue {queue} of {count}");
    }
    let before = test.arrivals.count();
    let result = test.put(TOPIC, (count % 2) as i32, &body(count), "");
    assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
    assert_eq!(result.queue_offset, (count / 2) as i64);
    test.arrivals.wait_for(before + 1);
    assert_eq!(*test.bodies(TOPIC, (count % 2) as i32).last().unwrap(), body(count));
}

#[test]
fn a_crash_loses_nothing_that_was_written() {
    let (folder, _) = crashed("crash", 2000, &[]);
    assert!(folder.path().join("abort").exists());
    let test = TestStore::open(config(folder.path(), &[]));
    check_serves(&test, 2000);
}

#[test]
fn lost_consume_queues_and_index_are_built_again() {
    let (folder, _) = crashed("rebuild", 1000, &[]);
    std::fs::remove_dir_all(folder.path().join("consumequeue")).unwrap();
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    std::fs::remove_file(folder.path().join("abort")).unwrap();
    let test = TestStore::open(config(folder.path(), &[]));
    assert_eq!(test.store.query(TOPIC, "k", 64, 0, i64::MAX).count, 64);
    check_serves(&test, 1000);
}

#[test]
fn every_length_of_a_cut_last_record_is_cut_off() {
    let (folder, places) = crashed("cut", 40, &[]);
    let (offset, size) = *places.last().unwrap();
    // No CRC covers the properties, 13 bytes at the end: zeros there are as good as any bytes.
    for kept in 0..size - 13 {
        let copy = folder.copy("cut-copy");
        write_log(copy.path(), offset + kept, &vec![0; (size - kept) as usize]);
        let test = TestStore::open(config(copy.path(), &[]));
        check_serves(&test, 39);
        // The new last record stands in the place of the cut one, without its 13 bytes of properties.
        assert_eq!(test.store.commit_log_max_offset() - offset, places[39].1 - 13);
    }
}

#[test]
fn every_flipped_byte_of_the_last_record_is_found_or_harmless() {
    let (folder, places) = crashed("flip", 20, &[]);
    let (offset, size) = *places.last().unwrap();
    for at in 0..size {
        let copy = folder.copy("flip-copy");
        let byte = read_log(copy.path(), offset + at, 1)[0];
        write_log(copy.path(), offset + at, &[byte ^ 0x80]);
        let test = TestStore::open(config(copy.path(), &[]));
        // Sizes, magic, CRC, offsets and body are covered; of the other fields any value is legal.
        let covered = at < 12 || (28..36).contains(&at) || (84..88 + 39).contains(&at);
        let first = test.bodies(TOPIC, 0);
        let expected: Vec<_> = (0..20).step_by(2).map(body).collect();
        assert!(first == expected, "byte {at}");
        if covered {
            check_serves(&test, 19);
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_never_panics() {
    let (folder, places) = crashed("flips", 30, &[]);
    let end = places.last().map(|(offset, size)| offset + size).unwrap();
    for offset in (0..end).step_by(29) {
        let copy = folder.copy("flips-copy");
        let byte = read_log(copy.path(), offset, 1)[0];
        write_log(copy.path(), offset, &[!byte]);
        if let Ok(test) = TestStore::try_open(config(copy.path(), &[])) {
            let result = test.put(TOPIC, 0, b"goes on", "");
            assert_eq!(result.status, PutStatus::PutOk, "{offset}: {}", result.reason);
        }
    }
}

#[test]
fn a_damaged_unit_in_the_middle_is_made_again() {
    for clean in [true, false] {
        for (unit, bytes) in [(57, [0u8; 20]), (57, [0xFF; 20]), (199, [0x01; 20])] {
            let (folder, _) = crashed("unit", 400, &[("mappedFileSizeConsumeQueue", "20000")]);
            if clean {
                std::fs::remove_file(folder.path().join("abort")).unwrap();
            }
            let path = folder.path().join("consumequeue/Topic/1").join(format!("{:020}", 0));
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&bytes, unit * 20).unwrap();
            let more = [("mappedFileSizeConsumeQueue", "20000")];
            check_serves(&TestStore::open(config(folder.path(), &more)), 400);
        }
    }
}

/// The page on which a unit ends is lost, the one on which it begins is there.
#[test]
fn a_unit_that_is_there_by_half_is_made_again() {
    for more in [
        &[("mappedFileSizeConsumeQueue", "20000")][..],
        &[("mappedFileSizeConsumeQueue", "20000"), ("enableConsumeQueueExt", "true")],
    ] {
        let (folder, _) = crashed("half", 500, more);
        let path = folder.path().join("consumequeue/Topic/1").join(format!("{:020}", 0));
        let before = std::fs::read(&path).unwrap();
        assert_ne!(before[4092..4100], [0; 8], "the tags code of unit 204");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&vec![0; before.len() - 4096], 4096).unwrap();
        let test = TestStore::open(config(folder.path(), more));
        assert!(std::fs::read(&path).unwrap() == before, "with the same tags codes");
        check_serves(&test, 500);
    }
}

/// What the checkpoint vouches for is damaged nevertheless, many files before the last.
#[test]
fn a_damaged_unit_of_old_messages_is_made_again() {
    let keys = [("mappedFileSizeConsumeQueue", "20000")];
    let folder = stopped("old", &keys);
    let _margin = inject_margin(folder.path(), 0);
    std::fs::write(folder.path().join("abort"), "").unwrap();
    let path = folder.path().join("consumequeue/Topic/1").join(format!("{:020}", 0));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; 20], 57 * 20).unwrap();
    check_serves(&TestStore::open(config(folder.path(), &keys)), 1800);
}

/// The start that repairs a queue ends before it is done, after a stop or a crash; the next one has to go
/// on with it, although the queue does not look damaged any more.
#[test]
fn a_repair_that_was_interrupted_is_finished() {
    for clean in [true, false] {
        let keys = [("mappedFileSizeConsumeQueue", "20000")];
        let folder = stopped("interrupted", &keys);
        let path = folder.path().join("consumequeue/Topic/1").join(format!("{:020}", 0));
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 20], 57 * 20).unwrap();
        if !clean {
            std::fs::write(folder.path().join("abort"), "").unwrap();
        }
        let copies = [1, 2].map(|_| folder.copy("interrupted-copy"));
        for (number, copy) in copies.iter().enumerate() {
            let _margin = inject_margin(copy.path(), 0);
            let queue = copy.path().join("consumequeue/Topic/1");
            let fault = inject(Operation::Create, &queue, libc::EMFILE);
            let open = Arc::new(Live::new(config(copy.path(), &keys)));
            let store = MessageStore::open(open, Arc::new(Arrivals::default())).unwrap();
            // It may be killed before it serves, or later.
            if number == 1 {
                store.start().unwrap();
            }
            let killed = copy.copy("interrupted-killed");
            drop((fault, store));
            let _margin = inject_margin(killed.path(), 0);
            check_serves(&TestStore::open(config(killed.path(), &keys)), 1800);
        }
    }
}

/// A store of several files, stopped, of which the checkpoint says that all is on the disk.
fn stopped(name: &str, keys: &[(&str, &str)]) -> Folder {
    let folder = Folder::new(name);
    let test = TestStore::open(config(folder.path(), keys));
    for number in 0..1800 {
        test.put(TOPIC, number % 2, &body(number as usize), "");
    }
    test.arrivals.wait_for(1800);
    assert!(test.store.commit_log_max_offset() > 3 * 65_536);
    test.store.shutdown();
    folder
}

#[test]
fn queues_that_were_taken_away_are_built_again_after_a_crash_too() {
    let folder = stopped("taken", &[]);
    std::fs::write(folder.path().join("abort"), "").unwrap();
    std::fs::remove_dir_all(folder.path().join("consumequeue")).unwrap();
    let _margin = inject_margin(folder.path(), 0);
    check_serves(&TestStore::open(config(folder.path(), &[])), 1800);
}

/// Copies the store when messages become visible.
struct Copying(std::path::PathBuf, std::sync::Mutex<Option<Folder>>);

impl ArrivalListener for Copying {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if arrival.next_offset == 700 {
            let copy = Folder::new("building-copy");
            copy_folder(&self.0, copy.path());
            *self.1.lock().unwrap() = Some(copy);
        }
    }
}

/// Power fails while the queues of a store that was stopped cleanly are built again.
#[test]
fn queues_that_were_being_built_are_not_trusted() {
    let keys = [("mappedFileSizeConsumeQueue", "20000")];
    let folder = stopped("building", &keys);
    std::fs::remove_dir_all(folder.path().join("consumequeue")).unwrap();
    let copying = Arc::new(Copying(folder.path().to_owned(), Default::default()));
    let open = Arc::new(Live::new(config(folder.path(), &keys)));
    MessageStore::open(open, copying.clone()).unwrap().start().unwrap();
    let copy = copying.1.lock().unwrap().take().unwrap();
    let path = copy.path().join("consumequeue/Topic/1").join(format!("{:020}", 0));
    // One page did not reach the disk.
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; 4096], 4096).unwrap();
    let _margin = inject_margin(copy.path(), 0);
    check_serves(&TestStore::open(config(copy.path(), &keys)), 1800);
}

/// All files of a store.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
    found.sort();
}

#[test]
fn damage_in_any_file_never_panics_and_the_store_goes_on() {
    let more = [("enableConsumeQueueExt", "true"), ("mappedFileSizeConsumeQueueExt", "1024")];
    let (folder, _) = crashed("anywhere", 400, &more);
    let mut seed = 7u64;
    let mut random = move |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit.max(1)
    };
    for round in 0..60 {
        let copy = folder.copy("anywhere-copy");
        if round % 2 == 0 {
            std::fs::remove_file(copy.path().join("abort")).unwrap();
        }
        let mut found = Vec::new();
        files(copy.path(), &mut found);
        for _ in 0..4 {
            let file = &found[random(found.len() as u64) as usize];
            let file = OpenOptions::new().write(true).open(file).unwrap();
            let length = file.metadata().unwrap().len();
            let bytes = random(u64::MAX).to_be_bytes();
            let at = random(length.saturating_sub(8).min(4000));
            if length >= 8 {
                file.write_all_at(&bytes[..1 + random(7) as usize], at).unwrap();
            }
        }
        let Ok(test) = TestStore::try_open(config(copy.path(), &more)) else { continue };
        for queue in 0..2 {
            let max = test.store.max_offset(TOPIC, queue);
            (0..max).step_by(7).for_each(|offset| drop(test.get(TOPIC, queue, offset)));
            test.store.offset_by_time(TOPIC, queue, i64::MAX);
        }
        test.store.query(TOPIC, "k", 64, 0, i64::MAX);
        let before = test.arrivals.count();
        assert_eq!(test.put("Fresh", 0, b"goes on", "KEYS\u{1}k").status, PutStatus::PutOk);
        test.arrivals.wait_for(before + 1);
        assert_eq!(test.bodies("Fresh", 0), [b"goes on"], "round {round}");
    }
}

#[test]
fn what_follows_a_cut_does_not_come_back() {
    let (folder, places) = crashed("stale", 40, &[]);
    let (offset, size) = places[20];
    write_log(folder.path(), offset + 90, &[0xFF]);
    let test = TestStore::open(config(folder.path(), &[]));
    check_serves(&test, 20);
    let copy = folder.copy("stale-copy");
    drop(test);
    // The new record is as long as the damaged one, but for its keys: right behind it stood a whole
    // record, which the next recovery would take for its successor.
    let end = offset + size - 6;
    let rest = read_log(copy.path(), end, 65_536 - end);
    assert!(rest.iter().all(|byte| *byte == 0));
    check_serves(&TestStore::open(config(copy.path(), &[])), 21);
}

/// The blank at the end of a file is part of the log, although nothing follows it yet: a slave may
/// have it. A small message that would fit where it stands comes behind it.
#[test]
fn the_blank_that_closes_the_last_file_stays() {
    for clean in [false, true] {
        let folder = Folder::new("blank");
        let test = TestStore::open(config(folder.path(), &[]));
        let large = vec![7; 3000];
        let mut count = 0;
        while test.put(TOPIC, 0, &large, "").commit_log_offset < 65_536 {
            count += 1;
        }
        test.arrivals.wait_for(count + 1);
        if clean {
            test.store.shutdown();
        }
        // The next file is not there yet.
        let copy = folder.copy("copy");
        for file in ["00000000000000065536", "00000000000000131072"] {
            let _ = std::fs::remove_file(copy.path().join("commitlog").join(file));
        }
        let test = TestStore::open(config(copy.path(), &[]));
        assert_eq!(test.store.commit_log_max_offset(), 65_536, "after a clean stop: {clean}");
        let small = test.put(TOPIC, 0, b"small", "");
        assert_eq!((small.status, small.commit_log_offset), (PutStatus::PutOk, 65_536));
        assert_eq!(small.queue_offset, count as i64);
    }
}

#[test]
fn damage_before_what_was_certain_is_refused_with_its_place() {
    let folder = Folder::new("middle");
    let mut places = Vec::new();
    {
        let test = TestStore::open(config(folder.path(), &[]));
        for number in 0..100 {
            let result = test.put(TOPIC, (number % 2) as i32, &body(number), "");
            places.push(result.commit_log_offset);
            // Store times have to differ: the checkpoint knows times, not offsets.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(number % 10 == 0) * 2));
        }
        test.arrivals.wait_for(100);
        test.store.shutdown();
    }
    write_log(folder.path(), places[50] + 90, &[0xFF]);
    let error = TestStore::try_open(config(folder.path(), &[])).err().unwrap().to_string();
    assert!(error.contains(&format!("damaged at offset {}", places[50])), "{error}");
    assert!(error.contains("commitlog/00000000000000000000"), "{error}");
    assert!(error.contains("truncateDamagedLog=true"), "{error}");
    let more = [("truncateDamagedLog", "true")];
    let test = TestStore::open(config(folder.path(), &more));
    check_serves(&test, 50);
}

#[test]
fn files_that_do_not_belong_are_named() {
    let (folder, _) = crashed("foreign", 400, &[]);
    let log = folder.path().join("commitlog");
    let error = |more: &[(&str, &str)]| {
        TestStore::try_open(config(folder.path(), more)).err().unwrap().to_string()
    };
    let text = error(&[("mappedFileSizeCommitLog", "131072")]);
    assert!(text.contains("has 65536 bytes, expected 131072"), "{text}");
    std::fs::write(log.join("notes.txt"), "x").unwrap();
    assert!(error(&[]).contains("notes.txt does not belong"), "{}", error(&[]));
    std::fs::remove_file(log.join("notes.txt")).unwrap();
    std::fs::create_dir(log.join("lost+found")).unwrap();
    std::fs::write(log.join(format!("{:020}", 65_536 * 3)), "").unwrap();
    let test = TestStore::open(config(folder.path(), &[]));
    check_serves(&test, 400);
    drop(test);
    std::fs::remove_file(log.join(format!("{:020}", 0))).unwrap();
    drop(TestStore::open(config(folder.path(), &[])));
}
