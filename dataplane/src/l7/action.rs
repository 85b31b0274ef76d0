//! What happens to a request, as Envoy's route actions.

use std::{sync::Arc, time::Duration};

use model::route::{
    Cors, DirectResponse, HttpAction, HttpRule, Mirror, PathMatch, Redirect, Rewrite, Timeouts,
    WeightedBackend,
};

use super::{
    affinity, filters, names,
    pb::{self, core, route},
    retries, rewrite,
    table::Sink,
};

/// Translates a rule's action for one of its matches.
pub(super) fn action(
    rule: &HttpRule,
    matched: &PathMatch,
    field: &str,
    sink: &mut Sink<'_>,
) -> route::route::Action {
    use route::route::Action;
    match &rule.action {
        HttpAction::Redirect(to) => Action::Redirect(redirect(to, matched, field, sink)),
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
    use route::route_action::{ClusterNotFoundResponseCode, HostRewriteSpecifier};
    let mut action = route::RouteAction {
        cluster_specifier: clusters(backends, sink),
        // A service that is not there is our fault, not an endpoint's: 500, not 503.
        cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError as i32,
        // Zero is unlimited: Envoy's default of 15 s would cut long downloads.
        timeout: Some(pb::duration(rule.timeouts.timeout.unwrap_or(Duration::ZERO))),
        idle_timeout: rule.timeouts.stream_idle_timeout.map(pb::duration),
        max_stream_duration: max_stream_duration(&rule.timeouts),
        retry_policy: rule.retries.as_ref().map(retries::policy),
        request_mirror_policies: rule.mirrors.iter().map(|to| mirror(to, sink)).collect(),
        hash_policy: affinity::hash_policies(rule.affinity.as_ref()),
        ..Default::default()
    };
    set_cors(&mut action, rule.filters.cors.as_ref());
    if let Some(rewrite) = rewrite {
        if let Some(path) = &rewrite.path {
            sink.origin(format!("{field}.rewrite.path"), path);
            rewrite::path(&mut action, matched, path);
        }
        if let Some(regex) = &rewrite.path_regex {
            sink.origin(format!("{field}.rewrite.pathRegex.pattern"), &regex.pattern);
            sink.origin(format!("{field}.rewrite.pathRegex.substitution"), &regex.substitution);
            action.regex_rewrite = Some(rewrite::regex(&regex.pattern, &regex.substitution));
        }
        if let Some(header) = &rewrite.host_from_header {
            sink.origin(format!("{field}.rewrite.hostFromHeader"), header);
            action.host_rewrite_specifier =
                Some(HostRewriteSpecifier::HostRewriteHeader(header.clone()));
        }
        if let Some(host) = &rewrite.host {
            sink.origin(format!("{field}.rewrite.host"), host);
            action.host_rewrite_specifier =
                Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
        }
    }
    action
}

#[expect(deprecated, reason = "the filter of CORS finds the policy nowhere else, see there")]
fn set_cors(action: &mut route::RouteAction, cors: Option<&Cors>) {
    action.cors = cors.map(filters::cors::policy);
}

fn max_stream_duration(timeouts: &Timeouts) -> Option<route::route_action::MaxStreamDuration> {
    let Timeouts { max_stream_duration, grpc_timeout_header_max, .. } = *timeouts;
    let bounded = max_stream_duration.is_some() || grpc_timeout_header_max.is_some();
    bounded.then(|| route::route_action::MaxStreamDuration {
        max_stream_duration: max_stream_duration.map(pb::duration),
        grpc_timeout_header_max: grpc_timeout_header_max.map(pb::duration),
        ..Default::default()
    })
}

fn mirror(to: &Mirror, sink: &mut Sink<'_>) -> route::route_action::RequestMirrorPolicy {
    let name = names::reference(&to.service);
    sink.cluster(name.clone());
    route::route_action::RequestMirrorPolicy {
        cluster: name.to_string(),
        runtime_fraction: Some(core::RuntimeFractionalPercent {
            default_value: Some(pb::percent(to.percent)),
            ..Default::default()
        }),
        // The copy is to be the request, its host included.
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    }
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

fn redirect(
    redirect: &Redirect,
    matched: &PathMatch,
    field: &str,
    sink: &mut Sink<'_>,
) -> route::RedirectAction {
    use route::{
        RedirectAction,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    };
    for (name, text) in [
        ("host", &redirect.host),
        ("path", &redirect.path),
        ("replacePrefix", &redirect.replace_prefix),
    ] {
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
    let path = match (&redirect.path, &redirect.replace_prefix) {
        (Some(path), _) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
        (None, Some(prefix)) => Some(rewrite::redirected(matched, prefix)),
        (None, None) => None,
    };
    RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.map_or(0, u32::from),
        response_code: code as i32,
        scheme_rewrite_specifier: redirect
            .scheme
            .clone()
            .map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
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
