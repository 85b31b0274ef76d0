//! Reads which tokens are accepted.

use std::time::Duration;

use serde_json::Value;

use super::jwks::jwks;
use crate::{
    auth_policy::{
        ClaimHeader, ClaimValue, Jwt, JwtProvider, RequiredClaim, TokenHeader, TokenPlace,
    },
    limits::{
        MAX_AUDIENCES, MAX_CLAIM_BYTES, MAX_CLOCK_SKEW, MAX_CONDITIONS, MAX_JWT_PROVIDERS,
        MAX_TOKEN_BYTES,
    },
    parse::{
        backend::unique,
        header::{edited_name, header_name, is_token},
        name::name,
        reader::{Node, Read},
        scalar::{boolean, bounded, text, whole_seconds},
    },
};

const DEFAULT_CLOCK_SKEW: Duration = Duration::from_mins(1);

pub(super) fn jwt(node: &Node<'_>, namespace: &str) -> Read<Jwt> {
    let fields = node.fields()?;
    let providers = fields.required("providers", "a list of issuers", |node| {
        let items = node.items(1, MAX_JWT_PROVIDERS, |node| provider(node, namespace))?;
        unique(node, &items, |provider| &provider.name)?;
        items.into_iter().collect()
    });
    let claim_headers = fields.or("claimHeaders", Vec::new(), claim_headers);
    let known = fields.finish();
    let jwt = Jwt { providers: providers?, claim_headers: claim_headers? };
    known.map(|()| jwt)
}

fn provider(node: &Node<'_>, namespace: &str) -> Read<JwtProvider> {
    let fields = node.fields()?;
    let name = fields.required("name", "a name for this issuer", name);
    let issuer = fields.required("issuer", "the iss claim of its tokens", claim_text);
    let audiences = fields.or("audiences", Vec::new(), |node| {
        let items = node.items(0, MAX_AUDIENCES, claim_text)?;
        unique(node, &items, |audience| audience)?;
        items.into_iter().collect()
    });
    let jwks = fields.required("jwks", "where its public keys are", |node| jwks(node, namespace));
    let from = fields.or("from", vec![bearer()], places);
    let forward = fields.or("forward", false, boolean);
    let clock_skew =
        fields.or("clockSkew", DEFAULT_CLOCK_SKEW, |node| whole_seconds(node, MAX_CLOCK_SKEW));
    let required_claims = fields.or("requiredClaims", Vec::new(), required_claims);
    let known = fields.finish();
    let provider = JwtProvider {
        name: name?,
        issuer: issuer?,
        audiences: audiences?,
        jwks: jwks?,
        from: from?,
        forward: forward?,
        clock_skew: clock_skew?,
        required_claims: required_claims?,
    };
    known?;
    let in_cookie = provider.from.iter().any(|place| matches!(place, TokenPlace::Cookie(_)));
    if in_cookie && !provider.forward {
        let remedy = "write forward: true, so that it is plain that the service gets the token";
        return Err(fields.error("from", "has a cookie, and Envoy cannot take one out", remedy));
    }
    Ok(provider)
}

fn bearer() -> TokenPlace {
    TokenPlace::Header(TokenHeader { name: "authorization".into(), prefix: "Bearer ".into() })
}

/// Reads where a token may stand.
pub(super) fn places(node: &Node<'_>) -> Read<Vec<TokenPlace>> {
    let items = node.items(1, MAX_CONDITIONS, place)?;
    items.into_iter().collect()
}

fn place(node: &Node<'_>) -> Read<TokenPlace> {
    let fields = node.fields()?;
    let header = fields.optional("header", token_header);
    let query = fields.optional("query", token);
    let cookie = fields.optional("cookie", token);
    fields.finish()?;
    match (header?, query?, cookie?) {
        (Some(header), None, None) => Ok(TokenPlace::Header(header)),
        (None, Some(query), None) => Ok(TokenPlace::Query(query)),
        (None, None, Some(cookie)) => Ok(TokenPlace::Cookie(cookie)),
        _ => Err(node.error(
            "has not exactly one of header, query and cookie",
            "write one of them, such as {header: {name: x-token}}",
        )),
    }
}

fn token_header(node: &Node<'_>) -> Read<TokenHeader> {
    let fields = node.fields()?;
    let name = fields.required("name", "the name of the header", header_name);
    let prefix = fields.or("prefix", String::new(), |node| bounded(node, 0, MAX_TOKEN_BYTES));
    let known = fields.finish();
    let header = TokenHeader { name: name?, prefix: prefix? };
    known.map(|()| header)
}

/// Reads the name of a query parameter or cookie.
fn token(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.bytes().all(is_token) {
        let remedy = format!("write 1 to {MAX_TOKEN_BYTES} letters, digits and !#$%&'*+-.^_`|~");
        return Err(node.error("is not the name of a parameter or cookie", remedy));
    }
    Ok(text.to_owned())
}

/// Reads which claims a token must have.
pub(super) fn required_claims(node: &Node<'_>) -> Read<Vec<RequiredClaim>> {
    let items = node.items(0, MAX_CONDITIONS, required_claim)?;
    items.into_iter().collect()
}

fn required_claim(node: &Node<'_>) -> Read<RequiredClaim> {
    let fields = node.fields()?;
    let claim = fields.required("claim", "the name of a claim", claim_path);
    let value = fields.required("value", "text, true or false", |node| match node.value() {
        Value::Bool(value) => Ok(ClaimValue::Boolean(*value)),
        _ => claim_text(node).map(ClaimValue::Text),
    });
    let known = fields.finish();
    let required = RequiredClaim { claim: claim?, value: value? };
    known.map(|()| required)
}

/// Reads which claims a service is told.
pub(super) fn claim_headers(node: &Node<'_>) -> Read<Vec<ClaimHeader>> {
    let items = node.items(0, MAX_CONDITIONS, claim_header)?;
    unique(node, &items, |header| &header.name)?;
    items.into_iter().collect()
}

fn claim_header(node: &Node<'_>) -> Read<ClaimHeader> {
    let fields = node.fields()?;
    let name = fields.required("name", "the name of the header", edited_name);
    let claim = fields.required("claim", "the name of a claim", claim_path);
    let known = fields.finish();
    let header = ClaimHeader { name: name?, claim: claim? };
    known.map(|()| header)
}

/// Reads the name of a claim, whose dots lead into objects.
fn claim_path(node: &Node<'_>) -> Read<String> {
    let claim = claim_text(node)?;
    if claim.split('.').any(str::is_empty) {
        let remedy = "write a name such as sub, or realm.role for role within realm";
        return Err(node.error("has an empty part between dots", remedy));
    }
    Ok(claim)
}

pub(super) fn claim_text(node: &Node<'_>) -> Read<String> {
    bounded(node, 1, MAX_CLAIM_BYTES)
}
