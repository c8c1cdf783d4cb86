//! [`Fields`]: the names and texts of a header, beside what every header has.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::mem::take;
use std::ops::Range;

use super::json_text::is_plain_json;

/// The header's `extFields`: names and texts, in order.
///
/// One string holds all of them, and a field is where it stands in there, so a header costs two
/// allocations whatever it carries, or none when its thread has them from a header that is gone:
///
/// * of a header that came, the string is a copy of it as it came, and what had to be unescaped
///   behind that;
/// * of a header that is made, the string is `"name":"value","name":"value","`: what is to leave as
///   JSON leaves with one copy (`as_json`).
#[derive(Clone, Default)]
pub struct Fields {
    text: String,
    spans: Vec<Span>,
    present: bool,
    /// There is more in the text than the fields that were made, one after another.
    loose: bool,
}

/// Where a field stands in the text: bytes from and to.
#[derive(Clone, Copy)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

/// The bytes of a span.
fn range((from, to): (u32, u32)) -> Range<usize> {
    from as usize..to as usize
}

/// Fields for which room is made at once: a send has 14, a pull 12.
const USUAL_FIELDS: usize = 14;
/// Bytes for their names and values, twice for those that must be unescaped.
const USUAL_TEXT_BYTES: usize = 1024;
/// Headers whose allocations a thread keeps: a request, its answer, and one more of each.
const SPARE_HEADERS: usize = 4;

thread_local! {
    /// Text and spans of headers that are gone. Only those of the usual size are kept.
    static SPARE: RefCell<Vec<(String, Vec<Span>)>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Fields {
    fn drop(&mut self) {
        if self.text.capacity() != USUAL_TEXT_BYTES || self.spans.capacity() != USUAL_FIELDS {
            return;
        }
        // A thread that ends has none any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_HEADERS {
                self.text.clear();
                self.spans.clear();
                spare.push((take(&mut self.text), take(&mut self.spans)));
            }
        });
    }
}

/// Bytes that JSON adds to each name and value, besides a quote in front of all.
const JSON_BYTES: usize = "\":\"\",\"".len();

impl Fields {
    /// None yet, with room for so many with so many bytes of names and values.
    pub fn with_capacity(fields: usize, text_bytes: usize) -> Self {
        let mut made = Self::default();
        made.make_room(fields, text_bytes + fields * JSON_BYTES + 1);
        made
    }

