//! [`ReceivedMessage`]: a message as a consumer gets it, read in place from the answer that brought
//! it.
//!
//! The messages of one pull share the bytes of its answer and one allocation for what was read of
//! them; only a compressed body is unpacked into memory of its own, when somebody asks for it. A
//! message is a counted reference to its pull: cloning it copies nothing.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use super::namespace::Namespace;
use crate::common::compression::{self, CompressionError};
use crate::common::message::{Message, MessageExt};
use crate::common::message_id::MessageId;
use crate::common::properties::{self, Properties};
use crate::common::record::{RecordView, read_record};
use crate::remoting::protocol::bodies::MessageQueue;

/// A compressed body may unpack to so many bytes; a larger one stays packed.
const INFLATE_LIMIT: usize = 64 * 1024 * 1024;

/// A message that a broker stored, received by a consumer.
///
/// ```
/// use rocketmq::client::{ConsumeFromWhere, LitePullOptions, Message, ProducerOptions};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 1)?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names.as_str()).start()?;
/// let sent = producer.send(
///     &Message::new("Orders", "one book").with_tag("new").with_keys("order-17").with_property("city", "Ulm"),
/// )?;
/// let reader = LitePullOptions::new("audit").name_servers(names);
/// let reader = reader.consume_from(ConsumeFromWhere::FirstOffset).start()?;
/// reader.subscribe("Orders", "*")?;
/// let message = reader.messages().next().ok_or("it was shut down")??;
/// assert_eq!((message.topic(), message.body()), ("Orders", &b"one book"[..]));
/// assert_eq!((message.tag(), message.keys()), (Some("new"), Some("order-17")));
/// assert_eq!(message.property("city"), Some("Ulm"));
/// assert_eq!(message.message_id(), sent.message_id);
/// assert_eq!(message.facts().queue_offset, sent.queue_offset);
/// assert!(message.unpack_error().is_none() && message.reconsume_times() == 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ReceivedMessage {
    pulled: Arc<Pulled>,
    /// Which of them.
    at: usize,
}

/// The messages of one answer.
#[derive(Debug)]
struct Pulled {
    buffer: Vec<u8>,
    topic: Arc<str>,
    broker_name: Arc<str>,
    items: Vec<Item>,
}

/// One of them.
#[derive(Debug)]
struct Item {
    body: Range<usize>,
    /// Made when it is asked for, by the thread of the listener.
    unpacked: OnceLock<Unpacked>,
    properties: Range<usize>,
    /// If it is not that of the answer.
    topic: Option<Arc<str>>,
    facts: Facts,
    reconsume_times: AtomicI32,
    consume_began_ms: AtomicI64,
}

/// What a record says beside topic, body and properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Queue within the topic.
    pub queue_id: i32,
    /// Index within the queue.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub commit_log_offset: i64,
    /// Bytes of the record in the commit log.
    pub store_size: u32,
    /// Masked CRC-32 of the body as stored.
    pub body_crc: u32,
    /// User flag.
    pub flag: i32,
    /// Bits of [`sys_flag`](crate::common::sys_flag).
    pub sys_flag: i32,
    /// When the producer made it, ms.
    pub born_timestamp: i64,
    /// Who sent it.
    pub born_host: SocketAddr,
    /// When the broker stored it, ms.
    pub store_timestamp: i64,
    /// The broker's advertised address.
    pub store_host: SocketAddr,
    /// Commit-log position of the half message, 0 if none.
    pub prepared_transaction_offset: i64,
    /// First offset of the queue when it was pulled; -1 if it was not pulled.
    pub min_offset: i64,
    /// Next offset to be written in the queue when it was pulled; -1 if it was not pulled.
    pub max_offset: i64,
}

