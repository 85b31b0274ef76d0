//! The handle of a running control process, as the API uses it. Cheap to clone.
//!
//! It decides nothing itself: each call goes to the file that owns the matter. A write returns when
//! it is committed and applied on this node; whether the data planes run it is the ledger's answer
//! ([`crate::ledger::Ledger::wait_for`]).

mod kept;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use consensus::{Consensus, Consistency, RequestId, View};
use model::{
    Change, Object, ObjectKey, Revision, Rollout, Snapshot,
    api::{ActorStatus, ApplyResponse, Event, HistoryEntry, JoinRequest, NodeInfo, StatusResponse},
    cluster::{NodeAddresses, NodeId},
};
use runtime::{
    identity::{NodeIdentity, PeerIdentity},
    supervision::{ChildState, ChildStatus},
};
use tokio::sync::{broadcast, watch};

use super::{
    configuration::Configuration,
    errors::{ApplyError, RemoveError, SnapshotError},
    write::{Edit, Writer},
};
use crate::announce::Lease;
use crate::certificates::Certificates;
use crate::joining::{JoinError, JoinGrant, JoinLine, admission::Admissions};
use crate::membership::{
    self, Membership, Record,
    removal::{self, Removed, RemovedError},
};
use crate::modules::Modules;
use crate::probes::Results;
use crate::quotas::Quotas;
use crate::rollout::{self, Traffic};
use crate::settings::Settings;
use crate::shares::Shares;
use crate::tokens::{AuthError, Caller, Role, TokenError, TokenInfo, Tokens};
use crate::{dataplane_socket::SOCKET, ledger::Ledger, preflight::Preflight};

/// Events that a slow listener may lag behind before it is told that it lost some: some seconds of
/// a busy cluster.
const EVENTS_KEPT: usize = 1_024;

/// A running control process; clones share it.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    addresses: NodeAddresses,
    api_tls: Arc<rustls::ServerConfig>,
    consensus: Consensus,
    certificates: Certificates,
    configuration: Configuration,
    writer: Writer,
    modules: Modules,
    tokens: Tokens,
    admissions: Admissions,
    ledger: Ledger,
    probes: Results,
    lease: watch::Sender<Option<Lease>>,
    shares: Shares,
    traffic: Traffic,
    quotas: Quotas,
    removed: Removed,
    events: broadcast::Sender<Event>,
    /// The children of the root supervisor, once it runs.
    children: watch::Sender<Option<watch::Receiver<Arc<[ChildStatus]>>>>,
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
    /// Whether to write what would cut off the cluster or the caller.
    pub force: bool,
    /// Where the caller's connection comes from and which of the node's addresses it is to, when
    /// it comes by the network.
    pub caller: Option<(IpAddr, SocketAddr)>,
    /// Whether to stop before anything is written.
    pub dry_run: bool,
    /// The revision that the configuration must still have; any when absent.
    pub expect_revision: Option<Revision>,
    /// How it reaches the data planes.
    pub spread: Spread,
}

/// How a write reaches the data planes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// As the rollout policy says, where there is one.
    #[default]
    ByPolicy,
    /// All at once.
    AtOnce,
    /// All at once, since the rollout under way is taken back.
    TakesBack {
        /// What is rolled out.
        target: Revision,
        /// Why.
        reason: String,
    },
}

