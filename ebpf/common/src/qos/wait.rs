//! What XDP hands to the AF_XDP worker of a queue: the rewritten frame behind a [`Ticket`].
//!
//! A map of sockets has a place for each queue of an interface ([`place`]); the kernel drops a frame
//! for a socket of another interface or queue, so interfaces that share places do no harm.

/// Map of sockets. libbpf, which makes the sockets, looks for this name.
pub const SOCKETS_MAP: &str = "xsks_map";
/// Interfaces whose numbers have places of their own; larger numbers share them.
const INTERFACES: u32 = 128;
/// Queues of an interface that have a worker.
pub const QUEUES: u32 = 128;
/// Places of [`SOCKETS_MAP`]. libbpf puts each socket at its queue's number first, so the first
/// places are none of these.
pub const PLACES: usize = (QUEUES * (INTERFACES + 1)) as usize;
/// Bytes that a socket's frame takes, ticket and all: a page less what the kernel keeps in front.
pub const FRAME_MAX: usize = 4_096 - 256;

/// Returns the place of an interface's queue; none for one beyond [`QUEUES`].
#[inline(always)]
#[must_use]
pub const fn place(ifindex: u32, queue: u32) -> Option<u32> {
    if queue >= QUEUES {
        return None;
    }
    Some(((ifindex & (INTERFACES - 1)) + 1) * QUEUES + queue)
}

/// Gates of a limiter's direction: queues share them by their numbers' lowest bits.
pub const GATES: usize = 4;

/// Returns the gate of a queue: while it is shut, by [`crate::qos::Spent::shut`], nothing more of that
/// limiter begins to wait there.
#[inline(always)]
#[must_use]
pub const fn gate(queue: u32) -> usize {
    queue as usize & (GATES - 1)
}

/// What stands before a frame that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// When it was handed over, by the kernel's tick counter.
    pub ticks: u64,
    /// The interface that it leaves by.
    pub ifindex: u32,
    /// The entry of its limiter in the limiters' maps.
    pub entry: u16,
    /// Bytes that the limiter counts.
    pub length: u16,
}

/// Bytes of a [`Ticket`].
pub const TICKET: usize = size_of::<Ticket>();

impl Ticket {
    /// Reads the ticket before a frame, as it lies in memory of this machine.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            ticks: u64::from_ne_bytes(*bytes.first_chunk()?),
            ifindex: u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?),
            entry: u16::from_ne_bytes(*bytes.get(12..)?.first_chunk()?),
            length: u16::from_ne_bytes(*bytes.get(14..)?.first_chunk()?),
        })
    }
}

const _: () = assert!(TICKET == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_and_within_the_map() {
        let mut seen = std::collections::BTreeSet::new();
        for ifindex in [1, 2, 127, 128, 129 + 300] {
            for queue in [0, 1, QUEUES - 1] {
                let place = place(ifindex, queue).unwrap();
                assert!(place >= QUEUES && (place as usize) < PLACES);
                assert!(seen.insert(place), "{ifindex} {queue}");
            }
        }
        assert_eq!(place(1, 0), place(129, 0));
        assert_eq!(place(1, QUEUES), None);
    }

    #[test]
    fn a_ticket_is_read_as_it_is_written() {
        let ticket = Ticket { ticks: 1 << 40 | 7, ifindex: 9, entry: 2_047, length: 1_500 };
        // SAFETY: 16 bytes of integers without padding.
        let bytes = unsafe { core::mem::transmute::<Ticket, [u8; TICKET]>(ticket) };
        assert_eq!(Ticket::read(&bytes), Some(ticket));
        assert_eq!(Ticket::read(&bytes[1..]), None);
    }
}
