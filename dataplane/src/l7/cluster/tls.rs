//! TLS to endpoints: the socket, and the secrets that it asks for.
//!
//! Certificates and authorities are secrets of their own that name files on this node: Envoy reads
//! them again when their directory sees a rename, so a rotation changes no cluster and drops nothing.

use std::path::Path;

use model::{
    ObjectKey, Service,
    service::{HttpProtocol, SubjectAltName, UpstreamTls},
    tls::TlsVersion,
};

use super::{
    super::{
        ResourceType, common_tls, names,
        origin::Origin,
        resource::{Resource, ResourceId},
        secret,
        version::Version,
    },
    pb::{self, core, matcher, tls},
};

/// Makes the socket of a service with TLS.
pub(super) fn socket(
    key: &ObjectKey,
    service: &Service,
    tls: &UpstreamTls,
) -> core::TransportSocket {
    use matcher::string_matcher::MatchPattern;
    use tls::common_tls_context as common;
    let alpn = match service.upstream.protocol {
        Some(HttpProtocol::Http2) if tls.alpn.is_empty() => vec!["h2".to_owned()],
        _ => tls.alpn.clone(),
    };
    let names = || tls::CertificateValidationContext {
        match_typed_subject_alt_names: expected(tls)
            .map(|(kind, text)| common_tls::name(kind, MatchPattern::Exact(text), false))
            .collect(),
        ..Default::default()
    };
    let context = tls::UpstreamTlsContext {
        sni: tls.server_name.clone().unwrap_or_default(),
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(common_tls::versions(tls.min_version, TlsVersion::V1_3)),
            alpn_protocols: alpn,
            tls_certificate_sds_secret_configs: tls
                .certificate_file
                .iter()
                .map(|_| common_tls::secret(names::client_certificate(key)))
                .collect(),
            validation_context_type: (!tls.dangerously_accept_any_certificate).then(|| {
                let combined = common::CombinedCertificateValidationContext {
                    default_validation_context: Some(names()),
                    validation_context_sds_secret_config: Some(common_tls::secret(
                        names::trusted_ca(key),
                    )),
                    ..Default::default()
                };
                common::ValidationContextType::CombinedValidationContext(combined)
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    common_tls::socket(&context)
}

/// Lists the names of which the certificate has to be for one.
fn expected(
    tls: &UpstreamTls,
) -> impl Iterator<Item = (tls::subject_alt_name_matcher::SanType, String)> {
    use tls::subject_alt_name_matcher::SanType;
    let asked = tls.server_name.iter().filter(|_| tls.subject_alt_names.is_empty());
    let asked = asked.map(|name| (SanType::Dns, name.clone()));
    asked.chain(tls.subject_alt_names.iter().map(|name| match name {
        SubjectAltName::Dns(name) => (SanType::Dns, name.clone()),
        SubjectAltName::Uri(uri) => (SanType::Uri, uri.clone()),
        SubjectAltName::Ip(ip) => (SanType::IpAddress, ip.to_string()),
    }))
}

/// Lists the secrets that a service with TLS waits for.
pub(super) fn wants(key: &ObjectKey, tls: &UpstreamTls) -> Vec<ResourceId> {
    let client = tls.certificate_file.is_some().then(|| names::client_certificate(key));
    let trusted = (!tls.dangerously_accept_any_certificate).then(|| names::trusted_ca(key));
    let names = client.into_iter().chain(trusted);
    names.map(|name| ResourceId::new(ResourceType::Secret, name)).collect()
}

/// Returns what of it is the cluster's own: other files must not replace the cluster, and with it
/// its connections.
pub(super) fn without_files(tls: &UpstreamTls) -> (bool, UpstreamTls) {
    let bare = UpstreamTls {
        ca_file: None,
        certificate_file: None,
        private_key_file: None,
        ..tls.clone()
    };
    (tls.certificate_file.is_some(), bare)
}

/// Makes the secrets of a service, by name; none where it does not want them.
pub(in crate::l7) fn secrets(
    key: &ObjectKey,
    service: Option<&Service>,
    system_roots: &Path,
) -> [(String, Option<Resource>); 2] {
    let tls = service.and_then(|service| service.upstream.tls.as_ref());
    let (client, trusted) = (names::client_certificate(key), names::trusted_ca(key));
    let made = |name: &str, body: tls::secret::Type, parts: &[&str], fields: &[&str]| Resource {
        version: Version::of(ResourceType::Secret).part(&name).part(&parts).finish(),
        body: pb::any(&tls::Secret { name: name.to_owned(), r#type: Some(body) }),
        name: name.into(),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
        origins: parts
            .iter()
            .zip(fields)
            .map(|(text, field)| Origin {
                object: key.clone(),
                field: format!("spec.tls.{field}"),
                text: (*text).to_owned(),
                route: None,
            })
            .collect(),
    };
    let pair = tls.and_then(|tls| {
        let (chain, private) = (tls.certificate_file.as_ref()?, tls.private_key_file.as_ref()?);
        let body = tls::secret::Type::TlsCertificate(secret::certificate(chain, private));
        Some(made(&client, body, &[chain, private], &["certificateFile", "privateKeyFile"]))
    });
    let authorities = tls.filter(|tls| !tls.dangerously_accept_any_certificate).map(|tls| {
        let system = system_roots.display().to_string();
        let file = tls.ca_file.as_ref().unwrap_or(&system);
        let context = tls::CertificateValidationContext {
            trusted_ca: Some(secret::file(file)),
            watched_directory: secret::watched(file),
            ..Default::default()
        };
        let body = tls::secret::Type::ValidationContext(context);
        made(&trusted, body, &[file], &["caFile"])
    });
    [(client, pair), (trusted, authorities)]
}
