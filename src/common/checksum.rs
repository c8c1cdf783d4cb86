//! The two hashes of RocketMQ: the masked CRC-32 of bodies and Java's `String.hashCode`.

/// CRC-32 (IEEE) of `bytes`, masked to 31 bits as RocketMQ stores it; 0 for no bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
    if bytes.is_empty() { 0 } else { crc32fast::hash(bytes) & 0x7FFF_FFFF }
}

/// Java's `String.hashCode`: `h = 31 * h + c` over UTF-16 code units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
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
        assert_eq!(tags_code(None), 0);
    }
}
