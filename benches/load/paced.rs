//! Sending at a steady rate, whatever the answers do.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::consume::now_us;
use super::target::Target;
use crate::support::wire::{borrowed, code, frame, receive, send_fields};

/// Messages that are written together at most, when they are due together.
const BURST: u64 = 32;
/// So much later than asked for may a sleep end.
const SLEEP_IS_LATE: Duration = Duration::from_micros(60);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Messages a second.
    pub per_second: u64,
    /// Messages in all.
    pub total: u64,
    /// Connections that share them, each to a queue of its own.
    pub connections: u64,
    /// Bytes of a body. It begins with the moment of its sending ([`now_us`]) and its number, 8
    /// bytes each.
    pub body_bytes: usize,
}

/// Sends; `acknowledged` is told the number of each message when its answer comes.
pub fn send(target: &Target, pace: Pace, acknowledged: &(dyn Fn(u64) + Sync)) -> io::Result<()> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..pace.connections)
            .map(|number| {
                scope.spawn(move || send_share(target, pace, number, begin, acknowledged))
            })
            .collect();
        senders.into_iter().try_for_each(|sender| {
            sender.join().unwrap_or_else(|_| Err(io::Error::other("a sender failed")))
        })
    })
}

/// Every `connections`-th message, beginning with `first`.
fn send_share(
    target: &Target,
    pace: Pace,
    first: u64,
    begin: Instant,
    acknowledged: &(dyn Fn(u64) + Sync),
) -> io::Result<()> {
    let mut socket = TcpStream::connect(&target.broker)?;
    socket.set_nodelay(true)?;
    let mut answers = BufReader::with_capacity(64 << 10, socket.try_clone()?);
    let count = (pace.total - first).div_ceil(pace.connections);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> io::Result<()> {
            for _ in 0..count {
                let reply = receive(&mut answers)?;
                if reply.code() != 0 {
                    return Err(io::Error::other(reply.header));
                }
                acknowledged(reply.opaque() as u64);
            }
            Ok(())
        });
        let fields = send_fields(&target.topic, first as i32 % target.queues.max(1), "paced");
        let fields = borrowed(&fields);
        let mut body = vec![b'x'; pace.body_bytes.max(16)];
        let mut out = Vec::new();
        let due = |number: u64| {
            begin + Duration::from_nanos(number.saturating_mul(1_000_000_000) / pace.per_second)
        };
        let mut number = first;
        // Who is due more often than a sleep is long would keep a processor busy with waiting, one
        // that the broker wants.
        let interval = Duration::from_nanos(1_000_000_000 * pace.connections / pace.per_second);
        while number < pace.total {
            if interval < SLEEP_IS_LATE {
                std::thread::sleep(SLEEP_IS_LATE);
            }
            wait_until(due(number));
            out.clear();
            let now = Instant::now();
            for _ in 0..BURST {
                body[..8].copy_from_slice(&now_us().to_be_bytes());
                body[8..16].copy_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&frame(code::SEND, number as i32, &fields, &body));
                number += pace.connections;
                if number >= pace.total || due(number) > now {
                    break;
                }
            }
            socket.write_all(&out)?;
        }
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader failed")))
    })
}

fn wait_until(moment: Instant) {
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        // The rest is spent looking at the clock.
        match left.checked_sub(SLEEP_IS_LATE) {
            Some(most) if !most.is_zero() => std::thread::sleep(most),
            _ => std::hint::spin_loop(),
        }
    }
}
