//! Consumers that filter by an SQL92 expression: each gets what passes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::clients::{Client, Got};
use crate::matrix::{Site, TOPIC};
use crate::prepared;
use crate::support::java_peer::Servers;

const COUNT: usize = 1000;
const TAGS: [&str; 5] = ["a", "b", "标签", "d", "ü"];
/// A broker that filters, and notes at dispatch which groups want a message.
const KEYS: [(&str, &str); 3] = [
    ("enablePropertyFilter", "true"),
    ("enableCalcFilterBitMap", "true"),
    ("enableConsumeQueueExt", "true"),
];

/// An expression and which numbers pass it.
type Case = (&'static str, fn(usize) -> bool);

const FILTERS: [Case; 3] = [
    ("number BETWEEN 100 AND 199 OR TAGS = '标签'", |number| {
        (100..200).contains(&number) || TAGS[number % 5] == "标签"
    }),
    ("KEYS IN ('7-1', '7-997') OR number = 500 AND missing IS NULL", |number| {
        [1, 997, 500].contains(&number)
    }),
    ("TAGS <> 'a' AND NOT (number < 990.0)", |number| number >= 990 && TAGS[number % 5] != "a"),
];

#[test]
fn consumers_get_what_passes_their_expression() {
    let wanted = [Client::Java498, Client::Java533, Client::Go, Client::Ours];
    let Some(clients) = prepared(wanted) else { return };
    let make = Servers::from_env();
    let site = Site::start_with(&make, &make, &KEYS);
    let (home, namesrv) = (site.dir.path(), site.namesrv.addr());
    let (to, deliveries) = channel();
    let mut consumers = Vec::new();
    let mut expected = Vec::new();
    for (client_number, client) in clients.iter().enumerate() {
        for (filter_number, (sql, passes)) in FILTERS.iter().enumerate() {
            // All expressions of the first client, another one of each of the others.
            if client_number > 0 && filter_number != client_number % FILTERS.len() {
                continue;
            }
            let group = format!("Sql{filter_number}_{:?}", client.client);
            let place = [namesrv.as_str(), TOPIC, &group];
            let member = expected.len();
            consumers.push(client.consume_by_sql(home, place, sql, member, to.clone()));
            expected.push((group, (0..COUNT).filter(|number| passes(*number)).count(), passes));
        }
    }

    clients[0].produce(home, &namesrv, TOPIC, COUNT as u32);
    let mut got: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let complete = |got: &BTreeMap<usize, BTreeSet<usize>>| {
        let received = |member: usize| got.get(&member).map_or(0, BTreeSet::len);
        expected.iter().enumerate().all(|(member, (_, count, _))| received(member) >= *count)
    };
    let mut deadline = Instant::now() + Duration::from_secs(60);
    let mut is_complete = false;
    loop {
        match deliveries.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Got { member, key, .. }) => {
                let number = key.strip_prefix("7-").and_then(|number| number.parse().ok());
                let number: usize = number.unwrap_or_else(|| panic!("{key}"));
                let (group, _, passes) = &expected[member];
                assert!(passes(number), "{group} got {number}, which does not pass");
                got.entry(member).or_default().insert(number);
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("all consumers ended"),
        }
        if !is_complete && complete(&got) {
            // What should not come may still come.
            is_complete = true;
            deadline = Instant::now() + Duration::from_secs(2);
        }
    }
    for (member, (group, count, _)) in expected.iter().enumerate() {
        assert_eq!(got.get(&member).map_or(0, BTreeSet::len), *count, "{group}");
    }
    for consumer in consumers {
        consumer.close();
    }
}

#[test]
fn a_java_consumer_with_a_bad_expression_is_told_where() {
    let Some([old, new]) = prepared([Client::Java498, Client::Java533]) else { return };
    let make = Servers::from_env();
    let site = Site::start_with(&make, &make, &KEYS);
    for java in [old, new] {
        let place = [&site.namesrv.addr(), TOPIC, "Bad"];
        let said = java.refusal(site.dir.path(), place, "number > 5 AND TAGS = = 'a'");
        assert!(said.contains("failed") && said.contains("column 23"), "{:?}: {said}", java.client);
    }
}
