//! Accounting: who sent what, what was acknowledged, and what a broker has of it afterwards.
//!
//! A [`Sending`] writes messages over raw connections until it is told to end or its broker dies.
//! The [`Book`] then reads the queues of whoever should have them: what was acknowledged is there,
//! at the offset that was told; no queue has a hole; nothing is there that nobody sent; nothing is
//! there twice.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::until;
use super::wire::{Reply, Wire, borrowed, code, frame, receive, records, send_fields};

const PULL_FOUND: i32 = 0;

/// A message is named by who sent it; its body follows from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
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
pub struct Acked {
    /// The message.
    pub name: Name,
    /// Queue.
    pub queue: i32,
    /// Offset in the queue.
    pub offset: i64,
}

/// What one connection has to tell at its end.
#[derive(Debug, Default)]
pub struct Told {
    acked: Vec<Acked>,
    /// Sent, acknowledged or not.
    sent: Vec<Name>,
    /// Codes of the answers that were no success.
    refused: Vec<i32>,
}

/// What is sent: `connections` senders, each to one queue, with `window` requests in flight.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Topic.
    pub topic: &'static str,
    /// Its queues. Several connections share one, so that their appends interleave.
    pub queues: i32,
    /// Connections.
    pub connections: i32,
    /// Requests in flight on a connection.
    pub window: u32,
    /// Messages a connection sends at most.
    pub messages: u32,
}

/// Senders at work.
pub struct Sending {
    acknowledged: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<Told>>>,
    senders: Vec<std::thread::JoinHandle<()>>,
}

