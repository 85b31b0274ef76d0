//! Reads the HTTP options of a listener.

use crate::{
    limits::{
        MAX_HEADERS_KB, MAX_HEADERS_TIMEOUT, MAX_STREAMS, MAX_TIMEOUT, MAX_TRUSTED_HOPS,
        MIN_IDLE_TIMEOUT,
    },
    listener::HttpOptions,
    parse::{
        reader::{Node, Read},
        scalar::{duration, whole},
    },
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
    let known = fields.finish();
    let options = HttpOptions {
        idle_timeout: idle_timeout?,
        stream_idle_timeout: stream_idle_timeout?,
        request_headers_timeout: request_headers_timeout?,
        max_connection_duration: max_connection_duration?,
        max_request_headers_kb: max_request_headers_kb?,
        max_concurrent_streams: max_concurrent_streams?,
        trusted_hops: trusted_hops?,
    };
    known.map(|()| options)
}
