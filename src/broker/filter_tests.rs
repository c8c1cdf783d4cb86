//! Filters as consumers see them, over sockets, against a whole broker.
#![cfg(test)]

use std::time::{Duration, Instant};

use super::*;
use crate::broker::testing::{Folder, TestBroker, wait_until};
use crate::common::checksum::tags_code;
use crate::common::message::MessageExt;
use crate::common::record::read_messages;
use crate::remoting::Command;

/// sysFlag of a pull that may be held, and of one that brings its subscription.
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;

#[test]
fn tags() {
    let filter = TagFilter::parse(Some("TagA || TagB")).unwrap();
    assert!(filter.matches_queue(Some(tags_code(Some("TagA"))), None));
    assert!(filter.matches_queue(Some(tags_code(Some("TagB"))), None));
    assert!(!filter.matches_queue(Some(tags_code(Some("TagC"))), None));
    assert!(!filter.matches_queue(Some(0), None), "a message without a tag");
    assert!(filter.matches_queue(None, None), "the code is not known");
    for everything in [None, Some(""), Some("*")] {
        assert!(TagFilter::parse(everything).unwrap().wants_everything());
    }
    assert!(TagFilter::parse(Some("||")).is_err());
    assert!(TagFilter::parse(Some("||||")).is_err());
    let nothing = TagFilter::parse(Some(" ")).unwrap();
    assert!(!nothing.matches_queue(Some(0), None));
    let trailing = TagFilter::parse(Some("||TagA||")).unwrap();
    assert_eq!(trailing, TagFilter::parse(Some("TagA")).unwrap());
}

/// A unit that was stored after the filter was born, with a bit map of the right length, is passed
/// over if a bit is missing; any other unit is looked at by its record.
#[test]
fn bit_maps_are_believed_when_they_can_be_trusted() {
    let expression = Arc::new(crate::filter::compile("a > 5", Default::default()).unwrap());
    let bits = Bits { positions: [3, 8].into(), born_ms: 100, map_bytes: 2 };
    let filter = SqlFilter { expression, bits: Some(bits) };
    let matches = |store_timestamp, bit_map: &[u8]| {
        let ext = ExtUnit { tags_code: 0, store_timestamp, bit_map: bit_map.to_vec() };
        filter.matches_queue(Some(0), Some(&ext))
    };
    assert!(matches(101, &[8, 1]));
    assert!(!matches(101, &[8, 0]) && !matches(101, &[0, 1]));
    assert!(matches(100, &[0, 0]), "the message may be older than the filter");
    assert!(matches(101, &[0]) && matches(101, &[]) && matches(101, &[0, 0, 0]));
    assert!(filter.matches_queue(Some(0), None));
    assert!(!filter.matches_record(b"no record"));
}

fn filtering() -> TestBroker {
    let broker = TestBroker::start_with(|configuration| {
        configuration.broker.enable_property_filter = true;
        configuration.broker.enable_calc_filter_bit_map = true;
        configuration.broker.filter_support_retry = true;
        configuration.store.enable_consume_queue_ext = true;
    });
    broker.make_topic("T", "1");
    broker
}

/// Sends a message whose body is its property `a`.
fn send(broker: &TestBroker, topic: &str, a: &str, more: &str) {
    let properties = format!("a\u{1}{a}\u{2}{more}");
    broker.send_with(topic, "0", &properties, a);
}

fn heartbeat(broker: &TestBroker, group: &str, topic: &str, text: &str, version: i64) {
    let body = format!(
        r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"{group}","subscriptionDataSet":[
        {{"topic":"{topic}","subString":"{text}","expressionType":"SQL92","subVersion":{version}}}]}}],
        "producerDataSet":[]}}"#
    );
    broker.ask(34, &[], body);
}

fn pull(
    broker: &TestBroker,
    group: &str,
    topic: &str,
    offset: i64,
    more: &[(&str, &str)],
) -> Command {
    let offset = offset.to_string();
    let mut fields = vec![
        ("consumerGroup", group),
        ("topic", topic),
        ("queueOffset", offset.as_str()),
        ("maxMsgNums", "32"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "50000"),
    ];
    fields.extend(more);
    for (name, value) in [("queueId", "0"), ("sysFlag", "0"), ("subVersion", "1")] {
        if !more.iter().any(|(known, _)| *known == name) {
            fields.push((name, value));
        }
    }
    broker.call(11, &fields, "")
}

fn bodies(answer: &Command) -> Vec<String> {
    let messages = read_messages(answer.body.as_bytes()).unwrap();
    let body = |message: &MessageExt| String::from_utf8_lossy(&message.message.body).into_owned();
    messages.iter().map(body).collect()
}

fn refused(answer: &Command, code: i32, remark: &str) {
    let said = answer.remark.clone().unwrap_or_default();
    assert_eq!(answer.code, code, "{said}");
    assert!(said.contains(remark), "{said}");
}

/// A pull that brings its expression.
fn inline<'a>(kind: &'a str, text: &'a str) -> [(&'a str, &'a str); 3] {
    [("sysFlag", "4"), ("expressionType", kind), ("subscription", text)]
}

