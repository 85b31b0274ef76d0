//! The HTTP filters of a listener: those that find a route, look at sessions, check tokens and count for all
//! nodes, those that run what a route carries, then the router. (Before them stand what tells of HTTP/3, where
//! it is spoken, and what answers challenges of ACME, where an issuer is asked by it; before the router those
//! of compression, where the listener asks for it.) What a route asks for beyond forwarding is chains of
//! filters that the route itself carries, so a route that begins to ask for it touches no listener, whose
//! change would drain connections.
//!
//! ```text
//! request --exact host--> route found --> each filter: off, or what the route asks for -------> router
//!         --no scope----> no route -----> find: scripts find a route (`miss`),
//!                                         then each filter: nothing, or what that route asks for --> router
//! ```
//!
//! Every route table turns all of them off (`FilterConfig.disabled`), and a route turns on those that it
//! asks for. Envoy makes the filters of a request after it chose the route, so a host with a
//! scope pays nothing. A request that found no scope has no route then, and has them all; they look at the
//! route of the moment when the request's headers pass.
//!
//! **Invariant.** The chain of a route runs whichever way the route was found, and runs to its end: Envoy
//! goes on behind a composite where one of its filters had the request wait, so what may (who asks a service,
//! a delay) is the last one of its chain.

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
mod module;
pub(super) mod oidc;
mod removal;
mod session;

use std::{collections::HashMap, path::Path};

use model::{
    AuthPolicy, FilterModule, ObjectKey, RateLimit,
    listener::Compression,
    route::{HttpRule, RuleFilters},
};

use super::pb::{self, Any, composite, core, hcm, route, router, xds_core, xds_matcher};

/// The names of the composite filters, and of their settings in routes: the one that finds routes, that of the
/// chain of a route, that of its faults, and those of modules. A fault and a module have what they hold back
/// go on by themselves, and so each has a filter to itself.
const FIND: &str = "marchproxy.find";
const NAME: &str = "marchproxy";
const FAULTS: &str = "marchproxy.faults";
const MODULES: [&str; 2] = ["marchproxy.module.1", "marchproxy.module.2"];

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
    let find = composite::Composite {
        matcher: Some(always(miss::filters().into())),
        ..Default::default()
    };
    let of_routes = pb::any(&composite::Composite::default());
    let mut filters: Vec<_> = extras.alt_svc.map(alt_svc::filter).into_iter().collect();
    filters.extend(extras.challenges.then(challenge::filter));
    filters.push(filter(FIND, pb::any(&find)));
    filters.push(oidc::filter());
    filters.push(jwt::filter());
    filters.push(cluster_limits::of_listener());
    filters.push(filter(NAME, of_routes.clone()));
    filters.push(filter(FAULTS, of_routes.clone()));
    filters.extend(MODULES.map(|name| filter(name, of_routes.clone())));
    filters.extend(extras.compression.into_iter().flat_map(compression::filters));
    filters.push(router());
    filters
}

/// Returns the last filter.
pub(super) fn router() -> hcm::HttpFilter {
    let router = router::Router { suppress_envoy_headers: true, ..Default::default() };
    filter("envoy.filters.http.router", pb::any(&router))
}

/// Returns the settings of a route table: nothing, unless a route asks for it.
pub(super) fn of_table() -> HashMap<String, Any> {
    let off = pb::any(&route::FilterConfig { disabled: true, ..Default::default() });
    let names = [FIND, oidc::NAME, jwt::NAME, cluster_limits::NAME, NAME, FAULTS];
    names.into_iter().chain(MODULES).map(|name| (name.to_owned(), off.clone())).collect()
}

/// A limit of requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) limit: &'a RateLimit,
    /// The listener or route by which it is for a route.
    pub(super) target: &'a ObjectKey,
}

/// What a module's filters are made of beside its fields, so that Envoys are told when it changes.
pub(super) const MODULES_MADE_OF: [&str; 3] = module::SCRIPTS;

/// A module that a request passes.
#[derive(Clone, Copy)]
pub(super) struct Module<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) wanted: &'a FilterModule,
    /// Whether this node has its file.
    pub(super) is_there: bool,
}

/// What requests of a route pass beside what its rule says.
#[derive(Clone, Copy)]
pub(super) struct Passed<'a> {
    /// Limits of requests.
    pub(super) limits: &'a [Limit<'a>],
    /// Modules, in their order.
    pub(super) modules: &'a [Module<'a>],
    /// Where their files lie.
    pub(super) directory: &'a Path,
    /// Where the route stands.
    pub(super) around: Around<'a>,
}

