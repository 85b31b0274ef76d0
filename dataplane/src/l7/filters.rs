//! The HTTP filters of a listener: the one that checks tokens, a composite filter, then the router. (Before
//! them stand what tells of HTTP/3, where it is spoken, and what answers challenges of ACME, where an
//! issuer is asked by it; before the router those of compression, where the listener asks for it.) What
//! a route asks for
//! beyond forwarding is a chain of filters that the route itself carries, so a route that begins to
//! ask for it touches no listener, whose change would drain connections.
//!
//! ```text
//! request --exact host--> route found --> tokens: off, or what the route demands
//!                                     --> composite: off, or the chain of the route --> router
//!         --no scope----> no route -----> composite: scripts find a route (`miss`),
//!                                         then a nested one: the chain of that route,
//!                                         or tokens and the chain behind them (`jwt`) --> router
//! ```
//!
//! Every route table turns the composite off (`FilterConfig.disabled`), and a route with a chain
//! turns it on. Envoy makes the filters of a request after it chose the route, so a host with a
//! scope pays nothing. A request that found no scope has no route then, and its composite is on.
//! What has to do with tokens is off wherever no route turns it on, which costs no table anything.
//!
//! **Invariant.** The chain of a route runs whichever way the route was found: the composite makes
//! it when the request's headers pass, by the route of that moment. (Filters that stand in the
//! listener themselves would not be there for routes that the scripts find.)

mod alt_svc;
mod api_keys;
mod basic;
mod challenge;
mod claims;
pub(super) mod cluster_limits;
mod compression;
pub(super) mod cors;
mod external;
mod fault;
mod grpc_web;
pub(super) mod jwt;
mod limit;
pub(super) mod miss;
mod removal;
mod session;

use std::collections::HashMap;

use model::{
    AuthPolicy, ObjectKey, RateLimit,
    listener::Compression,
    route::{HttpRule, RuleFilters},
};

use super::pb::{self, Any, composite, core, hcm, route, router, xds_core, xds_matcher};

/// The name of the composite filter, nested or not, and of its settings in routes.
const NAME: &str = "marchproxy";

/// Names what a policy's filters are made of beside its fields, so that Envoys are told when it changes.
pub(super) fn made_of(policy: &AuthPolicy) -> impl Iterator<Item = &'static str> {
    let script = policy.api_keys.as_ref().map(|_| api_keys::SCRIPT);
    let says = policy.external.as_ref().is_some_and(|it| !it.upstream_headers.is_empty());
    script.into_iter().chain(says.then_some("what is said is taken off clients"))
}

/// What a listener does beyond what its routes ask for.
#[derive(Debug, Default)]
pub(super) struct Extras<'a> {
    /// What clients are told of other ports.
    pub(super) alt_svc: Option<String>,
    /// Whether challenges of ACME are answered.
    pub(super) challenges: bool,
    /// How answers are compressed.
    pub(super) compression: Option<&'a Compression>,
}

/// The policy that a rule refers to, by name.
pub(super) type Policy<'a> = (&'a str, &'a AuthPolicy);

/// Returns the filters of an HTTP listener.
pub(super) fn listener(extras: Extras<'_>) -> Vec<hcm::HttpFilter> {
    let limited = [cluster_limits::behind_scripts()];
    let missed = miss::filters().into_iter().chain(limited).chain(jwt::or_chain()).collect();
    let composite = composite::Composite { matcher: Some(always(missed)), ..Default::default() };
    let mut filters: Vec<_> = extras.alt_svc.map(alt_svc::filter).into_iter().collect();
    filters.extend(extras.challenges.then(challenge::filter));
    let [tokens, behind] = jwt::filters();
    filters.extend([tokens, cluster_limits::of_listener(), behind]);
    filters.push(filter(NAME, pb::any(&composite)));
    filters.extend(extras.compression.into_iter().flat_map(compression::filters));
    filters.push(router());
    filters
}

/// Returns the last filter.
pub(super) fn router() -> hcm::HttpFilter {
    let router = router::Router { suppress_envoy_headers: true, ..Default::default() };
    filter("envoy.filters.http.router", pb::any(&router))
}

/// Returns the settings of a route table: no chain, unless a route has one.
pub(super) fn of_table() -> HashMap<String, Any> {
    let off = route::FilterConfig { disabled: true, ..Default::default() };
    HashMap::from([(NAME.to_owned(), pb::any(&off))])
}

