//! What the unit tests of the tables share: a folder of their own, and clients with connections.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::channels::ClientChannel;
use crate::remoting::command::{Language, VERSION};
use crate::remoting::config::ServerConfig;
use crate::remoting::server::RunningServer;
use crate::remoting::{Connection, RemotingServer};

/// A folder that nobody else has, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-table-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join("config").join(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        let folder = self.0.join("config");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A listener whose clients say nothing.
pub struct Listener {
    server: RunningServer,
}

/// A client; its connection ends with it.
pub struct Client {
    _socket: TcpStream,
    pub connection: Arc<Connection>,
}

impl Listener {
    pub fn new() -> Self {
        let config = ServerConfig { listen_port: 0, ..ServerConfig::default() };
        Self { server: RemotingServer::new("Test", config).start().unwrap() }
    }

    pub fn connect(&self) -> Client {
        let port = self.server.local_addr().port();
        let addr = ("127.0.0.1", port).to_socket_addrs().unwrap().next().unwrap();
        let socket = TcpStream::connect(addr).unwrap();
        let own = socket.local_addr().unwrap().port();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.server.connections().into_iter().find(|c| c.peer_addr().port() == own);
            if let Some(connection) = found {
                return Client { _socket: socket, connection };
            }
            assert!(Instant::now() < deadline, "the connection is not accepted");
            std::thread::yield_now();
        }
    }
}

impl Client {
    /// The client as a heartbeat at `now_ms` describes it.
    pub fn heard(&self, client_id: &str, now_ms: i64) -> Arc<ClientChannel> {
        let connection = Arc::clone(&self.connection);
        ClientChannel::new(connection, client_id.to_owned(), Language::JAVA, VERSION, now_ms)
    }
}
