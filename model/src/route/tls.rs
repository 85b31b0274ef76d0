//! `TLSRoute`: which service takes TLS connections that nobody looks into.

use serde::Serialize;

use super::{Reference, WeightedBackend};

/// `TLSRoute`: the services for the TLS connections to some hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsRoute {
    /// The listeners it attaches to, of the protocol TLS; at least one.
    pub listeners: Vec<Reference>,
    /// The hosts that clients ask for (SNI, RFC 6066 section 3), lower case: `shop.example`,
    /// `*.shop.example`, or `*` for what no other host takes; at least one.
    pub hosts: Vec<String>,
    /// The services and their shares; at least one.
    pub backends: Vec<WeightedBackend>,
}
