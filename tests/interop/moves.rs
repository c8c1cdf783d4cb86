//! A store folder that moves from our broker to the official one and back, after orderly stops and
//! after kills. Wherever it goes, the other one serves the same, from files that are the same, and both
//! go on with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clients::say;
use crate::needed;
use crate::support::java_peer::Servers;
use crate::support::pair::{Half, assert_same_logs, assert_same_queues, log_range};
use crate::support::servers::Server;
use crate::support::traffic::{TOPICS, Traffic};
use crate::support::wire::{Wire, borrowed, code, send_fields};
use crate::support::{TempDir, until};

const STOP: Duration = Duration::from_secs(120);
/// SEND_BATCH_MESSAGE.
const SEND_BATCH: i32 = 320;
/// CONSUMER_SEND_MSG_BACK.
const SEND_BACK: i32 = 36;
/// QUERY_MESSAGE.
const QUERY: i32 = 12;
/// Files so small that there are several of each kind.
const SMALL: [(&str, &str); 7] = [
    ("mappedFileSizeCommitLog", "65536"),
    ("mappedFileSizeConsumeQueue", "2000"),
    ("maxHashSlotNum", "100"),
    ("maxIndexNum", "400"),
    ("fileReservedTime", "87600"),
    ("transactionCheckInterval", "3600000"),
    ("flushDelayOffsetInterval", "200"),
];

#[test]
fn a_folder_moves_after_orderly_stops() {
    let Some(java) = needed("the Java server 4.9.7", Servers::java("4.9.7")) else { return };
    there_and_back(&java, false, &SMALL);
}

#[test]
fn a_folder_moves_after_kills() {
    let Some(java) = needed("the Java server 4.9.7", Servers::java("4.9.7")) else { return };
    there_and_back(&java, true, &SMALL);
}

#[test]
fn a_folder_with_extensions_and_synchronous_flush_moves() {
    let Some(java) = needed("the Java server 4.9.7", Servers::java("4.9.7")) else { return };
    let more = [
        ("enableConsumeQueueExt", "true"),
        ("mappedFileSizeConsumeQueueExt", "8192"),
        ("enablePropertyFilter", "true"),
        ("enableCalcFilterBitMap", "true"),
        ("flushDiskType", "SYNC_FLUSH"),
    ];
    for killed in [false, true] {
        there_and_back(&java, killed, &[&SMALL[..], &more].concat());
    }
}

#[test]
fn a_folder_with_hosts_of_ipv6_moves() {
    let Some(java) = needed("the Java server 4.9.7", Servers::java("4.9.7")) else { return };
    for killed in [false, true] {
        there_and_back(&java, killed, &[&SMALL[..], &[("brokerIP1", "::1")]].concat());
    }
}

/// Ours writes, Java's goes on, ours goes on again, and Java's has the last look.
fn there_and_back(java: &Servers, killed: bool, keys: &[(&str, &str)]) {
    let ours = Servers::from_env();
    let dir = TempDir::new("interop-moves");
    let mut traffic = Traffic::default();
    let mut sent = Sent::default();
    let mut from: Option<PathBuf> = None;
    for (turn, (writer, other)) in
        [(&ours, java), (java, &ours), (&ours, java)].into_iter().enumerate()
    {
        let place = dir.join(format!("turn-{turn}"));
        let mut broker = start(writer, &place, from.as_deref(), keys);
        let mut wire = broker.wire();
        if turn == 0 {
            traffic.create_topics(&mut wire);
            ["Batch", "Retried"].iter().for_each(|topic| wire.create_topic(topic, 1));
        }
        traffic.send(&mut wire, 400, 1500);
        sent.more(&mut wire);
        traffic.wait_for_delivery(&mut wire);
        sent.wait(&mut wire);
        let store = broker.home.join("store");
        if killed {
            wait_for_delay_offsets(&mut wire, &store);
            broker.process.kill();
        } else {
            broker.process.stop(STOP);
        }
        assert_eq!(store.join("abort").exists(), killed);
        // The same folder twice: for who wrote it, and for the other.
        let brokers = [writer, other].map(|make| {
            let name = if std::ptr::eq(make, writer) { "writer" } else { "other" };
            start(make, &dir.join(format!("look-{turn}-{name}")), Some(&store), keys)
        });
        let [one, two] = &brokers;
        let range =
            |broker: &Server| until("it tells its log", STOP, || log_range(&mut broker.wire()));
        let ranges = [range(one), range(two)];
        let end = ranges[0].1.min(ranges[1].1);
        let bytes = assert_same_logs(one, two, (ranges[0].0, end));
        let messages = assert_same_queues(one, two);
        let found = [one, two].map(|broker| sent.find(&mut broker.wire()));
        assert_eq!(found[0], found[1], "what queries by key find");
        say(&format!("turn {turn}, killed: {killed}: {bytes} bytes, {messages} messages the same"));
        from = Some(store);
    }
}

