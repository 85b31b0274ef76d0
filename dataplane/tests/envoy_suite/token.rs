//! An issuer of JSON Web Tokens: a key, its JWK set, and tokens signed by it (ES256, RFC 7518).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

pub(crate) struct Issuer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
                .unwrap();
        Self { key, random }
    }

    /// Its public key as the text of a JWK set.
    pub(crate) fn jwks(&self) -> String {
        // An uncompressed point: 4, x, y (SEC 1, section 2.3.3).
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let key =
            json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one", "x": x, "y": y });
        json!({ "keys": [key] }).to_string()
    }

    /// A token with claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.signed("ES256", claims)
    }

    /// A token that says to be signed by an algorithm, whatever it is.
    pub(crate) fn signed(&self, algorithm: &str, claims: &Value) -> String {
        let text = unsigned(algorithm, claims);
        let signature = self.key.sign(&self.random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// The two parts of a token that are signed.
pub(crate) fn unsigned(algorithm: &str, claims: &Value) -> String {
    let header = json!({ "alg": algorithm, "kid": "one", "typ": "JWT" });
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}")
}
