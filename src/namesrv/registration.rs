//! The body of REGISTER_BROKER in its three forms. What is done with it is in
//! [`route_table`](super::route_table).

use std::fmt;

use crate::common::clock::now_ms;
use crate::common::json::{FromJson, Json, JsonError};
use crate::remoting::protocol::bodies::{DataVersion, TopicConfig, TopicConfigTable};

/// Brokers before V3_0_11 send the topic table alone.
const FIRST_VERSION_WITH_FULL_BODY: i32 = 37;

/// Limit of a compressed body when inflated. A topic takes about 40 bytes there, so this is more
/// than a million of them; a small frame cannot make the name server allocate more.
const MAX_INFLATED_BYTES: usize = 64 * 1024 * 1024;

/// Filter servers that are kept of one broker, and letters of their addresses. No broker of 4.9 has any.
const MAX_FILTER_SERVERS: usize = 100;
const MAX_ADDRESS_BYTES: usize = 255;

/// Version and topics of a registration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topics {
    /// Version of the topics.
    pub data_version: DataVersion,
    /// The topics.
    pub configs: Vec<TopicConfig>,
    /// The broker's filter servers; `None` if it says nothing about them.
    pub filter_servers: Option<Vec<String>>,
}

/// A body that cannot be read; the registration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError(String);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the registration's body cannot be read: {}", self.0)
    }
}

impl std::error::Error for BodyError {}

impl From<JsonError> for BodyError {
    fn from(error: JsonError) -> Self {
        Self(error.to_string())
    }
}

/// Reads a body. None at all means no topics, with version 0.
pub fn decode(body: &[u8], compressed: bool, sender_version: i32) -> Result<Topics, BodyError> {
    let full = sender_version >= FIRST_VERSION_WITH_FULL_BODY;
    if body.is_empty() {
        return Ok(Topics { filter_servers: full.then(Vec::new), ..Topics::default() });
    }
    if !full {
        return topics(&Json::parse(body)?);
    }
    if compressed {
        return decode_compressed(body);
    }
    let json = Json::parse(body)?;
    let json = json.as_object()?;
    let servers = json.get("filterServerList");
    let filter_servers = servers.map_or_else(|| Some(Vec::new()), filter_servers);
    let table = json.get("topicConfigSerializeWrapper");
    let table = table.filter(|table| !TopicConfigTable::is_absent(table)).unwrap_or(&Json::Null);
    Ok(Topics { filter_servers, ..topics(table)? })
}

/// Reads a topic table. As in Java, a topic has the name that it says itself, and a version that does
/// not say when it was made was made now.
fn topics(json: &Json) -> Result<Topics, BodyError> {
    let TopicConfigTable { mut data_version, topic_config_table } =
        TopicConfigTable::from_json(json)?;
    let version = json.get("dataVersion");
    if version.is_none_or(|version| *version != Json::Null && version.get("timestamp").is_none()) {
        data_version.timestamp = now_ms();
    }
    if let Some(Json::Object(topics)) = json.get("topicConfigTable")
        && topics.iter().any(|(_, topic)| *topic == Json::Null)
    {
        return Err(BodyError("a topic that is null".to_owned()));
    }
    let configs = topic_config_table.into_values();
    let configs = configs.filter(|config| !config.topic_name.is_empty()).collect();
    Ok(Topics { data_version, configs, filter_servers: None })
}

/// The list of filter servers; `None` if it is null. What is no list is one of one, and what is no
/// text becomes one, as in Java.
fn filter_servers(json: &Json) -> Option<Vec<String>> {
    let list = match json {
        Json::Array(list) => list.as_slice(),
        Json::Null => return None,
        Json::Text(text) if text.is_empty() => return None,
        one => std::slice::from_ref(one),
    };
    let text = |address: &Json| {
        let address = String::from_json(address).ok().filter(|_| *address != Json::Null)?;
        (address.len() <= MAX_ADDRESS_BYTES).then_some(address)
    };
    Some(list.iter().filter_map(text).take(MAX_FILTER_SERVERS).collect())
}

/// Reads the compressed form: one zlib stream of blocks, each after its length (i32, big-endian).
///
/// | # | content |
/// |---|---|
/// | 1 | block: data version, JSON |
/// | 2 | i32: number of topics |
/// | 3 | for each topic a block: `name readQueues writeQueues perm filterType`, single blanks |
/// | 4 | block: filter servers, JSON array |
///
/// 5.x adds a sixth token to a topic (its attributes as JSON) and more blocks at the end; both are
/// passed over. The order flag and the topic's system flag do not travel in this form.
fn decode_compressed(body: &[u8]) -> Result<Topics, BodyError> {
    let plain = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(body, MAX_INFLATED_BYTES)
        .map_err(|error| {
        BodyError(format!("not a zlib stream within limits: {}", error.status as i32))
    })?;
    let mut blocks = Blocks(&plain);
    let data_version = DataVersion::from_json(&Json::parse(blocks.block()?)?)?;
    let count = blocks.number()?;
    let mut configs = Vec::new();
    for _ in 0..count {
        let block = blocks.block()?;
        let text = std::str::from_utf8(block)
            .map_err(|_| BodyError("a topic that is not UTF-8".to_owned()))?;
        configs.push(parse_topic(text).ok_or_else(|| BodyError(format!("a topic \"{text}\"")))?);
    }
    // A list that cannot be read is none, as in Java.
    let servers = Json::parse(blocks.block()?);
    let filter_servers = servers.map_or_else(|_| Some(Vec::new()), |json| filter_servers(&json));
    Ok(Topics { data_version, configs, filter_servers })
}

