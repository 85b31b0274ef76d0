//! Reads `protocol` and `connections`, and how they go with the rest.

use std::time::Duration;

use crate::{
    limits::{
        MAX_KEEPALIVE, MAX_KEEPALIVE_PROBES, MAX_TIMEOUT, MAX_UPSTREAM_STREAMS, MIN_KEEPALIVE,
    },
    object::format_duration,
    parse::{
        reader::{Fields, Node, Read},
        scalar::{boolean, duration, whole, word},
    },
    service::{Connections, Http2, HttpProtocol, Service, TcpKeepalive},
};

/// Three probes ten seconds apart after a minute: a peer that is gone is found out in 90 s.
const DEFAULT_KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const DEFAULT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_KEEPALIVE_PROBES: u32 = 3;
/// The longest that an answer to a PING may take where nothing is said.
const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(5);

const PROTOCOLS: [(&str, HttpProtocol); 3] =
    [("HTTP1", HttpProtocol::Http1), ("HTTP2", HttpProtocol::Http2), ("Auto", HttpProtocol::Auto)];

pub(super) fn protocol(node: &Node<'_>) -> Read<HttpProtocol> {
    word(node, &PROTOCOLS)
}

pub(super) fn connections(node: &Node<'_>) -> Read<Connections> {
    let fields = node.fields()?;
    let time = |name| fields.optional(name, |node| duration(node, MIN_KEEPALIVE, MAX_TIMEOUT));
    let idle_timeout = time("idleTimeout");
    let max_duration = time("maxDuration");
    let http2 = fields.optional("http2", http2);
    let tcp_keepalive = fields.optional("tcpKeepalive", tcp_keepalive);
    let close = fields.or("closeOnUnhealthy", false, boolean);
    let known = fields.finish();
    let connections = Connections {
        idle_timeout: idle_timeout?,
        max_duration: max_duration?,
        http2: http2?,
        tcp_keepalive: tcp_keepalive?,
        close_on_unhealthy: close?,
    };
    known.map(|()| connections)
}

fn http2(node: &Node<'_>) -> Read<Http2> {
    let fields = node.fields()?;
    let streams =
        fields.optional("maxConcurrentStreams", |node| whole(node, 1..=MAX_UPSTREAM_STREAMS));
    let time = |name| fields.optional(name, |node| duration(node, MIN_KEEPALIVE, MAX_TIMEOUT));
    let interval = time("pingInterval");
    let timeout = time("pingTimeout");
    let fits = match (interval, timeout) {
        (Ok(None), Ok(Some(_))) => {
            Err(fields.missing("pingInterval", "the time between PINGs, which pingTimeout is for"))
        }
        (Ok(Some(interval)), Ok(Some(timeout))) if timeout > interval => {
            let message =
                format!("is longer than the pingInterval of {}", format_duration(interval));
            Err(fields.error("pingTimeout", message, "write at most the interval"))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let interval = interval?;
    let by_default = interval.map(|interval| DEFAULT_PING_TIMEOUT.min(interval));
    let http2 = Http2 {
        max_concurrent_streams: streams?,
        ping_interval: interval,
        ping_timeout: timeout?.or(by_default),
    };
    fits.and(known).map(|()| http2)
}

fn tcp_keepalive(node: &Node<'_>) -> Read<TcpKeepalive> {
    let fields = node.fields()?;
    let seconds = |node: &Node<'_>| {
        let time = duration(node, MIN_KEEPALIVE, MAX_KEEPALIVE)?;
        if time.subsec_nanos() == 0 {
            return Ok(time);
        }
        Err(node.error("is not a whole number of seconds", "write one, such as 30s"))
    };
    let time = fields.or("time", DEFAULT_KEEPALIVE_TIME, seconds);
    let interval = fields.or("interval", DEFAULT_KEEPALIVE_INTERVAL, seconds);
    let probes =
        fields.or("probes", DEFAULT_KEEPALIVE_PROBES, |node| whole(node, 1..=MAX_KEEPALIVE_PROBES));
    let known = fields.finish();
    let keepalive = TcpKeepalive { time: time?, interval: interval?, probes: probes? };
    known.map(|()| keepalive)
}

/// What hangs on the protocol, on TLS and on who tells what is unhealthy.
pub(super) fn fits(fields: &Fields<'_>, service: &Service) -> Read<()> {
    let upstream = &service.upstream;
    let mut fits = Ok(());
    if upstream.tls.is_some() && service.proxy_protocol.is_some() {
        // Envoy could; nobody has asked for it, and the header would have to precede TLS.
        let remedy = "keep one of them";
        fits = Err(fields.error("proxyProtocol", "stands beside tls", remedy));
    }
    if upstream.protocol == Some(HttpProtocol::Auto) {
        let given = upstream.tls.as_ref().map(|tls| !tls.alpn.is_empty());
        let problem = match given {
            None => {
                Some(("is chosen by ALPN, which needs TLS", "add tls, or write HTTP1 or HTTP2"))
            }
            Some(true) => Some(("offers h2 and http/1.1 itself", "remove alpn from tls")),
            Some(false) => None,
        };
        if let Some((problem, remedy)) = problem {
            fits = Err(fields.error("protocol", problem, remedy));
        }
    }
    let Some(connections) = &upstream.connections else { return fits };
    let http2 = matches!(upstream.protocol, Some(HttpProtocol::Http2 | HttpProtocol::Auto));
    if connections.http2.is_some() && !http2 {
        let remedy = "write protocol: HTTP2 (or Auto, with tls), or remove http2";
        let problem = "has http2, which is not spoken with this service";
        fits = Err(fields.error("connections", problem, remedy));
    }
    if connections.close_on_unhealthy
        && !service.is_checked_by_envoy()
        && service.outlier_detection.is_none()
    {
        let problem = "has closeOnUnhealthy, which Envoy does for what it finds out itself";
        let remedy = "add outlierDetection or a healthCheck with by: Envoy, or remove it";
        fits = Err(fields.error("connections", problem, remedy));
    }
    fits
}
