//! Clients that do what none should: producers that never end their transactions, consumers that die
//! holding a queue, groups of very many members, more waiting pulls than a broker holds. Each is bounded,
//! and others are served meanwhile.

mod support;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rocketmq::broker::hold::MAX_HELD_PULLS;
use rocketmq::remoting::protocol::{request_code as request, response_code as code};

use support::site::Site;
use support::wire::{Wire, frame, receive};
use support::{TempDir, may_open_files, until};

const LONG: Duration = Duration::from_secs(60);
/// What others may wait for their answers meanwhile. Generous: the machine may be busy.
const PROMPT: Duration = Duration::from_secs(45);

/// A send and a pull of somebody who has nothing to do with it all.
fn assert_others_are_served(site: &Site, meanwhile: &str) {
    let began = Instant::now();
    site.send("Neighbour", &[], "hello");
    let end = site.broker.broker.store.max_offset("Neighbour", 0);
    let answer = site.pull("Neighbour", (end - 1).max(0), "*", 30_000);
    assert_eq!(answer.code, code::SUCCESS, "{meanwhile}: {:?}", answer.remark);
    assert!(began.elapsed() < PROMPT, "{meanwhile}: {:?}", began.elapsed());
}

/// One that sends half messages and is never heard of again.
#[test]
fn half_messages_that_nobody_ends_are_given_up_after_their_checks() {
    const HALF: i64 = 200;
    let dir = TempDir::new("never-ends");
    let site = Site::new(dir.path(), |configuration| {
        configuration.broker.transaction_time_out = 50;
        configuration.broker.transaction_check_interval = 100;
        configuration.broker.transaction_check_max = 2;
    });
    for _ in 0..HALF {
        site.send("T", &[("TRAN_MSG", "true"), ("PGROUP", "gone")], "half");
    }
    let store = &site.broker.broker.store;
    let given_up = || store.max_offset("TRANS_CHECK_MAX_TIME_TOPIC", 0);
    until("all are given up", LONG, || (given_up() == HALF).then_some(()));
    assert_others_are_served(&site, "after the checks");
    // Each was stored once, put back twice, and nothing more comes of it.
    assert_eq!(store.max_offset("RMQ_SYS_TRANS_HALF_TOPIC", 0), 3 * HALF);
    assert_eq!(store.max_offset("T", 0), 0);
    let passed = || {
        let offsets = &site.broker.broker.consumer_offsets;
        offsets.get("CID_RMQ_SYS_TRANS", "RMQ_SYS_TRANS_HALF_TOPIC", 0)
    };
    until("they are passed", LONG, || (passed() == Some(3 * HALF)).then_some(()));
    assert_eq!(given_up(), HALF);
}

