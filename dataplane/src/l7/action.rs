//! What happens to a request, as Envoy's route actions.

use std::{sync::Arc, time::Duration};

use model::route::{
    DirectResponse, HttpAction, HttpRule, PathMatch, Redirect, Retries, Rewrite, WeightedBackend,
};

use super::{
    names,
    pb::{self, core, previous_hosts, route},
    rewrite,
    table::Sink,
};

/// Other endpoints that a retry looks for before it takes one that was tried.
const OTHER_HOST_ATTEMPTS: i64 = 3;
/// The longest pause between tries, in first pauses; Envoy's own default.
const LONGEST_BACKOFF: u32 = 10;

/// Translates a rule's action for one of its matches.
pub(super) fn action(
    rule: &HttpRule,
    matched: &PathMatch,
    field: &str,
    sink: &mut Sink<'_>,
) -> route::route::Action {
    use route::route::Action;
    match &rule.action {
        HttpAction::Redirect(to) => Action::Redirect(redirect(to, field, sink)),
        HttpAction::DirectResponse(answer) => Action::DirectResponse(direct_response(answer)),
        HttpAction::Forward { backends, rewrite } => {
            Action::Route(forward(rule, backends, rewrite.as_ref(), matched, field, sink))
        }
    }
}

fn forward(
    rule: &HttpRule,
    backends: &[WeightedBackend],
    rewrite: Option<&Rewrite>,
    matched: &PathMatch,
    field: &str,
    sink: &mut Sink<'_>,
) -> route::RouteAction {
    use route::route_action::{
        ClusterNotFoundResponseCode, HashPolicy, HostRewriteSpecifier,
        hash_policy::{ConnectionProperties, PolicySpecifier},
    };
    let mut action = route::RouteAction {
        cluster_specifier: clusters(backends, sink),
        // A service that is not there is our fault, not an endpoint's: 500, not 503.
        cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError as i32,
        // Zero is unlimited: Envoy's default of 15 s would cut long downloads.
        timeout: Some(pb::duration(rule.timeout.unwrap_or(Duration::ZERO))),
        retry_policy: rule.retries.as_ref().map(retry_policy),
        // Only services balanced by Maglev ask for it, but a route need not know which are.
        hash_policy: vec![HashPolicy {
            policy_specifier: Some(PolicySpecifier::ConnectionProperties(ConnectionProperties {
                source_ip: true,
            })),
            ..Default::default()
        }],
        ..Default::default()
    };
    if let Some(rewrite) = rewrite {
        if let Some(path) = &rewrite.path {
            sink.origin(format!("{field}.rewrite.path"), path);
            rewrite::path(&mut action, matched, path);
        }
        if let Some(host) = &rewrite.host {
            sink.origin(format!("{field}.rewrite.host"), host);
            action.host_rewrite_specifier =
                Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
        }
    }
    action
}

fn clusters(
    backends: &[WeightedBackend],
    sink: &mut Sink<'_>,
) -> Option<route::route_action::ClusterSpecifier> {
    use route::{WeightedCluster, route_action::ClusterSpecifier, weighted_cluster::ClusterWeight};
    let used: Vec<(Arc<str>, u32)> = backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|backend| (names::reference(&backend.service), backend.weight))
        .collect();
    for (name, _) in &used {
        sink.cluster(name.clone());
    }
    Some(match used.as_slice() {
        [(name, _)] => ClusterSpecifier::Cluster(name.to_string()),
        _ => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: used
                .iter()
                .map(|(name, weight)| ClusterWeight {
                    name: name.to_string(),
                    weight: Some(pb::uint32(*weight)),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
    })
}

fn retry_policy(retries: &Retries) -> route::RetryPolicy {
    use route::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType};
    let on: Vec<&str> = retries.on.iter().map(|on| on.as_str()).collect();
    // Envoy refuses pauses under a millisecond.
    let base = retries.backoff.max(Duration::from_millis(1));
    route::RetryPolicy {
        retry_on: on.join(","),
        num_retries: Some(pb::uint32(retries.attempts)),
        per_try_timeout: retries.per_try_timeout.map(pb::duration),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(pb::duration(base)),
            max_interval: Some(pb::duration(base * LONGEST_BACKOFF)),
        }),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".into(),
            config_type: Some(ConfigType::TypedConfig(pb::any(
                &previous_hosts::PreviousHostsPredicate {},
            ))),
        }],
        host_selection_retry_max_attempts: OTHER_HOST_ATTEMPTS,
        ..Default::default()
    }
}

fn redirect(redirect: &Redirect, field: &str, sink: &mut Sink<'_>) -> route::RedirectAction {
    use route::{
        RedirectAction,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    };
    for (name, text) in [("host", &redirect.host), ("path", &redirect.path)] {
        if let Some(text) = text {
            sink.origin(format!("{field}.redirect.{name}"), text);
        }
    }
    let code = match redirect.status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.map_or(0, u32::from),
        response_code: code as i32,
        scheme_rewrite_specifier: redirect
            .scheme
            .clone()
            .map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: redirect.path.clone().map(PathRewriteSpecifier::PathRedirect),
        ..Default::default()
    }
}

fn direct_response(answer: &DirectResponse) -> route::DirectResponseAction {
    use core::data_source::Specifier;
    route::DirectResponseAction {
        status: u32::from(answer.status),
        body: (!answer.body.is_empty()).then(|| core::DataSource {
            specifier: Some(Specifier::InlineString(answer.body.clone())),
            ..Default::default()
        }),
        ..Default::default()
    }
}
