//! What the official clients can beyond sending and receiving: a test for each feature, with every
//! client that has it, side by side.
//!
//! | call | does |
//! |---|---|
//! | `send NAMESRV TOPIC GROUP KIND WORDS…` | sends, prints `done`, lives until stdin ends |
//! | `receive NAMESRV TOPIC GROUP KIND [TAGS]` | prints `ready` and a `got` line for each delivery, until stdin ends |
//!
//! | sends | |
//! |---|---|
//! | `plain N` | bodies `0`, `1`, …, tags A, B, C in turn |
//! | `ordered N` | bodies `SHARD-NUMBER` of four shards in turn, each shard to one queue |
//! | `delayed MS…` | one of each delay level; the body is the time it is due at, in ms |
//! | `timed` | one for each way to ask for a time; the body as above |
//! | `recalled` | two timed ones, `gone` and `stays`, and takes the first back |
//! | `packed METHOD…` | of each compression method one: its name, 5000 times |
//! | `batch N` | `plain N` as one batch |
//! | `transaction WORD…` | `commit`, `rollback`, `unknown-commit`, …: what is said first, and to a check; `vanish` ends the process (`vanishes`) before it says anything |
//! | `request N` | prints a `reply` line for each answer |
//!
//! | receives | |
//! |---|---|
//! | `push`, `orderly`, `broadcast` | a push consumer; `orderly` suspends its queue once |
//! | `refuse` | gives everything back, twice at most |
//! | `reply` | answers |
//! | `pull` | from the begin of each queue to its end |
//! | `lite` | a lite pull consumer |
//!
//! With `ROCKETMQ_TEST_SERVERS=4.9.7` the C++ client's batch and reset fail: that broker stores its
//! batch as one message, and resets it in a form that it does not read.
//!
//! ```text
//! got BODY TAG QUEUE OFFSET RECONSUMED NOW_MS       tab separated
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rocketmq::client::{ConsumeFromWhere, LitePullOptions};

use crate::clients::{Client, Prepared};
use crate::matrix::Site;
use crate::needed;
use crate::support::java_peer::Servers;
use crate::support::servers::wait_for_route;
use crate::support::until;
use crate::support::wire::{borrowed, code, send_fields};

/// Longest wait for something that must come: a JVM on a busy machine takes its time.
const LONG: Duration = Duration::from_secs(240);
/// After so long without a delivery, nothing more comes.
const SILENCE: Duration = Duration::from_secs(2);
/// Latest that a message comes after it was due, on a machine that is busy with other tests.
const LATE_MS: i64 = 30_000;
/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
const CREATE_GROUP: i32 = 200;
/// SEARCH_OFFSET_BY_TIMESTAMP.
const SEARCH_OFFSET: i32 = 29;
/// INVOKE_BROKER_TO_RESET_OFFSET.
const RESET_OFFSET: i32 = 222;
/// Short delays, so that a third retry comes while one waits, and frequent checks, of which there are
/// enough for a producer that takes its time to start.
const KEYS: [(&str, &str); 4] = [
    ("messageDelayLevel", "1s 2s 3s 1s 1s 1s"),
    ("transactionTimeOut", "1000"),
    ("transactionCheckInterval", "1000"),
    ("transactionCheckMax", "1000"),
];
const ALL: [Client; 4] = [Client::Java498, Client::Java533, Client::Go, Client::Cpp];
const WITH_TRANSACTIONS: [Client; 3] = [Client::Java498, Client::Java533, Client::Go];
const JAVA: [Client; 2] = [Client::Java498, Client::Java533];

/// One client's part of a test: a topic and a group of its own.
struct Scene<'a> {
    site: &'a Site,
    client: &'a Prepared,
    topic: String,
    group: String,
}

/// Runs `test` with each of the clients that can be had, at the same time.
fn with_each(wanted: &[Client], name: &str, queues: i32, test: impl Fn(&Scene) + Sync) {
    let clients: Vec<Prepared> = wanted
        .iter()
        .filter_map(|client| needed(&format!("the {client:?} client"), client.prepare()))
        .collect();
    if clients.is_empty() {
        return;
    }
    // Four clients at a time: the Java ones give up when they do not get on for three seconds.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let make = Servers::from_env();
    let site = &Site::start_with(&make, &make, &KEYS);
    std::thread::scope(|scope| {
        for client in &clients {
            let test = &test;
            scope.spawn(move || {
                let topic = format!("{name}_{:?}", client.client);
                site.broker.wire().create_topic(&topic, queues);
                wait_for_route(&site.namesrv.addr(), &topic);
                test(&Scene { site, client, group: format!("G_{topic}"), topic });
            });
        }
    });
}