impl Control {
    pub(super) fn new(
        settings: Settings,
        consensus: Consensus,
        certificates: Certificates,
        removed: Removed,
    ) -> Result<Self, runtime::tls::TlsError> {
        let configuration = Configuration::new(consensus.clone());
        let socket = settings.dataplane.then(|| settings.run_dir.join(SOCKET));
        let preflight = Preflight::new(socket);
        let inner = Inner {
            addresses: settings.addresses(),
            api_tls: certificates.live().server_api()?,
            writer: Writer::new(consensus.clone(), configuration.clone(), preflight),
            modules: Modules::new(consensus.clone(), configuration.clone()),
            tokens: Tokens::new(consensus.clone()),
            admissions: Admissions::new(consensus.clone(), certificates.clone()),
            ledger: Ledger::default(),
            probes: Results::new(),
            lease: watch::Sender::new(None),
            shares: Shares::default(),
            traffic: Traffic::default(),
            quotas: Quotas::new(NodeId(certificates.live().identity().node().0)),
            removed,
            events: broadcast::Sender::new(EVENTS_KEPT),
            children: watch::Sender::new(None),
            settings,
            consensus,
            certificates,
            configuration,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The replicated store.
    #[must_use]
    pub fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// What is set for this node.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// This control process's certificate, key and CA; renewed ones show up here.
    #[must_use]
    pub fn identity(&self) -> Arc<NodeIdentity> {
        self.inner.certificates.identity()
    }

    /// TLS of the API's listener: the node's certificate, client certificates optional. It stays
    /// the same value when the certificate is renewed.
    #[must_use]
    pub fn api_tls(&self) -> Arc<rustls::ServerConfig> {
        self.inner.api_tls.clone()
    }

    /// This node's own id and addresses.
    #[must_use]
    pub fn node(&self) -> (NodeId, NodeAddresses) {
        (NodeId(self.identity().node().0), self.inner.addresses.clone())
    }

    /// The whole configuration, as fresh as asked for. Parsed once per change, then shared.
    ///
    /// Its revision is that of the last change of configuration.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn snapshot(&self, consistency: Consistency) -> Result<Snapshot, SnapshotError> {
        self.inner.configuration.read(consistency).await
    }

    /// The configuration as it was at a kept revision.
    ///
    /// # Errors
    /// [`SnapshotError::NotKept`] when history does not reach it.
    pub async fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, SnapshotError> {
        self.inner.configuration.read_at(revision)
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
        Box::pin(self.inner.writer.write(Edit::Apply(objects), options)).await
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
        Box::pin(self.inner.writer.write(Edit::Delete(keys), options)).await
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
        Box::pin(self.inner.writer.write(Edit::Rollback(to), options)).await
    }

    /// The store, and the configuration in it.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub(crate) async fn view(
        &self,
        consistency: Consistency,
    ) -> Result<(View, Snapshot), SnapshotError> {
        let view = self.inner.consensus.read(consistency).await?;
        let config = self.inner.configuration.in_view(&view)?;
        Ok((view, config))
    }

