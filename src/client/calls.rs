//! How an [`Instance`] calls brokers and name servers: what every request carries, who sees the answers,
//! which name server is asked.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::config::Deadline;
use super::error::ClientError;
use super::instance::{Instance, LANGUAGE_RUST, broker_error};
use crate::common::sync::lock;
use crate::remoting::protocol::{request_code, response_code};
use crate::remoting::{Command, RemotingError, SerializeType};

impl Instance {
    /// Adds what every request of the instance carries.
    pub fn prepare(&self, addr: &str, mut request: Command) -> Command {
        request.language = LANGUAGE_RUST;
        if self.options.binary_headers
            && matches!(
                request.code,
                request_code::SEND_MESSAGE_V2
                    | request_code::SEND_BATCH_MESSAGE
                    | request_code::PULL_MESSAGE
            )
        {
            request.serialize = SerializeType::RocketMq;
        }
        if self.stream {
            request.fields.set("ReqT", "0");
        }
        if let Some(interceptor) = &self.options.interceptor.0 {
            interceptor.before_request(addr, &mut request);
        }
        request
    }

    /// Tells who wants to see it of an answer.
    pub fn answered(&self, addr: &str, request_code: i32, response: &Command) {
        if let Some(interceptor) = &self.options.interceptor.0 {
            interceptor.after_response(addr, request_code, response);
        }
    }

    /// Calls a peer. Any response code is `Ok`.
    pub fn call(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, ClientError> {
        let request = self.prepare(addr, request);
        let code = request.code;
        let response = self.remoting.call(addr, request, timeout)?;
        self.answered(addr, code, &response);
        Ok(response)
    }

    /// Calls a peer; a response code other than success is an error.
    pub fn call_ok(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, ClientError> {
        let response = self.call(addr, request, timeout)?;
        if response.code == response_code::SUCCESS {
            Ok(response)
        } else {
            Err(broker_error(addr, response))
        }
    }

    /// Calls a peer; `done` runs exactly once, on a callback thread, unless this fails.
    pub fn call_async(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let request = self.prepare(addr, request);
        let interceptor = self.options.interceptor.0.clone();
        let seen = interceptor.map(|interceptor| (interceptor, addr.to_owned(), request.code));
        let done = move |result: Result<Command, RemotingError>| {
            if let (Some((interceptor, addr, code)), Ok(response)) = (seen, &result) {
                interceptor.after_response(&addr, code, response);
            }
            done(result.map_err(ClientError::from));
        };
        self.remoting.call_async(addr, request, timeout, done).map_err(ClientError::from)
    }

    /// The same, but `done` runs on the thread that learns the outcome: it must be short. Not for
    /// clients with an interceptor, which would run there too.
    pub fn call_async_short(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let request = self.prepare(addr, request);
        let done = move |result: Result<Command, RemotingError>| {
            done(result.map_err(ClientError::from));
        };
        self.remoting.call_async_short(addr, request, timeout, done).map_err(ClientError::from)
    }

    /// Sends a request that has no answer.
    pub fn oneway(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let request = self.prepare(addr, request);
        self.remoting.oneway(addr, request, timeout).map_err(ClientError::from)
    }

    /// Calls several peers at once and waits for all, `limit` at most. Results are in order; not on
    /// callback threads, which the answers need.
    pub fn call_all(
        &self,
        calls: Vec<(String, Command)>,
        limit: Duration,
    ) -> Vec<(String, Result<Command, ClientError>)> {
        type Slot = Option<Result<Command, ClientError>>;
        let deadline = Deadline::after(limit);
        let slots: Vec<Slot> = calls.iter().map(|_| None).collect();
        let shared = Arc::new((Mutex::new((slots, calls.len())), Condvar::new()));
        let mut addrs = Vec::with_capacity(calls.len());
        for (at, (addr, request)) in calls.into_iter().enumerate() {
            let put = {
                let shared = Arc::clone(&shared);
                move |result| {
                    let mut state = lock(&shared.0);
                    if state.0[at].replace(result).is_none() {
                        state.1 -= 1;
                    }
                    shared.1.notify_all();
                }
            };
            let late = put.clone();
            let left = deadline.left().unwrap_or(Duration::from_millis(1));
            if let Err(error) = self.call_async(&addr, request, left, put) {
                late(Err(error));
            }
            addrs.push(addr);
        }
        let mut state = lock(&shared.0);
        while state.1 > 0
            && let Some(left) = deadline.left()
        {
            state = match shared.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let timeout = |addr: &str| RemotingError::Timeout {
            addr: addr.to_owned(),
            timeout_ms: limit.as_millis() as u64,
        };
        let slots: Vec<Slot> = state.0.iter_mut().map(Option::take).collect();
        let results = addrs.into_iter().zip(slots);
        results
            .map(|(addr, slot)| {
                let result = slot.unwrap_or_else(|| Err(timeout(&addr).into()));
                (addr, result)
            })
            .collect()
    }

    /// Asks the name servers, one after the other, until one answers; one that knows nothing of it
    /// (it may just have started) is not the last word while there are others.
    pub fn ask_name_server(&self, request: &Command) -> Result<(String, Command), ClientError> {
        let (mut last, mut ignorant) = (None, None);
        let tried = self.name_servers.in_order();
        for addr in &tried {
            let request = self.prepare(addr, request.clone());
            let code = request.code;
            match self.remoting.call(addr, request, self.options.api_timeout) {
                Ok(response) => {
                    self.answered(addr, code, &response);
                    if response.code == response_code::TOPIC_NOT_EXIST {
                        ignorant.get_or_insert((addr.clone(), response));
                        continue;
                    }
                    self.name_servers.stick_to(addr);
                    return Ok((addr.clone(), response));
                }
                Err(RemotingError::Stopped) => return Err(ClientError::NotRunning),
                Err(error) => last = Some(error),
            }
        }
        if let Some((addr, response)) = ignorant {
            self.name_servers.stick_to(&addr);
            return Ok((addr, response));
        }
        Err(match last {
            Some(last) => ClientError::NameServer { tried, last },
            None => self.no_name_server(),
        })
    }
}
