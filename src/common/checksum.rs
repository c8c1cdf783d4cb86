//! The two hashes of RocketMQ: the masked CRC-32 of bodies and Java's `String.hashCode`.

/// CRC-32 (IEEE) of `bytes`, masked to 31 bits as RocketMQ stores it; 0 for no bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
    if bytes.is_empty() { 0 } else { crc32fast::hash(bytes) & 0x7FFF_FFFF }
}

/// Java's `String.hashCode`: `h = 31 * h + c` over UTF-16 code units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a text that continues one of that hash.
pub fn java_hash_on(hash: i32, text: &str) -> i32 {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if !text.is_ascii() {
        return text.encode_utf16().fold(hash, add);
    }
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let hash = eights.iter().fold(hash, |hash, eight| {
        const POWER_8: i32 = 31i32.wrapping_pow(8);
        hash.wrapping_mul(POWER_8).wrapping_add(hash_of_eight(u64::from_le_bytes(*eight)))
    });
    rest.iter().fold(hash, |hash, byte| add(hash, u16::from(*byte)))
}

/// The hash of eight bytes, all of them at once: neighbours are joined to pairs, those to fours, in
/// lanes of the same word. Every message has a key of 32 letters to be hashed; letter by letter that
/// were seven instructions each instead of two and a half.
fn hash_of_eight(bytes: u64) -> i32 {
    const BYTES: u64 = 0x00FF_00FF_00FF_00FF;
    const PAIRS: u64 = 0x0000_FFFF_0000_FFFF;
    const POWER_4: i32 = 31i32.pow(4);
    // The byte that comes first is the lowest, and counts more. A pair is at most 32 · 255.
    let pairs = (bytes & BYTES) * 31 + ((bytes >> 8) & BYTES);
    let fours = (pairs & PAIRS) * (31 * 31) + ((pairs >> 16) & PAIRS);
    (fours as i32).wrapping_mul(POWER_4).wrapping_add((fours >> 32) as i32)
}

/// The tags code of a consume-queue unit: the Java hash of the tag, 0 without a tag.
pub fn tags_code(tag: Option<&str>) -> i64 {
    tag.map_or(0, |tag| i64::from(java_hash(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(crc32(b"hello"), 907_060_870);
        assert_eq!(crc32(b""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("TopicTest#key"), 85_128_477);
        for text in
            ["", "a", "abcd", "abcdefghijk", &"~\u{7f}\0".repeat(9), "äbcdefg", "TagA TagB ünd 𝄞"]
        {
            let slowly = text
                .encode_utf16()
                .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
            assert_eq!(java_hash(text), slowly, "{text}");
        }
        assert_eq!(tags_code(None), 0);
    }
}
