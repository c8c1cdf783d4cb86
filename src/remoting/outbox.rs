//! What leaves a connection: [`Frames`], encoded and not yet written, and the [`Outbox`], which
//! decides who writes them. Writing itself and the socket are the connection's.

use std::io::IoSlice;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::command::{Body, Command, SharedBytes};
use super::frame::{self, FrameError};
use crate::common::sync::lock;

/// Slices in one system call: the kernel takes 1024, and a pull answer has 33.
const MAX_SLICES: usize = 512;
/// Buffers up to this size are kept for the next frames.
const KEPT_BYTES: usize = 32 * 1024;

/// Encoded frames, one after another.
///
/// Everything is one buffer, except bodies that somebody else owns: of those stands here where
/// they go in between. They are kept alive until they are written.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Position in `bytes` before which the body goes; ascending.
    shared: Vec<(usize, Arc<dyn SharedBytes>)>,
    shared_bytes: usize,
    /// See [`keep`](Self::keep).
    kept_bytes: usize,
}

impl Frames {
    /// Appends a frame.
    pub(super) fn push(&mut self, command: &Command) -> Result<(), FrameError> {
        frame::encode(command, &mut self.bytes)?;
        if let Body::Shared(body) = &command.body {
            self.shared_bytes += body.len();
            self.shared.push((self.bytes.len(), Arc::clone(body)));
        }
        Ok(())
    }

    /// Bytes of all frames.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on a buffer of that size is kept.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.kept_bytes = bytes;
    }

    /// The frames are gone; their buffer stays unless it is large.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(self.kept_bytes.max(KEPT_BYTES));
        self.shared.clear();
        self.shared_bytes = 0;
    }

    /// Gives back a buffer larger than `bytes`, if it is empty.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// Moves all of `other` behind what is here.
    fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            mem::swap(self, other);
        } else {
            let before = self.bytes.len();
            self.bytes.append(&mut other.bytes);
            self.shared.extend(other.shared.drain(..).map(|(at, body)| (before + at, body)));
            self.shared_bytes += other.shared_bytes;
        }
        other.clear();
    }

    /// Gives `write` what is left after the first `written` bytes, or as much of it as one system
    /// call takes.
    pub(super) fn write_rest<R>(
        &self,
        written: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> R,
    ) -> R {
        if self.shared.is_empty() {
            return write(&[IoSlice::new(self.bytes.get(written..).unwrap_or_default())]);
        }
        let mut pieces = Vec::with_capacity(34 * self.shared.len() + 1);
        let mut from = 0;
        for (at, body) in &self.shared {
            pieces.push(IoSlice::new(&self.bytes[from..*at]));
            body.slices(&mut pieces);
            from = *at;
        }
        pieces.push(IoSlice::new(&self.bytes[from..]));
        let mut rest = pieces.as_mut_slice();
        IoSlice::advance_slices(&mut rest, written);
        let most = rest.len().min(MAX_SLICES);
        write(&rest[..most])
    }
}

/// Who writes, and what waits to be written.
///
/// At most one thread at a time writes to the socket, without holding the lock. Whoever finds
/// somebody writing leaves its frames behind and goes; the writer takes them along next. So a
/// system call under load carries the answers of several threads, and nobody waits for another's.
///
/// Invariants:
/// * nothing waits while nobody writes;
/// * what waits and what the drain holds is together at most the limit.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Told when bytes have left, if somebody waits for it.
    room: Condvar,
}

#[derive(Default)]
struct State {
    writing: bool,
    closed: bool,
    waiting: Frames,
    /// Bytes that the drain took and the kernel has not.
    draining_bytes: usize,
    /// Threads that wait for room.
    waiters: usize,
}

impl State {
    fn waiting_bytes(&self) -> usize {
        self.draining_bytes + self.waiting.len()
    }
}

/// What becomes of frames that are to leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The caller writes them now, and is the only one who does.
    Write,
    /// They were left to the thread that writes.
    Left,
    /// So many bytes would wait; the limit is passed.
    Overflow(usize),
    /// The connection is closed.
    Closed,
}

impl Outbox {
    /// Asks what is to be done with `frames`, which are empty afterwards if they were left.
    pub(super) fn admit(&self, frames: &mut Frames, limit: usize) -> Admission {
        let mut state = lock(&self.state);
        if state.closed {
            return Admission::Closed;
        }
        if !state.writing {
            state.writing = true;
            return Admission::Write;
        }
        let bytes = state.waiting_bytes() + frames.len();
        if bytes > limit {
            return Admission::Overflow(bytes);
        }
        state.waiting.append(frames);
        Admission::Left
    }

    /// The writer has written `frames`: puts there what was left meanwhile. Without any the caller
    /// is no longer the writer, and the result is false.
    pub(super) fn next(&self, frames: &mut Frames) -> bool {
        frames.clear();
        let mut state = lock(&self.state);
        state.draining_bytes = 0;
        self.tell_of_room(&state);
        if state.waiting.is_empty() {
            // An idle connection keeps no buffer.
            state.waiting = Frames::default();
            state.writing = false;
        } else {
            mem::swap(frames, &mut state.waiting);
        }
        state.writing
    }

