//! No thread of a client outlives its shutdown, whatever its servers do; a shutdown is short. Alone
//! in its process, since it counts threads.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rocketmq::client::{
    ClientOptions, ConsumeResult, ConsumerOptions, LitePullOptions, OrderlyResult, ProducerOptions,
    PullConsumer, TransactionState,
};
use rocketmq::common::message::Message;

/// Threads of this process by name.
fn threads() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread that ended meanwhile has no name.
        if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
            *names.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    names
}

/// Starts one client of every kind, lets them try, and shuts them down.
fn all_kinds(names: &str) {
    let short = Duration::from_millis(300);
    let mut client = ClientOptions::default().name_servers(names);
    (client.api_timeout, client.connect_timeout) = (short, short);
    let producer = ProducerOptions::new("p").client(client.clone()).send_timeout(short);
    let transactions =
        producer.clone().group("t").start_transactional(|_| TransactionState::Commit).unwrap();
    let producer = producer.start().unwrap();
    let consumer = ConsumerOptions::new("c").client(client.clone()).subscribe("T", "*");
    let orderly = consumer.clone().group("o").start_orderly(|_, _| OrderlyResult::Success).unwrap();
    let concurrent = consumer.start_concurrent(|_, _| ConsumeResult::Success).unwrap();
    let lite = LitePullOptions::new("l").client(client.clone()).start().unwrap();
    let pull = PullConsumer::start("pull", client).unwrap();

    let message = Message::new("T", "x");
    assert!(producer.send(&message).is_err());
    let _ = producer.send_async(&message, |result| assert!(result.is_err()));
    let _ = producer.send_oneway(&message);
    assert!(transactions.send_in_transaction(&message, |_| TransactionState::Commit).is_err());
    let _ = lite.subscribe("T", "*");
    assert!(lite.poll_for(short).unwrap().is_empty());
    assert!(pull.queues("T").is_err());

    let began = Instant::now();
    producer.shutdown();
    producer.shutdown();
    concurrent.shutdown();
    orderly.shutdown();
    lite.shutdown();
    pull.shutdown();
    // By their drop: the transaction producer.
    drop((producer, transactions, concurrent, orderly, lite, pull));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn nothing_is_left_of_a_client_that_was_shut_down() {
    let before = threads();
    all_kinds("127.0.0.1:1");
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    all_kinds(&silent.local_addr().unwrap().to_string());
    let deadline = Instant::now() + Duration::from_secs(60);
    while threads() != before {
        assert!(Instant::now() < deadline, "before: {before:?}\nnow: {:?}", threads());
        std::thread::sleep(Duration::from_millis(10));
    }
}
