//! [`SendHeader`]: the header of a send, in either form, read where it stands.

use super::request_code::{SEND_MESSAGE, SEND_REPLY_MESSAGE};
use crate::remoting::header::{FieldType, HeaderError};
use crate::remoting::{Command, Fields};

/// Names of the fields in the long form, in the order of the one-letter names `a` to `m`.
const LONG_NAMES: [&str; 13] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
];
const SHORT_NAMES: [&str; 13] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];

/// The header of a send, borrowed from the request: the same fields as
/// [`SendMessageRequestHeader`](super::headers::SendMessageRequestHeader),
/// in either form, read in one pass without a copy. Java does without the names and the queue count,
/// so they are optional here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendHeader<'a> {
    /// Producer group.
    pub producer_group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Template for automatic creation.
    pub default_topic: Option<&'a str>,
    /// Queues for automatic creation.
    pub default_topic_queue_nums: Option<i32>,
    /// Queue; negative lets the broker choose.
    pub queue_id: i32,
    /// System flag.
    pub sys_flag: i32,
    /// Born, ms.
    pub born_timestamp: i64,
    /// User flag.
    pub flag: i32,
    /// Properties in their string form; none is empty.
    pub properties: &'a str,
    /// How often given back.
    pub reconsume_times: i32,
    /// Unit mode.
    pub unit_mode: bool,
    /// Maximum of retries, on retry topics.
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch.
    pub batch: bool,
}

impl<'a> SendHeader<'a> {
    /// Reads the header in the form that the request's code says: 10 and 324 have the long names,
    /// 310, 320 and 325 the one-letter ones.
    pub fn read(request: &'a Command) -> Result<Self, HeaderError> {
        let long = matches!(request.code, SEND_MESSAGE | SEND_REPLY_MESSAGE);
        Self::read_fields(&request.fields, long)
    }

    fn read_fields(fields: &'a Fields, long: bool) -> Result<Self, HeaderError> {
        let names = if long { &LONG_NAMES } else { &SHORT_NAMES };
        let values = if long { long_values(fields) } else { short_values(fields) };
        let topic = values[1].unwrap_or_default();
        let required = |at: usize| match values[at] {
            // Without a topic the send is refused for that, whatever else is missing.
            None if topic.is_empty() => Ok(Some("0")),
            None => Err(HeaderError::Missing(names[at])),
            value => Ok(value),
        };
        let int = |at: usize| i32::read(required(at)?, names[at]);
        // Java reads the short names by hand and stumbles over what it cannot read.
        let optional = |at: usize| match values[at] {
            Some(text) if !long => i32::read(Some(text), names[at]).map(Some),
            text => Option::read(text, names[at]),
        };
        Ok(Self {
            producer_group: values[0].unwrap_or_default(),
            topic,
            default_topic: values[2],
            default_topic_queue_nums: optional(3)?,
            queue_id: int(4)?,
            sys_flag: int(5)?,
            born_timestamp: i64::read(required(6)?, names[6])?,
            flag: int(7)?,
            properties: values[8].unwrap_or_default(),
            reconsume_times: optional(9)?.unwrap_or(0),
            unit_mode: values[10].is_some_and(is_true),
            max_reconsume_times: optional(11)?,
            batch: values[12].is_some_and(|text| is_true(text) || text == "1"),
        })
    }

    /// The topic alone, without reading the rest.
    pub fn topic_of(request: &'a Command) -> Option<&'a str> {
        let long = matches!(request.code, SEND_MESSAGE | SEND_REPLY_MESSAGE);
        let name = if long { LONG_NAMES[1] } else { SHORT_NAMES[1] };
        request.fields.get(name)
    }
}

/// What the fields with the long names say.
fn long_values(fields: &Fields) -> [Option<&str>; 13] {
    let mut values = [None; 13];
    for (name, value) in fields.iter_bytes() {
        if let Some(at) = LONG_NAMES.iter().position(|known| known.as_bytes() == name) {
            values[at] = Some(value);
        }
    }
    values
}

/// What the fields with the one-letter names say.
fn short_values(fields: &Fields) -> [Option<&str>; 13] {
    let mut values = [None; 13];
    for (name, value) in fields.iter_bytes() {
        if let [letter @ b'a'..=b'm'] = name {
            values[usize::from(letter - b'a')] = Some(value);
        }
    }
    values
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[&str; 13], values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in names.iter().zip(values) {
            fields.push_str(name, value);
        }
        fields
    }

    #[test]
    fn both_forms_read_the_same() {
        let values = ["g", "T", "TBW102", "4", "-1", "8", "99", "7", "p", "2", "true", "3", "TRUE"];
        let (long, short) = (fields(&LONG_NAMES, &values), fields(&SHORT_NAMES, &values));
        let header = SendHeader::read_fields(&long, true).unwrap();
        assert_eq!(header, SendHeader::read_fields(&short, false).unwrap());
        assert_eq!(
            (header.producer_group, header.topic, header.default_topic),
            ("g", "T", Some("TBW102"))
        );
        assert_eq!(header.default_topic_queue_nums, Some(4));
        assert_eq!((header.queue_id, header.sys_flag), (-1, 8));
        assert_eq!((header.born_timestamp, header.flag, header.properties), (99, 7, "p"));
        assert_eq!((header.reconsume_times, header.max_reconsume_times), (2, Some(3)));
        assert!(header.unit_mode && header.batch);
    }

    #[test]
    fn a_problem_is_named_as_the_client_wrote_it() {
        let values = ["g", "T", "TBW102", "4", "one"];
        let error = SendHeader::read_fields(&fields(&SHORT_NAMES, &values), false).unwrap_err();
        assert_eq!(error.to_string(), "the header field e is \"one\", expected a 32-bit integer");
        let error = SendHeader::read_fields(&fields(&LONG_NAMES, &values[..4]), true).unwrap_err();
        assert_eq!(error, HeaderError::Missing("queueId"));
    }

    #[test]
    fn of_doubled_fields_the_last_one_counts() {
        let mut request = Command::request(310);
        request.fields = fields(&SHORT_NAMES, &["g", "T", "TBW102", "4", "0", "0", "0", "0"]);
        request.fields.push_str("b", "Other");
        assert_eq!(SendHeader::read(&request).unwrap().topic, "Other");
        assert_eq!(SendHeader::topic_of(&request), Some("Other"));
    }

    #[test]
    fn the_batch_flag_of_cpp_clients_counts() {
        let values = ["g", "T", "TBW102", "4", "0", "0", "0", "0", "", "0", "false", "0", "1"];
        assert!(SendHeader::read_fields(&fields(&LONG_NAMES, &values), true).unwrap().batch);
        let header = fields(&LONG_NAMES, &values[..8]);
        assert!(!SendHeader::read_fields(&header, true).unwrap().batch);
    }
}
