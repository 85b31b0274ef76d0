//! JSON Web Tokens. The filter that checks them stands in the listener, since Envoy cannot make it
//! in the chain of a route. Its configuration is a resource of its own, so that no listener changes with a policy:
//! a base, and what each policy requires. Each of these is a resource too, which Envoy never asks for by itself:
//! sessions join them to the base ([`joined`]), so that one that Envoy refuses keeps no other back, and that
//! routes find what they name, before and after. The name of a requirement has a hash of its content: routes
//! and requirements of before and after a change of a policy stand side by side.
//!
//! **Invariant.** Nobody gets by because a configuration is not there: a route that names what the
//! filter does not know is answered by 403, by the filter or by [`claims`](super::claims).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use model::{
    AuthPolicy, Kind, ObjectKey,
    auth_policy::{Jwks, Jwt, JwtProvider, RemoteJwks, TokenPlace},
};

use prost::Message as _;

use super::{extension, oidc};
use crate::l7::{
    ResourceType, names,
    origin::Origin,
    pb::{self, Any, core, hcm, jwt},
    resource::Resource,
    version::Version,
};

/// The name of the filter, of its configuration, and of its settings in routes.
pub(crate) const NAME: &str = "marchproxy.jwt";
/// What stands in the names of requirements between policy and hash, and in no name of an object.
const REQUIREMENT: &str = "@";
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

/// Makes the settings of a route with a requirement.
pub(super) fn of_route(required: &str) -> Any {
    use jwt::per_route_config::RequirementSpecifier;
    super::on(pb::any(&jwt::PerRouteConfig {
        requirement_specifier: Some(RequirementSpecifier::RequirementName(required.to_owned())),
    }))
}

/// Names an issuer of a requirement, under which also the claims of its token are kept.
pub(super) fn provider_name(required: &str, provider: &JwtProvider) -> String {
    format!("{required}/{}", provider.name)
}

/// Names what a policy requires.
pub(super) fn requirement_name(policy: &str, wanted: &Jwt) -> String {
    let hash = Version::of(ResourceType::ExtensionConfig).part(wanted).finish();
    format!("{}{hash}", requirements_of(policy))
}

/// Returns what the names of a policy's requirements begin with.
pub(in crate::l7) fn requirements_of(policy: &str) -> String {
    format!("{policy}{REQUIREMENT}")
}

/// Tells whether a resource is the requirement of a policy.
pub(crate) fn is_requirement(name: &str) -> bool {
    name.contains(REQUIREMENT)
}

/// Makes the base of the configuration, there also when nothing is required, so that no listener waits for
/// it.
pub(in crate::l7) fn base() -> Resource {
    // A preflight carries no token: CORS answers it, and who has no CORS lets no preflight by.
    let filter = jwt::JwtAuthentication { bypass_cors_preflight: true, ..Default::default() };
    Resource {
        name: NAME.into(),
        version: Version::of(ResourceType::ExtensionConfig).part(&NAME).finish(),
        body: pb::any(&extension(NAME, &filter)),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: ObjectKey::new(Kind::AuthPolicy, "default", NAME),
        origins: Vec::new(),
    }
}

/// Makes what a policy requires, if it demands a token: its issuers and how they are combined. Keys are
/// fetched `ahead` of requests, but not by an Envoy that has none.
pub(in crate::l7) fn requirement_of(
    key: &ObjectKey,
    policy: &AuthPolicy,
    ahead: bool,
) -> Option<Resource> {
    let name = names::plain(key);
    let wanted = oidc::tokens(&name, policy)?;
    let required = requirement_name(&name, &wanted);
    let mut filter = jwt::JwtAuthentication::default();
    let mut clusters = BTreeSet::new();
    let mut origins = Vec::new();
    for (index, one) in wanted.providers.iter().enumerate() {
        match &one.jwks {
            Jwks::File(path) => origins.push(Origin {
                object: key.clone(),
                field: match &policy.oidc {
                    Some(_) => "spec.oidc.provider.jwks.file".to_owned(),
                    None => format!("spec.jwt.providers[{index}].jwks.file"),
                },
                text: path.clone(),
                route: None,
            }),
            Jwks::Remote(remote) => {
                clusters.insert(names::reference(&remote.service));
            }
            Jwks::Inline(_) => {}
        }
        let provider = provider(&required, &wanted, one, ahead);
        filter.providers.insert(provider_name(&required, one), provider);
    }
    filter.requirement_map.insert(required.clone(), requirement(&required, &wanted));
    Some(Resource {
        // The name says it all, but for what fetches keys.
        version: Version::of(ResourceType::ExtensionConfig).part(&required).part(&ahead).finish(),
        name: required.into(),
        body: pb::any(&filter),
        clusters: clusters.into_iter().collect::<Vec<Arc<str>>>(),
        wants: Vec::new(),
        object: key.clone(),
        origins,
    })
}

/// Joins requirements to the base. Maps of messages are joined by writing one message behind the other. What has
/// another `mark` looks different to Envoy.
pub(crate) fn joined(base: &Resource, required: &[Arc<Resource>], mark: u32) -> Resource {
    let Ok(mut config) = core::TypedExtensionConfig::decode(base.body.value.as_slice()) else {
        return base.clone();
    };
    let mut version = Version::of(ResourceType::ExtensionConfig).part(&&*base.version);
    let mut clusters = BTreeSet::new();
    for one in required {
        if let Some(filter) = &mut config.typed_config {
            filter.value.extend_from_slice(&one.body.value);
        }
        version.add(&&*one.version);
        clusters.extend(one.clusters.iter().cloned());
    }
    if mark > 0
        && let Some(filter) = &mut config.typed_config
    {
        // A name that no route has.
        let requirement_map = [(format!("mark {mark}"), jwt::JwtRequirement::default())].into();
        let marked = jwt::JwtAuthentication { requirement_map, ..Default::default() };
        filter.value.extend_from_slice(&marked.encode_to_vec());
        version.add(&mark);
    }
    Resource {
        version: version.finish(),
        body: pb::any(&config),
        clusters: clusters.into_iter().collect(),
        origins: required.iter().flat_map(|one| one.origins.iter().cloned()).collect(),
        object: required.first().map_or_else(|| base.object.clone(), |one| one.object.clone()),
        ..base.clone()
    }
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
