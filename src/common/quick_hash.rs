//! A fast hash for the tables that are looked into for every message.
//!
//! The standard one is made for keys that an attacker chooses without limit; the names of topics,
//! groups and queues are few and short, and every send hashes some of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map with a [`QuickHasher`].
pub type QuickMap<K, V> = HashMap<K, V, QuickState>;

/// The seed of a map: random, so that nobody can prepare names that collide in it.
#[derive(Clone, Debug)]
pub struct QuickState(u64);

impl Default for QuickState {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0u8))
    }
}

impl BuildHasher for QuickState {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher(self.0)
    }
}

/// Takes eight bytes at a time: both halves of a wide product depend on all of them.
#[derive(Debug)]
pub struct QuickHasher(u64);

impl QuickHasher {
    fn mix(&mut self, word: u64) {
        /// Odd, with bits all over: the golden ratio's.
        const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15;
        let wide = u128::from(self.0 ^ word) * FACTOR;
        self.0 = (wide as u64) ^ ((wide >> 64) as u64);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    /// What ends a text: its length was mixed in already.
    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_i32(&mut self, number: i32) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_that_differ_little_fall_far_apart() {
        let state = QuickState::default();
        let names: Vec<String> = (0..10_000).map(|number| format!("topic-{number}")).collect();
        let full: HashSet<u64> = names.iter().map(|name| state.hash_one(name)).collect();
        assert_eq!(full.len(), names.len());
        // The bits that a table looks at: of 10,000 in 2^16 places, chance leaves 9,283 of them.
        let low: HashSet<u64> = full.iter().map(|hash| hash & 0xFFFF).collect();
        let high: HashSet<u64> = full.iter().map(|hash| hash >> 48).collect();
        assert!(low.len() > 9_000 && high.len() > 9_000, "{} {}", low.len(), high.len());
        assert_ne!(state.hash_one("a"), state.hash_one("a\0"));
        assert_ne!(state.hash_one(("a", "bc")), state.hash_one(("ab", "c")));
    }
}
