//! Power cuts: what had not been flushed reaches the disk page by page, in any order or not at all.
//! Whatever that leaves, every queue serves what it served before, up to some message that is not
//! older than the last flush; the store goes on, and nothing that was lost comes back.

use std::collections::BTreeMap;

use rocketmq::store::PutStatus;
use rocketmq::store::fault::inject_margin;

use crate::disk::Disk;
use crate::folder::*;
use crate::model::Numbers;

/// A message that was put: where its record ends, and what it has.
struct Sent {
    end: i64,
    body: Vec<u8>,
    properties: String,
}

type Model = BTreeMap<(String, i32), Vec<Sent>>;

/// Some settings for a run: files of several pages or of less than one, flushed often or never.
fn settings(numbers: &mut Numbers, more: &[(&'static str, &'static str)]) -> Vec<Setting> {
    let mut one_of = |values: &[&'static str]| values[numbers.below(values.len() as u64) as usize];
    let mut keys = vec![
        ("mappedFileSizeCommitLog", one_of(&["16384", "65536"])),
        ("mappedFileSizeConsumeQueue", one_of(&["400", "2000", "20000"])),
        ("flushIntervalConsumeQueue", one_of(&["3", "20"])),
        ("flushConsumeQueueLeastPages", one_of(&["1", "1000"])),
        ("flushConsumeQueueThoroughInterval", one_of(&["5", "50", "3600000"])),
        ("flushIntervalCommitLog", one_of(&["3", "20", "3600000"])),
    ];
    keys.extend(more);
    keys
}

type Setting = (&'static str, &'static str);

/// Everything that is served was put there, in order, and nothing is missing that was certain. Where
/// recovery heeds the index (`messageIndexSafe`), all of it is found there. Forgets what is gone.
fn check(test: &TestStore, model: &mut Model, certain: i64) {
    let end = test.store.commit_log_max_offset();
    for ((topic, queue), sent) in model {
        let mut found = Vec::new();
        test.each(topic, *queue, |record| {
            found.push((record.body.to_vec(), record.properties.to_owned()));
        });
        let kept = sent.iter().take_while(|message| message.end <= end).count();
        assert_eq!(found.len(), kept, "{topic} {queue}: the log ends at {end}");
        let differs = found.iter().zip(&*sent).position(|((body, properties), sent)| {
            *body != sent.body || *properties != sent.properties
        });
        assert_eq!(differs, None, "{topic} {queue}");
        let lost = sent.get(kept).map(|lost| lost.end);
        assert!(lost.is_none_or(|end| end > certain), "{topic} {queue}: {lost:?} of {certain}");
        sent.truncate(kept);
        // Whatever the index still has leads to messages.
        let query = test.store.query(topic, "k", 64, 0, i64::MAX);
        assert!(query.count <= 64);
        if test.store.config().message_index_safe {
            for number in 0..kept {
                let query = test.store.query(topic, &key(*queue, number), 64, 0, i64::MAX);
                assert!(query.count >= 1, "{topic} {queue}: {number} of {kept} has no key");
            }
        }
    }
}

/// The key of a message.
fn key(queue: i32, number: usize) -> String {
    format!("{queue}-{number}")
}

fn flushed(test: &TestStore) -> i64 {
    test.store.runtime_info()["flushedOffset"].parse().unwrap()
}

/// Puts messages with what they are found by again.
fn put_some(test: &TestStore, model: &mut Model, numbers: &mut Numbers) -> usize {
    let count = numbers.below(300) as usize;
    for _ in 0..count {
        // The longest there is: its end may lie on another page than its begin.
        let topic = ["Topic", &"T".repeat(127)][numbers.below(2) as usize].to_owned();
        let queue = numbers.below(2) as i32;
        let body = vec![numbers.below(256) as u8; numbers.below(300) as usize];
        let sent = model.entry((topic.clone(), queue)).or_default();
        let mut properties = format!("KEYS\u{1}k {}", key(queue, sent.len()));
        // Of a page's part, and now and then of several.
        let most = if numbers.below(32) == 0 { 14_000 } else { 600 };
        let more = numbers.below(most);
        properties += &format!("\u{2}more\u{1}{}", "m".repeat(more as usize));
        if numbers.below(4) == 0 {
            properties.truncate(properties.find('\u{2}').unwrap());
        }
        let result = test.put(&topic, queue, &body, &properties);
        assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
        let end = result.commit_log_offset + i64::from(result.wrote_bytes);
        assert_eq!(result.queue_offset, sent.len() as i64, "nothing lost comes back");
        sent.push(Sent { end, body, properties });
    }
    count
}

fn run(seed: u64, more: &[Setting]) {
    let mut numbers = Numbers::new(seed);
    let keys = settings(&mut numbers, more);
    let mut model = Model::new();
    let mut disk = Disk::new();
    let mut certain: i64 = 0;
    for round in 0..12 {
        let _margin = inject_margin(disk.folder.path(), 1);
        let test = TestStore::try_open(config(disk.folder.path(), &keys));
        let test = test.unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        check(&test, &mut model, certain);
        let dispatched = put_some(&test, &mut model, &mut numbers);
        let ending = numbers.below(6);
        if ending < 3 {
            test.arrivals.wait_for(dispatched);
        }
        if ending < 2 {
            // An orderly stop, which may not be the last that happens.
            test.store.shutdown();
            certain = test.store.commit_log_max_offset();
        }
        certain = certain.max(flushed(&test));
        let moment = disk.moment();
        drop(test);
        disk = match ending {
            0 => disk,
            // The process dies, the machine lives on: nothing becomes more certain.
            2 => moment.killed(),
            _ => moment.power_cut(&mut numbers),
        };
    }
}

#[test]
fn asynchronous_flush() {
    (1..11).for_each(|seed| run(seed, &[]));
}

#[test]
fn synchronous_flush() {
    (11..15).for_each(|seed| run(seed, &[("flushDiskType", "SYNC_FLUSH")]));
}

#[test]
fn extension_files() {
    let more = [("enableConsumeQueueExt", "true"), ("mappedFileSizeConsumeQueueExt", "8192")];
    (21..26).for_each(|seed| run(seed, &more));
}

#[test]
fn index() {
    let more = [("messageIndexSafe", "true"), ("maxIndexNum", "300")];
    (31..37).for_each(|seed| run(seed, &more));
}

#[test]
fn transient_store_pool() {
    let more = [("transientStorePoolEnable", "true"), ("commitIntervalCommitLog", "1")];
    (41..43).for_each(|seed| run(seed, &more));
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
