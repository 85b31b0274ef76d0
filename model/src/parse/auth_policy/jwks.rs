//! Reads where the keys of an issuer of tokens are.

use std::time::Duration;

use serde_json::Value;

use crate::{
    auth_policy::{Jwks, RemoteJwks},
    limits::{MAX_JWKS_BYTES, MAX_JWKS_REFRESH},
    parse::{
        name::{host, reference},
        pattern::target_path,
        reader::{Node, Read},
        scalar::{file, text, whole_seconds},
    },
};

const DEFAULT_REFRESH: Duration = Duration::from_mins(5);

pub(super) fn jwks(node: &Node<'_>, namespace: &str) -> Read<Jwks> {
    let fields = node.fields()?;
    let inline = fields.optional("inline", inline);
    let file = fields.optional("file", file);
    let remote = fields.optional("remote", |node| remote(node, namespace));
    fields.finish()?;
    match (inline?, file?, remote?) {
        (Some(text), None, None) => Ok(Jwks::Inline(text)),
        (None, Some(path), None) => Ok(Jwks::File(path)),
        (None, None, Some(remote)) => Ok(Jwks::Remote(remote)),
        _ => Err(node.error(
            "has not exactly one of inline, file and remote",
            "write the text of a JWK set, the path of a file, or {service, host, path}",
        )),
    }
}

fn inline(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    // Errors repeat no text: it may be a secret.
    node.with_text("(a JWK set)", |node| check(node, text))?;
    Ok(text.to_owned())
}

fn check(node: &Node<'_>, text: &str) -> Read<()> {
    if text.len() > MAX_JWKS_BYTES {
        let message = format!("has {} bytes", text.len());
        return Err(node.error(message, format!("write at most {MAX_JWKS_BYTES}")));
    }
    let remedy = "write {\"keys\": […]} with the issuer's public keys (RFC 7517, section 5)";
    let set: Value = serde_json::from_str(text)
        .map_err(|error| node.error(format!("is not JSON: {error}"), remedy))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
        return Err(node.error("is no JWK set with keys", remedy));
    };
    for (index, key) in keys.iter().enumerate() {
        let problem = match key.get("kty").and_then(Value::as_str) {
            Some("RSA" | "EC" | "OKP") if key.get("d").is_some() => "is a private key",
            Some("RSA" | "EC" | "OKP") => continue,
            Some("oct") => "is a secret key, and the configuration keeps no secrets",
            _ => "has no kty of RSA, EC or OKP",
        };
        return Err(node.error(format!("holds keys[{index}], which {problem}"), remedy));
    }
    Ok(())
}

fn remote(node: &Node<'_>, namespace: &str) -> Read<RemoteJwks> {
    let fields = node.fields()?;
    let service =
        fields.required("service", "{name: …}, whom to ask", |node| reference(node, namespace));
    let host = fields.required("host", "the host that it is asked for", host);
    let path = fields.required("path", "a path such as /.well-known/jwks.json", target_path);
    let refresh =
        fields.or("refresh", DEFAULT_REFRESH, |node| whole_seconds(node, MAX_JWKS_REFRESH));
    let known = fields.finish();
    let remote = RemoteJwks { service: service?, host: host?, path: path?, refresh: refresh? };
    known.map(|()| remote)
}
