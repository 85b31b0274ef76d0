//! WebSockets (RFC 6455), as much as an echo needs: the handshake, and unfragmented frames.

use std::io::{self, Read, Write};

use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Frames of an echo are short.
const PAYLOAD_MAX: u64 = 65_535;

/// The value of `sec-websocket-accept` for a key.
#[must_use]
pub fn accept_key(key: &str) -> String {
    let text = format!("{key}{GUID}");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(digest)
}

/// Upgrades a connection and echoes text frames, each with the server's name before it.
pub(super) fn serve(
    reader: &mut impl Read,
    writer: &mut impl Write,
    key: &str,
    name: &str,
) -> Result<()> {
    write!(
        writer,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        accept_key(key)
    )?;
    loop {
        let (opcode, payload) = read_frame(reader)?;
        match opcode {
            TEXT => {
                let answer = [name.as_bytes(), b" ", &payload].concat();
                write_frame(writer, TEXT, &answer, None)?;
            }
            PING => write_frame(writer, PONG, &payload, None)?,
            CLOSE => return Ok(write_frame(writer, CLOSE, &payload, None)?),
            PONG => {}
            other => bail!("opcode {other} is not a part of this echo"),
        }
    }
}

/// Reads one frame: opcode and unmasked payload.
///
/// # Errors
/// Of the stream, and `InvalidData` for a fragmented or overlong frame.
pub fn read_frame(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0u8; 2];
    reader.read_exact(&mut head)?;
    if head[0] & 0x80 == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a fragmented frame"));
    }
    let mut length = u64::from(head[1] & 0x7f);
    if length == 126 {
        let mut bytes = [0u8; 2];
        reader.read_exact(&mut bytes)?;
        length = u64::from(u16::from_be_bytes(bytes));
    } else if length > PAYLOAD_MAX.min(125) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an overlong frame"));
    }
    let mut mask = [0u8; 4];
    if head[1] & 0x80 != 0 {
        reader.read_exact(&mut mask)?;
    }
    let mut payload = vec![0u8; usize::try_from(length).unwrap_or(0)];
    reader.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((head[0] & 0x0f, payload))
}

/// Writes one frame; a client must mask, a server must not.
///
/// # Errors
/// Of the stream, and `InvalidInput` for a payload over 65,535 bytes.
pub fn write_frame(
    writer: &mut impl Write,
    opcode: u8,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> io::Result<()> {
    let Ok(length) = u16::try_from(payload.len()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an overlong frame"));
    };
    let mut frame = vec![0x80 | opcode];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match u8::try_from(length) {
        Ok(short) if short < 126 => frame.push(masked | short),
        _ => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    let mask_bytes = mask.unwrap_or_default();
    if mask.is_some() {
        frame.extend_from_slice(&mask_bytes);
    }
    frame.extend(payload.iter().zip(mask_bytes.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    writer.write_all(&frame)?;
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_every_length_come_back() {
        for length in [0, 1, 125, 126, 127, 300, 65_535] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let payload = vec![b'x'; length];
                let mut bytes = Vec::new();
                write_frame(&mut bytes, TEXT, &payload, mask).unwrap();
                let (opcode, got) = read_frame(&mut bytes.as_slice()).unwrap();
                assert_eq!((opcode, got), (TEXT, payload));
            }
        }
    }
}
