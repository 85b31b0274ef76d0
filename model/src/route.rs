//! Routes: which service takes a request, connection or flow.

mod affinity;
mod cors;
mod fault;
mod grpc;
mod retries;
mod timeouts;
mod tls;

use serde::Serialize;

pub use self::{
    affinity::{Affinity, Cookie, SessionPersistence},
    cors::Cors,
    fault::{Fault, FaultAbort, FaultAnswer, FaultDelay},
    grpc::{GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, NameMatch},
    retries::{Retries, RetryOn},
    timeouts::Timeouts,
    tls::TlsRoute,
};

/// Refers to an object by name; of another namespace when one is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Reference {
    /// The namespace; the referring object's own when the document names none (filled in).
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// A service and its share of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightedBackend {
    /// The service.
    pub service: Reference,
    /// The share, 0 (none) to 1,000,000; 1 by default. The sum of a rule is above 0.
    pub weight: u32,
}

/// `TCPRoute` and `UDPRoute`: the service for a listener's connections or flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct L4Route {
    /// The listeners it attaches to, of the route's protocol; at least one.
    pub listeners: Vec<Reference>,
    /// The services; exactly one where XDP carries the listener.
    pub backends: Vec<WeightedBackend>,
}

/// `HTTPRoute`: rules that choose a service for HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpRoute {
    /// The listeners it attaches to, HTTP or HTTPS; at least one.
    pub listeners: Vec<Reference>,
    /// The hosts it serves, lower case: `shop.example`, `*.shop.example` or `*`; at least one.
    pub hosts: Vec<String>,
    /// The rules; the most specific match of all routes of a host wins.
    pub rules: Vec<HttpRule>,
}

/// Requests that match, and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRule {
    /// What a request must be like; any one suffices. Every request when the document has none.
    pub matches: Vec<HttpMatch>,
    /// What happens to a request that matches.
    #[serde(flatten)]
    pub action: HttpAction,
    /// Edits of the request's headers before it is forwarded.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Edits of the response's headers.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// How long it may take.
    #[serde(flatten)]
    pub timeouts: Timeouts,
    /// When and how often a failed request is tried again; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// What else is done with requests and answers on their way.
    #[serde(flatten)]
    pub filters: RuleFilters,
    /// Services that get copies of the requests; their answers are thrown away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Which requests go to the same endpoint, for services that choose it by a hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
}

/// What a rule asks for beyond forwarding: each is a filter in the chain of its route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleFilters {
    /// What requests have to show; nothing when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Reference>,
    /// Faults put into requests on purpose, for tests of clients; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Which scripts of other origins may read the answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How clients are kept at an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
    /// Whether answers are compressed, as the listener says; that of the listener when absent. Of
    /// HTTPRoutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// Whether gRPC-Web is turned into gRPC; of GRPCRoutes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub grpc_web: bool,
}

/// A service that gets copies of a share of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// The service.
    pub service: Reference,
    /// The share of the requests, in percent, 1 to 100; all by default.
    pub percent: u32,
}

/// What happens to a request. Exactly one of the keys stands in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpAction {
    /// The client is told to go elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    DirectResponse(DirectResponse),
    /// It goes to one of the services (key `backends`, with an optional `rewrite` beside it).
    #[serde(untagged)]
    Forward {
        /// The services and their shares; at least one.
        backends: Vec<WeightedBackend>,
        /// Changes of path and host before it is forwarded.
        #[serde(skip_serializing_if = "Option::is_none")]
        rewrite: Option<Rewrite>,
    },
}

/// A condition on a request; all parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpMatch {
    /// The path, without the query; prefix `/` by default.
    pub path: PathMatch,
    /// The method, upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Headers, all of which must match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedMatch>,
    /// Query parameters, all of which must match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<NamedMatch>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole leading segments: `/cart` matches `/cart` and `/cart/7`, not `/cartoon`.
    Prefix(String),
    /// A regular expression (RE2 syntax) for the whole path.
    Regex(String),
}

/// A condition on a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamedMatch {
    /// The name; headers in lower case.
    pub name: String,
    /// The value.
    #[serde(flatten)]
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    /// The whole value.
    Exact(String),
    /// A regular expression (RE2 syntax) for the whole value.
    Regex(String),
    /// `present: true`: the name is there; `false`: it is not.
    Present(bool),
}

/// Edits of headers; names in lower case, none of them twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderEdits {
    /// Headers set, replacing what is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderValue>,
    /// Headers added to what is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderValue>,
    /// Headers removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Tells whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderValue {
    /// The name, lower case.
    pub name: String,
    /// The value, taken literally.
    pub value: String,
}

/// Changes of a request before it is forwarded; at least one part is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// Replaces the matched prefix (prefix matches) or the whole path (exact matches).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Replaces the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Replaces what an expression matches in the path; not beside `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<RegexRewrite>,
    /// Replaces the host by the value of a header, lower case; not beside `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_from_header: Option<String>,
}

/// Replaces each part of a path that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegexRewrite {
    /// A regular expression (RE2 syntax).
    pub pattern: String,
    /// What comes in place of a match: text with `\1` to `\9` for its groups, `\0` for all of it.
    pub substitution: String,
}

/// Sends the client elsewhere; at least one of scheme, host, port and a path is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// 301, 302 (default), 303, 307 or 308.
    pub status: u16,
    /// Replaces the matched prefix; not beside `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<String>,
}

/// An answer given by the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body, at most 4 KiB; empty by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
}
