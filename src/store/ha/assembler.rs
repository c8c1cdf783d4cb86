//! [`Assembler`]: makes whole, checked records of the bytes that a master sends in pieces.
//!
//! It knows no socket and no store: bytes go in, bytes that may be appended come out.

use crate::common::record::{BLANK_MAGIC, MESSAGE_MAGIC, MESSAGE_MAGIC_V2, read_record};
use crate::common::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};
use crate::store::commit_log::{END_OF_FILE_BYTES, MIN_RECORD_BYTES};
use crate::store::message_store::StoreError;

/// Bytes of a record up to and with its body's length, at most (two IPv6 hosts).
const HEAD_BYTES: usize = 88 + 24;
/// What a record has besides its body, at most: two IPv6 hosts, topic, properties.
const MOST_BESIDES_BODY: usize = MIN_RECORD_BYTES + 24 + 65_535 + 32_767;
/// Memory kept for incomplete records while there are none.
const KEPT_BYTES: usize = 2 * 1024 * 1024;

/// Why bytes are not appended.
#[derive(Debug)]
pub enum NotTaken {
    /// At this offset is no record.
    Damaged {
        /// Where.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The master's files end elsewhere than ours.
    FileSize {
        /// Where that shows.
        offset: i64,
        /// How it shows.
        reason: String,
    },
    /// It is one, but it cannot be appended.
    NotAppended(StoreError),
}

/// Bytes of a log that have come and are not appended yet.
///
/// A master cuts its log anywhere. Here the pieces are put together again, and only whole records
/// leave, each checked: magic, sizes, own offset, CRC of the body. So the slave's log ends with a
/// whole record at every moment, and what the way damaged does not get into it as far as the format
/// can tell: the other fields of a record have no checksum but TCP's. A file's closing blank record
/// and the padding after it leave as they come.
///
/// Invariants:
/// * `offset` is where a record begins, or is inside a file's padding;
/// * what has left is everything before `offset`.
#[derive(Debug)]
pub struct Assembler {
    file_size: i64,
    /// Largest record that is believed, bytes.
    max_record: usize,
    /// Log offset of the first byte in `pending`.
    offset: i64,
    pending: Vec<u8>,
    /// Bytes of padding that are still to come, from `offset` on.
    padding: i64,
}

impl Assembler {
    /// For a log that ends at `offset`, `padding` bytes of padding before the end of its file, and
    /// has files of `file_size` bytes.
    pub fn new(offset: i64, padding: i64, file_size: usize, max_record: usize) -> Self {
        let file_size = file_size.max(1) as i64;
        Self { file_size, max_record, offset, pending: Vec::new(), padding }
    }

    /// Offset of the byte that must come next.
    pub fn expected(&self) -> i64 {
        self.offset + self.pending.len() as i64
    }

    /// End of what has left.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Padding that is still to come; not 0 only in the middle of it.
    pub fn padding(&self) -> i64 {
        self.padding
    }

