//! What the program that measures shares with user space; no part of the data plane.

/// Name of the array with the one [`State`].
pub const STATE_MAP: &str = "drive_state";
/// Name of the program array whose only entry is measured.
pub const NEXT_MAP: &str = "drive_next";
/// Name of the program that prepares each frame.
pub const DRIVER: &str = "drive";
/// Name of the program that does nothing: what is measured with it is the floor.
pub const FLOOR: &str = "floor";

/// Bytes of a frame before the words of [`State::words`]. Words that begin there lie around the
/// fields of the headers as the program reads them: a load of parts of two stores would wait for
/// both, as it does not on a frame that a device wrote.
pub const BEFORE_WORDS: usize = 6;
/// Bytes of a frame that are restored: Ethernet, IPv6 and TCP headers, rounded up to words.
pub const RESTORED_V6: usize = BEFORE_WORDS + 72;
/// The same for IPv4.
pub const RESTORED_V4: usize = BEFORE_WORDS + 48;
/// An odd number: multiplied by it, a counter passes through all flows in no order.
pub const STRIDE: u64 = 0x9e37_79b1;

/// What frames look like.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Frames so far.
    pub counter: u64,
    /// Flows less one; a power of two.
    pub flows_mask: u64,
    /// Length of a frame.
    pub length: u32,
    /// 1 for IPv6.
    pub v6: u32,
    /// The first flow's headers.
    pub words: [u64; (RESTORED_V6 - BEFORE_WORDS) / 8],
    /// Bytes of the frame before those.
    pub first: u32,
    /// Bytes between the first ones and the words.
    pub second: u16,
    /// 1 where what is measured changes a frame's length at its tail, else at its head.
    pub tail: u16,
}

/// Returns the source of a flow: the address's last word and the port, as they lie in a packet.
#[inline(always)]
#[must_use]
pub const fn source(flow: u64) -> (u32, u16) {
    ((0x0b00_0000 + (flow >> 4) as u32).to_be(), (1_024 + (flow & 15) as u16 * 251).to_be())
}
