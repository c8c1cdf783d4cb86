//! [`Endpoint`]: what all connections of one server or one client share: limits, routes of
//! requests, permits, the list of connections and the scan of it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;
use socket2::Socket;

use super::config::{ClientConfig, ServerConfig};
use super::connection::{Connection, STACK_BYTES};
use super::dispatch::Routes;
use super::permits::Permits;
use super::reader;
use super::server::ConnectionEvents;
use super::watch::Watchers;
use crate::common::config::Live;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::{catch_panic, lock};

/// How often connections are looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// What one connection may use.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_frame_bytes: usize,
    pub(super) max_requests_in_flight: usize,
    pub(super) max_outbox_bytes: usize,
    /// 0 is no limit.
    pub(super) max_idle_seconds: u32,
    /// A caller may read the connection: no request of the peer runs on the thread that reads.
    pub(super) callers_may_read: bool,
    /// How long a reader waits awake; zero: not at all.
    busy_poll: Duration,
    send_buffer_bytes: usize,
    receive_buffer_bytes: usize,
}

/// A configured number as what it is used as; below zero is zero.
fn size<T: TryInto<usize>>(value: T) -> usize {
    value.try_into().unwrap_or(0)
}

/// Below zero is zero; longer than a millisecond nobody waits awake.
fn micros(value: i32) -> Duration {
    Duration::from_micros(u64::try_from(value).unwrap_or(0).min(1000))
}

impl Limits {
    pub(super) fn of_server(config: &ServerConfig) -> Self {
        Self {
            max_frame_bytes: size(config.max_frame_bytes),
            max_requests_in_flight: size(config.max_requests_in_flight),
            max_outbox_bytes: size(config.max_outbox_bytes),
            max_idle_seconds: size(config.server_channel_max_idle_time_seconds) as u32,
            callers_may_read: false,
            busy_poll: micros(config.busy_poll_micros),
            send_buffer_bytes: size(config.server_socket_snd_buf_size),
            receive_buffer_bytes: size(config.server_socket_rcv_buf_size),
        }
    }

    /// A client's: what has no key of its own is as a server's.
    pub(super) fn of_client(config: &ClientConfig) -> Self {
        let max_idle_seconds = size(config.client_channel_max_idle_time_seconds) as u32;
        Self {
            max_idle_seconds,
            callers_may_read: true,
            busy_poll: micros(config.busy_poll_micros),
            ..Self::of_server(&ServerConfig::default())
        }
    }

    pub(super) fn apply_buffer_sizes(&self, socket: &Socket) -> io::Result<()> {
        if self.send_buffer_bytes > 0 {
            socket.set_send_buffer_size(self.send_buffer_bytes)?;
        }
        if self.receive_buffer_bytes > 0 {
            socket.set_recv_buffer_size(self.receive_buffer_bytes)?;
        }
        Ok(())
    }
}

/// One side of its connections.
pub(super) struct Endpoint {
    /// Prefix of thread names, and whose log lines these are.
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) routes: Live<Routes>,
    pub(super) events: Live<Vec<Arc<dyn ConnectionEvents>>>,
    pub(super) oneway_permits: Arc<Permits>,
    pub(super) async_permits: Arc<Permits>,
    /// Readers that wait awake.
    pub(super) watchers: Watchers,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Told when the last connection is gone.
    empty: Condvar,
    opaque: AtomicI32,
    /// A clock that costs nothing to read: the number of scans.
    seconds: AtomicU32,
}

impl Endpoint {
    pub(super) fn new(name: &str, limits: Limits, oneway: i32, concurrent: i32) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            watchers: Watchers::new(limits.busy_poll),
            limits,
            routes: Live::new(Routes::default()),
            events: Live::new(Vec::new()),
            oneway_permits: Permits::new("oneway requests", oneway),
            async_permits: Permits::new("asynchronous requests", concurrent),
            connections: Mutex::default(),
            empty: Condvar::new(),
            opaque: AtomicI32::new(0),
            seconds: AtomicU32::new(0),
        })
    }

    /// Opaque of the next request: from 1, never negative. (The pure JavaScript client takes 0
    /// for none.)
    pub(super) fn next_opaque(&self) -> i32 {
        loop {
            let next = self.opaque.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if next != 0 {
                return next;
            }
        }
    }

    /// Seconds since the start, one late at most.
    pub(super) fn seconds(&self) -> u32 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// Makes a connection of a connected socket and starts its reader.
    pub(super) fn adopt(
        self: &Arc<Self>,
        socket: Socket,
        peer: SocketAddr,
    ) -> io::Result<Arc<Connection>> {
        let connection = Connection::new(self, socket, peer)?;
        lock(&self.connections).insert(connection.id(), Arc::clone(&connection));
        let read = Arc::clone(&connection);
        let thread = thread::Builder::new()
            .name(format!("{}NIO_{}", self.name, connection.id()))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                catch_panic("the reader of a connection", || reader::run(&read));
                read.endpoint.forget(&read);
            });
        if let Err(error) = thread {
            connection.close_logged(Level::Warn, &format!("no thread to read it: {error}"));
            self.remove(&connection);
            return Err(error);
        }
        Ok(connection)
    }

    /// The reader has ended.
    fn forget(&self, connection: &Arc<Connection>) {
        connection.close_logged(Level::Warn, "its reader ended");
        for events in self.events.get().iter() {
            catch_panic("a handler of closed connections", || events.closed(connection));
        }
        self.remove(connection);
    }

    fn remove(&self, connection: &Connection) {
        let mut connections = lock(&self.connections);
        connections.remove(&connection.id());
        if connections.is_empty() {
            self.empty.notify_all();
        }
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).values().cloned().collect()
    }

    pub(super) fn connection_count(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Starts the scan, once a second: timeouts of calls, idle connections.
    pub(super) fn start_scan(self: &Arc<Self>) -> io::Result<ServiceThread> {
        let endpoint = Arc::clone(self);
        ServiceThread::spawn(
            &format!("{}Scan", self.name),
            Arc::new(Signal::default()),
            move |signal| {
                let start = Instant::now();
                while signal.wait(SCAN_INTERVAL) {
                    let now = Instant::now();
                    endpoint.seconds.store((now - start).as_secs() as u32, Ordering::Relaxed);
                    for connection in endpoint.connections() {
                        connection.housekeeping(now);
                    }
                }
            },
        )
    }

    /// Closes all connections, those first that have nothing more to write, and waits for their
    /// readers. Whether all ended before `limit`.
    pub(super) fn close_all(&self, why: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut connections = lock(&self.connections);
        loop {
            let all: Vec<Arc<Connection>> = connections.values().cloned().collect();
            drop(connections);
            let late = Instant::now() >= deadline;
            for connection in &all {
                if late || connection.is_drained() {
                    connection.close_logged(Level::Debug, why);
                }
            }
            connections = lock(&self.connections);
            if connections.is_empty() || late {
                return connections.is_empty();
            }
            // A peer that reads slowly is asked again soon; the end of the last one wakes at once.
            let pause = deadline.saturating_duration_since(Instant::now());
            let (guard, _) = self
                .empty
                .wait_timeout(connections, pause.min(Duration::from_millis(20)))
                .unwrap_or_else(PoisonError::into_inner);
            connections = guard;
        }
    }
}
