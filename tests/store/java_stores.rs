//! Stores that Java brokers wrote: each opens, serves every message exactly as the Java broker
//! served it, and goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rocketmq::common::properties::Properties;
use rocketmq::common::record::RecordView;
use rocketmq::store::{GetMessageStatus, PutStatus};

use crate::folder::*;

pub struct Expected {
    lines: Vec<Vec<String>>,
}

impl Expected {
    /// Writes the keys that the store was made with as a broker's configuration file.
    pub fn configuration(&self, folder: &Folder) -> PathBuf {
        let path = folder.path().join("broker.conf");
        let lines: Vec<_> = self.of("config").map(|line| line.join("=")).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        path
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a [String]> {
        self.lines.iter().filter(move |line| line[0] == kind).map(|line| &line[1..])
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stores")
}

/// Unpacks a store into a folder; returns its root and what it should serve.
pub fn unpack(name: &str, folder: &Folder) -> (PathBuf, Expected) {
    let packed = data().join(format!("{name}.tar.gz"));
    let status =
        Command::new("tar").arg("-xzf").arg(packed).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let expected = data().join(format!("{name}.expected.gz"));
    let output = Command::new("gzip").arg("-dc").arg(expected).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    (folder.path().join(name), Expected { lines })
}

fn open(root: &Path, expected: &Expected) -> TestStore {
    let mut keys: Vec<_> =
        expected.of("config").map(|line| (line[0].as_str(), line[1].as_str())).collect();
    keys.push(("fileReservedTime", "87600"));
    TestStore::open(config(root, &keys))
}

/// A record as a line of the expected text, but for the tags code of its unit.
fn line(record: &RecordView<'_>, tags_code: i64) -> Vec<String> {
    let message = record.to_message();
    let properties: BTreeMap<_, _> = message.message.properties.iter().collect();
    let mut text = Properties::new();
    for (name, value) in properties {
        text.set(name, value);
    }
    vec![
        record.topic.to_owned(),
        record.queue_id.to_string(),
        record.queue_offset.to_string(),
        record.physical_offset.to_string(),
        record.total_size.to_string(),
        message.offset_message_id(),
        record.flag.to_string(),
        record.sys_flag.to_string(),
        record.born_timestamp.to_string(),
        record.store_timestamp.to_string(),
        record.born_host.to_string(),
        record.store_host.to_string(),
        record.reconsume_times.to_string(),
        record.prepared_transaction_offset.to_string(),
        record.body_crc.to_string(),
        record.body.len().to_string(),
        tags_code.to_string(),
        text.encode(),
    ]
}

/// Reads every queue from its first to its last message.
fn served(test: &TestStore) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for (topic, queues) in test.store.topics() {
        for queue in queues {
            let mut offset = test.store.min_offset(&topic, queue);
            while offset < test.store.max_offset(&topic, queue) {
                let result = test.get(&topic, queue, offset);
                assert_eq!(result.status, GetMessageStatus::Found, "{topic} {queue} {offset}");
                let units = test.store.queue_units(&topic, queue, offset, 64).unwrap();
                let mut units = units.iter();
                each_record(&result, |record| {
                    lines.push(line(record, units.next().unwrap().tags_code));
                });
                offset = result.next_begin_offset;
            }
        }
    }
    lines.sort_by_key(|line| {
        (line[0].clone(), line[1].parse::<i32>().unwrap(), line[2].parse::<i64>().unwrap())
    });
    lines
}

/// Opens a store and compares everything; then it goes on and is opened again.
fn check(name: &str) {
    let folder = Folder::new(name);
    let (root, expected) = unpack(name, &folder);
    let messages: Vec<_> = expected.of("message").map(<[String]>::to_vec).collect();
    {
        let test = open(&root, &expected);
        let log = expected.of("log").next().unwrap();
        assert_eq!(test.store.commit_log_min_offset().to_string(), log[0]);
        assert_eq!(test.store.commit_log_max_offset().to_string(), log[1]);
        for queue in expected.of("queue") {
            let id = queue[1].parse().unwrap();
            assert_eq!(test.store.min_offset(&queue[0], id).to_string(), queue[2], "{queue:?}");
            assert_eq!(test.store.max_offset(&queue[0], id).to_string(), queue[3], "{queue:?}");
        }
        compare(&served(&test), &messages);
        for query in expected.of("query") {
            check_query(&test, query);
        }
        for number in 0..300 {
            let result = test.put("Later", number % 4, &[1; 700], "KEYS\u{1}more");
            assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
        }
        test.arrivals.wait_for(300);
        test.store.shutdown();
    }
    let test = open(&root, &expected);
    let again = served(&test);
    let (new, old): (Vec<_>, Vec<_>) = again
        .into_iter()
        .partition(|line| line[0] == "Later" && line.last().unwrap().contains("more"));
    assert_eq!(new.len(), 300);
    compare(&old, &messages);
}

fn compare(found: &[Vec<String>], expected: &[Vec<String>]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

fn check_query(test: &TestStore, query: &[String]) {
    let number = |text: &String| text.parse::<i64>().unwrap();
    let max = if query[9] == "True" { 32 } else { number(&query[2]) as i32 };
    let result = test.store.query(&query[0], &query[1], max, number(&query[3]), number(&query[4]));
    let mut offsets = Vec::new();
    if let Some(records) = &result.records {
        let mut slices = Vec::new();
        records.slices(&mut slices);
        for slice in slices {
            let record = rocketmq::common::record::read_record(&slice, true).unwrap();
            offsets.push(record.physical_offset.to_string());
        }
    }
    assert_eq!(offsets.join(","), query[7], "{query:?}");
    if query[8] == "0" {
        assert_eq!(result.index_last_update_timestamp.to_string(), query[5]);
        assert_eq!(result.index_last_update_phy_offset.to_string(), query[6]);
    }
}

macro_rules! stores {
    ($($test:ident: $name:literal),* $(,)?) => { $(
        #[test]
        fn $test() {
            check($name);
        }
    )* };
}

stores! {
    basic_killed: "basic-killed",
    sync_killed: "sync-killed",
    segments: "segments",
    index_many: "index-many",
    delay: "delay",
    batch: "batch",
    ipv6: "ipv6",
    filter_ext: "filter-ext",
    transactions: "transactions",
}
