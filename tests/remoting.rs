//! The remoting layer over real sockets: both ends ours, and raw sockets that misbehave.

mod support;

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rocketmq::common::thread_pool::{Shed, ThreadPool};
use rocketmq::remoting::command::{FLAG_ONEWAY, FLAG_RESPONSE, SharedBytes};
use rocketmq::remoting::config::{ClientConfig, ServerConfig};
use rocketmq::remoting::frame::{self, MAX_FRAME_BYTES};
use rocketmq::remoting::{
    Body, Command, Connection, ConnectionEvents, Processor, RemotingClient, RemotingError,
    RemotingServer, ReplyTo, RunningServer, SerializeType,
};

use support::free_port;

/// No test waits longer for anything.
const LONG: Duration = Duration::from_secs(60);

/// Answers with the request's fields and body. Run on a worker.
const ECHO: i32 = 1;
/// The same, on the reader if it may.
const SHORT_ECHO: i32 = 2;
/// Panics.
const PANIC: i32 = 3;
/// Fails.
const FAIL: i32 = 4;
/// Is rejected.
const REJECTED: i32 = 5;
/// Is held until the test says.
const HELD: i32 = 6;
/// Answers with as many bytes as the field `bytes` says, shared.
const LARGE: i32 = 7;
/// Calls the client back with code ECHO and answers what it answered.
const CALL_BACK: i32 = 8;
/// Blocks its worker until the test opens the gate.
const BLOCK: i32 = 9;

type Answer = Result<Option<Command>, Box<dyn Error + Send + Sync>>;

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let guard = self.open.lock().unwrap();
        drop(self.changed.wait_timeout_while(guard, LONG, |open| !*open).unwrap());
    }
}

struct Zeros(Vec<u8>);

impl SharedBytes for Zeros {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn slices<'a>(&'a self, out: &mut Vec<std::io::IoSlice<'a>>) {
        out.extend(self.0.chunks(1000).map(std::io::IoSlice::new));
    }
}

#[derive(Default)]
struct Service {
    held: Mutex<Vec<ReplyTo>>,
    gate: Gate,
    processed: AtomicUsize,
    closed: AtomicUsize,
}

impl Processor for Service {
    fn process(&self, connection: &Arc<Connection>, request: Command) -> Answer {
        self.processed.fetch_add(1, Ordering::SeqCst);
        let echo = |request: Command| Command {
            fields: request.fields,
            body: request.body,
            ..Command::response(0)
        };
        match request.code {
            ECHO | SHORT_ECHO => Ok(Some(echo(request))),
            PANIC => panic!("on purpose"),
            FAIL => Err("it does not work".into()),
            HELD => {
                self.held.lock().unwrap().push(ReplyTo::new(connection, &request));
                Ok(None)
            }
            LARGE => {
                let bytes = request.fields.get("bytes").unwrap().parse()?;
                let body = Body::Shared(Arc::new(Zeros(vec![7; bytes])));
                Ok(Some(Command::response(0).with_body(body)))
            }
            CALL_BACK => {
                let call = Command { fields: request.fields, ..Command::request(ECHO) };
                Ok(Some(echo(connection.call(call, LONG)?)))
            }
            BLOCK => {
                self.gate.wait();
                Ok(Some(Command::response(0)))
            }
            other => Err(format!("unexpected code {other}").into()),
        }
    }

    fn rejects(&self, request: &Command) -> Option<String> {
        (request.code == REJECTED).then(|| "the page cache is busy".to_owned())
    }

    fn is_short(&self, request: &Command) -> bool {
        request.code == SHORT_ECHO
    }
}

impl ConnectionEvents for Service {
    fn closed(&self, _connection: &Arc<Connection>) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Fixture {
    service: Arc<Service>,
    pool: Arc<ThreadPool>,
    server: RunningServer,
}

impl Fixture {
    fn new() -> Self {
        Self::with(ServerConfig::default(), 4, 10_000)
    }

    fn with(config: ServerConfig, threads: usize, capacity: usize) -> Self {
        Self::at(0, config, threads, capacity)
    }

    fn at(port: u16, config: ServerConfig, threads: usize, capacity: usize) -> Self {
        let service = Arc::new(Service::default());
        let pool = ThreadPool::new("Test_", threads, capacity);
        let mut server = RemotingServer::new("Test", ServerConfig { listen_port: port, ..config });
        for code in ECHO..=BLOCK {
            server.register(code, service.clone(), pool.clone());
        }
        server.on_close(service.clone());
        let server = server.start().unwrap();
        Self { service, pool, server }
    }

