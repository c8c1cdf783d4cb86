//! Property lines that every reader of property files reads back: ours, and `java.util.Properties`.
//!
//! Reading them is in [`config`](super::config).

use std::fmt::Write as _;

/// One `key=value` a line.
///
/// What Java's reader would take for something else is escaped, and all that is not ASCII is
/// written as `\uXXXX`: Java reads property files as ISO 8859-1. (Java's own servers write values as
/// they are, and read back something else.)
pub fn print<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        text.push_str(key);
        text.push('=');
        push_escaped(&mut text, &value);
        text.push('\n');
    }
    text
}

fn push_escaped(text: &mut String, value: &str) {
    for (at, c) in value.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' if at == 0 => text.push_str("\\ "),
            ' '..='~' => text.push(c),
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

    #[test]
    fn what_readers_take_for_something_else_is_escaped() {
        let entries =
            [("a", " x y"), ("b", "C:\\dir\n"), ("c", "\u{e9}\u{1f600}"), ("d", "a=b:c#d")];
        let text = print(entries.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(text, "a=\\ x y\nb=C:\\\\dir\\n\nc=\\u00e9\\ud83d\\ude00\nd=a=b:c#d\n");
        let read = crate::common::config::PropertyFile::parse(&text);
        let values: Vec<_> = read.entries.iter().map(|entry| entry.value.as_str()).collect();
        assert_eq!(values, entries.map(|(_, value)| value));
    }
}
