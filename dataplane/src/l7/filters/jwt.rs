//! JSON Web Tokens. The filter that checks them stands in the listener, since Envoy cannot make it
//! in the chain of a route; the issuers of all policies are its configuration, a resource of its own,
//! so that no listener changes with a policy. A route names the requirement of its policy.
//!
//! Where the scripts find the route, nothing of this is there, and the filter stands inside the
//! composite. There it would find its settings under the composite's name alone, and any
//! composite around it runs the chain that a route has under that name. So a route that demands a token
//! has none: it is found first, its token is checked (of what requirement, the filter state says, filled
//! from the metadata of the route, and which no client reaches), and then its twin takes its place, the
//! same route with the chain.
//!
//! **Invariant.** Nobody gets by because a configuration is not there: a route that names what the
//! filter does not know is answered by 403, by the filter or by [`claims`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use model::{
    Kind, ObjectKey, Snapshot, Spec,
    auth_policy::{Jwks, Jwt, JwtProvider, RemoteJwks, TokenPlace},
};

use super::{claims, extension, miss};
use crate::l7::{
    ResourceType, names,
    origin::Origin,
    pb::{self, Any, composite, core, filter_state, hcm, jwt, route, set_filter_state},
    resource::Resource,
    version::Version,
};

/// The name of the filter, of its configuration, and of its settings in routes.
pub(in crate::l7) const NAME: &str = "marchproxy.jwt";
/// The name of the composite filter behind it, and of the chain in routes.
const BEHIND: &str = "marchproxy.behind";
/// Where the filter state holds the name of a requirement, and where the metadata of a route does.
const DEMANDED: &str = "marchproxy.jwt.demanded";
pub(super) const REQUIREMENT: &str = "requirement";
/// How long a listener waits for the configuration; then all that needs a token is refused.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a service may take to give its keys.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the filters of a listener, which are off, unless a route turns them on: the one that checks
/// tokens, whose configuration comes by itself, and the one that makes the chain behind it.
pub(super) fn filters() -> [hcm::HttpFilter; 2] {
    let tokens = hcm::HttpFilter {
        name: NAME.to_owned(),
        disabled: true,
        config_type: Some(hcm::http_filter::ConfigType::ConfigDiscovery(source())),
        ..Default::default()
    };
    let chain = super::filter(BEHIND, pb::any(&composite::Composite::default()));
    [tokens, hcm::HttpFilter { disabled: true, ..chain }]
}

fn source() -> core::ExtensionConfigSource {
    let nothing = jwt::JwtAuthentication::default();
    core::ExtensionConfigSource {
        config_source: Some(pb::ads(CONFIGURATION_TIMEOUT)),
        default_config: Some(pb::any(&nothing)),
        type_urls: vec![pb::any(&nothing).type_url],
        ..Default::default()
    }
}

/// Makes the filters for a route that the scripts found: one that notes what the route demands, and one
/// that runs its chain, or checks its token and then runs the chain of its twin.
pub(super) fn or_chain() -> [core::TypedExtensionConfig; 2] {
    let action = composite::ExecuteFilterAction {
        dynamic_config: Some(composite::DynamicConfig {
            name: NAME.to_owned(),
            config_discovery: Some(source()),
        }),
        ..Default::default()
    };
    let tokens = composite::Composite {
        matcher: Some(pb::always(super::action(&action))),
        ..Default::default()
    };
    let [by_scope, by_wildcard] = miss::twins();
    let checked = vec![
        extension("marchproxy.tokens", &tokens),
        by_scope,
        by_wildcard,
        super::cluster_limits::behind_scripts(),
        super::nested(),
        claims::twin_only(),
    ];
    let matcher = pb::where_state(DEMANDED, "/", super::run(checked));
    let nested = composite::Composite { matcher: Some(matcher), ..Default::default() };
    [extension("marchproxy.demanded", &demanded()), extension(super::NAME, &nested)]
}

