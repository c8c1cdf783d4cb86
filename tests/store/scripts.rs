//! Scripts with recorded output (`tests/data/store_scripts`): what each command does to the files
//! is written down, so that a change of a format or of recovery shows up as a difference.
//!
//! Lines that start with `>` are commands, `#` comments; the rest is what they print.
//! `UPDATE_SCRIPTS=1 cargo test --test store scripts` records anew.
//!
//! | command | does |
//! |---|---|
//! | `open KEY=VALUE...` | opens and starts the store; the keys also hold for later opens |
//! | `put TOPIC QUEUE BYTES [NAME=VALUE]...` | stores a message with a body of that length |
//! | `half TOPIC QUEUE BYTES` | stores a half message |
//! | `batch TOPIC QUEUE BYTES COUNT` | stores a batch |
//! | `get TOPIC QUEUE OFFSET` | pulls |
//! | `query TOPIC KEY` | looks a key up |
//! | `stop` | stops orderly |
//! | `crash` | goes on with a copy of the files as they are at this moment |
//! | `damage OFFSET HEX` | overwrites bytes of the commit log |
//! | `remove PATH` | removes a file or folder of the store |
//! | `dump log`, `dump queue TOPIC QUEUE`, `dump index`, `dump files` | prints what is on the disk |
//! | `verify` | checks everything against everything |

use std::fmt::Write;
use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rocketmq::common::config::ConfigStruct;
use rocketmq::common::record::{BatchEntry, encode_batch_entry};
use rocketmq::common::sys_flag;
use rocketmq::store::inspect::{LogItem, StoreFolder};
use rocketmq::store::{NewBatch, NewMessage, PutResult};

use crate::folder::*;

struct Script {
    folder: Folder,
    settings: Vec<(String, String)>,
    test: Option<TestStore>,
    expected: usize,
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("{word:?} is no number"))
}

fn put_line(result: &PutResult) -> String {
    if result.wrote_bytes == 0 {
        return format!("{:?}: {}\n", result.status, result.reason);
    }
    format!(
        "{:?} #{} at {}, {} bytes\n",
        result.status, result.queue_offset, result.commit_log_offset, result.wrote_bytes
    )
}

impl Script {
    fn run(&mut self, words: &[&str]) -> String {
        match words {
            ["open", settings @ ..] => self.open(settings),
            ["put", topic, queue, bytes, properties @ ..] => {
                self.put(topic, queue, bytes, properties, sys_flag::TRANSACTION_NOT)
            }
            ["half", topic, queue, bytes] => {
                self.put(topic, queue, bytes, &[], sys_flag::TRANSACTION_PREPARED)
            }
            ["batch", topic, queue, bytes, count] => self.batch(topic, queue, bytes, count),
            ["get", topic, queue, offset] => self.get(topic, queue, offset),
            ["query", topic, key] => self.query(topic, key),
            ["stop"] => {
                self.test.take().unwrap().store.shutdown();
                String::new()
            }
            ["crash"] => {
                self.settle();
                let copy = self.folder.copy("script-crash");
                self.test = None;
                self.folder = copy;
                String::new()
            }
            ["damage", offset, hex] => self.damage(number(offset), hex),
            ["remove", path] => {
                let path = self.folder.path().join(path);
                if path.is_dir() {
                    std::fs::remove_dir_all(path).unwrap();
                } else {
                    std::fs::remove_file(path).unwrap();
                }
                String::new()
            }
            ["dump", what @ ..] => self.dump(what),
            ["verify"] => self.verify(),
            other => panic!("unknown command {other:?}"),
        }
    }

    fn open(&mut self, settings: &[&str]) -> String {
        for setting in settings {
            let (key, value) = setting.split_once('=').unwrap();
            self.settings.push((key.to_owned(), value.to_owned()));
        }
        let mut config = config(self.folder.path(), &[]);
        for (key, value) in &self.settings {
            assert!(config.set(key, value).unwrap(), "{key}");
        }
        self.expected = 0;
        match TestStore::try_open(config) {
            Ok(test) => {
                let (min, max) =
                    (test.store.commit_log_min_offset(), test.store.commit_log_max_offset());
                self.test = Some(test);
                format!("commit log {min}..{max}\n")
            }
            Err(error) => {
                let root = self.folder.path().to_str().unwrap();
                format!("refused: {}\n", error.to_string().replace(root, "STORE"))
            }
        }
    }

    fn store(&self) -> &TestStore {
        self.test.as_ref().expect("the store is not open")
    }

    /// Waits until everything is dispatched.
    fn settle(&self) {
        self.store().arrivals.wait_for(self.expected);
    }

    fn put(&mut self, topic: &str, queue: &str, bytes: &str, more: &[&str], kind: i32) -> String {
        let properties = more.join("\u{2}").replace('=', "\u{1}").replace('+', " ");
        let body = vec![b'x'; number(bytes)];
        let mut record = record(topic, number(queue), &body, &properties);
        record.sys_flag = kind;
        let result = self.store().store.put(&NewMessage { record, wait_store: true }).wait();
        if result.wrote_bytes > 0 && kind == sys_flag::TRANSACTION_NOT {
            self.expected += 1;
        }
        put_line(&result)
    }

    fn batch(&mut self, topic: &str, queue: &str, bytes: &str, count: &str) -> String {
        let body = vec![b'x'; number(bytes)];
        let count: usize = number(count);
        let mut encoded = Vec::new();
        for _ in 0..count {
            let entry = BatchEntry { flag: 0, body: &body, properties: "".into() };
            encode_batch_entry(&entry, &mut encoded);
        }
        let record = record(topic, number(queue), &encoded, "");
        let result = self.store().store.put_batch(&NewBatch { record, wait_store: true });
        let result = result.unwrap().wait();
        self.expected += result.messages as usize;
        let mut text = put_line(&result);
        writeln!(text, "messages at {:?}", result.batch_offsets).unwrap();
        text
    }

