//! `kill -9` of a broker under load, again and again: what was acknowledged is there, at the offset
//! that was told; no queue has a hole; nothing is there that nobody sent; nothing is there twice.
//!
//! The commit log's segments are small, so that rounds end near rolls. Every few rounds the broker
//! is killed again while it recovers. `ROCKETMQ_CRASH_ROUNDS` sets the number of rounds.

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::java_peer::Servers;
use support::servers::Server;
use support::wire::{Reply, Wire, borrowed, code, frame, receive, records, send_fields};
use support::{TempDir, free_port, until};

const TOPIC: &str = "Crash";
const QUEUES: i32 = 4;
/// Two connections a queue, so that their appends interleave.
const CONNECTIONS: i32 = 8;
/// Requests in flight on a connection.
const WINDOW: u32 = 16;
/// Messages a connection sends in a round at most.
const LOAD: u32 = 250;
const PULL_FOUND: i32 = 0;

/// A message is named by who sent it; its body follows from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name {
    round: u32,
    connection: i32,
    number: u32,
}

impl Name {
    fn key(self) -> String {
        format!("{}.{}.{}", self.round, self.connection, self.number)
    }

    fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('.');
        let name = Self {
            round: parts.next()?.parse().ok()?,
            connection: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(name)
    }

    /// The key, a blank, and letters: 20 bytes to 4 KiB.
    fn body(self) -> Vec<u8> {
        let mut mixed = self.round.wrapping_mul(31).wrapping_add(self.connection as u32);
        mixed = mixed.wrapping_mul(1_000_003).wrapping_add(self.number).wrapping_mul(2_654_435_761);
        let length = if mixed.is_multiple_of(7) { mixed >> 20 } else { mixed >> 24 } as usize;
        let mut body = self.key().into_bytes();
        body.push(b' ');
        body.resize(body.len().max(20) + length, b'a' + (mixed % 26) as u8);
        body
    }
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Acked {
    name: Name,
    queue: i32,
    offset: i64,
}

/// What one connection has to tell after its broker was killed.
#[derive(Default)]
struct Told {
    acked: Vec<Acked>,
    /// Sent, acknowledged or not.
    sent: Vec<Name>,
}

#[test]
fn async_flush_keeps_what_it_acknowledged() {
    crash_loop("ASYNC_FLUSH");
}

#[test]
fn sync_flush_keeps_what_it_acknowledged() {
    crash_loop("SYNC_FLUSH");
}

fn crash_loop(flush: &str) {
    let rounds = std::env::var("ROCKETMQ_CRASH_ROUNDS").map_or(100, |rounds| {
        rounds.parse().unwrap_or_else(|error| panic!("ROCKETMQ_CRASH_ROUNDS={rounds}: {error}"))
    });
    let dir = TempDir::new("crash");
    let mut site = Site::new(dir.path(), flush);
    let mut broker = site.start();
    broker.wire().create_topic(TOPIC, QUEUES);
    // The topic's file is written on a schedule; what follows needs it.
    broker.process.stop(Duration::from_secs(60));

    let mut book = Book::default();
    for round in 0..rounds {
        if round % 7 == 3 {
            // Killed while it recovers, or just after.
            site.start().process.kill();
        }
        let mut broker = site.start();
        book.verify_new(&mut broker.wire());
        book.enter(load_until_killed(&mut broker, round));
    }
    let broker = site.start();
    let mut wire = broker.wire();
    book.verify_new(&mut wire);
    let messages = book.verify_from_the_start(&mut wire);
    assert!(messages > u64::from(rounds), "{messages} messages are no load");
}

/// A broker that is started again and again in one folder.
struct Site<'a> {
    dir: &'a Path,
    port: u16,
    flush: &'a str,
    make: Servers,
}

impl<'a> Site<'a> {
    fn new(dir: &'a Path, flush: &'a str) -> Self {
        Self { dir, port: free_port(), flush, make: Servers::from_env() }
    }

    fn start(&mut self) -> Server {
        let settings = [
            ("flushDiskType", self.flush),
            ("mappedFileSizeCommitLog", "1048576"),
            ("mappedFileSizeConsumeQueue", "20000"),
            ("maxHashSlotNum", "1000"),
            ("maxIndexNum", "4000"),
            ("autoCreateTopicEnable", "false"),
        ];
        self.make.broker_at(self.dir, self.port, None, &settings)
    }
}