/// Where the messages of an answer came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Broker.
    pub broker_name: Arc<str>,
    /// Topic of the queue.
    pub topic: Arc<str>,
    /// The same as its messages show it, and share it: without the namespace.
    pub shown_topic: Arc<str>,
    /// Namespace of the client.
    pub namespace: Namespace,
    /// Retry topic of the group: its messages show their original topic.
    pub retry_topic: Option<Arc<str>>,
    /// First offset of the queue; -1 if unknown.
    pub min_offset: i64,
    /// Next offset to be written; -1 if unknown.
    pub max_offset: i64,
}

/// Where `part` lies in `whole`.
fn span(whole: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// What a body is beside the bytes that the broker stored.
#[derive(Debug)]
enum Unpacked {
    /// It was not compressed.
    Same,
    /// What it was before.
    Plain(Vec<u8>),
    /// It was compressed, and cannot be read here.
    Not(CompressionError),
}

impl Unpacked {
    fn of(sys_flags: i32, body: &[u8]) -> Self {
        match compression::decompress(sys_flags, body, INFLATE_LIMIT) {
            Ok(None) => Self::Same,
            Ok(Some(plain)) => Self::Plain(plain),
            Err(error) => {
                log::warn!("a body of {} bytes stays packed: {error}", body.len());
                Self::Not(error)
            }
        }
    }
}

impl Item {
    fn new(buffer: &[u8], view: &RecordView<'_>, origin: &Origin) -> Self {
        let facts = Facts {
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
            commit_log_offset: view.physical_offset,
            store_size: view.total_size,
            body_crc: view.body_crc,
            flag: view.flag,
            sys_flag: view.sys_flag,
            born_timestamp: view.born_timestamp,
            born_host: view.born_host,
            store_timestamp: view.store_timestamp,
            store_host: view.store_host,
            prepared_transaction_offset: view.prepared_transaction_offset,
            min_offset: origin.min_offset,
            max_offset: origin.max_offset,
        };
        Self {
            body: span(buffer, view.body),
            unpacked: OnceLock::new(),
            properties: span(buffer, view.properties.as_bytes()),
            topic: own_topic(view, origin),
            facts,
            reconsume_times: AtomicI32::new(view.reconsume_times),
            consume_began_ms: AtomicI64::new(0),
        }
    }
}

/// The topic that a listener sees, if it is not the one of the queue: of a retried message the one
/// it was first sent to.
fn own_topic(view: &RecordView<'_>, origin: &Origin) -> Option<Arc<str>> {
    if origin.retry_topic.as_deref() == Some(view.topic)
        && let Some(first) = properties::find(view.properties, properties::RETRY_TOPIC)
    {
        return Some((&*origin.namespace.unwrap(first)).into());
    }
    (view.topic != &*origin.topic).then(|| (&*origin.namespace.unwrap(view.topic)).into())
}

/// How many records an answer holds, guessed by the size of its first one.
fn guess_count(body: &[u8]) -> usize {
    const MOST: usize = 1024;
    match read_record(body, false) {
        Ok(first) => (body.len() / (first.total_size as usize).max(1) + 1).min(MOST),
        Err(_) => 0,
    }
}

impl ReceivedMessage {
    /// All messages of an answer's body. Reading ends at the first bytes that are no record.
    pub(crate) fn read_all(body: Vec<u8>, origin: &Origin) -> Vec<Self> {
        let buffer = body;
        let mut items = Vec::with_capacity(guess_count(&buffer));
        let mut at = 0;
        while at < buffer.len() {
            match read_record(&buffer[at..], false) {
                Ok(view) => {
                    at += (view.total_size as usize).max(1);
                    items.push(Item::new(&buffer, &view, origin));
                }
                Err(error) => {
                    log::warn!(
                        "{} {}: byte {at} of an answer of {} bytes: {error}; the rest is dropped",
                        origin.broker_name,
                        origin.topic,
                        buffer.len()
                    );
                    break;
                }
            }
        }
        let count = items.len();
        let pulled = Arc::new(Pulled {
            buffer,
            topic: Arc::clone(&origin.shown_topic),
            broker_name: Arc::clone(&origin.broker_name),
            items,
        });
        (0..count).map(|at| Self { pulled: Arc::clone(&pulled), at }).collect()
    }

    /// A message that did not come as a record.
    pub(crate) fn from_message(message: MessageExt, broker_name: &str) -> Self {
        let MessageExt { message: Message { topic, flag, properties, body }, .. } = message;
        let body_end = body.len();
        let mut buffer = body;
        buffer.extend_from_slice(properties.encode().as_bytes());
        let facts = Facts {
            queue_id: message.queue_id,
            queue_offset: message.queue_offset,
            commit_log_offset: message.commit_log_offset,
            store_size: message.store_size,
            body_crc: message.body_crc,
            flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_timestamp: message.store_timestamp,
            store_host: message.store_host,
            prepared_transaction_offset: message.prepared_transaction_offset,
            min_offset: -1,
            max_offset: -1,
        };
        let item = Item {
            body: 0..body_end,
            unpacked: OnceLock::new(),
            properties: body_end..buffer.len(),
            topic: None,
            facts,
            reconsume_times: AtomicI32::new(message.reconsume_times),
            consume_began_ms: AtomicI64::new(0),
        };
        let (topic, broker_name) = (topic.into(), broker_name.into());
        Self { pulled: Arc::new(Pulled { buffer, topic, broker_name, items: vec![item] }), at: 0 }
    }

    fn item(&self) -> &Item {
        &self.pulled.items[self.at]
    }

    /// Topic; of a retried message the one it was first sent to.
    pub fn topic(&self) -> &str {
        self.item().topic.as_deref().unwrap_or(&self.pulled.topic)
    }

    /// Payload, unpacked if it was compressed: with zlib; with LZ4 and zstd if the features of these
    /// names are on. What cannot be unpacked ([`unpack_error`](Self::unpack_error)) is as stored.
    pub fn body(&self) -> &[u8] {
        match self.unpacked() {
            Unpacked::Plain(plain) => plain,
            Unpacked::Same | Unpacked::Not(_) => self.stored_body(),
        }
    }

    /// The body as text; what is no UTF-8 in it shows as U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.body())
    }

    fn unpacked(&self) -> &Unpacked {
        let item = self.item();
        item.unpacked.get_or_init(|| Unpacked::of(item.facts.sys_flag, self.stored_body()))
    }

    /// Why the body is still packed, if it was compressed and could not be unpacked: with a method whose
    /// feature is off or that nobody knows, damaged, or to more than 64 MiB.
    ///
    /// Such a message is not lost. A push consumer does not show it to its listener, unless the
    /// option [`packed_bodies`](super::ConsumerOptions::packed_bodies) is on, but gives it back:
    /// it comes again later, perhaps to a member that can read it, and at last goes to the group's
    /// dead-letter topic (at once if the listener is orderly: its queue goes on). Its bytes stay as
    /// they are. Whoever has nobody to give it back to gets it packed: listeners in broadcasting, and
    /// pull consumers.
    pub fn unpack_error(&self) -> Option<&CompressionError> {
        match self.unpacked() {
            Unpacked::Not(error) => Some(error),
            Unpacked::Same | Unpacked::Plain(_) => None,
        }
    }

    /// Payload as the broker stored it.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeFromWhere, LitePullOptions, Message, ProducerOptions};
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let producer = ProducerOptions::new("shop").name_servers(&names).start()?;
    /// let sent = producer.send(&Message::new("Orders", vec![b'x'; 10_000]).with_property("color", "red"))?;
    /// let options = LitePullOptions::new("audit").name_servers(names);
    /// let consumer = options.consume_from(ConsumeFromWhere::FirstOffset).start()?;
    /// consumer.subscribe("Orders", "*")?;
    /// let message = consumer.messages().next().ok_or("it was shut down")??;
    /// // It travelled compressed.
    /// assert!(message.body().len() == 10_000 && message.stored_body().len() < 1000);
    /// assert_eq!(message.properties().get("color"), Some("red"));
    /// assert!(message.properties_text().contains("red"));
    /// assert_eq!((message.queue(), message.queue_offset()), (sent.queue, sent.queue_offset));
    /// assert_eq!(message.offset_message_id(), sent.offset_message_id);
    /// // On its way to another topic.
    /// producer.send(&Message { topic: "Copies".into(), ..message.to_message() })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stored_body(&self) -> &[u8] {
        &self.pulled.buffer[self.item().body.clone()]
    }

    /// All properties in their string form.
    pub fn properties_text(&self) -> &str {
        std::str::from_utf8(&self.pulled.buffer[self.item().properties.clone()]).unwrap_or_default()
    }

    /// All properties.
    pub fn properties(&self) -> Properties {
        Properties::parse(self.properties_text())
    }

    /// One property.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::find(self.properties_text(), name)
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(properties::TAGS)
    }

    /// The index keys, separated by spaces.
    pub fn keys(&self) -> Option<&str> {
        self.property(properties::KEYS)
    }

    /// The broker that it was read from.
    pub fn broker_name(&self) -> &str {
        &self.pulled.broker_name
    }

    /// The queue that it was read from: of a retried message a queue of the retry topic.
    pub fn queue(&self) -> MessageQueue {
        MessageQueue {
            broker_name: self.broker_name().to_owned(),
            queue_id: self.facts().queue_id,
            topic: self.pulled.topic.to_string(),
        }
    }

    /// Its offset in the queue.
    pub fn queue_offset(&self) -> i64 {
        self.item().facts.queue_offset
    }

    /// Offsets, times, hosts and flags.
    pub fn facts(&self) -> &Facts {
        &self.item().facts
    }

    /// How often it was given back: by the group, or to an orderly queue since it was pulled.
    pub fn reconsume_times(&self) -> i32 {
        self.item().reconsume_times.load(Ordering::Relaxed)
    }

    /// The client's message id: the unique key, else the offset message id.
    pub fn message_id(&self) -> String {
        self.property(properties::UNIQUE_KEY)
            .map_or_else(|| self.offset_message_id(), str::to_owned)
    }

    /// The offset message id: store host and commit-log offset in hexadecimal.
    pub fn offset_message_id(&self) -> String {
        let facts = &self.item().facts;
        MessageId { host: facts.store_host, offset: facts.commit_log_offset }.to_string()
    }

    /// Transaction id: the unique key of a message that was sent in a transaction.
    pub fn transaction_id(&self) -> Option<&str> {
        let prepared = self.property(properties::TRANSACTION_PREPARED)?;
        self.property(properties::UNIQUE_KEY).filter(|_| prepared.eq_ignore_ascii_case("true"))
    }

    /// A message to send with the same topic, flag, properties and body.
    pub fn to_message(&self) -> Message {
        Message {
            topic: self.topic().to_owned(),
            flag: self.item().facts.flag,
            properties: self.properties(),
            body: self.body().to_vec(),
        }
    }

    /// Bytes that it counts in a cache: those of the body as it came. What it unpacks to is there
    /// only while the listener has it.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.item().body.len()
    }

    pub(crate) fn add_reconsume_time(&self) {
        self.item().reconsume_times.fetch_add(1, Ordering::Relaxed);
    }

    /// Start of consumption, ms; 0 before.
    pub(crate) fn consume_began_ms(&self) -> i64 {
        self.item().consume_began_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_consume(&self, now_ms: i64) {
        self.item().consume_began_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceivedMessage")
            .field("topic", &self.topic())
            .field("broker", &self.broker_name())
            .field("facts", self.facts())
            .field("reconsume_times", &self.reconsume_times())
            .field("properties", &self.properties())
            .field("body_bytes", &self.body().len())
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::common::record::{RecordFields, encode_record, patch_record};

    /// A record of one message, as a broker would send it.
    pub(crate) fn record(
        topic: &str,
        offset: i64,
        props: &str,
        body: &[u8],
        flags: i32,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let fields = RecordFields {
            topic,
            queue_id: 3,
            flag: 7,
            sys_flag: flags,
            born_timestamp: 1,
            born_host: "10.0.0.9:1234".parse().unwrap(),
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body,
            properties: props,
        };
        encode_record(&fields, &mut out);
        patch_record(&mut out, offset, 12345, 99);
        out
    }

    pub(crate) fn origin(topic: &str) -> Origin {
        Origin {
            broker_name: "broker-a".into(),
            topic: topic.into(),
            shown_topic: topic.into(),
            namespace: Namespace::default(),
            retry_topic: Some("%RETRY%G".into()),
            min_offset: 0,
            max_offset: 100,
        }
    }

    #[test]
    fn an_answer_is_read_in_place_up_to_the_first_damage() {
        let mut body = record("T", 5, "TAGS\u{1}a\u{2}KEYS\u{1}k1 k2", b"hello", 0);
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(&[b'x'; 5000], 5);
        body.extend(record("T", 6, "UNIQ_KEY\u{1}ID", &packed, 0x301));
        body.extend(record("T", 7, "", b"lost", 0).into_iter().take(30));
        let messages = ReceivedMessage::read_all(body, &origin("T"));
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].body(), messages[0].tag()), (&b"hello"[..], Some("a")));
        assert_eq!(messages[0].message_id(), "0A00000100002A9F0000000000003039");
        assert_eq!((messages[0].facts().queue_id, messages[0].queue_offset()), (3, 5));
        assert_eq!((messages[1].body().len(), messages[1].stored_body()), (5000, &packed[..]));
        assert_eq!((messages[1].message_id().as_str(), messages[1].reconsume_times()), ("ID", 2));
    }

    #[test]
    fn a_retried_message_shows_its_first_topic() {
        let body = record("%RETRY%G", 0, "RETRY_TOPIC\u{1}Orders", b"x", 0);
        let messages = ReceivedMessage::read_all(body, &origin("%RETRY%G"));
        assert_eq!(messages[0].topic(), "Orders");
        let other = record("%RETRY%H", 0, "RETRY_TOPIC\u{1}Orders", b"x", 0);
        let messages = ReceivedMessage::read_all(other, &origin("%RETRY%H"));
        assert_eq!(messages[0].topic(), "%RETRY%H");
    }

    #[test]
    fn a_namespace_does_not_show() {
        let space = Origin {
            topic: "NS%T".into(),
            shown_topic: "T".into(),
            namespace: "NS".into(),
            retry_topic: Some("%RETRY%NS%G".into()),
            ..origin("T")
        };
        let topic =
            |record: Vec<u8>| ReceivedMessage::read_all(record, &space)[0].topic().to_owned();
        assert_eq!(topic(record("NS%T", 0, "", b"x", 0)), "T");
        assert_eq!(topic(record("%RETRY%NS%G", 0, "RETRY_TOPIC\u{1}NS%Orders", b"x", 0)), "Orders");
        assert_eq!(topic(record("OTHER%T", 0, "", b"x", 0)), "OTHER%T");
    }

    #[test]
    fn what_does_not_unpack_stays_packed() {
        let body = record("T", 0, "", b"not zlib", 0x301);
        let damaged = &ReceivedMessage::read_all(body, &origin("T"))[0];
        assert_eq!(damaged.body(), b"not zlib");
        assert_eq!(damaged.unpack_error(), Some(&CompressionError::Damaged));
        let lz4 = &ReceivedMessage::read_all(record("T", 0, "", b"lz4", 0x101), &origin("T"))[0];
        assert_eq!(lz4.body(), b"lz4");
        assert!(lz4.unpack_error().is_some());
        let plain = &ReceivedMessage::read_all(record("T", 0, "", b"x", 0), &origin("T"))[0];
        assert_eq!(plain.unpack_error(), None);
    }
}
