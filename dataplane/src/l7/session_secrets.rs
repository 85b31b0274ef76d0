//! The secrets of policies that demand sessions: ours with the identity provider, and the key that the
//! cookies are sealed with. They go to Envoy inside the resource, by the socket that is for it alone,
//! and never to disk.
//!
//! The key is derived from the client's secret and the policy's name (HKDF, RFC 5869), so all nodes have
//! the same, also after restarts, and nobody has to bring it to them. Another secret ends all sessions.

use model::{
    ObjectKey, Refusal,
    auth_policy::{ClientAuthentication, Oidc},
};
use ring::hkdf;
use serde::Serialize;

use super::{
    ResourceType, names,
    pb::{self, core, tls},
    resource::Resource,
    version::Version,
};
use crate::secret_files::{Secret, SecretFiles};

/// What the key is for, so that no other derivation of the same secret gives it.
const PURPOSE: &[u8] = b"marchproxy sessions 1";
const FIELD: &str = "spec.oidc.client.secretFile";

/// Makes the secrets of a policy; where its file gives none, nobody logs in.
pub(super) fn secrets(
    key: &ObjectKey,
    wanted: &Oidc,
    files: &SecretFiles,
) -> Result<[Resource; 2], Box<Refusal>> {
    let path = wanted.client.secret_file.as_str();
    let secret = files.get(path).ok_or_else(|| "was not read".to_owned());
    let secret = secret.and_then(|read| read.as_ref().map_err(ToString::to_string));
    let secret = secret.map_err(|message| Refusal {
        object: Some(key.clone()),
        field: FIELD.to_owned(),
        resource: path.to_owned(),
        message,
    })?;
    let policy = names::plain(key);
    let sealing = session_key(secret, &policy);
    let shown = match wanted.client.authentication {
        // Envoy encodes only what it puts into a body, and there no sign of encoding.
        ClientAuthentication::Basic => encoded(secret.bytes(), |b| {
            b.is_ascii_alphanumeric() || b"-._~".contains(&b) //
        }),
        ClientAuthentication::Post => encoded(secret.bytes(), |b| b != b'%'),
    };
    let version = (&sealing, wanted.client.authentication);
    Ok([
        resource(key, names::client_secret(&policy), &version, &shown),
        resource(key, names::session_key(&policy), &version, sealing.as_bytes()),
    ])
}

/// Encodes a secret, but for what is plain (RFC 6749, section 2.3.1).
fn encoded(secret: &[u8], is_plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(secret.len());
    for byte in secret {
        match is_plain(*byte) {
            true => text.push(*byte),
            false => text.extend(format!("%{byte:02X}").bytes()),
        }
    }
    text
}

/// Derives the key of a policy's sessions, as text.
fn session_key(secret: &Secret, policy: &str) -> String {
    let mut key = [0; 32];
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE).extract(secret.bytes());
    extracted
        .expand(&[policy.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut key))
        .expect("a key is as long as the hash that it is made by");
    hex::encode(key)
}

/// Makes a secret, whose version tells nothing of it: it is the key's, from which no way leads back.
fn resource(key: &ObjectKey, name: String, version: &impl Serialize, value: &[u8]) -> Resource {
    let value = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(value.to_vec())),
        ..Default::default()
    };
    let secret = tls::Secret {
        name: name.clone(),
        r#type: Some(tls::secret::Type::GenericSecret(tls::GenericSecret {
            secret: Some(value),
            ..Default::default()
        })),
    };
    Resource {
        version: Version::of(ResourceType::Secret).part(&name).part(version).finish(),
        name: name.into(),
        body: pb::any(&secret),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
        origins: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::of(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn the_key_is_that_of_the_secret_and_the_policy() {
        let one = secret("0123456789abcdef");
        let key = session_key(&one, "default/staff");
        // HKDF-SHA-256 by Python's hmac: nodes of another version must find the same.
        assert_eq!(key, "fe0e71abce42f38121f8224fdac98c2a5ebff8a82a7de7370ee81746b1a24361");
        assert_ne!(key, session_key(&one, "default/other"));
        assert_ne!(key, session_key(&secret("0123456789abcdeg"), "default/staff"));
    }
}
