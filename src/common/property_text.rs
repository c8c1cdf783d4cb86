//! The syntax of property files, as `java.util.Properties` reads it, in both directions.
//!
//! | text | meaning |
//! |---|---|
//! | `# ...`, `! ...` | a comment |
//! | `key=value`, `key:value`, `key value` | a pair; blanks around the separator do not count |
//! | `\` at the end of a line | goes on in the next line, whose blanks at the start do not count |
//! | `\n`, `\t`, `\r`, `\f`, `\uXXXX` | that character |
//! | `\` and another character | the other character, also `=`, `:`, a blank or `#` |
//!
//! Which keys there are and what they mean is in [`config`](super::config).

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use super::config::Entry;

/// Reads all pairs, in order. There is no text that is not a property file: a `\u` without four
/// digits is a `u` (Java throws an exception).
pub fn parse(text: &str) -> Vec<Entry> {
    logical_lines(text).filter_map(|line| line.entry).collect()
}

/// The line of the first `\u` without four hexadecimal digits: what Java's servers refuse in a
/// remote update.
pub fn bad_escape(text: &str) -> Option<u32> {
    let is_bad = |line: &LogicalLine<'_>| {
        let mut chars = line.raw.chars();
        while let Some(c) = chars.next() {
            if c == '\\' && chars.next() == Some('u') {
                let digits = chars.clone().take(4).take_while(char::is_ascii_hexdigit).count();
                if digits < 4 {
                    return true;
                }
            }
        }
        false
    };
    let bad = logical_lines(text).find(|line| line.entry.is_some() && is_bad(line))?;
    bad.entry.map(|entry| entry.line)
}

/// A line of the text, or several that are one by backslashes at their ends.
struct LogicalLine<'a> {
    /// As it stands, line ends included.
    raw: &'a str,
    /// The pair, unless the line is blank or a comment.
    entry: Option<Entry>,
}

/// The text cut into logical lines. Together their `raw` is the text.
fn logical_lines(text: &str) -> impl Iterator<Item = LogicalLine<'_>> {
    let mut rest = text;
    let mut number = 1;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line = number;
        let mut content = String::new();
        let mut end = 0;
        loop {
            let natural = natural_line(&rest[end..]);
            end += natural.len();
            number += 1;
            let trimmed = natural.trim_end_matches(['\r', '\n']).trim_start_matches(is_blank);
            let is_comment = content.is_empty() && trimmed.starts_with(['#', '!']);
            let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
            if backslashes % 2 == 1 && !is_comment && end < rest.len() {
                content.push_str(&trimmed[..trimmed.len() - 1]);
                continue;
            }
            if !is_comment {
                content.push_str(trimmed);
            }
            break;
        }
        let (raw, after) = rest.split_at(end);
        rest = after;
        let entry = (!content.is_empty()).then(|| read_pair(&content, line));
        Some(LogicalLine { raw, entry })
    })
}

