//! gRPC-Web as browsers speak it, over HTTP/1.1: binary and text.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>

use bytes::{BufMut, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpStream;

use crate::{
    grpc_backend::GrpcBackend,
    plane::{Plane, free_port, http_listener},
};

const RULES: &str = "    - matches: [{ method: { service: { exact: web.S } } }]
      backends: [{ service: { name: a } }]
      grpcWeb: true
      cors: { allowOrigins: [https://shop.example], allowMethods: [POST], allowHeaders: \
                     [content-type, x-grpc-web], exposeHeaders: [grpc-status, grpc-message] }
    - matches: [{ method: { service: { exact: faulty.S } } }]
      backends: [{ service: { name: a } }]
      grpcWeb: true
      fault: { abort: { status: 503, percent: 100 } }
    - backends: [{ service: { name: a } }]";

pub(crate) struct Heard {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Bytes,
}

pub(crate) async fn send(
    port: u16,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Heard {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "h.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    assert!(body.trailers().is_none(), "browsers see no trailers");
    Heard { status: parts.status, headers: parts.headers, body: body.to_bytes() }
}

/// Makes a frame that holds a text.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let message = text.to_owned().encode_to_vec();
    let mut frame = vec![0];
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend(message);
    frame
}

/// Takes a body apart: the texts, and the trailers of its last frame.
fn read(mut body: &[u8]) -> (Vec<String>, String) {
    let (mut texts, mut trailers) = (Vec::new(), String::new());
    while let [flag, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (content, after) = rest.split_at(length);
        if flag & 0x80 == 0 {
            texts.push(String::decode(content).unwrap());
        } else {
            trailers = String::from_utf8(content.to_vec()).unwrap();
            assert!(after.is_empty(), "trailers come last");
        }
        body = after;
    }
    (texts, trailers)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> Vec<u8> {
    let quad = |chunk: &[u8]| {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        let digit = |i: usize| DIGITS[(word >> (18 - 6 * i) & 63) as usize];
        std::array::from_fn::<u8, 4, _>(|i| if i <= chunk.len() { digit(i) } else { b'=' })
    };
    bytes.chunks(3).flat_map(quad).collect()
}

/// Reads base64 that may be padded in the middle: each part is encoded by itself.
fn from_base64(text: &[u8]) -> Vec<u8> {
    let bytes = |quad: &[u8]| {
        let digits = quad.iter().take_while(|digit| **digit != b'=');
        let digits: Vec<_> = digits
            .map(|digit| DIGITS.iter().position(|known| known == digit).expect("base64") as u32)
            .collect();
        let word = (0..4).fold(0u32, |word, i| word << 6 | digits.get(i).unwrap_or(&0));
        word.to_be_bytes()[1..digits.len()].to_vec()
    };
    text.chunks(4).flat_map(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_grpc_web_of_browsers_is_turned_into_grpc_and_back() {
    let a = GrpcBackend::start("a").await;
    let port = free_port();
    let route = format!(
        "---\nkind: GRPCRoute\nmetadata: {{ name: r }}\nspec:\n  listeners: [{{ name: web }}]\n  \
         hosts: [h.example]\n  rules:\n{RULES}\n"
    );
    let plane = Plane::with(&(http_listener(port) + &a.service("a") + &route)).await;
    let origin = ("origin", "https://shop.example");
    let call = async |path: &str, kind: &str, body: Vec<u8>, more: &[(&str, &str)]| {
        let headers = [&[("content-type", kind), ("x-grpc-web", "1"), origin], more].concat();
        send(port, ("POST", path), &headers, body).await
    };

    // Binary: the message and the trailers are frames of the body.
    let heard = call("/web.S/Do", "application/grpc-web+proto", frame("hello"), &[]).await;
    assert_eq!(heard.status, 200, "{:?}", heard.headers);
    assert_eq!(heard.headers["content-type"], "application/grpc-web+proto");
    assert_eq!(heard.headers["access-control-allow-origin"], origin.1);
    assert_eq!(heard.headers["access-control-expose-headers"], "grpc-status, grpc-message");
    let (texts, trailers) = read(&heard.body);
    assert_eq!(texts, ["a: hello"]);
    assert!(trailers.contains("grpc-status:0\r\n"), "{trailers:?}");

    // Text: the same in base64.
    let body = to_base64(&frame("hello"));
    let text = "application/grpc-web-text";
    let heard = call("/web.S/Do", text, body, &[("accept", text)]).await;
    let kind = heard.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/grpc-web-text"), "{kind}");
    let (texts, trailers) = read(&from_base64(&heard.body));
    assert_eq!(texts, ["a: hello"]);
    assert!(trailers.contains("grpc-status:0\r\n"), "{trailers:?}");

    // A stream of answers, then the trailers.
    let body = [frame("one"), frame("two")].concat();
    let heard = call("/web.S/Chat", "application/grpc-web", body, &[]).await;
    let (texts, trailers) = read(&heard.body);
    assert_eq!(texts, ["a: one", "a: two"]);
    assert!(trailers.contains("grpc-status:0\r\n"), "{trailers:?}");

    // Statuses of the service, and those made here.
    let refused = [("x-unavailable-first", "99")];
    let heard = call("/web.S/Do", "application/grpc-web", frame("x"), &refused).await;
    assert_eq!(
        (heard.status.as_u16(), &heard.headers["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
    let heard = call("/faulty.S/Do", "application/grpc-web", frame("x"), &[]).await;
    assert_eq!(heard.status, 503);
    assert_eq!(heard.headers["grpc-status"], "14", "{:?}", heard.headers);

    // A browser asks first.
    let seen = a.seen();
    let asked = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web"),
    ];
    let heard = send(port, ("OPTIONS", "/web.S/Do"), &asked, Vec::new()).await;
    assert_eq!(heard.status, 200);
    assert_eq!(heard.headers["access-control-allow-headers"], "content-type, x-grpc-web");
    assert_eq!(a.seen(), seen, "the service is not asked");
    plane.stop().await;
}