/// Sends on all connections until a number of acknowledgements that differs from round to round,
/// then kills the broker.
fn load_until_killed(broker: &mut Server, round: u32) -> Vec<Told> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let told = Arc::new(Mutex::new(Vec::new()));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (addr, acknowledged, told) =
                (broker.addr(), Arc::clone(&acknowledged), Arc::clone(&told));
            std::thread::spawn(move || {
                let mut mine = Told::default();
                // An error is the broker's death, which is what this is about.
                let _ = send_all(&addr, round, connection, &acknowledged, &mut mine);
                told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(mine);
            })
        })
        .collect();
    let all = u64::from(LOAD) * CONNECTIONS as u64;
    let enough = 1 + u64::from(round) * 7919 % (all * 3 / 4);
    until("acknowledgements", Duration::from_secs(60), || {
        (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
    });
    broker.process.kill();
    for sender in senders {
        sender.join().unwrap_or_else(|_| panic!("a sender saw something wrong"));
    }
    std::mem::take(&mut told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn send_all(
    addr: &str,
    round: u32,
    connection: i32,
    acknowledged: &AtomicU64,
    told: &mut Told,
) -> std::io::Result<()> {
    use std::io::Write;
    let queue = connection % QUEUES;
    let mut wire = Wire::try_connect(addr)?;
    let mut in_flight = 0;
    for number in 0..LOAD {
        let name = Name { round, connection, number };
        let fields = send_fields(TOPIC, queue, &name.key());
        let frame = frame(code::SEND, number as i32, &borrowed(&fields), &name.body());
        told.sent.push(name);
        wire.socket.write_all(&frame)?;
        in_flight += 1;
        if in_flight == WINDOW {
            told.acked.extend(read_ack(&mut wire, round, connection)?);
            acknowledged.fetch_add(1, Ordering::Relaxed);
            in_flight -= 1;
        }
    }
    for _ in 0..in_flight {
        told.acked.extend(read_ack(&mut wire, round, connection)?);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads one response. A refusal (busy, say) is an answer too, and promises nothing.
fn read_ack(wire: &mut Wire, round: u32, connection: i32) -> std::io::Result<Option<Acked>> {
    let reply: Reply = receive(&mut wire.socket)?;
    if reply.code() != 0 {
        return Ok(None);
    }
    let told =
        |name: &str| reply.number(name).unwrap_or_else(|| panic!("no {name} in {}", reply.header));
    let name = Name { round, connection, number: reply.opaque() as u32 };
    Ok(Some(Acked { name, queue: told("queueId") as i32, offset: told("queueOffset") }))
}

/// Everything that was sent and acknowledged so far, and how far the queues were checked.
#[derive(Default)]
struct Book {
    sent: HashSet<Name>,
    acked: Vec<Acked>,
    /// Acknowledged since the last check.
    new: Vec<Acked>,
    checked: [i64; QUEUES as usize],
    seen: HashSet<Name>,
}

impl Book {
    fn enter(&mut self, told: Vec<Told>) {
        for connection in told {
            self.sent.extend(connection.sent);
            self.new.extend(connection.acked);
        }
    }

    /// Reads what the queues gained since the last time, and checks it against the book.
    fn verify_new(&mut self, wire: &mut Wire) {
        let mut found: Vec<Vec<Name>> = Vec::new();
        let before = self.checked;
        for queue in 0..QUEUES {
            let names = self.read(wire, queue, before[queue as usize]);
            for name in &names {
                assert!(self.seen.insert(*name), "queue {queue} has {name:?} twice");
            }
            self.checked[queue as usize] += names.len() as i64;
            found.push(names);
        }
        for acked in std::mem::take(&mut self.new) {
            let index = acked.offset - before[acked.queue as usize];
            let there = usize::try_from(index)
                .ok()
                .and_then(|index| found[acked.queue as usize].get(index));
            assert_eq!(there, Some(&acked.name), "lost or elsewhere: {acked:?}");
            self.acked.push(acked);
        }
    }

    /// Reads all queues from their beginning; the number of messages.
    fn verify_from_the_start(&self, wire: &mut Wire) -> u64 {
        let all: Vec<Vec<Name>> = (0..QUEUES).map(|queue| self.read(wire, queue, 0)).collect();
        for (names, &end) in all.iter().zip(&self.checked) {
            assert_eq!(names.len() as i64, end, "a queue lost its beginning or its end");
        }
        for acked in &self.acked {
            assert_eq!(all[acked.queue as usize][acked.offset as usize], acked.name);
        }
        all.iter().map(|names| names.len() as u64).sum()
    }

    /// The messages of a queue from an offset to its end: at consecutive offsets, each one that
    /// somebody sent, as it was sent.
    fn read(&self, wire: &mut Wire, queue: i32, from: i64) -> Vec<Name> {
        let end = until("the queue's end is known", Duration::from_secs(20), || {
            let end = wire.max_offset(TOPIC, queue);
            (end >= from).then_some(end)
        });
        let mut names = Vec::new();
        let mut offset = from;
        while offset < end {
            let reply = wire.pull(TOPIC, queue, offset);
            assert_eq!(reply.code(), PULL_FOUND, "queue {queue} at {offset}: {}", reply.header);
            for record in records(&reply.body) {
                assert_eq!((record.queue, record.offset), (queue, offset), "a hole");
                let text = String::from_utf8_lossy(&record.body);
                let name = text.split(' ').next().and_then(Name::parse);
                let name = name.unwrap_or_else(|| panic!("invented at {queue}/{offset}: {text}"));
                assert!(self.sent.contains(&name), "nobody sent {name:?}");
                assert_eq!(record.body, name.body(), "the body of {name:?}");
                names.push(name);
                offset += 1;
            }
        }
        names
    }
}
