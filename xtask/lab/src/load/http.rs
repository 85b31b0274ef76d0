//! Keep-alive HTTP requests.

use std::io;
use std::net::TcpStream;
use std::time::Instant;

use super::Sender;
use crate::http1::{Connection, Request};
use crate::waiting::Pacer;

/// Sends until told to stop.
pub(super) fn run(sender: &Sender, host: &str, path: &str) {
    let mut pacer = Pacer::new(sender.interval);
    let mut connection: Option<Connection<TcpStream>> = None;
    while !sender.stopped() {
        pacer.turn();
        let start = Instant::now();
        let mut open = match connection.take() {
            Some(open) => open,
            None => match connect(sender) {
                Ok(stream) => {
                    sender.opened();
                    Connection::new(stream)
                }
                Err(error) => {
                    sender.count(|tally| tally.failed(&format!("connect: {}", error.kind())));
                    continue;
                }
            },
        };
        match open.send(&Request::get(host, path)) {
            Ok(response) => {
                let server = response.head.header("x-server");
                sender.count(|tally| {
                    tally.answered(start.elapsed(), server, Some(response.head.status));
                });
                if open.is_open() {
                    connection = Some(open);
                }
            }
            Err(error) => {
                sender.broken();
                sender.count(|tally| tally.failed(&format!("request: {}", error.kind())));
            }
        }
    }
}

fn connect(sender: &Sender) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&sender.target, sender.timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(sender.timeout))?;
    stream.set_write_timeout(Some(sender.timeout))?;
    Ok(stream)
}