    /// The value of `name`; the last one wins.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (text, name) = (self.text.as_bytes(), name.as_bytes());
        // Lengths and first bytes tell most names apart without a call that compares.
        let same = |span: &&Span| {
            let (from, to) = span.name;
            (to - from) as usize == name.len()
                && text.get(from as usize) == name.first()
                && (name.len() == 1 || text[range(span.name)] == *name)
        };
        self.spans.iter().rev().find(same).map(|span| self.value(span))
    }

    fn name(&self, span: &Span) -> &str {
        &self.text[range(span.name)]
    }

    fn value(&self, span: &Span) -> &str {
        &self.text[range(span.value)]
    }

    /// No fields yet, of a header with that text. [`push_within`](Self::push_within) adds those
    /// that stand in it.
    pub(super) fn within(text: &str) -> Self {
        let mut fields = Self::default();
        (fields.present, fields.loose) = (true, true);
        fields.make_room(USUAL_FIELDS, 2 * text.len());
        fields.text.push_str(text);
        fields
    }

    /// Allocates what an empty header needs.
    fn make_room(&mut self, fields: usize, text_bytes: usize) {
        if fields > USUAL_FIELDS || text_bytes > USUAL_TEXT_BYTES {
            self.text = String::with_capacity(text_bytes);
            self.spans = Vec::with_capacity(fields);
            return;
        }
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        (self.text, self.spans) = spare.ok().flatten().unwrap_or_else(|| {
            (String::with_capacity(USUAL_TEXT_BYTES), Vec::with_capacity(USUAL_FIELDS))
        });
    }

    /// Adds a field whose name and value are those bytes of the text.
    #[inline]
    pub(super) fn push_within(&mut self, name: Range<usize>, value: Range<usize>) {
        let pair = |range: Range<usize>| (range.start as u32, range.end as u32);
        self.spans.push(Span { name: pair(name), value: pair(value) });
    }

    /// Appends what `write` writes to the text, for [`push_within`](Self::push_within).
    pub(super) fn write<E>(
        &mut self,
        write: impl FnOnce(&mut String) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.text.len();
        write(&mut self.text)?;
        Ok(start..self.text.len())
    }

    /// Appends a field.
    pub fn push(&mut self, name: &str, value: impl fmt::Display) {
        self.push_with(name, |text| {
            let _ = write!(text, "{value}");
        });
    }

    /// Appends a text field (cheaper than [`push`](Self::push)).
    pub fn push_str(&mut self, name: &str, value: &str) {
        self.push_with(name, |text| text.push_str(value));
    }

    /// Appends a number (cheaper than [`push`](Self::push)).
    pub fn push_int(&mut self, name: &str, value: i64) {
        self.push_with(name, |text| match value {
            0..=9 => text.push(char::from(b'0' + value as u8)),
            _ => text.push_str(Decimal::new(value).as_str()),
        });
    }

    fn push_with(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        self.present = true;
        if self.spans.capacity() == 0 {
            self.make_room(0, 0);
        }
        let text = &mut self.text;
        if text.is_empty() {
            text.push('"');
        }
        let name_start = text.len();
        text.push_str(name);
        let name_end = text.len();
        text.push_str("\":\"");
        let value_start = text.len();
        value(text);
        let value_end = text.len();
        text.push_str("\",\"");
        self.push_within(name_start..name_end, value_start..value_end);
    }

    /// Fields that are there, though there may be none.
    pub(super) fn set_present(&mut self) {
        self.present = true;
    }

    /// Replaces or appends a field.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push_str(name, value);
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        let text = &self.text;
        self.spans.retain(|span| &text[range(span.name)] != name);
        self.loose = true;
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans.iter().map(|span| (self.name(span), self.value(span)))
    }

    /// As [`iter`](Self::iter), for a search among all names: as bytes they cost less.
    pub(in crate::remoting) fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &str)> {
        let names = self.text.as_bytes();
        self.spans.iter().map(|span| (&names[range(span.name)], self.value(span)))
    }

    /// All fields as JSON has them, without the brackets, if they stand so in the text and nothing
    /// in them must be escaped.
    pub(super) fn as_json(&self) -> Option<&str> {
        let Some(json) = self.text.strip_suffix(",\"") else {
            return self.text.is_empty().then_some("");
        };
        // There are four quotes to a field.
        let plain = !self.loose && is_plain_json(json.as_bytes(), 4 * self.spans.len());
        plain.then_some(json)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// No field, though `extFields` may have been there.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// `extFields` was not in the header at all (Java's null).
    pub fn is_absent(&self) -> bool {
        !self.present
    }

    /// Says that `extFields` was there, even if empty.
    pub fn mark_present(&mut self) {
        self.present = true;
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// A number as decimal text on the stack. Every header of every frame has a dozen of them, and the
/// general formatting costs several times as much.
pub(super) struct Decimal {
    /// The digits stand at the end.
    digits: [u8; 20],
    start: usize,
}

/// The digits of 0 to 99.
const TWO_DIGITS: [[u8; 2]; 100] = {
    let mut digits = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < digits.len() {
        digits[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    digits
};

impl Decimal {
    pub(super) fn new(value: i64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        let mut rest = value.unsigned_abs();
        while rest >= 10 {
            let two = rest % 100;
            rest /= 100;
            start -= 2;
            digits[start..start + 2].copy_from_slice(&TWO_DIGITS[two as usize]);
        }
        // The first of an odd number of digits, or a zero alone.
        if rest > 0 || start == digits.len() {
            start -= 1;
            digits[start] = b'0' + rest as u8;
        }
        if value < 0 {
            start -= 1;
            digits[start] = b'-';
        }
        Self { digits, start }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_order_and_the_last_of_a_name_wins() {
        let mut fields = Fields::default();
        assert!(fields.is_absent());
        fields.push_str("a", "1");
        fields.push_int("bc", i64::MIN);
        fields.push("a", 2.5);
        assert_eq!(fields.get("a"), Some("2.5"));
        assert_eq!(fields.get("bc"), Some("-9223372036854775808"));
        assert_eq!((fields.get("b"), fields.get("")), (None, None));
        assert_eq!(fields.as_json(), Some(r#""a":"1","bc":"-9223372036854775808","a":"2.5""#));
        fields.set("bc", "");
        fields.push_str("z", "0");
        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [("a", "1"), ("a", "2.5"), ("bc", ""), ("z", "0")]
        );
        assert_eq!((fields.get("a"), fields.get("z")), (Some("2.5"), Some("0")));
        assert_eq!(fields.as_json(), None);
        fields.remove("a");
        assert_eq!((fields.get("a"), fields.get("z")), (None, Some("0")));
        fields.remove("bc");
        fields.remove("z");
        assert!(fields.is_empty() && !fields.is_absent());
    }

    #[test]
    fn a_header_that_is_gone_leaves_its_room_and_not_its_fields() {
        // On a thread of its own, so that nothing else leaves any.
        let thread = std::thread::spawn(|| {
            let mut gone = Fields::within("text of a header");
            gone.push_within(0..4, 5..7);
            let room = gone.text.as_ptr();
            drop(gone);
            let mut made = Fields::with_capacity(2, 10);
            assert_eq!((made.text.as_ptr(), made.len(), made.is_absent()), (room, 0, true));
            made.push_str("name", "value");
            assert_eq!(made.as_json(), Some(r#""name":"value""#));
            // What is larger than usual is made for it, and is not kept.
            let large = Fields::within(&"x".repeat(USUAL_TEXT_BYTES));
            assert!(large.text.capacity() >= 2 * USUAL_TEXT_BYTES);
            drop(large);
            assert_eq!(SPARE.with(|spare| spare.borrow().len()), 0);
            let many: Vec<_> = (0..10).map(|_| Fields::within("")).collect();
            drop(many);
            assert_eq!(SPARE.with(|spare| spare.borrow().len()), SPARE_HEADERS);
        });
        thread.join().unwrap();
    }

    #[test]
    fn fields_that_need_escapes_are_not_json_as_they_stand() {
        let with = |name: &str, value: &str| {
            let mut fields = Fields::default();
            fields.push_str("first", "é");
            fields.push_str(name, value);
            fields.as_json().map(str::to_owned)
        };
        assert_eq!(with("n", "v/'~").as_deref(), Some(r#""first":"é","n":"v/'~""#));
        for odd in ["\"", "\\", "\u{1}", "\u{1f}", "a text long enough for two words\n"] {
            assert_eq!((with(odd, "v"), with("n", odd)), (None, None), "{odd:?}");
        }
    }

    #[test]
    fn decimals_are_what_the_general_formatting_writes() {
        for value in [0, 7, -7, 10, 409, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            assert_eq!(Decimal::new(value).as_str(), value.to_string());
        }
    }
}
