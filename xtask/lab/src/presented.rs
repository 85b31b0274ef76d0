//! Which certificate a TLS server presents. Nothing of it is trusted, unless an authority is named: what
//! is asked is what is shown.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::verifier::{self, Judge};

/// Asks servers for their certificates.
#[derive(Debug, Clone)]
pub struct Asker(Arc<ClientConfig>);

impl Asker {
    /// Makes one.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new() -> Result<Self> {
        verifier::client(Anyone).map(Self)
    }

    /// Makes one that trusts an authority, and insists on the host's name.
    ///
    /// # Errors
    /// When the text is not a certificate in PEM.
    pub fn trusting(authority: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Returns the certificate that `server` presents for a host, in DER, after a whole handshake on
    /// a connection of its own.
    ///
    /// # Errors
    /// When there is no connection or no handshake within `limit`.
    pub fn ask(&self, server: SocketAddr, host: &str, limit: Duration) -> io::Result<Vec<u8>> {
        let bad = |error: Error| io::Error::new(ErrorKind::InvalidData, error);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let mut stream = TcpStream::connect_timeout(&server, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(bad)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        let shown = session.peer_certificates().and_then(<[_]>::first);
        shown.map(|der| der.to_vec()).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct Anyone;

impl Judge for Anyone {
    fn judge(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &WebPkiSupportedAlgorithms,
        _: UnixTime,
    ) -> Result<(), Error> {
        Ok(())
    }
}
