//! Which listeners the XDP program carries, and why the others are not carried.

use std::net::{IpAddr, SocketAddr};

use imbl::{OrdMap, ordmap::DiffItem};
use model::{ObjectKey, Revision, listener::Forwarding, service::NeedsEnvoy};

/// Why XDP does not carry a listener. Envoy does then, unless nobody can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCarried {
    /// The listener asks for Envoy.
    #[error("the listener asks for Envoy")]
    EnvoyChosen,
    /// No route attaches to it.
    #[error("no route attaches to the listener")]
    NoRoute,
    /// A service wants the PROXY protocol.
    #[error("{service} wants the PROXY protocol, which only Envoy adds to a stream")]
    ProxyProtocol {
        /// The service.
        service: ObjectKey,
    },
    /// A service wants TLS to its endpoints.
    #[error("{service} wants TLS, which only Envoy speaks")]
    Tls {
        /// The service.
        service: ObjectKey,
    },
    /// The endpoints of a service are found by name.
    #[error("the endpoints of {service} are found by name, which only Envoy resolves")]
    Dns {
        /// The service.
        service: ObjectKey,
    },
    /// Envoy checks the health of a service's endpoints.
    #[error("{service} is checked by Envoy, which tells XDP nothing of it")]
    CheckedByEnvoy {
        /// The service.
        service: ObjectKey,
    },
    /// None of its services has an endpoint that traffic may go to.
    #[error("its services have no endpoint with a weight")]
    NoEndpoint,
    /// The listener's address is of one family and all endpoints are of the other.
    #[error("the listener's address {address} and its endpoints are of different IP versions")]
    OtherFamily {
        /// The listener's address.
        address: IpAddr,
    },
    /// An endpoint is an address of this node, which XDP cannot deliver to.
    #[error("endpoint {address} is an address of this node")]
    EndpointOnNode {
        /// The endpoint's address.
        address: IpAddr,
    },
    /// The listener's packets go to endpoints as they are, and an endpoint has another port.
    #[error(
        "endpoint {endpoint} has another port than the listener's {port}, which forwarding by \
         {forwarding:?} does not change"
    )]
    OtherPort {
        /// The endpoint.
        endpoint: SocketAddr,
        /// The listener's port.
        port: u16,
        /// How the listener forwards.
        forwarding: Forwarding,
    },
    /// The node has no address of the endpoints' family to send from.
    #[error("the node has no {family} address to send from")]
    NoSource {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The port is one that connections to endpoints leave from.
    #[error("port {port} is in the range that connections to endpoints leave from")]
    ReservedPort {
        /// The listener's port.
        port: u16,
    },
    /// Another listener has the same address, port and protocol.
    #[error("{other} has the same address, port and protocol")]
    Taken {
        /// The other listener.
        other: ObjectKey,
    },
    /// There are more listeners than the maps hold.
    #[error("XDP carries at most {max} listeners")]
    TooManyListeners {
        /// How many the maps hold.
        max: usize,
    },
    /// There are more endpoints than a Maglev table holds.
    #[error("XDP spreads a listener over at most {max} endpoints, and this one has {found}")]
    TooManyEndpoints {
        /// How many there are.
        found: usize,
        /// How many a table holds.
        max: usize,
    },
    /// The program is not there at all.
    #[error("{reason}")]
    Unavailable {
        /// What the kernel or the host refused.
        reason: String,
    },
}

impl NotCarried {
    /// Says that a service needs Envoy.
    #[must_use]
    pub fn needs_envoy(service: ObjectKey, need: NeedsEnvoy) -> Self {
        match need {
            NeedsEnvoy::ProxyProtocol => Self::ProxyProtocol { service },
            NeedsEnvoy::Tls => Self::Tls { service },
            NeedsEnvoy::Dns => Self::Dns { service },
            NeedsEnvoy::HealthCheck => Self::CheckedByEnvoy { service },
        }
    }
}

/// Where a listener is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// By XDP.
    Carried,
    /// Not by XDP.
    NotCarried(NotCarried),
}

/// Where each TCP and UDP listener is carried. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L4Placement {
    /// The revision that it was decided for; `None` before the first decision.
    pub revision: Option<Revision>,
    /// The listeners.
    pub listeners: OrdMap<ObjectKey, Placement>,
    /// What holds for all of them: mode and interfaces, or why there is no XDP.
    pub summary: String,
    /// Whether XDP is yet to decide on listeners that are not named here. Nobody should carry them
    /// until it has: a listener that moves from Envoy to XDP loses its connections.
    pub deciding: bool,
}

/// Walks over the listeners that are placed otherwise in `new` than in `old`.
pub fn differing<'a>(
    old: &'a OrdMap<ObjectKey, Placement>,
    new: &'a OrdMap<ObjectKey, Placement>,
) -> impl Iterator<Item = &'a ObjectKey> {
    old.diff(new).map(|item| {
        let (DiffItem::Add(key, _)
        | DiffItem::Remove(key, _)
        | DiffItem::Update { new: (key, _), .. }) = item;
        key
    })
}

impl L4Placement {
    /// The placement while the program is being loaded for the first time.
    #[must_use]
    pub fn undecided() -> Self {
        Self { summary: "XDP is being loaded".to_owned(), deciding: true, ..Self::default() }
    }

    /// Tells whether XDP is yet to decide on a TCP or UDP listener.
    #[must_use]
    pub fn is_undecided(&self, listener: &ObjectKey) -> bool {
        self.deciding && !self.listeners.contains_key(listener)
    }

    /// Tells whether XDP carries a listener.
    #[must_use]
    pub fn carries(&self, listener: &ObjectKey) -> bool {
        matches!(self.listeners.get(listener), Some(Placement::Carried))
    }

    /// Returns why XDP does not carry a listener that it was asked about.
    #[must_use]
    pub fn reason(&self, listener: &ObjectKey) -> Option<&NotCarried> {
        match self.listeners.get(listener) {
            Some(Placement::NotCarried(reason)) => Some(reason),
            _ => None,
        }
    }
}
