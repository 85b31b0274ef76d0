//! Certificates that vouch for nothing, for servers of the laboratory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A certificate and its key, as files and in memory.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The PEM file of the certificate.
    pub certificate: PathBuf,
    /// The PEM file of the key.
    pub key: PathBuf,
    /// The certificate in DER.
    pub der: Vec<u8>,
}

impl Certificate {
    /// Makes a key and a self-signed certificate for a host, in `folder`, as `NAME.crt` and `NAME.key`.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn write(folder: &Path, name: &str, host: &str) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([host.to_owned()])
            .context("making a certificate")?;
        let (certificate, key) =
            (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { certificate, key, der: made.cert.der().to_vec() })
    }
}
