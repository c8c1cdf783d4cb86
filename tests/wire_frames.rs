//! Frames that official clients and servers exchanged, recorded between them: every one decodes to
//! what was meant, and encodes again to the same meaning.
//!
//! `tests/data/wire/CLIENT.jsonl` has one frame a line: `exchange` (request and response have the
//! same number), `dir` (`c2s` from the client, `s2c` from the server), `peer`, `header` as another
//! implementation decoded it, `frame` in hexadecimal. One exchange of each request code a client.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rocketmq::common::json::Json;
use rocketmq::remoting::command::Language;
use rocketmq::remoting::frame::{self, MAX_FRAME_BYTES};
use rocketmq::remoting::header::{Header, HeaderError};
use rocketmq::remoting::protocol::headers::*;
use rocketmq::remoting::protocol::request_code::*;
use rocketmq::remoting::{Command, SerializeType};

struct Recorded {
    place: String,
    exchange: i64,
    header: Json,
    bytes: Vec<u8>,
}

impl Recorded {
    fn decoded(&self) -> Command {
        let decoded = frame::decode(&self.bytes, MAX_FRAME_BYTES);
        let (command, used) = decoded.unwrap_or_else(|e| panic!("{}: {e}", self.place)).unwrap();
        assert_eq!(used, self.bytes.len(), "{}", self.place);
        command
    }

    fn int(&self, name: &str) -> i32 {
        match self.header.get(name) {
            Some(Json::Int(value)) => i32::try_from(*value).unwrap(),
            None => 0,
            other => panic!("{}: {name} is {other:?}", self.place),
        }
    }
}

fn recorded() -> Vec<Recorded> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/wire");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = Json::parse(line.as_bytes()).unwrap();
            let Some(Json::Text(hex)) = line.get("frame") else { panic!("no frame") };
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let Some(Json::Int(exchange)) = line.get("exchange") else { panic!("no exchange") };
            all.push(Recorded {
                place: format!("{}:{}", path.display(), number + 1),
                exchange: *exchange,
                header: line.get("header").unwrap().clone(),
                bytes: (0..hex.len()).step_by(2).map(byte).collect(),
            });
        }
    }
    assert!(all.len() > 200, "the recorded frames are there");
    all
}

/// Fields as a map; numbers and booleans as their texts.
fn expected_fields(recorded: &Recorded) -> BTreeMap<String, String> {
    let Some(Json::Object(members)) = recorded.header.get("extFields") else {
        return BTreeMap::new();
    };
    let text = |value: &Json| match value {
        Json::Text(text) => text.clone(),
        Json::Int(number) => number.to_string(),
        Json::Bool(flag) => flag.to_string(),
        other => panic!("{}: {other:?}", recorded.place),
    };
    members.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn fields(command: &Command) -> BTreeMap<String, String> {
    command.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_recorded_frame_decodes_to_what_was_meant() {
    for recorded in recorded() {
        let command = recorded.decoded();
        let place = &recorded.place;
        assert_eq!(command.code, recorded.int("code"), "{place}");
        assert_eq!(command.opaque, recorded.int("opaque"), "{place}");
        assert_eq!(command.flag, recorded.int("flag"), "{place}");
        assert_eq!(command.version, recorded.int("version"), "{place}");
        let language = match recorded.header.get("language") {
            Some(Json::Text(name)) => Language::from_name(name),
            _ => Language::JAVA,
        };
        assert_eq!(command.language, language, "{place}");
        let remark = match recorded.header.get("remark") {
            Some(Json::Text(remark)) => Some(remark.as_str()),
            _ => None,
        };
        assert_eq!(command.remark.as_deref(), remark, "{place}");
        assert_eq!(fields(&command), expected_fields(&recorded), "{place}");
    }
}

#[test]
fn every_recorded_frame_keeps_its_meaning_when_encoded_again_in_either_form() {
    for recorded in recorded() {
        let command = recorded.decoded();
        for serialize in [SerializeType::Json, SerializeType::RocketMq] {
            let mut bytes = Vec::new();
            frame::encode(&Command { serialize, ..command.clone() }, &mut bytes).unwrap();
            let (again, used) = frame::decode(&bytes, MAX_FRAME_BYTES).unwrap().unwrap();
            let place = &recorded.place;
            assert_eq!(used, bytes.len(), "{place}");
            assert_eq!(
                (again.code, again.opaque, again.flag, again.version, again.language),
                (command.code, command.opaque, command.flag, command.version, command.language),
                "{place}"
            );
            // The binary form cannot tell empty texts from none.
            let binary = serialize == SerializeType::RocketMq;
            let kept = |text: &String| !binary || !text.is_empty();
            assert_eq!(again.remark, command.remark.clone().filter(kept), "{place}");
            let mut expected = fields(&command);
            expected.retain(|_, value| kept(value));
            assert_eq!(fields(&again), expected, "{place}");
            assert_eq!(again.body.as_bytes(), command.body.as_bytes(), "{place}");
        }
    }
}

fn decodes<H: Header>(command: &Command) -> Result<(), HeaderError> {
    command.header::<H>().map(drop)
}

/// Decodes the typed header of a request; `None` if this test does not know it.
fn typed_request(command: &Command) -> Option<Result<(), HeaderError>> {
    Some(match command.code {
        SEND_MESSAGE => decodes::<SendMessageRequestHeader>(command),
        SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE => decodes::<SendMessageRequestHeaderV2>(command),
        PULL_MESSAGE | LITE_PULL_MESSAGE => decodes::<PullMessageRequestHeader>(command),
        CONSUMER_SEND_MSG_BACK => decodes::<ConsumerSendMsgBackRequestHeader>(command),
        QUERY_CONSUMER_OFFSET => decodes::<QueryConsumerOffsetRequestHeader>(command),
        UPDATE_CONSUMER_OFFSET => decodes::<UpdateConsumerOffsetRequestHeader>(command),
        GET_MAX_OFFSET | GET_MIN_OFFSET | GET_EARLIEST_MSG_STORETIME => {
            decodes::<QueueRequestHeader>(command)
        }
        SEARCH_OFFSET_BY_TIMESTAMP => decodes::<SearchOffsetRequestHeader>(command),
        UNREGISTER_CLIENT => decodes::<UnregisterClientRequestHeader>(command),
        END_TRANSACTION => decodes::<EndTransactionRequestHeader>(command),
        CHECK_TRANSACTION_STATE => decodes::<CheckTransactionStateRequestHeader>(command),
        _ => return None,
    })
}

#[test]
fn typed_headers_of_recorded_requests_decode() {
    let mut known = 0;
    let mut sends = BTreeSet::new();
    for recorded in recorded() {
        let command = recorded.decoded();
        let exchange = (recorded.place.split(':').next().unwrap().to_owned(), recorded.exchange);
        let place = &recorded.place;
        if !command.is_response() {
            if let Some(result) = typed_request(&command) {
                result.unwrap_or_else(|error| panic!("{place}: {error}"));
                known += 1;
            }
            if matches!(command.code, SEND_MESSAGE | SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE) {
                sends.insert(exchange);
            }
        } else if command.code == 0 && sends.remove(&exchange) {
            let response = command.header::<SendMessageResponseHeader>();
            response.unwrap_or_else(|error| panic!("{place}: {error}"));
            known += 1;
        }
    }
    assert!(known > 60, "{known}");
}
