//! Compression of answers, whichever way their route is found.

use std::{collections::BTreeSet, io::Read as _};

use bytes::Bytes;
use model::{
    cluster::NodeId,
    explain::request::{Grounds, RequestHeader, RequestQuestion, explain},
};

use crate::{
    backend::{Backend, lines_of_text},
    client::{Answer, send},
    plane::{Plane, eventually, free_port, http_listener, route, service},
};

/// Hosts that find their route by a scope, by the script for capitals, by that for wildcards, and by
/// both.
const HOSTS: [&str; 4] = ["a.example", "A.Example", "x.w.example", "X.W.example"];
const RULES: &str = "    - matches: [{ path: { prefix: /on } }]
      backends: [{ service: { name: a } }]
      compression: true
    - matches: [{ path: { prefix: /off } }]
      backends: [{ service: { name: a } }]
      compression: false
    - matches: [{ path: { exact: /own } }]
      directResponse: { status: 200, body: 0123456789012345678901234567890123456789 }
    - backends: [{ service: { name: a } }]";
/// Longer than what is compressed.
const LENGTH: usize = 10_000;
/// What clients accept, and the coding that they get.
const ACCEPTED: [(&str, &str); 14] = [
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("br", "br"),
    ("gzip, deflate, br, zstd", "br"),
    ("gzip, zstd", "gzip"),
    ("zstd, gzip", "zstd"),
    ("gzip;q=1, br;q=0.5", "gzip"),
    ("*", "br"),
    ("br;q=0, *", "zstd"),
    ("gzip, *", "gzip"),
    ("identity", ""),
    ("identity, gzip", ""),
    ("br;q=0", ""),
    ("deflate", ""),
];

fn listener(port: u16, options: &str) -> String {
    http_listener(port).replace(
        &format!("port: {port}"),
        &format!("port: {port}, http: {{ compression: {options} }}"),
    )
}

fn config(port: u16, options: &str, backend: &Backend) -> String {
    listener(port, options)
        + &service("a", &[backend.port])
        + &route("exact", "a.example", RULES)
        + &route("wild", "*.w.example", RULES)
}

fn decoded(answer: &Answer) -> Bytes {
    let mut plain = Vec::new();
    let mut body = &answer.body[..];
    match answer.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap(),
        "br" => {
            brotli_decompressor::Decompressor::new(body, 4_096).read_to_end(&mut plain).unwrap()
        }
        "zstd" => {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut body).unwrap();
            decoder.read_to_end(&mut plain).unwrap()
        }
        _ => return answer.body.clone(),
    };
    plain.into()
}

/// Asks for a text of a length; asserts that it arrives whole, and short just where it is compressed.
async fn ask(port: u16, host: &str, path: &str, length: usize, more: &[(&str, &str)]) -> Answer {
    let bytes = length.to_string();
    let mut headers = vec![("x-text-bytes", bytes.as_str())];
    headers.extend(more);
    let answer = send(port, "GET", host, path, &headers).await;
    assert_eq!(decoded(&answer), lines_of_text(length), "{host} {path} {more:?}");
    let compressed = ["gzip", "br", "zstd"].contains(&answer.header("content-encoding"));
    assert_eq!(answer.body.len() < length / 2, compressed, "{host} {path} {more:?}");
    answer
}

