//! Texts as numbers, the way Java reads them: `Double.parseDouble` takes more than Rust does in some
//! places (`5d`, `0x1p3`, blanks around) and less in others (`inf`, `nan`). For integers both agree.

/// Exponents beyond are as good as infinite: the longest text has fewer digits.
const MAX_EXPONENT: i64 = 1 << 40;

/// A text as Java's `Double.parseDouble` reads it.
///
/// `[blanks] [+-] ( NaN | Infinity | decimal [fFdD] | 0x hexadecimal p exponent [fFdD] ) [blanks]`,
/// blanks being all characters up to U+0020.
pub fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match digits {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let bare = digits.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(digits);
            // The hexadecimal digits end at the p, so a suffix is never one of them.
            match bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X")) {
                Some(hex) => parse_hex(hex)?,
                None => parse_decimal(bare)?,
            }
        }
    };
    Some(if negative { -value } else { value })
}

fn parse_decimal(text: &str) -> Option<f64> {
    let first = *text.as_bytes().first()?;
    let legal = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    if !(first.is_ascii_digit() || first == b'.') || !text.bytes().all(legal) {
        return None;
    }
    text.parse().ok()
}

/// The part after `0x`: digits, with or without a point among them, `p` and an exponent of two.
fn parse_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut exponent = parse_exponent(exponent)?;
    let mut mantissa = 0u64;
    // Whether anything was left out behind the bits of the mantissa.
    let mut more = false;
    for (part, is_fraction) in [(whole, false), (fraction, true)] {
        for c in part.chars() {
            let digit = u64::from(c.to_digit(16)?);
            if mantissa >> 60 == 0 {
                mantissa = mantissa << 4 | digit;
                exponent -= if is_fraction { 4 } else { 0 };
            } else {
                more |= digit != 0;
                exponent += if is_fraction { 0 } else { 4 };
            }
        }
    }
    Some(scale(mantissa, exponent, more))
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<i64>().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT);
    Some(if text.starts_with('-') { -value } else { value })
}

/// `mantissa · 2^exponent`, rounded to the nearest double, of two equally near ones to the even.
/// `more`: the mantissa is a little larger than it says.
fn scale(mantissa: u64, exponent: i64, more: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let zeros = mantissa.leading_zeros();
    let mantissa = mantissa << zeros;
    // The value is 1.xxx · 2^top.
    let top = exponent - i64::from(zeros) + 63;
    if top > 1023 {
        return f64::INFINITY;
    }
    // Below 2^-1022 a double has fewer bits the smaller it is, and none below 2^-1074.
    let bits = 53 - (-1022 - top).max(0);
    if bits < 0 {
        return 0.0;
    }
    let dropped = 64 - bits as u32;
    let kept = mantissa.checked_shr(dropped).unwrap_or(0);
    let rest = mantissa.checked_shl(64 - dropped).unwrap_or(0);
    let rest = if dropped == 64 { mantissa } else { rest };
    let half = 1u64 << 63;
    let up = rest > half || rest == half && (more || kept & 1 == 1);
    (kept + u64::from(up)) as f64 * power_of_two(top - 63 + i64::from(dropped))
}

/// `2^exponent`, for −1074 to 1023.
fn power_of_two(exponent: i64) -> f64 {
    if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (exponent + 1074))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_reads() {
        for (text, expected) in [
            ("5", 5.0),
            (" \t+5.d\n", 5.0),
            (".5e1F", 5.0),
            ("1e400", f64::INFINITY),
            ("1e-400", 0.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p3", 8.0),
            ("-0X1.8p0d", -1.5),
            ("0x.8p1", 1.0),
            ("0x1.p-1", 0.5),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", f64::from_bits(1)),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000001p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
            ("0x0p99999999999999999999", 0.0),
            ("0x1p99999999999999999999", f64::INFINITY),
            ("0x1p-99999999999999999999", 0.0),
            ("0x10000000000000000000p-76", 1.0),
        ] {
            assert_eq!(parse_double(text), Some(expected), "{text}");
        }
        assert!(parse_double("-NaN").is_some_and(f64::is_nan));
        assert!(parse_double("-0").is_some_and(f64::is_sign_negative));
    }

    #[test]
    fn what_java_does_not_read() {
        for text in [
            "",
            " ",
            "+",
            ".",
            "e5",
            "inf",
            "infinity",
            "INFINITY",
            "nan",
            "NAN",
            "NaNd",
            "Infinityf",
            "5 d",
            "5dd",
            "1d5",
            "+-5",
            "--5",
            "5e",
            "1_000",
            "0x",
            "0x1",
            "0xp1",
            "0x.p1",
            "0x1p",
            "0x1p+",
            "0x1.g",
            "0x1p1.0",
            "٥",
        ] {
            assert_eq!(parse_double(text), None, "{text}");
        }
    }
}
