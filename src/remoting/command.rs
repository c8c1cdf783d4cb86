//! [`Command`]: one request or response, decoded.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use super::frame_json::find_special;
pub use crate::common::shared_bytes::SharedBytes;

/// Release ordinal in every frame we send: V4_9_8.
pub const VERSION: i32 = 409;
/// Flag bit: the frame is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit: no response is wanted.
pub const FLAG_ONEWAY: i32 = 2;

/// How a header is written; the top byte of the frame's header word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerializeType {
    /// JSON object.
    #[default]
    Json = 0,
    /// The compact binary form.
    RocketMq = 1,
}

/// Language code of the sender (spec: remoting 1.5), as its number; 0 is Java.
///
/// A JSON header carries the name, a binary one the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

impl Language {
    /// What every frame that we send says: all clients know it.
    pub const JAVA: Self = Self(0);
    /// What a language is called that nobody knows.
    pub const OTHER: Self = Self(7);

    const NAMES: [&str; 14] = [
        "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO",
        "PHP", "OMS", "RUST", "NODE_JS",
    ];

    /// The name on the wire; an unknown number is `OTHER`.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// The language of that name; an unknown name is [`OTHER`](Self::OTHER).
    pub fn from_name(name: &str) -> Self {
        let at = Self::NAMES.iter().position(|known| *known == name);
        at.map_or(Self::OTHER, |at| Self(at as u8))
    }
}

/// The header's `extFields`: names and texts, in order.
///
/// One string holds all of them, so decoding a header costs two allocations whatever it carries:
/// the string is a copy of the header as it came, and a field is where it stands in there.
#[derive(Clone, Default)]
pub struct Fields {
    text: String,
    spans: Vec<Span>,
    present: bool,
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

impl Fields {
    /// None yet, with room for so many with so many bytes of names and values.
    pub fn with_capacity(fields: usize, text_bytes: usize) -> Self {
        let (text, spans) = (String::with_capacity(text_bytes), Vec::with_capacity(fields));
        Self { text, spans, present: false }
    }

    /// The value of `name`; the last one wins.
    pub fn get(&self, name: &str) -> Option<&str> {
        let text = self.text.as_bytes();
        let first = name.as_bytes().first();
        // Lengths and first bytes tell most names apart without a call that compares.
        let same = |span: &&Span| {
            let at = range(span.name);
            at.len() == name.len() && text.get(at.start) == first && text[at] == *name.as_bytes()
        };
        self.spans.iter().rev().find(same).map(|span| &self.text[range(span.value)])
    }

    /// No fields yet, of a header with that text. [`push_within`](Self::push_within) adds those
    /// that stand in it.
    pub(super) fn within(text: &str) -> Self {
        // Twice: for those that must be unescaped first.
        let mut copy = String::with_capacity(2 * text.len());
        copy.push_str(text);
        Self { text: copy, spans: Vec::with_capacity(TYPICAL_FIELDS), present: true }
    }

    /// Adds a field whose name and value are those bytes of the text.
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
        self.push_with(name, |text| text.push_str(Decimal::new(value).as_str()));
    }

    fn push_with(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        self.present = true;
        if self.spans.capacity() == 0 {
            self.spans.reserve(TYPICAL_FIELDS);
            self.text.reserve(TYPICAL_TEXT_BYTES);
        }
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        value(&mut self.text);
        self.push_within(start..middle, middle..self.text.len());
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
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans.iter().map(|span| (&self.text[range(span.name)], &self.text[range(span.value)]))
    }

