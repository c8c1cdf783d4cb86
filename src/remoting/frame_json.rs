//! The JSON form of a header.
//!
//! Reading is lenient, because clients are: numbers and booleans among the fields, numbers as
//! text, unknown members, missing ones, whitespace after the object; and what fastjson reads beyond
//! JSON: names without quotes, single quotes, a comma after the last member. It goes straight from the
//! bytes into the [`Command`]: no tree, and one allocation for all fields together, for this runs
//! once a frame. Writing is strict: every field is a text, as the Go client requires.

use std::ops::Range;

use super::command::{Command, Decimal, Fields, Language, SerializeType};
use super::frame::FrameError;

/// Objects and arrays inside one another, in members that nobody reads.
const MAX_DEPTH: u32 = 64;

/// Decodes a header.
pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    match std::str::from_utf8(header) {
        Ok(text) => decode_text(text),
        Err(_) => decode_text(&String::from_utf8_lossy(header)),
    }
}

fn decode_text(text: &str) -> Result<Command, FrameError> {
    let mut scanner = Scanner { text, at: 0 };
    let mut command = Command { serialize: SerializeType::Json, ..Command::default() };
    scanner.object(|scanner, name| {
        match name.plain(text) {
            b"extFields" => scanner.fields(&mut command.fields)?,
            b"code" => command.code = scanner.value()?.int(text, "code")?,
            b"opaque" => command.opaque = scanner.value()?.int(text, "opaque")?,
            b"flag" => command.flag = scanner.value()?.int(text, "flag")?,
            b"version" => command.version = scanner.value()?.int(text, "version")?,
            b"language" => command.language = scanner.value()?.language(text),
            b"remark" => command.remark = scanner.value()?.text(text)?,
            _ => drop(scanner.value()?),
        }
        Ok(())
    })?;
    scanner.skip_whitespace();
    if scanner.at != text.len() {
        return Err(scanner.error("nothing after the object"));
    }
    Ok(command)
}

/// Where something stands in the header: a text between its quotes, or what has none.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    /// There are escapes in it.
    escaped: bool,
}

impl Place {
    fn raw(self, header: &str) -> &str {
        &header[self.start..self.end]
    }

    /// The text if nothing in it is escaped, as no name is that we know; else nothing.
    fn plain(self, header: &str) -> &[u8] {
        if self.escaped { b"" } else { &header.as_bytes()[self.start..self.end] }
    }

    /// Where the text stands in `fields`, which hold the header's; unescaped it goes to its end.
    fn within(self, header: &str, fields: &mut Fields) -> Result<Range<usize>, FrameError> {
        if self.escaped {
            fields.write(|out| unescape(self.raw(header), out))
        } else {
            Ok(self.start..self.end)
        }
    }
}

/// A value that is not looked into further.
#[derive(Clone, Copy)]
enum Value {
    Null,
    Text(Place),
    /// Number, boolean, object or array, as it stands.
    Raw(Place),
}

impl Value {
    fn text(self, header: &str) -> Result<Option<String>, FrameError> {
        let mut text = String::new();
        match self {
            Self::Null => return Ok(None),
            Self::Text(quoted) => unescape(quoted.raw(header), &mut text)?,
            Self::Raw(bare) => text.push_str(bare.raw(header)),
        }
        Ok(Some(text))
    }

    fn int(self, header: &str, name: &str) -> Result<i32, FrameError> {
        let text = match self {
            Self::Null => return Ok(0),
            Self::Text(place) | Self::Raw(place) => place.raw(header),
        };
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            FrameError(format!("JSON header: {name} is {shown}, expected a 32-bit integer"))
        })
    }

    fn language(self, header: &str) -> Language {
        match self {
            Self::Null => Language::JAVA,
            Self::Text(quoted) if quoted.escaped => Language::OTHER,
            Self::Text(quoted) => Language::from_name(quoted.raw(header)),
            Self::Raw(bare) => bare.raw(header).parse().map_or(Language::OTHER, Language),
        }
    }
}

