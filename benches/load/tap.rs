//! A slave that stores nothing: it says it has what it got, and tells when each message came.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::consume::now_us;

const MESSAGE_MAGIC: u32 = 0xdaa3_20a7;
/// Where a body stands in a record whose hosts are of IPv4.
const BODY_AT: usize = 88;
/// Offset and size that go before the bytes.
const HEADER: usize = 12;

/// Follows the master at `addr` (its replication port) from `offset` on until `over`. For every
/// message whose body begins with the moment of its sending and a number, 8 bytes each, `arrived` gets
/// that number, that moment and the one when it came.
pub fn follow(
    addr: &str,
    offset: i64,
    over: &AtomicBool,
    arrived: &dyn Fn(u64, u64, u64),
) -> io::Result<()> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.write_all(&offset.to_be_bytes())?;
    let mut bytes = vec![0; 4 << 20];
    let mut filled = 0;
    let mut log = Log { pending: Vec::new(), end: offset };
    while !over.load(Relaxed) {
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let now = now_us();
        let mut at = 0;
        while let Some(header) = bytes[at..filled].first_chunk::<HEADER>() {
            let size = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
            let Some(body) = bytes[at + HEADER..filled].get(..size) else { break };
            log.append(body, now, arrived);
            at += HEADER + size;
        }
        bytes.copy_within(at..filled, 0);
        filled -= at;
        socket.write_all(&log.end.to_be_bytes())?;
    }
    Ok(())
}

struct Log {
    /// The begin of a record that is not whole yet.
    pending: Vec<u8>,
    end: i64,
}

impl Log {
    fn append(&mut self, bytes: &[u8], now: u64, arrived: &dyn Fn(u64, u64, u64)) {
        self.end += bytes.len() as i64;
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(record) = self.pending.get(at..) {
            let word =
                |from: usize| record.get(from..from + 4)?.try_into().ok().map(u32::from_be_bytes);
            let (Some(size), Some(magic)) = (word(0), word(4)) else { break };
            let size = size as usize;
            if record.len() < size || size < 8 {
                break;
            }
            let long =
                |from: usize| record.get(from..from + 8)?.try_into().ok().map(u64::from_be_bytes);
            if magic == MESSAGE_MAGIC
                && size >= BODY_AT + 16
                && let (Some(sent), Some(number)) = (long(BODY_AT), long(BODY_AT + 8))
            {
                arrived(number, sent, now);
            }
            at += size;
        }
        self.pending.drain(..at);
    }
}
