//! Closed-loop sending: every connection keeps a number of requests in flight, from one thread.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rocketmq::common::clock::now_ms;

use super::histogram::Histogram;
use super::target::Target;
use crate::support::wire::{Reply, frame_of, receive};

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections, a thread each.
    pub connections: usize,
    /// Requests in flight on a connection.
    pub window: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Messages in total; 0 sends until `limit`.
    pub messages: u64,
    /// Longest time to send for.
    pub limit: Duration,
    /// What the properties hold beside the message's id.
    pub properties: Properties,
}

/// Properties of the messages.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    /// The second of sending as key.
    pub key: bool,
    /// Number of different tags; 0: none.
    pub tags: u32,
    /// Bytes of user properties, about.
    pub user_bytes: usize,
    /// Delay level; 0: none.
    pub delay_level: u32,
    /// Delay of a timed message, ms; 0: none.
    pub timed_ms: u64,
    /// A half message, whose commit follows its acknowledgement.
    pub transaction: bool,
}

/// Counters that a report looks at while the load runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Acknowledged.
    pub sent: AtomicU64,
    /// Not sent, or never answered.
    pub send_failed: AtomicU64,
    /// Refused.
    pub response_failed: AtomicU64,
    /// Sum of the times to the acknowledgement, µs.
    pub sum_us: AtomicU64,
    /// Longest time to an acknowledgement, µs.
    pub max_us: AtomicU64,
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Times from sending to the acknowledgement.
    pub latency: Histogram,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Refused or unanswered.
    pub failed: u64,
}

impl Outcome {
    /// Acknowledged messages a second.
    pub fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Sends `load` to `target`; `tally` follows it.
pub fn run(target: &Target, load: &Load, tally: &Tally) -> Outcome {
    let begin = Instant::now();
    // Tickets instead of a share for each: nobody ends early.
    let tickets = AtomicI64::new(if load.messages == 0 { i64::MAX } else { load.messages as i64 });
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..load.connections)
            .map(|number| {
                let tickets = &tickets;
                scope.spawn(move || {
                    let mut sender =
                        Sender { target, load, tally, number, latency: Histogram::default() };
                    if let Err(error) = sender.run(begin + load.limit, tickets) {
                        eprintln!("connection {number} to {}: {error}", target.broker);
                        tally.send_failed.fetch_add(1, Relaxed);
                    }
                    sender.latency
                })
            })
            .collect();
        for sender in senders {
            if let Ok(latency) = sender.join() {
                outcome.latency.merge(&latency);
            }
        }
    });
    outcome.took = begin.elapsed();
    outcome.failed = tally.send_failed.load(Relaxed) + tally.response_failed.load(Relaxed);
    outcome
}

struct Sender<'a> {
    target: &'a Target,
    load: &'a Load,
    tally: &'a Tally,
    number: usize,
    latency: Histogram,
}

impl Sender<'_> {
    fn run(&mut self, deadline: Instant, tickets: &AtomicI64) -> io::Result<()> {
        let mut socket = TcpStream::connect(&self.target.broker)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut answers = BufReader::with_capacity(64 << 10, socket.try_clone()?);
        // A request's opaque is its slot in the window.
        let mut started = vec![Instant::now(); self.load.window];
        let mut free: Vec<usize> = (0..self.load.window).collect();
        let mut frames = Frames::new(self.target, self.load, self.number);
        let (mut out, mut out_next) = (Vec::new(), Vec::new());
        loop {
            out.clear();
            out.append(&mut out_next);
            while let Some(&slot) = free.last() {
                let over = Instant::now() >= deadline || tickets.fetch_sub(1, Relaxed) <= 0;
                if over {
                    break;
                }
                free.pop();
                frames.append(slot, &mut out);
                started[slot] = Instant::now();
            }
            socket.write_all(&out)?;
            if free.len() == self.load.window {
                return Ok(());
            }
            // At least one answer, then all that came with it.
            loop {
                let reply = receive(&mut answers)?;
                let slot = reply.opaque() as usize;
                let latency = started.get(slot).ok_or(io::ErrorKind::InvalidData)?.elapsed();
                free.push(slot);
                if reply.code() == 0 {
                    self.acknowledged(latency);
                    if self.load.properties.transaction {
                        commit(&reply, &mut out_next);
                    }
                } else if self.tally.response_failed.fetch_add(1, Relaxed) == 0 {
                    eprintln!("the first refusal: {}", reply.header);
                }
                if answers.buffer().is_empty() {
                    break;
                }
            }
        }
    }

    fn acknowledged(&mut self, latency: Duration) {
        let us = latency.as_micros() as u64;
        self.latency.add(latency);
        self.tally.sent.fetch_add(1, Relaxed);
        self.tally.sum_us.fetch_add(us, Relaxed);
        self.tally.max_us.fetch_max(us, Relaxed);
    }
}

