//! Bodies of the REST API, shared by the server, the command line and the console.

use serde::{Deserialize, Serialize};

use crate::{
    ack::NodeReport,
    cluster::{NodeAddresses, NodeId},
    endpoint::EndpointHealth,
    error::ConfigErrors,
    key::ObjectKey,
    revision::Revision,
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
