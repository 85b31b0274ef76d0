//! TCP segments that the data plane makes itself, of headers alone, with whole checksums.

use crate::{
    checksum::Difference,
    layout::{TCP, Tuple},
    parse::{ETHERNET, IPV4, IPV6, TCP_CHECKSUM, TCP_HEADER, read},
    rewrite::{write, write_all},
};

/// Hop limit of segments: the value recommended for new datagrams (RFC 1700).
const HOPS: u8 = 64;
/// IPv4's flag that forbids fragmentation (RFC 791 section 3.1).
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
/// Kind and length of the option for the largest segment (RFC 9293 section 3.7.1).
const SIZE_OPTION: u16 = 0x0204u16.to_be();
/// Length of that option.
const SIZE_OPTION_LENGTH: usize = 4;

/// What comes behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Nothing,
    /// The option for the largest segment.
    Size,
    /// An octet of zero.
    Octet,
}

impl Tail {
    /// Returns how many bytes it takes.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Size => SIZE_OPTION_LENGTH,
            Self::Octet => 1,
        }
    }
}

/// A segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Its ends.
    pub tuple: Tuple,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; 0 without the flag.
    pub acknowledgement: u32,
    /// Receive window.
    pub window: u16,
    /// The largest segment, for [`Tail::Size`].
    pub size: u16,
    /// TCP flags byte.
    pub flags: u8,
    /// Traffic class.
    pub class: u8,
    /// Zero.
    pub padding: u16,
}

/// Returns how long the frame of a segment is.
#[inline(always)]
#[must_use]
pub const fn frame_length(v6: bool, tail: Tail) -> usize {
    ETHERNET + if v6 { IPV6 } else { IPV4 } + TCP_HEADER + tail.length()
}

/// Writes a segment behind the Ethernet addresses of the frame that begins at `start`.
///
/// # Safety
/// [`frame_length`] bytes at `start` must be writable memory.
#[inline(always)]
pub unsafe fn write_segment<const V6: bool>(start: usize, segment: &Segment, tail: Tail) {
    let ip = start + ETHERNET;
    let length = TCP_HEADER + tail.length();
    let (source, destination) = (&segment.tuple.source.words, &segment.tuple.destination.words);
    // SAFETY: the caller's, for all of them.
    unsafe {
        let transport = if V6 {
            write(start + 12, 0x86ddu16.to_be());
            write(ip, 0x60 | segment.class >> 4);
            write(ip + 1, segment.class << 4);
            write(ip + 2, 0u16);
            write(ip + 4, (length as u16).to_be());
            write(ip + 6, TCP);
            write(ip + 7, HOPS);
            write_all(ip + 8, source);
            write_all(ip + 24, destination);
            ip + IPV6
        } else {
            write(start + 12, 0x0800u16.to_be());
            write(ip, 0x45u8);
            write(ip + 1, segment.class);
            write(ip + 2, ((IPV4 + length) as u16).to_be());
            write(ip + 4, 0u16);
            write(ip + 6, DONT_FRAGMENT);
            write(ip + 8, HOPS);
            write(ip + 9, TCP);
            write(ip + 10, 0u16);
            write(ip + 12, source[3]);
            write(ip + 16, destination[3]);
            let sum = sum_at::<5>(ip, 0);
            write(ip + 10, !Difference::of(sum).fold());
            ip + IPV4
        };
        let header = match tail {
            Tail::Size => TCP_HEADER + SIZE_OPTION_LENGTH,
            Tail::Nothing | Tail::Octet => TCP_HEADER,
        };
        write(transport, segment.tuple.source_port_be);
        write(transport + 2, segment.tuple.destination_port_be);
        write(transport + 4, segment.sequence.to_be());
        write(transport + 8, segment.acknowledgement.to_be());
        // The length of the header in words stands in the upper half.
        write(transport + 12, (header as u8) << 2);
        write(transport + 13, segment.flags);
        write(transport + 14, segment.window.to_be());
        write(transport + TCP_CHECKSUM, 0u16);
        write(transport + 18, 0u16);
        let mut sum = pseudo(source, destination, length);
        match tail {
            Tail::Size => {
                write(transport + TCP_HEADER, SIZE_OPTION);
                write(transport + TCP_HEADER + 2, segment.size.to_be());
                sum += read::<u32>(transport + TCP_HEADER) as u64;
            }
            Tail::Octet => write(transport + TCP_HEADER, 0u8),
            Tail::Nothing => {}
        }
        write(transport + TCP_CHECKSUM, !Difference::of(sum_at::<5>(transport, sum)).fold());
    }
}

/// Sums the pseudo header, which has the same sum for both families.
#[inline(always)]
const fn pseudo(source: &[u32; 4], destination: &[u32; 4], length: usize) -> u64 {
    // A mapped address has the word ffff more, which is zero to the sum.
    let mut sum = (TCP as u16).to_be() as u64 + (length as u16).to_be() as u64;
    let mut n = 0;
    while n < 4 {
        sum += source[n] as u64 + destination[n] as u64;
        n += 1;
    }
    sum
}

