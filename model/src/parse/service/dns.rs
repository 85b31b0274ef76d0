//! Reads `dns`.

use std::{net::SocketAddr, time::Duration};

use crate::{
    limits::{MAX_DNS_REFRESH, MAX_RESOLVERS, MIN_DNS_REFRESH},
    parse::{
        backend::unique,
        name::host,
        reader::{Fields, Node, Read},
        scalar::{boolean, duration, port, unicast, word},
    },
    service::{CheckedBy, Dns, DnsDiscovery, LookupFamily, Service},
};

/// Envoy's own default.
const DEFAULT_REFRESH: Duration = Duration::from_secs(5);
const DNS_PORT: u16 = 53;

const DISCOVERIES: [(&str, DnsDiscovery); 2] =
    [("Strict", DnsDiscovery::Strict), ("Logical", DnsDiscovery::Logical)];

const FAMILIES: [(&str, LookupFamily); 5] = [
    ("V4Preferred", LookupFamily::V4Preferred),
    ("V6Preferred", LookupFamily::V6Preferred),
    ("V4Only", LookupFamily::V4Only),
    ("V6Only", LookupFamily::V6Only),
    ("All", LookupFamily::All),
];

pub(super) fn dns(node: &Node<'_>) -> Read<Dns> {
    let fields = node.fields()?;
    let name = fields.required("name", "a host such as payments.internal", host);
    let port = fields.required("port", "a number from 1 to 65535", port);
    let discovery =
        fields.or("discovery", DnsDiscovery::default(), |node| word(node, &DISCOVERIES));
    let lookup_family =
        fields.or("lookupFamily", LookupFamily::default(), |node| word(node, &FAMILIES));
    let refresh_interval = fields.or("refreshInterval", DEFAULT_REFRESH, |node| {
        duration(node, MIN_DNS_REFRESH, MAX_DNS_REFRESH)
    });
    let respect_ttl = fields.or("respectTTL", true, boolean);
    let resolvers = fields.or("resolvers", Vec::new(), resolvers);
    let known = fields.finish();
    let dns = Dns {
        name: name?,
        port: port?,
        discovery: discovery?,
        lookup_family: lookup_family?,
        refresh_interval: refresh_interval?,
        respect_ttl: respect_ttl?,
        resolvers: resolvers?,
    };
    known.map(|()| dns)
}

fn resolvers(node: &Node<'_>) -> Read<Vec<SocketAddr>> {
    let items = node.items(1, MAX_RESOLVERS, |node| {
        let fields = node.fields()?;
        let address = fields.required("address", "an IP address", unicast);
        let port = fields.or("port", DNS_PORT, port);
        let known = fields.finish();
        let resolver = SocketAddr::new(address?, port?);
        known.map(|()| resolver)
    })?;
    unique(node, &items, |resolver| resolver)?;
    items.into_iter().collect()
}

/// A name has no endpoints beside it, and our probes know no addresses of it.
pub(super) fn fits(fields: &Fields<'_>, service: &Service) -> Read<()> {
    if service.dns.is_none() {
        return Ok(());
    }
    let mut fits = Ok(());
    if !service.endpoints.is_empty() {
        let remedy = "keep one of them, or make two services and let the route weigh them";
        fits = Err(fields.error("endpoints", "stands beside dns", remedy));
    }
    if service.health_check.as_ref().is_some_and(|check| check.by == CheckedBy::Probes) {
        let problem = "is of our probes, which check addresses of endpoints, not names";
        let remedy = "write by: Envoy, which checks each address that it finds";
        fits = Err(fields.error("healthCheck", problem, remedy));
    }
    fits
}
