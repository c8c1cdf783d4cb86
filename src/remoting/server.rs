//! [`RemotingServer`]: accepts connections and hands requests to the processor of their code.
//!
//! The reader of a connection runs a short request itself while a permit of the request's pool is
//! free and nothing waits there; else it hands over all frames of one read together. Answers of
//! one batch are written together. Order per connection is kept for requests of one pool that the
//! reader runs itself.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::command::Command;
use super::config::ServerConfig;
use super::connection::Connection;
use super::dispatch::{Route, Routes};
use super::endpoint::{Endpoint, Limits};
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::common::thread_pool::ThreadPool;

/// Pause after an accept that failed for lack of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections over the limit are told of at most so often.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How long a server that is dropped without [`RunningServer::stop`] waits for its threads.
const DROP_LIMIT: Duration = Duration::from_secs(1);

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

    /// Whether an answer that is not there at once comes so soon that the reader may stay awake for
    /// what the peer sends then.
    fn answers_soon(&self) -> bool {
        false
    }
}

/// What happens to connections.
pub trait ConnectionEvents: Send + Sync + 'static {
    /// A connection was closed by either side, by idleness or by an error. Runs once for each, on
    /// the connection's reader thread, its last act.
    fn closed(&self, connection: &Arc<Connection>);
}

/// Builds a server: processors first, then [`start`](Self::start).
pub struct RemotingServer {
    name: String,
    config: ServerConfig,
    routes: Routes,
    events: Vec<Arc<dyn ConnectionEvents>>,
}

impl RemotingServer {
    /// A server that does not listen yet. `name` is the prefix of its thread names.
    pub fn new(name: &str, config: ServerConfig) -> Self {
        Self { name: name.to_owned(), config, routes: Routes::default(), events: Vec::new() }
    }

    /// Registers the processor and pool of a request code.
    pub fn register(&mut self, code: i32, processor: Arc<dyn Processor>, pool: Arc<ThreadPool>) {
        self.routes.set(code, Route { processor, pool, on_reader: true });
    }

    /// Registers what answers all other codes; without it they are answered with
    /// REQUEST_CODE_NOT_SUPPORTED.
    pub fn register_default(&mut self, processor: Arc<dyn Processor>, pool: Arc<ThreadPool>) {
        self.routes.default = Some(Route { processor, pool, on_reader: true });
    }

    /// Registers what is told of closed connections.
    pub fn on_close(&mut self, events: Arc<dyn ConnectionEvents>) {
        self.events.push(events);
    }

    /// Listens on all interfaces (`[::]` with IPv4, else `0.0.0.0`); port 0 picks one.
    ///
    /// # Errors
    /// The port is in use, or a thread cannot be started; the error names the port.
    pub fn start(self) -> io::Result<RunningServer> {
        let Self { name, config, routes, events } = self;
        let listener = Arc::new(listen(&config).map_err(|error| {
            let what = format!("{name}: cannot listen on port {}: {error}", config.listen_port);
            io::Error::new(error.kind(), what)
        })?);
        let local_addr = socket_addr(&listener.local_addr()?)?;
        let endpoint = Endpoint::new(
            &name,
            Limits::of_server(&config),
            config.server_oneway_semaphore_value,
            config.server_async_semaphore_value,
        );
        endpoint.routes.update(|current| *current = routes);
        endpoint.events.update(|current| *current = events);
        let scan = endpoint.start_scan()?;
        let stopping = Arc::new(Signal::default());
        let acceptor = Acceptor {
            endpoint: Arc::clone(&endpoint),
            listener: Arc::clone(&listener),
            stopping: Arc::clone(&stopping),
            max_connections: usize::try_from(config.max_connections).unwrap_or(0),
        };
        let boss_name = format!("{name}Boss");
        let boss =
            ServiceThread::spawn(&boss_name, Arc::clone(&stopping), move |_| acceptor.run())?;
        let listener = Mutex::new(Some(listener));
        Ok(RunningServer { endpoint, local_addr, listener, stopping, boss, scan })
    }
}

