//! Reads which logins are accepted.

use std::time::Duration;

use super::{
    jwks::jwks,
    jwt::{claim_headers, claim_text, required_claims},
};
use crate::{
    auth_policy::{
        ClientAuthentication, Oidc, OidcClient, OidcProvider, OidcSession, SameSite, TokenEndpoint,
    },
    limits::{
        MAX_API_PATHS, MAX_CLIENT_ID_BYTES, MAX_SCOPES, MAX_SESSION_LIFETIME, MAX_TOKEN_BYTES,
        MAX_URI_BYTES,
    },
    parse::{
        backend::unique,
        name::{host, reference},
        pattern::{plain_path, prefix, target_path},
        reader::{Fields, Node, Read},
        scalar::{boolean, bounded, file, text, whole_seconds, word},
    },
};

const CALLBACK_PATH: &str = "/oauth2/callback";
const LOGOUT_PATH: &str = "/oauth2/logout";
const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
/// The scope that makes a login one of OpenID Connect.
const OPENID: &str = "openid";

pub(super) fn oidc(node: &Node<'_>, namespace: &str) -> Read<Oidc> {
    let fields = node.fields()?;
    let provider = fields.required("provider", "who logs in", |node| provider(node, namespace));
    let client = fields.required("client", "{id, secretFile}, what we are to it", client);
    let callback_path = fields.or("callbackPath", CALLBACK_PATH.to_owned(), plain_path);
    let logout_path = fields.or("logoutPath", LOGOUT_PATH.to_owned(), plain_path);
    let api_paths = fields.or("apiPaths", Vec::new(), |node| {
        let items = node.items(0, MAX_API_PATHS, prefix)?;
        unique(node, &items, |path| path)?;
        items.into_iter().collect()
    });
    let by_default = || OidcSession {
        refresh: true,
        lifetime: DEFAULT_LIFETIME,
        same_site: SameSite::default(),
    };
    let session = fields.or("session", by_default(), session);
    let required_claims = fields.or("requiredClaims", Vec::new(), required_claims);
    let claim_headers = fields.or("claimHeaders", Vec::new(), claim_headers);
    let forward_access_token = fields.or("forwardAccessToken", false, boolean);
    let known = fields.finish();
    let oidc = Oidc {
        provider: provider?,
        client: client?,
        callback_path: callback_path?,
        logout_path: logout_path?,
        api_paths: api_paths?,
        session: session?,
        required_claims: required_claims?,
        claim_headers: claim_headers?,
        forward_access_token: forward_access_token?,
    };
    known?;
    own_paths(&fields, &oidc).map(|()| oidc)
}

/// Refuses paths of which one would never be reached.
fn own_paths(fields: &Fields<'_>, oidc: &Oidc) -> Read<()> {
    if oidc.callback_path == oidc.logout_path {
        let problem = "is callbackPath too, which would end each session as it begins";
        return Err(fields.error("logoutPath", problem, "write another path, such as /logout"));
    }
    for (name, path) in [("callbackPath", &oidc.callback_path), ("logoutPath", &oidc.logout_path)] {
        if path.contains('%') {
            let problem =
                "has an encoded character, which Envoy tells the provider in another form";
            return Err(fields.error(name, problem, "write a path of letters, digits and -._~/"));
        }
        if path == "/" {
            let problem = "is the path of the whole site";
            return Err(fields.error(name, problem, "write a path that nothing else is at"));
        }
    }
    Ok(())
}

fn provider(node: &Node<'_>, namespace: &str) -> Read<OidcProvider> {
    let fields = node.fields()?;
    let issuer = fields.required("issuer", "the iss claim of its tokens", claim_text);
    let authorization_endpoint =
        fields.required("authorizationEndpoint", "the URL where users log in", endpoint);
    let token_endpoint = fields.required("tokenEndpoint", "{service, host, path}", |node| {
        token_endpoint(node, namespace) //
    });
    let end_session_endpoint = fields.optional("endSessionEndpoint", |node| {
        let url = endpoint(node)?;
        // Envoy puts its own behind it.
        if url.contains('?') {
            return Err(node.error("has a query", "write it without one"));
        }
        Ok(url)
    });
    let jwks = fields.required("jwks", "where its public keys are", |node| jwks(node, namespace));
    let known = fields.finish();
    let provider = OidcProvider {
        issuer: issuer?,
        authorization_endpoint: authorization_endpoint?,
        token_endpoint: token_endpoint?,
        end_session_endpoint: end_session_endpoint?,
        jwks: jwks?,
    };
    known.map(|()| provider)
}

