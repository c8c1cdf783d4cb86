//! [`Connection`]: one TCP connection, either end.
//!
//! Whoever reads, a thread of the connection or of a caller, parses every complete frame in the buffer
//! before it reads again. Everything
//! that leaves goes through [`Connection::send`], callable from any thread: written at once,
//! without blocking; what the kernel does not take goes to a bounded outbox that a writer thread,
//! started only then, drains. A peer that does not read never blocks a worker; past the limit the
//! connection is closed.
//!
//! Reading is in `reader`, who reads in `read_role`, what becomes of requests in `dispatch`, who writes when in `outbox`.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use libc::{MSG_DONTWAIT, MSG_NOSIGNAL};
use log::Level;
use socket2::Socket;

use super::command::{Command, FLAG_ONEWAY, SerializeType};
use super::endpoint::Endpoint;
use super::error::RemotingError;
use super::gathered::gather;
use super::outbox::{Admission, Frames, Outbox};
use super::pending::{PendingCalls, Slot, Waiter};
use super::read_role::ReadRole;
use super::reader;
use crate::common::clock::deadline_after;
use crate::common::together;

/// A peer that leaves so much unread is not writable: what can wait should.
const WRITABLE_BYTES: usize = 1024 * 1024;
/// A thread that writes takes along what others leave behind, but not for ever: after so many
/// rounds the drain goes on.
const MAX_ROUNDS: usize = 32;
/// Buffer of a thread that makes many calls at a time, kept for its next ones.
const BATCH_BYTES: usize = 256 * 1024;
/// How long the drain waits for a peer that takes nothing, before it looks whether the connection
/// is still open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Stack of the threads that a connection has, virtual: only pages that were used are memory.
pub(super) const STACK_BYTES: usize = 512 * 1024;

/// Numbers of connections, over all servers and clients of the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Where a thread that sends one frame encodes it, so that it allocates nothing.
    static SCRATCH: Cell<Frames> = Cell::default();
}

/// One connection.
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    /// Whose connection it is: a server's or a client's.
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) socket: Socket,
    outbox: Outbox,
    /// Calls of this side.
    pub(super) pending: PendingCalls,
    /// Who reads.
    pub(super) read_role: ReadRole,
    /// Requests of the peer that wait for a worker or run.
    pub(super) in_flight: AtomicUsize,
    /// When bytes last came or went, on the endpoint's clock.
    active_at: AtomicU32,
    closed: AtomicBool,
    me: Weak<Self>,
}

