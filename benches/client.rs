//! What the client costs: each way of sending and consuming against a broker, messages a second,
//! and the client's own processor time and memory; beside the official Java client, if asked for.
//!
//! ```text
//! cargo bench --bench client -- -q 300000 -s 128
//! cargo bench --bench client -- --java 4.9.7 --only sync,async,push32
//! ```
//!
//! Without `-n` it starts a name server and a broker of its own. The Java client is a process of its
//! own, warmed up with 55,000 messages; it needs `java`, `javac` and `mvn`.

mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use load::{give_up, option, parsed};
use rocketmq::client::{
    ConsumeFromWhere, ConsumeResult, ConsumerOptions, Producer, ProducerOptions,
};
use rocketmq::common::command_line::OptionSpec;
use rocketmq::common::message::Message;
use rocketmq::common::os;

use support::java_peer::{JavaPeer, cache, cached, run};
use support::servers::{Server, broker_at, namesrv, wait_for_route};
use support::{TempDir, free_port};

/// Longest wait for messages that were sent.
const LIMIT: Duration = Duration::from_secs(300);

/// Frame of a send of a message of 128 bytes, and of its answer.
const SEND_BYTES: usize = 430;
/// See [`SEND_BYTES`].
const ANSWER_BYTES: usize = 180;

const OPTIONS: [OptionSpec; 5] = [
    option(
        'q',
        "messageQuantity",
        "Messages for asynchronous sends, a tenth for others. Default: 300000",
    ),
    option('s', "messageSize", "Bytes of a body. Default: 128"),
    option('o', "only", "Kinds of work: sync,echo,async,batch,oneway,push32,push1. Default: all"),
    option('j', "java", "Also the Java client of this version (4.9.7, 5.3.3)"),
    OptionSpec {
        short: 'T',
        long: "threads",
        value: None,
        what: "Also what each thread of ours used",
    },
];

/// Every kind of work, in the order in which it is done.
const KINDS: [(&str, &str); 7] = [
    ("sync", "synchronous, one thread"),
    ("echo", "bare sockets, one thread"),
    ("async", "asynchronous, one thread"),
    ("batch", "batches of 32, one thread"),
    ("oneway", "oneway, one thread"),
    ("push32", "push consumer, 32 a call"),
    ("push1", "push consumer, 1 a call"),
];

fn main() {
    let Some(given) = load::given("client", &OPTIONS) else { return };
    let text = |name: &str| given.value(name);
    let count: u64 = parsed("messageQuantity", text("messageQuantity"), 300_000);
    let bytes: usize = parsed("messageSize", text("messageSize"), 128);
    let only: Vec<&str> = text("only").map_or_else(Vec::new, |list| list.split(',').collect());
    if let Some(wrong) = only.iter().find(|name| KINDS.iter().all(|(kind, _)| kind != *name)) {
        give_up(&format!("--only {wrong}: not a kind of work"));
    }
    let wanted = |kind: &str| only.is_empty() || only.contains(&kind);
    let kinds: Vec<_> = KINDS.iter().filter(|(kind, _)| wanted(kind)).collect();
    let topic = load::topic(text("topic"), text("namesrvAddr"));
    let own = text("namesrvAddr").is_none().then(|| Own::start(&topic));
    let names = own.as_ref().map_or_else(
        || text("namesrvAddr").unwrap_or_default().to_owned(),
        |own| own.namesrv.addr(),
    );
    let work = Work { names: &names, topic: &topic, count, bytes, threads: given.has("threads") };
    work.ours(&kinds);
    if let Some(version) = text("java") {
        work.java(version, &kinds).unwrap_or_else(|why| give_up(&why));
    }
}

/// Servers of its own, which end with it.
struct Own {
    namesrv: Server,
    _broker: Server,
    _dir: TempDir,
}

impl Own {
    fn start(topic: &str) -> Self {
        let dir = TempDir::new("client-bench");
        let namesrv = namesrv(dir.path());
        let more = [("diskMaxUsedSpaceRatio", "99"), ("mappedFileSizeCommitLog", "1073741824")];
        let broker = broker_at(dir.path(), free_port(), Some(&namesrv.addr()), &more);
        broker.wire().create_topic(topic, 4);
        wait_for_route(&namesrv.addr(), topic);
        Self { namesrv, _broker: broker, _dir: dir }
    }
}

/// What is done, and where.
struct Work<'a> {
    names: &'a str,
    topic: &'a str,
    count: u64,
    bytes: usize,
    threads: bool,
}

