//! An endpoint with the PROXY protocol learns who its client is, from a header that a parser of its
//! own reads (HAProxy's proxy-protocol.txt, section 2.2).

use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::plane::{Plane, eventually, free_port};

/// Bytes of a header for TCP over IPv4: signature, version, family, length, addresses, ports.
const HEADER: usize = 28;

/// A server that sends the header that it got back, and then repeats what it hears.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut header = [0; HEADER];
                if stream.read_exact(&mut header).await.is_ok() {
                    let _ = stream.write_all(&header).await;
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                }
            });
        }
    });
    port
}

/// Opens a connection, says something, and returns the header that the server saw and its answer.
async fn exchange(port: u16) -> Option<([u8; HEADER], [u8; 5], SocketAddrV4)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"hello").await.ok()?;
    let (mut header, mut answer) = ([0; HEADER], [0; 5]);
    stream.read_exact(&mut header).await.ok()?;
    stream.read_exact(&mut answer).await.ok()?;
    let std::net::SocketAddr::V4(client) = stream.local_addr().ok()? else { return None };
    Some((header, answer, client))
}

fn config(port: u16, server: u16, more: &str) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: TCP, port: {port} }}\n---\n\
         kind: TCPRoute\nmetadata: {{ name: l4 }}\nspec: {{ listeners: [{{ name: l4 }}], \
         backends: [{{ service: {{ name: s }} }}] }}\n---\nkind: Service\nmetadata: {{ name: s }}\n\
         spec: {{ endpoints: [{{ address: 127.0.0.1, port: {server} }}]{more} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tells_an_endpoint_of_its_client_before_the_first_byte() {
    let (server, port) = (server().await, free_port());
    let mut plane = Plane::with(&config(port, server, ", proxyProtocol: V2")).await;
    for _ in 0..3 {
        let (header, answer, client) = eventually("an answer", async || exchange(port).await).await;
        assert_eq!(&header[..12], b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(header[12..16], [0x21, 0x11, 0, 12], "version 2, PROXY, TCP over IPv4");
        let at = |offset: usize| -> [u8; 4] { header[offset..offset + 4].try_into().unwrap() };
        let number = |offset: usize| u16::from_be_bytes([header[offset], header[offset + 1]]);
        let source = SocketAddrV4::new(Ipv4Addr::from(at(16)), number(24));
        let destination = SocketAddrV4::new(Ipv4Addr::from(at(20)), number(26));
        assert_eq!(source, client);
        assert_eq!(destination, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        assert_eq!(&answer, b"hello");
    }
    // Without it the endpoint hears the client from its first byte on.
    plane.apply(&config(port, server, "")).await;
    eventually("no header", async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(&[b'x'; HEADER]).await.ok()?;
        let mut heard = [0; HEADER];
        stream.read_exact(&mut heard).await.ok()?;
        (heard == [b'x'; HEADER]).then_some(())
    })
    .await;
    plane.stop().await;
}
