//! Servers that are not there, say nothing, say garbage, or say it late: errors in bounded time.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq::client::{
    ClientError, ClientOptions, ConsumeResult, ConsumerOptions, Producer, ProducerOptions,
};
use rocketmq::common::message::Message;
use rocketmq::remoting::Command;

use crate::false_server::{addr, false_server, names};
use crate::support::{free_port, until};

const SHORT: Duration = Duration::from_millis(600);
/// The limit of a call that takes all of it, and is made before it is over.
const WAITED_FOR: Duration = Duration::from_secs(2);
/// Every call of these tests ends within this; the limits that are set are seconds at most, and the
/// machine may be busy.
const BOUND: Duration = Duration::from_secs(30);

fn producer(names: &str) -> Producer {
    let mut options = ProducerOptions::new("hostile").name_servers(names).send_timeout(SHORT);
    options.client.api_timeout = SHORT;
    options.client.connect_timeout = SHORT;
    options.start().unwrap()
}

/// One whose name server answers, even if late; its broker may not, within `limit`.
fn patient_producer(names: &str, limit: Duration) -> Producer {
    let mut options = ProducerOptions::new("hostile").name_servers(names).send_timeout(limit);
    (options.client.api_timeout, options.client.connect_timeout) = (BOUND, BOUND);
    options.start().unwrap()
}

/// The error of a synchronous send, an asynchronous one, and a oneway one; each within bounds, and
/// the shutdown too.
fn failures(names: &str) -> [ClientError; 2] {
    failures_of(producer(names))
}

/// The same where the name server answers, and the broker fails at once.
fn failures_at_the_broker(names: &str) -> [ClientError; 2] {
    failures_of(patient_producer(names, BOUND / 2))
}

fn failures_of(producer: Producer) -> [ClientError; 2] {
    let began = Instant::now();
    let message = Message::new("T", "x");
    let sync = producer.send(&message).unwrap_err();
    assert!(began.elapsed() < BOUND, "{sync}: {:?}", began.elapsed());
    let (to, outcome) = channel();
    let started = producer.send_async(&message, move |result| drop(to.send(result)));
    let background = match started {
        Ok(()) => outcome.recv_timeout(BOUND).expect("an outcome").unwrap_err(),
        Err(error) => error,
    };
    // A oneway send may go nowhere, but it does not hang.
    let _ = producer.send_oneway(&message);
    producer.shutdown();
    assert!(began.elapsed() < 4 * BOUND, "{:?}", began.elapsed());
    [sync, background]
}

#[test]
fn no_name_server() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for error in failures(&nobody) {
        assert!(matches!(error, ClientError::NameServer { .. }), "{error}");
        assert_eq!(error.code(), 10001);
        assert!(error.to_string().contains(&nobody), "{error}");
    }
    let mut none = ProducerOptions::new("hostile");
    none.client.name_servers = Default::default();
    assert_eq!(none.start().err(), Some(ClientError::NoNameServer));
    for error in failures("no port") {
        assert!(error.to_string().contains("no port"), "{error}");
    }
}

#[test]
fn a_name_server_that_says_nothing_or_garbage() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for error in failures(&silent.local_addr().unwrap().to_string()) {
        assert!(matches!(error, ClientError::NameServer { .. }), "{error}");
    }
    // What a web server would answer.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let web_addr = web.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for error in failures(&web_addr) {
        assert!(matches!(error, ClientError::NameServer { .. }), "{error}");
    }
    for (body, what) in [("{\"brokerDatas\":7}", "JSON"), ("", "JSON"), ("{{{{", "JSON")] {
        let garbage = false_server(move |_, _| {
            Some(Command::response(0).with_body(body.as_bytes().to_vec()))
        });
        for error in failures_at_the_broker(&addr(&garbage)) {
            assert!(matches!(error, ClientError::Decode { .. }), "{body}: {error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
    let lost = false_server(|_, _| Some(Command::failure(17, "no route")));
    for error in failures_at_the_broker(&addr(&lost)) {
        assert_eq!(error, ClientError::NoRoute { topic: "T".into() });
    }
    // The first is down, the second answers: nobody notices.
    let nobody = format!("127.0.0.1:{}", free_port());
    let both = format!("{nobody};{}", addr(&lost));
    for error in failures_at_the_broker(&both) {
        assert_eq!(error, ClientError::NoRoute { topic: "T".into() });
    }
}

#[test]
fn a_route_that_leads_nowhere() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let names = names(&nobody);
    for error in failures_at_the_broker(&addr(&names)) {
        assert!(matches!(error, ClientError::SendFailed { .. }), "{error}");
        assert_eq!(error.code(), 10001, "{error}");
        assert!(error.to_string().contains(&nobody), "{error}");
    }
    let slaves = false_server(|_, _| {
        let route = r#"{"brokerDatas":[{"brokerAddrs":{"1":"127.0.0.1:1"},"brokerName":"b","cluster":"c"}],
            "queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":2,"writeQueueNums":2}]}"#;
        Some(Command::response(0).with_body(route.as_bytes().to_vec()))
    });
    for error in failures_at_the_broker(&addr(&slaves)) {
        assert!(matches!(error, ClientError::NoBroker { .. }), "{error}");
    }
}

