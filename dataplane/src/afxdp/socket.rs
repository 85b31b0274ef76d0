//! AF_XDP, by the crate `afxdp`.
//!
//! What the crate does not do is done here: its descriptor is private, so it is read from its debug
//! output and checked to be an AF_XDP socket's; it puts each socket at its queue's number in the
//! map, so the socket is moved to the place of interface and queue; and its parts free what libbpf
//! still uses when they are dropped one by one, so the rings outlive the socket ([`Drop`]).
//!
//! Copy mode, always: with zero copy, what XDP sends on by itself would take the worker's memory,
//! and depend on it.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use afxdp::{
    PENDING_LEN,
    buf_mmap::BufMmap,
    mmap_area::{MmapArea, MmapAreaOptions},
    socket::{Socket, SocketNewError, SocketOptions, SocketRx, SocketTx},
    umem::{Umem, UmemCompletionQueue, UmemFillQueue, UmemNewError},
};
use arraydeque::{ArrayDeque, Wrapping};
use ebpf_common::qos::wait::place;

use super::{
    frame::XdpFrame,
    io::{Frame as _, Lost, PacketIo},
    memory,
    outlet::Outlet,
};
use crate::xdp::bpf;

/// Packets that a worker has memory for, 16 MiB.
pub const FRAMES: usize = 4_096;
/// Bytes of a packet's memory: what [`ebpf_common::qos::wait::FRAME_MAX`] counts on.
const FRAME_BYTES: usize = 4_096;
/// Entries of each ring.
const RING: u32 = 2_048;
/// Packets that one system call sends in copy mode (net/xdp/xsk.c, `TX_BATCH_SIZE`).
const BATCH: usize = 32;
/// Calls that a kick makes before it leaves the rest to the next one.
const KICKS: u32 = 64;
/// A queue that was just let go of stays busy for up to half a second.
const BUSY_FOR: Duration = Duration::from_secs(2);
const BUSY_STEP: Duration = Duration::from_millis(50);
/// `SOL_XDP`'s statistics (include/uapi/linux/if_xdp.h).
const SOL_XDP: libc::c_int = 283;
const XDP_STATISTICS: libc::c_int = 7;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is no memory for packets.
    #[error("{} KiB for packets are not to be had", FRAMES * FRAME_BYTES / 1024)]
    Memory,
    /// A step of the kernel.
    #[error("{what}")]
    Kernel {
        /// What was asked of it.
        what: &'static str,
        /// What it refused.
        source: io::Error,
    },
    /// The queue's number is beyond those of the map.
    #[error("XDP has no place for a worker of queue {queue}")]
    NoPlace {
        /// The queue.
        queue: u32,
    },
}

/// Where a socket is.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The interface.
    pub interface: &'a str,
    /// Its number.
    pub ifindex: u32,
    /// Its queue.
    pub queue: u32,
    /// The NUMA node that the packets' memory is bound to.
    pub node: Option<u32>,
}

