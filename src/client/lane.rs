//! [`Lanes`]: asynchronous sends on their way to brokers.
//!
//! A *lane* leads to one broker address. Callers leave their sends in its queue and go on; its
//! thread takes all that wait, encodes them, and writes them with one system call. Outcomes come
//! back on the connection's reader, which must not run an application's code: it leaves them in a
//! second queue, which the workers of the remoting client drain, calling one another while there is
//! more than one can do. Either way a hand-over under load carries many sends, and an idle lane
//! costs one wake-up.
//!
//! The number of sends on their way is limited: past the limit callers wait.

// A send goes from queue to closure to queue: as a pointer, not as hundreds of bytes.
#![allow(clippy::vec_box)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::async_send::AsyncSend;
use super::config::{Deadline, Interceptors};
use super::error::ClientError;
use super::instance::Instance;
use super::unreachable::Unreachable;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::{catch_panic, lock};
use crate::common::thread_pool::{Shed, Task};
use crate::remoting::connection::AsyncCall;
use crate::remoting::{Command, RemotingError};

/// Sends in one write at most.
const MAX_BATCH: usize = 256;
/// Bytes of bodies after which a write takes no more sends.
const BATCH_BYTES: usize = 256 * 1024;
/// Outcomes that one worker takes at a time.
const OUTCOMES_AT_ONCE: usize = 64;
/// How long a stop waits for the thread of a lane.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How often an idle lane looks around; it is woken for every send.
const IDLE: Duration = Duration::from_secs(60);

type Outcome = (Box<AsyncSend>, Result<Command, ClientError>);

/// All lanes of an instance.
#[derive(Default)]
pub(crate) struct Lanes {
    state: Mutex<State>,
    in_flight: InFlight,
}

#[derive(Default)]
struct State {
    stopped: bool,
    lanes: HashMap<String, Arc<Lane>>,
}

struct Lane {
    addr: String,
    instance: Weak<Instance>,
    /// Of the instance.
    interceptor: Interceptors,
    unreachable: Arc<Unreachable>,
    /// Workers that may tell outcomes at a time.
    drainers: usize,
    waiting: Mutex<Vec<Box<AsyncSend>>>,
    signal: Arc<Signal>,
    thread: Mutex<Option<ServiceThread>>,
    outcomes: Mutex<Outcomes>,
}

#[derive(Default)]
struct Outcomes {
    queue: VecDeque<Outcome>,
    drainers: usize,
}

impl Lanes {
    /// Waits for room for one more send.
    pub fn enter(
        &self,
        bytes: usize,
        limit: Limit,
        deadline: &Deadline,
    ) -> Result<(), ClientError> {
        self.in_flight.enter(bytes, limit, deadline)
    }

    /// A send of so many bytes has ended, however.
    pub fn leave(&self, bytes: usize) {
        self.in_flight.leave(bytes);
    }

    /// Waits until no send is on its way, `limit` at most.
    pub fn wait_idle(&self, limit: Duration) {
        self.in_flight.wait_idle(&Deadline::after(limit));
    }

    /// Puts a send on the lane to `addr`. Gives it back when the instance stops.
    pub fn push(
        &self,
        instance: &Arc<Instance>,
        addr: &str,
        send: Box<AsyncSend>,
    ) -> Result<(), Box<AsyncSend>> {
        let Some(lane) = self.lane(instance, addr) else { return Err(send) };
        lane.take(send);
        Ok(())
    }

    /// The lane to `addr`; `None` when the instance stops, or has no thread for it.
    fn lane(&self, instance: &Arc<Instance>, addr: &str) -> Option<Arc<Lane>> {
        let mut state = lock(&self.state);
        if state.stopped {
            return None;
        }
        if let Some(lane) = state.lanes.get(addr) {
            return Some(Arc::clone(lane));
        }
        match Lane::start(instance, addr) {
            Ok(lane) => {
                state.lanes.insert(addr.to_owned(), Arc::clone(&lane));
                Some(lane)
            }
            Err(error) => {
                log::error!("no thread for sends to {addr}: {error}");
                None
            }
        }
    }

    /// Takes nothing more; what waits ends as not running.
    pub fn stop(&self) {
        let lanes = {
            let mut state = lock(&self.state);
            state.stopped = true;
            std::mem::take(&mut state.lanes)
        };
        for lane in lanes.into_values() {
            if let Some(thread) = lock(&lane.thread).take() {
                thread.stop(STOP_LIMIT);
            }
            lane.give_up();
        }
    }
}

impl Lane {
    fn start(instance: &Arc<Instance>, addr: &str) -> std::io::Result<Arc<Self>> {
        let lane = Arc::new(Self {
            addr: addr.to_owned(),
            instance: Arc::downgrade(instance),
            interceptor: instance.options.interceptor.clone(),
            unreachable: Arc::clone(&instance.unreachable),
            drainers: instance.options.callback_threads as usize,
            waiting: Mutex::default(),
            signal: Arc::default(),
            thread: Mutex::default(),
            outcomes: Mutex::default(),
        });
        let me = Arc::downgrade(&lane);
        let body = move |signal: &Signal| {
            while signal.wait(IDLE) {
                let Some(lane) = me.upgrade() else { return };
                lane.send_waiting(signal);
            }
        };
        let thread = ServiceThread::spawn("AsyncSend", Arc::clone(&lane.signal), body)?;
        *lock(&lane.thread) = Some(thread);
        Ok(lane)
    }

