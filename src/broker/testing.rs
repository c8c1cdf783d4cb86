//! What the tests of the broker share: a folder of their own, clients with connections, and a whole
//! broker.
#![cfg(test)]

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::channels::ClientChannel;
use super::startup::{self, Configuration, RunningBroker};
use crate::remoting::command::{Language, VERSION};
use crate::remoting::config::{ClientConfig, ServerConfig};
use crate::remoting::server::RunningServer;
use crate::remoting::{Command, Connection, RemotingClient, RemotingServer};

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
        let deadline = Instant::now() + LIMIT;
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

/// A whole broker on ports of its own, and a client of it.
pub struct TestBroker {
    pub running: RunningBroker,
    pub client: Arc<RemotingClient>,
    folder: Arc<Folder>,
}

impl TestBroker {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Configuration)) -> Self {
        Self::start_on(Arc::new(Folder::new()), change)
    }

    /// Stops it, and starts another one on its files.
    pub fn restart(self) -> Self {
        let folder = Arc::clone(&self.folder);
        drop(self);
        Self::start_on(folder, |_| {})
    }

    fn start_on(folder: Arc<Folder>, change: impl FnOnce(&mut Configuration)) -> Self {
        let mut configuration = Configuration {
            file: Some(folder.path().join("config").join("broker.conf")),
            ..Configuration::default()
        };
        configuration.broker.namesrv_addr.clear();
        configuration.broker.broker_ip1 = "127.0.0.1".to_owned();
        configuration.broker.broker_name = "broker-a".to_owned();
        configuration.server.listen_port = 0;
        let store = &mut configuration.store;
        store.store_path_root_dir = folder.path().to_string_lossy().into_owned();
        store.mapped_file_size_commit_log = 1 << 20;
        store.mapped_file_size_consume_queue = 20_000;
        store.disk_max_used_space_ratio = 95;
        // A send that is late because the machine is busy is no refusal.
        store.os_page_cache_busy_time_out_mills = 60_000;
        store.sync_flush_timeout = 60_000;
        configuration.broker.broker_fast_failure_enable = false;
        change(&mut configuration);
        let running = startup::start(configuration).unwrap();
        Self { running, client: RemotingClient::new(ClientConfig::default()), folder }
    }

    pub fn address(&self) -> String {
        self.running.broker.address()
    }

    /// Calls the broker as another client than [`call`](Self::call) does.
    pub fn call_as(
        &self,
        client: &RemotingClient,
        code: i32,
        fields: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Command {
        let mut request = Command::request(code).with_body(body.into());
        for (name, value) in fields {
            request.fields.push_str(name, value);
        }
        client.call(&self.address(), request, LIMIT).unwrap()
    }

    pub fn call(&self, code: i32, fields: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Command {
        self.call_as(&self.client, code, fields, body)
    }

    /// The body of a successful answer.
    pub fn ask(&self, code: i32, fields: &[(&str, &str)], body: impl Into<Vec<u8>>) -> String {
        let answer = self.call(code, fields, body);
        assert_eq!(answer.code, 0, "{code}: {:?}", answer.remark);
        String::from_utf8(answer.body.into_bytes()).unwrap()
    }

    /// Makes a topic with so many queues.
    pub fn make_topic(&self, topic: &str, queues: &str) {
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", queues),
            ("writeQueueNums", queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
        ];
        self.ask(17, &fields, "");
    }

    /// Sends a message to a queue; returns its offset message id.
    pub fn send(&self, topic: &str, queue: &str, body: &str) -> String {
        let answer = self.send_with(topic, queue, "", body);
        answer.fields.get("msgId").unwrap().to_owned()
    }

    /// Sends a message with properties; returns the answer, which is a success.
    pub fn send_with(&self, topic: &str, queue: &str, properties: &str, body: &str) -> Command {
        let fields = [
            ("a", "p"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", queue),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
        ];
        let answer = self.call(310, &fields, body);
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        answer
    }

    /// Ends the transaction of the half message at that commit-log offset and queue offset (`how`:
    /// `commitOrRollback`), and waits for what follows; returns the code of the answer.
    pub fn end_transaction(&self, log_offset: &str, table_offset: &str, how: &str) -> i32 {
        let fields = [
            ("producerGroup", "pg"),
            ("tranStateTableOffset", table_offset),
            ("commitLogOffset", log_offset),
            ("commitOrRollback", how),
        ];
        let answer = self.call(37, &fields, "");
        self.settle();
        answer.code
    }

    /// Waits until all that is in the log can be read.
    pub fn settle(&self) {
        wait_until("everything is dispatched", || {
            self.running.broker.store.dispatch_behind_bytes() == 0
        });
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.read(name)
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.client.shutdown();
        self.running.shutdown();
    }
}

/// Longer than anything takes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
