//! The stored-message layout: one record of the commit log, and the same bytes in the body of a
//! pull response.
//!
//! The table, the encoder and the decoder stand here; who may append a record and when is the
//! store's business.
//!
//! # The record
//!
//! All integers are big-endian and signed, as everything in RocketMQ.
//!
//! | at | bytes | field | comment |
//! |---|---|---|---|
//! | 0 | 4 | total size | of the whole record, this field included |
//! | 4 | 4 | magic | `DAA320A7` |
//! | 8 | 4 | body CRC | CRC-32 of the body as stored, without its top bit |
//! | 12 | 4 | queue id | |
//! | 16 | 4 | flag | the user's, opaque |
//! | 20 | 8 | queue offset | index in the queue; 0 for half messages |
//! | 28 | 8 | physical offset | where this record begins in the commit log |
//! | 36 | 4 | sys flag | see [`sys_flag`](super::sys_flag); bits 4 and 5 tell which hosts are IPv6 |
//! | 40 | 8 | born timestamp | ms, the producer's clock |
//! | 48 | 4 or 16, 4 | born host | address, port |
//! | 56 | 8 | store timestamp | ms, the broker's clock |
//! | 64 | 4 or 16, 4 | store host | address, port |
//! | 72 | 4 | reconsume times | |
//! | 76 | 8 | prepared transaction offset | where the half message lies, else 0 |
//! | 84 | 4, B | body | length, bytes |
//! | 88+B | 1, T | topic | length, UTF-8 |
//! | 89+B+T | 2, P | properties | length, UTF-8, see [`properties`](super::properties) |
//!
//! The positions are those of two IPv4 hosts; each IPv6 host moves what follows by 12. RocketMQ 5
//! writes a second form, magic `DAA320AB`, for topics of more than 127 bytes: its topic length has
//! two bytes. It is read here and never written.
//!
//! Three fields are known only under the commit log's lock: queue offset, physical offset and
//! store timestamp. So a record is made in two steps, [`encode_record`] outside the lock and
//! [`patch_record`] inside it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::crc32;
use super::message::{Message, MessageExt};
use super::properties::Properties;
use super::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};

/// Magic of a message record.
pub const MESSAGE_MAGIC: u32 = 0xDAA3_20A7;
/// Magic of RocketMQ 5's record with a two-byte topic length.
pub const MESSAGE_MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank record that closes a commit-log file.
pub const BLANK_MAGIC: u32 = 0xCBD4_3194;
/// Position of the queue offset in a record.
pub const QUEUE_OFFSET_POSITION: usize = 20;
/// Position of the physical offset in a record.
pub const PHYSICAL_OFFSET_POSITION: usize = 28;
/// Position of the sys flag in a record.
pub const SYS_FLAG_POSITION: usize = 36;
/// Bytes of a record besides body, topic and properties, with two IPv4 hosts.
pub const FIXED_BYTES: usize = 91;
/// Longest topic, bytes: its length is one signed byte.
pub const MAX_TOPIC_BYTES: usize = 127;
/// Longest properties, bytes: their length is two signed bytes.
pub const MAX_PROPERTIES_BYTES: usize = 32767;

/// Bytes before the body with two IPv4 hosts, the body's length included.
const HEAD_BYTES: usize = 88;
/// What an IPv6 host takes more than an IPv4 host.
const IPV6_EXTRA: usize = 12;

