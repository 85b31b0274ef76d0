//! Servers that say who they are and repeat what they hear, and clients that check it.

use std::{
    io::{Read as _, Write as _},
    mem::ManuallyDrop,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc::sync_channel,
    thread::JoinHandle,
    time::Duration,
};

use crate::support::namespaces::Namespace;

pub(crate) const TCP_PORT: u16 = 8000;
pub(crate) const UDP_PORT: u16 = 8053;

/// Time after which an answer counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a thread inside a namespace.
pub(crate) fn spawn<T: Send + 'static>(
    place: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    // Held by the caller for as long as it is needed.
    let inside = ManuallyDrop::new(Namespace(place.0.clone()));
    std::thread::spawn(move || {
        inside.enter();
        work()
    })
}

/// Starts the servers of a backend; returns when they listen. The one for UDP has a socket for
/// each address, from which it answers.
pub(crate) fn serve(place: &Namespace, number: u8, udp: &'static [&'static str]) {
    let (ready, listening) = sync_channel(1 + udp.len());
    let tcp_ready = ready.clone();
    spawn(place, move || {
        let listener = TcpListener::bind(("::", TCP_PORT)).expect("the TCP port");
        tcp_ready.send(()).expect("the test waits");
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                stream.write_all(&[number]).ok()?;
                loop {
                    let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
                    stream.write_all(&buffer[..length]).ok()?;
                }
                #[expect(unreachable_code, reason = "gives the closure its type")]
                Some(())
            });
        }
    });
    for address in udp {
        let ready = ready.clone();
        spawn(place, move || {
            let socket = UdpSocket::bind((*address, UDP_PORT)).expect("the UDP port");
            ready.send(()).expect("the test waits");
            let mut buffer = vec![0; 2_048];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let mut answer = vec![number];
                answer.extend(&buffer[..length]);
                let _unsent = socket.send_to(&answer, peer);
            }
        });
    }
    for _ in 0..=udp.len() {
        listening.recv_timeout(PATIENCE).expect("all servers listen");
    }
}

/// A TCP connection to some backend.
pub(crate) struct TcpFlow {
    stream: TcpStream,
    backend: u8,
    count: u64,
}

impl TcpFlow {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let mut backend = [0];
        stream.read_exact(&mut backend).expect("the backend's number");
        Self { stream, backend: backend[0], count: 0 }
    }

    pub(crate) fn backend(&self) -> u8 {
        self.backend
    }

    /// Sends a number and expects it back.
    pub(crate) fn exchange(&mut self) {
        self.count += 1;
        self.stream.write_all(&self.count.to_be_bytes()).expect("an open connection");
        let mut answer = [0; 8];
        self.stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(u64::from_be_bytes(answer), self.count);
    }

    /// Sends many bytes and expects the same back.
    pub(crate) fn bulk(&mut self, length: usize) {
        let data: Vec<u8> = (0..length).map(|n| ((n * 31) >> 3) as u8).collect();
        let mut writer = self.stream.try_clone().expect("a second handle");
        let sent = data.clone();
        let sender = std::thread::spawn(move || writer.write_all(&sent));
        let mut back = vec![0; length];
        self.stream.read_exact(&mut back).expect("all of it back");
        sender.join().expect("the sender").expect("an open connection");
        assert!(back == data);
    }
}

/// A UDP flow to some backend.
pub(crate) struct UdpFlow {
    socket: UdpSocket,
    backend: u8,
    count: u64,
}

impl UdpFlow {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let any: SocketAddr =
            if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).expect("a port");
        socket.connect(address).expect("a route");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut flow = Self { socket, backend: 0, count: 0 };
        flow.backend = flow.ask().unwrap_or_else(|| panic!("no answer from {address}"));
        flow
    }

    pub(crate) fn backend(&self) -> u8 {
        self.backend
    }

    /// Sends a number; tells whether it came back.
    pub(crate) fn exchange(&mut self) -> bool {
        self.ask().is_some()
    }

    fn ask(&mut self) -> Option<u8> {
        self.count += 1;
        self.socket.send(&self.count.to_be_bytes()).ok()?;
        let mut answer = [0; 16];
        let length = self.socket.recv(&mut answer).ok()?;
        assert_eq!(length, 9);
        assert_eq!(answer[1..9], self.count.to_be_bytes());
        Some(answer[0])
    }
}

/// Reads `InCsumErrors` of `/proc/net/snmp`.
pub(crate) fn checksum_errors(snmp: &str, protocol: &str) -> u64 {
    counter(snmp, protocol, "InCsumErrors")
}

/// Reads a counter of `/proc/net/snmp`.
pub(crate) fn counter(snmp: &str, protocol: &str, name: &str) -> u64 {
    let prefix = format!("{protocol}: ");
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(&prefix));
    let (names, values) = (lines.next().expect("the names"), lines.next().expect("the values"));
    let at = names.split(' ').position(|word| word == name).expect("its place");
    values.split(' ').nth(at).expect("its value").parse().expect("a number")
}
