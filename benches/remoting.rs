//! What a request costs on the way through the remoting layer: sockets, frames, header decoding
//! and encoding, dispatch. The processor only decodes a send header, takes the body's CRC and
//! answers with a send's response header.
//!
//! `cargo bench --bench remoting` runs server and load in one process and prints a line for each
//! shape of load. `cargo bench --bench remoting -- serve PORT` only serves, for another load.
//!
//! Figures of one machine say little; compare two builds, or two systems, in the same minute.

use std::error::Error;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rocketmq::common::checksum::crc32;
use rocketmq::common::thread_pool::ThreadPool;
use rocketmq::remoting::config::ServerConfig;
use rocketmq::remoting::frame;
use rocketmq::remoting::protocol::headers::{
    SendMessageRequestHeaderV2, SendMessageResponseHeader,
};
use rocketmq::remoting::protocol::request_code::{SEND_MESSAGE, SEND_MESSAGE_V2};
use rocketmq::remoting::{Command, Connection, Processor, RemotingServer, RunningServer};

/// Decodes and answers, keeps nothing.
struct Sink;

impl Processor for Sink {
    fn process(
        &self,
        _connection: &Arc<Connection>,
        request: Command,
    ) -> Result<Option<Command>, Box<dyn Error + Send + Sync>> {
        let header: SendMessageRequestHeaderV2 = request.header()?;
        let response = SendMessageResponseHeader {
            msg_id: format!("{:032X}", crc32(request.body.as_bytes())),
            queue_id: header.queue_id,
            queue_offset: header.born_timestamp,
            transaction_id: None,
        };
        Ok(Some(Command::response(0).with_header(&response)))
    }

    /// As a broker's: the code 310 on the reader, the code 10 on the pool.
    fn is_short(&self, request: &Command) -> bool {
        request.code == SEND_MESSAGE_V2
    }
}

fn serve(port: u16) -> RunningServer {
    let config = ServerConfig { listen_port: port, ..ServerConfig::default() };
    let mut server = RemotingServer::new("Bench", config);
    server.register_default(Arc::new(Sink), ThreadPool::new("Bench_", 4, 10_000));
    server.start().expect("the server starts")
}

fn send_request(code: i32) -> Vec<u8> {
    let mut request = Command { opaque: 1, ..Command::request(code) };
    for (name, value) in [
        ("a", "group"),
        ("b", "topic"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", "UNIQ_KEY\u{1}0A00000100002A9F0000000000003039\u{2}WAIT\u{1}true\u{2}"),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ] {
        request.fields.push_str(name, value);
    }
    let mut bytes = Vec::new();
    frame::encode(&request.with_body(vec![b'x'; 1024]), &mut bytes).expect("encodes");
    bytes
}

/// One connection: `window` requests in flight, `count` in all.
fn load(port: u16, request: &[u8], window: usize, count: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_nodelay(true).expect("a socket option");
    let burst = request.repeat(window);
    stream.write_all(&burst).expect("writes");
    let (mut sent, mut answered) = (window, 0);
    let mut buffer = vec![0; 64 * 1024];
    let mut end = 0;
    while answered < count {
        end += stream.read(&mut buffer[end..]).expect("reads");
        let (mut at, before) = (0, answered);
        while let Ok(Some(total)) = frame::total_len(&buffer[at..end], frame::MAX_FRAME_BYTES)
            && at + total <= end
        {
            at += total;
            answered += 1;
        }
        buffer.copy_within(at..end, 0);
        end -= at;
        let more = (answered - before).min(count.saturating_sub(sent));
        stream.write_all(&burst[..more * request.len()]).expect("writes");
        sent += more;
    }
}

fn measure(port: u16, what: &str, code: i32, connections: usize, window: usize, count: usize) {
    let request = send_request(code);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| load(port, &request, window, count / connections));
        }
    });
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{what:10} {connections:3} x {window:<3} {rate:10.0} requests/s");
}

/// Nanoseconds of one run of `work`, the best of several rounds: noise only ever adds.
fn nanoseconds(mut work: impl FnMut()) -> f64 {
    const RUNS: u32 = 20_000;
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..RUNS).for_each(|_| work());
        start.elapsed().as_nanos() as f64 / f64::from(RUNS)
    };
    (0..20).map(|_| round(&mut work)).fold(f64::INFINITY, f64::min)
}

fn measure_codec() {
    let request = send_request(SEND_MESSAGE_V2);
    let decode = || {
        let (command, _) = frame::decode(&request, frame::MAX_FRAME_BYTES).ok().flatten()?;
        command.header::<SendMessageRequestHeaderV2>().ok()
    };
    let decode = nanoseconds(|| drop(black_box(decode())));
    let mut out = Vec::new();
    let encode = nanoseconds(|| {
        let header = SendMessageResponseHeader {
            msg_id: String::new(),
            queue_id: 3,
            queue_offset: 1_000_000,
            transaction_id: None,
        };
        out.clear();
        black_box(frame::encode(&Command::response(0).with_header(&header), &mut out)).ok();
    });
    println!(
        "frame of a send into its header {decode:.0} ns, its response into a frame {encode:.0} ns"
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "serve") {
        let port = arguments.get(1).and_then(|port| port.parse().ok()).unwrap_or(0);
        let server = serve(port);
        println!("serving on {}", server.local_addr());
        // Until it is killed.
        loop {
            thread::park();
        }
    }
    measure_codec();
    let server = serve(0);
    let port = server.local_addr().port();
    for (what, code) in [("on reader", SEND_MESSAGE_V2), ("on pool", SEND_MESSAGE)] {
        measure(port, what, code, 1, 1, 50_000);
        measure(port, what, code, 64, 1, 300_000);
        measure(port, what, code, 4, 64, 1_000_000);
    }
}