fn parse_topic(text: &str) -> Option<TopicConfig> {
    let mut tokens = text.splitn(6, ' ');
    Some(TopicConfig {
        topic_name: tokens.next()?.to_owned(),
        read_queue_nums: tokens.next()?.parse().ok()?,
        write_queue_nums: tokens.next()?.parse().ok()?,
        perm: tokens.next()?.parse().ok()?,
        topic_filter_type: tokens.next()?.to_owned(),
        ..TopicConfig::default()
    })
}

/// What is left of the inflated stream.
struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    fn number(&mut self) -> Result<usize, BodyError> {
        let (head, rest) =
            self.0.split_first_chunk::<4>().ok_or_else(|| BodyError("it ends early".to_owned()))?;
        self.0 = rest;
        usize::try_from(i32::from_be_bytes(*head))
            .map_err(|_| BodyError("a negative length".to_owned()))
    }

    fn block(&mut self) -> Result<&'a [u8], BodyError> {
        let length = self.number()?;
        let (block, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| BodyError("a length past the end".to_owned()))?;
        self.0 = rest;
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"dataVersion":{"counter":5,"timestamp":17},"topicConfigTable":{"T1":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":1,"writeQueueNums":8}}}"#;

    fn compressed(topics: &[&str], tail: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let block = |plain: &mut Vec<u8>, bytes: &[u8]| {
            plain.extend((bytes.len() as i32).to_be_bytes());
            plain.extend(bytes);
        };
        block(&mut plain, br#"{"counter":5,"timestamp":17}"#);
        plain.extend((topics.len() as i32).to_be_bytes());
        for topic in topics {
            block(&mut plain, topic.as_bytes());
        }
        block(&mut plain, b"[]");
        plain.extend(tail);
        miniz_oxide::deflate::compress_to_vec_zlib(&plain, 9)
    }

    #[test]
    fn both_json_forms() {
        let full = format!(r#"{{"filterServerList":[],"topicConfigSerializeWrapper":{TABLE}}}"#);
        let new = decode(full.as_bytes(), false, 409).unwrap();
        let old = decode(TABLE.as_bytes(), false, 36).unwrap();
        assert_eq!(new, Topics { filter_servers: Some(Vec::new()), ..old });
        assert_eq!(new.data_version, DataVersion { counter: 5, timestamp: 17 });
        let config = &new.configs[0];
        assert_eq!((config.topic_name.as_str(), config.write_queue_nums), ("T1", 8));
        let nothing = Topics { filter_servers: Some(Vec::new()), ..Topics::default() };
        assert_eq!(decode(b"", false, 409).unwrap(), nothing);
        assert!(decode(b"nonsense", false, 409).is_err());
    }

    #[test]
    fn a_topic_has_the_name_that_it_says() {
        let of = |table: &str| {
            let topics = decode(table.as_bytes(), false, 36)?;
            let names = topics.configs.into_iter().map(|config| config.topic_name);
            Ok::<_, BodyError>((topics.data_version, names.collect::<Vec<_>>()))
        };
        let (version, names) =
            of(r#"{"topicConfigTable":{"K":{"topicName":"T"},"U":{"perm":6}}}"#).unwrap();
        assert_eq!(names, ["T"]);
        assert!(version.timestamp > 0, "a version that says nothing is of now");
        assert!(of(r#"{"topicConfigTable":{"T":null}}"#).is_err());
    }

    #[test]
    fn filter_servers_are_told_or_left() {
        let of = |text: &str| decode(text.as_bytes(), false, 409).unwrap().filter_servers;
        assert_eq!(of(r#"{"filterServerList":["a:1","b:2"]}"#).unwrap(), ["a:1", "b:2"]);
        assert_eq!(of("{}"), Some(Vec::new()));
        assert_eq!(of(r#"{"filterServerList":null}"#), None);
        let long = format!(r#"{{"filterServerList":["{}","c:3"]}}"#, "x".repeat(256));
        assert_eq!(of(&long).unwrap(), ["c:3"]);
    }

    #[test]
    fn compressed_form_of_4_and_5() {
        let four = compressed(&["T1 4 8 6 SINGLE_TAG"], b"");
        let topics = decode(&four, true, 409).unwrap();
        assert_eq!(topics.data_version.counter, 5);
        let config = &topics.configs[0];
        assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm), (4, 8, 6));
        let five = compressed(&[r#"T1 4 8 6 SINGLE_TAG {"a":"b c"}"#], &[0, 0, 0, 0]);
        assert_eq!(decode(&five, true, 479).unwrap(), topics);
    }

    #[test]
    fn broken_streams_are_refused() {
        let four = compressed(&["T1 4 8 6 SINGLE_TAG"], b"");
        assert!(decode(&four[..four.len() / 2], true, 409).is_err());
        assert!(decode(&compressed(&["T1 4 8 6"], b""), true, 409).is_err());
        assert!(decode(&compressed(&["T1 x 8 6 SINGLE_TAG"], b""), true, 409).is_err());
        assert!(decode(TABLE.as_bytes(), true, 409).is_err());
        let past_the_end = miniz_oxide::deflate::compress_to_vec_zlib(&[0, 0, 1, 0, b'{'], 9);
        assert!(decode(&past_the_end, true, 409).is_err());
        let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; MAX_INFLATED_BYTES + 1], 9);
        assert!(decode(&bomb, true, 409).is_err());
    }
}