impl Scene<'_> {
    fn send(&self, kind: &str, words: &[&str]) -> Process {
        let mut sender = self.start("send", "P_", &[&[kind], words].concat());
        sender.wait_for("done");
        sender
    }

    fn receive(&self, kind: &str, filter: &[&str]) -> Process {
        let mut receiver = self.start("receive", "G_", &[&[kind], filter].concat());
        receiver.wait_for("ready");
        receiver
    }

    fn start(&self, verb: &str, prefix: &str, words: &[&str]) -> Process {
        let (namesrv, group) = (self.site.namesrv.addr(), format!("{prefix}{}", self.topic));
        let place = [verb, &namesrv, &self.topic, &group];
        Process::start(self.site, self.client, &[&place, words].concat())
    }
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delivery {
    body: String,
    tag: String,
    queue: i32,
    offset: i64,
    reconsumed: u32,
    at_ms: i64,
}

impl Delivery {
    fn parse(words: &[String]) -> Option<Self> {
        let [_, body, tag, queue, offset, reconsumed, at_ms] = words else { return None };
        Some(Self {
            body: body.clone(),
            tag: tag.clone(),
            queue: queue.parse().ok()?,
            offset: offset.parse().ok()?,
            reconsumed: reconsumed.parse().ok()?,
            at_ms: at_ms.parse().ok()?,
        })
    }
}

/// A client's process and what it says. It ends when its stdin does.
struct Process {
    client: Client,
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<Vec<String>>,
}

impl Process {
    fn start(site: &Site, client: &Prepared, words: &[&str]) -> Self {
        let mut child = client.start(site.dir.path(), words);
        let (to, said) = channel();
        let output = child.stdout.take().map(BufReader::new);
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                // Nobody listens any more when the test is over.
                let _ = to.send(line.split('\t').map(str::to_owned).collect());
            }
        });
        let input = child.stdin.take();
        Self { client: client.client, child, input, said }
    }

    /// The next line that begins with `word`.
    fn wait_for(&mut self, word: &str) -> Vec<String> {
        let line = self.next(word, LONG);
        line.unwrap_or_else(|why| panic!("{:?}: {word:?} is not said: {why}", self.client))
    }

    fn next(&mut self, word: &str, patience: Duration) -> Result<Vec<String>, RecvTimeoutError> {
        let deadline = Instant::now() + patience;
        loop {
            let line =
                self.said.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
            assert_ne!(line[0], "failed", "{:?}: {line:?}", self.client);
            if line[0] == word {
                return Ok(line);
            }
        }
    }

    /// The next `count` deliveries.
    fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut got = Vec::new();
        while got.len() < count {
            match self.next("got", LONG) {
                Ok(words) => got.extend(Delivery::parse(&words)),
                Err(why) => {
                    panic!(
                        "{:?}: {} of {count} came ({why}), the last ones: {:?}",
                        self.client,
                        got.len(),
                        &got[got.len().saturating_sub(10)..]
                    )
                }
            }
        }
        got
    }

    /// `count` deliveries, and no other.
    fn exactly(&mut self, count: usize) -> Vec<Delivery> {
        let got = self.deliveries(count);
        let more = self.next("got", SILENCE);
        assert_eq!(more, Err(RecvTimeoutError::Timeout), "{:?}: after {got:?}", self.client);
        got
    }

    /// The orderly way out.
    fn end(mut self) {
        self.input = None;
        until(&format!("{:?} ends", self.client), LONG, || self.child.try_wait().ok().flatten());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bodies(got: &[Delivery]) -> BTreeSet<&str> {
    got.iter().map(|delivery| delivery.body.as_str()).collect()
}

fn numbers(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

fn same<'a>(got: &'a [Delivery], wanted: &'a BTreeSet<String>) -> bool {
    bodies(got) == wanted.iter().map(String::as_str).collect()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

/// Bodies that are times: each comes when it is due.
fn assert_on_time(client: Client, got: &[Delivery]) {
    for delivery in got {
        let due: i64 = delivery.body.parse().unwrap_or_else(|_| panic!("{client:?}: {delivery:?}"));
        let late = delivery.at_ms - due;
        assert!((0..LATE_MS).contains(&late), "{client:?}: {late} ms late: {delivery:?}");
    }
}

fn shards_in_order(scene: &Scene) {
    const COUNT: usize = 200;
    let mut consumer = scene.receive("orderly", &[]);
    scene.send("ordered", &[&COUNT.to_string()]).end();
    let got = consumer.exactly(COUNT);
    let mut next: BTreeMap<&str, (usize, i32)> = BTreeMap::new();
    for delivery in &got {
        let (shard, number) = delivery.body.split_once('-').expect("SHARD-NUMBER");
        let (expected, queue) = next.entry(shard).or_insert((0, delivery.queue));
        assert_eq!(number, expected.to_string(), "{:?}: {delivery:?}", scene.client.client);
        assert_eq!(delivery.queue, *queue, "{:?}: {delivery:?}", scene.client.client);
        *expected += 1;
    }
    consumer.end();
}

#[test]
fn the_order_of_a_shard_is_kept() {
    with_each(&ALL, "Ordered", 8, shards_in_order);
}

#[test]
fn the_order_of_a_topic_with_one_queue_is_kept() {
    with_each(&ALL, "Global", 1, shards_in_order);
}

#[test]
fn delayed_messages_come_when_they_are_due() {
    with_each(&ALL, "Delayed", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        scene.send("delayed", &["1000", "2000", "3000", "1000"]).end();
        assert_on_time(scene.client.client, &consumer.exactly(4));
        consumer.end();
    });
}

#[test]
fn timed_messages_come_at_their_time() {
    // What a 4.9 broker does with a time, it does at once.
    if std::env::var("ROCKETMQ_TEST_SERVERS").is_ok_and(|version| version.starts_with('4')) {
        return;
    }
    with_each(&[Client::Java533], "Timed", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        scene.send("timed", &[]).end();
        let mut got = consumer.exactly(4);
        // What was due five seconds before it was sent comes at once.
        got.sort_by_key(|delivery| delivery.body.parse::<i64>().unwrap_or_default());
        assert_on_time(scene.client.client, &got[1..]);
        consumer.end();
    });
}

