//! The handle of a running control process, as the API uses it. Cheap to clone.
//!
//! It decides nothing itself: each call goes to the file that owns the matter. A write returns when
//! it is committed and applied on this node; whether the data planes run it is the ledger's answer
//! ([`crate::ledger::Ledger::wait_for`]).

use std::sync::Arc;
use std::time::Duration;

use consensus::{Consensus, Consistency, RequestId};
use model::{
    Change, ConfigErrors, Object, ObjectKey, Revision, Snapshot,
    api::{ApplyResponse, Event, HistoryEntry, JoinRequest, NodeInfo, StatusResponse},
    cluster::NodeId,
};
use runtime::identity::NodeIdentity;
use tokio::sync::broadcast;

use crate::joining::{JoinError, JoinGrant, JoinLine};
use crate::ledger::Ledger;
use crate::tokens::{AuthError, Caller, Role, TokenError, TokenInfo};

/// A running control process; clones share it.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    consensus: Consensus,
    ledger: Ledger,
}

/// How an apply, a delete or a rollback is done.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// Who asks: the name of the token.
    pub actor: String,
    /// Why, for the history.
    pub message: String,
    /// The id under which a retry of the same write applies once; a fresh one when absent.
    pub request: Option<RequestId>,
    /// Whether to stop before anything is written.
    pub dry_run: bool,
    /// The revision that the configuration must still have; any when absent.
    pub expect_revision: Option<Revision>,
}

/// Why a write was not, or not surely, made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The configuration that would result is not valid; nothing was written.
    #[error("the configuration is not valid")]
    Invalid(#[from] ConfigErrors),
    /// The configuration is at another revision than expected; nothing was written. Read again.
    #[error("the configuration is at revision {found}, expected {expected}")]
    Conflict {
        /// What the caller expected, or what was read just before.
        expected: Revision,
        /// What is there.
        found: Revision,
    },
    /// An object to be deleted is not there; nothing was written.
    #[error("there is no {key}")]
    NotFound {
        /// Which object.
        key: ObjectKey,
    },
    /// The revision is no longer, or not yet, kept.
    #[error("revision {revision} is not kept: {reason}")]
    NotKept {
        /// The revision asked for.
        revision: Revision,
        /// Which ones are kept.
        reason: String,
    },
    /// A bound is passed; nothing was written. Never retry.
    #[error("{what} is {size}, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Nothing was written. Retry later.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The write may or may not have happened. Read, then decide.
    #[error("the outcome of the write is unknown: {reason}")]
    OutcomeUnknown {
        /// What happened.
        reason: String,
    },
}

/// Why a read was not answered. Retry later or elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Consensus could not answer with the freshness asked for.
    #[error(transparent)]
    Read(#[from] consensus::ReadError),
    /// The store holds an object that this program cannot read.
    #[error("the stored object {key} is unreadable by this version: {reason}")]
    Unreadable {
        /// The key in the store.
        key: String,
        /// Why.
        reason: String,
    },
    /// The revision is no longer, or not yet, kept.
    #[error("revision {revision} is not kept: {reason}")]
    NotKept {
        /// The revision asked for.
        revision: Revision,
        /// Which ones are kept.
        reason: String,
    },
}

