//! The random numbers of tests that throw many inputs at something: the same in every run, so that
//! a failure can be repeated.

/// Marsaglia's xorshift, 64 bits.
pub(crate) struct XorShift(u64);

impl XorShift {
    /// Each seed is a sequence of its own.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `bound - 1`; 0 if there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    /// Changes, inserts, removes or repeats a few bytes, preferring those of `alphabet`.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>, alphabet: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let byte = match self.below(4) {
                0 => self.next() as u8,
                _ => alphabet[self.below(alphabet.len())],
            };
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                3 => {
                    let end = at + self.below(bytes.len() - at);
                    bytes.extend_from_within(at..end);
                }
                _ => bytes.insert(at, byte),
            }
        }
    }
}