#[test]
fn a_timed_message_that_is_recalled_does_not_come() {
    // A broker of 5.3 recalls only when it is told to in its configuration, one of 4.9 never.
    if std::env::var("ROCKETMQ_TEST_SERVERS").is_ok_and(|version| version != "ours") {
        return;
    }
    with_each(&[Client::Java533], "Recalled", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        scene.send("recalled", &[]).end();
        let got = consumer.exactly(1);
        assert_eq!(got[0].body, "stays", "{got:?}");
        consumer.end();
    });
}

/// Our client reads what it was built for, and says of the rest what it needs.
#[test]
fn packed_bodies_are_read() {
    const METHODS: [(&str, i32, bool); 3] = [
        ("ZLIB", 0x301, true),
        ("LZ4", 0x101, cfg!(feature = "lz4")),
        ("ZSTD", 0x201, cfg!(feature = "zstd")),
    ];
    with_each(&[Client::Java533], "Packed", 1, |scene| {
        scene.send("packed", &METHODS.map(|(name, ..)| name)).end();
        let reader = LitePullOptions::new("packed-readers")
            .name_servers(scene.site.namesrv.addr())
            .consume_from(ConsumeFromWhere::FirstOffset)
            .start()
            .unwrap();
        reader.subscribe(&scene.topic, "*").unwrap();
        let messages = reader.messages().until_idle_for(LONG).take(METHODS.len());
        let messages: Vec<_> = messages.map(Result::unwrap).collect();
        assert_eq!(messages.len(), METHODS.len());
        for (message, (name, flag, readable)) in messages.iter().zip(METHODS) {
            assert_eq!(message.facts().sys_flag & 0x701, flag, "{message:?}");
            assert!(message.stored_body().len() < 1000, "{message:?}");
            match message.unpack_error() {
                None => assert_eq!(message.body(), name.repeat(5000).as_bytes(), "{name}"),
                Some(why) => {
                    assert!(why.to_string().to_uppercase().contains(name), "{why}");
                    assert_eq!(message.body(), message.stored_body());
                }
            }
            assert_eq!(message.unpack_error().is_none(), readable, "{name}");
        }
    });
}

#[test]
fn a_batch_arrives_whole_and_together() {
    with_each(&ALL, "Batch", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        scene.send("batch", &["20"]).end();
        let mut got = consumer.exactly(20);
        got.sort_by_key(|delivery| delivery.offset);
        for (number, delivery) in got.iter().enumerate() {
            let place = (delivery.queue, delivery.offset);
            assert_eq!(place, (got[0].queue, number as i64), "{:?}: {got:?}", scene.client.client);
            assert_eq!(delivery.body, number.to_string(), "{:?}", scene.client.client);
            assert_eq!(delivery.tag, ["A", "B", "C"][number % 3], "{:?}", scene.client.client);
        }
        consumer.end();
    });
}

