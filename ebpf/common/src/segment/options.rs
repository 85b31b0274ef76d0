//! The options of a TCP header.

use super::SIZE_OPTION_LENGTH;
use crate::parse::{ETHERNET, IPV4, IPV6, TCP_HEADER, read};

/// Bytes of options that a TCP header has at most (RFC 9293 section 3.1).
const OPTIONS: usize = 40;
/// Words of a [`Options`], a power of two and more than there can be.
const OPTION_WORDS: usize = 16;

/// The options of a TCP header, with zeros behind, which end them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// As they lie in the packet.
    pub words: [u32; OPTION_WORDS],
    /// Which octet is looked at, where the verifier should not know it: it would follow each way that
    /// leads to one.
    pub at: u32,
    /// Zero.
    pub padding: u32,
}

impl Options {
    /// Reads the options of the TCP header in the frame at `start..end`, whose IP packet has a length.
    ///
    /// # Safety
    /// `start..end` must be readable memory.
    #[inline(always)]
    pub unsafe fn read(&mut self, start: usize, end: usize, v6: bool, length: u16) {
        // SAFETY: the caller's.
        unsafe {
            if v6 {
                self.read_at::<true>(start, end, length as usize);
            } else {
                self.read_at::<false>(start, end, length as usize);
            }
        }
    }

    #[inline(always)]
    unsafe fn read_at<const V6: bool>(&mut self, start: usize, end: usize, length: usize) {
        let header = if V6 { IPV6 } else { IPV4 };
        let transport = start + ETHERNET + header;
        let words = if transport + TCP_HEADER > end {
            0
        } else {
            // SAFETY: the comparison above.
            let said = unsafe { read::<u8>(transport + 12) } >> 4;
            let said = (said as usize).saturating_sub(TCP_HEADER / 4);
            let there = length.saturating_sub(header + TCP_HEADER) / 4;
            if said < there { said } else { there }
        };
        let mut n = 0;
        while n < OPTIONS / 4 {
            let at = transport + TCP_HEADER + 4 * n;
            let word = if n < words && at + 4 <= end {
                // SAFETY: the comparison.
                unsafe { read::<u32>(at) }
            } else {
                0
            };
            // SAFETY: there are more words than a header has. Volatile, else the compiler calls `memset`.
            unsafe { self.words.as_mut_ptr().add(n).write_volatile(word) };
            n += 1;
        }
    }

    /// Finds what the option for the largest segment says; nothing where there is none.
    ///
    /// A function of its own, so that the verifier meets what comes after it with one state.
    #[inline(never)]
    #[must_use]
    pub fn size(&mut self) -> u32 {
        const END: u8 = 0;
        const NOTHING: u8 = 1;
        const SIZE: u8 = 2;
        self.at = 0;
        let mut steps = 0;
        while steps < OPTIONS {
            // SAFETY: a field of a reference.
            let mut at = unsafe { (&raw const self.at).read_volatile() } as usize;
            let kind = self.octet(at);
            if kind == END {
                return 0;
            }
            if kind == NOTHING {
                at += 1;
            } else {
                let length = self.octet(at + 1);
                if kind == SIZE && length as usize == SIZE_OPTION_LENGTH {
                    return u32::from(self.octet(at + 2)) << 8 | u32::from(self.octet(at + 3));
                }
                if length < 2 {
                    return 0;
                }
                at += usize::from(length);
            }
            if at >= OPTIONS {
                return 0;
            }
            // SAFETY: as above.
            unsafe { (&raw mut self.at).write_volatile(at as u32) };
            steps += 1;
        }
        0
    }

    #[inline(always)]
    fn octet(&self, at: usize) -> u8 {
        let at = core::hint::black_box(at) & (OPTION_WORDS * 4 - 1);
        // SAFETY: the mask keeps the byte within the words.
        unsafe { self.words.as_ptr().cast::<u8>().add(at).read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of(options: &[u8]) -> u32 {
        let mut frame = std::vec![0u8; ETHERNET + IPV4 + TCP_HEADER];
        frame[ETHERNET + IPV4 + 12] = ((TCP_HEADER + options.len().div_ceil(4) * 4) as u8) << 2;
        frame.extend(options);
        frame.resize(frame.len().next_multiple_of(4) + 2, 0);
        let length = (frame.len() - ETHERNET - 2) as u16;
        let range = frame.as_ptr_range();
        let mut read = Options::default();
        // SAFETY: the frame's memory.
        unsafe { read.read(range.start as usize, range.end as usize, false, length) };
        read.size()
    }

    #[test]
    fn the_largest_segment_is_found_wherever_it_stands() {
        for (options, expected) in [
            (&[2u8, 4, 0x05, 0xb4][..], 1_460),
            (&[1, 1, 4, 2, 2, 4, 0x05, 0xb4], 1_460),
            (&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 4, 0x22, 0xec], 8_940),
            (&[3, 3, 7, 0, 2, 4, 0x05, 0xb4], 0),
            // Its length is wrong, another's is none, or it is cut.
            (&[2, 3, 0x05, 0xb4], 0),
            (&[9, 0, 2, 4, 0x05, 0xb4, 0, 0], 0),
            (&[9, 200, 2, 4, 0x05, 0xb4, 0, 0], 0),
            (&[], 0),
        ] {
            assert_eq!(size_of(options), expected, "{options:?}");
        }
        let mut last = [1u8; 40];
        last[36..].copy_from_slice(&[2, 4, 1, 2]);
        assert_eq!(size_of(&last), 0x0102);
    }
}