impl Work<'_> {
    fn ours(&self, kinds: &[&(&str, &str)]) {
        let producer = ProducerOptions::new("bench").name_servers(self.names);
        let producer = producer.send_timeout(Duration::from_secs(30)).start().expect("a producer");
        let message = Message::new(self.topic, vec![b'x'; self.bytes]);
        producer.send(&message).expect("a first send");
        if kinds.iter().any(|(kind, _)| kind.starts_with("push")) {
            // So that there is enough to read, whatever else is done.
            send_async(&producer, &message, self.count);
        }
        for (kind, what) in kinds {
            let tenth = self.count / 10;
            match *kind {
                "sync" => self.measure(what, tenth, || {
                    (0..tenth).for_each(|_| drop(producer.send(&message).expect("a send")));
                }),
                "echo" => echo(tenth, what),
                "async" => self.measure(what, self.count, || {
                    send_async(&producer, &message, self.count);
                }),
                "batch" => {
                    let (batch, rounds) = (vec![message.clone(); 32], self.count / 32);
                    self.measure(what, rounds * 32, || {
                        (0..rounds)
                            .for_each(|_| drop(producer.send_batch(&batch).expect("a batch")));
                    });
                }
                "oneway" => self.measure(what, self.count, || {
                    (0..self.count).for_each(|_| producer.send_oneway(&message).expect("a send"));
                }),
                "push32" => self.measure(what, self.count, || self.consume(32)),
                _ => self.measure(what, self.count, || self.consume(1)),
            }
        }
    }

    /// Runs `work` over `count` messages and tells what it cost.
    fn measure(&self, what: &str, count: u64, work: impl FnOnce()) {
        let threads = thread_times();
        let (cpu, began) = (os::cpu_time(), Instant::now());
        work();
        let (elapsed, cpu) = (began.elapsed(), os::cpu_time() - cpu);
        println!(
            "{what}: {:.0}/s, {:.2} us of the client's processor time a message, {} KiB anonymous",
            count as f64 / elapsed.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / count as f64,
            os::anonymous_memory().unwrap_or(0) / 1024
        );
        if self.threads {
            let mut used: Vec<_> = thread_times()
                .into_iter()
                .map(|(thread, ticks)| (ticks - threads.get(&thread).unwrap_or(&0), thread.1))
                .filter(|(ticks, _)| *ticks > 0)
                .collect();
            used.sort_by(|a, b| b.cmp(a));
            for (ticks, name) in used {
                // A tick is 10 ms.
                println!("    {name:16} {:.2} us a message", ticks as f64 * 1e4 / count as f64);
            }
        }
    }

    fn consume(&self, batch: usize) {
        let done = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&done);
        let consumer = ConsumerOptions::new(format!("bench-{batch}-{}", std::process::id()))
            .name_servers(self.names)
            .consume_from(ConsumeFromWhere::FirstOffset)
            .consume_batch(batch)
            .subscribe(self.topic, "*")
            .start_concurrent(move |messages, _| {
                seen.fetch_add(messages.len() as u64, Relaxed);
                ConsumeResult::Success
            })
            .expect("a consumer");
        wait(&done, self.count);
        consumer.shutdown();
    }

    /// The same with the official client.
    fn java(&self, version: &str, kinds: &[&(&str, &str)]) -> Result<(), String> {
        let peer = JavaPeer::fetch(version)?;
        let folder = cache().join(format!("client-bench-{version}"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/load/ClientBench.java");
        let class_path = format!("{}:{}", folder.display(), peer.class_path());
        cached(&folder, include_str!("load/ClientBench.java"), || {
            let mut javac = Command::new("javac");
            javac.args(["-nowarn", "-cp", &class_path, "-d"]).arg(&folder).arg(&source);
            run(&mut javac).map(drop)
        })?;
        let mut java = Command::new("java");
        java.args(["-Xmx1g", "-Duser.home=/nonexistent", "-Drocketmq.client.logUseSlf4j=true"]);
        java.args(["-cp", &class_path, "ClientBench", self.names, self.topic]);
        java.arg(self.count.to_string()).arg(self.bytes.to_string());
        let kinds = kinds.iter().map(|(kind, _)| kind).filter(|kind| **kind != "echo");
        java.args(kinds).stderr(Stdio::null());
        for line in run(&mut java)?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, count, seconds, cpu] = words[..] else { continue };
            let number = |text: &str| text.parse::<f64>().map_err(|_| format!("Java says {line}"));
            let (count, seconds, cpu) = (number(count)?, number(seconds)?, number(cpu)?);
            let what = KINDS.iter().find(|(name, _)| *name == kind).map_or(kind, |(_, what)| what);
            println!(
                "Java {version}, {what}: {:.0}/s, {:.2} us of the client's processor time a message",
                count / seconds,
                cpu * 1e6 / count
            );
        }
        Ok(())
    }
}

/// What bare sockets give: as many bytes as a synchronous send has there, as many as its answer has
/// back, a thread at either end and nothing else.
fn echo(count: u64, what: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut near = TcpStream::connect(listener.local_addr().expect("an address")).expect("a peer");
    let (mut far, _) = listener.accept().expect("a connection");
    let side = move |stream: &mut TcpStream, reads: usize, writes: usize, first: bool| {
        stream.set_nodelay(true).expect("an option");
        let (input, output) = (&mut vec![0; reads], vec![0; writes]);
        if first {
            stream.write_all(&output).expect("a request");
        }
        for _ in 0..count {
            stream.read_exact(input).expect("bytes");
            stream.write_all(&output).expect("room for bytes");
        }
    };
    let peer = thread::spawn(move || side(&mut far, SEND_BYTES, ANSWER_BYTES, false));
    let began = Instant::now();
    // The last one is not read any more, which does not matter.
    side(&mut near, ANSWER_BYTES, SEND_BYTES, true);
    let elapsed = began.elapsed();
    peer.join().expect("the end of the peer");
    println!("{what}: {:.0}/s", count as f64 / elapsed.as_secs_f64());
}

fn send_async(producer: &Producer, message: &Message, count: u64) {
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..count {
        let done = Arc::clone(&done);
        let outcome = move |result: Result<_, _>| {
            result.expect("an asynchronous send");
            done.fetch_add(1, Relaxed);
        };
        producer.send_async(message, outcome).expect("room for a send");
    }
    wait(&done, count);
}

fn wait(done: &AtomicU64, count: u64) {
    let began = Instant::now();
    while done.load(Relaxed) < count {
        assert!(began.elapsed() < LIMIT, "{} of {count} after {LIMIT:?}", done.load(Relaxed));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Processor time of this process's threads by id and name, in ticks.
fn thread_times() -> BTreeMap<(u64, String), u64> {
    let mut times = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let fields: Vec<&str> = stat[close + 1..].split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
        let id = stat[..open].trim().parse().unwrap_or(0);
        let used = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
        times.insert((id, stat[open + 1..close].to_owned()), used);
    }
    times
}
