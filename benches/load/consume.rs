//! Pulling: every queue is read on one of the connections, 32 messages at a time, waiting at the
//! broker when there is nothing new.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rocketmq::common::clock::now_ms;

use super::histogram::Histogram;
use super::target::Target;
use crate::support::wire::{Wire, code, frame, receive};

/// What to read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Group whose progress is stored.
    pub group: String,
    /// Connections; a queue belongs to one.
    pub connections: usize,
    /// Messages a pull asks for.
    pub batch: u32,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// Which messages.
    pub expression: String,
    /// Where every queue is read from.
    pub from: From,
    /// Messages in total; 0 reads until `stop`.
    pub messages: u64,
    /// Without any message for so long, reading ends.
    pub idle_limit: Duration,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Where the group was, or the beginning.
    Stored,
    /// The beginning of the queue.
    Beginning,
    /// Its end when reading starts.
    End,
}

/// Counters that a report looks at while messages come.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages.
    pub received: AtomicU64,
    /// Bytes of pull responses.
    pub bytes: AtomicU64,
    /// Pulls.
    pub pulls: AtomicU64,
    /// Pulls that failed.
    pub failed: AtomicU64,
    /// Sum of times from the client that made a message to here, ms.
    pub born_ms: AtomicI64,
    /// Sum of times from the broker that stored it to here, ms.
    pub stored_ms: AtomicI64,
    /// Longest of those since somebody took it, ms.
    pub born_max_ms: AtomicI64,
    /// Longest of those since somebody took it, ms.
    pub stored_max_ms: AtomicI64,
    /// Set to end the reading.
    pub stop: AtomicBool,
    /// Connections whose reading began.
    pub started: AtomicU64,
}

/// Microseconds of a moment, that a body may begin with ([`Reading`] of a paced load).
pub fn now_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as u64)
}

/// Reads. With `stamped` every body begins with the [`now_us`] of its sending: those times are
/// returned.
pub fn run(target: &Target, reading: &Reading, tally: &Tally, stamped: bool) -> Histogram {
    let connections = reading.connections.clamp(1, target.queues.max(1) as usize);
    let mut latency = Histogram::default();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..connections)
            .map(|number| {
                scope.spawn(move || {
                    let queues = (number as i32..target.queues).step_by(connections).collect();
                    let mut reader =
                        Reader { target, reading, tally, stamped, latency: Histogram::default() };
                    if let Err(error) = reader.run(queues) {
                        eprintln!("connection {number} to {}: {error}", target.broker);
                        tally.failed.fetch_add(1, Relaxed);
                    }
                    reader.latency
                })
            })
            .collect();
        for reader in readers {
            if let Ok(mine) = reader.join() {
                latency.merge(&mine);
            }
        }
    });
    latency
}

struct Reader<'a> {
    target: &'a Target,
    reading: &'a Reading,
    tally: &'a Tally,
    stamped: bool,
    latency: Histogram,
}

