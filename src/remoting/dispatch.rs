//! What becomes of a request: which processor and pool it belongs to, whether the reader runs it
//! or a worker, what is answered when neither does.
//!
//! A [`Round`] is everything that one read of a connection brought. Requests that the reader runs
//! are answered with one write at the end of the round; the others are handed over in batches, a
//! pool at a time, and a batch is answered with one write too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::command::{Command, SerializeType};
use super::connection::Connection;
use super::outbox::Frames;
use super::protocol::response_code::{REQUEST_CODE_NOT_SUPPORTED, SYSTEM_BUSY, SYSTEM_ERROR};
use super::server::Processor;
use crate::common::sync::panic_message;
use crate::common::thread_pool::{Permit, Shed, Task, ThreadPool};

/// Short requests in one batch at most: a batch is run by one worker. A request that may wait, for
/// a disk or for another peer, is handed over alone, so that nothing of its client waits behind it.
const MAX_BATCH: usize = 32;
/// Answers are written before the end of the round when they are so many bytes.
const FLUSH_BYTES: usize = 256 * 1024;
/// Answers of a batch do not wait longer than this for those of slower requests.
const FLUSH_INTERVAL: Duration = Duration::from_micros(500);

/// Who answers a request, and on which pool.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) processor: Arc<dyn Processor>,
    pub(super) pool: Arc<ThreadPool>,
    /// Whether the reader may run short requests.
    pub(super) on_reader: bool,
}

/// Routes by request code.
#[derive(Clone, Default)]
pub(super) struct Routes {
    /// Ascending by code.
    by_code: Vec<(i32, Route)>,
    /// Of all other codes.
    pub(super) default: Option<Route>,
}

impl Routes {
    pub(super) fn set(&mut self, code: i32, route: Route) {
        match self.by_code.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(at) => self.by_code[at].1 = route,
            Err(at) => self.by_code.insert(at, (code, route)),
        }
    }

    fn find(&self, code: i32) -> Option<&Route> {
        match self.by_code.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(at) => Some(&self.by_code[at].1),
            Err(_) => self.default.as_ref(),
        }
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy)]
struct Origin {
    opaque: i32,
    serialize: SerializeType,
    oneway: bool,
}

impl Origin {
    fn of(request: &Command) -> Self {
        Self { opaque: request.opaque, serialize: request.serialize, oneway: request.is_oneway() }
    }

    /// Appends the response to `answers`, also of a oneway request.
    fn answer(self, response: Command, answers: &mut Frames) {
        let response = response.addressed(self.opaque, self.serialize);
        if let Err(error) = answers.push(&response) {
            log::error!("response {} to opaque {}: {error}", response.code, self.opaque);
            let failure = Command::failure(SYSTEM_ERROR, error.0);
            // A failure with a short remark fits every form.
            let _ = answers.push(&failure.addressed(self.opaque, self.serialize));
        }
    }

    /// Appends the response, unless none is wanted.
    fn answer_unless_oneway(self, response: Command, answers: &mut Frames) {
        if !self.oneway {
            self.answer(response, answers);
        }
    }
}

/// Runs one request here and now, and appends its answer, if it has one already.
fn run(
    connection: &Arc<Connection>,
    processor: &Arc<dyn Processor>,
    request: Command,
    answers: &mut Frames,
) {
    let origin = Origin::of(&request);
    let (code, version, body_bytes) = (request.code, request.version, request.body.len());
    let outcome = catch_unwind(AssertUnwindSafe(|| processor.process(connection, request)));
    let response = match outcome {
        Ok(Ok(None)) => return,
        Ok(Ok(Some(response))) => response,
        Ok(Err(error)) => {
            let remark = error.to_string();
            log::debug!("request {code} of {}: {remark}", connection.peer_addr());
            Command::failure(SYSTEM_ERROR, remark)
        }
        Err(payload) => {
            let message = panic_message(&*payload);
            log::error!(
                "request {code} of {}, opaque {}, version {version}, body of {body_bytes} bytes: \
                 its processor panicked: {message}",
                connection.peer_addr(),
                origin.opaque,
            );
            Command::failure(SYSTEM_ERROR, format!("internal error: {message}"))
        }
    };
    origin.answer_unless_oneway(response, answers);
}

