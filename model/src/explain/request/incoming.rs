//! The request as rules see it.

use std::net::IpAddr;

use super::{
    RequestHeader, decision,
    question::{Asked, split_port},
    target::normalized,
};
use crate::{explain::Decision, listener::Listener};

/// What stands for a value that the proxy makes up for each request.
const MADE_UP: &str = "(made up by the proxy)";
/// Headers by which proxies of one's own speak to Envoy, behind `x-envoy-`: from clients they are not
/// taken.
const NOT_OF_CLIENTS: [&str; 20] = [
    "decorator-operation",
    "downstream-service-cluster",
    "downstream-service-node",
    "expected-rq-timeout-ms",
    "force-trace",
    "hedge-on-per-try-timeout",
    "internal",
    "ip-tags",
    "max-retries",
    "original-host",
    "original-path",
    "original-url",
    "retriable-header-names",
    "retriable-status-codes",
    "retry-grpc-on",
    "retry-on",
    "upstream-alt-stat-name",
    "upstream-rq-per-try-timeout-ms",
    "upstream-rq-timeout-alt-response",
    "upstream-rq-timeout-ms",
];

/// Tells whether a header is taken off before anything looks at it.
fn is_taken_off(name: &str) -> bool {
    name.strip_prefix("x-envoy-").is_some_and(|rest| NOT_OF_CLIENTS.contains(&rest))
}

/// A request as rules see it.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) method: String,
    /// In lower case, with its port.
    pub(super) authority: String,
    /// Normalized, without the query.
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// In order, names in lower case.
    pub(super) headers: Vec<RequestHeader>,
    /// `http` or `https`, as the client said it.
    pub(super) scheme: String,
}

impl Incoming {
    /// Takes in what the client sent; `None` when the proxy refuses it.
    pub(super) fn of(
        asked: &Asked,
        listener: &Listener,
        decisions: &mut Vec<Decision>,
    ) -> Option<Self> {
        let (path, query) = match asked.target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (asked.target.as_str(), None),
        };
        let Some(normal) = normalized(path) else {
            decisions.push(decision("request", format!("the path {path} is refused")));
            return None;
        };
        let (host, port) = split_port(&asked.authority);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let authority = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let mut incoming = Self {
            method: asked.method.clone(),
            authority,
            path: normal,
            query,
            headers: asked.headers.clone(),
            scheme: if asked.is_https { "https" } else { "http" }.to_owned(),
        };
        incoming.headers.retain(|header| !is_taken_off(&header.name) && !header.name.contains('_'));
        let trusted = listener.http.as_ref().and_then(|options| options.trusted_hops);
        incoming.tell_client(asked.client, trusted);
        incoming.set("x-request-id", MADE_UP);
        let mut said = format!("{} {}", incoming.method, incoming.target());
        if incoming.path != path {
            said = format!("{said} (normalized from {path})");
        }
        decisions.push(decision("request", format!("{said}, host {}", incoming.authority)));
        Some(incoming)
    }

    /// Tells who the client is, and how it came; what proxies that are trusted say of it is believed.
    fn tell_client(&mut self, connected: IpAddr, trusted: Option<u32>) {
        let before = self.header("x-forwarded-for");
        let client = trusted.and_then(|hops| {
            let mut from_end = before.as_deref()?.rsplit(',').map(str::trim);
            from_end.nth(hops as usize - 1)?.parse::<IpAddr>().ok()
        });
        let client = client.unwrap_or(connected);
        self.set("x-envoy-external-address", &client.to_string());
        let all = before.map_or_else(|| connected.to_string(), |it| format!("{it},{connected}"));
        self.set("x-forwarded-for", &all);
        match self.header("x-forwarded-proto") {
            Some(proto) if trusted.is_some() => {
                if matches!(proto.as_str(), "http" | "https") {
                    self.scheme = proto;
                }
            }
            _ => self.set("x-forwarded-proto", &self.scheme.clone()),
        }
    }

    /// The host without its port.
    pub(super) fn host(&self) -> &str {
        split_port(&self.authority).0
    }

    /// The path with its query.
    pub(super) fn target(&self) -> String {
        with_query(&self.path, self.query.as_deref())
    }

    /// The values of a header, joined by commas; `None` when it is not there.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.values(name).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The first value of a header.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.values(name).next().map(str::to_owned)
    }

    /// The values of a header, line by line.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let own = self.headers.iter().filter(move |header| header.name == name);
        own.map(|header| header.value.as_str())
    }

    /// Sets a header in place of what there is.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    /// Adds a header to what there is.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.headers.push(RequestHeader { name: name.to_owned(), value: value.to_owned() });
    }

    /// Removes a header.
    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|header| header.name != name);
    }
}

/// Puts a query behind a path.
pub(super) fn with_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}