    fn port(&self) -> u16 {
        self.server.local_addr().port()
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    fn raw(&self) -> Raw {
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port()))).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Raw { stream, buffer: Vec::new() }
    }
}

/// A client that does what it is told.
struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    fn send(&mut self, commands: &[Command]) {
        let mut bytes = Vec::new();
        for command in commands {
            frame::encode(command, &mut bytes).unwrap();
        }
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame, or none when the server closed the connection.
    fn receive(&mut self) -> Option<Command> {
        loop {
            if let Some((command, used)) = frame::decode(&self.buffer, MAX_FRAME_BYTES).unwrap() {
                self.buffer.drain(..used);
                return Some(command);
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(bytes) => self.buffer.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // As after a stop of the process, since the socket has a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn call(&mut self, command: Command) -> Command {
        self.send(&[command]);
        self.receive().expect("an answer")
    }
}

fn request(code: i32, opaque: i32) -> Command {
    Command { opaque, ..Command::request(code) }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn calls_and_answers_in_both_serializations() {
    let fixture = Fixture::new();
    let client = RemotingClient::new(ClientConfig::default());
    for serialize in [SerializeType::Json, SerializeType::RocketMq] {
        for code in [ECHO, SHORT_ECHO] {
            let mut command = Command { serialize, ..request(code, 0) }.with_body(vec![1, 2, 3]);
            command.fields.push_str("name", "välue\u{1}");
            let answer = client.call(&fixture.addr(), command, LONG).unwrap();
            assert_eq!((answer.code, answer.flag, answer.version), (0, FLAG_RESPONSE, 409));
            assert_eq!(answer.serialize, serialize);
            assert_eq!(answer.fields.get("name"), Some("välue\u{1}"));
            assert_eq!(answer.body.as_bytes(), [1, 2, 3]);
        }
    }
    assert_eq!(fixture.server.connections().len(), 1);
    let peer = fixture.server.connections()[0].peer_addr();
    assert!(peer.is_ipv4(), "an IPv4 client has an IPv4 address: {peer}");
}

#[test]
fn ipv6_works_where_there_is_ipv6() {
    let fixture = Fixture::new();
    // A machine may listen at every address and have none of these.
    if fixture.server.local_addr().is_ipv6() && TcpListener::bind("[::1]:0").is_ok() {
        let client = RemotingClient::new(ClientConfig::default());
        let addr = format!("[::1]:{}", fixture.port());
        assert_eq!(client.call(&addr, request(ECHO, 0), LONG).unwrap().code, 0);
    }
}

#[test]
fn failures_panics_and_unknown_codes_are_answered_and_the_server_lives_on() {
    let fixture = Fixture::new();
    let mut raw = fixture.raw();
    for serialize in [SerializeType::Json, SerializeType::RocketMq] {
        let mut ask = |code: i32| raw.call(Command { serialize, ..request(code, 7) });
        for (code, expected, remark) in [
            (PANIC, 1, "on purpose"),
            (FAIL, 1, "it does not work"),
            (REJECTED, 2, "[REJECTREQUEST]the page cache is busy"),
            (99, 3, "99 is not supported"),
            (ECHO, 0, ""),
        ] {
            let answer = ask(code);
            assert_eq!((answer.code, answer.opaque, answer.flag), (expected, 7, FLAG_RESPONSE));
            assert_eq!(answer.serialize, serialize);
            assert!(answer.remark.unwrap_or_default().contains(remark), "code {code}");
        }
    }
}

#[test]
fn oneway_requests_are_answered_only_when_they_are_refused() {
    let fixture = Fixture::new();
    let mut raw = fixture.raw();
    let oneway = |code: i32, opaque: i32| Command { flag: FLAG_ONEWAY, ..request(code, opaque) };
    raw.send(&[
        oneway(ECHO, 1),
        oneway(SHORT_ECHO, 2),
        oneway(FAIL, 3),
        oneway(PANIC, 4),
        oneway(REJECTED, 5),
        oneway(99, 6),
    ]);
    let codes = [raw.receive().unwrap(), raw.receive().unwrap()].map(|a| (a.opaque, a.code));
    assert_eq!(codes, [(5, 2), (6, 3)]);
    eventually("all of them run", || fixture.service.processed.load(Ordering::SeqCst) == 4);
    assert_eq!(raw.call(request(ECHO, 7)).opaque, 7);
}

#[test]
fn many_in_flight_are_all_answered_and_the_reader_keeps_their_order() {
    let fixture = Fixture::new();
    let mut raw = fixture.raw();
    let requests: Vec<Command> = (1..=1000).map(|opaque| request(SHORT_ECHO, opaque)).collect();
    raw.send(&requests);
    // A worker never had the pool's permits, so the reader ran them all.
    for opaque in 1..=1000 {
        assert_eq!(raw.receive().unwrap().opaque, opaque);
    }
    let requests: Vec<Command> = (1..=1000).map(|opaque| request(ECHO, opaque)).collect();
    raw.send(&requests);
    let mut answered: Vec<i32> = (0..1000).map(|_| raw.receive().unwrap().opaque).collect();
    answered.sort_unstable();
    assert_eq!(answered, (1..=1000).collect::<Vec<_>>());
}

#[test]
fn callers_share_one_connection() {
    let fixture = Fixture::new();
    let client = RemotingClient::new(ClientConfig::default());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for number in 0..50 {
                    let mut command = request(ECHO, 0);
                    command.fields.push_int("number", number);
                    let answer = client.call(&fixture.addr(), command, LONG).unwrap();
                    assert_eq!(answer.fields.get("number"), Some(number.to_string().as_str()));
                }
            });
        }
    });
    assert_eq!(fixture.server.connections().len(), 1);
}

