//! Services that a GRPCRoute leads to, or that an AuthPolicy has asked over gRPC, speak HTTP/2: over
//! HTTP/1.1 no gRPC call gets through.

use std::collections::BTreeSet;

use super::fault::{fault, referred};
use crate::{
    auth_policy::{External, ExternalProtocol},
    error::ConfigError,
    key::{Kind, ObjectKey},
    object::Spec,
    route::{GrpcRule, Reference},
    service::HttpProtocol,
    snapshot::Snapshot,
};

const REMEDY: &str = "write protocol: HTTP2 in the service, or protocol: Auto beside its tls";

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let kinds = [Kind::GrpcRoute, Kind::Service, Kind::AuthPolicy];
    if !changed.iter().any(|key| kinds.contains(&key.kind)) {
        return;
    }
    let mut check = |key: &ObjectKey, reference: &Reference, path: String| {
        let Some(service) = snapshot.service(&reference.namespace, &reference.name) else {
            return;
        };
        let protocol = service.upstream.protocol.unwrap_or(HttpProtocol::Http1);
        if protocol != HttpProtocol::Http1 {
            return;
        }
        let service = referred(Kind::Service, reference);
        if changed.contains(key) {
            let message = format!("names {service}, which speaks HTTP/1.1, and gRPC needs HTTP/2");
            errors.push(fault(key, path, reference.name.as_str(), message, REMEDY));
        } else if changed.contains(&service) {
            let message = format!("is HTTP1, and gRPC needs HTTP/2: {key} ({path})");
            let remedy = "write HTTP2, or Auto beside tls, or let that object name another one";
            errors.push(fault(&service, "spec.protocol", "HTTP1", message, remedy));
        }
    };
    for (key, route) in snapshot.grpc_routes() {
        for (index, rule) in route.rules().iter().enumerate() {
            each_service(rule, &mut |reference, path| {
                check(key, reference, format!("spec.rules[{index}].{path}.service.name"));
            });
        }
    }
    for (key, object) in snapshot.of_kind(Kind::AuthPolicy) {
        let Spec::AuthPolicy(policy) = &object.spec else { continue };
        let over_grpc = |it: &&External| it.protocol == ExternalProtocol::Grpc;
        if let Some(external) = policy.external.as_ref().filter(over_grpc) {
            check(key, &external.service, "spec.external.service.name".to_owned());
        }
    }
}

/// Calls `visit` for each service of a rule, with its path in the rule.
fn each_service(rule: &GrpcRule, visit: &mut dyn FnMut(&Reference, String)) {
    for (index, backend) in rule.backends.iter().enumerate() {
        visit(&backend.service, format!("backends[{index}]"));
    }
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        visit(&mirror.service, format!("mirrors[{index}]"));
    }
}
