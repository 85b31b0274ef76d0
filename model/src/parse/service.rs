//! Reads the spec of a `Service`.

use std::{collections::HashSet, time::Duration};

use super::{
    backend::unique,
    name::host,
    pattern::target_path,
    reader::{Fields, Node, Read},
    scalar::{bounded, duration, port, status, unicast, whole, word},
};
use crate::{
    limits::{
        AGGRESSION_PERCENT, MAX_CONNECT_TIMEOUT, MAX_ENDPOINT_WEIGHT, MAX_ENDPOINTS, MAX_INTERVAL,
        MAX_LABEL_VALUE_BYTES, MAX_SLOW_START, MAX_STATUSES, MAX_THRESHOLD, MIN_INTERVAL,
        MIN_SLOW_START, MIN_TIMEOUT,
    },
    object::format_duration,
    service::{
        Endpoint, HealthCheck, LoadBalancing, Locality, Probe, ProxyProtocol, Service, SlowStart,
    },
};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_UNHEALTHY_THRESHOLD: u32 = 3;
const DEFAULT_HEALTHY_THRESHOLD: u32 = 2;

const LOAD_BALANCING: [(&str, LoadBalancing); 4] = [
    ("RoundRobin", LoadBalancing::RoundRobin),
    ("LeastRequest", LoadBalancing::LeastRequest),
    ("Random", LoadBalancing::Random),
    ("Maglev", LoadBalancing::Maglev),
];

