//! Endpoints that are found by name.

use std::{net::SocketAddr, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeSeq};

use crate::object::serialize_duration;

/// A name whose addresses are the endpoints. Envoy alone resolves it, on each node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// The name.
    pub name: String,
    /// The endpoints' port.
    pub port: u16,
    /// What the addresses of an answer are.
    pub discovery: DnsDiscovery,
    /// Which addresses are asked for.
    pub lookup_family: LookupFamily,
    /// The time between questions, where the answer's lifetime does not say.
    #[serde(serialize_with = "serialize_duration")]
    pub refresh_interval: Duration,
    /// Whether an answer's lifetime says when to ask again.
    #[serde(rename = "respectTTL")]
    pub respect_ttl: bool,
    /// The servers that are asked; those of the node's `resolv.conf` when empty.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "addresses")]
    pub resolvers: Vec<SocketAddr>,
}

/// What the addresses of an answer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum DnsDiscovery {
    /// All endpoints: one that an answer leaves out is gone.
    #[default]
    Strict,
    /// Ways to the same thing: new connections take the first, and those that are open stay.
    Logical,
}

/// Which addresses a name is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum LookupFamily {
    /// IPv4, or IPv6 where there is none.
    #[default]
    V4Preferred,
    /// IPv6, or IPv4 where there is none.
    V6Preferred,
    /// IPv4.
    V4Only,
    /// IPv6.
    V6Only,
    /// Both.
    All,
}

#[derive(Serialize)]
struct Resolver {
    address: std::net::IpAddr,
    port: u16,
}

fn addresses<S: Serializer>(resolvers: &[SocketAddr], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(resolvers.len()))?;
    for one in resolvers {
        list.serialize_element(&Resolver { address: one.ip(), port: one.port() })?;
    }
    list.end()
}
