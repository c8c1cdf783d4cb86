//! Base64 (RFC 4648), both alphabets: bytes in JSON are written with the first, handles that travel in
//! headers and links with the second.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes in the standard alphabet, padded.
pub fn encode(bytes: &[u8]) -> String {
    encode_with(STANDARD, bytes)
}

/// Bytes in the alphabet for links, padded as Java's URL encoder pads.
pub fn encode_url(bytes: &[u8]) -> String {
    encode_with(URL, bytes)
}

fn encode_with(digits: &[u8; 64], bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, at| word << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            let value = word >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() { digits[value as usize] as char } else { '=' });
        }
    }
    text
}

/// The bytes of a text in the alphabet for links, padded or not; `None` if it is no such text.
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let rest = digits.len() % 4;
    if rest == 1 || (padding > 0 && !text.len().is_multiple_of(4)) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.as_bytes().chunks(4) {
        let mut word = 0_u32;
        for digit in group {
            word = word << 6 | URL.iter().position(|known| known == digit)? as u32;
        }
        let count = group.len() - 1;
        word <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&word.to_be_bytes()[1..=count]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode_url(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode_url(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
        assert_eq!(encode_url(&[0xfb, 0xff]), "-_8=");
        assert_eq!(decode_url("-_8").unwrap(), [0xfb, 0xff]);
    }

    #[test]
    fn what_is_no_base64_is_none() {
        for text in ["Z", "Zg=", "Zg===", "+/8=", "Zm 9v", "====", "Zm9vZ"] {
            assert_eq!(decode_url(text), None, "{text}");
        }
    }
}