/// A socket address of the system as the standard library's.
fn socket_addr(addr: &socket2::SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(|| io::Error::other("neither an IPv4 nor an IPv6 address"))
}

/// A listening socket for both families; for IPv4 only where the system has no IPv6.
fn listen(config: &ServerConfig) -> io::Result<Socket> {
    let both = (Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, config.listen_port)));
    let only_v4 = (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.listen_port)));
    listen_at(both, config).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => listen_at(only_v4, config),
    })
}

fn listen_at((domain, addr): (Domain, SocketAddr), config: &ServerConfig) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(config.server_socket_backlog.max(1))?;
    Ok(socket)
}

/// The accepting thread.
struct Acceptor {
    endpoint: Arc<Endpoint>,
    listener: Arc<Socket>,
    stopping: Arc<Signal>,
    max_connections: usize,
}

impl Acceptor {
    /// Accepts until told to stop. The listening socket is closed when this ends.
    fn run(self) {
        let mut failing = false;
        let mut last_refusal: Option<Instant> = None;
        while !self.stopping.stopped() {
            match self.listener.accept() {
                Ok((socket, addr)) => {
                    failing = false;
                    self.accepted(socket, &addr, &mut last_refusal);
                }
                Err(_) if self.stopping.stopped() => break,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        log::error!(
                            "{}: cannot accept connections: {error}; trying again",
                            self.endpoint.name
                        );
                    }
                    self.stopping.wait(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn accepted(
        &self,
        socket: Socket,
        addr: &socket2::SockAddr,
        last_refusal: &mut Option<Instant>,
    ) {
        let name = &self.endpoint.name;
        let Ok(peer) = socket_addr(addr) else { return };
        if self.endpoint.connection_count() >= self.max_connections {
            if last_refusal.is_none_or(|last| last.elapsed() >= REFUSAL_LOG_INTERVAL) {
                *last_refusal = Some(Instant::now());
                log::warn!(
                    "{name}: connection from {peer} refused, {} are open (maxConnections)",
                    self.max_connections
                );
            }
            return;
        }
        match self.endpoint.adopt(socket, peer) {
            Ok(connection) => {
                log::debug!("{name}: connection {} from {peer}", connection.id());
            }
            Err(error) => log::warn!("{name}: connection from {peer} not taken: {error}"),
        }
    }
}

/// Whether an error of accept is that connection's, which went away before it was taken.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::WouldBlock
    )
}

/// A server that listens. Dropping it stops it.
pub struct RunningServer {
    endpoint: Arc<Endpoint>,
    local_addr: SocketAddr,
    /// None once accepting was stopped; the accepting thread closes the socket.
    listener: Mutex<Option<Arc<Socket>>>,
    stopping: Arc<Signal>,
    boss: ServiceThread,
    scan: ServiceThread,
}

impl RunningServer {
    /// The address it listens at.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Open connections.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.endpoint.connections()
    }

    /// Stops accepting; requests already read are still answered.
    pub fn stop_accepting(&self) {
        let Some(listener) = lock(&self.listener).take() else { return };
        self.stopping.stop();
        // Wakes the thread out of accept.
        let _ = listener.shutdown(Shutdown::Both);
    }

    /// Closes everything and joins its threads, at most `limit`. Idempotent.
    pub fn stop(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.stop_accepting();
        self.boss.stop(left());
        if !self.endpoint.close_all("the server stops", left()) {
            let count = self.endpoint.connection_count();
            log::warn!("{}: {count} connections still run a request", self.endpoint.name);
        }
        self.scan.stop(left());
        // Processors often own the server that owns them.
        self.endpoint.routes.update(|routes| *routes = Routes::default());
        self.endpoint.events.update(Vec::clear);
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop(DROP_LIMIT);
    }
}
