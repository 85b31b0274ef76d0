//! The memory of a frame: between two pages that nobody may touch, against one of them.
//!
//! Against the page behind it, so that the first byte beyond the frame is out of reach, or against
//! the page before it, so that the last byte before it is. A driver's headroom and tailroom are made
//! up: growing moves the frame, as the path has to expect of the kernel.

use core::ptr::NonNull;

/// Bytes of the memory between the two pages: more than any frame of the tests.
const ROOM: usize = 4 * PAGE;
const PAGE: usize = 4_096;
/// What a frame may grow by at its head: `XDP_PACKET_HEADROOM` (include/uapi/linux/bpf.h).
const HEADROOM: usize = 256;
/// The least that a frame may shrink to: an Ethernet header.
const LEAST: usize = 14;

/// Which end of a frame is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The byte before the first one.
    Before,
    /// The byte behind the last one.
    Behind,
}

/// A frame in guarded memory.
#[derive(Debug)]
pub struct Frame {
    memory: NonNull<u8>,
    guard: Guard,
    start: usize,
    length: usize,
    /// What it may still grow by at its head.
    headroom: usize,
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    /// Maps the memory.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory; the
        // protection is that of its own pages.
        let memory = unsafe {
            let memory = libc::mmap(
                core::ptr::null_mut(),
                PAGE + ROOM + PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(memory, libc::MAP_FAILED, "memory for a frame");
            let within = memory.cast::<u8>().add(PAGE);
            let opened = libc::mprotect(within.cast(), ROOM, libc::PROT_READ | libc::PROT_WRITE);
            assert_eq!(opened, 0, "memory for a frame");
            within
        };
        let memory = NonNull::new(memory).expect("not mapped at address 0");
        Self { memory, guard: Guard::Behind, start: 0, length: 0, headroom: 0 }
    }

    /// Puts a frame there in place of the one before.
    pub fn put(&mut self, bytes: &[u8], guard: Guard) {
        assert!(bytes.len() + HEADROOM <= ROOM, "a frame of {} bytes", bytes.len());
        self.guard = guard;
        self.headroom = HEADROOM;
        self.place(bytes.len());
        self.bytes_mut().copy_from_slice(bytes);
    }

    /// Returns where the frame begins.
    #[must_use]
    pub fn start(&self) -> usize {
        self.memory.as_ptr() as usize + self.start
    }

    /// Returns where it ends.
    #[must_use]
    pub fn end(&self) -> usize {
        self.start() + self.length
    }

    /// Returns the frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the frame lies within the memory.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr().add(self.start), self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the memory is writable.
        unsafe {
            core::slice::from_raw_parts_mut(self.memory.as_ptr().add(self.start), self.length)
        }
    }

    /// Grows the frame at its head, or shrinks it, as `bpf_xdp_adjust_head` does.
    pub fn grow_head(&mut self, bytes: i32) -> bool {
        let length = self.length as i64 + i64::from(bytes);
        if i64::from(bytes) > self.headroom as i64 || length < LEAST as i64 {
            return false;
        }
        self.headroom = (self.headroom as i64 - i64::from(bytes)) as usize;
        let old = self.bytes().to_vec();
        self.place(length as usize);
        let kept = old.len().min(self.length);
        let length = self.length;
        self.bytes_mut()[length - kept..].copy_from_slice(&old[old.len() - kept..]);
        true
    }

    /// Grows the frame at its tail, or shrinks it, as `bpf_xdp_adjust_tail` does.
    pub fn grow_tail(&mut self, bytes: i32) -> bool {
        let length = self.length as i64 + i64::from(bytes);
        if length < LEAST as i64 || length as usize + self.headroom > ROOM {
            return false;
        }
        let old = self.bytes().to_vec();
        self.place(length as usize);
        let kept = old.len().min(self.length);
        self.bytes_mut()[..kept].copy_from_slice(&old[..kept]);
        true
    }

    /// Places the frame against its guard. What is new of it holds what no header should.
    fn place(&mut self, length: usize) {
        self.length = length;
        self.start = match self.guard {
            Guard::Before => 0,
            Guard::Behind => ROOM - length,
        };
        self.bytes_mut().fill(0xa5);
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; no reference to it is left.
        unsafe { libc::munmap(self.memory.as_ptr().sub(PAGE).cast(), PAGE + ROOM + PAGE) };
    }
}