#[test]
fn a_held_request_is_answered_later_from_any_thread() {
    let fixture = Fixture::new();
    let mut raw = fixture.raw();
    raw.send(&[request(HELD, 1), request(HELD, 2), request(ECHO, 3)]);
    assert_eq!(raw.receive().unwrap().opaque, 3);
    eventually("both are held", || fixture.service.held.lock().unwrap().len() == 2);
    for reply in fixture.service.held.lock().unwrap().drain(..) {
        reply.send(Command::failure(19, "nothing"));
    }
    let mut opaques = [raw.receive().unwrap(), raw.receive().unwrap()].map(|answer| {
        assert_eq!(answer.remark.as_deref(), Some("nothing"));
        answer.opaque
    });
    opaques.sort_unstable();
    assert_eq!(opaques, [1, 2]);
}

#[test]
fn the_server_calls_its_client() {
    let fixture = Fixture::new();
    let client = RemotingClient::new(ClientConfig::default());
    client.register(ECHO, fixture.service.clone());
    let mut command = request(CALL_BACK, 0);
    command.fields.push_str("there", "and back");
    let answer = client.call(&fixture.addr(), command, LONG).unwrap();
    assert_eq!(answer.fields.get("there"), Some("and back"));
    // What the client does not know it answers with code 3.
    let connection = &fixture.server.connections()[0];
    assert_eq!(connection.call(request(40, 0), LONG).unwrap().code, 3);
    let (told, outcome) = mpsc::channel();
    connection.call_async(request(ECHO, 0), LONG, move |o| told.send(o).unwrap()).unwrap();
    assert_eq!(outcome.recv_timeout(LONG).unwrap().unwrap().code, 0);
    connection.oneway(request(ECHO, 0)).unwrap();
    eventually("the client runs it", || fixture.service.processed.load(Ordering::SeqCst) == 4);
}

