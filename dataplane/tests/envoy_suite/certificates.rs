//! An authority of the tests' own, the certificates that it issues, and clients over TLS.

use std::{path::Path, sync::Arc};

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Answer, Client};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Issues one with the names, for DNS or, with a colon, URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let (uris, dns): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains(':'));
        let mut params =
            CertificateParams::new(dns.into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap();
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// Makes a client that trusts this authority.
    pub(crate) fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        TlsClient { roots, version: None }
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`, each renamed into its place as rotation tools do.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        replace(&directory.join(format!("{name}.key")), &self.key.serialize_pem());
        replace(&directory.join(format!("{name}.pem")), &self.certificate.pem());
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// Names files that [`Issued::write`] wrote.
fn files(directory: &Path, name: &str) -> String {
    let directory = directory.display();
    format!("certificateFile: {directory}/{name}.pem, privateKeyFile: {directory}/{name}.key")
}

/// The fields of `tls` with the certificates of some files.
pub(crate) fn certificates(directory: &Path, names: &[&str]) -> String {
    let more: Vec<String> =
        names[1..].iter().map(|name| format!("{{ {} }}", files(directory, name))).collect();
    format!("{}, moreCertificates: [{}]", files(directory, names[0]), more.join(", "))
}

/// An HTTPS listener with the fields of its `tls`.
pub(crate) fn https_listener(port: u16, tls: &str) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTPS, port: {port}, tls: {{ {tls} }} }}\n"
    )
}

/// What a client over TLS trusts and speaks.
pub(crate) struct TlsClient {
    roots: RootCertStore,
    version: Option<&'static rustls::SupportedProtocolVersion>,
}

/// A connection over TLS that is kept.
pub(crate) struct TlsConnection {
    pub(crate) client: Client,
    /// What the server showed.
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) version: ProtocolVersion,
}

impl TlsClient {
    /// Speaks one version only.
    pub(crate) fn only(self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = self.version.map_or(rustls::ALL_VERSIONS.to_vec(), |version| vec![version]);
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth()
    }

    /// Connects and speaks HTTP/1.1.
    pub(crate) async fn connect(&self, port: u16, name: &str) -> Result<TlsConnection, String> {
        let mut config = self.config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let (_, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().unwrap()[0].clone().into_owned();
        let version = tls.protocol_version().unwrap();
        let client = Client::over(TokioIo::new(stream)).await.ok_or("no handshake of HTTP")?;
        Ok(TlsConnection { client, certificate, version })
    }

    /// Asks once over a connection of its own.
    pub(crate) async fn get(&self, port: u16, name: &str) -> Option<Answer> {
        self.connect(port, name).await.ok()?.client.get(name, "/").await
    }
}
