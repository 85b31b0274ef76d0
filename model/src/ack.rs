//! The acknowledgement ledger: which engine of which node runs which revision.

use serde::{Deserialize, Serialize};

use crate::{announce::AddressReport, cluster::NodeId, key::ObjectKey, revision::Revision};

/// A packet engine of a data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The Envoy process, by xDS.
    Envoy,
    /// The XDP program, by its maps.
    Xdp,
}

impl Engine {
    /// Both: every data plane reports for each of them, also for one that is not there.
    pub const ALL: [Self; 2] = [Self::Envoy, Self::Xdp];
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Envoy => "envoy",
            Self::Xdp => "xdp",
        })
    }
}

/// Something an engine would not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The object that it came from, when it is known.
    pub object: Option<ObjectKey>,
    /// The field of that object, such as `spec.rules[0].matches[0].path.regex`; may be empty.
    pub field: String,
    /// The engine's own name for it, such as `RouteConfiguration http/shop.example`.
    pub resource: String,
    /// The engine's own words.
    pub message: String,
}

/// How an engine stands to the newest revision it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum AckState {
    /// It runs all of it.
    Applied,
    /// It has not answered for all of it.
    Pending,
    /// It refused parts, and runs the last accepted version of those.
    Refused {
        /// What it refused, and why.
        refusals: Vec<Refusal>,
    },
    /// The engine is not there; nothing it should carry is carried by it.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// What one engine reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Which engine.
    pub engine: Engine,
    /// The newest revision it was given and has answered for, applied or refused.
    pub revision: Revision,
    /// How it stands to that revision.
    #[serde(flatten)]
    pub ack: AckState,
    /// Particulars for people: version, mode (native, generic), interfaces, all endpoints failing.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The time from the revision's commit to the engine's answer for it, in microseconds, on the
    /// control node that the data plane is connected to; absent for what was committed before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_latency_us: Option<u64>,
}

/// What a report means for whoever waits for a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearing {
    /// It answers for its revision.
    Answer,
    /// The engine runs nothing by now, whatever it answered before.
    VoidsAnswers,
    /// The engine is yet to answer.
    Nothing,
}

impl EngineReport {
    /// Makes one without particulars.
    #[must_use]
    pub fn new(engine: Engine, revision: Revision, ack: AckState) -> Self {
        Self { engine, revision, ack, notes: Vec::new(), ack_latency_us: None }
    }

    /// Returns what the report means for whoever waits for a revision. That there is no XDP is an
    /// answer: Envoy carries what XDP does not. Nobody carries what Envoy does not.
    #[must_use]
    pub fn bearing(&self) -> Bearing {
        match (&self.ack, self.engine) {
            (AckState::Applied | AckState::Refused { .. }, _)
            | (AckState::Unavailable { .. }, Engine::Xdp) => Bearing::Answer,
            (AckState::Unavailable { .. }, Engine::Envoy) => Bearing::VoidsAnswers,
            (AckState::Pending, _) => Bearing::Nothing,
        }
    }
}

/// What one node's data plane reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Which node.
    pub node: NodeId,
    /// Whether its data plane is connected to it.
    pub connected: bool,
    /// The engines, at most one of each kind.
    pub engines: Vec<EngineReport>,
    /// The addresses that listeners want announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressReport>,
}
