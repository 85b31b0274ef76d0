//! The joining host: keys, the request, and what is kept.
//!
//! Kept in this order, each durable before the next: the two private keys (`identity/joining.json`),
//! the cluster key, the data plane's identity, the control identity. The last one is the moment in
//! which the host has joined; before it, the same command begins again with the same keys, which the
//! used secret lets in once more.

use std::{fs, io, path::Path, path::PathBuf, time::Duration};

use model::{api::JoinRequest, cluster::NodeAddresses};
use runtime::{
    durable::{self, DurableError},
    identity::{IdentityError, KeyError, KeyPair, NodeIdentity},
    tls::{self, PeerError, TlsError},
};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use super::{
    JoinGrant, JoinLine,
    http::{CallError, Peer, post},
};
use crate::{
    certificates::{ClusterKey, ClusterKeyError},
    tokens::{fingerprint, now_ms},
};

const FILE: &str = "joining.json";

/// How long the members of the line are asked before the join fails: a leader is elected several
/// times over in it.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// Between two rounds over the members.
const ROUND_EVERY: Duration = Duration::from_millis(500);

/// Why a host did not join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinFailed {
    /// A member said no; running the command again does not help.
    #[error("refused by {address}: {message}")]
    Refused { address: std::net::SocketAddr, message: String },
    /// A member's CA is not the pinned one.
    #[error("{address} is not a member of the cluster of this join line: {reason}")]
    WrongAuthority { address: std::net::SocketAddr, reason: String },
    /// The clocks differ too much for TLS.
    #[error("refused: {address}: {reason}; set the clocks (NTP) and join again")]
    Clock { address: std::net::SocketAddr, reason: String },
    /// No member answered.
    #[error("no member of the join line answered within {within:?}; last: {last}")]
    Unreachable { within: Duration, last: String },
    /// The answer does not fit the line.
    #[error("the answer is of cluster {found}, the join line of {wanted}")]
    OtherCluster { found: String, wanted: String },
    /// The kept keys of an earlier attempt are damaged.
    #[error("{} is damaged: remove it and join with a fresh line", path.display())]
    Damaged { path: PathBuf },
    /// The keys cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Keep(#[from] DurableError),
    #[error(transparent)]
    ClusterKey(#[from] ClusterKeyError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Where the identities go.
pub(crate) struct Places {
    pub(crate) identity: PathBuf,
    pub(crate) dataplane: PathBuf,
}

/// Joins by the line and keeps what comes of it.
pub(crate) async fn join(
    line: &JoinLine,
    addresses: NodeAddresses,
    places: &Places,
) -> Result<NodeIdentity, JoinFailed> {
    let keys = Keys::load_or_make(&places.identity, &fingerprint(&line.secret))?;
    let grant = ask(line, addresses, &keys).await?;
    if grant.response.cluster != line.cluster.as_str() {
        return Err(JoinFailed::OtherCluster {
            found: grant.response.cluster,
            wanted: line.cluster.to_string(),
        });
    }
    let answer = &grant.response;
    ClusterKey::from_text(&grant.cluster_key)?.save(&places.identity, &line.cluster)?;
    NodeIdentity::new(&answer.authority, &answer.dataplane_certificate, keys.dataplane)?
        .save(&places.dataplane)?;
    let identity = NodeIdentity::new(&answer.authority, &answer.certificate, keys.control)?;
    identity.save(&places.identity)?;
    forget(&places.identity);
    Ok(identity)
}

/// Removes the kept keys of a finished join; they are in the identity by now.
pub(crate) fn forget(identity: &Path) {
    // A file that stays is overwritten by the next join; nothing reads it before.
    let _ = fs::remove_file(identity.join(FILE));
}

async fn ask(
    line: &JoinLine,
    addresses: NodeAddresses,
    keys: &Keys,
) -> Result<JoinGrant, JoinFailed> {
    let tls = tls::client_pinned(&line.pin)?;
    let (csr, dataplane_csr) = (keys.control.csr()?.0, keys.dataplane.csr()?.0);
    let deadline = Instant::now() + JOIN_WITHIN;
    loop {
        let mut last = String::new();
        for address in &line.api {
            let name = ServerName::from(address.ip());
            let peer = Peer { address: *address, tls: tls.clone(), name };
            let request = JoinRequest {
                csr: csr.clone(),
                dataplane_csr: dataplane_csr.clone(),
                addresses: addresses.clone(),
                time_ms: now_ms(),
            };
            match post::<JoinGrant>(&peer, "/v1/join", Some(&line.secret), &request).await {
                Ok(grant) => return Ok(grant),
                Err(error) => last = temporary(*address, error)?,
            }
        }
        if Instant::now() >= deadline {
            return Err(JoinFailed::Unreachable { within: JOIN_WITHIN, last });
        }
        tracing::info!(reason = %last, "waiting for a member that lets this host in");
        tokio::time::sleep(ROUND_EVERY).await;
    }
}

/// The words of an error after which the next member is asked, or the end of the join.
fn temporary(address: std::net::SocketAddr, error: CallError) -> Result<String, JoinFailed> {
    match error {
        CallError::Refused { status, message, .. } if status >= 500 || status == 429 => Ok(message),
        CallError::Refused { message, .. } => Err(JoinFailed::Refused { address, message }),
        CallError::Tls { source, .. } => match tls::refusal(&source) {
            Some(
                reason @ PeerError::OtherPin { .. } | reason @ PeerError::UnknownAuthority { .. },
            ) => Err(JoinFailed::WrongAuthority { address, reason: reason.to_string() }),
            Some(reason @ (PeerError::NotYetValid { .. } | PeerError::Expired { .. })) => {
                Err(JoinFailed::Clock { address, reason: reason.to_string() })
            }
            Some(reason) => Ok(format!("{address}: {reason}")),
            None => Ok(format!("{address}: {source}")),
        },
        other => {
            let source = std::error::Error::source(&other).map(|s| format!(": {s}"));
            Ok(format!("{other}{}", source.unwrap_or_default()))
        }
    }
}

/// The private keys of an unfinished join.
struct Keys {
    control: KeyPair,
    dataplane: KeyPair,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The hash of the secret that they are for.
    secret: String,
    control: String,
    dataplane: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.control.zeroize();
        self.dataplane.zeroize();
    }
}

