//! The certificates of an HTTPS listener, as SDS secrets that name the files on this node.
//!
//! Envoy reads the files, and again when their directory sees a rename, so keys never pass
//! through our socket and rotation needs no revision.

use std::path::Path;

use model::{
    ObjectKey,
    listener::{CertificateFiles, ListenerTls},
};

use super::{
    ResourceType, names,
    origin::Origin,
    pb::{self, core, tls},
    resource::Resource,
    version::Version,
};

/// Makes the secrets of a listener.
pub(super) fn secrets(key: &ObjectKey, spec: &ListenerTls) -> Vec<Resource> {
    let certificates = spec.certificates().enumerate();
    let secret = |(index, (field, files)): (usize, (String, _))| {
        listener_certificate(key, names::certificate(key, index), &field, files)
    };
    certificates.map(secret).collect()
}

fn listener_certificate(
    key: &ObjectKey,
    name: String,
    at: &str,
    files: &CertificateFiles,
) -> Resource {
    let certificate = certificate(&files.certificate_file, &files.private_key_file);
    let secret = tls::Secret {
        name: name.clone(),
        r#type: Some(tls::secret::Type::TlsCertificate(certificate)),
    };
    let origin = |field: &str, text: &str| Origin {
        object: key.clone(),
        field: format!("{at}.{field}"),
        text: text.to_owned(),
        route: None,
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

/// Makes a source that is a file.
pub(super) fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}
