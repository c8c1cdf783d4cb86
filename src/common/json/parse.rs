//! The reader: a descent over the bytes, lenient where RocketMQ's clients need it.

use super::{Json, JsonError};

/// Nesting that is read; RocketMQ's bodies have less than ten levels.
const MAX_DEPTH: usize = 100;
/// Longest text that is read, bytes.
const MAX_BYTES: usize = 64 << 20;
/// Values in one text: a tree takes many times the memory of a text like `[0,0,0,...`. The topic
/// table of a broker with 300,000 topics has fewer.
const MAX_VALUES: usize = 4_000_000;

/// Reads one value and whatever blanks and comments stand around it.
pub(super) fn parse(text: &[u8]) -> Result<Json, JsonError> {
    // A C program may send the byte that ends its texts.
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut parser = Parser { text: &text[..end], at: 0, values: 0 };
    if text.len() > MAX_BYTES {
        return Err(parser.error(format!("{} bytes are more than {MAX_BYTES}", text.len())));
    }
    let value = parser.value(0)?;
    match parser.next_token()? {
        None => Ok(value),
        Some(byte) => Err(parser.error(format!("{} after the end", shown(byte)))),
    }
}

/// A byte as an error message shows it.
fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("'{}'", byte as char)
    } else {
        format!("byte {byte:#04x}")
    }
}

