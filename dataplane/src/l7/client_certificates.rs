//! Certificates of clients: which are let in, and what endpoints are told of them.
//!
//! Authorities and revocation lists are a secret that names files; who is let in by name is the
//! listener's, so that whoever is struck off the list loses connections too.

use model::{
    ObjectKey,
    listener::{ClientCertificates, ClientName, ForwardedDetail, NameMatch},
};

use super::{
    ResourceType, common_tls, names,
    origin::Origin,
    pb::{self, hcm, matcher, tls},
    resource::Resource,
    secret,
    version::Version,
};

/// Makes what a client's certificate is checked by.
pub(super) fn validation(
    key: &ObjectKey,
    clients: &ClientCertificates,
) -> tls::common_tls_context::ValidationContextType {
    use tls::common_tls_context as common;
    let names = tls::CertificateValidationContext {
        match_typed_subject_alt_names: clients.subject_alt_names.iter().map(name).collect(),
        ..Default::default()
    };
    let combined = common::CombinedCertificateValidationContext {
        default_validation_context: Some(names),
        validation_context_sds_secret_config: Some(common_tls::secret(names::clients(key))),
        ..Default::default()
    };
    common::ValidationContextType::CombinedValidationContext(combined)
}

/// Returns what of it is the listener's own: all but what the secret holds.
pub(super) fn without_files(clients: &ClientCertificates) -> ClientCertificates {
    ClientCertificates { ca_file: String::new(), crl_file: None, ..clients.clone() }
}

/// Makes the secret with the authorities and their revocation lists.
pub(super) fn secret(key: &ObjectKey, clients: &ClientCertificates) -> Resource {
    let name = names::clients(key);
    let context = tls::CertificateValidationContext {
        trusted_ca: Some(secret::file(&clients.ca_file)),
        crl: clients.crl_file.as_deref().map(secret::file),
        watched_directory: secret::watched(&clients.ca_file),
        ..Default::default()
    };
    let body = tls::secret::Type::ValidationContext(context);
    let files = [("caFile", Some(&clients.ca_file)), ("crlFile", clients.crl_file.as_ref())];
    Resource {
        version: Version::of(ResourceType::Secret)
            .part(&name)
            .part(&files.map(|(_, file)| file))
            .finish(),
        body: pb::any(&tls::Secret { name: name.clone(), r#type: Some(body) }),
        name: name.into(),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
        origins: files
            .into_iter()
            .filter_map(|(field, file)| {
                Some(Origin {
                    object: key.clone(),
                    field: format!("spec.tls.clients.{field}"),
                    text: file?.clone(),
                    route: None,
                })
            })
            .collect(),
    }
}

fn name(name: &ClientName) -> tls::SubjectAltNameMatcher {
    use matcher::string_matcher::MatchPattern;
    use tls::subject_alt_name_matcher::SanType;
    let pattern = |name: &NameMatch| match name {
        NameMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        NameMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        NameMatch::Suffix(text) => MatchPattern::Suffix(text.clone()),
    };
    let (kind, pattern) = match name {
        ClientName::Dns(name) => (SanType::Dns, pattern(name)),
        ClientName::Uri(name) => (SanType::Uri, pattern(name)),
        ClientName::Email(name) => (SanType::Email, pattern(name)),
        ClientName::Ip(ip) => (SanType::IpAddress, MatchPattern::Exact(ip.to_string())),
    };
    // Names of hosts have no case.
    common_tls::name(kind, pattern, kind == SanType::Dns)
}

type Manager = hcm::HttpConnectionManager;

/// Says what endpoints are told of the certificate; what clients say of it is never passed on.
pub(super) fn forward(manager: &mut Manager, clients: Option<&ClientCertificates>) {
    use hcm::http_connection_manager::{ForwardClientCertDetails, SetCurrentClientCertDetails};
    let details = clients.map(|clients| clients.forward.as_slice()).unwrap_or_default();
    if details.is_empty() {
        manager.forward_client_cert_details = ForwardClientCertDetails::Sanitize as i32;
        return;
    }
    let has = |detail| details.contains(&detail);
    manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet as i32;
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: Some(pb::boolean(has(ForwardedDetail::Subject))),
        dns: has(ForwardedDetail::Dns),
        uri: has(ForwardedDetail::Uri),
        cert: has(ForwardedDetail::Certificate),
        chain: has(ForwardedDetail::Chain),
        ..Default::default()
    });
}