/// Until it is written how far delayed messages are delivered, which takes 10 seconds at the start: who
/// opens the folder next would deliver them again.
fn wait_for_delay_offsets(wire: &mut Wire, store: &Path) {
    let ends = [0, 1].map(|queue| wire.max_offset("SCHEDULE_TOPIC_XXXX", queue));
    until("the delay offsets are written", STOP, || {
        let text = std::fs::read_to_string(store.join("config/delayOffset.json")).ok()?;
        let text: String = text.split_whitespace().collect();
        let expected = format!("{{1:{},2:{}}}", ends[0], ends[1]);
        text.contains(&expected).then_some(())
    });
}

/// A broker on a copy of a store.
fn start(make: &Servers, dir: &Path, store: Option<&Path>, keys: &[(&str, &str)]) -> Server {
    let home = dir.join(match make {
        Servers::Ours => "broker",
        Servers::Java(_) => "java-broker",
    });
    if let Some(store) = store {
        copy_folder(store, &home.join("store"));
    }
    Half::new(make, dir.to_owned()).master("ASYNC_MASTER", None, keys)
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = (|| -> std::io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_folder(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    })();
    copied.unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// What [`Traffic`] does not have: batches, and messages that consumers gave back.
#[derive(Default)]
struct Sent {
    batches: usize,
    back: i64,
}

impl Sent {
    fn more(&mut self, wire: &mut Wire) {
        for _ in 0..12 {
            self.batches += 1;
            let mut fields = send_fields("Batch", 0, &format!("batch-{}", self.batches));
            if let Some((_, batch)) = fields.iter_mut().find(|(name, _)| *name == "m") {
                *batch = "true".to_owned();
            }
            let bodies: Vec<_> = (0..10).map(|number| vec![number; 700]).collect();
            let batch: Vec<u8> = bodies.iter().flat_map(|body| batch_entry(body)).collect();
            wire.must(SEND_BATCH, &borrowed(&fields), &batch);
        }
        // Two come again after a second, two are dead at once.
        for most in ["16", "16", "0", "0"] {
            let fields = send_fields("Retried", 0, &format!("retried-{}", self.back));
            let reply = wire.must(code::SEND, &borrowed(&fields), b"again");
            let id = reply.text("msgId").unwrap_or_else(|| panic!("{}", reply.header));
            let offset = i64::from_str_radix(&id[id.len() - 16..], 16);
            let offset = offset.unwrap_or_else(|error| panic!("{id}: {error}")).to_string();
            let fields = [
                ("offset", &*offset),
                ("group", "workers"),
                ("delayLevel", "1"),
                ("originMsgId", &id),
                ("originTopic", "Retried"),
                ("unitMode", "false"),
                ("maxReconsumeTimes", most),
            ];
            wire.must(SEND_BACK, &fields, b"");
            self.back += 1;
        }
    }

    /// Until what came back is where it belongs.
    fn wait(&self, wire: &mut Wire) {
        for topic in ["%RETRY%workers", "%DLQ%workers"] {
            until(topic, STOP, || (wire.max_offset(topic, 0) == self.back / 2).then_some(()));
        }
    }

    /// What queries by some keys find: how many bytes of records.
    fn find(&self, wire: &mut Wire) -> Vec<(String, usize)> {
        let keys = [
            (TOPICS[0], "traffic-7".to_owned()),
            (TOPICS[0], "traffic-399".to_owned()),
            ("Batch", format!("batch-{}", self.batches)),
            ("Batch", "batch-1".to_owned()),
            ("Retried", format!("retried-{}", self.back - 1)),
            ("%RETRY%workers", "retried-0".to_owned()),
        ];
        keys.into_iter()
            .map(|(topic, key)| {
                let fields = [
                    ("topic", topic),
                    ("key", &*key),
                    ("maxNum", "64"),
                    ("beginTimestamp", "0"),
                    ("endTimestamp", "9223372036854775807"),
                ];
                let reply = wire.call(QUERY, &fields, b"");
                (format!("{topic} {key}: {}", reply.code()), reply.body.len())
            })
            .collect()
    }
}

/// A message of a batch: size, magic, CRC, flag, body, properties.
fn batch_entry(body: &[u8]) -> Vec<u8> {
    let properties = b"TAGS\x01batch";
    let size = 4 * 4 + 4 + body.len() + 2 + properties.len();
    let mut entry = (size as u32).to_be_bytes().to_vec();
    entry.extend([0; 12]);
    entry.extend((body.len() as u32).to_be_bytes());
    entry.extend(body);
    entry.extend((properties.len() as u16).to_be_bytes());
    entry.extend(properties);
    entry
}
