//! Logins by OpenID Connect. Envoy's filter for them sends a browser to the provider, exchanges the code
//! that it comes back with for tokens, and keeps these in cookies: encrypted, and under an HMAC over
//! all of them, the host and the end. It verifies no ID token; the filter for tokens does, behind it, as
//! of any other issuer: [`tokens`] makes an issuer of the provider.
//!
//! The filter stands in the listener, since Envoy cannot make it in the chain of a route, and does nothing
//! but what the settings of a route say.
//!
//! **Invariants.** Nobody gets by without secrets (503), a session (302 or 401), or an ID token in it that
//! verifies (401). What is of a session reaches no service but in the form that the policy says:
//! its cookies are taken off, on all routes of its host, also on those that demand none.

use std::{borrow::Cow, time::Duration};

use model::{
    AuthPolicy, ObjectKey,
    auth_policy::{ClientAuthentication, Jwt, JwtProvider, Oidc, SameSite, TokenPlace},
};
use sha2::{Digest, Sha256};

use super::{extension, miss};
use crate::l7::{
    ResourceType, common_tls, names,
    pb::{self, Any, core, hcm, matcher, oauth2, route},
    resource::ResourceId,
};

/// What the names of all cookies of sessions begin with. Browsers take such a cookie only by TLS, from the
/// host itself and for all of its paths, so that no host beside it can put one in (RFC 6265bis,
/// section 4.1.3.2).
const COOKIES: &str = "__Host-marchproxy-";
/// How much of a hash tells the cookies of policies apart: two of one host are alike once in 2^48.
const TAG_BYTES: usize = 6;
/// How long a provider may take to give tokens.
const TOKENS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an access token lives of which the provider does not say it, as it should (RFC 6749, section
/// 5.1).
const UNSAID_LIFETIME: Duration = Duration::from_mins(5);
/// How long a login may take.
const LOGIN_TIMEOUT: Duration = Duration::from_mins(10);
/// How long after its end an ID token still says who somebody is. It ends when a login must be over; the
/// session, whose end the HMAC covers, often lives longer, and gets another one when it is refreshed.
const ID_TOKEN_GRACE: Duration = Duration::from_hours(24);
/// What scripts and other programs say of requests that no user follows (Fetch Metadata, section 2.2).
const NOT_NAVIGATING: [&str; 4] = ["cors", "no-cors", "same-origin", "websocket"];

/// The name of the filter, and of its settings in routes.
pub(super) const NAME: &str = "marchproxy.oidc";
/// Names the issuer that a provider is among those of tokens.
const ISSUER: &str = "login";

/// Takes the cookies of sessions off a request.
pub(in crate::l7) const SCRIPT: &str = r#"
function envoy_on_request(handle)
  local headers = handle:headers()
  local kept, found = {}, false
  local count = headers:getNumValues("cookie")
  for index = 0, count - 1 do
    for part in string.gmatch(headers:getAtIndex("cookie", index), "[^;]+") do
      if string.match(part, "^%s*__Host%-marchproxy%-") then
        found = true
      elseif string.match(part, "%S") then
        kept[#kept + 1] = string.match(part, "^%s*(.-)%s*$")
      end
    end
  end
  if not found then return end
  headers:remove("cookie")
  if #kept > 0 then headers:add("cookie", table.concat(kept, "; ")) end
end
"#;

/// A cookie of a policy's sessions.
fn cookie(policy: &str, what: &str) -> String {
    let hash = Sha256::digest(policy);
    format!("{COOKIES}{}-{what}", hex::encode(&hash[..TAG_BYTES]))
}

/// Makes the filter; it does nothing but what the settings of a route say.
pub(super) fn filter() -> hcm::HttpFilter {
    super::filter(NAME, pb::any(&oauth2::OAuth2::default()))
}

/// Makes the filter that takes the cookies of all sessions off.
pub(super) fn cookies_off() -> core::TypedExtensionConfig {
    extension("marchproxy.cookies", &miss::script(SCRIPT))
}

/// Returns the tokens that a policy demands: those that are shown, or the one in a session.
pub(super) fn tokens<'a>(name: &str, policy: &'a AuthPolicy) -> Option<Cow<'a, Jwt>> {
    let Some(wanted) = &policy.oidc else { return policy.jwt.as_ref().map(Cow::Borrowed) };
    let provider = JwtProvider {
        name: ISSUER.to_owned(),
        issuer: wanted.provider.issuer.clone(),
        audiences: vec![wanted.client.id.clone()],
        jwks: wanted.provider.jwks.clone(),
        from: vec![TokenPlace::Cookie(cookie(name, "id"))],
        forward: true,
        clock_skew: ID_TOKEN_GRACE,
        required_claims: wanted.required_claims.clone(),
    };
    let claim_headers = wanted.claim_headers.clone();
    Some(Cow::Owned(Jwt { providers: vec![provider], claim_headers }))
}

