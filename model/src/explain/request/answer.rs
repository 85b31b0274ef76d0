//! The answer to the question about a request.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::RequestHeader;
use crate::{cluster::NodeId, explain::Decision, key::ObjectKey, revision::Revision};

/// How a request ends, as far as the configuration decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It goes to an endpoint.
    Forwarded,
    /// It goes to an endpoint as TLS that nobody looks into.
    PassedThrough,
    /// The client is told to go elsewhere.
    Redirected,
    /// The proxy answers it itself.
    Answered,
    /// No route takes it: 404.
    NoRoute,
    /// No service that it may go to has an endpoint that takes it: 503.
    NoEndpoint,
    /// What it should go to is not there: 500.
    NoService,
    /// It is no request that is looked at any further: 400.
    Malformed,
    /// Nothing of the configuration takes the connection.
    NoListener,
    /// Several listeners would; the question does not say which.
    Ambiguous,
    /// The listener does not speak the request's protocol.
    WrongProtocol,
}

impl Outcome {
    /// Says it to people.
    pub(super) fn said(self) -> &'static str {
        match self {
            Self::Forwarded => "it is forwarded",
            Self::PassedThrough => "it passes through, undeciphered",
            Self::Redirected => "it is redirected",
            Self::Answered => "it is answered here",
            Self::NoRoute => "no route takes it",
            Self::NoEndpoint => "no endpoint takes it",
            Self::NoService => "what it should go to is not there",
            Self::Malformed => "it is refused before any route is looked at",
            Self::NoListener => "no listener takes the connection, which is refused",
            Self::Ambiguous => "several listeners would take it: name one, or the address",
            Self::WrongProtocol => "the listener does not speak its protocol",
        }
    }
}

/// The request as a service sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamRequest {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path with its query.
    pub target: String,
    /// The other headers, by name.
    pub headers: Vec<RequestHeader>,
}

/// An endpoint that a request might go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// Its priority.
    pub priority: u32,
    /// Whether it is healthy; absent where only Envoy knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Whether it may get the request.
    pub takes: bool,
}

/// A service that a request might go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The service.
    pub service: ObjectKey,
    /// Its share, above 0.
    pub weight: u32,
    /// What the client is answered when the lot falls on it, and it cannot serve: 500 or 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The endpoint that gets the request, where only one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// Its endpoints; none for those that are found by name.
    pub endpoints: Vec<CandidateEndpoint>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestExplanation {
    /// The node that answered; endpoints are as healthy as it finds them.
    pub node: NodeId,
    /// The revision of the configuration.
    pub revision: Revision,
    /// Whether that is the present one.
    pub live: bool,
    /// How the request ends.
    pub outcome: Outcome,
    /// The status of the proxy's own answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The gRPC status that a caller of gRPC gets with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u16>,
    /// The route as access logs name it: `namespace/name#rule.match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Where a redirect leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The body of a direct response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What the rule does to the headers of the answer, as `+name: value` (set or added) or `-name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
    /// The request as a service sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamRequest>,
    /// The services that may get it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Candidate>,
    /// The decisions, in order.
    pub decisions: Vec<Decision>,
}