#[test]
fn a_consumer_of_two_tags_gets_these() {
    with_each(&ALL, "Tags", 4, |scene| {
        let mut consumer = scene.receive("push", &["A || C"]);
        scene.send("plain", &["60"]).end();
        let got = consumer.exactly(40);
        assert!(same(&got, &numbers((0..60).filter(|number| number % 3 != 1))), "{got:?}");
        consumer.end();
    });
}

#[test]
fn a_broadcast_reaches_every_member() {
    with_each(&ALL, "Broadcast", 1, |scene| {
        // Members keep their progress in a file below their home, which would be one for both.
        let mut members = [scene.receive("broadcast", &[]), scene.receive("broadcast", &[])];
        let mut wire = scene.site.broker.wire();
        for member in &mut members {
            until("a member gets what is sent", LONG, || {
                let probe = send_fields(&scene.topic, 0, "probe");
                wire.must(code::SEND, &borrowed(&probe), b"probe");
                member.next("got", Duration::from_secs(1)).ok()
            });
        }
        scene.send("plain", &["30"]).end();
        for member in &mut members {
            let mut got = Vec::new();
            while got.len() < 30 {
                let next = member.deliveries(1);
                got.extend(next.into_iter().filter(|delivery| delivery.body != "probe"));
            }
            assert!(same(&got, &numbers(0..30)), "{:?}: {got:?}", scene.client.client);
        }
        members.into_iter().for_each(Process::end);
    });
}

#[test]
fn what_is_refused_comes_again_and_ends_in_the_dead_letter_topic() {
    with_each(&ALL, "Refused", 1, |scene| {
        let group = format!(
            "{{\"brokerId\":0,\"consumeBroadcastEnable\":true,\"consumeEnable\":true,\
             \"consumeFromMinEnable\":true,\"groupName\":\"{}\",\
             \"notifyConsumerIdsChangedEnable\":true,\"retryMaxTimes\":2,\"retryQueueNums\":1,\
             \"whichBrokerWhenConsumeSlowly\":1}}",
            scene.group
        );
        scene.site.broker.wire().must(CREATE_GROUP, &[], group.as_bytes());
        let mut consumer = scene.receive("refuse", &[]);
        // The C++ client gives back what it pulled together when one of it is refused.
        let count = if scene.client.client == Client::Cpp { 1 } else { 3 };
        scene.send("plain", &[&count.to_string()]).end();
        let got = consumer.exactly(count * 3);
        for body in numbers(0..count) {
            let times: Vec<u32> = got
                .iter()
                .filter(|delivery| delivery.body == body)
                .map(|delivery| delivery.reconsumed)
                .collect();
            assert_eq!(times, [0, 1, 2], "{:?}: {body} of {got:?}", scene.client.client);
        }
        let dead = format!("%DLQ%{}", scene.group);
        until("they are dead letters", LONG, || {
            let fields = [("topic", dead.as_str()), ("queueId", "0")];
            let reply = scene.site.broker.wire().call(code::MAX_OFFSET, &fields, b"");
            (reply.number("offset") == Some(count as i64)).then_some(())
        });
        consumer.end();
    });
}

#[test]
fn a_transaction_is_seen_when_it_is_committed() {
    with_each(&WITH_TRANSACTIONS, "Transaction", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        let words = ["commit", "rollback", "unknown-commit", "unknown-rollback", "unknown-unknown"];
        let producer = scene.send("transaction", &words);
        let got = consumer.exactly(2);
        let wanted = ["commit", "unknown-commit"].map(str::to_owned).into();
        assert!(same(&got, &wanted), "{:?}: {got:?}", scene.client.client);
        producer.end();
        consumer.end();
    });
}

#[test]
fn another_producer_ends_the_transaction_of_one_that_died() {
    with_each(&WITH_TRANSACTIONS, "Vanished", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        for word in ["vanish-commit", "vanish-rollback"] {
            let mut dying = scene.start("send", "P_", &["transaction", word]);
            dying.wait_for("vanishes");
        }
        let producer = scene.send("transaction", &["commit"]);
        let got = consumer.exactly(2);
        let wanted = ["commit", "vanish-commit"].map(str::to_owned).into();
        assert!(same(&got, &wanted), "{:?}: {got:?}", scene.client.client);
        producer.end();
        consumer.end();
    });
}

