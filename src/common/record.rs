//! The stored-message layout: one record of the commit log, and the same bytes in the body of a
//! pull response.
//!
//! The table, the encoder and the decoder stand here; who may append a record and when is the
//! store's business.

use std::net::SocketAddr;

use super::message::MessageExt;

/// Magic of a message record.
pub const MESSAGE_MAGIC: u32 = 0xDAA3_20A7;
/// Magic of the blank record that closes a commit-log file.
pub const BLANK_MAGIC: u32 = 0xCBD4_3194;
/// Position of the queue offset in a record.
pub const QUEUE_OFFSET_POSITION: usize = 20;
/// Position of the physical offset in a record.
pub const PHYSICAL_OFFSET_POSITION: usize = 28;
/// Position of the sys flag in a record.
pub const SYS_FLAG_POSITION: usize = 36;

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
    /// Magic is neither a message's nor a blank's.
    BadMagic(u32),
    /// The parts do not add up to the total size; the stored total size.
    LengthMismatch(i32),
    /// The body does not have its CRC.
    BadCrc,
    /// Topic or properties are not UTF-8, or a length is negative.
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

/// Bytes a record of these parts takes: 91, +12 for each IPv6 host, and the parts.
pub fn record_size(_fields: &RecordFields<'_>) -> usize {
    todo!("owner: common")
}

/// Appends the record to `out`, with queue offset, physical offset and store timestamp 0, body CRC
/// computed, IPv6 bits set.
pub fn encode_record(_fields: &RecordFields<'_>, _out: &mut Vec<u8>) {
    todo!("owner: common")
}

/// Writes queue offset, physical offset and store timestamp into an encoded record.
pub fn patch_record(
    _record: &mut [u8],
    _queue_offset: i64,
    _physical_offset: i64,
    _store_timestamp: i64,
) {
    todo!("owner: common")
}

/// Reads the record at the start of `bytes`; more bytes may follow it.
pub fn read_record(_bytes: &[u8], _verify_crc: bool) -> Result<RecordView<'_>, RecordError> {
    todo!("owner: common")
}

impl RecordView<'_> {
    /// An owned copy; the body stays as stored (compressed if it is).
    pub fn to_message(&self) -> MessageExt {
        todo!("owner: common")
    }
}

/// All messages of a pull response's body.
pub fn read_messages(_body: &[u8]) -> Result<Vec<MessageExt>, RecordError> {
    todo!("owner: common")
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
    pub properties: &'a str,
}

/// Appends one batch entry to `out`.
pub fn encode_batch_entry(_entry: &BatchEntry<'_>, _out: &mut Vec<u8>) {
    todo!("owner: common")
}

/// Reads all entries of a batch body. Follows Java's broker: the size field is not checked against
/// the parts; a cut entry is an error.
pub fn read_batch(_body: &[u8]) -> Result<Vec<BatchEntry<'_>>, RecordError> {
    todo!("owner: common")
}
