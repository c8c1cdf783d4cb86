//! [`BloomFilter`]: bits by which a broker notes at dispatch which consumers a message passes for.
//!
//! A consumer has k bits among m. Those of all consumers that want a message are set in its bit map;
//! a consumer whose bits are not all set does not want it. The reverse is not certain: the bits may
//! be others', so whoever is let through is asked for the message itself.

/// Largest bit map, bytes: what an extension unit has room for.
const MAX_BYTES: u64 = 32_767 - 20;

/// The shape of the bit maps: m bits, k of them for each consumer.
///
/// With an error rate of f percent for n consumers, k = ⌈log₂(100/f)⌉ and m = ⌈n · log₂(100/f) ·
/// log₂e⌉, rounded up to whole bytes. By default (20, 32) these are 3 and 112.
///
/// Bit p of a bit map is bit `p % 8` of byte `p / 8`, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BloomFilter {
    hashes: u32,
    bits: u32,
}

impl BloomFilter {
    /// A shape for so many consumers and that error rate; the error says what would be right.
    pub fn new(error_percent: i32, consumers: i32) -> Result<Self, String> {
        if !(1..=99).contains(&error_percent) {
            return Err(format!(
                "maxErrorRateOfBloomFilter is {error_percent}: it must be a percentage from 1 to 99"
            ));
        }
        let hashes = (100.0 / f64::from(error_percent)).log2();
        let bits = (f64::from(consumers) * hashes * std::f64::consts::LOG2_E).ceil();
        if bits < 1.0 || bits > (MAX_BYTES * 8) as f64 {
            return Err(format!(
                "expectConsumerNumUseFilter is {consumers}: with maxErrorRateOfBloomFilter \
                 {error_percent} that is a bit map of {bits} bits, expected 1 to {}",
                MAX_BYTES * 8
            ));
        }
        Ok(Self { hashes: hashes.ceil() as u32, bits: (bits as u32).next_multiple_of(8) })
    }

    /// Bits of a bit map.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes of a bit map.
    pub fn bytes(&self) -> usize {
        self.bits as usize / 8
    }

    /// The bits of a consumer group that subscribes to a topic; they may repeat.
    pub fn positions(&self, group: &str, topic: &str) -> Vec<u32> {
        let hash = murmur3(format!("{group}#{topic}").as_bytes());
        let (low, high) = (hash as u32 as i32, (hash >> 32) as u32 as i32);
        (1..=self.hashes as i32)
            .map(|number| {
                let combined = low.wrapping_add(number.wrapping_mul(high));
                let positive = if combined < 0 { !combined } else { combined };
                positive as u32 % self.bits
            })
            .collect()
    }
}

/// Sets bits of a bit map.
pub fn set(bit_map: &mut [u8], positions: &[u32]) {
    for position in positions {
        if let Some(byte) = bit_map.get_mut(*position as usize / 8) {
            *byte |= 1 << (position % 8);
        }
    }
}

/// Whether all these bits of a bit map are set.
pub fn has_all(bit_map: &[u8], positions: &[u32]) -> bool {
    let is_set = |position: &u32| {
        bit_map.get(*position as usize / 8).is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    };
    positions.iter().all(is_set)
}

/// The first word of MurmurHash3's x64 128-bit hash, seed 0
/// (<https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp>).
fn murmur3(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |word: u64| word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |word: u64| word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        h1 ^= mix1(little_endian(&block[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(little_endian(&block[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    h2 ^= mix2(little_endian(tail.get(8..).unwrap_or_default()));
    h1 ^= mix1(little_endian(&tail[..tail.len().min(8)]));
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

/// Up to eight bytes, the lowest first.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn finish(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        for (error, consumers, hashes, bytes) in
            [(20, 32, 3, 14), (20, 64, 3, 27), (10, 128, 4, 77), (1, 64, 7, 77)]
        {
            let filter = BloomFilter::new(error, consumers).unwrap();
            assert_eq!((filter.hashes, filter.bytes()), (hashes, bytes), "{error} {consumers}");
        }
        for (error, consumers) in [(0, 32), (100, 32), (20, 0), (20, -1), (20, i32::MAX)] {
            assert!(BloomFilter::new(error, consumers).is_err(), "{error} {consumers}");
        }
    }

    /// Computed by Java's broker.
    #[test]
    fn golden_positions() {
        let filter = BloomFilter::new(20, 32).unwrap();
        for (group, topic, hash, positions, map) in [
            (
                "CID_A",
                "TopicTest",
                0xb08d_07f0_36c8_124b,
                [20, 68, 27],
                [0, 0, 0x10, 8, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0],
            ),
            (
                "CID_B",
                "TopicTest",
                0x8f3d_d431_99a3_ddee,
                [15, 79, 81],
                [0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x80, 2, 0, 0, 0],
            ),
            (
                "group1",
                "topicA",
                0x88f5_d1e3_4b20_725b,
                [1, 49, 43],
                [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                "please_rename_unique_group_name_4",
                "TopicTest",
                0x68d1_6c32_0937_7cad,
                [63, 14, 51],
                [0, 0x40, 0, 0, 0, 0, 8, 0x80, 0, 0, 0, 0, 0, 0],
            ),
        ] {
            assert_eq!(murmur3(format!("{group}#{topic}").as_bytes()), hash, "{group}");
            assert_eq!(filter.positions(group, topic), positions);
            let mut bit_map = vec![0; filter.bytes()];
            set(&mut bit_map, &positions);
            assert_eq!(bit_map, map);
            assert!(has_all(&bit_map, &positions));
            assert!(!has_all(&bit_map, &[positions[0], 111]));
        }
        assert!(!has_all(&[], &[0]));
    }
}