#[test]
fn requests_are_answered() {
    with_each(&WITH_TRANSACTIONS, "Requests", 4, |scene| {
        let consumer = scene.receive("reply", &[]);
        let mut producer = scene.start("send", "P_", &["request", "5"]);
        for number in 0..5 {
            let reply = producer.wait_for("reply");
            assert_eq!(reply[1], format!("answer to question {number}"), "{reply:?}");
        }
        producer.end();
        consumer.end();
    });
}

#[test]
fn a_reset_to_a_time_brings_back_what_came_since() {
    with_each(&ALL, "Reset", 4, |scene| {
        let mut consumer = scene.receive("push", &[]);
        scene.send("plain", &["10"]).end();
        assert!(same(&consumer.exactly(10), &numbers(0..10)));
        // A reset goes to the message whose time is nearest: what came before is two seconds away.
        let mut time = now_ms();
        let mut wire = scene.site.broker.wire();
        let ends = [0, 1, 2, 3].map(|queue| wire.max_offset(&scene.topic, queue));
        let later = numbers(100..108);
        for (number, body) in later.iter().enumerate() {
            let fields = send_fields(&scene.topic, number as i32 % 4, body);
            wire.must(code::SEND, &borrowed(&fields), body.as_bytes());
        }
        assert!(same(&consumer.exactly(8), &later));
        // On a busy machine they are not stored at once, and the time that is nearest is later.
        until("the time of what was sent", LONG, || {
            let at = time.to_string();
            let found = [0, 1, 2, 3].map(|queue: i32| {
                let of = [("topic", scene.topic.as_str()), ("queueId", &queue.to_string())];
                let of = [&of[..], &[("timestamp", at.as_str())]].concat();
                wire.must(SEARCH_OFFSET, &of, b"").number("offset")
            });
            time += 100;
            (found == ends.map(Some)).then_some(())
        });
        let time = (time - 100).to_string();
        let fields = [
            ("topic", scene.topic.as_str()),
            ("group", &scene.group),
            ("timestamp", &time),
            ("isForce", "true"),
        ];
        wire.must(RESET_OFFSET, &fields, b"");
        let again = consumer.exactly(8);
        assert!(same(&again, &later), "{:?}: {again:?}", scene.client.client);
        consumer.end();
    });
}

#[test]
fn members_that_come_and_go_lose_nothing() {
    const COUNT: usize = 600;
    with_each(&ALL, "Members", 8, |scene| {
        let mut first = scene.receive("push", &[]);
        let sender = scene.send("plain", &[&(COUNT / 2).to_string()]);
        let mut second = Some(scene.receive("push", &[]));
        scene.send("plain", &[&COUNT.to_string()]).end();
        let mut got: Vec<Delivery> = Vec::new();
        let deadline = Instant::now() + LONG;
        // A place is a message: the two senders' bodies are the same.
        let places = |got: &[Delivery]| -> BTreeSet<(i32, i64)> {
            got.iter().map(|delivery| (delivery.queue, delivery.offset)).collect()
        };
        while places(&got).len() < COUNT + COUNT / 2 {
            assert!(Instant::now() < deadline, "{:?}: {}", scene.client.client, places(&got).len());
            if let Ok(words) = first.next("got", Duration::from_millis(200)) {
                got.extend(Delivery::parse(&words));
                continue;
            }
            // The first one has nothing left: now the second one goes, with what it has.
            if let Some(mut leaving) = second.take() {
                while let Ok(words) = leaving.next("got", Duration::from_millis(500)) {
                    got.extend(Delivery::parse(&words));
                }
                leaving.end();
            }
        }
        sender.end();
        first.end();
    });
}

#[test]
fn a_pull_consumer_reads_its_queues_to_their_ends() {
    with_each(&[Client::Java498, Client::Java533, Client::Cpp], "Pulled", 4, |scene| {
        scene.send("plain", &["90"]).end();
        let mut consumer = scene.receive("pull", &["A"]);
        let got = consumer.exactly(30);
        assert!(same(&got, &numbers((0..90).step_by(3))), "{:?}: {got:?}", scene.client.client);
        consumer.end();
    });
}

#[test]
fn a_lite_pull_consumer_gets_what_it_subscribes() {
    with_each(&JAVA, "Lite", 4, |scene| {
        let mut consumer = scene.receive("lite", &["B || C"]);
        scene.send("plain", &["90"]).end();
        let got = consumer.exactly(60);
        let wanted = numbers((0..90).filter(|number| number % 3 != 0));
        assert!(same(&got, &wanted), "{:?}: {got:?}", scene.client.client);
        consumer.end();
    });
}
