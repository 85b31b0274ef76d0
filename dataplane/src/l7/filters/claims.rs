//! Claims that a token must have, beyond being valid; and that one was checked at all: preflights get
//! by the filter that checks them, and it is not there for a route that is found in a way that it does
//! not know.

use model::auth_policy::{ClaimValue, Jwt, JwtProvider, RequiredClaim};

use super::{extension, jwt};
use crate::l7::pb::{
    core,
    matcher::{
        self, MetadataMatcher, ValueMatcher, metadata_matcher::PathSegment,
        value_matcher::MatchPattern,
    },
    rbac,
    rbac_config::{self, rbac::Action},
};

/// Where the filter that checks tokens keeps their claims.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// Makes the filter that demands that a token was checked, and its claims.
pub(super) fn filter(required: &str, wanted: &Jwt) -> core::TypedExtensionConfig {
    let principals = wanted.providers.iter().map(|one| principal(required, one)).collect();
    extension("marchproxy.claims", &rbac_of(Action::Allow, principals))
}

fn rbac_of(action: Action, principals: Vec<rbac_config::Principal>) -> rbac::Rbac {
    use rbac_config::permission::Rule;
    let policy = rbac_config::Policy {
        permissions: vec![rbac_config::Permission { rule: Some(Rule::Any(true)) }],
        principals,
        ..Default::default()
    };
    let rules = rbac_config::Rbac {
        action: action as i32,
        policies: [("tokens".to_owned(), policy)].into(),
        ..Default::default()
    };
    rbac::Rbac { rules: Some(rules), ..Default::default() }
}

/// A token of an issuer, which kept its claims, with those that are demanded.
fn principal(requirement: &str, one: &JwtProvider) -> rbac_config::Principal {
    use rbac_config::principal::{Identifier, Set};
    let name = jwt::provider_name(requirement, one);
    let kept = kept_claim(
        &[&name],
        ValueMatcher { match_pattern: Some(MatchPattern::PresentMatch(true)) },
    );
    let claims = one.required_claims.iter().map(|claim| required(&name, claim));
    let ids = std::iter::once(kept).chain(claims).collect();
    rbac_config::Principal { identifier: Some(Identifier::AndIds(Set { ids })) }
}

/// A claim that is the value, or a list with it.
fn required(provider: &str, wanted: &RequiredClaim) -> rbac_config::Principal {
    use matcher::{ListMatcher, OrMatcher, list_matcher, string_matcher};
    let value = ValueMatcher {
        match_pattern: Some(match &wanted.value {
            ClaimValue::Text(text) => MatchPattern::StringMatch(matcher::StringMatcher {
                match_pattern: Some(string_matcher::MatchPattern::Exact(text.clone())),
                ..Default::default()
            }),
            ClaimValue::Boolean(value) => MatchPattern::BoolMatch(*value),
        }),
    };
    let listed = ValueMatcher {
        match_pattern: Some(MatchPattern::ListMatch(Box::new(ListMatcher {
            match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(value.clone()))),
        }))),
    };
    let either = OrMatcher { value_matchers: vec![value, listed] };
    let path: Vec<&str> = std::iter::once(provider).chain(wanted.claim.split('.')).collect();
    kept_claim(&path, ValueMatcher { match_pattern: Some(MatchPattern::OrMatch(either)) })
}

/// What the filter that checks tokens kept of one.
fn kept_claim(path: &[&str], value: ValueMatcher) -> rbac_config::Principal {
    metadata(rbac_config::MetadataSource::Dynamic, NAMESPACE, path, value)
}

fn metadata(
    source: rbac_config::MetadataSource,
    namespace: &str,
    path: &[&str],
    value: ValueMatcher,
) -> rbac_config::Principal {
    use matcher::metadata_matcher::path_segment::Segment;
    let segment = |key: &&str| PathSegment { segment: Some(Segment::Key((*key).to_owned())) };
    let matcher = MetadataMatcher {
        filter: namespace.to_owned(),
        path: path.iter().map(segment).collect(),
        value: Some(value),
        ..Default::default()
    };
    let matcher = rbac_config::SourcedMetadata {
        metadata_matcher: Some(matcher),
        metadata_source: source as i32,
    };
    rbac_config::Principal {
        identifier: Some(rbac_config::principal::Identifier::SourcedMetadata(matcher)),
    }
}
