//! [`AcceptSocketService`]: the replication port, and the thread that accepts at it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::slaves::Slaves;
use crate::common::service_thread::{ServiceThread, Signal};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Pause after an error that is not one connection's (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The replication port.
pub struct AcceptSocketService {
    listener: Arc<Socket>,
    stopping: Arc<Signal>,
    thread: ServiceThread,
    port: u16,
}

impl AcceptSocketService {
    /// Listens at `address`; port 0 picks one. The unspecified IPv6 address takes IPv4 too.
    pub fn start(address: SocketAddr, slaves: Arc<Slaves>) -> io::Result<Self> {
        let unspecified_v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
        let listener = listen(address).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // A system without IPv6.
            _ if address.is_ipv6() && address.ip().is_unspecified() => listen(unspecified_v4),
            _ => Err(error),
        })?;
        let port = listener.local_addr()?.as_socket().map_or(0, |address| address.port());
        let listener = Arc::new(listener);
        let its_listener = Arc::clone(&listener);
        let stopping = Arc::<Signal>::default();
        let thread = ServiceThread::spawn("AcceptSocket", Arc::clone(&stopping), move |signal| {
            accept(&its_listener, &slaves, signal);
        })?;
        Ok(Self { listener, stopping, thread, port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Accepts nobody any more.
    pub fn stop(&self, limit: Duration) {
        // Told first, so that the thread knows why accept returns.
        self.stopping.stop();
        let _ = self.listener.shutdown(Shutdown::Both);
        self.thread.stop(limit);
    }
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn accept(listener: &Socket, slaves: &Arc<Slaves>, signal: &Signal) {
    let mut failing = false;
    while !signal.stopped() {
        match listener.accept() {
            Ok((socket, address)) => {
                failing = false;
                if let Some(peer) = address.as_socket() {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    slaves.admit(socket.into(), peer);
                }
            }
            Err(_) if signal.stopped() => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    log::error!("replication: no slave can be accepted: {error}; trying again");
                }
                signal.wait(ACCEPT_PAUSE);
            }
        }
    }
}

/// Whether an error of accept is that connection's, which went away before it was taken.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | ConnectionAborted | ConnectionReset | WouldBlock)
}
