//! The properties of a message: an ordered list of names and values, and the string form in which
//! it travels and is stored.
//!
//! `name 0x01 value 0x02 name 0x01 value`: the last separator is written by 5.x, Go and C++
//! clients and left out by Java 4.9; both are read. Segments without a name, without a value or
//! without separator (in Java's words: of less than three characters) are dropped; of several
//! separators in a segment the first counts, and the others are part of the value; of a name that stands twice the last value wins
//! (`MessageDecoder.string2messageProperties`).

use std::collections::HashMap;
use std::ops::Range;

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Between two pairs.
pub const PROPERTY_SEPARATOR: char = '\u{2}';
const NAME_VALUE: u8 = NAME_VALUE_SEPARATOR as u8;
const PROPERTY: u8 = PROPERTY_SEPARATOR as u8;

/// Index keys, separated by spaces.
pub const KEYS: &str = "KEYS";
/// The tag.
pub const TAGS: &str = "TAGS";
/// `false`: do not wait for flush and replication.
pub const WAIT: &str = "WAIT";
/// Delay level.
pub const DELAY: &str = "DELAY";
/// Original topic of a retried message.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Original topic of a delayed or half message.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Original queue of a delayed or half message.
pub const REAL_QUEUE_ID: &str = "REAL_QID";
/// `true`: a half message.
pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
/// Producer group of a transactional message.
pub const PRODUCER_GROUP: &str = "PGROUP";
/// Filled in by the consumer from the pull response.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// Filled in by the consumer from the pull response.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// Id of the first incarnation of a retried message.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Carried into the header of a retry send, then removed.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Carried into the header of a retry send, then removed.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Client message id.
pub const UNIQUE_KEY: &str = "UNIQ_KEY";
/// Local start of consumption, ms.
pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
/// Cluster that stored the message.
pub const CLUSTER: &str = "CLUSTER";
/// `reply` for the answer of a request-reply exchange.
pub const MESSAGE_TYPE: &str = "MSG_TYPE";
/// Correlation of request and reply.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Client id that waits for the reply.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// Time to live of a request, ms.
pub const TTL: &str = "TTL";
/// When the broker pushed a reply, ms.
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// When the reply arrived at the requester, ms.
pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
/// Transaction id set by the client.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Number of checks of a half message.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// First check not before this age, seconds.
pub const CHECK_IMMUNITY_TIME: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Delay of a timed message, seconds; counts before the two others.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Delay of a timed message, ms; counts before the time.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// When a timed message is due, ms.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// The same, as some clients say it who know no timer.
pub const START_DELIVER_TIME: &str = "__STARTDELIVERTIME";
/// Slot of a timed message, ms; who has it has been to the timer already.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// When a timed message came to the wheel, ms.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When a timed message left the wheel, ms.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often a timed message came to the wheel again.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// The message deletes the timed one with this `topic+uniqueKey`.
pub const TIMER_DELETE_KEY: &str = "TIMER_DEL_UNIQKEY";
/// When a message that the broker made for another was made, ms.
pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
/// Namespace of a client.
pub const INSTANCE_ID: &str = "INSTANCE_ID";

/// From this length on a text is read with an index of its names.
const MANY_BYTES: usize = 4096;

/// An ordered map of property names to values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the string form.
    pub fn parse(text: &str) -> Self {
        let mut properties = Self::new();
        // Where each name stands, once there are so many that looking through all of them would
        // take long: the text comes from outside and may be megabytes of names.
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (name, value) in pairs(text) {
            let count = properties.len();
            let place = if text.len() < MANY_BYTES {
                properties.0.iter().position(|(known, _)| known == name)
            } else {
                Some(*places.entry(name).or_insert(count)).filter(|place| *place < count)
            };
            match place {
                Some(place) => value.clone_into(&mut properties.0[place].1),
                None => properties.0.push((name.to_owned(), value.to_owned())),
            }
        }
        properties
    }

    /// Writes the string form, without a separator at the end.
    pub fn encode(&self) -> String {
        self.encode_with_room(0)
    }

    /// The same with room for so many bytes more.
    pub fn encode_with_room(&self, more_bytes: usize) -> String {
        let length: usize = self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = String::with_capacity(length + more_bytes);
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push(PROPERTY_SEPARATOR);
            }
            text.push_str(name);
            text.push(NAME_VALUE_SEPARATOR);
            text.push_str(value);
        }
        text
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sets `name`, replacing its value where it stands.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(pair) => pair.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Number of properties.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What stands between two separators of pairs.
pub struct Segment<'a> {
    /// Where it stands in the text.
    pub range: Range<usize>,
    /// Its name and its value, if it has both.
    pub pair: Option<(&'a str, &'a str)>,
}

/// The segments of the string form, in order; there is one more of them than separators of pairs.
pub struct Segments<'a> {
    text: &'a str,
    start: usize,
}

