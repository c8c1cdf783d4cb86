//! [`Message`], what a producer sends, and [`MessageExt`], what a broker stored and a consumer
//! reads.

use std::net::SocketAddr;
use std::time::Duration;

use super::properties::{self, Properties};

/// A message as an application makes it.
///
/// ```
/// use rocketmq::client::Message;
/// use std::time::Duration;
///
/// let message = Message::new("Orders", "one book")
///     .with_tag("new")
///     .with_keys("order-17 customer-5")
///     .with_property("color", "red")
///     .with_delay_level(3);
/// assert_eq!((message.tag(), message.keys()), (Some("new"), Some("order-17 customer-5")));
/// let reminder = Message::new("Reminders", "pay").with_delay(Duration::from_secs(3600));
/// # assert_eq!(reminder.properties.get("TIMER_DELAY_MS"), Some("3600000"));
/// # let at = Message::new("Reminders", "pay").with_delivery_at(1).without_wait();
/// # assert!(at.properties.get("TIMER_DELIVER_MS") == Some("1") && !at.wait_store());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic, at most 127 characters of `%|a-zA-Z0-9_-`.
    pub topic: String,
    /// User flag, opaque to the broker.
    pub flag: i32,
    /// All properties, the system's (`TAGS`, `KEYS`, `DELAY`, ...) among them.
    pub properties: Properties,
    /// Payload.
    pub body: Vec<u8>,
}

impl Message {
    /// A message without tag and keys.
    pub fn new(topic: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), body: body.into(), ..Self::default() }
    }

    /// Sets the tag.
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.properties.set(properties::TAGS, tag);
        self
    }

    /// Sets the index keys, separated by single spaces.
    pub fn with_keys(mut self, keys: impl Into<String>) -> Self {
        self.properties.set(properties::KEYS, keys);
        self
    }

    /// Sets a property.
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// Sets the delay level, 1 to 18 with the default table; 0 is no delay.
    pub fn with_delay_level(mut self, level: i32) -> Self {
        self.properties.set(properties::DELAY, level.to_string());
        self
    }

    /// Has it delivered after any time, by a broker with timers: one of ours, or of 5.x. A broker of 4.x knows
    /// levels only, and delivers it at once.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.properties.set(properties::TIMER_DELAY_MS, delay.as_millis().to_string());
        self
    }

    /// The same with the time of the delivery, ms since 1970.
    pub fn with_delivery_at(mut self, timestamp: i64) -> Self {
        self.properties.set(properties::TIMER_DELIVER_MS, timestamp.to_string());
        self
    }

    /// Does not wait until it is flushed and replicated, where the broker does that at all.
    pub fn without_wait(mut self) -> Self {
        self.properties.set(properties::WAIT, "false");
        self
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.properties.get(properties::TAGS)
    }

    /// The index keys as one text.
    pub fn keys(&self) -> Option<&str> {
        self.properties.get(properties::KEYS)
    }

    /// The client message id.
    pub fn unique_key(&self) -> Option<&str> {
        self.properties.get(properties::UNIQUE_KEY)
    }

    /// Whether the sender waits for flush and replication; absent means yes.
    pub fn wait_store(&self) -> bool {
        self.properties.get(properties::WAIT).is_none_or(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// A stored message: the message and where, when and how it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageExt {
    /// Topic, flag, properties and body. The body is as stored until somebody decompresses it.
    pub message: Message,
    /// Queue within the topic.
    pub queue_id: i32,
    /// Bytes of the record in the commit log.
    pub store_size: u32,
    /// Index within the queue.
    pub queue_offset: i64,
    /// Bits of [`sys_flag`](super::sys_flag).
    pub sys_flag: i32,
    /// When the producer made it, ms.
    pub born_timestamp: i64,
    /// Who sent it.
    pub born_host: SocketAddr,
    /// When the broker stored it, ms.
    pub store_timestamp: i64,
    /// The broker's advertised address.
    pub store_host: SocketAddr,
    /// Position in the commit log.
    pub commit_log_offset: i64,
    /// Masked CRC-32 of the body as stored.
    pub body_crc: u32,
    /// How often a consumer gave it back.
    pub reconsume_times: i32,
    /// Commit-log position of the half message, 0 if none.
    pub prepared_transaction_offset: i64,
}

impl MessageExt {
    /// The offset message id: store host and commit-log offset in hexadecimal.
    pub fn offset_message_id(&self) -> String {
        super::message_id::MessageId { host: self.store_host, offset: self.commit_log_offset }
            .to_string()
    }

    /// What users see as the message id: the unique key, else the offset message id.
    pub fn message_id(&self) -> String {
        self.message.unique_key().map_or_else(|| self.offset_message_id(), str::to_owned)
    }
}