fn token_endpoint(node: &Node<'_>, namespace: &str) -> Read<TokenEndpoint> {
    let fields = node.fields()?;
    let service =
        fields.required("service", "{name: …}, whom to ask", |node| reference(node, namespace));
    let host = fields.required("host", "the host that it is asked for", host);
    let path = fields.required("path", "a path such as /oauth2/token", target_path);
    let known = fields.finish();
    let endpoint = TokenEndpoint { service: service?, host: host?, path: path? };
    known.map(|()| endpoint)
}

/// Reads a URL to which browsers are sent.
fn endpoint(node: &Node<'_>) -> Read<String> {
    let remedy = "write such as https://idp.example/authorize";
    let url = text(node)?;
    let Some(rest) = url.strip_prefix("https://") else {
        return Err(node.error("is not a URL that begins with https://", remedy));
    };
    if url.len() > MAX_URI_BYTES {
        return Err(node.error(format!("has {} bytes", url.len()), remedy));
    }
    if url.bytes().any(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}#".contains(&b)) {
        return Err(node.error("holds a character that stands in no URL, or a fragment", remedy));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let label = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    if name.is_empty() || !name.bytes().all(label) || port.parse::<u16>().is_ok_and(|it| it == 0) {
        return Err(node.error("has no host", remedy));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err(node.error("has no port behind the colon", remedy));
    }
    if path.is_empty() && !rest.ends_with('/') {
        return Err(node.error("has no path", remedy));
    }
    Ok(url.to_owned())
}

fn client(node: &Node<'_>) -> Read<OidcClient> {
    let fields = node.fields()?;
    let id = fields.required("id", "the name that the provider knows", client_id);
    let secret_file = fields.required("secretFile", "the path of a file with its secret", file);
    let ways = [("Basic", ClientAuthentication::Basic), ("Post", ClientAuthentication::Post)];
    let authentication =
        fields.or("authentication", ClientAuthentication::default(), |node| word(node, &ways));
    let scopes = fields.or("scopes", vec![OPENID.to_owned()], |node| {
        let items = node.items(1, MAX_SCOPES, scope)?;
        unique(node, &items, |scope| scope)?;
        let scopes = items.into_iter().collect::<Read<Vec<String>>>()?;
        if !scopes.iter().any(|scope| scope == OPENID) {
            let remedy = "add openid: without it there is no ID token, by which users are known";
            return Err(node.error("has no openid", remedy));
        }
        Ok(scopes)
    });
    let known = fields.finish();
    let client = OidcClient {
        id: id?,
        secret_file: secret_file?,
        authentication: authentication?,
        scopes: scopes?,
    };
    known.map(|()| client)
}

/// Reads a client's name. Envoy puts it into URLs and credentials as it is.
fn client_id(node: &Node<'_>) -> Read<String> {
    let id = bounded(node, 1, MAX_CLIENT_ID_BYTES)?;
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
        let remedy = "register a client whose name has only letters, digits and -._~";
        return Err(node.error("holds what URLs encode", remedy));
    }
    Ok(id)
}

/// Reads a scope (RFC 6749, section 3.3).
fn scope(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    let is_scope = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.bytes().all(is_scope) {
        let remedy = format!("write 1 to {MAX_TOKEN_BYTES} printable characters without blanks");
        return Err(node.error("is not a scope", remedy));
    }
    Ok(text.to_owned())
}

fn session(node: &Node<'_>) -> Read<OidcSession> {
    let fields = node.fields()?;
    let refresh = fields.or("refresh", true, boolean);
    let lifetime =
        fields.or("lifetime", DEFAULT_LIFETIME, |node| whole_seconds(node, MAX_SESSION_LIFETIME));
    let sites = [("Strict", SameSite::Strict), ("Lax", SameSite::Lax), ("None", SameSite::None)];
    let same_site = fields.or("sameSite", SameSite::default(), |node| word(node, &sites));
    let known = fields.finish();
    let session = OidcSession { refresh: refresh?, lifetime: lifetime?, same_site: same_site? };
    known.map(|()| session)
}