/// A request and who answers it.
struct Work {
    processor: Arc<dyn Processor>,
    request: Command,
}

/// Requests of one connection that one worker of a pool runs one after another.
struct Batch {
    connection: Arc<Connection>,
    works: Vec<Work>,
}

impl Batch {
    /// Answers all instead of running them; oneway requests too if `oneway_too`.
    fn refuse(self, oneway_too: bool, response: impl Fn() -> Command) {
        let mut answers = Frames::default();
        self.done(self.works.len());
        for work in &self.works {
            let origin = Origin::of(&work.request);
            if oneway_too || !origin.oneway {
                origin.answer(response(), &mut answers);
            }
        }
        send(&self.connection, &mut answers);
    }

    fn done(&self, requests: usize) {
        self.connection.in_flight.fetch_sub(requests, Ordering::Relaxed);
    }
}

impl Task for Batch {
    fn run(mut self: Box<Self>) {
        let mut answers = Frames::default();
        let mut since = Instant::now();
        let mut last_code = None;
        for work in std::mem::take(&mut self.works) {
            // Another kind of request may take much longer than those already answered.
            let another =
                last_code.replace(work.request.code).is_some_and(|last| last != work.request.code);
            if another || answers.len() > FLUSH_BYTES || since.elapsed() > FLUSH_INTERVAL {
                send(&self.connection, &mut answers);
                since = Instant::now();
            }
            run(&self.connection, &work.processor, work.request, &mut answers);
            self.done(1);
        }
        send(&self.connection, &mut answers);
    }

    fn shed(self: Box<Self>, reason: Shed, waited: Duration, queue_len: usize) {
        let tag = match reason {
            Shed::TooOld => "TIMEOUT_CLEAN_QUEUE",
            Shed::PageCacheBusy => "PCBUSY_CLEAN_QUEUE",
            Shed::Refused => {
                let remark =
                    format!("[OVERLOAD]server busy, try again later; {queue_len} requests wait");
                self.refuse(false, || Command::failure(SYSTEM_BUSY, remark.as_str()));
                return;
            }
            Shed::Stopping => {
                self.refuse(false, || Command::failure(SYSTEM_ERROR, "the server is stopping"));
                return;
            }
        };
        let remark = format!(
            "[{tag}]server busy, try again later; period in queue: {}ms, size of queue: {queue_len}",
            waited.as_millis()
        );
        self.refuse(true, || Command::failure(SYSTEM_BUSY, remark.as_str()));
    }

    fn requests(&self) -> usize {
        self.works.len()
    }
}

/// A closed connection is not an error here: nobody waits for the answers.
fn send(connection: &Connection, answers: &mut Frames) {
    if let Err(error) = connection.send_frames(answers) {
        log::debug!("responses dropped: {error}");
    }
}

/// The requests of one read that go to one pool.
struct Handed<'a> {
    pool: &'a Arc<ThreadPool>,
    works: Vec<Work>,
}

/// What one read of a connection brought.
pub(super) struct Round<'a> {
    connection: &'a Arc<Connection>,
    routes: &'a Routes,
    answers: &'a mut Frames,
    /// The pool of the last request that the reader ran, and the right to run more of it.
    permit: Option<(&'a Arc<ThreadPool>, Permit<'a>)>,
    handed: Vec<Handed<'a>>,
    /// The reader ran a request whose answer comes soon.
    comes_soon: bool,
}

