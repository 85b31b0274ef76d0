//! Names of objects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The kinds of configuration objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A port on which traffic enters.
    Listener,
    /// Rules that choose a service for HTTP requests.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// Rules that choose a service for gRPC calls.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    /// Chooses the service for the TLS connections to some hosts.
    #[serde(rename = "TLSRoute")]
    TlsRoute,
    /// Chooses the service for the TCP connections of a listener.
    #[serde(rename = "TCPRoute")]
    TcpRoute,
    /// Chooses the service for the UDP flows of a listener.
    #[serde(rename = "UDPRoute")]
    UdpRoute,
    /// A set of endpoints with load balancing and a health check.
    Service,
    /// Rules for which packets are dropped before anything else looks at them.
    PacketFilter,
    /// Address prefixes for the rules of filters.
    PrefixList,
    /// Limits, classes and marks for the traffic of listeners.
    #[serde(rename = "QoSPolicy")]
    QosPolicy,
    /// Who may send the requests of a route.
    AuthPolicy,
    /// How many requests listeners and routes let through.
    RateLimit,
    /// Code of the user's own that requests pass.
    FilterModule,
    /// Which nodes get a revision before the others.
    RolloutPolicy,
    /// A certificate with its key, for listeners.
    Certificate,
    /// Who signs certificates.
    Issuer,
}

impl Kind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 16] = [
        Self::Listener,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TlsRoute,
        Self::TcpRoute,
        Self::UdpRoute,
        Self::Service,
        Self::PacketFilter,
        Self::PrefixList,
        Self::QosPolicy,
        Self::AuthPolicy,
        Self::RateLimit,
        Self::FilterModule,
        Self::RolloutPolicy,
        Self::Certificate,
        Self::Issuer,
    ];

    /// Returns the name that documents use, such as `HTTPRoute`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "Listener",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TlsRoute => "TLSRoute",
            Self::TcpRoute => "TCPRoute",
            Self::UdpRoute => "UDPRoute",
            Self::Service => "Service",
            Self::PacketFilter => "PacketFilter",
            Self::PrefixList => "PrefixList",
            Self::QosPolicy => "QoSPolicy",
            Self::AuthPolicy => "AuthPolicy",
            Self::RateLimit => "RateLimit",
            Self::FilterModule => "FilterModule",
            Self::RolloutPolicy => "RolloutPolicy",
            Self::Certificate => "Certificate",
            Self::Issuer => "Issuer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Tells that a text names no kind or object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The kind is not one of [`Kind::ALL`].
    #[error(
        "unknown kind {0:?}; known are Listener, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute, \
         Service, PacketFilter, PrefixList, QoSPolicy, AuthPolicy, RateLimit, FilterModule, RolloutPolicy, \
         Certificate and Issuer"
    )]
    Kind(String),
    /// The text is not `kind/namespace/name`.
    #[error("{0:?} is not of the form kind/namespace/name")]
    Form(String),
}

impl FromStr for Kind {
    type Err = InvalidKey;

    /// Reads a kind; letter case and the plural do not matter (`httproutes`, `qospolicies`).
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let lower = text.to_ascii_lowercase();
        let singular = match (lower.strip_suffix("ies"), lower.strip_suffix('s')) {
            (Some(stem), _) => format!("{stem}y"),
            (None, Some(stem)) => stem.to_owned(),
            (None, None) => lower,
        };
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(&singular))
            .ok_or_else(|| InvalidKey::Kind(text.to_owned()))
    }
}

/// Identifies one object: kind, namespace and name.
///
/// Displayed and serialized as `kind/namespace/name`; ordered by kind, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// What the object is.
    pub kind: Kind,
    /// The namespace, `default` when the document names none.
    pub namespace: String,
    /// The name, unique for its kind and namespace.
    pub name: String,
}

impl ObjectKey {
    /// Makes a key of its parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// Tells whether a text is its `name`, in the default namespace, or its `namespace/name`.
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        let (namespace, name) = text.split_once('/').unwrap_or((DEFAULT_NAMESPACE, text));
        self.namespace == namespace && self.name == name
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(namespace), Some(name), None)
                if !namespace.is_empty() && !name.is_empty() =>
            {
                Ok(Self::new(kind.parse()?, namespace, name))
            }
            _ => Err(InvalidKey::Form(text.to_owned())),
        }
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