/// A limit of requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) limit: &'a RateLimit,
    /// The listener or route by which it is for a route.
    pub(super) target: &'a ObjectKey,
}

/// Returns the settings of a route: the chain of what its rule asks for, with the policy that the
/// rule refers to, behind the filter that checks tokens when it demands one, and with the limits of its
/// requests; and whether its answers are compressed where the rule says it.
pub(super) fn of_route(
    rule: &HttpRule,
    auth: Option<Policy<'_>>,
    limits: &[Limit<'_>],
) -> HashMap<String, Any> {
    let mut settings = of_chain(auth, chain(&rule.filters, auth, limits));
    settings.extend(rule.filters.compression.map(compression::of_route));
    let limits = cluster_limits::of_route(limits, counts_preflights(rule, auth.map(|it| it.1)));
    settings.extend(limits.map(|limits| (cluster_limits::NAME.to_owned(), limits)));
    settings
}

/// Tells whether preflights of CORS count: where the rule has no CORS, they are requests as others. Where it
/// demands a token they carry none, and do not get further than to CORS.
pub(super) fn counts_preflights(rule: &HttpRule, auth: Option<&AuthPolicy>) -> bool {
    rule.filters.cors.is_none() && auth.is_none_or(|policy| policy.jwt.is_none())
}

fn of_chain(
    auth: Option<Policy<'_>>,
    chain: Vec<core::TypedExtensionConfig>,
) -> HashMap<String, Any> {
    if chain.is_empty() {
        return HashMap::new();
    }
    let composite = composite::CompositePerRoute { matcher: Some(always(chain)) };
    let chain = on(pb::any(&composite));
    match auth {
        Some((name, AuthPolicy { jwt: Some(_), .. })) => jwt::of_route(name, chain),
        _ => HashMap::from([(NAME.to_owned(), chain)]),
    }
}

/// Makes the chain of a rule. A request meets the filters in this order, an answer in the reverse:
/// preflights, which carry no credentials, are answered before anything else happens to them, and who
/// may not send a request causes no fault. Requests are counted before keys and passwords are looked at, so
/// that these cannot be tried out, but behind tokens: without one nobody uses up what others may. gRPC-Web is gRPC to all that come after, so that what they
/// answer is a status.
fn chain(
    wanted: &RuleFilters,
    auth: Option<Policy<'_>>,
    limits: &[Limit<'_>],
) -> Vec<core::TypedExtensionConfig> {
    let mut chain = Vec::new();
    chain.extend(wanted.cors.as_ref().map(|_| cors::filter()));
    chain.extend(wanted.grpc_web.then(grpc_web::filter));
    if let Some((name, AuthPolicy { jwt: Some(jwt), .. })) = auth {
        chain.push(claims::filter(name, jwt));
    }
    chain.extend(limits.iter().map(limit::filter));
    if let Some((_, policy)) = auth {
        chain.extend(policy.api_keys.iter().flat_map(api_keys::filters));
        chain.extend(policy.basic.as_ref().map(basic::filter));
        chain.extend(policy.external.iter().flat_map(external::filters));
    }
    chain.extend(wanted.fault.iter().flat_map(fault::filters));
    chain.extend(wanted.session_persistence.as_ref().map(session::filter));
    chain
}

/// Turns a filter on that is off.
fn on(config: Any) -> Any {
    pb::any(&route::FilterConfig { config: Some(config), ..Default::default() })
}

/// Runs a chain for every request.
fn always(chain: Vec<core::TypedExtensionConfig>) -> xds_matcher::Matcher {
    pb::always(run(chain))
}

/// Runs a chain.
fn run(chain: Vec<core::TypedExtensionConfig>) -> xds_core::TypedExtensionConfig {
    action(&composite::ExecuteFilterAction {
        filter_chain: Some(composite::FilterChainConfiguration { typed_config: chain }),
        ..Default::default()
    })
}

fn action(action: &composite::ExecuteFilterAction) -> xds_core::TypedExtensionConfig {
    xds_core::TypedExtensionConfig { name: "chain".into(), typed_config: Some(pb::any(action)) }
}

fn filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// Makes the composite filter within a chain, which runs the chain of the route.
fn nested() -> core::TypedExtensionConfig {
    extension(NAME, &composite::Composite::default())
}

/// Makes an entry of a chain.
fn extension(name: &str, config: &impl prost::Name) -> core::TypedExtensionConfig {
    core::TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pb::any(config)) }
}
