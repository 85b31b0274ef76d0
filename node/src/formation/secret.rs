//! The founders' shared secret, as mutual TLS.
//!
//! From the secret comes the key of a CA (Ed25519, seed = HMAC-SHA256 of the secret), the same on
//! every host; each host issues itself a certificate of that CA. Who completes the handshake, on
//! either side, knows the secret; it never travels. Used only before the cluster exists.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, path::PathBuf, sync::Arc};

use ring::hmac;
use runtime::tls::provider;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use zeroize::Zeroizing;

/// Least length of the secret: 32 characters of base64 hold 192 bits.
const CHARACTERS_MIN: usize = 32;
const SEED_LABEL: &[u8] = b"marchproxy formation ca v1";
const NAME: &str = "formation.marchproxy";
/// The start of an Ed25519 private key in PKCS #8 (RFC 8410, section 7); the seed follows.
const PKCS8_START: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why the shared secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("cannot read the cluster secret {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has mode {mode:o}; it holds a secret: chmod 600 it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "the cluster secret {} has {found} characters, at least {CHARACTERS_MIN} are needed: make \
         one with `openssl rand -base64 32` and copy it to every host", path.display()
    )]
    Short { path: PathBuf, found: usize },
    #[error("the cluster secret makes no certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("the cluster secret makes no TLS")]
    Tls(#[from] rustls::Error),
    #[error("the cluster secret makes no TLS")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS of one founder.
pub(crate) struct FounderTls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// The name that clients ask for.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a DNS name")
}

/// Reads the secret and makes this host's TLS of it.
pub(crate) fn load(path: &Path) -> Result<FounderTls, SecretError> {
    let read = |source| SecretError::Read { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(read)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(read)?);
    let secret = text.trim();
    if secret.len() < CHARACTERS_MIN {
        return Err(SecretError::Short { path: path.to_owned(), found: secret.len() });
    }
    tls(secret)
}

fn tls(secret: &str) -> Result<FounderTls, SecretError> {
    let (authority, issuer) = authority(secret)?;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let own = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?;
    let chain = vec![own.der().clone()];
    let private = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let roots = Arc::new(roots);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build()?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), private())?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private())?;
    Ok(FounderTls { server: Arc::new(server), client: Arc::new(client) })
}

/// The CA of a secret; its key is the same on every host, its certificate differs in nothing that
/// verification looks at.
fn authority(
    secret: &str,
) -> Result<(CertificateDer<'static>, rcgen::Issuer<'static, rcgen::KeyPair>), rcgen::Error> {
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), SEED_LABEL);
    let mut pkcs8 = Zeroizing::new(PKCS8_START.to_vec());
    pkcs8.extend_from_slice(seed.as_ref());
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(pkcs8.as_slice()),
        &rcgen::PKCS_ED25519,
    )?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "marchproxy formation");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let certificate = params.self_signed(&key)?.der().clone();
    Ok((certificate, rcgen::Issuer::new(params, key)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    async fn shake_hands(server: &str, client: &str) -> bool {
        let (a, b) = tokio::io::duplex(64 * 1024);
        let acceptor = TlsAcceptor::from(tls(server).unwrap().server);
        let connector = TlsConnector::from(tls(client).unwrap().client);
        let serve = async {
            let mut stream = acceptor.accept(a).await?;
            stream.write_all(b"hi").await?;
            stream.flush().await
        };
        let call = async {
            let mut stream = connector.connect(server_name(), b).await?;
            let mut word = [0; 2];
            stream.read_exact(&mut word).await.map(|_| ())
        };
        let (served, called) = tokio::join!(serve, call);
        served.is_ok() && called.is_ok()
    }

    #[tokio::test]
    async fn hosts_with_the_same_secret_trust_each_other_and_others_do_not() {
        let (one, other) = ("a".repeat(32), "b".repeat(32));
        assert!(shake_hands(&one, &one).await);
        assert!(!shake_hands(&one, &other).await);
    }

    #[test]
    fn a_short_or_exposed_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("short", 0o600);
        assert!(matches!(load(&path), Err(SecretError::Short { found: 5, .. })));
        write(&"x".repeat(40), 0o644);
        assert!(matches!(load(&path), Err(SecretError::Exposed { .. })));
        write(&"x".repeat(40), 0o600);
        load(&path).unwrap();
    }
}
