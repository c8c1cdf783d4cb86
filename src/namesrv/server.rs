//! [`Namesrv`]: a running name server, an ordinary value that is started, asked for its address,
//! and dropped.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kv_config::KvError;
use super::{NameServer, NamesrvConfig};
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::thread_pool::ThreadPool;
use crate::remoting::config::ServerConfig;
use crate::remoting::connection::Connection;
use crate::remoting::server::{ConnectionEvents, RemotingServer, RunningServer};

/// First look for silent brokers after the start.
const FIRST_SCAN: Duration = Duration::from_secs(5);
/// Between two looks.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// Requests that may wait for a worker: those of a few thousand clients that come at once.
const QUEUE_CAPACITY: usize = 10_000;
/// How long a stop waits for what still runs.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Why a name server does not start.
#[derive(Debug)]
pub enum StartError {
    /// The KV table cannot be read.
    Kv(KvError),
    /// The port cannot be listened at.
    Listen(u16, std::io::Error),
    /// No thread.
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kv(error) => error.fmt(f),
            Self::Listen(port, error) => write!(f, "cannot listen at port {port}: {error}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running name server. Dropping it stops it.
pub struct Namesrv {
    server: Arc<RunningServer>,
    workers: Arc<ThreadPool>,
    scan: ServiceThread,
}

impl fmt::Debug for Namesrv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namesrv").field("local_addr", &self.local_addr()).finish_non_exhaustive()
    }
}

impl Namesrv {
    /// Reads the KV table, listens, and starts the scan. Port 0 picks a free one.
    pub fn start(config: NamesrvConfig, server_config: ServerConfig) -> Result<Self, StartError> {
        let state = NameServer::new(config, server_config.clone()).map_err(StartError::Kv)?;
        let state = Arc::new(state);
        let port = server_config.listen_port;
        let threads = usize::try_from(server_config.server_worker_threads).unwrap_or(0).max(1);
        let workers = ThreadPool::new("NsWorker_", threads, QUEUE_CAPACITY);
        let mut server = RemotingServer::new("Ns", server_config);
        server.register_default(state.clone(), workers.clone());
        server.on_close(state.clone());
        let server = Arc::new(server.start().map_err(|error| StartError::Listen(port, error))?);
        let scanned = Arc::clone(&server);
        let scan = ServiceThread::spawn("NsScan", Arc::default(), move |signal| {
            scan_for_silent_brokers(&state, &scanned, signal);
        })
        .map_err(StartError::Thread)?;
        Ok(Self { server, workers, scan })
    }

    /// The address that it listens at.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Stops: no new request, what was read is answered, connections are closed. Idempotent.
    pub fn stop(&self) {
        self.server.stop_accepting();
        self.scan.stop(STOP_LIMIT);
        self.workers.stop(STOP_LIMIT);
        self.server.stop(STOP_LIMIT);
    }
}

impl Drop for Namesrv {
    fn drop(&mut self) {
        self.stop();
    }
}

fn scan_for_silent_brokers(state: &NameServer, server: &RunningServer, signal: &Signal) {
    let mut pause = FIRST_SCAN;
    while signal.wait(pause) {
        pause = SCAN_INTERVAL;
        let silent = state.expire(Instant::now());
        if !silent.is_empty() {
            for connection in server.connections() {
                if silent.contains(&connection.id()) {
                    connection.close("its broker has not registered for 120 s");
                }
            }
        }
    }
}

