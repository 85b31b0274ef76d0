//! Bodies of the REST API, shared by the server, the command line and the console.

use serde::{Deserialize, Serialize};

use crate::{
    ack::NodeReport,
    cluster::{NodeAddresses, NodeId},
    endpoint::EndpointHealth,
    error::{ConfigError, ConfigErrors},
    filter_module::ModuleId,
    key::ObjectKey,
    revision::Revision,
    rollout::Rollout,
};

/// What one applied or planned transaction does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It is different.
    Updated,
    /// It is gone.
    Deleted,
    /// It is as it was.
    Unchanged,
}

/// One object of an apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectOutcome {
    /// Which object.
    pub object: ObjectKey,
    /// What happens to it.
    pub action: Action,
}

/// The answer to an apply, a delete or a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// The revision that holds it; of a dry run or of no change, the revision looked at.
    pub revision: Revision,
    /// Whether nothing was written because it was asked for.
    pub dry_run: bool,
    /// Each object of the request.
    pub objects: Vec<ObjectOutcome>,
    /// What the guard against lock-outs and the try on an Envoy found, and were overruled in by force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<ConfigError>,
    /// What does not hinder the write: that it was not tried on an Envoy, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A module of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleInfo {
    /// Which one.
    pub sha256: ModuleId,
    /// Its bytes.
    pub bytes: u64,
    /// The memory that an instance begins with, in MiB, rounded up.
    pub least_memory_mib: u64,
    /// Since when it is there.
    pub created_ms: u64,
    /// Who uploaded it.
    pub created_by: String,
    /// The objects that run it.
    pub used_by: Vec<ObjectKey>,
}

/// All modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleList {
    /// By their hashes.
    pub modules: Vec<ModuleInfo>,
}

/// One revision of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Which revision.
    pub revision: Revision,
    /// When, in milliseconds since 1970-01-01 UTC, by the leader's clock.
    pub time_ms: u64,
    /// Who: the name of the token.
    pub actor: String,
    /// Why, as given with `--message`.
    pub message: String,
    /// What it did.
    pub objects: Vec<ObjectOutcome>,
}

/// One node, as `nodes` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Which node.
    pub id: NodeId,
    /// Where it is reached.
    pub addresses: NodeAddresses,
    /// Whether it votes; a learner otherwise.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Whether the answering node has heard from it of late.
    pub reachable: bool,
    /// The newest log index that it is known to hold.
    pub matched: Option<u64>,
}

/// The state of the cluster, as the answering node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusResponse {
    /// The cluster.
    pub cluster: String,
    /// The answering node.
    pub node: NodeId,
    /// The version of its program.
    pub version: String,
    /// The leader, when one is known.
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub term: u64,
    /// The newest revision that this node has.
    pub revision: Revision,
    /// All nodes.
    pub nodes: Vec<NodeInfo>,
    /// What the data planes run.
    pub reports: Vec<NodeReport>,
    /// What this node's probes see.
    pub endpoints: Vec<EndpointHealth>,
    /// Services all of whose endpoints fail, so that the whole set is kept.
    pub panicking: Vec<ObjectKey>,
    /// The actors of this node.
    pub actors: Vec<ActorStatus>,
}

/// A supervised actor or process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorStatus {
    /// Its place in the supervision tree, such as `control/publisher`.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// How often it was restarted since the process began.
    pub restarts: u64,
    /// Why it ended last; empty if it never did.
    pub last_error: String,
}

/// An event of `GET /v1/events`; the SSE event name is the tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "event")]
pub enum Event {
    /// A revision was applied on the answering node.
    Revision(HistoryEntry),
    /// A data plane answered.
    Ack(NodeReport),
    /// An endpoint changed its health, as the answering node's probes see it.
    Health(EndpointHealth),
    /// The members, their roles or the leader changed.
    Membership {
        /// The leader, when one is known.
        leader: Option<NodeId>,
        /// All nodes.
        nodes: Vec<NodeInfo>,
    },
    /// A rollout began, went on, was stopped, or ended.
    Rollout(Rollout),
}

/// The answer of `GET /v1/rollout`, and to what changes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutResponse {
    /// The newest one; none before the first.
    pub rollout: Option<Rollout>,
}

/// The answer of `GET /v1/certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatesResponse {
    /// All, by name.
    pub certificates: Vec<CertificateInfo>,
}

/// How a certificate stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateInfo {
    /// The object.
    pub certificate: ObjectKey,
    /// Where it comes from.
    pub state: CertificateState,
    /// Who issues it, where somebody does.
    pub issuer: Option<ObjectKey>,
    /// The names that it is issued for.
    pub hosts: Vec<String>,
    /// From when it is valid, in milliseconds since 1970-01-01 UTC; where it is issued.
    pub not_before_ms: Option<u64>,
    /// Until when.
    pub not_after_ms: Option<u64>,
    /// When the next one is issued.
    pub renews_ms: Option<u64>,
    /// The certificate in PEM, without its key.
    pub chain: Option<String>,
    /// Why the last attempt to have it issued failed.
    pub failure: Option<CertificateFailure>,
}

/// A failed attempt to have a certificate issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFailure {
    /// Why, in the authority's words where it said something.
    pub reason: String,
    /// How many failed one after the other.
    pub attempts: u32,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// When the next one is made.
    pub next_ms: u64,
}