/// A position in a header's text. Positions always lie on character borders, because only ASCII
/// is ever stepped over or stopped at.
///
/// Headers of real clients have no whitespace, so it is looked for only where something else than
/// the expected byte stands.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn error(&self, expected: &str) -> FrameError {
        FrameError(format!("JSON header, byte {}: expected {expected}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte after whitespace.
    fn next(&mut self) -> Option<u8> {
        match self.peek() {
            Some(b' ' | b'\t' | b'\n' | b'\r') => {
                self.skip_whitespace();
                self.peek()
            }
            other => other,
        }
    }

    /// Steps over `byte` if it is the next one after whitespace.
    fn found(&mut self, byte: u8) -> bool {
        let found = self.next() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn require(&mut self, byte: u8, what: &str) -> Result<(), FrameError> {
        if self.found(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Reads an object; `member` reads the value of each name.
    #[inline(always)] // Twice only, and each use knows its `member`.
    fn object(
        &mut self,
        member: impl FnMut(&mut Self, Place) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.require(b'{', "an object")?;
        self.members(member)
    }

    /// Reads the rest of an object.
    #[inline(always)] // As `object`.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Place) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        loop {
            // Also after a comma: fastjson reads it, so some client may write it.
            if self.found(b'}') {
                return Ok(());
            }
            let name = self.name()?;
            self.require(b':', "a colon")?;
            member(self, name)?;
            if !self.found(b',') {
                return self.require(b'}', "a comma or the end of the object");
            }
        }
    }

    /// Reads `extFields`: an object or null.
    fn fields(&mut self, fields: &mut Fields) -> Result<(), FrameError> {
        if self.next() != Some(b'{') {
            return match self.value()? {
                Value::Null => Ok(()),
                _ => Err(self.error("an object as extFields")),
            };
        }
        *fields = Fields::within(self.text);
        self.at += 1;
        while let Some((name, value)) = self.usual_member() {
            fields.push_within(name, value);
        }
        self.members(|scanner, name| {
            if let Value::Text(value) | Value::Raw(value) = scanner.value()? {
                let name = name.within(scanner.text, fields)?;
                let value = value.within(scanner.text, fields)?;
                fields.push_within(name, value);
            }
            Ok(())
        })
    }

    /// Steps over `"name":"value",` without escapes and whitespace, as nearly all fields of all
    /// clients are; gives the places of both. Steps over nothing else.
    fn usual_member(&mut self) -> Option<(Range<usize>, Range<usize>)> {
        let bytes = self.text.as_bytes();
        let text_at = |start| start..find_either(bytes, start, b'"', b'\\');
        let is = |at: usize, what: &[u8]| bytes.get(at..at + what.len()) == Some(what);
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let name = text_at(self.at + 1);
        if !is(name.end, b"\":\"") {
            return None;
        }
        let value = text_at(name.end + 3);
        if !is(value.end, b"\",") {
            return None;
        }
        self.at = value.end + 2;
        Some((name, value))
    }

    /// Reads a member's name, which may stand without quotes.
    fn name(&mut self) -> Result<Place, FrameError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote),
            _ => {
                let bare = self.bare();
                if bare.start == bare.end { Err(self.error("a name")) } else { Ok(bare) }
            }
        }
    }

    /// Reads a text from its opening quote to its closing one.
    #[inline]
    fn quoted(&mut self, quote: u8) -> Result<Place, FrameError> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let end = find_either(bytes, start, quote, b'\\');
        if bytes.get(end) == Some(&quote) {
            self.at = end + 1;
            return Ok(Place { start, end, escaped: false });
        }
        self.escaped(start, end, quote)
    }

    /// The rest of a text with escapes, the first of them at `at`.
    fn escaped(&mut self, start: usize, mut at: usize, quote: u8) -> Result<Place, FrameError> {
        let bytes = self.text.as_bytes();
        while bytes.get(at) == Some(&b'\\') {
            at = find_either(bytes, at + 2, quote, b'\\');
        }
        if bytes.get(at) != Some(&quote) {
            return Err(self.error("a text that ends"));
        }
        self.at = at + 1;
        Ok(Place { start, end: at, escaped: true })
    }

    /// Reads what stands without quotes: a number, a literal, a name.
    fn bare(&mut self) -> Place {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' | b'_' | b'$')
        ) {
            self.at += 1;
        }
        self.since(start)
    }

    /// What was stepped over since `start`.
    fn since(&self, start: usize) -> Place {
        Place { start, end: self.at, escaped: false }
    }

    fn value(&mut self) -> Result<Value, FrameError> {
        match self.next() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Value::Text),
            Some(b'{' | b'[') => {
                let start = self.at;
                self.skip_nested()?;
                Ok(Value::Raw(self.since(start)))
            }
            _ => {
                let bare = self.bare();
                match bare.plain(self.text) {
                    b"" => Err(self.error("a value")),
                    b"null" => Ok(Value::Null),
                    _ => Ok(Value::Raw(bare)),
                }
            }
        }
    }

    /// Steps over an object or array, of which only the brackets and texts are looked at. A bit of
    /// `open` says of each level whether it is an object.
    fn skip_nested(&mut self) -> Result<(), FrameError> {
        let mut open = 0u64;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        return Err(self.error("fewer objects inside one another"));
                    }
                    open = open << 1 | u64::from(bracket == b'{');
                    depth += 1;
                    self.at += 1;
                }
                Some(bracket @ (b'}' | b']')) => {
                    if open & 1 != u64::from(bracket == b'}') {
                        return Err(self.error("the other kind of bracket"));
                    }
                    open >>= 1;
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                Some(quote @ (b'"' | b'\'')) => {
                    self.quoted(quote)?;
                }
                Some(_) => self.at += 1,
                None => return Err(self.error("an object that ends")),
            }
        }
    }
}

