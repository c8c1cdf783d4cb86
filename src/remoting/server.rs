//! [`RemotingServer`]: accepts connections and hands requests to the processor of their code.
//!
//! The reader of a connection runs a short request itself while a permit of the request's pool is
//! free and nothing waits there; else it hands over all frames of one read together. Answers of
//! one batch are written together. Order per connection is kept for requests of one pool that the
//! reader runs itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::command::Command;
use super::config::ServerConfig;
use super::connection::Connection;
use crate::common::thread_pool::ThreadPool;

/// What answers requests.
pub trait Processor: Send + Sync + 'static {
    /// Answers `request`. `None`: no answer now; whoever keeps a
    /// [`ReplyTo`](super::connection::ReplyTo) gives it later, or there is none. An `Err` is
    /// answered with SYSTEM_ERROR and its text; a panic likewise, and logged.
    fn process(
        &self,
        connection: &Arc<Connection>,
        request: Command,
    ) -> Result<Option<Command>, Box<dyn std::error::Error + Send + Sync>>;

    /// Whether requests are refused right now; the reason for the remark after `[REJECTREQUEST]`.
    fn rejects(&self, _request: &Command) -> Option<String> {
        None
    }

    /// Whether `request` is short: it can wait neither for a disk nor for a peer, so the reader may
    /// run it.
    fn is_short(&self, _request: &Command) -> bool {
        false
    }
}

/// What happens to connections.
pub trait ConnectionEvents: Send + Sync + 'static {
    /// A connection was closed by either side, by idleness or by an error. Runs once for each.
    fn closed(&self, connection: &Arc<Connection>);
}

/// Builds a server: processors first, then [`start`](Self::start).
pub struct RemotingServer {
    // owner: remoting
    _private: (),
}

impl RemotingServer {
    /// A server that does not listen yet. `name` is the prefix of its thread names.
    pub fn new(_name: &str, _config: ServerConfig) -> Self {
        todo!("owner: remoting")
    }

    /// Registers the processor and pool of a request code.
    pub fn register(&mut self, _code: i32, _processor: Arc<dyn Processor>, _pool: Arc<ThreadPool>) {
        todo!("owner: remoting")
    }

    /// Registers what answers all other codes; without it they are answered with
    /// REQUEST_CODE_NOT_SUPPORTED.
    pub fn register_default(&mut self, _processor: Arc<dyn Processor>, _pool: Arc<ThreadPool>) {
        todo!("owner: remoting")
    }

    /// Registers what is told of closed connections.
    pub fn on_close(&mut self, _events: Arc<dyn ConnectionEvents>) {
        todo!("owner: remoting")
    }

    /// Listens on all interfaces (`[::]` with IPv4, else `0.0.0.0`); port 0 picks one.
    pub fn start(self) -> std::io::Result<RunningServer> {
        todo!("owner: remoting")
    }
}

/// A server that listens.
pub struct RunningServer {
    // owner: remoting
    _private: (),
}

impl RunningServer {
    /// The address it listens at.
    pub fn local_addr(&self) -> SocketAddr {
        todo!("owner: remoting")
    }

    /// Open connections.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        todo!("owner: remoting")
    }

    /// Stops accepting; requests already read are still answered.
    pub fn stop_accepting(&self) {
        todo!("owner: remoting")
    }

    /// Closes everything and joins its threads, at most `limit`. Idempotent.
    pub fn stop(&self, _limit: Duration) {
        todo!("owner: remoting")
    }
}
