//! The TCP echo server: one answer a line, for as long as the client likes.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use anyhow::Result;

use super::Shared;
use crate::http1::read_line;

/// Serves one connection.
pub(super) fn talk(stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let line = read_line(&mut reader)?;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        writer.write_all(format!("{} {line}\n", shared.name).as_bytes())?;
    }
}
