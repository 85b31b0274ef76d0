//! Frames on a byte stream: a length (`u32`, big endian), then that many bytes of JSON.
//!
//! No checksum: the stream beneath is authenticated. Reading is safe to cancel between and within
//! frames, so a reader may stand in a `select!`.

use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest body of a frame: a delta that changes 10,000 objects of 1.5 KiB fits.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Room kept in the buffer after a large frame has passed.
const BUFFER_KEPT: usize = 64 * 1024;

/// What is wrong with a frame or the stream beneath.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error("the stream failed")]
    Stream(#[from] std::io::Error),
    /// The stream ended inside a frame.
    #[error("the stream ended after {got} of a frame's {expected} bytes")]
    Truncated {
        /// Bytes that came, with the length.
        got: usize,
        /// Bytes that the frame should have, with the length.
        expected: usize,
    },
    /// A frame is longer than [`MAX_FRAME`].
    #[error("a frame of {length} bytes exceeds the limit of {MAX_FRAME}")]
    Oversize {
        /// Its announced or would-be length.
        length: usize,
    },
    /// The body is not a message of the protocol.
    #[error("a frame of {length} bytes is no message of the protocol")]
    Garbage {
        /// The body's length.
        length: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A message cannot be written as JSON.
    #[error("a message cannot be encoded")]
    Encode(#[source] serde_json::Error),
}

/// Encodes one frame, length and body.
///
/// # Errors
/// The message is too long, or is not representable.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Encode)?;
    let length = frame.len() - LENGTH_BYTES;
    if length > MAX_FRAME {
        return Err(FrameError::Oversize { length });
    }
    let prefix = u32::try_from(length).expect("MAX_FRAME fits in 32 bits").to_be_bytes();
    frame[..LENGTH_BYTES].copy_from_slice(&prefix);
    Ok(frame)
}

/// Takes one whole frame off the front of `buffer`; `None` asks for more bytes.
///
/// # Errors
/// The frame is too long or holds no `T`.
pub fn decode<T: DeserializeOwned>(buffer: &mut BytesMut) -> Result<Option<T>, FrameError> {
    let Some(length) = announced(buffer)? else { return Ok(None) };
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    let body = buffer.split_to(length);
    serde_json::from_slice(&body).map(Some).map_err(|source| FrameError::Garbage { length, source })
}

fn announced(buffer: &BytesMut) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MAX_FRAME { Err(FrameError::Oversize { length }) } else { Ok(Some(length)) }
}

/// Reads messages of type `T`.
#[derive(Debug)]
pub struct FrameReader<R, T> {
    stream: R,
    buffer: BytesMut,
    message: PhantomData<fn() -> T>,
}

impl<R: AsyncRead + Unpin, T: DeserializeOwned> FrameReader<R, T> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), message: PhantomData }
    }

    /// The next message; `None` when the stream ended between two frames. Safe to cancel.
    ///
    /// # Errors
    /// The stream failed, ended inside a frame, or carried something that is no message.
    pub async fn read(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(message) = decode(&mut self.buffer)? {
                if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_KEPT {
                    self.buffer = BytesMut::new();
                }
                return Ok(Some(message));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return self.ended();
            }
        }
    }

    fn ended(&self) -> Result<Option<T>, FrameError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let expected = announced(&self.buffer)?.map_or(LENGTH_BYTES, |body| LENGTH_BYTES + body);
        Err(FrameError::Truncated { got: self.buffer.len(), expected })
    }
}

/// Writes messages of type `T`.
#[derive(Debug)]
pub struct FrameWriter<W, T> {
    stream: W,
    message: PhantomData<fn(T)>,
}

impl<W: AsyncWrite + Unpin, T: Serialize> FrameWriter<W, T> {
    /// Writes to `stream`.
    pub fn new(stream: W) -> Self {
        Self { stream, message: PhantomData }
    }

    /// Writes one message. Not safe to cancel: a cancelled write may leave half a frame.
    ///
    /// # Errors
    /// The message is too long, or the stream failed.
    pub async fn write(&mut self, message: &T) -> Result<(), FrameError> {
        let frame = encode(message)?;
        self.write_encoded(&frame).await
    }

    /// Writes a frame made by [`encode`]: one encoding serves many streams.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn write_encoded(&mut self, frame: &[u8]) -> Result<(), FrameError> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The stream beneath, to finish or reset it.
    pub fn stream_mut(&mut self) -> &mut W {
        &mut self.stream
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader<&[u8], Value> {
        FrameReader::new(bytes)
    }

    #[tokio::test]
    async fn the_wire_form_is_length_then_json() {
        let frame = encode(&serde_json::json!({"a": 1})).unwrap();
        assert_eq!(frame, b"\x00\x00\x00\x07{\"a\":1}");
        assert_eq!(reader(&frame).read().await.unwrap(), Some(serde_json::json!({"a": 1})));
    }

    #[tokio::test]
    async fn every_truncation_is_told_from_a_clean_end() {
        let frame = encode(&serde_json::json!([1, 2, 3])).unwrap();
        assert!(reader(&[]).read().await.unwrap().is_none());
        for length in 1..frame.len() {
            let error = reader(&frame[..length]).read().await.unwrap_err();
            let FrameError::Truncated { got, expected } = error else { panic!("{error}") };
            assert_eq!(got, length);
            assert_eq!(expected, if length < LENGTH_BYTES { LENGTH_BYTES } else { frame.len() });
        }
    }

    #[tokio::test]
    async fn oversize_is_refused_before_its_body_is_read() {
        let prefix = (MAX_FRAME as u32 + 1).to_be_bytes();
        let error = reader(&prefix).read().await.unwrap_err();
        assert!(matches!(error, FrameError::Oversize { length } if length == MAX_FRAME + 1));
        assert!(matches!(encode(&"x".repeat(MAX_FRAME)), Err(FrameError::Oversize { .. })));
        assert!(encode(&"x".repeat(MAX_FRAME - 2)).is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_no_message_is_garbage() {
        let error = reader(b"\x00\x00\x00\x03abc").read().await.unwrap_err();
        assert!(matches!(error, FrameError::Garbage { length: 3, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_messages(
            texts in prop::collection::vec(".{0,40}", 0..8),
            cuts in prop::collection::vec(1usize..50, 1..40),
        ) {
            let wire: Vec<u8> = texts.iter().flat_map(|text| encode(text).unwrap()).collect();
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            let (mut rest, mut cuts) = (wire.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
                while let Some(text) = decode::<String>(&mut buffer).unwrap() {
                    seen.push(text);
                }
            }
            prop_assert_eq!(seen, texts);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = decode::<Value>(&mut buffer) {}
        }
    }
}
