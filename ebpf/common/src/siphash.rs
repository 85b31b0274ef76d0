//! SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012), of whole
//! words: who does not know the key cannot tell its values from random ones.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u64; 2]);

/// A hash in the making.
#[derive(Clone, Copy, Debug)]
pub struct SipHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    words: u64,
}

impl SipHash {
    /// Begins with nothing.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: Key) -> Self {
        let Key([k0, k1]) = key;
        Self {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
            words: 0,
        }
    }

    /// Takes a word in.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, word: u64) -> Self {
        let next = self.compressed(word);
        Self { words: next.words + 1, ..next }
    }

    /// Returns the hash.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u64 {
        // The length in bytes, modulo 256, stands in the uppermost byte of the last block.
        let last = self.compressed(self.words << 59);
        let all = Self { v2: last.v2 ^ 0xff, ..last }.round().round().round().round();
        all.v0 ^ all.v1 ^ all.v2 ^ all.v3
    }

    #[inline(always)]
    const fn compressed(self, word: u64) -> Self {
        let mixed = Self { v3: self.v3 ^ word, ..self }.round().round();
        Self { v0: mixed.v0 ^ word, ..mixed }
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let v0 = self.v0.wrapping_add(self.v1);
        let v2 = self.v2.wrapping_add(self.v3);
        let v1 = self.v1.rotate_left(13) ^ v0;
        let v3 = self.v3.rotate_left(16) ^ v2;
        let v0 = v0.rotate_left(32);
        let v2 = v2.wrapping_add(v1);
        let v0 = v0.wrapping_add(v3);
        let v1 = v1.rotate_left(17) ^ v2;
        let v3 = v3.rotate_left(21) ^ v0;
        Self { v0, v1, v2: v2.rotate_left(32), v3, words: self.words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of the reference implementation, of whole words: key 00 01 … 0f, input 00 01 …
    #[test]
    fn the_reference_vectors_hold() {
        let key = Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let expected = [
            0x726f_db47_dd0e_0e31,
            0x93f5_f579_9a93_2462,
            0x3f2a_cc7f_57c2_9bdb,
            0xb8ad_50c6_f649_af94_u64,
        ];
        let word = |n: u64| 0x0706_0504_0302_0100 + n * 0x0808_0808_0808_0808;
        let mut hash = SipHash::new(key);
        for (n, expected) in (0u64..).zip(expected) {
            assert_eq!(hash.finish(), expected, "{n} words");
            hash = hash.with(word(n));
        }
    }
}
