//! Every reference resolves; what others refer to is neither removed nor made unfit for them.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{fault, referred};
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    listener::{Listener, Protocol, access_log::LogTarget},
    object::{Object, Spec},
    packet_filter::PacketFilter,
    rate_limit::TargetRef,
    route::{HttpAction, HttpRoute, Reference, WeightedBackend},
    snapshot::Snapshot,
};

/// The referring objects that one error names; more make it longer, not clearer.
const MAX_NAMED: usize = 5;

/// Referring objects and the paths of their references, by what they refer to.
type Referrers<'a> = BTreeMap<&'a ObjectKey, Vec<(&'a ObjectKey, String)>>;

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    for object in changed.iter().filter_map(|key| snapshot.get(key)) {
        check_object(snapshot, object, errors);
    }
    check_referred(snapshot, changed, errors);
}

/// Checks the references of a changed object.
fn check_object(snapshot: &Snapshot, object: &Object, errors: &mut Vec<ConfigError>) {
    let key = object.key();
    each_reference(&object.spec, &mut |kind, reference, path| {
        let target = referred(kind, reference);
        let name = reference.name.as_str();
        match snapshot.get(&target).map(|object| &object.spec) {
            None => {
                let message = format!("refers to {target}, which does not exist");
                let remedy = "apply it too, or correct the name or namespace";
                errors.push(fault(&key, format!("{}.name", path()), name, message, remedy));
            }
            Some(Spec::Listener(listener)) if !fits(key.kind, listener) => {
                let message = format!("refers to {target}, which speaks {}", spoken(listener));
                let remedy = format!("name a listener that speaks {}", wanted(key.kind));
                errors.push(fault(&key, format!("{}.name", path()), name, message, remedy));
            }
            Some(_) => {}
        }
    });
}

/// Checks what unchanged objects refer to among the changed objects.
fn check_referred(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let suspects: BTreeMap<(Kind, &str, &str), &ObjectKey> = changed
        .iter()
        .filter(|key| match key.kind {
            Kind::Listener => true,
            Kind::Service
            | Kind::PrefixList
            | Kind::AuthPolicy
            | Kind::Certificate
            | Kind::Issuer
            | Kind::HttpRoute
            | Kind::GrpcRoute => snapshot.get(key).is_none(),
            Kind::TlsRoute
            | Kind::TcpRoute
            | Kind::UdpRoute
            | Kind::PacketFilter
            | Kind::QosPolicy
            | Kind::RateLimit
            | Kind::FilterModule
            | Kind::RolloutPolicy => false,
        })
        .map(|key| ((key.kind, key.name.as_str(), key.namespace.as_str()), key))
        .collect();
    if suspects.is_empty() {
        return;
    }
    let mut broken = Referrers::new();
    let referring = [
        Kind::Listener,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TlsRoute,
        Kind::TcpRoute,
        Kind::UdpRoute,
        Kind::PacketFilter,
        Kind::QosPolicy,
        Kind::AuthPolicy,
        Kind::Certificate,
        Kind::RateLimit,
        Kind::FilterModule,
    ];
    for (key, object) in referring.into_iter().flat_map(|kind| snapshot.of_kind(kind)) {
        if changed.contains(key) {
            continue;
        }
        each_reference(&object.spec, &mut |kind, reference, path| {
            let target = (kind, reference.name.as_str(), reference.namespace.as_str());
            let Some(&target) = suspects.get(&target) else { return };
            let fits = match snapshot.get(target).map(|object| &object.spec) {
                Some(Spec::Listener(listener)) => fits(key.kind, listener),
                Some(_) => true,
                None => false,
            };
            if !fits {
                broken.entry(target).or_default().push((key, path()));
            }
        });
    }
    errors.extend(broken.into_iter().map(|(target, by)| broken_reference(snapshot, target, &by)));
}

fn broken_reference(
    snapshot: &Snapshot,
    target: &ObjectKey,
    by: &[(&ObjectKey, String)],
) -> ConfigError {
    let mut named: Vec<String> =
        by.iter().take(MAX_NAMED).map(|(key, path)| format!("{key} ({path})")).collect();
    if by.len() > MAX_NAMED {
        named.push(format!("{} more", by.len() - MAX_NAMED));
    }
    let named = named.join(", ");
    match snapshot.listener(&target.namespace, &target.name) {
        Some(listener) if target.kind == Kind::Listener => {
            let message = format!("does not fit what attaches to it: {named}");
            let remedy = "change or remove those in the same apply";
            fault(target, "spec.protocol", spoken(listener), message, remedy)
        }
        _ => {
            let message = format!("is removed, and still referred to by {named}");
            let remedy = "change or remove those first, or in the same apply";
            fault(target, "", serde_json::Value::Null, message, remedy)
        }
    }
}

/// Takes a reference: the kind of its target, itself, and a function that makes its path.
type Visit<'v> = &'v mut dyn FnMut(Kind, &Reference, &dyn Fn() -> String);