/// What a record is encoded from. Queue offset, physical offset and store timestamp are patched in
/// later, under the commit log's lock.
#[derive(Clone, Debug)]
pub struct RecordFields<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue id.
    pub queue_id: i32,
    /// User flag.
    pub flag: i32,
    /// System flag; the encoder sets the two IPv6 bits from the hosts.
    pub sys_flag: i32,
    /// When the producer made it, ms.
    pub born_timestamp: i64,
    /// Who sent it.
    pub born_host: SocketAddr,
    /// The broker.
    pub store_host: SocketAddr,
    /// How often it was given back.
    pub reconsume_times: i32,
    /// Half message's offset, or 0.
    pub prepared_transaction_offset: i64,
    /// Body as stored.
    pub body: &'a [u8],
    /// Properties in their string form.
    pub properties: &'a str,
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer bytes than the record says it has, or than its fixed part needs.
    Truncated,
    /// The magic is not a message's. [`BLANK_MAGIC`] among them: whoever reads a commit log looks
    /// for the end of a file with [`peek`] first.
    BadMagic(u32),
    /// The parts do not add up to the total size; the stored total size.
    LengthMismatch(i32),
    /// The body does not have its CRC.
    BadCrc,
    /// The topic is not UTF-8, or a length is negative.
    Malformed(&'static str),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the record is cut short"),
            Self::BadMagic(magic) => write!(f, "magic {magic:#010x} is no record's"),
            Self::LengthMismatch(size) => {
                write!(f, "the parts do not add up to the record's size {size}")
            }
            Self::BadCrc => f.write_str("the body does not match its CRC"),
            Self::Malformed(what) => write!(f, "malformed {what}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// A record read in place: all parts borrowed from the bytes.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    /// Total bytes of the record.
    pub total_size: u32,
    /// Masked CRC-32 of the body.
    pub body_crc: u32,
    /// Queue id.
    pub queue_id: i32,
    /// User flag.
    pub flag: i32,
    /// Index in the queue.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub physical_offset: i64,
    /// System flag.
    pub sys_flag: i32,
    /// Born, ms.
    pub born_timestamp: i64,
    /// Who sent it.
    pub born_host: SocketAddr,
    /// Stored, ms.
    pub store_timestamp: i64,
    /// The broker.
    pub store_host: SocketAddr,
    /// How often it was given back.
    pub reconsume_times: i32,
    /// Half message's offset, or 0.
    pub prepared_transaction_offset: i64,
    /// Body as stored.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Properties in their string form.
    pub properties: &'a str,
}

/// Bytes that `host`'s address and port take more than an IPv4 host's.
fn extra_bytes(host: &SocketAddr) -> usize {
    if host.is_ipv6() { IPV6_EXTRA } else { 0 }
}

/// Bytes a record of these parts takes: 91, +12 for each IPv6 host, and the parts.
pub fn record_size(fields: &RecordFields<'_>) -> usize {
    FIXED_BYTES
        + extra_bytes(&fields.born_host)
        + extra_bytes(&fields.store_host)
        + fields.body.len()
        + fields.topic.len()
        + fields.properties.len()
}

/// Appends the record to `out`, with queue offset, physical offset and store timestamp 0, body CRC
/// computed, IPv6 bits set.
///
/// # Panics
///
/// If the topic is longer than [`MAX_TOPIC_BYTES`], the properties than [`MAX_PROPERTIES_BYTES`],
/// or the record than `i32::MAX`: a record that cannot be read back must not be made. Whoever takes
/// a message from outside checks these limits and refuses the message.
pub fn encode_record(fields: &RecordFields<'_>, out: &mut Vec<u8>) {
    let size = record_size(fields);
    assert!(fields.topic.len() <= MAX_TOPIC_BYTES, "topic too long for a record");
    assert!(fields.properties.len() <= MAX_PROPERTIES_BYTES, "properties too long for a record");
    let total_size = i32::try_from(size).expect("record too long");

    let mut sys_flag = fields.sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6);
    if fields.born_host.is_ipv6() {
        sys_flag |= BORN_HOST_V6;
    }
    if fields.store_host.is_ipv6() {
        sys_flag |= STORE_HOST_V6;
    }

    // The part before the body is put together on the stack, to be copied once.
    let mut head = [0; HEAD_BYTES + 2 * IPV6_EXTRA];
    head[..4].copy_from_slice(&total_size.to_be_bytes());
    head[4..8].copy_from_slice(&MESSAGE_MAGIC.to_be_bytes());
    head[8..12].copy_from_slice(&crc32(fields.body).to_be_bytes());
    head[12..16].copy_from_slice(&fields.queue_id.to_be_bytes());
    head[16..20].copy_from_slice(&fields.flag.to_be_bytes());
    // From 20 to 36 queue offset and physical offset.
    head[36..40].copy_from_slice(&sys_flag.to_be_bytes());
    head[40..48].copy_from_slice(&fields.born_timestamp.to_be_bytes());
    let at = 48 + put_host(&mut head[48..], &fields.born_host);
    // Then the store timestamp.
    let at = at + 8 + put_host(&mut head[at + 8..], &fields.store_host);
    head[at..at + 4].copy_from_slice(&fields.reconsume_times.to_be_bytes());
    head[at + 4..at + 12].copy_from_slice(&fields.prepared_transaction_offset.to_be_bytes());
    head[at + 12..at + 16].copy_from_slice(&(fields.body.len() as i32).to_be_bytes());

    out.reserve(size);
    out.extend_from_slice(&head[..at + 16]);
    out.extend_from_slice(fields.body);
    out.push(fields.topic.len() as u8);
    out.extend_from_slice(fields.topic.as_bytes());
    out.extend_from_slice(&(fields.properties.len() as i16).to_be_bytes());
    out.extend_from_slice(fields.properties.as_bytes());
}