/// One of several calls that are made together.
pub struct AsyncCall {
    /// What is asked.
    pub request: Command,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Learns the outcome.
    pub done: Box<dyn FnOnce(Result<Command, RemotingError>) + Send>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Takes over a connected socket. Nothing is read before the reader starts.
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        socket: Socket,
        peer: SocketAddr,
    ) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(false)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_write_timeout(Some(DRAIN_TIMEOUT))?;
        endpoint.limits.apply_buffer_sizes(&socket)?;
        Ok(Arc::new_cyclic(|me| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            endpoint: Arc::clone(endpoint),
            socket,
            outbox: Outbox::default(),
            pending: PendingCalls::default(),
            read_role: ReadRole::new(endpoint.limits.callers_may_read),
            in_flight: AtomicUsize::new(0),
            active_at: AtomicU32::new(endpoint.seconds()),
            closed: AtomicBool::new(false),
            me: Weak::clone(me),
        }))
    }

    /// Number of this connection, unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The peer's address; an IPv4 peer has an IPv4 address, however the server listens.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether it was closed, by either side.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether it is open and its outbox is not filling up (Java's writable).
    pub fn is_writable(&self) -> bool {
        !self.is_closed() && self.outbox.waiting_bytes() < WRITABLE_BYTES
    }

    /// Closes it; the reader ends and the close handler runs once.
    ///
    /// Calls that wait for an answer end with [`RemotingError::Closed`], on this thread. What
    /// waits in the outbox is lost.
    pub fn close(&self, why: &str) {
        self.close_logged(Level::Info, why);
    }

    /// Closes it; tells why at that level, if nobody closed it before.
    pub(super) fn close_logged(&self, level: Level, why: &str) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        log::log!(
            level,
            "{}: closing the connection with {}: {why}",
            self.endpoint.name,
            self.peer
        );
        self.outbox.close();
        // The peer may be gone already; then there is nothing to shut down.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.pending.close(&RemotingError::Closed { addr: self.peer.to_string() });
    }

    /// Sends a frame (response, or request whose opaque is set). Never blocks on the peer.
    ///
    /// # Errors
    /// The connection is closed, or is closed now: by a failed write, or because too much waits
    /// for the peer to read. `Ok` does not say that the peer got the frame.
    pub fn send(&self, command: &Command) -> Result<(), RemotingError> {
        self.send_all(std::slice::from_ref(command))
    }

    /// Sends frames together, in as few system calls as possible.
    ///
    /// # Errors
    /// As [`send`](Self::send), and a frame that cannot be encoded; then none is sent.
    pub fn send_all(&self, commands: &[Command]) -> Result<(), RemotingError> {
        if self.is_closed() {
            return Err(self.closed_error());
        }
        let mut frames = SCRATCH.take();
        let encoded = commands.iter().try_for_each(|command| frames.push(command));
        let result = match encoded {
            Ok(()) => self.send_frames(&mut frames),
            Err(error) => Err(self.send_error(error.0)),
        };
        frames.clear();
        SCRATCH.set(frames);
        result
    }

    /// Sends encoded frames, which are empty afterwards.
    pub(super) fn send_frames(&self, frames: &mut Frames) -> Result<(), RemotingError> {
        if frames.is_empty() {
            return Ok(());
        }
        let limit = self.endpoint.limits.max_outbox_bytes;
        match self.outbox.admit(frames, limit) {
            Admission::Write => self.write_all(frames),
            Admission::Left => Ok(()),
            Admission::Overflow(bytes) => {
                frames.clear();
                let why =
                    format!("{bytes} bytes wait for a peer that does not read, limit {limit}");
                self.close_logged(Level::Warn, &why);
                Err(self.send_error(why))
            }
            Admission::Closed => {
                frames.clear();
                Err(self.closed_error())
            }
        }
    }

    /// Writes `frames` and whatever others leave meanwhile, as long as the kernel takes it.
    fn write_all(&self, frames: &mut Frames) -> Result<(), RemotingError> {
        let mut written = 0;
        for _ in 0..MAX_ROUNDS {
            while written < frames.len() {
                match self.write_some(frames, written, MSG_DONTWAIT) {
                    Ok(bytes) => written += bytes,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return self.start_drain(frames, written);
                    }
                    Err(error) => return Err(self.write_failed(frames, &error)),
                }
            }
            written = 0;
            if !self.outbox.next(frames) {
                return Ok(());
            }
        }
        self.start_drain(frames, written)
    }

    /// One system call. An interrupted one counts as nothing written.
    fn write_some(&self, frames: &Frames, written: usize, flags: i32) -> io::Result<usize> {
        let result = frames.write_rest(written, |slices| {
            self.socket.send_vectored_with_flags(slices, flags | MSG_NOSIGNAL)
        });
        match result {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                self.touch();
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn write_failed(&self, frames: &mut Frames, error: &io::Error) -> RemotingError {
        frames.clear();
        self.close_logged(Level::Debug, &format!("write failed: {error}"));
        self.send_error(error.to_string())
    }

    /// Leaves what the kernel does not take to a thread of its own.
    fn start_drain(&self, frames: &mut Frames, written: usize) -> Result<(), RemotingError> {
        let Some(me) = self.me.upgrade() else {
            return Err(self.closed_error());
        };
        let mut rest = std::mem::take(frames);
        self.outbox.draining(rest.len() - written);
        let thread = thread::Builder::new()
            .name(format!("{}Out_{}", self.endpoint.name, self.id))
            .stack_size(STACK_BYTES)
            .spawn(move || me.drain(&mut rest, written));
        if let Err(error) = thread {
            let why = format!("no thread to write to a slow peer: {error}");
            self.close_logged(Level::Warn, &why);
            return Err(self.send_error(why));
        }
        Ok(())
    }

    /// The writer thread: writes until nothing waits. It blocks in the kernel while the peer does
    /// not read, and ends at once when the connection is closed.
    fn drain(&self, frames: &mut Frames, mut written: usize) {
        loop {
            while written < frames.len() {
                if self.is_closed() {
                    return;
                }
                match self.write_some(frames, written, 0) {
                    Ok(bytes) => {
                        written += bytes;
                        self.outbox.draining(frames.len() - written);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        self.write_failed(frames, &error);
                        return;
                    }
                }
            }
            written = 0;
            if !self.outbox.next(frames) {
                return;
            }
            self.outbox.draining(frames.len());
        }
    }

    /// Calls the peer and waits for its answer, which this thread may read itself (`read_role`).
    /// The deadline is kept to some milliseconds. Not to be called on the thread that reads this
    /// connection, that is by a [short](super::server::Processor::is_short) request of the same
    /// peer: the answer could not be read.
    pub fn call(&self, mut request: Command, timeout: Duration) -> Result<Command, RemotingError> {
        let deadline = deadline_after(timeout);
        let slot = Arc::new(Slot::default());
        let waiter = Waiter::Thread(Arc::clone(&slot));
        request.opaque = self.pending.add(waiter, || self.endpoint.next_opaque())?;
        if let Err(error) = self.send(&request) {
            self.pending.withdraw(request.opaque);
            return Err(error);
        }
        if let (Some(turn), Some(me)) = (self.read_role.take_as_caller(), self.me.upgrade()) {
            reader::read_for(&me, turn, &slot, deadline);
        }
        if let Some(outcome) = slot.wait(deadline.saturating_duration_since(Instant::now())) {
            return outcome;
        }
        if self.pending.withdraw(request.opaque) {
            return Err(self.timeout_error(timeout));
        }
        // Somebody took the call out of the table just now, and is about to fill the slot.
        slot.wait(Duration::from_secs(1)).unwrap_or_else(|| Err(self.timeout_error(timeout)))
    }

    /// Calls the peer; `done` runs exactly once, on the thread that learns the outcome, unless
    /// this returns an error. A timeout is noticed within a second.
    pub fn call_async(
        &self,
        mut request: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command, RemotingError>) + Send + 'static,
    ) -> Result<(), RemotingError> {
        let waiter = Waiter::Callback {
            done: Box::new(done),
            deadline: deadline_after(timeout),
            timeout_ms: timeout.as_millis() as u64,
            permit: self.endpoint.async_permits.take()?,
        };
        request.opaque = self.pending.add(waiter, || self.endpoint.next_opaque())?;
        match self.send(&request) {
            // The close that made the send fail has told the callback, if it came first.
            Err(error) if self.pending.withdraw(request.opaque) => Err(error),
            _ => {
                self.read_role.call_reader();
                Ok(())
            }
        }
    }

    /// Makes several calls with as few writes as possible. Every `done` runs exactly once, whatever
    /// happens, on the thread that learns the outcome (the reader of this connection, as a rule),
    /// so it must be short.
    pub fn call_async_all(&self, calls: Vec<AsyncCall>) {
        let now = Instant::now();
        let mut frames = SCRATCH.take();
        // Whoever sends many at a time soon does it again.
        frames.keep(BATCH_BYTES);
        let mut opaques = Vec::with_capacity(calls.len());
        for AsyncCall { mut request, timeout, done } in calls {
            let permit = match self.endpoint.async_permits.take() {
                Ok(permit) => permit,
                Err(error) => {
                    done(Err(error));
                    continue;
                }
            };
            let timeout_ms = timeout.as_millis() as u64;
            let waiter = Waiter::Callback { done, deadline: now + timeout, timeout_ms, permit };
            match self.pending.add_or_end(waiter, || self.endpoint.next_opaque()) {
                Some(opaque) => request.opaque = opaque,
                None => continue,
            }
            if let Err(error) = frames.push(&request) {
                self.pending.end(request.opaque, self.send_error(error.0));
                continue;
            }
            opaques.push(request.opaque);
        }
        if !frames.is_empty()
            && let Err(error) = self.send_frames(&mut frames)
        {
            for opaque in opaques {
                self.pending.end(opaque, error.clone());
            }
        }
        self.read_role.call_reader();
        frames.clear();
        SCRATCH.set(frames);
    }

    /// Sends a oneway request.
    pub fn oneway(&self, mut request: Command) -> Result<(), RemotingError> {
        let _permit = self.endpoint.oneway_permits.take()?;
        request.opaque = self.endpoint.next_opaque();
        request.flag |= FLAG_ONEWAY;
        self.send(&request)
    }

    /// Waits until the peer has read most of what was sent before, `deadline` at most.
    pub(super) fn wait_for_room(&self, deadline: Instant) -> Result<(), RemotingError> {
        if self.outbox.wait_for_room(WRITABLE_BYTES, deadline) {
            Ok(())
        } else {
            Err(RemotingError::TooManyRequests("bytes that the peer has not read"))
        }
    }

    /// Bytes came or went.
    pub(super) fn touch(&self) {
        self.active_at.store(self.endpoint.seconds(), Ordering::Relaxed);
    }

    /// Once a second: ends calls that took too long, closes the connection if nothing happened on
    /// it for too long.
    pub(super) fn housekeeping(&self, now: Instant) {
        self.pending.expire(now, || self.peer.to_string());
        let silent = self.endpoint.seconds().wrapping_sub(self.active_at.load(Ordering::Relaxed));
        let limit = self.endpoint.limits.max_idle_seconds;
        if limit > 0 && silent >= limit {
            self.close(&format!("nothing came or went for {silent} s"));
        }
    }

    /// Whether everything that was sent is in the kernel's hands.
    pub(super) fn is_drained(&self) -> bool {
        self.is_closed() || !self.outbox.is_writing()
    }

    fn send_error(&self, reason: String) -> RemotingError {
        RemotingError::Send { addr: self.peer.to_string(), reason }
    }

    fn closed_error(&self) -> RemotingError {
        RemotingError::Closed { addr: self.peer.to_string() }
    }

    fn timeout_error(&self, timeout: Duration) -> RemotingError {
        RemotingError::Timeout {
            addr: self.peer.to_string(),
            timeout_ms: timeout.as_millis() as u64,
        }
    }
}

/// Where the answer of a request goes, when it is given later than its handler returns (a held
/// pull, a send that waits for a flush).
#[derive(Clone, Debug)]
pub struct ReplyTo {
    connection: Arc<Connection>,
    opaque: i32,
    serialize: SerializeType,
    oneway: bool,
}

impl ReplyTo {
    /// The return address of `request`.
    pub fn new(connection: &Arc<Connection>, request: &Command) -> Self {
        Self {
            connection: Arc::clone(connection),
            opaque: request.opaque,
            serialize: request.serialize,
            oneway: request.is_oneway(),
        }
    }

    /// Sends the response with the request's opaque and serialization; nothing for a oneway
    /// request. A closed connection is not an error: nobody waits.
    pub fn send(&self, response: Command) {
        if !self.oneway {
            let response = response.addressed(self.opaque, self.serialize);
            if together::is_active() {
                gather(&self.connection, &response);
            } else if let Err(error) = self.connection.send(&response) {
                log::debug!("response {} dropped: {error}", response.code);
            }
        }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}