impl CertificateInfo {
    /// One of which nothing else is known.
    #[must_use]
    pub fn new(certificate: ObjectKey, state: CertificateState) -> Self {
        Self {
            certificate,
            state,
            issuer: None,
            hosts: Vec::new(),
            not_before_ms: None,
            not_after_ms: None,
            renews_ms: None,
            chain: None,
            failure: None,
        }
    }
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// From files on the nodes; what is in them is not known here.
    Files,
    /// It is to be issued; until then a self-signed one stands in its place.
    Pending,
    /// It was issued.
    Issued,
}

/// The authority of an internal issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerAuthority {
    /// The issuer.
    pub issuer: ObjectKey,
    /// Its certificate in PEM, which clients are to trust.
    pub certificate: String,
    /// Until when it is valid, in milliseconds since 1970-01-01 UTC.
    pub not_after_ms: u64,
}

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// A word for programs: `invalid`, `conflict`, `unauthorized`, `not_found`, `unavailable`, …
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What is wrong with the configuration, when that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<ConfigErrors>,
}

/// The body of `POST /v1/join`, authorized by the join line's secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The joiner's certificate request in PEM (PKCS #10).
    pub csr: String,
    /// The certificate request of its data plane in PEM.
    pub dataplane_csr: String,
    /// Where it will be reached.
    pub addresses: NodeAddresses,
    /// The joiner's clock, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinResponse {
    /// The cluster.
    pub cluster: String,
    /// The number given to the joiner.
    pub node: NodeId,
    /// Its certificate chain in PEM.
    pub certificate: String,
    /// The certificate chain of its data plane in PEM.
    pub dataplane_certificate: String,
    /// The cluster CA's certificate in PEM.
    pub authority: String,
    /// The present members.
    pub members: Vec<NodeInfo>,
}

/// One field that differs between two versions of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field, such as `spec.rules[2].timeout`; empty for the whole object.
    pub path: String,
    /// What stood there; absent when the field is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<serde_json::Value>,
    /// What stands there; absent when the field is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<serde_json::Value>,
}

/// What differs in one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDiff {
    /// Which object.
    pub object: ObjectKey,
    /// What happens to it.
    pub action: Action,
    /// Its fields that differ, ordered by path.
    pub fields: Vec<FieldChange>,
}

/// The answer to a diff: what an apply of the same documents would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffResponse {
    /// The revision that was compared with.
    pub revision: Revision,
    /// The objects that differ.
    pub objects: Vec<ObjectDiff>,
}

/// A revision of the history with everything that it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionDetail {
    /// When, who and why.
    #[serde(flatten)]
    pub entry: HistoryEntry,
    /// What changed, field by field.
    pub changes: Vec<ObjectDiff>,
}

/// The kept history, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryResponse {
    /// The oldest revision that a rollback may name.
    pub floor: Revision,
    /// The revisions.
    pub entries: Vec<HistoryEntry>,
}

/// The body of a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The revision whose configuration is wanted again.
    pub revision: Revision,
}

/// Objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectList {
    /// The revision that was read.
    pub revision: Revision,
    /// The objects in the form of documents.
    pub objects: Vec<serde_json::Value>,
}

/// What the server knows of an object; `status` beside `metadata` and `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStatus {
    /// The revision that wrote the object last.
    pub revision: Revision,
    /// What holds for it.
    pub conditions: Vec<Condition>,
    /// How each engine of each node stands to the newest revision.
    pub acks: Vec<NodeReport>,
}

/// Something that holds, or not, for an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What: `Programmed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds; absent while it is not known.
    pub status: Option<bool>,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people; may be empty.
    pub message: String,
}

/// What the data planes answered to one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcksResponse {
    /// The revision.
    pub revision: Revision,
    /// What they come to.
    pub outcome: AckOutcome,
    /// The nodes that have not answered, whole or in part.
    pub missing: Vec<NodeId>,
    /// Every node's engines.
    pub reports: Vec<NodeReport>,
}

/// How far a revision has come, over all engines of all data planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckOutcome {
    /// Every engine runs it.
    Applied,
    /// Some have not answered yet.
    Pending,
    /// At least one engine refused a part of it.
    Refused,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Everything.
    Admin,
    /// Read only.
    Read,
}

/// A token as it is listed; its secret is known to its holder only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Its name, which the history shows as the actor.
    pub name: String,
    /// What its holder may do.
    pub role: TokenRole,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// Who made it: the name of another token.
    pub created_by: String,
}

/// The tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// Ordered by name.
    pub tokens: Vec<TokenInfo>,
}

/// Asks for a new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name: lower-case letters, digits and `-`, at most 63 characters.
    pub name: String,
    /// What its holder may do.
    pub role: TokenRole,
}

/// A new token, with the only copy of its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// As it will be listed.
    pub token: TokenInfo,
    /// What its holder sends as bearer token; never shown again.
    pub secret: String,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreated").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Asks for a new join line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinLineRequest {
    /// How long it may be used, in seconds, a minute to seven days; an hour when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A new join line for one more node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinLineResponse {
    /// The line to give to `marchproxy join`; works once.
    pub line: String,
    /// When it ends, in milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

impl std::fmt::Debug for JoinLineResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinLineResponse")
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}
