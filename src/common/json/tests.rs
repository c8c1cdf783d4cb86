//! Every kind of body that RocketMQ's programs send, as they send it.

use super::*;
use crate::common::xorshift::XorShift;

/// Bodies as Java 4.9.8, Go and C++ emit them.
#[rustfmt::skip]
const SAMPLES: &[&str] = &[
    r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#,
    r#"{"clientID":"10.0.0.9@1234","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T1"}],"unitMode":false}],"producerDataSet":[{"groupName":"PG"}]}"#,
    r#"{"clientID":"10.0.0.9@1234#1700000000000000000","producerDataSet":[{"groupName":"PG"}],"consumerDataSet":[{"groupName":"CG","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T1","subString":"TagA","tagsSet":["TagA"],"codeSet":["2598919"],"subVersion":1700000000000000000,"expressionType":"TAG"}],"unitMode":false}]}"#,
    r#"{"clientID":"10.0.0.9@1234","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"CG","messageModel":1,"subscriptionDataSet":[{"subString":"*","subVersion":"1700000000000","topic":"T1"}]}]}"#,
    r#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"broker-a","queueId":1,"topic":"T1"}:{"brokerOffset":0,"consumerOffset":0,"lastTimestamp":0},{"brokerName":"broker-a","queueId":0,"topic":"T1"}:{"brokerOffset":100,"consumerOffset":90,"lastTimestamp":1700000000000}}}"#,
    r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T1"}:{"lastUpdateTimestamp":0,"maxOffset":5,"minOffset":0}}}"#,
    r#"{"clientId":"cid","consumerGroup":"CG","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"T1"}]}"#,
    r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"T1"}]}"#,
    r#"{"offsetTable":{{"brokerName":"broker-a","queueId":1,"topic":"T1"}:7,{"brokerName":"broker-a","queueId":0,"topic":"T1"}:100}}"#,
    r#"{"offsetTable":[{"brokerName":"broker-a","offset":100,"queueId":0,"topic":"T1"}]}"#,
    r#"{"consumerTable":{},"messageQueueTable":{{"brokerName":"broker-a","queueId":0,"topic":"T1"}:100}}"#,
    r#"{"consumerTable":{"cid":{{"brokerName":"broker-a","queueId":0,"topic":"T1"}:100}},"messageQueueTable":{}}"#,
    r#"{"mqTable":{{"brokerName":"broker-a","queueId":0,"topic":"T1"}:{"cachedMsgCount":0,"cachedMsgMaxOffset":0,"cachedMsgMinOffset":0,"cachedMsgSizeInMiB":0,"commitOffset":0,"droped":false,"lastConsumeTimestamp":0,"lastLockTimestamp":0,"lastPullTimestamp":0,"locked":false,"transactionMsgCount":0,"transactionMsgMaxOffset":0,"transactionMsgMinOffset":0,"tryUnlockTimes":0}},"properties":{"PROP_CLIENT_VERSION":"V4_9_8"},"statusTable":{"T1":{"consumeFailedMsgs":0,"consumeFailedTPS":0.0,"consumeOKTPS":0.0,"consumeRT":0.0,"pullRT":0.0,"pullTPS":0.0}},"subscriptionSet":[]}"#,
    r#"{"consumerIdList":["a@1","b@2"]}"#,
    r#"{"table":{"T1":"broker-a:4"}}"#,
    r#"{"topicList":["T1"]}"#,
    r#"{"counter":5,"timestamp":1700000000000}"#,
    r#"{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":3}"#,
    r#"{"clientId":"cid","group":"CG","subscriptionData":{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"T1"}}"#,
    r#"{"dataVersion":{"counter":5,"timestamp":1700000000000},"topicConfigTable":{"T1":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":4}}}"#,
    r#"{"dataVersion":{"counter":5,"timestamp":1700000000000},"subscriptionGroupTable":{"CG":{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"CG","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}}}"#,
    r#"{"offsetTable":{"T1@CG":{0:10,1:11}}}"#,
    r#"{"offsetTable":{1:10,2:5}}"#,
    r#"{"connectionSet":[{"clientAddr":"1.1.1.1:1","clientId":"c","language":"JAVA","version":409}],"consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"T1":{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,"tagsSet":[],"topic":"T1"}}}"#,
];