/// Whether a name without quotes may contain `byte`; all of non-ASCII may.
fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'.') || byte >= 0x80
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl Parser<'_> {
    fn error(&self, what: impl Into<String>) -> JsonError {
        JsonError { at: self.at, what: what.into() }
    }

    fn expected(&self, what: &str) -> JsonError {
        match self.text.get(self.at) {
            Some(byte) => self.error(format!("{} instead of {what}", shown(*byte))),
            None => self.error(format!("the text ends before {what}")),
        }
    }

    /// The next byte that is neither blank nor comment, without going past it.
    fn next_token(&mut self) -> Result<Option<u8>, JsonError> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0x0C | 0x08) => self.at += 1,
                Some(b'/') => self.skip_comment()?,
                // A byte order mark at the start of a file that an editor saved.
                Some(0xEF) if self.at == 0 && self.text.starts_with(b"\xEF\xBB\xBF") => self.at = 3,
                other => return Ok(other.copied()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let length = match rest.get(1) {
            Some(b'/') => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            Some(b'*') => match rest[2..].windows(2).position(|pair| pair == b"*/") {
                Some(inside) => inside + 4,
                None => return Err(self.error("a comment without end")),
            },
            _ => return Err(self.expected("a value")),
        };
        self.at += length;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error(format!("more than {MAX_VALUES} values")));
        }
        if depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match self.next_token()? {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Json::Text),
            Some(b'0'..=b'9' | b'-' | b'+') => self.number(),
            Some(byte) if is_identifier(byte) => {
                let start = self.at;
                match self.identifier().as_str() {
                    "true" => Ok(Json::Bool(true)),
                    "false" => Ok(Json::Bool(false)),
                    "null" | "undefined" | "NaN" => Ok(Json::Null),
                    _ => {
                        self.at = start;
                        Err(self.expected("a value"))
                    }
                }
            }
            _ => Err(self.expected("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            match self.next_token()? {
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                Some(b',') => self.at += 1, // Also more of them than needed.
                _ => {
                    items.push(self.value(depth + 1)?);
                    self.expect_separator(b']', "',' or ']'")?;
                }
            }
        }
    }

    /// After an element: a comma or the end, which the caller reads.
    fn expect_separator(&mut self, end: u8, what: &str) -> Result<(), JsonError> {
        match self.next_token()? {
            Some(byte) if byte == b',' || byte == end => Ok(()),
            _ => Err(self.expected(what)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            match self.next_token()? {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                Some(b',') => self.at += 1,
                _ => {
                    let key = self.key(depth)?;
                    if self.next_token()? != Some(b':') {
                        return Err(self.expected("':'"));
                    }
                    self.at += 1;
                    let value = match self.next_token()? {
                        // The C++ client writes `"mqTable":}` when it has no queue.
                        Some(b'}' | b',') => Json::Null,
                        _ => self.value(depth + 1)?,
                    };
                    self.check_type(&key, &value)?;
                    members.push((key, value));
                    self.expect_separator(b'}', "',' or '}'")?;
                }
            }
        }
    }

    /// `@type` names the class that a Java program shall make of an object: none but RocketMQ's own
    /// come from where they should.
    fn check_type(&self, key: &Json, value: &Json) -> Result<(), JsonError> {
        match (key, value) {
            (Json::Text(name), Json::Text(class))
                if name == "@type" && !class.starts_with("org.apache.rocketmq.") =>
            {
                Err(self.error(format!("an object of the type {class:.60}, which is not taken")))
            }
            _ => Ok(()),
        }
    }

    /// A quoted or bare name, an integer, or a whole object.
    fn key(&mut self, depth: usize) -> Result<Json, JsonError> {
        match self.next_token()? {
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Json::Text),
            Some(b'{') => self.value(depth + 1),
            Some(b'0'..=b'9' | b'-' | b'+') => self.number(),
            Some(byte) if is_identifier(byte) => Ok(Json::Text(self.identifier())),
            _ => Err(self.expected("a name")),
        }
    }

    fn identifier(&mut self) -> String {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !is_identifier(*byte)).unwrap_or(rest.len());
        self.at += length;
        String::from_utf8_lossy(&rest[..length]).into_owned()
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        // Only ASCII has been let in.
        let digits = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        let number = match (digits.parse(), digits.parse()) {
            (Ok(integer), _) => Json::Int(integer),
            (_, Ok(float)) if f64::is_finite(float) => Json::Float(float),
            // No field holds it, but it may stand in one that nobody reads.
            (_, Ok(float)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Json::Float(float.min(f64::MAX))
            }
            _ => return Err(self.error(format!("{digits:.40} is not a number"))),
        };
        self.at += length;
        // The type letters that fastjson can be told to write.
        Ok(match (self.text.get(self.at), number) {
            (Some(b'L' | b'S' | b'B'), number) => {
                self.at += 1;
                number
            }
            (Some(b'F' | b'D'), number) => {
                self.at += 1;
                match number {
                    Json::Int(integer) => Json::Float(integer as f64),
                    other => other,
                }
            }
            (_, number) => number,
        })
    }

    /// A text in the quotes that stand at the position. Bytes that are not UTF-8 become U+FFFD.
    fn string(&mut self, quote: u8) -> Result<String, JsonError> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(plain) = rest.iter().position(|byte| *byte == quote || *byte == b'\\') else {
                return Err(self.error("a text without closing quote"));
            };
            text.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain] == quote {
                return Ok(match String::from_utf8(text) {
                    Ok(text) => text,
                    Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                });
            }
            let escaped = self.escape()?;
            text.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(byte) = self.text.get(self.at).copied() else {
            return Err(self.error("a text without closing quote"));
        };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\'' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' | b'F' => '\u{C}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{B}',
            b'0'..=b'7' => char::from(byte - b'0'),
            b'x' => char::from_u32(self.hex(2)?).unwrap_or(char::REPLACEMENT_CHARACTER),
            b'u' => self.unicode_escape()?,
            _ => return Err(self.error(format!("{} after a backslash", shown(byte)))),
        })
    }

    /// A UTF-16 unit, or two of them for a character beyond the first 65,536. Half a pair becomes
    /// U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.hex(4)?;
        if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex(4)?;
            if (0xDC00..0xE000).contains(&second) {
                let joined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self, digits: usize) -> Result<u32, JsonError> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.text.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            value = value * 16 + digit.ok_or_else(|| self.expected("a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(value)
    }
}
