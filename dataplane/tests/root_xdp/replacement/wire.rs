//! The far end of the node's interface: sends frames to it, and receives what it sends back.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use dataplane::xdp::{Engine, PinFolder, Settings, detach, program::Mode};

use crate::support::objects::desired;

/// `PACKET_IGNORE_OUTGOING` (include/uapi/linux/if_packet.h).
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// `SO_RCVBUFFORCE` (include/uapi/asm-generic/socket.h).
const BUFFER: libc::c_int = 32 << 20;
/// Frames in one system call.
const BATCH: usize = 32;
const FRAME_MAX: usize = 256;

/// A program on the far end of the node's interface, which passes all: without one what XDP sends
/// reaches a veth's far end late (`veth_xdp_flush` in drivers/net/veth.c).
pub(super) struct Far {
    _program: Engine,
    pins: PinFolder,
}

impl Far {
    pub(super) fn new() -> Self {
        let instance = format!("test-far-{}", std::process::id());
        let pins = PinFolder::new("/sys/fs/bpf", &instance).unwrap();
        let settings = Settings::new(vec!["v1".to_owned()], pins.clone());
        let mut program = Engine::open(settings).expect("root, see `cargo xtask setup`");
        program.reconcile(&desired(1, &[])).unwrap();
        assert_eq!(program.attachments()["v1"], Ok(Mode::Native));
        Self { _program: program, pins }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}

/// A socket at the far end.
pub(super) struct Wire(OwnedFd);

impl Wire {
    pub(super) fn open(interface: &str) -> Self {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the call takes integers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(all)) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
        let wire = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        wire.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
        wire.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER);
        // SAFETY: all fields are integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = nix::net::if_::if_nametoindex(interface).unwrap() as i32;
        let length = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is of that length.
        let bound = unsafe { libc::bind(fd, (&raw const address).cast(), length) };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        wire
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
        let length = size_of::<libc::c_int>() as u32;
        // SAFETY: the value is an integer and its size is given.
        let set = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const value).cast(), length)
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    /// Sends frames; returns how many of them, from the first on, were taken.
    pub(super) fn send<'f>(&self, frames: impl Iterator<Item = &'f [u8]>) -> usize {
        let mut parts: Vec<libc::iovec> = frames
            .take(BATCH)
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
        let count = messages.len() as u32;
        // SAFETY: the messages refer to the parts, and these to the frames, which all live on.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).unwrap_or(0)
    }

    /// Gives each frame that has come to a function; returns how many there were.
    pub(super) fn receive(&self, mut each: impl FnMut(&[u8])) -> usize {
        let mut buffers = [[0u8; FRAME_MAX]; BATCH];
        let mut parts: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: FRAME_MAX })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
        // SAFETY: the messages refer to the parts, and these to the buffers, which all live on.
        let received = unsafe {
            libc::recvmmsg(
                self.0.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).unwrap_or(0);
        for (buffer, message) in buffers.iter().zip(&messages).take(received) {
            each(&buffer[..(message.msg_len as usize).min(FRAME_MAX)]);
        }
        received
    }
}

fn message(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all fields are integers or pointers, for which zero is a value.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}
