//! [`RemotingClient`]: connections by address, made on demand and shared by all callers.

use std::sync::Arc;
use std::time::Duration;

use super::command::Command;
use super::config::ClientConfig;
use super::error::RemotingError;
use super::server::{ConnectionEvents, Processor};

/// Calls peers by their address `host:port`.
pub struct RemotingClient {
    // owner: remoting
    _private: (),
}

impl RemotingClient {
    /// A client without connections.
    pub fn new(_config: ClientConfig) -> Arc<Self> {
        todo!("owner: remoting")
    }

    /// Registers what answers requests that peers send us (on the client's worker pool).
    pub fn register(&self, _code: i32, _processor: Arc<dyn Processor>) {
        todo!("owner: remoting")
    }

    /// Registers what is told of closed connections.
    pub fn on_close(&self, _events: Arc<dyn ConnectionEvents>) {
        todo!("owner: remoting")
    }

    /// Calls `addr` and waits for the answer. Connecting counts into `timeout`.
    pub fn call(
        &self,
        _addr: &str,
        _request: Command,
        _timeout: Duration,
    ) -> Result<Command, RemotingError> {
        todo!("owner: remoting")
    }

    /// Calls `addr`; `done` runs exactly once, on a worker, unless this returns an error.
    pub fn call_async(
        &self,
        _addr: &str,
        _request: Command,
        _timeout: Duration,
        _done: impl FnOnce(Result<Command, RemotingError>) + Send + 'static,
    ) -> Result<(), RemotingError> {
        todo!("owner: remoting")
    }

    /// Sends a oneway request.
    pub fn oneway(
        &self,
        _addr: &str,
        _request: Command,
        _timeout: Duration,
    ) -> Result<(), RemotingError> {
        todo!("owner: remoting")
    }

    /// Closes connections to addresses that are not in `keep`.
    pub fn retain(&self, _keep: &dyn Fn(&str) -> bool) {
        todo!("owner: remoting")
    }

    /// Closes everything; calls in flight end with [`RemotingError::Stopped`] or `Closed`.
    pub fn shutdown(&self) {
        todo!("owner: remoting")
    }
}