/// Writes address and port; returns their bytes.
#[inline]
fn put_host(out: &mut [u8], host: &SocketAddr) -> usize {
    let port = i32::from(host.port()).to_be_bytes();
    match host.ip() {
        IpAddr::V4(address) => {
            out[..4].copy_from_slice(&address.octets());
            out[4..8].copy_from_slice(&port);
            8
        }
        IpAddr::V6(address) => {
            out[..16].copy_from_slice(&address.octets());
            out[16..20].copy_from_slice(&port);
            20
        }
    }
}

/// Writes queue offset, physical offset and store timestamp into an encoded record.
pub fn patch_record(
    record: &mut [u8],
    queue_offset: i64,
    physical_offset: i64,
    store_timestamp: i64,
) {
    let mut put = |at: usize, value: i64| record[at..at + 8].copy_from_slice(&value.to_be_bytes());
    put(QUEUE_OFFSET_POSITION, queue_offset);
    put(PHYSICAL_OFFSET_POSITION, physical_offset);
    let at = store_timestamp_position(record);
    record[at..at + 8].copy_from_slice(&store_timestamp.to_be_bytes());
}

/// Where the store timestamp stands: 56, or 68 after an IPv6 born host.
pub fn store_timestamp_position(record: &[u8]) -> usize {
    56 + if be_i32(record, SYS_FLAG_POSITION) & BORN_HOST_V6 != 0 { IPV6_EXTRA } else { 0 }
}

/// Total size and magic of the record at the start of `bytes`, or `None` of fewer than 8 bytes. A
/// commit-log reader asks this first: the blank at the end of a file ([`BLANK_MAGIC`]) has no more.
pub fn peek(bytes: &[u8]) -> Option<(i32, u32)> {
    (bytes.len() >= 8).then(|| (be_i32(bytes, 0), be_i32(bytes, 4) as u32))
}

/// The integer at `at`, which the caller has checked to be there.
fn be_i32(bytes: &[u8], at: usize) -> i32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(raw)
}

/// The long at `at`, which the caller has checked to be there.
fn be_i64(bytes: &[u8], at: usize) -> i64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(raw)
}

/// As many bytes as `length` says, which must not be negative, and those behind them.
fn sized<'a>(
    bytes: &'a [u8],
    length: i32,
    what: &'static str,
) -> Result<(&'a [u8], &'a [u8]), RecordError> {
    let length = usize::try_from(length).map_err(|_| RecordError::Malformed(what))?;
    bytes.split_at_checked(length).ok_or(RecordError::Truncated)
}

