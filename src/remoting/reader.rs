//! The reader of a connection: cuts frames out of what the socket gives.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use log::Level;
use socket2::Socket;

use super::connection::Connection;
use super::dispatch::Round;
use super::frame;
use super::outbox::Frames;
use crate::common::together::together;

/// Buffer of a connection that is idle or slow.
const IDLE_BYTES: usize = 4 * 1024;
/// Buffer of a busy connection at most, while no frame is longer.
const BUSY_BYTES: usize = 256 * 1024;
/// A larger buffer is given back when nothing came for so long.
const SHRINK_AFTER: Duration = Duration::from_secs(2);
/// First byte of a TLS handshake; as the first byte of a length it would be 352 MB.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why a reader ends.
struct End {
    level: Level,
    why: String,
}

impl End {
    /// Something an operator should know of.
    fn warn(why: impl Into<String>) -> Self {
        Self { level: Level::Warn, why: why.into() }
    }

    /// The ordinary end of a connection.
    fn quiet(why: impl Into<String>) -> Self {
        Self { level: Level::Debug, why: why.into() }
    }
}

/// Reads until the connection ends, and closes it.
pub(super) fn run(connection: &Arc<Connection>) {
    let end = match read_frames(connection) {
        Ok(never) => match never {},
        Err(end) => end,
    };
    connection.close_logged(end.level, &end.why);
}

fn read_frames(connection: &Arc<Connection>) -> Result<std::convert::Infallible, End> {
    let mut input = Input::new();
    let mut answers = Frames::default();
    let mut first = true;
    loop {
        match input.fill(&connection.socket) {
            Ok(Filled::Bytes) => {}
            Ok(Filled::Nothing) => {
                answers = Frames::default();
                continue;
            }
            Ok(Filled::End) if input.unread().is_empty() => {
                return Err(End::quiet("closed by the peer"));
            }
            Ok(Filled::End) => return Err(End::quiet("closed by the peer within a frame")),
            Err(error) => return Err(End::quiet(format!("read failed: {error}"))),
        }
        connection.touch();
        if std::mem::take(&mut first) && input.unread().first() == Some(&TLS_HANDSHAKE) {
            return Err(End::warn("the peer speaks TLS, which is not available here"));
        }
        // What the requests leave to the end waits until their answers are on their way.
        let mut result = Ok(());
        together(|| result = round(connection, &mut input, &mut answers));
        result?;
        if input.buffer.len() == IDLE_BYTES {
            answers.shrink(IDLE_BYTES);
        }
    }
}

/// Everything that one read brought.
fn round(connection: &Arc<Connection>, input: &mut Input, answers: &mut Frames) -> Result<(), End> {
    let routes = connection.endpoint.routes.get();
    let mut round = Round::new(connection, &routes, answers);
    let max_frame_bytes = connection.endpoint.limits.max_frame_bytes;
    let result = loop {
        match frame::decode(input.unread(), max_frame_bytes) {
            Ok(Some((command, bytes))) => {
                input.consume(bytes);
                round.accept(command);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(End::warn(error.0)),
        }
    };
    // Requests before a bad frame are answered.
    round.finish();
    result
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
enum Filled {
    Bytes,
    /// Nothing for a while; the buffer was given back.
    Nothing,
    /// The peer sends nothing more.
    End,
}

/// Bytes that were read and not parsed yet.
///
/// The buffer doubles while reads fill it, up to [`BUSY_BYTES`], or while a frame is longer, up to
/// the frame; never because of what a length field says, so a peer must really send what it makes
/// us keep. It shrinks when a long frame is done, and to [`IDLE_BYTES`] when nothing comes.
struct Input {
    /// All of it initialized.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read left no room.
    was_full: bool,
    /// A read ends after [`SHRINK_AFTER`]: set while the buffer is large.
    timeout_set: bool,
}

impl Input {
    fn new() -> Self {
        Self { buffer: vec![0; IDLE_BYTES], start: 0, end: 0, was_full: false, timeout_set: false }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end, "more consumed than read");
    }

    /// One read.
    fn fill(&mut self, socket: &Socket) -> io::Result<Filled> {
        self.make_room();
        let large = self.buffer.len() > IDLE_BYTES;
        if large != self.timeout_set {
            socket.set_read_timeout(large.then_some(SHRINK_AFTER))?;
            self.timeout_set = large;
        }
        loop {
            let mut from = socket;
            match from.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(Filled::End),
                Ok(bytes) => {
                    self.end += bytes;
                    self.was_full = self.end == self.buffer.len();
                    return Ok(Filled::Bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.start == self.end {
                        *self = Self { timeout_set: self.timeout_set, ..Self::new() };
                    }
                    return Ok(Filled::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Room for at least one byte, and for more than the last read brought if that was all full.
    fn make_room(&mut self) {
        let unread = self.end - self.start;
        if unread == 0 && self.buffer.len() > BUSY_BYTES {
            // A long frame is done. A new buffer, because the system takes the old one back whole.
            self.buffer = vec![0; BUSY_BYTES];
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        self.start = 0;
        self.end = unread;
        let busy = self.was_full && self.buffer.len() < BUSY_BYTES;
        if busy || self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        self.was_full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (peer, listener.accept().unwrap().0.into())
    }

    /// Reads until so many bytes are unread; the largest buffer meanwhile.
    fn fill_to(input: &mut Input, socket: &Socket, bytes: usize) -> usize {
        let mut largest = 0;
        while input.unread().len() < bytes {
            assert_eq!(input.fill(socket).unwrap(), Filled::Bytes);
            largest = largest.max(input.buffer.len());
        }
        largest
    }

    #[test]
    fn the_buffer_grows_with_what_comes_and_shrinks_when_it_is_done() {
        let (mut peer, socket) = pair();
        let mut input = Input::new();
        // A length field alone reserves nothing.
        peer.write_all(&[0, 0xFF, 0xFF, 0]).unwrap();
        assert_eq!(fill_to(&mut input, &socket, 4), IDLE_BYTES);
        const LARGE: usize = 3 << 20;
        let sender = std::thread::spawn(move || {
            peer.write_all(&vec![1; LARGE]).unwrap();
            peer
        });
        let largest = fill_to(&mut input, &socket, 4 + LARGE);
        assert!((LARGE..=3 * LARGE).contains(&largest), "{largest}");
        let mut peer = sender.join().unwrap();
        input.consume(LARGE);
        assert_eq!(input.unread(), [1; 4]);
        input.consume(4);
        peer.write_all(&[2]).unwrap();
        assert_eq!(fill_to(&mut input, &socket, 1), BUSY_BYTES);
        // What is unread is kept, however long it takes.
        assert_eq!(input.fill(&socket).unwrap(), Filled::Nothing);
        assert_eq!((input.unread(), input.buffer.len()), ([2].as_slice(), BUSY_BYTES));
        input.consume(1);
        assert_eq!(input.fill(&socket).unwrap(), Filled::Nothing);
        assert_eq!(input.buffer.len(), IDLE_BYTES);
        peer.write_all(&[3]).unwrap();
        fill_to(&mut input, &socket, 1);
        assert_eq!(socket.read_timeout().unwrap(), None, "an idle reader is not woken");
        drop(peer);
        assert_eq!(input.fill(&socket).unwrap(), Filled::End);
    }
}
