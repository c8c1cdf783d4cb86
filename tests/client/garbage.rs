//! Servers whose answers are damaged at random: fields that are missing or absurd, bodies cut off or
//! with flipped bytes, answers that come twice or never. No client panics, and each stops in time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rocketmq::client::{
    AllocateStrategy, ClientError, ClientOptions, ConsumeFromWhere, ConsumeResult, ConsumerOptions,
    LitePullOptions, OffsetAt, OrderlyResult, ProducerOptions, PullOptions, Target,
};
use rocketmq::common::message::Message;
use rocketmq::common::record::{RecordFields, encode_record, patch_record};
use rocketmq::remoting::Command;
use rocketmq::remoting::connection::ReplyTo;

use crate::false_server::{addr, false_server};

const SHORT: Duration = Duration::from_millis(300);
/// How long the clients of a seed are left alone with their servers.
const PLAY: Duration = Duration::from_millis(1500);
/// A shutdown takes no longer, whatever happens.
const BOUND: Duration = Duration::from_secs(40);
/// Values that a field never has.
const ABSURD: [&str; 8] =
    ["", "-1", "x", "9223372036854775807", "-9223372036854775808", "2147483648", "1e9", "\u{1}"];

/// Panics of the library itself; tests panic too.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note_own_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|place| place.file().starts_with("src/")) {
            PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        }
        before(panic);
    }));
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// What an honest server would answer.
fn honest(code: i32, broker: &str) -> (Vec<(&'static str, String)>, Vec<u8>) {
    let text = |text: &str| text.as_bytes().to_vec();
    let offset = || vec![("offset", "0".to_owned())];
    match code {
        105 => {
            let route = format!(
                r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{broker}"}},"brokerName":"b","cluster":"c"}}],
                   "filterServerTable":{{}},"queueDatas":[{{"brokerName":"b","perm":6,
                   "readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}}]}}"#
            );
            (Vec::new(), route.into_bytes())
        }
        11 => {
            let mut body = Vec::new();
            for at in 0..3 {
                let mut record = Vec::new();
                let fields = RecordFields {
                    topic: "T",
                    queue_id: 0,
                    flag: 0,
                    sys_flag: 0x301,
                    born_timestamp: 1,
                    born_host: "127.0.0.1:1".parse().unwrap(),
                    store_host: "127.0.0.1:2".parse().unwrap(),
                    reconsume_times: 0,
                    prepared_transaction_offset: 0,
                    body: &[0x78, 0x5E, 0x4B, 0x04, 0, 0, 0x62, 0, 0x62],
                    properties: "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}ID",
                };
                encode_record(&fields, &mut record);
                patch_record(&mut record, at, 100 * at, 5);
                body.extend(record);
            }
            let of = [("suggestWhichBrokerId", "0"), ("nextBeginOffset", "3")];
            let of = of.into_iter().chain([("minOffset", "0"), ("maxOffset", "3")]);
            (of.map(|(name, value)| (name, value.to_owned())).collect(), body)
        }
        14 | 29 | 30 | 31 => (offset(), Vec::new()),
        38 => (Vec::new(), text(r#"{"consumerIdList":["9.9.9.9@x","9.9.9.9@x@STREAM"]}"#)),
        41 => {
            let locked =
                (0..4).map(|id| format!(r#"{{"brokerName":"b","queueId":{id},"topic":"T"}}"#));
            let locked = locked.collect::<Vec<_>>().join(",");
            (Vec::new(), format!(r#"{{"lockOKMQSet":[{locked}]}}"#).into_bytes())
        }
        310 | 320 => {
            let of = [("msgId", "7F00000100002A9F0000000000000000"), ("queueId", "1")];
            let of = of.into_iter().chain([("queueOffset", "5")]);
            (of.map(|(name, value)| (name, value.to_owned())).collect(), Vec::new())
        }
        _ => (Vec::new(), Vec::new()),
    }
}

/// An honest answer, damaged or not.
fn answer(dice: &mut Dice, reply: &ReplyTo, code: i32, broker: &str) -> Option<Command> {
    let (mut fields, mut body) = honest(code, broker);
    let mut status = 0;
    let trick = dice.below(14);
    match trick {
        0 => return None,
        1 => status = [1, 2, 17, 19, 20, 21, 25, -1, i32::MAX][dice.below(9)],
        2 if !fields.is_empty() => drop(fields.swap_remove(dice.below(fields.len()))),
        3 | 4 if !fields.is_empty() => {
            let at = dice.below(fields.len());
            fields[at].1 = ABSURD[dice.below(ABSURD.len())].to_owned();
        }
        5 => body.truncate(dice.below(body.len())),
        6..=8 if !body.is_empty() => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(body.len());
                body[at] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'-', b'9'][dice.below(8)];
            }
        }
        _ => {}
    }
    let mut response = Command::response(status).with_body(body);
    for (name, value) in &fields {
        response.fields.push_str(name, value);
    }
    if trick == 9 {
        reply.send(response.clone());
    }
    Some(response)
}

fn play(seed: u64) {
    let dice = Mutex::new(Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let broker = false_server(move |reply, request| {
        answer(&mut dice.lock().unwrap(), reply, request.code, "")
    });
    let (dice, place) = (Mutex::new(Dice(seed)), addr(&broker));
    let names = false_server(move |reply, request| {
        answer(&mut dice.lock().unwrap(), reply, request.code, &place)
    });
    let mut client = ClientOptions::default().name_servers(addr(&names));
    (client.api_timeout, client.connect_timeout) = (SHORT, SHORT);
    (client.client_ip, client.instance_name) = (Some("9.9.9.9".into()), format!("x{seed}"));
    client.rebalance_interval = Duration::from_millis(50);
    client.persist_interval = Duration::from_millis(50);
    client.route_interval = Duration::from_millis(50);
    client.heartbeat_interval = Duration::from_millis(50);
    // Every queue, whoever the members are said to be.
    let all = AllocateStrategy::Config(
        (0..4)
            .map(|id| rocketmq::client::MessageQueue {
                broker_name: "b".into(),
                queue_id: id,
                topic: "T".into(),
            })
            .collect(),
    );
    let pushed = ConsumerOptions::new("pushed")
        .client(client.clone())
        .strategy(if seed.is_multiple_of(2) { all.clone() } else { AllocateStrategy::default() })
        .consume_from(ConsumeFromWhere::FirstOffset)
        .pull_error_delay(Duration::from_millis(5))
        .suspend_time(Duration::from_millis(10))
        .shutdown_wait(SHORT)
        .subscribe("T", "a || b");
    let orderly = pushed.clone().group("orderly").start_orderly(|messages, _| {
        match messages[0].body().len() % 2 {
            0 => OrderlyResult::Success,
            _ => OrderlyResult::Suspend,
        }
    });
    let pushed = pushed.start_concurrent(|messages, _| match messages[0].body().len() % 2 {
        0 => ConsumeResult::Success,
        _ => ConsumeResult::Later,
    });
    let lite = LitePullOptions::new("lite").client(client.clone()).strategy(all).start().unwrap();
    let lite_subscribed = lite.subscribe("T", "*");
    let pull = PullOptions::new("pull").client(client.clone()).start().unwrap();
    let mut producer = ProducerOptions::new("producer").client(client).send_timeout(SHORT);
    producer.avoid_slow_brokers = seed.is_multiple_of(2);
    let producer = producer.start().unwrap();
    let began = Instant::now();
    while began.elapsed() < PLAY {
        let _ = producer.send(&Message::new("T", "x"));
        let _ = producer.send_async(&Message::new("T", "x"), drop);
        let _ = producer.send_batch_to(&[Message::new("T", "x")], Target::Key("k"));
        let _ = pull.queues("T");
        let queue = rocketmq::client::MessageQueue {
            broker_name: "b".into(),
            queue_id: 0,
            topic: "T".into(),
        };
        let _ = pull.pull(&queue, "*", 0, 32, None);
        let _ = pull.commit(&queue, 5).and_then(|()| pull.committed(&queue));
        let _ = lite.poll_for(Duration::from_millis(5));
        let _ = lite.commit_sync();
        let _ = lite.seek_to(&queue, OffsetAt::Min);
    }
    let stopping = Instant::now();
    drop((orderly, pushed, lite_subscribed));
    lite.shutdown();
    pull.shutdown();
    producer.shutdown();
    assert!(stopping.elapsed() < BOUND, "seed {seed}: {:?}", stopping.elapsed());
}

#[test]
fn nothing_that_servers_answer_breaks_a_client() {
    note_own_panics();
    std::thread::scope(|scope| {
        for seed in 1..=8 {
            scope.spawn(move || play(seed));
        }
    });
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(panics.is_empty(), "{panics:#?}");
}

#[test]
fn illegal_calls_of_consumers_and_batches_are_refused() {
    let nobody = "127.0.0.1:1";
    let mut client = ClientOptions::default().name_servers(nobody);
    (client.api_timeout, client.connect_timeout) = (SHORT, SHORT);
    let invalid = |what: &str, result: Result<(), ClientError>| {
        assert!(matches!(result, Err(ClientError::Invalid(_))), "{what}: {result:?}");
    };
    let long = "x".repeat(256);
    for group in ["", " ", "a group", "größe", long.as_str(), "DEFAULT_CONSUMER"] {
        let lite = LitePullOptions::new(group).client(client.clone()).start();
        invalid(group, lite.map(drop));
        let pull = PullOptions::new(group).client(client.clone());
        invalid(group, pull.clone().start().map(drop));
        invalid(group, pull.start_schedule().map(drop));
    }
    let options = || LitePullOptions::new("g").client(client.clone());
    invalid("batch", options().pull_batch(0).start().map(drop));
    let schedule = PullOptions::new("g").client(client.clone()).schedule_threads(0);
    invalid("threads", schedule.start_schedule().map(drop));

    let lite = options().start().unwrap();
    for topic in ["", "a topic", long.as_str(), "größe"] {
        invalid(topic, lite.subscribe(topic, "*"));
        invalid(topic, lite.on_topic_change(topic, |_, _| {}));
    }
    invalid("filter", lite.subscribe("T", "||"));
    invalid("nothing", lite.assign([], "*"));
    let queue =
        rocketmq::client::MessageQueue { broker_name: "b".into(), queue_id: -1, topic: "T".into() };
    invalid("not assigned", lite.seek(&queue, 0));
    invalid("not assigned", lite.commit_offsets([(queue.clone(), 0)]));
    invalid("not assigned", lite.commit_queues(std::slice::from_ref(&queue)));

    let consumer = ConsumerOptions::new("g3").client(client.clone()).subscribe("T", "*");
    let consumer = consumer.start_concurrent(|_, _| ConsumeResult::Success).unwrap();
    invalid("topic", consumer.subscribe("a topic", "*"));
    invalid("threads", consumer.set_consume_threads(0));

    let pull = PullOptions::new("g2").client(client.clone()).start().unwrap();
    invalid("offset", pull.pull(&queue, "*", -1, 1, None).map(drop));
    invalid("number", pull.pull(&queue, "*", 0, 0, None).map(drop));
    invalid("filter", pull.pull(&queue, "||", 0, 1, None).map(drop));
    invalid("topic", pull.join("a topic"));

    let producer = ProducerOptions::new("p").client(client).send_timeout(SHORT).start().unwrap();
    let message = |topic: &str| Message::new(topic, "x");
    invalid("empty", producer.send_batch(&[]).map(drop));
    invalid("two topics", producer.send_batch(&[message("A"), message("B")]).map(drop));
    invalid("retries", producer.send_batch(&[message("%RETRY%g")]).map(drop));
    invalid("delay", producer.send_batch(&[message("A").with_delay_level(3)]).map(drop));
    let half = || Message::new("A", vec![0; 3 << 20]);
    invalid("size", producer.send_batch(&[half(), half()]).map(drop));
    invalid("other topic", producer.send_to(&message("A"), Target::Queue(&queue)).map(drop));
    let began = Instant::now();
    assert!(producer.request(&message("A"), Duration::ZERO).is_err());
    assert!(producer.send_within(&message("A"), Target::InTurn, Duration::ZERO).is_err());
    assert!(began.elapsed() < BOUND);
}
