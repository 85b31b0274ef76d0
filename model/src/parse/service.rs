//! Reads the spec of a `Service`.

mod balancing;
mod breakers;
mod dns;
mod failover;
mod health;
mod outliers;
mod tls;
mod upstream;

use std::collections::{BTreeSet, HashSet};

use super::{
    reader::{Node, Read},
    scalar::{bounded, duration, port, unicast, whole, word},
};
use crate::{
    limits::{
        MAX_CONNECT_TIMEOUT, MAX_ENDPOINT_PRIORITY, MAX_ENDPOINT_WEIGHT, MAX_ENDPOINTS,
        MAX_LABEL_VALUE_BYTES, MIN_TIMEOUT,
    },
    service::{DEFAULT_CONNECT_TIMEOUT, Endpoint, Locality, ProxyProtocol, Service, Upstream},
};

pub(super) fn service(node: &Node<'_>) -> Read<Service> {
    let fields = node.fields()?;
    let dns = fields.optional("dns", dns::dns);
    let endpoints = if fields.has("dns") {
        fields.or("endpoints", Vec::new(), endpoints)
    } else {
        fields.required("endpoints", "a list of addresses and ports", endpoints)
    };
    let load_balancing = fields.or("loadBalancing", Default::default(), balancing::policy);
    let options = balancing::options(&fields, load_balancing);
    let connect_timeout = fields.or("connectTimeout", DEFAULT_CONNECT_TIMEOUT, |node| {
        duration(node, MIN_TIMEOUT, MAX_CONNECT_TIMEOUT)
    });
    let slow_start = fields.optional("slowStart", balancing::slow_start);
    let starts_fit = match (load_balancing, slow_start) {
        (Ok(balancing), Ok(Some(_))) => balancing::slow_start_fits(&fields, balancing),
        _ => Ok(()),
    };
    let proxy_protocol =
        fields.optional("proxyProtocol", |node| word(node, &[("V2", ProxyProtocol::V2)]));
    let health_check = fields.optional("healthCheck", health::health_check);
    let circuit_breakers = fields.optional("circuitBreakers", breakers::circuit_breakers);
    let outlier_detection = fields.optional("outlierDetection", outliers::outlier_detection);
    let failover = fields.optional("failover", failover::failover);
    let protocol = fields.optional("protocol", upstream::protocol);
    let connections = fields.optional("connections", upstream::connections);
    let name = dns.as_ref().ok().and_then(|dns| Some(dns.as_ref()?.name.clone()));
    let tls = fields.optional("tls", |node| tls::tls(node, name.as_deref()));
    let known = fields.finish();
    let service = Service {
        endpoints: endpoints?,
        dns: dns?,
        load_balancing: load_balancing?,
        balancing: options?,
        connect_timeout: connect_timeout?,
        slow_start: slow_start?,
        proxy_protocol: proxy_protocol?,
        health_check: health_check?,
        circuit_breakers: circuit_breakers?,
        outlier_detection: outlier_detection?,
        failover: failover?,
        upstream: Upstream { protocol: protocol?, connections: connections?, tls: tls? },
    };
    let fits = [
        starts_fit,
        known,
        dns::fits(&fields, &service),
        failover::fits(&fields, &service),
        health::fits(&fields, &service),
        upstream::fits(&fields, &service),
    ];
    fits.into_iter().collect::<Read<Vec<()>>>().map(|_| service)
}

fn endpoints(node: &Node<'_>) -> Read<Vec<Endpoint>> {
    let items = node.items(0, MAX_ENDPOINTS, endpoint)?;
    let mut seen = HashSet::with_capacity(items.len());
    let mut distinct = Ok(());
    for (index, item) in items.iter().enumerate() {
        let Ok(endpoint) = item else { continue };
        if !seen.insert((endpoint.address, endpoint.port)) {
            distinct = Err(node.at_item(index, |node| {
                node.error("has the address and port of another endpoint", "keep one of them")
            }));
        }
    }
    let endpoints: Vec<Endpoint> = items.into_iter().collect::<Read<_>>()?;
    distinct.and(without_gaps(node, &endpoints)).map(|()| endpoints)
}

/// Priorities go up by one, as Envoy has them.
fn without_gaps(node: &Node<'_>, endpoints: &[Endpoint]) -> Read<()> {
    let used: BTreeSet<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
    let Some(missing) =
        (0..).zip(&used).find_map(|(wanted, has)| (wanted != *has).then_some(wanted))
    else {
        return Ok(());
    };
    let over = endpoints.iter().position(|endpoint| endpoint.priority > missing).unwrap_or(0);
    Err(node.at_item(over, |node| {
        node.at_field("priority", |node| {
            let message = format!("leaves out {missing}: no endpoint has that priority");
            node.error(message, "write priorities 0, 1, 2 and so on, without a gap")
        })
    }))
}

fn endpoint(node: &Node<'_>) -> Read<Endpoint> {
    let fields = node.fields()?;
    let address = fields.required("address", "an IP address", unicast);
    let port = fields.required("port", "a number from 1 to 65535", port);
    let weight = fields.or("weight", 1, |node| whole(node, 0..=MAX_ENDPOINT_WEIGHT));
    let priority = fields.or("priority", 0, |node| whole(node, 0..=MAX_ENDPOINT_PRIORITY));
    let locality = fields.or("locality", Locality::default(), locality);
    let known = fields.finish();
    let endpoint = Endpoint {
        address: address?,
        port: port?,
        weight: weight?,
        priority: priority?,
        locality: locality?,
    };
    known.map(|()| endpoint)
}

pub(super) fn locality(node: &Node<'_>) -> Read<Locality> {
    let fields = node.fields()?;
    let part = |node: &Node<'_>| bounded(node, 0, MAX_LABEL_VALUE_BYTES);
    let region = fields.or("region", String::new(), part);
    let zone = fields.or("zone", String::new(), part);
    let known = fields.finish();
    let locality = Locality { region: region?, zone: zone? };
    known.map(|()| locality)
}
