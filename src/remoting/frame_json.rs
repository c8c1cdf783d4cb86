//! The JSON form of a header.
//!
//! Reading is lenient, because clients are: numbers and booleans among the fields, numbers as
//! text, unknown members, missing ones, whitespace after the object; and what fastjson reads beyond
//! JSON: names without quotes, single quotes, a comma after the last member. (What is rarer still is
//! refused here, and read by `frame_dialect` then.) It goes straight from the
//! bytes into the [`Command`]: no tree, and one copy for all fields together, for this runs once a
//! frame. Writing is strict: every field is a text, as the Go client requires.
//!
//! The [`Scanner`] reads all of that. Before each step it tries a short cut for what nearly all
//! clients write in one and the same way (the functions named `usual_`), which reads just that or
//! nothing. So no client has to be usual throughout, and what a header says does not depend on the
//! short cuts: the tests read usual, odd and damaged headers with them and without.

use std::ops::Range;

use super::command::{Command, FLAG_RESPONSE, Language, SerializeType};
use super::fields::{Decimal, Fields};
use super::frame::FrameError;
use super::frame_dialect;
use super::json_text::{find_end, put_quoted, unescape};
use crate::common::json::is_same_name;

/// Objects and arrays inside one another, in members that nobody reads.
const MAX_DEPTH: u32 = 64;

/// Decodes a header.
pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    let read = match std::str::from_utf8(header) {
        Ok(text) => decode_text::<true>(text),
        Err(_) => decode_text::<true>(&String::from_utf8_lossy(header)),
    };
    read.or_else(|error| frame_dialect::decode(header).ok_or(error))
}

/// Decodes a header; with the short cuts for what is usual, or without, which tells the same.
fn decode_text<const USUAL: bool>(text: &str) -> Result<Command, FrameError> {
    let mut scanner = Scanner::<USUAL> { text, at: 0 };
    let mut command = Command { serialize: SerializeType::Json, ..Command::default() };
    scanner.require(b'{', "an object")?;
    while let Some(member) = scanner.header_member()? {
        match member {
            Member::Fields => scanner.fields(&mut command.fields)?,
            Member::Code => command.code = scanner.int("code")?,
            Member::Opaque => command.opaque = scanner.int("opaque")?,
            Member::Flag => command.flag = scanner.int("flag")?,
            Member::Version => command.version = scanner.int("version")?,
            Member::Language => command.language = scanner.language()?,
            Member::JavaLanguage => command.language = Language::JAVA,
            Member::Remark => command.remark = scanner.value()?.text(text)?,
            Member::Other => drop(scanner.value()?),
            Member::Serialization => {}
        }
        scanner.end_of_member()?;
    }
    scanner.skip_whitespace();
    if scanner.at != text.len() {
        return Err(scanner.error("nothing after the object"));
    }
    Ok(command)
}

/// The names of the members that are read.
const KNOWN: [&str; 7] = ["code", "extFields", "flag", "language", "opaque", "remark", "version"];

/// A member of the header, up to its value.
enum Member {
    Code,
    Fields,
    Flag,
    Language,
    Opaque,
    Remark,
    Version,
    /// One that says nothing here.
    Other,
    /// The language with its value, which is Java.
    JavaLanguage,
    /// The serialization with its value, which says nothing: the frame has said it.
    Serialization,
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
            fields.write(|out| unescape(header, self.start, out).map(drop))
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
            Self::Text(quoted) => drop(unescape(header, quoted.start, &mut text)?),
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
}

/// A position in a header's text. Positions always lie on character borders, because only ASCII
/// is ever stepped over or stopped at.
///
/// Headers of real clients have no whitespace, so it is looked for only where something else than
/// the expected byte stands. `USUAL` says whether the short cuts are taken:
/// [`usual_name`](Self::usual_name), [`usual_int`], [`usual_fields`]. What they do not read is left
/// to the general way, from the same position.
struct Scanner<'a, const USUAL: bool> {
    text: &'a str,
    at: usize,
}