/// Eight times the same byte.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each byte that is zero. A carry may set it in later bytes too, never in
/// earlier ones.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(eight(0x01)) & !word & eight(0x80)
}

/// Position of the first byte that `special` marks in a word or says to be one; at or after `from`,
/// or the end.
///
/// Eight bytes at a time: most texts of a header are shorter than that, and a loop over single
/// bytes would end each with a branch that no processor guesses.
#[inline(always)] // It is its two users.
fn find(bytes: &[u8], from: usize, special: impl Fn(u64) -> u64) -> usize {
    let mut at = from.min(bytes.len());
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let found = special(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    // The last bytes, followed by some that are never special.
    let rest = &bytes[at..];
    let mut chunk = *b"________";
    chunk[..rest.len()].copy_from_slice(rest);
    match special(u64::from_le_bytes(chunk)) {
        0 => bytes.len(),
        found => at + found.trailing_zeros() as usize / 8,
    }
}

/// Position of the first `one` or `other`.
#[inline(always)] // The bytes are known where it is used.
fn find_either(bytes: &[u8], from: usize, one: u8, other: u8) -> usize {
    find(bytes, from, |word| zeros(word ^ eight(one)) | zeros(word ^ eight(other)))
}

/// Position of the first quote, backslash or control character: what must be escaped.
pub(super) fn find_special(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |word| {
        let control = word.wrapping_sub(eight(0x20)) & !word & eight(0x80);
        zeros(word ^ eight(b'"')) | zeros(word ^ eight(b'\\')) | control
    })
}

/// Appends `raw` with its escapes resolved. Half a surrogate pair becomes U+FFFD.
fn unescape(raw: &str, out: &mut String) -> Result<(), FrameError> {
    let mut from = 0;
    loop {
        let at = find_either(raw.as_bytes(), from, b'\\', b'\\');
        out.push_str(&raw[from..at]);
        if at == raw.len() {
            return Ok(());
        }
        from = at + 2;
        out.push(match raw.as_bytes().get(at + 1) {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(same @ (b'"' | b'\\' | b'/' | b'\'')) => char::from(*same),
            Some(b'u') => {
                let (character, digits) = unicode_escape(&raw.as_bytes()[from..])?;
                from += digits;
                character
            }
            _ => return Err(FrameError("JSON header: an escape that JSON does not have".into())),
        });
    }
}

/// The character of `XXXX` (what follows `\u`), or of `XXXX\uXXXX`, and the bytes it takes.
fn unicode_escape(rest: &[u8]) -> Result<(char, usize), FrameError> {
    let Some(first) = hexadecimal(rest) else {
        return Err(FrameError("JSON header: \\u without four hexadecimal digits".into()));
    };
    if let Some(character) = char::from_u32(first.into()) {
        return Ok((character, 4));
    }
    let second = rest[4..].strip_prefix(b"\\u").and_then(hexadecimal);
    if let Some(second) = second
        && let Some(Ok(pair)) = char::decode_utf16([first, second]).next()
    {
        return Ok((pair, 10));
    }
    Ok((char::REPLACEMENT_CHARACTER, 4))
}

/// The number of the first four digits.
fn hexadecimal(digits: &[u8]) -> Option<u16> {
    let digits = digits.first_chunk::<4>()?;
    digits
        .iter()
        .try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)? as u16))
}

/// Appends the header of `command`, members in Java's (alphabetical) order.
pub(super) fn encode(command: &Command, out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, name: &str, value: i32| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(Decimal::new(value.into()).as_bytes());
    };
    number(out, "{\"code\":", command.code);
    if !command.fields.is_absent() {
        out.extend_from_slice(b",\"extFields\":{");
        let put = if command.fields.are_plain() { put_plain } else { put_quoted };
        for (index, (name, value)) in command.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            put(out, name);
            out.push(b':');
            put(out, value);
        }
        out.push(b'}');
    }
    number(out, ",\"flag\":", command.flag);
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(command.language.name().as_bytes());
    number(out, "\",\"opaque\":", command.opaque);
    if let Some(remark) = &command.remark {
        out.extend_from_slice(b",\"remark\":");
        put_quoted(out, remark);
    }
    number(out, ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":", command.version);
    out.push(b'}');
}