fn check_config(broker: &TestBroker, kind: &str, text: &str) -> Command {
    let body = format!(
        r#"{{"clientId":"c","group":"g","subscriptionData":{{"topic":"T","subString":"{text}","expressionType":"{kind}"}}}}"#
    );
    broker.call(46, &[], body)
}

#[test]
fn a_broker_that_filters_by_tags_only_says_so() {
    let broker = TestBroker::start();
    broker.make_topic("T", "1");
    let disabled = "The broker does not support consumer to filter message by SQL92";
    for text in ["a > 5", "a >"] {
        refused(&check_config(&broker, "SQL92", text), 1, disabled);
        refused(&pull(&broker, "g", "T", 0, &inline("SQL92", text)), 1, disabled);
    }
    assert_eq!(check_config(&broker, "TAG", "a").code, 0);
    heartbeat(&broker, "g", "T", "a > 5", 1);
    refused(&pull(&broker, "g", "T", 0, &[]), 1, disabled);
    heartbeat(&broker, "bad", "T", "a >", 1);
    refused(&pull(&broker, "bad", "T", 0, &[]), 27, "\"a >\" may be wrong");
}

#[test]
fn bad_expressions_are_answered_with_the_column() {
    let broker = filtering();
    assert_eq!(check_config(&broker, "SQL92", "a > 5").code, 0);
    refused(&check_config(&broker, "SQL92", "a > 5 and b"), 0, "");
    for text in ["a > 5 and b = c#", "a > 5 and b = @"] {
        let column = format!("line 1, column {}", text.len());
        refused(&check_config(&broker, "SQL92", text), 23, &column);
        refused(&pull(&broker, "g", "T", 0, &inline("SQL92", text)), 23, &column);
    }
    refused(&check_config(&broker, "LUA", "x"), 23, "expected SQL92");
    refused(&pull(&broker, "g", "T", 0, &inline("LUA", "x")), 23, "expected SQL92");
    refused(&pull(&broker, "g", "T", 0, &inline("SQL92", "")), 23, "empty");
    heartbeat(&broker, "g", "T", "a > 5", 7);
    let newer = [("subVersion", "8")];
    refused(&pull(&broker, "g", "T", 0, &newer), 25, "not latest");
    // The group's subscription is newer than its filter only between two steps of a heartbeat.
    heartbeat(&broker, "g", "T", "a >", 8);
    refused(&pull(&broker, "g", "T", 0, &newer), 27, "may be wrong");
}

