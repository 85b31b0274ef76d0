//! The cluster's certificates: where the CA's key is, who may use it, and renewal.
//!
//! The CA's key lies in the replicated store, encrypted (AES-256-GCM) with the *cluster key*, which
//! every control node keeps in `identity/cluster.key` (0600) and a joining control node receives
//! inside the join's TLS connection.
//!
//! **Threat model.** Who gets the log, a snapshot or a backup without `identity/` learns nothing of
//! the CA. Who owns one control node (root, or its `identity/`) owns the cluster: such a node must
//! be able to let others in. A data plane has neither the store nor the cluster key, so it can be
//! no more than the node that its certificate names.

mod key;
mod renewal;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use consensus::{Consensus, Consistency};
use runtime::{
    identity::{
        Authority, AuthorityError, IdentityError, KeyError, KeyPair, NodeIdentity, PeerIdentity,
    },
    telemetry,
    tls::{LiveIdentity, TlsError},
};

pub use key::{ClusterKey, ClusterKeyError, Sealed};
pub use renewal::Lifetime;

use crate::control::store::AUTHORITY;

/// After a renewal that failed: soon, because a node that was off for long has nothing to show that
/// the others accept until it succeeds.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The CA is not in the store, or the store is not readable.
    #[error("the cluster's CA cannot be read: {reason}")]
    NoAuthority {
        /// Why.
        reason: String,
    },
    /// The CA cannot be decrypted with this node's cluster key.
    #[error(transparent)]
    Key(#[from] ClusterKeyError),
    /// The CA refused the request.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A new key could not be made.
    #[error(transparent)]
    NewKey(#[from] KeyError),
    /// The new identity could not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The new identity could not be put to use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Issues and renews certificates on a control node; clones share it.
#[derive(Clone)]
pub struct Certificates {
    inner: Arc<Inner>,
}

struct Inner {
    consensus: Consensus,
    key: ClusterKey,
    authority: Mutex<Option<Arc<Authority>>>,
    live: LiveIdentity,
    places: Places,
    lifetime: Lifetime,
}

/// Where the identities that are renewed lie.
pub struct Places {
    /// The control process's.
    pub identity: PathBuf,
    /// Its data plane's; the data plane takes up what is saved there.
    pub dataplane: PathBuf,
}

impl Certificates {
    /// The certificates of a control node with the identity it has at its start.
    pub fn new(
        consensus: Consensus,
        key: ClusterKey,
        live: LiveIdentity,
        places: Places,
        lifetime: Lifetime,
    ) -> Self {
        telemetry::show_certificates(&live.identity());
        let authority = Mutex::new(None);
        let inner = Inner { consensus, key, authority, live, places, lifetime };
        Self { inner: Arc::new(inner) }
    }

    /// The present identity of this control process.
    #[must_use]
    pub fn identity(&self) -> Arc<NodeIdentity> {
        self.inner.live.identity()
    }

    /// TLS configurations that follow the renewals by themselves.
    #[must_use]
    pub fn live(&self) -> &LiveIdentity {
        &self.inner.live
    }

    /// The key that a joining control node is given.
    #[must_use]
    pub fn cluster_key(&self) -> &ClusterKey {
        &self.inner.key
    }

    /// Issues a certificate for the key in a signing request.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn issue(&self, csr: &str, peer: &PeerIdentity) -> Result<String, IssueError> {
        let validity = self.inner.lifetime.validity(SystemTime::now());
        Ok(self.authority().await?.issue(csr, peer, validity)?)
    }

    /// The CA, decrypted once.
    async fn authority(&self) -> Result<Arc<Authority>, IssueError> {
        if let Some(held) = self.held().clone() {
            return Ok(held);
        }
        let missing = |reason: String| IssueError::NoAuthority { reason };
        let view = self
            .inner
            .consensus
            .read(Consistency::Stale)
            .await
            .map_err(|error| missing(error.to_string()))?;
        let stored = view
            .get(AUTHORITY)
            .ok_or_else(|| missing("it has not arrived on this node yet".to_owned()))?;
        let cluster = self.identity().cluster().clone();
        let authority = Arc::new(self.inner.key.open(&cluster, &stored.value)?);
        *self.held() = Some(authority.clone());
        Ok(authority)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Arc<Authority>>> {
        self.inner.authority.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews this node's own certificates when they are due, for as long as the process lives.
    pub async fn keep_fresh(self) -> anyhow::Result<()> {
        let look_every = self.inner.lifetime.look_every();
        loop {
            let pause = match self.renew_due(SystemTime::now()).await {
                Ok(()) => look_every,
                Err(error) => {
                    tracing::warn!(%error, "certificates could not be renewed; trying again");
                    look_every.min(RETRY_AFTER)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn renew_due(&self, now: SystemTime) -> Result<(), IssueError> {
        let Inner { live, places, lifetime, .. } = &*self.inner;
        let identity = self.identity();
        if lifetime.due(identity.expires(), now) {
            let renewed = self.renewed(&identity).await?;
            renewed.save(&places.identity)?;
            live.replace(&renewed)?;
            telemetry::show_certificates(&renewed);
            tracing::info!("renewed the certificate of the control process");
        }
        if let Some(dataplane) = NodeIdentity::load(&places.dataplane)?
            && lifetime.due(dataplane.expires(), now)
        {
            self.renewed(&dataplane).await?.save(&places.dataplane)?;
            tracing::info!("renewed the certificate of the data plane");
        }
        Ok(())
    }

    async fn renewed(&self, identity: &NodeIdentity) -> Result<NodeIdentity, IssueError> {
        let key = KeyPair::generate()?;
        let pem = self.issue(&key.csr()?.0, identity.peer()).await?;
        Ok(NodeIdentity::new(identity.ca_pem(), &pem, key)?)
    }
}
