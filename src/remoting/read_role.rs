//! [`ReadRole`]: which thread reads a connection.
//!
//! One thread at a time reads: it has the *role*, which is the right to the connection's
//! [`Reading`]. It does what comes for everybody: ends the calls that are answered, hands requests
//! of the peer to their pools.
//!
//! A server's connections are read by their reader thread, always. On a client's that thread would
//! be a detour for a caller that does nothing but wait: the answer wakes the reader, the reader wakes
//! the caller, and waking a thread costs more than the call. So there the caller may read its answer
//! itself:
//!
//! ```text
//! reader thread       caller 1                 caller 2
//! reads ............. 8 calls, each alone
//! leaves the role     takes it: send, read
//!   (sleeps 2 ms)     takes it: send, read
//!   (sleeps 2 ms)     takes it: send, read ... send, waits
//! takes it .......... gives it back <--------- still waits: the reader is woken
//! ```
//!
//! * The reader thread leaves the role when [`LONELY_CALLS`] calls in a row were alone on the
//!   connection, and the last one has ended. Asynchronous calls and several callers at a time keep it
//!   reading: it is awake anyway, and one read brings many answers.
//! * A synchronous call that finds the role free takes it until it has its answer, or has waited
//!   long enough.
//! * Whoever gives the role back while calls wait wakes the reader thread, which takes it; so does an
//!   asynchronous call that finds it free.
//! * The reader thread takes the role back by itself when no call has taken it for [`LINGER`]. So
//!   what the peer sends unasked is read at most twice that later.
//!
//! # Why nobody waits for ever
//!
//! A call is in the table of pending calls *before* its caller looks at the role, and whoever leaves
//! the role looks at the table *after* that, both under the role's lock. So either the call finds the
//! role free and takes it (or wakes the reader thread), or whoever leaves it finds the call. A closed
//! connection ends all calls, and its socket wakes whoever reads; the reader thread, which has the last
//! word about a connection, is woken too.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::pending::PendingCalls;
use super::reader::Reading;
use crate::common::sync::lock;

/// So many calls in a row, each alone on its connection, are the sign of a caller that will go on
/// like that.
pub(super) const LONELY_CALLS: u32 = 8;
/// The reader thread takes the role back when no call has taken it for so long.
pub(super) const LINGER: Duration = Duration::from_millis(2);

/// Who reads a connection.
pub(super) struct ReadRole {
    /// Callers may have it too.
    shared: bool,
    state: Mutex<State>,
    /// Tells the reader thread that the role is wanted.
    called: Condvar,
}

struct State {
    /// `None`: somebody reads.
    reading: Option<Box<Reading>>,
    /// The reader thread is to take the role as soon as it is free; nobody else does.
    wanted: bool,
    /// How often a caller took it.
    turns: u32,
}

/// The role in the hands of a thread. It returns when this is dropped.
pub(super) struct Turn<'a> {
    role: &'a ReadRole,
    /// `None` only when it has returned.
    reading: Option<Box<Reading>>,
}

impl Turn<'_> {
    pub(super) fn reading(&mut self) -> &mut Reading {
        self.reading.get_or_insert_with(|| Box::new(Reading::new()))
    }

    /// A caller gives the role back; to the reader thread if others wait for answers.
    pub(super) fn end(mut self, pending: &PendingCalls) {
        self.give_back(|| !pending.is_empty());
    }

    fn give_back(&mut self, wanted: impl FnOnce() -> bool) {
        let Some(reading) = self.reading.take() else { return };
        let mut state = lock(&self.role.state);
        state.reading = Some(reading);
        state.wanted |= wanted();
        if state.wanted {
            drop(state);
            self.role.called.notify_one();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.give_back(|| true);
    }
}

impl ReadRole {
    /// A role that is free; with `shared` callers may take it.
    pub(super) fn new(shared: bool) -> Self {
        let reading = Some(Box::new(Reading::new()));
        // The reader thread comes first.
        let state = Mutex::new(State { reading, wanted: true, turns: 0 });
        Self { shared, state, called: Condvar::new() }
    }