#[test]
fn a_broker_that_never_answers_or_answers_wrong() {
    let silent = false_server(|_, _| None);
    let at = names(&addr(&silent));
    until("sends that wait for an answer", 4 * BOUND, || {
        let errors = failures_of(patient_producer(&addr(&at), WAITED_FOR));
        assert!(errors.iter().all(|error| error.code() == 10002), "{errors:?}");
        // Whoever is not let run for so long has not even asked.
        errors.iter().all(|error| error.to_string().contains("no answer")).then_some(())
    });
    let busy = false_server(|_, _| Some(Command::failure(2, "[TIMEOUT_CLEAN_QUEUE]")));
    let at = names(&addr(&busy));
    for error in failures_at_the_broker(&addr(&at)) {
        assert!(error.is_busy() && error.code() == 2, "{error}");
        assert!(error.to_string().contains("[TIMEOUT_CLEAN_QUEUE]"), "{error}");
    }
    let headless = false_server(|_, _| Some(Command::response(0)));
    let at = names(&addr(&headless));
    for error in failures_at_the_broker(&addr(&at)) {
        assert!(error.to_string().contains("msgId"), "{error}");
    }
    let closes = false_server(|reply, _| {
        reply.connection().close("a trick");
        None
    });
    let at = names(&addr(&closes));
    for error in failures_at_the_broker(&addr(&at)) {
        assert!(matches!(error, ClientError::SendFailed { .. }), "{error}");
    }
}

