//! What the client costs: each way of sending and consuming against a broker, messages a second,
//! and the client's own processor time and memory.
//!
//! ```text
//! cargo bench --bench client -- -n 127.0.0.1:9876 -q 300000 -s 128
//! ```
//!
//! Without `-n` it starts a name server and a broker of its own.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rocketmq::client::{
    ConsumeFromWhere, ConsumeResult, ConsumerOptions, Producer, ProducerOptions,
};
use rocketmq::common::command_line::{Arguments, OptionSpec};
use rocketmq::common::message::Message;
use rocketmq::common::os;

use support::servers::{Server, broker_at, namesrv, wait_for_route};
use support::{TempDir, free_port};

const TOPIC: &str = "ClientBench";
/// Longest wait for messages that were sent.
const LIMIT: Duration = Duration::from_secs(300);

const OPTIONS: [OptionSpec; 3] = [
    option('n', "namesrvAddr", "Name server of a broker with automatic topic creation"),
    option('q', "messageQuantity", "Messages for asynchronous sends. Default: 300000"),
    option('s', "messageSize", "Bytes of a body. Default: 128"),
];

const fn option(short: char, long: &'static str, what: &'static str) -> OptionSpec {
    OptionSpec { short, long, value: Some("arg"), what }
}

/// Runs `work` over `count` messages and tells what it cost.
fn measure(what: &str, count: u64, work: impl FnOnce()) {
    let (cpu, began) = (os::cpu_time(), Instant::now());
    work();
    let (elapsed, cpu) = (began.elapsed(), os::cpu_time() - cpu);
    println!(
        "{what}: {:.0}/s, {:.2} us of the client's processor time a message, {} KiB anonymous",
        count as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        os::anonymous_memory().unwrap_or(0) / 1024
    );
}

fn main() {
    let arguments = std::env::args_os().skip(1).filter(|word| word != "--bench");
    let given = Arguments::parse(&OPTIONS, arguments).unwrap_or_else(|why| panic!("{why}"));
    let number = |name: &str, default: u64| {
        given.value(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (count, bytes) = (number("messageQuantity", 300_000), number("messageSize", 128));
    let own = given.value("namesrvAddr").is_none().then(Own::start);
    let names = own.as_ref().map_or_else(
        || given.value("namesrvAddr").unwrap_or_default().to_owned(),
        |own| own.namesrv.addr(),
    );
    let producer = ProducerOptions::new("bench").name_servers(names.as_str());
    let producer = producer.send_timeout(Duration::from_secs(30)).start().expect("a producer");
    let message = Message::new(TOPIC, vec![b'x'; bytes as usize]);
    producer.send(&message).expect("a first send");
    send(&producer, &message, count);
    // All sends of above are there to be read: the first, the synchronous, the oneway, the batches.
    let sent = 1 + count / 10 + 2 * count + count / 32 * 32;
    for (batch, what) in [(32, "32 a call"), (1, "1 a call")] {
        consume(&names, what, batch, sent);
    }
}

/// Servers of its own, which end with it.
struct Own {
    namesrv: Server,
    _broker: Server,
    _dir: TempDir,
}

impl Own {
    fn start() -> Self {
        let dir = TempDir::new("client-bench");
        let namesrv = namesrv(dir.path());
        let more = [("diskMaxUsedSpaceRatio", "99")];
        let broker = broker_at(dir.path(), free_port(), Some(&namesrv.addr()), &more);
        broker.wire().create_topic(TOPIC, 4);
        wait_for_route(&namesrv.addr(), TOPIC);
        Self { namesrv, _broker: broker, _dir: dir }
    }
}

fn send(producer: &Producer, message: &Message, count: u64) {
    measure("synchronous, one thread", count / 10, || {
        for _ in 0..count / 10 {
            producer.send(message).expect("a send");
        }
    });
    measure("asynchronous, one thread", count, || {
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
    });
    let batch = vec![message.clone(); 32];
    measure("batches of 32, one thread", count / 32 * 32, || {
        for _ in 0..count / 32 {
            producer.send_batch(&batch).expect("a batch");
        }
    });
    measure("oneway, one thread", count, || {
        for _ in 0..count {
            producer.send_oneway(message).expect("a oneway send");
        }
    });
}

fn wait(done: &AtomicU64, count: u64) {
    let began = Instant::now();
    while done.load(Relaxed) < count {
        assert!(began.elapsed() < LIMIT, "{} of {count} after {LIMIT:?}", done.load(Relaxed));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn consume(names: &str, what: &str, batch: usize, count: u64) {
    let done = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&done);
    measure(&format!("push consumer, {what}"), count, || {
        let consumer = ConsumerOptions::new(format!("bench-{batch}-{}", std::process::id()))
            .name_servers(names)
            .consume_from(ConsumeFromWhere::FirstOffset)
            .consume_batch(batch)
            .subscribe(TOPIC, "*")
            .start_concurrent(move |messages, _| {
                seen.fetch_add(messages.len() as u64, Relaxed);
                ConsumeResult::Success
            })
            .expect("a consumer");
        wait(&done, count);
        consumer.shutdown();
    });
}