/// Appends the one-way END_TRANSACTION that commits the half message of an acknowledgement.
fn commit(reply: &Reply, out: &mut Vec<u8>) {
    let id = reply.text("msgId").unwrap_or_default();
    let log_offset = id.get(16..32).and_then(|hex| i64::from_str_radix(hex, 16).ok()).unwrap_or(-1);
    let table_offset = reply.number("queueOffset").unwrap_or(-1);
    let header = format!(
        "{{\"code\":37,\"extFields\":{{\"producerGroup\":\"benchmark_producer\",\
         \"tranStateTableOffset\":\"{table_offset}\",\"commitLogOffset\":\"{log_offset}\",\
         \"commitOrRollback\":\"8\",\"fromTransactionCheck\":\"false\",\"msgId\":\"{id}\"}},\
         \"flag\":2,\"language\":\"JAVA\",\"opaque\":0,\"serializeTypeCurrentRPC\":\"JSON\",\
         \"version\":409}}"
    );
    out.extend_from_slice(&frame_of(header.as_bytes(), b""));
}

/// Makes SEND_MESSAGE_V2 frames with a JSON header.
struct Frames<'a> {
    target: &'a Target,
    properties: &'a Properties,
    body: Vec<u8>,
    user_properties: String,
    number: usize,
    made: u64,
}

impl<'a> Frames<'a> {
    fn new(target: &'a Target, load: &'a Load, number: usize) -> Self {
        let mut user_properties = String::new();
        let mut index = 0;
        while user_properties.len() < load.properties.user_bytes {
            user_properties.push_str(&format!("prop{index}\\u0001hello{index}\\u0002"));
            index += 1;
        }
        // Letters and digits that zlib would not make much smaller.
        let mut state = 88_172_645_463_325_252_u64.wrapping_add(number as u64);
        let body = (0..load.body_bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
                    [(state >> 32) as usize % 64]
            })
            .collect();
        Self { target, properties: &load.properties, body, user_properties, number, made: 0 }
    }

    fn append(&mut self, opaque: usize, out: &mut Vec<u8>) {
        let now = now_ms();
        let queue = (self.number as u64 + self.made) % self.target.queues.max(1) as u64;
        let (pid, number, made) = (std::process::id(), self.number, self.made);
        self.made += 1;
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        // Writing into a Vec does not fail.
        let _ = write!(
            out,
            "{{\"code\":310,\"extFields\":{{\"a\":\"benchmark_producer\",\"b\":\"{}\",\"c\":\"TBW102\",\
             \"d\":\"{}\",\"e\":\"{queue}\",\"f\":\"0\",\"g\":\"{now}\",\"h\":\"0\",\"i\":\"{}\
             UNIQ_KEY\\u0001{pid:08X}{number:08X}{made:016X}\\u0002",
            self.target.topic, self.target.queues, self.user_properties
        );
        if self.properties.key {
            let _ = write!(out, "KEYS\\u0001{}\\u0002", now / 1000);
        }
        if self.properties.tags > 0 {
            let _ = write!(out, "TAGS\\u0001tag{}\\u0002", now % i64::from(self.properties.tags));
        }
        if self.properties.delay_level > 0 {
            let _ = write!(out, "DELAY\\u0001{}\\u0002", self.properties.delay_level);
        }
        if self.properties.timed_ms > 0 {
            let _ = write!(out, "TIMER_DELAY_MS\\u0001{}\\u0002", self.properties.timed_ms);
        }
        if self.properties.transaction {
            out.extend_from_slice(
                b"TRAN_MSG\\u0001true\\u0002PGROUP\\u0001benchmark_producer\\u0002",
            );
        }
        let _ = write!(
            out,
            "WAIT\\u0001true\",\"j\":\"0\",\"k\":\"false\",\"m\":\"false\"}},\"flag\":0,\
             \"language\":\"JAVA\",\"opaque\":{opaque},\"serializeTypeCurrentRPC\":\"JSON\",\
             \"version\":409}}"
        );
        let header = (out.len() - start - 8) as u32;
        let total = 4 + header + self.body.len() as u32;
        out[start..start + 4].copy_from_slice(&total.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&header.to_be_bytes());
        out.extend_from_slice(&self.body);
    }
}
