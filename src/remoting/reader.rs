//! Reading a connection: [`Reading`] cuts frames out of what the socket gives. Which thread does it
//! is the business of the [`read_role`](super::read_role).

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use socket2::Socket;

use super::connection::Connection;
use super::dispatch::Round;
use super::frame;
use super::outbox::Frames;
use super::pending::Slot;
use super::read_role::Turn;
use super::watch::{Watch, Watchers};
use crate::common::os;
use crate::common::sync::catch_panic;
use crate::common::together::together;

/// Buffer of a connection that is idle or slow.
const IDLE_BYTES: usize = 4 * 1024;
/// Buffer of a busy connection at most, while no frame is longer.
const BUSY_BYTES: usize = 256 * 1024;
/// A larger buffer is given back when nothing came for so long.
const SHRINK_AFTER: Duration = Duration::from_secs(2);
/// The shortest wait for bytes: the system counts in milliseconds, some of them together.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// First byte of a TLS handshake; as the first byte of a length it would be 352 MB.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why a connection ends.
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

/// The reader thread: reads until the connection ends, and closes it.
pub(super) fn run(connection: &Arc<Connection>) {
    let pending = &connection.pending;
    let mut turn = connection.read_role.take();
    loop {
        if let Err(end) = turn.reading().read(connection, None) {
            connection.close_logged(end.level, &end.why);
            return;
        }
        turn = connection.read_role.after_round(turn, pending);
    }
}

/// A thread that waits for the answer to its call, and whose turn it is, reads until it has it, or
/// the deadline passes, or the connection ends. Whatever else comes it does for the others.
pub(super) fn read_for(
    connection: &Arc<Connection>,
    mut turn: Turn<'_>,
    slot: &Slot,
    deadline: Instant,
) {
    while !slot.is_filled() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        // What others left to be run here must not unwind into this caller.
        let read = || turn.reading().read(connection, Some(left));
        match catch_panic("the reader of a connection", read) {
            Some(Ok(())) => continue,
            Some(Err(end)) => connection.close_logged(end.level, &end.why),
            None => connection.close_logged(Level::Warn, "its reader panicked"),
        }
        break;
    }
    turn.end(&connection.pending);
}

/// What whoever reads a connection has in its hands.
pub(super) struct Reading {
    input: Input,
    /// Room for the answers of a round.
    answers: Frames,
    /// Nothing was read before.
    first: bool,
    watch: Watch,
    /// The last read brought one frame, all of it.
    single: bool,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self {
            input: Input::new(),
            answers: Frames::default(),
            first: true,
            watch: Watch::new(),
            single: false,
        }
    }

    /// One read, and all that it brought. It may bring nothing: after `wait`, if there is one, or
    /// now and then.
    fn read(&mut self, connection: &Arc<Connection>, wait: Option<Duration>) -> Result<(), End> {
        let Self { input, answers, first, watch, single } = self;
        let waits_for_one = wait.is_some() || !connection.endpoint.limits.callers_may_read;
        let watched = *single && waits_for_one;
        let look = watched.then_some((&mut *watch, &connection.endpoint.watchers));
        match input.fill(&connection.socket, wait, look) {
            Ok(Filled::Bytes) => {}
            Ok(Filled::Nothing) => {
                *answers = Frames::default();
                return Ok(());
            }
            Ok(Filled::End) if input.unread().is_empty() => {
                return Err(End::quiet("closed by the peer"));
            }
            Ok(Filled::End) => return Err(End::quiet("closed by the peer within a frame")),
            Err(error) => return Err(End::quiet(format!("read failed: {error}"))),
        }
        connection.touch();
        if std::mem::take(first) && input.unread().first() == Some(&TLS_HANDSHAKE) {
            return Err(End::warn("the peer speaks TLS, which is not available here"));
        }
        // What the requests leave to the end waits until their answers are on their way.
        let mut result = Ok(0);
        together(|| result = round(connection, input, answers, &mut watch.is_owed));
        *single = result? == 1;
        if input.buffer.len() == IDLE_BYTES {
            answers.shrink(IDLE_BYTES);
        }
        Ok(())
    }
}