/// Reads field after field, each checked against what is left.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(RecordError::Truncated)?;
        self.at += count;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, RecordError> {
        self.take(4).map(|bytes| be_i32(bytes, 0))
    }

    fn short(&mut self) -> Result<i16, RecordError> {
        self.take(2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// As many bytes as `length` says, which must not be negative.
    fn sized(&mut self, length: i32, what: &'static str) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = sized(&self.bytes[self.at..], length, what)?;
        self.at = self.bytes.len() - rest.len();
        Ok(taken)
    }
}

/// Address and port, 8 or 20 bytes. Java stores the port in four of them; only two mean anything.
fn host(bytes: &[u8]) -> SocketAddr {
    let (address, port) = bytes.split_at(bytes.len() - 4);
    let address: IpAddr = match <[u8; 16]>::try_from(address) {
        Ok(octets) => Ipv6Addr::from(octets).into(),
        Err(_) => Ipv4Addr::from_bits(be_i32(address, 0) as u32).into(),
    };
    SocketAddr::new(address, be_i32(port, 0) as u16)
}

/// The properties as text. A Java broker copies the property bytes of a batch unchecked, so a log
/// may hold some that are not UTF-8: the record is whole all the same, and what can be read of the
/// properties is read.
fn readable(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Reads the record at the start of `bytes`; more bytes may follow it.
///
/// Without `verify_crc` the bytes of the body are not touched, so that walking over records in a
/// mapped file does not read their pages in.
pub fn read_record(bytes: &[u8], verify_crc: bool) -> Result<RecordView<'_>, RecordError> {
    let (size, magic) = peek(bytes).ok_or(RecordError::Truncated)?;
    if magic != MESSAGE_MAGIC && magic != MESSAGE_MAGIC_V2 {
        return Err(RecordError::BadMagic(magic));
    }
    let total_size = u32::try_from(size).map_err(|_| RecordError::Malformed("total size"))?;
    if bytes.len() < HEAD_BYTES {
        return Err(RecordError::Truncated);
    }
    let sys_flag = be_i32(bytes, SYS_FLAG_POSITION);
    let born_extra = if sys_flag & BORN_HOST_V6 != 0 { IPV6_EXTRA } else { 0 };
    let store_extra = if sys_flag & STORE_HOST_V6 != 0 { IPV6_EXTRA } else { 0 };
    // From here on nothing of the head can be missing: it is read without asking for each field.
    let head_bytes = HEAD_BYTES + born_extra + store_extra;
    let head = bytes.get(..head_bytes).ok_or(RecordError::Truncated)?;
    let after_born = &head[56 + born_extra..];
    let after_store = &after_born[16 + store_extra..];

    let (body, rest) = sized(&bytes[head_bytes..], be_i32(after_store, 12), "body length")?;
    let (topic_length, rest) = if magic == MESSAGE_MAGIC_V2 {
        let (length, rest) = rest.split_first_chunk().ok_or(RecordError::Truncated)?;
        (i32::from(i16::from_be_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first().ok_or(RecordError::Truncated)?;
        (i32::from(*length as i8), rest)
    };
    let (topic, rest) = sized(rest, topic_length, "topic length")?;
    let topic = std::str::from_utf8(topic).map_err(|_| RecordError::Malformed("topic"))?;
    let (length, rest) = rest.split_first_chunk().ok_or(RecordError::Truncated)?;
    let length = i32::from(i16::from_be_bytes(*length));
    let (properties, rest) = sized(rest, length, "properties length")?;

    if bytes.len() - rest.len() != total_size as usize {
        return Err(RecordError::LengthMismatch(size));
    }
    let body_crc = be_i32(head, 8) as u32;
    if verify_crc && !body.is_empty() && crc32(body) != body_crc {
        return Err(RecordError::BadCrc);
    }
    Ok(RecordView {
        total_size,
        body_crc,
        queue_id: be_i32(head, 12),
        flag: be_i32(head, 16),
        queue_offset: be_i64(head, QUEUE_OFFSET_POSITION),
        physical_offset: be_i64(head, PHYSICAL_OFFSET_POSITION),
        sys_flag,
        born_timestamp: be_i64(head, 40),
        born_host: host(&head[48..56 + born_extra]),
        store_timestamp: be_i64(after_born, 0),
        store_host: host(&after_born[8..16 + store_extra]),
        reconsume_times: be_i32(after_store, 0),
        prepared_transaction_offset: be_i64(after_store, 4),
        body,
        topic,
        properties: readable(properties),
    })
}

impl<'a> RecordView<'a> {
    /// What the message is stored again from, under the same topic and queue if they are not
    /// changed: of no transaction.
    pub fn again(&self) -> RecordFields<'a> {
        RecordFields {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: 0,
            body: self.body,
            properties: self.properties,
        }
    }

    /// An owned copy; the body stays as stored (compressed if it is).
    pub fn to_message(&self) -> MessageExt {
        MessageExt {
            message: Message {
                topic: self.topic.to_owned(),
                flag: self.flag,
                properties: Properties::parse(self.properties),
                body: self.body.to_vec(),
            },
            queue_id: self.queue_id,
            store_size: self.total_size,
            queue_offset: self.queue_offset,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_timestamp: self.store_timestamp,
            store_host: self.store_host,
            commit_log_offset: self.physical_offset,
            body_crc: self.body_crc,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
        }
    }
}

/// All messages of a pull response's body. Bodies are not verified, as no official client does.
pub fn read_messages(body: &[u8]) -> Result<Vec<MessageExt>, RecordError> {
    let mut messages = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let record = read_record(rest, false)?;
        messages.push(record.to_message());
        rest = &rest[record.total_size as usize..];
    }
    Ok(messages)
}

/// One entry of a batch: what a producer puts into the body of a batch send.
///
/// | bytes | field |
/// |---|---|
/// | 4 | entry size, this field included: 22 + body + properties |
/// | 4 | magic, 0 |
/// | 4 | CRC, 0 |
/// | 4 | flag |
/// | 4 + n | body |
/// | 2 + n | properties |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// User flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Properties in their string form.
    pub properties: Cow<'a, str>,
}