/// Why a node was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such node.
    #[error("there is no node {node}")]
    Unknown {
        /// Which node.
        node: NodeId,
    },
    /// Removing it would leave no majority.
    #[error("{reason}")]
    Unsafe {
        /// Why.
        reason: String,
    },
    /// Not now. Retry later.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl Control {
    /// The replicated store.
    pub fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// This control process's certificate, key and CA; renewed ones show up here.
    pub fn identity(&self) -> Arc<NodeIdentity> {
        todo!()
    }

    /// TLS of the API's listener: the node's certificate, client certificates optional. It stays
    /// the same value when the certificate is renewed.
    pub fn api_tls(&self) -> Arc<rustls::ServerConfig> {
        todo!()
    }

    /// This node's own id and addresses.
    pub fn node(&self) -> (NodeId, model::cluster::NodeAddresses) {
        todo!()
    }

    /// The whole configuration, as fresh as asked for. Parsed once per change, then shared.
    ///
    /// Its revision is that of the last change of configuration.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn snapshot(&self, consistency: Consistency) -> Result<Snapshot, SnapshotError> {
        let _ = consistency;
        todo!()
    }

    /// The configuration as it was at a kept revision.
    ///
    /// # Errors
    /// [`SnapshotError::NotKept`] when history does not reach it.
    pub async fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, SnapshotError> {
        let _ = revision;
        todo!()
    }

    /// Creates and replaces objects, all or none, as one revision. When nothing would change,
    /// nothing is written and the revision looked at is returned.
    ///
    /// # Errors
    /// See [`ApplyError`]; only `OutcomeUnknown` may have been written.
    pub async fn apply(
        &self,
        objects: Vec<Object>,
        options: ApplyOptions,
    ) -> Result<ApplyResponse, ApplyError> {
        let _ = (objects, options);
        todo!()
    }

    /// Removes objects, all or none.
    ///
    /// # Errors
    /// As [`Self::apply`]; `NotFound` names the first that is missing.
    pub async fn delete(
        &self,
        keys: Vec<ObjectKey>,
        options: ApplyOptions,
    ) -> Result<ApplyResponse, ApplyError> {
        let _ = (keys, options);
        todo!()
    }

    /// Makes the configuration of a kept revision the present one, as a new revision.
    ///
    /// # Errors
    /// As [`Self::apply`]; `NotKept` when history does not reach it.
    pub async fn rollback(
        &self,
        to: Revision,
        options: ApplyOptions,
    ) -> Result<ApplyResponse, ApplyError> {
        let _ = (to, options);
        todo!()
    }

    /// The newest revisions of the configuration, newest first.
    pub async fn history(&self, limit: usize) -> Vec<HistoryEntry> {
        let _ = limit;
        todo!()
    }

    /// What changed between two kept revisions; `to` is the present one when absent.
    ///
    /// # Errors
    /// [`SnapshotError::NotKept`] when history does not reach one of them.
    pub async fn diff(
        &self,
        from: Revision,
        to: Option<Revision>,
    ) -> Result<Vec<Change>, SnapshotError> {
        let _ = (from, to);
        todo!()
    }

    /// What the data planes of all nodes report.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// The state of the cluster, as this node sees it.
    pub async fn status(&self) -> StatusResponse {
        todo!()
    }

    /// All members.
    pub async fn nodes(&self) -> Vec<NodeInfo> {
        todo!()
    }

    /// Makes a single-use join secret and returns the line to run on the joining host.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn create_join_line(
        &self,
        actor: &str,
        time_to_live: Option<Duration>,
    ) -> Result<JoinLine, TokenError> {
        let _ = (actor, time_to_live);
        todo!()
    }

    /// Makes a token for the API and returns its text, which is stored nowhere.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn create_token(
        &self,
        actor: &str,
        name: &str,
        role: Role,
    ) -> Result<String, TokenError> {
        let _ = (actor, name, role);
        todo!()
    }

    /// The tokens, without their secrets.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn list_tokens(&self) -> Result<Vec<TokenInfo>, TokenError> {
        todo!()
    }

    /// Makes a token useless; false when there was none of that name.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn delete_token(&self, actor: &str, name: &str) -> Result<bool, TokenError> {
        let _ = (actor, name);
        todo!()
    }

    /// Tells whose token a text is.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller, AuthError> {
        let _ = token;
        todo!()
    }

    /// Lets a node in: consumes the secret, numbers the node, issues its certificates.
    ///
    /// # Errors
    /// See [`JoinError`]; each variant has a `code()` and an HTTP `status()`.
    pub async fn join(&self, secret: &str, request: JoinRequest) -> Result<JoinGrant, JoinError> {
        let _ = (secret, request);
        todo!()
    }

    /// Issues a fresh certificate for a node that proved by mTLS who it is.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn renew(
        &self,
        peer: &runtime::identity::PeerIdentity,
        csr: &str,
    ) -> Result<String, JoinError> {
        let _ = (peer, csr);
        todo!()
    }

    /// Events from the present on. Bounded: a receiver that lags is told how many it lost.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        todo!()
    }

    /// Takes a node out for good; its id never comes back.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub async fn remove_node(&self, actor: &str, node: NodeId) -> Result<(), RemoveError> {
        let _ = (actor, node);
        todo!()
    }
}
