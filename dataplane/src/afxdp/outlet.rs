//! The way out by other interfaces than the one that a worker's socket is bound to.
//!
//! A queue of an interface has one AF_XDP socket, and that is its own worker's. So what leaves by
//! another interface goes by a packet socket (packet(7)), past the queueing discipline as XDP's own
//! frames go, many frames a system call.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `SOL_PACKET`'s option to leave queueing disciplines out (include/uapi/linux/if_packet.h).
const PACKET_QDISC_BYPASS: libc::c_int = 20;
/// How often a frame is tried where the device has no room at the moment.
const TRIES: u32 = 3;
/// Frames of a system call: a worker's round.
const BATCH: usize = 64;
/// Bytes on their way out in the device's ring: more than a large ring of large packets takes with
/// what the kernel keeps beside each.
const ON_THE_WAY: libc::c_int = 8 << 20;

/// A packet socket that receives nothing.
#[derive(Debug)]
pub struct Outlet(OwnedFd);

impl Outlet {
    /// Opens it.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn open() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
        let outlet = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        outlet.set(libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)?;
        outlet.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, ON_THE_WAY)?;
        Ok(outlet)
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the value lives through the call and has the length that is told.
        let failed = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends frames in their order, each by an interface; returns how many were not taken.
    #[must_use]
    pub fn send<'a>(&self, frames: impl Iterator<Item = (&'a [u8], u32)>) -> u64 {
        let mut frames = frames.peekable();
        let mut lost = 0;
        while frames.peek().is_some() {
            lost += self.send_batch(frames.by_ref().take(BATCH));
        }
        lost
    }

    fn send_batch<'a>(&self, frames: impl Iterator<Item = (&'a [u8], u32)>) -> u64 {
        // SAFETY: all fields are integers and pointers, for which zero is a value.
        let mut to: [libc::sockaddr_ll; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for (frame, ifindex) in frames {
            to[count].sll_family = libc::AF_PACKET as u16;
            to[count].sll_ifindex = ifindex as i32;
            to[count].sll_halen = 6;
            parts[count].iov_base = frame.as_ptr().cast_mut().cast();
            parts[count].iov_len = frame.len();
            let head = &mut messages[count].msg_hdr;
            head.msg_name = (&raw mut to[count]).cast();
            head.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            head.msg_iov = &raw mut parts[count];
            head.msg_iovlen = 1;
            count += 1;
        }
        let (mut rest, mut lost, mut tries) = (&mut messages[..count], 0, 0);
        while !rest.is_empty() {
            // SAFETY: messages, addresses and frames live through the call; frames are only read.
            let sent = unsafe {
                libc::sendmmsg(
                    self.0.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            let mut over = usize::try_from(sent).unwrap_or(0);
            if over > 0 {
                tries = 0;
            } else {
                // The first one was not taken.
                let error = io::Error::last_os_error().raw_os_error();
                tries += 1;
                let passing = matches!(error, Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR));
                if !passing || tries == TRIES {
                    (over, tries) = (1, 0);
                    lost += 1;
                }
            }
            rest = &mut rest[over..];
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_each_frame_of_a_batch_that_an_interface_does_not_take_is_counted() {
        let outlet = Outlet::open().expect("root may open packet sockets");
        let frame = [0u8; 60];
        // No interface has such a number; the loopback interface, 1, takes all.
        let to = |n: usize| if n.is_multiple_of(3) { i32::MAX as u32 } else { 1 };
        let all = 3 * BATCH;
        assert_eq!(outlet.send((0..all).map(|n| (&frame[..], to(n)))), all as u64 / 3);
        assert_eq!(outlet.send(std::iter::empty()), 0);
    }
}
