//! [`RemotingClient`]: connections by address, made on demand and shared by all callers.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::command::Command;
use super::config::ClientConfig;
use super::connection::{AsyncCall, Connection};
use super::dispatch::Route;
use super::endpoint::{Endpoint, Limits};
use super::error::RemotingError;
use super::server::{ConnectionEvents, Processor};
use crate::common::clock::deadline_after;
use crate::common::service_thread::ServiceThread;
use crate::common::sync::lock;
use crate::common::thread_pool::{Task, ThreadPool};

/// Prefix of the names of a client's threads.
const NAME: &str = "Client";
/// Callbacks and requests from servers that may wait for a worker.
const WORKER_QUEUE: usize = 100_000;
/// How long a client waits for its threads when it is shut down.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// Calls peers by their address `host:port`.
///
/// An address has one connection at a time. It is made by the first caller; others who come
/// meanwhile wait for it, and share its failure. After it was closed, the next call makes another.
pub struct RemotingClient {
    config: ClientConfig,
    endpoint: Arc<Endpoint>,
    workers: Arc<ThreadPool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    peers: HashMap<String, Arc<Peer>>,
    /// Started with the first connection.
    scan: Option<ServiceThread>,
}

/// One address.
#[derive(Default)]
struct Peer {
    link: Mutex<Link>,
    changed: Condvar,
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    /// Somebody connects.
    connecting: bool,
    /// Number of attempts that ended, and how the last one failed.
    attempts: u64,
    failure: Option<RemotingError>,
}

impl RemotingClient {
    /// A client without connections.
    pub fn new(config: ClientConfig) -> Arc<Self> {
        let threads = usize::try_from(config.client_worker_threads).unwrap_or(0);
        Arc::new(Self {
            endpoint: Endpoint::new(
                NAME,
                Limits::of_client(&config),
                config.client_oneway_semaphore_value,
                config.client_async_semaphore_value,
            ),
            workers: ThreadPool::new(&format!("{NAME}Worker_"), threads, WORKER_QUEUE),
            config,
            state: Mutex::default(),
        })
    }

    /// Registers what answers requests that peers send us (on the client's worker pool). Other
    /// requests are answered with REQUEST_CODE_NOT_SUPPORTED.
    pub fn register(&self, code: i32, processor: Arc<dyn Processor>) {
        let route = Route { processor, pool: Arc::clone(&self.workers), on_reader: false };
        self.endpoint.routes.update(|routes| routes.set(code, route));
    }

    /// Registers what is told of closed connections.
    pub fn on_close(&self, events: Arc<dyn ConnectionEvents>) {
        self.endpoint.events.update(|all| all.push(events));
    }

    /// Calls `addr` and waits for the answer. Connecting counts into `timeout`.
    pub fn call(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, RemotingError> {
        let deadline = deadline_after(timeout);
        let connection = self.connection(addr, timeout)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let result = connection.call(request, left);
        if matches!(result, Err(RemotingError::Timeout { .. })) {
            if self.config.client_close_socket_if_timeout {
                connection.close("a call timed out (clientCloseSocketIfTimeout)");
            }
            return Err(timeout_error(addr, timeout));
        }
        result
    }

    /// Calls `addr`; `done` runs exactly once, on a worker, unless this returns an error.
    /// Connecting counts into `timeout` and happens on this thread.
    pub fn call_async(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command, RemotingError>) + Send + 'static,
    ) -> Result<(), RemotingError> {
        let workers = Arc::clone(&self.workers);
        self.call_async_short(addr, request, timeout, move |outcome| {
            // Too many wait or the client stops: better on this thread than not at all.
            if let Err(task) = workers.submit(Box::new(Done { done, outcome })) {
                task.run();
            }
        })
    }

