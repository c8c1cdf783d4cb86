//! The writer, in the four styles.

use std::borrow::Cow;
use std::fmt::Write;

use super::{Json, Style};

/// Beyond this a browser's numbers lose digits.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Appends `value` to `out`; `depth` is the number of tabs of its line in [`Style::Pretty`].
pub(super) fn write(value: &Json, style: Style, depth: usize, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Int(number) => write_int(*number, style, out),
        Json::Float(number) if !number.is_finite() => out.push_str("null"),
        Json::Float(number) => out.push_str(&java_double(*number)),
        Json::Text(text) => write_text(text, style, out),
        Json::Array(items) => write_array(items, style, depth, out),
        Json::Object(members) => write_object(members, style, depth, out),
    }
}

fn write_int(number: i64, style: Style, out: &mut String) {
    // Writing to a String does not fail.
    let _ = if style == Style::Browser && number.unsigned_abs() > MAX_SAFE_INTEGER {
        write!(out, "\"{number}\"")
    } else {
        write!(out, "{number}")
    };
}

fn new_line(depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n('\t', depth));
}

/// Lists of objects have a line for each element when pretty; lists of numbers and texts have one
/// line (they are Java arrays and sets, which fastjson does not break).
fn write_array(items: &[Json], style: Style, depth: usize, out: &mut String) {
    let broken = style == Style::Pretty
        && items.iter().any(|item| matches!(item, Json::Object(_) | Json::Array(_)));
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if broken {
            new_line(depth + 1, out);
        }
        write(item, style, depth + 1, out);
    }
    if broken {
        new_line(depth, out);
    }
    out.push(']');
}

/// In the pretty style a line is broken before a name, not before another key, and before the
/// closing brace: fastjson's `MapSerializer`.
fn write_object(members: &[(Json, Json)], style: Style, depth: usize, out: &mut String) {
    let members = if style == Style::Browser { sorted(members) } else { Cow::Borrowed(members) };
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match key {
            Json::Text(name) => {
                if style == Style::Pretty {
                    new_line(depth + 1, out);
                }
                write_text(name, style, out);
            }
            Json::Int(number) if matches!(style, Style::Standard | Style::Browser) => {
                let _ = write!(out, "\"{number}\"");
            }
            other => write(other, style, depth + 1, out),
        }
        out.push(':');
        write(value, style, depth + 1, out);
    }
    if style == Style::Pretty && !members.is_empty() {
        new_line(depth, out);
    }
    out.push('}');
}

/// Members by key: numbers by value, then texts, then the rest as it stood.
fn sorted(members: &[(Json, Json)]) -> Cow<'_, [(Json, Json)]> {
    fn rank(key: &Json) -> (u8, i64, &str) {
        match key {
            Json::Int(number) => (0, *number, ""),
            Json::Text(text) => (1, 0, text),
            _ => (2, 0, ""),
        }
    }
    if members.is_sorted_by(|(left, _), (right, _)| rank(left) <= rank(right)) {
        return Cow::Borrowed(members);
    }
    let mut members = members.to_vec();
    members.sort_by(|(left, _), (right, _)| rank(left).cmp(&rank(right)));
    Cow::Owned(members)
}

fn write_text(text: &str, style: Style, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        if !is_escaped(character, style) {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + character.len_utf8();
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{C}' => out.push_str("\\f"),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

fn is_escaped(character: char, style: Style) -> bool {
    match character {
        '"' | '\\' | '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' => true,
        '/' => style == Style::Browser,
        other => style == Style::Browser && !other.is_ascii(),
    }
}

/// A number as Java's `Double.toString` writes it: always with a fraction, with an exponent below
/// 0.001 and from ten million. `NaN` and `Infinity` have their Java names.
pub fn java_double(number: f64) -> String {
    let magnitude = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        // Debug writes the shortest digits that read back, and `.0` behind a whole number.
        format!("{number:?}")
    } else {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let fraction = if digits.contains('.') { "" } else { ".0" };
        format!("{digits}{fraction}E{exponent}")
    }
}

#[cfg(test)]
mod tests {
    use super::java_double;

    #[test]
    fn doubles_as_java_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (100.0, "100.0"),
            (1.0 / 6.0, "0.16666666666666666"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1e10, "1.0E10"),
            (-1.25e-5, "-1.25E-5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }
}
