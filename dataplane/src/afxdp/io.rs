//! How a worker gets packets and sends them: what it needs of AF_XDP, and no more.
//!
//! Behind a trait, so that the worker's loop is tested without a kernel, and so that another library
//! can stand in for the one that [`super::socket`] uses.

use std::time::Duration;

/// A packet in memory that is shared with the kernel. It must not outlive the [`PacketIo`] that it
/// came from, and goes back by [`PacketIo::send`] or [`PacketIo::recycle`].
pub trait Frame {
    /// Returns its bytes.
    fn bytes(&self) -> &[u8];

    /// Returns its bytes, to be changed.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Cuts bytes off its front.
    fn trim_front(&mut self, bytes: usize);
}

/// What was lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Packets that found no room on their way in.
    pub received: u64,
    /// Packets that the way out did not take.
    pub sent: u64,
}

/// A worker's way to receive and send.
pub trait PacketIo {
    /// What it receives.
    type Frame: Frame;

    /// Takes packets that have come, up to some number.
    fn receive(&mut self, into: &mut Vec<Self::Frame>, most: usize);

    /// Puts a packet where it leaves by an interface, with the next [`Self::kick`] at the latest.
    fn send(&mut self, frame: Self::Frame, ifindex: u32);

    /// Sends what waits to leave; tells whether all has left.
    fn kick(&mut self) -> bool;

    /// Gives a packet's memory back.
    fn recycle(&mut self, frame: Self::Frame);

    /// Gives the kernel memory for packets to come.
    fn fill(&mut self);

    /// Waits for packets, at most so long.
    fn wait(&mut self, at_most: Duration);

    /// Lets time pass, whatever comes: packets that come meanwhile wake nobody.
    fn nap(&mut self, time: Duration) {
        std::thread::park_timeout(time);
    }

    /// Tells what was lost since the beginning.
    fn lost(&mut self) -> Lost;
}
