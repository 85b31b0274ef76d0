//! Long-lived TCP flows: a line out, a line back, on the same connection for as long as it lives.
//! A broken flow is counted and opened anew.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::Sender;
use crate::http1::read_line;
use crate::waiting::Pacer;

/// Sends until told to stop.
pub(super) fn run(sender: &Sender) {
    let mut pacer = Pacer::new(sender.interval);
    while !sender.stopped() {
        pacer.turn();
        let connected =
            TcpStream::connect_timeout(&sender.target, sender.timeout).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(sender.timeout))?;
                stream.set_write_timeout(Some(sender.timeout))?;
                stream.try_clone().map(|writer| (writer, BufReader::new(stream)))
            });
        match connected {
            Ok((writer, reader)) => {
                sender.opened();
                flow(sender, writer, reader, &mut pacer);
            }
            Err(error) => {
                sender.count(|tally| tally.failed(&format!("connect: {}", error.kind())));
            }
        }
    }
}

fn flow(
    sender: &Sender,
    mut writer: TcpStream,
    mut reader: BufReader<TcpStream>,
    pacer: &mut Pacer,
) {
    let mut serial = 0u64;
    // A flow counts as established once its first exchange is done: an accept queue or a proxy
    // may complete the handshake for a server that is not there.
    let mut established = false;
    while !sender.stopped() {
        pacer.turn();
        let start = Instant::now();
        let question = format!("{}-{serial}", sender.index);
        let answer = writer
            .write_all(format!("{question}\n").as_bytes())
            .and_then(|()| read_line(&mut reader));
        match answer {
            Ok(line) if line.ends_with(&question) => {
                let server = line.split(' ').next();
                sender.count(|tally| tally.answered(start.elapsed(), server, None));
                established = true;
            }
            Ok(_) => {
                sender.count(|tally| tally.failed("exchange: foreign answer"));
                sender.broken();
                return;
            }
            Err(error) => {
                sender.count(|tally| tally.failed(&format!("exchange: {}", error.kind())));
                if established {
                    sender.broken();
                }
                return;
            }
        }
        serial += 1;
    }
}
