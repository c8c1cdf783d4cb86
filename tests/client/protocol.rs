//! What a consumer says to a broker when things go wrong, seen from a broker that makes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq::client::{ConsumeFromWhere, ConsumeResult, ConsumerOptions, PushConsumer};
use rocketmq::common::properties::Properties;
use rocketmq::common::record::{RecordFields, encode_record, patch_record};
use rocketmq::remoting::Command;
use rocketmq::remoting::server::RunningServer;

use crate::false_server::{addr, false_server, names};
use crate::site::SOON;
use crate::support::until;

const PULL: i32 = 11;
const QUERY_OFFSET: i32 = 14;
const UPDATE_OFFSET: i32 = 15;
const HEARTBEAT: i32 = 34;
const SEND_BACK: i32 = 36;
const MEMBERS: i32 = 38;
const SEND_V2: i32 = 310;

/// A broker with one queue of one topic, two members at most, and a script for its pulls.
#[derive(Default)]
struct Script {
    /// Answers to pulls of the topic, in order; then pulls are held for ever.
    pulls: Mutex<VecDeque<Command>>,
    /// Everything that was asked.
    seen: Mutex<Vec<Command>>,
    client_id: Mutex<String>,
    refuse_send_back: bool,
}

impl Script {
    fn answer(&self, request: &Command) -> Option<Command> {
        self.seen.lock().unwrap().push(request.clone());
        let ok = Command::response(0);
        let with = |fields: &[(&str, &str)]| {
            let mut response = Command::response(0);
            for (name, value) in fields {
                response.fields.push_str(name, value);
            }
            Some(response)
        };
        match request.code {
            HEARTBEAT => {
                let text = String::from_utf8_lossy(request.body.as_bytes()).into_owned();
                let id = text.split("\"clientID\":\"").nth(1).unwrap().split('"').next().unwrap();
                *self.client_id.lock().unwrap() = id.to_owned();
                Some(ok)
            }
            MEMBERS => {
                let id = self.client_id.lock().unwrap().clone();
                let body = format!(r#"{{"consumerIdList":["{id}"]}}"#);
                Some(ok.with_body(body.into_bytes()))
            }
            QUERY_OFFSET => match self.asked(UPDATE_OFFSET).last() {
                Some(update) => with(&[("offset", update.fields.get("commitOffset").unwrap())]),
                None => Some(Command::failure(22, "none")),
            },
            PULL if is_first_queue(request) => self.pulls.lock().unwrap().pop_front(),
            PULL => None,
            SEND_BACK if self.refuse_send_back => Some(Command::failure(1, "a script")),
            SEND_V2 => with(&[
                ("msgId", "7F00000100002A9F0000000000000000"),
                ("queueId", "0"),
                ("queueOffset", "0"),
            ]),
            _ => Some(ok),
        }
    }

    fn asked(&self, code: i32) -> Vec<Command> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.code == code).cloned().collect()
    }
}

fn is_first_queue(pull: &Command) -> bool {
    pull.fields.get("topic") == Some("T") && pull.fields.get("queueId") == Some("0")
}

fn pull_answer(code: i32, next: i64, body: Vec<u8>) -> Command {
    let mut response = Command::response(code).with_body(body);
    for (name, value) in
        [("suggestWhichBrokerId", 0), ("nextBeginOffset", next), ("minOffset", 0), ("maxOffset", 9)]
    {
        response.fields.push_int(name, value);
    }
    response
}

fn record(offset: i64, properties: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = RecordFields {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "10.0.0.9:1".parse().unwrap(),
        store_host: "10.0.0.1:10911".parse().unwrap(),
        reconsume_times: 2,
        prepared_transaction_offset: 0,
        body: b"body",
        properties,
    };
    encode_record(&fields, &mut out);
    patch_record(&mut out, offset, 777, 5);
    out
}

struct Stage {
    script: Arc<Script>,
    _servers: [RunningServer; 2],
    options: ConsumerOptions,
}