    /// The same, but `done` runs on the thread that learns the outcome, so it must be short and
    /// wait for nothing. Connecting happens on this thread.
    pub fn call_async_short(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command, RemotingError>) + Send + 'static,
    ) -> Result<(), RemotingError> {
        let deadline = deadline_after(timeout);
        let connection = self.connection(addr, timeout)?;
        connection.call_async(request, deadline.saturating_duration_since(Instant::now()), done)
    }

    /// Whether a call to `addr` would not have to connect first.
    pub fn is_connected(&self, addr: &str) -> bool {
        let peer = lock(&self.state).peers.get(addr).cloned();
        peer.is_some_and(|peer| {
            let link = lock(&peer.link);
            link.connection.as_ref().is_some_and(|connection| !connection.is_closed())
        })
    }

    /// Makes several calls to `addr` with as few writes as possible. Every `done` runs exactly once,
    /// whatever happens, on the thread that learns the outcome, so it must be short:
    /// [`run`](Self::run) is for the rest. Connecting, and waiting while much of what was sent
    /// before has not been read, happen on this thread, within `timeout`.
    pub fn call_async_all(&self, addr: &str, calls: Vec<AsyncCall>, timeout: Duration) {
        let deadline = deadline_after(timeout);
        let connection = self.connection(addr, timeout);
        let writable = connection.and_then(|connection| {
            connection.wait_for_room(deadline)?;
            Ok(connection)
        });
        match writable {
            Ok(connection) => connection.call_async_all(calls),
            Err(error) => {
                for call in calls {
                    (call.done)(Err(error.clone()));
                }
            }
        }
    }

    /// Runs a task on a worker; on this thread if too many wait or the client stops.
    pub fn run(&self, task: Box<dyn Task>) {
        if let Err(task) = self.workers.submit(task) {
            task.run();
        }
    }

    /// Sends a oneway request. `timeout` is for connecting, and for waiting while much of what was
    /// sent before has not been read.
    pub fn oneway(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<(), RemotingError> {
        let deadline = deadline_after(timeout);
        let connection = self.connection(addr, timeout)?;
        connection.wait_for_room(deadline)?;
        connection.oneway(request)
    }

    /// Closes connections to addresses that are not in `keep`.
    pub fn retain(&self, keep: &dyn Fn(&str) -> bool) {
        let mut dropped = Vec::new();
        lock(&self.state).peers.retain(|addr, peer| {
            let kept = keep(addr);
            if !kept {
                dropped.push(Arc::clone(peer));
            }
            kept
        });
        for peer in dropped {
            let connection = lock(&peer.link).connection.take();
            if let Some(connection) = connection {
                connection.close("its address is no longer wanted");
            }
        }
    }

    /// Closes everything; calls in flight end with [`RemotingError::Stopped`] or `Closed`, and
    /// their callbacks have run when this returns, unless they take longer than 3 s. Idempotent.
    pub fn shutdown(&self) {
        let scan = {
            let mut state = lock(&self.state);
            state.stopped = true;
            state.peers.clear();
            state.scan.take()
        };
        self.endpoint.close_all("the client stops", SHUTDOWN_LIMIT);
        self.workers.stop(SHUTDOWN_LIMIT);
        if let Some(scan) = scan {
            scan.stop(SHUTDOWN_LIMIT);
        }
        // Processors often own the client that owns them.
        self.endpoint.routes.update(|routes| *routes = Default::default());
        self.endpoint.events.update(Vec::clear);
    }

    /// The connection to `addr`, made if there is none.
    fn connection(&self, addr: &str, timeout: Duration) -> Result<Arc<Connection>, RemotingError> {
        let deadline = deadline_after(timeout);
        let peer = {
            let mut state = lock(&self.state);
            if state.stopped {
                return Err(RemotingError::Stopped);
            }
            match state.peers.get(addr) {
                Some(peer) => Arc::clone(peer),
                None => Arc::clone(state.peers.entry(addr.to_owned()).or_default()),
            }
        };
        let mut link = lock(&peer.link);
        while link.connecting {
            let attempts = link.attempts;
            let left = deadline.saturating_duration_since(Instant::now());
            let (guard, _) = peer
                .changed
                .wait_timeout_while(link, left, |link| link.attempts == attempts)
                .unwrap_or_else(PoisonError::into_inner);
            link = guard;
            if link.attempts == attempts {
                return Err(timeout_error(addr, timeout));
            }
            if let Some(failure) = &link.failure {
                return Err(failure.clone());
            }
        }
        if let Some(connection) = link.connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        link.connecting = true;
        drop(link);

        let result = self.connect(addr, timeout);
        let mut link = lock(&peer.link);
        link.connecting = false;
        link.attempts += 1;
        link.connection = result.as_ref().ok().cloned();
        link.failure = result.as_ref().err().cloned();
        peer.changed.notify_all();
        result
    }

    /// Connects to the first of the host's addresses that answers.
    fn connect(&self, addr: &str, timeout: Duration) -> Result<Arc<Connection>, RemotingError> {
        let limit = u64::try_from(self.config.connect_timeout_millis).unwrap_or(0);
        let deadline = Instant::now() + timeout.min(Duration::from_millis(limit));
        let failed = |reason: String| RemotingError::Connect { addr: addr.to_owned(), reason };
        let mut last = None;
        for candidate in resolve(addr)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(&candidate, left) {
                Ok(stream) => {
                    return self.adopt(stream, candidate).map_err(|e| failed(e.to_string()));
                }
                Err(error) => last = Some(error.to_string()),
            }
        }
        Err(failed(last.unwrap_or_else(|| "no time left to connect".to_owned())))
    }

    fn adopt(&self, stream: TcpStream, peer: SocketAddr) -> std::io::Result<Arc<Connection>> {
        let mut state = lock(&self.state);
        if state.stopped {
            return Err(std::io::Error::other("shutting down"));
        }
        if state.scan.is_none() {
            state.scan = Some(self.endpoint.start_scan()?);
        }
        self.endpoint.adopt(stream.into(), peer)
    }
}

