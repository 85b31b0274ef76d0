//! UDP exchanges: one datagram out, one back, from a socket that stays.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::Sender;
use crate::waiting::Pacer;

const DATAGRAM_MAX: usize = 2048;

/// Sends until told to stop.
pub(super) fn run(sender: &Sender) {
    let mut pacer = Pacer::new(sender.interval);
    let socket = match open(sender) {
        Ok(socket) => socket,
        Err(error) => {
            sender.count(|tally| tally.failed(&format!("socket: {}", error.kind())));
            return;
        }
    };
    sender.opened();
    let mut serial = 0u64;
    while !sender.stopped() {
        pacer.turn();
        let start = Instant::now();
        let question = format!("{}-{serial}", sender.index);
        match exchange(&socket, &question, sender.timeout) {
            Ok(answer) => {
                let server = answer.split(' ').next();
                sender.count(|tally| tally.answered(start.elapsed(), server, None));
            }
            Err(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "lost".to_owned(),
                    kind => format!("exchange: {kind}"),
                };
                sender.count(|tally| tally.failed(&kind));
            }
        }
        serial += 1;
    }
}

fn open(sender: &Sender) -> io::Result<UdpSocket> {
    let any: SocketAddr = if sender.target.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(sender.target)?;
    Ok(socket)
}

/// Sends a datagram and waits for the answer to it; answers to earlier ones are passed over.
fn exchange(socket: &UdpSocket, question: &str, timeout: Duration) -> io::Result<String> {
    socket.send(question.as_bytes())?;
    let deadline = Instant::now() + timeout;
    let mut buffer = [0u8; DATAGRAM_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let count = socket.recv(&mut buffer)?;
        let answer = String::from_utf8_lossy(&buffer[..count]);
        if answer.split(' ').next_back() == Some(question) {
            return Ok(answer.into_owned());
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}