impl Reader<'_> {
    /// One pull of every queue is always on its way; its opaque is the queue's number.
    fn run(&mut self, queues: Vec<i32>) -> io::Result<()> {
        let mut offsets: std::collections::HashMap<i32, i64> = std::collections::HashMap::new();
        let mut wire = Wire::try_connect(&self.target.broker)?;
        for &queue in &queues {
            offsets.insert(queue, self.first_offset(&mut wire, queue));
        }
        let mut socket: TcpStream = wire.socket;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut answers = BufReader::with_capacity(256 << 10, socket.try_clone()?);
        let mut out = Vec::new();
        for (&queue, &offset) in &offsets {
            out.extend_from_slice(&self.pull(queue, offset));
        }
        socket.write_all(&out)?;
        self.tally.started.fetch_add(1, Relaxed);
        let mut last_message = Instant::now();
        loop {
            let enough = self.reading.messages > 0
                && self.tally.received.load(Relaxed) >= self.reading.messages;
            if enough
                || self.tally.stop.load(Relaxed)
                || last_message.elapsed() > self.reading.idle_limit
            {
                return Ok(());
            }
            if answers.buffer().is_empty() && !is_readable(&mut answers)? {
                continue;
            }
            socket.set_read_timeout(Some(Duration::from_secs(30)))?;
            out.clear();
            loop {
                let reply = receive(&mut answers)?;
                self.tally.pulls.fetch_add(1, Relaxed);
                let queue = reply.opaque();
                if self.count(&reply.body) > 0 {
                    last_message = Instant::now();
                }
                if ![0, 19, 20, 21].contains(&reply.code()) {
                    self.tally.failed.fetch_add(1, Relaxed);
                    return Err(io::Error::other(reply.header));
                }
                if let (Some(next), Some(offset)) =
                    (reply.number("nextBeginOffset"), offsets.get_mut(&queue))
                {
                    *offset = next;
                    out.extend_from_slice(&self.pull(queue, next));
                }
                if answers.buffer().is_empty() {
                    break;
                }
            }
            socket.write_all(&out)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        }
    }

    fn first_offset(&self, wire: &mut Wire, queue: i32) -> i64 {
        let queue = queue.to_string();
        let place = [("topic", self.target.topic.as_str()), ("queueId", queue.as_str())];
        let asked = |wire: &mut Wire, code: i32, fields: &[(&str, &str)]| {
            let reply = wire.call(code, fields, b"");
            reply.number("offset").filter(|_| reply.code() == 0)
        };
        let stored = match self.reading.from {
            From::Stored => {
                let fields = [("consumerGroup", self.reading.group.as_str()), place[0], place[1]];
                asked(wire, code::CONSUMER_OFFSET, &fields)
            }
            From::Beginning => None,
            From::End => asked(wire, code::MAX_OFFSET, &place),
        };
        stored.or_else(|| asked(wire, code::MIN_OFFSET, &place)).unwrap_or(0)
    }

    fn pull(&self, queue: i32, offset: i64) -> Vec<u8> {
        // Store the progress, wait at the broker, the subscription is in the request.
        const COMMIT_SUSPEND_SUBSCRIPTION: &str = "7";
        let reading = self.reading;
        let fields = [
            ("consumerGroup", reading.group.as_str()),
            ("topic", &self.target.topic),
            ("queueId", &queue.to_string()),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", &reading.batch.to_string()),
            ("sysFlag", COMMIT_SUSPEND_SUBSCRIPTION),
            ("commitOffset", &offset.to_string()),
            ("suspendTimeoutMillis", "15000"),
            ("subscription", &reading.expression),
            ("subVersion", "0"),
            ("expressionType", &reading.expression_type),
        ];
        frame(code::PULL, queue, &fields, b"")
    }

    /// Counts the records of a response, and their age.
    fn count(&mut self, body: &[u8]) -> u64 {
        let (now, now_us) = (now_ms(), now_us());
        let int = |at: usize| -> Option<usize> {
            let bytes: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes) as usize)
        };
        let long = |at: usize| Some(((int(at)? as u64) << 32) | int(at + 4)? as u64);
        let (mut at, mut records, mut born_sum, mut stored_sum) = (0, 0, 0, 0);
        let (mut born_max, mut stored_max) = (0, 0);
        while let (Some(length), Some(born), Some(stored)) = (int(at), long(at + 40), long(at + 56))
        {
            let (born, stored) = (now - born as i64, now - stored as i64);
            (born_sum, stored_sum) = (born_sum + born, stored_sum + stored);
            (born_max, stored_max) = (born_max.max(born), stored_max.max(stored));
            if self.stamped
                && let Some(sent_us) = long(at + 88)
            {
                self.latency.add(Duration::from_micros(now_us.saturating_sub(sent_us)));
            }
            records += 1;
            at += length.max(1);
        }
        let tally = self.tally;
        tally.received.fetch_add(records, Relaxed);
        tally.bytes.fetch_add(body.len() as u64, Relaxed);
        tally.born_ms.fetch_add(born_sum, Relaxed);
        tally.stored_ms.fetch_add(stored_sum, Relaxed);
        tally.born_max_ms.fetch_max(born_max, Relaxed);
        tally.stored_max_ms.fetch_max(stored_max, Relaxed);
        records
    }
}

/// Whether something came within the read timeout.
fn is_readable(answers: &mut BufReader<TcpStream>) -> io::Result<bool> {
    use io::{BufRead, ErrorKind};
    match answers.fill_buf() {
        Ok([]) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