impl Keys {
    fn load_or_make(identity: &Path, secret: &str) -> Result<Self, JoinFailed> {
        let path = identity.join(FILE);
        match fs::read(&path) {
            Ok(text) => {
                let damaged = || JoinFailed::Damaged { path: path.clone() };
                let kept: Kept = serde_json::from_slice(&text).map_err(|_| damaged())?;
                // Another line: the keys of the first are worth nothing with it, nor harmful.
                if kept.secret == secret {
                    return Ok(Self {
                        control: KeyPair::from_pem(&kept.control).map_err(|_| damaged())?,
                        dataplane: KeyPair::from_pem(&kept.dataplane).map_err(|_| damaged())?,
                    });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(JoinFailed::Read { path, source }),
        }
        let keys = Self { control: KeyPair::generate()?, dataplane: KeyPair::generate()? };
        let kept = Kept {
            secret: secret.to_owned(),
            control: keys.control.to_pem().to_string(),
            dataplane: keys.dataplane.to_pem().to_string(),
        };
        let text = Zeroizing::new(serde_json::to_vec(&kept).expect("it has string keys only"));
        durable::private_directory(identity)?;
        durable::replace(&path, &text, 0o600)?;
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_join_goes_on_with_the_same_keys_and_another_line_with_others() {
        let dir = tempfile::tempdir().unwrap();
        let key =
            |secret: &str| Keys::load_or_make(dir.path(), secret).unwrap().control.public_der();
        let first = key("one");
        assert_eq!(key("one"), first);
        assert_ne!(key("two"), first);
        fs::write(dir.path().join(FILE), b"{").unwrap();
        let damaged = Keys::load_or_make(dir.path(), "one");
        assert!(matches!(damaged, Err(JoinFailed::Damaged { .. })));
    }
}
