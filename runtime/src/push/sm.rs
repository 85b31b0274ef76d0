//! The client's side of the push protocol, without I/O.
//!
//! ```text
//!            Welcome (own cluster)          SnapshotStart
//! Greeting ─────────────────────▶ Following ─────────────▶ Loading ──┐ SnapshotChunk
//!                                  │  ▲  ▲                  │   ▲────┘
//!                    Delta, Health └──┘  └──────────────────┘
//!                                              SnapshotEnd
//! any state: Ping → Pong; Goodbye, Removed or a breach of the protocol → Closed, which answers nothing
//! ```
//!
//! **Invariants.** The revision never goes back. A state is handed out only whole: chunks of a
//! snapshot that does not end, or that lacks objects, are dropped. A delta is handed out only when
//! it reaches back to the revision that is held; after a gap the caller must connect anew, without
//! a resume.

use std::collections::BTreeMap;

use model::{ModuleId, ObjectKey, Revision};
use serde_json::Value;

use super::{
    ChallengeAnswer, FromPlane, Grant, HealthUpdate, Material, ModulePart, PlaneInfo, Resume,
    ShareGrant, ToPlane,
};
use crate::identity::{ClusterId, NodeId};

/// Most objects a snapshot may announce: ten times the greatest configuration that is measured.
pub const MAX_OBJECTS: usize = 1_000_000;

/// What the shell must do after a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Nothing.
    Wait,
    /// The session stands; `node` serves it. Send all engine reports.
    Greeted {
        /// The serving node.
        node: NodeId,
    },
    /// Replace the whole state.
    Replace {
        /// The new state's revision.
        revision: Revision,
        /// All its objects.
        objects: Vec<Value>,
    },
    /// Change the state.
    Change {
        /// The revision that the change leads to.
        revision: Revision,
        /// Objects that came or changed.
        puts: Vec<Value>,
        /// Objects that went.
        deletes: Vec<ObjectKey>,
    },
    /// Replace what is known of endpoints' health.
    Health(HealthUpdate),
    /// Announce these addresses, and no others.
    Announce(Grant),
    /// Keep limits to these shares.
    Shares(ShareGrant),
    /// Keep a certificate.
    Certificate(Material),
    /// Answer these challenges, and no others.
    Challenges(BTreeMap<String, ChallengeAnswer>),
    /// Keep these modules, and no others that nothing names.
    Modules(Vec<ModuleId>),
    /// Take a part of a module.
    ModulePart(ModulePart),
    /// Count traffic once a second, or do not any more.
    CountTraffic(bool),
    /// Send a pong.
    Pong,
    /// Leave: the server ends the session in good order.
    Leave {
        /// The server's reason.
        reason: String,
    },
}

/// How a server broke the protocol. The session is over; see [`ProtocolError::keeps_resume`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message came in a state that has no place for it.
    #[error("{message} while {state}")]
    Unexpected {
        /// The message's type.
        message: &'static str,
        /// The client's state.
        state: &'static str,
    },
    /// The server serves another cluster.
    #[error("the server serves cluster {found}, not {own}")]
    OtherCluster {
        /// The server's cluster.
        found: ClusterId,
        /// The client's.
        own: ClusterId,
    },
    /// A delta begins after the held revision.
    #[error("a delta begins at revision {from}, but {held} is held")]
    Gap {
        /// Where the delta begins.
        from: Revision,
        /// The held revision.
        held: Revision,
    },
    /// A delta ends before it begins.
    #[error("a delta from revision {from} to {to}")]
    Reversed {
        /// Where the delta begins.
        from: Revision,
        /// Where it ends.
        to: Revision,
    },
    /// A snapshot is older than the held state.
    #[error("a snapshot of revision {offered}, but {held} is held")]
    Backwards {
        /// The snapshot's revision.
        offered: Revision,
        /// The held revision.
        held: Revision,
    },
    /// A snapshot has another number of objects than announced.
    #[error("a snapshot of {got} objects was announced with {announced}")]
    Count {
        /// Objects that came.
        got: usize,
        /// Objects announced.
        announced: usize,
    },
    /// A snapshot ends with another revision than it began with.
    #[error("a snapshot began as revision {began} and ended as {ended}")]
    Changed {
        /// Revision at its start.
        began: Revision,
        /// Revision at its end.
        ended: Revision,
    },
}