/// A text in which nothing must be escaped.
fn put_plain(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn put_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = find_special(bytes, from);
        out.extend_from_slice(&bytes[from..at]);
        let Some(special) = bytes.get(at) else { break };
        put_escape(out, *special);
        from = at + 1;
    }
    out.push(b'"');
}

fn put_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x20.. => byte,
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Command {
        decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn lenient_about_what_clients_send() {
        // The C++ client: numbers and booleans as fields, an empty remark, a newline at the end.
        let command = read(
            "{\"code\":310,\"extFields\":{\"d\":4,\"k\":false,\"x\":null,\"y\":-1.5e3,\"z\":{\"a\":[1,\"}\"]}},\
             \"flag\":0,\"language\":\"CPP\",\"opaque\":12,\"remark\":\"\",\"version\":63}\n",
        );
        assert_eq!(
            command.fields.iter().collect::<Vec<_>>(),
            [("d", "4"), ("k", "false"), ("y", "-1.5e3"), ("z", "{\"a\":[1,\"}\"]}")]
        );
        assert_eq!(command.remark.as_deref(), Some(""));
        assert_eq!((command.language, command.version), (Language(1), 63));
        // Numbers as text, unknown members, whitespace, members missing.
        let command = read(
            r#" { "new" : [ {"a":"]"} , 1 ] , "code" : "34" , "opaque":"-7", "extFields" : null, "language":"KLINGON" } "#,
        );
        assert_eq!((command.code, command.opaque, command.flag), (34, -7, 0));
        assert!(command.fields.is_absent());
        assert_eq!(command.language, Language::OTHER);
        assert_eq!(command.remark, None);
        let command = read(r#"{"extFields":{},"serializeTypeCurrentRPC":"JSON"}"#);
        assert!(command.fields.is_empty() && !command.fields.is_absent());
        assert_eq!(read("{}").code, 0);
        // What only fastjson reads.
        let command =
            read(r#"{code:11,'opaque':'7',"extFields":{topic:'it\'s "T"','new':{'}':'\''},},}"#);
        assert_eq!((command.code, command.opaque), (11, 7));
        assert_eq!(command.fields.get("topic"), Some("it's \"T\""));
        assert_eq!(command.fields.get("new"), Some(r"{'}':'\''}"));
    }

    #[test]
    fn escapes() {
        let command = read(
            r#"{"extFields":{"n\u0061me":"\u4E3B\ud83d\ude80\\\"\/\b\f\n\r\t\u0001","half":"\ud83dx"}}"#,
        );
        assert_eq!(command.fields.get("name"), Some("主🚀\\\"/\u{8}\u{c}\n\r\t\u{1}"));
        assert_eq!(command.fields.get("half"), Some("\u{FFFD}x"));
        let mut out = Vec::new();
        put_quoted(&mut out, "a\u{1}\u{1f}\n\"\\é/");
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\u0001\\u001f\\n\\\"\\\\é/\"");
    }

    #[test]
    fn special_bytes_are_found_wherever_they_stand() {
        let mut bytes = b"ordinary \x7f text! [with] \xc3\xa9\xff ~ and # more".to_vec();
        assert_eq!(find_special(&bytes, 0), bytes.len());
        assert_eq!(find_special(&bytes, bytes.len() + 2), bytes.len());
        for at in 0..bytes.len() {
            for special in [0, 1, 0x1F, b'"', b'\\'] {
                let before = std::mem::replace(&mut bytes[at], special);
                for from in 0..=at {
                    assert_eq!(find_special(&bytes, from), at);
                }
                assert_eq!(find_special(&bytes, at + 1), bytes.len());
                bytes[at] = before;
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced() {
        let command = decode(b"{\"code\":1,\"remark\":\"a\xffb\"}").unwrap();
        assert_eq!(command.remark.as_deref(), Some("a\u{FFFD}b"));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            "{\"code\"",
            "{\"code\":",
            "{\"code\":1",
            "{\"code\":\"x\"}",
            "{\"code\":1.5}",
            "{\"opaque\":4294967296}",
            "{\"extFields\":[]}",
            "{\"extFields\":{\"a\":}}",
            "{\"a\":[}]}",
            "{\"a\":\"\\",
            "{\"remark\":\"\\u12\"}",
            "{\"remark\":\"\\x\"}",
            "{}x",
            "{\"remark\":\"\\u+123\"}",
        ] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{{\"a\":{}}}", "[".repeat(100_000));
        assert!(decode(deep.as_bytes()).unwrap_err().0.contains("fewer"));
    }
}
