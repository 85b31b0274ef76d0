//! An authority of the tests' own, the certificates that it issues, and clients over TLS.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Answer, Client};

/// The number of the next certificate.
static SERIAL: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
    serial: SerialNumber,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("tests")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Issues one with the names: URIs (with a colon), email addresses, addresses, or for DNS.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let (uris, others): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains(':'));
        let (emails, dns): (Vec<&str>, Vec<&str>) =
            others.into_iter().partition(|name| name.contains('@'));
        let mut params =
            CertificateParams::new(dns.into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap();
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let emails = emails.into_iter().map(|name| SanType::Rfc822Name(name.try_into().unwrap()));
        params.subject_alt_names.extend(emails);
        let key = KeyPair::generate().unwrap();
        let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap(), key, serial }
    }

    /// Makes a client that trusts this authority.
    pub(crate) fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        TlsClient { roots, identity: None, version: None }
    }

    /// Writes itself and others, as the authorities to trust.
    pub(crate) fn write(&self, others: &[&Self], path: &Path) {
        let all = others.iter().map(|other| other.certificate.pem());
        replace(path, &(self.certificate.pem() + &all.collect::<String>()));
    }

    /// Writes the list of what was revoked.
    pub(crate) fn revoke(&self, revoked: &[&Issued], path: &Path) {
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        replace(path, &list.signed_by(&self.issuer).unwrap().pem().unwrap());
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`, each renamed into its place as rotation tools do.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        replace(&directory.join(format!("{name}.key")), &self.key.serialize_pem());
        replace(&directory.join(format!("{name}.pem")), &self.certificate.pem());
    }

    /// Makes a server that shows it.
    pub(crate) fn server(&self) -> ServerConfig {
        let (chain, key) = self.identity();
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (vec![self.certificate.der().clone()], key.into())
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

/// What a client over TLS trusts and shows.
pub(crate) struct TlsClient {
    roots: RootCertStore,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
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
    /// Shows a certificate.
    pub(crate) fn showing(self, issued: &Issued) -> Self {
        Self { identity: Some(issued.identity()), ..self }
    }

    /// Speaks one version only.
    pub(crate) fn only(self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = self.version.map_or(rustls::ALL_VERSIONS.to_vec(), |version| vec![version]);
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        match &self.identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                config.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
            }
        }
    }

    /// Connects and speaks HTTP/1.1.
    pub(crate) async fn connect(&self, port: u16, name: &str) -> Result<TlsConnection, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        self.over(stream.map_err(|error| error.to_string())?, name).await
    }

    /// Speaks HTTP/1.1 over a connection.
    pub(crate) async fn over(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> Result<TlsConnection, String> {
        let mut config = self.config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
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
