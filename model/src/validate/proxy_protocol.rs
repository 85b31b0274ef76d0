//! A service with the PROXY protocol gets TCP connections that Envoy opens, and nothing else.

use std::collections::BTreeSet;

use super::fault::{fault, referred};
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    listener::{EngineChoice, Forwarding, Listener},
    route::{HttpAction, Reference},
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let concerned = |key: &ObjectKey| {
        !matches!(key.kind, Kind::PacketFilter | Kind::PrefixList | Kind::QosPolicy)
            && snapshot.get(key).is_some()
    };
    let wants = |service: &Reference| {
        let service = snapshot.service(&service.namespace, &service.name);
        service.is_some_and(|service| service.proxy_protocol.is_some())
    };
    if !changed.iter().any(concerned) {
        return;
    }
    let is_used = snapshot.services().any(|(_, service)| service.proxy_protocol.is_some());
    if !is_used {
        return;
    }
    for (key, route) in snapshot.http_routes() {
        for (rule_index, rule) in route.rules.iter().enumerate() {
            let HttpAction::Forward { backends, .. } = &rule.action else { continue };
            for (index, backend) in backends.iter().enumerate() {
                if wants(&backend.service) {
                    let path = format!("spec.rules[{rule_index}].backends[{index}].service.name");
                    carried(changed, key, &path, &backend.service, HTTP, errors);
                }
            }
        }
    }
    for (key, route) in snapshot.l4_routes() {
        for (index, backend) in route.backends.iter().enumerate() {
            if !wants(&backend.service) {
                continue;
            }
            let path = format!("spec.backends[{index}].service.name");
            if key.kind == Kind::UdpRoute {
                carried(changed, key, &path, &backend.service, UDP, errors);
                continue;
            }
            for reference in &route.listeners {
                let Some(listener) = snapshot.listener(&reference.namespace, &reference.name)
                else {
                    continue;
                };
                let route = (key, path.as_str());
                attached(changed, route, reference, listener, &backend.service, errors);
            }
        }
    }
}

/// Why a kind of route cannot lead to such a service, and what to do.
type Reason = (&'static str, &'static str);

const HTTP: Reason = (
    "HTTP connections to endpoints are shared by clients",
    "use a service without it: endpoints find the client in x-forwarded-for",
);
const UDP: Reason = ("UDP has no connection to begin with it", "use a service without it");

/// Says that a route cannot lead to the service, on the route or else on the service.
fn carried(
    changed: &BTreeSet<ObjectKey>,
    route: &ObjectKey,
    path: &str,
    service: &Reference,
    (reason, remedy): Reason,
    errors: &mut Vec<ConfigError>,
) {
    let service_key = referred(Kind::Service, service);
    if changed.contains(route) {
        let message = format!("names {service_key}, which wants the PROXY protocol, but {reason}");
        errors.push(fault(route, path, service.name.as_str(), message, remedy));
    } else if changed.contains(&service_key) {
        let message = format!("does not go with {route}: {reason}");
        let remedy = "remove it, or let that route lead to another service";
        errors.push(fault(&service_key, "spec.proxyProtocol", "V2", message, remedy));
    }
}

/// Says that a listener's packets would not pass by Envoy, on the listener or else on who attached
/// the service to it.
fn attached(
    changed: &BTreeSet<ObjectKey>,
    (route, path): (&ObjectKey, &str),
    reference: &Reference,
    listener: &Listener,
    service: &Reference,
    errors: &mut Vec<ConfigError>,
) {
    let forwarding = listener.forwarding();
    let (field, value, remedy) = if listener.engine == EngineChoice::Xdp {
        ("spec.engine", "xdp".to_owned(), "write engine: auto or envoy")
    } else if forwarding != Forwarding::Nat {
        let name = format!("{forwarding:?}").to_uppercase();
        ("spec.forwarding", name, "write forwarding: NAT, with which Envoy carries the listener")
    } else {
        return;
    };
    let listener_key = referred(Kind::Listener, reference);
    let service_key = referred(Kind::Service, service);
    if changed.contains(&listener_key) {
        let message = format!(
            "leaves TCP streams as they are, and {service_key} wants the PROXY protocol in them"
        );
        errors.push(fault(&listener_key, field, value, message, remedy));
        return;
    }
    let message = format!(
        "wants the PROXY protocol, and {listener_key} with {} {value} leaves TCP streams as they are",
        &field[5..]
    );
    let remedy = format!("there, {remedy}");
    if changed.contains(route) {
        let message = format!("names {service_key}, which {message}");
        errors.push(fault(route, path, service.name.as_str(), message, remedy));
    } else if changed.contains(&service_key) {
        errors.push(fault(&service_key, "spec.proxyProtocol", "V2", message, remedy));
    }
}