/// What is said of a request: the coding, or nothing.
fn explained(plane: &Plane, host: &str, path: &str, accepted: &str) -> String {
    let question = RequestQuestion {
        url: format!("http://{host}{path}"),
        headers: vec![RequestHeader { name: "accept-encoding".into(), value: accepted.into() }],
        listener: Some("web".into()),
        ..RequestQuestion::default()
    };
    let failing = BTreeSet::new();
    let grounds = Grounds { node: NodeId(1), config: &plane.config, live: true, failing: &failing };
    let found = explain(&question, &grounds).unwrap();
    let said = found.decisions.into_iter().find(|one| one.step == "compression").unwrap().said;
    said.strip_prefix("by ").map_or_else(String::new, |it| it.split(',').next().unwrap().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_compresses_by_a_coding_that_the_client_accepts_and_explain_says_which() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let plane = Plane::with(&config(port, "{ minBytes: 1000 }", &backend)).await;
    for host in HOSTS {
        for path in ["/on", "/"] {
            for (accepted, coding) in ACCEPTED {
                let headers = [("accept-encoding", accepted)];
                let answer = ask(port, host, path, LENGTH, &headers).await;
                assert_eq!(answer.header("content-encoding"), coding, "{host} {path} {accepted}");
                let etag = if coding.is_empty() { "\"strong\"" } else { "W/\"strong\"" };
                assert_eq!(answer.header("etag"), etag);
                let vary = answer.header("vary").to_ascii_lowercase();
                assert_eq!(vary, "accept-encoding", "caches are told, whoever asked first");
                assert_eq!(explained(&plane, host, path, accepted), coding, "{path} {accepted}");
            }
        }
        let answer = ask(port, host, "/off", LENGTH, &[("accept-encoding", "gzip")]).await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""));
        assert_eq!(explained(&plane, host, "/off", "gzip"), "");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_compresses_nothing_that_is_short_partial_compressed_or_of_another_type() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let options = "{ minBytes: 1000, contentTypes: [Text/Plain], algorithms: [zstd, gzip] }";
    let plane = Plane::with(&config(port, options, &backend)).await;
    let coding = async |length: usize, more: &[(&str, &str)]| {
        let headers = [&[("accept-encoding", "gzip, br, zstd")], more].concat();
        ask(port, "a.example", "/", length, &headers).await.header("content-encoding").to_owned()
    };
    assert_eq!(coding(LENGTH, &[]).await, "zstd", "the first of the list");
    assert_eq!(coding(1_000, &[]).await, "zstd");
    assert_eq!(coding(999, &[]).await, "");
    assert_eq!(coding(LENGTH, &[("x-type", "TEXT/Plain;charset=x")]).await, "zstd");
    for kind in ["text/html", "image/png", "text/plainer"] {
        assert_eq!(coding(LENGTH, &[("x-type", kind)]).await, "", "{kind}");
    }
    assert_eq!(coding(LENGTH, &[("x-status", "404")]).await, "zstd");
    assert_eq!(coding(LENGTH, &[("x-status", "206")]).await, "", "a part of the whole");
    assert_eq!(coding(LENGTH, &[("x-coding", "other")]).await, "other", "the service's own");
    assert_eq!(coding(LENGTH, &[("x-cache-control", "no-transform")]).await, "");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_rules_turn_compression_on_and_off_and_touch_no_listener() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let options = "{ minBytes: 30, byDefault: false }";
    let mut plane = Plane::with(&config(port, options, &backend)).await;
    let coding = async |host: &str, path: &str| {
        let headers = [("accept-encoding", "gzip")];
        ask(port, host, path, LENGTH, &headers).await.header("content-encoding").to_owned()
    };
    let updates = plane.statistic("listener_manager.lds.update_success").await;
    for host in HOSTS {
        let found =
            [coding(host, "/on").await, coding(host, "/off").await, coding(host, "/").await];
        assert_eq!(found, ["gzip", "", ""], "{host}");
    }
    let turned = RULES.replace("true", "TRUE").replace("false", "true").replace("TRUE", "false");
    let routes = route("exact", "a.example", &turned) + &route("wild", "*.w.example", &turned);
    plane.apply(&routes).await;
    for host in HOSTS {
        let found =
            [coding(host, "/on").await, coding(host, "/off").await, coding(host, "/").await];
        assert_eq!(found, ["", "gzip", ""], "{host}");
    }
    assert_eq!(plane.statistic("listener_manager.lds.update_success").await, updates);
    // What the proxy answers itself is compressed by its rule too.
    let own = async || {
        let answer = send(port, "GET", "a.example", "/own", &[("accept-encoding", "gzip")]).await;
        (answer.header("content-encoding").to_owned(), decoded(&answer).len())
    };
    assert_eq!(own().await, (String::new(), 40));
    plane.apply(&listener(port, "{ minBytes: 30 }")).await;
    eventually("the listener's other way", async || {
        (own().await == ("gzip".to_owned(), 40)).then_some(())
    })
    .await;
    plane.stop().await;
}