impl ProtocolError {
    /// Whether the held state is still a good base: `false` asks for everything at the next try.
    #[must_use]
    pub fn keeps_resume(&self) -> bool {
        !matches!(self, Self::Gap { .. })
    }
}

/// The client's state in one session.
#[derive(Debug)]
pub struct Follower {
    cluster: ClusterId,
    held: Option<Revision>,
    state: State,
}

#[derive(Debug)]
enum State {
    Greeting,
    Following,
    Loading { revision: Revision, announced: usize, objects: Vec<Value> },
    Closed,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Following => "following",
            Self::Loading { .. } => "loading",
            Self::Closed => "closed",
        }
    }
}

impl Follower {
    /// Begins a session of a client of `cluster` that holds the state of revision `held`.
    #[must_use]
    pub fn new(cluster: ClusterId, held: Option<Revision>) -> Self {
        Self { cluster, held, state: State::Greeting }
    }

    /// The message that opens the session. `everything` asks for a snapshot although a state is
    /// held; `modules` are held in any case.
    #[must_use]
    pub fn hello(&self, plane: PlaneInfo, everything: bool, modules: Vec<ModuleId>) -> FromPlane {
        let resume = self
            .held
            .filter(|_| !everything)
            .map(|revision| Resume { cluster: self.cluster.clone(), revision });
        FromPlane::Hello { plane, resume, modules }
    }

    /// The revision of the state that was handed out last.
    #[must_use]
    pub fn held(&self) -> Option<Revision> {
        self.held
    }

    /// Takes a message in and says what to do.
    ///
    /// # Errors
    /// The server broke the protocol; nothing of the message is to be used.
    pub fn receive(&mut self, message: ToPlane) -> Result<Command, ProtocolError> {
        let step = self.step(message);
        if step.is_err() || matches!(step, Ok(Command::Leave { .. })) {
            self.state = State::Closed;
        }
        step
    }

    fn step(&mut self, message: ToPlane) -> Result<Command, ProtocolError> {
        use ToPlane as M;
        match (&mut self.state, message) {
            (State::Closed, message) => Err(self.unexpected(&message)),
            (_, M::Ping) => Ok(Command::Pong),
            (_, M::Goodbye { reason }) => Ok(Command::Leave { reason }),
            (_, M::Removed { node }) => {
                Ok(Command::Leave { reason: format!("node {node} was removed from the cluster") })
            }
            (State::Greeting, M::Welcome { cluster, node }) => self.welcomed(cluster, node),
            (State::Following, M::SnapshotStart { revision, objects_total }) => {
                self.snapshot_started(revision, objects_total)
            }
            (State::Following, M::Delta { from, to, puts, deletes }) => {
                self.changed(from, to, puts, deletes)
            }
            (State::Following | State::Loading { .. }, M::Health(update)) => {
                Ok(Command::Health(update))
            }
            (State::Following | State::Loading { .. }, M::Announce(grant)) => {
                Ok(Command::Announce(grant))
            }
            (State::Following | State::Loading { .. }, M::Shares(grant)) => {
                Ok(Command::Shares(grant))
            }
            (State::Following | State::Loading { .. }, M::Certificate(material)) => {
                Ok(Command::Certificate(material))
            }
            (State::Following | State::Loading { .. }, M::Challenges { challenges }) => {
                Ok(Command::Challenges(challenges))
            }
            (State::Following | State::Loading { .. }, M::Modules { stored }) => {
                Ok(Command::Modules(stored))
            }
            (State::Following | State::Loading { .. }, M::ModulePart(part)) => {
                Ok(Command::ModulePart(part))
            }
            (State::Following | State::Loading { .. }, M::CountTraffic { wanted }) => {
                Ok(Command::CountTraffic(wanted))
            }
            (State::Loading { announced, objects, .. }, M::SnapshotChunk { objects: more }) => {
                objects.extend(more);
                if objects.len() > *announced {
                    return Err(ProtocolError::Count { got: objects.len(), announced: *announced });
                }
                Ok(Command::Wait)
            }
            (State::Loading { .. }, M::SnapshotEnd { revision }) => self.snapshot_ended(revision),
            (_, message) => Err(self.unexpected(&message)),
        }
    }