/// Lists the secrets that a policy's routes ask for.
pub(in crate::l7) fn wants(policy: &str) -> [ResourceId; 2] {
    [names::client_secret(policy), names::session_key(policy)]
        .map(|name| ResourceId::new(ResourceType::Secret, name))
}

/// Where a session is demanded.
#[derive(Clone, Copy, Debug)]
pub(in crate::l7) struct Place<'a> {
    /// The hosts of the route, as a table has them.
    pub(in crate::l7) host: &'a str,
    /// Whether preflights are answered.
    pub(in crate::l7) cors: bool,
}

/// Makes the settings of a route that demands a session.
pub(super) fn of_route(policy: &str, wanted: &Oidc, place: Place<'_>) -> Any {
    use oauth2::o_auth2_config::AuthType;
    let Oidc { provider, client, .. } = wanted;
    let token = &provider.token_endpoint;
    let cluster = names::reference(&token.service).to_string();
    let here = |path: &str| format!("https://%REQ(:AUTHORITY)%{path}");
    let after_logout = oauth2::post_logout_redirect_uri::Config::Uri(here("/"));
    let config = oauth2::OAuth2Config {
        token_endpoint: Some(core::HttpUri {
            uri: format!("https://{}{}", token.host, token.path),
            timeout: Some(pb::duration(TOKENS_TIMEOUT)),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        authorization_endpoint: provider.authorization_endpoint.clone(),
        end_session_endpoint: provider.end_session_endpoint.clone().unwrap_or_default(),
        post_logout_redirect_uri: provider
            .end_session_endpoint
            .as_ref()
            .map(|_| oauth2::PostLogoutRedirectUri { config: Some(after_logout) }),
        credentials: Some(credentials(policy, &client.id)),
        redirect_uri: here(&wanted.callback_path),
        redirect_path_matcher: Some(exactly(&wanted.callback_path)),
        signout_path: Some(exactly(&wanted.logout_path)),
        forward_bearer_token: wanted.forward_access_token,
        auth_scopes: client.scopes.clone(),
        auth_type: match client.authentication {
            ClientAuthentication::Basic => AuthType::BasicAuth,
            ClientAuthentication::Post => AuthType::UrlEncodedBody,
        } as i32,
        use_refresh_token: Some(pb::boolean(wanted.session.refresh)),
        default_expires_in: Some(pb::duration(UNSAID_LIFETIME)),
        default_refresh_token_expires_in: Some(pb::duration(wanted.session.lifetime)),
        csrf_token_expires_in: Some(pb::duration(LOGIN_TIMEOUT)),
        code_verifier_token_expires_in: Some(pb::duration(LOGIN_TIMEOUT)),
        deny_redirect_matcher: not_redirected(&wanted.api_paths),
        // Preflights have no cookies, and are told by their method alone; `no_options` refuses others.
        pass_through_matcher: place
            .cors
            .then(|| header(":method", exact("OPTIONS"), false))
            .into_iter()
            .collect(),
        cookie_configs: Some(cookies(wanted.session.same_site)),
        // The ID token is looked at as long as the session lives.
        use_access_token_expiry_for_id_token_cookie: true,
        // Users see HTTPS, by whatever means a request came here.
        original_request_uri: here(""),
        // Nobody is led to where the policy is not.
        allowed_redirect_domains: match place.host {
            "*" => Vec::new(),
            host => vec![host.to_owned()],
        },
        ..Default::default()
    };
    super::on(pb::any(&oauth2::OAuth2PerRoute { config: Some(config) }))
}

/// Refuses what got by as a preflight and is none: those that are, CORS has answered.
const NO_OPTIONS: &str = r#"
function envoy_on_request(handle)
  if handle:headers():get(":method") == "OPTIONS" then
    handle:respond({[":status"] = "401"}, "log in first\n")
  end
end
"#;

/// Makes the filter behind CORS.
pub(super) fn no_options() -> core::TypedExtensionConfig {
    extension("marchproxy.no_options", &miss::script(NO_OPTIONS))
}

fn credentials(policy: &str, client: &str) -> oauth2::OAuth2Credentials {
    use oauth2::o_auth2_credentials::{CookieNames, TokenFormation};
    let named = |what| cookie(policy, what);
    oauth2::OAuth2Credentials {
        client_id: client.to_owned(),
        token_secret: Some(common_tls::secret(names::client_secret(policy))),
        token_formation: Some(TokenFormation::HmacSecret(common_tls::secret(names::session_key(
            policy,
        )))),
        cookie_names: Some(CookieNames {
            bearer_token: named("access"),
            oauth_hmac: named("seal"),
            oauth_expires: named("end"),
            id_token: named("id"),
            refresh_token: named("refresh"),
            oauth_nonce: named("nonce"),
            code_verifier: named("verifier"),
        }),
        ..Default::default()
    }
}

/// Makes the attributes of all cookies; each is `Secure` and `HttpOnly` too. Those of a login come back with
/// a user whom the provider sends, so no site keeps them to itself.
fn cookies(same_site: SameSite) -> oauth2::CookieConfigs {
    use oauth2::cookie_config::SameSite as Attribute;
    let config = |attribute: Attribute| {
        Some(oauth2::CookieConfig {
            same_site: attribute as i32,
            path: "/".to_owned(),
            ..Default::default()
        })
    };
    let (of_session, of_login) = match same_site {
        SameSite::Strict => (Attribute::Strict, Attribute::Lax),
        SameSite::Lax => (Attribute::Lax, Attribute::Lax),
        SameSite::None => (Attribute::None, Attribute::None),
    };
    oauth2::CookieConfigs {
        bearer_token_cookie_config: config(of_session),
        oauth_hmac_cookie_config: config(of_session),
        oauth_expires_cookie_config: config(of_session),
        id_token_cookie_config: config(of_session),
        refresh_token_cookie_config: config(of_session),
        oauth_nonce_cookie_config: config(of_login),
        code_verifier_cookie_config: config(of_login),
    }
}

/// Lists what no user follows a redirect for: what is no GET, what a script sends, and the paths of APIs.
fn not_redirected(api_paths: &[String]) -> Vec<route::HeaderMatcher> {
    let modes = NOT_NAVIGATING.map(|mode| header("sec-fetch-mode", exact(mode), false));
    let said = [
        header(":method", exact("GET"), true),
        header("x-requested-with", exact("XMLHttpRequest"), false),
        header("accept", starting("application/json"), false),
    ];
    let paths = api_paths.iter().flat_map(|path| {
        // A prefix takes whole segments.
        let below = format!("{}/", path.trim_end_matches('/'));
        [exact(path), starting(&below), starting(&format!("{path}?"))]
            .map(|pattern| header(":path", pattern, false))
    });
    modes.into_iter().chain(said).chain(paths).collect()
}

fn exact(text: &str) -> matcher::string_matcher::MatchPattern {
    matcher::string_matcher::MatchPattern::Exact(text.to_owned())
}

fn starting(text: &str) -> matcher::string_matcher::MatchPattern {
    matcher::string_matcher::MatchPattern::Prefix(text.to_owned())
}

fn header(
    name: &str,
    pattern: matcher::string_matcher::MatchPattern,
    invert_match: bool,
) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    let value = matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() };
    route::HeaderMatcher {
        name: name.to_owned(),
        invert_match,
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(value)),
        ..Default::default()
    }
}