#[test]
fn messages_are_filtered_with_and_without_bit_maps() {
    let broker = filtering();
    for a in ["3", "6", "x", "9"] {
        send(&broker, "T", a, "");
    }
    heartbeat(&broker, "g", "T", "a > 5", 1);
    heartbeat(&broker, "none", "T", "b = 1", 1);
    broker.settle();
    let born = broker.running.broker.consumer_filters.get("T", "g").unwrap().born_ms;
    while crate::common::clock::now_ms() <= born {
        std::thread::sleep(Duration::from_millis(1));
    }
    for a in ["4", "7"] {
        send(&broker, "T", a, "");
    }
    broker.settle();
    for more in [&[][..], &inline("SQL92", "a > 5")] {
        let answer = pull(&broker, "g", "T", 0, more);
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        assert_eq!(bodies(&answer), ["6", "9", "7"]);
        assert_eq!(answer.fields.get("nextBeginOffset"), Some("6"));
    }
    let answer = pull(&broker, "none", "T", 0, &[]);
    refused(&answer, 20, "NO_MATCHED_MESSAGE");
    assert_eq!(answer.fields.get("nextBeginOffset"), Some("6"));

    let fields =
        [("topic", "T"), ("queueId", "0"), ("index", "0"), ("count", "9"), ("consumerGroup", "g")];
    let units = broker.ask(321, &fields, "");
    let evaluated: Vec<_> =
        units.match_indices("\"eval\":").map(|(at, _)| &units[at + 7..at + 11]).collect();
    assert_eq!(evaluated, ["true", "true", "true", "true", "fals", "true"], "{units}");
    // Before anybody filtered the topic there was no bit map.
    assert!(
        units.contains(r#"{"bitMap":"","eval":true,"extendDataJson":"{\"filterBitMap\":\"\","#),
        "{units}"
    );
    assert!(units.contains(r#"\"filterBitMap\":\"AAAAAAAAAAAAAAAAAAA=\""#), "{units}");
    assert!(units.contains(r#"\"expression\":\"a > 5\""#), "{units}");
}

#[test]
fn a_held_pull_wakes_for_a_message_that_passes() {
    let broker = filtering();
    heartbeat(&broker, "g", "T", "a > 5", 1);
    let flags = (SUSPEND | SUBSCRIPTION).to_string();
    let [_, kind, text] = inline("SQL92", "a > 5");
    std::thread::scope(|scope| {
        let by_heartbeat = scope.spawn(|| pull(&broker, "g", "T", 0, &[("sysFlag", "2")]));
        let by_itself =
            scope.spawn(|| pull(&broker, "h", "T", 0, &[("sysFlag", &flags), kind, text]));
        let held = &broker.running.broker.held_pulls;
        wait_until("both are held", || held.len() == 2);
        let began = Instant::now();
        send(&broker, "T", "4", "");
        send(&broker, "T", "what", "");
        broker.settle();
        assert_eq!(held.len(), 2, "neither wants these");
        send(&broker, "T", "6", "");
        for answer in [by_heartbeat, by_itself] {
            assert_eq!(bodies(&answer.join().unwrap()), ["6"]);
        }
        assert!(began.elapsed() < Duration::from_secs(40), "not by its time");
    });
}

/// With filterSupportRetry, what was given back is filtered as at first, by its original topic.
#[test]
fn retried_messages_are_filtered_on_request() {
    let broker = filtering();
    heartbeat(&broker, "g", "T", "a > 5", 1);
    let retry = "%RETRY%g";
    for (a, topic) in [("4", "T"), ("6", "T"), ("5", "Other")] {
        send(&broker, retry, a, &format!("RETRY_TOPIC\u{1}{topic}"));
    }
    broker.settle();
    let answer = pull(&broker, "g", retry, 0, &inline("TAG", "*"));
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert_eq!(bodies(&answer), ["6", "5"]);
}

/// A store that a Java broker wrote while four groups had filters: their filters and the bit maps
/// of its messages are ours.
#[test]
fn bit_maps_of_a_java_broker_are_understood() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stores/filter-ext.tar.gz");
    let mut unpack = std::process::Command::new("tar");
    assert!(unpack.args(["-xzf", packed, "-C"]).arg(folder.path()).status().unwrap().success());
    let broker = TestBroker::start_with(|configuration| {
        configuration.broker.enable_property_filter = true;
        let store = &mut configuration.store;
        store.store_path_root_dir = folder.path().join("filter-ext").to_string_lossy().into_owned();
        store.enable_consume_queue_ext = true;
        store.mapped_file_size_consume_queue_ext = 2048;
        store.max_hash_slot_num = 1000;
        store.max_index_num = 4000;
        store.file_reserved_time = 87_600;
    });
    let its = &broker.running.broker;
    let (store, filters) = (&its.store, &its.consumer_filters);
    let registered = |group: &str| SqlFilter::registered(its, &filters.get("Flt", group).unwrap());
    for (group, text, matching) in [
        ("g_sql_0", "a > 5", 135),
        ("g_sql_1", "a BETWEEN 2 AND 7 AND color = 'red'", 32),
        ("g_sql_2", "color IN ('blue', '绿')", 120),
        ("g_sql_3", "b IS NOT NULL AND a < 3", 28),
    ] {
        let filter = registered(group);
        let (mut by_bits, mut by_record) = (0, 0);
        for queue in [0, 1] {
            for unit in store.queue_units("Flt", queue, 0, 200).unwrap() {
                let ext = store.unit_extension("Flt", queue, unit.tags_code).unwrap();
                let record = store.look_message_by_offset(unit.commit_log_offset).unwrap();
                let properties = record.message.properties.encode();
                assert_eq!(filters.bit_map("Flt", &properties), Some(ext.bit_map.clone()));
                let passes = filter.matches_queue(None, Some(&ext));
                let wanted = filter.expression.passes(&properties);
                assert!(passes || !wanted, "{group} {properties}");
                by_bits += usize::from(passes);
                by_record += usize::from(wanted);
            }
        }
        assert_eq!(by_record, matching, "{group}");
        assert!(by_bits < 200, "{group}: the bit maps keep some away");
        heartbeat(&broker, group, "Flt", text, i64::MAX);
        assert_eq!(pulled(&broker, group), matching);
    }
    let fields = [("topic", "Flt"), ("queueId", "0"), ("index", "0"), ("count", "1")];
    let unit = broker.ask(321, &fields, "");
    let java = format!(
        r#"[{{"bitMap":"{}\n{}\n","eval":false,"extendDataJson":"{{\"filterBitMap\":\"AAAAAAAAAAAAIAAgBAA=\",\"msgStoreTime\":1795259674662,\"size\":34,\"tagsCode\":2652}}","physicOffset":0,"physicSize":244,"tagsCode":-9223372036854775808}}]"#,
        "000000000000010000100000000000000010000000000000",
        "0".repeat(64)
    );
    assert!(unit.contains(&java), "{unit}");
}

/// How many messages a group gets out of the two queues.
fn pulled(broker: &TestBroker, group: &str) -> usize {
    let mut count = 0;
    for queue in ["0", "1"] {
        let mut offset = 0;
        while offset < 150 {
            let answer = pull(broker, group, "Flt", offset, &[("queueId", queue)]);
            assert!([0, 20].contains(&answer.code), "{:?}", answer.remark);
            count += bodies(&answer).len();
            offset = answer.fields.get("nextBeginOffset").unwrap().parse().unwrap();
        }
    }
    count
}
