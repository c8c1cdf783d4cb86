//! What options of a client say to brokers, and which broker they lead to, seen from false ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq::client::{ClientOptions, LitePullOptions, ProducerOptions};
use rocketmq::common::message::Message;
use rocketmq::remoting::Command;
use rocketmq::remoting::server::RunningServer;

use crate::false_server::{addr, false_server};
use crate::site::SOON;
use crate::support::until;

const PULL: i32 = 11;
const QUERY_OFFSET: i32 = 14;
const MAX_OFFSET: i32 = 30;
const HEARTBEAT: i32 = 34;
const SEND_V2: i32 = 310;

/// A name server whose brokers each have one queue of every topic: name, id and address.
fn names(brokers: &[(&str, i64, String)]) -> RunningServer {
    let mut datas: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, id, addr) in brokers {
        let entry = format!(r#""{id}":"{addr}""#);
        match datas.iter_mut().find(|(known, _)| known == name) {
            Some((_, addrs)) => addrs.push(entry),
            None => datas.push((name, vec![entry])),
        }
    }
    let data = |(name, addrs): &(&str, Vec<String>)| {
        let addrs = addrs.join(",");
        format!(r#"{{"brokerAddrs":{{{addrs}}},"brokerName":"{name}","cluster":"c"}}"#)
    };
    let queue = |(name, _): &(&str, Vec<String>)| {
        format!(
            r#"{{"brokerName":"{name}","perm":6,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1}}"#
        )
    };
    let route = format!(
        r#"{{"brokerDatas":[{}],"filterServerTable":{{}},"queueDatas":[{}]}}"#,
        datas.iter().map(data).collect::<Vec<_>>().join(","),
        datas.iter().map(queue).collect::<Vec<_>>().join(",")
    );
    false_server(move |_, _| Some(Command::response(0).with_body(route.clone().into_bytes())))
}

/// Options of a client that waits for its answers: the machine may be busy.
fn patient(names: &RunningServer) -> ClientOptions {
    let mut options = ClientOptions::default().name_servers(addr(names));
    (options.api_timeout, options.connect_timeout) = (SOON, SOON);
    options
}

fn stored() -> Command {
    let mut response = Command::response(0);
    for (name, value) in
        [("msgId", "7F00000100002A9F0000000000000000"), ("queueId", "0"), ("queueOffset", "0")]
    {
        response.fields.push_str(name, value);
    }
    response
}

#[test]
fn a_client_of_a_unit_says_so() {
    let seen: Arc<Mutex<Vec<Command>>> = Arc::default();
    let shared = Arc::clone(&seen);
    let broker = false_server(move |_, request| {
        shared.lock().unwrap().push(request.clone());
        Some(if request.code == SEND_V2 { stored() } else { Command::response(0) })
    });
    let names = names(&[("a", 0, addr(&broker))]);
    let common = patient(&names).unit_mode(true);
    let producer = ProducerOptions::new("shop").client(common.clone()).send_timeout(SOON);
    let producer = producer.start().unwrap();
    producer.send(&Message::new("T", "x")).unwrap();
    let consumer = LitePullOptions::new("audit").client(common).start().unwrap();
    consumer.subscribe("T", "*").unwrap();
    until("send and heartbeat", SOON, || {
        let seen = seen.lock().unwrap();
        let sent = seen.iter().find(|request| request.code == SEND_V2)?;
        assert_eq!(sent.fields.get("k"), Some("true"));
        let is_heartbeat = |request: &&Command| {
            request.code == HEARTBEAT && {
                let body = String::from_utf8_lossy(request.body.as_bytes()).into_owned();
                body.contains("\"audit\"") && body.contains("\"unitMode\":true")
            }
        };
        seen.iter().find(is_heartbeat).map(drop)
    });
}

#[test]
fn a_consumer_reads_the_broker_of_its_choice() {
    let pulls: Arc<[AtomicUsize; 2]> = Arc::default();
    let broker = |id: usize| {
        let pulls = Arc::clone(&pulls);
        false_server(move |_, request| match request.code {
            PULL => {
                pulls[id].fetch_add(1, Ordering::SeqCst);
                let mut nothing = Command::response(19);
                // It suggests the master, again and again.
                for (name, value) in [
                    ("suggestWhichBrokerId", 0),
                    ("nextBeginOffset", 0),
                    ("minOffset", 0),
                    ("maxOffset", 0),
                ] {
                    nothing.fields.push_int(name, value);
                }
                std::thread::sleep(Duration::from_millis(5));
                Some(nothing)
            }
            QUERY_OFFSET => {
                let mut none = Command::response(0);
                none.fields.push_int("offset", 0);
                Some(none)
            }
            _ => Some(Command::response(0)),
        })
    };
    let (master, slave) = (broker(0), broker(1));
    let names = names(&[("a", 0, addr(&master)), ("a", 1, addr(&slave))]);
    let mut options = LitePullOptions::new("audit").client(patient(&names));
    options.client.read_from_broker = Some(1);
    let consumer = options.start().unwrap();
    consumer.assign(consumer.queues("T").unwrap(), "*").unwrap();
    until("pulls", SOON, || (pulls[1].load(Ordering::SeqCst) >= 5).then_some(()));
    assert_eq!(pulls[0].load(Ordering::SeqCst), 0, "nobody asked the master");
}

#[test]
fn a_broker_that_failed_is_used_again_as_soon_as_it_answers() {
    let works = Arc::new(AtomicBool::new(false));
    let sends: Arc<[AtomicUsize; 2]> = Arc::default();
    let (state, counts) = (Arc::clone(&works), Arc::clone(&sends));
    let weak = false_server(move |_, request| match request.code {
        SEND_V2 => {
            counts[0].fetch_add(1, Ordering::SeqCst);
            let works = state.load(Ordering::SeqCst);
            Some(if works { stored() } else { Command::failure(14, "it is full") })
        }
        // Without an answer it gives no sign of life.
        MAX_OFFSET => state.load(Ordering::SeqCst).then(|| {
            let mut end = Command::response(0);
            end.fields.push_int("offset", 0);
            end
        }),
        _ => Some(Command::response(0)),
    });
    let counts = Arc::clone(&sends);
    let strong = false_server(move |_, request| {
        if request.code == SEND_V2 {
            counts[1].fetch_add(1, Ordering::SeqCst);
            return Some(stored());
        }
        Some(Command::response(0))
    });
    let names = names(&[("weak", 0, addr(&weak)), ("strong", 0, addr(&strong))]);
    let producer = ProducerOptions::new("shop")
        .client(patient(&names))
        .send_timeout(SOON)
        .avoid_slow_brokers(true)
        // Only failures count: the machine may be busy.
        .latency_penalties(vec![(Duration::from_secs(30), Duration::from_secs(600))])
        .probe_brokers(true)
        .probe_interval(Duration::from_millis(20))
        .probe_timeout(Duration::from_secs(5))
        .start()
        .unwrap();
    let message = Message::new("T", "x");
    for _ in 0..20 {
        producer.send(&message).unwrap();
    }
    assert_eq!(sends[0].load(Ordering::SeqCst), 1, "it failed once, and was avoided then");
    assert_eq!(sends[1].load(Ordering::SeqCst), 20);
    works.store(true, Ordering::SeqCst);
    until("a send to the broker that is back", SOON, || {
        producer.send(&message).unwrap();
        (sends[0].load(Ordering::SeqCst) > 1).then_some(())
    });
    let began = Instant::now();
    producer.shutdown();
    assert!(began.elapsed() < SOON);
}
