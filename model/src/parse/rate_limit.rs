//! Reads the spec of a `RateLimit`.

use serde_json::Value;

use super::{
    backend::unique,
    header::edited_name,
    name::{name, namespace},
    reader::{Fields, Node, Read},
    scalar::{duration, whole, word},
};
use crate::{
    key::Kind,
    limits::{MAX_LIMIT_INTERVAL, MAX_LIMIT_TARGETS, MAX_LIMITED_REQUESTS, MIN_LIMIT_INTERVAL},
    qos_policy::LimitScope,
    rate_limit::{LimitedPer, RateLimit, TargetRef},
    route::Reference,
};

const KINDS: [(&str, Kind); 3] =
    [("Listener", Kind::Listener), ("HTTPRoute", Kind::HttpRoute), ("GRPCRoute", Kind::GrpcRoute)];
const SCOPES: [(&str, LimitScope); 2] =
    [("Node", LimitScope::Node), ("Cluster", LimitScope::Cluster)];

pub(super) fn rate_limit(node: &Node<'_>, own_namespace: &str) -> Read<RateLimit> {
    let fields = node.fields()?;
    let target_refs = target_refs(&fields, own_namespace);
    let count = |node: &Node<'_>| whole(node, 1..=MAX_LIMITED_REQUESTS);
    let requests = fields.required("requests", "how many pass in an interval", count);
    let interval = fields.required("interval", "a duration such as 1m", |node| {
        duration(node, MIN_LIMIT_INTERVAL, MAX_LIMIT_INTERVAL)
    });
    let burst = fields.optional("burst", count);
    let per = fields.or("per", LimitedPer::default(), per);
    let scope = fields.or("scope", LimitScope::default(), |node| word(node, &SCOPES));
    let known = fields.finish();
    let requests = requests?;
    let limit = RateLimit {
        target_refs: target_refs?,
        requests,
        interval: interval?,
        burst: burst?.unwrap_or(requests),
        per: per?,
        scope: scope?,
    };
    known.map(|()| limit)
}

/// Reads what a policy is for.
pub(super) fn target_refs(fields: &Fields<'_>, own_namespace: &str) -> Read<Vec<TargetRef>> {
    fields.required("targetRefs", "a list of {kind: …, name: …}", |node| {
        let items = node.items(1, MAX_LIMIT_TARGETS, |node| target_ref(node, own_namespace))?;
        unique(node, &items, |target| target)?;
        items.into_iter().collect()
    })
}

fn target_ref(node: &Node<'_>, own_namespace: &str) -> Read<TargetRef> {
    let fields = node.fields()?;
    let kind =
        fields.required("kind", "Listener, HTTPRoute or GRPCRoute", |node| word(node, &KINDS));
    let name = fields.required("name", "the name of the object", name);
    let namespace = fields.or("namespace", own_namespace.to_owned(), namespace);
    let known = fields.finish();
    let object = Reference { namespace: namespace?, name: name? };
    let target = TargetRef { kind: kind?, object };
    known.map(|()| target)
}

fn per(node: &Node<'_>) -> Read<LimitedPer> {
    if let Value::Object(_) = node.value() {
        let fields = node.fields()?;
        let header = fields.required("header", "the name of the header", edited_name);
        let known = fields.finish();
        let header = header?;
        return known.map(|()| LimitedPer::Header(header));
    }
    word(node, &[("Route", 0), ("Client", 1)]).map(|choice| match choice {
        0 => LimitedPer::Route,
        _ => LimitedPer::Client,
    })
}
