//! Certificates that were issued for the cluster, as files of this node: one directory for each, for the
//! owner only, with a file that holds both key and chain, so that a rename changes both at once.
//!
//! They come from control nodes, apart from the configuration that names them, and survive reboots. Until
//! the first comes, a self-signed one stands in its place: clients refuse it, and listeners with other
//! certificates are served.
//!
//! **Invariants.** A file is looked at and written, or removed, under one lock: none that stands in takes
//! the place of one that came meanwhile. What came waits under its object's name, so that who gives it does
//! not wait for the disk.

mod stand_in;
mod waiting;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{AcmeChallenge, Kind, ObjectKey, Snapshot, listener::CertificateFiles};
use runtime::{
    durable::{self, DurableError},
    push::Material,
};
use zeroize::Zeroizing;

use waiting::Waiting;

const FILE: &str = "certificate.pem";
/// No namespace begins like it.
const CHALLENGE: &str = ".challenge";
/// Much more than a chain of several certificates has.
const BYTES_MAX: usize = 256 * 1024;

/// Whom the certificate of no challenge is for (RFC 2606).
const NOBODY: &str = "nobody.invalid";

/// Why a certificate is not kept.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// What came is none.
    #[error("what came for {name} is no certificate with its key")]
    NoCertificate {
        /// Whose it should be.
        name: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] DurableError),
    /// Its place cannot be read or removed.
    #[error("cannot read or remove {}", path.display())]
    Place {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// No key can be made for the one that stands in its place.
    #[error("no certificate can be made to stand in for {name}")]
    StandIn {
        /// Whose place it is.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// Returns where the certificate of an object lies under a directory.
pub(crate) fn files(directory: &Path, key: &ObjectKey) -> CertificateFiles {
    let file = place(directory, key).join(FILE).display().to_string();
    CertificateFiles { certificate_file: file.clone(), private_key_file: file }
}

fn place(directory: &Path, key: &ObjectKey) -> PathBuf {
    directory.join(&key.namespace).join(&key.name)
}

/// Returns where the certificate of the present challenge lies under a directory: apart from those of all
/// namespaces.
pub(crate) fn challenge_file(directory: &Path) -> PathBuf {
    directory.join(CHALLENGE).join(FILE)
}

/// The certificates of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct Certificates {
    directory: Arc<Path>,
    /// Held while a file is looked at and changed.
    files: Arc<Mutex<()>>,
    waiting: Arc<Waiting>,
}

impl Certificates {
    /// Keeps them under a directory, which is made when it is needed.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), files: Arc::default(), waiting: Arc::default() }
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes what a control node sent, for [`Self::keep_next`]; of one certificate, the newest.
    pub fn hand_in(&self, material: Material) {
        self.waiting.put(material);
    }

    /// Returns when something was handed in since it last returned.
    pub async fn handed_in(&self) {
        self.waiting.changed().await;
    }

    /// Keeps one that was handed in; tells which, and what came of it. None when none waits. One that could
    /// not be written waits again, behind the others.
    pub fn keep_next(&self) -> Option<(ObjectKey, Result<(), CertificateError>)> {
        // The lock comes first: a newer one that is handed in meanwhile is written later.
        let _alone = self.alone();
        let material = self.waiting.take()?;
        let name = material.certificate.clone();
        let kept = self.keep(&material);
        if !matches!(kept, Ok(()) | Err(CertificateError::NoCertificate { .. })) {
            self.waiting.put_back(material);
        }
        Some((name, kept))
    }

    fn keep(&self, material: &Material) -> Result<(), CertificateError> {
        let Material { certificate: key, chain, key: private } = material;
        let pem = Zeroizing::new(format!("{}{chain}", private.as_str()));
        let whole = chain.contains("-----BEGIN CERTIFICATE-----")
            && private.as_str().contains("PRIVATE KEY-----")
            && pem.len() <= BYTES_MAX;
        if key.kind != Kind::Certificate || !is_place(key) || !whole {
            return Err(CertificateError::NoCertificate { name: key.to_string() });
        }
        self.write(key, pem.as_bytes())
    }

    /// Lets one stand in for each certificate of a configuration that has not come.
    ///
    /// # Errors
    /// One cannot be made or written; the others are.
    pub fn stand_in(&self, config: &Snapshot) -> Result<(), CertificateError> {
        let mut outcome = Ok(());
        let by_handshake = config.acme_challenges().contains(&AcmeChallenge::TlsAlpn01);
        if by_handshake && !challenge_file(&self.directory).exists() {
            let made = stand_in::certificate(&[NOBODY.to_owned()]);
            let _alone = self.alone();
            // An answer may have come meanwhile.
            if !challenge_file(&self.directory).exists() {
                outcome = self.put_challenge(made);
            }
        }
        for (key, issued) in config.issued_certificates() {
            let _alone = self.alone();
            if place(&self.directory, key).join(FILE).exists() {
                continue;
            }
            let made = stand_in::certificate(&issued.hosts).map_err(|source| {
                CertificateError::StandIn { name: key.to_string(), source } //
            });
            outcome = outcome.and(made.and_then(|pem| self.write(key, pem.as_bytes())));
        }
        outcome
    }

    /// Has the certificate of a challenge shown to who speaks the protocol of challenges (RFC 8737).
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn answer(&self, host: &str, key_authorization: &str) -> Result<(), CertificateError> {
        let made = stand_in::challenge(host, key_authorization);
        let _alone = self.alone();
        self.put_challenge(made)
    }

    fn put_challenge(
        &self,
        made: Result<Zeroizing<String>, rcgen::Error>,
    ) -> Result<(), CertificateError> {
        let pem = made.map_err(|source| CertificateError::StandIn {
            name: "a challenge".to_owned(),
            source,
        })?;
        durable::private_directory(&self.directory.join(CHALLENGE))?;
        Ok(durable::replace(&challenge_file(&self.directory), pem.as_bytes(), 0o600)?)
    }

    /// Removes those that a configuration does not name.
    ///
    /// # Errors
    /// The directory cannot be read, or one cannot be removed.
    pub fn forget_others(&self, config: &Snapshot) -> Result<(), CertificateError> {
        for namespace in entries(&self.directory)? {
            if namespace.ends_with(CHALLENGE) {
                continue;
            }
            for certificate in entries(&namespace)? {
                let name =
                    |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
                let (Some(namespace), Some(name)) = (name(&namespace), name(&certificate)) else {
                    continue;
                };
                let _alone = self.alone();
                let named = config.certificate(&namespace, &name);
                if named.is_none_or(|certificate| certificate.issued().is_none()) {
                    remove(certificate)?;
                }
            }
        }
        Ok(())
    }

    /// Has all that changes files wait.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        // What it guards is on disk, where a panic leaves a whole file.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &ObjectKey, pem: &[u8]) -> Result<(), CertificateError> {
        let place = place(&self.directory, key);
        let file = place.join(FILE);
        if fs::read(&file).is_ok_and(|held| Zeroizing::new(held).as_slice() == pem) {
            // A session sends all it has when it begins; Envoy need not load what it holds.
            return Ok(());
        }
        durable::private_directory(&place)?;
        Ok(durable::replace(&file, pem, 0o600)?)
    }
}