/// The first line of `text` with its end: `\n`, `\r` or both.
fn natural_line(text: &str) -> &str {
    match text.find(['\n', '\r']) {
        None => text,
        Some(at) if text[at..].starts_with("\r\n") => &text[..at + 2],
        Some(at) => &text[..=at],
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{C}')
}

/// Cuts a logical line, whose first character is not blank, into key and value.
fn read_pair(content: &str, line: u32) -> Entry {
    let mut chars = content.chars().peekable();
    let key = unescape(&mut chars, |c| is_blank(c) || c == '=' || c == ':');
    while chars.next_if(|c| is_blank(*c)).is_some() {}
    if chars.next_if(|c| *c == '=' || *c == ':').is_some() {
        while chars.next_if(|c| is_blank(*c)).is_some() {}
    }
    let value = unescape(&mut chars, |_| false);
    Entry { key, value, line }
}

/// Reads up to a character that `ends` it and has no backslash before it.
fn unescape(chars: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next_if(|c| !ends(*c)) {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('f') => text.push('\u{C}'),
            Some('u') => text.push(unicode_escape(chars)),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}

/// What stands after `\u`: a UTF-16 unit, and a second one if the first is half a pair.
fn unicode_escape(chars: &mut Peekable<Chars<'_>>) -> char {
    fn unit(chars: &mut Peekable<Chars<'_>>) -> Option<u32> {
        let mut ahead = chars.clone();
        let mut value = 0;
        for _ in 0..4 {
            value = value * 16 + ahead.next()?.to_digit(16)?;
        }
        *chars = ahead;
        Some(value)
    }
    let Some(first) = unit(chars) else { return 'u' };
    if (0xD800..0xDC00).contains(&first) {
        let mut ahead = chars.clone();
        if ahead.next() == Some('\\')
            && ahead.next() == Some('u')
            && let Some(second @ 0xDC00..0xE000) = unit(&mut ahead)
        {
            *chars = ahead;
            let joined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            return char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
    }
    char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// One `key=value` a line.
///
/// What Java's reader would take for something else is escaped, and all that is not ASCII is
/// written as `\uXXXX`: Java reads property files as ISO 8859-1. (Java's own servers write values as
/// they are, and read back something else.)
pub fn print<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        push_pair(&mut text, key, &value);
    }
    text
}

/// `text` with the values of some keys changed. Everything else stays as it stands: comments,
/// order, other keys, and the lines of keys that have the value already. New keys come to the end.
pub fn update(text: &str, changes: &[(&str, &str)]) -> String {
    let mut updated = String::new();
    let mut found = vec![false; changes.len()];
    for line in logical_lines(text) {
        let entry = line.entry.as_ref();
        let change = entry.and_then(|entry| {
            changes.iter().position(|(key, _)| entry.key == *key).map(|at| (entry, at))
        });
        match change {
            Some((entry, at)) => {
                found[at] = true;
                let (key, value) = changes[at];
                if entry.value == value {
                    updated.push_str(line.raw);
                } else {
                    push_pair(&mut updated, key, value);
                }
            }
            None => updated.push_str(line.raw),
        }
    }
    for ((key, value), _) in changes.iter().zip(found).filter(|(_, found)| !found) {
        // What is added must not continue a line that somebody left open.
        let last = updated.trim_end_matches(['\n', '\r']);
        let (is_cut, continues) = (last.len() == updated.len(), last.ends_with('\\'));
        if is_cut && !updated.is_empty() {
            updated.push('\n');
        }
        if continues {
            updated.push('\n');
        }
        push_pair(&mut updated, key, value);
    }
    updated
}

fn push_pair(text: &mut String, key: &str, value: &str) {
    push_escaped(text, key, |at, c| matches!(c, ' ' | '=' | ':') || at == 0 && "#!".contains(c));
    text.push('=');
    push_escaped(text, value, |at, c| at == 0 && c == ' ');
    text.push('\n');
}

/// Appends `part`, with a backslash before what `escapes` names by place and character.
fn push_escaped(text: &mut String, part: &str, escapes: impl Fn(usize, char) -> bool) {
    for (at, c) in part.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => {
                if escapes(at, c) {
                    text.push('\\');
                }
                text.push(c);
            }
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::xorshift::XorShift;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    #[test]
    fn bad_escapes_are_found() {
        assert_eq!(bad_escape("a=1\nb=\\u00e9 \\\\uZZ\n# \\uZZ\n"), None);
        assert_eq!(bad_escape("# \\uZZ\nb=\\u00e\n"), Some(2));
    }

    #[test]
    fn what_readers_take_for_something_else_is_escaped() {
        let entries =
            [("a", " x y"), ("b", "C:\\dir\n"), ("c", "\u{e9}\u{1f600}"), ("d", "a=b:c#d")];
        let text = print(entries.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(text, "a=\\ x y\nb=C:\\\\dir\\n\nc=\\u00e9\\ud83d\\ude00\nd=a=b:c#d\n");
        let read: Vec<_> = parse(&text).into_iter().map(|entry| entry.value).collect();
        assert_eq!(read, entries.map(|(_, value)| value));
        let odd = print([("# a:b=c", String::new())]);
        assert_eq!(odd, "\\#\\ a\\:b\\=c=\n");
        assert_eq!(pairs(&odd), [("# a:b=c".to_owned(), String::new())]);
    }

    /// The examples of `java.util.Properties.load`, and the odd ones.
    #[test]
    fn reads_what_java_reads() {
        for (text, key, value) in [
            ("Truth = Beauty", "Truth", "Beauty"),
            ("    Truth:Beauty", "Truth", "Beauty"),
            ("Truth                    :Beauty", "Truth", "Beauty"),
            (
                "fruits    apple, banana, \\\n          cantaloupe",
                "fruits",
                "apple, banana, cantaloupe",
            ),
            ("cheeses", "cheeses", ""),
            ("\\:\\=", ":=", ""),
            ("a\\ b=c", "a b", "c"),
            ("a==b", "a", "=b"),
            ("a = b ", "a", "b "),
            ("a=\\u00e9\\uD83D\\uDE00", "a", "é😀"),
            ("a=ü", "a", "ü"),
            ("a=C:\\users", "a", "C:users"),
            ("a=\\ud83dx", "a", "\u{fffd}x"),
            ("a=x\\\\", "a", "x\\"),
            ("a=x\\", "a", "x"),
            ("a=1\\\r\n  # no comment", "a", "1# no comment"),
            ("=v", "", "v"),
        ] {
            assert_eq!(pairs(text), [(key.to_owned(), value.to_owned())], "{text}");
        }
        assert_eq!(pairs("# x=1\n  ! y=2 \\\n\n \t\nz=3\r# w=4\r\n").len(), 1);
        let lines: Vec<u32> = parse("a=1\r\n\nb=\\\n\\\n2\rc").iter().map(|e| e.line).collect();
        assert_eq!(lines, [1, 3, 6]);
    }

    #[test]
    fn update_changes_lines_and_nothing_else() {
        let text = "# mine\nbrokerName = a\n\nbrokerId=0\nlong = x \\\n  y\nlast=1";
        let changes = [("brokerName", "ü b"), ("brokerId", "0"), ("new", "2"), ("long", "z")];
        let expected = "# mine\nbrokerName=\\u00fc b\n\nbrokerId=0\nlong=z\nlast=1\nnew=2\n";
        assert_eq!(update(text, &changes), expected);
        assert_eq!(update(text, &[]), text);
        assert_eq!(update("", &[("a", "1")]), "a=1\n");
    }

    /// Nothing panics, the lines are the text, and what is printed is read back.
    #[test]
    fn any_text_is_read() {
        let mut random = XorShift::new(2);
        let seed = "# c\na = 1\nb:2\\\n  x\\u00e9\n!d\r\n\\ e=\t f\n";
        for _ in 0..20_000 {
            let mut bytes = seed.as_bytes().to_vec();
            random.mutate(&mut bytes, b"\\\\\n\r =:#!\tuabcd0");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let joined: String = logical_lines(&text).map(|line| line.raw).collect();
            assert_eq!(joined, text);
            let read = pairs(&text);
            let printed = print(read.iter().map(|(key, value)| (key.as_str(), value.clone())));
            assert_eq!(pairs(&printed), read, "{text:?}");
            let updated = update(&text, &[("a", "new\n")]);
            let last = pairs(&updated).into_iter().rfind(|(key, _)| key == "a");
            assert_eq!(last.map(|(_, value)| value).as_deref(), Some("new\n"), "{text:?}");
        }
    }
}