    fn take(&self, send: Box<AsyncSend>) {
        lock(&self.waiting).push(send);
        self.signal.wakeup();
    }

    /// What waits ends as not running.
    fn give_up(&self) {
        for send in std::mem::take(&mut *lock(&self.waiting)) {
            let told = || send.complete(&self.addr, Err(ClientError::NotRunning));
            catch_panic("callback of a send", told);
        }
    }

    fn send_waiting(self: &Arc<Self>, signal: &Signal) {
        let Some(instance) = self.instance.upgrade() else { return };
        loop {
            let mut sends = std::mem::take(&mut *lock(&self.waiting));
            if sends.is_empty() {
                return;
            }
            while !sends.is_empty() {
                if signal.stopped() {
                    lock(&self.waiting).append(&mut sends);
                    return;
                }
                let mut bytes = 0;
                let fits = sends.iter().take(MAX_BATCH).take_while(|send| {
                    let before = bytes;
                    bytes += send.body_bytes();
                    before < BATCH_BYTES
                });
                let rest = sends.split_off(fits.count());
                self.issue(&instance, sends);
                sends = rest;
            }
        }
    }

    fn issue(self: &Arc<Self>, instance: &Arc<Instance>, sends: Vec<Box<AsyncSend>>) {
        if let Err(error) = instance.unreachable.check(&self.addr) {
            for send in sends {
                self.finished(send, Err(error.clone()));
            }
            return;
        }
        let mut calls = Vec::with_capacity(sends.len());
        let mut longest = Duration::ZERO;
        let now = Instant::now();
        for send in sends {
            let Some(timeout) = send.deadline.left_at(now) else {
                let timeout_ms = send.deadline.elapsed().as_millis() as u64;
                let addr = self.addr.clone();
                let error = RemotingError::Timeout { addr, timeout_ms };
                self.finished(send, Err(error.into()));
                continue;
            };
            longest = longest.max(timeout);
            let request = instance.prepare(&self.addr, send.request());
            let code = request.code;
            let lane = Arc::clone(self);
            let done = Box::new(move |result: Result<Command, RemotingError>| {
                if let (Some(interceptor), Ok(response)) = (&lane.interceptor.0, &result) {
                    interceptor.after_response(&lane.addr, code, response);
                }
                lane.finished(send, result.map_err(ClientError::from));
            });
            calls.push(AsyncCall { request, timeout, done });
        }
        if !calls.is_empty() {
            instance.remoting.call_async_all(&self.addr, calls, longest);
        }
    }

    /// Hands an outcome to the workers.
    fn finished(self: &Arc<Self>, send: Box<AsyncSend>, result: Result<Command, ClientError>) {
        self.unreachable.note(&self.addr, &result);
        let call = {
            let mut outcomes = lock(&self.outcomes);
            outcomes.queue.push_back((send, result));
            let call = outcomes.drainers == 0;
            outcomes.drainers += usize::from(call);
            call
        };
        if call {
            match self.instance.upgrade() {
                Some(instance) => self.call_drainer(&instance),
                // Nobody is left to do it on another thread.
                None => self.drain(),
            }
        }
    }

    fn call_drainer(self: &Arc<Self>, instance: &Arc<Instance>) {
        instance.remoting.run(Box::new(Drain(Arc::clone(self))));
    }

    fn drain(self: &Arc<Self>) {
        loop {
            let (batch, call) = {
                let mut outcomes = lock(&self.outcomes);
                let count = outcomes.queue.len().min(OUTCOMES_AT_ONCE);
                if count == 0 {
                    outcomes.drainers -= 1;
                    return;
                }
                let batch: Vec<Outcome> = outcomes.queue.drain(..count).collect();
                // One stays free for other callbacks, so that slow ones do not stop everything.
                let call = !outcomes.queue.is_empty() && outcomes.drainers + 1 < self.drainers;
                outcomes.drainers += usize::from(call);
                (batch, call)
            };
            if call {
                match self.instance.upgrade() {
                    Some(instance) => self.call_drainer(&instance),
                    None => lock(&self.outcomes).drainers -= 1,
                }
            }
            for (send, result) in batch {
                catch_panic("callback of a send", || send.complete(&self.addr, result));
            }
        }
    }
}

impl Drop for Lane {
    /// Whoever found the lane just before it was stopped has left its send here after that.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The task of a worker that tells outcomes. It also runs if the pool gives it up: callers were
/// promised to be told.
struct Drain(Arc<Lane>);

impl Task for Drain {
    fn run(self: Box<Self>) {
        self.0.drain();
    }

