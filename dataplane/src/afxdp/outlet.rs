//! The way out by other interfaces than the one that a worker's socket is bound to.
//!
//! A queue of an interface has one AF_XDP socket, and that is its own worker's. So what leaves by
//! another interface goes by a packet socket (packet(7)), past the queueing discipline as XDP's own
//! frames go.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `SOL_PACKET`'s option to leave queueing disciplines out (include/uapi/linux/if_packet.h).
const PACKET_QDISC_BYPASS: libc::c_int = 20;
/// How often a frame is tried where the device has no room at the moment.
const TRIES: u32 = 3;

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
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let on: libc::c_int = 1;
        // SAFETY: the value lives through the call and has the length that is told.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(Self(socket)) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a frame, and tells whether the interface took it.
    #[must_use]
    pub fn send(&self, frame: &[u8], ifindex: u32) -> bool {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = ifindex as i32;
        to.sll_halen = 6;
        for _ in 0..TRIES {
            // SAFETY: frame and address live through the call and have the lengths that are told.
            let sent = unsafe {
                libc::sendto(
                    self.0.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    libc::MSG_DONTWAIT,
                    (&raw const to).cast(),
                    size_of::<libc::sockaddr_ll>() as libc::socklen_t,
                )
            };
            if sent >= 0 {
                return true;
            }
            let error = io::Error::last_os_error().raw_os_error();
            if !matches!(error, Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)) {
                return false;
            }
        }
        false
    }
}