fn exactly(path: &str) -> matcher::PathMatcher {
    let path = matcher::StringMatcher { match_pattern: Some(exact(path)), ..Default::default() };
    matcher::PathMatcher { rule: Some(matcher::path_matcher::Rule::Path(path)) }
}

/// Makes the routes that only a login uses: the paths to which the provider sends browsers back, and that
/// end sessions. The filter answers there, so who gets by it finds nothing.
pub(in crate::l7) fn own_routes(
    policy: &ObjectKey,
    wanted: &Oidc,
    host: &str,
) -> [route::Route; 2] {
    let name = names::plain(policy);
    [("callback", &wanted.callback_path), ("logout", &wanted.logout_path)].map(|(what, path)| {
        let settings = of_route(&name, wanted, Place { host, cors: false });
        route::Route {
            name: format!("{name}#{what}"),
            r#match: Some(route::RouteMatch {
                path_specifier: Some(route::route_match::PathSpecifier::Path(path.clone())),
                ..Default::default()
            }),
            action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
                status: 404,
                ..Default::default()
            })),
            typed_per_filter_config: [(NAME.to_owned(), settings)].into(),
            ..Default::default()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_takes_off_what_the_cookies_are_called() {
        let pattern = COOKIES.replace('-', "%-");
        assert!(SCRIPT.contains(&pattern), "{pattern}");
        assert!(cookie("default/staff", "id").starts_with(COOKIES));
    }

    #[test]
    fn the_cookies_of_two_policies_are_others() {
        assert_ne!(cookie("default/staff", "id"), cookie("default/staf", "id"));
        assert_ne!(cookie("a/b", "id"), cookie("b/a", "id"));
    }

    #[test]
    fn cookies_of_a_login_come_back_from_the_provider() {
        use oauth2::cookie_config::SameSite::{Lax, Strict};
        let strict = cookies(SameSite::Strict);
        let attribute = |config: Option<oauth2::CookieConfig>| config.unwrap().same_site;
        assert_eq!(attribute(strict.oauth_nonce_cookie_config), Lax as i32);
        assert_eq!(attribute(strict.oauth_hmac_cookie_config), Strict as i32);
    }
}
