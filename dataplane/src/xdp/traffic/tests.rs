//! Endpoints are listed once with all that they are for; series are Prometheus' text.

use model::listener::Forwarding;

use super::*;
use crate::xdp::{maglev::Weighted, plan::Frontend};

const CONFIG: &str = "
kind: Service
metadata: { name: a }
spec: { endpoints: [{ address: 10.0.0.21, port: 80 }, { address: 10.0.0.22, port: 80, weight: 0 }] }
---
kind: Service
metadata: { name: b }
spec: { endpoints: [{ address: 10.0.0.21, port: 80 }, { address: 'fd00::21', port: 80 }] }
";

fn config() -> Snapshot {
    let mut config = Snapshot::default();
    for object in model::parse::parse_documents(CONFIG).unwrap() {
        config.put(Arc::new(object));
    }
    config
}

fn carried(listener: &str, port: u16, services: &[&str], backends: &[(&str, u64)]) -> Carried {
    let of_family = |v4: bool| {
        let all = backends.iter().map(|(address, weight)| (address.parse().unwrap(), *weight));
        let all = all.map(|(address, weight)| Weighted { address, weight });
        all.filter(|backend: &Weighted| backend.address.is_ipv4() == v4).collect()
    };
    Carried {
        listener: listener.parse().unwrap(),
        frontend: Frontend { address: None, port, protocol: ebpf_common::layout::TCP },
        forwarding: Forwarding::Nat,
        syn_cookies: Default::default(),
        services: services.iter().map(|key| key.parse().unwrap()).collect(),
        v4: of_family(true),
        v6: of_family(false),
        policy: None,
    }
}

#[test]
fn an_endpoint_of_two_listeners_is_listed_once_and_active_if_it_is_for_one() {
    let mut plan = L4Plan::default();
    for carried in [
        carried(
            "Listener/default/one",
            80,
            &["Service/default/a"],
            &[("10.0.0.21:80", 1), ("10.0.0.22:80", 0)],
        ),
        carried(
            "Listener/default/two",
            81,
            &["Service/default/b"],
            &[("10.0.0.21:80", 0), ("[fd00::21]:80", 7)],
        ),
    ] {
        plan.carried.insert(carried.frontend, Arc::new(carried));
    }
    let found: Vec<_> = endpoints(&plan, &config())
        .into_iter()
        .map(|it| {
            let names = |keys: &[ObjectKey]| {
                keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(",")
            };
            let (listeners, services) = (names(&it.listeners), names(&it.services));
            format!("{} {} {listeners} {services}", it.endpoint, it.state)
        })
        .collect();
    let expected = [
        "10.0.0.21:80 active one,two a,b",
        "10.0.0.22:80 draining one a",
        "[fd00::21]:80 active two b",
    ];
    assert_eq!(found, expected);
}

#[test]
fn series_are_in_prometheus_text_format() {
    let mut words = [0; COUNTER_WORDS];
    words[counter::PACKETS_IN] = 5;
    words[counter::BYTES_IN] = 300;
    words[counter::PACKETS_OUT] = 4;
    words[counter::BYTES_OUT] = 200;
    words[counter::CONNECTIONS] = 1;
    let text = series(&[("[fd00::21]:80".parse().unwrap(), counters(&words))], 2);
    let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "marchproxy_xdp_endpoint_packets_total{endpoint=\"[fd00::21]:80\",direction=\"in\"} 5",
        "marchproxy_xdp_endpoint_packets_total{endpoint=\"[fd00::21]:80\",direction=\"out\"} 4",
        "marchproxy_xdp_endpoint_bytes_total{endpoint=\"[fd00::21]:80\",direction=\"in\"} 300",
        "marchproxy_xdp_endpoint_bytes_total{endpoint=\"[fd00::21]:80\",direction=\"out\"} 200",
        "marchproxy_xdp_endpoint_connections_total{endpoint=\"[fd00::21]:80\"} 1",
        "marchproxy_xdp_endpoints_without_series 2",
    ];
    assert_eq!(values, expected);
    let types = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(types, 4, "one for each family");
}