impl<const USUAL: bool> Scanner<'_, USUAL> {
    #[cold]
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
    #[inline]
    fn found(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte) || self.next() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn require(&mut self, byte: u8, what: &str) -> Result<(), FrameError> {
        if self.found(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Reads the name of the header's next member; or the end of the header.
    #[inline]
    fn header_member(&mut self) -> Result<Option<Member>, FrameError> {
        if USUAL && let Some(member) = self.usual_name() {
            return Ok(Some(member));
        }
        let Some(name) = self.member()? else { return Ok(None) };
        Ok(Some(match name.plain(self.text) {
            b"code" => Member::Code,
            b"extFields" => Member::Fields,
            b"flag" => Member::Flag,
            b"language" => Member::Language,
            b"opaque" => Member::Opaque,
            b"remark" => Member::Remark,
            b"version" => Member::Version,
            _ => self.other_member(name)?,
        }))
    }

    /// A member that nobody reads. If its name is one that is read, but written otherwise, it is not
    /// for this reader.
    #[cold]
    fn other_member(&self, name: Place) -> Result<Member, FrameError> {
        let raw = name.raw(self.text);
        if name.escaped || KNOWN.iter().any(|known| is_same_name(raw, known)) {
            return Err(self.error("a name as it is usually written"));
        }
        Ok(Member::Other)
    }

    /// Reads a name that the header of nearly every frame has, as it is written there; nothing else.
    #[inline]
    fn usual_name(&mut self) -> Option<Member> {
        let rest = self.text.as_bytes().get(self.at..)?;
        // The compiler compares each with a few words.
        let after = |usual: &[u8]| rest.starts_with(usual).then_some(self.at + usual.len());
        let (member, end) = match rest.get(1)? {
            b'c' => (Member::Code, after(b"\"code\":")?),
            b'e' => (Member::Fields, after(b"\"extFields\":")?),
            b'f' => (Member::Flag, after(b"\"flag\":")?),
            b'l' => (Member::JavaLanguage, after(b"\"language\":\"JAVA\"")?),
            b'o' => (Member::Opaque, after(b"\"opaque\":")?),
            b's' => (Member::Serialization, after(b"\"serializeTypeCurrentRPC\":\"JSON\"")?),
            b'v' => (Member::Version, after(b"\"version\":")?),
            _ => return None,
        };
        self.at = end;
        Some(member)
    }

    /// Reads the name of an object's next member, up to its value; or the end of the object.
    #[inline]
    fn member(&mut self) -> Result<Option<Place>, FrameError> {
        // Also after a comma: fastjson reads it, so some client may write it.
        if self.found(b'}') {
            return Ok(None);
        }
        let name = self.name()?;
        self.require(b':', "a colon")?;
        Ok(Some(name))
    }

    /// What follows a member's value: a comma, or the end of the object, which is left.
    #[inline]
    fn end_of_member(&mut self) -> Result<(), FrameError> {
        if self.found(b',') || self.next() == Some(b'}') {
            return Ok(());
        }
        Err(self.error("a comma or the end of the object"))
    }

    /// Reads `extFields`: an object or null.
    fn fields(&mut self, fields: &mut Fields) -> Result<(), FrameError> {
        if self.next() != Some(b'{') {
            return match self.value()? {
                Value::Null => {
                    *fields = Fields::default();
                    Ok(())
                }
                _ => Err(self.error("an object as extFields")),
            };
        }
        *fields = Fields::within(self.text);
        self.at += 1;
        loop {
            if USUAL {
                self.at = usual_fields(self.text, self.at, fields);
            }
            let Some(name) = self.member()? else { return Ok(()) };
            if let Value::Text(value) | Value::Raw(value) = self.value()? {
                let name = name.within(self.text, fields)?;
                let value = value.within(self.text, fields)?;
                fields.push_within(name, value);
            }
            self.end_of_member()?;
        }
    }

    /// Reads a member's name, which may stand without quotes.
    #[inline]
    fn name(&mut self) -> Result<Place, FrameError> {
        match self.peek() {
            Some(b'"') => self.quoted(b'"'),
            Some(b'\'') => self.quoted(b'\''),
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
        let end = find_end(bytes, start, quote);
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
            at = find_end(bytes, at + 2, quote);
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

    /// Reads a number, or a text that says one.
    #[inline]
    fn int(&mut self, name: &str) -> Result<i32, FrameError> {
        if USUAL && let Some((number, end)) = usual_int(self.text.as_bytes(), self.at) {
            self.at = end;
            return Ok(number);
        }
        self.other_int(name)
    }

    #[cold]
    fn other_int(&mut self, name: &str) -> Result<i32, FrameError> {
        self.value()?.int(self.text, name)
    }

    /// Reads a language's name, or its number.
    fn language(&mut self) -> Result<Language, FrameError> {
        Ok(match self.value()? {
            Value::Null => Language::JAVA,
            Value::Text(quoted) if quoted.escaped => return Err(self.error("a plain name")),
            Value::Text(quoted) => Language::from_name(quoted.raw(self.text)),
            Value::Raw(bare) => {
                let number = bare.raw(self.text).parse().ok().and_then(Language::from_number);
                number.ok_or_else(|| self.error("a language"))?
            }
        })
    }

    fn value(&mut self) -> Result<Value, FrameError> {
        match self.next() {
            Some(b'"') => self.quoted(b'"').map(Value::Text),
            Some(b'\'') => self.quoted(b'\'').map(Value::Text),
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
                    b"true" | b"false" => Ok(Value::Raw(bare)),
                    number if is_number(number) => Ok(Value::Raw(bare)),
                    _ => Err(self.error("a number, true, false or null")),
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

/// Whether it begins as a number and has nothing in it that numbers have not.
fn is_number(bare: &[u8]) -> bool {
    bare.first().is_some_and(|first| first.is_ascii_digit() || b"+-".contains(first))
        && bare.iter().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(byte))
}

/// Reads fields that are written as nearly all fields of all clients are, `"name":"value",` without
/// whitespace and without escapes in the name, up to one that is not or the end of the object; gives
/// the position there.
#[inline(never)] // A loop that needs all registers.
fn usual_fields(text: &str, mut at: usize, fields: &mut Fields) -> usize {
    let bytes = text.as_bytes();
    loop {
        let name_end = match bytes.get(at..).and_then(<[u8]>::first_chunk) {
            // In the short form of a send.
            Some([b'"', b'a'..=b'z', b'"', b':', b'"']) => at + 2,
            Some([b'"', ..]) => {
                let end = find_end(bytes, at + 1, b'"');
                if bytes.get(end..end + 3) != Some(b"\":\"") {
                    return at;
                }
                end
            }
            _ => return at,
        };
        let start = name_end + 3;
        let mut end = find_end(bytes, start, b'"');
        let mut value = start..end;
        if bytes.get(end) == Some(&b'\\') {
            // The properties of a message, as a rule: control characters separate them.
            let unescaped = fields.write(|out| {
                end = unescape(text, start, out)?;
                Ok::<_, FrameError>(())
            });
            let Ok(unescaped) = unescaped else { return at };
            value = unescaped;
        }
        let next = match bytes.get(end + 1) {
            Some(b',') => end + 2,
            Some(b'}') => end + 1,
            _ => return at,
        };
        fields.push_within(at + 1..name_end, value);
        at = next;
    }
}

/// Reads one to nine digits before a comma or the end of the object; gives the position there.
#[inline(never)] // Four times in one loop.
fn usual_int(bytes: &[u8], start: usize) -> Option<(i32, usize)> {
    let mut number = 0;
    let mut at = start;
    loop {
        let byte = *bytes.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let usual = matches!(byte, b',' | b'}') && (1..10).contains(&(at - start));
            return usual.then_some((number, at));
        }
        number = number.wrapping_mul(10).wrapping_add(i32::from(digit));
        at += 1;
    }
}

/// Appends the header of `command`, members in Java's (alphabetical) order.
pub(super) fn encode(command: &Command, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    put_number(out, command.code);
    if !command.fields.is_absent() {
        out.extend_from_slice(b",\"extFields\":{");
        put_fields(&command.fields, out);
        out.push(b'}');
    }
    if (command.flag, command.language) == (FLAG_RESPONSE, Language::JAVA) {
        // As in all our answers.
        out.extend_from_slice(b",\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    } else {
        out.extend_from_slice(b",\"flag\":");
        put_number(out, command.flag);
        out.extend_from_slice(b",\"language\":\"");
        out.extend_from_slice(command.language.name().as_bytes());
        out.extend_from_slice(b"\",\"opaque\":");
    }
    put_number(out, command.opaque);
    if let Some(remark) = &command.remark {
        out.extend_from_slice(b",\"remark\":");
        put_quoted(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, command.version);
    out.push(b'}');
}

fn put_number(out: &mut Vec<u8>, number: i32) {
    match number {
        0..=9 => out.push(b'0' + number as u8),
        _ => out.extend_from_slice(Decimal::new(number.into()).as_bytes()),
    }
}

fn put_fields(fields: &Fields, out: &mut Vec<u8>) {
    if let Some(json) = fields.as_json() {
        out.extend_from_slice(json.as_bytes());
        return;
    }
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_quoted(out, name);
        out.push(b':');
        put_quoted(out, value);
    }
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
    }

    /// Headers as the clients in Java (a send in both forms, a pull, a heartbeat), Go and C++ write
    /// them.
    const USUAL_HEADERS: [&str; 6] = [
        r#"{"code":310,"extFields":{"a":"g","b":"T","d":"4","e":"3","g":"1763770000123","i":"UNIQ_KEY\u00010A0000010002\u0002WAIT\u0001true","j":"0","k":"false"},"flag":0,"language":"JAVA","opaque":12345,"serializeTypeCurrentRPC":"JSON","version":401}"#,
        r#"{"code":10,"extFields":{"topic":"T","queueId":"3","properties":"KEYS\u0001\"k\"\u0002TAGS\u0001\u4E3B\u0002","batch":"false","producerGroup":"g"},"flag":0,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":401}"#,
        r#"{"code":11,"extFields":{"queueId":"3","commitOffset":"0","topic":"T","queueOffset":"1234567","subscription":"*","consumerGroup":"g"},"flag":0,"language":"JAVA","opaque":1234,"serializeTypeCurrentRPC":"JSON","version":401}"#,
        r#"{"code":34,"flag":0,"language":"JAVA","opaque":9,"serializeTypeCurrentRPC":"JSON","version":401}"#,
        r#"{"code":310,"language":"GO","version":317,"opaque":77,"flag":0,"remark":"","extFields":{"a":"g","b":"T","i":"TAGS\u0001A\u003e\u0002","m":"false"}}"#,
        "{\"code\":11,\"extFields\":{\"queueId\":3,\"subscription\":\"*\",\"sysFlag\":2,\"topic\":\"T\",\"x\":false},\"flag\":0,\"language\":\"CPP\",\"opaque\":12,\"remark\":\"\",\"version\":63}\n",
    ];
    /// What is put into them.
    const ODD: [&str; 42] = [
        "\"",
        "'",
        "\\",
        "\\u",
        "\\u00",
        "\\u0001",
        "\\ud83d",
        "\\ud83d\\ude80",
        "\\n",
        "\\x",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "null",
        "true",
        "-",
        "+",
        "0",
        "00",
        "9999999999",
        "1.5",
        "\u{1}",
        "é",
        "\"a\":\"1\",",
        "\"b\":2,",
        "\"b\":\"\",",
        "\"\":\"x\",",
        "\"extFields\":null,",
        "\"extFields\":{},",
        "\"extFields\":{\"b\":\"again\"},",
        "\"code\":\"12\",",
        "\"remark\":\"r\\u0001\",",
        "\"new\":{\"a\":[1,\"}\"]},",
        "\"language\":9,",
        "\"language\":\"JAVA\",",
        "\"serializeTypeCurrentRPC\":\"JSON\"",
        "\"flag\":-1,",
    ];

    /// Whether both ways of reading a header tell the same; and whether it can be read.
    fn read_both_ways(header: &str) -> bool {
        let all = |read: Result<Command, FrameError>| {
            read.map(|command| (command.fields.is_absent(), format!("{command:?}")))
        };
        let usual = all(decode_text::<true>(header));
        assert_eq!(usual, all(decode_text::<false>(header)), "{header}");
        usual.is_ok()
    }

    #[test]
    fn the_short_cuts_read_what_the_general_way_reads() {
        for header in USUAL_HEADERS {
            assert!(read_both_ways(header));
            // Each odd thing at each position, and cut off there.
            for at in (0..=header.len()).filter(|at| header.is_char_boundary(*at)) {
                let (before, after) = header.split_at(at);
                read_both_ways(before);
                for odd in ODD {
                    read_both_ways(&format!("{before}{odd}{after}"));
                }
            }
        }
    }

    #[test]
    fn the_short_cuts_read_damaged_headers_as_the_general_way_does() {
        let mut state = 0x5EED_u64;
        let mut below = |limit: usize| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % limit as u64) as usize
        };
        let mut readable = 0;
        for _ in 0..20_000 {
            let mut header = USUAL_HEADERS[below(USUAL_HEADERS.len())].to_owned();
            for _ in 0..1 + below(4) {
                let mut border = || {
                    let at = below(header.len() + 1);
                    (at..).find(|at| header.is_char_boundary(*at)).unwrap_or_default()
                };
                let (one, other) = (border(), border());
                let (from, to) = (one.min(other), one.max(other));
                match below(4) {
                    0 => header.replace_range(from..to, ODD[below(ODD.len())]),
                    1 => header.insert_str(from, ODD[below(ODD.len())]),
                    2 => {
                        let part = header[from..to].to_owned();
                        header.insert_str(from, &part);
                    }
                    _ => header.replace_range(from..to, ""),
                }
            }
            readable += usize::from(read_both_ways(&header));
        }
        assert!(readable > 1000, "{readable}");
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
            "{\"opaque\":4294967296}",
            "{\"extFields\":[]}",
            "{\"extFields\":{\"a\":x}}",
            "{\"language\":99}",
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