    fn get(&self, topic: &str, queue: &str, offset: &str) -> String {
        self.settle();
        let result = self.store().get(topic, number(queue), number(offset));
        let mut text = format!(
            "{} next {}, queue {}..{}:",
            result.status.name(),
            result.next_begin_offset,
            result.min_offset,
            result.max_offset
        );
        each_record(&result, |record| write!(text, " #{}", record.queue_offset).unwrap());
        text + "\n"
    }

    fn query(&self, topic: &str, key: &str) -> String {
        self.settle();
        let result = self.store().store.query(topic, key, 32, 0, i64::MAX);
        format!("{} messages, index up to {}\n", result.count, result.index_last_update_phy_offset)
    }

    fn damage(&self, offset: i64, hex: &str) -> String {
        assert!(self.test.is_none(), "stop or crash first");
        let size = self.config_number("mappedFileSizeCommitLog");
        let path = self.folder.path().join(format!("commitlog/{:020}", offset / size * size));
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&bytes, (offset % size) as u64).unwrap();
        String::new()
    }

    fn config_number(&self, key: &str) -> i64 {
        let setting = self.settings.iter().rev().find(|(known, _)| known == key);
        setting.map_or(65_536, |(_, value)| number(value))
    }

    /// Runs `look` on a copy of the files: the store itself may be open.
    fn look(&self, look: impl FnOnce(&StoreFolder) -> String) -> String {
        if self.test.is_some() {
            self.settle();
        }
        let copy = self.folder.copy("script-look");
        look(&StoreFolder::open(copy.path()).unwrap())
    }

    fn dump(&self, what: &[&str]) -> String {
        self.look(|folder| match what {
            ["log"] => dump_log(folder),
            ["queue", topic, queue] => dump_queue(folder, topic, number(queue)),
            ["index"] => dump_index(folder),
            ["files"] => dump_files(folder.root()),
            other => panic!("dump what: {other:?}"),
        })
    }

    fn verify(&self) -> String {
        self.look(|folder| {
            let mut text = String::new();
            let root = folder.root().to_str().unwrap().to_owned();
            let verified = folder
                .verify(|problem| {
                    let place = problem.place.replace(&root, "STORE");
                    writeln!(text, "{place}: {}", problem.what).unwrap();
                })
                .unwrap();
            let counts = (verified.records, verified.units, verified.index_entries);
            writeln!(
                text,
                "{} records, {} units, {} index entries, {} problems",
                counts.0, counts.1, counts.2, verified.problems
            )
            .unwrap();
            text
        })
    }
}

fn dump_log(folder: &StoreFolder) -> String {
    let mut text = String::new();
    let end = folder.visit_log(0, |item| {
        match item {
            LogItem::Record(record) => writeln!(
                text,
                "{:>6} {} bytes, {}/{} #{}",
                record.physical_offset,
                record.total_size,
                record.topic,
                record.queue_id,
                record.queue_offset
            ),
            LogItem::Blank { offset, next } => writeln!(text, "{offset:>6} blank to {next}"),
            LogItem::Damage { offset, reason, next, .. } => {
                writeln!(text, "{offset:>6} {reason}, next record {next:?}")
            }
        }
        .unwrap();
        ControlFlow::Continue(())
    });
    writeln!(text, "{end:>6} end").unwrap();
    text
}

fn dump_queue(folder: &StoreFolder, topic: &str, queue: i32) -> String {
    let mut text = String::new();
    for (index, unit) in folder.units(topic, queue).unwrap().iter() {
        writeln!(
            text,
            "{index:>6} {} bytes at {}, code {}",
            unit.size, unit.offset, unit.tags_code
        )
        .unwrap();
    }
    text
}

fn dump_index(folder: &StoreFolder) -> String {
    let mut text = String::new();
    for (number, (_, header)) in folder.index_files().unwrap().into_iter().enumerate() {
        writeln!(
            text,
            "file {number}: {} entries, {} slots, messages {}..{}",
            header.count - 1,
            header.used_slots,
            header.begin_offset,
            header.end_offset
        )
        .unwrap();
    }
    text
}

fn dump_files(root: &Path) -> String {
    fn visit(root: &Path, folder: &Path, lines: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, lines);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                // Index files are named by the time they were made.
                let name = if name.starts_with("index/") { "index/TIME".to_owned() } else { name };
                lines.push(format!("{name} {}\n", path.metadata().unwrap().len()));
            }
        }
    }
    let mut lines = Vec::new();
    visit(root, root, &mut lines);
    lines.sort();
    lines.concat()
}

/// Runs a script and returns it with what its commands print now.
fn replay(name: &str, text: &str) -> String {
    let mut script =
        Script { folder: Folder::new(name), settings: Vec::new(), test: None, expected: 0 };
    let mut transcript = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix('>') {
            let words: Vec<&str> = command.split_whitespace().collect();
            writeln!(transcript, "{line}").unwrap();
            transcript.push_str(&script.run(&words));
        } else if line.starts_with('#') || line.is_empty() {
            writeln!(transcript, "{line}").unwrap();
        }
    }
    transcript
}

fn check(name: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/store_scripts")
        .join(format!("{name}.txt"));
    let recorded = std::fs::read_to_string(&path).unwrap();
    let now = replay(name, &recorded);
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    assert!(now == recorded, "{name} does something else now:\n{now}");
}

#[test]
fn end_of_file() {
    check("end_of_file");
}

#[test]
fn queues_and_index() {
    check("queues_and_index");
}

#[test]
fn crash_and_recover() {
    check("crash_and_recover");
}

#[test]
fn damage() {
    check("damage");
}
