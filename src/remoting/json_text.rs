//! Texts within the JSON of a header: where they end, and their escapes in both directions. The
//! object around them is in `frame_json`.

use super::frame::FrameError;

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

/// Position of the first `quote` or backslash.
#[inline(always)] // The quote is known where it is used.
pub(super) fn find_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    find(bytes, from, |word| zeros(word ^ eight(quote)) | zeros(word ^ eight(b'\\')))
}

/// Position of the first quote, backslash or control character: what must be escaped.
pub(super) fn find_special(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |word| {
        let control = word.wrapping_sub(eight(0x20)) & !word & eight(0x80);
        zeros(word ^ eight(b'"')) | zeros(word ^ eight(b'\\')) | control
    })
}

/// Whether `json` has just so many quotes and nothing that must be escaped, for sure: no is no
/// promise.
pub(super) fn is_plain_json(json: &[u8], quotes: usize) -> bool {
    // The compiler makes this a loop over vectors; each byte of them counts up to 255.
    const LANES: usize = 16;
    let (chunks, rest) = json.as_chunks::<LANES>();
    if chunks.len() >= 255 {
        return false;
    }
    let mut last = [b'_'; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let (mut counts, mut escapes) = ([0u8; LANES], [0u8; LANES]);
    for chunk in chunks.iter().chain([&last]) {
        for (lane, byte) in chunk.iter().enumerate() {
            counts[lane] += u8::from(*byte == b'"');
            escapes[lane] |= u8::from(*byte == b'\\') | u8::from(*byte < 0x20);
        }
    }
    let count: usize = counts.iter().map(|count| usize::from(*count)).sum();
    count == quotes && u128::from_ne_bytes(escapes) == 0
}

/// Appends the text of `header` that begins at `start`, behind its quote, with its escapes resolved.
/// Half a surrogate pair becomes U+FFFD. Gives the position of the quote that ends it.
pub(super) fn unescape(header: &str, start: usize, out: &mut String) -> Result<usize, FrameError> {
    let bytes = header.as_bytes();
    let quote = bytes[start - 1];
    let mut from = start;
    loop {
        let at = find_end(bytes, from, quote);
        out.push_str(&header[from..at]);
        match bytes.get(at..) {
            // What separates the properties of a message.
            Some([b'\\', b'u', b'0', b'0', b'0', separator @ b'1'..=b'2', ..]) => {
                out.push(char::from(separator - b'0'));
                from = at + 6;
                continue;
            }
            Some([b'\\', ..]) => from = at + 2,
            Some([_, ..]) => return Ok(at),
            _ => return Err(FrameError("JSON header: a text that does not end".into())),
        }
        out.push(match bytes.get(at + 1) {
            Some(b'u') => {
                let (character, digits) = unicode_escape(&bytes[from..])?;
                from += digits;
                character
            }
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(same @ (b'"' | b'\\' | b'/' | b'\'')) => char::from(*same),
            _ => return Err(FrameError("JSON header: an escape that JSON does not have".into())),
        });
    }
}

/// The character of `XXXX` (what follows `\u`), or of `XXXX\uXXXX`, and the bytes it takes.
#[inline]
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
#[inline]
fn hexadecimal(digits: &[u8]) -> Option<u16> {
    let digits = digits.first_chunk::<4>()?.map(|digit| HEX_VALUES[usize::from(digit)]);
    let number = digits.iter().fold(0, |number, digit| number << 4 | u16::from(*digit));
    digits.iter().all(|digit| *digit < 16).then_some(number)
}

/// The value of each hexadecimal digit; 16 and more of what is none.
const HEX_VALUES: [u8; 256] = {
    let mut values = [0xFF; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Appends `text` between quotes, with escapes for what needs them.
pub(super) fn put_quoted(out: &mut Vec<u8>, text: &str) {
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

    #[test]
    fn what_needs_escapes_is_written_with_them() {
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
}
