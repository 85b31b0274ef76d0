//! Reads the spec of a `GRPCRoute` and its rules.

use super::{
    backend::{backends, listeners},
    cors::cors,
    forwarding::forwarding,
    header::{header_name, header_value},
    http_match::{conditions, named_match},
    http_route::{MatchesOfRules, distinct_matches, hosts},
    name::reference,
    pattern::{regex, whole_match},
    reader::{Fields, Node, Read},
    scalar::{boolean, bounded},
};
use crate::{
    limits::{MAX_MATCHES, MAX_RULES, MAX_TOKEN_BYTES},
    route::{GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, NameMatch, PathMatch, RuleFilters},
};

const DIFFER: &str = "remove it, or make it differ in method or headers";

pub(super) fn grpc_route(node: &Node<'_>, namespace: &str) -> Read<GrpcRoute> {
    let fields = node.fields()?;
    let listeners =
        fields.required("listeners", "a list of {name: …}", |node| listeners(node, namespace));
    let hosts = fields.required("hosts", "a list of hosts, or [\"*\"] for every host", hosts);
    let rules = fields.required("rules", "a list of rules", |node| {
        let mut matches = MatchesOfRules::new();
        let rules = node.items(1, MAX_RULES, |node| rule(node, namespace, &mut matches))?;
        let distinct = distinct_matches(node, &matches, DIFFER);
        let rules = rules.into_iter().collect::<Read<Vec<GrpcRule>>>()?;
        distinct.map(|()| rules)
    });
    let known = fields.finish();
    let route = GrpcRoute::new(listeners?, hosts?, rules?);
    known.map(|()| route)
}

fn rule(node: &Node<'_>, namespace: &str, all: &mut MatchesOfRules) -> Read<GrpcRule> {
    all.push(Vec::new());
    let fields = node.fields()?;
    let matches = matches(&fields, all);
    let backends = fields.required("backends", "a list of {service: {name: …}}", |node| {
        backends(node, namespace) //
    });
    let forwarding = forwarding(&fields, namespace);
    let cors = fields.optional("cors", cors);
    let auth = fields.optional("auth", |node| reference(node, namespace));
    let grpc_web = fields.or("grpcWeb", false, boolean);
    let known = fields.finish();
    let (matches, backends, forwarding) = (matches?, backends?, forwarding?);
    let rule = GrpcRule {
        matches,
        backends,
        request_headers: forwarding.request_headers,
        response_headers: forwarding.response_headers,
        timeouts: forwarding.timeouts,
        retries: forwarding.retries,
        filters: RuleFilters {
            fault: forwarding.fault,
            cors: cors?,
            auth: auth?,
            session_persistence: forwarding.session_persistence,
            compression: None,
            grpc_web: grpc_web?,
        },
        mirrors: forwarding.mirrors,
        affinity: forwarding.affinity,
    };
    known.map(|()| rule)
}

fn matches(fields: &Fields<'_>, all: &mut MatchesOfRules) -> Read<Vec<GrpcMatch>> {
    let items = fields.or("matches", Vec::new(), |node| node.items(0, MAX_MATCHES, grpc_match))?;
    let every_call = GrpcMatch { method: None, headers: Vec::new() };
    let items = if items.is_empty() { vec![Ok(every_call)] } else { items };
    if let Some(last) = all.last_mut() {
        last.extend(items.iter().map(|item| match item {
            Ok(condition) => Ok(condition.as_http()),
            Err(reported) => Err(*reported),
        }));
    }
    items.into_iter().collect()
}

fn grpc_match(node: &Node<'_>) -> Read<GrpcMatch> {
    let fields = node.fields()?;
    let method = fields.optional("method", grpc_method);
    let headers = fields.or("headers", Vec::new(), |node| {
        conditions(node, |node| named_match(node, header_name, header_value))
    });
    let known = fields.finish();
    let condition = GrpcMatch { method: method?, headers: headers? };
    known.map(|()| condition)
}

fn grpc_method(node: &Node<'_>) -> Read<GrpcMethod> {
    let fields = node.fields()?;
    let service = fields.optional("service", |node| name_match(node, service_name));
    let method = fields.optional("method", |node| name_match(node, method_name));
    fields.finish()?;
    let method = GrpcMethod { service: service?, method: method? };
    if method.service.is_none() && method.method.is_none() {
        let remedy = "add service or method, or remove it to match every call";
        return Err(node.error("says not what is called", remedy));
    }
    // Each part alone was small enough.
    if let PathMatch::Regex(path) = method.as_path()
        && whole_match(&path).is_err()
    {
        let remedy = "use fewer or smaller repetitions";
        return Err(node.error("is too large when compiled", remedy));
    }
    Ok(method)
}

fn name_match(node: &Node<'_>, exact: fn(&Node<'_>) -> Read<String>) -> Read<NameMatch> {
    let fields = node.fields()?;
    let exact = fields.optional("exact", exact);
    let regex = fields.optional("regex", regex);
    fields.finish()?;
    match (exact?, regex?) {
        (Some(name), None) => Ok(NameMatch::Exact(name)),
        (None, Some(regex)) => Ok(NameMatch::Regex(regex)),
        _ => Err(node.error(
            "has not exactly one of exact and regex",
            "write one of them, such as {exact: shop.v1.Cart}",
        )),
    }
}

fn service_name(node: &Node<'_>) -> Read<String> {
    let name = bounded(node, 1, MAX_TOKEN_BYTES)?;
    if name.contains('/') {
        let remedy = "write the service alone, with its package, such as shop.v1.Cart";
        return Err(node.error("holds a /, which divides service and method", remedy));
    }
    if !name.split('.').all(is_identifier) {
        let remedy = "write it with its package, such as shop.v1.Cart";
        return Err(node.error("is not the name of a gRPC service", remedy));
    }
    Ok(name)
}

fn method_name(node: &Node<'_>) -> Read<String> {
    let name = bounded(node, 1, MAX_TOKEN_BYTES)?;
    if !is_identifier(&name) {
        let remedy = "write one such as AddItem, without its service";
        return Err(node.error("is not the name of a gRPC method", remedy));
    }
    Ok(name)
}

/// Tells whether a text is an identifier of Protocol Buffers.
fn is_identifier(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.bytes().all(word) && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}
