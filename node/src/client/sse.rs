//! Server-sent events as they arrive (WHATWG HTML, section 9.2.6), and the stream of the API.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{ClientError, ServerAddress};

/// The longest event that is taken: an event lists the objects of one revision, not their content.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its kind, such as `revision`.
    pub event: String,
    /// Its body.
    pub data: String,
    /// What to resume after; empty when it cannot be resumed after.
    pub id: String,
}

/// Splits a stream of bytes into events. Pure.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    event: Message,
}

/// An event that is larger than any the API sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLarge;

impl Decoder {
    /// Takes bytes and returns the events that they complete.
    ///
    /// # Errors
    /// [`EventTooLarge`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, EventTooLarge> {
        self.buffer.extend_from_slice(bytes);
        let mut done = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.buffer[start..start + length];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            start += length + 1;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    done.push(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.event.event = value.to_owned(),
                "id" => self.event.id = value.to_owned(),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // Comments begin with a colon: an empty field.
                _ => {}
            }
        }
        self.buffer.drain(..start);
        if self.buffer.len() + self.event.data.len() > EVENT_BYTES_MAX {
            return Err(EventTooLarge);
        }
        Ok(done)
    }
}

/// The events of `GET /v1/events`.
#[derive(Debug)]
pub struct EventStream {
    server: ServerAddress,
    body: Incoming,
    decoder: Decoder,
    ready: std::collections::VecDeque<Message>,
}

impl EventStream {
    pub(super) fn new(server: ServerAddress, body: Incoming) -> Self {
        Self { server, body, decoder: Decoder::default(), ready: std::collections::VecDeque::new() }
    }

    /// Waits for the next event; `None` when the server ended the stream.
    ///
    /// # Errors
    /// The connection was lost: open the stream again after the last id.
    pub async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let bytes = frame
                .map_err(|error| self.interrupted(error.to_string()))?
                .into_data()
                .unwrap_or_else(|_| Bytes::new());
            let messages =
                self.decoder.feed(&bytes).map_err(|error| self.interrupted(error.to_string()))?;
            self.ready.extend(messages);
        }
    }

    fn interrupted(&self, reason: String) -> ClientError {
        ClientError::Interrupted { server: self.server.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\nevent: revision\nid: 7\ndata: {\"a\":\ndata: 1}\n\n\
                          event: ack\r\ndata: x\r\n\r\n:ka\n\nevent: empty\n\n";

    fn expected() -> Vec<Message> {
        let message = |event: &str, data: &str, id: &str| Message {
            event: event.to_owned(),
            data: data.to_owned(),
            id: id.to_owned(),
        };
        vec![message("revision", "{\"a\":\n1}", "7"), message("ack", "x", "")]
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_how_the_bytes_are_cut(cuts in prop::collection::vec(1usize..9, 0..40)) {
            let mut decoder = Decoder::default();
            let mut rest = STREAM.as_bytes();
            let mut found = Vec::new();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                found.extend(decoder.feed(head).unwrap());
                rest = tail;
            }
            found.extend(decoder.feed(rest).unwrap());
            prop_assert_eq!(found, expected());
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Decoder::default().feed(&bytes);
        }
    }
}