#[test]
fn bytes_that_are_not_frames_end_the_connection_and_nothing_else() {
    let fixture = Fixture::new();
    let json = |header: &str| {
        let mut bytes = (header.len() as u32 + 4).to_be_bytes().to_vec();
        bytes.extend((header.len() as u32).to_be_bytes());
        bytes.extend(header.as_bytes());
        bytes
    };
    let bad: Vec<Vec<u8>> = vec![
        vec![0xFF; 8],
        vec![0x01, 0, 0, 0],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 4, 9, 0, 0, 0],
        vec![0, 0, 0, 4, 0, 0, 0, 9],
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        json("not JSON"),
        json("{\"code\":\"x\"}"),
        json(""),
    ];
    let mut random = Vec::new();
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    for length in 8..60 {
        let mut bytes = vec![0, 0, 0, length - 4, (length & 1), 0, 0, length - 8];
        bytes.extend((8..length).map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        }));
        random.push(bytes);
    }
    for bytes in &bad {
        let mut raw = fixture.raw();
        raw.stream.write_all(bytes).unwrap();
        assert!(raw.receive().is_none(), "{bytes:?}");
    }
    for bytes in &random {
        let mut raw = fixture.raw();
        raw.stream.write_all(bytes).unwrap();
        // The server may have closed already.
        let _ = raw.stream.shutdown(Shutdown::Write);
        // Some are valid headers, of requests that nobody serves or of responses to nobody.
        assert!(raw.receive().is_none_or(|answer| answer.code == 3), "{bytes:?}");
    }
    // Good requests before bad bytes are answered.
    let mut raw = fixture.raw();
    let mut bytes = Vec::new();
    frame::encode(&request(SHORT_ECHO, 1), &mut bytes).unwrap();
    bytes.extend([0xFF; 4]);
    raw.stream.write_all(&bytes).unwrap();
    assert_eq!(raw.receive().unwrap().opaque, 1);
    assert!(raw.receive().is_none());
    eventually("all are closed", || {
        fixture.service.closed.load(Ordering::SeqCst) == bad.len() + random.len() + 1
    });
    assert_eq!(fixture.raw().call(request(ECHO, 5)).opaque, 5);
}

#[test]
fn a_frame_may_come_byte_by_byte_or_be_large() {
    let fixture = Fixture::new();
    let mut raw = fixture.raw();
    let mut bytes = Vec::new();
    frame::encode(&request(ECHO, 1).with_body(vec![5; 100]), &mut bytes).unwrap();
    for byte in &bytes {
        raw.stream.write_all(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(raw.receive().unwrap().body.len(), 100);
    let large = MAX_FRAME_BYTES - 1000;
    let answer = raw.call(request(ECHO, 2).with_body(vec![5; large]));
    assert_eq!((answer.opaque, answer.body.len()), (2, large));
    assert_eq!(raw.call(request(ECHO, 3)).opaque, 3);
    let mut too_large = (MAX_FRAME_BYTES as u32 - 3).to_be_bytes().to_vec();
    too_large.extend([0; 4]);
    raw.stream.write_all(&too_large).unwrap();
    assert!(raw.receive().is_none());
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let config = ServerConfig { max_outbox_bytes: 8 << 20, ..ServerConfig::default() };
    let fixture = Fixture::with(config, 1, 10_000);
    let mut slow = fixture.raw();
    let large = |opaque: i32| {
        let mut command = request(LARGE, opaque);
        command.fields.push_int("bytes", 1 << 20);
        command
    };
    // Within the limit: everything comes when the client reads at last.
    let requests: Vec<Command> = (0..6).map(large).collect();
    slow.send(&requests);
    eventually("all are answered", || fixture.service.processed.load(Ordering::SeqCst) == 6);
    assert_eq!(fixture.raw().call(request(ECHO, 5)).opaque, 5, "the only worker is free");
    for opaque in 0..6 {
        let answer = slow.receive().unwrap();
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 1 << 20));
    }
    // Past it: the connection is closed.
    let requests: Vec<Command> = (0..100).map(large).collect();
    slow.send(&requests);
    eventually("it is closed", || fixture.service.closed.load(Ordering::SeqCst) == 2);
    assert_eq!(fixture.raw().call(request(ECHO, 5)).opaque, 5);
}

#[test]
fn a_full_queue_and_a_queue_that_is_cleaned_are_answered_with_their_tags() {
    let fixture = Fixture::with(ServerConfig::default(), 1, 2);
    let mut raw = fixture.raw();
    raw.send(&[request(BLOCK, 1)]);
    eventually("the worker is taken", || fixture.service.processed.load(Ordering::SeqCst) == 1);
    let oneway = |opaque: i32| Command { flag: FLAG_ONEWAY, ..request(ECHO, opaque) };
    raw.send(&[request(ECHO, 2)]);
    eventually("it waits", || fixture.pool.queue_len() == 1);
    raw.send(&[oneway(3)]);
    eventually("it waits", || fixture.pool.queue_len() == 2);
    // Refused: the oneway one is silent.
    raw.send(&[oneway(4)]);
    let refused = raw.call(request(SHORT_ECHO, 5));
    assert_eq!((refused.code, refused.opaque), (2, 5));
    assert!(refused.remark.unwrap().starts_with("[OVERLOAD]"));
    // Cleaned: the oneway one is told too.
    assert_eq!(fixture.pool.shed(Duration::ZERO, Shed::TooOld, 1), 1);
    let cleaned = raw.receive().unwrap();
    assert_eq!((cleaned.code, cleaned.opaque), (2, 2));
    let remark = cleaned.remark.unwrap();
    assert!(remark.starts_with("[TIMEOUT_CLEAN_QUEUE]"), "{remark}");
    assert!(remark.ends_with("size of queue: 1"), "{remark}");
    assert_eq!(fixture.pool.shed(Duration::ZERO, Shed::PageCacheBusy, 9), 1);
    let cleaned = raw.receive().unwrap();
    assert_eq!((cleaned.code, cleaned.opaque), (2, 3));
    assert!(cleaned.remark.unwrap().starts_with("[PCBUSY_CLEAN_QUEUE]"));
    fixture.service.gate.open();
    assert_eq!(raw.receive().unwrap().opaque, 1);
}