/// Adds up words.
///
/// # Safety
/// `N` words at `at` must be readable memory.
#[inline(always)]
unsafe fn sum_at<const N: usize>(at: usize, mut sum: u64) -> u64 {
    let mut n = 0;
    while n < N {
        // SAFETY: the caller's.
        sum += unsafe { read::<u32>(at + 4 * n) } as u64;
        n += 1;
    }
    sum
}

impl Segment {
    /// Takes the numbers and the window of the TCP header in the frame at `start..end`; tells whether it
    /// is there.
    ///
    /// # Safety
    /// `start..end` must be readable memory.
    #[inline(always)]
    pub unsafe fn read_numbers(&mut self, start: usize, end: usize, v6: bool) -> bool {
        // SAFETY: the caller's.
        unsafe {
            if v6 {
                self.read_numbers_of::<true>(start, end)
            } else {
                self.read_numbers_of::<false>(start, end)
            }
        }
    }

    #[inline(always)]
    unsafe fn read_numbers_of<const V6: bool>(&mut self, start: usize, end: usize) -> bool {
        let at = start + ETHERNET + if V6 { IPV6 } else { IPV4 };
        if at + TCP_HEADER > end {
            return false;
        }
        // SAFETY: the comparison above. The fields are written one by one, since the compiler would carry
        // what is not written on the other ways through registers.
        unsafe {
            (&raw mut self.sequence).write_volatile(u32::from_be(read(at + 4)));
            (&raw mut self.acknowledgement).write_volatile(u32::from_be(read(at + 8)));
            (&raw mut self.window).write_volatile(u16::from_be(read(at + 14)));
        }
        true
    }
}

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
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        layout::Address,
        parse::{Family, parse},
    };

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

    /// RFC 1071 by the definition.
    fn sum(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn check<const V6: bool>(segment: &Segment, tail: Tail) -> Result<(), TestCaseError> {
        let mut frame = std::vec![0u8; frame_length(V6, tail)];
        let range = frame.as_mut_ptr_range();
        // SAFETY: the frame's memory.
        let (parsed, read) = unsafe {
            write_segment::<V6>(range.start as usize, segment, tail);
            let family = if V6 { Family::V6 } else { Family::V4 };
            let (start, end) = (range.start as usize, range.end as usize);
            let mut read = Segment::default();
            prop_assert!(read.read_numbers(start, end, V6));
            (parse(start, end, family).unwrap(), read)
        };
        prop_assert_eq!(parsed.tuple, segment.tuple);
        prop_assert_eq!((parsed.tcp_flags, parsed.hop_limit), (segment.flags, HOPS));
        prop_assert_eq!(parsed.traffic_class, segment.class);
        let numbers = |it: &Segment| (it.sequence, it.acknowledgement, it.window);
        prop_assert_eq!(numbers(&read), numbers(segment));
        let transport = ETHERNET + if V6 { IPV6 } else { IPV4 };
        let (addresses, length) = if V6 { (22..54, 40) } else { (26..34, 20) };
        let length = usize::from(parsed.length) - length;
        let mut covered: Vec<u8> = frame[addresses].to_vec();
        covered.extend([0, TCP, 0, length as u8]);
        covered.extend(&frame[transport..]);
        prop_assert_eq!(sum(&covered), 0xffff);
        prop_assert!(V6 || sum(&frame[ETHERNET..ETHERNET + IPV4]) == 0xffff);
        if tail == Tail::Size {
            let mut options = Options::default();
            // SAFETY: the frame's memory.
            unsafe { options.read(range.start as usize, range.end as usize, V6, parsed.length) };
            prop_assert_eq!(options.size(), u32::from(segment.size));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_segment_is_read_back_with_whole_checksums(
            words in prop::array::uniform8(any::<u32>()), ports in any::<[u16; 2]>(),
            numbers in any::<[u32; 2]>(), window in any::<u16>(), size in any::<u16>(),
            flags in any::<u8>(), class in any::<u8>(), tail in 0..3usize,
        ) {
            let tail = [Tail::Nothing, Tail::Size, Tail::Octet][tail];
            let [a, b, c, d, e, f, g, h] = words;
            let mut segment = Segment {
                tuple: Tuple {
                    source: Address { words: [a, b, c | 1 << 9, d] },
                    destination: Address { words: [e, f, g | 1 << 9, h] },
                    source_port_be: ports[0],
                    destination_port_be: ports[1],
                    protocol: TCP,
                    ..Tuple::default()
                },
                sequence: numbers[0],
                acknowledgement: numbers[1],
                window, size, flags, class, padding: 0,
            };
            segment.tuple.source.words[0] |= 1;
            segment.tuple.destination.words[0] |= 1;
            check::<true>(&segment, tail)?;
            segment.tuple.source = Address::v4(d);
            segment.tuple.destination = Address::v4(h);
            check::<false>(&segment, tail)?;
        }
    }
}