/// Notes the requirement that the metadata of the route names.
fn demanded() -> set_filter_state::Config {
    use filter_state::filter_state_value::{Key, Value};
    let text = format!("%METADATA(ROUTE:{NAME}:{REQUIREMENT})%");
    let format = core::SubstitutionFormatString {
        omit_empty_values: true,
        format: Some(core::substitution_format_string::Format::TextFormatSource(
            core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString(text)),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let value = filter_state::FilterStateValue {
        key: Some(Key::ObjectKey(DEMANDED.to_owned())),
        factory_key: "envoy.string".into(),
        value: Some(Value::FormatString(format)),
        skip_if_empty: true,
        ..Default::default()
    };
    set_filter_state::Config { on_request_headers: vec![value], ..Default::default() }
}

/// Makes the settings of a route that demands a token of a policy before its chain.
pub(super) fn of_route(policy: &str, chain: Any) -> HashMap<String, Any> {
    use jwt::per_route_config::RequirementSpecifier;
    let demanded = pb::any(&jwt::PerRouteConfig {
        requirement_specifier: Some(RequirementSpecifier::RequirementName(policy.to_owned())),
    });
    [(NAME, super::on(demanded)), (BEHIND, chain)].map(|(name, it)| (name.to_owned(), it)).into()
}

/// Makes the twin of a route that demands a token, and gives that one its metadata. The twin is found
/// by the name of the route: what else the route matches, the check of the token may have taken out.
/// Who names it himself gets no further than its chain, which wants a token that was checked.
pub(in crate::l7) fn twin(route: &mut route::Route, policy: &str) -> route::Route {
    let mut twin = route.clone();
    let settings = &mut twin.typed_per_filter_config;
    settings.remove(NAME);
    if let Some(chain) = settings.remove(BEHIND) {
        settings.insert(super::NAME.to_owned(), chain);
    }
    if let Some(matched) = &mut twin.r#match {
        matched.query_parameters.clear();
        matched.headers = vec![miss::twin_of(&route.name)];
    }
    // Counted is what has a token, by the twin.
    if let Some(route::route::Action::Route(action)) = &mut route.action {
        action.rate_limits.clear();
    }
    let name = pb::Value { kind: Some(pb::value::Kind::StringValue(policy.to_owned())) };
    let fields = pb::Struct { fields: [(REQUIREMENT.to_owned(), name)].into() };
    let metadata = [(NAME.to_owned(), fields)].into();
    route.metadata = Some(core::Metadata { filter_metadata: metadata, ..Default::default() });
    twin
}

/// Names an issuer of a policy, under which also the claims of its token are kept.
pub(super) fn provider_name(policy: &str, provider: &JwtProvider) -> String {
    format!("{policy}/{}", provider.name)
}

/// Makes the configuration of the filter: the issuers and requirements of all policies. Keys are
/// fetched `ahead` of requests, but not by an Envoy that has none.
pub(in crate::l7) fn resource(config: &Snapshot, ahead: bool) -> Resource {
    let mut version = Version::of(ResourceType::ExtensionConfig).part(&NAME);
    // A preflight carries no token: CORS answers it, and who has no CORS lets no preflight by.
    let mut filter = jwt::JwtAuthentication { bypass_cors_preflight: true, ..Default::default() };
    let mut demanded = jwt::FilterStateRule { name: DEMANDED.to_owned(), ..Default::default() };
    let mut clusters = BTreeSet::new();
    let mut origins = Vec::new();
    for (key, wanted) in policies(config) {
        let policy = names::plain(key);
        version.add(&policy);
        version.add(wanted);
        for (index, one) in wanted.providers.iter().enumerate() {
            let field = format!("spec.jwt.providers[{index}].jwks");
            if let Some((field, text)) = match &one.jwks {
                Jwks::File(path) => Some((format!("{field}.file"), path.clone())),
                Jwks::Remote(remote) => {
                    clusters.insert(names::reference(&remote.service));
                    None
                }
                Jwks::Inline(_) => None,
            } {
                origins.push(Origin { object: key.clone(), field, text, route: None });
            }
            filter
                .providers
                .insert(provider_name(&policy, one), provider(&policy, wanted, one, ahead));
        }
        demanded.requires.insert(policy.clone(), requirement(&policy, wanted));
        filter.requirement_map.insert(policy.clone(), requirement(&policy, wanted));
    }
    filter.filter_state_rules = Some(demanded);
    // Without policies there is nothing that Envoy might refuse.
    let object = policies(config)
        .next()
        .map_or_else(|| ObjectKey::new(Kind::AuthPolicy, "default", NAME), |(key, _)| key.clone());
    Resource {
        name: NAME.into(),
        version: version.finish(),
        body: pb::any(&extension(NAME, &filter)),
        clusters: clusters.into_iter().collect::<Vec<Arc<str>>>(),
        wants: Vec::new(),
        object,
        origins,
    }
}

/// Walks over the policies that demand tokens, by name.
fn policies(config: &Snapshot) -> impl Iterator<Item = (&ObjectKey, &Jwt)> {
    config.of_kind(Kind::AuthPolicy).filter_map(|(key, object)| match &object.spec {
        Spec::AuthPolicy(policy) => Some((key, policy.jwt.as_ref()?)),
        _ => None,
    })
}

fn requirement(policy: &str, wanted: &Jwt) -> jwt::JwtRequirement {
    use jwt::jwt_requirement::RequiresType;
    let of = |requires| jwt::JwtRequirement { requires_type: Some(requires) };
    let mut accepted: Vec<_> = wanted
        .providers
        .iter()
        .map(|one| of(RequiresType::ProviderName(provider_name(policy, one))))
        .collect();
    // Envoy wants at least two to choose from.
    match accepted.len() {
        1 => accepted.remove(0),
        _ => of(RequiresType::RequiresAny(jwt::JwtRequirementOrList { requirements: accepted })),
    }
}

fn provider(policy: &str, wanted: &Jwt, one: &JwtProvider, ahead: bool) -> jwt::JwtProvider {
    use jwt::jwt_provider::JwksSourceSpecifier;
    let local = |specifier| {
        JwksSourceSpecifier::LocalJwks(core::DataSource {
            specifier: Some(specifier),
            ..Default::default()
        })
    };
    let mut provider = jwt::JwtProvider {
        payload_in_metadata: provider_name(policy, one),
        issuer: one.issuer.clone(),
        audiences: one.audiences.clone(),
        // One that never ends can't be taken back.
        require_expiration: true,
        forward: one.forward,
        clock_skew_seconds: u32::try_from(one.clock_skew.as_secs()).unwrap_or(u32::MAX),
        // The same for all issuers of a policy: Envoy takes from a request the headers of the issuers
        // that it tries, and goes no further than the one whose token it is.
        claim_to_headers: wanted
            .claim_headers
            .iter()
            .map(|header| jwt::JwtClaimToHeader {
                header_name: header.name.clone(),
                claim_name: header.claim.clone(),
                ..Default::default()
            })
            .collect(),
        jwks_source_specifier: Some(match &one.jwks {
            Jwks::Inline(text) => local(core::data_source::Specifier::InlineString(text.clone())),
            Jwks::File(path) => local(core::data_source::Specifier::Filename(path.clone())),
            Jwks::Remote(remote) => JwksSourceSpecifier::RemoteJwks(fetched(remote, ahead)),
        }),
        ..Default::default()
    };
    for place in &one.from {
        match place {
            TokenPlace::Header(header) => provider.from_headers.push(jwt::JwtHeader {
                name: header.name.clone(),
                value_prefix: header.prefix.clone(),
            }),
            TokenPlace::Query(name) => provider.from_params.push(name.clone()),
            TokenPlace::Cookie(name) => provider.from_cookies.push(name.clone()),
        }
    }
    provider
}

/// Keys that are fetched ahead are there with the first request, and outlive the service.
fn fetched(remote: &RemoteJwks, ahead: bool) -> jwt::RemoteJwks {
    let cluster = names::reference(&remote.service).to_string();
    jwt::RemoteJwks {
        http_uri: Some(core::HttpUri {
            uri: format!("http://{}{}", remote.host, remote.path),
            timeout: Some(pb::duration(KEYS_TIMEOUT)),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        cache_duration: Some(pb::duration(remote.refresh)),
        async_fetch: ahead
            .then(|| jwt::JwksAsyncFetch { fast_listener: true, ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_has_the_chain_and_what_else_its_route_asks_for() {
        let chain = pb::any(&composite::CompositePerRoute::default());
        let mut route = route::Route { name: "r".into(), ..Default::default() };
        route.typed_per_filter_config = of_route("default/p", chain.clone());
        route.typed_per_filter_config.insert("other".into(), Any::default());
        let twin = twin(&mut route, "default/p");
        let expected = [(super::super::NAME.to_owned(), chain), ("other".into(), Any::default())];
        assert_eq!(twin.typed_per_filter_config, HashMap::from(expected));
        assert!(twin.metadata.is_none() && route.metadata.is_some());
    }
}
