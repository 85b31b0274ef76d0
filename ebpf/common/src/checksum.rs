//! The Internet checksum (RFC 1071), updated incrementally (RFC 1624, equation 3).
//!
//! Words are taken as they lie in memory: the one's-complement sum does not depend on byte order
//! (RFC 1071 section 2B). 32-bit words may be summed as they are, since 2^16 = 1 modulo 2^16 - 1.

/// A difference in the making: the sum of `~old + new` over all words replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u64);

impl Difference {
    /// Begins without a change.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Takes a sum of words that were not there before.
    #[inline(always)]
    #[must_use]
    pub const fn of(sum: u64) -> Self {
        Self(sum)
    }

    /// Adds the replacement of one word.
    #[inline(always)]
    #[must_use]
    pub const fn replace(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Adds the replacement of four words.
    #[inline(always)]
    #[must_use]
    pub const fn replace4(self, old: &[u32; 4], new: &[u32; 4]) -> Self {
        self.replace(old[0], new[0])
            .replace(old[1], new[1])
            .replace(old[2], new[2])
            .replace(old[3], new[3])
    }

    /// Returns the folded sum of words that were not there before.
    #[inline(always)]
    #[must_use]
    pub const fn sum_of<const N: usize>(words: &[u32; N]) -> u16 {
        let mut sum = 0u64;
        let mut n = 0;
        while n < N {
            sum += words[n] as u64;
            n += 1;
        }
        Self(sum).fold()
    }

    /// Folds the difference to the 16 bits that [`apply`] takes.
    #[inline(always)]
    #[must_use]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }
}

/// Returns the checksum after a change: `HC' = ~(~HC + ~m + m')`.
#[inline(always)]
#[must_use]
pub const fn apply(checksum: u16, difference: u16) -> u16 {
    let sum = (!checksum) as u32 + difference as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Returns the checksum after the change of one 16-bit word.
#[inline(always)]
#[must_use]
pub const fn apply_word(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = (!checksum) as u32 + (!old) as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Like [`apply`] for UDP, where zero means "no checksum" and is sent as 0xffff (RFC 768).
#[inline(always)]
#[must_use]
pub const fn apply_udp(checksum: u16, difference: u16) -> u16 {
    let updated = apply(checksum, difference);
    if updated == 0 { 0xffff } else { updated }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// The definition: sum all 16-bit words, fold, complement.
    fn full(words: &[u16]) -> u16 {
        let mut sum: u64 = words.iter().map(|w| u64::from(*w)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn halves(word: u32) -> [u16; 2] {
        [word as u16, (word >> 16) as u16]
    }

    proptest! {
        #[test]
        fn an_incremental_update_equals_a_full_sum(
            rest in prop::collection::vec(any::<u16>(), 1..40),
            old in prop::array::uniform4(any::<u32>()),
            new in prop::array::uniform4(any::<u32>()),
        ) {
            let sum = |four: &[u32; 4]| {
                let words: Vec<u16> =
                    rest.iter().copied().chain(four.iter().flat_map(|w| halves(*w))).collect();
                full(&words)
            };
            // All zero is no packet: it is the one case where the two zeros differ.
            prop_assume!(rest.iter().any(|w| *w != 0));
            let difference = Difference::new().replace4(&old, &new).fold();
            prop_assert_eq!(apply(sum(&old), difference), sum(&new));
        }
    }

    proptest! {
        #[test]
        fn the_change_of_a_word_is_a_difference_of_one(
            [checksum, old, new] in prop::array::uniform3(any::<u16>()),
        ) {
            let difference = Difference::new().replace(old.into(), new.into()).fold();
            prop_assert_eq!(apply_word(checksum, old, new), apply(checksum, difference));
        }
    }

    #[test]
    fn the_example_of_rfc_1624_holds() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285, HC' = 0x0000.
        let difference = Difference::new().replace(0x5555, 0x3285).fold();
        assert_eq!(apply(0xdd2f, difference), 0);
        assert_eq!(apply_udp(0xdd2f, difference), 0xffff);
    }
}
