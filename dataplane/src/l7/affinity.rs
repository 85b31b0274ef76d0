//! Which requests go to the same endpoint, as Envoy's hash policies.

use std::time::Duration;

use model::route::Affinity;

use super::pb::{self, route::route_action::HashPolicy};

/// Translates what requests have in common. The source address comes last: it stands in for what a
/// request does not have. Only services balanced by a hash ask for it, but a route need not know
/// which are.
pub(super) fn hash_policies(affinity: Option<&Affinity>) -> Vec<HashPolicy> {
    use super::pb::route::route_action::hash_policy::{
        ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
    };
    let first = affinity.map(|affinity| match affinity {
        Affinity::Header(header) => {
            PolicySpecifier::Header(Header { header_name: header.clone(), ..Default::default() })
        }
        Affinity::Cookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            // Zero is a cookie of the session; without any time Envoy would set no cookie.
            ttl: Some(pb::duration(cookie.ttl.unwrap_or(Duration::ZERO))),
            path: cookie.path.clone(),
            ..Default::default()
        }),
        Affinity::Query(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    });
    let source = PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true });
    let first = first.map(|policy| HashPolicy { terminal: true, policy_specifier: Some(policy) });
    let last = HashPolicy { terminal: false, policy_specifier: Some(source) };
    first.into_iter().chain([last]).collect()
}
