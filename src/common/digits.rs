//! Integers in texts, as Java's `Integer.parseInt` reads them: a sign, and digits of any script.

use std::str::FromStr;

/// Where the digits of each script begin, those that one UTF-16 unit holds, besides ASCII's.
const ZEROS: [u16; 36] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
    0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
    0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// The integer that `text` says, if it says one and `T` holds it.
pub fn parse<T: FromStr>(text: &str) -> Option<T> {
    if text.is_ascii() {
        return text.parse().ok();
    }
    let plain: String = text.chars().map(ascii_digit).collect();
    plain.parse().ok()
}

/// The same digit in ASCII; other characters stay.
fn ascii_digit(char: char) -> char {
    let code = u32::from(char);
    let value = ZEROS
        .iter()
        .find_map(|zero| code.checked_sub(u32::from(*zero)).filter(|value| *value < 10));
    value.and_then(|value| char::from_digit(value, 10)).unwrap_or(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_any_script_are_digits() {
        for (text, number) in [
            ("12", Some(12)),
            ("+12", Some(12)),
            ("-012", Some(-12)),
            ("１２", Some(12)),
            ("-१२", Some(-12)),
            ("1２", Some(12)),
            ("２１４７４８３６４８", None),
            ("²", None),
            ("一", None),
            ("𝟏", None),
            ("", None),
            (" 1", None),
        ] {
            assert_eq!(parse::<i32>(text), number, "{text}");
        }
    }
}
