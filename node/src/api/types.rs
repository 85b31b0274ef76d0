//! Bodies that only the API has; all others are in [`model::api`].

use model::api::{AcksResponse, ApplyResponse, NodeInfo};
use serde::{Deserialize, Serialize};

/// The answer to a write, with the acknowledgements when they were waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteResponse {
    /// What was written.
    #[serde(flatten)]
    pub written: ApplyResponse,
    /// What the data planes answered; present when it was asked for with `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acks: Option<AcksResponse>,
}

/// The nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// Ordered by number.
    pub nodes: Vec<NodeInfo>,
}

/// What an anonymous caller learns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`: the process answers.
    pub status: String,
    /// Whether this node is a member of a cluster that has a leader.
    pub ready: bool,
}