/// Calls `visit` for each reference.
fn each_reference(spec: &Spec, visit: Visit<'_>) {
    match spec {
        Spec::Service(_) | Spec::PrefixList(_) | Spec::RolloutPolicy(_) | Spec::Issuer(_) => {}
        Spec::Certificate(certificate) => {
            if let Some(issued) = certificate.issued() {
                visit(Kind::Issuer, &issued.issuer, &|| "spec.issuer".to_owned());
            }
        }
        Spec::Listener(listener) => {
            each_collector(listener, visit);
            each_certificate(listener, visit);
        }
        Spec::TcpRoute(route) | Spec::UdpRoute(route) => {
            each_listener(&route.listeners, visit);
            each_backend(&route.backends, &|| "spec".to_owned(), visit);
        }
        Spec::TlsRoute(route) => {
            each_listener(&route.listeners, visit);
            each_backend(&route.backends, &|| "spec".to_owned(), visit);
        }
        Spec::HttpRoute(route) => each_of_http(route, visit),
        Spec::GrpcRoute(route) => each_of_http(route.as_http(), visit),
        Spec::PacketFilter(filter) => each_list(filter, visit),
        Spec::QosPolicy(policy) => each_listener(&policy.listeners, visit),
        Spec::RateLimit(limit) => each_target(&limit.target_refs, visit),
        Spec::FilterModule(module) => each_target(&module.target_refs, visit),
        Spec::AuthPolicy(policy) => {
            for (path, service) in policy.services() {
                visit(Kind::Service, service, &|| path.clone());
            }
        }
    }
}

fn each_of_http(route: &HttpRoute, visit: Visit<'_>) {
    each_listener(&route.listeners, visit);
    for (index, rule) in route.rules.iter().enumerate() {
        if let HttpAction::Forward { backends, .. } = &rule.action {
            each_backend(backends, &|| format!("spec.rules[{index}]"), visit);
        }
        for (mirror, to) in rule.mirrors.iter().enumerate() {
            visit(Kind::Service, &to.service, &|| {
                format!("spec.rules[{index}].mirrors[{mirror}].service")
            });
        }
        if let Some(policy) = &rule.filters.auth {
            visit(Kind::AuthPolicy, policy, &|| format!("spec.rules[{index}].auth"));
        }
    }
}

fn each_target(targets: &[TargetRef], visit: Visit<'_>) {
    for (index, target) in targets.iter().enumerate() {
        visit(target.kind, &target.object, &|| format!("spec.targetRefs[{index}]"));
    }
}

fn each_collector(listener: &Listener, visit: Visit<'_>) {
    for (index, log) in listener.access_logs.iter().enumerate() {
        if let LogTarget::Otlp(otlp) = &log.to {
            visit(Kind::Service, &otlp.service, &|| {
                format!("spec.accessLogs[{index}].otlp.service")
            });
        }
    }
}

fn each_certificate(listener: &Listener, visit: Visit<'_>) {
    let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
    for (index, certificate) in certificates.enumerate() {
        visit(Kind::Certificate, certificate, &|| format!("spec.tls.certificates[{index}]"));
    }
}

fn each_list(filter: &PacketFilter, visit: Visit<'_>) {
    for (rule, content) in filter.rules.iter().enumerate() {
        for (index, list) in content.source_lists.iter().enumerate() {
            visit(Kind::PrefixList, list, &|| format!("spec.rules[{rule}].sourceLists[{index}]"));
        }
    }
}

fn each_listener(listeners: &[Reference], visit: Visit<'_>) {
    for (index, listener) in listeners.iter().enumerate() {
        visit(Kind::Listener, listener, &|| format!("spec.listeners[{index}]"));
    }
}

fn each_backend(backends: &[WeightedBackend], parent: &dyn Fn() -> String, visit: Visit<'_>) {
    for (index, backend) in backends.iter().enumerate() {
        visit(Kind::Service, &backend.service, &|| {
            format!("{}.backends[{index}].service", parent())
        });
    }
}

/// Tells whether objects of a kind may attach to a listener.
fn fits(route: Kind, listener: &Listener) -> bool {
    match route {
        Kind::HttpRoute | Kind::GrpcRoute | Kind::RateLimit | Kind::FilterModule => {
            listener.protocol.is_http()
        }
        Kind::TlsRoute => listener.protocol == Protocol::Tls,
        Kind::TcpRoute => listener.protocol == Protocol::Tcp,
        Kind::UdpRoute => listener.protocol == Protocol::Udp,
        Kind::QosPolicy => listener.protocol.is_l4(),
        Kind::Listener
        | Kind::Service
        | Kind::PacketFilter
        | Kind::PrefixList
        | Kind::AuthPolicy
        | Kind::RolloutPolicy
        | Kind::Certificate
        | Kind::Issuer => true,
    }
}

fn wanted(route: Kind) -> &'static str {
    match route {
        Kind::TlsRoute => "TLS",
        Kind::TcpRoute => "TCP",
        Kind::UdpRoute => "UDP",
        Kind::QosPolicy => "TCP or UDP",
        Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::Listener
        | Kind::Service
        | Kind::PacketFilter
        | Kind::PrefixList
        | Kind::AuthPolicy
        | Kind::RateLimit
        | Kind::FilterModule
        | Kind::RolloutPolicy
        | Kind::Certificate
        | Kind::Issuer => "HTTP or HTTPS",
    }
}

fn spoken(listener: &Listener) -> &'static str {
    match listener.protocol {
        Protocol::Http => "HTTP",
        Protocol::Https => "HTTPS",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}
