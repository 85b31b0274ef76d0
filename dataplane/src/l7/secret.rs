//! The certificate of an HTTPS listener, as an SDS secret that names the files on this node.
//!
//! Envoy reads the files, and again when their directory sees a rename, so keys never pass
//! through our socket and rotation needs no revision.

use std::path::Path;

use model::{ObjectKey, listener::ListenerTls};

use super::{
    ResourceType, names,
    origin::Origin,
    pb::{self, core, tls},
    resource::Resource,
    version::Version,
};

/// Makes the secret of a listener.
pub(super) fn secret(key: &ObjectKey, files: &ListenerTls) -> Resource {
    let name = names::plain(key);
    let directory = Path::new(&files.certificate_file).parent().filter(|path| path.is_absolute());
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(file(&files.certificate_file)),
        private_key: Some(file(&files.private_key_file)),
        watched_directory: directory.map(|path| core::WatchedDirectory {
            path: path.display().to_string(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let secret = tls::Secret {
        name: name.clone(),
        r#type: Some(tls::secret::Type::TlsCertificate(certificate)),
    };
    let origin = |field: &str, text: &str| Origin {
        object: key.clone(),
        field: format!("spec.tls.{field}"),
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

fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}
