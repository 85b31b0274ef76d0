//! An identity provider of our own: OpenID Connect's code flow (Core 1.0, section 3.1) with PKCE (RFC 7636), ID
//! tokens of RS256, and refresh tokens that are good once. It takes nothing that a provider has to refuse.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::{
    digest,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const AUTHORIZE: &str = "https://idp.example/authorize";
pub(crate) const CLIENT: &str = "shop.example~one";
pub(crate) const SECRET: &str = "s3cret/of+the=client%";

/// Keys of nobody but these tests.
const KEY: &[u8] = include_bytes!("idp_key.pk8");
const OTHER_KEY: &[u8] = include_bytes!("other_key.pk8");

/// What it does.
#[derive(Clone, Debug)]
pub(crate) struct Conduct {
    pub(crate) expires_in: Duration,
    /// Claims of ID tokens in place of the right ones.
    pub(crate) claims: Value,
    /// Whether another key signs them.
    pub(crate) forges: bool,
    /// Whether it says nothing but 503.
    pub(crate) is_down: bool,
}

impl Default for Conduct {
    fn default() -> Self {
        let expires_in = Duration::from_secs(600);
        Self { expires_in, claims: json!({}), forges: false, is_down: false }
    }
}

/// A login that its code stands for.
struct Login {
    redirect_uri: String,
    challenge: String,
}

#[derive(Default)]
struct State {
    conduct: Conduct,
    logins: BTreeMap<String, Login>,
    refresh_tokens: Vec<String>,
    made: u64,
    refreshed: u64,
    refused: Vec<String>,
}

pub(crate) struct IdentityProvider {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl IdentityProvider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, state, task }
    }

    pub(crate) fn conduct(&self, change: impl FnOnce(&mut Conduct)) {
        change(&mut self.state.lock().unwrap().conduct);
    }

    /// How often it took a refresh token.
    pub(crate) fn refreshed(&self) -> u64 {
        self.state.lock().unwrap().refreshed
    }

    /// Why it refused what it refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state.lock().unwrap().refused.clone()
    }

    /// Logs a user in who was sent to `url`; returns where to it sends the browser back.
    pub(crate) fn authorize(&self, url: &str) -> String {
        let query = url.strip_prefix(AUTHORIZE).and_then(|rest| rest.strip_prefix('?'));
        let query = form(query.unwrap_or_else(|| panic!("{url} is not {AUTHORIZE}")));
        for (name, wanted) in [
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("scope", "openid email"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(query[name], wanted, "{name} of {url}");
        }
        let redirect_uri = query["redirect_uri"].clone();
        assert!(redirect_uri.starts_with("https://"), "{url}");
        let challenge = query["code_challenge"].clone();
        assert_eq!(challenge.len(), 43, "{url}");
        let mut state = self.state.lock().unwrap();
        let code = state.name("code");
        let back = format!("{redirect_uri}?code={code}&state={}", query["state"]);
        state.logins.insert(code, Login { redirect_uri, challenge });
        back
    }
}

impl State {
    fn name(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}-{}-of-the-provider", self.made)
    }

    /// Exchanges a code or refresh token.
    fn exchange(&mut self, form: &BTreeMap<String, String>) -> Result<(), String> {
        let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match of("grant_type") {
            "authorization_code" => {
                let login = self.logins.remove(of("code")).ok_or("no such code")?;
                if of("redirect_uri") != login.redirect_uri {
                    return Err(format!("another redirect_uri: {}", of("redirect_uri")));
                }
                let hash = digest::digest(&digest::SHA256, of("code_verifier").as_bytes());
                if URL_SAFE_NO_PAD.encode(hash) != login.challenge {
                    return Err("another code_verifier".to_owned());
                }
                Ok(())
            }
            "refresh_token" => {
                let token = of("refresh_token");
                let known = self.refresh_tokens.iter().position(|known| known == token);
                self.refresh_tokens.remove(known.ok_or("no such refresh token")?);
                self.refreshed += 1;
                Ok(())
            }
            other => Err(format!("grant_type is {other}")),
        }
    }

    fn tokens(&mut self) -> Value {
        let refresh = self.name("refresh");
        self.refresh_tokens.push(refresh.clone());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({ "iss": ISSUER, "aud": CLIENT, "sub": "ada", "iat": now,
            "exp": now + self.conduct.expires_in.as_secs(), "groups": ["staff"] });
        for (name, value) in self.conduct.claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let key = if self.conduct.forges { OTHER_KEY } else { KEY };
        json!({ "access_token": self.name("access"), "token_type": "Bearer",
            "expires_in": self.conduct.expires_in.as_secs(), "refresh_token": refresh,
            "id_token": signed(key, &claims) })
    }
}

fn signed(key: &[u8], claims: &Value) -> String {
    let key = RsaKeyPair::from_pkcs8(key).unwrap();
    let text = crate::token::unsigned("RS256", claims);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn jwks() -> Value {
    let key = RsaKeyPair::from_pkcs8(KEY).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    let [n, e] = [public.n, public.e].map(|part| URL_SAFE_NO_PAD.encode(part));
    json!({ "keys": [{ "kty": "RSA", "alg": "RS256", "kid": "one", "n": n, "e": e }] })
}

async fn answer(request: Request<Incoming>, shared: &Mutex<State>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
    let basic = request.headers().get("authorization").cloned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut state = shared.lock().unwrap();
    let (status, said) = match path.as_str() {
        _ if state.conduct.is_down => (503, json!({})),
        "/keys" => (200, jwks()),
        "/token" => {
            let form = form(&String::from_utf8_lossy(&body));
            let known = basic.is_some_and(|basic| basic.to_str().is_ok_and(is_client));
            let outcome = match (known, host.as_deref()) {
                (false, _) => Err("another client".to_owned()),
                (true, Some("idp.example")) => state.exchange(&form),
                (true, host) => Err(format!("asked for the host {host:?}")),
            };
            match outcome {
                Ok(()) => (200, state.tokens()),
                Err(reason) => {
                    state.refused.push(reason);
                    (400, json!({ "error": "invalid_grant" }))
                }
            }
        }
        _ => (404, json!({})),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(said.to_string().into()))
        .unwrap()
}

/// Tells whether credentials are the client's (RFC 6749, section 2.3.1).
fn is_client(basic: &str) -> bool {
    let pair = basic.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
    let (id, secret) = pair.split_once(':').unwrap_or_default();
    decoded(id) == CLIENT && decoded(secret) == SECRET
}

/// Reads `application/x-www-form-urlencoded`.
pub(crate) fn form(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    // What somebody made up is any bytes.
    String::from_utf8_lossy(&bytes).into_owned()
}