fn stage(script: Script) -> Stage {
    let script = Arc::new(script);
    let shared = Arc::clone(&script);
    let broker = false_server(move |_, request| shared.answer(request));
    let names = names(&addr(&broker));
    let mut options = ConsumerOptions::new("g")
        .name_servers(addr(&names))
        .consume_from(ConsumeFromWhere::FirstOffset)
        .pull_error_delay(Duration::from_millis(10))
        .subscribe("T", "*");
    options.client.persist_interval = Duration::from_millis(50);
    (options.client.api_timeout, options.client.connect_timeout) = (SOON, SOON);
    Stage { script, _servers: [broker, names], options }
}

impl Stage {
    fn consume(
        &self,
        result: impl Fn(i64) -> ConsumeResult + Send + Sync + 'static,
    ) -> (PushConsumer, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let options = self.options.clone();
        let consumer = options.start_concurrent(move |messages, _| {
            count.fetch_add(1, Ordering::SeqCst);
            result(messages[0].facts().queue_offset)
        });
        (consumer.unwrap(), calls)
    }
}

#[test]
fn what_cannot_be_given_back_is_sent_to_the_retry_topic() {
    let text = "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}ID\u{2}TRAN_MSG\u{1}true";
    let found = pull_answer(0, 1, record(0, text));
    let stage = stage(Script {
        pulls: Mutex::new([found].into()),
        refuse_send_back: true,
        ..Script::default()
    });
    let (consumer, calls) = stage.consume(|_| ConsumeResult::Later);
    let sent = until("a send to the retry topic", SOON, || stage.script.asked(SEND_V2).pop());
    let back = stage.script.asked(SEND_BACK).remove(0);
    let field = |name| back.fields.get(name);
    assert_eq!((field("group"), field("offset")), (Some("g"), Some("777")));
    assert_eq!((field("delayLevel"), field("maxReconsumeTimes")), (Some("0"), Some("16")));
    assert_eq!((field("originMsgId"), field("originTopic")), (Some("ID"), Some("T")));
    let field = |name| sent.fields.get(name);
    assert_eq!((field("b"), field("j"), field("l")), (Some("%RETRY%g"), Some("3"), Some("16")));
    assert_eq!((field("a"), sent.body.as_bytes()), (Some("CLIENT_INNER_PRODUCER"), &b"body"[..]));
    let properties = Properties::parse(field("i").unwrap());
    for (name, value) in [
        ("TAGS", Some("a")),
        ("UNIQ_KEY", Some("ID")),
        ("RETRY_TOPIC", Some("T")),
        ("RECONSUME_TIME", Some("3")),
        ("MAX_RECONSUME_TIMES", Some("16")),
        ("DELAY", Some("5")),
        ("ORIGIN_MESSAGE_ID", Some("0A00000100002A9F0000000000000309")),
        ("TRAN_MSG", None),
    ] {
        assert_eq!(properties.get(name), value, "{name}");
    }
    // It is done: the offset moves on.
    until("the offset past the message", SOON, || {
        let updates = stage.script.asked(UPDATE_OFFSET);
        updates.iter().any(|update| update.fields.get("commitOffset") == Some("1")).then_some(())
    });
    consumer.shutdown();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_message_that_is_consumed_for_too_long_is_given_back() {
    let both = [record(0, "UNIQ_KEY\u{1}STUCK"), record(1, "UNIQ_KEY\u{1}FINE")].concat();
    let mut stage =
        stage(Script { pulls: Mutex::new([pull_answer(0, 2, both)].into()), ..Script::default() });
    // Longer than the other message may take on a busy machine.
    stage.options.consume_timeout = Duration::from_secs(4);
    stage.options.shutdown_wait = Duration::from_millis(100);
    let release = Arc::new(AtomicUsize::new(0));
    let gate = Arc::clone(&release);
    let (consumer, calls) = stage.consume(move |offset| {
        while offset == 0 && gate.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        ConsumeResult::Success
    });
    let back = until("a message given back", SOON, || stage.script.asked(SEND_BACK).pop());
    assert_eq!(back.fields.get("originMsgId"), Some("STUCK"));
    assert_eq!(back.fields.get("delayLevel"), Some("3"));
    release.store(1, Ordering::SeqCst);
    consumer.shutdown();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(stage.script.asked(SEND_BACK).len(), 1);
}

#[test]
fn an_offset_that_the_broker_does_not_have_is_replaced_by_one_that_it_has() {
    let found = pull_answer(0, 6, record(5, ""));
    let pulls = [pull_answer(21, 5, Vec::new()), found];
    let mut stage = stage(Script { pulls: Mutex::new(pulls.into()), ..Script::default() });
    // Nothing but the replacement is written, and read again.
    stage.options.client.persist_interval = Duration::from_secs(3600);
    let (consumer, calls) = stage.consume(|offset| {
        assert_eq!(offset, 5);
        ConsumeResult::Success
    });
    until("the message after the gap", SOON, || (calls.load(Ordering::SeqCst) == 1).then_some(()));
    let pulls = stage.script.asked(PULL);
    let of_queue = pulls.iter().filter(|pull| is_first_queue(pull));
    let offsets: Vec<_> = of_queue.map(|pull| pull.fields.get("queueOffset").unwrap()).collect();
    assert_eq!(offsets[..2], ["0", "5"]);
    assert_eq!(stage.script.asked(UPDATE_OFFSET)[0].fields.get("commitOffset"), Some("5"));
    consumer.shutdown();
}

#[test]
fn a_broker_that_forgot_the_group_is_told_again() {
    let found = pull_answer(0, 1, record(0, ""));
    let pulls = [Command::failure(24, "the consumer's subscription not exist"), found];
    let stage = stage(Script { pulls: Mutex::new(pulls.into()), ..Script::default() });
    let (consumer, calls) = stage.consume(|_| ConsumeResult::Success);
    until("the message", SOON, || (calls.load(Ordering::SeqCst) == 1).then_some(()));
    let seen: Vec<i32> = stage.script.seen.lock().unwrap().iter().map(|seen| seen.code).collect();
    let first_pull = seen.iter().position(|code| *code == PULL).unwrap();
    assert!(seen[..first_pull].contains(&HEARTBEAT), "told before the first pull: {seen:?}");
    until("a heartbeat after the refusal", SOON, || {
        let seen = stage.script.seen.lock().unwrap();
        seen[first_pull..].iter().any(|seen| seen.code == HEARTBEAT).then_some(())
    });
    consumer.shutdown();
}

#[test]
fn a_broker_that_answers_pulls_with_garbage_is_survived() {
    let mut twice = record(3, "");
    twice.extend(record(3, ""));
    let mut cut = record(4, "");
    cut.truncate(cut.len() / 2);
    let headless = Command::response(0).with_body(record(9, ""));
    let pulls = [
        // No message at all, half a message, one that says it is huge, one twice in one answer.
        pull_answer(0, 1, vec![]),
        pull_answer(0, 1, b"garbage that is no record at all".to_vec()),
        pull_answer(0, 1, cut),
        pull_answer(0, 1, [0x7F; 64].to_vec()),
        headless,
        pull_answer(999, 1, vec![]),
        pull_answer(0, 4, twice),
        // The next offset goes back: the same message comes again.
        pull_answer(0, 3, record(3, "")),
        pull_answer(0, 5, record(4, "")),
    ];
    let stage = stage(Script { pulls: Mutex::new(pulls.into()), ..Script::default() });
    let (consumer, calls) = stage.consume(|_| ConsumeResult::Success);
    until("the last good message", SOON, || {
        let known = |update: &Command| update.fields.get("commitOffset") == Some("5");
        stage.script.asked(UPDATE_OFFSET).iter().any(known).then_some(())
    });
    assert!((2..=3).contains(&calls.load(Ordering::SeqCst)), "{calls:?}");
    let began = std::time::Instant::now();
    consumer.shutdown();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