impl Drop for RemotingClient {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// A callback with its outcome. It also runs if the pool gives it up: it was promised to run.
struct Done<F> {
    done: F,
    outcome: Result<Command, RemotingError>,
}

impl<F> crate::common::thread_pool::Task for Done<F>
where
    F: FnOnce(Result<Command, RemotingError>) + Send + 'static,
{
    fn run(self: Box<Self>) {
        (self.done)(self.outcome);
    }

    fn shed(self: Box<Self>, _: crate::common::thread_pool::Shed, _: Duration, _: usize) {
        self.run();
    }
}

fn timeout_error(addr: &str, timeout: Duration) -> RemotingError {
    RemotingError::Timeout { addr: addr.to_owned(), timeout_ms: timeout.as_millis() as u64 }
}

/// Addresses of `host:port`. The last colon splits, and a host may stand in brackets, so IPv6
/// addresses work with and without them. A name is resolved by the system, on this thread.
fn resolve(addr: &str) -> Result<Vec<SocketAddr>, RemotingError> {
    let bad = || RemotingError::BadAddress(addr.to_owned());
    let (host, port) = addr.trim().rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || port == 0 {
        return Err(bad());
    }
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(|_| bad())?.collect();
    if addresses.is_empty() { Err(bad()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let one = |addr: &str| resolve(addr).unwrap()[0];
        assert_eq!(one("127.0.0.1:9876"), "127.0.0.1:9876".parse().unwrap());
        assert_eq!(one("[::1]:9876"), "[::1]:9876".parse().unwrap());
        assert_eq!(one("::1:9876"), "[::1]:9876".parse().unwrap());
        assert!(resolve("localhost:1").unwrap().iter().all(|addr| addr.ip().is_loopback()));
        for bad in
            ["", "host", ":1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:0", "no.such.invalid:1"]
        {
            assert_eq!(resolve(bad), Err(RemotingError::BadAddress(bad.to_owned())), "{bad}");
        }
    }
}
