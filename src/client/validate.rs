//! What a client checks before it asks anybody: names of groups and topics, message sizes,
//! property names. The rules are Java's `Validators`, and those that its broker would enforce.

use std::ops::RangeInclusive;

use super::error::ClientError;
use crate::common::message::Message;
use crate::common::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use crate::common::topic;

/// Longest group name, UTF-16 units.
pub const GROUP_MAX_LENGTH: usize = 255;
/// Longest string form of properties, bytes: its length travels as an i16.
pub const PROPERTIES_MAX_BYTES: usize = 32_767;
/// Group name that every producer must replace.
pub const DEFAULT_PRODUCER_GROUP: &str = "DEFAULT_PRODUCER";
/// Group name that every consumer must replace.
pub const DEFAULT_CONSUMER_GROUP: &str = "DEFAULT_CONSUMER";

/// Topics that only the broker writes.
const FORBIDDEN_TOPICS: [&str; 6] = [
    topic::SCHEDULE_TOPIC,
    topic::TRANS_HALF_TOPIC,
    topic::TRANS_OP_HALF_TOPIC,
    topic::TRANS_CHECK_MAX_TIME_TOPIC,
    topic::SELF_TEST_TOPIC,
    topic::OFFSET_MOVED_EVENT,
];

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '-' | '_')
}

fn invalid<T>(what: impl Into<String>) -> Result<T, ClientError> {
    Err(ClientError::Invalid(what.into()))
}

fn check_name(kind: &str, name: &str, max: usize) -> Result<(), ClientError> {
    // The rule, for the names that nearly all are; what follows says what is wrong with another.
    if (1..=max).contains(&name.len()) && name.bytes().all(topic::is_name_byte) {
        return Ok(());
    }
    if name.trim().is_empty() {
        return invalid(format!("the {kind} is blank"));
    }
    if name.encode_utf16().count() > max {
        return invalid(format!("the {kind} \"{name}\" is longer than {max} characters"));
    }
    if let Some(bad) = name.chars().find(|c| !is_name_char(*c)) {
        return invalid(format!(
            "the {kind} \"{name}\" contains {bad:?}; allowed are letters, digits and %|-_"
        ));
    }
    Ok(())
}

/// A group name: not blank, at most 255 characters of `%|a-zA-Z0-9_-`, not a default.
pub fn check_group(group: &str) -> Result<(), ClientError> {
    check_name("group", group, GROUP_MAX_LENGTH)?;
    if matches!(group, DEFAULT_PRODUCER_GROUP | DEFAULT_CONSUMER_GROUP) {
        return invalid(format!("the group \"{group}\" is the default; name your own"));
    }
    Ok(())
}

/// A topic name: not blank, at most 127 characters of `%|a-zA-Z0-9_-`.
///
/// ```
/// use rocketmq::client::validate::check_topic;
///
/// assert!(check_topic("Orders_2").is_ok());
/// let error = check_topic("a topic").unwrap_err();
/// assert_eq!(error.to_string(), r#"the topic "a topic" contains ' '; allowed are letters, digits and %|-_"#);
/// ```
pub fn check_topic(name: &str) -> Result<(), ClientError> {
    check_name("topic", name, topic::TOPIC_MAX_LENGTH)
}

/// A message that is to be sent to `topic` (its own, or that with a namespace): topic legal and not
/// the broker's own, body between 1 byte and `max_body_bytes`, properties that survive their string
/// form.
///
/// ```
/// use rocketmq::client::Message;
/// use rocketmq::client::validate::{check_group, check_message, check_properties_length, check_range};
///
/// assert!(check_group("billing").is_ok() && check_group("DEFAULT_CONSUMER").is_err());
/// let message = Message::new("Orders", "one book");
/// assert!(check_message("Orders", &message, 4 << 20).is_ok());
/// assert!(check_message("Orders", &message, 4).is_err());
/// assert!(check_properties_length("a\u{1}b").is_ok());
/// let error = check_range("retries", 11, 0..=10).unwrap_err();
/// assert_eq!(error.to_string(), "retries is 11, not between 0 and 10");
/// ```
pub fn check_message(
    topic: &str,
    message: &Message,
    max_body_bytes: usize,
) -> Result<(), ClientError> {
    check_topic(topic)?;
    if FORBIDDEN_TOPICS.contains(&topic) {
        return invalid(format!("nobody but the broker may write to the topic {topic}"));
    }
    if message.body.is_empty() {
        return invalid("the message has no body");
    }
    if message.body.len() > max_body_bytes {
        return invalid(format!(
            "the body has {} bytes, more than the {max_body_bytes} of max_message_bytes",
            message.body.len()
        ));
    }
    for (name, value) in message.properties.iter() {
        let separator = |c| c == NAME_VALUE_SEPARATOR || c == PROPERTY_SEPARATOR;
        if name.is_empty() || name.contains(separator) || value.contains(separator) {
            return invalid(format!("the property {name:?} is empty or contains U+0001 or U+0002"));
        }
    }
    if let Some(level) = message.properties.get(crate::common::properties::DELAY)
        && level.parse::<i32>().is_err()
    {
        return invalid(format!("the delay level \"{level}\" is no number"));
    }
    Ok(())
}

/// The string form of properties fits its i16 length.
pub fn check_properties_length(encoded: &str) -> Result<(), ClientError> {
    if encoded.len() > PROPERTIES_MAX_BYTES {
        return invalid(format!(
            "the properties take {} bytes, more than {PROPERTIES_MAX_BYTES}",
            encoded.len()
        ));
    }
    Ok(())
}

/// A numeric option within its range.
pub fn check_range(
    option: &str,
    value: i64,
    range: RangeInclusive<i64>,
) -> Result<(), ClientError> {
    if !range.contains(&value) {
        return invalid(format!(
            "{option} is {value}, not between {} and {}",
            range.start(),
            range.end()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_group("CID_%|a-Z_9").is_ok());
        for bad in ["", "  ", "a b", "grüppe", "a.b", DEFAULT_CONSUMER_GROUP] {
            assert!(check_group(bad).is_err(), "{bad}");
        }
        assert!(check_group(&"g".repeat(255)).is_ok());
        assert!(check_group(&"g".repeat(256)).is_err());
        assert!(check_topic(&"t".repeat(127)).is_ok());
        assert!(check_topic(&"t".repeat(128)).is_err());
    }

    #[test]
    fn messages() {
        let check = |message: Message| check_message(&message.topic, &message, 16);
        assert!(check(Message::new("T", "body").with_tag("a")).is_ok());
        assert!(check(Message::new("T", "")).is_err());
        assert!(check(Message::new("T", vec![1; 17])).is_err());
        assert!(check(Message::new(topic::SCHEDULE_TOPIC, "x")).is_err());
        assert!(check(Message::new("T", "x").with_property("a", "b\u{1}c")).is_err());
        assert!(check(Message::new("T", "x").with_property("a\u{2}", "b")).is_err());
        assert!(check(Message::new("T", "x").with_property("DELAY", "soon")).is_err());
        assert!(check_properties_length(&"x".repeat(32_768)).is_err());
    }
}
