//! JSON Web Tokens. The filter that checks them stands in the listener, since Envoy cannot make it
//! in the chain of a route; the issuers of all policies are its configuration, a resource of its own,
//! so that no listener changes with a policy. A route names the requirement of its policy, whichever way it
//! was found.
//!
//! **Invariant.** Nobody gets by because a configuration is not there: a route that names what the
//! filter does not know is answered by 403, by the filter or by [`claims`](super::claims).

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use model::{
    AuthPolicy, Kind, ObjectKey, Snapshot, Spec,
    auth_policy::{Jwks, Jwt, JwtProvider, RemoteJwks, TokenPlace},
};

use super::{extension, oidc};
use crate::l7::{
    ResourceType, names,
    origin::Origin,
    pb::{self, Any, core, hcm, jwt},
    resource::Resource,
    version::Version,
};

/// The name of the filter, of its configuration, and of its settings in routes.
pub(in crate::l7) const NAME: &str = "marchproxy.jwt";
/// How long a listener waits for the configuration; then all that needs a token is refused.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a service may take to give its keys.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the filter, whose configuration comes by itself.
pub(super) fn filter() -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: NAME.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::ConfigDiscovery(source())),
        ..Default::default()
    }
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

/// Makes the settings of a route that demands a token of a policy.
pub(super) fn of_route(policy: &str) -> Any {
    use jwt::per_route_config::RequirementSpecifier;
    super::on(pb::any(&jwt::PerRouteConfig {
        requirement_specifier: Some(RequirementSpecifier::RequirementName(policy.to_owned())),
    }))
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
    let mut clusters = BTreeSet::new();
    let mut origins = Vec::new();
    for (key, wanted) in policies(config) {
        let policy = names::plain(key);
        let wanted = &*wanted;
        version.add(&policy);
        version.add(wanted);
        for (index, one) in wanted.providers.iter().enumerate() {
            let field = match config.auth_policy(&key.namespace, &key.name) {
                Some(AuthPolicy { oidc: Some(_), .. }) => "spec.oidc.provider.jwks".to_owned(),
                _ => format!("spec.jwt.providers[{index}].jwks"),
            };
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
        filter.requirement_map.insert(policy.clone(), requirement(&policy, wanted));
    }
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
fn policies(config: &Snapshot) -> impl Iterator<Item = (&ObjectKey, Cow<'_, Jwt>)> {
    config.of_kind(Kind::AuthPolicy).filter_map(|(key, object)| match &object.spec {
        Spec::AuthPolicy(policy) => Some((key, oidc::tokens(&names::plain(key), policy)?)),
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