pub(super) fn service(node: &Node<'_>) -> Read<Service> {
    let fields = node.fields()?;
    let endpoints = fields.required("endpoints", "a list of addresses and ports", endpoints);
    let load_balancing =
        fields.or("loadBalancing", LoadBalancing::default(), |node| word(node, &LOAD_BALANCING));
    let connect_timeout = fields.or("connectTimeout", DEFAULT_CONNECT_TIMEOUT, |node| {
        duration(node, MIN_TIMEOUT, MAX_CONNECT_TIMEOUT)
    });
    let slow_start = fields.optional("slowStart", slow_start);
    let balancing_fits = match (load_balancing, slow_start) {
        (Ok(balancing), Ok(Some(_))) => slow_start_fits(&fields, balancing),
        _ => Ok(()),
    };
    let proxy_protocol =
        fields.optional("proxyProtocol", |node| word(node, &[("V2", ProxyProtocol::V2)]));
    let health_check = fields.optional("healthCheck", health_check);
    let probe_fits = match (proxy_protocol, &health_check) {
        (Ok(Some(_)), Ok(Some(HealthCheck { probe: Probe::Http { .. }, port: None, .. }))) => {
            let remedy = "write tcp: {} for http, or the port of one that takes plain HTTP";
            let problem =
                "asks by http for what waits for a PROXY header, which probes do not send";
            Err(fields.error("healthCheck", problem, remedy))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let service = Service {
        endpoints: endpoints?,
        load_balancing: load_balancing?,
        connect_timeout: connect_timeout?,
        slow_start: slow_start?,
        proxy_protocol: proxy_protocol?,
        health_check: health_check?,
    };
    balancing_fits.and(probe_fits).and(known).map(|()| service)
}

fn slow_start(node: &Node<'_>) -> Read<SlowStart> {
    let fields = node.fields()?;
    let window = fields.required("window", "a duration such as 30s", |node| {
        duration(node, MIN_SLOW_START, MAX_SLOW_START)
    });
    let aggression = fields.or("aggressionPercent", 100, |node| whole(node, AGGRESSION_PERCENT));
    let least = fields.or("minWeightPercent", 10, |node| whole(node, 1..=100));
    let known = fields.finish();
    let slow_start =
        SlowStart { window: window?, aggression_percent: aggression?, min_weight_percent: least? };
    known.map(|()| slow_start)
}

/// Envoy has slow start with these two only; XDP, which always uses Maglev, with each.
fn slow_start_fits(fields: &Fields<'_>, balancing: LoadBalancing) -> Read<()> {
    match balancing {
        LoadBalancing::RoundRobin | LoadBalancing::LeastRequest => Ok(()),
        LoadBalancing::Random | LoadBalancing::Maglev => {
            let problem = "needs loadBalancing RoundRobin or LeastRequest, since Envoy has it with these only";
            let remedy = "write loadBalancing: RoundRobin (XDP uses Maglev all the same), or remove slowStart";
            Err(fields.error("slowStart", problem, remedy))
        }
    }
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
    distinct.map(|()| endpoints)
}

fn endpoint(node: &Node<'_>) -> Read<Endpoint> {
    let fields = node.fields()?;
    let address = fields.required("address", "an IP address", unicast);
    let port = fields.required("port", "a number from 1 to 65535", port);
    let weight = fields.or("weight", 1, |node| whole(node, 0..=MAX_ENDPOINT_WEIGHT));
    let locality = fields.or("locality", Locality::default(), locality);
    let known = fields.finish();
    let endpoint =
        Endpoint { address: address?, port: port?, weight: weight?, locality: locality? };
    known.map(|()| endpoint)
}

fn locality(node: &Node<'_>) -> Read<Locality> {
    let fields = node.fields()?;
    let part = |node: &Node<'_>| bounded(node, 0, MAX_LABEL_VALUE_BYTES);
    let region = fields.or("region", String::new(), part);
    let zone = fields.or("zone", String::new(), part);
    let known = fields.finish();
    let locality = Locality { region: region?, zone: zone? };
    known.map(|()| locality)
}

fn health_check(node: &Node<'_>) -> Read<HealthCheck> {
    let fields = node.fields()?;
    let probe = probe(&fields);
    let port = fields.optional("port", port);
    let interval =
        fields.or("interval", DEFAULT_INTERVAL, |node| duration(node, MIN_INTERVAL, MAX_INTERVAL));
    let timeout = fields.optional("timeout", |node| duration(node, MIN_TIMEOUT, MAX_INTERVAL));
    let threshold = |node: &Node<'_>| whole(node, 1..=MAX_THRESHOLD);
    let unhealthy = fields.or("unhealthyThreshold", DEFAULT_UNHEALTHY_THRESHOLD, threshold);
    let healthy = fields.or("healthyThreshold", DEFAULT_HEALTHY_THRESHOLD, threshold);
    let fits = match (interval, timeout) {
        (Ok(interval), Ok(Some(timeout))) if timeout > interval => {
            let message = format!("is longer than the interval of {}", format_duration(interval));
            Err(fields.error("timeout", message, "write at most the interval"))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let interval = interval?;
    let health_check = HealthCheck {
        probe: probe?,
        port: port?,
        interval,
        timeout: timeout?.unwrap_or(DEFAULT_PROBE_TIMEOUT.min(interval)),
        unhealthy_threshold: unhealthy?,
        healthy_threshold: healthy?,
    };
    fits.and(known).map(|()| health_check)
}

fn probe(fields: &Fields<'_>) -> Read<Probe> {
    let http = fields.optional("http", http_probe);
    let tcp = fields.optional("tcp", |node| node.fields()?.finish().map(|()| Probe::Tcp {}));
    match (http?, tcp?) {
        (Some(probe), None) | (None, Some(probe)) => Ok(probe),
        (Some(_), Some(_)) => {
            Err(fields.error("tcp", "stands beside http", "keep one of http and tcp"))
        }
        (None, None) => {
            let remedy = "add http: {path: /healthz} or tcp: {}";
            Err(fields.node().error("says not what to send", remedy))
        }
    }
}

fn http_probe(node: &Node<'_>) -> Read<Probe> {
    let fields = node.fields()?;
    let path = fields.required("path", "a path such as /healthz", target_path);
    let host = fields.optional("host", host);
    let expected_statuses = fields.or("expectedStatuses", vec![200], statuses);
    let known = fields.finish();
    let probe = Probe::Http { path: path?, host: host?, expected_statuses: expected_statuses? };
    known.map(|()| probe)
}

fn statuses(node: &Node<'_>) -> Read<Vec<u16>> {
    let items = node.items(1, MAX_STATUSES, status)?;
    unique(node, &items, |status| status)?;
    items.into_iter().collect()
}
