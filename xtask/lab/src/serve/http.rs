//! The HTTP server: answers that name the server, and the long-lived kinds of traffic that an
//! unrelated change must not touch.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Shared, websocket};
use crate::http1::read_line;
use crate::waiting::Pacer;

/// Pieces in which a slow download is paced.
const SLOW_PIECES_PER_SECOND: u64 = 20;
/// Longest slow download on offer.
const SLOW_SECONDS_MAX: u64 = 600;
const SLOW_PIECE: [u8; 1024] = [b'.'; 1024];

/// Serves one connection.
pub(super) fn talk(stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let line = read_line(&mut reader)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/").to_owned());
        let method = method.to_owned();
        let mut length = 0u64;
        let mut key = None;
        loop {
            let line = read_line(&mut reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().context("content-length")?,
                "sec-websocket-key" => key = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match (path, key) {
            ("/ws", Some(key)) => {
                return websocket::serve(&mut reader, &mut writer, &key, &shared.name);
            }
            ("/slow", _) => slow(&mut writer, query, shared)?,
            ("/healthz", _) => {
                let healthy = shared.healthy.load(Ordering::Relaxed);
                answer(&mut writer, if healthy { 200 } else { 503 }, &shared.name, "healthz")?;
            }
            _ => {
                let status = path
                    .strip_prefix("/status/")
                    .and_then(|code| code.parse().ok())
                    .filter(|code| (200..600).contains(code))
                    .unwrap_or(200);
                answer(&mut writer, status, &shared.name, &format!("{method} {target}"))?;
            }
        }
    }
}

fn answer(writer: &mut TcpStream, status: u16, name: &str, what: &str) -> Result<()> {
    let body = format!("{name} {what}\n");
    let head = format!(
        "HTTP/1.1 {status} x\r\nx-server: {name}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all((head + &body).as_bytes())?;
    Ok(())
}

/// `/slow?seconds=N`: a body of a known length, paced over N seconds.
fn slow(writer: &mut TcpStream, query: &str, shared: &Shared) -> Result<()> {
    let seconds: u64 = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("seconds="))
        .and_then(|value| value.parse().ok())
        .unwrap_or(10)
        .min(SLOW_SECONDS_MAX);
    let pieces = seconds * SLOW_PIECES_PER_SECOND;
    let length = pieces * SLOW_PIECE.len() as u64;
    let head =
        format!("HTTP/1.1 200 OK\r\nx-server: {}\r\ncontent-length: {length}\r\n\r\n", shared.name);
    writer.write_all(head.as_bytes())?;
    let mut pacer = Pacer::new(Duration::from_secs(1) / SLOW_PIECES_PER_SECOND as u32);
    for _ in 0..pieces {
        pacer.turn();
        writer.write_all(&SLOW_PIECE)?;
    }
    Ok(())
}