/// The queue stays its until the lock expires; all others can be had.
#[test]
fn a_consumer_that_dies_with_a_lock_keeps_that_queue_only() {
    let dir = TempDir::new("dies-locking");
    let site = Site::new(dir.path(), |_| {});
    let lock = |wire: &mut Wire, client: &str, queues: &[i32]| {
        let queues: Vec<String> = queues
            .iter()
            .map(|id| format!(r#"{{"brokerName":"broker-a","queueId":{id},"topic":"T"}}"#))
            .collect();
        let body = format!(
            r#"{{"clientId":"{client}","consumerGroup":"g","mqSet":[{}]}}"#,
            queues.join(",")
        );
        let reply = wire.must(request::LOCK_BATCH_MQ, &[], body.as_bytes());
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        [0, 1].map(|id| text.contains(&format!("\"queueId\":{id}")))
    };
    let mut first = Wire::connect(&site.addr);
    assert_eq!(lock(&mut first, "a", &[0]), [true, false]);
    drop(first);
    let mut second = Wire::connect(&site.addr);
    assert_eq!(lock(&mut second, "b", &[0, 1]), [false, true]);
    // It comes back, and has what it had.
    let mut again = Wire::connect(&site.addr);
    assert_eq!(lock(&mut again, "a", &[0, 1]), [true, false]);
    assert_others_are_served(&site, "while a lock is held");
}

/// Each member that comes or goes is news for all others: that must not grow with the square.
#[test]
fn a_group_of_many_members_comes_and_goes() {
    const MEMBERS: usize = 1000;
    if !may_open_files(3 * MEMBERS as u64, "a group of many members") {
        return;
    }
    let dir = TempDir::new("many-members");
    let site = Site::new(dir.path(), |_| {});
    let listed = || {
        let answer =
            site.call(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "crowd")], b"");
        String::from_utf8_lossy(answer.body.as_bytes()).matches("member-").count()
    };
    let mut members: Vec<TcpStream> = (0..MEMBERS)
        .map(|number| {
            let body = format!(
                r#"{{"clientID":"member-{number}","consumerDataSet":[{{"groupName":"crowd","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{{"topic":"T","subString":"*","subVersion":{number}}}]}}],"producerDataSet":[]}}"#
            );
            let mut socket = TcpStream::connect(&site.addr).expect("a connection");
            let heartbeat = frame(request::HEART_BEAT, 1, &[], body.as_bytes());
            socket.write_all(&heartbeat).expect("a heartbeat");
            socket
        })
        .collect();
    until("all are members", LONG, || (listed() == MEMBERS).then_some(()));
    assert_others_are_served(&site, "with a crowd");
    // The last one to come is told of, at least once, and by no more than one notice a member.
    let mut first = BufReader::new(members.remove(0));
    let mut notices = 0;
    first.get_ref().set_read_timeout(Some(LONG)).expect("a socket");
    while notices == 0 {
        let reply = receive(&mut first).expect("a notice");
        notices += usize::from(reply.code() == request::NOTIFY_CONSUMER_IDS_CHANGED);
    }
    first.get_ref().set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    while let Ok(reply) = receive(&mut first) {
        notices += usize::from(reply.code() == request::NOTIFY_CONSUMER_IDS_CHANGED);
    }
    assert!((1..=MEMBERS).contains(&notices), "{notices} notices");
    drop(members);
    until("all but one are gone", LONG, || (listed() == 1).then_some(()));
    assert!(site.broker.broker.consumers.disagreeing_groups().is_empty());
}

/// Pulls beyond what a broker holds are told so at once, and the held ones stay.
#[test]
fn more_waiting_pulls_than_are_held_are_refused() {
    const CONNECTIONS: usize = 10;
    const BEYOND: usize = 1000;
    let dir = TempDir::new("many-holds");
    let site = Site::new(dir.path(), |_| {});
    site.send("Held", &[], "so that there is a topic");
    let fields = [
        ("consumerGroup", "consumers"),
        ("topic", "Held"),
        ("queueId", "0"),
        ("queueOffset", "1"),
        ("maxMsgNums", "1"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "600000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    let held = &site.broker.broker.held_pulls;
    let mut connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(&site.addr).expect("a connection")).collect();
    let pull = frame(request::PULL_MESSAGE, 1, &fields, b"");
    until("the topic is there", LONG, || {
        (site.broker.broker.store.max_offset("Held", 0) == 1).then_some(())
    });
    for connection in &mut connections {
        let many = pull.repeat(MAX_HELD_PULLS / CONNECTIONS);
        connection.write_all(&many).expect("pulls");
    }
    until("so many are held", LONG, || (held.len() == MAX_HELD_PULLS).then_some(()));
    assert_others_cannot_hold_but_are_served(&site);
    let mut late = TcpStream::connect(&site.addr).expect("a connection");
    late.write_all(&pull.repeat(BEYOND)).expect("pulls");
    let mut answers = BufReader::new(late);
    for _ in 0..BEYOND {
        let reply = receive(&mut answers).expect("an answer");
        assert_eq!(reply.code(), code::SYSTEM_BUSY);
        assert!(reply.remark().contains("too many pulls are held"), "{}", reply.remark());
    }
    assert_eq!(held.len(), MAX_HELD_PULLS);
    // One message ends them all.
    site.send("Held", &[], "wake up");
    until("none is held", LONG, || held.is_empty().then_some(()));
}

/// A neighbour's message is found at once; only waiting is not to be had.
fn assert_others_cannot_hold_but_are_served(site: &Site) {
    site.send("Neighbour", &[], "hello");
    let served = || site.pull("Neighbour", 0, "*", 0).code == code::SUCCESS;
    until("the neighbour is served", PROMPT, || served().then_some(()));
    let answer = site.pull("Neighbour", 1, "*", 5000);
    assert_eq!(answer.code, code::SYSTEM_BUSY, "{:?}", answer.remark);
}
