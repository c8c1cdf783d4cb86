//! [`Connection`]: one TCP connection, either end.
//!
//! A reader thread parses every complete frame in its buffer before it reads again. Everything
//! that leaves goes through [`Connection::send`], callable from any thread: written at once,
//! without blocking; what the kernel does not take goes to a bounded outbox that a writer thread,
//! started only then, drains. A peer that does not read never blocks a worker; past the limit the
//! connection is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Command, SerializeType};
use super::error::RemotingError;

/// One connection.
pub struct Connection {
    // owner: remoting
    _private: (),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Number of this connection, unique in the process.
    pub fn id(&self) -> u64 {
        todo!("owner: remoting")
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        todo!("owner: remoting")
    }

    /// Whether it was closed, by either side.
    pub fn is_closed(&self) -> bool {
        todo!("owner: remoting")
    }

    /// Whether it is open and its outbox is not filling up (Java's writable).
    pub fn is_writable(&self) -> bool {
        todo!("owner: remoting")
    }

    /// Closes it; the reader ends and the close handler runs once.
    pub fn close(&self, _why: &str) {
        todo!("owner: remoting")
    }

    /// Sends a frame (response, or request whose opaque is set). Never blocks on the peer.
    pub fn send(&self, _command: &Command) -> Result<(), RemotingError> {
        todo!("owner: remoting")
    }

    /// Sends frames together, in as few system calls as possible.
    pub fn send_all(&self, _commands: &[Command]) -> Result<(), RemotingError> {
        todo!("owner: remoting")
    }

    /// Calls the peer and waits for its answer.
    pub fn call(&self, _request: Command, _timeout: Duration) -> Result<Command, RemotingError> {
        todo!("owner: remoting")
    }

    /// Calls the peer; `done` runs exactly once, on the thread that learns the outcome.
    pub fn call_async(
        &self,
        _request: Command,
        _timeout: Duration,
        _done: impl FnOnce(Result<Command, RemotingError>) + Send + 'static,
    ) -> Result<(), RemotingError> {
        todo!("owner: remoting")
    }

    /// Sends a oneway request.
    pub fn oneway(&self, _request: Command) -> Result<(), RemotingError> {
        todo!("owner: remoting")
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
    pub fn send(&self, mut response: Command) {
        if !self.oneway {
            response.opaque = self.opaque;
            response.serialize = self.serialize;
            response.flag |= super::command::FLAG_RESPONSE;
            if let Err(error) = self.connection.send(&response) {
                log::debug!("response {} dropped: {error}", response.code);
            }
        }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}