#[test]
fn answers_that_come_late_or_twice_reach_nobody() {
    let stored = || {
        let mut response = Command::response(0);
        for (name, value) in [("msgId", "7F00000100002A9F0000000000000000"), ("queueId", "1")] {
            response.fields.push_str(name, value);
        }
        response.fields.push_str("queueOffset", "5");
        response
    };
    let (to, held) = channel();
    let to = Mutex::new(Some(to));
    let broker = false_server(move |reply, request| {
        if request.code != 310 {
            return Some(Command::response(0));
        }
        match to.lock().unwrap().take() {
            // Late: the test answers it after the limit of the call.
            Some(to) => {
                to.send(reply.clone()).unwrap();
                None
            }
            // Twice.
            None => {
                reply.send(stored());
                reply.send(stored());
                None
            }
        }
    });
    let at = names(&addr(&broker));
    // Both use one connection: the late answer comes to who sends after that.
    let start = |group: &str, timeout: Duration| {
        let client = ClientOptions::default().name_servers(addr(&at)).instance_name("late");
        let options = ProducerOptions::new(group).client(client);
        options.send_timeout(timeout).retries(0).start().unwrap()
    };
    let (impatient, producer) = (start("impatient", WAITED_FOR), start("hostile", BOUND));
    let message = Message::new("T", "x");
    // The route is known when the time counts.
    impatient.queues("T").unwrap();
    until("a send that waits for an answer", 2 * BOUND, || {
        let error = impatient.send(&message).unwrap_err();
        assert_eq!(error.code(), 10002, "{error}");
        error.to_string().contains("no answer").then_some(())
    });
    held.recv_timeout(BOUND).expect("the request").send(stored());
    let outcomes = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        assert_eq!(producer.send(&message).unwrap().queue_offset, 5);
        let outcomes = Arc::clone(&outcomes);
        producer
            .send_async(&message, move |result| {
                assert_eq!(result.unwrap().queue_offset, 5);
                outcomes.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
    }
    producer.shutdown();
    impatient.shutdown();
    assert_eq!(outcomes.load(Ordering::SeqCst), 20, "each outcome is told once, before the end");
}

#[test]
fn illegal_arguments_are_refused_before_anybody_is_asked() {
    let began = Instant::now();
    let nobody = "127.0.0.1:1";
    assert!(ProducerOptions::new("a group").name_servers(nobody).start().is_err());
    assert!(ProducerOptions::new("DEFAULT_PRODUCER").name_servers(nobody).start().is_err());
    let listener =
        |_: &[_], _: &mut rocketmq::client::ConcurrentContext<'_>| ConsumeResult::Success;
    let options = || ConsumerOptions::new("group").name_servers(nobody);
    assert!(options().subscribe("a topic", "*").start_concurrent(listener).is_err());
    assert!(options().subscribe("T", "||").start_concurrent(listener).is_err());
    assert!(options().consume_threads(0).start_concurrent(listener).is_err());
    let producer = producer(nobody);
    let refused = |message: Message| {
        let error = producer.send(&message).unwrap_err();
        assert!(matches!(error, ClientError::Invalid(_)), "{error}");
    };
    refused(Message::new("", "x"));
    refused(Message::new("T", ""));
    refused(Message::new("a b", "x"));
    refused(Message::new("SCHEDULE_TOPIC_XXXX", "x"));
    refused(Message::new("T", vec![0; 4 * 1024 * 1024 + 1]));
    refused(Message::new("T", "x").with_property("a\u{1}", "b"));
    refused(Message::new("T", "x").with_property("a", "b".repeat(40_000)));
    refused(Message::new("T", "x").with_property("DELAY", "soon"));
    assert!(began.elapsed() < BOUND);
    // The same group twice under one client id, and one id with two lists of name servers.
    let named = |list: &str| {
        let client = ClientOptions::default().name_servers(list).instance_name("hostile-twice");
        ProducerOptions::new("twice").client(client)
    };
    let first = named(nobody).start().unwrap();
    assert!(matches!(named(nobody).start().err(), Some(ClientError::Invalid(_))));
    assert!(matches!(named("127.0.0.1:2").start().err(), Some(ClientError::Invalid(_))));
    first.shutdown();
    named("127.0.0.1:2").start().unwrap();
}

#[test]
fn a_broker_that_does_not_read_slows_its_clients_down_and_keeps_their_memory_small() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = names(&deaf.local_addr().unwrap().to_string());
    let producer = patient_producer(&addr(&at), WAITED_FOR);
    // What does not compress, so that it must all be written.
    let mut seed = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(1 << 20)
    .collect();
    let message = Message::new("T", noise);
    let began = Instant::now();
    let refused = (0..1000).find_map(|_| producer.send_oneway(&message).err());
    let refused = refused.expect("a limit");
    assert!(refused.to_string().contains("not read"), "{refused}");
    assert!(began.elapsed() < 4 * BOUND, "{:?}", began.elapsed());
    let (to, outcomes) = channel();
    let mut started = 0;
    for _ in 0..50 {
        let to = to.clone();
        match producer.send_async(&message, move |result| drop(to.send(result))) {
            Ok(()) => started += 1,
            Err(error) => assert!(error.to_string().contains("in flight"), "{error}"),
        }
    }
    assert!((30..=50).contains(&started), "{started} of 50 MiB fit into 32");
    for _ in 0..started {
        assert!(outcomes.recv_timeout(2 * BOUND).expect("an outcome").is_err());
    }
    producer.shutdown();
    assert!(began.elapsed() < 6 * BOUND, "{:?}", began.elapsed());
    deaf.set_nonblocking(true).unwrap();
    assert!(deaf.accept().is_ok());
    assert!(deaf.accept().is_err(), "one connection served for all of it");
}
