//! [`AsyncSend`]: a send whose caller has gone on: its attempts, and who is told at the end. How it gets
//! to its broker is the business of its [`lane`](super::lane).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Deadline;
use super::error::{Attempt, ClientError};
use super::hooks::{self, AfterSend, SendMode};
use super::lane::Limit;
use super::sender::{Place, Prepared, SendResult, SendStatus, Sender};
use crate::remoting::Command;
use crate::remoting::protocol::bodies::MessageQueue;

impl Sender {
    /// Starts a send; `done` learns its outcome, exactly once, unless this fails.
    pub fn send_async(
        self: &Arc<Self>,
        prepared: Prepared,
        queue: Option<MessageQueue>,
        timeout: Duration,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let deadline = Deadline::after(timeout);
        let in_turn = queue.is_none();
        let queue = self.first_place(&prepared.topic, queue)?;
        let limit = Limit {
            count: self.options.async_in_flight,
            bytes: self.options.async_in_flight_bytes,
        };
        self.instance.lanes.enter(prepared.body.len(), limit, &deadline)?;
        AsyncSend::new(self, prepared, queue, in_turn, deadline, Box::new(done)).issue();
        Ok(())
    }
}

/// An asynchronous send on its way.
pub(crate) struct AsyncSend {
    sender: Arc<Sender>,
    prepared: Prepared,
    queue: Place,
    /// Retries may take another queue.
    in_turn: bool,
    /// When it must be over.
    pub deadline: Deadline,
    issued: Instant,
    attempts: Vec<Attempt>,
    /// What the hooks want to know at the end of the present attempt.
    after: Vec<AfterSend>,
    done: SentFn,
}

/// Is told once how a send ended.
type SentFn = Box<dyn FnOnce(Result<SendResult, ClientError>) + Send>;

impl AsyncSend {
    /// Before its first attempt. It has its place among those on their way, and gives it back at its end.
    pub(super) fn new(
        sender: &Arc<Sender>,
        prepared: Prepared,
        queue: Place,
        in_turn: bool,
        deadline: Deadline,
        done: SentFn,
    ) -> Box<Self> {
        Box::new(Self {
            sender: Arc::clone(sender),
            prepared,
            queue,
            in_turn,
            deadline,
            issued: deadline.began(),
            attempts: Vec::new(),
            after: Vec::new(),
            done,
        })
    }

    /// Puts it on the lane to its broker.
    fn issue(mut self: Box<Self>) {
        let instance = Arc::clone(&self.sender.instance);
        loop {
            let failed = match instance.master(&self.queue.broker_name, &self.queue.topic) {
                Ok(addr) => match self.tell_hooks(&addr) {
                    Ok(()) => match instance.lanes.push(&instance, &instance.vip(addr), self) {
                        Ok(()) => return,
                        Err(send) => send.next_attempt(ClientError::NotRunning),
                    },
                    Err(forbidden) => return self.end(Err(forbidden)),
                },
                Err(error) => self.next_attempt(error),
            };
            match failed {
                Some(send) => self = send,
                None => return,
            }
        }
    }

    fn tell_hooks(&mut self, addr: &str) -> Result<(), ClientError> {
        if self.sender.options.avoid_slow_brokers {
            self.issued = Instant::now();
        }
        self.after = self.sender.tell_hooks(&self.prepared, &self.queue, addr, SendMode::Async)?;
        Ok(())
    }

    /// Bytes that it holds.
    pub fn body_bytes(&self) -> usize {
        self.prepared.body.len()
    }

    /// The request of the present attempt.
    pub fn request(&self) -> Command {
        self.sender.request(&self.prepared, &self.queue)
    }

    /// The present attempt has ended: with a response, or a failure of transport.
    pub fn complete(mut self: Box<Self>, addr: &str, result: Result<Command, ClientError>) {
        match result {
            Ok(response) => {
                let failed = SendStatus::of_code(response.code).is_none();
                self.sender.note(&self.queue.broker_name, self.issued, failed);
                let id = std::mem::take(&mut self.prepared.message_id);
                let queue = self.queue.clone();
                let result = self.sender.read_result(id, queue, addr, response);
                hooks::sent(std::mem::take(&mut self.after), Some(&result));
                self.end(result);
            }
            Err(error) => {
                self.sender.note(&self.queue.broker_name, self.issued, true);
                self.sender.instance.update_routes_soon();
                if let Some(send) = self.next_attempt(error) {
                    send.issue();
                }
            }
        }
    }

    fn end(self: Box<Self>, result: Result<SendResult, ClientError>) {
        self.sender.instance.lanes.leave(self.body_bytes());
        (self.done)(result);
    }

    /// After a failure of transport: the send with its next queue, or the end of it.
    fn next_attempt(mut self: Box<Self>, error: ClientError) -> Option<Box<Self>> {
        if !self.after.is_empty() {
            hooks::sent(std::mem::take(&mut self.after), Some(&Err(error.clone())));
        }
        let stop = matches!(error, ClientError::NotRunning);
        let broker_name = self.queue.broker_name.clone();
        self.attempts.push(Attempt { broker_name, error: Box::new(error) });
        let used = self.attempts.len() as u32 > self.sender.options.async_retries;
        if stop || used || self.deadline.left().is_none() {
            let attempts = std::mem::take(&mut self.attempts);
            let error = self.sender.failed(&self.prepared.topic, attempts, &self.deadline, false);
            self.end(Err(error));
            return None;
        }
        if self.in_turn
            && let Some(route) = self.sender.instance.route(&self.prepared.topic)
            && let Some(queue) = self.sender.next_queue(&route, Some(&self.queue.broker_name))
        {
            self.queue = queue;
        }
        Some(self)
    }
}