    /// Bytes that came, at [`expected`](Self::expected).
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Gives `append` what is whole and correct, with its offset, and forgets it. Returns how many
    /// bytes that were.
    ///
    /// # Errors
    /// What follows the whole records is none; these are appended all the same. Or `append` failed.
    pub fn take(
        &mut self,
        append: impl FnOnce(i64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<usize, NotTaken> {
        let (whole, padding, bad) = self.whole();
        if whole > 0 {
            append(self.offset, &self.pending[..whole]).map_err(NotTaken::NotAppended)?;
            self.offset += whole as i64;
            self.padding = padding;
            self.pending.drain(..whole);
            if self.pending.is_empty() && self.pending.capacity() > KEPT_BYTES {
                self.pending = Vec::new();
            }
        }
        bad.map_or(Ok(whole), Err)
    }

    /// How many bytes may be appended, the padding to come after them, and what is wrong then.
    fn whole(&self) -> (usize, i64, Option<NotTaken>) {
        let (mut at, mut padding) = (0, self.padding);
        loop {
            let rest = &self.pending[at..];
            let offset = self.offset + at as i64;
            if padding > 0 {
                let now = padding.min(rest.len() as i64);
                padding -= now;
                at += now as usize;
                if padding > 0 {
                    return (at, padding, None);
                }
                continue;
            }
            match self.entry(offset, rest) {
                Ok(Some(Entry::Record(size))) => at += size,
                Ok(Some(Entry::Padding(size))) => padding = size,
                Ok(None) => return (at, 0, None),
                Err(bad) => return (at, 0, Some(bad)),
            }
        }
    }

    /// What begins at `offset`; `None`: too little of it has come.
    fn entry(&self, offset: i64, bytes: &[u8]) -> Result<Option<Entry>, NotTaken> {
        let damaged = |reason: String| NotTaken::Damaged { offset, reason };
        let file_end = offset - offset.rem_euclid(self.file_size) + self.file_size;
        let room = file_end - offset;
        if bytes.is_empty() {
            return Ok(None);
        }
        if room < END_OF_FILE_BYTES as i64 {
            return Ok(Some(Entry::Padding(room)));
        }
        let (Some(size), Some(magic)) = (word(bytes, 0), word(bytes, 4)) else { return Ok(None) };
        if magic == BLANK_MAGIC {
            if i64::from(size) != room {
                let ends = offset.saturating_add(size.into());
                let reason = format!("a file of the master ends at {ends}, ours at {file_end}");
                return Err(NotTaken::FileSize { offset, reason });
            }
            return Ok(Some(Entry::Padding(room)));
        }
        if magic != MESSAGE_MAGIC && magic != MESSAGE_MAGIC_V2 {
            return Err(damaged(format!("{magic:08x} is no magic number of a record")));
        }
        let size = size as usize;
        if size < MIN_RECORD_BYTES || size > self.max_record {
            return Err(damaged(format!(
                "a record of {size} bytes, at least {MIN_RECORD_BYTES} and at most {} are possible",
                self.max_record
            )));
        }
        if let Some(claimed) = bytes.get(28..36).and_then(|bytes| bytes.first_chunk()) {
            let claimed = i64::from_be_bytes(*claimed);
            if claimed != offset {
                return Err(damaged(format!("the record says that it is at {claimed}")));
            }
        }
        if bytes.len() < size {
            // Before more is waited for: is it likely that so much belongs to it?
            return self.check_head(bytes, size).map(|()| None).map_err(damaged);
        }
        let record =
            read_record(&bytes[..size], true).map_err(|error| damaged(error.to_string()))?;
        if size as i64 > room {
            let topic = record.topic;
            let reason =
                format!("the record of {topic}, {size} bytes, crosses our file's end {file_end}");
            return Err(NotTaken::FileSize { offset, reason });
        }
        Ok(Some(Entry::Record(size)))
    }

    /// Whether the size fits the body's length, as soon as that is known.
    fn check_head(&self, bytes: &[u8], size: usize) -> Result<(), String> {
        if bytes.len() < HEAD_BYTES {
            return Ok(());
        }
        let flags = word(bytes, 36).unwrap_or(0) as i32;
        let v6 = |flag: i32| if flags & flag == 0 { 0 } else { 12 };
        let at = 84 + v6(BORN_HOST_V6) + v6(STORE_HOST_V6);
        let body = word(bytes, at).unwrap_or(0) as usize;
        if (body + MIN_RECORD_BYTES..=body + MOST_BESIDES_BODY).contains(&size) {
            return Ok(());
        }
        Err(format!("a record of {size} bytes with a body of {body}"))
    }
}

enum Entry {
    Record(usize),
    /// The rest of the file, from the blank record on.
    Padding(i64),
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::record::{encode_record, patch_record};
    use crate::store::testing::fields;

    const FILE: usize = 1000;

    /// A record at `offset` with a body of `body` bytes.
    fn record(offset: i64, body: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_record(&fields("Topic", &vec![7; body], ""), &mut bytes);
        patch_record(&mut bytes, 0, offset, 2);
        bytes
    }

    /// Two files: three records and a blank with padding, then one record.
    fn log() -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..3 {
            let next = record(bytes.len() as i64, 150);
            bytes.extend(next);
        }
        let room = FILE - bytes.len();
        bytes.extend((room as u32).to_be_bytes());
        bytes.extend(BLANK_MAGIC.to_be_bytes());
        bytes.resize(FILE, 0xAB);
        bytes.extend(record(FILE as i64, 10));
        bytes
    }

    fn feed(assembler: &mut Assembler, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotTaken> {
        assembler.push(bytes);
        let taken = assembler.take(|offset, bytes| {
            assert_eq!(offset, out.len() as i64);
            out.extend_from_slice(bytes);
            Ok(())
        });
        taken.map(|_| ())
    }

    #[test]
    fn pieces_of_any_size_become_whole_records() {
        let log = log();
        for piece in [1, 7, 100, 241, 999, 5000] {
            let mut out = Vec::new();
            let mut assembler = Assembler::new(0, 0, FILE, FILE);
            for bytes in log.chunks(piece) {
                feed(&mut assembler, bytes, &mut out).unwrap();
            }
            assert!(out == log && assembler.padding() == 0, "pieces of {piece}");
            assert_eq!(assembler.expected(), log.len() as i64);
        }
    }

    #[test]
    fn an_incomplete_record_does_not_leave_and_padding_goes_on() {
        let log = log();
        let mut out = Vec::new();
        let mut assembler = Assembler::new(0, 0, FILE, FILE);
        feed(&mut assembler, &log[..300], &mut out).unwrap();
        assert_eq!(out.len(), record(0, 150).len());
        feed(&mut assembler, &log[300..900], &mut out).unwrap();
        assert_eq!((out.len(), assembler.padding()), (900, 100));
        let mut again = Assembler::new(900, 100, FILE, FILE);
        again.push(&log[900..]);
        let failed = again.take(|_, _| Err(StoreError("full".to_owned()))).unwrap_err();
        assert!(matches!(failed, NotTaken::NotAppended(_)));
        assert_eq!(again.take(|_, _| Ok(())).unwrap(), log.len() - 900);
    }

    /// Every byte that decides something, flipped, is found; nothing of the record leaves.
    #[test]
    fn damage_is_found_where_it_is() {
        let good = log();
        let second = record(0, 150).len();
        for at in [0, 2, 3, 4, 7, 11, 30, 35, 84, 87, 88, 200] {
            let mut bytes = good.clone();
            bytes[second + at] ^= 0x40;
            let (mut out, mut result) = (Vec::new(), Ok(()));
            let mut assembler = Assembler::new(0, 0, FILE, FILE);
            for piece in bytes.chunks(50) {
                if result.is_ok() {
                    result = feed(&mut assembler, piece, &mut out);
                }
            }
            match result {
                Err(NotTaken::Damaged { offset, .. }) => assert_eq!(offset, second as i64, "{at}"),
                other => panic!("flipped byte {at}: {other:?}"),
            }
            assert_eq!(out.len(), second, "{at}");
        }
    }

    #[test]
    fn files_of_another_size_are_noticed() {
        let log = log();
        for (file_size, place) in [(2000, 3), (600, 2)] {
            let mut assembler = Assembler::new(0, 0, file_size, FILE);
            let mut out = Vec::new();
            let place = (place * record(0, 150).len()) as i64;
            match feed(&mut assembler, &log, &mut out) {
                Err(NotTaken::FileSize { offset, .. }) => assert_eq!(offset, place),
                other => panic!("{other:?}"),
            }
        }
    }
}