    fn shed(self: Box<Self>, _: Shed, _: Duration, _: usize) {
        self.run();
    }
}

/// How many sends may be on their way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Sends.
    pub count: usize,
    /// Bytes of their bodies; one more is let in while less are on their way.
    pub bytes: usize,
}

/// What is on its way, with a limit to wait at.
///
/// Who waits at the limit is woken when an eighth of it is free, not for every send that ends: then
/// there is work for more than a moment. In the end everything has left, so nobody is forgotten.
#[derive(Default)]
struct InFlight {
    count: AtomicUsize,
    bytes: AtomicUsize,
    waiters: AtomicUsize,
    /// Waiters are woken when no more sends than that are on their way, of no more bytes than that.
    wake_count: AtomicUsize,
    /// See `wake_count`.
    wake_bytes: AtomicUsize,
    turnstile: Mutex<()>,
    left: Condvar,
}

impl InFlight {
    fn try_enter(&self, bytes: usize, limit: Limit) -> bool {
        if self.count.fetch_add(1, Ordering::SeqCst) < limit.count {
            if self.bytes.fetch_add(bytes, Ordering::SeqCst) < limit.bytes {
                return true;
            }
            self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
        false
    }

    fn enter(&self, bytes: usize, limit: Limit, deadline: &Deadline) -> Result<(), ClientError> {
        if self.try_enter(bytes, limit) {
            return Ok(());
        }
        let mut guard = lock(&self.turnstile);
        let below = |limit: usize| limit - (limit / 8).max(1).min(limit);
        self.wake_count.store(below(limit.count), Ordering::SeqCst);
        self.wake_bytes.store(below(limit.bytes), Ordering::SeqCst);
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let entered = loop {
            if self.try_enter(bytes, limit) {
                break true;
            }
            let Some(left) = deadline.left() else { break false };
            guard = match self.left.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => PoisonError::into_inner(poisoned).0,
            };
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        if entered {
            Ok(())
        } else {
            Err(RemotingError::TooManyRequests("asynchronous sends").into())
        }
    }

    fn wait_idle(&self, deadline: &Deadline) {
        let mut guard = lock(&self.turnstile);
        self.waiters.fetch_add(1, Ordering::SeqCst);
        while self.count.load(Ordering::SeqCst) > 0
            && let Some(left) = deadline.left()
        {
            guard = match self.left.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => PoisonError::into_inner(poisoned).0,
            };
        }
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    fn leave(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.count.fetch_sub(1, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Under the lock no waiter is just trying, so what it adds for a moment is not counted.
        let _guard = lock(&self.turnstile);
        if self.count.load(Ordering::SeqCst) <= self.wake_count.load(Ordering::SeqCst)
            && self.bytes.load(Ordering::SeqCst) <= self.wake_bytes.load(Ordering::SeqCst)
        {
            self.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sender::{Place, SendResult, Sender};
    use super::*;
    use crate::client::{ClientOptions, Message, MessageQueue, ProducerOptions};

    #[test]
    fn callers_wait_at_the_limit() {
        let count = Arc::new(InFlight::default());
        let soon = || Deadline::after(Duration::from_millis(20));
        let late = || Deadline::after(Duration::from_secs(60));
        let one = Limit { count: 1, bytes: 100 };
        assert_eq!(count.enter(500, one, &soon()), Ok(()));
        assert!(count.enter(1, one, &soon()).is_err());
        assert!(count.enter(1, Limit { count: 2, bytes: 100 }, &soon()).is_err());
        let other = Arc::clone(&count);
        let waiter = std::thread::spawn(move || other.enter(7, one, &late()));
        while count.waiters.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        count.leave(500);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        let other = Arc::clone(&count);
        let waiter = std::thread::spawn(move || other.wait_idle(&late()));
        count.leave(7);
        waiter.join().unwrap();
    }

    #[test]
    fn a_send_that_reaches_a_lane_after_its_stop_learns_it() {
        let client = ClientOptions::default().name_servers("127.0.0.1:1");
        let instance = Instance::open(&client, client.client_id(false, false), false).unwrap();
        let sender = Arc::new(Sender::new(ProducerOptions::new("g"), Arc::clone(&instance)));
        let prepared = sender.prepare(&Message::new("T", "x")).unwrap();
        let deadline = Deadline::after(Duration::from_secs(60));
        let limit = Limit { count: 1, bytes: 100 };
        let (told, outcome) = crossbeam::channel::bounded(1);
        let done = move |result: Result<SendResult, ClientError>| told.send(result).unwrap();
        instance.lanes.enter(1, limit, &deadline).unwrap();
        let queue = Place::Named(MessageQueue::default());
        let send = AsyncSend::new(&sender, prepared, queue, false, deadline, Box::new(done));
        let lane = instance.lanes.lane(&instance, "127.0.0.1:1").unwrap();
        instance.close();
        lane.take(send);
        drop(lane);
        assert_eq!(outcome.try_recv(), Ok(Err(ClientError::NotRunning)));
        let room = instance.lanes.enter(1, limit, &Deadline::after(Duration::ZERO));
        assert_eq!(room, Ok(()), "its place is free again");
    }
}