/// Packets on their way between this process and the rings.
type Parcels = ArrayDeque<[BufMmap<'static, ()>; PENDING_LEN], Wrapping>;

/// An AF_XDP socket with its memory.
#[derive(Debug)]
pub struct XdpSocket {
    ifindex: u32,
    free: Vec<BufMmap<'static, ()>>,
    incoming: Box<Parcels>,
    outgoing: Box<Parcels>,
    /// What leaves by other interfaces, with their numbers.
    elsewhere: Vec<(XdpFrame, u32)>,
    /// A duplicate of the socket's.
    fd: OwnedFd,
    outlet: Outlet,
    unsent: u64,
    rx: ManuallyDrop<SocketRx<'static, ()>>,
    tx: ManuallyDrop<SocketTx<'static, ()>>,
    completions: ManuallyDrop<UmemCompletionQueue<'static, ()>>,
    fills: ManuallyDrop<UmemFillQueue<'static, ()>>,
    socket: Arc<Socket<'static, ()>>,
    umem: Arc<Umem<'static, ()>>,
}

impl XdpSocket {
    /// Opens the socket of a queue, and puts it where XDP hands packets over. The interface must run
    /// a program that has the map.
    ///
    /// # Errors
    /// Returns what was refused.
    pub fn open(site: Site<'_>, map: BorrowedFd<'_>) -> Result<Self, SocketError> {
        let queue = site.queue;
        let place = place(site.ifindex, queue).ok_or(SocketError::NoPlace { queue })?;
        let outlet = Outlet::open().map_err(kernel("packet socket"))?;
        let (area, mut free) = MmapArea::new(FRAMES, FRAME_BYTES, MmapAreaOptions::default())
            .map_err(|_| SocketError::Memory)?;
        if let Some(node) = site.node {
            // SAFETY: the area is that long, and nobody has it yet.
            unsafe { memory::bind(area.get_ptr(), FRAMES * FRAME_BYTES, node) }
                .map_err(kernel("memory on the interface's NUMA node"))?;
        }
        free.reserve_exact(FRAMES.saturating_sub(free.len()));
        let began = Instant::now();
        let parts = loop {
            match bind(&area, site) {
                Err(SocketError::Kernel { source, .. })
                    if source.raw_os_error() == Some(libc::EBUSY) && began.elapsed() < BUSY_FOR =>
                {
                    // Nobody tells when it is let go of.
                    std::thread::park_timeout(BUSY_STEP);
                }
                other => break other?,
            }
        };
        let (umem, completions, fills, socket, rx, tx) = parts;
        let fd = descriptor(&rx).map_err(kernel("descriptor of the AF_XDP socket"));
        let mut opened = Self {
            ifindex: site.ifindex,
            free,
            incoming: Box::default(),
            outgoing: Box::default(),
            elsewhere: Vec::new(),
            fd: fd?,
            outlet,
            unsent: 0,
            rx: ManuallyDrop::new(rx),
            tx: ManuallyDrop::new(tx),
            completions: ManuallyDrop::new(completions),
            fills: ManuallyDrop::new(fills),
            socket,
            umem,
        };
        opened.fill();
        let fd = std::os::fd::AsFd::as_fd(&opened.fd);
        bpf::put_map(map, place, fd).map_err(kernel("place in the map of sockets"))?;
        // Where libbpf has put it.
        bpf::empty_slot(map, queue).map_err(kernel("map of sockets"))?;
        Ok(opened)
    }

    /// Sends what is in the ring; tells whether it is empty then.
    fn kick_ring(&self) -> bool {
        for _ in 0..KICKS {
            // SAFETY: no pointer is passed.
            let sent = unsafe {
                libc::sendto(
                    self.fd.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            if sent >= 0 {
                return true;
            }
            let error = io::Error::last_os_error().raw_os_error();
            if !matches!(error, Some(libc::EAGAIN | libc::ENOBUFS | libc::EBUSY | libc::EINTR)) {
                return false;
            }
        }
        false
    }

    fn reclaim(&mut self) {
        while self.completions.service(&mut self.free, BATCH).is_ok_and(|count| count > 0) {}
    }
}

impl PacketIo for XdpSocket {
    type Frame = XdpFrame;

    fn receive(&mut self, into: &mut Vec<Self::Frame>, most: usize) {
        let _received = self.rx.try_recv(&mut self.incoming, most, ());
        into.extend(self.incoming.drain(..).map(XdpFrame::new));
    }

    fn send(&mut self, frame: Self::Frame, ifindex: u32) {
        if ifindex == self.ifindex && self.outgoing.len() < PENDING_LEN {
            self.outgoing.push_back(frame.into_outgoing());
        } else {
            self.elsewhere.push((frame, ifindex));
        }
    }

    fn kick(&mut self) -> bool {
        if !self.elsewhere.is_empty() {
            let frames = self.elsewhere.iter().map(|(frame, ifindex)| (frame.bytes(), *ifindex));
            self.unsent += self.outlet.send(frames);
            self.free.extend(self.elsewhere.drain(..).map(|(frame, _)| frame.into_memory()));
        }
        while !self.outgoing.is_empty() {
            let moved = self.tx.try_send(&mut self.outgoing, BATCH);
            let left = self.kick_ring();
            self.reclaim();
            if !left || !moved.is_ok_and(|moved| moved > 0) {
                return false;
            }
        }
        self.reclaim();
        true
    }

    fn recycle(&mut self, frame: Self::Frame) {
        self.free.push(frame.into_memory());
    }

    fn fill(&mut self) {
        while self.fills.fill(&mut self.free, BATCH).is_ok_and(|count| count > 0) {}
    }

    fn wait(&mut self, at_most: Duration) {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = libc::timespec {
            tv_sec: at_most.as_secs() as libc::time_t,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: both live through the call, and there is one descriptor.
        let _woken = unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) };
    }

    fn lost(&mut self) -> Lost {
        // `struct xdp_statistics`: dropped, invalid to receive and to send, no room in the ring for
        // received ones, no memory for them, and an empty ring to send.
        let mut words = [0u64; 6];
        let mut length = size_of_val(&words) as libc::socklen_t;
        // SAFETY: the kernel writes as much as `length` says at most.
        let failed = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                SOL_XDP,
                XDP_STATISTICS,
                words.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let [dropped, _, invalid, ring_full, ..] = if failed == 0 { words } else { [0; 6] };
        Lost { received: dropped + ring_full, sent: self.unsent + invalid }
    }
}

impl Drop for XdpSocket {
    fn drop(&mut self) {
        // libbpf reads the rings' memory while it deletes socket and memory, and each part of the
        // crate frees its ring: so the rings stay, some hundred bytes, and only their shares go.
        // SAFETY: the four that hold the shares are never dropped, nor used after this.
        unsafe {
            // `rx` and `tx`, then `completions` and `fills`.
            for _ in 0..2 {
                Arc::decrement_strong_count(Arc::as_ptr(&self.socket));
                Arc::decrement_strong_count(Arc::as_ptr(&self.umem));
            }
        }
    }
}

type Parts = (
    Arc<Umem<'static, ()>>,
    UmemCompletionQueue<'static, ()>,
    UmemFillQueue<'static, ()>,
    Arc<Socket<'static, ()>>,
    SocketRx<'static, ()>,
    SocketTx<'static, ()>,
);

/// Registers the memory and binds a socket to the queue. libbpf cannot try the latter twice with one
/// registration.
fn bind(area: &Arc<MmapArea<'static, ()>>, site: Site<'_>) -> Result<Parts, SocketError> {
    let (umem, completions, fills) = Umem::new(area.clone(), RING, RING).map_err(|error| {
        let source = match error {
            UmemNewError::Create(source) => positive(&source),
            UmemNewError::RingNotPowerOfTwo => io::ErrorKind::InvalidInput.into(),
        };
        SocketError::Kernel { what: "memory for AF_XDP", source }
    })?;
    let options = SocketOptions { copy_mode: true, ..SocketOptions::default() };
    let bound = Socket::new(umem.clone(), site.interface, site.queue as usize, RING, RING, options);
    let (socket, rx, tx) = bound.map_err(|error| {
        let source = match error {
            SocketNewError::Create(source) => positive(&source),
            SocketNewError::RingNotPowerOfTwo => io::ErrorKind::InvalidInput.into(),
        };
        SocketError::Kernel { what: "AF_XDP socket", source }
    })?;
    Ok((umem, completions, fills, socket, rx, tx))
}

/// The crate takes libbpf's negative error numbers for positive ones.
fn positive(error: &io::Error) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO).abs())
}

/// Duplicates the socket's descriptor.
fn descriptor(rx: &SocketRx<'static, ()>) -> io::Result<OwnedFd> {
    let text = format!("{rx:?}");
    let digits = text.rsplit_once("fd: ").map_or("", |(_, rest)| rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let fd: i32 = digits[..end].parse().map_err(io::Error::other)?;
    // SAFETY: a descriptor of another kind is found out below, before it is used as a socket's.
    let duplicate = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    let mut domain: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length live through the call.
    let failed = unsafe {
        libc::getsockopt(
            duplicate.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    if domain != libc::AF_XDP {
        return Err(io::Error::other(format!("descriptor {fd} is no AF_XDP socket")));
    }
    Ok(duplicate)
}

fn kernel(what: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Kernel { what, source }
}
