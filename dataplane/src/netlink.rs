//! Netlink sockets: a question, and all messages of its answer; or changes as they happen.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        setsockopt, socket, sockopt,
    },
    time::TimeVal,
};

use self::wire::Request;

pub(crate) mod wire;

/// The largest datagram that the kernel answers with (`NLMSG_GOODSIZE` is at most 32 KiB).
const DATAGRAM_MAX: usize = 64 * 1024;
/// How long the kernel may take: it answers within the system call.
const WITHIN_S: i64 = 2;
/// Messages of an answer that are read: a host with more links than these is no plain host.
const MESSAGES_MAX: usize = 65_536;

/// A socket of one netlink protocol.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

/// Opens a socket that hears of changes, without being asked and without blocking.
pub(crate) fn listen(groups: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

impl Netlink {
    /// Opens a socket for links, routes and neighbours.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket for generic families.
    pub(crate) fn generic() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkGeneric)
    }

    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(WITHIN_S, 0))?;
        Ok(Self(socket))
    }

    /// Asks for one object; returns what follows the message's header.
    pub(crate) fn get(
        &self,
        kind: u16,
        header: &[u8],
        with: &[(u16, &[u8])],
    ) -> io::Result<Vec<u8>> {
        let request = Request::new(kind, libc::NLM_F_REQUEST as u16, header);
        self.send(with.iter().fold(request, |request, (kind, value)| request.with(*kind, value)))?;
        let mut buffer = vec![0; DATAGRAM_MAX];
        let bytes = self.receive(&mut buffer)?;
        let (kind, body) = wire::messages(bytes).next().ok_or(io::ErrorKind::UnexpectedEof)?;
        refused(kind, body)?;
        Ok(body.to_vec())
    }

    /// Asks for all objects; returns what follows each message's header.
    pub(crate) fn dump(&self, kind: u16, header: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        self.send(Request::new(kind, flags as u16, header))?;
        let mut buffer = vec![0; DATAGRAM_MAX];
        let mut all = Vec::new();
        while all.len() < MESSAGES_MAX {
            for (kind, body) in wire::messages(self.receive(&mut buffer)?) {
                if i32::from(kind) == libc::NLMSG_DONE {
                    return Ok(all);
                }
                refused(kind, body)?;
                all.push(body.to_vec());
            }
        }
        Ok(all)
    }

    /// Asks for a change, and waits until it is made.
    pub(crate) fn change(
        &self,
        kind: u16,
        flags: i32,
        header: &[u8],
        with: &[(u16, &[u8])],
    ) -> io::Result<()> {
        let flags = flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let request = Request::new(kind, flags as u16, header);
        self.send(with.iter().fold(request, |request, (kind, value)| request.with(*kind, value)))?;
        let mut buffer = vec![0; DATAGRAM_MAX];
        let bytes = self.receive(&mut buffer)?;
        let (kind, body) = wire::messages(bytes).next().ok_or(io::ErrorKind::UnexpectedEof)?;
        refused(kind, body)
    }

    fn send(&self, request: Request) -> io::Result<()> {
        send(self.0.as_raw_fd(), &request.bytes(), MsgFlags::empty())?;
        Ok(())
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())?;
        Ok(&buffer[..length])
    }
}

fn refused(kind: u16, body: &[u8]) -> io::Result<()> {
    if i32::from(kind) != libc::NLMSG_ERROR {
        return Ok(());
    }
    let number = wire::u32_at(body, 0).map_or(0, |number| (number as i32).wrapping_neg());
    if number == 0 {
        // That is how a change is acknowledged.
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(number))
}