#[test]
fn requests_in_flight_of_a_connection_are_limited() {
    let config = ServerConfig { max_requests_in_flight: 10, ..ServerConfig::default() };
    let fixture = Fixture::with(config, 1, 10_000);
    let mut raw = fixture.raw();
    raw.send(&[request(BLOCK, 0)]);
    eventually("the worker is taken", || fixture.service.processed.load(Ordering::SeqCst) == 1);
    let requests: Vec<Command> = (1..=12).map(|opaque| request(ECHO, opaque)).collect();
    raw.send(&requests);
    for opaque in [10, 11, 12] {
        let answer = raw.receive().unwrap();
        assert_eq!((answer.code, answer.opaque), (2, opaque));
        assert!(answer.remark.unwrap().starts_with("[OVERLOAD]"));
    }
    fixture.service.gate.open();
    assert_eq!(raw.receive().unwrap().opaque, 0);
    assert_eq!((1..10).map(|_| raw.receive().unwrap().code).sum::<i32>(), 0);
    assert_eq!(raw.call(request(ECHO, 20)).code, 0);
}

#[test]
fn connections_are_limited() {
    let config = ServerConfig { max_connections: 2, ..ServerConfig::default() };
    let fixture = Fixture::with(config, 1, 100);
    let (mut one, mut two, mut three) = (fixture.raw(), fixture.raw(), fixture.raw());
    assert!(three.receive().is_none());
    assert_eq!(one.call(request(ECHO, 1)).opaque, 1);
    drop(one);
    eventually("one is closed", || fixture.server.connections().len() == 1);
    assert_eq!(fixture.raw().call(request(ECHO, 2)).opaque, 2);
    assert_eq!(two.call(request(ECHO, 3)).opaque, 3);
}

#[test]
fn idle_connections_are_closed() {
    let config =
        ServerConfig { server_channel_max_idle_time_seconds: 3, ..ServerConfig::default() };
    let fixture = Fixture::with(config, 1, 100);
    let (mut raw, mut tries) = (fixture.raw(), 1);
    raw.send(&[request(ECHO, 1)]);
    // Whoever is not let run for three seconds has been idle before it could ask.
    while raw.receive().is_none() {
        assert!(tries < 10, "it is not answered");
        raw = fixture.raw();
        raw.send(&[request(ECHO, 1)]);
        tries += 1;
    }
    assert!(raw.receive().is_none());
    eventually("the handler runs", || fixture.service.closed.load(Ordering::SeqCst) == tries);
}

#[test]
fn a_closed_connection_ends_all_its_calls_at_once() {
    let fixture = Fixture::new();
    let client = RemotingClient::new(ClientConfig::default());
    let (told, outcomes) = mpsc::channel();
    for _ in 0..1000 {
        let told = told.clone();
        let done = move |outcome: Result<Command, RemotingError>| told.send(outcome).unwrap();
        client.call_async(&fixture.addr(), request(HELD, 0), LONG, done).unwrap();
    }
    eventually("all wait", || fixture.service.held.lock().unwrap().len() == 1000);
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| client.call(&fixture.addr(), request(HELD, 0), LONG));
        eventually("it waits", || fixture.service.held.lock().unwrap().len() == 1001);
        fixture.server.connections()[0].close("the test says so");
        assert!(matches!(blocked.join().unwrap(), Err(RemotingError::Closed { .. })));
    });
    for _ in 0..1000 {
        let outcome = outcomes.recv_timeout(LONG).unwrap();
        assert!(matches!(outcome, Err(RemotingError::Closed { .. })));
    }
    drop(told);
    assert!(outcomes.recv_timeout(LONG).is_err(), "each callback runs once");
    // The next call makes a new connection.
    assert_eq!(client.call(&fixture.addr(), request(ECHO, 0), LONG).unwrap().code, 0);
}

