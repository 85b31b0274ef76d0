//! Reads the HTTP options of a listener.

use super::compression::compression;
use crate::{
    limits::{
        MAX_COOKIE_TTL, MAX_HEADERS_KB, MAX_HEADERS_TIMEOUT, MAX_STREAMS, MAX_TIMEOUT,
        MAX_TRUSTED_HOPS, MIN_IDLE_TIMEOUT,
    },
    listener::{
        ClientProxyProtocol, Http3, HttpOptions, ListenerTls, Protocol,
        http_options::DEFAULT_HTTP3_MAX_AGE,
    },
    parse::{
        reader::{Fields, Node, Read},
        scalar::{duration, port, whole, whole_seconds},
    },
    tls::TlsVersion,
};

pub(super) fn http_options(node: &Node<'_>) -> Read<HttpOptions> {
    let fields = node.fields()?;
    let time = |name| fields.optional(name, |node| duration(node, MIN_IDLE_TIMEOUT, MAX_TIMEOUT));
    let idle_timeout = time("idleTimeout");
    let stream_idle_timeout = time("streamIdleTimeout");
    let max_connection_duration = time("maxConnectionDuration");
    let request_headers_timeout = fields.optional("requestHeadersTimeout", |node| {
        duration(node, MIN_IDLE_TIMEOUT, MAX_HEADERS_TIMEOUT)
    });
    let number = |name, most| fields.optional(name, |node| whole(node, 1..=most));
    let max_request_headers_kb = number("maxRequestHeadersKB", MAX_HEADERS_KB);
    let max_concurrent_streams = number("maxConcurrentStreams", MAX_STREAMS);
    let trusted_hops = number("trustedHops", MAX_TRUSTED_HOPS);
    let http3 = fields.optional("http3", http3);
    let compression = fields.optional("compression", compression);
    let known = fields.finish();
    let options = HttpOptions {
        idle_timeout: idle_timeout?,
        stream_idle_timeout: stream_idle_timeout?,
        request_headers_timeout: request_headers_timeout?,
        max_connection_duration: max_connection_duration?,
        max_request_headers_kb: max_request_headers_kb?,
        max_concurrent_streams: max_concurrent_streams?,
        http3: http3?,
        trusted_hops: trusted_hops?,
        compression: compression?,
    };
    known.map(|()| options)
}

fn http3(node: &Node<'_>) -> Read<Http3> {
    let fields = node.fields()?;
    let max_age =
        fields.or("maxAge", DEFAULT_HTTP3_MAX_AGE, |node| whole_seconds(node, MAX_COOKIE_TTL));
    let advertised_port = fields.optional("advertisedPort", port);
    let known = fields.finish();
    let http3 = Http3 { max_age: max_age?, advertised_port: advertised_port? };
    known.map(|()| http3)
}

/// Tells whether the rest of the listener lets it speak HTTP/3, where it asks for that.
pub(super) fn http3_fits(
    fields: &Fields<'_>,
    protocol: Protocol,
    tls: Option<&ListenerTls>,
    proxy_protocol: Option<ClientProxyProtocol>,
) -> Read<()> {
    let (problem, remedy) = if protocol != Protocol::Https {
        ("is for HTTPS listeners only: HTTP/3 is always encrypted", "remove it")
    } else if proxy_protocol.is_some() {
        let problem = "cannot stand beside proxyProtocol: a PROXY header begins TCP connections, and \
                       clients of HTTP/3 would be taken for the proxy in front";
        (problem, "remove one of them")
    } else if fields.has("maxConnections") {
        let problem = "cannot stand beside maxConnections: Envoy does not turn away connections of \
                       HTTP/3 by it";
        (problem, "remove one of them")
    } else if tls.is_some_and(|tls| tls.clients.is_some()) {
        let problem = "cannot stand beside tls.clients: Envoy checks no certificates over QUIC";
        (problem, "remove one of them, or speak HTTP/3 on another listener")
    } else if tls.and_then(|tls| tls.max_version) == Some(TlsVersion::V1_2) {
        let problem = "needs TLS 1.3 (RFC 9001), and tls.maxVersion is lower";
        (problem, "remove one of them")
    } else {
        return Ok(());
    };
    let error = |node: &Node<'_>| node.at_field("http3", |node| node.error(problem, remedy));
    Err(fields.node().at_field("http", error))
}