    /// Says how many bytes the drain still has in its hands.
    pub(super) fn draining(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.draining_bytes = bytes;
        self.tell_of_room(&state);
    }

    fn tell_of_room(&self, state: &State) {
        if state.waiters > 0 {
            self.room.notify_all();
        }
    }

    /// Waits until at most `most` bytes wait for the peer to read, or the connection is closed.
    /// False if neither happened until `deadline`.
    pub(super) fn wait_for_room(&self, most: usize, deadline: Instant) -> bool {
        let mut state = lock(&self.state);
        state.waiters += 1;
        let room = loop {
            if state.closed || state.waiting_bytes() <= most {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            let waited = self.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiters -= 1;
        room
    }

    /// Bytes that wait for the peer to read.
    pub(super) fn waiting_bytes(&self) -> usize {
        lock(&self.state).waiting_bytes()
    }

    /// Whether somebody writes.
    pub(super) fn is_writing(&self) -> bool {
        lock(&self.state).writing
    }

    /// Nothing leaves any more.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.tell_of_room(&state);
        // Bodies of others are given back outside the lock.
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<Vec<u8>>);

    impl SharedBytes for Pieces {
        fn len(&self) -> usize {
            self.0.iter().map(Vec::len).sum()
        }

        fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
            out.extend(self.0.iter().map(|piece| IoSlice::new(piece)));
        }
    }

    fn frames(opaque: i32, pieces: &[&str]) -> Frames {
        let mut command = Command { opaque, ..Command::response(0) };
        if !pieces.is_empty() {
            let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
            command.body = Body::Shared(Arc::new(Pieces(pieces)));
        }
        let mut frames = Frames::default();
        frames.push(&command).unwrap();
        frames
    }

    fn written(frames: &Frames, at_a_time: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < frames.len() {
            let taken: Vec<u8> = frames.write_rest(out.len(), |slices| {
                assert!(slices.len() <= MAX_SLICES);
                slices.iter().flat_map(|slice| slice.iter().copied()).take(at_a_time).collect()
            });
            assert!(!taken.is_empty());
            out.extend(taken);
        }
        out
    }

    #[test]
    fn shared_bodies_go_where_they_belong_whatever_the_kernel_takes() {
        let many: Vec<&str> = vec!["x"; 2 * MAX_SLICES];
        let mut all = frames(1, &["ab", "", "cde"]);
        all.append(&mut frames(2, &[]));
        all.append(&mut frames(3, &many));
        let whole = written(&all, usize::MAX);
        assert_eq!(whole.len(), all.len());
        for at_a_time in [1, 7, 1000] {
            assert_eq!(written(&all, at_a_time), whole);
        }
        let mut rest = whole.as_slice();
        for (opaque, body) in [(1, "abcde"), (2, ""), (3, many.concat().as_str())] {
            let (command, used) = frame::decode(rest, frame::MAX_FRAME_BYTES).unwrap().unwrap();
            assert_eq!(command.opaque, opaque);
            assert_eq!(command.body.as_bytes(), body.as_bytes());
            rest = &rest[used..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn callers_wait_for_room() {
        let outbox = Arc::new(Outbox::default());
        let mut first = frames(1, &[]);
        assert_eq!(outbox.admit(&mut first, 1000), Admission::Write);
        outbox.draining(500);
        let soon = || Instant::now() + std::time::Duration::from_millis(10);
        assert!(outbox.wait_for_room(500, soon()) && !outbox.wait_for_room(499, soon()));
        let other = Arc::clone(&outbox);
        let late = Instant::now() + std::time::Duration::from_secs(60);
        let waiter = std::thread::spawn(move || other.wait_for_room(100, late));
        outbox.draining(100);
        assert!(waiter.join().unwrap());
        outbox.draining(500);
        outbox.close();
        assert!(outbox.wait_for_room(0, soon()), "a closed connection keeps nobody");
    }

    #[test]
    fn one_writes_and_the_others_leave_their_frames() {
        let outbox = Outbox::default();
        let mut first = frames(1, &[]);
        assert_eq!(outbox.admit(&mut first, 1000), Admission::Write);
        let one = first.len();
        assert_eq!(outbox.admit(&mut frames(2, &[]), 1000), Admission::Left);
        assert_eq!(outbox.admit(&mut frames(3, &[]), 1000), Admission::Left);
        assert_eq!(outbox.waiting_bytes(), 2 * one);
        outbox.draining(900);
        assert_eq!(outbox.admit(&mut frames(4, &[]), 1000), Admission::Overflow(900 + 3 * one));
        assert!(outbox.next(&mut first));
        assert_eq!(first.len(), 2 * one);
        assert!(!outbox.next(&mut first));
        assert!(!outbox.is_writing());
        assert_eq!(outbox.admit(&mut first, 1000), Admission::Write);
        outbox.close();
        assert!(!outbox.next(&mut first));
        assert_eq!(outbox.admit(&mut first, 1000), Admission::Closed);
    }
}