fn remove(path: PathBuf) -> Result<(), CertificateError> {
    fs::remove_dir_all(&path).map_err(|source| CertificateError::Place { path, source })
}

/// Lists what is in a directory; nothing where there is none.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, CertificateError> {
    let failed = |source| CertificateError::Place { path: directory.to_owned(), source };
    match fs::read_dir(directory) {
        Ok(entries) => {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<io::Result<_>>().map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Tells whether namespace and name are names of directories, and lead nowhere else.
fn is_place(key: &ObjectKey) -> bool {
    [&key.namespace, &key.name].into_iter().all(|name| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(yaml: &str) -> Snapshot {
        let mut config = Snapshot::default();
        for object in model::parse::parse_documents(yaml).unwrap() {
            config.put(Arc::new(object));
        }
        config
    }

    fn material(key: &str, chain: &str, private: &str) -> Material {
        let certificate = key.parse().unwrap();
        let key = Zeroizing::new(private.to_owned()).into();
        Material { certificate, chain: chain.to_owned(), key }
    }

    const ISSUED: &str = "kind: Certificate\nmetadata: { name: a }\nspec: { issuer: { name: i }, hosts: \
                          [a.example, '*.b.example'] }\n";
    const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";

    #[test]
    fn one_stands_in_until_the_first_comes_which_stays_while_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(&directory.path().join("certificates"));
        let config = config(ISSUED);
        certificates.forget_others(&config).unwrap();
        certificates.stand_in(&config).unwrap();
        let file = directory.path().join("certificates/default/a/certificate.pem");
        let stand_in = fs::read_to_string(&file).unwrap();
        assert!(stand_in.contains("BEGIN CERTIFICATE") && stand_in.contains("PRIVATE KEY"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

        certificates.hand_in(material("Certificate/default/a", "overtaken", KEY));
        certificates.hand_in(material("Certificate/default/a", CHAIN, KEY));
        let (key, kept) = certificates.keep_next().unwrap();
        assert_eq!((key.name.as_str(), kept.unwrap()), ("a", ()));
        assert!(certificates.keep_next().is_none(), "of one, the newest is written alone");
        certificates.stand_in(&config).unwrap();
        certificates.forget_others(&config).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{KEY}{CHAIN}"));
        certificates.forget_others(&Snapshot::default()).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn one_that_stands_in_never_takes_the_place_of_one_that_came() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(directory.path());
        let many: String = (0..20)
            .map(|at| ISSUED.replace("name: a", &format!("name: a{at}")) + "---\n")
            .collect();
        let config = config(many.trim_end_matches("---\n"));
        // Two of them: a session's and a try's.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| certificates.stand_in(&config).unwrap());
            }
            scope.spawn(|| {
                for at in 0..20 {
                    certificates.hand_in(material(
                        &format!("Certificate/default/a{at}"),
                        CHAIN,
                        KEY,
                    ));
                    certificates.keep_next().unwrap().1.unwrap();
                }
            });
        });
        for at in 0..20 {
            let file = directory.path().join(format!("default/a{at}/certificate.pem"));
            assert_eq!(fs::read_to_string(file).unwrap(), format!("{KEY}{CHAIN}"), "{at}");
        }
    }

    #[test]
    fn what_is_no_certificate_or_leads_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(directory.path());
        for (key, chain, private) in [
            ("Certificate/default/a", "", KEY),
            ("Certificate/default/a", CHAIN, ""),
            ("Certificate/default/a", KEY, CHAIN),
            ("Service/default/a", CHAIN, KEY),
        ] {
            let error = certificates.keep(&material(key, chain, private)).unwrap_err();
            assert!(matches!(error, CertificateError::NoCertificate { .. }), "{error}");
        }
        for (namespace, name) in [("..", "a"), ("a", ".."), ("a", "/etc"), ("", "a"), ("a", "b/c")]
        {
            let mut bad = material("Certificate/default/a", CHAIN, KEY);
            bad.certificate = ObjectKey::new(Kind::Certificate, namespace, name);
            assert!(certificates.keep(&bad).is_err(), "{namespace} {name}");
        }
        assert_eq!(entries(directory.path()).unwrap(), Vec::<PathBuf>::new());
    }
}