    fn welcomed(&mut self, cluster: ClusterId, node: NodeId) -> Result<Command, ProtocolError> {
        if cluster != self.cluster {
            return Err(ProtocolError::OtherCluster { found: cluster, own: self.cluster.clone() });
        }
        self.state = State::Following;
        Ok(Command::Greeted { node })
    }

    fn snapshot_started(
        &mut self,
        revision: Revision,
        announced: usize,
    ) -> Result<Command, ProtocolError> {
        if let Some(held) = self.held.filter(|held| revision < *held) {
            return Err(ProtocolError::Backwards { offered: revision, held });
        }
        if announced > MAX_OBJECTS {
            return Err(ProtocolError::Count { got: 0, announced });
        }
        self.state = State::Loading { revision, announced, objects: Vec::new() };
        Ok(Command::Wait)
    }

    fn snapshot_ended(&mut self, ended: Revision) -> Result<Command, ProtocolError> {
        let State::Loading { revision, announced, objects } =
            std::mem::replace(&mut self.state, State::Following)
        else {
            unreachable!("called while loading only");
        };
        if revision != ended {
            return Err(ProtocolError::Changed { began: revision, ended });
        }
        if objects.len() != announced {
            return Err(ProtocolError::Count { got: objects.len(), announced });
        }
        self.held = Some(revision);
        Ok(Command::Replace { revision, objects })
    }

    /// A delta lists what changed in (from, to], each object as it is at `to`; so it is right on
    /// any state within [from, to], and stale on a later one.
    fn changed(
        &mut self,
        from: Revision,
        to: Revision,
        puts: Vec<Value>,
        deletes: Vec<ObjectKey>,
    ) -> Result<Command, ProtocolError> {
        if to < from {
            return Err(ProtocolError::Reversed { from, to });
        }
        let held = self.held.unwrap_or(Revision::ZERO);
        if from > held {
            return Err(ProtocolError::Gap { from, held });
        }
        if to <= held {
            return Ok(Command::Wait);
        }
        self.held = Some(to);
        Ok(Command::Change { revision: to, puts, deletes })
    }

    fn unexpected(&self, message: &ToPlane) -> ProtocolError {
        let message = match message {
            ToPlane::Welcome { .. } => "welcome",
            ToPlane::SnapshotStart { .. } => "snapshot start",
            ToPlane::SnapshotChunk { .. } => "snapshot chunk",
            ToPlane::SnapshotEnd { .. } => "snapshot end",
            ToPlane::Delta { .. } => "delta",
            ToPlane::Health(_) => "health",
            ToPlane::Announce(_) => "announce",
            ToPlane::Shares(_) => "shares",
            ToPlane::Uses { .. } => "uses",
            ToPlane::Certificate(_) => "certificate",
            ToPlane::Challenges { .. } => "challenges",
            ToPlane::Modules { .. } => "modules",
            ToPlane::ModulePart(_) => "module part",
            ToPlane::CountTraffic { .. } => "count_traffic",
            ToPlane::Traffic { .. } => "traffic",
            ToPlane::Ledger { .. } => "ledger",
            ToPlane::Ping => "ping",
            ToPlane::Removed { .. } => "removed",
            ToPlane::Goodbye { .. } => "goodbye",
        };
        ProtocolError::Unexpected { message, state: self.state.name() }
    }
}

#[cfg(test)]
mod tests;