    /// Whether nothing in them must be escaped in JSON; no is no promise.
    pub(super) fn are_plain(&self) -> bool {
        find_special(self.text.as_bytes(), 0) == self.text.len()
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

/// Fields for which room is made at once: a send has 14, a pull 12.
const TYPICAL_FIELDS: usize = 14;
/// Bytes for their names and values, without a message's properties.
const TYPICAL_TEXT_BYTES: usize = 256;

/// A number as decimal text on the stack. Every header of every frame has a dozen of them, and the
/// general formatting costs several times as much.
pub(super) struct Decimal {
    /// The digits stand at the end.
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(value: i64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        let mut rest = value.unsigned_abs();
        while rest >= 10 {
            let two = (rest % 100) as u8;
            rest /= 100;
            start -= 2;
            digits[start] = b'0' + two / 10;
            digits[start + 1] = b'0' + two % 10;
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

/// What follows the header.
#[derive(Clone, Default)]
pub enum Body {
    /// Nothing (Java's null).
    #[default]
    Empty,
    /// Owned bytes.
    Bytes(Vec<u8>),
    /// Somebody else's, sent without a copy.
    Shared(Arc<dyn SharedBytes>),
}

impl Body {
    /// Bytes of the body.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(shared) => shared.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if owned (a decoded command's always are).
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The bytes; copies a shared body.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Bytes(bytes) => bytes,
            Self::Shared(shared) => {
                let mut slices = Vec::new();
                shared.slices(&mut slices);
                slices.iter().flat_map(|slice| slice.iter().copied()).collect()
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Request code or response code.
    pub code: i32,
    /// Sender's language.
    pub language: Language,
    /// Sender's release ordinal.
    pub version: i32,
    /// Chosen by the requester, echoed in the response.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people.
    pub remark: Option<String>,
    /// The typed header's fields, and whatever else the peer sent.
    pub fields: Fields,
    /// How the header was, or is to be, written.
    pub serialize: SerializeType,
    /// Body.
    pub body: Body,
}

impl Command {
    /// A request; the opaque is assigned when it is sent.
    pub fn request(code: i32) -> Self {
        Self { code, version: VERSION, ..Self::default() }
    }

    /// A response; opaque and serialization are taken from the request when it is sent.
    pub fn response(code: i32) -> Self {
        Self { code, version: VERSION, flag: FLAG_RESPONSE, ..Self::default() }
    }

    /// A response with a remark.
    pub fn failure(code: i32, remark: impl Into<String>) -> Self {
        Self { remark: Some(remark.into()), ..Self::response(code) }
    }

    /// Makes this the response to the request with that opaque and serialization: all that the
    /// requester does not see of the handler's work is set here, in one place.
    pub(super) fn addressed(mut self, opaque: i32, serialize: SerializeType) -> Self {
        self.opaque = opaque;
        self.serialize = serialize;
        self.flag |= FLAG_RESPONSE;
        self.version = VERSION;
        self.language = Language::JAVA;
        self
    }

    /// Adds a typed header's fields.
    pub fn with_header(mut self, header: &impl super::header::Header) -> Self {
        header.encode(&mut self.fields);
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the remark.
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Decodes the typed header.
    pub fn header<H: super::header::Header>(&self) -> Result<H, super::header::HeaderError> {
        H::decode(&self.fields)
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no response is wanted.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
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
        fields.push_int("b", i64::MIN);
        fields.push("a", 2.5);
        assert_eq!(fields.get("a"), Some("2.5"));
        assert_eq!(fields.get("b"), Some("-9223372036854775808"));
        fields.set("a", "");
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("b", "-9223372036854775808"), ("a", "")]);
        fields.remove("a");
        fields.remove("b");
        assert!(fields.is_empty() && !fields.is_absent());
    }

    #[test]
    fn decimals_are_what_the_general_formatting_writes() {
        for value in [0, 7, -7, 10, 409, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            assert_eq!(Decimal::new(value).as_str(), value.to_string());
        }
    }

    #[test]
    fn languages_have_names_and_numbers() {
        assert_eq!(Language::from_name("GO"), Language(9));
        assert_eq!(Language(9).name(), "GO");
        assert_eq!(Language::from_name("COBOL"), Language::OTHER);
        assert_eq!(Language(200).name(), "OTHER");
    }
}
