//! Requests that nobody looks into: TLS passes through to the service of the host that is asked for.

use std::net::IpAddr;

use super::{
    Outcome, decision, made_by,
    question::{Asked, split_port},
    routes::serving,
};
use crate::{explain::Decision, key::ObjectKey, route::TlsRoute, snapshot::Snapshot};

/// Says which TLSRoute of a listener takes the connection.
pub(super) fn decide(
    config: &Snapshot,
    listener: &ObjectKey,
    asked: &Asked,
    decisions: &mut Vec<Decision>,
) -> Outcome {
    let (name, _) = split_port(&asked.authority);
    let name = name.trim_matches(['[', ']']).to_ascii_lowercase();
    let attached: Vec<(&ObjectKey, &TlsRoute)> = config
        .tls_routes()
        .filter(|(_, route)| {
            let mut listeners = route.listeners.iter();
            listeners.any(|to| to.namespace == listener.namespace && to.name == listener.name)
        })
        .collect();
    let hosts = attached.iter().flat_map(|(_, route)| &route.hosts).map(String::as_str);
    let host = match name.parse::<IpAddr>() {
        // Clients ask for names only.
        Ok(_) => hosts.clone().find(|host| *host == "*"),
        Err(_) => serving(hosts, &name),
    };
    let taking = host.and_then(|host| {
        let mut routes = attached.iter();
        Some((host, routes.find(|(_, route)| route.hosts.iter().any(|own| own == host))?))
    });
    let Some((host, (key, route))) = taking else {
        let said = format!("no TLSRoute of {listener} takes {name}: the connection is closed");
        decisions.push(decision("host", said));
        return Outcome::NoListener;
    };
    let said = format!("{host} takes {name}: {key}; no HTTPRoute is asked");
    decisions.push(made_by("host", said, key, "spec.hosts"));
    let used = || route.backends.iter().enumerate().filter(|(_, backend)| backend.weight > 0);
    let whole: u64 = used().map(|(_, backend)| u64::from(backend.weight)).sum();
    for (index, backend) in used() {
        let to = &backend.service;
        let said = format!("Service/{}/{}, {} of {whole}", to.namespace, to.name, backend.weight);
        decisions.push(made_by("service", said, key, &format!("spec.backends[{index}]")));
    }
    Outcome::PassedThrough
}