/// Appends one batch entry to `out`.
///
/// # Panics
///
/// As [`encode_record`], if a part is too long for its length field.
pub fn encode_batch_entry(entry: &BatchEntry<'_>, out: &mut Vec<u8>) {
    assert!(entry.properties.len() <= MAX_PROPERTIES_BYTES, "properties too long for a batch");
    let size = i32::try_from(22 + entry.body.len() + entry.properties.len());
    out.extend_from_slice(&size.expect("batch entry too long").to_be_bytes());
    out.extend_from_slice(&[0; 8]); // Magic and CRC: nobody reads them.
    out.extend_from_slice(&entry.flag.to_be_bytes());
    out.extend_from_slice(&(entry.body.len() as i32).to_be_bytes());
    out.extend_from_slice(entry.body);
    out.extend_from_slice(&(entry.properties.len() as i16).to_be_bytes());
    out.extend_from_slice(entry.properties.as_bytes());
}

/// Reads all entries of a batch body. Follows Java's broker: the size field is not checked against
/// the parts; a cut entry is an error. What is no UTF-8 in the properties becomes U+FFFD here; in
/// Java it is stored as it came, and becomes that in whoever reads it.
pub fn read_batch(body: &[u8]) -> Result<Vec<BatchEntry<'_>>, RecordError> {
    let mut entries = Vec::new();
    let mut cursor = Cursor { bytes: body, at: 0 };
    while cursor.at < body.len() {
        cursor.take(12)?; // Size, magic and CRC.
        let flag = cursor.int()?;
        let body_length = cursor.int()?;
        let body = cursor.sized(body_length, "body length")?;
        let properties_length = i32::from(cursor.short()?);
        let properties = cursor.sized(properties_length, "properties length")?;
        let properties = String::from_utf8_lossy(properties);
        entries.push(BatchEntry { flag, body, properties });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::xorshift::XorShift;

    /// The bytes that a string of hexadecimal digits and blanks tells.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn fields<'a>() -> RecordFields<'a> {
        RecordFields {
            topic: "T1",
            queue_id: 1,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: "10.0.0.9:50000".parse().unwrap(),
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"hi",
            properties: "TAGS\u{1}a",
        }
    }

    /// A record that Java 4.9.8 wrote, with two IPv4 hosts.
    #[test]
    fn golden_ipv4() {
        let golden = hex("00000065 daa320a7 58932aac 00000001 00000000 0000000000000002
             000000000000012c 00000000 0000018bcfe56800 0a000009 0000c350 0000018bcfe56801
             0a000001 00002a9f 00000000 0000000000000000 00000002 6869 02 5431 0006 544147530161");
        let mut encoded = Vec::new();
        encode_record(&fields(), &mut encoded);
        assert_eq!(encoded.len(), record_size(&fields()));
        patch_record(&mut encoded, 2, 300, 1_700_000_000_001);
        assert_eq!(encoded, golden);

        let record = read_record(&golden, true).unwrap();
        assert_eq!((record.queue_offset, record.physical_offset), (2, 300));
        assert_eq!((record.topic, record.body), ("T1", &b"hi"[..]));
        assert_eq!(record.store_host.to_string(), "10.0.0.1:10911");
        let message = record.to_message();
        assert_eq!(message.message.tag(), Some("a"));
        assert_eq!(message.store_size, 101);
        assert_eq!(message.offset_message_id(), "0A00000100002A9F000000000000012C");
    }

    /// The first record of a store that Java 4.9.8 wrote.
    #[test]
    fn golden_first_of_a_store() {
        let golden = hex("0000007A DAA320A7 3610A686 00000000 00000000 0000000000000000
             0000000000000000 00000000 0000018BCFE56800 0A000001 000004D2 000001A1FB433BB7 7F000001
             00002A9F 00000000 0000000000000000 00000005 68656C6C6F 09 546F70696354657374
             0011 4B455953 01 6B31 02 54414753 01 54616741");
        let fields = RecordFields {
            topic: "TopicTest",
            queue_id: 0,
            born_host: "10.0.0.1:1234".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            body: b"hello",
            properties: "KEYS\u{1}k1\u{2}TAGS\u{1}TagA",
            ..fields()
        };
        let mut encoded = Vec::new();
        encode_record(&fields, &mut encoded);
        patch_record(&mut encoded, 0, 0, 0x1A1_FB43_3BB7);
        assert_eq!(encoded, golden);
        let id = read_record(&golden, true).unwrap().to_message().offset_message_id();
        assert_eq!(id, "7F00000100002A9F0000000000000000");
    }

    #[test]
    fn golden_ipv6() {
        let golden = hex("0000007d daa320a7 58932aac 00000001 00000000 0000000000000002
             000000000000012c 00000030 0000018bcfe56800
             20010db8000000000000000000000009 0000c350 0000018bcfe56801
             00000000000000000000000000000001 00000002 00000000 0000000000000000
             00000002 6869 02 5431 0006 544147530161");
        let fields = RecordFields {
            born_host: "[2001:db8::9]:50000".parse().unwrap(),
            store_host: "[::1]:2".parse().unwrap(),
            ..fields()
        };
        let mut encoded = Vec::new();
        encode_record(&fields, &mut encoded);
        patch_record(&mut encoded, 2, 300, 1_700_000_000_001);
        assert_eq!(encoded, golden);
        let record = read_record(&golden, true).unwrap();
        assert_eq!(record.born_host, fields.born_host);
        assert_eq!(record.store_host, fields.store_host);
        assert_eq!(record.store_timestamp, 1_700_000_000_001);
    }

    /// The IPv6 bits follow the hosts, whatever the sender says.
    #[test]
    fn stale_host_bits_are_cleared() {
        let mut encoded = Vec::new();
        encode_record(
            &RecordFields { sys_flag: BORN_HOST_V6 | STORE_HOST_V6 | 1, ..fields() },
            &mut encoded,
        );
        assert_eq!(read_record(&encoded, true).unwrap().sys_flag, 1);
    }

    #[test]
    fn reads_version_2_topics() {
        let topic = "%RETRY%".to_owned() + &"g".repeat(200);
        let mut bytes = Vec::new();
        encode_record(&fields(), &mut bytes);
        let tail = bytes.split_off(90);
        bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&tail[3..]);
        let size = bytes.len() as i32;
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes[4..8].copy_from_slice(&MESSAGE_MAGIC_V2.to_be_bytes());
        assert_eq!(read_record(&bytes, true).unwrap().topic, topic);
    }

    #[test]
    fn says_what_is_wrong() {
        let mut good = Vec::new();
        encode_record(&fields(), &mut good);
        let read = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            read_record(&bytes, true).map(|_| ())
        };
        assert_eq!(read(&|_| ()), Ok(()));
        assert_eq!(read(&|bytes| bytes.push(7)), Ok(()), "more may follow");
        for length in 0..good.len() {
            assert_eq!(read(&|bytes| bytes.truncate(length)), Err(RecordError::Truncated));
        }
        assert_eq!(read(&|bytes| bytes[3] += 1), Err(RecordError::LengthMismatch(102)));
        assert_eq!(read(&|bytes| bytes[88] ^= 1), Err(RecordError::BadCrc));
        assert_eq!(read(&|bytes| bytes[91] = 0xFF), Err(RecordError::Malformed("topic")));
        assert_eq!(read(&|bytes| bytes[90] = 0xFF), Err(RecordError::Malformed("topic length")));
        assert_eq!(read(&|bytes| bytes[84] = 0x80), Err(RecordError::Malformed("body length")));
        assert_eq!(read(&|bytes| bytes[0] = 0x80), Err(RecordError::Malformed("total size")));
        let blank = [0, 0, 0, 9, 0xCB, 0xD4, 0x31, 0x94, 1];
        assert_eq!(peek(&blank), Some((9, BLANK_MAGIC)));
        assert_eq!(read_record(&blank, true).unwrap_err(), RecordError::BadMagic(BLANK_MAGIC));
        assert_eq!(peek(&blank[..7]), None);
    }

    /// The properties of a Java batch may hold anything; the record stands nevertheless.
    #[test]
    fn unreadable_properties_do_not_spoil_the_record() {
        let mut bytes = Vec::new();
        encode_record(&fields(), &mut bytes);
        let last = bytes.len() - 1;
        bytes[last] = 0xFF;
        assert_eq!(read_record(&bytes, true).unwrap().properties, "TAGS\u{1}");
    }

    #[test]
    fn a_pull_body_is_records_without_gaps() {
        let mut body = Vec::new();
        encode_record(&fields(), &mut body);
        encode_record(&RecordFields { topic: "other", body: b"", ..fields() }, &mut body);
        let messages = read_messages(&body).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].message.topic, "other");
        assert_eq!(messages[1].body_crc, 0);
        body.push(0);
        assert_eq!(read_messages(&body), Err(RecordError::Truncated));
        assert_eq!(read_messages(&[]), Ok(vec![]));
    }

    /// A batch entry that a Java 4.9.8 producer sent.
    #[test]
    fn golden_batch_entry() {
        let golden = hex("00000031 00000000 00000000 00000000 00000005 68656c6c6f
             0016 6b0176025741495401747275650254414753 01 746167");
        let properties = "k\u{1}v\u{2}WAIT\u{1}true\u{2}TAGS\u{1}tag";
        let entry = BatchEntry { flag: 0, body: b"hello", properties: properties.into() };
        let mut encoded = Vec::new();
        encode_batch_entry(&entry, &mut encoded);
        assert_eq!(encoded, golden);
        encode_batch_entry(&BatchEntry { flag: 7, body: b"", properties: "".into() }, &mut encoded);
        let entries = read_batch(&encoded).unwrap();
        assert_eq!(entries, [entry, BatchEntry { flag: 7, body: b"", properties: "".into() }]);
        assert_eq!(read_batch(&encoded[..encoded.len() - 1]), Err(RecordError::Truncated));
        let mut wrong_size = encoded.clone();
        wrong_size[0] ^= 0x55;
        assert_eq!(read_batch(&wrong_size).unwrap(), entries, "the size field is not checked");
        let mut foreign = encoded.clone();
        let tag = foreign.len() - 22 - 1;
        foreign[tag] = 0xFF;
        let read = read_batch(&foreign).unwrap();
        assert!(read[0].properties.ends_with('\u{FFFD}'), "{:?}", read[0].properties);
    }

    /// Whatever the bytes are, nothing panics; what is read is encoded to the bytes it came from.
    #[test]
    fn any_bytes_are_read() {
        let mut seeds = vec![Vec::new(), Vec::new()];
        encode_record(&fields(), &mut seeds[0]);
        let v6 = "[2001:db8::9]:50000".parse().unwrap();
        encode_record(&RecordFields { born_host: v6, store_host: v6, ..fields() }, &mut seeds[1]);
        let mut batch = Vec::new();
        encode_batch_entry(
            &BatchEntry { flag: 1, body: b"body", properties: "a".into() },
            &mut batch,
        );
        seeds.push(batch.repeat(2));
        let mut random = XorShift::new(5);
        for round in 0..60_000 {
            let mut bytes = seeds[round % 3].clone();
            random.mutate(&mut bytes, &[0, 1, 2, 0x10, 0x20, 0x30, 0x7F, 0x80, 0xFF]);
            let _ = read_messages(&bytes);
            if let Ok(entries) = read_batch(&bytes) {
                assert!(
                    entries.iter().map(|entry| entry.body.len() + 22).sum::<usize>() <= bytes.len()
                );
            }
            let Ok(record) = read_record(&bytes, true) else { continue };
            if peek(&bytes).unwrap().1 != MESSAGE_MAGIC {
                continue;
            }
            let fields = RecordFields {
                topic: record.topic,
                queue_id: record.queue_id,
                flag: record.flag,
                sys_flag: record.sys_flag,
                born_timestamp: record.born_timestamp,
                born_host: record.born_host,
                store_host: record.store_host,
                reconsume_times: record.reconsume_times,
                prepared_transaction_offset: record.prepared_transaction_offset,
                body: record.body,
                properties: record.properties,
            };
            let mut again = Vec::new();
            encode_record(&fields, &mut again);
            patch_record(
                &mut again,
                record.queue_offset,
                record.physical_offset,
                record.store_timestamp,
            );
            let read_again = read_record(&again, true).unwrap();
            assert_eq!(read_again.to_message().message, record.to_message().message);
            assert_eq!(read_again.store_timestamp, record.store_timestamp);
            assert_eq!(read_again.store_host, record.store_host);
        }
    }
}
