//! A connection that was upgraded, and carries bytes both ways.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct WebSocket(TcpStream);

impl WebSocket {
    pub(crate) async fn open(port: u16, host: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "GET /socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer to the upgrade"));
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self(stream)
    }

    /// Sends a text and reads it back.
    pub(crate) async fn echo(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the connection is open");
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back).await.expect("the connection is open");
        assert_eq!(back, text.as_bytes());
    }
}