impl ConnectionEvents for NameServer {
    fn closed(&self, connection: &Arc<Connection>) {
        self.connection_closed(connection.id(), &connection.peer_addr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namesrv::processor::tests::{TestHome, register_request};
    use crate::namesrv::product_environment::ProductEnvironment;
    use crate::remoting::client::RemotingClient;
    use crate::remoting::command::Command;
    use crate::remoting::config::ClientConfig;
    use crate::remoting::protocol::headers::GetRouteInfoRequestHeader;
    use crate::remoting::protocol::{request_code, response_code};
    use crate::remoting::server::Processor;

    const LIMIT: Duration = Duration::from_secs(60);

    fn route_code(client: &RemotingClient, addr: &str) -> i32 {
        let header =
            GetRouteInfoRequestHeader { topic: "T".to_owned(), accept_standard_json_only: None };
        let request = Command::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        client.call(addr, request, LIMIT).unwrap().code
    }

    #[test]
    fn a_broker_is_served_until_its_connection_ends() {
        let home = TestHome::new();
        let listen = ServerConfig { listen_port: 0, ..ServerConfig::default() };
        let namesrv = Namesrv::start(home.config(), listen).unwrap();
        let addr = format!("127.0.0.1:{}", namesrv.local_addr().port());
        let broker = RemotingClient::new(ClientConfig::default());
        let client = RemotingClient::new(ClientConfig::default());
        let answer = broker.call(&addr, register_request("a", 0, "h:1", 1), LIMIT).unwrap();
        assert_eq!(answer.code, response_code::SUCCESS);
        assert_eq!(route_code(&client, &addr), response_code::SUCCESS);
        broker.shutdown();
        let deadline = Instant::now() + LIMIT;
        while route_code(&client, &addr) != response_code::TOPIC_NOT_EXIST {
            assert!(Instant::now() < deadline, "the broker is still there");
            std::thread::sleep(Duration::from_millis(2));
        }
        client.shutdown();
        namesrv.stop();
    }

    #[test]
    fn a_test_environment_knows_the_routes_of_production() {
        let listen = ServerConfig { listen_port: 0, ..ServerConfig::default() };
        let (home, test_home) = (TestHome::new(), TestHome::new());
        let production = Namesrv::start(home.config(), listen.clone()).unwrap();
        let addr = format!("127.0.0.1:{}", production.local_addr().port());
        let client = RemotingClient::new(ClientConfig::default());
        let register = register_request("a", 0, "h:1", 1);
        assert_eq!(client.call(&addr, register, LIMIT).unwrap().code, 0);
        let mut test = NameServer::new(test_home.config(), listen).unwrap();
        let route = |test: &NameServer, topic: &str| {
            let header = GetRouteInfoRequestHeader {
                topic: topic.to_owned(),
                accept_standard_json_only: None,
            };
            let request =
                Command::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
            let short = test.is_short(&request);
            let answer = test.answer(0, &request, Instant::now()).unwrap();
            (short, answer.code, String::from_utf8_lossy(answer.body.as_bytes()).into_owned())
        };
        let unknown = response_code::TOPIC_NOT_EXIST;
        assert_eq!(route(&test, "T"), (true, unknown, String::new()));
        // The first one is not there.
        let name_servers = format!("127.0.0.1:1;{addr}");
        test.product = Some(ProductEnvironment::at("center", &name_servers));
        let (short, code, text) = route(&test, "T");
        assert!(!short && code == 0 && text.contains(r#"{0:"h:1"}"#), "{text}");
        assert_eq!(route(&test, "Other"), (false, unknown, String::new()));
        // What is known here is told, whatever production says.
        production.stop();
        test.answer(1, &register_request("b", 0, "h:2", 1), Instant::now()).unwrap();
        assert!(route(&test, "T").2.contains("h:2"));
        assert_eq!(route(&test, "Other").1, unknown, "production does not answer");
        client.shutdown();
    }

    #[test]
    fn a_registration_that_is_done_after_its_connection_ended_leaves_nothing() {
        let home = TestHome::new();
        let listen = ServerConfig { listen_port: 0, ..ServerConfig::default() };
        let state = NameServer::new(home.config(), listen.clone()).unwrap();
        let server = RemotingServer::new("Ns", listen).start().unwrap();
        let socket = std::net::TcpStream::connect(("127.0.0.1", server.local_addr().port()));
        let deadline = Instant::now() + LIMIT;
        let connection = loop {
            if let Some(connection) = server.connections().pop() {
                break connection;
            }
            assert!(Instant::now() < deadline, "the connection is not accepted");
            std::thread::yield_now();
        };
        connection.close("the broker was killed");
        state.closed(&connection);
        state.process(&connection, register_request("a", 0, "h:1", 1)).unwrap();
        let clusters = Command::request(request_code::GET_BROKER_CLUSTER_INFO);
        let answer = state.answer(0, &clusters, Instant::now()).unwrap();
        assert!(!String::from_utf8_lossy(answer.body.as_bytes()).contains("h:1"));
        drop(socket);
    }
}