    /// The newest rollout, where there has been one.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn rollout(&self) -> Result<Option<Rollout>, SnapshotError> {
        let view = self.inner.consensus.read(Consistency::Linearizable).await?;
        Ok(rollout::in_view(&view).map(|(rollout, _)| rollout))
    }

    /// Stops the rollout under way at its step, or lets it go on.
    ///
    /// # Errors
    /// There is none under way, or it was changed meanwhile.
    pub async fn pause_rollout(&self, actor: &str, pause: bool) -> Result<Rollout, ApplyError> {
        self.inner.writer.pause_rollout(actor, pause).await
    }

    /// Takes the rollout under way back: the configuration before it is the present one again, as a
    /// new revision, on all nodes.
    ///
    /// # Errors
    /// As [`Self::rollback`]; there is none under way.
    pub async fn abort_rollout(
        &self,
        actor: &str,
        reason: &str,
    ) -> Result<ApplyResponse, ApplyError> {
        Box::pin(self.inner.writer.abort_rollout(actor, reason)).await
    }

    /// What is known of limits that nodes count together.
    pub(crate) fn quotas(&self) -> &Quotas {
        &self.inner.quotas
    }

    /// What nodes' Envoys count while a rollout is under way there.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    /// The newest revisions of the configuration, newest first.
    pub async fn history(&self, limit: usize) -> Vec<HistoryEntry> {
        self.inner.configuration.history(limit)
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
        let configuration = &self.inner.configuration;
        let old = configuration.read_at(from)?;
        let new = match to {
            Some(to) => configuration.read_at(to)?,
            None => configuration.read(Consistency::Linearizable).await?,
        };
        Ok(old.diff(&new))
    }

    /// What the data planes of all nodes report.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Brings the ledger's list of who must answer up to date with the members known here.
    pub(crate) async fn expect_answers(&self) {
        membership::expect_answers(&self.inner.consensus, &self.inner.ledger).await;
    }

    /// The state of the cluster, as this node sees it.
    pub async fn status(&self) -> StatusResponse {
        let raft = self.inner.consensus.status().borrow().clone();
        let revision = match self.snapshot(Consistency::Stale).await {
            Ok(snapshot) => snapshot.revision(),
            Err(error) => {
                tracing::warn!(%error, "the configuration cannot be read for the status");
                Revision::ZERO
            }
        };
        StatusResponse {
            cluster: self.identity().cluster().to_string(),
            node: self.node().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leader: raft.leader,
            term: raft.term,
            revision,
            nodes: membership::members(&raft, &self.inner.ledger.peers()),
            reports: self.inner.ledger.reports(),
            endpoints: self.inner.probes.endpoints(),
            panicking: self.inner.probes.panicking(),
            actors: self.actors(),
        }
    }

    /// All members.
    pub async fn nodes(&self) -> Vec<NodeInfo> {
        membership::members(&self.inner.consensus.status().borrow(), &self.inner.ledger.peers())
    }

    fn actors(&self) -> Vec<ActorStatus> {
        let children = self.inner.children.borrow();
        let Some(children) = children.as_ref() else { return Vec::new() };
        let actor = |child: &ChildStatus| ActorStatus {
            name: format!("control/{}", child.name),
            running: child.state == ChildState::Running,
            restarts: child.restarts,
            last_error: child.last_error.clone().unwrap_or_default(),
        };
        children.borrow().iter().map(actor).collect()
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
        self.inner.admissions.create_line(actor, time_to_live).await
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
        self.inner.tokens.create(actor, name, role).await
    }

    /// The tokens, without their secrets.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn list_tokens(&self) -> Result<Vec<TokenInfo>, TokenError> {
        self.inner.tokens.list().await
    }

    /// Makes a token useless; false when there was none of that name.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn delete_token(&self, actor: &str, name: &str) -> Result<bool, TokenError> {
        self.inner.tokens.delete(actor, name).await
    }

    /// Tells whose token a text is.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller, AuthError> {
        self.inner.tokens.authenticate(token).await
    }

    /// Lets a node in: consumes the secret, numbers the node, issues its certificates.
    ///
    /// # Errors
    /// See [`JoinError`]; each variant has a `code()` and an HTTP `status()`.
    pub async fn join(&self, secret: &str, request: JoinRequest) -> Result<JoinGrant, JoinError> {
        Box::pin(self.inner.admissions.admit(secret, request)).await
    }

    /// Issues a fresh certificate for a node that proved by mTLS who it is.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn renew(&self, peer: &PeerIdentity, csr: &str) -> Result<String, JoinError> {
        Ok(self.inner.certificates.issue(csr, peer).await?)
    }

    /// Events from the present on. Bounded: a receiver that lags is told how many it lost.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Takes a node out for good; its id never comes back.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub async fn remove_node(&self, actor: &str, node: NodeId) -> Result<(), RemoveError> {
        removal::remove(&self.inner.consensus, actor, node).await
    }

    /// That this node was taken out, with what to do.
    pub(super) fn removal(&self) -> RemovedError {
        RemovedError {
            node: self.node().0,
            cluster: self.identity().cluster().to_string(),
            data_dir: self.inner.settings.data_dir.clone(),
        }
    }

    /// The modules of filters.
    pub(crate) fn modules(&self) -> &Modules {
        &self.inner.modules
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.inner.certificates
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.inner.configuration
    }

    pub(super) fn admissions(&self) -> &Admissions {
        &self.inner.admissions
    }

    pub(super) fn probes(&self) -> &Results {
        &self.inner.probes
    }

    /// What is known of the limits that nodes share.
    pub(super) fn shares(&self) -> &Shares {
        &self.inner.shares
    }

    /// The addresses that are this node's to announce.
    pub(super) fn lease(&self) -> &watch::Sender<Option<Lease>> {
        &self.inner.lease
    }

    /// The nodes that were taken out for good.
    pub(super) fn removed(&self) -> &Removed {
        &self.inner.removed
    }

    pub(super) fn event_sender(&self) -> &broadcast::Sender<Event> {
        &self.inner.events
    }

    pub(super) fn membership(&self) -> Membership {
        Membership {
            consensus: self.inner.consensus.clone(),
            ledger: self.inner.ledger.clone(),
            events: self.inner.events.clone(),
            node: self.node().0,
            record: Record {
                dataplane: self.inner.settings.dataplane,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }

    pub(super) fn show_children(&self, children: watch::Receiver<Arc<[ChildStatus]>>) {
        self.inner.children.send_replace(Some(children));
    }
}