impl<'a> Round<'a> {
    /// `answers` is an empty buffer, and is empty again at the end of the round.
    pub(super) fn new(
        connection: &'a Arc<Connection>,
        routes: &'a Routes,
        answers: &'a mut Frames,
    ) -> Self {
        Self { connection, routes, answers, permit: None, handed: Vec::new(), comes_soon: false }
    }

    /// A frame came.
    pub(super) fn accept(&mut self, command: Command) {
        if command.is_response() {
            let (code, opaque) = (command.code, command.opaque);
            if !self.connection.pending.answer(command) {
                let peer = self.connection.peer_addr();
                log::debug!("response {code} of {peer} to nobody, opaque {opaque}");
            }
            return;
        }
        let origin = Origin::of(&command);
        let Some(route) = self.routes.find(command.code) else {
            let remark = format!("request code {} is not supported here", command.code);
            origin.answer(Command::failure(REQUEST_CODE_NOT_SUPPORTED, remark), self.answers);
            return;
        };
        if let Some(reason) = route.processor.rejects(&command) {
            let remark = format!("[REJECTREQUEST]{reason}");
            origin.answer(Command::failure(SYSTEM_BUSY, remark), self.answers);
            return;
        }
        let short = route.processor.is_short(&command);
        if short && route.on_reader && self.may_run(&route.pool) {
            run(self.connection, &route.processor, command, self.answers);
            if self.answers.is_empty() && !origin.oneway {
                self.comes_soon = route.processor.answers_soon();
            }
            if self.answers.len() > FLUSH_BYTES {
                send(self.connection, self.answers);
            }
            return;
        }
        self.hand_over(route, command, short);
    }

    /// Whether the reader may run a request of that pool: not before one that was handed over.
    fn may_run(&mut self, pool: &'a Arc<ThreadPool>) -> bool {
        if self.handed.iter().any(|handed| Arc::ptr_eq(handed.pool, pool)) {
            return false;
        }
        if !self.permit.as_ref().is_some_and(|(held, _)| Arc::ptr_eq(held, pool)) {
            self.permit = pool.try_permit().map(|permit| (pool, permit));
        }
        self.permit.is_some()
    }

    fn hand_over(&mut self, route: &'a Route, request: Command, short: bool) {
        let limit = self.connection.endpoint.limits.max_requests_in_flight;
        if self.connection.in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
            let remark = format!("[OVERLOAD]{limit} requests of this connection are in flight");
            Origin::of(&request)
                .answer_unless_oneway(Command::failure(SYSTEM_BUSY, remark), self.answers);
            return;
        }
        let work = Work { processor: Arc::clone(&route.processor), request };
        if !short {
            self.submit(&route.pool, vec![work]);
            return;
        }
        let same = |handed: &&mut Handed<'_>| Arc::ptr_eq(handed.pool, &route.pool);
        match self.handed.iter_mut().find(same) {
            Some(handed) => {
                handed.works.push(work);
                if handed.works.len() == MAX_BATCH {
                    let works = std::mem::take(&mut handed.works);
                    self.submit(&route.pool, works);
                }
            }
            None => self.handed.push(Handed { pool: &route.pool, works: vec![work] }),
        }
    }

    fn submit(&mut self, pool: &Arc<ThreadPool>, works: Vec<Work>) {
        if works.is_empty() {
            return;
        }
        let batch = Box::new(Batch { connection: Arc::clone(self.connection), works });
        if let Err(batch) = pool.submit(batch) {
            batch.shed(pool.refusal(), Duration::ZERO, pool.queue_len());
        }
    }

    /// Everything that the read brought was accepted. Returns whether the peer is owed an answer that
    /// comes soon.
    pub(super) fn finish(mut self) -> bool {
        self.permit = None;
        for Handed { pool, works } in std::mem::take(&mut self.handed) {
            self.submit(pool, works);
        }
        let is_owed = self.comes_soon && self.answers.is_empty();
        send(self.connection, self.answers);
        is_owed
    }
}