/// The segments of a text.
pub fn segments(text: &str) -> Segments<'_> {
    Segments { text, start: 0 }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    // Every message is walked through twice; calls for the segments were a third of that.
    #[inline(always)]
    fn next(&mut self) -> Option<Segment<'a>> {
        let (text, start) = (self.text, self.start);
        if start > text.len() {
            return None;
        }
        let middle = separator(text.as_bytes(), start);
        let end = match text.as_bytes().get(middle) {
            Some(&NAME_VALUE) => {
                position(text.as_bytes(), middle + 1, PROPERTY).unwrap_or(text.len())
            }
            _ => middle,
        };
        self.start = end + 1;
        let has_both = start < middle && middle + 1 < end;
        let pair = has_both.then(|| (&text[start..middle], &text[middle + 1..end]));
        Some(Segment { range: start..end, pair })
    }
}

/// Names and values of the string form, in order; names may repeat.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    segments(text).filter_map(|segment| segment.pair)
}

/// The value of `name` in the string form, without building the map (the last one wins).
pub fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let [value] = find_each(text, [name]);
    value
}

/// The values of several names, found in one pass.
pub fn find_each<'a, const N: usize>(text: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut found = [None; N];
    for (name, value) in pairs(text) {
        for (found, wanted) in found.iter_mut().zip(names) {
            if name == wanted {
                *found = Some(value);
            }
        }
    }
    found
}

/// Marks the bytes of a word that are `byte`; the lowest marked byte is a true one.
#[inline]
fn mark(word: u64, byte: u8) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // Zero where the byte is.
    let differs = word ^ (LOW * u64::from(byte));
    differs.wrapping_sub(LOW) & !differs & HIGH
}

/// The first place that `marks` a word or `is` a byte there, not before `from`; eight bytes are
/// looked at at a time.
#[inline]
fn first_place(
    bytes: &[u8],
    from: usize,
    marks: impl Fn(u64) -> u64,
    is: impl Fn(u8) -> bool,
) -> Option<usize> {
    let (words, tail) = bytes.get(from..)?.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(from + index * 8 + (marked.trailing_zeros() / 8) as usize);
        }
    }
    let in_tail = tail.iter().position(|byte| is(*byte))?;
    Some(bytes.len() - tail.len() + in_tail)
}

/// The first place of a byte, not before `from`.
pub fn position(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    first_place(bytes, from, |word| mark(word, byte), |known| known == byte)
}

/// The first place of either separator, not before `from`, or else the end.
fn separator(bytes: &[u8], from: usize) -> usize {
    let marks = |word| mark(word, NAME_VALUE) | mark(word, PROPERTY);
    let is = |byte| byte == NAME_VALUE || byte == PROPERTY;
    first_place(bytes, from, marks, is).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::xorshift::XorShift;

    #[test]
    fn finding_is_what_a_search_of_the_pairs_finds() {
        let mut random = XorShift::new(1);
        let alphabet = b"ab\x01\x02\x01\x02";
        for _ in 0..20_000 {
            let length = random.below(40);
            let bytes = (0..length).map(|_| alphabet[random.below(alphabet.len())]);
            let text = String::from_utf8(bytes.collect()).unwrap();
            for name in ["a", "b", "ab", "ba", ""] {
                let segments = text.split(PROPERTY_SEPARATOR).rev();
                let mut pairs = segments.filter_map(|part| part.split_once(NAME_VALUE_SEPARATOR));
                let slowly =
                    pairs.find(|pair| pair.0 == name && !name.is_empty() && !pair.1.is_empty());
                assert_eq!(find(&text, name), slowly.map(|(_, value)| value), "{text:?} {name}");
            }
        }
    }

    #[test]
    fn reads_both_forms_and_drops_what_java_drops() {
        let text = "a\u{1}1\u{2}b\u{1}2\u{2}\u{2}c\u{1}\u{2}\u{1}x\u{2}plain\u{2}a\u{1}3\u{2}";
        let properties = Properties::parse(text);
        assert_eq!(properties.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
        assert_eq!(properties.encode(), "a\u{1}3\u{2}b\u{1}2");
        assert_eq!(find(text, "a"), Some("3"));
        assert_eq!(find(text, "c"), None);
        assert_eq!(find_each(text, ["c", "a", ""]), [None, Some("3"), None]);
    }

    /// Whatever the text is: reading is idempotent, and looking up one name agrees with the map.
    #[test]
    fn any_text_is_read() {
        let seed = "KEYS\u{1}k1 k2\u{2}TAGS\u{1}TagA\u{2}a\u{1}b\u{1}c\u{2}";
        let mut random = XorShift::new(4);
        for _ in 0..20_000 {
            let mut bytes = seed.as_bytes().to_vec();
            random.mutate(&mut bytes, b"\x01\x02ab");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let properties = Properties::parse(&text);
            assert_eq!(Properties::parse(&properties.encode()), properties);
            for (name, value) in properties.iter() {
                assert_eq!(find(&text, name), Some(value));
            }
            // The long way is the short way.
            let long = text.clone() + &"\u{2}".repeat(MANY_BYTES);
            assert_eq!(Properties::parse(&long), properties);
        }
    }

    /// Two hundred thousand names, each twice: looked up one by one that would be minutes.
    #[test]
    fn many_names_take_no_time() {
        let name = |number: usize| format!("n{}\u{1}{number}\u{2}", number % 200_000);
        let text: String = (0..400_000).map(name).collect();
        let properties = Properties::parse(&text);
        assert_eq!(properties.len(), 200_000);
        assert_eq!(properties.iter().nth(5), Some(("n5", "200005")));
    }
}