/// Everything that one read brought.
fn round(
    connection: &Arc<Connection>,
    input: &mut Input,
    answers: &mut Frames,
    is_owed: &mut bool,
) -> Result<usize, End> {
    let routes = connection.endpoint.routes.get();
    let mut round = Round::new(connection, &routes, answers);
    let max_frame_bytes = connection.endpoint.limits.max_frame_bytes;
    let mut frames = 0;
    let result = loop {
        match frame::decode(input.unread(), max_frame_bytes) {
            Ok(Some((command, bytes))) => {
                input.consume(bytes);
                round.accept(command);
                frames += 1;
            }
            Ok(None) => break Ok(frames),
            Err(error) => break Err(End::warn(error.0)),
        }
    };
    // Requests before a bad frame are answered.
    *is_owed = round.finish();
    result
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
enum Filled {
    Bytes,
    /// Nothing for a while; a large buffer was given back, if the while was long.
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
    /// After how long a read ends with nothing, as the socket knows it.
    timeout: Option<Duration>,
}

impl Input {
    fn new() -> Self {
        Self { buffer: vec![0; IDLE_BYTES], start: 0, end: 0, was_full: false, timeout: None }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end, "more consumed than read");
    }

    /// One read, which ends with nothing after `wait`, roughly; without `wait` only while the buffer
    /// is large, to give it back.
    fn fill(
        &mut self,
        socket: &Socket,
        wait: Option<Duration>,
        watch: Option<(&mut Watch, &Watchers)>,
    ) -> io::Result<Filled> {
        self.make_room();
        if let Some((watch, watchers)) = watch
            && let Some(read) =
                watch.read(watchers, || os::receive_now(socket, &mut self.buffer[self.end..]))
        {
            return Ok(match read? {
                0 => Filled::End,
                bytes => self.filled(bytes),
            });
        }
        let large = self.buffer.len() > IDLE_BYTES;
        let timeout = wait.map(read_timeout).or(large.then_some(SHRINK_AFTER));
        if timeout != self.timeout {
            socket.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        loop {
            let mut from = socket;
            match from.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(Filled::End),
                Ok(bytes) => return Ok(self.filled(bytes)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.start == self.end && timeout >= Some(SHRINK_AFTER) {
                        *self = Self { timeout: self.timeout, ..Self::new() };
                    }
                    return Ok(Filled::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn filled(&mut self, bytes: usize) -> Filled {
        self.end += bytes;
        self.was_full = self.end == self.buffer.len();
        Filled::Bytes
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

/// The longest of 2 s, 1 s, 500 ms and so on that is not longer than `wait`. Changing the timeout of
/// a socket is a system call: with a few values for all deadlines most calls need none.
fn read_timeout(wait: Duration) -> Duration {
    let mut timeout = SHRINK_AFTER;
    while timeout > wait && timeout > SHORTEST_WAIT {
        timeout /= 2;
    }
    timeout
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
            assert_eq!(input.fill(socket, None, None).unwrap(), Filled::Bytes);
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
        assert_eq!(input.fill(&socket, None, None).unwrap(), Filled::Nothing);
        assert_eq!((input.unread(), input.buffer.len()), ([2].as_slice(), BUSY_BYTES));
        input.consume(1);
        assert_eq!(input.fill(&socket, None, None).unwrap(), Filled::Nothing);
        assert_eq!(input.buffer.len(), IDLE_BYTES);
        peer.write_all(&[3]).unwrap();
        fill_to(&mut input, &socket, 1);
        assert_eq!(socket.read_timeout().unwrap(), None, "an idle reader is not woken");
        drop(peer);
        assert_eq!(input.fill(&socket, None, None).unwrap(), Filled::End);
    }
    #[test]
    fn few_timeouts_serve_all_deadlines() {
        let timeout = |millis| read_timeout(Duration::from_millis(millis));
        assert_eq!(timeout(30_000), SHRINK_AFTER);
        assert_eq!((timeout(2999), timeout(1999)), (SHRINK_AFTER, Duration::from_secs(1)));
        assert_eq!(timeout(300), Duration::from_millis(250));
        assert!((1..2000).all(|millis| timeout(millis) <= Duration::from_millis(millis)));
        assert!(timeout(0) > Duration::ZERO, "zero would be no limit at all");
    }
}
