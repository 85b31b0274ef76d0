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
        Validity,
    },
    tls::{LiveIdentity, TlsError},
};
use tokio::sync::watch;

pub use key::{ClusterKey, ClusterKeyError};
pub(crate) use renewal::due;

use crate::control::store::AUTHORITY;

/// Lifetime of a node's certificate.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often a node looks whether its certificates are due: short beside the ten days that the last
/// third of a certificate's life takes.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

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
    identity: watch::Sender<Arc<NodeIdentity>>,
    identity_dir: PathBuf,
    dataplane_dir: PathBuf,
}

impl Certificates {
    /// The certificates of a control node with the identity it has at its start.
    ///
    /// # Errors
    /// The identity cannot be used for TLS.
    pub fn new(
        consensus: Consensus,
        key: ClusterKey,
        live: LiveIdentity,
        identity: NodeIdentity,
        identity_dir: PathBuf,
        dataplane_dir: PathBuf,
    ) -> Self {
        let identity = watch::Sender::new(Arc::new(identity));
        let authority = Mutex::new(None);
        let inner =
            Inner { consensus, key, authority, live, identity, identity_dir, dataplane_dir };
        Self { inner: Arc::new(inner) }
    }

    /// The present identity of this control process.
    #[must_use]
    pub fn identity(&self) -> Arc<NodeIdentity> {
        self.inner.identity.borrow().clone()
    }

    /// Follows the identity through its renewals.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<NodeIdentity>> {
        self.inner.identity.subscribe()
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
        let validity = Validity { from: SystemTime::now(), lifetime: LIFETIME };
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
        loop {
            if let Err(error) = self.renew_due(SystemTime::now()).await {
                tracing::warn!(%error, "certificates could not be renewed; trying again");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn renew_due(&self, now: SystemTime) -> Result<(), IssueError> {
        let identity = self.identity();
        if due(identity.expires(), now) {
            let renewed = self.renewed(&identity).await?;
            renewed.save(&self.inner.identity_dir)?;
            self.inner.live.replace(&renewed)?;
            self.inner.identity.send_replace(Arc::new(renewed));
            tracing::info!("renewed the certificate of the control process");
        }
        if let Some(dataplane) = NodeIdentity::load(&self.inner.dataplane_dir)?
            && due(dataplane.expires(), now)
        {
            self.renewed(&dataplane).await?.save(&self.inner.dataplane_dir)?;
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
