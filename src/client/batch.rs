//! Batches: several messages in one request, and [`split`], which makes batches of a size that a
//! broker takes.

use super::error::ClientError;
use super::namespace::Namespace;
use super::validate::{check_message, check_properties_length};
use crate::common::message::Message;
use crate::common::message_id::unique_key;
use crate::common::properties::{self, Properties};
use crate::common::record::{BatchEntry, encode_batch_entry};
use crate::common::topic::RETRY_PREFIX;

/// Bytes of an entry beside body and properties.
const ENTRY_OVERHEAD: usize = 22;
/// Bytes of the unique key that every entry gets: name, value of an IPv6 host, two separators.
const UNIQUE_KEY_BYTES: usize = 8 + 56 + 2;

/// A batch, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EncodedBatch {
    /// Topic of all messages.
    pub topic: String,
    /// What all messages share: whether the broker waits for flush and replication (`WAIT`), and the
    /// namespace.
    pub properties: Properties,
    /// Entries, one after the other.
    pub body: Vec<u8>,
    /// Unique keys, joined with `,`.
    pub message_ids: String,
}

/// Bytes that a message takes in a batch, at most.
///
/// ```
/// use rocketmq::client::{Message, batch::entry_bytes};
///
/// let message = Message::new("Lines", "a line");
/// assert!(entry_bytes(&message) > message.body.len());
/// ```
pub fn entry_bytes(message: &Message) -> usize {
    let properties = message.properties.iter();
    let text: usize = properties.map(|(name, value)| name.len() + value.len() + 2).sum();
    ENTRY_OVERHEAD + message.body.len() + text + UNIQUE_KEY_BYTES
}

/// Cuts a list into batches of at most `max_bytes`, keeping the order. A message that is larger
/// alone stands alone (and is refused when it is sent).
///
/// ```
/// use rocketmq::client::batch::split;
/// use rocketmq::client::Message;
///
/// let lines: Vec<_> = (0..1000).map(|n| Message::new("Lines", format!("line {n}"))).collect();
/// assert!(split(&lines, 32 * 1024).all(|batch| batch.len() > 100));
/// assert_eq!(split(&lines, 32 * 1024).flatten().count(), 1000);
/// ```
pub fn split(messages: &[Message], max_bytes: usize) -> impl Iterator<Item = &[Message]> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0usize;
        let fits = rest.iter().take_while(|message| {
            bytes = bytes.saturating_add(entry_bytes(message));
            bytes <= max_bytes
        });
        let count = fits.count().max(1).min(rest.len());
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Checks and encodes a batch: one topic, one `WAIT`, no delay, no retry topic.
pub(crate) fn encode(
    messages: &[Message],
    max_bytes: usize,
    namespace: &Namespace,
) -> Result<EncodedBatch, ClientError> {
    let invalid = |what: String| Err(ClientError::Invalid(what));
    let Some(first) = messages.first() else {
        return invalid("the batch is empty".into());
    };
    let mut batch = EncodedBatch {
        topic: namespace.wrap(&first.topic).into_owned(),
        properties: Properties::new(),
        body: Vec::with_capacity(messages.iter().map(entry_bytes).sum()),
        message_ids: String::new(),
    };
    batch.properties.set(properties::WAIT, first.wait_store().to_string());
    if let Some(name) = namespace.name() {
        batch.properties.set(properties::INSTANCE_ID, name);
    }
    for message in messages {
        check_message(&batch.topic, message, max_bytes)?;
        if message.topic != first.topic {
            return invalid(format!(
                "a batch has one topic; found {} and {}",
                first.topic, message.topic
            ));
        }
        if message.topic.starts_with(RETRY_PREFIX) {
            return invalid("a batch cannot go to a retry topic".into());
        }
        if message.wait_store() != first.wait_store() {
            return invalid("the messages of a batch have the same WAIT".into());
        }
        if message.properties.get(properties::DELAY).is_some_and(|level| level != "0") {
            return invalid("the messages of a batch have no delay level".into());
        }
        let mut own = message.properties.clone();
        if own.get(properties::UNIQUE_KEY).is_none() {
            own.set(properties::UNIQUE_KEY, unique_key());
        }
        if own.get(properties::WAIT).is_none() {
            own.set(properties::WAIT, "true");
        }
        if !batch.message_ids.is_empty() {
            batch.message_ids.push(',');
        }
        batch.message_ids.push_str(own.get(properties::UNIQUE_KEY).unwrap_or_default());
        let text = own.encode();
        check_properties_length(&text)?;
        let entry = BatchEntry {
            flag: message.flag,
            body: &message.body,
            properties: text.as_str().into(),
        };
        encode_batch_entry(&entry, &mut batch.body);
    }
    if batch.body.len() > max_bytes {
        return invalid(format!(
            "the batch takes {} bytes, more than the {max_bytes} of max_message_bytes; split it",
            batch.body.len()
        ));
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::record::read_batch;

    fn nowhere() -> Namespace {
        Namespace::default()
    }

    fn message(bytes: usize) -> Message {
        Message::new("T", vec![b'x'; bytes]).with_tag("a")
    }

    #[test]
    fn splitting_keeps_order_and_size() {
        let each = entry_bytes(&message(100));
        let list: Vec<_> = [100, 100, 100, 9000, 100].map(message).into();
        let sizes: Vec<_> = split(&list, 2 * each).map(<[Message]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert_eq!(split(&[], 10).count(), 0);
        assert!(encode(&list[..2], 2 * each, &nowhere()).unwrap().body.len() <= 2 * each);
    }

    #[test]
    fn entries_carry_their_own_keys() {
        let keyed = message(3).with_property(properties::UNIQUE_KEY, "ID1");
        let batch = encode(&[keyed, message(4)], 4096, &nowhere()).unwrap();
        let entries = read_batch(&batch.body).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.body.len()).collect::<Vec<_>>(), [3, 4]);
        let ids: Vec<_> = batch.message_ids.split(',').collect();
        assert_eq!(ids[0], "ID1");
        assert_eq!(properties::find(&entries[1].properties, properties::UNIQUE_KEY), Some(ids[1]));
    }

    #[test]
    fn what_a_batch_may_not_be() {
        let plain = message(3);
        let refuse = |list: &[Message]| encode(list, 4096, &nowhere()).unwrap_err().to_string();
        assert!(refuse(&[]).contains("empty"));
        let mut other = plain.clone();
        other.topic = "U".into();
        assert!(refuse(&[plain.clone(), other]).contains("one topic"));
        assert!(refuse(&[plain.clone().with_delay_level(1)]).contains("delay"));
        let impatient = plain.clone().with_property(properties::WAIT, "false");
        assert!(refuse(&[plain.clone(), impatient]).contains("WAIT"));
        let mut retry = plain.clone();
        retry.topic = "%RETRY%g".into();
        assert!(refuse(&[retry]).contains("retry"));
        assert!(refuse(&vec![message(2000); 3]).contains("split"));
    }
}