    /// The reader thread takes the role: at once if it is wanted there, else when no caller has taken
    /// it for [`LINGER`].
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = lock(&self.state);
        loop {
            if state.wanted
                && let Some(reading) = state.reading.take()
            {
                state.wanted = false;
                return Turn { role: self, reading: Some(reading) };
            }
            if state.wanted {
                // Whoever has it tells us.
                state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let turns = state.turns;
            let waited = self.called.wait_timeout(state, LINGER);
            let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            // Nobody came, or somebody has been reading all the time.
            state.wanted |= result.timed_out() && state.turns == turns;
        }
    }

    /// The reader thread has read: it goes on, or leaves the role to a caller until it is wanted
    /// again.
    pub(super) fn after_round<'a>(
        &'a self,
        mut turn: Turn<'a>,
        pending: &PendingCalls,
    ) -> Turn<'a> {
        if !self.shared || !pending.is_lonely() {
            return turn;
        }
        // A call that came since then waits for somebody to read.
        turn.give_back(|| !pending.is_empty());
        self.take()
    }

    /// A caller that waits takes the role, if it is free and callers may.
    pub(super) fn take_as_caller(&self) -> Option<Turn<'_>> {
        if !self.shared {
            return None;
        }
        let mut state = lock(&self.state);
        if state.wanted {
            return None;
        }
        let reading = state.reading.take()?;
        state.turns = state.turns.wrapping_add(1);
        Some(Turn { role: self, reading: Some(reading) })
    }

    /// Something waits for the peer without a thread that could read: the reader thread does.
    pub(super) fn call_reader(&self) {
        if !self.shared {
            return;
        }
        let mut state = lock(&self.state);
        if state.reading.is_some() && !state.wanted {
            state.wanted = true;
            drop(state);
            self.called.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Instant;

    use super::super::config::ClientConfig;
    use super::super::connection::Connection;
    use super::super::dispatch::Route;
    use super::super::endpoint::{Endpoint, Limits};
    use super::super::frame::{self, MAX_FRAME_BYTES};
    use super::super::{Command, ConnectionEvents, Processor, RemotingError};
    use super::*;
    use crate::common::thread_pool::ThreadPool;

    /// No test waits longer for anything.
    const LONG: Duration = Duration::from_secs(30);

    // What the peer does with a request of this code.
    const ANSWER: i32 = 1;
    /// It comes byte by byte.
    const IN_PIECES: i32 = 2;
    const TWICE: i32 = 3;
    const NEVER: i32 = 4;
    /// With the next request, after the answer to that.
    const LATER: i32 = 5;
    /// After some frames that nobody waits for.
    const AFTER_OTHERS: i32 = 6;
    /// Asks back first, and answers when it has that answer.
    const ASK_BACK: i32 = 7;
    /// Closes the connection.
    const CLOSE: i32 = 8;
    /// Sends no frame but nonsense.
    const NONSENSE: i32 = 9;
    /// A request of the peer that nobody asked for, after the answer.
    const ASK_AFTER: i32 = 10;
    /// What the peer asks.
    const QUESTION: i32 = 100;

    /// The peer's side of a connection, which follows the codes.
    fn peer(mut stream: TcpStream) {
        let mut buffer = Vec::new();
        let mut owed: Vec<Command> = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            while let Some((request, used)) = frame::decode(&buffer, MAX_FRAME_BYTES).unwrap() {
                buffer.drain(..used);
                let mut out = Vec::new();
                let answer = |opaque| Command { opaque, ..Command::response(0) };
                let mut put = |command: Command| frame::encode(&command, &mut out).unwrap();
                let question = |opaque| Command { opaque, ..Command::request(QUESTION) };
                if request.is_response() {
                    // It answers the question of ASK_BACK.
                    owed.drain(..).for_each(&mut put);
                } else {
                    let opaque = request.opaque;
                    match request.code {
                        NEVER => continue,
                        CLOSE => return,
                        LATER => owed.push(answer(opaque)),
                        ASK_BACK => {
                            owed.push(answer(opaque));
                            put(question(1));
                        }
                        code => {
                            if code == AFTER_OTHERS {
                                (-100..0).for_each(|opaque| put(answer(opaque)));
                            }
                            put(answer(opaque));
                            if code == TWICE {
                                put(answer(opaque));
                            }
                            owed.drain(..).for_each(&mut put);
                            if code == ASK_AFTER {
                                put(question(2));
                            }
                        }
                    }
                    if request.code == NONSENSE {
                        out = vec![0xFF; 10];
                    }
                    if request.code == IN_PIECES {
                        for byte in out.drain(..) {
                            stream.write_all(&[byte]).unwrap();
                            thread::yield_now();
                        }
                    }
                }
                if stream.write_all(&out).is_err() {
                    return;
                }
            }
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(bytes) => buffer.extend_from_slice(&chunk[..bytes]),
            }
        }
    }

    /// Counts the peer's questions and the ends of connections.
    #[derive(Default)]
    struct Seen {
        questions: AtomicUsize,
        closed: AtomicUsize,
    }

    impl Processor for Seen {
        fn process(
            &self,
            _: &Arc<Connection>,
            _: Command,
        ) -> Result<Option<Command>, Box<dyn std::error::Error + Send + Sync>> {
            self.questions.fetch_add(1, Ordering::SeqCst);
            Ok(Some(Command::response(0)))
        }
    }

    impl ConnectionEvents for Seen {
        fn closed(&self, _: &Arc<Connection>) {
            self.closed.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Fixture {
        connection: Arc<Connection>,
        seen: Arc<Seen>,
        peer: thread::JoinHandle<()>,
    }

    impl Fixture {
        fn new() -> Self {
            let limits = Limits::of_client(&ClientConfig::default());
            let endpoint = Endpoint::new("Test", limits, 100, 100);
            let seen = Arc::new(Seen::default());
            let (processor, pool) = (Arc::<Seen>::clone(&seen), ThreadPool::new("Test_", 1, 100));
            let route = Route { processor, pool, on_reader: false };
            endpoint.routes.update(|routes| routes.set(QUESTION, route));
            endpoint.events.update(|all| all.push(Arc::<Seen>::clone(&seen)));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let stream = TcpStream::connect(addr).unwrap();
            let accepted = listener.accept().unwrap().0;
            let peer = thread::spawn(move || peer(accepted));
            Self { connection: endpoint.adopt(stream.into(), addr).unwrap(), seen, peer }
        }

        fn call(&self, code: i32, timeout: Duration) -> Result<Command, RemotingError> {
            self.connection.call(Command::request(code), timeout)
        }

        fn turns(&self) -> u32 {
            lock(&self.connection.read_role.state).turns
        }

        /// Calls until a caller has read its answer itself.
        fn callers_read(&self) {
            let (before, deadline) = (self.turns(), Instant::now() + LONG);
            while self.turns() == before {
                assert!(Instant::now() < deadline, "callers never read");
                self.call(ANSWER, LONG).unwrap();
            }
        }

        /// Makes a call whose caller reads: on a busy machine the reader thread is faster at times.
        fn call_and_read(&self, code: i32, timeout: Duration) -> Result<Command, RemotingError> {
            loop {
                self.callers_read();
                let before = self.turns();
                let result = self.call(code, timeout);
                if self.turns() != before || self.connection.is_closed() {
                    return result;
                }
            }
        }

        fn end(self) {
            self.connection.close("the test ends");
            eventually("the end", || self.seen.closed.load(Ordering::SeqCst) == 1);
            self.peer.join().unwrap();
        }
    }

    fn eventually(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < deadline, "{what} did not happen");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_caller_reads_whatever_comes_before_its_answer() {
        let fixture = Fixture::new();
        for code in [ANSWER, IN_PIECES, TWICE, AFTER_OTHERS, ASK_BACK] {
            assert_eq!(
                fixture.call_and_read(code, LONG).map(|answer| answer.code),
                Ok(0),
                "{code}"
            );
        }
        assert!(fixture.seen.questions.load(Ordering::SeqCst) >= 1, "asked while a caller read");
        fixture.end();
    }

    #[test]
    fn a_caller_that_reads_keeps_its_deadline_and_a_late_answer_hurts_nobody() {
        let fixture = Fixture::new();
        for code in [NEVER, LATER] {
            let began = Instant::now();
            let result = fixture.call_and_read(code, Duration::from_millis(30));
            assert!(matches!(result, Err(RemotingError::Timeout { .. })), "{result:?}");
            assert!(began.elapsed() >= Duration::from_millis(30));
            // What is late comes with this one.
            assert_eq!(fixture.call(ANSWER, LONG).map(|answer| answer.code), Ok(0));
        }
        fixture.end();
    }

    #[test]
    fn a_connection_that_ends_while_a_caller_reads_ends_its_call() {
        for code in [CLOSE, NONSENSE] {
            let fixture = Fixture::new();
            let result = fixture.call_and_read(code, LONG);
            assert!(matches!(result, Err(RemotingError::Closed { .. })), "{result:?}");
            eventually("the end", || fixture.seen.closed.load(Ordering::SeqCst) == 1);
            assert!(fixture.call(ANSWER, LONG).is_err());
            fixture.end();
        }
        let fixture = Fixture::new();
        fixture.callers_read();
        let connection = Arc::clone(&fixture.connection);
        let caller = thread::spawn(move || connection.call(Command::request(NEVER), LONG));
        eventually("the call", || !fixture.connection.pending.is_empty());
        fixture.connection.close("by somebody else");
        let result = caller.join().unwrap();
        assert!(matches!(result, Err(RemotingError::Closed { .. })), "{result:?}");
        fixture.end();
    }

    #[test]
    fn the_reader_thread_takes_the_role_back_from_idle_callers() {
        let fixture = Fixture::new();
        fixture.call_and_read(ASK_AFTER, LONG).unwrap();
        eventually("the question", || fixture.seen.questions.load(Ordering::SeqCst) == 1);
        eventually("the return of the reader", || {
            lock(&fixture.connection.read_role.state).reading.is_none()
        });
        fixture.end();
    }

    #[test]
    fn a_caller_that_goes_leaves_nobody_without_a_reader() {
        let fixture = Fixture::new();
        for _ in 0..20 {
            fixture.callers_read();
            let (tell, told) = mpsc::channel();
            thread::scope(|scope| {
                // One of these reads, as a rule, and ends before the other.
                let slow = scope.spawn(|| fixture.call(LATER, LONG));
                eventually("the call", || !fixture.connection.pending.is_empty());
                while !slow.is_finished() {
                    fixture.call(ANSWER, LONG).unwrap();
                }
                assert_eq!(slow.join().unwrap().map(|answer| answer.code), Ok(0));
            });
            fixture.callers_read();
            let done = move |outcome| drop(tell.send(outcome));
            fixture.connection.call_async(Command::request(ANSWER), LONG, done).unwrap();
            assert!(told.recv_timeout(LONG).unwrap().is_ok(), "asynchronous");
        }
        fixture.end();
    }

    #[test]
    fn every_call_of_many_callers_ends() {
        let fixture = Fixture::new();
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..4 {
                let (fixture, answered) = (&fixture, &answered);
                scope.spawn(move || {
                    for call in 0..300 {
                        // Callers meet now and then, and are alone now and then.
                        if (call / 50 + caller) % 3 == 0 {
                            thread::sleep(Duration::from_micros(200));
                        }
                        let code = if call % 7 == 0 { IN_PIECES } else { ANSWER };
                        fixture.call(code, LONG).unwrap();
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(answered.into_inner(), 4 * 300);
        fixture.end();
    }
}
