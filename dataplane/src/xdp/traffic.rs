//! What was counted for endpoints, as people and Prometheus read it (pure).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    sync::Arc,
};

use ebpf_common::layout::{COUNTER_WORDS, counter};
use model::{
    ObjectKey, Snapshot,
    traffic::{EndpointState, EndpointTraffic, TrafficCounters},
};

use super::plan::{Carried, L4Plan};

/// Endpoints that have series in the metrics, five each: the first by their addresses.
pub const SERIES_MAX: usize = 1_000;

/// The series of endpoints, in Prometheus' text format. They are no metrics of the recorder, which
/// would keep those of endpoints that are gone for ever.
pub type Series = Arc<str>;

/// Returns the words that stand for an endpoint without what is counted.
#[must_use]
pub fn counters(words: &[u64; COUNTER_WORDS]) -> TrafficCounters {
    TrafficCounters {
        connections: words[counter::CONNECTIONS],
        packets_in: words[counter::PACKETS_IN],
        bytes_in: words[counter::BYTES_IN],
        packets_out: words[counter::PACKETS_OUT],
        bytes_out: words[counter::BYTES_OUT],
    }
}

/// Lists the endpoints of a plan by their addresses, without what was counted.
#[must_use]
pub fn endpoints(plan: &L4Plan, config: &Snapshot) -> Vec<EndpointTraffic> {
    #[derive(Default)]
    struct Found {
        active: bool,
        listeners: BTreeSet<ObjectKey>,
        services: BTreeSet<ObjectKey>,
    }
    let mut found = BTreeMap::<SocketAddr, Found>::new();
    for carried in plan.carried.values() {
        let services = services(carried, config);
        for backend in carried.backends() {
            let it = found.entry(backend.address).or_default();
            it.active |= backend.weight > 0;
            it.listeners.insert(carried.listener.clone());
            it.services.extend(services.get(&backend.address).into_iter().flatten().cloned());
        }
    }
    found
        .into_iter()
        .map(|(endpoint, Found { active, listeners, services })| EndpointTraffic {
            endpoint,
            state: if active { EndpointState::Active } else { EndpointState::Draining },
            listeners: listeners.into_iter().collect(),
            services: services.into_iter().collect(),
            counters: None,
        })
        .collect()
}

/// Returns which of a listener's services have which endpoints.
fn services(carried: &Carried, config: &Snapshot) -> BTreeMap<SocketAddr, Vec<ObjectKey>> {
    let mut all = BTreeMap::<SocketAddr, Vec<ObjectKey>>::new();
    for key in &carried.services {
        let service = config.service(&key.namespace, &key.name);
        for endpoint in service.into_iter().flat_map(|service| &service.endpoints) {
            let address = SocketAddr::new(endpoint.address, endpoint.port);
            all.entry(address).or_default().push(key.clone());
        }
    }
    all
}

/// A series of an endpoint: its labels behind that of the endpoint, and its value.
type Member = (&'static str, fn(&TrafficCounters) -> u64);

/// Writes the series of endpoints; `without` is how many others there are.
#[must_use]
pub fn series(endpoints: &[(SocketAddr, TrafficCounters)], without: usize) -> String {
    let families: [(&str, &str, &[Member]); 3] = [
        (
            "packets",
            "Packets from (in) and to (out) clients that XDP forwarded, by endpoint",
            &[
                (",direction=\"in\"", |it| it.packets_in),
                (",direction=\"out\"", |it| it.packets_out),
            ],
        ),
        (
            "bytes",
            "IP bytes from (in) and to (out) clients that XDP forwarded, by endpoint",
            &[(",direction=\"in\"", |it| it.bytes_in), (",direction=\"out\"", |it| it.bytes_out)],
        ),
        (
            "connections",
            "Connections and UDP flows begun, by endpoint",
            &[("", |it| it.connections)],
        ),
    ];
    let mut text = String::new();
    for (name, help, members) in families {
        let name = format!("marchproxy_xdp_endpoint_{name}_total");
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (endpoint, counters) in endpoints {
            for (labels, read) in members {
                let value = read(counters);
                let _ = writeln!(text, "{name}{{endpoint=\"{endpoint}\"{labels}}} {value}");
            }
        }
    }
    let name = "marchproxy_xdp_endpoints_without_series";
    let _ = writeln!(
        text,
        "# HELP {name} Endpoints of XDP's listeners that have no series of their own, being more than \
         {SERIES_MAX} or having no number\n# TYPE {name} gauge\n{name} {without}"
    );
    text
}

#[cfg(test)]
#[path = "traffic/tests.rs"]
mod tests;