/// The second of [`SAMPLES`] is the first in the standard style.
const ROUTE: &str = SAMPLES[0];
const STANDARD_ROUTE: &str = SAMPLES[1];

fn parse(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn int(number: i64) -> Json {
    Json::Int(number)
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

#[test]
fn samples_are_written_as_they_were_read() {
    for sample in SAMPLES {
        assert_eq!(parse(sample).write(Style::Fastjson), *sample);
    }
    assert_eq!(parse(ROUTE).write(Style::Standard), STANDARD_ROUTE);
    assert_eq!(parse(ROUTE).write(Style::Browser), STANDARD_ROUTE);
}

#[test]
fn pretty_is_what_stands_in_the_config_folder() {
    let offsets = "{\n\t\"offsetTable\":{\n\t\t\"TopicTest@group\":{0:5,1:7\n\t\t}\n\t}\n}";
    let delays = "{\n\t\"offsetTable\":{1:12,3:4\n\t}\n}";
    let empty = "{\n\t\"offsetTable\":{}\n}";
    let filter = "{\n\t\"bloomFilterData\":{\n\t\t\"bitNum\":112,\n\t\t\"bitPos\":[3,9,27]\n\t},\n\t\"dead\":false\n}";
    let route = "{\n\t\"brokerDatas\":[\n\t\t{\n\t\t\t\"brokerAddrs\":{0:\"127.0.0.1:10911\"\n\t\t\t},\n\t\t\t\"brokerName\":\"b\"\n\t\t}\n\t],\n\t\"queueDatas\":[]\n}";
    for golden in [offsets, delays, empty, filter, route] {
        assert_eq!(parse(golden).write(Style::Pretty), golden);
    }
    assert_eq!(Json::Object(vec![]).write(Style::Pretty), "{}");
}

#[test]
fn leniency() {
    assert_eq!(parse("{a:1,'b':2,\"c\":3,}"), parse(r#"{"a":1,"b":2,"c":3}"#));
    assert_eq!(parse(" /* one */ [1,,2,] // two"), Json::Array(vec![int(1), int(2)]));
    assert_eq!(parse("\u{feff}{}\n"), Json::Object(vec![]));
    assert_eq!(parse("{0:\"a\"}"), Json::Object(vec![(int(0), text("a"))]));
    assert_eq!(parse("{-1:1.5L}"), Json::Object(vec![(int(-1), Json::Float(1.5))]));
    assert_eq!(parse("[1L,2.0e3,NaN]"), Json::Array(vec![int(1), Json::Float(2e3), Json::Null]));
    assert_eq!(parse("9223372036854775808"), Json::Float(9_223_372_036_854_775_808.0));
    assert_eq!(parse("9223372036854775807"), int(i64::MAX));
    // The C++ client's running info without queues.
    assert_eq!(parse(r#"{"mqTable":}"#).get("mqTable"), Some(&Json::Null));
    assert_eq!(parse(r#"{"mqTable":,"x":1 }"#).get("x"), Some(&int(1)));
}

#[test]
fn escapes() {
    let all = parse(r#""\"\'\\\/\b\f\n\r\t\u00e4\uD83D\uDE00\x41\v""#);
    assert_eq!(all, text("\"'\\/\u{8}\u{c}\n\r\tä😀A\u{b}"));
    assert_eq!(parse(r#""\ud83dx\ude00""#), text("\u{fffd}x\u{fffd}"));
    assert_eq!(Json::parse(b"\"a\xFFb\""), Ok(text("a\u{fffd}b")));
    let odd = text("a/b\u{1}\u{2}\u{b}\u{7f}\u{2028}ä😀\"");
    let fastjson = r#""a/b\u0001\u0002\u000B\u007F\u2028ä😀\"""#;
    let browser = r#""a\/b\u0001\u0002\u000B\u007F\u2028\u00E4\uD83D\uDE00\"""#;
    assert_eq!(odd.write(Style::Fastjson), fastjson);
    assert_eq!(odd.write(Style::Browser), browser);
    assert_eq!((parse(fastjson), parse(browser)), (odd.clone(), odd));
}

#[test]
fn browser_style_sorts_and_keeps_digits() {
    let tree = parse("{b:1,10:2,9:9007199254740992,a:9007199254740991}");
    let expected = r#"{"9":"9007199254740992","10":2,"a":9007199254740991,"b":1}"#;
    assert_eq!(tree.write(Style::Browser), expected);
    assert_eq!(parse("{0:1}").write(Style::Fastjson), "{0:1}");
    assert_eq!(Json::Float(f64::NAN).write(Style::Standard), "null");
}

#[test]
fn errors_tell_what_and_where() {
    for (text, at, what) in [
        ("", 0, "the text ends before a value"),
        ("{\"a\":1", 6, "the text ends before ',' or '}'"),
        ("{\"a\" 1}", 5, "'1' instead of ':'"),
        ("[1 2]", 3, "'2' instead of ',' or ']'"),
        ("{} x", 3, "'x' after the end"),
        ("\"abc", 1, "a text without closing quote"),
        ("\"\\q\"", 3, "'q' after a backslash"),
        ("\"\\u12G4\"", 5, "'G' instead of a hexadecimal digit"),
        ("yes", 0, "'y' instead of a value"),
        ("1-2", 0, "1-2 is not a number"),
        ("1e999", 0, "1e999 is not a number"),
        ("/* x", 0, "a comment without end"),
        ("[\u{1}]", 1, "byte 0x01 instead of a value"),
    ] {
        assert_eq!(
            Json::parse(text.as_bytes()),
            Err(JsonError { at, what: what.to_owned() }),
            "{text}"
        );
    }
}

#[test]
fn depth_is_limited() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(Json::parse(nested(100).as_bytes()).is_ok());
    assert!(Json::parse(nested(1_000_000).as_bytes()).unwrap_err().what.contains("nested"));
    let keys = "{".repeat(1_000_000);
    assert!(Json::parse(keys.as_bytes()).unwrap_err().what.contains("nested"));
}

#[test]
fn size_is_limited() {
    let values = format!("[{}]", "0,".repeat(4_000_001));
    assert!(Json::parse(values.as_bytes()).unwrap_err().what.contains("values"));
    let long = vec![b' '; (64 << 20) + 1];
    assert!(Json::parse(&long).unwrap_err().what.contains("bytes"));
}

crate::json_body! {
    /// A queue.
    #[derive(PartialOrd, Ord, Eq, Hash)]
    struct Queue {
        broker_name: String => "brokerName",
        queue_id: i32 => "queueId",
        topic: String => "topic",
    }
}

crate::json_body! {
    /// Of every shape one.
    struct Shapes {
        counts: BTreeMap<i32, i64> => "counts",
        level: u32 => "level" = 7,
        names: BTreeSet<String> => "names",
        note: Option<String> => "note",
        queues: HashMap<Queue, i64> => "queues",
        ready: bool => "ready",
        share: f64 => "share",
    }
}

fn shapes(text: &str) -> Result<Shapes, JsonError> {
    Shapes::from_json(&parse(text))
}

#[test]
fn bodies_round_trip() {
    let text = concat!(
        r#"{"counts":{0:5,1:7},"level":1,"names":["a","b"],"note":"n","#,
        r#""queues":{{"brokerName":"b","queueId":0,"topic":"T"}:5},"ready":true,"share":1.0}"#
    );
    let read = shapes(text).unwrap();
    assert_eq!(read.counts, BTreeMap::from([(0, 5), (1, 7)]));
    assert_eq!(read.to_json().write(Style::Fastjson), text);
    let default = Shapes::default().to_json().write(Style::Fastjson);
    let expected = r#"{"counts":{},"level":7,"names":[],"queues":{},"ready":false,"share":0.0}"#;
    assert_eq!(default, expected);
}

#[test]
fn bodies_are_read_leniently() {
    assert_eq!(shapes("{}"), Ok(Shapes::default()));
    assert_eq!(shapes("null"), Ok(Shapes::default()));
    let nulls = "{counts:null,level:null,names:null,note:null,queues:null,unknown:[{}]}";
    assert_eq!(shapes(nulls), Ok(Shapes::default()));
    let read = shapes(
        r#"{"COUNTS":{"0":"5","1":null},"le_vel":"3","names":[1,null,true],
            "note":12,"queues":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}":"5"},
            "ready":"TRUE","share":"2.5"}"#,
    )
    .unwrap();
    let queue = Queue { broker_name: "b".into(), queue_id: 0, topic: "T".into() };
    let expected = Shapes {
        counts: BTreeMap::from([(0, 5)]),
        level: 3,
        names: BTreeSet::from(["1".into(), "true".into()]),
        note: Some("12".into()),
        queues: HashMap::from([(queue, 5)]),
        ready: true,
        share: 2.5,
    };
    assert_eq!(read, expected);
}

#[test]
fn scalars_come_in_many_dresses() {
    let of = |member: &str, value: &str| shapes(&format!("{{{member}:{value}}}"));
    for (value, level) in [
        ("'3,000'", 3000),
        ("'3.0'", 3),
        ("'３'", 3),
        ("3.9", 3),
        ("true", 1),
        ("''", 7),
        ("'null'", 7),
        ("'NULL'", 7),
    ] {
        assert_eq!(of("level", value).map(|shapes| shapes.level), Ok(level), "{value}");
    }
    for value in ["' 3 '", "'3.7'", "'1e2'", "4294967296", "[3]"] {
        assert!(of("level", value).is_err(), "{value}");
    }
    // A long is another matter.
    let count = |value: &str| of("counts", &format!("{{0:{value}}}")).map(|read| read.counts);
    assert_eq!(count("'3,000'"), Ok(BTreeMap::from([(0, 3000)])));
    assert_eq!(count("'null'"), Ok(BTreeMap::new()));
    assert!(count("true").is_err() && count("'3.0'").is_err());
    for (value, ready) in [
        ("'y'", true),
        ("'T'", true),
        ("1.9", true),
        ("'f'", false),
        ("'N'", false),
        ("2", false),
        ("''", false),
        ("'NULL'", false),
    ] {
        assert_eq!(of("ready", value).map(|shapes| shapes.ready), Ok(ready), "{value}");
        assert_eq!(of("isReady", value).map(|shapes| shapes.ready), Ok(ready), "{value}");
        assert_eq!(of("'-READY'", value).map(|shapes| shapes.ready), Ok(ready), "{value}");
    }
    for value in ["'t'", "'n'", "' true'", "'yes'", "{}"] {
        assert!(of("ready", value).is_err(), "{value}");
    }
}

#[test]
fn what_nobody_reads_may_be_anything() {
    assert!(shapes(&format!("{{x:{}}}", "9".repeat(400))).is_ok());
    assert!(Json::parse(b"{}\0").is_ok());
    // Except that it asks for a class.
    assert!(Json::parse(br#"{"@type":"org.apache.rocketmq.common.X"}"#).is_ok());
    let error = Json::parse(br#"{"x":{"@type":"java.lang.Object"}}"#).unwrap_err();
    assert!(error.what.contains("not taken"), "{error}");
}

#[test]
fn bodies_that_do_not_fit_say_so() {
    for (text, what) in [
        ("[]", "an array is not an object"),
        ("{level:-1}", "level: -1 is not an integer in range"),
        ("{level:x}", "'x' instead of a value"),
        ("{counts:{x:1}}", "counts: \"x\": \"x\" is not an integer in range"),
        ("{names:{}}", "names: an object is not an array"),
        ("{queues:{5:1}}", "queues: 5: 5 is not an object"),
        ("{ready:[]}", "ready: an array is not true or false"),
        ("{share:'a'}", "share: \"a\" is not a number"),
    ] {
        let result = Json::parse(text.as_bytes()).and_then(|json| Shapes::from_json(&json));
        assert_eq!(result.unwrap_err().what, what, "{text}");
    }
}

/// Whatever comes in, nothing panics; what is read is the same after writing and reading again.
#[test]
fn mutations_of_the_samples() {
    let mut random = XorShift::new(1);
    for round in 0..20_000 {
        let mut bytes = SAMPLES[round % SAMPLES.len()].as_bytes().to_vec();
        random.mutate(&mut bytes, br#"{}[]:,"'\/*0189-+.eELutfn$_ "#);
        let Ok(tree) = Json::parse(&bytes) else { continue };
        for style in [Style::Fastjson, Style::Pretty] {
            let written = tree.write(style);
            assert_eq!(parse(&written), tree, "{written}");
        }
        for style in [Style::Standard, Style::Browser] {
            Json::parse(tree.write(style).as_bytes()).unwrap();
        }
        let _ = Shapes::from_json(&tree);
    }
}