/// Returns the settings of a route: the session or token that the policy demands which its rule refers to,
/// the chain of what else the rule asks for, with the limits of its requests and the modules that they pass;
/// and whether its answers are compressed where the rule says it.
pub(super) fn of_route(
    name: &str,
    rule: &HttpRule,
    auth: Option<Policy<'_>>,
    passed: Passed<'_>,
) -> HashMap<String, Any> {
    let Passed { limits, around, .. } = passed;
    let place = oidc::Place { host: around.host, cors: rule.filters.cors.is_some() };
    let mut settings = HashMap::new();
    if let Some((name, policy)) = auth {
        let session = policy.oidc.as_ref().map(|wanted| oidc::of_route(name, wanted, place));
        settings.extend(session.map(|session| (oidc::NAME.to_owned(), session)));
        let required = required(name, policy);
        settings.extend(required.map(|it| (jwt::NAME.to_owned(), jwt::of_route(&it))));
    }
    let faults = rule.filters.fault.iter().flat_map(fault::filters).collect();
    let chains = [(NAME, chain(&rule.filters, auth, limits, around)), (FAULTS, faults)];
    let modules = module::chains(passed.modules, name, passed.directory);
    for (name, chain) in chains.into_iter().chain(MODULES.into_iter().zip(modules)) {
        if !chain.is_empty() {
            let composite = composite::CompositePerRoute { matcher: Some(always(chain)) };
            settings.insert(name.to_owned(), on(pb::any(&composite)));
        }
    }
    settings.extend(rule.filters.compression.map(compression::of_route));
    let limits = cluster_limits::of_route(limits, counts_preflights(rule, auth));
    settings.extend(limits.map(|limits| (cluster_limits::NAME.to_owned(), limits)));
    settings
}

/// Tells whether preflights of CORS count: where the rule has no CORS, they are requests as others. Where it
/// demands a token or a session they carry none, and do not get further than to CORS.
fn counts_preflights(rule: &HttpRule, auth: Option<Policy<'_>>) -> bool {
    let demands = |(_, policy): Policy<'_>| policy.jwt.is_some() || policy.oidc.is_some();
    rule.filters.cors.is_none() && !auth.is_some_and(demands)
}

/// Names what a policy requires of tokens, if it demands one.
pub(super) fn required(name: &str, policy: &AuthPolicy) -> Option<String> {
    oidc::tokens(name, policy).map(|wanted| jwt::requirement_name(name, &wanted))
}

/// Where a route stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The hosts that its table is for.
    pub(super) host: &'a str,
    /// Whether any route of these demands a session.
    pub(super) sessions: bool,
}

/// Makes the chain of a rule, before its faults. A request meets the filters in this order, an answer in the
/// reverse: preflights, which carry no credentials, are answered before anything else happens to them, and who
/// may not send a request causes no fault. Requests are counted before keys and passwords are looked at, so
/// that these cannot be tried out, but behind tokens: without one nobody uses up what others may. gRPC-Web is
/// gRPC to all that come after, so that what they answer is a status. Who asks a service has the request wait,
/// so it is last.
fn chain(
    wanted: &RuleFilters,
    auth: Option<Policy<'_>>,
    limits: &[Limit<'_>],
    around: Around<'_>,
) -> Vec<core::TypedExtensionConfig> {
    let mut chain = Vec::new();
    chain.extend(around.sessions.then(oidc::cookies_off));
    chain.extend(wanted.cors.as_ref().map(|_| cors::filter()));
    let logs_in = auth.is_some_and(|(_, policy)| policy.oidc.is_some());
    chain.extend((logs_in && wanted.cors.is_some()).then(oidc::no_options));
    chain.extend(wanted.grpc_web.then(grpc_web::filter));
    if let Some((name, policy)) = auth
        && let Some(wanted) = oidc::tokens(name, policy)
    {
        chain.push(claims::filter(&jwt::requirement_name(name, &wanted), &wanted));
    }
    chain.extend(limits.iter().map(limit::filter));
    if let Some((_, policy)) = auth {
        chain.extend(policy.api_keys.iter().flat_map(api_keys::filters));
        chain.extend(policy.basic.as_ref().map(basic::filter));
    }
    chain.extend(wanted.session_persistence.as_ref().map(session::filter));
    let external = auth.and_then(|(_, policy)| policy.external.as_ref());
    chain.extend(external.into_iter().flat_map(external::filters));
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

/// Makes an entry of a chain.
fn extension(name: &str, config: &impl prost::Name) -> core::TypedExtensionConfig {
    core::TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pb::any(config)) }
}
