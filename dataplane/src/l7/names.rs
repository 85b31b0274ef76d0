//! Names of resources, made of names of objects.

use std::sync::Arc;

use model::ObjectKey;

/// The authority of names that Envoy asks for by collection.
const AUTHORITY: &str = "xdstp://marchproxy/envoy.config.route.v3.ScopedRouteConfiguration";
/// The last part of the name of a listener's table of wildcard hosts; no host looks like it.
const WILDCARDS: &str = "-wildcards";

/// Names the resource of a service or listener: `namespace/name`.
pub(super) fn plain(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

/// Returns what the names of a listener's secrets, and no others, begin with.
pub(super) fn certificates(listener: &ObjectKey) -> String {
    format!("{}/certificate-", plain(listener))
}

/// Names the secret of a listener's certificate.
pub(super) fn certificate(listener: &ObjectKey, index: usize) -> String {
    format!("{}{index}", certificates(listener))
}

/// Names the secret with the authorities of a listener's clients, beside its certificates.
pub(super) fn clients(listener: &ObjectKey) -> String {
    format!("{}authorities", certificates(listener))
}

/// Names the secret with the answer to a challenge, beside a listener's certificates.
pub(super) fn challenge(listener: &ObjectKey) -> String {
    format!("{}challenge", certificates(listener))
}

/// Names the resource of a listener's HTTP/3: no listener and no service is called so.
pub(super) fn http3(listener: &ObjectKey) -> String {
    format!("{}/http3", plain(listener))
}

/// Names the resource of a referenced service or listener: `namespace/name`.
pub(super) fn reference(reference: &model::route::Reference) -> Arc<str> {
    format!("{}/{}", reference.namespace, reference.name).into()
}

/// Names the secret with Envoy's own certificate for a service. Longer than any name of a listener.
pub(super) fn client_certificate(service: &ObjectKey) -> String {
    format!("{}/{}/client-certificate", service.namespace, service.name)
}

/// Names the secret with the authorities that a service trusts.
pub(super) fn trusted_ca(service: &ObjectKey) -> String {
    format!("{}/{}/trusted-ca", service.namespace, service.name)
}

/// The last parts of the names of a policy's secrets.
const CLIENT_SECRET: &str = "/client-secret";
const SESSION_KEY: &str = "/session-key";

/// Names the secret by which we are known to the identity provider of a policy.
pub(super) fn client_secret(policy: &str) -> String {
    format!("{policy}{CLIENT_SECRET}")
}

/// Names the secret that the sessions of a policy are sealed with.
pub(super) fn session_key(policy: &str) -> String {
    format!("{policy}{SESSION_KEY}")
}

/// Tells whether a secret is one of a policy's.
pub(super) fn is_of_session(name: &str) -> bool {
    name.ends_with(CLIENT_SECRET) || name.ends_with(SESSION_KEY)
}

/// Names the collection of a listener's scopes.
pub(super) fn scopes(listener: &ObjectKey) -> String {
    format!("{AUTHORITY}/{}/{}/*", listener.namespace, listener.name)
}

/// Names the scope of an exact host.
pub(super) fn scope(listener: &ObjectKey, host: &str) -> String {
    format!("{AUTHORITY}/{}/{}/{host}", listener.namespace, listener.name)
}

/// Names the scope with a listener's wildcard hosts.
pub(super) fn wildcards(listener: &ObjectKey) -> String {
    scope(listener, WILDCARDS)
}

/// Tells whether a host goes to the table of wildcard hosts.
pub(super) fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}
