//! The far end of a tunnel in user space, for kernels without one: takes packets out of their
//! outer headers and gives them to the namespace by a TUN interface.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    net::UdpSocket,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::mpsc::sync_channel,
    time::Duration,
};

use crate::support::{echo, namespaces::Namespace};

const TUN: &str = "tunnel0";
/// `TUNSETIFF` (include/uapi/linux/if_tun.h).
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// Accepts UDP over IPv6 without a checksum, as tunnels send it (include/uapi/linux/udp.h).
const UDP_NO_CHECK6_RX: libc::c_int = 102;
/// IP protocol numbers of IPv4 and IPv6 in IP.
const IN_IP: [(libc::c_int, libc::c_int); 2] = [(libc::AF_INET, 4), (libc::AF_INET6, 41)];

/// Starts the far ends of IP tunnels and of GUE in a namespace; returns when they listen.
pub(crate) fn start(place: &Namespace) {
    let (ready, started) = sync_channel(1);
    echo::spawn(place, move || {
        let tun = open_tun();
        for line in [
            format!("ip link set {TUN} up"),
            // The inner packets come from clients that are elsewhere.
            format!("sysctl -qw net.ipv4.conf.{TUN}.rp_filter=0 net.ipv4.conf.all.rp_filter=0"),
        ] {
            crate::support::namespaces::run(&line);
        }
        for (family, protocol) in IN_IP {
            let socket = raw_socket(family, protocol);
            // A raw IPv4 socket gives the outer header too (raw(7)); an IPv6 one does not (RFC 3542).
            let header = if family == libc::AF_INET { 20 } else { 0 };
            pump(tun.try_clone().expect("a second handle"), header, move |buffer| {
                // SAFETY: the buffer is that long.
                let length = unsafe {
                    libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0)
                };
                usize::try_from(length).ok()
            });
        }
        let socket = UdpSocket::bind("[::]:6080").expect("the GUE port");
        let on: libc::c_int = 1;
        // SAFETY: the value is an integer and its size is given.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_UDP,
                UDP_NO_CHECK6_RX,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        pump(tun, 0, move |buffer| socket.recv(buffer).ok());
        ready.send(()).expect("the test waits");
    });
    started.recv_timeout(Duration::from_secs(5)).expect("the tunnels' far ends");
}

/// Gives what comes in to the TUN interface until the process ends.
fn pump(
    mut tun: File,
    header: usize,
    receive: impl Fn(&mut [u8]) -> Option<usize> + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Some(length) = receive(&mut buffer) {
            if length > header {
                let _refused = tun.write(&buffer[header..length]);
            }
        }
    });
}

fn open_tun() -> File {
    let tun =
        OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("TUN, see tun(4)");
    let mut request: libc::ifreq = {
        // SAFETY: all fields are integers or arrays of them, for which zero is a value.
        unsafe { std::mem::zeroed() }
    };
    for (place, byte) in request.ifr_name.iter_mut().zip(TUN.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is what the call takes.
    let made = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw const request) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    tun
}

fn raw_socket(family: libc::c_int, protocol: libc::c_int) -> OwnedFd {
    // SAFETY: the call takes integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