impl Sending {
    /// Starts them. No two rounds of a [`Book`] have the same number.
    pub fn start(addr: &str, load: Load, round: u32) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::new(Mutex::new(Vec::new()));
        let senders = (0..load.connections)
            .map(|connection| {
                let (addr, acknowledged) = (addr.to_owned(), Arc::clone(&acknowledged));
                let (over, told) = (Arc::clone(&over), Arc::clone(&told));
                std::thread::spawn(move || {
                    let mut sender =
                        Sender { load, round, connection, acknowledged, told: Told::default() };
                    // An error is the broker's death, which is what this is about.
                    let _ = sender.run(&addr, &over);
                    told.lock().unwrap_or_else(PoisonError::into_inner).push(sender.told);
                })
            })
            .collect();
        Self { acknowledged, over, told, senders }
    }

    /// Acknowledgements so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether every sender is still at work.
    pub fn goes_on(&self) -> bool {
        self.senders.iter().all(|sender| !sender.is_finished())
    }

    /// Waits for so many acknowledgements in all.
    pub fn wait_for(&self, enough: u64, limit: Duration) {
        until(&format!("{enough} acknowledgements"), limit, || {
            (self.acknowledged() >= enough || self.senders.iter().all(|s| s.is_finished()))
                .then_some(())
        });
        assert!(self.acknowledged() >= enough, "{} of {enough} sent", self.acknowledged());
    }

    /// Tells the senders to send no more; those in flight are still waited for by [`join`](Self::join).
    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits until every sender is done or cut off.
    pub fn join(self) -> Vec<Told> {
        for sender in self.senders {
            sender.join().unwrap_or_else(|_| panic!("a sender saw something wrong"));
        }
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Sender {
    load: Load,
    round: u32,
    connection: i32,
    acknowledged: Arc<AtomicU64>,
    told: Told,
}

impl Sender {
    fn run(&mut self, addr: &str, over: &AtomicBool) -> std::io::Result<()> {
        let queue = self.connection % self.load.queues;
        let mut wire = Wire::try_connect(addr)?;
        let mut in_flight = 0;
        for number in 0..self.load.messages {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let name = Name { round: self.round, connection: self.connection, number };
            let fields = send_fields(self.load.topic, queue, &name.key());
            let frame = frame(code::SEND, number as i32, &borrowed(&fields), &name.body());
            self.told.sent.push(name);
            wire.socket.write_all(&frame)?;
            in_flight += 1;
            if in_flight == self.load.window {
                self.read_answer(&mut wire)?;
                in_flight -= 1;
            }
        }
        for _ in 0..in_flight {
            self.read_answer(&mut wire)?;
        }
        Ok(())
    }

    /// Reads one response. A refusal (busy, say) is an answer too, and promises nothing.
    fn read_answer(&mut self, wire: &mut Wire) -> std::io::Result<()> {
        let reply: Reply = receive(&mut wire.socket)?;
        if reply.code() != 0 {
            self.told.refused.push(reply.code());
            return Ok(());
        }
        let told = |name: &str| {
            reply.number(name).unwrap_or_else(|| panic!("no {name} in {}", reply.header))
        };
        let name =
            Name { round: self.round, connection: self.connection, number: reply.opaque() as u32 };
        let acked = Acked { name, queue: told("queueId") as i32, offset: told("queueOffset") };
        self.told.acked.push(acked);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Everything that was sent and acknowledged so far, and how far the queues were checked.
#[derive(Debug)]
pub struct Book {
    topic: &'static str,
    sent: HashSet<Name>,
    acked: Vec<Acked>,
    /// Acknowledged since the last check.
    new: Vec<Acked>,
    refused: Vec<i32>,
    rounds: u32,
    checked: Vec<i64>,
    seen: HashSet<Name>,
}

impl Book {
    /// An empty one, for a topic with so many queues.
    pub fn new(topic: &'static str, queues: i32) -> Self {
        Self {
            topic,
            sent: HashSet::new(),
            acked: Vec::new(),
            new: Vec::new(),
            refused: Vec::new(),
            rounds: 0,
            checked: vec![0; queues as usize],
            seen: HashSet::new(),
        }
    }

    /// Enters what the senders tell; the acknowledged ones among it.
    pub fn enter(&mut self, told: Vec<Told>) -> usize {
        let before = self.new.len();
        self.rounds += 1;
        for connection in told {
            self.sent.extend(connection.sent);
            self.new.extend(connection.acked);
            self.refused.extend(connection.refused);
        }
        self.new.len() - before
    }

    /// How many rounds were entered.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Codes of all answers that were no success.
    pub fn refused(&self) -> &[i32] {
        &self.refused
    }

    /// Reads what the queues gained since the last time, and checks it against the book.
    pub fn verify_new(&mut self, wire: &mut Wire) {
        let lost = self.losses(wire);
        assert!(lost.is_empty(), "lost or elsewhere: {} messages: {:?}", lost.len(), lost.first());
    }

    /// The same, where acknowledged messages may be missing, and only missing: those that are.
    pub fn losses(&mut self, wire: &mut Wire) -> Vec<Acked> {
        let mut found: Vec<Vec<Name>> = Vec::new();
        let before = self.checked.clone();
        for (queue, checked) in self.checked.clone().into_iter().enumerate() {
            let names = self.read(wire, queue as i32, checked);
            for name in &names {
                assert!(self.seen.insert(*name), "queue {queue} has {name:?} twice");
            }
            self.checked[queue] += names.len() as i64;
            found.push(names);
        }
        let mut lost = Vec::new();
        for acked in std::mem::take(&mut self.new) {
            let index = acked.offset - before[acked.queue as usize];
            let there = usize::try_from(index)
                .ok()
                .and_then(|index| found[acked.queue as usize].get(index));
            if there == Some(&acked.name) {
                self.acked.push(acked);
            } else {
                assert!(!self.seen.contains(&acked.name), "elsewhere: {acked:?}");
                lost.push(acked);
            }
        }
        lost
    }

    /// Reads all queues from their beginning; the number of messages.
    pub fn verify_from_the_start(&self, wire: &mut Wire) -> u64 {
        let queues = 0..self.checked.len() as i32;
        let all: Vec<Vec<Name>> = queues.map(|queue| self.read(wire, queue, 0)).collect();
        for (names, &end) in all.iter().zip(&self.checked) {
            let there = names.len() as i64;
            assert!(there >= end, "a queue that went to {end} has {there} messages");
        }
        for acked in &self.acked {
            assert_eq!(all[acked.queue as usize][acked.offset as usize], acked.name);
        }
        all.iter().map(|names| names.len() as u64).sum()
    }

    /// The messages of a queue from an offset to its end: at consecutive offsets, each one that
    /// somebody sent, as it was sent.
    fn read(&self, wire: &mut Wire, queue: i32, from: i64) -> Vec<Name> {
        let end = until("the queue's end is known", Duration::from_secs(60), || {
            let end = wire.max_offset(self.topic, queue);
            (end >= from).then_some(end)
        });
        let mut names = Vec::new();
        let mut offset = from;
        while offset < end {
            let reply = wire.pull(self.topic, queue, offset);
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
