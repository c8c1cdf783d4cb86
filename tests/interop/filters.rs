//! Consumers that filter by an SQL92 expression: each gets what passes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::clients::{Client, Got};
use crate::matrix::{LONG, Site, TOPIC};
use crate::support::java_peer::Servers;
use crate::support::servers::{Server, wait_for_route};
use crate::support::wire::{borrowed, code, send_fields};
use crate::support::{TempDir, free_port, until};
use crate::{needed, prepared};

const COUNT: usize = 1000;
const TAGS: [&str; 5] = ["a", "b", "标签", "d", "ü"];
/// A broker that filters, and notes at dispatch which groups want a message.
const KEYS: [(&str, &str); 3] = [
    ("enablePropertyFilter", "true"),
    ("enableCalcFilterBitMap", "true"),
    ("enableConsumeQueueExt", "true"),
];

/// Tells the units of a queue, and what a group's filter says of each.
const QUERY_CONSUME_QUEUE: i32 = 321;

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
    let mut deadline = Instant::now() + LONG;
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

/// A broker's store, with the filter of a group that went and came back.
fn bit_maps_move(from: &Servers, to: &Servers) {
    let Some([java]) = prepared([Client::Java498]) else { return };
    let dir = TempDir::new("interop-filters");
    let namesrv = Servers::Ours.namesrv(dir.path());
    let store = dir.path().join("store");
    let (root, log) = (store.display().to_string(), store.join("commitlog").display().to_string());
    let keys = [&KEYS[..], &[("storePathRootDir", &root), ("storePathCommitLog", &log)]].concat();
    let port = free_port();
    let place = [&namesrv.addr(), TOPIC, "Moving"];
    let (sql, passes) = FILTERS[0];
    let (sender, deliveries) = channel();

    let mut first = from.broker_at(dir.path(), port, Some(&namesrv.addr()), &keys);
    wait_for_route(&namesrv.addr(), "TBW102");
    first.wire().create_topic(TOPIC, 2);
    wait_for_route(&namesrv.addr(), TOPIC);
    // A queue is told of once it has a message; this one does not pass.
    first.wire().must(code::SEND, &borrowed(&send_fields(TOPIC, 0, "probe")), b"probe");
    let consumer = java.consume_by_sql(dir.path(), place, sql, 0, sender.clone());
    let fields = [("topic", TOPIC), ("queueId", "0"), ("index", "0"), ("count", "2000")];
    let units = |server: &Server| {
        let fields = [&fields[..], &[("consumerGroup", "Moving")]].concat();
        let reply = server.wire().call(QUERY_CONSUME_QUEUE, &fields, b"");
        String::from_utf8_lossy(&reply.body).into_owned()
    };
    until("the filter is registered", LONG, || units(&first).contains("bitPos").then_some(()));
    consumer.close();
    java.produce(dir.path(), &namesrv.addr(), TOPIC, COUNT as u32);
    first.process.stop(LONG);

    let second = to.broker_at(dir.path(), port, Some(&namesrv.addr()), &keys);
    let consumer = java.consume_by_sql(dir.path(), place, sql, 0, sender);
    let mut got = BTreeSet::new();
    let count = (0..COUNT).filter(|number| passes(*number)).count();
    while let Ok(Got { key, .. }) =
        deliveries.recv_timeout(if got.len() < count { LONG } else { Duration::from_secs(2) })
    {
        got.insert(key.strip_prefix("7-").and_then(|number| number.parse().ok()).unwrap_or(0));
    }
    assert_eq!(got, (0..COUNT).filter(|number| passes(*number)).collect());
    // The group's bits, which the first broker set, keep messages away before their records are read.
    let units = units(&second);
    assert!(units.contains("\"eval\":true") && units.contains("\"eval\":false"), "{units:.2000}");
    consumer.close();
}

#[test]
fn bit_maps_move_to_a_java_broker() {
    let Some(official) = needed("the Java server 4.9.7", Servers::java("4.9.7")) else { return };
    bit_maps_move(&Servers::Ours, &official);
}

#[test]
fn bit_maps_move_from_a_java_broker() {
    let Some(official) = needed("the Java server 4.9.7", Servers::java("4.9.7")) else { return };
    bit_maps_move(&official, &Servers::Ours);
}
