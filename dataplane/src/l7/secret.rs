//! The certificates of an HTTPS listener, as SDS secrets that name the files on this node.
//!
//! Envoy reads the files, and again when their directory sees a rename, so keys never pass
//! through our socket and rotation needs no revision.

use std::path::Path;

use model::{
    Certificate, Kind, ObjectKey, Snapshot,
    listener::{CertificateFiles, ListenerTls, Shown},
};
use prost::Message as _;

use super::{
    ResourceType, client_certificates, names,
    origin::Origin,
    pb::{self, core, tls},
    resource::Resource,
    version::Version,
};
use crate::certificates;

/// Makes the secrets of a listener; certificates that are issued lie under `issued`.
pub(super) fn secrets(
    key: &ObjectKey,
    spec: &ListenerTls,
    config: &Snapshot,
    issued: &Path,
) -> Vec<Resource> {
    let secret = |(index, (field, shown)): (usize, (String, Shown<'_>))| {
        let (files, owner, field) = match shown {
            Shown::Files(files) => (files.clone(), key.clone(), field),
            Shown::Certificate(named) => {
                let key = ObjectKey::new(Kind::Certificate, &named.namespace, &named.name);
                let files = match config.certificate(&named.namespace, &named.name) {
                    Some(Certificate::Files(files)) => files.clone(),
                    Some(Certificate::Issued(_)) | None => certificates::files(issued, &key),
                };
                (files, key, "spec".to_owned())
            }
        };
        let name = names::certificate(key, index);
        listener_certificate(key, name, &files, |of_file, text| Origin {
            object: owner.clone(),
            field: format!("{field}.{of_file}"),
            text: text.to_owned(),
            route: None,
        })
    };
    let clients = spec.clients.iter().map(|clients| client_certificates::secret(key, clients));
    spec.shown().enumerate().map(secret).chain(clients).collect()
}

fn listener_certificate(
    key: &ObjectKey,
    name: String,
    files: &CertificateFiles,
    origin: impl Fn(&str, &str) -> Origin,
) -> Resource {
    let certificate = certificate(&files.certificate_file, &files.private_key_file);
    let secret = tls::Secret {
        name: name.clone(),
        r#type: Some(tls::secret::Type::TlsCertificate(certificate)),
    };
    Resource {
        version: Version::of(ResourceType::Secret).part(&name).part(files).finish(),
        name: name.into(),
        body: pb::any(&secret),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
        origins: vec![
            origin("certificateFile", &files.certificate_file),
            origin("privateKeyFile", &files.private_key_file),
        ],
    }
}

/// Makes a certificate of its files.
pub(super) fn certificate(chain: &str, private_key: &str) -> tls::TlsCertificate {
    tls::TlsCertificate {
        certificate_chain: Some(file(chain)),
        private_key: Some(file(private_key)),
        watched_directory: watched(chain),
        ..Default::default()
    }
}

/// Makes the directory of a file one in which Envoy looks for renames.
pub(super) fn watched(file: &str) -> Option<core::WatchedDirectory> {
    let directory = Path::new(file).parent().filter(|path| path.is_absolute())?;
    Some(core::WatchedDirectory { path: directory.display().to_string(), ..Default::default() })
}

/// Spells the paths of a secret's files in another way: Envoy takes a secret that it was sent before
/// for known, also where it could not read the files.
pub(crate) fn spelled_anew(secret: &Resource) -> Resource {
    let mut secret = secret.clone();
    let Ok(mut body) = tls::Secret::decode(secret.body.value.as_slice()) else { return secret };
    let sources = match &mut body.r#type {
        Some(tls::secret::Type::TlsCertificate(certificate)) => {
            [certificate.certificate_chain.as_mut(), certificate.private_key.as_mut()]
        }
        Some(tls::secret::Type::ValidationContext(context)) => [context.trusted_ca.as_mut(), None],
        _ => [None, None],
    };
    for source in sources.into_iter().flatten() {
        if let Some(core::data_source::Specifier::Filename(path)) = &mut source.specifier {
            path.insert_str(0, "/.");
        }
    }
    secret.body.value = body.encode_to_vec();
    secret
}

/// Makes a source that is a file.
pub(super) fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}
