//! What only Envoy can do for a service (a PROXY header, TLS, names, health checks of its own) needs
//! listeners that Envoy carries, and routes that it goes with.

use std::collections::BTreeSet;

use super::{
    concerned::concerned,
    fault::{fault, referred},
};
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    listener::{EngineChoice, Forwarding, Listener},
    object::Spec,
    route::{HttpAction, Reference},
    service::NeedsEnvoy,
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let need =
        |service: &Reference| snapshot.service(&service.namespace, &service.name)?.needs_envoy();
    // Other routes than those that changed are concerned where a service has such a need, or a listener
    // may be XDP's.
    let all = changed.iter().any(|key| match key.kind {
        Kind::Service => {
            let service = snapshot.service(&key.namespace, &key.name);
            service.is_some_and(|service| service.needs_envoy().is_some())
        }
        Kind::Listener => {
            let listener = snapshot.listener(&key.namespace, &key.name);
            listener.is_some_and(|listener| listener.protocol.is_l4())
        }
        _ => false,
    });
    for (key, object) in concerned(snapshot, changed, &[Kind::HttpRoute, Kind::GrpcRoute], all) {
        let Some(route) = object.spec.http_route() else { continue };
        for (rule_index, rule) in route.rules.iter().enumerate() {
            let HttpAction::Forward { backends, .. } = &rule.action else { continue };
            for (index, backend) in backends.iter().enumerate() {
                if need(&backend.service) == Some(NeedsEnvoy::ProxyProtocol) {
                    let path = format!("spec.rules[{rule_index}].backends[{index}].service.name");
                    let need = NeedsEnvoy::ProxyProtocol;
                    carried(changed, (key, &path), (need, &backend.service), HTTP, errors);
                }
            }
        }
    }
    for (key, object) in concerned(snapshot, changed, &[Kind::TlsRoute], all) {
        let Spec::TlsRoute(route) = &object.spec else { continue };
        for (index, backend) in route.backends.iter().enumerate() {
            if need(&backend.service) == Some(NeedsEnvoy::Tls) {
                let path = format!("spec.backends[{index}].service.name");
                let need = NeedsEnvoy::Tls;
                carried(changed, (key, &path), (need, &backend.service), TWICE, errors);
            }
        }
    }
    for (key, object) in concerned(snapshot, changed, &[Kind::TcpRoute, Kind::UdpRoute], all) {
        let (Spec::TcpRoute(route) | Spec::UdpRoute(route)) = &object.spec else { continue };
        for (index, backend) in route.backends.iter().enumerate() {
            let Some(need) = need(&backend.service) else { continue };
            let path = format!("spec.backends[{index}].service.name");
            let without_connection = matches!(need, NeedsEnvoy::ProxyProtocol | NeedsEnvoy::Tls);
            if key.kind == Kind::UdpRoute && without_connection {
                let reason = if need == NeedsEnvoy::Tls { UDP_TLS } else { UDP };
                carried(changed, (key, &path), (need, &backend.service), reason, errors);
                continue;
            }
            for reference in &route.listeners {
                let Some(listener) = snapshot.listener(&reference.namespace, &reference.name)
                else {
                    continue;
                };
                let (route, service) = ((key, path.as_str()), (need, &backend.service));
                attached(changed, route, reference, listener, service, errors);
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
const TWICE: Reason = (
    "clients' own TLS passes through to endpoints, which would be encrypted twice",
    "use a service without it",
);
const UDP_TLS: Reason = ("UDP has no stream to be encrypted", "use a service without it");

/// What a service wants, what that is done to, and the value of the field that asks for it.
fn words(need: NeedsEnvoy) -> (&'static str, &'static str, &'static str) {
    match need {
        NeedsEnvoy::ProxyProtocol => {
            ("wants the PROXY protocol", "leaves TCP streams as they are", "V2")
        }
        NeedsEnvoy::Tls => ("wants TLS", "leaves TCP streams as they are", "{…}"),
        NeedsEnvoy::Dns => ("is found by name", "resolves no names", "{…}"),
        NeedsEnvoy::HealthCheck => ("is checked by Envoy", "knows no checks of Envoy's", "Envoy"),
    }
}

/// Says that a route cannot lead to the service, on the route or else on the service.
fn carried(
    changed: &BTreeSet<ObjectKey>,
    (route, path): (&ObjectKey, &str),
    (need, service): (NeedsEnvoy, &Reference),
    (reason, remedy): Reason,
    errors: &mut Vec<ConfigError>,
) {
    let service_key = referred(Kind::Service, service);
    if changed.contains(route) {
        let message = format!("names {service_key}, which {}, but {reason}", words(need).0);
        errors.push(fault(route, path, service.name.as_str(), message, remedy));
    } else if changed.contains(&service_key) {
        let message = format!("does not go with {route}: {reason}");
        let remedy = "remove it, or let that route lead to another service";
        errors.push(fault(&service_key, need.field(), words(need).2, message, remedy));
    }
}

/// Says that a listener's packets would not pass by Envoy, on the listener or else on who attached
/// the service to it.
fn attached(
    changed: &BTreeSet<ObjectKey>,
    (route, path): (&ObjectKey, &str),
    reference: &Reference,
    listener: &Listener,
    (need, service): (NeedsEnvoy, &Reference),
    errors: &mut Vec<ConfigError>,
) {
    let (wants, does, value_of_field) = words(need);
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
        let message = match need {
            NeedsEnvoy::ProxyProtocol => format!("{does}, and {service_key} {wants} in them"),
            _ => format!("is for XDP, which {does}, and {service_key} {wants}"),
        };
        errors.push(fault(&listener_key, field, value, message, remedy));
        return;
    }
    let message =
        format!("{wants}, and {listener_key} with {} {value} {does}", &field["spec.".len()..]);
    let remedy = format!("there, {remedy}");
    if changed.contains(route) {
        let message = format!("names {service_key}, which {message}");
        errors.push(fault(route, path, service.name.as_str(), message, remedy));
    } else if changed.contains(&service_key) {
        errors.push(fault(&service_key, need.field(), value_of_field, message, remedy));
    }
}
