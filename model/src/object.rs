//! One configuration object and its canonical form.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    auth_policy::AuthPolicy,
    certificate::{Certificate, Issuer},
    filter_module::FilterModule,
    key::{Kind, ObjectKey},
    listener::Listener,
    packet_filter::{PacketFilter, PrefixList},
    qos_policy::QosPolicy,
    rate_limit::RateLimit,
    rollout_policy::RolloutPolicy,
    route::{GrpcRoute, HttpRoute, L4Route, TlsRoute},
    service::Service,
};

/// The name of an object and what people attach to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The name: lower-case letters, digits, `-` and `.`, at most 253 characters.
    pub name: String,
    /// The namespace: lower-case letters, digits and `-`, at most 63 characters.
    pub namespace: String,
    /// Labels, free for people and tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What an object says, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "spec")]
pub enum Spec {
    /// A port on which traffic enters.
    Listener(Listener),
    /// Rules for HTTP requests.
    #[serde(rename = "HTTPRoute")]
    HttpRoute(HttpRoute),
    /// Rules for gRPC calls.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute(GrpcRoute),
    /// The service for the TLS connections to some hosts.
    #[serde(rename = "TLSRoute")]
    TlsRoute(TlsRoute),
    /// The service for TCP connections.
    #[serde(rename = "TCPRoute")]
    TcpRoute(L4Route),
    /// The service for UDP flows.
    #[serde(rename = "UDPRoute")]
    UdpRoute(L4Route),
    /// Endpoints.
    Service(Box<Service>),
    /// Rules for packets.
    PacketFilter(PacketFilter),
    /// Prefixes for those rules.
    PrefixList(PrefixList),
    /// Limits, classes and marks.
    #[serde(rename = "QoSPolicy")]
    QosPolicy(QosPolicy),
    /// What requests have to show.
    AuthPolicy(AuthPolicy),
    /// How many requests pass.
    RateLimit(RateLimit),
    /// Code that requests pass.
    FilterModule(FilterModule),
    /// Which nodes get a revision before the others.
    RolloutPolicy(RolloutPolicy),
    /// What listeners show.
    Certificate(Certificate),
    /// Who signs it.
    Issuer(Issuer),
}

impl Spec {
    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Listener(_) => Kind::Listener,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::TlsRoute(_) => Kind::TlsRoute,
            Self::TcpRoute(_) => Kind::TcpRoute,
            Self::UdpRoute(_) => Kind::UdpRoute,
            Self::Service(_) => Kind::Service,
            Self::PacketFilter(_) => Kind::PacketFilter,
            Self::PrefixList(_) => Kind::PrefixList,
            Self::QosPolicy(_) => Kind::QosPolicy,
            Self::AuthPolicy(_) => Kind::AuthPolicy,
            Self::RateLimit(_) => Kind::RateLimit,
            Self::FilterModule(_) => Kind::FilterModule,
            Self::RolloutPolicy(_) => Kind::RolloutPolicy,
            Self::Certificate(_) => Kind::Certificate,
            Self::Issuer(_) => Kind::Issuer,
        }
    }

    /// Returns the rules for HTTP requests: those of an HTTPRoute, or what a GRPCRoute means.
    #[must_use]
    pub fn http_route(&self) -> Option<&HttpRoute> {
        match self {
            Self::HttpRoute(route) => Some(route),
            Self::GrpcRoute(route) => Some(route.as_http()),
            _ => None,
        }
    }
}

/// A validated configuration object.
///
/// Serializes to the form of documents, with every default written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Its name and labels.
    pub metadata: Metadata,
    /// What it says.
    #[serde(flatten)]
    pub spec: Spec,
}

impl Object {
    /// Returns what identifies it.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.spec.kind(), &self.metadata.namespace, &self.metadata.name)
    }

    /// Returns the canonical JSON: the bytes that are stored, hashed and pushed.
    ///
    /// Keys are sorted and defaults written out, so equal objects have equal bytes.
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let value = self.to_value();
        serde_json::to_vec(&value).expect("a JSON value always serializes")
    }

    /// Returns the canonical form as a JSON value (object keys sorted).
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("objects have string keys and finite numbers only")
    }
}

/// Formats a duration as documents write it: a whole number with `h`, `m`, `s`, `ms` or `us`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let us = duration.as_micros();
    for (unit, name) in [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")] {
        if us != 0 && us.is_multiple_of(unit) {
            return format!("{}{name}", us / unit);
        }
    }
    format!("{us}us")
}

pub(crate) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

pub(crate) fn serialize_optional_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}