#[test]
fn calls_time_out() {
    let fixture = Fixture::new();
    let client = RemotingClient::new(ClientConfig::default());
    // A connection that cannot be made in time is another error.
    assert_eq!(client.call(&fixture.addr(), request(ECHO, 0), LONG).unwrap().code, 0);
    let short = Duration::from_millis(50);
    let expected =
        RemotingError::Timeout { addr: fixture.addr(), timeout_ms: short.as_millis() as u64 };
    assert_eq!(client.call(&fixture.addr(), request(HELD, 0), short).unwrap_err(), expected);
    let (told, outcome) = mpsc::channel();
    let done = move |outcome: Result<Command, RemotingError>| told.send(outcome).unwrap();
    client.call_async(&fixture.addr(), request(HELD, 0), short, done).unwrap();
    let outcome = outcome.recv_timeout(LONG).unwrap();
    assert!(matches!(outcome, Err(RemotingError::Timeout { .. })), "{outcome:?}");
    // A late answer goes nowhere, and the connection is still good.
    for reply in fixture.service.held.lock().unwrap().drain(..) {
        reply.send(Command::response(0));
    }
    assert_eq!(client.call(&fixture.addr(), request(ECHO, 0), LONG).unwrap().code, 0);
    assert_eq!(fixture.server.connections().len(), 1);
}

#[test]
fn too_many_asynchronous_calls_are_refused() {
    let fixture = Fixture::new();
    let config = ClientConfig { client_async_semaphore_value: 2, ..ClientConfig::default() };
    let client = RemotingClient::new(config);
    let call = |client: &RemotingClient| {
        client.call_async(&fixture.addr(), request(HELD, 0), LONG, |_| {})
    };
    call(&client).unwrap();
    call(&client).unwrap();
    let refused = Err(RemotingError::TooManyRequests("asynchronous requests"));
    assert_eq!(call(&client), refused);
    eventually("both are held", || fixture.service.held.lock().unwrap().len() == 2);
    for reply in fixture.service.held.lock().unwrap().drain(..) {
        reply.send(Command::response(0));
    }
    eventually("permits return", || call(&client).is_ok());
}

#[test]
fn connections_that_cannot_be_made() {
    let client = RemotingClient::new(ClientConfig::default());
    // Bound, so that it is nobody else's, and not listening.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let deaf = socket.local_addr().unwrap().as_socket().unwrap();
    let refused = client.call(&deaf.to_string(), request(ECHO, 0), LONG).unwrap_err();
    assert!(matches!(refused, RemotingError::Connect { .. }), "{refused}");
    let bad = client.call("nowhere", request(ECHO, 0), LONG).unwrap_err();
    assert!(matches!(bad, RemotingError::BadAddress(_)), "{bad}");
    client.shutdown();
    let stopped = client.call("127.0.0.1:1", request(ECHO, 0), LONG).unwrap_err();
    assert_eq!(stopped, RemotingError::Stopped);
}

#[test]
fn a_port_in_use_is_named() {
    let fixture = Fixture::new();
    let config = ServerConfig { listen_port: fixture.port(), ..ServerConfig::default() };
    let error = RemotingServer::new("Second", config).start().err().expect("the port is in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&fixture.port().to_string()), "{error}");
}

#[test]
fn a_stopped_server_closes_its_connections_and_its_port() {
    // One that the kernel does not give to whoever asks for any.
    let fixture = Fixture::at(free_port(), ServerConfig::default(), 4, 10_000);
    let mut raw = fixture.raw();
    assert_eq!(raw.call(request(ECHO, 1)).opaque, 1);
    fixture.server.stop_accepting();
    assert_eq!(raw.call(request(ECHO, 2)).opaque, 2, "open connections go on");
    fixture.server.stop(LONG);
    fixture.server.stop(LONG);
    assert!(raw.receive().is_none());
    assert!(fixture.server.connections().is_empty());
    assert_eq!(fixture.service.closed.load(Ordering::SeqCst), 1);
    assert!(TcpStream::connect(("127.0.0.1", fixture.port())).is_err());
    // The port is free again.
    let config = ServerConfig { listen_port: fixture.port(), ..ServerConfig::default() };
    RemotingServer::new("Next", config).start().unwrap();
}
