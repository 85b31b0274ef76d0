//! `GRPCRoute`: rules that choose a service for gRPC calls.
//!
//! A call of gRPC is a request with the path `/service/method`, so each route has an equivalent
//! [`HttpRoute`], by which it is translated and compared with other routes. What was written is what
//! is stored and shown.

use serde::Serialize;

use super::{
    Affinity, HeaderEdits, HttpAction, HttpMatch, HttpRoute, HttpRule, Mirror, NamedMatch,
    PathMatch, Reference, Retries, RuleFilters, Timeouts, WeightedBackend,
};

/// `GRPCRoute`: rules that choose a service for gRPC calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcRoute {
    listeners: Vec<Reference>,
    hosts: Vec<String>,
    rules: Vec<GrpcRule>,
    /// Follows from the rest.
    #[serde(skip)]
    http: HttpRoute,
}

/// Calls that match, and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRule {
    /// What a call must be like; any one suffices. Every call when the document has none.
    pub matches: Vec<GrpcMatch>,
    /// The services and their shares; at least one. They speak HTTP/2.
    pub backends: Vec<WeightedBackend>,
    /// Edits of the request's headers (its metadata) before it is forwarded.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Edits of the response's headers.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// How long it may take.
    #[serde(flatten)]
    pub timeouts: Timeouts,
    /// When and how often a failed call is tried again; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// What else is done with calls and answers on their way.
    #[serde(flatten)]
    pub filters: RuleFilters,
    /// Services that get copies of the calls; their answers are thrown away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Which calls go to the same endpoint, for services that choose it by a hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
}

/// A condition on a call; all parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcMatch {
    /// What is called; anything when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<GrpcMethod>,
    /// Headers (metadata), all of which must match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedMatch>,
}

/// A condition on what is called; at least one part is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcMethod {
    /// The service with its package, such as `shop.v1.Cart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<NameMatch>,
    /// The method, such as `AddItem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<NameMatch>,
}

/// A condition on the name of a service or method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NameMatch {
    /// The whole name.
    Exact(String),
    /// A regular expression (RE2 syntax) for the whole name.
    Regex(String),
}

impl GrpcRoute {
    /// Makes a route of its parts.
    #[must_use]
    pub(crate) fn new(listeners: Vec<Reference>, hosts: Vec<String>, rules: Vec<GrpcRule>) -> Self {
        let http = HttpRoute {
            listeners: listeners.clone(),
            hosts: hosts.clone(),
            rules: rules.iter().map(GrpcRule::as_http).collect(),
        };
        Self { listeners, hosts, rules, http }
    }

    /// Returns the HTTP route that means the same; its rules and matches stand in the same order.
    #[must_use]
    pub fn as_http(&self) -> &HttpRoute {
        &self.http
    }

    /// Returns the rules as they were written.
    #[must_use]
    pub fn rules(&self) -> &[GrpcRule] {
        &self.rules
    }
}

impl GrpcRule {
    fn as_http(&self) -> HttpRule {
        HttpRule {
            matches: self.matches.iter().map(GrpcMatch::as_http).collect(),
            action: HttpAction::Forward { backends: self.backends.clone(), rewrite: None },
            request_headers: self.request_headers.clone(),
            response_headers: self.response_headers.clone(),
            timeouts: self.timeouts,
            retries: self.retries.clone(),
            filters: self.filters.clone(),
            mirrors: self.mirrors.clone(),
            affinity: self.affinity.clone(),
        }
    }
}

impl GrpcMatch {
    /// Returns the condition on the request that carries the call.
    pub(crate) fn as_http(&self) -> HttpMatch {
        let path = match &self.method {
            None => PathMatch::Prefix("/".to_owned()),
            Some(method) => method.as_path(),
        };
        HttpMatch { path, method: None, headers: self.headers.clone(), query: Vec::new() }
    }
}

impl GrpcMethod {
    /// Returns the condition on the path, `/service/method`.
    pub(crate) fn as_path(&self) -> PathMatch {
        match (&self.service, &self.method) {
            (Some(NameMatch::Exact(service)), Some(NameMatch::Exact(method))) => {
                PathMatch::Exact(format!("/{service}/{method}"))
            }
            (Some(NameMatch::Exact(service)), None) => PathMatch::Prefix(format!("/{service}")),
            (service, method) => {
                let (service, method) = (segment(service.as_ref()), segment(method.as_ref()));
                PathMatch::Regex(format!("/{service}/{method}"))
            }
        }
    }
}

/// An expression for one segment of a path.
fn segment(name: Option<&NameMatch>) -> String {
    match name {
        None => "[^/]+".to_owned(),
        Some(NameMatch::Exact(name)) => regex::escape(name),
        // A group, so that alternatives stay within the segment.
        Some(NameMatch::Regex(regex)) => format!("(?:{regex})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_is_a_path() {
        let exact = |name: &str| Some(NameMatch::Exact(name.to_owned()));
        let regex = |text: &str| Some(NameMatch::Regex(text.to_owned()));
        let check = |service, method, expected: PathMatch| {
            assert_eq!(GrpcMethod { service, method }.as_path(), expected);
        };
        check(exact("a.B"), exact("Do"), PathMatch::Exact("/a.B/Do".into()));
        check(exact("a.B"), None, PathMatch::Prefix("/a.B".into()));
        check(None, exact("Do"), PathMatch::Regex("/[^/]+/Do".into()));
        check(None, regex("Get.*|List"), PathMatch::Regex("/[^/]+/(?:Get.*|List)".into()));
        check(regex("a|b"), None, PathMatch::Regex("/(?:a|b)/[^/]+".into()));
        check(exact("a.B"), regex("x|y"), PathMatch::Regex(r"/a\.B/(?:x|y)".into()));
    }
}
